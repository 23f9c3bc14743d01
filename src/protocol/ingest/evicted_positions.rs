//! The positions of evicted partitions. A partition that is opened again continues at its position, so that the
//! application gets each record once. Names are stored as keyed hashes, so an entry takes about 80 bytes whatever the
//! length of the name.

use std::collections::hash_map::RandomState;
use std::collections::{HashMap, HashSet, VecDeque};
use std::hash::BuildHasher;

/// The latest positions, at most `limit`.
#[derive(Debug)]
pub struct EvictedPositions {
    limit: usize,
    /// Two keyed hashes of 64 bits, so that an attacker cannot find a name that collides with another one.
    hashers: [RandomState; 2],
    positions: HashMap<[u64; 2], Position>,
    /// The keys in `positions`, oldest first, and keys that were removed or replaced since.
    order: VecDeque<([u64; 2], u64)>,
    count: u64,
}

#[derive(Debug)]
struct Position {
    next: u64,
    subject: u64,
    /// Identifies this position's entry in `order`.
    serial: u64,
}

impl EvictedPositions {
    /// Returns an empty table.
    pub fn new(limit: usize) -> Self {
        EvictedPositions {
            limit,
            hashers: [RandomState::new(), RandomState::new()],
            positions: HashMap::new(),
            order: VecDeque::new(),
            count: 0,
        }
    }

    /// Stores the next record of an evicted partition. Drops the oldest entry when there are too many.
    pub fn put(&mut self, key: &[u8], subject: &[u8], next: u64) {
        let (hash, subject) = (self.hash(key), self.hashers[0].hash_one(subject));
        self.count += 1;
        self.positions.insert(hash, Position { next, subject, serial: self.count });
        self.order.push_back((hash, self.count));
        while self.positions.len() > self.limit {
            let Some((hash, serial)) = self.order.pop_front() else { break };
            if self.positions.get(&hash).is_some_and(|position| position.serial == serial) {
                self.positions.remove(&hash);
            }
        }
        // Obsolete entries must not make the queue grow: partitions that are often evicted and opened again leave
        // many.
        if self.order.len() > 2 * self.limit {
            let Self { order, positions, .. } = self;
            order.retain(|(hash, serial)| positions.get(hash).is_some_and(|known| known.serial == *serial));
        }
    }

    /// The position of an evicted partition, if it is known.
    pub fn get(&self, key: &[u8]) -> Option<u64> {
        if self.positions.is_empty() {
            return None;
        }
        self.positions.get(&self.hash(key)).map(|position| position.next)
    }

    /// Drops the entry of a partition that is open again.
    pub fn forget(&mut self, key: &[u8]) {
        if !self.positions.is_empty() {
            self.positions.remove(&self.hash(key));
        }
    }

    /// Drops all partitions except those of the given topics.
    pub fn retain_subjects<'a>(&mut self, subjects: impl Iterator<Item = &'a [u8]>) {
        let subjects: HashSet<u64> = subjects.map(|subject| self.hashers[0].hash_one(subject)).collect();
        self.positions.retain(|_, position| subjects.contains(&position.subject));
    }

    fn hash(&self, key: &[u8]) -> [u64; 2] {
        [self.hashers[0].hash_one(key), self.hashers[1].hash_one(key)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_positions_are_kept() {
        let mut positions = EvictedPositions::new(3);
        for i in 0..5_u8 {
            positions.put(&[i], b"topic", u64::from(i) + 100);
        }
        assert_eq!([0, 1, 2].map(|i| positions.get(&[i])), [None, None, Some(102)]);
        positions.forget(&[2]);
        assert_eq!(positions.get(&[2]), None);
        // The same partition is evicted again. Its old entry in the order does not remove the new position.
        positions.put(&[2], b"topic", 7);
        positions.put(&[9], b"topic", 9);
        assert_eq!([2, 3, 4, 9].map(|i| positions.get(&[i])), [Some(7), None, Some(104), Some(9)]);
    }

    #[test]
    fn a_partition_that_is_often_evicted_removes_no_other_position() {
        let mut positions = EvictedPositions::new(3);
        positions.put(b"stays", b"topic", 1);
        for next in 2..100 {
            positions.put(b"moves", b"topic", next);
            assert_eq!((positions.get(b"stays"), positions.get(b"moves")), (Some(1), Some(next)));
            positions.forget(b"moves");
            assert!(positions.order.len() <= 6, "{}", positions.order.len());
        }
    }

    #[test]
    fn positions_of_other_topics_are_dropped() {
        let mut positions = EvictedPositions::new(10);
        positions.put(b"a", b"one", 1);
        positions.put(b"b", b"two", 2);
        positions.retain_subjects([&b"two"[..]].into_iter());
        assert_eq!((positions.get(b"a"), positions.get(b"b")), (None, Some(2)));
    }
}
