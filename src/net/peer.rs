//! Who is at the other end of a connection.

use std::mem::MaybeUninit;
use std::os::fd::RawFd;

/// The address and port at the other end of a connection. Of one that we made it is what we connected to, and the same
/// after it was made anew.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Peer(Vec<u8>);

impl Peer {
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
