//! Measures how fast records arrive.

use dafka::commands;
use dafka::program::{self, Failure, Options, PERF_TOPIC, Result, Role, Signals};
use std::process::ExitCode;
use std::time::Instant;

/// The limit of the record pipe and of the queue beside it. So about twice this number of records may wait to be
/// counted.
const PIPE_LIMIT: i32 = 10_000;
/// How many records the program reads between two checks for a signal.
const SIGNAL_INTERVAL: u64 = 1_000;

fn main() -> ExitCode {
    // A consumer that missed the first records would wait for ever for COUNT records.
    let defaults = [("consumer/offset/reset", "earliest")];
    program::run(commands::perf_consumer(), Role::Node, &defaults, measure)
}

fn measure(options: Options) -> Result {
    let signals = Signals::catch()?;
    let (count, size) = program::count_and_size(&options.matches)?;
    let Some(mut consumer) =
        program::start_consumer(options.settings, PERF_TOPIC.as_bytes(), PIPE_LIMIT, &signals)?
    else {
        return Ok(());
    };
    let (mut received, mut start) = (0, Instant::now());
    while received < count {
        let Some((_, record)) = consumer.next_record()? else {
            if signals.came() {
                return Ok(());
            }
            if consumer.actor.has_ended() {
                return Err(Failure::logged());
            }
            signals.wait(&consumer.source)?;
            continue;
        };
        let len = record.run.content().len();
        if len as u64 != size {
            return Err(Failure(format!("expected records of {size} bytes, got one of {len}")));
        }
        if received == 0 {
            program::print(|output| writeln!(output, "Received first"))?;
            start = Instant::now();
        }
        received += 1;
        // Check for a signal here too, because the pipe may never be empty.
        if received % SIGNAL_INTERVAL == 0 && signals.came() {
            return Ok(());
        }
    }
    program::print_throughput(count, size, start.elapsed().as_secs_f64())
}
