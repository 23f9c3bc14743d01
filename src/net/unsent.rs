//! Counts the records that a node has published and that libzmq has not sent yet.
//!
//! libzmq limits the number of messages in its queue to each peer, but not their bytes. So a node counts the bytes: the
//! content of each long message is counted from when it is published until libzmq drops it. A content that is published
//! to all subscribers is counted once, because all queues share it. [`Backlog`](super::Backlog) compares the counts
//! with the node's limit.

use super::{Frame, Socket};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Shorter contents are not counted: counting costs two allocations. For them, the limit on the number of messages is
/// enough.
const MIN_COUNTED_LEN_BYTES: usize = 4_096;
/// The lowest limit. If it were lower, libzmq could hold more than the limit although all peers read everything.
const MIN_LIMIT_BYTES: u64 = 1 << 20;
/// The lengths of a frame's header, for content of at most 255 bytes, and for longer content.
const HEADERS_BYTES: (u64, u64) = (2, 9);
/// The shortest time between two scans that end connections of slow peers.
const PAUSE: Duration = Duration::from_millis(100);

/// How many bytes of records may wait to be sent.
#[derive(Clone, Copy, Debug)]
pub struct UnsentLimit {
    /// The limit for all peers of a node together.
    pub(super) bytes: u64,
    /// The configuration key of the limit.
    pub(super) key: &'static str,
}

impl UnsentLimit {
    /// `None` if `bytes` is `None`: no limit. A limit of less than 1 MiB is raised to 1 MiB.
    pub fn new(key: &'static str, bytes: Option<u64>) -> Option<UnsentLimit> {
        bytes.map(|bytes| UnsentLimit { bytes: bytes.max(MIN_LIMIT_BYTES), key })
    }
}

/// Which peers receive a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recipients {
    /// Every peer that subscribes to the records: the message belongs to the stream.
    All,
    /// The peer that has requested the records. Another limit holds for each requester, see [`Readers`](super::Readers).
    One,
}

/// The contents that libzmq holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Contents {
    pub(super) len_bytes: u64,
    /// At least the length of the longest of these contents, and at most `len_bytes`. If the longest one is dropped,
    /// this value falls only as far as `len_bytes` requires.
    pub(super) longest_bytes: u64,
}

impl Contents {
    /// The length of all contents except the longest one.
    pub(super) fn extra_bytes(self) -> u64 {
        self.len_bytes - self.longest_bytes
    }

    fn add(&mut self, len_bytes: u64) {
        self.len_bytes += len_bytes;
        self.longest_bytes = self.longest_bytes.max(len_bytes);
    }

    fn remove(&mut self, len_bytes: u64) {
        self.len_bytes -= len_bytes;
        self.longest_bytes = self.longest_bytes.min(self.len_bytes);
    }
}

/// What a node has published.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Published {
    /// The bytes of the stream since the previous call of `Unsent::take`, as a peer with all subscriptions receives
    /// them.
    pub(super) stream_bytes: u64,
    /// What libzmq holds of the stream.
    pub(super) stream: Contents,
    /// What libzmq holds of the stream and of responses.
    pub(super) all: Contents,
}

/// The counts of one node.
pub(super) struct Unsent {
    pub(super) limit: UnsentLimit,
    published: Mutex<Published>,
    /// When connections of slow peers were last ended.
    slow_ended: Mutex<Option<Instant>>,
}

impl Unsent {
    pub(super) fn new(limit: UnsentLimit) -> Unsent {
        Unsent { limit, published: Mutex::default(), slow_ended: Mutex::default() }
    }

    /// What was published since the previous call. `None` when libzmq holds at most a quarter of the limit.
    pub(super) fn take(&self) -> Option<Published> {
        let mut published = self.lock();
        let taken = *published;
        published.stream_bytes = 0;
        (taken.all.len_bytes > self.limit.bytes / 4).then_some(taken)
    }

    /// What libzmq holds now.
    pub(super) fn published(&self) -> Published {
        *self.lock()
    }

    /// Whether libzmq holds more than the limit, not counting the longest content.
    pub(super) fn is_beyond_limit(&self) -> bool {
        self.published().all.extra_bytes() > self.limit.bytes
    }

    /// Whether connections of slow peers may be ended now. If the result is true, it is false in the next calls until a
    /// pause is over, in which libzmq drops the queues of the ended connections.
    pub(super) fn may_end_slow(&self, now: Instant) -> bool {
        let mut ended = self.slow_ended.lock().unwrap_or_else(PoisonError::into_inner);
        let may_end = ended.is_none_or(|ended| now.saturating_duration_since(ended) >= PAUSE);
        if may_end {
            *ended = Some(now);
        }
        may_end
    }

    fn lock(&self) -> MutexGuard<'_, Published> {
        self.published.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a message. Returns its content in a frame that is counted until libzmq drops it.
    pub(super) fn publish(self: &Arc<Self>, frame: &Frame, content: Frame, recipients: Recipients) -> Frame {
        let (len, is_stream) = (content.as_ref().len(), recipients == Recipients::All);
        let is_counted = len >= MIN_COUNTED_LEN_BYTES;
        if !is_stream && !is_counted {
            return content;
        }
        let mut published = self.lock();
        if is_stream {
            published.stream_bytes += wire_len_bytes(frame.as_ref().len()) + wire_len_bytes(len);
        }
        if is_counted {
            published.of(is_stream, |contents| contents.add(len as u64));
        }
        drop(published);
        match is_counted {
            true => {
                let queued = Queued { content, is_stream, unsent: self.clone() };
                Frame::of(Arc::new(queued), |queued| queued.content.as_ref())
            }
            false => content,
        }
    }
}

impl Published {
    fn of(&mut self, is_stream: bool, change: impl Fn(&mut Contents)) {
        change(&mut self.all);
        if is_stream {
            change(&mut self.stream);
        }
    }
}

fn wire_len_bytes(len: usize) -> u64 {
    len as u64 + if len <= 255 { HEADERS_BYTES.0 } else { HEADERS_BYTES.1 }
}

/// A content that libzmq holds.
struct Queued {
    content: Frame,
    is_stream: bool,
    unsent: Arc<Unsent>,
}

impl Drop for Queued {
    fn drop(&mut self) {
        let len_bytes = self.content.as_ref().len() as u64;
        self.unsent.lock().of(self.is_stream, |contents| contents.remove(len_bytes));
    }
}

impl Socket {
    /// Limits the bytes of records that wait to be sent. Call this before [`Backlog::listening`].
    ///
    /// [`Backlog::listening`]: super::Backlog::listening
    pub fn limit_unsent(&mut self, limit: UnsentLimit) {
        self.unsent = Some(Arc::new(Unsent::new(limit)));
    }

    /// Publishes a record or a batch of records: a message of two frames.
    ///
    /// # Errors
    /// See [`Socket::try_send`].
    pub fn publish_records(
        &self,
        mut frame: Frame,
        mut content: Frame,
        recipients: Recipients,
    ) -> zmq::Result<bool> {
        if let Some(unsent) = &self.unsent {
            content = unsent.publish(&frame, content, recipients);
        }
        Ok(self.try_send(&mut frame, true)? && self.try_send(&mut content, false)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_of_less_than_1_mib_is_raised() {
        let limit_bytes = |bytes| UnsentLimit::new("test", bytes).map(|limit| limit.bytes);
        assert_eq!([None, Some(1), Some(1 << 21)].map(limit_bytes), [None, Some(1 << 20), Some(1 << 21)]);
    }

    #[test]
    fn a_content_counts_until_its_last_handle_is_dropped() {
        let unsent = Arc::new(Unsent::new(UnsentLimit { bytes: 400_000, key: "test" }));
        let publish =
            |len, recipients| unsent.publish(&Frame::copy(&[0; 40]), Frame::zeroed(len).unwrap(), recipients);
        let mut long = publish(100_000, Recipients::All);
        let (shared, short) = (long.share(), publish(4_095, Recipients::All));
        let (middle, response) = (publish(4_096, Recipients::All), publish(200_000, Recipients::One));
        let held = |len_bytes, longest_bytes| Contents { len_bytes, longest_bytes };
        let stream_bytes = 3 * 42 + 100_009 + 4_104 + 4_105;
        let all = Published { stream_bytes, stream: held(104_096, 100_000), all: held(304_096, 200_000) };
        assert_eq!((unsent.published(), unsent.take()), (all, Some(all)));
        assert_eq!((short.as_ref(), middle.as_ref()), (&[0; 4_095][..], &[0; 4_096][..]));
        drop((long, short));
        assert_eq!(unsent.take(), Some(Published { stream_bytes: 0, ..all }));
        drop(response);
        // The longest content is gone, but what remains may be one content.
        let stream = held(104_096, 100_000);
        assert_eq!(
            unsent.take().unwrap(),
            Published { stream_bytes: 0, stream, all: held(104_096, 104_096) }
        );
        drop(shared);
        let (stream, all) = (held(4_096, 4_096), held(4_096, 4_096));
        assert_eq!((unsent.published(), unsent.take()), (Published { stream_bytes: 0, stream, all }, None));
        drop(middle);
        assert_eq!(unsent.published(), Published::default());
    }
}
