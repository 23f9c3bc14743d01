//! `seek_time` and `seek_end`: all partitions of a topic continue at another record.

use crate::UNKNOWN;
use crate::rig::{ME, PARTITION, SUBSCRIBED, TOPIC, ack, direct_head};
use crate::run::{Content, Record, Run};
use dafka::partition_name::PartitionName;
use dafka::protocol::Outbox;
use dafka::protocol::consumer::{Consumer, Delivery, Start, Subscribed};
use dafka::protocol::ingest::Limits;
use dafka::wire::{Message, Position};
use std::ops::Range;

/// The timestamp of record 0. Each further record is a millisecond later.
pub(crate) const FIRST_MS: i64 = 1_000_000;

/// What the peers have: which records of a partition they send, and the timestamps.
pub(crate) struct Peers<'a> {
    pub(crate) has: &'a dyn Fn(&[u8], u64) -> bool,
    pub(crate) timestamp_ms: &'a dyn Fn(u64) -> Option<i64>,
}

fn ascending(offset: u64) -> Option<i64> {
    Some(FIRST_MS + offset as i64)
}

pub(crate) const ALL: Peers = Peers { has: &|_, _| true, timestamp_ms: &ascending };

impl Peers<'_> {
    pub(crate) fn run(&self, range: Range<u64>) -> Run {
        let record = |offset: u64| {
            let content = Content::from(offset.to_be_bytes());
            Record { timestamp_ms: (self.timestamp_ms)(offset), ..content.into() }
        };
        Run::from(range.map(record).collect::<Vec<_>>())
    }
}

/// A consumer, and what it has delivered.
pub(crate) struct Sought {
    pub(crate) consumer: Consumer<Run>,
    pub(crate) out: Outbox<Run>,
    pub(crate) now_ms: u64,
    /// The offsets by partition.
    pub(crate) delivered: Vec<(Vec<u8>, u64)>,
    /// The first record and the number of records of each FETCH.
    pub(crate) fetches: Vec<(u64, u32)>,
    pub(crate) heads_requested: bool,
}

pub(crate) fn moment(now_ms: u64) -> Subscribed {
    Subscribed { unix_ms: SUBSCRIBED.unix_ms + now_ms as i64, now_ms, uptime_ms: now_ms }
}

impl Sought {
    pub(crate) fn new(start: Start) -> Sought {
        Sought::with(Consumer::new(ME, start, Limits::default(), 0))
    }

    pub(crate) fn with(consumer: Consumer<Run>) -> Sought {
        let (out, delivered, fetches) = (Outbox::new(), Vec::new(), Vec::new());
        let mut sought = Sought { consumer, out, now_ms: 0, delivered, fetches, heads_requested: false };
        assert!(sought.consumer.subscribe(TOPIC, SUBSCRIBED, &mut sought.out));
        sought
    }

    pub(crate) fn seek_time(&mut self, topic: &[u8], since_ms: i64) -> bool {
        self.consumer.seek_all(topic, Start::Time(since_ms), moment(self.now_ms))
    }

    pub(crate) fn seek_end(&mut self, topic: &[u8]) -> bool {
        self.consumer.seek_all(topic, Start::Latest, moment(self.now_ms))
    }

    pub(crate) fn take(&mut self, message: Message, content: Option<Run>) {
        let mut deliveries = Vec::new();
        let Sought { consumer, out, now_ms, .. } = self;
        consumer.handle_message(&message, content, UNKNOWN, *now_ms, out, &mut deliveries);
        self.note(&deliveries);
    }

    fn note(&mut self, deliveries: &[Delivery<Run>]) {
        for Delivery { partition, offset, content } in deliveries {
            let producer = self.consumer.partition(*partition).producer.to_vec();
            for (record, offset) in content.records().iter().zip(*offset..) {
                assert_eq!(*record.content, offset.to_be_bytes());
                self.delivered.push((producer.clone(), offset));
            }
        }
    }

    pub(crate) fn head(&mut self, producer: &[u8], last: u64) {
        self.take(Message::Head(Position::new(TOPIC, producer, TOPIC, last)), None);
    }

    pub(crate) fn publish(&mut self, peers: &Peers, producer: &[u8], range: Range<u64>) {
        let position = Position::new(TOPIC, producer, TOPIC, range.start);
        self.take(Message::Records(position), Some(peers.run(range)));
    }

    /// Lets time pass. The peers respond to each FETCH for records that they have, after a millisecond.
    pub(crate) fn serve(&mut self, peers: &Peers, for_ms: u64) {
        let until_ms = self.now_ms + for_ms;
        while self.now_ms < until_ms {
            let mut deliveries = Vec::new();
            self.consumer.handle_uptime(self.now_ms);
            self.consumer.handle_timeout(self.now_ms, &mut self.out, &mut deliveries);
            self.note(&deliveries);
            let mut requests = Vec::new();
            self.out.drain(|frame, _| match Message::decode(frame) {
                Ok(Message::Fetch { topic, subject, sequence, count, .. }) => {
                    requests.push((topic.to_vec(), subject.to_vec(), sequence, count));
                }
                Ok(Message::GetHeads { .. }) => self.heads_requested = true,
                _ => {}
            });
            let due_ms = if requests.is_empty() { self.consumer.due_ms() } else { 0 };
            self.now_ms = due_ms.clamp(self.now_ms + 1, until_ms);
            for (producer, subject, first, count) in requests {
                self.fetches.push((first, count));
                let range = first..first + u64::from(count);
                for offset in range.take_while(|&offset| (peers.has)(&producer, offset)) {
                    let message = Message::DirectRecord(Position::new(ME, &producer, &subject, offset));
                    self.take(message, Some(peers.run(offset..offset + 1)));
                }
            }
        }
    }

    /// The offsets that were delivered since the last call.
    pub(crate) fn offsets(&mut self) -> Vec<u64> {
        self.delivered.drain(..).map(|(_, offset)| offset).collect()
    }
}

pub(crate) fn range(range: Range<u64>) -> Vec<u64> {
    range.collect()
}

#[test]
fn the_first_record_of_a_time_is_found_with_few_requests() {
    for count in [1, 2, 3, 4, 7, 8, 30, 1_000] {
        for first in (0..=count).filter(|first| count < 100 || first % 37 < 2) {
            for kind in 0..3 {
                let mut sought = Sought::new(Start::Latest);
                // Before the consumer knows the partition, or after.
                if kind > 0 {
                    sought.publish(&ALL, PARTITION, count - 1..count);
                    sought.serve(&ALL, 1);
                }
                sought.fetches.clear();
                sought.delivered.clear();
                assert!(sought.seek_time(TOPIC, FIRST_MS + first as i64));
                match kind {
                    0 => sought.take(direct_head(PARTITION, count - 1, b"STORE"), None),
                    1 => sought.head(PARTITION, count - 1),
                    _ => {}
                }
                sought.serve(&ALL, 60);
                assert_eq!(sought.offsets(), range(first..count), "{first} of {count}, {kind}");
                let singles = sought.fetches.iter().filter(|fetch| fetch.1 == 1).count();
                let limit = if first == count { 1 } else { 3 + count.ilog2() as usize };
                assert!(singles <= limit, "{first} of {count}: {:?}", sought.fetches);
            }
        }
    }
}

#[test]
fn records_without_a_timestamp_are_late_enough_and_timestamps_need_not_ascend() {
    let cases: [&dyn Fn(u64) -> Option<i64>; 4] = [
        &|_| None,
        &|offset| ascending(offset).filter(|_| offset < 40),
        &|offset| ascending(offset).filter(|_| offset % 3 > 0),
        &|offset| ascending(offset ^ 7),
    ];
    for (number, timestamp_ms) in cases.into_iter().enumerate() {
        let peers = Peers { timestamp_ms, ..ALL };
        for since in 0..100 {
            let mut sought = Sought::new(Start::Latest);
            sought.seek_time(TOPIC, FIRST_MS + since);
            sought.take(direct_head(PARTITION, 99, b"STORE"), None);
            sought.serve(&peers, 60);
            let delivered = sought.offsets();
            let first = delivered.first().copied().unwrap_or(100);
            assert_eq!(delivered, range(first..100), "{number}, {since}");
            let is_early = |offset| timestamp_ms(offset).is_some_and(|ms| ms < FIRST_MS + since);
            assert!(first == 0 || is_early(first - 1), "{number}, {since}: {first}");
            assert!(first == 100 || !is_early(first), "{number}, {since}: {first}");
        }
    }
}

#[test]
fn when_all_known_records_are_too_early_the_search_goes_on_with_what_arrives() {
    let mut sought = Sought::new(Start::Earliest);
    sought.publish(&ALL, PARTITION, 0..10);
    assert_eq!(sought.offsets(), range(0..10));
    sought.seek_time(TOPIC, FIRST_MS + 35);
    sought.serve(&ALL, 1_000);
    // Live records that are too early, a HEAD after a gap, and a batch with early and late records.
    sought.publish(&ALL, PARTITION, 10..12);
    assert_eq!(sought.consumer.lag(TOPIC), 0);
    sought.head(PARTITION, 30);
    assert_eq!(sought.consumer.lag(TOPIC), 19);
    sought.serve(&ALL, 1_000);
    assert_eq!((sought.offsets(), sought.consumer.lag(TOPIC)), (vec![], 0));
    sought.fetches.clear();
    sought.publish(&ALL, PARTITION, 31..38);
    assert_eq!(sought.offsets(), [35, 36, 37]);
    sought.publish(&ALL, PARTITION, 38..39);
    assert_eq!(sought.offsets(), [38]);
    // Afterwards, timestamps do not matter.
    let back = Peers { timestamp_ms: &|_| Some(0), ..ALL };
    sought.publish(&back, PARTITION, 39..40);
    assert_eq!((sought.offsets(), sought.fetches), (vec![39], vec![]));
}

#[test]
fn records_that_arrive_during_a_search_wait() {
    let mut sought = Sought::new(Start::Earliest);
    sought.seek_time(TOPIC, FIRST_MS + 50);
    sought.head(PARTITION, 99);
    sought.serve(&ALL, 1);
    sought.publish(&ALL, PARTITION, 100..103);
    assert_eq!(sought.offsets(), [0; 0]);
    sought.serve(&Peers { has: &|_, offset| offset < 100, ..ALL }, 60);
    assert_eq!(sought.offsets(), range(50..103));
    // The search finds the record just before those that wait.
    let mut sought = Sought::new(Start::Earliest);
    sought.seek_time(TOPIC, FIRST_MS + 10);
    sought.publish(&ALL, PARTITION, 10..13);
    sought.serve(&Peers { has: &|_, offset| offset < 10, ..ALL }, 60);
    assert_eq!(sought.offsets(), [10, 11, 12]);
}

#[test]
fn what_nobody_has_does_not_hide_what_peers_have() {
    // A store has the first records, or a producer the last ones, or both.
    let suffix = Peers { has: &|_, offset| offset >= 900, ..ALL };
    let prefix = Peers { has: &|_, offset| offset < 100, ..ALL };
    let both = Peers { has: &|_, offset| !(100..900).contains(&offset), ..ALL };
    for (peers, first, end) in [
        (&suffix, 950, 1_000),
        (&suffix, 901, 1_000),
        (&prefix, 50, 100),
        (&both, 50, 100),
        (&both, 950, 1_000),
    ] {
        let mut sought = Sought::new(Start::Earliest);
        sought.seek_time(TOPIC, FIRST_MS + first as i64);
        sought.head(PARTITION, 999);
        // Another partition is not delayed.
        sought.head(b"OTHER", 9);
        let has = |producer: &[u8], offset| producer == b"OTHER" || (peers.has)(producer, offset);
        sought.serve(&Peers { has: &has, ..ALL }, 60);
        if first < 10 {
            assert!(sought.delivered.iter().any(|(producer, _)| producer == b"OTHER"));
        }
        sought.serve(&Peers { has: &has, ..ALL }, 20_000);
        assert_eq!(sought.offsets(), range(first..end), "{first}");
        // Later, a store has all.
        sought.take(direct_head(PARTITION, 999, b"STORE"), None);
        sought.serve(&ALL, 2_000);
        assert_eq!(sought.offsets(), range(end..1_000), "{first}");
    }
}

#[test]
fn a_search_continues_when_a_store_returns() {
    for first in [0, 1, 500, 998, 999] {
        let mut sought = Sought::new(Start::Latest);
        sought.seek_time(TOPIC, FIRST_MS + first as i64);
        sought.take(direct_head(PARTITION, 999, b"STORE"), None);
        // The store ends after two responses, and is down for 5 minutes. Another partition is served meanwhile.
        let answered = std::cell::Cell::new(0);
        let two = |_: &[u8], _| answered.replace(answered.get() + 1) < 2;
        sought.serve(&Peers { has: &two, ..ALL }, 1_000);
        let other = Peers { has: &|producer, _| producer == b"OTHER", ..ALL };
        sought.take(direct_head(b"OTHER", 999, b"STORE 2"), None);
        sought.serve(&other, 300_000);
        let other_count = sought.delivered.iter().filter(|of| of.0 == b"OTHER").count() as u64;
        assert_eq!(other_count, 1_000 - first);
        let fetch_count = sought.fetches.len();
        assert!(fetch_count < 150, "{fetch_count}");
        sought.take(direct_head(PARTITION, 999, b"STORE"), None);
        sought.serve(&ALL, 2_000);
        sought.delivered.retain(|(producer, _)| producer == PARTITION);
        assert_eq!(sought.offsets(), range(first..1_000));
    }
}

#[test]
fn a_forged_head_does_not_end_a_search() {
    for end in [0, 1, 100] {
        for since in [0, end / 2, end] {
            let mut sought = Sought::new(Start::Earliest);
            sought.seek_time(TOPIC, FIRST_MS + since as i64);
            let peers = Peers { has: &|_, offset| offset < end, ..ALL };
            sought.head(PARTITION, u64::MAX - 1);
            sought.serve(&peers, 120_000);
            assert_eq!(sought.offsets(), range(since..end), "{since} of {end}");
            // A live record shows that the HEAD was false.
            sought.head(PARTITION, u64::MAX - 1);
            sought.publish(&ALL, PARTITION, end..end + 1);
            assert_eq!(sought.offsets(), [end], "{since} of {end}");
        }
    }
}

/// Whether topics are prefixes, the subscriptions, the topic of a call, and the topics that it affects; `None` if it is
/// refused.
type Selection = (bool, &'static [&'static [u8]], &'static [u8], Option<&'static [&'static [u8]]>);

#[test]
fn the_partitions_of_a_selected_topic_are_affected() {
    let topics: [&[u8]; 4] = [b"a", b"ab", b"abc", b"b"];
    let cases: [Selection; 9] = [
        (false, &[b"a", b"ab"], b"a", Some(&[b"a"])),
        (false, &[b"a", b"ab"], b"", Some(&[b"a", b"ab"])),
        (false, &[b"a", b"ab"], b"b", None),
        (false, &[b""], b"ab", Some(&[b"ab"])),
        (true, &[b"a"], b"a", Some(&[b"a", b"ab", b"abc"])),
        (true, &[b"a"], b"ab", Some(&[b"ab", b"abc"])),
        (true, &[b"ab"], b"a", None),
        (true, &[b"ab", b"b"], b"", Some(&[b"ab", b"abc", b"b"])),
        (false, &[], b"", None),
    ];
    for (is_prefix, subscriptions, topic, expected) in cases {
        let mut consumer = Consumer::new(ME, Start::Earliest, Limits::default(), 0);
        if is_prefix {
            consumer = consumer.matching_prefixes();
        }
        let mut sought = Sought::with(consumer);
        assert!(sought.consumer.unsubscribe(TOPIC));
        for of in subscriptions {
            assert!(sought.consumer.subscribe(of, SUBSCRIBED, &mut sought.out));
        }
        // Half of the topics have a partition before the call, all have one after it.
        for round in 0..2 {
            if round == 1 {
                sought.delivered.clear();
                assert_eq!(sought.seek_time(topic, FIRST_MS + 5), expected.is_some(), "{topic:?}");
            }
            for of in topics {
                let producer = of.to_ascii_uppercase();
                let position = Position::new(of, &producer, of, 9);
                sought.take(Message::Head(position), None);
                if round == 0 {
                    continue;
                }
                let new = [&producer[..], b"2"].concat();
                sought.take(Message::Head(Position::new(of, &new, of, 9)), None);
            }
            sought.serve(&ALL, 60);
        }
        for of in topics {
            let is_affected = expected.is_some_and(|expected| expected.contains(&of));
            let is_subscribed = subscriptions.contains(&of)
                || subscriptions.iter().any(|known| (is_prefix || known.is_empty()) && of.starts_with(known));
            for (suffix, unaffected) in [(&b""[..], 10..10), (b"2", 0..10)] {
                let producer = [&of.to_ascii_uppercase()[..], suffix].concat();
                let of_partition = sought.delivered.iter().filter(|(name, _)| *name == producer);
                let offsets: Vec<u64> = of_partition.map(|&(_, offset)| offset).collect();
                let expected = match (is_affected, is_subscribed) {
                    (true, _) => range(5..10),
                    (false, true) => range(unaffected),
                    (false, false) => vec![],
                };
                assert_eq!(offsets, expected, "{is_prefix} {subscriptions:?} {topic:?} {of:?}");
            }
        }
    }
}

#[test]
fn a_later_seek_or_subscription_ends_a_search() {
    let begun = |rest: u64| {
        let mut sought = Sought::new(Start::Earliest);
        sought.seek_time(TOPIC, FIRST_MS + 500);
        sought.head(PARTITION, 999);
        sought.serve(&ALL, rest);
        sought
    };
    for rest in 1..20 {
        // To a record.
        let mut sought = begun(rest);
        sought.delivered.clear();
        assert!(sought.consumer.seek(
            PartitionName { topic: TOPIC, producer: PARTITION },
            997,
            sought.now_ms
        ));
        sought.head(PARTITION, 999);
        sought.serve(&ALL, 60);
        assert_eq!(sought.offsets(), [997, 998, 999]);
        // To another time.
        let mut sought = begun(rest);
        sought.delivered.clear();
        sought.seek_time(b"", FIRST_MS + 990);
        sought.serve(&ALL, 60);
        assert_eq!(sought.offsets(), range(990..1_000));
        // To the end.
        let mut sought = begun(rest);
        sought.delivered.clear();
        sought.seek_end(TOPIC);
        sought.serve(&ALL, 60);
        sought.publish(&ALL, PARTITION, 1_000..1_002);
        assert_eq!(sought.offsets(), [1_000, 1_001]);
        // A new subscription begins where the configuration says.
        let mut sought = begun(rest);
        sought.delivered.clear();
        assert!(sought.consumer.unsubscribe(TOPIC));
        sought.serve(&ALL, 60);
        assert!(sought.consumer.subscribe(TOPIC, moment(sought.now_ms), &mut sought.out));
        sought.head(PARTITION, 1);
        sought.serve(&ALL, 60);
        assert_eq!(sought.offsets(), [0, 1]);
    }
}

#[test]
fn during_a_pause_nothing_is_requested() {
    for is_paused_first in [false, true] {
        let mut sought = Sought::new(Start::Earliest);
        sought.publish(&ALL, PARTITION, 0..100);
        sought.delivered.clear();
        if is_paused_first {
            assert_eq!(sought.consumer.pause(TOPIC), Some(true));
        }
        sought.seek_time(TOPIC, FIRST_MS + 50);
        assert_eq!(sought.consumer.lag(TOPIC), 100);
        if !is_paused_first {
            sought.serve(&ALL, 3);
            assert_eq!(sought.consumer.pause(TOPIC), Some(true));
        }
        sought.fetches.clear();
        sought.head(PARTITION, 99);
        sought.serve(&ALL, 60_000);
        assert_eq!((sought.offsets(), sought.fetches.len()), (vec![], 0));
        sought.heads_requested = false;
        assert_eq!(sought.consumer.resume(TOPIC, sought.now_ms), Some(true));
        sought.serve(&ALL, 200);
        assert!(sought.heads_requested);
        sought.head(PARTITION, 99);
        sought.serve(&ALL, 60);
        assert_eq!(sought.offsets(), range(50..100));
    }
}

#[test]
fn positions_of_evicted_partitions_do_not_survive_a_seek() {
    let limits = Limits { partitions: 1, partitions_per_peer: 1, ..Limits::default() };
    let mut sought = Sought::with(Consumer::new(ME, Start::Earliest, limits, 0));
    for name in [b"A", b"B"] {
        sought.publish(&ALL, name, 0..10);
        sought.serve(&ALL, 20_000);
    }
    assert_eq!(sought.offsets(), [range(0..10), range(0..10)].concat());
    sought.seek_time(TOPIC, FIRST_MS + 7);
    for name in [b"A", b"B", b"A", b"B"] {
        sought.take(direct_head(name, 9, b"STORE"), None);
        sought.serve(&ALL, 20_000);
    }
    assert_eq!(sought.offsets(), [7, 8, 9, 7, 8, 9]);
    // A partition that is evicted during its search continues it, and requests nothing twice.
    sought.seek_time(TOPIC, FIRST_MS + 15);
    for name in [b"A", b"B", b"A", b"B"] {
        sought.take(direct_head(name, 9, b"STORE"), None);
        sought.serve(&ALL, 20_000);
    }
    sought.fetches.clear();
    sought.take(direct_head(b"A", 9, b"STORE"), None);
    sought.serve(&ALL, 20_000);
    assert_eq!((sought.offsets(), &sought.fetches[..]), (vec![], &[][..]));
    sought.publish(&ALL, b"A", 10..20);
    assert_eq!(sought.offsets(), range(15..20));
    // A position that the application chooses after the seek remains.
    sought.seek_time(TOPIC, FIRST_MS);
    let name = PartitionName { topic: TOPIC, producer: b"B" };
    assert!(sought.consumer.seek(name, 8, sought.now_ms));
    sought.serve(&ALL, 20_000);
    sought.delivered.clear();
    sought.take(direct_head(b"B", 9, b"STORE"), None);
    sought.serve(&ALL, 1_000);
    assert_eq!(sought.offsets(), [8, 9]);
}

#[test]
fn after_a_seek_to_the_end_only_new_records_are_read() {
    for start in [Start::Earliest, Start::Latest, Start::Time(0)] {
        let mut sought = Sought::new(start);
        sought.now_ms = 100_000;
        sought.publish(&ALL, PARTITION, 0..10);
        // Known from a HEAD only.
        sought.head(PARTITION, 19);
        sought.delivered.clear();
        sought.seek_end(TOPIC);
        assert_eq!(sought.consumer.lag(TOPIC), 0);
        sought.serve(&ALL, 1_000);
        sought.publish(&ALL, PARTITION, 20..22);
        assert_eq!(sought.offsets(), [20, 21], "{start:?}");
        // A partition that began before the seek, and one that began after it.
        for (name, begun_ms, expected) in [(b"OLD", 60_000, 10..12), (b"NEW", 100_500, 0..12)] {
            let begun = |offset| Some(SUBSCRIBED.unix_ms + begun_ms + offset as i64);
            let peers = Peers { timestamp_ms: &begun, ..ALL };
            sought.publish(&peers, name, 10..12);
            sought.serve(&peers, 1_000);
            assert_eq!(sought.offsets(), range(expected), "{start:?}");
        }
        // A false head, after which no record would be read.
        sought.head(PARTITION, 1 << 40);
        sought.seek_end(TOPIC);
        sought.serve(&ALL, 2_000);
        sought.publish(&ALL, PARTITION, 22..23);
        sought.publish(&ALL, PARTITION, 23..24);
        for _ in 0..20 {
            sought.serve(&Peers { has: &|_, offset| offset < 24, ..ALL }, 100);
            sought.head(PARTITION, 23);
        }
        assert_eq!(sought.offsets(), [22, 23], "{start:?}");
    }
}

#[test]
fn a_doubtful_partition_and_one_that_was_evicted_begin_after_a_seek_to_the_end() {
    let mut sought = Sought::new(Start::Latest);
    sought.publish(&ALL, PARTITION, 5..10);
    sought.seek_end(TOPIC);
    sought.serve(&ALL, 60_000);
    sought.publish(&ALL, PARTITION, 10..12);
    assert_eq!((sought.offsets(), sought.consumer.statistics().presumed_old), (vec![10, 11], 0));
    // Where it would have begun is forgotten too.
    let limits = Limits { partitions: 1, partitions_per_peer: 1, ..Limits::default() };
    let mut sought = Sought::with(Consumer::new(ME, Start::Latest, limits, 0));
    let nobody = Peers { has: &|_, _| false, ..ALL };
    sought.publish(&ALL, PARTITION, 5..6);
    sought.serve(&nobody, 1_000);
    sought.now_ms += 20_000;
    sought.publish(&ALL, b"OTHER", 0..1);
    assert_eq!(sought.offsets(), [0]);
    sought.seek_end(TOPIC);
    sought.now_ms += 20_000;
    sought.publish(&ALL, PARTITION, 9..10);
    sought.serve(&ALL, 1_000);
    assert_eq!(sought.offsets(), [9]);
}

#[test]
fn an_isolated_consumer_holds_back_what_a_search_finds() {
    let mut sought =
        Sought::with(Consumer::new(ME, Start::Earliest, Limits::default(), 0).isolated(64 << 20));
    sought.publish(&ALL, PARTITION, 0..10);
    sought.seek_time(TOPIC, FIRST_MS + 5);
    sought.serve(&ALL, 60);
    assert_eq!(sought.consumer.lag(TOPIC), 5);
    sought.take(ack(PARTITION, 6, b"STORE"), None);
    assert_eq!(sought.offsets(), [5, 6]);
    sought.seek_end(TOPIC);
    sought.take(ack(PARTITION, 9, b"STORE"), None);
    sought.publish(&ALL, PARTITION, 10..12);
    assert_eq!(sought.offsets(), [0; 0]);
    sought.take(ack(PARTITION, 10, b"STORE"), None);
    assert_eq!(sought.offsets(), [10]);
}
