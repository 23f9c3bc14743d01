//! The processes of a measurement, and the lines that they exchange with the bench.
//!
//! A role is a process of this program, started with the name of the role and arguments `key=value`. The role prints
//! lines that begin with a word (`ready`, `received`), and reads lines such as `go`.

use rustix::process::{Signal, set_parent_process_death_signal};
use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// How long a process may take for one step.
const PATIENCE: Duration = Duration::from_secs(60);

/// A process. It is killed when this value is dropped, and when the bench ends without dropping the value.
pub(crate) struct Process {
    child: Child,
    input: ChildStdin,
    lines: Receiver<String>,
    /// Lines of the process that [`Process::wait_for`] has not returned yet.
    unclaimed: Vec<String>,
}

impl Process {
    /// Starts this program again, in a role.
    pub(crate) fn role(name: &str, arguments: &[String]) -> Process {
        let me = std::env::current_exe().expect("the bench knows its path");
        // By default, CZMQ allows 1,024 sockets in a process. A hundred producers need more.
        Process::start(Command::new(me).arg(name).args(arguments).env("ZSYS_MAX_SOCKETS", "65535"))
    }

    /// Starts a program.
    pub(crate) fn start(command: &mut Command) -> Process {
        // SAFETY: the closure makes one system call, and allocates nothing.
        unsafe { command.pre_exec(|| Ok(set_parent_process_death_signal(Some(Signal::KILL))?)) };
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("the program starts");
        let input = child.stdin.take().expect("its input is piped");
        let output = BufReader::new(child.stdout.take().expect("its output is piped"));
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Process { child, input, lines, unclaimed: Vec::new() }
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// The processor time of all its threads so far, in seconds, in steps of 10 ms.
    pub(crate) fn processor_seconds(&self) -> f64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.id())).expect("the process runs");
        // After the name of the program, which may contain spaces: user and system time, 100 per second.
        let fields = stat.rsplit(')').next().expect("the fields after the name").split_whitespace();
        let ticks: u64 = fields.skip(11).take(2).map(|ticks| ticks.parse::<u64>().expect("a number")).sum();
        ticks as f64 / 100.0
    }

    pub(crate) fn tell(&mut self, line: &str) {
        writeln!(self.input, "{line}").expect("the process reads its input");
    }

    /// Waits for a line that begins with `word`, and returns the rest of the line.
    pub(crate) fn wait_for(&mut self, word: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let is_wanted = |line: &String| line.split(' ').next() == Some(word);
            if let Some(at) = self.unclaimed.iter().position(is_wanted) {
                return self.unclaimed.remove(at)[word.len()..].trim_start().to_owned();
            }
            match self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) => self.unclaimed.push(line),
                Err(RecvTimeoutError::Disconnected) => panic!("the process has ended before `{word}`"),
                Err(RecvTimeoutError::Timeout) => panic!("no line with `{word}` in {PATIENCE:?}"),
            }
        }
    }

    /// Waits for a line that begins with `word` and continues with numbers.
    pub(crate) fn numbers<const N: usize>(&mut self, word: &str) -> [f64; N] {
        let rest = self.wait_for(word);
        let numbers: Vec<f64> = rest.split(' ').map(|number| number.parse().expect("a number")).collect();
        numbers.try_into().expect("so many numbers")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Polls until a condition holds.
pub(crate) fn wait_until(what: &str, condition: impl Fn() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < PATIENCE, "{what}: not in {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A TCP address of this host whose port was free a moment ago.
pub(crate) fn free_address() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("its address").to_string()
}

/// The arguments of a role.
pub(crate) struct Arguments(HashMap<String, String>);

impl Arguments {
    pub(crate) fn of(arguments: &[String]) -> Arguments {
        let pairs = arguments.iter().map(|argument| argument.split_once('=').expect("key=value"));
        Arguments(pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).collect())
    }

    pub(crate) fn text(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(String::as_str)
    }

    /// A number; 0 when it is not given.
    pub(crate) fn number(&self, key: &str) -> u64 {
        self.text(key).map_or(0, |value| value.parse().expect("a number"))
    }

    /// The arguments that are configuration keys.
    pub(crate) fn settings(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().filter(|(key, _)| key.contains('/')).map(|(key, value)| (key.as_str(), value.as_str()))
    }
}
