//! The clock that the actors hand to the protocol logic.

use std::sync::OnceLock;
use std::time::Instant;

/// Milliseconds since the first call in this process; never goes back.
pub fn now_ms() -> u64 {
    static START: OnceLock<Instant> = OnceLock::new();
    START.get_or_init(Instant::now).elapsed().as_millis() as u64
}

/// A clock that stands still while its owner cannot read the network: answers that lie unread are not late, and what
/// was asked for must not be asked for again because of that.
#[derive(Debug, Default)]
pub struct ReadingClock {
    stood_still_ms: u64,
    stands_since_ms: Option<u64>,
}

impl ReadingClock {
    /// Tells it, again and again, whether its owner can read now.
    pub fn can_read(&mut self, can_read: bool) {
        self.turn(can_read, now_ms());
    }

    /// The time, as in [`now_ms`] less what it stood still.
    pub fn now_ms(&self) -> u64 {
        self.at(now_ms())
    }

    fn turn(&mut self, can_read: bool, now_ms: u64) {
        match self.stands_since_ms {
            None if !can_read => self.stands_since_ms = Some(now_ms),
            Some(since_ms) if can_read => {
                self.stood_still_ms += now_ms - since_ms;
                self.stands_since_ms = None;
            }
            _ => {}
        }
    }

    fn at(&self, now_ms: u64) -> u64 {
        self.stands_since_ms.unwrap_or(now_ms) - self.stood_still_ms
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_stands_still_while_nothing_can_be_read() {
        let mut clock = ReadingClock::default();
        clock.turn(true, 5);
        assert_eq!(clock.at(10), 10);
        clock.turn(false, 20);
        clock.turn(false, 30);
        assert_eq!(clock.at(40), 20);
        clock.turn(true, 50);
        assert_eq!(clock.at(50), 20);
        assert_eq!(clock.at(55), 25);
        clock.turn(false, 60);
        clock.turn(true, 61);
        assert_eq!(clock.at(61), 30);
    }
}
