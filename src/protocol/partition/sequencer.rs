//! Puts the records of one partition in order.
//!
//! Records arrive in any order, twice, or not at all. The sequencer returns each record once, in order. Early records
//! wait in a [`ReorderBuffer`]; a [`FetchPlanner`] requests the missing ones.

use super::fetch::{FetchPlanner, Request};
use super::reorder_buffer::ReorderBuffer;

/// The largest offset that a record can have, so that "one after it" is a number too.
pub const MAX_OFFSET: u64 = u64::MAX - 1;

/// The result of offering a record.
#[derive(Debug, PartialEq, Eq)]
pub enum Offer<P> {
    /// It is the next record. The caller delivers it, and then calls [`Sequencer::pop_early`] for the records after
    /// it.
    InOrder(P),
    /// It arrived early and is buffered.
    Early,
    /// It has arrived before.
    Duplicate,
    /// It arrived early, and there is no room for it. It will be fetched.
    NoRoom,
}

/// The sequencer of one partition.
#[derive(Debug)]
pub struct Sequencer<P> {
    next: u64,
    /// One after the highest offset that a peer has mentioned. Never below `next`.
    end: u64,
    early: ReorderBuffer<P>,
    fetches: FetchPlanner,
}

impl<P: AsRef<[u8]>> Sequencer<P> {
    /// Returns a sequencer whose next record is `next`. Requesters with different `turn`s start with different
    /// stores.
    pub fn new(next: u64, turn: usize) -> Self {
        Sequencer { next, end: next, early: ReorderBuffer::default(), fetches: FetchPlanner::new(turn) }
    }

    /// The offset of the next record.
    pub fn next(&self) -> u64 {
        self.next
    }

    /// The memory of the early records.
    pub fn early_len_bytes(&self) -> usize {
        self.early.len_bytes()
    }

    /// True when records are missing.
    pub fn has_gap(&self) -> bool {
        self.next < self.end
    }

    /// Takes a record that arrived. Early records may use `room_bytes` more memory.
    pub fn offer(&mut self, offset: u64, content: P, now_ms: u64, room_bytes: usize) -> Offer<P> {
        if offset < self.next || offset > MAX_OFFSET {
            return Offer::Duplicate;
        }
        if offset == self.next {
            self.advance(content.as_ref().len(), now_ms);
            return Offer::InOrder(content);
        }
        self.handle_mention(offset, now_ms);
        self.fetches.handle_early(content.as_ref().len());
        if self.early.contains(offset) {
            return Offer::Duplicate;
        }
        if self.early.insert(offset, content, room_bytes) { Offer::Early } else { Offer::NoRoom }
    }

    /// Removes and returns the next record, if it arrived early.
    pub fn pop_early(&mut self, now_ms: u64) -> Option<P> {
        let content = self.early.take(self.next)?;
        self.advance(content.as_ref().len(), now_ms);
        Some(content)
    }

    /// Advances by one record.
    fn advance(&mut self, len_bytes: usize, now_ms: u64) {
        self.next += 1;
        self.end = self.end.max(self.next);
        self.fetches.handle_in_order(self.next, len_bytes, now_ms);
    }

    /// Drops all early records, which will be fetched again. Returns how many there were, and their memory.
    pub fn drop_early(&mut self) -> (usize, usize) {
        self.early.clear()
    }

    /// A peer has mentioned the record `offset`. It claims that this record and all before it exist.
    pub fn handle_mention(&mut self, offset: u64, now_ms: u64) {
        if offset > MAX_OFFSET || offset < self.next {
            return;
        }
        self.end = self.end.max(offset + 1);
        self.fetches.handle_mention(now_ms);
    }

    /// Drops the claims of peers. Besides `offset`, only the records that have arrived are certain to exist.
    pub fn end_at(&mut self, offset: u64) {
        let known = self.early.last().map_or(offset, |last| last.max(offset)) + 1;
        self.end = known.max(self.next).min(self.end);
        // If no record is missing, no FETCH is in flight.
        if self.end == self.next + 1 && offset == self.next {
            self.fetches.cancel();
        }
        self.fetches.end_at(self.end);
    }

    /// The partition's FETCHes.
    pub fn fetches(&self) -> &FetchPlanner {
        &self.fetches
    }

    /// The partition's FETCHes.
    pub fn fetches_mut(&mut self) -> &mut FetchPlanner {
        &mut self.fetches
    }

    /// When the next FETCH is due; `None` when no record is missing.
    pub fn fetch_due_ms(&self) -> Option<u64> {
        self.has_gap().then(|| self.fetches.due_ms())
    }

    /// Returns the FETCH to send now. To be called when [`Sequencer::fetch_due_ms`] has come. When no peer has
    /// responded for a minute and no early record shows a gap, the claims are dropped until a peer repeats them.
    pub fn request(&mut self, now_ms: u64) -> Option<Request> {
        if !self.has_gap() {
            return None;
        }
        let request = self.fetches.request(self.next, self.end, &self.early, now_ms);
        if request.is_none() {
            self.end = self.next;
        }
        request
    }

    /// The bytes of content that the FETCH in flight requests, if it counts in the quota.
    pub fn in_flight_len_bytes(&self) -> u64 {
        self.fetches.in_flight_len_bytes(self.next)
    }
}

#[cfg(test)]
mod tests;
