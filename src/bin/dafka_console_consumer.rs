//! Prints the records of a topic: until SIGINT or SIGTERM, a number of them, or all that are there.

use dafka::commands;
use dafka::net::{now_ms, poll};
use dafka::program::{self, Consumer, Failure, Options, Place, RecordFormat, Result, Role, Signals};
use std::fs::File;
use std::io::{BufWriter, ErrorKind, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::process::ExitCode;
use zmq::{POLLIN, POLLOUT, PollEvents, PollItem};

/// About twice this number of records may wait to be printed.
const PIPE_LIMIT: i32 = 10_000;

/// With `--exit`, how often the program checks whether all records have been printed.
const CHECK_INTERVAL_MS: u64 = 100;

/// How long the program waits after a signal if the reader of standard output does not read.
const READER_GRACE_MS: u64 = 2_000;

/// The exit code when no store has confirmed the position of a consumer with a name.
const UNCONFIRMED: u8 = 3;

fn main() -> ExitCode {
    program::run(commands::console_consumer(), Role::Node, &[], print_records)
}

fn print_records(mut options: Options) -> Result<ExitCode> {
    let signals = Signals::catch()?;
    program::choose_start(&options.matches, &mut options.settings.consumer)?;
    let topic = program::topic(&options.matches)?;
    let mut end_check = EndCheck { due_ms: options.matches.get_flag("exit").then(now_ms) };
    let mut printer = Printer {
        format: RecordFormat::of(&options.matches)?,
        partition: program::partition(&options.matches)?,
        left_count: options.matches.get_one("count").copied(),
    };
    let Some(mut consumer) = program::start_consumer(options.settings, topic, PIPE_LIMIT, &signals)? else {
        return Ok(ExitCode::SUCCESS);
    };
    if let Some(producer) = printer.partition {
        consumer.commit_only(producer);
    }
    let file = File::from(std::io::stdout().as_fd().try_clone_to_owned()?);
    let mut output = BufWriter::with_capacity(64 << 10, Output { file, signals: &signals, due_ms: None });
    let result = loop {
        if signals.is_pending() {
            break output.flush();
        }
        match printer.print_waiting(&mut consumer, &signals, &mut output) {
            Ok(()) if printer.left_count == Some(0) => break Ok(()),
            Ok(()) => {}
            Err(Stop::Output(error)) => break Err(error),
            Err(Stop::Consumer(error)) => return Err(error.into()),
        }
        if consumer.actor.has_ended() {
            return Err(Failure::logged());
        }
        if end_check.is_at_end(&mut consumer, topic, printer.partition)? {
            break Ok(());
        }
        // Without a requested event, poll reports standard output only when its reader has gone.
        let items = &mut [
            PollItem::from_fd(std::io::stdout().as_raw_fd(), PollEvents::empty()),
            signals.item(),
            consumer.source.item(POLLIN),
            consumer.actor.pipe().item(POLLIN),
        ];
        poll(items, end_check.timeout_ms())?;
        if items[0].is_error() {
            break Ok(());
        }
    };
    match result {
        Ok(()) => confirm(&mut consumer, &signals),
        Err(error) => {
            // The rest of the buffer cannot be written any more.
            let _ = output.into_parts();
            match error.kind() {
                // A signal came while the reader did not read.
                ErrorKind::TimedOut => {}
                _ => program::not_printed(error)?,
            }
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// If the consumer has a name, waits until a store has its position.
fn confirm(consumer: &mut Consumer, signals: &Signals) -> Result<ExitCode> {
    if consumer.confirm(signals)? {
        return Ok(ExitCode::SUCCESS);
    }
    log::warn!(
        target: "dafka",
        "no store has confirmed the position; the next consumer with this name may print records again"
    );
    Ok(ExitCode::from(UNCONFIRMED))
}

/// Checks whether all records that are there have been printed.
struct EndCheck {
    /// The time of the next check. `None` without `--exit`.
    due_ms: Option<u64>,
}

impl EndCheck {
    /// Checks if the time has come. Otherwise returns false.
    fn is_at_end(&mut self, consumer: &mut Consumer, topic: &[u8], partition: Option<&[u8]>) -> Result<bool> {
        let Some(due_ms) = self.due_ms.as_mut().filter(|due_ms| now_ms() >= **due_ms) else {
            return Ok(false);
        };
        *due_ms = now_ms() + CHECK_INTERVAL_MS;
        consumer.is_at_end(topic, partition)
    }

    /// How long to wait for other events. -1: without a limit.
    fn timeout_ms(&self) -> i64 {
        self.due_ms.map_or(-1, |due_ms| due_ms.saturating_sub(now_ms()) as i64)
    }
}

/// Standard output. After a signal, a write waits for the reader for at most `READER_GRACE_MS`.
struct Output<'a> {
    file: File,
    signals: &'a Signals,
    /// After a signal: when to stop waiting for the reader.
    due_ms: Option<u64>,
}

impl Write for Output<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        loop {
            if self.signals.is_pending() {
                self.due_ms.get_or_insert_with(|| now_ms() + READER_GRACE_MS);
            }
            let timeout_ms = self.due_ms.map_or(-1, |due_ms| due_ms.saturating_sub(now_ms()) as i64);
            let file = PollItem::from_fd(self.file.as_raw_fd(), POLLOUT);
            // After a signal, wait only for the reader.
            let items = &mut [file, self.signals.item()][..if self.due_ms.is_some() { 1 } else { 2 }];
            poll(items, timeout_ms).map_err(std::io::Error::other)?;
            if items[0].is_writable() {
                // A writable pipe accepts this many bytes without blocking.
                return self.file.write(&bytes[..bytes.len().min(libc::PIPE_BUF)]);
            }
            if items[0].is_error() {
                return Err(ErrorKind::BrokenPipe.into());
            }
            if timeout_ms == 0 {
                return Err(ErrorKind::TimedOut.into());
            }
        }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

enum Stop {
    Output(std::io::Error),
    Consumer(dafka::actor::Error),
}

impl From<std::io::Error> for Stop {
    fn from(error: std::io::Error) -> Stop {
        Stop::Output(error)
    }
}

impl From<dafka::actor::Error> for Stop {
    fn from(error: dafka::actor::Error) -> Stop {
        Stop::Consumer(error)
    }
}

/// What to print of the records that arrive.
struct Printer<'a> {
    format: RecordFormat,
    /// The producer of the only partition to print. `None`: all partitions.
    partition: Option<&'a [u8]>,
    /// How many records are left to print. `None`: any number.
    left_count: Option<u64>,
}

impl Printer<'_> {
    /// Prints the waiting records, and then flushes the output. So a single record appears at once, and a busy stream is
    /// written in large pieces.
    fn print_waiting(
        &mut self,
        consumer: &mut Consumer,
        signals: &Signals,
        output: &mut impl Write,
    ) -> Result<(), Stop> {
        let mut count = 0_u32;
        while self.left_count != Some(0)
            && let Some((name, record)) = consumer.next_record()?
        {
            if self.partition.is_none_or(|producer| producer == name.producer)
                && let Some(attributes) = record.run.first()
            {
                let place = Place { partition: name, offset: record.offset };
                self.format.write(&place, &attributes, output)?;
                self.left_count = self.left_count.map(|left| left - 1);
            }
            count += 1;
            if count.is_multiple_of(1_000) {
                // A consumer with a name commits its progress also while records always wait.
                if consumer.has_name() {
                    output.flush()?;
                    consumer.mark_processed();
                }
                if signals.is_pending() {
                    break;
                }
            }
        }
        output.flush()?;
        consumer.mark_processed();
        Ok(())
    }
}
