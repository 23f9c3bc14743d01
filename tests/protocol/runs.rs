//! Runs of several records: the state machines deliver, keep and answer the same records as without runs.

use crate::UNKNOWN;
use crate::rig::{ME, PARTITION, SUBSCRIBED, TOPIC, ack, direct, fetch, record};
use crate::run::{Content, Run};
use dafka::partition_name::PartitionName;
use dafka::protocol::consumer::{Consumer, Delivery, Start};
use dafka::protocol::ingest::{Index, Ingest, Limits};
use dafka::protocol::partition::reorder_buffer::EARLY_OVERHEAD_BYTES;
use dafka::protocol::partition::sequencer::MAX_OFFSET;
use dafka::protocol::producer::Producer;
use dafka::protocol::store::replica::{Append, Replica};
use dafka::protocol::{AllRead, Outbox, Payload, Progress};
use dafka::wire::Message;
use proptest::collection::vec;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::ops::Range;

/// How many records a partition has.
const COUNT: u64 = 60;
/// Memory for all of them.
const ROOM: usize = 1 << 20;

fn content(offset: u64) -> Content {
    // Some records are empty.
    let len = if offset.is_multiple_of(7) { 0 } else { 1 + offset as usize % 30 };
    offset.to_be_bytes().into_iter().cycle().take(len).collect()
}

fn run(range: Range<u64>) -> Run {
    Run::from(range.map(content).collect::<Vec<_>>())
}

fn records(first: u64, run: &Run) -> Vec<(u64, Vec<u8>)> {
    run.contents().zip(first..).map(|(content, offset)| (offset, content.to_vec())).collect()
}

fn published(range: Range<u64>) -> Vec<(u64, Vec<u8>)> {
    range.map(|offset| (offset, content(offset).to_vec())).collect()
}

fn ranges(max_len: u64) -> impl Strategy<Value = Range<u64>> {
    (0..COUNT, 1..=max_len).prop_map(|(first, len)| first..(first + len).min(COUNT))
}

/// Splits the records from 0 to `COUNT` into runs of at most these lengths.
fn partitioned(lens: &[u64]) -> Vec<Range<u64>> {
    let mut runs = Vec::new();
    for len in lens.iter().cycle() {
        let first = runs.last().map_or(0, |run: &Range<u64>| run.end);
        if first == COUNT {
            return runs;
        }
        runs.push(first..(first + len).min(COUNT));
    }
    runs
}

/// An ingest with one partition, and the records that it has delivered.
struct Ingesting {
    ingest: Ingest<Run>,
    index: Index,
    first: u64,
    delivered: Vec<(u64, Vec<u8>)>,
}

impl Ingesting {
    fn new(first: u64, early_len_bytes: usize) -> Ingesting {
        let mut ingest = Ingest::new(ME, Limits { early_len_bytes, ..Limits::default() });
        let name = PartitionName { topic: TOPIC, producer: PARTITION };
        let index = ingest.open(name, first, None, 0, |_, _| None).expect("a partition");
        Ingesting { ingest, index, first, delivered: Vec::new() }
    }

    fn handle(&mut self, range: Range<u64>, is_live: bool) -> bool {
        let Ingesting { ingest, index, first, delivered } = self;
        let (begin, end) = (*first + range.start, *first + range.end);
        if is_live {
            ingest.handle_published(*index, begin, end - 1, 0);
        }
        ingest.handle_run(*index, begin, run(range), UNKNOWN, 0, |begin, run| {
            delivered.extend(records(begin - *first, &run));
        })
    }
}

/// A consumer that delivers only acknowledged records.
struct Isolated {
    consumer: Consumer<Run>,
    out: Outbox<Run>,
    deliveries: Vec<Delivery<Run>>,
}

impl Isolated {
    fn new(limit_bytes: usize) -> Isolated {
        let mut consumer = Consumer::new(ME, Start::Earliest, Limits::default(), 0).isolated(limit_bytes);
        let mut out = Outbox::new();
        assert!(consumer.subscribe(TOPIC, SUBSCRIBED, &mut out));
        Isolated { consumer, out, deliveries: Vec::new() }
    }

    fn handle(&mut self, message: &Message, content: Option<Run>) {
        let Isolated { consumer, out, deliveries } = self;
        consumer.handle_message(message, content, UNKNOWN, 0, out, deliveries);
    }

    fn run(&mut self, range: Range<u64>) {
        self.handle(&record(PARTITION, range.start), Some(run(range)));
    }

    fn acknowledge(&mut self, offset: u64) {
        self.handle(&ack(PARTITION, offset, b"STORE"), None);
    }

    fn delivered(&self) -> Vec<(u64, Vec<u8>)> {
        self.deliveries.iter().flat_map(|of| records(of.offset, &of.content)).collect()
    }
}

/// What happens to a producer.
#[derive(Clone, Debug)]
enum Step {
    Publish,
    /// Part of the published records, per mille.
    Ack(u64),
    /// Where the requested records begin, in per mille of the published ones, and how many are requested.
    Fetch(u64, u32),
    Doubt,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        5 => Just(Step::Publish),
        5 => (0..1_000_u64).prop_map(Step::Ack),
        3 => (0..1_000_u64, 1..100_u32).prop_map(|(part, count)| Step::Fetch(part, count)),
        1 => Just(Step::Doubt),
    ];
    vec(step, 1..40)
}

/// A producer, and the records that it has sent.
struct Producing {
    producer: Producer<Run>,
    out: Outbox<Run>,
}

impl Producing {
    fn new() -> Producing {
        Producing { producer: Producer::new(TOPIC, PARTITION, 1_000).unwrap(), out: Outbox::new() }
    }

    fn handle(&mut self, message: &Message) {
        self.producer.handle_message(message, UNKNOWN, &mut self.out);
    }

    /// How many messages were sent since the last call, and their records.
    fn sent(&mut self) -> (usize, Vec<(u64, Vec<u8>)>) {
        let (mut count, mut all) = (0, Vec::new());
        self.out.drain(|frame, content| match (Message::decode(frame).expect("a message"), content) {
            (Message::Record(position) | Message::DirectRecord(position), Some(run)) if !run.is_batch() => {
                count += 1;
                all.extend(records(position.sequence, &run));
            }
            (Message::Records(position) | Message::DirectRecords(position), Some(run)) if run.is_batch() => {
                count += 1;
                all.extend(records(position.sequence, &run));
            }
            (message, _) => panic!("{message:?}"),
        });
        (count, all)
    }

    fn answer(&mut self, count: u64) -> (usize, Vec<(u64, Vec<u8>)>) {
        while self.producer.poll_answers(&mut AllRead, count, &mut self.out) != Progress::Idle {}
        self.sent()
    }

    /// The counts of its records.
    fn state(&self) -> (u64, usize, usize, bool, bool) {
        let Producing { producer, .. } = self;
        let (unproven, unacknowledged) = (producer.unproven(), producer.unacknowledged());
        assert_eq!(producer.kept_len_bytes() == 0, producer.is_drained());
        (unproven, unacknowledged, producer.kept_count(), producer.is_drained(), producer.is_done())
    }
}

proptest! {
    #[test]
    fn an_ingest_delivers_runs_as_it_delivers_their_records(
        arrivals in vec((ranges(20), any::<bool>()), 0..40),
        first in prop_oneof![Just(0), Just(MAX_OFFSET + 1 - COUNT)],
    ) {
        let (mut runs, mut singles) = (Ingesting::new(first, ROOM), Ingesting::new(first, ROOM));
        for (range, is_live) in arrivals {
            let is_new = runs.handle(range.clone(), is_live);
            let mut is_any_new = false;
            for offset in range {
                is_any_new |= singles.handle(offset..offset + 1, is_live);
            }
            prop_assert_eq!((is_new, &runs.delivered), (is_any_new, &singles.delivered));
            let (of_runs, of_singles) = (runs.ingest.statistics(), singles.ingest.statistics());
            prop_assert_eq!(of_runs.handed_on, of_singles.handed_on);
            prop_assert!(of_runs.early_len_bytes <= of_singles.early_len_bytes);
        }
        prop_assert_eq!(&runs.delivered, &published(0..runs.delivered.len() as u64));
    }

    #[test]
    fn an_ingest_with_little_memory_delivers_each_record_once(
        arrivals in vec(ranges(20), 0..60),
        early_len_bytes in 0..20 * EARLY_OVERHEAD_BYTES,
        lens in vec(1..20_u64, 1..5),
    ) {
        let mut ingesting = Ingesting::new(0, early_len_bytes);
        for range in arrivals {
            ingesting.handle(range, true);
            prop_assert!(ingesting.ingest.statistics().early_len_bytes <= early_len_bytes);
        }
        // The missing records are fetched, in runs that begin at other offsets than the earlier ones.
        partitioned(&lens).into_iter().for_each(|range| _ = ingesting.handle(range, false));
        prop_assert_eq!(&ingesting.delivered, &published(0..COUNT));
        let statistics = ingesting.ingest.statistics();
        prop_assert_eq!((statistics.handed_on, statistics.early_len_bytes), (COUNT, 0));
    }

    #[test]
    fn an_isolated_consumer_delivers_the_acknowledged_part_of_a_run(
        lens in vec(1..20_u64, 1..5),
        acks in vec(0..COUNT, 0..20),
    ) {
        let (mut runs, mut singles) = (Isolated::new(ROOM), Isolated::new(ROOM));
        let mut acks = acks.into_iter();
        let mut end = 0;
        for range in partitioned(&lens) {
            runs.run(range.clone());
            range.clone().for_each(|offset| singles.run(offset..offset + 1));
            for offset in acks.by_ref().take(2) {
                [&mut runs, &mut singles].into_iter().for_each(|isolated| isolated.acknowledge(offset));
                end = end.max(offset + 1);
            }
            prop_assert_eq!(runs.delivered(), published(0..end.min(range.end)));
            prop_assert_eq!(singles.delivered(), runs.delivered());
        }
        runs.acknowledge(COUNT - 1);
        prop_assert_eq!(runs.delivered(), published(0..COUNT));
    }

    #[test]
    fn an_isolated_consumer_with_little_memory_delivers_each_record_once(
        lens in vec(1..20_u64, 1..5),
        limit_bytes in 1..10 * EARLY_OVERHEAD_BYTES,
    ) {
        let mut isolated = Isolated::new(limit_bytes);
        let ranges = partitioned(&lens);
        // After an ACK, the refused records are sent again.
        for sent in 1..=COUNT {
            ranges.iter().for_each(|range| isolated.run(range.clone()));
            isolated.acknowledge(sent - 1);
            let delivered = isolated.delivered();
            prop_assert_eq!(&delivered, &published(0..delivered.len() as u64));
            prop_assert!(delivered.len() as u64 <= sent);
        }
        ranges.iter().for_each(|range| isolated.run(range.clone()));
        prop_assert_eq!(isolated.delivered(), published(0..COUNT));
    }

    #[test]
    fn a_producer_of_runs_keeps_and_answers_the_same_records(
        lens in vec(1..20_u64, 1..5),
        steps in steps(),
        are_batches_taken: bool,
    ) {
        let (mut runs, mut singles) = (Producing::new(), Producing::new());
        runs.producer.handle_batches_taken(are_batches_taken);
        let (mut unpublished, mut end) = (partitioned(&lens).into_iter(), 0);
        for step in steps {
            match step {
                Step::Publish => {
                    let Some(range) = unpublished.next() else { continue };
                    runs.producer.publish(run(range.clone()), 0, &mut runs.out);
                    for offset in range.clone() {
                        singles.producer.publish(run(offset..offset + 1), 0, &mut singles.out);
                    }
                    end = range.end;
                    let (count, sent) = runs.sent();
                    let message_count = if are_batches_taken { 1 } else { sent.len() };
                    prop_assert_eq!((count, sent), (message_count, singles.sent().1));
                }
                Step::Ack(part) if end > 0 => {
                    let message = ack(PARTITION, part * end / 1_000, b"STORE");
                    [&mut runs, &mut singles].into_iter().for_each(|producing| producing.handle(&message));
                }
                Step::Fetch(part, count) if end > 0 => {
                    let mut message = fetch(PARTITION, part * end / 1_000, count, b"");
                    if let Message::Fetch { takes_batches, .. } = &mut message {
                        *takes_batches = are_batches_taken;
                    }
                    [&mut runs, &mut singles].into_iter().for_each(|producing| producing.handle(&message));
                    let (of_runs, of_singles) = (runs.answer(3).1, singles.answer(3).1);
                    let sent_count = of_runs.len();
                    let of_runs: BTreeMap<_, _> = of_runs.into_iter().collect();
                    prop_assert_eq!(sent_count, of_runs.len(), "none is sent twice");
                    // Whole batches are sent, so there may be further records.
                    prop_assert!(of_singles.iter().all(|(offset, content)| of_runs.get(offset) == Some(content)));
                    prop_assert!(of_runs.iter().all(|(&offset, found)| **found == *content(offset)));
                    let further_count = if are_batches_taken { 2 * 19 } else { 0 };
                    prop_assert!(of_runs.len() <= of_singles.len() + further_count);
                    prop_assert_eq!(of_runs.is_empty(), of_singles.is_empty());
                }
                Step::Doubt => {
                    [&mut runs, &mut singles].into_iter().for_each(|producing| producing.producer.keep_acknowledged());
                }
                _ => {}
            }
            prop_assert_eq!(runs.state(), singles.state());
        }
        for Producing { producer, out } in [&mut runs, &mut singles] {
            producer.renew(b"RENEWED", 0).unwrap();
            while producer.has_unpublished() {
                producer.handle_timeout(0, out);
            }
        }
        prop_assert_eq!(runs.sent().1, singles.sent().1);
        prop_assert_eq!(runs.state(), singles.state());
    }
}

#[test]
fn a_run_is_skipped_where_it_was_delivered_before_the_start_offset_was_corrected() {
    let mut consumer = Consumer::<Run>::new(ME, Start::Latest, Limits::default(), 0);
    let mut out = Outbox::new();
    assert!(consumer.subscribe(TOPIC, SUBSCRIBED, &mut out));
    let mut take = |message: Message, range: Range<u64>, now_ms| {
        let mut deliveries = Vec::new();
        (0..now_ms).step_by(100).for_each(|ms| consumer.handle_timeout(ms, &mut out, &mut deliveries));
        consumer.handle_message(&message, Some(run(range)), UNKNOWN, now_ms, &mut out, &mut deliveries);
        let records = deliveries.iter().flat_map(|of| records(of.offset, &of.content));
        records.map(|(offset, _)| offset).collect::<Vec<u64>>()
    };
    assert_eq!(take(record(PARTITION, 10), 10..12, 0), [0; 0]);
    // The first record has no timestamp, so the partition is old.
    assert_eq!(take(direct(PARTITION, 0), 0..1, 0), [10, 11]);
    // This run begins before the start offset, and contains it. So the start offset may be right.
    assert_eq!(take(record(PARTITION, 8), 8..13, 100), [12]);
    assert_eq!(take(record(PARTITION, 6), 6..8, 2_000), [6, 7]);
    assert_eq!(take(direct(PARTITION, 5), 5..15, 2_001), [8, 9, 13, 14]);
}

#[test]
fn runs_beyond_the_largest_offset_are_ignored() {
    let mut ingesting = Ingesting::new(MAX_OFFSET - 5, ROOM);
    let mut offer = |first, count| {
        let mut delivered = 0;
        let Ingesting { ingest, index, .. } = &mut ingesting;
        ingest.handle_published(*index, first, first.saturating_add(count - 1), 0);
        ingest.handle_run(*index, first, run(0..count), UNKNOWN, 0, |_, run| delivered += run.record_count());
        delivered
    };
    assert_eq!(offer(MAX_OFFSET - 5, 7), 0);
    assert_eq!(offer(MAX_OFFSET, 2), 0);
    assert_eq!(offer(u64::MAX, 1), 0);
    assert_eq!(offer(MAX_OFFSET - 2, 3), 0);
    assert_eq!(offer(MAX_OFFSET - 9, 10), 6);
}

#[test]
fn a_store_writes_a_run_and_acknowledges_a_repeated_one() {
    let mut replica = Replica::<Run>::new(ME, Limits::default(), 0);
    let mut out = Outbox::new();
    let handle = |replica: &mut Replica<Run>, range: Range<u64>| {
        let mut appends: Vec<Append<Run>> = Vec::new();
        let message = record(PARTITION, range.start);
        replica.handle_message(&message, Some(run(range)), UNKNOWN, 0, &mut appends);
        for Append { partition, offset, content } in &appends {
            replica.handle_committed(*partition, offset + content.record_count());
        }
        appends.iter().flat_map(|append| records(append.offset, &append.content)).collect::<Vec<_>>()
    };
    let mut acks = |replica: &mut Replica<Run>| {
        let mut acks = Vec::new();
        replica.poll_acks(&mut out);
        out.drain(|frame, _| match Message::decode(frame).expect("a message") {
            Message::Ack { sequence, .. } => acks.push(sequence),
            message => panic!("{message:?}"),
        });
        acks
    };
    assert_eq!(handle(&mut replica, 5..9), published(0..0));
    assert_eq!(handle(&mut replica, 0..6), published(0..9));
    assert_eq!(acks(&mut replica), [8]);
    assert_eq!(handle(&mut replica, 2..7), published(0..0));
    assert_eq!(acks(&mut replica), [8]);
    assert_eq!(handle(&mut replica, 7..11), published(9..11));
}
