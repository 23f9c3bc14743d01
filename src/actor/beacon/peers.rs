//! A node's peers and the connections to them.
//!
//! [`Discovery`] turns beacons into events, such as an endpoint to connect to. [`Reconnect`] turns these events into
//! actions for the subscribing socket. It also decides when to reconnect after libzmq has dropped a connection
//! permanently.

use crate::net::Reconnect;
use crate::net::reconnect::{Action, ConnectionEvent};
use crate::protocol::discovery::{Discovery, Event};

/// The peers of one node.
pub struct Peers {
    /// Which peers exist.
    pub discovery: Discovery,
    reconnect: Reconnect,
}

impl Peers {
    /// Returns `Peers` for the peers that `discovery` will find.
    pub fn new(discovery: Discovery) -> Peers {
        Peers { discovery, reconnect: Reconnect::default() }
    }

    /// Handles a tower's beacon.
    pub fn handle_beacon(&mut self, sender: &[u8], endpoint: &str, now_ms: u64, actions: &mut Vec<Action>) {
        let mut events = Vec::new();
        self.discovery.handle_beacon(sender, endpoint, now_ms, &mut events);
        self.apply(events, now_ms, actions);
    }

    /// Handles an event of the connection to an endpoint, from the socket's monitor.
    pub fn handle_connection(&mut self, endpoint: &str, event: ConnectionEvent, now_ms: u64) {
        let Some(endpoint) = self.reconnect.handle_event(endpoint, event, now_ms) else { return };
        match event {
            ConnectionEvent::Established => self.discovery.handle_answer(&endpoint),
            ConnectionEvent::Ended => self.discovery.handle_connection_ended(&endpoint, now_ms),
            ConnectionEvent::Retrying => {}
        }
    }

    /// When [`Peers::handle_timeout`] must be called next.
    pub fn due_ms(&self) -> u64 {
        let due_ms = self.discovery.due_ms();
        self.reconnect.due_ms().map_or(due_ms, |reconnect_ms| reconnect_ms.min(due_ms))
    }

    /// Drops peers that have been silent for too long, and reconnects. Returns true when a beacon must be sent now.
    pub fn handle_timeout(&mut self, now_ms: u64, actions: &mut Vec<Action>) -> bool {
        let mut events = Vec::new();
        let is_beacon_due = self.discovery.handle_timeout(now_ms, &mut events);
        self.apply(events, now_ms, actions);
        self.reconnect.handle_timeout(now_ms, actions);
        is_beacon_due
    }

    fn apply(&mut self, events: Vec<Event>, now_ms: u64, actions: &mut Vec<Action>) {
        for event in events {
            match event {
                Event::Connect(endpoint) => self.reconnect.connect(&endpoint, now_ms, actions),
                Event::Announced { endpoint, host } => {
                    self.reconnect.handle_announcement(&endpoint, &host, now_ms, actions);
                }
                Event::Disconnect(endpoint) => self.reconnect.disconnect(&endpoint, actions),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "tcp://127.0.0.1:1001";

    #[test]
    fn a_new_node_at_a_dead_endpoint_is_connected_to_at_once() {
        let mut peers = Peers::new(Discovery::new(b"me", &[], 1_000, 4_000, 0));
        let beacon = |peers: &mut Peers, sender: &[u8], now_ms| {
            let mut actions = Vec::new();
            peers.handle_beacon(sender, A, now_ms, &mut actions);
            actions
        };
        let retry = |peers: &mut Peers, now_ms| {
            peers.handle_connection(A, ConnectionEvent::Ended, now_ms);
            peers.handle_connection(A, ConnectionEvent::Retrying, now_ms);
        };
        let again = || [Action::Disconnect(A.into()), Action::Connect(A.into())];
        assert_eq!(beacon(&mut peers, b"first", 0), [Action::Connect(A.into())]);
        peers.handle_connection(A, ConnectionEvent::Established, 1);
        retry(&mut peers, 100);
        assert_eq!(beacon(&mut peers, b"first", 1_000), []);
        assert_eq!(beacon(&mut peers, b"second", 1_100), again());
        // A peer that was silent for long counts as new, too.
        retry(&mut peers, 1_300);
        assert_eq!(beacon(&mut peers, b"first", 2_000), []);
        assert_eq!(beacon(&mut peers, b"first", 4_000), again());
    }

    #[test]
    fn a_dead_connection_is_reconnected_when_it_is_due() {
        let mut peers = Peers::new(Discovery::new(b"me", &[], 10_000, 40_000, 0));
        let mut actions = Vec::new();
        assert!(peers.handle_timeout(0, &mut actions));
        peers.handle_beacon(b"peer", A, 0, &mut actions);
        assert!(peers.handle_timeout(0, &mut actions), "this node announces itself to the new peer");
        peers.handle_connection(A, ConnectionEvent::Established, 1);
        peers.handle_connection(A, ConnectionEvent::Ended, 5_000);
        assert_eq!(peers.due_ms(), 5_100);
        actions.clear();
        assert!(!peers.handle_timeout(5_100, &mut actions));
        let given_up = Action::GivenUp { endpoint: A.into(), has_answered: true, wait_ms: 100 };
        assert_eq!(actions, [given_up, Action::Connect(A.into())]);
    }
}
