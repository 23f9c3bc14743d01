//! What all FETCHes under way may bring, shared among the peers that have brought their partitions.

use crate::protocol::seats::Payer;
use std::collections::HashMap;

/// How many times what is free one peer may have under way: so one alone has three quarters of what peers share, and
/// whatever others have, something is left for the next.
const SHARE: u64 = 3;
/// This part of the limit is not shared: it is a reserve for peers that have nothing under way.
const RESERVE: u64 = 4;

/// What FETCHes may bring, in all and by peer.
#[derive(Debug)]
pub(super) struct Budget {
    limit_len_bytes: u64,
    len_bytes: u64,
    by_payer: HashMap<Payer, u64>,
}

impl Budget {
    /// Nothing is under way.
    pub(super) fn new(limit_len_bytes: u64) -> Self {
        Budget { limit_len_bytes, len_bytes: 0, by_payer: HashMap::new() }
    }

    /// What all FETCHes under way may bring.
    pub(super) fn len_bytes(&self) -> u64 {
        self.len_bytes
    }

    /// Whether another FETCH for a partition that this peer has brought may go out. What all may bring exceeds the limit by
    /// one FETCH at the most.
    pub(super) fn has_room(&self, payer: &Payer) -> bool {
        match self.by_payer.get(payer) {
            Some(own_len_bytes) => {
                let shared_len_bytes = self.limit_len_bytes - self.limit_len_bytes / RESERVE;
                let free_len_bytes = shared_len_bytes.saturating_sub(self.len_bytes);
                *own_len_bytes < free_len_bytes.saturating_mul(SHARE)
            }
            None => self.len_bytes <= self.limit_len_bytes,
        }
    }

    /// What a partition of this peer has under way was `before` and is `now`.
    pub(super) fn change(&mut self, payer: &Payer, before: u64, now: u64) {
        if before == now {
            return;
        }
        self.len_bytes = self.len_bytes + now - before;
        let own_len_bytes = self.by_payer.entry(payer.clone()).or_default();
        *own_len_bytes = *own_len_bytes + now - before;
        if *own_len_bytes == 0 {
            self.by_payer.remove(payer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_leaves_room_for_others() {
        let mut budget = Budget::new(64);
        let [a, b, c, d] = [b"A", b"B", b"C", b"D"].map(|name| Payer::from(&name[..]));
        let fill = |budget: &mut Budget, payer: &Payer| {
            let mut count = 0;
            while budget.has_room(payer) {
                budget.change(payer, 0, 1);
                count += 1;
            }
            count
        };
        assert_eq!([&a, &b, &c, &d].map(|payer| fill(&mut budget, payer)), [36, 9, 3, 1]);
        // What one gives up is there for others.
        budget.change(&a, 36, 0);
        assert!(fill(&mut budget, &b) > 15);
        assert!(budget.has_room(&a));
        budget.change(&a, 0, 200);
        assert!(!budget.has_room(&b"E"[..].into()));
    }
}
