//! Decides when a named producer may publish new records.
//!
//! A named producer continues the partition of its outbox. If the outbox was copied, another producer may write the
//! same partition. If the outbox was restored from a backup, stores may have records that it lacks. So a producer that
//! continues a partition publishes no new records until enough stores have confirmed where the partition ends, and until
//! no tower announces another producer with the same address. If another producer is announced during this wait, it was
//! there first, and this producer must end. If another producer is announced later, and does not end soon, both wait.
//!
//! A producer that starts listens for a little longer than another one's `beacon/interval`, also if enough stores have
//! confirmed its position before.
//!
//! A tower may deliver old beacons of a producer that has just been killed. So another producer only counts as alive when
//! its beacons come for some time from the same endpoint. A producer that is restarted again and again, and refused each
//! time, has another endpoint each time. It does not stop the producer that was there first.

/// How a producer with a guard starts, and how nodes announce themselves.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    /// How many stores must confirm the position.
    pub start_stores: usize,
    /// After this time without enough confirmations, the producer fails, but not before it has listened for other
    /// producers. `None`: it waits without limit.
    pub start_timeout_ms: Option<u64>,
    /// The time between two beacons of a node.
    pub beacon_interval_ms: u64,
    /// A node that sends no beacon for this time is gone.
    pub beacon_timeout_ms: u64,
}

/// What to do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Publish new records from now on.
    Release,
    /// Another producer with the same address is alive. Publish no further new records for now.
    Hold,
    /// Another producer with the same address is alive. It was there first, so this producer must end.
    Refuse,
    /// Not enough stores have confirmed the position in time.
    TimeOut,
}

/// Another producer that starts must be announced for at least this time.
const MIN_REFUSE_MS: u64 = 500;

/// The limit of endpoints that are distinguished. At the limit, the endpoint that was announced last gives way: beacons
/// from many endpoints may be forged, and the first one may be real.
const MAX_SIGHTINGS: usize = 16;

/// The beacons of another producer with the same address.
#[derive(Clone, Debug)]
struct Sighting {
    endpoint: Box<str>,
    first_ms: u64,
    last_ms: u64,
}

impl Sighting {
    fn lasts_ms(&self) -> u64 {
        self.last_ms - self.first_ms
    }
}

/// The state of a named producer.
#[derive(Debug)]
pub struct Guard {
    terms: Terms,
    started_ms: u64,
    /// New records were published.
    has_released: bool,
    /// New records wait.
    is_holding: bool,
    /// The time to listen for other producers is over.
    has_listened: bool,
    /// The endpoints at which other producers were announced lately.
    twins: Vec<Sighting>,
}

impl Guard {
    /// The guard of a producer that starts now. `is_first`: no records of the partition exist, so none can be unknown.
    pub fn new(terms: Terms, is_first: bool, now_ms: u64) -> Guard {
        Guard {
            terms,
            started_ms: now_ms,
            has_released: is_first,
            is_holding: !is_first,
            has_listened: is_first,
            twins: Vec::new(),
        }
    }

    /// True until new records are published for the first time.
    pub fn is_starting(&self) -> bool {
        !self.has_released
    }

    /// True while new records wait.
    pub fn is_holding(&self) -> bool {
        self.is_holding
    }

    /// A tower has announced another node with the producer's address.
    pub fn handle_twin(&mut self, endpoint: &str, now_ms: u64) {
        self.forget_twins(now_ms);
        match self.twins.iter_mut().find(|twin| &*twin.endpoint == endpoint) {
            Some(twin) => twin.last_ms = now_ms,
            None => {
                self.twins.truncate(MAX_SIGHTINGS - 1);
                self.twins.push(Sighting { endpoint: endpoint.into(), first_ms: now_ms, last_ms: now_ms });
            }
        }
    }

    /// Returns what to do now, if anything has changed. `confirmations` is the number of stores that have confirmed the
    /// position since the producer began to hold records back.
    pub fn poll_step(&mut self, confirmations: usize, now_ms: u64) -> Option<Step> {
        self.forget_twins(now_ms);
        self.has_listened |= now_ms >= self.listened_ms();
        let is_starting = self.is_starting();
        let is_silent =
            if is_starting { self.twins.is_empty() } else { !self.has_twin_for(self.silence_ms()) };
        let step = if is_starting && self.has_twin_for(self.refuse_ms()) {
            Step::Refuse
        } else if !self.is_holding && !is_silent {
            Step::Hold
        } else if self.is_holding
            && is_silent
            && self.has_listened
            && confirmations >= self.terms.start_stores
        {
            Step::Release
        } else if is_starting && self.start_end_ms().is_some_and(|end_ms| now_ms >= end_ms) {
            Step::TimeOut
        } else {
            return None;
        };
        match step {
            Step::Release => (self.has_released, self.is_holding) = (true, false),
            Step::Hold => self.is_holding = true,
            Step::Refuse | Step::TimeOut => {}
        }
        Some(step)
    }

    /// When [`Guard::poll_step`] must be called next, even if nothing happens.
    pub fn due_ms(&self) -> Option<u64> {
        let twin_ms = self.twins.iter().map(|twin| twin.last_ms + self.silence_ms()).min();
        let listened_ms = (!self.has_listened).then(|| self.listened_ms());
        let start_ms = self.start_end_ms().filter(|_| self.is_starting());
        // Not `flatten`: with several items, the compiler compares also absent times, which valgrind reports.
        let due = [twin_ms, listened_ms, start_ms].map(|due_ms| due_ms.unwrap_or(u64::MAX));
        due.into_iter().min().filter(|&due_ms| due_ms < u64::MAX)
    }

    /// Until then, every other producer with the same address has been announced.
    fn listened_ms(&self) -> u64 {
        self.started_ms + self.terms.beacon_interval_ms * 3 / 2
    }

    fn start_end_ms(&self) -> Option<u64> {
        let end_ms = |timeout_ms| self.started_ms.saturating_add(timeout_ms).max(self.listened_ms() + 1);
        self.terms.start_timeout_ms.map(end_ms)
    }

    /// A producer that is announced no more for this time is gone.
    fn silence_ms(&self) -> u64 {
        self.terms.beacon_timeout_ms.max(3 * self.terms.beacon_interval_ms)
    }

    /// When another producer has been announced for this time, this one does not start.
    fn refuse_ms(&self) -> u64 {
        (self.terms.beacon_interval_ms * 3 / 2).max(MIN_REFUSE_MS)
    }

    /// Whether another producer is announced, and was announced that long ago.
    fn has_twin_for(&self, ms: u64) -> bool {
        self.twins.iter().any(|twin| twin.lasts_ms() >= ms)
    }

    fn forget_twins(&mut self, now_ms: u64) {
        let silence_ms = self.silence_ms();
        self.twins.retain(|twin| now_ms < twin.last_ms + silence_ms);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guard(start_stores: usize, start_timeout_ms: Option<u64>) -> Guard {
        let terms =
            Terms { start_stores, start_timeout_ms, beacon_interval_ms: 1_000, beacon_timeout_ms: 4_000 };
        Guard::new(terms, false, 10_000)
    }

    #[test]
    fn a_start_waits_for_enough_stores_or_fails_after_a_timeout() {
        let mut waiting = guard(2, None);
        assert_eq!((waiting.poll_step(1, 10_000), waiting.due_ms()), (None, Some(11_500)));
        assert_eq!((waiting.poll_step(1, 500_000), waiting.due_ms()), (None, None));
        assert!(waiting.is_starting() && waiting.is_holding());
        assert_eq!(waiting.poll_step(2, 500_001), Some(Step::Release));
        assert!(!waiting.is_starting() && !waiting.is_holding());
        assert_eq!(waiting.poll_step(0, 500_002), None);
        let mut failing = guard(1, Some(3_000));
        assert_eq!((failing.poll_step(0, 12_999), failing.due_ms()), (None, Some(13_000)));
        assert_eq!(failing.poll_step(0, 13_000), Some(Step::TimeOut));
        // Even if a store has confirmed the position, the producer listens for other producers first.
        let mut listening = guard(0, Some(0));
        assert_eq!(
            (listening.poll_step(0, 11_499), listening.poll_step(0, 11_500)),
            (None, Some(Step::Release))
        );
        let mut first = Guard::new(guard(1, Some(0)).terms, true, 10_000);
        assert_eq!((first.poll_step(0, 90_000), first.is_starting(), first.due_ms()), (None, false, None));
    }

    #[test]
    fn a_start_is_refused_while_another_producer_is_announced() {
        let mut refused = guard(1, None);
        refused.handle_twin("tcp://a:1", 10_100);
        // These may be old beacons of producers that were killed.
        refused.handle_twin("tcp://a:1", 11_500);
        refused.handle_twin("tcp://a:2", 11_600);
        assert_eq!((refused.poll_step(1, 11_600), refused.due_ms()), (None, Some(15_500)));
        refused.handle_twin("tcp://a:1", 11_700);
        assert_eq!(refused.poll_step(1, 11_700), Some(Step::Refuse));
        let mut old = guard(1, None);
        old.handle_twin("tcp://a:1", 10_100);
        assert_eq!((old.poll_step(1, 14_099), old.due_ms()), (None, Some(14_100)));
        assert_eq!(old.poll_step(1, 14_100), Some(Step::Release));
    }

    #[test]
    fn beacons_that_come_seldom_or_late_are_interpreted_correctly() {
        // The timeout is shorter than the interval.
        let with = |beacon_interval_ms, beacon_timeout_ms| {
            let terms = Terms { beacon_interval_ms, beacon_timeout_ms, ..guard(1, None).terms };
            Guard::new(terms, false, 10_000)
        };
        let mut seldom = with(4_000, 1_000);
        let steps = [10_000, 14_000, 18_000].map(|ms| {
            seldom.handle_twin("tcp://a:1", ms);
            seldom.poll_step(1, ms)
        });
        assert_eq!(steps, [None, None, Some(Step::Refuse)]);
        let mut released = with(4_000, 1_000);
        assert_eq!(released.poll_step(1, 16_000), Some(Step::Release));
        let steps = [20_000, 24_000, 28_000, 32_000].map(|ms| {
            released.handle_twin("tcp://a:1", ms);
            released.poll_step(1, ms)
        });
        assert_eq!(steps, [None, None, None, Some(Step::Hold)]);
        // A tower delivers old beacons late.
        let mut late = with(100, 1_000);
        [10_010, 10_450].into_iter().for_each(|ms| late.handle_twin("tcp://a:1", ms));
        assert_eq!((late.poll_step(1, 10_450), late.poll_step(1, 11_450)), (None, Some(Step::Release)));
    }

    #[test]
    fn records_wait_while_another_producer_stays() {
        let mut guard = guard(1, Some(3_000));
        assert_eq!(guard.poll_step(1, 11_500), Some(Step::Release));
        // A copy that is refused and restarted again and again does not stop this producer.
        for (start, ms) in (20_000..60_000).step_by(1_000).enumerate() {
            guard.handle_twin(&format!("tcp://a:{}", start / 3), ms);
            assert_eq!(guard.poll_step(0, ms), None);
        }
        let steps = [70_000, 71_000, 72_000, 73_000, 74_000, 75_000].map(|ms| {
            guard.handle_twin("tcp://b:1", ms);
            guard.poll_step(0, ms)
        });
        assert_eq!(steps, [None, None, None, None, Some(Step::Hold), None]);
        // When the other one is gone, a store must confirm the position again. There is no timeout.
        assert_eq!((guard.poll_step(1, 78_999), guard.poll_step(0, 79_000)), (None, None));
        assert_eq!((guard.due_ms(), guard.poll_step(1, 90_000)), (None, Some(Step::Release)));
    }
}
