//! When a producer that shares its address with another one may take a new one.
//!
//! Whoever claims that there is a twin may lie. Each new address costs: records are published again, and all peers learn
//! of a new node and a new partition. So a producer takes the first one at once, and later ones with exponential backoff.

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
}

impl Renewals {
    /// There seems to be a twin. True when a new address may be taken, which counts as done then.
    pub fn may_renew(&mut self, now_ms: u64) -> bool {
        let calm_ms = now_ms.saturating_sub(self.last_ms);
        if self.wait_ms > 0 && calm_ms < self.wait_ms {
            return false;
        }
        let is_new = self.wait_ms == 0 || calm_ms >= 2 * MAX_WAIT_MS;
        self.wait_ms = if is_new { FIRST_WAIT_MS } else { (2 * self.wait_ms).min(MAX_WAIT_MS) };
        self.last_ms = now_ms;
        true
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
}
