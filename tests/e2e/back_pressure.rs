//! Nodes that cannot keep up: nothing is lost, and nobody else waits for them.

use crate::e2e::{Cluster, DEADLINE, Program, assert_contents, assert_each_partition, lines};
use crate::peer::{Node, direct_record, fetch, get_heads, to};
use std::time::{Duration, Instant};

const TOPIC: &str = "load";

/// `count` different lines of 100 octets.
fn long_lines(count: usize) -> Vec<Vec<u8>> {
    (0..count).map(|i| format!("{i:0100}").into_bytes()).collect()
}

/// How long reading all the lines takes, which must be these.
#[track_caller]
fn read_all(consumer: &mut Program, expected: &[Vec<u8>]) -> Duration {
    let start = Instant::now();
    let printed = consumer.lines(expected.len(), "all records");
    let duration = start.elapsed();
    assert_contents(TOPIC, &printed, expected);
    duration
}

#[test]
fn producers_keep_what_a_stopped_store_does_not_take() {
    let cluster = Cluster::new();
    let _tower = cluster.tower();
    let mut store = cluster.store("stopped");
    let loads: Vec<Vec<Vec<u8>>> = (0..2).map(|i| lines(&format!("load {i}"), 100_000)).collect();
    let mut producers: Vec<Program> = loads.iter().map(|_| cluster.producer(TOPIC)).collect();
    // The store has some of it when it stops, and the rest comes while it stands.
    let third = loads[0].len() / 3;
    for (producer, load) in producers.iter().zip(&loads) {
        producer.feed(&load[..third]);
    }
    let mut consumer = cluster.consumer(TOPIC);
    // What the store alone has, nobody can read while it stands: the consumer has all of that by then.
    let mut printed = consumer.lines(2 * third, "the first records");
    store.pause();
    for (producer, load) in producers.iter_mut().zip(&loads) {
        producer.feed(&load[third..]);
        producer.close_input();
    }
    // The consumer does not need the store.
    printed.extend(consumer.lines(2 * (loads[0].len() - third), "records while the store stands"));
    assert_each_partition(TOPIC, &printed, &[&loads[0], &loads[1]]);
    for producer in &mut producers {
        assert!(producer.is_running(), "it has ended although its records are not stored");
    }
    store.resume();
    for producer in producers {
        producer.expect_success("the store going on");
    }
    // What was acknowledged is there.
    let mut late = cluster.consumer(TOPIC);
    let printed = late.lines(2 * loads[0].len(), "all records, from the store");
    assert_each_partition(TOPIC, &printed, &[&loads[0], &loads[1]]);
    late.expect_no_more();
}

/// How long a consumer stands still: twice as long as its peers wait for it.
const STANDSTILL: Duration = Duration::from_secs(8);

#[test]
fn a_stopped_consumer_holds_nobody_up_and_gets_everything_later() {
    let cluster = Cluster::new();
    let _tower = cluster.tower();
    let _store = cluster.store("store");
    let load = long_lines(300_000);
    // Without anybody standing still.
    let (mut one, mut other) = (cluster.consumer(TOPIC), cluster.consumer(TOPIC));
    let publish = |load: &[Vec<u8>]| cluster.producer_of(TOPIC, load);
    let producer = publish(&load);
    let (usual, _) = (read_all(&mut one, &load), read_all(&mut other, &load));
    producer.expect_success("the end of its input, with a store present");

    one.pause();
    let stopped = Instant::now();
    let producer = publish(&load);
    let beside = read_all(&mut other, &load);
    producer.expect_success("the end of its input, with a store present");
    eprintln!("{} records: in {usual:?}, beside a stopped consumer in {beside:?}", load.len());
    // Was it held up, it would be until the other one goes on.
    assert!(beside < 3 * usual + Duration::from_secs(10), "{usual:?}, beside a stopped consumer {beside:?}");
    // Also what comes one by one.
    let mut single = cluster.producer("single");
    let mut reader = cluster.consumer("single");
    let mut tell = || {
        let start = Instant::now();
        single.feed(&[b"one".to_vec()]);
        reader.line("a single record");
        start.elapsed()
    };
    // The first one waits for the two to meet.
    tell();
    let (met, mut slowest) = (Instant::now(), Duration::ZERO);
    while stopped.elapsed() < STANDSTILL || met.elapsed() < STANDSTILL / 4 {
        slowest = slowest.max(tell());
        std::thread::sleep(Duration::from_millis(20));
    }
    eprintln!("single records beside a stopped consumer: {slowest:?} at most");
    assert!(slowest < STANDSTILL / 2, "a single record took {slowest:?}");
    one.resume();
    let late = read_all(&mut one, &load);
    eprintln!("the stopped consumer has them all after {late:?}");
    one.expect_no_more();
    single.close_input();
    single.expect_success("the end of its input, with a store present");
}

#[test]
fn a_consumer_whose_output_nobody_reads_stays_a_peer_and_gives_everything_later() {
    let mut cluster = Cluster::new();
    cluster.set("beacon/timeout", "1500");
    // Little fits into its sockets: the rest is fetched.
    cluster.set("consumer/high_watermark", "1000");
    let _tower = cluster.tower();
    let _store = cluster.store("store");
    let mut unread = cluster.consumer(TOPIC);
    let mut other = cluster.consumer(TOPIC);
    let load = long_lines(100_000);
    let producer = cluster.producer_of(TOPIC, &load);
    read_all(&mut other, &load);
    producer.expect_success("the end of its input, with a store present");
    // Nobody reads what it prints, for longer than a dead peer is waited for: its beacon goes on.
    let mut observer = Node::new(&cluster);
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(3) {
        observer.listen(Duration::from_millis(50));
    }
    observer.peers.clear();
    // Both halves of the store, and both consumers.
    let due = Instant::now() + DEADLINE;
    while observer.peers.len() < 4 {
        assert!(Instant::now() < due, "{:?}", observer.peers);
        observer.listen(Duration::from_millis(50));
    }
    assert_eq!(observer.peers.len(), 4, "{:?}", observer.peers);
    assert!(unread.is_running() && unread.rss_bytes() < 100 << 20, "{} octets", unread.rss_bytes());
    let late = read_all(&mut unread, &load);
    eprintln!("read after {:?}, in {late:?}", start.elapsed());
    assert!(late < DEADLINE);
    unread.expect_no_more();
}

/// What a process has in memory besides what it has mapped from files, in octets.
fn own_memory_bytes(program: &Program) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", program.pid())).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).expect("Linux says so");
    line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") * 1_024
}

#[test]
fn a_requester_that_does_not_read_does_not_fill_a_stores_memory() {
    let cluster = Cluster::new();
    let _tower = cluster.tower();
    let store = cluster.store("store");
    let count = 400_000;
    let published: Vec<Vec<u8>> = (0..count).map(|i| format!("{i:0500}").into_bytes()).collect();
    cluster.publish(TOPIC, &published);

    let me = crate::peer::new_address();
    let mut requester = Node::new(&cluster);
    requester.address = me.clone();
    requester.subscribe(&to(b'D', &me));
    requester.subscribe(&to(b'E', &me));
    requester.start_beacon();
    requester.follow();
    requester.subscription(b"G");
    // The answer may go out before the store hears who asks.
    let head = loop {
        requester.send(&get_heads(TOPIC, &me));
        if let Some(mut frames) = requester.message_within(&to(b'E', &me), Duration::from_millis(100)) {
            break frames.remove(0);
        }
    };
    let partition = String::from_utf8(head[1 + 32 + 1 + 1 + 1..][..32].to_vec()).expect("an address");
    let before_bytes = own_memory_bytes(&store);
    // All of it at once; and then it does not read for a while.
    requester.send(&fetch(&partition, &me, TOPIC, 0, u32::MAX));
    let (start, mut most_bytes) = (Instant::now(), before_bytes);
    while start.elapsed() < Duration::from_secs(3) {
        most_bytes = most_bytes.max(own_memory_bytes(&store));
        std::thread::sleep(Duration::from_millis(20));
    }
    let growth_bytes = most_bytes - before_bytes;
    println!("{} MiB of 190 MiB of records", growth_bytes >> 20);
    // What the kernel does not take waits on disk.
    assert!(growth_bytes < 20 << 20, "{growth_bytes} octets");
    // It was asked, and goes on where the requester reads.
    let mut frame = Vec::new();
    for _ in 0..100_000 {
        frame = requester.message(&to(b'D', &me)).remove(0);
    }
    assert_eq!(frame, direct_record(&me, &partition, TOPIC, 99_999));
}
