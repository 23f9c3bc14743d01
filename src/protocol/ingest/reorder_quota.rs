//! Limits the memory of the reorder buffers of all partitions.
//!
//! When an early run arrives, the early records of its partition may grow by at most the free memory, and to at most
//! three times the free memory. If only one partition has early records, it therefore gets about three quarters of the
//! limit. Each further partition gets at most about three quarters of the rest. One long run can exceed these shares,
//! because the free memory is measured before the run is buffered.
//!
//! When there is no room, the quota empties the buffers of partitions whose gap may never be filled. It begins with
//! unproven partitions. Then it continues with the partitions that have waited longest for an in-order record. If that
//! is not enough, the partition that needs room drops its own latest early records. The dropped records are fetched
//! again.

use super::eviction::Rank;
use super::index::Index;
use super::table::{Partition, Table};
use crate::protocol::Payload;
use crate::protocol::partition::reorder_buffer::EARLY_OVERHEAD_BYTES;
use std::collections::BTreeSet;

/// A partition that has received no in-order record for this time may lose its early records: perhaps no peer can fill
/// its gap. (When a proven partition needs room, unproven partitions lose their early records without this delay.)
const STALE_EARLY_MS: u64 = 2_000;
/// How many partitions are examined to find early records to drop.
const MAX_LOOKS: usize = 16;

/// The memory of the reorder buffers.
#[derive(Debug)]
pub(super) struct ReorderQuota {
    limit_bytes: usize,
    len_bytes: usize,
    /// The partitions with early records, in the order in which they lose these records. The ranks may be outdated.
    order: BTreeSet<(Rank, Index)>,
    dropped_count: u64,
}

impl ReorderQuota {
    pub(super) fn new(limit_bytes: usize) -> Self {
        ReorderQuota { limit_bytes, len_bytes: 0, order: BTreeSet::new(), dropped_count: 0 }
    }

    pub(super) fn len_bytes(&self) -> usize {
        self.len_bytes
    }

    /// How many early records were dropped to make room for others.
    pub(super) fn dropped_count(&self) -> u64 {
        self.dropped_count
    }

    /// Makes room for an early run of `len_bytes`. Returns how much more memory the partition's early records may
    /// use.
    pub(super) fn make_room<P: Payload>(
        &mut self,
        table: &mut Table<P>,
        index: Index,
        len_bytes: usize,
        now_ms: u64,
    ) -> usize {
        let own_bytes = table[index].sequencer.early_len_bytes();
        let is_proven = table[index].is_proven;
        let cost_bytes = len_bytes + EARLY_OVERHEAD_BYTES;
        for _ in 0..MAX_LOOKS {
            if self.room_bytes(own_bytes) >= cost_bytes {
                break;
            }
            let Some(&(listed_rank, first)) = self.order.first() else { break };
            let partition = &mut table[first];
            let rank = partition.early_rank();
            self.order.remove(&(listed_rank, first));
            if rank == listed_rank
                && first != index
                && (is_proven && !rank.is_proven || now_ms >= rank.time_ms + STALE_EARLY_MS)
            {
                partition.listed_early_rank = None;
                let (count, freed_bytes) = partition.sequencer.drop_early();
                self.len_bytes -= freed_bytes;
                self.dropped_count += count;
                continue;
            }
            partition.listed_early_rank = Some(rank);
            self.order.insert((rank, first));
            if rank == listed_rank {
                break;
            }
        }
        self.room_bytes(own_bytes)
    }

    /// How much more memory a partition's early records may use, if they use `own_bytes` now.
    fn room_bytes(&self, own_bytes: usize) -> usize {
        let free_bytes = self.limit_bytes.saturating_sub(self.len_bytes);
        free_bytes.min((3 * free_bytes).saturating_sub(own_bytes))
    }

    /// Updates the quota after a partition's early records have changed. Before the change, they used `before_bytes`.
    pub(super) fn update<P: Payload>(
        &mut self,
        index: Index,
        partition: &mut Partition<P>,
        before_bytes: usize,
        now_ms: u64,
    ) {
        let early_len_bytes = partition.sequencer.early_len_bytes();
        self.len_bytes = self.len_bytes + early_len_bytes - before_bytes;
        match (partition.listed_early_rank, early_len_bytes > 0) {
            (None, true) => {
                partition.moved_ms = now_ms;
                let listed_rank = partition.early_rank();
                partition.listed_early_rank = Some(listed_rank);
                self.order.insert((listed_rank, index));
            }
            (Some(listed_rank), false) => {
                partition.listed_early_rank = None;
                self.order.remove(&(listed_rank, index));
            }
            _ => {}
        }
    }

    /// Removes the early records of a partition whose sequencer is dropped.
    pub(super) fn release<P: Payload>(&mut self, index: Index, partition: &mut Partition<P>) {
        self.len_bytes -= partition.sequencer.early_len_bytes();
        if let Some(listed_rank) = partition.listed_early_rank.take() {
            self.order.remove(&(listed_rank, index));
        }
    }
}
