//! Our consumer with simulated producers and stores of libdafka 0.1.0.

use crate::e2e::{Cluster, QUIET};
use crate::peer::{
    Node, consumer_hello, direct_head, direct_record, get_heads, head, new_address, record, store_hello,
    string, to,
};
use crate::{TOPIC, expect_lines};
use std::time::Duration;

/// A producer of 0.1.0 to which our consumer has subscribed, and the consumer's address.
fn producer_for(cluster: &Cluster) -> (Node, String) {
    let mut producer = Node::new(cluster);
    producer.subscribe(&to(b'F', &producer.address));
    producer.start_beacon();
    let consumer = producer.subscriber_of(b'D');
    // With the NUL, records of `hello` match, and records of `hello2` do not.
    producer.subscription(b"Mhello\0");
    producer.subscription(b"Hhello\0");
    (producer, consumer)
}

/// A reader of a 0.1.0 store, and the address of our consumer. Both nodes are connected to each other.
fn store_for(cluster: &Cluster) -> (Node, String) {
    let mut store = Node::new(cluster);
    for subscription in [to(b'F', ""), to(b'G', ""), to(b'W', &store.address)] {
        store.subscribe(&subscription);
    }
    store.start_beacon();
    let consumer = store.subscriber_of(b'L');
    (store, consumer)
}

#[test]
fn live_records_and_a_gap_that_the_producer_fills() {
    let cluster = Cluster::new().with_tower();
    let mut consumer = cluster.consumer(TOPIC);
    let (mut producer, address) = producer_for(&cluster);
    let partition = producer.address.clone();
    for (sequence, content) in [(0, "r0"), (1, "r1"), (4, "r4")] {
        producer.send_record(&record(TOPIC, &partition, sequence), content);
    }
    expect_lines(&mut consumer, &partition, &["r0", "r1"]);
    // The FETCH requests exactly the gap, because the consumer has kept record 4.
    assert_eq!(producer.fetch(), (partition.clone(), address.clone(), TOPIC.into(), 2, 2));
    producer.send_records_to(&address, &partition, TOPIC, 2, &["r2", "r3"]);
    expect_lines(&mut consumer, &partition, &["r2", "r3", "r4"]);
    // This HEAD is beyond the consumer's last record.
    producer.send(&head(TOPIC, &partition, 5));
    assert_eq!(producer.fetch_from(5), (partition.clone(), address.clone(), TOPIC.into(), 5, 1));
    producer.send_records_to(&address, &partition, TOPIC, 5, &["r5"]);
    expect_lines(&mut consumer, &partition, &["r5"]);
    consumer.expect_silence(QUIET, "each record once");
}

#[test]
fn an_unanswered_fetch_is_repeated_and_a_partly_answered_one_continues() {
    let cluster = Cluster::new().with_tower();
    let mut consumer = cluster.consumer(TOPIC);
    let (mut producer, address) = producer_for(&cluster);
    let partition = producer.address.clone();
    producer.send(&head(TOPIC, &partition, 9));
    let first = producer.fetch();
    assert_eq!(first, (partition.clone(), address.clone(), TOPIC.into(), 0, 10));
    // 0.1.0 may answer late, or not at all.
    assert_eq!(producer.fetch(), first);
    let contents: Vec<String> = (0..10).map(|sequence| format!("r{sequence}")).collect();
    let contents: Vec<&str> = contents.iter().map(String::as_str).collect();
    producer.send_records_to(&address, &partition, TOPIC, 0, &contents[..4]);
    // The consumer requests the rest without another message.
    assert_eq!(producer.fetch_from(4), (partition.clone(), address.clone(), TOPIC.into(), 4, 6));
    producer.send_records_to(&address, &partition, TOPIC, 4, &contents[4..]);
    expect_lines(&mut consumer, &partition, &contents);
}

#[test]
fn a_consumer_drops_malformed_records_and_records_of_other_topics() {
    let cluster = Cluster::new().with_tower();
    let mut consumer = cluster.consumer(TOPIC);
    let (mut producer, address) = producer_for(&cluster);
    let partition = producer.address.clone();
    let good = record(TOPIC, &partition, 0);
    let mut version_2 = good.clone();
    version_2["Mhello\0".len()] = 2;
    producer.send_record(&version_2, "of another version");
    producer.send(&good);
    producer.send_frames(&[&good, b"one", b"two"]);
    producer.send_record(&good[..good.len() - 1], "cut off");
    // The consumer has not requested these messages. `hello2` is another topic than `hello`.
    producer.send_record(&direct_record(&address, &partition, "hello2", 0), "unasked");
    producer.send(&direct_head(&address, &partition, "hello2", 5));
    producer.expect_no_message(b"F", "it is not subscribed to hello2");
    // Bytes after the last field are ignored.
    producer.send_record(&[&good[..], b"later"].concat(), "good");
    expect_lines(&mut consumer, &partition, &["good"]);
    consumer.expect_silence(QUIET, "the others are no records");
}

#[test]
fn a_consumer_sends_its_hello_after_a_store_hello_or_a_subscription() {
    let cluster = Cluster::new().with_tower();
    let _consumer = cluster.consumer(TOPIC);
    // By now the consumer has subscribed to its topic.
    let _producer = producer_for(&cluster);
    let (mut store, consumer) = store_for(&cluster);
    // Stores of 0.1.0 subscribe to `W` and their own address. The consumer responds to this subscription with its
    // CONSUMER-HELLO.
    store.exactly(&consumer_hello(&store.address, &consumer, &[TOPIC]));
    // A store of 0.1.0 sends STORE-HELLO when the consumer subscribes to STORE-HELLO.
    store.send(&store_hello(&consumer, &store.address));
    store.exactly(&consumer_hello(&store.address, &consumer, &[TOPIC]));
}

#[test]
fn a_store_that_connects_without_being_announced_is_greeted_too() {
    let cluster = Cluster::new().with_tower();
    let _consumer = cluster.consumer(TOPIC);
    let _producer = producer_for(&cluster);
    // The store subscribes to the consumer before the consumer receives a beacon of the store.
    let mut store = Node::new(&cluster);
    store.subscribe(&to(b'W', &store.address));
    let expected = consumer_hello(&store.address, "", &[TOPIC]);
    let hello = store.message(&to(b'W', &store.address));
    assert_eq!(hello[0].len(), expected.len() + 32);
    assert!(hello[0].ends_with(&expected[expected.len() - 13..]), "{}", hello[0].escape_ascii());
}

#[test]
fn a_consumer_reads_from_two_stores_at_once_each_record_once() {
    let cluster = Cluster::new().with_tower();
    let mut consumer = cluster.consumer(TOPIC);
    let partition = new_address();
    let contents = ["s0", "s1", "s2"];
    let mut stores = [store_for(&cluster), store_for(&cluster)];
    for (store, _) in &mut stores {
        store.message(b"W");
    }
    for (store, consumer) in &stores {
        store.send(&direct_head(consumer, &partition, TOPIC, 2));
    }
    for (store, consumer) in &mut stores {
        assert_eq!(store.fetch(), (partition.clone(), consumer.clone(), TOPIC.into(), 0, 3));
        // Send all records, and one record too many, as 0.1.0 does. This additional record is the last one again.
        for (sequence, content) in (0..).zip(contents).chain([(2, "s2")]) {
            store.send_record(&direct_record(consumer, &partition, TOPIC, sequence), content);
        }
    }
    expect_lines(&mut consumer, &partition, &contents);
    consumer.expect_silence(QUIET, "each record once");
}

#[test]
fn records_requested_from_a_store_are_not_accepted_from_a_producer_of_0_1_0() {
    let cluster = Cluster::new().with_tower();
    let mut consumer = cluster.consumer(TOPIC);
    let (mut store, _) = store_for(&cluster);
    // The consumer stops waiting for the store after 250 ms. On a busy machine, one attempt of this test may take
    // longer.
    let is_right = (0..20).any(|_| {
        let (mut producer, address) = producer_for(&cluster);
        let partition = producer.address.clone();
        // A store with a name reports the records. The consumer requests the records from this store. The producer
        // receives this FETCH, too.
        let held = [direct_head(&address, &partition, TOPIC, 1), string("A store of ours")].concat();
        store.send(&held);
        let name_and_flags = [&string("A store of ours")[..], &[1]].concat();
        assert!(store.message(&to(b'F', &partition))[0].ends_with(&name_and_flags));
        producer.message(&to(b'F', &partition));
        producer.send_records_to(&address, &partition, TOPIC, 0, &["another", "record"]);
        producer.listen(Duration::from_millis(50));
        store.send_records_to(&address, &partition, TOPIC, 0, &["r0", "r1"]);
        let lines = [(); 2].map(|()| consumer.line("a record of the store or the producer"));
        lines == ["r0", "r1"].map(|content| format!("{TOPIC} {partition} {content}").into_bytes())
    });
    assert!(is_right, "the producer's answer came first, and was taken");
}

#[test]
fn a_consumer_requests_heads_when_it_subscribes() {
    let cluster = Cluster::new().with_tower();
    // The consumer sends GET-HEADS when consumer and store are connected, or at the next retry.
    let mut store = Node::started(&cluster, &[to(b'G', "")]);
    let _consumer = cluster.consumer(TOPIC);
    let consumer = store.subscriber_of(b'L');
    store.exactly(&get_heads(TOPIC, &consumer));
}
