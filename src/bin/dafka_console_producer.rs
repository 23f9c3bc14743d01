//! Publishes each line of standard input as one record.

use dafka::commands;
use dafka::net::{Frame, Warning, now_ms, poll};
use dafka::program::{
    self, Failure, InputFormat, Line, Lines, Options, Producer, Result, Role, Signals, Summary,
};
use dafka::wire::batch::MAX_KEY_LEN_BYTES;
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
    let format = InputFormat::of(&options.matches)?;
    let shows_progress = options.matches.get_flag("progress");
    let max_len_bytes = options.settings.producer.max_record_bytes;
    let Some(mut producer) = Producer::start(options.settings, topic, &signals)? else {
        return Ok(ExitCode::SUCCESS);
    };
    if shows_progress {
        producer.show_progress();
    }
    let mut publisher = Publisher {
        producer,
        signals: &signals,
        lines: Lines::new(format.max_line_bytes(max_len_bytes), format.delimiter),
        refusals: Refusals::new(&format, max_len_bytes),
        format,
        max_len_bytes,
    };
    let read = publisher.read();
    let Publisher { producer, refusals, .. } = publisher;
    let (summary, failure) = match read {
        Ok(End::OfInput) => finish(producer, &signals, None),
        Ok(End::Signal) => finish(producer, &signals, Some(now_ms() + SIGNAL_GRACE_MS)),
        // Do not wait for acknowledgements, which may never come.
        Err(failure) => (producer.abandon(), Some(failure)),
    };
    refusals.log_total();
    let result = result(&summary, failure, refusals.count);
    if shows_progress || options.verbose {
        summary.print();
    }
    result
}

/// The result of the program. Logs the number of unacknowledged records.
fn result(summary: &Summary, failure: Option<Failure>, refused: u64) -> Result<ExitCode> {
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
    format: InputFormat,
    /// The longest content that the producer accepts.
    max_len_bytes: usize,
    refusals: Refusals,
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
            let timeout_ms = self.producer.print_progress();
            let pipe = self.producer.pipe();
            let items = &mut [PollItem::from_fd(fd, POLLIN), self.signals.item(), pipe.item(POLLIN)];
            poll(items, timeout_ms)?;
            // A read would wait if nothing is available.
            let is_available = items[0].is_readable() || items[0].is_error();
            if self.producer.has_ended() {
                return Err(Failure::logged());
            }
            if self.signals.came() {
                return Ok(End::Signal);
            }
            if !is_available {
                continue;
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
        let delimiter = self.lines.delimiter();
        let mut pieces = chunk.split_inclusive(|&byte| byte == delimiter);
        for piece in pieces.by_ref() {
            let is_published = self.publish(|lines| lines.push(piece))?;
            if piece.ends_with(&[delimiter]) {
                self.lines.next();
            }
            if !is_published {
                // A signal came. The rest of the chunk is not published, but its lines are counted.
                break;
            }
        }
        self.producer.skip(pieces.filter(|piece| piece.ends_with(&[delimiter])).count() as u64);
        Ok(())
    }

    /// Publishes the line that `next` returns, if it returns a whole line. False when a signal came before there was
    /// room for the record.
    fn publish<'a>(&'a mut self, next: impl FnOnce(&'a mut Lines) -> Line<'a>) -> Result<bool> {
        let number = self.lines.number();
        let reason = match next(&mut self.lines) {
            Line::Part => return Ok(true),
            Line::TooLong { number } => {
                self.refusals.log_beginning(number);
                return Ok(true);
            }
            Line::Skipped { len_bytes, .. } => {
                format!("its {len_bytes} bytes are more than {}", self.refusals.limit)
            }
            Line::Whole(line) => {
                let (attributes, content) = self.format.record(line);
                let key_len_bytes = attributes.key.map_or(0, <[u8]>::len);
                if key_len_bytes > MAX_KEY_LEN_BYTES {
                    format!("the {key_len_bytes} bytes of its key are more than {MAX_KEY_LEN_BYTES}")
                } else if content.len() > self.max_len_bytes {
                    let limit = max_record_bytes(self.max_len_bytes);
                    format!("the {} bytes of its content are more than {limit}", content.len())
                } else if attributes.is_empty() {
                    return self.producer.publish(&mut Frame::copy(content), self.signals);
                } else {
                    return self.producer.publish_with(attributes, content, self.signals);
                }
            }
        };
        self.refusals.log(number, &reason);
        Ok(true)
    }
}

/// The lines that are not published because they are too long.
struct Refusals {
    /// The limit of a line, for the log.
    limit: String,
    /// Why lines are refused, for the log.
    reason: String,
    count: u64,
    warning: Warning,
}

impl Refusals {
    fn new(format: &InputFormat, max_len_bytes: usize) -> Refusals {
        let max_record = max_record_bytes(max_len_bytes);
        let (limit, reason) = match format.max_line_bytes(max_len_bytes) {
            max_line_bytes if max_line_bytes == max_len_bytes => {
                let reason = format!("they are longer than {max_record}");
                (max_record, reason)
            }
            max_line_bytes => (
                format!("the {max_line_bytes} bytes of the longest key and content"),
                format!("a key is longer than {MAX_KEY_LEN_BYTES}, or a content longer than {max_record}"),
            ),
        };
        Refusals { limit, reason, count: 0, warning: Warning::default() }
    }

    /// Logs that a line is refused whose end was not read yet.
    fn log_beginning(&self, number: u64) {
        if self.count < LOGGED_LINES {
            log::warn!(
                target: "dafka",
                "line {number} is not published: it is longer than {}; the rest of it is skipped", self.limit
            );
        }
    }

    /// Counts a refused line, and logs it.
    fn log(&mut self, number: u64, reason: &str) {
        self.count += 1;
        let text = || format!("line {number} is not published: {reason}");
        match self.count {
            ..=LOGGED_LINES => log::warn!(target: "dafka", "{}", text()),
            _ => self.warning.warn(now_ms(), text),
        }
    }

    /// Logs how many lines were refused, if any.
    fn log_total(&self) {
        if self.count > 0 {
            log::error!(target: "dafka", "{} lines were not published: {}", self.count, self.reason);
        }
    }
}

fn max_record_bytes(max_len_bytes: usize) -> String {
    format!("producer/max_record_bytes = {max_len_bytes}")
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
fn finish(mut producer: Producer, signals: &Signals, due_ms: Option<u64>) -> (Summary, Option<Failure>) {
    producer.terminate();
    match wait(&mut producer, signals, due_ms) {
        Ok(true) => (producer.finish(), None),
        Ok(false) => (producer.abandon(), None),
        Err(failure) => (producer.abandon(), Some(failure)),
    }
}

/// Waits until the producer has ended. False when the time after a signal is over before that.
fn wait(producer: &mut Producer, signals: &Signals, mut due_ms: Option<u64>) -> Result<bool> {
    while !producer.has_ended() {
        let timeout_ms = due_ms.map_or(-1, |due_ms| due_ms.saturating_sub(now_ms()) as i64);
        if timeout_ms == 0 {
            return Ok(false);
        }
        let timeout_ms = match (timeout_ms, producer.print_progress()) {
            (-1, other_ms) | (other_ms, -1) => other_ms,
            (timeout_ms, progress_ms) => timeout_ms.min(progress_ms),
        };
        poll(&mut [producer.pipe().item(POLLIN), signals.item()], timeout_ms)?;
        if signals.came() {
            // The first signal starts the grace period, the second one ends it.
            let now_ms = now_ms();
            due_ms = Some(due_ms.map_or(now_ms + SIGNAL_GRACE_MS, |_| now_ms));
        }
    }
    Ok(true)
}
