//! New records that wait until stores have confirmed where the partition ends.

use std::collections::BTreeSet;

/// The limit of counted stores. No configuration requires more of them.
const MAX_STORES: usize = 1_000;

/// Which records wait, and which stores have confirmed.
pub(super) struct Hold {
    /// The records from here on wait.
    pub(super) from: u64,
    /// The records before this offset were acknowledged when the hold began.
    acknowledged: u64,
    /// The names of the stores that have acknowledged them all since.
    stores: BTreeSet<Box<[u8]>>,
}

impl Hold {
    pub(super) fn new(from: u64, acknowledged: u64) -> Hold {
        Hold { from, acknowledged, stores: BTreeSet::new() }
    }

    /// A store has acknowledged the records before `end`. A store that lacks acknowledged records confirms nothing: the
    /// stores that have them may also have records which this producer does not know.
    pub(super) fn confirm(&mut self, store: &[u8], end: u64) {
        if end >= self.acknowledged && self.stores.len() < MAX_STORES && !self.stores.contains(store) {
            self.stores.insert(store.into());
        }
    }

    pub(super) fn confirmations(&self) -> usize {
        self.stores.len()
    }
}
