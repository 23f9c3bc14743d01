//! Detects that a partition stalls: all peers were asked for its next record, and none has sent it.

/// A stall is reported when a record was first requested from all peers this long ago, and is requested from them
/// again.
pub const STALL_MS: u64 = 30_000;

/// The stall of one partition.
#[derive(Debug, Default)]
pub struct FetchStallDetector {
    /// The record that was last requested from all peers, and when it was first requested from all peers.
    asked: Option<(u64, u64)>,
    /// Whether the stall at that record was reported.
    is_reported: bool,
}

impl FetchStallDetector {
    /// The record `next` is requested from all peers. Returns true when the partition stalls at this record, once for
    /// each record.
    pub fn poll_stall(&mut self, next: u64, now_ms: u64) -> bool {
        let since_ms = match self.asked {
            Some((record, since_ms)) if record == next => since_ms,
            _ => {
                (self.asked, self.is_reported) = (Some((next, now_ms)), false);
                return false;
            }
        };
        let is_due = !self.is_reported && now_ms >= since_ms + STALL_MS;
        self.is_reported |= is_due;
        is_due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stall_is_reported_once_for_each_record() {
        let mut stall = FetchStallDetector::default();
        let mut reported = |next, now_ms| stall.poll_stall(next, now_ms);
        assert_eq!([0, 1_000, 29_999].map(|ms| reported(5, ms)), [false; 3]);
        assert_eq!([30_000, 31_000, 90_000].map(|ms| reported(5, ms)), [true, false, false]);
        // The partition continued, and stalls again.
        assert_eq!(
            [91_000, 120_999, 121_000, 200_000].map(|ms| reported(6, ms)),
            [false, false, true, false]
        );
    }
}
