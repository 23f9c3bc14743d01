//! Streams of one producer, one store and one consumer: throughput, and the memory of the processes.

use crate::cluster::Cluster;
use crate::memory::{Peak, Watch};
use crate::peers;
use crate::process::Process;
use crate::raw::{Raw, per_second};
use crate::table::{Table, Unit, grouped};
use crate::{Part, Parts};

/// The length of the records in bytes, and how many of them one measurement sends.
const SIZES: [(u64, u64); 3] = [(100, 1_500_000), (1_000, 500_000), (10_000, 60_000)];

/// Settings of producers without a store. The producers must neither wait for ACKs nor stop at a limit of
/// unacknowledged records.
pub(crate) const WITHOUT_STORE: [&str; 2] = ["producer/terminate_unacked=1", "producer/max_unacked_bytes=0"];

/// The arguments of all roles of a stream.
pub(crate) fn arguments(size: u64, count: u64, topics: u64) -> Vec<String> {
    let reset = "consumer/offset/reset=earliest".to_owned();
    vec![format!("size={size}"), format!("count={count}"), format!("topics={topics}"), reset]
}

/// `arguments`, followed by `more`.
pub(crate) fn with(arguments: &[String], more: &[&str]) -> Vec<String> {
    arguments.iter().cloned().chain(more.iter().map(|&more| more.to_owned())).collect()
}

pub(crate) fn measure(parts: &Parts, with_peers: bool, table: &mut Table) {
    for (size, count) in SIZES {
        let raw = parts.has(Part::Throughput).then(|| {
            let raw = Raw::start(1, &arguments(size, count, 1)).throughput(count);
            eprintln!("raw libzmq, {size} bytes: {raw:.0}/s");
            raw
        });
        let bytes = grouped(size);
        let (stream, replay) = durable(size, count);
        if let Some(raw) = raw {
            let mut add = |name: &str, value| {
                table.add(&format!("{name}, {bytes} bytes"), Unit::RecordsPerSecond, value, Some(raw));
            };
            add("acknowledged", stream.acknowledged);
            add("consumed live", stream.consumed);
            add("replayed from a store", replay.consumed);
            add("store alone", acknowledged_alone(size, count));
            add("producer alone", published_alone(size, count));
            if with_peers {
                measure_peers(size, count, raw, table);
            }
        }
        if parts.has(Part::Memory) {
            let mut add = |name: &str, peak: Peak| {
                table.add(&format!("{name}, {bytes} bytes, anonymous"), Unit::Bytes, peak.anonymous, None);
                table.add(&format!("{name}, {bytes} bytes, resident"), Unit::Bytes, peak.resident, None);
            };
            for (name, peak) in ["producer", "store", "consumer"].iter().zip(stream.peaks) {
                add(&format!("memory of the {name}"), peak);
            }
            for (name, peak) in ["store", "consumer"].iter().zip(replay.peaks) {
                add(&format!("memory of the {name} in replay"), peak);
            }
        }
    }
}

fn measure_peers(size: u64, count: u64, raw: f64, table: &mut Table) {
    for (name, outcome) in peers::measure(size, count) {
        match outcome {
            Ok(rate) => {
                let name = format!("{name}, acknowledged, {} bytes", grouped(size));
                table.add(&name, Unit::RecordsPerSecond, rate, Some(raw));
            }
            Err(why) => table.note(format!("{name}: not measured. {why}")),
        }
    }
}

/// Records per second, and the peak memory, while records were published.
struct Stream {
    acknowledged: f64,
    consumed: f64,
    /// The peaks of producer, store and consumer.
    peaks: Vec<Peak>,
}

/// Records per second, and the peak memory, while a consumer read all records from the store.
struct Replay {
    consumed: f64,
    /// The peaks of store and consumer.
    peaks: Vec<Peak>,
}

/// Measures a producer, a store and a consumer. When the producer has ended, measures another consumer that reads all
/// records from the store.
fn durable(size: u64, count: u64) -> (Stream, Replay) {
    let cluster = Cluster::start(true);
    let store = cluster.store.as_ref().expect("the store");
    let arguments = arguments(size, count, 1);
    let mut consumer = cluster.role("consume", &arguments);
    let mut producer = cluster.role("produce", &with(&arguments, &["store=1", "end=1"]));
    producer.wait_for("acked");
    consumer.wait_for("warm");
    let watch = Watch::start(&[&producer, store, &consumer]);
    producer.tell("go");
    let acknowledged = rate_of(&mut producer, "ended", count);
    let consumed = per_second(std::slice::from_mut(&mut consumer), count);
    let stream = Stream { acknowledged, consumed, peaks: watch.end() };
    drop((producer, consumer));

    let mut consumer = cluster.role("consume", &arguments);
    let watch = Watch::start(&[store, &consumer]);
    let consumed = per_second(std::slice::from_mut(&mut consumer), count);
    (stream, Replay { consumed, peaks: watch.end() })
}

/// A producer and a store, without a consumer: acknowledged records per second.
fn acknowledged_alone(size: u64, count: u64) -> f64 {
    let cluster = Cluster::start(true);
    let mut producer = cluster.role("produce", &with(&arguments(size, count, 1), &["store=1", "end=1"]));
    producer.wait_for("acked");
    producer.tell("go");
    rate_of(&mut producer, "ended", count)
}

/// A producer without receivers: published records per second.
fn published_alone(size: u64, count: u64) -> f64 {
    let cluster = Cluster::start(false);
    let arguments = with(&with(&arguments(size, count, 1), &WITHOUT_STORE), &["end=1"]);
    let mut producer = cluster.role("produce", &arguments);
    producer.wait_for("ready");
    producer.tell("go");
    rate_of(&mut producer, "ended", count)
}

/// Waits until the process prints a line with seconds, and returns the records per second.
fn rate_of(process: &mut Process, word: &str, count: u64) -> f64 {
    let [seconds] = process.numbers(word);
    count as f64 / seconds
}
