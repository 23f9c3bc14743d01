//! The configuration keys: their names, defaults and valid values.
//!
//! A node reads the keys once, when it starts. It reads them through a function that returns the values at a path: from
//! a configuration, or from a map in a test. Values are bytes, because a path in the file system need not be UTF-8. An
//! invalid value is reported as a [`Problem`] with its key, and the default is used instead.

mod keys;
mod offset_reset;
mod tower_address;

pub use keys::Problem;
pub use offset_reset::OffsetReset;
pub use tower_address::{TowerAddress, list};

use crate::committed::MAX_CONSUMER_NAME_LEN;
use crate::slots::{GroupBy, MAX_GROUP_NAME_LEN};
use crate::wire::batch::Compression;
use keys::{Keys, MAX_MS};
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

/// The addresses and limits of a tower.
#[derive(Clone, Debug)]
pub struct Tower {
    /// `tower/sub_address`: where the tower receives the nodes' beacons.
    pub sub_address: TowerAddress,
    /// `tower/pub_address`: where the tower sends its own beacons.
    pub pub_address: TowerAddress,
    /// `tower/endpoints_file`: the file to which the tower writes the endpoints that it listens at.
    pub endpoints_file: Option<OsString>,
    /// `tower/max_subscription_bytes`: limit for the subscriptions of all nodes together.
    pub max_subscription_bytes: usize,
    /// `tower/max_connections`: inbound connections at a time, at each of the tower's two sockets.
    pub max_connections: usize,
    /// `tower/max_connections_per_host`: inbound connections of one host at a time.
    pub max_connections_per_host: usize,
    /// `tower/verbose`.
    pub verbose: bool,
}

/// How a node announces itself and finds its peers.
#[derive(Clone, Debug)]
pub struct Beacon {
    /// `beacon/sub_address`: the towers' addresses to which the node sends its beacons.
    pub sub_addresses: Vec<TowerAddress>,
    /// `beacon/pub_address`: the towers' addresses from which the node receives the beacons of its peers.
    pub pub_addresses: Vec<TowerAddress>,
    /// `beacon/address`: the host that peers should connect to. If empty, the tower determines it.
    pub address: String,
    /// `beacon/interval`: time between two beacons.
    pub interval_ms: u64,
    /// `beacon/timeout`: a peer that sends no beacon for this time is dropped.
    pub timeout_ms: u64,
    /// `beacon/connect_timeout`: how long a starting node waits for a tower; `None` = without limit.
    pub connect_timeout_ms: Option<u64>,
    /// `beacon/max_peers`: known peers at a time.
    pub max_peers: usize,
    /// `beacon/max_peers_per_host`: known peers of one host at a time.
    pub max_peers_per_host: usize,
    /// `beacon/max_pending_peers`: peers at a time whose endpoint has not answered yet.
    pub max_pending_peers: usize,
    /// `beacon/max_subscription_bytes`: limit for the subscriptions of all peers together.
    pub max_subscription_bytes: usize,
    /// `beacon/max_connections`: inbound connections at a time.
    pub max_connections: usize,
    /// `beacon/max_connections_per_host`: inbound connections of one host at a time.
    pub max_connections_per_host: usize,
    /// `beacon/verbose`.
    pub verbose: bool,
}

/// The limit of the memory of unacknowledged records, `producer/max_unacked_bytes`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnackedLimit {
    /// The key is not set. While stores acknowledge records, the limit is [`UnackedLimit::DEFAULT_BYTES`]. Otherwise
    /// there is no limit, because a program of 0.1.0 never waits for a store. Exception: a producer with a name has the
    /// limit [`UnackedLimit::NAMED_BYTES`].
    Default,
    /// The key is 0.
    None,
    /// This limit, whether stores acknowledge or not.
    Bytes(u64),
}

impl UnackedLimit {
    /// A lower limit costs speed: while a store writes a batch, the records of the batch are unacknowledged, and they
    /// count towards the limit. A higher limit costs speed too, because the records no longer fit into the caches of
    /// the processor.
    pub const DEFAULT_BYTES: u64 = 64 << 20;

    /// The next producer with the same name reads the records into memory again. Without a limit, a producer that has
    /// used up the memory of its host could not start again.
    pub const NAMED_BYTES: u64 = 256 << 20;
}

/// How a producer publishes records, and when they count as acknowledged.
#[derive(Clone, Debug)]
pub struct Producer {
    /// `producer/head_interval`: time between two HEADs.
    pub head_interval_ms: u64,
    /// `producer/high_watermark`: messages that may wait for one slow peer; 0 = no limit.
    pub high_watermark: i32,
    /// `producer/terminate_unacked`: terminate even if records are unacknowledged.
    pub terminate_unacked: bool,
    /// `producer/min_stores`: how many different stores must have a record before it counts as acknowledged.
    pub min_stores: usize,
    /// `producer/max_fetches`: queued FETCHes.
    pub max_fetches: usize,
    /// `producer/max_unacked_bytes`.
    pub max_unacked: UnackedLimit,
    /// `producer/max_unsent_bytes`: bytes of published records that may wait to be sent; `None` = no limit.
    pub max_unsent_bytes: Option<u64>,
    /// `producer/max_record_bytes`: longest record that the producer publishes.
    pub max_record_bytes: usize,
    /// `producer/compression`: how batches are compressed; `None` = not at all.
    pub compression: Option<Compression>,
    /// `producer/name`: the producer continues the partition of earlier producers with this name.
    pub name: Option<Vec<u8>>,
    /// `producer/directory`: contains the outboxes of producers with names.
    pub directory: OsString,
    /// `producer/sync`: true = a producer with a name publishes a record only when the record is on disk in the outbox;
    /// false = when the operating system has the record.
    pub sync: bool,
    /// `producer/start_stores`: how many stores must confirm the position of a producer that continues a partition.
    pub start_stores: usize,
    /// `producer/start_timeout`: how long it waits for them; `None` = without limit.
    pub start_timeout_ms: Option<u64>,
    /// `producer/verbose`.
    pub verbose: bool,
}

/// The settings that only a publisher has. (A publisher is a producer with the first generation of the C API.)
#[derive(Clone, Debug)]
pub struct Publisher {
    /// `publisher/terminate_timeout`: how long a terminating publisher waits for acknowledgements, if a store is
    /// connected, or if a store has acknowledged any of its records.
    pub terminate_timeout_ms: u64,
}

/// Which topics a subscription matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TopicMatch {
    /// The topic itself.
    Exact,
    /// All topics that begin with it.
    Prefix,
}

/// Which records a consumer delivers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isolation {
    /// All published records.
    Published,
    /// Only records that a store has acknowledged.
    Acknowledged,
}

/// When a consumer with a name commits its positions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Commit {
    /// At an interval, and at the end.
    Auto,
    /// When the application calls for it.
    Manual,
}

/// What a consumer delivers, and its limits.
#[derive(Clone, Debug)]
pub struct Consumer {
    /// `consumer/offset/reset`; `None` when it is not set.
    pub offset_reset: Option<OffsetReset>,
    /// Whether `offset_reset` also applies to partitions with a committed position. No key sets this, but the option
    /// `--offset` of the console consumer does.
    pub ignores_committed: bool,
    /// `consumer/isolation`: which records are delivered.
    pub isolation: Isolation,
    /// `consumer/topic_match`: which topics a subscription matches.
    pub topic_match: TopicMatch,
    /// `consumer/name`: the name under which stores keep the consumer's positions.
    pub name: Option<Vec<u8>>,
    /// `consumer/group`: the name of the group of which the consumer is a member.
    pub group: Option<Vec<u8>>,
    /// `consumer/group_by`: what decides which member of the group gets a record.
    pub group_by: GroupBy,
    /// `consumer/handover_timeout`: how long a member waits until another one gives up its records.
    pub handover_timeout_ms: u64,
    /// `consumer/commit`: when positions are committed.
    pub commit: Commit,
    /// `consumer/commit_interval`: time between two automatic commits.
    pub commit_interval_ms: u64,
    /// `consumer/high_watermark`: messages that may wait to be processed; 0 = only `max_unread_bytes` limits them.
    pub high_watermark: i32,
    /// `consumer/max_unread_bytes`: memory of messages that wait to be processed.
    pub max_unread_bytes: usize,
    /// `consumer/reorder_bytes`: memory of records that arrived out of order.
    pub reorder_bytes: usize,
    /// `consumer/max_partitions`: open partitions.
    pub max_partitions: usize,
    /// `consumer/max_partitions_per_peer`: open partitions that are charged to one peer.
    pub max_partitions_per_peer: usize,
    /// `consumer/max_record_bytes`: longest record that the consumer accepts from the network.
    pub max_record_bytes: usize,
    /// `consumer/verbose`.
    pub verbose: bool,
}

/// Where a store keeps its records, and its limits.
#[derive(Clone, Debug)]
pub struct Store {
    /// `store/db`: the directory of the database.
    pub db: OsString,
    /// `store/high_watermark`: messages that may wait to be processed, and messages that may wait for one slow peer. 0:
    /// only `max_unread_bytes` limits the messages that wait to be processed.
    pub high_watermark: i32,
    /// `store/max_unread_bytes`: memory of messages that wait to be processed.
    pub max_unread_bytes: usize,
    /// `store/sync`: true = an ACK means that the record is on disk; false = an ACK means that the operating system has
    /// the record.
    pub sync: bool,
    /// `store/file_mode`: permissions of new files.
    pub file_mode: u32,
    /// `store/reorder_bytes`: memory of records that arrived out of order.
    pub reorder_bytes: usize,
    /// `store/max_partitions`: open partitions.
    pub max_partitions: usize,
    /// `store/max_partitions_per_peer`: open partitions that are charged to one peer.
    pub max_partitions_per_peer: usize,
    /// `store/max_record_bytes`: longest record that the store accepts from the network.
    pub max_record_bytes: usize,
    /// `store/max_fetches`: queued FETCHes.
    pub max_fetches: usize,
    /// `store/max_unsent_bytes`: bytes of responses that may wait to be sent; `None` = no limit.
    pub max_unsent_bytes: Option<u64>,
    /// `store/verbose`.
    pub verbose: bool,
}

/// The values of all keys.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `tower/*`
    pub tower: Tower,
    /// `beacon/*`
    pub beacon: Beacon,
    /// `producer/*`
    pub producer: Producer,
    /// `publisher/*`
    pub publisher: Publisher,
    /// `consumer/*`
    pub consumer: Consumer,
    /// `store/*`
    pub store: Store,
}

/// The default limit for the subscriptions of all peers at one node. Each subscription counts its length plus 8 bytes.
/// 16 MiB are enough for ten thousand consumers of 16 topics with names of 20 bytes, or for one consumer of 180,000
/// such topics. libzmq may occupy 35 bytes of memory for each byte of subscriptions: at most 560 MiB.
const NODE_SUBSCRIPTION_BYTES: u32 = 16 << 20;
/// The default limit for the subscriptions of all nodes at a tower. All nodes of a process make two short subscriptions
/// together, and each node of 0.1.0 makes two of its own. So this limit is enough for 200,000 processes or such nodes.
const TOWER_SUBSCRIPTION_BYTES: u32 = 4 << 20;

/// The default limit of inbound connections at one socket. It equals the default of `beacon/max_peers`. An idle
/// connection takes about 30 kB.
const MAX_CONNECTIONS: u32 = 10_000;
/// The default limit of inbound connections from one host. It is enough for a process with a thousand nodes and for
/// other processes on the same host.
const MAX_CONNECTIONS_PER_HOST: u32 = 2_000;

impl Settings {
    /// Returns the settings and the invalid values. `lookup` returns the value of a key.
    pub fn read(lookup: impl Fn(&str) -> Option<String>) -> (Settings, Vec<Problem>) {
        Settings::read_all(|key| lookup(key).map(String::into_bytes).into_iter().collect())
    }

    /// Does the same as [`Settings::read`] for values that need not be text. `lookup` returns all values of a key. The
    /// first value is used. If a later value differs from it, that value is reported.
    pub fn read_all(lookup: impl Fn(&str) -> Vec<Vec<u8>>) -> (Settings, Vec<Problem>) {
        let mut keys = Keys::new(&lookup);
        let settings = Settings {
            tower: Tower::read(&mut keys),
            beacon: Beacon::read(&mut keys),
            producer: Producer::read(&mut keys),
            publisher: Publisher::read(&mut keys),
            consumer: Consumer::read(&mut keys),
            store: Store::read(&mut keys),
        };
        (settings, keys.into_problems())
    }

    /// The paths of all keys.
    pub fn keys() -> Vec<String> {
        let keys = std::cell::RefCell::new(Vec::new());
        let _ = Settings::read_all(|key| {
            keys.borrow_mut().push(key.to_owned());
            Vec::new()
        });
        keys.into_inner()
    }

    /// The settings for a subscriber. Unlike a consumer, it starts at the first record by default.
    pub fn for_subscriber(mut self) -> Settings {
        self.consumer.offset_reset.get_or_insert(OffsetReset::Earliest);
        self
    }
}

impl Tower {
    fn read(keys: &mut Keys) -> Tower {
        Tower {
            sub_address: keys.address("tower/sub_address", "tcp://*:5556"),
            pub_address: keys.address("tower/pub_address", "tcp://*:5557"),
            endpoints_file: keys
                .value("tower/endpoints_file")
                .filter(|value| !value.is_empty())
                .map(OsString::from_vec),
            max_subscription_bytes: keys.count("tower/max_subscription_bytes", TOWER_SUBSCRIPTION_BYTES),
            max_connections: keys.count("tower/max_connections", MAX_CONNECTIONS),
            max_connections_per_host: keys.count("tower/max_connections_per_host", MAX_CONNECTIONS_PER_HOST),
            verbose: keys.flag("tower/verbose"),
        }
    }
}

impl Beacon {
    fn read(keys: &mut Keys) -> Beacon {
        Beacon {
            sub_addresses: keys.addresses("beacon/sub_address", "tcp://127.0.0.1:5556"),
            pub_addresses: keys.addresses("beacon/pub_address", "tcp://127.0.0.1:5557"),
            address: keys.host("beacon/address"),
            interval_ms: keys.number_with_suffix("beacon/interval", 1_000, 1, MAX_MS) as u64,
            timeout_ms: keys.number_with_suffix("beacon/timeout", 4_000, 1, MAX_MS) as u64,
            connect_timeout_ms: u64::try_from(keys.number("beacon/connect_timeout", 1_000, -1, MAX_MS)).ok(),
            max_peers: keys.count("beacon/max_peers", 10_000),
            max_peers_per_host: keys.count("beacon/max_peers_per_host", MAX_CONNECTIONS_PER_HOST),
            max_pending_peers: keys.count("beacon/max_pending_peers", 1_000),
            max_subscription_bytes: keys.count("beacon/max_subscription_bytes", NODE_SUBSCRIPTION_BYTES),
            max_connections: keys.count("beacon/max_connections", MAX_CONNECTIONS),
            max_connections_per_host: keys.count("beacon/max_connections_per_host", MAX_CONNECTIONS_PER_HOST),
            verbose: keys.flag("beacon/verbose"),
        }
    }
}

/// The default limit of messages that wait for one peer. Another key limits their memory.
const MAX_UNSENT_COUNT: i64 = 16_384;
/// The default limit of records that wait to be sent to all peers of a node together. At 100 MB a second, a consumer
/// that stops for a second does not reach it.
const MAX_UNSENT_BYTES: i64 = 128 << 20;
/// The default limit of messages that wait to be processed. Another key limits their memory.
const MAX_UNREAD_COUNT: i64 = 1_000_000;

/// Stands for a key that is not set. No key accepts this number.
const UNSET: i64 = -1;

impl Producer {
    fn read(keys: &mut Keys) -> Producer {
        Producer {
            head_interval_ms: keys.number_with_suffix("producer/head_interval", 1_000, 1, MAX_MS) as u64,
            high_watermark: keys.high_watermark("producer/high_watermark", MAX_UNSENT_COUNT),
            terminate_unacked: keys.flag("producer/terminate_unacked"),
            min_stores: keys.number("producer/min_stores", 1, 1, 1_000) as usize,
            max_fetches: keys.count("producer/max_fetches", 4_096),
            max_unacked: match keys.number("producer/max_unacked_bytes", UNSET, 0, i64::MAX) {
                UNSET => UnackedLimit::Default,
                0 => UnackedLimit::None,
                limit_bytes => UnackedLimit::Bytes(limit_bytes as u64),
            },
            max_unsent_bytes: keys.bytes("producer/max_unsent_bytes", MAX_UNSENT_BYTES),
            max_record_bytes: keys.record_len("producer/max_record_bytes"),
            compression: keys.compression("producer/compression"),
            name: keys.producer_name("producer/name"),
            directory: keys.directory("producer/directory", "producerdb"),
            sync: keys.sync("producer/sync"),
            start_stores: keys.number("producer/start_stores", 1, 0, 1_000) as usize,
            start_timeout_ms: u64::try_from(keys.number("producer/start_timeout", -1, -1, MAX_MS)).ok(),
            verbose: keys.flag("producer/verbose"),
        }
    }
}

impl Publisher {
    fn read(keys: &mut Keys) -> Publisher {
        Publisher {
            terminate_timeout_ms: keys.number("publisher/terminate_timeout", 30_000, 0, MAX_MS) as u64,
        }
    }
}

impl Consumer {
    /// Whether stores keep the consumer's positions.
    pub fn is_named(&self) -> bool {
        self.name.is_some() || self.group.is_some()
    }

    /// What decides which member of the group gets a record; `None` if the consumer is no member of a group.
    pub fn group_by(&self) -> Option<GroupBy> {
        self.group.as_ref().map(|_| self.group_by)
    }

    fn read(keys: &mut Keys) -> Consumer {
        let max_partitions = keys.count("consumer/max_partitions", 200_000);
        let group = keys.consumer_name("consumer/group", MAX_GROUP_NAME_LEN);
        Consumer {
            offset_reset: keys.offset_reset("consumer/offset/reset", group.is_some()),
            ignores_committed: false,
            isolation: keys.isolation("consumer/isolation"),
            topic_match: keys.topic_match("consumer/topic_match"),
            name: keys.consumer_name("consumer/name", MAX_CONSUMER_NAME_LEN).filter(|name| {
                let is_alone = group.is_none();
                if !is_alone {
                    keys.report("consumer/name", name, "is ignored, because consumer/group is set");
                }
                is_alone
            }),
            group,
            group_by: keys.group_by("consumer/group_by"),
            handover_timeout_ms: keys.number("consumer/handover_timeout", 30_000, 0, MAX_MS) as u64,
            commit: keys.commit("consumer/commit"),
            commit_interval_ms: keys.number("consumer/commit_interval", 1_000, 1, MAX_MS) as u64,
            high_watermark: keys.high_watermark("consumer/high_watermark", MAX_UNREAD_COUNT),
            max_unread_bytes: keys.count("consumer/max_unread_bytes", 256 << 20),
            reorder_bytes: keys.count("consumer/reorder_bytes", 64 << 20),
            max_partitions,
            max_partitions_per_peer: keys.share("consumer/max_partitions_per_peer", max_partitions),
            max_record_bytes: keys.record_len("consumer/max_record_bytes"),
            verbose: keys.flag("consumer/verbose"),
        }
    }
}

impl Store {
    fn read(keys: &mut Keys) -> Store {
        let max_partitions = keys.count("store/max_partitions", 200_000);
        Store {
            db: keys.directory("store/db", "storedb"),
            high_watermark: keys.high_watermark("store/high_watermark", MAX_UNREAD_COUNT),
            max_unread_bytes: keys.count("store/max_unread_bytes", 64 << 20),
            sync: keys.sync("store/sync"),
            file_mode: keys.file_mode("store/file_mode"),
            reorder_bytes: keys.count("store/reorder_bytes", 64 << 20),
            max_partitions,
            max_partitions_per_peer: keys.share("store/max_partitions_per_peer", max_partitions),
            max_record_bytes: keys.record_len("store/max_record_bytes"),
            max_fetches: keys.count("store/max_fetches", 4_096),
            max_unsent_bytes: keys.bytes("store/max_unsent_bytes", MAX_UNSENT_BYTES),
            verbose: keys.flag("store/verbose"),
        }
    }
}

#[cfg(test)]
mod tests;
