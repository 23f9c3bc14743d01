//! The consumers of this process. They have nothing to say to each other, so they do not connect: a thousand of them
//! would need a million connections.

use crate::czmq::fork::{GENERATIONS, PerProcess};
use std::collections::{BTreeSet, VecDeque};
use std::sync::Mutex;

/// So many consumers that have ended are still known: a tower may announce them for a while.
const MAX_ENDED: usize = 100;

struct Siblings {
    addresses: BTreeSet<Box<[u8]>>,
    ended: VecDeque<Box<[u8]>>,
}

static SIBLINGS: PerProcess<Siblings> = PerProcess::new(
    [const { Mutex::new(Siblings { addresses: BTreeSet::new(), ended: VecDeque::new() }) }; GENERATIONS],
);

/// A consumer that runs.
pub(super) struct Sibling(Box<[u8]>);

impl Sibling {
    /// Makes a consumer known by its address.
    pub(super) fn new(address: &[u8]) -> Sibling {
        SIBLINGS.lock().addresses.insert(address.into());
        Sibling(address.into())
    }
}

impl Drop for Sibling {
    fn drop(&mut self) {
        let mut siblings = SIBLINGS.lock();
        siblings.ended.push_back(self.0.clone());
        if siblings.ended.len() > MAX_ENDED
            && let Some(oldest) = siblings.ended.pop_front()
        {
            siblings.addresses.remove(&oldest);
        }
    }
}

/// True for the address of a consumer that runs in this process, or has run.
pub(super) fn is_consumer(address: &[u8]) -> bool {
    SIBLINGS.lock().addresses.contains(address)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_consumer_is_known_for_a_while_after_its_end() {
        assert!(!is_consumer(b"first"));
        drop(Sibling::new(b"first"));
        assert!(is_consumer(b"first"));
        let running = Sibling::new(b"second");
        for i in 0..MAX_ENDED {
            drop(Sibling::new(format!("other {i}").as_bytes()));
        }
        assert!(!is_consumer(b"first"));
        assert!(is_consumer(b"second"));
        drop(running);
    }
}
