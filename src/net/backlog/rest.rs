//! When the connections are looked at: often while the process works, seldom while it rests.
//!
//! What peers send costs processor time before it occupies memory: libzmq's I/O thread reads each octet, and the nodes take
//! each message. So the thread looks after [`WORK`] of the process's processor time, and not after a time on the clock. The
//! time on the clock counts where something is held, see [`Load`]. To read the process's processor time is cheap; to look
//! takes several system calls for each descriptor.
//!
//! So between two looks at a process that holds nothing, peers can bring what the I/O thread reads in [`WORK`] (about 2 MB of
//! short subscriptions) and in the time until [`Rest`] is asked again: one [`INTERVAL`](super::INTERVAL), as with a look each
//! interval. The processor time that the application itself uses counts, too: then the looks are as frequent as the interval
//! allows.
//!
//! In a process of many nodes a look costs more. There, the guard waits for 50 times as much processor time as the latest
//! look took, and pauses for up to 2 s after it; with hundreds of threads, [`Rest`] is asked twice a second. What peers can
//! bring between two looks grows by that.

use crate::net::guard::{PAUSE_FACTOR, process_time};
use std::time::{Duration, Instant};

/// The processor time of the process after which the connections are looked at.
const WORK: Duration = Duration::from_millis(10);
/// The longest time between two looks: connections and hosts' names that come and go are found so soon.
const LONGEST: Duration = Duration::from_secs(1);

/// What a look has found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Load {
    /// The nodes have taken nearly everything.
    Little,
    /// A connection holds more than a few octets, or a listening socket accepts nobody.
    Some,
    /// A socket holds much of what it may.
    Much,
}

/// Since the latest look.
pub(super) struct Rest {
    load: Load,
    /// The processor time that the process had used, and what it uses until the next look.
    used: Duration,
    work: Duration,
    looked: Instant,
}

impl Rest {
    /// Nobody has looked yet.
    pub(super) fn new() -> Rest {
        Rest { load: Load::Some, used: Duration::ZERO, work: WORK, looked: Instant::now() }
    }

    /// A look has ended that took `cost` of processor time. That does not count.
    pub(super) fn begin(&mut self, load: Load, cost: Duration) {
        let work = WORK.max(cost.saturating_mul(PAUSE_FACTOR));
        *self = Rest { load, used: process_time(), work, looked: Instant::now() };
    }

    /// Whether it is time for the next look.
    pub(super) fn is_over(&self) -> bool {
        self.is_over_after(process_time().saturating_sub(self.used), self.looked.elapsed())
    }

    fn is_over_after(&self, used: Duration, elapsed: Duration) -> bool {
        self.load != Load::Little || used >= self.work || elapsed >= LONGEST
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_rests_is_looked_at_seldom() {
        let ms = Duration::from_millis;
        let mut rest = Rest::new();
        assert!(rest.is_over(), "nobody has looked yet");
        rest.begin(Load::Little, ms(0));
        assert!(!rest.is_over_after(ms(9), ms(999)));
        assert!(rest.is_over_after(ms(10), ms(20)));
        assert!(rest.is_over_after(ms(0), ms(1_000)));
        // A process of many nodes.
        rest.begin(Load::Little, ms(2));
        assert!(!rest.is_over_after(ms(99), ms(999)));
        assert!(rest.is_over_after(ms(100), ms(100)));
        for load in [Load::Some, Load::Much] {
            rest.begin(load, ms(2));
            assert!(rest.is_over_after(ms(0), ms(0)), "{load:?}");
        }
    }

    /// Time that threads use counts, and time in which they wait does not.
    #[test]
    fn work_ends_the_rest() {
        let mut rest = Rest::new();
        rest.begin(Load::Little, Duration::ZERO);
        let start = Instant::now();
        while !rest.is_over_after(process_time().saturating_sub(rest.used), Duration::ZERO) {
            assert!(start.elapsed() < Duration::from_secs(60), "this thread works all the time");
        }
        assert!(process_time().saturating_sub(rest.used) >= WORK);
    }
}
