//! Decides whether a producer may publish batches: whether every subscriber of its topic takes them.
//!
//! A node that takes batches subscribes to RECORDS and to RECORD in pairs: first to RECORDS, then to RECORD with the
//! same topic or beginning of topics. A node of libdafka 0.1.0 subscribes to RECORD only. While such a node is a
//! subscriber, the producer publishes single records, which every node takes.
//!
//! The subscriptions of each connection are stored, by topic. So a peer cannot hide that another connection needs
//! single records. For example, the peer may repeat subscriptions, subscribe to RECORDS only, or end subscriptions that
//! it does not have. A peer that subscribes to RECORD only makes the producer slower until its connection ends, as
//! every node of 0.1.0 does.
//!
//! A subscription names a connection by its descriptor, and the caller looks up the connection. If the connection has
//! already ended, its descriptor may belong to a newer connection. Then the subscriptions of both connections seem to
//! be subscriptions of the newer one. Pairs of the old connection cannot hide that the newer one subscribes to RECORD
//! only: RECORD with another topic needs a RECORDS of its own, and a repeated RECORD needs a repeated RECORDS. But if
//! the peer of the old connection subscribed to RECORDS only and disconnected at once, that may be hidden. The peer of
//! the newer connection then gets no single records. It still gets HEADs, and requests the records with FETCH. So it
//! gets the records late, but loses none.

use crate::wire::{Subscription, id};
use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;

/// The shortest time between two searches for ended connections. A search costs a system call per connection.
const SEARCH_INTERVAL_MS: u64 = 1_000;

/// What a connection subscribes to with one topic, or one beginning of topics.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Taken {
    /// RECORDS.
    Batches,
    /// RECORDS, and then RECORD.
    Both,
    /// RECORD, without RECORDS before it.
    Singles,
}

/// The subscriptions of one connection that match the topic. The key is the length of the subscription. A subscription
/// that matches is a beginning of the topic with its NUL, so its length identifies it. There are at most 257 of them.
#[derive(Default)]
struct Connection(BTreeMap<u16, Taken>);

impl Connection {
    fn needs_singles(&self) -> bool {
        self.0.values().any(|taken| *taken == Taken::Singles)
    }

    fn change(&mut self, len: u16, id: u8, is_subscribed: bool) {
        let taken = self.0.get(&len).copied();
        let changed = match (id == id::RECORDS, is_subscribed, taken) {
            // Even if RECORD came before this RECORDS, another RECORD follows. The reason is that libzmq sends all
            // subscriptions again when it reconnects, and may first send some that it had not sent before the end of
            // the previous connection.
            (true, true, _) => Some(Taken::Batches),
            (false, true, Some(Taken::Batches)) => Some(Taken::Both),
            // This may be the first subscription of a newer connection, see the comment of the module.
            (false, true, _) => Some(Taken::Singles),
            (true, false, Some(Taken::Both | Taken::Singles)) => Some(Taken::Singles),
            (true, false, _) => None,
            (false, false, Some(Taken::Both | Taken::Batches)) => Some(Taken::Batches),
            (false, false, _) => None,
        };
        match changed {
            Some(taken) => self.0.insert(len, taken),
            None => self.0.remove(&len),
        };
    }
}

/// The connections that subscribe to the records of a topic. The caller identifies each connection by a `C`. No later
/// connection may have the same `C`.
pub struct BatchSubscribers<C> {
    topic: Box<[u8]>,
    connections: HashMap<C, Connection>,
    /// How many of the connections need single records.
    singles_count: usize,
    /// Whether subscriptions have ended with their connection since the last search.
    has_ended: bool,
    searched_ms: u64,
}

impl<C: Copy + Eq + Hash> BatchSubscribers<C> {
    /// Starts without subscribers. The topic has at most [`MAX_NAME_LEN`](crate::wire::MAX_NAME_LEN) octets.
    pub fn new(topic: &[u8]) -> Self {
        BatchSubscribers {
            topic: topic.into(),
            connections: HashMap::new(),
            singles_count: 0,
            has_ended: false,
            searched_ms: 0,
        }
    }

    /// Handles a subscription or its end. `connection` returns the subscription's connection, or `None` if this
    /// connection has ended. (When a connection ends, its subscriptions end too.) The transport must name every
    /// connection that is open, as TCP does. Otherwise subscriptions would be ignored.
    pub fn handle_subscription(
        &mut self,
        subscription: &Subscription,
        connection: impl FnOnce() -> Option<C>,
    ) {
        let Some(len) = self.matching_len(subscription) else { return };
        let Some(name) = connection() else {
            self.has_ended |= !subscription.subscribe;
            return;
        };
        let connection = self.connections.entry(name).or_default();
        self.singles_count -= usize::from(connection.needs_singles());
        connection.change(len, subscription.id, subscription.subscribe);
        self.singles_count += usize::from(connection.needs_singles());
        if connection.0.is_empty() {
            self.connections.remove(&name);
        }
    }

    /// Returns the length of a subscription that matches the topic's records. The length includes the NUL, if there is
    /// one. Returns `None` for other subscriptions. These include subscriptions to more than the topic and its NUL,
    /// which no node makes.
    fn matching_len(&self, subscription: &Subscription) -> Option<u16> {
        let Subscription { id, topic, is_exact, .. } = *subscription;
        let matches = match is_exact {
            true => *self.topic == *topic,
            false => self.topic.starts_with(topic),
        };
        let is_of_records = [id::RECORDS, id::RECORD].contains(&id);
        let len = topic.len() + usize::from(is_exact);
        (is_of_records && matches).then(|| u16::try_from(len).ok()).flatten()
    }

    /// Drops connections that have ended. To be called in each turn, after subscriptions were read. If subscriptions
    /// have ended with their connection, or a connection needs single records, the call asks `is_open` for all
    /// connections, but at most once a second. If `is_open` still returns true for a connection that is about to end, a
    /// later call drops it.
    pub fn handle_ended(&mut self, now_ms: u64, mut is_open: impl FnMut(C) -> bool) {
        let is_due = now_ms >= self.searched_ms.saturating_add(SEARCH_INTERVAL_MS);
        if is_due && (self.has_ended || self.singles_count > 0) {
            self.connections.retain(|name, _| is_open(*name));
            let singles = self.connections.values().filter(|connection| connection.needs_singles());
            self.singles_count = singles.count();
            (self.has_ended, self.searched_ms) = (false, now_ms);
        }
    }

    /// Whether every subscriber of the topic takes batches. Also true without subscribers.
    pub fn all_take_batches(&self) -> bool {
        self.singles_count == 0
    }
}
