//! The canonical form of endpoints that peers announce: two texts that lead to the same peer must not count as two
//! peers.

use super::inbound::host_of;
use crate::wire::Endpoint;
use std::net::IpAddr;

/// The one form of an announced endpoint `tcp://HOST:PORT`. An address of the loopback becomes 127.0.0.1, an IPv4
/// address written as one of IPv6 becomes an IPv4 address, and a zone stays only where an address needs one: a link-local
/// one of IPv6. A name stays a name. `None` for what names no single host or port.
pub fn canonical(endpoint: &str) -> Option<String> {
    let parts = Endpoint::parse(endpoint)?;
    let port = parts.port.parse::<u16>().ok().filter(|&port| port > 0)?;
    // A bracket that has no other one stays a part of the address, and is in no name.
    let (address, zone) = (parts.address(), parts.zone());
    match (address.parse::<IpAddr>(), zone) {
        (Ok(IpAddr::V6(address)), Some(zone)) => {
            let is_name = !zone.is_empty()
                && zone.bytes().all(|octet| octet.is_ascii_alphanumeric() || b"._-@".contains(&octet));
            (address.is_unicast_link_local() && is_name).then(|| format!("tcp://[{address}%{zone}]:{port}"))
        }
        (Ok(address), None) => at(address, port),
        (Err(_), None) if is_name(address) => Some(format!("tcp://{address}:{port}")),
        _ => None,
    }
}

/// The endpoint of an address and a port; `None` for addresses of no single host.
pub(super) fn at(address: IpAddr, port: u16) -> Option<String> {
    let is_broadcast = matches!(address, IpAddr::V4(address) if address.is_broadcast());
    match address.to_canonical() {
        // The system takes the unspecified address for this host's.
        address if address.is_unspecified() || address.is_multicast() || is_broadcast => None,
        IpAddr::V4(address) if address.is_loopback() => Some(format!("tcp://127.0.0.1:{port}")),
        IpAddr::V4(address) => Some(format!("tcp://{address}:{port}")),
        IpAddr::V6(address) => Some(format!("tcp://[{address}]:{port}")),
    }
}

/// True for what may be looked up: letters, digits and what stands in the names of hosts.
fn is_name(host: &str) -> bool {
    let is_in_names = |octet: u8| octet.is_ascii_alphanumeric() || b"._-".contains(&octet) || octet >= 0x80;
    (1..=255).contains(&host.len()) && host.bytes().all(is_in_names)
}

/// What stands for all hosts that were not found: nobody can tell how many they are, and a name costs nothing.
const NOT_FOUND: &str = "a host that is not found";

/// What stands for the host of an endpoint in its one form where peers are counted by host: see `host_of`. All names count
/// as one host: those that were found have an address in their place.
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
    fn one_peer_has_one_endpoint() {
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
            // Zones where none belongs, hosts that are none, and what only libzmq understands.
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
    fn peers_are_counted_by_host() {
        assert_eq!(host_of_endpoint("tcp://10.0.0.1:5"), "10.0.0.1");
        assert_eq!(host_of_endpoint("tcp://[fd00::1:2:3:4]:5"), host_of_endpoint("tcp://[fd00::5]:6"));
        assert_ne!(host_of_endpoint("tcp://[fe80::1%eth0]:5"), host_of_endpoint("tcp://[fe80::2%eth0]:5"));
        assert_eq!(host_of_endpoint("tcp://one.example:5"), host_of_endpoint("tcp://another.example:6"));
        assert_ne!(host_of_endpoint("tcp://one.example:5"), host_of_endpoint("tcp://10.0.0.1:5"));
    }
}
