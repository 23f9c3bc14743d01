//! Many partitions, each put in order by its [`Sequencer`], and the FETCHes for all of them.
//!
//! What consumer and store have in common. Bounded: the number of partitions, what early records occupy, and
//! what all FETCHes under way may bring.

use super::sequencer::{Offer, Request, Sequencer};
use super::{Outbox, Payload};
use crate::wire::{Message, Position, partition_key};
use std::collections::{BTreeSet, HashMap, HashSet};
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::sync::Arc;

/// The bounds of one ingest.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Partitions known at a time; records and HEADs of further ones are ignored.
    pub partitions: usize,
    /// What early records of all partitions may occupy.
    pub early_len_bytes: usize,
    /// What all FETCHes under way may bring.
    pub in_flight_len_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { partitions: 200_000, early_len_bytes: 64 << 20, in_flight_len_bytes: 64 << 20 }
    }
}

/// How long a FETCH waits that would go beyond [`Limits::in_flight_len_bytes`].
const NO_ROOM_RETRY_MS: u64 = 20;

/// How often consumers and stores ask what there is: finds what a lost message would hide.
const REFRESH_INTERVAL_MS: u64 = 10_000;
/// How much more seldom they ask per partition, each of which is one message in every answer.
const REFRESH_PER_PARTITION_MS: u64 = 1;

/// Stores whose names are known at a time.
const MAX_STORES: usize = 1_000;
/// The longest name of a store that is remembered; ours are 32 octets long.
const MAX_STORE_NAME_LEN: usize = 64;

/// A partition's place in its [`Ingest`], valid until it is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Index(pub usize);

/// One partition.
#[derive(Debug)]
pub struct Partition<P> {
    /// The topic's name.
    pub subject: Box<[u8]>,
    /// The partition's name, that is its producer's address.
    pub address: Box<[u8]>,
    sequencer: Sequencer<P>,
    /// When this partition is looked at next; it stands in `Ingest::timers` under this time.
    timer_ms: Option<u64>,
}

/// What happened so far, for a node's last debug line.
#[derive(Clone, Copy, Debug, Default)]
pub struct Statistics {
    /// Records handed on.
    pub handed_on: u64,
    /// Records that came early and were kept.
    pub early: u64,
    /// Records that were known.
    pub duplicates: u64,
    /// Records that came early and were dropped for want of room, to be fetched.
    pub no_room: u64,
    /// FETCHes sent.
    pub fetches: u64,
    /// Messages of partitions for which there was no room.
    pub refused: u64,
    /// What early records occupy now.
    pub early_len_bytes: usize,
    /// What the FETCHes under way may bring now.
    pub in_flight_len_bytes: u64,
}

/// The partitions and their FETCHes.
pub struct Ingest<P> {
    /// The requester's address in FETCH.
    own_address: Box<[u8]>,
    limits: Limits,
    by_key: HashMap<Box<[u8]>, Index>,
    partitions: Vec<Option<Partition<P>>>,
    free: Vec<Index>,
    timers: BTreeSet<(u64, Index)>,
    /// The names of stores, each once however many partitions they hold.
    stores: HashSet<Arc<[u8]>>,
    early_len_bytes: usize,
    in_flight_len_bytes: u64,
    statistics: Statistics,
}

impl<P: Payload> Ingest<P> {
    /// Nothing yet. FETCHes will carry `own_address` as the requester's.
    pub fn new(own_address: &[u8], limits: Limits) -> Self {
        Ingest {
            own_address: own_address.into(),
            limits,
            by_key: HashMap::new(),
            partitions: Vec::new(),
            free: Vec::new(),
            timers: BTreeSet::new(),
            stores: HashSet::new(),
            early_len_bytes: 0,
            in_flight_len_bytes: 0,
            statistics: Statistics::default(),
        }
    }

    /// What happened so far.
    pub fn statistics(&self) -> Statistics {
        Statistics {
            early_len_bytes: self.early_len_bytes,
            in_flight_len_bytes: self.in_flight_len_bytes,
            ..self.statistics
        }
    }

    /// Where the partition of a decoded message stands, if it is known.
    pub fn find(&self, position: &Position) -> Option<Index> {
        match position.key() {
            Some(key) => self.by_key.get(key).copied(),
            None => self.by_key.get(partition_key(position.address, position.subject).as_slice()).copied(),
        }
    }

    /// Opens a partition whose next record is `next`. `None` when there are too many.
    pub fn open(&mut self, subject: &[u8], address: &[u8], next: u64) -> Option<Index> {
        if self.by_key.len() >= self.limits.partitions {
            self.statistics.refused += 1;
            return None;
        }
        // Requesters differ, and so do one requester's partitions: each begins with another store.
        let turn = BuildHasherDefault::<DefaultHasher>::default().hash_one((&self.own_address, address));
        let partition = Partition {
            subject: subject.into(),
            address: address.into(),
            sequencer: Sequencer::new(next, turn as usize),
            timer_ms: None,
        };
        let index = self.free.pop().unwrap_or(Index(self.partitions.len()));
        if index.0 == self.partitions.len() {
            self.partitions.push(None);
        }
        self.partitions[index.0] = Some(partition);
        self.by_key.insert(partition_key(address, subject).into(), index);
        Some(index)
    }

    /// Forgets every partition of a topic, and what came early of it.
    pub fn close_subject(&mut self, subject: &[u8]) {
        for (i, slot) in self.partitions.iter_mut().enumerate() {
            if slot.as_ref().is_none_or(|partition| *partition.subject != *subject) {
                continue;
            }
            let Some(partition) = slot.take() else { continue };
            self.by_key.remove(partition_key(&partition.address, &partition.subject).as_slice());
            self.early_len_bytes -= partition.sequencer.early_len_bytes();
            self.in_flight_len_bytes -= partition.sequencer.in_flight_len_bytes();
            if let Some(timer_ms) = partition.timer_ms {
                self.timers.remove(&(timer_ms, Index(i)));
            }
            self.free.push(Index(i));
        }
    }

    /// The partition at `index`, which must be open.
    pub fn partition(&self, index: Index) -> &Partition<P> {
        self.partitions[index.0].as_ref().expect("an open partition")
    }

    /// The offset of the record that comes next in a partition.
    pub fn next(&self, index: Index) -> u64 {
        self.partition(index).sequencer.next()
    }

    /// Takes a record and hands on what is in order now: offset and content. False when the record was known.
    pub fn record(
        &mut self,
        index: Index,
        offset: u64,
        content: P,
        now_ms: u64,
        mut hand_on: impl FnMut(u64, P),
    ) -> bool {
        let room_bytes = self.limits.early_len_bytes.saturating_sub(self.early_len_bytes);
        let partition = self.partitions[index.0].as_mut().expect("an open partition");
        let sequencer = &mut partition.sequencer;
        let was_gapped = sequencer.has_gap();
        let (early_before, in_flight_before) =
            (sequencer.early_len_bytes(), if was_gapped { sequencer.in_flight_len_bytes() } else { 0 });
        let offered = sequencer.offer(offset, content, now_ms, room_bytes);
        let is_new = !matches!(offered, Offer::Duplicate);
        let statistics = &mut self.statistics;
        match offered {
            Offer::InOrder(content) => {
                hand_on(offset, content);
                while let Some(content) = sequencer.pop_early(now_ms) {
                    hand_on(sequencer.next() - 1, content);
                }
                statistics.handed_on += sequencer.next() - offset;
            }
            Offer::Early => statistics.early += 1,
            Offer::Duplicate => statistics.duplicates += 1,
            Offer::NoRoom => statistics.no_room += 1,
        }
        // The common case, a live record in order, ends here.
        if was_gapped || sequencer.has_gap() {
            self.early_len_bytes = self.early_len_bytes + sequencer.early_len_bytes() - early_before;
            self.in_flight_len_bytes =
                self.in_flight_len_bytes + sequencer.in_flight_len_bytes() - in_flight_before;
            self.reschedule(index, now_ms);
        }
        is_new
    }

    /// Somebody says that the record `offset` of a partition exists.
    pub fn heard_of(&mut self, index: Index, offset: u64, now_ms: u64) {
        let partition = self.partitions[index.0].as_mut().expect("an open partition");
        partition.sequencer.heard_of(offset, now_ms);
        if partition.sequencer.has_gap() {
            self.reschedule(index, now_ms);
        }
    }

    /// A store, by its name, says that it has the record `offset` of a partition, and what comes before it.
    pub fn held_by(&mut self, index: Index, store: &[u8], offset: u64) {
        if store.is_empty() || store.len() > MAX_STORE_NAME_LEN {
            return;
        }
        let store = match self.stores.get(store) {
            Some(store) => store.clone(),
            None => {
                if self.stores.len() >= MAX_STORES {
                    // Somebody makes names up. Those that are in use live on with their partitions.
                    self.stores.clear();
                }
                let store: Arc<[u8]> = store.into();
                self.stores.insert(store.clone());
                store
            }
        };
        let partition = self.partitions[index.0].as_mut().expect("an open partition");
        partition.sequencer.held_by(&store, offset.saturating_add(1));
    }

    /// How long after one request for heads the next one is due.
    pub fn refresh_interval_ms(&self) -> u64 {
        REFRESH_INTERVAL_MS + self.by_key.len() as u64 * REFRESH_PER_PARTITION_MS
    }

    /// Makes sure that a partition with a gap is looked at in time: at once when no FETCH is under way.
    fn reschedule(&mut self, index: Index, now_ms: u64) {
        let partition = self.partitions[index.0].as_mut().expect("an open partition");
        let Some(due_ms) = partition.sequencer.fetch_due_ms() else { return };
        match partition.timer_ms {
            // A timer that comes too early is put right when it fires: a record in time costs nothing here.
            Some(timer_ms) if timer_ms <= due_ms => return,
            Some(timer_ms) if due_ms == 0 && timer_ms <= now_ms + NO_ROOM_RETRY_MS => return,
            Some(timer_ms) => drop(self.timers.remove(&(timer_ms, index))),
            None => {}
        }
        partition.timer_ms = Some(due_ms);
        self.timers.insert((due_ms, index));
    }

    /// When [`Ingest::tick`] has something to do next.
    pub fn due_ms(&self) -> Option<u64> {
        self.timers.first().map(|&(due_ms, _)| due_ms)
    }

    /// Sends the FETCHes that are due.
    pub fn tick(&mut self, now_ms: u64, out: &mut Outbox<P>) {
        while let Some(&(timer_ms, index)) = self.timers.first()
            && timer_ms <= now_ms
        {
            self.timers.pop_first();
            let partition = self.partitions[index.0].as_mut().expect("a timer's partition is open");
            partition.timer_ms = None;
            let Some(mut due_ms) = partition.sequencer.fetch_due_ms() else { continue };
            if due_ms <= now_ms {
                due_ms = self.fetch(index, now_ms, out);
            }
            let partition = self.partitions[index.0].as_mut().expect("a timer's partition is open");
            partition.timer_ms = Some(due_ms);
            self.timers.insert((due_ms, index));
        }
    }

    /// Sends one FETCH if the bounds allow it, and returns when to look again.
    fn fetch(&mut self, index: Index, now_ms: u64, out: &mut Outbox<P>) -> u64 {
        let partition = self.partitions[index.0].as_mut().expect("an open partition");
        // Whether there is room or not: two that wait for each other's room would wait for ever.
        self.in_flight_len_bytes -= partition.sequencer.in_flight_len_bytes();
        partition.sequencer.give_up_fetch();
        if self.in_flight_len_bytes > self.limits.in_flight_len_bytes {
            return now_ms + NO_ROOM_RETRY_MS;
        }
        if let Some(Request { first, count, store }) = partition.sequencer.request(now_ms) {
            self.statistics.fetches += 1;
            out.message(&Message::Fetch {
                topic: &partition.address,
                address: &self.own_address,
                subject: &partition.subject,
                sequence: first,
                count,
                store: store.as_deref().unwrap_or_default(),
            });
        }
        self.in_flight_len_bytes += partition.sequencer.in_flight_len_bytes();
        partition.sequencer.fetch_due_ms().unwrap_or(now_ms + NO_ROOM_RETRY_MS)
    }
}
