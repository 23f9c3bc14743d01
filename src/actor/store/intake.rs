//! The writer's logic: what comes in is put in order and gathered into a batch while the disk is busy with the one
//! before; only what is durable is acknowledged.
//!
//! Without sockets and threads, so that the simulation in tests/simulation runs this very code.

use crate::protocol::ingest::{Index, Statistics};
use crate::protocol::notice::Notice;
use crate::protocol::store::replica::{Append, Replica};
use crate::protocol::{Outbox, Payload, Sender};
use crate::storage::{AppendError, Batch, Log, MAX_CONTENT_LEN_BYTES, PartitionName, Run, RunIndex};
use crate::wire::{Message, Position, Subscription};

/// What one batch holds before the writer stops reading until the disk has taken the one before.
const MAX_BATCH_LEN_BYTES: usize = 16 << 20;
/// The same in records.
const MAX_BATCH_COUNT: usize = 131_072;

/// Records on their way to the disk, and what will be durable with them.
pub struct Job<P> {
    /// The records.
    pub batch: Batch<P>,
    /// Per partition, one after its last record in the batch.
    ends: Vec<(Index, u64)>,
}

impl<P> Default for Job<P> {
    fn default() -> Self {
        Job { batch: Batch::default(), ends: Vec::new() }
    }
}

impl<P: AsRef<[u8]>> Job<P> {
    /// Leaves out some partitions: what is in the job of them is neither written nor acknowledged.
    pub fn leave_out(&mut self, mut is_unwanted: impl FnMut(Run<'_>) -> bool) {
        // One run, one end.
        let mut runs = self.batch.runs();
        self.ends.retain(|_| runs.next().is_none_or(|run| !is_unwanted(run)));
        drop(runs);
        self.batch.leave_out(is_unwanted);
    }
}

/// A message that was not taken.
#[derive(Debug, PartialEq, Eq)]
pub struct TooLong;

/// Everything between the writer's sockets and its disk.
pub struct Intake<P> {
    replica: Replica<P>,
    gathering: Gathering<P>,
    /// A job that was done, whose memory the next batch uses.
    spare: Job<P>,
    appends: Vec<Append<P>>,
    max_batch_len_bytes: usize,
    max_batch_count: usize,
}

impl<P: Payload> Intake<P> {
    /// Nothing gathered.
    pub fn new(replica: Replica<P>) -> Self {
        Intake {
            replica,
            gathering: Gathering::default(),
            spare: Job::default(),
            appends: Vec::new(),
            max_batch_len_bytes: MAX_BATCH_LEN_BYTES,
            max_batch_count: MAX_BATCH_COUNT,
        }
    }

    /// Takes other bounds for a batch.
    pub fn with_max_batch(self, max_batch_len_bytes: usize, max_batch_count: usize) -> Self {
        Intake { max_batch_len_bytes, max_batch_count, ..self }
    }

    /// What waits for the disk: octets of content, and records.
    pub fn gathered(&self) -> (usize, usize) {
        let batch = &self.gathering.job.batch;
        (batch.content_len_bytes(), batch.len())
    }

    /// True when no message may be taken until the disk has taken a batch.
    pub fn is_full(&self) -> bool {
        let (len_bytes, count) = self.gathered();
        len_bytes >= self.max_batch_len_bytes || count >= self.max_batch_count
    }

    /// True when nothing waits for the disk.
    pub fn is_empty(&self) -> bool {
        self.gathering.job.batch.is_empty()
    }

    /// Takes a message from the network.
    ///
    /// # Errors
    /// When it is a record that the log cannot hold.
    pub fn handle_message(
        &mut self,
        message: &Message,
        content: Option<P>,
        from: &Sender,
        now_ms: u64,
    ) -> Result<(), TooLong> {
        if content.as_ref().is_some_and(|content| content.as_ref().len() > MAX_CONTENT_LEN_BYTES) {
            return Err(TooLong);
        }
        self.replica.handle_message(message, content, from, now_ms, &mut self.appends);
        for append in self.appends.drain(..) {
            self.gathering.push(&self.replica, append);
        }
        Ok(())
    }

    /// Whether a single store is asked for the next records of a partition.
    pub fn is_store_asked(&self, position: &Position) -> bool {
        self.replica.is_store_asked(position)
    }

    /// Takes a subscription that somebody made at the writer's socket.
    pub fn handle_subscription(&mut self, subscription: &Subscription, now_ms: u64) {
        self.replica.handle_subscription(subscription, now_ms);
    }

    /// The next batch for the disk, which has nothing to do; `None` when nothing was gathered.
    pub fn poll_job(&mut self) -> Option<Job<P>> {
        if self.is_empty() {
            return None;
        }
        let spare = std::mem::take(&mut self.spare);
        Some(self.gathering.take(spare))
    }

    /// The disk has a batch for good.
    pub fn handle_committed(&mut self, mut job: Job<P>) {
        for (partition, end) in job.ends.drain(..) {
            self.replica.handle_committed(partition, end);
        }
        // The records' memory is free again now, not with the next batch.
        job.batch.clear();
        self.spare = job;
    }

    /// When [`Intake::handle_timeout`] has something to do next; `None` while the disk holds us up: answers wait unread, and it
    /// is no time to ask again.
    pub fn due_ms(&self) -> Option<u64> {
        (!self.is_full()).then(|| self.replica.due_ms())
    }

    /// Sends what is due: requests, and the ACKs of what is durable.
    pub fn handle_timeout(&mut self, now_ms: u64, out: &mut Outbox<P>) {
        if !self.is_full() {
            self.replica.handle_timeout(now_ms, out);
        }
        self.replica.poll_acks(out);
    }

    /// Messages wait unread, see [`Replica::handle_unread`].
    pub fn handle_unread(&mut self, unread_since_ms: Option<u64>) {
        self.replica.handle_unread(unread_since_ms);
    }

    /// A connection was given up, see [`Replica::handle_cut`].
    pub fn handle_cut(&mut self, now_ms: u64) {
        self.replica.handle_cut(now_ms);
    }

    /// The next notice, if there is one.
    pub fn poll_notice(&mut self, now_ms: u64) -> Option<Notice> {
        self.replica.poll_notice(now_ms)
    }

    /// What happened so far.
    pub fn statistics(&self) -> Statistics {
        self.replica.statistics()
    }
}

/// The batch that is filled while the disk is busy with the one before.
struct Gathering<P> {
    job: Job<P>,
    /// By partition: its run in the batch, and its place in the job's `ends`.
    runs: Vec<Option<(RunIndex, usize)>>,
}

impl<P> Default for Gathering<P> {
    fn default() -> Self {
        Gathering { job: Job::default(), runs: Vec::new() }
    }
}

impl<P: Payload> Gathering<P> {
    fn push(&mut self, replica: &Replica<P>, append: Append<P>) {
        let Append { partition, offset, content } = append;
        if self.runs.len() <= partition.0 {
            self.runs.resize(partition.0 + 1, None);
        }
        let (run, end) = *self.runs[partition.0].get_or_insert_with(|| {
            let (topic, producer) = replica.partition(partition);
            self.job.ends.push((partition, offset));
            (self.job.batch.run(PartitionName { topic, producer }, offset), self.job.ends.len() - 1)
        });
        self.job.batch.push_to(run, content);
        self.job.ends[end].1 = offset + 1;
    }

    /// Takes the batch out, and leaves `spare`'s memory for the next one.
    fn take(&mut self, mut spare: Job<P>) -> Job<P> {
        for &(Index(partition), _) in &self.job.ends {
            self.runs[partition] = None;
        }
        spare.batch.clear();
        spare.ends.clear();
        std::mem::replace(&mut self.job, spare)
    }
}

/// Where batches go.
pub trait Disk {
    /// Appends a whole batch, or nothing of it.
    ///
    /// # Errors
    /// When the disk refuses it, or it does not follow what is there.
    fn append<P: AsRef<[u8]>>(&self, batch: &Batch<P>) -> Result<(), AppendError>;

    /// Puts on disk whatever the log holds.
    ///
    /// # Errors
    /// When the disk refuses it.
    fn sync(&self) -> Result<(), AppendError>;

    /// One after the last record of a partition, as far as that can be told.
    fn next(&self, name: PartitionName<'_>) -> Option<u64>;
}

impl Disk for Log {
    fn append<P: AsRef<[u8]>>(&self, batch: &Batch<P>) -> Result<(), AppendError> {
        Log::append(self, batch)
    }

    fn sync(&self) -> Result<(), AppendError> {
        Log::sync(self)
    }

    fn next(&self, name: PartitionName<'_>) -> Option<u64> {
        self.find(name).ok().flatten().map(|partition| partition.next)
    }
}

/// What became of one try to write a batch.
#[derive(Debug)]
pub enum Tried {
    /// It is on disk.
    Done,
    /// Nothing of it is; it may be tried again.
    Refused(AppendError),
    /// The log cannot take it at all.
    Impossible(AppendError),
}

/// Tries to write a batch once.
pub fn try_append<P: Payload>(disk: &impl Disk, job: &Job<P>) -> Tried {
    match disk.append(&job.batch) {
        Ok(()) => Tried::Done,
        // That it is in the log does not mean that it is on disk.
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

/// A commit that fails twice over may have gone through after all (see [`Log::append`]), and then as a whole.
fn has_all<P: Payload>(disk: &impl Disk, batch: &Batch<P>) -> bool {
    batch.runs().all(|run| disk.next(run.name).is_some_and(|next| next >= run.first_offset + run.count))
}
