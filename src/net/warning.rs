//! Limits the rate of warnings about what peers send, so that no peer can fill a log.

/// One kind of warning: at most one line in [`Warning::INTERVAL_MS`], which also tells how many it stands for.
#[derive(Default)]
pub struct Warning {
    next_ms: u64,
    suppressed: u64,
}

impl Warning {
    /// The shortest time between two lines of one kind.
    pub const INTERVAL_MS: u64 = 1_000;

    /// No line went out yet.
    pub const fn new() -> Warning {
        Warning { next_ms: 0, suppressed: 0 }
    }

    /// Logs `text` unless a line of this kind went out less than an interval ago.
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
