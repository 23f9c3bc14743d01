//! The comparison with the store at the other end of one connection: which partition is compared, and which run of its
//! records was requested.

use crate::partition_name::{PartitionName, PartitionNameBuf};
use crate::protocol::host_of;
use crate::wire::partition_key;
use std::collections::BTreeMap;
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};

/// A response has ended when no DIRECT-HEAD has come for this time.
pub(super) const QUIET_MS: u64 = 1_000;
/// The longest timeout of a FETCH.
pub(super) const MAX_TIMEOUT_MS: u64 = 60_000;
/// After this many FETCHes without a response, a partition is left to the next round.
pub(super) const MAX_SILENT_COUNT: u32 = 2;
/// The limit of records in a run.
pub(super) const RUN_COUNT: usize = 512;

/// A partition that another store holds too.
#[derive(Debug)]
pub(super) struct Candidate {
    pub(super) partition: PartitionNameBuf,
    pub(super) store: Box<[u8]>,
    /// The next record to compare.
    pub(super) next: u64,
    /// One after the last record that the other store has.
    pub(super) end: u64,
}

/// A run that was requested from the other store.
#[derive(Debug)]
pub(super) struct Sample {
    pub(super) first: u64,
    /// The digests of this store's records, from `first` on.
    pub(super) digests: Vec<u64>,
    /// Which of the records have come.
    pub(super) seen: Vec<bool>,
    pub(super) sent_ms: u64,
    pub(super) deadline_ms: u64,
}

/// The comparison with the store at the other end of one connection.
#[derive(Debug)]
pub(super) struct Walk {
    /// The connection; `None` when it is not known.
    pub(super) from: Option<Box<[u8]>>,
    /// The place of the partition that was compared last.
    pub(super) cursor: u64,
    /// The partitions to compare. The key is the distance that the partition had from the cursor when it was gathered.
    pub(super) batch: BTreeMap<u64, Candidate>,
    /// Whether partitions are still gathered. While they are compared, DIRECT-HEADs add none.
    pub(super) is_gathering: bool,
    pub(super) heard_ms: u64,
    pub(super) sample: Option<Sample>,
    /// How many records to request. It shrinks when a response is partial or missing: a queue on the path may be too
    /// short for all records.
    pub(super) run_count: usize,
    /// The response time of the last FETCH.
    pub(super) answer_ms: u64,
    /// The number of consecutive FETCHes without a response.
    pub(super) silent_count: u32,
    /// The number of the walk's latest FETCH.
    pub(super) turn: u64,
}

impl Walk {
    pub(super) fn host(&self) -> &[u8] {
        host_of(self.from.as_deref().unwrap_or_default())
    }

    pub(super) fn is_ready(&self) -> bool {
        !self.is_gathering && self.sample.is_none() && !self.batch.is_empty()
    }

    /// When the walk must continue. It may then have to wait for other walks.
    pub(super) fn due_ms(&self) -> Option<u64> {
        match &self.sample {
            Some(sample) => Some(sample.deadline_ms),
            None if self.batch.is_empty() => None,
            None if self.is_gathering => Some(self.heard_ms + QUIET_MS),
            None => Some(0),
        }
    }

    /// Removes the first partition of the batch: it has been compared, or cannot be compared.
    pub(super) fn finish_partition(&mut self, own_seed: u64) {
        if let Some((_, candidate)) = self.batch.pop_first() {
            self.cursor = place(own_seed, candidate.partition.as_name());
        }
        if self.batch.is_empty() {
            self.is_gathering = true;
        }
    }

    /// Ends the wait for a response. Continues after the records that have arrived.
    pub(super) fn finish_sample(&mut self, own_seed: u64, now_ms: u64) {
        let Some(sample) = self.sample.take() else { return };
        let come = sample.seen.iter().take_while(|seen| **seen).count() as u64;
        self.run_count = match come as usize == sample.seen.len() {
            true => (2 * self.run_count).min(RUN_COUNT),
            false => (self.run_count / 2).max(1),
        };
        if come > 0 {
            self.silent_count = 0;
            self.answer_ms = now_ms.saturating_sub(sample.sent_ms).min(MAX_TIMEOUT_MS / 3);
        } else {
            self.silent_count = (self.silent_count + 1).min(16);
        }
        let Some(mut first) = self.batch.first_entry() else { return };
        let candidate = first.get_mut();
        candidate.next = sample.first + come;
        let is_skipped = come == 0 && self.silent_count >= MAX_SILENT_COUNT;
        if is_skipped || candidate.next >= candidate.end {
            self.finish_partition(own_seed);
        }
    }
}

/// The place of a partition in the order in which one store compares partitions.
pub(super) fn place(seed: u64, name: PartitionName) -> u64 {
    hash((seed, name))
}

/// Identifies a partition and a store. The same store name on another host counts as another store, because a peer
/// may forge names.
pub(super) fn key(of: &Candidate, host: &[u8]) -> u64 {
    hash((host, &of.store, partition_key(of.partition.as_name()).as_slice()))
}

pub(super) fn hash(value: impl std::hash::Hash) -> u64 {
    BuildHasherDefault::<DefaultHasher>::default().hash_one(value)
}
