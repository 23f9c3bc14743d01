//! The endpoints of a node's peers, by name: what its beacon has found, for the node itself.

use crate::net::{Origin, Peer};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

type Endpoints = HashMap<Box<[u8]>, Box<str>>;

/// Shared by a node and its beacon.
#[derive(Clone, Default)]
pub(super) struct Directory(Arc<Mutex<Endpoints>>);

impl Directory {
    fn endpoints(&self) -> MutexGuard<'_, Endpoints> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A peer is known at another endpoint now, or no more.
    pub(super) fn set(&self, name: &[u8], endpoint: Option<&str>) {
        match endpoint {
            Some(endpoint) => drop(self.endpoints().insert(name.into(), without_zone(endpoint).into())),
            None => drop(self.endpoints().remove(name)),
        }
    }

    /// Where a peer is announced.
    pub(super) fn endpoint_of(&self, name: &[u8]) -> Option<Box<str>> {
        self.endpoints().get(name).cloned()
    }

    /// Whether a message comes from the peer with this name: it came over the connection to the endpoint where that peer
    /// is announced. True where the transport does not tell.
    pub(super) fn is_from(&self, origin: Origin, name: &[u8]) -> bool {
        match Peer::who_sent(origin) {
            None => true,
            Some(peer) => peer.endpoint().is_some_and(|endpoint| {
                self.endpoints().get(name).is_some_and(|announced| **announced == *endpoint)
            }),
        }
    }
}

/// The address at the other end of a connection tells no zone.
pub(super) fn without_zone(endpoint: &str) -> String {
    match (endpoint.split_once('%'), endpoint.split_once(']')) {
        (Some((before, _)), Some((_, after))) => format!("{before}]{after}"),
        _ => endpoint.to_owned(),
    }
}
