//! A batch: consecutive records of one partition in one buffer.
//!
//! The same bytes are a producer's buffer, the content frame of a message, and a value in a store's database.
//! doc/batch-format.md describes the layout and the limits.
//!
//! [`BatchBuilder`] appends records to a buffer. [`Batch::check`] checks any octets once. The check takes time in
//! proportion to their length, and allocates no memory. Afterwards, finding a record takes constant time, and reading
//! the record cannot fail.
//!
//! A [`Compressor`] compresses a finished batch. [`AnyBatch::check`] checks batches of both kinds, and
//! [`CompressedBatch::unpack`] makes a [`Batch`] of a compressed one.
//!
//! ```
//! use dafka::wire::batch::{Attributes, Batch, BatchBuilder};
//!
//! let mut builder = BatchBuilder::new(Vec::new());
//! builder.push_with(&Attributes { key: Some(b"key"), ..Attributes::default() }, b"one")?;
//! builder.push(b"two")?;
//! let built = builder.finish(Vec::new()).expect("there are records");
//!
//! let batch = Batch::check(built.as_octets())?;
//! assert_eq!(batch.record(1).map(|record| record.content), Some(&b"two"[..]));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod attributes;
mod builder;
mod compression;
mod error;
mod header;
mod merge;
mod packing;

pub use attributes::{Attributes, Headers, HeadersBuf, HeadersIter, MAX_BLOCK_LEN, MAX_KEY_LEN_BYTES};
pub use builder::BatchBuilder;
pub use compression::{AnyBatch, CompressedBatch, Compression, Compressor};
pub use error::{AttributesFault, BatchError, PushError};
pub use merge::{Merge, SHORT_LEN_BYTES};
pub use packing::Packing;

use header::{HEADER_LEN, Header};
use std::fmt;
use std::ops::Range;

/// The longest content of a record (1 GiB). A store writes a batch with one system call, and Linux writes less than 2
/// GiB with one call.
pub const MAX_CONTENT_LEN_BYTES: usize = 1 << 30;

/// The greatest length of a batch that a producer puts several records into. Together with 16 octets that LMDB puts in
/// front, and 8 octets after the batch that are reserved for the store, a batch of this length fills 16 pages of 4096
/// octets. Of the 8 octets, a store uses 4.
pub const FULL_LEN_BYTES: usize = 16 * 4096 - 16 - 8;

/// The greatest unpacked length of a batch with several records that a decoder accepts.
pub const MAX_SHARED_LEN_BYTES: usize = 1 << 20;

/// The longest area of a compressed batch, unpacked.
pub const MAX_UNPACKED_LEN_BYTES: usize = 64 << 20;

/// The greatest length of a batch: one record with all attributes and the longest content.
pub const MAX_LEN_BYTES: usize = HEADER_LEN + attributes::MAX_BLOCK_LEN + MAX_CONTENT_LEN_BYTES + END_LEN;

/// How many octets of a batch with one record do not belong to the record.
pub const OVERHEAD_BYTES: usize = HEADER_LEN + END_LEN;

/// The length of an entry in the table of ends.
const END_LEN: usize = 4;

// Every length and every end fits into 4 octets. One `write` of Linux can write the longest batch.
const _: () = assert!(MAX_LEN_BYTES < 0x7fff_f000);

/// A batch that was checked, and that is not compressed. `B` holds the octets, for example `&[u8]`, `Vec<u8>`, or a
/// message of the network layer.
#[derive(Clone, Copy)]
pub struct Batch<B> {
    octets: B,
    count: usize,
    /// Where the table of ends begins in `octets`.
    table: usize,
    timestamp_ms: Option<i64>,
    has_attributes: bool,
}

/// A record of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// The record's own timestamp, or else the timestamp of the batch, in milliseconds since the Unix epoch. It is the
    /// time at which the record was published, unless the application has set another time.
    pub timestamp_ms: Option<i64>,
    /// The key. An empty key differs from no key.
    pub key: Option<&'a [u8]>,
    /// The headers, in the order in which they were added.
    pub headers: Headers<'a>,
    /// The content.
    pub content: &'a [u8],
}

impl<'a> From<&'a [u8]> for Record<'a> {
    /// A record without attributes.
    fn from(content: &'a [u8]) -> Record<'a> {
        Record { timestamp_ms: None, key: None, headers: Headers::default(), content }
    }
}

impl<'a> Record<'a> {
    /// All attributes.
    pub fn attributes(&self) -> Attributes<'a> {
        let Self { timestamp_ms, key, headers, .. } = *self;
        Attributes { timestamp_ms, key, headers }
    }

    /// The number of octets of key, headers and content.
    pub fn len_bytes(&self) -> usize {
        self.attributes().len_bytes() + self.content.len()
    }
}

impl<B: AsRef<[u8]>> Batch<B> {
    /// Checks a whole batch, which is not compressed. [`AnyBatch::check`] takes both kinds.
    ///
    /// # Errors
    ///
    /// The reason why the octets are not such a batch.
    pub fn check(octets: B) -> Result<Self, BatchError> {
        let header = Header::read(octets.as_ref())?;
        match header.compression {
            None => Self::with_header(octets, header),
            Some(compression) => Err(BatchError::Compressed(compression)),
        }
    }

    /// Checks the records of a batch whose header was checked. The batch is not compressed.
    fn with_header(octets: B, header: Header) -> Result<Self, BatchError> {
        let area = octets.as_ref().get(HEADER_LEN..).unwrap_or_default();
        // The header was checked: the table for its count of records fits into the area.
        let (records, table) = area.split_at(area.len() - header.count as usize * END_LEN);
        check_records(records, table, header.has_attributes)?;
        let table = HEADER_LEN + records.len();
        Ok(Self::of_parts(octets, table, &header))
    }

    /// A valid batch with this header, whose table of ends begins at `table`.
    fn of_parts(octets: B, table: usize, header: &Header) -> Self {
        let Header { timestamp_ms, has_attributes, count, .. } = *header;
        Self { octets, count: count as usize, table, timestamp_ms, has_attributes }
    }

    /// The header.
    fn header(&self) -> Header {
        let Self { count, timestamp_ms, has_attributes, .. } = *self;
        let area_len = (self.as_octets().len() - HEADER_LEN) as u32;
        Header { compression: None, timestamp_ms, has_attributes, count: count as u32, area_len }
    }

    /// The number of records, at least 1.
    pub fn count(&self) -> usize {
        self.count
    }

    /// The timestamp of all records that have none of their own, in milliseconds since the Unix epoch.
    pub fn timestamp_ms(&self) -> Option<i64> {
        self.timestamp_ms
    }

    /// Whether the records have attribute blocks. A block may be empty.
    pub fn has_attributes(&self) -> bool {
        self.has_attributes
    }

    /// The whole batch.
    pub fn as_octets(&self) -> &[u8] {
        self.octets.as_ref()
    }

    /// The same batch, without the ownership of its octets.
    pub fn borrowed(&self) -> Batch<&[u8]> {
        let Self { count, table, timestamp_ms, has_attributes, .. } = *self;
        Batch { octets: self.as_octets(), count, table, timestamp_ms, has_attributes }
    }

    /// The container of the octets.
    pub fn into_octets(self) -> B {
        self.octets
    }

    /// The same batch with its octets in another container. `convert` must not change the octets.
    pub fn map<C: AsRef<[u8]>>(self, convert: impl FnOnce(B) -> C) -> Batch<C> {
        let Batch { octets, count, table, timestamp_ms, has_attributes } = self;
        Batch { octets: convert(octets), count, table, timestamp_ms, has_attributes }
    }

    /// How many octets some of the records occupy in the batch, including their attributes and their entries in the
    /// table of ends. The range is cut to the records that exist.
    pub fn area_len_bytes(&self, records: Range<usize>) -> usize {
        let count = records.end.min(self.count).saturating_sub(records.start);
        self.span(records).len() + count * END_LEN
    }

    /// A new batch of some of the records, with the same timestamp and attributes. `None` when the range contains no
    /// record.
    pub fn copy(&self, records: Range<usize>) -> Option<Batch<Vec<u8>>> {
        let (start, end) = (records.start.min(self.count), records.end.min(self.count));
        let span = self.span(start..end);
        let ends = (start..end).map(|index| (self.end(index) - span.start) as u32);
        let octets = self.octets.as_ref().get(HEADER_LEN + span.start..HEADER_LEN + span.end)?;
        build(octets, ends, self.timestamp_ms, self.has_attributes)
    }

    /// Where some of the records are, counted from the start of the area.
    fn span(&self, records: Range<usize>) -> Range<usize> {
        let (start, end) = (records.start.min(self.count), records.end.min(self.count));
        let begin = start.checked_sub(1).map_or(0, |before| self.end(before));
        begin..end.checked_sub(1).map_or(0, |last| self.end(last)).max(begin)
    }

    /// The end of the record with this index, which must exist.
    fn end(&self, index: usize) -> usize {
        let (ends, _) = self.octets.as_ref().get(self.table..).unwrap_or_default().as_chunks::<END_LEN>();
        ends.get(index).map_or(0, offset)
    }

    /// The record with this index, from 0; `None` after the last one.
    pub fn record(&self, index: usize) -> Option<Record<'_>> {
        // The check found all of this valid.
        let (records, table) = self.octets.as_ref().split_at_checked(self.table)?;
        record(records.get(HEADER_LEN..)?, table, index, self.has_attributes, self.timestamp_ms)
    }

    /// All records, in order.
    pub fn records(&self) -> impl Iterator<Item = Record<'_>> {
        (0..self.count).filter_map(|index| self.record(index))
    }
}

impl<B> fmt::Debug for Batch<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Without the octets, which may be long.
        f.debug_struct("Batch")
            .field("count", &self.count)
            .field("timestamp_ms", &self.timestamp_ms)
            .field("has_attributes", &self.has_attributes)
            .finish_non_exhaustive()
    }
}

/// A batch of the records in `octets`, which end at `ends`. `None` without records.
fn build(
    octets: &[u8],
    ends: impl ExactSizeIterator<Item = u32>,
    timestamp_ms: Option<i64>,
    has_attributes: bool,
) -> Option<Batch<Vec<u8>>> {
    let (count, table) = (ends.len(), HEADER_LEN + octets.len());
    let mut batch = Vec::with_capacity(table + count * END_LEN);
    batch.resize(HEADER_LEN, 0);
    batch.extend_from_slice(octets);
    ends.for_each(|end| batch.extend_from_slice(&end.to_be_bytes()));
    let area_len = (batch.len() - HEADER_LEN) as u32;
    let header = Header { compression: None, timestamp_ms, has_attributes, count: count as u32, area_len };
    header.write(&mut batch);
    (count > 0).then_some(Batch { octets: batch, count, table, timestamp_ms, has_attributes })
}

/// Checks the records of a batch and their table.
fn check_records(records: &[u8], table: &[u8], has_attributes: bool) -> Result<(), BatchError> {
    let (ends, _) = table.as_chunks::<END_LEN>();
    let mut begin = 0;
    for (index, end) in ends.iter().map(offset).enumerate() {
        let record = records.get(begin..end).ok_or(BatchError::End { index })?;
        let content = if has_attributes {
            let (attributes, content) =
                Attributes::split(record).map_err(|fault| BatchError::Attributes { index, fault })?;
            if !attributes.headers.are_valid() {
                return Err(BatchError::Headers { index });
            }
            content
        } else {
            record
        };
        if content.len() > MAX_CONTENT_LEN_BYTES {
            return Err(BatchError::TooLong);
        }
        begin = end;
    }
    if begin == records.len() { Ok(()) } else { Err(BatchError::LastEnd) }
}

/// The record with this index. `records` and `table` must be valid, as after a check. `None` for an index after the
/// last record.
fn record<'a>(
    records: &'a [u8],
    table: &[u8],
    index: usize,
    has_attributes: bool,
    timestamp_ms: Option<i64>,
) -> Option<Record<'a>> {
    let (ends, _) = table.as_chunks::<END_LEN>();
    let end = offset(ends.get(index)?);
    let begin = match index.checked_sub(1) {
        Some(before) => offset(ends.get(before)?),
        None => 0,
    };
    let record = records.get(begin..end)?;
    if !has_attributes {
        return Some(Record { timestamp_ms, ..Record::from(record) });
    }
    let (attributes, content) = Attributes::split(record).ok()?;
    let Attributes { timestamp_ms: own_ms, key, headers } = attributes;
    Some(Record { timestamp_ms: own_ms.or(timestamp_ms), key, headers, content })
}

/// The number in an entry of the table of ends.
fn offset(end: &[u8; END_LEN]) -> usize {
    u32::from_be_bytes(*end) as usize
}
