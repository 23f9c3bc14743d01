//! The lines about the progress of a producer.

use std::time::{Duration, Instant};

/// The time between two lines.
const INTERVAL: Duration = Duration::from_secs(1);

/// What a producer has done so far.
#[derive(Clone, Copy, Default)]
pub(super) struct Counts {
    /// Records that the program handed to the producer.
    pub(super) records: u64,
    /// The bytes of their keys and contents.
    pub(super) bytes: u64,
    /// The number of these records that not enough stores have acknowledged.
    pub(super) unacknowledged: u64,
}

/// Decides when a line is due.
pub(super) struct Progress {
    last: Instant,
    last_counts: Counts,
}

impl Progress {
    pub(super) fn new(now: Instant) -> Progress {
        Progress { last: now, last_counts: Counts::default() }
    }

    /// How long to wait for the next line.
    pub(super) fn due_in(&self, now: Instant) -> Duration {
        (self.last + INTERVAL).saturating_duration_since(now)
    }

    /// The line that is due now, if any. Its rates are those since the last line.
    pub(super) fn poll_line(&mut self, now: Instant, counts: impl FnOnce() -> Counts) -> Option<String> {
        let elapsed = now.saturating_duration_since(self.last);
        if elapsed < INTERVAL {
            return None;
        }
        let (counts, before) = (counts(), self.last_counts);
        let line = line(counts, counts.records - before.records, counts.bytes - before.bytes, elapsed);
        (self.last, self.last_counts) = (now, counts);
        Some(line)
    }
}

/// The last line, about the whole time.
pub(super) fn total(counts: Counts, elapsed: Duration) -> String {
    line(counts, counts.records, counts.bytes, elapsed)
}

/// A line with the rates of the records and bytes of some time.
fn line(counts: Counts, new_records: u64, new_bytes: u64, elapsed: Duration) -> String {
    let Counts { records, bytes, unacknowledged } = counts;
    let per_second = |count: u64| count as f64 / elapsed.as_secs_f64().max(1e-9);
    let (record_rate, byte_rate) = (per_second(new_records), per_second(new_bytes));
    format!(
        "{records} records, {bytes} bytes, {record_rate:.0} records/s, {byte_rate:.0} bytes/s, \
         {unacknowledged} unacknowledged"
    )
}
