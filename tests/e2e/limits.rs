//! Keys that set limits, seen at work in processes. What happens at the limits: tests/protocol/limits.rs, tests/hostile_*.rs.

use crate::e2e::{Cluster, DEADLINE, Input, Program, QUIET, assert_contents, statistic};
use crate::peer::{Node, head, new_address, record, to};
use std::time::{Duration, Instant};

const TOPIC: &str = "limits";

/// What early records may occupy: a hundred of these.
const REORDER_BYTES: &str = "100000";

/// Publishes two thousand records of a kilobyte whose first one is missing, and, behind them, the only record of another
/// partition, whose address this returns.
fn publish_early_records(node: &Node) -> String {
    let (early, last) = (node.address.clone(), new_address());
    let content = "x".repeat(1_000);
    for sequence in 1..2_000 {
        node.send_record(&record(TOPIC, &early, sequence), &content);
    }
    node.send_record(&record(TOPIC, &last, 0), "last");
    last
}

/// Ends a node that came with `--verbose`: most of the early records had no room.
#[track_caller]
fn assert_bounded(mut node: Program) {
    node.signal(libc::SIGTERM);
    let stderr = node.expect_success("SIGTERM").stderr;
    let (early, no_room) = (statistic(&stderr, "early"), statistic(&stderr, "no_room"));
    assert_eq!(early + no_room, 1_999, "{stderr}");
    assert!((10..=100).contains(&early), "{early} were kept: {stderr}");
}

#[test]
fn early_records_at_a_consumer() {
    let mut cluster = Cluster::new();
    cluster.set("consumer/reorder_bytes", REORDER_BYTES);
    let _tower = cluster.tower();
    let arguments = ["--from-beginning", "--verbose", TOPIC];
    let mut consumer = cluster.node("dafka_console_consumer", &arguments, Input::Pipe);
    let mut node = Node::started(&cluster, &[]);
    node.subscription(&[b"M", TOPIC.as_bytes(), b"\0"].concat());
    let last = publish_early_records(&node);
    assert_eq!(consumer.line("what came last"), format!("{TOPIC} {last} last").as_bytes());
    assert_bounded(consumer);
}

#[test]
fn early_records_at_a_store() {
    let mut cluster = Cluster::new();
    cluster.set("store/reorder_bytes", REORDER_BYTES);
    let _tower = cluster.tower();
    cluster.set("store/db", "db");
    let store = cluster.node("dafka_stored", &["--verbose"], Input::Pipe);
    let mut node = Node::started(&cluster, &[b"K".to_vec()]);
    node.subscription(b"M");
    let last = publish_early_records(&node);
    let start = Instant::now();
    // An ACK that came before the node could hear it is said again for each HEAD.
    while node.message_within(&to(b'K', &last), Duration::from_millis(500)).is_none() {
        assert!(start.elapsed() < DEADLINE, "what came last is not acknowledged");
        node.send(&head(TOPIC, &last, 0));
    }
    assert_bounded(store);
}

#[test]
fn lines_that_are_too_long_are_refused_and_all_others_published() {
    let cluster = Cluster::new();
    let _tower = cluster.tower();
    let _store = cluster.store("store");
    let mut consumer = cluster.consumer(TOPIC);
    let settings = [("producer/max_record_bytes", "1000")];
    let mut producer = cluster.node_with("dafka_console_producer", &[TOPIC], &settings, Input::Pipe);
    let line = |len| vec![b'x'; len];
    producer.feed(&[line(1_000), line(1_001), b"third".to_vec()]);
    assert_contents(
        TOPIC,
        &consumer.lines(2, "the lines that are short enough"),
        &[line(1_000), b"third".to_vec()],
    );
    producer.wait_for_log(
        "line 2 is not published: its 1001 bytes are more than producer/max_record_bytes = 1000",
    );
    // One that does not end: it is told at once, and does not grow in memory.
    let before_bytes = producer.rss_bytes();
    for _ in 0..64 {
        producer.feed_octets(line(1 << 20));
    }
    producer.wait_for_log("line 4 is not published: it is longer than producer/max_record_bytes = 1000");
    producer.feed(&[b"".to_vec(), b"fifth".to_vec()]);
    assert_contents(TOPIC, &consumer.lines(1, "the line after the long one"), &[b"fifth".to_vec()]);
    assert!(
        producer.rss_bytes() < before_bytes + (16 << 20),
        "{} after {before_bytes}",
        producer.rss_bytes()
    );
    producer.close_input();
    let output = producer.wait("the end of its input", DEADLINE);
    assert_eq!(output.status.code(), Some(1), "{}", output.stderr);
    assert!(
        output.stderr.contains("line 4 is not published: its 67108864 octets are more"),
        "{}",
        output.stderr
    );
    let last = "2 lines were not published: they are longer than producer/max_record_bytes = 1000\n";
    assert!(output.stderr.ends_with(last), "{}", output.stderr);
    consumer.expect_no_more();
}

/// Endpoints that a node has connected to and not disconnected from: how many at most, and in the end; and how many in all.
fn connections(log: &str) -> (usize, usize, usize) {
    let (mut now, mut most, mut all) = (0_usize, 0, 0);
    for line in log.lines() {
        if line.contains(" CONNECT tcp://") {
            (now, all) = (now + 1, all + 1);
            most = most.max(now);
        } else if line.contains("DISCONNECT tcp://") {
            now -= 1;
        }
    }
    (most, now, all)
}

#[test]
fn peers() {
    let mut cluster = Cluster::new();
    cluster.set("beacon/max_peers", "3");
    cluster.set("beacon/verbose", "1");
    let _tower = cluster.tower();
    let nodes: Vec<Node> = (0..6).map(|_| Node::started(&cluster, &[])).collect();
    let consumer = cluster.consumer(TOPIC);
    let start = Instant::now();
    // All six are announced again and again. Who has not answered for half a second gives way: on a busy machine that
    // happens at first.
    loop {
        let before = connections(&consumer.log());
        std::thread::sleep(QUIET);
        let after = connections(&consumer.log());
        assert!(after.0 <= 3, "{}", consumer.log());
        if before == after && after.1 == 3 {
            break;
        }
        assert!(start.elapsed() < DEADLINE, "{}", consumer.log());
    }
    drop(nodes);
}

#[test]
fn peers_that_do_not_answer() {
    let mut cluster = Cluster::new();
    cluster.set("beacon/max_pending_peers", "2");
    cluster.set("beacon/verbose", "1");
    let _tower = cluster.tower();
    // Nobody listens at this port.
    let mut nodes: Vec<Node> = (0..4).map(|_| Node::new(&cluster)).collect();
    for (i, node) in nodes.iter_mut().enumerate() {
        node.start_beacon_at(1 + i as u16);
    }
    let consumer = cluster.consumer(TOPIC);
    let start = Instant::now();
    // They give way to each other.
    while connections(&consumer.log()).2 < 6 {
        assert!(start.elapsed() < DEADLINE, "{}", consumer.log());
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(connections(&consumer.log()).0, 2, "{}", consumer.log());
}
