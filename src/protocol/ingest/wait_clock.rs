//! Measures how long a node has waited for messages.
//!
//! If a message has not been read for a long time, that may have two reasons: no peer has sent it, or the node has not read
//! its messages. The clock does not run while received messages are unread. It hardly runs while the process is stopped.

/// The time between two calls counts at most this much, because the process may have been stopped between them.
const MAX_STEP_MS: u64 = 500;

/// The clock.
#[derive(Debug, Default)]
pub(super) struct WaitClock {
    time_ms: u64,
    /// The time of the node's clock until which `time_ms` has counted.
    counted_ms: u64,
}

impl WaitClock {
    /// All messages that arrived before `read_until_ms` have been read. Returns the time of the clock.
    pub(super) fn advance(&mut self, read_until_ms: u64) -> u64 {
        self.time_ms += read_until_ms.saturating_sub(self.counted_ms).min(MAX_STEP_MS);
        self.counted_ms = self.counted_ms.max(read_until_ms);
        self.time_ms
    }

    /// When [`WaitClock::advance`] must be called next, by the node's clock, so that the clock can reach `time_ms`.
    pub(super) fn due_ms(&self, time_ms: u64) -> u64 {
        self.counted_ms + time_ms.saturating_sub(self.time_ms).min(MAX_STEP_MS)
    }
}
