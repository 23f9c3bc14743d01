//! Records of one partition, as a node receives, keeps and publishes them.

use crate::net::Frame;
use crate::protocol::Payload;
use crate::protocol::store::reader::Stored;
use crate::storage::outbox::Kept;
use crate::storage::{AsRecords, Records};
use crate::wire::batch::{
    self, AnyBatch, Attributes, Batch, BatchBuilder, CompressedBatch, Compressor, MAX_UNPACKED_LEN_BYTES,
    OVERHEAD_BYTES, PushError,
};
use std::ops::Range;
use std::sync::Arc;

/// A shorter content is copied into a frame of its own. For a longer content, a frame that shares the batch's memory
/// costs less.
const MIN_SHARED_LEN_BYTES: usize = 4_096;

/// The memory of an entry in the list of kept runs. A list has room for further entries, so this is a little more than
/// the length of an entry.
const ENTRY_BYTES: usize = 96;
/// The memory of a [`Part`]'s batch besides its octets.
const BATCH_BYTES: usize = 128;

/// One or more consecutive records of one partition.
#[derive(Debug)]
pub enum Run {
    /// One record.
    Record(Single),
    /// Records of a batch.
    Batch(Part),
    /// All records of a compressed batch that can be unpacked. Only producers and stores have such runs: a consumer
    /// unpacks a batch when it receives it.
    Compressed(Arc<CompressedBatch<Frame>>),
}

/// A record that is in no batch. It has no key and no headers.
#[derive(Debug)]
pub struct Single {
    /// The content.
    pub content: Frame,
    /// The timestamp, in milliseconds since the Unix epoch.
    pub timestamp_ms: Option<i64>,
}

/// Consecutive records of a batch, at least one.
#[derive(Clone, Debug)]
pub struct Part {
    batch: Arc<Batch<Frame>>,
    /// The index of the first record.
    first: u32,
    count: u32,
}

impl Part {
    fn range(&self) -> Range<usize> {
        self.first as usize..self.first as usize + self.count as usize
    }

    fn is_whole(&self) -> bool {
        self.count as usize == self.batch.count()
    }

    /// How many octets the records of this part occupy in the batch. The batch's header does not count.
    fn len_bytes(&self) -> usize {
        self.batch.area_len_bytes(self.range())
    }

    fn content(&self) -> &[u8] {
        self.batch.record(self.first as usize).map_or(&[], |record| record.content)
    }

    /// The content of the first record, in a frame of its own.
    fn into_content(self) -> Frame {
        match self.content().len() {
            0..MIN_SHARED_LEN_BYTES => Frame::copy(self.content()),
            _ => Frame::of(Arc::new(self), Part::content),
        }
    }

    fn for_each_record(&self, each: impl FnMut(batch::Record)) {
        self.range().filter_map(|index| self.batch.record(index)).for_each(each);
    }

    /// Copies the records into a batch of their own.
    fn copy(&self) -> Option<Part> {
        Some(Part::from(self.batch.copy(self.range())?))
    }
}

impl From<Batch<Vec<u8>>> for Part {
    fn from(batch: Batch<Vec<u8>>) -> Part {
        // The batch may be kept for long, so it gets memory of its own length.
        Part::from(batch.map(frame_of))
    }
}

/// A frame of its own with these octets.
fn frame_of(mut octets: Vec<u8>) -> Frame {
    match octets.len() {
        0..MIN_SHARED_LEN_BYTES => Frame::copy(&octets),
        _ => {
            octets.shrink_to_fit();
            Frame::of(Arc::new(octets), Vec::as_slice)
        }
    }
}

impl From<Batch<Frame>> for Part {
    fn from(batch: Batch<Frame>) -> Part {
        // A batch has less than 2^32 octets, and a record takes more than one.
        Part { first: 0, count: batch.count() as u32, batch: Arc::new(batch) }
    }
}

impl Run {
    /// A single record with its attributes. The content is copied only if there are a key or headers.
    ///
    /// # Errors
    /// When the attributes or the content are too long.
    pub fn single(content: Frame, attributes: &Attributes) -> Result<Run, PushError> {
        if !attributes.has_key_or_headers() {
            return Ok(Run::Record(Single { content, timestamp_ms: attributes.timestamp_ms }));
        }
        let mut builder = BatchBuilder::new(Vec::new());
        builder.push_with(attributes, content.as_ref())?;
        Ok(builder.finish(Vec::new()).expect("there is a record").into())
    }

    /// The content of the first record of a consumer's run.
    pub fn content(&self) -> &[u8] {
        match self {
            Run::Record(Single { content, .. }) => content.as_ref(),
            Run::Batch(part) => part.content(),
            Run::Compressed(_) => unreachable!("a consumer has unpacked the batch"),
        }
    }

    /// The first record of a run that is not compressed, with its attributes.
    pub fn first(&self) -> Option<batch::Record<'_>> {
        match self {
            Run::Record(Single { content, timestamp_ms }) => {
                Some(batch::Record { timestamp_ms: *timestamp_ms, ..content.as_ref().into() })
            }
            Run::Batch(part) => part.batch.record(part.first as usize),
            Run::Compressed(_) => unreachable!("the batch was unpacked"),
        }
    }

    /// The content of the first record, in a frame of its own.
    pub fn into_content(self) -> Frame {
        match self {
            Run::Record(Single { content, .. }) => content,
            Run::Batch(part) => part.into_content(),
            Run::Compressed(batch) => unpack(&batch).into_content(),
        }
    }

    /// A second handle to the first record.
    pub fn share_first(&mut self) -> Run {
        match self {
            Run::Record(single) => Run::Record(Single { content: single.content.share(), ..*single }),
            Run::Batch(part) => Run::Batch(Part { count: 1, ..part.clone() }),
            Run::Compressed(_) => unreachable!("a consumer has unpacked the batch"),
        }
    }

    /// Passes the content of the first record to `call`, which may take it out of the frame.
    pub fn with_first<T>(&mut self, call: impl FnOnce(&mut Frame) -> T) -> T {
        match self {
            Run::Record(Single { content, .. }) => call(content),
            Run::Batch(part) => call(&mut part.clone().into_content()),
            Run::Compressed(batch) => call(&mut unpack(batch).into_content()),
        }
    }

    /// The records as one batch. `None` for a record that is in no batch.
    pub fn into_batch(self) -> Option<Frame> {
        match self {
            Run::Record(_) => None,
            Run::Batch(part) => {
                let whole = if part.is_whole() { part } else { part.copy()? };
                Some(Frame::of(whole.batch, Batch::as_octets))
            }
            Run::Compressed(batch) => Some(Frame::of(batch, CompressedBatch::as_octets)),
        }
    }

    /// The records as a compressed batch, if that is shorter.
    pub fn compressed(self, compressor: &mut Compressor) -> Run {
        let compressed = match &self {
            Run::Record(single) => batch_of_one(single)
                .and_then(|batch| compressor.compress(&batch))
                // The batch adds a header.
                .filter(|batch| batch.as_octets().len() < single.content.as_ref().len()),
            Run::Batch(part) if part.is_whole() => compressor.compress(&part.batch),
            Run::Batch(_) | Run::Compressed(_) => None,
        };
        compressed.map_or(self, Run::from)
    }

    /// Passes the length of each record to `each`, in order. The length counts key, headers and content.
    pub fn for_each_len_bytes(&self, mut each: impl FnMut(usize)) {
        match self {
            Run::Record(Single { content, .. }) => each(content.as_ref().len()),
            Run::Batch(part) => part.for_each_record(|record| each(record.len_bytes())),
            Run::Compressed(batch) => unpack(batch).for_each_record(|record| each(record.len_bytes())),
        }
    }

    /// Removes and returns the first record. If the run has only one record, keeps it and returns `None`.
    pub fn pop_first(&mut self) -> Option<Run> {
        match self {
            Run::Batch(part) if part.count > 1 => {
                let first = Part { count: 1, ..part.clone() };
                (part.first, part.count) = (part.first + 1, part.count - 1);
                Some(Run::Batch(first))
            }
            _ => None,
        }
    }
}

impl From<Batch<Frame>> for Run {
    fn from(batch: Batch<Frame>) -> Run {
        Run::Batch(batch.into())
    }
}

impl From<Batch<Vec<u8>>> for Run {
    fn from(batch: Batch<Vec<u8>>) -> Run {
        Run::Batch(batch.into())
    }
}

impl From<CompressedBatch<Frame>> for Run {
    /// The batch must be one that can be unpacked.
    fn from(batch: CompressedBatch<Frame>) -> Run {
        Run::Compressed(Arc::new(batch))
    }
}

impl From<CompressedBatch<Vec<u8>>> for Run {
    /// As for a batch in a frame.
    fn from(batch: CompressedBatch<Vec<u8>>) -> Run {
        batch.map(|octets| Frame::of(Arc::new(octets), Vec::as_slice)).into()
    }
}

impl From<Kept> for Run {
    /// The records of an outbox. A producer has written them, so a compressed batch can be unpacked.
    fn from(kept: Kept) -> Run {
        match kept {
            Kept::One(content, timestamp_ms) => {
                Run::Record(Single { content: frame_of(content), timestamp_ms })
            }
            Kept::Batch(AnyBatch::Plain(batch)) => batch.into(),
            Kept::Batch(AnyBatch::Compressed(batch)) => batch.into(),
        }
    }
}

impl From<Frame> for Run {
    fn from(content: Frame) -> Run {
        Run::Record(Single { content, timestamp_ms: None })
    }
}

/// A batch of one record. `None` for a record that cannot become shorter in a compressed batch.
fn batch_of_one(single: &Single) -> Option<Batch<Vec<u8>>> {
    let content = single.content.as_ref();
    let lens = OVERHEAD_BYTES..MAX_UNPACKED_LEN_BYTES;
    if !lens.contains(&content.len()) {
        return None;
    }
    let mut builder = BatchBuilder::new(Vec::new());
    builder.push(content).ok()?;
    builder.set_timestamp_ms(single.timestamp_ms);
    builder.finish(Vec::new())
}

/// The records of a compressed batch.
fn unpack(batch: &CompressedBatch<Frame>) -> Part {
    // This node has compressed the batch, or has unpacked it when it received it.
    Part::from(batch.unpack(Vec::new()).expect("the batch can be unpacked"))
}

impl AsRecords for Run {
    fn as_records(&self) -> Records<'_> {
        match self {
            Run::Record(Single { content, timestamp_ms }) => Records::One(content.as_ref(), *timestamp_ms),
            Run::Batch(part) => Records::Of(part.batch.borrowed(), part.range()),
            Run::Compressed(batch) => Records::Compressed(batch.borrowed()),
        }
    }
}

impl Stored for Run {
    fn of_record(record: batch::Record) -> Run {
        let run = Run::single(Frame::copy(record.content), &record.attributes());
        run.expect("a stored record has a valid length")
    }

    fn of_batch(batch: AnyBatch<&[u8]>) -> Run {
        match batch {
            AnyBatch::Plain(batch) => batch.map(Frame::copy).into(),
            AnyBatch::Compressed(batch) => batch.map(Frame::copy).into(),
        }
    }
}

impl Payload for Run {
    fn share(&mut self) -> Run {
        match self {
            Run::Record(single) => Run::Record(Single { content: single.content.share(), ..*single }),
            Run::Batch(part) => Run::Batch(part.clone()),
            Run::Compressed(batch) => Run::Compressed(batch.clone()),
        }
    }

    /// For a batch, the length includes the attributes of the records and their entries in the batch's table.
    fn len_bytes(&self) -> usize {
        match self {
            Run::Record(Single { content, .. }) => content.as_ref().len(),
            Run::Batch(part) => part.len_bytes(),
            Run::Compressed(batch) => batch.as_octets().len(),
        }
    }

    fn for_each_content(&self, mut each: impl FnMut(&[u8])) {
        match self {
            Run::Record(Single { content, .. }) => each(content.as_ref()),
            Run::Batch(part) => part.for_each_record(|record| each(record.content)),
            Run::Compressed(batch) => unpack(batch).for_each_record(|record| each(record.content)),
        }
    }

    fn for_each_key(&self, mut each: impl FnMut(&[u8])) {
        match self {
            Run::Record(_) => each(b""),
            Run::Batch(part) => part.for_each_record(|record| each(record.key.unwrap_or_default())),
            Run::Compressed(batch) => {
                unpack(batch).for_each_record(|record| each(record.key.unwrap_or_default()))
            }
        }
    }

    fn longest_content_bytes(&self) -> usize {
        if let Run::Compressed(batch) = self {
            return batch.mean_record_len_bytes();
        }
        let mut longest_bytes = 0;
        self.for_each_content(|content| longest_bytes = content.len().max(longest_bytes));
        longest_bytes
    }

    fn record_count(&self) -> u64 {
        match self {
            Run::Record(_) => 1,
            Run::Batch(part) => u64::from(part.count),
            Run::Compressed(batch) => batch.count() as u64,
        }
    }

    /// Not known for a compressed batch, which no consumer has.
    fn timestamp_ms(&self, number: u64) -> Option<i64> {
        match self {
            Run::Record(single) => single.timestamp_ms,
            Run::Batch(part) => part.batch.record(part.first as usize + number as usize)?.timestamp_ms,
            Run::Compressed(_) => None,
        }
    }

    fn is_batch(&self) -> bool {
        matches!(self, Run::Batch(_) | Run::Compressed(_))
    }

    fn unpack(self) -> Run {
        match self {
            Run::Compressed(batch) => Run::Batch(unpack(&batch)),
            run => run,
        }
    }

    fn kept_bytes(&self) -> u64 {
        let bytes = match self {
            Run::Record(Single { content, .. }) => ENTRY_BYTES + Frame::outer_bytes(content.as_ref().len()),
            // Each part keeps the whole batch.
            Run::Batch(part) => ENTRY_BYTES + BATCH_BYTES + Frame::outer_bytes(part.batch.as_octets().len()),
            Run::Compressed(batch) => ENTRY_BYTES + BATCH_BYTES + Frame::outer_bytes(batch.as_octets().len()),
        };
        bytes as u64
    }

    fn split_at(self, count: u64) -> (Run, Run) {
        let Run::Batch(part) = self.unpack() else { unreachable!("one record is not split at {count}") };
        let count = count as u32;
        let rest = Part { first: part.first + count, count: part.count - count, ..part.clone() };
        (Run::Batch(Part { count, ..part }), Run::Batch(rest))
    }

    /// Copies the records in two cases. First: their batch is more than twice as long as the records, and would stay in
    /// memory with them. Second: the batch may be in a read buffer of libzmq, and the buffer would stay in memory with
    /// the batch.
    fn into_own_memory(self) -> Run {
        match self {
            Run::Record(single) => {
                Run::Record(Single { content: single.content.into_own_memory(), ..single })
            }
            Run::Batch(part) => {
                let octets = part.batch.as_octets().len();
                let is_small_part = part.len_bytes() < octets / 2;
                let is_copied = is_small_part || Frame::may_be_in_read_buffer(octets);
                Run::Batch(if is_copied { part.copy().unwrap_or(part) } else { part })
            }
            Run::Compressed(batch) => match Frame::may_be_in_read_buffer(batch.as_octets().len()) {
                true => batch.borrowed().map(Frame::copy).into(),
                false => Run::Compressed(batch),
            },
        }
    }
}
