//! One process: its input, its output line by line, its signals, its end.

use super::{DEADLINE, QUIET};
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Lines that the reading thread hands over at a time: a million lines must not cost a million hand-overs.
const LINES_PER_CHUNK: usize = 1_000;

/// What every process of a test wrote to its standard error.
#[derive(Clone, Default)]
pub(crate) struct Logs(Arc<Mutex<Vec<Log>>>);

#[derive(Clone)]
struct Log {
    name: String,
    text: Arc<Mutex<Vec<u8>>>,
}

impl Logs {
    fn add(&self, name: &str) -> Log {
        let log = Log { name: name.into(), text: Arc::default() };
        self.0.lock().unwrap().push(log.clone());
        log
    }

    /// Prints all, for a test that fails.
    pub(crate) fn print(&self) {
        for Log { name, text } in &*self.0.lock().unwrap() {
            let text = text.lock().unwrap();
            // The end tells most.
            let text = &text[text.len().saturating_sub(4_000)..];
            eprintln!("--- standard error of {name}:\n{}", String::from_utf8_lossy(text));
        }
    }
}

/// Where a process has its standard input from.
pub(crate) enum Input {
    /// From [`Program::feed`].
    Pipe,
    File(File),
}

/// A process that ends with this value at the latest.
pub(crate) struct Program {
    name: String,
    child: Child,
    /// What is to be written to its standard input; none when that was closed.
    input: Option<Sender<Vec<u8>>>,
    output: Option<ChildStdout>,
    lines: Option<Lines>,
    log: Log,
    log_reader: Option<JoinHandle<()>>,
}

/// Lines that were read off a process, and those on their way.
struct Lines {
    chunks: Receiver<Vec<Vec<u8>>>,
    waiting: std::vec::IntoIter<Vec<u8>>,
}

enum Next {
    Line(Vec<u8>),
    Late,
    End,
}

impl Lines {
    fn read(output: ChildStdout) -> Lines {
        let (sender, chunks) = channel();
        std::thread::spawn(move || {
            let mut output = BufReader::with_capacity(64 << 10, output);
            let mut chunk = Vec::new();
            loop {
                let mut line = Vec::new();
                let len = output.read_until(b'\n', &mut line).expect("the output can be read");
                let at_end = len == 0;
                if !at_end {
                    // Only the end of the output may lack a line end; a test sees it as a line of its own.
                    match line.pop_if(|octet| *octet == b'\n') {
                        Some(_) => {}
                        None => line.extend_from_slice(b"<no line end>"),
                    }
                    chunk.push(line);
                }
                // Whoever waits gets at once what is there.
                if at_end || output.buffer().is_empty() || chunk.len() == LINES_PER_CHUNK {
                    let is_wanted = sender.send(std::mem::take(&mut chunk)).is_ok();
                    if at_end || !is_wanted {
                        return;
                    }
                }
            }
        });
        Lines { chunks, waiting: Vec::new().into_iter() }
    }

    fn next(&mut self, timeout: Duration) -> Next {
        loop {
            if let Some(line) = self.waiting.next() {
                return Next::Line(line);
            }
            match self.chunks.recv_timeout(timeout) {
                Ok(chunk) => self.waiting = chunk.into_iter(),
                Err(RecvTimeoutError::Timeout) => return Next::Late,
                Err(RecvTimeoutError::Disconnected) => return Next::End,
            }
        }
    }
}

/// What a process left behind.
pub(crate) struct Output {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: Vec<Vec<u8>>,
    pub(crate) stderr: String,
}

impl Program {
    pub(crate) fn start(name: &str, command: &mut Command, input: Input, logs: &Logs) -> Program {
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command.stdin(match input {
            Input::Pipe => Stdio::piped(),
            Input::File(file) => file.into(),
        });
        // SAFETY: prctl is a system call, which a child may do between fork and exec.
        unsafe {
            // When the test program is killed, no destructor runs, and nothing may be left behind either.
            command.pre_exec(|| match libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) {
                0 => Ok(()),
                _ => Err(std::io::Error::last_os_error()),
            });
        }
        let mut child = command.spawn().unwrap_or_else(|error| panic!("cannot start {name}: {error}"));
        let name = format!("{name} [{}]", child.id());
        let input = child.stdin.take().map(|mut stdin| {
            let (sender, receiver) = channel::<Vec<u8>>();
            // A thread of its own, so that a test never waits in a write.
            std::thread::spawn(move || {
                for octets in receiver {
                    if stdin.write_all(&octets).is_err() {
                        // The process has ended.
                        return;
                    }
                }
            });
            sender
        });
        let log = logs.add(&name);
        let mut stderr = child.stderr.take().expect("piped");
        let text = log.text.clone();
        let log_reader = std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(len @ 1..) = stderr.read(&mut buffer) {
                text.lock().unwrap().extend_from_slice(&buffer[..len]);
            }
        });
        let output = child.stdout.take();
        Program { name, child, input, output, lines: None, log, log_reader: Some(log_reader) }
    }

    /// Hands octets to its standard input.
    pub(crate) fn feed_octets(&self, octets: Vec<u8>) {
        let input = self.input.as_ref().expect("the input is open");
        // A process that has ended is found when something is expected of it.
        let _ = input.send(octets);
    }

    /// Hands lines to its standard input.
    pub(crate) fn feed(&self, lines: &[Vec<u8>]) {
        let mut octets = lines.join(&b'\n');
        octets.push(b'\n');
        self.feed_octets(octets);
    }

    /// Closes its standard input, after what was fed.
    pub(crate) fn close_input(&mut self) {
        self.input = None;
    }

    /// Its standard output itself.
    pub(crate) fn take_output(&mut self) -> ChildStdout {
        self.output.take().expect("the output was not taken yet")
    }

    fn next(&mut self, timeout: Duration) -> Next {
        if self.lines.is_none() {
            self.lines = Some(Lines::read(self.take_output()));
        }
        self.lines.as_mut().expect("just made").next(timeout)
    }

    /// The next line of its standard output, without its end.
    #[track_caller]
    pub(crate) fn line(&mut self, what: &str) -> Vec<u8> {
        match self.next(DEADLINE) {
            Next::Line(line) => line,
            Next::Late => panic!("{}: no line for {DEADLINE:?}, waited for: {what}", self.name),
            Next::End => panic!("{}: output ended, waited for: {what}", self.name),
        }
    }

    /// The next `count` lines.
    #[track_caller]
    pub(crate) fn lines(&mut self, count: usize, what: &str) -> Vec<Vec<u8>> {
        let mut lines = Vec::new();
        for i in 0..count {
            lines.push(self.line(&format!("{what}: line {i} of {count}")));
        }
        lines
    }

    /// Up to `count` lines; fewer when none comes for `patience`.
    pub(crate) fn lines_within(&mut self, count: usize, patience: Duration) -> Vec<Vec<u8>> {
        let mut lines = Vec::new();
        while lines.len() < count {
            match self.next(patience) {
                Next::Line(line) => lines.push(line),
                Next::Late | Next::End => break,
            }
        }
        lines
    }

    /// Checks that it prints nothing for a while.
    #[track_caller]
    pub(crate) fn expect_silence(&mut self, duration: Duration, why: &str) {
        match self.next(duration) {
            Next::Late => {}
            Next::Line(line) => {
                panic!("{}: printed {:?}, although {why}", self.name, String::from_utf8_lossy(&line));
            }
            Next::End => panic!("{}: output ended, although it should run", self.name),
        }
    }

    /// Interrupts a consumer from which nothing more is to come, and checks that nothing does.
    #[track_caller]
    pub(crate) fn expect_no_more(mut self) {
        self.expect_silence(QUIET, "all records were there already");
        self.signal(libc::SIGTERM);
        let output = self.expect_success("SIGTERM");
        let rest = output.stdout.iter().map(|line| String::from_utf8_lossy(line)).collect::<Vec<_>>();
        assert!(rest.is_empty(), "more than all records: {rest:?}");
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has written to its standard error so far.
    pub(crate) fn log(&self) -> String {
        String::from_utf8_lossy(&self.log.text.lock().unwrap()).into_owned()
    }

    /// Waits until it has written this to its standard error.
    #[track_caller]
    pub(crate) fn wait_for_log(&mut self, text: &str) {
        let start = Instant::now();
        while !self.log().contains(text) {
            assert!(self.is_running(), "{} has ended, waited for its log: {text}", self.name);
            assert!(start.elapsed() < DEADLINE, "{}: its log does not say: {text}", self.name);
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// What it has in memory now, in octets.
    #[track_caller]
    pub(crate) fn rss_bytes(&self) -> u64 {
        let path = format!("/proc/{}/status", self.pid());
        let status = std::fs::read_to_string(path).unwrap_or_else(|_| panic!("{} has ended", self.name));
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok());
        kib.unwrap_or_else(|| panic!("{} has ended", self.name)) * 1_024
    }

    /// How many files and sockets it has open.
    #[track_caller]
    pub(crate) fn open_files(&self) -> usize {
        let files = std::fs::read_dir(format!("/proc/{}/fd", self.pid()));
        files.unwrap_or_else(|_| panic!("{} has ended", self.name)).count()
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("a process can be asked").is_none()
    }

    /// Sends a signal to a process that should still run.
    #[track_caller]
    pub(crate) fn signal(&mut self, signal: i32) {
        assert!(self.is_running(), "{} has ended before signal {signal}", self.name);
        // SAFETY: a system call without pointers. The process is not waited for yet, so the number is its own.
        let rc = unsafe { libc::kill(self.child.id() as libc::pid_t, signal) };
        assert_eq!(rc, 0, "{}: signal {signal}: {}", self.name, std::io::Error::last_os_error());
    }

    /// Waits until it handles SIGINT and SIGTERM: before, a signal would just kill it.
    #[track_caller]
    pub(crate) fn wait_until_it_catches_signals(&mut self) {
        let wanted = 1_u64 << (libc::SIGINT - 1) | 1 << (libc::SIGTERM - 1);
        let start = Instant::now();
        loop {
            assert!(self.is_running(), "{} has ended before it was ready", self.name);
            let status =
                std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap_or_default();
            let mask = |name| {
                let mask = status.lines().find_map(|line| line.strip_prefix(name));
                mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
            };
            if mask("SigCgt:") & wanted == wanted {
                return;
            }
            assert!(start.elapsed() < DEADLINE, "{}: does not catch signals", self.name);
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Stops it with SIGSTOP, until SIGCONT, and waits until it stands.
    #[track_caller]
    pub(crate) fn pause(&mut self) {
        self.signal(libc::SIGSTOP);
        let start = Instant::now();
        let stat = format!("/proc/{}/stat", self.child.id());
        // The state comes after the name in parentheses.
        while !std::fs::read_to_string(&stat).is_ok_and(|text| text.contains(") T ")) {
            assert!(start.elapsed() < DEADLINE, "{}: does not stop", self.name);
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    #[track_caller]
    pub(crate) fn resume(&mut self) {
        self.signal(libc::SIGCONT);
    }

    /// Kills it with SIGKILL, and waits until it is gone.
    pub(crate) fn kill(mut self) {
        self.end();
    }

    fn end(&mut self) {
        // Fails when it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        self.input = None;
        if let Some(reader) = self.log_reader.take() {
            let _ = reader.join();
        }
    }

    /// Waits until it ends by itself; not longer than `deadline`.
    #[track_caller]
    pub(crate) fn wait(mut self, what: &str, deadline: Duration) -> Output {
        let start = Instant::now();
        // Read while it ends: what it has to say may be more than a pipe holds.
        if self.lines.is_none() {
            self.lines = self.output.take().map(Lines::read);
        }
        let status = loop {
            match self.child.try_wait().expect("a process can be waited for") {
                Some(status) => break status,
                None if start.elapsed() > deadline => {
                    panic!("{} has not ended within {deadline:?} after: {what}", self.name)
                }
                None => std::thread::sleep(Duration::from_millis(2)),
            }
        };
        let mut stdout = Vec::new();
        while let Some(lines) = &mut self.lines
            && let Next::Line(line) = lines.next(DEADLINE)
        {
            stdout.push(line);
        }
        self.end();
        let stderr = String::from_utf8_lossy(&self.log.text.lock().unwrap()).into_owned();
        Output { status, stdout, stderr }
    }

    /// Waits until it ends with exit code 0.
    #[track_caller]
    pub(crate) fn expect_success(self, what: &str) -> Output {
        self.expect_success_within(what, DEADLINE)
    }

    #[track_caller]
    pub(crate) fn expect_success_within(self, what: &str, deadline: Duration) -> Output {
        let name = self.name.clone();
        let output = self.wait(what, deadline);
        let (code, signal) = (output.status.code(), output.status.signal());
        assert_eq!(code, Some(0), "exit code of {name} after: {what}; signal {signal:?}");
        output
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.end();
    }
}
