//! The committer: a thread that appends batches to the log, so that the writer can gather the next batch while the disk
//! writes.

use super::disk_watch::Slot;
use super::intake::{self, Tried, try_append};
use crate::actor::{Error, Result, Run, guard};
use crate::net::{Frame, Pipe, lower_priority, pipe};
use crate::storage::{AppendError, Log};
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TryRecvError, bounded};
use std::collections::HashSet;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long the committer waits before it retries a batch that the disk refused.
const RETRY: Duration = Duration::from_secs(1);

/// How often the committer checks that the database file is still in its place, and frees the entries of processes that
/// have died while they read the database.
const MAINTENANCE_INTERVAL: Duration = Duration::from_secs(1);

/// When processors are scarce, receiving live records has priority over writing. A batch that waits grows, and then
/// costs less per record.
const NICENESS: i32 = 5;

/// A batch of received records.
pub(super) type Job = intake::Job<Run>;

/// The writer's side of the committer.
pub(super) struct Committer {
    jobs: Option<Sender<Job>>,
    done: Receiver<Result<Job>>,
    /// Closed when the committer must not retry a batch any more.
    retries: Option<Sender<()>>,
    /// Becomes readable when a job is done, and when the committer has ended.
    wake: Pipe,
    thread: Option<JoinHandle<()>>,
    is_busy: bool,
}

impl Committer {
    pub(super) fn start(log: &Arc<Log>, slot: Slot) -> Result<Committer> {
        // The writer sends a job only after it has received the result of the previous job. So at most one job waits.
        // At most two results wait: the result of the last job, and the error with which the committer ends.
        let (jobs, next_job) = bounded::<Job>(1);
        let (job_done, done) = bounded::<Result<Job>>(2);
        let (retries, may_retry) = bounded::<()>(0);
        let (wake, waker) = pipe()?;
        let log = log.clone();
        let thread = std::thread::Builder::new()
            .name("dafka-commit".into())
            .spawn(move || {
                lower_priority(NICENESS);
                guard("dafka-commit", &waker, move |waker| {
                    let disk = Disk { log: &log, slot, may_retry };
                    let result = disk.run(&next_job, &job_done, waker);
                    if let Err(Error::Logged) = result {
                        // Pass this error to the writer, so that the writer does not log the failure again.
                        let _ = job_done.send(Err(Error::Logged));
                    }
                    result
                });
                // Wakes the writer, which then finds that `done` is closed.
                let _ = waker.signal();
            })
            .map_err(Error::Thread)?;
        let (jobs, retries) = (Some(jobs), Some(retries));
        Ok(Committer { jobs, done, retries, wake, thread: Some(thread), is_busy: false })
    }

    /// The pipe to poll for a finished job.
    pub(super) fn wake(&self) -> &Pipe {
        &self.wake
    }

    pub(super) fn is_busy(&self) -> bool {
        self.is_busy
    }

    /// Starts to write a job. The committer must not be busy.
    pub(super) fn commit(&mut self, job: Job) -> Result {
        assert!(!self.is_busy, "one job at a time");
        self.is_busy = true;
        let sent = self.jobs.as_ref().is_some_and(|jobs| jobs.send(job).is_ok());
        if sent { Ok(()) } else { Err(Error::Ended("store's committer")) }
    }

    /// The finished job, if there is one. Call this when [`Committer::wake`] is readable, even if no job is being
    /// written.
    ///
    /// # Errors
    /// When the committer has failed.
    pub(super) fn finished(&mut self) -> Result<Option<Job>> {
        let mut frame = Frame::new();
        while self.wake.try_recv(&mut frame)? {}
        match self.done.try_recv() {
            Ok(job) => {
                self.is_busy = false;
                job.map(Some)
            }
            Err(TryRecvError::Empty) => Ok(None),
            Err(TryRecvError::Disconnected) => Err(Error::Ended("store's committer")),
        }
    }

    /// Waits for the current job and returns it. Returns `None` when there is no job, or when the disk refuses the job.
    ///
    /// # Errors
    /// When the committer has failed.
    pub(super) fn finish(&mut self) -> Result<Option<Job>> {
        self.retries = None;
        if !std::mem::take(&mut self.is_busy) {
            return self.finished();
        }
        self.done.recv().ok().transpose()
    }
}

impl Drop for Committer {
    fn drop(&mut self) {
        (self.jobs, self.retries) = (None, None);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Topic and producer of each partition to which no record can be appended, because its end on disk is damaged.
type Damaged = HashSet<(Vec<u8>, Vec<u8>)>;

/// The log, as the committer's thread uses it.
struct Disk<'a> {
    log: &'a Log,
    slot: Slot,
    may_retry: Receiver<()>,
}

/// Why the committer stops.
enum Stop {
    /// The store ends.
    Ending,
    /// The log cannot accept any more records. This was logged.
    Failed,
}

impl Disk<'_> {
    /// Writes batches until the store ends.
    ///
    /// # Errors
    /// [`Error::Logged`] when the log cannot accept any more records.
    fn run(&self, jobs: &Receiver<Job>, done: &Sender<Result<Job>>, waker: &Pipe) -> Result {
        let mut damaged = Damaged::new();
        let mut maintained_at = Instant::now();
        loop {
            let tried = match jobs.recv_timeout(MAINTENANCE_INTERVAL) {
                Ok(mut job) => match self.append(&mut job, &mut damaged) {
                    Ok(()) if done.send(Ok(job)).is_ok() => waker.send_frames(&[b""]).map(Ok)?,
                    Ok(()) => Err(Stop::Ending),
                    stopped => stopped,
                },
                Err(RecvTimeoutError::Timeout) => Ok(()),
                Err(RecvTimeoutError::Disconnected) => Err(Stop::Ending),
            };
            let tried = match tried {
                Ok(()) if maintained_at.elapsed() >= MAINTENANCE_INTERVAL => {
                    maintained_at = Instant::now();
                    self.maintain()
                }
                tried => tried,
            };
            match tried {
                Ok(()) => {}
                Err(Stop::Ending) => return Ok(()),
                Err(Stop::Failed) => return Err(Error::Logged),
            }
        }
    }

    /// Checks the database, also while no records arrive.
    fn maintain(&self) -> Result<(), Stop> {
        self.slot.during("looking after the database", || {
            if let Err(error @ AppendError::Gone { .. }) = self.log.check_presence() {
                return Err(self.failed(&error));
            }
            // Frees the entries of processes that were killed while they read the database. An error comes from the
            // disk, and will be logged with the next batch.
            let _ = self.log.clear_stale_readers();
            Ok(())
        })
    }

    /// Appends a batch, and retries while the disk refuses it. No record is acknowledged before the batch is on disk,
    /// so no acknowledged record is lost. Removes damaged partitions from the batch, so that they do not block the
    /// other partitions.
    fn append(&self, job: &mut Job, damaged: &mut Damaged) -> Result<(), Stop> {
        // Errors that were logged for this batch. Each one is logged once, even if several alternate.
        let mut logged: Vec<String> = Vec::new();
        leave_out(job, damaged);
        loop {
            match self.slot.during("writing records", || try_append(self.log, job)) {
                Tried::Done => break,
                Tried::Impossible(error) => return Err(self.failed(&error)),
                Tried::Refused(AppendError::Corrupt(corruption)) => {
                    log::error!("Store: {corruption}; nothing more of this partition is stored");
                    damaged.insert((corruption.topic, corruption.producer));
                    leave_out(job, damaged);
                    continue;
                }
                Tried::Refused(error) => {
                    let text = error.to_string();
                    if !logged.contains(&text) {
                        log::error!("Store: {text}; nothing is acknowledged until a retry succeeds");
                        logged.push(text);
                    }
                }
            }
            if self.may_retry.recv_timeout(RETRY) == Err(RecvTimeoutError::Disconnected) {
                return Err(Stop::Ending);
            }
        }
        if !logged.is_empty() {
            log::info!("Store: the disk accepts records again");
        }
        Ok(())
    }

    fn failed(&self, error: &AppendError) -> Stop {
        log::error!("Store: {error}; the store cannot continue");
        self.slot.set_failed();
        Stop::Failed
    }
}

fn leave_out(job: &mut Job, damaged: &Damaged) {
    if !damaged.is_empty() {
        job.leave_out(|run| damaged.contains(&(run.name.topic.to_vec(), run.name.producer.to_vec())));
    }
}
