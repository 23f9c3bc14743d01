//! The pipe between an actor and its owner: the signals of CZMQ's actors, and waits that end when the actor ends.

use super::actor_state::{ActorState, Attached, INTERNAL_PIPE, registry};
use super::{Frame, Kind, Socket, now_ms, poll};
use crate::czmq::{self, exit, fork::generation};
use std::any::Any;
use std::cell::RefCell;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError};
use zmq::{POLLIN, POLLOUT, PollEvents};

/// The command that ends an actor. zactor_destroy sends it.
pub const TERM: &[u8] = b"$TERM";

/// CZMQ's signal with status 0 (zsock_signal): 8 bytes in this machine's byte order.
const SIGNAL: u64 = 0x7766_5544_3322_1100;

/// How long an actor waits for room for its last message, and how long the owner then waits until the actor has ended.
const LAST_MESSAGE_MS: u64 = 30_000;
/// How long an actor's thread may take to begin after CZMQ has made its pipe.
const START_MS: u64 = 10_000;
/// How often a wait for a starting actor checks whether the actor is ready.
const READY_CHECK_INTERVAL_MS: i64 = 1;
/// How often a wait checks whether the actor still runs.
const CHECK_INTERVAL_MS: i64 = 100;

/// One end of a pipe.
pub type Pipe = Socket;

/// Makes two connected ends. Any number of messages may be queued between them.
///
/// # Errors
/// libzmq's error when it cannot make two more sockets.
pub fn pipe() -> zmq::Result<(Pipe, Pipe)> {
    pipe_with_limit(0)
}

/// Makes two connected ends. About twice `limit` messages may be queued in each direction (0: any number).
///
/// # Errors
/// See [`pipe`].
pub fn pipe_with_limit(limit: i32) -> zmq::Result<(Pipe, Pipe)> {
    let ends = (Socket::new(Kind::PAIR)?, Socket::new(Kind::PAIR)?);
    for end in [&ends.0, &ends.1] {
        end.zmq().set_sndhwm(limit)?;
        end.zmq().set_rcvhwm(limit)?;
    }
    connect_pair(&ends.0, &ends.1)?;
    Ok(ends)
}

/// Makes two PAIR sockets the ends of a pipe.
///
/// # Errors
/// libzmq's error.
pub fn connect_pair(first: &Socket, second: &Socket) -> zmq::Result<()> {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    let endpoint = format!("{INTERNAL_PIPE}{}", COUNTER.fetch_add(1, Ordering::Relaxed));
    first.bind(&endpoint)?;
    second.connect(&endpoint)
}

/// The stage of the actor at the other end of a pipe.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// The actor has not begun, because a Unix signal has interrupted zactor_new. Or the actor is just ending.
    Unknown,
    Starting,
    Ready,
    Ended,
}

/// The actor's end of a pipe.
impl Socket {
    /// Sends CZMQ's signal for "ready" and "ended", which zactor_new and zactor_destroy wait for.
    ///
    /// # Errors
    /// See [`Socket::send`].
    pub fn signal(&self) -> zmq::Result<()> {
        self.send_signal(SIGNAL)
    }

    /// Sends a signal with status 1: the actor cannot start, or has failed. (zactor_new ignores the status.)
    ///
    /// # Errors
    /// See [`Socket::send`].
    pub fn signal_failure(&self) -> zmq::Result<()> {
        self.send_signal(SIGNAL | 1)
    }

    fn send_signal(&self, signal: u64) -> zmq::Result<()> {
        let mut frame = Frame::copy(&signal.to_ne_bytes());
        let sent = self.send_unnoted(&mut frame, 0)?;
        self.note_ready();
        if sent { Ok(()) } else { Err(zmq::Error::EAGAIN) }
    }

    /// For an actor that zactor_new may have started: sends the ready signal, if the owner waits for it.
    ///
    /// If the owner has already sent something, it does not wait: a Unix signal has interrupted zactor_new. Then a
    /// ready signal would stay in the pipe. The owner would mistake it for a response, or zactor_destroy would mistake
    /// it for the actor's last signal.
    ///
    /// # Errors
    /// See [`Socket::send`].
    pub fn signal_ready(&self) -> zmq::Result<()> {
        if self.events().contains(POLLIN) {
            self.note_ready();
            return Ok(());
        }
        self.signal()
    }

    fn note_ready(&self) {
        self.has_signalled.set(true);
        if let Some(actor) = self.own_actor.get() {
            actor.is_ready.store(true, Ordering::Release);
        }
    }

    /// Like [`Socket::signal`], without waiting. False when the pipe has no room for the signal now.
    ///
    /// # Errors
    /// See [`Socket::try_send`].
    pub fn try_signal(&self) -> zmq::Result<bool> {
        let sent = self.try_send(&mut Frame::copy(&SIGNAL.to_ne_bytes()), false)?;
        self.has_signalled.set(sent);
        Ok(sent)
    }

    /// True once a signal was sent from this end: its actor is ready.
    pub fn has_signalled(&self) -> bool {
        self.has_signalled.get()
    }

    /// Does the same as [`Socket::send_frames`], but the wait also ends when the process ends. For an actor whose owner
    /// may have stopped reading.
    ///
    /// # Errors
    /// ETERM when the context or the process ends.
    pub fn send_to_owner(&self, frames: &[&[u8]]) -> zmq::Result<()> {
        while !self.events().contains(POLLOUT) {
            poll(&mut [self.item(POLLOUT)], -1)?;
        }
        self.send_frames(frames)
    }

    /// Waits until the pipe has room for the actor's last message. CZMQ sends that message without waiting, and
    /// zactor_destroy waits for it. Actors that may fill their pipe call this function; while it waits, the thread that
    /// ends the actor reads the pipe. Other actors need not call it: their pipe is full only if the application has set
    /// a timeout and has stopped waiting for responses.
    pub fn wait_for_room_to_end(&self) {
        let due_ms = now_ms() + LAST_MESSAGE_MS;
        while !self.events().contains(POLLOUT) && now_ms() < due_ms {
            if poll(&mut [self.item(POLLOUT)], CHECK_INTERVAL_MS).is_err() {
                return;
            }
        }
    }

    /// For an actor that has failed before its owner ended it. Wakes the owner, and waits for `$TERM` or the end of the
    /// process. Drops other messages.
    pub fn wait_for_term(&self) {
        let endpoint = self.endpoint();
        // Insert the name before the signal is sent: an owner that has read the signal must not wait until the pipe is
        // closed.
        registry().awaiting_term.insert(endpoint.clone());
        let mut frame = Frame::new();
        let _ = self.try_send(&mut Frame::copy(&(SIGNAL | 1).to_ne_bytes()), false);
        while poll(&mut [self.item(POLLIN)], -1).is_ok() {
            if self.try_recv(&mut frame).unwrap_or(false) {
                if frame.as_ref() == TERM {
                    break;
                }
                self.skip_rest(&frame);
            }
        }
        registry().awaiting_term.remove(&endpoint);
    }

    /// True when CZMQ has closed this end of the pipe while its actor runs.
    pub fn was_closed_by_czmq(&self) -> bool {
        self.zmq().get_events() == Err(zmq::Error::ENOTSOCK)
    }

    /// Declares that an actor reads this end of the pipe. The actor counts as ended when the result is dropped.
    pub fn attach(&self) -> Attached {
        Attached::new(self.endpoint(), self.own_actor.get_or_init(Arc::default).clone())
    }

    /// Shares a value of the actor at this end with its owner. An actor does this once, before it is ready.
    pub fn share(&self, value: Arc<dyn Any + Send + Sync>) {
        if let Some(actor) = registry().get(&self.endpoint()) {
            let _ = actor.shared.set(value);
        }
    }

    /// How many messages the owner can send before the actor receives one. `None` = any number.
    ///
    /// # Errors
    /// ETERM when the context ends.
    pub fn capacity(&self) -> zmq::Result<Option<usize>> {
        // libzmq adds the limit of the sender and the limit of the receiver. Both ends of a pipe have the same limit
        // for sending.
        let limits = [self.zmq().get_sndhwm()?, self.zmq().get_rcvhwm()?].map(usize::try_from);
        let is_limited = limits.iter().all(|limit| limit.is_ok_and(|limit| limit > 0));
        Ok(is_limited.then(|| limits.into_iter().flatten().sum()))
    }
}

/// The owner's end of a pipe.
impl Socket {
    /// Waits for a signal, and discards the messages before it. False when the signal means that the actor cannot
    /// start.
    ///
    /// # Errors
    /// ETERM when the context ends.
    pub fn wait_for_signal(&self) -> zmq::Result<bool> {
        let mut frame = Frame::new();
        loop {
            if !self.try_recv(&mut frame)? {
                poll(&mut [self.item(POLLIN)], -1)?;
            } else if is_signal(&frame) {
                return Ok(is_success(&frame));
            }
        }
    }

    /// Waits until one more message fits into the pipe. False when the actor has ended.
    ///
    /// zactor_destroy sends `$TERM` without waiting, so `$TERM` is lost when the pipe is full. Therefore every writer
    /// waits for room after it has sent a message.
    pub fn wait_for_room(&self) -> bool {
        self.wait_for(POLLOUT)
    }

    /// Waits until the pipe has a message from the actor. False when the actor has ended without one.
    pub fn wait_for_message(&self) -> bool {
        self.wait_for(POLLIN)
    }

    fn wait_for(&self, events: PollEvents) -> bool {
        while !self.events().contains(events) {
            exit::hold_application();
            if !self.has_actor() || poll(&mut [self.item(events)], CHECK_INTERVAL_MS).is_err() {
                // The actor may have sent a message just before it ended.
                return self.events().contains(events);
            }
        }
        true
    }

    /// Call this after an actor's last message. After that message, the actor either closes its end of the pipe or
    /// waits for `$TERM`. This function returns when the actor has done so.
    pub fn wait_until_closed(&self) {
        let (endpoint, due_ms) = (self.endpoint(), now_ms() + LAST_MESSAGE_MS);
        let is_awaiting_term = || registry().awaiting_term.contains(&endpoint);
        while self.events().contains(POLLOUT) && !is_awaiting_term() && now_ms() < due_ms {
            std::thread::yield_now();
        }
    }

    /// True while an actor reads the other end of the pipe.
    pub fn has_actor(&self) -> bool {
        self.with_actor(|_| ()).is_some()
    }

    /// Waits until the actor at the other end is ready, and removes its ready signal from the pipe. (When a Unix signal
    /// interrupts zactor_new, it returns early and leaves the ready signal in the pipe.) False when the actor has
    /// ended, or has not begun within 10 s. If CZMQ handles SIGINT and SIGTERM, these signals end the wait.
    ///
    /// Several threads may call this at once, if the actor's thread has begun.
    pub fn wait_until_ready(&self) -> bool {
        exit::hold_application();
        if self.with_actor(|actor| actor.is_signal_read.load(Ordering::Acquire)) == Some(true) {
            return true;
        }
        let due_ms = now_ms() + START_MS;
        loop {
            exit::hold_application();
            let actor = self.actor();
            let reading = actor.as_ref().map(|actor| &actor.reading_signal);
            let _reading = reading.map(|mutex| mutex.lock().unwrap_or_else(PoisonError::into_inner));
            match self.stage() {
                Stage::Ready => return true,
                Stage::Ended => return false,
                Stage::Starting if czmq::interrupted() => return true,
                // The actor's thread has not begun, or it does not belong to this library.
                Stage::Unknown if now_ms() >= due_ms => return false,
                Stage::Starting | Stage::Unknown => {}
            }
            if poll(&mut [self.item(POLLIN)], READY_CHECK_INTERVAL_MS).is_err() {
                return false;
            }
        }
    }

    /// True when the actor at the other end has ended, or will never start.
    pub fn has_ended(&self) -> bool {
        self.stage() == Stage::Ended
    }

    /// Returns the stage of the actor at the other end. If its ready signal is in the pipe, removes the signal.
    fn stage(&self) -> Stage {
        if self.with_actor(|actor| actor.is_signal_read.load(Ordering::Acquire)) == Some(true) {
            return Stage::Ready;
        }
        // Return before the socket is used: several threads may call this function at once for an actor that has
        // failed.
        if registry().has_ended(&self.endpoint()) {
            return Stage::Ended;
        }
        let events = self.events();
        // Look up the actor after the events: if a message is in the pipe, the actor had begun before the lookup.
        let Some(actor) = self.actor() else {
            let is_ended = events.contains(POLLIN)
                || !events.contains(POLLOUT)
                || registry().has_ended(&self.endpoint());
            return if is_ended { Stage::Ended } else { Stage::Unknown };
        };
        // Load `is_ready` before the events: if it is true, the ready signal is in the pipe, or was read already.
        let is_ready = actor.is_ready.load(Ordering::Acquire);
        let is_unread = self.events().contains(POLLIN) && !actor.has_sent.load(Ordering::Acquire);
        let is_read = is_unread && self.try_recv(&mut Frame::new()).unwrap_or(false);
        if is_read && !actor.is_open.load(Ordering::Acquire) {
            // The frame may have been the actor's last message, and zactor_destroy would wait for it in vain. But
            // zactor_destroy does not wait if it finds the pipe closed. The actor closes the pipe right after its last
            // message.
            self.wait_until_closed();
            return Stage::Ended;
        }
        let is_signal_read = if is_unread { is_read } else { is_ready };
        actor.is_signal_read.store(is_signal_read, Ordering::Release);
        if is_signal_read { Stage::Ready } else { Stage::Starting }
    }

    /// The actor that reads the other end of the pipe.
    fn actor(&self) -> Option<Arc<ActorState>> {
        self.with_actor(Arc::clone)
    }

    /// Reads the state of the actor that reads the other end of the pipe. `None` when there is no such actor. `read`
    /// must not call functions of a pipe.
    ///
    /// Several threads may call this at once: the name of a connected socket does not change, and libzmq only reads the
    /// name.
    fn with_actor<R>(&self, read: impl FnOnce(&Arc<ActorState>) -> R) -> Option<R> {
        /// A socket, the process that uses it, and the actor.
        type Actor = (usize, u32, Arc<ActorState>);
        thread_local! {
            /// The pipes of this thread's latest calls. The memory address of a pipe's socket selects its slot. There
            /// are many slots, because a program may use many producers in turn. In a forked child, the slots may have
            /// pipes that the parent's thread has used.
            static RECENT: RefCell<[Option<Actor>; 256]> = const { RefCell::new([const { None }; 256]) };
        }
        let (own, process) = (self.id(), generation());
        // The golden ratio spreads memory addresses that differ by multiples of a socket's size.
        let slot = (own as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56;
        RECENT.with_borrow_mut(|recent| {
            let last = &mut recent[slot as usize];
            if let Some((pipe, user, actor)) = last
                && (*pipe, *user) == (own, process)
                && actor.is_open.load(Ordering::Acquire)
            {
                return Some(read(actor));
            }
            *last = registry().get(&self.endpoint()).map(|actor| (own, process, actor.clone()));
            last.as_ref().map(|(.., actor)| read(actor))
        })
    }

    /// True when no actor of this library reads or has read the other end of the pipe. Also true for an actor that CZMQ
    /// has started and whose thread has not begun. When the thread begins, it reads the messages that were sent to it.
    ///
    /// Several threads may call this at once.
    pub fn is_foreign(&self) -> bool {
        !self.has_actor() && {
            let endpoint = self.endpoint();
            let registry = registry();
            registry.get(&endpoint).is_none() && !registry.has_ended(&endpoint)
        }
    }

    /// What the actor at the other end has shared. `None` when it has ended or shares no `T`.
    pub fn shared<T: Any + Send + Sync>(&self) -> Option<Arc<T>> {
        // The actor shares the value before it is ready.
        let is_ready = self.wait_until_ready();
        is_ready
            .then(|| self.with_actor(|actor| actor.shared.get().cloned()))??
            .and_then(|any| any.downcast().ok())
    }

    /// The name of the pipe, which both ends share: one end has bound to it, and the other has connected.
    fn endpoint(&self) -> String {
        self.zmq().get_last_endpoint().ok().and_then(Result::ok).unwrap_or_default()
    }
}

/// True for CZMQ's signals, with any status.
pub fn is_signal(frame: &Frame) -> bool {
    let bytes: Result<[u8; 8], _> = frame.as_ref().try_into();
    bytes.is_ok_and(|bytes| !frame.more() && u64::from_ne_bytes(bytes) & !0xff == SIGNAL)
}

/// True for CZMQ's signal with status 0, see [`Socket::signal`].
pub fn is_success(frame: &Frame) -> bool {
    is_signal(frame) && frame.as_ref() == SIGNAL.to_ne_bytes()
}
