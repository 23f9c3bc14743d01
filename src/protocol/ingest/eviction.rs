//! The order in which partitions are evicted, and the peer that each partition is charged to.
//!
//! Any peer can invent partitions. So each partition is charged to a peer, and a peer that mentions many partitions
//! causes the eviction of its own partitions. A partition is charged to these peers, one after the other:
//!
//! - the peer that mentioned the partition when it was opened;
//! - the peer that delivered the first in-order record after that;
//! - a peer that mentions the partition while a FETCH for the partition waits, because the peer that the partition is
//!   charged to has no room for another FETCH, see [`Ingest::handle_mention`](super::Ingest::handle_mention).
//!
//! Exception: the charge does not move to a peer that has too many partitions.
//!
//! A peer is stored only while partitions are charged to it, so there are never more peers than partitions.

use super::index::Index;
use crate::protocol::shares::RankedShares;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

/// Partitions with a lower rank are evicted first. Unproven partitions rank below proven ones. Among unproven
/// partitions, and among proven ones, an earlier time means a lower rank.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rank {
    /// Whether an in-order record of the partition has arrived.
    pub is_proven: bool,
    /// In an `EvictionOrder`: the partition is protected until this time. An unproven partition is protected only from
    /// new partitions of its own peer. In the order of `ReorderQuota`: the partition's `moved_ms`.
    pub time_ms: u64,
}

/// A partition and its rank.
pub type Entry = (Rank, Index);

/// The peer that a partition is charged to; empty if it is charged to no peer.
pub type Payer = Arc<[u8]>;

/// All partitions in the order of eviction: those of each peer, and all together.
#[derive(Debug, Default)]
pub struct EvictionOrder {
    all: BTreeSet<Entry>,
    by_payer: HashMap<Payer, BTreeSet<Entry>>,
    /// The number of partitions of each peer.
    counts: RankedShares,
}

impl EvictionOrder {
    /// The number of peers that have partitions. The empty peer counts too.
    pub fn payer_count(&self) -> usize {
        self.by_payer.len()
    }

    /// The number of partitions of a peer.
    pub fn count_of(&self, payer: &[u8]) -> usize {
        self.by_payer.get(payer).map_or(0, BTreeSet::len)
    }

    /// The number of hosts that have partitions. The empty host counts too.
    pub fn host_count(&self) -> usize {
        self.counts.host_count()
    }

    /// The number of partitions of a peer's host.
    pub fn count_of_host(&self, payer: &[u8]) -> usize {
        self.counts.of_host(payer) as usize
    }

    /// The peer that loses a partition when `payer` brings a new one, see [`RankedShares::greediest_for`].
    pub fn greediest_for(&self, payer: &[u8]) -> Option<Payer> {
        self.counts.greediest_for(payer).cloned()
    }

    /// The largest number of partitions that are charged to one peer. The empty peer does not count.
    pub fn most_of_peer(&self) -> usize {
        self.counts.greediest().find(|(payer, _)| !payer.is_empty()).map_or(0, |(_, count)| count as usize)
    }

    /// Returns the partition to evict first among the proven partitions, or among the unproven ones. Searches the
    /// partitions of `payer`, or all partitions if `payer` is `None`.
    pub fn first(&self, payer: Option<&[u8]>, is_proven: bool) -> Option<Entry> {
        let order = match payer {
            Some(payer) => self.by_payer.get(payer)?,
            None => &self.all,
        };
        let (first, last) = (Rank { is_proven, time_ms: 0 }, Rank { is_proven, time_ms: u64::MAX });
        order.range((first, Index(0))..=(last, Index(usize::MAX))).next().copied()
    }

    /// Adds a partition. Returns the name of its payer. All partitions of the payer share this copy of the name.
    pub fn add(&mut self, payer: &[u8], entry: Entry) -> Payer {
        self.all.insert(entry);
        let payer = match self.by_payer.get_key_value(payer) {
            Some((payer, _)) => payer.clone(),
            None => payer.into(),
        };
        self.by_payer.entry(payer.clone()).or_default().insert(entry);
        self.counts.change(&payer, 0, 1);
        payer
    }

    /// Removes a partition.
    pub fn remove(&mut self, payer: &Payer, entry: Entry) {
        self.all.remove(&entry);
        let Some(order) = self.by_payer.get_mut(payer) else { return };
        order.remove(&entry);
        if order.is_empty() {
            self.by_payer.remove(payer);
        }
        self.counts.change(payer, 1, 0);
    }

    /// Changes the rank of a partition.
    pub fn change(&mut self, payer: &Payer, (before, index): Entry, rank: Rank) {
        self.all.remove(&(before, index));
        self.all.insert((rank, index));
        if let Some(order) = self.by_payer.get_mut(payer) {
            order.remove(&(before, index));
            order.insert((rank, index));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peers_are_stored_while_they_have_partitions() {
        let mut order = EvictionOrder::default();
        let rank = |is_proven, time_ms| Rank { is_proven, time_ms };
        let entry = |i: usize| (rank(i.is_multiple_of(2), i as u64), Index(i));
        let payers: Vec<Payer> =
            (0..30).map(|i| order.add(format!("peer {}", i % 3).as_bytes(), entry(i))).collect();
        assert_eq!((order.payer_count(), order.count_of(b"peer 1")), (3, 10));
        // The odd partitions are not proven.
        assert_eq!(
            (order.first(None, false), order.first(Some(b"peer 2"), false)),
            (Some(entry(1)), Some(entry(5)))
        );
        order.remove(&payers[1], entry(1));
        order.remove(&payers[3], entry(3));
        order.remove(&payers[6], entry(6));
        assert_eq!(order.greediest_for(b"new"), Some(b"peer 2"[..].into()));
        assert_eq!(order.first(None, false), Some(entry(5)));
        order.change(&payers[5], entry(5), rank(true, 1_000));
        assert_eq!(order.first(None, false), Some(entry(7)));
        assert_eq!(order.first(Some(b"peer 2"), false), Some(entry(11)));
        order.remove(&payers[5], (rank(true, 1_000), Index(5)));
        for i in (0..30).filter(|i| ![1, 3, 5, 6].contains(i)) {
            order.remove(&payers[i], entry(i));
        }
        assert_eq!((order.payer_count(), order.count_of(b"peer 1"), order.first(None, true)), (0, 0, None));
        assert_eq!((order.greediest_for(b"new"), order.all.len(), order.most_of_peer()), (None, 0, 0));
        assert_eq!(order.host_count(), 0);
    }

    #[test]
    fn many_connections_of_one_host_do_not_evict_partitions_of_another() {
        let mut order = EvictionOrder::default();
        let peer = |host: u8, number: usize| [&[host; 16][..], &number.to_be_bytes()].concat();
        let mut index = 0;
        let mut add = |order: &mut EvictionOrder, payer: &[u8], count: usize| {
            for _ in 0..count {
                index += 1;
                let rank = Rank { is_proven: false, time_ms: index as u64 };
                order.add(payer, (rank, Index(index)));
            }
        };
        // An honest store has 100 partitions, and 40 connections of one host have 10 each.
        add(&mut order, &peer(1, 0), 100);
        (0..40).for_each(|i| add(&mut order, &peer(2, i), 10));
        add(&mut order, &peer(2, 7), 1);
        for newcomer in [peer(1, 0), peer(1, 1), peer(3, 0)] {
            assert_eq!(order.greediest_for(&newcomer).as_deref(), Some(&peer(2, 7)[..]));
        }
        // A new connection of that host takes from the largest connection of that host.
        assert_eq!(order.greediest_for(&peer(2, 50)).as_deref(), Some(&peer(2, 7)[..]));
        assert_eq!(order.greediest_for(&peer(2, 39)), None);
    }
}
