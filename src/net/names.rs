//! Where the hosts are that peers are announced at by name, as the beacons of this process have found.
//!
//! An application gets the endpoints of peers as they were announced. libzmq would look the name of a host up in the thread
//! that does all of the process's input and output. So [`connect`] tells it the address.

use super::Socket;
use super::resolver::split;
use crate::czmq::fork::{GENERATIONS, PerProcess};
use std::collections::BTreeMap;
use std::sync::Mutex;

/// More than this many connections by name are forgotten: the sockets were closed without being disconnected.
const MAX_CONNECTIONS: usize = 10_000;

struct Names {
    /// By announced endpoint: the endpoint with the host's address, and how many beacons announce it.
    found: BTreeMap<String, (String, usize)>,
    /// By socket and announced endpoint: what the socket is connected to.
    connections: BTreeMap<(usize, String), String>,
}

static NAMES: PerProcess<Names> = PerProcess::new(
    [const { Mutex::new(Names { found: BTreeMap::new(), connections: BTreeMap::new() }) }; GENERATIONS],
);

/// A beacon reports an endpoint to its owner. `address` is the same with the host's address, where that is found.
pub fn announce(endpoint: &str, address: &str) {
    if !is_found(endpoint, address) {
        return;
    }
    let mut names = NAMES.lock();
    let (known, count) = names.found.entry(endpoint.to_owned()).or_default();
    address.clone_into(known);
    *count += 1;
}

/// The beacon has reported that it is gone.
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

/// What to connect a socket to for an announced endpoint; `None` while its host is not found.
pub fn connect(socket: &Socket, endpoint: &str) -> Option<String> {
    if split(endpoint).is_none() {
        return Some(endpoint.to_owned());
    }
    let mut names = NAMES.lock();
    let address = names.found.get(endpoint)?.0.clone();
    if names.connections.len() >= MAX_CONNECTIONS {
        names.connections.clear();
    }
    names.connections.insert(key(socket, endpoint), address.clone());
    Some(address)
}

/// What to disconnect a socket from; `None` when it was not connected.
pub fn disconnect(socket: &Socket, endpoint: &str) -> Option<String> {
    match split(endpoint) {
        None => Some(endpoint.to_owned()),
        Some(_) => NAMES.lock().connections.remove(&key(socket, endpoint)),
    }
}

/// Whether an address stands for a name.
fn is_found(endpoint: &str, address: &str) -> bool {
    split(endpoint).is_some() && split(address).is_none()
}

fn key(socket: &Socket, endpoint: &str) -> (usize, String) {
    (socket.raw as usize, endpoint.to_owned())
}

#[cfg(test)]
mod tests {
    use super::super::Kind;
    use super::*;

    const NAMED: &str = "tcp://names-test.invalid:5";

    #[test]
    fn addresses_stay_as_they_are() {
        let (socket, endpoint) = (Socket::new(Kind::SUB).unwrap(), "tcp://10.0.0.1:5");
        assert_eq!(connect(&socket, endpoint).as_deref(), Some(endpoint));
        assert_eq!(disconnect(&socket, endpoint).as_deref(), Some(endpoint));
    }

    #[test]
    fn a_socket_is_disconnected_from_where_it_was_connected() {
        let [first, second] = [(); 2].map(|()| Socket::new(Kind::SUB).unwrap());
        assert_eq!(connect(&first, NAMED), None);
        assert_eq!(disconnect(&first, NAMED), None);
        announce(NAMED, NAMED);
        assert_eq!(connect(&first, NAMED), None);
        announce(NAMED, "tcp://10.0.0.1:5");
        withdraw(NAMED, NAMED);
        assert_eq!(connect(&first, NAMED).as_deref(), Some("tcp://10.0.0.1:5"));
        // Another beacon finds the host elsewhere, and the first one is done.
        announce(NAMED, "tcp://10.0.0.2:5");
        withdraw(NAMED, "tcp://10.0.0.1:5");
        assert_eq!(connect(&second, NAMED).as_deref(), Some("tcp://10.0.0.2:5"));
        assert_eq!(disconnect(&first, NAMED).as_deref(), Some("tcp://10.0.0.1:5"));
        assert_eq!(disconnect(&first, NAMED), None);
        withdraw(NAMED, "tcp://10.0.0.2:5");
        assert_eq!(connect(&first, NAMED), None);
        assert_eq!(disconnect(&second, NAMED).as_deref(), Some("tcp://10.0.0.2:5"));
    }
}
