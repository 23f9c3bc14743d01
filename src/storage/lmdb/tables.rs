//! The open LMDB environment, and its transactions as the log's engine.

use std::io;
use std::path::Path;

use lmdb::{
    Cursor, Database, DatabaseFlags, Environment, EnvironmentFlags, RoCursor, RwTransaction, Transaction,
    WriteFlags,
};

use super::super::engine::{Entry, Snapshot, Table, Update};
use super::super::options::Options;

pub(super) const META: &str = "meta";
pub(super) const PARTITIONS: &str = "partitions";
pub(in crate::storage) const RECORDS: &str = "records";
pub(super) const POSITIONS: &str = "positions";
/// The number of these tables.
pub(super) const TABLE_COUNT: u32 = 4;

/// LMDB's numbers of cursor movements. The crate does not export them.
mod movement {
    pub(super) const LAST: u32 = 6;
    pub(super) const NEXT: u32 = 8;
    pub(super) const PREVIOUS: u32 = 12;
    pub(super) const AT_OR_AFTER: u32 = 17;
}

/// Permissions in LMDB's type.
pub(super) fn mode(file_mode: u32) -> lmdb_sys::mdb_mode_t {
    file_mode as lmdb_sys::mdb_mode_t
}

/// An open environment and its tables.
#[derive(Debug)]
pub(in crate::storage) struct Tables {
    pub(in crate::storage) env: Environment,
    /// The table of tables.
    pub(in crate::storage) main: Database,
    pub(super) meta: Database,
    pub(super) partitions: Database,
    pub(super) records: Database,
    pub(super) positions: Database,
    /// The length of the memory map. The database file cannot become longer.
    pub(in crate::storage) map_len_bytes: usize,
}

impl Tables {
    /// Opens a database that was created or checked before. The caller ensures that the database is not open in this
    /// process yet, because LMDB does not check this.
    pub(in crate::storage) fn open(
        dir: &Path,
        options: &Options,
        map_len_bytes: usize,
    ) -> lmdb::Result<Tables> {
        // Any thread may read. Without NO_TLS, LMDB's table of readers keeps an entry for each thread that has read,
        // until the thread ends.
        let mut flags = EnvironmentFlags::NO_TLS;
        if !options.sync {
            flags |= EnvironmentFlags::NO_SYNC | EnvironmentFlags::NO_META_SYNC;
        }
        let env = Environment::new()
            .set_flags(flags)
            .set_max_dbs(TABLE_COUNT)
            .set_map_size(map_len_bytes)
            .open_with_permissions(dir, mode(options.file_mode))?;
        let main = env.open_db(None)?;
        let meta = env.open_db(Some(META))?;
        let partitions = env.open_db(Some(PARTITIONS))?;
        let records = env.open_db(Some(RECORDS))?;
        // A database of an earlier version does not have this table. That version ignores the table.
        let positions = match env.open_db(Some(POSITIONS)) {
            Err(lmdb::Error::NotFound) => env.create_db(Some(POSITIONS), DatabaseFlags::empty())?,
            opened => opened?,
        };
        // LMDB uses a longer map when the file is longer.
        let map_len_bytes = env.info()?.map_size();
        Ok(Tables { env, main, meta, partitions, records, positions, map_len_bytes })
    }

    /// Removes the entries of dead processes from the table of readers, and returns their number.
    pub(in crate::storage) fn clear_stale_readers(&self) -> lmdb::Result<usize> {
        let mut count = 0;
        // SAFETY: the environment is open as long as this lives, and `count` is a number that LMDB may set.
        match unsafe { lmdb_sys::mdb_reader_check(self.env.env(), &raw mut count) } {
            0 => Ok(usize::try_from(count).unwrap_or(0)),
            code => Err(lmdb::Error::from_err_code(code)),
        }
    }
}

/// The operating system's error, if LMDB's error is one.
pub(in crate::storage) fn os_error(error: lmdb::Error) -> Option<io::Error> {
    match error {
        lmdb::Error::Other(code) if code > 0 => Some(io::Error::from_raw_os_error(code)),
        _ => None,
    }
}

/// A transaction over the tables of an environment.
pub(in crate::storage) struct Lmdb<'env, T> {
    pub(in crate::storage) txn: T,
    pub(in crate::storage) tables: &'env Tables,
}

impl<T> Lmdb<'_, T> {
    fn database(&self, table: Table) -> Database {
        match table {
            Table::Meta => self.tables.meta,
            Table::Partitions => self.tables.partitions,
            Table::Records => self.tables.records,
            Table::Positions => self.tables.positions,
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
        // LMDB refuses an empty key as a start. All keys come after the empty key, so start with the first entry.
        let first = if key.is_empty() {
            entry(&cursor, None, movement::NEXT)?
        } else {
            entry(&cursor, Some(key), movement::AT_OR_AFTER)?
        };
        Ok(Entries { cursor, position: Position::At(first) })
    }

    fn entries_around(&self, table: Table, key: &[u8]) -> lmdb::Result<Entries<'_>> {
        let cursor = self.txn.open_ro_cursor(self.database(table))?;
        let first = match entry(&cursor, Some(key), movement::AT_OR_AFTER)? {
            Some(found) if found.0 == key => Some(found),
            Some(_) => entry(&cursor, None, movement::PREVIOUS)?,
            None => entry(&cursor, None, movement::LAST)?,
        };
        Ok(Entries { cursor, position: Position::At(first) })
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

/// Iterates over the entries of a table.
pub(in crate::storage) struct Entries<'txn> {
    cursor: RoCursor<'txn>,
    position: Position<'txn>,
}

enum Position<'txn> {
    /// The next entry was read already; `None` when there is none.
    At(Option<Entry<'txn>>),
    /// The cursor is at the last returned entry.
    AfterReturned,
    /// There are no more entries.
    End,
}

impl<'txn> Iterator for Entries<'txn> {
    type Item = lmdb::Result<Entry<'txn>>;

    fn next(&mut self) -> Option<lmdb::Result<Entry<'txn>>> {
        let found = match std::mem::replace(&mut self.position, Position::End) {
            Position::At(found) => Ok(found),
            Position::AfterReturned => entry(&self.cursor, None, movement::NEXT),
            Position::End => Ok(None),
        };
        if matches!(found, Ok(Some(_))) {
            self.position = Position::AfterReturned;
        }
        found.transpose()
    }
}

/// Moves the cursor. `None` when there is no such entry.
fn entry<'txn>(
    cursor: &RoCursor<'txn>,
    key: Option<&[u8]>,
    movement: u32,
) -> lmdb::Result<Option<Entry<'txn>>> {
    match cursor.get(key, None, movement) {
        Ok((Some(key), value)) => Ok(Some((key, value))),
        // LMDB returns a key for every entry that it finds.
        Ok((None, _)) => Err(lmdb::Error::Corrupted),
        Err(lmdb::Error::NotFound) => Ok(None),
        Err(error) => Err(error),
    }
}
