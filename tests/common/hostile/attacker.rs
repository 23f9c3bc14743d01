//! A node that means harm.

use crate::e2e::{Cluster, DEADLINE};
use crate::peer::Node;
use std::time::{Duration, Instant};

/// A hostile node that every other one is connected to, and the addresses of those.
pub(crate) struct Attacker {
    pub(crate) node: Node,
    pub(crate) producer: String,
    pub(crate) consumer: String,
    pub(crate) writer: String,
    pub(crate) reader: String,
}

impl Attacker {
    pub(crate) fn start(cluster: &Cluster) -> Attacker {
        let mut node = Node::started(cluster, &[b"W".to_vec(), b"D".to_vec(), b"K".to_vec()]);
        let producer = node.subscriber_of(b'K');
        let consumer = node.subscriber_of(b'L');
        // The reader: of whom a CONSUMER-HELLO is expected.
        let reader = node.subscriber_of(b'W');
        for prefix in [b"M", b"H", b"F", b"G"] {
            node.subscription(prefix);
        }
        // Consumer and writer both subscribe to D and their address.
        let writer = node.subscriber_other_than(b'D', &consumer);
        Attacker { node, producer, consumer, writer, reader }
    }

    /// Where a node's XPUB socket listens.
    pub(crate) fn port_of(&mut self, address: &str) -> u16 {
        let start = Instant::now();
        while !self.node.peers.contains_key(address) {
            assert!(start.elapsed() < DEADLINE, "no tower has announced {address}");
            self.node.listen(Duration::from_millis(20));
        }
        self.node.peers[address].rsplit(':').next().and_then(|port| port.parse().ok()).expect("a port")
    }
}
