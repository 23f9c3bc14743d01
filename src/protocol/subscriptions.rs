//! The subscriptions of each role, and the messages that each role sends and receives. ZeroMQ compares a subscription
//! with the beginning of a message's first frame.
//!
//! A node subscribes to RECORDS before it subscribes to RECORD. Otherwise a producer would treat the node as a node of
//! 0.1.0, see [`batch_subscribers`](super::producer::batch_subscribers).

use crate::wire::{Traffic, exact_prefix, id, prefix};

/// What a producer sends. Two nodes connect to each other if one of them receives what the other one sends.
const BY_PRODUCER: &[u8] =
    &[id::RECORD, id::RECORDS, id::HEAD, id::DIRECT_RECORD, id::DIRECT_RECORDS, id::DIRECT_HEAD];
/// What a consumer sends.
const BY_CONSUMER: &[u8] = &[id::FETCH, id::GET_HEADS, id::CONSUMER_HELLO];
/// What a store's writer sends.
const BY_STORE_WRITER: &[u8] = &[id::ACK, id::FETCH, id::GET_HEADS, id::COMMIT_ACK, id::GET_POSITIONS];
/// What a store's writer receives.
const TO_STORE_WRITER: &[u8] = &[
    id::RECORD,
    id::RECORDS,
    id::HEAD,
    id::DIRECT_RECORD,
    id::DIRECT_RECORDS,
    id::DIRECT_HEAD,
    id::COMMIT,
    id::POSITION,
];
/// What a store's reader sends.
const BY_STORE_READER: &[u8] =
    &[id::DIRECT_RECORD, id::DIRECT_RECORDS, id::DIRECT_HEAD, id::STORE_HELLO, id::POSITION];
/// What a store's reader receives.
const TO_STORE_READER: &[u8] = &[id::FETCH, id::GET_HEADS, id::CONSUMER_HELLO, id::GET_POSITIONS];

/// The traffic of a producer. [`producer`] returns its subscriptions.
pub const PRODUCER: Traffic = Traffic::new(BY_PRODUCER, &[id::ACK, id::FETCH, id::GET_HEADS]);
/// The traffic of a store's writer. [`store_writer`] returns its subscriptions.
pub const STORE_WRITER: Traffic = Traffic::new(BY_STORE_WRITER, TO_STORE_WRITER);
/// The traffic of a store's reader. [`store_reader`] returns its subscriptions.
pub const STORE_READER: Traffic = Traffic::new(BY_STORE_READER, TO_STORE_READER);
/// The traffic of an inventory, which asks stores for their heads.
pub const INVENTORY: Traffic = Traffic::new(&[id::GET_HEADS], &[id::DIRECT_HEAD]);

/// The traffic of a consumer. [`consumer`] returns the subscriptions of every consumer. [`topic`] returns those for one
/// topic, and [`topics`] those for all topics with the same beginning. An isolated consumer delivers only acknowledged
/// records, and also subscribes to [`acknowledgements`]. A consumer with a name also subscribes to [`positions`], and a
/// member of a group also to [`members`].
pub const fn consumer_traffic(is_isolated: bool, named: Named) -> Traffic {
    const RECEIVED: &[u8] = &[
        id::RECORD,
        id::RECORDS,
        id::HEAD,
        id::DIRECT_RECORD,
        id::DIRECT_RECORDS,
        id::DIRECT_HEAD,
        id::STORE_HELLO,
    ];
    let mut traffic = Traffic::new(BY_CONSUMER, RECEIVED);
    if is_isolated {
        traffic = traffic.and(Traffic::new(&[], &[id::ACK]));
    }
    if !matches!(named, Named::No) {
        traffic =
            traffic.and(Traffic::new(&[id::COMMIT, id::GET_POSITIONS], &[id::COMMIT_ACK, id::POSITION]));
    }
    if matches!(named, Named::Group) {
        traffic = traffic.and(Traffic::new(&[id::MEMBER], &[id::MEMBER]));
    }
    traffic
}

/// Whether stores keep the positions of a consumer, and under which name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Named {
    /// They do not.
    No,
    /// Under its own name.
    Own,
    /// Under the name of its group.
    Group,
}

/// The subscriptions of a producer: messages to this producer, and requests for the heads of its topic.
pub fn producer(address: &[u8], topic: &[u8]) -> Vec<Vec<u8>> {
    vec![prefix(id::ACK, address), prefix(id::FETCH, address), exact_prefix(id::GET_HEADS, topic)]
}

/// The subscriptions of every consumer: messages to this consumer.
pub fn consumer(address: &[u8]) -> Vec<Vec<u8>> {
    vec![
        prefix(id::DIRECT_RECORD, address),
        prefix(id::DIRECT_RECORDS, address),
        prefix(id::DIRECT_HEAD, address),
        prefix(id::STORE_HELLO, address),
    ]
}

/// The further subscription of a consumer that delivers only acknowledged records: the ACKs that stores send to
/// producers.
pub fn acknowledgements() -> Vec<u8> {
    prefix(id::ACK, b"")
}

/// The further subscriptions of a consumer with a name: the positions and confirmations that stores send to it.
pub fn positions(address: &[u8]) -> Vec<Vec<u8>> {
    vec![prefix(id::COMMIT_ACK, address), prefix(id::POSITION, address)]
}

/// The further subscription of a member of a group: the messages of the other members.
pub fn members(group: &[u8]) -> Vec<u8> {
    exact_prefix(id::MEMBER, group)
}

/// A consumer's further subscriptions for one topic. Each ends with the NUL that follows the topic on the wire, so it
/// does not match longer topics.
pub fn topic(topic: &[u8]) -> Vec<Vec<u8>> {
    vec![exact_prefix(id::RECORDS, topic), exact_prefix(id::RECORD, topic), exact_prefix(id::HEAD, topic)]
}

/// A consumer's further subscriptions for all topics that begin with `beginning`. If `beginning` is empty, these are
/// all topics. Three of the subscriptions end with a NUL, and match no further messages. The one for HEAD makes
/// producers respond with a HEAD. The one for RECORD distinguishes a consumer of all topics from a store. The one for
/// RECORDS precedes the one for RECORD, as for every topic. See
/// [`Producer::handle_subscription`](super::producer::Producer::handle_subscription).
pub fn topics(beginning: &[u8]) -> Vec<Vec<u8>> {
    [prefix, exact_prefix].map(|of| [id::RECORDS, id::RECORD, id::HEAD].map(|id| of(id, beginning))).concat()
}

/// The subscriptions of a store's writer: all records and heads, and messages to this writer.
pub fn store_writer(address: &[u8]) -> Vec<Vec<u8>> {
    vec![
        prefix(id::RECORDS, b""),
        prefix(id::RECORD, b""),
        prefix(id::HEAD, b""),
        // Makes producers respond with a HEAD, as in `topics`.
        exact_prefix(id::HEAD, b""),
        prefix(id::DIRECT_RECORD, address),
        prefix(id::DIRECT_RECORDS, address),
        prefix(id::DIRECT_HEAD, address),
        prefix(id::COMMIT, b""),
        prefix(id::POSITION, address),
    ]
}

/// The subscriptions of a store's reader: all requests, and messages to this reader.
pub fn store_reader(address: &[u8]) -> Vec<Vec<u8>> {
    vec![
        prefix(id::FETCH, b""),
        prefix(id::GET_HEADS, b""),
        prefix(id::CONSUMER_HELLO, address),
        prefix(id::GET_POSITIONS, b""),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn traffic_covers_the_subscriptions_of_each_role() {
        let consumer_of = |is_isolated: bool, named: Named| {
            let positions = if named == Named::No { Vec::new() } else { positions(b"a") };
            let members = if named == Named::Group { vec![members(b"g")] } else { Vec::new() };
            let all = [consumer(b"a"), topic(b"t"), topics(b"t"), positions, members].concat();
            all.into_iter().chain(is_isolated.then(acknowledgements)).collect()
        };
        for (traffic, subscriptions) in [
            (PRODUCER, producer(b"a", b"t")),
            (consumer_traffic(false, Named::No), consumer_of(false, Named::No)),
            (consumer_traffic(true, Named::No), consumer_of(true, Named::No)),
            (consumer_traffic(false, Named::Own), consumer_of(false, Named::Own)),
            (consumer_traffic(false, Named::Group), consumer_of(false, Named::Group)),
            (STORE_WRITER, store_writer(b"a")),
            (STORE_READER, store_reader(b"a")),
        ] {
            for subscription in subscriptions {
                let sender = Traffic::new(&subscription[..1], b"");
                assert!(traffic.is_exchanged_with(sender), "{}", subscription.escape_ascii());
            }
        }
    }

    #[test]
    fn only_nodes_that_exchange_messages_connect() {
        let consumer = consumer_traffic(false, Named::No);
        let isolated = consumer_traffic(true, Named::No);
        let [named, member] = [Named::Own, Named::Group].map(|named| consumer_traffic(false, named));
        let all = [PRODUCER, consumer, isolated, named, member, STORE_WRITER, STORE_READER, INVENTORY];
        let connected = [
            [0, 1, 1, 1, 1, 1, 0, 1],
            [1, 0, 0, 0, 0, 0, 1, 0],
            [1, 0, 0, 0, 0, 1, 1, 0],
            [1, 0, 0, 0, 0, 1, 1, 0],
            [1, 0, 0, 0, 1, 1, 1, 0],
            [1, 0, 1, 1, 1, 0, 1, 0],
            [0, 1, 1, 1, 1, 1, 0, 1],
            [1, 0, 0, 0, 0, 0, 1, 0],
        ];
        let is_exchanged = |of: Traffic| all.map(|other| u8::from(of.is_exchanged_with(other)));
        assert_eq!(all.map(is_exchanged), connected);
    }
}
