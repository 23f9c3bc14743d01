//! A partition of which a consumer does not know yet whether it began after the consumer's subscription.
//!
//! Under `latest`, a partition that begins after the subscription is read from its first record. Other partitions are
//! read from a later record, see [`Ingest::claim`]. A message that mentions a later record does not show when the
//! partition began. So the consumer requests the first record, whose timestamp tells it. Meanwhile, other records of the
//! partition wait in the reorder buffer.

use super::beginning::Beginning;
use super::evicted_positions::Evicted;
use super::wait_clock::WaitClock;
use super::{Index, Ingest};
use crate::partition_name::{PartitionName, PartitionNameBuf};
use crate::protocol::Payload;
use std::collections::BTreeSet;

/// When the producer has sent a message, and nobody sends the first record for this time, the partition counts as older
/// than the subscription. Otherwise its new records would wait as long as no store responds.
const PATIENCE_MS: u64 = 5_000;
/// The same, if a store has told that it has the partition.
const PATIENCE_WITH_STORE_MS: u64 = 30_000;
/// After this many connections that were given up, each with the response to a FETCH, the first record is probably longer
/// than this consumer accepts. If a store repeats that it has the partition, the partition then counts as older.
const MAX_CUT_COUNT: u32 = 6;
/// At most this many partitions wait to be reported. The log shows fewer.
const MAX_PRESUMED: usize = 16;

/// The doubt about one partition.
#[derive(Clone, Debug)]
pub(super) struct Doubt {
    /// When the consumer first heard of the partition.
    heard_ms: u64,
    /// Whether a store has told that it has the partition.
    is_stored: bool,
    /// `None` until the producer has sent a message.
    claim: Option<Claim>,
}

impl Doubt {
    /// Where to start if the partition is older than the subscription; `None` if its producer has sent no message.
    pub(super) fn claimed(&self) -> Option<u64> {
        self.claim.map(|claim| claim.first)
    }
}

/// What the producer of a doubtful partition has sent. The times are those of the [`WaitClock`].
#[derive(Clone, Copy, Debug)]
struct Claim {
    /// Where to start if the partition is older than the subscription.
    first: u64,
    /// When the producer sent the first message.
    since_ms: u64,
    /// When the partition is examined.
    due_ms: u64,
}

/// The doubtful partitions whose producers have sent messages.
#[derive(Debug, Default)]
pub(super) struct Claims {
    /// When each partition is examined, by the [`WaitClock`].
    dues: BTreeSet<(u64, Index)>,
    /// Partitions that count as older because their first record did not arrive, to be reported.
    presumed: Vec<PartitionNameBuf>,
}

impl Claims {
    /// The number of partitions.
    pub(super) fn count(&self) -> usize {
        self.dues.len()
    }

    /// When [`Ingest::poll_presumed_old`] must be called next, by the consumer's clock.
    pub(super) fn due_ms(&self, clock: &WaitClock) -> Option<u64> {
        self.dues.first().map(|&(due_ms, _)| clock.due_ms(due_ms))
    }

    /// A partition counts as older than the subscription because its first record did not arrive.
    fn handle_presumed(&mut self, name: PartitionName) {
        if self.presumed.len() < MAX_PRESUMED {
            self.presumed.push(name.to_buf());
        }
    }

    /// Returns a partition that counts as older because its first record did not arrive, once for each.
    pub(super) fn poll_presumed(&mut self) -> Option<PartitionNameBuf> {
        self.presumed.pop()
    }

    /// The doubt about a partition has ended.
    pub(super) fn remove(&mut self, index: Index, doubt: &Doubt) {
        if let Some(claim) = &doubt.claim {
            self.dues.remove(&(claim.due_ms, index));
        }
    }
}

impl<P: Payload> Ingest<P> {
    /// The partition was opened at 0, and may be older than the subscription. Until this is decided, only its first
    /// record is requested, and the other records wait.
    pub fn doubt(&mut self, index: Index, now_ms: u64) {
        let partition = &mut self.table[index];
        partition.doubt = Some(Box::new(Doubt { heard_ms: now_ms, is_stored: false, claim: None }));
        partition.sequencer.set_probing(true);
    }

    /// A store has told that it has a partition.
    pub(super) fn handle_stored(&mut self, index: Index) {
        self.table[index].doubt.iter_mut().for_each(|doubt| doubt.is_stored = true);
    }

    /// Whether it is not decided yet whether a partition is older than the subscription.
    pub fn is_doubtful(&self, index: Index) -> bool {
        self.table[index].doubt.is_some()
    }

    /// Whether it is not decided yet where to start in a partition of which peers have records.
    pub fn is_undecided(&self, index: Index) -> bool {
        self.is_doubtful(index) && self.table[index].sequencer.has_gap()
    }

    /// The producer of a partition has sent a message. If the partition is doubtful, and turns out to be older than the
    /// subscription, it is read from `first` on: from the record that was published, or after the record that the HEAD
    /// names. After several messages, the lowest of these offsets applies, because a forged message may name any offset.
    pub fn claim(&mut self, index: Index, first: u64, now_ms: u64) {
        let since_ms = self.wait_ms(now_ms);
        let Some(doubt) = &mut self.table[index].doubt else { return };
        if let Some(claim) = &mut doubt.claim {
            claim.first = claim.first.min(first);
            return;
        }
        let due_ms = since_ms + PATIENCE_MS;
        doubt.claim = Some(Claim { first, since_ms, due_ms });
        self.claims.dues.insert((due_ms, index));
        self.fetches.hurry(index, &mut self.table[index], now_ms);
    }

    /// Returns a doubtful partition whose first record did not arrive in time. The caller must stop waiting for it. To be
    /// called until it returns `None`. `is_paused`: whether a topic is paused, so that its partitions stay doubtful.
    pub fn poll_presumed_old(&mut self, now_ms: u64, is_paused: impl Fn(&[u8]) -> bool) -> Option<Index> {
        let clock_ms = self.wait_ms(now_ms);
        let Self { table, claims, .. } = self;
        while let Some(&(due_ms, index)) = claims.dues.first()
            && due_ms <= clock_ms
        {
            claims.dues.pop_first();
            let is_paused = is_paused(table[index].name().topic);
            let Some(Doubt { is_stored, claim: Some(claim), .. }) = table[index].doubt.as_deref_mut() else {
                continue;
            };
            if is_paused {
                claim.since_ms = clock_ms;
            }
            claim.due_ms = claim.since_ms + if *is_stored { PATIENCE_WITH_STORE_MS } else { PATIENCE_MS };
            if claim.due_ms <= clock_ms {
                self.statistics.presumed_old += 1;
                claims.handle_presumed(table[index].name());
                return Some(index);
            }
            claims.dues.insert((claim.due_ms, index));
        }
        None
    }

    /// The pause of a topic has ended, in which responses were not read. So the wait for the first record of each
    /// doubtful partition begins anew.
    pub fn wait_anew(&mut self, topic: &[u8], now_ms: u64) {
        let since_ms = self.wait_ms(now_ms);
        let partitions: Vec<Index> = self.partitions_of(topic).collect();
        for index in partitions {
            if let Some(Doubt { claim: Some(claim), .. }) = self.table[index].doubt.as_deref_mut() {
                claim.since_ms = since_ms;
            }
        }
    }

    /// A store has told that it has a partition. Returns true when the caller must stop waiting for the first record of
    /// the partition, because this record is probably too long.
    pub fn is_first_too_long(&mut self, index: Index) -> bool {
        let partition = &self.table[index];
        let is_over = partition.doubt.is_some() && partition.sequencer.fetches().cut_count() >= MAX_CUT_COUNT;
        if is_over {
            self.statistics.presumed_old += 1;
            self.claims.handle_presumed(partition.name());
        }
        is_over
    }

    /// Where to start in a doubtful partition if it is older than the subscription; `None` if its producer has sent no
    /// message.
    pub fn claimed(&self, index: Index) -> Option<u64> {
        self.table[index].doubt.as_ref()?.claimed()
    }

    /// When the consumer first heard of a doubtful partition.
    pub fn heard_ms(&self, index: Index) -> Option<u64> {
        self.table[index].doubt.as_ref().map(|doubt| doubt.heard_ms)
    }

    /// The doubt about a partition ends. If the caller does nothing else, the partition is read from its first record on.
    pub fn end_doubt(&mut self, index: Index) {
        let partition = &mut self.table[index];
        partition.sequencer.set_probing(false);
        if let Some(doubt) = partition.doubt.take() {
            self.claims.remove(index, &doubt);
        }
    }

    /// A doubtful partition is older than the subscription. It is read from `next` on. Calls `deliver` with the records
    /// from `next` on that have arrived, as [`Ingest::handle_run`] does.
    pub fn begin_at(&mut self, index: Index, next: u64, now_ms: u64, deliver: impl FnMut(u64, P)) {
        self.end_doubt(index);
        let beginning = Beginning::claimed(next, self.wait_ms(now_ms));
        let Self { table, fetches, reorder, statistics, .. } = self;
        let partition = &mut table[index];
        let early_len_bytes = partition.sequencer.early_len_bytes();
        fetches.release(index, partition);
        partition.sequencer.skip_to(next);
        (partition.beginning, partition.opened_ms) = (beginning, now_ms);
        statistics.handed_on += partition.deliver_early(now_ms, deliver);
        reorder.update(index, partition, early_len_bytes, now_ms);
        fetches.reschedule(index, partition, now_ms);
        table.update_rank(index);
    }

    /// A doubtful partition is older than the subscription, and its producer has sent no message. Closes the partition,
    /// and remembers that it is old.
    pub fn close_old(&mut self, index: Index) {
        self.old.put(self.table[index].name(), 0, false);
        self.close(index, None);
    }

    /// Whether a partition that is not open counts as older than the subscription. Once the position of any partition was
    /// forgotten, each partition does: the consumer may have delivered its records already.
    pub fn is_old(&self, name: PartitionName) -> bool {
        self.evicted_positions.has_dropped() || self.old.get(name).is_some()
    }

    /// Whether no further partition can be remembered as old without forgetting another one. The caller then ignores a
    /// partition that only stores have mentioned.
    pub fn is_old_full(&mut self) -> bool {
        let is_full = self.old.is_full();
        self.statistics.unprobed += u64::from(is_full);
        is_full
    }

    /// Where to start in an evicted doubtful partition if it is older than the subscription; `None` if its producer has
    /// sent no message.
    pub fn evicted_claim(&self, name: PartitionName) -> Option<Evicted> {
        self.evicted_claims.get(name)
    }
}
