//! The roles' state machines, one at a time: what each answers to what.

use crate::UNKNOWN;
use dafka::protocol::consumer::{Consumer, Delivery, Start};
use dafka::protocol::ingest::Limits;
use dafka::protocol::producer::Producer;
use dafka::protocol::store::reader::{EachHead, Reader, Source};
use dafka::protocol::store::replica::{Append, Replica};
use dafka::protocol::{AllRead, Outbox, Progress, partition::sequencer};
use dafka::wire::{Message, Position, SubjectsBuf, Subscription, id};
use std::collections::BTreeMap;
use std::sync::Arc;

type Content = Arc<[u8]>;

const TOPIC: &[u8] = b"topic";
const PARTITION: &[u8] = b"PARTITION";
const ME: &[u8] = b"ME";

fn content(offset: u64) -> Content {
    format!("record {offset}").into_bytes().into()
}

/// What an outbox holds, for reading: name, topic, address, subject, sequence, count, content.
fn sent(out: &mut Outbox<Content>) -> Vec<String> {
    let mut messages = Vec::new();
    out.drain(|frame, content| messages.push(describe(&Message::decode(frame).unwrap(), content)));
    messages
}

fn describe(message: &Message, content: Option<Content>) -> String {
    let text = |octets: &[u8]| String::from_utf8_lossy(octets).into_owned();
    let rest = match message {
        Message::Record(p)
        | Message::DirectRecord(p)
        | Message::Head(p)
        | Message::DirectHead { position: p, .. } => {
            format!("{} {} {}", text(p.address), text(p.subject), p.sequence)
        }
        Message::Fetch { address, subject, sequence, count, .. } => {
            format!("{} {} {sequence} {count}", text(address), text(subject))
        }
        Message::Ack { subject, sequence, .. } => format!("{} {sequence}", text(subject)),
        Message::GetHeads { address, .. } | Message::StoreHello { address, .. } => text(address),
        Message::ConsumerHello { address, subjects, .. } => {
            format!("{} {:?}", text(address), subjects.iter().map(text).collect::<Vec<_>>())
        }
    };
    let content = content.map(|content| format!(": {}", text(&content))).unwrap_or_default();
    format!("{} {} {rest}{content}", message.name(), text(message.topic()))
}

fn record(sequence: u64) -> Message<'static> {
    Message::Record(Position::new(TOPIC, PARTITION, TOPIC, sequence))
}

fn direct(sequence: u64) -> Message<'static> {
    Message::DirectRecord(Position::new(ME, PARTITION, TOPIC, sequence))
}

fn head(sequence: u64) -> Message<'static> {
    Message::Head(Position::new(TOPIC, PARTITION, TOPIC, sequence))
}

fn direct_head<'a>(address: &'a [u8], subject: &'a [u8], sequence: u64, store: &'a [u8]) -> Message<'a> {
    Message::DirectHead { position: Position::new(ME, address, subject, sequence), store }
}

fn fetch(sequence: u64, count: u32) -> Message<'static> {
    Message::Fetch { topic: PARTITION, address: ME, subject: TOPIC, sequence, count, store: b"" }
}

// ------------------------------------------------------------------------------------------------ producer

fn producer_with(count: u64) -> (Producer<Content>, Outbox<Content>) {
    let mut producer = Producer::new(TOPIC, PARTITION, 1_000).unwrap();
    let mut out = Outbox::new();
    for offset in 0..count {
        producer.publish(content(offset), 0, &mut out);
    }
    out.drain(|_, _| {});
    (producer, out)
}

fn ack(sequence: u64) -> Message<'static> {
    Message::Ack { topic: PARTITION, subject: TOPIC, sequence, store: b"" }
}

#[test]
fn a_producer_numbers_its_records_and_sends_heads_after_the_first() {
    let (mut producer, mut out) = producer_with(0);
    assert_eq!(producer.due_ms(), None);
    producer.publish(content(0), 10, &mut out);
    producer.publish(content(1), 20, &mut out);
    assert_eq!(
        sent(&mut out),
        ["RECORD topic PARTITION topic 0: record 0", "RECORD topic PARTITION topic 1: record 1"]
    );
    assert_eq!(producer.due_ms(), Some(1_010));
    producer.handle_timeout(1_009, &mut out);
    assert_eq!(sent(&mut out).len(), 0);
    producer.handle_timeout(1_010, &mut out);
    assert_eq!(sent(&mut out), ["HEAD topic PARTITION topic 1"]);
    assert_eq!(producer.due_ms(), Some(2_010));
}

#[test]
fn a_producer_keeps_what_is_not_acknowledged() {
    let (mut producer, mut out) = producer_with(10);
    assert_eq!(producer.unacknowledged(), 10);
    producer.handle_message(&ack(3), UNKNOWN, &mut out);
    producer.handle_message(&ack(2), UNKNOWN, &mut out);
    assert_eq!(producer.unacknowledged(), 6);
    // Lies: never published, another's.
    producer.handle_message(&ack(10), UNKNOWN, &mut out);
    producer.handle_message(&ack(u64::MAX), UNKNOWN, &mut out);
    producer.handle_message(
        &Message::Ack { topic: b"OTHER", subject: TOPIC, sequence: 9, store: b"" },
        UNKNOWN,
        &mut out,
    );
    producer.handle_message(
        &Message::Ack { topic: PARTITION, subject: b"other", sequence: 9, store: b"" },
        UNKNOWN,
        &mut out,
    );
    assert_eq!(producer.unacknowledged(), 6);
    producer.handle_message(&ack(9), UNKNOWN, &mut out);
    assert!(producer.is_drained());
}

fn ack_of(store: &'static [u8], sequence: u64) -> Message<'static> {
    Message::Ack { topic: PARTITION, subject: TOPIC, sequence, store }
}

/// A round of ACKs: what the stores have acknowledged counts once they acknowledge it again.
fn round(producer: &mut Producer<Content>, acks: &[(&'static [u8], u64)], out: &mut Outbox<Content>) {
    for _ in 0..2 {
        producer.handle_all_read(0);
        for &(store, sequence) in acks {
            producer.handle_message(&ack_of(store, sequence), UNKNOWN, out);
        }
    }
}

#[test]
fn a_producer_keeps_what_too_few_stores_have() {
    let (producer, mut out) = producer_with(10);
    let mut producer = producer.with_min_stores(2);
    // However often one store says it, also an anonymous one.
    for _ in 0..3 {
        round(&mut producer, &[(b"A", 5)], &mut out);
    }
    assert_eq!(producer.unacknowledged(), 10);
    round(&mut producer, &[(b"", 2), (b"A", 5)], &mut out);
    assert_eq!(producer.unacknowledged(), 7);
    round(&mut producer, &[(b"", 3), (b"A", 5)], &mut out);
    assert_eq!(producer.unacknowledged(), 6);
    // A third one, ahead of both: what the second best has counts.
    round(&mut producer, &[(b"C", 9), (b"A", 5)], &mut out);
    assert_eq!(producer.unacknowledged(), 4);
    // An older ACK takes nothing back.
    producer.handle_message(&ack_of(b"A", 4), UNKNOWN, &mut out);
    assert_eq!(producer.unacknowledged(), 4);
    round(&mut producer, &[(b"C", 9), (b"A", 9)], &mut out);
    assert!(producer.is_drained());
    assert_eq!(producer.kept_len_bytes(), 0);
}

#[test]
fn a_producer_asks_stores_to_acknowledge_again_when_that_can_be_enough() {
    let (producer, mut out) = producer_with(10);
    let mut producer = producer.with_min_stores(2);
    let due_ms = |producer: &Producer<Content>| producer.due_ms().unwrap();
    producer.handle_message(&ack_of(b"A", 9), UNKNOWN, &mut out);
    producer.handle_all_read(100);
    assert_eq!(due_ms(&producer), 1_000, "one store is too few");
    producer.handle_message(&ack_of(b"B", 9), UNKNOWN, &mut out);
    producer.handle_all_read(100);
    assert_eq!(due_ms(&producer), 120);
    producer.handle_timeout(120, &mut out);
    assert_eq!(sent(&mut out), ["HEAD topic PARTITION topic 9"]);
    // Once a round: the store that does not answer gets the next HEAD like all others.
    producer.handle_message(&ack_of(b"A", 9), UNKNOWN, &mut out);
    producer.handle_all_read(130);
    assert_eq!((producer.unacknowledged(), due_ms(&producer)), (10, 1_120));
    producer.handle_message(&ack_of(b"B", 9), UNKNOWN, &mut out);
    assert!(producer.is_drained());
}

#[test]
fn a_producer_that_always_has_more_to_read_counts_acks_all_the_same() {
    let (producer, mut out) = producer_with(10);
    let mut producer = producer.with_min_stores(2);
    for now_ms in [0, 999, 1_000] {
        producer.handle_message(&ack_of(b"A", 9), UNKNOWN, &mut out);
        producer.handle_message(&ack_of(b"B", 9), UNKNOWN, &mut out);
        assert_eq!(producer.unacknowledged(), 10);
        producer.handle_timeout(now_ms, &mut out);
    }
    producer.handle_message(&ack_of(b"A", 9), UNKNOWN, &mut out);
    producer.handle_message(&ack_of(b"B", 9), UNKNOWN, &mut out);
    assert!(producer.is_drained());
}

#[test]
fn made_up_stores_do_not_grow_a_producers_memory_nor_hide_real_ones() {
    let (producer, mut out) = producer_with(10);
    let mut producer = producer.with_min_stores(3);
    round(&mut producer, &[(b"A", 9), (b"B", 9)], &mut out);
    for i in 0..10_000u32 {
        let name = format!("made up {i}");
        let ack = Message::Ack { topic: PARTITION, subject: TOPIC, sequence: 0, store: name.as_bytes() };
        producer.handle_message(&ack, UNKNOWN, &mut out);
    }
    assert!(producer.unacknowledged() >= 9);
    round(&mut producer, &[(b"A", 9), (b"B", 9), (b"C", 9)], &mut out);
    assert!(producer.is_drained());
}

#[test]
fn a_producer_tells_what_it_keeps() {
    let (mut producer, mut out) = producer_with(0);
    assert_eq!(producer.kept_len_bytes(), 0);
    for len in [0, 10, 1_000] {
        producer.publish(vec![0; len].into(), 0, &mut out);
    }
    let overhead = dafka::protocol::producer::cost_bytes(0);
    assert_eq!(producer.kept_len_bytes(), 1_010 + 3 * overhead);
    producer.handle_message(&ack(1), UNKNOWN, &mut out);
    assert_eq!(producer.kept_len_bytes(), 1_000 + overhead);
}

#[test]
fn a_producer_sends_a_head_soon_to_a_node_of_this_library_that_subscribes_to_its_heads() {
    let (mut producer, mut out) = producer_with(3);
    let subscription = |frame: &'static [u8]| Subscription::decode(frame).unwrap();
    // Records, another topic, the end of a subscription: nothing new for anybody. A consumer of 0.1.0 under latest takes
    // the record of a HEAD that comes first for a new one.
    for other in [&b"\x01Mtopic\0"[..], b"\x01Htopic2\0", b"\x00Htopic\0", b"\x01Htopic", b"\x01H"] {
        producer.handle_subscription(&subscription(other), 100);
        assert_eq!(producer.due_ms(), Some(1_000));
    }
    for frame in [&b"\x01Htopic\0"[..], b"\x01H\0"] {
        producer.handle_subscription(&subscription(frame), 100);
        let due_ms = producer.due_ms().unwrap();
        assert!((101..200).contains(&due_ms), "{due_ms}");
        producer.handle_timeout(due_ms, &mut out);
        assert_eq!(sent(&mut out), ["HEAD topic PARTITION topic 2"]);
        assert_eq!(producer.due_ms(), Some(due_ms + 1_000));
    }
    // Without a record there is no head.
    let (mut producer, _) = producer_with(0);
    producer.handle_subscription(&subscription(b"\x01Htopic\0"), 100);
    assert_eq!(producer.due_ms(), None);
}

#[test]
fn a_producer_answers_fetches_from_what_it_keeps() {
    let (mut producer, mut out) = producer_with(10);
    producer.handle_message(&ack(3), UNKNOWN, &mut out);
    producer.handle_message(&fetch(5, 2), UNKNOWN, &mut out);
    assert_eq!(producer.poll_answers(&mut AllRead, 100, &mut out), Progress::Idle);
    assert_eq!(
        sent(&mut out),
        ["DIRECT-RECORD ME PARTITION topic 5: record 5", "DIRECT-RECORD ME PARTITION topic 6: record 6"]
    );
    // What was acknowledged is the stores' to answer; what is not there cannot be answered.
    producer.handle_message(&fetch(0, u32::MAX), UNKNOWN, &mut out);
    producer.handle_message(&fetch(10, 5), UNKNOWN, &mut out);
    producer.handle_message(&fetch(u64::MAX, u32::MAX), UNKNOWN, &mut out);
    assert_eq!(producer.poll_answers(&mut AllRead, 4, &mut out), Progress::Working);
    assert_eq!(producer.poll_answers(&mut AllRead, 4, &mut out), Progress::Idle);
    let answered = sent(&mut out);
    assert_eq!(answered.len(), 6);
    assert_eq!(answered[0], "DIRECT-RECORD ME PARTITION topic 4: record 4");
    assert_eq!(answered[5], "DIRECT-RECORD ME PARTITION topic 9: record 9");
}

#[test]
fn records_acknowledged_while_they_are_asked_for_are_not_sent() {
    let (mut producer, mut out) = producer_with(10);
    producer.handle_message(&fetch(0, 10), UNKNOWN, &mut out);
    assert_eq!(producer.poll_answers(&mut AllRead, 2, &mut out), Progress::Working);
    producer.handle_message(&ack(7), UNKNOWN, &mut out);
    assert_eq!(producer.poll_answers(&mut AllRead, 100, &mut out), Progress::Idle);
    assert_eq!(sent(&mut out).last().unwrap(), "DIRECT-RECORD ME PARTITION topic 9: record 9");
    producer.handle_message(&fetch(8, 2), UNKNOWN, &mut out);
    producer.handle_message(&ack(9), UNKNOWN, &mut out);
    assert_eq!(producer.poll_answers(&mut AllRead, 100, &mut out), Progress::Idle);
    assert_eq!(sent(&mut out).len(), 0);
}

#[test]
fn a_producer_answers_get_heads_once_it_has_published() {
    let get_heads = Message::GetHeads { topic: TOPIC, address: ME };
    let (mut producer, mut out) = producer_with(0);
    producer.handle_message(&get_heads, UNKNOWN, &mut out);
    assert_eq!(sent(&mut out).len(), 0);
    let (mut producer, mut out) = producer_with(3);
    producer.handle_message(&get_heads, UNKNOWN, &mut out);
    producer.handle_message(&Message::GetHeads { topic: b"topic2", address: ME }, UNKNOWN, &mut out);
    assert_eq!(sent(&mut out), ["DIRECT-HEAD ME PARTITION topic 2"]);
}

// ------------------------------------------------------------------------------------------------ consumer

struct Reading {
    consumer: Consumer<Content>,
    out: Outbox<Content>,
    delivered: Vec<Delivery<Content>>,
}

impl Reading {
    fn new(start: Start) -> Reading {
        let mut consumer = Consumer::new(ME, start, Limits::default(), 0);
        let mut out = Outbox::new();
        assert!(consumer.subscribe(TOPIC, &mut out));
        Reading { consumer, out, delivered: Vec::new() }
    }

    fn take(&mut self, message: Message, content: Option<Content>, now_ms: u64) {
        self.consumer.handle_message(&message, content, UNKNOWN, now_ms, &mut self.out, &mut self.delivered);
        self.consumer.handle_timeout(now_ms, &mut self.out);
    }

    /// Offsets delivered since the last call; each with the right content.
    fn delivered(&mut self) -> Vec<u64> {
        for delivery in &self.delivered {
            assert_eq!(delivery.content, content(delivery.offset));
            assert_eq!(self.consumer.partition(delivery.partition), (TOPIC, PARTITION));
        }
        self.delivered.drain(..).map(|delivery| delivery.offset).collect()
    }
}

#[test]
fn an_earliest_consumer_asks_for_heads_and_fetches_from_the_beginning() {
    let mut reading = Reading::new(Start::Earliest);
    assert_eq!(sent(&mut reading.out), ["GET-HEADS topic ME"]);
    reading.take(direct_head(PARTITION, TOPIC, 2, b""), None, 1);
    assert_eq!(sent(&mut reading.out), ["FETCH PARTITION ME topic 0 3"]);
    for offset in [0, 2, 1, 1] {
        reading.take(direct(offset), Some(content(offset)), 2);
    }
    assert_eq!(reading.delivered(), [0, 1, 2]);
    reading.take(record(3), Some(content(3)), 3);
    assert_eq!(reading.delivered(), [3]);
    assert_eq!(sent(&mut reading.out).len(), 0);
}

#[test]
fn a_latest_consumer_starts_with_what_it_hears_first() {
    let mut reading = Reading::new(Start::Latest);
    assert_eq!(sent(&mut reading.out).len(), 0);
    reading.take(record(5), Some(content(5)), 1);
    assert_eq!(reading.delivered(), [5]);
    // A HEAD says that 5 was published before: the next one is 6, and 5 is not for us.
    let mut reading = Reading::new(Start::Latest);
    reading.take(head(5), None, 1);
    reading.take(record(5), Some(content(5)), 1);
    assert_eq!(reading.delivered(), [0; 0]);
    reading.take(record(7), Some(content(7)), 2);
    assert_eq!(sent(&mut reading.out), ["FETCH PARTITION ME topic 6 1"]);
    reading.take(direct(6), Some(content(6)), 3);
    assert_eq!(reading.delivered(), [6, 7]);
}

#[test]
fn an_answer_opens_no_partition() {
    let mut reading = Reading::new(Start::Latest);
    // A store may be ahead of the producer's connection: records from 5 on are still to come, and new.
    reading.take(direct_head(PARTITION, TOPIC, 9, b""), None, 1);
    reading.take(direct(3), Some(content(3)), 1);
    reading.take(record(5), Some(content(5)), 2);
    assert_eq!(reading.delivered(), [5]);
    // Once the partition is known, a store's head tells of what was lost.
    reading.take(direct_head(PARTITION, TOPIC, 6, b""), None, 3);
    assert_eq!(sent(&mut reading.out), ["FETCH PARTITION ME topic 6 1"]);
}

#[test]
fn fetches_that_nobody_answers_do_not_hold_up_others() {
    let limits = Limits { in_flight_len_bytes: 100, ..Limits::default() };
    let mut consumer: Consumer<Content> = Consumer::new(ME, Start::Earliest, limits, 0);
    let (mut out, mut delivered) = (Outbox::new(), Vec::new());
    consumer.subscribe(TOPIC, &mut out);
    sent(&mut out);
    let names = [b"A", b"B", b"C", b"D"];
    for (now_ms, name) in names.iter().enumerate() {
        let message = Message::Head(Position::new(TOPIC, *name, TOPIC, 9));
        consumer.handle_message(&message, None, UNKNOWN, now_ms as u64, &mut out, &mut delivered);
    }
    let mut asked = std::collections::BTreeSet::new();
    for now_ms in 10..2_000 {
        consumer.handle_timeout(now_ms, &mut out);
        asked.extend(sent(&mut out));
        if now_ms == 10 {
            assert_eq!(asked.len(), 1, "the others wait: {asked:?}");
        }
    }
    assert_eq!(asked.len(), names.len(), "{asked:?}");
}

/// Found by the simulation, seed 9 of its first version.
#[test]
fn fetches_that_were_answered_in_part_do_not_wait_for_each_other() {
    let limits = Limits { in_flight_len_bytes: 2_000, ..Limits::default() };
    let mut consumer: Consumer<Content> = Consumer::new(ME, Start::Earliest, limits, 0);
    let (mut out, mut delivered) = (Outbox::new(), Vec::new());
    consumer.subscribe(TOPIC, &mut out);
    let names = [b"A", b"B"];
    for name in names {
        let message = Message::Head(Position::new(TOPIC, name, TOPIC, 99));
        consumer.handle_message(&message, None, UNKNOWN, 0, &mut out, &mut delivered);
    }
    consumer.handle_timeout(0, &mut out);
    // Each brings one record, so long that the rest of its window would take all the room there is; then no more.
    for name in names {
        let message = Message::DirectRecord(Position::new(ME, name, TOPIC, 0));
        consumer.handle_message(&message, Some(vec![0; 1_000].into()), UNKNOWN, 1, &mut out, &mut delivered);
    }
    sent(&mut out);
    for now_ms in 2..5_000 {
        consumer.handle_timeout(now_ms, &mut out);
    }
    let asked = sent(&mut out);
    for name in ["A", "B"] {
        let start = format!("FETCH {name} ME topic 1 ");
        assert!(asked.iter().any(|fetch| fetch.starts_with(&start)), "{asked:?}");
    }
}

#[test]
fn an_unanswered_fetch_is_repeated_without_anybody_else_speaking() {
    let mut reading = Reading::new(Start::Earliest);
    reading.take(head(0), None, 1_000);
    sent(&mut reading.out);
    let due_ms = reading.consumer.due_ms();
    assert!(due_ms > 1_000 && due_ms <= 2_000);
    reading.consumer.handle_timeout(due_ms, &mut reading.out);
    assert_eq!(sent(&mut reading.out), ["FETCH PARTITION ME topic 0 1"]);
}

#[test]
fn topics_are_exact() {
    let mut reading = Reading::new(Start::Earliest);
    sent(&mut reading.out);
    for subject in [&b"topic2"[..], b"topi", b""] {
        reading.take(Message::Record(Position::new(subject, PARTITION, subject, 0)), Some(content(0)), 1);
        reading.take(direct_head(PARTITION, subject, 4, b""), None, 1);
    }
    // The subject counts, not the first frame's topic.
    reading.take(Message::Record(Position::new(TOPIC, PARTITION, b"topic2", 0)), Some(content(0)), 1);
    assert_eq!(reading.delivered(), [0; 0]);
    assert_eq!(sent(&mut reading.out).len(), 0);
}

#[test]
fn stores_get_a_hello_with_the_topics_under_earliest_only() {
    let subscription =
        Subscription { subscribe: true, id: id::CONSUMER_HELLO, topic: b"STORE", is_exact: false };
    for (start, expected) in [
        (Start::Earliest, r#"CONSUMER-HELLO STORE ME ["topic"]"#),
        (Start::Latest, "CONSUMER-HELLO STORE ME []"),
    ] {
        let mut reading = Reading::new(start);
        sent(&mut reading.out);
        reading.consumer.handle_subscription(&subscription, &mut reading.out);
        reading.take(Message::StoreHello { topic: ME, address: b"STORE" }, None, 1);
        assert_eq!(sent(&mut reading.out), [expected, expected]);
        let end = Subscription { subscribe: false, ..subscription };
        reading.consumer.handle_subscription(&end, &mut reading.out);
        assert_eq!(sent(&mut reading.out).len(), 0);
    }
}

const TOPICS: [&[u8]; 4] = [b"a", b"ab", b"abc", b"b"];

/// Publishes one record of each topic, and returns the topics of those that are delivered.
fn subjects(reading: &mut Reading, sequence: u64) -> Vec<String> {
    for topic in TOPICS {
        let record = Message::Record(Position::new(topic, PARTITION, topic, sequence));
        reading.take(record, Some(content(sequence)), 1);
    }
    let subject = |delivery: &Delivery<Content>| {
        String::from_utf8_lossy(reading.consumer.partition(delivery.partition).0).into_owned()
    };
    let subjects = reading.delivered.iter().map(subject).collect();
    reading.delivered.clear();
    subjects
}

#[test]
fn the_empty_topic_and_prefixes_stand_for_many_topics() {
    let reading = |is_prefix: bool, topics: &[&[u8]]| {
        let mut consumer = Consumer::new(ME, Start::Earliest, Limits::default(), 0);
        if is_prefix {
            consumer = consumer.matching_prefixes();
        }
        let mut reading = Reading { consumer, out: Outbox::new(), delivered: Vec::new() };
        topics.iter().for_each(|topic| assert!(reading.consumer.subscribe(topic, &mut reading.out)));
        reading
    };
    let mut all = reading(false, &[b"", b"b"]);
    assert_eq!(sent(&mut all.out), ["GET-HEADS  ME", "GET-HEADS b ME"]);
    assert_eq!(subjects(&mut all, 0), ["a", "ab", "abc", "b"]);
    // The stores are asked for all topics, once.
    let hello = Subscription { subscribe: true, id: id::CONSUMER_HELLO, topic: b"STORE", is_exact: false };
    all.consumer.handle_subscription(&hello, &mut all.out);
    all.consumer.handle_timeout(100_000, &mut all.out);
    assert_eq!(sent(&mut all.out), [r#"CONSUMER-HELLO STORE ME [""]"#, "GET-HEADS  ME"]);
    assert!(all.consumer.remains(b"", b"b") && !all.consumer.remains(b"", b"ab"));
    assert!(all.consumer.unsubscribe(b""));
    assert_eq!(subjects(&mut all, 1), ["b"]);

    assert_eq!(subjects(&mut reading(false, &[b"ab"]), 0), ["ab"]);
    let mut two = reading(true, &[b"ab"]);
    assert_eq!(sent(&mut two.out), ["GET-HEADS  ME"], "a store responds for one topic or for all");
    assert_eq!(subjects(&mut two, 0), ["ab", "abc"]);
    assert_eq!(subjects(&mut reading(true, &[b"abc", b"a"]), 0), ["a", "ab", "abc"]);
}

#[test]
fn unsubscribing_forgets_the_partitions() {
    let mut reading = Reading::new(Start::Earliest);
    reading.take(record(1), Some(content(1)), 1);
    sent(&mut reading.out);
    assert!(reading.consumer.unsubscribe(TOPIC));
    assert!(!reading.consumer.unsubscribe(TOPIC));
    reading.take(direct(0), Some(content(0)), 2);
    reading.consumer.handle_timeout(9_999, &mut reading.out);
    assert_eq!(reading.delivered(), [0; 0]);
    assert_eq!(sent(&mut reading.out).len(), 0);
    // Subscribed to again, the topic is read from its beginning.
    assert!(reading.consumer.subscribe(TOPIC, &mut reading.out));
    assert!(!reading.consumer.subscribe(TOPIC, &mut reading.out));
    reading.take(record(0), Some(content(0)), 3);
    assert_eq!(reading.delivered(), [0]);
}

#[test]
fn messages_that_make_no_sense_change_nothing() {
    let mut reading = Reading::new(Start::Earliest);
    sent(&mut reading.out);
    reading.take(record(0), None, 1);
    reading.take(head(0), Some(content(0)), 1);
    reading.take(Message::Record(Position::new(TOPIC, b"", TOPIC, 0)), Some(content(0)), 1);
    reading.take(fetch(0, 1), None, 1);
    reading.take(ack(0), None, 1);
    assert_eq!(reading.delivered(), [0; 0]);
    assert_eq!(sent(&mut reading.out).len(), 0);
    // Offsets at the end of the numbers.
    reading.take(record(u64::MAX), Some(content(0)), 1);
    reading.take(head(u64::MAX), None, 1);
    assert_eq!(sent(&mut reading.out).len(), 0);
    reading.take(head(sequencer::MAX_OFFSET), None, 1);
    assert_eq!(sent(&mut reading.out), ["FETCH PARTITION ME topic 0 16"]);
}

#[test]
fn partitions_are_bounded() {
    let limits = Limits { partitions: 3, ..Limits::default() };
    let mut consumer: Consumer<Content> = Consumer::new(ME, Start::Earliest, limits, 0);
    let (mut out, mut delivered) = (Outbox::new(), Vec::new());
    consumer.subscribe(TOPIC, &mut out);
    for i in 0..5_u8 {
        let address = [b'A' + i];
        let message = Message::Record(Position::new(TOPIC, &address, TOPIC, 0));
        consumer.handle_message(&message, Some(content(0)), UNKNOWN, 0, &mut out, &mut delivered);
    }
    assert_eq!(delivered.len(), 3);
}

// ------------------------------------------------------------------------------------------------ replica

struct Storing {
    replica: Replica<Content>,
    out: Outbox<Content>,
    appends: Vec<Append<Content>>,
}

impl Storing {
    fn new() -> Storing {
        Storing { replica: Replica::new(ME, Limits::default(), 0), out: Outbox::new(), appends: Vec::new() }
    }

    fn take(&mut self, message: Message, content: Option<Content>) {
        self.replica.handle_message(&message, content, UNKNOWN, 1, &mut self.appends);
        self.replica.handle_timeout(1, &mut self.out);
    }

    /// Everything that was to be written is durable now.
    fn commit(&mut self) -> Vec<u64> {
        let mut offsets = Vec::new();
        for append in self.appends.drain(..) {
            assert_eq!(append.content, content(append.offset));
            self.replica.handle_committed(append.partition, append.offset + 1);
            offsets.push(append.offset);
        }
        offsets
    }

    fn sent(&mut self) -> Vec<String> {
        self.replica.poll_acks(&mut self.out);
        sent(&mut self.out)
    }
}

#[test]
fn a_store_acknowledges_what_is_durable_and_nothing_else() {
    let mut storing = Storing::new();
    for offset in 0..3 {
        storing.take(record(offset), Some(content(offset)));
    }
    assert_eq!(storing.sent().len(), 0);
    assert_eq!(storing.commit(), [0, 1, 2]);
    assert_eq!(storing.sent(), ["ACK PARTITION topic 2"]);
    assert_eq!(storing.sent().len(), 0);
}

#[test]
fn a_store_acknowledges_again_what_it_sees_again() {
    let mut storing = Storing::new();
    storing.replica.open(TOPIC, PARTITION, 5).unwrap();
    storing.take(record(3), Some(content(3)));
    assert_eq!(storing.sent(), ["ACK PARTITION topic 4"]);
    storing.take(head(4), None);
    assert_eq!(storing.sent(), ["ACK PARTITION topic 4"]);
    // An answer that came twice is no sign of a lost ACK.
    storing.take(direct(3), Some(content(3)));
    assert_eq!(storing.sent().len(), 0);
    assert_eq!(storing.commit(), [0; 0]);
}

#[test]
fn a_store_fetches_what_it_lacks_before_it_writes_what_came_early() {
    let mut storing = Storing::new();
    storing.take(record(2), Some(content(2)));
    assert_eq!(storing.sent(), ["FETCH PARTITION ME topic 0 2"]);
    assert_eq!(storing.commit(), [0; 0]);
    storing.take(direct(0), Some(content(0)));
    storing.take(direct(1), Some(content(1)));
    assert_eq!(storing.commit(), [0, 1, 2]);
    assert_eq!(storing.sent(), ["ACK PARTITION topic 2"]);
}

#[test]
fn a_store_asks_other_stores_what_they_hold_and_fetches_it() {
    let mut storing = Storing::new();
    let subscription = Subscription { subscribe: true, id: id::GET_HEADS, topic: b"", is_exact: false };
    storing.replica.handle_subscription(&subscription, 1);
    let due_ms = storing.replica.due_ms();
    storing.replica.handle_timeout(due_ms, &mut storing.out);
    assert_eq!(storing.sent(), ["GET-HEADS  ME"]);
    storing.take(direct_head(b"OLD", b"old topic", 9, b""), None);
    assert_eq!(storing.sent(), ["FETCH OLD ME old topic 0 10"]);
}

#[test]
fn names_that_name_nothing_open_no_partition() {
    let mut storing = Storing::new();
    storing.take(Message::Record(Position::new(TOPIC, b"", TOPIC, 0)), Some(content(0)));
    storing.take(Message::Record(Position::new(b"", PARTITION, b"", 0)), Some(content(0)));
    assert_eq!(storing.commit(), [0; 0]);
}

// ------------------------------------------------------------------------------------------------ reader

/// Partitions by subject and address: how many records each has.
struct Log(BTreeMap<(&'static [u8], &'static [u8]), u64>);

impl Source for Log {
    type Error = &'static str;

    fn heads(
        &self,
        subject: Option<&[u8]>,
        after: Option<&[u8]>,
        count: u64,
        each: &mut EachHead,
    ) -> Result<Option<Box<[u8]>>, Self::Error> {
        let is_next = |key: &[u8]| after.is_none_or(|after| key > after);
        let mut place = None;
        let mut left = count;
        for ((of, address), records) in &self.0 {
            let key = [of, &b"\0"[..], address].concat();
            if subject.is_none_or(|subject| subject == *of) && is_next(&key) {
                if left == 0 {
                    return Ok(place);
                }
                each(of, address, records - 1);
                (place, left) = (Some(key.into()), left - 1);
            }
        }
        Ok(None)
    }

    fn read(
        &self,
        subject: &[u8],
        address: &[u8],
        from: u64,
        count: u64,
        each: &mut dyn FnMut(u64, &[u8]),
    ) -> Result<u64, Self::Error> {
        let next =
            self.0.iter().find(|((s, a), _)| *s == subject && *a == address).map_or(0, |(_, next)| *next);
        // At most three at a time: a source may stop sooner than it was asked to.
        let end = next.min(from.saturating_add(count.min(3)));
        (from..end).for_each(|offset| each(offset, &content(offset)));
        Ok(end.saturating_sub(from))
    }
}

fn log() -> Log {
    Log(BTreeMap::from([
        ((TOPIC, PARTITION), 10),
        ((&b"topic2"[..], PARTITION), 1),
        ((TOPIC, &b"OTHER"[..]), 2),
    ]))
}

fn answer_all(reader: &mut Reader, out: &mut Outbox<Content>) -> Vec<String> {
    while reader.poll_answers(&mut AllRead, 100, &log(), out, |content| content.into()).unwrap()
        != Progress::Idle
    {}
    sent(out)
}

#[test]
fn a_reader_answers_exactly_what_was_asked_for() {
    let (mut reader, mut out) = (Reader::new(b"STORE"), Outbox::new());
    reader.handle_message(&fetch(2, 5), UNKNOWN);
    let answered = answer_all(&mut reader, &mut out);
    assert_eq!(answered.len(), 5);
    assert_eq!(answered[0], "DIRECT-RECORD ME PARTITION topic 2: record 2");
    assert_eq!(answered[4], "DIRECT-RECORD ME PARTITION topic 6: record 6");
    reader.handle_message(&fetch(8, u32::MAX), UNKNOWN);
    assert_eq!(answer_all(&mut reader, &mut out).len(), 2);
    for nothing in [fetch(10, 1), fetch(u64::MAX, u32::MAX), fetch(0, 0)] {
        reader.handle_message(&nothing, UNKNOWN);
        assert_eq!(answer_all(&mut reader, &mut out).len(), 0);
    }
}

#[test]
fn a_store_that_is_not_asked_leaves_the_answer_to_the_one_that_is() {
    let (mut reader, mut out) = (Reader::new(b"READER").named(b"STORE"), Outbox::new());
    let fetch = |store| Message::Fetch {
        topic: PARTITION,
        address: ME,
        subject: TOPIC,
        sequence: 0,
        count: 2,
        store,
    };
    for (store, count) in [(&b"STORE"[..], 2), (b"ANOTHER", 0), (b"", 2), (b"READER", 0)] {
        reader.handle_message(&fetch(store), UNKNOWN);
        assert_eq!(answer_all(&mut reader, &mut out).len(), count);
    }
    // A producer is asked in any case: what it keeps may be nowhere else.
    let (mut producer, mut out) = producer_with(2);
    producer.handle_message(&fetch(b"STORE"), UNKNOWN, &mut out);
    producer.poll_answers(&mut AllRead, 10, &mut out);
    assert_eq!(sent(&mut out).len(), 2);
}

#[test]
fn who_misses_records_asks_one_of_the_stores_that_have_them() {
    let named = |store| {
        let (mut reader, mut out) = (Reader::new(b"READER").named(store), Outbox::<Content>::new());
        reader.handle_message(&Message::GetHeads { topic: TOPIC, address: ME }, UNKNOWN);
        while reader.poll_answers(&mut AllRead, 1, &log(), &mut out, |content| content.into()).unwrap()
            != Progress::Idle
        {}
        out
    };
    let mut reading = Reading::new(Start::Earliest);
    sent(&mut reading.out);
    let mut storing = Storing::new();
    for store in [b"A", b"B"] {
        let (mut heads, mut frames) = (named(store), Vec::new());
        heads.drain(|frame, _| frames.push(frame.to_vec()));
        assert_eq!(frames.len(), 2);
        for frame in &frames {
            storing.replica.handle_message(
                &Message::decode(frame).unwrap(),
                None,
                UNKNOWN,
                0,
                &mut storing.appends,
            );
            let (consumer, out) = (&mut reading.consumer, &mut reading.out);
            consumer.handle_message(
                &Message::decode(frame).unwrap(),
                None,
                UNKNOWN,
                0,
                out,
                &mut reading.delivered,
            );
        }
    }
    reading.consumer.handle_timeout(0, &mut reading.out);
    storing.replica.handle_timeout(0, &mut storing.out);
    for out in [&mut reading.out, &mut storing.out] {
        let mut stores = Vec::new();
        out.drain(|frame, _| match Message::decode(frame).unwrap() {
            Message::Fetch { store, count, .. } => stores.push((store.to_vec(), count)),
            other => panic!("{other:?}"),
        });
        assert_eq!(stores.iter().map(|(_, count)| count).collect::<Vec<_>>(), [&2, &10]);
        assert!(stores.iter().all(|(store, _)| [&b"A"[..], b"B"].contains(&store.as_slice())), "{stores:?}");
    }
}

#[test]
fn a_reader_tells_the_heads_of_one_topic_or_of_all() {
    let (mut reader, mut out) = (Reader::new(b"STORE"), Outbox::new());
    reader.handle_message(&Message::GetHeads { topic: TOPIC, address: ME }, UNKNOWN);
    reader.handle_message(&Message::GetHeads { topic: TOPIC, address: ME }, UNKNOWN);
    assert_eq!(
        answer_all(&mut reader, &mut out),
        ["DIRECT-HEAD ME OTHER topic 1", "DIRECT-HEAD ME PARTITION topic 9"]
    );
    reader.handle_message(&Message::GetHeads { topic: b"", address: ME }, UNKNOWN);
    assert_eq!(answer_all(&mut reader, &mut out).len(), 3);
    reader.handle_message(&Message::GetHeads { topic: b"", address: b"" }, UNKNOWN);
    assert_eq!(answer_all(&mut reader, &mut out).len(), 0);
}

#[test]
fn a_reader_greets_consumers_and_answers_their_hello() {
    let (mut reader, mut out) = (Reader::new(b"STORE"), Outbox::new());
    reader.handle_subscription(
        &Subscription { subscribe: true, id: id::STORE_HELLO, topic: ME, is_exact: false },
        &mut out,
    );
    reader.handle_subscription(
        &Subscription { subscribe: false, id: id::STORE_HELLO, topic: ME, is_exact: false },
        &mut out,
    );
    reader.handle_subscription(
        &Subscription { subscribe: true, id: id::DIRECT_HEAD, topic: ME, is_exact: false },
        &mut out,
    );
    assert_eq!(sent(&mut out), ["STORE-HELLO ME STORE"]);
    // A peer may subscribe to what is no name.
    reader.handle_subscription(
        &Subscription { subscribe: true, id: id::STORE_HELLO, topic: &[b'x'; 300], is_exact: false },
        &mut out,
    );
    assert_eq!(sent(&mut out).len(), 0);

    let mut subjects = SubjectsBuf::new();
    subjects.push(b"topic2").unwrap();
    subjects.push(b"unknown").unwrap();
    let hello = |topic| Message::ConsumerHello { topic, address: ME, subjects: subjects.as_subjects() };
    reader.handle_message(&hello(b"ANOTHER STORE"), UNKNOWN);
    assert_eq!(answer_all(&mut reader, &mut out).len(), 0);
    reader.handle_message(&hello(b"STORE"), UNKNOWN);
    assert_eq!(answer_all(&mut reader, &mut out), ["DIRECT-HEAD ME PARTITION topic2 0"]);
}

#[test]
fn a_subject_named_a_thousand_times_is_answered_once() {
    let (mut reader, mut out) = (Reader::new(b"STORE"), Outbox::new());
    let mut subjects = SubjectsBuf::new();
    for _ in 0..1_000 {
        subjects.push(b"").unwrap();
    }
    reader.handle_message(
        &Message::ConsumerHello { topic: b"STORE", address: ME, subjects: subjects.as_subjects() },
        UNKNOWN,
    );
    assert_eq!(answer_all(&mut reader, &mut out).len(), 3);
}
