//! The directory of a log: refusing directories of other programs, locking, and synchronizing entries to disk.

use std::ffi::{CString, OsStr};
use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use super::error::OpenError;
use crate::text::printable_path;

/// LMDB's data file.
pub(super) const DATA_FILE: &str = "data.mdb";

/// The file that a process locks while it uses the directory.
pub(super) const LOCK_FILE: &str = "dafka.lock";

/// A database under construction. It is renamed to [`DATA_FILE`] when it is complete and synchronized.
pub(super) const NEW_DATA_FILE: &str = ".dafka-new.mdb";

/// LMDB's table of readers.
pub(super) const READERS_FILE: &str = "lock.mdb";

/// The reserved size of [`READERS_FILE`] in bytes: somewhat more than its 126 entries need.
const READERS_LEN: libc::off_t = 16_384;

/// Other entries that the directory may have: LMDB's table of readers, and a directory that file systems create in
/// their root.
const OTHERS_ALLOWED: [&str; 2] = [READERS_FILE, "lost+found"];

/// A file that every LevelDB database has.
const LEVELDB_FILE: &str = "CURRENT";

/// Converts an error of the operating system. `action` completes the sentence "cannot ... PATH".
pub(super) fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> OpenError {
    let path = path.to_path_buf();
    move |source| OpenError::Io { action, path, source }
}

/// Ensures that the path is a directory for a store: creates a missing directory, and refuses a directory with foreign
/// entries. Changes nothing in an existing directory.
pub(super) fn claim(dir: &Path, file_mode: u32) -> Result<(), OpenError> {
    match fs::metadata(dir) {
        Ok(metadata) if metadata.is_dir() => check_entries(dir),
        Ok(_) => Err(OpenError::NotADirectory { path: dir.to_path_buf() }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            check_links(dir)?;
            create(dir, file_mode)
        }
        Err(error) => Err(failed("access the directory", dir)(error)),
    }
}

/// Refuses a missing path that contains a dangling symbolic link: the link may point to a disk that is not mounted.
pub(super) fn check_links(path: &Path) -> Result<(), OpenError> {
    let missing = path.ancestors().take_while(|path| !path.as_os_str().is_empty() && !path.exists());
    let link = missing.filter_map(|path| Some((path, fs::read_link(path).ok()?))).last();
    match link {
        Some((path, target)) => Err(OpenError::DanglingLink { path: path.to_path_buf(), target }),
        None => Ok(()),
    }
}

/// Refuses a dangling symbolic link, and an entry that is not a regular file. Opening a FIFO, for example, would block
/// until its other end is opened.
fn check_file(path: &Path) -> Result<(), OpenError> {
    let kind = match fs::metadata(path) {
        Ok(metadata) if metadata.is_file() => return Ok(()),
        Ok(metadata) => metadata.file_type(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return check_links(path),
        Err(error) => return Err(failed("access the file", path)(error)),
    };
    let kind = match kind {
        kind if kind.is_dir() => "a directory",
        kind if kind.is_fifo() => "a FIFO",
        kind if kind.is_socket() => "a socket",
        kind if kind.is_char_device() || kind.is_block_device() => "a device",
        _ => "something else",
    };
    Err(OpenError::NotAFile { path: path.to_path_buf(), kind })
}

/// Refuses a directory with foreign entries. Also refuses a directory in which an entry with the name of a store's file
/// is not a regular file. It changes nothing in the directory.
pub(super) fn check_entries(dir: &Path) -> Result<(), OpenError> {
    let unreadable = || failed("list the directory", dir);
    let mut foreign = None;
    for entry in fs::read_dir(dir).map_err(unreadable())? {
        let name = entry.map_err(unreadable())?.file_name();
        // This error takes precedence over other errors, because its message contains advice for users of libdafka
        // 0.1.0.
        if name == LEVELDB_FILE {
            return Err(OpenError::LevelDb { path: dir.to_path_buf() });
        }
        if !is_ours(&name) {
            foreign = Some(name);
        }
    }
    if let Some(name) = foreign {
        let entry = name.to_string_lossy().into_owned();
        return Err(OpenError::ForeignDirectory { path: dir.to_path_buf(), entry });
    }
    [DATA_FILE, LOCK_FILE, READERS_FILE].into_iter().try_for_each(|name| check_file(&dir.join(name)))
}

fn is_ours(name: &OsStr) -> bool {
    name == DATA_FILE
        || name == LOCK_FILE
        || OTHERS_ALLOWED.iter().any(|allowed| name == *allowed)
        || name.as_bytes().starts_with(b".")
}

/// Creates the directory and its missing parents. When this function has returned, the created directories survive a
/// power loss.
fn create(dir: &Path, file_mode: u32) -> Result<(), OpenError> {
    let missing = missing(dir);
    fs::create_dir_all(parent(dir)).map_err(failed("create the directory", dir))?;
    // Users who may read the files may also enter the directory.
    let dir_mode = 0o700 | file_mode | (file_mode & 0o444) >> 2;
    match DirBuilder::new().mode(dir_mode).create(dir) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            return Err(failed("create the directory", dir)(error));
        }
        _ => {}
    }
    missing.into_iter().try_for_each(|created| sync(parent(created)))
}

/// The directory and its parents, as far as they do not exist.
fn missing(dir: &Path) -> Vec<&Path> {
    dir.ancestors().take_while(|path| !path.as_os_str().is_empty() && !path.exists()).collect()
}

/// Creates a directory and its missing parents, for one user. When this function has returned, the created directories
/// survive a power loss.
pub(super) fn create_private(dir: &Path) -> Result<(), OpenError> {
    match fs::metadata(dir) {
        Ok(metadata) if metadata.is_dir() => Ok(()),
        Ok(_) => Err(OpenError::NotADirectory { path: dir.to_path_buf() }),
        Err(_) => {
            check_links(dir)?;
            let missing = missing(dir);
            let created = DirBuilder::new().mode(0o700).recursive(true).create(dir);
            created.map_err(failed("create the directory", dir))?;
            missing.into_iter().try_for_each(|created| sync(parent(created)))
        }
    }
}

/// The directory that contains `dir`.
fn parent(dir: &Path) -> &Path {
    match dir.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// Synchronizes the entries of a directory, and the directory's own entry in its parent. The process that created these
/// entries may have been killed before it synchronized them.
pub(super) fn sync_with_parent(dir: &Path) -> Result<(), OpenError> {
    sync_with_parents(dir, 1)
}

/// As [`sync_with_parent`], for so many of the directories: `dir`, its parent, and so on.
pub(super) fn sync_with_parents(dir: &Path, count: usize) -> Result<(), OpenError> {
    sync(dir)?;
    let mut dir = dir;
    for _ in 0..count {
        dir = parent(dir);
        match sync(dir) {
            // A process without access to the parent cannot have created the directory.
            Err(OpenError::Io { source, .. }) if source.kind() == io::ErrorKind::PermissionDenied => {}
            synced => synced?,
        }
    }
    Ok(())
}

/// Synchronizes the entries of a directory to disk.
fn sync(dir: &Path) -> Result<(), OpenError> {
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(failed("synchronize the directory", dir))
}

pub(super) fn exists(file: &Path) -> Result<bool, OpenError> {
    file.try_exists().map_err(failed("access the file", file))
}

/// The lock of a directory.
#[derive(Debug)]
pub(super) struct Lock(File);

impl Drop for Lock {
    fn drop(&mut self) {
        // Closing the file is not enough: a child process has a copy of the file descriptor until it executes its own
        // program, and would hold the lock until then. If unlocking fails, the lock ends when the last copy of the
        // descriptor is closed.
        let _ = self.0.unlock();
    }
}

/// Locks the directory for this log until the returned value is dropped.
pub(super) fn lock(dir: &Path, file_mode: u32) -> Result<Lock, OpenError> {
    let path = dir.join(LOCK_FILE);
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(file_mode)
        .open(&path)
        .map_err(failed("open the lock file", &path))?;
    match file.try_lock() {
        Ok(()) => Ok(Lock(file)),
        Err(TryLockError::WouldBlock) => Err(OpenError::Locked { path: dir.to_path_buf() }),
        Err(TryLockError::Error(error)) => Err(failed("lock the file", &path)(error)),
    }
}

/// Reserves the disk space of LMDB's table of readers. LMDB writes the table through a memory map: on a full disk, a
/// write to a page without disk space would kill the process.
pub(super) fn reserve_readers(dir: &Path, file_mode: u32) -> Result<(), OpenError> {
    let path = dir.join(READERS_FILE);
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .mode(file_mode)
        .open(&path)
        .map_err(failed("open the table of readers", &path))?;
    // SAFETY: the call takes no pointers, and the file is open.
    match unsafe { libc::posix_fallocate(file.as_raw_fd(), 0, READERS_LEN) } {
        // Some file systems cannot reserve space.
        0 | libc::EOPNOTSUPP | libc::EINVAL => Ok(()),
        code => Err(failed("reserve disk space for", &path)(io::Error::from_raw_os_error(code))),
    }
}

/// Converts the error of a failed write: an input/output error becomes ENOSPC if the disk is full. When a disk becomes
/// full during a write, the system writes only a part of the data, and LMDB reports an input/output error. `len_bytes`
/// is an upper limit of the length of the write.
pub(super) fn write_error(dir: &Path, source: io::Error, len_bytes: u64) -> io::Error {
    match source.raw_os_error() {
        Some(libc::EIO) if is_full(dir, len_bytes) => io::Error::from_raw_os_error(libc::ENOSPC),
        _ => source,
    }
}

/// Warns when users whom `file_mode` excludes may access the database. This happens when an earlier version of the
/// library created the database, or when its permissions were changed.
pub(super) fn warn_of_access(data: &Path, file_mode: u32) {
    let Ok(metadata) = fs::metadata(data) else { return };
    let mode = metadata.permissions().mode() & 0o777;
    if mode & !file_mode & 0o077 != 0 {
        log::warn!(
            "{} has the permissions {mode:03o}: other users may access it; change them, or set store/file_mode",
            printable_path(data)
        );
    }
}

/// Whether the file system has less than `len_bytes` of free space; false when that cannot be determined.
fn is_full(dir: &Path, len_bytes: u64) -> bool {
    let Ok(path) = CString::new(dir.as_os_str().as_bytes()) else { return false };
    let mut stat = std::mem::MaybeUninit::<libc::statvfs>::uninit();
    // SAFETY: the path ends with NUL, and `stat` is large enough for the structure that is written to it.
    if unsafe { libc::statvfs(path.as_ptr(), stat.as_mut_ptr()) } != 0 {
        return false;
    }
    // SAFETY: statvfs succeeded, so it filled the structure.
    let stat = unsafe { stat.assume_init() };
    stat.f_bavail.saturating_mul(stat.f_frsize) < len_bytes
}
