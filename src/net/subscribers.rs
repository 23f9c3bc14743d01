//! Limits the subscriptions at a socket that any peer may connect to.
//!
//! libzmq keeps each subscription while its connection lives, in a trie without a limit: 40 MB of subscriptions occupy
//! more than a gigabyte. When all subscriptions together exceed the limit, the connection with the most is ended.
//!
//! Each subscription of a connection counts once, as in libzmq. An unsubscription from a topic that the connection has
//! not subscribed to does not count. Otherwise a peer could make any number of subscriptions, and compensate for them
//! with false unsubscriptions.

use super::descriptors::end_connection_if;
use super::{Frame, Peer};
use std::collections::hash_map::{Entry, RandomState};
use std::collections::{HashMap, HashSet};
use std::hash::BuildHasher;
use std::os::fd::RawFd;

/// The subscriptions of all connections of one socket.
pub struct Subscribers {
    limit_bytes: usize,
    len_bytes: usize,
    /// The key is the connection's descriptor. Connections that have ended stay here until the limit is exceeded.
    connections: HashMap<RawFd, Connection>,
    /// Hashes topics such that peers cannot predict the hashes.
    hasher: RandomState,
}

struct Connection {
    /// The peer at the other end. When the connection has ended, its descriptor may belong to another connection with
    /// another peer.
    peer: Peer,
    /// The hashes of the topics to which the connection subscribes.
    topics: HashSet<u64>,
    len_bytes: usize,
}

impl Subscribers {
    /// The cost of a subscription is its length plus this.
    const OVERHEAD_BYTES: usize = 8;

    /// Starts without subscriptions. `limit_bytes` limits the cost of all subscriptions.
    pub fn new(limit_bytes: usize) -> Self {
        Subscribers { limit_bytes, len_bytes: 0, connections: HashMap::new(), hasher: RandomState::new() }
    }

    /// Handles a subscription or unsubscription that an XPUB socket has received. If all subscriptions now exceed the
    /// limit, ends the connection with the most, and returns the address of its peer.
    pub fn handle(&mut self, frame: &Frame) -> Option<String> {
        // Unsubscriptions at the end of a connection have no descriptor.
        let file = frame.source_file()?;
        if !self.count(file, frame.as_ref(), Peer::of) {
            return None;
        }
        let (file, peer) = self.most(Peer::of)?;
        // libzmq notices that the connection has ended, closes it, and drops its subscriptions.
        end_connection_if(file, |file| Peer::of(file).as_ref() == Some(&peer));
        Some(peer.to_string())
    }

    /// Counts a subscription or unsubscription that was received from `file`. True when all subscriptions together may
    /// exceed the limit.
    ///
    /// The peer is looked up each time, because nothing reports that a connection has ended and that the next
    /// connection has the same descriptor. That takes 0.3 µs, and libzmq takes 5 µs to deliver a subscription.
    fn count(&mut self, file: RawFd, bytes: &[u8], peer_of: impl Fn(RawFd) -> Option<Peer>) -> bool {
        let (is_subscription, cost_bytes) = match bytes {
            [1, prefix @ ..] => (true, prefix.len() + Self::OVERHEAD_BYTES),
            [0, prefix @ ..] => (false, prefix.len() + Self::OVERHEAD_BYTES),
            _ => return false,
        };
        let peer = peer_of(file);
        if let Entry::Occupied(entry) = self.connections.entry(file)
            && Some(&entry.get().peer) != peer.as_ref()
        {
            self.len_bytes -= entry.remove().len_bytes;
        }
        // The message may have been read after the end of its connection.
        let Some(peer) = peer else { return false };
        let new = || Connection { peer, topics: HashSet::new(), len_bytes: 0 };
        let connection = self.connections.entry(file).or_insert_with(new);
        let topic = self.hasher.hash_one(&bytes[1..]);
        if is_subscription && connection.topics.insert(topic) {
            connection.len_bytes += cost_bytes;
            self.len_bytes += cost_bytes;
        } else if !is_subscription && connection.topics.remove(&topic) {
            connection.len_bytes -= cost_bytes;
            self.len_bytes -= cost_bytes;
        }
        is_subscription && self.len_bytes > self.limit_bytes
    }

    /// If the subscriptions of live connections exceed the limit, removes and returns the connection with the most.
    fn most(&mut self, peer_of: impl Fn(RawFd) -> Option<Peer>) -> Option<(RawFd, Peer)> {
        self.connections.retain(|&file, connection| peer_of(file).as_ref() == Some(&connection.peer));
        self.len_bytes = self.connections.values().map(|connection| connection.len_bytes).sum();
        if self.len_bytes <= self.limit_bytes {
            return None;
        }
        let most = self.connections.iter().max_by_key(|(_, connection)| connection.len_bytes);
        let file = most.map(|(&file, _)| file)?;
        let connection = self.connections.remove(&file)?;
        self.len_bytes -= connection.len_bytes;
        Some((file, connection.peer))
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Kind, Socket};
    use super::*;
    use zmq::POLLIN;

    /// Reads up to `count` messages. True when a connection was ended.
    fn pump(socket: &Socket, subscribers: &mut Subscribers, count: usize) -> bool {
        let mut frame = Frame::new();
        socket.zmq().set_rcvtimeo(60_000).unwrap();
        (0..count).any(|_| {
            socket.recv(&mut frame).unwrap();
            let peer = subscribers.handle(&frame);
            assert!(peer.as_ref().is_none_or(|peer| peer.starts_with("127.0.0.1:")), "{peer:?}");
            peer.is_some()
        })
    }

    #[test]
    fn the_connection_with_the_most_subscriptions_is_ended() {
        let socket = Socket::new(Kind::XPUB).unwrap();
        socket.report_every_subscription().unwrap();
        let port = socket.bind_ephemeral().unwrap();
        let mut subscribers = Subscribers::new(10_000);
        let (modest, greedy) = (Socket::new(Kind::SUB).unwrap(), Socket::new(Kind::SUB).unwrap());
        for peer in [&modest, &greedy] {
            peer.zmq().set_reconnect_ivl(-1).unwrap();
            peer.connect(&format!("tcp://127.0.0.1:{port}")).unwrap();
        }
        let topic = |i: usize| format!("{i:0100}").into_bytes();
        for i in 0..10 {
            modest.zmq().set_subscribe(&topic(i)).unwrap();
        }
        for i in 0..50 {
            greedy.zmq().set_subscribe(&topic(i)).unwrap();
        }
        assert!(!pump(&socket, &mut subscribers, 60));
        assert_eq!(subscribers.len_bytes, 60 * 108);
        // `modest` still subscribes to the first ten topics, so the end of 30 other subscriptions reduces the cost.
        for i in 0..40 {
            greedy.zmq().set_unsubscribe(&topic(i)).unwrap();
            greedy.zmq().set_subscribe(&topic(100 + i)).unwrap();
        }
        assert!(!pump(&socket, &mut subscribers, 80));
        assert_eq!(subscribers.len_bytes, 60 * 108);
        for i in 0..50 {
            greedy.zmq().set_subscribe(&topic(200 + i)).unwrap();
        }
        assert!(pump(&socket, &mut subscribers, 50), "{} bytes", subscribers.len_bytes);
        // `modest` is still connected, and receives what it subscribes to.
        socket.send_frames(&[&topic(1)]).unwrap();
        modest.zmq().set_rcvtimeo(60_000).unwrap();
        let mut frame = Frame::new();
        modest.recv(&mut frame).unwrap();
        assert_eq!(frame.as_ref(), topic(1));
        assert!(!greedy.events().contains(POLLIN));
    }

    const FILE: RawFd = 7;
    const OTHER: RawFd = 8;

    /// Subscribes over [`FILE`] to 92 bytes, which cost 100, while `name` is the peer.
    fn subscribe(subscribers: &mut Subscribers, number: usize, name: &str) -> bool {
        subscribers.count(FILE, format!("\x01{number:092}").as_bytes(), |file| peer(file, name))
    }

    fn peer(file: RawFd, name: &str) -> Option<Peer> {
        match file {
            FILE => Some(Peer(name.into())),
            OTHER => Some(Peer(b"other".to_vec())),
            _ => None,
        }
    }

    #[test]
    fn a_reused_descriptor_starts_at_zero() {
        let mut subscribers = Subscribers::new(1_000);
        for i in 0..6 {
            assert!(!subscribe(&mut subscribers, i, "first"));
        }
        // The next connection starts at zero.
        for i in 0..6 {
            assert!(!subscribe(&mut subscribers, i, "second"), "{}", subscribers.len_bytes);
        }
        assert_eq!(subscribers.len_bytes, 600);
        // The second connection has ended too, and a late unsubscription is read. The subscriptions of the connection
        // no longer count.
        assert!(!subscribers.count(FILE, b"\0x", |_| None));
        assert_eq!(subscribers.len_bytes, 0);
        // The new connection is returned when its subscriptions cost the most.
        subscribers.count(OTHER, b"\x01x", |file| peer(file, "second"));
        let is_much = (0..20).any(|i| subscribe(&mut subscribers, i, "second"));
        assert!(is_much);
        let (file, most) = subscribers.most(|file| peer(file, "second")).expect("too much");
        assert!(file == FILE && most == Peer(b"second".to_vec()));
        assert_eq!((subscribers.len_bytes, subscribers.connections.len()), (9, 1));
    }

    #[test]
    fn subscriptions_of_ended_connections_do_not_count() {
        let mut subscribers = Subscribers::new(1_000);
        for i in 0..9 {
            assert!(!subscribe(&mut subscribers, i, "first"));
        }
        let bytes = [&[1][..], &[b'x'; 192]].concat();
        assert!(subscribers.count(OTHER, &bytes, |file| peer(file, "first")));
        assert!(subscribers.most(|file| peer(file, "second")).is_none());
        assert_eq!(subscribers.len_bytes, 200);
    }

    /// A hostile peer unsubscribes from topics that it has not subscribed to. An honest one subscribes to a topic and
    /// unsubscribes again and again.
    #[test]
    fn only_existing_subscriptions_count() {
        let mut subscribers = Subscribers::new(1_000);
        let count = |subscribers: &mut Subscribers, bytes: &[u8]| {
            subscribers.count(FILE, bytes, |file| peer(file, "first"))
        };
        for i in 0..100 {
            assert!(!subscribe(&mut subscribers, 0, "first"));
            assert!(!count(&mut subscribers, format!("\0{:092}", if i % 2 == 0 { 0 } else { 7 }).as_bytes()));
            assert_eq!(subscribers.len_bytes, if i % 2 == 0 { 0 } else { 100 });
        }
        let is_too_much = (0..11).any(|i| {
            let is_too_much = subscribe(&mut subscribers, i, "first");
            count(&mut subscribers, format!("\0other {i:086}").as_bytes());
            is_too_much
        });
        assert!(is_too_much, "{}", subscribers.len_bytes);
    }
}
