//! Conditions that an operator should know.
//!
//! A state machine returns them from `poll_notice`. The caller logs them, or drops them when there are too many.

use super::store::comparison::Divergence;

/// One condition.
#[derive(Debug, PartialEq, Eq)]
pub enum Notice {
    /// Partitions were ignored: there are as many as there may be, and none can be evicted.
    TooManyPartitions,
    /// The same, as one peer has brought as many as one peer may bring.
    TooManyPartitionsOfPeer,
    /// A partition stands still: everybody was asked for its next record for
    /// [`STALL_MS`](super::partition::fetch_stall::STALL_MS), and nobody has sent it. Returned once for each record.
    FetchStalled {
        /// The partition's topic.
        subject: Box<[u8]>,
        /// The partition.
        address: Box<[u8]>,
        /// The record that is missing.
        next: u64,
    },
    /// A consumer keeps records of a partition back, and no store acknowledges them.
    DeliveryStalled {
        /// The partition's topic.
        subject: Box<[u8]>,
        /// The partition.
        address: Box<[u8]>,
        /// How many records wait.
        count: usize,
        /// For how long, in milliseconds.
        ms: u64,
    },
    /// No store acknowledges a producer's records, or too few stores do.
    AckStalled(AckStall),
    /// A producer's records are acknowledged again, after [`Notice::AckStalled`].
    AcksResumed,
    /// Another store has this store's name: together they count as one.
    TwinStore,
    /// Another store holds another content of a record.
    Divergence(Divergence),
    /// A peer was ignored: its host has as many peers as one host may have.
    TooManyPeersOfHost {
        /// The peer's host.
        host: String,
        /// How many peers one host may have.
        limit: usize,
    },
    /// A peer was ignored: there are as many as there may be, and its host has no fewer than others.
    TooManyPeers {
        /// The peer's host.
        host: String,
        /// How many peers there may be.
        limit: usize,
    },
    /// A peer was dropped for a new one: there are as many as there may be, and its host has most.
    PeerEvicted {
        /// The host of the peer that was dropped.
        host: String,
        /// How many peers there may be.
        limit: usize,
    },
}

/// A producer's records that wait for an acknowledgement.
#[derive(Debug, PartialEq, Eq)]
pub struct AckStall {
    /// The topic.
    pub topic: Box<[u8]>,
    /// How many records wait.
    pub count: usize,
    /// How long the oldest one was the oldest one, in milliseconds.
    pub ms: u64,
    /// How many different stores must have a record...
    pub min_stores: usize,
    /// ... and how many of them have the oldest one.
    pub stores: usize,
    /// The oldest record and its length in octets, if stores may refuse it for that: it is longer than all that were
    /// acknowledged.
    pub long_record: Option<(u64, usize)>,
}
