//! The addresses of hosts that peers announce by name. The beacons of this process look them up.
//!
//! Applications receive endpoints as they were announced. libzmq would look up a host name in its I/O thread, which
//! serves all sockets of the process. So [`connect`] returns the endpoint with the host's address in place of the name,
//! and libzmq gets this endpoint.

use super::Socket;
use super::endpoint::name_and_port;
use crate::czmq::fork::{GENERATIONS, PerProcess};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Mutex;

/// How many connections to host names are remembered. At the limit, the oldest one is forgotten. Sockets are often
/// closed without being disconnected, so some of these connections no longer exist.
const MAX_CONNECTIONS: usize = if cfg!(test) { 10 } else { 10_000 };

struct Names {
    /// The key is the announced endpoint. The value is the endpoint with the host's address, and the number of beacons
    /// that report it.
    found: BTreeMap<String, (String, usize)>,
    /// From the oldest to the newest.
    connections: VecDeque<Connection>,
}

struct Connection {
    /// The address of the socket in memory. After this socket was closed, another one may get the same memory address.
    socket: usize,
    announced: String,
    address: String,
}

impl Names {
    /// Removes the connection of a socket to an announced endpoint. Returns the endpoint, with the host's address, that
    /// the socket was connected to.
    fn take(&mut self, socket: &Socket, announced: &str) -> Option<String> {
        let is_it = |known: &Connection| known.socket == socket.id() && known.announced == announced;
        let index = self.connections.iter().position(is_it)?;
        self.connections.remove(index).map(|known| known.address)
    }
}

static NAMES: PerProcess<Names> = PerProcess::new(
    [const { Mutex::new(Names { found: BTreeMap::new(), connections: VecDeque::new() }) }; GENERATIONS],
);

/// Call this when a beacon reports an announced endpoint to its owner. `address` is the endpoint with the host's
/// address, or equal to `endpoint` when the host was not found.
pub fn announce(endpoint: &str, address: &str) {
    if !is_found(endpoint, address) {
        return;
    }
    let mut names = NAMES.lock();
    let (known, count) = names.found.entry(endpoint.to_owned()).or_default();
    address.clone_into(known);
    *count += 1;
}

/// Call this when the beacon has reported that the endpoint is gone.
pub fn withdraw(endpoint: &str, address: &str) {
    if !is_found(endpoint, address) {
        return;
    }
    let mut names = NAMES.lock();
    if let Some((_, count)) = names.found.get_mut(endpoint) {
        *count -= 1;
        if *count == 0 {
            names.found.remove(endpoint);
        }
    }
}

/// The endpoint to which `socket` must connect in order to reach the announced `endpoint`. `None` while its host is not
/// found.
pub fn connect(socket: &Socket, endpoint: &str) -> Option<String> {
    if name_and_port(endpoint).is_none() {
        return Some(endpoint.to_owned());
    }
    let mut names = NAMES.lock();
    let address = names.found.get(endpoint)?.0.clone();
    names.take(socket, endpoint);
    if names.connections.len() >= MAX_CONNECTIONS {
        names.connections.pop_front();
    }
    names.connections.push_back(Connection {
        socket: socket.id(),
        announced: endpoint.to_owned(),
        address: address.clone(),
    });
    Some(address)
}

/// The endpoint from which `socket` must disconnect: the one to which it connected for the announced `endpoint`. `None`
/// when it was not connected.
pub fn disconnect(socket: &Socket, endpoint: &str) -> Option<String> {
    match name_and_port(endpoint) {
        None => Some(endpoint.to_owned()),
        Some(_) => NAMES.lock().take(socket, endpoint),
    }
}

/// Whether the host of `endpoint` is a name, and `address` has an IP address in place of the name.
fn is_found(endpoint: &str, address: &str) -> bool {
    name_and_port(endpoint).is_some() && name_and_port(address).is_none()
}

#[cfg(test)]
mod tests {
    use super::super::Kind;
    use super::*;

    const NAMED: &str = "tcp://names-test.invalid:5";

    #[test]
    fn endpoints_with_addresses_are_not_changed() {
        let (socket, endpoint) = (Socket::new(Kind::SUB).unwrap(), "tcp://10.0.0.1:5");
        assert_eq!(connect(&socket, endpoint).as_deref(), Some(endpoint));
        assert_eq!(disconnect(&socket, endpoint).as_deref(), Some(endpoint));
    }

    #[test]
    fn a_socket_is_disconnected_from_the_address_that_it_was_connected_to() {
        let [first, second] = [(); 2].map(|()| Socket::new(Kind::SUB).unwrap());
        assert_eq!(connect(&first, NAMED), None);
        assert_eq!(disconnect(&first, NAMED), None);
        announce(NAMED, NAMED);
        assert_eq!(connect(&first, NAMED), None);
        announce(NAMED, "tcp://10.0.0.1:5");
        withdraw(NAMED, NAMED);
        assert_eq!(connect(&first, NAMED).as_deref(), Some("tcp://10.0.0.1:5"));
        // Another beacon finds another address of the host, and the first beacon ends.
        announce(NAMED, "tcp://10.0.0.2:5");
        withdraw(NAMED, "tcp://10.0.0.1:5");
        assert_eq!(connect(&second, NAMED).as_deref(), Some("tcp://10.0.0.2:5"));
        assert_eq!(disconnect(&first, NAMED).as_deref(), Some("tcp://10.0.0.1:5"));
        assert_eq!(disconnect(&first, NAMED), None);
        withdraw(NAMED, "tcp://10.0.0.2:5");
        assert_eq!(connect(&first, NAMED), None);
        assert_eq!(disconnect(&second, NAMED).as_deref(), Some("tcp://10.0.0.2:5"));
    }

    #[test]
    fn the_newest_connections_are_remembered() {
        let socket = Socket::new(Kind::SUB).unwrap();
        let named = |i: usize| format!("tcp://names-test-{i}.invalid:5");
        for i in 0..=MAX_CONNECTIONS {
            announce(&named(i), "tcp://10.0.0.3:5");
            connect(&socket, &named(i));
        }
        let known = [1, 0, MAX_CONNECTIONS].map(|i| disconnect(&socket, &named(i)).is_some());
        (0..=MAX_CONNECTIONS).for_each(|i| withdraw(&named(i), "tcp://10.0.0.3:5"));
        assert_eq!(known, [true, false, true]);
    }
}
