//! Exponential backoff for a partition whose FETCHes seem to end the connections that carry the answers.
//!
//! libzmq ends a connection over which a record longer than its limit comes; answers to other partitions are lost with it.
//! Nothing shows which partition's answer it was. So each partition that waited in vain waits twice as long before its next
//! FETCH. No two partitions wait equally long, so the ones that can be answered soon are.

/// The wait after the first connection that was given up; it doubles with each further one.
const FIRST_WAIT_MS: u64 = 250;
/// The longest wait; some wait up to twice as long.
const MAX_WAIT_MS: u64 = 30_000;

/// The state of one partition.
#[derive(Debug)]
pub struct Backoff {
    /// FETCHes in a row that had no answer while a connection was given up.
    count: u32,
    /// Differs between partitions.
    turn: u64,
}

impl Backoff {
    /// Nothing to wait for. Partitions with different `turn`s wait for different times.
    pub fn new(turn: usize) -> Self {
        Backoff { count: 0, turn: turn as u64 }
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
    use super::super::sequencer::Sequencer;
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn waits_grow_and_differ() {
        let waits = |turn| {
            let mut backoff = Backoff::new(turn);
            assert_eq!(backoff.wait_ms(), 0);
            let mut next = || (backoff.cut(), backoff.wait_ms()).1;
            (0..12).map(|_| next()).collect::<Vec<u64>>()
        };
        let all: Vec<Vec<u64>> = (0..100).map(waits).collect();
        for i in 0..12 {
            let least_ms = (FIRST_WAIT_MS << i).min(MAX_WAIT_MS);
            assert!(all.iter().all(|waits| (least_ms..2 * least_ms).contains(&waits[i])), "{i}");
            let different: HashSet<u64> = all.iter().map(|waits| waits[i]).collect();
            assert!(different.len() > 50, "{i}: {}", different.len());
        }
        let mut backoff = Backoff::new(7);
        (0..100).for_each(|_| backoff.cut());
        assert!(backoff.wait_ms() >= MAX_WAIT_MS);
        backoff.answered();
        assert_eq!(backoff.wait_ms(), 0);
    }

    /// First offset and count of the next FETCH.
    fn asked(sequencer: &mut Sequencer<Vec<u8>>, now_ms: u64) -> Option<(u64, u32)> {
        sequencer.request(now_ms).map(|request| (request.first, request.count))
    }

    #[test]
    fn what_may_end_connections_is_held_back_whatever_others_say() {
        let mut sequencer = Sequencer::<Vec<u8>>::new(0, 0);
        sequencer.heard_of(9, 0);
        assert_eq!(asked(&mut sequencer, 0), Some((0, 10)));
        let due_ms = sequencer.hold_back(100, 250).unwrap();
        assert!((350..600).contains(&due_ms), "{due_ms}");
        assert_eq!(sequencer.fetch_due_ms(), Some(due_ms));
        // Once for each FETCH, and not for a connection that was given up before it.
        assert_eq!(sequencer.hold_back(due_ms - 1, due_ms), None);
        assert_eq!(asked(&mut sequencer, due_ms), Some((0, 10)));
        assert_eq!(sequencer.hold_back(100, due_ms + 500), None);
        // It came in part, and the rest was lost with the connection.
        (0..4).for_each(|offset| drop(sequencer.offer(offset, vec![7], 0, 0)));
        assert_eq!(sequencer.hold_back(due_ms + 1, due_ms + 500), None);
        assert_eq!(asked(&mut sequencer, 2_000), Some((4, 6)));
        // The fifth time: 4 s at least, and as long after a FETCH that may have found no connection.
        let mut now_ms = 2_000;
        for _ in 0..4 {
            now_ms = sequencer.hold_back(now_ms, now_ms).unwrap();
            asked(&mut sequencer, now_ms);
        }
        sequencer.heard_of(9, now_ms);
        let wait_ms = sequencer.fetch_due_ms().unwrap() - now_ms;
        assert!((4_000..8_000).contains(&wait_ms), "{wait_ms}");
        // An answer, and all is as new.
        (4..9).for_each(|offset| drop(sequencer.offer(offset, vec![7], 0, 0)));
        sequencer.offer(9, vec![7], 0, 0);
        sequencer.heard_of(20, now_ms);
        asked(&mut sequencer, now_ms);
        assert_eq!(sequencer.fetch_due_ms(), Some(now_ms + FIRST_WAIT_MS));
    }

    #[test]
    fn less_is_asked_for_when_answers_come_in_part_only() {
        let mut sequencer = Sequencer::<Vec<u8>>::new(0, 0);
        sequencer.heard_of(99_999, 0);
        let mut counts = Vec::new();
        let mut now_ms = 0;
        for _ in 0..12 {
            let (from, count) = asked(&mut sequencer, now_ms).unwrap();
            counts.push(count);
            // Of a large answer most does not fit into a queue on its way.
            for offset in from..from + u64::from(count.min(20)) {
                sequencer.offer(offset, vec![0; 100], now_ms, 0);
            }
            now_ms = sequencer.fetch_due_ms().unwrap().max(now_ms);
        }
        assert_eq!(counts[..2], [16, 16_384]);
        assert!(counts[11] <= 32, "{counts:?}");
    }

    #[test]
    fn what_was_lost_with_a_connection_is_not_too_much() {
        let mut sequencer = Sequencer::<Vec<u8>>::new(0, 0);
        sequencer.heard_of(99_999, 0);
        let (mut now_ms, mut counts) = (0, Vec::new());
        for _ in 0..12 {
            let (first, count) = asked(&mut sequencer, now_ms).expect("a FETCH");
            counts.push(count);
            // It comes in part, or not at all.
            for offset in first..first + u64::from(count.min(20)) * (counts.len() as u64 % 2) {
                sequencer.offer(offset, vec![7; 10], now_ms, 0);
            }
            now_ms = sequencer.fetch_due_ms().expect("a gap");
            now_ms = sequencer.hold_back(now_ms, now_ms).unwrap_or(now_ms);
        }
        assert!(counts[1..].iter().all(|&count| count == counts[1]), "{counts:?}");
        // Nor do answers take longer than they do.
        asked(&mut sequencer, now_ms);
        sequencer.offer(sequencer.next(), vec![7], now_ms, 0);
        assert_eq!(sequencer.fetch_due_ms(), Some(now_ms + FIRST_WAIT_MS));
    }
}
