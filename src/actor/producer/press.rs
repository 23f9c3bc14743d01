//! Publishes records in the thread that sends them.
//!
//! Waking the producer's thread takes longer than publishing a record. So while the actor waits, it lends the press,
//! which is all that is needed to publish, to the threads that send. It lends the press through the send queue. A
//! thread that uses the press holds the queue's lock. The actor takes the press back before its next turn. So one
//! thread at a time uses the socket and the state machine, and both get the records in the same order.
//!
//! A record is published in this way only if
//!
//! - the queue is empty, so no earlier record waits there;
//! - few records were sent in the last millisecond. A batch of many records costs much less per record than single
//!   records do, and only the queue gathers records in batches;
//! - the producer has published before, so the actor knows when the next HEAD is due.

use crate::actor::{Run, publish};
use crate::net::{Socket, now_ms};
use crate::protocol::producer::Producer;
use crate::protocol::{Outbox, Payload};
use std::mem;
use std::time::{Duration, Instant};
use zmq::POLLIN;

/// What is needed to publish.
pub(super) struct Press {
    pub(super) producer: Box<Producer<Run>>,
    pub(super) publisher: Box<Socket>,
    outbox: Outbox<Run>,
    /// How many records were published.
    pub(super) count: u64,
}

impl Press {
    pub(super) fn new(producer: Box<Producer<Run>>, publisher: Box<Socket>) -> Press {
        Press { producer, publisher, outbox: Outbox::new(), count: 0 }
    }

    /// Whether the actor knows when the next HEAD is due. Then the actor also knows when its wait must end.
    pub(super) fn is_ready(&self) -> bool {
        self.producer.due_ms().is_some()
    }

    /// Publishes records. Returns true when the actor must be woken: the socket has subscriptions to read. libzmq may
    /// have processed the event of these subscriptions during this call. It then does not report the event to the
    /// actor.
    pub(super) fn publish(&mut self, run: Run) -> bool {
        self.count += run.record_count();
        self.producer.publish(run, now_ms(), &mut self.outbox);
        // The actor notices when the socket fails.
        let _ = publish(&self.publisher, &mut self.outbox);
        self.publisher.events().contains(POLLIN)
    }
}

/// Decides whether a record is published by the thread that sends it: only while few records are sent.
#[derive(Default)]
pub(super) struct Pace {
    /// How many records were sent since the last decision.
    sent_count: u32,
    /// When the intervals of all counted records are over.
    over: Option<Instant>,
}

impl Pace {
    /// If the average interval between records is at least this long, the sending threads publish the records.
    /// Publishing a record takes a small part of this time.
    const INTERVAL: Duration = Duration::from_micros(25);
    /// How many records may be sent at once without this interval.
    const BURST: u32 = 8;
    /// After a pause of about this length, the sending threads may publish again, however many records were sent
    /// before.
    const MAX_PAUSE: Duration = Duration::from_millis(1);

    /// Counts a record that is sent.
    pub(super) fn count(&mut self) {
        self.sent_count = self.sent_count.saturating_add(1);
    }

    /// Whether the thread that sends the next record may publish it.
    pub(super) fn allows(&mut self, now: Instant) -> bool {
        let start = self.over.filter(|&over| over > now).unwrap_or(now);
        let over = start + Self::INTERVAL.saturating_mul(mem::take(&mut self.sent_count));
        let burst = Self::BURST * Self::INTERVAL;
        self.over = Some(over.min(now + burst + Self::MAX_PAUSE));
        over < now + burst
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_records_at_a_time_are_allowed() {
        let (mut pace, start) = (Pace::default(), Instant::now());
        let mut allowed = |count: usize, after: Duration| {
            let sent = (0..count).map(|_| {
                let is_allowed = pace.allows(start + after);
                pace.count();
                is_allowed
            });
            sent.filter(|&is_allowed| is_allowed).count()
        };
        assert_eq!(allowed(8, Duration::ZERO), 8);
        assert_eq!(allowed(1_000, Duration::ZERO), 0);
        assert_eq!(allowed(1, Duration::from_millis(1)), 0, "many records were sent a short time ago");
        assert_eq!(allowed(1, Duration::from_micros(1_300)), 1);
        assert_eq!(allowed(1_000, Duration::from_secs(1)), 7, "the record before counts too");
    }
}
