//! The committer: one thread that appends batches to the log, so that the writer gathers the next one while
//! the disk is busy with this one.

use super::intake::{self, Tried, try_append};
use crate::actor::{Error, Result, guard};
use crate::net::{Frame, Pipe, lower_priority, pipe};
use crate::storage::{AppendError, Log};
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TryRecvError, bounded};
use std::collections::HashSet;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

/// How long to wait before a batch that the disk refused is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// Where processors are short, live records go before the disk: a batch that waits grows, and costs less per record.
const NICENESS: i32 = 5;

/// A batch of what the network brought.
pub(super) type Job = intake::Job<Frame>;

/// The writer's side of the committer.
pub(super) struct Committer {
    jobs: Option<Sender<Job>>,
    done: Receiver<Job>,
    /// Closed to say that a batch which the disk refuses is not to be tried again.
    patience: Option<Sender<()>>,
    /// Becomes readable when a job is done, and when the committer has ended.
    wake: Pipe,
    thread: Option<JoinHandle<()>>,
    is_busy: bool,
}

impl Committer {
    pub(super) fn start(log: &Arc<Log>) -> Result<Committer> {
        // One job at the disk, one result not yet looked at: the writer hands over no more than that.
        let (jobs, next_job) = bounded::<Job>(1);
        let (job_done, done) = bounded::<Job>(1);
        let (patience, has_patience) = bounded::<()>(0);
        let (wake, waker) = pipe()?;
        let log = log.clone();
        let thread = std::thread::Builder::new()
            .name("dafka-commit".into())
            .spawn(move || {
                lower_priority(NICENESS);
                guard("dafka-commit", &waker, move |waker| {
                    let mut closed = Closed::new();
                    for mut job in next_job {
                        if !append(&log, &mut job, &mut closed, &has_patience) || job_done.send(job).is_err()
                        {
                            break;
                        }
                        waker.send_frames(&[b""])?;
                    }
                    Ok(())
                });
                // Its last word: the writer looks at `done`, and finds that nobody is left.
                let _ = waker.signal();
            })
            .map_err(Error::Thread)?;
        let (jobs, patience) = (Some(jobs), Some(patience));
        Ok(Committer { jobs, done, patience, wake, thread: Some(thread), is_busy: false })
    }

    /// The pipe to poll for a finished job.
    pub(super) fn wake(&self) -> &Pipe {
        &self.wake
    }

    pub(super) fn is_busy(&self) -> bool {
        self.is_busy
    }

    /// Hands over a job; the committer must not be busy.
    pub(super) fn commit(&mut self, job: Job) -> Result {
        assert!(!self.is_busy, "one job at a time");
        self.is_busy = true;
        let sent = self.jobs.as_ref().is_some_and(|jobs| jobs.send(job).is_ok());
        if sent { Ok(()) } else { Err(Error::Ended("store's committer")) }
    }

    /// The job that was finished, if one was.
    pub(super) fn finished(&mut self) -> Result<Option<Job>> {
        let mut frame = Frame::new();
        while self.wake.try_recv(&mut frame)? {}
        match self.done.try_recv() {
            Ok(job) => {
                self.is_busy = false;
                Ok(Some(job))
            }
            Err(TryRecvError::Empty) => Ok(None),
            Err(TryRecvError::Disconnected) => Err(Error::Ended("store's committer")),
        }
    }

    /// Waits for the job under way and hands it back; `None` when there is none, or when the disk refuses it.
    pub(super) fn finish(&mut self) -> Option<Job> {
        self.patience = None;
        if !std::mem::take(&mut self.is_busy) {
            return None;
        }
        self.done.recv().ok()
    }
}

impl Drop for Committer {
    fn drop(&mut self) {
        (self.jobs, self.patience) = (None, None);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Partitions to which nothing can be appended, because their end is damaged: subject and address.
type Closed = HashSet<(Vec<u8>, Vec<u8>)>;

/// Appends a batch, however long the disk refuses it: nothing of it was acknowledged, so nothing is lost. Partitions
/// that are damaged are left out of it: they must not hold up the others. False when the store ends before the disk
/// takes it, or when the log cannot take it at all.
fn append(log: &Log, job: &mut Job, closed: &mut Closed, has_patience: &Receiver<()>) -> bool {
    // What the log was told of this batch: each kind of error once, however they alternate.
    let mut told: Vec<String> = Vec::new();
    leave_out(job, closed);
    loop {
        match try_append(log, job) {
            Tried::Done => break,
            Tried::Impossible(error) => {
                log::error!("Store: {error}; the store cannot go on");
                return false;
            }
            Tried::Refused(AppendError::Corrupt(corruption)) => {
                log::error!("Store: {corruption}; nothing more of this partition is stored");
                closed.insert((corruption.subject, corruption.address));
                leave_out(job, closed);
                continue;
            }
            Tried::Refused(error) => {
                let text = error.to_string();
                if !told.contains(&text) {
                    log::error!("Store: {text}; nothing is acknowledged until it goes through");
                    told.push(text);
                }
            }
        }
        if has_patience.recv_timeout(RETRY) == Err(RecvTimeoutError::Disconnected) {
            return false;
        }
    }
    if !told.is_empty() {
        log::info!("Store: the disk takes records again");
    }
    true
}

fn leave_out(job: &mut Job, closed: &Closed) {
    if !closed.is_empty() {
        job.leave_out(|run| closed.contains(&(run.subject.to_vec(), run.address.to_vec())));
    }
}
