//! The file descriptors of this process, and the sockets among them.

use std::mem::MaybeUninit;
use std::os::fd::RawFd;
use std::ptr::NonNull;

/// Lists the descriptors that this process has open. It holds one of its own, so that it still works when no other
/// can be had.
pub(super) struct Descriptors {
    directory: NonNull<libc::DIR>,
}

// SAFETY: a directory stream may move to another thread, as long as one thread at a time uses it.
unsafe impl Send for Descriptors {}

impl Descriptors {
    /// `None` when /proc is not there, or no descriptor is left.
    pub(super) fn open() -> Option<Descriptors> {
        // SAFETY: the path is a static string; NULL is checked for.
        let directory = unsafe { libc::opendir(c"/proc/self/fd".as_ptr()) };
        NonNull::new(directory).map(|directory| Descriptors { directory })
    }

    /// Calls `each` with every descriptor that is open now.
    pub(super) fn each(&mut self, mut each: impl FnMut(RawFd)) {
        // SAFETY: the stream is open; an entry is used before the next one is read. Its name is NUL-terminated.
        unsafe {
            libc::rewinddir(self.directory.as_ptr());
            loop {
                let entry = libc::readdir(self.directory.as_ptr());
                if entry.is_null() {
                    return;
                }
                let name = std::ffi::CStr::from_ptr((*entry).d_name.as_ptr());
                // "." and ".." are no numbers.
                if let Some(file) = name.to_str().ok().and_then(|name| name.parse().ok()) {
                    each(file);
                }
            }
        }
    }
}

impl Drop for Descriptors {
    fn drop(&mut self) {
        // SAFETY: the stream is open, and closed once.
        unsafe {
            libc::closedir(self.directory.as_ptr());
        }
    }
}

/// The number that tells a socket from all others that are open; `None` when the descriptor is no socket.
pub(super) fn socket_number(file: RawFd) -> Option<u64> {
    let mut status = MaybeUninit::<libc::stat>::zeroed();
    // SAFETY: the structure is writable; after success it is initialized.
    let status = unsafe {
        if libc::fstat(file, status.as_mut_ptr()) != 0 {
            return None;
        }
        status.assume_init()
    };
    (status.st_mode & libc::S_IFMT == libc::S_IFSOCK).then_some(status.st_ino)
}

/// Ends the connection of a socket, if the descriptor still is that socket: libzmq finds it ended, and closes it. Should
/// the descriptor become another socket in this very moment, that one is ended, and its peer connects again.
pub(super) fn end_connection(file: RawFd, number: u64) -> bool {
    // SAFETY: a system call without pointers.
    socket_number(file) == Some(number) && unsafe { libc::shutdown(file, libc::SHUT_RDWR) } == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::os::fd::AsRawFd;
    use std::os::unix::net::UnixStream;

    #[test]
    fn a_socket_is_found_and_ended() {
        let (mut ours, theirs) = UnixStream::pair().unwrap();
        let file = std::fs::File::open("/dev/null").unwrap();
        let mut open = Vec::new();
        Descriptors::open().unwrap().each(|file| open.push(file));
        for file in [ours.as_raw_fd(), theirs.as_raw_fd(), file.as_raw_fd()] {
            assert!(open.contains(&file));
        }
        assert_eq!(socket_number(file.as_raw_fd()), None);
        let number = socket_number(theirs.as_raw_fd()).unwrap();
        assert!(!end_connection(ours.as_raw_fd(), number), "another socket");
        assert!(end_connection(theirs.as_raw_fd(), number));
        assert_eq!(ours.read(&mut [0]).unwrap(), 0);
    }
}
