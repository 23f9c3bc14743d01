//! The file descriptors of this process, and the sockets among them.

use crate::czmq::fork::{GENERATIONS, PerProcess, generation};
use std::collections::HashSet;
use std::fs::File;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, RawFd};
use std::ptr::NonNull;
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// Lists the descriptors that this process has open. It holds one of its own, so that it still works when no other
/// can be had.
pub(super) struct Descriptors {
    directory: NonNull<libc::DIR>,
    /// Socket numbers, see [`inherited`].
    inherited: Arc<HashSet<u64>>,
    /// A guard ends connections when no descriptor is left.
    spare: Option<Arc<Spare>>,
}

// SAFETY: a directory stream may move to another thread, as long as one thread at a time uses it.
unsafe impl Send for Descriptors {}

impl Descriptors {
    /// `None` when /proc is not there, or no descriptor is left.
    pub(super) fn open() -> Option<Descriptors> {
        Descriptors::list(inherited(), Some(Spare::get()?))
    }

    fn list(inherited: Arc<HashSet<u64>>, spare: Option<Arc<Spare>>) -> Option<Descriptors> {
        // SAFETY: the path is a static string; NULL is checked for.
        let directory = unsafe { libc::opendir(c"/proc/self/fd".as_ptr()) };
        NonNull::new(directory).map(|directory| Descriptors { directory, inherited, spare })
    }

    /// Calls `each` with every descriptor that is open now, and with its socket's number if it is a socket of this
    /// process's own.
    pub(super) fn each(&mut self, mut each: impl FnMut(RawFd, Option<u64>)) {
        let spare = self.spare.as_ref().map(|spare| spare.duplicate.as_raw_fd());
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
                    // The spare descriptor may be a duplicate of a socket that is listed anyway.
                    let number = if Some(file) == spare { None } else { socket_number(file) };
                    each(file, number.filter(|number| !self.inherited.contains(number)));
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

/// The sockets that were open when this process, forked by one that uses the library, made its first one. They are copies
/// of the parent's sockets: what ends one of them ends the parent's connection. Empty in a process that was not forked so.
fn inherited() -> Arc<HashSet<u64>> {
    type Inherited = Option<Arc<HashSet<u64>>>;
    static INHERITED: PerProcess<Inherited> = PerProcess::new([const { Mutex::new(None) }; GENERATIONS]);
    let list = || {
        let mut numbers = HashSet::new();
        if generation() != 0
            && let Some(mut descriptors) = Descriptors::list(Arc::default(), None)
        {
            descriptors.each(|_, number| numbers.extend(number));
        }
        Arc::new(numbers)
    };
    INHERITED.lock().get_or_insert_with(list).clone()
}

/// Notes which sockets this process has inherited. To be called before it makes its first one. Cheap to call again.
pub(super) fn note_inherited() {
    if generation() != 0 {
        inherited();
    }
}

/// A descriptor that is kept for duplicates, so that there is one when no other can be had.
struct Spare {
    /// What `duplicate` is a duplicate of while it is not in use.
    resting: File,
    duplicate: File,
    in_use: Mutex<()>,
}

impl Spare {
    /// This process's spare descriptor, which stays open as long as somebody holds it. `None` when it cannot be had.
    fn get() -> Option<Arc<Spare>> {
        static SPARE: PerProcess<Weak<Spare>> =
            PerProcess::new([const { Mutex::new(Weak::new()) }; GENERATIONS]);
        let mut kept = SPARE.lock();
        kept.upgrade().or_else(|| {
            let spare = Arc::new(Spare::open()?);
            *kept = Arc::downgrade(&spare);
            Some(spare)
        })
    }

    fn open() -> Option<Spare> {
        let resting = File::open("/dev/null").ok()?;
        let duplicate = resting.try_clone().ok()?;
        Some(Spare { resting, duplicate, in_use: Mutex::new(()) })
    }

    /// Makes `duplicate` a duplicate of `file`. False when that is not open.
    fn become_duplicate_of(&self, file: RawFd) -> bool {
        // SAFETY: a system call without pointers. The descriptor that it replaces is this one's own, and stays open.
        unsafe { libc::dup3(file, self.duplicate.as_raw_fd(), libc::O_CLOEXEC) >= 0 }
    }
}

/// Calls `act` with a duplicate of a descriptor. libzmq or the application may close `file` at any time, and get the same
/// number for another file. The duplicate stays what it is: `act` checks that, and then acts on it. `None` when `file` is
/// not open.
pub(super) fn with_duplicate<T>(file: RawFd, act: impl FnOnce(RawFd) -> T) -> Option<T> {
    let spare = Spare::get()?;
    let _in_use = spare.in_use.lock().unwrap_or_else(PoisonError::into_inner);
    if !spare.become_duplicate_of(file) {
        return None;
    }
    let result = act(spare.duplicate.as_raw_fd());
    spare.become_duplicate_of(spare.resting.as_raw_fd());
    Some(result)
}

/// Ends the connection of a socket, if the descriptor still is that socket: libzmq finds it ended, and closes it. What
/// libzmq has not read yet is dropped, if it is a TCP connection.
pub(super) fn end_connection(file: RawFd, number: u64) -> bool {
    end_connection_if(file, |file| socket_number(file) == Some(number))
}

/// Ends the connection of a descriptor if `is_right` says of its duplicate that it is the right one.
pub(super) fn end_connection_if(file: RawFd, is_right: impl FnOnce(RawFd) -> bool) -> bool {
    let end = |file| is_right(file) && (reset(file) || shut_down(file));
    with_duplicate(file, end).unwrap_or(false)
}

/// Resets a TCP connection. After a shutdown, megabytes could still be read that have arrived before.
fn reset(file: RawFd) -> bool {
    // SAFETY: all zero is a valid address; its family is AF_UNSPEC then, which dissolves the association.
    let nobody: libc::sockaddr = unsafe { std::mem::zeroed() };
    // SAFETY: the address lives, and is as long as said.
    unsafe { libc::connect(file, &nobody, size_of_val(&nobody) as libc::socklen_t) == 0 }
}

fn shut_down(file: RawFd) -> bool {
    // SAFETY: a system call without pointers.
    unsafe { libc::shutdown(file, libc::SHUT_RDWR) == 0 }
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
        Descriptors::open().unwrap().each(|file, number| open.push((file, number)));
        for file in [ours.as_raw_fd(), theirs.as_raw_fd(), file.as_raw_fd()] {
            assert!(open.contains(&(file, socket_number(file))));
        }
        assert_eq!(socket_number(file.as_raw_fd()), None);
        let number = socket_number(theirs.as_raw_fd()).unwrap();
        assert!(!end_connection(ours.as_raw_fd(), number), "another socket");
        assert!(end_connection(theirs.as_raw_fd(), number));
        assert_eq!(ours.read(&mut [0]).unwrap(), 0);
    }

    /// The application closes the descriptor, and opens another socket that gets its number.
    #[test]
    fn a_descriptor_that_becomes_another_socket_meanwhile_is_left_alone() {
        let (mut ours, theirs) = UnixStream::pair().unwrap();
        let (mut other, others) = UnixStream::pair().unwrap();
        let number = socket_number(theirs.as_raw_fd()).unwrap();
        let is_ended = end_connection_if(theirs.as_raw_fd(), |file| {
            let is_right = socket_number(file) == Some(number);
            // SAFETY: both descriptors are open, and the test's own.
            assert!(unsafe { libc::dup2(others.as_raw_fd(), theirs.as_raw_fd()) } >= 0);
            is_right
        });
        assert!(is_ended);
        assert_eq!(ours.read(&mut [0]).unwrap(), 0);
        other.set_nonblocking(true).unwrap();
        assert_eq!(other.read(&mut [0]).unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
        assert!(!end_connection(theirs.as_raw_fd(), number));
        assert!(!end_connection(RawFd::MAX, number), "nothing is open there");
        assert_eq!(other.read(&mut [0]).unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
        assert_eq!(
            with_duplicate(theirs.as_raw_fd(), socket_number),
            Some(socket_number(others.as_raw_fd()))
        );
    }

    #[test]
    fn a_forked_child_leaves_the_sockets_of_its_parent_alone() {
        crate::czmq::fork::count_forks();
        let (mut ours, theirs) = UnixStream::pair().unwrap();
        // SAFETY: the child calls nothing but what it may after a fork from several threads, and ends by _exit.
        let child = unsafe { libc::fork() };
        if child == 0 {
            note_inherited();
            let numbers = UnixStream::pair().ok().map(|(own, other)| {
                let mut numbers = Vec::new();
                if let Some(mut descriptors) = Descriptors::open() {
                    descriptors.each(|_, number| numbers.extend(number));
                }
                let is_listed =
                    |file: RawFd| socket_number(file).is_some_and(|number| numbers.contains(&number));
                [own.as_raw_fd(), other.as_raw_fd(), theirs.as_raw_fd()].map(is_listed)
            });
            // SAFETY: it ends the process.
            unsafe { libc::_exit(if numbers == Some([true, true, false]) { 0 } else { 1 }) }
        }
        let mut status = -1;
        // SAFETY: the status is writable.
        assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
        assert_eq!(status, 0);
        // In this process it is one of its own.
        let (mut is_listed, number) = (false, socket_number(theirs.as_raw_fd()));
        Descriptors::open().unwrap().each(|_, listed| is_listed |= listed == number);
        assert!(is_listed);
        drop(theirs);
        assert_eq!(ours.read(&mut [0]).unwrap(), 0);
    }
}
