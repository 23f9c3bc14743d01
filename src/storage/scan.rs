//! Reading the chunks of one partition, in one snapshot.

use std::ops::Range;

use super::chunk::Chunk;
use super::engine::{Snapshot, Table};
use super::keys::{PartitionId, PartitionKey, PartitionName, record_key, split_record_key};
use super::partitions::find_value;

/// What one read hands over.
pub struct Limited<'a> {
    /// The first record.
    pub from: u64,
    /// The most records.
    pub max_count: u64,
    /// The most octets of content, except that one record always fits.
    pub max_len_bytes: usize,
    /// Takes a record: its offset, its content. False when no more are wanted.
    pub each: &'a mut dyn FnMut(u64, &[u8]) -> bool,
}

/// Why records could not be read.
#[derive(Debug)]
pub enum Unread<E> {
    /// The engine's own error.
    Engine(E),
    /// They are damaged or missing.
    Corrupt {
        /// The partition's number.
        id: PartitionId,
        /// The first record that cannot be read.
        offset: u64,
        /// What is wrong.
        reason: &'static str,
    },
}

impl<E> From<E> for Unread<E> {
    fn from(error: E) -> Unread<E> {
        Unread::Engine(error)
    }
}

/// Hands over records of a partition in ascending order, and returns how many; see [`Log::read`](super::Log::read).
///
/// # Errors
/// See [`Unread`]; records before that were handed over.
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
    let mut handing = Handing { len_left: Some(limited.max_len_bytes), handed: 0, each: limited.each };
    hand_over(txn, value.id, begin..end, &mut handing)?;
    Ok(handing.handed)
}

/// Hands over records within the limits of one read.
struct Handing<'a> {
    /// `None` after a first record that alone is too long: nothing follows it, not even an empty one.
    len_left: Option<usize>,
    handed: u64,
    each: &'a mut dyn FnMut(u64, &[u8]) -> bool,
}

impl Handing<'_> {
    /// False when no more are wanted.
    fn hand(&mut self, offset: u64, content: &[u8]) -> bool {
        let len_left = self.len_left.and_then(|len_left| len_left.checked_sub(content.len()));
        if self.handed > 0 && len_left.is_none() {
            return false;
        }
        self.len_left = len_left;
        self.handed += 1;
        (self.each)(offset, content)
    }
}

/// Reads the chunks that hold the records of `range`, which is not empty and all of which the partition has.
fn hand_over<S: Snapshot>(
    txn: &S,
    id: PartitionId,
    range: Range<u64>,
    handing: &mut Handing<'_>,
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
            if !handing.hand(offset, content) {
                return Ok(());
            }
            offset += 1;
        }
    }
    Ok(())
}
