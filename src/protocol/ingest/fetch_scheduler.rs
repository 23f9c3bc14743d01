//! Sends the FETCHes of all partitions when they are due, and limits the bytes in flight.

use super::eviction::Payer;
use super::fetch_quota::FetchQuota;
use super::index::Index;
use super::table::{Partition, Table};
use crate::protocol::partition::fetch::Request;
use crate::protocol::{Outbox, Payload};
use crate::wire::Message;
use std::collections::BTreeSet;

/// While partitions wait for room, about this many of them retry per millisecond.
const WAITING_PER_MS: usize = 50;
/// How long a partition waits until it retries, when the [`FetchQuota`] has no room for its FETCH.
const NO_ROOM_RETRY_MS: u64 = 20;

/// The FETCHes of all partitions.
pub(super) struct FetchScheduler {
    /// The requester's address in each FETCH.
    own_address: Box<[u8]>,
    /// When each partition with a gap is examined next.
    timers: BTreeSet<(u64, Index)>,
    in_flight: FetchQuota,
    /// The next room of this peer is for an urgent partition, which retries at this time.
    reserved: Option<(Payer, u64)>,
    /// When a connection was last given up.
    cut_ms: Option<u64>,
    /// When the oldest unread message was received.
    unread_since_ms: Option<u64>,
    /// The partitions that the last [`FetchScheduler::handle_timeout`] found stalled, each with its missing record.
    stalled: Vec<(Index, u64)>,
    sent_count: u64,
}

impl FetchScheduler {
    /// Returns a scheduler without FETCHes. Its FETCHes name `own_address` as the requester.
    pub(super) fn new(own_address: &[u8], in_flight_len_bytes: u64) -> Self {
        FetchScheduler {
            own_address: own_address.into(),
            timers: BTreeSet::new(),
            in_flight: FetchQuota::new(in_flight_len_bytes),
            reserved: None,
            cut_ms: None,
            unread_since_ms: None,
            stalled: Vec::new(),
            sent_count: 0,
        }
    }

    /// The requester's address.
    pub(super) fn own_address(&self) -> &[u8] {
        &self.own_address
    }

    /// The bytes that the FETCHes in flight request.
    pub(super) fn in_flight_len_bytes(&self) -> u64 {
        self.in_flight.len_bytes()
    }

    /// The number of FETCHes that were sent.
    pub(super) fn sent_count(&self) -> u64 {
        self.sent_count
    }

    /// Sets since when received messages are unread; `None` when no message is unread. The unread messages may be
    /// responses to FETCHes.
    pub(super) fn handle_unread(&mut self, unread_since_ms: Option<u64>) {
        self.unread_since_ms = unread_since_ms;
    }

    /// All messages that were received before this time have been read.
    pub(super) fn read_until_ms(&self, now_ms: u64) -> u64 {
        self.unread_since_ms.unwrap_or(now_ms).min(now_ms)
    }

    /// A connection has been given up. The response to a FETCH may be lost.
    pub(super) fn handle_given_up(&mut self, now_ms: u64) {
        self.cut_ms = Some(now_ms);
    }

    /// Returns a partition that the last [`FetchScheduler::handle_timeout`] found stalled, with its missing record.
    pub(super) fn poll_stalled(&mut self) -> Option<(Index, u64)> {
        self.stalled.pop()
    }

    /// When [`FetchScheduler::handle_timeout`] must be called next.
    pub(super) fn due_ms(&self) -> Option<u64> {
        self.timers.first().map(|&(due_ms, _)| due_ms)
    }

    /// Sends the FETCHes that are due. Does not retry a FETCH whose response may be among the unread messages.
    /// `urgent_count` is the number of urgent partitions, see [`Partition::is_urgent`].
    pub(super) fn handle_timeout<P: Payload>(
        &mut self,
        table: &mut Table<P>,
        urgent_count: usize,
        now_ms: u64,
        out: &mut Outbox<P>,
    ) {
        self.stalled.clear();
        let read_until_ms = self.read_until_ms(now_ms);
        while let Some(&(timer_ms, index)) = self.timers.first()
            && timer_ms <= read_until_ms
        {
            self.timers.pop_first();
            table[index].timer_ms = None;
            let Some(mut due_ms) = table[index].sequencer.fetch_due_ms() else { continue };
            if due_ms <= read_until_ms {
                due_ms = self.fetch(table, index, urgent_count, now_ms, out);
            }
            table[index].timer_ms = Some(due_ms);
            self.timers.insert((due_ms, index));
        }
    }

    /// Sends the next FETCH of a partition if the limits allow it. Returns when to examine the partition again.
    fn fetch<P: Payload>(
        &mut self,
        table: &mut Table<P>,
        index: Index,
        urgent_count: usize,
        now_ms: u64,
        out: &mut Outbox<P>,
    ) -> u64 {
        let partition = &mut table[index];
        // Stop counting an expired FETCH even when there is no room for the next one. Otherwise two partitions could
        // wait forever for each other's room.
        let before = partition.sequencer.in_flight_len_bytes();
        partition.sequencer.fetches_mut().expire();
        self.recount(index, partition, before, now_ms);
        let fetches = partition.sequencer.fetches_mut();
        if let Some(due_ms) = self.cut_ms.and_then(|cut_ms| fetches.back_off(cut_ms, now_ms)) {
            return due_ms;
        }
        let payer = table[index].payer.clone();
        let is_urgent = table[index].is_urgent();
        let is_reserved = table[index].doubt.is_some() && !is_urgent && self.is_reserved(&payer, now_ms);
        if is_reserved || !self.make_room(table, &payer, now_ms) {
            let waiting_count = if is_urgent { urgent_count } else { self.timers.len() };
            let due_ms = now_ms + NO_ROOM_RETRY_MS + spread_ms(index, waiting_count);
            if is_urgent {
                self.reserved = Some((payer, due_ms));
            }
            return due_ms;
        }
        let partition = &mut table[index];
        if let Some(Request { first, count, store }) = partition.sequencer.request(now_ms) {
            // If only the timestamp of a record is needed, its response would be longer in a batch.
            let takes_batches = !partition.sequencer.requests_single_records();
            self.sent_count += 1;
            if partition.sequencer.fetches().is_stalled() {
                self.stalled.push((index, first));
            }
            out.message(&Message::Fetch {
                topic: partition.name().producer,
                address: &self.own_address,
                subject: partition.name().topic,
                sequence: first,
                count,
                store: store.as_deref().unwrap_or_default(),
                takes_batches,
            });
        }
        let due_ms = partition.sequencer.fetch_due_ms().unwrap_or(now_ms + NO_ROOM_RETRY_MS);
        self.recount(index, partition, 0, now_ms);
        due_ms
    }

    /// Sets the timer of a partition with a gap: to the deadline of its FETCH, or to now if no FETCH is in flight.
    pub(super) fn reschedule<P: Payload>(&mut self, index: Index, partition: &mut Partition<P>, now_ms: u64) {
        let Some(due_ms) = partition.sequencer.fetch_due_ms() else { return };
        match partition.timer_ms {
            // Keep a timer that fires before the deadline: `handle_timeout` then sets the timer again. So when an
            // in-order record makes the deadline later, the timer need not change.
            Some(timer_ms) if timer_ms <= due_ms => return,
            // The partition waits for room. Its timer stays.
            Some(timer_ms)
                if due_ms == 0
                    && timer_ms <= now_ms + NO_ROOM_RETRY_MS + spread_ms(index, self.timers.len()) =>
            {
                return;
            }
            Some(timer_ms) => drop(self.timers.remove(&(timer_ms, index))),
            None => {}
        }
        partition.timer_ms = Some(due_ms);
        self.timers.insert((due_ms, index));
    }

    /// A partition has become urgent. If it waits for room, it is examined at once.
    pub(super) fn hurry<P: Payload>(&mut self, index: Index, partition: &mut Partition<P>, now_ms: u64) {
        if partition.sequencer.fetch_due_ms() == Some(0)
            && let Some(timer_ms) = partition.timer_ms.filter(|timer_ms| now_ms < *timer_ms)
        {
            self.timers.remove(&(timer_ms, index));
            partition.timer_ms = Some(now_ms);
            self.timers.insert((now_ms, index));
        }
    }

    /// Whether an urgent partition that is charged to `payer` waits for room.
    fn is_reserved(&self, payer: &Payer, now_ms: u64) -> bool {
        self.reserved.as_ref().is_some_and(|(of, until_ms)| of == payer && now_ms <= *until_ms)
    }

    /// Updates the counted bytes of a partition's FETCH, which were `before`.
    pub(super) fn recount<P: Payload>(
        &mut self,
        index: Index,
        partition: &mut Partition<P>,
        before: u64,
        now_ms: u64,
    ) {
        let now = partition.sequencer.in_flight_len_bytes();
        self.in_flight.change(&partition.payer, before, now);
        match (partition.window, now > 0) {
            (None, true) => partition.window = Some(self.in_flight.begin(index, now_ms)),
            (Some(_), false) => self.in_flight.end(index, partition.window.take()),
            _ => {}
        }
    }

    /// Handles that records have arrived. If the deadline of the partition's FETCH had passed, and there is room,
    /// counts this FETCH again, with the records that are still missing.
    pub(super) fn revive<P: Payload>(&mut self, table: &mut Table<P>, index: Index, now_ms: u64) {
        let payer = table[index].payer.clone();
        if table[index].sequencer.fetches().is_late() && self.make_room(table, &payer, now_ms) {
            let partition = &mut table[index];
            partition.sequencer.fetches_mut().revive();
            self.recount(index, partition, 0, now_ms);
        }
    }

    /// Makes room for a FETCH that is charged to `payer`. If necessary, stops counting slow FETCHes of other peers.
    /// Returns false when there is still no room.
    pub(super) fn make_room<P: Payload>(&mut self, table: &mut Table<P>, payer: &[u8], now_ms: u64) -> bool {
        while !self.in_flight.has_room(payer) {
            let is_other = |of: &Index| *table[*of].payer != *payer;
            let Some(slow) = self.in_flight.slow(now_ms).find(is_other) else { return false };
            let partition = &mut table[slow];
            let before = partition.sequencer.in_flight_len_bytes();
            partition.sequencer.fetches_mut().release_quota();
            self.recount(slow, partition, before, now_ms);
        }
        true
    }

    /// Whether a peer has room for a FETCH.
    pub(super) fn has_room(&self, peer: &[u8]) -> bool {
        self.in_flight.has_room(peer)
    }

    /// A partition that was charged to `payer` is now charged to `partition.payer`. Moves the bytes of its FETCH to the
    /// new payer.
    pub(super) fn handle_new_payer<P: Payload>(&mut self, payer: &[u8], partition: &Partition<P>) {
        let len_bytes = partition.sequencer.in_flight_len_bytes();
        self.in_flight.change(payer, len_bytes, 0);
        self.in_flight.change(&partition.payer, 0, len_bytes);
    }

    /// Drops the FETCH and the timer of a partition whose sequencer is dropped.
    pub(super) fn release<P: Payload>(&mut self, index: Index, partition: &mut Partition<P>) {
        self.in_flight.change(&partition.payer, partition.sequencer.in_flight_len_bytes(), 0);
        self.in_flight.end(index, partition.window.take());
        if let Some(timer_ms) = partition.timer_ms.take() {
            self.timers.remove(&(timer_ms, index));
        }
    }
}

/// An additional delay until a partition that waits for room retries. When many partitions wait, they retry at different
/// times, and each of them retries less often.
fn spread_ms(index: Index, waiting_count: usize) -> u64 {
    (index.0 % (waiting_count / WAITING_PER_MS + 1)) as u64
}
