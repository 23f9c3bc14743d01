//! Counts the stores that have each record, as far as ACKs prove it.
//!
//! An ACK does not prove that the store still has the record. A store that lost its database returns under another
//! name, so the same disk could count twice. ACKs are therefore counted in rounds. When a round begins, the producer
//! notes which records each store has acknowledged so far. A store counts in the round once it has sent another ACK. If
//! this new ACK is for fewer records than the noted ones, the producer notes only the records of the new ACK. So each
//! store that counts in a round had the noted records when the round began.
//!
//! A store whose database is restored from a copy keeps its name. It has lost records that it had acknowledged, and may
//! have received them again since. A restore requires a restart of the store, which ends its connections. So the ACKs
//! of a store are counted from zero for each new connection.
//!
//! A store counts only while its node is a peer of the producer's node. Stores of libdafka 0.1.0 do not repeat ACKs, so
//! the records of such a store count again as soon as its node is back at the same endpoint. If the producer reads an
//! ACK of such a store after it has handled the disappearance of the store's node, the ACK does not count while the
//! node is gone. Otherwise the ACK would always count, because the event that ends its effect is already over.
//!
//! A peer may invent names. When there are too many names, names of peers that are gone are dropped first. If no peer
//! is gone, the host with most names is selected, and on this host the connection with most names. A name that arrived
//! over this connection is dropped.

use crate::protocol::shares::RankedShares;
use crate::protocol::{Sender, host_of};
use std::collections::BTreeSet;

/// The limit of known stores, each a name and a connection.
const MAX_STORES: usize = 1_000;

/// Returns whether a connection, named as a [`Sender`] names it, leads to a current peer.
pub type IsPeer = Box<dyn Fn(&[u8]) -> bool + Send>;

/// The records of one partition that stores have.
pub struct Copies {
    min_stores: usize,
    is_peer: IsPeer,
    /// Empty while one store is enough.
    stores: Vec<Store>,
    /// The number of `stores` of each connection.
    names: RankedShares,
    is_round_over: bool,
}

#[derive(Debug)]
struct Store {
    /// The name in its ACKs. All stores without a name count as one store.
    name: Box<[u8]>,
    /// The connection over which it acknowledges; empty when that is not known.
    from: Box<[u8]>,
    /// Whether its node is a peer of the producer's node.
    is_present: bool,
    /// One after the last record that it has, by its latest ACK.
    end: u64,
    /// The value of `end` when the round began.
    end_then: u64,
    /// Whether it has acknowledged in this round.
    is_confirmed: bool,
}

impl Store {
    /// Stores of libdafka 0.1.0 have no name, and do not repeat ACKs.
    fn can_confirm(&self) -> bool {
        !self.name.is_empty()
    }

    fn counts(&self) -> bool {
        self.is_confirmed && self.is_present
    }
}

impl Copies {
    /// A record is safe when `min_stores` different stores have it. 0 has the same effect as 1.
    pub fn new(min_stores: usize) -> Self {
        Copies {
            min_stores: min_stores.max(1),
            is_peer: Box::new(|_| true),
            stores: Vec::new(),
            names: RankedShares::default(),
            is_round_over: false,
        }
    }

    /// `is_peer` returns whether a connection leads to a peer. Without this call, every connection counts as a
    /// connection to a peer.
    pub fn with_peers(self, is_peer: IsPeer) -> Self {
        Copies { is_peer, ..self }
    }

    /// How many stores must have a record.
    pub fn min_stores(&self) -> usize {
        self.min_stores
    }

    /// A store has acknowledged the records before `end`, over the connection `from`. Returns the end of the records
    /// that enough stores have.
    pub fn handle_ack(&mut self, name: &[u8], from: &Sender, end: u64) -> u64 {
        if self.min_stores == 1 {
            return end;
        }
        let from = from();
        let is_ignored = name.is_empty() && from.as_deref().is_some_and(|from| !(self.is_peer)(from));
        let from = from.unwrap_or_default();
        match self.stores.iter_mut().find(|store| *store.name == *name && store.from == from) {
            Some(store) => {
                // The ACK may be lower than before: the store's database was restored from a copy.
                (store.end, store.end_then) = (end, store.end_then.min(end));
                // An ignored ACK counts when the store's node is back, because the store will not repeat it.
                if !is_ignored {
                    (store.is_confirmed, store.is_present) = (true, true);
                }
            }
            None if is_ignored => {}
            None => self.add(name, from, end),
        }
        let counting = self.stores.iter().filter(|store| store.counts());
        let Some(end) = self.shared_end(counting) else { return 0 };
        self.is_round_over = true;
        end
    }

    /// A peer has appeared or disappeared. `is_it` returns whether a connection leads (or led) to that peer.
    pub fn handle_peer(&mut self, is_present: bool, is_it: &dyn Fn(&[u8]) -> bool) {
        for store in self.stores.iter_mut().filter(|store| !store.from.is_empty() && is_it(&store.from)) {
            // A store that can repeat ACKs counts once it repeats one.
            store.is_present = is_present && !store.can_confirm();
        }
    }

    fn add(&mut self, name: &[u8], from: Box<[u8]>, end: u64) {
        if self.stores.len() >= MAX_STORES {
            self.make_room_for(&from);
        }
        self.names.change(&from, 0, 1);
        self.stores.push(Store {
            name: name.into(),
            from,
            is_present: true,
            end,
            end_then: 0,
            is_confirmed: true,
        });
    }

    /// Makes room for a new name. Drops a name of a peer that is gone, if there is one. Otherwise drops a name of the
    /// peer that [`RankedShares::greediest_for`] selects, or else of the new name's own peer or host. Among several
    /// names, drops the name whose ACK is for the fewest records, because it matters least.
    fn make_room_for(&mut self, from: &[u8]) {
        let least_of = |is_one: &dyn Fn(&Store) -> bool| {
            let of = (0..self.stores.len()).filter(|&i| is_one(&self.stores[i]));
            of.min_by_key(|&i| self.stores[i].end)
        };
        let largest = self.names.greediest_for(from).map_or(from, |largest| largest);
        let least = least_of(&|store| !store.is_present)
            .or_else(|| least_of(&|store| *store.from == *largest))
            .or_else(|| least_of(&|store| host_of(&store.from) == host_of(from)))
            .or_else(|| least_of(&|_| true));
        if let Some(least) = least {
            let Store { from, .. } = self.stores.swap_remove(least);
            self.names.change(&from, 1, 0);
        }
    }

    /// The end of the records that enough stores had when the round began. Each name counts once.
    fn shared_end<'a>(&self, stores: impl Iterator<Item = &'a Store>) -> Option<u64> {
        let mut ends: Vec<(&[u8], u64)> = stores.map(|store| (&*store.name, store.end_then)).collect();
        ends.sort_unstable_by(|a, b| b.cmp(a));
        ends.dedup_by_key(|&mut (name, _)| name);
        smallest_of_largest(ends.into_iter().map(|(_, end)| end).collect(), self.min_stores)
    }

    /// True when enough stores count in this round, so that the next one may begin.
    pub fn is_round_over(&self) -> bool {
        self.is_round_over
    }

    /// Begins a round. To be called when all received ACKs have been handled: an ACK that was sent before the round
    /// began must not count in it. Returns the end of the records that enough stores have acknowledged so far. When
    /// these stores acknowledge again in this round, the round proves that they have these records.
    pub fn begin_round(&mut self) -> u64 {
        self.is_round_over = false;
        // A store of this library that is gone counts from zero when it is back.
        let Self { stores, names, .. } = self;
        stores.retain(|store| {
            let stays = store.is_present || !store.can_confirm();
            if !stays {
                names.change(&store.from, 1, 0);
            }
            stays
        });
        for store in &mut self.stores {
            store.end_then = store.end;
        }
        // A present store that has not acknowledged in the last round keeps its entry, because its ACK may still come.
        // But the entry does not count here: a store that restarted leaves such an entry for its earlier connection.
        let end = self.shared_end(self.stores.iter().filter(|store| store.counts())).unwrap_or(0);
        for store in &mut self.stores {
            store.is_confirmed = !store.can_confirm();
        }
        end
    }

    /// How many stores that count in this round have a record.
    pub fn count(&self, record: u64) -> usize {
        let having = self.stores.iter().filter(|store| store.counts() && store.end > record);
        having.map(|store| &*store.name).collect::<BTreeSet<_>>().len()
    }
}

/// The smallest of the `count` largest numbers; `None` when there are fewer.
fn smallest_of_largest(mut numbers: Vec<u64>, count: usize) -> Option<u64> {
    let index = numbers.len().checked_sub(count)?;
    Some(*numbers.select_nth_unstable(index).1)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An ACK over an unknown connection.
    fn acknowledged(copies: &mut Copies, store: &[u8], end: u64) -> u64 {
        copies.handle_ack(store, &|| None, end)
    }

    /// All stores acknowledge, a new round begins, and they acknowledge again.
    fn twice(copies: &mut Copies, acks: &[(&[u8], u64)]) -> u64 {
        for &(store, end) in acks {
            acknowledged(copies, store, end);
        }
        copies.begin_round();
        acks.iter().map(|&(store, end)| acknowledged(copies, store, end)).max().unwrap_or(0)
    }

    #[test]
    fn a_store_that_lost_its_database_counts_once() {
        let mut copies = Copies::new(2);
        acknowledged(&mut copies, b"a", 100);
        // The store has lost its database and returns under another name. The number of its ACKs does not matter.
        for _ in 0..5 {
            assert_eq!(acknowledged(&mut copies, b"a, wiped", 100), 0);
            if copies.is_round_over() {
                copies.begin_round();
            }
        }
        // Another store acknowledges too.
        assert_eq!(twice(&mut copies, &[(b"a, wiped", 100), (b"b", 90)]), 90);
    }

    #[test]
    fn a_store_that_is_back_counts_when_it_acknowledges_again() {
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

    /// A round is over as soon as two of the stores have acknowledged.
    #[test]
    fn stores_whose_acks_arrive_one_by_one_all_count() {
        for stores in 2..10_u8 {
            let mut copies = Copies::new(2);
            let mut proven = 0;
            for i in 0..3 * stores {
                proven = acknowledged(&mut copies, &[i % stores], 10).max(proven);
                if copies.is_round_over() {
                    copies.begin_round();
                }
            }
            assert_eq!(proven, 10, "{stores} stores");
        }
    }

    #[test]
    fn a_store_that_lost_records_counts_with_fewer() {
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
    fn a_store_of_0_1_0_counts_only_while_it_is_a_peer() {
        let ack = |copies: &mut Copies, store: &[u8], connection: u8, end| {
            copies.handle_ack(store, &|| Some([connection].into()), end)
        };
        let mut copies = Copies::new(2);
        ack(&mut copies, b"", 1, 100);
        ack(&mut copies, b"a", 2, 100);
        assert_eq!(copies.begin_round(), 100);
        assert_eq!(ack(&mut copies, b"a", 2, 100), 100);
        copies.handle_peer(false, &|from| *from == [1]);
        assert_eq!(copies.begin_round(), 0);
        assert_eq!((ack(&mut copies, b"a", 2, 120), copies.count(0)), (0, 1));
        // Another store of 0.1.0 has less. The first one need not acknowledge again when it is back. Both count as
        // one store.
        assert_eq!(ack(&mut copies, b"", 3, 50), 0);
        copies.begin_round();
        assert_eq!(ack(&mut copies, b"a", 2, 120), 50);
        copies.handle_peer(true, &|from| *from == [1]);
        assert_eq!(ack(&mut copies, b"a", 2, 120), 100);
        // A store of this library that was gone counts when it acknowledges again.
        copies.handle_peer(false, &|from| *from == [2]);
        copies.handle_peer(true, &|from| *from == [2]);
        assert_eq!((ack(&mut copies, b"", 1, 100), ack(&mut copies, b"a", 2, 90)), (0, 90));
    }

    #[test]
    fn an_ack_of_0_1_0_that_is_read_after_its_node_is_gone_does_not_count() {
        use std::sync::Arc;
        use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
        let is_there = Arc::new(AtomicBool::new(true));
        let shared = is_there.clone();
        let mut copies =
            Copies::new(2).with_peers(Box::new(move |from| *from == [2] || shared.load(Relaxed)));
        let ack = |copies: &mut Copies, store: &[u8], connection: u8, end| {
            copies.handle_ack(store, &|| Some([connection].into()), end)
        };
        ack(&mut copies, b"", 1, 10);
        ack(&mut copies, b"a", 2, 100);
        // The disconnect is handled before the last ACKs: one of a known store, and one of an unknown store.
        is_there.store(false, Relaxed);
        copies.handle_peer(false, &|from| *from == [1]);
        ack(&mut copies, b"", 1, 100);
        ack(&mut copies, b"", 9, 100);
        assert_eq!((copies.begin_round(), ack(&mut copies, b"a", 2, 100), copies.count(0)), (0, 0, 1));
        // The node is back, so its ACKs count.
        is_there.store(true, Relaxed);
        copies.handle_peer(true, &|from| *from == [1]);
        assert_eq!(ack(&mut copies, b"a", 2, 100), 100);
    }

    #[test]
    fn invented_names_evict_no_honest_store() {
        let connection = |host: u8, number: u32| [&[host; 16][..], &number.to_be_bytes()].concat();
        let ack = |copies: &mut Copies, store: &str, from: &[u8], end| {
            copies.handle_ack(store.as_bytes(), &|| Some(from.into()), end)
        };
        let mut copies = Copies::new(2);
        let honest = [connection(1, 1), connection(2, 1)];
        for (i, from) in honest.iter().enumerate() {
            ack(&mut copies, &format!("honest {i}"), from, 5);
        }
        for i in 0..5_000 {
            // The names come over 50 connections. Each name has more records than the honest stores.
            ack(&mut copies, &format!("made up {i}"), &connection(66, i % 50), 1_000_000);
        }
        assert!(copies.stores.len() <= MAX_STORES);
        let honest_left = copies.stores.iter().filter(|store| store.name.starts_with(b"honest")).count();
        assert_eq!(honest_left, 2);
        // Names of a peer that is gone are dropped first.
        copies.handle_peer(false, &|from| host_of(from) == [66; 16]);
        for i in 0..1_500 {
            ack(&mut copies, &format!("late {i}"), &connection(3, i), 1);
        }
        let of = |prefix: &[u8]| copies.stores.iter().filter(|store| store.name.starts_with(prefix)).count();
        assert_eq!((of(b"made up"), of(b"honest"), of(b"late")), (0, 2, 998));
    }

    #[test]
    fn a_store_with_a_new_connection_starts_over_and_its_copy_is_the_same_store() {
        let ack = |copies: &mut Copies, store: &[u8], connection: u8, end| {
            copies.handle_ack(store, &|| Some([connection].into()), end)
        };
        let mut copies = Copies::new(2);
        ack(&mut copies, b"a", 1, 100);
        ack(&mut copies, b"b", 2, 100);
        copies.begin_round();
        assert_eq!(ack(&mut copies, b"b", 2, 100), 0);
        // The database of a was restored from a copy. Perhaps b lost its database before a received the records again.
        assert_eq!(ack(&mut copies, b"a", 3, 100), 0);
        assert!(copies.is_round_over());
        assert_eq!(copies.begin_round(), 100);
        // A copy of a store has the same name.
        assert_eq!([ack(&mut copies, b"a", 3, 100), ack(&mut copies, b"a", 4, 100)], [0, 0]);
        assert_eq!((copies.count(99), ack(&mut copies, b"b", 2, 100)), (1, 100));
        assert_eq!(copies.begin_round(), 100);
        // Both continue, and do not disturb each other.
        assert_eq!([4, 3].map(|connection| ack(&mut copies, b"a", connection, 120)), [0, 0]);
        assert_eq!(ack(&mut copies, b"b", 2, 120), 100);
    }
}
