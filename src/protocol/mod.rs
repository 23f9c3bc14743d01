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
//! | `discovery`, `links` | which peers are there, and the connections to them |
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
//! | `remembered` | where partitions stood that had to give way |
//! | `subscriptions` | what each role subscribes to |

pub mod answers;
pub mod comparison;
pub mod consumer;
pub mod copies;
pub mod discovery;
pub mod hold_back;
pub mod ingest;
pub mod links;
pub mod outbox;
pub mod producer;
pub mod reader;
pub mod remembered;
pub mod renewals;
pub mod replica;
pub mod seats;
pub mod sequencer;
pub mod sources;
pub mod stall;
pub mod subscriptions;
pub mod turns;
pub mod unacknowledged;
pub mod waiting;

pub use outbox::Outbox;

/// Tells who sent a message: a name that is the same for all that come over one connection, and another one for each
/// other connection. `None` when that is not known. It is asked seldom, so that it may take its time.
pub type Sender<'a> = dyn Fn() -> Option<Box<[u8]>> + 'a;

/// A record's content, moved by handle.
pub trait Payload: AsRef<[u8]> {
    /// A second handle to the same octets.
    fn share(&mut self) -> Self;
}

impl Payload for std::sync::Arc<[u8]> {
    fn share(&mut self) -> Self {
        self.clone()
    }
}
