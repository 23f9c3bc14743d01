//! What the command-line programs share: options, configuration, signals, exit codes.

mod lines;
mod output;
mod producer;

pub use lines::{Line, Lines};
pub use output::{complain, not_printed, print};
pub use producer::{Producer, Summary};

use crate::actor::{self, Handle, consumer};
use crate::czmq;
use crate::net::{Kind, Pipe, Socket, TERM, allow_more_open_files, pipe_with_limit};
use crate::settings::Settings;
use crate::storage::MAX_CONTENT_LEN_BYTES;
use crate::text::printable;
use crate::zpl::Item;
use clap::{ArgMatches, Command};
use std::collections::HashMap;
use std::ffi::OsString;
use std::io::{ErrorKind, Read};
use std::marker::PhantomData;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::process::{ExitCode, Termination};
use std::time::{Duration, Instant};
use zmq::{POLLIN, PollItem};

/// What a program's options and configuration file say.
pub struct Options {
    /// The configuration.
    pub settings: Settings,
    /// The program's own arguments.
    pub matches: ArgMatches,
    /// `--verbose`
    pub verbose: bool,
}

/// Why a program ends with an error: one line for standard error.
#[derive(Debug)]
pub struct Failure(pub String);

impl<E: std::error::Error> From<E> for Failure {
    fn from(error: E) -> Failure {
        Failure(error.to_string())
    }
}

impl Failure {
    /// What has failed is in the log already.
    pub fn logged() -> Failure {
        Failure(String::new())
    }
}

/// What a program's main function returns.
pub type Result<T = (), E = Failure> = std::result::Result<T, E>;

/// Whose addresses `--pub` and `--sub` are.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The tower's own, to bind.
    Tower,
    /// The towers', to connect to.
    Node,
}

/// Runs a program: options, then `body`. Prints what went wrong.
pub fn run<T: Termination>(
    command: Command,
    role: Role,
    defaults: &[(&str, &str)],
    body: impl FnOnce(Options) -> Result<T>,
) -> ExitCode {
    let name = command.get_name().to_owned();
    // CZMQ would catch SIGINT and SIGTERM for itself; `Signals` does it here.
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
            // Without text, the log has told.
            if !text.is_empty() {
                complain(format_args!("{name}: {text}"));
            }
            ExitCode::FAILURE
        }
    }
}

/// Starts CZMQ and the threads of libzmq, which come with the first socket. They block all signals, but only once they
/// run: until then they would take what is meant for [`Signals`].
fn start_threads_without_signals() {
    let _held = HeldBack::new();
    czmq::init();
    // Where there is no socket to be had, the program is told when it needs one.
    drop(Socket::new(Kind::PAIR));
}

/// Keeps memory that was freed instead of giving it back to the system at once: a stream asks for the same again a
/// moment later, and page faults cost a store a quarter of its time. A decision for a process of its own, not for
/// the library.
fn keep_freed_memory() {
    #[cfg(target_env = "gnu")]
    for (parameter, octets) in
        [(libc::M_TRIM_THRESHOLD, 256 << 20), (libc::M_TOP_PAD, 16 << 20), (libc::M_MMAP_THRESHOLD, 64 << 20)]
    {
        // SAFETY: mallopt only tunes the allocator; a value that it refuses changes nothing.
        unsafe {
            libc::mallopt(parameter, octets);
        }
    }
}

/// Reads options and configuration; `None` when help was asked for, and given.
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
    // Without this, a record may go to another directory than its operator has written.
    if let Some(misspelled) = config.misspelled(&Settings::keys()) {
        return Err(misspelled.into());
    }
    // What options say wins over the file.
    let mut given: HashMap<String, Vec<u8>> = HashMap::new();
    let options: &[(&str, &str)] = match role {
        Role::Tower => &[
            ("pub", "tower/pub_address"),
            ("sub", "tower/sub_address"),
            ("endpoints-file", "tower/endpoints_file"),
        ],
        Role::Node => &[("pub", "beacon/pub_address"), ("sub", "beacon/sub_address")],
    };
    for (option, key) in options {
        if let Some(value) = matches.get_one::<OsString>(option) {
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

/// Reads a configuration file. Once: it may be a pipe.
fn read_config(path: &OsString) -> Result<Item> {
    let name = printable(path.as_encoded_bytes());
    let text = std::fs::read(path)
        .map_err(|error| Failure(format!("cannot read the configuration {name}: {error}")))?;
    Item::parse(&text).map_err(|error| Failure(format!("the configuration {name} is not valid ZPL: {error}")))
}

/// What is wrong with the arguments, in a line. When some are missing, the usage follows it. 0.1.0 prints only the usage then,
/// and succeeds; whoever removes the input after that would lose it.
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

/// Tells of a tower's address that cannot be used before anything starts.
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

/// The exit code of a program that a second signal has ended before its work was done.
const INTERRUPTED: libc::c_int = 3;

/// Signals that come so soon after the first one count as the same: some programs send a signal both to a process and to
/// its group.
const SAME_SIGNAL: Duration = Duration::from_millis(500);

/// After so long without an end, the log says how to enforce it.
const ENDING_PATIENCE: Duration = Duration::from_secs(5);

/// How long to wait between two looks at a thread that is about to end.
const ENDING_TICK_MS: i64 = 10;

/// Runs an actor until a signal comes. An actor that ends by itself is a failure.
///
/// # Errors
/// When it cannot start, or ends, or fails while it ends.
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

/// Ends an actor after a signal, and waits until it has done its work. A second signal ends the program at once, with the
/// exit code [`INTERRUPTED`]: the actor may wait for something that never comes, such as a disk.
///
/// # Errors
/// When the actor fails.
fn end(actor: &Handle, signals: &Signals) -> Result {
    let begun = Instant::now();
    actor.send(TERM);
    let (mut has_succeeded, mut is_told) = (true, false);
    loop {
        while actor.has_ended() {
            // The last word counts. Before it there may be the one that it is ready.
            has_succeeded = actor.has_succeeded()?;
            is_told = true;
        }
        if actor.is_finished() && !actor.has_ended() {
            return if has_succeeded { Ok(()) } else { Err(Failure::logged()) };
        }
        if signals.came() && begun.elapsed() >= SAME_SIGNAL {
            log::error!("ended at once by a second signal, before all work was done");
            // SAFETY: the process ends without running anything else, as that might wait too.
            unsafe { libc::_exit(INTERRUPTED) }
        }
        if !is_told && begun.elapsed() >= ENDING_PATIENCE {
            log::warn!("still at work; another signal ends the program at once");
            is_told = true;
        }
        crate::net::poll(&mut [signals.item(), actor.pipe().item(POLLIN)], ENDING_TICK_MS)?;
    }
}

/// Waits until an actor is ready; false when a signal came before that.
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

/// Prints a measurement of `count` records of `size` octets in `seconds`.
///
/// # Errors
/// When standard output cannot take it.
pub fn print_throughput(count: u64, size: u64, seconds: f64) -> Result {
    let per_second = count as f64 / seconds.max(1e-9);
    print(|output| {
        writeln!(output, "message size: {size} [B]")?;
        writeln!(output, "message count: {count}")?;
        writeln!(output, "mean throughput: {per_second:.0} [msg/s]")?;
        writeln!(output, "mean throughput: {:.3} [Mb/s]", per_second * size as f64 * 8.0 / 1e6)
    })
}

/// A consumer, and the end of its record pipe.
pub struct Consumer {
    /// The actor.
    pub actor: Handle,
    /// Records: frames subject, address, content, after one signal.
    pub source: Pipe,
}

/// Starts a consumer of one topic; `None` when a signal came before it was ready. Its pipe holds `limit` records.
///
/// # Errors
/// When it cannot start.
pub fn start_consumer(
    settings: Settings,
    topic: &[u8],
    limit: i32,
    signals: &Signals,
) -> Result<Option<Consumer>> {
    let (sink, source) = pipe_with_limit(limit)?;
    let actor = actor::spawn("dafka-consumer", move |pipe| {
        let result = consumer::run(pipe, &actor::new_address(), &settings, consumer::Sink::Socket(&sink));
        if !sink.has_signalled() {
            // It has failed before it said so: whoever waits for the sink's signal is not to wait for ever.
            let _ = sink.try_signal();
        }
        result
    })?;
    if !wait_until_ready(&actor, signals)? {
        return Ok(None);
    }
    source.wait_for_signal()?;
    consumer::command(actor.pipe(), b"SUBSCRIBE", topic)?;
    Ok(Some(Consumer { actor, source }))
}

/// The arguments COUNT and SIZE, checked.
///
/// # Errors
/// When there is nothing to measure, or more than a frame can hold.
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

/// The topic argument, checked. Any bytes are a topic.
///
/// # Errors
/// When it is no topic.
pub fn topic(matches: &ArgMatches) -> Result<&[u8]> {
    let topic = matches.get_one::<OsString>("topic").map_or(&b""[..], |topic| topic.as_encoded_bytes());
    if consumer::is_topic(topic) {
        Ok(topic)
    } else {
        Err(Failure(format!("a topic has 1 to 255 octets, this one has {}", topic.len())))
    }
}

/// What asks a program to end.
const CAUGHT: [libc::c_int; 2] = [libc::SIGINT, libc::SIGTERM];

/// SIGINT and SIGTERM, as something to poll.
pub struct Signals(UnixStream);

impl Signals {
    /// Catches both signals from now on.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn catch() -> Result<Signals> {
        let (read, write) = UnixStream::pair()?;
        read.set_nonblocking(true)?;
        // signal-hook drops a signal that comes after its call of sigaction and before it has noted what to do then.
        let mut held = HeldBack::new()?;
        for signal in CAUGHT {
            signal_hook::low_level::pipe::register(signal, write.try_clone()?)?;
        }
        held.unblock();
        drop(held);
        Ok(Signals(read))
    }

    /// Gives both signals their default effect again, to end the program at once. True when one came before that.
    pub fn let_go(self) -> bool {
        for signal in CAUGHT {
            // SAFETY: SIG_DFL is no function; what signal-hook had installed is called no more.
            unsafe {
                libc::signal(signal, libc::SIG_DFL);
            }
        }
        self.came()
    }

    /// An item of [`poll`](crate::net::poll) that becomes readable with the first signal, and stays so.
    pub fn item(&self) -> PollItem<'_> {
        PollItem::from_fd(self.0.as_raw_fd(), POLLIN)
    }

    /// True when a signal came since the last call.
    pub fn came(&self) -> bool {
        let mut octet = [0];
        loop {
            match (&self.0).read(&mut octet) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                result => return result.is_ok_and(|count| count > 0),
            }
        }
    }

    /// True when a signal came that [`Signals::came`] has not told of yet.
    pub fn is_pending(&self) -> bool {
        let items = &mut [self.item()];
        zmq::poll(items, 0).is_ok_and(|count| count > 0)
    }

    /// Waits for the first signal, or until `socket` has something to read.
    ///
    /// # Errors
    /// ETERM when the context ends.
    pub fn wait(&self, socket: &Socket) -> zmq::Result<()> {
        crate::net::poll(&mut [self.item(), socket.item(POLLIN)], -1)
    }
}

/// As long as it lives, the signals in [`CAUGHT`] wait, and do so in the threads that begin meanwhile. (Those to this
/// thread, the only one that takes signals when a program starts.)
struct HeldBack {
    /// What this thread held back before.
    before: libc::sigset_t,
    /// It belongs to this thread.
    _not_send: PhantomData<*const ()>,
}

impl HeldBack {
    fn new() -> std::io::Result<HeldBack> {
        // SAFETY: sigset_t is plain data, which sigemptyset and pthread_sigmask fill; the numbers are signals.
        let (rc, before) = unsafe {
            let (mut set, mut before) = (std::mem::zeroed(), std::mem::zeroed());
            libc::sigemptyset(&raw mut set);
            for signal in CAUGHT {
                libc::sigaddset(&raw mut set, signal);
            }
            (libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, &raw mut before), before)
        };
        if rc == 0 {
            Ok(HeldBack { before, _not_send: PhantomData })
        } else {
            Err(std::io::Error::from_raw_os_error(rc))
        }
    }

    /// Signals that the parent process had blocked come through, too, when this is dropped.
    fn unblock(&mut self) {
        for signal in CAUGHT {
            // SAFETY: the set was filled by pthread_sigmask; the number is a signal.
            unsafe {
                libc::sigdelset(&raw mut self.before, signal);
            }
        }
    }
}

impl Drop for HeldBack {
    fn drop(&mut self) {
        // SAFETY: the mask is the one that pthread_sigmask has given.
        unsafe {
            libc::pthread_sigmask(libc::SIG_SETMASK, &raw const self.before, std::ptr::null_mut());
        }
    }
}
