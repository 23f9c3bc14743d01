//! SIGINT and SIGTERM in the programs.

use crate::net::Socket;
use std::io::{ErrorKind, Read};
use std::marker::PhantomData;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use zmq::{POLLIN, PollItem};

/// The signals that end a program.
const CAUGHT: [libc::c_int; 2] = [libc::SIGINT, libc::SIGTERM];

/// SIGINT and SIGTERM, as an item for `poll`.
pub struct Signals(UnixStream);

impl Signals {
    /// Catches both signals from now on.
    ///
    /// # Errors
    /// The error of the operating system.
    pub fn catch() -> super::Result<Signals> {
        let (read, write) = UnixStream::pair()?;
        read.set_nonblocking(true)?;
        // signal-hook would drop a signal that comes between its call of sigaction and the registration of the action.
        // So the signals are blocked until both are done.
        let mut blocked = BlockedSignals::new()?;
        for signal in CAUGHT {
            signal_hook::low_level::pipe::register(signal, write.try_clone()?)?;
        }
        blocked.unblock();
        drop(blocked);
        Ok(Signals(read))
    }

    /// Restores the default effect of both signals: from now on, a signal ends the program at once. True when a signal
    /// came before this call, and [`Signals::came`] has not reported it yet.
    pub fn restore_defaults(self) -> bool {
        for signal in CAUGHT {
            // SAFETY: SIG_DFL is not a function. After the call, the system does not call signal-hook's handler any
            // more.
            unsafe {
                libc::signal(signal, libc::SIG_DFL);
            }
        }
        self.came()
    }

    /// An item of [`poll`](crate::net::poll). It is readable while a signal came that [`Signals::came`] has not
    /// reported yet.
    pub fn item(&self) -> PollItem<'_> {
        PollItem::from_fd(self.0.as_raw_fd(), POLLIN)
    }

    /// Returns true once for each signal that came.
    pub fn came(&self) -> bool {
        let mut byte = [0];
        loop {
            match (&self.0).read(&mut byte) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                result => return result.is_ok_and(|count| count > 0),
            }
        }
    }

    /// True when a signal came that [`Signals::came`] has not reported yet.
    pub fn is_pending(&self) -> bool {
        let items = &mut [self.item()];
        zmq::poll(items, 0).is_ok_and(|count| count > 0)
    }

    /// Waits until a signal came that [`Signals::came`] has not reported yet, or until `socket` is readable.
    ///
    /// # Errors
    /// ETERM when the context ends.
    pub fn wait(&self, socket: &Socket) -> zmq::Result<()> {
        crate::net::poll(&mut [self.item(), socket.item(POLLIN)], -1)
    }
}

/// While this object lives, this thread blocks the signals in [`CAUGHT`]. Threads that this thread starts meanwhile
/// also block them. Create this object only while all other threads of the program block these signals, too: otherwise,
/// the system delivers a signal to one of the other threads.
pub(super) struct BlockedSignals {
    /// The signals that this thread had blocked before.
    before: libc::sigset_t,
    /// The mask belongs to this thread, so the object must not move to another one.
    _not_send: PhantomData<*const ()>,
}

impl BlockedSignals {
    pub(super) fn new() -> std::io::Result<BlockedSignals> {
        // SAFETY: sigset_t is plain data, which sigemptyset and pthread_sigmask fill; the numbers are signals.
        let (rc, before) = unsafe {
            let (mut set, mut before) = (std::mem::zeroed(), std::mem::zeroed());
            libc::sigemptyset(&raw mut set);
            for signal in CAUGHT {
                libc::sigaddset(&raw mut set, signal);
            }
            (libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, &raw mut before), before)
        };
        if rc == 0 {
            Ok(BlockedSignals { before, _not_send: PhantomData })
        } else {
            Err(std::io::Error::from_raw_os_error(rc))
        }
    }

    /// Makes the drop of this object unblock the signals in [`CAUGHT`], even if the parent process had blocked them.
    fn unblock(&mut self) {
        for signal in CAUGHT {
            // SAFETY: the set was filled by pthread_sigmask; the number is a signal.
            unsafe {
                libc::sigdelset(&raw mut self.before, signal);
            }
        }
    }
}

impl Drop for BlockedSignals {
    fn drop(&mut self) {
        // SAFETY: pthread_sigmask has returned this mask.
        unsafe {
            libc::pthread_sigmask(libc::SIG_SETMASK, &raw const self.before, std::ptr::null_mut());
        }
    }
}
