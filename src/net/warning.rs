//! Limits the rate of warnings about peers, so that no peer can fill a log.

/// One kind of warning. It logs at most one line in [`Warning::INTERVAL_MS`], with the number of suppressed lines.
#[derive(Default)]
pub struct Warning {
    next_ms: u64,
    suppressed: u64,
}

impl Warning {
    /// The shortest time between two lines of one kind.
    pub const INTERVAL_MS: u64 = 1_000;

    /// No line was logged yet.
    pub const fn new() -> Warning {
        Warning { next_ms: 0, suppressed: 0 }
    }

    /// Logs `text`, unless a line of this kind was logged less than an interval ago.
    pub fn warn(&mut self, now_ms: u64, text: impl FnOnce() -> String) {
        if now_ms < self.next_ms {
            self.suppressed += 1;
            return;
        }
        match std::mem::take(&mut self.suppressed) {
            0 => log::warn!("{}", text()),
            n => log::warn!("{} ({n} more like it before)", text()),
        }
        self.next_ms = now_ms + Self::INTERVAL_MS;
    }
}
