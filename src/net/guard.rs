//! What the threads have in common that limit the connections of a process.

use super::descriptors::Descriptors;
use super::{Warning, now_ms};
use crate::czmq::fork::{GENERATIONS, PerProcess};
use rustix::time::{ClockId, clock_gettime};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

/// How many times as long as a look takes the pause after it is at least: a process may have a million descriptors.
pub(super) const PAUSE_FACTOR: u32 = 50;
/// The same where a look says that much is going on, by a pause of less than this.
const BUSY_PAUSE_FACTOR: u32 = 3;
const BUSY_PAUSE: Duration = Duration::from_millis(5);
/// The longest such pause.
const MAX_PAUSE: Duration = Duration::from_secs(2);
const STACK_LEN_BYTES: usize = 256 << 10;

/// A thread that looks at the connections of this process again and again.
pub(super) struct Guard {
    is_stopped: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Guard {
    /// Starts a thread of this name. `watch` makes what looks at the connections: it returns how long to wait at least
    /// until the next look. After a panic that is `interval`. `None` when there can be no such thread: once per process,
    /// the log says why, and that `effect` follows.
    pub(super) fn start<L: FnMut() -> Duration + Send + 'static>(
        name: &'static str,
        effect: &'static str,
        interval: Duration,
        watch: impl FnOnce(Descriptors) -> L,
    ) -> Option<Guard> {
        let Some(descriptors) = Descriptors::open() else {
            warn_once(effect, "/proc/self/fd cannot be read");
            return None;
        };
        let (look, is_stopped) = (watch(descriptors), Arc::new(AtomicBool::new(false)));
        let stop = is_stopped.clone();
        let builder = std::thread::Builder::new().name(name.into()).stack_size(STACK_LEN_BYTES);
        match builder.spawn(move || run(name, interval, look, &stop)) {
            Ok(thread) => Some(Guard { is_stopped, thread }),
            Err(error) => {
                warn_once(effect, &format!("cannot start a thread: {error}"));
                None
            }
        }
    }

    /// Has the next look begin now.
    pub(super) fn wake(&self) {
        self.thread.thread().unpark();
    }

    /// Ends the thread, and waits for that. Hold no lock that a look takes.
    pub(super) fn end(self) {
        self.is_stopped.store(true, Ordering::Release);
        self.wake();
        // A panic was logged.
        let _ = self.thread.join();
    }
}

fn run(name: &str, interval: Duration, mut look: impl FnMut() -> Duration, is_stopped: &AtomicBool) {
    let mut warning = Warning::default();
    while !is_stopped.load(Ordering::Acquire) {
        let measured = Look::start();
        let interval = survive(name, &mut warning, &mut look).unwrap_or(interval);
        std::thread::park_timeout(measured.pause(interval));
    }
}

/// Logs why a guard is missing, once per process: each of many nodes tries to start it.
fn warn_once(effect: &'static str, why: &str) {
    static LOGGED: PerProcess<Vec<&str>> = PerProcess::new([const { Mutex::new(Vec::new()) }; GENERATIONS]);
    let mut logged = LOGGED.lock();
    if !logged.contains(&effect) {
        logged.push(effect);
        log::warn!("{effect}: {why}");
    }
}

/// Measures how much processor time a look at the connections takes. The time on the clock would not do: after a minute
/// in which the process is stopped, or others use the processors, nobody would look at the connections for an hour.
struct Look {
    start: Duration,
}

impl Look {
    /// A look begins.
    fn start() -> Look {
        Look { start: thread_time() }
    }

    /// It ends. Returns how long to wait for the next one, and at least `interval`.
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

/// Looks once. After a panic, the thread goes on: without it, peers could end the process.
fn survive<T>(thread: &str, warning: &mut Warning, look: impl FnOnce() -> T) -> Option<T> {
    let result = catch_unwind(AssertUnwindSafe(look));
    if result.is_err() {
        warning.warn(now_ms(), || format!("the thread {thread} has panicked, and goes on"));
    }
    result.ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guard_outlives_a_panic() {
        let mut warning = Warning::default();
        assert_eq!(survive("test", &mut warning, || -> u8 { panic!("as the test wants it") }), None);
        assert_eq!(survive("test", &mut warning, || 7), Some(7));
    }

    #[test]
    fn only_time_in_which_it_ran_makes_a_guard_pause() {
        let ms = Duration::from_millis;
        let look = Look::start();
        std::thread::sleep(ms(100));
        assert!(look.pause(ms(20)) < ms(100 * u64::from(PAUSE_FACTOR) / 10));
        assert_eq!(pause_after(ms(10), ms(20)), ms(500));
        assert_eq!(pause_after(ms(10), ms(1)), ms(30));
        assert_eq!(pause_after(ms(0), ms(20)), ms(20));
        assert_eq!(pause_after(Duration::MAX, ms(20)), MAX_PAUSE);
    }
}
