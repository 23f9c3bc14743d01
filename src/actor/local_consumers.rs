//! The consumers of this process. Consumers exchange no messages, so they do not connect to each other: a thousand of
//! them would need a million connections.

use crate::czmq::fork::{GENERATIONS, PerProcess};
use std::collections::{BTreeSet, VecDeque};
use std::sync::Mutex;

/// How many addresses of ended consumers are kept: a tower may still announce such a consumer for a while.
const MAX_ENDED: usize = 100;

struct LocalConsumers {
    addresses: BTreeSet<Box<[u8]>>,
    ended: VecDeque<Box<[u8]>>,
}

static LOCAL_CONSUMERS: PerProcess<LocalConsumers> = PerProcess::new(
    [const { Mutex::new(LocalConsumers { addresses: BTreeSet::new(), ended: VecDeque::new() }) };
        GENERATIONS],
);

/// A running consumer. Dropping it marks the consumer as ended.
pub(super) struct LocalConsumer(Box<[u8]>);

impl LocalConsumer {
    /// Registers a consumer's address.
    pub(super) fn new(address: &[u8]) -> LocalConsumer {
        LOCAL_CONSUMERS.lock().addresses.insert(address.into());
        LocalConsumer(address.into())
    }
}

impl Drop for LocalConsumer {
    fn drop(&mut self) {
        let mut consumers = LOCAL_CONSUMERS.lock();
        consumers.ended.push_back(self.0.clone());
        if consumers.ended.len() > MAX_ENDED
            && let Some(oldest) = consumers.ended.pop_front()
        {
            consumers.addresses.remove(&oldest);
        }
    }
}

/// True for the address of a consumer that runs in this process, or has recently ended.
pub(super) fn is_local_consumer(address: &[u8]) -> bool {
    LOCAL_CONSUMERS.lock().addresses.contains(address)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_consumer_is_known_for_a_while_after_its_end() {
        assert!(!is_local_consumer(b"first"));
        drop(LocalConsumer::new(b"first"));
        assert!(is_local_consumer(b"first"));
        let running = LocalConsumer::new(b"second");
        for i in 0..MAX_ENDED {
            drop(LocalConsumer::new(format!("other {i}").as_bytes()));
        }
        assert!(!is_local_consumer(b"first"));
        assert!(is_local_consumer(b"second"));
        drop(running);
    }
}
