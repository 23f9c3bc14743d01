//! The file of a bound `ipc://` address.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Removes the file when dropped, unless another file has replaced it.
pub(super) struct SocketFile {
    path: PathBuf,
    id: FileId,
}

/// Device and inode.
type FileId = (u64, u64);

impl SocketFile {
    /// The file that is at `path` now.
    pub(super) fn at(path: &Path) -> io::Result<SocketFile> {
        Ok(SocketFile { path: path.into(), id: file_id(path)? })
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if file_id(&self.path).is_ok_and(|id| id == self.id) {
            // If this fails, the next process that binds replaces the file.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

fn file_id(path: &Path) -> io::Result<FileId> {
    std::fs::symlink_metadata(path).map(|data| (data.dev(), data.ino()))
}
