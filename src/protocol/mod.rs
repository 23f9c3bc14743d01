//! What each role does, as state machines without sockets, clocks, threads or a database.
//!
//! A machine takes a decoded message or a tick, with the time given in milliseconds, and puts what is to be
//! done into an [`Outbox`] (messages to publish) or a list that its method names (records to deliver, records
//! to append). The actor around it moves bytes; a simulation can do the same under a seed.
//!
//! | file | role |
//! | --- | --- |
//! | `producer` | numbers, publishes, keeps what is not acknowledged, answers FETCH |
//! | `consumer` | puts partitions in order and delivers them |
//! | `replica` | the store's ingest: puts partitions in order, acknowledges what is durable |
//! | `comparison` | whether stores hold the same records |
//! | `reader` | the store's answers, from the log |
//! | `discovery` | which peers there are |
//! | `ingest`, `sequencer` | what consumer and replica share: order, gaps, FETCH windows |
//! | `hold_back` | how long to wait with what may end connections |
//! | `sources` | which store to ask for a window |
//! | `answers`, `turns` | what producer and reader share: FETCH requests being answered, each requester in its turn |
//! | `stall` | whether a partition stands still |
//! | `copies` | in how many stores a producer's records are |
//! | `unacknowledged` | which records a consumer keeps back until a store has them |
//! | `renewals` | when a producer that shares its address may take a new one |
//! | `waiting` | whether a producer's records wait for long |
//! | `seats` | who has brought which partitions, and in which order they give way |
//! | `shares` | how much of something scarce each host and each peer has |
//! | `remembered` | where partitions stood that had to give way |
//! | `subscriptions` | what each role subscribes to |

pub mod answers;
pub mod comparison;
pub mod consumer;
pub mod copies;
pub mod discovery;
pub mod hold_back;
pub mod ingest;
pub mod outbox;
pub mod producer;
pub mod reader;
pub mod remembered;
pub mod renewals;
pub mod replica;
pub mod seats;
pub mod sequencer;
pub mod shares;
pub mod sources;
pub mod stall;
pub mod subscriptions;
pub mod turns;
pub mod unacknowledged;
pub mod waiting;

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

/// Everybody reads everything at once.
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
