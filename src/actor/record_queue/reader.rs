//! The application's end of the queue.

use super::group::GroupReader;
use super::progress::{CommitEnd, Tracker};
use super::{Delivered, Mode, RecordList, RecordQueue, Result, SWITCH_COUNT};
use crate::actor::command::Ended;
use crate::net::{Frame, Socket};
use crate::partition_name::{PartitionName, SharedPartitionName};
use crate::slots::GroupBy;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use zmq::POLLIN;

/// A record that the application has received.
#[derive(Clone, Copy, Debug)]
pub struct RecordId<'a> {
    /// The partition.
    pub name: PartitionName<'a>,
    /// The offset.
    pub offset: u64,
    /// The key; empty if the record has none.
    pub key: &'a [u8],
}

/// The application's end of the queue. Only the thread that reads the record pipe uses it. In each method, `source` is
/// the application's end of the record pipe.
pub struct RecordReader {
    queue: Arc<RecordQueue>,
    /// Records that the reader has taken from the queue. While this list has records, the token stays in the pipe.
    taken: RecordList,
    /// How many records this library has read from the pipe as frames.
    received: u64,
    /// Whether records come through the queue: because of [`Mode::Queue`], or because the actor has ended and all
    /// frames were read.
    has_switched: bool,
    /// Notes what the application has processed, if the consumer has a name.
    tracker: Option<Tracker>,
    /// The same if the consumer is a member of a group.
    group: Option<GroupReader>,
}

impl RecordReader {
    pub(super) fn new(queue: Arc<RecordQueue>) -> RecordReader {
        let taken = RecordList::default();
        RecordReader { queue, taken, received: 0, has_switched: false, tracker: None, group: None }
    }

    /// True while the records come as frames through the pipe.
    pub fn reads_frames(&mut self, source: &Socket) -> bool {
        let has_rest = !self.has_switched && self.queue.has_rest.load(Ordering::Acquire);
        if has_rest && !source.events().contains(POLLIN) {
            self.has_switched = true;
        }
        !self.has_switched
    }

    /// This library has read a record from the pipe as frames. `content` is the last of these frames. Returns the
    /// record. Switches to queue mode if the program seems to read all its records through this library.
    ///
    /// # Errors
    /// Errors of libzmq.
    pub fn handle_received(&mut self, source: &Socket, content: Frame) -> Result<Delivered> {
        let delivered = self.queue.sent_records.record_of(content);
        self.queue.is_read.store(true, Ordering::Relaxed);
        self.received += 1;
        if self.received == SWITCH_COUNT {
            self.decide(source)?;
        }
        Ok(delivered)
    }

    /// Decides whether records come through the queue from now on. They do not if the program has read some records
    /// itself, without this library.
    ///
    /// The actor sends frames only while it holds the lock. So during the decision, the pipe contains all sent records
    /// that neither this library nor the program has read.
    fn decide(&mut self, source: &Socket) -> Result {
        let mut guard = self.queue.lock();
        let state = &mut *guard;
        if state.sink.is_none() {
            // The actor has ended. All remaining records are in the pipe.
            return Ok(());
        }
        // Earlier wakes are read, so that the wake below makes the descriptor of the actor's end ready.
        state.read_wakes()?;
        let mut rest = RecordList::default();
        while let Some((name, content)) = read_frames(source, rest.last_name())? {
            let Delivered { offset, run } = self.queue.sent_records.record_of(content);
            rest.push(&name, offset, run);
        }
        if state.sent == self.received + rest.len() as u64 {
            (state.mode, self.has_switched) = (Mode::Queue, true);
            self.taken = rest;
            state.send_token(!self.taken.is_empty())?;
        } else {
            state.mode = Mode::Frames;
            state.records = rest;
            state.send_frames(&mut RecordList::default(), Some(&self.queue.sent_records))?;
        }
        // This thread has used the actor's end of the pipe. It may have processed the event for which the actor waits.
        wake(source)
    }

    /// Switches to queue mode. Returns false when this is not possible: the program has read some records itself, without
    /// this library, or the actor has ended.
    ///
    /// # Errors
    /// Errors of libzmq.
    pub fn switch(&mut self, source: &Socket) -> Result<bool> {
        let mode = self.queue.lock().mode;
        if mode == Mode::Undecided {
            self.decide(source)?;
        }
        Ok(self.has_switched)
    }

    /// Of the records that were taken from the queue, and of the positions to commit, keeps only those of the partitions
    /// for which `keeps` returns true.
    /// To be called in queue mode, after the actor has done the same with its own records.
    ///
    /// # Errors
    /// Errors of libzmq.
    pub fn retain(&mut self, source: &Socket, keeps: impl Fn(PartitionName) -> bool) -> Result {
        if let Some(tracker) = &mut self.tracker {
            tracker.retain(&self.queue.progress, &keeps);
        }
        self.taken.retain(keeps);
        let mut state = self.queue.lock();
        if self.taken.is_empty() && state.records.is_empty() {
            state.remove_token(source)?;
        }
        Ok(())
    }

    /// Sets aside those records of a topic that were taken from the queue. To be called in queue mode, after the actor
    /// has set its own records of the topic aside.
    ///
    /// # Errors
    /// Errors of libzmq.
    pub fn pause(&mut self, source: &Socket, topic: &[u8]) -> Result {
        let mut paused = self.taken.split(|name| name.topic == topic);
        let mut state = self.queue.lock();
        paused.append(std::mem::take(&mut state.paused));
        state.paused = paused;
        if self.taken.is_empty() && state.records.is_empty() {
            state.remove_token(source)?;
        }
        Ok(())
    }

    /// Puts back the records of a topic that were set aside. The application receives them before all other records. To
    /// be called in queue mode.
    ///
    /// # Errors
    /// Errors of libzmq.
    pub fn resume(&mut self, topic: &[u8]) -> Result {
        let mut guard = self.queue.lock();
        let state = &mut *guard;
        let mut records = state.paused.split(|name| name.topic == topic);
        let first = if self.group.is_some() { &mut state.records } else { &mut self.taken };
        records.append(std::mem::take(first));
        let has_records = !records.is_empty();
        *first = records;
        state.send_token(has_records)
    }

    /// The number of records that were taken from the queue, and that the application has not received, of the partitions
    /// for which `counts` returns true.
    pub fn taken_count(&self, counts: impl Fn(PartitionName) -> bool) -> u64 {
        self.taken.count_of(counts)
    }

    /// Takes the next record without waiting, in any mode. Sets `name` to the record's partition.
    ///
    /// # Errors
    /// Errors of libzmq.
    pub fn next(
        &mut self,
        source: &Socket,
        name: &mut Option<SharedPartitionName>,
    ) -> Result<Option<Delivered>> {
        if !self.reads_frames(source) {
            return self.pop(source, name);
        }
        let Some((shared, content)) = read_frames(source, name.as_ref())? else { return Ok(None) };
        *name = Some(shared);
        self.handle_received(source, content).map(Some)
    }

    /// Notes from now on what the application has processed, because the consumer has a name or, if `group_by` is given,
    /// is a member of a group. `is_auto`: the actor commits processed records by itself. Switches to queue mode. To be
    /// called before the actor starts.
    ///
    /// # Errors
    /// Errors of libzmq.
    pub fn track(&mut self, source: &Socket, is_auto: bool, group_by: Option<GroupBy>) -> Result {
        self.switch(source)?;
        match group_by {
            Some(group_by) => self.group = Some(GroupReader::new(group_by, is_auto)),
            None => self.tracker = Some(Tracker::new(is_auto)),
        }
        Ok(())
    }

    /// Commits only the position of the partition of this producer, if the consumer has a name.
    pub fn track_only(&mut self, producer: &[u8]) {
        if let Some(tracker) = &mut self.tracker {
            tracker.restrict(producer);
        }
    }

    /// Whether the consumer has a name, or is a member of a group.
    pub fn is_tracking(&self) -> bool {
        self.tracker.is_some() || self.is_grouped()
    }

    /// Whether the consumer is a member of a group.
    pub fn is_grouped(&self) -> bool {
        self.group.is_some()
    }

    /// Publishes the positions of processed records, unless the application commits by itself. To be called before the
    /// consumer ends.
    pub fn publish(&mut self) {
        if let Some(tracker) = &mut self.tracker {
            tracker.pause(&self.queue.progress);
        }
    }

    /// Publishes the positions of all records that were read, as processed.
    pub fn publish_read(&mut self) {
        if let Some(tracker) = &mut self.tracker {
            tracker.mark_processed();
            tracker.publish(&self.queue.progress);
        }
        if self.group.is_some() {
            self.queue.progress.process_all();
        }
    }

    /// Requests a commit of the position after a record or, without one, of all records that were read. Returns the number
    /// of the request. The caller then informs the actor.
    pub(in crate::actor) fn request_commit(&mut self, record: Option<&RecordId>) -> u64 {
        let Some(RecordId { name, offset, key }) = record else {
            self.publish_read();
            return self.queue.progress.request(None);
        };
        let slot = self.group.as_ref().map_or(0, |group| group.slot_of(*name, *offset, key));
        self.queue.progress.request(Some((*name, slot, offset + 1)))
    }

    /// Waits until stores have confirmed a requested commit. Stops waiting after `timeout`, and when `is_patient`
    /// returns false.
    pub(in crate::actor) fn wait_for_commit(
        &self,
        request: u64,
        timeout: Duration,
        is_patient: &mut dyn FnMut() -> bool,
    ) -> Result<CommitEnd, Ended> {
        self.queue.progress.wait(request, timeout, is_patient)
    }

    /// Takes the next record without waiting, in queue mode. Sets `name` to the record's partition. If there is no
    /// record, the pipe is not readable afterwards.
    ///
    /// # Errors
    /// Errors of libzmq.
    pub fn pop(
        &mut self,
        source: &Socket,
        name: &mut Option<SharedPartitionName>,
    ) -> Result<Option<Delivered>> {
        let progress = &self.queue.progress;
        self.tracker.iter_mut().for_each(|tracker| tracker.ask(progress));
        if let Some(group) = &mut self.group {
            group.ask(progress);
            return self.pop_of_group(source, name);
        }
        let record = self.take(source, name)?;
        if let Some(tracker) = &mut self.tracker {
            match (&record, name) {
                (Some(Delivered { offset: Some(offset), .. }), Some(name)) => tracker.read(name, *offset),
                _ => tracker.pause(&self.queue.progress),
            }
        }
        Ok(record)
    }

    /// Takes the next record, and notes its slot. Both happen under the lock of the queue, so the actor cannot revoke the
    /// slot in between.
    fn pop_of_group(
        &mut self,
        source: &Socket,
        name: &mut Option<SharedPartitionName>,
    ) -> Result<Option<Delivered>> {
        let Self { queue, group, .. } = self;
        let mut state = queue.lock();
        let record = state.records.pop_into(name);
        if let (Some(Delivered { offset: Some(offset), run }), Some(name), Some(group)) =
            (&record, &*name, group)
        {
            let key = run.first().and_then(|record| record.key).unwrap_or_default();
            group.read(&queue.progress, (name, *offset, key));
            state.kept = None;
        }
        if state.records.is_empty() {
            state.remove_token(source)?;
        }
        if state.is_actor_waiting && state.records.len() <= queue.max_count / 2 {
            state.is_actor_waiting = false;
            wake(source)?;
        }
        Ok(record)
    }

    fn take(&mut self, source: &Socket, name: &mut Option<SharedPartitionName>) -> Result<Option<Delivered>> {
        let mut record = self.taken.pop_into(name);
        if !self.taken.is_empty() {
            return Ok(record);
        }
        let mut state = self.queue.lock();
        std::mem::swap(&mut self.taken, &mut state.records);
        let is_actor_waiting = std::mem::take(&mut state.is_actor_waiting);
        record = record.or_else(|| self.taken.pop_into(name));
        if self.taken.is_empty() && (state.has_token || record.is_none()) {
            // If there is no record, every message must be removed from the pipe. Otherwise each poll of the pipe would
            // return at once.
            match record.is_none() {
                true => state.remove_token(source)?,
                false => {
                    source.try_recv(&mut Frame::new())?;
                    state.has_token = false;
                }
            }
        }
        if is_actor_waiting {
            wake(source)?;
        }
        Ok(record)
    }
}

/// Wakes the actor. The caller must hold the lock of the queue, so that the actor reads every wake before it waits.
/// While an earlier wake is unread, libzmq does not make the descriptor ready for a later one.
fn wake(source: &Socket) -> Result {
    source.try_send(&mut Frame::new(), false)?;
    Ok(())
}

/// Reads a record of three frames without waiting. If the record's partition is `previous`, the result shares this
/// name.
pub(super) fn read_frames(
    source: &Socket,
    previous: Option<&SharedPartitionName>,
) -> Result<Option<(SharedPartitionName, Frame)>> {
    let [mut topic, mut producer, mut content] = [Frame::new(), Frame::new(), Frame::new()];
    if !source.try_recv(&mut topic)? {
        return Ok(None);
    }
    source.recv_more(&mut producer)?;
    source.recv_more(&mut content)?;
    let name = PartitionName { topic: topic.as_ref(), producer: producer.as_ref() };
    let shared = previous.filter(|previous| previous.as_name() == name);
    Ok(Some((shared.cloned().unwrap_or_else(|| SharedPartitionName::new(name)), content)))
}
