//! Consumers receive all records of producers and stores, in order, and each record once.

use crate::e2e::{
    Cluster, DEADLINE, Program, assert_contents, assert_each_partition, contents, lines, varied_lines,
};
use std::fs::File;
use std::io::{BufWriter, Write};
use std::time::{Duration, Instant};

#[test]
fn a_producer_without_a_store_replays_5_000_lines_of_varied_length() {
    let cluster = Cluster::new().with_tower();
    let mut witness = cluster.consumer("kept");
    let producer = cluster.producer("kept");
    let all = varied_lines("kept", 5_000, 5_000);
    producer.feed(&all);
    // The witness shows that all records are published. It ends before the consumer starts.
    witness.lines(all.len(), "records as they are published");
    witness.kill();

    cluster.assert_stored("kept", &all);
}

#[test]
fn a_producer_waits_for_a_store_that_comes_late() {
    let cluster = Cluster::new().with_tower();
    let all = lines("early", 2_000);
    let mut witness = cluster.consumer("late");
    let mut producer = cluster.producer_of("late", &all);
    witness.lines(all.len(), "records without a store");
    witness.kill();
    // The producer's input has ended, all records are published, and none is acknowledged.
    std::thread::sleep(Duration::from_millis(1_500));
    assert!(producer.is_running(), "the producer has ended although no store has its records");

    let _store = cluster.store("store");
    producer.expect_success("a store came");
    cluster.assert_stored("late", &all);
}

#[test]
fn two_producers_of_one_topic_are_two_partitions() {
    let cluster = Cluster::new().with_tower().with_store();
    let (a, b) = (lines("a", 5_000), varied_lines("b", 5_000, 500));
    let mut live = cluster.consumer("two");
    let (producer_a, producer_b) = (cluster.producer("two"), cluster.producer("two"));
    for (a, b) in a.chunks(500).zip(b.chunks(500)) {
        producer_a.feed(a);
        producer_b.feed(b);
    }
    let printed = live.lines(10_000, "live records of both");
    assert_each_partition("two", &printed, &[&a, &b]);
    live.expect_no_more();
    producer_a.finish("the end of its input");
    producer_b.finish("the end of its input");
    cluster.assert_each_stored("two", &[&a, &b]);
}

#[test]
fn topics_that_begin_alike_are_told_apart() {
    let cluster = Cluster::new().with_tower().with_store();
    let (short, long) = (lines("short", 500), lines("long", 700));
    let check = |mut of_short: Program, mut of_long: Program, what: &str| {
        assert_contents("hello", &of_short.lines(short.len(), what), &short);
        assert_contents("hello2", &of_long.lines(long.len(), what), &long);
        of_short.expect_no_more();
        of_long.expect_no_more();
    };

    let live = (cluster.consumer("hello"), cluster.consumer("hello2"));
    // Consumers of a prefix and of a longer name receive nothing.
    let (none, none2) = (cluster.consumer("hell"), cluster.consumer("hello22"));
    let of_long = cluster.producer_of("hello2", &long);
    let of_short = cluster.producer_of("hello", &short);
    check(live.0, live.1, "live records");
    of_short.expect_success("the end of its input");
    of_long.expect_success("the end of its input");
    check(cluster.consumer("hello"), cluster.consumer("hello2"), "stored records");
    none.expect_no_more();
    none2.expect_no_more();
}

#[test]
fn a_consumer_of_new_records_gets_nothing_published_before_it_came() {
    let cluster = Cluster::new().with("producer/head_interval", "100").with_tower().with_store();
    cluster.publish("news", &lines("stored before", 1_000));
    let mut witness = cluster.consumer("news");
    let producer = cluster.producer("news");
    producer.feed(&lines("old", 1_000));
    witness.lines(2_000, "old records");

    let mut consumer = cluster.consumer_of_new("news");
    // During this time, the consumer receives HEADs of old records from the producer and from the store.
    consumer.expect_silence(Duration::from_millis(1_500), "nothing new was published");
    // Only a received record shows that the consumer is connected to the producer.
    let start = Instant::now();
    let mut published = 0;
    let first = loop {
        producer.feed(&[format!("new {published}").into_bytes()]);
        published += 1;
        if let [line] = &consumer.lines_within(1, Duration::from_millis(50))[..] {
            break line.clone();
        }
        assert!(start.elapsed() < DEADLINE, "no new record arrives");
    };
    let first_new = contents("news", std::slice::from_ref(&first));
    let begin = (0..published).find(|i| first_new[0] == format!("new {i}").into_bytes());
    let begin = begin.unwrap_or_else(|| panic!("{:?} was not new", String::from_utf8_lossy(&first)));

    // From this record on, the consumer receives all records.
    producer.feed(&(published..published + 500).map(|i| format!("new {i}").into_bytes()).collect::<Vec<_>>());
    let expected = (begin..published + 500).map(|i| format!("new {i}").into_bytes()).collect::<Vec<_>>();
    let mut printed = vec![first];
    printed.extend(consumer.lines(expected.len() - 1, "new records"));
    assert_contents("news", &printed, &expected);
    consumer.expect_no_more();
}

#[test]
fn a_consumer_that_starts_during_a_stream_receives_every_record_once() {
    let cluster = Cluster::new().with_tower().with_store();
    let mut first = cluster.consumer("mid");
    let producer = cluster.producer("mid");
    let all = varied_lines("mid", 20_000, 500);
    let mut later = Vec::new();
    // The later consumers start while records are published, so they replay a part of the records.
    for (i, piece) in all.chunks(1_000).enumerate() {
        producer.feed(piece);
        first.lines(piece.len(), "live records");
        if i % 5 == 2 {
            later.push(cluster.consumer("mid"));
        }
    }
    producer.finish("the end of its input");
    for mut consumer in later {
        consumer.expect_records("mid", &all, "replayed, then live records");
        consumer.expect_no_more();
    }
}

#[test]
fn each_of_two_stores_ends_up_with_everything() {
    let cluster = Cluster::new().with_tower();
    let all = varied_lines("both", 60_000, 200);
    let store_a = cluster.store("a");
    let mut store_b = cluster.store("b");
    cluster.publish("both", &all);
    // The producer has ended when one of the stores had all records. Store b copies missing records from store a.
    let store_a = wait_until_the_other_store_has(&cluster, store_a, "both", &[&all]);
    // Store a also copies missing records from store b.
    store_b = wait_until_the_other_store_has(&cluster, store_b, "both", &[&all]);

    // Both stores answer, and the consumer prints each record once.
    cluster.assert_stored("both", &all);

    store_a.kill();
    cluster.assert_stored("both", &all);

    let store_a = cluster.store("a");
    store_b.kill();
    cluster.assert_stored("both", &all);
    drop(store_a);
}

#[test]
fn a_store_that_starts_late_copies_the_records_of_ended_producers_from_another_store() {
    let cluster = Cluster::new().with_tower();
    let all: Vec<_> = (0..5).map(|i| varied_lines(&format!("gone {i}"), 2_000, 500)).collect();
    let all: Vec<&[Vec<u8>]> = all.iter().map(Vec::as_slice).collect();
    let first = cluster.store("a");
    // Several topics and partitions, whose producers end before the second store starts.
    let other = lines("other", 100);
    all.iter().for_each(|partition| cluster.publish("gone", partition));
    cluster.publish("other", &other);

    let _second = cluster.store("b");
    let first = wait_until_the_other_store_has(&cluster, first, "gone", &all);
    let first = wait_until_the_other_store_has(&cluster, first, "other", &[&other]);
    first.kill();
    cluster.assert_each_stored("gone", &all);
    cluster.assert_stored("other", &other);
}

/// Waits until a consumer receives everything while `store` is stopped: the records then come from another store.
#[track_caller]
fn wait_until_the_other_store_has(
    cluster: &Cluster,
    mut store: Program,
    topic: &str,
    all: &[&[Vec<u8>]],
) -> Program {
    let (start, count) = (Instant::now(), all.iter().map(|partition| partition.len()).sum());
    // Between the attempts `store` runs, longer each time, so that the other store can copy the rest.
    for running in [0, 1, 2, 4, 8, 16, 32].map(Duration::from_secs) {
        std::thread::sleep(running);
        store.pause();
        let mut consumer = cluster.consumer(topic);
        let printed = consumer.lines_within(count, Duration::from_secs(3));
        store.resume();
        if printed.len() == count {
            assert_each_partition(topic, &printed, all);
            return store;
        }
    }
    panic!("after {:?} the other store does not serve all of {topic}", start.elapsed());
}

/// `DAFKA_E2E_MILLION` sets another number of lines.
#[test]
fn a_million_lines_from_a_file_are_acknowledged_before_the_producer_ends() {
    let count =
        std::env::var("DAFKA_E2E_MILLION").map_or(1_000_000, |count| count.parse().expect("a number"));
    let line = |i: usize| format!("line {i} {}", &"abcdefghijklmnopqrstuvwxyz"[i % 26..]).into_bytes();
    let cluster = Cluster::new();
    let path = cluster.dir().join("lines");
    let mut file = BufWriter::new(File::create(&path).expect("a file"));
    for i in 0..count {
        file.write_all(&line(i)).and_then(|()| file.write_all(b"\n")).expect("the file can be written");
    }
    drop(file.into_inner().expect("the file can be written"));

    let _tower = cluster.tower();
    let store = cluster.store("store");
    let input = File::open(&path).expect("the file");
    let producer = cluster.node_reading("dafka_console_producer", &["million"], input);
    let deadline = DEADLINE + Duration::from_millis(count as u64 / 10);
    producer.expect_success_within("the end of the file", deadline);
    // All lines are acknowledged, so a restarted store must have them.
    store.kill();
    let _store = cluster.store("store");
    let mut consumer = cluster.consumer("million");
    // The test reads the lines in pieces, to keep fewer than a million lines in memory.
    for begin in (0..count).step_by(10_000) {
        let expected = (begin..count.min(begin + 10_000)).map(line).collect::<Vec<_>>();
        consumer.expect_records("million", &expected, "all lines");
    }
    consumer.expect_no_more();
}

/// On an idle stream, the consumer may make one write per record. On a busy stream, one write per record would take
/// half of the time.
#[test]
fn a_consumer_of_a_busy_stream_writes_many_records_at_a_time() {
    const RECORDS: usize = 100_000;
    let cluster = Cluster::new().with_tower().with_store();
    let all = lines("line", RECORDS);
    cluster.publish("busy", &all);
    let count = cluster.dir().join("count");
    let arguments = ["--from-beginning", "busy"];
    let mut consumer = cluster.preloaded("dafka_console_consumer", &arguments, ("COUNT_WRITES", &count));
    consumer.expect_records("busy", &all, "all records");
    consumer.expect_no_more();
    let writes: usize = std::fs::read_to_string(count).expect("the count").parse().expect("a number");
    // One write to a pipe takes about 65 lines.
    assert!(writes >= RECORDS / 100, "only {writes} writes: are all counted?");
    // On a loaded machine, the consumer often waits for records, and writes what it has.
    assert!(writes <= RECORDS / 4, "{writes} writes of {RECORDS} records");
}
