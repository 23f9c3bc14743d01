//! What a producer does with ACKs while another one seems to use its address.

use crate::UNKNOWN;
use dafka::protocol::Outbox;
use dafka::protocol::producer::{Producer, Twin};
use dafka::protocol::subscriptions;
use dafka::wire::{Message, Subscription};
use std::sync::Arc;

type Content = Arc<[u8]>;

const TOPIC: &[u8] = b"topic";
const ME: &[u8] = b"ME";

fn publishing(count: usize, out: &mut Outbox<Content>) -> Producer<Content> {
    let mut producer = Producer::new(TOPIC, ME, 1_000).unwrap().unread();
    (0..count).for_each(|i| producer.publish(vec![i as u8; 100].into(), 0, out));
    producer
}

fn ack(producer: &mut Producer<Content>, sequence: u64, out: &mut Outbox<Content>) {
    producer.handle_message(
        &Message::Ack { topic: ME, subject: TOPIC, sequence, store: b"STORE" },
        UNKNOWN,
        out,
    );
}

fn subscribe(producer: &mut Producer<Content>) {
    let prefix = &subscriptions::store_writer(b"WRITER")[0];
    let frame = [b"\x01", prefix.as_slice()].concat();
    producer.handle_subscription(&Subscription::decode(&frame).expect("a subscription"), 0);
}

#[test]
fn an_ack_that_is_read_before_the_subscription_is_no_proof_of_a_twin() {
    let mut out = Outbox::new();
    let mut producer = publishing(10, &mut out);
    producer.handle_behind(true);
    ack(&mut producer, 4, &mut out);
    assert_eq!((producer.poll_twin(), producer.unacknowledged()), (None, 10));
    subscribe(&mut producer);
    producer.handle_behind(false);
    assert_eq!((producer.poll_twin(), producer.unacknowledged()), (None, 5));
    // Where all was read, and nobody has subscribed, there is one.
    let mut producer = publishing(10, &mut out);
    producer.handle_behind(true);
    ack(&mut producer, 4, &mut out);
    producer.handle_behind(false);
    assert_eq!((producer.poll_twin(), producer.unacknowledged()), (Some(Twin::Unread { sequence: 4 }), 10));
}

#[test]
fn what_is_acknowledged_while_a_new_address_is_waited_for_is_published_again() {
    let mut out = Outbox::new();
    let mut producer = publishing(10, &mut out);
    subscribe(&mut producer);
    ack(&mut producer, 1, &mut out);
    // What comes right after the proof of a twin may be meant for its records already.
    ack(&mut producer, 10, &mut out);
    ack(&mut producer, 7, &mut out);
    assert_eq!(producer.poll_twin(), Some(Twin::Beyond { sequence: 10, published: 10 }));
    assert_eq!((producer.unacknowledged(), producer.kept_count(), producer.is_drained()), (2, 8, false));
    ack(&mut producer, 9, &mut out);
    assert_eq!((producer.unacknowledged(), producer.kept_count(), producer.is_drained()), (0, 8, true));
    assert_eq!((producer.is_done(), producer.unproven()), (false, 8));
    assert_eq!((producer.kept_len_bytes(), producer.poll_notice(100_000)), (0, None));
    out.drain(|_, _| {});
    producer.renew(b"OTHER", 0, &mut out).unwrap();
    let mut again = Vec::new();
    out.drain(|_, content: Option<Content>| again.extend(content.map(|content| content[0])));
    assert_eq!(again, [2, 3, 4, 5, 6, 7, 8, 9]);
    assert_eq!((producer.unacknowledged(), producer.kept_count()), (8, 8));
    // It is bounded, by the oldest.
    producer.keep_acknowledged();
    subscribe(&mut producer);
    let large: Content = vec![0; 1 << 20].into();
    for i in 0..100 {
        producer.publish(large.clone(), 0, &mut out);
        producer.handle_message(
            &Message::Ack { topic: b"OTHER", subject: TOPIC, sequence: 8 + i, store: b"" },
            UNKNOWN,
            &mut out,
        );
    }
    assert_eq!((producer.unacknowledged(), producer.kept_count()), (0, 63));
    // What gave way is not proven to be stored, whatever is acknowledged under another address.
    assert_eq!(producer.unproven(), 108);
    producer.renew(b"THIRD", 0, &mut out).unwrap();
    subscribe(&mut producer);
    producer.handle_message(
        &Message::Ack { topic: b"THIRD", subject: TOPIC, sequence: 62, store: b"" },
        UNKNOWN,
        &mut out,
    );
    assert_eq!((producer.is_done(), producer.unproven()), (true, 45));
}
