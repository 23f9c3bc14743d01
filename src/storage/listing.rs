//! What a store holds, for its operator: read beside a store that runs, without holding or changing anything.

use std::fs;
use std::path::Path;

use super::directory::{self, DATA_FILE, READERS_FILE, failed};
use super::error::OpenError;
use super::lmdb::Lmdb;
use super::lookup::{self, Partition};
use super::tables::{Tables, database_error};

/// All partitions of the log in `dir`, by subject and address, as they are at one moment.
///
/// The log may be in use by another process; not by this one, as LMDB must not open a file twice in one.
///
/// # Errors
///
/// When there is no log, or it cannot be read. Nothing is changed in any case.
pub fn list(dir: &Path) -> Result<Vec<Partition>, OpenError> {
    if !fs::metadata(dir).map_err(failed("look at the directory", dir))?.is_dir() {
        return Err(OpenError::NotADirectory { path: dir.to_path_buf() });
    }
    directory::look(dir)?;
    let data = dir.join(DATA_FILE);
    // Who reads stands in LMDB's table of readers, so that the store leaves alone what is being read. Where there is no
    // such table no store runs, and none must be made: it would belong to who asks, and keep the store out.
    let is_locked = directory::exists(&dir.join(READERS_FILE))?;
    let tables = Tables::open_to_read(dir, &data, is_locked)?;
    let listed = tables.env.begin_ro_txn().and_then(|txn| lookup::list(&Lmdb { txn, tables: &tables }, None));
    let mut listed = listed.map_err(|error| database_error(&data, error))?;
    // The database's own order begins with the length of the subject.
    listed.sort_by(|a, b| (&a.subject, &a.address).cmp(&(&b.subject, &b.address)));
    Ok(listed)
}
