//! Waits at sockets. An actor's wait also ends when the process ends.

use super::Socket;
use super::socket::last_error;
use crate::czmq::exit::{self, Role};
use std::os::fd::RawFd;
use std::os::raw::c_int;
use zmq::{POLLIN, POLLOUT, PollEvents, PollItem};
use zmq_sys::{zmq_poll, zmq_pollitem_t};

/// The longest wait of an actor or helper thread without a descriptor that becomes readable when the process ends. So
/// the thread detects the end of the process.
const EXIT_CHECK_INTERVAL_MS: i64 = 100;

/// Waits until an item is ready, `timeout_ms` have passed (negative: no timeout), or a signal has come. It may return
/// earlier: when the process ends, and after 100 ms in a thread that has no descriptor for the end of the process. A
/// timeout of 0 means that the caller has work left: at the end of the process, an actor with work left may still
/// continue for a short time.
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

/// Does the same as [`poll`] while the process does not end. Returns when the process begins to end, or, without a
/// descriptor for this event, after at most [`EXIT_CHECK_INTERVAL_MS`].
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

/// What a [`Wait`] waits for.
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

    /// Whether the event is known to have happened already. If the socket's descriptor will report the next input, this
    /// does not ask libzmq.
    fn is_ready(self) -> zmq::Result<bool> {
        match self {
            Awaited::Socket(socket, events) if events == POLLIN && !socket.may_have_input() => Ok(false),
            Awaited::Socket(socket, events) => Ok(socket.try_events()?.intersects(events)),
            Awaited::File(_) => Ok(false),
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

/// A wait of an actor that then reads only what is ready, with [`Socket::try_recv_awaited`]. Makes one system call, and
/// one more for each socket that was used since it was last read completely. ([`poll`] makes two for each socket, and
/// each read that finds nothing makes one.)
///
/// It has three steps. [`Wait::begin`] and [`Wait::end`] use the sockets. [`Wait::wait`] uses only their descriptors,
/// so other threads may use the sockets meanwhile, one at a time. When such a thread has made libzmq notice input, it
/// must wake the actor.
///
/// The kernel looks at the items in their order, and looks at all of them. So if it finds the first item ready, it also
/// finds what has arrived at the second item before the first one became ready.
pub struct Wait<const N: usize> {
    ready: [bool; N],
    files: [RawFd; N],
    timeout_ms: i64,
    /// Why the wait has failed.
    error: Option<zmq::Error>,
}

impl<const N: usize> Wait<N> {
    /// Looks which items are ready already.
    ///
    /// # Errors
    /// ETERM when the context ends, and other errors of libzmq.
    pub fn begin(awaited: &[Option<Awaited>; N]) -> zmq::Result<Wait<N>> {
        // poll(2) ignores an item with a negative descriptor.
        let (mut ready, mut files) = ([false; N], [-1; N]);
        for (i, awaited) in awaited.iter().enumerate() {
            if let Some(awaited) = awaited {
                (ready[i], files[i]) = (awaited.is_ready()?, awaited.descriptor()?);
            }
        }
        Ok(Wait { ready, files, timeout_ms: 0, error: None })
    }

    /// False when an item is ready already.
    pub fn may_last(&self) -> bool {
        !self.ready.contains(&true)
    }

    /// Waits until an item is ready, the process begins to end, `timeout_ms` have passed (negative: no timeout), or a
    /// signal has come.
    pub fn wait(mut self, timeout_ms: i64) -> Wait<N> {
        let timeout_ms = if self.may_last() { timeout_ms } else { 0 };
        self.timeout_ms = timeout_ms.clamp(-1, i64::from(c_int::MAX));
        // Without a descriptor for the end of the process, `end` waits, at most EXIT_CHECK_INTERVAL_MS.
        if let Some(exit) = exit::descriptor() {
            self.poll(exit);
        }
        self
    }

    fn poll(&mut self, exit: RawFd) {
        let item = |&fd: &RawFd| libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
        let mut all: Vec<libc::pollfd> = self.files.iter().chain([&exit]).map(item).collect();
        // SAFETY: `all` is a live array of that many items.
        let rc = unsafe { libc::poll(all.as_mut_ptr(), all.len() as libc::nfds_t, self.timeout_ms as c_int) };
        // A signal ends the wait without an event.
        self.error = (rc < 0).then(last_error).filter(|&error| error != zmq::Error::EINTR);
        for (ready, item) in self.ready.iter_mut().zip(&all) {
            *ready |= item.revents != 0;
        }
    }

    /// Returns what may be ready. `awaited` is as in [`Wait::begin`].
    ///
    /// # Errors
    /// See [`poll`].
    pub fn end(mut self, awaited: &[Option<Awaited>; N]) -> zmq::Result<[bool; N]> {
        if let Some(error) = self.error {
            return Err(error);
        }
        if exit::descriptor().is_none() || exit::is_ending() {
            let mut items: Vec<PollItem> = awaited.iter().flatten().map(|awaited| awaited.item()).collect();
            poll(&mut items, if self.may_last() { self.timeout_ms } else { 0 })?;
            let mut items = items.iter();
            for (ready, awaited) in self.ready.iter_mut().zip(awaited) {
                *ready |=
                    awaited.is_some() && items.next().is_some_and(|item| !item.get_revents().is_empty());
            }
            return Ok(self.ready);
        }
        for (ready, awaited) in self.ready.iter_mut().zip(awaited) {
            if let (true, Some(Awaited::Socket(socket, events))) = (*ready, awaited) {
                match events.contains(POLLOUT) {
                    true => *ready = socket.try_events()?.intersects(*events),
                    // The caller's read finds out whether the descriptor has reported input or a failure.
                    false => socket.expect_input(),
                }
            }
        }
        Ok(self.ready)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::{Frame, pipe};

    #[test]
    fn a_wait_reports_input_that_the_descriptor_does_not_report() {
        let actor = std::thread::spawn(|| {
            exit::help();
            let (ours, theirs) = pipe().unwrap();
            let is_ready = |timeout_ms| {
                let awaited = [None, Some(Awaited::Socket(&ours, POLLIN))];
                let ready = Wait::begin(&awaited).unwrap().wait(timeout_ms).end(&awaited).unwrap();
                assert!(!ready[0]);
                ready[1]
            };
            let receives = || ours.try_recv_awaited(&mut Frame::new()).unwrap();
            assert!(!is_ready(0) && !receives());
            for message in [b"1", b"2"] {
                theirs.send_frames(&[message]).unwrap();
            }
            assert!(!receives(), "nothing has reported them");
            // libzmq notices the messages here. Then the descriptor is no longer readable.
            ours.events();
            ours.send_frames(&[b"answer"]).unwrap();
            assert!(is_ready(-1) && receives());
            // After one message, the other one is left.
            assert!(is_ready(-1) && receives());
            assert!(!receives() && !is_ready(0));
            theirs.send_frames(&[b"3"]).unwrap();
            assert!(is_ready(-1) && receives() && !receives());
        });
        actor.join().unwrap();
    }
}
