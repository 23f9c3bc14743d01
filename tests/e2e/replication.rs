//! Several stores: each store copies every partition. A producer waits for enough stores, and its memory stays limited
//! while it waits.

use crate::e2e::{
    Cluster, DEADLINE, Program, assert_contents, assert_each_partition, lines, statistic, varied_lines,
};
use crate::peer::{Node, number_8_at, to};
use std::io::{BufRead, BufReader};
use std::time::{Duration, Instant};

/// Starts one store alone, and checks that it has these records.
fn assert_store_holds(cluster: &Cluster, store: &str, topic: &str, expected: &[Vec<u8>]) {
    let _store = cluster.store(store);
    cluster.assert_stored(topic, expected);
}

/// A producer with further settings.
fn producer_with(cluster: &Cluster, topic: &str, settings: &[(&str, &str)]) -> Program {
    cluster.node_with("dafka_console_producer", &[topic], settings)
}

/// The offset in an ACK of one of our stores. In the ACK, the store's name follows the offset.
fn acknowledged(ack: &[u8]) -> u64 {
    number_8_at(ack, ack.len() - 33 - 8)
}

/// Waits for several ACKs of all records. The store repeats its ACK after each HEAD of the producer. So when this
/// function returns, the producer has received some of these ACKs, too. If the ACKs were enough for the producer, it
/// would send no more HEADs, and this function would fail.
fn wait_for_acks_of_all(observer: &mut Node, count: usize) {
    let due = Instant::now() + DEADLINE;
    for _ in 0..4 {
        while acknowledged(&observer.message(b"K")[0]) + 1 < count as u64 {
            assert!(Instant::now() < due, "the store does not acknowledge all");
        }
    }
}

/// A store that starts again does not count as a second store. This is true if the store has its old database. It is
/// also true if the database was removed, although the store then has a new name.
#[test]
fn a_producer_with_min_stores_2_waits_until_two_different_stores_have_each_record() {
    for is_wiped in [false, true] {
        let cluster = Cluster::new().with_tower();
        let published = varied_lines("both", if is_wiped { 300 } else { 3_000 }, 500);
        let first = cluster.store("first");
        let settings = [("producer/min_stores", "2"), ("producer/head_interval", "50")];
        let mut producer = producer_with(&cluster, "both", &settings);
        producer.feed(&published);
        producer.close_input();
        wait_for_acks_of_all(&mut Node::started(&cluster, &[to(b'K', "")]), published.len());
        cluster.assert_stored("both", &published);
        assert!(producer.is_running(), "one store is not enough");
        first.kill();
        if is_wiped {
            std::fs::remove_dir_all(cluster.path("first")).expect("removed");
        }
        // This node has not received the ACKs of the first run.
        let mut observer = Node::started(&cluster, &[to(b'K', "")]);
        let first = cluster.store("first");
        cluster.assert_stored("both", &published);
        wait_for_acks_of_all(&mut observer, published.len());
        assert!(producer.is_running(), "a restarted store counted as two, wiped: {is_wiped}");

        let second = cluster.store("second");
        producer.expect_success("a second store has all");
        // Both have all records on disk.
        first.kill();
        second.kill();
        for store in ["first", "second"] {
            assert_store_holds(&cluster, store, "both", &published);
        }
    }
}

#[test]
fn records_of_several_stores_are_fetched_from_one_of_them() {
    let cluster = Cluster::new().with_tower();
    let _stores = ["a", "b", "c"].map(|name| cluster.store(name));
    let published = varied_lines("spread", 20_000, 200);
    let producer = producer_with(&cluster, "spread", &[("producer/min_stores", "3")]);
    producer.feed(&published);
    producer.finish("each of three stores has all");

    let replay = || {
        let arguments = ["--from-beginning", "--verbose", "spread"];
        let mut consumer = cluster.node("dafka_console_consumer", &arguments);
        consumer.expect_records("spread", &published, "the replay");
        let stderr = consumer.terminate().stderr;
        assert_eq!(statistic(&stderr, "handed_on"), published.len() as u64, "{stderr}");
        statistic(&stderr, "duplicates")
    };
    // If all three stores answered, there would be twice as many duplicates as records. If a store is slow for a
    // moment, the consumer asks another one, and both answer. This also causes duplicates, but not in each replay.
    let mut duplicates = Vec::new();
    while duplicates.last().is_none_or(|&count| count >= published.len() as u64 / 4) {
        duplicates.push(replay());
        assert!(duplicates.len() < 4, "so many records came more than once: {duplicates:?}");
    }
}

#[test]
fn a_consumer_continues_with_another_store_when_one_stops_during_a_replay() {
    let mut cluster = Cluster::new();
    // A stopped store does not disconnect. Only missing answers show that it has stopped.
    cluster.set("beacon/timeout", "600000");
    let _tower = cluster.tower();
    let mut stores = ["a", "b"].map(|name| cluster.store(name));
    let published = varied_lines("silent", 100_000, 200);
    let producer = producer_with(&cluster, "silent", &[("producer/min_stores", "2")]);
    producer.feed(&published);
    producer.finish("each of two stores has all");

    // FETCH windows rotate among the stores. So the test stops each store in turn.
    for store in &mut stores {
        let mut consumer = cluster.consumer("silent");
        let mut printed = consumer.lines(1_000, "the replay's begin");
        store.pause();
        printed.extend(consumer.lines(published.len() - printed.len(), "the rest, from the other store"));
        assert_contents("silent", &printed, &published);
        store.resume();
    }
}

/// On a busy machine, a store may be slow for a moment, and the consumer rightly repeats its request. This does not
/// happen in each attempt. If a slow application caused repeated requests, they would occur in each attempt.
#[test]
fn a_slow_application_does_not_cause_repeated_fetches() {
    let repeats: Vec<u64> = std::iter::repeat_with(records_that_a_slow_application_gets_twice)
        .take(3)
        .take_while(|&repeats| repeats >= SLOW_COUNT / 10)
        .collect();
    assert!(repeats.len() < 3, "{repeats:?} of {SLOW_COUNT} records came more than once, each time");
}

const SLOW_COUNT: u64 = 60_000;

fn records_that_a_slow_application_gets_twice() -> u64 {
    let cluster = Cluster::new().with_tower().with_store();
    let partitions: Vec<_> =
        (0..5).map(|i| lines(&format!("partition {i}"), SLOW_COUNT as usize / 5)).collect();
    partitions.iter().for_each(|partition| cluster.publish("slow", partition));

    let arguments = ["--from-beginning", "--verbose", "slow"];
    let mut consumer = cluster.node("dafka_console_consumer", &arguments);
    let mut printed = Vec::new();
    // Read the output directly, without the thread that reads ahead.
    let mut output = BufReader::new(consumer.take_output()).split(b'\n');
    while printed.len() < SLOW_COUNT as usize {
        printed.extend(output.by_ref().take(5_000).map(|line| line.expect("a record")));
        // Longer than the timeout of a FETCH.
        std::thread::sleep(Duration::from_millis(500));
    }
    let expected: Vec<&[Vec<u8>]> = partitions.iter().map(Vec::as_slice).collect();
    assert_each_partition("slow", &printed, &expected);
    let stderr = consumer.terminate().stderr;
    let duplicates = statistic(&stderr, "duplicates");
    eprintln!("{duplicates} records came more than once\n{stderr}");
    duplicates
}

#[test]
fn a_producer_without_a_store_limits_its_memory_and_continues_with_a_store() {
    let cluster = Cluster::new().with_tower();
    let mut consumer = cluster.consumer("bounded");
    let limit = 100_000;
    let published = lines("bounded", 20_000);
    let mut producer =
        producer_with(&cluster, "bounded", &[("producer/max_unacked_bytes", &limit.to_string())]);
    producer.feed(&published);
    producer.close_input();
    // The producer stops reading at the limit, or one record before it.
    let mut first = consumer.lines(101, "the first records");
    first.extend(consumer.lines_within(published.len() - first.len(), Duration::from_secs(2)));
    // A record in a batch has an entry of 4 octets in the batch's table.
    let occupied: usize = published[..first.len()].iter().map(|line| line.len() + 4).sum();
    assert!(occupied <= limit + 2_000, "{} records occupy {occupied} octets", first.len());
    assert!(producer.is_running());

    let _store = cluster.store("store");
    let mut printed = first;
    printed.extend(consumer.lines(published.len() - printed.len(), "the rest, once a store acknowledges"));
    assert_contents("bounded", &printed, &published);
    let output = producer.expect_success("a store has all");
    let count = output.stderr.matches("producer/max_unacked_bytes").count();
    assert_eq!(count, 1, "it is logged once: {}", output.stderr);
}

#[test]
fn a_producer_that_waits_for_stores_can_be_interrupted() {
    let cluster = Cluster::new().with_tower();
    let mut consumer = cluster.consumer("stuck");
    let mut producer = producer_with(&cluster, "stuck", &[("producer/max_unacked_bytes", "10000")]);
    producer.feed(&lines("stuck", 5_000));
    consumer.line("the first record");
    producer.signal(libc::SIGTERM);
    // The producer waits for acknowledgements only for some time.
    producer.expect_exit("SIGTERM, with its memory full", 3, &["records were not acknowledged"]);
}

#[test]
fn a_copied_store_is_another_store_without_its_lock_file_and_a_twin_with_it() {
    let cluster = Cluster::new().with_tower();
    let original = cluster.store("original");
    cluster.publish("copied", &lines("before", 100));
    original.terminate();
    for (copy, files) in [("twin", &["data.mdb", "dafka.lock"][..]), ("other", &["data.mdb"])] {
        std::fs::create_dir(cluster.dir().join(copy)).expect("a directory");
        for file in files {
            let from = cluster.dir().join("original").join(file);
            std::fs::copy(from, cluster.dir().join(copy).join(file)).expect("a copy");
        }
    }
    let [mut original, mut twin] = ["original", "twin"].map(|name| cluster.store(name));
    for store in [&mut original, &mut twin] {
        store.wait_for_log("another store has this store's name");
    }
    let mut producer = producer_with(&cluster, "copied", &[("producer/min_stores", "2")]);
    producer.feed(&lines("after", 100));
    producer.close_input();
    let mut consumer = cluster.consumer("copied");
    consumer.lines(200, "records of two stores that count as one");
    assert!(producer.is_running(), "a store and its copy counted as two");
    let other = cluster.store("other");
    producer.expect_success("a copy without the lock file is another store");
    assert!(!other.log().contains("has this store's name"), "{}", other.log());
}
