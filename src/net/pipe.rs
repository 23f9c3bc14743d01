//! The pair of sockets between an actor and whoever started it, and the rules of that conversation.

use super::{Frame, Kind, Socket, now_ms, poll};
use crate::czmq::fork::{GENERATIONS, PerProcess};
use crate::czmq::{self, exit};
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;
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
/// What libzmq says.
pub fn connect_pair(first: &Socket, second: &Socket) -> zmq::Result<()> {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    let endpoint = format!("{INNER_PIPE}{}", COUNTER.fetch_add(1, Ordering::Relaxed));
    first.bind(&endpoint)?;
    second.connect(&endpoint)
}

impl Socket {
    /// Says "I am ready" or "I have ended" in CZMQ's way, which zactor_new and zactor_destroy wait for.
    ///
    /// # Errors
    /// As [`Socket::send`].
    pub fn signal(&self) -> zmq::Result<()> {
        self.send_signal(SIGNAL)
    }

    /// Says "I cannot start": a signal with the status 1. (zactor_new looks at no status.)
    ///
    /// # Errors
    /// As [`Socket::send`].
    pub fn signal_failure(&self) -> zmq::Result<()> {
        self.send_signal(SIGNAL | 1)
    }

    fn send_signal(&self, signal: u64) -> zmq::Result<()> {
        let mut frame = Frame::copy(&signal.to_ne_bytes());
        let sent = self.send_unnoted(&mut frame, 0)?;
        self.note_ready();
        if sent { Ok(()) } else { Err(zmq::Error::EAGAIN) }
    }

    /// As [`Socket::signal`], for an actor that zactor_new may have started. An owner that has sent something already
    /// does not wait for the signal: a Unix signal has interrupted zactor_new. The signal would stay in the pipe, where
    /// the owner takes it for an answer, and zactor_destroy for the actor's end. So it is not sent then.
    ///
    /// # Errors
    /// As [`Socket::send`].
    pub fn signal_ready(&self) -> zmq::Result<()> {
        if self.events().contains(POLLIN) {
            self.note_ready();
            return Ok(());
        }
        self.signal()
    }

    fn note_ready(&self) {
        self.has_signalled.set(true);
        if let Some(ear) = self.own_ear.get() {
            ear.is_ready.store(true, Ordering::Release);
        }
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
            if !self.try_recv(&mut frame)? {
                poll(&mut [self.item(POLLIN)], -1)?;
            } else if is_signal(&frame) {
                return Ok(is_success(&frame));
            }
        }
    }

    /// As [`Socket::send_frames`], for an actor that its owner may not read from: the end of the process ends the wait.
    ///
    /// # Errors
    /// ETERM when the context or the process ends.
    pub fn send_to_owner(&self, frames: &[&[u8]]) -> zmq::Result<()> {
        while !self.events().contains(POLLOUT) {
            poll(&mut [self.item(POLLOUT)], -1)?;
        }
        self.send_frames(frames)
    }

    /// Waits until one more message fits into the pipe. zactor_destroy sends `$TERM` without waiting and
    /// forgets it when the pipe is full, so whoever fills a pipe must leave room. `false` when the actor at the
    /// other end has ended.
    pub fn wait_for_room(&self) -> bool {
        self.wait_for(POLLOUT)
    }

    /// For an actor that fills its pipe and ends: waits until one more message fits in, its last word, which CZMQ
    /// sends without waiting and zactor_destroy waits for. Whoever ends the actor reads the pipe meanwhile.
    /// One whose last message left room need not wait: when its pipe takes nothing, whoever waited for the word has given
    /// up (a time limit that the application set).
    pub fn wait_for_last_word(&self) {
        let due_ms = now_ms() + LAST_WORD_MS;
        while !self.events().contains(POLLOUT) && now_ms() < due_ms {
            if poll(&mut [self.item(POLLOUT)], CHECK_INTERVAL_MS).is_err() {
                return;
            }
        }
    }

    /// After an actor's last word: waits until it has closed its end, which it does right after that, or waits for `$TERM`.
    pub fn wait_until_closed(&self) {
        let (endpoint, due_ms) = (self.endpoint(), now_ms() + LAST_WORD_MS);
        let is_lingering = || ears().lingering.contains(&endpoint);
        while self.events().contains(POLLOUT) && !is_lingering() && now_ms() < due_ms {
            std::thread::yield_now();
        }
    }

    /// For an actor that has failed, and whose owner has not ended it: wakes the owner, and waits for `$TERM`, or the end of
    /// the process. What comes before that is dropped.
    pub fn wait_for_term(&self) {
        let endpoint = self.endpoint();
        // Before the signal: whoever has read that must not wait for the pipe to be closed.
        ears().lingering.insert(endpoint.clone());
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
        ears().lingering.remove(&endpoint);
    }

    /// True when CZMQ has closed this end of the pipe, although its actor runs.
    pub fn is_closed_beneath(&self) -> bool {
        self.zmq().get_events() == Err(zmq::Error::ENOTSOCK)
    }

    /// Waits until there is something to read in the pipe. `false` when the actor at the other end has ended
    /// without a word.
    pub fn wait_for_word(&self) -> bool {
        self.wait_for(POLLIN)
    }

    fn wait_for(&self, events: PollEvents) -> bool {
        while !self.events().contains(events) {
            exit::stop_application();
            if !self.is_heard() || poll(&mut [self.item(events)], CHECK_INTERVAL_MS).is_err() {
                // What the actor said just before it ended counts.
                return self.events().contains(events);
            }
        }
        true
    }

    /// Declares that an actor reads this end of the pipe, for as long as the result lives.
    pub fn hear(&self) -> Hearing {
        let ear = self.own_ear.get_or_init(Arc::default).clone();
        ear.is_open.store(true, Ordering::Release);
        let hearing = Hearing { endpoint: self.endpoint(), ear };
        ears().begin(hearing.endpoint.clone(), hearing.ear.clone());
        hearing
    }

    /// True while an actor reads the other end of the pipe. ZeroMQ has no answer to that question: a full pipe
    /// looks like one whose reader has gone.
    pub fn is_heard(&self) -> bool {
        self.ear().is_some()
    }

    /// Waits until the actor at the other end of the pipe is ready, and reads its ready signal if that was not read: a
    /// Unix signal that comes during zactor_new makes it return early, and leaves the signal in the pipe. False when the
    /// actor has ended. SIGINT and SIGTERM under CZMQ's handling end the wait.
    pub fn settle(&self) -> bool {
        let due_ms = now_ms() + START_MS;
        loop {
            exit::stop_application();
            match self.stage() {
                Stage::Ready => return true,
                Stage::Ended => return false,
                Stage::Starting if czmq::interrupted() => return true,
                // CZMQ has made the pipe, and no thread of ours reads it: it is about to begin, or is none of ours.
                Stage::Unknown if now_ms() >= due_ms => return false,
                Stage::Starting | Stage::Unknown => {}
            }
            if poll(&mut [self.item(POLLIN)], SETTLE_INTERVAL_MS).is_err() {
                return false;
            }
        }
    }

    /// True when the actor at the other end of the pipe has ended: it does not start any more, and does not run.
    pub fn has_ended(&self) -> bool {
        self.stage() == Stage::Ended
    }

    /// How far the actor at the other end of the pipe is. Reads its ready signal.
    fn stage(&self) -> Stage {
        if self.ear().is_some_and(|ear| ear.is_settled.load(Ordering::Acquire)) {
            return Stage::Ready;
        }
        let events = self.events();
        // Asked for after the events: an actor whose words are there has begun.
        let Some(ear) = self.ear() else {
            let is_ended =
                events.contains(POLLIN) || !events.contains(POLLOUT) || ears().has_ended(&self.endpoint());
            return if is_ended { Stage::Ended } else { Stage::Unknown };
        };
        // Asked for before the events: when the signal was sent, it is in the pipe, or was read.
        let is_ready = ear.is_ready.load(Ordering::Acquire);
        let is_unread = self.events().contains(POLLIN) && !ear.has_sent.load(Ordering::Acquire);
        let is_read = is_unread && self.try_recv(&mut Frame::new()).unwrap_or(false);
        if is_read && !ear.is_open.load(Ordering::Acquire) {
            // It may have been its last word. zactor_destroy must not wait for that: it does not when it finds the pipe
            // closed, which happens right after it.
            self.wait_until_closed();
            return Stage::Ended;
        }
        let is_settled = if is_unread { is_read } else { is_ready };
        ear.is_settled.store(is_settled, Ordering::Release);
        if is_settled { Stage::Ready } else { Stage::Starting }
    }

    /// The actor that reads the other end of the pipe.
    fn ear(&self) -> Option<Arc<Ear>> {
        thread_local! {
            /// The pipe that this thread asked about last: it usually is the one that it asks about next.
            static LAST: RefCell<Option<(usize, Arc<Ear>)>> = const { RefCell::new(None) };
        }
        let me = self.raw as usize;
        LAST.with_borrow_mut(|last| {
            if let Some((pipe, ear)) = last
                && *pipe == me
                && ear.is_open.load(Ordering::Acquire)
            {
                return Some(ear.clone());
            }
            *last = ears().open.get(&self.endpoint()).map(|ear| (me, ear.clone()));
            last.as_ref().map(|(_, ear)| ear.clone())
        })
    }

    /// True when no actor of this library reads or has read the other end of the pipe. (One that CZMQ has started and that
    /// has not begun is not told apart: what is sent to it, it reads when it begins.)
    pub fn is_foreign(&self) -> bool {
        self.ear().is_none() && {
            let endpoint = self.endpoint();
            let ears = ears();
            !ears.open.contains_key(&endpoint) && !ears.has_ended(&endpoint)
        }
    }

    /// Limits what this end's actor may be handed before it says that it has done with it. Without this call there
    /// is no limit but the pipe's. Whoever writes into the pipe without asking [`Socket::reserve`] is not limited.
    pub fn limit(&self, limit_bytes: u64) -> Arc<Budget> {
        let budget = Arc::new(Budget::new(limit_bytes));
        if let Some(ear) = ears().open.get(&self.endpoint()) {
            let _ = ear.budget.set(budget.clone());
        }
        budget
    }

    /// Declares the longest record that this end's actor takes, in octets.
    pub fn limit_records(&self, max_len_bytes: usize) {
        if let Some(ear) = ears().open.get(&self.endpoint()) {
            let _ = ear.record_limit.set(max_len_bytes);
        }
    }

    /// The longest record that the actor at the other end takes, in octets; `None` when it has ended or did not say.
    pub fn record_limit(&self) -> Option<usize> {
        // Not known before it is ready.
        self.settle().then(|| self.ear())??.record_limit.get().copied()
    }

    /// Before `len_bytes` are handed to the actor at the other end: waits until it has room for more, for as long as
    /// `is_patient` says. False when the actor has ended, or patience has.
    pub fn reserve(&self, len_bytes: u64, is_patient: &mut dyn FnMut() -> bool) -> bool {
        if !self.settle() {
            return false;
        }
        loop {
            exit::stop_application();
            let Some(ear) = self.ear() else { return false };
            let Some(budget) = ear.budget.get() else { return true };
            if budget.reserve(len_bytes) {
                return true;
            }
            if !is_patient() {
                return false;
            }
        }
    }

    /// The name that both ends of a pipe know, one having bound to it and the other connected.
    fn endpoint(&self) -> String {
        self.zmq().get_last_endpoint().ok().and_then(Result::ok).unwrap_or_default()
    }
}

/// How long an actor waits for room for its last word, and its owner for the end that follows it.
const LAST_WORD_MS: u64 = 30_000;
/// How long the thread of an actor may take to begin after CZMQ has made its pipe.
const START_MS: u64 = 10_000;
/// How often a wait for a starting actor looks whether it is ready.
const SETTLE_INTERVAL_MS: i64 = 1;
/// How often a wait looks whether the actor still runs.
const CHECK_INTERVAL_MS: i64 = 100;

/// How far an actor is, as its owner sees it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// It is not known: zactor_new was interrupted before its thread began, or it ends in this moment.
    Unknown,
    Starting,
    Ready,
    Ended,
}

/// An actor that reads a pipe, as the other end sees it.
#[derive(Default)]
pub(super) struct Ear {
    /// False once the actor has ended.
    is_open: AtomicBool,
    /// It has sent its ready signal, or need not.
    is_ready: AtomicBool,
    /// It has sent something else, or is about to.
    has_sent: AtomicBool,
    /// Its ready signal is not in the pipe any more. Only the owner says so.
    is_settled: AtomicBool,
    budget: OnceLock<Arc<Budget>>,
    /// The longest record that the actor takes, in octets.
    record_limit: OnceLock<usize>,
}

impl Ear {
    /// The actor is about to send something that is no ready signal.
    pub(super) fn note_sent(&self) {
        self.has_sent.store(true, Ordering::Release);
    }
}

/// So many actors that CZMQ has started and that have ended are remembered: a later call on one of them fails, and does
/// not wait for it.
const MAX_ENDED: usize = 1_000;
/// How the names of the pipes of [`connect_pair`] begin. They are for actors that applications do not see.
const INNER_PIPE: &str = "inproc://dafka-pipe-";

/// The pipes of a process.
struct Ears {
    /// Those that an actor reads, by their name.
    open: BTreeMap<String, Arc<Ear>>,
    /// The hashes of the names of those whose actors have ended last.
    ended: VecDeque<u64>,
    /// The names of those whose actors have failed, and wait for `$TERM`.
    lingering: BTreeSet<String>,
}

impl Ears {
    const fn new() -> Ears {
        Ears { open: BTreeMap::new(), ended: VecDeque::new(), lingering: BTreeSet::new() }
    }

    fn begin(&mut self, endpoint: String, ear: Arc<Ear>) {
        // CZMQ may use a name again.
        let hashed = hash(&endpoint);
        self.ended.retain(|ended| *ended != hashed);
        self.open.insert(endpoint, ear);
    }

    fn has_ended(&self, endpoint: &str) -> bool {
        self.ended.contains(&hash(endpoint))
    }

    fn end(&mut self, endpoint: &str) {
        if self.open.remove(endpoint).is_none() || endpoint.starts_with(INNER_PIPE) {
            return;
        }
        if self.ended.len() >= MAX_ENDED {
            self.ended.pop_front();
        }
        self.ended.push_back(hash(endpoint));
    }
}

fn hash(endpoint: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    endpoint.hash(&mut hasher);
    hasher.finish()
}

fn ears() -> MutexGuard<'static, Ears> {
    static EARS: PerProcess<Ears> = PerProcess::new([const { Mutex::new(Ears::new()) }; GENERATIONS]);
    EARS.lock()
}

/// How much an actor may be handed, and has not done with: what is in its pipe, and what it holds.
pub struct Budget {
    limit_bytes: u64,
    used: Mutex<Used>,
    freed: Condvar,
}

#[derive(Default)]
struct Used {
    /// Reserved, and not yet read by the actor.
    in_pipe: u64,
    /// As the actor has said last.
    held: u64,
}

impl Budget {
    fn new(limit_bytes: u64) -> Budget {
        Budget { limit_bytes, used: Mutex::default(), freed: Condvar::new() }
    }

    fn used(&self) -> MutexGuard<'_, Used> {
        self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a share, waiting a little for it: as long as anything is left, one fits, however large it is.
    fn reserve(&self, len_bytes: u64) -> bool {
        let is_full = |used: &mut Used| used.in_pipe.saturating_add(used.held) >= self.limit_bytes;
        let timeout = Duration::from_millis(CHECK_INTERVAL_MS as u64);
        let waited = self.freed.wait_timeout_while(self.used(), timeout, is_full);
        let (mut used, waited) = waited.unwrap_or_else(PoisonError::into_inner);
        if !waited.timed_out() {
            used.in_pipe = used.in_pipe.saturating_add(len_bytes);
        }
        !waited.timed_out()
    }

    /// The actor has read so much from its pipe, and holds it from now on: at no moment is it counted nowhere.
    pub fn received(&self, len_bytes: u64) {
        let mut used = self.used();
        // What was not reserved comes from a caller that wrote into the pipe by itself.
        used.in_pipe = used.in_pipe.saturating_sub(len_bytes);
        used.held = used.held.saturating_add(len_bytes);
    }

    /// So much is what the actor holds now. True when that and what is in the pipe are all there may be.
    pub fn set_held(&self, held_bytes: u64) -> bool {
        let mut used = self.used();
        let is_less = held_bytes < used.held;
        used.held = held_bytes;
        let is_full = used.in_pipe.saturating_add(used.held) >= self.limit_bytes;
        drop(used);
        if is_less && !is_full {
            self.freed.notify_all();
        }
        is_full
    }

    /// What there may be.
    pub fn limit_bytes(&self) -> u64 {
        self.limit_bytes
    }
}

/// An actor that reads a pipe, see [`Socket::hear`].
pub struct Hearing {
    endpoint: String,
    ear: Arc<Ear>,
}

impl Drop for Hearing {
    fn drop(&mut self) {
        self.ear.is_open.store(false, Ordering::Release);
        ears().end(&self.endpoint);
    }
}

/// True for CZMQ's signals, whatever their status.
pub fn is_signal(frame: &Frame) -> bool {
    let octets: Result<[u8; 8], _> = frame.as_ref().try_into();
    octets.is_ok_and(|octets| !frame.more() && u64::from_ne_bytes(octets) & !0xff == SIGNAL)
}

/// True for CZMQ's signal with status 0: [`Socket::signal`].
pub fn is_success(frame: &Frame) -> bool {
    is_signal(frame) && frame.as_ref() == SIGNAL.to_ne_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_moves_from_the_pipe_to_the_actor_stays_counted() {
        let budget = Budget::new(100);
        assert!(budget.reserve(60));
        assert!(budget.reserve(60), "as long as anything is left, one more fits");
        budget.received(60);
        assert!(!budget.reserve(1));
        budget.received(60);
        assert!(!budget.reserve(1));
        assert!(budget.set_held(120));
        assert!(!budget.set_held(60));
        assert!(budget.reserve(1));
    }
}
