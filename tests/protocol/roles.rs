//! The state machines of the roles, one at a time: their answers to messages.

use crate::UNKNOWN;
use crate::rig::{
    Content, Log, ME, PARTITION, Reading, SUBSCRIBED, TOPIC, ack, content, direct_head, get_heads,
};
use dafka::partition_name::PartitionName;
use dafka::protocol::consumer::{Consumer, Delivery, Start};
use dafka::protocol::ingest::Limits;
use dafka::protocol::producer::Producer;
use dafka::protocol::store::reader::Reader;
use dafka::protocol::store::replica::{Append, Replica};
use dafka::protocol::{AllRead, Outbox, Progress, partition::sequencer};
use dafka::wire::{Message, Position, SubjectsBuf, Subscription, id};

/// The messages of an outbox as text: name, topic, address, subject, sequence, count, content.
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
        | Message::Records(p)
        | Message::DirectRecords(p)
        | Message::Head(p)
        | Message::DirectHead { position: p, .. } => {
            format!("{} {} {}", text(p.address), text(p.subject), p.sequence)
        }
        Message::Fetch { address, subject, sequence, count, .. } => {
            format!("{} {} {sequence} {count}", text(address), text(subject))
        }
        Message::Ack { subject, sequence, .. } => format!("{} {sequence}", text(subject)),
        Message::GetHeads { address, .. }
        | Message::StoreHello { address, .. }
        | Message::GetPositions { address, .. }
        | Message::Member { address, .. } => text(address),
        Message::Commit { position: p, .. }
        | Message::CommitAck { position: p, .. }
        | Message::Position { position: p, .. } => {
            format!("{} {} {}", text(p.address), text(p.subject), p.sequence)
        }
        Message::ConsumerHello { address, subjects, .. } => {
            format!("{} {:?}", text(address), subjects.iter().map(text).collect::<Vec<_>>())
        }
    };
    let content = content.map(|content| format!(": {}", text(&content))).unwrap_or_default();
    format!("{} {} {rest}{content}", message.name(), text(message.topic()))
}

fn record(sequence: u64) -> Message<'static> {
    crate::rig::record(PARTITION, sequence)
}

fn direct(sequence: u64) -> Message<'static> {
    crate::rig::direct(PARTITION, sequence)
}

fn head(sequence: u64) -> Message<'static> {
    crate::rig::head(PARTITION, sequence)
}

fn fetch(sequence: u64, count: u32) -> Message<'static> {
    crate::rig::fetch(PARTITION, sequence, count, b"")
}

fn ack_of(store: &'static [u8], sequence: u64) -> Message<'static> {
    ack(PARTITION, sequence, store)
}

fn subscription(id: u8, topic: &[u8]) -> Subscription<'_> {
    Subscription { subscribe: true, id, topic, is_exact: false }
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
fn a_producer_keeps_unacknowledged_records() {
    let (mut producer, mut out) = producer_with(10);
    assert_eq!(producer.unacknowledged(), 10);
    producer.handle_message(&ack_of(b"", 3), UNKNOWN, &mut out);
    producer.handle_message(&ack_of(b"", 2), UNKNOWN, &mut out);
    assert_eq!(producer.unacknowledged(), 6);
    // These ACKs are of records that were not published, of another partition, and of another topic.
    let other_topic = Message::Ack { topic: PARTITION, subject: b"other", sequence: 9, store: b"" };
    for wrong in [ack_of(b"", 10), ack_of(b"", u64::MAX), ack(b"OTHER", 9, b""), other_topic] {
        producer.handle_message(&wrong, UNKNOWN, &mut out);
    }
    assert_eq!(producer.unacknowledged(), 6);
    producer.handle_message(&ack_of(b"", 9), UNKNOWN, &mut out);
    assert!(producer.is_drained());
}

/// Sends ACKs twice, because ACKs count when the stores have repeated them.
fn round(producer: &mut Producer<Content>, acks: &[(&'static [u8], u64)], out: &mut Outbox<Content>) {
    for _ in 0..2 {
        producer.handle_all_read(0);
        for &(store, sequence) in acks {
            producer.handle_message(&ack_of(store, sequence), UNKNOWN, out);
        }
    }
}

#[test]
fn a_producer_keeps_records_that_too_few_stores_have() {
    let (producer, mut out) = producer_with(10);
    let mut producer = producer.with_min_stores(2);
    // One store does not count twice, however often it sends its ACK.
    for _ in 0..3 {
        round(&mut producer, &[(b"A", 5)], &mut out);
    }
    assert_eq!(producer.unacknowledged(), 10);
    round(&mut producer, &[(b"", 2), (b"A", 5)], &mut out);
    assert_eq!(producer.unacknowledged(), 7);
    round(&mut producer, &[(b"", 3), (b"A", 5)], &mut out);
    assert_eq!(producer.unacknowledged(), 6);
    // With a third store ahead of both, the second best ACK counts.
    round(&mut producer, &[(b"C", 9), (b"A", 5)], &mut out);
    assert_eq!(producer.unacknowledged(), 4);
    // An older ACK has no effect.
    producer.handle_message(&ack_of(b"A", 4), UNKNOWN, &mut out);
    assert_eq!(producer.unacknowledged(), 4);
    round(&mut producer, &[(b"C", 9), (b"A", 9)], &mut out);
    assert!(producer.is_drained());
    assert_eq!(producer.kept_len_bytes(), 0);
}

#[test]
fn a_producer_sends_a_head_early_when_repeated_acks_can_be_enough() {
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
    // The producer sends such an early HEAD once per round. The next HEAD comes at the usual time.
    producer.handle_message(&ack_of(b"A", 9), UNKNOWN, &mut out);
    producer.handle_all_read(130);
    assert_eq!((producer.unacknowledged(), due_ms(&producer)), (10, 1_120));
    producer.handle_message(&ack_of(b"B", 9), UNKNOWN, &mut out);
    assert!(producer.is_drained());
}

#[test]
fn acks_count_in_a_producer_that_always_has_messages_to_read() {
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
    // Twice as many stores as the producer may know.
    for i in 0..2_000u32 {
        let name = format!("made up {i}");
        let ack = Message::Ack { topic: PARTITION, subject: TOPIC, sequence: 0, store: name.as_bytes() };
        producer.handle_message(&ack, UNKNOWN, &mut out);
    }
    assert!(producer.unacknowledged() >= 9);
    round(&mut producer, &[(b"A", 9), (b"B", 9), (b"C", 9)], &mut out);
    assert!(producer.is_drained());
}

#[test]
fn a_producer_reports_the_length_of_its_kept_records() {
    let (mut producer, mut out) = producer_with(0);
    assert_eq!(producer.kept_len_bytes(), 0);
    for len in [0, 10, 1_000] {
        producer.publish(vec![0; len].into(), 0, &mut out);
    }
    let overhead = dafka::protocol::producer::cost_bytes(0);
    assert_eq!(producer.kept_len_bytes(), 1_010 + 3 * overhead);
    producer.handle_message(&ack_of(b"", 1), UNKNOWN, &mut out);
    assert_eq!(producer.kept_len_bytes(), 1_000 + overhead);
}

#[test]
fn a_producer_sends_a_head_soon_to_a_node_of_this_library_that_subscribes_to_its_heads() {
    let (mut producer, mut out) = producer_with(3);
    let subscription = |frame: &'static [u8]| Subscription::decode(frame).unwrap();
    // The producer sends no early HEAD after these: subscriptions to records and to another topic, the end of a
    // subscription, and subscriptions of 0.1.0. A consumer of 0.1.0 under `latest` treats the record that its first
    // HEAD names as new.
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
    // Without a record there is no HEAD.
    let (mut producer, _) = producer_with(0);
    producer.handle_subscription(&subscription(b"\x01Htopic\0"), 100);
    assert_eq!(producer.due_ms(), None);
}

#[test]
fn a_producer_answers_fetches_from_what_it_keeps() {
    let (mut producer, mut out) = producer_with(10);
    producer.handle_message(&ack_of(b"", 3), UNKNOWN, &mut out);
    producer.handle_message(&fetch(5, 2), UNKNOWN, &mut out);
    assert_eq!(producer.poll_answers(&mut AllRead, 100, &mut out), Progress::Idle);
    assert_eq!(
        sent(&mut out),
        ["DIRECT-RECORD ME PARTITION topic 5: record 5", "DIRECT-RECORD ME PARTITION topic 6: record 6"]
    );
    // The producer's answers contain no acknowledged records, because the stores have those, and end at its last
    // record.
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
    producer.handle_message(&ack_of(b"", 7), UNKNOWN, &mut out);
    assert_eq!(producer.poll_answers(&mut AllRead, 100, &mut out), Progress::Idle);
    assert_eq!(sent(&mut out).last().unwrap(), "DIRECT-RECORD ME PARTITION topic 9: record 9");
    producer.handle_message(&fetch(8, 2), UNKNOWN, &mut out);
    producer.handle_message(&ack_of(b"", 9), UNKNOWN, &mut out);
    assert_eq!(producer.poll_answers(&mut AllRead, 100, &mut out), Progress::Idle);
    assert_eq!(sent(&mut out).len(), 0);
}

#[test]
fn a_producer_answers_get_heads_once_it_has_published() {
    let (mut producer, mut out) = producer_with(0);
    producer.handle_message(&get_heads(TOPIC, ME), UNKNOWN, &mut out);
    assert_eq!(sent(&mut out).len(), 0);
    let (mut producer, mut out) = producer_with(3);
    producer.handle_message(&get_heads(TOPIC, ME), UNKNOWN, &mut out);
    producer.handle_message(&get_heads(b"topic2", ME), UNKNOWN, &mut out);
    assert_eq!(sent(&mut out), ["DIRECT-HEAD ME PARTITION topic 2"]);
}

// ------------------------------------------------------------------------------------------------ consumer

impl Reading {
    fn at(start: Start) -> Reading {
        Reading::new(start, Limits::default())
    }

    fn accept(&mut self, message: Message, content: Option<Content>, now_ms: u64) {
        self.handle(&message, content, now_ms);
        self.handle_timeout(now_ms);
    }

    /// The offsets of the records that were delivered since the last call, after a check of their content.
    fn delivered(&mut self) -> Vec<u64> {
        for delivery in &self.delivered {
            assert_eq!(delivery.content, content(delivery.offset));
            assert_eq!(
                self.consumer.partition(delivery.partition),
                PartitionName { topic: TOPIC, producer: PARTITION }
            );
        }
        self.offsets()
    }
}

#[test]
fn an_earliest_consumer_asks_for_heads_and_fetches_from_the_beginning() {
    let mut reading = Reading::at(Start::Earliest);
    assert_eq!(sent(&mut reading.out), ["GET-HEADS topic ME"]);
    reading.accept(direct_head(PARTITION, 2, b""), None, 1);
    assert_eq!(sent(&mut reading.out), ["FETCH PARTITION ME topic 0 3"]);
    for offset in [0, 2, 1, 1] {
        reading.accept(direct(offset), Some(content(offset)), 2);
    }
    assert_eq!(reading.delivered(), [0, 1, 2]);
    reading.accept(record(3), Some(content(3)), 3);
    assert_eq!(reading.delivered(), [3]);
    assert_eq!(sent(&mut reading.out).len(), 0);
}

#[test]
fn a_latest_consumer_starts_in_an_old_partition_at_its_first_record_or_after_its_first_head() {
    let mut reading = Reading::at(Start::Latest);
    assert_eq!(sent(&mut reading.out), ["GET-HEADS topic ME"]);
    reading.accept(record(5), Some(content(5)), 1);
    // Until the consumer knows whether the partition is old, record 5 waits.
    assert_eq!(sent(&mut reading.out), ["FETCH PARTITION ME topic 0 1"]);
    assert_eq!(reading.delivered(), [0; 0]);
    reading.accept(direct(0), Some(content(0)), 2);
    assert_eq!(reading.delivered(), [5]);
    assert_eq!(sent(&mut reading.out).len(), 0, "it fetches no older records");
    // After a HEAD with 5, record 5 is old and the next record is 6.
    let mut reading = Reading::at(Start::Latest);
    reading.accept(head(5), None, 1);
    reading.accept(direct(0), Some(content(0)), 1);
    reading.accept(record(5), Some(content(5)), 1);
    assert_eq!(reading.delivered(), [0; 0]);
    sent(&mut reading.out);
    reading.accept(record(7), Some(content(7)), 2);
    assert_eq!(sent(&mut reading.out), ["FETCH PARTITION ME topic 6 1"]);
    reading.accept(direct(6), Some(content(6)), 3);
    assert_eq!(reading.delivered(), [6, 7]);
}

#[test]
fn a_store_does_not_determine_where_a_latest_consumer_starts() {
    let mut reading = Reading::at(Start::Latest);
    // A store's head may arrive before records of the producer that are older. So the records from 5 on are still new.
    reading.accept(direct_head(PARTITION, 9, b""), None, 1);
    reading.accept(direct(0), Some(content(0)), 1);
    reading.accept(direct(3), Some(content(3)), 1);
    reading.accept(record(5), Some(content(5)), 2);
    assert_eq!(reading.delivered(), [5]);
    sent(&mut reading.out);
    // When the partition is known, a head of a store shows a loss.
    reading.accept(direct_head(PARTITION, 6, b""), None, 3);
    assert_eq!(sent(&mut reading.out), ["FETCH PARTITION ME topic 6 1"]);
}

#[test]
fn unanswered_fetches_do_not_delay_others() {
    let limits = Limits { in_flight_len_bytes: 100, ..Limits::default() };
    let mut reading = Reading::new(Start::Earliest, limits);
    sent(&mut reading.out);
    let names = [b"A", b"B", b"C", b"D"];
    for (now_ms, name) in (0..).zip(names) {
        reading.handle(&crate::rig::head(name, 9), None, now_ms);
    }
    let mut asked = std::collections::BTreeSet::new();
    for now_ms in 10..2_000 {
        reading.handle_timeout(now_ms);
        asked.extend(sent(&mut reading.out));
        if now_ms == 10 {
            assert_eq!(asked.len(), 1, "the others wait: {asked:?}");
        }
    }
    assert_eq!(asked.len(), names.len(), "{asked:?}");
}

/// Found by the simulation, seed 9 of its first version.
#[test]
fn partly_answered_fetches_do_not_wait_for_each_other() {
    let limits = Limits { in_flight_len_bytes: 2_000, ..Limits::default() };
    let mut reading = Reading::new(Start::Earliest, limits);
    let names = [b"A", b"B"];
    names.iter().for_each(|name| reading.handle(&crate::rig::head(*name, 99), None, 0));
    reading.handle_timeout(0);
    // One record of each partition arrives, and no more. The record is so long that the rest of its window would need
    // all room.
    for name in names {
        reading.handle(&crate::rig::direct(name, 0), Some(vec![0; 1_000].into()), 1);
    }
    sent(&mut reading.out);
    (2..5_000).for_each(|now_ms| reading.handle_timeout(now_ms));
    let asked = sent(&mut reading.out);
    for name in ["A", "B"] {
        let start = format!("FETCH {name} ME topic 1 ");
        assert!(asked.iter().any(|fetch| fetch.starts_with(&start)), "{asked:?}");
    }
}

#[test]
fn an_unanswered_fetch_is_repeated_without_another_message() {
    let mut reading = Reading::at(Start::Earliest);
    reading.accept(head(0), None, 1_000);
    sent(&mut reading.out);
    let due_ms = reading.consumer.due_ms();
    assert!(due_ms > 1_000 && due_ms <= 2_000);
    reading.handle_timeout(due_ms);
    assert_eq!(sent(&mut reading.out), ["FETCH PARTITION ME topic 0 1"]);
}

#[test]
fn topics_are_exact() {
    let mut reading = Reading::at(Start::Earliest);
    sent(&mut reading.out);
    for subject in [&b"topic2"[..], b"topi", b""] {
        reading.accept(Message::Record(Position::new(subject, PARTITION, subject, 0)), Some(content(0)), 1);
        let position = Position::new(ME, PARTITION, subject, 4);
        reading.accept(Message::DirectHead { position, store: b"" }, None, 1);
    }
    // The subject counts, not the first frame's topic.
    reading.accept(Message::Record(Position::new(TOPIC, PARTITION, b"topic2", 0)), Some(content(0)), 1);
    assert_eq!(reading.delivered(), [0; 0]);
    assert_eq!(sent(&mut reading.out).len(), 0);
}

#[test]
fn stores_get_a_hello_with_the_topics() {
    let subscription = subscription(id::CONSUMER_HELLO, b"STORE");
    for start in [Start::Earliest, Start::Latest] {
        let mut reading = Reading::at(start);
        sent(&mut reading.out);
        reading.consumer.handle_subscription(&subscription, 0, &mut reading.out);
        reading.accept(Message::StoreHello { topic: ME, address: b"STORE" }, None, 1);
        assert_eq!(sent(&mut reading.out), [r#"CONSUMER-HELLO STORE ME ["topic"]"#; 2]);
        let end = Subscription { subscribe: false, ..subscription };
        reading.consumer.handle_subscription(&end, 0, &mut reading.out);
        assert_eq!(sent(&mut reading.out).len(), 0);
    }
}

const TOPICS: [&[u8]; 4] = [b"a", b"ab", b"abc", b"b"];

/// Publishes one record of each topic, and returns the topics of those that are delivered.
fn subjects(reading: &mut Reading, sequence: u64) -> Vec<String> {
    for topic in TOPICS {
        let record = Message::Record(Position::new(topic, PARTITION, topic, sequence));
        reading.accept(record, Some(content(sequence)), 1);
    }
    let subject = |delivery: &Delivery<Content>| {
        String::from_utf8_lossy(reading.consumer.partition(delivery.partition).topic).into_owned()
    };
    let subjects = reading.delivered.iter().map(subject).collect();
    reading.delivered.clear();
    subjects
}

#[test]
fn the_empty_topic_and_prefixes_match_many_topics() {
    let reading = |is_prefix: bool, topics: &[&[u8]]| {
        let mut consumer = Consumer::new(ME, Start::Earliest, Limits::default(), 0);
        if is_prefix {
            consumer = consumer.matching_prefixes();
        }
        let mut reading = Reading { consumer, out: Outbox::new(), delivered: Vec::new() };
        topics
            .iter()
            .for_each(|topic| assert!(reading.consumer.subscribe(topic, SUBSCRIBED, &mut reading.out)));
        reading
    };
    let mut all = reading(false, &[b"", b"b"]);
    assert_eq!(sent(&mut all.out), ["GET-HEADS  ME", "GET-HEADS b ME"]);
    assert_eq!(subjects(&mut all, 0), ["a", "ab", "abc", "b"]);
    // The consumer requests all topics from stores, once.
    all.consumer.handle_subscription(&subscription(id::CONSUMER_HELLO, b"STORE"), 0, &mut all.out);
    all.handle_timeout(100_000);
    assert_eq!(sent(&mut all.out), [r#"CONSUMER-HELLO STORE ME [""]"#, "GET-HEADS  ME"]);
    assert!(all.consumer.remains(b"", b"b") && !all.consumer.remains(b"", b"ab"));
    assert!(all.consumer.unsubscribe(b""));
    assert_eq!(subjects(&mut all, 1), ["b"]);

    assert_eq!(subjects(&mut reading(false, &[b"ab"]), 0), ["ab"]);
    assert_eq!(subjects(&mut reading(true, &[b"ab"]), 0), ["ab", "abc"]);
    let mut two = reading(true, &[b"abc", b"a"]);
    two.handle_timeout(100);
    assert_eq!(sent(&mut two.out), ["GET-HEADS  ME"], "a store responds for one topic or for all");
    // Further subscriptions cause one request, soon after the last one.
    (0..10).for_each(|i: u8| assert!(two.consumer.subscribe(&[i], SUBSCRIBED, &mut two.out)));
    assert_eq!(two.consumer.due_ms(), 200);
    (101..300).for_each(|now_ms| two.handle_timeout(now_ms));
    assert_eq!(sent(&mut two.out), ["GET-HEADS  ME"]);
    assert_eq!(subjects(&mut two, 0), ["a", "ab", "abc"]);
}

#[test]
fn unsubscribing_drops_the_partitions() {
    let mut reading = Reading::at(Start::Earliest);
    reading.accept(record(1), Some(content(1)), 1);
    sent(&mut reading.out);
    assert!(reading.consumer.unsubscribe(TOPIC));
    assert!(!reading.consumer.unsubscribe(TOPIC));
    reading.accept(direct(0), Some(content(0)), 2);
    reading.handle_timeout(9_999);
    assert_eq!(reading.delivered(), [0; 0]);
    assert_eq!(sent(&mut reading.out).len(), 0);
    // After a new subscription, the consumer reads the topic from its start.
    assert!(reading.consumer.subscribe(TOPIC, SUBSCRIBED, &mut reading.out));
    assert!(!reading.consumer.subscribe(TOPIC, SUBSCRIBED, &mut reading.out));
    reading.accept(record(0), Some(content(0)), 3);
    assert_eq!(reading.delivered(), [0]);
}

#[test]
fn invalid_messages_have_no_effect() {
    let mut reading = Reading::at(Start::Earliest);
    sent(&mut reading.out);
    reading.accept(record(0), None, 1);
    reading.accept(head(0), Some(content(0)), 1);
    reading.accept(Message::Record(Position::new(TOPIC, b"", TOPIC, 0)), Some(content(0)), 1);
    reading.accept(fetch(0, 1), None, 1);
    reading.accept(ack_of(b"", 0), None, 1);
    assert_eq!(reading.delivered(), [0; 0]);
    assert_eq!(sent(&mut reading.out).len(), 0);
    // The largest offsets.
    reading.accept(record(u64::MAX), Some(content(0)), 1);
    reading.accept(head(u64::MAX), None, 1);
    assert_eq!(sent(&mut reading.out).len(), 0);
    reading.accept(head(sequencer::MAX_OFFSET), None, 1);
    assert_eq!(sent(&mut reading.out), ["FETCH PARTITION ME topic 0 16"]);
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

    /// Commits all pending records, and returns their offsets.
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
fn a_store_acknowledges_only_durable_records() {
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
fn a_store_acknowledges_repeated_records_and_heads_again() {
    let mut storing = Storing::new();
    storing.replica.open(PartitionName { topic: TOPIC, producer: PARTITION }, 5).unwrap();
    storing.take(record(3), Some(content(3)));
    assert_eq!(storing.sent(), ["ACK PARTITION topic 4"]);
    storing.take(head(4), None);
    assert_eq!(storing.sent(), ["ACK PARTITION topic 4"]);
    // A duplicate answer does not mean that an ACK was lost.
    storing.take(direct(3), Some(content(3)));
    assert_eq!(storing.sent().len(), 0);
    assert_eq!(storing.commit(), [0; 0]);
}

#[test]
fn a_store_fetches_a_gap_before_it_writes_early_records() {
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
fn a_store_requests_heads_from_other_stores_and_fetches_their_records() {
    let mut storing = Storing::new();
    storing.replica.handle_subscription(&subscription(id::GET_HEADS, b""), 1);
    let due_ms = storing.replica.due_ms();
    storing.replica.handle_timeout(due_ms, &mut storing.out);
    assert_eq!(storing.sent(), ["GET-HEADS  ME"]);
    let position = Position::new(ME, b"OLD", b"old topic", 9);
    storing.take(Message::DirectHead { position, store: b"" }, None);
    assert_eq!(storing.sent(), ["FETCH OLD ME old topic 0 10"]);
}

#[test]
fn empty_names_open_no_partition() {
    let mut storing = Storing::new();
    storing.take(Message::Record(Position::new(TOPIC, b"", TOPIC, 0)), Some(content(0)));
    storing.take(Message::Record(Position::new(b"", PARTITION, b"", 0)), Some(content(0)));
    assert_eq!(storing.commit(), [0; 0]);
}

// ------------------------------------------------------------------------------------------------ reader

fn log() -> Log {
    let partition = |topic, address: &[u8], count| (topic, address.to_vec(), count);
    Log::new([
        partition(TOPIC, PARTITION, 10),
        partition(b"topic2", PARTITION, 1),
        partition(TOPIC, b"OTHER", 2),
    ])
}

fn answer_all(reader: &mut Reader, out: &mut Outbox<Content>) -> Vec<String> {
    while reader.poll_answers(&mut AllRead, 100, &log(), out).unwrap() != Progress::Idle {}
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
fn a_store_answers_only_fetches_with_its_name_or_without_a_name() {
    let (mut reader, mut out) = (Reader::new(b"READER").named(b"STORE"), Outbox::new());
    let fetch = |store| crate::rig::fetch(PARTITION, 0, 2, store);
    for (store, count) in [(&b"STORE"[..], 2), (b"ANOTHER", 0), (b"", 2), (b"READER", 0)] {
        reader.handle_message(&fetch(store), UNKNOWN);
        assert_eq!(answer_all(&mut reader, &mut out).len(), count);
    }
    // A producer answers in any case, because it may be that no store has its records.
    let (mut producer, mut out) = producer_with(2);
    producer.handle_message(&fetch(b"STORE"), UNKNOWN, &mut out);
    producer.poll_answers(&mut AllRead, 10, &mut out);
    assert_eq!(sent(&mut out).len(), 2);
}

#[test]
fn a_fetch_names_one_of_the_stores_that_have_the_records() {
    let named = |store| {
        let (mut reader, mut out) = (Reader::new(b"READER").named(store), Outbox::<Content>::new());
        reader.handle_message(&get_heads(TOPIC, ME), UNKNOWN);
        while reader.poll_answers(&mut AllRead, 1, &log(), &mut out).unwrap() != Progress::Idle {}
        out
    };
    let mut reading = Reading::at(Start::Earliest);
    sent(&mut reading.out);
    let mut storing = Storing::new();
    for store in [b"A", b"B"] {
        let (mut heads, mut frames) = (named(store), Vec::new());
        heads.drain(|frame, _| frames.push(frame.to_vec()));
        assert_eq!(frames.len(), 2);
        for frame in &frames {
            let head = Message::decode(frame).unwrap();
            storing.replica.handle_message(&head, None, UNKNOWN, 0, &mut storing.appends);
            reading.handle(&head, None, 0);
        }
    }
    reading.handle_timeout(0);
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
fn a_reader_sends_the_heads_of_one_topic_or_of_all() {
    let (mut reader, mut out) = (Reader::new(b"STORE"), Outbox::new());
    reader.handle_message(&get_heads(TOPIC, ME), UNKNOWN);
    reader.handle_message(&get_heads(TOPIC, ME), UNKNOWN);
    assert_eq!(
        answer_all(&mut reader, &mut out),
        ["DIRECT-HEAD ME OTHER topic 1", "DIRECT-HEAD ME PARTITION topic 9"]
    );
    reader.handle_message(&get_heads(b"", ME), UNKNOWN);
    assert_eq!(answer_all(&mut reader, &mut out).len(), 3);
    reader.handle_message(&get_heads(b"", b""), UNKNOWN);
    assert_eq!(answer_all(&mut reader, &mut out).len(), 0);
}

#[test]
fn a_reader_greets_consumers_and_answers_their_hello() {
    let (mut reader, mut out) = (Reader::new(b"STORE"), Outbox::new());
    reader.handle_subscription(&subscription(id::STORE_HELLO, ME), &mut out);
    let end = Subscription { subscribe: false, ..subscription(id::STORE_HELLO, ME) };
    reader.handle_subscription(&end, &mut out);
    reader.handle_subscription(&subscription(id::DIRECT_HEAD, ME), &mut out);
    assert_eq!(sent(&mut out), ["STORE-HELLO ME STORE"]);
    // A subscription to a topic that is too long for an address.
    reader.handle_subscription(&subscription(id::STORE_HELLO, &[b'x'; 300]), &mut out);
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
    let hello = Message::ConsumerHello { topic: b"STORE", address: ME, subjects: subjects.as_subjects() };
    reader.handle_message(&hello, UNKNOWN);
    assert_eq!(answer_all(&mut reader, &mut out).len(), 3);
}
