//! Which records the application has processed, and its requests to commit its positions.
//!
//! A record counts as processed when the application asks for the next one. The application's thread notes this without
//! a lock, in its [`Tracker`]. It publishes its notes to the actor when it must wait for a record, when the actor asks
//! for them, and when it commits.

use super::group::SlotPartition;
use crate::actor::command::Ended;
use crate::czmq::exit;
use crate::partition_name::{PartitionName, SharedPartitionName};
use crate::slots::Slots;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How often a waiting call checks whether to stop waiting.
const PATIENCE_CHECK: Duration = Duration::from_millis(100);

/// How a wait for a confirmation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommitEnd {
    /// A store has confirmed the commit.
    Confirmed,
    /// The timeout was over first. The actor continues to publish the commit.
    TimedOut,
    /// The caller has stopped waiting.
    Interrupted,
}

/// What the application's thread and the actor share.
#[derive(Default)]
pub(super) struct Progress {
    state: Mutex<State>,
    changed: Condvar,
    /// The actor asks for the latest positions.
    is_asked: AtomicBool,
}

#[derive(Default)]
struct State {
    /// Positions that the actor must commit: for each slot of each partition, the record to read next. A consumer that is
    /// in no group has only the slot 0.
    positions: HashMap<SlotPartition, u64>,
    /// In a group: the same for records that the application has received, and not processed.
    received: HashMap<SlotPartition, u64>,
    /// How many commits the application has requested, and how many of them stores have confirmed.
    requested: u64,
    confirmed: u64,
    has_ended: bool,
}

impl Progress {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks for positions, and takes those that the application has published. Also returns how many commits the
    /// application has requested.
    pub(super) fn take(&self) -> (HashMap<SlotPartition, u64>, u64) {
        exit::park_if_abandoned();
        self.is_asked.store(true, Ordering::Relaxed);
        let mut state = self.lock();
        (std::mem::take(&mut state.positions), state.requested)
    }

    /// Stores have confirmed the first `count` requested commits.
    pub(super) fn confirm(&self, count: u64) {
        exit::park_if_abandoned();
        self.lock().confirmed = count;
        self.changed.notify_all();
    }

    /// The actor has ended.
    pub(super) fn end(&self) {
        self.lock().has_ended = true;
        self.changed.notify_all();
    }

    /// The slots of records that the application has not processed, and of positions that the actor has not taken.
    pub(super) fn busy_slots(&self) -> Slots {
        exit::park_if_abandoned();
        let state = self.lock();
        let all = state.received.keys().chain(state.positions.keys());
        all.fold(Slots::NONE, |busy, (_, slot)| busy.and(Slots::of(*slot)))
    }

    /// In a group: the application has received the records of a slot in a partition up to, not including, `next`.
    pub(super) fn receive(&self, of: SlotPartition, next: u64) {
        self.lock().received.insert(of, next);
    }

    /// In a group: the application has processed the received records of a slot in a partition.
    pub(super) fn process(&self, of: SlotPartition) {
        let mut state = self.lock();
        if let Some(next) = state.received.remove(&of) {
            state.positions.insert(of, next);
        }
    }

    /// In a group: the application has processed all received records.
    pub(super) fn process_all(&self) {
        let mut state = self.lock();
        let State { positions, received, .. } = &mut *state;
        positions.extend(received.drain());
    }

    /// Requests a commit of the published positions, and of `position`: a partition, a slot in it, and the record to read
    /// next. Returns the number of the request.
    pub(super) fn request(&self, position: Option<(PartitionName, u8, u64)>) -> u64 {
        let mut state = self.lock();
        if let Some((name, slot, next)) = position {
            let of = (SharedPartitionName::new(name), slot);
            if state.received.get(&of).is_some_and(|received| *received <= next) {
                state.received.remove(&of);
            }
            state.positions.insert(of, next);
        }
        state.requested += 1;
        state.requested
    }

    /// Waits until stores have confirmed a request.
    pub(super) fn wait(
        &self,
        request: u64,
        timeout: Duration,
        is_patient: &mut dyn FnMut() -> bool,
    ) -> Result<CommitEnd, Ended> {
        let due = Instant::now() + timeout;
        let mut state = self.lock();
        loop {
            let left = due.saturating_duration_since(Instant::now());
            if state.confirmed >= request {
                return Ok(CommitEnd::Confirmed);
            } else if state.has_ended {
                return Err(Ended);
            } else if left.is_zero() {
                return Ok(CommitEnd::TimedOut);
            } else if !is_patient() {
                return Ok(CommitEnd::Interrupted);
            }
            let waited = self.changed.wait_timeout(state, left.min(PATIENCE_CHECK));
            drop(waited.unwrap_or_else(PoisonError::into_inner).0);
            exit::hold_application();
            state = self.lock();
        }
    }
}

/// The notes of the application's thread.
pub(super) struct Tracker {
    /// Whether the actor commits processed records by itself.
    is_auto: bool,
    /// The producer of the only partition whose position is committed. `None`: all partitions.
    only: Option<Box<[u8]>>,
    /// The partition of the record that was read last.
    name: Option<SharedPartitionName>,
    /// In this partition, the offset after the last record that was read.
    received: u64,
    /// In this partition, the offset after the last record that was processed.
    processed: Option<u64>,
    /// The same in other partitions.
    others: HashMap<SharedPartitionName, u64>,
}

impl Tracker {
    pub(super) fn new(is_auto: bool) -> Tracker {
        Tracker { is_auto, only: None, name: None, received: 0, processed: None, others: HashMap::new() }
    }

    /// From now on, publishes only the position of the partition of this producer.
    pub(super) fn restrict(&mut self, producer: &[u8]) {
        self.only = Some(producer.into());
    }

    /// The application asks for the next record.
    pub(super) fn ask(&mut self, progress: &Progress) {
        self.mark_processed();
        if self.is_auto
            && progress.is_asked.load(Ordering::Relaxed)
            && progress.is_asked.swap(false, Ordering::Relaxed)
        {
            self.publish(progress);
        }
    }

    /// All records that were read count as processed.
    pub(super) fn mark_processed(&mut self) {
        if self.name.is_some() {
            self.processed = Some(self.received);
        }
    }

    /// The application has read a record.
    pub(super) fn read(&mut self, name: &SharedPartitionName, offset: u64) {
        if !self.name.as_ref().is_some_and(|own| own.is_same(name)) {
            let last = self.name.replace(name.clone());
            if let (Some(last), Some(processed)) = (last, self.processed.take()) {
                self.others.insert(last, processed);
            }
        }
        self.received = offset + 1;
    }

    /// The application must wait for the next record, or ends the consumer.
    pub(super) fn pause(&mut self, progress: &Progress) {
        if self.is_auto {
            self.publish(progress);
        }
    }

    /// Publishes the positions of processed records.
    pub(super) fn publish(&mut self, progress: &Progress) {
        let own = self.name.clone().zip(self.processed.take());
        if own.is_none() && self.others.is_empty() {
            return;
        }
        let only = self.only.as_deref();
        let is_wanted = |(name, _): &(SharedPartitionName, u64)| {
            only.is_none_or(|only| *only == *name.as_name().producer)
        };
        let all = self.others.drain().chain(own).filter(is_wanted);
        progress.lock().positions.extend(all.map(|(name, next)| ((name, 0), next)));
    }

    /// Keeps only the partitions for which `keeps` returns true: in the others, the application continues at another
    /// record.
    pub(super) fn retain(&mut self, progress: &Progress, keeps: impl Fn(PartitionName) -> bool) {
        self.name.take_if(|own| !keeps(own.as_name()));
        if self.name.is_none() {
            self.processed = None;
        }
        self.others.retain(|other, _| keeps(other.as_name()));
        progress.lock().positions.retain(|(other, _), _| keeps(other.as_name()));
    }
}
