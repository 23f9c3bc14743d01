//! A simulated consumer of libdafka 0.1.0 that checks what a store serves.

use super::{Partition, content};
use crate::e2e::{Cluster, DEADLINE, Program};
use crate::peer::{Node, direct_head, direct_record, fetch, get_heads, number_8_at, string_at};
use dafka::storage::{Log, Options, PartitionName};
use dafka::wire::batch::Record;
use std::path::Path;
use std::time::{Duration, Instant};

/// How long to wait before a request is repeated.
const PATIENCE: Duration = Duration::from_millis(500);

/// Starts a consumer, and waits until it has received a STORE-HELLO. Returns an error when the store ends before that.
fn consumer(cluster: &Cluster, store: &mut Program) -> Result<Node, String> {
    let mut consumer = Node::new(cluster);
    consumer.subscribe_to(b"DEL", &consumer.address);
    consumer.start_beacon();
    let start = Instant::now();
    while consumer.message_within(b"L", PATIENCE / 10).is_none() {
        if !store.is_running() {
            return Err(format!("the store has ended: {}", store.log()));
        }
        assert!(start.elapsed() < DEADLINE, "the store greets nobody: {}", store.log());
    }
    Ok(consumer)
}

/// The head of a partition, as the store reports it.
fn head_of(consumer: &mut Node, partition: &Partition, deadline: Duration) -> Option<u64> {
    let start = Instant::now();
    let prefix = direct_head(&consumer.address, &partition.address, &partition.subject, 0);
    let prefix = &prefix[..prefix.len() - 8];
    while start.elapsed() < deadline {
        consumer.send(&get_heads(&partition.subject, &consumer.address));
        if let Some(frames) = consumer.message_within(prefix, PATIENCE) {
            return Some(number_8_at(&frames[0], prefix.len()));
        }
    }
    None
}

/// Reads a partition from its first record to its last, and returns the number of records.
fn read(consumer: &mut Node, partition: &Partition, deadline: Duration) -> Result<u64, String> {
    let Partition { subject, address, number, acked } = partition;
    let name = format!("partition {number} of {subject}, acknowledged up to {acked:?}");
    let Some(head) = head_of(consumer, partition, if acked.is_some() { deadline } else { PATIENCE }) else {
        return if acked.is_some() { Err(format!("{name}: the store has no head")) } else { Ok(0) };
    };
    if acked.is_some_and(|acked| head < acked) {
        return Err(format!("{name}: the store has it only up to {head}"));
    }
    let mut next = 0;
    let mut last_heard = Instant::now();
    while next <= head {
        // The FETCH is repeated after a pause, because messages may be lost.
        let count = u32::try_from(head - next + 1).expect("not so many");
        consumer.send(&fetch(address, &consumer.address, subject, next, count));
        while next <= head
            && let Some(frames) = consumer.message_within(b"D", PATIENCE)
        {
            last_heard = Instant::now();
            if frames.len() != 2 || string_at(&frames[0], 1 + consumer.address.len() + 2) != *address {
                continue;
            }
            let sequence = number_8_at(&frames[0], frames[0].len() - 8);
            if sequence < next {
                continue;
            }
            let expected = direct_record(&consumer.address, address, subject, next);
            if frames[0] != expected {
                return Err(format!("{name}: {} instead of {next}", frames[0].escape_ascii()));
            }
            if frames[1] != content(*number, next) {
                return Err(format!("{name}: record {next} has the wrong content"));
            }
            next += 1;
        }
        if last_heard.elapsed() > deadline {
            return Err(format!("{name}: the store has told {head}, but does not serve {next}"));
        }
    }
    Ok(head + 1)
}

/// Checks that the store of this cluster serves all acknowledged records, and that each record it serves has the right
/// content. Returns the number of records that it serves.
pub(crate) fn check_served(
    cluster: &Cluster,
    store: &mut Program,
    partitions: &[Partition],
    deadline: Duration,
) -> Result<u64, String> {
    let mut consumer = consumer(cluster, store)?;
    let served = partitions.iter().map(|partition| read(&mut consumer, partition, deadline)).sum();
    if !store.is_running() {
        return Err(format!("the store has ended: {}", store.log()));
    }
    served
}

/// As [`check_served`], but fails the test when a check fails.
#[track_caller]
pub(crate) fn served(cluster: &Cluster, store: &mut Program, partitions: &[Partition]) -> u64 {
    check_served(cluster, store, partitions, DEADLINE).unwrap_or_else(|error| panic!("{error}"))
}

/// Checks that a log has all acknowledged records, and that each has the right content. Returns the number of records.
#[track_caller]
pub(crate) fn check_log(dir: &Path, partitions: &[Partition]) -> u64 {
    let log = Log::open(dir, Options::default()).unwrap_or_else(|error| panic!("{error}"));
    let mut count = 0;
    for Partition { subject, address, number, acked } in partitions {
        let name = PartitionName { topic: subject.as_bytes(), producer: address.as_bytes() };
        let found = log.find(name).unwrap_or_else(|error| panic!("{error}"));
        let end = found.map_or(0, |partition| partition.next);
        assert!(
            end >= acked.map_or(0, |acked| acked + 1),
            "{end} records of {number}, {acked:?} was acknowledged"
        );
        let mut next = 0;
        while next < end {
            let from = next;
            let mut each = |offset, record: Record| {
                assert_eq!(offset, next);
                assert!(record.content == content(*number, offset), "record {offset} of {number}");
                next += 1;
                true
            };
            let read = log.read(name, from, u64::MAX, 1 << 24, &mut each);
            assert!(read.unwrap_or_else(|error| panic!("{error}")) > 0);
        }
        count += end;
    }
    count
}
