use super::*;
use crate::net::Kind;
use crate::net::{connect_pair, now_ms};
use crate::partition_name::SharedPartitionName;
use crate::wire::batch::BatchBuilder;
use std::collections::VecDeque;

fn name(topic: &str) -> SharedPartitionName {
    SharedPartitionName::new(PartitionName { topic: topic.as_bytes(), producer: b"producer" })
}

/// The topic of record `number`. Runs of records with one topic have different lengths.
fn topic(number: u64) -> &'static str {
    if number % 10 < 7 { "often" } else { "seldom" }
}

/// Both ends of a record pipe with room for `limit` messages, and a queue for as many records.
fn ends(limit: i32) -> (RecordWriter, Application) {
    let [sink, source] = [(); 2].map(|()| Socket::new(Kind::PAIR).unwrap());
    sink.zmq().set_sndhwm(limit).unwrap();
    // The room is the sum of this limit and the limit of the other end.
    source.zmq().set_rcvhwm(1).unwrap();
    connect_pair(&source, &sink).unwrap();
    let (writer, reader) = record_queue(sink, limit as usize + 1).unwrap();
    (writer, Application { source, reader, name: None, next: 0 })
}

/// The actor's end, with numbered records that the actor has not handed over.
struct Actor {
    writer: RecordWriter,
    records: RecordList,
    next: u64,
}

impl Actor {
    /// Adds records: alone, and in batches of up to three.
    fn add(&mut self, count: u64) {
        let end = self.next + count;
        while self.next < end {
            let number = self.next;
            let mut batch = BatchBuilder::new(Vec::new());
            while self.next < end.min(number + 3) && topic(self.next) == topic(number) {
                batch.push(&self.next.to_be_bytes()).unwrap();
                self.next += 1;
            }
            let run = match number % 4 {
                0 => {
                    self.next = number + 1;
                    Frame::copy(&number.to_be_bytes()).into()
                }
                _ => batch.finish(Vec::new()).unwrap().into(),
            };
            self.records.push(&name_of(number), Some(number), run);
        }
    }

    fn hand_over(&mut self) -> bool {
        // As the loop of a node does.
        let is_woken = zmq::poll(&mut [self.writer.item().item()], 0).unwrap() == 1;
        self.writer.hand_over(&mut self.records, is_woken).unwrap()
    }
}

fn name_of(number: u64) -> SharedPartitionName {
    thread_local! {
        static NAMES: [SharedPartitionName; 2] = ["often", "seldom"].map(name);
    }
    NAMES.with(|names| names[usize::from(topic(number) == "seldom")].clone())
}

/// The application's end. Checks that the application reads all records in order.
struct Application {
    source: Socket,
    reader: RecordReader,
    name: Option<SharedPartitionName>,
    next: u64,
}

impl Application {
    fn is_readable(&self) -> bool {
        self.source.events().contains(POLLIN)
    }

    fn check(&mut self, name: PartitionName, content: &[u8]) {
        let number = u64::from_be_bytes(content.try_into().unwrap());
        assert_eq!((number, name.topic), (self.next, topic(self.next).as_bytes()));
        self.next += 1;
    }

    /// Reads a record as a program without this library does.
    fn read_itself(&mut self) -> bool {
        let Some((name, content)) = reader::read_frames(&self.source, None).unwrap() else { return false };
        self.check(name.as_name(), content.as_ref());
        true
    }

    fn read(&mut self) -> bool {
        let Some(record) = self.reader.next(&self.source, &mut self.name).unwrap() else { return false };
        assert_eq!((record.run.record_count(), record.offset), (1, Some(self.next)));
        let name = self.name.take().unwrap();
        self.check(name.as_name(), record.run.content());
        true
    }
}

fn actor(writer: RecordWriter) -> Actor {
    Actor { writer, records: RecordList::default(), next: 0 }
}

#[test]
fn the_pipe_is_readable_while_records_wait() {
    for limit in [1, 7, 3_000] {
        let (writer, mut application) = ends(limit);
        let mut actor = actor(writer);
        // Some rounds end before, at and just after the switch. Some have more records than the pipe holds. Each round
        // ends when no record is left.
        for count in [300, 699, 1, 1, 2, 500, 3, 5_000, 10_000] {
            actor.add(count);
            while application.next < actor.next {
                actor.hand_over();
                assert!(application.is_readable());
                assert!(application.read());
            }
            assert!(!application.is_readable() && !application.read() && !application.is_readable());
        }
        assert!(!application.reader.reads_frames(&application.source));
    }
}

#[test]
fn a_program_that_reads_frames_itself_gets_frames_for_ever() {
    for (limit, itself_at) in [(50, 0), (50, 998), (3_000, 500)] {
        let (writer, mut application) = ends(limit);
        let mut actor = actor(writer);
        actor.add(5_000);
        while application.next < actor.next {
            actor.hand_over();
            let is_itself = application.next == itself_at || application.next > 1_500;
            assert!(if is_itself { application.read_itself() } else { application.read() });
        }
        assert!(application.reader.reads_frames(&application.source));
    }
}

#[test]
fn an_actor_that_ends_after_the_decision_for_frames_loses_no_record() {
    let (writer, mut application) = ends(3_000);
    let mut actor = actor(writer);
    actor.add(3_001);
    assert!(actor.hand_over() && application.read_itself());
    while application.next <= SWITCH_COUNT {
        assert!(application.read());
    }
    assert!(!actor.writer.queue.lock().records.is_empty(), "libzmq has not freed all the room");
    drop(actor);
    while application.next < 3_001 {
        assert!(application.read(), "record {} is lost", application.next);
    }
    assert!(!application.read());
}

#[test]
fn a_reader_that_does_not_read_gets_a_limited_number_of_records() {
    let (writer, mut application) = ends(99);
    let mut actor = actor(writer);
    actor.add(1_000);
    while application.next < 1_000 {
        actor.hand_over();
        application.read();
    }
    let is_waiting = |actor: &Actor| zmq::poll(&mut [actor.writer.item().item()], 0).unwrap() == 0;
    actor.add(1_000);
    assert!(!actor.hand_over() && is_waiting(&actor));
    assert_eq!(actor.records.len(), 950);
    // The reader takes the first half. The actor is woken, and hands over the second half.
    assert!(application.read() && !is_waiting(&actor));
    assert!(!actor.hand_over() && is_waiting(&actor));
    assert_eq!(actor.records.len(), 900);
    while application.next < 1_049 {
        assert!(application.read() && is_waiting(&actor));
    }
    assert!(application.read() && !is_waiting(&actor));
    // Two of these long records exceed the limit in bytes.
    while application.next < actor.next {
        actor.hand_over();
        application.read();
    }
    for _ in 0..3 {
        actor.records.push(&name("often"), None, Frame::zeroed(MAX_LEN_BYTES * 2 / 3).unwrap().into());
    }
    assert!(!actor.hand_over());
    assert_eq!(actor.records.len(), 2);
}

#[test]
fn a_wake_that_was_not_read_does_not_hide_the_next_one() {
    let (writer, mut application) = ends(99);
    let mut actor = actor(writer);
    actor.add(SWITCH_COUNT + 500);
    while application.next < SWITCH_COUNT {
        actor.hand_over();
        application.read();
    }
    while actor.hand_over() {}
    while application.read() {}
    // The reader has sent a wake. When the actor sends the token, libzmq processes the event of the wake, but the wake
    // stays unread.
    assert!(!actor.writer.hand_over(&mut actor.records, false).unwrap());
    assert!(application.read());
    assert_eq!(zmq::poll(&mut [actor.writer.item().item()], 0), Ok(1));
}

#[test]
fn two_threads_hand_over_records_in_order() {
    const COUNT: u64 = 300_000;
    for limit in [1, 100, 3_000] {
        let (writer, mut application) = ends(limit);
        let count = if limit == 1 { COUNT / 20 } else { COUNT };
        let thread = std::thread::spawn(move || {
            let mut actor = actor(writer);
            while actor.next < count || !actor.records.is_empty() {
                if actor.hand_over() {
                    actor.add((actor.next % 130).min(count - actor.next).max(1).min(count - actor.next));
                } else {
                    assert_eq!(zmq::poll(&mut [actor.writer.item().item()], 20_000), Ok(1), "not woken");
                }
            }
            actor.writer
        });
        let due_ms = now_ms() + 60_000;
        while application.next < count {
            if !application.read() {
                let ready = zmq::poll(&mut [application.source.item(POLLIN)], 20_000);
                assert_eq!(ready, Ok(1), "no record after {}", application.next);
            }
            assert!(now_ms() < due_ms);
        }
        drop(thread.join().unwrap());
        assert!(!application.is_readable() && !application.read());
    }
}

#[test]
fn records_of_some_partitions_are_removed() {
    let mut list = RecordList::default();
    let [a, b] = ["a", "b"].map(name);
    for (name, content) in [(&a, 0), (&a, 1), (&b, 2), (&a, 3), (&a, 4), (&b, 5)] {
        list.push(name, None, Frame::copy(&[content]).into());
    }
    list.retain(|name| name.topic == b"a");
    let mut rest = VecDeque::new();
    let mut name = None;
    while let Some(content) = list.pop_into(&mut name) {
        rest.push_back((name.clone().unwrap(), content.run.content()[0]));
    }
    assert_eq!(rest, [(a.clone(), 0), (a.clone(), 1), (a.clone(), 3), (a, 4)]);
}
