//! The names of stores.

use std::collections::HashSet;
use std::sync::Arc;

/// The limit of stored names.
const MAX_STORES: usize = 1_000;
/// The longest name of a store; our stores' names have 32 bytes.
const MAX_STORE_NAME_LEN: usize = 64;

/// The names of stores. Each name is in memory once, however many partitions its store holds.
#[derive(Debug, Default)]
pub(super) struct StoreNames(HashSet<Arc<[u8]>>);

impl StoreNames {
    /// Returns the shared copy of a store's name. Returns `None` for an empty name, and for a name that is too long to
    /// be a store's.
    pub(super) fn intern(&mut self, store: &[u8]) -> Option<Arc<[u8]>> {
        if store.is_empty() || store.len() > MAX_STORE_NAME_LEN {
            return None;
        }
        if let Some(store) = self.0.get(store) {
            return Some(store.clone());
        }
        if self.0.len() >= MAX_STORES {
            // There are so many names only if a peer invents some. Each partition keeps its copies of the names that it
            // uses.
            self.0.clear();
        }
        let store: Arc<[u8]> = store.into();
        self.0.insert(store.clone());
        Some(store)
    }
}
