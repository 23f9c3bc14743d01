//! The open database of a log. It is closed and opened again when its map must grow, and after LMDB has failed.

use std::io;
use std::path::PathBuf;
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use lmdb::RoTransaction;

use super::super::directory;
use super::super::error::{AppendError, ReadError};
use super::super::lmdb::{Lmdb, Pages, Tables, os_error};
use super::super::options::{Options, round_up};
use crate::text::printable_path;

/// The open database of a log, shared by its threads.
#[derive(Debug)]
pub(super) struct Environment {
    state: RwLock<State>,
    pub(super) dir: PathBuf,
    /// The database file.
    pub(super) data: PathBuf,
    pub(super) pages: Pages,
    options: Options,
}

/// A thread holds the lock in shared mode during a transaction. It holds the lock exclusively while it replaces the
/// tables.
#[derive(Debug)]
struct State {
    /// `None` after LMDB has failed, until the database is open again.
    tables: Option<Tables>,
    /// The map length with which the database is opened.
    map_len_bytes: usize,
    /// A commit has failed in its last step: the header pages on disk may differ from the header pages that the
    /// operating system returns. See [`Pages::rewrite_headers`].
    is_unsettled: bool,
}

impl Environment {
    pub(super) fn new(
        dir: PathBuf,
        data: PathBuf,
        options: Options,
        pages: Pages,
        tables: Tables,
    ) -> Environment {
        let state = State { map_len_bytes: tables.map_len_bytes, tables: Some(tables), is_unsettled: false };
        Environment { state: RwLock::new(state), dir, data, pages, options }
    }

    /// Runs `body` with the tables. Opens them first when an earlier failure left them closed.
    pub(super) fn with_tables<R>(&self, body: impl FnOnce(&Tables) -> R) -> lmdb::Result<R> {
        loop {
            if let Some(tables) = &self.shared().tables {
                return Ok(body(tables));
            }
            let mut state = self.exclusive();
            if state.tables.is_none() {
                state.tables = Some(self.open_tables(state.map_len_bytes)?);
            }
        }
    }

    /// Runs `body` in a read transaction. When LMDB demands that the database is reopened, reopens it and tries once
    /// more.
    pub(super) fn reading<R>(
        &self,
        mut body: impl FnMut(&Lmdb<'_, RoTransaction<'_>>) -> Result<R, ReadError>,
    ) -> Result<R, ReadError> {
        let mut is_replaced = false;
        loop {
            let tried =
                self.with_tables(|tables| tables.env.begin_ro_txn().map(|txn| body(&Lmdb { txn, tables })));
            match tried.map_err(|error| self.read_error(error))? {
                Ok(result) => return result,
                Err(lmdb::Error::Panic) if !is_replaced => {
                    self.replace_tables();
                    is_replaced = true;
                }
                Err(error) => return Err(self.read_error(error)),
            }
        }
    }

    /// Synchronizes everything that the database contains, if a failed commit has made this necessary. See
    /// [`Log::sync`](super::Log::sync).
    pub(super) fn settle(&self) -> io::Result<()> {
        if !self.options.sync || !self.shared().is_unsettled {
            return Ok(());
        }
        let mut state = self.exclusive();
        self.pages.rewrite_headers(&self.data)?;
        state.is_unsettled = false;
        Ok(())
    }

    /// Reopens the database after a failure of LMDB. If reopening fails, the next call of [`Environment::with_tables`]
    /// tries again.
    pub(super) fn replace_tables(&self) {
        let mut state = self.exclusive();
        state.is_unsettled = true;
        self.reopen(&mut state);
    }

    /// Closes the database and opens it with the map length in `state`. Returns whether it is open.
    fn reopen(&self, state: &mut State) -> bool {
        // LMDB must not open a file twice in one process, so this function closes the file first.
        state.tables = None;
        match self.open_tables(state.map_len_bytes) {
            Ok(tables) => {
                state.map_len_bytes = tables.map_len_bytes;
                state.tables = Some(tables);
                true
            }
            Err(error) => {
                log::error!("cannot reopen the database {}: {error}", printable_path(&self.data));
                false
            }
        }
    }

    /// Opens the database, but never a file other than the one that this log has checked: LMDB would create a missing
    /// file.
    fn open_tables(&self, map_len_bytes: usize) -> lmdb::Result<Tables> {
        match self.pages.why_gone(&self.data) {
            Ok(None) => Tables::open(&self.dir, &self.options, map_len_bytes),
            _ => Err(lmdb::Error::Other(libc::ENOENT)),
        }
    }

    /// Makes the map at least twice as long, unless another thread has done so. `full_len` is the length of the full
    /// map, `wanted_len` the length of the contents to append.
    ///
    /// This reopens the database instead of resizing the map with `mdb_env_set_mapsize`. If there is no address space
    /// for the new map, that function leaves the environment without a map, and the next use of the environment would
    /// crash.
    pub(super) fn grow(&self, full_len: usize, wanted_len: usize) -> Result<(), AppendError> {
        let mut state = self.exclusive();
        if state.map_len_bytes > full_len {
            return Ok(());
        }
        let limit = |reason: String| AppendError::MapLimit {
            path: self.data.clone(),
            map_len_bytes: full_len,
            reason,
        };
        if full_len >= self.options.max_map_len_bytes {
            return Err(limit("this is the limit for its length".to_owned()));
        }
        // LMDB stores the contents, and usually needs less than as much space again for its own data. If it needs more,
        // the next attempt grows the map again.
        let enough = full_len.saturating_add(wanted_len.saturating_mul(2));
        let len = full_len.saturating_mul(2).max(enough).min(self.options.max_map_len_bytes);
        state.map_len_bytes = round_up(len);
        if self.reopen(&mut state) {
            return Ok(());
        }
        let reason = format!("the process has no address space for {} bytes", state.map_len_bytes);
        state.map_len_bytes = full_len;
        self.reopen(&mut state);
        Err(limit(reason))
    }

    // A poisoned lock is harmless: a panic undoes the transaction, and cannot leave `tables` half changed.
    fn shared(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn exclusive(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn read_error(&self, error: lmdb::Error) -> ReadError {
        let path = self.data.clone();
        match os_error(error) {
            Some(source) => ReadError::Io { path, source },
            None => ReadError::Database { path, source: error },
        }
    }

    /// Converts the error of an append. `content_len` is the length of the contents to append.
    pub(super) fn append_error(&self, error: lmdb::Error, content_len: usize) -> AppendError {
        let path = self.data.clone();
        match os_error(error) {
            Some(source) => {
                let len_bytes = (content_len as u64).saturating_mul(2);
                AppendError::Io { path, source: directory::write_error(&self.dir, source, len_bytes) }
            }
            None => AppendError::Database { path, source: error },
        }
    }
}

impl Drop for Environment {
    fn drop(&mut self) {
        // If appends do not synchronize, the database is synchronized when the log is closed.
        if let (false, Some(tables)) = (self.options.sync, &self.exclusive().tables)
            && let Err(error) = tables.env.sync(true)
        {
            log::error!("cannot synchronize {}: {error}", printable_path(&self.data));
        }
    }
}
