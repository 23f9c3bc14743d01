//! Several stores: each ends up with every partition, a record counts when enough of them have it, and a producer
//! that too few acknowledge does not eat up the memory.

use crate::e2e::{
    Cluster, DEADLINE, Input, Program, assert_contents, assert_each_partition, lines, statistic, varied_lines,
};
use crate::peer::{Node, number_8_at, to};
use std::io::{BufRead, BufReader};
use std::time::{Duration, Instant};

/// What the stores hold is read from one of them alone, while the others are down.
fn assert_store_holds(cluster: &Cluster, store: &str, topic: &str, expected: &[Vec<u8>]) {
    let _store = cluster.store(store);
    let mut consumer = cluster.consumer(topic);
    assert_contents(topic, &consumer.lines(expected.len(), "what one store holds"), expected);
    consumer.expect_no_more();
}

/// A producer with settings of its own.
fn producer_with(cluster: &Cluster, topic: &str, settings: &[(&str, &str)]) -> Program {
    cluster.node_with("dafka_console_producer", &[topic], settings, Input::Pipe)
}

/// The record that an ACK of one of our stores says is stored, with all before it: what comes before the store's name.
fn acknowledged(ack: &[u8]) -> u64 {
    number_8_at(ack, ack.len() - 33 - 8)
}

/// Hears a store say that it has all of so many records, again and again, as each HEAD of the producer makes it do: by
/// then the producer has heard it too. If it had taken that for enough, no other HEAD would come.
fn hear_acks_of_all(observer: &mut Node, count: usize) {
    let due = Instant::now() + DEADLINE;
    for _ in 0..4 {
        while acknowledged(&observer.message(b"K")[0]) + 1 < count as u64 {
            assert!(Instant::now() < due, "the store does not acknowledge all");
        }
    }
}

#[test]
fn two_stores_must_have_each_record_when_two_are_asked_for() {
    let cluster = Cluster::new();
    let _tower = cluster.tower();
    let published = varied_lines("both", 3_000, 500);
    let first = cluster.store("first");
    let settings = [("producer/min_stores", "2"), ("producer/head_interval", "50")];
    let mut producer = producer_with(&cluster, "both", &settings);
    producer.feed(&published);
    producer.close_input();
    hear_acks_of_all(&mut Node::started(&cluster, &[to(b'K', "")]), published.len());
    // The first store has all, and says so: that is not enough, also not when it says so in two lives.
    let mut consumer = cluster.consumer("both");
    assert_contents("both", &consumer.lines(published.len(), "live records"), &published);
    assert!(producer.is_running());
    first.kill();
    // Never heard the first life.
    let mut second_life = Node::started(&cluster, &[to(b'K', "")]);
    let first = cluster.store("first");
    let mut late = cluster.consumer("both");
    assert_contents(
        "both",
        &late.lines(published.len(), "records of the first store's second life"),
        &published,
    );
    hear_acks_of_all(&mut second_life, published.len());
    assert!(producer.is_running(), "one store that was restarted counted as two");

    let second = cluster.store("second");
    producer.expect_success("a second store has all");
    // Each of them has all: acknowledged means on the disks of both.
    first.kill();
    second.kill();
    for store in ["first", "second"] {
        assert_store_holds(&cluster, store, "both", &published);
    }
}

#[test]
fn a_store_that_lost_its_database_does_not_count_twice() {
    let cluster = Cluster::new();
    let _tower = cluster.tower();
    let published = varied_lines("wiped", 300, 500);
    let first = cluster.store("first");
    let settings = [("producer/min_stores", "2"), ("producer/head_interval", "50")];
    let mut producer = producer_with(&cluster, "wiped", &settings);
    producer.feed(&published);
    producer.close_input();
    hear_acks_of_all(&mut Node::started(&cluster, &[to(b'K', "")]), published.len());
    first.kill();
    std::fs::remove_dir_all(cluster.dir().join("first")).expect("removed");
    let mut second_life = Node::started(&cluster, &[to(b'K', "")]);
    let first = cluster.store("first");
    // By another name, as its old one was lost too.
    hear_acks_of_all(&mut second_life, published.len());
    assert!(producer.is_running(), "one store that was wiped counted as two");

    let second = cluster.store("second");
    producer.expect_success("a second store has all");
    first.kill();
    second.kill();
    for store in ["first", "second"] {
        assert_store_holds(&cluster, store, "wiped", &published);
    }
}

#[test]
fn a_store_that_comes_late_gets_what_only_other_stores_hold() {
    let cluster = Cluster::new();
    let _tower = cluster.tower();
    let mut old = cluster.store("old");
    let partitions: Vec<_> = (0..5).map(|i| varied_lines(&format!("p{i}"), 400, 2_000)).collect();
    for partition in &partitions {
        cluster.publish("gone", partition);
    }
    // The new store acknowledges these to nobody: what it serves while the old one stands still tells what it has.
    let _new = cluster.store("new");
    let due = Instant::now() + DEADLINE;
    let expected: Vec<&[Vec<u8>]> = partitions.iter().map(Vec::as_slice).collect();
    for round in 1.. {
        // Time to catch up, and for a consumer to start and read; how much it takes is not known.
        std::thread::sleep(round * Duration::from_millis(500));
        old.pause();
        let printed = cluster.consumer("gone").lines_within(2_000, round * Duration::from_secs(1));
        if printed.len() == 2_000 {
            assert_each_partition("gone", &printed, &expected);
            return;
        }
        assert!(Instant::now() < due, "the new store serves {} records", printed.len());
        old.resume();
    }
}

#[test]
fn what_every_store_has_is_fetched_from_one_of_them() {
    let cluster = Cluster::new();
    let _tower = cluster.tower();
    let _stores = ["a", "b", "c"].map(|name| cluster.store(name));
    let published = varied_lines("spread", 20_000, 200);
    let mut producer = producer_with(&cluster, "spread", &[("producer/min_stores", "3")]);
    producer.feed(&published);
    producer.close_input();
    producer.expect_success("each of three stores has all");

    let replay = || {
        let arguments = ["--from-beginning", "--verbose", "spread"];
        let mut consumer = cluster.node("dafka_console_consumer", &arguments, Input::Pipe);
        assert_contents("spread", &consumer.lines(published.len(), "the replay"), &published);
        consumer.signal(libc::SIGTERM);
        let stderr = consumer.expect_success("SIGTERM").stderr;
        assert_eq!(statistic(&stderr, "handed_on"), published.len() as u64, "{stderr}");
        statistic(&stderr, "duplicates")
    };
    // If all answered, there would be twice as many as there are records. A store that stands still for a moment is
    // replaced, and answers all the same: not each time.
    let mut duplicates = Vec::new();
    while duplicates.last().is_none_or(|&count| count >= published.len() as u64 / 4) {
        duplicates.push(replay());
        assert!(duplicates.len() < 4, "so many records came more than once: {duplicates:?}");
    }
}

#[test]
fn a_store_that_falls_silent_in_the_midst_of_a_replay_is_replaced() {
    let mut cluster = Cluster::new();
    // Silent, but not gone: only that no answer comes tells.
    cluster.set("beacon/timeout", "600000");
    let _tower = cluster.tower();
    let mut stores = ["a", "b"].map(|name| cluster.store(name));
    let published = varied_lines("silent", 200_000, 200);
    let mut producer = producer_with(&cluster, "silent", &[("producer/min_stores", "2")]);
    producer.feed(&published);
    producer.close_input();
    producer.expect_success("each of two stores has all");

    // Windows go to both in turn, so either of them is missed.
    for store in &mut stores {
        let mut consumer = cluster.consumer("silent");
        let mut printed = consumer.lines(1_000, "the replay's begin");
        store.pause();
        printed.extend(consumer.lines(published.len() - printed.len(), "the rest, from the other store"));
        assert_contents("silent", &printed, &published);
        store.resume();
    }
}

/// A store or a consumer that stands still for a moment, because the machine is busy, is rightly asked again: that does not
/// happen each time, and an application that is slow would do it each time.
#[test]
fn a_slow_application_does_not_make_a_consumer_ask_twice() {
    let repeats: Vec<u64> = std::iter::repeat_with(records_that_a_slow_application_gets_twice)
        .take(3)
        .take_while(|&repeats| repeats >= SLOW_COUNT / 10)
        .collect();
    assert!(repeats.len() < 3, "{repeats:?} of {SLOW_COUNT} records came more than once, each time");
}

const SLOW_COUNT: u64 = 60_000;

fn records_that_a_slow_application_gets_twice() -> u64 {
    let cluster = Cluster::new();
    let _tower = cluster.tower();
    let _store = cluster.store("store");
    let partitions: Vec<_> =
        (0..5).map(|i| lines(&format!("partition {i}"), SLOW_COUNT as usize / 5)).collect();
    partitions.iter().for_each(|partition| cluster.publish("slow", partition));

    let arguments = ["--from-beginning", "--verbose", "slow"];
    let mut consumer = cluster.node("dafka_console_consumer", &arguments, Input::Pipe);
    let mut printed = Vec::new();
    // Nobody reads ahead for it.
    let mut output = BufReader::new(consumer.take_output()).split(b'\n');
    while printed.len() < SLOW_COUNT as usize {
        printed.extend(output.by_ref().take(5_000).map(|line| line.expect("a record")));
        // What the application does with them: longer than a FETCH waits for its answer.
        std::thread::sleep(Duration::from_millis(500));
    }
    let expected: Vec<&[Vec<u8>]> = partitions.iter().map(Vec::as_slice).collect();
    assert_each_partition("slow", &printed, &expected);
    consumer.signal(libc::SIGTERM);
    let stderr = consumer.expect_success("SIGTERM").stderr;
    let duplicates = statistic(&stderr, "duplicates");
    eprintln!("{duplicates} records came more than once\n{stderr}");
    duplicates
}

#[test]
fn a_producer_without_a_store_keeps_to_its_memory_and_goes_on_when_one_comes() {
    let cluster = Cluster::new();
    let _tower = cluster.tower();
    let mut consumer = cluster.consumer("bounded");
    let limit = 100_000;
    let published = lines("bounded", 20_000);
    let mut producer =
        producer_with(&cluster, "bounded", &[("producer/max_unacked_bytes", &limit.to_string())]);
    producer.feed(&published);
    producer.close_input();
    // At the limit, give or take one record, it reads no more.
    let mut first = consumer.lines(101, "the first records");
    first.extend(consumer.lines_within(published.len() - first.len(), Duration::from_secs(2)));
    let occupied: usize = published[..first.len()].iter().map(|line| line.len() + 128).sum();
    assert!(occupied <= limit + 2_000, "{} records occupy {occupied} octets", first.len());
    assert!(producer.is_running());

    let _store = cluster.store("store");
    let mut printed = first;
    printed.extend(consumer.lines(published.len() - printed.len(), "the rest, once a store acknowledges"));
    assert_contents("bounded", &printed, &published);
    let output = producer.expect_success("a store has all");
    let told = output.stderr.matches("producer/max_unacked_bytes").count();
    assert_eq!(told, 1, "it says so once: {}", output.stderr);
}

#[test]
fn a_producer_that_waits_for_stores_can_be_interrupted() {
    let cluster = Cluster::new();
    let _tower = cluster.tower();
    let mut consumer = cluster.consumer("stuck");
    let mut producer = producer_with(&cluster, "stuck", &[("producer/max_unacked_bytes", "10000")]);
    producer.feed(&lines("stuck", 5_000));
    consumer.line("the first record");
    producer.signal(libc::SIGTERM);
    // It waits a while for acknowledgements, not for ever.
    let output = producer.wait("SIGTERM, with its memory full", DEADLINE);
    assert_eq!(output.status.code(), Some(3), "{}", output.stderr);
    assert!(output.stderr.contains("records were not acknowledged"), "{}", output.stderr);
}

#[test]
fn a_copied_store_counts_as_another_without_its_lock_file_and_is_named_as_a_twin_with_it() {
    let cluster = Cluster::new();
    let _tower = cluster.tower();
    let mut original = cluster.store("original");
    cluster.publish("copied", &lines("before", 100));
    original.signal(libc::SIGTERM);
    original.expect_success("SIGTERM");
    for (copy, files) in [("twin", &["data.mdb", "dafka.lock"][..]), ("other", &["data.mdb"])] {
        std::fs::create_dir(cluster.dir().join(copy)).expect("a directory");
        for file in files {
            let from = cluster.dir().join("original").join(file);
            std::fs::copy(from, cluster.dir().join(copy).join(file)).expect("a copy");
        }
    }
    let [mut original, mut twin] = ["original", "twin"].map(|name| cluster.store(name));
    for store in [&mut original, &mut twin] {
        store.wait_for_log("another store goes by this store's name");
    }
    let mut producer = producer_with(&cluster, "copied", &[("producer/min_stores", "2")]);
    producer.feed(&lines("after", 100));
    producer.close_input();
    let mut consumer = cluster.consumer("copied");
    consumer.lines(200, "records of two stores that count as one");
    assert!(producer.is_running(), "a store and its copy counted as two");
    let other = cluster.store("other");
    producer.expect_success("a copy without the lock file is another store");
    assert!(!other.log().contains("goes by this store's name"), "{}", other.log());
}
