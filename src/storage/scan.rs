//! Reads the records of one partition from one snapshot.

use std::ops::Range;

use super::chunk::Chunk;
use super::engine::{Snapshot, Table};
use super::keys::{PartitionId, PartitionKey, PartitionName, record_key, split_record_key};
use super::partitions::find_value;

/// One read: its first record and its limits.
pub struct Limited<'a> {
    /// The first record.
    pub from: u64,
    /// The greatest number of records.
    pub max_count: u64,
    /// The greatest length of all contents together. One record is always delivered.
    pub max_len_bytes: usize,
    /// Called with the offset and the content of each record. It returns false to stop.
    pub each: &'a mut dyn FnMut(u64, &[u8]) -> bool,
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
        /// What is wrong with it.
        reason: &'static str,
    },
}

impl<E> From<E> for Unread<E> {
    fn from(error: E) -> Unread<E> {
        Unread::Engine(error)
    }
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
    let Some(key) = PartitionKey::new(name) else { return Ok(0) };
    let Some(value) = find_value(txn, &key)? else { return Ok(0) };
    let begin = limited.from.max(value.first);
    let end = limited.from.saturating_add(limited.max_count).min(value.next);
    if begin >= end {
        return Ok(0);
    }
    let mut delivery = Delivery { len_left: Some(limited.max_len_bytes), count: 0, each: limited.each };
    deliver(txn, value.id, begin..end, &mut delivery)?;
    Ok(delivery.count)
}

/// Delivers records within the limits of one read.
struct Delivery<'a> {
    /// The length that is left of the limit. `None` after a first record that exceeded the limit: then no further
    /// record is delivered, not even an empty one.
    len_left: Option<usize>,
    /// Delivered records.
    count: u64,
    each: &'a mut dyn FnMut(u64, &[u8]) -> bool,
}

impl Delivery<'_> {
    /// Delivers a record if the limits allow. Returns false when the read is complete.
    fn deliver(&mut self, offset: u64, content: &[u8]) -> bool {
        let len_left = self.len_left.and_then(|len_left| len_left.checked_sub(content.len()));
        if self.count > 0 && len_left.is_none() {
            return false;
        }
        self.len_left = len_left;
        self.count += 1;
        (self.each)(offset, content)
    }
}

/// Reads the chunks with the records of `range`, which is not empty and lies within the partition.
fn deliver<S: Snapshot>(
    txn: &S,
    id: PartitionId,
    range: Range<u64>,
    delivery: &mut Delivery<'_>,
) -> Result<(), Unread<S::Error>> {
    let mut offset = range.start;
    let mut entries = txn.entries_around(Table::Records, &record_key(id, offset))?;
    while offset < range.end {
        let corrupt = |reason| Unread::Corrupt { id, offset, reason };
        const MISSING: &str = "the record is missing";
        let Some((key, value)) = entries.next().transpose()? else { return Err(corrupt(MISSING)) };
        let first = match split_record_key(key) {
            Some((of, first)) if of == id && first <= offset => first,
            _ => return Err(corrupt(MISSING)),
        };
        let chunk = Chunk::read(value, &record_key(id, first)).map_err(corrupt)?;
        let end = first.saturating_add(chunk.count() as u64).min(range.end);
        if offset >= end {
            return Err(corrupt(MISSING));
        }
        while offset < end {
            let Some(content) = chunk.record((offset - first) as usize) else {
                return Err(Unread::Corrupt { id, offset, reason: MISSING });
            };
            if !delivery.deliver(offset, content) {
                return Ok(());
            }
            offset += 1;
        }
    }
    Ok(())
}
