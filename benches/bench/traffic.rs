//! The common part of the roles for raw libzmq and for this library: how records are sent, paced, counted and timed.
//!
//! A sender first sends warm-up records of one byte, until the bench sends `go`. If there are receivers, the bench
//! waits until each receiver has received a warm-up record of each topic. The measured records follow. They are longer,
//! and begin with the time at which they were sent.

use crate::process::Arguments;
use rustix::time::{ClockId, clock_gettime};
use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// The content of a warm-up record.
const WARM_UP: &[u8] = b"w";

/// Nanoseconds of CLOCK_MONOTONIC, which is the same in all processes of the host.
pub(crate) fn now_ns() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

/// Prints a line for the bench.
pub(crate) fn say(line: std::fmt::Arguments) {
    println!("{line}");
}

/// Becomes true when the bench sends `go`.
fn go() -> Arc<AtomicBool> {
    let go = Arc::new(AtomicBool::new(false));
    let setter = go.clone();
    std::thread::spawn(move || {
        let _ = std::io::stdin().read_line(&mut String::new());
        setter.store(true, Ordering::Release);
    });
    go
}

/// Waits until the bench ends this process.
pub(crate) fn wait_for_the_end() -> ! {
    loop {
        std::thread::park();
    }
}

/// The name of topic number `i`.
pub(crate) fn topic(i: u64) -> String {
    format!("topic {i}")
}

/// Something that sends records: raw libzmq, or producers.
pub(crate) trait Sender {
    /// Sends a record of the topic with this number.
    fn send(&mut self, topic: usize, content: &[u8]);
    /// Called once between the warm-up and the first measured record. `warm_ups` is the number of warm-up records of
    /// each topic.
    fn warm(&mut self, warm_ups: u64);
}

/// Sends warm-up records until the bench sends `go`. Then sends `count` records of `size` bytes to `topics` topics in
/// turn: `rate` records per second, or, without a rate, as many as possible.
pub(crate) fn send_all(arguments: &Arguments, sender: &mut impl Sender) {
    let (count, rate) = (arguments.number("count"), arguments.number("rate"));
    let topics = arguments.number("topics") as usize;
    let mut content = vec![b'x'; arguments.number("size") as usize];
    let pause = Duration::from_millis(10).max(Duration::from_micros(20) * topics as u32);
    let (go, mut warm_ups) = (go(), 0);
    while !go.load(Ordering::Acquire) {
        (0..topics).for_each(|topic| sender.send(topic, WARM_UP));
        warm_ups += 1;
        std::thread::sleep(pause);
    }
    sender.warm(warm_ups);
    let start = Instant::now();
    for i in 0..count {
        if let Some(due_ns) = (i * 1_000_000_000).checked_div(rate) {
            // At high rates, a sleep takes longer than the interval between two records. The records that are due after
            // the sleep are sent together.
            std::thread::sleep(Duration::from_nanos(due_ns).saturating_sub(start.elapsed()));
        }
        content[..8].copy_from_slice(&now_ns().to_ne_bytes());
        sender.send(i as usize % topics, &content);
    }
}

/// Counts and times the records that a receiver gets.
pub(crate) struct Arrivals {
    size: usize,
    count: u64,
    topics: usize,
    /// The topics of the warm-up records received so far.
    warm: HashSet<Vec<u8>>,
    received: u64,
    first_ns: u64,
    /// The latency of each record, in nanoseconds. `None` when only the throughput is measured.
    latencies: Option<Vec<u64>>,
}

impl Arrivals {
    pub(crate) fn new(arguments: &Arguments) -> Arrivals {
        Arrivals {
            size: arguments.number("size") as usize,
            count: arguments.number("count"),
            topics: arguments.number("topics") as usize,
            warm: HashSet::new(),
            received: 0,
            first_ns: 0,
            latencies: (arguments.number("rate") > 0).then(Vec::new),
        }
    }

    /// Notes a record. Returns false after the last record.
    pub(crate) fn note(&mut self, content: &[u8], topic: impl Fn() -> Vec<u8>) -> bool {
        if content.len() != self.size {
            if self.warm.len() < self.topics && self.warm.insert(topic()) && self.warm.len() == self.topics {
                say(format_args!("warm"));
            }
            return true;
        }
        if let Some(latencies) = &mut self.latencies {
            let sent = u64::from_ne_bytes(content[..8].try_into().expect("eight bytes"));
            latencies.push(now_ns().saturating_sub(sent));
        }
        if self.received == 0 {
            self.first_ns = now_ns();
        }
        self.received += 1;
        self.received < self.count
    }

    /// Prints `received` with the times of the first and the last record, or `latency` with percentiles.
    pub(crate) fn report(self) {
        match self.latencies {
            Some(latencies) => say_percentiles("latency", latencies),
            None => say(format_args!("received {} {}", self.first_ns, now_ns())),
        }
    }
}

/// Prints the median and the 99th percentile in microseconds.
pub(crate) fn say_percentiles(word: &str, mut latencies_ns: Vec<u64>) {
    latencies_ns.sort_unstable();
    let percentile = |p: usize| latencies_ns[(latencies_ns.len() - 1) * p / 100] as f64 / 1e3;
    say(format_args!("{word} {} {}", percentile(50), percentile(99)));
}
