//! Limits how much unread and unsent data libzmq holds.
//!
//! The inbound pipes of network sockets have no high-water mark, see [`Socket::limit_untrusted_peers`], and libzmq does
//! not limit the number of frames of a message. So each process has one thread that compares, many times a second, how
//! much each connection has received (TCP_INFO) and how much of that its node has read. libzmq holds the difference;
//! the comments here say that the connection and its socket hold it. When a socket holds more than its limit, the
//! thread ends the connections that hold the most. Their peers reconnect, and lost records are fetched again.
//! Connections over `ipc://` and `inproc://` are not measured: only nodes on the same host can make them.
//!
//! The outbound pipes have a high-water mark in messages, but not in bytes. The same thread ends connections of a
//! socket for which libzmq holds too many unsent records, see [`behind`].
//!
//! The nodes call the functions of this file: each node counts what it reads. The thread uses these modules:
//!
//! - [`scan`] compares the counts and ends connections; [`held`] chooses the connections to end;
//! - [`registry`] assigns connections to sockets, and gets the addresses of host names from [`hosts`];
//! - [`connection`] estimates the memory that the messages of one connection occupy;
//! - [`growth`] detects incomplete messages of very many frames, which cannot be counted yet;
//! - [`accept_filter`] rejects new connections while a node is overloaded;
//! - [`schedule`] decides how often the thread scans.

use super::guard::{Guard, thread_time};
use super::listen_address::ListenAddress;
use super::unsent::Unsent;
use super::{Frame, Origin, Socket};
use std::cell::RefCell;
use std::collections::HashMap;
use std::os::fd::RawFd;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

mod accept_filter;
mod behind;
mod connection;
mod growth;
mod held;
mod hosts;
mod registry;
mod scan;
mod schedule;

use registry::{BoundedSocket, Direction, registry};
use scan::Scanner;
use schedule::Load;

/// The pause between two scans while the process works, see [`schedule`].
const INTERVAL: Duration = Duration::from_millis(20);
/// The pause between two scans while a socket holds a large part of its limit.
const BUSY_INTERVAL: Duration = Duration::from_millis(1);
/// While the process is idle, the thread only checks whether the process is still idle. After each check, the thread
/// pauses for this many times the duration of the check, but at most for `MAX_IDLE_INTERVAL`. The check is slow with
/// many threads, because the kernel sums up the processor time of all threads.
const IDLE_FACTOR: u32 = 500;
const MAX_IDLE_INTERVAL: Duration = Duration::from_millis(500);
/// The length of the longest header of a frame.
const HEADER_BYTES: usize = 9;
/// ZMTP 3.1 writes a command name before the topic of a subscription. The name is not longer than this.
const SUBSCRIBE_BYTES: usize = 11;
/// While the connections of a socket hold no more than this together, none of them is ended.
const SMALL_BYTES: u64 = 64 << 10;
/// The smallest limit of a socket that listens. If the limit of subscriptions is lower, the node itself enforces it.
const MIN_LISTENING_BYTES: usize = 1 << 20;
/// Frames are long if their average length is at least this. (A record has two frames, so a record of 8 KiB is long.)
const LONG_FRAME_LEN_BYTES: u64 = 4 << 10;
/// A node reports to the thread what it has read: each time that this much is unreported, and at the end of each turn.
const TURN_BYTES: u64 = 1 << 20;

/// While this object lives, the unread messages of a network socket are limited. The thread that reads the socket uses
/// this object.
pub struct Backlog {
    socket: Arc<BoundedSocket>,
    turn: RefCell<Turn>,
}

/// What a node has read and not yet reported to the thread.
#[derive(Default)]
struct Turn {
    /// The connection of the latest message. `latest` is what the node has read from this connection.
    file: RawFd,
    latest: Taken,
    /// What the node has read from other connections.
    taken: HashMap<RawFd, Taken>,
    len_bytes: u64,
}

/// What a node has read from one connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Taken {
    len_bytes: u64,
    frames: u64,
}

impl Taken {
    /// The length if the frames are long, otherwise 0. Long frames occupy hardly more memory than their length.
    fn long_bytes(self) -> u64 {
        if self.len_bytes >= self.frames.saturating_mul(LONG_FRAME_LEN_BYTES) { self.len_bytes } else { 0 }
    }

    fn add(&mut self, other: Taken) {
        self.len_bytes += other.len_bytes;
        self.frames += other.frames;
    }
}

impl Turn {
    fn took(&mut self, file: RawFd, taken: Taken) {
        if self.file != file {
            self.merge_latest();
            self.file = file;
        }
        self.latest.add(taken);
        self.len_bytes += taken.len_bytes;
    }

    fn merge_latest(&mut self) {
        if self.latest != Taken::default() {
            self.taken.entry(self.file).or_default().add(std::mem::take(&mut self.latest));
        }
    }
}

impl Backlog {
    /// Limits a bound socket to `limit_bytes` of received data in total. A limit of less than 1 MiB is raised to 1 MiB.
    /// Also enforces the limit that [`Socket::limit_unsent`] has set.
    pub fn listening(name: &str, socket: &Socket, limit_bytes: usize) -> Backlog {
        let endpoint = socket.last_endpoint().unwrap_or_default();
        let direction = match ListenAddress::parse(&endpoint) {
            Some(address) => Direction::Listening(address),
            None => Direction::Connecting(Mutex::default()),
        };
        Backlog::new(name, direction, limit_bytes.max(MIN_LISTENING_BYTES), 0, socket.unsent.clone())
    }

    /// Limits a connecting socket to `limit_bytes` of memory in total, plus one frame of `max_frame_len_bytes`. If
    /// `max_frame_len_bytes` is 0, `limit_bytes` limits the received data instead of the memory.
    pub fn connecting(name: &str, limit_bytes: usize, max_frame_len_bytes: usize) -> Backlog {
        Backlog::new(name, Direction::Connecting(Mutex::default()), limit_bytes, max_frame_len_bytes, None)
    }

    fn new(
        name: &str,
        direction: Direction,
        limit_bytes: usize,
        max_frame_len_bytes: usize,
        unsent: Option<Arc<Unsent>>,
    ) -> Backlog {
        let (limit_bytes, max_frame_len_bytes) = (limit_bytes as u64, max_frame_len_bytes as u64);
        let socket = BoundedSocket::new(name, direction, limit_bytes, max_frame_len_bytes, unsent);
        let mut registry = registry();
        registry.insert(socket.clone());
        if registry.guard.is_none() {
            registry.guard = spawn();
        }
        Backlog { socket, turn: RefCell::default() }
    }

    /// Call this when the socket connects to an endpoint. If the endpoint has a host name, another thread looks it up.
    pub fn connect(&self, endpoint: &str) {
        registry().connect(&self.socket, endpoint);
    }

    /// Call this when the socket disconnects from an endpoint.
    pub fn disconnect(&self, endpoint: &str) {
        registry().disconnect(&self.socket, endpoint);
    }

    /// Counts a message that the node has read. `first` is the origin of its first frame.
    pub fn took(&self, first: Origin, len_bytes: usize, frames: usize) {
        let taken = Taken { len_bytes: (len_bytes + frames * HEADER_BYTES) as u64, frames: frames as u64 };
        let Some(file) = first.0 else { return };
        let mut turn = self.turn.borrow_mut();
        turn.took(file, taken);
        if turn.len_bytes >= TURN_BYTES {
            self.report(&mut turn);
        }
    }

    /// Counts a subscription or unsubscription that the node has read from an XPUB socket.
    pub fn took_subscription(&self, frame: &Frame) {
        self.took(frame.origin(), frame.as_ref().len() + SUBSCRIBE_BYTES, 1);
    }

    /// Call this when the node has finished a turn of reading. `is_empty`: the node has found nothing more to read.
    pub fn end_turn(&self, is_empty: bool) {
        self.report(&mut self.turn.borrow_mut());
        if is_empty {
            self.socket.was_empty.store(true, Ordering::Release);
        }
    }

    fn report(&self, turn: &mut Turn) {
        turn.merge_latest();
        turn.len_bytes = 0;
        if turn.taken.is_empty() {
            return;
        }
        let mut taken = lock(&self.socket.taken);
        if taken.is_empty() {
            std::mem::swap(&mut *taken, &mut turn.taken);
        } else {
            turn.taken.drain().for_each(|(file, more)| taken.entry(file).or_default().add(more));
        }
    }
}

impl Drop for Backlog {
    fn drop(&mut self) {
        let mut registry = registry();
        registry.remove(&self.socket);
        let guard = if registry.is_empty() { registry.guard.take() } else { None };
        drop(registry);
        if let Some(guard) = guard {
            guard.end();
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Starts the thread. Returns `None` when the thread cannot start; the log then has the reason.
fn spawn() -> Option<Guard> {
    Guard::start("dafka-backlog", "what peers send is not bounded", INTERVAL, |descriptors| {
        let mut scanner = Scanner::new(descriptors);
        move || {
            let start = thread_time();
            if !scanner.is_due() {
                let cost = thread_time().saturating_sub(start);
                return cost.saturating_mul(IDLE_FACTOR).clamp(INTERVAL, MAX_IDLE_INTERVAL);
            }
            match scanner.scan() {
                Load::High => BUSY_INTERVAL,
                Load::Some | Load::Low => INTERVAL,
            }
        }
    })
}

#[cfg(test)]
mod tests;
