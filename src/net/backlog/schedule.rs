//! When the connections are scanned: often while the process works, rarely while it is idle.
//!
//! Data from peers costs processor time before it occupies memory: libzmq's I/O thread reads each byte, and the nodes
//! read each message. So a scan is due after [`WORK`] of the process's processor time. While a socket holds something
//! (see [`Load`]), a scan is due at each check of the schedule. In any case, a scan is due after [`MAX_INTERVAL`]. A
//! check only reads the processor time of the process, which is cheap. A scan takes several system calls for each
//! descriptor.
//!
//! The schedule is checked once in each [`INTERVAL`](super::INTERVAL). So between two scans of a process that holds
//! nothing, peers can send what the I/O thread reads in [`WORK`] (about 2 MB of short subscriptions), plus what it
//! reads in one interval. (Even with a scan in each interval, peers could send what the I/O thread reads in one
//! interval.) Processor time of the application counts too: while the application is busy, there is a scan in each
//! interval.
//!
//! In a process of many nodes, a scan costs more. So the next scan is due later: when the process has used 50 times the
//! processor time of the scan. After a scan, the thread also pauses for up to 2 s (see [`guard`](crate::net::guard)).
//! With hundreds of threads, a check costs more too, and the schedule is checked only twice a second. So the peers of
//! such a process can send more between two scans.

use crate::net::guard::{PAUSE_FACTOR, process_time};
use std::time::{Duration, Instant};

/// A scan is due when the process has used this much processor time.
const WORK: Duration = Duration::from_millis(10);
/// A scan is due after this time in any case. So new connections and new addresses of hosts are found.
const MAX_INTERVAL: Duration = Duration::from_secs(1);

/// What a scan has found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Load {
    /// The nodes have read nearly everything.
    Low,
    /// A connection holds more than a few bytes, the node of a listening socket is overloaded, its accept filter is
    /// closed, or more records than allowed wait to be sent.
    Some,
    /// A socket holds a large part of its limit.
    High,
}

/// The time and processor time since the latest scan.
pub(super) struct Schedule {
    load: Load,
    /// The processor time that the process had used by the end of the latest scan.
    used: Duration,
    /// The processor time until the next scan.
    work: Duration,
    scanned: Instant,
}

impl Schedule {
    /// The first scan is due at once.
    pub(super) fn new() -> Schedule {
        Schedule { load: Load::Some, used: Duration::ZERO, work: WORK, scanned: Instant::now() }
    }

    /// Call this when a scan has ended. `cost` is the processor time that the scan took. This time does not count as
    /// work.
    pub(super) fn scanned(&mut self, load: Load, cost: Duration) {
        let work = WORK.max(cost.saturating_mul(PAUSE_FACTOR));
        *self = Schedule { load, used: process_time(), work, scanned: Instant::now() };
    }

    /// Whether the next scan is due.
    pub(super) fn is_due(&self) -> bool {
        self.is_due_after(process_time().saturating_sub(self.used), self.scanned.elapsed())
    }

    fn is_due_after(&self, used: Duration, elapsed: Duration) -> bool {
        self.load != Load::Low || used >= self.work || elapsed >= MAX_INTERVAL
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_idle_process_is_scanned_rarely() {
        let ms = Duration::from_millis;
        let mut schedule = Schedule::new();
        assert!(schedule.is_due(), "there was no scan yet");
        schedule.scanned(Load::Low, ms(0));
        assert!(!schedule.is_due_after(ms(9), ms(999)));
        assert!(schedule.is_due_after(ms(10), ms(20)));
        assert!(schedule.is_due_after(ms(0), ms(1_000)));
        // A process of many nodes.
        schedule.scanned(Load::Low, ms(2));
        assert!(!schedule.is_due_after(ms(99), ms(999)));
        assert!(schedule.is_due_after(ms(100), ms(100)));
        for load in [Load::Some, Load::High] {
            schedule.scanned(load, ms(2));
            assert!(schedule.is_due_after(ms(0), ms(0)), "{load:?}");
        }
    }

    /// Processor time counts, and time in which threads wait does not.
    #[test]
    fn a_scan_is_due_after_work() {
        let mut schedule = Schedule::new();
        schedule.scanned(Load::Low, Duration::ZERO);
        let start = Instant::now();
        while !schedule.is_due_after(process_time().saturating_sub(schedule.used), Duration::ZERO) {
            assert!(start.elapsed() < Duration::from_secs(60), "this thread works all the time");
        }
        assert!(process_time().saturating_sub(schedule.used) >= WORK);
    }
}
