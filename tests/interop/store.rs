//! Our store with simulated producers, consumers and another store of libdafka 0.1.0.

use crate::TOPIC;
use crate::e2e::Cluster;
use crate::peer::{
    Node, ack, consumer_hello, direct_head, fetch, get_heads, head, name_after, new_address, position,
    record, store_hello, string, to,
};

/// A producer of 0.1.0 to which both nodes of our store are connected, and the address of the writer.
fn producer_for(cluster: &Cluster) -> (Node, String) {
    let mut producer = Node::new(cluster);
    producer.subscribe_to(b"KF", &producer.address);
    producer.start_beacon();
    let writer = producer.subscriber_of(b'D');
    // The writer subscribes to all records and heads, the reader to all FETCHes and GET-HEADS.
    for subscription in [b"M", b"H", b"F", b"G"] {
        producer.subscription(subscription);
    }
    // Only an answer shows that the writer has received our subscriptions.
    let probe = new_address();
    producer.subscribe(&to(b'F', &probe));
    producer.ask(&head("probe", &probe, 0), &to(b'F', &probe));
    (producer, writer)
}

/// Waits for an ACK. The ACK must be for this record. Returns the store's name.
#[track_caller]
fn expect_ack(producer: &mut Node, subject: &str, sequence: u64) -> String {
    producer.named(&ack(&producer.address, subject, sequence))
}

/// Waits for an ACK of this record, and drops ACKs of earlier records: one ACK may acknowledge several records. Returns
/// the store's name.
#[track_caller]
fn await_ack(producer: &mut Node, sequence: u64) -> String {
    let core = ack(&producer.address, TOPIC, sequence);
    name_after(&core, &producer.message(&core)[0])
}

/// Publishes records and waits until the store acknowledges them. Sends no more records at once than the store accepts
/// before it has written them to disk. Returns the store's name.
#[track_caller]
fn publish(producer: &mut Node, contents: &[&str]) -> String {
    let mut name = None;
    for (i, content) in contents.iter().enumerate() {
        let sequence = i as u64;
        producer.send_record(&record(TOPIC, &producer.address, sequence), content);
        if i % 200 == 199 || i + 1 == contents.len() {
            let acknowledged_by = await_ack(producer, sequence);
            let name = name.get_or_insert(acknowledged_by.clone());
            assert_eq!(*name, acknowledged_by, "a store has one name");
        }
    }
    name.expect("at least one record")
}

/// A consumer of 0.1.0 to which our store's reader is connected, and the reader's address.
fn consumer_for(cluster: &Cluster) -> (Node, String) {
    let mut consumer = Node::new(cluster);
    consumer.subscribe_to(b"DEL", &consumer.address);
    consumer.start_beacon();
    let reader = consumer.subscriber_of(b'W');
    for subscription in [b"F", b"G"] {
        consumer.subscription(subscription);
    }
    // The reader sends STORE-HELLO because it has received our subscription. Now both receive each other's messages.
    consumer.exactly(&store_hello(&consumer.address, &reader));
    (consumer, reader)
}

#[test]
fn a_store_fetches_a_gap_and_acknowledges_nothing_beyond_it() {
    let cluster = Cluster::new().with_tower().with_store();
    let (mut producer, writer) = producer_for(&cluster);
    let partition = producer.address.clone();
    publish(&mut producer, &["r0", "r1"]);
    producer.send_record(&record(TOPIC, &partition, 4), "r4");
    assert_eq!(producer.fetch_of(&partition), (partition.clone(), writer.clone(), TOPIC.into(), 2, 2));
    producer.expect_no_message(&ack(&partition, TOPIC, 4), "records 2 and 3 are missing");
    producer.send_records_to(&writer, &partition, TOPIC, 2, &["r2"]);
    producer.send_records_to(&writer, &partition, TOPIC, 3, &["r3"]);
    await_ack(&mut producer, 4);
    producer.send(&head(TOPIC, &partition, 6));
    assert_eq!(producer.fetch_of(&partition), (partition.clone(), writer.clone(), TOPIC.into(), 5, 2));
    // The store repeats an unanswered FETCH.
    assert_eq!(producer.fetch_of(&partition), (partition.clone(), writer.clone(), TOPIC.into(), 5, 2));
    producer.send_records_to(&writer, &partition, TOPIC, 5, &["r5", "r6"]);
    await_ack(&mut producer, 6);
}

#[test]
fn a_store_ignores_malformed_messages() {
    let cluster = Cluster::new().with_tower().with_store();
    let (mut producer, _) = producer_for(&cluster);
    let partition = producer.address.clone();
    let good = record(TOPIC, &partition, 0);
    let mut version_2 = good.clone();
    version_2["Mhello\0".len()] = 2;
    producer.send_record(&version_2, "of another version");
    producer.send(&good);
    producer.send_frames(&[&good, b"one", b"two"]);
    producer.send_record(&good[..good.len() - 1], "cut off");
    producer.send_frames(&[&head(TOPIC, &partition, 0), b"a HEAD has one frame"]);
    producer.expect_no_message(b"K", "none of these is a record");
    producer.send_record(&good, "good");
    expect_ack(&mut producer, TOPIC, 0);
    // The stored record is the valid one.
    let (mut consumer, _) = consumer_for(&cluster);
    consumer.send(&fetch(&partition, &consumer.address, TOPIC, 0, 1));
    consumer.direct_records(&partition, TOPIC, 0, &["good"]);
}

#[test]
fn a_store_ignores_a_fetch_that_names_another_store() {
    let cluster = Cluster::new().with_tower().with_store();
    let (mut producer, _) = producer_for(&cluster);
    let partition = producer.address.clone();
    let name = publish(&mut producer, &["r0", "r1", "r2"]);
    let (mut consumer, _) = consumer_for(&cluster);
    let me = consumer.address.clone();
    let fetch_from = |store: &str, sequence| {
        let core = fetch(&partition, &me, TOPIC, sequence, 1);
        [core, string(store)].concat()
    };
    consumer.send(&fetch_from(&new_address(), 0));
    // A name that differs in its last byte, and the first half of the name.
    let mut similar = name.clone();
    let last = similar.pop();
    similar.push(if last == Some('0') { '1' } else { '0' });
    consumer.send(&fetch_from(&similar, 0));
    consumer.send(&fetch_from(&name[..16], 0));
    // The store answers in the order of the requests, so an answer to the requests above would arrive before the answer
    // to this one.
    consumer.send(&fetch_from(&name, 1));
    consumer.direct_records(&partition, TOPIC, 1, &["r1"]);
    consumer.expect_no_message(b"D", "the other FETCHes name other stores");
    // A FETCH of 0.1.0 names no store, and an empty name means no store.
    consumer.send(&fetch(&partition, &me, TOPIC, 2, 1));
    consumer.direct_records(&partition, TOPIC, 2, &["r2"]);
    consumer.send(&fetch_from("", 0));
    consumer.direct_records(&partition, TOPIC, 0, &["r0"]);
}

#[test]
fn a_store_sends_a_consumer_store_hello_and_the_heads_of_its_topics() {
    let cluster = Cluster::new().with_tower().with_store();
    let (mut producer, _) = producer_for(&cluster);
    let partition = producer.address.clone();
    let name = publish(&mut producer, &["r0", "r1"]);
    // Two other partitions: one of a topic whose name begins with this topic, and one of another topic.
    let others = [(new_address(), "hello2"), (new_address(), "other")];
    for (address, subject) in &others {
        producer.subscribe(&to(b'K', address));
        producer.send_record(&position(b'M', subject, address, subject, 0), "x");
        // The ACK is lost when it is sent before the new subscription arrives. A HEAD makes the store repeat the ACK.
        let core = ack(address, subject, 0);
        assert_eq!(name_after(&core, &producer.ask(&head(subject, address, 0), &core)[0]), name);
    }

    let (mut consumer, reader) = consumer_for(&cluster);
    let me = consumer.address.clone();
    consumer.send(&consumer_hello(&reader, &me, &[TOPIC]));
    assert_eq!(consumer.named(&direct_head(&me, &partition, TOPIC, 1)), name);
    consumer.send(&consumer_hello(&reader, &me, &[]));
    consumer.send(&consumer_hello("another store", &me, &[TOPIC]));
    consumer.send(&get_heads("hell", &me));
    consumer.expect_no_message(b"E", "none of these asks for a topic that there is");
    consumer.send(&get_heads(TOPIC, &me));
    assert_eq!(consumer.named(&direct_head(&me, &partition, TOPIC, 1)), name);
    consumer.expect_no_message(b"E", "hello2 is another topic");

    // The empty topic means all topics.
    for ask in [get_heads("", &me), consumer_hello(&reader, &me, &[""])] {
        consumer.send(&ask);
        let mut heads: Vec<Vec<u8>> = (0..3).map(|_| consumer.message(b"E").remove(0)).collect();
        let mut expected = [
            direct_head(&me, &partition, TOPIC, 1),
            direct_head(&me, &others[0].0, "hello2", 0),
            direct_head(&me, &others[1].0, "other", 0),
        ]
        .map(|core| [core, string(&name)].concat());
        heads.sort();
        expected.sort();
        assert_eq!(heads, expected);
    }
}

#[test]
fn a_store_serves_acknowledged_records_after_a_restart() {
    let cluster = Cluster::new().with_tower();
    let store = cluster.store("store");
    let (mut producer, _) = producer_for(&cluster);
    let partition = producer.address.clone();
    let name = publish(&mut producer, &["r0", "r1", "r2"]);
    store.kill();
    let _store = cluster.store("store");
    let (mut consumer, reader) = consumer_for(&cluster);
    let me = consumer.address.clone();
    consumer.send(&consumer_hello(&reader, &me, &[TOPIC]));
    let same = consumer.named(&direct_head(&me, &partition, TOPIC, 2));
    assert_eq!(same, name, "the name is in the database");
    consumer.send(&fetch(&partition, &me, TOPIC, 0, 10));
    consumer.direct_records(&partition, TOPIC, 0, &["r0", "r1", "r2"]);
    // The store acknowledges the records to the producer again.
    producer.ask(&head(TOPIC, &partition, 2), &ack(&partition, TOPIC, 2));
}

#[test]
fn a_store_copies_the_records_of_a_store_of_0_1_0() {
    let cluster = Cluster::new().with_tower();
    // Only the reader of the old store runs. The producer of its records has ended.
    let mut old = Node::started(&cluster, &[to(b'F', ""), to(b'G', "")]);
    let partition = new_address();
    let contents = ["old 0", "old 1", "old 2", "old 3"];
    let _store = cluster.store("store");
    // Our store requests all heads.
    let ask = old.message(b"G\0\x01");
    let writer = crate::peer::string_at(&ask[0], 3);
    assert_eq!(ask, [get_heads("", &writer)]);
    old.subscription(&to(b'E', &writer));
    old.send(&direct_head(&writer, &partition, TOPIC, 3));
    assert_eq!(old.fetch(), (partition.clone(), writer.clone(), TOPIC.into(), 0, 4));
    old.send_records_to(&writer, &partition, TOPIC, 0, &contents);
    // Our store serves the copied records once they are on disk.
    let (mut consumer, _) = consumer_for(&cluster);
    let me = consumer.address.clone();
    consumer.ask(&get_heads(TOPIC, &me), &direct_head(&me, &partition, TOPIC, 3));
    consumer.send(&fetch(&partition, &me, TOPIC, 0, 4));
    consumer.direct_records(&partition, TOPIC, 0, &contents);
}

#[test]
fn repeated_fetches_of_0_1_0_do_not_delay_other_requests() {
    let cluster = Cluster::new().with_tower().with_store();
    let (mut producer, _) = producer_for(&cluster);
    let partition = producer.address.clone();
    let contents: Vec<String> = (0..2_000).map(|i| format!("r{i}")).collect();
    let contents: Vec<&str> = contents.iter().map(String::as_str).collect();
    publish(&mut producer, &contents);
    let (mut greedy, _) = consumer_for(&cluster);
    let (mut modest, _) = consumer_for(&cluster);
    for _ in 0..5 {
        greedy.send(&fetch(&partition, &greedy.address, TOPIC, 0, 100_000));
    }
    modest.send(&fetch(&partition, &modest.address, TOPIC, 1_999, 1));
    modest.direct_records(&partition, TOPIC, 1_999, &["r1999"]);
    greedy.direct_records(&partition, TOPIC, 0, &contents);
}
