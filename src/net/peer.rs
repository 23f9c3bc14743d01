//! Identifies the peer at the other end of a connection.

use super::endpoint::{host_of, peer_endpoint};
use std::fmt::{self, Display, Formatter};
use std::mem::MaybeUninit;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::RawFd;

/// The address of one end of a connection, usually of the other end: an IP address and a port, or the path of a Unix
/// socket. If this node made the connection, the address of the other end is the one to which the node connected. A
/// reconnect does not change it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Peer(pub(super) Vec<u8>);

/// The descriptor of the connection over which a message was received. It is valid only while the connection lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Origin(pub(super) Option<RawFd>);

impl Peer {
    /// The peer that sent a message. `None` when the transport does not provide it. If the connection has ended, the
    /// result is the same for all peers, see [`Peer::is_gone`]. This makes a system call: do not call it for each
    /// message.
    pub fn sender_of(origin: Origin) -> Option<Peer> {
        origin.0.map(Peer::at)
    }

    fn at(file: RawFd) -> Peer {
        Peer::of(file).unwrap_or(Peer(vec![0]))
    }

    /// True if the connection had already ended when the peer was looked up.
    pub fn is_gone(&self) -> bool {
        self.0 == [0]
    }

    /// A name that distinguishes this peer from others. The first 16 bytes identify the peer's host.
    pub fn name(&self) -> Box<[u8]> {
        let host = self.address().map_or(0, |address| match host_of(address.ip()) {
            IpAddr::V4(ip) => u128::from(ip.to_ipv6_mapped()),
            IpAddr::V6(ip) => u128::from(ip),
        });
        [&host.to_be_bytes()[..], &self.0].concat().into()
    }

    /// The peer with this name, see [`Peer::name`].
    pub fn by_name(name: &[u8]) -> Option<Peer> {
        Some(Peer(name.get(16..)?.to_vec()))
    }

    /// The endpoint of the peer with this name, see [`Peer::endpoint`].
    pub fn endpoint_by_name(name: &[u8]) -> Option<String> {
        Peer::by_name(name)?.endpoint()
    }

    /// The canonical endpoint of the peer, without a zone. `None` for transports other than TCP.
    pub fn endpoint(&self) -> Option<String> {
        let address = self.address()?;
        peer_endpoint(address.ip(), address.port())
    }

    /// The peer of a connection. `None` when the descriptor is not a connection, or the connection has ended.
    pub(super) fn of(file: RawFd) -> Option<Peer> {
        // SAFETY: `address` is writable, and `len` contains its length.
        Peer::from_call(|address, len| unsafe { libc::getpeername(file, address, len) })
    }

    /// Our own end of a connection.
    pub(super) fn local(file: RawFd) -> Option<Peer> {
        // SAFETY: `address` is writable, and `len` contains its length.
        Peer::from_call(|address, len| unsafe { libc::getsockname(file, address, len) })
    }

    fn from_call(
        call: impl FnOnce(*mut libc::sockaddr, *mut libc::socklen_t) -> libc::c_int,
    ) -> Option<Peer> {
        let mut address = MaybeUninit::<libc::sockaddr_storage>::zeroed();
        let mut len = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
        if call(address.as_mut_ptr().cast(), &mut len) != 0 {
            return None;
        }
        let len = (len as usize).min(size_of::<libc::sockaddr_storage>());
        // SAFETY: all of the address is initialized. Bytes that the system has not written are zero.
        Some(Peer(unsafe { std::slice::from_raw_parts(address.as_ptr().cast::<u8>(), len) }.to_vec()))
    }

    /// From a Unix socket's path in libzmq's form: an abstract path begins with `@`.
    pub(super) fn unix(path: &[u8]) -> Peer {
        let family = (libc::AF_UNIX as u16).to_ne_bytes();
        match path.strip_prefix(b"@") {
            Some(name) => Peer([&family, &b"\0"[..], name].concat()),
            None => Peer([&family, path, b"\0"].concat()),
        }
    }

    /// The IP address and port. An IPv4-mapped IPv6 address becomes an IPv4 address. `None` for other transports.
    pub fn address(&self) -> Option<SocketAddr> {
        // `self.0` has the layout of struct sockaddr_in or sockaddr_in6.
        let family = u16::from_ne_bytes(*self.0.first_chunk()?);
        let port = u16::from_be_bytes(self.0.get(2..4)?.try_into().ok()?);
        let address = match i32::from(family) {
            libc::AF_INET => IpAddr::from(<[u8; 4]>::try_from(self.0.get(4..8)?).ok()?),
            libc::AF_INET6 => IpAddr::from(<[u8; 16]>::try_from(self.0.get(8..24)?).ok()?).to_canonical(),
            _ => return None,
        };
        Some(SocketAddr::new(address, port))
    }
}

#[cfg(test)]
impl From<SocketAddr> for Peer {
    fn from(address: SocketAddr) -> Peer {
        let port = address.port().to_be_bytes();
        let family = |family: i32| (family as u16).to_ne_bytes();
        match address.ip() {
            IpAddr::V4(ip) => Peer([&family(libc::AF_INET)[..], &port, &ip.octets(), &[0; 8]].concat()),
            IpAddr::V6(ip) => {
                Peer([&family(libc::AF_INET6)[..], &port, &[0; 4], &ip.octets(), &[0; 4]].concat())
            }
        }
    }
}

impl Display for Peer {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        match self.address() {
            Some(address) => write!(f, "{address}"),
            None => f.write_str("this host"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Frame, Kind, Socket};
    use super::*;

    fn receive(socket: &Socket) -> Frame {
        socket.zmq().set_rcvtimeo(60_000).unwrap();
        let mut frame = Frame::new();
        socket.recv(&mut frame).unwrap();
        frame
    }

    #[test]
    fn the_sender_of_a_message_is_identified_by_its_connection() {
        let subscriber = Socket::new(Kind::SUB).unwrap();
        subscriber.zmq().set_subscribe(b"").unwrap();
        let publishers = [(); 2].map(|()| {
            let publisher = Socket::new(Kind::XPUB).unwrap();
            let port = publisher.bind_ephemeral().unwrap();
            subscriber.connect(&format!("tcp://127.0.0.1:{port}")).unwrap();
            receive(&publisher);
            publisher
        });
        let sender = |number: usize| {
            publishers[number].send_frames(&[b"topic"]).unwrap();
            Peer::sender_of(receive(&subscriber).origin()).expect("TCP provides it")
        };
        let (first, second) = (sender(0), sender(1));
        assert!(
            first != second && first.name()[..16] == second.name()[..16] && first.name() != second.name()
        );
        assert!(first.endpoint().unwrap().starts_with("tcp://127.0.0.1:"));
        assert_eq!((sender(0), sender(1)), (first.clone(), second.clone()));
        assert_eq!((Peer::by_name(&first.name()), Peer::by_name(b"short")), (Some(first.clone()), None));
        // The descriptor of a connection that has ended is not open.
        let gone = Peer::at(-1);
        assert_eq!(gone, Peer::at(RawFd::MAX));
        assert!(![first, second].contains(&gone) && !gone.name().is_empty());
        assert_eq!(Peer::sender_of(Frame::copy(b"made here").origin()), None);
    }

    #[test]
    fn peers_are_displayed_as_addresses() {
        let text = |bytes: &[u8], family: i32| {
            Peer([&(family as u16).to_ne_bytes()[..], bytes].concat()).to_string()
        };
        assert_eq!(text(&[0x16, 0x2e, 10, 0, 0, 1], libc::AF_INET), "10.0.0.1:5678");
        let mut ipv6 = [0; 26];
        (ipv6[1], ipv6[21], ipv6[6], ipv6[7]) = (9, 1, 0xfd, 0);
        assert_eq!(text(&ipv6, libc::AF_INET6), "[fd00::1]:9");
        assert_eq!(text(&[], libc::AF_UNIX), "this host");
        assert_eq!(text(&[], libc::AF_INET6), "this host");
    }
}
