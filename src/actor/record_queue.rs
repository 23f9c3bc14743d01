//! The queue through which a consumer's actor hands its records to the application.
//!
//! A consumer begins in *frame mode*: its actor sends each record through the record pipe, as a message of three
//! frames. A program may read these messages itself, without this library. When the program has read [`SWITCH_COUNT`]
//! records through this library, and none itself, the reader switches to *queue mode*. Then the actor appends records
//! to a queue in memory, and the reader takes all records of the queue at once. Queue mode costs much less than frame
//! mode.
//!
//! In queue mode, the pipe contains one message, the *token*, while records wait. So the pipe is readable if and only
//! if a record can be read, as in frame mode. The actor sends the token when it appends the first record. The reader
//! removes the token when it takes the last record. Both do so under the lock of the queue.
//!
//! When the queue is full, the actor waits. When the reader then takes the records of the queue, it sends the actor a
//! message through the pipe, a *wake*. The actor polls the descriptor of its end of the pipe for the wake.
//!
//! To decide about the switch, the reader reads all records from the pipe. If the reader then does not switch, these
//! records go back into the pipe. libzmq frees their room in the pipe late, so some of these records may wait in the
//! queue. If the actor ends before it has sent them, the reader takes them from the queue after the last frame.

mod group;
mod list;
mod progress;
mod reader;
mod sent_records;
#[cfg(test)]
mod tests;

pub(super) use list::RecordList;
pub use progress::CommitEnd;
pub use reader::{RecordId, RecordReader};

use group::SlotPartition;
use progress::Progress;
use sent_records::SentRecords;

use super::{Result, Run};
use crate::czmq::exit;
use crate::net::{Awaited, Frame, Socket};
use crate::partition_name::PartitionName;
use crate::protocol::Payload;
use crate::slots::{GroupBy, Slots};
use std::collections::HashMap;
use std::os::fd::RawFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use zmq::POLLIN;

/// How many records the application reads through this library before the reader switches to queue mode. A program that
/// reads some records itself usually reads one of them before the switch. Such a program gets frames for ever.
pub const SWITCH_COUNT: u64 = 1_000;

/// The limit in bytes, with overhead, of the records in the queue. The records that the reader has taken from the queue
/// have the same limit.
const MAX_LEN_BYTES: usize = 2 << 20;
/// While the queue has this many records, further records are copied out of libzmq's read buffers: one record may keep
/// a whole buffer in memory.
const MAX_COUNT_IN_READ_BUFFERS: usize = 1_000;

/// A record for the application.
pub struct Delivered {
    /// The offset. `None` for a record that came as frames, and not from a consumer's actor.
    pub offset: Option<u64>,
    /// The record, or a run that begins with it.
    pub run: Run,
}

/// The content of the token.
const TOKEN: &[u8] = b"dafka_consumer_msg_recv";

/// How the actor hands over records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    /// As frames, until the reader decides.
    Undecided,
    /// As frames for ever: the program reads some records itself.
    Frames,
    /// Through the queue.
    Queue,
}

/// What the actor and the reader share.
struct State {
    mode: Mode,
    /// The actor's end of the pipe. `None` after the actor has ended. It is used only under the lock, and mostly by the
    /// actor.
    sink: Option<Socket>,
    /// How many records were sent as frames.
    sent: u64,
    /// In queue mode, the records for the reader. In frame mode, records that the actor must send before all others.
    records: RecordList,
    /// Records of paused topics.
    paused: RecordList,
    /// In a group: the slot of the first record of `records`, if this slot was revoked.
    kept: Option<u8>,
    /// Whether the token is in the pipe.
    has_token: bool,
    /// The actor waits until the reader takes the records of the queue.
    is_actor_waiting: bool,
}

impl State {
    /// Sends waiting records as frames until the pipe is full. Keeps them in `sent_records` until they are read.
    fn send_frames(&mut self, more: &mut RecordList, sent_records: Option<&SentRecords>) -> Result {
        let Some(sink) = &self.sink else { return Ok(()) };
        for list in [&mut self.records, more] {
            let waiting = list.len();
            let are_all_sent = list.send_with(|name, offset, run| match sent_records {
                Some(sent) => {
                    send_frames(sink, name, &mut sent.frame(Delivered { offset, run: run.share_first() }))
                }
                None => run.with_first(|content| send_frames(sink, name, content)),
            })?;
            self.sent += (waiting - list.len()) as u64;
            if !are_all_sent {
                break;
            }
        }
        Ok(())
    }

    /// Sends the token if records wait for the reader.
    fn send_token(&mut self, has_records: bool) -> Result {
        if let Some(sink) = &self.sink
            && has_records
            && !self.has_token
        {
            // libzmq notices some reads at the other end of the pipe only in this call.
            sink.events();
            self.has_token = sink.try_send(&mut Frame::copy(TOKEN), false)?;
        }
        Ok(())
    }

    /// Removes every message from the pipe. `source` is the reader's end of the pipe.
    fn remove_token(&mut self, source: &Socket) -> Result {
        while source.try_recv(&mut Frame::new())? {}
        self.has_token = false;
        Ok(())
    }

    /// Reads the wakes that the reader has sent, so that the descriptor of the sink is not ready until the next wake.
    fn read_wakes(&mut self) -> Result {
        self.is_actor_waiting = false;
        let mut frame = Frame::new();
        if let Some(sink) = &self.sink {
            while sink.events().contains(POLLIN) && sink.try_recv(&mut frame)? {}
        }
        Ok(())
    }
}

/// Sends a record as three frames. False when the socket is full.
///
/// # Errors
/// Errors of libzmq.
pub(super) fn send_frames(sink: &Socket, name: PartitionName, content: &mut Frame) -> Result<bool> {
    Ok(sink.try_send(&mut Frame::copy(name.topic), true)?
        && sink.try_send(&mut Frame::copy(name.producer), true)?
        && sink.try_send(content, false)?)
}

/// Returns a function that returns true for one partition of a topic or, if `producer` is empty, for all of them. Each
/// partition belongs to the empty topic.
pub(super) fn is_one_of(topic: &[u8], producer: &[u8]) -> impl Fn(PartitionName) -> bool {
    move |name| is_of(name, topic) && (producer.is_empty() || *name.producer == *producer)
}

/// Whether a partition belongs to a topic. Each partition belongs to the empty topic.
pub(super) fn is_of(name: PartitionName, topic: &[u8]) -> bool {
    topic.is_empty() || *name.topic == *topic
}

struct RecordQueue {
    state: Mutex<State>,
    /// The most records in the queue.
    max_count: usize,
    sent_records: SentRecords,
    /// What the application has processed, if the consumer has a name.
    progress: Progress,
    /// This library has read a record from the pipe.
    is_read: AtomicBool,
    /// The actor has ended in frame mode, and records are left that did not fit into the pipe.
    has_rest: AtomicBool,
}

impl RecordQueue {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where to keep the records that are sent as frames next, when `sent` records were sent before. Returns `None`
    /// when the program seems to read all frames itself: this library has read none, although more records were sent
    /// than the pipe holds. Such a program does not need the kept records, and keeping them costs time.
    fn tracked(&self, sent: u64) -> Option<&SentRecords> {
        let is_needed =
            sent <= self.max_count.saturating_mul(2) as u64 || self.is_read.load(Ordering::Relaxed);
        is_needed.then_some(&self.sent_records)
    }

    /// Hands over records. Returns false when records are left, or when the token could not be sent.
    fn hand_over(&self, state: &mut State, records: &mut RecordList) -> Result<bool> {
        if state.mode != Mode::Queue {
            state.send_frames(records, self.tracked(state.sent))?;
            return Ok(state.records.is_empty() && records.is_empty());
        }
        while let Some(run) = records.front() {
            if !state.records.has_room(run, self.max_count, MAX_LEN_BYTES) {
                state.is_actor_waiting = true;
                break;
            }
            let is_many = state.records.len() >= MAX_COUNT_IN_READ_BUFFERS;
            records
                .move_front_to(&mut state.records, |run| if is_many { run.into_own_memory() } else { run });
        }
        let has_records = !state.records.is_empty();
        state.send_token(has_records)?;
        Ok(records.is_empty() && (state.has_token || !has_records))
    }
}

/// Makes the two ends of a queue. `sink` is the actor's end of the record pipe. `max_count` limits the records that
/// wait (0: no limit). One half applies to the records in the queue, the other half to the records that the reader has
/// taken.
///
/// # Errors
/// libzmq's error when the sink has no descriptor.
pub fn record_queue(sink: Socket, max_count: usize) -> Result<(RecordWriter, RecordReader)> {
    let file = sink.zmq().get_fd()?;
    let max_count = if max_count == 0 { usize::MAX } else { max_count.div_ceil(2) };
    let state = State {
        mode: Mode::Undecided,
        sink: Some(sink),
        sent: 0,
        records: RecordList::default(),
        paused: RecordList::default(),
        kept: None,
        has_token: false,
        is_actor_waiting: false,
    };
    let queue = Arc::new(RecordQueue {
        state: Mutex::new(state),
        max_count,
        sent_records: SentRecords::default(),
        progress: Progress::default(),
        is_read: AtomicBool::new(false),
        has_rest: AtomicBool::new(false),
    });
    Ok((RecordWriter { queue: queue.clone(), file }, RecordReader::new(queue)))
}

/// The actor's end of the queue. Dropping it closes the actor's end of the record pipe.
pub struct RecordWriter {
    queue: Arc<RecordQueue>,
    /// The descriptor of the sink: it becomes readable when the reader has made room.
    file: RawFd,
}

impl RecordWriter {
    /// The item to poll for: it becomes ready when [`RecordWriter::hand_over`] must be called.
    pub(super) fn item(&self) -> Awaited<'_> {
        Awaited::File(self.file)
    }

    /// Hands over records until no record is left, or the queue or the pipe is full. `is_woken`: [`RecordWriter::item`]
    /// may be ready. Returns false when the actor must wait until the item is ready.
    pub(super) fn hand_over(&self, records: &mut RecordList, is_woken: bool) -> Result<bool> {
        // At the end of the process, a thread that uses a socket is parked. It must not hold the lock then.
        exit::park_if_abandoned();
        let mut state = self.queue.lock();
        if !is_woken && self.queue.hand_over(&mut state, records)? {
            return Ok(true);
        }
        // The descriptor becomes ready for the next event only after all earlier events were processed.
        state.read_wakes()?;
        self.queue.hand_over(&mut state, records)
    }
}

impl RecordWriter {
    /// Of the records that the reader has not taken yet, keeps only those of the partitions for which `keeps` returns
    /// true. To be called in queue mode. Afterwards, the pipe may contain the token although no record waits, see
    /// [`RecordReader::retain`].
    pub(super) fn retain(&self, keeps: impl Fn(PartitionName) -> bool) {
        let mut state = self.queue.lock();
        state.records.retain(&keeps);
        state.paused.retain(keeps);
    }

    /// Sets records of a topic aside: first those that the reader has not taken yet, then those of `records`. To be
    /// called in queue mode, see [`RecordReader::pause`].
    pub(super) fn pause(&self, topic: &[u8], records: &mut RecordList, group_by: Option<GroupBy>) {
        let is_of = |name: PartitionName| name.topic == topic;
        let mut state = self.queue.lock();
        let mut waiting = state.records.split(is_of);
        if let Some((slot, group_by)) = state.kept.zip(group_by) {
            let count = waiting.len();
            waiting.remove_slots(Slots::of(slot), group_by, false);
            state.kept.take_if(|_| waiting.len() < count);
        }
        state.paused.append(waiting);
        state.paused.append(records.split(is_of));
    }

    /// The number of records that the reader has not taken yet, of the partitions for which `counts` returns true.
    pub(super) fn waiting_count(&self, counts: impl Fn(PartitionName) -> bool) -> u64 {
        let state = self.queue.lock();
        [&state.records, &state.paused].iter().map(|list| list.count_of(&counts)).sum()
    }

    /// Of the records that were set aside, keeps only those for whose topic `keeps` returns true.
    pub(super) fn retain_paused(&self, keeps: impl Fn(&[u8]) -> bool) {
        self.queue.lock().paused.retain(|name| keeps(name.topic));
    }

    /// The application gets no more records of these slots. `records` are those that were not handed over. To be called in
    /// queue mode. A program that has found the pipe readable must get a record. So the first record that was handed over
    /// stays, and its slot is busy.
    pub(super) fn revoke(&self, slots: Slots, group_by: GroupBy, records: &mut RecordList) {
        exit::park_if_abandoned();
        let mut state = self.queue.lock();
        let kept = state.records.remove_slots(slots, group_by, true);
        state.kept = kept.or(state.kept);
        state.paused.remove_slots(slots, group_by, false);
        records.remove_slots(slots, group_by, false);
    }

    /// The slots of which the application has records that it has not processed, or whose positions were not taken.
    pub(super) fn busy_slots(&self) -> Slots {
        let kept = self.queue.lock().kept.map_or(Slots::NONE, Slots::of);
        self.queue.progress.busy_slots().and(kept)
    }

    /// Asks the application for its positions, and takes those that it has published: for each slot of each partition, the
    /// record to read next. A consumer that is in no group has only the slot 0. Also returns how many commits the
    /// application has requested.
    pub(super) fn take_positions(&self) -> (HashMap<SlotPartition, u64>, u64) {
        self.queue.progress.take()
    }

    /// Stores have confirmed the first `count` commits that the application has requested.
    pub(super) fn confirm(&self, count: u64) {
        self.queue.progress.confirm(count);
    }
}

impl Drop for RecordWriter {
    fn drop(&mut self) {
        self.queue.progress.end();
        let mut state = self.queue.lock();
        let has_rest = state.mode != Mode::Queue && !state.records.is_empty();
        self.queue.has_rest.store(has_rest, Ordering::Release);
        let sink = state.sink.take();
        drop(state);
        // The socket is closed without the lock: at the end of the process, this thread may be parked while it closes
        // the socket.
        drop(sink);
    }
}
