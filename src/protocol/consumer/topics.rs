//! The topics that a consumer subscribes to, and since when.

use std::collections::BTreeMap;

/// When a topic was subscribed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subscribed {
    /// The time in milliseconds since the Unix epoch.
    pub unix_ms: i64,
    /// The same moment by the clock of the state machine.
    pub now_ms: u64,
    /// The same moment by a clock that never stops, see [`Consumer::handle_uptime`](super::Consumer::handle_uptime).
    pub uptime_ms: u64,
}

/// A tenth of the time since the subscription is the tolerance for clocks that differ, but at most this.
const MAX_TOLERANCE_MS: u64 = 10_000;
/// A timestamp may be in the future by at most this.
const MAX_FUTURE_MS: u64 = 60_000;

impl Subscribed {
    /// Whether a record with this timestamp counts as published after the subscription. `heard_ms` is when the consumer
    /// first heard of the record's partition, `uptime_ms` the present time.
    ///
    /// The clocks of producer and consumer may differ. A consumer hears of old partitions soon after its subscription.
    /// So the later it hears of a partition, the more likely the partition is new, and the greater is the tolerance.
    ///
    /// A timestamp in the future shows that the clocks differ by more than any tolerance. Then the record counts as
    /// published before: otherwise, a consumer whose clock is behind would read the partitions of years.
    pub(super) fn counts_as_new(&self, timestamp_ms: i64, heard_ms: u64, uptime_ms: u64) -> bool {
        let tolerance_ms = (heard_ms.saturating_sub(self.now_ms) / 10).min(MAX_TOLERANCE_MS);
        let elapsed_ms = uptime_ms.saturating_sub(self.uptime_ms);
        let earliest_ms = self.unix_ms.saturating_sub_unsigned(tolerance_ms);
        let latest_ms = self.unix_ms.saturating_add_unsigned(elapsed_ms.saturating_add(MAX_FUTURE_MS));
        (earliest_ms..=latest_ms).contains(&timestamp_ms)
    }
}

/// The subscribed topics.
#[derive(Debug, Default)]
pub(super) struct Topics {
    since: BTreeMap<Box<[u8]>, Subscribed>,
    /// Whether each subscribed topic also matches all topics that begin with it.
    pub(super) is_prefix: bool,
}

impl Topics {
    /// Adds a topic. Returns false when it was subscribed already.
    pub(super) fn insert(&mut self, topic: &[u8], subscribed: Subscribed) -> bool {
        if self.since.contains_key(topic) {
            return false;
        }
        self.since.insert(topic.into(), subscribed);
        true
    }

    /// Removes a topic. Returns false when it was not subscribed.
    pub(super) fn remove(&mut self, topic: &[u8]) -> bool {
        self.since.remove(topic).is_some()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &[u8]> + Clone {
        self.since.keys().map(|topic| topic.as_ref())
    }

    /// True for a topic that matches all topics that begin with it.
    pub(super) fn is_beginning(&self, topic: &[u8]) -> bool {
        self.is_prefix || topic.is_empty()
    }

    /// The subscriptions that match `subject`, the topic of a record.
    fn matching(&self, subject: &[u8]) -> impl Iterator<Item = Subscribed> {
        let prefixes = if self.is_prefix { 1..subject.len() } else { 0..0 };
        let prefixes = prefixes.map(|len| &subject[..len]);
        let all = Some(&b""[..]).filter(|all| *all != subject);
        std::iter::once(subject).chain(all).chain(prefixes).filter_map(|topic| self.since.get(topic).copied())
    }

    /// Whether any subscribed topic matches the topic of a record.
    pub(super) fn is_subscribed(&self, subject: &[u8]) -> bool {
        self.matching(subject).next().is_some()
    }

    /// The first of the subscriptions that match the topic of a record.
    pub(super) fn subscribed(&self, subject: &[u8]) -> Option<Subscribed> {
        self.matching(subject).min_by_key(|subscribed| subscribed.now_ms)
    }

    /// Whether a subscribed topic other than `topic` matches `subject`, the topic of a record.
    pub(super) fn remains(&self, topic: &[u8], subject: &[u8]) -> bool {
        let is_of = |of: &[u8]| *of == *subject || self.is_beginning(of) && subject.starts_with(of);
        self.iter().any(|other| *other != *topic && is_of(other))
    }

    /// The topics of the GET-HEADS to send. A GET-HEADS requests the heads of one topic or, if its topic is empty, of
    /// all topics. It cannot request the heads of all topics with a prefix.
    pub(super) fn asked(&self) -> Vec<&[u8]> {
        let is_all = self.is_prefix && !self.since.is_empty() || self.since.contains_key(&b""[..]);
        if is_all { vec![b""] } else { self.iter().collect() }
    }
}
