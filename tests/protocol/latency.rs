//! Producer and consumer on a long way from each other, and many partitions that wait: real state machines, virtual time.

use crate::UNKNOWN;
use dafka::protocol::consumer::{Consumer, Delivery, Start};
use dafka::protocol::ingest::Limits;
use dafka::protocol::producer::Producer;
use dafka::protocol::{AllRead, Outbox, Progress};
use dafka::wire::{Message, Position};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

type Content = Arc<[u8]>;

const TOPIC: &[u8] = b"topic";
const BACKLOG: u64 = 50_000;
const STEP_MS: usize = 5;

/// How long a consumer takes for a backlog when each message takes half of `round_trip_ms`, and how many records are sent
/// for that. The producer goes on meanwhile, a record every `live_ms` (0: it does not).
fn catch_up(round_trip_ms: u64, live_ms: u64) -> (u64, u64) {
    let content: Content = vec![7; 1_000].into();
    let mut producer = Producer::new(TOPIC, b"PARTITION", 1_000).unwrap();
    let mut consumer = Consumer::<Content>::new(b"ME", Start::Earliest, Limits::default(), 0);
    let (mut from_producer, mut from_consumer) = (Outbox::new(), Outbox::new());
    let mut to_consumer: VecDeque<(u64, Vec<u8>, Option<Content>)> = VecDeque::new();
    let mut to_producer: VecDeque<(u64, Vec<u8>)> = VecDeque::new();
    (0..BACKLOG).for_each(|_| producer.publish(content.clone(), 0, &mut from_producer));
    from_producer.drain(|_, _| ());
    consumer.subscribe(TOPIC, &mut from_consumer);
    let (mut sent, mut delivered, mut deliveries) = (0, 0, Vec::<Delivery<Content>>::new());
    for now_ms in (0..600_000).step_by(STEP_MS) {
        if live_ms > 0 && now_ms % live_ms == 0 {
            producer.publish(content.clone(), now_ms, &mut from_producer);
        }
        producer.handle_timeout(now_ms, &mut from_producer);
        while to_producer.front().is_some_and(|message| message.0 <= now_ms)
            && let Some((_, frame)) = to_producer.pop_front()
        {
            producer.handle_message(&Message::decode(&frame).unwrap(), UNKNOWN, &mut from_producer);
        }
        while producer.poll_answers(&mut AllRead, 512, &mut from_producer) != Progress::Idle {}
        let arrives_ms = now_ms + round_trip_ms / 2;
        from_producer.drain(|frame, content| {
            sent += u64::from(matches!(Message::decode(frame).unwrap(), Message::DirectRecord(_)));
            to_consumer.push_back((arrives_ms, frame.to_vec(), content));
        });
        while to_consumer.front().is_some_and(|message| message.0 <= now_ms)
            && let Some((_, frame, content)) = to_consumer.pop_front()
        {
            let message = Message::decode(&frame).unwrap();
            consumer.handle_message(&message, content, UNKNOWN, now_ms, &mut from_consumer, &mut deliveries);
            delivered += deliveries.drain(..).count() as u64;
        }
        consumer.handle_timeout(now_ms, &mut from_consumer);
        from_consumer.drain(|frame, _| to_producer.push_back((arrives_ms, frame.to_vec())));
        if delivered >= BACKLOG {
            return (now_ms, sent);
        }
    }
    panic!(
        "{round_trip_ms} ms, a record every {live_ms} ms: {delivered} of {BACKLOG} records in ten minutes"
    );
}

#[test]
fn a_long_way_costs_time_and_little_else() {
    for round_trip_ms in [100, 300, 500, 800, 900, 1_500, 3_000, 6_000] {
        for live_ms in [0, 10] {
            let (took_ms, sent) = catch_up(round_trip_ms, live_ms);
            // It begins with small windows, then takes 8,000 or so of these records at a time.
            assert!(took_ms <= 10 * round_trip_ms, "{round_trip_ms} ms, {live_ms}: {took_ms} ms");
            // Before it is known how long answers take, some are asked for twice.
            assert!(sent < 2 * BACKLOG, "{round_trip_ms} ms, {live_ms}: {sent} records sent");
        }
    }
}

/// What this thread has computed for, whatever else runs on the machine.
fn time_of_this_thread() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: it writes to what it is given, and knows this clock.
    assert_eq!(unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) }, 0);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

#[test]
fn many_partitions_that_wait_for_room_cost_little() {
    let mut consumer = Consumer::<Content>::new(b"ME", Start::Earliest, Limits::default(), 0);
    let (mut out, mut deliveries) = (Outbox::new(), Vec::<Delivery<Content>>::new());
    consumer.subscribe(TOPIC, &mut out);
    let content: Content = vec![7; 1_000].into();
    for i in 0..100_000 {
        let address = format!("{i:032}");
        let position = |sequence| Position::new(TOPIC, address.as_bytes(), TOPIC, sequence);
        consumer.handle_message(
            &Message::Record(position(0)),
            Some(content.clone()),
            UNKNOWN,
            0,
            &mut out,
            &mut deliveries,
        );
        deliveries.clear();
        consumer.handle_message(&Message::Head(position(199)), None, UNKNOWN, 0, &mut out, &mut deliveries);
    }
    let mut tick = |now_ms| -> Duration {
        let start = time_of_this_thread();
        consumer.handle_timeout(now_ms, &mut out);
        let took = time_of_this_thread() - start;
        out.drain(|_, _| ());
        took
    };
    // Each is looked at once: that takes its time. Then few at a time.
    let all = tick(1);
    let later: Duration = (2..202).map(&mut tick).sum();
    assert!(later < 5 * all, "{later:?} in 200 ms, after {all:?} for each once");
}

#[test]
fn what_may_wait_unread_is_not_asked_for_again() {
    let mut consumer = Consumer::<Content>::new(b"ME", Start::Earliest, Limits::default(), 0);
    let (mut out, mut deliveries) = (Outbox::new(), Vec::<Delivery<Content>>::new());
    consumer.subscribe(TOPIC, &mut out);
    let head = Message::Head(Position::new(TOPIC, b"PARTITION", TOPIC, 9));
    consumer.handle_message(&head, None, UNKNOWN, 0, &mut out, &mut deliveries);
    out.drain(|_, _| ());
    let mut fetches = |now_ms, unread_since_ms| {
        consumer.handle_unread(unread_since_ms);
        consumer.handle_timeout(now_ms, &mut out);
        let mut count = 0;
        out.drain(|frame, _| {
            count += u64::from(matches!(Message::decode(frame).unwrap(), Message::Fetch { .. }))
        });
        count
    };
    assert_eq!(fetches(1, None), 1);
    // An answer would be late, but what has come since the 200th millisecond has not been read.
    assert_eq!(fetches(2_000, Some(200)), 0);
    // All that came in two seconds has been read, and no answer was among it.
    assert_eq!(fetches(2_100, Some(2_000)), 1);
    // The time to answer the second one begins when it was sent.
    assert_eq!(fetches(2_200, Some(2_050)), 0);
    assert_eq!(fetches(5_000, None), 1);
}
