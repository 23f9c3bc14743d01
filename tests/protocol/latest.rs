//! Under `latest`: partitions that began after the subscription are read from their first record, and others are not.

use crate::UNKNOWN;
use crate::rig::{ME, PARTITION, SUBSCRIBED, TOPIC, direct, direct_head, head, record};
use crate::run::{Content, Record, Run};
use dafka::partition_name::PartitionName;
use dafka::protocol::Outbox;
use dafka::protocol::consumer::{Consumer, Delivery, Start};
use dafka::protocol::ingest::{Limits, Statistics};
use dafka::protocol::notice::Notice;
use dafka::wire::Message;
use std::ops::Range;

/// Before the subscription by more than any tolerance, in milliseconds since the Unix epoch.
const BEFORE: i64 = SUBSCRIBED.unix_ms - 10_001;
/// At the subscription.
const AFTER: i64 = SUBSCRIBED.unix_ms;

/// A consumer of one topic.
struct Latest {
    consumer: Consumer<Run>,
    out: Outbox<Run>,
}

fn run(range: Range<u64>) -> Run {
    stamped(range, None)
}

/// Records with this timestamp.
fn stamped(range: Range<u64>, timestamp_ms: impl Into<Option<i64>>) -> Run {
    let timestamp_ms = timestamp_ms.into();
    let record = |offset: u64| Record { timestamp_ms, ..Content::from(offset.to_be_bytes()).into() };
    Run::from(range.map(record).collect::<Vec<_>>())
}

impl Latest {
    fn new() -> Latest {
        Latest::with(Limits::default())
    }

    fn with(limits: Limits) -> Latest {
        let mut consumer = Consumer::new(ME, Start::Latest, limits, 0);
        let mut out = Outbox::new();
        assert!(consumer.subscribe(TOPIC, SUBSCRIBED, &mut out));
        out.drain(|_, _| {});
        Latest { consumer, out }
    }

    /// Passes a message to the consumer, and returns the offsets that it delivers.
    fn take(&mut self, message: Message, content: Option<Run>, now_ms: u64) -> Vec<u64> {
        let mut deliveries: Vec<Delivery<Run>> = Vec::new();
        self.consumer.handle_message(&message, content, UNKNOWN, now_ms, &mut self.out, &mut deliveries);
        offsets(&deliveries)
    }

    /// Calls the consumer at `from_ms`, and then whenever something is due before `until_ms`. Returns the offsets that it
    /// delivers, with the time.
    fn wait(&mut self, from_ms: u64, until_ms: u64) -> Vec<(u64, Vec<u64>)> {
        let (mut delivered, mut now_ms) = (Vec::new(), from_ms);
        while now_ms < until_ms {
            let mut deliveries: Vec<Delivery<Run>> = Vec::new();
            self.consumer.handle_timeout(now_ms, &mut self.out, &mut deliveries);
            if !deliveries.is_empty() {
                delivered.push((now_ms, offsets(&deliveries)));
            }
            now_ms = self.consumer.due_ms().max(now_ms + 1);
        }
        delivered
    }

    /// The response to a FETCH.
    fn answer(&mut self, range: Range<u64>, timestamp_ms: i64, now_ms: u64) -> Vec<u64> {
        self.take(direct(PARTITION, range.start), Some(stamped(range, timestamp_ms)), now_ms)
    }

    /// The FETCHes that are due: the first record, the number of records, and the store. No record must be delivered.
    fn fetches(&mut self, now_ms: u64) -> Vec<(u64, u32, String)> {
        assert_eq!(self.wait(now_ms, now_ms + 1), []);
        let mut fetches = Vec::new();
        self.out.drain(|frame, _| {
            if let Ok(Message::Fetch { sequence, count, store, takes_batches, .. }) = Message::decode(frame) {
                assert_eq!(takes_batches, (sequence, count) != (0, 1), "the first record is requested alone");
                fetches.push((sequence, count, String::from_utf8_lossy(store).into_owned()));
            }
        });
        fetches
    }

    /// The partitions of the FETCHes that are due.
    fn asked_partitions(&mut self, now_ms: u64) -> Vec<String> {
        assert_eq!(self.wait(now_ms, now_ms + 1), []);
        let mut partitions = Vec::new();
        self.out.drain(|frame, _| {
            if let Ok(Message::Fetch { topic, .. }) = Message::decode(frame) {
                partitions.push(String::from_utf8_lossy(topic).into_owned());
            }
        });
        partitions
    }

    fn statistics(&self) -> Statistics {
        self.consumer.statistics()
    }
}

fn offsets(deliveries: &[Delivery<Run>]) -> Vec<u64> {
    deliveries.iter().flat_map(|of| of.offset..of.offset + of.content.contents().count() as u64).collect()
}

/// A message that mentions a partition first, and the offsets that are delivered if the partition is old.
fn mentions() -> [(Message<'static>, Option<Run>, &'static [u64]); 3] {
    [
        (record(PARTITION, 5), Some(run(5..7)), &[5, 6]),
        (head(PARTITION, 6), None, &[]),
        (direct_head(PARTITION, 6, b"STORE"), None, &[]),
    ]
}

#[test]
fn a_partition_that_began_after_the_subscription_is_read_from_its_first_record() {
    for (message, content, _) in mentions() {
        let mut latest = Latest::new();
        assert_eq!(latest.take(message, content.clone(), 10), [0; 0]);
        let asked = latest.fetches(10);
        assert!(matches!(&asked[..], [(0, 1, _)]), "{message:?}: {asked:?}");
        assert_eq!(latest.answer(0..1, AFTER, 20), [0], "{message:?}");
        assert_eq!(latest.fetches(20).iter().map(|asked| asked.0).collect::<Vec<_>>(), [1], "{message:?}");
        let rest: Vec<u64> = (1..7).collect();
        assert_eq!(latest.answer(1..7, AFTER, 30), rest, "{message:?}");
        assert_eq!((latest.fetches(40), latest.statistics().presumed_old), (vec![], 0));
    }
}

#[test]
fn of_an_older_partition_only_new_records_are_read() {
    for (message, content, expected) in mentions() {
        let mut latest = Latest::new();
        latest.take(message, content.clone(), 10);
        latest.fetches(10);
        assert_eq!(latest.answer(0..3, BEFORE, 20), expected, "{message:?}");
        assert_eq!(latest.fetches(20), [], "{message:?}");
        assert_eq!(latest.take(record(PARTITION, 7), Some(run(7..8)), 30), [7], "{message:?}");
        assert_eq!(latest.fetches(40), [], "{message:?}");
    }
    // The batch with the first record may contain new ones.
    let mut latest = Latest::new();
    latest.take(head(PARTITION, 2), None, 10);
    latest.take(record(PARTITION, 5), Some(run(5..6)), 10);
    assert_eq!(latest.answer(0..5, BEFORE, 20), [3, 4, 5]);
}

#[test]
fn a_store_is_asked_once_for_each_older_partition() {
    let mut latest = Latest::new();
    for round in 1..4 {
        latest.take(direct_head(PARTITION, 6, b"STORE"), None, round * 10_000);
        let asked = latest.fetches(round * 10_000).len();
        assert_eq!(asked, usize::from(round == 1));
        // A late response has no effect.
        assert_eq!(latest.answer(0..3, BEFORE, round * 10_000 + 1), [0; 0]);
        assert_eq!(latest.statistics().partitions, 0);
    }
    // Its producer may continue.
    assert_eq!(latest.take(head(PARTITION, 8), None, 50_000), [0; 0]);
    assert_eq!(latest.take(record(PARTITION, 9), Some(run(9..10)), 50_000), [9]);
    assert_eq!(latest.fetches(50_001), []);
}

#[test]
fn the_first_record_of_a_live_producer_shows_that_its_partition_is_new() {
    let mut latest = Latest::new();
    assert_eq!(latest.take(record(PARTITION, 0), Some(run(0..2)), 10), [0, 1]);
    // Also after a HEAD, for example when the record came over another connection.
    let mut latest = Latest::new();
    latest.take(head(PARTITION, 1), None, 10);
    assert_eq!(latest.take(record(PARTITION, 0), Some(run(0..2)), 10), [0, 1]);
}

#[test]
fn a_partition_whose_first_record_ends_connections_counts_as_older() {
    let mut latest = Latest::new();
    let mut fetch_count = 0;
    for now_ms in (0..2_000_000).step_by(100_000) {
        latest.take(direct_head(PARTITION, 6, b"STORE"), None, now_ms);
        fetch_count += latest.fetches(now_ms).len();
        latest.consumer.handle_given_up(now_ms + 1);
        fetch_count += latest.fetches(now_ms + 10_000).len();
    }
    assert_eq!((latest.statistics().partitions, latest.statistics().presumed_old), (0, 1));
    assert!((6..=12).contains(&fetch_count), "{fetch_count}");
    // Its new records are delivered.
    latest.take(record(PARTITION, 7), Some(run(7..8)), 3_000_000);
    assert_eq!(latest.take(record(PARTITION, 8), Some(run(8..9)), 3_000_001), [8]);
}

#[test]
fn a_seek_ends_the_doubt_when_a_partition_began() {
    for (message, content, _) in mentions() {
        let mut latest = Latest::new();
        latest.take(message, content.clone(), 10);
        assert_eq!(latest.fetches(10).len(), 1);
        let name = PartitionName { topic: TOPIC, producer: PARTITION };
        assert!(latest.consumer.seek(name, 3, 10));
        // The response to the first FETCH, and records that arrived before, have no effect any more.
        assert_eq!(latest.answer(0..1, BEFORE, 20), [0; 0], "{message:?}");
        latest.take(direct_head(PARTITION, 6, b"STORE"), None, 30);
        assert_eq!(latest.fetches(30).iter().map(|asked| asked.0).collect::<Vec<_>>(), [3], "{message:?}");
        assert_eq!(latest.answer(3..6, BEFORE, 40), [3, 4, 5], "{message:?}");
        assert_eq!(latest.take(head(PARTITION, 6), None, 10_000), [0; 0]);
        assert_eq!(latest.answer(6..7, BEFORE, 10_010), [6], "{message:?}");
        assert_eq!(latest.statistics().presumed_old, 0);
    }
}

#[test]
fn clocks_may_differ_by_a_tenth_of_the_time_since_the_subscription() {
    for (heard_ms, tolerance_ms) in [(0, 0), (50, 5), (20_000, 2_000), (1_000_000, 10_000)] {
        for (late_ms, is_read) in [(0, true), (1, false)] {
            let mut latest = Latest::new();
            latest.take(direct_head(PARTITION, 1, b"STORE"), None, heard_ms);
            // The time of the response does not matter.
            let delivered = latest.answer(0..2, AFTER - tolerance_ms - late_ms, heard_ms + 9_000);
            assert_eq!(!delivered.is_empty(), is_read, "{heard_ms}");
        }
    }
}

#[test]
fn a_consumer_whose_clock_is_behind_reads_no_old_partitions() {
    // A timestamp may be in the future by a minute, because the clocks of the hosts may differ.
    for (uptime_ms, ahead_ms, is_read) in
        [(0, 60_000, true), (0, 60_001, false), (3_600_000, 3_660_000, true), (3_600_000, 3_660_001, false)]
    {
        for is_live in [false, true] {
            let mut latest = Latest::new();
            latest.consumer.handle_uptime(uptime_ms);
            match is_live {
                true => latest.take(record(PARTITION, 1), Some(run(1..2)), 10),
                false => latest.take(direct_head(PARTITION, 1, b"STORE"), None, 10),
            };
            let delivered = latest.answer(0..1, AFTER + ahead_ms, 20);
            assert_eq!(delivered.contains(&0), is_read, "{uptime_ms} {ahead_ms}");
            assert_eq!(delivered.contains(&1), is_live, "{uptime_ms} {ahead_ms}");
        }
    }
}

#[test]
fn a_partition_whose_first_record_nobody_sends_counts_as_older_after_5_s() {
    // The producer ends after record 5. Nobody has record 0.
    let mut latest = Latest::new();
    assert_eq!(latest.take(record(PARTITION, 5), Some(run(5..6)), 1_000), [0; 0]);
    assert_eq!(latest.wait(1_000, 120_000), [(6_000, vec![5])]);
    assert_eq!(latest.statistics().presumed_old, 1);
    let partition = PartitionName { topic: TOPIC, producer: PARTITION }.to_buf();
    assert_eq!(latest.consumer.poll_notice(120_000), Some(Notice::PresumedOld { partition }));
    assert_eq!(latest.consumer.poll_notice(120_000), None);
    // The first record has no effect any more, and a new record needs no wait.
    assert_eq!(latest.answer(0..1, AFTER, 120_000), [0; 0]);
    assert_eq!(latest.take(record(PARTITION, 6), Some(run(6..7)), 120_001), [6]);
    // Further messages, from a producer with a long or short `producer/head_interval`, do not change the time.
    for interval_ms in [300, 4_000, 60_000] {
        let mut latest = Latest::new();
        latest.take(record(PARTITION, 5), Some(run(5..6)), 0);
        let mut delivered = Vec::new();
        for now_ms in (0..120_000).step_by(interval_ms) {
            assert_eq!(latest.take(head(PARTITION, 5), None, now_ms), [0; 0]);
            delivered.extend(latest.wait(now_ms, now_ms + interval_ms as u64));
        }
        assert_eq!(delivered, [(5_000, vec![5])], "{interval_ms}");
    }
}

#[test]
fn a_store_that_has_a_partition_gets_more_time_to_send_its_first_record() {
    for told_ms in [0, 4_000] {
        let mut latest = Latest::new();
        latest.take(record(PARTITION, 4), Some(run(4..5)), 0);
        assert_eq!(latest.wait(0, told_ms), []);
        latest.take(direct_head(PARTITION, 4, b"STORE"), None, told_ms);
        assert_eq!(latest.wait(told_ms, 120_000), [(30_000, vec![4])]);
    }
    // Without a message of the producer, the consumer waits for the stores.
    let mut latest = Latest::new();
    for now_ms in (0..600_000).step_by(10_000) {
        latest.take(direct_head(PARTITION, 1, b"STORE"), None, now_ms);
        assert_eq!(latest.wait(now_ms, now_ms + 10_000), []);
    }
    assert_eq!(latest.answer(0..2, AFTER, 600_000), [0, 1]);
}

#[test]
fn time_in_which_a_consumer_does_not_read_does_not_count() {
    // While the process is stopped, the response may arrive. The time counts as half a second.
    let mut latest = Latest::new();
    latest.take(record(PARTITION, 5), Some(run(5..6)), 0);
    assert_eq!(latest.wait(0, 1), []);
    assert_eq!(latest.wait(60_000, 120_000), [(64_500, vec![5])]);
    // Nor does the time after the arrival of an unread message count.
    let mut latest = Latest::new();
    latest.take(record(PARTITION, 5), Some(run(5..6)), 0);
    latest.consumer.handle_unread(Some(2_000));
    assert_eq!((0..120).flat_map(|i| latest.wait(i * 500, i * 500 + 1)).collect::<Vec<_>>(), []);
    latest.consumer.handle_unread(None);
    assert_eq!(latest.wait(60_000, 120_000), [(62_500, vec![5])]);
}

#[test]
fn during_a_pause_a_partition_stays_doubtful() {
    for (timestamp_ms, expected) in [(BEFORE, &[5, 6][..]), (AFTER, &[0, 1, 2, 3, 4, 5, 6])] {
        let mut latest = Latest::new();
        latest.take(record(PARTITION, 5), Some(run(5..6)), 0);
        assert_eq!(latest.fetches(0).len(), 1);
        assert_eq!(latest.consumer.pause(TOPIC), Some(true));
        assert_eq!(latest.answer(0..1, timestamp_ms, 10), [0; 0]);
        assert_eq!(latest.wait(10, 60_000), []);
        assert_eq!(latest.consumer.resume(TOPIC, 60_000), Some(true));
        latest.out.drain(|_, _| {});
        latest.take(head(PARTITION, 6), None, 60_000);
        assert_eq!(latest.fetches(60_000), [(0, 1, String::new())]);
        let mut delivered = latest.answer(0..1, timestamp_ms, 60_010);
        let [(first, count, _)] = latest.fetches(60_010)[..] else { panic!("one FETCH") };
        delivered.extend(latest.answer(first..first + u64::from(count), timestamp_ms, 60_020));
        assert_eq!(delivered, expected);
        assert_eq!(latest.statistics().presumed_old, 0);
    }
}

#[test]
fn the_doubt_about_a_partition_that_is_closed_or_read_ends() {
    // The patience with each partition ends alone.
    let mut latest = Latest::new();
    let name = |i: u64| [b'A' + i as u8];
    for i in 0..4 {
        latest.take(record(&name(i), 5), Some(run(5..6)), i * 100);
        assert_eq!(latest.wait(i * 100, i * 100 + 1), []);
    }
    assert_eq!(latest.take(direct(&name(1), 0), Some(stamped(0..1, BEFORE)), 700), [5]);
    assert!(latest.consumer.seek(PartitionName { topic: TOPIC, producer: &name(2) }, 7, 700));
    assert_eq!(latest.wait(700, 60_000), [(5_000, vec![5]), (5_300, vec![5])]);
    assert_eq!(latest.statistics().presumed_old, 2);
    // Nothing remains of a topic that is not subscribed any more.
    latest.take(record(b"NEW", 5), Some(run(5..6)), 60_000);
    assert!(latest.consumer.unsubscribe(TOPIC));
    assert_eq!(latest.wait(60_000, 120_000), []);
}

#[test]
fn a_forged_message_hides_no_records_of_a_doubtful_partition() {
    // A forged HEAD names an offset that the producer has not reached. Afterwards the producer publishes, and ends.
    let forged = || {
        let mut latest = Latest::new();
        latest.take(head(PARTITION, 1 << 40), None, 0);
        assert_eq!(latest.take(record(PARTITION, 100), Some(run(100..102)), 100), [0; 0]);
        assert_eq!(latest.take(head(PARTITION, 1 << 41), None, 200), [0; 0]);
        latest
    };
    assert_eq!(forged().answer(0..1, BEFORE, 300), [100, 101]);
    assert_eq!(forged().wait(200, 60_000), [(5_000, vec![100, 101])]);
    // If only the forged HEAD has arrived, later messages correct the start, once a second has passed since the decision.
    let mut latest = Latest::new();
    latest.take(head(PARTITION, 1 << 40), None, 0);
    latest.answer(0..1, BEFORE, 3_000);
    latest.take(record(PARTITION, 100), Some(run(100..101)), 3_500);
    for now_ms in [3_000, 3_500, 4_000] {
        assert_eq!(latest.fetches(now_ms), []);
    }
    assert_eq!(latest.take(record(PARTITION, 101), Some(run(101..102)), 4_000), [0; 0]);
    assert_eq!(latest.take(direct(PARTITION, 100), Some(run(100..101)), 4_001), [100, 101]);
}

#[test]
fn no_more_partitions_are_fetched_than_can_be_remembered_as_older() {
    let mut latest = Latest::with(Limits { old_partitions: 3, ..Limits::default() });
    let name = |i: u64| [b'A' + i as u8];
    let mut fetch_counts = Vec::new();
    for now_ms in [0, 10_000, 20_000] {
        let mut fetch_count = 0;
        for i in 0..6 {
            latest.take(direct_head(&name(i), 6, b"STORE"), None, now_ms);
            fetch_count += latest.fetches(now_ms).len();
            latest.take(direct(&name(i), 0), Some(stamped(0..1, BEFORE)), now_ms);
        }
        assert_eq!(latest.statistics().partitions, 0);
        fetch_counts.push(fetch_count);
        assert_eq!(latest.consumer.poll_notice(now_ms), Some(Notice::TooManyOldPartitions));
        assert_eq!(latest.consumer.poll_notice(now_ms), None);
    }
    assert_eq!(fetch_counts, [3, 0, 0]);
    // The records of a live producer are still delivered, of a new partition from its first record on.
    latest.take(record(&name(5), 8), Some(run(8..9)), 21_000);
    assert_eq!(latest.fetches(21_000).len(), 1);
    assert_eq!(latest.take(direct(&name(5), 0), Some(stamped(0..1, AFTER)), 21_000), [0]);
}

#[test]
fn once_positions_were_forgotten_no_record_is_delivered_twice() {
    // There is room for one partition and one position.
    let mut latest = Latest::with(Limits {
        partitions: 1,
        partitions_per_peer: 1,
        evicted_positions: 1,
        ..Limits::default()
    });
    for (i, name) in [b"A", b"B", b"C"].into_iter().enumerate() {
        assert_eq!(latest.take(record(name, 0), Some(stamped(0..1, AFTER)), i as u64 * 100_000), [0]);
    }
    assert_eq!(latest.take(direct_head(b"A", 0, b"STORE"), None, 300_000), [0; 0]);
    assert_eq!(latest.fetches(300_000), []);
    assert_eq!(latest.take(head(b"A", 0), None, 400_000), [0; 0]);
    assert_eq!(latest.fetches(400_000), []);
    assert_eq!(latest.take(record(b"A", 1), Some(stamped(1..2, AFTER)), 400_001), [1]);
    // A partition that begins now is read from its first record, if this record arrives from the producer.
    assert_eq!(latest.take(record(b"D", 0), Some(stamped(0..1, AFTER)), 600_000), [0]);
}

#[test]
fn after_a_later_subscription_the_partitions_of_the_earlier_one_are_older() {
    let mut latest = Latest::new();
    assert_eq!(latest.take(record(PARTITION, 0), Some(stamped(0..2, AFTER)), 10), [0, 1]);
    assert!(latest.consumer.unsubscribe(TOPIC));
    let later =
        dafka::protocol::consumer::Subscribed { unix_ms: AFTER + 1_000, now_ms: 1_000, uptime_ms: 1_000 };
    assert!(latest.consumer.subscribe(TOPIC, later, &mut latest.out));
    latest.take(direct_head(PARTITION, 3, b"STORE"), None, 1_010);
    assert_eq!(latest.answer(0..2, AFTER, 1_020), [0; 0]);
    assert_eq!(latest.statistics().partitions, 0);
}

#[test]
fn an_evicted_doubtful_partition_keeps_its_start() {
    for (is_new, expected) in [(false, [5, 6].as_slice()), (true, &[0, 1, 2, 3, 4, 5, 6])] {
        let timestamp_ms = if is_new { AFTER } else { BEFORE };
        // There is room for one partition.
        let mut latest = Latest::with(Limits { partitions: 1, partitions_per_peer: 1, ..Limits::default() });
        latest.take(record(PARTITION, 5), Some(run(5..6)), 0);
        assert_eq!(latest.take(record(b"OTHER", 0), Some(stamped(0..1, AFTER)), 100_000), [0]);
        // A store shows that the partition has further records.
        latest.take(direct_head(PARTITION, 6, b"STORE"), None, 200_000);
        assert_eq!(latest.fetches(200_000), [(0, 1, "STORE".into())]);
        let mut delivered = latest.answer(0..1, timestamp_ms, 200_010);
        let [(first, count, _)] = latest.fetches(200_010)[..] else { panic!("one FETCH") };
        delivered.extend(latest.answer(first..first + u64::from(count), timestamp_ms, 200_020));
        assert_eq!(delivered, expected);
    }
}

#[test]
fn the_lag_contains_no_records_of_before_the_claim() {
    let mut latest = Latest::new();
    latest.take(direct_head(PARTITION, 6, b"STORE"), None, 0);
    assert_eq!(latest.consumer.lag(TOPIC), 0);
    latest.take(record(PARTITION, 5), Some(run(5..6)), 0);
    assert_eq!(latest.consumer.lag(TOPIC), 2);
    assert_eq!(latest.answer(0..1, BEFORE, 10), [5]);
    assert_eq!(latest.consumer.lag(TOPIC), 1);
}

#[test]
fn partitions_whose_producers_publish_are_examined_first() {
    // There is room for few FETCHes.
    let mut latest = Latest::with(Limits { in_flight_len_bytes: 64 << 10, ..Limits::default() });
    let names: Vec<String> = (0..1_000).map(|i| format!("P{i}")).collect();
    for name in &names {
        latest.take(direct_head(name.as_bytes(), 6, b"STORE"), None, 0);
    }
    let mut asked = latest.asked_partitions(0);
    assert!((1..10).contains(&asked.len()), "{}", asked.len());
    let published = &names[900];
    latest.take(record(published.as_bytes(), 7), Some(run(7..8)), 1);
    assert_eq!(latest.asked_partitions(1), [""; 0]);
    // The responses arrive. Other partitions may only be examined afterwards.
    for name in asked.drain(..) {
        latest.take(direct(name.as_bytes(), 0), Some(stamped(0..1, BEFORE)), 2);
    }
    let mut now_ms = 2;
    while asked.is_empty() {
        asked = latest.asked_partitions(now_ms);
        now_ms += 1;
    }
    assert_eq!(asked[0], *published);
    assert!(now_ms < 50, "{now_ms}");
}
