//! Discovery: handles beacons, and returns which endpoints to connect to.
//!
//! Any node can send a beacon in any name. So few peers may be pending, which means that they have not answered at their
//! endpoint yet: a new one evicts the oldest. The peers of one host are limited, too. When the table is full, a newcomer
//! evicts the newest peer of the host that has most peers, if its own host has fewer: established peers stay.
//!
//! A name of 32 hexadecimal digits is a node's address. It belongs to one peer, at whichever host towers see that peer:
//! the node has the same name and port there, and counts once. Other names may be shared or empty: such a peer is
//! identified by its endpoint.

use super::notice::Notice;
use crate::rate_limit::RateLimit;
use crate::wire;
use std::collections::{BTreeSet, HashMap, VecDeque};

/// A change of the endpoints of all peers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A peer is announced at an endpoint where there was none: connect to it.
    Connect(String),
    /// A new peer, or one that was silent, is announced at an endpoint that has peers already: a connection that waits
    /// should be retried now.
    Announced {
        /// The peers' endpoint.
        endpoint: String,
        /// Its host, as far as limits are concerned.
        host: String,
    },
    /// The endpoint has no peer any more: disconnect from it.
    Disconnect(String),
}

/// Peers known at a time; beacons of further ones are ignored.
pub const MAX_PEERS: usize = 10_000;
/// How long a pending peer stays at least: time enough to answer, unless it is far away.
const PENDING_STAY_MS: u64 = 500;
/// Names that may announce the same endpoint: a node that was restarted may get its old port, under a new name.
const MAX_NAMES: usize = 8;
/// Beacons that answer new peers: how many at once, and how long it takes until there may be one more.
const ANSWER_COUNT: u64 = 16;
const ANSWER_MS: u64 = 20;

/// The peers of one node.
pub struct Discovery {
    /// `None` until this node announces itself.
    own_address: Option<Box<[u8]>>,
    /// The port that this node announces, if that is known.
    own_port: Option<Box<str>>,
    /// Peers that this node never connects to: the other half of its own store.
    ignored: Vec<Box<[u8]>>,
    interval_ms: u64,
    timeout_ms: u64,
    peers: HashMap<Key, Peer>,
    endpoints: HashMap<String, Endpoint>,
    /// Endpoints where nobody has answered yet, or does any more, and since when.
    pending: BTreeSet<(u64, String)>,
    beacon_due_ms: u64,
    /// Beacons that were sent.
    sent: RateLimit,
    expiry_due_ms: u64,
    is_tower_lost: bool,
    /// This node announces itself.
    is_announced: bool,
    /// When a tower was heard last. It says to each node what that node told it: a tower that is there is never silent
    /// for long, while this node announces itself.
    tower_heard_ms: u64,
    max_peers: usize,
    max_peers_per_host: usize,
    max_pending: usize,
    /// The host of an endpoint, as far as limits are concerned.
    host_of: fn(&str) -> String,
    /// The peers of each host, the newest one last: which beacon was its first one, and which peer it is.
    hosts: HashMap<String, Numbered>,
    /// Hosts by how many peers they have.
    by_count: BTreeSet<(usize, String)>,
    /// Peers that were added so far.
    added: u64,
    notice: Option<Notice>,
    /// Peers that were added, with their endpoints, or forgotten; `None` while nobody wants to know.
    renamed: Option<VecDeque<Renamed>>,
}

/// A peer's name, its endpoint, and whether it is known there.
type Renamed = (Box<[u8]>, String, bool);

/// A peer: its name, and what tells it from others that share the name.
type Key = (Box<[u8]>, Box<str>);

fn key(name: &[u8], endpoint: &str) -> Key {
    let place = match name {
        [] => endpoint,
        // Two nodes with one address are a mistake: to read both would mix their records.
        address if is_address(address) => "",
        _ => port(endpoint),
    };
    (name.into(), place.into())
}

/// True for a node's address, which belongs to one node: a UUID of 32 hexadecimal digits.
fn is_address(name: &[u8]) -> bool {
    name.len() == 32 && name.iter().all(u8::is_ascii_hexdigit)
}

/// True when an endpoint names its host, and has not the host's address.
fn has_host_name(endpoint: &str) -> bool {
    let Some(wire::Endpoint { host, .. }) = wire::Endpoint::parse(endpoint) else { return false };
    let is_ipv4 = host.bytes().all(|octet| octet.is_ascii_digit() || octet == b'.');
    !is_ipv4 && !host.starts_with('[')
}

/// The port of an endpoint.
fn port(endpoint: &str) -> &str {
    endpoint.rsplit_once(':').map_or(endpoint, |(_, port)| port)
}

#[derive(Default)]
struct Endpoint {
    /// Who announces it.
    names: Vec<Box<[u8]>>,
    /// It stands in `Discovery::pending` since then.
    pending_ms: Option<u64>,
}

struct Peer {
    endpoint: String,
    /// When a tower last announced it, at whatever address.
    heard_ms: u64,
    /// When a tower last announced it at this address.
    confirmed_ms: u64,
    /// Its place in `Discovery::hosts`.
    number: u64,
}

/// Peers in the order in which they were added.
type Numbered = BTreeSet<(u64, Key)>;

/// The host of an endpoint: what stands before its port.
fn before_port(endpoint: &str) -> String {
    endpoint.rsplit_once(':').map_or(endpoint, |(host, _)| host).to_owned()
}

impl Discovery {
    /// No peers yet; the first beacon is due at once.
    pub fn new(
        own_address: &[u8],
        ignored: &[&[u8]],
        interval_ms: u64,
        timeout_ms: u64,
        now_ms: u64,
    ) -> Self {
        Discovery {
            own_address: Some(own_address.into()),
            own_port: None,
            ignored: ignored.iter().map(|&address| address.into()).collect(),
            interval_ms,
            timeout_ms,
            peers: HashMap::new(),
            endpoints: HashMap::new(),
            pending: BTreeSet::new(),
            beacon_due_ms: now_ms,
            sent: RateLimit::default(),
            expiry_due_ms: now_ms + timeout_ms,
            is_tower_lost: false,
            is_announced: true,
            tower_heard_ms: now_ms,
            max_peers: MAX_PEERS,
            max_peers_per_host: MAX_PEERS,
            max_pending: MAX_PEERS,
            host_of: before_port,
            hosts: HashMap::new(),
            by_count: BTreeSet::new(),
            added: 0,
            notice: None,
            renamed: None,
        }
    }

    /// The peers of a node that does not announce itself: all nodes are its peers.
    pub fn listening(interval_ms: u64, timeout_ms: u64, now_ms: u64) -> Self {
        let discovery = Discovery::new(b"", &[], interval_ms, timeout_ms, now_ms);
        Discovery { own_address: None, is_announced: false, ..discovery }
    }

    /// This node announces itself from now on, under another address than before. It keeps its peers; the first beacon is
    /// due at once.
    pub fn announce(&mut self, own_address: &[u8], own_port: u16, ignored: &[&[u8]], now_ms: u64) {
        self.own_address = Some(own_address.into());
        self.own_port = Some(own_port.to_string().into());
        self.ignored = ignored.iter().map(|&address| address.into()).collect();
        self.is_announced = true;
        self.tower_heard_ms = now_ms;
        self.beacon_due_ms = now_ms;
    }

    /// This node announces itself no more. It keeps its peers.
    pub fn conceal(&mut self) {
        self.is_announced = false;
    }

    /// Has at most about `max_pending` endpoints where nobody has answered yet: then [`Discovery::handle_answer`] and
    /// [`Discovery::handle_lost`] must be called.
    pub fn with_max_pending(self, max_pending: usize) -> Self {
        Discovery { max_pending, ..self }
    }

    /// Knows at most `max_peers` peers at a time; beacons of further ones are ignored.
    pub fn with_max_peers(self, max_peers: usize) -> Self {
        Discovery { max_peers, ..self }
    }

    /// Knows at most `max_peers_per_host` peers of one host at a time. `host_of` names the host of an endpoint.
    pub fn with_max_peers_per_host(self, max_peers_per_host: usize, host_of: fn(&str) -> String) -> Self {
        Discovery { max_peers_per_host, host_of, ..self }
    }

    /// Announces this port: another node that has no name either is told apart by it.
    pub fn with_port(self, port: u16) -> Self {
        Discovery { own_port: Some(port.to_string().into()), ..self }
    }

    /// Tells which peers are known: then [`Discovery::poll_renamed`] must be asked.
    pub fn telling_names(self) -> Self {
        Discovery { renamed: Some(VecDeque::new()), ..self }
    }

    /// A peer that is known at an endpoint now, or is known no more.
    pub fn poll_renamed(&mut self) -> Option<Renamed> {
        self.renamed.as_mut()?.pop_front()
    }

    /// The next notice: why the last beacon found no room, or who gave way to it.
    pub fn poll_notice(&mut self) -> Option<Notice> {
        self.notice.take()
    }

    /// Whether a beacon is of another node.
    pub fn is_peer(&self, sender: &[u8], endpoint: &str) -> bool {
        let is_other =
            || sender.is_empty() && self.own_port.as_deref().is_some_and(|own| own != port(endpoint));
        (self.own_address.as_deref() != Some(sender) || is_other())
            && self.ignored.iter().all(|ignored| **ignored != *sender)
    }

    /// Takes a tower's beacon.
    pub fn handle_beacon(&mut self, sender: &[u8], endpoint: &str, now_ms: u64, events: &mut Vec<Event>) {
        self.handle_tower_heard(now_ms);
        if !self.is_peer(sender, endpoint) {
            return;
        }
        let silence_ms = self.silence_ms();
        match self.peers.get_mut(&key(sender, endpoint)) {
            Some(peer) if peer.endpoint == endpoint => {
                let was_silent = now_ms >= peer.confirmed_ms + silence_ms;
                (peer.heard_ms, peer.confirmed_ms) = (now_ms, now_ms);
                if was_silent {
                    self.announce_known(endpoint, events);
                }
            }
            // Another tower sees the node at another address: the one that we use is as good while it is confirmed. But the
            // name of a host that was not found is none.
            Some(peer)
                if now_ms < peer.confirmed_ms + self.timeout_ms
                    && (!has_host_name(&peer.endpoint) || has_host_name(endpoint)) =>
            {
                peer.heard_ms = now_ms;
            }
            Some(_) => {
                let Some(old) = self.forget(&key(sender, endpoint)) else { return };
                self.add(sender, endpoint, now_ms, events);
                self.remove_endpoint(sender, &old.endpoint, events);
            }
            None => {
                if self.add(sender, endpoint, now_ms, events) {
                    // The new peer hears of us at once.
                    self.beacon_soon(now_ms);
                }
            }
        }
    }

    /// A node that was not there is announced at an endpoint that is known.
    fn announce_known(&mut self, endpoint: &str, events: &mut Vec<Event>) {
        events.push(Event::Announced { endpoint: endpoint.to_owned(), host: (self.host_of)(endpoint) });
    }

    /// Adds a peer, if there is room or another one gives way.
    fn add(&mut self, sender: &[u8], endpoint: &str, now_ms: u64, events: &mut Vec<Event>) -> bool {
        let is_new = !self.endpoints.contains_key(endpoint);
        if !is_new {
            self.announce_known(endpoint, events);
        }
        if !is_new && !self.has_room_for_a_name(endpoint, now_ms) {
            return false;
        }
        let host = (self.host_of)(endpoint);
        if self.count_of(&host) >= self.max_peers_per_host && !self.give_way(Some(&host), now_ms, events) {
            self.notice = Some(Notice::TooManyPeersOfHost { host, limit: self.max_peers_per_host });
            return false;
        }
        let is_full = self.peers.len() >= self.max_peers || is_new && self.pending.len() >= self.max_pending;
        if is_full && !self.give_way(None, now_ms, events) && !self.greediest_gives_way(&host, events) {
            self.notice = Some(Notice::TooManyPeers { host, limit: self.max_peers });
            return false;
        }
        self.added += 1;
        let (number, key) = (self.added, key(sender, endpoint));
        let peer = Peer { endpoint: endpoint.to_owned(), heard_ms: now_ms, confirmed_ms: now_ms, number };
        self.peers.insert(key.clone(), peer);
        if let Some(renamed) = &mut self.renamed {
            renamed.push_back((sender.into(), endpoint.to_owned(), true));
        }
        self.count(&host, |peers| peers.insert((number, key)));
        let known = self.endpoints.entry(endpoint.to_owned()).or_default();
        known.names.push(sender.into());
        if known.names.len() == 1 {
            known.pending_ms = Some(now_ms);
            self.pending.insert((now_ms, endpoint.to_owned()));
            events.push(Event::Connect(endpoint.to_owned()));
        }
        true
    }

    /// Whether one more name may announce a known endpoint; one that is silent gives way.
    fn has_room_for_a_name(&mut self, endpoint: &str, now_ms: u64) -> bool {
        let silent_ms = 2 * self.interval_ms;
        let Some(known) = self.endpoints.get(endpoint).filter(|known| known.names.len() >= MAX_NAMES) else {
            return true;
        };
        let is_silent = |name: &[u8]| {
            let peer = self.peers.get(&key(name, endpoint));
            peer.is_none_or(|peer| now_ms >= peer.heard_ms + silent_ms)
        };
        let Some(name) = known.names.iter().find(|name| is_silent(name)).cloned() else { return false };
        self.forget(&key(&name, endpoint));
        self.endpoints.get_mut(endpoint).into_iter().for_each(|known| known.names.retain(|of| *of != name));
        true
    }

    /// Drops the endpoint that has been pending for longest: of all, or of one host. False when none has been for long
    /// enough.
    fn give_way(&mut self, host: Option<&str>, now_ms: u64, events: &mut Vec<Event>) -> bool {
        let is_of = |endpoint: &str| host.is_none_or(|host| (self.host_of)(endpoint) == host);
        let is_old = |(since_ms, _): &&(u64, String)| now_ms >= since_ms + PENDING_STAY_MS;
        let oldest = self.pending.iter().take_while(is_old).find(|(_, endpoint)| is_of(endpoint));
        let Some(endpoint) = oldest.map(|(_, endpoint)| endpoint.clone()) else { return false };
        let names = self.endpoints.get(&endpoint).map(|known| known.names.clone()).unwrap_or_default();
        for name in names {
            self.forget(&key(&name, &endpoint));
            self.remove_endpoint(&name, &endpoint, events);
        }
        true
    }

    /// Drops the newest peer of the host that has most, unless `host` would have as many then.
    fn greediest_gives_way(&mut self, host: &str, events: &mut Vec<Event>) -> bool {
        let Some((most, greediest)) = self.by_count.last().cloned() else { return false };
        if self.peers.len() < self.max_peers || most <= self.count_of(host) + 1 {
            return false;
        }
        let newest = self.hosts.get(&greediest).and_then(BTreeSet::last).map(|(_, key)| key.clone());
        let Some(key) = newest else { return false };
        let Some(peer) = self.forget(&key) else { return false };
        self.remove_endpoint(&key.0, &peer.endpoint, events);
        self.notice = Some(Notice::PeerEvicted { host: greediest, limit: self.max_peers });
        true
    }

    /// How many peers a host has.
    fn count_of(&self, host: &str) -> usize {
        self.hosts.get(host).map_or(0, BTreeSet::len)
    }

    /// Changes which peers a host has.
    fn count(&mut self, host: &str, change: impl FnOnce(&mut Numbered) -> bool) {
        let peers = self.hosts.entry(host.to_owned()).or_default();
        self.by_count.remove(&(peers.len(), host.to_owned()));
        change(peers);
        match peers.len() {
            0 => drop(self.hosts.remove(host)),
            count => drop(self.by_count.insert((count, host.to_owned()))),
        }
    }

    /// Removes a peer; its endpoint stays.
    fn forget(&mut self, key: &Key) -> Option<Peer> {
        let peer = self.peers.remove(key)?;
        if let Some(renamed) = &mut self.renamed {
            renamed.push_back((key.0.clone(), peer.endpoint.clone(), false));
        }
        let host = (self.host_of)(&peer.endpoint);
        self.count(&host, |peers| peers.remove(&(peer.number, key.clone())));
        Some(peer)
    }

    /// A peer has answered at its endpoint.
    pub fn handle_answer(&mut self, endpoint: &str) {
        let Some(known) = self.endpoints.get_mut(endpoint) else { return };
        if let Some(since_ms) = known.pending_ms.take() {
            self.pending.remove(&(since_ms, endpoint.to_owned()));
        }
    }

    /// The connection to an endpoint has ended: its peer is pending until it answers again.
    pub fn handle_lost(&mut self, endpoint: &str, now_ms: u64) {
        let Some(known) = self.endpoints.get_mut(endpoint) else { return };
        if known.pending_ms.is_none() {
            known.pending_ms = Some(now_ms);
            self.pending.insert((now_ms, endpoint.to_owned()));
        }
    }

    /// A tower welcomes us: it, and who is with it, hear of us at once.
    pub fn handle_welcome(&mut self, now_ms: u64) {
        self.beacon_soon(now_ms);
    }

    /// The connection to every tower is gone, or one is back. While there is none, silence says nothing about
    /// the peers: they stay, and are given a full timeout once a tower is back.
    pub fn handle_tower_lost(&mut self, is_lost: bool, now_ms: u64) {
        if self.is_tower_lost && !is_lost {
            self.forgive(now_ms);
        }
        self.is_tower_lost = is_lost;
    }

    /// A tower that is connected but silent is as good as lost: the way to it may be cut, which takes the connection
    /// longer to notice than the peers' timeout is.
    pub fn handle_tower_heard(&mut self, now_ms: u64) {
        if self.is_tower_silent(now_ms) {
            self.forgive(now_ms);
        }
        self.tower_heard_ms = now_ms;
    }

    fn is_tower_silent(&self, now_ms: u64) -> bool {
        self.is_announced && now_ms >= self.tower_heard_ms + self.silence_ms()
    }

    /// How long a node or tower that is there is silent at the most.
    fn silence_ms(&self) -> u64 {
        (self.timeout_ms / 2).max(self.interval_ms * 2)
    }

    fn forgive(&mut self, now_ms: u64) {
        for peer in self.peers.values_mut() {
            peer.heard_ms = now_ms;
        }
    }

    /// When [`Discovery::handle_timeout`] has something to do next.
    pub fn due_ms(&self) -> u64 {
        self.beacon_due_ms.min(self.expiry_due_ms)
    }

    /// Drops peers that have been silent too long. True when a beacon is to be sent now.
    pub fn handle_timeout(&mut self, now_ms: u64, events: &mut Vec<Event>) -> bool {
        if now_ms >= self.expiry_due_ms {
            self.expire(now_ms, events);
        }
        let is_due = now_ms >= self.beacon_due_ms;
        if is_due {
            self.beacon_due_ms = now_ms + self.interval_ms;
            self.sent.take(ANSWER_MS, now_ms);
        }
        is_due
    }

    fn expire(&mut self, now_ms: u64, events: &mut Vec<Event>) {
        // A quarter of the timeout is how late a peer may be dropped.
        self.expiry_due_ms = now_ms + (self.timeout_ms / 4).max(1);
        if self.is_tower_lost || self.is_tower_silent(now_ms) {
            return;
        }
        let is_expired = |(_, peer): &(&Key, &Peer)| now_ms >= peer.heard_ms + self.timeout_ms;
        let expired: Vec<_> = self.peers.iter().filter(is_expired).map(|(key, _)| key.clone()).collect();
        for key in expired {
            let Some(peer) = self.forget(&key) else { continue };
            self.remove_endpoint(&key.0, &peer.endpoint, events);
        }
    }

    fn beacon_soon(&mut self, now_ms: u64) {
        let soonest_ms = now_ms.max(self.sent.due_ms(ANSWER_COUNT, ANSWER_MS));
        self.beacon_due_ms = self.beacon_due_ms.min(soonest_ms);
    }

    /// `name` announces an endpoint no more.
    fn remove_endpoint(&mut self, name: &[u8], endpoint: &str, events: &mut Vec<Event>) {
        let Some(known) = self.endpoints.get_mut(endpoint) else { return };
        known.names.retain(|known| **known != *name);
        if known.names.is_empty() {
            if let Some(since_ms) = known.pending_ms {
                self.pending.remove(&(since_ms, endpoint.to_owned()));
            }
            self.endpoints.remove(endpoint);
            events.push(Event::Disconnect(endpoint.to_owned()));
        }
    }
}

#[cfg(test)]
mod tests;
