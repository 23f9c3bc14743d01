//! How busy all producers of a process are together, and how long each of them gathers records.
//!
//! A record that begins a batch wakes the thread of its producer. A fast sender fills the batch before that thread
//! runs, so one wake-up serves many records. But if a program sends to many producers in turn, each record begins a
//! batch, and waking the threads takes most of the time. So while many producers are busy, a producer that has just
//! published waits for a pause, and then publishes the records that it has gathered. No record has to wake it. A
//! producer that was idle still publishes its first record at once.
//!
//! The same happens while a few producers send very many records: otherwise, their threads would take the records too
//! early, and publish batches that are far from full.

use crate::czmq::fork::{GENERATIONS, PerProcess};
use std::sync::Mutex;

/// The load is counted in windows of this length.
const WINDOW_MS: u64 = 16;
/// At least this many busy producers count as many. They gather from a lower rate on.
const MANY_PRODUCERS: u64 = 8;
/// Many producers gather if all producers together publish at least this number of records in a window.
const MIN_RECORDS_OF_MANY: u64 = 20_000 * WINDOW_MS / 1_000;
/// The same for a few producers.
const MIN_RECORDS_OF_FEW: u64 = 500_000 * WINDOW_MS / 1_000;
/// The pause is so long that all producers together publish about this many times in a millisecond.
const PUBLISHES_PER_MS: u64 = 5;
/// The longest pause.
const MAX_PAUSE_MS: u64 = 10;

/// What the producers of a process have published in one window.
#[derive(Clone, Copy, Default)]
struct Window {
    number: u64,
    /// How many producers have published something.
    producers: u64,
    records: u64,
}

/// The last two windows in which a producer has published.
struct Windows {
    current: Window,
    previous: Window,
}

impl Windows {
    fn advance(&mut self, number: u64) {
        if self.current.number < number {
            self.previous = self.current;
            self.current = Window { number, ..Window::default() };
        }
    }

    fn pause_ms(&self, now_ms: u64) -> Option<u64> {
        let number = now_ms / WINDOW_MS;
        let last = [self.current, self.previous].into_iter().find(|window| window.number + 1 == number)?;
        let min_records =
            if last.producers >= MANY_PRODUCERS { MIN_RECORDS_OF_MANY } else { MIN_RECORDS_OF_FEW };
        (last.records >= min_records).then(|| (last.producers / PUBLISHES_PER_MS).clamp(1, MAX_PAUSE_MS))
    }
}

/// The load of several producers. A forked child has its own: it has none of its parent's producers.
pub(super) struct Load(PerProcess<Windows>);

/// The load of all producers of the process.
pub(super) static PROCESS: Load = Load::new();

impl Load {
    pub(super) const fn new() -> Load {
        const NONE: Window = Window { number: 0, producers: 0, records: 0 };
        Load(PerProcess::new([const { Mutex::new(Windows { current: NONE, previous: NONE }) }; GENERATIONS]))
    }

    /// How long a producer that publishes now gathers records afterwards; `None`: it does not gather.
    pub(super) fn pause_ms(&self, now_ms: u64) -> Option<u64> {
        self.0.lock().pause_ms(now_ms)
    }
}

/// The part of one producer in the load.
#[derive(Default)]
pub(super) struct Share {
    /// The window that the producer is counted in.
    window: u64,
    /// How many records the producer has published since it was last counted.
    records: u64,
}

impl Share {
    /// Counts records that are published now. Takes the lock of the load once per window.
    pub(super) fn count(&mut self, load: &Load, records: u64, now_ms: u64) {
        let number = now_ms / WINDOW_MS;
        self.records += records;
        if self.window != number && records > 0 {
            self.window = number;
            let mut windows = load.0.lock();
            windows.advance(number);
            windows.current.producers += 1;
            windows.current.records += std::mem::take(&mut self.records);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The pause after each of these producers has published this number of records at this interval for 100 ms.
    fn pause(producers: usize, records: u64, interval_ms: usize) -> Option<u64> {
        let load = Load::new();
        let mut shares: Vec<Share> = (0..producers).map(|_| Share::default()).collect();
        for now_ms in (1_000..1_100).step_by(interval_ms) {
            for share in &mut shares {
                share.count(&load, records, now_ms);
            }
        }
        assert_eq!(load.pause_ms(1_100 + 2 * WINDOW_MS), None, "the pause ends with the load");
        load.pause_ms(1_100)
    }

    #[test]
    fn producers_gather_while_many_are_busy_or_few_are_very_busy() {
        assert_eq!(pause(1, 490, 1), None, "490,000 records per second");
        assert_eq!(pause(1, 510, 1), Some(1), "510,000 records per second");
        assert_eq!(pause(7, 70, 1), None, "490,000 records per second");
        assert_eq!(pause(8, 3, 1), Some(1), "24,000 records per second");
        assert_eq!(pause(50, 1, 10), None, "5,000 records per second");
        assert_eq!(pause(50, 5, 10), Some(10), "25,000 records per second");
        assert_eq!(pause(400, 5, 10), Some(MAX_PAUSE_MS));
    }
}
