//! Decides when a producer with a twin may take a new address.
//!
//! A peer that reports a twin may lie, and each new address has a cost: the producer publishes its records again, and
//! all peers get a new node and a new partition. So the producer takes its first new address at once, and later ones
//! with exponential backoff. A producer that is ending may take one more new address at once, and each further one
//! after at most 20 s. The reason is that its owner waits until it is proven that the records are stored. If a twin
//! uses the same address, an ACK proves nothing, because it may be for a record of the twin.

/// The time between the first and the second new address.
const FIRST_WAIT_MS: u64 = 10_000;
/// The longest time between two new addresses: usually, and for a producer that is ending.
const MAX_WAIT_MS: u64 = 3_600_000;
const MAX_WAIT_AT_END_MS: u64 = 20_000;

/// Whether a new address is needed, and when it may be taken.
#[derive(Debug, Default)]
pub struct Renewals {
    /// The time between the last new address and the next one; 0 before the first one.
    wait_ms: u64,
    last_ms: u64,
    /// Whether an ending producer has already taken its one new address without a wait.
    was_last_taken: bool,
    /// Why the current address must be replaced; `None` if it need not be replaced.
    deferred: Option<String>,
}

/// What to do about a twin, and why a twin is suspected.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// Take a new address now.
    Renew(String),
    /// Keep the current address for now. Do not drop acknowledged records: they may have to be published again under a
    /// new address.
    Wait(String),
}

impl Renewals {
    /// Returns what to do now. `news` is a new reason to suspect a twin, if any. `is_ending`: the producer is ending
    /// and still has records that are unacknowledged or whose ACK may be for a twin's record.
    pub fn poll_step(&mut self, news: Option<String>, is_ending: bool, now_ms: u64) -> Option<Step> {
        // If a new address is taken now, the deferred reason is dropped, because it is about the current address.
        // Otherwise the reason is stored again below.
        let deferred = self.deferred.take();
        let why = news.or(deferred)?;
        let is_allowed = if is_ending { self.try_renew_at_end(now_ms) } else { self.try_renew(now_ms) };
        if is_allowed {
            return Some(Step::Renew(why));
        }
        self.deferred = Some(why.clone());
        Some(Step::Wait(why))
    }

    /// When [`Renewals::poll_step`] must be called next, because a deferred new address may be taken then.
    pub fn due_ms(&self, is_ending: bool) -> Option<u64> {
        let wait_ms = if is_ending { self.wait_ms.min(MAX_WAIT_AT_END_MS) } else { self.wait_ms };
        self.is_deferred().then(|| self.last_ms.saturating_add(wait_ms))
    }

    /// True while the current address must be replaced.
    pub fn is_deferred(&self) -> bool {
        self.deferred.is_some()
    }

    /// The new address could not be taken. The attempt has cost the peers nothing, so the next attempt may follow after
    /// the shortest wait.
    pub fn handle_failure(&mut self, why: String) {
        self.wait_ms = FIRST_WAIT_MS;
        self.deferred = Some(why);
    }

    fn try_renew(&mut self, now_ms: u64) -> bool {
        self.try_renew_after(self.wait_ms, now_ms)
    }

    /// Lets an ending producer take one new address without a wait. After that, the wait is at most 20 s.
    fn try_renew_at_end(&mut self, now_ms: u64) -> bool {
        if self.try_renew_after(self.wait_ms.min(MAX_WAIT_AT_END_MS), now_ms) {
            return true;
        }
        let was_last_taken = std::mem::replace(&mut self.was_last_taken, true);
        !was_last_taken && self.try_renew_after(0, now_ms)
    }

    fn try_renew_after(&mut self, wait_ms: u64, now_ms: u64) -> bool {
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
        let renewed: Vec<u64> = (0..200_000).filter(|second| renewals.try_renew(second * 1_000)).collect();
        assert_eq!(renewed[..6], [0, 10, 30, 70, 150, 310]);
        let gaps: Vec<u64> = renewed.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert_eq!((gaps.iter().max(), gaps.last()), (Some(&3_600), Some(&3_600)));
        // After a long time without a twin, the backoff starts over.
        let calm_ms = 200_000_000 + 2 * MAX_WAIT_MS;
        assert_eq!([0, 9_999, 10_000].map(|ms| renewals.try_renew(calm_ms + ms)), [true, false, true]);
    }

    #[test]
    fn an_ending_producer_takes_one_new_address_at_once() {
        let mut renewals = Renewals::default();
        assert!(renewals.try_renew(0) && !renewals.try_renew(1_000));
        let renewed = [1_000, 1_001, 20_999, 21_000, 40_999, 41_000].map(|ms| renewals.try_renew_at_end(ms));
        assert_eq!(renewed, [true, false, false, true, false, true]);
        // If a new address could not be taken, the next one may be taken soon.
        renewals.handle_failure("twin".into());
        assert_eq!(renewals.due_ms(true), Some(51_000));
        assert_eq!([50_999, 51_000].map(|ms| renewals.try_renew_at_end(ms)), [false, true]);
    }

    #[test]
    fn a_twin_of_an_earlier_address_is_no_reason_to_take_another_one() {
        let (renew, wait) =
            (|why: &str| Some(Step::Renew(why.into())), |why: &str| Some(Step::Wait(why.into())));
        let mut renewals = Renewals::default();
        let mut look =
            |news: Option<&str>, now_ms| renewals.poll_step(news.map(str::to_owned), false, now_ms);
        assert_eq!(look(None, 0), None);
        assert_eq!(look(Some("first"), 0), renew("first"));
        assert_eq!(look(Some("second"), 9_999), wait("second"));
        // The new reason replaces the deferred one, which is about the same address. So only one new address is taken.
        assert_eq!(look(Some("third"), 10_000), renew("third"));
        assert_eq!([look(None, 10_001), look(None, 40_000)], [None, None]);
        assert_eq!([look(Some("fourth"), 20_000), look(None, 29_999)], [wait("fourth"), wait("fourth")]);
        assert_eq!(look(None, 30_000), renew("fourth"));
    }
}
