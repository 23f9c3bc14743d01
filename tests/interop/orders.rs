//! Two nodes never discover each other at the same moment. There is a test for each pair of roles and each order.
//!
//! One node of the pair is ours, the other one is a simulated node of libdafka 0.1.0. "Beacon first": our node connects
//! to the simulated node before the simulated node connects to any node. "Subscription first": the simulated node
//! connects and subscribes to our node before our node connects to it. A message that a node sends without a connection
//! is lost, and must be repeated.

use crate::e2e::{Cluster, Program, QUIET};
use crate::peer::{
    NO_STORE_BUT_BATCHES, Node, RETRY_INTERVAL, ack, consumer_hello, direct_head, direct_record, fetch,
    get_heads, head, new_address, record, store_hello, string_at, to,
};
use crate::{TOPIC, expect_lines, feed};

/// Requests a record until it arrives. Returns the number of requests.
#[track_caller]
fn expect_answer(node: &mut Node, partition: &str, sequence: u64, content: &str) -> usize {
    let expected = direct_record(&node.address, partition, TOPIC, sequence);
    for count in 1.. {
        node.send(&fetch(partition, &node.address, TOPIC, sequence, 1));
        if let Some(frames) = node.message_within(&expected, RETRY_INTERVAL) {
            assert_eq!(frames.len(), 2);
            assert_eq!(String::from_utf8_lossy(&frames[1]), content);
            return count;
        }
    }
    unreachable!()
}

/// Answers a FETCH, and returns the address of the requester.
#[track_caller]
fn answer(node: &mut Node, contents: &[&str], subject: &str) -> String {
    let (partition, from, of, first, count) = node.fetch();
    assert_eq!(of, subject);
    for (sequence, content) in (0..).zip(contents).skip(first as usize).take(count as usize) {
        node.send_record(&direct_record(&from, &partition, subject, sequence), content);
    }
    from
}

/// Our producer, which publishes three records, and its address.
fn our_producer(cluster: &Cluster, node: &mut Node, id: u8) -> (Program, String) {
    let producer = cluster.producer(TOPIC);
    let address = node.subscriber_of(id);
    feed(&producer, &["r0", "r1", "r2"]);
    (producer, address)
}

#[test]
fn our_producer_and_a_consumer_beacon_first() {
    let cluster = Cluster::new().with("producer/head_interval", "100").with_tower();
    let mut consumer = Node::secluded(&cluster);
    for id in [to(b'M', TOPIC), to(b'H', TOPIC), to(b'D', &consumer.address)] {
        consumer.subscribe(&id);
    }
    // The producer is connected to the consumer, and receives the consumer's FETCH. The response is lost.
    let (_producer, address) = our_producer(&cluster, &mut consumer, b'F');
    consumer.send(&fetch(&address, &consumer.address, TOPIC, 0, 3));
    consumer.expect_no_message(b"", "it is not connected to any node");
    consumer.follow();
    consumer.message(&head(TOPIC, &address, 2));
    expect_answer(&mut consumer, &address, 0, "r0");
    expect_answer(&mut consumer, &address, 2, "r2");
}

#[test]
fn our_producer_and_a_consumer_subscription_first() {
    let cluster = Cluster::new().with("producer/head_interval", "100").with_tower();
    let mut consumer = Node::new(&cluster);
    for id in [to(b'M', TOPIC), to(b'H', TOPIC), to(b'D', &consumer.address)] {
        consumer.subscribe(&id);
    }
    let producer = cluster.producer(TOPIC);
    feed(&producer, &["r0", "r1", "r2"]);
    // The consumer receives the producer's messages. The producer does not receive the consumer's messages, because the
    // consumer has not sent a beacon.
    let frames = consumer.message(b"H");
    let address = string_at(&frames[0], "Hhello\0\x01".len());
    consumer.message(&head(TOPIC, &address, 2));
    consumer.send(&fetch(&address, &consumer.address, TOPIC, 0, 3));
    consumer.expect_no_message(b"D", "the producer is not connected to it");
    consumer.start_beacon();
    expect_answer(&mut consumer, &address, 0, "r0");
    expect_answer(&mut consumer, &address, 1, "r1");
}

/// A tower, our store with one record of a producer that has ended, and the partition of that record.
fn our_store(cluster: &Cluster) -> (Program, Program, String) {
    let (tower, store) = (cluster.tower(), cluster.store("store"));
    cluster.publish(TOPIC, &[b"r0".to_vec()]);
    let mut asking = Node::started(cluster, &[]);
    let address = asking.address.clone();
    asking.subscribe(&to(b'E', &address));
    asking.subscriber_of(b'W');
    let head = asking.ask(&get_heads(TOPIC, &address), &to(b'E', &address));
    let partition = string_at(&head[0], address.len() + 3);
    (tower, store, partition)
}

#[test]
fn our_store_and_a_consumer_beacon_first() {
    let cluster = Cluster::new();
    let (_tower, _store, partition) = our_store(&cluster);
    let mut consumer = Node::secluded(&cluster);
    let me = consumer.address.clone();
    consumer.subscribe_to(b"DEL", &me);
    // The consumer sends CONSUMER-HELLO, because the store subscribes to this message. The consumer does not receive
    // the answer.
    let reader = consumer.subscriber_of(b'W');
    consumer.send(&consumer_hello(&reader, &me, &[TOPIC]));
    consumer.expect_no_message(b"", "it is not connected to any node");
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
    consumer.subscribe_to(b"DEL", &me);
    // The store sends STORE-HELLO, because the consumer subscribes to this message. The store does not receive the
    // answer.
    let hello = consumer.message(&to(b'L', &me));
    let reader = string_at(&hello[0], me.len() + 3);
    assert_eq!(hello, [store_hello(&me, &reader)]);
    consumer.send(&consumer_hello(&reader, &me, &[TOPIC]));
    consumer.expect_no_message(b"E", "the store is not connected to it");
    consumer.start_beacon();
    consumer.subscription(&to(b'W', &reader));
    consumer.send(&consumer_hello(&reader, &me, &[TOPIC]));
    consumer.named(&direct_head(&me, &partition, TOPIC, 0));
    expect_answer(&mut consumer, &partition, 0, "r0");
}

#[test]
fn our_store_and_a_producer_beacon_first() {
    let cluster = Cluster::new().with_tower().with_store();
    let mut producer = Node::secluded(&cluster);
    let partition = producer.address.clone();
    producer.subscribe_to(b"KF", &partition);
    // The store stores the producer's record. The ACK is lost, so the producer needs another one.
    producer.subscription(b"M");
    producer.send_record(&record(TOPIC, &partition, 0), "r0");
    producer.expect_no_message(b"", "it is not connected to any node");
    producer.follow();
    producer.ask(&head(TOPIC, &partition, 0), &ack(&partition, TOPIC, 0));
}

#[test]
fn our_store_and_a_producer_subscription_first() {
    let cluster = Cluster::new().with_tower().with_store();
    let mut producer = Node::new(&cluster);
    let partition = producer.address.clone();
    producer.subscribe_to(b"KF", &partition);
    // The producer is connected to both nodes of the store. These nodes are not connected to the producer, so the first
    // record of the producer is lost.
    producer.wait_for_peers(2);
    producer.send_record(&record(TOPIC, &partition, 0), "r0");
    producer.expect_no_message(b"", "no node is connected to it");
    producer.start_beacon();
    producer.subscription(b"H");
    let asked = producer.ask(&head(TOPIC, &partition, 0), &to(b'F', &partition));
    let writer = string_at(&asked[0], partition.len() + 3);
    assert_eq!(asked[0], [&fetch(&partition, &writer, TOPIC, 0, 1)[..], NO_STORE_BUT_BATCHES].concat());
    producer.send_records_to(&writer, &partition, TOPIC, 0, &["r0"]);
    producer.message(&ack(&partition, TOPIC, 0));
}

#[test]
fn our_consumer_and_a_producer_beacon_first() {
    let cluster = Cluster::new().with_tower();
    let mut consumer = cluster.consumer(TOPIC);
    let mut producer = Node::secluded(&cluster);
    let partition = producer.address.clone();
    producer.subscribe(&to(b'F', &partition));
    producer.subscription(b"Mhello\0");
    // Record 1 is lost. The producer receives the FETCH of this record when the producer is connected to the consumer.
    for (sequence, content) in [(0, "r0"), (2, "r2")] {
        producer.send_record(&record(TOPIC, &partition, sequence), content);
    }
    expect_lines(&mut consumer, &partition, &["r0"]);
    producer.expect_no_message(b"", "it is not connected to any node");
    producer.follow();
    answer(&mut producer, &["r0", "r1", "r2"], TOPIC);
    expect_lines(&mut consumer, &partition, &["r1", "r2"]);
    consumer.expect_silence(QUIET, "each record once");
}

#[test]
fn our_consumer_and_a_producer_subscription_first() {
    let cluster = Cluster::new().with_tower();
    let mut consumer = cluster.consumer(TOPIC);
    let mut producer = Node::new(&cluster);
    let partition = producer.address.clone();
    producer.subscribe(&to(b'F', &partition));
    producer.wait_for_peers(1);
    producer.send_record(&record(TOPIC, &partition, 0), "r0");
    producer.expect_no_message(b"", "no node is connected to it");
    producer.start_beacon();
    producer.subscription(b"Hhello\0");
    producer.send(&head(TOPIC, &partition, 1));
    answer(&mut producer, &["r0", "r1"], TOPIC);
    expect_lines(&mut consumer, &partition, &["r0", "r1"]);
}

/// (`interop/consumer.rs` tests a store that connects before it is announced.)
#[test]
fn our_consumer_and_a_store_beacon_first() {
    let cluster = Cluster::new().with_tower();
    let mut consumer = cluster.consumer(TOPIC);
    let mut store = Node::secluded(&cluster);
    let me = store.address.clone();
    for id in [to(b'F', ""), to(b'G', ""), to(b'W', &me)] {
        store.subscribe(&id);
    }
    // The store sends STORE-HELLO, because the consumer subscribes to this message. The store does not receive the
    // answer.
    let address = store.subscriber_of(b'L');
    store.subscription(b"Mhello\0");
    store.send(&store_hello(&address, &me));
    store.expect_no_message(b"", "it is not connected to any node");
    store.follow();
    store.exactly(&consumer_hello(&me, &address, &[TOPIC]));
    let partition = new_address();
    store.send(&direct_head(&address, &partition, TOPIC, 1));
    answer(&mut store, &["s0", "s1"], TOPIC);
    expect_lines(&mut consumer, &partition, &["s0", "s1"]);
}

/// A FETCH goes to the producer and to all stores, and all of them may answer. The consumer delivers each record once.
/// Stores of 0.1.0 send one record too many.
#[test]
fn our_consumer_is_answered_by_two_stores_and_the_producer_at_once() {
    let cluster = Cluster::new().with_tower();
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
    // All three receive the FETCH, because the consumer repeats it until an answer arrives.
    nodes[0].send(&head(TOPIC, &partition, 3));
    let asked: Vec<_> = nodes.iter_mut().map(Node::fetch).collect();
    for asked in asked {
        assert_eq!(asked, (partition.clone(), address.clone(), TOPIC.into(), 0, 4));
    }
    // The answers are interleaved. The stores send one record too many, and one of them sends its answer in two parts.
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
fn our_store_copies_two_stores_at_once() {
    let cluster = Cluster::new().with_tower();
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
        assert_eq!(node.fetch(), (partition.clone(), writer.clone(), TOPIC.into(), 0, 4));
        node.send_records_to(&writer, &partition, TOPIC, 0, &contents);
    }
    // Our store serves the records that it has copied, each record once.
    let mut consumer = Node::started(&cluster, &[]);
    let me = consumer.address.clone();
    consumer.subscribe_to(b"DEL", &me);
    consumer.ask(&get_heads(TOPIC, &me), &direct_head(&me, &partition, TOPIC, 4));
    let mut answers = expect_answer(&mut consumer, &partition, 0, "s0");
    consumer.send(&fetch(&partition, &me, TOPIC, 1, 100));
    for (sequence, content) in (1..).zip(&contents[1..]) {
        let mut frames = consumer.message(b"D");
        // Record 0 arrives as often as the consumer has requested it.
        while answers > 1 && frames[0] == direct_record(&me, &partition, TOPIC, 0) {
            answers -= 1;
            frames = consumer.message(b"D");
        }
        assert_eq!(frames, [direct_record(&me, &partition, TOPIC, sequence), content.as_bytes().to_vec()]);
    }
    consumer.expect_no_message(b"D", "each record once");
}
