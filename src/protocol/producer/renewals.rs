//! Decides when a producer that shares its address with another one may take a new address.
//!
//! A peer that reports such a twin may lie, and each new address has a cost: the producer publishes its records again,
//! and all peers learn a new node and a new partition. So the producer takes the first new address at once, and later
//! ones with exponential backoff. A producer that ends takes one more at once and further ones soon: until then its
//! records are not proven to be stored, and its owner waits.

/// The shortest time between the first two new addresses.
const FIRST_WAIT_MS: u64 = 10_000;
/// The longest one, and the longest one of a producer that was told to end.
const MAX_WAIT_MS: u64 = 3_600_000;
const MAX_WAIT_AT_END_MS: u64 = 20_000;

/// When the next new address may be taken, and whether one is wanted.
#[derive(Debug, Default)]
pub struct Renewals {
    /// The time between the last new address and the next one; 0 before the first.
    wait_ms: u64,
    last_ms: u64,
    /// The one that a producer takes when it is told to end was taken.
    was_last_taken: bool,
    /// Why the address that the producer has now has to be given up.
    deferred: Option<String>,
}

/// What to do about a twin, and what shows that there is one.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// Take a new address now.
    Renew(String),
    /// Keep this one for now, and what is acknowledged to it.
    Wait(String),
}

impl Renewals {
    /// What to do now: there may be `news` of a twin, or there were some. `is_ending`: the producer was told to end, and
    /// keeps records.
    pub fn look(&mut self, news: Option<String>, is_ending: bool, now_ms: u64) -> Option<Step> {
        // Taken in any case: it is about the address that the producer has now.
        let deferred = self.deferred.take();
        let why = news.or(deferred)?;
        let may_renew = if is_ending { self.may_renew_at_end(now_ms) } else { self.may_renew(now_ms) };
        if may_renew {
            return Some(Step::Renew(why));
        }
        self.deferred = Some(why.clone());
        Some(Step::Wait(why))
    }

    /// True while an address has to be given up.
    pub fn is_deferred(&self) -> bool {
        self.deferred.is_some()
    }

    /// The address that was allowed could not be taken, so it has cost the peers nothing: the next one may be taken after
    /// the shortest time.
    pub fn has_failed(&mut self, why: String) {
        self.wait_ms = FIRST_WAIT_MS;
        self.deferred = Some(why);
    }

    fn may_renew(&mut self, now_ms: u64) -> bool {
        self.may_renew_after(self.wait_ms, now_ms)
    }

    /// Once the time since the last new address does not matter, and then it is 20 s at most.
    fn may_renew_at_end(&mut self, now_ms: u64) -> bool {
        if self.may_renew_after(self.wait_ms.min(MAX_WAIT_AT_END_MS), now_ms) {
            return true;
        }
        let was_last_taken = std::mem::replace(&mut self.was_last_taken, true);
        !was_last_taken && self.may_renew_after(0, now_ms)
    }

    fn may_renew_after(&mut self, wait_ms: u64, now_ms: u64) -> bool {
        let is_allowed = wait_ms == 0 || now_ms.saturating_sub(self.last_ms) >= wait_ms;
        if is_allowed {
            self.take(now_ms);
        }
        is_allowed
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
        let renewed = [1_000, 1_001, 20_999, 21_000, 40_999, 41_000].map(|ms| renewals.may_renew_at_end(ms));
        assert_eq!(renewed, [true, false, false, true, false, true]);
        // One that could not be taken is tried again soon.
        renewals.has_failed("twin".into());
        assert_eq!([50_999, 51_000].map(|ms| renewals.may_renew_at_end(ms)), [false, true]);
    }

    #[test]
    fn a_twin_of_an_earlier_address_is_no_reason_to_take_another_one() {
        let (renew, wait) =
            (|why: &str| Some(Step::Renew(why.into())), |why: &str| Some(Step::Wait(why.into())));
        let mut renewals = Renewals::default();
        let mut look = |news: Option<&str>, now_ms| renewals.look(news.map(str::to_owned), false, now_ms);
        assert_eq!(look(None, 0), None);
        assert_eq!(look(Some("first"), 0), renew("first"));
        assert_eq!(look(Some("second"), 9_999), wait("second"));
        // News that come when it is time are news of the same address.
        assert_eq!(look(Some("third"), 10_000), renew("third"));
        assert_eq!([look(None, 10_001), look(None, 40_000)], [None, None]);
        assert_eq!([look(Some("fourth"), 20_000), look(None, 29_999)], [wait("fourth"), wait("fourth")]);
        assert_eq!(look(None, 30_000), renew("fourth"));
    }
}
