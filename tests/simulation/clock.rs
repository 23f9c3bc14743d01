//! Time: one true clock, which the scheduler turns, and one per node, which starts anywhere and jumps.

/// True time, in microseconds from the start of the run.
pub(crate) type Time = u64;

pub(crate) const MS: Time = 1_000;
pub(crate) const SECOND: Time = 1_000_000;

/// A node's clock.
#[derive(Clone, Copy)]
pub(crate) struct Clock {
    offset_ms: u64,
}

impl Clock {
    pub(crate) fn new(offset_ms: u64) -> Clock {
        Clock { offset_ms }
    }

    /// What the node takes for the time.
    pub(crate) fn now_ms(&self, now: Time) -> u64 {
        now / MS + self.offset_ms
    }

    /// When the node's clock will say `due_ms`; not before `now`.
    pub(crate) fn when(&self, due_ms: u64, now: Time) -> Time {
        due_ms.saturating_sub(self.offset_ms).saturating_mul(MS).max(now)
    }

    /// Jumps ahead, as when a machine was suspended.
    pub(crate) fn jump(&mut self, by_ms: u64) {
        self.offset_ms += by_ms;
    }
}
