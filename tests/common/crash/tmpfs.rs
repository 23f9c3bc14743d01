//! A small file system.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A file system in memory, unmounted when it is dropped.
pub(crate) struct Tmpfs(PathBuf);

impl Tmpfs {
    /// Mounts a file system in memory. Prints a message and returns `None` where that is not permitted.
    pub(crate) fn mount(dir: &Path, options: &str) -> Option<Tmpfs> {
        std::fs::create_dir(dir).expect("a new directory");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(dir).stderr(Stdio::null());
        if mount.status().is_ok_and(|status| status.success()) {
            return Some(Tmpfs(dir.into()));
        }
        eprintln!("skipped: mounting a small file system is not permitted here");
        None
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// Changes the options of the mount. The content of the file system stays.
    #[track_caller]
    pub(crate) fn remount(&self, options: &str) {
        let status = Command::new("mount").args(["-o", &format!("remount,{options}")]).arg(&self.0).status();
        assert!(status.is_ok_and(|status| status.success()), "cannot mount with {options}");
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        // Lazily, because a process that another test starts may hold our files between fork and exec.
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}
