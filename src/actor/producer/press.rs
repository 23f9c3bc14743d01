//! Publishes records in the thread that sends them.
//!
//! Waking the producer's thread takes longer than publishing a record. So while the actor waits, it lends what is needed
//! to publish, the press, to the threads that send. It lends the press through the send queue. Whoever uses the press
//! holds the lock of the queue, and the actor takes it back before its next turn. So one thread at a time uses the
//! socket and the state machine, and they see all records in one order.
//!
//! A record is published in this way only if
//!
//! - the queue is empty, so no earlier record waits there;
//! - the sending thread sends few records at a time. A batch of many records costs much less per record than single
//!   ones, and records are gathered in batches only in the queue;
//! - the producer has published before, so the actor knows when the next HEAD is due.

use crate::actor::{Run, publish};
use crate::net::{Socket, now_ms};
use crate::protocol::producer::Producer;
use crate::protocol::{Outbox, Payload};
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

    /// Whether the actor knows when the next HEAD is due. It then also knows when to wake.
    pub(super) fn is_ready(&self) -> bool {
        self.producer.due_ms().is_some()
    }

    /// Publishes records. Returns true when the actor must be woken: the socket has subscriptions to read. libzmq may
    /// have noticed them here, and does not report them to the actor then.
    pub(super) fn publish(&mut self, run: Run) -> bool {
        self.count += run.record_count();
        self.producer.publish(run, now_ms(), &mut self.outbox);
        // The actor notices when the socket fails.
        let _ = publish(&self.publisher, &mut self.outbox);
        self.publisher.events().contains(POLLIN)
    }
}

/// Limits how often records are published by the threads that send.
#[derive(Default)]
pub(super) struct Pace {
    /// When the interval of the latest record is over.
    over: Option<Instant>,
}

impl Pace {
    /// The average interval. Publishing takes a small part of it.
    const INTERVAL: Duration = Duration::from_micros(25);
    /// How many records may come at once.
    const BURST: u32 = 8;

    /// Whether a record may be published so now. If so, counts it.
    pub(super) fn allows(&mut self, now: Instant) -> bool {
        let start = self.over.filter(|&over| over > now).unwrap_or(now);
        let is_allowed = start < now + Self::BURST * Self::INTERVAL;
        if is_allowed {
            self.over = Some(start + Self::INTERVAL);
        }
        is_allowed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_records_at_a_time_are_allowed() {
        let (mut pace, start) = (Pace::default(), Instant::now());
        let mut allowed =
            |count: usize, after: Duration| (0..count).filter(|_| pace.allows(start + after)).count();
        assert_eq!(allowed(1_000, Duration::ZERO), 8);
        assert_eq!(allowed(1_000, Duration::from_micros(100)), 4);
        assert_eq!(allowed(1_000, Duration::from_secs(1)), 8);
    }
}
