//! How the owner finds out how many records are acknowledged, and how it waits until all of them are.
//!
//! The actor receives records in the order in which they were sent, and stores acknowledge them in this order. So the
//! first n records are acknowledged when the actor reports at least n acknowledged records. A flush waits for the
//! number of records that were sent before it.
//!
//! If records travel through the pipe, only the actor knows this number, because the program may have written records
//! into the pipe directly. A flush then sends the command [`FLUSH`]. When the actor reads the command, it notes how
//! many records it has received.

use super::{Ended, PATIENCE_CHECK, QueueReader, ROOM_IN_PIPE_CHECK, SendQueue, State};
use crate::czmq::exit;
use crate::net::{Frame, Pipe};
use std::sync::{MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The command that makes the actor note how many records it has received.
pub(in crate::actor::producer) const FLUSH: &[u8] = b"$FLUSH";

/// Which records are acknowledged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::actor::producer) struct Acks {
    /// How many records the actor has received from its owner.
    pub(in crate::actor::producer) received_count: u64,
    /// How many of these records are certainly acknowledged.
    pub(in crate::actor::producer) count: u64,
    /// The offset of the latest acknowledged record in the current partition.
    pub(in crate::actor::producer) head: Option<u64>,
    /// The actor has dropped records whose ACK may be for a twin's records. The dropped records never count as
    /// acknowledged.
    pub(in crate::actor::producer) has_dropped: bool,
}

/// The result of a flush.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flushed {
    /// All records that were sent before the flush are acknowledged.
    All,
    /// The timeout has passed, and some of these records are not acknowledged.
    TimedOut,
    /// The caller has stopped waiting.
    Interrupted,
    /// The producer has dropped records whose ACK may be for a twin's records.
    Dropped,
}

/// What the flushing threads wait for.
#[derive(Default)]
pub(super) struct Flushes {
    /// The lowest number of acknowledged records that a thread waits for. `None`: no thread waits.
    awaited_count: Option<u64>,
    /// How many [`FLUSH`] commands were sent.
    sent_marks: u64,
    /// How many [`FLUSH`] commands the actor has read.
    read_marks: u64,
    /// How many records the actor had received when it read the latest [`FLUSH`] command.
    marked_count: u64,
}

/// One call of [`SendQueue::flush`].
struct Flush {
    /// The number of this call's [`FLUSH`] command, from 1. `None` when this call has sent none.
    mark: Option<u64>,
    /// How many records must be acknowledged. `None` while only the actor knows this.
    count: Option<u64>,
}

impl SendQueue {
    /// Waits until all records that were sent before the call are acknowledged. Stops waiting after `timeout`, and when
    /// `is_patient` returns false. If the actor gathers records, it publishes them at once.
    ///
    /// If records travel through the pipe, and all records that the owner knows are acknowledged, the wait may exceed
    /// `timeout`: it lasts until the actor has read the [`FLUSH`] command.
    ///
    /// # Errors
    /// When the actor has ended.
    pub(in crate::actor::producer) fn flush(
        &self,
        pipe: &Pipe,
        timeout: Option<Duration>,
        is_patient: &mut dyn FnMut() -> bool,
    ) -> Result<Flushed, Ended> {
        let due = timeout.map(|timeout| Instant::now() + timeout);
        let mut state = self.lock();
        let mut has_called = !state.has_ended && state.call_if_gathering(pipe)?;
        let mut flush = Flush { mark: None, count: (!state.uses_pipe).then_some(state.sent_count) };
        let flushed = loop {
            has_called |= flush.advance(&mut state, pipe)?;
            let left = due.map(|due| due.saturating_duration_since(Instant::now()));
            if state.acks.has_dropped {
                break Flushed::Dropped;
            }
            if flush.count.is_some_and(|count| state.acks.count >= count) {
                break Flushed::All;
            }
            if state.has_ended {
                return Err(Ended);
            }
            // If all records that the owner knows are acknowledged, the wait exceeds the timeout: it probably ends as
            // soon as the actor has read the command.
            if left == Some(Duration::ZERO) && (flush.count.is_some() || state.unacked_count() > 0) {
                break Flushed::TimedOut;
            }
            if !is_patient() {
                break Flushed::Interrupted;
            }
            let is_marked = flush.count.is_some() || flush.mark.is_some();
            let check = if is_marked { PATIENCE_CHECK } else { ROOM_IN_PIPE_CHECK };
            let limit = left.filter(|left| !left.is_zero()).map_or(check, |left| left.min(check));
            state = self.wait_for_acks(state, flush.count.unwrap_or_default(), limit);
        };
        if has_called {
            // The result holds even if the actor ends now.
            let _ = self.leave_room(pipe, state);
        }
        Ok(flushed)
    }

    /// How many of the records that were sent are not acknowledged.
    ///
    /// # Errors
    /// When the actor has ended.
    pub(in crate::actor::producer) fn unacked_count(&self) -> Result<u64, Ended> {
        let state = self.lock();
        if state.has_ended { Err(Ended) } else { Ok(state.unacked_count()) }
    }

    /// The offset of the latest acknowledged record in the current partition, if any.
    ///
    /// # Errors
    /// When the actor has ended.
    pub(in crate::actor::producer) fn acked_head(&self) -> Result<Option<u64>, Ended> {
        let state = self.lock();
        if state.has_ended { Err(Ended) } else { Ok(state.acks.head) }
    }

    /// Waits until `count` records are acknowledged, at most for `limit`. May also return before that. The lock is
    /// released meanwhile.
    fn wait_for_acks<'a>(
        &'a self,
        mut state: MutexGuard<'a, State>,
        count: u64,
        limit: Duration,
    ) -> MutexGuard<'a, State> {
        let awaited = &mut state.flushes.awaited_count;
        *awaited = Some(awaited.map_or(count, |other| other.min(count)));
        let (state, _) = self.acknowledged.wait_timeout(state, limit).unwrap_or_else(PoisonError::into_inner);
        drop(state);
        exit::hold_application();
        self.lock()
    }
}

impl Flush {
    /// Finds out how many records must be acknowledged. Returns true when a command was sent.
    fn advance(&mut self, state: &mut State, pipe: &Pipe) -> Result<bool, Ended> {
        if self.count.is_some() {
            return Ok(false);
        }
        let is_new = self.mark.is_none() && !state.has_ended && state.send_mark(pipe)?;
        let State { flushes, .. } = state;
        if is_new {
            self.mark = Some(flushes.sent_marks);
        }
        self.count = self.mark.filter(|&mark| mark <= flushes.read_marks).map(|_| flushes.marked_count);
        Ok(is_new)
    }
}

impl State {
    /// How many records are not acknowledged. Includes records that the program has written into the pipe directly,
    /// once the actor has received them.
    fn unacked_count(&self) -> u64 {
        let received_count = self.acks.received_count + self.waiting.count as u64;
        self.sent_count.max(received_count).saturating_sub(self.acks.count)
    }

    /// Sends [`FLUSH`]. False when the pipe has no room.
    fn send_mark(&mut self, pipe: &Pipe) -> Result<bool, Ended> {
        let is_sent = pipe.try_send(&mut Frame::copy(FLUSH), false).map_err(|_| Ended)?;
        self.flushes.sent_marks += u64::from(is_sent);
        Ok(is_sent)
    }

    /// Returns true when a flushing thread must check whether its wait is over.
    pub(super) fn end_flushes(&mut self) -> bool {
        let Acks { count, has_dropped, .. } = self.acks;
        let is_over = |awaited_count: &mut u64| count >= *awaited_count || has_dropped;
        self.flushes.awaited_count.take_if(is_over).is_some()
    }
}

impl QueueReader {
    /// Handles [`FLUSH`]: notes how many records the actor has received.
    pub(in crate::actor::producer) fn mark(&self, received_count: u64) {
        let mut state = self.0.lock();
        state.flushes.read_marks += 1;
        state.flushes.marked_count = received_count;
        drop(state);
        self.0.acknowledged.notify_all();
    }
}
