//! Records flow from producers through stores to consumers: all of them, in order, each once.

use crate::e2e::{
    Cluster, DEADLINE, Input, Program, assert_contents, assert_each_partition, contents, lines, varied_lines,
};
use std::fs::File;
use std::io::{BufWriter, Write};
use std::time::{Duration, Instant};

#[test]
fn live_records_reach_a_consumer_without_a_store() {
    let cluster = Cluster::new();
    let _tower = cluster.tower();
    let mut consumer = cluster.consumer("live");
    let producer = cluster.producer("live");
    let all = lines("live", 1_100);

    // One at a time, then many at once.
    let mut printed = Vec::new();
    for line in &all[..100] {
        producer.feed(std::slice::from_ref(line));
        printed.push(consumer.line("a live record"));
    }
    producer.feed(&all[100..]);
    printed.extend(consumer.lines(1_000, "live records"));

    assert_contents("live", &printed, &all);
    consumer.expect_no_more();
}

#[test]
fn a_store_replays_20_000_records_after_the_producer_has_ended() {
    let cluster = Cluster::new();
    let _tower = cluster.tower();
    let _store = cluster.store("store");
    let all = varied_lines("stored", 20_000, 2_000);
    cluster.publish("replay", &all);

    let mut consumer = cluster.consumer("replay");
    let printed = consumer.lines(all.len(), "replay from the store");
    assert_contents("replay", &printed, &all);
    consumer.expect_no_more();
}

#[test]
fn a_producer_without_a_store_replays_5_000_lines_of_varied_length() {
    let cluster = Cluster::new();
    let _tower = cluster.tower();
    let mut witness = cluster.consumer("kept");
    let producer = cluster.producer("kept");
    let all = varied_lines("kept", 5_000, 5_000);
    producer.feed(&all);
    // What the witness has printed was published. It leaves before the consumer comes.
    witness.lines(all.len(), "records as they are published");
    witness.kill();

    let mut consumer = cluster.consumer("kept");
    let printed = consumer.lines(all.len(), "replay from the producer");
    assert_contents("kept", &printed, &all);
    consumer.expect_no_more();
}

#[test]
fn a_producer_waits_for_a_store_that_comes_late() {
    let cluster = Cluster::new();
    let _tower = cluster.tower();
    let all = lines("early", 2_000);
    let mut witness = cluster.consumer("late");
    let mut producer = cluster.producer_of("late", &all);
    witness.lines(all.len(), "records without a store");
    witness.kill();
    // Its input has ended, all is published, and nobody has acknowledged anything.
    std::thread::sleep(Duration::from_millis(1_500));
    assert!(producer.is_running(), "the producer has ended although no store has its records");

    let _store = cluster.store("store");
    producer.expect_success("a store came");
    let mut consumer = cluster.consumer("late");
    let printed = consumer.lines(all.len(), "records from the late store");
    assert_contents("late", &printed, &all);
    consumer.expect_no_more();
}

#[test]
fn two_producers_of_one_topic_are_two_partitions() {
    let cluster = Cluster::new();
    let _tower = cluster.tower();
    let _store = cluster.store("store");
    let (a, b) = (lines("a", 5_000), varied_lines("b", 5_000, 500));
    let mut live = cluster.consumer("two");
    let (mut producer_a, mut producer_b) = (cluster.producer("two"), cluster.producer("two"));
    for (a, b) in a.chunks(500).zip(b.chunks(500)) {
        producer_a.feed(a);
        producer_b.feed(b);
    }
    producer_a.close_input();
    producer_b.close_input();

    let printed = live.lines(10_000, "live records of both");
    assert_each_partition("two", &printed, &[&a, &b]);
    live.expect_no_more();
    producer_a.expect_success("the end of its input");
    producer_b.expect_success("the end of its input");

    let mut late = cluster.consumer("two");
    let printed = late.lines(10_000, "stored records of both");
    assert_each_partition("two", &printed, &[&a, &b]);
    late.expect_no_more();
}

#[test]
fn topics_that_begin_alike_are_told_apart() {
    let cluster = Cluster::new();
    let _tower = cluster.tower();
    let _store = cluster.store("store");
    let (short, long) = (lines("short", 500), lines("long", 700));
    let check = |mut of_short: Program, mut of_long: Program, what: &str| {
        assert_contents("hello", &of_short.lines(short.len(), what), &short);
        assert_contents("hello2", &of_long.lines(long.len(), what), &long);
        of_short.expect_no_more();
        of_long.expect_no_more();
    };

    let live = (cluster.consumer("hello"), cluster.consumer("hello2"));
    // Consumers of a beginning and of a longer name get nothing at all.
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
    let mut cluster = Cluster::new();
    cluster.set("producer/head_interval", "100");
    let _tower = cluster.tower();
    let _store = cluster.store("store");
    cluster.publish("news", &lines("stored before", 1_000));
    let mut witness = cluster.consumer("news");
    let producer = cluster.producer("news");
    producer.feed(&lines("old", 1_000));
    witness.lines(2_000, "old records");

    let mut consumer = cluster.consumer_of_new("news");
    // Meanwhile it hears of old records: by HEADs from the producer, and from the store.
    consumer.expect_silence(Duration::from_millis(1_500), "nothing new was published");
    // Nothing tells when it is connected to the producer, except a record that arrives.
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

    // From there on, all of them.
    producer.feed(&(published..published + 500).map(|i| format!("new {i}").into_bytes()).collect::<Vec<_>>());
    let expected = (begin..published + 500).map(|i| format!("new {i}").into_bytes()).collect::<Vec<_>>();
    let mut printed = vec![first];
    printed.extend(consumer.lines(expected.len() - 1, "new records"));
    assert_contents("news", &printed, &expected);
    consumer.expect_no_more();
}

#[test]
fn a_consumer_started_in_mid_stream_gets_every_record_once() {
    let cluster = Cluster::new();
    let _tower = cluster.tower();
    let _store = cluster.store("store");
    let mut first = cluster.consumer("mid");
    let mut producer = cluster.producer("mid");
    let all = varied_lines("mid", 20_000, 500);
    let mut later = Vec::new();
    // The one half is replayed while the other is published.
    for (i, piece) in all.chunks(1_000).enumerate() {
        producer.feed(piece);
        first.lines(piece.len(), "live records");
        if i % 5 == 2 {
            later.push(cluster.consumer("mid"));
        }
    }
    producer.close_input();
    producer.expect_success("the end of its input");
    for mut consumer in later {
        let printed = consumer.lines(all.len(), "replayed, then live records");
        assert_contents("mid", &printed, &all);
        consumer.expect_no_more();
    }
}

#[test]
fn each_of_two_stores_ends_up_with_everything() {
    let cluster = Cluster::new();
    let _tower = cluster.tower();
    let all = varied_lines("both", 60_000, 200);
    let store_a = cluster.store("a");
    let mut store_b = cluster.store("b");
    cluster.publish("both", &all);
    // The producer has ended when the first of the two had everything. The second gets the rest from it.
    let store_a = wait_until_the_other_store_has(&cluster, store_a, "both", &all);
    // And the other way round, for which the one that stood still has to be running again.
    store_b = wait_until_the_other_store_has(&cluster, store_b, "both", &all);

    // Both answer, and each record is printed once. (So many that the slower one answers some, too.)
    let mut consumer = cluster.consumer("both");
    assert_contents("both", &consumer.lines(all.len(), "records from both stores"), &all);
    consumer.expect_no_more();

    store_a.kill();
    let mut consumer = cluster.consumer("both");
    assert_contents("both", &consumer.lines(all.len(), "records from the second store"), &all);
    consumer.expect_no_more();

    let store_a = cluster.store("a");
    store_b.kill();
    let mut consumer = cluster.consumer("both");
    assert_contents("both", &consumer.lines(all.len(), "records from the first store"), &all);
    consumer.expect_no_more();
    drop(store_a);
}

#[test]
fn a_store_that_joins_late_learns_from_the_other_what_producers_left_behind() {
    let cluster = Cluster::new();
    let _tower = cluster.tower();
    let all = varied_lines("gone", 10_000, 500);
    let first = cluster.store("a");
    // Several topics, and their producers are gone before the second store comes.
    let other = lines("other", 100);
    cluster.publish("gone", &all);
    cluster.publish("other", &other);

    let _second = cluster.store("b");
    let first = wait_until_the_other_store_has(&cluster, first, "gone", &all);
    let first = wait_until_the_other_store_has(&cluster, first, "other", &other);
    first.kill();
    for (topic, expected) in [("gone", &all), ("other", &other)] {
        let mut consumer = cluster.consumer(topic);
        assert_contents(topic, &consumer.lines(expected.len(), "records from the late store"), expected);
        consumer.expect_no_more();
    }
}

/// Waits until a consumer is served everything while `store` stands still, that is by another store.
#[track_caller]
fn wait_until_the_other_store_has(
    cluster: &Cluster,
    mut store: Program,
    topic: &str,
    all: &[Vec<u8>],
) -> Program {
    let start = Instant::now();
    // In between it runs, for longer each time, and can hand over what the other one lacks.
    for running in [0, 1, 2, 4, 8, 16, 32].map(Duration::from_secs) {
        std::thread::sleep(running);
        store.pause();
        let mut consumer = cluster.consumer(topic);
        let printed = consumer.lines_within(all.len(), Duration::from_secs(3));
        store.resume();
        if printed.len() == all.len() {
            assert_contents(topic, &printed, all);
            return store;
        }
    }
    panic!("after {:?} the other store does not serve all of {topic}", start.elapsed());
}

/// `DAFKA_E2E_MILLION` says how many lines it really is.
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
    let input = Input::File(File::open(&path).expect("the file"));
    let producer = cluster.node("dafka_console_producer", &["million"], input);
    let deadline = DEADLINE + Duration::from_millis(count as u64 / 10);
    producer.expect_success_within("the end of the file", deadline);
    // All are acknowledged, so nothing else is needed to have them.
    store.kill();
    let _store = cluster.store("store");
    let mut consumer = cluster.consumer("million");
    // Piece by piece: a million lines need not be kept.
    for begin in (0..count).step_by(10_000) {
        let expected = (begin..count.min(begin + 10_000)).map(line).collect::<Vec<_>>();
        assert_contents("million", &consumer.lines(expected.len(), "all lines"), &expected);
    }
    consumer.expect_no_more();
}

/// A write for each record is what an idle stream needs, and half of the time of a busy one.
#[test]
fn a_consumer_of_a_busy_stream_writes_many_records_at_a_time() {
    const RECORDS: usize = 100_000;
    let cluster = Cluster::new();
    let _tower = cluster.tower();
    let _store = cluster.store("store");
    let all = lines("line", RECORDS);
    cluster.publish("busy", &all);
    let count = cluster.dir().join("count");
    let arguments = ["--from-beginning", "busy"];
    let mut consumer = cluster.preloaded("dafka_console_consumer", &arguments, ("COUNT_WRITES", &count));
    assert_contents("busy", &consumer.lines(all.len(), "all records"), &all);
    consumer.expect_no_more();
    let writes: usize = std::fs::read_to_string(count).expect("the count").parse().expect("a number");
    // About 65 lines fit into what a pipe takes at once.
    assert!(writes >= RECORDS / 100, "only {writes} writes: are all counted?");
    assert!(writes <= RECORDS / 10, "{writes} writes of {RECORDS} records");
}
