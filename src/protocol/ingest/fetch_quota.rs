//! Limits the bytes that all FETCHes in flight request. The limit is divided among hosts, and then among the peers of
//! each host. The FETCHes of a partition count for the peer that the partition is charged to.
//!
//! A slow peer could occupy its share without end. So when there is no room for a FETCH, slow FETCHes of other peers
//! stop counting, the oldest first, until there is room. Responses to these FETCHes are still accepted.

use super::index::Index;
use crate::protocol::shares::Shares;
use std::collections::BTreeSet;

/// One part of the limit is the reserve, and the rest is the shared part. The bytes that a host has in flight are
/// limited to this many times the bytes of the shared part that remain free. So a single host gets three quarters of
/// the shared part, and there is always room for another host. The peers of a host divide the host's share in the same
/// way.
const SHARE: u64 = 3;
/// The reserve is the limit divided by this. Only hosts that have nothing in flight may use the reserve.
const RESERVE: u64 = 4;
/// A FETCH is slow when it has been in flight for this time. It then stops counting when another peer needs room.
const SLOW_MS: u64 = 1_000;
/// At most this many slow FETCHes are examined at a time.
const MAX_LOOKS: usize = 16;

/// A counted FETCH in flight.
#[derive(Clone, Copy, Debug)]
pub(super) struct Window {
    since_ms: u64,
}

/// The bytes that FETCHes in flight request, in total and by peer.
#[derive(Debug)]
pub(super) struct FetchQuota {
    limit_len_bytes: u64,
    len_bytes: u64,
    shares: Shares,
    /// The counted FETCHes, ordered by the time when they began to count. Each partition has one at most.
    windows: BTreeSet<(u64, Index)>,
}

impl FetchQuota {
    pub(super) fn new(limit_len_bytes: u64) -> Self {
        FetchQuota { limit_len_bytes, len_bytes: 0, shares: Shares::default(), windows: BTreeSet::new() }
    }

    /// Bytes that all FETCHes in flight request.
    pub(super) fn len_bytes(&self) -> u64 {
        self.len_bytes
    }

    /// Whether another FETCH may be sent for a partition that is charged to this peer. All FETCHes together exceed
    /// the limit by one FETCH at most.
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

    /// Changes the bytes in flight for one partition of a peer from `before` to `now`.
    pub(super) fn change(&mut self, payer: &[u8], before: u64, now: u64) {
        self.len_bytes = self.len_bytes + now - before;
        self.shares.change(payer, before, now);
    }

    /// Starts to count a partition's FETCH.
    pub(super) fn begin(&mut self, index: Index, now_ms: u64) -> Window {
        self.windows.insert((now_ms, index));
        Window { since_ms: now_ms }
    }

    /// Stops counting a partition's FETCH, if there is one.
    pub(super) fn end(&mut self, index: Index, window: Option<Window>) {
        if let Some(window) = window {
            self.windows.remove(&(window.since_ms, index));
        }
    }
    /// Returns the partitions whose FETCHes are slow, the oldest FETCH first.
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
        // Bytes that one peer releases are available to others.
        quota.change(b"A", 36, 0);
        assert!(fill(&mut quota, b"B") > 15);
        assert!(quota.has_room(b"A"));
        quota.change(b"A", 0, 200);
        assert!(!quota.has_room(b"E"));
    }

    #[test]
    fn a_host_gains_no_room_by_many_connections() {
        let mut quota = FetchQuota::new(64);
        let peer = |host: u8, number: u8| [&[host; 16][..], &[number]].concat();
        let filled: Vec<u64> = (0..100).map(|number| fill(&mut quota, &peer(1, number))).collect();
        // The reserve is for other hosts.
        assert_eq!((filled.iter().sum::<u64>(), filled[0]), (36, 36), "{filled:?}");
        assert_eq!(fill(&mut quota, &peer(2, 1)), 9);
        // The connections of one host leave room for each other.
        quota.change(&peer(1, 0), 36, 12);
        assert!(quota.has_room(&peer(1, 1)) && fill(&mut quota, &peer(1, 1)) > 5);
        assert!(fill(&mut quota, &peer(1, 2)) > 0);
    }
}
