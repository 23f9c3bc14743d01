//! Nodes that are too slow: no record is lost, no other node waits for them, and they cost limited memory.

use crate::e2e::{Cluster, DEADLINE, Program, assert_contents};
use crate::peer::{Node, direct_record, fetch, get_heads, to};
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

const TOPIC: &str = "load";

/// `count` different lines of 100 bytes.
fn long_lines(count: usize) -> Vec<Vec<u8>> {
    (0..count).map(|i| format!("{i:0100}").into_bytes()).collect()
}

/// Reads these lines. Returns the time that this takes.
#[track_caller]
fn read_all(consumer: &mut Program, expected: &[Vec<u8>]) -> Duration {
    let start = Instant::now();
    let printed = consumer.lines(expected.len(), "all records");
    let duration = start.elapsed();
    assert_contents(TOPIC, &printed, expected);
    duration
}

/// The time for which a consumer is stopped. It is twice the timeout after which peers disconnect.
const STANDSTILL: Duration = Duration::from_secs(8);

#[test]
fn a_stopped_consumer_delays_no_other_node_and_receives_everything_later() {
    let cluster = Cluster::new().with_tower().with_store();
    let load = long_lines(150_000);
    // The first measurement is without a stopped consumer.
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
    // A node that waited for the stopped consumer would wait until that consumer continues.
    assert!(beside < 3 * usual + Duration::from_secs(10), "{usual:?}, beside a stopped consumer {beside:?}");
    // Single records are not delayed either.
    let single = cluster.producer("single");
    let mut reader = cluster.consumer("single");
    let mut tell = || {
        let start = Instant::now();
        single.feed(&[b"one".to_vec()]);
        reader.line("a single record");
        start.elapsed()
    };
    // Before the first single record arrives, producer and consumer must connect.
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
    single.finish("the end of its input, with a store present");
}

#[test]
fn a_consumer_whose_output_is_not_read_keeps_its_connections_and_loses_nothing() {
    let mut cluster = Cluster::new();
    cluster.set("beacon/timeout", "1500");
    // Few records may wait in the consumer's inbox, so the consumer fetches the rest later.
    cluster.set("consumer/high_watermark", "1000");
    let _tower = cluster.tower();
    let _store = cluster.store("store");
    let mut unread = cluster.consumer(TOPIC);
    let mut other = cluster.consumer(TOPIC);
    let load = long_lines(100_000);
    let producer = cluster.producer_of(TOPIC, &load);
    read_all(&mut other, &load);
    producer.expect_success("the end of its input, with a store present");
    // Do not read the consumer's output for longer than the timeout of silent peers. The consumer's beacon continues.
    let mut observer = Node::new(&cluster);
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(3) {
        observer.listen(Duration::from_millis(50));
    }
    observer.peers.clear();
    // The connected nodes: both nodes of the store, and both consumers.
    observer.wait_for_peers(4);
    assert_eq!(observer.peers.len(), 4, "{:?}", observer.peers);
    assert!(unread.is_running() && unread.rss_bytes() < 100 << 20, "{} octets", unread.rss_bytes());
    let late = read_all(&mut unread, &load);
    eprintln!("read after {:?}, in {late:?}", start.elapsed());
    assert!(late < DEADLINE);
    unread.expect_no_more();
}

/// The memory of a process without mapped files.
fn own_memory_bytes(program: &Program) -> u64 {
    program.memory_bytes("RssAnon:")
}

/// The ports of a process's connections.
struct Ports {
    local: BTreeSet<u16>,
    remote: BTreeSet<u16>,
}

fn ports(program: &Program) -> Ports {
    let files = std::fs::read_dir(format!("/proc/{}/fd", program.pid())).expect("a process");
    let targets = files.filter_map(|file| std::fs::read_link(file.ok()?.path()).ok());
    let open: BTreeSet<String> = targets.map(|target| target.to_string_lossy().into_owned()).collect();
    let connections = std::fs::read_to_string(format!("/proc/{}/net/tcp", program.pid())).expect("a process");
    let port = |line: &str, column| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let (_, port) = fields.get::<usize>(column)?.split_once(':')?;
        open.contains(&format!("socket:[{}]", fields.get(9)?)).then_some(u16::from_str_radix(port, 16).ok()?)
    };
    let all = |column| connections.lines().filter_map(|line| port(line, column)).collect();
    Ports { local: all(1), remote: all(2) }
}

/// The ports from which a program is connected to a producer.
fn ports_at(producer: &Program, program: &Program) -> BTreeSet<u16> {
    &ports(program).local & &ports(producer).remote
}

/// The connections that a node has ended, as it logs them.
fn ended(log: &str) -> Vec<&str> {
    log.lines().filter(|line| line.contains("was ended")).collect()
}

/// A stopped consumer would cost the producer 200 MB. Its connection is ended instead, and no other connection.
#[test]
fn a_stopped_consumer_does_not_fill_a_producers_memory() {
    const LIMIT_BYTES: u64 = 16 << 20;
    let mut cluster = Cluster::new();
    cluster.set("producer/max_unsent_bytes", &LIMIT_BYTES.to_string());
    // No node disconnects the stopped consumer because of its missing beacons.
    cluster.set("beacon/timeout", "60000");
    // The other nodes are never far behind.
    cluster.set("producer/max_unacked_bytes", &(LIMIT_BYTES / 8).to_string());
    let _tower = cluster.tower();
    let store = cluster.store("store");
    let (mut reading, mut stopped) = (cluster.consumer(TOPIC), cluster.consumer(TOPIC));
    let mut producer = cluster.producer(TOPIC);
    let records: Vec<Vec<u8>> = (0..20_000).map(|i| format!("{i:010000}").into_bytes()).collect();
    let (first, rest) = records.split_at(1);
    producer.feed(first);
    reading.expect_records(TOPIC, first, "the first record");
    stopped.expect_records(TOPIC, first, "the first record");
    stopped.pause();

    let stopped_ports = ports(&stopped).local;
    let ports_before = [&reading, &store].map(|program| ports_at(&producer, program));
    assert!(ports_before.iter().all(|ports| !ports.is_empty()), "{ports_before:?}");
    let (before_bytes, mut most_bytes) = (own_memory_bytes(&producer), 0);
    producer.feed(rest);
    let mut printed = Vec::new();
    while printed.len() < rest.len() {
        printed.extend(reading.lines(100.min(rest.len() - printed.len()), "all records"));
        most_bytes = most_bytes.max(own_memory_bytes(&producer));
    }
    assert_contents(TOPIC, &printed, rest);
    let growth_bytes = most_bytes.saturating_sub(before_bytes);
    println!("the producer has grown by {} MiB", growth_bytes >> 20);
    assert!(growth_bytes < 2 * LIMIT_BYTES + (48 << 20), "{growth_bytes} octets");
    producer.wait_for_log("was ended");
    // The log has at most one line a second.
    let ports_after = [&reading, &store].map(|program| ports_at(&producer, program));
    assert_eq!(ports_after, ports_before, "no other connection was ended");
    producer.close_input();
    let log = producer.log();
    println!("{:?}", ended(&log));
    producer.expect_success("the end of its input, with a store present");
    let is_stopped = |line: &str| {
        stopped_ports.iter().any(|port| line.contains(&format!("127.0.0.1:{port} was ended: its peer ")))
    };
    assert!(matches!(ended(&log)[..], [line] if is_stopped(line)), "{stopped_ports:?}\n{log}");

    stopped.resume();
    stopped.expect_records(TOPIC, rest, "all records");
    stopped.expect_no_more();
    reading.expect_no_more();
}

/// A consumer that reads, but far more slowly than the producer publishes, loses its connection and no records. There
/// is no store.
#[test]
fn a_slow_consumer_does_not_fill_a_producers_memory_and_receives_everything() {
    const LIMIT_BYTES: usize = 4 << 20;
    const CHUNK: usize = LIMIT_BYTES / 4 / 10_000;
    let mut cluster = Cluster::new();
    cluster.set("producer/max_unsent_bytes", &LIMIT_BYTES.to_string());
    cluster.set("beacon/timeout", "60000");
    let _tower = cluster.tower();
    let (mut reading, mut slow) = (cluster.consumer(TOPIC), cluster.consumer(TOPIC));
    let producer = cluster.producer(TOPIC);
    let mut records = vec![b"the first record".to_vec()];
    producer.feed(&records);
    for consumer in [&mut reading, &mut slow] {
        consumer.expect_records(TOPIC, &records, "the first record");
    }
    let ports_before = ports_at(&producer, &reading);
    assert!(!ports_before.is_empty());

    // The slow consumer runs for a short time, several times a second: too often to count as one that has stopped.
    let (start, mut printed) = (Instant::now(), Vec::new());
    while !producer.log().contains("reads too slowly") {
        assert!(start.elapsed() < DEADLINE, "{}", producer.log());
        slow.pause();
        let paused = Instant::now();
        printed.extend(slow.lines_within(usize::MAX, Duration::from_millis(1)));
        while paused.elapsed() < Duration::from_millis(300) {
            let chunk: Vec<_> =
                (0..CHUNK).map(|i| format!("{:010000}", records.len() + i).into_bytes()).collect();
            producer.feed(&chunk);
            // So the other consumer is never far behind.
            reading.expect_records(TOPIC, &chunk, "a chunk");
            records.extend(chunk);
        }
        slow.resume();
        printed.extend(slow.lines_within(CHUNK, Duration::from_millis(20)));
    }
    println!("after {} records: {:?}", records.len(), ended(&producer.log()));
    assert_eq!(ports_at(&producer, &reading), ports_before, "the other connection was not ended");
    printed.extend(slow.lines(records.len() - 1 - printed.len(), "all records"));
    assert_contents(TOPIC, &printed, &records[1..]);
    slow.expect_no_more();
    reading.expect_no_more();
}

/// Each record is longer than the limit, and the consumers fetch at the same time.
#[test]
fn a_store_disconnects_no_consumer_that_reads() {
    let cluster = Cluster::new().with("store/max_unsent_bytes", "1048576").with_tower();
    let store = cluster.store("store");
    let records: Vec<Vec<u8>> = (b'A'..=b'Z').map(|byte| vec![byte; 2 << 20]).collect();
    cluster.publish(TOPIC, &records);
    let consumers = [(); 3].map(|()| cluster.consumer(TOPIC));
    for mut consumer in consumers {
        consumer.expect_records(TOPIC, &records, "all records");
        consumer.expect_no_more();
    }
    assert_eq!(ended(&store.log()), [""; 0]);
}

#[test]
fn a_requester_that_does_not_read_does_not_fill_a_stores_memory() {
    let cluster = Cluster::new().with_tower();
    let store = cluster.store("store");
    let count = 200_000;
    let published: Vec<Vec<u8>> = (0..count).map(|i| format!("{i:0500}").into_bytes()).collect();
    cluster.publish(TOPIC, &published);

    let mut requester = Node::new(&cluster);
    let me = requester.address.clone();
    requester.subscribe_to(b"DE", &me);
    requester.start_beacon();
    requester.subscription(b"G");
    let head = requester.ask(&get_heads(TOPIC, &me), &to(b'E', &me)).remove(0);
    let partition = String::from_utf8(head[1 + 32 + 1 + 1 + 1..][..32].to_vec()).expect("an address");
    let before_bytes = own_memory_bytes(&store);
    // Request all records, and then read nothing for a while.
    requester.send(&fetch(&partition, &me, TOPIC, 0, u32::MAX));
    let (start, mut most_bytes) = (Instant::now(), before_bytes);
    while start.elapsed() < Duration::from_secs(3) {
        most_bytes = most_bytes.max(own_memory_bytes(&store));
        std::thread::sleep(Duration::from_millis(20));
    }
    let growth_bytes = most_bytes - before_bytes;
    println!("{} MiB of 95 MiB of records", growth_bytes >> 20);
    // Records that the kernel does not take stay on disk.
    assert!(growth_bytes < 20 << 20, "{growth_bytes} octets");
    // When the requester reads, the store continues to respond.
    let mut frame = Vec::new();
    for _ in 0..100_000 {
        frame = requester.message(&to(b'D', &me)).remove(0);
    }
    // The record's timestamp follows.
    assert!(frame.starts_with(&direct_record(&me, &partition, TOPIC, 99_999)));
}
