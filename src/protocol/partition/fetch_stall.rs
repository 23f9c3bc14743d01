//! Decides when to log that a partition stalls: all peers were asked for its next record for a while, and none has it.

/// How long all peers are asked for one record in vain before a line is logged.
pub const STALL_MS: u64 = 30_000;

/// The state of one partition.
#[derive(Debug, Default)]
pub struct FetchStallDetector {
    /// The record that all peers were asked for last, and since when.
    asked: Option<(u64, u64)>,
    /// The stall at that record was logged.
    is_told: bool,
}

impl FetchStallDetector {
    /// All peers are asked for the record `next`. True when the partition stalls there; once for each record.
    pub fn asked(&mut self, next: u64, now_ms: u64) -> bool {
        let since_ms = match self.asked {
            Some((record, since_ms)) if record == next => since_ms,
            _ => {
                (self.asked, self.is_told) = (Some((next, now_ms)), false);
                return false;
            }
        };
        let is_news = !self.is_told && now_ms >= since_ms + STALL_MS;
        self.is_told |= is_news;
        is_news
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_told_once_for_each_record_that_nobody_has() {
        let mut stall = FetchStallDetector::default();
        let mut told = |next, now_ms| stall.asked(next, now_ms);
        assert_eq!([0, 1_000, 29_999].map(|ms| told(5, ms)), [false; 3]);
        assert_eq!([30_000, 31_000, 90_000].map(|ms| told(5, ms)), [true, false, false]);
        // It went on, and stands still again.
        assert_eq!([91_000, 120_999, 121_000, 200_000].map(|ms| told(6, ms)), [false, false, true, false]);
    }
}
