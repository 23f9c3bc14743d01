//! When a producer that shares its address with another one may take a new one.
//!
//! Whoever claims that there is a twin may lie. Each new address costs: records are published again, and all peers learn
//! of a new node and a new partition. So a producer takes the first one at once, and later ones with exponential backoff.
//! A producer that is told to end takes one more without waiting: what it keeps is not proven to be stored before that.

/// The shortest time between the first two new addresses.
const FIRST_WAIT_MS: u64 = 10_000;
/// The longest one.
const MAX_WAIT_MS: u64 = 3_600_000;

/// When the next new address may be taken.
#[derive(Debug, Default)]
pub struct Renewals {
    /// The time between the last new address and the next one; 0 before the first.
    wait_ms: u64,
    last_ms: u64,
    /// The one that a producer takes when it is told to end was taken.
    was_last_taken: bool,
}

impl Renewals {
    /// There seems to be a twin. True when a new address may be taken, which counts as done then.
    pub fn may_renew(&mut self, now_ms: u64) -> bool {
        let calm_ms = now_ms.saturating_sub(self.last_ms);
        if self.wait_ms > 0 && calm_ms < self.wait_ms {
            return false;
        }
        self.take(now_ms);
        true
    }

    /// As [`Renewals::may_renew`], for a producer that was told to end: once the time since the last new address does not
    /// matter.
    pub fn may_renew_at_end(&mut self, now_ms: u64) -> bool {
        if self.may_renew(now_ms) {
            return true;
        }
        if std::mem::replace(&mut self.was_last_taken, true) {
            return false;
        }
        self.take(now_ms);
        true
    }

    /// The address that was allowed could not be taken, so it has cost the peers nothing: the next one may be taken after
    /// the shortest time.
    pub fn has_failed(&mut self) {
        self.wait_ms = FIRST_WAIT_MS;
    }

    fn take(&mut self, now_ms: u64) {
        let calm_ms = now_ms.saturating_sub(self.last_ms);
        let is_new = self.wait_ms == 0 || calm_ms >= 2 * MAX_WAIT_MS;
        self.wait_ms = if is_new { FIRST_WAIT_MS } else { (2 * self.wait_ms).min(MAX_WAIT_MS) };
        self.last_ms = now_ms;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn new_addresses_are_taken_with_exponential_backoff() {
        let mut renewals = Renewals::default();
        let renewed: Vec<u64> = (0..200_000).filter(|second| renewals.may_renew(second * 1_000)).collect();
        assert_eq!(renewed[..6], [0, 10, 30, 70, 150, 310]);
        let gaps: Vec<u64> = renewed.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert_eq!((gaps.iter().max(), gaps.last()), (Some(&3_600), Some(&3_600)));
        // After a long calm it begins anew.
        let calm_ms = 200_000_000 + 2 * MAX_WAIT_MS;
        assert_eq!([0, 9_999, 10_000].map(|ms| renewals.may_renew(calm_ms + ms)), [true, false, true]);
    }

    #[test]
    fn a_producer_that_ends_does_not_wait_once() {
        let mut renewals = Renewals::default();
        assert!(renewals.may_renew(0) && !renewals.may_renew(1_000));
        let renewed = [1_000, 1_001, 20_999, 21_000].map(|ms| renewals.may_renew_at_end(ms));
        assert_eq!(renewed, [true, false, false, true]);
        // One that could not be taken is tried again soon.
        renewals.has_failed();
        assert_eq!([30_999, 31_000].map(|ms| renewals.may_renew_at_end(ms)), [false, true]);
    }
}
