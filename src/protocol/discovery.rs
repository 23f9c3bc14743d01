//! Which peers are there: beacons in, "connect to" and "disconnect from" out.

use std::collections::HashMap;

/// What the node is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Connect to a peer's endpoint.
    Connect(String),
    /// Disconnect from it.
    Disconnect(String),
}

/// Peers known at a time; beacons of further ones are ignored.
pub const MAX_PEERS: usize = 10_000;
/// The shortest time between two beacons, however many new peers come.
const MIN_BEACON_GAP_MS: u64 = 20;

/// The peers of one node.
pub struct Discovery {
    own_address: Box<[u8]>,
    /// Peers that this node never connects to: the other half of its own store.
    ignored: Vec<Box<[u8]>>,
    interval_ms: u64,
    timeout_ms: u64,
    peers: HashMap<Box<[u8]>, Peer>,
    /// How many peers announce an endpoint: after a crash, a new node may get the old one's port.
    endpoints: HashMap<String, usize>,
    beacon_due_ms: u64,
    last_beacon_ms: Option<u64>,
    expiry_due_ms: u64,
    is_tower_lost: bool,
    /// When a tower was heard last. It says to each node what that node told it: a tower that is there is never silent
    /// for long.
    tower_heard_ms: u64,
    max_peers: usize,
}

struct Peer {
    endpoint: String,
    /// When a tower last announced it, at whatever address.
    heard_ms: u64,
    /// When a tower last announced it at this address.
    confirmed_ms: u64,
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
            own_address: own_address.into(),
            ignored: ignored.iter().map(|&address| address.into()).collect(),
            interval_ms,
            timeout_ms,
            peers: HashMap::new(),
            endpoints: HashMap::new(),
            beacon_due_ms: now_ms,
            last_beacon_ms: None,
            expiry_due_ms: now_ms + timeout_ms,
            is_tower_lost: false,
            tower_heard_ms: now_ms,
            max_peers: MAX_PEERS,
        }
    }

    /// Knows at most `max_peers` peers at a time; beacons of further ones are ignored.
    pub fn with_max_peers(self, max_peers: usize) -> Self {
        Discovery { max_peers, ..self }
    }

    /// Takes a tower's beacon.
    pub fn beacon(&mut self, sender: &[u8], endpoint: &str, now_ms: u64, events: &mut Vec<Event>) {
        self.tower_heard(now_ms);
        if *sender == *self.own_address || self.ignored.iter().any(|ignored| **ignored == *sender) {
            return;
        }
        let has_room = self.peers.len() < self.max_peers;
        match self.peers.get_mut(sender) {
            Some(peer) if peer.endpoint == endpoint => (peer.heard_ms, peer.confirmed_ms) = (now_ms, now_ms),
            // Another tower sees the node at another address: the one that we use is as good while it is confirmed.
            Some(peer) if now_ms < peer.confirmed_ms + self.timeout_ms => peer.heard_ms = now_ms,
            Some(peer) => {
                (peer.heard_ms, peer.confirmed_ms) = (now_ms, now_ms);
                let old = std::mem::replace(&mut peer.endpoint, endpoint.to_owned());
                self.add_endpoint(endpoint, events);
                self.remove_endpoint(old, events);
            }
            None if has_room => {
                let peer = Peer { endpoint: endpoint.to_owned(), heard_ms: now_ms, confirmed_ms: now_ms };
                self.peers.insert(sender.into(), peer);
                self.add_endpoint(endpoint, events);
                // The new peer hears of us at once.
                self.beacon_soon(now_ms);
            }
            None => {}
        }
    }

    /// A tower welcomes us: it, and who is with it, hear of us at once.
    pub fn welcome(&mut self, now_ms: u64) {
        self.beacon_soon(now_ms);
    }

    /// The connection to every tower is gone, or one is back. While there is none, silence says nothing about
    /// the peers: they stay, and are given a full timeout once a tower is back.
    pub fn tower_lost(&mut self, is_lost: bool, now_ms: u64) {
        if self.is_tower_lost && !is_lost {
            self.forgive(now_ms);
        }
        self.is_tower_lost = is_lost;
    }

    /// A tower that is connected but silent is as good as lost: the way to it may be cut, which takes the connection
    /// longer to notice than the peers' timeout is.
    fn tower_heard(&mut self, now_ms: u64) {
        if self.is_tower_silent(now_ms) {
            self.forgive(now_ms);
        }
        self.tower_heard_ms = now_ms;
    }

    fn is_tower_silent(&self, now_ms: u64) -> bool {
        now_ms >= self.tower_heard_ms + (self.timeout_ms / 2).max(self.interval_ms * 2)
    }

    fn forgive(&mut self, now_ms: u64) {
        for peer in self.peers.values_mut() {
            peer.heard_ms = now_ms;
        }
    }

    /// When [`Discovery::tick`] has something to do next.
    pub fn due_ms(&self) -> u64 {
        self.beacon_due_ms.min(self.expiry_due_ms)
    }

    /// Drops peers that have been silent too long. True when a beacon is to be sent now.
    pub fn tick(&mut self, now_ms: u64, events: &mut Vec<Event>) -> bool {
        if now_ms >= self.expiry_due_ms {
            self.expire(now_ms, events);
        }
        let is_due = now_ms >= self.beacon_due_ms;
        if is_due {
            self.beacon_due_ms = now_ms + self.interval_ms;
            self.last_beacon_ms = Some(now_ms);
        }
        is_due
    }

    fn expire(&mut self, now_ms: u64, events: &mut Vec<Event>) {
        // A quarter of the timeout is how late a peer may be dropped.
        self.expiry_due_ms = now_ms + (self.timeout_ms / 4).max(1);
        if self.is_tower_lost || self.is_tower_silent(now_ms) {
            return;
        }
        let mut expired = Vec::new();
        self.peers.retain(|_, peer| {
            let is_alive = now_ms < peer.heard_ms + self.timeout_ms;
            if !is_alive {
                expired.push(std::mem::take(&mut peer.endpoint));
            }
            is_alive
        });
        for endpoint in expired {
            self.remove_endpoint(endpoint, events);
        }
    }

    fn beacon_soon(&mut self, now_ms: u64) {
        let soonest_ms =
            self.last_beacon_ms.map_or(now_ms, |last_ms| now_ms.max(last_ms + MIN_BEACON_GAP_MS));
        self.beacon_due_ms = self.beacon_due_ms.min(soonest_ms);
    }

    fn add_endpoint(&mut self, endpoint: &str, events: &mut Vec<Event>) {
        let count = self.endpoints.entry(endpoint.to_owned()).or_insert(0);
        *count += 1;
        if *count == 1 {
            events.push(Event::Connect(endpoint.to_owned()));
        }
    }

    fn remove_endpoint(&mut self, endpoint: String, events: &mut Vec<Event>) {
        let Some(count) = self.endpoints.get_mut(&endpoint) else { return };
        *count -= 1;
        if *count == 0 {
            self.endpoints.remove(&endpoint);
            events.push(Event::Disconnect(endpoint));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "tcp://127.0.0.1:1001";
    const B: &str = "tcp://127.0.0.1:1002";

    fn discovery() -> Discovery {
        Discovery::new(b"me", &[b"my other half"], 1_000, 4_000, 0)
    }

    fn beacon(discovery: &mut Discovery, sender: &[u8], endpoint: &str, now_ms: u64) -> Vec<Event> {
        let mut events = Vec::new();
        discovery.beacon(sender, endpoint, now_ms, &mut events);
        events
    }

    fn tick(discovery: &mut Discovery, now_ms: u64) -> (bool, Vec<Event>) {
        let mut events = Vec::new();
        (discovery.tick(now_ms, &mut events), events)
    }

    /// The tower says back what this node told it.
    fn echo(discovery: &mut Discovery, now_ms: u64) {
        assert_eq!(beacon(discovery, b"me", "tcp://127.0.0.1:1", now_ms), []);
    }

    #[test]
    fn beacons_at_once_then_every_interval_and_for_a_new_peer() {
        let mut discovery = discovery();
        assert!(tick(&mut discovery, 0).0);
        assert!(!tick(&mut discovery, 999).0);
        assert!(tick(&mut discovery, 1_000).0);
        assert_eq!(beacon(&mut discovery, b"peer", A, 1_500), [Event::Connect(A.into())]);
        assert!(tick(&mut discovery, 1_500).0);
        assert_eq!(beacon(&mut discovery, b"peer", A, 1_600), []);
        assert!(!tick(&mut discovery, 1_600).0);
    }

    #[test]
    fn itself_and_its_other_half_are_no_peers() {
        let mut discovery = discovery();
        assert_eq!(beacon(&mut discovery, b"me", A, 0), []);
        assert_eq!(beacon(&mut discovery, b"my other half", A, 0), []);
    }

    #[test]
    fn a_silent_peer_is_dropped_and_comes_back() {
        let mut discovery = discovery();
        beacon(&mut discovery, b"peer", A, 0);
        for now_ms in [1_500, 2_500, 3_500] {
            echo(&mut discovery, now_ms);
        }
        assert_eq!(tick(&mut discovery, 3_999).1, []);
        assert_eq!(tick(&mut discovery, 4_000).1, [Event::Disconnect(A.into())]);
        assert_eq!(beacon(&mut discovery, b"peer", A, 9_000), [Event::Connect(A.into())]);
    }

    #[test]
    fn a_port_taken_over_by_a_new_node_stays_connected() {
        let mut discovery = discovery();
        beacon(&mut discovery, b"old", A, 0);
        echo(&mut discovery, 1_500);
        assert_eq!(beacon(&mut discovery, b"new", A, 3_000), []);
        echo(&mut discovery, 4_500);
        assert_eq!(tick(&mut discovery, 5_000).1, []);
        echo(&mut discovery, 6_000);
        assert_eq!(tick(&mut discovery, 7_000).1, [Event::Disconnect(A.into())]);
    }

    #[test]
    fn a_peer_that_moved_is_followed() {
        let mut discovery = discovery();
        beacon(&mut discovery, b"peer", A, 0);
        // Two towers may see it differently: no reason to change while the first one is confirmed.
        assert_eq!(beacon(&mut discovery, b"peer", B, 10), []);
        assert_eq!(beacon(&mut discovery, b"peer", A, 2_000), []);
        assert_eq!(beacon(&mut discovery, b"peer", B, 5_999), []);
        let events = beacon(&mut discovery, b"peer", B, 6_000);
        assert_eq!(events, [Event::Connect(B.into()), Event::Disconnect(A.into())]);
    }

    #[test]
    fn peers_outlive_the_towers() {
        let mut discovery = discovery();
        beacon(&mut discovery, b"peer", A, 0);
        discovery.tower_lost(true, 100);
        assert_eq!(tick(&mut discovery, 60_000).1, []);
        discovery.tower_lost(false, 60_000);
        for now_ms in [60_050, 61_000, 62_000] {
            echo(&mut discovery, now_ms);
        }
        assert_eq!(tick(&mut discovery, 63_000).1, []);
        echo(&mut discovery, 63_500);
        assert_eq!(tick(&mut discovery, 64_500).1, [Event::Disconnect(A.into())]);
    }

    #[test]
    fn peers_outlive_a_tower_that_is_silent() {
        let mut discovery = discovery();
        beacon(&mut discovery, b"peer", A, 0);
        beacon(&mut discovery, b"dead", B, 0);
        // Not even this node's own beacon comes back: it is the way to the tower that is cut.
        for now_ms in [4_000, 5_000, 20_000] {
            assert_eq!(tick(&mut discovery, now_ms).1, [], "{now_ms}");
        }
        echo(&mut discovery, 20_500);
        assert_eq!(tick(&mut discovery, 21_000).1, []);
        assert_eq!(beacon(&mut discovery, b"peer", A, 21_500), []);
        for now_ms in [22_500, 23_500] {
            echo(&mut discovery, now_ms);
        }
        assert_eq!(tick(&mut discovery, 24_500).1, [Event::Disconnect(B.into())]);
    }

    #[test]
    fn seldom_beacons_are_no_silence() {
        let mut discovery = Discovery::new(b"me", &[], 3_000, 4_000, 0);
        beacon(&mut discovery, b"peer", A, 0);
        echo(&mut discovery, 3_000);
        assert_eq!(tick(&mut discovery, 4_500).1, [Event::Disconnect(A.into())]);
    }

    #[test]
    fn a_flood_of_peers_is_bounded_and_does_not_flood_the_tower() {
        let mut discovery = discovery();
        let mut connected = 0;
        for i in 0..MAX_PEERS as u32 + 100 {
            connected += beacon(&mut discovery, &i.to_be_bytes(), &format!("tcp://10.0.0.1:{i}"), 5).len();
        }
        assert_eq!(connected, MAX_PEERS);
        assert!(tick(&mut discovery, 5).0);
        beacon(&mut discovery, b"another", A, 6);
        assert!(!tick(&mut discovery, 6).0);
    }
}
