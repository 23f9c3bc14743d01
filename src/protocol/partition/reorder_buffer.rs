//! The reorder buffer: records of one partition that arrived before an earlier record.
//!
//! The buffer holds runs that do not overlap. If a part of a new run is already in the buffer, it is not stored a
//! second time. So only new records need memory, and the work for a run is at most proportional to the number of its
//! records.

use crate::protocol::Payload;
use std::collections::BTreeMap;

/// The memory of one early run besides its contents: its handle and its entry in the buffer.
pub const EARLY_OVERHEAD_BYTES: usize = 128;

/// The early records of one partition.
#[derive(Debug)]
pub struct ReorderBuffer<P> {
    /// The key is the offset of the first record. No two runs have a record in common.
    runs: BTreeMap<u64, P>,
    record_count: u64,
    len_bytes: usize,
}

impl<P> Default for ReorderBuffer<P> {
    fn default() -> Self {
        ReorderBuffer { runs: BTreeMap::new(), record_count: 0, len_bytes: 0 }
    }
}

impl<P: Payload> ReorderBuffer<P> {
    /// True when there are no early records.
    pub fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// The memory of the records.
    pub fn len_bytes(&self) -> usize {
        self.len_bytes
    }

    /// The offset after the last record.
    pub fn end(&self) -> Option<u64> {
        self.runs.last_key_value().map(|(&first, run)| first + run.record_count())
    }

    /// Inserts a run whose offsets are at most [`MAX_OFFSET`](super::sequencer::MAX_OFFSET). The buffer may use
    /// `room_bytes` more memory. If the run needs more, buffered runs after it are dropped, because earlier records are
    /// needed sooner. Returns how many records of the run are new. Returns `None`, and changes nothing, when there is
    /// no room.
    pub fn insert(&mut self, first: u64, run: P, mut room_bytes: usize) -> Option<u64> {
        let Some((first, run)) = self.without_overlap(first, run) else { return Some(0) };
        let end = first + run.record_count();
        // The buffered runs from `first` to `end` lie within the new run.
        let within = || self.runs.range(first..end).map(|(_, known)| known);
        let new_count = run.record_count() - within().map(P::record_count).sum::<u64>();
        if new_count == 0 {
            return Some(0);
        }
        room_bytes += within().map(cost_bytes).sum::<usize>();
        self.make_room(end, cost_bytes(&run).saturating_sub(room_bytes))?;
        while let Some((&known, _)) = self.runs.range(first..end).next() {
            self.remove(known);
        }
        self.record_count += run.record_count();
        self.len_bytes += cost_bytes(&run);
        self.runs.insert(first, run.into_own_memory());
        Some(new_count)
    }

    /// Drops buffered runs, the last one first, until the dropped runs together had at least `missing_bytes`. Only runs
    /// that begin at `end` or later may be dropped. If all of these runs have fewer bytes, drops nothing, and returns
    /// `None`.
    fn make_room(&mut self, end: u64, mut missing_bytes: usize) -> Option<()> {
        let mut dropped = None;
        let mut later = self.runs.range(end..).rev();
        while missing_bytes > 0 {
            let (&first, run) = later.next()?;
            missing_bytes = missing_bytes.saturating_sub(cost_bytes(run));
            dropped = Some(first);
        }
        while let Some(first) = dropped
            && let Some((&last, _)) = self.runs.last_key_value()
            && last >= first
        {
            self.remove(last);
        }
        Some(())
    }

    /// A buffered run may begin before the new run, or end after it. Removes from the new run the records that it has
    /// in common with such a buffered run. Returns the rest and its first offset; `None` when no record is left.
    fn without_overlap(&self, first: u64, run: P) -> Option<(u64, P)> {
        let end = first + run.record_count();
        let before = self.runs.range(..=first).next_back();
        let begin = before.map_or(first, |(&known, run)| first.max(known + run.record_count()));
        let run = run.skip(begin - first)?;
        let after = self.runs.range(begin..end).next_back();
        match after.filter(|(known, run)| *known + run.record_count() >= end) {
            Some((&known, _)) => Some((begin, run.split(known - begin).0?)),
            None => Some((begin, run)),
        }
    }

    /// Removes the run that contains the record `next`, and returns its records from `next` on. Drops all records
    /// before `next`.
    pub fn take(&mut self, next: u64) -> Option<P> {
        while let Some((&first, _)) = self.runs.first_key_value()
            && first <= next
        {
            let run = self.remove(first).and_then(|run| run.skip(next - first));
            if run.is_some() {
                return run;
            }
        }
        None
    }

    /// Drops every record. Returns how many there were, and their memory.
    pub fn clear(&mut self) -> (u64, usize) {
        let dropped = (self.record_count, self.len_bytes);
        *self = ReorderBuffer::default();
        dropped
    }

    /// Returns the end of the range that a FETCH should request. `end` is one after the last record that is known to
    /// exist. The range covers the first gap. It also covers a later gap if all buffered records before that gap have
    /// at most `known_len_bytes` together and are in runs that begin before `limit`.
    pub fn end_of_gaps(&self, end: u64, known_len_bytes: u64, limit: u64) -> u64 {
        let Some((&first, _)) = self.runs.first_key_value() else { return end };
        let mut known_len_bytes = known_len_bytes;
        // The last gap so far ends before `gap_end`. The buffered records after this gap end before `known_end`.
        let (mut gap_end, mut known_end) = (first, first);
        for (&first, run) in &self.runs {
            if first > known_end {
                gap_end = first;
            }
            let len_bytes = run.len_bytes() as u64;
            if len_bytes > known_len_bytes || first >= limit {
                return gap_end;
            }
            (known_len_bytes, known_end) = (known_len_bytes - len_bytes, first + run.record_count());
        }
        if end > known_end { end } else { gap_end }
    }

    fn remove(&mut self, first: u64) -> Option<P> {
        let run = self.runs.remove(&first)?;
        self.record_count -= run.record_count();
        self.len_bytes -= cost_bytes(&run);
        Some(run)
    }
}

fn cost_bytes(run: &impl Payload) -> usize {
    run.len_bytes() + EARLY_OVERHEAD_BYTES
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ops::Range;

    type Run = Vec<Vec<u8>>;

    /// Inserts a run of records of one byte.
    fn insert(buffer: &mut ReorderBuffer<Run>, range: Range<u64>, room_bytes: usize) -> Option<u64> {
        buffer.insert(range.start, range.map(|offset| vec![offset as u8]).collect(), room_bytes)
    }

    fn ranges(buffer: &ReorderBuffer<Run>) -> Vec<Range<u64>> {
        buffer.runs.iter().map(|(&first, run)| first..first + run.record_count()).collect()
    }

    #[test]
    fn overlapping_runs_are_stored_once() {
        let mut buffer = ReorderBuffer::default();
        assert_eq!(insert(&mut buffer, 10..20, 1_000), Some(10));
        // Within a run, overlapping its beginning, and overlapping its end.
        assert_eq!(insert(&mut buffer, 12..15, 1_000), Some(0));
        assert_eq!(insert(&mut buffer, 5..12, 1_000), Some(5));
        assert_eq!(insert(&mut buffer, 18..25, 1_000), Some(5));
        assert_eq!(insert(&mut buffer, 5..25, 1_000), Some(0));
        assert_eq!(ranges(&buffer), [5..10, 10..20, 20..25]);
        assert_eq!((buffer.end(), buffer.len_bytes()), (Some(25), 20 + 3 * EARLY_OVERHEAD_BYTES));
        // A run replaces the runs within it.
        assert_eq!(insert(&mut buffer, 8..30, 1_000), Some(5));
        assert_eq!(ranges(&buffer), [5..10, 10..30]);
        assert_eq!(buffer.len_bytes(), 25 + 2 * EARLY_OVERHEAD_BYTES);
        assert_eq!(buffer.take(4), None);
        let taken = buffer.take(12).map(|run| run.concat());
        assert_eq!(taken, Some((12..30).collect()));
        assert_eq!((buffer.is_empty(), buffer.clear()), (true, (0, 0)));
    }

    #[test]
    fn a_run_replaces_the_records_within_it_only_when_it_fits() {
        let mut buffer = ReorderBuffer::default();
        for offset in (1..100).step_by(2) {
            assert_eq!(insert(&mut buffer, offset..offset + 1, 1_000), Some(1));
        }
        assert_eq!(insert(&mut buffer, 0..300, 0), Some(250));
        assert_eq!(
            (ranges(&buffer).first(), buffer.len_bytes()),
            (Some(&(0..300)), 300 + EARLY_OVERHEAD_BYTES)
        );
        assert_eq!(insert(&mut buffer, 400..401, 1_000), Some(1));
        assert_eq!(insert(&mut buffer, 401..500, 98), None);
        assert_eq!(insert(&mut buffer, 399..500, 100), Some(100));
        assert_eq!(ranges(&buffer), [0..300, 399..500]);
        // A later run is dropped for an earlier one.
        assert_eq!(insert(&mut buffer, 300..301, 0), Some(1));
        assert_eq!(ranges(&buffer), [0..300, 300..301]);
        // A run that does not fit anyway drops nothing.
        assert_eq!(insert(&mut buffer, 400..401, 1_000), Some(1));
        assert_eq!(insert(&mut buffer, 301..399, 90), None);
        assert_eq!(insert(&mut buffer, 301..399, 0), None);
        assert_eq!((ranges(&buffer).len(), buffer.clear().0), (3, 302));
    }
}
