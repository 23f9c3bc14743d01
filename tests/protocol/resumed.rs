//! A producer that continues the partition of an earlier one.

use crate::UNKNOWN;
use crate::rig::{Content, ME, TOPIC, ack, fetch};
use dafka::protocol::producer::{Producer, Twin};
use dafka::protocol::{AllRead, Outbox};
use dafka::wire::Message;

/// A producer after an earlier one, which has published the records before 8. Those before 5 are acknowledged.
fn resumed() -> Producer<Content> {
    let runs = [5, 6, 7].map(|offset| vec![offset; 100].into());
    Producer::new(TOPIC, ME, 1_000).unwrap().resumed(5, runs, 0)
}

/// The offset and the first byte of each record in the outbox, and the offsets of HEADs.
fn sent(out: &mut Outbox<Content>) -> (Vec<(u64, u8)>, Vec<u64>) {
    let (mut records, mut heads) = (Vec::new(), Vec::new());
    out.drain(|frame, content| match (Message::decode(frame), content) {
        (Ok(Message::Record(position) | Message::DirectRecord(position)), Some(content)) => {
            records.push((position.sequence, content[0]));
        }
        (Ok(Message::Head(position)), None) => heads.push(position.sequence),
        message => panic!("{message:?}"),
    });
    (records, heads)
}

fn handle(producer: &mut Producer<Content>, message: &Message, out: &mut Outbox<Content>) {
    producer.handle_message(message, UNKNOWN, out);
}

#[test]
fn new_records_wait_until_a_store_has_confirmed_the_position() {
    let (mut producer, mut out) = (resumed(), Outbox::new());
    producer.publish(vec![8; 100].into(), 0, &mut out);
    producer.handle_timeout(0, &mut out);
    // HEADs name the last record of the earlier producer, so that peers can fetch its records.
    assert_eq!(sent(&mut out), (vec![], vec![]));
    assert_eq!((producer.due_ms(), producer.has_unpublished()), (Some(1_000), false));
    producer.handle_timeout(1_000, &mut out);
    assert_eq!(sent(&mut out), (vec![], vec![7]));
    handle(&mut producer, &fetch(ME, 0, 100, b""), &mut out);
    producer.poll_answers(&mut AllRead, 100, &mut out);
    assert_eq!(sent(&mut out), (vec![(5, 5), (6, 6), (7, 7)], vec![]));
    assert_eq!((producer.kept_count(), producer.confirmations()), (4, 0));
    // Stores respond. ACKs of records that the earlier producer has published are no sign of a twin. But a store that
    // lacks acknowledged records confirms nothing.
    let confirmations = [(3, b"A"), (4, b"B"), (7, b"B"), (7, b"A")].map(|(sequence, store)| {
        handle(&mut producer, &ack(ME, sequence, store), &mut out);
        producer.confirmations()
    });
    assert_eq!((confirmations, producer.kept_count(), producer.poll_twin()), ([0, 1, 1, 2], 1, None));
    assert_eq!(producer.proven_head(), Some(7));
    producer.release();
    assert_eq!((producer.due_ms(), producer.confirmations()), (Some(0), 0));
    producer.handle_timeout(1_001, &mut out);
    producer.publish(vec![9; 100].into(), 1_001, &mut out);
    assert_eq!(sent(&mut out), (vec![(8, 8), (9, 9)], vec![]));
}

#[test]
fn a_store_with_unknown_records_proves_another_producer() {
    let (mut producer, mut out) = (resumed(), Outbox::new());
    producer.publish(vec![8; 100].into(), 0, &mut out);
    // This record waits, so no store can have it.
    handle(&mut producer, &ack(ME, 8, b"A"), &mut out);
    assert_eq!(producer.poll_twin(), Some(Twin::Beyond { sequence: 8, published: 8 }));
    assert_eq!((producer.confirmations(), producer.kept_count()), (0, 4));
    producer.release();
    producer.handle_timeout(0, &mut out);
    producer.hold();
    handle(&mut producer, &ack(ME, 8, b"A"), &mut out);
    assert_eq!((producer.poll_twin(), producer.confirmations()), (None, 1));
}

#[test]
fn a_partition_without_records_needs_no_confirmation() {
    let mut out = Outbox::new();
    let mut producer = Producer::new(TOPIC, ME, 1_000).unwrap().resumed(0, [], 0);
    assert_eq!(producer.due_ms(), None);
    producer.publish(vec![0; 100].into(), 0, &mut out);
    assert_eq!(sent(&mut out), (vec![(0, 0)], vec![]));
}

#[test]
fn a_head_makes_stores_confirm_a_partition_whose_records_are_all_acknowledged() {
    let mut out = Outbox::new();
    let mut producer = Producer::<Content>::new(TOPIC, ME, 1_000).unwrap().resumed(8, [], 0);
    assert_eq!(producer.due_ms(), Some(1_000));
    producer.handle_timeout(1_000, &mut out);
    assert_eq!((sent(&mut out), producer.is_done()), ((vec![], vec![7]), true));
}
