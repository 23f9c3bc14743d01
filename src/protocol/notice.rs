//! Conditions that an operator should know.
//!
//! A state machine returns them from `poll_notice`. The caller logs them, and drops some when there are too many.

use super::store::comparison::Divergence;
use crate::partition_name::PartitionNameBuf;

/// One condition.
#[derive(Debug, PartialEq, Eq)]
pub enum Notice {
    /// Partitions were ignored: the limit of known partitions is reached, and none can be evicted.
    TooManyPartitions,
    /// Partitions of one peer were ignored: its limit is reached, and none of its partitions can be evicted.
    TooManyPartitionsOfPeer,
    /// A partition stalls: all peers were asked for its next record for
    /// [`STALL_MS`](super::partition::fetch_stall::STALL_MS), and none has sent it. Returned once for each record.
    FetchStalled {
        /// The partition.
        partition: PartitionNameBuf,
        /// The offset of the missing record.
        next: u64,
    },
    /// A consumer holds records of a partition back, and no store acknowledges them.
    DeliveryStalled {
        /// The partition.
        partition: PartitionNameBuf,
        /// How many records wait.
        count: usize,
        /// How long they have waited, in milliseconds.
        ms: u64,
    },
    /// No store acknowledges a producer's records, or too few stores do.
    AckStalled(AckStall),
    /// Stores acknowledge a producer's records again, after [`Notice::AckStalled`].
    AcksResumed,
    /// Another store has this store's name. Producers count both as one store.
    TwinStore,
    /// Another store holds a different content of a record.
    Divergence(Divergence),
    /// A peer was ignored: its host has reached the limit of peers per host.
    TooManyPeersOfHost {
        /// The peer's host.
        host: String,
        /// The limit of peers per host.
        limit: usize,
    },
    /// A peer was ignored: the limit of peers is reached, and no host has more peers than the new peer's host would
    /// have.
    TooManyPeers {
        /// The peer's host.
        host: String,
        /// The limit of peers.
        limit: usize,
    },
    /// A peer was evicted for a new one: the limit of peers is reached, and the evicted peer's host has most peers.
    PeerEvicted {
        /// The host of the evicted peer.
        host: String,
        /// The limit of peers.
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
    /// How long the same record has been the oldest one, in milliseconds.
    pub ms: u64,
    /// How many different stores must have a record.
    pub min_stores: usize,
    /// How many stores have the oldest record.
    pub stores: usize,
    /// The offset and the length of the oldest record, if stores may refuse the record because of its length: it
    /// exceeds 4 KiB and the length of every acknowledged record.
    pub long_record: Option<(u64, usize)>,
}
