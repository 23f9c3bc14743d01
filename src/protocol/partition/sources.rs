//! The stores that advertise a partition, and which of them to ask for the next window.
//!
//! Stores take turns. A store that is much slower than another is skipped for a while. A store that does not answer is
//! dropped until it sends something again, and then skipped for longer. What stores advertise may be false: after two
//! FETCHes in a row without an answer, all peers are asked, and for some windows after that.

use std::sync::Arc;

/// Stores that a partition remembers as holding it.
const MAX_SOURCES: usize = 4;
/// FETCHes to single stores that may bring nothing before everybody is asked.
const MAX_FRUITLESS: u32 = 2;
/// Windows that everybody is asked for after that, before a single store is tried again.
const ASK_ALL_WINDOWS: u32 = 16;
/// How many times as fast another one must be for a store to count as slow.
const SLOW_FACTOR: u64 = 4;
/// How long a slow store is left out.
const SLOW_MS: u64 = 60_000;
/// How long a store is left out that did not answer: many times what it costs to find out that one only drips.
const SHUN_MS: u64 = 600_000;
/// Stores that a partition remembers as having left a FETCH unanswered.
const MAX_SHUNNED: usize = 16;
/// The shortest answer that says something about a store's speed.
const MIN_SAMPLE_LEN_BYTES: u64 = 256 << 10;
/// An answer that took no longer is fast enough, whatever others do.
const FAST_ENOUGH_MS: u64 = 50;
/// What a store is asked for whose speed is not known, when there are others.
const TRIAL_LEN_BYTES: u64 = 1 << 20;

/// A store that says it holds the partition.
#[derive(Debug)]
struct Source {
    store: Arc<[u8]>,
    /// One after the last record that it has, as far as it has said so.
    end: u64,
    /// How fast it has answered lately, in octets per ms.
    speed: Option<u64>,
    /// How long its last answer took.
    took_ms: u64,
    /// It is left out until then, while others are there.
    slow_until_ms: u64,
}

/// Whom to ask, and for how much at the most.
#[derive(Debug, PartialEq, Eq)]
pub struct Choice {
    /// The store; `None`: everybody.
    pub store: Option<Arc<[u8]>>,
    /// One after the last record to ask for.
    pub end: u64,
    /// What the answer should bring in content.
    pub len_bytes: u64,
}

impl Choice {
    const EVERYBODY: Choice = Choice { store: None, end: u64::MAX, len_bytes: u64::MAX };
}

/// The stores of one partition.
#[derive(Debug)]
pub struct Sources {
    known: Vec<Source>,
    /// Stores that left a FETCH unanswered, and until when they count as slow: who speaks up again and again, and never
    /// answers, would else be new each time.
    shunned: Vec<(Arc<[u8]>, u64)>,
    /// Whose turn it is.
    turn: usize,
    /// FETCHes in a row that did not bring what they asked for.
    fruitless: u32,
    /// Windows that everybody is still to be asked for.
    ask_all: u32,
}

impl Sources {
    /// None yet. Requesters with different `turn`s begin with different stores.
    pub fn new(turn: usize) -> Self {
        Sources { known: Vec::new(), shunned: Vec::new(), turn, fruitless: 0, ask_all: 0 }
    }

    /// A store says that it has the records before `end`.
    pub fn held_by(&mut self, store: &Arc<[u8]>, end: u64) {
        let slow_until_ms = self.shunned_until_ms(store);
        let new = || Source { store: store.clone(), end, speed: None, took_ms: 0, slow_until_ms };
        if let Some(source) = self.known.iter_mut().find(|source| source.store == *store) {
            source.end = end;
        } else if self.known.len() < MAX_SOURCES {
            self.known.push(new());
        } else if let Some(source) = self.known.iter_mut().min_by_key(|source| source.end)
            && source.end < end
        {
            *source = new();
        }
    }

    /// Until when a store counts as slow that was not known. When there are very many that do not answer, somebody makes
    /// names up, and the next name is no better.
    fn shunned_until_ms(&self, store: &Arc<[u8]>) -> u64 {
        let known = self.shunned.iter().find(|(shunned, _)| shunned == store);
        let any = self.shunned.iter().map(|&(_, until_ms)| until_ms).min();
        let stranger_ms = any.filter(|_| self.shunned.len() >= MAX_SHUNNED).unwrap_or(0);
        known.map_or(stranger_ms, |&(_, until_ms)| until_ms)
    }

    fn shun(&mut self, store: &Arc<[u8]>, now_ms: u64) {
        self.shunned.retain(|(shunned, until_ms)| shunned != store && *until_ms > now_ms);
        if self.shunned.len() >= MAX_SHUNNED {
            self.shunned.remove(0);
        }
        self.shunned.push((store.clone(), now_ms + SHUN_MS));
    }

    /// A FETCH to `store` (`None`: to everybody) has not brought all that it asked for. A part of it is no better than
    /// nothing: who brings a little, and a little again, would never be given up.
    pub fn silent(&mut self, store: Option<&Arc<[u8]>>, now_ms: u64) {
        if let Some(store) = store {
            self.shun(store, now_ms);
            // Gone, perhaps. If it is not, it will say again what it has.
            self.known.retain(|source| source.store != *store);
        }
        self.fruitless = self.fruitless.saturating_add(1);
        if self.fruitless >= MAX_FRUITLESS {
            self.ask_all = ASK_ALL_WINDOWS;
        }
    }

    /// A FETCH to `store` (`None`: to everybody) has brought all that it asked for.
    pub fn answered(&mut self, store: Option<&Arc<[u8]>>, len_bytes: u64, took_ms: u64, now_ms: u64) {
        self.fruitless = 0;
        let Some(store) = store else {
            self.ask_all = self.ask_all.saturating_sub(1);
            return;
        };
        if took_ms <= FAST_ENOUGH_MS && self.shunned.iter().any(|(shunned, _)| shunned == store) {
            // It was down, or far away for a while.
            self.shunned.retain(|(shunned, _)| shunned != store);
            let known = self.known.iter_mut().find(|source| source.store == *store);
            known.into_iter().for_each(|source| source.slow_until_ms = 0);
        }
        if len_bytes < MIN_SAMPLE_LEN_BYTES {
            return;
        }
        let Some(index) = self.known.iter().position(|source| source.store == *store) else { return };
        let sample = len_bytes / took_ms.max(1);
        let speed = self.known[index].speed.map_or(sample, |speed| (speed * 3 + sample) / 4);
        (self.known[index].speed, self.known[index].took_ms) = (Some(speed), took_ms);
        let best = self.known.iter().filter_map(|source| source.speed).max().unwrap_or(speed);
        for source in &mut self.known {
            let is_slow = source.speed.is_some_and(|speed| speed.saturating_mul(SLOW_FACTOR) < best);
            if is_slow && source.took_ms > FAST_ENOUGH_MS {
                // When it is tried again, its speed is found anew.
                (source.slow_until_ms, source.speed) = (now_ms + SLOW_MS, None);
            }
        }
    }

    /// Whom to ask for the record `next` and what follows it: in turn those that say they have it. Else one that has
    /// what came before: it has told some time ago what it had, and may well have more by now. Else everybody.
    pub fn choose(&mut self, next: u64, now_ms: u64) -> Choice {
        self.turn = self.turn.wrapping_add(1);
        if self.ask_all > 0 || self.known.is_empty() {
            return Choice::EVERYBODY;
        }
        let has_next = |source: &&Source| source.end > next;
        let is_fast = |source: &&Source| source.slow_until_ms <= now_ms;
        let nth = |count: usize| self.turn % count;
        let fast = self.known.iter().filter(has_next).filter(is_fast);
        let any = self.known.iter().filter(has_next);
        let (source, end) = match (fast.clone().count(), any.clone().count()) {
            (0, 0) if self.fruitless > 0 => return Choice::EVERYBODY,
            (0, 0) => (self.known.get(nth(self.known.len())), u64::MAX),
            (0, count) => (any.clone().nth(nth(count)), 0),
            (count, _) => (fast.clone().nth(nth(count)), 0),
        };
        let Some(source) = source else { return Choice::EVERYBODY };
        let is_trial = source.speed.is_none() && self.known.len() > 1;
        Choice {
            store: Some(source.store.clone()),
            // What lies beyond is for another one to answer.
            end: source.end.max(end),
            len_bytes: if is_trial { TRIAL_LEN_BYTES } else { u64::MAX },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(store: &str) -> Arc<[u8]> {
        store.as_bytes().into()
    }

    fn sources(turn: usize, held: &[(&str, u64)]) -> Sources {
        let mut sources = Sources::new(turn);
        held.iter().for_each(|&(store, end)| sources.held_by(&name(store), end));
        sources
    }

    /// Who is asked for the record `next`.
    fn asked(sources: &mut Sources, next: u64, now_ms: u64) -> String {
        let choice = sources.choose(next, now_ms);
        choice.store.map_or("all".into(), |store| String::from_utf8_lossy(&store).into_owned())
    }

    /// As many windows of 8 MiB as that; each store answers with its speed in MiB/s. Who was asked, and how long it took.
    fn replay(sources: &mut Sources, count: usize, speed: impl Fn(&str) -> u64) -> (Vec<String>, u64) {
        let (mut now_ms, mut stores) = (0, Vec::new());
        for _ in 0..count {
            let choice = sources.choose(0, now_ms);
            let store = choice.store.expect("one store");
            let text = String::from_utf8_lossy(&store).into_owned();
            let len_bytes = choice.len_bytes.min(8 << 20);
            let took_ms = len_bytes * 1_000 / (speed(&text) << 20);
            now_ms += took_ms;
            sources.answered(Some(&store), len_bytes, took_ms, now_ms);
            stores.push(text);
        }
        (stores, now_ms)
    }

    #[test]
    fn stores_take_turns_and_requesters_begin_differently() {
        let mut first = sources(0, &[("A", 9), ("B", 9)]);
        let mut second = sources(1, &[("A", 9), ("B", 9)]);
        let four = |sources: &mut Sources| -> Vec<String> { (0..4).map(|_| asked(sources, 0, 0)).collect() };
        assert_eq!(four(&mut first), ["B", "A", "B", "A"]);
        assert_eq!(four(&mut second), ["A", "B", "A", "B"]);
    }

    #[test]
    fn a_silent_store_is_replaced_and_everybody_asked_after_two() {
        let mut sources = sources(0, &[("A", 9), ("B", 9), ("C", 9)]);
        assert_eq!(asked(&mut sources, 0, 0), "B");
        sources.silent(Some(&name("B")), 0);
        assert_eq!(asked(&mut sources, 0, 0), "A");
        sources.silent(Some(&name("A")), 0);
        assert_eq!(asked(&mut sources, 0, 0), "all");
        // Once there was an answer, single ones are tried again, though not at once.
        for _ in 0..ASK_ALL_WINDOWS {
            assert_eq!(asked(&mut sources, 0, 0), "all");
            sources.answered(None, 1, 1, 0);
        }
        assert_eq!(asked(&mut sources, 0, 0), "C");
    }

    #[test]
    fn liars_cannot_keep_everybody_from_being_asked() {
        let mut sources = sources(0, &[]);
        let mut asked_all = 0;
        for i in 0..100 {
            // They speak up again and again, claim more than the honest one, and never answer.
            for liar in ["L1", "L2", "L3", "L4"] {
                sources.held_by(&name(liar), 1_000_000);
            }
            sources.held_by(&name("honest"), 1_000);
            let store = sources.choose(i, 0).store;
            match &store {
                None => {
                    asked_all += 1;
                    sources.answered(None, 1, 1, 0);
                }
                Some(liar) => sources.silent(Some(liar), 0),
            }
        }
        assert!(asked_all > 80, "{asked_all}");
    }

    #[test]
    fn a_slow_store_is_left_out_and_tried_again_later() {
        let speed = |store: &str| if store == "slow" { 1 } else { 500 };
        let mut both = sources(0, &[("fast", 9), ("slow", 9)]);
        let (stores, took_ms) = replay(&mut both, 64, speed);
        assert_eq!(stores.iter().filter(|store| *store == "slow").count(), 1, "{stores:?}");
        // The fast one alone takes a second.
        assert!(took_ms < 3_000, "{took_ms}");
        assert_eq!(asked(&mut both, 0, SLOW_MS / 2), "fast");
        let later: Vec<_> = (0..2).map(|_| asked(&mut both, 0, took_ms + SLOW_MS)).collect();
        assert!(later.contains(&"slow".to_owned()), "{later:?}");
        // Alone it is asked in any case.
        both.silent(Some(&name("fast")), 0);
        assert_eq!(asked(&mut both, 0, SLOW_MS / 2), "slow");
    }

    #[test]
    fn a_store_is_asked_for_what_it_has() {
        let mut some = sources(0, &[("A", 4), ("B", 10)]);
        let choice = some.choose(5, 0);
        assert_eq!((choice.store, choice.end), (Some(name("B")), 10));
        // What was said some time ago says little: the first try is one of those that are known, the next one all.
        let choice = some.choose(10, 0);
        assert_eq!(choice.end, u64::MAX);
        some.silent(choice.store.as_ref(), 0);
        assert_eq!(asked(&mut some, 10, 0), "all");
        assert_ne!(asked(&mut some, 3, 0), "all");
    }

    #[test]
    fn made_up_stores_do_not_grow_a_partition() {
        let mut many = sources(0, &[]);
        (1..1_000).for_each(|end| many.held_by(&name(&end.to_string()), end));
        assert_eq!(many.known.len(), MAX_SOURCES);
        assert!(many.known.iter().all(|source| source.end >= 996));
    }
}
