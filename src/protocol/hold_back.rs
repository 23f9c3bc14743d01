//! How long a partition waits whose FETCHes seem to end the connections over which the answers come.
//!
//! A record that is longer than a connection takes ends it, with all that others wait for. Nothing tells whose answer it
//! was but the outcome. So whoever has waited in vain waits again, twice as long, and no two for the same time: those that
//! can be answered soon are.

/// The wait after the first connection that was given up; it doubles with each further one.
const FIRST_WAIT_MS: u64 = 250;
/// The longest wait; some wait up to twice as long.
const MAX_WAIT_MS: u64 = 30_000;

/// The state of one partition.
#[derive(Debug)]
pub struct HoldBack {
    /// How many FETCHes in a row had no answer, and a connection was given up meanwhile.
    count: u32,
    /// What makes this partition differ from others.
    turn: u64,
}

impl HoldBack {
    /// Nothing to wait for. Partitions with different `turn`s wait for different times.
    pub fn new(turn: usize) -> Self {
        HoldBack { count: 0, turn: turn as u64 }
    }

    /// A FETCH had no answer, and a connection was given up meanwhile.
    pub fn cut(&mut self) {
        self.count += 1;
    }

    /// How long to wait after that, and after each further FETCH, which may have found no connection.
    pub fn wait_ms(&self) -> u64 {
        if self.count == 0 {
            return 0;
        }
        let wait_ms = (FIRST_WAIT_MS << (self.count - 1).min(16)).min(MAX_WAIT_MS);
        // Any number that differs from partition to partition, and from time to time.
        let number = (self.turn ^ u64::from(self.count)).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        wait_ms + number % wait_ms
    }

    /// There was an answer.
    pub fn answered(&mut self) {
        self.count = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn waits_grow_and_differ() {
        let waits = |turn| {
            let mut held = HoldBack::new(turn);
            assert_eq!(held.wait_ms(), 0);
            let mut next = || (held.cut(), held.wait_ms()).1;
            (0..12).map(|_| next()).collect::<Vec<u64>>()
        };
        let all: Vec<Vec<u64>> = (0..100).map(waits).collect();
        for i in 0..12 {
            let least_ms = (FIRST_WAIT_MS << i).min(MAX_WAIT_MS);
            assert!(all.iter().all(|waits| (least_ms..2 * least_ms).contains(&waits[i])), "{i}");
            let different: HashSet<u64> = all.iter().map(|waits| waits[i]).collect();
            assert!(different.len() > 50, "{i}: {}", different.len());
        }
        let mut held = HoldBack::new(7);
        (0..100).for_each(|_| held.cut());
        assert!(held.wait_ms() >= MAX_WAIT_MS);
        held.answered();
        assert_eq!(held.wait_ms(), 0);
    }
}
