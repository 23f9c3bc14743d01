use super::*;
use crate::actor::producer::intake::Intake;
use crate::actor::producer::owner::RecordPipe;
use crate::net::{Attached, pipe_with_limit};
use crate::protocol::Payload;
use std::sync::atomic::{AtomicBool, Ordering};

const NO_LIMITS: Limits =
    Limits { max_record_len_bytes: usize::MAX, max_unacked_bytes: None, max_waiting_count: None };

/// The two ends of a pipe and of a queue.
struct Ends {
    ours: Pipe,
    theirs: Pipe,
    intake: Intake,
    _attached: Attached,
}

fn ends(limits: Limits, pipe_limit: i32) -> Ends {
    let (ours, theirs) = pipe_with_limit(pipe_limit).unwrap();
    let attached = theirs.attach();
    let intake = Intake::share(&theirs, limits, false);
    theirs.signal().unwrap();
    Ends { ours, theirs, intake, _attached: attached }
}

impl Ends {
    /// Sends a record without waiting. False when there is no room.
    fn send(&self, content: &[u8]) -> bool {
        RecordPipe::new(&self.ours).send_while(&mut Frame::copy(content), &mut || false).unwrap()
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
    RecordPipe::new(&ends.ours).send(&mut frame).unwrap();
    assert!(frame.as_ref().is_empty());
    ends.intake.take();
    assert_eq!(ends.intake.pop().unwrap().content().as_ptr(), data);
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
        ends.intake.begin_turn();
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
            RecordPipe::new(&ours).send(&mut Frame::copy(b"1")).unwrap();
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
        let Ends { ours, theirs, mut intake, _attached } =
            ends(Limits { max_waiting_count: Some(1), ..NO_LIMITS }, pipe_limit);
        let is_waiting = &AtomicBool::new(false);
        std::thread::scope(|scope| {
            let sender = scope.spawn(move || {
                let pipe = RecordPipe::new(&ours);
                pipe.send(&mut Frame::copy(b"1"))?;
                pipe.send_while(&mut Frame::copy(b"2"), &mut || {
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
