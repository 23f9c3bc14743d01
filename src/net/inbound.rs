//! Bounds the inbound connections of all sockets that this process listens at.
//!
//! libzmq accepts every connection and keeps it for as long as the peer likes. When no descriptor is left, its I/O thread
//! tries to accept without a pause, and the process can open nothing any more. So one thread per process looks at its
//! sockets, at least once a second. It ends connections
//!
//! - that are idle: nothing useful was received over them for [`IDLE_MS`] (no subscription at a publisher, no beacon at a
//!   tower). Time in which the node does not read does not count;
//! - beyond the limits of their listening socket, per host and in all: first silent ones, then the newest ones of the
//!   host that has most, so that established peers stay;
//! - beyond what leaves a reserve of descriptors: silent ones, and then others while there are more than a fair share. The
//!   application may have used up the descriptors; its peers do not pay for that.
//!
//! The thread looks at descriptors because libzmq's monitors would cost two more sockets per listening socket, and do not
//! report connections that were made before they began.

use super::descriptors::{Descriptors, end_connection, socket_number};
use super::guard::Guard;
use super::{Frame, Peer, Socket, Warning, max_open_files, now_ms};
use crate::czmq::fork::{GENERATIONS, PerProcess};
use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::RawFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

mod limits;

pub use limits::InboundLimits;
use limits::{Connection, IDLE_MS, Reason, beyond_reserve, unwanted};

/// How often the connections are looked at when few come...
const INTERVAL: Duration = Duration::from_secs(1);
/// ... and when many do.
const BUSY_INTERVAL: Duration = Duration::from_millis(50);
/// The longest time between two looks that counts: in a longer one, no thread of this process ran.
const MAX_ELAPSED_MS: u64 = 2_000;
/// The part of the descriptors that stays in reserve, and the fewest that do.
const RESERVE_DIVISOR: usize = 16;
const MIN_RESERVE_COUNT: usize = 16;
/// The part of the descriptors that inbound connections may have although the reserve is used up.
const FAIR_DIVISOR: usize = 4;

/// A connection's descriptor and the number of its socket.
type Id = (RawFd, u64);

/// A socket that this process listens at, while its inbound connections are bounded.
pub struct Inbound(Arc<Listener>);

struct Listener {
    /// For log lines: the node.
    name: String,
    address: Address,
    limits: InboundLimits,
    /// Connections over which something useful was received since the last look.
    active: Mutex<HashSet<Id>>,
    /// How many times the node has begun or ended to wait for messages: odd while it waits.
    waits: AtomicU64,
}

/// The node has read everything and waits for more, as long as this lives.
pub struct Waiting<'a>(&'a AtomicU64);

/// Where a socket listens.
pub(super) enum Address {
    /// An unspecified IP address stands for all.
    Tcp(SocketAddr),
    /// `struct sockaddr_un`, up to the end of the path.
    Unix(Peer),
}

impl Inbound {
    /// Bounds the connections that are made to `socket`, which is bound. `name` is the node's in log lines. `None` for
    /// transports without descriptors, such as inproc, and where there is no /proc.
    pub fn at(name: &str, socket: &Socket, limits: InboundLimits) -> Option<Inbound> {
        let address = Address::parse(&socket.last_endpoint().ok()?)?;
        let listener = Arc::new(Listener::new(name, address, limits));
        let mut state = state();
        if state.guard.is_none() {
            state.guard = Some(spawn()?);
        }
        state.listeners.push(listener.clone());
        if let Some(guard) = &state.guard {
            guard.wake();
        }
        Some(Inbound(listener))
    }

    /// Something useful was received: the connection is not idle.
    pub fn received(&self, frame: &Frame) {
        if let Some(file) = frame.source_file()
            && let Some(number) = socket_number(file)
        {
            self.0.active().insert((file, number));
        }
    }

    /// The node has read what was received, and waits for more until the result is dropped. Connections become idle only
    /// meanwhile: what they have brought to a busy node may be unread.
    pub fn waiting(&self) -> Waiting<'_> {
        self.0.waits.fetch_add(1, Ordering::Release);
        Waiting(&self.0.waits)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::Release);
    }
}

impl Listener {
    fn new(name: &str, address: Address, limits: InboundLimits) -> Listener {
        Listener { name: name.into(), address, limits, active: Mutex::default(), waits: AtomicU64::new(0) }
    }

    fn active(&self) -> MutexGuard<'_, HashSet<Id>> {
        self.active.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Inbound {
    fn drop(&mut self) {
        let mut state = state();
        state.listeners.retain(|listener| !Arc::ptr_eq(listener, &self.0));
        let guard = if state.listeners.is_empty() { state.guard.take() } else { None };
        drop(state);
        if let Some(guard) = guard {
            guard.end();
        }
    }
}

impl Address {
    /// The path of an `ipc://` endpoint need not be text.
    pub(super) fn parse(endpoint: &[u8]) -> Option<Address> {
        if let Some(path) = endpoint.strip_prefix(b"ipc://") {
            return Some(Address::Unix(Peer::unix(path)));
        }
        let address = str::from_utf8(endpoint.strip_prefix(b"tcp://")?).ok()?;
        Some(Address::Tcp(without_zone(address).parse().ok()?))
    }

    /// Whether a connection whose own end is `local` was made to this address.
    pub(super) fn is(&self, local: &Peer) -> bool {
        match self {
            Address::Unix(path) => path == local,
            Address::Tcp(bound) => local.address().is_some_and(|local| {
                let is_any = bound.ip().is_unspecified();
                local.port() == bound.port() && (is_any || local.ip() == bound.ip().to_canonical())
            }),
        }
    }
}

/// `[fe80::1%eth0]:5556` as an address that Rust parses.
pub(super) fn without_zone(address: &str) -> String {
    match (address.split_once('%'), address.split_once(']')) {
        (Some((before, _)), Some((_, after))) => format!("{before}]{after}"),
        _ => address.to_owned(),
    }
}

#[derive(Default)]
struct State {
    listeners: Vec<Arc<Listener>>,
    guard: Option<Guard>,
}

/// A forked child has none of its parent's threads, and listeners of its own.
fn state() -> MutexGuard<'static, State> {
    static STATE: PerProcess<State> =
        PerProcess::new([const { Mutex::new(State { listeners: Vec::new(), guard: None }) }; GENERATIONS]);
    STATE.lock()
}

/// Starts the thread. `None`, and a line in the log, when it cannot be had.
fn spawn() -> Option<Guard> {
    Guard::start("dafka-inbound", "inbound connections are not bounded", BUSY_INTERVAL, |descriptors| {
        let mut watch = Watch::new(descriptors);
        move || {
            let listeners = state().listeners.clone();
            let is_busy = watch.look(&listeners, now_ms());
            if is_busy { BUSY_INTERVAL } else { INTERVAL }
        }
    })
}

/// What the thread knows.
struct Watch {
    descriptors: Descriptors,
    /// Sockets that are connections to none of the listeners.
    others: HashMap<RawFd, u64>,
    listeners: Vec<Watched>,
    looks: u64,
    looked_ms: u64,
    reserve_warning: Warning,
    /// The reserve is used up, and no connection can be blamed for it.
    is_short: bool,
}

/// A listener and its connections.
struct Watched {
    listener: Arc<Listener>,
    connections: HashMap<Id, Connection>,
    /// Active connections that were not found yet: they were accepted during the last look.
    active: HashSet<Id>,
    /// `Listener::waits` at the last look.
    waits: u64,
    warnings: HashMap<Reason, Warning>,
    refused_warning: Warning,
}

impl Watch {
    fn new(descriptors: Descriptors) -> Watch {
        Watch {
            descriptors,
            others: HashMap::new(),
            listeners: Vec::new(),
            looks: 0,
            looked_ms: now_ms(),
            reserve_warning: Warning::default(),
            is_short: false,
        }
    }

    /// Looks at all descriptors, and ends connections. True when many connections come, or few descriptors are left.
    fn look(&mut self, listeners: &[Arc<Listener>], now_ms: u64) -> bool {
        self.follow(listeners);
        // Before the descriptors are listed: else a connection could be active that is not listed.
        let active: Vec<HashSet<Id>> =
            self.listeners.iter().map(|watched| std::mem::take(&mut *watched.listener.active())).collect();
        // After a pause in which no thread ran, connections are no more idle than before.
        let elapsed_ms = now_ms.saturating_sub(self.looked_ms).min(MAX_ELAPSED_MS);
        (self.looked_ms, self.looks) = (now_ms, self.looks + 1);
        let (open_count, found, came_count) = self.list();
        for ((watched, found), active) in self.listeners.iter_mut().zip(found).zip(active) {
            watched.update(&found, active, elapsed_ms);
        }
        for watched in &mut self.listeners {
            watched.end_unwanted(now_ms);
        }
        let reserve_count = (max_open_files() / RESERVE_DIVISOR).max(MIN_RESERVE_COUNT);
        let room_count = max_open_files().saturating_sub(reserve_count);
        self.keep_reserve(open_count.saturating_sub(room_count), reserve_count, now_ms);
        let is_near = |watched: &Watched| watched.connections.len() > watched.limits().per_host() / 2;
        let is_near_limit = open_count > room_count / 2 || self.listeners.iter().any(is_near);
        came_count > room_count / 16 || came_count > 0 && is_near_limit
    }

    /// Takes over which listeners there are now.
    fn follow(&mut self, listeners: &[Arc<Listener>]) {
        let is_known =
            |known: &Watched| listeners.iter().any(|listener| Arc::ptr_eq(listener, &known.listener));
        self.listeners.retain(is_known);
        for listener in listeners {
            if !self.listeners.iter().any(|known| Arc::ptr_eq(listener, &known.listener)) {
                self.listeners.push(Watched::new(listener.clone()));
                // One of them may be a connection to this listener.
                self.others.clear();
            }
        }
    }

    /// Lists how many descriptors are open, the connections of each listener, and how many of these are new.
    fn list(&mut self) -> (usize, Vec<HashSet<Id>>, usize) {
        let (mut open_count, mut came_count) = (0, 0);
        let mut found = vec![HashSet::new(); self.listeners.len()];
        let mut others = HashMap::new();
        let (listeners, looks, known_others) = (&mut self.listeners, self.looks, &self.others);
        let mut places: HashMap<Id, usize> = HashMap::new();
        for (place, watched) in listeners.iter().enumerate() {
            places.extend(watched.connections.keys().map(|&id| (id, place)));
        }
        self.descriptors.each(|file, number| {
            open_count += 1;
            let Some(number) = number else { return };
            if known_others.get(&file) == Some(&number) {
                others.insert(file, number);
                return;
            }
            let place = places.get(&(file, number)).copied().or_else(|| {
                let (local, peer) = (Peer::local(file)?, Peer::of(file)?);
                let place = listeners.iter().position(|known| known.listener.address.is(&local))?;
                came_count += 1;
                listeners[place].connections.insert((file, number), Connection::new(peer, looks));
                Some(place)
            });
            match place {
                Some(place) => drop(found[place].insert((file, number))),
                // A socket that is not connected yet may become anything.
                None if Peer::of(file).is_some() => drop(others.insert(file, number)),
                None => {}
            }
        });
        self.others = others;
        (open_count, found, came_count)
    }

    /// Ends connections, so that descriptors stay in reserve: `missing_count` of them are missing.
    fn keep_reserve(&mut self, missing_count: usize, reserve_count: usize, now_ms: u64) {
        if missing_count == 0 {
            self.is_short = false;
            return;
        }
        let all = || self.listeners.iter().flat_map(|watched| &watched.connections);
        let victims = beyond_reserve(all(), missing_count, max_open_files() / FAIR_DIVISOR);
        let live_count = all().filter(|(_, connection)| !connection.is_ended).count();
        let mut end = |id: &&Id| self.listeners.iter_mut().any(|watched| watched.end(**id));
        let ended_count = victims.iter().filter(&mut end).count();
        let kept_count = live_count - ended_count;
        if ended_count > 0 {
            self.reserve_warning.warn(now_ms, || {
                format!(
                    "{ended_count} inbound connections were ended: this process may have {} files open, and \
                     {reserve_count} of them are kept in reserve",
                    max_open_files()
                )
            });
        }
        if ended_count < missing_count && !std::mem::replace(&mut self.is_short, true) {
            log::warn!(
                "fewer than {reserve_count} more files can be opened: this process may have {} open \
                 (RLIMIT_NOFILE: ulimit -n). Its {kept_count} inbound connections stay",
                max_open_files()
            );
        }
    }
}

impl Watched {
    fn new(listener: Arc<Listener>) -> Watched {
        let (connections, active) = (HashMap::new(), HashSet::new());
        let (warnings, refused_warning) = (HashMap::new(), Warning::default());
        Watched { listener, connections, active, waits: 0, warnings, refused_warning }
    }

    fn limits(&self) -> &InboundLimits {
        &self.listener.limits
    }

    /// Takes over which connections there are, and which are active.
    fn update(&mut self, found: &HashSet<Id>, active: HashSet<Id>, elapsed_ms: u64) {
        self.connections.retain(|id, _| found.contains(id));
        for id in self.active.drain().chain(active.iter().copied()) {
            if let Some(connection) = self.connections.get_mut(&id) {
                connection.is_active = true;
            }
        }
        self.active = active.into_iter().filter(|id| !self.connections.contains_key(id)).collect();
        if self.has_waited() {
            for connection in self.connections.values_mut() {
                connection.age_ms += elapsed_ms;
            }
        }
    }

    /// Whether the node has waited for messages since the last look.
    fn has_waited(&mut self) -> bool {
        let waits = self.listener.waits.load(Ordering::Acquire);
        std::mem::replace(&mut self.waits, waits) != waits || waits % 2 == 1
    }

    /// Ends a connection. False when it is none of this listener's, has ended by itself, or cannot be ended: the next look
    /// tries again.
    fn end(&mut self, id: Id) -> bool {
        let Some(connection) = self.connections.get_mut(&id) else { return false };
        connection.is_ended = end_connection(id.0, id.1);
        if !connection.is_ended && socket_number(id.0) == Some(id.1) {
            let (name, host) = (&self.listener.name, connection.host);
            self.refused_warning
                .warn(now_ms(), || format!("{name}: a connection from {host} cannot be ended"));
        }
        connection.is_ended
    }

    fn end_unwanted(&mut self, now_ms: u64) {
        for (reason, host, ids) in unwanted(&self.connections, self.limits()) {
            let count = ids.iter().filter(|id| self.end(**id)).count();
            if count == 0 {
                continue;
            }
            let Watched { listener, warnings, .. } = self;
            warnings.entry(reason).or_default().warn(now_ms, || {
                let (name, limits) = (&listener.name, &listener.limits);
                let what = match count {
                    1 => format!("a connection from {host} was ended"),
                    count => format!("{count} connections from {host} were ended"),
                };
                match reason {
                    Reason::Idle => {
                        format!("{name}: {what}: nothing was received for {} s", IDLE_MS / 1_000)
                    }
                    Reason::Host => format!("{name}: {what}: it has more than {}", limits.per_host_text()),
                    Reason::All => format!("{name}: {what}: there are more than {}", limits.all_text()),
                }
            });
        }
    }
}

/// The host at the other end of a connection, as far as limits are concerned: all addresses of the loopback are one, and
/// all of an IPv6 network with 64 bits, of which one host may have any.
pub(super) fn host_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        address if address.is_loopback() => IpAddr::from([127, 0, 0, 1]),
        IpAddr::V6(address) if !address.is_unicast_link_local() => {
            IpAddr::from((u128::from(address) >> 64 << 64).to_be_bytes())
        }
        address => address,
    }
}

#[cfg(test)]
mod tests;
