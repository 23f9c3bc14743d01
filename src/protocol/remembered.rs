//! Where partitions stood that had to give way, so that one that comes back goes on there: no record twice, none left
//! out. Names are kept as hashes under a key that nobody outside knows: an entry takes about 80 octets, whatever the
//! names.

use std::collections::hash_map::RandomState;
use std::collections::{HashMap, VecDeque};
use std::hash::BuildHasher;

/// The positions that were remembered last, at most `limit`.
#[derive(Debug)]
pub struct Remembered {
    limit: usize,
    /// Two hashes of 64 bits: made-up names cannot be found to meet a real one.
    hashers: [RandomState; 2],
    positions: HashMap<[u64; 2], Position>,
    /// In the order in which they were remembered; one that was taken out since stands here in vain.
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

impl Remembered {
    /// Nothing yet.
    pub fn new(limit: usize) -> Self {
        Remembered {
            limit,
            hashers: [RandomState::new(), RandomState::new()],
            positions: HashMap::new(),
            order: VecDeque::new(),
            count: 0,
        }
    }

    /// Remembers that a partition's next record is `next`. The oldest entry gives way when there are too many.
    pub fn put(&mut self, key: &[u8], subject: &[u8], next: u64) {
        let (hash, subject) = (self.hash(key), self.hashers[0].hash_one(subject));
        self.count += 1;
        self.positions.insert(hash, Position { next, subject, serial: self.count });
        self.order.push_back((hash, self.count));
        while self.order.len() > self.limit {
            let Some((hash, serial)) = self.order.pop_front() else { break };
            if self.positions.get(&hash).is_some_and(|position| position.serial == serial) {
                self.positions.remove(&hash);
            }
        }
    }

    /// Takes out where a partition stood, if that is known.
    pub fn take(&mut self, key: &[u8]) -> Option<u64> {
        if self.positions.is_empty() {
            return None;
        }
        self.positions.remove(&self.hash(key)).map(|position| position.next)
    }

    /// Forgets every partition of a topic.
    pub fn forget_subject(&mut self, subject: &[u8]) {
        let subject = self.hashers[0].hash_one(subject);
        self.positions.retain(|_, position| position.subject != subject);
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
        let mut remembered = Remembered::new(3);
        for i in 0..5_u8 {
            remembered.put(&[i], b"topic", u64::from(i) + 100);
        }
        assert_eq!((remembered.take(&[0]), remembered.take(&[1])), (None, None));
        assert_eq!((remembered.take(&[2]), remembered.take(&[2])), (Some(102), None));
        // Remembered anew: the old entry in the order does not take it along.
        remembered.put(&[2], b"topic", 7);
        remembered.put(&[9], b"topic", 9);
        assert_eq!((remembered.take(&[3]), remembered.take(&[2])), (None, Some(7)));
        assert!(remembered.order.len() <= 3);
    }

    #[test]
    fn topics_are_forgotten() {
        let mut remembered = Remembered::new(10);
        remembered.put(b"a", b"one", 1);
        remembered.put(b"b", b"two", 2);
        remembered.forget_subject(b"one");
        assert_eq!((remembered.take(b"a"), remembered.take(b"b")), (None, Some(2)));
    }
}
