//! The scan of all inbound connections.

use super::limits::{Connection, IDLE_MS, InboundLimits, Reason, beyond_reserve, unwanted};
use super::{Id, Listener};
use crate::net::descriptors::{Descriptors, end_connection, socket_number};
use crate::net::{Peer, Warning, max_open_files, now_ms};
use std::collections::{HashMap, HashSet};
use std::os::fd::RawFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// A pause between two scans makes connections older by at most this time. During a longer pause, the process itself
/// probably did not run.
const MAX_ELAPSED_MS: u64 = 2_000;
/// The reserve is the limit of open descriptors divided by RESERVE_DIVISOR, but at least MIN_RESERVE_COUNT.
const RESERVE_DIVISOR: usize = 16;
const MIN_RESERVE_COUNT: usize = 16;
/// When connections are ended for the reserve, inbound connections that are not silent keep a fair share: the limit of
/// open descriptors divided by FAIR_DIVISOR.
const FAIR_DIVISOR: usize = 4;

/// The state of the thread.
pub(super) struct Scanner {
    descriptors: Descriptors,
    /// Descriptors of the process whose kernel sockets are not connections of a listener, with the numbers of the
    /// kernel sockets.
    others: HashMap<RawFd, u64>,
    pub(super) listeners: Vec<ListenerConnections>,
    scans: u64,
    pub(super) scanned_ms: u64,
    reserve_warning: Warning,
    /// The reserve is used up, although all connections that may be ended for it have been ended.
    is_short: bool,
}

/// A listener and its connections.
pub(super) struct ListenerConnections {
    listener: Arc<Listener>,
    pub(super) connections: HashMap<Id, Connection>,
    /// Active connections that the latest scan did not find. The next scan looks for them again.
    active: HashSet<Id>,
    /// `Listener::waits` at the latest scan.
    waits: u64,
    warnings: HashMap<Reason, Warning>,
    refused_warning: Warning,
}

impl Scanner {
    pub(super) fn new(descriptors: Descriptors) -> Scanner {
        Scanner {
            descriptors,
            others: HashMap::new(),
            listeners: Vec::new(),
            scans: 0,
            scanned_ms: now_ms(),
            reserve_warning: Warning::default(),
            is_short: false,
        }
    }

    /// Scans all descriptors, and ends connections. True when peers make many connections, or when they make any while
    /// a limit is near.
    pub(super) fn scan(&mut self, listeners: &[Arc<Listener>], now_ms: u64) -> bool {
        self.update_listeners(listeners);
        // A pause in which no thread ran does not make connections idle.
        let elapsed_ms = now_ms.saturating_sub(self.scanned_ms).min(MAX_ELAPSED_MS);
        (self.scanned_ms, self.scans) = (now_ms, self.scans + 1);
        let (open_count, found, new_count) = self.list();
        for (own, found) in self.listeners.iter_mut().zip(found) {
            own.update(&found, elapsed_ms);
        }
        for own in &mut self.listeners {
            own.end_unwanted(now_ms);
        }
        let reserve_count = (max_open_files() / RESERVE_DIVISOR).max(MIN_RESERVE_COUNT);
        let room_count = max_open_files().saturating_sub(reserve_count);
        self.keep_reserve(open_count.saturating_sub(room_count), reserve_count, now_ms);
        let is_near = |own: &ListenerConnections| own.connections.len() > own.limits().per_host() / 2;
        let is_near_limit = open_count > room_count / 2 || self.listeners.iter().any(is_near);
        new_count > room_count / 16 || new_count > 0 && is_near_limit
    }

    /// Adds new listeners and removes those that are gone.
    fn update_listeners(&mut self, listeners: &[Arc<Listener>]) {
        let is_live =
            |own: &ListenerConnections| listeners.iter().any(|listener| Arc::ptr_eq(listener, &own.listener));
        self.listeners.retain(is_live);
        for listener in listeners {
            if !self.listeners.iter().any(|own| Arc::ptr_eq(listener, &own.listener)) {
                self.listeners.push(ListenerConnections::new(listener.clone()));
                // Some sockets in `others` may be connections to the new listener.
                self.others.clear();
            }
        }
    }

    /// Returns how many descriptors are open, the connections of each listener, and how many of these are new.
    fn list(&mut self) -> (usize, Vec<HashSet<Id>>, usize) {
        let (mut open_count, mut new_count) = (0, 0);
        let mut found = vec![HashSet::new(); self.listeners.len()];
        let mut others = HashMap::new();
        let (listeners, scans, known_others) = (&mut self.listeners, self.scans, &self.others);
        let mut indexes: HashMap<Id, usize> = HashMap::new();
        for (index, own) in listeners.iter().enumerate() {
            indexes.extend(own.connections.keys().map(|&id| (id, index)));
        }
        self.descriptors.each(|file, number| {
            open_count += 1;
            let Some(number) = number else { return };
            if known_others.get(&file) == Some(&number) {
                others.insert(file, number);
                return;
            }
            let index = indexes.get(&(file, number)).copied().or_else(|| {
                let (local, peer) = (Peer::local(file)?, Peer::of(file)?);
                let index = listeners.iter().position(|own| own.listener.address.matches(&local))?;
                new_count += 1;
                listeners[index].connections.insert((file, number), Connection::new(peer, scans));
                Some(index)
            });
            match index {
                Some(index) => drop(found[index].insert((file, number))),
                None if Peer::of(file).is_some() => drop(others.insert(file, number)),
                // A socket that is not connected yet may still become a connection to a listener, so it is not added to
                // `others`.
                None => {}
            }
        });
        self.others = others;
        (open_count, found, new_count)
    }

    /// Ends connections, so that the reserve has `missing_count` more descriptors.
    fn keep_reserve(&mut self, missing_count: usize, reserve_count: usize, now_ms: u64) {
        if missing_count == 0 {
            self.is_short = false;
            return;
        }
        let all = || self.listeners.iter().flat_map(|own| &own.connections);
        let victims = beyond_reserve(all(), missing_count, max_open_files() / FAIR_DIVISOR);
        let live_count = all().filter(|(_, connection)| !connection.is_ended).count();
        let mut end = |id: &&Id| self.listeners.iter_mut().any(|own| own.end(**id));
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

impl ListenerConnections {
    fn new(listener: Arc<Listener>) -> ListenerConnections {
        let (connections, active) = (HashMap::new(), HashSet::new());
        let (warnings, refused_warning) = (HashMap::new(), Warning::default());
        ListenerConnections { listener, connections, active, waits: 0, warnings, refused_warning }
    }

    fn limits(&self) -> &InboundLimits {
        &self.listener.limits
    }

    /// Removes the connections that were not found, and marks those that are active.
    fn update(&mut self, found: &HashSet<Id>, elapsed_ms: u64) {
        self.connections.retain(|id, _| found.contains(id));
        // Take the active connections only after the descriptors were listed. Otherwise a listed connection could have
        // become active in between, and could still be ended as a silent one.
        let active = std::mem::take(&mut *self.listener.active());
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

    /// Whether the node has waited for messages since the latest scan.
    fn has_waited(&mut self) -> bool {
        let waits = self.listener.waits.load(Ordering::Acquire);
        std::mem::replace(&mut self.waits, waits) != waits || waits % 2 == 1
    }

    /// Ends a connection. False when it does not belong to this listener, has already ended, or cannot be ended. If it
    /// cannot be ended, the next scan retries.
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
            let ListenerConnections { listener, warnings, .. } = self;
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
                    Reason::Host => {
                        format!("{name}: {what}: the host has more than {}", limits.per_host_text())
                    }
                    Reason::All => format!("{name}: {what}: there are more than {}", limits.all_text()),
                }
            });
        }
    }
}
