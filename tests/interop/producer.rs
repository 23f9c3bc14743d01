//! Our producer, and consumers and stores of libdafka 0.1.0 played by hand.

use crate::e2e::{Cluster, Program};
use crate::peer::{Node, ack, direct_head, fetch, get_heads, head, record, string_at, to};
use std::time::Duration;

const TOPIC: &str = "hello";

/// How long it takes until a message that was sent has come, mostly.
const MOMENT: Duration = Duration::from_millis(50);

/// A cluster with a tower, a node that listens to everything of the topic, and our producer with its address.
fn start(lines: &[&str]) -> (Cluster, Program, Node, Program, String) {
    let mut cluster = Cluster::new();
    cluster.set("producer/head_interval", "200");
    let tower = cluster.tower();
    let mut node = Node::new(&cluster);
    for subscription in [to(b'M', TOPIC), to(b'H', TOPIC), to(b'D', &node.address), to(b'E', &node.address)] {
        node.subscribe(&subscription);
    }
    node.start_beacon();
    let producer = cluster.producer(TOPIC);
    // Beacon first, or subscription first: whichever comes, it is the producer's.
    let address = node.subscriber_of(b'K');
    node.subscription(&to(b'F', &address));
    feed(&producer, lines);
    // Its first records may have been published before it heard of the node's subscriptions; its HEADs come again.
    node.message(&head(TOPIC, &address, lines.len() as u64 - 1));
    (cluster, tower, node, producer, address)
}

fn feed(producer: &Program, lines: &[&str]) {
    producer.feed(&lines.iter().map(|line| line.as_bytes().to_vec()).collect::<Vec<_>>());
}

#[test]
fn its_subscriptions_records_and_heads_are_laid_out_as_the_protocol_says() {
    let mut cluster = Cluster::new();
    cluster.set("producer/head_interval", "100");
    let _tower = cluster.tower();
    let mut node = Node::started(&cluster, &[to(b'M', TOPIC), to(b'H', TOPIC)]);
    let producer = cluster.producer(TOPIC);
    let address = node.subscriber_of(b'K');
    assert!(
        address.len() == 32 && address.bytes().all(|octet| b"0123456789ABCDEF".contains(&octet)),
        "{address}"
    );
    node.subscription(&to(b'F', &address));
    node.subscription(b"Ghello\0");

    // Once the node has heard a record, it hears all that follow.
    let mut next = 0;
    while next == 0 || node.message_within(&record(TOPIC, &address, next - 1), MOMENT).is_none() {
        feed(&producer, &["before"]);
        next += 1;
    }
    feed(&producer, &["first", "", "third"]);
    let mut announced = false;
    for (sequence, content) in (next..).zip(["first", "", "third"]) {
        let frames = node.message(&record(TOPIC, &address, sequence));
        assert_eq!(frames.len(), 2);
        assert_eq!(frames[0], record(TOPIC, &address, sequence));
        assert_eq!(frames[1], content.as_bytes());
        announced |= string_at(&frames[0], "Mhello\0\x01".len()) == address;
    }
    assert!(announced);
    // Again and again, once there is a record.
    for _ in 0..3 {
        let frames = node.message(&head(TOPIC, &address, next + 2));
        assert_eq!(frames, [head(TOPIC, &address, next + 2)]);
    }
}

#[test]
fn it_answers_a_fetch_with_exactly_what_was_asked_for() {
    let (_cluster, _tower, mut node, _producer, address) = start(&["r0", "r1", "r2", "r3", "r4"]);
    node.send(&fetch(&address, &node.address, TOPIC, 1, 2));
    node.direct_records(&address, TOPIC, 1, &["r1", "r2"]);
    node.expect_no_message(b"D", "one record too many");
    // Repeated, as 0.1.0 does when an answer is late; beyond the head; as many as 0.1.0 ever asks for; all there are.
    for count in [5, 100, 100_000, u32::MAX] {
        node.send(&fetch(&address, &node.address, TOPIC, 0, count));
        node.direct_records(&address, TOPIC, 0, &["r0", "r1", "r2", "r3", "r4"]);
    }
    node.send(&fetch(&address, &node.address, TOPIC, 5, 10));
    node.send(&fetch(&address, &node.address, TOPIC, u64::MAX, u32::MAX));
    node.send(&fetch(&address, &node.address, "other", 0, 10));
    node.expect_no_message(b"D", "there is nothing to answer with");
    // After that it still answers.
    node.send(&fetch(&address, &node.address, TOPIC, 4, 1));
    node.direct_records(&address, TOPIC, 4, &["r4"]);
}

#[test]
fn what_was_acknowledged_is_not_its_to_answer() {
    let (_cluster, _tower, mut node, mut producer, address) = start(&["r0", "r1", "r2", "r3"]);
    node.send(&ack(&address, TOPIC, 1));
    node.send(&fetch(&address, &node.address, TOPIC, 0, 4));
    node.direct_records(&address, TOPIC, 2, &["r2", "r3"]);
    assert!(producer.is_running());
}

#[test]
fn it_ends_when_the_last_record_is_acknowledged_and_not_before() {
    let (_cluster, _tower, mut node, mut producer, address) = start(&["r0", "r1", "r2"]);
    producer.close_input();
    for harmless in [
        ack(&address, TOPIC, 0),
        ack(&address, TOPIC, 1),
        // Repeated, older, of another topic, of another partition, of another version, cut off.
        ack(&address, TOPIC, 1),
        ack(&address, TOPIC, 0),
        ack(&address, "other", 2),
        ack(&"0".repeat(32), TOPIC, 2),
        [&to(b'K', &address)[..], b"\0\x02\x05hello\0\0\0\0\0\0\0\x02"].concat(),
        ack(&address, TOPIC, 2)[..40].to_vec(),
    ] {
        node.send(&harmless);
    }
    // It has read them once it answers what came after them, and goes on.
    node.send(&fetch(&address, &node.address, TOPIC, 2, 1));
    node.direct_records(&address, TOPIC, 2, &["r2"]);
    assert!(producer.is_running());
    // Octets after the last field are of a later version: ignored.
    node.send(&[&ack(&address, TOPIC, 2)[..], b"\xff\xff"].concat());
    producer.expect_success("the last ACK");
}

#[test]
fn it_tells_its_head_to_who_asks() {
    let (_cluster, _tower, mut node, _producer, address) = start(&["r0", "r1"]);
    node.send(&get_heads(TOPIC, &node.address));
    let expected = direct_head(&node.address, &address, TOPIC, 1);
    node.exactly(&expected);
    node.send(&get_heads("hello2", &node.address));
    node.expect_no_message(b"E", "that is another topic");
}

/// A consumer of 0.1.0 under latest takes the record of a HEAD that comes first for a new one.
#[test]
fn a_new_peer_gets_a_head_at_once_only_if_it_is_a_node_of_this_library() {
    let mut cluster = Cluster::new();
    cluster.set("producer/head_interval", "60000");
    let _tower = cluster.tower();
    let producer = cluster.producer(TOPIC);
    let mut first = Node::started(&cluster, &[to(b'M', TOPIC)]);
    while first.message_within(&to(b'M', TOPIC), MOMENT).is_none() {
        feed(&producer, &["published before"]);
    }
    let mut old = Node::started(&cluster, &[to(b'M', TOPIC), to(b'H', TOPIC), to(b'H', "")]);
    let address = old.subscriber_of(b'K');
    old.subscription(&to(b'F', &address));
    // The producer has read the subscriptions once it publishes what this node receives.
    let frames = loop {
        feed(&producer, &["live"]);
        if let Some(frames) = old.message_within(b"", MOMENT) {
            break frames;
        }
    };
    assert!(frames[0].starts_with(&to(b'M', TOPIC)), "a HEAD upon its subscription");
    old.expect_no_message(b"H", "a HEAD upon its subscription");
    // Our consumers subscribe with a NUL after the topic; our stores also to H and a NUL.
    for subscription in [&b"Hhello\0"[..], b"H\0"] {
        let mut ours = Node::started(&cluster, &[to(b'H', ""), subscription.to_vec()]);
        ours.message(&to(b'H', TOPIC));
    }
}
