//! Who has subscribed to how much at a socket that anybody may connect to.
//!
//! libzmq keeps each subscription for as long as its connection lives, octet by octet, and sets no limit: 40 MB of them
//! become more than a gigabyte. So when all of them together are too much, the connection with most is ended.

use super::{Frame, Peer};
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::os::fd::RawFd;

/// The subscriptions of all connections of one socket.
pub struct Subscribers {
    limit_bytes: usize,
    len_bytes: usize,
    /// By the connection's file. Connections that have ended may still stand here; they are found when it matters.
    connections: HashMap<RawFd, Connection>,
}

struct Connection {
    /// Who it leads to: its file may be another connection's by now.
    peer: Peer,
    len_bytes: usize,
}

impl Subscribers {
    /// What subscriptions may take, each its octets and this.
    const OVERHEAD_BYTES: usize = 8;

    /// Nobody yet.
    pub fn new(limit_bytes: usize) -> Self {
        Subscribers { limit_bytes, len_bytes: 0, connections: HashMap::new() }
    }

    /// Takes what an XPUB socket received: a subscription or its end. True when somebody's connection was ended.
    pub fn take(&mut self, frame: &Frame) -> bool {
        // Those that end with their connection tell no file.
        let Some(file) = frame.source_file() else { return false };
        let (is_subscription, cost_bytes) = match frame.as_ref() {
            [1, prefix @ ..] => (true, prefix.len() + Self::OVERHEAD_BYTES),
            [0, prefix @ ..] => (false, prefix.len() + Self::OVERHEAD_BYTES),
            _ => return false,
        };
        if !is_subscription {
            if let Some(connection) = self.connections.get_mut(&file) {
                let freed_bytes = cost_bytes.min(connection.len_bytes);
                connection.len_bytes -= freed_bytes;
                self.len_bytes -= freed_bytes;
            }
            return false;
        }
        let connection = match self.connections.entry(file) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => match Peer::of(file) {
                Some(peer) => entry.insert(Connection { peer, len_bytes: 0 }),
                None => return false,
            },
        };
        connection.len_bytes += cost_bytes;
        self.len_bytes += cost_bytes;
        self.len_bytes > self.limit_bytes && self.cut()
    }

    /// Ends the connection with most, if those that live are too much.
    fn cut(&mut self) -> bool {
        self.connections
            .retain(|&file, connection| Peer::of(file).is_some_and(|peer| peer == connection.peer));
        self.len_bytes = self.connections.values().map(|connection| connection.len_bytes).sum();
        if self.len_bytes <= self.limit_bytes {
            return false;
        }
        let most = self.connections.iter().max_by_key(|(_, connection)| connection.len_bytes);
        let Some(file) = most.map(|(&file, _)| file) else { return false };
        let Some(connection) = self.connections.remove(&file) else { return false };
        self.len_bytes -= connection.len_bytes;
        // libzmq finds the connection ended, closes its file, and drops its subscriptions. Should the file have become
        // another one's in this very moment, that one is ended: its peer connects again.
        // SAFETY: a system call without pointers; for a file that is no socket, it does nothing.
        unsafe {
            libc::shutdown(file, libc::SHUT_RDWR);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Kind, Socket, poll};
    use super::*;
    use zmq::POLLIN;

    /// Reads what others subscribe to, until nothing comes for a while or somebody is cut off.
    fn pump(socket: &Socket, subscribers: &mut Subscribers) -> bool {
        let mut frame = Frame::new();
        loop {
            while socket.try_recv(&mut frame).unwrap() {
                if subscribers.take(&frame) {
                    return true;
                }
            }
            poll(&mut [socket.item(POLLIN)], 300).unwrap();
            if !socket.events().contains(POLLIN) {
                return false;
            }
        }
    }

    #[test]
    fn who_subscribes_to_most_is_cut_off() {
        let socket = Socket::new(Kind::XPUB).unwrap();
        socket.zmq().set_xpub_verbose(true).unwrap();
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
        assert!(!pump(&socket, &mut subscribers));
        assert_eq!(subscribers.len_bytes, 60 * 108);
        for i in 0..40 {
            greedy.zmq().set_unsubscribe(&topic(i)).unwrap();
            greedy.zmq().set_subscribe(&topic(100 + i)).unwrap();
        }
        assert!(!pump(&socket, &mut subscribers));
        for i in 0..50 {
            greedy.zmq().set_subscribe(&topic(200 + i)).unwrap();
        }
        assert!(pump(&socket, &mut subscribers), "{} octets", subscribers.len_bytes);
        assert!(!pump(&socket, &mut subscribers));
        // The modest one is still there: it hears what it subscribed to.
        socket.send_frames(&[&topic(1)]).unwrap();
        modest.zmq().set_rcvtimeo(5_000).unwrap();
        let mut frame = Frame::new();
        modest.recv(&mut frame).unwrap();
        assert_eq!(frame.as_ref(), topic(1));
        assert!(!greedy.events().contains(POLLIN));
    }
}
