//! Publishes each line of standard input as one record.

use dafka::commands;
use dafka::net::{Frame, Warning, now_ms, poll};
use dafka::program::{self, Failure, Line, Lines, Options, Producer, Result, Role, Signals, Summary};
use std::io::{ErrorKind, Read, StdinLock};
use std::os::fd::AsRawFd;
use std::process::ExitCode;
use zmq::{POLLIN, PollItem};

/// How long the program waits for acknowledgements after a signal.
const SIGNAL_GRACE_MS: u64 = 5_000;
/// Bytes to read from standard input at once.
const READ_LEN_BYTES: usize = 64 << 10;
/// The number of refused lines that are logged one by one. After that, at most one log line per second reports further
/// refused lines, with a count.
const LOGGED_LINES: u64 = 10;
/// The exit code when records are not acknowledged.
const UNACKNOWLEDGED: u8 = 3;

fn main() -> ExitCode {
    program::run(commands::console_producer(), Role::Node, &[], publish_lines)
}

fn publish_lines(options: Options) -> Result<ExitCode> {
    let signals = Signals::catch()?;
    let topic = program::topic(&options.matches)?;
    let max_len_bytes = options.settings.producer.max_record_bytes;
    let Some(producer) = Producer::start(options.settings, topic, &signals)? else {
        return Ok(ExitCode::SUCCESS);
    };
    let mut publisher = Publisher {
        producer,
        signals: &signals,
        lines: Lines::new(max_len_bytes),
        max_len_bytes,
        refused: 0,
        warning: Warning::default(),
    };
    let read = publisher.read();
    let Publisher { producer, refused, .. } = publisher;
    let (summary, failure) = match read {
        Ok(End::OfInput) => finish(producer, &signals, None),
        Ok(End::Signal) => finish(producer, &signals, Some(now_ms() + SIGNAL_GRACE_MS)),
        // Do not wait for acknowledgements, which may never come.
        Err(failure) => (producer.abandon(), Some(failure)),
    };
    if refused > 0 {
        log::error!(
            target: "dafka",
            "{refused} lines were not published: they are longer than producer/max_record_bytes = {max_len_bytes}"
        );
    }
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
        None if refused > 0 => Err(Failure::logged()),
        None => summary.expect_success().map(|()| ExitCode::SUCCESS),
    }
}

/// Why the program stops reading lines.
enum End {
    OfInput,
    Signal,
}

/// Reads standard input and publishes its lines.
struct Publisher<'a> {
    producer: Producer,
    signals: &'a Signals,
    lines: Lines,
    max_len_bytes: usize,
    /// Number of lines that were too long.
    refused: u64,
    warning: Warning,
}

impl Publisher<'_> {
    /// Publishes lines until the input ends or a signal comes.
    ///
    /// # Errors
    /// When the input cannot be read, or the producer has ended.
    fn read(&mut self) -> Result<End> {
        let mut input = std::io::stdin().lock();
        let fd = std::io::stdin().as_raw_fd();
        let mut chunk = vec![0; READ_LEN_BYTES];
        loop {
            let pipe = self.producer.pipe();
            poll(&mut [PollItem::from_fd(fd, POLLIN), self.signals.item(), pipe.item(POLLIN)], -1)?;
            if self.producer.has_ended() {
                return Err(Failure::logged());
            }
            if self.signals.came() {
                return Ok(End::Signal);
            }
            match read_some(&mut input, &mut chunk)? {
                None => {}
                Some(0) => break,
                Some(len) => self.publish_chunk(&chunk[..len])?,
            }
        }
        self.publish(|lines| lines.end().unwrap_or(Line::Part))?;
        Ok(End::OfInput)
    }

    fn publish_chunk(&mut self, chunk: &[u8]) -> Result {
        let mut pieces = chunk.split_inclusive(|&byte| byte == b'\n');
        for piece in pieces.by_ref() {
            let is_published = self.publish(|lines| lines.push(piece))?;
            if piece.ends_with(b"\n") {
                self.lines.next();
            }
            if !is_published {
                // A signal came. The rest of the chunk is not published, but its lines are counted.
                break;
            }
        }
        self.producer.skip(pieces.filter(|piece| piece.ends_with(b"\n")).count() as u64);
        Ok(())
    }

    /// Publishes the line that `next` returns, if it returns a whole line. False when a signal came before there was
    /// room for the record.
    fn publish<'a>(&'a mut self, next: impl FnOnce(&'a mut Lines) -> Line<'a>) -> Result<bool> {
        let limit = format_args!("producer/max_record_bytes = {}", self.max_len_bytes);
        match next(&mut self.lines) {
            Line::Whole(line) => return self.producer.publish(&mut Frame::copy(line), self.signals),
            Line::TooLong { number } if self.refused < LOGGED_LINES => log::warn!(
                target: "dafka",
                "line {number} is not published: it is longer than {limit}; the rest of it is skipped"
            ),
            Line::Skipped { number, len_bytes } => {
                self.refused += 1;
                let text =
                    || format!("line {number} is not published: its {len_bytes} bytes are more than {limit}");
                match self.refused {
                    ..=LOGGED_LINES => log::warn!(target: "dafka", "{}", text()),
                    _ => self.warning.warn(now_ms(), text),
                }
            }
            Line::TooLong { .. } => {}
            Line::Part => {}
        }
        Ok(true)
    }
}

/// Reads the available input. Returns 0 at the end of the input, and `None` when the read was interrupted or nothing is
/// available.
fn read_some(input: &mut StdinLock, chunk: &mut [u8]) -> Result<Option<usize>> {
    match input.read(chunk) {
        Ok(len) => Ok(Some(len)),
        Err(error) if matches!(error.kind(), ErrorKind::Interrupted | ErrorKind::WouldBlock) => Ok(None),
        Err(error) => Err(Failure(format!("cannot read standard input: {error}"))),
    }
}

/// Waits until all records are acknowledged, or until a timeout after a signal.
fn finish(producer: Producer, signals: &Signals, due_ms: Option<u64>) -> (Summary, Option<Failure>) {
    producer.terminate();
    match wait(&producer, signals, due_ms) {
        Ok(true) => (producer.finish(), None),
        Ok(false) => (producer.abandon(), None),
        Err(failure) => (producer.abandon(), Some(failure)),
    }
}

/// Waits until the producer has ended. False when the time after a signal is over before that.
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
