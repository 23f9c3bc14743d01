//! The scan of all connections whose unread messages are limited.

use super::accept_filter::{AcceptFilter, Step};
use super::behind::{Reason, sent, victims};
use super::connection::{Connection, Id, arrived};
use super::growth::Growth;
use super::held::{Held, Leftovers};
use super::hosts::Hosts;
use super::registry::{BoundedSocket, Direction, registry};
use super::schedule::{Load, Schedule};
use super::{SMALL_BYTES, Taken, lock};
use crate::net::descriptors::{Descriptors, end_connection, socket_number};
use crate::net::guard::thread_time;
use crate::net::listen_address::ListenAddress;
use crate::net::unsent::Published;
use crate::net::{Peer, UnsentLimit, Warning, now_ms};
use std::collections::{HashMap, HashSet};
use std::os::fd::RawFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// The allowance for heartbeats per second and connection. libzmq receives heartbeats, and the node never reads them.
const COMMANDS_BYTES_PER_S: u64 = 32;
/// How often the names of hosts are checked.
const NAMES_INTERVAL: Duration = Duration::from_secs(1);
/// While a node is overloaded, a connection is ended if it has received more than this many times the socket's limit
/// since the node last read everything. (A subscription's length on the wire is a quarter more than the length that the
/// limit counts.)
const UNREAD_FACTOR: u64 = 2;

/// For each connection's descriptor: what the nodes have read since the latest scan, and the socket from which they
/// read it.
pub(super) type TakenByFile = HashMap<RawFd, (Taken, Arc<BoundedSocket>)>;

/// The state of the thread.
pub(super) struct Scanner {
    descriptors: Descriptors,
    pub(super) connections: HashMap<Id, Connection>,
    /// Descriptors of the process whose kernel sockets are not connections of a bounded (ZeroMQ) socket, with the
    /// numbers of the kernel sockets.
    others: HashMap<RawFd, u64>,
    /// `Registry::changes` at the latest update.
    changes: u64,
    sockets: Vec<Arc<BoundedSocket>>,
    /// The bounded sockets that listen at a TCP port.
    listeners: Vec<Arc<BoundedSocket>>,
    leftovers: Leftovers,
    /// The length of all long frames that the nodes have read.
    taken_long_bytes: u64,
    /// The filters of the sockets that listen. The key is the socket's id.
    accept_filters: HashMap<u64, AcceptFilter>,
    growth: Growth,
    /// The time up to which heartbeats are accounted for.
    granted_until: Instant,
    hosts: Hosts,
    /// When the names of hosts are checked next.
    names_due: Instant,
    schedule: Schedule,
    warning: Warning,
    /// For connections that are ended because of unsent records.
    unsent_warning: Warning,
}

impl Scanner {
    pub(super) fn new(descriptors: Descriptors) -> Scanner {
        Scanner {
            descriptors,
            connections: HashMap::new(),
            others: HashMap::new(),
            changes: 0,
            sockets: Vec::new(),
            listeners: Vec::new(),
            leftovers: Leftovers::default(),
            taken_long_bytes: 0,
            accept_filters: HashMap::new(),
            growth: Growth::default(),
            granted_until: Instant::now(),
            hosts: Hosts::new(),
            names_due: Instant::now(),
            schedule: Schedule::new(),
            warning: Warning::default(),
            unsent_warning: Warning::default(),
        }
    }

    /// Whether the next scan is due, or the sockets have changed.
    pub(super) fn is_due(&self) -> bool {
        self.schedule.is_due() || registry().changes != self.changes
    }

    /// Scans all connections, and ends some.
    pub(super) fn scan(&mut self) -> Load {
        let start = thread_time();
        self.look_names_up();
        self.update_sockets();
        let (taken, empty) = self.collect_taken();
        self.leftovers.retain_sockets(|socket| !empty.contains(&socket));
        self.list();
        let received = self.measure(taken, &empty);
        let (overfull, is_busy) = self.end();
        let is_behind = self.measure_behind();
        self.end_behind();
        for i in 0..self.listeners.len() {
            let socket = self.listeners[i].clone();
            if let Direction::Listening(address @ ListenAddress::Tcp(_)) = &socket.direction {
                let received_bytes = received.get(&socket.id).copied().unwrap_or(0);
                let (was_empty, is_overfull) = (empty.contains(&socket.id), overfull.contains(&socket.id));
                self.filter_new(&socket, address, received_bytes, was_empty, is_overfull);
            }
        }
        let load = match is_busy {
            true => Load::High,
            false if self.is_idle() && !is_behind => Load::Low,
            false => Load::Some,
        };
        self.schedule.scanned(load, thread_time().saturating_sub(start));
        load
    }

    /// Returns what the nodes have read, and the sockets from which everything was read.
    fn collect_taken(&mut self) -> (TakenByFile, HashSet<u64>) {
        let (mut taken, mut empty) = (TakenByFile::new(), HashSet::new());
        for socket in &self.sockets {
            if socket.was_empty.swap(false, Ordering::AcqRel) {
                empty.insert(socket.id);
            }
            for (file, more) in lock(&socket.taken).drain() {
                self.taken_long_bytes = self.taken_long_bytes.saturating_add(more.long_bytes());
                let (sum, owner) = taken.entry(file).or_insert_with(|| (Taken::default(), socket.clone()));
                sum.add(more);
                if !Arc::ptr_eq(owner, socket) {
                    *owner = socket.clone();
                }
            }
        }
        (taken, empty)
    }

    /// Updates how far each connection is behind. Returns true if libzmq holds more than the limit for any socket.
    fn measure_behind(&mut self) -> bool {
        // These counts are taken before the kernel's counts are read. What is published and sent in between then counts
        // only as sent. So no connection seems further behind than it is.
        let all = self.sockets.iter().filter_map(|socket| Some((socket.id, socket.unsent.as_ref()?.take()?)));
        let (published, now) = (all.collect::<HashMap<u64, Published>>(), Instant::now());
        for (&id, connection) in &mut self.connections {
            match published.get(&connection.socket.id) {
                Some(&published) => connection.behind.update(published, sent(id), now),
                None => connection.behind.reset(),
            }
        }
        self.sockets.iter().filter_map(|socket| socket.unsent.as_ref()).any(|unsent| unsent.is_beyond_limit())
    }

    fn is_idle(&self) -> bool {
        let is_little = |connection: &Connection| connection.held_bytes <= SMALL_BYTES;
        self.connections.values().all(is_little)
            && self.leftovers.held_bytes() <= SMALL_BYTES
            && self.accept_filters.values().all(AcceptFilter::is_idle)
    }

    /// Looks up the names of hosts, once a second.
    fn look_names_up(&mut self) {
        let now = Instant::now();
        if now < self.names_due {
            return;
        }
        self.names_due = now + NAMES_INTERVAL;
        let names = registry().names().map(Box::from).collect();
        self.hosts.update(&names, now);
        registry().add_addresses_of_names(&self.hosts);
    }

    /// Updates the sockets from the registry.
    fn update_sockets(&mut self) {
        let registry = registry();
        if std::mem::replace(&mut self.changes, registry.changes) == registry.changes {
            return;
        }
        self.sockets = registry.all();
        self.listeners = registry.listening();
        self.others.clear();
        self.leftovers.retain_sockets(|socket| registry.contains(socket));
        self.accept_filters.retain(|&id, _| registry.contains(id));
        // When several nodes connect to one endpoint and one of them ends, a connection may turn out to belong to
        // another node.
        self.connections.retain(|&id, connection| {
            if registry.contains(connection.socket.id) {
                return true;
            }
            let is_same = socket_number(id.0) == Some(id.1);
            let local = Peer::local(id.0).filter(|_| is_same);
            let other = local.and_then(|local| registry.socket_of(&local, &connection.peer));
            other.map(|socket| connection.socket = socket).is_some()
        });
    }

    /// Updates the accept filter of a listening socket, and does what the filter then requires.
    fn filter_new(
        &mut self,
        socket: &Arc<BoundedSocket>,
        address: &ListenAddress,
        received_bytes: u64,
        was_empty: bool,
        is_overfull: bool,
    ) {
        let filter = self.accept_filters.entry(socket.id).or_default();
        match filter.update(received_bytes, was_empty, is_overfull, Instant::now()) {
            Step::Nothing => {}
            Step::Open => filter.open(),
            Step::Close => {
                let is_closed = filter.close(&mut self.descriptors, address);
                self.warning.warn(now_ms(), || {
                    let what = match is_closed {
                        true => "no new connections are accepted for some seconds",
                        false => "new connections cannot be rejected",
                    };
                    let name = &socket.name;
                    format!("{name}: peers send subscriptions or beacons faster than they can be processed: {what}")
                });
            }
            Step::End => {
                let own = self.connections.iter().filter(|(_, connection)| {
                    // End only connections over which much has arrived. On a slow host, a node may need longer than the
                    // filter allows to read the subscriptions of one consumer with many topics.
                    let allowed_bytes = socket.limit_bytes.saturating_mul(UNREAD_FACTOR).max(SMALL_BYTES);
                    let is_much = connection.unread_bytes() > allowed_bytes && !connection.is_ended;
                    is_much && Arc::ptr_eq(&connection.socket, socket)
                });
                let victims: Vec<Id> = own.map(|(&id, _)| id).collect();
                victims.into_iter().for_each(|id| self.end_one(id));
            }
        }
    }

    /// Finds new connections, and removes the connections that are gone.
    pub(super) fn list(&mut self) {
        self.connections.values_mut().for_each(|connection| connection.is_listed = false);
        let (connections, known_others, mut others) = (&mut self.connections, &self.others, HashMap::new());
        self.descriptors.each(|file, number| {
            let Some(number) = number else { return };
            if let Some(connection) = connections.get_mut(&(file, number)) {
                connection.is_listed = true;
                return;
            }
            if known_others.get(&file) == Some(&number) {
                others.insert(file, number);
                return;
            }
            // A socket that is not connected yet may still become a connection of a bounded socket, so it is not added
            // to `others`.
            let (Some(local), Some(peer)) = (Peer::local(file), Peer::of(file)) else { return };
            match registry().socket_of(&local, &peer) {
                Some(socket) => drop(connections.insert((file, number), Connection::new(socket, peer))),
                None => drop(others.insert(file, number)),
            }
        });
        self.others = others;
        let leftovers = &mut self.leftovers;
        connections.retain(|id, connection| {
            if !connection.is_listed && connection.held_bytes > 0 {
                leftovers.add(id.0, connection);
            }
            connection.is_listed
        });
    }

    /// Updates how much each connection holds. Returns how many bytes each socket has received since the latest scan.
    /// The key is the socket's id.
    pub(super) fn measure(&mut self, mut taken: TakenByFile, empty: &HashSet<u64>) -> HashMap<u64, u64> {
        let mut received: HashMap<u64, u64> = HashMap::new();
        // Heartbeats of less than a second are accounted for later.
        let seconds = self.granted_until.elapsed().as_secs();
        self.granted_until += Duration::from_secs(seconds);
        let granted_bytes = seconds * COMMANDS_BYTES_PER_S;
        for (&id, connection) in &mut self.connections {
            // A node may have read from an earlier connection with the same descriptor. If a connection was accepted at
            // the port of a socket, it stays with this socket, whichever node has read.
            let (taken, reader) = match taken.remove(&id.0) {
                Some((taken, owner)) => {
                    if connection.socket.connects() && owner.connects() {
                        connection.socket = owner.clone();
                    }
                    (taken, owner.id)
                }
                None => (Taken::default(), connection.socket.id),
            };
            // The kernel reports no counts for a connection that has ended since it was listed. libzmq reads no more
            // from a connection that was ended here.
            let arrived = if connection.is_ended { None } else { arrived(id, connection.taken_bytes()) };
            let (arrived, in_kernel_bytes) = arrived.unwrap_or_else(|| connection.latest_arrived());
            if empty.contains(&connection.socket.id) {
                connection.was_empty();
            }
            let (received_bytes, surplus_bytes) =
                connection.update(arrived, taken, granted_bytes, in_kernel_bytes);
            *received.entry(connection.socket.id).or_default() += received_bytes;
            self.leftovers.take(reader, id.0, surplus_bytes);
        }
        // What remains in `taken` was read from connections that have ended.
        for (file, (taken, owner)) in taken {
            self.leftovers.take(owner.id, file, taken.len_bytes);
        }
        received
    }

    /// Ends connections of sockets that hold too much. Returns these sockets, and whether a socket holds a large part
    /// of its limit.
    pub(super) fn end(&mut self) -> (HashSet<u64>, bool) {
        let mut held = Held::by_socket(&self.connections, &self.leftovers);
        let (mut unknown_bytes, mut longest) = (0, None);
        for (&id, connection) in &self.connections {
            if connection.socket.takes_long_frames() && !connection.is_ended {
                unknown_bytes += connection.unknown_bytes();
                longest = longest.max(Some((connection.unknown_bytes(), id)));
            }
        }
        let mut victims = Vec::new();
        if self.growth.is_excessive(unknown_bytes, self.taken_long_bytes) {
            victims.extend(longest.map(|(_, id)| id));
        }
        let is_busy = held.values().any(Held::is_much);
        held.retain(|_, held| held.is_too_much());
        held.values().for_each(|held| victims.extend(held.victims(&self.connections)));
        victims.into_iter().for_each(|id| self.end_one(id));
        (held.into_keys().collect(), is_busy)
    }

    /// Ends connections whose peers have stopped reading, or read the published records too slowly.
    fn end_behind(&mut self) {
        for i in 0..self.sockets.len() {
            let socket = self.sockets[i].clone();
            let Some(unsent) = &socket.unsent else { continue };
            for (id, reason) in victims(unsent, socket.id, &self.connections, Instant::now()) {
                end_because(&mut self.connections, &mut self.unsent_warning, id, |connection| {
                    let (UnsentLimit { bytes, key }, all) = (unsent.limit, unsent.published().all);
                    let what = match reason {
                        Reason::Stopped => "its peer has stopped reading".into(),
                        Reason::TooSlow => {
                            format!("its peer reads too slowly, {} bytes behind", connection.behind.bytes())
                        }
                    };
                    format!("{what}: {} bytes wait to be sent to all peers ({key} = {bytes})", all.len_bytes)
                });
            }
        }
    }

    fn end_one(&mut self, id: Id) {
        end_because(&mut self.connections, &mut self.warning, id, |connection| {
            format!("too much of its data is unprocessed: {} bytes", connection.held_bytes)
        });
    }
}

/// Ends a connection. `why` returns the reason, for the log.
fn end_because(
    connections: &mut HashMap<Id, Connection>,
    warning: &mut Warning,
    id: Id,
    why: impl FnOnce(&Connection) -> String,
) {
    let Some(connection) = connections.get_mut(&id) else { return };
    // If a connection cannot be ended now, the next scan retries.
    connection.is_ended = end_connection(id.0, id.1);
    let is_ended = connection.is_ended;
    if !is_ended && socket_number(id.0) != Some(id.1) {
        // libzmq has closed the connection meanwhile.
        return;
    }
    warning.warn(now_ms(), || {
        let (name, peer) = (&connection.socket.name, &connection.peer);
        let what = if is_ended { "was ended" } else { "cannot be ended" };
        format!("{name}: the connection with {peer} {what}: {}", why(connection))
    });
}
