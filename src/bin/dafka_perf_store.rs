//! Measures how fast records are published and acknowledged.

use dafka::commands;
use dafka::net::Frame;
use dafka::program::{self, Failure, Options, PERF_TOPIC, Producer, Result, Role, Signals};
use std::process::ExitCode;
use std::time::Instant;

fn main() -> ExitCode {
    program::run(commands::perf_store(), Role::Node, &[], measure)
}

fn measure(options: Options) -> Result {
    let signals = Signals::catch()?;
    let (count, size) = program::count_and_size(&options.matches)?;
    let Some(mut producer) = Producer::start(options.settings, PERF_TOPIC.as_bytes(), &signals)? else {
        return Ok(());
    };
    let start = Instant::now();
    for i in 0..count {
        let mut content = Frame::zeroed(size as usize).ok_or_else(|| Failure("out of memory".into()))?;
        let is_sent = producer.publish(&mut content, &signals)?;
        if (!is_sent || i % 1_000 == 0) && signals.came() {
            producer.abandon();
            return Ok(());
        }
    }
    // 0.1.0 prints this line too. If the print fails, the program reports the error only after the wait for the
    // acknowledgements.
    let printed = program::print(|output| writeln!(output, "Done publishing"));
    producer.terminate();
    while !producer.has_ended() {
        signals.wait(producer.pipe())?;
        if signals.came() {
            producer.abandon();
            return Ok(());
        }
    }
    producer.finish().expect_success()?;
    printed?;
    program::print_throughput(count, size, start.elapsed().as_secs_f64())
}
