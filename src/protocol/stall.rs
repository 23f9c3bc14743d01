//! Whether a partition stands still: its next record is missing, everybody was asked for it for a while, and nobody has it.

/// How long everybody is asked in vain for one record before that is worth a line in the log.
pub const STALL_MS: u64 = 30_000;

/// What is known of it, for one partition.
#[derive(Debug, Default)]
pub struct Stall {
    /// The record that everybody was asked for last, and since when.
    asked: Option<(u64, u64)>,
    /// It was told of that record.
    is_told: bool,
}

impl Stall {
    /// Everybody is asked for the record `next`. True when the partition stands still there; once for each record.
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
        let mut stall = Stall::default();
        let mut told = |next, now_ms| stall.asked(next, now_ms);
        assert_eq!([0, 1_000, 29_999].map(|ms| told(5, ms)), [false; 3]);
        assert_eq!([30_000, 31_000, 90_000].map(|ms| told(5, ms)), [true, false, false]);
        // It went on, and stands still again.
        assert_eq!([91_000, 120_999, 121_000, 200_000].map(|ms| told(6, ms)), [false, false, true, false]);
    }
}
