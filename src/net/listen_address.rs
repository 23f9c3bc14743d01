//! Where a socket listens.

use super::Peer;
use super::endpoint::socket_address;
use std::net::SocketAddr;

/// Where a socket listens, in the form in which the kernel reports the local end of a connection.
pub(super) enum ListenAddress {
    /// An unspecified IP address means all addresses of this host.
    Tcp(SocketAddr),
    /// A `struct sockaddr_un`, up to the end of the path.
    Unix(Peer),
}

impl ListenAddress {
    /// `None` for other transports. The path of an `ipc://` endpoint need not be valid UTF-8.
    pub(super) fn parse(endpoint: &[u8]) -> Option<ListenAddress> {
        if let Some(path) = endpoint.strip_prefix(b"ipc://") {
            return Some(ListenAddress::Unix(Peer::unix(path)));
        }
        socket_address(str::from_utf8(endpoint).ok()?).map(ListenAddress::Tcp)
    }

    /// Whether a connection whose local end is `local` was accepted at this address.
    pub(super) fn matches(&self, local: &Peer) -> bool {
        match self {
            ListenAddress::Unix(path) => path == local,
            ListenAddress::Tcp(bound) => local.address().is_some_and(|local| {
                let is_any = bound.ip().is_unspecified();
                local.port() == bound.port() && (is_any || local.ip() == bound.ip().to_canonical())
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepted_connections_match_the_address() {
        let address = |endpoint: &str| ListenAddress::parse(endpoint.as_bytes()).unwrap();
        let peer = |text: &str| Peer::from(text.parse::<SocketAddr>().unwrap());
        assert!(address("tcp://0.0.0.0:5556").matches(&peer("10.0.0.1:5556")));
        assert!(address("tcp://[::]:5556").matches(&peer("10.0.0.1:5556")));
        assert!(!address("tcp://0.0.0.0:5556").matches(&peer("10.0.0.1:5557")));
        assert!(!address("tcp://10.0.0.2:5556").matches(&peer("10.0.0.1:5556")));
        assert!(address("tcp://[fe80::1%eth0]:5556").matches(&peer("[fe80::1]:5556")));
        assert!(ListenAddress::parse(b"inproc://tower").is_none());
        assert!(ListenAddress::parse(b"ipc:///tmp/\xe9").unwrap().matches(&Peer::unix(b"/tmp/\xe9")));
    }
}
