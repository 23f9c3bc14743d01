//! Limits the subscriptions at a socket that any peer may connect to.
//!
//! libzmq keeps each subscription while its connection lives, byte by byte and without a limit: 40 MB of subscriptions
//! become more than a gigabyte. When all subscriptions together are too large, the connection with most is ended.
//!
//! Each subscription of a connection counts once, as in libzmq. The end of a subscription that the connection has not
//! made counts nothing: else a peer could make any number of subscriptions, and balance them with ends of others.

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
    /// By the connection's file. Connections that have ended may still stand here; they are found when it matters.
    connections: HashMap<RawFd, Connection>,
    /// Makes numbers of topics that peers cannot foresee.
    hasher: RandomState,
}

struct Connection {
    /// The peer at its other end: its file may be another connection's by now.
    peer: Peer,
    /// The hashes of what it subscribes to.
    topics: HashSet<u64>,
    len_bytes: usize,
}

impl Subscribers {
    /// What subscriptions may take, each its octets and this.
    const OVERHEAD_BYTES: usize = 8;

    /// Nobody yet.
    pub fn new(limit_bytes: usize) -> Self {
        Subscribers { limit_bytes, len_bytes: 0, connections: HashMap::new(), hasher: RandomState::new() }
    }

    /// Takes what an XPUB socket received: a subscription or its end. When all are too much, the connection with most is
    /// ended, and the address at its other end returned.
    pub fn take(&mut self, frame: &Frame) -> Option<String> {
        // Those that end with their connection tell no file.
        let file = frame.source_file()?;
        if !self.count(file, frame.as_ref(), Peer::of) {
            return None;
        }
        let (file, peer) = self.most(Peer::of)?;
        // libzmq finds the connection ended, closes its file, and drops its subscriptions.
        end_connection_if(file, |file| Peer::of(file).as_ref() == Some(&peer));
        Some(peer.to_string())
    }

    /// Counts a subscription that came over `file`, or its end. True when all together seem to be too much.
    ///
    /// Who is at the other end is asked each time: nothing tells of a connection's end, and the next one gets its file.
    /// That takes 0.3 µs, beside the 5 µs that libzmq takes to hand a subscription over.
    fn count(&mut self, file: RawFd, octets: &[u8], peer_of: impl Fn(RawFd) -> Option<Peer>) -> bool {
        let (is_subscription, cost_bytes) = match octets {
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
        // What a connection has sent may be read after its end.
        let Some(peer) = peer else { return false };
        let new = || Connection { peer, topics: HashSet::new(), len_bytes: 0 };
        let connection = self.connections.entry(file).or_insert_with(new);
        let topic = self.hasher.hash_one(&octets[1..]);
        if is_subscription && connection.topics.insert(topic) {
            connection.len_bytes += cost_bytes;
            self.len_bytes += cost_bytes;
        } else if !is_subscription && connection.topics.remove(&topic) {
            connection.len_bytes -= cost_bytes;
            self.len_bytes -= cost_bytes;
        }
        is_subscription && self.len_bytes > self.limit_bytes
    }

    /// Takes the connection with most out, if those that live are too much.
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

    /// Reads so many messages of those who subscribe, or until somebody is cut off; true then.
    fn pump(socket: &Socket, subscribers: &mut Subscribers, count: usize) -> bool {
        let mut frame = Frame::new();
        socket.zmq().set_rcvtimeo(60_000).unwrap();
        (0..count).any(|_| {
            socket.recv(&mut frame).unwrap();
            let peer = subscribers.take(&frame);
            assert!(peer.as_ref().is_none_or(|peer| peer.starts_with("127.0.0.1:")), "{peer:?}");
            peer.is_some()
        })
    }

    #[test]
    fn who_subscribes_to_most_is_cut_off() {
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
        // Subscriptions that end count no more.
        for i in 0..50 {
            greedy.zmq().set_subscribe(&topic(i)).unwrap();
        }
        assert!(!pump(&socket, &mut subscribers, 60));
        assert_eq!(subscribers.len_bytes, 60 * 108);
        // The modest one still subscribes to the first ten.
        for i in 0..40 {
            greedy.zmq().set_unsubscribe(&topic(i)).unwrap();
            greedy.zmq().set_subscribe(&topic(100 + i)).unwrap();
        }
        assert!(!pump(&socket, &mut subscribers, 80));
        assert_eq!(subscribers.len_bytes, 60 * 108);
        for i in 0..50 {
            greedy.zmq().set_subscribe(&topic(200 + i)).unwrap();
        }
        assert!(pump(&socket, &mut subscribers, 50), "{} octets", subscribers.len_bytes);
        // The modest one is still there: it hears what it subscribed to.
        socket.send_frames(&[&topic(1)]).unwrap();
        modest.zmq().set_rcvtimeo(60_000).unwrap();
        let mut frame = Frame::new();
        modest.recv(&mut frame).unwrap();
        assert_eq!(frame.as_ref(), topic(1));
        assert!(!greedy.events().contains(POLLIN));
    }

    const FILE: RawFd = 7;
    const OTHER: RawFd = 8;

    /// Subscribes over [`FILE`] to 92 octets, 100 with what they cost, while `name` is at its other end.
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
    fn a_file_that_is_another_connection_s_now_counts_anew() {
        let mut subscribers = Subscribers::new(1_000);
        for i in 0..6 {
            assert!(!subscribe(&mut subscribers, i, "first"));
        }
        // Its successor owes nothing.
        for i in 0..6 {
            assert!(!subscribe(&mut subscribers, i, "second"), "{}", subscribers.len_bytes);
        }
        assert_eq!(subscribers.len_bytes, 600);
        // An end of what the first one subscribed to, read late, or a lie: it takes nothing off.
        assert!(!subscribers.count(FILE, b"\0x", |_| None));
        assert_eq!(subscribers.len_bytes, 0);
        // And it is the one that is ended, not forgotten, when it has most.
        subscribers.count(OTHER, b"\x01x", |file| peer(file, "second"));
        let is_much = (0..20).any(|i| subscribe(&mut subscribers, i, "second"));
        assert!(is_much);
        let (file, most) = subscribers.most(|file| peer(file, "second")).expect("too much");
        assert!(file == FILE && most == Peer(b"second".to_vec()));
        assert_eq!((subscribers.len_bytes, subscribers.connections.len()), (9, 1));
    }

    #[test]
    fn what_ended_connections_had_does_not_count() {
        let mut subscribers = Subscribers::new(1_000);
        for i in 0..9 {
            assert!(!subscribe(&mut subscribers, i, "first"));
        }
        let octets = [&[1][..], &[b'x'; 192]].concat();
        assert!(subscribers.count(OTHER, &octets, |file| peer(file, "first")));
        assert!(subscribers.most(|file| peer(file, "second")).is_none());
        assert_eq!(subscribers.len_bytes, 200);
    }

    /// A hostile peer ends what it has not made, and an honest one makes and ends the same topic again and again.
    #[test]
    fn only_subscriptions_that_exist_count() {
        let mut subscribers = Subscribers::new(1_000);
        let count = |subscribers: &mut Subscribers, octets: &[u8]| {
            subscribers.count(FILE, octets, |file| peer(file, "first"))
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
