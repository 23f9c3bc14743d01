//! Reads the records of one partition from one snapshot, one by one or in batches.

use std::ops::{ControlFlow, Range};

use super::chunk::Chunk;
use super::engine::{Snapshot, Table};
use super::keys::{PartitionId, PartitionKey, PartitionName, record_key, split_record_key};
use super::partitions::find_value;
use super::value::Value;
use crate::wire::batch::{AnyBatch, Batch, FULL_LEN_BYTES, Merge, Packing, Record, SHORT_LEN_BYTES};

/// One read: its first record and its limits.
pub struct Limited<'a> {
    /// The first record.
    pub from: u64,
    /// The greatest number of records.
    pub max_count: u64,
    /// The greatest length of all keys, headers and contents together. The first record is delivered even if it is
    /// longer.
    pub max_len_bytes: usize,
    /// Called with the offset of each record, and the record. It returns false to stop.
    pub each: &'a mut dyn FnMut(u64, Record) -> bool,
}

/// Why records could not be read.
#[derive(Debug)]
pub enum Unread<E> {
    /// The error of the engine.
    Engine(E),
    /// Records are damaged or missing.
    Corrupt {
        /// The partition's number.
        id: PartitionId,
        /// The first record that cannot be read.
        offset: u64,
        /// What is wrong with the record.
        reason: &'static str,
    },
}

impl<E> From<E> for Unread<E> {
    fn from(error: E) -> Unread<E> {
        Unread::Engine(error)
    }
}

/// One read in batches: its first record and its limits.
pub struct LimitedBatches<'a> {
    /// The first record.
    pub from: u64,
    /// The greatest number of records. The last batch may exceed it.
    pub max_count: u64,
    /// The greatest length of all batches together. The first batch is delivered even if it is longer.
    pub max_len_bytes: usize,
    /// Called with each batch. It returns false to stop.
    pub each: &'a mut dyn FnMut(StoredBatch<'_>) -> bool,
}

/// A batch that was read and checked.
#[derive(Clone, Copy, Debug)]
pub struct StoredBatch<'a> {
    /// The offset of the first record.
    pub first_offset: u64,
    /// The batch.
    pub batch: AnyBatch<&'a [u8]>,
}

/// Delivers records of a partition in ascending order, and returns their number; see [`Log::read`](super::Log::read).
///
/// # Errors
/// See [`Unread`]. The records before the error were delivered.
pub fn read<S: Snapshot>(
    txn: &S,
    name: PartitionName<'_>,
    limited: Limited<'_>,
) -> Result<u64, Unread<S::Error>> {
    let Limited { from, max_count, max_len_bytes, each } = limited;
    let mut delivery = Delivery { len_left: Some(max_len_bytes), count: 0, each };
    // The memory of the last batch that was unpacked.
    let mut unpacked = Vec::new();
    let _ = visit(txn, name, from, max_count, &mut |Visited { first, range, value }| {
        Ok(match value {
            Value::Chunk(chunk) => {
                delivery.deliver_all(first, range, |index| chunk.record(index).map(Record::from))
            }
            Value::Batch(AnyBatch::Plain(batch)) => {
                delivery.deliver_all(first, range, |index| batch.record(index))
            }
            Value::Batch(AnyBatch::Compressed(batch)) => {
                let batch = batch.unpack(std::mem::take(&mut unpacked)).map_err(|_| NOT_UNPACKED)?;
                let flow = delivery.deliver_all(first, range, |index| batch.record(index));
                unpacked = batch.into_octets();
                flow
            }
        })
    })?;
    Ok(delivery.count)
}

const NOT_UNPACKED: &str = "the batch cannot be unpacked";

/// Delivers the batches with the records of a partition in ascending order; see
/// [`Log::read_batches`](super::Log::read_batches). Returns the offset after the last delivered record, or `from` when
/// nothing was delivered.
///
/// # Errors
/// See [`Unread`]. The batches before the error were delivered.
pub fn read_batches<S: Snapshot>(
    txn: &S,
    name: PartitionName<'_>,
    limited: LimitedBatches<'_>,
) -> Result<u64, Unread<S::Error>> {
    let LimitedBatches { from, max_count, max_len_bytes, each } = limited;
    let (mut next, mut len_bytes, mut built) = (from, 0_usize, Vec::new());
    let mut deliver = |stored: StoredBatch<'_>| {
        len_bytes = len_bytes.saturating_add(stored.batch.as_octets().len());
        if next > from && len_bytes > max_len_bytes {
            return ControlFlow::Break(());
        }
        next = stored.first_offset.saturating_add(stored.batch.count() as u64);
        if each(stored) { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    };
    let mut short = ShortBatches { first: from, merge: Merge::default() };
    let visited = visit(txn, name, from, max_count, &mut |Visited { first, range, value }| {
        Ok(match value {
            Value::Batch(AnyBatch::Plain(batch)) => short.add(first, batch, &mut deliver),
            Value::Batch(batch) => {
                short.then(&mut deliver, |each| each(StoredBatch { first_offset: first, batch }))
            }
            Value::Chunk(chunk) => {
                short.then(&mut deliver, |each| rebuild(&chunk, first, range, &mut built, each))
            }
        })
    });
    // After an error, the batches before it are still to be delivered.
    if !matches!(visited, Ok(ControlFlow::Break(()))) {
        let _ = short.deliver(&mut deliver);
    }
    let _ = visited?;
    Ok(next)
}

/// Merges short batches. Otherwise the requester would get a message for each of them.
struct ShortBatches<'a> {
    /// The offset of the first record in `merge`.
    first: u64,
    /// The batches that were read and not yet delivered.
    merge: Merge<&'a [u8]>,
}

impl<'a> ShortBatches<'a> {
    /// Adds a batch, which begins where the last one ended. Delivers the batches before it if it cannot be merged with
    /// them, and the batch itself if it is long.
    fn add(&mut self, first: u64, batch: Batch<&'a [u8]>, each: &mut EachBatch<'_>) -> ControlFlow<()> {
        let (is_short, records) = (batch.as_octets().len() < SHORT_LEN_BYTES, 0..batch.count());
        if !self.merge.is_empty() {
            if is_short && self.merge.push(batch, records.clone(), FULL_LEN_BYTES).is_ok() {
                return ControlFlow::Continue(());
            }
            self.deliver(each)?;
        }
        if !is_short {
            return each(StoredBatch { first_offset: first, batch: AnyBatch::Plain(batch) });
        }
        self.first = first;
        let added = self.merge.push(batch, records, FULL_LEN_BYTES);
        debug_assert!(added.is_ok(), "the first batch fits");
        ControlFlow::Continue(())
    }

    /// Delivers the batches that were read, and then calls `next`.
    fn then(
        &mut self,
        each: &mut EachBatch<'_>,
        next: impl FnOnce(&mut EachBatch<'_>) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        self.deliver(each)?;
        next(each)
    }

    fn deliver(&mut self, each: &mut EachBatch<'_>) -> ControlFlow<()> {
        let first_offset = self.first;
        if let Some(batch) = self.merge.take_only() {
            return each(StoredBatch { first_offset, batch: AnyBatch::Plain(batch) });
        }
        match self.merge.finish() {
            Some(batch) => each(StoredBatch { first_offset, batch: AnyBatch::Plain(batch.borrowed()) }),
            None => ControlFlow::Continue(()),
        }
    }
}

type EachBatch<'a> = dyn FnMut(StoredBatch<'_>) -> ControlFlow<()> + 'a;

/// Builds batches from the records `range` of a chunk, and calls `each` with each batch. Most chunks fit into one
/// batch. `first` is the offset of the chunk's first record, and `buffer` is memory for the batches.
fn rebuild(
    chunk: &Chunk<'_>,
    first: u64,
    mut range: Range<u64>,
    buffer: &mut Vec<u8>,
    each: &mut EachBatch<'_>,
) -> ControlFlow<()> {
    while !range.is_empty() {
        let contents = range.clone().map_while(|offset| chunk.record((offset - first) as usize));
        let packing = Packing::plan(contents.clone().map(<[u8]>::len));
        buffer.resize(packing.len_bytes, 0);
        packing.write(buffer, contents);
        let batch = Batch::check(&buffer[..]).expect("it was just built");
        let stored = StoredBatch { first_offset: range.start, batch: AnyBatch::Plain(batch) };
        range.start += packing.count as u64;
        each(stored)?;
    }
    ControlFlow::Continue(())
}

/// Delivers records within the limits of one read.
struct Delivery<'a> {
    /// The length that is left of the limit. `None` after a first record that exceeded the limit: then no further
    /// record is delivered, not even an empty one.
    len_left: Option<usize>,
    /// Delivered records.
    count: u64,
    each: &'a mut dyn FnMut(u64, Record) -> bool,
}

impl Delivery<'_> {
    /// Delivers the records with the offsets of `range`. `record` returns a record by its index, `first` is the offset of
    /// the record with the index 0.
    fn deliver_all<'a>(
        &mut self,
        first: u64,
        mut range: Range<u64>,
        record: impl Fn(usize) -> Option<Record<'a>>,
    ) -> ControlFlow<()> {
        let is_delivered = range.all(|offset| {
            record((offset - first) as usize).is_some_and(|record| self.deliver(offset, record))
        });
        if is_delivered { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    }

    /// Delivers a record if the limits allow. Returns false when the read is complete.
    fn deliver(&mut self, offset: u64, record: Record) -> bool {
        let len_left = self.len_left.and_then(|len_left| len_left.checked_sub(record.len_bytes()));
        if self.count > 0 && len_left.is_none() {
            return false;
        }
        self.len_left = len_left;
        self.count += 1;
        (self.each)(offset, record)
    }
}

/// A value that a read visits.
struct Visited<'a> {
    /// The offset of the first record in the value.
    first: u64,
    /// The requested records that the value contains; not empty.
    range: Range<u64>,
    value: Value<'a>,
}

/// Visits the values that contain the records `from .. from + max_count` of a partition, until `each` breaks or returns
/// the reason why a value cannot be read. Returns whether `each` broke.
fn visit<'txn, S: Snapshot>(
    txn: &'txn S,
    name: PartitionName<'_>,
    from: u64,
    max_count: u64,
    each: &mut dyn FnMut(Visited<'txn>) -> Result<ControlFlow<()>, &'static str>,
) -> Result<ControlFlow<()>, Unread<S::Error>> {
    const ALL: ControlFlow<()> = ControlFlow::Continue(());
    let Some(key) = PartitionKey::new(name) else { return Ok(ALL) };
    let Some(value) = find_value(txn, &key)? else { return Ok(ALL) };
    let (id, partition_end) = (value.id, value.next);
    let mut offset = from.max(value.first);
    let end = from.saturating_add(max_count).min(partition_end);
    if offset >= end {
        return Ok(ALL);
    }
    let mut entries = txn.entries_around(Table::Records, &record_key(id, offset))?;
    while offset < end {
        let corrupt = |reason| Unread::Corrupt { id, offset, reason };
        const MISSING: &str = "the record is missing";
        let Some((key, value)) = entries.next().transpose()? else { return Err(corrupt(MISSING)) };
        let first = match split_record_key(key) {
            Some((of, first)) if of == id && first <= offset => first,
            _ => return Err(corrupt(MISSING)),
        };
        let value = Value::read(value, &record_key(id, first)).map_err(corrupt)?;
        let after = first.saturating_add(value.count() as u64);
        if after > partition_end {
            return Err(corrupt("there are records after the end of the partition"));
        }
        let range = offset..after.min(end);
        if range.is_empty() {
            return Err(corrupt(MISSING));
        }
        let end = range.end;
        if each(Visited { first, range, value }).map_err(corrupt)?.is_break() {
            return Ok(ControlFlow::Break(()));
        }
        offset = end;
    }
    Ok(ALL)
}
