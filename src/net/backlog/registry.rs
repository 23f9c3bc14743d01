//! The sockets whose unread messages are limited, and which connection belongs to which socket.

use super::hosts::Hosts;
use super::{SMALL_BYTES, Taken, lock};
use crate::czmq::fork::{GENERATIONS, PerProcess};
use crate::net::Peer;
use crate::net::endpoint::{name_and_port, socket_address};
use crate::net::guard::Guard;
use crate::net::listen_address::ListenAddress;
use crate::net::unsent::Unsent;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::SocketAddr;
use std::ops::{Deref, DerefMut};
use std::os::fd::RawFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

/// A socket whose unread messages are limited.
pub(super) struct BoundedSocket {
    pub(super) id: u64,
    /// The node's name in log lines.
    pub(super) name: String,
    pub(super) direction: Direction,
    pub(super) limit_bytes: u64,
    pub(super) max_frame_len_bytes: u64,
    /// The published records that libzmq has not sent yet, if they are limited.
    pub(super) unsent: Option<Arc<Unsent>>,
    /// What the node has read since the latest scan. The key is the connection's descriptor.
    pub(super) taken: Mutex<HashMap<RawFd, Taken>>,
    /// True if, at some moment since the latest scan, the node had read everything.
    pub(super) was_empty: AtomicBool,
}

/// How a socket's connections are recognized.
pub(super) enum Direction {
    /// Connections are accepted at an address.
    Listening(ListenAddress),
    /// The addresses that the socket connects to. The value is how many times it has connected to the address.
    Connecting(Mutex<HashMap<SocketAddr, usize>>),
}

impl BoundedSocket {
    pub(super) fn new(
        name: &str,
        direction: Direction,
        limit_bytes: u64,
        max_frame_len_bytes: u64,
        unsent: Option<Arc<Unsent>>,
    ) -> Arc<BoundedSocket> {
        static COUNTER: AtomicU64 = AtomicU64::new(0);
        Arc::new(BoundedSocket {
            id: COUNTER.fetch_add(1, Ordering::Relaxed),
            name: name.into(),
            direction,
            limit_bytes,
            max_frame_len_bytes,
            unsent,
            taken: Mutex::default(),
            was_empty: AtomicBool::new(false),
        })
    }

    /// Whether the limit counts received bytes, not memory.
    pub(super) fn limits_received_bytes(&self) -> bool {
        self.max_frame_len_bytes == 0
    }

    /// Whether peers may send frames as long as records.
    pub(super) fn takes_long_frames(&self) -> bool {
        self.max_frame_len_bytes > SMALL_BYTES
    }

    pub(super) fn connects(&self) -> bool {
        matches!(self.direction, Direction::Connecting(_))
    }

    fn listens_at(&self, local: &Peer) -> bool {
        matches!(&self.direction, Direction::Listening(address) if address.matches(local))
    }
}

/// The sockets of this process, with indexes.
#[derive(Default)]
pub(super) struct Registry {
    by_id: HashMap<u64, Arc<BoundedSocket>>,
    by_port: HashMap<u16, Vec<Arc<BoundedSocket>>>,
    by_endpoint: HashMap<SocketAddr, Vec<Arc<BoundedSocket>>>,
    /// Sockets that connect to a host by its name: `HOST:PORT`.
    by_name: Vec<(Box<str>, Arc<BoundedSocket>)>,
    /// Counts changes of the sockets and their endpoints.
    pub(super) changes: u64,
    pub(super) guard: Option<Guard>,
}

impl Registry {
    pub(super) fn insert(&mut self, socket: Arc<BoundedSocket>) {
        if let Direction::Listening(ListenAddress::Tcp(address)) = &socket.direction {
            self.by_port.entry(address.port()).or_default().push(socket.clone());
        }
        self.by_id.insert(socket.id, socket);
        self.changes += 1;
    }

    pub(super) fn remove(&mut self, socket: &Arc<BoundedSocket>) {
        self.by_id.remove(&socket.id);
        self.by_name.retain(|(_, other)| !Arc::ptr_eq(other, socket));
        match &socket.direction {
            Direction::Listening(ListenAddress::Tcp(address)) => {
                remove_from(&mut self.by_port, &address.port(), socket);
            }
            Direction::Listening(ListenAddress::Unix(_)) => {}
            Direction::Connecting(endpoints) => {
                for address in lock(endpoints).keys() {
                    remove_from(&mut self.by_endpoint, address, socket);
                }
            }
        }
        self.changes += 1;
    }

    pub(super) fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    pub(super) fn contains(&self, id: u64) -> bool {
        self.by_id.contains_key(&id)
    }

    pub(super) fn all(&self) -> Vec<Arc<BoundedSocket>> {
        self.by_id.values().cloned().collect()
    }

    /// The sockets that listen at a TCP port.
    pub(super) fn listening(&self) -> Vec<Arc<BoundedSocket>> {
        self.by_port.values().flatten().cloned().collect()
    }

    /// The names that sockets connect to: `HOST:PORT`.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.by_name.iter().map(|(name, _)| &**name)
    }

    pub(super) fn connect(&mut self, socket: &Arc<BoundedSocket>, endpoint: &str) {
        if let Some(address) = socket_address(endpoint) {
            self.add_address(socket, address);
        } else if let Some((host, port)) = name_and_port(endpoint) {
            self.by_name.push((format!("{host}:{port}").into(), socket.clone()));
        }
    }

    pub(super) fn disconnect(&mut self, socket: &Arc<BoundedSocket>, endpoint: &str) {
        let Some(address) = socket_address(endpoint).map(to_canonical) else { return };
        let Direction::Connecting(endpoints) = &socket.direction else { return };
        let mut endpoints = lock(endpoints);
        let Entry::Occupied(mut count) = endpoints.entry(address) else { return };
        *count.get_mut() -= 1;
        if *count.get() == 0 {
            count.remove();
            remove_from(&mut self.by_endpoint, &address, socket);
        }
    }

    fn add_address(&mut self, socket: &Arc<BoundedSocket>, address: SocketAddr) {
        let Direction::Connecting(endpoints) = &socket.direction else { return };
        let address = to_canonical(address);
        let mut endpoints = lock(endpoints);
        let count = endpoints.entry(address).or_default();
        *count += 1;
        if *count == 1 {
            self.by_endpoint.entry(address).or_default().push(socket.clone());
        }
        self.changes += 1;
    }

    /// Adds the addresses that were found for names.
    pub(super) fn add_addresses_of_names(&mut self, hosts: &Hosts) {
        for (name, socket) in self.by_name.clone() {
            for address in hosts.addresses(&name) {
                let known = self.by_endpoint.get(&address);
                if !known.is_some_and(|sockets| sockets.iter().any(|other| Arc::ptr_eq(other, &socket))) {
                    self.add_address(&socket, address);
                }
            }
        }
    }

    /// The socket that a connection belongs to. A connection that was accepted at the port of a socket belongs to this
    /// socket, even if the peer's port is that of an endpoint which another socket connects to. If several nodes
    /// connect to the peer's endpoint, the result is the socket with the largest limit. When one of these nodes reads
    /// data of the connection, a scan assigns the connection to this node's socket.
    pub(super) fn socket_of(&self, local: &Peer, peer: &Peer) -> Option<Arc<BoundedSocket>> {
        let listening = local.address().and_then(|address| self.by_port.get(&address.port()));
        let listening = listening.into_iter().flatten().filter(|socket| socket.listens_at(local));
        let connecting = peer.address().and_then(|address| self.by_endpoint.get(&address));
        let limit_bytes =
            |socket: &&Arc<BoundedSocket>| socket.limit_bytes.saturating_add(socket.max_frame_len_bytes);
        let accepting = listening.max_by_key(limit_bytes);
        accepting.or_else(|| connecting.into_iter().flatten().max_by_key(limit_bytes)).cloned()
    }
}

fn remove_from<K: std::hash::Hash + Eq>(
    index: &mut HashMap<K, Vec<Arc<BoundedSocket>>>,
    key: &K,
    socket: &Arc<BoundedSocket>,
) {
    if let Some(sockets) = index.get_mut(key) {
        sockets.retain(|other| !Arc::ptr_eq(other, socket));
        if sockets.is_empty() {
            index.remove(key);
        }
    }
}

/// An address in the form in which the kernel reports it for a connection.
pub(super) fn to_canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// The sockets of this process. A forked child has a registry of its own, because it has none of its parent's threads.
pub(super) fn registry() -> LockedRegistry {
    static REGISTRY: PerProcess<Option<Registry>> =
        PerProcess::new([const { Mutex::new(None) }; GENERATIONS]);
    let mut registry = REGISTRY.lock();
    registry.get_or_insert_default();
    LockedRegistry(registry)
}

/// The registry. It is locked while this object lives.
pub(super) struct LockedRegistry(MutexGuard<'static, Option<Registry>>);

impl Deref for LockedRegistry {
    type Target = Registry;

    fn deref(&self) -> &Registry {
        self.0.as_ref().expect("`registry` has made it")
    }
}

impl DerefMut for LockedRegistry {
    fn deref_mut(&mut self) -> &mut Registry {
        self.0.as_mut().expect("`registry` has made it")
    }
}
