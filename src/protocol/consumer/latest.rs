//! Where a consumer starts in a partition under [`Start::Latest`] and [`Start::Last`].
//!
//! `latest` means "from the moment of the subscription". A partition that began after the subscription is read from its
//! first record. Any other partition is *old*: the consumer starts at the first message of the producer that it
//! receives, at the published record or after the record that the HEAD names.
//!
//! If the first message about a partition is its first record from the producer, the partition is new. After any other
//! first message, the partition is *doubtful*: the consumer requests the first record from the stores and the producer.
//! If this record has a timestamp that is neither before the subscription nor in the future, the partition is new, and
//! otherwise old. (Records of producers of 0.1.0 have no timestamp, so their partitions are old.) While the partition is
//! doubtful, records that arrive wait. If the producer has sent a message, and no peer sends the first record for 5 s,
//! the partition counts as old. (If a store has told that it has the partition, for 30 s.) The same applies when the
//! first record seems to be longer than this consumer accepts.
//!
//! The consumer may hear of an old partition only from stores, for example because the producer has ended. It then
//! remembers that the partition is old, and keeps no other state for it.
//!
//! [`Start::Last`] differs in where the consumer starts in an old partition: a number of records earlier. So the message of
//! a store is sufficient, too. If the partition does not have that many records, the consumer starts at the first one, and
//! requests no record to find out whether the partition is old.
//!
//! A doubtful partition may be evicted. When it is opened again, it is doubtful again, but the earlier messages of its
//! producer still determine where to start if it is old.

#[cfg(doc)]
use super::Start;
use super::topics::Rule;
use super::{Consumer, Delivery, delivering};
use crate::partition_name::PartitionName;
use crate::protocol::ingest::Index;
use crate::protocol::{Payload, last_of};

/// Where to start in a partition that is not open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Beginning {
    /// At this offset.
    At(u64),
    /// At this offset, which a peer has claimed. The claim may be corrected later.
    Claimed(u64),
    /// At its first record, or later if it turns out to be old. The offset is where an earlier message of the producer
    /// has claimed that it starts then.
    Doubtful(Option<u64>),
    /// From this offset on, at the first record that was published at this time or later.
    Searched(u64, i64),
}

impl Beginning {
    /// The offset at which the partition is opened.
    pub(super) fn offset(self) -> u64 {
        match self {
            Beginning::At(offset) | Beginning::Claimed(offset) | Beginning::Searched(offset, _) => offset,
            Beginning::Doubtful(_) => 0,
        }
    }
}

impl<P: Payload> Consumer<P> {
    /// Where to start in a partition without a position. `claim` is where to start if the partition is old, `None` if
    /// the message about it is not from its producer. Returns `None` if that message opens no partition.
    pub(super) fn latest_beginning(
        &mut self,
        name: PartitionName,
        claim: Option<u64>,
        rule: &Rule,
    ) -> Option<Beginning> {
        if claim == Some(0) {
            return Some(Beginning::At(0));
        }
        let evicted =
            self.ingest.evicted_claim(name).filter(|evicted| rule.keeps(evicted)).map(|evicted| evicted.next);
        match claim.into_iter().chain(evicted).min() {
            Some(claim) if self.ingest.is_old(name) => Some(Beginning::Claimed(claim)),
            // A store may have records that have not arrived from the producer yet. After a DIRECT-HEAD, the consumer
            // would start after these records.
            None if self.ingest.is_old(name) => None,
            // If the partition is old, this could not be remembered. So each DIRECT-HEAD would cause a FETCH.
            None if self.ingest.is_old_full() => None,
            claim => Some(Beginning::Doubtful(claim)),
        }
    }

    /// A run of a doubtful partition has arrived. Returns whether the run is still to be handled; if not, the partition
    /// may be closed.
    pub(super) fn decide_by_run(
        &mut self,
        partition: Index,
        first: u64,
        run: &P,
        is_live: bool,
        now_ms: u64,
        deliveries: &mut impl Extend<Delivery<P>>,
    ) -> bool {
        if first > 0 {
            if is_live {
                self.claim(partition, Some(first), last_of(first, run), now_ms);
            }
            return true;
        }
        if is_live || run.timestamp_ms(0).is_some_and(|timestamp_ms| self.is_new(partition, timestamp_ms)) {
            self.ingest.end_doubt(partition);
            self.commit_beginning(partition, 0);
            return true;
        }
        self.read_as_old(partition, now_ms, deliveries)
    }

    /// A message mentions the record `last` of a partition. If the partition is doubtful, and turns out to be old, the
    /// message may determine where it starts. For `published`, see [`Start::claim`].
    pub(super) fn claim(&mut self, partition: Index, published: Option<u64>, last: u64, now_ms: u64) {
        if !self.ingest.is_doubtful(partition) {
            return;
        }
        let rule = self.topics.rule(self.partition(partition).topic);
        if let Some(first) = rule.and_then(|rule| rule.start.claim(published, last)) {
            self.ingest.claim(partition, first, now_ms);
        }
    }

    /// A store has told that it has a partition. Returns whether the message is still to be handled; if not, the
    /// partition is closed.
    pub(super) fn decide_by_store(
        &mut self,
        partition: Index,
        now_ms: u64,
        deliveries: &mut impl Extend<Delivery<P>>,
    ) -> bool {
        !self.ingest.is_first_too_long(partition) || self.read_as_old(partition, now_ms, deliveries)
    }

    /// A doubtful partition is old. Returns false when it is closed, because only stores have mentioned it.
    pub(super) fn read_as_old(
        &mut self,
        partition: Index,
        now_ms: u64,
        deliveries: &mut impl Extend<Delivery<P>>,
    ) -> bool {
        match self.ingest.claimed(partition) {
            Some(claimed) => {
                self.begin_at(partition, claimed, now_ms, deliveries);
                true
            }
            None => {
                self.forget_kept(partition);
                self.ingest.close_old(partition);
                false
            }
        }
    }

    /// Whether a doubtful partition whose first record has this timestamp began after the subscription.
    fn is_new(&self, partition: Index, timestamp_ms: i64) -> bool {
        let rule = self.topics.rule(self.partition(partition).topic);
        rule.zip(self.ingest.heard_ms(partition))
            .is_some_and(|(rule, heard_ms)| rule.since.counts_as_new(timestamp_ms, heard_ms, self.uptime_ms))
    }

    /// Starts at `next` in a partition that was doubtful, and delivers the records that have arrived.
    fn begin_at(
        &mut self,
        partition: Index,
        next: u64,
        now_ms: u64,
        deliveries: &mut impl Extend<Delivery<P>>,
    ) {
        self.commit_beginning(partition, next);
        let Self { ingest, unacknowledged, positions, .. } = self;
        let deliver = delivering(unacknowledged, positions, partition, now_ms, deliveries);
        ingest.begin_at(partition, next, now_ms, deliver);
        self.rewind_refused(partition);
    }
}
