//! The publishing socket of a node. Limits the bytes that libzmq holds unsent for a peer that does not read.
//!
//! libzmq limits the messages in the queue to each peer, but not their bytes. So the limit in messages depends here on
//! the length of the records that the node publishes: the longer they are, the fewer may wait. libzmq applies a changed
//! limit to all connections at once. It drops a message for a peer whose queue has reached the limit.
//!
//! A longer message lowers the limit before it is sent. So a full queue contains no more than [`MAX_UNSENT_BYTES`] while
//! the limit only falls. The limit rises again after as many shorter messages as it allows at most. A peer that reads
//! nothing may then have older, longer messages in its queue in addition, so each rise may add up to
//! [`MAX_UNSENT_BYTES`]. The limit rises only if it becomes at least four times as high, so at most twice while the
//! longest batches become short.

use crate::net::Socket;
use std::ops::Deref;

/// The most bytes of records that wait for one peer.
const MAX_UNSENT_BYTES: usize = 256 << 20;

/// How many messages may wait at least, however long they are.
const MIN_COUNT: usize = 4;

/// The memory that a message in libzmq's queue occupies, besides its content: two frames, and their places in the queue.
const MESSAGE_OVERHEAD_BYTES: usize = 256;

/// The limit only rises by at least this factor.
const MIN_RISE: usize = 4;

/// A publishing socket with its limit of unsent messages.
pub(in crate::actor) struct Publisher {
    socket: Socket,
    unsent: UnsentLimit,
}

impl Publisher {
    /// `high_watermark` is the number of messages that may wait for each peer; 0 = any number.
    pub(super) fn new(socket: Socket, high_watermark: i32) -> Publisher {
        Publisher { socket, unsent: UnsentLimit::new(high_watermark) }
    }

    /// Adapts the limit. Call this before a record or a batch of this length is published to all subscribers.
    ///
    /// # Errors
    /// When libzmq does not accept the changed limit.
    pub(in crate::actor) fn expect_len(&mut self, len_bytes: usize) -> zmq::Result<()> {
        self.unsent.before(&self.socket, len_bytes)
    }
}

impl Deref for Publisher {
    type Target = Socket;

    fn deref(&self) -> &Socket {
        &self.socket
    }
}

/// The limit of unsent messages of a node.
#[derive(Debug)]
struct UnsentLimit {
    /// The limit in messages that is set for the node; `None` = no limit, not even in bytes.
    max_count: Option<usize>,
    /// The limit in messages that applies now.
    count: usize,
    /// The longest message of those since the limit was last considered, and their number.
    longest_bytes: usize,
    since_count: usize,
}

impl UnsentLimit {
    /// `high_watermark` is the number of messages that may wait for each peer; 0 = any number.
    fn new(high_watermark: i32) -> UnsentLimit {
        let max_count = usize::try_from(high_watermark).ok().filter(|&count| count > 0);
        UnsentLimit { max_count, count: max_count.unwrap_or(0), longest_bytes: 0, since_count: 0 }
    }

    /// Call this before a record or a batch of this length is published to all subscribers.
    ///
    /// # Errors
    /// When libzmq does not accept the changed limit.
    fn before(&mut self, socket: &Socket, len_bytes: usize) -> zmq::Result<()> {
        match self.changed(len_bytes) {
            // The limit is at most `max_count`, which was an `i32`.
            Some(count) => socket.zmq().set_sndhwm(count as i32),
            None => Ok(()),
        }
    }

    /// Counts a message. Returns the new limit if it changes.
    fn changed(&mut self, len_bytes: usize) -> Option<usize> {
        let max_count = self.max_count?;
        self.longest_bytes = self.longest_bytes.max(len_bytes);
        self.since_count += 1;
        let allowed = |len_bytes: usize| {
            (MAX_UNSENT_BYTES / (len_bytes + MESSAGE_OVERHEAD_BYTES)).max(MIN_COUNT).min(max_count)
        };
        let before = self.count;
        self.count = self.count.min(allowed(len_bytes));
        if self.since_count >= max_count {
            let count = allowed(self.longest_bytes);
            if count >= self.count.saturating_mul(MIN_RISE) || count == max_count {
                self.count = count;
            }
            (self.longest_bytes, self.since_count) = (0, 0);
        }
        (self.count != before).then_some(self.count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::{Frame, Kind};
    use std::time::{Duration, Instant};

    #[test]
    fn the_limit_follows_the_length_of_the_messages() {
        let mut limit = UnsentLimit::new(16_384);
        assert_eq!(limit.changed(100), None);
        // It falls at once.
        let full = MAX_UNSENT_BYTES / (65_512 + MESSAGE_OVERHEAD_BYTES);
        assert_eq!(
            (limit.changed(65_512), limit.changed(65_512), limit.changed(100)),
            (Some(full), None, None)
        );
        assert_eq!(limit.changed(1 << 30), Some(MIN_COUNT));
        // It rises when no long message was published for a while.
        let changes = |limit: &mut UnsentLimit, count: usize, len_bytes| {
            (0..count).filter_map(|_| limit.changed(len_bytes)).collect::<Vec<_>>()
        };
        assert_eq!(changes(&mut limit, 16_379, 65_512), []);
        assert_eq!(changes(&mut limit, 16_384, 65_512), [full]);
        assert_eq!(changes(&mut limit, 16_384, 32_000), [], "a small rise is not worth the bytes");
        assert_eq!(changes(&mut limit, 16_384, 100), [16_384]);
        // A lower limit of the settings stays, and so does none.
        let mut low = UnsentLimit::new(100);
        assert_eq!((low.changed(65_512), changes(&mut low, 1_000, 1)), (None, vec![]));
        assert_eq!(UnsentLimit::new(0).changed(1 << 30), None);
    }

    /// libzmq applies the changed limit to connections that exist already.
    #[test]
    fn a_peer_that_does_not_read_costs_limited_memory() {
        const LEN_BYTES: usize = 8 << 20;
        let publisher = Socket::new(Kind::XPUB).expect("a socket");
        publisher.zmq().set_sndhwm(16_384).expect("an option");
        let endpoint = format!("tcp://127.0.0.1:{}", publisher.bind_ephemeral().expect("a port"));
        let subscriber = Socket::new(Kind::SUB).expect("a socket");
        subscriber.zmq().set_rcvhwm(1).expect("an option");
        subscriber.zmq().set_rcvbuf(4_096).expect("an option");
        subscriber.zmq().set_subscribe(b"").expect("an option");
        subscriber.zmq().connect(&endpoint).expect("it connects");
        // The subscription.
        publisher.zmq().recv_bytes(0).expect("a subscription");
        let mut limit = UnsentLimit::new(16_384);
        let content = std::sync::Arc::new(vec![0; LEN_BYTES]);
        for number in 0..200u8 {
            limit.before(&publisher, LEN_BYTES).expect("an option");
            publisher.try_send(&mut Frame::copy(&[number]), true).expect("sent");
            publisher.try_send(&mut Frame::of(content.clone(), Vec::as_slice), false).expect("sent");
        }
        // Besides the queue, both sides have some messages in flight.
        let mut received = 0;
        let deadline = Instant::now() + Duration::from_secs(60);
        let limit_count = MAX_UNSENT_BYTES / LEN_BYTES;
        while received < limit_count - 1 && Instant::now() < deadline {
            if subscriber.zmq().poll(zmq::POLLIN, 100).expect("polled") > 0 {
                subscriber.zmq().recv_multipart(0).expect("a message");
                received += 1;
            }
        }
        while subscriber.zmq().poll(zmq::POLLIN, 1_000).expect("polled") > 0 {
            subscriber.zmq().recv_multipart(0).expect("a message");
            received += 1;
        }
        assert!((limit_count - 1..limit_count + 8).contains(&received), "{received} of 200");
    }
}
