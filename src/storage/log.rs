//! The log: appending, reading, listing; growing and repairing the environment beneath, unseen.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use lmdb::{RoTransaction, Transaction};

use super::append::{WriteError, write_batch};
use super::batch::Batch;
use super::directory::{self, DATA_FILE, LOCK_FILE, failed};
use super::error::{AppendError, Corruption, OpenError, ReadError};
use super::lmdb::Lmdb;
use super::lookup::{self, Partition};
use super::tables::{self, Tables, os_error};
use super::walk::{self, Limited, Unread};

/// How to open a log.
#[derive(Clone, Debug)]
pub struct Options {
    /// True: an append returns only when the data is on disk. False: it returns when the operating system has
    /// the data; it survives the process but not the power, and after a power loss the whole database may be
    /// unusable.
    pub sync: bool,
    /// The length of the memory map to begin with, in octets; more when the database is longer. It takes
    /// address space, not memory, and grows by itself.
    pub initial_map_len_bytes: usize,
    /// The length up to which the map, and with it the database, grows, in octets.
    pub max_map_len_bytes: usize,
}

impl Default for Options {
    /// Synchronous, a map of 1 GiB that grows up to 64 TiB (half the address space of x86_64).
    fn default() -> Options {
        let halvings = if cfg!(target_pointer_width = "64") { 18 } else { 2 };
        Options { sync: true, initial_map_len_bytes: 1 << 30, max_map_len_bytes: usize::MAX >> halvings }
    }
}

/// A log of records in a directory of its own; see the [module](super).
///
/// It can be shared among threads: appends exclude one another, reads exclude nothing.
#[derive(Debug)]
pub struct Log {
    // Before the lock: fields are dropped in this order, and the environment must be closed when another
    // process gets the directory.
    state: RwLock<State>,
    dir: PathBuf,
    data: PathBuf,
    options: Options,
    /// Holds the directory for this log.
    _lock: File,
}

/// Transactions run under the shared lock; who replaces the environment holds it alone.
#[derive(Debug)]
struct State {
    /// Nothing after LMDB failed in a way that it does not recover from, until it could be opened again.
    tables: Option<Tables>,
    /// What to open it with.
    map_len_bytes: usize,
}

impl Log {
    /// Opens the log in `dir`, creating directory and log when missing, and holds it until it is dropped.
    ///
    /// # Errors
    ///
    /// See [`OpenError`]; a directory or a database of something else is left as it was.
    pub fn open(dir: &Path, options: Options) -> Result<Log, OpenError> {
        directory::claim(dir)?;
        let data = dir.join(DATA_FILE);
        // Whoever makes a store makes its lock file first. A database without one is another's, or was
        // copied: look at it before leaving a trace. In this order, as another process may be at work.
        if directory::exists(&data)? && !directory::exists(&dir.join(LOCK_FILE))? {
            tables::check(&data, false)?;
        }
        let lock = directory::lock(dir)?;
        if directory::exists(&data)? {
            tables::check(&data, true)?;
        } else {
            tables::create(dir)?;
        }
        let data_len = fs::metadata(&data).map_err(failed("look at the database", &data))?.len();
        let map_len_bytes = first_map_len(usize::try_from(data_len).unwrap_or(usize::MAX), &options);
        let tables = Tables::open(dir, options.sync, map_len_bytes)
            .map_err(|error| tables::database_error(&data, error))?;
        let state = State { map_len_bytes: tables.map_len_bytes, tables: Some(tables) };
        Ok(Log { state: RwLock::new(state), dir: dir.to_path_buf(), data, options, _lock: lock })
    }

    /// The log's own name, which stays the same for as long as the database exists: `fresh` when it has none yet.
    ///
    /// # Errors
    ///
    /// When the database cannot be read, or the name not be written.
    pub fn identity(&self, fresh: &[u8]) -> Result<Vec<u8>, ReadError> {
        let name = || -> lmdb::Result<Vec<u8>> {
            self.with_tables(|tables| {
                let mut update = Lmdb { txn: tables.env.begin_rw_txn()?, tables };
                let name = lookup::identity(&mut update, fresh)?;
                update.txn.commit()?;
                Ok(name)
            })?
        };
        name().map_err(|error| self.read_error(error))
    }

    /// All partitions.
    ///
    /// # Errors
    ///
    /// When the table of partitions cannot be read.
    pub fn partitions(&self) -> Result<Vec<Partition>, ReadError> {
        self.list(None)
    }

    /// The partitions of one subject.
    ///
    /// # Errors
    ///
    /// When the table of partitions cannot be read.
    pub fn partitions_of(&self, subject: &[u8]) -> Result<Vec<Partition>, ReadError> {
        self.list(Some(subject))
    }

    /// One partition, if the log has it.
    ///
    /// # Errors
    ///
    /// When the table of partitions cannot be read.
    pub fn find(&self, subject: &[u8], address: &[u8]) -> Result<Option<Partition>, ReadError> {
        self.reading(|txn| lookup::find(txn, subject, address).map_err(|error| self.read_error(error)))
    }

    /// Appends a whole batch, or nothing of it, and waits until it is on disk (see [`Options::sync`]).
    ///
    /// The memory map grows when it is full; for this moment the append waits for reads that are under way.
    ///
    /// # Errors
    ///
    /// Each run must begin where its partition ends, or at 0 for a new one: otherwise
    /// [`AppendError::NotContiguous`]. After any error the log is as it was and stays usable; appending the
    /// same batch again is right. (Should the disk fail twice in a row, at the very last step and at
    /// undoing it, the batch is in the log after all; then the second try says `NotContiguous`, and
    /// [`Log::find`] where to go on.)
    pub fn append<P: AsRef<[u8]>>(&self, batch: &Batch<P>) -> Result<(), AppendError> {
        if batch.is_empty() {
            return Ok(());
        }
        let mut repaired = false;
        loop {
            let tried = self.with_tables(|tables| try_append(tables, batch));
            match tried.map_err(|error| self.append_error(error, batch.content_len_bytes()))? {
                Ok(()) => return Ok(()),
                Err(Failure::MapFull(len)) => self.grow(len, batch.content_len_bytes())?,
                Err(Failure::Refused(error)) => return Err(error),
                // An earlier failure of which nobody was told: try once more with a sound environment.
                Err(Failure::Broken(lmdb::Error::Panic)) if !repaired => {
                    self.replace_tables();
                    repaired = true;
                }
                Err(Failure::Broken(error)) => {
                    self.replace_tables();
                    return Err(self.append_error(error, batch.content_len_bytes()));
                }
                Err(Failure::Lmdb(error)) => {
                    return Err(self.append_error(error, batch.content_len_bytes()));
                }
            }
        }
    }

    /// Waits until all that the log holds is on disk; does nothing when appends do not (see [`Options::sync`]).
    ///
    /// # Errors
    ///
    /// When the disk refuses it.
    pub fn sync(&self) -> Result<(), AppendError> {
        if !self.options.sync {
            return Ok(());
        }
        let synced = self.with_tables(|tables| tables.env.sync(true));
        synced.and_then(|synced| synced).map_err(|error| self.append_error(error, 0))
    }

    /// Hands the records `from .. from + max_count` of a partition, as far as it has them, in ascending
    /// order to `each` (the offset, the content), and returns how many.
    ///
    /// It stops before the record with which the contents would exceed `max_len_bytes` octets, except that
    /// it always hands over at least one; and it stops after `each` returned false. A partition that the
    /// log does not have has no records. All is read from one snapshot; the contents lie in the memory map
    /// and are not copied.
    ///
    /// `each` must not call the log: growing waits for this read, and reads wait for growing.
    ///
    /// # Errors
    ///
    /// [`ReadError::Corrupt`] when records are damaged or missing; those before were handed over.
    pub fn read(
        &self,
        subject: &[u8],
        address: &[u8],
        from: u64,
        max_count: u64,
        max_len_bytes: usize,
        each: &mut dyn FnMut(u64, &[u8]) -> bool,
    ) -> Result<u64, ReadError> {
        self.reading(|txn| {
            let limited = Limited { from, max_count, max_len_bytes, each };
            walk::read(txn, subject, address, limited).map_err(|unread| match unread {
                Unread::Engine(error) => self.read_error(error),
                Unread::Corrupt { id, offset, reason } => ReadError::Corrupt(Box::new(Corruption {
                    path: self.data.clone(),
                    subject: subject.to_vec(),
                    address: address.to_vec(),
                    id,
                    offset,
                    reason,
                })),
            })
        })
    }

    fn list(&self, subject: Option<&[u8]>) -> Result<Vec<Partition>, ReadError> {
        self.reading(|txn| lookup::list(txn, subject).map_err(|error| self.read_error(error)))
    }

    /// Runs one read transaction; once more when LMDB demands to be opened anew.
    fn reading<R>(
        &self,
        mut body: impl FnMut(&Lmdb<'_, RoTransaction<'_>>) -> Result<R, ReadError>,
    ) -> Result<R, ReadError> {
        let mut repaired = false;
        loop {
            let tried =
                self.with_tables(|tables| tables.env.begin_ro_txn().map(|txn| body(&Lmdb { txn, tables })));
            match tried.map_err(|error| self.read_error(error))? {
                Ok(result) => return result,
                Err(lmdb::Error::Panic) if !repaired => {
                    self.replace_tables();
                    repaired = true;
                }
                Err(error) => return Err(self.read_error(error)),
            }
        }
    }

    /// Runs `body` with the tables, opening them when a failure left them closed.
    fn with_tables<R>(&self, body: impl FnOnce(&Tables) -> R) -> lmdb::Result<R> {
        loop {
            if let Some(tables) = &self.shared().tables {
                return Ok(body(tables));
            }
            let mut state = self.alone();
            if state.tables.is_none() {
                state.tables = Some(Tables::open(&self.dir, self.options.sync, state.map_len_bytes)?);
            }
        }
    }

    /// After LMDB gave up on its environment: puts a new one in its place. When that fails, the next user
    /// of it tries again.
    fn replace_tables(&self) {
        let mut state = self.alone();
        self.reopen(&mut state);
    }

    /// Closes the environment and opens it with the map length that `state` says; true when it is open then.
    fn reopen(&self, state: &mut State) -> bool {
        // First close: LMDB must not open a file twice in one process.
        state.tables = None;
        match Tables::open(&self.dir, self.options.sync, state.map_len_bytes) {
            Ok(tables) => {
                state.map_len_bytes = tables.map_len_bytes;
                state.tables = Some(tables);
                true
            }
            Err(error) => {
                log::error!("cannot open the database {} again: {error}", self.data.display());
                false
            }
        }
    }

    /// Makes the map longer, at least twice as long, unless another append did it meanwhile.
    ///
    /// It opens the environment anew instead of resizing it (`mdb_env_set_mapsize`): when there is no address
    /// space for the new map, that function leaves the environment without any, and the next use of it would
    /// crash. Besides, this is the way that repairs take, so that there is one.
    fn grow(&self, full_len: usize, wanted_len: usize) -> Result<(), AppendError> {
        let mut state = self.alone();
        if state.map_len_bytes > full_len {
            return Ok(());
        }
        let limit = |reason: String| AppendError::MapLimit {
            path: self.data.clone(),
            map_len_bytes: full_len,
            reason,
        };
        if full_len >= self.options.max_map_len_bytes {
            return Err(limit("that is the limit that was set for it".to_owned()));
        }
        // What LMDB needs beside the contents is less than as much again, or else the next round adds it.
        let enough = full_len.saturating_add(wanted_len.saturating_mul(2));
        let len = full_len.saturating_mul(2).max(enough).min(self.options.max_map_len_bytes);
        state.map_len_bytes = round_up(len);
        if self.reopen(&mut state) {
            return Ok(());
        }
        let reason = format!("no address space of {} octets", state.map_len_bytes);
        state.map_len_bytes = full_len;
        self.reopen(&mut state);
        Err(limit(reason))
    }

    // A panic under the lock leaves nothing half done: the transaction is undone, and tables are replaced
    // by one assignment. So a poisoned lock is as good as any.
    fn shared(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn alone(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn read_error(&self, error: lmdb::Error) -> ReadError {
        let path = self.data.clone();
        match os_error(error) {
            Some(source) => ReadError::Io { path, source },
            None => ReadError::Database { path, source: error },
        }
    }

    fn append_error(&self, error: lmdb::Error, content_len: usize) -> AppendError {
        let path = self.data.clone();
        match os_error(error) {
            // The disk became full in the midst of a write: the system wrote less than asked, which LMDB
            // reports as an input/output error. Say what it is.
            Some(source) if source.raw_os_error() == Some(libc::EIO) => {
                let full = directory::is_full(&self.dir, (content_len as u64).saturating_mul(2));
                let source = if full { io::Error::from_raw_os_error(libc::ENOSPC) } else { source };
                AppendError::Io { path, source }
            }
            Some(source) => AppendError::Io { path, source },
            None => AppendError::Database { path, source: error },
        }
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        // Who does without a sync per append still gets one at the end of an orderly run.
        if let (false, Some(tables)) = (self.options.sync, &self.alone().tables)
            && let Err(error) = tables.env.sync(true)
        {
            log::error!("cannot synchronize {}: {error}", self.data.display());
        }
    }
}

/// The map length to open a database of `data_len` octets with: room to grow by half before the first
/// doubling.
fn first_map_len(data_len: usize, options: &Options) -> usize {
    let roomy = data_len.saturating_add(data_len / 2);
    round_up(options.initial_map_len_bytes.max(roomy).min(options.max_map_len_bytes))
}

/// A map is a multiple of the system's page, which is at most this.
fn round_up(len: usize) -> usize {
    const PAGE: usize = 65536;
    len.checked_next_multiple_of(PAGE).unwrap_or(len / PAGE * PAGE).max(PAGE)
}

/// Why one try of an append failed.
enum Failure {
    /// The map of this length is full.
    MapFull(usize),
    /// The environment must be opened anew before it is used again.
    Broken(lmdb::Error),
    /// The batch is not in order.
    Refused(AppendError),
    /// Something else; the environment is sound.
    Lmdb(lmdb::Error),
}

/// Writes all of a batch in one transaction.
fn try_append<P: AsRef<[u8]>>(tables: &Tables, batch: &Batch<P>) -> Result<(), Failure> {
    let map_full = || Failure::MapFull(tables.map_len_bytes);
    let mut update = Lmdb { txn: tables.env.begin_rw_txn().map_err(Failure::Broken)?, tables };
    write_batch(&mut update, batch).map_err(|error| match error {
        WriteError::Refused(error) => Failure::Refused(error),
        WriteError::Engine(lmdb::Error::MapFull) => map_full(),
        WriteError::Engine(error) => Failure::Lmdb(error),
    })?;
    // A failed commit leaves an environment that LMDB itself may refuse from then on.
    update.txn.commit().map_err(|error| match error {
        lmdb::Error::MapFull => map_full(),
        error => Failure::Broken(error),
    })
}
