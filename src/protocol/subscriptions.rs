//! What the socket of each role subscribes to. ZeroMQ matches prefixes of the first frame.

use crate::wire::{exact_prefix, id, prefix};

/// A producer's: what is said to it, and who asks for the heads of its topic.
pub fn producer(address: &[u8], topic: &[u8]) -> Vec<Vec<u8>> {
    vec![prefix(id::ACK, address), prefix(id::FETCH, address), exact_prefix(id::GET_HEADS, topic)]
}

/// A consumer's before it has topics: what is said to it.
pub fn consumer(address: &[u8]) -> Vec<Vec<u8>> {
    vec![
        prefix(id::DIRECT_RECORD, address),
        prefix(id::DIRECT_HEAD, address),
        prefix(id::STORE_HELLO, address),
    ]
}

/// A consumer's that delivers only what a store has: what stores say to producers.
pub fn acknowledgements() -> Vec<u8> {
    prefix(id::ACK, b"")
}

/// A consumer's for one topic. The NUL that ends the topic on the wire keeps longer topics out.
pub fn topic(topic: &[u8]) -> Vec<Vec<u8>> {
    vec![exact_prefix(id::RECORD, topic), exact_prefix(id::HEAD, topic)]
}

/// A consumer's for all topics that begin so, the empty one for all. The last two match nothing more than the others:
/// to one for HEADs, producers respond with a HEAD; the one for RECORDs tells a consumer of all topics from a store. See
/// [`Producer::handle_subscription`](super::producer::Producer::handle_subscription).
pub fn topics(beginning: &[u8]) -> Vec<Vec<u8>> {
    [prefix, exact_prefix].map(|of| [of(id::RECORD, beginning), of(id::HEAD, beginning)]).concat()
}

/// A store's writer's: every record and head, and what is said to it.
pub fn store_writer(address: &[u8]) -> Vec<Vec<u8>> {
    vec![
        prefix(id::RECORD, b""),
        prefix(id::HEAD, b""),
        // As in `topics`.
        exact_prefix(id::HEAD, b""),
        prefix(id::DIRECT_RECORD, address),
        prefix(id::DIRECT_HEAD, address),
    ]
}

/// A store's reader's: every request, and what is said to it.
pub fn store_reader(address: &[u8]) -> Vec<Vec<u8>> {
    vec![prefix(id::FETCH, b""), prefix(id::GET_HEADS, b""), prefix(id::CONSUMER_HELLO, address)]
}
