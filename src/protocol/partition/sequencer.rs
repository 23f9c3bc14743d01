//! Puts the records of one partition in order.
//!
//! Records arrive in runs, in any order, twice, or not at all. Runs may overlap. The sequencer returns each record
//! once, in order. Early records wait in a [`ReorderBuffer`]. A [`FetchPlanner`] requests the missing records.

use super::fetch::{FetchPlanner, Request};
use super::reorder_buffer::ReorderBuffer;
use super::search::Search;
use crate::protocol::Payload;

/// The largest offset that a record can have, so that the offset after it is also a `u64`.
pub const MAX_OFFSET: u64 = u64::MAX - 1;

/// A FETCH for a single record counts at least this many bytes in the quota of bytes in flight. A consumer may have many
/// partitions of which it requests a single record. With the quota of 64 MiB, at most 4,096 of these FETCHes are in
/// flight, which is as many as a producer or store keeps until it responds.
const PROBE_LEN_BYTES: u64 = 16 << 10;

/// The result of offering a run.
#[derive(Debug, PartialEq, Eq)]
pub enum Offer<P> {
    /// The run contains the next record. `InOrder` holds the run's records from the next record on. The caller delivers
    /// these records, and then calls [`Sequencer::pop_early`] for the records after them.
    InOrder(P),
    /// The run arrived early and is buffered.
    Early {
        /// How many records of the run had not arrived before.
        new_count: u64,
    },
    /// All records of the run have arrived before.
    Duplicate,
    /// The run arrived early, and there is no room for it. It will be fetched.
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
    /// Whether only the next record is requested.
    is_probing: bool,
    /// While the record at which to start is searched. All records before `next` are too early then, and the records that
    /// arrive and are late enough wait.
    search: Option<Box<Search>>,
}

impl<P: Payload> Sequencer<P> {
    /// Returns a sequencer whose next record is `next`. Requesters with different `turn`s start with different
    /// stores.
    pub fn new(next: u64, turn: usize) -> Self {
        let (early, fetches) = (ReorderBuffer::default(), FetchPlanner::new(turn));
        Sequencer { next, end: next, early, fetches, is_probing: false, search: None }
    }

    /// Sets whether only the next record is requested, also if further ones are missing.
    pub fn set_probing(&mut self, is_probing: bool) {
        self.is_probing = is_probing;
    }

    /// Sets which record is searched.
    pub fn set_search(&mut self, search: Option<Box<Search>>) {
        self.search = search;
    }

    /// Ends the search, and returns it.
    pub fn take_search(&mut self) -> Option<Box<Search>> {
        self.search.take()
    }

    /// The search, until it has found its record.
    pub fn search(&self) -> Option<&Search> {
        self.search.as_deref()
    }

    /// Whether single records are requested, for their timestamps.
    pub fn requests_single_records(&self) -> bool {
        self.is_probing || self.search.is_some()
    }

    /// A run has arrived during a search. `first` is the offset of its first record. If that ends the search,
    /// [`Sequencer::next`] is then the searched record.
    pub fn examine(&mut self, first: u64, run: &P, now_ms: u64) {
        let Some(search) = &mut self.search else { return };
        let count = run.record_count();
        let Some(end) = first.checked_add(count) else { return };
        self.next = search.narrow(self.next, first, run);
        self.end = self.end.max(self.next);
        if search.is_found(self.next) {
            self.search = None;
        }
        if let Some(requested) = self.fetches.requested() {
            if (first..end).contains(&requested) {
                self.fetches.handle_in_order(end, count, run.len_bytes(), now_ms);
            }
            if self.search.is_none() || !self.is_wanted(requested) {
                self.fetches.cancel();
            }
        }
    }

    /// Whether the search still needs a record.
    fn is_wanted(&self, offset: u64) -> bool {
        self.search.as_ref().is_some_and(|search| search.needs(offset, self.next, self.end))
    }

    /// The offset of the next record.
    pub fn next(&self) -> u64 {
        self.next
    }

    /// One after the highest offset that a peer has mentioned. At least [`Sequencer::next`].
    pub fn end(&self) -> u64 {
        self.end
    }

    /// The memory of the early records.
    pub fn early_len_bytes(&self) -> usize {
        self.early.len_bytes()
    }

    /// True when records are missing.
    pub fn has_gap(&self) -> bool {
        self.next < self.end
    }

    /// Takes a run that arrived. The offset of its first record is `first`. If the run is early, the early records may
    /// use `room_bytes` more memory.
    pub fn offer(&mut self, first: u64, run: P, now_ms: u64, room_bytes: usize) -> Offer<P> {
        // No record can have an offset above MAX_OFFSET.
        let Some(end) = first.checked_add(run.record_count()) else { return Offer::Duplicate };
        if end <= self.next {
            return Offer::Duplicate;
        }
        if first <= self.next {
            let Some(run) = run.skip(self.next - first) else { return Offer::Duplicate };
            // After a skip, a short rest could otherwise keep a long batch in memory, and no limit counts that memory.
            let run = if first < self.next { run.into_own_memory() } else { run };
            self.advance(&run, now_ms);
            return Offer::InOrder(run);
        }
        self.handle_mention(end - 1, now_ms);
        self.fetches.handle_early(run.record_count(), run.len_bytes());
        match self.early.insert(first, run, room_bytes) {
            Some(0) => Offer::Duplicate,
            Some(new_count) => Offer::Early { new_count },
            None => Offer::NoRoom,
        }
    }

    /// Removes the run with the next record from the early records, and returns it. Advances [`Sequencer::next`] to the
    /// record after the run. Returns `None` when the next record has not arrived.
    pub fn pop_early(&mut self, now_ms: u64) -> Option<P> {
        let run = self.early.take(self.next)?;
        self.advance(&run, now_ms);
        Some(run)
    }

    /// Makes `next` the next record, unless it is before the present next record. [`Sequencer::pop_early`] drops the
    /// early records before it.
    pub fn skip_to(&mut self, next: u64) {
        self.next = self.next.max(next);
        self.end = self.end.max(self.next);
        self.fetches.cancel();
    }

    /// Advances by the records of a run.
    fn advance(&mut self, run: &P, now_ms: u64) {
        self.next += run.record_count();
        self.end = self.end.max(self.next);
        self.fetches.handle_in_order(self.next, run.record_count(), run.len_bytes(), now_ms);
    }

    /// Drops all early records, which will be fetched again. Returns how many there were, and their memory.
    pub fn drop_early(&mut self) -> (u64, usize) {
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

    /// Drops the claims of peers. The caller offers next a run that contains the next record and ends at `end`. Only
    /// the records of this run, and the early records, are certain to exist.
    pub fn end_at(&mut self, end: u64) {
        let known = self.early.end().map_or(end, |early_end| early_end.max(end));
        self.end = known.min(self.end).max(self.next);
        match &self.search {
            None => {
                // The run fills the gap, so the FETCH in flight is not needed any more.
                if self.end <= end {
                    self.fetches.cancel();
                }
                self.fetches.end_at(self.end);
            }
            Some(_) if self.fetches.requested().is_some_and(|requested| requested >= self.end) => {
                self.fetches.cancel();
            }
            Some(_) => {}
        }
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

    /// Returns the FETCH to send now. To be called when [`Sequencer::fetch_due_ms`] has come. If no peer has responded
    /// for a minute and there are no early records, returns `None`, and drops the claims until a peer repeats them.
    pub fn request(&mut self, now_ms: u64) -> Option<Request> {
        if !self.has_gap() {
            return None;
        }
        let next = self.wanted(now_ms)?;
        let (end, least_len_bytes) =
            if self.requests_single_records() { (next + 1, PROBE_LEN_BYTES) } else { (self.end, 0) };
        let request = self.fetches.request(next, end, least_len_bytes, &self.early, now_ms);
        if request.is_none() {
            self.end = self.next;
            self.search.iter_mut().for_each(|search| search.ask_again());
        }
        request
    }

    /// The first record to request now. If no peer has sent the record that a search needed, this is another record.
    fn wanted(&mut self, now_ms: u64) -> Option<u64> {
        let Some(search) = &mut self.search else { return Some(self.next) };
        let is_missing = self.fetches.requested().is_some_and(|requested| search.is_missing(requested));
        // A single response may be lost. But when a record is missing, its neighbours probably are, too.
        let repeat_count = if search.has_missing() { 0 } else { 1 };
        if !is_missing && let Some(given_up) = self.fetches.give_up(repeat_count, now_ms) {
            search.give_up(given_up, self.next);
        }
        search.wanted(self.next, self.end)
    }

    /// The bytes of content that the FETCH in flight requests, if it counts in the quota.
    pub fn in_flight_len_bytes(&self) -> u64 {
        self.fetches.in_flight_len_bytes(self.next)
    }
}

#[cfg(test)]
mod tests;
