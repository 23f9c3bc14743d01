//! Publishes each line of standard input as one record.

use dafka::actor::{Handle, producer};
use dafka::commands;
use dafka::net::{Frame, TERM, now_ms, poll};
use dafka::program::{self, Failure, Options, Result, Role, Signals};
use std::io::{ErrorKind, Read};
use std::os::fd::AsRawFd;
use std::process::ExitCode;
use zmq::{POLLIN, PollItem};

/// How long acknowledgements are waited for once a signal has come.
const SIGNAL_GRACE_MS: u64 = 5_000;
/// What is read from standard input at a time.
const READ_LEN_BYTES: usize = 64 << 10;

fn main() -> ExitCode {
    program::run(commands::console_producer(), Role::Node, &[], publish_lines)
}

fn publish_lines(options: Options) -> Result {
    let signals = Signals::catch()?;
    let topic = program::topic(&options.matches)?;
    let Some(actor) = program::start_producer(options.settings, topic, &signals)? else { return Ok(()) };

    let mut input = std::io::stdin().lock();
    let fd = std::io::stdin().as_raw_fd();
    let mut chunk = vec![0; READ_LEN_BYTES];
    // With producer/max_unacked_bytes this may wait for stores; false when a signal ended that.
    let publish = |line: &[u8]| -> Result<bool> {
        let mut is_patient = || !signals.is_pending();
        Ok(producer::send_while(actor.pipe(), &mut Frame::copy(line), &mut is_patient)?)
    };
    // A line whose end has not been read yet.
    let mut begun: Vec<u8> = Vec::new();
    loop {
        poll(&mut [PollItem::from_fd(fd, POLLIN), signals.item(), actor.pipe().item(POLLIN)], -1)?;
        if actor.has_ended() {
            return Err(Failure::logged());
        }
        if signals.came() {
            return finish(&actor, &signals, Some(now_ms() + SIGNAL_GRACE_MS));
        }
        let len = match input.read(&mut chunk) {
            Ok(len) => len,
            Err(error) if matches!(error.kind(), ErrorKind::Interrupted | ErrorKind::WouldBlock) => continue,
            Err(error) => {
                // Not to wait for acknowledgements that may never come.
                actor.say(producer::ABANDON);
                return Err(Failure(format!("cannot read standard input: {error}")));
            }
        };
        if len == 0 {
            break;
        }
        for piece in chunk[..len].split_inclusive(|&octet| octet == b'\n') {
            let is_published = match piece.strip_suffix(b"\n") {
                Some(line) if begun.is_empty() => publish(line)?,
                Some(line) => {
                    begun.extend_from_slice(line);
                    let is_published = publish(&begun)?;
                    begun.clear();
                    is_published
                }
                None => {
                    begun.extend_from_slice(piece);
                    true
                }
            };
            if !is_published {
                // The signal is read where the loop begins.
                break;
            }
        }
    }
    if !begun.is_empty() {
        publish(&begun)?;
    }
    finish(&actor, &signals, None)
}

/// Waits until all records are acknowledged; once a signal has come, only for a while. Fails when the actor does.
fn finish(actor: &Handle, signals: &Signals, mut due_ms: Option<u64>) -> Result {
    actor.say(TERM);
    while !actor.has_ended() {
        let now_ms = now_ms();
        let timeout_ms = due_ms.map_or(-1, |due_ms| due_ms.saturating_sub(now_ms) as i64);
        if timeout_ms == 0 {
            log::warn!(target: "dafka", "interrupted before all records were acknowledged");
            actor.say(producer::ABANDON);
            return Ok(());
        }
        poll(&mut [actor.pipe().item(POLLIN), signals.item()], timeout_ms)?;
        if signals.came() {
            // The first signal shortens the wait, a second one ends it.
            due_ms = Some(due_ms.map_or(now_ms + SIGNAL_GRACE_MS, |_| now_ms));
        }
    }
    program::expect_acknowledged(actor)
}
