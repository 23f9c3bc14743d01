//! Prints the records of a topic until SIGINT or SIGTERM.

use clap::{Arg, ArgAction};
use dafka::net::{Frame, Socket, poll};
use dafka::program::{self, Failure, Options, Result, Role, Signals};
use dafka::settings::OffsetReset;
use std::io::{BufWriter, ErrorKind, Write};
use std::os::fd::AsRawFd;
use std::process::ExitCode;
use zmq::{POLLIN, PollEvents, PollItem};

/// Records that may wait to be printed.
const PIPE_LIMIT: i32 = 10_000;

fn main() -> ExitCode {
    let about = "Prints subject, address and content of each record of a topic, until interrupted.";
    program::run(
        "dafka_console_consumer",
        about,
        Role::Node,
        &[],
        |command| {
            let help =
                "Start at the first record of each partition, instead of with what is published from now on";
            command
                .arg(Arg::new("from-beginning").long("from-beginning").action(ArgAction::SetTrue).help(help))
                .arg(program::topic_argument("Topic to read"))
        },
        print_records,
    )
}

fn print_records(mut options: Options) -> Result {
    let signals = Signals::catch()?;
    if options.matches.get_flag("from-beginning") {
        options.settings.consumer.offset_reset = Some(OffsetReset::Earliest);
    }
    let topic = program::topic(&options.matches)?;
    let Some(consumer) = program::start_consumer(options.settings, topic, PIPE_LIMIT, &signals)? else {
        return Ok(());
    };
    let mut output = BufWriter::with_capacity(64 << 10, std::io::stdout().lock());
    let result = loop {
        if signals.came() {
            break output.flush();
        }
        match print_waiting(&consumer.source, &signals, &mut output) {
            Ok(()) => {}
            Err(Stop::Output(error)) => break Err(error),
            Err(Stop::Socket(error)) => return Err(error.into()),
        }
        if consumer.actor.has_ended() {
            return Err(Failure::logged());
        }
        // With no event asked for, standard output is ready only when its reader has gone.
        let items = &mut [
            PollItem::from_fd(std::io::stdout().as_raw_fd(), PollEvents::empty()),
            signals.item(),
            consumer.source.item(POLLIN),
            consumer.actor.pipe().item(POLLIN),
        ];
        poll(items, -1)?;
        if items[0].is_error() {
            break Ok(());
        }
    };
    match result {
        // Whoever read our output has read enough.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => {
            // What the buffer still holds cannot be written any more.
            let _ = output.into_parts();
            Ok(())
        }
        Err(error) => Err(Failure(format!("cannot write to standard output: {error}"))),
        Ok(()) => Ok(()),
    }
}

enum Stop {
    Output(std::io::Error),
    Socket(zmq::Error),
}

impl From<std::io::Error> for Stop {
    fn from(error: std::io::Error) -> Stop {
        Stop::Output(error)
    }
}

impl From<zmq::Error> for Stop {
    fn from(error: zmq::Error) -> Stop {
        Stop::Socket(error)
    }
}

/// Prints the records that wait, then writes them out: one at once when the stream is idle, many at a time when
/// it is not.
fn print_waiting(source: &Socket, signals: &Signals, output: &mut impl Write) -> Result<(), Stop> {
    let (mut subject, mut address, mut content) = (Frame::new(), Frame::new(), Frame::new());
    let mut count = 0_u32;
    while source.try_recv(&mut subject)? {
        source.recv(&mut address)?;
        source.recv(&mut content)?;
        for (frame, end) in [(&subject, b" "), (&address, b" "), (&content, b"\n")] {
            output.write_all(frame.as_ref())?;
            output.write_all(end)?;
        }
        count += 1;
        if count.is_multiple_of(1_000) && signals.is_pending() {
            break;
        }
    }
    Ok(output.flush()?)
}
