//! The partitions of a consumer or a store: each is put in order by its [`Sequencer`], and missing records are
//! requested.
//!
//! The number of partitions, the bytes of early records and the bytes that FETCHes in flight may bring are limited. Any
//! peer can invent partitions, so partitions whose records arrive in order have priority. `room` decides which partition
//! a new one evicts, `budget` which peers' FETCHes may be in flight.

use super::partition::sequencer::{EARLY_OVERHEAD_BYTES, Offer, Request, Sequencer};
use super::{Outbox, Payload, Sender};
use crate::wire::{Message, Position, partition_key};
use evicted_positions::EvictedPositions;
use eviction::{EvictionOrder, Payer, Rank};
use std::collections::{BTreeSet, HashMap, HashSet};
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::sync::Arc;

mod beginning;
mod budget;
pub mod evicted_positions;
pub mod eviction;
mod notices;
mod room;

use beginning::Beginning;
use budget::{Budget, Window};
use room::FIRST_RECORD_MS;

/// The bounds of one ingest.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Partitions known at a time. When there are more, of those of who has most, the ones of which no record came in its
    /// turn give way to new ones, then the ones of which there was no news for a while; else the new one is ignored.
    pub partitions: usize,
    /// The same of those that one peer has brought; who sent a message is not always known.
    pub partitions_per_peer: usize,
    /// Partitions that gave way and whose position is remembered.
    pub evicted_positions: usize,
    /// What early records of all partitions may occupy.
    pub early_len_bytes: usize,
    /// What all FETCHes under way may bring.
    pub in_flight_len_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            partitions: 200_000,
            partitions_per_peer: 100_000,
            evicted_positions: 1_000_000,
            early_len_bytes: 64 << 20,
            in_flight_len_bytes: 64 << 20,
        }
    }
}

/// How long a partition that is real stays at least after there was news of it. (Its producer's HEAD is some, every
/// second.) One that is new gives way at any time: a new one is let in at once, and the more there is room for, the longer it has.
const STAY_MS: u64 = 2_000;
/// Early records of a partition that has not moved on for so long give way: perhaps nobody can fill its gap.
const STALE_EARLY_MS: u64 = 2_000;
/// Partitions that are looked at, at most, when one is to give way.
const MAX_LOOKS: usize = 16;

/// Partitions that look for room within one ms, when more wait for it than that.
const WAITING_PER_MS: usize = 50;
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
    beginning: Beginning,
    /// When this partition is looked at next; it stands in `Ingest::timers` under this time.
    timer_ms: Option<u64>,
    /// A record came in its turn.
    is_proven: bool,
    opened_ms: u64,
    /// Until when it stays because its producer was heard.
    stays_ms: u64,
    /// When its last record came in its turn, or its first early one came.
    moved_ms: u64,
    /// It stands in `Ingest::eviction` so, perhaps with a rank of the past.
    listed_rank: Rank,
    /// The same for `Ingest::early_order`, while it has early records.
    listed_early_rank: Option<Rank>,
    /// The FETCH under way, while it counts in `Ingest::in_flight`.
    window: Option<Window>,
    /// The peer that it is charged to in `Ingest::eviction` and `Ingest::in_flight`: the one that first mentioned it, and later
    /// the one that delivered its first record in order.
    payer: Payer,
    /// Its payer has delivered a record in order.
    is_charged: bool,
}

/// What happened so far, for a node's last debug line.
#[derive(Clone, Copy, Debug, Default)]
pub struct Statistics {
    /// Partitions opened.
    pub opened: u64,
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
    /// Those of them for which there was no room beside others of the same peer.
    pub refused_of_peer: u64,
    /// Partitions that gave way to others.
    pub closed: u64,
    /// Records that came early and gave way to others.
    pub early_dropped: u64,
    /// Partitions known now.
    pub partitions: usize,
    /// Peers that have brought them.
    pub peers: usize,
    /// What the peer has brought that has brought most.
    pub most_of_peer: usize,
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
    /// Who gives way first. Ranks change with every record, so they are put right only when somebody is looked for.
    eviction: EvictionOrder,
    /// The same for those that have early records.
    early_order: BTreeSet<(Rank, Index)>,
    evicted_positions: EvictedPositions,
    early_len_bytes: usize,
    in_flight: Budget,
    /// Partitions opened, and refused, when the stores were asked last.
    surveyed: (u64, u64),
    /// When a connection was given up last.
    cut_ms: Option<u64>,
    /// When the first message was received that was not handed over yet.
    unread_since_ms: Option<u64>,
    statistics: Statistics,
    /// Partitions that the last [`Ingest::handle_timeout`] has found standing still, and at which record.
    stalled: Vec<(Index, u64)>,
    /// What [`Ingest::poll_notice`] has told of `refused` and `refused_of_peer`.
    told_refused: (u64, u64),
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
            eviction: EvictionOrder::default(),
            early_order: BTreeSet::new(),
            evicted_positions: EvictedPositions::new(limits.evicted_positions),
            early_len_bytes: 0,
            in_flight: Budget::new(limits.in_flight_len_bytes),
            surveyed: (0, 0),
            cut_ms: None,
            unread_since_ms: None,
            statistics: Statistics::default(),
            stalled: Vec::new(),
            told_refused: (0, 0),
        }
    }

    /// What happened so far.
    pub fn statistics(&self) -> Statistics {
        Statistics {
            partitions: self.by_key.len(),
            peers: self.eviction.payer_count(),
            most_of_peer: self.eviction.most_of_peer(),
            early_len_bytes: self.early_len_bytes,
            in_flight_len_bytes: self.in_flight.len_bytes(),
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

    /// Opens a partition whose next record is `next`, which `from` has mentioned, if that peer is known. `None` when there
    /// are too many partitions and none can be closed. `resume_at`, given a partition and its next record, returns the
    /// record at which that partition goes on when it is opened again, or `None` when it cannot be closed now.
    pub fn open(
        &mut self,
        subject: &[u8],
        address: &[u8],
        next: u64,
        from: Option<&[u8]>,
        now_ms: u64,
        resume_at: impl Fn(Index, u64) -> Option<u64>,
    ) -> Option<Index> {
        let from = from.unwrap_or_default();
        if !self.make_room(from, now_ms, &resume_at) {
            self.statistics.refused += 1;
            self.statistics.refused_of_peer += u64::from(self.has_too_many(from));
            return None;
        }
        let listed_rank = Rank { is_proven: false, time_ms: now_ms + FIRST_RECORD_MS };
        let index = self.free.pop().unwrap_or(Index(self.partitions.len()));
        let partition = Partition {
            subject: subject.into(),
            address: address.into(),
            sequencer: Sequencer::new(next, self.turn(address)),
            beginning: Beginning::default(),
            timer_ms: None,
            is_proven: false,
            opened_ms: now_ms,
            stays_ms: 0,
            moved_ms: now_ms,
            listed_rank,
            payer: self.eviction.add(from, (listed_rank, index)),
            is_charged: false,
            listed_early_rank: None,
            window: None,
        };
        if index.0 == self.partitions.len() {
            self.partitions.push(None);
        }
        self.partitions[index.0] = Some(partition);
        let key = partition_key(address, subject);
        self.evicted_positions.forget(&key);
        self.by_key.insert(key.into(), index);
        self.statistics.opened += 1;
        Some(index)
    }

    /// Requesters differ, and so do one requester's partitions: each begins with another store.
    fn turn(&self, address: &[u8]) -> usize {
        BuildHasherDefault::<DefaultHasher>::default().hash_one((&self.own_address, address)) as usize
    }

    /// A partition is known to be real, although no record of it came yet.
    pub fn prove(&mut self, index: Index) {
        self.partitions[index.0].as_mut().expect("an open partition").is_proven = true;
        self.update_rank(index);
    }

    /// Where a partition stood that gave way, if it is remembered.
    pub fn recall(&self, subject: &[u8], address: &[u8]) -> Option<u64> {
        self.evicted_positions.get(&partition_key(address, subject))
    }

    /// The partition at `index`, which must be open.
    pub fn partition(&self, index: Index) -> &Partition<P> {
        self.partitions[index.0].as_ref().expect("an open partition")
    }

    /// The offset of the record that comes next in a partition.
    pub fn next(&self, index: Index) -> u64 {
        self.partition(index).sequencer.next()
    }

    /// Takes a record that `from` has sent, and hands on what is in order now: offset and content. False when the record
    /// was known.
    pub fn record(
        &mut self,
        index: Index,
        offset: u64,
        content: P,
        from: &Sender,
        now_ms: u64,
        mut hand_on: impl FnMut(u64, P),
    ) -> bool {
        let room_bytes = self.early_room(index, offset, content.as_ref().len(), now_ms);
        let partition = self.partitions[index.0].as_mut().expect("an open partition");
        let Partition { sequencer, beginning, .. } = partition;
        let mut hand_on = |offset, content| {
            if !beginning.is_handed_on(offset) {
                hand_on(offset, content);
            }
        };
        let was_gapped = sequencer.has_gap();
        let (early_before, in_flight_before) =
            (sequencer.early_len_bytes(), if was_gapped { sequencer.in_flight_len_bytes() } else { 0 });
        let content = if offset == sequencer.next() { content } else { content.into_own_memory() };
        let offered = sequencer.offer(offset, content, now_ms, room_bytes);
        let is_new = !matches!(offered, Offer::Duplicate);
        let mut is_first = false;
        let statistics = &mut self.statistics;
        match offered {
            Offer::InOrder(content) => {
                hand_on(offset, content);
                while let Some(content) = sequencer.pop_early(now_ms) {
                    hand_on(sequencer.next() - 1, content);
                }
                statistics.handed_on += sequencer.next() - offset;
                beginning.confirm();
                is_first = !partition.is_charged;
                (partition.is_proven, partition.moved_ms) = (true, now_ms);
            }
            Offer::Early => statistics.early += 1,
            Offer::Duplicate => statistics.duplicates += 1,
            Offer::NoRoom => statistics.no_room += 1,
        }
        // The common case, a live record in order, ends here.
        if was_gapped || sequencer.has_gap() {
            self.early_len_bytes = self.early_len_bytes + sequencer.early_len_bytes() - early_before;
            self.recount(index, in_flight_before, now_ms);
            self.revive(index, now_ms);
            let partition = self.partitions[index.0].as_mut().expect("an open partition");
            let sequencer = &partition.sequencer;
            let (has_early, has_gap) = (sequencer.early_len_bytes() > 0, sequencer.has_gap());
            match (partition.listed_early_rank, has_early) {
                (None, true) => {
                    partition.moved_ms = now_ms;
                    let listed_rank = partition.early_rank();
                    partition.listed_early_rank = Some(listed_rank);
                    self.early_order.insert((listed_rank, index));
                }
                (Some(listed_rank), false) => {
                    partition.listed_early_rank = None;
                    self.early_order.remove(&(listed_rank, index));
                }
                _ => {}
            }
            if was_gapped && !has_gap {
                self.update_rank(index);
            }
            self.reschedule(index, now_ms);
        }
        if is_first {
            self.charge(index, from);
        }
        is_new
    }

    /// What early records of a partition may occupy beyond what they do, for one record of `len_bytes` more. Others'
    /// give way that may never get their turn; and one partition alone may have three times what it leaves free, that
    /// is, three quarters of all.
    fn early_room(&mut self, index: Index, offset: u64, len_bytes: usize, now_ms: u64) -> usize {
        let partition = self.partition(index);
        let (next, own_bytes, is_proven) =
            (partition.sequencer.next(), partition.sequencer.early_len_bytes(), partition.is_proven);
        if offset <= next {
            return 0;
        }
        let room_bytes = |ingest: &Self| {
            let free_bytes = ingest.limits.early_len_bytes.saturating_sub(ingest.early_len_bytes);
            free_bytes.min((3 * free_bytes).saturating_sub(own_bytes))
        };
        let cost_bytes = len_bytes + EARLY_OVERHEAD_BYTES;
        for _ in 0..MAX_LOOKS {
            if room_bytes(self) >= cost_bytes {
                break;
            }
            let Some(&(listed_rank, first)) = self.early_order.first() else { break };
            let partition = self.partitions[first.0].as_mut().expect("an open partition");
            let rank = partition.early_rank();
            self.early_order.remove(&(listed_rank, first));
            if rank == listed_rank
                && first != index
                && (is_proven && !rank.is_proven || now_ms >= rank.time_ms + STALE_EARLY_MS)
            {
                partition.listed_early_rank = None;
                let (count, freed_bytes) = partition.sequencer.drop_early();
                self.early_len_bytes -= freed_bytes;
                self.statistics.early_dropped += count as u64;
                continue;
            }
            partition.listed_early_rank = Some(rank);
            self.early_order.insert((rank, first));
            if rank == listed_rank {
                break;
            }
        }
        room_bytes(self)
    }

    /// The producer of a partition publishes the record `offset`, which is to be given to [`Ingest::record`] next. It publishes
    /// in order: when that is the next one, nobody has shown that there are more. A true claim is repeated.
    pub fn published(&mut self, index: Index, offset: u64, now_ms: u64) {
        let partition = self.partitions[index.0].as_mut().expect("an open partition");
        partition.stays_ms = now_ms + STAY_MS;
        let before = partition.sequencer.in_flight_len_bytes();
        if partition.sequencer.has_gap() && offset == partition.sequencer.next() {
            partition.sequencer.end_at(offset);
            self.recount(index, before, now_ms);
        }
    }

    /// The producer of a partition says that the record `offset` of it exists.
    pub fn heard_of(&mut self, index: Index, offset: u64, now_ms: u64) {
        self.partitions[index.0].as_mut().expect("an open partition").stays_ms = now_ms + STAY_MS;
        self.claimed(index, offset, now_ms);
    }

    fn claimed(&mut self, index: Index, offset: u64, now_ms: u64) {
        let partition = self.partitions[index.0].as_mut().expect("an open partition");
        if offset >= partition.sequencer.next() && !partition.sequencer.has_gap() {
            partition.moved_ms = now_ms;
        }
        partition.sequencer.heard_of(offset, now_ms);
        if partition.sequencer.has_gap() {
            self.reschedule(index, now_ms);
        }
    }

    /// A store, by its name, says that it has the record `offset` of a partition, and what comes before it. Stores speak of
    /// all that they hold, as long as they hold it: what is complete need not stay for that.
    pub fn held_by(&mut self, index: Index, store: &[u8], offset: u64, now_ms: u64) {
        self.name_source(index, store, offset);
        self.claimed(index, offset, now_ms);
    }

    fn name_source(&mut self, index: Index, store: &[u8], offset: u64) {
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

    /// Whether the answer of a single store is waited for.
    pub fn is_store_asked(&self, position: &Position) -> bool {
        self.find(position).is_some_and(|index| self.partition(index).sequencer.is_store_asked())
    }

    /// Messages wait that were received at this time and later, and were not handed over: the answers to what was asked
    /// for may be among them. `None` when nothing waits.
    pub fn handle_unread(&mut self, unread_since_ms: Option<u64>) {
        self.unread_since_ms = unread_since_ms;
    }

    /// A connection was given up: something came over it that is not allowed, and perhaps in answer to a FETCH.
    pub fn handle_cut(&mut self, now_ms: u64) {
        self.cut_ms = Some(now_ms);
    }

    /// How long after one request for heads the next one is due. The last one brought `head_count` heads.
    /// When there was no room for some partitions since, and room was made for others, it comes soon.
    pub fn refresh_interval_ms(&mut self, head_count: usize) -> u64 {
        let now = (self.statistics.opened, self.statistics.refused);
        let before = std::mem::replace(&mut self.surveyed, now);
        if now.0 > before.0 && now.1 > before.1 {
            return REFRESH_INTERVAL_MS;
        }
        REFRESH_INTERVAL_MS + self.by_key.len().max(head_count) as u64 * REFRESH_PER_PARTITION_MS
    }

    /// Makes sure that a partition with a gap is looked at in time: at once when no FETCH is under way.
    fn reschedule(&mut self, index: Index, now_ms: u64) {
        let for_room_ms = now_ms + NO_ROOM_RETRY_MS + self.spread_ms(index);
        let partition = self.partitions[index.0].as_mut().expect("an open partition");
        let Some(due_ms) = partition.sequencer.fetch_due_ms() else { return };
        match partition.timer_ms {
            // A timer that comes too early is put right when it fires: a record in time costs nothing here.
            Some(timer_ms) if timer_ms <= due_ms => return,
            // It waits for room.
            Some(timer_ms) if due_ms == 0 && timer_ms <= for_room_ms => return,
            Some(timer_ms) => drop(self.timers.remove(&(timer_ms, index))),
            None => {}
        }
        partition.timer_ms = Some(due_ms);
        self.timers.insert((due_ms, index));
    }

    /// When [`Ingest::handle_timeout`] has something to do next.
    pub fn due_ms(&self) -> Option<u64> {
        self.timers.first().map(|&(due_ms, _)| due_ms)
    }

    /// Sends the FETCHes that are due. What may be there unread is not asked for again.
    pub fn handle_timeout(&mut self, now_ms: u64, out: &mut Outbox<P>) {
        self.stalled.clear();
        let read_until_ms = self.unread_since_ms.unwrap_or(now_ms).min(now_ms);
        while let Some(&(timer_ms, index)) = self.timers.first()
            && timer_ms <= read_until_ms
        {
            self.timers.pop_first();
            let partition = self.partitions[index.0].as_mut().expect("a timer's partition is open");
            partition.timer_ms = None;
            let Some(mut due_ms) = partition.sequencer.fetch_due_ms() else { continue };
            if due_ms <= read_until_ms {
                due_ms = self.fetch(index, now_ms, out);
            }
            let partition = self.partitions[index.0].as_mut().expect("a timer's partition is open");
            partition.timer_ms = Some(due_ms);
            self.timers.insert((due_ms, index));
        }
    }

    /// How much later than others a partition looks for room again: when many wait, not all look at once, and each looks
    /// the more seldom the more there are.
    fn spread_ms(&self, index: Index) -> u64 {
        (index.0 % (self.timers.len() / WAITING_PER_MS + 1)) as u64
    }

    /// Sends one FETCH if the bounds allow it, and returns when to look again.
    fn fetch(&mut self, index: Index, now_ms: u64, out: &mut Outbox<P>) -> u64 {
        let partition = self.partitions[index.0].as_mut().expect("an open partition");
        // Whether there is room or not: two that wait for each other's room would wait for ever.
        let before = partition.sequencer.in_flight_len_bytes();
        partition.sequencer.give_up_fetch();
        self.recount(index, before, now_ms);
        let partition = self.partitions[index.0].as_mut().expect("an open partition");
        if let Some(due_ms) = self.cut_ms.and_then(|cut_ms| partition.sequencer.hold_back(cut_ms, now_ms)) {
            return due_ms;
        }
        if !self.has_room(index, now_ms) {
            return now_ms + NO_ROOM_RETRY_MS + self.spread_ms(index);
        }
        let partition = self.partitions[index.0].as_mut().expect("an open partition");
        if let Some(Request { first, count, store }) = partition.sequencer.request(now_ms) {
            self.statistics.fetches += 1;
            self.stalled.extend(partition.sequencer.is_stalled().then_some((index, first)));
            out.message(&Message::Fetch {
                topic: &partition.address,
                address: &self.own_address,
                subject: &partition.subject,
                sequence: first,
                count,
                store: store.as_deref().unwrap_or_default(),
            });
        }
        let due_ms = partition.sequencer.fetch_due_ms().unwrap_or(now_ms + NO_ROOM_RETRY_MS);
        self.recount(index, 0, now_ms);
        due_ms
    }
}
