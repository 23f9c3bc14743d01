//! Ports for towers.

use std::os::fd::{FromRawFd, OwnedFd};
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

/// Whether nobody listens at a port. Does not listen itself: a process that is being started may hold a copy of the
/// socket for a while, which does no harm to who listens there later with SO_REUSEADDR, as libzmq does.
fn is_free(number: u16) -> bool {
    // SAFETY: plain system calls; the descriptor is this function's own, and the pointers are to values that live.
    unsafe {
        let fd = libc::socket(libc::AF_INET, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0);
        if fd < 0 {
            return false;
        }
        let _owned = OwnedFd::from_raw_fd(fd);
        let on: libc::c_int = 1;
        let on_len = size_of_val(&on) as libc::socklen_t;
        libc::setsockopt(fd, libc::SOL_SOCKET, libc::SO_REUSEADDR, (&raw const on).cast(), on_len);
        let mut anywhere: libc::sockaddr_in = std::mem::zeroed();
        (anywhere.sin_family, anywhere.sin_port) = (libc::AF_INET as libc::sa_family_t, number.to_be());
        let len = size_of_val(&anywhere) as libc::socklen_t;
        libc::bind(fd, (&raw const anywhere).cast(), len) == 0
    }
}

/// The C tests, which may run at the same time, take theirs from 20,000 on (c-tests/testing.c).
const FIRST: u32 = 10_000;
const COUNT: u32 = 10_000;

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
