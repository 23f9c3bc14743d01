//! Standstills are told: of partitions whose next record nobody has, and of records that nobody acknowledges.

use crate::UNKNOWN;
use dafka::protocol::Outbox;
use dafka::protocol::consumer::{Consumer, Start};
use dafka::protocol::ingest::Limits;
use dafka::protocol::notice::{AckStall, Notice};
use dafka::protocol::producer::Producer;
use dafka::protocol::store::replica::Replica;
use dafka::wire::{Message, Position};
use std::sync::Arc;

type Content = Arc<[u8]>;

const TOPIC: &[u8] = b"topic";
const PARTITION: &[u8] = b"PARTITION";

fn head(sequence: u64) -> Message<'static> {
    Message::Head(Position::new(TOPIC, PARTITION, TOPIC, sequence))
}

fn direct(sequence: u64) -> Message<'static> {
    Message::DirectRecord(Position::new(b"ME", PARTITION, TOPIC, sequence))
}

/// Takes a message, or none, at a time; the record at which its partition was told to stand still.
type Node<'a> = dyn FnMut(Option<Message>, Option<Content>, u64) -> Option<u64> + 'a;

/// Lets time go by with a HEAD each second; the times at which the partition was told to stand still, and where.
fn stalls(node: &mut Node, seconds: std::ops::Range<u64>) -> Vec<(u64, u64)> {
    let mut told = Vec::new();
    for ms in (seconds.start * 1_000..seconds.end * 1_000).step_by(100) {
        let message = (ms % 1_000 == 0).then(|| head(199));
        told.extend(node(message, None, ms).map(|record| (ms / 1_000, record)));
    }
    told
}

/// The record at which the partition stands still, if that is what the notice says.
fn record_of(notice: Option<Notice>) -> Option<u64> {
    let Notice::FetchStalled { subject, address, next } = notice? else { panic!("another notice") };
    assert_eq!((&*subject, &*address), (TOPIC, PARTITION));
    Some(next)
}

fn assert_told(node: &mut Node) {
    let told = stalls(node, 0..300);
    assert!(matches!(told[..], [(30..=33, 0)]), "{told:?}");
    // Somebody had some of it after all; it stands still behind that.
    for offset in 0..5 {
        assert_eq!(node(Some(direct(offset)), Some(b"content"[..].into()), 300_000), None);
    }
    let told = stalls(node, 300..600);
    assert!(matches!(told[..], [(330..=363, 5)]), "{told:?}");
}

#[test]
fn a_consumer_tells_once_that_nobody_has_the_next_record() {
    let mut consumer = Consumer::<Content>::new(b"ME", Start::Earliest, Limits::default(), 0);
    let (mut out, mut delivered) = (Outbox::new(), Vec::new());
    consumer.subscribe(TOPIC, &mut out);
    assert_told(&mut |message, content, now_ms| {
        if let Some(message) = message {
            consumer.handle_message(&message, content, UNKNOWN, now_ms, &mut out, &mut delivered);
        }
        consumer.handle_timeout(now_ms, &mut out);
        record_of(consumer.poll_notice(now_ms))
    });
}

#[test]
fn a_store_tells_once_that_nobody_has_the_next_record() {
    let mut replica = Replica::<Content>::new(b"ME", Limits::default(), 0);
    let (mut out, mut appends) = (Outbox::new(), Vec::new());
    assert_told(&mut |message, content, now_ms| {
        if let Some(message) = message {
            replica.handle_message(&message, content, UNKNOWN, now_ms, &mut appends);
        }
        // The disk takes each at once.
        for append in appends.drain(..) {
            replica.handle_committed(append.partition, append.offset + 1);
        }
        replica.poll_acks(&mut out);
        replica.handle_timeout(now_ms, &mut out);
        record_of(replica.poll_notice(now_ms))
    });
}

#[test]
fn what_is_answered_late_is_no_standstill() {
    let mut consumer = Consumer::<Content>::new(b"ME", Start::Earliest, Limits::default(), 0);
    let (mut out, mut delivered) = (Outbox::new(), Vec::new());
    consumer.subscribe(TOPIC, &mut out);
    // One record every 20 s.
    for second in 0..400 {
        let now_ms = second * 1_000;
        consumer.handle_message(&head(199), None, UNKNOWN, now_ms, &mut out, &mut delivered);
        if second % 20 == 19 {
            let record = direct(second / 20);
            consumer.handle_message(
                &record,
                Some(b"content"[..].into()),
                UNKNOWN,
                now_ms,
                &mut out,
                &mut delivered,
            );
        }
        consumer.handle_timeout(now_ms, &mut out);
        assert_eq!(consumer.poll_notice(now_ms), None);
    }
    assert_eq!(delivered.len(), 20);
}

#[test]
fn a_producer_tells_what_waits_and_for_how_many_stores() {
    for min_stores in [1, 2] {
        let producer = Producer::<Content>::new(TOPIC, PARTITION, 1_000).unwrap();
        let (mut producer, mut out) = (producer.with_min_stores(min_stores), Outbox::new());
        for _ in 0..10 {
            producer.publish(b"content"[..].into(), 0, &mut out);
        }
        let ack = |sequence, store| Message::Ack { topic: PARTITION, subject: TOPIC, sequence, store };
        if min_stores == 2 {
            producer.handle_message(&ack(9, b"one"), UNKNOWN, &mut out);
        }
        let told: Vec<_> =
            (0..70).filter_map(|second| Some((second, producer.poll_notice(second * 1_000)?))).collect();
        let stall = AckStall {
            topic: TOPIC.into(),
            count: 10,
            ms: 30_000,
            min_stores,
            stores: min_stores - 1,
            long_record: None,
        };
        assert_eq!(told, [(30, Notice::AckStalled(stall))]);
        producer.handle_message(&ack(8, b"two"), UNKNOWN, &mut out);
        if min_stores == 2 {
            // What stores have counts once each has acknowledged it again.
            producer.handle_all_read(69_000);
            producer.handle_message(&ack(9, b"one"), UNKNOWN, &mut out);
            producer.handle_message(&ack(8, b"two"), UNKNOWN, &mut out);
        }
        assert_eq!(producer.poll_notice(70_000), Some(Notice::AcksResumed));
        assert_eq!(producer.poll_notice(89_000), None);
    }
}

#[test]
fn a_producer_names_the_record_that_stores_may_refuse_for_its_length() {
    let mut out = Outbox::new();
    let mut producer = Producer::<Content>::new(TOPIC, PARTITION, 1_000).unwrap();
    for len in [5_000, 5_001, 10] {
        producer.publish(vec![0; len].into(), 0, &mut out);
    }
    let ack = |sequence| Message::Ack { topic: PARTITION, subject: TOPIC, sequence, store: b"" };
    producer.handle_message(&ack(0), UNKNOWN, &mut out);
    let told: Vec<_> = (0..70).filter_map(|second| producer.poll_notice(second * 1_000)).collect();
    let [Notice::AckStalled(stall)] = &told[..] else { panic!("{told:?}") };
    assert_eq!(stall.long_record, Some((1, 5_001)));
    // Longer ones were acknowledged.
    producer.handle_message(&ack(1), UNKNOWN, &mut out);
    let told: Vec<_> = (70..140).filter_map(|second| producer.poll_notice(second * 1_000)).collect();
    let [Notice::AcksResumed, Notice::AckStalled(stall)] = &told[..] else { panic!("{told:?}") };
    assert_eq!(stall.long_record, None);
}

#[test]
fn a_store_tells_once_a_minute_of_another_one_with_its_name() {
    let mut replica = Replica::<Content>::new(b"ME", Limits::default(), 0).named(b"STORE");
    let mut appends = Vec::new();
    let mut told = |store: &[u8], now_ms| {
        let head = Message::DirectHead { position: Position::new(b"ME", PARTITION, TOPIC, 9), store };
        replica.handle_message(&head, None, UNKNOWN, now_ms, &mut appends);
        replica.poll_notice(now_ms) == Some(Notice::TwinStore)
    };
    assert_eq!([told(b"OTHER", 0), told(b"", 0)], [false; 2]);
    let times: Vec<u64> = (0..100).filter(|second| told(b"STORE", second * 1_000)).collect();
    assert_eq!(times, [0, 60]);
    // Stores of 0.1.0 have no name; they are not twins, not even of one that has none.
    let mut nameless = Replica::<Content>::new(b"ME", Limits::default(), 0);
    let head = Message::DirectHead { position: Position::new(b"ME", PARTITION, TOPIC, 9), store: b"" };
    nameless.handle_message(&head, None, UNKNOWN, 0, &mut appends);
    assert_eq!(nameless.poll_notice(0), None);
}
