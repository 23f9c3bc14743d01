//! The common part of the two threads that limit connections: `dafka-inbound` and `dafka-backlog`.

use super::descriptors::Descriptors;
use super::{Warning, now_ms};
use crate::czmq::fork::{GENERATIONS, PerProcess};
use rustix::time::{ClockId, clock_gettime};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

/// After a scan, the thread pauses for at least this many times as long as the scan took, up to MAX_PAUSE: the scan of
/// a million descriptors takes long.
pub(super) const PAUSE_FACTOR: u32 = 50;
/// This factor applies instead when the scan function returns a pause of less than BUSY_PAUSE, because much is
/// happening.
const BUSY_PAUSE_FACTOR: u32 = 3;
const BUSY_PAUSE: Duration = Duration::from_millis(5);
/// The longest pause that results from these factors.
const MAX_PAUSE: Duration = Duration::from_secs(2);
const STACK_LEN_BYTES: usize = 256 << 10;

/// A thread that scans the connections of this process repeatedly.
pub(super) struct Guard {
    is_stopped: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Guard {
    /// Starts a thread with this name. `start_scanning` returns the function that scans. The function that scans
    /// returns the shortest pause until the next scan. If it panics, the shortest pause is `interval`. `start` returns
    /// `None` when the thread cannot be started. Then the log has the reason and `effect`, once per process.
    pub(super) fn start<L: FnMut() -> Duration + Send + 'static>(
        name: &'static str,
        effect: &'static str,
        interval: Duration,
        start_scanning: impl FnOnce(Descriptors) -> L,
    ) -> Option<Guard> {
        let Some(descriptors) = Descriptors::open() else {
            warn_once(effect, "/proc/self/fd cannot be read");
            return None;
        };
        let (scan, is_stopped) = (start_scanning(descriptors), Arc::new(AtomicBool::new(false)));
        let stop = is_stopped.clone();
        let builder = std::thread::Builder::new().name(name.into()).stack_size(STACK_LEN_BYTES);
        match builder.spawn(move || run(name, interval, scan, &stop)) {
            Ok(thread) => Some(Guard { is_stopped, thread }),
            Err(error) => {
                warn_once(effect, &format!("cannot start a thread: {error}"));
                None
            }
        }
    }

    /// Starts the next scan now.
    pub(super) fn wake(&self) {
        self.thread.thread().unpark();
    }

    /// Ends the thread and waits for its end. The caller must not hold a lock that a scan takes.
    pub(super) fn end(self) {
        self.is_stopped.store(true, Ordering::Release);
        self.wake();
        // `run` has logged any panic.
        let _ = self.thread.join();
    }
}

fn run(name: &str, interval: Duration, mut scan: impl FnMut() -> Duration, is_stopped: &AtomicBool) {
    let mut warning = Warning::default();
    while !is_stopped.load(Ordering::Acquire) {
        let stopwatch = Stopwatch::start();
        let interval = catch_panic(name, &mut warning, &mut scan).unwrap_or(interval);
        std::thread::park_timeout(stopwatch.pause(interval));
    }
}

/// Logs why there is no guard, once per process: every node of the process tries to start it.
fn warn_once(effect: &'static str, why: &str) {
    static LOGGED: PerProcess<Vec<&str>> = PerProcess::new([const { Mutex::new(Vec::new()) }; GENERATIONS]);
    let mut logged = LOGGED.lock();
    if !logged.contains(&effect) {
        logged.push(effect);
        log::warn!("{effect}: {why}");
    }
}

/// Measures the processor time of a scan. Real time would be wrong: if the process is stopped during a scan, or other
/// processes use the processors, the pause after the scan would be too long.
struct Stopwatch {
    start: Duration,
}

impl Stopwatch {
    /// Call this when a scan begins.
    fn start() -> Stopwatch {
        Stopwatch { start: thread_time() }
    }

    /// Call this when the scan ends. Returns how long to wait until the next scan: at least `interval`.
    fn pause(&self, interval: Duration) -> Duration {
        pause_after(thread_time().saturating_sub(self.start), interval)
    }
}

fn pause_after(used: Duration, interval: Duration) -> Duration {
    let factor = if interval < BUSY_PAUSE { BUSY_PAUSE_FACTOR } else { PAUSE_FACTOR };
    interval.max(used.saturating_mul(factor).min(MAX_PAUSE))
}

/// The processor time that this thread has used.
pub(super) fn thread_time() -> Duration {
    processor_time(ClockId::ThreadCPUTime)
}

/// The processor time that this process has used.
pub(super) fn process_time() -> Duration {
    processor_time(ClockId::ProcessCPUTime)
}

fn processor_time(clock: ClockId) -> Duration {
    let time = clock_gettime(clock);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// Scans once. After a panic the thread continues: without it, peers could use up the memory or the descriptors of the
/// process.
fn catch_panic<T>(thread: &str, warning: &mut Warning, scan: impl FnOnce() -> T) -> Option<T> {
    let result = catch_unwind(AssertUnwindSafe(scan));
    if result.is_err() {
        warning.warn(now_ms(), || format!("the thread {thread} has panicked, and continues"));
    }
    result.ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guard_continues_after_a_panic() {
        let mut warning = Warning::default();
        assert_eq!(catch_panic("test", &mut warning, || -> u8 { panic!("intended by the test") }), None);
        assert_eq!(catch_panic("test", &mut warning, || 7), Some(7));
    }

    #[test]
    fn a_guard_pauses_by_its_processor_time() {
        let ms = Duration::from_millis;
        let stopwatch = Stopwatch::start();
        std::thread::sleep(ms(100));
        assert!(stopwatch.pause(ms(20)) < ms(100 * u64::from(PAUSE_FACTOR) / 10));
        assert_eq!(pause_after(ms(10), ms(20)), ms(500));
        assert_eq!(pause_after(ms(10), ms(1)), ms(30));
        assert_eq!(pause_after(ms(0), ms(20)), ms(20));
        assert_eq!(pause_after(Duration::MAX, ms(20)), MAX_PAUSE);
    }
}
