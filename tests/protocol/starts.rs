//! Where a consumer starts: at an offset, at a time, or at the last records. And when it has read all that is there.

use crate::rig::{PARTITION, SUBSCRIBED, TOPIC, direct_head};
use crate::seek::{ALL, FIRST_MS, Peers, Sought, moment, range};
use dafka::protocol::consumer::Start;
use dafka::wire::{Subscription, id};

/// The records of a partition that begins with the subscription.
const NEW: Peers = Peers { timestamp_ms: &|offset| Some(SUBSCRIBED.unix_ms + offset as i64), ..ALL };
const NOBODY: Peers = Peers { has: &|_, _| false, ..ALL };

/// The consumer first hears of a partition of `count` records: from a store, by a HEAD, or by its last record.
fn mention(sought: &mut Sought, peers: &Peers, kind: u64, count: u64) {
    match kind {
        0 => sought.take(direct_head(PARTITION, count - 1, b"STORE"), None),
        1 => sought.head(PARTITION, count - 1),
        _ => sought.publish(peers, PARTITION, count - 1..count),
    }
}

#[test]
fn of_an_older_partition_the_last_records_are_read() {
    for (kind, count, last) in (0..3).flat_map(|kind| {
        [1, 2, 3, 10, 1_000]
            .into_iter()
            .flat_map(move |count| [1, 2, 5, 999, u64::MAX].map(|last| (kind, count, last)))
    }) {
        let mut sought = Sought::new(Start::Last(last));
        mention(&mut sought, &ALL, kind, count);
        sought.serve(&ALL, 100);
        // A record that is published now counts as a new one.
        let old_count = if kind == 2 { count - 1 } else { count };
        let first = old_count.saturating_sub(last);
        assert_eq!(sought.offsets(), range(first..count), "{kind}, {last} of {count}");
        sought.publish(&ALL, PARTITION, count..count + 2);
        assert_eq!(sought.offsets(), [count, count + 1], "{kind}, {last} of {count}");
        // Only the first record, and what is delivered.
        let fetched: u64 = sought.fetches.iter().map(|fetch| u64::from(fetch.1)).sum();
        assert!(fetched <= old_count.min(last) + 1, "{kind}, {last} of {count}: {:?}", sought.fetches);
    }
}

#[test]
fn a_partition_that_begins_later_is_read_from_its_first_record() {
    for (kind, count) in (0..3).flat_map(|kind| [1, 2, 10, 100].map(|count| (kind, count))) {
        let mut sought = Sought::new(Start::Last(2));
        mention(&mut sought, &NEW, kind, count);
        sought.serve(&NEW, 100);
        assert_eq!(sought.offsets(), range(0..count), "{kind}, {count}");
    }
    // The first batch of a producer is long.
    let mut sought = Sought::new(Start::Last(2));
    sought.publish(&NEW, PARTITION, 0..10);
    assert_eq!(sought.offsets(), range(0..10));
}

#[test]
fn messages_that_arrive_before_the_start_is_decided_do_not_hide_records() {
    let mut sought = Sought::new(Start::Last(3));
    // The first store is behind. The producer continues.
    sought.take(direct_head(PARTITION, 19, b"BEHIND"), None);
    sought.take(direct_head(PARTITION, 29, b"STORE"), None);
    sought.publish(&ALL, PARTITION, 30..32);
    assert_eq!(sought.offsets(), [0; 0]);
    assert_eq!(sought.consumer.lag(TOPIC), 32 - 17);
    sought.serve(&ALL, 100);
    assert_eq!(sought.offsets(), range(17..32));
}

#[test]
fn a_start_offset_holds_for_all_partitions() {
    let mut sought = Sought::new(Start::Offset(3));
    let published = |sought: &mut Sought, producer: &[u8], range| {
        sought.publish(&ALL, producer, range);
        sought.offsets()
    };
    assert_eq!(published(&mut sought, b"NEW", 0..5), [3, 4]);
    assert_eq!(published(&mut sought, b"NEW", 5..6), [5]);
    // These partitions do not have the record yet.
    sought.take(direct_head(b"SHORT", 1, b"STORE"), None);
    sought.head(b"ENDS BEFORE", 2);
    sought.serve(&ALL, 1_000);
    assert_eq!((sought.offsets(), &sought.fetches), (vec![], &vec![]));
    assert_eq!(published(&mut sought, b"ENDS BEFORE", 3..5), [3, 4]);
    assert_eq!(published(&mut sought, b"SHORT", 2..3), [0; 0]);
    assert_eq!(published(&mut sought, b"SHORT", 3..4), [3]);
    sought.take(direct_head(PARTITION, 9, b"STORE"), None);
    sought.serve(&ALL, 100);
    assert_eq!((sought.offsets(), &sought.fetches), (range(3..10), &vec![(3, 7)]));
    // A subscription can also start at a time.
    let mut sought = Sought::new(Start::Time(FIRST_MS + 50));
    sought.take(direct_head(PARTITION, 99, b"STORE"), None);
    sought.serve(&ALL, 100);
    assert_eq!(sought.offsets(), range(50..100));
}

#[test]
fn a_seek_can_have_each_start() {
    for (start, first) in [
        (Start::Earliest, 0),
        (Start::Offset(3), 3),
        (Start::Offset(12), 10),
        (Start::Last(4), 6),
        (Start::Last(11), 0),
        (Start::Latest, 10),
    ] {
        let mut sought = Sought::new(Start::Earliest);
        sought.publish(&ALL, PARTITION, 0..10);
        assert_eq!(sought.offsets(), range(0..10));
        assert!(sought.consumer.seek_all(TOPIC, start, moment(0)));
        sought.head(PARTITION, 9);
        sought.serve(&ALL, 100);
        assert_eq!(sought.offsets(), range(first..10), "{start:?}");
    }
}

/// What [`Consumer::left`](dafka::protocol::consumer::Consumer::left) returns after `for_ms`, in which the application has
/// called it several times a second.
fn left(sought: &mut Sought, peers: &Peers, for_ms: u64) -> Option<u64> {
    let until_ms = sought.now_ms + for_ms;
    while sought.now_ms < until_ms {
        sought.serve(peers, 100.min(until_ms - sought.now_ms));
        sought.consumer.left(TOPIC, b"", sought.now_ms);
    }
    sought.consumer.left(TOPIC, b"", sought.now_ms)
}

#[test]
fn the_end_is_known_after_a_time_without_news() {
    // Without any partition, the consumer waits for 5 s.
    let mut sought = Sought::new(Start::Earliest);
    assert_eq!(left(&mut sought, &ALL, 4_900), None);
    assert_eq!(left(&mut sought, &ALL, 100), Some(0));
    // A later peer or partition is news.
    let connected = Subscription { subscribe: true, id: id::GET_HEADS, topic: b"", is_exact: false };
    sought.consumer.handle_subscription(&connected, sought.now_ms, &mut dafka::protocol::Outbox::new());
    assert_eq!(left(&mut sought, &ALL, 4_900), None);
    sought.take(direct_head(PARTITION, 9, b"STORE"), None);
    assert_eq!(left(&mut sought, &NOBODY, 1_900), None);
    assert_eq!(left(&mut sought, &NOBODY, 100), Some(10));
    assert_eq!(sought.consumer.left(TOPIC, PARTITION, sought.now_ms), Some(10));
    assert_eq!(sought.consumer.left(TOPIC, b"OTHER", sought.now_ms), Some(0));
    assert_eq!(left(&mut sought, &ALL, 3_000), Some(0));
    // Another message about the same partition is none.
    sought.take(direct_head(PARTITION, 19, b"STORE"), None);
    assert_eq!(sought.consumer.left(TOPIC, b"", sought.now_ms), Some(10));
    assert_eq!(left(&mut sought, &ALL, 100), Some(0));
    // Producers that start again and again do not prolong the wait for ever.
    let mut longest_ms = 0;
    let begun_ms = sought.now_ms;
    for number in 0..100_u64 {
        sought.take(direct_head(&number.to_be_bytes(), 0, b"STORE"), None);
        if left(&mut sought, &ALL, 1_000).is_none() {
            longest_ms = sought.now_ms - begun_ms;
        }
    }
    assert!((40_000..62_000).contains(&longest_ms), "{longest_ms}");
    // While the process was stopped, messages may have arrived that it has not read.
    let mut sought = Sought::new(Start::Earliest);
    assert_eq!(left(&mut sought, &ALL, 1_000), None);
    sought.now_ms += 60_000;
    assert_eq!(sought.consumer.left(TOPIC, b"", sought.now_ms), None);
}

#[test]
fn there_is_no_end_while_a_start_is_not_decided() {
    for start in [Start::Latest, Start::Last(2), Start::Time(FIRST_MS + 5)] {
        for kind in 0..3 {
            let mut sought = Sought::new(start);
            mention(&mut sought, &ALL, kind, 10);
            let is_at_end = left(&mut sought, &NOBODY, 4_000) == Some(0);
            assert!(!is_at_end, "{start:?}, {kind}");
            // The store returns.
            sought.take(direct_head(PARTITION, 9, b"STORE"), None);
            assert_eq!(left(&mut sought, &ALL, 3_000), Some(0), "{start:?}, {kind}");
            let (last, delivered) = (sought.delivered.last(), sought.delivered.len());
            assert!(start == Start::Latest || last.is_some_and(|(_, offset)| *offset == 9), "{delivered}");
        }
    }
}
