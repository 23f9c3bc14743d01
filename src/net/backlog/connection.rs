//! Estimates how much unread data of one connection libzmq holds: the kernel counts received bytes, and the node counts
//! the bytes that it reads.

use super::behind::Behind;
use super::registry::BoundedSocket;
use super::{SMALL_BYTES, Taken};
use crate::net::Peer;
use crate::net::descriptors::socket_number;
use std::os::fd::RawFd;
use std::sync::Arc;
use std::time::Instant;

/// A connection's descriptor and the number of its socket.
pub(super) type Id = (RawFd, u64);

/// The memory of a frame in a pipe of libzmq (4.3), in addition to its content.
const FRAME_BYTES: u64 = 64;
/// The length of the shortest frame on the wire.
const MIN_FRAME_LEN_BYTES: u64 = 2;
/// The size of libzmq's read buffer. libzmq reads up to 8 KiB into it at once. Each frame in the buffer keeps the whole
/// buffer in memory.
const READ_BUFFER_BYTES: u64 = 18 << 10;
/// The usual length of a full TCP segment. When many segments arrive, libzmq reads several at once.
const FULL_SEGMENT_LEN_BYTES: u64 = 1_400;

/// A connection of a bounded socket.
pub(super) struct Connection {
    pub(super) socket: Arc<BoundedSocket>,
    pub(super) peer: Peer,
    /// What the kernel has received since the connection was made.
    received: Arrived,
    /// The value of `received` when the node last had nothing left to read.
    received_before: Arrived,
    /// How many bytes the node has read. Never more than were received.
    taken_bytes: u64,
    /// The next three fields are set at each scan that finds that the node has read something: what the node has read
    /// since the previous scan, the time of this scan, and the bytes received until this scan.
    latest: Taken,
    latest_at: Instant,
    latest_received_bytes: u64,
    in_kernel_bytes: u64,
    pub(super) held_bytes: u64,
    pub(super) behind: Behind,
    pub(super) is_ended: bool,
    pub(super) is_listed: bool,
}

/// The data that a TCP connection has received.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Arrived {
    pub(super) len_bytes: u64,
    /// The number of segments with data.
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
            behind: Behind::new(),
            is_ended: false,
            is_listed: true,
        }
    }

    /// Call this when the node has read everything.
    pub(super) fn was_empty(&mut self) {
        self.received_before = self.received;
    }

    /// How many bytes were received since the node last had nothing left to read.
    pub(super) fn unread_bytes(&self) -> u64 {
        self.received.len_bytes - self.received_before.len_bytes
    }

    pub(super) fn taken_bytes(&self) -> u64 {
        self.taken_bytes
    }

    /// What the connection had received at the time of the latest scan, and how much of that libzmq had not read.
    pub(super) fn latest_arrived(&self) -> (Arrived, u64) {
        (self.received, self.in_kernel_bytes)
    }

    /// Updates the counts. `arrived` is what the kernel has received since the connection was made. `taken` is what the
    /// node has read since the latest scan. `granted_bytes` is an allowance for heartbeats, which libzmq receives and
    /// the node never reads. `in_kernel_bytes` is how much of the received data libzmq has not read.
    ///
    /// Returns how many bytes were received since the previous call. Also returns by how many bytes `taken` exceeds the
    /// unread data of this connection: the node has read these bytes from an earlier connection with the same
    /// descriptor.
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

    /// The time of the latest scan that found that the node had read something. Data that arrived later and is unread
    /// may belong to a message that is still incomplete.
    pub(super) fn latest_at(&self) -> Instant {
        self.latest_at
    }

    /// The held bytes that arrived after the node last read something. It is unknown how many frames they contain.
    pub(super) fn unknown_bytes(&self) -> u64 {
        self.held_bytes.min(self.received.len_bytes - self.latest_received_bytes)
    }

    /// What counts towards the socket's limit: the bytes held, or an estimate of the memory that they occupy. If peers
    /// may send long frames, the unknown bytes are assumed to be one long frame. Otherwise they are assumed to be
    /// frames of the shortest length.
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

    /// Estimates the memory of libzmq's read buffers. Each short segment is assumed to occupy a buffer of its own. Full
    /// segments are not counted.
    fn read_buffers_bytes(&self, len_bytes: u64) -> u64 {
        let segments = self.received.segments - self.received_before.segments;
        let segments = per(len_bytes, segments, self.unread_bytes());
        segments.saturating_sub(len_bytes / FULL_SEGMENT_LEN_BYTES).saturating_mul(READ_BUFFER_BYTES)
    }
}

/// `of_bytes` contain `count` things. Returns how many of them `len_bytes` contain on average.
pub(super) fn per(len_bytes: u64, count: u64, of_bytes: u64) -> u64 {
    match of_bytes {
        0 => 0,
        _ => u64::try_from(u128::from(len_bytes) * u128::from(count) / u128::from(of_bytes))
            .unwrap_or(u64::MAX),
    }
}

/// Returns what a connection has received since it was made, and how much of that libzmq has not read. The second
/// number is 0 if the node has read nearly everything. `None` when the descriptor has become another socket since it
/// was listed, or the kernel does not report these counts.
pub(super) fn arrived((file, number): Id, taken_bytes: u64) -> Option<(Arrived, u64)> {
    let arrived = received(file)?;
    let is_much = arrived.len_bytes.saturating_sub(taken_bytes) > SMALL_BYTES;
    let in_kernel_bytes = if is_much { in_kernel_bytes(file) } else { 0 };
    // Check the socket last, because libzmq may close the descriptor at any time, and another connection may get it.
    (socket_number(file) == Some(number)).then_some((arrived, in_kernel_bytes))
}

/// What a TCP connection has received since it was made. `None` for other sockets, or when the kernel does not report
/// the count.
fn received(file: RawFd) -> Option<Arrived> {
    /// The offsets of `tcpi_bytes_received` and `tcpi_data_segs_in`.
    const BYTES_OFFSET: usize = 128;
    const SEGMENTS_OFFSET: usize = 152;
    let info = tcp_info(file)?;
    let len_bytes = info[BYTES_OFFSET..].first_chunk().map(|bytes| u64::from_ne_bytes(*bytes))?;
    let segments = info[SEGMENTS_OFFSET..].first_chunk().map(|bytes| u32::from_ne_bytes(*bytes))?;
    Some(Arrived { len_bytes, segments: segments.into() })
}

/// The part of `struct tcp_info` of linux/tcp.h that is used here. `None` if the descriptor is not a TCP connection, or
/// the kernel does not count bytes. Older kernels do not count segments, and this count stays 0.
pub(super) fn tcp_info(file: RawFd) -> Option<[u8; 156]> {
    /// The end of `tcpi_bytes_received`.
    const MIN_LEN_BYTES: usize = 136;
    let mut info = [0; 156];
    let mut len = info.len() as libc::socklen_t;
    // SAFETY: the buffer is writable and has this length.
    let rc = unsafe {
        libc::getsockopt(file, libc::IPPROTO_TCP, libc::TCP_INFO, info.as_mut_ptr().cast(), &mut len)
    };
    (rc == 0 && len as usize >= MIN_LEN_BYTES).then_some(info)
}

/// How much of the received data libzmq has not read.
fn in_kernel_bytes(file: RawFd) -> u64 {
    let mut len: libc::c_int = 0;
    // SAFETY: the pointer is to a live int. For a descriptor that is not a socket, the call fails.
    let rc = unsafe { libc::ioctl(file, libc::FIONREAD, &mut len) };
    if rc == 0 { u64::try_from(len).unwrap_or(0) } else { 0 }
}
