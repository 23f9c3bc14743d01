//! When peers overload the node of a listening socket, rejects new connections to the socket for a while.
//!
//! While subscriptions arrive faster than libzmq processes them, a call of an XPUB socket does not return to the node.
//! Ending connections does not help, because peers reconnect at once. So a filter at the listening descriptor makes the
//! kernel ignore new connections: the filter is closed. Existing connections are not affected, and the ignored peers
//! retry.
//!
//! When the socket holds more than its limit, connections are ended, and the filter closes at once: libzmq still
//! processes what the ended connections have sent, and new connections would send as much again.

use super::super::descriptors::{Descriptors, socket_number, with_duplicate};
use super::super::listen_address::ListenAddress;
use super::super::peer::Peer;
use super::connection::Id;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::time::{Duration, Instant};

/// An overload begins when more than this has arrived since the node last had nothing left to read. It ends when the
/// node has nothing left to read.
const SMALL_BYTES: u64 = super::SMALL_BYTES;
/// When the node has been overloaded for CLOSE_AFTER, the filter is closed. When it has been overloaded for END_AFTER,
/// the connections over which much has arrived are ended.
const CLOSE_AFTER: Duration = Duration::from_secs(2);
const END_AFTER: Duration = Duration::from_secs(5);
/// After an overload, the filter stays closed for this many times the duration of the overload, but at most for
/// MAX_CLOSED_TIME. So new connections use at most a fifth of the node's time, if no overload lasts longer than 7.5 s.
const CLOSED_FACTOR: u32 = 4;
const MAX_CLOSED_TIME: Duration = Duration::from_secs(30);

/// What must be done for a listening socket.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    Nothing,
    Close,
    /// End the connections over which much has arrived since the node last had nothing left to read.
    End,
    Open,
}

/// The filter of one listening socket.
#[derive(Default)]
pub(super) struct AcceptFilter {
    /// The bytes received since the node last had nothing left to read. `busy_since` is the time when they exceeded
    /// SMALL_BYTES.
    unread_bytes: u64,
    busy_since: Option<Instant>,
    is_closed: bool,
    /// When the closed filter opens again. `None` while the node is overloaded.
    opens_at: Option<Instant>,
    /// The listening descriptor that has the filter.
    filtered: Option<Id>,
}

impl AcceptFilter {
    /// Call this at each scan. `received_bytes`: received since the latest scan. `was_empty`: at some moment since the
    /// latest scan, the node had read everything. `is_overfull`: the socket holds more than its limit.
    pub(super) fn update(
        &mut self,
        received_bytes: u64,
        was_empty: bool,
        is_overfull: bool,
        now: Instant,
    ) -> Step {
        if was_empty {
            self.unread_bytes = 0;
            if let Some(since) = self.busy_since.take()
                && self.is_closed
            {
                self.opens_at = Some(now + ((now - since) * CLOSED_FACTOR).min(MAX_CLOSED_TIME));
            }
        }
        self.unread_bytes += received_bytes;
        if self.unread_bytes > SMALL_BYTES {
            self.busy_since.get_or_insert(now);
        }
        match self.busy_since.map(|since| now - since) {
            Some(busy) if busy >= END_AFTER => Step::End,
            Some(busy) if (busy >= CLOSE_AFTER || is_overfull) && !self.is_closed => {
                (self.is_closed, self.opens_at) = (true, None);
                Step::Close
            }
            None if self.opens_at.is_some_and(|opens| now >= opens) => {
                (self.is_closed, self.opens_at) = (false, None);
                Step::Open
            }
            _ => Step::Nothing,
        }
    }

    /// Whether new connections are accepted, and the node is not overloaded.
    pub(super) fn is_idle(&self) -> bool {
        !self.is_closed && self.busy_since.is_none()
    }

    /// Makes the kernel ignore new connections. False when the socket is not found, or the kernel refuses.
    pub(super) fn close(&mut self, descriptors: &mut Descriptors, address: &ListenAddress) -> bool {
        let mut found = None;
        descriptors.each(|file, number| {
            if found.is_none()
                && is_listening(file)
                && Peer::local(file).is_some_and(|local| address.matches(&local))
            {
                found = number.map(|number| (file, number));
            }
        });
        self.filtered = found.filter(|&id| with_socket(id, ignore_all));
        self.filtered.is_some()
    }

    /// Accepts new connections again.
    pub(super) fn open(&mut self) {
        let Some(id) = self.filtered.take() else { return };
        let unused: libc::c_int = 0;
        with_socket(id, |file| set_option(file, libc::SO_DETACH_FILTER, &unused));
    }
}

impl Drop for AcceptFilter {
    fn drop(&mut self) {
        self.open();
    }
}

/// Calls `act` with a duplicate of a socket's descriptor. False when the descriptor now belongs to another file, or
/// `act` fails.
fn with_socket((file, number): Id, act: impl FnOnce(RawFd) -> bool) -> bool {
    let act = |file: BorrowedFd| socket_number(file.as_raw_fd()) == Some(number) && act(file.as_raw_fd());
    with_duplicate(file, act).unwrap_or(false)
}

fn is_listening(file: RawFd) -> bool {
    let mut value: libc::c_int = 0;
    let mut len = size_of_val(&value) as libc::socklen_t;
    // SAFETY: the value is writable and has this length.
    let rc = unsafe {
        let value = (&raw mut value).cast();
        libc::getsockopt(file, libc::SOL_SOCKET, libc::SO_ACCEPTCONN, value, &mut len)
    };
    rc == 0 && value != 0
}

/// Makes the kernel drop all packets for a listening socket. Existing connections are not affected, because each has a
/// socket of its own.
fn ignore_all(file: RawFd) -> bool {
    let drop_all = libc::sock_filter { code: (libc::BPF_RET | libc::BPF_K) as u16, jt: 0, jf: 0, k: 0 };
    let mut program = [drop_all];
    let filter = libc::sock_fprog { len: 1, filter: program.as_mut_ptr() };
    set_option(file, libc::SO_ATTACH_FILTER, &filter)
}

fn set_option<T>(file: RawFd, option: libc::c_int, value: &T) -> bool {
    let len = size_of::<T>() as libc::socklen_t;
    // SAFETY: the pointer is to a live value of this length. The kernel copies what it points to.
    unsafe { libc::setsockopt(file, libc::SOL_SOCKET, option, std::ptr::from_ref(value).cast(), len) == 0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream};

    #[test]
    fn new_connections_use_at_most_a_fifth_of_the_time() {
        let start = Instant::now();
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        let mut filter = AcceptFilter::default();
        let mut update =
            |received, was_empty, seconds| filter.update(received, was_empty, false, at(seconds));
        // Any amount is allowed if the node reads it at once.
        assert_eq!(update(1 << 30, true, 0), Step::Nothing);
        assert_eq!(update(1 << 30, true, 10), Step::Nothing);
        assert_eq!(update(0, false, 11), Step::Nothing);
        assert_eq!(update(1, false, 12), Step::Close);
        assert_eq!(update(1, false, 13), Step::Nothing);
        assert_eq!(update(1, false, 15), Step::End);
        // The overload has lasted 6 s, so the filter stays closed for 24 s.
        assert_eq!(update(0, true, 16), Step::Nothing);
        assert_eq!(update(0, false, 39), Step::Nothing);
        assert_eq!(update(0, true, 40), Step::Open);
        // A small amount may stay unread for any time.
        assert_eq!(update(SMALL_BYTES, false, 41), Step::Nothing);
        assert_eq!(update(0, false, 100), Step::Nothing);
    }

    #[test]
    fn the_filter_closes_at_once_when_the_socket_holds_too_much() {
        let start = Instant::now();
        let at = |ms: u64| start + Duration::from_millis(ms);
        let mut filter = AcceptFilter::default();
        assert_eq!(
            filter.update(SMALL_BYTES, false, true, at(0)),
            Step::Nothing,
            "what was left by connections that had ended before"
        );
        assert_eq!(filter.update(1, false, true, at(20)), Step::Close);
        assert_eq!(filter.update(1, false, true, at(40)), Step::Nothing);
        assert_eq!(filter.update(0, true, false, at(120)), Step::Nothing);
        assert_eq!(filter.update(0, true, false, at(519)), Step::Nothing);
        assert_eq!(filter.update(0, true, false, at(520)), Step::Open);
    }

    #[test]
    fn a_rejected_peer_connects_when_the_filter_opens() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let mut before = TcpStream::connect(address).unwrap();
        let (mut accepted, _) = listener.accept().unwrap();
        let mut filter = AcceptFilter::default();
        let mut descriptors = Descriptors::open().unwrap();
        assert!(
            filter.close(
                &mut descriptors,
                &ListenAddress::parse(format!("tcp://{address}").as_bytes()).unwrap()
            )
        );
        assert!(TcpStream::connect_timeout(&address, Duration::from_millis(100)).is_err());
        std::io::Write::write_all(&mut before, b"x").unwrap();
        std::io::Read::read_exact(&mut accepted, &mut [0]).unwrap();
        let late = std::thread::spawn(move || TcpStream::connect(address).unwrap());
        drop(filter);
        late.join().unwrap();
    }
}
