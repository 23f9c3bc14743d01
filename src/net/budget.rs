//! Limits the data that an actor has been given and has not finished with.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// The longest wait of one [`Budget::reserve`].
const RESERVE_TIMEOUT: Duration = Duration::from_millis(100);

/// Counts the bytes in an actor's pipe and the bytes that the actor holds. The actor's owner reserves room before it
/// writes into the pipe.
pub struct Budget {
    limit_bytes: u64,
    used: Mutex<Used>,
    freed: Condvar,
}

#[derive(Default)]
struct Used {
    /// Reserved by the owner, and not yet read by the actor.
    in_pipe_bytes: u64,
    /// Held by the actor, according to its last report.
    held_bytes: u64,
}

impl Budget {
    pub(super) fn new(limit_bytes: u64) -> Budget {
        Budget { limit_bytes, used: Mutex::default(), freed: Condvar::new() }
    }

    fn used(&self) -> MutexGuard<'_, Used> {
        self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_full(&self, used: &Used) -> bool {
        used.in_pipe_bytes.saturating_add(used.held_bytes) >= self.limit_bytes
    }

    /// Reserves room, waiting briefly for it. While any room is left, a reservation of any size fits.
    pub(super) fn reserve(&self, len_bytes: u64) -> bool {
        let waited = self.freed.wait_timeout_while(self.used(), RESERVE_TIMEOUT, |used| self.is_full(used));
        let (mut used, waited) = waited.unwrap_or_else(PoisonError::into_inner);
        if !waited.timed_out() {
            used.in_pipe_bytes = used.in_pipe_bytes.saturating_add(len_bytes);
        }
        !waited.timed_out()
    }

    /// The actor has read this much from its pipe, and holds it from now on. One call moves the bytes from one count to
    /// the other, so that the sum is always correct.
    pub fn received(&self, len_bytes: u64) {
        let mut used = self.used();
        // A caller that wrote into the pipe directly has reserved nothing.
        used.in_pipe_bytes = used.in_pipe_bytes.saturating_sub(len_bytes);
        used.held_bytes = used.held_bytes.saturating_add(len_bytes);
    }

    /// Sets how much the actor holds now. True when the limit is reached, including what is in the pipe.
    pub fn set_held(&self, held_bytes: u64) -> bool {
        let mut used = self.used();
        let is_less = held_bytes < used.held_bytes;
        used.held_bytes = held_bytes;
        let is_full = self.is_full(&used);
        drop(used);
        if is_less && !is_full {
            self.freed.notify_all();
        }
        is_full
    }

    /// The limit.
    pub fn limit_bytes(&self) -> u64 {
        self.limit_bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_that_moves_from_the_pipe_to_the_actor_stays_counted() {
        let budget = Budget::new(100);
        assert!(budget.reserve(60));
        assert!(budget.reserve(60), "while any room is left, one more fits");
        budget.received(60);
        assert!(!budget.reserve(1));
        budget.received(60);
        assert!(!budget.reserve(1));
        assert!(budget.set_held(120));
        assert!(!budget.set_held(60));
        assert!(budget.reserve(1));
    }
}
