//! Holds records back from the application until a store has acknowledged them (`consumer/isolation = acknowledged`).
//!
//! A record that no store has is lost when its producer ends. An application that had read it would have read a record
//! that no later reader gets. The buffer is limited: while it is full, further records of the partition are refused.

use crate::protocol::ingest::Index;
use crate::protocol::partition::sequencer::EARLY_OVERHEAD_BYTES;
use crate::protocol::producer::ack_stall::{AGAIN_MS, WAITING_MS};
use std::collections::{HashMap, VecDeque};

/// How often it is looked for partitions whose records wait for long.
const LOOK_INTERVAL_MS: u64 = 1_000;

/// The records of all partitions that wait for a store.
#[derive(Debug)]
pub struct Unacknowledged<P> {
    limit_bytes: usize,
    len_bytes: usize,
    partitions: HashMap<Index, Waiters<P>>,
    /// [`Unacknowledged::poll_stall`] returns nothing before this.
    next_stall_ms: u64,
}

/// A partition whose records wait for long.
#[derive(Debug, PartialEq, Eq)]
pub struct Stall {
    /// The partition.
    pub partition: Index,
    /// How many records wait.
    pub count: usize,
    /// For how long, in milliseconds.
    pub ms: u64,
}

/// The records of one partition that wait, and what is known of it.
#[derive(Debug)]
struct Waiters<P> {
    /// One after the last record that a store has.
    end: u64,
    /// In order, without gaps.
    records: VecDeque<(u64, P)>,
    /// The first record for which there was no room.
    refused: Option<u64>,
    /// When the first one began to wait, or when a store acknowledged one last.
    since_ms: u64,
}

impl<P> Default for Waiters<P> {
    fn default() -> Self {
        Waiters { end: 0, records: VecDeque::new(), refused: None, since_ms: 0 }
    }
}

impl<P: AsRef<[u8]>> Unacknowledged<P> {
    /// Nothing waits yet. What waits occupies at most `limit_bytes`.
    pub fn new(limit_bytes: usize) -> Self {
        Unacknowledged { limit_bytes, len_bytes: 0, partitions: HashMap::new(), next_stall_ms: WAITING_MS }
    }

    /// Takes the next record of a partition. Returned, when a store has it; else it waits, if there is room.
    pub fn take(&mut self, index: Index, offset: u64, content: P, now_ms: u64) -> Option<P> {
        let waiters = self.partitions.entry(index).or_default();
        if waiters.refused.is_some() {
            return None;
        }
        if offset < waiters.end {
            return Some(content);
        }
        let cost_bytes = cost_bytes(&content);
        if self.len_bytes + cost_bytes > self.limit_bytes && self.len_bytes > 0 {
            waiters.refused = Some(offset);
        } else {
            self.len_bytes += cost_bytes;
            if waiters.records.is_empty() {
                waiters.since_ms = now_ms;
            }
            waiters.records.push_back((offset, content));
        }
        None
    }

    /// The first record of a partition for which there was no room: until a store has what waits, none is taken.
    pub fn refused(&self, index: Index) -> Option<u64> {
        self.partitions.get(&index)?.refused
    }

    /// A store has the records up to `offset`, including it: those that waited for it are handed to `release`.
    pub fn acknowledged(&mut self, index: Index, offset: u64, now_ms: u64, mut release: impl FnMut(u64, P)) {
        let waiters = self.partitions.entry(index).or_default();
        waiters.end = waiters.end.max(offset.saturating_add(1));
        let is_released =
            |waiters: &Waiters<P>| waiters.records.front().is_some_and(|(first, _)| *first < waiters.end);
        while is_released(waiters)
            && let Some((offset, content)) = waiters.records.pop_front()
        {
            self.len_bytes -= cost_bytes(&content);
            waiters.since_ms = now_ms;
            release(offset, content);
        }
        if waiters.records.is_empty() || self.len_bytes <= self.limit_bytes / 2 {
            waiters.refused = None;
        }
    }

    /// How many records of a partition wait.
    pub fn count(&self, index: Index) -> u64 {
        self.partitions.get(&index).map_or(0, |waiters| waiters.records.len() as u64)
    }

    /// The first record of a partition that is not delivered, where `next` is the next one to receive: what waits can be
    /// fetched again from there. `None` when records after the first one that waits were delivered before it, which happens
    /// once a false beginning was corrected.
    pub fn resume_at(&self, index: Index, next: u64) -> Option<u64> {
        let first = self.partitions.get(&index).and_then(|waiters| waiters.records.front());
        let first = first.map_or(next, |(offset, _)| *offset);
        (next - first == self.count(index)).then_some(first)
    }

    /// Forgets a partition, and what waits of it.
    pub fn forget(&mut self, index: Index) {
        if let Some(waiters) = self.partitions.remove(&index) {
            self.len_bytes -= waiters.records.iter().map(|(_, content)| cost_bytes(content)).sum::<usize>();
        }
    }

    /// The partitions of which something is known.
    pub fn partitions(&self) -> impl Iterator<Item = Index> {
        self.partitions.keys().copied()
    }

    /// The partition whose records wait for longest, if that is long and it is time to tell.
    pub fn poll_stall(&mut self, now_ms: u64) -> Option<Stall> {
        if now_ms < self.next_stall_ms {
            return None;
        }
        self.next_stall_ms = now_ms + LOOK_INTERVAL_MS;
        let waiting = self.partitions.iter().filter(|(_, waiters)| !waiters.records.is_empty());
        let (index, waiters) = waiting.min_by_key(|(_, waiters)| waiters.since_ms)?;
        let ms = now_ms.saturating_sub(waiters.since_ms);
        if ms < WAITING_MS {
            return None;
        }
        self.next_stall_ms = now_ms + AGAIN_MS;
        Some(Stall { partition: *index, count: waiters.records.len(), ms })
    }
}

fn cost_bytes(content: &impl AsRef<[u8]>) -> usize {
    content.as_ref().len() + EARLY_OVERHEAD_BYTES
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Room for two records.
    fn waiting() -> Unacknowledged<Vec<u8>> {
        Unacknowledged::new(2 * (EARLY_OVERHEAD_BYTES + 10))
    }

    fn released(waiting: &mut Unacknowledged<Vec<u8>>, index: Index, offset: u64) -> Vec<u64> {
        let mut offsets = Vec::new();
        waiting.acknowledged(index, offset, 0, |offset, _| offsets.push(offset));
        offsets
    }

    #[test]
    fn records_wait_for_a_store_and_no_further_ones_are_taken_when_there_is_no_room() {
        let (mut waiting, first, second) = (waiting(), Index(0), Index(1));
        for offset in 0..3 {
            assert_eq!(waiting.take(first, offset, vec![0; 10], 0), None);
        }
        assert_eq!((waiting.count(first), waiting.refused(first)), (2, Some(2)));
        assert_eq!(waiting.take(second, 7, vec![0; 10], 0), None);
        assert_eq!(waiting.refused(second), Some(7));
        // A store has the first one and, of the other partition, more than was taken.
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
    fn a_partition_whose_records_wait_for_long_is_told_whatever_others_do() {
        let mut waiting = waiting();
        waiting.take(Index(0), 0, vec![0; 10], 0);
        waiting.take(Index(1), 0, vec![0; 10], 0);
        assert_eq!(waiting.poll_stall(WAITING_MS - 1), None);
        waiting.acknowledged(Index(1), 0, WAITING_MS, |_, _| {});
        let stall = Stall { partition: Index(0), count: 1, ms: WAITING_MS };
        assert_eq!(waiting.poll_stall(WAITING_MS), Some(stall));
        assert_eq!(waiting.poll_stall(WAITING_MS + AGAIN_MS - 1), None);
        released(&mut waiting, Index(0), 0);
        assert_eq!(waiting.poll_stall(WAITING_MS + AGAIN_MS), None);
    }
}
