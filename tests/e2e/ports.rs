//! Ports for towers.

use std::net::{Ipv4Addr, TcpListener};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::sync::atomic::{AtomicU32, Ordering};

/// A TCP port that no other test uses until this is dropped.
///
/// Ports that the system hands out for port 0 are no good here: between two towers on the same port a node's own
/// socket could be given it. So this one lies below that range, and a Unix socket of a name made of the
/// port, which the system frees with the process, keeps other test processes off it.
pub(crate) struct Port {
    number: u16,
    _reserved: UnixListener,
}

const FIRST: u32 = 10_000;
const COUNT: u32 = 20_000;

impl Port {
    pub(crate) fn reserve() -> Port {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        // Test processes start at different places, so that they seldom meet.
        let start = std::process::id().wrapping_mul(97);
        for _ in 0..COUNT {
            let step = NEXT.fetch_add(1, Ordering::Relaxed);
            let number = (FIRST + start.wrapping_add(step) % COUNT) as u16;
            let name = SocketAddr::from_abstract_name(format!("dafka-e2e-port-{number}")).expect("a name");
            let Ok(reserved) = UnixListener::bind_addr(&name) else { continue };
            if TcpListener::bind((Ipv4Addr::UNSPECIFIED, number)).is_ok() {
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
