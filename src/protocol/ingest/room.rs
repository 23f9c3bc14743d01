//! Decides which partition is evicted when there is no room for a new one.
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

use super::eviction::Rank;
use super::{Index, Ingest, Partition, STAY_MS};
use crate::protocol::{Payload, Sender};
use crate::wire::partition_key;
use std::collections::HashSet;

/// How long a partition stays, beside newer ones of the same peer, for its first record, or for the next one of a gap.
pub(super) const FIRST_RECORD_MS: u64 = 10_000;
/// Partitions that are looked at, at most, when one is to give way.
const MAX_LOOKS: usize = 1_000;

impl<P: Payload> Partition<P> {
    /// Whether a record came in order, and from when on it may give way. No talk makes one younger that is not proven.
    pub(super) fn rank(&self) -> Rank {
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

impl<P: Payload> Ingest<P> {
    /// Makes room for a partition that a peer brings; false when there is none.
    pub(super) fn make_room(
        &mut self,
        from: &[u8],
        now_ms: u64,
        resume_at: &impl Fn(Index, u64) -> Option<u64>,
    ) -> bool {
        if self.has_too_many(from) {
            return self.close_one(Some(from), true, now_ms, resume_at);
        }
        if self.by_key.len() < self.limits.partitions {
            return true;
        }
        let greediest = self.eviction.greediest_for(from);
        greediest.is_some_and(|payer| self.close_one(Some(&payer), false, now_ms, resume_at))
            || self.close_one(Some(from), !from.is_empty(), now_ms, resume_at)
            || self.eviction.count_of_host(from) < self.limits.partitions / self.eviction.host_count().max(1)
                && self.close_one(None, false, now_ms, resume_at)
    }

    /// True when a peer has as many partitions as one may.
    pub(super) fn has_too_many(&self, from: &[u8]) -> bool {
        !from.is_empty() && self.eviction.count_of(from) >= self.limits.partitions_per_peer
    }

    /// Closes one partition, of one peer or of all. False when none can be missed. A peer's own new partition waits for the
    /// first record of those it has brought before; another's does not (`is_own`).
    fn close_one(
        &mut self,
        of: Option<&[u8]>,
        is_own: bool,
        now_ms: u64,
        resume_at: &impl Fn(Index, u64) -> Option<u64>,
    ) -> bool {
        [false, true].into_iter().any(|is_proven| {
            let is_early = is_proven || is_own;
            self.close_one_of(of, is_proven, if is_early { now_ms } else { u64::MAX }, now_ms, resume_at)
        })
    }

    /// Closes the first partition, of those that are proven or of the others, whose time has come by `until_ms`.
    fn close_one_of(
        &mut self,
        of: Option<&[u8]>,
        is_proven: bool,
        until_ms: u64,
        now_ms: u64,
        resume_at: &impl Fn(Index, u64) -> Option<u64>,
    ) -> bool {
        // Ranks are put right only here. Each look is paid for by a message that has changed one.
        for _ in 0..MAX_LOOKS {
            let Some((listed_rank, index)) = self.eviction.first(of, is_proven) else { return false };
            let partition = self.partitions[index.0].as_mut().expect("an open partition");
            if partition.rank() == listed_rank {
                if listed_rank.time_ms > until_ms {
                    return false;
                }
                let next = partition.sequencer.next();
                if let Some(position) = resume_at(index, next) {
                    self.close(index, Some(position));
                    self.statistics.closed += 1;
                    return true;
                }
                // Its records are on their way somewhere: it gets another while.
                partition.stays_ms = now_ms + STAY_MS;
                partition.opened_ms = now_ms;
            }
            self.update_rank(index);
        }
        false
    }

    /// Puts right when a partition may give way.
    pub(super) fn update_rank(&mut self, index: Index) {
        let partition = self.partitions[index.0].as_mut().expect("an open partition");
        let (listed_rank, rank) = (partition.listed_rank, partition.rank());
        if listed_rank != rank {
            partition.listed_rank = rank;
            self.eviction.change(&partition.payer, (listed_rank, index), rank);
        }
    }

    /// Forgets every partition of a topic, and what came early of it.
    pub fn close_subjects(&mut self, subjects: &HashSet<Box<[u8]>>) {
        let is_of = |partition: &Partition<P>| subjects.contains(&partition.subject);
        for i in 0..self.partitions.len() {
            if self.partitions[i].as_ref().is_some_and(is_of) {
                self.close(Index(i), None);
            }
        }
    }

    /// The subjects of all partitions, each as often as there are partitions of it.
    pub fn subjects(&self) -> impl Iterator<Item = &[u8]> {
        self.partitions.iter().flatten().map(|partition| partition.subject.as_ref())
    }

    /// Forgets where partitions of other subjects gave way.
    pub fn remember_only<'a>(&mut self, subjects: impl Iterator<Item = &'a [u8]>) {
        self.evicted_positions.retain_subjects(subjects);
    }

    /// Closes a partition, and remembers where it goes on when it is opened again, unless that is `None`.
    fn close(&mut self, index: Index, resume_at: Option<u64>) {
        let Some(mut partition) = self.partitions[index.0].take() else { return };
        let key = partition_key(&partition.address, &partition.subject);
        self.by_key.remove(key.as_slice());
        self.release(&mut partition, index);
        self.eviction.remove(&partition.payer, (partition.listed_rank, index));
        // A partition of which nothing has come begins anew.
        if let Some(position) = resume_at.filter(|_| partition.sequencer.next() > 0) {
            self.evicted_positions.put(&key, &partition.subject, position);
        }
        self.free.push(index);
    }

    /// Gives back what a partition's early records and its FETCH occupy, which it is to forget.
    pub(super) fn release(&mut self, partition: &mut Partition<P>, index: Index) {
        self.early_len_bytes -= partition.sequencer.early_len_bytes();
        self.in_flight.change(&partition.payer, partition.sequencer.in_flight_len_bytes(), 0);
        self.in_flight.end(index, partition.window.take());
        if let Some(timer_ms) = partition.timer_ms.take() {
            self.timers.remove(&(timer_ms, index));
        }
        if let Some(listed_rank) = partition.listed_early_rank.take() {
            self.early_order.remove(&(listed_rank, index));
        }
    }

    /// A record of a partition has come in order: the peer that delivered the first one pays for the partition from then
    /// on, unless it has too many. So nobody can make others' partitions give way by mentioning them first.
    pub(super) fn charge(&mut self, index: Index, from: &Sender) {
        self.partitions[index.0].as_mut().expect("an open partition").is_charged = true;
        if let Some(from) = from() {
            self.charge_to(index, &from);
        }
    }

    /// A peer mentions a partition. When the partition waits for room in the share of its payer, and the peer has room, the
    /// peer pays from now on. So a payer whose share is used up cannot hold up a partition of others. A payer that has
    /// delivered a record keeps the partition for 2 s after the last one.
    pub fn mentioned(&mut self, index: Index, from: &Sender, now_ms: u64) {
        let partition = self.partition(index);
        let is_waiting = partition.sequencer.has_gap() && partition.sequencer.in_flight_len_bytes() == 0;
        if !is_waiting || self.in_flight.has_room(&partition.payer) {
            return;
        }
        if partition.is_charged && now_ms < partition.moved_ms + STAY_MS {
            return;
        }
        if let Some(from) = from().filter(|from| self.in_flight.has_room(from)) {
            self.charge_to(index, &from);
        }
    }

    fn charge_to(&mut self, index: Index, from: &[u8]) {
        if *self.partition(index).payer == *from || self.has_too_many(from) {
            return;
        }
        let partition = self.partitions[index.0].as_mut().expect("an open partition");
        let (listed_rank, in_flight_len_bytes) =
            ((partition.listed_rank, index), partition.sequencer.in_flight_len_bytes());
        self.in_flight.change(&partition.payer, in_flight_len_bytes, 0);
        self.eviction.remove(&partition.payer, listed_rank);
        partition.payer = self.eviction.add(from, listed_rank);
        self.in_flight.change(&partition.payer, 0, in_flight_len_bytes);
    }
}
