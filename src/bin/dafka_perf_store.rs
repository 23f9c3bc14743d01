//! Measures how fast records are published and acknowledged.

use dafka::actor::producer;
use dafka::commands;
use dafka::net::{Frame, TERM};
use dafka::program::{self, Failure, Options, PERF_TOPIC, Result, Role, Signals};
use std::process::ExitCode;
use std::time::Instant;

fn main() -> ExitCode {
    program::run(commands::perf_store(), Role::Node, &[], measure)
}

fn measure(options: Options) -> Result {
    let signals = Signals::catch()?;
    let (count, size) = program::count_and_size(&options.matches)?;
    let Some(actor) = program::start_producer(options.settings, PERF_TOPIC.as_bytes(), &signals)? else {
        return Ok(());
    };
    let start = Instant::now();
    for i in 0..count {
        let mut content = Frame::zeroed(size as usize).ok_or_else(|| Failure("out of memory".into()))?;
        let is_sent = producer::send_while(actor.pipe(), &mut content, &mut || !signals.is_pending())?;
        if (!is_sent || i % 1_000 == 0) && signals.came() {
            actor.say(producer::ABANDON);
            return Ok(());
        }
    }
    actor.say(TERM);
    while !actor.has_ended() {
        signals.wait(actor.pipe())?;
        if signals.came() {
            actor.say(producer::ABANDON);
            return Ok(());
        }
    }
    program::expect_acknowledged(&actor)?;
    program::print_throughput(count, size, start.elapsed().as_secs_f64())
}
