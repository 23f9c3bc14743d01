//! Decides when to log that no store acknowledges a producer's records.

/// After so long without an acknowledgement, while records wait for one, a line is logged.
pub const WAITING_MS: u64 = 30_000;
/// The shortest time between two such lines.
pub const AGAIN_MS: u64 = 60_000;

/// What to log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Records wait, and none of them was acknowledged lately.
    Waits {
        /// For how long the oldest record was the oldest one, in milliseconds.
        ms: u64,
    },
    /// The oldest record was acknowledged, after `Waits` was returned for it.
    GoesOn,
}

/// The state of one producer's records that wait for an acknowledgement.
#[derive(Debug, Default)]
pub struct AckStallDetector {
    /// The oldest record that waits, and since when it is the oldest one.
    oldest: Option<(u64, u64)>,
    /// [`Change::Waits`] was returned for it.
    is_told: bool,
    /// The earliest time of the next [`Change::Waits`].
    next_ms: u64,
}

impl AckStallDetector {
    /// Returns what to log, if anything. `oldest` is the offset of the oldest record that waits now, or `None`. To be called at
    /// least once a second while records wait.
    pub fn look(&mut self, oldest: Option<u64>, now_ms: u64) -> Option<Change> {
        let known = self.oldest.map(|(record, _)| record);
        if known != oldest {
            self.oldest = oldest.map(|record| (record, now_ms));
            let was_told = std::mem::take(&mut self.is_told);
            return was_told.then_some(Change::GoesOn);
        }
        let (_, since_ms) = self.oldest?;
        let ms = now_ms.saturating_sub(since_ms);
        if ms < WAITING_MS || now_ms < self.next_ms {
            return None;
        }
        (self.is_told, self.next_ms) = (true, now_ms + AGAIN_MS);
        Some(Change::Waits { ms })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_told_once_a_minute_and_when_it_goes_on() {
        let mut waiting = AckStallDetector::default();
        let mut told: Vec<(u64, Change)> = Vec::new();
        for second in 0..200 {
            // The record 3 waits from 10 s on, until 150 s.
            let oldest = match second {
                0..10 => Some(second / 4),
                10..150 => Some(3),
                _ => None,
            };
            told.extend(waiting.look(oldest, second * 1_000).map(|news| (second, news)));
        }
        let waits = |second| (second, Change::Waits { ms: (second - 10) * 1_000 });
        assert_eq!(told, [waits(40), waits(100), (150, Change::GoesOn)]);
        // Not twice within a minute, also when it went on meanwhile.
        let mut waiting = AckStallDetector { next_ms: 60_000, ..AckStallDetector::default() };
        let told: Vec<u64> =
            (0..100).filter(|second| waiting.look(Some(0), second * 1_000).is_some()).collect();
        assert_eq!(told, [60]);
    }
}
