//! Limits what all FETCHes in flight may bring. Hosts share the limit, and then the peers that partitions are charged
//! to.
//!
//! A slow peer could occupy its share without end. So when there is no room, windows that have been in flight for long
//! stop counting. They go on all the same.

use super::{Index, Ingest, MAX_LOOKS};
use crate::protocol::Payload;
use crate::protocol::shares::Shares;
use std::collections::BTreeSet;

/// How many times what is free one host may have under way: so one alone has three quarters of what hosts share, and
/// whatever others have, something is left for the next. The same for the peers of a host, of what that may have.
const SHARE: u64 = 3;
/// This part of the limit is not shared: it is a reserve for hosts that have nothing under way.
const RESERVE: u64 = 4;
/// A window that has been under way for longer makes room for other peers.
const SLOW_MS: u64 = 1_000;

/// A FETCH under way that counts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Window {
    since_ms: u64,
}

/// What FETCHes may bring, in all and by peer.
#[derive(Debug)]
pub(super) struct Budget {
    limit_len_bytes: u64,
    len_bytes: u64,
    shares: Shares,
    /// FETCHes that count, by when they began to; each partition has one at most.
    windows: BTreeSet<(u64, Index)>,
}

impl Budget {
    /// Nothing is under way.
    pub(super) fn new(limit_len_bytes: u64) -> Self {
        Budget { limit_len_bytes, len_bytes: 0, shares: Shares::default(), windows: BTreeSet::new() }
    }

    /// What all FETCHes under way may bring.
    pub(super) fn len_bytes(&self) -> u64 {
        self.len_bytes
    }

    /// Whether another FETCH for a partition that this peer pays for may go out. What all may bring exceeds the limit by
    /// one FETCH at the most.
    pub(super) fn has_room(&self, payer: &[u8]) -> bool {
        let host_len_bytes = self.shares.of_host(payer);
        if host_len_bytes == 0 {
            return self.len_bytes <= self.limit_len_bytes;
        }
        let shared_len_bytes = self.limit_len_bytes - self.limit_len_bytes / RESERVE;
        let free_len_bytes = shared_len_bytes.saturating_sub(self.len_bytes);
        let free_of_host = free_len_bytes.saturating_mul(SHARE).saturating_sub(host_len_bytes);
        let own_len_bytes = self.shares.of(payer);
        let is_alone = own_len_bytes == host_len_bytes;
        free_of_host > 0 && (is_alone || own_len_bytes < free_of_host.saturating_mul(SHARE))
    }

    /// What a partition of this peer has under way was `before` and is `now`.
    pub(super) fn change(&mut self, payer: &[u8], before: u64, now: u64) {
        self.len_bytes = self.len_bytes + now - before;
        self.shares.change(payer, before, now);
    }

    /// A partition's window begins to count.
    fn begin(&mut self, index: Index, now_ms: u64) -> Window {
        self.windows.insert((now_ms, index));
        Window { since_ms: now_ms }
    }

    /// A partition's window, if it has one, no longer counts.
    pub(super) fn end(&mut self, index: Index, window: Option<Window>) {
        if let Some(window) = window {
            self.windows.remove(&(window.since_ms, index));
        }
    }
}

impl<P: Payload> Ingest<P> {
    /// Puts right what counts of a partition's FETCH; it was `before`.
    pub(super) fn recount(&mut self, index: Index, before: u64, now_ms: u64) {
        let partition = self.partitions[index.0].as_mut().expect("an open partition");
        let now = partition.sequencer.in_flight_len_bytes();
        self.in_flight.change(&partition.payer, before, now);
        match (partition.window, now > 0) {
            (None, true) => partition.window = Some(self.in_flight.begin(index, now_ms)),
            (Some(_), false) => self.in_flight.end(index, partition.window.take()),
            _ => {}
        }
    }

    /// Lets what is left of a late answer count again, if there is room.
    pub(super) fn revive(&mut self, index: Index, now_ms: u64) {
        if self.partition(index).sequencer.is_late() && self.has_room(index, now_ms) {
            self.partitions[index.0].as_mut().expect("an open partition").sequencer.revive();
            self.recount(index, 0, now_ms);
        }
    }

    /// Whether another FETCH may go out for a partition. Where there is no room, slow windows of other peers make some.
    pub(super) fn has_room(&mut self, index: Index, now_ms: u64) -> bool {
        let payer = self.partition(index).payer.clone();
        while !self.in_flight.has_room(&payer) {
            let Some(slow) = self.slow_window(&payer, now_ms) else { return false };
            let partition = self.partitions[slow.0].as_mut().expect("a window's partition is open");
            let before = partition.sequencer.in_flight_len_bytes();
            partition.sequencer.no_longer_count();
            self.recount(slow, before, now_ms);
        }
        true
    }

    /// A partition of another peer than `payer` whose window is slow.
    fn slow_window(&self, payer: &[u8], now_ms: u64) -> Option<Index> {
        let is_slow = |&&(since_ms, _): &&(u64, Index)| now_ms >= since_ms + SLOW_MS;
        let mut slow = self.in_flight.windows.iter().take_while(is_slow).take(MAX_LOOKS);
        slow.find(|(_, index)| *self.partition(*index).payer != *payer).map(|&(_, index)| index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fill(budget: &mut Budget, payer: &[u8]) -> u64 {
        let mut count = 0;
        while budget.has_room(payer) {
            budget.change(payer, 0, 1);
            count += 1;
        }
        count
    }

    #[test]
    fn a_peer_leaves_room_for_others() {
        let mut budget = Budget::new(64);
        assert_eq!([b"A", b"B", b"C", b"D"].map(|payer| fill(&mut budget, payer)), [36, 9, 3, 1]);
        // What one gives up is there for others.
        budget.change(b"A", 36, 0);
        assert!(fill(&mut budget, b"B") > 15);
        assert!(budget.has_room(b"A"));
        budget.change(b"A", 0, 200);
        assert!(!budget.has_room(b"E"));
    }

    #[test]
    fn a_host_gains_nothing_by_many_connections() {
        let mut budget = Budget::new(64);
        let peer = |host: u8, number: u8| [&[host; 16][..], &[number]].concat();
        let filled: Vec<u64> = (0..100).map(|number| fill(&mut budget, &peer(1, number))).collect();
        // The reserve is for others.
        assert_eq!((filled.iter().sum::<u64>(), filled[0]), (36, 36), "{filled:?}");
        assert_eq!(fill(&mut budget, &peer(2, 1)), 9);
        // Its connections leave each other something.
        budget.change(&peer(1, 0), 36, 12);
        assert!(budget.has_room(&peer(1, 1)) && fill(&mut budget, &peer(1, 1)) > 5);
        assert!(fill(&mut budget, &peer(1, 2)) > 0);
    }
}
