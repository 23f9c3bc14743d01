//! The record pipe: the two sockets between a consumer and its application, and the queue beside them.

use super::boundary::{Outcome, resolve, socket_of};
use crate::actor::Error;
use crate::actor::record_queue::{RecordReader, RecordWriter, record_queue};
use crate::czmq::fork::{GENERATIONS, PerProcess};
use crate::czmq::{
    self,
    owned::ZSock,
    sys::{self, zsock_t},
};
use crate::net::{Kind, Socket, connect_pair, now_ms};
use std::collections::BTreeMap;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::raw::c_int;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A socket of the application, to which a consumer sends its records. The other end of this socket always receives a
/// signal, even if the consumer cannot start.
pub(super) struct Sink {
    pub(super) socket: Socket,
    /// Owns the CZMQ socket. Dropped after `socket`, which borrows from it.
    _owner: ZSock,
}

impl Sink {
    /// Takes over a socket of the application.
    ///
    /// # Safety
    /// `raw` is a live socket that the caller gives away.
    pub(super) unsafe fn of(raw: *mut zsock_t) -> Outcome<Sink> {
        // SAFETY: the caller's promise. `socket_of` refuses a socket that the parent process made before a fork.
        unsafe {
            let socket = socket_of(raw, "record_sink")?;
            Ok(Sink { socket, _owner: ZSock::from_c(raw) })
        }
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        if !self.socket.has_signalled() {
            let _ = self.socket.try_signal();
        }
    }
}

/// The application's end of a record pipe.
pub(super) struct Source {
    reader: SharedReader,
    /// Identifies the socket in [`READERS`].
    id: usize,
    socket: ZSock,
}

type SharedReader = Arc<Mutex<RecordReader>>;

/// The readers of this process's record pipes. The key is the id of the application's end: a program may pass only this
/// socket, without the consumer.
static READERS: PerProcess<BTreeMap<usize, SharedReader>> =
    PerProcess::new([const { Mutex::new(BTreeMap::new()) }; GENERATIONS]);

impl Source {
    fn new(socket: ZSock, end: &Socket, reader: RecordReader) -> Source {
        let (reader, id) = (Arc::new(Mutex::new(reader)), end.id());
        READERS.lock().insert(id, reader.clone());
        Source { reader, id, socket }
    }

    /// The socket.
    pub(super) fn socket(&self) -> &ZSock {
        &self.socket
    }

    /// The reader of the records.
    pub(super) fn reader(&self) -> MutexGuard<'_, RecordReader> {
        lock(&self.reader)
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        READERS.lock().remove(&self.id);
    }
}

/// Calls a function with the reader of a record pipe. `socket` is the application's end of this pipe. Returns `None`
/// for any other socket.
pub(super) fn with_reader_of<T>(socket: &Socket, call: impl FnOnce(&mut RecordReader) -> T) -> Option<T> {
    let reader = READERS.lock().get(&socket.id()).cloned()?;
    let result = call(&mut lock(&reader));
    Some(result)
}

/// Only one thread at a time reads a record pipe, so this does not wait.
fn lock(reader: &Mutex<RecordReader>) -> MutexGuard<'_, RecordReader> {
    reader.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Makes a record pipe: the end that the application reads from, and the end that the consumer writes to.
pub(super) fn pipe() -> Outcome<(Source, RecordWriter)> {
    let no_pipe = |error| no_pipe(&Error::from(error));
    let source = zsock(Kind::PAIR).map_err(|error| self::no_pipe(&error))?;
    // SAFETY: the source is live, and only this thread uses it.
    let end = unsafe { resolve(source.as_c()) };
    let end = end.ok_or("the record pipe is no socket")?;
    let socket = Socket::new(Kind::PAIR).map_err(no_pipe)?;
    // SAFETY: zsys_pipehwm only reads a number.
    let limit = i32::try_from(unsafe { sys::zsys_pipehwm() }).unwrap_or(i32::MAX);
    // zsys_create_pipe, too, uses this number as the limit for sending, and not for receiving.
    for end in [&end, &socket] {
        end.zmq().set_sndhwm(limit).map_err(no_pipe)?;
    }
    // The reader wakes the actor with a message, for which there must always be room.
    socket.zmq().set_rcvhwm(0).map_err(no_pipe)?;
    connect_pair(&end, &socket).map_err(no_pipe)?;
    // The signal is read here, so the application does not receive it. (From a sink of its own, the application
    // receives the signal before the records.)
    socket.signal().map_err(no_pipe)?;
    end.wait_for_signal().map_err(no_pipe)?;
    // The number of messages that libzmq's pipe holds.
    let max_count = match (limit, end.zmq().get_rcvhwm().map_err(no_pipe)?) {
        (0, _) | (_, 0) => 0,
        (sent, received) => usize::try_from(sent.saturating_add(received)).unwrap_or(0),
    };
    let (writer, reader) = record_queue(socket, max_count).map_err(|error| self::no_pipe(&error))?;
    Ok((Source::new(source, &end, reader), writer))
}

fn no_pipe(error: &Error) -> String {
    format!("cannot make the record pipe: {error}")
}

/// The sockets of a consumer: its record pipe (2), its command pipe (2), and the node's two sockets and a monitor's
/// pair (4). The first node also needs the beacon's pipe (2), and the beacon's two sockets and a monitor's pair (4).
const CONSUMER_SOCKETS: usize = 14;
/// The longest wait until libzmq can reuse the slots of closed sockets.
const MAX_CLOSE_MS: u64 = 1_000;

/// A new CZMQ socket. When no socket is left, CZMQ ends the process (4.2.1, zsock.c: `assert (self->handle)`). So this
/// function first opens and closes as many sockets as a consumer needs.
fn zsock(kind: Kind) -> Result<ZSock, Error> {
    let closing = Closing::new().map_err(|_| zmq::Error::EMFILE)?;
    // If too few sockets are left, one of these calls fails, and the caller gets an error.
    let spare = (0..CONSUMER_SOCKETS).map(|_| Ok(Spare::new()?));
    let spare = spare.collect::<Result<Vec<Spare>, Error>>()?;
    closing.close(spare);
    Ok(ZSock::new(kind))
}

/// A socket that CZMQ does not manage. It closes fast, while the time to close a CZMQ socket grows with the number of
/// CZMQ sockets (zsys_close).
struct Spare(zmq::Socket);

impl Spare {
    fn new() -> zmq::Result<Spare> {
        // SAFETY: the context lives as long as the process, NULL is checked for, and zmq_errno reads this thread's
        // error.
        unsafe {
            let raw = zmq_sys::zmq_socket(czmq::init(), Kind::PAIR as c_int);
            match raw.is_null() {
                true => Err(zmq::Error::from_raw(zmq_sys::zmq_errno())),
                false => Ok(Spare(zmq::Socket::from_raw(raw))),
            }
        }
    }
}

/// Detects when libzmq has closed sockets, which it does in another thread. The number of a socket's file descriptor
/// does not show whether the socket is closed, because a new file may get the same number at once. An epoll instance
/// distinguishes the new file from the closed one.
struct Closing(OwnedFd);

impl Closing {
    fn new() -> std::io::Result<Closing> {
        // SAFETY: a system call without pointers.
        let epoll = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
        if epoll < 0 {
            return Err(std::io::Error::last_os_error());
        }
        // SAFETY: the file is open, and has no other owner.
        Ok(Closing(unsafe { OwnedFd::from_raw_fd(epoll) }))
    }

    /// Adds a file to the epoll instance, or checks a file that was added. Returns false when the file is closed.
    fn control(&self, operation: c_int, file: c_int) -> bool {
        let mut nothing = libc::epoll_event { events: 0, u64: 0 };
        // SAFETY: the file need not be open; the structure outlives the call.
        unsafe { libc::epoll_ctl(self.0.as_raw_fd(), operation, file, &mut nothing) == 0 }
    }

    /// Closes sockets, and waits until libzmq can reuse their slots.
    fn close(&self, sockets: Vec<Spare>) {
        let files: Vec<c_int> = sockets.iter().filter_map(|socket| socket.0.get_fd().ok()).collect();
        for &file in &files {
            self.control(libc::EPOLL_CTL_ADD, file);
        }
        drop(sockets);
        let due_ms = now_ms() + MAX_CLOSE_MS;
        while files.iter().any(|&file| self.control(libc::EPOLL_CTL_MOD, file)) && now_ms() < due_ms {
            std::thread::yield_now();
        }
    }
}
