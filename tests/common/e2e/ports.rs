//! Ports for towers.

use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, socket_with, sockopt};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::sync::atomic::{AtomicU32, Ordering};

/// A TCP port that no other test uses until this value is dropped.
///
/// Ports that the system assigns for port 0 do not work here: after one tower ends and before the next one starts on
/// the same port, the system could assign the port to a node's own socket. So this port lies below the range of ports
/// that the system assigns. An abstract Unix socket whose name contains the port shows other test processes that the
/// port is taken. The system frees the name of the socket when this process ends.
pub(crate) struct Port {
    number: u16,
    _reserved: UnixListener,
}

/// Whether no process listens at a port.
///
/// The socket for this test is bound, and does not listen. A child process that is just starting may hold a copy of the
/// socket for a moment. A copy that is only bound does not prevent a later listener with SO_REUSEADDR, which libzmq
/// sets.
fn is_free(number: u16) -> bool {
    let socket = socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, None);
    socket.is_ok_and(|socket| {
        sockopt::set_socket_reuseaddr(&socket, true).expect("SO_REUSEADDR");
        bind(&socket, &SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, number)).is_ok()
    })
}

/// The C tests, which may run at the same time, use ports from 20,000 on (c-tests/testing.c).
const FIRST: u32 = 10_000;
const COUNT: u32 = 10_000;

impl Port {
    pub(crate) fn reserve() -> Port {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        // Each test process starts at another port, so that two processes seldom try the same port.
        let start = std::process::id().wrapping_mul(97);
        for _ in 0..COUNT {
            let step = NEXT.fetch_add(1, Ordering::Relaxed);
            let number = (FIRST + start.wrapping_add(step) % COUNT) as u16;
            let name = SocketAddr::from_abstract_name(format!("dafka-e2e-port-{number}")).expect("a name");
            let Ok(reserved) = UnixListener::bind_addr(&name) else { continue };
            if is_free(number) {
                return Port { number, _reserved: reserved };
            }
        }
        panic!("no free port in {FIRST}..{}", FIRST + COUNT);
    }

    pub(crate) fn number(&self) -> u16 {
        self.number
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("tcp://127.0.0.1:{}", self.number)
    }
}
