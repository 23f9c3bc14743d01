//! The configuration keys: names, defaults, and what makes sense as a value.
//!
//! Read once when a node starts, from whatever answers "which values are at this path" (a configuration, a test's
//! map). Values are bytes: a path need not be UTF-8. A value that makes no sense is reported with its key, and the
//! default is used in its place.

mod endpoint;

pub use endpoint::{Endpoint, list};

use crate::net::canonical;
use crate::text::printable;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

/// One value that makes no sense.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{key} = {value}: {why}")]
pub struct Problem {
    /// The key's path.
    pub key: &'static str,
    /// What stands there.
    pub value: String,
    /// What would make sense.
    pub why: String,
    /// What is used in its place, when the node starts all the same.
    pub used: String,
    /// True for a value that libdafka 0.1.0 takes: an actor takes it as 0.1.0 does, and warns. Programs refuse it.
    pub is_taken: bool,
}

/// Where a tower binds.
#[derive(Clone, Debug)]
pub struct Tower {
    /// `tower/sub_address`: where nodes' beacons come in.
    pub sub_address: Endpoint,
    /// `tower/pub_address`: where the tower's beacons go out.
    pub pub_address: Endpoint,
    /// `tower/endpoints_file`: where it writes the endpoints that it listens at.
    pub endpoints_file: Option<OsString>,
    /// `tower/max_subscription_bytes`: what all nodes together may subscribe to.
    pub max_subscription_bytes: usize,
    /// `tower/max_connections`: inbound connections at a time, at each of its two sockets.
    pub max_connections: usize,
    /// `tower/max_connections_per_host`: those of them that one host may have.
    pub max_connections_per_host: usize,
    /// `tower/verbose`.
    pub verbose: bool,
}

/// How a node makes itself known.
#[derive(Clone, Debug)]
pub struct Beacon {
    /// `beacon/sub_address`: the towers' addresses to send beacons to.
    pub sub_addresses: Vec<Endpoint>,
    /// `beacon/pub_address`: the towers' addresses to hear of others from.
    pub pub_addresses: Vec<Endpoint>,
    /// `beacon/address`: the host that peers should connect to; empty: the tower finds out.
    pub address: String,
    /// `beacon/interval`: time between two beacons.
    pub interval_ms: u64,
    /// `beacon/timeout`: a peer silent for so long is dropped.
    pub timeout_ms: u64,
    /// `beacon/connect_timeout`: how long a starting node waits for a tower; `None` = for ever.
    pub connect_timeout_ms: Option<u64>,
    /// `beacon/max_peers`: peers known at a time.
    pub max_peers: usize,
    /// `beacon/max_peers_per_host`: those of them that one host may have.
    pub max_peers_per_host: usize,
    /// `beacon/max_pending_peers`: peers that have not answered yet, at a time.
    pub max_pending_peers: usize,
    /// `beacon/max_subscription_bytes`: what all peers together may subscribe to.
    pub max_subscription_bytes: usize,
    /// `beacon/max_connections`: inbound connections at a time.
    pub max_connections: usize,
    /// `beacon/max_connections_per_host`: those of them that one host may have.
    pub max_connections_per_host: usize,
    /// `beacon/verbose`.
    pub verbose: bool,
}

/// What a producer does.
#[derive(Clone, Debug)]
pub struct Producer {
    /// `producer/head_interval`: time between two HEADs.
    pub head_interval_ms: u64,
    /// `producer/high_watermark`: records that may wait for one slow peer; 0 = no limit.
    pub high_watermark: i32,
    /// `producer/terminate_unacked`: end although records are unacknowledged.
    pub terminate_unacked: bool,
    /// `producer/min_stores`: how many different stores must have a record before it counts as acknowledged.
    pub min_stores: usize,
    /// `producer/max_fetches`: FETCHes that wait for an answer at a time.
    pub max_fetches: usize,
    /// `producer/max_unacked_bytes`: what unacknowledged records may occupy; `None` = no limit.
    pub max_unacked_bytes: Option<u64>,
    /// `producer/max_record_bytes`: the longest record that is published.
    pub max_record_bytes: usize,
    /// `producer/verbose`.
    pub verbose: bool,
}

/// What a publisher of the first generation does differently from a producer.
#[derive(Clone, Debug)]
pub struct Publisher {
    /// `publisher/terminate_timeout`: how long it waits for acknowledgements when it ends, if there is a store or one has
    /// acknowledged anything before.
    pub terminate_timeout_ms: u64,
}

/// Which topics a subscription stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TopicMatch {
    /// The topic itself.
    Exact,
    /// All topics that begin with it.
    Prefix,
}

/// Where to start in a partition met for the first time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OffsetReset {
    /// At the first record.
    Earliest,
    /// After what has been published already.
    Latest,
}

/// Which records a consumer delivers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isolation {
    /// All that are published.
    Published,
    /// Those that a store has acknowledged.
    Acknowledged,
}

/// What a consumer does.
#[derive(Clone, Debug)]
pub struct Consumer {
    /// `consumer/offset/reset`; `None` when it is not set.
    pub offset_reset: Option<OffsetReset>,
    /// `consumer/isolation`: which records are delivered.
    pub isolation: Isolation,
    /// `consumer/topic_match`: which topics a subscription stands for.
    pub topic_match: TopicMatch,
    /// `consumer/high_watermark`: records that may wait to be processed; 0 = no limit but `max_unread_bytes`.
    pub high_watermark: i32,
    /// `consumer/max_unread_bytes`: what messages that wait to be processed may occupy.
    pub max_unread_bytes: usize,
    /// `consumer/reorder_bytes`: what records that came before their turn may occupy.
    pub reorder_bytes: usize,
    /// `consumer/max_partitions`: partitions known at a time.
    pub max_partitions: usize,
    /// `consumer/max_partitions_per_peer`: those of them that one peer has brought.
    pub max_partitions_per_peer: usize,
    /// `consumer/max_record_bytes`: the longest record that is taken from the network.
    pub max_record_bytes: usize,
    /// `consumer/verbose`.
    pub verbose: bool,
}

/// What a store does.
#[derive(Clone, Debug)]
pub struct Store {
    /// `store/db`: the database's directory.
    pub db: OsString,
    /// `store/high_watermark`: records that may wait to be processed, and to be sent to one slow peer; 0 = no limit
    /// but `max_unread_bytes`.
    pub high_watermark: i32,
    /// `store/max_unread_bytes`: as the consumer's.
    pub max_unread_bytes: usize,
    /// `store/sync`: an ACK means that the record is on disk; otherwise, that the operating system has it.
    pub sync: bool,
    /// `store/file_mode`: the permissions of the files that it makes.
    pub file_mode: u32,
    /// `store/reorder_bytes`: as the consumer's.
    pub reorder_bytes: usize,
    /// `store/max_partitions`: partitions known at a time.
    pub max_partitions: usize,
    /// `store/max_partitions_per_peer`: as the consumer's.
    pub max_partitions_per_peer: usize,
    /// `store/max_record_bytes`: the longest record that is taken from the network.
    pub max_record_bytes: usize,
    /// `store/max_fetches`: FETCHes that wait for an answer at a time.
    pub max_fetches: usize,
    /// `store/verbose`.
    pub verbose: bool,
}

/// All of it.
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

/// What all peers may subscribe to at a node, each subscription its octets and 8. Ten thousand consumers of 25 topics with
/// names of 20 octets, or one of 280,000, need as much. libzmq makes up to 35 octets of each: 560 MiB at the worst.
const NODE_SUBSCRIPTION_BYTES: u32 = 16 << 20;
/// The same at a tower, where a node makes two short ones: so there is room for 200,000.
const TOWER_SUBSCRIPTION_BYTES: u32 = 4 << 20;

/// Inbound connections at one socket: as many as there may be peers. An idle one takes about 30 kB.
const MAX_CONNECTIONS: u32 = 10_000;
/// The same from one host: a thousand nodes of one process, and others beside them.
const MAX_CONNECTIONS_PER_HOST: u32 = 2_000;

/// The longest time that a key may name, 24 days: what fits into libzmq's 32-bit milliseconds.
const MAX_MS: i64 = i32::MAX as i64;

impl Settings {
    /// The settings, and the values that made no sense. `lookup` gives the value of a key.
    pub fn read(lookup: impl Fn(&str) -> Option<String>) -> (Settings, Vec<Problem>) {
        Settings::read_all(|key| lookup(key).map(String::into_bytes).into_iter().collect())
    }

    /// The same of a configuration whose values need not be text, and that may have several for one key: the first one
    /// counts. Different ones are reported.
    pub fn read_all(lookup: impl Fn(&str) -> Vec<Vec<u8>>) -> (Settings, Vec<Problem>) {
        let mut keys = Keys { lookup, problems: Vec::new() };
        let max_partitions = keys.count("consumer/max_partitions", 200_000);
        let stored_partitions = keys.count("store/max_partitions", 200_000);
        let settings = Settings {
            tower: Tower {
                sub_address: keys.address("tower/sub_address", "tcp://*:5556"),
                pub_address: keys.address("tower/pub_address", "tcp://*:5557"),
                endpoints_file: keys
                    .value("tower/endpoints_file")
                    .filter(|value| !value.is_empty())
                    .map(OsString::from_vec),
                max_subscription_bytes: keys.count("tower/max_subscription_bytes", TOWER_SUBSCRIPTION_BYTES),
                max_connections: keys.count("tower/max_connections", MAX_CONNECTIONS),
                max_connections_per_host: keys
                    .count("tower/max_connections_per_host", MAX_CONNECTIONS_PER_HOST),
                verbose: keys.flag("tower/verbose"),
            },
            beacon: Beacon {
                sub_addresses: keys.addresses("beacon/sub_address", "tcp://127.0.0.1:5556"),
                pub_addresses: keys.addresses("beacon/pub_address", "tcp://127.0.0.1:5557"),
                address: keys.host("beacon/address"),
                interval_ms: keys.old_number("beacon/interval", 1_000, 1, MAX_MS) as u64,
                timeout_ms: keys.old_number("beacon/timeout", 4_000, 1, MAX_MS) as u64,
                connect_timeout_ms: u64::try_from(keys.number("beacon/connect_timeout", 1_000, -1, MAX_MS))
                    .ok(),
                max_peers: keys.count("beacon/max_peers", 10_000),
                max_peers_per_host: keys.count("beacon/max_peers_per_host", MAX_CONNECTIONS_PER_HOST),
                max_pending_peers: keys.count("beacon/max_pending_peers", 1_000),
                max_subscription_bytes: keys.count("beacon/max_subscription_bytes", NODE_SUBSCRIPTION_BYTES),
                max_connections: keys.count("beacon/max_connections", MAX_CONNECTIONS),
                max_connections_per_host: keys
                    .count("beacon/max_connections_per_host", MAX_CONNECTIONS_PER_HOST),
                verbose: keys.flag("beacon/verbose"),
            },
            producer: Producer {
                head_interval_ms: keys.old_number("producer/head_interval", 1_000, 1, MAX_MS) as u64,
                high_watermark: keys.high_watermark("producer/high_watermark"),
                terminate_unacked: keys.flag("producer/terminate_unacked"),
                min_stores: keys.number("producer/min_stores", 1, 1, 1_000) as usize,
                max_fetches: keys.count("producer/max_fetches", 4_096),
                max_unacked_bytes: match keys.number("producer/max_unacked_bytes", 0, 0, i64::MAX) {
                    0 => None,
                    limit_bytes => Some(limit_bytes as u64),
                },
                max_record_bytes: keys.record_len("producer/max_record_bytes"),
                verbose: keys.flag("producer/verbose"),
            },
            publisher: Publisher {
                terminate_timeout_ms: keys.number("publisher/terminate_timeout", 30_000, 0, MAX_MS) as u64,
            },
            consumer: Consumer {
                offset_reset: keys.offset_reset("consumer/offset/reset"),
                isolation: keys.isolation("consumer/isolation"),
                topic_match: keys.topic_match("consumer/topic_match"),
                high_watermark: keys.high_watermark("consumer/high_watermark"),
                max_unread_bytes: keys.count("consumer/max_unread_bytes", 256 << 20),
                reorder_bytes: keys.count("consumer/reorder_bytes", 64 << 20),
                max_partitions,
                max_partitions_per_peer: keys.half("consumer/max_partitions_per_peer", max_partitions),
                max_record_bytes: keys.record_len("consumer/max_record_bytes"),
                verbose: keys.flag("consumer/verbose"),
            },
            store: Store {
                db: keys.directory("store/db", "storedb"),
                high_watermark: keys.high_watermark("store/high_watermark"),
                max_unread_bytes: keys.count("store/max_unread_bytes", 64 << 20),
                sync: keys.sync("store/sync"),
                file_mode: keys.file_mode("store/file_mode"),
                reorder_bytes: keys.count("store/reorder_bytes", 64 << 20),
                max_partitions: stored_partitions,
                max_partitions_per_peer: keys.half("store/max_partitions_per_peer", stored_partitions),
                max_record_bytes: keys.record_len("store/max_record_bytes"),
                max_fetches: keys.count("store/max_fetches", 4_096),
                verbose: keys.flag("store/verbose"),
            },
        };
        (settings, keys.problems)
    }

    /// The keys that there are.
    pub fn keys() -> Vec<String> {
        let keys = std::cell::RefCell::new(Vec::new());
        let _ = Settings::read_all(|key| {
            keys.borrow_mut().push(key.to_owned());
            Vec::new()
        });
        keys.into_inner()
    }

    /// The same for a subscriber, which, unlike a consumer, starts at the first record unless told otherwise.
    pub fn for_subscriber(mut self) -> Settings {
        self.consumer.offset_reset.get_or_insert(OffsetReset::Earliest);
        self
    }
}

struct Keys<L> {
    lookup: L,
    problems: Vec<Problem>,
}

impl<L: Fn(&str) -> Vec<Vec<u8>>> Keys<L> {
    fn problem(&mut self, key: &'static str, value: &[u8], why: impl Into<String>) {
        let (value, why, used) = (printable(value), why.into(), "the default is used".to_owned());
        self.problems.push(Problem { key, value, why, used, is_taken: false });
    }

    /// A value that makes no sense, and that 0.1.0 takes for `used`.
    fn taken(&mut self, key: &'static str, value: &[u8], why: String, used: &str) {
        let (value, used) = (printable(value), format!("{used} is used, as in libdafka 0.1.0"));
        self.problems.push(Problem { key, value, why, used, is_taken: true });
    }

    /// The value that counts.
    fn value(&mut self, key: &'static str) -> Option<Vec<u8>> {
        let mut values = (self.lookup)(key).into_iter();
        let first = values.next()?;
        if let Some(other) = values.find(|other| *other != first) {
            let (value, first) = (printable(&other), printable(&first));
            let why = format!("another value of the same key is {first}");
            self.problems.push(Problem {
                key,
                value,
                why,
                used: format!("{first} is used"),
                is_taken: false,
            });
        }
        Some(first)
    }

    fn number(&mut self, key: &'static str, default: i64, min: i64, max: i64) -> i64 {
        let Some(value) = self.value(key) else { return default };
        match std::str::from_utf8(&value).ok().and_then(|value| value.trim().parse().ok()) {
            Some(number) if (min..=max).contains(&number) => number,
            _ => {
                self.problem(key, &value, format!("must be a whole number from {min} to {max}"));
                default
            }
        }
    }

    /// As [`Keys::number`], for a key of 0.1.0, which reads the digits at the beginning: `100ms` is 100.
    fn old_number(&mut self, key: &'static str, default: i64, min: i64, max: i64) -> i64 {
        let Some(value) = self.value(key) else { return default };
        match digits(&value) {
            Some((number, rest)) if !rest.trim_ascii().is_empty() && (min..=max).contains(&number) => {
                let why = format!("must be a whole number from {min} to {max}");
                self.taken(key, &value, why, &number.to_string());
                number
            }
            _ => self.number(key, default, min, max),
        }
    }

    /// How many there may be of something: at least one.
    fn count(&mut self, key: &'static str, default: u32) -> usize {
        let max = i64::try_from(isize::MAX).unwrap_or(i64::MAX);
        self.number(key, i64::from(default), 1, max) as usize
    }

    /// How much of something one peer may have: half of it, so that none can take all.
    fn half(&mut self, key: &'static str, whole: usize) -> usize {
        self.count(key, u32::try_from(whole.div_ceil(2)).unwrap_or(u32::MAX))
    }

    /// What a record may be long; a store cannot keep longer ones than this default.
    fn record_len(&mut self, key: &'static str) -> usize {
        self.number(key, 1 << 30, 1, 1 << 30) as usize
    }

    fn sync(&mut self, key: &'static str) -> bool {
        match self.value(key).as_deref() {
            None | Some(b"always") => true,
            Some(b"never") => false,
            Some(other) => {
                self.problem(key, other, "must be always or never");
                true
            }
        }
    }

    /// Permissions of files as chmod takes them. The owner must be able to read and write.
    fn file_mode(&mut self, key: &'static str) -> u32 {
        const DEFAULT: u32 = 0o600;
        let Some(value) = self.value(key) else { return DEFAULT };
        let text = std::str::from_utf8(&value).unwrap_or_default().trim();
        match u32::from_str_radix(text, 8) {
            Ok(mode) if mode & !0o666 == 0 && mode & 0o600 == 0o600 => mode,
            _ => {
                self.problem(key, &value, "must be permissions for files, from 600 to 666, as for chmod");
                DEFAULT
            }
        }
    }

    fn high_watermark(&mut self, key: &'static str) -> i32 {
        self.old_number(key, 1_000_000, 0, i64::from(i32::MAX)) as i32
    }

    /// True for any number but 0, as in 0.1.0.
    fn flag(&mut self, key: &'static str) -> bool {
        let Some(value) = self.value(key) else { return false };
        let why = "must be 0 or 1";
        let Some((number, rest)) = digits(&value) else {
            self.problem(key, &value, why);
            return false;
        };
        if !rest.trim_ascii().is_empty() {
            self.taken(key, &value, why.into(), if number != 0 { "1" } else { "0" });
        }
        number != 0
    }

    fn offset_reset(&mut self, key: &'static str) -> Option<OffsetReset> {
        match self.value(key)?.as_slice() {
            b"latest" => Some(OffsetReset::Latest),
            b"earliest" => Some(OffsetReset::Earliest),
            other => {
                self.taken(key, other, "must be earliest or latest".into(), "earliest");
                Some(OffsetReset::Earliest)
            }
        }
    }

    fn isolation(&mut self, key: &'static str) -> Isolation {
        match self.value(key).as_deref() {
            Some(b"acknowledged") => Isolation::Acknowledged,
            Some(b"published") | None => Isolation::Published,
            Some(other) => {
                self.problem(key, other, "must be published or acknowledged");
                Isolation::Published
            }
        }
    }

    fn topic_match(&mut self, key: &'static str) -> TopicMatch {
        match self.value(key).as_deref() {
            Some(b"prefix") => TopicMatch::Prefix,
            Some(b"exact") | None => TopicMatch::Exact,
            Some(other) => {
                self.problem(key, other, "must be exact or prefix");
                TopicMatch::Exact
            }
        }
    }

    fn directory(&mut self, key: &'static str, default: &str) -> OsString {
        match self.value(key) {
            Some(value) if value.is_empty() => {
                self.problem(key, &value, "must name a directory");
                default.into()
            }
            Some(value) => OsString::from_vec(value),
            None => default.into(),
        }
    }

    fn host(&mut self, key: &'static str) -> String {
        let value = self.value(key).unwrap_or_default();
        if let Ok(host) = str::from_utf8(&value)
            && (host.is_empty()
                || host.is_ascii() && host.len() <= 255 && canonical(&format!("tcp://{host}:1")).is_some())
        {
            return host.into();
        }
        let why =
            "must be a host name or the address of one host, without a port, of at most 255 ASCII characters";
        self.problem(key, &value, why);
        String::new()
    }

    fn address(&mut self, key: &'static str, default: &'static str) -> Endpoint {
        let Some(value) = self.value(key) else { return default.into() };
        Endpoint::check(&value).unwrap_or_else(|why| {
            self.problem(key, &value, why);
            default.into()
        })
    }

    fn addresses(&mut self, key: &'static str, default: &'static str) -> Vec<Endpoint> {
        let Some(value) = self.value(key) else { return vec![default.into()] };
        let addresses: Result<Vec<_>, _> = value.split(|&octet| octet == b',').map(Endpoint::check).collect();
        addresses.unwrap_or_else(|why| {
            self.problem(key, &value, why);
            vec![default.into()]
        })
    }
}

/// The number at the beginning of a value, as C's atoi reads it, and what follows it; `None` when there is none.
fn digits(value: &[u8]) -> Option<(i64, &[u8])> {
    let value = value.trim_ascii_start();
    let sign_len = usize::from(value.first().is_some_and(|&octet| octet == b'-' || octet == b'+'));
    let len = sign_len + value[sign_len..].iter().take_while(|octet| octet.is_ascii_digit()).count();
    let (number, rest) = value.split_at(len);
    Some((str::from_utf8(number).ok()?.parse().ok()?, rest))
}

#[cfg(test)]
mod tests;
