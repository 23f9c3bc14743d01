//! The queue through which the owner of a producer hands records to the producer's actor.
//!
//! Short records are copied into batches. Long records keep their memory. When a record enters an empty queue, the
//! sending thread also sends the command [`QUEUED`] through the pipe. The actor takes everything out of the queue when
//! it reads this command. So the pipe contains at most one such command, and other commands stay in order with the
//! records that the same thread sent before.
//!
//! In two cases, the sending thread sends no command:
//!
//! - The actor waits, and has lent the sending threads its *press*: the state machine and the socket that publish
//!   records. The sending thread then publishes the record itself, see [`press`](super::press).
//! - The process publishes many records, see [`load`](super::load). The actor then gathers: it comes after a pause and
//!   takes what has entered the queue. It also does so before it handles another command. In three cases, the sending
//!   thread sends the command nevertheless, so the actor comes early: its record begins the second batch, its record is
//!   long, or the queue is full.
//!
//! The sending thread uses the pipe's socket only while it holds the queue's lock. So several threads may send records
//! to one producer.
//!
//! A program may also write commands into the pipe directly. The queue cannot detect such a command before the actor
//! has read it. This has two consequences:
//!
//! - Records may be published out of order. For example, [`QUEUED`] is in the pipe, the program then writes a command
//!   with a record, and another record enters the queue. When the actor reads [`QUEUED`], it publishes the whole queue.
//!   So the record of the command comes last. When the actor has read the first command with a record, all further
//!   records travel through the pipe, so that they stay in order.
//! - When a record enters a queue that is not empty, the call sends no command, so it does not check for room in the
//!   pipe. Commands of the program may have filled the pipe, and `$TERM` is then lost. A check at each record would
//!   cost more than the rest of the call.

use super::load::{Load, Share};
use super::press::{Pace, Press};
use crate::actor::Single;
use crate::actor::command::Ended;
use crate::czmq::exit;
use crate::net::{Frame, Pipe, now_ms};
use crate::wire::batch::{Attributes, BatchBuilder, FULL_LEN_BYTES};
use std::collections::VecDeque;
use std::mem;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use zmq::POLLOUT;

mod flush;
mod record;

pub use flush::Flushed;
pub(super) use flush::{Acks, FLUSH};
pub use record::MAX_COPIED_LEN_BYTES;
pub(super) use record::{Entry, Record, Volume};

/// The command that makes the actor take the records out of the queue.
pub(super) const QUEUED: &[u8] = b"$QUEUED";

/// When records that are not yet published occupy this much memory, sending waits.
const MAX_WAITING_BYTES: u64 = 16 << 20;

/// How often a call that waits for room in the queue, or for ACKs, checks whether it must give up, for example after a
/// signal. When there is room, or the ACKs have arrived, or the actor ends, the call is woken at once.
const PATIENCE_CHECK: Duration = Duration::from_millis(100);
/// How often a call that waits for room in the pipe checks for it.
const ROOM_IN_PIPE_CHECK: Duration = Duration::from_millis(1);

/// The limits of a queue.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// The longest record that the producer accepts.
    pub(super) max_record_len_bytes: usize,
    /// `producer/max_unacked_bytes`: how much memory records may occupy that stores have not acknowledged; `None` if
    /// the key is not set or 0.
    pub(super) max_unacked_bytes: Option<u64>,
    /// How many records may wait to be published; `None` = any number.
    pub(super) max_waiting_count: Option<usize>,
}

/// The queue, for both ends.
pub(super) struct SendQueue {
    limits: Limits,
    load: &'static Load,
    state: Mutex<State>,
    /// Notified when there is room again, and when the actor has ended.
    changed: Condvar,
    /// Notified when a flushing thread must check whether its wait is over, and when the actor has ended.
    acknowledged: Condvar,
}

#[derive(Default)]
struct State {
    entries: VecDeque<Entry>,
    /// The initial capacity of a batch, unless the batch before it in the queue is full: a little more than the length
    /// of the last batch that the actor has taken.
    batch_capacity: usize,
    /// The records that the owner has sent, and that are not yet published according to the actor's last report.
    waiting: Volume,
    /// How many records the owner has sent with functions of the API.
    sent_count: u64,
    /// Which records are acknowledged according to the actor's last report.
    acks: Acks,
    flushes: flush::Flushes,
    /// How much memory the records that the actor keeps occupy, according to its last report.
    held_bytes: u64,
    /// The limit of what the unacknowledged records occupy; `None` = no limit.
    limit_bytes: Option<u64>,
    call: Call,
    /// What a sending thread needs to publish records itself, while the actor waits.
    press: Option<Press>,
    pace: Pace,
    /// How many records have entered the queue since the actor took its content.
    entered_count: u64,
    share: Share,
    /// Records travel through the pipe.
    uses_pipe: bool,
    has_ended: bool,
    /// How many threads wait for `changed`.
    waiting_threads: usize,
}

/// What makes the actor take the records out of the queue.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Call {
    /// The next record must call the actor.
    #[default]
    None,
    /// [`QUEUED`] is in the pipe.
    Sent,
    /// The actor gathers: it comes by itself.
    Unneeded,
}

/// What an attempt to hand over a record has done.
enum Attempt {
    /// Nothing, because the pipe has no room.
    NoRoom,
    /// Put the record into the queue.
    Queued,
    /// Sent a message through the pipe.
    Sent,
    /// Published the record.
    Published {
        /// Sent a message through the pipe.
        has_called: bool,
    },
}

/// The owner's end.
impl SendQueue {
    /// The longest record that the producer accepts.
    pub(super) fn max_record_len_bytes(&self) -> usize {
        self.limits.max_record_len_bytes
    }

    /// Hands a record to the actor. Waits while there is no room, as long as `is_patient` returns true. Returns false
    /// when the record was not sent; a long record is then unchanged.
    ///
    /// `command` is the first frame of the command that publishes a record, for a producer whose records travel through
    /// the pipe.
    ///
    /// # Errors
    /// When the actor has ended.
    pub(super) fn send(
        &self,
        pipe: &Pipe,
        command: &[u8],
        mut record: Record,
        is_patient: &mut dyn FnMut() -> bool,
    ) -> Result<bool, Ended> {
        self.hand_over(pipe, record.len_bytes(), is_patient, |state| match state.uses_pipe {
            true => send_command(pipe, record.command(command), |pipe| record.send_last(pipe)),
            false => state.push(pipe, self.load, &mut record),
        })
    }

    /// As [`SendQueue::send`], always through the pipe. `rest` sends the frames after the first one; it must not wait,
    /// see [`send_last`].
    ///
    /// # Errors
    /// When the actor has ended.
    pub(super) fn send_through_pipe(
        &self,
        pipe: &Pipe,
        command: &[u8],
        len_bytes: usize,
        mut rest: impl FnMut(&Pipe) -> bool,
    ) -> Result<(), Ended> {
        self.hand_over(pipe, len_bytes, &mut || true, |_| send_command(pipe, command, &mut rest)).map(|_| ())
    }

    /// Calls `attempt` when there is room for a record, until it succeeds. Then [makes room](SendQueue::leave_room) for
    /// `$TERM`.
    fn hand_over(
        &self,
        pipe: &Pipe,
        len_bytes: usize,
        is_patient: &mut dyn FnMut() -> bool,
        mut attempt: impl FnMut(&mut State) -> Result<Attempt, Ended>,
    ) -> Result<bool, Ended> {
        let mut state = self.lock();
        let mut has_called = false;
        let is_done = loop {
            if state.has_ended {
                return Err(Ended);
            }
            let is_full = self.is_full(&state);
            let attempted = match is_full {
                // The actor makes room when it comes, so it must not gather now.
                true => {
                    has_called |= state.call_if_gathering(pipe)?;
                    Attempt::NoRoom
                }
                false => attempt(&mut state)?,
            };
            has_called |= matches!(attempted, Attempt::Sent | Attempt::Published { has_called: true });
            if matches!(attempted, Attempt::Queued | Attempt::Sent) {
                state.waiting.add(len_bytes);
            }
            if !matches!(attempted, Attempt::NoRoom) {
                state.sent_count += 1;
                break true;
            }
            if !is_patient() {
                break false;
            }
            state = self.wait(state, if is_full { PATIENCE_CHECK } else { ROOM_IN_PIPE_CHECK });
        };
        if has_called {
            self.leave_room(pipe, state)?;
        }
        Ok(is_done)
    }

    /// Waits until one more message fits into the pipe. Call this after each message, so that there is always room for
    /// `$TERM`: zactor_destroy sends `$TERM` without waiting.
    fn leave_room<'a>(&'a self, pipe: &Pipe, mut state: MutexGuard<'a, State>) -> Result<(), Ended> {
        while !pipe.events().contains(POLLOUT) {
            if state.has_ended {
                return Err(Ended);
            }
            state = self.wait(state, ROOM_IN_PIPE_CHECK);
        }
        Ok(())
    }

    /// Waits for a change, with the lock released.
    fn wait<'a>(&'a self, mut state: MutexGuard<'a, State>, limit: Duration) -> MutexGuard<'a, State> {
        state.waiting_threads += 1;
        let (mut state, _) = self.changed.wait_timeout(state, limit).unwrap_or_else(PoisonError::into_inner);
        state.waiting_threads -= 1;
        drop(state);
        exit::hold_application();
        self.lock()
    }
}

impl SendQueue {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// While any room is left, a record of any size fits.
    fn is_full(&self, state: &State) -> bool {
        let Limits { max_waiting_count, .. } = self.limits;
        let is_queue_full = state.waiting.bytes >= MAX_WAITING_BYTES
            || max_waiting_count.is_some_and(|max| state.waiting.count >= max);
        // The pipe has a limit of its own.
        self.is_budget_used(state) || (is_queue_full && !state.uses_pipe)
    }

    fn is_budget_used(&self, state: &State) -> bool {
        let used_bytes = state.waiting.bytes.saturating_add(state.held_bytes);
        state.limit_bytes.is_some_and(|limit_bytes| used_bytes >= limit_bytes)
    }
}

impl State {
    /// Publishes a record, or puts it into the queue and calls the actor if it does not come otherwise.
    fn push(&mut self, pipe: &Pipe, load: &Load, record: &mut Record) -> Result<Attempt, Ended> {
        let must_call = self.call == Call::None;
        if must_call && self.may_publish(load) {
            self.enter(record);
            return Ok(Attempt::Published { has_called: self.publish(pipe, load)? });
        }
        if must_call && !self.call(pipe)? {
            return Ok(Attempt::NoRoom);
        }
        let is_long = !matches!(record, Record::Short(..));
        self.enter(record);
        let has_enough = is_long || self.entries.len() > 1;
        let has_called = must_call || has_enough && self.call_if_gathering(pipe)?;
        Ok(if has_called { Attempt::Sent } else { Attempt::Queued })
    }

    fn enter(&mut self, record: &mut Record) {
        self.entered_count += 1;
        self.pace.count();
        match record {
            Record::Short(attributes, content) => self.push_short(attributes, content),
            Record::Long(frame, timestamp_ms) => {
                let single = Single { content: mem::take(*frame), timestamp_ms: *timestamp_ms };
                self.entries.push_back(Entry::Long(single));
            }
            Record::Built(batch) => {
                let batch = mem::replace(*batch, BatchBuilder::new(Vec::new()));
                self.entries.push_back(Entry::Batch(batch));
            }
        }
    }

    /// Calls the actor. False when the pipe has no room.
    fn call(&mut self, pipe: &Pipe) -> Result<bool, Ended> {
        let is_sent = pipe.try_send(&mut Frame::copy(QUEUED), false).map_err(|_| Ended)?;
        if is_sent {
            self.call = Call::Sent;
        }
        Ok(is_sent)
    }

    /// Calls the actor if it gathers. If the pipe has no room, this does nothing, and the actor comes by itself after
    /// its pause. True when the actor was called.
    fn call_if_gathering(&mut self, pipe: &Pipe) -> Result<bool, Ended> {
        Ok(self.call == Call::Unneeded && !self.entries.is_empty() && self.call(pipe)?)
    }

    /// Whether the sending thread may publish the next record, see [`press`](super::press).
    fn may_publish(&mut self, load: &Load) -> bool {
        self.entries.is_empty()
            && self.press.as_ref().is_some_and(Press::is_ready)
            && !exit::is_ending()
            && self.pace.allows(Instant::now())
            && load.pause_ms(now_ms()).is_none()
    }

    /// Publishes the only record in the queue. The actor must have lent its press. True when the actor was called.
    fn publish(&mut self, pipe: &Pipe, load: &Load) -> Result<bool, Ended> {
        let run = self.entries.pop_front().and_then(Entry::into_run);
        let (Some(press), Some(run)) = (&mut self.press, run) else { return Ok(false) };
        self.share.count(load, mem::take(&mut self.entered_count), now_ms());
        let must_wake = press.publish(run);
        self.held_bytes = press.producer.kept_len_bytes();
        // If the pipe has no room, the actor is awake.
        Ok(must_wake && self.call(pipe)?)
    }

    fn push_short(&mut self, attributes: &Attributes, content: &[u8]) {
        let push = |batch: &mut BatchBuilder| match attributes.is_empty() {
            true => batch.push(content),
            false => batch.push_with(attributes, content),
        };
        let mut capacity = self.batch_capacity;
        if let Some(Entry::Batch(batch)) = self.entries.back_mut() {
            if push(batch).is_ok() {
                return;
            }
            // The batch is full, or this record has attributes and the batch has none. The next batch may become full.
            capacity = FULL_LEN_BYTES;
        }
        let mut batch = BatchBuilder::new(Vec::with_capacity(capacity));
        // The caller has checked the attributes.
        push(&mut batch).expect("a record with valid attributes fits into an empty batch");
        self.entries.push_back(Entry::Batch(batch));
    }
}

/// Sends a command without waiting.
fn send_command(pipe: &Pipe, command: &[u8], rest: impl FnOnce(&Pipe) -> bool) -> Result<Attempt, Ended> {
    match pipe.try_send(&mut Frame::copy(command), true) {
        Ok(false) => Ok(Attempt::NoRoom),
        Ok(true) if rest(pipe) => Ok(Attempt::Sent),
        _ => Err(Ended),
    }
}

/// The actor's end. When it is dropped, calls that wait return, and the records in the queue are dropped.
pub(super) struct QueueReader(Arc<SendQueue>);

impl QueueReader {
    /// A queue for the owner of `pipe`. With `uses_pipe`, records travel through the pipe from the beginning.
    /// `load` is that of all producers in the process.
    pub(super) fn share(pipe: &Pipe, limits: Limits, uses_pipe: bool, load: &'static Load) -> QueueReader {
        let limit_bytes = limits.max_unacked_bytes;
        let state = Mutex::new(State { uses_pipe, limit_bytes, ..State::default() });
        let (changed, acknowledged) = (Condvar::new(), Condvar::new());
        let queue = Arc::new(SendQueue { limits, load, state, changed, acknowledged });
        pipe.share(queue.clone());
        QueueReader(queue)
    }

    pub(super) fn limits(&self) -> &Limits {
        &self.0.limits
    }

    /// Exchanges the content of the queue for `empty`. Call this for each [`QUEUED`] (`is_called`), and when the actor
    /// has gathered. Without `is_called`, it takes nothing while a [`QUEUED`] is in the pipe, so that the pipe never
    /// contains a second one.
    ///
    /// Returns how long the actor gathers until it must call this again; `None`: until the next [`QUEUED`].
    pub(super) fn swap(&self, empty: &mut VecDeque<Entry>, is_called: bool) -> Option<u64> {
        let mut state = self.0.lock();
        if !is_called && state.call == Call::Sent {
            return None;
        }
        state.batch_capacity = match state.entries.back() {
            Some(Entry::Batch(batch)) => (batch.len_bytes() + batch.len_bytes() / 8).min(FULL_LEN_BYTES),
            _ => 0,
        };
        mem::swap(&mut state.entries, empty);
        let (count, now_ms) = (mem::take(&mut state.entered_count), now_ms());
        state.share.count(self.0.load, count, now_ms);
        let pause_ms = self.0.load.pause_ms(now_ms).filter(|_| count > 0 && !state.uses_pipe);
        state.call = if pause_ms.is_some() { Call::Unneeded } else { Call::None };
        pause_ms
    }

    /// Lends the press to the threads that send.
    pub(super) fn lend(&self, press: Press) {
        self.0.lock().press = Some(press);
    }

    /// Takes the press back.
    pub(super) fn take_back(&self) -> Option<Press> {
        self.0.lock().press.take()
    }

    /// Makes all further records travel through the pipe.
    pub(super) fn use_pipe(&self) {
        self.0.lock().uses_pipe = true;
    }

    /// Reports what the actor has published since the last report, how much memory the records that it keeps occupy
    /// (`held_bytes`), and which records are acknowledged. One call reports all this, so that each record counts either
    /// as waiting or as kept. From now on, `limit_bytes` limits the memory of both together. Returns true when the
    /// limit is reached.
    pub(super) fn report(
        &self,
        published: Volume,
        held_bytes: u64,
        limit_bytes: Option<u64>,
        acks: Acks,
    ) -> bool {
        let mut state = self.0.lock();
        // The queue has not counted records that a program has written into the pipe directly.
        state.waiting.count = state.waiting.count.saturating_sub(published.count);
        state.waiting.bytes = state.waiting.bytes.saturating_sub(published.bytes);
        (state.held_bytes, state.limit_bytes) = (held_bytes, limit_bytes);
        state.acks = acks;
        let is_budget_used = self.0.is_budget_used(&state);
        let has_room = state.waiting_threads > 0 && !self.0.is_full(&state);
        let is_flushed = state.end_flushes();
        drop(state);
        if has_room {
            self.0.changed.notify_all();
        }
        if is_flushed {
            self.0.acknowledged.notify_all();
        }
        is_budget_used
    }
}

impl Drop for QueueReader {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.has_ended = true;
        let unused = (mem::take(&mut state.entries), state.press.take());
        drop(state);
        self.0.changed.notify_all();
        self.0.acknowledged.notify_all();
        drop(unused);
    }
}

#[cfg(test)]
mod tests;
