//! Finds the first record of a partition that was published at a given time or later.
//!
//! The search requests single records. Their timestamps narrow the range in which the searched record is: first the last
//! known record, because most partitions ended before that time or are still written; then the first record, because
//! many partitions are short; then the record in the middle of the range. A record without a timestamp counts as late
//! enough, so that the search skips no such record. If timestamps do not ascend, the search finds some record that is
//! late enough, and whose predecessor is too early.
//!
//! It may be that no peer sends a requested record. A store has the first records of a partition, and a producer has
//! the last ones. So the records that no reachable peer has are consecutive. The search takes all records between two
//! missing ones for missing. It continues with the records after them, and then with those before them. If that does
//! not decide, it waits for the first missing record.

use crate::protocol::Payload;
use std::ops::Range;

/// A search in one partition. In all methods, the records before `next` are too early.
#[derive(Clone, Debug)]
pub struct Search {
    /// The time in milliseconds since the Unix epoch.
    since_ms: i64,
    /// The lowest record that is known to be late enough. The search regards all records after it as late enough.
    late: Option<u64>,
    /// The records that no reachable peer seems to have.
    missing: Range<u64>,
}

impl Search {
    /// Returns a search for the first record that was published at `since_ms` or later, in milliseconds since the Unix
    /// epoch.
    pub fn new(since_ms: i64) -> Search {
        Search { since_ms, late: None, missing: 0..0 }
    }

    /// The record to request next. `end` is one after the last known record. `None` when all known records are too
    /// early.
    pub fn wanted(&self, next: u64, end: u64) -> Option<u64> {
        let end = self.late.unwrap_or(end);
        if next >= end {
            return None;
        }
        if self.late.is_none() && !self.missing.contains(&(end - 1)) {
            return Some(end - 1);
        }
        if next == 0 && !self.missing.contains(&0) {
            return Some(0);
        }
        let (before, after) = (next..self.missing.start.max(next), self.missing.end.max(next)..end);
        let part = match (before.is_empty(), after.is_empty()) {
            _ if self.missing.end <= next || self.missing.start >= end => next..end,
            (_, false) => after,
            (false, true) => before,
            (true, true) => return Some(next),
        };
        Some(part.start + (part.end - part.start) / 2)
    }

    /// Whether the search depends on a record.
    pub fn needs(&self, offset: u64, next: u64, end: u64) -> bool {
        (next..self.late.unwrap_or(end)).contains(&offset)
    }

    /// Whether any record counts as missing.
    pub fn has_missing(&self) -> bool {
        !self.missing.is_empty()
    }

    /// Whether a record counts as missing.
    pub fn is_missing(&self, offset: u64) -> bool {
        self.missing.contains(&offset)
    }

    /// No peer has sent the requested record `offset`.
    pub fn give_up(&mut self, offset: u64, next: u64) {
        let Range { start, end } = self.missing;
        self.missing = match start == end || end <= next {
            true => offset..offset + 1,
            false => start.min(offset)..end.max(offset + 1),
        };
    }

    /// Forgets which records are missing.
    pub fn ask_again(&mut self) {
        self.missing = 0..0;
    }

    /// A run has arrived, whose first record is `first`. Returns the lowest record that is not known to be too early.
    pub fn narrow<P: Payload>(&mut self, next: u64, first: u64, run: &P) -> u64 {
        let end = first.saturating_add(run.record_count());
        let (from, to) = (first.max(next), self.late.map_or(end, |late| end.min(late)));
        if from >= to {
            return next;
        }
        if from < self.missing.end && self.missing.start < to {
            self.ask_again();
        }
        let is_early = |offset| run.timestamp_ms(offset - first).is_some_and(|ms| ms < self.since_ms);
        if !is_early(from) {
            self.late = Some(from);
            return next;
        }
        if is_early(to - 1) {
            return to;
        }
        let (mut early, mut late) = (from, to - 1);
        while late - early > 1 {
            let middle = early + (late - early) / 2;
            *(if is_early(middle) { &mut early } else { &mut late }) = middle;
        }
        self.late = Some(late);
        late
    }

    /// Whether `next` is the searched record.
    pub fn is_found(&self, next: u64) -> bool {
        self.late.is_some_and(|late| late <= next)
    }
}
