//! Several consumers, many topics, and latencies.

use crate::cluster::Cluster;
use crate::process::{Process, free_address};
use crate::raw::{Raw, per_second};
use crate::streams::{WITHOUT_STORE, arguments, with};
use crate::table::{Table, Unit, grouped};

/// The length of all records in this file, in bytes.
const SIZE: u64 = 100;

/// How many consumers one topic has, and how many records a measurement sends.
const CONSUMERS: [(usize, u64); 3] = [(1, 1_000_000), (4, 500_000), (16, 200_000)];

/// How many topics one consumer reads.
const TOPICS: [u64; 3] = [1, 100, 10_000];

/// How many producers one process runs. Each producer has its own topic.
const PRODUCERS: [u64; 3] = [1, 50, 100];

/// How many records the measurements with many topics send. A consumer has room for all these records. It must not need
/// to request records, because a publisher of [`crate::raw`] does not answer.
const TOPIC_COUNT: u64 = 400_000;
/// How many records the producers of one process publish together.
const PRODUCERS_COUNT: u64 = 2_000_000;

/// How many seconds a measurement of latencies takes.
const SECONDS: u64 = 3;

pub(crate) fn measure_fanout(table: &mut Table) {
    for (consumers, count) in CONSUMERS {
        let arguments = arguments(SIZE, count, 1);
        let raw = Raw::start(consumers, &arguments).throughput(count);
        let cluster = Cluster::start(false);
        let mut processes: Vec<Process> =
            (0..consumers).map(|_| cluster.role("consume", &arguments)).collect();
        let mut producer = cluster.role("produce", &with(&arguments, &WITHOUT_STORE));
        processes.iter_mut().for_each(|consumer| drop(consumer.wait_for("warm")));
        producer.tell("go");
        let ours = per_second(&mut processes, count);
        table.add(&format!("consumers of one topic: {consumers}"), Unit::RecordsPerSecond, ours, Some(raw));
    }
}

pub(crate) fn measure_topics(table: &mut Table) {
    for topics in TOPICS {
        let raw = Raw::start(1, &arguments(SIZE, TOPIC_COUNT, topics)).throughput(TOPIC_COUNT);
        let ours = consumed_from_libdafka_0_1(topics);
        let name = format!("topics of one consumer, single RECORDs: {}", grouped(topics));
        table.add(&name, Unit::RecordsPerSecond, ours, Some(raw));
    }
    for producers in PRODUCERS {
        let name = format!("producers in one process: {}", grouped(producers));
        let (files, may_have) = (files_of_producers(producers), dafka::net::max_open_files() as u64);
        if files > may_have {
            let (files, may_have) = (grouped(files), grouped(may_have));
            table.note(format!(
                "{name}: not measured. They need {files} files, but one process can open only {may_have}."
            ));
            continue;
        }
        let raw = Raw::start(1, &arguments(SIZE, PRODUCERS_COUNT, producers)).throughput(PRODUCERS_COUNT);
        let ours = consumed_from_producers(producers);
        table.add(&name, Unit::RecordsPerSecond, ours, Some(raw));
    }
}

/// How many files a process with these producers opens: for their sockets, and for their connections to the tower and a
/// consumer.
fn files_of_producers(producers: u64) -> u64 {
    producers * 20
}

/// Measures a consumer. Its records come from a publisher in the manner of libdafka 0.1.0, which writes one partition
/// of each topic.
fn consumed_from_libdafka_0_1(topics: u64) -> f64 {
    let cluster = Cluster::start(false);
    let arguments = arguments(SIZE, TOPIC_COUNT, topics);
    // The consumer reads from the first record that arrives, because the publisher does not answer requests.
    let mut consumer = cluster.role("consume", &with(&arguments, &["consumer/offset/reset=latest"]));
    let mut publisher =
        Process::role("raw-publish", &with(&arguments, &[&format!("tower={}", cluster.tower_sub)]));
    consumer.wait_for("warm");
    publisher.tell("go");
    per_second(std::slice::from_mut(&mut consumer), TOPIC_COUNT)
}

/// Measures a consumer of many topics. All producers of these topics are in one process.
fn consumed_from_producers(producers: u64) -> f64 {
    let cluster = Cluster::start(false);
    let arguments = arguments(SIZE, PRODUCERS_COUNT, producers);
    let mut consumer = cluster.role("consume", &arguments);
    let mut producer = cluster.role("produce", &with(&arguments, &WITHOUT_STORE));
    consumer.wait_for("warm");
    producer.tell("go");
    per_second(std::slice::from_mut(&mut consumer), PRODUCERS_COUNT)
}

pub(crate) fn measure_latency(table: &mut Table) {
    let rate = 1_000;
    let raw = Raw::start(1, &paced(rate)).latency();
    let mut add = |name: &str, ours: [f64; 2], raw: [f64; 2]| {
        for (i, percentile) in ["p50", "p99"].iter().enumerate() {
            table.add(&format!("{name}, {percentile}"), Unit::Microseconds, ours[i], Some(raw[i]));
        }
    };
    add("latency at 1,000/s, two processes", latency(rate), raw);
    add("latency at 1,000/s, one process", latency_within(rate), raw_latency_within(rate));
    add("publish to ACK at 1,000/s", ack_latency(rate), raw);
    let rate = 30_000;
    let raw = Raw::start(1, &paced(rate)).latency();
    add("latency at 30,000/s, two processes", latency(rate), raw);
}

fn paced(rate: u64) -> Vec<String> {
    with(&arguments(SIZE, rate * SECONDS, 1), &[&format!("rate={rate}")])
}

/// The latency from a producer to a consumer in another process.
fn latency(rate: u64) -> [f64; 2] {
    let cluster = Cluster::start(false);
    let mut consumer = cluster.role("consume", &paced(rate));
    let mut producer = cluster.role("produce", &with(&paced(rate), &WITHOUT_STORE));
    consumer.wait_for("warm");
    producer.tell("go");
    consumer.numbers("latency")
}

/// The latency from a producer to a consumer in the same process.
fn latency_within(rate: u64) -> [f64; 2] {
    let cluster = Cluster::start(false);
    let mut both = cluster.role("both", &with(&paced(rate), &WITHOUT_STORE));
    both.wait_for("warm");
    both.tell("go");
    both.numbers("latency")
}

fn raw_latency_within(rate: u64) -> [f64; 2] {
    let endpoint = format!("endpoint=tcp://{}", free_address());
    let mut both = Process::role("raw-both", &with(&paced(rate), &[&endpoint]));
    both.wait_for("warm");
    both.tell("go");
    both.numbers("latency")
}

/// The latency from the publication of a record to the ACK of a store that syncs.
fn ack_latency(rate: u64) -> [f64; 2] {
    let cluster = Cluster::start(true);
    let mut producer = cluster.role("produce", &with(&paced(rate), &["store=1"]));
    producer.wait_for("acked");
    producer.tell("go");
    producer.numbers("ack")
}
