//! Shared code of the command-line programs: options, configuration, signals, exit codes.

mod consumer;
mod escapes;
mod input_format;
mod lines;
mod output;
mod producer;
mod progress;
mod record_format;
mod record_json;
mod signals;

pub use consumer::{Consumer, choose_start, start_consumer};
pub use input_format::InputFormat;
pub use lines::{Line, Lines};
pub use output::{complain, not_printed, print};
pub use producer::{Producer, Summary};
pub use record_format::{Place, RecordFormat};
pub use signals::Signals;

use crate::actor::{self, Handle, consumer::is_topic};
use crate::czmq;
use crate::net::{Kind, Pipe, Socket, TERM, allow_more_open_files};
use crate::settings::Settings;
use crate::text::printable;
use crate::wire::MAX_NAME_LEN;
use crate::wire::batch::MAX_CONTENT_LEN_BYTES;
use crate::zpl::Item;
use clap::{ArgMatches, Command};
use signals::BlockedSignals;
use std::collections::HashMap;
use std::ffi::OsString;
use std::process::{ExitCode, Termination};
use std::time::{Duration, Instant};
use zmq::POLLIN;

/// The options and the configuration of a program.
pub struct Options {
    /// The configuration.
    pub settings: Settings,
    /// The program's own arguments.
    pub matches: ArgMatches,
    /// `--verbose`
    pub verbose: bool,
}

/// The error that ends a program: one line for standard error.
#[derive(Debug)]
pub struct Failure(pub String);

impl<E: std::error::Error> From<E> for Failure {
    fn from(error: E) -> Failure {
        Failure(error.to_string())
    }
}

impl Failure {
    /// An error that the log already describes.
    pub fn logged() -> Failure {
        Failure(String::new())
    }
}

/// The result of a program's main function.
pub type Result<T = (), E = Failure> = std::result::Result<T, E>;

/// The meaning of the addresses in `--pub` and `--sub`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The tower itself, which binds there.
    Tower,
    /// The towers, to which a node connects.
    Node,
}

/// Runs a program: reads its options, then calls `body`. Prints the error, if there is one.
pub fn run<T: Termination>(
    command: Command,
    role: Role,
    defaults: &[(&str, &str)],
    body: impl FnOnce(Options) -> Result<T>,
) -> ExitCode {
    let name = command.get_name().to_owned();
    // Without this call, CZMQ would catch SIGINT and SIGTERM. In the programs, `Signals` catches them.
    czmq::leave_signals_alone();
    start_threads_without_signals();
    keep_freed_memory();
    allow_more_open_files();
    czmq::log::install();
    czmq::log::to_stderr();
    let result = options(command, role, defaults).and_then(|options| match options {
        Some(options) => body(options).map(T::report),
        None => Ok(ExitCode::SUCCESS),
    });
    match result {
        Ok(code) => code,
        Err(Failure(text)) => {
            // Without text, the log already describes the error.
            if !text.is_empty() {
                complain(format_args!("{name}: {text}"));
            }
            ExitCode::FAILURE
        }
    }
}

/// Starts CZMQ and the threads of libzmq, which the first socket creates. The threads of libzmq block all signals, but
/// not at once when they start. Before that, one of them could take a signal that [`Signals`] waits for. So this
/// function blocks these signals until the threads have started.
fn start_threads_without_signals() {
    let _blocked = BlockedSignals::new();
    czmq::init();
    // If no socket can be made, the program gets the error when it needs a socket.
    drop(Socket::new(Kind::PAIR));
}

/// Keeps freed memory instead of returning it to the system at once. A program that receives or sends a stream of
/// records needs the same amount again a moment later. If it had to get this memory from the system each time, the page
/// faults would cost a store a quarter of its time. Only a program may decide this, not the library.
fn keep_freed_memory() {
    #[cfg(target_env = "gnu")]
    for (parameter, bytes) in
        [(libc::M_TRIM_THRESHOLD, 256 << 20), (libc::M_TOP_PAD, 16 << 20), (libc::M_MMAP_THRESHOLD, 64 << 20)]
    {
        // SAFETY: mallopt only tunes the allocator; a refused value changes nothing.
        unsafe {
            libc::mallopt(parameter, bytes);
        }
    }
}

/// Reads options and configuration. `None` when help was requested and printed.
fn options(command: Command, role: Role, defaults: &[(&str, &str)]) -> Result<Option<Options>> {
    let mut command = command;
    let matches = match command.try_get_matches_from_mut(std::env::args_os()) {
        Ok(matches) => matches,
        Err(error) if !error.use_stderr() => {
            print(|output| write!(output, "{}", error.render()))?;
            return Ok(None);
        }
        Err(error) => return Err(refused(&mut command, &error)),
    };

    let config = match matches.get_one::<OsString>("config") {
        Some(path) => read_config(path)?,
        None => Item::default(),
    };
    // Refuse a misspelled key. Otherwise records could go to another directory than the operator wants.
    if let Some(misspelled) = config.misspelled(&Settings::keys()) {
        return Err(misspelled.into());
    }
    // Options take precedence over the file.
    let mut given: HashMap<String, Vec<u8>> = HashMap::new();
    let options: &[(&str, &str)] = match role {
        Role::Tower => &[
            ("pub", "tower/pub_address"),
            ("sub", "tower/sub_address"),
            ("endpoints-file", "tower/endpoints_file"),
        ],
        Role::Node => &[
            ("pub", "beacon/pub_address"),
            ("sub", "beacon/sub_address"),
            ("producer-name", "producer/name"),
        ],
    };
    for (option, key) in options {
        // Not every program has every option.
        if let Ok(Some(value)) = matches.try_get_one::<OsString>(option) {
            given.insert((*key).into(), value.as_encoded_bytes().into());
        }
    }
    let verbose = matches.get_flag("verbose");
    if verbose {
        for role in ["tower", "beacon", "producer", "consumer", "store"] {
            given.insert(format!("{role}/verbose"), b"1".into());
        }
    }
    let (settings, problems) = Settings::read_all(|key| {
        if let Some(value) = given.get(key) {
            return vec![value.clone()];
        }
        let mut values: Vec<Vec<u8>> = config.values(key).into_iter().map(Into::into).collect();
        if values.is_empty() {
            values.extend(defaults.iter().filter(|(of, _)| *of == key).map(|(_, value)| (*value).into()));
        }
        values
    });
    if let Some(problem) = problems.first() {
        return Err(Failure(problem.to_string()));
    }
    if role == Role::Node {
        check_addresses(&settings)?;
    }
    Ok(Some(Options { settings, matches, verbose }))
}

/// Reads a configuration file once, since it may be a pipe.
fn read_config(path: &OsString) -> Result<Item> {
    let name = printable(path.as_encoded_bytes());
    let text = std::fs::read(path)
        .map_err(|error| Failure(format!("cannot read the configuration {name}: {error}")))?;
    Item::parse(&text).map_err(|error| Failure(format!("the configuration {name} is not valid ZPL: {error}")))
}

/// Describes the error in the arguments in one line. When arguments are missing, the usage follows. In this case, 0.1.0
/// prints only the usage and succeeds, so a script that deletes its input on success would lose data. Our programs
/// fail.
fn refused(command: &mut Command, error: &clap::Error) -> Failure {
    let line = one_line(&error.to_string());
    match error.kind() {
        clap::error::ErrorKind::MissingRequiredArgument => {
            Failure(format!("{line}\n{}", command.render_usage()))
        }
        _ => Failure(line),
    }
}

/// The first paragraph of an error of the option parser, on one line.
fn one_line(text: &str) -> String {
    let paragraph = text.trim_start_matches("error: ").lines().take_while(|line| !line.is_empty());
    paragraph.map(str::trim).collect::<Vec<_>>().join(" ")
}

/// Rejects an unusable address of a tower before anything starts.
fn check_addresses(settings: &Settings) -> Result {
    for (kind, addresses) in
        [(Kind::PUB, &settings.beacon.sub_addresses), (Kind::SUB, &settings.beacon.pub_addresses)]
    {
        let socket = Socket::new(kind)?;
        for address in addresses {
            let connected = socket.connect(address);
            connected
                .map_err(|error| Failure(format!("cannot use the tower's address {address}: {error}")))?;
        }
    }
    Ok(())
}

/// The exit code after a second signal has ended a program before its work was done.
const INTERRUPTED: libc::c_int = 3;

/// Signals within this time after the first one count as the same signal. Some programs send a signal both to a process
/// and to its group.
const SAME_SIGNAL: Duration = Duration::from_millis(500);

/// When an actor has not ended this long after the signal, the log describes how to enforce its end.
const ENDING_PATIENCE: Duration = Duration::from_secs(5);

/// The pause between two checks whether the thread of an actor has ended.
const ENDING_TICK_MS: i64 = 10;

/// Runs an actor until a Unix signal comes. If the actor ends earlier, that is a failure.
///
/// # Errors
/// When the actor cannot start, ends before a signal, or fails while it ends.
pub fn run_actor(name: &'static str, actor: impl FnOnce(&Pipe) -> actor::Result + Send + 'static) -> Result {
    let signals = Signals::catch()?;
    let actor = actor::spawn(name, actor)?;
    if wait_until_ready(&actor, &signals)? {
        while !signals.came() {
            if actor.has_ended() {
                return Err(Failure::logged());
            }
            signals.wait(actor.pipe())?;
        }
    }
    end(&actor, &signals)
}

/// Ends an actor after a Unix signal, and waits until the actor has done its work. A second Unix signal, at least
/// [`SAME_SIGNAL`] after the first one, ends the program at once with the exit code [`INTERRUPTED`]. The reason is that
/// the actor may wait for something that never comes, such as the response of a disk.
///
/// # Errors
/// When the actor fails.
fn end(actor: &Handle, signals: &Signals) -> Result {
    let start = Instant::now();
    actor.send(TERM);
    let (mut has_succeeded, mut is_logged) = (true, false);
    loop {
        while actor.has_ended() {
            // The actor's last signal counts. Its ready signal may come before that one.
            has_succeeded = actor.has_succeeded()?;
            is_logged = true;
        }
        if actor.is_finished() && !actor.has_ended() {
            return if has_succeeded { Ok(()) } else { Err(Failure::logged()) };
        }
        if signals.came() && start.elapsed() >= SAME_SIGNAL {
            log::error!("ended at once by a second signal, before all work was done");
            // SAFETY: the process ends without running any other code, which might also wait.
            unsafe { libc::_exit(INTERRUPTED) }
        }
        if !is_logged && start.elapsed() >= ENDING_PATIENCE {
            log::warn!("still at work; another signal ends the program at once");
            is_logged = true;
        }
        crate::net::poll(&mut [signals.item(), actor.pipe().item(POLLIN)], ENDING_TICK_MS)?;
    }
}

/// Waits until an actor is ready. False when a Unix signal came before that.
///
/// # Errors
/// When the actor cannot start.
pub fn wait_until_ready(actor: &Handle, signals: &Signals) -> Result<bool> {
    while !actor.has_ended() {
        signals.wait(actor.pipe())?;
        if signals.came() {
            return Ok(false);
        }
    }
    if actor.pipe().wait_for_signal()? { Ok(true) } else { Err(Failure::logged()) }
}

/// The topic that the performance programs use.
pub const PERF_TOPIC: &str = "$STORE_PERF";

/// Prints a measurement of `count` records of `size` bytes in `seconds`.
///
/// # Errors
/// When standard output cannot be written.
pub fn print_throughput(count: u64, size: u64, seconds: f64) -> Result {
    let per_second = count as f64 / seconds.max(1e-9);
    print(|output| {
        writeln!(output, "message size: {size} [B]")?;
        writeln!(output, "message count: {count}")?;
        writeln!(output, "mean throughput: {per_second:.0} [msg/s]")?;
        writeln!(output, "mean throughput: {:.3} [Mb/s]", per_second * size as f64 * 8.0 / 1e6)
    })
}

/// The checked arguments COUNT and SIZE.
///
/// # Errors
/// When COUNT is 0, or SIZE is more than the content of a record can have.
pub fn count_and_size(matches: &ArgMatches) -> Result<(u64, u64)> {
    let argument = |name| matches.get_one::<u64>(name).copied().unwrap_or_default();
    match (argument("COUNT"), argument("SIZE")) {
        (0, _) => Err(Failure("COUNT must be at least 1".into())),
        (_, size) if size > MAX_CONTENT_LEN_BYTES as u64 => {
            Err(Failure(format!("SIZE must be at most {MAX_CONTENT_LEN_BYTES}")))
        }
        arguments => Ok(arguments),
    }
}

/// The checked topic argument. A topic may contain any bytes.
///
/// # Errors
/// When it is not a topic.
pub fn topic(matches: &ArgMatches) -> Result<&[u8]> {
    let topic = matches.get_one::<OsString>("topic").map_or(&b""[..], |topic| topic.as_encoded_bytes());
    if is_topic(topic) {
        Ok(topic)
    } else {
        Err(Failure(format!("a topic has 1 to 255 bytes, this one has {}", topic.len())))
    }
}

/// The checked option `--partition`. The address of a producer may contain any bytes.
///
/// # Errors
/// When it cannot be an address.
pub fn partition(matches: &ArgMatches) -> Result<Option<&[u8]>> {
    match matches.get_one::<OsString>("partition").map(|partition| partition.as_encoded_bytes()) {
        Some(partition) if !(1..=MAX_NAME_LEN).contains(&partition.len()) => Err(Failure(format!(
            "--partition has 1 to {MAX_NAME_LEN} bytes, this one has {}",
            partition.len()
        ))),
        partition => Ok(partition),
    }
}
