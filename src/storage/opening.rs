//! The steps of opening a log, in an order that is safe when the process or the power fails after any step.
//! doc/storage-format.md explains the order.
//!
//! The trait [`Directory`] contains the single steps. The simulation in tests/simulation implements it over a simulated
//! disk that loses unsynchronized data.

use std::path::Path;

use super::append::NEXT_ID_KEY;
use super::engine::{Table, Update};
use super::error::OpenError;

/// The format version that this library writes, and the newest that it reads.
pub const FORMAT: u32 = 2;

const MAGIC_KEY: &str = "magic";
const MAGIC: &[u8] = b"dafka store";
const FORMAT_KEY: &str = "format";

/// The directory of a log. Changes of its entries are visible at once. They survive a power loss only after
/// [`Directory::sync`].
pub trait Directory {
    /// Keeps the directory locked for one log.
    type Lock;
    /// An open database.
    type Database;

    /// Creates a missing directory, and refuses a directory with foreign entries. Changes nothing in an existing
    /// directory.
    ///
    /// # Errors
    /// When the directory belongs to another program, or cannot be created or read.
    fn claim(&self) -> Result<(), OpenError>;

    /// Whether there is a database.
    ///
    /// # Errors
    /// When that cannot be determined.
    fn has_database(&self) -> Result<bool, OpenError>;

    /// Whether there is a lock file.
    ///
    /// # Errors
    /// When that cannot be determined.
    fn has_lock(&self) -> Result<bool, OpenError>;

    /// Creates the lock file if it is missing, and locks it.
    ///
    /// # Errors
    /// When another log has locked the file, or the file cannot be created.
    fn lock(&self) -> Result<Self::Lock, OpenError>;

    /// Checks that the database belongs to a store and can be opened. `is_ours` is true if the database is known to
    /// belong to a store. In this case, the check may extend a file that is too short.
    ///
    /// # Errors
    /// When the database does not belong to a store, or cannot be opened. The database is not changed.
    fn check(&self, is_ours: bool) -> Result<(), OpenError>;

    /// Builds a new, empty database under a temporary name. First removes the files of an interrupted attempt.
    ///
    /// # Errors
    /// When this step fails.
    fn build_new(&self) -> Result<(), OpenError>;

    /// Synchronizes the new database.
    ///
    /// # Errors
    /// When this step fails.
    fn sync_new(&self) -> Result<(), OpenError>;

    /// Renames the new database to its final name.
    ///
    /// # Errors
    /// When this step fails.
    fn rename_new(&self) -> Result<(), OpenError>;

    /// Synchronizes the entries of the directory.
    ///
    /// # Errors
    /// When this step fails.
    fn sync(&self) -> Result<(), OpenError>;

    /// Opens the database, which was checked or created before.
    ///
    /// # Errors
    /// When this step fails.
    fn open(&self) -> Result<Self::Database, OpenError>;

    /// Synchronizes everything that the database contains.
    ///
    /// # Errors
    /// When this step fails.
    fn settle(&self, database: &Self::Database) -> Result<(), OpenError>;
}

/// An open log.
pub struct Opened<D: Directory> {
    /// The database.
    pub database: D::Database,
    /// Keeps the directory locked.
    pub lock: D::Lock,
    /// The database had no lock file. So it counts as a copy, and as another store than its original.
    pub is_adopted: bool,
}

/// Opens the log in a directory. Creates the directory and the log if they are missing.
///
/// # Errors
/// See [`OpenError`]. Directories and databases of other programs are not changed.
pub fn open<D: Directory>(directory: &D) -> Result<Opened<D>, OpenError> {
    directory.claim()?;
    // A new store creates its lock file first. A database without a lock file is a copy or belongs to another program,
    // so it is checked before anything is written. Another process may be creating a store at the same time. That
    // process creates the lock file before the database. So this function looks for the database first, and then for
    // the lock file.
    let is_adopted = directory.has_database()? && !directory.has_lock()?;
    if is_adopted {
        directory.check(false)?;
    }
    let lock = directory.lock()?;
    if !directory.has_database()? {
        // The database is complete or absent, even after a power loss: it is built under a temporary name,
        // synchronized, and then renamed.
        directory.build_new()?;
        directory.sync_new()?;
        directory.rename_new()?;
        directory.sync()?;
        return Ok(Opened { database: directory.open()?, lock, is_adopted });
    }
    directory.check(true)?;
    // The operating system may not have written everything to disk yet: an earlier process may have used no
    // synchronization, or may have been killed before the synchronization. From now on the contents count as durable
    // and are acknowledged, so synchronize them. The entries of the directory come first: a database without its entry
    // is lost, and a database without its lock file would count as a copy.
    directory.sync()?;
    let database = directory.open()?;
    directory.settle(&database)?;
    Ok(Opened { database, lock, is_adopted })
}

/// Writes the contents of a new database: the mark of a store, the format version and the next partition number.
///
/// # Errors
/// The errors of the engine.
pub fn write_new<U: Update>(txn: &mut U) -> Result<(), U::Error> {
    txn.put(Table::Meta, MAGIC_KEY.as_bytes(), MAGIC)?;
    txn.put(Table::Meta, FORMAT_KEY.as_bytes(), &FORMAT.to_be_bytes())?;
    txn.put(Table::Meta, NEXT_ID_KEY.as_bytes(), &0u64.to_be_bytes())
}

/// Sets the format version of a database with an older format to the current one. Call this before anything of the
/// current format is written.
pub(super) fn upgrade<U: Update>(txn: &mut U) -> Result<(), U::Error> {
    let format = FORMAT.to_be_bytes();
    if txn.get(Table::Meta, FORMAT_KEY.as_bytes())? == Some(&format) {
        return Ok(());
    }
    txn.put(Table::Meta, FORMAT_KEY.as_bytes(), &format)
}

/// The format version according to the table `meta`. `lookup` returns the value of a key. Returns `None` when the
/// database does not belong to a store.
///
/// # Errors
/// The errors of `lookup`.
pub fn format_of<'a, E>(lookup: impl Fn(&[u8]) -> Result<Option<&'a [u8]>, E>) -> Result<Option<u32>, E> {
    if lookup(MAGIC_KEY.as_bytes())? != Some(MAGIC) {
        return Ok(None);
    }
    let format = lookup(FORMAT_KEY.as_bytes())?.and_then(|octets| octets.try_into().ok());
    Ok(format.map(u32::from_be_bytes))
}

/// Checks that this library can open a database of this format.
///
/// # Errors
/// When the database does not belong to a store, or has a later format.
pub fn check_format(data: &Path, format: Option<u32>, is_ours: bool) -> Result<(), OpenError> {
    let not_a_store = |reason| Err(OpenError::NotAStore { path: data.to_path_buf(), reason });
    match format {
        Some(format) if format > FORMAT => {
            Err(OpenError::NewerFormat { path: data.to_path_buf(), found: format, supported: FORMAT })
        }
        Some(1..) => Ok(()),
        _ if is_ours => not_a_store("its mark or its format version is missing or damaged"),
        _ => not_a_store("it is the LMDB database of another program"),
    }
}
