//! Holds records back from the application until a store has acknowledged them (`consumer/isolation = acknowledged`).
//!
//! A record that no store has is lost when its producer ends. Without this buffer, an application could receive a
//! record that is then lost and that no other consumer can get later.
//!
//! One buffer holds the records of all partitions. When a run does not fit into it, the buffer refuses this run and all
//! further records of the same partition. At an ACK for the partition, the buffer accepts the partition again, if it
//! then holds no record of the partition or is at most half full.
//!
//! If an ACK is for a part of a run, that part is released. The memory of the run counts until its last record is
//! released.

use crate::protocol::Payload;
use crate::protocol::ingest::Index;
use crate::protocol::partition::reorder_buffer::EARLY_OVERHEAD_BYTES;
use crate::protocol::producer::ack_stall::{REPORT_INTERVAL_MS, STALL_MS};
use std::collections::{HashMap, VecDeque};

/// How often to search for partitions whose records have been held back for long.
const SEARCH_INTERVAL_MS: u64 = 1_000;

/// The records of all partitions that are held back.
#[derive(Debug)]
pub struct Unacknowledged<P> {
    limit_bytes: usize,
    len_bytes: usize,
    partitions: HashMap<Index, HeldBack<P>>,
    /// [`Unacknowledged::poll_stall`] returns nothing before this time.
    next_stall_ms: u64,
}

/// A partition whose records have been held back for long.
#[derive(Debug, PartialEq, Eq)]
pub struct Stall {
    /// The partition.
    pub partition: Index,
    /// How many records are held back.
    pub count: usize,
    /// How long the partition has waited, in milliseconds: since a record was last released, or since the first record
    /// was held back, whichever is later.
    pub ms: u64,
}

/// The records of one partition that are held back.
#[derive(Debug)]
struct HeldBack<P> {
    /// The offset after the last record that a store has.
    end: u64,
    /// In order, without gaps.
    runs: VecDeque<HeldRun<P>>,
    /// How many records the runs have.
    count: u64,
    /// The first record that was refused.
    refused: Option<u64>,
    /// When a record was last released, or when the first record was held back, whichever is later.
    since_ms: u64,
}

/// A run, or the part of it that is not released yet.
#[derive(Debug)]
struct HeldRun<P> {
    first: u64,
    run: P,
    /// The bytes that the whole run adds to `Unacknowledged::len_bytes`.
    cost_bytes: usize,
}

impl<P> Default for HeldBack<P> {
    fn default() -> Self {
        HeldBack { end: 0, runs: VecDeque::new(), count: 0, refused: None, since_ms: 0 }
    }
}

impl<P: Payload> Unacknowledged<P> {
    /// Returns an empty buffer of at most `limit_bytes`. When the buffer is empty, it also accepts a longer run.
    pub fn new(limit_bytes: usize) -> Self {
        Unacknowledged { limit_bytes, len_bytes: 0, partitions: HashMap::new(), next_stall_ms: STALL_MS }
    }

    /// Takes the next run of a partition. Returns its first records, if a store already has them. Holds the other
    /// records back, or refuses them if they do not fit.
    pub fn take(&mut self, index: Index, first: u64, run: P, now_ms: u64) -> Option<P> {
        let held = self.partitions.entry(index).or_default();
        if held.refused.is_some() {
            return None;
        }
        let (acknowledged, rest) = run.split(held.end.saturating_sub(first));
        let Some(rest) = rest else { return acknowledged };
        let first = first.max(held.end);
        let cost_bytes = rest.len_bytes() + EARLY_OVERHEAD_BYTES;
        if self.len_bytes + cost_bytes > self.limit_bytes && self.len_bytes > 0 {
            held.refused = Some(first);
        } else {
            self.len_bytes += cost_bytes;
            if held.runs.is_empty() {
                held.since_ms = now_ms;
            }
            held.count += rest.record_count();
            held.runs.push_back(HeldRun { first, run: rest.into_own_memory(), cost_bytes });
        }
        acknowledged
    }

    /// Returns the first refused record of a partition; `None` while the buffer accepts the records of the partition.
    pub fn refused(&self, index: Index) -> Option<u64> {
        self.partitions.get(&index)?.refused
    }

    /// Handles an ACK for all records up to and including `offset`. Calls `release` once for each run, or part of a
    /// run, that is no longer held back. The arguments of `release` are the offset of the first record, and the
    /// records.
    pub fn acknowledged(&mut self, index: Index, offset: u64, now_ms: u64, mut release: impl FnMut(u64, P)) {
        let held = self.partitions.entry(index).or_default();
        held.end = held.end.max(offset.saturating_add(1));
        let is_released = |held: &HeldBack<P>| held.runs.front().is_some_and(|of| of.first < held.end);
        while is_released(held)
            && let Some(HeldRun { first, run, cost_bytes }) = held.runs.pop_front()
        {
            let (released, rest) = run.split(held.end - first);
            match rest {
                Some(run) => held.runs.push_front(HeldRun { first: held.end, run, cost_bytes }),
                None => self.len_bytes -= cost_bytes,
            }
            held.since_ms = now_ms;
            if let Some(released) = released {
                held.count -= released.record_count();
                release(first, released);
            }
        }
        if held.runs.is_empty() || self.len_bytes <= self.limit_bytes / 2 {
            held.refused = None;
        }
    }

    /// How many records of a partition are held back.
    pub fn count(&self, index: Index) -> u64 {
        self.partitions.get(&index).map_or(0, |held| held.count)
    }

    /// Returns where a partition must continue if it is evicted and opened again: at its first held-back record,
    /// because held-back records are dropped with the partition. Without held-back records, that is `next`, the next
    /// record to receive. Returns `None` if a record between that offset and `next` was already delivered, because the
    /// record must not be delivered twice. This is possible after a wrong start offset was corrected.
    pub fn resume_at(&self, index: Index, next: u64) -> Option<u64> {
        let first = self.partitions.get(&index).and_then(|held| held.runs.front());
        let first = first.map_or(next, |run| run.first);
        (next - first == self.count(index)).then_some(first)
    }

    /// Drops a partition, and its records.
    pub fn forget(&mut self, index: Index) {
        if let Some(held) = self.partitions.remove(&index) {
            self.len_bytes -= held.runs.iter().map(|run| run.cost_bytes).sum::<usize>();
        }
    }

    /// The partitions in the buffer.
    pub fn partitions(&self) -> impl Iterator<Item = Index> {
        self.partitions.keys().copied()
    }

    /// Returns the partition whose records have waited longest for a release, if they have waited at least [`STALL_MS`]
    /// and a report is due.
    pub fn poll_stall(&mut self, now_ms: u64) -> Option<Stall> {
        if now_ms < self.next_stall_ms {
            return None;
        }
        self.next_stall_ms = now_ms + SEARCH_INTERVAL_MS;
        let waiting = self.partitions.iter().filter(|(_, held)| !held.runs.is_empty());
        let (index, held) = waiting.min_by_key(|(_, held)| held.since_ms)?;
        let ms = now_ms.saturating_sub(held.since_ms);
        if ms < STALL_MS {
            return None;
        }
        self.next_stall_ms = now_ms + REPORT_INTERVAL_MS;
        Some(Stall { partition: *index, count: held.count as usize, ms })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A buffer for two records.
    fn waiting() -> Unacknowledged<Vec<u8>> {
        Unacknowledged::new(2 * (EARLY_OVERHEAD_BYTES + 10))
    }

    fn released(waiting: &mut Unacknowledged<Vec<u8>>, index: Index, offset: u64) -> Vec<u64> {
        let mut offsets = Vec::new();
        waiting.acknowledged(index, offset, 0, |offset, _| offsets.push(offset));
        offsets
    }

    #[test]
    fn records_are_held_back_for_a_store_and_refused_when_there_is_no_room() {
        let (mut waiting, first, second) = (waiting(), Index(0), Index(1));
        for offset in 0..3 {
            assert_eq!(waiting.take(first, offset, vec![0; 10], 0), None);
        }
        assert_eq!((waiting.count(first), waiting.refused(first)), (2, Some(2)));
        assert_eq!(waiting.take(second, 7, vec![0; 10], 0), None);
        assert_eq!(waiting.refused(second), Some(7));
        // A store has the first record of `first`, and more records of `second` than were received here.
        assert_eq!(released(&mut waiting, first, 0), [0]);
        assert_eq!(waiting.refused(first), None);
        assert_eq!(released(&mut waiting, second, 8), [0; 0]);
        assert_eq!(waiting.take(second, 7, vec![0; 10], 0), Some(vec![0; 10]));
        assert_eq!(waiting.take(second, 9, vec![0; 10], 0), None);
        assert_eq!(released(&mut waiting, first, 5), [1]);
        waiting.forget(second);
        assert_eq!((waiting.count(second), waiting.len_bytes), (0, 0));
    }

    #[test]
    fn a_partition_whose_records_are_held_back_for_long_is_reported() {
        let mut waiting = waiting();
        waiting.take(Index(0), 0, vec![0; 10], 0);
        waiting.take(Index(1), 0, vec![0; 10], 0);
        assert_eq!(waiting.poll_stall(STALL_MS - 1), None);
        waiting.acknowledged(Index(1), 0, STALL_MS, |_, _| {});
        let stall = Stall { partition: Index(0), count: 1, ms: STALL_MS };
        assert_eq!(waiting.poll_stall(STALL_MS), Some(stall));
        assert_eq!(waiting.poll_stall(STALL_MS + REPORT_INTERVAL_MS - 1), None);
        released(&mut waiting, Index(0), 0);
        assert_eq!(waiting.poll_stall(STALL_MS + REPORT_INTERVAL_MS), None);
    }
}
