//! The log: appending, reading and listing records.

mod environment;
mod page_checks;

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use lmdb::Transaction;

use self::environment::Environment;
use self::page_checks::Place;
use super::append::{Tails, WriteError, write_batch};
use super::batch::Batch;
use super::directory;
use super::error::{AppendError, OpenError, ReadError};
use super::keys::PartitionName;
use super::lmdb::{FsDirectory, Lmdb, NEW_LEN_BYTES, Tables};
use super::opening::{self, Opened};
use super::options::Options;
use super::partitions::{self, Partition};
use super::positions::{self, EachPosition};
use super::records::AsRecords;
use super::scan::{self, Limited, LimitedBatches, StoredBatch, Unread};
use crate::committed::Committed;
use crate::wire::batch::Record;

/// A log of records in a directory of its own; see the [module](super).
///
/// Threads can share a log. Only one thread at a time appends. Reads can run at the same time as other reads and an
/// append.
#[derive(Debug)]
pub struct Log {
    // This field stands before `_lock`: fields are dropped in the order of their declarations, and the database must be
    // closed before another process can lock the directory.
    environment: Environment,
    /// The log is a copy of another log, and still has the name of that log.
    is_copy: AtomicBool,
    /// The last values of partitions, to which the next append may add records. An append holds the lock.
    tails: Mutex<Tails>,
    /// Keeps the directory locked.
    _lock: directory::Lock,
}

impl Log {
    /// Opens the log in `dir`, and creates the directory and the log if they are missing. Other processes cannot open
    /// the log until this value is dropped.
    ///
    /// # Errors
    ///
    /// See [`OpenError`]. Directories and databases of other programs are not changed.
    pub fn open(dir: &Path, options: Options) -> Result<Log, OpenError> {
        let directory = FsDirectory::new(dir, &options);
        let Opened { database: (pages, tables), lock, is_adopted } = opening::open(&directory)?;
        let data = directory.data;
        directory::warn_of_access(&data, options.file_mode);
        Ok(Log {
            environment: Environment::new(dir.to_path_buf(), data, options, pages, tables),
            is_copy: AtomicBool::new(is_adopted),
            tails: Mutex::default(),
            _lock: lock,
        })
    }

    /// The log's own name. It stays the same as long as the database exists. `fresh` is a new name. A log
    /// without a name gets it, and so does a copy of another log. A database that was opened without a lock file counts
    /// as a copy.
    ///
    /// # Errors
    ///
    /// When the database cannot be read, or the name cannot be written.
    pub fn identity(&self, fresh: &[u8]) -> Result<Vec<u8>, ReadError> {
        let name = || -> lmdb::Result<Vec<u8>> {
            self.environment.with_tables(|tables| {
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
        name().map_err(|error| match self.environment.read_error(error) {
            ReadError::Io { path, source } => {
                let source = directory::write_error(&self.environment.dir, source, NEW_LEN_BYTES);
                ReadError::Io { path, source }
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

    fn list(&self, topic: Option<&[u8]>) -> Result<Vec<Partition>, ReadError> {
        self.environment
            .reading(|txn| partitions::list(txn, topic).map_err(|error| self.environment.read_error(error)))
    }

    /// Visits partitions of one topic or of all topics, and calls `each` with the head of each one that has records. A
    /// call visits at most `count` partitions. It continues after the position `after`, at which an earlier call
    /// stopped. Returns the position at which this call stopped, or `None` when there are no further partitions.
    ///
    /// One call reads from one snapshot, the next call from another one. `each` must not call the log, as in
    /// [`Log::read`].
    ///
    /// # Errors
    ///
    /// When the table of partitions cannot be read. `each` was called for the partitions before the error.
    pub fn heads(
        &self,
        topic: Option<&[u8]>,
        after: Option<&[u8]>,
        count: u64,
        each: &mut partitions::EachHead,
    ) -> Result<Option<Box<[u8]>>, ReadError> {
        self.environment.reading(|txn| {
            let heads = partitions::heads(txn, topic, after, count, each);
            heads.map_err(|error| self.environment.read_error(error))
        })
    }

    /// A partition; `None` when the log does not contain it.
    ///
    /// # Errors
    ///
    /// When the table of partitions cannot be read.
    pub fn find(&self, name: PartitionName<'_>) -> Result<Option<Partition>, ReadError> {
        self.environment
            .reading(|txn| partitions::find(txn, name).map_err(|error| self.environment.read_error(error)))
    }

    /// The committed position of a consumer in a partition; `None` when there is none.
    ///
    /// # Errors
    ///
    /// When the table of positions cannot be read.
    pub fn find_position(
        &self,
        name: &[u8],
        partition: PartitionName<'_>,
    ) -> Result<Option<Committed>, ReadError> {
        self.environment.reading(|txn| {
            positions::find(txn, name, partition).map_err(|error| self.environment.read_error(error))
        })
    }

    /// Visits the committed positions of one consumer, or of all consumers, as [`Log::heads`] visits heads.
    ///
    /// # Errors
    ///
    /// When the table of positions cannot be read. `each` was called for the positions before the error.
    pub fn positions(
        &self,
        name: Option<&[u8]>,
        after: Option<&[u8]>,
        count: u64,
        each: &mut EachPosition,
    ) -> Result<Option<Box<[u8]>>, ReadError> {
        self.environment.reading(|txn| {
            let listed = positions::list(txn, name, after, count, each);
            listed.map_err(|error| self.environment.read_error(error))
        })
    }

    /// Appends a whole batch, or nothing of it, and waits until it is on disk (see [`Options::sync`]).
    ///
    /// When the memory map is full, the append waits until the current reads have ended, and makes the map longer.
    ///
    /// # Errors
    ///
    /// Each run must begin where its partition ends, or at 0 for a new partition. Otherwise the error is
    /// [`AppendError::NotContiguous`].
    ///
    /// After any error, the log is unchanged and remains usable, and the caller may append the same batch again. There
    /// are two exceptions. First, the disk may fail in the last step of a commit, and again while that step is undone.
    /// The log then contains the batch after all. The second attempt returns `NotContiguous`, and [`Log::find`] returns
    /// the offset to continue at. Second, after [`AppendError::Gone`] no append can succeed.
    pub fn append<P: AsRecords>(&self, batch: &Batch<P>) -> Result<(), AppendError> {
        if batch.is_empty() {
            return Ok(());
        }
        let mut runs = batch.runs().filter(|run| run.count > 0);
        let appended = runs
            .try_for_each(|run| self.environment.check_end(run))
            .and_then(|()| self.append_checked(batch));
        // This check follows a failed append too: the append may have failed because the file was removed.
        self.check_presence()?;
        appended
    }

    /// Checks with one system call that the path of the database still refers to the open file.
    ///
    /// # Errors
    ///
    /// [`AppendError::Gone`] when the path does not refer to the open file: it was removed, renamed or replaced. If it
    /// was removed, its contents are lost when the log is closed.
    pub fn check_presence(&self) -> Result<(), AppendError> {
        let Environment { data, pages, .. } = &self.environment;
        match pages.why_gone(data) {
            Ok(None) => Ok(()),
            Ok(Some(reason)) => Err(AppendError::Gone { path: data.clone(), reason }),
            Err(source) => Err(AppendError::Io { path: data.clone(), source }),
        }
    }

    /// Removes from LMDB's table of readers the processes that ended during a read, and returns their number. While
    /// such processes are in the table, the database grows with each append. So call this from time to time.
    ///
    /// # Errors
    ///
    /// When LMDB cannot access its table of readers.
    pub fn clear_stale_readers(&self) -> Result<usize, ReadError> {
        let cleared = self.environment.with_tables(Tables::clear_stale_readers).and_then(|cleared| cleared);
        cleared.map_err(|error| self.environment.read_error(error))
    }

    /// Appends a batch after the ends of its partitions were checked.
    fn append_checked<P: AsRecords>(&self, batch: &Batch<P>) -> Result<(), AppendError> {
        let environment = &self.environment;
        // After a panic, the tails are still valid: an append compares them with the database.
        let mut tails = self.tails.lock().unwrap_or_else(PoisonError::into_inner);
        let mut is_replaced = false;
        loop {
            self.sync()?;
            let tried = environment.with_tables(|tables| try_append(tables, batch, &mut tails));
            match tried.map_err(|error| environment.append_error(error, batch.len_bytes()))? {
                Ok(()) => return Ok(()),
                Err(Failure::MapFull(len)) => environment.grow(len, batch.len_bytes())?,
                Err(Failure::Refused(error)) => return Err(error),
                // An earlier failure that was not reported causes this error. Try once more after reopening the
                // database.
                Err(Failure::Broken(lmdb::Error::Panic)) if !is_replaced => {
                    environment.replace_tables();
                    is_replaced = true;
                }
                Err(Failure::Broken(error)) => {
                    environment.replace_tables();
                    return Err(environment.append_error(error, batch.len_bytes()));
                }
                Err(Failure::Lmdb(error)) => {
                    return Err(environment.append_error(error, batch.len_bytes()));
                }
            }
        }
    }

    /// Synchronizes everything that the log contains. A caller needs this when it finds records in the log after the
    /// append of these records has failed: the operating system does not retry a failed synchronization.
    ///
    /// Does nothing if everything is on disk, or if [`Options::sync`] is false.
    ///
    /// # Errors
    ///
    /// As for [`Log::append`].
    pub fn sync(&self) -> Result<(), AppendError> {
        self.environment.settle().map_err(|source| match source.raw_os_error() {
            Some(code) => self.environment.append_error(lmdb::Error::Other(code), 0),
            None => AppendError::Io { path: self.environment.data.clone(), source },
        })
    }

    /// Calls `each` for each existing record among `from .. from + max_count` of a partition, in ascending order, with
    /// its offset. Returns the number of calls.
    ///
    /// The read stops before a record if this record would make all keys, headers and contents together longer than
    /// `max_len_bytes`, but it delivers at least one record. It also stops when `each` returns false. A partition that the log does not
    /// contain has no records. One call reads from one snapshot. The records lie in the memory map and are not copied.
    ///
    /// `each` must not call the log: growing the map waits for this read, and other reads wait until the map has grown.
    ///
    /// # Errors
    ///
    /// [`ReadError::Corrupt`] when records are damaged or missing. The records before them were delivered.
    pub fn read(
        &self,
        name: PartitionName<'_>,
        from: u64,
        max_count: u64,
        max_len_bytes: usize,
        each: &mut dyn FnMut(u64, Record) -> bool,
    ) -> Result<u64, ReadError> {
        let environment = &self.environment;
        environment.reading(|snapshot| {
            let max_count = environment.sound_count(snapshot, name, from, max_count)?;
            let limited = Limited { from, max_count, max_len_bytes, each };
            scan::read(snapshot, name, limited).map_err(|unread| self.read_error(name, unread))
        })
    }

    /// Calls `each` for each batch with records among `from .. from + max_count` of a partition, in ascending order.
    /// Returns the offset after the last record of the last batch; `from` when there was none.
    ///
    /// Batches are never cut: the first one may begin before `from`, and the last one may end after the range. From
    /// records in a chunk of format 1, the log builds batches within the range.
    ///
    /// The read stops before a batch if this batch would make all batches together longer than `max_len_bytes`, but it
    /// delivers at least one batch. In all other ways, this function behaves like [`Log::read`].
    ///
    /// # Errors
    ///
    /// As for [`Log::read`]. The batches before the damaged records were delivered.
    pub fn read_batches(
        &self,
        name: PartitionName<'_>,
        from: u64,
        max_count: u64,
        max_len_bytes: usize,
        each: &mut dyn FnMut(StoredBatch<'_>) -> bool,
    ) -> Result<u64, ReadError> {
        let environment = &self.environment;
        environment.reading(|snapshot| {
            let max_count = environment.sound_count(snapshot, name, from, max_count)?;
            let limited = LimitedBatches { from, max_count, max_len_bytes, each };
            scan::read_batches(snapshot, name, limited).map_err(|unread| self.read_error(name, unread))
        })
    }

    fn read_error(&self, name: PartitionName<'_>, unread: Unread<lmdb::Error>) -> ReadError {
        match unread {
            Unread::Engine(error) => self.environment.read_error(error),
            Unread::Corrupt { id, offset, reason } => {
                ReadError::Corrupt(self.environment.corruption(&Place { name, id, offset }, reason))
            }
        }
    }
}

/// Why one attempt to append failed.
enum Failure {
    /// The map, which has this length, is full.
    MapFull(usize),
    /// The database must be reopened before it is used again.
    Broken(lmdb::Error),
    /// The batch cannot be appended.
    Refused(AppendError),
    /// Another error; the open database remains usable.
    Lmdb(lmdb::Error),
}

/// Writes a whole batch in one transaction.
fn try_append<P: AsRecords>(tables: &Tables, batch: &Batch<P>, tails: &mut Tails) -> Result<(), Failure> {
    let map_full = || Failure::MapFull(tables.map_len_bytes);
    let mut update = Lmdb { txn: tables.env.begin_rw_txn().map_err(Failure::Broken)?, tables };
    write_batch(&mut update, batch, tails).map_err(|error| match error {
        WriteError::Refused(error) => Failure::Refused(error),
        WriteError::Engine(lmdb::Error::MapFull) => map_full(),
        WriteError::Engine(error) => Failure::Lmdb(error),
    })?;
    // LMDB may refuse to use an environment after a failed commit.
    update.txn.commit().map_err(|error| match error {
        lmdb::Error::MapFull => map_full(),
        error => Failure::Broken(error),
    })
}
