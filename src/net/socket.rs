//! A ZeroMQ socket in CZMQ's process context.

use super::Frame;
use super::actor_state;
use super::actor_state::ActorState;
use super::descriptors::note_inherited;
use super::endpoint::port_of;
use super::socket_file::SocketFile;
use super::unsent::Unsent;
use crate::czmq::fork::{GENERATIONS, PerProcess, generation};
use crate::czmq::{self, exit};
use std::cell::{Cell, OnceCell, RefCell};
use std::collections::BTreeSet;
use std::ffi::CString;
use std::mem::ManuallyDrop;
use std::os::raw::{c_char, c_int, c_void};
use std::sync::{Arc, Mutex};
use zmq::{PollEvents, PollItem};
use zmq_sys::{zmq_msg_recv, zmq_msg_send};

pub use zmq::SocketType as Kind;

/// A socket made by CZMQ (zsys_socket), which is closed through CZMQ when dropped; or one borrowed from a C caller.
pub struct Socket {
    zmq: ManuallyDrop<zmq::Socket>,
    pub(super) raw: *mut c_void,
    owned: bool,
    /// False when everything was read and the socket was not used since. Then the socket's descriptor becomes readable
    /// with the next input. Each use of the socket may make libzmq process the event of new input. The descriptor is
    /// then not readable, although there is input.
    may_have_input: Cell<bool>,
    /// Whether this end has sent a signal, or need not send its first one. The first signal of an actor means that the
    /// actor is ready.
    pub(super) has_signalled: Cell<bool>,
    /// The file of an `ipc://` address that the socket is bound to.
    file: RefCell<Option<SocketFile>>,
    /// At an actor's end of its pipe: the state of the actor, which the owner can read.
    pub(super) own_actor: OnceCell<Arc<ActorState>>,
    /// What libzmq has not sent yet of the records that were published on this socket. `None` if this is not counted.
    pub(super) unsent: Option<Arc<Unsent>>,
    /// The generation of the process that made this object, see [`generation`].
    generation: u32,
}

// SAFETY: a ZeroMQ socket may move to another thread, as long as one thread at a time uses it. Not Sync.
unsafe impl Send for Socket {}

const FILE: &std::ffi::CStr = c"dafka";

impl Socket {
    /// A new socket with the process defaults (linger, high-water marks, IPv6) that the application set in CZMQ.
    ///
    /// # Errors
    /// libzmq's error, usually that there are too many sockets or open files.
    pub fn new(kind: Kind) -> zmq::Result<Socket> {
        note_inherited();
        czmq::init();
        // SAFETY: the name is a static string; NULL is checked for.
        let raw = unsafe { czmq::sys::zsys_socket(kind as c_int, FILE.as_ptr(), line!() as usize) };
        if raw.is_null() {
            // SAFETY: zmq_errno reads this thread's error number.
            return Err(zmq::Error::from_raw(unsafe { zmq_sys::zmq_errno() }));
        }
        // SAFETY: `raw` is a live socket, and this is its only owner.
        Ok(unsafe { Socket::wrap(raw, true) })
    }

    /// Borrows a socket that the caller closes.
    ///
    /// # Safety
    /// `raw` is a live libzmq socket, and outlives the result; only one thread at a time uses it.
    pub unsafe fn borrow(raw: *mut c_void) -> Socket {
        // SAFETY: the caller's promise.
        unsafe { Socket::wrap(raw, false) }
    }

    unsafe fn wrap(raw: *mut c_void, owned: bool) -> Socket {
        // SAFETY: `raw` is a live socket, by the caller's promise.
        let zmq = unsafe { zmq::Socket::from_raw(raw) };
        // The zmq crate must not close the socket: CZMQ counts its open sockets.
        Socket {
            zmq: ManuallyDrop::new(zmq),
            raw,
            owned,
            may_have_input: Cell::new(true),
            has_signalled: Cell::new(false),
            file: RefCell::default(),
            own_actor: OnceCell::new(),
            unsent: None,
            generation: generation(),
        }
    }

    /// The same socket as a type of the `zmq` crate, for options and the like.
    pub fn zmq(&self) -> &zmq::Socket {
        &self.zmq
    }

    /// Binds to an ephemeral TCP port on all interfaces and returns the port.
    ///
    /// # Errors
    /// libzmq's error when no port is free.
    pub fn bind_ephemeral(&self) -> zmq::Result<u16> {
        self.bind("tcp://*:*")?;
        let endpoint = self.zmq.get_last_endpoint()?.unwrap_or_default();
        port_of(&endpoint).ok_or(zmq::Error::EINVAL)
    }

    /// The endpoint of the latest bind or connect. The path of an `ipc://` endpoint need not be valid UTF-8.
    ///
    /// # Errors
    /// ETERM when the context ends.
    pub fn last_endpoint(&self) -> zmq::Result<Vec<u8>> {
        Ok(self.zmq.get_last_endpoint()?.map_or_else(|bytes| bytes, String::into_bytes))
    }

    /// When the socket is closed, `file` is removed.
    pub(super) fn remove_when_closed(&self, file: Option<SocketFile>) {
        self.file.replace(file);
    }

    /// Receives one frame without waiting. False when there is none now.
    ///
    /// # Errors
    /// ETERM when the context ends, and other errors of libzmq.
    pub fn try_recv(&self, frame: &mut Frame) -> zmq::Result<bool> {
        exit::park_if_abandoned();
        self.may_have_input.set(true);
        loop {
            // SAFETY: socket and message are live.
            if unsafe { zmq_msg_recv(frame.as_raw(), self.raw, zmq::DONTWAIT) } >= 0 {
                return Ok(true);
            }
            match last_error() {
                zmq::Error::EAGAIN => {
                    self.may_have_input.set(false);
                    return Ok(false);
                }
                zmq::Error::EINTR => continue,
                error => return Err(error),
            }
        }
    }

    /// As [`Socket::try_recv`], for a socket that [`Wait`](super::Wait) waits for. Calls libzmq only if there may be
    /// input: each call without a result costs a system call.
    ///
    /// # Errors
    /// See [`Socket::try_recv`].
    pub fn try_recv_awaited(&self, frame: &mut Frame) -> zmq::Result<bool> {
        Ok(self.may_have_input.get() && self.try_recv(frame)?)
    }

    /// Whether there may be input that the socket's descriptor does not report.
    pub(super) fn may_have_input(&self) -> bool {
        self.may_have_input.get()
    }

    /// Declares that there may be input: the socket's descriptor has reported something, or the socket was used through
    /// another [`Socket`].
    pub fn expect_input(&self) {
        self.may_have_input.set(true);
    }

    /// Waits for a frame and receives it.
    ///
    /// # Errors
    /// EINTR after a signal, ETERM when the context ends, EAGAIN when the socket's timeout has passed.
    pub fn recv(&self, frame: &mut Frame) -> zmq::Result<()> {
        self.expect_input();
        // SAFETY: socket and message are live.
        match unsafe { zmq_msg_recv(frame.as_raw(), self.raw, 0) } {
            -1 => Err(last_error()),
            _ => Ok(()),
        }
    }

    /// Receives the next frame of a message, after a frame with [`Frame::more`]. The next frame has arrived already. A
    /// signal does not interrupt the message.
    ///
    /// # Errors
    /// ETERM when the context ends.
    pub fn recv_more(&self, frame: &mut Frame) -> zmq::Result<()> {
        uninterrupted(|| self.recv(frame))
    }

    /// Binds. Signals do not interrupt it.
    ///
    /// # Errors
    /// libzmq's error.
    pub fn bind(&self, endpoint: &(impl AsRef<[u8]> + ?Sized)) -> zmq::Result<()> {
        self.with_endpoint(endpoint.as_ref(), zmq_sys::zmq_bind)
    }

    /// Connects. Signals do not interrupt it.
    ///
    /// # Errors
    /// libzmq's error.
    pub fn connect(&self, endpoint: &(impl AsRef<[u8]> + ?Sized)) -> zmq::Result<()> {
        self.with_endpoint(endpoint.as_ref(), zmq_sys::zmq_connect)
    }

    /// Disconnects. Signals do not interrupt it.
    ///
    /// # Errors
    /// libzmq's error.
    pub fn disconnect(&self, endpoint: &(impl AsRef<[u8]> + ?Sized)) -> zmq::Result<()> {
        self.with_endpoint(endpoint.as_ref(), zmq_sys::zmq_disconnect)
    }

    /// Unbinds. Signals do not interrupt it.
    ///
    /// # Errors
    /// libzmq's error.
    pub fn unbind(&self, endpoint: &(impl AsRef<[u8]> + ?Sized)) -> zmq::Result<()> {
        self.with_endpoint(endpoint.as_ref(), zmq_sys::zmq_unbind)
    }

    /// The zmq crate accepts only UTF-8, and the path of an ipc:// endpoint need not be UTF-8.
    fn with_endpoint(
        &self,
        endpoint: &[u8],
        call: unsafe extern "C" fn(*mut c_void, *const c_char) -> c_int,
    ) -> zmq::Result<()> {
        let endpoint = CString::new(endpoint).map_err(|_| zmq::Error::EINVAL)?;
        self.expect_input();
        uninterrupted(|| {
            // SAFETY: the socket is live, and the endpoint a NUL-terminated string; libzmq copies it.
            match unsafe { call(self.raw, endpoint.as_ptr()) } {
                0 => Ok(()),
                _ => Err(last_error()),
            }
        })
    }

    /// Discards the rest of the message that `frame` belongs to. Returns how many frames it has discarded.
    pub fn skip_rest(&self, frame: &Frame) -> usize {
        let (mut skipped, mut is_more, mut rest) = (0, frame.more(), Frame::new());
        while is_more && self.try_recv(&mut rest).unwrap_or(false) {
            is_more = rest.more();
            skipped += 1;
        }
        skipped
    }

    /// Sends one frame without waiting. `more`: another frame of the same message follows. A frame that was sent is
    /// empty afterwards. False when the socket cannot take the frame now; then the frame is unchanged.
    ///
    /// # Errors
    /// Other errors of libzmq.
    pub fn try_send(&self, frame: &mut Frame, more: bool) -> zmq::Result<bool> {
        self.send_flags(frame, zmq::DONTWAIT | if more { zmq::SNDMORE } else { 0 })
    }

    /// Waits for room and sends one frame. Signals do not interrupt it.
    ///
    /// # Errors
    /// ETERM when the context ends, EAGAIN when the socket's timeout has passed.
    pub fn send(&self, frame: &mut Frame, more: bool) -> zmq::Result<()> {
        match self.send_flags(frame, if more { zmq::SNDMORE } else { 0 }) {
            Ok(true) => Ok(()),
            Ok(false) => Err(zmq::Error::EAGAIN),
            Err(error) => Err(error),
        }
    }

    fn send_flags(&self, frame: &mut Frame, flags: c_int) -> zmq::Result<bool> {
        if let Some(actor) = self.own_actor.get() {
            actor.note_sent();
        }
        self.send_unnoted(frame, flags)
    }

    /// Like [`Socket::send_flags`], for an actor's ready signal, which [`ActorState::has_sent`] does not count.
    pub(super) fn send_unnoted(&self, frame: &mut Frame, flags: c_int) -> zmq::Result<bool> {
        exit::park_if_abandoned();
        self.expect_input();
        loop {
            // SAFETY: socket and message are live. libzmq takes the content and leaves an empty message.
            if unsafe { zmq_msg_send(frame.as_raw(), self.raw, flags) } >= 0 {
                return Ok(true);
            }
            match last_error() {
                zmq::Error::EAGAIN => return Ok(false),
                zmq::Error::EINTR => continue,
                error => return Err(error),
            }
        }
    }

    /// Waits for room and sends a message of several short frames.
    ///
    /// # Errors
    /// See [`Socket::send`].
    pub fn send_frames(&self, frames: &[&[u8]]) -> zmq::Result<()> {
        for (i, frame) in frames.iter().enumerate() {
            self.send(&mut Frame::copy(frame), i + 1 < frames.len())?;
        }
        Ok(())
    }

    /// Stops zmq_socket_monitor. Call this before the monitor's PAIR socket is closed. Otherwise libzmq's I/O thread
    /// would wait for ever to send an event to that socket.
    pub fn stop_monitor(&self) {
        // SAFETY: the socket is live. According to zmq_socket_monitor(3), NULL stops the monitor.
        unsafe {
            zmq_sys::zmq_socket_monitor(self.raw, std::ptr::null(), 0);
        }
    }

    /// The events that the socket is ready for now.
    pub fn events(&self) -> PollEvents {
        self.try_events().unwrap_or(PollEvents::empty())
    }

    /// As [`Socket::events`].
    ///
    /// # Errors
    /// ETERM when the context ends, and other errors of libzmq.
    pub(super) fn try_events(&self) -> zmq::Result<PollEvents> {
        exit::park_if_abandoned();
        self.expect_input();
        let events = uninterrupted(|| self.zmq.get_events())?;
        self.may_have_input.set(events.contains(zmq::POLLIN));
        Ok(events)
    }

    /// True when the socket was made by another process, from which this process was forked. The socket cannot be used
    /// here.
    ///
    /// Several threads may call this at once. Meanwhile, a thread for which it has returned false may use the socket.
    pub fn is_of_another_process(&self) -> bool {
        match self.owned {
            true => self.generation != generation(),
            false => generation() != 0 && !self.is_known_as_own(),
        }
    }

    /// Whether this process, which was forked, has made the socket. The call uses the socket under a lock. When the
    /// result was true once, later calls do not use the socket. The result then stays true as long as the process
    /// lives: copies of another process's sockets have existed since the fork, so no such copy can get the same memory
    /// address later.
    fn is_known_as_own(&self) -> bool {
        static OWN: PerProcess<BTreeSet<usize>> =
            PerProcess::new([const { Mutex::new(BTreeSet::new()) }; GENERATIONS]);
        // libzmq (4.3) fails with EINTR at each call for a socket of another process.
        const TRIES: usize = 100;
        let mut own = OWN.lock();
        if own.contains(&self.id()) {
            return true;
        }
        // Most pipes of actors of the parent are known by their names. This check comes first: if another thread of the
        // parent used the socket during the fork, libzmq (4.3.4) may loop for ever in `get_events`.
        let name = self.zmq.get_last_endpoint().ok().and_then(Result::ok).unwrap_or_default();
        let is_own = !actor_state::is_only_inherited(&name)
            && (0..TRIES).any(|_| self.zmq.get_events() != Err(zmq::Error::EINTR));
        if is_own {
            own.insert(self.id());
        }
        is_own
    }

    /// Identifies this socket in its process while it is open.
    pub fn id(&self) -> usize {
        self.raw as usize
    }

    /// This socket as an item of [`poll`](super::poll).
    pub fn item(&self, events: PollEvents) -> PollItem<'_> {
        self.expect_input();
        self.zmq.as_poll_item(events)
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        // A forked child leaves its parent's socket and file alone. CZMQ counts only the child's own sockets.
        if self.generation != generation() {
            return std::mem::forget(self.file.take());
        }
        exit::park_if_abandoned();
        // Remove the file first, so that another process can bind at once: libzmq closes its listening socket a moment
        // later.
        drop(self.file.take());
        if self.owned {
            // SAFETY: made by zsys_socket, closed once.
            unsafe {
                czmq::sys::zsys_close(self.raw, FILE.as_ptr(), line!() as usize);
            }
        }
    }
}

/// Repeats a call while signals interrupt it. libzmq may return EINTR wherever it checks for commands, not only where
/// it waits.
fn uninterrupted<T>(mut call: impl FnMut() -> zmq::Result<T>) -> zmq::Result<T> {
    loop {
        match call() {
            Err(zmq::Error::EINTR) => {}
            result => return result,
        }
    }
}

pub(super) fn last_error() -> zmq::Error {
    // SAFETY: zmq_errno reads this thread's error number.
    zmq::Error::from_raw(unsafe { zmq_sys::zmq_errno() })
}
