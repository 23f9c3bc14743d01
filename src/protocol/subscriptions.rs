//! The subscriptions of each role. ZeroMQ matches them with the beginning of the first frame.
//!
//! A node subscribes to RECORDS before it subscribes to RECORD, so that a producer never takes it for a node of 0.1.0.
//! See [`batch_subscribers`](super::producer::batch_subscribers).

use crate::wire::{exact_prefix, id, prefix};

/// A producer: messages to it, and requests for the heads of its topic.
pub fn producer(address: &[u8], topic: &[u8]) -> Vec<Vec<u8>> {
    vec![prefix(id::ACK, address), prefix(id::FETCH, address), exact_prefix(id::GET_HEADS, topic)]
}

/// A consumer without topics: messages to it.
pub fn consumer(address: &[u8]) -> Vec<Vec<u8>> {
    vec![
        prefix(id::DIRECT_RECORD, address),
        prefix(id::DIRECT_RECORDS, address),
        prefix(id::DIRECT_HEAD, address),
        prefix(id::STORE_HELLO, address),
    ]
}

/// A consumer that delivers only acknowledged records: the ACKs of stores to producers.
pub fn acknowledgements() -> Vec<u8> {
    prefix(id::ACK, b"")
}

/// A consumer of one topic. The NUL that ends the topic on the wire excludes longer topics.
pub fn topic(topic: &[u8]) -> Vec<Vec<u8>> {
    vec![exact_prefix(id::RECORDS, topic), exact_prefix(id::RECORD, topic), exact_prefix(id::HEAD, topic)]
}

/// A consumer of all topics with a prefix; the empty prefix matches all topics. The two subscriptions with a NUL match
/// no further messages. The one for HEADs makes producers respond with a HEAD. The one for RECORDs distinguishes a
/// consumer of all topics from a store. See
/// [`Producer::handle_subscription`](super::producer::Producer::handle_subscription).
pub fn topics(beginning: &[u8]) -> Vec<Vec<u8>> {
    [prefix, exact_prefix].map(|of| [id::RECORDS, id::RECORD, id::HEAD].map(|id| of(id, beginning))).concat()
}

/// A store's writer: all records and heads, and messages to it.
pub fn store_writer(address: &[u8]) -> Vec<Vec<u8>> {
    vec![
        prefix(id::RECORDS, b""),
        prefix(id::RECORD, b""),
        prefix(id::HEAD, b""),
        // As in `topics`.
        exact_prefix(id::HEAD, b""),
        prefix(id::DIRECT_RECORD, address),
        prefix(id::DIRECT_RECORDS, address),
        prefix(id::DIRECT_HEAD, address),
    ]
}

/// A store's reader: all requests, and messages to it.
pub fn store_reader(address: &[u8]) -> Vec<Vec<u8>> {
    vec![prefix(id::FETCH, b""), prefix(id::GET_HEADS, b""), prefix(id::CONSUMER_HELLO, address)]
}
