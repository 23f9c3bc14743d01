//! The pair of sockets between an actor and whoever started it, and the rules of that conversation.

use super::{Frame, Kind, Socket, now_ms, poll};
use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use zmq::{POLLIN, POLLOUT, PollEvents};

/// What ends an actor, as zactor_destroy sends it.
pub const TERM: &[u8] = b"$TERM";

/// CZMQ's signal with status 0 (zsock_signal): 8 octets in this machine's byte order.
const SIGNAL: u64 = 0x7766_5544_3322_1100;

/// One end of a pipe.
pub type Pipe = Socket;

/// Two connected ends, without a limit on what is under way between them.
///
/// # Errors
/// What libzmq says when it cannot make two more sockets.
pub fn pipe() -> zmq::Result<(Pipe, Pipe)> {
    pipe_with_limit(0)
}

/// Two connected ends; about twice `limit` messages may be under way each way (0: any number).
///
/// # Errors
/// As [`pipe`].
pub fn pipe_with_limit(limit: i32) -> zmq::Result<(Pipe, Pipe)> {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    let endpoint = format!("inproc://dafka-pipe-{}", COUNTER.fetch_add(1, Ordering::Relaxed));
    let ends = (Socket::new(Kind::PAIR)?, Socket::new(Kind::PAIR)?);
    for end in [&ends.0, &ends.1] {
        end.zmq().set_sndhwm(limit)?;
        end.zmq().set_rcvhwm(limit)?;
    }
    ends.0.zmq().bind(&endpoint)?;
    ends.1.zmq().connect(&endpoint)?;
    Ok(ends)
}

impl Socket {
    /// Says "I am ready" or "I have ended" in CZMQ's way, which zactor_new and zactor_destroy wait for.
    ///
    /// # Errors
    /// As [`Socket::send`].
    pub fn signal(&self) -> zmq::Result<()> {
        self.has_signalled.set(true);
        self.send_frames(&[&SIGNAL.to_ne_bytes()])
    }

    /// Says "I cannot start": a signal with the status 1. (zactor_new looks at no status.)
    ///
    /// # Errors
    /// As [`Socket::send`].
    pub fn signal_failure(&self) -> zmq::Result<()> {
        self.has_signalled.set(true);
        self.send_frames(&[&(SIGNAL | 1).to_ne_bytes()])
    }

    /// As [`Socket::signal`], without waiting; false when the other end cannot take it now.
    ///
    /// # Errors
    /// As [`Socket::try_send`].
    pub fn try_signal(&self) -> zmq::Result<bool> {
        let sent = self.try_send(&mut Frame::copy(&SIGNAL.to_ne_bytes()), false)?;
        self.has_signalled.set(sent);
        Ok(sent)
    }

    /// True once a signal was sent from this end: the actor at it has said that it is ready.
    pub fn has_signalled(&self) -> bool {
        self.has_signalled.get()
    }

    /// Waits for a signal, discarding what comes before it. False when it says that the other end cannot start.
    ///
    /// # Errors
    /// ETERM when the context ends.
    pub fn wait_for_signal(&self) -> zmq::Result<bool> {
        let mut frame = Frame::new();
        loop {
            match self.recv(&mut frame) {
                Ok(()) if is_signal(&frame) => return Ok(frame.as_ref() == SIGNAL.to_ne_bytes()),
                Ok(()) | Err(zmq::Error::EINTR) => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Waits until one more message fits into the pipe. zactor_destroy sends `$TERM` without waiting and
    /// forgets it when the pipe is full, so whoever fills a pipe must leave room. `false` when the actor at the
    /// other end has ended.
    pub fn wait_for_room(&self) -> bool {
        self.wait_for(POLLOUT)
    }

    /// For an actor that fills its pipe and ends: waits until one more message fits in, its last word, which CZMQ
    /// sends without waiting and zactor_destroy waits for. Whoever ends the actor reads the pipe meanwhile.
    pub fn wait_for_last_word(&self) {
        let due_ms = now_ms() + LAST_WORD_MS;
        while !self.events().contains(POLLOUT) && now_ms() < due_ms {
            if poll(&mut [self.item(POLLOUT)], CHECK_INTERVAL_MS).is_err() {
                return;
            }
        }
    }

    /// Waits until there is something to read in the pipe. `false` when the actor at the other end has ended
    /// without a word.
    pub fn wait_for_word(&self) -> bool {
        self.wait_for(POLLIN)
    }

    fn wait_for(&self, events: PollEvents) -> bool {
        while !self.events().contains(events) {
            if !self.is_heard() || poll(&mut [self.item(events)], CHECK_INTERVAL_MS).is_err() {
                // What the actor said just before it ended counts.
                return self.events().contains(events);
            }
        }
        true
    }

    /// Declares that an actor reads this end of the pipe, for as long as the result lives.
    pub fn hear(&self) -> Hearing {
        let hearing = Hearing { endpoint: self.endpoint(), is_heard: Arc::new(AtomicBool::new(true)) };
        heard().insert(hearing.endpoint.clone(), hearing.is_heard.clone());
        hearing
    }

    /// True while an actor reads the other end of the pipe. ZeroMQ has no answer to that question: a full pipe
    /// looks like one whose reader has gone.
    pub fn is_heard(&self) -> bool {
        thread_local! {
            /// The pipe that this thread asked about last: it usually is the one that it asks about next.
            static LAST: RefCell<Option<(usize, Arc<AtomicBool>)>> = const { RefCell::new(None) };
        }
        let me = self.raw as usize;
        LAST.with_borrow_mut(|last| {
            if let Some((pipe, is_heard)) = last
                && *pipe == me
                && is_heard.load(Ordering::Acquire)
            {
                return true;
            }
            *last = heard().get(&self.endpoint()).map(|is_heard| (me, is_heard.clone()));
            last.is_some()
        })
    }

    /// The name that both ends of a pipe know, one having bound to it and the other connected.
    fn endpoint(&self) -> String {
        self.zmq().get_last_endpoint().ok().and_then(Result::ok).unwrap_or_default()
    }
}

/// How long an actor waits for room for its last word.
const LAST_WORD_MS: u64 = 30_000;
/// How often a wait looks whether the actor still runs.
const CHECK_INTERVAL_MS: i64 = 100;

/// The pipes that an actor reads, by their name.
fn heard() -> MutexGuard<'static, HashMap<String, Arc<AtomicBool>>> {
    static HEARD: LazyLock<Mutex<HashMap<String, Arc<AtomicBool>>>> = LazyLock::new(Mutex::default);
    HEARD.lock().unwrap_or_else(PoisonError::into_inner)
}

/// An actor that reads a pipe, see [`Socket::hear`].
pub struct Hearing {
    endpoint: String,
    is_heard: Arc<AtomicBool>,
}

impl Drop for Hearing {
    fn drop(&mut self) {
        self.is_heard.store(false, Ordering::Release);
        heard().remove(&self.endpoint);
    }
}

/// True for CZMQ's signals, whatever their status.
pub fn is_signal(frame: &Frame) -> bool {
    let octets: Result<[u8; 8], _> = frame.as_ref().try_into();
    octets.is_ok_and(|octets| !frame.more() && u64::from_ne_bytes(octets) & !0xff == SIGNAL)
}
