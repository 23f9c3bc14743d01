//! A rate limit with a burst, as a state machine that is given the time.

/// A token bucket: `count` events may happen at once, and one more after each `interval_ms`. This object does not store
/// these numbers: the caller passes them, so that the object occupies only eight bytes.
#[derive(Clone, Copy, Debug, Default)]
pub struct RateLimit {
    /// When the full burst is available again.
    restored_ms: u64,
}

impl RateLimit {
    /// When the next event is allowed.
    pub fn due_ms(self, count: u64, interval_ms: u64) -> u64 {
        self.restored_ms.saturating_sub((count - 1) * interval_ms)
    }

    /// Counts an event at `now_ms`.
    pub fn take(&mut self, interval_ms: u64, now_ms: u64) {
        self.restored_ms = self.restored_ms.max(now_ms) + interval_ms;
    }

    /// Whether the full burst is available, as in a new limit.
    pub fn is_restored(self, now_ms: u64) -> bool {
        self.restored_ms <= now_ms
    }
}
