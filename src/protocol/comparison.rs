//! Whether stores hold the same records: samples of what this store holds are fetched from others and compared.
//!
//! Another store's DIRECT-HEADs tell what it holds. Of those, some partitions are drawn at random that are complete here.
//! For each, a FETCH asks that store for a few records: the first ones, the last ones, or some in between, in turn. No
//! message is new, so stores of all versions answer. A difference is reported once for each partition and store.
//!
//! The cost is bounded: ten samples a second at most, one at a time, each of about 16 KiB.

use super::Outbox;
use crate::wire::{Message, Position, partition_key};
use std::collections::HashSet;
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};

/// Partitions that wait to be compared.
const MAX_CANDIDATES: usize = 256;
/// The shortest time between two samples.
const INTERVAL_MS: u64 = 100;
/// How long the answer to a FETCH is waited for.
const PATIENCE_MS: u64 = 5_000;
/// Records in a sample.
const SAMPLE_COUNT: u64 = 64;
/// Content of a sample. Longer records are not compared.
const SAMPLE_LEN_BYTES: usize = 16 << 10;
/// Candidates that are looked at within one tick.
const MAX_LOOKS: usize = 16;
/// Differences that are remembered.
const MAX_REPORTED: usize = 1_000;
/// The longest name of a store that is asked; ours are 32 octets long.
const MAX_STORE_NAME_LEN: usize = 64;

/// What this store holds.
pub trait Held {
    /// One after the last record of a partition; 0 when there is none, or when that cannot be read.
    fn next(&self, subject: &[u8], address: &[u8]) -> u64;

    /// Hands over records from one on, at most so many, until `each` returns false.
    fn read(
        &self,
        subject: &[u8],
        address: &[u8],
        from: u64,
        count: u64,
        each: &mut dyn FnMut(u64, &[u8]) -> bool,
    );
}

/// A record that two stores hold with different contents.
#[derive(Debug, PartialEq, Eq)]
pub struct Divergence {
    /// The partition's topic.
    pub subject: Box<[u8]>,
    /// The partition.
    pub address: Box<[u8]>,
    /// The other store.
    pub store: Box<[u8]>,
    /// The first record that was seen to differ.
    pub offset: u64,
}

/// A partition that another store holds, too.
struct Candidate {
    subject: Box<[u8]>,
    address: Box<[u8]>,
    store: Box<[u8]>,
    /// One after the last record that the other store has.
    end: u64,
}

/// Records that were asked for.
struct Sample {
    of: Candidate,
    first: u64,
    /// What this store holds, from `first` on.
    contents: Vec<Box<[u8]>>,
    sent_ms: u64,
}

/// The comparison's state.
pub struct Comparison {
    held: Box<dyn Held>,
    candidates: Vec<Candidate>,
    /// How many were seen since the last one was drawn.
    seen: u64,
    sample: Option<Sample>,
    next_ms: u64,
    /// Counts samples.
    turn: u64,
    random: u64,
    /// Partitions and stores that are known to differ, by a hash.
    reported: HashSet<u64>,
    divergence: Option<Divergence>,
}

impl Comparison {
    /// Compares what `held` holds. Stores with different addresses draw different samples.
    pub fn new(held: Box<dyn Held>, own_address: &[u8]) -> Comparison {
        Comparison {
            held,
            candidates: Vec::new(),
            seen: 0,
            sample: None,
            next_ms: 0,
            turn: 0,
            random: hash(own_address) | 1,
            reported: HashSet::new(),
            divergence: None,
        }
    }

    /// Another store says that it holds the record of this position, and those before it.
    pub fn handle_head(&mut self, position: &Position, store: &[u8]) {
        if store.is_empty() || store.len() > MAX_STORE_NAME_LEN || position.sequence == u64::MAX {
            return;
        }
        // Each of those that came since the last draw has the same chance to stay.
        self.seen += 1;
        let place = if self.candidates.len() < MAX_CANDIDATES {
            self.candidates.len()
        } else {
            (self.random() % self.seen) as usize
        };
        if place >= MAX_CANDIDATES {
            return;
        }
        let candidate = Candidate {
            subject: position.subject.into(),
            address: position.address.into(),
            store: store.into(),
            end: position.sequence + 1,
        };
        match self.candidates.get_mut(place) {
            Some(kept) => *kept = candidate,
            None => self.candidates.push(candidate),
        }
    }

    /// Takes a record that was sent on request. True when it belongs to a sample: then it is nothing new.
    pub fn handle_record(&mut self, position: &Position, content: &[u8]) -> bool {
        let Some(sample) = &self.sample else { return false };
        let is_of = *position.address == *sample.of.address && *position.subject == *sample.of.subject;
        let index = position.sequence.checked_sub(sample.first).filter(|_| is_of);
        let Some(index) = index.and_then(|index| usize::try_from(index).ok()) else { return false };
        let Some(own) = sample.contents.get(index) else { return false };
        let is_same = **own == *content;
        if is_same && index + 1 < sample.contents.len() {
            return true;
        }
        let sample = self.sample.take().expect("there is one");
        if !is_same {
            self.report(sample.of, position.sequence);
        }
        true
    }

    fn report(&mut self, of: Candidate, offset: u64) {
        if self.reported.len() >= MAX_REPORTED {
            self.reported.clear();
        }
        self.reported.insert(key(&of));
        let Candidate { subject, address, store, end: _ } = of;
        self.divergence = Some(Divergence { subject, address, store, offset });
    }

    /// A difference that was found. To be called after each record.
    pub fn poll_divergence(&mut self) -> Option<Divergence> {
        self.divergence.take()
    }

    /// When [`Comparison::handle_timeout`] has something to do next.
    pub fn due_ms(&self) -> Option<u64> {
        match &self.sample {
            Some(sample) => Some(sample.sent_ms + PATIENCE_MS),
            None => (!self.candidates.is_empty()).then_some(self.next_ms),
        }
    }

    /// Asks for the next sample, in the name of `own_address`.
    pub fn handle_timeout<P>(&mut self, own_address: &[u8], now_ms: u64, out: &mut Outbox<P>) {
        if self.due_ms().is_none_or(|due_ms| due_ms > now_ms) {
            return;
        }
        self.sample = None;
        self.next_ms = now_ms + INTERVAL_MS;
        for _ in 0..MAX_LOOKS {
            let Some(candidate) = self.draw() else { return };
            if let Some(sample) = self.take_sample(candidate, now_ms) {
                out.message(&Message::Fetch {
                    topic: &sample.of.address,
                    address: own_address,
                    subject: &sample.of.subject,
                    sequence: sample.first,
                    count: sample.contents.len() as u32,
                    store: &sample.of.store,
                });
                self.sample = Some(sample);
                return;
            }
        }
    }

    fn draw(&mut self) -> Option<Candidate> {
        self.seen = 0;
        if self.candidates.is_empty() {
            return None;
        }
        let place = self.random() % self.candidates.len() as u64;
        Some(self.candidates.swap_remove(place as usize))
    }

    /// Reads what this store holds of a candidate. `None` when that need not be compared.
    fn take_sample(&mut self, of: Candidate, now_ms: u64) -> Option<Sample> {
        let end = of.end;
        // While records are missing here, a FETCH for them may be under way, and the other store would take this one for its
        // successor.
        if self.reported.contains(&key(&of)) || self.held.next(&of.subject, &of.address) < end {
            return None;
        }
        self.turn += 1;
        let from = match self.turn % 3 {
            1 => 0,
            2 => end.saturating_sub(SAMPLE_COUNT),
            _ => self.random() % end,
        };
        let (mut first, mut contents, mut len_bytes) = (from, Vec::new(), 0);
        self.held.read(
            &of.subject,
            &of.address,
            from,
            SAMPLE_COUNT.min(end - from),
            &mut |offset, content| {
                len_bytes += content.len();
                if len_bytes > SAMPLE_LEN_BYTES {
                    return false;
                }
                if contents.is_empty() {
                    first = offset;
                }
                contents.push(content.into());
                true
            },
        );
        (!contents.is_empty()).then_some(Sample { of, first, contents, sent_ms: now_ms })
    }

    /// xorshift64
    fn random(&mut self) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random
    }
}

fn key(of: &Candidate) -> u64 {
    hash((&of.store, partition_key(&of.address, &of.subject).as_slice()))
}

fn hash(value: impl std::hash::Hash) -> u64 {
    BuildHasherDefault::<DefaultHasher>::default().hash_one(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    /// Holds 1,000 records of every partition.
    struct Thousand;

    impl Held for Thousand {
        fn next(&self, _: &[u8], _: &[u8]) -> u64 {
            1_000
        }

        fn read(&self, _: &[u8], _: &[u8], from: u64, count: u64, each: &mut dyn FnMut(u64, &[u8]) -> bool) {
            let _ = (from..from + count).all(|offset| each(offset, &content(offset)));
        }
    }

    fn content(offset: u64) -> Vec<u8> {
        vec![offset as u8; 100]
    }

    /// The FETCHes that a tick sends: the partition, the first record, how many.
    fn fetches(comparison: &mut Comparison, now_ms: u64) -> Vec<(Vec<u8>, u64, u32)> {
        let mut out = Outbox::<Arc<[u8]>>::new();
        comparison.handle_timeout(b"own", now_ms, &mut out);
        let mut fetches = Vec::new();
        out.drain(|frame, _| match Message::decode(frame) {
            Ok(Message::Fetch { topic, address: b"own", sequence, count, store: b"other", .. }) => {
                fetches.push((topic.to_vec(), sequence, count));
            }
            other => panic!("{other:?}"),
        });
        fetches
    }

    fn position(address: &[u8], sequence: u64) -> Position<'_> {
        Position::new(b"own", address, b"topic", sequence)
    }

    #[test]
    fn a_difference_is_reported_once() {
        let mut comparison = Comparison::new(Box::new(Thousand), b"own");
        let mut found = Vec::new();
        for round in 0..100 {
            let now_ms = round * INTERVAL_MS;
            for partition in [b"A", b"B"] {
                comparison.handle_head(&position(partition, 999), b"other");
            }
            for (partition, first, count) in fetches(&mut comparison, now_ms) {
                for offset in first..first + u64::from(count) {
                    let is_forged = partition == b"B" && offset >= 990;
                    let content = if is_forged { vec![0xff; 100] } else { content(offset) };
                    let is_expected = comparison.handle_record(&position(&partition, offset), &content);
                    found.extend(comparison.poll_divergence());
                    assert!(is_expected || !found.is_empty());
                }
            }
        }
        let expected = Divergence {
            subject: b"topic"[..].into(),
            address: b"B"[..].into(),
            store: b"other"[..].into(),
            offset: 990,
        };
        assert_eq!(found, [expected]);
        assert!(!comparison.handle_record(&position(b"A", 5), b"not asked for"));
    }

    #[test]
    fn samples_are_few_and_small() {
        let mut comparison = Comparison::new(Box::new(Thousand), b"own");
        assert_eq!(comparison.due_ms(), None);
        for i in 0..10_000_u32 {
            comparison.handle_head(&position(format!("{i:08}").as_bytes(), 999), b"other");
        }
        assert_eq!(comparison.candidates.len(), MAX_CANDIDATES);
        assert!(comparison.candidates.iter().any(|candidate| *candidate.address > b"00009000"[..]));
        let first = fetches(&mut comparison, 0);
        assert_eq!(first.len(), 1);
        assert!(u64::from(first[0].2) <= SAMPLE_COUNT);
        // Nobody answers: the next one is asked for when that was waited for.
        assert_eq!(fetches(&mut comparison, INTERVAL_MS), []);
        assert_eq!(comparison.due_ms(), Some(PATIENCE_MS));
        assert_eq!(fetches(&mut comparison, PATIENCE_MS).len(), 1);
        // What is not complete here is not compared.
        let mut comparison = Comparison::new(Box::new(Thousand), b"own");
        comparison.handle_head(&position(b"A", 1_000), b"other");
        comparison.handle_head(&position(b"A", u64::MAX), b"other");
        assert_eq!(fetches(&mut comparison, 0), []);
        assert_eq!(comparison.due_ms(), None);
    }
}
