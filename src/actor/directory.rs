//! The directory of a node: the names of its peers, with their endpoints. The node's beacon maintains the directory.

use crate::net::{Origin, Peer};
use crate::wire::Endpoint;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

#[derive(Default)]
struct Endpoints {
    /// For each name, the endpoints of the peers that have this name, in the order in which they were announced. The
    /// empty name stands for peers whose beacons name no sender.
    by_name: HashMap<Box<[u8]>, Vec<Box<str>>>,
    /// For each endpoint, how many names it has.
    names: HashMap<Box<str>, usize>,
}

impl Endpoints {
    fn insert(&mut self, name: &[u8], endpoint: Box<str>) {
        let of_name = self.by_name.entry(name.into()).or_default();
        if !of_name.contains(&endpoint) {
            of_name.push(endpoint.clone());
            *self.names.entry(endpoint).or_default() += 1;
        }
    }

    fn remove(&mut self, name: &[u8], endpoint: Box<str>) {
        let Entry::Occupied(mut of_name) = self.by_name.entry(name.into()) else { return };
        let Some(i) = of_name.get().iter().position(|known| *known == endpoint) else { return };
        of_name.get_mut().remove(i);
        if of_name.get().is_empty() {
            of_name.remove();
        }
        if let Entry::Occupied(mut count) = self.names.entry(endpoint) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }
}

/// A directory that a node shares with its beacon.
#[derive(Clone, Default)]
pub(super) struct Directory(Arc<Mutex<Endpoints>>);

impl Directory {
    fn endpoints(&self) -> MutexGuard<'_, Endpoints> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds the endpoint of a peer, or removes it.
    pub(super) fn set(&self, name: &[u8], endpoint: &str, is_known: bool) {
        let endpoint: Box<str> = without_zone(endpoint).into();
        match is_known {
            true => self.endpoints().insert(name, endpoint),
            false => self.endpoints().remove(name, endpoint),
        }
    }

    /// The endpoint of the peer with this name. If several peers with this name are announced now, the endpoint that
    /// was announced first.
    pub(super) fn endpoint_of(&self, name: &[u8]) -> Option<Box<str>> {
        self.endpoints().by_name.get(name)?.first().cloned()
    }

    /// Whether a connection leads to an endpoint where a peer is announced now. `connection` is the name of the peer at
    /// the other end of the connection, see [`Peer::name`].
    pub(super) fn leads_to_peer(&self, connection: &[u8]) -> bool {
        let endpoint = Peer::endpoint_by_name(connection);
        endpoint.is_some_and(|endpoint| self.endpoints().names.contains_key(&*endpoint))
    }

    /// Whether a message came from the peer with this name, that is, over the connection to that peer's endpoint.
    /// Returns true where the transport does not report the connection, and `None` when the connection has ended.
    ///
    /// If several peers have the same name, only the peer that was announced first counts: otherwise any node could
    /// take the name of another node. Beacons of the Java implementation do not name their sender. So a name that is
    /// not announced may belong to any peer whose beacons name no sender.
    pub(super) fn is_from(&self, origin: Origin, name: &[u8]) -> Option<bool> {
        match Peer::sender_of(origin) {
            None => Some(true),
            Some(peer) if peer.is_gone() => None,
            Some(peer) => Some(peer.endpoint().is_some_and(|endpoint| self.is_at(name, &endpoint))),
        }
    }

    fn is_at(&self, name: &[u8], endpoint: &str) -> bool {
        let all = self.endpoints();
        match all.by_name.get(name) {
            Some(of_name) => of_name.first().is_some_and(|announced| **announced == *endpoint),
            None => all
                .by_name
                .get(&b""[..])
                .is_some_and(|nameless| nameless.iter().any(|known| **known == *endpoint)),
        }
    }
}

/// Removes the IPv6 zone of an endpoint: [`Peer::endpoint`] returns an endpoint without a zone.
pub(super) fn without_zone(endpoint: &str) -> String {
    Endpoint::parse(endpoint).map_or_else(|| endpoint.to_owned(), |parts| parts.with_zone(None))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::{Frame, Kind, Socket};

    #[test]
    fn the_first_node_keeps_its_name_and_others_may_have_none() {
        let directory = Directory::default();
        let (first, second) = ("tcp://10.0.0.1:1", "tcp://10.0.0.2:1");
        directory.set(b"peer", first, true);
        directory.set(b"peer", second, true);
        assert!(directory.is_at(b"peer", first) && !directory.is_at(b"peer", second));
        assert_eq!(directory.endpoint_of(b"peer").as_deref(), Some(first));
        directory.set(b"peer", first, false);
        assert!(directory.is_at(b"peer", second));
        directory.set(b"", first, true);
        assert!(!directory.is_at(b"peer", first) && directory.is_at(b"another", first));
        assert!(!directory.is_at(b"another", second));
        directory.set(b"", first, false);
        directory.set(b"peer", second, false);
        assert!(directory.endpoints().by_name.is_empty() && directory.endpoints().names.is_empty());
    }

    #[test]
    fn a_request_whose_connection_has_ended_is_not_taken_for_forged() {
        let publisher = Socket::new(Kind::XPUB).unwrap();
        let endpoint = format!("tcp://127.0.0.1:{}", publisher.bind_ephemeral().unwrap());
        let subscriber = Socket::new(Kind::SUB).unwrap();
        subscriber.zmq().set_rcvtimeo(60_000).unwrap();
        subscriber.zmq().set_subscribe(b"").unwrap();
        subscriber.connect(&endpoint).unwrap();
        let mut frame = Frame::new();
        publisher.recv(&mut frame).unwrap();
        publisher.send_frames(&[b"request"]).unwrap();
        subscriber.recv(&mut frame).unwrap();
        let directory = Directory::default();
        assert_eq!(directory.is_from(frame.origin(), b"peer"), Some(false));
        directory.set(b"peer", &endpoint, true);
        assert_eq!(directory.is_from(frame.origin(), b"peer"), Some(true));
        assert_eq!(directory.is_from(frame.origin(), b"other"), Some(false));
        let leads_to_peer = |directory: &Directory| {
            directory.leads_to_peer(&Peer::sender_of(frame.origin()).expect("TCP tells").name())
        };
        assert!(leads_to_peer(&directory) && !leads_to_peer(&Directory::default()));
        directory.set(b"peer", &endpoint, false);
        assert!(!leads_to_peer(&directory));
        directory.set(b"peer", &endpoint, true);
        drop(publisher);
        let start = std::time::Instant::now();
        while directory.is_from(frame.origin(), b"peer").is_some() {
            assert!(start.elapsed().as_secs() < 60, "the connection has ended");
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        assert!(!leads_to_peer(&directory));
    }
}
