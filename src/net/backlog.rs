//! Bounds what libzmq holds of what peers have sent.
//!
//! The inbound pipes of network sockets have no high-water mark, see [`Socket::expect_anybody`], and libzmq sets no limit
//! to the number of frames of a message. So one thread per process compares, many times a second, what each connection
//! has received (TCP_INFO) with what its node has taken off the socket. Where a socket holds more than its limit, the
//! connections that hold most are ended: their peers connect again, and lost records are fetched.
//!
//! This file is the nodes' part: each counts what it takes. [`watch`] is the thread's part, [`connection`] estimates what
//! the messages of one connection occupy, [`growth`] finds messages whose frames nobody can count, and [`rest`] decides how
//! often the thread looks.

use super::guard::{Guard, thread_time};
use super::inbound::Address;
use super::{Frame, Origin, Peer, Socket};
use crate::czmq::fork::{GENERATIONS, PerProcess};
use std::cell::RefCell;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::SocketAddr;
use std::ops::{Deref, DerefMut};
use std::os::fd::RawFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

mod connection;
mod door;
mod growth;
mod hosts;
mod rest;
mod watch;

use hosts::Hosts;
use rest::Load;
use watch::Watch;

/// How often the connections are looked at while the process works, see [`rest`].
const INTERVAL: Duration = Duration::from_millis(20);
/// The same while a socket holds much of what it may.
const BUSY_INTERVAL: Duration = Duration::from_millis(1);
/// While the process rests: how many times as long as it takes to find that out passes until the thread asks again, and the
/// longest such time. The kernel adds up what all threads have used, and there may be thousands.
const REST_FACTOR: u32 = 500;
const MAX_REST_INTERVAL: Duration = Duration::from_millis(500);
/// A frame's header at most, and what ZMTP 3.1 writes before a subscription in place of one octet.
const HEADER_BYTES: usize = 9;
const SUBSCRIBE_BYTES: usize = 11;
/// What a connection may hold without being ended.
const SMALL_BYTES: u64 = 64 << 10;
/// What a socket that listens may hold at least: where less may be subscribed to, the node finds that out by itself.
const MIN_LISTENING_BYTES: usize = 1 << 20;
/// Frames are long when they have so many octets on average: a record of 8 KiB has two frames.
const LONG_FRAME_LEN_BYTES: u64 = 4 << 10;
/// What a node takes in one turn before the thread is told of it.
const TURN_BYTES: u64 = 1 << 20;

/// A network socket whose unread messages are bounded. For the thread that reads the socket.
pub struct Backlog {
    side: Arc<Side>,
    turn: RefCell<Turn>,
}

/// What a node has taken and the guard thread does not know yet.
#[derive(Default)]
struct Turn {
    /// The connection that the latest message came over.
    file: RawFd,
    latest: Taken,
    /// The others.
    taken: HashMap<RawFd, Taken>,
    len_bytes: u64,
}

/// What a node has taken of one connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Taken {
    len_bytes: u64,
    frames: u64,
}

impl Taken {
    /// Its octets, if they came in long frames: these occupy no more than their length.
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
            self.set_aside();
            self.file = file;
        }
        self.latest.add(taken);
        self.len_bytes += taken.len_bytes;
    }

    fn set_aside(&mut self) {
        if self.latest != Taken::default() {
            self.taken.entry(self.file).or_default().add(std::mem::take(&mut self.latest));
        }
    }
}

struct Side {
    id: u64,
    /// For log lines: the node.
    name: String,
    place: Place,
    limit_bytes: u64,
    max_frame_len_bytes: u64,
    /// What the node has taken since the last look, by the connection's descriptor.
    taken: Mutex<HashMap<RawFd, Taken>>,
    /// The node has found nothing to read, and so has taken everything, since the last look.
    was_empty: AtomicBool,
}

/// How a side's connections are told from others.
enum Place {
    Listener(Address),
    /// The addresses that the socket connects to, and how many times each.
    Endpoints(Mutex<HashMap<SocketAddr, usize>>),
}

impl Backlog {
    /// Bounds what a bound socket holds, in all, to `limit_bytes` of the connections' octets, or to 1 MiB if that is
    /// more.
    pub fn listening(name: &str, socket: &Socket, limit_bytes: usize) -> Backlog {
        let endpoint = socket.last_endpoint().unwrap_or_default();
        let place = match Address::parse(&endpoint) {
            Some(address) => Place::Listener(address),
            None => Place::Endpoints(Mutex::default()),
        };
        Backlog::new(name, place, limit_bytes.max(MIN_LISTENING_BYTES), 0)
    }

    /// Bounds what a socket that connects holds, in all: to `limit_bytes` of memory, and one frame of
    /// `max_frame_len_bytes`. If no length is given (0), to `limit_bytes` of the connections' octets.
    pub fn connecting(name: &str, limit_bytes: usize, max_frame_len_bytes: usize) -> Backlog {
        Backlog::new(name, Place::Endpoints(Mutex::default()), limit_bytes, max_frame_len_bytes)
    }

    fn new(name: &str, place: Place, limit_bytes: usize, max_frame_len_bytes: usize) -> Backlog {
        let side = Side::new(name, place, limit_bytes as u64, max_frame_len_bytes as u64);
        let mut sides = sides();
        sides.insert(side.clone());
        if sides.guard.is_none() {
            sides.guard = spawn();
        }
        Backlog { side, turn: RefCell::default() }
    }

    /// The socket connects to an endpoint. A host that has a name is looked up, in a thread of its own.
    pub fn connect(&self, endpoint: &str) {
        let Some(address) = endpoint.strip_prefix("tcp://") else { return };
        match super::inbound::without_zone(address).parse() {
            Ok(address) => sides().add_endpoint(&self.side, address),
            Err(_) => sides().named.push((address.into(), self.side.clone())),
        }
    }

    /// It no longer does.
    pub fn disconnect(&self, endpoint: &str) {
        let Some(address) = endpoint.strip_prefix("tcp://") else { return };
        if let Ok(address) = super::inbound::without_zone(address).parse() {
            sides().remove_endpoint(&self.side, address);
        }
    }

    /// The node has taken a message off the socket: its frames have so many octets.
    pub fn took(&self, first: Origin, len_bytes: usize, frames: usize) {
        let taken = Taken { len_bytes: (len_bytes + frames * HEADER_BYTES) as u64, frames: frames as u64 };
        let Some(file) = first.0 else { return };
        let mut turn = self.turn.borrow_mut();
        turn.took(file, taken);
        if turn.len_bytes >= TURN_BYTES {
            self.hand_over(&mut turn);
        }
    }

    /// The node has taken a subscription, or its end, off an XPUB socket.
    pub fn took_subscription(&self, frame: &Frame) {
        self.took(frame.origin(), frame.as_ref().len() + SUBSCRIBE_BYTES, 1);
    }

    /// The node has finished a turn of reading; `is_empty` when it has found nothing more to read.
    pub fn end_turn(&self, is_empty: bool) {
        self.hand_over(&mut self.turn.borrow_mut());
        if is_empty {
            self.side.was_empty.store(true, Ordering::Release);
        }
    }

    fn hand_over(&self, turn: &mut Turn) {
        turn.set_aside();
        turn.len_bytes = 0;
        if turn.taken.is_empty() {
            return;
        }
        let mut taken = lock(&self.side.taken);
        if taken.is_empty() {
            std::mem::swap(&mut *taken, &mut turn.taken);
        } else {
            turn.taken.drain().for_each(|(file, more)| taken.entry(file).or_default().add(more));
        }
    }
}

impl Drop for Backlog {
    fn drop(&mut self) {
        let mut sides = sides();
        sides.remove(&self.side);
        let guard = if sides.by_id.is_empty() { sides.guard.take() } else { None };
        drop(sides);
        if let Some(guard) = guard {
            guard.end();
        }
    }
}

impl Side {
    fn new(name: &str, place: Place, limit_bytes: u64, max_frame_len_bytes: u64) -> Arc<Side> {
        static COUNTER: AtomicU64 = AtomicU64::new(0);
        let id = COUNTER.fetch_add(1, Ordering::Relaxed);
        let (taken, was_empty) = (Mutex::default(), AtomicBool::new(false));
        Arc::new(Side { id, name: name.into(), place, limit_bytes, max_frame_len_bytes, taken, was_empty })
    }

    /// Whether the limit is one of the connections' octets, not of memory.
    fn is_limited_in_octets(&self) -> bool {
        self.max_frame_len_bytes == 0
    }

    /// Whether peers may send it frames of any length that a record may have.
    fn takes_long_frames(&self) -> bool {
        self.max_frame_len_bytes > SMALL_BYTES
    }

    fn listens_at(&self, local: &Peer) -> bool {
        matches!(&self.place, Place::Listener(address) if address.is(local))
    }
}

/// All sides of this process, by what finds them.
#[derive(Default)]
struct Sides {
    by_id: HashMap<u64, Arc<Side>>,
    by_port: HashMap<u16, Vec<Arc<Side>>>,
    by_endpoint: HashMap<SocketAddr, Vec<Arc<Side>>>,
    /// Those that connect to a host by its name: `HOST:PORT`.
    named: Vec<(Box<str>, Arc<Side>)>,
    /// Counts changes to the sides and their endpoints.
    changes: u64,
    guard: Option<Guard>,
}

impl Sides {
    fn insert(&mut self, side: Arc<Side>) {
        if let Place::Listener(Address::Tcp(address)) = &side.place {
            self.by_port.entry(address.port()).or_default().push(side.clone());
        }
        self.by_id.insert(side.id, side);
        self.changes += 1;
    }

    fn remove(&mut self, side: &Arc<Side>) {
        self.by_id.remove(&side.id);
        self.named.retain(|(_, other)| !Arc::ptr_eq(other, side));
        match &side.place {
            Place::Listener(Address::Tcp(address)) => remove_from(&mut self.by_port, &address.port(), side),
            Place::Listener(Address::Unix(_)) => {}
            Place::Endpoints(endpoints) => {
                lock(endpoints).keys().for_each(|address| remove_from(&mut self.by_endpoint, address, side));
            }
        }
        self.changes += 1;
    }

    fn add_endpoint(&mut self, side: &Arc<Side>, address: SocketAddr) {
        let Place::Endpoints(endpoints) = &side.place else { return };
        let address = canonical(address);
        let mut endpoints = lock(endpoints);
        let count = endpoints.entry(address).or_default();
        *count += 1;
        if *count == 1 {
            self.by_endpoint.entry(address).or_default().push(side.clone());
        }
        self.changes += 1;
    }

    /// Adds the addresses of hosts that have names, as far as they are known.
    fn add_named(&mut self, hosts: &Hosts) {
        for (name, side) in self.named.clone() {
            for address in hosts.addresses(&name) {
                if !self
                    .by_endpoint
                    .get(&address)
                    .is_some_and(|sides| sides.iter().any(|at| Arc::ptr_eq(at, &side)))
                {
                    self.add_endpoint(&side, address);
                }
            }
        }
    }

    fn remove_endpoint(&mut self, side: &Arc<Side>, address: SocketAddr) {
        let Place::Endpoints(endpoints) = &side.place else { return };
        let address = canonical(address);
        let mut endpoints = lock(endpoints);
        let Entry::Occupied(mut count) = endpoints.entry(address) else { return };
        *count.get_mut() -= 1;
        if *count.get() == 0 {
            count.remove();
            remove_from(&mut self.by_endpoint, &address, side);
        }
    }

    /// The side that a connection belongs to. Where several nodes connect to one endpoint, that is not known before one of
    /// them has received something over it: until then it is the one that allows most.
    fn side_of(&self, local: &Peer, peer: &Peer) -> Option<Arc<Side>> {
        let listening = local.address().and_then(|address| self.by_port.get(&address.port()));
        let listening = listening.into_iter().flatten().filter(|side| side.listens_at(local));
        let connecting = peer.address().and_then(|address| self.by_endpoint.get(&address));
        let candidates = listening.chain(connecting.into_iter().flatten());
        candidates.max_by_key(|side| side.limit_bytes.saturating_add(side.max_frame_len_bytes)).cloned()
    }
}

fn remove_from<K: std::hash::Hash + Eq>(index: &mut HashMap<K, Vec<Arc<Side>>>, key: &K, side: &Arc<Side>) {
    if let Some(sides) = index.get_mut(key) {
        sides.retain(|other| !Arc::ptr_eq(other, side));
        if sides.is_empty() {
            index.remove(key);
        }
    }
}

/// An address as the kernel tells it of a connection.
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A forked child has none of its parent's threads, and sides of its own.
fn sides() -> LockedSides {
    static SIDES: PerProcess<Option<Sides>> = PerProcess::new([const { Mutex::new(None) }; GENERATIONS]);
    let mut sides = SIDES.lock();
    sides.get_or_insert_default();
    LockedSides(sides)
}

/// All sides, for as long as it lives.
struct LockedSides(MutexGuard<'static, Option<Sides>>);

impl Deref for LockedSides {
    type Target = Sides;

    fn deref(&self) -> &Sides {
        self.0.as_ref().expect("made before it was locked")
    }
}

impl DerefMut for LockedSides {
    fn deref_mut(&mut self) -> &mut Sides {
        self.0.as_mut().expect("made before it was locked")
    }
}

/// Starts the thread. `None`, and a line in the log, when it cannot be had.
fn spawn() -> Option<Guard> {
    Guard::start("dafka-backlog", "what peers send is not bounded", INTERVAL, |descriptors| {
        let mut watch = Watch::new(descriptors);
        move || {
            let start = thread_time();
            if !watch.is_due() {
                let cost = thread_time().saturating_sub(start);
                return cost.saturating_mul(REST_FACTOR).clamp(INTERVAL, MAX_REST_INTERVAL);
            }
            match watch.look() {
                Load::Much => BUSY_INTERVAL,
                Load::Some | Load::Little => INTERVAL,
            }
        }
    })
}

#[cfg(test)]
mod tests;
