//! The protocol: one state machine for each role, without sockets, clocks, threads or a database.
//!
//! # The contract
//!
//! A state machine receives input and time from its caller, and returns what the caller must do. The machines use the
//! same kinds of methods. Each machine has the methods that its role needs:
//!
//! - `handle_*` takes input: a message, a subscription, a connection that was given up, or a finished commit. Commands
//!   have their own names: `publish`, `subscribe`, `unsubscribe`, `renew`, `announce`. The caller passes the time in
//!   milliseconds, from a clock that never goes back.
//! - `due_ms` returns when `handle_timeout` must be called next. `handle_timeout` does everything that is due.
//! - `poll_*` returns output that is ready. `poll_answers` sends the next responses to requests. `poll_job` returns
//!   records to write to disk. `poll_acks` sends ACKs of records that are on disk. `poll_notice` returns a condition
//!   that an operator should know ([`notice::Notice`]). `poll_twin` returns a reason to take another address.
//! - Other methods read state, or configure a new machine (`with_*` and similar, before any input).
//!
//! Nearly every call may produce messages to publish, records in order, or endpoints to connect to. The call appends
//! them to an [`Outbox`] or a list that the caller passes. So no queue is needed between the state machine and its
//! caller, and the lists keep their memory from turn to turn.
//!
//! # Runs
//!
//! A payload contains a run: one or more consecutive records of one partition. The position in its message has the
//! offset of the first record. Runs may overlap, and the two copies of a record may come in different runs. The
//! machines number, count and acknowledge records, not runs. They return runs without the records that they have
//! returned before.
//!
//! # One turn of the loop
//!
//! The caller does the following in each turn of its loop, in this order:
//!
//! 1. It passes on the commands of the application.
//! 2. It calls `handle_subscription` for each subscription that a peer has made. It then passes a producer whether
//!    subscriptions are still unread (`handle_behind`). While they are, the producer keeps an ACK without a known
//!    subscription. Otherwise it treats such an ACK as a sign of a twin.
//! 3. It calls `handle_message` for each received message, until the application or the disk accepts no more. If no
//!    message is left, it calls `handle_all_read` of a producer. It passes a consumer or replica the time of the oldest
//!    unread message (`handle_unread`). That message may be a response, so a FETCH that was due later is not repeated
//!    yet.
//! 4. It calls `handle_peer` when a peer has appeared or disappeared, and `handle_given_up` when a connection has been
//!    given up. This comes after step 3, so that messages that arrived before the end of their connection are handled
//!    first.
//! 5. It calls `handle_committed` for records that the disk has written, and `poll_job` for the next ones to write.
//! 6. It calls `poll_answers` and `handle_timeout`. Then it calls `poll_notice` until that returns `None`.
//! 7. It publishes the outbox. Publishing never waits: a peer later fetches the records that it could not receive.
//!
//! Then the loop sleeps until there is input, or until `due_ms`. The caller may call `handle_timeout` before that time.
//!
//! The caller may stop reading messages while the application or the disk accepts no more. While it does not read, a
//! response may already have arrived, and its FETCH must not time out. So the caller must stop the clock that it
//! passes, or must not call `handle_timeout`.
//!
//! `actor::node_loop` is the loop of all nodes. `tests/simulation` runs the same machines in virtual time.
//!
//! # Example
//!
//! ```
//! use dafka::protocol::{AllRead, Outbox, Progress, producer::Producer};
//! use dafka::wire::Message;
//! use std::sync::Arc;
//!
//! let mut out = Outbox::<Arc<[u8]>>::new();
//! let mut producer = Producer::new(b"topic", b"PARTITION", 1_000).unwrap();
//! // A command, at 0 ms.
//! producer.publish(b"content"[..].into(), 0, &mut out);
//! // A message: a store acknowledges the record. The connection is not known.
//! let ack = Message::Ack { topic: b"PARTITION", subject: b"topic", sequence: 0, store: b"STORE" };
//! producer.handle_message(&ack, &|| None, &mut out);
//! producer.handle_all_read(1);
//! // Responses, timeouts and notices.
//! assert_eq!(producer.poll_answers(&mut AllRead, 100, &mut out), Progress::Idle);
//! assert_eq!(producer.due_ms(), Some(1_000));
//! producer.handle_timeout(1_000, &mut out);
//! assert_eq!(producer.poll_notice(1_000), None);
//! // The outbox now holds a RECORD and a HEAD.
//! let mut published = Vec::new();
//! out.drain(|frame, content| published.push((frame[0], content.is_some())));
//! assert_eq!(published, [(b'M', true), (b'H', false)]);
//! ```
//!
//! # The files
//!
//! | file | role |
//! | --- | --- |
//! | `producer` | numbers and publishes records, keeps those that are not acknowledged, answers FETCH |
//! | `producer::copies` | how many stores have each record |
//! | `producer::batch_subscribers` | whether every subscriber of the topic takes batches |
//! | `producer::renewals` | when a producer with a twin may take a new address |
//! | `producer::ack_stall` | detects that no store acknowledges records |
//! | `consumer` | puts partitions in order and delivers their records |
//! | `consumer::unacknowledged` | holds records back until a store has them |
//! | `store::replica` | orders the records that a store receives, acknowledges those on disk |
//! | `store::reader` | answers requests from the log |
//! | `store::comparison` | detects that two stores hold different records |
//! | `discovery` | which peers exist, and where |
//! | `ingest` | all partitions of a consumer or a replica |
//! | `ingest::table` | the open partitions, and which one to evict |
//! | `ingest::eviction` | the order in which partitions are evicted, and the peer that each is charged to |
//! | `ingest::evicted_positions` | the positions of evicted partitions |
//! | `ingest::reorder_quota` | limits the early records of all partitions |
//! | `ingest::fetch_scheduler`, `ingest::fetch_quota` | send FETCHes when they are due, limit what is in flight |
//! | `partition::sequencer` | one partition: order and gaps |
//! | `partition::reorder_buffer` | early records of one partition |
//! | `partition::fetch` | FETCHes of one partition: windows, timeouts |
//! | `partition::sources` | selects the store for each FETCH |
//! | `partition::backoff` | delays FETCHes whose responses may end connections |
//! | `partition::fetch_stall` | detects that no peer has the next record |
//! | `answers`, `answers::fair_queue` | FETCHes that a producer or reader is answering, in fair order |
//! | `notice` | conditions that an operator should know |
//! | `outbox` | messages to publish |
//! | `shares` | how much of a limited resource each host and peer uses |
//! | `subscriptions` | the subscriptions of each role |

pub mod answers;
pub mod consumer;
pub mod discovery;
pub mod ingest;
pub mod notice;
pub mod outbox;
pub mod partition;
pub mod producer;
pub mod shares;
pub mod store;
pub mod subscriptions;

use crate::wire::batch::Batch;
pub use outbox::Outbox;

/// Returns the name of the connection over which a message came, or `None` if it is not known. All messages of one
/// connection have the same name, and no two connections share one. The name begins with the host, see [`host_of`]. The
/// function is called rarely, so it may be slow.
pub type Sender<'a> = dyn Fn() -> Option<Box<[u8]>> + 'a;

/// The length of the host's part in the name of a connection.
pub const HOST_LEN_BYTES: usize = 16;

/// The host's part of a connection's name. Limited resources are divided among hosts first, and then among the
/// connections of each host. A name that is shorter than [`HOST_LEN_BYTES`] is a separate host.
pub fn host_of(sender: &[u8]) -> &[u8] {
    sender.get(..HOST_LEN_BYTES).unwrap_or(sender)
}

/// Whether a requester can receive a response now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    /// The requester's queue has room.
    Ready,
    /// The requester has not read earlier responses yet, or has reached its rate limit.
    Full,
    /// No connection subscribes to the response.
    Nobody,
}

/// The requesters' queues, which the caller manages.
pub trait Requesters {
    /// Whether the requester can receive a message of this kind now. `id` is one of the constants in `wire::id`.
    fn poll_reading(&mut self, id: u8, requester: &[u8]) -> Reading;

    /// Counts heads that were sent to a requester.
    fn sent_heads(&mut self, requester: &[u8], count: u64);
}

/// Requesters that can always receive: for simulations, which have no queues between nodes.
pub struct AllRead;

impl Requesters for AllRead {
    fn poll_reading(&mut self, _: u8, _: &[u8]) -> Reading {
        Reading::Ready
    }

    fn sent_heads(&mut self, _: &[u8], _: u64) {}
}

/// Whether requests are left to answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// No request is left.
    Idle,
    /// Requests are left, but their requesters cannot receive responses now.
    Waiting,
    /// Requests are left that can be answered now.
    Working,
}

impl Progress {
    fn of(is_left: bool, is_working: bool) -> Progress {
        match (is_left, is_working) {
            (false, _) => Progress::Idle,
            (true, false) => Progress::Waiting,
            (true, true) => Progress::Working,
        }
    }
}

/// How many requests are examined to find one whose requester can receive a response now.
const MAX_LOOKS: usize = 1_024;

/// A handle to the contents of a run: one or more consecutive records of one partition. Moving it does not copy the
/// contents. A type whose payloads have one record each implements only the methods without a default.
pub trait Payload: Sized {
    /// Returns a second handle to the same contents.
    fn share(&mut self) -> Self;

    /// The bytes of all contents together.
    fn len_bytes(&self) -> usize;

    /// The content of each record, in order.
    fn contents(&self) -> impl Iterator<Item = &[u8]>;

    /// The number of records, at least 1.
    fn record_count(&self) -> u64 {
        1
    }

    /// Whether RECORDS can carry the run. Any other run is one record, which RECORD carries.
    fn is_batch(&self) -> bool {
        false
    }

    /// Returns the first `count` records, and the others. `count` is at least 1 and less than the number of records.
    /// Use [`Payload::split`] for other counts.
    fn split_at(self, count: u64) -> (Self, Self) {
        unreachable!("one record is not split at {count}")
    }

    /// Returns the same contents in memory of their own length, for records that are kept for long.
    fn into_own_memory(self) -> Self {
        self
    }

    /// Returns the first `count` records, and the others. A part without records is `None`.
    fn split(self, count: u64) -> (Option<Self>, Option<Self>) {
        if count == 0 {
            (None, Some(self))
        } else if count >= self.record_count() {
            (Some(self), None)
        } else {
            let (first, rest) = self.split_at(count);
            (Some(first), Some(rest))
        }
    }

    /// Returns the run without its first `count` records; `None` when no record is left.
    fn skip(self, count: u64) -> Option<Self> {
        // The common case: an in-order run.
        if count == 0 { Some(self) } else { self.split(count).1 }
    }
}

/// The offset of the last record of a run. No record has this offset if it is above
/// [`MAX_OFFSET`](partition::sequencer::MAX_OFFSET).
fn last_of(first: u64, run: &impl Payload) -> u64 {
    first.saturating_add(run.record_count() - 1)
}

impl Payload for std::sync::Arc<[u8]> {
    fn share(&mut self) -> Self {
        self.clone()
    }

    fn len_bytes(&self) -> usize {
        self.len()
    }

    fn contents(&self) -> impl Iterator<Item = &[u8]> {
        std::iter::once(&**self)
    }
}

impl store::reader::Stored for std::sync::Arc<[u8]> {
    fn of_record(content: &[u8]) -> Self {
        content.into()
    }

    fn of_batch(_: Batch<&[u8]>) -> Self {
        unreachable!("a payload of one record")
    }
}

/// For unit tests, which compare contents.
#[cfg(test)]
impl Payload for Vec<u8> {
    fn share(&mut self) -> Self {
        self.clone()
    }

    fn len_bytes(&self) -> usize {
        self.len()
    }

    fn contents(&self) -> impl Iterator<Item = &[u8]> {
        std::iter::once(self.as_slice())
    }
}

/// A run, for unit tests.
#[cfg(test)]
impl Payload for Vec<Vec<u8>> {
    fn share(&mut self) -> Self {
        self.clone()
    }

    fn len_bytes(&self) -> usize {
        self.iter().map(Vec::len).sum()
    }

    fn contents(&self) -> impl Iterator<Item = &[u8]> {
        self.iter().map(Vec::as_slice)
    }

    fn record_count(&self) -> u64 {
        self.len() as u64
    }

    fn split_at(mut self, count: u64) -> (Self, Self) {
        let rest = self.split_off(count as usize);
        (self, rest)
    }
}
