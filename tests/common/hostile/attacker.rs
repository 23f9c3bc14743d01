//! A hostile node.

use crate::e2e::{Cluster, port_of};
use crate::peer::Node;

/// A hostile node to which all honest nodes are connected, and the addresses of the honest nodes.
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
        // The reader subscribes to CONSUMER-HELLO.
        let reader = node.subscriber_of(b'W');
        for prefix in [b"M", b"H", b"F", b"G"] {
            node.subscription(prefix);
        }
        // Consumer and writer both subscribe to D and their address.
        let writer = node.subscriber_other_than(b'D', &consumer);
        Attacker { node, producer, consumer, writer, reader }
    }

    /// The ports of all nodes' XPUB sockets.
    pub(crate) fn ports(&mut self) -> [u16; 4] {
        let Attacker { producer, consumer, writer, reader, .. } = self;
        let addresses = [producer, consumer, writer, reader].map(|address| address.clone());
        addresses.map(|address| self.port_of(&address))
    }

    /// The port of a node's XPUB socket.
    pub(crate) fn port_of(&mut self, address: &str) -> u16 {
        port_of(&self.node.endpoint_of(address))
    }
}
