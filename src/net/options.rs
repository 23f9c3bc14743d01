//! Socket options: liveness checks, limits for untrusted peers, and retries.

use super::socket::{Socket, last_error};
use std::os::fd::RawFd;
use std::os::raw::c_int;

/// Sets TCP_USER_TIMEOUT. zmq-sys does not declare this option.
const ZMQ_TCP_MAXRT: c_int = 80;
/// Makes an XPUB socket report every subscription and unsubscription. zmq-sys does not declare this option.
const ZMQ_XPUB_VERBOSER: c_int = 78;
/// Sets the length of the kernel's queue of connections that libzmq has not accepted yet.
const ZMQ_BACKLOG: c_int = 19;
/// Makes the next bind use an existing listening descriptor.
const ZMQ_USE_FD: c_int = 89;

/// TCP keepalive: the kernel probes a connection that has been silent for this time.
const KEEPALIVE_IDLE_S: i32 = 3;
/// The interval between two probes.
const KEEPALIVE_INTERVAL_S: i32 = 1;
/// After this many probes without a response, the kernel ends the connection. So a dead host is detected after six
/// seconds.
const KEEPALIVE_COUNT: i32 = 3;
/// A connection ends when data that was sent stays unacknowledged for this time. (The kernel sends no keepalive probes
/// while data is unacknowledged.)
const USER_TIMEOUT_MS: c_int = 6_000;
/// The timeout of an attempt to connect. Without the timeout, the kernel retries with exponential backoff: after an
/// interruption of a minute, its next packet may be half a minute away.
const CONNECT_TIMEOUT_MS: i32 = 3_000;
/// The interval and timeout of ZMTP heartbeats between towers and nodes.
const HEARTBEAT_INTERVAL_MS: i32 = 1_000;
const HEARTBEAT_TIMEOUT_MS: i32 = 5_000;
/// The longest subscription that a peer may make. Ours have at most 257 bytes, and libzmq's own commands are short.
const MAX_SUBSCRIPTION_LEN_BYTES: usize = 1_024;
/// The kernel's receive buffer per connection of a socket that receives little.
const RECEIVE_BUFFER_BYTES: i32 = 4_096;
/// How many connections the kernel keeps that libzmq has not accepted yet. Linux allows this many by default
/// (net.core.somaxconn).
const ACCEPT_QUEUE_COUNT: c_int = 4_096;
/// The timeout of the ZMTP handshake.
const HANDSHAKE_TIMEOUT_MS: i32 = 10_000;
/// The longest backoff between two attempts to connect to a peer.
const MAX_RECONNECT_INTERVAL_MS: i32 = 4_000;

/// Each of these functions fails with libzmq's error.
#[expect(clippy::missing_errors_doc, reason = "said once, above")]
impl Socket {
    /// Makes the kernel detect that a peer's host has died or has lost the connection. This uses TCP keepalives instead
    /// of ZeroMQ's heartbeats: heartbeats wait behind records that a busy peer has not read, and so would disconnect
    /// the peer. Applies to later connections.
    pub fn enable_keepalive(&self) -> zmq::Result<()> {
        self.zmq().set_tcp_keepalive(1)?;
        self.zmq().set_tcp_keepalive_idle(KEEPALIVE_IDLE_S)?;
        self.zmq().set_tcp_keepalive_intvl(KEEPALIVE_INTERVAL_S)?;
        self.zmq().set_tcp_keepalive_cnt(KEEPALIVE_COUNT)?;
        self.zmq().set_connect_timeout(CONNECT_TIMEOUT_MS)
    }

    /// Ends connections on which sent data is not acknowledged, as happens when the peer's host has died. Do not use
    /// this for sockets that publish records: a peer may stop reading records for a while.
    pub fn enable_user_timeout(&self) -> zmq::Result<()> {
        self.set_int(ZMQ_TCP_MAXRT, USER_TIMEOUT_MS)
    }

    /// Detects silent connections with ZMTP 3.1 heartbeats, and ends them. Makes the peer do the same. Every libzmq
    /// that Dafka runs on answers heartbeats. Applies to later connections.
    pub fn enable_heartbeats(&self) -> zmq::Result<()> {
        self.zmq().set_heartbeat_ivl(HEARTBEAT_INTERVAL_MS)?;
        self.zmq().set_heartbeat_timeout(HEARTBEAT_TIMEOUT_MS)?;
        self.zmq().set_heartbeat_ttl(HEARTBEAT_TIMEOUT_MS)?;
        self.zmq().set_connect_timeout(CONNECT_TIMEOUT_MS)
    }

    /// Prepares a socket for untrusted peers. A frame of more than `max_frame_len_bytes` ends its connection before
    /// memory is allocated for it: by default, libzmq allocates any length that a peer announces. The handshake has a
    /// shorter timeout than libzmq's.
    ///
    /// There is no receive high-water mark: libzmq (4.3.4, 4.3.5) aborts the process when a connection is reset while
    /// its inbound pipe is full and a PING follows (`!_io_error` in stream_engine_base.cpp). So the caller must read
    /// the socket all the time.
    pub fn limit_untrusted_peers(&self, max_frame_len_bytes: usize) -> zmq::Result<()> {
        self.zmq().set_maxmsgsize(i64::try_from(max_frame_len_bytes).unwrap_or(i64::MAX))?;
        self.zmq().set_rcvhwm(0)?;
        self.zmq().set_handshake_ivl(HANDSHAKE_TIMEOUT_MS)
    }

    /// Prepares an XPUB socket for untrusted subscribers.
    pub fn limit_untrusted_subscribers(&self) -> zmq::Result<()> {
        self.limit_untrusted_peers(MAX_SUBSCRIPTION_LEN_BYTES)?;
        self.use_long_accept_queue()?;
        self.use_small_receive_buffer()
    }

    /// Call this before the bind of a socket to which a thousand peers may connect at once. By default, the kernel
    /// keeps at most 100 connections that libzmq has not accepted yet. It drops further ones, and their peers retry
    /// after 1 s and 3 s.
    pub fn use_long_accept_queue(&self) -> zmq::Result<()> {
        self.set_int(ZMQ_BACKLOG, ACCEPT_QUEUE_COUNT)
    }

    /// Makes an XPUB socket report every subscription and unsubscription, not only the first and the last one of each
    /// topic. So the node can count what each connection has sent and what it subscribes to. When a connection ends,
    /// the socket reports the end of each of its subscriptions. These reports do not name the connection
    /// ([`Frame::origin`](super::Frame::origin)).
    pub fn report_every_subscription(&self) -> zmq::Result<()> {
        self.set_int(ZMQ_XPUB_VERBOSER, 1)
    }

    /// Slows down libzmq's I/O thread, so that it does not receive subscriptions faster than the node reads them from
    /// the socket. By default, the kernel buffers megabytes for each connection, and the I/O thread processes 170 MB of
    /// subscriptions a second. With a small buffer, it processes 40 MB a second, about as many as the node reads.
    /// Sending is not affected.
    pub fn use_small_receive_buffer(&self) -> zmq::Result<()> {
        self.zmq().set_rcvbuf(RECEIVE_BUFFER_BYTES)
    }

    /// Prepares a socket that connects to announced endpoints: attempts to connect have a timeout, and are retried with
    /// exponential backoff. By default, libzmq would try ten times a second, and an attempt may last minutes.
    pub fn enable_connect_backoff(&self) -> zmq::Result<()> {
        self.zmq().set_reconnect_ivl_max(MAX_RECONNECT_INTERVAL_MS)?;
        self.zmq().set_connect_timeout(CONNECT_TIMEOUT_MS)
    }

    /// Makes the next bind use a listening descriptor, which libzmq owns from then on. `None`: libzmq makes its own.
    pub(super) fn use_listener(&self, fd: Option<RawFd>) -> zmq::Result<()> {
        self.set_int(ZMQ_USE_FD, fd.unwrap_or(-1))
    }

    /// Sets an option that takes a C int and that the zmq crate does not wrap.
    fn set_int(&self, option: c_int, value: c_int) -> zmq::Result<()> {
        let value: *const c_int = &value;
        // SAFETY: the socket is live; the pointer is to a C int, and the size is that of a C int.
        let rc = unsafe { zmq_sys::zmq_setsockopt(self.raw, option, value.cast(), size_of::<c_int>()) };
        if rc == 0 { Ok(()) } else { Err(last_error()) }
    }
}
