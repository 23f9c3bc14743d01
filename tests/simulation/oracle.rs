//! The oracle checks each delivery to an application against the model.

use super::clock::MAX_CLOCK_DIFFERENCE_MS;
use super::model::{Model, Name, Record};
use dafka::protocol::consumer::Start;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

/// A partition that began at most this long before the subscription may be read from its first record, because clocks
/// may differ.
const MAX_TOLERANCE_MS: i64 = 10_000;

/// What is known of all consumers with one name.
#[derive(Clone, Debug, Default)]
pub(crate) struct Named {
    pub(crate) name: Vec<u8>,
    /// By partition: the offset after the furthest record that any consumer with this name has delivered. The next
    /// consumer with this name must not begin after it.
    pub(crate) reached: BTreeMap<Name, u64>,
    /// By partition: the highest offset of which a commit was sent before the present subscription.
    committed: BTreeMap<Name, u64>,
    /// The partitions of which each store had a position, from the start of the consumer until all connected stores had
    /// sent their positions. So the consumer knows these positions. Empty if the consumer did not wait so long.
    pub(crate) known: BTreeSet<Name>,
    /// The consumer gets no positions, because it is a node of 0.1.0.
    pub(crate) is_old: bool,
}

impl Named {
    pub(crate) fn new(name: Vec<u8>) -> Named {
        Named { name, ..Named::default() }
    }

    /// The offset after which a consumer with this name must not begin, if there were commits or deliveries.
    fn end(&self, name: &Name) -> Option<u64> {
        self.reached.get(name).max(self.committed.get(name)).copied()
    }
}

/// Where a consumer starts in the partitions of a topic.
struct Rule {
    start: Start,
    /// The time of the present subscription or of the last seek to a time or to the end.
    since_ms: i64,
    /// Under `latest`, a partition that begins at this time or later must be read from its first record.
    new_from_ms: i64,
}

/// The deliveries of one run of a consumer.
pub(crate) struct Oracle {
    pub(crate) start: Start,
    /// It may deliver only records that a store has reported.
    pub(crate) is_isolated: bool,
    /// By partition: the next offset.
    pub(crate) next: BTreeMap<Name, u64>,
    /// By partition: the records that the consumer delivered before it went back, because a false head had determined
    /// its first offset.
    handed_on: BTreeMap<Name, Range<u64>>,
    /// By partition: the first delivered offset, under `latest`.
    begun: BTreeMap<Name, u64>,
    topics: Vec<Vec<u8>>,
    /// By partition: the end at the first subscription to its topic.
    published_before: BTreeMap<Name, u64>,
    was_subscribed: BTreeSet<Vec<u8>>,
    /// By topic.
    rules: BTreeMap<Vec<u8>, Rule>,
    /// The topics in which the application has continued at a time or at the end. Committed positions do not apply there.
    sought: BTreeSet<Vec<u8>>,
    /// By partition: after a seek to the end, the highest offset that may be delivered first.
    begins_before: BTreeMap<Name, u64>,
    /// How many partitions the consumer presumed to be older than its subscription, because no peer sent their first
    /// record in time.
    pub(crate) presumed_old: u64,
    /// The new partitions that the consumer has not read from their first record, for that reason.
    begun_late: BTreeSet<Name>,
    pub(crate) delivered: u64,
    pub(crate) named: Option<Named>,
}

impl Oracle {
    pub(crate) fn new(start: Start) -> Oracle {
        Oracle {
            start,
            is_isolated: false,
            next: BTreeMap::new(),
            handed_on: BTreeMap::new(),
            begun: BTreeMap::new(),
            topics: Vec::new(),
            published_before: BTreeMap::new(),
            was_subscribed: BTreeSet::new(),
            rules: BTreeMap::new(),
            sought: BTreeSet::new(),
            begins_before: BTreeMap::new(),
            presumed_old: 0,
            begun_late: BTreeSet::new(),
            delivered: 0,
            named: None,
        }
    }

    pub(crate) fn subscribe(&mut self, topic: &[u8], model: &Model, now_ms: i64) {
        self.topics.push(topic.to_vec());
        let rule = Rule { start: self.start, since_ms: now_ms, new_from_ms: now_ms };
        self.rules.insert(topic.to_vec(), rule);
        if let Some(named) = &mut self.named {
            named.committed = model.committed.get(&named.name).cloned().unwrap_or_default();
        }
        if self.was_subscribed.insert(topic.to_vec()) {
            for (name, partition) in model.partitions.iter().filter(|(name, _)| name.0 == topic) {
                self.published_before.insert(name.clone(), partition.sent);
            }
        }
    }

    /// The application unsubscribes. A later subscription starts again.
    pub(crate) fn unsubscribe(&mut self, topic: &[u8]) {
        self.topics.retain(|known| known != topic);
        self.rules.remove(topic);
        self.sought.remove(topic);
        self.forget(topic);
    }

    fn forget(&mut self, topic: &[u8]) {
        self.next.retain(|name, _| name.0 != topic);
        self.handed_on.retain(|name, _| name.0 != topic);
        self.begun.retain(|name, _| name.0 != topic);
        self.begins_before.retain(|name, _| name.0 != topic);
        self.begun_late.retain(|name| name.0 != topic);
        // Records of the first subscription may still be in flight after a second one.
        self.published_before.retain(|name, _| name.0 != topic);
    }

    /// Where the consumer starts in the partitions of a topic.
    pub(crate) fn start_of(&self, topic: &[u8]) -> Start {
        self.rules.get(topic).map_or(self.start, |rule| rule.start)
    }

    /// The application continues at a time or at the end, in all partitions of a topic. `is_open`: no partition was
    /// evicted, so the consumer knows all partitions whose records it has delivered.
    pub(crate) fn seek_all(&mut self, topic: &[u8], start: Start, now_ms: i64, model: &Model, is_open: bool) {
        let mut read: Vec<(Name, u64)> = self.next.iter().map(|(name, &next)| (name.clone(), next)).collect();
        read.retain(|(name, _)| name.0 == topic && start == Start::Latest);
        self.forget(topic);
        // The consumer may know partitions that began before the seek, although their clocks show a later time.
        let rule = Rule { start, since_ms: now_ms, new_from_ms: now_ms + MAX_CLOCK_DIFFERENCE_MS + 1 };
        self.rules.insert(topic.to_vec(), rule);
        self.sought.insert(topic.to_vec());
        for (name, next) in read {
            if is_open {
                self.begins_before.insert(name.clone(), model.partitions[&name].end());
            }
            self.published_before.insert(name, next);
        }
    }

    /// The application continues at the record `to` of a partition.
    pub(crate) fn seek(&mut self, name: &Name, to: u64) {
        self.next.insert(name.clone(), to);
        self.begun.insert(name.clone(), to);
        self.published_before.remove(name);
    }

    pub(crate) fn is_subscribed(&self, topic: &[u8]) -> bool {
        self.topics.iter().any(|known| known == topic)
    }

    /// Whether a consumer of new records must read a partition from its first record, because the partition began after
    /// the subscription.
    pub(crate) fn is_new(&self, model: &Model, name: &Name) -> bool {
        self.rules
            .get(&name.0)
            .is_some_and(|rule| rule.start == Start::Latest && model.is_new(name, rule.new_from_ms))
    }

    /// The offset after which the consumer must not begin because of its name, if there were commits or deliveries.
    fn named_end(&self, name: &Name) -> Option<u64> {
        self.named.as_ref().filter(|_| !self.sought.contains(&name.0))?.end(name)
    }

    /// Whether the consumer knows a committed position of a partition, and must continue there.
    fn knows_position(&self, name: &Name) -> bool {
        let named = self.named.as_ref().filter(|_| !self.sought.contains(&name.0));
        named.is_some_and(|named| named.known.contains(name))
    }

    /// How far consumers with this name have read a partition in which this consumer has read nothing. `None` if this
    /// consumer need not read the partition because of its name.
    pub(crate) fn named_reached(&self, name: &Name) -> Option<u64> {
        self.named.as_ref().filter(|named| !named.is_old)?;
        self.named_end(name).filter(|_| self.start == Start::Earliest || self.knows_position(name))
    }

    /// Whether a partition began so short before the subscription that it may count as new.
    fn may_be_new(&self, model: &Model, name: &Name) -> bool {
        let since_ms = self.rules.get(&name.0).map_or(i64::MAX, |rule| rule.since_ms);
        model.partitions.get(name).is_some_and(|partition| partition.begun_ms >= since_ms - MAX_TOLERANCE_MS)
    }

    /// Checks a delivery.
    pub(crate) fn deliver(
        &mut self,
        model: &Model,
        subject: &[u8],
        address: &[u8],
        offset: u64,
        record: &Record,
    ) -> Result<(), String> {
        let at = || format!("record {offset} of {} {}", subject.escape_ascii(), address.escape_ascii());
        if !self.is_subscribed(subject) {
            return Err(format!("{} was delivered without a subscription", at()));
        }
        let name = (subject.to_vec(), address.to_vec());
        let start = self.start_of(subject);
        if !self.next.contains_key(&name)
            && (matches!(start, Start::Time(since_ms) if !model.is_first_since(&name, offset, since_ms))
                || self.begins_before.get(&name).is_some_and(|&end| offset > end))
        {
            return Err(format!("{} was delivered first after a seek: {start:?}", at()));
        }
        let end = self.named_end(&name);
        let is_resumed = start == Start::Latest && end.is_some();
        let mut first = None;
        if start == Start::Earliest
            || !is_resumed && self.is_new(model, &name) && !self.begun_late.contains(&name)
        {
            first = Some(model.first_offset);
        }
        if start == Start::Latest
            && first.is_some_and(|first| first != offset)
            && !self.next.contains_key(&name)
            && (self.begun_late.len() as u64) < self.presumed_old
        {
            self.begun_late.insert(name.clone());
            first = None;
        }
        let published_before = self.published_before.get(&name).copied().unwrap_or(0);
        if start == Start::Latest
            && !is_resumed
            && offset < published_before
            && (self.begins_before.contains_key(&name) || !self.may_be_new(model, &name))
            && !model.is_end_doubtful(&name)
        {
            return Err(format!("{} was delivered, which is older than the subscription", at()));
        }
        let held = model.held.get(&name).copied().unwrap_or(0);
        if self.is_isolated && offset >= held && !model.is_end_doubtful(&name) {
            return Err(format!("{} was delivered where stores have acknowledged {held}", at()));
        }
        if model.is_end_doubtful(&name) {
            self.begin_anew(&name, offset);
        }
        // Under `earliest`, the consumer must not skip records in any case.
        let must_resume = match start {
            Start::Earliest => self.named.as_ref().is_some_and(|named| named.reached.contains_key(&name)),
            _ => self.knows_position(&name) && !model.is_end_doubtful(&name),
        };
        match (self.next.get(&name).copied(), end) {
            (None, Some(end)) if must_resume && offset > end => {
                return Err(format!(
                    "{} was delivered where a consumer of this name has ended at {end}",
                    at()
                ));
            }
            (None, Some(_)) if must_resume || is_resumed => {}
            (next, _) if next.or(first).is_some_and(|next| next != offset) => {
                let next = next.or(first);
                return Err(format!("{} was delivered where {next:?} comes next", at()));
            }
            _ => {}
        }
        if !model.is_right(subject, address, offset, record.as_stored()) {
            return Err(format!("{} was delivered with another content, or other attributes", at()));
        }
        let after = self.handed_on.get(&name).filter(|range| range.start == offset + 1);
        self.next.insert(name.clone(), after.map_or(offset + 1, |range| range.end));
        self.begun.entry(name).or_insert(offset);
        self.delivered += 1;
        if let Some(named) = &mut self.named {
            let reached = named.reached.entry((subject.to_vec(), address.to_vec())).or_default();
            *reached = offset.saturating_add(1).max(*reached);
        }
        Ok(())
    }

    /// A consumer that started beyond the last record, because of a false head, may go back once. It must not deliver
    /// earlier records again.
    fn begin_anew(&mut self, name: &Name, offset: u64) {
        let start = self.start_of(&name.0);
        let (Some(&begun), Some(next)) = (self.begun.get(name), self.next.get_mut(name)) else { return };
        if start == Start::Latest && offset < begun && !self.handed_on.contains_key(name) {
            self.handed_on.insert(name.clone(), begun..*next);
            *next = offset;
            self.begun.insert(name.clone(), offset);
        }
    }
}
