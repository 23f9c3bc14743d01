//! The stores that advertise a partition, and which of them to ask for the next window.
//!
//! Stores take turns. A store that is much slower than another is skipped for a while. A store that does not respond is
//! removed until it advertises the partition again. For a longer time, it is skipped also after that. While no other
//! store has the next record, skipped stores are asked. The claims of stores may be false. So after two consecutive
//! FETCHes without a complete response, all peers are asked for the next windows.

use std::sync::Arc;

/// The limit of stores of a partition.
const MAX_SOURCES: usize = 4;
/// After this many consecutive FETCHes (to a store or to all peers) without a complete response, all peers are asked.
const MAX_INCOMPLETE: u32 = 2;
/// For how many windows all peers are then asked, before a single store is tried again.
const ASK_ALL_WINDOWS: u32 = 16;
/// A store is slow if another one is more than this many times as fast.
const SLOW_FACTOR: u64 = 4;
/// How long a slow store is skipped.
const SLOW_MS: u64 = 60_000;
/// How long a store that did not respond is skipped. A failed attempt takes much less time than this. So attempts at a
/// store that never responds delay the partition little.
const SKIP_MS: u64 = 600_000;
/// The limit of stored names of stores that did not respond, for one partition.
const MAX_SKIPPED: usize = 16;
/// The shortest response from which a store's speed is measured.
const MIN_SAMPLE_LEN_BYTES: u64 = 256 << 10;
/// A store whose last response took at most this long is never slow. If a store that did not respond before sends a
/// complete response within this time, it is no longer skipped.
const FAST_ENOUGH_MS: u64 = 50;
/// The length of a request to a store of unknown speed, when there are other stores.
const TRIAL_LEN_BYTES: u64 = 1 << 20;

/// A store that advertises the partition.
#[derive(Debug)]
struct Source {
    store: Arc<[u8]>,
    /// One after the last record that the store has, according to its latest message.
    end: u64,
    /// Its recent speed, in bytes per millisecond.
    speed: Option<u64>,
    /// How long its last response took.
    took_ms: u64,
    /// The store is skipped before this time, while there are other stores, because it is slow or did not respond.
    usable_from_ms: u64,
}

/// Which store to ask, and how much to request at most.
#[derive(Debug, PartialEq, Eq)]
pub struct Choice {
    /// The store; `None` for all peers.
    pub store: Option<Arc<[u8]>>,
    /// One after the last record to request.
    pub end: u64,
    /// The bytes of content to request at most.
    pub len_bytes: u64,
}

impl Choice {
    const ALL_PEERS: Choice = Choice { store: None, end: u64::MAX, len_bytes: u64::MAX };
}

/// The stores of one partition.
#[derive(Debug)]
pub struct Sources {
    known: Vec<Source>,
    /// Stores that did not respond, and until when they are skipped. Without this list, a store could advertise the
    /// partition again and again without ever responding, and would count as new each time.
    skipped: Vec<(Arc<[u8]>, u64)>,
    /// Selects the next store.
    turn: usize,
    /// Consecutive FETCHes without a complete response.
    incomplete_count: u32,
    /// For how many windows all peers must still be asked.
    ask_all: u32,
}

impl Sources {
    /// Returns an empty set of stores. Requesters with different `turn`s begin with different stores.
    pub fn new(turn: usize) -> Self {
        Sources { known: Vec::new(), skipped: Vec::new(), turn, incomplete_count: 0, ask_all: 0 }
    }

    /// A store has the records before `end`.
    pub fn held_by(&mut self, store: &Arc<[u8]>, end: u64) {
        let usable_from_ms = self.skip_until_ms(store);
        let new = || Source { store: store.clone(), end, speed: None, took_ms: 0, usable_from_ms };
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

    /// Until when a new store is skipped. When [`MAX_SKIPPED`] stores do not respond, a peer probably invents names.
    /// Then a store with an unknown name is skipped too.
    fn skip_until_ms(&self, store: &Arc<[u8]>) -> u64 {
        let known = self.skipped.iter().find(|(skipped, _)| skipped == store);
        let any = self.skipped.iter().map(|&(_, until_ms)| until_ms).min();
        let unknown_until_ms = any.filter(|_| self.skipped.len() >= MAX_SKIPPED).unwrap_or(0);
        known.map_or(unknown_until_ms, |&(_, until_ms)| until_ms)
    }

    fn skip(&mut self, store: &Arc<[u8]>, now_ms: u64) {
        self.skipped.retain(|(skipped, until_ms)| skipped != store && *until_ms > now_ms);
        if self.skipped.len() >= MAX_SKIPPED {
            self.skipped.remove(0);
        }
        self.skipped.push((store.clone(), now_ms + SKIP_MS));
    }

    /// A FETCH to `store` (`None`: to all peers) has no complete response. A partial response counts as none.
    /// Otherwise a store that sends a few records at a time would never be dropped.
    pub fn incomplete(&mut self, store: Option<&Arc<[u8]>>, now_ms: u64) {
        if let Some(store) = store {
            self.skip(store, now_ms);
            // The store may be gone. If it is not, it will advertise the partition again.
            self.known.retain(|source| source.store != *store);
        }
        self.incomplete_count = self.incomplete_count.saturating_add(1);
        if self.incomplete_count >= MAX_INCOMPLETE {
            self.ask_all = ASK_ALL_WINDOWS;
        }
    }

    /// A FETCH to `store` (`None`: to all peers) has a complete response.
    pub fn answered(&mut self, store: Option<&Arc<[u8]>>, len_bytes: u64, took_ms: u64, now_ms: u64) {
        self.incomplete_count = 0;
        let Some(store) = store else {
            self.ask_all = self.ask_all.saturating_sub(1);
            return;
        };
        if took_ms <= FAST_ENOUGH_MS && self.skipped.iter().any(|(skipped, _)| skipped == store) {
            // The store was down, or the path to it was slow for a while.
            self.skipped.retain(|(skipped, _)| skipped != store);
            let known = self.known.iter_mut().find(|source| source.store == *store);
            known.into_iter().for_each(|source| source.usable_from_ms = 0);
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
                // The speed is measured again when the store is tried again.
                (source.usable_from_ms, source.speed) = (now_ms + SLOW_MS, None);
            }
        }
    }

    /// Selects where to request the record `next` and the records after it. Stores that advertise `next` take turns. If
    /// no store advertises it, selects a store that has earlier records, because this store may have received further
    /// records since its last message. If the last FETCH had no complete response, selects all peers instead of this
    /// store.
    pub fn choose(&mut self, next: u64, now_ms: u64) -> Choice {
        self.turn = self.turn.wrapping_add(1);
        if self.ask_all > 0 || self.known.is_empty() {
            return Choice::ALL_PEERS;
        }
        let has_next = |source: &&Source| source.end > next;
        let is_fast = |source: &&Source| source.usable_from_ms <= now_ms;
        let nth = |count: usize| self.turn % count;
        let fast = self.known.iter().filter(has_next).filter(is_fast);
        let any = self.known.iter().filter(has_next);
        let (source, end) = match (fast.clone().count(), any.clone().count()) {
            (0, 0) if self.incomplete_count > 0 => return Choice::ALL_PEERS,
            (0, 0) => (self.known.get(nth(self.known.len())), u64::MAX),
            (0, count) => (any.clone().nth(nth(count)), 0),
            (count, _) => (fast.clone().nth(nth(count)), 0),
        };
        let Some(source) = source else { return Choice::ALL_PEERS };
        let is_trial = source.speed.is_none() && self.known.len() > 1;
        Choice {
            store: Some(source.store.clone()),
            // The records after `source.end` are requested separately, because another store may have them.
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

    /// The store that is asked for the record `next`.
    fn asked(sources: &mut Sources, next: u64, now_ms: u64) -> String {
        let choice = sources.choose(next, now_ms);
        choice.store.map_or("all".into(), |store| String::from_utf8_lossy(&store).into_owned())
    }

    /// Requests windows of 8 MiB. Each store responds with its speed in MiB/s. Returns the stores, and how long all
    /// responses took together.
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
    fn stores_take_turns_and_requesters_begin_with_different_ones() {
        let mut first = sources(0, &[("A", 9), ("B", 9)]);
        let mut second = sources(1, &[("A", 9), ("B", 9)]);
        let four = |sources: &mut Sources| -> Vec<String> { (0..4).map(|_| asked(sources, 0, 0)).collect() };
        assert_eq!(four(&mut first), ["B", "A", "B", "A"]);
        assert_eq!(four(&mut second), ["A", "B", "A", "B"]);
    }

    #[test]
    fn a_silent_store_is_replaced_and_all_peers_are_asked_after_two() {
        let mut sources = sources(0, &[("A", 9), ("B", 9), ("C", 9)]);
        assert_eq!(asked(&mut sources, 0, 0), "B");
        sources.incomplete(Some(&name("B")), 0);
        assert_eq!(asked(&mut sources, 0, 0), "A");
        sources.incomplete(Some(&name("A")), 0);
        assert_eq!(asked(&mut sources, 0, 0), "all");
        // After a response, single stores are tried again, but not at once.
        for _ in 0..ASK_ALL_WINDOWS {
            assert_eq!(asked(&mut sources, 0, 0), "all");
            sources.answered(None, 1, 1, 0);
        }
        assert_eq!(asked(&mut sources, 0, 0), "C");
    }

    #[test]
    fn stores_that_never_respond_do_not_keep_other_peers_from_being_asked() {
        let mut sources = sources(0, &[]);
        let mut asked_all = 0;
        for i in 0..100 {
            // The liars advertise again and again, claim more records than the honest store, and never respond.
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
                Some(liar) => sources.incomplete(Some(liar), 0),
            }
        }
        assert!(asked_all > 80, "{asked_all}");
    }

    #[test]
    fn a_slow_store_is_skipped_and_tried_again_later() {
        let speed = |store: &str| if store == "slow" { 1 } else { 500 };
        let mut both = sources(0, &[("fast", 9), ("slow", 9)]);
        let (stores, took_ms) = replay(&mut both, 64, speed);
        assert_eq!(stores.iter().filter(|store| *store == "slow").count(), 1, "{stores:?}");
        // The fast store alone takes a second.
        assert!(took_ms < 3_000, "{took_ms}");
        assert_eq!(asked(&mut both, 0, SLOW_MS / 2), "fast");
        let later: Vec<_> = (0..2).map(|_| asked(&mut both, 0, took_ms + SLOW_MS)).collect();
        assert!(later.contains(&"slow".to_owned()), "{later:?}");
        // A slow store is asked if there is no other.
        both.incomplete(Some(&name("fast")), 0);
        assert_eq!(asked(&mut both, 0, SLOW_MS / 2), "slow");
    }

    #[test]
    fn a_store_is_asked_for_records_that_it_has() {
        let mut some = sources(0, &[("A", 4), ("B", 10)]);
        let choice = some.choose(5, 0);
        assert_eq!((choice.store, choice.end), (Some(name("B")), 10));
        // An old message may be outdated. The first FETCH goes to a known store, and the next one to all peers.
        let choice = some.choose(10, 0);
        assert_eq!(choice.end, u64::MAX);
        some.incomplete(choice.store.as_ref(), 0);
        assert_eq!(asked(&mut some, 10, 0), "all");
        assert_ne!(asked(&mut some, 3, 0), "all");
    }

    #[test]
    fn invented_stores_do_not_grow_a_partition() {
        let mut many = sources(0, &[]);
        (1..1_000).for_each(|end| many.held_by(&name(&end.to_string()), end));
        assert_eq!(many.known.len(), MAX_SOURCES);
        assert!(many.known.iter().all(|source| source.end >= 996));
    }
}
