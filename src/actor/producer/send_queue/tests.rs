use super::*;
use crate::actor::producer::intake::Intake;
use crate::actor::producer::owner::RecordPipe;
use crate::actor::{Run, publish};
use crate::net::{Attached, Kind, Socket, TERM, pipe_with_limit, poll};
use crate::protocol::producer::{Producer, cost_bytes};
use crate::protocol::{Outbox, Payload};
use crate::wire::Message;
use crate::wire::batch::Batch;
use std::sync::atomic::{AtomicBool, Ordering};
use zmq::POLLIN;

mod flush;

const NO_LIMITS: Limits =
    Limits { max_record_len_bytes: usize::MAX, max_unacked_bytes: None, max_waiting_count: None };

/// The two ends of a pipe and of a queue.
struct Ends {
    ours: Pipe,
    theirs: Pipe,
    intake: Intake,
    load: &'static Load,
    _attached: Attached,
}

fn ends(limits: Limits, pipe_limit: i32) -> Ends {
    let (ours, theirs) = pipe_with_limit(pipe_limit).unwrap();
    let attached = theirs.attach();
    // Not the load of all tests of this process.
    let load = Box::leak(Box::new(Load::new()));
    let intake = Intake::share(&theirs, limits, false, load);
    theirs.signal().unwrap();
    Ends { ours, theirs, intake, load, _attached: attached }
}

impl Ends {
    /// Sends a record without waiting. False when there is no room.
    fn send(&self, content: &[u8]) -> bool {
        RecordPipe::new(&self.ours).send_while(&mut Frame::copy(content), None, &mut || false).unwrap()
    }

    /// The first frame of the next command.
    fn command(&self) -> Option<Vec<u8>> {
        let mut frame = Frame::new();
        self.theirs.try_recv(&mut frame).unwrap().then(|| frame.as_ref().to_vec())
    }

    /// All records that may be published in this turn.
    fn publish(&mut self) -> Vec<Vec<u8>> {
        let mut published = Vec::new();
        while let Some(run) = self.intake.pop() {
            self.intake.note_published(&run);
            run.for_each_content(|content| published.push(content.to_vec()));
        }
        published
    }

    /// Sends and takes records until the actor gathers, because many other producers are busy.
    fn begin_to_gather(&mut self) {
        let mut others: Vec<Share> = (0..50).map(|_| Share::default()).collect();
        while self.intake.gathers_until_ms().is_none() {
            others.iter_mut().for_each(|other| other.count(self.load, 1_000, now_ms()));
            assert!(self.send(b"begins"));
            while self.command().is_some() {
                self.intake.take();
            }
            self.publish();
            self.intake.begin_turn(1_000);
            self.intake.report(0);
        }
    }

    fn fill_pipe(&self) {
        while self.ours.try_send(&mut Frame::copy(b"other"), false).unwrap() {}
    }
}

#[test]
fn a_queue_is_announced_once_and_keeps_the_order_of_commands() {
    let mut ends = ends(NO_LIMITS, 0);
    for round in 0..3_usize {
        let contents: Vec<Vec<u8>> = [1, 0, 30_000, 50, MAX_COPIED_LEN_BYTES, MAX_COPIED_LEN_BYTES + 1, 5]
            .map(|len| vec![round as u8; len + round])
            .into();
        for content in &contents {
            assert!(ends.send(content));
        }
        ends.ours.send_frames(&[b"after"]).unwrap();
        assert_eq!(ends.command().unwrap(), QUEUED);
        ends.intake.take();
        assert_eq!(ends.publish(), contents);
        assert_eq!(ends.command().unwrap(), b"after");
        assert_eq!(ends.command(), None);
    }
}

#[test]
fn long_records_are_not_copied() {
    let mut ends = ends(NO_LIMITS, 0);
    let mut frame = Frame::copy(&[7; MAX_COPIED_LEN_BYTES + 1]);
    let data = frame.as_ref().as_ptr();
    assert!(RecordPipe::new(&ends.ours).send_while(&mut frame, None, &mut || true).unwrap());
    assert!(frame.as_ref().is_empty());
    ends.intake.take();
    assert_eq!(ends.intake.pop().unwrap().content().as_ptr(), data);
}

#[test]
fn records_with_attributes_occupy_room_until_they_are_published() {
    let mut ends = ends(NO_LIMITS, 0);
    let key = vec![b'k'; 60_000];
    let attributes = Attributes { timestamp_ms: Some(-5), key: Some(&key), ..Attributes::default() };
    // Together, these records occupy almost as much memory as waiting records may occupy.
    for content in [vec![], vec![b'c'; MAX_COPIED_LEN_BYTES + 1]] {
        for _ in 0..100 {
            assert!(RecordPipe::new(&ends.ours).send_copy_while(attributes, &content, &mut || true).unwrap());
            assert_eq!(ends.command().as_deref(), Some(QUEUED));
            ends.intake.take();
            let run = ends.intake.pop().unwrap();
            let record = run.first().unwrap();
            assert!(record.attributes() == attributes && record.content == content);
            ends.intake.note_published(&run);
        }
    }
    ends.intake.report(0);
    // The records that were published no longer occupy room.
    for _ in 0..15 {
        assert!(ends.send(&vec![0; 1 << 20]));
    }
}

#[test]
fn a_turn_publishes_a_limited_number_of_records() {
    let mut ends = ends(NO_LIMITS, 0);
    let contents: Vec<Vec<u8>> = (0..2_500).map(|number| format!("{number:0500}").into()).collect();
    for content in &contents {
        assert!(ends.send(content));
    }
    ends.intake.take();
    let mut counts = Vec::new();
    let mut published = Vec::new();
    while ends.intake.is_left() {
        let turn = ends.publish();
        counts.push(turn.len());
        published.extend(turn);
        ends.intake.begin_turn(1_000);
    }
    // Whole batches of 129 records, until a turn has 1,000 records.
    assert_eq!(counts, [1_032, 1_032, 436]);
    assert!(published == contents);
}

#[test]
fn records_that_are_not_published_are_limited() {
    let mut few = ends(Limits { max_waiting_count: Some(3), ..NO_LIMITS }, 0);
    assert!([1, 2, 3].map(|number| few.send(&[number])).iter().all(|&is_sent| is_sent));
    few.intake.take();
    assert!(!few.send(b"too many"), "taken records count until they are published");
    assert_eq!(few.publish().len(), 3);
    few.intake.report(0);
    assert!(few.send(b"4"));

    let mut long = ends(NO_LIMITS, 0);
    assert!(long.send(&vec![0; MAX_WAITING_BYTES as usize + 1]), "one record of any length fits");
    assert!(!long.send(b"too much"));
    long.intake.take();
    long.publish();
    long.intake.report(u64::MAX);
    assert!(long.send(b"without max_unacked_bytes, acknowledgements do not matter"));
}

#[test]
fn records_that_move_from_the_queue_to_the_actor_stay_counted() {
    let cost = cost_bytes(1);
    let mut ends = ends(Limits { max_unacked_bytes: Some(2 * cost), ..NO_LIMITS }, 0);
    assert!(ends.send(b"1") && ends.send(b"2") && !ends.send(b"3"));
    ends.intake.take();
    ends.intake.report(0);
    assert!(!ends.send(b"3"));
    ends.publish();
    ends.intake.report(2 * cost);
    assert!(!ends.send(b"3"));
    ends.intake.report(cost);
    assert!(ends.send(b"3") && !ends.send(b"4"));
}

/// The limit that applies without `producer/max_unacked_bytes` comes and goes with the ACKs of stores.
#[test]
fn a_default_limit_delays_records_while_it_applies() {
    let mut ends = ends(NO_LIMITS, 0);
    assert!(ends.send(b"1") && ends.send(b"2"));
    ends.intake.take();
    ends.publish();
    ends.intake.set_default_limit(Some(1_000));
    ends.intake.report(1_000);
    assert!(!ends.send(b"3"));
    assert!(!ends.intake.must_wait(1_000), "commands in the pipe do not wait");
    ends.intake.report(999);
    assert!(ends.send(b"3"));
    ends.intake.report(1_000);
    assert!(!ends.send(b"4"));
    ends.intake.set_default_limit(None);
    ends.intake.report(u64::MAX);
    assert!(ends.send(b"4"));
}

#[test]
fn a_full_pipe_delays_the_first_record_and_has_room_for_the_end_afterwards() {
    let ends = ends(NO_LIMITS, 1);
    ends.fill_pipe();
    assert!(!ends.send(b"no room for the command"));
    assert_eq!(ends.command().unwrap(), b"other");
    let (ours, theirs) = (ends.ours, ends.theirs);
    std::thread::scope(|scope| {
        let sender = scope.spawn(move || {
            RecordPipe::new(&ours).send_while(&mut Frame::copy(b"1"), None, &mut || true).unwrap();
            ours.try_send(&mut Frame::copy(b"$TERM"), false).unwrap()
        });
        let mut frame = Frame::new();
        let mut is_announced = false;
        while frame.as_ref() != b"$TERM" {
            let is_finished = sender.is_finished();
            assert!(theirs.try_recv(&mut frame).unwrap() || !is_finished);
            std::thread::yield_now();
            is_announced |= frame.as_ref() == QUEUED;
        }
        assert!(is_announced && sender.join().unwrap());
    });
}

#[test]
fn a_call_that_waits_returns_when_the_actor_ends() {
    for pipe_limit in [0, 1] {
        let Ends { ours, theirs, mut intake, _attached, .. } =
            ends(Limits { max_waiting_count: Some(1), ..NO_LIMITS }, pipe_limit);
        let is_waiting = &AtomicBool::new(false);
        std::thread::scope(|scope| {
            let sender = scope.spawn(move || {
                let pipe = RecordPipe::new(&ours);
                pipe.send_while(&mut Frame::copy(b"1"), None, &mut || true)?;
                pipe.send_while(&mut Frame::copy(b"2"), None, &mut || {
                    is_waiting.store(true, Ordering::Release);
                    true
                })
            });
            while !is_waiting.load(Ordering::Acquire) {
                std::thread::yield_now();
            }
            intake.take();
            drop((intake, theirs));
            assert_eq!(sender.join().unwrap(), Err(Ended));
        });
    }
}

#[test]
fn after_a_record_in_the_pipe_all_records_follow_it_there() {
    let mut ends = ends(NO_LIMITS, 0);
    assert!(ends.send(b"queued"));
    ends.ours.send_frames(&[b"P", b"direct"]).unwrap();
    assert_eq!(ends.command().unwrap(), QUEUED);
    ends.intake.take();
    assert_eq!(ends.publish(), [b"queued"]);
    assert_eq!(ends.command().unwrap(), b"P");
    assert_eq!(ends.command().unwrap(), b"direct");
    ends.intake.note_record_in_pipe(0);
    assert!(ends.send(b"short") && ends.send(&[0; 10_000]));
    ends.ours.send_frames(&[b"P", b"direct"]).unwrap();
    for content in [&b"short"[..], &[0; 10_000], b"direct"] {
        assert_eq!(ends.command().unwrap(), b"P");
        assert_eq!(ends.command().unwrap(), content);
    }
    assert_eq!(ends.command(), None);
}

#[test]
fn an_actor_that_gathers_is_called_only_for_much() {
    let mut few = ends(Limits { max_waiting_count: Some(3), ..NO_LIMITS }, 0);
    few.begin_to_gather();
    assert!([b"1", b"2", b"3"].map(|content| few.send(content)).iter().all(|&is_sent| is_sent));
    assert_eq!(few.command(), None, "the actor comes by itself");
    assert!(!few.send(b"4"));
    assert_eq!(few.command().unwrap(), QUEUED, "a call that waits does not wait for the pause");
    few.intake.take();
    assert_eq!(few.publish(), [b"1", b"2", b"3"]);

    let mut long = ends(NO_LIMITS, 0);
    long.begin_to_gather();
    assert!(long.send(&[0; MAX_COPIED_LEN_BYTES + 1]));
    assert_eq!(long.command().unwrap(), QUEUED);

    let mut many = ends(NO_LIMITS, 0);
    many.begin_to_gather();
    let mut count = 0;
    while many.command().is_none() {
        assert!(many.send(&[1; 10_000]));
        count += 1;
    }
    assert!((3..20).contains(&count), "{count} records of 10,000 bytes are more than a batch");
    for _ in 0..100 {
        assert!(many.send(b"more"));
    }
    // The pause may be over before the actor reads the command.
    many.intake.take_gathered(u64::MAX);
    assert_eq!((many.command(), many.intake.is_left()), (None, false), "one command is in the pipe");
    many.intake.take();
    assert_eq!(many.publish().len(), count + 100);
}

#[test]
fn gathered_records_come_before_the_next_command_and_after_the_pause() {
    let mut ends = ends(NO_LIMITS, 0);
    ends.begin_to_gather();
    assert!(ends.send(b"1") && ends.send(b"2"));
    ends.ours.send_frames(&[TERM]).unwrap();
    assert_eq!(ends.command().unwrap(), TERM);
    ends.intake.take_before_command();
    assert_eq!(ends.publish(), [b"1", b"2"]);

    ends.begin_to_gather();
    assert!(ends.send(b"3"));
    let until_ms = ends.intake.gathers_until_ms().unwrap();
    ends.intake.take_gathered(until_ms - 1);
    assert!(!ends.intake.is_left());
    ends.intake.take_gathered(until_ms);
    assert_eq!(ends.publish(), [b"3"]);
    // Nothing was sent during the next pause, so the producer is idle, and its next record goes out at once.
    ends.intake.take_gathered(u64::MAX);
    assert_eq!(ends.intake.gathers_until_ms(), None);
    assert!(ends.send(b"4"));
    assert_eq!(ends.command().unwrap(), QUEUED);
}

/// What an actor needs to publish, and a subscriber.
struct Publisher {
    producer: Box<Producer<Run>>,
    socket: Box<Socket>,
    subscriber: Socket,
    endpoint: String,
}

impl Publisher {
    /// Has published the first record, which is empty.
    fn new(endpoint: &str) -> Publisher {
        let socket = Socket::new(Kind::XPUB).unwrap();
        socket.zmq().set_sndhwm(0).unwrap();
        socket.bind(endpoint).unwrap();
        let mut producer = Producer::new(b"topic", b"address", 1_000).unwrap();
        producer.handle_batches_taken(true);
        let subscriber = subscriber(endpoint, b"");
        socket.recv(&mut Frame::new()).unwrap();
        let mut publisher = Publisher {
            producer: Box::new(producer),
            socket: Box::new(socket),
            subscriber,
            endpoint: endpoint.into(),
        };
        publisher.publish(Frame::new().into());
        publisher
    }

    fn publish(&mut self, run: Run) {
        let mut outbox = Outbox::new();
        self.producer.publish(run, 0, &mut outbox);
        publish(&self.socket, &mut outbox).unwrap();
    }

    /// All records that the subscriber has received, by their offsets. They arrive in this order.
    fn received(&self) -> Vec<(u64, Vec<u8>)> {
        let (mut received, [mut frame, mut content]) = (Vec::new(), [Frame::new(), Frame::new()]);
        while self.subscriber.try_recv(&mut frame).unwrap() {
            assert!(self.subscriber.try_recv(&mut content).unwrap());
            match Message::decode(frame.as_ref()).unwrap() {
                Message::Records(position) => {
                    let batch = Batch::check(content.as_ref()).unwrap();
                    let contents = batch.records().map(|record| record.content.to_vec());
                    received.extend((position.sequence..).zip(contents));
                }
                Message::Record(position) => received.push((position.sequence, content.as_ref().to_vec())),
                message => panic!("{message:?}"),
            }
        }
        received
    }
}

fn subscriber(endpoint: &str, prefix: &[u8]) -> Socket {
    let subscriber = Socket::new(Kind::SUB).unwrap();
    subscriber.zmq().set_rcvhwm(0).unwrap();
    subscriber.zmq().set_subscribe(prefix).unwrap();
    subscriber.connect(endpoint).unwrap();
    subscriber
}

#[test]
fn records_keep_their_order_whether_the_sender_or_the_actor_publishes_them() {
    const COUNT: u32 = 20_000;
    let Ends { ours, theirs, mut intake, _attached, .. } = ends(NO_LIMITS, 0);
    let (mut direct, mut queued, mut command) = (0, 0, Frame::new());
    let publisher = std::thread::scope(|scope| {
        let mut publisher = Publisher::new("inproc://order");
        let mut sender = Some(move || {
            let pipe = RecordPipe::new(&ours);
            for number in 1..=COUNT {
                pipe.send_copy_while(Attributes::default(), &number.to_be_bytes(), &mut || true).unwrap();
            }
            ours.send_frames(&[TERM]).unwrap();
        });
        let mut turn = 0;
        loop {
            let Publisher { producer, socket, subscriber, endpoint } = publisher;
            // In every other turn, the press is not lent. To the sender, the actor then seems to be at work.
            let is_lent = turn % 2 == 0;
            turn += 1;
            let mut own = Some(Press::new(producer, socket));
            if is_lent {
                intake.lend(own.take().unwrap());
            }
            if let Some(sender) = sender.take() {
                scope.spawn(sender);
            }
            // A fast sender calls the actor also while the press is lent.
            poll(&mut [theirs.item(POLLIN)], 20_000).unwrap();
            let press = own.or_else(|| intake.take_back()).unwrap();
            direct += press.count;
            publisher = Publisher { producer: press.producer, socket: press.publisher, subscriber, endpoint };
            let is_called = theirs.try_recv(&mut command).unwrap();
            let is_over = is_called && command.as_ref() == TERM;
            match is_over {
                // A fast sender makes the actor gather.
                true => intake.take_before_command(),
                false if is_called => intake.take(),
                false => {}
            }
            while intake.is_left() {
                while let Some(run) = intake.pop() {
                    intake.note_published(&run);
                    queued += run.record_count();
                    publisher.publish(run);
                }
                intake.begin_turn(1_000);
            }
            intake.report(0);
            if is_over {
                break publisher;
            }
        }
    });
    assert!(direct > 0 && queued > 0, "{direct} {queued}");
    let contents = (1..=COUNT).map(|number| number.to_be_bytes().to_vec());
    let expected: Vec<_> = (0_u64..).zip([Vec::new()].into_iter().chain(contents)).collect();
    assert!(publisher.received() == expected);
}

#[test]
fn a_sender_that_notices_a_subscription_wakes_the_actor() {
    let ends = ends(NO_LIMITS, 0);
    let publisher = Publisher::new("inproc://noticed");
    ends.intake.lend(Press::new(publisher.producer, publisher.socket));
    assert!(ends.send(b"1"));
    assert_eq!(ends.command(), None);
    let second = subscriber(&publisher.endpoint, b"other");
    assert!(ends.send(b"2"));
    assert_eq!(ends.command().unwrap(), QUEUED);
    assert!(ends.send(b"queued, until the actor has come"));
    let press = ends.intake.take_back().unwrap();
    assert_eq!(press.count, 2);
    assert!(press.publisher.try_recv(&mut Frame::new()).unwrap());
    drop(second);
}
