//! The topics that a consumer subscribes to, and where it starts in their partitions.

use super::Start;
use crate::protocol::ingest::evicted_positions::Evicted;
use std::collections::BTreeMap;

/// When a topic was subscribed, or when a seek has changed where to start in its partitions.
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

/// Where a consumer starts in the partitions of some topics.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rule {
    pub(super) start: Start,
    /// When the rule was set: at the subscription, or at a seek.
    pub(super) since: Subscribed,
    /// What was stored about evicted partitions up to this serial number does not apply.
    void_serial: u64,
    /// Whether committed positions do not apply: after a seek, and if the consumer ignores them.
    pub(super) ignores_committed: bool,
    /// A rule with a higher number was set later.
    number: u64,
}

impl Rule {
    /// Whether what was stored about an evicted partition applies.
    pub(super) fn keeps(&self, evicted: &Evicted) -> bool {
        evicted.serial > self.void_serial
    }
}

/// The subscribed topics.
#[derive(Debug, Default)]
pub(super) struct Topics {
    subscriptions: BTreeMap<Box<[u8]>, Rule>,
    /// The rules of seeks. A key selects topics as a subscription does; the empty one selects all topics.
    seeks: BTreeMap<Box<[u8]>, Rule>,
    /// Whether each subscribed topic also matches all topics that begin with it.
    pub(super) is_prefix: bool,
    /// Whether committed positions do not apply, as after a seek.
    pub(super) ignores_committed: bool,
    /// The number of the rule that was set last.
    number: u64,
}

impl Topics {
    /// Adds a topic. Returns false when it was subscribed already.
    pub(super) fn insert(&mut self, topic: &[u8], start: Start, since: Subscribed) -> bool {
        if self.subscriptions.contains_key(topic) {
            return false;
        }
        let rule = self.new_rule(start, since, None);
        self.subscriptions.insert(topic.into(), rule);
        true
    }

    /// `void_serial`: see [`Rule`]; `None` for a subscription.
    fn new_rule(&mut self, start: Start, since: Subscribed, void_serial: Option<u64>) -> Rule {
        self.number += 1;
        let ignores_committed = self.ignores_committed || void_serial.is_some();
        let void_serial = void_serial.unwrap_or_default();
        Rule { start, since, void_serial, ignores_committed, number: self.number }
    }

    /// Removes a topic. Returns false when it was not subscribed.
    pub(super) fn remove(&mut self, topic: &[u8]) -> bool {
        let is_removed = self.subscriptions.remove(topic).is_some();
        let mut seeks = std::mem::take(&mut self.seeks);
        seeks.retain(|selector, _| self.is_selector(selector));
        self.seeks = seeks;
        is_removed
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &[u8]> + Clone {
        self.subscriptions.keys().map(|topic| topic.as_ref())
    }

    /// True for a topic that matches all topics that begin with it.
    pub(super) fn is_beginning(&self, topic: &[u8]) -> bool {
        self.is_prefix || topic.is_empty()
    }

    /// Whether `topic`, as a subscription, matches `subject`, the topic of a record.
    pub(super) fn selects(&self, topic: &[u8], subject: &[u8]) -> bool {
        *topic == *subject || self.is_beginning(topic) && subject.starts_with(topic)
    }

    /// The rules whose topic matches `subject`, the topic of a record.
    fn matching(&self, rules: &BTreeMap<Box<[u8]>, Rule>, subject: &[u8]) -> impl Iterator<Item = Rule> {
        let prefixes = if self.is_prefix { 1..subject.len() } else { 0..0 };
        let prefixes = prefixes.map(|len| &subject[..len]);
        let all = Some(&b""[..]).filter(|all| *all != subject);
        std::iter::once(subject).chain(all).chain(prefixes).filter_map(|topic| rules.get(topic).copied())
    }

    /// Whether any subscribed topic matches the topic of a record.
    pub(super) fn is_subscribed(&self, subject: &[u8]) -> bool {
        self.matching(&self.subscriptions, subject).next().is_some()
    }

    /// The rule for the partitions of a topic: that of the first of the subscriptions that match it or, if there was a
    /// seek since then, that of the last seek. `None` if no subscription matches.
    pub(super) fn rule(&self, subject: &[u8]) -> Option<Rule> {
        let first = self.matching(&self.subscriptions, subject).min_by_key(|rule| rule.number)?;
        if self.seeks.is_empty() {
            return Some(first);
        }
        let last = self.matching(&self.seeks, subject).max_by_key(|rule| rule.number);
        Some(last.filter(|seek| seek.number > first.number).unwrap_or(first))
    }

    /// Whether a topic can select partitions for a seek. The empty topic selects all partitions. Any other topic must be
    /// subscribed, or match a subscription.
    fn is_selector(&self, topic: &[u8]) -> bool {
        match topic {
            b"" => !self.subscriptions.is_empty(),
            _ => self.is_subscribed(topic),
        }
    }

    /// Sets the rule of all topics that `selector` selects. What was stored about evicted partitions up to `void_serial`
    /// does not apply any more. Returns false when the selector is neither empty nor subscribed.
    pub(super) fn seek(
        &mut self,
        selector: &[u8],
        start: Start,
        since: Subscribed,
        void_serial: u64,
    ) -> bool {
        if !self.is_selector(selector) {
            return false;
        }
        let rule = self.new_rule(start, since, Some(void_serial));
        let mut seeks = std::mem::take(&mut self.seeks);
        seeks.retain(|earlier, _| !self.selects(selector, earlier));
        seeks.insert(selector.into(), rule);
        self.seeks = seeks;
        true
    }

    /// Whether a subscribed topic other than `topic` matches `subject`, the topic of a record.
    pub(super) fn remains(&self, topic: &[u8], subject: &[u8]) -> bool {
        self.iter().any(|other| *other != *topic && self.selects(other, subject))
    }

    /// The topics of the GET-HEADS to send. A GET-HEADS requests the heads of one topic or, if its topic is empty, of
    /// all topics. It cannot request the heads of all topics with a prefix.
    pub(super) fn asked(&self) -> Vec<&[u8]> {
        let is_all =
            self.is_prefix && !self.subscriptions.is_empty() || self.subscriptions.contains_key(&b""[..]);
        if is_all { vec![b""] } else { self.iter().collect() }
    }
}
