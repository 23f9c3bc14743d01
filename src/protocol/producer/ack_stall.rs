//! Decides when to log that too few stores acknowledge a producer's records.

/// A stall is reported when the same record has been the oldest unacknowledged one for this time.
pub const STALL_MS: u64 = 30_000;
/// The shortest time between two reports.
pub const REPORT_INTERVAL_MS: u64 = 60_000;

/// A report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Records are unacknowledged, and the oldest of them has been the oldest for at least [`STALL_MS`].
    Stalled {
        /// How long the same record has been the oldest unacknowledged one, in milliseconds.
        ms: u64,
    },
    /// The oldest record was acknowledged, after `Stalled` was returned for it.
    Resumed,
}

/// The unacknowledged records of one producer.
#[derive(Debug, Default)]
pub struct AckStallDetector {
    /// The oldest unacknowledged record, and since when it is the oldest one.
    oldest: Option<(u64, u64)>,
    /// Whether [`Change::Stalled`] was returned for this record.
    is_reported: bool,
    /// The earliest time of the next [`Change::Stalled`].
    next_ms: u64,
}

impl AckStallDetector {
    /// Returns a report, if one is due. `oldest` is the offset of the oldest unacknowledged record, if any. To be
    /// called at least once a second while records are unacknowledged.
    pub fn poll_change(&mut self, oldest: Option<u64>, now_ms: u64) -> Option<Change> {
        let known = self.oldest.map(|(record, _)| record);
        if known != oldest {
            self.oldest = oldest.map(|record| (record, now_ms));
            let was_reported = std::mem::take(&mut self.is_reported);
            return was_reported.then_some(Change::Resumed);
        }
        let (_, since_ms) = self.oldest?;
        let ms = now_ms.saturating_sub(since_ms);
        if ms < STALL_MS || now_ms < self.next_ms {
            return None;
        }
        (self.is_reported, self.next_ms) = (true, now_ms + REPORT_INTERVAL_MS);
        Some(Change::Stalled { ms })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stall_is_reported_once_a_minute_and_so_is_its_end() {
        let mut stall = AckStallDetector::default();
        let mut reported: Vec<(u64, Change)> = Vec::new();
        for second in 0..200 {
            // Record 3 is unacknowledged from 10 s to 150 s.
            let oldest = match second {
                0..10 => Some(second / 4),
                10..150 => Some(3),
                _ => None,
            };
            reported.extend(stall.poll_change(oldest, second * 1_000).map(|change| (second, change)));
        }
        let waits = |second| (second, Change::Stalled { ms: (second - 10) * 1_000 });
        assert_eq!(reported, [waits(40), waits(100), (150, Change::Resumed)]);
        // There are no two reports within a minute, even if there was an ACK in between.
        let mut stall = AckStallDetector { next_ms: 60_000, ..AckStallDetector::default() };
        let reported: Vec<u64> =
            (0..100).filter(|second| stall.poll_change(Some(0), second * 1_000).is_some()).collect();
        assert_eq!(reported, [60]);
    }
}
