//! The clock that the actors pass to the protocol logic.

use rustix::time::{ClockId, clock_gettime};
use std::sync::OnceLock;
use std::time::Instant;

/// Milliseconds since the first call in this process. It never goes back.
pub fn now_ms() -> u64 {
    static START: OnceLock<Instant> = OnceLock::new();
    START.get_or_init(Instant::now).elapsed().as_millis() as u64
}

/// Milliseconds since the Unix epoch.
pub fn unix_ms() -> i64 {
    let now = std::time::SystemTime::now();
    now.duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64)
}

/// Milliseconds since the host was started, including the time for which it was suspended. It never jumps.
pub fn uptime_ms() -> u64 {
    let time = clock_gettime(ClockId::Boottime);
    time.tv_sec as u64 * 1_000 + time.tv_nsec as u64 / 1_000_000
}

/// A clock that stops while its owner cannot read the network. During this time, the response to a FETCH may have
/// arrived and be unread. So the FETCH must not time out.
#[derive(Debug, Default)]
pub struct ReadingClock {
    stopped_ms: u64,
    stopped_since_ms: Option<u64>,
}

impl ReadingClock {
    /// Sets whether the owner can read now. The owner calls this whenever it may have become able or unable to read.
    pub fn can_read(&mut self, can_read: bool) {
        self.set_running(can_read, now_ms());
    }

    /// The time, which is [`now_ms`] less the time for which the clock was stopped.
    pub fn now_ms(&self) -> u64 {
        self.at(now_ms())
    }

    fn set_running(&mut self, can_read: bool, now_ms: u64) {
        match self.stopped_since_ms {
            None if !can_read => self.stopped_since_ms = Some(now_ms),
            Some(since_ms) if can_read => {
                self.stopped_ms += now_ms - since_ms;
                self.stopped_since_ms = None;
            }
            _ => {}
        }
    }

    fn at(&self, now_ms: u64) -> u64 {
        self.stopped_since_ms.unwrap_or(now_ms) - self.stopped_ms
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_stops_while_nothing_can_be_read() {
        let mut clock = ReadingClock::default();
        clock.set_running(true, 5);
        assert_eq!(clock.at(10), 10);
        clock.set_running(false, 20);
        clock.set_running(false, 30);
        assert_eq!(clock.at(40), 20);
        clock.set_running(true, 50);
        assert_eq!(clock.at(50), 20);
        assert_eq!(clock.at(55), 25);
        clock.set_running(false, 60);
        clock.set_running(true, 61);
        assert_eq!(clock.at(61), 30);
    }
}
