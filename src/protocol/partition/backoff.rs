//! Exponential backoff for a partition whose FETCHes seem to end the connections that carry the responses.
//!
//! When a record that exceeds the frame limit arrives, libzmq ends the connection. Responses for other partitions on
//! the same connection are lost too. libzmq does not report which partition's response ended the connection. So each
//! partition whose FETCH had no response waits about twice as long as before until its next FETCH. The waits differ
//! between partitions, so partitions whose records are short enough get their responses in between.

/// The wait after the first connection that was given up. It doubles with each further one.
const FIRST_WAIT_MS: u64 = 250;
/// The limit of the doubled wait. The pseudo-random part may be as long again.
const MAX_WAIT_MS: u64 = 30_000;

/// The backoff of one partition.
#[derive(Debug)]
pub struct Backoff {
    /// The number of consecutive FETCHes without a response during which a connection was given up.
    count: u32,
    /// A number that differs between partitions.
    turn: u64,
}

impl Backoff {
    /// Returns a backoff without a wait. `turn` makes the waits of different partitions differ.
    pub fn new(turn: usize) -> Self {
        Backoff { count: 0, turn: turn as u64 }
    }

    /// A FETCH had no response, and a connection has been given up since it was sent.
    pub fn cut(&mut self) {
        self.count += 1;
    }

    /// The number of consecutive FETCHes without a response during which a connection was given up.
    pub fn cut_count(&self) -> u32 {
        self.count
    }

    /// How long to wait before the next FETCH. 0 if no FETCH has lost its response with a connection since the last
    /// complete response.
    pub fn wait_ms(&self) -> u64 {
        if self.count == 0 {
            return 0;
        }
        let wait_ms = (FIRST_WAIT_MS << (self.count - 1).min(16)).min(MAX_WAIT_MS);
        // A pseudo-random number that differs between partitions and between waits.
        let number = (self.turn ^ u64::from(self.count)).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        wait_ms + number % wait_ms
    }

    /// A complete response has arrived.
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

    /// The first offset and the count of the next FETCH.
    fn asked(sequencer: &mut Sequencer<Vec<u8>>, now_ms: u64) -> Option<(u64, u32)> {
        sequencer.request(now_ms).map(|request| (request.first, request.count))
    }

    #[test]
    fn fetches_that_may_end_connections_are_delayed() {
        let mut sequencer = Sequencer::<Vec<u8>>::new(0, 0);
        sequencer.handle_mention(9, 0);
        assert_eq!(asked(&mut sequencer, 0), Some((0, 10)));
        let due_ms = sequencer.fetches_mut().back_off(100, 250).unwrap();
        assert!((350..600).contains(&due_ms), "{due_ms}");
        assert_eq!(sequencer.fetch_due_ms(), Some(due_ms));
        // The wait applies once per FETCH. A connection that was given up before the FETCH was sent causes no wait.
        assert_eq!(sequencer.fetches_mut().back_off(due_ms - 1, due_ms), None);
        assert_eq!(asked(&mut sequencer, due_ms), Some((0, 10)));
        assert_eq!(sequencer.fetches_mut().back_off(100, due_ms + 500), None);
        // A part of the response came, and the rest was lost with the connection.
        (0..4).for_each(|offset| drop(sequencer.offer(offset, vec![7], 0, 0)));
        assert_eq!(sequencer.fetches_mut().back_off(due_ms + 1, due_ms + 500), None);
        assert_eq!(asked(&mut sequencer, 2_000), Some((4, 6)));
        // The fifth wait is at least 4 s. The retry of the next FETCH waits as long, although no connection is given up
        // and a peer mentions a missing record.
        let mut now_ms = 2_000;
        for _ in 0..4 {
            now_ms = sequencer.fetches_mut().back_off(now_ms, now_ms).unwrap();
            asked(&mut sequencer, now_ms);
        }
        sequencer.handle_mention(9, now_ms);
        let wait_ms = sequencer.fetch_due_ms().unwrap() - now_ms;
        assert!((4_000..8_000).contains(&wait_ms), "{wait_ms}");
        // After a response, the backoff starts over.
        (4..9).for_each(|offset| drop(sequencer.offer(offset, vec![7], 0, 0)));
        sequencer.offer(9, vec![7], 0, 0);
        sequencer.handle_mention(20, now_ms);
        asked(&mut sequencer, now_ms);
        assert_eq!(sequencer.fetch_due_ms(), Some(now_ms + FIRST_WAIT_MS));
    }

    #[test]
    fn smaller_windows_are_requested_when_responses_are_partial() {
        let mut sequencer = Sequencer::<Vec<u8>>::new(0, 0);
        sequencer.handle_mention(99_999, 0);
        let mut counts = Vec::new();
        let mut now_ms = 0;
        for _ in 0..12 {
            let (from, count) = asked(&mut sequencer, now_ms).unwrap();
            counts.push(count);
            // Most of a large response does not fit into a queue on its path.
            for offset in from..from + u64::from(count.min(20)) {
                sequencer.offer(offset, vec![0; 100], now_ms, 0);
            }
            now_ms = sequencer.fetch_due_ms().unwrap().max(now_ms);
        }
        assert_eq!(counts[..2], [16, 16_384]);
        assert!(counts[11] <= 32, "{counts:?}");
    }

    #[test]
    fn records_lost_with_a_connection_do_not_shrink_the_windows() {
        let mut sequencer = Sequencer::<Vec<u8>>::new(0, 0);
        sequencer.handle_mention(99_999, 0);
        let (mut now_ms, mut counts) = (0, Vec::new());
        for _ in 0..12 {
            let (first, count) = asked(&mut sequencer, now_ms).expect("a FETCH");
            counts.push(count);
            // A part of the response comes, or nothing.
            for offset in first..first + u64::from(count.min(20)) * (counts.len() as u64 % 2) {
                sequencer.offer(offset, vec![7; 10], now_ms, 0);
            }
            now_ms = sequencer.fetch_due_ms().expect("a gap");
            now_ms = sequencer.fetches_mut().back_off(now_ms, now_ms).unwrap_or(now_ms);
        }
        assert!(counts[1..].iter().all(|&count| count == counts[1]), "{counts:?}");
        // Nor does the estimated response time grow.
        asked(&mut sequencer, now_ms);
        sequencer.offer(sequencer.next(), vec![7], now_ms, 0);
        assert_eq!(sequencer.fetch_due_ms(), Some(now_ms + FIRST_WAIT_MS));
    }
}
