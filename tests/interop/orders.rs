//! Two nodes never find each other at the same moment. Each pair of roles, one of them played by hand as libdafka 0.1.0
//! does it, in both orders of events: it beacons, and is heard, before it is connected to anybody (beacon first); or it
//! connects and subscribes before anybody hears of it (subscription first). What is said into the void is said again.

use crate::e2e::{Cluster, Program, QUIET};
use crate::peer::{
    Node, ack, consumer_hello, direct_head, direct_record, fetch, get_heads, head, new_address, record,
    store_hello, string_at, to,
};
use std::time::Duration;

const TOPIC: &str = "hello";

/// How soon something is said again whose effect does not show; 0.1.0 takes a second.
const MOMENT: Duration = Duration::from_millis(50);

/// Says something again and again until a message comes that begins so; returns its first frame.
#[track_caller]
fn say_until(node: &mut Node, frame: &[u8], prefix: &[u8]) -> Vec<u8> {
    loop {
        node.send(frame);
        if let Some(mut frames) = node.message_within(prefix, MOMENT) {
            return frames.remove(0);
        }
    }
}

/// Asks until the one record that is asked for comes. How often that was.
#[track_caller]
fn expect_answer(node: &mut Node, partition: &str, sequence: u64, content: &str) -> usize {
    let expected = direct_record(&node.address, partition, TOPIC, sequence);
    for count in 1.. {
        node.send(&fetch(partition, &node.address, TOPIC, sequence, 1));
        if let Some(frames) = node.message_within(&expected, MOMENT) {
            assert_eq!(frames.len(), 2);
            assert_eq!(String::from_utf8_lossy(&frames[1]), content);
            return count;
        }
    }
    unreachable!()
}

#[track_caller]
fn expect_lines(consumer: &mut Program, partition: &str, contents: &[&str]) {
    for content in contents {
        let line = consumer.line("the next record");
        assert_eq!(String::from_utf8_lossy(&line), format!("{TOPIC} {partition} {content}"));
    }
}

/// Answers a FETCH with what it asks for, and returns who asked.
#[track_caller]
fn answer(node: &mut Node, contents: &[&str], subject: &str) -> String {
    let (partition, from, of, first, count) = node.fetch();
    assert_eq!(of, subject);
    for (sequence, content) in (0..).zip(contents).skip(first as usize).take(count as usize) {
        node.send_record(&direct_record(&from, &partition, subject, sequence), content);
    }
    from
}

fn feed(producer: &Program, lines: &[&str]) {
    producer.feed(&lines.iter().map(|line| line.as_bytes().to_vec()).collect::<Vec<_>>());
}

/// Our producer, which has published three records, and its address as `node` hears it.
fn our_producer(cluster: &Cluster, node: &mut Node, id: u8) -> (Program, String) {
    let producer = cluster.producer(TOPIC);
    let address = node.subscriber_of(id);
    feed(&producer, &["r0", "r1", "r2"]);
    (producer, address)
}

#[test]
fn our_producer_and_a_consumer_beacon_first() {
    let mut cluster = Cluster::new();
    cluster.set("producer/head_interval", "100");
    let _tower = cluster.tower();
    let mut consumer = Node::secluded(&cluster);
    for id in [to(b'M', TOPIC), to(b'H', TOPIC), to(b'D', &consumer.address)] {
        consumer.subscribe(&id);
    }
    // The producer is connected to it, and hears its FETCH; nobody hears the answer.
    let (_producer, address) = our_producer(&cluster, &mut consumer, b'F');
    consumer.send(&fetch(&address, &consumer.address, TOPIC, 0, 3));
    consumer.expect_no_message(b"", "it is connected to nobody");
    consumer.follow();
    consumer.message(&head(TOPIC, &address, 2));
    expect_answer(&mut consumer, &address, 0, "r0");
    expect_answer(&mut consumer, &address, 2, "r2");
}

#[test]
fn our_producer_and_a_consumer_subscription_first() {
    let mut cluster = Cluster::new();
    cluster.set("producer/head_interval", "100");
    let _tower = cluster.tower();
    let mut consumer = Node::new(&cluster);
    for id in [to(b'M', TOPIC), to(b'H', TOPIC), to(b'D', &consumer.address)] {
        consumer.subscribe(&id);
    }
    let producer = cluster.producer(TOPIC);
    feed(&producer, &["r0", "r1", "r2"]);
    // It hears the producer, which does not hear it: it has not beaconed.
    let frames = consumer.message(b"H");
    let address = string_at(&frames[0], "Hhello\0\x01".len());
    consumer.message(&head(TOPIC, &address, 2));
    consumer.send(&fetch(&address, &consumer.address, TOPIC, 0, 3));
    consumer.expect_no_message(b"D", "the producer does not hear it");
    consumer.start_beacon();
    expect_answer(&mut consumer, &address, 0, "r0");
    expect_answer(&mut consumer, &address, 1, "r1");
}

/// A tower, and our store, which holds a record of a producer that has gone; and its partition.
fn our_store(cluster: &Cluster) -> (Program, Program, String) {
    let (tower, store) = (cluster.tower(), cluster.store("store"));
    cluster.publish(TOPIC, &[b"r0".to_vec()]);
    let mut asking = Node::started(cluster, &[]);
    let address = asking.address.clone();
    asking.subscribe(&to(b'E', &address));
    asking.subscriber_of(b'W');
    let head = say_until(&mut asking, &get_heads(TOPIC, &address), &to(b'E', &address));
    let partition = string_at(&head, address.len() + 3);
    (tower, store, partition)
}

#[test]
fn our_store_and_a_consumer_beacon_first() {
    let cluster = Cluster::new();
    let (_tower, _store, partition) = our_store(&cluster);
    let mut consumer = Node::secluded(&cluster);
    let me = consumer.address.clone();
    for id in b"DEL" {
        consumer.subscribe(&to(*id, &me));
    }
    // It greets because it sees the store's subscription to that; it does not hear the answer.
    let reader = consumer.subscriber_of(b'W');
    consumer.send(&consumer_hello(&reader, &me, &[TOPIC]));
    consumer.expect_no_message(b"", "it is connected to nobody");
    consumer.follow();
    consumer.exactly(&store_hello(&me, &reader));
    consumer.send(&consumer_hello(&reader, &me, &[TOPIC]));
    consumer.named(&direct_head(&me, &partition, TOPIC, 0));
    expect_answer(&mut consumer, &partition, 0, "r0");
}

#[test]
fn our_store_and_a_consumer_subscription_first() {
    let cluster = Cluster::new();
    let (_tower, _store, partition) = our_store(&cluster);
    let mut consumer = Node::new(&cluster);
    let me = consumer.address.clone();
    for id in b"DEL" {
        consumer.subscribe(&to(*id, &me));
    }
    // The store greets because it sees the consumer's subscription to that; it does not hear the answer.
    let hello = consumer.message(&to(b'L', &me));
    let reader = string_at(&hello[0], me.len() + 3);
    assert_eq!(hello, [store_hello(&me, &reader)]);
    consumer.send(&consumer_hello(&reader, &me, &[TOPIC]));
    consumer.expect_no_message(b"E", "the store does not hear it");
    consumer.start_beacon();
    consumer.subscription(&to(b'W', &reader));
    consumer.send(&consumer_hello(&reader, &me, &[TOPIC]));
    consumer.named(&direct_head(&me, &partition, TOPIC, 0));
    expect_answer(&mut consumer, &partition, 0, "r0");
}

#[test]
fn our_store_and_a_producer_beacon_first() {
    let cluster = Cluster::new();
    let (_tower, _store) = (cluster.tower(), cluster.store("store"));
    let mut producer = Node::secluded(&cluster);
    let partition = producer.address.clone();
    for id in b"KF" {
        producer.subscribe(&to(*id, &partition));
    }
    // Its record is stored; it does not hear the ACK, and it would wait for ever without another.
    producer.subscription(b"M");
    producer.send_record(&record(TOPIC, &partition, 0), "r0");
    producer.expect_no_message(b"", "it is connected to nobody");
    producer.follow();
    say_until(&mut producer, &head(TOPIC, &partition, 0), &ack(&partition, TOPIC, 0));
}

#[test]
fn our_store_and_a_producer_subscription_first() {
    let cluster = Cluster::new();
    let (_tower, _store) = (cluster.tower(), cluster.store("store"));
    let mut producer = Node::new(&cluster);
    let partition = producer.address.clone();
    for id in b"KF" {
        producer.subscribe(&to(*id, &partition));
    }
    // Both halves of the store are there for it, it is not for them: its first record is lost.
    while producer.peers.len() < 2 {
        producer.listen(MOMENT);
    }
    producer.send_record(&record(TOPIC, &partition, 0), "r0");
    producer.expect_no_message(b"", "nobody hears it");
    producer.start_beacon();
    producer.subscription(b"H");
    let asked = say_until(&mut producer, &head(TOPIC, &partition, 0), &to(b'F', &partition));
    let writer = string_at(&asked, partition.len() + 3);
    assert_eq!(asked, fetch(&partition, &writer, TOPIC, 0, 1));
    producer.send_record(&direct_record(&writer, &partition, TOPIC, 0), "r0");
    producer.message(&ack(&partition, TOPIC, 0));
}

#[test]
fn our_consumer_and_a_producer_beacon_first() {
    let cluster = Cluster::new();
    let _tower = cluster.tower();
    let mut consumer = cluster.consumer(TOPIC);
    let mut producer = Node::secluded(&cluster);
    let partition = producer.address.clone();
    producer.subscribe(&to(b'F', &partition));
    producer.subscription(b"Mhello\0");
    // Record 1 is lost: it is asked for, which the producer does not hear until it is connected.
    for (sequence, content) in [(0, "r0"), (2, "r2")] {
        producer.send_record(&record(TOPIC, &partition, sequence), content);
    }
    expect_lines(&mut consumer, &partition, &["r0"]);
    producer.expect_no_message(b"", "it is connected to nobody");
    producer.follow();
    answer(&mut producer, &["r0", "r1", "r2"], TOPIC);
    expect_lines(&mut consumer, &partition, &["r1", "r2"]);
    consumer.expect_silence(QUIET, "each record once");
}

#[test]
fn our_consumer_and_a_producer_subscription_first() {
    let cluster = Cluster::new();
    let _tower = cluster.tower();
    let mut consumer = cluster.consumer(TOPIC);
    let mut producer = Node::new(&cluster);
    let partition = producer.address.clone();
    producer.subscribe(&to(b'F', &partition));
    while producer.peers.is_empty() {
        producer.listen(MOMENT);
    }
    producer.send_record(&record(TOPIC, &partition, 0), "r0");
    producer.expect_no_message(b"", "nobody hears it");
    producer.start_beacon();
    producer.subscription(b"Hhello\0");
    producer.send(&head(TOPIC, &partition, 1));
    answer(&mut producer, &["r0", "r1"], TOPIC);
    expect_lines(&mut consumer, &partition, &["r0", "r1"]);
}

/// (A store that connects before it is announced: `interop/consumer.rs`.)
#[test]
fn our_consumer_and_a_store_beacon_first() {
    let cluster = Cluster::new();
    let _tower = cluster.tower();
    let mut consumer = cluster.consumer(TOPIC);
    let mut store = Node::secluded(&cluster);
    let me = store.address.clone();
    for id in [to(b'F', ""), to(b'G', ""), to(b'W', &me)] {
        store.subscribe(&id);
    }
    // It greets because it sees the consumer's subscription to that; it does not hear the answer.
    let address = store.subscriber_of(b'L');
    store.subscription(b"Mhello\0");
    store.send(&store_hello(&address, &me));
    store.expect_no_message(b"", "it is connected to nobody");
    store.follow();
    store.exactly(&consumer_hello(&me, &address, &[TOPIC]));
    let partition = new_address();
    store.send(&direct_head(&address, &partition, TOPIC, 1));
    answer(&mut store, &["s0", "s1"], TOPIC);
    expect_lines(&mut consumer, &partition, &["s0", "s1"]);
}

/// A FETCH goes to the producer and to all stores, and all of them may answer: each record is delivered once, with the
/// content that it has everywhere; 0.1.0's stores send one record too many.
#[test]
fn our_consumer_is_answered_by_two_stores_and_the_producer_at_once() {
    let cluster = Cluster::new();
    let _tower = cluster.tower();
    let mut consumer = cluster.consumer(TOPIC);
    let contents = ["r0", "r1", "r2", "r3", "r4"];
    let mut nodes = [Node::new(&cluster), Node::new(&cluster), Node::new(&cluster)];
    let partition = nodes[0].address.clone();
    nodes[0].subscribe(&to(b'F', &partition));
    nodes[1].subscribe(b"F");
    nodes[2].subscribe(b"F");
    for node in &mut nodes {
        node.start_beacon();
        node.subscription(b"Hhello\0");
    }
    let address = nodes[0].subscriber_of(b'D');
    // All three hear what it asks for: it asks again, as long as nothing comes.
    nodes[0].send(&head(TOPIC, &partition, 3));
    let asked: Vec<_> = nodes.iter_mut().map(Node::fetch).collect();
    for asked in asked {
        assert_eq!(asked, (partition.clone(), address.clone(), TOPIC.into(), 0, 4));
    }
    // Interleaved: the stores one more than was asked for, one of them in two parts.
    let answer = |node: &Node, sequences: std::ops::Range<usize>| {
        for sequence in sequences {
            let frame = direct_record(&address, &partition, TOPIC, sequence as u64);
            node.send_record(&frame, contents[sequence]);
        }
    };
    answer(&nodes[1], 0..2);
    answer(&nodes[0], 0..4);
    answer(&nodes[2], 0..5);
    answer(&nodes[1], 2..5);
    expect_lines(&mut consumer, &partition, &contents);
    nodes[0].send_record(&record(TOPIC, &partition, 4), contents[4]);
    nodes[0].send_record(&record(TOPIC, &partition, 5), "r5");
    expect_lines(&mut consumer, &partition, &["r5"]);
    consumer.expect_silence(QUIET, "each record once");
}

#[test]
fn our_store_takes_over_what_two_stores_hold_at_once() {
    let cluster = Cluster::new();
    let _tower = cluster.tower();
    let contents = ["s0", "s1", "s2", "s3", "s4"];
    let mut old = [Node::new(&cluster), Node::new(&cluster)];
    for node in &mut old {
        node.subscribe(b"F");
        node.subscribe(b"G");
        node.start_beacon();
    }
    let partition = new_address();
    let _store = cluster.store("store");
    let mut writer = String::new();
    for node in &mut old {
        let ask = node.message(b"G\0\x01");
        writer = string_at(&ask[0], 3);
        node.subscription(&to(b'E', &writer));
    }
    for node in &old {
        node.send(&direct_head(&writer, &partition, TOPIC, 3));
    }
    for node in &mut old {
        let (asked, from, subject, first, count) = node.fetch();
        assert_eq!((asked, from, subject.as_str(), first), (partition.clone(), writer.clone(), TOPIC, 0));
        assert_eq!(count, 4);
        // One too many: the partition has grown meanwhile.
        for (sequence, content) in (0..).zip(contents) {
            node.send_record(&direct_record(&writer, &partition, TOPIC, sequence), content);
        }
    }
    // What it took over it serves, each record once.
    let mut consumer = Node::started(&cluster, &[]);
    let me = consumer.address.clone();
    for id in b"DEL" {
        consumer.subscribe(&to(*id, &me));
    }
    say_until(&mut consumer, &get_heads(TOPIC, &me), &direct_head(&me, &partition, TOPIC, 4));
    let mut answers = expect_answer(&mut consumer, &partition, 0, "s0");
    consumer.send(&fetch(&partition, &me, TOPIC, 1, 100));
    for (sequence, content) in (1..).zip(&contents[1..]) {
        let mut frames = consumer.message(b"D");
        // That one comes as often as it was asked for.
        while answers > 1 && frames[0] == direct_record(&me, &partition, TOPIC, 0) {
            answers -= 1;
            frames = consumer.message(b"D");
        }
        assert_eq!(frames, [direct_record(&me, &partition, TOPIC, sequence), content.as_bytes().to_vec()]);
    }
    consumer.expect_no_message(b"D", "each record once");
}
