//! Waits at sockets. An actor's wait also ends when the process ends.

use super::Socket;
use super::socket::last_error;
use crate::czmq::exit::{self, Role};
use std::os::fd::RawFd;
use std::os::raw::c_int;
use zmq::{POLLIN, POLLOUT, PollEvents, PollItem};
use zmq_sys::{zmq_poll, zmq_pollitem_t};

/// How often a wait checks whether the process ends. This applies to threads without a descriptor that becomes readable
/// when the process ends.
const EXIT_CHECK_INTERVAL_MS: i64 = 100;

/// Waits until an item is ready, `timeout_ms` have passed (negative: no timeout), or a signal has come. It may return
/// sooner when the process ends. A timeout of 0 means that the caller has work left.
///
/// # Errors
/// ETERM when the context ends, and in an actor when the process ends. A signal is no error.
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

/// Returns how many items are ready.
fn poll_count(items: &mut [PollItem], timeout_ms: i64) -> zmq::Result<usize> {
    match zmq::poll(items, timeout_ms) {
        Ok(count) => Ok(usize::try_from(count).unwrap_or(0)),
        Err(zmq::Error::EINTR) => Ok(0),
        Err(error) => Err(error),
    }
}

/// Does the same as [`poll`], and also returns when the process begins to end.
fn poll_until_exit(items: &mut [PollItem], timeout_ms: i64) -> zmq::Result<()> {
    let Some(fd) = exit::descriptor() else {
        let limit_ms = EXIT_CHECK_INTERVAL_MS;
        return poll_count(items, if timeout_ms < 0 { limit_ms } else { timeout_ms.min(limit_ms) })
            .map(|_| ());
    };
    let exit = zmq_pollitem_t { socket: std::ptr::null_mut(), fd, events: POLLIN.bits(), revents: 0 };
    // SAFETY: PollItem is a `repr (C)` zmq_pollitem_t with a zero-sized marker, which borrows the item's socket.
    let ours =
        unsafe { std::slice::from_raw_parts_mut(items.as_mut_ptr().cast::<zmq_pollitem_t>(), items.len()) };
    let mut all = Vec::with_capacity(ours.len() + 1);
    for item in std::iter::once(&exit).chain(&*ours) {
        all.push(zmq_pollitem_t { socket: item.socket, fd: item.fd, events: item.events, revents: 0 });
    }
    // SAFETY: `all` is a live array of that many items.
    let rc = unsafe { zmq_poll(all.as_mut_ptr(), all.len() as c_int, timeout_ms) };
    for (ours, polled) in ours.iter_mut().zip(&all[1..]) {
        ours.revents = polled.revents;
    }
    match rc {
        -1 => Err(last_error()).or_else(|error| if error == zmq::Error::EINTR { Ok(()) } else { Err(error) }),
        _ => Ok(()),
    }
}

/// Does the same as [`poll`] while the process ends. In an actor, it succeeds only for a short time, and only if an
/// item is ready or the actor has work left. Otherwise it fails, and the actor ends. In a helper thread, it does not
/// fail because of the end of the process: the thread continues until its actor ends it.
fn poll_at_exit(items: &mut [PollItem], timeout_ms: i64) -> zmq::Result<()> {
    exit::park_if_abandoned();
    let is_actor = exit::role() == Role::Actor;
    let limit_ms = if is_actor { 0 } else { exit::TICK_MS };
    let count = poll_count(items, if timeout_ms < 0 { limit_ms } else { timeout_ms.min(limit_ms) })?;
    exit::park_if_abandoned();
    let is_idle = count == 0 && timeout_ms != 0;
    match is_actor && (is_idle || !exit::is_draining()) {
        true => Err(zmq::Error::ETERM),
        false => Ok(()),
    }
}

/// What [`wait`] waits for.
#[derive(Clone, Copy)]
pub enum Awaited<'a> {
    /// Events of a socket.
    Socket(&'a Socket, PollEvents),
    /// A descriptor becomes readable.
    File(RawFd),
}

impl<'a> Awaited<'a> {
    /// As an item of [`poll`].
    pub fn item(self) -> PollItem<'a> {
        match self {
            Awaited::Socket(socket, events) => socket.item(events),
            Awaited::File(file) => PollItem::from_fd(file, POLLIN),
        }
    }

    /// Whether the event is known to have happened already. Asks libzmq only if the descriptor does not tell.
    fn is_ready(self) -> bool {
        match self {
            Awaited::Socket(socket, events) if events == POLLIN && !socket.may_have_input() => false,
            Awaited::Socket(socket, events) => socket.events().intersects(events),
            Awaited::File(_) => false,
        }
    }

    fn descriptor(self) -> zmq::Result<RawFd> {
        match self {
            // This is not a system call.
            Awaited::Socket(socket, _) => socket.zmq().get_fd(),
            Awaited::File(file) => Ok(file),
        }
    }
}

/// As [`poll`], for an actor that then reads only what is ready, with [`Socket::try_recv_awaited`]. Returns what may be
/// ready. Makes one system call, and one more for each socket that was used since it was last read completely.
/// ([`poll`] makes two for each socket, and each read that finds nothing makes one.)
///
/// The kernel looks at the items in their order. So if one is not ready and a later one is, then nothing arrived at the
/// first before it arrived at the later one.
///
/// # Errors
/// See [`poll`].
pub fn wait<const N: usize>(awaited: [Option<Awaited>; N], timeout_ms: i64) -> zmq::Result<[bool; N]> {
    let exit = exit::descriptor().filter(|_| !exit::is_ending());
    let mut ready = [false; N];
    if let Some(exit) = exit {
        ready = wait_until_exit(&awaited, exit, timeout_ms)?;
        if !exit::is_ending() {
            return Ok(ready);
        }
    }
    let mut items: Vec<PollItem> = awaited.iter().flatten().map(|awaited| awaited.item()).collect();
    poll(&mut items, timeout_ms)?;
    let mut items = items.iter();
    for (ready, awaited) in ready.iter_mut().zip(&awaited) {
        *ready = awaited.is_some() && items.next().is_some_and(|item| !item.get_revents().is_empty());
    }
    Ok(ready)
}

/// Also returns when the process begins to end: then `exit` becomes readable.
fn wait_until_exit<const N: usize>(
    awaited: &[Option<Awaited>; N],
    exit: RawFd,
    timeout_ms: i64,
) -> zmq::Result<[bool; N]> {
    let mut ready = awaited.map(|awaited| awaited.is_some_and(Awaited::is_ready));
    // poll(2) ignores an item with a negative descriptor.
    let mut files = [libc::pollfd { fd: -1, events: libc::POLLIN, revents: 0 }; N];
    for (file, awaited) in files.iter_mut().zip(awaited) {
        file.fd = awaited.map_or(Ok(-1), Awaited::descriptor)?;
    }
    let exit = libc::pollfd { fd: exit, events: libc::POLLIN, revents: 0 };
    let mut all = [files.as_slice(), &[exit]].concat();
    let timeout_ms = if ready.contains(&true) { 0 } else { timeout_ms.clamp(-1, i64::from(c_int::MAX)) };
    // SAFETY: `all` is a live array of that many items. A signal ends the wait without an event.
    unsafe { libc::poll(all.as_mut_ptr(), all.len() as libc::nfds_t, timeout_ms as c_int) };
    for ((ready, awaited), file) in ready.iter_mut().zip(awaited).zip(&all) {
        if file.revents == 0 || *ready {
            continue;
        }
        *ready = match awaited {
            Some(Awaited::Socket(socket, events)) if !events.contains(POLLOUT) => {
                // The read shows what it was, also a failure.
                socket.expect_input();
                true
            }
            Some(Awaited::Socket(socket, events)) => socket.events().intersects(*events),
            _ => true,
        };
    }
    Ok(ready)
}
