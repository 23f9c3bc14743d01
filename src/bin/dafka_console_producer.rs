//! Publishes each line of standard input as one record.

use dafka::commands;
use dafka::net::{Frame, now_ms, poll};
use dafka::program::{self, Failure, Options, Producer, Result, Role, Signals, Summary};
use std::io::{ErrorKind, Read, StdinLock};
use std::os::fd::AsRawFd;
use std::process::ExitCode;
use zmq::{POLLIN, PollItem};

/// How long acknowledgements are waited for once a signal has come.
const SIGNAL_GRACE_MS: u64 = 5_000;
/// What is read from standard input at a time.
const READ_LEN_BYTES: usize = 64 << 10;
/// The exit code when records are not acknowledged.
const UNACKNOWLEDGED: u8 = 3;

fn main() -> ExitCode {
    program::run(commands::console_producer(), Role::Node, &[], publish_lines)
}

fn publish_lines(options: Options) -> Result<ExitCode> {
    let signals = Signals::catch()?;
    let topic = program::topic(&options.matches)?;
    let Some(mut producer) = Producer::start(options.settings, topic, &signals)? else {
        return Ok(ExitCode::SUCCESS);
    };
    let read = read_lines(&mut producer, &signals);
    let (summary, failure) = match read {
        Ok(End::OfInput) => finish(producer, &signals, None),
        Ok(End::Signal) => finish(producer, &signals, Some(now_ms() + SIGNAL_GRACE_MS)),
        // Acknowledgements may never come.
        Err(failure) => (producer.abandon(), Some(failure)),
    };
    if summary.unacknowledged > 0 {
        if let Some(Failure(text)) = failure.filter(|Failure(text)| !text.is_empty()) {
            log::error!(target: "dafka", "{text}");
        }
        log::warn!(
            target: "dafka",
            "{} of {} records were not acknowledged",
            summary.unacknowledged,
            summary.given
        );
        return Ok(ExitCode::from(UNACKNOWLEDGED));
    }
    match failure {
        Some(failure) => Err(failure),
        None => summary.expect_success().map(|()| ExitCode::SUCCESS),
    }
}

/// Why no more lines are read.
enum End {
    OfInput,
    Signal,
}

/// Publishes lines until the input ends or a signal comes.
///
/// # Errors
/// When the input cannot be read, or the producer has ended.
fn read_lines(producer: &mut Producer, signals: &Signals) -> Result<End> {
    let mut input = std::io::stdin().lock();
    let fd = std::io::stdin().as_raw_fd();
    let mut chunk = vec![0; READ_LEN_BYTES];
    // A line whose end has not been read yet.
    let mut begun: Vec<u8> = Vec::new();
    loop {
        poll(&mut [PollItem::from_fd(fd, POLLIN), signals.item(), producer.pipe().item(POLLIN)], -1)?;
        if producer.has_ended() {
            return Err(Failure::logged());
        }
        if signals.came() {
            return Ok(End::Signal);
        }
        let Some(len) = read_some(&mut input, &mut chunk)? else { continue };
        if len == 0 {
            break;
        }
        let mut lines = chunk[..len].split_inclusive(|&octet| octet == b'\n');
        for piece in lines.by_ref() {
            let is_published = match piece.strip_suffix(b"\n") {
                Some(line) if begun.is_empty() => producer.publish(&mut Frame::copy(line), signals)?,
                Some(line) => {
                    begun.extend_from_slice(line);
                    let is_published = producer.publish(&mut Frame::copy(&begun), signals)?;
                    begun.clear();
                    is_published
                }
                None => {
                    begun.extend_from_slice(piece);
                    true
                }
            };
            if !is_published {
                // The signal is read where the loop begins. Lines that were read and not published are lost.
                break;
            }
        }
        producer.skip(lines.filter(|piece| piece.ends_with(b"\n")).count() as u64);
    }
    if !begun.is_empty() {
        producer.publish(&mut Frame::copy(&begun), signals)?;
    }
    Ok(End::OfInput)
}

/// Reads what is there; 0 at the end of the input, `None` when it was interrupted.
fn read_some(input: &mut StdinLock, chunk: &mut [u8]) -> Result<Option<usize>> {
    match input.read(chunk) {
        Ok(len) => Ok(Some(len)),
        Err(error) if matches!(error.kind(), ErrorKind::Interrupted | ErrorKind::WouldBlock) => Ok(None),
        Err(error) => Err(Failure(format!("cannot read standard input: {error}"))),
    }
}

/// Waits until all records are acknowledged; once a signal has come, only for a while.
fn finish(producer: Producer, signals: &Signals, due_ms: Option<u64>) -> (Summary, Option<Failure>) {
    producer.terminate();
    match wait(&producer, signals, due_ms) {
        Ok(true) => (producer.finish(), None),
        Ok(false) => (producer.abandon(), None),
        Err(failure) => (producer.abandon(), Some(failure)),
    }
}

/// True when the producer has ended, false when the time after a signal is over.
fn wait(producer: &Producer, signals: &Signals, mut due_ms: Option<u64>) -> Result<bool> {
    while !producer.has_ended() {
        let timeout_ms = due_ms.map_or(-1, |due_ms| due_ms.saturating_sub(now_ms()) as i64);
        if timeout_ms == 0 {
            return Ok(false);
        }
        poll(&mut [producer.pipe().item(POLLIN), signals.item()], timeout_ms)?;
        if signals.came() {
            // The first signal starts the grace period, the second one ends it.
            let now_ms = now_ms();
            due_ms = Some(due_ms.map_or(now_ms + SIGNAL_GRACE_MS, |_| now_ms));
        }
    }
    Ok(true)
}
