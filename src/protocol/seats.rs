//! Who has brought which partitions, and in which order they give way to others.
//!
//! Anybody can make partitions up. Each is charged to a peer, the one that spoke of it first, so that who brings many
//! makes room for more of them himself. Peers are known by a name that means nothing here, and only as long as they have
//! partitions: there are never more of them than of these.

use super::ingest::Index;
use super::shares::RankedShares;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

/// Who gives way first: the lower one. Unproven before proven, and then by time.
pub type Rank = (bool, u64);

/// A partition's place among others.
pub type Seat = (Rank, Index);

/// The peer that a partition is charged to; the empty name is nobody's.
pub type Payer = Arc<[u8]>;

/// All partitions, in the order in which they give way: those of each peer, and all together.
#[derive(Debug, Default)]
pub struct Seats {
    all: BTreeSet<Seat>,
    by_payer: HashMap<Payer, BTreeSet<Seat>>,
    /// How many partitions each peer has.
    counts: RankedShares,
}

impl Seats {
    /// How many peers have partitions; nobody counts as one.
    pub fn payer_count(&self) -> usize {
        self.by_payer.len()
    }

    /// How many partitions a peer has.
    pub fn count_of(&self, payer: &[u8]) -> usize {
        self.by_payer.get(payer).map_or(0, BTreeSet::len)
    }

    /// How many hosts have partitions; nobody counts as one.
    pub fn host_count(&self) -> usize {
        self.counts.host_count()
    }

    /// How many partitions the host of a peer has.
    pub fn count_of_host(&self, payer: &[u8]) -> usize {
        self.counts.of_host(payer) as usize
    }

    /// The peer that gives way to a new partition of `payer`, see [`RankedShares::greediest_for`].
    pub fn greediest_for(&self, payer: &[u8]) -> Option<Payer> {
        self.counts.greediest_for(payer).cloned()
    }

    /// How many partitions the peer with most has; nobody is none.
    pub fn most_of_peer(&self) -> usize {
        self.counts.greediest().find(|(payer, _)| !payer.is_empty()).map_or(0, |(_, count)| count as usize)
    }

    /// Which partition gives way first, of those that are proven or of the others: of all, or of one peer.
    pub fn first(&self, payer: Option<&[u8]>, is_proven: bool) -> Option<Seat> {
        let seats = match payer {
            Some(payer) => self.by_payer.get(payer)?,
            None => &self.all,
        };
        seats.range(((is_proven, 0), Index(0))..=((is_proven, u64::MAX), Index(usize::MAX))).next().copied()
    }

    /// Adds a partition, and returns its payer, of which there is one name in memory however many it pays for.
    pub fn add(&mut self, payer: &[u8], seat: Seat) -> Payer {
        self.all.insert(seat);
        let payer = match self.by_payer.get_key_value(payer) {
            Some((payer, _)) => payer.clone(),
            None => payer.into(),
        };
        self.by_payer.entry(payer.clone()).or_default().insert(seat);
        self.counts.change(&payer, 0, 1);
        payer
    }

    /// Removes a partition.
    pub fn remove(&mut self, payer: &Payer, seat: Seat) {
        self.all.remove(&seat);
        let Some(seats) = self.by_payer.get_mut(payer) else { return };
        seats.remove(&seat);
        if seats.is_empty() {
            self.by_payer.remove(payer);
        }
        self.counts.change(payer, 1, 0);
    }

    /// Gives a partition another place.
    pub fn change(&mut self, payer: &Payer, (before, index): Seat, rank: Rank) {
        self.all.remove(&(before, index));
        self.all.insert((rank, index));
        if let Some(seats) = self.by_payer.get_mut(payer) {
            seats.remove(&(before, index));
            seats.insert((rank, index));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peers_are_known_as_long_as_they_have_partitions() {
        let mut seats = Seats::default();
        let seat = |i: usize| ((i.is_multiple_of(2), i as u64), Index(i));
        let payers: Vec<Payer> =
            (0..30).map(|i| seats.add(format!("peer {}", i % 3).as_bytes(), seat(i))).collect();
        assert_eq!((seats.payer_count(), seats.count_of(b"peer 1")), (3, 10));
        // The odd ones are not proven.
        assert_eq!(
            (seats.first(None, false), seats.first(Some(b"peer 2"), false)),
            (Some(seat(1)), Some(seat(5)))
        );
        seats.remove(&payers[1], seat(1));
        seats.remove(&payers[3], seat(3));
        seats.remove(&payers[6], seat(6));
        assert_eq!(seats.greediest_for(b"new"), Some(b"peer 2"[..].into()));
        assert_eq!(seats.first(None, false), Some(seat(5)));
        seats.change(&payers[5], seat(5), (true, 1_000));
        assert_eq!(seats.first(None, false), Some(seat(7)));
        assert_eq!(seats.first(Some(b"peer 2"), false), Some(seat(11)));
        seats.remove(&payers[5], ((true, 1_000), Index(5)));
        for i in (0..30).filter(|i| ![1, 3, 5, 6].contains(i)) {
            seats.remove(&payers[i], seat(i));
        }
        assert_eq!((seats.payer_count(), seats.count_of(b"peer 1"), seats.first(None, true)), (0, 0, None));
        assert_eq!((seats.greediest_for(b"new"), seats.all.len(), seats.most_of_peer()), (None, 0, 0));
        assert_eq!(seats.host_count(), 0);
    }

    #[test]
    fn many_connections_of_one_host_do_not_outvote_a_peer_of_another() {
        let mut seats = Seats::default();
        let peer = |host: u8, number: usize| [&[host; 16][..], &number.to_be_bytes()].concat();
        let mut index = 0;
        let mut add = |seats: &mut Seats, payer: &[u8], count: usize| {
            for _ in 0..count {
                index += 1;
                seats.add(payer, ((false, index as u64), Index(index)));
            }
        };
        // An honest store with 100 partitions, and 40 connections with 10 each.
        add(&mut seats, &peer(1, 0), 100);
        (0..40).for_each(|i| add(&mut seats, &peer(2, i), 10));
        add(&mut seats, &peer(2, 7), 1);
        for newcomer in [peer(1, 0), peer(1, 1), peer(3, 0)] {
            assert_eq!(seats.greediest_for(&newcomer).as_deref(), Some(&peer(2, 7)[..]));
        }
        // Among themselves, those of the host give way to each other.
        assert_eq!(seats.greediest_for(&peer(2, 50)).as_deref(), Some(&peer(2, 7)[..]));
        assert_eq!(seats.greediest_for(&peer(2, 39)), None);
    }
}
