//! What each role does, as state machines without sockets, clocks, threads or a database.
//!
//! # The contract
//!
//! All of them have the same kinds of methods:
//!
//! - `handle_*` takes input: a message, a subscription, a lost connection, what the disk has done. The caller passes the
//!   time in milliseconds, by a clock that never goes back. Commands have their own
//!   names: `publish`, `subscribe`, `unsubscribe`, `renew`, `announce`.
//! - `handle_timeout` does what is due, and `due_ms` returns when it must be called next.
//! - `poll_*` returns output that waits: `poll_answers` sends the next slice of the answers to requests, `poll_job` returns
//!   records to write, `poll_acks` sends what is acknowledged, `poll_notice` returns what an operator should know of
//!   ([`notice::Notice`]), `poll_twin` a reason to take another address.
//! - The others read state, or set it up (`with_*` and the like, before any input).
//!
//! What is to be published, records in order, and endpoints to connect to are the output of nearly every call. A call
//! appends them to what the caller passes: an [`Outbox`], and a list. So no record is moved through a queue between, and
//! the lists keep their memory from turn to turn.
//!
//! One turn of the caller's loop is, in this order:
//!
//! 1. commands of the application;
//! 2. `handle_subscription` for each subscription that peers have made; a producer is told then whether more of them wait
//!    (`handle_behind`), as an ACK of a peer without a subscription shows a twin;
//! 3. `handle_message` for each message that was received, until the application or the disk takes no more; then
//!    `handle_all_read` or `handle_unread` say whether messages are left: answers may be among them;
//! 4. `handle_peer` and `handle_cut` for peers that have come or gone, and connections that were given up. After
//!    messages: what came over a connection counts before its end;
//! 5. `handle_committed` for what the disk has written, and `poll_job` for what it is to write next;
//! 6. `poll_answers`, `handle_timeout`, `poll_notice` until it returns `None`;
//! 7. the outbox is published. It never waits: what a peer cannot take, its FETCH brings later.
//!
//! The loop then sleeps until there is input, or until `due_ms`. `handle_timeout` may be called at any time before that.
//! While messages lie unread because the application or the disk takes no more, the machine's time must stand still:
//! answers that lie unread are not late. A caller that leaves `handle_timeout` out meanwhile does the same.
//!
//! The actors' loop is `actor::node_loop`; tests/simulation runs the machines under a seed.
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
//! // A message: a store has the record. Nobody knows who has sent it.
//! let ack = Message::Ack { topic: b"PARTITION", subject: b"topic", sequence: 0, store: b"STORE" };
//! producer.handle_message(&ack, &|| None, &mut out);
//! producer.handle_all_read(1);
//! // What is due, and what waits.
//! assert_eq!(producer.poll_answers(&mut AllRead, 100, &mut out), Progress::Idle);
//! assert_eq!(producer.due_ms(), Some(1_000));
//! producer.handle_timeout(1_000, &mut out);
//! assert_eq!(producer.poll_notice(1_000), None);
//! // What is published: RECORD and HEAD.
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
//! | `producer::copies` | in how many stores a producer's records are |
//! | `producer::renewals` | when a producer that shares its address may take a new one |
//! | `producer::ack_stall` | whether records of a producer wait long for acknowledgement |
//! | `consumer` | puts partitions in order and delivers their records |
//! | `consumer::unacknowledged` | which records a consumer keeps back until a store has them |
//! | `store::replica` | the store's ingest: puts partitions in order, acknowledges what is durable |
//! | `store::reader` | the store's answers, from the log |
//! | `store::comparison` | whether stores hold the same records |
//! | `discovery` | which peers there are |
//! | `ingest` | all partitions of a consumer or a replica |
//! | `ingest::eviction` | the order in which partitions are evicted, and the peer that each is charged to |
//! | `ingest::evicted_positions` | the positions of evicted partitions |
//! | `partition::sequencer` | one partition: order, gaps, FETCH windows |
//! | `partition::sources` | which store to ask for a window |
//! | `partition::backoff` | how long to wait before a FETCH that may end connections |
//! | `partition::fetch_stall` | whether a partition stalls because no peer has its next record |
//! | `answers`, `answers::fair_queue` | FETCH requests that a producer or reader is answering, in fair order |
//! | `notice` | what the machines report to an operator |
//! | `outbox` | the messages that a call publishes |
//! | `shares` | how much of something scarce each host and each peer has |
//! | `subscriptions` | what each role subscribes to |

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

pub use outbox::Outbox;

/// Tells who sent a message: a name that is the same for all that come over one connection, and another one for each
/// other connection. It begins with the host's, see [`host_of`]. `None` when that is not known. It is asked seldom, so
/// that it may take its time.
pub type Sender<'a> = dyn Fn() -> Option<Box<[u8]>> + 'a;

/// How long the part of a sender's name is that all connections of one host have in common.
pub const HOST_LEN_BYTES: usize = 16;

/// The host of a sender: what is scarce is shared among hosts first, and then among the connections of each. A shorter name
/// is a host of its own.
pub fn host_of(sender: &[u8]) -> &[u8] {
    sender.get(..HOST_LEN_BYTES).unwrap_or(sender)
}

/// Whether an answer would be read now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    /// There is room for it on its way.
    Ready,
    /// What was sent before is not read yet, or the requester got enough for now.
    Full,
    /// Nobody would get it.
    Nobody,
}

/// Who gets answers.
pub trait Requesters {
    /// Whether a message with this id would be read by the requester now.
    fn reading(&mut self, id: u8, requester: &[u8]) -> Reading;

    /// So many heads were sent to a requester.
    fn sent_heads(&mut self, requester: &[u8], count: u64);
}

/// Everybody reads everything at once: for simulations, which have no queues between nodes.
pub struct AllRead;

impl Requesters for AllRead {
    fn reading(&mut self, _: u8, _: &[u8]) -> Reading {
        Reading::Ready
    }

    fn sent_heads(&mut self, _: &[u8], _: u64) {}
}

/// What is left to answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Nothing.
    Idle,
    /// Something, when requesters have read what was sent before.
    Waiting,
    /// Something, now.
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

/// Requests that are looked at, at most, to find one whose answer would be read now.
const MAX_LOOKS: usize = 1_024;

/// A record's content, moved by handle.
pub trait Payload: AsRef<[u8]> {
    /// A second handle to the same octets.
    fn share(&mut self) -> Self;

    /// The same octets, for keeping: they occupy no more memory than they need.
    fn into_own_memory(self) -> Self
    where
        Self: Sized,
    {
        self
    }
}

impl Payload for std::sync::Arc<[u8]> {
    fn share(&mut self) -> Self {
        self.clone()
    }
}
