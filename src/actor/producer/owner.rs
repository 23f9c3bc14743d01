//! Functions for the owner of a producer, called in the owner's thread. `pipe` is the owner's end of the actor's pipe.

use super::send_queue::{Flushed, MAX_COPIED_LEN_BYTES, Record, SendQueue};
use super::{GET_ADDRESS, PRODUCER};
use crate::actor::command::{Ended, send_command};
use crate::net::{Frame, Pipe, is_signal};
use crate::wire::batch::{Attributes, BatchBuilder, MAX_BLOCK_LEN, OVERHEAD_BYTES, PushError};
use std::sync::Arc;
use std::time::Duration;

/// A record is not published, because it is too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a record of {len_bytes} bytes is not published: it is longer than producer/max_record_bytes = {limit_bytes}"
)]
pub struct TooLong {
    /// The record's length.
    pub len_bytes: usize,
    /// The length of the longest record that is published.
    pub limit_bytes: usize,
}

/// Why a record was not sent.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// The producer has ended.
    #[error(transparent)]
    Ended(#[from] Ended),
    /// There is no memory for a copy of the record.
    #[error("out of memory")]
    OutOfMemory,
    /// The record's attributes or content are too long.
    #[error(transparent)]
    Refused(#[from] PushError),
}

/// Requests the partition's name from the producer. The result points to a NUL-terminated string that lives as long as
/// the actor.
///
/// # Errors
/// When the producer has ended.
pub fn address(pipe: &Pipe) -> Result<*const u8, Ended> {
    if !pipe.wait_until_ready() {
        return Err(Ended);
    }
    let mut request = Frame::copy(GET_ADDRESS);
    while !pipe.try_send(&mut request, false).map_err(|_| Ended)? {
        if !pipe.wait_for_room() {
            return Err(Ended);
        }
    }
    let mut answer = Frame::new();
    while pipe.wait_for_message() {
        if !pipe.try_recv(&mut answer).map_err(|_| Ended)? {
            continue;
        }
        let pointer: Result<[u8; size_of::<usize>()], _> = answer.as_ref().try_into();
        match pointer {
            Ok(pointer) if !is_signal(&answer) => return Ok(usize::from_ne_bytes(pointer) as *const u8),
            // This is the actor's ready signal. It is still in the pipe if a Unix signal has interrupted
            // `wait_until_ready`. It is not the actor's last signal, which comes only after the actor's end.
            Ok(_) if pipe.has_actor() => {}
            _ => break,
        }
    }
    // The producer has ended, and its last signal may have been read here. zactor_destroy must not wait for that
    // signal. It does not wait if the pipe is closed, and the pipe is closed right after the signal.
    pipe.wait_until_closed();
    Err(Ended)
}

/// The owner's end of a producer's pipe, ready for records.
pub struct RecordPipe<'a> {
    pipe: &'a Pipe,
    /// `None` when the producer has ended, when a Unix signal has interrupted the wait for its start, or when the actor
    /// is of another class. Without a queue, records are sent through the pipe. If the producer has ended, sending
    /// fails.
    queue: Option<Arc<SendQueue>>,
}

impl<'a> RecordPipe<'a> {
    /// Waits until the producer is ready.
    pub fn new(pipe: &'a Pipe) -> RecordPipe<'a> {
        RecordPipe { pipe, queue: pipe.shared() }
    }

    /// Checks a record's length before it is sent to the producer.
    ///
    /// # Errors
    /// When the record is longer than the producer publishes.
    pub fn check_len(&self, len_bytes: usize) -> Result<(), TooLong> {
        match self.queue.as_ref().map(|queue| queue.max_record_len_bytes()) {
            Some(limit_bytes) if len_bytes > limit_bytes => Err(TooLong { len_bytes, limit_bytes }),
            _ => Ok(()),
        }
    }

    /// Sends a record to the producer, with its own timestamp if it has one. Waits while there is no room, as long as
    /// `is_patient` returns true. Returns false when the record was not sent. When a long record was sent, `content`
    /// may be empty afterwards.
    ///
    /// # Errors
    /// When the producer has ended.
    pub fn send_while(
        &self,
        content: &mut Frame,
        timestamp_ms: Option<i64>,
        is_patient: &mut dyn FnMut() -> bool,
    ) -> Result<bool, Ended> {
        self.send_record(Record::of(content, timestamp_ms), is_patient)
    }

    /// As [`RecordPipe::send_while`], but copies the record, which may have any attributes. Without a queue, the actor
    /// gets only the content.
    ///
    /// # Errors
    /// See [`SendError`].
    pub fn send_copy_while(
        &self,
        attributes: Attributes,
        content: &[u8],
        is_patient: &mut dyn FnMut() -> bool,
    ) -> Result<bool, SendError> {
        attributes.check()?;
        let mut batch;
        let record = match content.len() <= MAX_COPIED_LEN_BYTES {
            true => Record::Short(attributes, content),
            // A long record is copied here, without the lock of the queue.
            false => {
                let mut buffer = Vec::new();
                let len_bytes = OVERHEAD_BYTES + MAX_BLOCK_LEN + content.len();
                buffer.try_reserve_exact(len_bytes).map_err(|_| SendError::OutOfMemory)?;
                batch = BatchBuilder::new(buffer);
                batch.push_with(&attributes, content)?;
                Record::Built(&mut batch)
            }
        };
        Ok(self.send_record(record, is_patient)?)
    }

    fn send_record(&self, mut record: Record, is_patient: &mut dyn FnMut() -> bool) -> Result<bool, Ended> {
        match &self.queue {
            Some(queue) => queue.send(self.pipe, PRODUCER.command, record, is_patient),
            None => {
                send_command(self.pipe, PRODUCER.command, |pipe| record.send_content(pipe)).map(|()| true)
            }
        }
    }

    /// Waits until all records that were sent before are acknowledged. Stops waiting after `timeout`, and
    /// when `is_patient` returns false. If records travel through the pipe, the wait may exceed `timeout`.
    ///
    /// # Errors
    /// When the producer has ended, or there is no queue, see `RecordPipe::queue`.
    pub fn flush(
        &self,
        timeout: Option<Duration>,
        is_patient: &mut dyn FnMut() -> bool,
    ) -> Result<Flushed, Ended> {
        self.queue()?.flush(self.pipe, timeout, is_patient)
    }

    /// How many of the records that were sent are not acknowledged.
    ///
    /// # Errors
    /// When the producer has ended, or there is no queue, see `RecordPipe::queue`.
    pub fn unacked_count(&self) -> Result<u64, Ended> {
        self.queue()?.unacked_count()
    }

    /// The offset of the latest acknowledged record in the current partition, if any.
    ///
    /// # Errors
    /// When the producer has ended, or there is no queue, see `RecordPipe::queue`.
    pub fn acked_head(&self) -> Result<Option<u64>, Ended> {
        self.queue()?.acked_head()
    }

    /// Whether the actor at the other end is a running producer.
    pub fn is_of_producer(&self) -> bool {
        self.queue.is_some()
    }

    fn queue(&self) -> Result<&SendQueue, Ended> {
        self.queue.as_deref().ok_or(Ended)
    }

    /// Sends a command that carries a record of `len_bytes`. `rest` sends the frames after the first one; it must not
    /// wait, see [`send_last`](crate::actor::command::send_last).
    ///
    /// # Errors
    /// When the producer has ended.
    pub fn send_command(
        &self,
        command: &[u8],
        len_bytes: usize,
        rest: impl FnMut(&Pipe) -> bool,
    ) -> Result<(), Ended> {
        match &self.queue {
            Some(queue) => queue.send_through_pipe(self.pipe, command, len_bytes, rest),
            None => send_command(self.pipe, command, rest),
        }
    }
}
