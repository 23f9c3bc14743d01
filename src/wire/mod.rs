//! The wire protocol: encodes and decodes messages and beacons.
//!
//! Messages have the names of [RFC 46/DAFKA](https://rfc.zeromq.org/spec/46/) and the layout of libdafka 0.1.0. The RFC
//! and 0.1.0 differ: 0.1.0 sends no `0xAA 0xA5` signature, and ends the ZeroMQ topic in the first frame with a NUL.
//! This library must exchange messages with nodes of 0.1.0, so it follows 0.1.0.
//!
//! A first frame consists of the message's id (one octet), the ZeroMQ topic, a NUL, the version (one octet) and the
//! fields. Numbers are unsigned and big-endian. A `string` begins with its length in one octet, a `longstr` with its
//! length in four octets. `strings` are a count in four octets and that many `longstr`s.
//!
//! A peer can send anything. Any octets decode to a message or to a [`DecodeError`], never to a panic. Decoding
//! allocates nothing: a message borrows from its frame. Decoding ignores octets after the last known field, so that
//! later versions can add fields there.
//!
//! A [`batch`] contains several records of one partition. It is the content frame of RECORDS and DIRECT-RECORDS, two
//! messages that nodes of libdafka 0.1.0 do not know. Stores write batches to disk, too.
//!
//! Names (topics, addresses, subjects) are octets and need not be UTF-8. They have at most [`MAX_NAME_LEN`] octets,
//! and no NUL, which would end the ZeroMQ topic. They may be empty: the roles define what an empty name means.
//!
//! This module must not use sockets, threads, clocks or C.

pub mod batch;
pub mod beacon;
mod cursor;
mod endpoint;
mod error;
mod message;
mod position;
pub mod record_attributes;
mod subjects;
mod subscription;
mod traffic;

pub use beacon::{NodeBeacon, TowerBeacon, WELCOME};
pub use endpoint::Endpoint;
pub use error::{DecodeError, EncodeError};
pub use message::Message;
pub use position::{Position, PositionTemplate, partition_key};
pub use subjects::{Subjects, SubjectsBuf, SubjectsIter};
pub use subscription::{Subscription, exact_prefix, prefix};
pub use traffic::Traffic;

/// The version of the protocol, the first field of each message. Messages of other versions are dropped.
pub const VERSION: u8 = 1;

/// The greatest length of a topic, an address or a subject: it must fit into one octet.
pub const MAX_NAME_LEN: usize = 255;

/// Message ids: the first octet of each message, and of each subscription to it.
pub mod id {
    /// RECORD: a producer publishes a record to consumers and stores.
    pub const RECORD: u8 = b'M';
    /// DIRECT-RECORD: a producer or a store sends a record to the node that requested it.
    pub const DIRECT_RECORD: u8 = b'D';
    /// RECORDS: a producer publishes several records to consumers and stores that take batches. libzmq sends the
    /// subscriptions of a new connection in ascending order of their octets, so this id must be less than [`RECORD`].
    /// So a publisher already knows whether a peer takes batches when it reads the peer's subscription to RECORD.
    pub const RECORDS: u8 = b'C';
    /// DIRECT-RECORDS: a producer or a store sends several records to the node that requested them.
    pub const DIRECT_RECORDS: u8 = b'R';
    /// FETCH: a consumer or a store requests records from the producer and all stores.
    pub const FETCH: u8 = b'F';
    /// ACK: a store informs a producer that it has stored the partition up to a record.
    pub const ACK: u8 = b'K';
    /// HEAD: a producer announces the sequence of its last record.
    pub const HEAD: u8 = b'H';
    /// DIRECT-HEAD: a store or a producer sends the last sequence of a partition to one node.
    pub const DIRECT_HEAD: u8 = b'E';
    /// GET-HEADS: a consumer or a store requests the heads of a topic's partitions.
    pub const GET_HEADS: u8 = b'G';
    /// CONSUMER-HELLO: a consumer introduces itself to a store.
    pub const CONSUMER_HELLO: u8 = b'W';
    /// STORE-HELLO: a store introduces itself to a consumer.
    pub const STORE_HELLO: u8 = b'L';
    /// COMMIT: a consumer with a name informs the stores of its position in a partition.
    pub const COMMIT: u8 = b'P';
    /// COMMIT-ACK: a store confirms a commit to the consumer that made it.
    pub const COMMIT_ACK: u8 = b'A';
    /// POSITION: a store sends a committed position to one node.
    pub const POSITION: u8 = b'Q';
    /// GET-POSITIONS: a consumer or a store requests committed positions.
    pub const GET_POSITIONS: u8 = b'I';
    /// MEMBER: a member of a group of consumers announces itself to the other members.
    pub const MEMBER: u8 = b'J';
}
