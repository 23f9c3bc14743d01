//! What committed positions and attributes cost: streams with them beside streams without them.

use crate::cluster::Cluster;
use crate::process::Process;
use crate::raw::per_second;
use crate::streams::{arguments, with};
use crate::table::{Table, Unit};

/// The length of the records in bytes, and how many of them one measurement sends.
const SIZE: u64 = 100;
const COUNT: u64 = 5_000_000;

const NAMED: &str = "consumer/name=bench";

/// The rows: the options of the producer, and those of the consumer.
const ROWS: [(&str, &[&str], &[&str]); 4] = [
    ("a consumer with a name, a commit every 1,000 ms", &[], &[NAMED, "consumer/commit_interval=1000"]),
    ("a consumer with a name, a commit every 10 ms", &[], &[NAMED, "consumer/commit_interval=10"]),
    ("records with timestamps of the program", &["timestamp=1"], &[]),
    ("records with timestamps of the program and keys of 8 bytes", &["timestamp=1", "key=8"], &[]),
];

/// Measures each row between two streams without options.
pub(crate) fn measure(table: &mut Table) {
    let mut before = Stream::measure(&[], &[]);
    for (name, of_producer, of_consumer) in ROWS {
        let ours = Stream::measure(of_producer, of_consumer);
        let after = Stream::measure(&[], &[]);
        let mut add = |name: &str, unit, value: fn(&Stream) -> f64| {
            table.add(name, unit, value(&ours), Some((value(&before) + value(&after)) / 2.0));
        };
        add(name, Unit::RecordsPerSecond, |stream| stream.consumed);
        add(&format!("{name}: processor time"), Unit::Nanoseconds, |stream| stream.processor_ns);
        before = after;
    }
}

/// A stream of a producer, a store and a consumer.
struct Stream {
    /// Records per second that the consumer received.
    consumed: f64,
    /// The processor time of all three processes for one record.
    processor_ns: f64,
}

impl Stream {
    fn measure(of_producer: &[&str], of_consumer: &[&str]) -> Stream {
        let cluster = Cluster::start(true);
        let store = cluster.store.as_ref().expect("the store");
        let arguments = arguments(SIZE, COUNT, 1);
        let mut consumer = cluster.role("consume", &with(&arguments, of_consumer));
        let of_producer = with(&with(&arguments, &["store=1", "end=1"]), of_producer);
        let mut producer = cluster.role("produce", &of_producer);
        producer.wait_for("acked");
        consumer.wait_for("warm");
        let seconds = |producer: &Process, consumer: &Process| -> f64 {
            [producer, consumer, store].iter().map(|process| process.processor_seconds()).sum()
        };
        let before = seconds(&producer, &consumer);
        producer.tell("go");
        producer.wait_for("ended");
        let consumed = per_second(std::slice::from_mut(&mut consumer), COUNT);
        let processor_ns = (seconds(&producer, &consumer) - before) * 1e9 / COUNT as f64;
        Stream { consumed, processor_ns }
    }
}
