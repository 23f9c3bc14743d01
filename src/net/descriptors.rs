//! The file descriptors of this process, and the sockets among them.

use crate::czmq::fork::{GENERATIONS, PerProcess, generation};
use rustix::fs::{Mode, OFlags, RawDir, SeekFrom};
use rustix::net::Shutdown;
use std::collections::HashSet;
use std::fs::File;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// The kernel lists about 1,300 descriptors at once in a buffer of this length.
const LIST_LEN_BYTES: usize = 32 << 10;

/// Lists the open descriptors of this process. Keeps a descriptor of `/proc/self/fd` open, and so still works when the
/// process can open no more files.
pub(super) struct Descriptors {
    /// `/proc/self/fd`.
    directory: OwnedFd,
    buffer: Box<[MaybeUninit<u8>]>,
    /// Socket numbers, see [`inherited`].
    inherited: Arc<HashSet<u64>>,
    /// Held so that connections can be ended when the process can open no more files.
    spare: Option<Arc<Spare>>,
}

impl Descriptors {
    /// `None` when /proc is missing, or the process can open no more files.
    pub(super) fn open() -> Option<Descriptors> {
        Descriptors::list(inherited(), Some(Spare::get()?))
    }

    fn list(inherited: Arc<HashSet<u64>>, spare: Option<Arc<Spare>>) -> Option<Descriptors> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = rustix::fs::open(c"/proc/self/fd", flags, Mode::empty()).ok()?;
        let buffer = vec![MaybeUninit::uninit(); LIST_LEN_BYTES].into_boxed_slice();
        Some(Descriptors { directory, buffer, inherited, spare })
    }

    /// Calls `each` with every open descriptor. If it is a socket that this process has made, `each` also gets the
    /// socket's number.
    pub(super) fn each(&mut self, mut each: impl FnMut(RawFd, Option<u64>)) {
        let spare = self.spare.as_ref().map(|spare| spare.duplicate.as_raw_fd());
        if rustix::fs::seek(&self.directory, SeekFrom::Start(0)).is_err() {
            return;
        }
        let mut entries = RawDir::new(&self.directory, &mut self.buffer);
        while let Some(Ok(entry)) = entries.next() {
            // "." and ".." are not numbers.
            if let Some(file) = entry.file_name().to_str().ok().and_then(|name| name.parse().ok()) {
                // The spare descriptor may be a duplicate of a socket that is listed anyway.
                let number = if Some(file) == spare { None } else { socket_number(file) };
                each(file, number.filter(|number| !self.inherited.contains(number)));
            }
        }
    }
}

/// The number that distinguishes a socket from all other open sockets. `None` when the descriptor is not a socket.
pub(super) fn socket_number(file: RawFd) -> Option<u64> {
    let mut status = MaybeUninit::<libc::stat>::zeroed();
    // SAFETY: the structure is writable, and is initialized when the call succeeds. (rustix requires a descriptor that
    // stays open. libzmq may close this one at any time.)
    let status = unsafe {
        if libc::fstat(file, status.as_mut_ptr()) != 0 {
            return None;
        }
        status.assume_init()
    };
    (status.st_mode & libc::S_IFMT == libc::S_IFSOCK).then_some(status.st_ino)
}

/// True while the kernel has room for more data of a connection. Then libzmq soon sends what it has queued for this
/// connection.
pub(super) fn can_be_written(file: RawFd) -> bool {
    let mut item = libc::pollfd { fd: file, events: libc::POLLOUT, revents: 0 };
    // SAFETY: the pointer refers to one `pollfd`, which `poll` may change. The call does not wait.
    unsafe { libc::poll(&mut item, 1, 0) > 0 && item.revents & libc::POLLOUT != 0 }
}

/// The numbers of the sockets that this process has inherited from a process that uses the library. They were open when
/// this process made its own first socket. They are copies of the parent's sockets: to end one of them would end the
/// parent's connection. Empty if this process was not forked by such a process.
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

/// Records which sockets this process has inherited. Must be called before the process makes its first socket. Later
/// calls are cheap.
pub(super) fn note_inherited() {
    if generation() != 0 {
        inherited();
    }
}

/// A descriptor that is reserved for duplicates, so that the process can make a duplicate when it can open no more
/// files.
struct Spare {
    /// While `duplicate` is not in use, it is a duplicate of this file.
    idle: File,
    duplicate: File,
    in_use: Mutex<()>,
}

impl Spare {
    /// This process's spare descriptor. It stays open while the caller holds the result. `None` when the process can
    /// open no more files.
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
        let idle = File::open("/dev/null").ok()?;
        let duplicate = idle.try_clone().ok()?;
        Some(Spare { idle, duplicate, in_use: Mutex::new(()) })
    }

    /// Makes `duplicate` a duplicate of `file`. False when `file` is not open.
    fn become_duplicate_of(&self, file: RawFd) -> bool {
        // SAFETY: a system call without pointers. The descriptor that it replaces belongs to `self`, and stays open.
        unsafe { libc::dup3(file, self.duplicate.as_raw_fd(), libc::O_CLOEXEC) >= 0 }
    }
}

/// Calls `act` with a duplicate of a descriptor. `None` when `file` is not open.
///
/// libzmq or the application may close `file` at any time, and another file may get the same descriptor. The duplicate
/// always refers to the same file. So `act` checks that this is the right file, and then acts on it.
pub(super) fn with_duplicate<T>(file: RawFd, act: impl FnOnce(BorrowedFd) -> T) -> Option<T> {
    let spare = Spare::get()?;
    let _in_use = spare.in_use.lock().unwrap_or_else(PoisonError::into_inner);
    if !spare.become_duplicate_of(file) {
        return None;
    }
    let result = act(spare.duplicate.as_fd());
    spare.become_duplicate_of(spare.idle.as_raw_fd());
    Some(result)
}

/// Ends a connection, if `file` still is the socket with this number. False when it is another socket, or when the
/// connection cannot be ended. libzmq finds that the connection has ended, and closes it. If it is a TCP connection,
/// the data that libzmq has not read is dropped.
pub(super) fn end_connection(file: RawFd, number: u64) -> bool {
    end_connection_if(file, |file| socket_number(file) == Some(number))
}

/// Ends the connection of a descriptor if `is_right` accepts its duplicate.
pub(super) fn end_connection_if(file: RawFd, is_right: impl FnOnce(RawFd) -> bool) -> bool {
    // A TCP connection is reset. After a shutdown, libzmq could still read megabytes that have arrived before.
    let end = |file: BorrowedFd| {
        is_right(file.as_raw_fd())
            && (rustix::net::connect_unspec(file).is_ok()
                || rustix::net::shutdown(file, Shutdown::Both).is_ok())
    };
    with_duplicate(file, end).unwrap_or(false)
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

    /// The application closes the descriptor, and opens another socket that gets the same descriptor.
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
            with_duplicate(theirs.as_raw_fd(), |file| socket_number(file.as_raw_fd())),
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
        // In this process, the socket is one of its own.
        let (mut is_listed, number) = (false, socket_number(theirs.as_raw_fd()));
        Descriptors::open().unwrap().each(|_, listed| is_listed |= listed == number);
        assert!(is_listed);
        drop(theirs);
        assert_eq!(ours.read(&mut [0]).unwrap(), 0);
    }
}
