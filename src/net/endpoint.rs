//! Endpoints of peers: their canonical form, their addresses, and the hosts that they count towards.
//!
//! Two different texts can lead to one peer. They must not count as two peers.

use crate::wire::Endpoint;
use std::net::{IpAddr, SocketAddr};

/// The canonical form of an announced endpoint `tcp://HOST:PORT`. An IPv4-mapped IPv6 address becomes an IPv4 address.
/// Each IPv4 loopback address becomes 127.0.0.1. A link-local IPv6 address keeps its zone. A name stays a name. `None`
/// when the endpoint is not that of a single host and port. Also `None` when the endpoint has a zone, but its address
/// is not a link-local IPv6 address.
pub fn canonical(endpoint: &str) -> Option<String> {
    let parts = Endpoint::parse(endpoint)?;
    let port = parts.port.parse::<u16>().ok().filter(|&port| port > 0)?;
    // An unpaired bracket stays in the address. This text is then neither an IP address nor a name, because neither
    // contains a bracket. So the result is `None`.
    let (address, zone) = (parts.address(), parts.zone());
    match (address.parse::<IpAddr>(), zone) {
        (Ok(IpAddr::V6(address)), Some(zone)) => {
            let is_name = !zone.is_empty()
                && zone.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-@".contains(&byte));
            (address.is_unicast_link_local() && is_name).then(|| format!("tcp://[{address}%{zone}]:{port}"))
        }
        (Ok(address), None) => peer_endpoint(address, port),
        (Err(_), None) if is_name(address) => Some(format!("tcp://{address}:{port}")),
        _ => None,
    }
}

/// The canonical endpoint of an address and a port. `None` when the address is not that of a single host.
pub(super) fn peer_endpoint(address: IpAddr, port: u16) -> Option<String> {
    let is_broadcast = matches!(address, IpAddr::V4(address) if address.is_broadcast());
    let address = match address.to_canonical() {
        // To connect to the unspecified address means to connect to this host.
        address if address.is_unspecified() || address.is_multicast() || is_broadcast => return None,
        IpAddr::V4(address) if address.is_loopback() => IpAddr::from([127, 0, 0, 1]),
        address => address,
    };
    Some(with_address(address, &port.to_string()))
}

/// The endpoint of an address and a port.
pub(super) fn with_address(address: IpAddr, port: &str) -> String {
    match address {
        IpAddr::V4(address) => format!("tcp://{address}:{port}"),
        IpAddr::V6(address) => format!("tcp://[{address}]:{port}"),
    }
}

/// True for text that may be looked up: it has only letters, digits and other characters of host names.
fn is_name(host: &str) -> bool {
    let is_in_names = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte) || byte >= 0x80;
    (1..=255).contains(&host.len()) && host.bytes().all(is_in_names)
}

/// The host and port of an endpoint whose host is not an IP address.
pub(super) fn name_and_port(endpoint: &str) -> Option<(&str, &str)> {
    let parts = Endpoint::parse(endpoint)?;
    parts.address().parse::<IpAddr>().is_err().then_some((parts.host, parts.port))
}

/// The IP address, without a zone, and the port of an endpoint whose host is an IP address.
pub(super) fn socket_address(endpoint: &str) -> Option<SocketAddr> {
    let parts = Endpoint::parse(endpoint)?;
    Some(SocketAddr::new(parts.address().parse().ok()?, parts.port.parse().ok()?))
}

/// The port of an endpoint.
pub(super) fn port_of(endpoint: &str) -> Option<u16> {
    Endpoint::parse(endpoint)?.port.parse().ok()
}

/// The host towards which an address counts when peers or connections are limited per host. All loopback addresses are
/// one host. An IPv6 network of 64 bits is one host, because one host can use all addresses of the network. Each
/// link-local IPv6 address is a host.
pub(super) fn host_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        address if address.is_loopback() => IpAddr::from([127, 0, 0, 1]),
        IpAddr::V6(address) if !address.is_unicast_link_local() => {
            IpAddr::from((u128::from(address) >> 64 << 64).to_be_bytes())
        }
        address => address,
    }
}

/// Stands for all host names that were not found. They count as one host, because a peer can invent names at no cost.
const NOT_FOUND: &str = "a host that is not found";

/// The host towards which a canonical endpoint counts, see `host_of`. All names count as one host: they were not found.
/// (A name that was found has been replaced by its address.)
pub fn host_of_endpoint(endpoint: &str) -> String {
    let Some(parts) = Endpoint::parse(endpoint) else { return NOT_FOUND.to_owned() };
    match (parts.zone(), parts.address().parse::<IpAddr>()) {
        // A link-local address: no name has a zone.
        (Some(zone), _) => format!("{}%{zone}", parts.address()),
        (None, Ok(address)) => host_of(address).to_string(),
        (None, Err(_)) => NOT_FOUND.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_of_one_peer_have_one_canonical_form() {
        for (endpoint, expected) in [
            ("tcp://10.0.0.1:5", Some("tcp://10.0.0.1:5")),
            ("tcp://10.0.0.1:00005", Some("tcp://10.0.0.1:5")),
            ("tcp://[10.0.0.1]:5", Some("tcp://10.0.0.1:5")),
            ("tcp://127.1.2.3:5", Some("tcp://127.0.0.1:5")),
            ("tcp://[::ffff:127.0.0.2]:5", Some("tcp://127.0.0.1:5")),
            ("tcp://[::ffff:10.0.0.1]:5", Some("tcp://10.0.0.1:5")),
            ("tcp://[FD00:0::0:1]:5", Some("tcp://[fd00::1]:5")),
            ("tcp://fd00::1:5", Some("tcp://[fd00::1]:5")),
            ("tcp://[fe80:0::1%eth0]:5", Some("tcp://[fe80::1%eth0]:5")),
            ("tcp://host.example:5", Some("tcp://host.example:5")),
            // Unexpected zones, addresses that are not of one host, and syntax of libzmq.
            ("tcp://127.0.0.1%1:5", None),
            ("tcp://[::ffff:127.0.0.1%1]:5", None),
            ("tcp://[fd00::1%1]:5", None),
            ("tcp://[fe80::1%]:5", None),
            ("tcp://host%1:5", None),
            ("tcp://0.0.0.0:5", None),
            ("tcp://[::]:5", None),
            ("tcp://224.0.0.1:5", None),
            ("tcp://255.255.255.255:5", None),
            ("tcp://10.0.0.1:0", None),
            ("tcp://10.0.0.1:65536", None),
            ("tcp://10.0.0.1:*", None),
            ("tcp://*:5", None),
            ("tcp://:5", None),
            ("tcp://10.0.0.2:0;10.0.0.1:5", None),
            ("ipc:///tmp/socket", None),
            ("inproc://socket", None),
        ] {
            assert_eq!(canonical(endpoint).as_deref(), expected, "{endpoint}");
        }
    }

    #[test]
    fn a_host_is_an_address_or_a_network() {
        let host = |address: &str| host_of(address.parse().unwrap()).to_string();
        for loopback in ["127.0.0.1", "127.9.8.7", "::1", "::ffff:127.0.0.2"] {
            assert_eq!(host(loopback), "127.0.0.1");
        }
        assert_eq!(host("::ffff:10.0.0.7"), "10.0.0.7");
        assert_eq!(host("fd00::1:2:3:4"), host("fd00::5"));
        assert_ne!(host("fd00::1"), host("fd00:0:0:1::1"));
        assert_ne!(host("fe80::1"), host("fe80::2"));
    }

    #[test]
    fn peers_are_counted_by_host() {
        assert_eq!(host_of_endpoint("tcp://10.0.0.1:5"), "10.0.0.1");
        assert_eq!(host_of_endpoint("tcp://[fd00::1:2:3:4]:5"), host_of_endpoint("tcp://[fd00::5]:6"));
        assert_ne!(host_of_endpoint("tcp://[fe80::1%eth0]:5"), host_of_endpoint("tcp://[fe80::2%eth0]:5"));
        assert_eq!(host_of_endpoint("tcp://one.example:5"), host_of_endpoint("tcp://another.example:6"));
        assert_ne!(host_of_endpoint("tcp://one.example:5"), host_of_endpoint("tcp://10.0.0.1:5"));
    }
}
