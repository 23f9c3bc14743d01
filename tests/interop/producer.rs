//! Our producer with simulated consumers and stores of libdafka 0.1.0.

use crate::e2e::{Cluster, Program};
use crate::peer::{Node, RETRY_INTERVAL, check_record, fetch, head, record, to};
use crate::{TOPIC, feed};

/// A cluster with a tower, a node that subscribes to all messages of the topic, and our producer with its address.
fn start(lines: &[&str]) -> (Cluster, Node, Program, String) {
    let cluster = Cluster::new().with("producer/head_interval", "200").with_tower();
    let mut node = Node::new(&cluster);
    for subscription in [to(b'M', TOPIC), to(b'H', TOPIC), to(b'D', &node.address), to(b'E', &node.address)] {
        node.subscribe(&subscription);
    }
    node.start_beacon();
    let producer = cluster.producer(TOPIC);
    let address = node.subscriber_of(b'K');
    node.subscription(&to(b'F', &address));
    feed(&producer, lines);
    // The first records may be lost before the node's subscriptions arrive. HEADs are repeated.
    node.message(&head(TOPIC, &address, lines.len() as u64 - 1));
    (cluster, node, producer, address)
}

#[test]
fn a_producers_subscriptions_records_and_heads_match_the_protocol() {
    let cluster = Cluster::new().with("producer/head_interval", "100").with_tower();
    let mut node = Node::started(&cluster, &[to(b'M', TOPIC), to(b'H', TOPIC)]);
    let producer = cluster.producer(TOPIC);
    let address = node.subscriber_of(b'K');
    assert!(
        address.len() == 32 && address.bytes().all(|octet| b"0123456789ABCDEF".contains(&octet)),
        "{address}"
    );
    node.subscription(&to(b'F', &address));
    node.subscription(b"Ghello\0");

    // Once the node has received a record, it receives all later ones.
    let mut next = 0;
    while next == 0 || node.message_within(&record(TOPIC, &address, next - 1), RETRY_INTERVAL).is_none() {
        feed(&producer, &["before"]);
        next += 1;
    }
    feed(&producer, &["first", "", "third"]);
    for (sequence, content) in (next..).zip(["first", "", "third"]) {
        let expected = record(TOPIC, &address, sequence);
        let frames = node.message(&expected);
        check_record(&expected, &frames[0]);
        assert_eq!(frames[1..], [content.as_bytes().to_vec()]);
    }
    // HEADs are repeated.
    for _ in 0..3 {
        let frames = node.message(&head(TOPIC, &address, next + 2));
        assert_eq!(frames, [head(TOPIC, &address, next + 2)]);
    }
}

#[test]
fn a_producer_answers_a_fetch_with_exactly_the_requested_records() {
    let (_cluster, mut node, _producer, address) = start(&["r0", "r1", "r2", "r3", "r4"]);
    node.send(&fetch(&address, &node.address, TOPIC, 1, 2));
    node.direct_records(&address, TOPIC, 1, &["r1", "r2"]);
    node.expect_no_message(b"D", "one record too many");
    // Repeat the FETCH with other counts: all records, more records than there are, the largest count that 0.1.0
    // requests, and the largest possible count.
    for count in [5, 100, 100_000, u32::MAX] {
        node.send(&fetch(&address, &node.address, TOPIC, 0, count));
        node.direct_records(&address, TOPIC, 0, &["r0", "r1", "r2", "r3", "r4"]);
    }
    node.send(&fetch(&address, &node.address, TOPIC, 5, 10));
    node.send(&fetch(&address, &node.address, TOPIC, u64::MAX, u32::MAX));
    node.send(&fetch(&address, &node.address, "other", 0, 10));
    node.expect_no_message(b"D", "there is nothing to answer with");
    // The producer still answers after these requests.
    node.send(&fetch(&address, &node.address, TOPIC, 4, 1));
    node.direct_records(&address, TOPIC, 4, &["r4"]);
}

/// A consumer of 0.1.0 that starts at the latest record treats the record that the first HEAD names as new. So our
/// producers must not send a HEAD to a consumer of 0.1.0 when it connects.
#[test]
fn a_producer_sends_a_new_peer_a_head_at_once_only_if_it_is_of_this_library() {
    let cluster = Cluster::new().with("producer/head_interval", "60000").with_tower();
    let producer = cluster.producer(TOPIC);
    let mut first = Node::started(&cluster, &[to(b'M', TOPIC)]);
    while first.message_within(&to(b'M', TOPIC), RETRY_INTERVAL).is_none() {
        feed(&producer, &["published before"]);
    }
    let mut old = Node::started(&cluster, &[to(b'M', TOPIC), to(b'H', TOPIC), to(b'H', "")]);
    let address = old.subscriber_of(b'K');
    old.subscription(&to(b'F', &address));
    // The producer has processed the subscriptions when this node receives a record.
    let frames = loop {
        feed(&producer, &["live"]);
        if let Some(frames) = old.message_within(b"", RETRY_INTERVAL) {
            break frames;
        }
    };
    assert!(frames[0].starts_with(&to(b'M', TOPIC)), "a HEAD upon its subscription");
    old.expect_no_message(b"H", "a HEAD upon its subscription");
    // Our consumers subscribe to a topic with a NUL after it, our stores to H and a NUL.
    for subscription in [&b"Hhello\0"[..], b"H\0"] {
        let mut ours = Node::started(&cluster, &[to(b'H', ""), subscription.to_vec()]);
        ours.message(&to(b'H', TOPIC));
    }
}
