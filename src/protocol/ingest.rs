//! The partitions of a consumer or a replica. Each partition has a [`Sequencer`], which puts its records in order. The
//! ingest requests missing records with FETCH.
//!
//! The number of partitions, the bytes of early records, and the bytes that FETCHes in flight request are limited. Any
//! peer can invent partitions. So at a limit, partitions whose records arrive in order have priority.
//!
//! `table` holds the open partitions and selects the one to evict. `reorder_quota` limits the early records of all
//! partitions. `fetch_scheduler` sends FETCHes when they are due, and `fetch_quota` limits the bytes that they
//! request. `beginning` corrects a wrong start offset of a partition. `search` handles partitions in which the start
//! offset is searched.

use super::notice::Notice;
use super::partition::sequencer::{MAX_OFFSET, Offer, Sequencer};
use super::{Outbox, Payload, Sender};
use crate::partition_name::PartitionName;
use crate::wire::Position;
use beginning::Beginning;
use doubt::Claims;
use evicted_positions::{Evicted, EvictedPositions};
use fetch_scheduler::FetchScheduler;
use reorder_quota::ReorderQuota;
use std::collections::HashSet;
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use store_names::StoreNames;
use table::{Room, STAY_MS, Table};
use wait_clock::WaitClock;

mod beginning;
mod doubt;
pub mod evicted_positions;
pub mod eviction;
mod fetch_quota;
mod fetch_scheduler;
mod index;
mod limits;
mod reorder_quota;
mod search;
mod statistics;
mod store_names;
mod table;
mod wait_clock;

pub use index::Index;
pub use limits::Limits;
pub use statistics::Statistics;
pub use table::Partition;

/// How often consumers and stores request the heads of partitions. The responses reveal records whose messages were
/// lost.
const REFRESH_INTERVAL_MS: u64 = 10_000;
/// The interval grows by this for each partition, because each partition adds one message to every response.
const REFRESH_PER_PARTITION_MS: u64 = 1;

/// The open partitions and their FETCHes.
pub struct Ingest<P> {
    table: Table<P>,
    fetches: FetchScheduler,
    reorder: ReorderQuota,
    evicted_positions: EvictedPositions,
    /// For each evicted doubtful partition whose producer had sent a message: where to start if the partition is old.
    evicted_claims: EvictedPositions,
    /// The closed partitions that are older than the subscription, see [`Ingest::close_old`]. Their positions have no
    /// meaning.
    old: EvictedPositions,
    claims: Claims,
    clock: WaitClock,
    stores: StoreNames,
    statistics: Statistics,
    /// The values of `opened` and `refused` in the statistics when the heads were last requested.
    refreshed: (u64, u64),
    /// The values of `refused`, `refused_of_peer` and `unprobed` in the statistics when [`Ingest::poll_notice`] was last
    /// called.
    reported: [u64; 3],
}

/// The state of a sequencer before a change.
struct Before {
    has_gap: bool,
    early_len_bytes: usize,
    in_flight_len_bytes: u64,
}

impl Before {
    fn of<P: Payload>(sequencer: &Sequencer<P>) -> Before {
        let has_gap = sequencer.has_gap();
        Before {
            has_gap,
            early_len_bytes: sequencer.early_len_bytes(),
            // Nothing is in flight if no record is missing.
            in_flight_len_bytes: if has_gap { sequencer.in_flight_len_bytes() } else { 0 },
        }
    }
}

impl<P: Payload> Ingest<P> {
    /// Returns an ingest without partitions. Its FETCHes name `own_address` as the requester.
    pub fn new(own_address: &[u8], limits: Limits) -> Self {
        Ingest {
            table: Table::new(limits.partitions, limits.partitions_per_peer),
            fetches: FetchScheduler::new(own_address, limits.in_flight_len_bytes),
            reorder: ReorderQuota::new(limits.early_len_bytes),
            evicted_positions: EvictedPositions::new(limits.evicted_positions),
            evicted_claims: EvictedPositions::new(limits.partitions),
            old: EvictedPositions::new(limits.old_partitions),
            claims: Claims::default(),
            clock: WaitClock::default(),
            stores: StoreNames::default(),
            statistics: Statistics::default(),
            refreshed: (0, 0),
            reported: [0; 3],
        }
    }

    /// Returns the counters.
    pub fn statistics(&self) -> Statistics {
        Statistics {
            fetches: self.fetches.sent_count(),
            early_dropped: self.reorder.dropped_count(),
            partitions: self.table.len(),
            peers: self.table.eviction().payer_count(),
            most_of_peer: self.table.eviction().most_of_peer(),
            early_len_bytes: self.reorder.len_bytes(),
            in_flight_len_bytes: self.fetches.in_flight_len_bytes(),
            ..self.statistics
        }
    }

    /// Returns the partition of a decoded message, if it is open.
    pub fn find(&self, position: &Position) -> Option<Index> {
        self.table.find(position)
    }

    /// Returns the partition at `index`, which must be open.
    pub fn partition(&self, index: Index) -> &Partition<P> {
        &self.table[index]
    }

    /// Returns the offset of a partition's next record.
    pub fn next(&self, index: Index) -> u64 {
        self.table[index].sequencer.next()
    }

    /// True while the response of a single store to a FETCH of this partition is expected, until the deadline.
    pub fn is_store_asked(&self, position: &Position) -> bool {
        self.find(position).is_some_and(|index| self.table[index].sequencer.fetches().is_store_asked())
    }

    /// Returns the topic of each open partition. A topic may appear several times.
    pub fn topics(&self) -> impl Iterator<Item = &[u8]> {
        self.table.iter().map(|(_, partition)| partition.name().topic)
    }

    /// Opens a partition whose next record is `next`. `from` is the peer that mentioned the partition, if the peer is
    /// known. Returns `None` when there are too many partitions and none can be evicted. `resume_at` is called with a
    /// partition that may be evicted, and its next record. It returns the record at which this partition continues when
    /// it is opened again, or `None` when the partition cannot be evicted now.
    pub fn open(
        &mut self,
        name: PartitionName,
        next: u64,
        from: Option<&[u8]>,
        now_ms: u64,
        resume_at: impl Fn(Index, u64) -> Option<u64>,
    ) -> Option<Index> {
        let from = from.unwrap_or_default();
        match self.table.find_room(from, now_ms, &resume_at) {
            Room::Free => {}
            Room::AfterEviction { index, resume_at } => {
                self.close(index, Some(resume_at));
                self.statistics.closed += 1;
            }
            Room::None => {
                self.statistics.refused += 1;
                self.statistics.refused_of_peer += u64::from(self.table.has_too_many(from));
                return None;
            }
        }
        self.evicted_positions.forget(name);
        self.evicted_claims.forget(name);
        self.statistics.opened += 1;
        let sequencer = Sequencer::new(next, self.turn(name));
        Some(self.table.insert(name, sequencer, from, now_ms))
    }

    /// Returns a number that selects the store to which a partition's first FETCH is sent. The number differs between
    /// requesters, and between the partitions of one requester.
    fn turn(&self, name: PartitionName) -> usize {
        let names = (self.fetches.own_address(), name.producer);
        BuildHasherDefault::<DefaultHasher>::default().hash_one(names) as usize
    }

    /// Marks a partition as proven, although none of its records has arrived since it was opened.
    pub fn prove(&mut self, index: Index) {
        self.table[index].is_proven = true;
        self.table.update_rank(index);
    }

    /// Returns the position of an evicted partition, if it is stored.
    pub fn recall(&self, name: PartitionName) -> Option<Evicted> {
        self.evicted_positions.get(name)
    }

    /// Returns a number that distinguishes what was stored about evicted partitions so far from what will be stored, see
    /// [`Evicted::serial`].
    pub fn mark_evicted(&mut self) -> u64 {
        let serial = self.evicted_positions.serial().max(self.evicted_claims.serial());
        self.evicted_positions.continue_at(serial);
        self.evicted_claims.continue_at(serial);
        serial
    }

    /// Closes all partitions of the given topics, and drops their early records.
    pub fn close_topics(&mut self, topics: &HashSet<Box<[u8]>>) {
        let of_topics = self.table.iter().filter(|(_, partition)| topics.contains(partition.name().topic));
        let closed: Vec<Index> = of_topics.map(|(index, _)| index).collect();
        closed.into_iter().for_each(|index| self.close(index, None));
    }

    /// Drops what is stored about closed partitions, except those of the given topics.
    pub fn remember_only<'a>(&mut self, topics: impl Iterator<Item = &'a [u8]> + Clone) {
        self.evicted_positions.retain_topics(topics.clone());
        self.evicted_claims.retain_topics(topics.clone());
        self.old.retain_topics(topics);
    }

    /// Closes a partition. `resume_at` is the record at which the partition continues when it is opened again. This
    /// record is stored as the partition's position, unless `resume_at` is `None`.
    fn close(&mut self, index: Index, resume_at: Option<u64>) {
        let Some(mut partition) = self.table.remove(index) else { return };
        self.reorder.release(index, &mut partition);
        self.fetches.release(index, &mut partition);
        if let Some(doubt) = &partition.doubt {
            self.claims.remove(index, doubt);
            if let (Some(claimed), Some(_)) = (doubt.claimed(), resume_at) {
                self.evicted_claims.put(partition.name(), claimed, false);
            }
        }
        // While record 0 is the next record, there is no position to store, unless the application has chosen it.
        if let Some(position) = resume_at.filter(|_| partition.sequencer.next() > 0 || partition.is_proven) {
            let is_searched = partition.sequencer.search().is_some();
            self.evicted_positions.put(partition.name(), position, is_searched);
        }
    }

    /// Makes a partition continue at the record `next`. Drops the partition's early records and its FETCH in flight.
    pub fn rewind(&mut self, index: Index, next: u64) {
        let turn = self.turn(self.table[index].name());
        let Self { table, fetches, reorder, .. } = self;
        let partition = &mut table[index];
        reorder.release(index, partition);
        fetches.release(index, partition);
        let search = partition.sequencer.take_search();
        partition.sequencer = Sequencer::new(next, turn);
        partition.sequencer.set_probing(partition.doubt.is_some());
        partition.sequencer.set_search(search);
    }

    /// Makes a partition continue at the record `next`, because the application has chosen this record.
    pub fn seek(&mut self, index: Index, next: u64) {
        self.move_to(index, next);
        // No message of a peer corrects the position.
        self.table[index].beginning = Beginning::default();
        self.prove(index);
    }

    /// Makes a partition continue at the record `next`. It does not matter any more when the partition began, and which
    /// record was searched.
    fn move_to(&mut self, index: Index, next: u64) {
        self.end_doubt(index);
        self.table[index].sequencer.set_search(None);
        self.rewind(index, next);
    }

    /// A peer has mentioned a record of a partition whose topic is paused. The record is not requested.
    pub fn handle_mention_in_pause(&mut self, index: Index, offset: u64) {
        if offset <= MAX_OFFSET {
            let end = &mut self.table[index].mentioned_end;
            *end = (offset + 1).max(*end);
        }
    }

    /// The open partitions of a topic; of all topics if `topic` is empty.
    pub fn partitions_of(&self, topic: &[u8]) -> impl Iterator<Item = Index> {
        let is_of = move |name: PartitionName| topic.is_empty() || *name.topic == *topic;
        self.table.iter().filter(move |(_, partition)| is_of(partition.name())).map(|(index, _)| index)
    }

    /// One after the highest offset of a partition that is known from messages of peers.
    pub fn end(&self, index: Index) -> u64 {
        let Partition { sequencer, mentioned_end, .. } = &self.table[index];
        sequencer.end().max(*mentioned_end)
    }

    /// How many records of a partition are known from messages of peers, and have not arrived in order. A doubtful
    /// partition counts as old.
    pub fn lag(&self, index: Index) -> u64 {
        let Partition { sequencer, doubt, .. } = &self.table[index];
        let end = self.end(index);
        let next = doubt.as_ref().map_or(sequencer.next(), |doubt| doubt.claimed().unwrap_or(end));
        end.saturating_sub(next)
    }

    /// Stores the position of a partition that is not open. It is forgotten only when very many other positions are
    /// stored after it.
    pub fn remember(&mut self, name: PartitionName, next: u64) {
        self.evicted_positions.put(name, next, false);
        self.evicted_claims.forget(name);
    }

    /// Handles a run that came over the connection `from`. The offset of its first record is `first`. Calls `deliver`
    /// with each run that is then in order, and with the offset of its first record. Returns false when all records of
    /// `run` have arrived before.
    pub fn handle_run(
        &mut self,
        index: Index,
        first: u64,
        run: P,
        from: &Sender,
        now_ms: u64,
        deliver: impl FnMut(u64, P),
    ) -> bool {
        let wait_ms = self.wait_ms(now_ms);
        let is_early = first > self.next(index);
        let room_bytes = match is_early {
            true => self.reorder.make_room(&mut self.table, index, run.len_bytes(), now_ms),
            false => 0,
        };
        let partition = &mut self.table[index];
        let before = Before::of(&partition.sequencer);
        let count = run.record_count();
        let offered = partition.sequencer.offer(first, run, now_ms, room_bytes);
        let is_new = !matches!(offered, Offer::Duplicate);
        let mut is_first = false;
        match offered {
            Offer::InOrder(run) => {
                is_first = !partition.is_charged;
                self.statistics.duplicates += count - run.record_count();
                self.statistics.handed_on += partition.deliver(run, now_ms, wait_ms, deliver);
            }
            Offer::Early { new_count } => {
                self.statistics.early += new_count;
                self.statistics.duplicates += count - new_count;
            }
            Offer::Duplicate => self.statistics.duplicates += count,
            Offer::NoRoom => self.statistics.no_room += count,
        }
        // In the common case, a live record in order, there is no gap, and this is skipped.
        if before.has_gap || partition.sequencer.has_gap() {
            self.handle_gap(index, &before, now_ms);
        }
        if is_first {
            self.charge(index, from);
        }
        is_new
    }

    /// Updates a partition that has or had a gap, after a record has arrived.
    fn handle_gap(&mut self, index: Index, before: &Before, now_ms: u64) {
        let Self { table, fetches, reorder, .. } = self;
        fetches.recount(index, &mut table[index], before.in_flight_len_bytes, now_ms);
        fetches.revive(table, index, now_ms);
        reorder.update(index, &mut table[index], before.early_len_bytes, now_ms);
        if before.has_gap && !table[index].sequencer.has_gap() {
            table.update_rank(index);
        }
        fetches.reschedule(index, &mut table[index], now_ms);
    }

    /// The first in-order record of a partition has arrived. From now on the partition is charged to the peer that
    /// delivered this record, unless that peer has too many partitions. So a peer cannot cause the eviction of other
    /// peers' partitions by mentioning these partitions first.
    fn charge(&mut self, index: Index, from: &Sender) {
        self.table[index].is_charged = true;
        if let Some(from) = from() {
            self.charge_to(index, &from);
        }
    }

    fn charge_to(&mut self, index: Index, from: &[u8]) {
        let payer = self.table[index].payer.clone();
        if *payer != *from && !self.table.has_too_many(from) {
            self.table.charge_to(index, from);
            self.fetches.handle_new_payer(&payer, &self.table[index]);
        }
    }

    /// Handles a peer's mention of a partition. The partition may be waiting for a FETCH because its payer, the peer
    /// that it is charged to, has no room in its share of the bytes in flight. If there is room for the mentioning
    /// peer, or room can be made, the partition is charged to the mentioning peer from now on. So a payer without room
    /// cannot delay partitions that other peers mention. Exception: for 2 s after an in-order record, the partition
    /// stays charged to its payer.
    pub fn handle_mention(&mut self, index: Index, from: &Sender, now_ms: u64) {
        let partition = &self.table[index];
        let is_waiting = partition.sequencer.has_gap() && partition.sequencer.in_flight_len_bytes() == 0;
        if !is_waiting || self.fetches.has_room(&partition.payer) {
            return;
        }
        if partition.is_charged && now_ms < partition.moved_ms + STAY_MS {
            return;
        }
        if let Some(from) = from().filter(|from| self.fetches.make_room(&mut self.table, from, now_ms)) {
            self.charge_to(index, &from);
        }
    }

    /// The producer of a partition publishes the records from `first` to `last`, which the caller passes to
    /// [`Ingest::handle_run`] next. A producer publishes in order. So if the partition's next record is among these
    /// records, the producer's next messages mention the records after `last`, if there are any. Claims that records
    /// after `last` exist are dropped, because they may be false. In a search, they are also dropped after other records:
    /// the search might request many records that do not exist.
    pub fn handle_published(&mut self, index: Index, first: u64, last: u64, now_ms: u64) {
        let partition = &mut self.table[index];
        partition.stays_ms = now_ms + STAY_MS;
        let before = partition.sequencer.in_flight_len_bytes();
        let is_last =
            (first..=last).contains(&partition.sequencer.next()) || partition.sequencer.search().is_some();
        if partition.sequencer.has_gap() && is_last && last <= MAX_OFFSET {
            partition.sequencer.end_at(last + 1);
            self.fetches.recount(index, partition, before, now_ms);
        }
    }

    /// The producer of a partition has the record `offset`.
    pub fn handle_head(&mut self, index: Index, offset: u64, now_ms: u64) {
        self.table[index].stays_ms = now_ms + STAY_MS;
        self.extend(index, offset, now_ms);
    }

    /// A store has the records of a partition up to `offset`. Unlike a message of the producer, this message does not
    /// protect a partition without a gap from eviction, because a store repeats the message as long as it holds the
    /// partition.
    pub fn handle_store_head(&mut self, index: Index, store: &[u8], offset: u64, now_ms: u64) {
        if let Some(store) = self.stores.intern(store) {
            self.handle_stored(index);
            let fetches = self.table[index].sequencer.fetches_mut();
            fetches.add_source(&store, offset.saturating_add(1));
        }
        self.extend(index, offset, now_ms);
    }

    /// Handles a peer's claim that a partition has records up to `offset`.
    fn extend(&mut self, index: Index, offset: u64, now_ms: u64) {
        let partition = &mut self.table[index];
        if offset >= partition.sequencer.next() && !partition.sequencer.has_gap() {
            partition.moved_ms = now_ms;
        }
        partition.sequencer.handle_mention(offset, now_ms);
        if partition.sequencer.has_gap() {
            self.fetches.reschedule(index, partition, now_ms);
        }
    }

    /// A partition was opened at an offset that a peer has claimed. The claim may be corrected later.
    pub fn claim_beginning(&mut self, index: Index, now_ms: u64) {
        let wait_ms = self.wait_ms(now_ms);
        let partition = &mut self.table[index];
        partition.beginning = Beginning::claimed(partition.sequencer.next(), wait_ms);
    }

    /// The producer has just published the records from `first` to `last`. If `last` is before the start offset of the
    /// partition, this contradicts the start offset. Returns true when the start offset was corrected. The caller holds
    /// back `kept_count` records of the partition, and must drop them when this returns true.
    pub fn correct_by_run(
        &mut self,
        index: Index,
        first: u64,
        last: u64,
        kept_count: u64,
        now_ms: u64,
    ) -> bool {
        let beginning = &mut self.table[index].beginning;
        if !beginning.is_contradicted_by(last) {
            return false;
        }
        beginning.contradict(first);
        self.correct(index, kept_count, now_ms)
    }

    /// Like [`Ingest::correct_by_run`], for a message that names `offset` as the last record. The message comes from
    /// the producer if `is_live`, and from a store otherwise. A store may be behind, so its message does not contradict
    /// the start offset. A message of the producer contradicts it only before the first in-order record. A message that
    /// does not contradict the start offset can still apply a correction that is due because of earlier messages. After
    /// the first in-order record, a store's message does not apply it.
    pub fn correct_by_head(
        &mut self,
        index: Index,
        offset: u64,
        is_live: bool,
        kept_count: u64,
        now_ms: u64,
    ) -> bool {
        let partition = &mut self.table[index];
        let first = offset.saturating_add(1);
        if !partition.beginning.is_contradicted_by(first) || !is_live && partition.is_proven {
            return false;
        }
        if is_live && !partition.is_proven {
            partition.beginning.contradict(first);
        }
        self.correct(index, kept_count, now_ms)
    }

    /// Corrects the start offset of a partition if a message has contradicted it, and no record has confirmed it for a
    /// while.
    fn correct(&mut self, index: Index, kept_count: u64, now_ms: u64) -> bool {
        let wait_ms = self.wait_ms(now_ms);
        let partition = &mut self.table[index];
        let delivered_end = partition.sequencer.next() - kept_count;
        let Some(first) = partition.beginning.correct(delivered_end, wait_ms) else {
            return false;
        };
        partition.opened_ms = now_ms;
        self.rewind(index, first);
        true
    }

    /// Returns how long this node has waited for messages, see [`wait_clock`].
    pub(super) fn wait_ms(&mut self, now_ms: u64) -> u64 {
        self.clock.advance(self.fetches.read_until_ms(now_ms))
    }

    /// Sets since when received messages are unread; `None` when no message is unread. The unread messages may be
    /// responses to FETCHes.
    pub fn handle_unread(&mut self, unread_since_ms: Option<u64>) {
        self.fetches.handle_unread(unread_since_ms);
    }

    /// A connection has been given up because its peer sent a message that is forbidden. That message may have been the
    /// response to a FETCH.
    pub fn handle_given_up(&mut self, now_ms: u64) {
        self.fetches.handle_given_up(now_ms);
    }

    /// To be called when the heads of all partitions are requested. Returns how long to wait until the next request.
    /// `head_count` is the number of heads in the responses to the last request. If partitions have been opened and
    /// others refused since the last request, the wait is short, however many partitions there are.
    pub fn begin_refresh(&mut self, head_count: usize) -> u64 {
        let now = (self.statistics.opened, self.statistics.refused);
        let before = std::mem::replace(&mut self.refreshed, now);
        if now.0 > before.0 && now.1 > before.1 {
            return REFRESH_INTERVAL_MS;
        }
        REFRESH_INTERVAL_MS + self.table.len().max(head_count) as u64 * REFRESH_PER_PARTITION_MS
    }

    /// When [`Ingest::handle_timeout`] must be called next.
    pub fn due_ms(&self) -> Option<u64> {
        self.fetches.due_ms().into_iter().chain(self.claims.due_ms(&self.clock)).min()
    }

    /// Sends the FETCHes that are due.
    pub fn handle_timeout(&mut self, now_ms: u64, out: &mut Outbox<P>) {
        self.fetches.handle_timeout(&mut self.table, self.claims.count(), now_ms, out);
    }

    /// Returns the next notice. The first notices report that partitions were refused since the last call. The next
    /// ones report the partitions that count as old because no peer sent their first record, and the partitions that
    /// the last [`Ingest::handle_timeout`] found stalled.
    pub fn poll_notice(&mut self) -> Option<Notice> {
        let Statistics { refused, refused_of_peer, unprobed, .. } = self.statistics;
        let now = [refused, refused_of_peer, unprobed];
        let before = std::mem::replace(&mut self.reported, now);
        if now[1] > before[1] {
            return Some(Notice::TooManyPartitionsOfPeer);
        }
        if now[0] > before[0] {
            return Some(Notice::TooManyPartitions);
        }
        if now[2] > before[2] {
            return Some(Notice::TooManyOldPartitions);
        }
        if let Some(partition) = self.claims.poll_presumed() {
            return Some(Notice::PresumedOld { partition });
        }
        while let Some((index, next)) = self.fetches.poll_stalled() {
            // The partition may have been closed after it was found stalled, and another one may have its index.
            if let Some(partition) =
                self.table.get(index).filter(|partition| partition.sequencer.next() == next)
            {
                return Some(Notice::FetchStalled { partition: partition.name().to_buf(), next });
            }
        }
        None
    }
}
