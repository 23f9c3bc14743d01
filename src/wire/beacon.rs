//! Beacons, by which nodes find each other through a tower.
//!
//! A node sends its beacon to the tower. The tower sends a tower beacon with the node's endpoint to all nodes. The
//! tower can determine the host of the node from the connection. Unlike messages, beacons are text in several frames,
//! without a version. One further frame, which 0.1.0 ignores, names the messages that the node exchanges: its
//! [`Traffic`]. All other further frames are ignored.

use super::{DecodeError, Endpoint, MAX_NAME_LEN, Traffic};
use std::str;

/// The single frame that a tower sends to each new subscriber.
pub const WELCOME: &[u8] = b"W";

/// The first frame of both kinds of beacons. Nodes subscribe to it.
pub const BEACON: &[u8] = b"B";

const NODE_BEACON: &str = "node beacon";
const TOWER_BEACON: &str = "tower beacon";

/// The greatest length of a host. DNS names are shorter.
const MAX_HOST_LEN: usize = 255;

/// A node beacon, from a node to the tower: the node is alive and accepts connections at this port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeBeacon<'a> {
    /// The node's address. Nodes of the Java implementation leave it empty.
    pub sender: &'a [u8],
    /// The host at which the node accepts connections: ASCII, as in an endpoint. If it is empty, the tower determines
    /// the host from the connection over which the beacon came.
    pub host: &'a [u8],
    /// The TCP port on which the node publishes; not 0.
    pub port: u16,
    /// The messages that the node exchanges. `None` if the beacon does not name them.
    pub traffic: Option<Traffic>,
}

impl<'a> NodeBeacon<'a> {
    /// Decodes the frames of a node beacon.
    pub fn decode(frames: &[&'a [u8]]) -> Result<NodeBeacon<'a>, DecodeError> {
        let [beacon, sender, host, port, further @ ..] = frames else {
            return Err(DecodeError::Frames { message: NODE_BEACON, expected: 4, got: frames.len() });
        };
        check(*beacon == BEACON, NODE_BEACON, "first frame")?;
        check(is_sender(sender), NODE_BEACON, "sender")?;
        check(host.is_empty() || is_host(host), NODE_BEACON, "host")?;
        let port = parse_port(port).ok_or(DecodeError::Invalid { message: NODE_BEACON, field: "port" })?;
        Ok(NodeBeacon { sender, host, port, traffic: traffic(further) })
    }

    /// The frames of the beacon. The values come from the node itself, so they are not checked.
    pub fn encode(&self) -> Vec<Vec<u8>> {
        let port = self.port.to_string().into_bytes();
        let mut frames = vec![BEACON.to_vec(), self.sender.to_vec(), self.host.to_vec(), port];
        frames.extend(self.traffic.map(Traffic::encode));
        frames
    }
}

/// A tower beacon, from the tower to the nodes: a node is alive and accepts connections at this endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TowerBeacon<'a> {
    /// The address of the node.
    pub sender: &'a [u8],
    /// The endpoint of the node: `tcp://HOST:PORT`. A decoded endpoint contains no `;`: ZeroMQ would use the part
    /// before it as the source address.
    pub endpoint: &'a str,
    /// The messages that the node exchanges. `None` if the beacon does not name them.
    pub traffic: Option<Traffic>,
}

impl<'a> TowerBeacon<'a> {
    /// Decodes the frames of a tower beacon.
    pub fn decode(frames: &[&'a [u8]]) -> Result<TowerBeacon<'a>, DecodeError> {
        let [beacon, sender, endpoint, further @ ..] = frames else {
            return Err(DecodeError::Frames { message: TOWER_BEACON, expected: 3, got: frames.len() });
        };
        check(*beacon == BEACON, TOWER_BEACON, "first frame")?;
        check(is_sender(sender), TOWER_BEACON, "sender")?;
        let endpoint = parse_endpoint(endpoint)
            .ok_or(DecodeError::Invalid { message: TOWER_BEACON, field: "endpoint" })?;
        Ok(TowerBeacon { sender, endpoint, traffic: traffic(further) })
    }

    /// The frames of the beacon. The tower has checked the parts of the endpoint before, so they are not checked here.
    pub fn encode(&self) -> Vec<Vec<u8>> {
        let mut frames = vec![BEACON.to_vec(), self.sender.to_vec(), self.endpoint.as_bytes().to_vec()];
        frames.extend(self.traffic.map(Traffic::encode));
        frames
    }
}

/// The traffic in the first further frame of a beacon.
fn traffic(further: &[&[u8]]) -> Option<Traffic> {
    further.first().and_then(|frame| Traffic::decode(frame))
}

fn check(valid: bool, message: &'static str, field: &'static str) -> Result<(), DecodeError> {
    if valid { Ok(()) } else { Err(DecodeError::Invalid { message, field }) }
}

/// Whether this may be the address of a node. It may be empty.
fn is_sender(sender: &[u8]) -> bool {
    sender.len() <= MAX_NAME_LEN && !sender.contains(&0)
}

/// Whether this may be the host of a TCP endpoint to connect to.
///
/// It must be printable ASCII without `;` and `*`, which have a meaning for ZeroMQ. Square brackets may only enclose
/// the whole host, as for an IPv6 address. IPv6 addresses without brackets are valid too: towers of 0.1.0 announce
/// them, and for ZeroMQ, the port begins after the last colon.
///
/// Both kinds of beacons use this rule, so that a tower never announces a host that nodes refuse.
fn is_host(host: &[u8]) -> bool {
    let inner = host.strip_prefix(b"[").and_then(|rest| rest.strip_suffix(b"]")).unwrap_or(host);
    let valid = |octet: &u8| octet.is_ascii_graphic() && !b";*[]".contains(octet);
    !inner.is_empty() && host.len() <= MAX_HOST_LEN && inner.iter().all(valid)
}

/// A decimal port from 1 to 65535, without sign and leading zeros.
fn parse_port(text: &[u8]) -> Option<u16> {
    // `parse` would accept a plus sign, leading zeros and port 0.
    if !matches!(text.first(), Some(b'1'..=b'9')) {
        return None;
    }
    str::from_utf8(text).ok()?.parse().ok()
}

/// An endpoint in the form `tcp://HOST:PORT`.
fn parse_endpoint(endpoint: &[u8]) -> Option<&str> {
    // Check the length first, so that a long frame costs no time.
    if endpoint.len() > Endpoint::TRANSPORT.len() + MAX_HOST_LEN + ":65535".len() {
        return None;
    }
    let endpoint = str::from_utf8(endpoint).ok()?;
    let Endpoint { host, port } = Endpoint::parse(endpoint)?;
    parse_port(port.as_bytes())?;
    is_host(host.as_bytes()).then_some(endpoint)
}
