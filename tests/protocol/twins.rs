//! How a producer handles ACKs while another producer seems to use its address.

use crate::UNKNOWN;
use crate::rig::{Content, ME, TOPIC};
use dafka::protocol::Outbox;
use dafka::protocol::producer::{Producer, Twin};
use dafka::protocol::subscriptions;
use dafka::wire::{Message, Subscription};

fn publishing(count: usize, out: &mut Outbox<Content>) -> Producer<Content> {
    let mut producer = Producer::new(TOPIC, ME, 1_000).unwrap().unread();
    (0..count).for_each(|i| producer.publish(vec![i as u8; 100].into(), 0, out));
    producer
}

fn ack(producer: &mut Producer<Content>, sequence: u64, out: &mut Outbox<Content>) {
    producer.handle_message(&crate::rig::ack(ME, sequence, b"STORE"), UNKNOWN, out);
}

fn subscribe(producer: &mut Producer<Content>) {
    let prefix = &subscriptions::store_writer(b"WRITER")[0];
    let frame = [b"\x01", prefix.as_slice()].concat();
    producer.handle_subscription(&Subscription::decode(&frame).expect("a subscription"), 0);
}

#[test]
fn an_ack_that_is_processed_before_the_subscription_does_not_show_a_twin() {
    let mut out = Outbox::new();
    let mut producer = publishing(10, &mut out);
    producer.handle_behind(true);
    ack(&mut producer, 4, &mut out);
    assert_eq!((producer.poll_twin(), producer.unacknowledged()), (None, 10));
    subscribe(&mut producer);
    producer.handle_behind(false);
    assert_eq!((producer.poll_twin(), producer.unacknowledged()), (None, 5));
    // When the producer has processed all messages, and no store's subscription was among them, there is a twin.
    let mut producer = publishing(10, &mut out);
    producer.handle_behind(true);
    ack(&mut producer, 4, &mut out);
    producer.handle_behind(false);
    assert_eq!((producer.poll_twin(), producer.unacknowledged()), (Some(Twin::Unread { sequence: 4 }), 10));
}

#[test]
fn records_acknowledged_before_a_new_address_are_published_again() {
    let mut out = Outbox::new();
    let mut producer = publishing(10, &mut out);
    subscribe(&mut producer);
    ack(&mut producer, 1, &mut out);
    // ACKs that arrive after the one that shows the twin may be for the twin's records.
    ack(&mut producer, 10, &mut out);
    ack(&mut producer, 7, &mut out);
    assert_eq!(producer.poll_twin(), Some(Twin::Beyond { sequence: 10, published: 10 }));
    assert_eq!((producer.unacknowledged(), producer.kept_count(), producer.is_drained()), (2, 8, false));
    ack(&mut producer, 9, &mut out);
    assert_eq!((producer.unacknowledged(), producer.kept_count(), producer.is_drained()), (0, 8, true));
    assert_eq!((producer.is_done(), producer.unproven(), producer.proven_head()), (false, 8, Some(1)));
    assert_eq!((producer.kept_len_bytes(), producer.poll_notice(100_000)), (0, None));
    out.drain(|_, _| {});
    producer.renew(b"OTHER", 0).unwrap();
    assert_eq!((producer.due_ms(), producer.proven_head()), (Some(0), None));
    producer.handle_timeout(0, &mut out);
    let mut again = Vec::new();
    out.drain(|_, content: Option<Content>| again.extend(content.map(|content| content[0])));
    assert_eq!(again, [2, 3, 4, 5, 6, 7, 8, 9]);
    assert_eq!((producer.unacknowledged(), producer.kept_count()), (8, 8));
    // The kept records have a limit. The oldest ones are dropped.
    producer.keep_acknowledged();
    subscribe(&mut producer);
    let large: Content = vec![0; 1 << 20].into();
    for i in 0..100 {
        producer.publish(large.clone(), 0, &mut out);
        producer.handle_message(&crate::rig::ack(b"OTHER", 8 + i, b""), UNKNOWN, &mut out);
    }
    assert_eq!((producer.unacknowledged(), producer.kept_count()), (0, 63));
    // Dropped records remain unproven, whatever is acknowledged under another address.
    assert_eq!((producer.unproven(), producer.dropped_unproven(), producer.proven_head()), (108, 45, None));
    producer.renew(b"THIRD", 0).unwrap();
    subscribe(&mut producer);
    producer.handle_message(&crate::rig::ack(b"THIRD", 62, b""), UNKNOWN, &mut out);
    assert_eq!((producer.is_done(), producer.unproven(), producer.proven_head()), (true, 45, Some(62)));
}

#[test]
fn many_kept_records_are_published_again_in_several_turns() {
    let mut out = Outbox::new();
    let mut producer = publishing(0, &mut out);
    let content = |i: u64| Content::from(i.to_be_bytes());
    (0..2_500).for_each(|i| producer.publish(content(i), 0, &mut out));
    out.drain(|_, _| {});
    producer.renew(b"OTHER", 0).unwrap();
    subscribe(&mut producer);
    // A record that the application sends meanwhile comes after them.
    producer.publish(content(2_500), 0, &mut out);
    assert!(out.is_empty());
    let (mut turns, mut again) = (Vec::new(), Vec::new());
    while producer.has_unpublished() {
        assert_eq!(producer.due_ms(), Some(0));
        // A HEAD does not make the peers fetch records that are published soon.
        producer.send_head(0, &mut out);
        producer.handle_timeout(0, &mut out);
        out.drain(|frame, content: Option<Content>| match (content, Message::decode(frame)) {
            (Some(content), Ok(Message::Record(position))) => again.push((position.sequence, content)),
            (None, Ok(Message::Head(position))) => assert_eq!(position.sequence + 1, again.len() as u64),
            (_, message) => panic!("{message:?}"),
        });
        turns.push(again.len());
    }
    assert_eq!(turns, [1_000, 2_000, 2_501]);
    assert!(again.into_iter().eq((0..2_501).map(|i| (i, content(i)))));
    assert_eq!(producer.due_ms(), Some(1_000));
}
