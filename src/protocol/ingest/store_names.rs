//! The names of stores.

use std::collections::HashSet;
use std::sync::Arc;

/// Stores whose names are known at a time.
const MAX_STORES: usize = 1_000;
/// The longest name of a store; our stores' names have 32 bytes.
const MAX_STORE_NAME_LEN: usize = 64;

/// The names of stores, each once in memory however many partitions a store holds.
#[derive(Debug, Default)]
pub(super) struct StoreNames(HashSet<Arc<[u8]>>);

impl StoreNames {
    /// Returns the shared copy of a store's name. `None` for an empty name, and for one that is too long to be a
    /// store's.
    pub(super) fn intern(&mut self, store: &[u8]) -> Option<Arc<[u8]>> {
        if store.is_empty() || store.len() > MAX_STORE_NAME_LEN {
            return None;
        }
        if let Some(store) = self.0.get(store) {
            return Some(store.clone());
        }
        if self.0.len() >= MAX_STORES {
            // Only a peer that invents names brings so many. Partitions keep their copies of the names that they use.
            self.0.clear();
        }
        let store: Arc<[u8]> = store.into();
        self.0.insert(store.clone());
        Some(store)
    }
}
