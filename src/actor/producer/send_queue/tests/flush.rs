use super::*;

/// A timeout that is never over in a test that passes.
const LONG: Option<Duration> = Some(Duration::from_secs(60));

impl Ends {
    /// Flushes with a timeout of 0.
    fn flush(&self) -> Flushed {
        RecordPipe::new(&self.ours).flush(Some(Duration::ZERO), &mut || true).unwrap()
    }

    fn unacked(&self) -> u64 {
        RecordPipe::new(&self.ours).unacked_count().unwrap()
    }

    /// The actor takes and publishes what is in the queue, and reports that `count` of all records are acknowledged.
    fn acknowledge(&mut self, received_count: u64, count: u64) {
        self.intake.take();
        self.publish();
        self.report_acks(received_count, count);
    }

    fn report_acks(&mut self, received_count: u64, count: u64) {
        self.intake.set_acks(Acks { received_count, count, head: count.checked_sub(1), has_dropped: false });
        self.intake.report(0);
    }
}

/// Calls `during` while another thread flushes. Returns the result of the flush.
fn flush_during(mut ends: Ends, during: impl FnOnce(Ends)) -> Result<Flushed, Ended> {
    let (ours, is_waiting) =
        (std::mem::replace(&mut ends.ours, pipe_with_limit(0).unwrap().0), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let flushing = scope.spawn(|| {
            let ours = ours;
            RecordPipe::new(&ours).flush(LONG, &mut || {
                is_waiting.store(true, Ordering::Release);
                true
            })
        });
        while !is_waiting.load(Ordering::Acquire) {
            std::thread::yield_now();
        }
        during(ends);
        flushing.join().unwrap()
    })
}

#[test]
fn a_flush_makes_an_actor_publish_that_gathers() {
    let mut ends = ends(NO_LIMITS, 0);
    ends.begin_to_gather();
    let before = ends.unacked();
    ends.report_acks(before, before);
    assert!(ends.send(b"1") && ends.send(b"2"));
    assert_eq!(ends.command(), None, "the actor comes by itself");
    assert_eq!(ends.flush(), Flushed::TimedOut);
    assert_eq!(ends.command().unwrap(), QUEUED);
    assert_eq!(ends.flush(), Flushed::TimedOut);
    assert_eq!(ends.command(), None, "one command is in the pipe");
    let all = before + 2;
    ends.acknowledge(all, all - 1);
    assert_eq!((ends.flush(), ends.unacked()), (Flushed::TimedOut, 1));
    ends.acknowledge(all, all);
    assert_eq!((ends.flush(), ends.unacked()), (Flushed::All, 0));
}

#[test]
fn a_flush_waits_for_the_records_that_were_sent_before() {
    let first = ends(NO_LIMITS, 0);
    assert!(first.send(b"1") && first.send(b"2"));
    let queue = first.ours.shared::<SendQueue>().unwrap();
    let flushed = flush_during(first, |mut ends| {
        // Another thread sends.
        queue.lock().sent_count += 1;
        ends.acknowledge(3, 1);
        ends.acknowledge(3, 2);
        assert_eq!(queue.unacked_count(), Ok(1));
    });
    assert_eq!(flushed, Ok(Flushed::All));
}

#[test]
fn a_flush_that_cannot_succeed_ends() {
    let new = || {
        let ends = ends(NO_LIMITS, 0);
        assert!(ends.send(b"1"));
        ends
    };
    assert_eq!(flush_during(new(), drop), Err(Ended));
    let dropped = flush_during(new(), |mut ends| {
        ends.intake.set_acks(Acks { received_count: 1, has_dropped: true, ..Acks::default() });
        ends.intake.report(0);
    });
    assert_eq!(dropped, Ok(Flushed::Dropped));
    let interrupted = RecordPipe::new(&new().ours).flush(None, &mut || false);
    assert_eq!(interrupted, Ok(Flushed::Interrupted));
}

/// The program may have written records into the pipe, which only the actor can count.
#[test]
fn a_flush_of_records_in_the_pipe_follows_them_there() {
    let mut first = ends(NO_LIMITS, 0);
    first.intake.note_record_in_pipe(0);
    assert!(first.send(b"1"));
    assert_eq!(first.flush(), Flushed::TimedOut);
    let flushed = flush_during(first, |mut ends| {
        let commands: Vec<_> = std::iter::from_fn(|| ends.command()).collect();
        assert_eq!(commands, [b"P", &b"1"[..], FLUSH, FLUSH]);
        ends.acknowledge(3, 1);
        ends.intake.mark(3);
        ends.intake.mark(3);
        ends.acknowledge(3, 2);
        ends.acknowledge(3, 3);
    });
    assert_eq!(flushed, Ok(Flushed::All));
}
