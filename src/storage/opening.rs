//! What happens when a log is opened: in which order its directory is looked at, taken, filled or checked, and put on
//! disk. doc/storage-format.md says why in this order.
//!
//! It is written over what it needs of a directory, so that the simulation in tests/simulation runs this very code over a
//! disk that loses what was not synced.

use std::path::Path;

use super::append::NEXT_ID_KEY;
use super::engine::{Table, Update};
use super::error::OpenError;

/// The format version that this library writes, and the newest that it reads.
pub const FORMAT: u32 = 1;

const MAGIC_KEY: &str = "magic";
const MAGIC: &[u8] = b"dafka store";
const FORMAT_KEY: &str = "format";

/// A directory for a log. What is done to its entries holds at once, and survives a power loss once
/// [`Directory::sync`] has returned.
pub trait Directory {
    /// Holds it for one log.
    type Lock;
    /// A database that is open.
    type Database;

    /// Makes sure that it is there, and holds nothing of others. Touches nothing in it.
    ///
    /// # Errors
    /// When it is another's, or cannot be looked at.
    fn claim(&self) -> Result<(), OpenError>;

    /// Whether there is a database.
    ///
    /// # Errors
    /// When that cannot be told.
    fn has_database(&self) -> Result<bool, OpenError>;

    /// Whether there is a lock file.
    ///
    /// # Errors
    /// When that cannot be told.
    fn has_lock(&self) -> Result<bool, OpenError>;

    /// Makes the lock file when it is missing, and locks it.
    ///
    /// # Errors
    /// When somebody else holds it, or it cannot be made.
    fn lock(&self) -> Result<Self::Lock, OpenError>;

    /// Checks that the database is a store's, and can be opened. `is_ours`: it is known to be; then it may be put right.
    ///
    /// # Errors
    /// When it is not; it is left as it was.
    fn check(&self, is_ours: bool) -> Result<(), OpenError>;

    /// Builds a new, empty database under another name; what was left of another try is removed before.
    ///
    /// # Errors
    /// When that fails.
    fn build_new(&self) -> Result<(), OpenError>;

    /// Puts the new database on disk.
    ///
    /// # Errors
    /// When that fails.
    fn sync_new(&self) -> Result<(), OpenError>;

    /// Gives the new database its name.
    ///
    /// # Errors
    /// When that fails.
    fn rename_new(&self) -> Result<(), OpenError>;

    /// Puts the directory's entries on disk.
    ///
    /// # Errors
    /// When that fails.
    fn sync(&self) -> Result<(), OpenError>;

    /// Opens the database, which is there and was checked.
    ///
    /// # Errors
    /// When that fails.
    fn open(&self) -> Result<Self::Database, OpenError>;

    /// Puts on disk whatever the database shows.
    ///
    /// # Errors
    /// When that fails.
    fn settle(&self, database: &Self::Database) -> Result<(), OpenError>;
}

/// What [`open`] has opened.
pub struct Opened<D: Directory> {
    /// The database.
    pub database: D::Database,
    /// What holds the directory.
    pub lock: D::Lock,
    /// It was there without a lock file, so it is a copy: another store than the one that it was copied from.
    pub is_adopted: bool,
}

/// Opens the log in a directory, which is made when it is missing.
///
/// # Errors
/// See [`OpenError`]; a directory or a database of something else is left as it was.
pub fn open<D: Directory>(directory: &D) -> Result<Opened<D>, OpenError> {
    directory.claim()?;
    // Whoever makes a store makes its lock file first. A database without one is another's, or was
    // copied: look at it before leaving a trace. In this order, as another process may be at work.
    let is_adopted = directory.has_database()? && !directory.has_lock()?;
    if is_adopted {
        directory.check(false)?;
    }
    let lock = directory.lock()?;
    if !directory.has_database()? {
        // It appears whole or not at all, also when the power fails: it is built under another name, put on disk, and then
        // renamed.
        directory.build_new()?;
        directory.sync_new()?;
        directory.rename_new()?;
        directory.sync()?;
        return Ok(Opened { database: directory.open()?, lock, is_adopted });
    }
    directory.check(true)?;
    // What is there may be with the operating system only: an earlier run did not synchronize, or was killed
    // before it could. From now on it counts as durable, and is acknowledged: that must be so. First the entries: without
    // its name a database is lost, and without the lock file it would not be known to be ours.
    directory.sync()?;
    let database = directory.open()?;
    directory.settle(&database)?;
    Ok(Opened { database, lock, is_adopted })
}

/// What a new database holds: what says whose it is, and of which format.
///
/// # Errors
/// The engine's.
pub fn write_new<U: Update>(txn: &mut U) -> Result<(), U::Error> {
    txn.put(Table::Meta, MAGIC_KEY.as_bytes(), MAGIC)?;
    txn.put(Table::Meta, FORMAT_KEY.as_bytes(), &FORMAT.to_be_bytes())?;
    txn.put(Table::Meta, NEXT_ID_KEY.as_bytes(), &0u64.to_be_bytes())
}

/// The format version by what the table `meta` holds: `found` gives the value of a key. Nothing when the database is not
/// a store's.
///
/// # Errors
/// Those of `found`.
pub fn format_of<'a, E>(found: impl Fn(&[u8]) -> Result<Option<&'a [u8]>, E>) -> Result<Option<u32>, E> {
    if found(MAGIC_KEY.as_bytes())? != Some(MAGIC) {
        return Ok(None);
    }
    let format = found(FORMAT_KEY.as_bytes())?.and_then(|octets| octets.try_into().ok());
    Ok(format.map(u32::from_be_bytes))
}

/// Whether a database of this format can be opened.
///
/// # Errors
/// When it is not a store's, or of a later version.
pub fn check_format(data: &Path, format: Option<u32>, is_ours: bool) -> Result<(), OpenError> {
    let not_a_store = |reason| Err(OpenError::NotAStore { path: data.to_path_buf(), reason });
    match format {
        Some(format) if format > FORMAT => {
            Err(OpenError::NewerFormat { path: data.to_path_buf(), found: format, supported: FORMAT })
        }
        Some(1..) => Ok(()),
        _ if is_ours => not_a_store("what makes it one is missing or damaged"),
        _ => not_a_store("it is the LMDB database of something else"),
    }
}
