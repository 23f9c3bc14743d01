//! The partition table: the open partitions, by index and by name. It selects the partition to evict.
//!
//! Any peer can invent partitions. So partitions without an in-order record are evicted before others, the oldest
//! first. The number of partitions per peer is limited. A peer at its limit evicts one of its own partitions when it
//! brings a new one. When the whole table is full, the table searches for the partition to evict in three steps, until
//! one step finds a partition that may be evicted:
//!
//! 1. Search the partitions of the peer that [`EvictionOrder::greediest_for`] returns, if it returns one.
//! 2. Search the partitions of the peer that brings the new partition.
//! 3. If the host of this peer has fewer partitions than the limit of the table divided by the number of hosts, search
//!    all partitions.
//!
//! If no step finds a partition, the new partition is ignored. A proven partition with a gap is not evicted for 10 s
//! after its last in-order record, or after the beginning of the gap if that is later.
//!
//! A store sends the heads of all its partitions in one burst, and each head opens a partition. So that these
//! partitions do not evict each other, a partition that waits for its first record is protected for 10 s from newer
//! partitions of the same peer.
//!
//! When there is no room, a partition without a gap may be evicted 2 s after the last message of its producer, even if
//! stores still mention it. Nothing is lost: a consumer keeps the partition's position in memory, and a store has the
//! records on disk. The partition is opened again when a peer mentions a missing record.

use super::beginning::Beginning;
use super::doubt::Doubt;
use super::eviction::{EvictionOrder, Payer, Rank};
use super::fetch_quota::Window;
use super::index::Index;
use crate::partition_name::{PartitionName, SharedPartitionName};
use crate::protocol::Payload;
use crate::protocol::partition::sequencer::Sequencer;
use crate::wire::{Position, partition_key};
use std::collections::HashMap;
use std::ops;

/// How long a proven partition stays after the last message of its producer. (A producer sends a HEAD every second.)
pub(super) const STAY_MS: u64 = 2_000;
/// How long a partition is protected from newer partitions of the same peer while it waits for its first record. Also
/// how long a proven partition with a gap is protected from all partitions, from `moved_ms` on.
const FIRST_RECORD_MS: u64 = 10_000;
/// At most this many partitions are examined to find one to evict.
const MAX_LOOKS: usize = 1_000;

/// One open partition.
#[derive(Debug)]
pub struct Partition<P> {
    pub(super) name: SharedPartitionName,
    pub(super) sequencer: Sequencer<P>,
    pub(super) beginning: Beginning,
    /// One after the highest offset that a peer has mentioned while the topic was paused.
    pub(super) mentioned_end: u64,
    /// While it is not decided whether the partition is older than the subscription. Always `None` in a store.
    pub(super) doubt: Option<Box<Doubt>>,
    /// Whether a record has arrived in order.
    pub(super) is_proven: bool,
    pub(super) opened_ms: u64,
    /// A proven partition is not evicted before this time: 2 s after the last message of its producer. If the
    /// partition could not be closed, it is not evicted for another 2 s.
    pub(super) stays_ms: u64,
    /// The latest of three times: when the last in-order record arrived, when the gap began, and when the first early
    /// record was buffered.
    pub(super) moved_ms: u64,
    /// The peer that the partition is charged to, see [`eviction`](super::eviction).
    pub(super) payer: Payer,
    /// Whether an in-order record has arrived since the partition was opened. The payer has then changed to the peer
    /// that delivered the record, if that was possible.
    pub(super) is_charged: bool,
    /// The partition's rank in the order of eviction. It may be outdated, see [`Table::update_rank`].
    listed_rank: Rank,
    /// The partition's rank in `ReorderQuota`, while the partition has early records.
    pub(super) listed_early_rank: Option<Rank>,
    /// When `FetchScheduler` examines the partition next.
    pub(super) timer_ms: Option<u64>,
    /// The FETCH in flight, while `FetchQuota` counts it.
    pub(super) window: Option<Window>,
}

impl<P: Payload> Partition<P> {
    /// Whether the partition is doubtful, and its producer has sent a message. New records may wait for the response to
    /// the FETCH, so this FETCH precedes those of other doubtful partitions.
    pub(super) fn is_urgent(&self) -> bool {
        self.doubt.as_ref().is_some_and(|doubt| doubt.claimed().is_some())
    }

    /// Returns the partition's name.
    pub fn name(&self) -> PartitionName<'_> {
        self.name.as_name()
    }

    /// Returns the partition's name, to be shared.
    pub fn shared_name(&self) -> &SharedPartitionName {
        &self.name
    }

    /// Delivers a run whose end the sequencer has just reached, and the buffered runs that follow it. Returns the
    /// number of these records. `wait_ms` is the time of the [`WaitClock`](super::wait_clock::WaitClock).
    pub(super) fn deliver(
        &mut self,
        run: P,
        now_ms: u64,
        wait_ms: u64,
        mut deliver: impl FnMut(u64, P),
    ) -> u64 {
        let first = self.sequencer.next() - run.record_count();
        self.beginning.deliver_new(first, run, &mut deliver);
        self.deliver_early(now_ms, deliver);
        self.beginning.confirm(wait_ms);
        (self.is_proven, self.moved_ms) = (true, now_ms);
        self.sequencer.next() - first
    }

    /// Delivers the buffered runs from the partition's next record on. Returns the number of these records.
    pub(super) fn deliver_early(&mut self, now_ms: u64, mut deliver: impl FnMut(u64, P)) -> u64 {
        let Partition { sequencer, beginning, .. } = self;
        let first = sequencer.next();
        while let Some(run) = sequencer.pop_early(now_ms) {
            beginning.deliver_new(sequencer.next() - run.record_count(), run, &mut deliver);
        }
        let count = sequencer.next() - first;
        if count > 0 {
            (self.is_proven, self.moved_ms) = (true, now_ms);
        }
        count
    }

    /// Returns whether a record has arrived in order, and until which time the partition is protected, see
    /// [`Rank::time_ms`]. Messages do not prolong the protection of an unproven partition.
    fn rank(&self) -> Rank {
        let gap_ms = if self.sequencer.has_gap() { self.moved_ms + FIRST_RECORD_MS } else { 0 };
        let time_ms =
            if self.is_proven { self.stays_ms.max(gap_ms) } else { self.opened_ms + FIRST_RECORD_MS };
        Rank { is_proven: self.is_proven, time_ms }
    }

    /// Returns the partition's rank among the partitions that have early records.
    pub(super) fn early_rank(&self) -> Rank {
        Rank { is_proven: self.is_proven, time_ms: self.moved_ms }
    }
}

/// Whether there is room for one more partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Room {
    /// There is room.
    Free,
    /// There is room once the partition `index` is closed. When it is opened again, it continues at the record
    /// `resume_at`.
    AfterEviction { index: Index, resume_at: u64 },
    /// There is no room.
    None,
}

/// The open partitions.
pub(super) struct Table<P> {
    max_count: usize,
    max_count_per_peer: usize,
    partitions: Vec<Option<Partition<P>>>,
    free: Vec<Index>,
    /// The open partitions. The key is the partition's [`partition_key`].
    by_key: HashMap<Box<[u8]>, Index>,
    /// Ranks change with every record, so most of the listed ranks are updated only in the search for a partition to
    /// evict.
    eviction: EvictionOrder,
}

/// The partition at an index, which must be open.
impl<P> ops::Index<Index> for Table<P> {
    type Output = Partition<P>;

    fn index(&self, index: Index) -> &Partition<P> {
        self.partitions[index.0].as_ref().expect("an open partition")
    }
}

impl<P> ops::IndexMut<Index> for Table<P> {
    fn index_mut(&mut self, index: Index) -> &mut Partition<P> {
        self.partitions[index.0].as_mut().expect("an open partition")
    }
}

impl<P: Payload> Table<P> {
    /// Returns an empty table for `max_count` partitions, and for `max_count_per_peer` partitions of one peer.
    pub(super) fn new(max_count: usize, max_count_per_peer: usize) -> Self {
        Table {
            max_count,
            max_count_per_peer,
            partitions: Vec::new(),
            free: Vec::new(),
            by_key: HashMap::new(),
            eviction: EvictionOrder::default(),
        }
    }

    /// The number of open partitions.
    pub(super) fn len(&self) -> usize {
        self.by_key.len()
    }

    /// The order of eviction, and the peers that partitions are charged to.
    pub(super) fn eviction(&self) -> &EvictionOrder {
        &self.eviction
    }

    /// Returns the partition of a decoded message, if it is open.
    pub(super) fn find(&self, position: &Position) -> Option<Index> {
        match position.key() {
            Some(key) => self.by_key.get(key).copied(),
            None => self.by_key.get(partition_key(position.partition()).as_slice()).copied(),
        }
    }

    /// Returns the partition at an index, if there is one.
    pub(super) fn get(&self, index: Index) -> Option<&Partition<P>> {
        self.partitions.get(index.0)?.as_ref()
    }

    /// Returns all partitions.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Index, &Partition<P>)> {
        let partitions = self.partitions.iter().enumerate();
        partitions.filter_map(|(i, partition)| Some((Index(i), partition.as_ref()?)))
    }

    /// Adds a partition that the peer `from` has mentioned.
    pub(super) fn insert(
        &mut self,
        name: PartitionName,
        sequencer: Sequencer<P>,
        from: &[u8],
        now_ms: u64,
    ) -> Index {
        let index = self.free.pop().unwrap_or(Index(self.partitions.len()));
        let listed_rank = Rank { is_proven: false, time_ms: now_ms + FIRST_RECORD_MS };
        let partition = Partition {
            name: SharedPartitionName::new(name),
            sequencer,
            beginning: Beginning::default(),
            mentioned_end: 0,
            doubt: None,
            is_proven: false,
            opened_ms: now_ms,
            stays_ms: 0,
            moved_ms: now_ms,
            payer: self.eviction.add(from, (listed_rank, index)),
            is_charged: false,
            listed_rank,
            listed_early_rank: None,
            timer_ms: None,
            window: None,
        };
        if index.0 == self.partitions.len() {
            self.partitions.push(None);
        }
        self.partitions[index.0] = Some(partition);
        self.by_key.insert(partition_key(name).into(), index);
        index
    }

    /// Removes a partition.
    pub(super) fn remove(&mut self, index: Index) -> Option<Partition<P>> {
        let partition = self.partitions[index.0].take()?;
        self.by_key.remove(partition_key(partition.name()).as_slice());
        self.eviction.remove(&partition.payer, (partition.listed_rank, index));
        self.free.push(index);
        Some(partition)
    }

    /// Updates a partition's rank in the order of eviction.
    pub(super) fn update_rank(&mut self, index: Index) {
        let Table { partitions, eviction, .. } = self;
        let Some(partition) = &mut partitions[index.0] else { return };
        let (listed_rank, rank) = (partition.listed_rank, partition.rank());
        if listed_rank != rank {
            partition.listed_rank = rank;
            eviction.change(&partition.payer, (listed_rank, index), rank);
        }
    }

    /// Charges a partition to another peer.
    pub(super) fn charge_to(&mut self, index: Index, from: &[u8]) {
        let Table { partitions, eviction, .. } = self;
        let Some(partition) = &mut partitions[index.0] else { return };
        let entry = (partition.listed_rank, index);
        eviction.remove(&partition.payer, entry);
        partition.payer = eviction.add(from, entry);
    }

    /// True when a peer has as many partitions as one peer may have.
    pub(super) fn has_too_many(&self, from: &[u8]) -> bool {
        !from.is_empty() && self.eviction.count_of(from) >= self.max_count_per_peer
    }

    /// Returns whether there is room for a partition that the peer `from` brings. `resume_at` is called with a
    /// partition that may be evicted, and its next record. It returns the record at which this partition continues when
    /// it is opened again, or `None` when the partition cannot be closed now.
    pub(super) fn find_room(
        &mut self,
        from: &[u8],
        now_ms: u64,
        resume_at: &impl Fn(Index, u64) -> Option<u64>,
    ) -> Room {
        if self.has_too_many(from) {
            return self.find_evictable(Some(from), true, now_ms, resume_at).unwrap_or(Room::None);
        }
        if self.len() < self.max_count {
            return Room::Free;
        }
        let greediest = self.eviction.greediest_for(from);
        greediest
            .and_then(|payer| self.find_evictable(Some(&payer), false, now_ms, resume_at))
            .or_else(|| self.find_evictable(Some(from), !from.is_empty(), now_ms, resume_at))
            .or_else(|| {
                let share = self.max_count / self.eviction.host_count().max(1);
                let is_below_share = self.eviction.count_of_host(from) < share;
                is_below_share.then(|| self.find_evictable(None, false, now_ms, resume_at))?
            })
            .unwrap_or(Room::None)
    }

    /// Returns a partition to evict: one that is charged to the peer `of`, or any partition if `of` is `None`.
    /// `is_own`: the new partition is charged to the same peer. In this case, a partition that is still protected while
    /// it waits for its first record is not returned.
    fn find_evictable(
        &mut self,
        of: Option<&[u8]>,
        is_own: bool,
        now_ms: u64,
        resume_at: &impl Fn(Index, u64) -> Option<u64>,
    ) -> Option<Room> {
        [false, true].into_iter().find_map(|is_proven| {
            let until_ms = if is_proven || is_own { now_ms } else { u64::MAX };
            self.find_first(of, is_proven, until_ms, now_ms, resume_at)
        })
    }

    /// Returns the first partition in the order of eviction, among the proven or the unproven ones, if it is protected
    /// until `until_ms` at most.
    fn find_first(
        &mut self,
        of: Option<&[u8]>,
        is_proven: bool,
        until_ms: u64,
        now_ms: u64,
        resume_at: &impl Fn(Index, u64) -> Option<u64>,
    ) -> Option<Room> {
        // Most ranks are updated only here, so a listed rank may be outdated. The loop updates outdated ranks, and
        // delays partitions that cannot be closed now, until it finds a partition to evict.
        for _ in 0..MAX_LOOKS {
            let (listed_rank, index) = self.eviction.first(of, is_proven)?;
            let partition = &mut self[index];
            if partition.rank() == listed_rank {
                if listed_rank.time_ms > until_ms {
                    return None;
                }
                let next = partition.sequencer.next();
                if let Some(resume_at) = resume_at(index, next) {
                    return Some(Room::AfterEviction { index, resume_at });
                }
                // The partition cannot be closed now, so it stays for a while.
                partition.stays_ms = now_ms + STAY_MS;
                partition.opened_ms = now_ms;
            }
            self.update_rank(index);
        }
        None
    }
}
