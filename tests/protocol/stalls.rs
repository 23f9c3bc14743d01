//! Notices about stalls: of partitions whose next record no peer has, and of records that no store acknowledges.

use crate::UNKNOWN;
use crate::rig::{Content, ME, PARTITION, Reading, TOPIC, ack, direct, direct_head, head};
use dafka::partition_name::PartitionName;
use dafka::protocol::Outbox;
use dafka::protocol::consumer::Start;
use dafka::protocol::ingest::Limits;
use dafka::protocol::notice::{AckStall, Notice};
use dafka::protocol::producer::Producer;
use dafka::protocol::store::replica::Replica;
use dafka::wire::Message;

/// Handles a message, or none, at a time. Returns the record at which a notice says that the partition stalls.
type Node<'a> = dyn FnMut(Option<Message>, Option<Content>, u64) -> Option<u64> + 'a;

/// Simulates some seconds with a HEAD each second. Returns the times and the records of the notices.
fn stalls(node: &mut Node, seconds: std::ops::Range<u64>) -> Vec<(u64, u64)> {
    let mut told = Vec::new();
    for ms in (seconds.start * 1_000..seconds.end * 1_000).step_by(100) {
        let message = (ms % 1_000 == 0).then(|| head(PARTITION, 199));
        told.extend(node(message, None, ms).map(|record| (ms / 1_000, record)));
    }
    told
}

/// The record of a notice about a stall.
fn record_of(notice: Option<Notice>) -> Option<u64> {
    let Notice::FetchStalled { partition, next } = notice? else { panic!("another notice") };
    assert_eq!(partition.as_name(), PartitionName { topic: TOPIC, producer: PARTITION });
    Some(next)
}

fn assert_noticed(node: &mut Node) {
    let noticed = stalls(node, 0..300);
    assert!(matches!(noticed[..], [(30..=33, 0)]), "{noticed:?}");
    // A peer has some records after all. The partition stalls after them.
    for offset in 0..5 {
        assert_eq!(node(Some(direct(PARTITION, offset)), Some(b"content"[..].into()), 300_000), None);
    }
    let noticed = stalls(node, 300..600);
    assert!(matches!(noticed[..], [(330..=363, 5)]), "{noticed:?}");
}

#[test]
fn a_consumer_reports_a_stalled_partition_once() {
    let mut reading = Reading::new(Start::Earliest, Limits::default());
    assert_noticed(&mut |message, content, now_ms| {
        if let Some(message) = message {
            reading.handle(&message, content, now_ms);
        }
        reading.handle_timeout(now_ms);
        record_of(reading.consumer.poll_notice(now_ms))
    });
}

#[test]
fn a_store_reports_a_stalled_partition_once() {
    let mut replica = Replica::<Content>::new(ME, Limits::default(), 0);
    let (mut out, mut appends) = (Outbox::new(), Vec::new());
    assert_noticed(&mut |message, content, now_ms| {
        if let Some(message) = message {
            replica.handle_message(&message, content, UNKNOWN, now_ms, &mut appends);
        }
        // The disk writes each record at once.
        for append in appends.drain(..) {
            replica.handle_committed(append.partition, append.offset + 1);
        }
        replica.poll_acks(&mut out);
        replica.handle_timeout(now_ms, &mut out);
        record_of(replica.poll_notice(now_ms))
    });
}

#[test]
fn a_late_answer_is_not_a_stall() {
    let mut reading = Reading::new(Start::Earliest, Limits::default());
    // One record every 20 s.
    for second in 0..400 {
        let now_ms = second * 1_000;
        reading.handle(&head(PARTITION, 199), None, now_ms);
        if second % 20 == 19 {
            reading.handle(&direct(PARTITION, second / 20), Some(b"content"[..].into()), now_ms);
        }
        reading.handle_timeout(now_ms);
        assert_eq!(reading.consumer.poll_notice(now_ms), None);
    }
    assert_eq!(reading.delivered.len(), 20);
}

#[test]
fn a_producer_reports_unacknowledged_records_and_the_number_of_stores() {
    for min_stores in [1, 2] {
        let producer = Producer::<Content>::new(TOPIC, PARTITION, 1_000).unwrap();
        let (mut producer, mut out) = (producer.with_min_stores(min_stores), Outbox::new());
        for _ in 0..10 {
            producer.publish(b"content"[..].into(), 0, &mut out);
        }
        let ack = |sequence, store| ack(PARTITION, sequence, store);
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
            // ACKs count when each store has repeated its ACK.
            producer.handle_all_read(69_000);
            producer.handle_message(&ack(9, b"one"), UNKNOWN, &mut out);
            producer.handle_message(&ack(8, b"two"), UNKNOWN, &mut out);
        }
        assert_eq!(producer.poll_notice(70_000), Some(Notice::AcksResumed));
        assert_eq!(producer.poll_notice(89_000), None);
    }
}

#[test]
fn a_stall_notice_names_the_longest_unacknowledged_record() {
    let mut out = Outbox::new();
    let mut producer = Producer::<Content>::new(TOPIC, PARTITION, 1_000).unwrap();
    for len in [5_000, 5_001, 10] {
        producer.publish(vec![0; len].into(), 0, &mut out);
    }
    let ack = |sequence| ack(PARTITION, sequence, b"");
    producer.handle_message(&ack(0), UNKNOWN, &mut out);
    let told: Vec<_> = (0..70).filter_map(|second| producer.poll_notice(second * 1_000)).collect();
    let [Notice::AckStalled(stall)] = &told[..] else { panic!("{told:?}") };
    assert_eq!(stall.long_record, Some((1, 5_001)));
    // Now the longest unacknowledged record is shorter than acknowledged ones.
    producer.handle_message(&ack(1), UNKNOWN, &mut out);
    let told: Vec<_> = (70..140).filter_map(|second| producer.poll_notice(second * 1_000)).collect();
    let [Notice::AcksResumed, Notice::AckStalled(stall)] = &told[..] else { panic!("{told:?}") };
    assert_eq!(stall.long_record, None);
}

#[test]
fn a_store_reports_another_store_with_its_name_once_per_minute() {
    let mut replica = Replica::<Content>::new(ME, Limits::default(), 0).named(b"STORE");
    let mut appends = Vec::new();
    let mut told = |store: &[u8], now_ms| {
        replica.handle_message(&direct_head(PARTITION, 9, store), None, UNKNOWN, now_ms, &mut appends);
        replica.poll_notice(now_ms) == Some(Notice::TwinStore)
    };
    assert_eq!([told(b"OTHER", 0), told(b"", 0)], [false; 2]);
    let times: Vec<u64> = (0..100).filter(|second| told(b"STORE", second * 1_000)).collect();
    assert_eq!(times, [0, 60]);
    // Stores of 0.1.0 have no name. They are not twins, not even of a store without a name.
    let mut nameless = Replica::<Content>::new(ME, Limits::default(), 0);
    nameless.handle_message(&direct_head(PARTITION, 9, b""), None, UNKNOWN, 0, &mut appends);
    assert_eq!(nameless.poll_notice(0), None);
}
