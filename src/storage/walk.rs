//! Walking over the chunks of one partition in one snapshot.

use std::ops::Range;

use lmdb::{Cursor, RoCursor, RoTransaction, Transaction};

use super::chunk::Chunk;
use super::keys::{PartitionId, record_key, split_record_key};
use super::tables::Tables;

/// LMDB's names of cursor movements, which the crate does not pass on.
mod movement {
    pub(super) const LAST: u32 = 6;
    pub(super) const NEXT: u32 = 8;
    pub(super) const PREVIOUS: u32 = 12;
    pub(super) const AT_OR_AFTER: u32 = 17;
}

/// Hands over records within the limits of one read.
pub(super) struct Limited<'a> {
    pub(super) len_left: usize,
    pub(super) handed: u64,
    pub(super) each: &'a mut dyn FnMut(u64, &[u8]) -> bool,
}

impl Limited<'_> {
    /// False when no more are wanted.
    fn hand(&mut self, offset: u64, content: &[u8]) -> bool {
        if self.handed > 0 && content.len() > self.len_left {
            return false;
        }
        self.len_left = self.len_left.saturating_sub(content.len());
        self.handed += 1;
        (self.each)(offset, content)
    }
}

/// Why records could not be read.
pub(super) enum Unread {
    Lmdb(lmdb::Error),
    Corrupt { offset: u64, reason: &'static str },
}

impl From<lmdb::Error> for Unread {
    fn from(error: lmdb::Error) -> Unread {
        Unread::Lmdb(error)
    }
}

/// Walks the chunks that hold the records of `range`, which is not empty and all of which the partition has.
pub(super) fn hand_over(
    txn: &RoTransaction<'_>,
    tables: &Tables,
    id: PartitionId,
    range: Range<u64>,
    limited: &mut Limited<'_>,
) -> Result<(), Unread> {
    let cursor = txn.open_ro_cursor(tables.records)?;
    let mut offset = range.start;
    let mut found = at_or_before(&cursor, &record_key(id, offset))?;
    while offset < range.end {
        let missing = Unread::Corrupt { offset, reason: "the record is missing" };
        let Some((key, value)) = found else { return Err(missing) };
        let first = match split_record_key(key) {
            Some((of, first)) if of == id && first <= offset => first,
            _ => return Err(missing),
        };
        let chunk = Chunk::read(value, &record_key(id, first))
            .map_err(|reason| Unread::Corrupt { offset, reason })?;
        let end = first.saturating_add(chunk.count() as u64).min(range.end);
        if offset >= end {
            return Err(missing);
        }
        while offset < end {
            let Some(content) = chunk.record((offset - first) as usize) else { return Err(missing) };
            if !limited.hand(offset, content) {
                return Ok(());
            }
            offset += 1;
        }
        found = if offset < range.end { entry(&cursor, None, movement::NEXT)? } else { None };
    }
    Ok(())
}

type Entry<'txn> = (&'txn [u8], &'txn [u8]);

/// The entry with this key, or the last one before it.
fn at_or_before<'txn>(cursor: &RoCursor<'txn>, key: &[u8]) -> lmdb::Result<Option<Entry<'txn>>> {
    match entry(cursor, Some(key), movement::AT_OR_AFTER)? {
        Some(found) if found.0 == key => Ok(Some(found)),
        Some(_) => entry(cursor, None, movement::PREVIOUS),
        None => entry(cursor, None, movement::LAST),
    }
}

/// Moves the cursor; nothing when there is no such entry.
fn entry<'txn>(
    cursor: &RoCursor<'txn>,
    key: Option<&[u8]>,
    movement: u32,
) -> lmdb::Result<Option<Entry<'txn>>> {
    match cursor.get(key, None, movement) {
        Ok((Some(key), value)) => Ok(Some((key, value))),
        // LMDB points the key to its own memory whenever it finds one.
        Ok((None, _)) => Err(lmdb::Error::Corrupted),
        Err(lmdb::Error::NotFound) => Ok(None),
        Err(error) => Err(error),
    }
}
