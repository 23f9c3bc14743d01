//! A ZeroMQ socket in CZMQ's process context.

use super::Frame;
use super::bind::SocketFile;
use super::descriptors::note_inherited;
use super::pipe::Ear;
use crate::czmq::exit::{self, Role};
use crate::czmq::{self, fork::generation};
use std::cell::{Cell, OnceCell, RefCell};
use std::ffi::CString;
use std::mem::ManuallyDrop;
use std::os::raw::{c_char, c_int, c_void};
use std::sync::Arc;
use zmq::{POLLIN, PollEvents, PollItem};
use zmq_sys::{zmq_msg_recv, zmq_msg_send, zmq_poll, zmq_pollitem_t};

pub use zmq::SocketType as Kind;

/// The option that becomes TCP_USER_TIMEOUT; zmq-sys does not declare it.
const ZMQ_TCP_MAXRT: c_int = 80;

/// The option by which an XPUB socket reports each subscription and each end of one; zmq-sys does not wrap it.
const ZMQ_XPUB_VERBOSER: c_int = 78;

/// The option by which libzmq listens with a socket that was made and bound before.
const ZMQ_USE_FD: c_int = 89;

/// A socket made through CZMQ (zsys_socket), closed through it when dropped; or one borrowed from a C caller.
pub struct Socket {
    zmq: ManuallyDrop<zmq::Socket>,
    pub(super) raw: *mut c_void,
    owned: bool,
    /// Whether [`Socket::signal`] was called: an actor's first signal says that it is ready.
    pub(super) has_signalled: Cell<bool>,
    /// Of an `ipc://` address that it is bound to.
    file: RefCell<Option<SocketFile>>,
    /// Of an actor's end of its pipe: what the other end knows of the actor.
    pub(super) own_ear: OnceCell<Arc<Ear>>,
    /// The process that made it, see [`generation`].
    generation: u32,
}

// SAFETY: a ZeroMQ socket may move to another thread, as long as one thread at a time uses it. Not Sync.
unsafe impl Send for Socket {}

const FILE: &std::ffi::CStr = c"dafka";

/// After this time without a word from a peer, the kernel asks it whether it is there...
const KEEPALIVE_IDLE_S: i32 = 3;
/// ... and asks again ...
const KEEPALIVE_INTERVAL_S: i32 = 1;
/// ... so many times: a dead host is noticed after six seconds.
const KEEPALIVE_COUNT: i32 = 3;
/// What was sent and not taken for so long ends a connection that carries little: keepalives are not sent meanwhile.
const UNANSWERED_MS: c_int = 6_000;
/// When to begin a new attempt to connect: the kernel's own ones would come ever more seldom, and after a cut of a
/// minute the next one may be half a minute away.
const CONNECT_TIMEOUT_MS: i32 = 3_000;
/// How often the connections between towers and nodes are tried.
const HEARTBEAT_INTERVAL_MS: i32 = 1_000;
/// How long such a connection may be silent.
const HEARTBEAT_TIMEOUT_MS: i32 = 5_000;
/// The longest subscription that a peer may make. Ours have 257 octets at most; libzmq's own commands are short.
const MAX_SUBSCRIPTION_LEN_BYTES: usize = 1_024;
/// The kernel's receive buffer where little is received.
const RECEIVE_BUFFER_BYTES: i32 = 4_096;
/// How long a peer may take to say what it is.
const HANDSHAKE_MS: i32 = 10_000;
/// How often a wait looks whether the process ends, where there is no file that would say so.
const EXIT_CHECK_INTERVAL_MS: i64 = 100;
/// The longest time between two tries to connect to a peer.
const MAX_RECONNECT_MS: i32 = 4_000;

impl Socket {
    /// A new socket with the process defaults (linger, high-water marks, IPv6) that the application set in CZMQ.
    ///
    /// # Errors
    /// What libzmq says: usually too many sockets or open files.
    pub fn new(kind: Kind) -> zmq::Result<Socket> {
        note_inherited();
        czmq::init();
        // SAFETY: the name is a static string; NULL is checked for.
        let raw = unsafe { czmq::sys::zsys_socket(kind as c_int, FILE.as_ptr(), line!() as usize) };
        if raw.is_null() {
            // SAFETY: zmq_errno reads this thread's error number.
            return Err(zmq::Error::from_raw(unsafe { zmq_sys::zmq_errno() }));
        }
        // SAFETY: `raw` is a live socket that nobody else holds.
        Ok(unsafe { Socket::wrap(raw, true) })
    }

    /// Borrows a socket that somebody else closes.
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
        // CZMQ counts its open sockets: the zmq crate must not close one behind its back.
        Socket {
            zmq: ManuallyDrop::new(zmq),
            raw,
            owned,
            has_signalled: Cell::new(false),
            file: RefCell::default(),
            own_ear: OnceCell::new(),
            generation: generation(),
        }
    }

    /// The socket as the `zmq` crate knows it: for options, bind and connect.
    pub fn zmq(&self) -> &zmq::Socket {
        &self.zmq
    }

    /// Lets the kernel find out when the host at the other end of a connection has gone without a word, or has forgotten
    /// it: by TCP's keepalives, as ZeroMQ's heartbeats queue up behind records that a busy peer does not read, and would
    /// part it from those who wait for it. For connections made later.
    ///
    /// # Errors
    /// What libzmq says.
    pub fn notice_dead_hosts(&self) -> zmq::Result<()> {
        self.zmq.set_tcp_keepalive(1)?;
        self.zmq.set_tcp_keepalive_idle(KEEPALIVE_IDLE_S)?;
        self.zmq.set_tcp_keepalive_intvl(KEEPALIVE_INTERVAL_S)?;
        self.zmq.set_tcp_keepalive_cnt(KEEPALIVE_COUNT)?;
        self.zmq.set_connect_timeout(CONNECT_TIMEOUT_MS)
    }

    /// Ends connections on which nothing that was sent is taken, as it is after the host at the other end has gone. Not
    /// for sockets that publish records: a peer that does not read them for a while is none the worse.
    ///
    /// # Errors
    /// What libzmq says.
    pub fn notice_unanswered(&self) -> zmq::Result<()> {
        self.set_int(ZMQ_TCP_MAXRT, UNANSWERED_MS)
    }

    /// Sets an option that zmq-sys does not declare and that takes a C int.
    fn set_int(&self, option: c_int, value: c_int) -> zmq::Result<()> {
        let value: *const c_int = &value;
        // SAFETY: the socket is live; the option takes a C int, and this is a pointer to one with its size.
        let rc =
            unsafe { zmq_sys::zmq_setsockopt(self.raw, option, value.cast(), std::mem::size_of::<c_int>()) };
        if rc == 0 { Ok(()) } else { Err(last_error()) }
    }

    /// Ends connections that are silent (ZMTP 3.1 heartbeats, which every libzmq that Dafka runs on answers by itself),
    /// and asks the peer to do the same, who may not do so by itself. For connections made later.
    ///
    /// # Errors
    /// What libzmq says.
    pub fn beat(&self) -> zmq::Result<()> {
        self.zmq.set_heartbeat_ivl(HEARTBEAT_INTERVAL_MS)?;
        self.zmq.set_heartbeat_timeout(HEARTBEAT_TIMEOUT_MS)?;
        self.zmq.set_heartbeat_ttl(HEARTBEAT_TIMEOUT_MS)?;
        self.zmq.set_connect_timeout(CONNECT_TIMEOUT_MS)
    }

    /// Prepares a socket for peers that may be anybody. A frame of more than `max_frame_len_bytes` ends the connection
    /// that it comes over, before there is memory for it: by itself, libzmq allocates what a peer announces. Who
    /// connects and says nothing is dropped sooner than libzmq would.
    ///
    /// There is no high-water mark for what is received: libzmq (4.3.4, 4.3.5) aborts the process when a connection is
    /// reset while its inbound pipe is full and a PING lies behind that (`!_io_error` in stream_engine_base.cpp). So the
    /// caller must read the socket all the time.
    ///
    /// # Errors
    /// What libzmq says.
    pub fn expect_anybody(&self, max_frame_len_bytes: usize) -> zmq::Result<()> {
        self.zmq.set_maxmsgsize(i64::try_from(max_frame_len_bytes).unwrap_or(i64::MAX))?;
        self.zmq.set_rcvhwm(0)?;
        self.zmq.set_handshake_ivl(HANDSHAKE_MS)
    }

    /// Prepares an XPUB socket that anybody may subscribe at.
    ///
    /// # Errors
    /// What libzmq says.
    pub fn expect_subscribers(&self) -> zmq::Result<()> {
        self.expect_anybody(MAX_SUBSCRIPTION_LEN_BYTES)?;
        self.receive_little()
    }

    /// Has an XPUB socket report every subscription and every end of one, and not only the first and the last one of each
    /// topic. So the node can count what each connection has sent and what it subscribes to. When a connection ends, the
    /// socket reports the ends of all its subscriptions, without their connection ([`Frame::origin`]).
    ///
    /// # Errors
    /// What libzmq says.
    pub fn report_every_subscription(&self) -> zmq::Result<()> {
        self.set_int(ZMQ_XPUB_VERBOSER, 1)
    }

    /// Prepares a socket that binds, and to which little is sent. The kernel receives so little at a time, per connection,
    /// that libzmq's I/O thread is about as slow as the thread that reads the socket: 170 MB of subscriptions a second
    /// become 40 MB. By itself the kernel keeps megabytes for each connection. What is sent is not affected.
    ///
    /// # Errors
    /// What libzmq says.
    pub fn receive_little(&self) -> zmq::Result<()> {
        self.zmq.set_rcvbuf(RECEIVE_BUFFER_BYTES)
    }

    /// Prepares a socket that connects to whoever is announced: endpoints where nobody answers are tried ever more
    /// seldom, and each try ends in time. By itself, libzmq would try ten times a second, and a try may last minutes.
    ///
    /// # Errors
    /// What libzmq says.
    pub fn connect_patiently(&self) -> zmq::Result<()> {
        self.zmq.set_reconnect_ivl_max(MAX_RECONNECT_MS)?;
        self.zmq.set_connect_timeout(CONNECT_TIMEOUT_MS)
    }

    /// Binds to an ephemeral TCP port on all interfaces and returns the port.
    ///
    /// # Errors
    /// What libzmq says when no port can be had.
    pub fn bind_ephemeral(&self) -> zmq::Result<u16> {
        self.bind("tcp://*:*")?;
        let endpoint = self.zmq.get_last_endpoint()?.unwrap_or_default();
        endpoint.rsplit(':').next().and_then(|port| port.parse().ok()).ok_or(zmq::Error::EINVAL)
    }

    /// The endpoint that the socket has bound or connected to last. The path of an `ipc://` endpoint need not be text.
    ///
    /// # Errors
    /// ETERM when the context ends.
    pub fn last_endpoint(&self) -> zmq::Result<Vec<u8>> {
        Ok(self.zmq.get_last_endpoint()?.map_or_else(|octets| octets, String::into_bytes))
    }

    /// Removes the file when the socket is closed.
    pub(super) fn keep_file(&self, file: Option<SocketFile>) {
        self.file.replace(file);
    }

    /// Receives one frame, without waiting. `None` when there is none now.
    ///
    /// # Errors
    /// Anything but "none now" (ETERM when the context ends).
    pub fn try_recv(&self, frame: &mut Frame) -> zmq::Result<bool> {
        exit::stop_if_late();
        loop {
            // SAFETY: socket and message are live.
            if unsafe { zmq_msg_recv(frame.as_raw(), self.raw, zmq::DONTWAIT) } >= 0 {
                return Ok(true);
            }
            match last_error() {
                zmq::Error::EAGAIN => return Ok(false),
                zmq::Error::EINTR => continue,
                error => return Err(error),
            }
        }
    }

    /// Receives one frame, waiting for it.
    ///
    /// # Errors
    /// EINTR when a signal came, ETERM when the context ends, EAGAIN when the socket has a time limit.
    pub fn recv(&self, frame: &mut Frame) -> zmq::Result<()> {
        // SAFETY: socket and message are live.
        match unsafe { zmq_msg_recv(frame.as_raw(), self.raw, 0) } {
            -1 => Err(last_error()),
            _ => Ok(()),
        }
    }

    /// Receives the next frame of a message whose frame before had [`Frame::more`]: it is there already, and signals
    /// must not separate the two.
    ///
    /// # Errors
    /// ETERM when the context ends.
    pub fn recv_more(&self, frame: &mut Frame) -> zmq::Result<()> {
        uninterrupted(|| self.recv(frame))
    }

    /// Binds, whatever signals come meanwhile.
    ///
    /// # Errors
    /// What libzmq says.
    pub fn bind(&self, endpoint: &(impl AsRef<[u8]> + ?Sized)) -> zmq::Result<()> {
        self.with_endpoint(endpoint.as_ref(), zmq_sys::zmq_bind)
    }

    /// Connects, whatever signals come meanwhile.
    ///
    /// # Errors
    /// What libzmq says.
    pub fn connect(&self, endpoint: &(impl AsRef<[u8]> + ?Sized)) -> zmq::Result<()> {
        self.with_endpoint(endpoint.as_ref(), zmq_sys::zmq_connect)
    }

    /// Disconnects, whatever signals come meanwhile.
    ///
    /// # Errors
    /// What libzmq says.
    pub fn disconnect(&self, endpoint: &(impl AsRef<[u8]> + ?Sized)) -> zmq::Result<()> {
        self.with_endpoint(endpoint.as_ref(), zmq_sys::zmq_disconnect)
    }

    /// Unbinds, whatever signals come meanwhile.
    ///
    /// # Errors
    /// What libzmq says.
    pub fn unbind(&self, endpoint: &(impl AsRef<[u8]> + ?Sized)) -> zmq::Result<()> {
        self.with_endpoint(endpoint.as_ref(), zmq_sys::zmq_unbind)
    }

    /// The zmq crate takes text only, and the path of an ipc:// endpoint need not be text.
    fn with_endpoint(
        &self,
        endpoint: &[u8],
        call: unsafe extern "C" fn(*mut c_void, *const c_char) -> c_int,
    ) -> zmq::Result<()> {
        let endpoint = CString::new(endpoint).map_err(|_| zmq::Error::EINVAL)?;
        uninterrupted(|| {
            // SAFETY: the socket is live, and the endpoint a NUL-terminated string; libzmq copies it.
            match unsafe { call(self.raw, endpoint.as_ptr()) } {
                0 => Ok(()),
                _ => Err(last_error()),
            }
        })
    }

    /// Reads what is left of a message whose frame had [`Frame::more`], and returns how many frames that were.
    pub fn skip_rest(&self, frame: &Frame) -> usize {
        let (mut skipped, mut is_more, mut rest) = (0, frame.more(), Frame::new());
        while is_more && self.try_recv(&mut rest).unwrap_or(false) {
            is_more = rest.more();
            skipped += 1;
        }
        skipped
    }

    /// Sends one frame without waiting; `more` says that another one of the same message follows. On success
    /// the frame is empty afterwards; `false`, and the frame untouched, when the socket cannot take it now.
    ///
    /// # Errors
    /// Anything but "not now".
    pub fn try_send(&self, frame: &mut Frame, more: bool) -> zmq::Result<bool> {
        self.send_flags(frame, zmq::DONTWAIT | if more { zmq::SNDMORE } else { 0 })
    }

    /// Sends one frame, waiting for room. Signals do not interrupt it.
    ///
    /// # Errors
    /// ETERM when the context ends, EAGAIN when the socket has a time limit.
    pub fn send(&self, frame: &mut Frame, more: bool) -> zmq::Result<()> {
        match self.send_flags(frame, if more { zmq::SNDMORE } else { 0 }) {
            Ok(true) => Ok(()),
            Ok(false) => Err(zmq::Error::EAGAIN),
            Err(error) => Err(error),
        }
    }

    fn send_flags(&self, frame: &mut Frame, flags: c_int) -> zmq::Result<bool> {
        if let Some(ear) = self.own_ear.get() {
            ear.note_sent();
        }
        self.send_unnoted(frame, flags)
    }

    /// As [`Socket::send_flags`], for an actor's ready signal, which is none of its words.
    pub(super) fn send_unnoted(&self, frame: &mut Frame, flags: c_int) -> zmq::Result<bool> {
        exit::stop_if_late();
        loop {
            // SAFETY: socket and message are live; libzmq takes the content and leaves an empty message.
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

    /// Sends a message of several short frames, waiting for room.
    ///
    /// # Errors
    /// As [`Socket::send`].
    pub fn send_frames(&self, frames: &[&[u8]]) -> zmq::Result<()> {
        for (i, frame) in frames.iter().enumerate() {
            self.send(&mut Frame::copy(frame), i + 1 < frames.len())?;
        }
        Ok(())
    }

    /// Ends what zmq_socket_monitor has begun. Must come before the monitor's PAIR socket is closed: libzmq's I/O
    /// thread would wait for ever to send it an event.
    pub fn stop_monitor(&self) {
        // SAFETY: the socket is live; NULL is the documented way to stop.
        unsafe {
            zmq_sys::zmq_socket_monitor(self.raw, std::ptr::null(), 0);
        }
    }

    /// The events that the socket is ready for now.
    pub fn events(&self) -> PollEvents {
        exit::stop_if_late();
        uninterrupted(|| self.zmq.get_events()).unwrap_or(PollEvents::empty())
    }

    /// True when another process made the socket and forked this one: it cannot be used here.
    pub fn is_of_another_process(&self) -> bool {
        // libzmq (4.3) tells it by EINTR only, each time.
        const TRIES: usize = 100;
        match self.owned {
            true => self.generation != generation(),
            false => generation() != 0 && (0..TRIES).all(|_| self.zmq.get_events() == Err(zmq::Error::EINTR)),
        }
    }

    /// This socket as an item of [`poll`].
    pub fn item(&self, events: PollEvents) -> PollItem<'_> {
        self.zmq.as_poll_item(events)
    }
}

/// The descriptor that the next bind listens with; -1: one of libzmq's own.
pub(super) fn set_use_fd(socket: &Socket, fd: c_int) -> zmq::Result<()> {
    socket.set_int(ZMQ_USE_FD, fd)
}

impl Drop for Socket {
    fn drop(&mut self) {
        // The copies of a parent's socket and its file stay: CZMQ counts the child's own sockets only.
        if self.generation != generation() {
            return std::mem::forget(self.file.take());
        }
        exit::stop_if_late();
        // Before libzmq closes its listening socket, a moment later: a process that follows at once finds it free.
        drop(self.file.take());
        if self.owned {
            // SAFETY: made by zsys_socket, closed once.
            unsafe {
                czmq::sys::zsys_close(self.raw, FILE.as_ptr(), line!() as usize);
            }
        }
    }
}

/// Waits until an item is ready, `timeout_ms` have passed (negative: for ever), or a signal came. At the end of the
/// process it may return sooner.
///
/// # Errors
/// ETERM when the context ends, and in an actor at the end of the process; a signal is no error.
pub fn poll(items: &mut [PollItem], timeout_ms: i64) -> zmq::Result<()> {
    if exit::role() != Role::Application {
        if !exit::is_ending() {
            poll_until_exit(items, timeout_ms)?;
        }
        if exit::is_ending() {
            return poll_at_exit(items, timeout_ms);
        }
        return Ok(());
    }
    poll_count(items, timeout_ms).map(|_| ())
}

/// How many items are ready.
fn poll_count(items: &mut [PollItem], timeout_ms: i64) -> zmq::Result<usize> {
    match zmq::poll(items, timeout_ms) {
        Ok(count) => Ok(usize::try_from(count).unwrap_or(0)),
        Err(zmq::Error::EINTR) => Ok(0),
        Err(error) => Err(error),
    }
}

/// As [`poll`]; returns, too, when the process begins to end.
fn poll_until_exit(items: &mut [PollItem], timeout_ms: i64) -> zmq::Result<()> {
    let Some(fd) = exit::descriptor() else {
        let limit_ms = EXIT_CHECK_INTERVAL_MS;
        return poll_count(items, if timeout_ms < 0 { limit_ms } else { timeout_ms.min(limit_ms) })
            .map(|_| ());
    };
    let exit = zmq_pollitem_t { socket: std::ptr::null_mut(), fd, events: POLLIN.bits(), revents: 0 };
    // SAFETY: PollItem is a zmq_pollitem_t (`repr (C)`, with a marker of no size), whose sockets are borrowed.
    let ours =
        unsafe { std::slice::from_raw_parts_mut(items.as_mut_ptr().cast::<zmq_pollitem_t>(), items.len()) };
    let mut all = Vec::with_capacity(ours.len() + 1);
    for item in std::iter::once(&exit).chain(&*ours) {
        all.push(zmq_pollitem_t { socket: item.socket, fd: item.fd, events: item.events, revents: 0 });
    }
    // SAFETY: the items are live, and as many as that.
    let rc = unsafe { zmq_poll(all.as_mut_ptr(), all.len() as c_int, timeout_ms) };
    for (ours, polled) in ours.iter_mut().zip(&all[1..]) {
        ours.revents = polled.revents;
    }
    match rc {
        -1 => Err(last_error()).or_else(|error| if error == zmq::Error::EINTR { Ok(()) } else { Err(error) }),
        _ => Ok(()),
    }
}

/// As [`poll`], while the process ends: an actor handles what there is and ends; a part of it goes on until the actor ends
/// it.
fn poll_at_exit(items: &mut [PollItem], timeout_ms: i64) -> zmq::Result<()> {
    exit::stop_if_late();
    let is_actor = exit::role() == Role::Actor;
    let limit_ms = if is_actor { 0 } else { exit::TICK_MS };
    let count = poll_count(items, if timeout_ms < 0 { limit_ms } else { timeout_ms.min(limit_ms) })?;
    exit::stop_if_late();
    match is_actor && (count == 0 || !exit::is_draining()) {
        true => Err(zmq::Error::ETERM),
        false => Ok(()),
    }
}

/// Does it again while a signal interrupts it: libzmq may say EINTR wherever it looks for news, not only where it waits.
fn uninterrupted<T>(mut call: impl FnMut() -> zmq::Result<T>) -> zmq::Result<T> {
    loop {
        match call() {
            Err(zmq::Error::EINTR) => {}
            result => return result,
        }
    }
}

fn last_error() -> zmq::Error {
    // SAFETY: zmq_errno reads this thread's error number.
    zmq::Error::from_raw(unsafe { zmq_sys::zmq_errno() })
}
