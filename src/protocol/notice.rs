//! Conditions that an operator should know.
//!
//! A state machine returns notices from `poll_notice`. The caller logs them, but limits the number of lines.

use super::store::comparison::Divergence;
use crate::partition_name::PartitionNameBuf;

/// Why a store does not keep a position of a consumer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The store has reached its limit of names, of partitions of one name, or of positions.
    TooMany,
    /// Name, topic and address of the producer are too long for a key of the database.
    TooLong,
    /// The timestamp is too far after the time of the store's clock.
    Future,
}

/// One condition.
#[derive(Debug, PartialEq, Eq)]
pub enum Notice {
    /// Partitions were ignored: the limit of open partitions is reached, and no open partition can be evicted.
    TooManyPartitions,
    /// Partitions of one peer were ignored: the peer's limit is reached, and none of its open partitions can be
    /// evicted.
    TooManyPartitionsOfPeer,
    /// A consumer under `latest` ignored partitions that only stores have mentioned: it cannot remember more old
    /// partitions.
    TooManyOldPartitions,
    /// A partition counts as older than the consumer's subscription, because no peer sent its first record.
    PresumedOld {
        /// The partition.
        partition: PartitionNameBuf,
    },
    /// A partition stalls: its next record was first requested from all peers at least
    /// [`STALL_MS`](super::partition::fetch_stall::STALL_MS) ago, and no peer has sent it. Returned once for each
    /// record.
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
        /// How many records are held back.
        count: usize,
        /// How long the partition has waited for an ACK, in milliseconds, see
        /// [`Stall`](super::consumer::unacknowledged::Stall).
        ms: u64,
    },
    /// No store acknowledges a producer's records, or too few stores do.
    AckStalled(AckStall),
    /// Stores acknowledge a producer's records again, after [`Notice::AckStalled`].
    AcksResumed,
    /// No store confirms a consumer's commits.
    CommitsStalled {
        /// How many commits wait.
        count: usize,
        /// How long no commit has been confirmed, in milliseconds.
        ms: u64,
    },
    /// A consumer with a name begins without the positions of all stores.
    PositionsMissing {
        /// How many stores have sent their positions.
        responded: usize,
        /// How many stores are connected.
        stores: usize,
    },
    /// A member of a group waits for a store.
    GroupWithoutStore,
    /// The members of a consumer's group have changed.
    GroupChanged {
        /// How many members the consumer knows, including itself.
        members: usize,
        /// How many slots are assigned to the consumer.
        slots: u32,
    },
    /// A store did not keep the position of a consumer.
    PositionRefused {
        /// The name of the consumer.
        name: Box<[u8]>,
        /// Why.
        reason: Refusal,
    },
    /// Two consumers commit positions under the same name.
    SharedName {
        /// The name.
        name: Box<[u8]>,
    },
    /// Another store has this store's name. Producers count the two as one store.
    TwinStore,
    /// Another store holds a record with other content than this store's record.
    Divergence(Divergence),
    /// A peer was ignored: its host has reached the limit of peers per host.
    TooManyPeersOfHost {
        /// The peer's host.
        host: String,
        /// The limit of peers per host.
        limit: usize,
    },
    /// A peer was ignored: the limit of peers is reached, and no host has more peers than the ignored peer's host would
    /// have with this peer.
    TooManyPeers {
        /// The peer's host.
        host: String,
        /// The limit of peers.
        limit: usize,
    },
    /// A peer was ignored: the limit of pending peers is reached, and no pending peer may be evicted yet.
    TooManyPending {
        /// The peer's host.
        host: String,
        /// The limit of pending peers.
        limit: usize,
    },
    /// A peer was evicted for a new one: the limit of peers is reached, and the evicted peer's host had the most peers.
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
    /// How long the same record has been the oldest unacknowledged one, in milliseconds.
    pub ms: u64,
    /// How many different stores must have a record.
    pub min_stores: usize,
    /// How many stores have the oldest record.
    pub stores: usize,
    /// The offset and the length of the oldest record, if stores may refuse this record because of its length. That is
    /// the case if the record was published alone, and is longer than 4 KiB and than every acknowledged record.
    pub long_record: Option<(u64, usize)>,
}
