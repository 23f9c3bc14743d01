//! Which connections are ended when libzmq holds too many records that were not sent.
//!
//! libzmq does not report how much it has queued for a connection. While the kernel has room for more data of a
//! connection, libzmq soon sends what it has queued. A connection that lacks room waits for its peer. Connections end
//! in two steps. The second step is taken only if the first one finds no connection:
//!
//! 1. If libzmq holds more than the limit, each connection whose peer has stopped reading is ended.
//! 2. If the stream alone (see [`Recipients`]) occupies more than twice the limit, all connections that are behind by
//!    more than twice the limit are ended: the queues share the contents of the messages, so the end of only one of
//!    them would free nothing. If there is no such connection, the one that is furthest behind is ended, if it is
//!    behind by more than the limit. This step is taken again only after libzmq has closed the ended connections, and
//!    after a pause, in which libzmq drops their queues.
//!
//! The longest content that libzmq holds comes on top of each of these numbers. Otherwise, a record that is longer than
//! the limit could never be sent.
//!
//! How far a connection is behind: the node counts the bytes of the stream that it publishes, and the kernel counts the
//! bytes that are written to each connection. The difference is too large if libzmq drops messages for a peer whose
//! queue is full. So it is reduced to the bytes of the stream that libzmq holds, if these are fewer. The difference is
//! too small if the peer also receives responses. While libzmq holds less than a quarter of the limit, nothing is
//! measured. So the difference may also be too small by this quarter, plus what is published between two scans. The
//! difference is set to zero when the kernel holds no data of the connection, or has room for more in two scans in a
//! row.
//!
//! Responses do not count in the second step: each requester gets further responses only when it has read the earlier
//! ones. So a requester that reads is never disconnected because of other requesters.
//!
//! The peer of an ended connection reconnects, and fetches what it has missed. Its new connection is not behind.
//!
//! [`Recipients`]: crate::net::Recipients

use super::SMALL_BYTES;
use super::connection::{Connection, Id, tcp_info};
use crate::net::descriptors::{can_be_written, socket_number};
use crate::net::unsent::{Published, Unsent};
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// A peer has stopped reading if it has acknowledged hardly anything for this time. This time is longer than the kernel
/// needs to send a lost segment three times.
const STALL: Duration = Duration::from_secs(2);
/// Each scan adds the time since the previous scan to the duration of a stall, but at most this much. So a stall is
/// detected at the third scan at the earliest: the first scan only starts the measurement. Because of this limit, time
/// in which the host was suspended hardly counts.
const MAX_STEP: Duration = Duration::from_secs(1);

/// What the kernel has sent over a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sent {
    /// What the peer has acknowledged since the connection was made.
    pub(super) acked_bytes: u64,
    /// What libzmq has written, and the peer has not acknowledged.
    pub(super) in_kernel_bytes: u64,
    /// Whether the kernel has room for more.
    pub(super) is_writable: bool,
}

/// What the kernel has sent over a connection. `None` when the connection has ended, or the kernel does not report the
/// counts.
pub(super) fn sent((file, number): Id) -> Option<Sent> {
    /// The offset of `tcpi_bytes_acked`.
    const ACKED_OFFSET: usize = 120;
    let info = tcp_info(file)?;
    let acked_bytes = info[ACKED_OFFSET..].first_chunk().map(|bytes| u64::from_ne_bytes(*bytes))?;
    let mut len: libc::c_int = 0;
    // SAFETY: the pointer is to a live int. For a descriptor that is not a socket, the call fails.
    let rc = unsafe { libc::ioctl(file, libc::TIOCOUTQ, &mut len) };
    let in_kernel_bytes = u64::try_from(len).ok().filter(|_| rc == 0)?;
    let is_writable = can_be_written(file);
    // Check the socket last, because libzmq may close the descriptor at any time, and another connection may get it.
    (socket_number(file) == Some(number)).then_some(Sent { acked_bytes, in_kernel_bytes, is_writable })
}

/// How far a connection is behind.
pub(super) struct Behind {
    /// The estimate of how many bytes of the stream wait in libzmq for this connection.
    bytes: u64,
    /// What libzmq had written at the latest update.
    written_bytes: u64,
    was_writable: bool,
    /// `None` if nothing was measured at the latest scan.
    progress: Option<Progress>,
}

/// How far the peer has read.
#[derive(Clone, Copy)]
struct Progress {
    /// The peer has read something when the bytes that it has acknowledged since the connection was made have reached
    /// this number. This number was computed when the peer was last found to read: the bytes that it had acknowledged
    /// then, plus what the kernel held then, but at most [`SMALL_BYTES`].
    next_bytes: u64,
    /// How long the peer has not read, according to the scans.
    stalled: Duration,
    updated: Instant,
}

impl Behind {
    /// For a new connection.
    pub(super) fn new() -> Behind {
        Behind { bytes: 0, written_bytes: 0, was_writable: false, progress: None }
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Call this at each scan while libzmq holds little.
    pub(super) fn reset(&mut self) {
        (self.bytes, self.was_writable, self.progress) = (0, false, None);
    }

    /// Call this at each scan while libzmq holds much.
    pub(super) fn update(&mut self, published: Published, sent: Option<Sent>, now: Instant) {
        let Some(sent) = sent else { return };
        let written_bytes = self.written_bytes.max(sent.acked_bytes.saturating_add(sent.in_kernel_bytes));
        let newly_written_bytes = written_bytes - self.written_bytes;
        self.written_bytes = written_bytes;
        // At the first update, nothing is known about the time before it.
        let newly_published_bytes = if self.progress.is_some() { published.stream_bytes } else { 0 };
        let is_stalled = sent.in_kernel_bytes > 0 && !sent.is_writable;
        self.progress = Some(match self.progress {
            Some(progress) if is_stalled && sent.acked_bytes < progress.next_bytes => {
                let step = now.saturating_duration_since(progress.updated).min(MAX_STEP);
                Progress { stalled: progress.stalled + step, updated: now, ..progress }
            }
            _ => {
                let next_bytes = written_bytes.min(sent.acked_bytes.saturating_add(SMALL_BYTES));
                Progress { next_bytes, stalled: Duration::ZERO, updated: now }
            }
        });
        // If the kernel has room in one scan, libzmq may only not have used the room yet.
        let was_writable = std::mem::replace(&mut self.was_writable, sent.is_writable);
        let is_empty = sent.in_kernel_bytes == 0 || sent.is_writable && was_writable;
        let bytes = self.bytes.saturating_add(newly_published_bytes).saturating_sub(newly_written_bytes);
        self.bytes = if is_empty { 0 } else { bytes.min(published.stream.len_bytes) };
    }

    /// The connection with the highest rank is the furthest behind. Of two that are equally far behind, it is the one
    /// whose peer has not read for longer.
    fn rank(&self) -> (u64, Duration) {
        (self.bytes, self.progress.map_or(Duration::ZERO, |progress| progress.stalled))
    }

    fn has_stopped(&self) -> bool {
        self.progress.is_some_and(|progress| progress.stalled >= STALL)
    }
}

/// Why connections are ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reason {
    Stopped,
    TooSlow,
}

/// Returns which connections of the socket must be ended, and why. To be called after each update.
pub(super) fn victims(
    unsent: &Unsent,
    socket: u64,
    connections: &HashMap<Id, Connection>,
    now: Instant,
) -> Vec<(Id, Reason)> {
    let (published, limit_bytes) = (unsent.published(), unsent.limit.bytes);
    if published.all.extra_bytes() <= limit_bytes {
        return Vec::new();
    }
    let own: Vec<_> = connections.iter().filter(|(_, connection)| connection.socket.id == socket).collect();
    let has_stopped = |connection: &Connection| !connection.is_ended && connection.behind.has_stopped();
    let stopped = own.iter().filter(|(_, connection)| has_stopped(connection));
    let stopped: Vec<_> = stopped.map(|(id, _)| (**id, Reason::Stopped)).collect();
    // libzmq may still hold the queues of connections that were ended.
    let is_any_ended = own.iter().any(|(_, connection)| connection.is_ended);
    let is_far_beyond = published.stream.extra_bytes() / 2 > limit_bytes;
    if !stopped.is_empty() || is_any_ended || !is_far_beyond {
        return stopped;
    }
    let slow = too_slow(&own, limit_bytes, published.stream.longest_bytes);
    if slow.is_empty() || !unsent.may_end_slow(now) {
        return Vec::new();
    }
    slow.into_iter().map(|id| (id, Reason::TooSlow)).collect()
}

/// The connections of the second step.
fn too_slow(own: &[(&Id, &Connection)], limit_bytes: u64, longest_bytes: u64) -> Vec<Id> {
    let is_beyond = |connection: &Connection, limit_bytes: u64| {
        connection.behind.bytes.saturating_sub(longest_bytes) > limit_bytes
    };
    let far = own.iter().filter(|(_, connection)| is_beyond(connection, limit_bytes.saturating_mul(2)));
    let far: Vec<Id> = far.map(|(id, _)| **id).collect();
    if !far.is_empty() {
        return far;
    }
    let furthest = own.iter().max_by_key(|(_, connection)| connection.behind.rank());
    furthest
        .filter(|(_, connection)| is_beyond(connection, limit_bytes))
        .map(|(id, _)| **id)
        .into_iter()
        .collect()
}

#[cfg(test)]
mod tests;
