//! The wire protocol: bytes to messages and back.
//!
//! What Dafka's nodes say to each other, named as in [RFC 46/DAFKA](https://rfc.zeromq.org/spec/46/) and laid
//! out as libdafka 0.1.0 really sends it. Where the two differ, 0.1.0 is followed, since its nodes are the
//! ones to talk to: there is no `0xAA 0xA5` signature, and the ZeroMQ topic in the first frame ends with a
//! NUL.
//!
//! A first frame is: the message's id (one octet), the ZeroMQ topic, a NUL, the version (one octet), the
//! fields. Numbers are unsigned and big-endian; a `string` has a length of one octet before it, a `longstr`
//! of four, and `strings` are a count of four octets and that many `longstr`s.
//!
//! Decoding is total. A peer can send anything, so any octets give a message or a [`DecodeError`], never a
//! panic, and nothing is allocated: a decoded message borrows from the frame. Octets after the last known
//! field are ignored; that is where compatible extensions go.
//!
//! Names (topics, addresses, subjects) are octets, not text: nothing on the wire promises UTF-8. They have at
//! most [`MAX_NAME_LEN`] octets and hold no NUL, which would end the ZeroMQ topic too early. They may be
//! empty here; the roles decide what an empty name means.
//!
//! This module must know nothing of sockets, threads, clocks or C.

pub mod beacon;
mod cursor;
mod endpoint;
mod error;
mod message;
mod position;
mod subjects;
mod subscription;

pub use beacon::{NodeBeacon, TowerBeacon, WELCOME};
pub use endpoint::Endpoint;
pub use error::{DecodeError, EncodeError};
pub use message::Message;
pub use position::{Position, PositionTemplate, partition_key};
pub use subjects::{Subjects, SubjectsBuf, SubjectsIter};
pub use subscription::{Subscription, exact_prefix, prefix};

/// The version of the protocol: the first field of each message. Other versions are discarded.
pub const VERSION: u8 = 1;

/// The most octets that a topic, an address or a subject may have: its length has to fit into one octet.
pub const MAX_NAME_LEN: usize = 255;

/// The first octet of each message, and of each subscription to it.
pub mod id {
    /// RECORD: a producer publishes a record to consumers and stores.
    pub const RECORD: u8 = b'M';
    /// DIRECT-RECORD: a producer or a store sends a record to the one node that asked for it.
    pub const DIRECT_RECORD: u8 = b'D';
    /// FETCH: a consumer or a store asks the producer and all stores for records.
    pub const FETCH: u8 = b'F';
    /// ACK: a store tells a producer up to where it has stored the partition.
    pub const ACK: u8 = b'K';
    /// HEAD: a producer announces its last sequence.
    pub const HEAD: u8 = b'H';
    /// DIRECT-HEAD: a store (or producer) tells one node the last sequence of a partition.
    pub const DIRECT_HEAD: u8 = b'E';
    /// GET-HEADS: a consumer asks for the heads of a topic's partitions.
    pub const GET_HEADS: u8 = b'G';
    /// CONSUMER-HELLO: a consumer introduces itself to a store.
    pub const CONSUMER_HELLO: u8 = b'W';
    /// STORE-HELLO: a store introduces itself to a consumer.
    pub const STORE_HELLO: u8 = b'L';
}
