//! The records that the owner has sent, at the actor's end.

use super::load::Load;
use super::press::Press;
use super::send_queue::{Acks, Entry, Limits, QueueReader, Volume};
use crate::actor::{BATCH_COUNT, Run};
use crate::net::{Pipe, now_ms};
use crate::protocol::Payload;
use std::collections::VecDeque;
use std::mem;

/// The log mentions a used-up budget (`producer/max_unacked_bytes`) again only after the budget was not used up for
/// this long.
const BUDGET_WARNING_INTERVAL_MS: u64 = 60_000;

/// Takes records out of the queue, and reports to the owner what was published.
pub(super) struct Intake {
    queue: QueueReader,
    /// Taken out of the queue, and not yet published.
    taken: VecDeque<Entry>,
    /// Until when the actor gathers records in the queue.
    gathers_until_ms: Option<u64>,
    /// How many more records may be published in this turn.
    quota: usize,
    /// Published since the last report.
    published: Volume,
    /// When the budget was used up last, for [`BUDGET_WARNING_INTERVAL_MS`]. Otherwise the log would contain a line
    /// each time a fast owner waits for a moment.
    budget_used_ms: Option<u64>,
    /// The owner has exceeded the budget, because it writes into the pipe directly.
    has_exceeded_budget: bool,
    /// See [`Intake::set_default_limit`].
    default_limit_bytes: Option<u64>,
    /// The last report contained a limit.
    has_reported_limit: bool,
    /// Which records are acknowledged.
    acks: Acks,
    /// The `acks` in the last report.
    reported_acks: Acks,
}

impl Intake {
    /// See [`QueueReader::share`].
    pub(super) fn share(pipe: &Pipe, limits: Limits, uses_pipe: bool, load: &'static Load) -> Intake {
        Intake {
            queue: QueueReader::share(pipe, limits, uses_pipe, load),
            taken: VecDeque::new(),
            gathers_until_ms: None,
            quota: BATCH_COUNT,
            published: Volume::default(),
            budget_used_ms: None,
            has_exceeded_budget: false,
            default_limit_bytes: None,
            has_reported_limit: false,
            acks: Acks::default(),
            reported_acks: Acks::default(),
        }
    }

    /// Takes the content of the queue, for a command of the owner. To be called only when nothing
    /// [is left](Intake::is_left).
    pub(super) fn take(&mut self) {
        self.take_from_queue(true);
    }

    /// Call this before each command other than `$QUEUED`. If the actor gathers, this takes the gathered records. The
    /// thread that has sent the command may have sent these records before, so they are published before the command,
    /// without the limit of a turn. They are few: when a second batch begins, the sending thread calls the actor.
    pub(super) fn take_before_command(&mut self) {
        if self.gathers_until_ms.is_some() {
            self.take_from_queue(false);
            self.quota = usize::MAX;
        }
    }

    /// Takes what was gathered, when the pause is over.
    pub(super) fn take_gathered(&mut self, now_ms: u64) {
        if self.gathers_until_ms.is_some_and(|until_ms| until_ms <= now_ms) && !self.is_left() {
            self.take_from_queue(false);
        }
    }

    fn take_from_queue(&mut self, is_called: bool) {
        debug_assert!(!self.is_left(), "the records that were taken before come first");
        let pause_ms = self.queue.swap(&mut self.taken, is_called);
        self.gathers_until_ms = pause_ms.map(|pause_ms| now_ms() + pause_ms);
    }

    /// Until when the actor gathers records in the queue; `None` when it does not.
    pub(super) fn gathers_until_ms(&self) -> Option<u64> {
        self.gathers_until_ms
    }

    /// Lends the press to the threads that send, while the actor waits.
    pub(super) fn lend(&self, press: Press) {
        self.queue.lend(press);
    }

    /// Takes the press back, if it was lent.
    pub(super) fn take_back(&self) -> Option<Press> {
        self.queue.take_back()
    }

    /// Whether records were taken and not yet published. Commands that the owner has sent later must then wait.
    pub(super) fn is_left(&self) -> bool {
        !self.taken.is_empty()
    }

    /// The next records to publish. Returns `None` when no record is left, and when this turn has already returned as
    /// many records as a turn may publish.
    pub(super) fn pop(&mut self) -> Option<Run> {
        if self.quota == 0 {
            return None;
        }
        let run = self.taken.pop_front()?.into_run()?;
        self.quota = self.quota.saturating_sub(run.record_count() as usize);
        Some(run)
    }

    /// Begins another turn, which publishes at most `count` records.
    pub(super) fn begin_turn(&mut self, count: usize) {
        self.quota = count;
    }

    /// Counts records that are published.
    pub(super) fn note_published(&mut self, run: &Run) {
        run.for_each_len_bytes(|len_bytes| self.published.add(len_bytes));
    }

    /// As [`Intake::note_published`], for records that were counted before.
    pub(super) fn note_volume(&mut self, volume: Volume) {
        self.published.count += volume.count;
        self.published.bytes = self.published.bytes.saturating_add(volume.bytes);
    }

    /// A record has arrived through the pipe, while the actor keeps records that occupy `held_bytes`.
    pub(super) fn note_record_in_pipe(&mut self, held_bytes: u64) {
        self.queue.use_pipe();
        self.has_exceeded_budget |= self.is_budget_used(held_bytes);
    }

    /// Sets the default limit, which applies if `producer/max_unacked_bytes` is not set. `None`: no limit.
    pub(super) fn set_default_limit(&mut self, limit_bytes: Option<u64>) {
        self.default_limit_bytes = limit_bytes;
    }

    fn limit_bytes(&self) -> Option<u64> {
        self.queue.limits().max_unacked_bytes.or(self.default_limit_bytes)
    }

    /// The default limit does not count here: commands that were sent before this limit was set must not wait in the
    /// pipe.
    fn is_budget_used(&self, held_bytes: u64) -> bool {
        self.queue.limits().max_unacked_bytes.is_some_and(|limit_bytes| held_bytes >= limit_bytes)
    }

    /// True while commands must stay in the pipe, because their owner has exceeded the budget. The functions of the API
    /// never exceed the budget, because they wait before they send. So `$TERM` always gets through.
    pub(super) fn must_wait(&self, held_bytes: u64) -> bool {
        self.has_exceeded_budget && self.is_budget_used(held_bytes)
    }

    /// Sets which records are acknowledged, for the next report.
    pub(super) fn set_acks(&mut self, acks: Acks) {
        self.acks = acks;
    }

    /// See [`QueueReader::mark`].
    pub(super) fn mark(&self, received_count: u64) {
        self.queue.mark(received_count);
    }

    /// Reports to the owner. The records that the actor keeps occupy `held_bytes`.
    pub(super) fn report(&mut self, held_bytes: u64) {
        let Limits { max_unacked_bytes, .. } = *self.queue.limits();
        let published = mem::take(&mut self.published);
        let limit_bytes = self.limit_bytes();
        let is_news = published != Volume::default() || self.acks != self.reported_acks;
        if limit_bytes.is_none() && !self.has_reported_limit && !is_news {
            return;
        }
        self.has_reported_limit = limit_bytes.is_some();
        self.reported_acks = self.acks;
        let is_budget_used = self.queue.report(published, held_bytes, limit_bytes, self.acks);
        // No warning if `producer/max_unacked_bytes` is not set: sending then often reaches the default limit, whenever
        // the disks of stores are slower than the producer.
        if !is_budget_used || max_unacked_bytes.is_none() {
            return;
        }
        let now_ms = now_ms();
        if self.budget_used_ms.is_none_or(|used_ms| now_ms > used_ms + BUDGET_WARNING_INTERVAL_MS) {
            log::warn!(
                "Producer: {held_bytes} bytes wait for acknowledgement (producer/max_unacked_bytes = {}); sending \
                 waits",
                max_unacked_bytes.unwrap_or_default()
            );
        }
        self.budget_used_ms = Some(now_ms);
    }
}
