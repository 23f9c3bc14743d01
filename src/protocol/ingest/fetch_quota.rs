//! Limits the bytes that all FETCHes in flight may bring. Hosts share the limit, and then the peers of each host that
//! partitions are charged to.
//!
//! A slow peer could occupy its share without end. So when there is no room, FETCHes that have been in flight for long
//! stop counting. Their answers are still accepted.

use super::index::Index;
use crate::protocol::shares::Shares;
use std::collections::BTreeSet;

/// One host may have in flight so many times what is free: alone, three quarters of what hosts share. Whatever others have
/// in flight, something is left for the next host. The peers of a host share what the host may have in the same way.
const SHARE: u64 = 3;
/// This part of the limit is a reserve for hosts that have nothing in flight.
const RESERVE: u64 = 4;
/// A FETCH that has been in flight for longer makes room for other peers.
const SLOW_MS: u64 = 1_000;
/// At most so many slow FETCHes are considered.
const MAX_LOOKS: usize = 16;

/// A FETCH in flight that counts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Window {
    since_ms: u64,
}

/// What the FETCHes in flight may bring, in all and by peer.
#[derive(Debug)]
pub(super) struct FetchQuota {
    limit_len_bytes: u64,
    len_bytes: u64,
    shares: Shares,
    /// FETCHes that count, by when they began to count; each partition has one at most.
    windows: BTreeSet<(u64, Index)>,
}

impl FetchQuota {
    /// Nothing is in flight.
    pub(super) fn new(limit_len_bytes: u64) -> Self {
        FetchQuota { limit_len_bytes, len_bytes: 0, shares: Shares::default(), windows: BTreeSet::new() }
    }

    /// What all FETCHes in flight may bring.
    pub(super) fn len_bytes(&self) -> u64 {
        self.len_bytes
    }

    /// Whether another FETCH may be sent for a partition that is charged to this peer. All FETCHes together exceed the limit
    /// by one FETCH at most.
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

    /// What a partition of this peer has in flight was `before` and is `now`.
    pub(super) fn change(&mut self, payer: &[u8], before: u64, now: u64) {
        self.len_bytes = self.len_bytes + now - before;
        self.shares.change(payer, before, now);
    }

    /// A partition's FETCH begins to count.
    pub(super) fn begin(&mut self, index: Index, now_ms: u64) -> Window {
        self.windows.insert((now_ms, index));
        Window { since_ms: now_ms }
    }

    /// A partition's FETCH, if there is one, no longer counts.
    pub(super) fn end(&mut self, index: Index, window: Option<Window>) {
        if let Some(window) = window {
            self.windows.remove(&(window.since_ms, index));
        }
    }
    /// The partitions whose FETCHes are slow, the oldest FETCH first.
    pub(super) fn slow(&self, now_ms: u64) -> impl Iterator<Item = Index> {
        let is_slow = move |&&(since_ms, _): &&(u64, Index)| now_ms >= since_ms + SLOW_MS;
        self.windows.iter().take_while(is_slow).take(MAX_LOOKS).map(|&(_, index)| index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fill(quota: &mut FetchQuota, payer: &[u8]) -> u64 {
        let mut count = 0;
        while quota.has_room(payer) {
            quota.change(payer, 0, 1);
            count += 1;
        }
        count
    }

    #[test]
    fn a_peer_leaves_room_for_others() {
        let mut quota = FetchQuota::new(64);
        assert_eq!([b"A", b"B", b"C", b"D"].map(|payer| fill(&mut quota, payer)), [36, 9, 3, 1]);
        // What one gives up is there for others.
        quota.change(b"A", 36, 0);
        assert!(fill(&mut quota, b"B") > 15);
        assert!(quota.has_room(b"A"));
        quota.change(b"A", 0, 200);
        assert!(!quota.has_room(b"E"));
    }

    #[test]
    fn a_host_gains_nothing_by_many_connections() {
        let mut quota = FetchQuota::new(64);
        let peer = |host: u8, number: u8| [&[host; 16][..], &[number]].concat();
        let filled: Vec<u64> = (0..100).map(|number| fill(&mut quota, &peer(1, number))).collect();
        // The reserve is for others.
        assert_eq!((filled.iter().sum::<u64>(), filled[0]), (36, 36), "{filled:?}");
        assert_eq!(fill(&mut quota, &peer(2, 1)), 9);
        // Its connections leave each other something.
        quota.change(&peer(1, 0), 36, 12);
        assert!(quota.has_room(&peer(1, 1)) && fill(&mut quota, &peer(1, 1)) > 5);
        assert!(fill(&mut quota, &peer(1, 2)) > 0);
    }
}
