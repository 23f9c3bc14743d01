//! What all FETCHes under way may bring, shared among the hosts, and then the peers, that pay for their partitions.

use crate::protocol::shares::Shares;

/// How many times what is free one host may have under way: so one alone has three quarters of what hosts share, and
/// whatever others have, something is left for the next. The same for the peers of a host, of what that may have.
const SHARE: u64 = 3;
/// This part of the limit is not shared: it is a reserve for hosts that have nothing under way.
const RESERVE: u64 = 4;

/// What FETCHes may bring, in all and by peer.
#[derive(Debug)]
pub(super) struct Budget {
    limit_len_bytes: u64,
    len_bytes: u64,
    shares: Shares,
}

impl Budget {
    /// Nothing is under way.
    pub(super) fn new(limit_len_bytes: u64) -> Self {
        Budget { limit_len_bytes, len_bytes: 0, shares: Shares::default() }
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
