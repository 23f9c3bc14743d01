//! Records in the send queue, and on the way to it.

use crate::actor::command::send_last;
use crate::actor::producer::BATCH;
use crate::actor::{Run, Single};
use crate::net::{Frame, Pipe, unix_ms};
use crate::protocol::producer::cost_bytes;
use crate::wire::batch::{Attributes, Batch, BatchBuilder};
use std::mem;
use std::sync::Arc;

/// The longest record that is copied into a batch. A longer record has its own memory: the allocation takes little time
/// in comparison with a copy of the record.
pub const MAX_COPIED_LEN_BYTES: usize = 16 << 10;

/// A number of records, and the memory that they occupy, see [`cost_bytes`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::actor::producer) struct Volume {
    pub(in crate::actor::producer) count: usize,
    pub(in crate::actor::producer) bytes: u64,
}

impl Volume {
    pub(in crate::actor::producer) fn of(run: &Run) -> Volume {
        let mut volume = Volume::default();
        run.for_each_len_bytes(|len_bytes| volume.add(len_bytes));
        volume
    }

    pub(in crate::actor::producer) fn add(&mut self, len_bytes: usize) {
        self.count += 1;
        self.bytes = self.bytes.saturating_add(cost_bytes(len_bytes));
    }
}

/// A part of the queue.
pub(in crate::actor::producer) enum Entry {
    Batch(BatchBuilder),
    Long(Single),
}

impl Entry {
    /// The records to publish. Records without a timestamp of their own get the present time.
    pub(in crate::actor::producer) fn into_run(self) -> Option<Run> {
        match self {
            Entry::Long(Single { content, timestamp_ms }) => {
                Some(Run::Record(Single { content, timestamp_ms: timestamp_ms.or_else(|| Some(unix_ms())) }))
            }
            Entry::Batch(mut batch) => {
                batch.set_timestamp_ms(Some(unix_ms()));
                Some(batch.finish(Vec::new())?.into())
            }
        }
    }
}

/// A record to send.
pub(in crate::actor::producer) enum Record<'a> {
    /// A short record. It is copied.
    Short(Attributes<'a>, &'a [u8]),
    /// A long record without key and headers, and the record's timestamp. The queue takes the frame without a copy, and
    /// leaves an empty frame. A pipe gets a copy if the record has a timestamp.
    Long(&'a mut Frame, Option<i64>),
    /// A long record with a key or headers, in a batch. The queue takes the batch, and leaves an empty batch.
    Built(&'a mut BatchBuilder),
}

impl<'a> Record<'a> {
    /// The record in a frame, with its own timestamp if it has one.
    pub(in crate::actor::producer) fn of(frame: &'a mut Frame, timestamp_ms: Option<i64>) -> Record<'a> {
        match frame.as_ref().len() > MAX_COPIED_LEN_BYTES {
            true => Record::Long(frame, timestamp_ms),
            false => Record::Short(Attributes { timestamp_ms, ..Attributes::default() }, (*frame).as_ref()),
        }
    }

    fn has_attributes(&self) -> bool {
        match self {
            Record::Short(attributes, _) => !attributes.is_empty(),
            Record::Long(_, timestamp_ms) => timestamp_ms.is_some(),
            Record::Built(_) => true,
        }
    }

    /// The content. After sending, the content of a long record may be empty.
    fn content(&self) -> &[u8] {
        match self {
            Record::Short(_, content) => content,
            Record::Long(frame, _) => (**frame).as_ref(),
            Record::Built(batch) => batch.record(0).map_or(&[], |record| record.content),
        }
    }

    /// The length of key, headers and content.
    pub(in crate::actor::producer) fn len_bytes(&self) -> usize {
        match self {
            Record::Short(attributes, content) => attributes.len_bytes() + content.len(),
            Record::Long(frame, _) => (**frame).as_ref().len(),
            Record::Built(batch) => batch.record(0).map_or(0, |record| record.len_bytes()),
        }
    }

    /// The first frame of the command that publishes this record. Returns `plain` for a record without attributes.
    pub(super) fn command<'c>(&self, plain: &'c [u8]) -> &'c [u8] {
        if self.has_attributes() { BATCH } else { plain }
    }

    /// Sends the last frame of the command that publishes this record.
    pub(super) fn send_last(&mut self, pipe: &Pipe) -> bool {
        match self.has_attributes() {
            true => send_last(pipe, &mut self.take_batch()),
            false => self.send_content(pipe),
        }
    }

    /// Sends the content as the last frame of a command.
    pub(in crate::actor::producer) fn send_content(&mut self, pipe: &Pipe) -> bool {
        match self {
            Record::Long(frame, _) => send_last(pipe, frame),
            _ => send_last(pipe, &mut Frame::copy(self.content())),
        }
    }

    /// Returns the record as a batch of one record.
    fn take_batch(&mut self) -> Frame {
        let mut batch = BatchBuilder::new(Vec::new());
        let pushed = match self {
            Record::Short(attributes, content) => batch.push_with(attributes, content),
            Record::Long(frame, timestamp_ms) => {
                let attributes = Attributes { timestamp_ms: *timestamp_ms, ..Attributes::default() };
                batch.push_with(&attributes, (**frame).as_ref())
            }
            Record::Built(built) => {
                mem::swap(&mut batch, *built);
                Ok(())
            }
        };
        pushed.expect("a valid record fits into an empty batch");
        batch.set_timestamp_ms(Some(unix_ms()));
        let batch = batch.finish(Vec::new()).expect("there is a record");
        Frame::of(Arc::new(batch), Batch::as_octets)
    }
}
