//! Records in the send queue, and on the way to it.

use crate::actor::Run;
use crate::actor::command::send_last;
use crate::net::{Frame, Pipe, unix_ms};
use crate::protocol::producer::cost_bytes;
use crate::wire::batch::BatchBuilder;

/// The longest record that is copied into a batch. The allocation of a longer one takes little time for its length.
pub const MAX_COPIED_LEN_BYTES: usize = 16 << 10;

/// A number of records, and the memory that they occupy, see [`cost_bytes`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::actor::producer) struct Volume {
    pub(in crate::actor::producer) count: usize,
    pub(in crate::actor::producer) bytes: u64,
}

impl Volume {
    pub(in crate::actor::producer) fn add(&mut self, len_bytes: usize) {
        self.count += 1;
        self.bytes = self.bytes.saturating_add(cost_bytes(len_bytes));
    }
}

/// A part of the queue.
pub(in crate::actor::producer) enum Entry {
    Batch(BatchBuilder),
    Long(Frame),
}

impl Entry {
    /// The records to publish, with the present time.
    pub(in crate::actor::producer) fn into_run(self) -> Option<Run> {
        match self {
            Entry::Long(frame) => Some(Run::Record(frame)),
            Entry::Batch(mut batch) => {
                batch.set_timestamp_ms(Some(unix_ms()));
                Some(batch.finish(Vec::new())?.into())
            }
        }
    }
}

/// A record to send.
pub(in crate::actor::producer) enum Record<'a> {
    /// A record of at most [`MAX_COPIED_LEN_BYTES`], which is copied.
    Short(&'a [u8]),
    /// A record that keeps its memory. The frame is empty when the record was sent.
    Long(&'a mut Frame),
}

impl<'a> Record<'a> {
    /// The record in a frame.
    pub(in crate::actor::producer) fn of(frame: &'a mut Frame) -> Record<'a> {
        match frame.as_ref().len() {
            0..=MAX_COPIED_LEN_BYTES => Record::Short((*frame).as_ref()),
            _ => Record::Long(frame),
        }
    }

    pub(in crate::actor::producer) fn len_bytes(&self) -> usize {
        match self {
            Record::Short(content) => content.len(),
            Record::Long(frame) => frame.as_ref().len(),
        }
    }

    /// Sends the record as the last frame of a command.
    pub(in crate::actor::producer) fn send_last(&mut self, pipe: &Pipe) -> bool {
        match self {
            Record::Short(content) => send_last(pipe, &mut Frame::copy(content)),
            Record::Long(frame) => send_last(pipe, frame),
        }
    }
}
