//! Who is at the other end of a connection.

use super::Frame;
use std::fmt::{self, Display, Formatter};
use std::mem::MaybeUninit;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::RawFd;

/// The address and port at the other end of a connection. Of one that we made it is what we connected to, and the same
/// after it was made anew.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Peer(pub(super) Vec<u8>);

impl Peer {
    /// Who has sent a message that was received; `None` when its transport does not tell. A system call: not for each
    /// message. All whose connections have ended since are taken for one.
    pub fn who_sent(frame: &Frame) -> Option<Peer> {
        frame.source_file().map(Peer::at)
    }

    fn at(file: RawFd) -> Peer {
        Peer::of(file).unwrap_or(Peer(vec![0]))
    }

    /// What tells it from others, as octets; never none.
    pub fn octets(&self) -> &[u8] {
        &self.0
    }

    /// Of a connection's file; `None` when it is none, or has ended.
    pub(super) fn of(file: RawFd) -> Option<Peer> {
        let mut address = MaybeUninit::<libc::sockaddr_storage>::zeroed();
        let mut len = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
        // SAFETY: the address is writable and as long as said; all of it is initialized, to zeros.
        let octets = unsafe {
            if libc::getpeername(file, address.as_mut_ptr().cast(), &mut len) != 0 {
                return None;
            }
            let len = (len as usize).min(size_of::<libc::sockaddr_storage>());
            std::slice::from_raw_parts(address.as_ptr().cast::<u8>(), len)
        };
        Some(Peer(octets.to_vec()))
    }
}

impl Display for Peer {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        // Family, port and address stand where struct sockaddr_in and sockaddr_in6 have them.
        let family = self.0.first_chunk().map_or(0, |octets| i32::from(u16::from_ne_bytes(*octets)));
        let port = self.0.get(2..4).map_or(0, |octets| u16::from(octets[0]) << 8 | u16::from(octets[1]));
        let octets = |range| self.0.get(range);
        let ipv4 = octets(4..8).and_then(|octets| <[u8; 4]>::try_from(octets).ok());
        let ipv6 = octets(8..24).and_then(|octets| <[u8; 16]>::try_from(octets).ok());
        let address = match family {
            libc::AF_INET => ipv4.map(IpAddr::from),
            libc::AF_INET6 => ipv6.map(|octets| IpAddr::from(octets).to_canonical()),
            _ => None,
        };
        match address {
            Some(address) => write!(f, "{}", SocketAddr::new(address, port)),
            None => f.write_str("this host"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Kind, Socket};
    use super::*;

    fn receive(socket: &Socket) -> Frame {
        socket.zmq().set_rcvtimeo(60_000).unwrap();
        let mut frame = Frame::new();
        socket.recv(&mut frame).unwrap();
        frame
    }

    #[test]
    fn who_has_sent_a_message_is_told_by_its_connection() {
        let subscriber = Socket::new(Kind::SUB).unwrap();
        subscriber.zmq().set_subscribe(b"").unwrap();
        let publishers = [(); 2].map(|()| {
            let publisher = Socket::new(Kind::XPUB).unwrap();
            let port = publisher.bind_ephemeral().unwrap();
            subscriber.connect(&format!("tcp://127.0.0.1:{port}")).unwrap();
            receive(&publisher);
            publisher
        });
        let who = |number: usize| {
            publishers[number].send_frames(&[b"topic"]).unwrap();
            Peer::who_sent(&receive(&subscriber)).expect("TCP tells")
        };
        let (first, second) = (who(0), who(1));
        assert!(first != second && !first.octets().is_empty());
        assert_eq!((who(0), who(1)), (first.clone(), second.clone()));
        // Those whose connections have ended when their messages are read: there is no such file.
        let gone = Peer::at(-1);
        assert_eq!(gone, Peer::at(RawFd::MAX));
        assert!(![first, second].contains(&gone) && !gone.octets().is_empty());
        assert_eq!(Peer::who_sent(&Frame::copy(b"made here")), None);
    }

    #[test]
    fn peers_are_named() {
        let text = |octets: &[u8], family: i32| {
            Peer([&(family as u16).to_ne_bytes()[..], octets].concat()).to_string()
        };
        assert_eq!(text(&[0x16, 0x2e, 10, 0, 0, 1], libc::AF_INET), "10.0.0.1:5678");
        let mut ipv6 = [0; 26];
        (ipv6[1], ipv6[21], ipv6[6], ipv6[7]) = (9, 1, 0xfd, 0);
        assert_eq!(text(&ipv6, libc::AF_INET6), "[fd00::1]:9");
        assert_eq!(text(&[], libc::AF_UNIX), "this host");
        assert_eq!(text(&[], libc::AF_INET6), "this host");
    }
}
