//! The positions of evicted partitions. A partition that is opened again continues at its position, so that the
//! application gets each record once. Names are stored as keyed hashes, so an entry takes about 80 bytes whatever the
//! length of the name.

use crate::partition_name::PartitionName;
use std::collections::hash_map::RandomState;
use std::collections::{HashMap, HashSet, VecDeque};
use std::hash::BuildHasher;

/// The latest positions, at most `limit`.
#[derive(Debug)]
pub struct EvictedPositions {
    limit: usize,
    /// Two keyed hashes of 64 bits, so that an attacker cannot find a name that collides with another one.
    hashers: [RandomState; 2],
    positions: HashMap<[u64; 2], Evicted>,
    /// The keys in `positions` and their serial numbers, oldest first. Entries stay here after their position was
    /// removed or replaced.
    order: VecDeque<([u64; 2], u64)>,
    /// The serial number of the last position.
    serial: u64,
    /// Whether an entry was dropped because the table was full.
    has_dropped: bool,
}

/// The position of one partition.
#[derive(Clone, Copy, Debug)]
pub struct Evicted {
    /// The next record.
    pub next: u64,
    /// Whether the partition was evicted during a search. The records before `next` are too early then, and it is not
    /// known yet whether `next` is the searched record.
    pub is_searched: bool,
    /// A number above that of all earlier positions. Identifies the position's entry in `order`.
    pub serial: u64,
    /// The hash of the partition's topic.
    topic: u64,
}

impl EvictedPositions {
    /// Returns an empty table.
    pub fn new(limit: usize) -> Self {
        EvictedPositions {
            limit,
            hashers: [RandomState::new(), RandomState::new()],
            positions: HashMap::new(),
            order: VecDeque::new(),
            serial: 0,
            has_dropped: false,
        }
    }

    /// Stores the next record of an evicted partition. Drops the oldest entry when the table is full.
    pub fn put(&mut self, name: PartitionName, next: u64, is_searched: bool) {
        let (hash, topic) = (self.hash(name), self.hashers[0].hash_one(name.topic));
        self.serial += 1;
        self.positions.insert(hash, Evicted { next, is_searched, serial: self.serial, topic });
        self.order.push_back((hash, self.serial));
        while self.positions.len() > self.limit {
            let Some((hash, serial)) = self.order.pop_front() else { break };
            if self.positions.get(&hash).is_some_and(|position| position.serial == serial) {
                self.positions.remove(&hash);
                self.has_dropped = true;
            }
        }
        // Each time a partition is opened again, an obsolete entry stays in `order`. Without this step, `order` would
        // grow without limit.
        if self.order.len() > 2 * self.limit {
            let Self { order, positions, .. } = self;
            order.retain(|(hash, serial)| positions.get(hash).is_some_and(|known| known.serial == *serial));
        }
    }

    /// Whether the next entry drops the oldest one.
    pub fn is_full(&self) -> bool {
        self.positions.len() >= self.limit
    }

    /// Whether an entry was ever dropped because the table was full.
    pub fn has_dropped(&self) -> bool {
        self.has_dropped
    }

    /// The position of an evicted partition, if it is known.
    pub fn get(&self, name: PartitionName) -> Option<Evicted> {
        if self.positions.is_empty() {
            return None;
        }
        self.positions.get(&self.hash(name)).copied()
    }

    /// The serial number of the last position.
    pub fn serial(&self) -> u64 {
        self.serial
    }

    /// The serial numbers of further positions are above `serial`, which is not below the last one.
    pub fn continue_at(&mut self, serial: u64) {
        self.serial = serial;
    }

    /// Drops the entry of a partition that is open again.
    pub fn forget(&mut self, name: PartitionName) {
        if !self.positions.is_empty() {
            self.positions.remove(&self.hash(name));
        }
    }

    /// Drops the positions of all partitions except those of the given topics.
    pub fn retain_topics<'a>(&mut self, topics: impl Iterator<Item = &'a [u8]>) {
        let topics: HashSet<u64> = topics.map(|topic| self.hashers[0].hash_one(topic)).collect();
        self.positions.retain(|_, position| topics.contains(&position.topic));
    }

    fn hash(&self, name: PartitionName) -> [u64; 2] {
        [self.hashers[0].hash_one(name), self.hashers[1].hash_one(name)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn next_of(positions: &EvictedPositions, name: PartitionName) -> Option<u64> {
        positions.get(name).map(|position| position.next)
    }

    fn name(producer: &[u8]) -> PartitionName<'_> {
        PartitionName { topic: b"topic", producer }
    }

    #[test]
    fn the_latest_positions_are_kept() {
        let mut positions = EvictedPositions::new(3);
        for i in 0..5_u8 {
            positions.put(name(&[i]), u64::from(i) + 100, false);
        }
        assert_eq!([0, 1, 2].map(|i| next_of(&positions, name(&[i]))), [None, None, Some(102)]);
        positions.forget(name(&[2]));
        assert_eq!(next_of(&positions, name(&[2])), None);
        // The same partition is evicted again. Its old entry in the order does not remove the new position.
        positions.put(name(&[2]), 7, false);
        positions.put(name(&[9]), 9, false);
        assert_eq!(
            [2, 3, 4, 9].map(|i| next_of(&positions, name(&[i]))),
            [Some(7), None, Some(104), Some(9)]
        );
    }

    #[test]
    fn a_partition_that_is_often_evicted_removes_no_other_position() {
        let mut positions = EvictedPositions::new(3);
        positions.put(name(b"stays"), 1, false);
        for next in 2..100 {
            positions.put(name(b"moves"), next, false);
            assert_eq!(
                (next_of(&positions, name(b"stays")), next_of(&positions, name(b"moves"))),
                (Some(1), Some(next))
            );
            positions.forget(name(b"moves"));
            assert!(positions.order.len() <= 6, "{}", positions.order.len());
        }
    }

    #[test]
    fn positions_of_other_topics_are_dropped() {
        let mut positions = EvictedPositions::new(10);
        let (first, second) = (
            PartitionName { topic: b"one", producer: b"a" },
            PartitionName { topic: b"two", producer: b"b" },
        );
        positions.put(first, 1, false);
        positions.put(second, 2, false);
        positions.retain_topics([&b"two"[..]].into_iter());
        assert_eq!((next_of(&positions, first), next_of(&positions, second)), (None, Some(2)));
    }
}
