//! The positions of evicted partitions. A partition that is opened again continues at its position, so that the
//! application gets each record once. Names are kept as keyed hashes: an entry takes about 80 bytes, however long they are.

use std::collections::hash_map::RandomState;
use std::collections::{HashMap, HashSet, VecDeque};
use std::hash::BuildHasher;

/// The newest positions, at most `limit`.
#[derive(Debug)]
pub struct EvictedPositions {
    limit: usize,
    /// Two keyed hashes of 64 bits: an attacker cannot find a name that collides with a real one.
    hashers: [RandomState; 2],
    positions: HashMap<[u64; 2], Position>,
    /// Oldest first; entries without a position in `positions` are obsolete.
    order: VecDeque<([u64; 2], u64)>,
    count: u64,
}

#[derive(Debug)]
struct Position {
    next: u64,
    subject: u64,
    /// Which of the entries in `order` is this one's.
    serial: u64,
}

impl EvictedPositions {
    /// Nothing yet.
    pub fn new(limit: usize) -> Self {
        EvictedPositions {
            limit,
            hashers: [RandomState::new(), RandomState::new()],
            positions: HashMap::new(),
            order: VecDeque::new(),
            count: 0,
        }
    }

    /// Notes that the next record of a partition is `next`. Drops the oldest entry when there are too many.
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
        // Obsolete entries must not push out current ones: partitions that come and go leave many.
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

    /// Forgets every partition of a topic.
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
    fn the_latest_are_remembered() {
        let mut remembered = EvictedPositions::new(3);
        for i in 0..5_u8 {
            remembered.put(&[i], b"topic", u64::from(i) + 100);
        }
        assert_eq!([0, 1, 2].map(|i| remembered.get(&[i])), [None, None, Some(102)]);
        remembered.forget(&[2]);
        assert_eq!(remembered.get(&[2]), None);
        // EvictedPositions anew: the old entry in the order does not take it along.
        remembered.put(&[2], b"topic", 7);
        remembered.put(&[9], b"topic", 9);
        assert_eq!([2, 3, 4, 9].map(|i| remembered.get(&[i])), [Some(7), None, Some(104), Some(9)]);
    }

    #[test]
    fn one_that_comes_and_goes_pushes_no_other_out() {
        let mut remembered = EvictedPositions::new(3);
        remembered.put(b"stays", b"topic", 1);
        for next in 2..100 {
            remembered.put(b"moves", b"topic", next);
            assert_eq!((remembered.get(b"stays"), remembered.get(b"moves")), (Some(1), Some(next)));
            remembered.forget(b"moves");
            assert!(remembered.order.len() <= 6, "{}", remembered.order.len());
        }
    }

    #[test]
    fn topics_are_forgotten() {
        let mut remembered = EvictedPositions::new(10);
        remembered.put(b"a", b"one", 1);
        remembered.put(b"b", b"two", 2);
        remembered.retain_subjects([&b"two"[..]].into_iter());
        assert_eq!((remembered.get(b"a"), remembered.get(b"b")), (None, Some(2)));
    }
}
