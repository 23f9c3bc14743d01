//! Records that are longer than a node accepts. libzmq ends the connection when such a record arrives, and does not
//! reconnect by itself. The partition of that record stalls. All other partitions of the same peer must not stall.

use crate::e2e::{Cluster, DEADLINE, Program, assert_contents, contents, lines};
use crate::hostile::{Honest, MIB, TOPIC, as_publisher, is_closed_by_peer};
use crate::peer::record;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, TcpListener};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

const LIMIT: &str = "100000";

/// Five short records, one that is too long, and five more short ones.
fn with_a_long_one() -> Vec<Vec<u8>> {
    let mut records = lines("a", 5);
    records.push(vec![b'x'; 400_000]);
    records.extend(lines("after", 5));
    records
}

/// Records for more than one FETCH window.
fn others(name: &str, count: usize) -> Vec<Vec<u8>> {
    (0..count).map(|i| format!("{name} {i} {}", "y".repeat(100)).into_bytes()).collect()
}

/// The printed lines of each partition.
fn by_partition(printed: &[Vec<u8>]) -> BTreeMap<Vec<u8>, Vec<Vec<u8>>> {
    let mut partitions: BTreeMap<Vec<u8>, Vec<Vec<u8>>> = BTreeMap::new();
    for line in printed {
        let address = line.split(|&octet| octet == b' ').nth(1).expect("an address");
        partitions.entry(address.to_vec()).or_default().push(line.clone());
    }
    partitions
}

/// Checks that the consumer prints the first five records of one partition, all records of the others, and no more.
/// Returns how long that took.
#[track_caller]
fn expect_all_but_the_long_one(consumer: &mut Program, expected: &[&[Vec<u8>]]) -> Duration {
    let start = Instant::now();
    let count = 5 + expected.iter().map(|records| records.len()).sum::<usize>();
    let printed = consumer.lines_within(count, DEADLINE);
    assert_eq!(printed.len(), count, "records; the log: {}", consumer.log());
    let took = start.elapsed();
    let partitions = by_partition(&printed);
    assert_eq!(partitions.len(), expected.len() + 1, "partitions");
    for printed in partitions.values() {
        let records = contents(TOPIC, printed);
        let five = lines("a", 5);
        let matching = expected.iter().copied().chain([&five[..]]).find(|known| known[0] == records[0]);
        assert_contents(TOPIC, printed, matching.expect("a partition that was published"));
    }
    consumer.expect_silence(crate::e2e::QUIET, "what comes after the long one must wait for it");
    took
}

/// Checks that the log lines name the key and the endpoint.
#[track_caller]
fn expect_warning(log: &str, key: &str) {
    let lines: Vec<&str> = log.lines().filter(|line| line.contains(key)).collect();
    assert!(!lines.is_empty(), "{key} is not named: {log}");
    assert!(lines.iter().all(|line| line.contains("tcp://127.0.0.1:")), "the endpoint is named: {lines:?}");
}

#[test]
fn a_consumer_skips_a_too_long_record_of_a_store() {
    let mut cluster = Cluster::new().with_tower().with_store();
    let (long, many, few) = (with_a_long_one(), others("many", 100_000), lines("few", 3));
    for records in [&long, &many, &few] {
        cluster.publish(TOPIC, records);
    }
    let mut unlimited = cluster.consumer(TOPIC);
    cluster.set("consumer/max_record_bytes", LIMIT);
    let mut consumer = cluster.consumer(TOPIC);
    let took = expect_all_but_the_long_one(&mut consumer, &[&many, &few]);
    eprintln!("{} records after {took:?}", many.len());
    assert!(took < DEADLINE, "{took:?}");
    expect_warning(&consumer.log(), "consumer/max_record_bytes");

    // Records that are published later arrive.
    cluster.publish(TOPIC, &lines("later", 10));
    let printed = consumer.lines_within(10, DEADLINE);
    assert_contents(TOPIC, &printed, &lines("later", 10));

    // A consumer without the limit receives all.
    let printed = unlimited.lines_within(100_024, DEADLINE);
    assert_eq!(printed.len(), 100_024);
    assert!(!unlimited.log().contains("max_record_bytes"), "{}", unlimited.log());
}

#[test]
fn a_consumer_skips_a_too_long_record_of_a_producer() {
    let mut cluster = Cluster::new().with_tower();
    // Without a store, the producers keep their records and answer FETCHes.
    let (long, many) = (with_a_long_one(), others("many", 100_000));
    let _first = cluster.producer_of(TOPIC, &long);
    let _second = cluster.producer_of(TOPIC, &many);
    cluster.set("consumer/max_record_bytes", LIMIT);
    let mut consumer = cluster.consumer(TOPIC);
    let took = expect_all_but_the_long_one(&mut consumer, &[&many]);
    eprintln!("{} records after {took:?}", many.len());
    expect_warning(&consumer.log(), "consumer/max_record_bytes");
    // The consumer connects to a new producer.
    let third = cluster.producer(TOPIC);
    third.feed(&lines("third", 3));
    let printed = consumer.lines_within(3, DEADLINE);
    assert_contents(TOPIC, &printed, &lines("third", 3));
}

#[test]
fn a_store_skips_a_too_long_record_of_another_store() {
    let mut cluster = Cluster::new().with_tower();
    let first = cluster.store("first");
    let (long, many) = (with_a_long_one(), others("many", 100_000));
    cluster.publish(TOPIC, &long);
    cluster.publish(TOPIC, &many);
    // The second store copies the records from the first one. Then the first one ends.
    cluster.set("store/max_record_bytes", LIMIT);
    let second = cluster.store("second");
    let config = cluster.config_with(&[("store/db", "second")]);
    let start = Instant::now();
    let list = loop {
        let output = cluster.run("dafka_stored", &["-c", &config, "--list"]);
        let list = String::from_utf8_lossy(&output.stdout.join(&b"\n"[..])).into_owned();
        if list.contains("99999") || list.contains("100000") {
            break list;
        }
        assert!(start.elapsed() < DEADLINE, "{list}\n{}", second.log());
        std::thread::sleep(Duration::from_millis(50));
    };
    eprintln!("the second store has it after {:?}:\n{list}", start.elapsed());
    expect_warning(&second.log(), "store/max_record_bytes");
    first.kill();
    let mut consumer = cluster.consumer(TOPIC);
    expect_all_but_the_long_one(&mut consumer, &[&many]);
}

/// Peers that end cause no warning.
#[test]
fn peers_that_are_announced_by_a_host_s_name() {
    let cluster = Cluster::new()
        .with("beacon/address", "localhost")
        .with("consumer/max_record_bytes", LIMIT)
        .with_tower();
    let store = cluster.store("store");
    let mut consumer = cluster.consumer(TOPIC);
    for i in 0..5 {
        // Each peer ends while the next one starts.
        let few = lines(&i.to_string(), 3);
        cluster.publish(TOPIC, &few);
        consumer.expect_records(TOPIC, &few, "what was published");
    }
    // The store also ends, and starts again at another port.
    store.kill();
    let _store = cluster.store("store");
    let few = lines("few", 3);
    cluster.publish(TOPIC, &few);
    consumer.expect_records(TOPIC, &few, "what was published");
    assert!(!consumer.log().contains("made again"), "{}", consumer.log());
    let (long, many) = (with_a_long_one(), others("many", 20_000));
    cluster.publish(TOPIC, &long);
    cluster.publish(TOPIC, &many);
    expect_all_but_the_long_one(&mut consumer, &[&many]);
    expect_warning(&consumer.log(), "consumer/max_record_bytes");
}

/// A hostile node that sends only a too long frame to each peer that connects. Returns the number of connections at its
/// end.
fn set_trap(cluster: &Cluster, duration: Duration) -> JoinHandle<usize> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let port = listener.local_addr().expect("bound").port();
    listener.set_nonblocking(true).expect("an option");
    let mut node = crate::peer::Node::new(cluster);
    node.start_beacon_at(port);
    std::thread::spawn(move || {
        let (_node, mut count, start) = (node, 0, Instant::now());
        while start.elapsed() < duration {
            let Ok((stream, _)) = listener.accept() else {
                std::thread::sleep(Duration::from_millis(1));
                continue;
            };
            stream.set_nonblocking(false).expect("an option");
            count += 1;
            if let Ok(mut raw) = as_publisher(stream) {
                let _ = raw.announce(400 * MIB);
                is_closed_by_peer(&mut raw.0, Duration::from_secs(1));
            }
        }
        count
    })
}

/// libzmq keeps a pointer to a dead connection. When another connection uses the same memory, that connection must not
/// end.
#[test]
fn connections_that_end_do_not_end_others() {
    let cluster = Cluster::new().with("consumer/max_record_bytes", LIMIT).with_tower();
    let mut consumer = cluster.consumer_of_new(TOPIC);
    let mut first = crate::peer::Node::started(&cluster, &[]);
    first.subscription(&crate::peer::to(b'M', "hello\0"));
    let traps: Vec<_> = (0..8).map(|_| set_trap(&cluster, Duration::from_secs(3))).collect();
    let mut nodes: Vec<crate::peer::Node> = Vec::new();
    for _ in 0..60 {
        nodes.push(crate::peer::Node::started(&cluster, &[]));
        // These connect while other connections end.
        first.listen(Duration::from_millis(20));
    }
    traps.into_iter().for_each(|trap| drop(trap.join()));
    // The consumer receives records of all nodes.
    let mut unheard: BTreeSet<String> = nodes.iter().map(|node| node.address.clone()).collect();
    let start = Instant::now();
    for sequence in 0.. {
        for node in &nodes {
            node.send_record(&record(TOPIC, &node.address, sequence), "content");
        }
        for line in consumer.lines_within(usize::MAX, Duration::from_millis(100)) {
            let line = String::from_utf8_lossy(&line).into_owned();
            unheard.remove(line.split(' ').nth(1).expect("an address"));
        }
        if unheard.is_empty() {
            break;
        }
        assert!(start.elapsed() < crate::hostile::PROMPT, "nothing is heard of {} nodes", unheard.len());
    }
}

/// Nodes reconnect with exponential backoff to a peer that sends such frames.
#[test]
fn nodes_reconnect_seldom_to_a_peer_that_sends_only_too_long_frames() {
    let mut cluster = Cluster::new();
    cluster.set("consumer/max_record_bytes", LIMIT);
    cluster.set("store/max_record_bytes", LIMIT);
    let mut honest = Honest::start(&cluster);
    let counter = set_trap(&cluster, Duration::from_secs(8));
    let start = Instant::now();
    let mut trips = 0;
    while start.elapsed() < Duration::from_secs(8) {
        honest.round_trip();
        trips += 1;
    }
    let count = counter.join().expect("a count");
    eprintln!("{count} connections by four nodes, {trips} round trips");
    // Each node connects after 0, 100, 300, 700, 1,500, 3,100 and 6,300 ms: seven times. A busy machine may restart the
    // backoff. Without backoff there would be hundreds of connections.
    assert!((4 * 3..=4 * 15).contains(&count), "{count} connections in 8 s");
    assert!(trips > 10, "{trips} round trips");
    honest.end(64 * MIB);
}
