//! Time: one true clock, which the scheduler advances, and one per node, which has an offset and can jump.

use super::network::Host;

/// True time in microseconds since the start of the run.
pub(crate) type Time = u64;

pub(crate) const MS: Time = 1_000;
pub(crate) const SECOND: Time = 1_000_000;

/// The clocks of two hosts differ by at most this.
pub(crate) const MAX_CLOCK_DIFFERENCE_MS: i64 = 1_000;

/// The time since the Unix epoch by the clock of a host.
pub(crate) fn unix_ms(now: Time, host: Host) -> i64 {
    1_700_000_000_000 + (now / MS) as i64 + host as i64 * 377 % (MAX_CLOCK_DIFFERENCE_MS + 1)
}

/// A node's clock.
#[derive(Clone, Copy)]
pub(crate) struct Clock {
    offset_ms: u64,
}

impl Clock {
    pub(crate) fn new(offset_ms: u64) -> Clock {
        Clock { offset_ms }
    }

    /// The time that the node's clock shows.
    pub(crate) fn now_ms(&self, now: Time) -> u64 {
        now / MS + self.offset_ms
    }

    /// The true time when the node's clock shows `due_ms`, and not before `now`.
    pub(crate) fn when(&self, due_ms: u64, now: Time) -> Time {
        due_ms.saturating_sub(self.offset_ms).saturating_mul(MS).max(now)
    }

    /// Jumps ahead, as after a machine was suspended.
    pub(crate) fn jump(&mut self, by_ms: u64) {
        self.offset_ms += by_ms;
    }
}
