//! The writer's logic. It orders received records, and gathers them into a batch while the disk writes the previous
//! batch. It acknowledges only records that are on disk. With `store/sync` = `never`, "on disk" means in this file that
//! the operating system has the records.
//!
//! This module uses no sockets and no threads, so that tests/simulation can run it.

use crate::protocol::ingest::{Index, Statistics};
use crate::protocol::notice::Notice;
use crate::protocol::store::commits::Commit;
use crate::protocol::store::replica::{Append, Replica};
use crate::protocol::{Outbox, Payload, Sender};
use crate::storage::{AppendError, AsRecords, Batch, Log, PartitionName, Run, RunIndex};
use crate::wire::batch::MAX_CONTENT_LEN_BYTES;
use crate::wire::{Message, Position, Subscription};

/// When the batch that is being gathered reaches this size, the writer reads no messages until the disk has written the
/// previous batch.
const MAX_BATCH_LEN_BYTES: usize = 16 << 20;
/// The same limit as a number of records.
const MAX_BATCH_COUNT: usize = 131_072;

/// Records to be written, and the offsets up to which their partitions are on disk after the write.
pub struct Job<P> {
    /// The records.
    pub batch: Batch<P>,
    /// For each partition of the batch: the offset after the partition's last record in the batch.
    ends: Vec<(Index, u64)>,
    /// The positions of consumers in the batch.
    commits: Vec<Commit>,
}

impl<P> Default for Job<P> {
    fn default() -> Self {
        Job { batch: Batch::default(), ends: Vec::new(), commits: Vec::new() }
    }
}

impl<P: AsRecords> Job<P> {
    /// Removes some partitions from the job. Their records are neither written nor acknowledged.
    pub fn leave_out(&mut self, mut is_unwanted: impl FnMut(Run<'_>) -> bool) {
        // The batch has one run for each entry of `ends`, in the same order.
        let mut runs = self.batch.runs();
        self.ends.retain(|_| runs.next().is_none_or(|run| !is_unwanted(run)));
        drop(runs);
        self.batch.remove_runs(is_unwanted);
    }
}

/// The content of a record is longer than the log can hold.
#[derive(Debug, PartialEq, Eq)]
pub struct TooLong;

/// Everything between the writer's sockets and its disk.
pub struct Intake<P> {
    replica: Replica<P>,
    gathering: Gathering<P>,
    /// A finished job, whose memory the next batch reuses.
    spare: Job<P>,
    appends: Vec<Append<P>>,
    /// The time of the store's clock, since the Unix epoch.
    unix_ms: u64,
    max_batch_len_bytes: usize,
    max_batch_count: usize,
}

impl<P: Payload + AsRecords> Intake<P> {
    /// Creates an intake without records.
    pub fn new(replica: Replica<P>) -> Self {
        Intake {
            replica,
            gathering: Gathering::default(),
            spare: Job::default(),
            appends: Vec::new(),
            unix_ms: 0,
            max_batch_len_bytes: MAX_BATCH_LEN_BYTES,
            max_batch_count: MAX_BATCH_COUNT,
        }
    }

    /// Sets other limits for a batch.
    pub fn with_max_batch(self, max_batch_len_bytes: usize, max_batch_count: usize) -> Self {
        Intake { max_batch_len_bytes, max_batch_count, ..self }
    }

    /// The bytes and the number of records and positions that wait to be written.
    pub fn gathered(&self) -> (usize, usize) {
        let batch = &self.gathering.job.batch;
        (batch.len_bytes(), batch.len() + batch.commit_count())
    }

    /// True when no message may be handled until the disk has written a batch.
    pub fn is_full(&self) -> bool {
        let (len_bytes, count) = self.gathered();
        len_bytes >= self.max_batch_len_bytes || count >= self.max_batch_count
    }

    /// True when nothing waits to be written.
    pub fn is_empty(&self) -> bool {
        self.gathering.job.batch.is_empty()
    }

    /// The store's clock shows `unix_ms`, the time since the Unix epoch. To be called in each turn.
    pub fn handle_clock(&mut self, unix_ms: u64) {
        self.unix_ms = unix_ms;
    }

    /// Handles a received message.
    ///
    /// # Errors
    /// When a record is too long for the log.
    pub fn handle_message(
        &mut self,
        message: &Message,
        content: Option<P>,
        from: &Sender,
        now_ms: u64,
    ) -> Result<(), TooLong> {
        // For the records of a batch, the decoder has checked this limit. So only a single record is checked here.
        let is_too_long = |run: &P| !run.is_batch() && run.len_bytes() > MAX_CONTENT_LEN_BYTES;
        if content.as_ref().is_some_and(is_too_long) {
            return Err(TooLong);
        }
        if let Message::Commit { .. } | Message::Position { .. } = message {
            let commit = self.replica.handle_commit(message, self.unix_ms, now_ms);
            if let Some(commit) = commit.and_then(|commit| self.gathering.commit(commit)) {
                self.replica.handle_commit_too_long(commit);
            }
            return Ok(());
        }
        self.replica.handle_message(message, content, from, now_ms, &mut self.appends);
        for append in self.appends.drain(..) {
            self.gathering.push(&self.replica, append);
        }
        Ok(())
    }

    /// True while the response of a single store to a FETCH of this partition is expected, until the deadline.
    pub fn is_store_asked(&self, position: &Position) -> bool {
        self.replica.is_store_asked(position)
    }

    /// Handles a peer's subscription to the writer's socket.
    pub fn handle_subscription(&mut self, subscription: &Subscription, now_ms: u64) {
        self.replica.handle_subscription(subscription, now_ms);
    }

    /// The next batch to write; `None` when there is nothing to write. Call this when the disk is idle.
    pub fn poll_job(&mut self) -> Option<Job<P>> {
        if self.is_empty() {
            return None;
        }
        let spare = std::mem::take(&mut self.spare);
        Some(self.gathering.take(spare))
    }

    /// Call this when the batch is on disk.
    pub fn handle_committed(&mut self, mut job: Job<P>) {
        for (partition, end) in job.ends.drain(..) {
            self.replica.handle_committed(partition, end);
        }
        job.commits.drain(..).for_each(|commit| self.replica.handle_commit_written(commit));
        // Frees the records' memory now, not with the next batch.
        job.batch.clear();
        self.spare = job;
    }

    /// When [`Intake::handle_timeout`] must be called next. `None` while the batch is full: responses wait unread, so
    /// requests must not be repeated.
    pub fn due_ms(&self) -> Option<u64> {
        (!self.is_full()).then(|| self.replica.due_ms())
    }

    /// Sends the requests that are due, and ACKs of records on disk.
    pub fn handle_timeout(&mut self, now_ms: u64, out: &mut Outbox<P>) {
        if !self.is_full() {
            self.replica.handle_timeout(now_ms, out);
        }
        self.replica.poll_acks(out);
    }

    /// Call this while messages wait unread, see [`Replica::handle_unread`].
    pub fn handle_unread(&mut self, unread_since_ms: Option<u64>) {
        self.replica.handle_unread(unread_since_ms);
    }

    /// Call this when a connection was given up, see [`Replica::handle_given_up`].
    pub fn handle_given_up(&mut self, now_ms: u64) {
        self.replica.handle_given_up(now_ms);
    }

    /// The next notice, if there is one.
    pub fn poll_notice(&mut self, now_ms: u64) -> Option<Notice> {
        self.replica.poll_notice(now_ms)
    }

    /// Counters since the start.
    pub fn statistics(&self) -> Statistics {
        self.replica.statistics()
    }
}

/// The batch that is filled while the disk writes the previous one.
struct Gathering<P> {
    job: Job<P>,
    /// At the index of each partition: its run in the batch, and the index of its entry in the job's `ends`.
    runs: Vec<Option<(RunIndex, usize)>>,
}

impl<P> Default for Gathering<P> {
    fn default() -> Self {
        Gathering { job: Job::default(), runs: Vec::new() }
    }
}

impl<P: Payload + AsRecords> Gathering<P> {
    /// Adds a position, or returns it if its names are too long for the log.
    fn commit(&mut self, commit: Commit) -> Option<Commit> {
        let Commit { name, partition, committed, .. } = &commit;
        if !self.job.batch.commit(name, partition.as_name(), *committed) {
            return Some(commit);
        }
        self.job.commits.push(commit);
        None
    }

    fn push(&mut self, replica: &Replica<P>, append: Append<P>) {
        let Append { partition, offset, content } = append;
        if self.runs.len() <= partition.0 {
            self.runs.resize(partition.0 + 1, None);
        }
        let (run, end) = *self.runs[partition.0].get_or_insert_with(|| {
            self.job.ends.push((partition, offset));
            (self.job.batch.run(replica.partition(partition), offset), self.job.ends.len() - 1)
        });
        self.job.ends[end].1 = offset + content.record_count();
        self.job.batch.push_to(run, content);
    }

    /// Returns the batch, and keeps the memory of `spare` for the next one.
    fn take(&mut self, mut spare: Job<P>) -> Job<P> {
        for &(Index(partition), _) in &self.job.ends {
            self.runs[partition] = None;
        }
        spare.batch.clear();
        spare.ends.clear();
        spare.commits.clear();
        std::mem::replace(&mut self.job, spare)
    }
}

/// The log that batches are written to.
pub trait Disk {
    /// Appends a whole batch, or nothing of it.
    ///
    /// # Errors
    /// When the disk refuses the batch, or its records do not follow the records in the log. After some errors, the log
    /// contains the batch although the append failed, see [`Log::append`].
    fn append<P: AsRecords>(&self, batch: &Batch<P>) -> Result<(), AppendError>;

    /// Waits until everything that the log contains is on disk.
    ///
    /// # Errors
    /// When the disk refuses it.
    fn sync(&self) -> Result<(), AppendError>;

    /// The offset after the last record of a partition; `None` when it cannot be read.
    fn next(&self, name: PartitionName<'_>) -> Option<u64>;
}

impl Disk for Log {
    fn append<P: AsRecords>(&self, batch: &Batch<P>) -> Result<(), AppendError> {
        Log::append(self, batch)
    }

    fn sync(&self) -> Result<(), AppendError> {
        Log::sync(self)
    }

    fn next(&self, name: PartitionName<'_>) -> Option<u64> {
        self.find(name).ok().flatten().map(|partition| partition.next)
    }
}

/// The result of one attempt to write a batch.
#[derive(Debug)]
pub enum Tried {
    /// The batch is on disk.
    Done,
    /// The batch may not be on disk, so it must not be acknowledged. The write can be retried.
    Refused(AppendError),
    /// The log can never accept the batch.
    Impossible(AppendError),
}

/// Tries once to write a batch.
pub fn try_append<P: AsRecords>(disk: &impl Disk, job: &Job<P>) -> Tried {
    match disk.append(&job.batch) {
        Ok(()) => Tried::Done,
        // All records of the batch are in the log already, but not necessarily on disk. So synchronize the log.
        Err(AppendError::NotContiguous { .. }) if has_all(disk, &job.batch) => match disk.sync() {
            Ok(()) => Tried::Done,
            Err(error) => Tried::Refused(error),
        },
        Err(error @ (AppendError::NotContiguous { .. } | AppendError::Gone { .. })) => {
            Tried::Impossible(error)
        }
        Err(error) => Tried::Refused(error),
    }
}

/// Whether the log contains the whole batch. This is the case when an earlier attempt has written the batch although it
/// returned an error, see [`Log::append`].
fn has_all<P: AsRecords>(disk: &impl Disk, batch: &Batch<P>) -> bool {
    batch.runs().all(|run| disk.next(run.name).is_some_and(|next| next >= run.first_offset + run.count))
}
