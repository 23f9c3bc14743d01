//! Keys that set limits have an effect. tests/protocol/limits.rs and tests/hostile test the behavior at the limits.

use crate::e2e::{Cluster, DEADLINE, Program, QUIET, statistic, wait_until};
use crate::peer::{Node, get_heads, head, new_address, record, string_at, to};
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

const TOPIC: &str = "limits";

/// The limit of the reorder buffer. About a hundred records of [`publish_early_records`] reach it.
const REORDER_BYTES: &str = "100000";

/// Publishes records 1 to 1,999 of a partition, each of a kilobyte, without record 0. Then publishes the only record of
/// another partition, and returns the address of this partition.
fn publish_early_records(node: &Node) -> String {
    let (early, last) = (node.address.clone(), new_address());
    let content = "x".repeat(1_000);
    for sequence in 1..2_000 {
        node.send_record(&record(TOPIC, &early, sequence), &content);
    }
    node.send_record(&record(TOPIC, &last, 0), "last");
    last
}

/// Ends a node that runs with `--verbose`. Checks that most of the early records had no room.
#[track_caller]
fn assert_bounded(node: Program) {
    let stderr = node.terminate().stderr;
    let (early, no_room) = (statistic(&stderr, "early"), statistic(&stderr, "no_room"));
    assert_eq!(early + no_room, 1_999, "{stderr}");
    assert!((10..=100).contains(&early), "{early} were kept: {stderr}");
}

#[test]
fn a_consumer_limits_its_early_records() {
    let cluster = Cluster::new().with("consumer/reorder_bytes", REORDER_BYTES).with_tower();
    let arguments = ["--from-beginning", "--verbose", TOPIC];
    let mut consumer = cluster.node("dafka_console_consumer", &arguments);
    let mut node = Node::started(&cluster, &[]);
    node.subscription(&[b"M", TOPIC.as_bytes(), b"\0"].concat());
    let last = publish_early_records(&node);
    assert_eq!(consumer.line("what came last"), format!("{TOPIC} {last} last").as_bytes());
    assert_bounded(consumer);
}

#[test]
fn a_store_limits_its_early_records() {
    let mut cluster = Cluster::new().with("store/reorder_bytes", REORDER_BYTES).with_tower();
    cluster.set("store/db", "db");
    let store = cluster.node("dafka_stored", &["--verbose"]);
    let mut node = Node::started(&cluster, &[b"K".to_vec()]);
    node.subscription(b"M");
    let last = publish_early_records(&node);
    node.ask(&head(TOPIC, &last, 0), &to(b'K', &last));
    assert_bounded(store);
}

/// In each response, the heads are in the same order. If the store sent more heads than fit into its queue, the same
/// heads would be dropped each time. Another store would never find the partitions of these heads.
#[test]
fn a_store_with_a_short_queue_sends_all_heads() {
    let cluster = Cluster::new().with("store/high_watermark", "5").with_tower().with_store();
    let mut node = Node::started(&cluster, &[b"K".to_vec()]);
    node.subscription(b"M");
    let mut partitions: BTreeSet<String> = (0..60).map(|_| new_address()).collect();
    for partition in &partitions {
        node.send_record(&record(TOPIC, partition, 0), "content");
        // Few records may wait, so the test sends the next record only after the ACK.
        node.ask(&head(TOPIC, partition, 0), &to(b'K', partition));
    }
    let heads = to(b'E', &node.address);
    node.subscribe(&heads);
    let due = Instant::now() + DEADLINE;
    while !partitions.is_empty() {
        assert!(Instant::now() < due, "no heads of {partitions:?}");
        node.send(&get_heads("", &node.address));
        // On a busy machine, some heads are dropped, but different ones each time.
        while let Some(received) = node.message_within(&heads, Duration::from_secs(1)) {
            partitions.remove(&string_at(&received[0], heads.len() + 2));
        }
    }
}

#[test]
fn lines_that_are_too_long_are_refused_and_all_others_published() {
    let cluster = Cluster::new().with_tower().with_store();
    let mut consumer = cluster.consumer(TOPIC);
    let settings = [("producer/max_record_bytes", "1000")];
    let mut producer = cluster.node_with("dafka_console_producer", &[TOPIC], &settings);
    let line = |len| vec![b'x'; len];
    producer.feed(&[line(1_000), line(1_001), b"third".to_vec()]);
    consumer.expect_records(TOPIC, &[line(1_000), b"third".to_vec()], "the lines that are short enough");
    producer.wait_for_log(
        "line 2 is not published: its 1001 bytes are more than producer/max_record_bytes = 1000",
    );
    // A line without end is logged at once, and does not occupy memory.
    let before_bytes = producer.rss_bytes();
    for _ in 0..64 {
        producer.feed_octets(line(1 << 20));
    }
    producer.wait_for_log("line 4 is not published: it is longer than producer/max_record_bytes = 1000");
    producer.feed(&[b"".to_vec(), b"fifth".to_vec()]);
    consumer.expect_records(TOPIC, &[b"fifth".to_vec()], "the line after the long one");
    assert!(
        producer.rss_bytes() < before_bytes + (16 << 20),
        "{} after {before_bytes}",
        producer.rss_bytes()
    );
    producer.close_input();
    let line_4 = "line 4 is not published: its 67108864 bytes are more";
    let output = producer.expect_exit("the end of its input", 1, &[line_4]);
    let last = "2 lines were not published: they are longer than producer/max_record_bytes = 1000\n";
    assert!(output.stderr.ends_with(last), "{}", output.stderr);
    consumer.expect_no_more();
}

/// To how many endpoints a node was connected: at most at the same time, at the end, and in total.
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
fn a_node_limits_its_peers() {
    let cluster = Cluster::new().with("beacon/max_peers", "3").with("beacon/verbose", "1").with_tower();
    let nodes: Vec<Node> = (0..6).map(|_| Node::started(&cluster, &[])).collect();
    let consumer = cluster.consumer(TOPIC);
    let start = Instant::now();
    // The tower announces all six nodes again and again. A new peer replaces a peer that has not answered for half a
    // second. On a busy machine, this may happen at first.
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
fn a_node_limits_its_pending_peers() {
    let cluster =
        Cluster::new().with("beacon/max_pending_peers", "2").with("beacon/verbose", "1").with_tower();
    // No process listens at these ports.
    let mut nodes: Vec<Node> = (0..4).map(|_| Node::new(&cluster)).collect();
    for (i, node) in nodes.iter_mut().enumerate() {
        node.start_beacon_at(1 + i as u16);
    }
    let consumer = cluster.consumer(TOPIC);
    // The consumer replaces pending peers by other ones.
    wait_until("six attempts", || connections(&consumer.log()).2 >= 6);
    assert_eq!(connections(&consumer.log()).0, 2, "{}", consumer.log());
}
