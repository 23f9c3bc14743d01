//! LMDB as the log's engine.

use lmdb::{Cursor, Database, RoCursor, RwTransaction, Transaction, WriteFlags};

use super::engine::{Entry, Snapshot, Table, Update};
use super::tables::Tables;

/// LMDB's names of cursor movements, which the crate does not pass on.
mod movement {
    pub(super) const LAST: u32 = 6;
    pub(super) const NEXT: u32 = 8;
    pub(super) const PREVIOUS: u32 = 12;
    pub(super) const AT_OR_AFTER: u32 = 17;
}

/// One transaction over the tables of an environment.
pub(super) struct Lmdb<'env, T> {
    pub(super) txn: T,
    pub(super) tables: &'env Tables,
}

impl<T> Lmdb<'_, T> {
    fn database(&self, table: Table) -> Database {
        match table {
            Table::Meta => self.tables.meta,
            Table::Partitions => self.tables.partitions,
            Table::Records => self.tables.records,
        }
    }
}

impl<T: Transaction> Snapshot for Lmdb<'_, T> {
    type Error = lmdb::Error;
    type Entries<'a>
        = Entries<'a>
    where
        Self: 'a;

    fn damaged() -> lmdb::Error {
        lmdb::Error::Corrupted
    }

    fn get(&self, table: Table, key: &[u8]) -> lmdb::Result<Option<&[u8]>> {
        match self.txn.get(self.database(table), &key) {
            Ok(value) => Ok(Some(value)),
            Err(lmdb::Error::NotFound) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn entries_from(&self, table: Table, key: &[u8]) -> lmdb::Result<Entries<'_>> {
        let cursor = self.txn.open_ro_cursor(self.database(table))?;
        // LMDB takes no empty key; every key comes after it.
        let first = if key.is_empty() {
            entry(&cursor, None, movement::NEXT)?
        } else {
            entry(&cursor, Some(key), movement::AT_OR_AFTER)?
        };
        Ok(Entries { cursor, place: Place::At(first) })
    }

    fn entries_around(&self, table: Table, key: &[u8]) -> lmdb::Result<Entries<'_>> {
        let cursor = self.txn.open_ro_cursor(self.database(table))?;
        let first = match entry(&cursor, Some(key), movement::AT_OR_AFTER)? {
            Some(found) if found.0 == key => Some(found),
            Some(_) => entry(&cursor, None, movement::PREVIOUS)?,
            None => entry(&cursor, None, movement::LAST)?,
        };
        Ok(Entries { cursor, place: Place::At(first) })
    }
}

impl Update for Lmdb<'_, RwTransaction<'_>> {
    fn put(&mut self, table: Table, key: &[u8], value: &[u8]) -> lmdb::Result<()> {
        let database = self.database(table);
        self.txn.put(database, &key, &value, WriteFlags::empty())
    }

    fn reserve(&mut self, table: Table, key: &[u8], len: usize) -> lmdb::Result<&mut [u8]> {
        let database = self.database(table);
        self.txn.reserve(database, &key, len, WriteFlags::NO_OVERWRITE)
    }
}

/// A walk over a table.
pub(super) struct Entries<'txn> {
    cursor: RoCursor<'txn>,
    place: Place<'txn>,
}

enum Place<'txn> {
    /// Found already, and not handed out yet; nothing when the walk is over before it begins.
    At(Option<Entry<'txn>>),
    /// The next one is to be looked up.
    Before,
    /// There are no more.
    End,
}

impl<'txn> Iterator for Entries<'txn> {
    type Item = lmdb::Result<Entry<'txn>>;

    fn next(&mut self) -> Option<lmdb::Result<Entry<'txn>>> {
        let found = match std::mem::replace(&mut self.place, Place::End) {
            Place::At(found) => Ok(found),
            Place::Before => entry(&self.cursor, None, movement::NEXT),
            Place::End => Ok(None),
        };
        if matches!(found, Ok(Some(_))) {
            self.place = Place::Before;
        }
        found.transpose()
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
