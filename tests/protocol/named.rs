//! A consumer with a name: when its committed positions apply, and when it commits where a partition begins.

use crate::positions::{NAME, P, position};
use crate::rig::{ME, PARTITION, SUBSCRIBED, TOPIC, direct_head};
use crate::seek::{ALL, FIRST_MS, Peers, Sought, range};
use dafka::partition_name::PartitionName;
use dafka::protocol::consumer::positions::MAX_WAIT_MS;
use dafka::protocol::consumer::{Consumer, Start};
use dafka::protocol::ingest::Limits;
use dafka::wire::Message;

/// Nobody responds to a FETCH.
const NOBODY: Peers = Peers { has: &|_, _| false, ..ALL };
/// The time of the clock for positions, when the wait for the stores is over.
const LATER_MS: u64 = MAX_WAIT_MS + 1;

/// A consumer with a name and with a position, unless it is 0.
fn named(start: Start, next: u64) -> Sought {
    named_with(start, next, Limits::default())
}

fn named_with(start: Start, next: u64, limits: Limits) -> Sought {
    let mut sought = Sought::with(Consumer::new(ME, start, limits, 0).named(NAME, 100, 0));
    if next > 0 {
        sought.consumer.handle_position(&position(next, 1_000, b"A"), 0);
    }
    sought.consumer.handle_positions_timeout(MAX_WAIT_MS, &mut sought.out);
    assert!(!sought.consumer.is_waiting());
    sought
}

/// The offsets and the timestamps of the COMMITs that are due.
fn commits(sought: &mut Sought) -> Vec<(u64, u64)> {
    let mut commits = Vec::new();
    sought.consumer.handle_positions_timeout(LATER_MS, &mut sought.out);
    sought.out.drain(|frame, _| {
        if let Ok(Message::Commit { position, timestamp_ms, .. }) = Message::decode(frame) {
            commits.push((position.sequence, timestamp_ms));
        }
    });
    commits
}

#[test]
fn under_latest_a_committed_position_comes_first() {
    let mut sought = named(Start::Latest, 6);
    sought.take(direct_head(PARTITION, 9, b"STORE"), None);
    sought.serve(&ALL, 100);
    assert_eq!(sought.offsets(), range(6..10));
    assert_eq!(sought.fetches[0].0, 6, "the first record is not examined");
    assert_eq!(commits(&mut sought), []);
}

/// A commit of a start that may be wrong would hide records from the next consumer with this name.
#[test]
fn under_latest_a_start_is_committed_when_it_is_decided() {
    let old = Some(SUBSCRIBED.unix_ms - 60_000);
    let new = Some(SUBSCRIBED.unix_ms);
    for (first, timestamp_ms, expected) in [(0, new, 0), (0, old, 0), (5, new, 0), (5, old, 5)] {
        let mut sought = named(Start::Latest, 0);
        let timestamp = |_| timestamp_ms;
        let peers = Peers { timestamp_ms: &timestamp, ..ALL };
        sought.publish(&peers, PARTITION, first..7);
        sought.serve(&NOBODY, 1_000);
        let is_decided = first == 0;
        assert_eq!(commits(&mut sought).len(), usize::from(is_decided));
        sought.serve(&peers, 2_000);
        assert_eq!(sought.offsets(), range(expected..7));
        let expected = if is_decided { vec![] } else { vec![(expected, 0)] };
        assert_eq!(commits(&mut sought), expected);
    }
    // Nobody sends the first record.
    let mut sought = named(Start::Latest, 0);
    sought.publish(&ALL, PARTITION, 5..7);
    sought.serve(&NOBODY, 6_000);
    assert_eq!((sought.offsets(), commits(&mut sought)), (vec![5, 6], vec![(5, 0)]));
}

/// No store accepts it, so `dafka_consumer_commit` would always fail.
#[test]
fn under_latest_a_start_that_a_forged_head_determines_is_not_committed() {
    for (last, count) in [(6, 1), (u64::MAX - 1, 0)] {
        let mut sought = named(Start::Latest, 0);
        sought.head(PARTITION, last);
        sought.serve(&NOBODY, 6_000);
        assert_eq!(commits(&mut sought).len(), count);
        assert_eq!(sought.consumer.commits().0, count as u64);
    }
}

/// Only a forged record has the greatest offset. The commit of the position after it would never be confirmed.
#[test]
fn a_position_after_the_greatest_offset_is_not_committed() {
    let mut sought = named(Start::Earliest, 0);
    sought.consumer.commit(P, u64::MAX, 1_000, LATER_MS);
    assert_eq!((commits(&mut sought), sought.consumer.commits()), (vec![], (0, 0)));
}

#[test]
fn a_late_position_ends_the_doubt_when_a_partition_began() {
    let mut sought = named(Start::Latest, 0);
    sought.publish(&ALL, PARTITION, 8..10);
    sought.serve(&NOBODY, 1_000);
    sought.heads_requested = false;
    sought.consumer.handle_position(&position(6, 1_000, b"A"), LATER_MS);
    sought.serve(&NOBODY, 200);
    assert!(sought.heads_requested, "the records that had arrived were dropped");
    sought.head(PARTITION, 9);
    sought.serve(&ALL, 1_000);
    assert_eq!((sought.offsets(), commits(&mut sought)), (range(6..10), vec![]));

    // A partition that only stores have mentioned is closed when it turns out to be old.
    let mut sought = named(Start::Latest, 0);
    sought.take(direct_head(PARTITION, 9, b"STORE"), None);
    sought.serve(&ALL, 1_000);
    sought.consumer.handle_position(&position(6, 1_000, b"A"), LATER_MS);
    sought.take(direct_head(PARTITION, 9, b"STORE"), None);
    sought.serve(&ALL, 1_000);
    assert_eq!(sought.offsets(), range(6..10));
}

#[test]
fn after_a_seek_to_a_time_committed_positions_do_not_apply() {
    for (is_known, start) in [(false, Start::Earliest), (true, Start::Earliest), (true, Start::Latest)] {
        let mut sought = named(start, 6);
        if is_known {
            sought.head(PARTITION, 9);
        }
        assert!(sought.seek_time(TOPIC, FIRST_MS + 3));
        sought.head(PARTITION, 9);
        sought.consumer.handle_position(&position(8, 2_000, b"B"), LATER_MS);
        sought.serve(&ALL, 1_000);
        assert_eq!(sought.offsets(), range(3..10), "{start:?}");
        assert_eq!(commits(&mut sought), [], "a seek commits nothing");
        sought.consumer.commit(P, 4, 1_000, LATER_MS);
        assert_eq!(commits(&mut sought), [(4, 2_001)]);
    }
}

#[test]
fn after_a_seek_to_the_end_committed_positions_do_not_apply() {
    let old = Peers { timestamp_ms: &|_| Some(0), ..ALL };
    for is_known in [false, true] {
        let mut sought = named(Start::Earliest, 6);
        if is_known {
            sought.head(PARTITION, 9);
        }
        assert!(sought.seek_end(TOPIC));
        sought.publish(&old, PARTITION, 10..12);
        sought.consumer.handle_position(&position(8, 2_000, b"B"), LATER_MS);
        sought.serve(&old, 1_000);
        assert_eq!((sought.offsets(), commits(&mut sought)), (vec![10, 11], vec![]));
    }
    // A new subscription continues at the committed position.
    let mut sought = named(Start::Earliest, 6);
    sought.seek_end(TOPIC);
    assert!(sought.consumer.unsubscribe(TOPIC));
    assert!(sought.consumer.subscribe(TOPIC, SUBSCRIBED, &mut sought.out));
    sought.head(PARTITION, 9);
    sought.serve(&ALL, 1_000);
    assert_eq!(sought.offsets(), range(6..10));
}

#[test]
fn a_consumer_that_ignores_committed_positions_starts_as_it_would_without_them() {
    for (start, first) in [(Start::Earliest, 0), (Start::Offset(3), 3), (Start::Last(2), 8)] {
        let consumer = Consumer::new(ME, start, Limits::default(), 0).ignoring_committed();
        let mut sought = Sought::with(consumer.named(NAME, 100, 0));
        sought.consumer.handle_position(&position(6, 1_000, b"A"), 0);
        sought.consumer.handle_positions_timeout(MAX_WAIT_MS, &mut sought.out);
        sought.head(PARTITION, 9);
        sought.consumer.handle_position(&position(7, 2_000, b"B"), LATER_MS);
        sought.serve(&ALL, 1_000);
        assert_eq!(sought.offsets(), range(first..10), "{start:?}");
        assert_eq!(commits(&mut sought), [], "{start:?}: the start is not committed");
        // The next consumer with this name continues after the last record that this one has processed.
        sought.consumer.commit(P, first + 1, 1_000, LATER_MS);
        assert_eq!(commits(&mut sought), [(first + 1, 2_001)], "{start:?}");
    }
}

#[test]
fn an_evicted_partition_continues_where_this_consumer_has_stopped() {
    const OTHER: PartitionName = PartitionName { topic: TOPIC, producer: b"OTHER" };
    let limits = Limits { partitions: 1, partitions_per_peer: 1, ..Limits::default() };
    let mut sought = named_with(Start::Earliest, 3, limits);
    let read = |sought: &mut Sought, producer, end: u64| {
        sought.take(direct_head(producer, end - 1, b"STORE"), None);
        sought.serve(&ALL, 20_000);
        sought.offsets()
    };
    assert_eq!(read(&mut sought, PARTITION, 10), range(3..10));
    assert_eq!(read(&mut sought, OTHER.producer, 2), [0, 1]);
    // A commit of another consumer with this name, and one of this consumer.
    sought.consumer.handle_position(&position(5, 2_000, b"B"), LATER_MS);
    sought.consumer.commit(OTHER, 1, 1_000, LATER_MS);
    assert_eq!(read(&mut sought, PARTITION, 12), [10, 11]);
    assert_eq!(read(&mut sought, OTHER.producer, 3), [2]);
    // An evicted partition of a search continues with the search, and not at the committed position.
    sought.seek_time(TOPIC, FIRST_MS + 20);
    assert_eq!(read(&mut sought, PARTITION, 12), []);
    assert_eq!(read(&mut sought, OTHER.producer, 3), []);
    assert_eq!(read(&mut sought, PARTITION, 22), [20, 21]);
}
