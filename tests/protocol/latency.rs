//! A producer and a consumer with a long round trip, and many partitions that wait: real state machines, virtual time.

use crate::UNKNOWN;
use crate::rig::{Content, PARTITION, Reading, TOPIC, head, record};
use dafka::protocol::consumer::Start;
use dafka::protocol::ingest::Limits;
use dafka::protocol::producer::Producer;
use dafka::protocol::{AllRead, Outbox, Progress};
use dafka::wire::Message;
use std::collections::VecDeque;
use std::time::Duration;

const BACKLOG: u64 = 50_000;
const STEP_MS: usize = 5;

/// How long a consumer takes to read a backlog when each message takes half of `round_trip_ms`, and how many records
/// the producer sends for that. The producer also publishes a record every `live_ms`, or none if that is 0.
fn catch_up(round_trip_ms: u64, live_ms: u64) -> (u64, u64) {
    let content: Content = vec![7; 1_000].into();
    let mut producer = Producer::new(TOPIC, PARTITION, 1_000).unwrap();
    let mut reading = Reading::new(Start::Earliest, Limits::default());
    let mut from_producer = Outbox::new();
    let mut to_consumer: VecDeque<(u64, Vec<u8>, Option<Content>)> = VecDeque::new();
    let mut to_producer: VecDeque<(u64, Vec<u8>)> = VecDeque::new();
    (0..BACKLOG).for_each(|_| producer.publish(content.clone(), 0, &mut from_producer));
    from_producer.drain(|_, _| ());
    let (mut sent, mut delivered) = (0, 0);
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
            reading.handle(&Message::decode(&frame).unwrap(), content, now_ms);
            delivered += reading.offsets().len() as u64;
        }
        reading.handle_timeout(now_ms);
        reading.out.drain(|frame, _| to_producer.push_back((arrives_ms, frame.to_vec())));
        if delivered >= BACKLOG {
            return (now_ms, sent);
        }
    }
    panic!(
        "{round_trip_ms} ms, a record every {live_ms} ms: {delivered} of {BACKLOG} records in ten minutes"
    );
}

#[test]
fn a_long_round_trip_causes_few_duplicates() {
    for round_trip_ms in [100, 300, 500, 800, 900, 1_500, 3_000, 6_000] {
        for live_ms in [0, 10] {
            let (took_ms, sent) = catch_up(round_trip_ms, live_ms);
            // The consumer starts with small windows. Later windows have some 8,000 records (8 MiB), so 50,000 records
            // take about ten round trips at most.
            assert!(took_ms <= 10 * round_trip_ms, "{round_trip_ms} ms, {live_ms}: {took_ms} ms");
            // Before the consumer knows how long answers take, it requests some records twice.
            assert!(sent < 2 * BACKLOG, "{round_trip_ms} ms, {live_ms}: {sent} records sent");
        }
    }
}

/// The processor time of this thread, which does not depend on other load.
fn time_of_this_thread() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

#[test]
fn many_partitions_that_wait_for_room_cost_little() {
    let mut reading = Reading::new(Start::Earliest, Limits::default());
    let content: Content = vec![7; 1_000].into();
    for i in 0..100_000 {
        let address = format!("{i:032}");
        reading.handle(&record(address.as_bytes(), 0), Some(content.clone()), 0);
        reading.delivered.clear();
        reading.handle(&head(address.as_bytes(), 199), None, 0);
    }
    let mut tick = |now_ms| -> Duration {
        let start = time_of_this_thread();
        reading.handle_timeout(now_ms);
        let took = time_of_this_thread() - start;
        reading.out.drain(|_, _| ());
        took
    };
    // The first call checks each partition, the later ones only few.
    let all = tick(1);
    let later: Duration = (2..202).map(&mut tick).sum();
    assert!(later < 5 * all, "{later:?} in 200 ms, after {all:?} for each once");
}

#[test]
fn a_fetch_is_not_repeated_while_its_answer_may_wait_unread() {
    let mut reading = Reading::new(Start::Earliest, Limits::default());
    reading.handle(&head(PARTITION, 9), None, 0);
    reading.requests();
    let mut fetches = |now_ms, unread_since_ms| {
        reading.consumer.handle_unread(unread_since_ms);
        reading.handle_timeout(now_ms);
        reading.requests().0.len()
    };
    assert_eq!(fetches(1, None), 1);
    // At 2,000 ms the answer is overdue. But messages that arrived at 200 ms or later are unread, and the answer may
    // be among them.
    assert_eq!(fetches(2_000, Some(200)), 0);
    // The node has read all messages that arrived before 2,000 ms, and the answer was not among them.
    assert_eq!(fetches(2_100, Some(2_000)), 1);
    // The second FETCH was sent at 2,100 ms, so its timeout has not passed yet.
    assert_eq!(fetches(2_200, Some(2_050)), 0);
    assert_eq!(fetches(5_000, None), 1);
}
