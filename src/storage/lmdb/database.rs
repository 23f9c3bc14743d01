//! The database file: creating a new one completely, and checking an existing one without changing it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::mem::size_of;
use std::path::{Path, PathBuf};

use lmdb::{DatabaseFlags, Environment, EnvironmentFlags, Transaction};

use super::super::directory::{self, DATA_FILE, NEW_DATA_FILE, failed};
use super::super::error::OpenError;
use super::super::opening::{self, write_new};
use super::pages::{PageError, Pages};
use super::tables::{Lmdb, META, PARTITIONS, POSITIONS, RECORDS, TABLE_COUNT, Tables, mode, os_error};
use crate::text::printable_path;

/// The map length for creating an empty database.
const NEW_MAP_LEN: usize = 1 << 20;

/// An upper limit for the disk space of a new database.
pub(in crate::storage) const NEW_LEN_BYTES: u64 = 1 << 16;

/// Builds an empty database under a temporary name. Removes what an interrupted attempt has left.
pub(super) fn build_new(dir: &Path, file_mode: u32) -> Result<(), OpenError> {
    let new = dir.join(NEW_DATA_FILE);
    match fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(failed("remove the file", &new)(error));
        }
        _ => {}
    }
    build(&new, file_mode).map_err(|error| match database_error(&new, error) {
        OpenError::Io { path, source, .. } => {
            let source = directory::write_error(dir, source, NEW_LEN_BYTES);
            OpenError::Io { action: "create the database", path, source }
        }
        error => error,
    })
}

/// Synchronizes the new database.
pub(super) fn sync_new(dir: &Path) -> Result<(), OpenError> {
    let new = dir.join(NEW_DATA_FILE);
    File::open(&new).and_then(|file| file.sync_all()).map_err(failed("synchronize the file", &new))
}

/// Renames the new database to its final name.
pub(super) fn rename_new(dir: &Path) -> Result<(), OpenError> {
    let data = dir.join(DATA_FILE);
    fs::rename(dir.join(NEW_DATA_FILE), &data).map_err(failed("create the file", &data))
}

fn build(file: &Path, file_mode: u32) -> lmdb::Result<()> {
    let env = Environment::new()
        .set_flags(EnvironmentFlags::NO_SUB_DIR | EnvironmentFlags::NO_LOCK)
        .set_max_dbs(TABLE_COUNT)
        .set_map_size(NEW_MAP_LEN)
        .open_with_permissions(file, mode(file_mode))?;
    let meta = env.create_db(Some(META), DatabaseFlags::empty())?;
    let partitions = env.create_db(Some(PARTITIONS), DatabaseFlags::empty())?;
    let records = env.create_db(Some(RECORDS), DatabaseFlags::empty())?;
    let positions = env.create_db(Some(POSITIONS), DatabaseFlags::empty())?;
    let main = env.open_db(None)?;
    let tables = Tables { env, main, meta, partitions, records, positions, map_len_bytes: NEW_MAP_LEN };
    let mut update = Lmdb { txn: tables.env.begin_rw_txn()?, tables: &tables };
    write_new(&mut update)?;
    update.txn.commit()
}

/// Checks that a file is the database of a store, of a format that this library reads.
///
/// It does not change the file, with one exception. LMDB may leave a file shorter than its header says, when the last
/// pages are unused. The file may also have been truncated. In both cases, an access to the missing pages through the
/// map would kill the process. So if `is_ours` is true (the file is known to belong to a store), this function extends
/// the file by a hole to the length in its header.
pub(super) fn check(data: &Path, is_ours: bool) -> Result<(), OpenError> {
    let (found_len, claimed_len) = lengths(data)?;
    if found_len < claimed_len {
        if !is_ours {
            let reason = "it is shorter than its header says";
            return Err(OpenError::NotAStore { path: data.to_path_buf(), reason });
        }
        log::warn!(
            "{} has {found_len} bytes, but {claimed_len} bytes according to its header; it is extended",
            printable_path(data)
        );
        OpenOptions::new()
            .write(true)
            .open(data)
            .and_then(|file| file.set_len(claimed_len))
            .map_err(failed("extend the database", data))?;
    }
    let checked = check_content(data, claimed_len, is_ours);
    if checked.is_err() && found_len < claimed_len {
        // A refused file gets its previous length back.
        OpenOptions::new()
            .write(true)
            .open(data)
            .and_then(|file| file.set_len(found_len))
            .map_err(failed("shorten the database", data))?;
    }
    checked
}

/// Checks everything after the header pages. The file has the length that the header pages state.
fn check_content(data: &Path, claimed_len: u64, is_ours: bool) -> Result<(), OpenError> {
    let map_len = map_len(data, claimed_len)?;
    check_pages(data)?;
    check_format(data, stored_format(data, map_len), is_ours)
}

fn check_pages(data: &Path) -> Result<(), OpenError> {
    let checked = Pages::open(data).map_err(PageError::from).and_then(|pages| pages.check_small_trees());
    checked.map_err(|error| page_error(data, error))
}

/// Converts an error of the page check.
pub(super) fn page_error(data: &Path, error: PageError) -> OpenError {
    match error {
        PageError::Io(error) => failed("read the database", data)(error),
        PageError::Damaged { page, reason } => OpenError::Damaged { path: data.to_path_buf(), page, reason },
    }
}

/// Checks the header pages: whether a file is an LMDB database.
pub(super) fn check_headers(data: &Path) -> Result<(), OpenError> {
    lengths(data).map(|_| ())
}

/// The length of a database file, and its length according to the header pages.
fn lengths(data: &Path) -> Result<(u64, u64), OpenError> {
    let not_ours = || OpenError::NotAStore { path: data.to_path_buf(), reason: "it is not an LMDB database" };
    let mut file = File::open(data).map_err(failed("open the database", data))?;
    let unreadable = || failed("read the database", data);
    let found_len = file.metadata().map_err(unreadable())?.len();
    match claimed_len(&mut file) {
        Ok(Some(claimed_len)) => Ok((found_len, claimed_len)),
        Ok(None) => Err(not_ours()),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Err(not_ours()),
        Err(error) => Err(unreadable()(error)),
    }
}

fn map_len(data: &Path, len: u64) -> Result<usize, OpenError> {
    let reason = "it is too long for this machine";
    usize::try_from(len).map_err(|_| OpenError::NotAStore { path: data.to_path_buf(), reason })
}

fn check_format(data: &Path, format: lmdb::Result<Option<u32>>, is_ours: bool) -> Result<(), OpenError> {
    let format = format.map_err(|error| database_error(data, error))?;
    opening::check_format(data, format, is_ours)
}

/// The length that a file has with all its pages, according to its two header pages. `None` when its first two pages
/// are not header pages of LMDB.
///
/// This function reads the file itself, not a memory map of it. Call it before LMDB opens the file: LMDB does not check
/// the header pages, and divides by the page length in them.
fn claimed_len(file: &mut File) -> io::Result<Option<u64>> {
    // LMDB's file has the machine's word size and byte order. A page begins with its number, 2 octets that do not
    // matter here, and flags.
    const WORD: usize = size_of::<usize>();
    const FLAGS: usize = WORD + 2;
    const FLAG_META: u16 = 0x08;
    // A header page continues with the magic number, the version, two words, and the descriptions of two trees. The
    // first description begins with the page length. After the descriptions follows the number of the last page.
    const MAGIC: usize = WORD + 8;
    const VERSION: usize = MAGIC + 4;
    const PAGE_LEN: usize = VERSION + 4 + 2 * WORD;
    const LAST_PAGE: usize = PAGE_LEN + 2 * (8 + 5 * WORD);
    const END: usize = LAST_PAGE + WORD;

    let mut claimed_len = 0;
    let mut at = 0;
    for _ in 0..2 {
        let mut header = [0; END];
        file.seek(SeekFrom::Start(at))?;
        file.read_exact(&mut header)?;
        let word32 = |at: usize| {
            let mut octets = [0; 4];
            octets.copy_from_slice(&header[at..at + 4]);
            u32::from_ne_bytes(octets)
        };
        let flags = u16::from_ne_bytes([header[FLAGS], header[FLAGS + 1]]);
        if flags & FLAG_META == 0 || word32(MAGIC) != 0xBEEF_C0DE || word32(VERSION) != 1 {
            return Ok(None);
        }
        let page_len = u64::from(word32(PAGE_LEN));
        if !page_len.is_power_of_two() || !(512..=65536).contains(&page_len) {
            return Ok(None);
        }
        let mut last_page = [0; WORD];
        last_page.copy_from_slice(&header[LAST_PAGE..]);
        let pages = (usize::from_ne_bytes(last_page) as u64).checked_add(1);
        match pages.and_then(|pages| pages.checked_mul(page_len)) {
            Some(len) if len <= i64::MAX as u64 => claimed_len = len.max(claimed_len),
            _ => return Ok(None),
        }
        at = page_len;
    }
    Ok(Some(claimed_len))
}

/// Reads the format version through LMDB, without changing the file or creating other files. `None` when the database
/// does not belong to a store.
fn stored_format(data: &Path, map_len: usize) -> lmdb::Result<Option<u32>> {
    let read_only = EnvironmentFlags::NO_SUB_DIR | EnvironmentFlags::READ_ONLY | EnvironmentFlags::NO_LOCK;
    format_of(
        &Environment::new().set_flags(read_only).set_max_dbs(TABLE_COUNT).set_map_size(map_len).open(data)?,
    )
}

fn format_of(env: &Environment) -> lmdb::Result<Option<u32>> {
    let meta = match env.open_db(Some(META)) {
        Ok(meta) => meta,
        // There is no entry `meta`, or its value is not a table.
        Err(lmdb::Error::NotFound | lmdb::Error::Incompatible) => return Ok(None),
        Err(error) => return Err(error),
    };
    let txn = env.begin_ro_txn()?;
    opening::format_of(|key| match txn.get(meta, &key) {
        Ok(value) => Ok(Some(value)),
        Err(lmdb::Error::NotFound) => Ok(None),
        Err(error) => Err(error),
    })
}

/// Converts an error of LMDB. Some of them are errors of the operating system.
pub(super) fn database_error(path: &Path, error: lmdb::Error) -> OpenError {
    let path: PathBuf = path.to_path_buf();
    match os_error(error) {
        Some(source) => OpenError::Io { action: "open the database", path, source },
        None => OpenError::Database { path, source: error },
    }
}
