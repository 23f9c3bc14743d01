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
//! A tower may deliver an old beacon of a producer that has just been killed. So one beacon does not prove that another
//! producer is alive: there must be a second one, some time after the first.

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

/// The beacons of another producer with the same address.
#[derive(Clone, Copy, Debug)]
struct Sighting {
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
    twin: Option<Sighting>,
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
            twin: None,
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
    pub fn handle_twin(&mut self, now_ms: u64) {
        self.forget_twin(now_ms);
        self.twin.get_or_insert(Sighting { first_ms: now_ms, last_ms: now_ms }).last_ms = now_ms;
    }

    /// Returns what to do now, if anything has changed. `confirmations` is the number of stores that have confirmed the
    /// position since the producer began to hold records back.
    pub fn poll_step(&mut self, confirmations: usize, now_ms: u64) -> Option<Step> {
        self.forget_twin(now_ms);
        self.has_listened |= now_ms >= self.listened_ms();
        let is_starting = self.is_starting();
        let step = match &self.twin {
            Some(twin) if is_starting && twin.lasts_ms() >= self.terms.beacon_interval_ms / 2 => Step::Refuse,
            Some(twin) if !self.is_holding && twin.lasts_ms() >= self.terms.beacon_timeout_ms => Step::Hold,
            None if self.is_holding && self.has_listened && confirmations >= self.terms.start_stores => {
                Step::Release
            }
            _ if is_starting && self.start_end_ms().is_some_and(|end_ms| now_ms >= end_ms) => Step::TimeOut,
            _ => return None,
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
        let twin_ms = self.twin.as_ref().map(|twin| twin.last_ms + self.terms.beacon_timeout_ms);
        let listened_ms = (!self.has_listened).then(|| self.listened_ms());
        let start_ms = self.start_end_ms().filter(|_| self.is_starting());
        [twin_ms, listened_ms, start_ms].into_iter().flatten().min()
    }

    /// Until then, every other producer with the same address has been announced.
    fn listened_ms(&self) -> u64 {
        self.started_ms + self.terms.beacon_interval_ms * 3 / 2
    }

    fn start_end_ms(&self) -> Option<u64> {
        let end_ms = |timeout_ms| self.started_ms.saturating_add(timeout_ms).max(self.listened_ms() + 1);
        self.terms.start_timeout_ms.map(end_ms)
    }

    fn forget_twin(&mut self, now_ms: u64) {
        self.twin.take_if(|twin| now_ms >= twin.last_ms + self.terms.beacon_timeout_ms);
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
        refused.handle_twin(10_100);
        refused.handle_twin(10_150);
        // These may be old beacons of a producer that was killed.
        assert_eq!((refused.poll_step(1, 10_150), refused.due_ms()), (None, Some(11_500)));
        refused.handle_twin(10_700);
        assert_eq!(refused.poll_step(1, 10_700), Some(Step::Refuse));
        let mut old = guard(1, None);
        old.handle_twin(10_100);
        assert_eq!((old.poll_step(1, 14_099), old.due_ms()), (None, Some(14_100)));
        assert_eq!(old.poll_step(1, 14_100), Some(Step::Release));
    }

    #[test]
    fn records_wait_while_another_producer_stays() {
        let mut guard = guard(1, Some(3_000));
        assert_eq!(guard.poll_step(1, 11_500), Some(Step::Release));
        // Another one that is refused at its start is gone soon.
        [20_000, 21_000].into_iter().for_each(|ms| guard.handle_twin(ms));
        assert_eq!(guard.poll_step(0, 25_000), None);
        let steps = [30_000, 31_000, 32_000, 33_000, 34_000, 35_000].map(|ms| {
            guard.handle_twin(ms);
            guard.poll_step(0, ms)
        });
        assert_eq!(steps, [None, None, None, None, Some(Step::Hold), None]);
        // When the other one is gone, a store must confirm the position again. There is no timeout.
        assert_eq!((guard.poll_step(1, 38_999), guard.poll_step(0, 39_000)), (None, None));
        assert_eq!((guard.due_ms(), guard.poll_step(1, 90_000)), (None, Some(Step::Release)));
    }
}
