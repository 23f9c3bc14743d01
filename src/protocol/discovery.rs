//! Discovery: handles beacons, and returns which endpoints to connect to.
//!
//! Any node can send beacons under any name, so the table of peers is limited in three ways:
//!
//! - The number of pending endpoints is limited. An endpoint is pending while its peer has not responded. At the limit,
//!   a new endpoint evicts the endpoint that has been pending longest.
//! - The number of peers of one host is limited.
//! - The number of all peers is limited. At the limit, a new peer evicts the newest peer of the host that has the most
//!   peers, unless an endpoint that has been pending for long enough can be evicted. If the host of the new peer would
//!   then have more peers than the other host, the new peer is refused instead. So the oldest peers of each host stay.
//!
//! A name of 32 hexadecimal digits is a node's address. It identifies one peer, whatever its endpoint is. Several nodes
//! may share a name of another form. So a name of another form identifies a peer only together with the port of the
//! endpoint. The host of the endpoint does not count, because two towers may announce one peer at different hosts. A
//! peer with an empty name is identified by its endpoint.

use super::notice::Notice;
use crate::rate_limit::RateLimit;
use crate::wire::{self, Traffic};
use std::collections::{BTreeSet, HashMap, VecDeque};

/// A change of the endpoints to which the node is connected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A peer is announced at a new endpoint. The node must connect to it.
    Connect(String),
    /// A new peer, or a peer that was silent, is announced at an endpoint that is already known. If the connection to
    /// this endpoint is broken, the node must try to connect again now.
    Announced {
        /// The endpoint.
        endpoint: String,
        /// The host that the endpoint is charged to.
        host: String,
    },
    /// The endpoint has no peer any more. The node must disconnect from it.
    Disconnect(String),
}

/// The default limit of known peers.
pub const MAX_PEERS: usize = 10_000;
/// A pending endpoint cannot be evicted before it has been pending for this time, so that its peer has time to respond.
/// So with the default limit of 1,000 pending endpoints, a node connects to at most 2,000 new endpoints per second
/// whose peers do not respond.
const PENDING_STAY_MS: u64 = 500;
/// How many names may announce the same endpoint. A node that restarts may get a new name and its old port.
const MAX_NAMES: usize = 8;
/// The node answers each new peer with a beacon at once. It sends up to `ANSWER_COUNT` such beacons in a burst, and
/// then one per `ANSWER_MS`.
const ANSWER_COUNT: u64 = 16;
const ANSWER_MS: u64 = 20;

/// The peers of one node.
pub struct Discovery {
    /// `None` if this node has never announced itself.
    own_address: Option<Box<[u8]>>,
    /// The port that this node announces, if it is known.
    own_port: Option<Box<str>>,
    /// The names of peers that this node never connects to. For a node of a store, that is the store's other node
    /// (reader or writer).
    ignored: Vec<Box<[u8]>>,
    /// The messages that this node exchanges; `None` if it connects to all nodes.
    traffic: Option<Traffic>,
    interval_ms: u64,
    timeout_ms: u64,
    peers: HashMap<Key, Peer>,
    endpoints: HashMap<String, Endpoint>,
    /// Endpoints that do not respond, ordered by the time when they became pending.
    pending: BTreeSet<(u64, String)>,
    beacon_due_ms: u64,
    /// Limits the beacons that answer new peers.
    sent: RateLimit,
    expiry_due_ms: u64,
    is_tower_lost: bool,
    /// Whether this node announces itself.
    is_announced: bool,
    /// When a tower last sent something. A tower forwards each beacon also to the node that sent it. So while this node
    /// announces itself, a live tower is never silent for long.
    tower_heard_ms: u64,
    max_peers: usize,
    max_peers_per_host: usize,
    max_pending: usize,
    /// Returns the host that an endpoint is charged to.
    host_of: fn(&str) -> String,
    /// The peers of each host, in the order in which they were added.
    hosts: HashMap<String, Numbered>,
    /// Hosts, ordered by their number of peers.
    by_count: BTreeSet<(usize, String)>,
    /// How many peers were ever added. The count numbers each new peer.
    added: u64,
    notice: Option<Notice>,
    /// Peers that were added or removed. `None` unless [`Discovery::reporting_names`] was called.
    renamed: Option<VecDeque<Renamed>>,
}

/// A peer's name, its endpoint, and whether it was added (or removed).
type Renamed = (Box<[u8]>, String, bool);

/// Identifies a peer: its name, and what distinguishes it from others with the same name.
type Key = (Box<[u8]>, Box<str>);

fn key(name: &[u8], endpoint: &str) -> Key {
    let place = match name {
        [] => endpoint,
        // Nodes with the same address count as one peer: connections to both would mix their records.
        address if is_address(address) => "",
        _ => port(endpoint),
    };
    (name.into(), place.into())
}

/// True for a node's address: a UUID of 32 hexadecimal digits.
fn is_address(name: &[u8]) -> bool {
    name.len() == 32 && name.iter().all(u8::is_ascii_hexdigit)
}

/// Whether the peer `sender`, known at the endpoint `known`, has probably restarted: a tower announces it at another port,
/// and the connection to the known endpoint has ended. A named producer keeps its address when it restarts. (A peer that
/// has several hosts has the same port at each of them.)
fn has_restarted(endpoints: &HashMap<String, Endpoint>, sender: &[u8], known: &str, announced: &str) -> bool {
    let has_ended =
        || endpoints.get(known).is_some_and(|known| known.has_answered && known.pending_ms.is_some());
    is_address(sender) && port(known) != port(announced) && has_ended()
}

/// True when an endpoint contains a host name instead of a numeric address.
fn has_host_name(endpoint: &str) -> bool {
    let Some(wire::Endpoint { host, .. }) = wire::Endpoint::parse(endpoint) else { return false };
    let is_ipv4 = host.bytes().all(|octet| octet.is_ascii_digit() || octet == b'.');
    !is_ipv4 && !host.starts_with('[')
}

fn port(endpoint: &str) -> &str {
    wire::Endpoint::parse(endpoint).map_or(endpoint, |parts| parts.port)
}

#[derive(Default)]
struct Endpoint {
    /// The names of the endpoint's peers.
    names: Vec<Box<[u8]>>,
    /// Since when the endpoint is in `Discovery::pending`; `None` if it is not.
    pending_ms: Option<u64>,
    /// Whether a peer has ever responded there.
    has_answered: bool,
}

struct Peer {
    endpoint: String,
    /// When a tower last announced the peer, at any endpoint.
    heard_ms: u64,
    /// When a tower last announced the peer at `endpoint`.
    confirmed_ms: u64,
    /// The peer's number in `Discovery::hosts`.
    number: u64,
}

/// Peers in the order in which they were added.
type Numbered = BTreeSet<(u64, Key)>;

/// Whether two nodes may exchange messages. See [`Discovery::may_exchange_with`].
pub fn may_exchange(own: Option<Traffic>, other: Option<Traffic>) -> bool {
    match (own, other) {
        (Some(own), Some(other)) => own.is_exchanged_with(other),
        _ => true,
    }
}

fn host_of_endpoint(endpoint: &str) -> String {
    wire::Endpoint::parse(endpoint).map_or(endpoint, |parts| parts.host).to_owned()
}

impl Discovery {
    /// Returns a `Discovery` without peers. The first beacon is due at once.
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
            traffic: None,
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
            host_of: host_of_endpoint,
            hosts: HashMap::new(),
            by_count: BTreeSet::new(),
            added: 0,
            notice: None,
            renamed: None,
        }
    }

    /// Returns the `Discovery` of a node that does not announce itself. All other nodes are its peers.
    pub fn listening(interval_ms: u64, timeout_ms: u64, now_ms: u64) -> Self {
        let discovery = Discovery::new(b"", &[], interval_ms, timeout_ms, now_ms);
        Discovery { own_address: None, is_announced: false, ..discovery }
    }

    /// Starts to announce this node, under this address and port. The known peers stay. The first beacon is due at
    /// once.
    pub fn announce(&mut self, own_address: &[u8], own_port: u16, ignored: &[&[u8]], now_ms: u64) {
        self.own_address = Some(own_address.into());
        self.own_port = Some(own_port.to_string().into());
        self.ignored = ignored.iter().map(|&address| address.into()).collect();
        self.is_announced = true;
        self.tower_heard_ms = now_ms;
        self.beacon_due_ms = now_ms;
    }

    /// Stops announcing this node. The known peers stay.
    pub fn conceal(&mut self) {
        self.is_announced = false;
    }

    /// Limits the pending endpoints. The caller must then call [`Discovery::handle_answer`] and
    /// [`Discovery::handle_connection_ended`]. When the connection to an endpoint ends, the endpoint becomes pending
    /// even at the limit. So there may be more than `max_pending`.
    pub fn with_max_pending(self, max_pending: usize) -> Self {
        Discovery { max_pending, ..self }
    }

    /// Sets the messages that this node exchanges. The caller must then call [`Discovery::may_exchange_with`] for each
    /// beacon.
    pub fn with_traffic(self, traffic: Option<Traffic>) -> Self {
        Discovery { traffic, ..self }
    }

    /// Limits the known peers.
    pub fn with_max_peers(self, max_peers: usize) -> Self {
        Discovery { max_peers, ..self }
    }

    /// Limits the known peers of one host. `host_of` returns the host of an endpoint.
    pub fn with_max_peers_per_host(self, max_peers_per_host: usize, host_of: fn(&str) -> String) -> Self {
        Discovery { max_peers_per_host, host_of, ..self }
    }

    /// Sets the port that this node announces. If this node has no name, the port distinguishes its own beacons from
    /// those of other nodes without a name.
    pub fn with_port(self, port: u16) -> Self {
        Discovery { own_port: Some(port.to_string().into()), ..self }
    }

    /// Records which peers are added and removed. The caller must then call [`Discovery::poll_renamed`].
    pub fn reporting_names(self) -> Self {
        Discovery { renamed: Some(VecDeque::new()), ..self }
    }

    /// Returns the number of peers.
    pub fn peer_count(&self) -> usize {
        self.peers.len()
    }

    /// Returns the next peer that was added or removed.
    pub fn poll_renamed(&mut self) -> Option<Renamed> {
        self.renamed.as_mut()?.pop_front()
    }

    /// Returns the next notice: why a beacon was ignored, or which host lost a peer.
    pub fn poll_notice(&mut self) -> Option<Notice> {
        self.notice.take()
    }

    /// Whether a beacon comes from another node that may be a peer.
    pub fn is_peer(&self, sender: &[u8], endpoint: &str) -> bool {
        let is_other =
            || sender.is_empty() && self.own_port.as_deref().is_some_and(|own| own != port(endpoint));
        (self.own_address.as_deref() != Some(sender) || is_other())
            && self.ignored.iter().all(|ignored| **ignored != *sender)
    }

    /// Whether this node may exchange messages with the sender of a beacon. `traffic` is the traffic that the beacon
    /// names. It is `None` if the sender or the tower is of 0.1.0. When this returns false, the caller must call
    /// [`Discovery::handle_tower_heard`] instead of [`Discovery::handle_beacon`]. If the sender is already a peer, it
    /// stays until it times out, and is not removed at once. The reason is that a tower of 0.1.0 forwards beacons
    /// without the traffic: beside such a tower and a newer one, the peer would be removed and added again and again.
    pub fn may_exchange_with(&self, traffic: Option<Traffic>) -> bool {
        may_exchange(self.traffic, traffic)
    }

    /// Handles a beacon that a tower forwarded.
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
            // A tower announces the peer at another endpoint. The known endpoint stays while a tower still announces
            // the peer there. First exception: an endpoint with a numeric address replaces one with a host name, because
            // this node may be unable to resolve the host name. Second exception: the peer has restarted.
            Some(peer)
                if now_ms < peer.confirmed_ms + self.timeout_ms
                    && !has_restarted(&self.endpoints, sender, &peer.endpoint, endpoint)
                    && (!has_host_name(&peer.endpoint) || has_host_name(endpoint)) =>
            {
                peer.heard_ms = now_ms;
            }
            Some(_) => {
                let Some(old) = self.remove_peer(&key(sender, endpoint)) else { return };
                self.add(sender, endpoint, now_ms, events);
                self.remove_endpoint(sender, &old.endpoint, events);
            }
            None => {
                if self.add(sender, endpoint, now_ms, events) {
                    // Announce this node to the new peer at once.
                    self.beacon_soon(now_ms);
                }
            }
        }
    }

    /// Reports that a new peer, or one that was silent, is announced at a known endpoint.
    fn announce_known(&mut self, endpoint: &str, events: &mut Vec<Event>) {
        events.push(Event::Announced { endpoint: endpoint.to_owned(), host: (self.host_of)(endpoint) });
    }

    /// Adds a peer, if there is room or another peer can be evicted. Otherwise returns false.
    fn add(&mut self, sender: &[u8], endpoint: &str, now_ms: u64, events: &mut Vec<Event>) -> bool {
        let is_new = !self.endpoints.contains_key(endpoint);
        if !is_new {
            self.announce_known(endpoint, events);
        }
        if !is_new && !self.make_room_for_name(endpoint, now_ms) {
            return false;
        }
        let host = (self.host_of)(endpoint);
        if self.count_of(&host) >= self.max_peers_per_host && !self.evict_pending(Some(&host), now_ms, events)
        {
            self.notice = Some(Notice::TooManyPeersOfHost { host, limit: self.max_peers_per_host });
            return false;
        }
        let is_full = self.peers.len() >= self.max_peers || is_new && self.pending.len() >= self.max_pending;
        if is_full
            && !self.evict_pending(None, now_ms, events)
            && !self.evict_from_largest_host(&host, events)
        {
            self.notice = Some(match self.peers.len() < self.max_peers {
                true => Notice::TooManyPending { host, limit: self.max_pending },
                false => Notice::TooManyPeers { host, limit: self.max_peers },
            });
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

    /// Whether one more name may announce a known endpoint. If there are too many names, evicts one that is silent.
    fn make_room_for_name(&mut self, endpoint: &str, now_ms: u64) -> bool {
        let silent_ms = 2 * self.interval_ms;
        let Some(known) = self.endpoints.get(endpoint).filter(|known| known.names.len() >= MAX_NAMES) else {
            return true;
        };
        let is_silent = |name: &[u8]| {
            let peer = self.peers.get(&key(name, endpoint));
            peer.is_none_or(|peer| now_ms >= peer.heard_ms + silent_ms)
        };
        let Some(name) = known.names.iter().find(|name| is_silent(name)).cloned() else { return false };
        self.remove_peer(&key(&name, endpoint));
        self.endpoints.get_mut(endpoint).into_iter().for_each(|known| known.names.retain(|of| *of != name));
        true
    }

    /// Evicts the endpoint that has been pending longest: of all endpoints, or of those of `host`. Returns false when
    /// none of them has been pending for `PENDING_STAY_MS`.
    fn evict_pending(&mut self, host: Option<&str>, now_ms: u64, events: &mut Vec<Event>) -> bool {
        let is_of = |endpoint: &str| host.is_none_or(|host| (self.host_of)(endpoint) == host);
        let is_old = |(since_ms, _): &&(u64, String)| now_ms >= since_ms + PENDING_STAY_MS;
        let oldest = self.pending.iter().take_while(is_old).find(|(_, endpoint)| is_of(endpoint));
        let Some(endpoint) = oldest.map(|(_, endpoint)| endpoint.clone()) else { return false };
        let names = self.endpoints.get(&endpoint).map(|known| known.names.clone()).unwrap_or_default();
        for name in names {
            self.remove_peer(&key(&name, &endpoint));
            self.remove_endpoint(&name, &endpoint, events);
        }
        true
    }

    /// Evicts the newest peer of the host that has the most peers. Evicts none, and returns false, if `host` would then
    /// have more peers than the largest host, or if the limit of all peers is not reached.
    fn evict_from_largest_host(&mut self, host: &str, events: &mut Vec<Event>) -> bool {
        let Some((most, largest)) = self.by_count.last().cloned() else { return false };
        if self.peers.len() < self.max_peers || most <= self.count_of(host) + 1 {
            return false;
        }
        let newest = self.hosts.get(&largest).and_then(BTreeSet::last).map(|(_, key)| key.clone());
        let Some(key) = newest else { return false };
        let Some(peer) = self.remove_peer(&key) else { return false };
        self.remove_endpoint(&key.0, &peer.endpoint, events);
        self.notice = Some(Notice::PeerEvicted { host: largest, limit: self.max_peers });
        true
    }

    fn count_of(&self, host: &str) -> usize {
        self.hosts.get(host).map_or(0, BTreeSet::len)
    }

    /// Applies a change to the peers of a host, and updates `by_count`.
    fn count(&mut self, host: &str, change: impl FnOnce(&mut Numbered) -> bool) {
        let peers = self.hosts.entry(host.to_owned()).or_default();
        self.by_count.remove(&(peers.len(), host.to_owned()));
        change(peers);
        match peers.len() {
            0 => drop(self.hosts.remove(host)),
            count => drop(self.by_count.insert((count, host.to_owned()))),
        }
    }

    /// Removes a peer. Its endpoint stays.
    fn remove_peer(&mut self, key: &Key) -> Option<Peer> {
        let peer = self.peers.remove(key)?;
        if let Some(renamed) = &mut self.renamed {
            renamed.push_back((key.0.clone(), peer.endpoint.clone(), false));
        }
        let host = (self.host_of)(&peer.endpoint);
        self.count(&host, |peers| peers.remove(&(peer.number, key.clone())));
        Some(peer)
    }

    /// The peer at an endpoint has responded.
    pub fn handle_answer(&mut self, endpoint: &str) {
        let Some(known) = self.endpoints.get_mut(endpoint) else { return };
        known.has_answered = true;
        if let Some(since_ms) = known.pending_ms.take() {
            self.pending.remove(&(since_ms, endpoint.to_owned()));
        }
    }

    /// The connection to an endpoint has ended. The endpoint is pending until a peer responds there again.
    pub fn handle_connection_ended(&mut self, endpoint: &str, now_ms: u64) {
        let Some(known) = self.endpoints.get_mut(endpoint) else { return };
        if known.pending_ms.is_none() {
            known.pending_ms = Some(now_ms);
            self.pending.insert((now_ms, endpoint.to_owned()));
        }
    }

    /// A tower has accepted this node's connection. A beacon is due at once, so that the tower's other nodes discover
    /// this node.
    pub fn handle_welcome(&mut self, now_ms: u64) {
        self.beacon_soon(now_ms);
    }

    /// Sets whether the connections to all towers are lost. Without a tower there are no beacons, so peers do not time
    /// out meanwhile. When a tower is back, each peer gets a full timeout.
    pub fn handle_tower_lost(&mut self, is_lost: bool, now_ms: u64) {
        if self.is_tower_lost && !is_lost {
            self.restart_timeouts(now_ms);
        }
        self.is_tower_lost = is_lost;
    }

    /// A tower has sent something. A tower that is connected but silent counts as lost. The reason is that TCP may
    /// detect a broken network path to the tower only after the peers have timed out.
    pub fn handle_tower_heard(&mut self, now_ms: u64) {
        if self.is_tower_silent(now_ms) {
            self.restart_timeouts(now_ms);
        }
        self.tower_heard_ms = now_ms;
    }

    fn is_tower_silent(&self, now_ms: u64) -> bool {
        self.is_announced && now_ms >= self.tower_heard_ms + self.silence_ms()
    }

    /// A live node or tower is never silent for longer than this.
    fn silence_ms(&self) -> u64 {
        (self.timeout_ms / 2).max(self.interval_ms * 2)
    }

    fn restart_timeouts(&mut self, now_ms: u64) {
        for peer in self.peers.values_mut() {
            peer.heard_ms = now_ms;
        }
    }

    /// When [`Discovery::handle_timeout`] must be called next.
    pub fn due_ms(&self) -> u64 {
        self.beacon_due_ms.min(self.expiry_due_ms)
    }

    /// Removes peers that have been silent for too long. Returns true when a beacon must be sent now.
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
        // A peer is removed at most a quarter of the timeout too late.
        self.expiry_due_ms = now_ms + (self.timeout_ms / 4).max(1);
        if self.is_tower_lost || self.is_tower_silent(now_ms) {
            return;
        }
        let is_expired = |(_, peer): &(&Key, &Peer)| now_ms >= peer.heard_ms + self.timeout_ms;
        let expired: Vec<_> = self.peers.iter().filter(is_expired).map(|(key, _)| key.clone()).collect();
        for key in expired {
            let Some(peer) = self.remove_peer(&key) else { continue };
            self.remove_endpoint(&key.0, &peer.endpoint, events);
        }
    }

    fn beacon_soon(&mut self, now_ms: u64) {
        let soonest_ms = now_ms.max(self.sent.due_ms(ANSWER_COUNT, ANSWER_MS));
        self.beacon_due_ms = self.beacon_due_ms.min(soonest_ms);
    }

    /// Removes a name from an endpoint, and the endpoint when it has no other name.
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
