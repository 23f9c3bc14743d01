//! The two ends of the way that records take from a consumer to the application.

use super::boundary::{Outcome, resolve, socket_of};
use crate::actor::Error;
use crate::czmq::{
    self,
    owned::ZSock,
    sys::{self, zsock_t},
};
use crate::net::{Kind, Socket, connect_pair, now_ms};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::raw::c_int;

/// Where a consumer sends its records. Its reader gets a signal in any case, also when the consumer cannot start.
pub(super) struct Sink {
    pub(super) socket: Socket,
    /// After the socket, which may be borrowed from it.
    _owner: ZSock,
}

impl Sink {
    /// Takes a socket of the application's over.
    ///
    /// # Safety
    /// `raw` is a live socket, which the caller gives away.
    pub(super) unsafe fn of(raw: *mut zsock_t) -> Outcome<Sink> {
        // SAFETY: the caller's promise. A socket of another process is left alone.
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

/// A record pipe: what the application reads from, and what the consumer writes to.
pub(super) fn pipe() -> Outcome<(ZSock, Sink)> {
    let no_pipe = |error| no_pipe(&Error::from(error));
    let source = zsock(Kind::PAIR).map_err(|error| self::no_pipe(&error))?;
    // SAFETY: the source is live, and used by this thread alone.
    let end = unsafe { resolve(source.as_c()) };
    let end = end.ok_or("the record pipe is no socket")?;
    let socket = Socket::new(Kind::PAIR).map_err(no_pipe)?;
    // SAFETY: it only reads a number. As zsys_create_pipe does it: the limits for reading are those of all sockets.
    let limit = i32::try_from(unsafe { sys::zsys_pipehwm() }).unwrap_or(i32::MAX);
    for end in [&end, &socket] {
        end.zmq().set_sndhwm(limit).map_err(no_pipe)?;
    }
    connect_pair(&end, &socket).map_err(no_pipe)?;
    // The signal before the records is for those who wait for it at a sink of their own.
    socket.signal().map_err(no_pipe)?;
    end.wait_for_signal().map_err(no_pipe)?;
    Ok((source, Sink { socket, _owner: ZSock::default() }))
}

fn no_pipe(error: &Error) -> String {
    format!("cannot make the record pipe: {error}")
}

/// What a consumer takes: the pipe of its records (2 sockets) and that of its commands (2); the node's two, with a monitor
/// (2); its beacon's pipe (2) and two sockets, with a monitor (2).
const CONSUMER_SOCKETS: usize = 14;
/// The longest time that closed sockets may take until they can be used again.
const MAX_CLOSE_MS: u64 = 1_000;

/// A new CZMQ socket. CZMQ (4.2.1, zsock.c: `assert (self->handle)`) ends the process when there is none left: so all that
/// a consumer needs are made before, and closed again.
fn zsock(kind: Kind) -> Result<ZSock, Error> {
    let closing = Closing::new().map_err(|_| zmq::Error::EMFILE)?;
    // What is short is asked for while it is.
    let spare = (0..CONSUMER_SOCKETS).map(|_| Ok(Spare::new()?));
    let spare = spare.collect::<Result<Vec<Spare>, Error>>()?;
    closing.close(spare);
    Ok(ZSock::new(kind))
}

/// A socket that CZMQ does not know: to close one of those takes the longer the more there are (zsys_close).
struct Spare(zmq::Socket);

impl Spare {
    fn new() -> zmq::Result<Spare> {
        // SAFETY: the context lives as long as the process; NULL is checked for; zmq_errno reads this thread's number.
        unsafe {
            let raw = zmq_sys::zmq_socket(czmq::init(), Kind::PAIR as c_int);
            match raw.is_null() {
                true => Err(zmq::Error::from_raw(zmq_sys::zmq_errno())),
                false => Ok(Spare(zmq::Socket::from_raw(raw))),
            }
        }
    }
}

/// Tells when sockets are closed: libzmq does that in another thread. It is an epoll object, which knows an open file by
/// more than its number: that may be another file's at once.
struct Closing(OwnedFd);

impl Closing {
    fn new() -> std::io::Result<Closing> {
        // SAFETY: a system call without pointers.
        let epoll = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
        if epoll < 0 {
            return Err(std::io::Error::last_os_error());
        }
        // SAFETY: the file is open, and nobody else's.
        Ok(Closing(unsafe { OwnedFd::from_raw_fd(epoll) }))
    }

    /// Adds a file, or asks for it: false when it is closed.
    fn control(&self, operation: c_int, file: c_int) -> bool {
        let mut nothing = libc::epoll_event { events: 0, u64: 0 };
        // SAFETY: the file need not be open; the structure outlives the call.
        unsafe { libc::epoll_ctl(self.0.as_raw_fd(), operation, file, &mut nothing) == 0 }
    }

    /// Closes sockets, and waits until others can have their places.
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
