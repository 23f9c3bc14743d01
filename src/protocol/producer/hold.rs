//! New records that wait until stores have confirmed where the partition ends.

use std::collections::BTreeSet;

/// The limit of counted stores. No configuration requires more of them.
const MAX_STORES: usize = 1_000;

/// Which records wait, and which stores have confirmed.
pub(super) struct Hold {
    /// The records from here on wait.
    pub(super) from: u64,
    /// The names of the stores that have acknowledged records.
    stores: BTreeSet<Box<[u8]>>,
}

impl Hold {
    pub(super) fn new(from: u64) -> Hold {
        Hold { from, stores: BTreeSet::new() }
    }

    /// A store has acknowledged records before `from`.
    pub(super) fn confirm(&mut self, store: &[u8]) {
        if self.stores.len() < MAX_STORES && !self.stores.contains(store) {
            self.stores.insert(store.into());
        }
    }

    pub(super) fn confirmations(&self) -> usize {
        self.stores.len()
    }
}
