//! In how many different stores each record is, as far as ACKs prove it.
//!
//! That a store has acknowledged a record does not mean that it still has it: a store that lost its database comes back
//! under another name, and the same record would count twice. So ACKs are counted in rounds. A round begins with what
//! each store has acknowledged so far, and a store counts once it has acknowledged again, at least as much, after that.
//! All stores that count in one round had these records when it began.
//!
//! A store whose database is restored from a copy keeps its name, and may have lost and got again what it acknowledged
//! before. That takes a restart, so a store begins anew with each connection.

use super::Sender;
use std::collections::BTreeSet;

/// Stores whose ACKs are told apart at a time.
const MAX_STORES: usize = 1_000;

/// What stores have of one partition.
#[derive(Debug)]
pub struct Copies {
    min_stores: usize,
    /// Empty while one store is enough.
    stores: Vec<Store>,
    is_round_over: bool,
}

#[derive(Debug)]
struct Store {
    /// The name in its ACKs; stores without one are one anonymous store.
    name: Box<[u8]>,
    /// The connection over which it acknowledges; `None` when that is not known, or the store has no name.
    from: Option<Box<[u8]>>,
    /// One after the last record that it has, by its latest ACK.
    end: u64,
    /// The same when the round began.
    end_then: u64,
    /// It has acknowledged in this round.
    is_confirmed: bool,
}

impl Store {
    /// Stores of libdafka 0.1.0 have no name, and do not acknowledge again what they have acknowledged.
    fn can_confirm(&self) -> bool {
        !self.name.is_empty()
    }
}

impl Copies {
    /// Nothing is stored. A record is safe in `min_stores` different stores; at least one.
    pub fn new(min_stores: usize) -> Self {
        Copies { min_stores: min_stores.max(1), stores: Vec::new(), is_round_over: false }
    }

    /// How many stores must have a record.
    pub fn min_stores(&self) -> usize {
        self.min_stores
    }

    /// A store has acknowledged the records before `end`, `from` a connection. Returns up to where enough stores have them.
    pub fn acknowledged(&mut self, name: &[u8], from: &Sender, end: u64) -> u64 {
        if self.min_stores == 1 {
            return end;
        }
        let from = if name.is_empty() { None } else { from() };
        match self.stores.iter_mut().find(|store| *store.name == *name && store.from == from) {
            Some(store) => {
                // A lower ACK than before: its database was set back.
                store.end_then = store.end_then.min(end);
                (store.end, store.is_confirmed) = (end, true);
            }
            None => self.add(name, from, end),
        }
        let confirmed = self.stores.iter().filter(|store| store.is_confirmed);
        let Some(end) = self.shared_end(confirmed) else { return 0 };
        self.is_round_over = true;
        end
    }

    fn add(&mut self, name: &[u8], from: Option<Box<[u8]>>, end: u64) {
        if self.stores.len() >= MAX_STORES {
            // Somebody makes names up, or stores come and go: the one that has least is missed least.
            let least = (0..self.stores.len()).min_by_key(|&i| self.stores[i].end);
            least.map(|i| self.stores.swap_remove(i));
        }
        self.stores.push(Store { name: name.into(), from, end, end_then: 0, is_confirmed: true });
    }

    /// Up to where enough stores had the records when the round began: the same name counts once.
    fn shared_end<'a>(&self, stores: impl Iterator<Item = &'a Store>) -> Option<u64> {
        let mut ends: Vec<(&[u8], u64)> = stores.map(|store| (&*store.name, store.end_then)).collect();
        ends.sort_unstable_by(|a, b| b.cmp(a));
        ends.dedup_by_key(|&mut (name, _)| name);
        least_of_best(ends.into_iter().map(|(_, end)| end).collect(), self.min_stores)
    }

    /// True when enough stores count in this round: the next one can begin.
    pub fn is_round_over(&self) -> bool {
        self.is_round_over
    }

    /// Begins a round. Call it when all ACKs that have come were read: one that was sent before the round began must not
    /// count in it. Returns up to where enough stores have the records if each acknowledges again.
    pub fn begin_round(&mut self) -> u64 {
        self.is_round_over = false;
        // Who was silent in a round that others ended may have a new connection: the old one's place is free.
        self.stores.retain(|store| store.is_confirmed);
        for store in &mut self.stores {
            (store.end_then, store.is_confirmed) = (store.end, !store.can_confirm());
        }
        self.shared_end(self.stores.iter()).unwrap_or(0)
    }

    /// How many stores that count in this round have a record.
    pub fn count(&self, record: u64) -> usize {
        let having = self.stores.iter().filter(|store| store.is_confirmed && store.end > record);
        having.map(|store| &*store.name).collect::<BTreeSet<_>>().len()
    }
}

/// The least of the `count` largest numbers; `None` when there are fewer.
fn least_of_best(mut numbers: Vec<u64>, count: usize) -> Option<u64> {
    let index = numbers.len().checked_sub(count)?;
    Some(*numbers.select_nth_unstable(index).1)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An ACK over a connection that is not known.
    fn acknowledged(copies: &mut Copies, store: &[u8], end: u64) -> u64 {
        copies.acknowledged(store, &|| None, end)
    }

    /// All stores acknowledge, and then again in the round that begins then.
    fn twice(copies: &mut Copies, acks: &[(&[u8], u64)]) -> u64 {
        for &(store, end) in acks {
            acknowledged(copies, store, end);
        }
        copies.begin_round();
        acks.iter().map(|&(store, end)| acknowledged(copies, store, end)).max().unwrap_or(0)
    }

    #[test]
    fn a_store_that_was_wiped_counts_once() {
        let mut copies = Copies::new(2);
        acknowledged(&mut copies, b"a", 100);
        // It comes back under another name, and acknowledges as often as it likes.
        for _ in 0..5 {
            assert_eq!(acknowledged(&mut copies, b"a, wiped", 100), 0);
            if copies.is_round_over() {
                copies.begin_round();
            }
        }
        // Another store, or the first one again.
        assert_eq!(twice(&mut copies, &[(b"a, wiped", 100), (b"b", 90)]), 90);
    }

    #[test]
    fn a_store_that_vanished_counts_again_when_it_is_back() {
        let mut copies = Copies::new(2);
        assert_eq!(twice(&mut copies, &[(b"a", 10), (b"b", 10)]), 10);
        copies.begin_round();
        for end in 11..20 {
            assert_eq!(acknowledged(&mut copies, b"b", end), 0);
        }
        assert_eq!((copies.count(9), copies.is_round_over()), (1, false));
        assert_eq!(acknowledged(&mut copies, b"a", 15), 10);
        assert_eq!(copies.begin_round(), 15);
        assert_eq!([acknowledged(&mut copies, b"a", 15), acknowledged(&mut copies, b"b", 19)], [0, 15]);
    }

    #[test]
    fn a_store_that_was_set_back_counts_for_less() {
        let mut copies = Copies::new(2);
        twice(&mut copies, &[(b"a", 100), (b"b", 100)]);
        copies.begin_round();
        assert_eq!([acknowledged(&mut copies, b"a", 40), acknowledged(&mut copies, b"b", 100)], [0, 40]);
    }

    #[test]
    fn stores_of_0_1_0_need_not_acknowledge_again() {
        let mut copies = Copies::new(2);
        acknowledged(&mut copies, b"", 10);
        acknowledged(&mut copies, b"a", 12);
        assert_eq!(copies.begin_round(), 10);
        assert_eq!(acknowledged(&mut copies, b"a", 12), 10);
    }

    #[test]
    fn a_store_that_comes_back_begins_anew_and_its_copy_is_no_other_store() {
        let ack = |copies: &mut Copies, store: &[u8], connection: u8, end| {
            copies.acknowledged(store, &|| Some([connection].into()), end)
        };
        let mut copies = Copies::new(2);
        ack(&mut copies, b"a", 1, 100);
        ack(&mut copies, b"b", 2, 100);
        copies.begin_round();
        assert_eq!(ack(&mut copies, b"b", 2, 100), 0);
        // Its database was restored, and b may have lost its own before a got anything again.
        assert_eq!(ack(&mut copies, b"a", 3, 100), 0);
        assert!(copies.is_round_over());
        assert_eq!(copies.begin_round(), 100);
        // A copy of a store, which has the same name.
        assert_eq!([ack(&mut copies, b"a", 3, 100), ack(&mut copies, b"a", 4, 100)], [0, 0]);
        assert_eq!((copies.count(99), ack(&mut copies, b"b", 2, 100)), (1, 100));
        assert_eq!(copies.begin_round(), 100);
        // Both go on, and do not hinder each other.
        assert_eq!([4, 3].map(|connection| ack(&mut copies, b"a", connection, 120)), [0, 0]);
        assert_eq!(ack(&mut copies, b"b", 2, 120), 100);
    }
}
