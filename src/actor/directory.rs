//! The endpoints of a node's peers, by name: what its beacon has found, for the node itself.

use crate::net::{Origin, Peer};
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

#[derive(Default)]
struct Endpoints {
    by_name: HashMap<Box<[u8]>, Box<str>>,
    /// How many names each one has.
    names: HashMap<Box<str>, usize>,
}

impl Endpoints {
    fn remove(&mut self, name: &[u8]) {
        let Some(endpoint) = self.by_name.remove(name) else { return };
        if let Entry::Occupied(mut count) = self.names.entry(endpoint) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }

    fn insert(&mut self, name: &[u8], endpoint: &str) {
        self.remove(name);
        *self.names.entry(endpoint.into()).or_default() += 1;
        self.by_name.insert(name.into(), endpoint.into());
    }
}

/// Shared by a node and its beacon.
#[derive(Clone, Default)]
pub(super) struct Directory(Arc<Mutex<Endpoints>>);

impl Directory {
    fn endpoints(&self) -> MutexGuard<'_, Endpoints> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A peer is announced at this endpoint now, or no more.
    pub(super) fn set(&self, name: &[u8], endpoint: Option<&str>) {
        match endpoint {
            Some(endpoint) => self.endpoints().insert(name, &without_zone(endpoint)),
            None => self.endpoints().remove(name),
        }
    }

    /// Where a peer is announced.
    pub(super) fn endpoint_of(&self, name: &[u8]) -> Option<Box<str>> {
        self.endpoints().by_name.get(name).cloned()
    }

    /// Whether a connection leads to an endpoint where a peer is announced now. `connection` is the name of the peer at its
    /// other end, see [`Peer::name`].
    pub(super) fn leads_to_peer(&self, connection: &[u8]) -> bool {
        let endpoint = Peer::endpoint_by_name(connection);
        endpoint.is_some_and(|endpoint| self.endpoints().names.contains_key(&*endpoint))
    }

    /// Whether a message was received from the peer with this name: over the connection to the endpoint where that peer is
    /// announced. True where the transport does not tell, and `None` when that connection has ended since.
    pub(super) fn is_from(&self, origin: Origin, name: &[u8]) -> Option<bool> {
        match Peer::who_sent(origin) {
            None => Some(true),
            Some(peer) if peer.is_gone() => None,
            Some(peer) => Some(peer.endpoint().is_some_and(|endpoint| {
                self.endpoints().by_name.get(name).is_some_and(|announced| **announced == *endpoint)
            })),
        }
    }
}

/// The address at the other end of a connection has no zone.
pub(super) fn without_zone(endpoint: &str) -> String {
    match (endpoint.split_once('%'), endpoint.split_once(']')) {
        (Some((before, _)), Some((_, after))) => format!("{before}]{after}"),
        _ => endpoint.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::{Frame, Kind, Socket};

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
        directory.set(b"peer", Some(&endpoint));
        assert_eq!(directory.is_from(frame.origin(), b"peer"), Some(true));
        assert_eq!(directory.is_from(frame.origin(), b"other"), Some(false));
        let leads_to_peer = |directory: &Directory| {
            directory.leads_to_peer(&Peer::who_sent(frame.origin()).expect("TCP tells").name())
        };
        assert!(leads_to_peer(&directory) && !leads_to_peer(&Directory::default()));
        directory.set(b"peer", None);
        assert!(!leads_to_peer(&directory));
        directory.set(b"peer", Some(&endpoint));
        drop(publisher);
        let start = std::time::Instant::now();
        while directory.is_from(frame.origin(), b"peer").is_some() {
            assert!(start.elapsed().as_secs() < 60, "the connection has ended");
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        assert!(!leads_to_peer(&directory));
    }
}
