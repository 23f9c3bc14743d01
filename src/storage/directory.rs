//! The directory of a log: whose it is, who may use it, and that it survives a power loss.

use std::ffi::{CString, OsStr};
use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use super::error::OpenError;
use crate::text::printable_path;

/// The file that LMDB keeps the data in.
pub(super) const DATA_FILE: &str = "data.mdb";

/// The file whose lock says that a process holds the directory.
pub(super) const LOCK_FILE: &str = "dafka.lock";

/// A database under construction; renamed to [`DATA_FILE`] when it is complete and on disk.
pub(super) const NEW_DATA_FILE: &str = ".dafka-new.mdb";

/// LMDB's table of readers.
pub(super) const READERS_FILE: &str = "lock.mdb";

/// Room for its 126 readers, in octets, and some more.
const READERS_LEN: libc::off_t = 16_384;

/// What else may lie in the directory: LMDB's table of readers, and what file systems put into their root.
const OTHERS_ALLOWED: [&str; 2] = [READERS_FILE, "lost+found"];

/// The file by which each LevelDB database can be told.
const LEVELDB_FILE: &str = "CURRENT";

/// Tells an operating system's error with what was tried.
pub(super) fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> OpenError {
    let path = path.to_path_buf();
    move |source| OpenError::Io { action, path, source }
}

/// Makes sure that the path is a directory that can be a store's: creates it when it is missing, refuses it
/// when it holds other files. Touches nothing in it.
pub(super) fn claim(dir: &Path, file_mode: u32) -> Result<(), OpenError> {
    match fs::metadata(dir) {
        Ok(metadata) if metadata.is_dir() => look(dir),
        Ok(_) => Err(OpenError::NotADirectory { path: dir.to_path_buf() }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            check_links(dir)?;
            create(dir, file_mode)
        }
        Err(error) => Err(failed("look at the directory", dir)(error)),
    }
}

/// Refuses a path that does not exist, and on which a symbolic link leads nowhere: what it leads to may be a disk that is not
/// mounted.
pub(super) fn check_links(path: &Path) -> Result<(), OpenError> {
    let missing = path.ancestors().take_while(|path| !path.as_os_str().is_empty() && !path.exists());
    let link = missing.filter_map(|path| Some((path, fs::read_link(path).ok()?))).last();
    match link {
        Some((path, target)) => Err(OpenError::DanglingLink { path: path.to_path_buf(), target }),
        None => Ok(()),
    }
}

/// Refuses something else than a regular file: to open a FIFO, for example, waits for its other end.
fn check_file(path: &Path) -> Result<(), OpenError> {
    let kind = match fs::metadata(path) {
        Ok(metadata) if metadata.is_file() => return Ok(()),
        Ok(metadata) => metadata.file_type(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return check_links(path),
        Err(error) => return Err(failed("look at the file", path)(error)),
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

/// Refuses a directory that holds other files than a store's, or under their names something else than files. Touches
/// nothing in it.
pub(super) fn look(dir: &Path) -> Result<(), OpenError> {
    let unreadable = || failed("list the directory", dir);
    let mut foreign = None;
    for entry in fs::read_dir(dir).map_err(unreadable())? {
        let name = entry.map_err(unreadable())?.file_name();
        // Goes before all else: its owner is the one who needs to be told what to do.
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

/// Creates the directory and the missing ones above it, so that they are still there after a power loss.
fn create(dir: &Path, file_mode: u32) -> Result<(), OpenError> {
    let missing: Vec<&Path> =
        dir.ancestors().take_while(|path| !path.as_os_str().is_empty() && !path.exists()).collect();
    let above_it = above(dir);
    fs::create_dir_all(above_it).map_err(failed("create the directory", dir))?;
    // Whoever may read the files may enter.
    let dir_mode = 0o700 | file_mode | (file_mode & 0o444) >> 2;
    match DirBuilder::new().mode(dir_mode).create(dir) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            return Err(failed("create the directory", dir)(error));
        }
        _ => {}
    }
    for created in missing {
        sync(above(created))?;
    }
    Ok(())
}

/// The directory that a directory is in.
fn above(dir: &Path) -> &Path {
    match dir.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// Puts a directory and its entries on disk, however they got there: who made it may have been killed before it could do
/// so.
pub(super) fn settle(dir: &Path) -> Result<(), OpenError> {
    sync(dir)?;
    match sync(above(dir)) {
        // Then it was made by somebody else.
        Err(OpenError::Io { source, .. }) if source.kind() == io::ErrorKind::PermissionDenied => Ok(()),
        synced => synced,
    }
}

/// Puts the entries of a directory on disk.
pub(super) fn sync(dir: &Path) -> Result<(), OpenError> {
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(failed("synchronize the directory", dir))
}

/// Whether there is such a file; an error when that cannot be told.
pub(super) fn exists(file: &Path) -> Result<bool, OpenError> {
    file.try_exists().map_err(failed("look for the file", file))
}

/// The hold on a directory. It is given back, not only closed: a child of the process has a copy of the file until it runs
/// its own program, and would hold the directory as long.
#[derive(Debug)]
pub(super) struct Lock(File);

impl Drop for Lock {
    fn drop(&mut self) {
        // Closing gives it back too, at the latest when the last copy is closed.
        let _ = self.0.unlock();
    }
}

/// Takes the directory for this log alone, for as long as the lock lives.
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

/// Makes LMDB's table of readers take up its room on the disk. LMDB writes it through a map, and on a full disk the
/// write to a page without room kills the process.
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
    // SAFETY: a system call without pointers, on a file that is open.
    match unsafe { libc::posix_fallocate(file.as_raw_fd(), 0, READERS_LEN) } {
        // Not every file system can.
        0 | libc::EOPNOTSUPP | libc::EINVAL => Ok(()),
        code => Err(failed("make room for", &path)(io::Error::from_raw_os_error(code))),
    }
}

/// The reason why a write failed. When the disk becomes full in the midst of a write, the system writes less than asked,
/// which LMDB reports as an input/output error. `len_bytes` is how much was to be written, at most.
pub(super) fn write_error(dir: &Path, source: io::Error, len_bytes: u64) -> io::Error {
    match source.raw_os_error() {
        Some(libc::EIO) if is_full(dir, len_bytes) => io::Error::from_raw_os_error(libc::ENOSPC),
        _ => source,
    }
}

/// Logs when others may access the database: an earlier version made it so, or somebody has changed it.
pub(super) fn warn_of_access(data: &Path, file_mode: u32) {
    let Ok(metadata) = fs::metadata(data) else { return };
    let mode = metadata.permissions().mode() & 0o777;
    if mode & !file_mode & 0o077 != 0 {
        log::warn!(
            "{} has the permissions {mode:03o}: other users may access it; change that, or set store/file_mode",
            printable_path(data)
        );
    }
}

/// Whether the file system has no room for `len_bytes` more octets; false when it does not tell.
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
