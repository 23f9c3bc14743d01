//! Beacons: how nodes find each other through a tower.
//!
//! A node sends its beacon to the tower; the tower, who may know better which host that node is on, sends a
//! tower beacon with the node's endpoint to all nodes. Unlike messages, these are text in several frames,
//! without a version. Frames after those known here are ignored.

use super::{DecodeError, Endpoint, MAX_NAME_LEN};
use std::str;

/// What a tower sends, as a single frame, to each node that has just subscribed to it.
pub const WELCOME: &[u8] = b"W";

/// The first frame of both beacons, and what nodes subscribe to.
pub const BEACON: &[u8] = b"B";

const NODE_BEACON: &str = "node beacon";
const TOWER_BEACON: &str = "tower beacon";

/// The most octets of a host: a DNS name has fewer.
const MAX_HOST_LEN: usize = 255;

/// A node beacon, from a node to the tower: I live, and peers reach me at this port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeBeacon<'a> {
    /// The node's address. Nodes of the Java implementation leave it empty.
    pub sender: &'a [u8],
    /// The host that the node wants to be reached at: ASCII, as an endpoint takes it. Often empty: then it is
    /// the host that the beacon comes from.
    pub host: &'a [u8],
    /// The TCP port that the node publishes on; not 0.
    pub port: u16,
}

impl<'a> NodeBeacon<'a> {
    /// Reads a node beacon's frames.
    pub fn decode(frames: &[&'a [u8]]) -> Result<NodeBeacon<'a>, DecodeError> {
        let [beacon, sender, host, port, ..] = frames else {
            return Err(DecodeError::Frames { message: NODE_BEACON, expected: 4, got: frames.len() });
        };
        check(*beacon == BEACON, NODE_BEACON, "first frame")?;
        check(is_sender(sender), NODE_BEACON, "sender")?;
        check(host.is_empty() || is_host(host), NODE_BEACON, "host")?;
        let port = parse_port(port).ok_or(DecodeError::Invalid { message: NODE_BEACON, field: "port" })?;
        Ok(NodeBeacon { sender, host, port })
    }

    /// The beacon's frames. Nothing is checked: a node knows its own address, host and port.
    pub fn encode(&self) -> [Vec<u8>; 4] {
        [BEACON.to_vec(), self.sender.to_vec(), self.host.to_vec(), self.port.to_string().into_bytes()]
    }
}

/// A tower beacon, from the tower to the nodes: this node lives, connect to it here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TowerBeacon<'a> {
    /// The address of the node that lives.
    pub sender: &'a [u8],
    /// Where it is to be connected to: `tcp://HOST:PORT`. Once decoded it is a form that cannot make ZeroMQ
    /// do more than that (it would take what precedes a `;` for the address to connect from).
    pub endpoint: &'a str,
}

impl<'a> TowerBeacon<'a> {
    /// Reads a tower beacon's frames.
    pub fn decode(frames: &[&'a [u8]]) -> Result<TowerBeacon<'a>, DecodeError> {
        let [beacon, sender, endpoint, ..] = frames else {
            return Err(DecodeError::Frames { message: TOWER_BEACON, expected: 3, got: frames.len() });
        };
        check(*beacon == BEACON, TOWER_BEACON, "first frame")?;
        check(is_sender(sender), TOWER_BEACON, "sender")?;
        let endpoint = parse_endpoint(endpoint)
            .ok_or(DecodeError::Invalid { message: TOWER_BEACON, field: "endpoint" })?;
        Ok(TowerBeacon { sender, endpoint })
    }

    /// The beacon's frames. Nothing is checked: the tower made the endpoint from parts that were.
    pub fn encode(&self) -> [Vec<u8>; 3] {
        [BEACON.to_vec(), self.sender.to_vec(), self.endpoint.as_bytes().to_vec()]
    }
}

fn check(valid: bool, message: &'static str, field: &'static str) -> Result<(), DecodeError> {
    if valid { Ok(()) } else { Err(DecodeError::Invalid { message, field }) }
}

/// Whether this may be a node's address, or none at all.
fn is_sender(sender: &[u8]) -> bool {
    sender.len() <= MAX_NAME_LEN && !sender.contains(&0)
}

/// Whether ZeroMQ can take this for the host of a TCP endpoint to connect to.
///
/// Printable ASCII without the characters that ZeroMQ has a use for: `;` and `*`. Square brackets only around
/// the whole, where they hold an IPv6 address; one without brackets is valid too, because 0.1.0 towers
/// announce what the peer's socket says, and ZeroMQ takes the last colon for the one before the port.
///
/// Both beacons go by this one rule, so that a tower never announces what nodes would refuse.
fn is_host(host: &[u8]) -> bool {
    let inner = host.strip_prefix(b"[").and_then(|rest| rest.strip_suffix(b"]")).unwrap_or(host);
    let valid = |octet: &u8| octet.is_ascii_graphic() && !b";*[]".contains(octet);
    !inner.is_empty() && host.len() <= MAX_HOST_LEN && inner.iter().all(valid)
}

/// A port in decimal, 1 to 65535, written as everyone writes it: no sign, no leading zeros.
fn parse_port(text: &[u8]) -> Option<u16> {
    // `parse` would take a plus sign. Neither the sign nor the zero port begins with one of these digits.
    if !matches!(text.first(), Some(b'1'..=b'9')) {
        return None;
    }
    str::from_utf8(text).ok()?.parse().ok()
}

/// An endpoint in the form `tcp://HOST:PORT`.
fn parse_endpoint(endpoint: &[u8]) -> Option<&str> {
    // First, so that a frame of any length costs nothing.
    if endpoint.len() > Endpoint::TRANSPORT.len() + MAX_HOST_LEN + ":65535".len() {
        return None;
    }
    let endpoint = str::from_utf8(endpoint).ok()?;
    let Endpoint { host, port } = Endpoint::parse(endpoint)?;
    parse_port(port.as_bytes())?;
    is_host(host.as_bytes()).then_some(endpoint)
}
