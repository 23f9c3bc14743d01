//! A partition of which a consumer does not know yet whether it began after the consumer's subscription.
//!
//! Under `latest`, a partition that begins after the subscription is read from its first record. Other partitions are
//! read from a later record, see [`Doubt::claim`]. A message that mentions a later record does not show when the
//! partition began. So the consumer requests the first record, whose timestamp tells it. Meanwhile, other records of the
//! partition wait in the reorder buffer.

use super::beginning::Beginning;
use super::{Index, Ingest};
use crate::partition_name::PartitionName;
use crate::protocol::Payload;

/// When nobody has sent the first record for this time, and the producer publishes or sends HEADs meanwhile, the
/// partition counts as older than the subscription. Otherwise its new records would wait as long as no store responds.
const PATIENCE_MS: u64 = 5_000;
/// The same, if a store has told that it has the partition.
const PATIENCE_WITH_STORE_MS: u64 = 30_000;
/// After this many connections that were given up, each with the response to a FETCH, the first record is probably longer
/// than this consumer accepts. If a store repeats that it has the partition, the partition then counts as older.
const MAX_CUT_COUNT: u32 = 6;
/// The time between two messages of the producer counts at most this much. A process may have been stopped between
/// them, and the response may be unread.
const MAX_STEP_MS: u64 = 1_000;

/// The doubt about one partition.
#[derive(Clone, Debug)]
pub(super) struct Doubt {
    /// When the consumer first heard of the partition.
    pub(super) heard_ms: u64,
    /// Where to start if the partition is older than the subscription.
    pub(super) claimed: Option<u64>,
    /// Whether a store has told that it has the partition.
    is_stored: bool,
    waited_ms: u64,
    /// When the producer last sent a message, or when the consumer first heard of the partition.
    live_ms: u64,
}

impl Doubt {
    pub(super) fn new(now_ms: u64) -> Doubt {
        Doubt { heard_ms: now_ms, claimed: None, is_stored: false, waited_ms: 0, live_ms: now_ms }
    }

    /// The producer has sent a message. If it is the first one, the consumer starts at `first` if the partition is older
    /// than the subscription: at the record that was published, or after the record that the HEAD names. Returns true
    /// when the consumer has waited long enough for the first record of the partition.
    pub(super) fn claim(&mut self, first: u64, now_ms: u64) -> bool {
        self.claimed.get_or_insert(first);
        self.waited_ms += now_ms.saturating_sub(self.live_ms).min(MAX_STEP_MS);
        self.live_ms = now_ms;
        self.waited_ms >= if self.is_stored { PATIENCE_WITH_STORE_MS } else { PATIENCE_MS }
    }
}

impl<P: Payload> Ingest<P> {
    /// The partition was opened at 0, and may be older than the subscription. Until this is decided, only its first
    /// record is requested, and the other records wait.
    pub fn doubt(&mut self, index: Index, now_ms: u64) {
        let partition = &mut self.table[index];
        partition.doubt = Some(Box::new(Doubt::new(now_ms)));
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

    /// The producer of a doubtful partition has sent a message. If the partition is older than the subscription, it is
    /// read from `first` on. Returns true when the caller must stop waiting for the first record of the partition.
    pub fn claim(&mut self, index: Index, first: u64, now_ms: u64) -> bool {
        let is_over = self.table[index].doubt.as_mut().is_some_and(|doubt| doubt.claim(first, now_ms));
        self.statistics.presumed_old += u64::from(is_over);
        is_over
    }

    /// A store has told that it has a partition. Returns true when the caller must stop waiting for the first record of
    /// the partition, because this record is probably too long.
    pub fn is_first_too_long(&mut self, index: Index) -> bool {
        let partition = &self.table[index];
        let is_over = partition.doubt.is_some() && partition.sequencer.fetches().cut_count() >= MAX_CUT_COUNT;
        self.statistics.presumed_old += u64::from(is_over);
        is_over
    }

    /// Where to start in a doubtful partition if it is older than the subscription; `None` if its producer has sent no
    /// message.
    pub fn claimed(&self, index: Index) -> Option<u64> {
        self.table[index].doubt.as_ref()?.claimed
    }

    /// When the consumer first heard of a doubtful partition.
    pub fn heard_ms(&self, index: Index) -> Option<u64> {
        self.table[index].doubt.as_ref().map(|doubt| doubt.heard_ms)
    }

    /// A doubtful partition has begun after the subscription. It is read from its first record on.
    pub fn begin_at_first(&mut self, index: Index) {
        let partition = &mut self.table[index];
        partition.doubt = None;
        partition.sequencer.set_probing(false);
    }

    /// A doubtful partition is older than the subscription. It is read from `next` on. Calls `deliver` with the records
    /// from `next` on that have arrived, as [`Ingest::handle_run`] does.
    pub fn begin_at(&mut self, index: Index, next: u64, now_ms: u64, deliver: impl FnMut(u64, P)) {
        self.begin_at_first(index);
        let Self { table, fetches, reorder, statistics, .. } = self;
        let partition = &mut table[index];
        let early_len_bytes = partition.sequencer.early_len_bytes();
        fetches.release(index, partition);
        partition.sequencer.skip_to(next);
        partition.beginning = Beginning::claimed(next);
        statistics.handed_on += partition.deliver_early(now_ms, deliver);
        reorder.update(index, partition, early_len_bytes, now_ms);
        fetches.reschedule(index, partition, now_ms);
        table.update_rank(index);
    }

    /// A doubtful partition is older than the subscription, and its producer has sent no message. Closes the partition,
    /// and remembers that it is old.
    pub fn close_old(&mut self, index: Index) {
        self.old.put(self.table[index].name(), 0);
        self.close(index, None);
    }

    /// Whether a partition is known to be older than the subscription.
    pub fn is_old(&self, name: PartitionName) -> bool {
        self.old.get(name).is_some()
    }
}
