//! The protocol: one state machine for each role, without sockets, clocks, threads or a database.
//!
//! # The contract
//!
//! A state machine receives input and time from its caller, and returns what the caller must do. The methods are of the
//! following kinds. Each machine has only the methods that its role needs:
//!
//! - `handle_*` takes input: a message, a subscription, a connection that was given up, or a finished commit. Commands
//!   have their own names: `publish`, `subscribe`, `unsubscribe`, `renew`, `announce`. The caller passes the time in
//!   milliseconds, from a clock that never goes back.
//! - `due_ms` returns when `handle_timeout` must be called next. `handle_timeout` does everything that is due.
//! - `poll_*` returns output that is ready. `poll_answers` adds the next responses to requests. `poll_acks` adds ACKs
//!   of records that are on disk. `poll_notice` returns a condition that an operator should know ([`notice::Notice`]).
//!   `poll_twin` returns a reason why a producer must take another address.
//! - Other methods read state, or configure a new machine (`with_*` and similar, before any input).
//!
//! Nearly every call may produce messages to publish, records in order, or endpoints to connect to. The call appends
//! them to an [`Outbox`] or a list that the caller passes. So no queue is needed between the state machine and its
//! caller. The caller passes the same lists in every turn, so they need no new memory.
//!
//! # Runs
//!
//! A payload contains a run: one or more consecutive records of one partition. The message that carries the payload
//! names the offset of the first record. Two runs may overlap, so a record can arrive twice, in different runs. The
//! machines number, count and acknowledge records, not runs. A machine returns each record once: it removes from a run
//! the records that it has returned before.
//!
//! # One turn of the loop
//!
//! The caller does the following in each turn of its loop, in this order:
//!
//! 1. It passes on the commands of the application.
//! 2. It calls `handle_subscription` for each subscription that a peer has made. For a producer, it then calls
//!    `handle_behind` with whether more subscriptions are unread. If an ACK arrives although no peer is known to
//!    subscribe to the producer's records, the producer keeps the ACK while subscriptions are unread. Otherwise it
//!    treats the ACK as a sign of a twin.
//! 3. It calls `handle_message` for each received message, until the application or the disk accepts no more. If no
//!    message is left, it calls `handle_all_read` of a producer. For a consumer or replica, it calls `handle_unread`
//!    with the time when the oldest unread message was received. That message may be the response to a FETCH. So a
//!    FETCH whose deadline is after this time is not repeated yet.
//! 4. It calls `handle_peer` when a peer has appeared or disappeared, and `handle_given_up` when a connection has been
//!    given up. Step 4 follows step 3, because messages that arrived before the end of their connection must be handled
//!    before the end.
//! 5. It calls `handle_committed` for records that are now on disk, and then starts to write the next records.
//! 6. It calls `poll_answers` and `handle_timeout`. Then it calls `poll_notice` until that returns `None`.
//! 7. It publishes the outbox. Publishing never waits: a peer later fetches the records that it could not receive.
//!
//! Then the loop sleeps until there is input, or until `due_ms`. The caller may also call `handle_timeout` before
//! `due_ms`.
//!
//! While the application or the disk accepts no more records, the caller may stop reading messages. The unread messages
//! may include responses, so no FETCH may time out meanwhile. The caller must therefore stop the clock whose time it
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
//! | `producer::guard` | when a named producer may publish new records |
//! | `producer::renewals` | when a producer with a twin may take a new address |
//! | `producer::ack_stall` | detects that no store acknowledges records |
//! | `consumer` | puts partitions in order and delivers their records |
//! | `consumer::topics` | the subscribed topics, and where to start in their partitions |
//! | `consumer::latest` | where to start under `latest` |
//! | `consumer::seek` | continues at other records |
//! | `consumer::named` | what a consumer does with its name |
//! | `consumer::positions` | the committed positions of a consumer with a name |
//! | `consumer::unacknowledged` | holds records back until a store has them |
//! | `store::replica` | orders the records that a store receives, acknowledges the records on disk |
//! | `store::commits` | the committed positions that a store receives |
//! | `store::reader` | answers requests from the log |
//! | `store::comparison` | detects that two stores hold different records |
//! | `discovery` | which peers exist, and where |
//! | `ingest` | all partitions of a consumer or a replica |
//! | `ingest::table` | the open partitions, and which one to evict |
//! | `ingest::eviction` | the order in which partitions are evicted, and the peer that each is charged to |
//! | `ingest::doubt` | a partition that may be older than the subscription |
//! | `ingest::search` | partitions in which a record is searched |
//! | `ingest::wait_clock` | measures how long messages have been awaited |
//! | `ingest::evicted_positions` | the positions of evicted partitions |
//! | `ingest::reorder_quota` | limits the early records of all partitions |
//! | `ingest::fetch_scheduler` | sends FETCHes when they are due |
//! | `ingest::fetch_quota` | limits the bytes that FETCHes in flight request |
//! | `partition::sequencer` | one partition: order and gaps |
//! | `partition::reorder_buffer` | early records of one partition |
//! | `partition::search` | finds the first record that was published at a given time or later |
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

use crate::wire::batch::{AnyBatch, Record};
pub use outbox::Outbox;

/// Returns the name of the connection over which a message came, or `None` if the connection is not known. The name is
/// the same for all messages of one connection, and differs between connections. The name begins with the host, see
/// [`host_of`]. The function is called rarely, so it may be slow.
pub type Sender<'a> = dyn Fn() -> Option<Box<[u8]>> + 'a;

/// The length of the host's part in the name of a connection.
pub const HOST_LEN_BYTES: usize = 16;

/// The host's part of a connection's name. Limited resources are divided among hosts first, and then among the
/// connections of each host. A name that is shorter than [`HOST_LEN_BYTES`] counts as a host of its own.
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
    /// Whether the requester can receive a message now. `id` is the kind of the message: one of the constants in
    /// `wire::id`.
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

/// At most this many requests are examined to find one whose requester can receive a response now.
const MAX_LOOKS: usize = 1_024;

/// A handle to the contents of a run: one or more consecutive records of one partition. Moving the handle does not copy
/// the contents. If the payloads of a type always have one record, the type needs only the methods without a default.
pub trait Payload: Sized {
    /// Returns a second handle to the same contents.
    fn share(&mut self) -> Self;

    /// The total length of all contents. For a compressed batch, the length of the batch.
    fn len_bytes(&self) -> usize;

    /// Passes the content of each record to `each`, in order. Unpacks a compressed batch for this.
    fn for_each_content(&self, each: impl FnMut(&[u8]));

    /// The length of the longest content. For a compressed batch with several records, their average length, which is
    /// not greater.
    fn longest_content_bytes(&self) -> usize {
        let mut longest_bytes = 0;
        self.for_each_content(|content| longest_bytes = content.len().max(longest_bytes));
        longest_bytes
    }

    /// The number of records, at least 1.
    fn record_count(&self) -> u64 {
        1
    }

    /// Passes the key of each record to `each`, in order: empty if the record has none. Unpacks a compressed batch for
    /// this.
    fn for_each_key(&self, mut each: impl FnMut(&[u8])) {
        (0..self.record_count()).for_each(|_| each(b""));
    }

    /// Keeps the records for which `keeps` returns true. Passes each run of kept records to `each`, with the number of its
    /// first record. `keeps` gets the number of each record, which counts from 0, and its key.
    fn retain(self, mut keeps: impl FnMut(u64, &[u8]) -> bool, mut each: impl FnMut(u64, Self)) {
        let mut kept: Vec<std::ops::Range<u64>> = Vec::new();
        let mut number = 0;
        self.for_each_key(|key| {
            if keeps(number, key) {
                match kept.last_mut() {
                    Some(last) if last.end == number => last.end += 1,
                    _ => kept.push(number..number + 1),
                }
            }
            number += 1;
        });
        let (mut rest, mut first) = (Some(self), 0);
        for range in kept {
            let Some((_, run)) = rest.take().map(|rest| rest.split(range.start - first)) else { break };
            let Some((run, later)) = run.map(|run| run.split(range.end - range.start)) else { break };
            run.into_iter().for_each(|run| each(range.start, run));
            (rest, first) = (later, range.end);
        }
    }

    /// When a record was published, by the clock of its producer, in milliseconds since the Unix epoch. `None` if that
    /// is not known. `number` counts from 0, and is less than the number of records.
    fn timestamp_ms(&self, number: u64) -> Option<i64> {
        let _ = number;
        None
    }

    /// Whether RECORDS can carry the run. If not, the run has one record, and RECORD carries it.
    fn is_batch(&self) -> bool {
        false
    }

    /// Returns the same records without compression, so that they can be published one by one.
    fn unpack(self) -> Self {
        self
    }

    /// The memory that a producer needs to keep the run.
    fn kept_bytes(&self) -> u64 {
        producer::cost_bytes(self.len_bytes())
    }

    /// Returns the first `count` records, and the others. `count` is at least 1 and less than the number of records.
    /// Use [`Payload::split`] for other counts.
    fn split_at(self, count: u64) -> (Self, Self) {
        unreachable!("one record is not split at {count}")
    }

    /// Returns the same contents, for records that are kept for long. The contents are copied if they would otherwise
    /// keep much more memory than their own.
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

/// The offset of the last record of a run. If it is above [`MAX_OFFSET`](partition::sequencer::MAX_OFFSET), the run is
/// invalid.
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

    fn for_each_content(&self, mut each: impl FnMut(&[u8])) {
        each(self);
    }
}

impl store::reader::Stored for std::sync::Arc<[u8]> {
    fn of_record(record: Record) -> Self {
        record.content.into()
    }

    fn of_batch(_: AnyBatch<&[u8]>) -> Self {
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

    fn for_each_content(&self, mut each: impl FnMut(&[u8])) {
        each(self);
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

    fn for_each_content(&self, mut each: impl FnMut(&[u8])) {
        self.iter().for_each(|content| each(content));
    }

    fn record_count(&self) -> u64 {
        self.len() as u64
    }

    fn split_at(mut self, count: u64) -> (Self, Self) {
        let rest = self.split_off(count as usize);
        (self, rest)
    }
}
