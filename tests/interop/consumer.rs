//! Our consumer, and producers and stores of libdafka 0.1.0 played by hand.

use crate::e2e::{Cluster, Program, QUIET};
use crate::peer::{
    Node, consumer_hello, direct_head, direct_record, fetch, get_heads, head, new_address, record,
    store_hello, string, to,
};
use std::time::Duration;

const TOPIC: &str = "hello";

/// The lines for records of a partition.
#[track_caller]
fn expect_lines(consumer: &mut Program, partition: &str, contents: &[&str]) {
    for content in contents {
        let line = consumer.line("the next record");
        assert_eq!(String::from_utf8_lossy(&line), format!("{TOPIC} {partition} {content}"));
    }
}

/// A producer of 0.1.0 that our consumer is subscribed to: its node, and the consumer's address.
fn producer_for(cluster: &Cluster) -> (Node, String) {
    let mut producer = Node::new(cluster);
    producer.subscribe(&to(b'F', &producer.address));
    producer.start_beacon();
    let consumer = producer.subscriber_of(b'D');
    // Exact: 0.1.0's records of `hello` match it, those of `hello2` do not.
    producer.subscription(b"Mhello\0");
    producer.subscription(b"Hhello\0");
    (producer, consumer)
}

/// A store's reader of 0.1.0 that our consumer is connected to, and that is connected to the consumer.
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
    let cluster = Cluster::new();
    let _tower = cluster.tower();
    let mut consumer = cluster.consumer(TOPIC);
    let (mut producer, address) = producer_for(&cluster);
    let partition = producer.address.clone();
    for (sequence, content) in [(0, "r0"), (1, "r1"), (4, "r4")] {
        producer.send_record(&record(TOPIC, &partition, sequence), content);
    }
    expect_lines(&mut consumer, &partition, &["r0", "r1"]);
    // Exactly the gap: what came early was kept.
    assert_eq!(producer.fetch(), (partition.clone(), address.clone(), TOPIC.into(), 2, 2));
    for (sequence, content) in [(2, "r2"), (3, "r3")] {
        producer.send_record(&direct_record(&address, &partition, TOPIC, sequence), content);
    }
    expect_lines(&mut consumer, &partition, &["r2", "r3", "r4"]);
    // A HEAD beyond what it has.
    producer.send(&head(TOPIC, &partition, 5));
    assert_eq!(producer.fetch_from(5), (partition.clone(), address.clone(), TOPIC.into(), 5, 1));
    producer.send_record(&direct_record(&address, &partition, TOPIC, 5), "r5");
    expect_lines(&mut consumer, &partition, &["r5"]);
    consumer.expect_silence(QUIET, "each record once");
}

#[test]
fn an_unanswered_fetch_is_repeated_and_one_answered_in_part_goes_on() {
    let cluster = Cluster::new();
    let _tower = cluster.tower();
    let mut consumer = cluster.consumer(TOPIC);
    let (mut producer, address) = producer_for(&cluster);
    let partition = producer.address.clone();
    producer.send(&head(TOPIC, &partition, 9));
    let first = producer.fetch();
    assert_eq!(first, (partition.clone(), address.clone(), TOPIC.into(), 0, 10));
    // 0.1.0 answers late, or not at all.
    assert_eq!(producer.fetch(), first);
    for sequence in 0..4 {
        let frame = direct_record(&address, &partition, TOPIC, sequence);
        producer.send_record(&frame, &format!("r{sequence}"));
    }
    // Nobody publishes anything meanwhile: it goes on by itself.
    assert_eq!(producer.fetch_from(4), (partition.clone(), address.clone(), TOPIC.into(), 4, 6));
    for sequence in 4..10 {
        let frame = direct_record(&address, &partition, TOPIC, sequence);
        producer.send_record(&frame, &format!("r{sequence}"));
    }
    let contents: Vec<String> = (0..10).map(|sequence| format!("r{sequence}")).collect();
    expect_lines(&mut consumer, &partition, &contents.iter().map(String::as_str).collect::<Vec<_>>());
}

#[test]
fn what_is_no_record_of_its_topic_is_dropped() {
    let cluster = Cluster::new();
    let _tower = cluster.tower();
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
    // Nobody asked for these; and a topic that this one begins is another.
    producer.send_record(&direct_record(&address, &partition, "hello2", 0), "unasked");
    producer.send(&direct_head(&address, &partition, "hello2", 5));
    producer.expect_no_message(b"F", "it is not subscribed to hello2");
    // Octets after the last field are ignored.
    producer.send_record(&[&good[..], b"later"].concat(), "good");
    expect_lines(&mut consumer, &partition, &["good"]);
    consumer.expect_silence(QUIET, "the others are no records");
}

#[test]
fn it_greets_a_store_that_greets_it_or_subscribes_to_its_greeting() {
    let cluster = Cluster::new();
    let _tower = cluster.tower();
    let _consumer = cluster.consumer(TOPIC);
    // By now it has subscribed to its topic.
    let _producer = producer_for(&cluster);
    let (mut store, consumer) = store_for(&cluster);
    // The store's own subscription is enough: 0.1.0 stores subscribe to `W` + their address.
    store.exactly(&consumer_hello(&store.address, &consumer, &[TOPIC]));
    // STORE-HELLO, which 0.1.0 sends when it sees the consumer's subscription.
    store.send(&store_hello(&consumer, &store.address));
    store.exactly(&consumer_hello(&store.address, &consumer, &[TOPIC]));
}

#[test]
fn a_store_that_connects_without_being_announced_is_greeted_too() {
    let cluster = Cluster::new();
    let _tower = cluster.tower();
    let _consumer = cluster.consumer(TOPIC);
    let _producer = producer_for(&cluster);
    // Subscription first: the store hears the consumer's beacon before the consumer hears the store's.
    let mut store = Node::new(&cluster);
    store.subscribe(&to(b'W', &store.address));
    let expected = consumer_hello(&store.address, "", &[TOPIC]);
    let hello = store.message(&to(b'W', &store.address));
    assert_eq!(hello[0].len(), expected.len() + 32);
    assert!(hello[0].ends_with(&expected[expected.len() - 13..]), "{}", hello[0].escape_ascii());
}

#[test]
fn under_latest_it_greets_with_no_topics() {
    let cluster = Cluster::new();
    let _tower = cluster.tower();
    let _consumer = cluster.consumer_of_new(TOPIC);
    let (mut store, consumer) = store_for(&cluster);
    store.exactly(&consumer_hello(&store.address, &consumer, &[]));
}

#[test]
fn it_reads_from_two_stores_at_once_each_record_once() {
    let cluster = Cluster::new();
    let _tower = cluster.tower();
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
        // From the first record on; how many of them it asks for at a time is its own business, but not beyond.
        let (asked, from, subject, sequence, count) = store.fetch();
        assert_eq!((asked, &from, subject.as_str(), sequence), (partition.clone(), &*consumer, TOPIC, 0));
        assert_eq!(count, 3);
        // All there is, and 0.1.0's one too many, which here is the one before.
        for (sequence, content) in (0..).zip(contents).chain([(2, "s2")]) {
            store.send_record(&direct_record(consumer, &partition, TOPIC, sequence), content);
        }
    }
    expect_lines(&mut consumer, &partition, &contents);
    consumer.expect_silence(QUIET, "each record once");
}

#[test]
fn what_a_store_is_asked_for_is_not_taken_from_a_producer_of_0_1_0() {
    let cluster = Cluster::new();
    let _tower = cluster.tower();
    let mut consumer = cluster.consumer(TOPIC);
    let (mut store, _) = store_for(&cluster);
    // A store that does not answer within 250 ms is given up: on a loaded machine, one try may take longer.
    let is_right = (0..20).any(|_| {
        let (mut producer, address) = producer_for(&cluster);
        let partition = producer.address.clone();
        // One of our stores says that it holds the records: it is asked, and the producer hears that.
        let held = [direct_head(&address, &partition, TOPIC, 1), string("A store of ours")].concat();
        store.send(&held);
        assert!(store.message(&to(b'F', &partition))[0].ends_with(&string("A store of ours")));
        producer.message(&to(b'F', &partition));
        let answer = |node: &Node, contents: [&str; 2]| {
            for (sequence, content) in (0..).zip(contents) {
                node.send_record(&direct_record(&address, &partition, TOPIC, sequence), content);
            }
        };
        answer(&producer, ["another", "record"]);
        producer.listen(Duration::from_millis(50));
        answer(&store, ["r0", "r1"]);
        let lines = [(); 2].map(|()| consumer.line("a record of the store or the producer"));
        lines == ["r0", "r1"].map(|content| format!("{TOPIC} {partition} {content}").into_bytes())
    });
    assert!(is_right, "the producer's answer came first, and was taken");
}

#[test]
fn one_record_more_than_was_asked_for_does_no_harm() {
    let cluster = Cluster::new();
    let _tower = cluster.tower();
    let mut consumer = cluster.consumer(TOPIC);
    let (mut store, address) = store_for(&cluster);
    let partition = new_address();
    store.message(b"W");
    store.send(&direct_head(&address, &partition, TOPIC, 1));
    assert_eq!(store.fetch().4, 2);
    // 0.1.0 stores send `count` + 1 records, here of a partition that has grown meanwhile.
    for sequence in 0..3 {
        let frame = direct_record(&address, &partition, TOPIC, sequence);
        store.send_record(&frame, &format!("s{sequence}"));
    }
    expect_lines(&mut consumer, &partition, &["s0", "s1", "s2"]);
    store.send(&direct_head(&address, &partition, TOPIC, 3));
    let (_, _, _, sequence, count) = store.fetch_from(3);
    assert_eq!((sequence, count), (3, 1));
    store.send_record(&direct_record(&address, &partition, TOPIC, 3), "s3");
    expect_lines(&mut consumer, &partition, &["s3"]);
}

#[test]
fn it_asks_for_heads_when_it_subscribes() {
    let cluster = Cluster::new();
    let _tower = cluster.tower();
    // The store is there first; the consumer asks it once both are connected, at the latest when it asks again.
    let mut store = Node::started(&cluster, &[to(b'G', "")]);
    let _consumer = cluster.consumer(TOPIC);
    let consumer = store.subscriber_of(b'L');
    store.exactly(&get_heads(TOPIC, &consumer));
}

#[test]
fn under_latest_it_starts_with_the_first_record_that_it_hears() {
    let cluster = Cluster::new();
    let _tower = cluster.tower();
    let mut consumer = cluster.consumer_of_new(TOPIC);
    let (mut producer, _) = producer_for(&cluster);
    let partition = producer.address.clone();
    producer.send_record(&record(TOPIC, &partition, 7), "r7");
    expect_lines(&mut consumer, &partition, &["r7"]);
    producer.send_record(&record(TOPIC, &partition, 8), "r8");
    expect_lines(&mut consumer, &partition, &["r8"]);
    producer.expect_no_message(b"F", "what was published before is not its business");
}

#[test]
fn under_latest_a_head_is_where_it_starts_and_nothing_is_fetched() {
    let cluster = Cluster::new();
    let _tower = cluster.tower();
    let mut consumer = cluster.consumer_of_new(TOPIC);
    let (mut producer, address) = producer_for(&cluster);
    let partition = producer.address.clone();
    producer.send(&head(TOPIC, &partition, 7));
    producer.expect_no_message(
        b"F",
        "0.1.0 would fetch and deliver record 7, which is older than the subscription",
    );
    producer.send_record(&record(TOPIC, &partition, 9), "r9");
    // From now on nothing is missed.
    let asked = producer.fetch();
    assert_eq!(asked, (partition.clone(), address.clone(), TOPIC.into(), 8, 1));
    assert_eq!(fetch(&asked.0, &asked.1, &asked.2, asked.3, asked.4)[0], b'F');
    producer.send_record(&direct_record(&address, &partition, TOPIC, 8), "r8");
    expect_lines(&mut consumer, &partition, &["r8", "r9"]);
    consumer.expect_silence(QUIET, "nothing older");
}
