//! What libzmq holds of one connection, estimated from what the kernel and the node count.

use super::registry::BoundedSocket;
use super::{SMALL_BYTES, Taken};
use crate::net::Peer;
use crate::net::descriptors::socket_number;
use std::os::fd::RawFd;
use std::sync::Arc;
use std::time::Instant;

/// A connection's descriptor and the number of its socket.
pub(super) type Id = (RawFd, u64);

/// What each frame takes in a pipe of libzmq (4.3) beside its content.
const FRAME_BYTES: u64 = 64;
/// The shortest frame takes this on the wire.
const MIN_FRAME_LEN_BYTES: u64 = 2;
/// libzmq reads up to 8 KiB at once. The frames that it finds there refer to the whole buffer.
const READ_BUFFER_BYTES: u64 = 18 << 10;
/// What a full segment brings, as a rule. libzmq reads several of these at once when many come.
const FULL_SEGMENT_LEN_BYTES: u64 = 1_400;

/// A connection of a side.
pub(super) struct Connection {
    pub(super) socket: Arc<BoundedSocket>,
    pub(super) peer: Peer,
    /// What the kernel has received since the connection was made.
    received: Arrived,
    /// The same, when the node had read everything.
    received_before: Arrived,
    /// Never more than was received.
    taken_bytes: u64,
    /// What the node took at the latest look at which it took something, when, and what was received by then.
    latest: Taken,
    latest_at: Instant,
    latest_received_bytes: u64,
    in_kernel_bytes: u64,
    pub(super) held_bytes: u64,
    pub(super) is_ended: bool,
    pub(super) is_listed: bool,
}

/// What a TCP connection has received.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Arrived {
    pub(super) len_bytes: u64,
    /// Segments with data.
    pub(super) segments: u64,
}

impl Connection {
    pub(super) fn new(socket: Arc<BoundedSocket>, peer: Peer) -> Connection {
        Connection {
            socket,
            peer,
            received: Arrived::default(),
            received_before: Arrived::default(),
            taken_bytes: 0,
            latest: Taken::default(),
            latest_at: Instant::now(),
            latest_received_bytes: 0,
            in_kernel_bytes: 0,
            held_bytes: 0,
            is_ended: false,
            is_listed: true,
        }
    }

    /// The node has read everything.
    pub(super) fn was_empty(&mut self) {
        self.received_before = self.received;
    }

    /// What was received since the node has read everything.
    pub(super) fn unread_bytes(&self) -> u64 {
        self.received.len_bytes - self.received_before.len_bytes
    }

    pub(super) fn taken_bytes(&self) -> u64 {
        self.taken_bytes
    }

    /// What was received by the latest look, and how much of that libzmq had not read.
    pub(super) fn latest_arrived(&self) -> (Arrived, u64) {
        (self.received, self.in_kernel_bytes)
    }

    /// Takes what was received since the connection was made, what the node has taken since the last look, what else it
    /// need not take, and what libzmq has not read yet. Returns how many more octets were received, and how many of those
    /// taken were not: an earlier connection that had the same descriptor has brought them.
    pub(super) fn update(
        &mut self,
        arrived: Arrived,
        taken: Taken,
        granted_bytes: u64,
        in_kernel_bytes: u64,
    ) -> (u64, u64) {
        let before_bytes = self.received.len_bytes;
        self.received.len_bytes = before_bytes.max(arrived.len_bytes);
        self.received.segments = self.received.segments.max(arrived.segments);
        let surplus_bytes = taken.len_bytes.saturating_sub(self.received.len_bytes - self.taken_bytes);
        let taken_bytes = taken.len_bytes.saturating_add(granted_bytes);
        self.taken_bytes = self.taken_bytes.saturating_add(taken_bytes).min(self.received.len_bytes);
        self.in_kernel_bytes = in_kernel_bytes;
        self.held_bytes = (self.received.len_bytes - self.taken_bytes).saturating_sub(in_kernel_bytes);
        if taken.frames > 0 {
            (self.latest, self.latest_at) = (taken, Instant::now());
            self.latest_received_bytes = self.received.len_bytes;
        }
        (self.received.len_bytes - before_bytes, surplus_bytes)
    }

    /// When the node took something the last time. A message that arrives since then is not complete.
    pub(super) fn latest_at(&self) -> Instant {
        self.latest_at
    }

    /// What is held of frames of which the node has seen none: it has taken nothing since they came.
    pub(super) fn unknown_bytes(&self) -> u64 {
        self.held_bytes.min(self.received.len_bytes - self.latest_received_bytes)
    }

    /// What counts towards the side's limit: the octets held, or an estimate of the memory that they occupy. Frames that
    /// the node has not seen are taken for one long frame where that may be, for the shortest frames where not.
    pub(super) fn cost_bytes(&self) -> u64 {
        if self.socket.limits_received_bytes() {
            return self.held_bytes;
        }
        let unknown_bytes = self.unknown_bytes();
        let known_bytes = self.held_bytes - unknown_bytes;
        let known_frames = per(known_bytes, self.latest.frames, self.latest.len_bytes);
        let known_cost_bytes = known_bytes
            .saturating_add(known_frames.saturating_mul(FRAME_BYTES))
            .saturating_add(self.read_buffers_bytes(known_bytes));
        known_cost_bytes.saturating_add(match self.socket.takes_long_frames() {
            true => unknown_bytes,
            false => (unknown_bytes / MIN_FRAME_LEN_BYTES)
                .saturating_mul(FRAME_BYTES)
                .max(self.read_buffers_bytes(unknown_bytes)),
        })
    }

    /// What the buffers occupy that libzmq has read short segments into, each for itself.
    fn read_buffers_bytes(&self, len_bytes: u64) -> u64 {
        let segments = self.received.segments - self.received_before.segments;
        let segments = per(len_bytes, segments, self.unread_bytes());
        segments.saturating_sub(len_bytes / FULL_SEGMENT_LEN_BYTES).saturating_mul(READ_BUFFER_BYTES)
    }
}

/// How many there are in `len_bytes` when there are `count` in `of_bytes`.
pub(super) fn per(len_bytes: u64, count: u64, of_bytes: u64) -> u64 {
    match of_bytes {
        0 => 0,
        _ => u64::try_from(u128::from(len_bytes) * u128::from(count) / u128::from(of_bytes))
            .unwrap_or(u64::MAX),
    }
}

/// What a connection has received since it was made, and, if the node has taken much less of that, how much libzmq has
/// not read yet. `None` when the descriptor has become another socket since it was listed, and where the kernel does not
/// tell.
pub(super) fn arrived((file, number): Id, taken_bytes: u64) -> Option<(Arrived, u64)> {
    let arrived = received(file)?;
    let is_much = arrived.len_bytes.saturating_sub(taken_bytes) > SMALL_BYTES;
    let in_kernel_bytes = if is_much { in_kernel_bytes(file) } else { 0 };
    // Looked up last: libzmq may close the descriptor, and get it back for another connection, at any time.
    (socket_number(file) == Some(number)).then_some((arrived, in_kernel_bytes))
}

/// What a TCP connection has received since it was made; `None` for other sockets, and where the kernel does not tell.
fn received(file: RawFd) -> Option<Arrived> {
    /// Where `tcpi_bytes_received` and `tcpi_data_segs_in` stand in `struct tcp_info` of linux/tcp.h.
    const BYTES_OFFSET: usize = 128;
    const SEGMENTS_OFFSET: usize = 152;
    let mut info = [0_u8; SEGMENTS_OFFSET + 4];
    let mut len = info.len() as libc::socklen_t;
    // SAFETY: the buffer is writable and as long as said.
    let rc = unsafe {
        libc::getsockopt(file, libc::IPPROTO_TCP, libc::TCP_INFO, info.as_mut_ptr().cast(), &mut len)
    };
    if rc != 0 || (len as usize) < BYTES_OFFSET + 8 {
        return None;
    }
    // Of older kernels, which do not count the segments, these stay zero.
    let len_bytes = info[BYTES_OFFSET..].first_chunk().map(|octets| u64::from_ne_bytes(*octets))?;
    let segments = info[SEGMENTS_OFFSET..].first_chunk().map(|octets| u32::from_ne_bytes(*octets))?;
    Some(Arrived { len_bytes, segments: segments.into() })
}

/// How much of that libzmq has not read yet.
fn in_kernel_bytes(file: RawFd) -> u64 {
    let mut len: libc::c_int = 0;
    // SAFETY: the pointer is to an int that lives; for a descriptor that is no socket, the call fails.
    let rc = unsafe { libc::ioctl(file, libc::FIONREAD, &mut len) };
    if rc == 0 { u64::try_from(len).unwrap_or(0) } else { 0 }
}
