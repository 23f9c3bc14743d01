//! A consumer with a name continues where the last consumer with this name has stopped.

use crate::e2e::{Cluster, DEADLINE, Program, contents, lines};
use std::io::Read;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

const TOPIC: &str = "killed";

/// A console consumer with a name, and a thread that reads its output until it ends.
pub(crate) struct Reading {
    program: Program,
    output: Arc<Mutex<Vec<u8>>>,
    line_count: Arc<AtomicUsize>,
    reader: JoinHandle<()>,
}

impl Reading {
    pub(crate) fn start(mut program: Program) -> Reading {
        let mut stdout = program.take_output();
        let (output, line_count) = (Arc::<Mutex<Vec<u8>>>::default(), Arc::<AtomicUsize>::default());
        let (into, counting) = (output.clone(), line_count.clone());
        let reader = std::thread::spawn(move || {
            let mut buffer = vec![0; 64 << 10];
            while let Ok(len @ 1..) = stdout.read(&mut buffer) {
                let count = buffer[..len].iter().filter(|&&octet| octet == b'\n').count();
                into.lock().unwrap().extend_from_slice(&buffer[..len]);
                counting.fetch_add(count, Ordering::Relaxed);
            }
        });
        Reading { program, output, line_count, reader }
    }

    /// Whether this record is the last one that it has printed.
    fn has_printed(&self, content: &[u8]) -> bool {
        let end = [b" ", content, b"\n"].concat();
        self.output.lock().unwrap().ends_with(&end)
    }

    /// Kills the consumer. Returns the whole lines that it has printed.
    pub(crate) fn kill(self) -> Vec<Vec<u8>> {
        self.program.kill();
        self.reader.join().expect("the output can be read");
        lines_of(&self.output)
    }

    /// Ends the consumer in an orderly way. Returns the lines that it has printed.
    pub(crate) fn terminate(self) -> Vec<Vec<u8>> {
        self.program.terminate();
        self.reader.join().expect("the output can be read");
        lines_of(&self.output)
    }

    /// What it has logged.
    pub(crate) fn log(&self) -> String {
        self.program.log()
    }

    /// How many lines it has printed.
    pub(crate) fn line_count(&self) -> usize {
        self.line_count.load(Ordering::Relaxed)
    }
}

/// The whole lines of an output.
fn lines_of(output: &Mutex<Vec<u8>>) -> Vec<Vec<u8>> {
    let output = output.lock().unwrap();
    let end = output.iter().rposition(|&octet| octet == b'\n').map_or(0, |at| at + 1);
    let lines = output[..end].split(|&octet| octet == b'\n').map(<[u8]>::to_vec);
    lines.filter(|line| !line.is_empty()).collect()
}

/// Publishes `count` records, and meanwhile kills a consumer with a name again and again.
fn kill_again_and_again(count: usize, kill_count: usize) {
    let cluster = Cluster::new()
        .with("consumer/name", "billing")
        .with("consumer/commit_interval", "10")
        .with_tower()
        .with_store();
    let all = lines(TOPIC, count);
    let producer = cluster.producer(TOPIC);
    let (mut next, mut again_count, mut resumed_count) = (0, 0, 0);
    let begin = Instant::now();
    let mut chunks = all.chunks(count.div_ceil(kill_count));
    let mut round = 0;
    while next < count {
        if let Some(chunk) = chunks.next() {
            producer.feed(chunk);
        }
        let reading = Reading::start(cluster.consumer(TOPIC));
        let is_last = round >= kill_count;
        let start = Instant::now();
        let wanted = 1 + round * 37 % 300;
        let has_read = |reading: &Reading| match is_last {
            true => reading.has_printed(&all[count - 1]),
            false => reading.line_count() >= wanted,
        };
        // A consumer may also be killed before it has read anything.
        let patience = if is_last { DEADLINE } else { Duration::from_secs(3) };
        while !has_read(&reading) && start.elapsed() < patience {
            std::thread::sleep(Duration::from_millis(1));
        }
        std::thread::sleep(Duration::from_millis(round as u64 * 67 % 200));
        let printed = contents(TOPIC, &reading.kill());
        if let Some(first) = printed.first() {
            let first = all.iter().position(|line| line == first).expect("a published record");
            assert!(first <= next, "round {round}: {first} follows {next}");
            assert_eq!(printed, all[first..first + printed.len()], "round {round}");
            resumed_count += usize::from(first > 0);
            again_count += next.min(first + printed.len()) - first;
            next = next.max(first + printed.len());
        }
        round += 1;
    }
    println!(
        "{round} consumers in {:?}, {resumed_count} of them after the first record; {again_count} of {count} records \
         were read again",
        begin.elapsed()
    );
    assert!(resumed_count > 0, "commits have no effect");
    producer.finish("the end of its input");
}

#[test]
fn a_named_consumer_that_is_killed_misses_no_record() {
    kill_again_and_again(20_000, 6);
}

#[test]
#[ignore = "takes minutes: make soak"]
fn a_named_consumer_that_is_killed_100_times_misses_none_of_a_million_records() {
    kill_again_and_again(1_000_000, 100);
}

#[test]
fn a_console_consumer_with_a_name_continues_exactly_after_an_orderly_end() {
    let cluster = Cluster::new().with("consumer/name", "reader").with_tower().with_store();
    let all = lines("orderly", 300);
    let producer = cluster.producer("orderly");
    for chunk in all.chunks(100) {
        producer.feed(chunk);
        let mut consumer = cluster.consumer("orderly");
        assert_eq!(contents("orderly", &consumer.lines(100, "the next records")), chunk);
        // The program counts a record as processed when it has printed it, a moment before it commits it.
        let output = consumer.terminate();
        assert!(output.stdout.is_empty() && output.status.success(), "{}", output.stderr);
    }
    producer.finish("the end of its input");
}
