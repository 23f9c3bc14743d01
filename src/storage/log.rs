//! The log: appending, reading, listing; growing and repairing the environment beneath, unseen.

use std::io;
use std::ops::{Range, RangeInclusive};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use lmdb::{RoTransaction, Transaction};

use super::append::{WriteError, write_batch};
use super::batch::{Batch, Run};
use super::database::NEW_LEN_BYTES;
use super::directory;
use super::error::{AppendError, Corruption, OpenError, ReadError};
use super::fs_directory::FsDirectory;
use super::keys::{PartitionId, PartitionKey, PartitionName, PartitionValue, record_key};
use super::lmdb::{Lmdb, RECORDS, Tables, os_error};
use super::opening::{self, Opened};
use super::options::{Options, round_up};
use super::pages::{Pages, Unsound};
use super::partitions::{self, Partition};
use super::scan::{self, Limited, Unread};
use crate::text::printable_path;

/// Records whose pages are checked beyond those that are read now.
const LOOK_AHEAD_COUNT: u64 = 16_384;

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
    pages: Pages,
    options: Options,
    /// It still has the name of the log that it was copied from.
    is_copy: AtomicBool,
    /// Holds the directory for this log.
    _lock: directory::Lock,
}

/// Transactions run under the shared lock; who replaces the environment holds it alone.
#[derive(Debug)]
struct State {
    /// Nothing after LMDB failed in a way that it does not recover from, until it could be opened again.
    tables: Option<Tables>,
    /// What to open it with.
    map_len_bytes: usize,
    /// The header that the system shows may not be the one on disk: a commit has failed at its very end. See [`Pages::settle_headers`].
    is_unsettled: bool,
}

impl Log {
    /// Opens the log in `dir`, creating directory and log when missing, and holds it until it is dropped.
    ///
    /// # Errors
    ///
    /// See [`OpenError`]; a directory or a database of something else is left as it was.
    pub fn open(dir: &Path, options: Options) -> Result<Log, OpenError> {
        let directory = FsDirectory::new(dir, &options);
        let Opened { database: (pages, tables), lock, is_adopted } = opening::open(&directory)?;
        let data = directory.data;
        directory::warn_of_access(&data, options.file_mode);
        let state = State { map_len_bytes: tables.map_len_bytes, tables: Some(tables), is_unsettled: false };
        Ok(Log {
            state: RwLock::new(state),
            dir: dir.to_path_buf(),
            data,
            pages,
            options,
            is_copy: AtomicBool::new(is_adopted),
            _lock: lock,
        })
    }

    /// The log's own name, which stays the same for as long as the database exists: `fresh` when it has none yet, or
    /// that of the log of which it is a copy. (A copy is what was opened without a lock file.)
    ///
    /// # Errors
    ///
    /// When the database cannot be read, or the name not be written.
    pub fn identity(&self, fresh: &[u8]) -> Result<Vec<u8>, ReadError> {
        let name = || -> lmdb::Result<Vec<u8>> {
            self.with_tables(|tables| {
                let mut update = Lmdb { txn: tables.env.begin_rw_txn()?, tables };
                let name = if self.is_copy.load(Ordering::Relaxed) {
                    partitions::rename(&mut update, fresh)?
                } else {
                    partitions::identity(&mut update, fresh)?
                };
                update.txn.commit()?;
                self.is_copy.store(false, Ordering::Relaxed);
                Ok(name)
            })?
        };
        name().map_err(|error| match self.read_error(error) {
            ReadError::Io { path, source } => {
                ReadError::Io { path, source: directory::write_error(&self.dir, source, NEW_LEN_BYTES) }
            }
            error => error,
        })
    }

    /// All partitions.
    ///
    /// # Errors
    ///
    /// When the table of partitions cannot be read.
    pub fn partitions(&self) -> Result<Vec<Partition>, ReadError> {
        self.list(None)
    }

    /// The partitions of one topic.
    ///
    /// # Errors
    ///
    /// When the table of partitions cannot be read.
    pub fn partitions_of(&self, topic: &[u8]) -> Result<Vec<Partition>, ReadError> {
        self.list(Some(topic))
    }

    /// Hands the partitions of one topic, or of all, that have records to `each`; `count` at most, from after the place on
    /// where another call has stopped. Returns where it stopped itself; `None` when there are no more.
    ///
    /// All are read from one snapshot, the next ones from another. `each` must not call the log, as in [`Log::read`].
    ///
    /// # Errors
    ///
    /// When the table of partitions cannot be read; those before were handed over.
    pub fn heads(
        &self,
        topic: Option<&[u8]>,
        after: Option<&[u8]>,
        count: u64,
        each: &mut partitions::EachHead,
    ) -> Result<Option<Box<[u8]>>, ReadError> {
        self.reading(|txn| {
            partitions::heads(txn, topic, after, count, each).map_err(|error| self.read_error(error))
        })
    }

    /// One partition, if the log has it.
    ///
    /// # Errors
    ///
    /// When the table of partitions cannot be read.
    pub fn find(&self, name: PartitionName<'_>) -> Result<Option<Partition>, ReadError> {
        self.reading(|txn| partitions::find(txn, name).map_err(|error| self.read_error(error)))
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
    /// [`Log::find`] where to go on.) After [`AppendError::Gone`] no append can succeed any more.
    pub fn append<P: AsRef<[u8]>>(&self, batch: &Batch<P>) -> Result<(), AppendError> {
        if batch.is_empty() {
            return Ok(());
        }
        let mut ends = batch.runs().filter(|run| run.count > 0);
        let appended = ends.try_for_each(|run| self.check_end(run)).and_then(|()| self.append_checked(batch));
        // Also after a failure: the reason may be that the file is gone.
        self.check_presence()?;
        appended
    }

    /// Checks that the path of the database still leads to the file that is open. One system call.
    ///
    /// # Errors
    ///
    /// [`AppendError::Gone`] when it does not: nothing that the log holds will be found again.
    pub fn check_presence(&self) -> Result<(), AppendError> {
        match self.pages.why_gone(&self.data) {
            Ok(None) => Ok(()),
            Ok(Some(reason)) => Err(AppendError::Gone { path: self.data.clone(), reason }),
            Err(source) => Err(AppendError::Io { path: self.data.clone(), source }),
        }
    }

    /// Frees the places of processes that ended while they read the database: as long as those count as readers, the
    /// database grows with each append. To be called now and then; returns how many there were.
    ///
    /// # Errors
    ///
    /// When LMDB cannot look at its table of readers.
    pub fn clear_stale_readers(&self) -> Result<usize, ReadError> {
        let cleared = self.with_tables(Tables::clear_stale_readers).and_then(|cleared| cleared);
        cleared.map_err(|error| self.read_error(error))
    }

    /// Appends a batch whose partitions end in sound pages.
    fn append_checked<P: AsRef<[u8]>>(&self, batch: &Batch<P>) -> Result<(), AppendError> {
        let mut repaired = false;
        loop {
            self.sync()?;
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

    /// Puts all that the log holds on disk, however it got there. For who has found in the log what could not be
    /// appended: that commit's synchronization may have failed, and the operating system does not try it again.
    /// Does nothing when all is on disk already, nor without [`Options::sync`].
    ///
    /// # Errors
    ///
    /// As [`Log::append`].
    pub fn sync(&self) -> Result<(), AppendError> {
        self.settle().map_err(|source| match source.raw_os_error() {
            Some(code) => self.append_error(lmdb::Error::Other(code), 0),
            None => AppendError::Io { path: self.data.clone(), source },
        })
    }

    fn settle(&self) -> io::Result<()> {
        if !self.options.sync || !self.shared().is_unsettled {
            return Ok(());
        }
        let mut state = self.alone();
        self.pages.settle_headers(&self.data)?;
        state.is_unsettled = false;
        Ok(())
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
        name: PartitionName<'_>,
        from: u64,
        max_count: u64,
        max_len_bytes: usize,
        each: &mut dyn FnMut(u64, &[u8]) -> bool,
    ) -> Result<u64, ReadError> {
        self.reading(|snapshot| {
            let max_count = self.sound_count(snapshot, name, from, max_count)?;
            let limited = Limited { from, max_count, max_len_bytes, each };
            scan::read(snapshot, name, limited).map_err(|unread| match unread {
                Unread::Engine(error) => self.read_error(error),
                Unread::Corrupt { id, offset, reason } => {
                    ReadError::Corrupt(self.corruption(&Damage { name, id, offset }, reason))
                }
            })
        })
    }

    /// How many records from one on, at most so many, can be read without meeting a damaged page; an error when the
    /// first one cannot.
    fn sound_count(
        &self,
        snapshot: &Lmdb<'_, RoTransaction<'_>>,
        name: PartitionName<'_>,
        from: u64,
        max_count: u64,
    ) -> Result<u64, ReadError> {
        let Some(key) = PartitionKey::new(name) else { return Ok(max_count) };
        let value = partitions::find_value(snapshot, &key).map_err(|error| self.read_error(error))?;
        let Some(PartitionValue { id, first, next }) = value else { return Ok(max_count) };
        let wanted = from.max(first)..from.saturating_add(max_count).min(next);
        if wanted.is_empty() {
            return Ok(max_count);
        }
        let damage = Damage { name, id, offset: wanted.start };
        Ok(self.sound_end(snapshot, wanted, next, &damage)? - from)
    }

    /// How far the pages of some records are sound; an error when those of the first one are not. Looks ahead, so that
    /// one who reads on and on does not make it look each time.
    fn sound_end(
        &self,
        snapshot: &Lmdb<'_, RoTransaction<'_>>,
        wanted: Range<u64>,
        next: u64,
        damage: &Damage<'_>,
    ) -> Result<u64, ReadError> {
        let Range { start, end } = wanted;
        if self.pages.is_checked(damage.id.0, start..end) {
            return Ok(end);
        }
        let check = |end: u64| {
            let keys = record_key(damage.id, start)..=record_key(damage.id, end - 1);
            self.check_pages(snapshot, keys, damage)?;
            self.pages.set_checked(damage.id.0, start..end);
            Ok(())
        };
        let ahead = end.saturating_add(LOOK_AHEAD_COUNT).min(next);
        if check(ahead).is_ok() {
            return Ok(end);
        }
        // What comes before the damage is handed out.
        let mut end = end;
        loop {
            match check(end) {
                Ok(()) => return Ok(end),
                Err(error) if end - start == 1 => return Err(error),
                Err(_) => end = start + (end - start) / 2,
            }
        }
    }

    /// Before the first append to a partition: whether the way to its end is sound.
    fn check_end(&self, run: Run<'_>) -> Result<(), AppendError> {
        let Run { name, .. } = run;
        let Some(key) = PartitionKey::new(name) else { return Ok(()) };
        let checked = self.pages.once(key.as_ref(), || {
            self.reading(|snapshot| {
                let value = partitions::find_value(snapshot, &key).map_err(|error| self.read_error(error))?;
                // A new partition's records come after those of all others.
                let Some(PartitionValue { id, next, .. }) = value else {
                    let damage = Damage { name, id: PartitionId(u64::MAX), offset: 0 };
                    return self.check_pages(snapshot, [0xff; 16]..=[0xff; 16], &damage);
                };
                let damage = Damage { name, id, offset: next };
                self.check_pages(snapshot, record_key(id, next)..=record_key(id, next), &damage)?;
                match partitions::has_records_beyond(snapshot, id, next) {
                    Ok(true) => {
                        let reason = "there are records beyond the end of the partition";
                        Err(ReadError::Corrupt(self.corruption(&damage, reason)))
                    }
                    Ok(false) => Ok(()),
                    Err(error) => Err(self.read_error(error)),
                }
            })
        });
        checked.map_err(|error| match error {
            ReadError::Corrupt(corruption) => AppendError::Corrupt(corruption),
            ReadError::Io { path, source } => AppendError::Io { path, source },
            ReadError::Database { path, source } => AppendError::Database { path, source },
        })
    }

    /// Checks the pages of records that LMDB is about to visit.
    fn check_pages(
        &self,
        snapshot: &Lmdb<'_, RoTransaction<'_>>,
        keys: RangeInclusive<[u8; 16]>,
        damage: &Damage<'_>,
    ) -> Result<(), ReadError> {
        let Lmdb { txn, tables } = snapshot;
        let tree = txn.get(tables.main, &RECORDS).map_err(|error| self.read_error(error))?;
        self.pages.check_records(tree, &keys).map_err(|unsound| match unsound {
            Unsound::Io(source) => ReadError::Io { path: self.data.clone(), source },
            Unsound::Damaged { reason, .. } => ReadError::Corrupt(self.corruption(damage, reason)),
        })
    }

    fn corruption(&self, damage: &Damage<'_>, reason: &'static str) -> Box<Corruption> {
        Box::new(Corruption {
            path: self.data.clone(),
            topic: damage.name.topic.to_vec(),
            producer: damage.name.producer.to_vec(),
            id: damage.id,
            offset: damage.offset,
            reason,
        })
    }

    fn list(&self, topic: Option<&[u8]>) -> Result<Vec<Partition>, ReadError> {
        self.reading(|txn| partitions::list(txn, topic).map_err(|error| self.read_error(error)))
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
                state.tables = Some(self.open_tables(state.map_len_bytes)?);
            }
        }
    }

    /// After LMDB gave up on its environment: puts a new one in its place. When that fails, the next user
    /// of it tries again.
    fn replace_tables(&self) {
        let mut state = self.alone();
        state.is_unsettled = true;
        self.reopen(&mut state);
    }

    /// Closes the environment and opens it with the map length that `state` says; true when it is open then.
    fn reopen(&self, state: &mut State) -> bool {
        // First close: LMDB must not open a file twice in one process.
        state.tables = None;
        match self.open_tables(state.map_len_bytes) {
            Ok(tables) => {
                state.map_len_bytes = tables.map_len_bytes;
                state.tables = Some(tables);
                true
            }
            Err(error) => {
                log::error!("cannot open the database {} again: {error}", printable_path(&self.data));
                false
            }
        }
    }

    /// Opens the environment anew, but never another file than the one that this log holds: LMDB would make a new one.
    fn open_tables(&self, map_len_bytes: usize) -> lmdb::Result<Tables> {
        match self.pages.why_gone(&self.data) {
            Ok(None) => Tables::open(&self.dir, &self.options, map_len_bytes),
            _ => Err(lmdb::Error::Other(libc::ENOENT)),
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
            Some(source) => {
                let len_bytes = (content_len as u64).saturating_mul(2);
                AppendError::Io { path, source: directory::write_error(&self.dir, source, len_bytes) }
            }
            None => AppendError::Database { path, source: error },
        }
    }
}

/// Where something is damaged.
struct Damage<'a> {
    name: PartitionName<'a>,
    id: PartitionId,
    offset: u64,
}

impl Drop for Log {
    fn drop(&mut self) {
        // Who does without a sync per append still gets one at the end of an orderly run.
        if let (false, Some(tables)) = (self.options.sync, &self.alone().tables)
            && let Err(error) = tables.env.sync(true)
        {
            log::error!("cannot synchronize {}: {error}", printable_path(&self.data));
        }
    }
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
