//! Passes the positions of the application from the record queue to the consumer's state machine.

use crate::actor::Run;
use crate::actor::record_queue::RecordWriter;
use crate::net::{now_ms, unix_ms};
use crate::protocol::consumer::Consumer;
use std::collections::VecDeque;

/// How long an ending consumer waits for a store to confirm its last commits.
const END_WAIT_MS: u64 = 2_000;

/// The commits of a consumer with a name. All times are of the clock [`now_ms`], which never stands still.
pub(super) struct Commits {
    /// Between two automatic commits; `None` when the application commits.
    interval_ms: Option<u64>,
    next_ms: u64,
    /// Requests of the application that are not confirmed: their number, and the number of commits at that time.
    requests: VecDeque<(u64, u64)>,
    requested: u64,
    /// When the ending consumer stops waiting.
    end_ms: Option<u64>,
}

impl Commits {
    pub(super) fn new(interval_ms: Option<u64>) -> Commits {
        let next_ms = now_ms() + interval_ms.unwrap_or_default();
        Commits { interval_ms, next_ms, requests: VecDeque::new(), requested: 0, end_ms: None }
    }

    /// Commits the positions that the application has published.
    pub(super) fn collect(&mut self, writer: &RecordWriter, consumer: &mut Consumer<Run>) {
        let (positions, requested) = writer.take_positions();
        for ((name, slot), next) in positions {
            let timestamp_ms = u64::try_from(unix_ms()).unwrap_or_default();
            match consumer.is_grouped() {
                true => consumer.commit_slot(name.as_name(), slot, next, now_ms()),
                false => consumer.commit(name.as_name(), next, timestamp_ms, now_ms()),
            }
        }
        consumer.commit_skipped(now_ms());
        if requested > self.requested {
            self.requested = requested;
            let serial = consumer.commits().0;
            match self.requests.back_mut().filter(|(_, last)| *last == serial) {
                // The program has stopped waiting, and asks again.
                Some((last, _)) => *last = requested,
                None => self.requests.push_back((requested, serial)),
            }
        }
    }

    /// Ends the consumer as soon as its commits are confirmed.
    pub(super) fn begin_end(&mut self, writer: &RecordWriter, consumer: &mut Consumer<Run>) {
        self.collect(writer, consumer);
        self.end_ms.get_or_insert(now_ms() + END_WAIT_MS);
    }

    pub(super) fn is_ending(&self) -> bool {
        self.end_ms.is_some()
    }

    /// When [`Commits::handle_timeout`] must be called next.
    pub(super) fn due_ms(&self) -> Option<u64> {
        self.end_ms.or_else(|| self.interval_ms.map(|_| self.next_ms))
    }

    /// Commits if an automatic commit is due, and reports confirmed requests. Returns true when the consumer can end.
    pub(super) fn handle_timeout(&mut self, writer: &RecordWriter, consumer: &mut Consumer<Run>) -> bool {
        let now_ms = now_ms();
        if let Some(interval_ms) = self.interval_ms.filter(|_| now_ms >= self.next_ms) {
            self.next_ms = now_ms + interval_ms;
            self.collect(writer, consumer);
        }
        if self.requests.is_empty() && self.end_ms.is_none() {
            return false;
        }
        let (serial, confirmed) = consumer.commits();
        let done_count = self.requests.partition_point(|(_, serial)| *serial <= confirmed);
        if let Some((request, _)) = self.requests.drain(..done_count).next_back() {
            writer.confirm(request);
        }
        self.end_ms.is_some_and(|end_ms| confirmed >= serial || now_ms >= end_ms)
    }
}
