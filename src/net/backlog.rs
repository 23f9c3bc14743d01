//! Bounds what libzmq holds of what peers have sent.
//!
//! The inbound pipes of network sockets have no high-water mark, see [`Socket::expect_anybody`], and libzmq sets no limit
//! to the number of frames of a message. So one thread per process compares, many times a second, what each connection
//! has received (TCP_INFO) with what its node has taken off the socket. Where a socket holds more than its limit, the
//! connection that holds most is ended: its peer connects again, and what was lost is fetched.
//!
//! Short frames and subscriptions take many times their length in memory. While a lot is held, the thread also compares
//! how much the process has grown, and ends the connection that holds most when that is out of proportion.

use super::descriptors::{Descriptors, end_connection, socket_number};
use super::guard::Guard;
use super::inbound::Address;
use super::{Frame, Origin, Peer, Socket, Warning, now_ms};
use crate::czmq::fork::{GENERATIONS, PerProcess};
use std::cell::Cell;
use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::net::{SocketAddr, ToSocketAddrs};
use std::os::fd::RawFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

mod door;

use door::{Door, Step};

/// How often the connections are looked at.
const INTERVAL: Duration = Duration::from_millis(20);
/// What a connection may receive per second and never hand to its node: heartbeats.
const COMMANDS_BYTES_PER_S: u64 = 32;
const STACK_LEN_BYTES: usize = 256 << 10;
/// A frame's header at most, and what ZMTP 3.1 writes before a subscription in place of one octet.
const HEADER_BYTES: usize = 9;
const SUBSCRIBE_BYTES: usize = 11;

/// A network socket whose unread messages are bounded. For the thread that reads the socket.
pub struct Backlog {
    side: Arc<Side>,
    /// What was taken of one connection and is not counted yet.
    taken: Cell<(RawFd, u64)>,
}

struct Side {
    /// For log lines: the node.
    name: String,
    place: Place,
    limit_bytes: u64,
    max_frame_len_bytes: u64,
    /// What the node has taken since the last look, by the connection's descriptor.
    taken: Mutex<HashMap<RawFd, u64>>,
    /// The node has found nothing to read, and so has taken everything, since the last look.
    was_empty: AtomicBool,
}

/// How a side's connections are told from others.
enum Place {
    Listener(Address),
    /// The addresses that the socket connects to, and how many times each.
    Endpoints(Mutex<HashMap<SocketAddr, usize>>),
}

/// Counts changes to the sides and their endpoints.
static CHANGES: AtomicU64 = AtomicU64::new(0);

impl Backlog {
    /// Bounds what a bound socket holds, in all, to `limit_bytes`.
    pub fn listening(name: &str, socket: &Socket, limit_bytes: usize) -> Backlog {
        let endpoint = socket.last_endpoint().unwrap_or_default();
        let place = match Address::parse(&endpoint) {
            Some(address) => Place::Listener(address),
            None => Place::Endpoints(Mutex::default()),
        };
        Backlog::new(name, place, limit_bytes, 0)
    }

    /// Bounds what a socket that connects holds, in all, to `limit_bytes`, and one frame of `max_frame_len_bytes` of each
    /// connection.
    pub fn connecting(name: &str, limit_bytes: usize, max_frame_len_bytes: usize) -> Backlog {
        Backlog::new(name, Place::Endpoints(Mutex::default()), limit_bytes, max_frame_len_bytes)
    }

    fn new(name: &str, place: Place, limit_bytes: usize, max_frame_len_bytes: usize) -> Backlog {
        let (limit_bytes, max_frame_len_bytes) = (limit_bytes as u64, max_frame_len_bytes as u64);
        let (taken, was_empty) = (Mutex::default(), AtomicBool::new(false));
        let side =
            Arc::new(Side { name: name.into(), place, limit_bytes, max_frame_len_bytes, taken, was_empty });
        let mut watched = watched();
        watched.sides.push(side.clone());
        CHANGES.fetch_add(1, Ordering::Relaxed);
        if watched.guard.is_none() {
            watched.guard = spawn();
        }
        Backlog { side, taken: Cell::new((-1, 0)) }
    }

    /// The socket connects to an endpoint. A host that has a name is looked up, in a thread of its own.
    pub fn connect(&self, endpoint: &str) {
        let Some(address) = endpoint.strip_prefix("tcp://") else { return };
        match super::inbound::without_zone(address).parse() {
            Ok(address) => self.side.add(address),
            Err(_) => {
                let (side, address) = (self.side.clone(), address.to_owned());
                let look_up =
                    move || address.to_socket_addrs().map(|found| found.for_each(|at| side.add(at)));
                let builder = std::thread::Builder::new().name("dafka-lookup".into());
                // Without a thread, this host is not watched.
                let _ = builder.stack_size(STACK_LEN_BYTES).spawn(look_up);
            }
        }
    }

    /// It no longer does.
    pub fn disconnect(&self, endpoint: &str) {
        let Place::Endpoints(endpoints) = &self.side.place else { return };
        let Some(address) = endpoint.strip_prefix("tcp://") else { return };
        let Ok(address) = super::inbound::without_zone(address).parse::<SocketAddr>() else { return };
        if let Entry::Occupied(mut entry) = lock(endpoints).entry(canonical(address)) {
            match entry.get() {
                0 | 1 => drop(entry.remove()),
                _ => *entry.get_mut() -= 1,
            }
        }
    }

    /// The node has taken a message off the socket: its frames have so many octets.
    pub fn took(&self, first: Origin, len_bytes: usize, frames: usize) {
        let len_bytes = (len_bytes + frames * HEADER_BYTES) as u64;
        let file = first.0.unwrap_or(-1);
        let (taken_of, taken_bytes) = self.taken.get();
        if taken_of == file && taken_bytes < SMALL_BYTES {
            self.taken.set((file, taken_bytes + len_bytes));
        } else {
            self.flush();
            self.taken.set((file, len_bytes));
        }
    }

    /// The node has taken a subscription, or its end, off an XPUB socket.
    pub fn took_subscription(&self, frame: &Frame) {
        self.took(frame.origin(), frame.as_ref().len() + SUBSCRIBE_BYTES, 1);
    }

    /// The node has finished a turn of reading; `is_empty` when it has found nothing more to read.
    pub fn end_turn(&self, is_empty: bool) {
        self.flush();
        if is_empty {
            self.side.was_empty.store(true, Ordering::Release);
        }
    }

    fn flush(&self) {
        let (file, len_bytes) = self.taken.replace((-1, 0));
        if file >= 0 {
            *lock(&self.side.taken).entry(file).or_default() += len_bytes;
        }
    }
}

impl Drop for Backlog {
    fn drop(&mut self) {
        let mut watched = watched();
        watched.sides.retain(|side| !Arc::ptr_eq(side, &self.side));
        CHANGES.fetch_add(1, Ordering::Relaxed);
        let guard = if watched.sides.is_empty() { watched.guard.take() } else { None };
        drop(watched);
        if let Some(guard) = guard {
            guard.end();
        }
    }
}

impl Side {
    fn add(&self, address: SocketAddr) {
        if let Place::Endpoints(endpoints) = &self.place {
            *lock(endpoints).entry(canonical(address)).or_default() += 1;
            CHANGES.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Whether a connection belongs to this side.
    fn has(&self, local: &Peer, peer: &Peer) -> bool {
        match &self.place {
            Place::Listener(address) => address.is(local),
            Place::Endpoints(endpoints) => {
                peer.address().is_some_and(|address| lock(endpoints).contains_key(&address))
            }
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

#[derive(Default)]
struct Watched {
    sides: Vec<Arc<Side>>,
    guard: Option<Guard>,
}

/// A forked child has none of its parent's threads, and sides of its own.
fn watched() -> MutexGuard<'static, Watched> {
    static WATCHED: PerProcess<Watched> =
        PerProcess::new([const { Mutex::new(Watched { sides: Vec::new(), guard: None }) }; GENERATIONS]);
    WATCHED.lock()
}

/// Starts the thread. `None`, and a line in the log, when it cannot be had.
fn spawn() -> Option<Guard> {
    Guard::start("dafka-backlog", "what peers send is not bounded", INTERVAL, |descriptors| {
        let mut watch = Watch::new(descriptors);
        move || {
            let sides = watched().sides.clone();
            watch.look(&sides);
            INTERVAL
        }
    })
}

/// A connection's descriptor and the number of its socket.
type Id = (RawFd, u64);

/// What the thread knows.
struct Watch {
    descriptors: Descriptors,
    connections: HashMap<Id, Connection>,
    /// Sockets that are connections of no side.
    others: HashMap<RawFd, u64>,
    /// The changes to the sides that are known.
    changes: u64,
    /// What connections that have ended have left with a side, by the side's place in memory.
    left: HashMap<usize, u64>,
    /// The entrances of the sides that listen, by the same.
    doors: HashMap<usize, Door>,
    growth: Growth,
    looked: Instant,
    warning: Warning,
}

/// A connection of a side.
struct Connection {
    side: Arc<Side>,
    peer: Peer,
    received_bytes: u64,
    /// Never more than was received.
    taken_bytes: u64,
    /// What was received since the node has read everything.
    unread_bytes: u64,
    held_bytes: u64,
    is_ended: bool,
    is_seen: bool,
}

impl Watch {
    fn new(descriptors: Descriptors) -> Watch {
        Watch {
            descriptors,
            connections: HashMap::new(),
            others: HashMap::new(),
            changes: 0,
            left: HashMap::new(),
            doors: HashMap::new(),
            growth: Growth::default(),
            looked: Instant::now(),
            warning: Warning::default(),
        }
    }

    fn look(&mut self, sides: &[Arc<Side>]) {
        let changes = CHANGES.load(Ordering::Relaxed);
        if std::mem::replace(&mut self.changes, changes) != changes {
            self.others.clear();
            let is_known = |place: usize| sides.iter().any(|side| place_of(side) == place);
            self.left.retain(|&place, _| is_known(place));
            self.doors.retain(|&place, _| is_known(place));
            // Of several nodes that connect to one endpoint, one may have ended whose connection this was not.
            self.connections.retain(|&id, connection| {
                if is_known(place_of(&connection.side)) {
                    return true;
                }
                let is_same = socket_number(id.0) == Some(id.1);
                let local = Peer::local(id.0).filter(|_| is_same);
                let other = local.and_then(|local| side_of(sides, &local, &connection.peer));
                other.map(|side| connection.side = side.clone()).is_some()
            });
        }
        let mut taken: HashMap<RawFd, (u64, &Arc<Side>)> = HashMap::new();
        let mut empty = HashSet::new();
        for side in sides {
            if side.was_empty.swap(false, Ordering::AcqRel) {
                self.left.remove(&place_of(side));
                empty.insert(place_of(side));
            }
            for (file, len) in lock(&side.taken).drain() {
                let (sum, owner) = taken.entry(file).or_insert((0, side));
                (*sum, *owner) = (*sum + len, side);
            }
        }
        self.list(sides);
        let received = self.measure(&taken, &empty);
        self.end(sides);
        for side in sides {
            if let Place::Listener(address @ Address::Tcp(_)) = &side.place {
                let received_bytes = received.get(&place_of(side)).copied().unwrap_or(0);
                self.guard(side, address, received_bytes, empty.contains(&place_of(side)));
            }
        }
    }

    /// Closes the entrance of a listening socket whose node does not come to the end of reading.
    fn guard(&mut self, side: &Arc<Side>, address: &Address, received_bytes: u64, was_empty: bool) {
        let door = self.doors.entry(place_of(side)).or_default();
        match door.look(received_bytes, was_empty, Instant::now()) {
            Step::Nothing => {}
            Step::Open => door.open(),
            Step::Close => {
                let is_closed = door.close(&mut self.descriptors, address);
                let name = &side.name;
                log::warn!(
                    "{name}: peers send subscriptions or beacons faster than they can be processed: {}",
                    if is_closed {
                        "no new connections are accepted for some seconds"
                    } else {
                        "nothing can be done"
                    }
                );
            }
            Step::End => {
                let own = self.connections.iter().filter(|(_, connection)| {
                    let is_much = connection.unread_bytes > SMALL_BYTES && !connection.is_ended;
                    is_much && Arc::ptr_eq(&connection.side, side)
                });
                let victims: Vec<Id> = own.map(|(&id, _)| id).collect();
                victims.into_iter().for_each(|id| self.end_one(id));
            }
        }
    }

    /// Finds the connections that there are.
    fn list(&mut self, sides: &[Arc<Side>]) {
        self.connections.values_mut().for_each(|connection| connection.is_seen = false);
        let (connections, known_others, mut others) = (&mut self.connections, &self.others, HashMap::new());
        self.descriptors.each(|file, number| {
            let Some(number) = number else { return };
            if let Some(connection) = connections.get_mut(&(file, number)) {
                connection.is_seen = true;
                return;
            }
            if known_others.get(&file) == Some(&number) {
                others.insert(file, number);
                return;
            }
            // A socket that is not connected yet may become anything.
            let (Some(local), Some(peer)) = (Peer::local(file), Peer::of(file)) else { return };
            match side_of(sides, &local, &peer) {
                Some(side) => drop(connections.insert((file, number), Connection::new(side.clone(), peer))),
                None => drop(others.insert(file, number)),
            }
        });
        self.others = others;
        let left = &mut self.left;
        connections.retain(|_, connection| {
            if !connection.is_seen && connection.held_bytes > 0 {
                *left.entry(place_of(&connection.side)).or_default() += connection.held_bytes;
            }
            connection.is_seen
        });
    }

    /// Finds out what is held of each connection.
    /// Returns what was received since the last look, by side.
    fn measure(
        &mut self,
        taken: &HashMap<RawFd, (u64, &Arc<Side>)>,
        empty: &HashSet<usize>,
    ) -> HashMap<usize, u64> {
        let mut received: HashMap<usize, u64> = HashMap::new();
        // What is granted for less than a second is granted later.
        let seconds = self.looked.elapsed().as_secs();
        if seconds > 0 {
            self.looked = Instant::now();
        }
        for (&id, connection) in &mut self.connections {
            let mut taken_bytes = seconds * COMMANDS_BYTES_PER_S;
            if let Some(&(len, owner)) = taken.get(&id.0) {
                taken_bytes += len;
                connection.side = owner.clone();
            }
            // Of a connection that has ended since it was listed nothing more is known.
            let (received_bytes, in_kernel_bytes) =
                arrived_bytes(id, connection.taken_bytes).unwrap_or((connection.received_bytes, 0));
            let place = place_of(&connection.side);
            if empty.contains(&place) {
                connection.unread_bytes = 0;
            }
            *received.entry(place).or_default() +=
                connection.update(received_bytes, taken_bytes, in_kernel_bytes);
        }
        received
    }

    /// Ends connections of sides that hold too much.
    fn end(&mut self, sides: &[Arc<Side>]) {
        let held_bytes: u64 = self.connections.values().map(|connection| connection.held_bytes).sum();
        let has_grown = self.growth.is_out_of_proportion(held_bytes);
        let mut victims = Vec::new();
        if has_grown {
            victims.extend(most(self.connections.iter()));
        }
        for side in sides {
            let own =
                || self.connections.iter().filter(|(_, connection)| Arc::ptr_eq(&connection.side, side));
            let live = own().filter(|(_, connection)| !connection.is_ended);
            let held =
                live.map(|(_, connection)| connection.held_bytes.saturating_sub(side.max_frame_len_bytes));
            let left = self.left.get(&place_of(side)).copied().unwrap_or(0);
            if held.sum::<u64>() + left > side.limit_bytes {
                victims.extend(most(own()));
            }
        }
        victims.into_iter().for_each(|id| self.end_one(id));
    }

    fn end_one(&mut self, id: Id) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        connection.is_ended = true;
        end_connection(id.0, id.1);
        self.warning.warn(now_ms(), || {
                let (name, peer, held) = (&connection.side.name, &connection.peer, connection.held_bytes);
                format!(
                    "{name}: the connection with {peer} was ended: {held} octets that it brought wait to be processed, \
                     which is too much"
                )
            });
    }
}

/// The connection of which most is held, if that is worth it.
fn most<'a>(connections: impl Iterator<Item = (&'a Id, &'a Connection)>) -> Option<Id> {
    connections
        .filter(|(_, connection)| !connection.is_ended && connection.held_bytes > SMALL_BYTES)
        .max_by_key(|(_, connection)| connection.held_bytes)
        .map(|(&id, _)| id)
}

/// What a connection may hold without being ended.
const SMALL_BYTES: u64 = 64 << 10;

/// The side that a connection belongs to. Where several nodes connect to one endpoint, that is not known before one of
/// them has received something over it: until then it is the one that allows most.
fn side_of<'a>(sides: &'a [Arc<Side>], local: &Peer, peer: &Peer) -> Option<&'a Arc<Side>> {
    let candidates = sides.iter().filter(|side| side.has(local, peer));
    candidates.max_by_key(|side| side.limit_bytes.saturating_add(side.max_frame_len_bytes))
}

fn place_of(side: &Arc<Side>) -> usize {
    Arc::as_ptr(side) as usize
}

impl Connection {
    fn new(side: Arc<Side>, peer: Peer) -> Connection {
        Connection {
            side,
            peer,
            received_bytes: 0,
            taken_bytes: 0,
            unread_bytes: 0,
            held_bytes: 0,
            is_ended: false,
            is_seen: true,
        }
    }

    /// Takes what was received since the connection was made, what the node has taken since the last look, and what
    /// libzmq has not read yet. Returns how much more was received.
    fn update(&mut self, received_bytes: u64, taken_bytes: u64, in_kernel_bytes: u64) -> u64 {
        let more_bytes = received_bytes.saturating_sub(self.received_bytes);
        self.received_bytes += more_bytes;
        self.unread_bytes += more_bytes;
        self.taken_bytes = self.taken_bytes.saturating_add(taken_bytes).min(self.received_bytes);
        self.held_bytes = (self.received_bytes - self.taken_bytes).saturating_sub(in_kernel_bytes);
        more_bytes
    }
}

/// What a connection has received since it was made, and, if the node has taken much less of that, how much libzmq has
/// not read yet. `None` when the descriptor has become another socket since it was listed, and where the kernel does not
/// tell.
fn arrived_bytes((file, number): Id, taken_bytes: u64) -> Option<(u64, u64)> {
    let received_bytes = received_bytes(file)?;
    let is_much = received_bytes.saturating_sub(taken_bytes) > SMALL_BYTES;
    let in_kernel_bytes = if is_much { in_kernel_bytes(file) } else { 0 };
    // Looked up last: libzmq may close the descriptor, and get it back for another connection, at any time.
    (socket_number(file) == Some(number)).then_some((received_bytes, in_kernel_bytes))
}

/// What a TCP connection has received since it was made; `None` for other sockets, and where the kernel does not tell.
fn received_bytes(file: RawFd) -> Option<u64> {
    /// Where `tcpi_bytes_received` stands in `struct tcp_info` of linux/tcp.h.
    const OFFSET: usize = 128;
    let mut info = [0_u8; OFFSET + 8];
    let mut len = info.len() as libc::socklen_t;
    // SAFETY: the buffer is writable and as long as said.
    let rc = unsafe {
        libc::getsockopt(file, libc::IPPROTO_TCP, libc::TCP_INFO, info.as_mut_ptr().cast(), &mut len)
    };
    if rc != 0 || len as usize != info.len() {
        return None;
    }
    info.last_chunk().map(|octets| u64::from_ne_bytes(*octets))
}

/// How much of that libzmq has not read yet.
fn in_kernel_bytes(file: RawFd) -> u64 {
    let mut len: libc::c_int = 0;
    // SAFETY: the pointer is to an int that lives; for a descriptor that is no socket, the call fails.
    let rc = unsafe { libc::ioctl(file, libc::FIONREAD, &mut len) };
    if rc == 0 { u64::try_from(len).unwrap_or(0) } else { 0 }
}

/// What the process has in memory of its own: a database that is mapped does not count.
fn resident_bytes() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/statm").ok()?;
    let mut counts = text.split(' ').skip(1).map_while(|count| count.parse::<u64>().ok());
    let (resident, shared) = (counts.next()?, counts.next()?);
    let pages = resident.saturating_sub(shared);
    // SAFETY: a question without pointers.
    let page_len_bytes = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    pages.checked_mul(u64::try_from(page_len_bytes).ok()?)
}

/// How the process grows while much is held.
#[derive(Default)]
struct Growth {
    /// What the process had in memory, and what was held, when that became much.
    since: Option<(u64, u64)>,
}

impl Growth {
    /// What is much.
    const MUCH_BYTES: u64 = 8 << 20;
    /// What each octet that is held may take, and what the process may grow beside that.
    const FACTOR: u64 = 4;
    const SLACK_BYTES: u64 = 128 << 20;

    fn is_out_of_proportion(&mut self, held_bytes: u64) -> bool {
        if held_bytes < Self::MUCH_BYTES {
            self.since = None;
            return false;
        }
        resident_bytes().is_some_and(|resident_bytes| self.grows(held_bytes, resident_bytes))
    }

    fn grows(&mut self, held_bytes: u64, resident_bytes: u64) -> bool {
        let (then_bytes, held_then_bytes) = *self.since.get_or_insert((resident_bytes, held_bytes));
        let more_bytes = held_bytes.saturating_sub(held_then_bytes);
        let is_much = resident_bytes
            > then_bytes
                .saturating_add(Self::SLACK_BYTES)
                .saturating_add(more_bytes.saturating_mul(Self::FACTOR));
        if is_much {
            self.since = Some((resident_bytes, held_bytes));
        }
        is_much
    }
}

#[cfg(test)]
mod tests;
