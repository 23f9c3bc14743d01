//! The partition table: the open partitions, by index and by name, and the choice of the partition to evict.
//!
//! Any peer can invent partitions. So a partition that has delivered a record in order outlasts one that has not; among
//! the latter, the oldest is evicted first. A peer that brings many partitions evicts its own: it has a limit, and when
//! there are too many in all, the peer with the most partitions loses one. So a peer that has no more than others loses
//! nothing, however many partitions others invent.
//!
//! Within one peer's share, a new partition does not evict one that still waits for its first record. A store sends the
//! heads of all its partitions in one burst, and each head would evict the partition before. Complete partitions of
//! ended producers are evicted at once: a consumer keeps their positions, a store has them on disk, and a peer that
//! mentions a missing record opens them again.

use super::beginning::Beginning;
use super::eviction::{EvictionOrder, Payer, Rank};
use super::fetch_quota::Window;
use super::index::Index;
use crate::partition_name::{PartitionName, PartitionNameBuf};
use crate::protocol::Payload;
use crate::protocol::partition::sequencer::Sequencer;
use crate::wire::{Position, partition_key};
use std::collections::HashMap;
use std::ops;

/// How long a proven partition stays after its producer was last heard. (A producer sends a HEAD every second.)
pub(super) const STAY_MS: u64 = 2_000;
/// How long a partition stays, beside newer ones of the same peer, for its first record, or for the next one of a gap.
const FIRST_RECORD_MS: u64 = 10_000;
/// At most so many partitions are considered to find one to evict.
const MAX_LOOKS: usize = 1_000;

/// One open partition.
#[derive(Debug)]
pub struct Partition<P> {
    pub(super) name: PartitionNameBuf,
    pub(super) sequencer: Sequencer<P>,
    pub(super) beginning: Beginning,
    /// A record has arrived in order.
    pub(super) is_proven: bool,
    pub(super) opened_ms: u64,
    /// It stays until then, because its producer was heard.
    pub(super) stays_ms: u64,
    /// When its last record arrived in order, or its first early one arrived.
    pub(super) moved_ms: u64,
    /// The peer that it is charged to: the one that first mentioned it, and later the one that delivered its first record
    /// in order.
    pub(super) payer: Payer,
    /// Its payer has delivered a record in order.
    pub(super) is_charged: bool,
    /// Its rank in the order of eviction, which may be out of date: see [`Table::update_rank`].
    listed_rank: Rank,
    /// The same in `ReorderQuota`, while it has early records.
    pub(super) listed_early_rank: Option<Rank>,
    /// When `FetchScheduler` looks at it next.
    pub(super) timer_ms: Option<u64>,
    /// The FETCH in flight, while it counts in `FetchQuota`.
    pub(super) window: Option<Window>,
}

impl<P: Payload> Partition<P> {
    /// The partition's name.
    pub fn name(&self) -> PartitionName<'_> {
        self.name.as_name()
    }

    /// Delivers the record `offset`, which is the next one, and the buffered records that follow it. Returns how many.
    pub(super) fn deliver(
        &mut self,
        offset: u64,
        content: P,
        now_ms: u64,
        mut deliver: impl FnMut(u64, P),
    ) -> u64 {
        let Partition { sequencer, beginning, .. } = self;
        let mut deliver = |offset, content| {
            if !beginning.is_delivered(offset) {
                deliver(offset, content);
            }
        };
        deliver(offset, content);
        while let Some(content) = sequencer.pop_early(now_ms) {
            deliver(sequencer.next() - 1, content);
        }
        let count = sequencer.next() - offset;
        self.beginning.confirm();
        (self.is_proven, self.moved_ms) = (true, now_ms);
        count
    }

    /// Whether a record arrived in order, and when it may be evicted. Messages do not delay that for an unproven one.
    fn rank(&self) -> Rank {
        let gap_ms = if self.sequencer.has_gap() { self.moved_ms + FIRST_RECORD_MS } else { 0 };
        let time_ms =
            if self.is_proven { self.stays_ms.max(gap_ms) } else { self.opened_ms + FIRST_RECORD_MS };
        Rank { is_proven: self.is_proven, time_ms }
    }

    /// Its rank among those that have early records.
    pub(super) fn early_rank(&self) -> Rank {
        Rank { is_proven: self.is_proven, time_ms: self.moved_ms }
    }
}

/// Whether there is room for one more partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Room {
    /// There is room.
    Free,
    /// There is room once a partition was closed. When that is opened again, it resumes at the record `resume_at`.
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
    /// By [`partition_key`].
    by_key: HashMap<Box<[u8]>, Index>,
    /// Ranks change with every record, so they are updated only when a partition to evict is searched.
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
    /// No partitions; at most `max_count`, and at most `max_count_per_peer` that one peer has brought.
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

    /// How many partitions are open.
    pub(super) fn len(&self) -> usize {
        self.by_key.len()
    }

    /// The peers that partitions are charged to.
    pub(super) fn eviction(&self) -> &EvictionOrder {
        &self.eviction
    }

    /// The partition of a decoded message, if it is open.
    pub(super) fn find(&self, position: &Position) -> Option<Index> {
        match position.key() {
            Some(key) => self.by_key.get(key).copied(),
            None => self.by_key.get(partition_key(position.partition()).as_slice()).copied(),
        }
    }

    /// The partition at an index, if there is one.
    pub(super) fn get(&self, index: Index) -> Option<&Partition<P>> {
        self.partitions.get(index.0)?.as_ref()
    }

    /// All partitions.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Index, &Partition<P>)> {
        let partitions = self.partitions.iter().enumerate();
        partitions.filter_map(|(i, partition)| Some((Index(i), partition.as_ref()?)))
    }

    /// Adds a partition that `from` has mentioned.
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
            name: name.to_buf(),
            sequencer,
            beginning: Beginning::default(),
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

    /// Whether there is room for a partition that the peer `from` brings. `resume_at`, given a partition and its next record,
    /// returns the record at which that partition resumes when it is opened again, or `None` when it cannot be closed now.
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

    /// A partition to evict, of one peer or of all. A peer's own new partition (`is_own`) does not evict one that still
    /// waits for its first record; another peer's does.
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

    /// The first partition among the proven or the unproven ones, if it may be evicted by `until_ms`.
    fn find_first(
        &mut self,
        of: Option<&[u8]>,
        is_proven: bool,
        until_ms: u64,
        now_ms: u64,
        resume_at: &impl Fn(Index, u64) -> Option<u64>,
    ) -> Option<Room> {
        // Ranks are updated only here. For each that is out of date, a message has arrived.
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
                // Its records are being written or delivered: it stays for another while.
                partition.stays_ms = now_ms + STAY_MS;
                partition.opened_ms = now_ms;
            }
            self.update_rank(index);
        }
        None
    }
}
