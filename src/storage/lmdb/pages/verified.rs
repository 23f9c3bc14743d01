//! Stores which pages and records were checked, so that each is checked only once.
//!
//! Checked pages stay sound, because everything that is written later comes from this process through LMDB.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, RandomState};
use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};

#[derive(Debug, Default)]
pub(in crate::storage) struct Verified {
    /// One bit for each checked leaf of the table of records.
    pages: Mutex<Vec<u64>>,
    /// For each partition, a range of records. The key is the partition's number. All pages on the path to each of
    /// these records were checked.
    records: Mutex<HashMap<u64, Range<u64>>>,
    /// The hashed names of partitions. All pages on the path to the end of each of these partitions were checked.
    ends: Mutex<HashSet<u64>>,
    hasher: RandomState,
}

impl Verified {
    pub(super) fn has_page(&self, page: u64) -> bool {
        lock(&self.pages).get((page / 64) as usize).is_some_and(|word| word >> (page % 64) & 1 == 1)
    }

    pub(super) fn add_page(&self, page: u64) {
        let mut pages = lock(&self.pages);
        let index = (page / 64) as usize;
        if pages.len() <= index {
            pages.resize(index + 1, 0);
        }
        pages[index] |= 1 << (page % 64);
    }

    /// Whether the path to each of these records of a partition was checked.
    pub(in crate::storage) fn has_records(&self, partition: u64, records: &Range<u64>) -> bool {
        let known = lock(&self.records);
        known.get(&partition).is_some_and(|known| known.start <= records.start && records.end <= known.end)
    }

    /// Stores that the path to each of these records was checked.
    pub(in crate::storage) fn add_records(&self, partition: u64, records: Range<u64>) {
        let mut known = lock(&self.records);
        let known = known.entry(partition).or_insert(records.clone());
        if known.start <= records.end && records.start <= known.end {
            *known = known.start.min(records.start)..known.end.max(records.end);
        } else {
            // Reads at two distant places of a partition are rare, so only the last range is stored.
            *known = records;
        }
    }

    /// Runs `check` for the end of a partition, unless this check has succeeded before.
    pub(in crate::storage) fn check_end_once<E>(
        &self,
        name: &[u8],
        check: impl FnOnce() -> Result<(), E>,
    ) -> Result<(), E> {
        let hash = self.hasher.hash_one(name);
        if !lock(&self.ends).contains(&hash) {
            check()?;
            lock(&self.ends).insert(hash);
        }
        Ok(())
    }
}

/// A poisoned lock is harmless: a panic leaves none of these collections half changed.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
