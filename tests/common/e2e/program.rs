//! One process: its input, its output line by line, its signals and its end.

use super::{DEADLINE, QUIET, assert_contents, wait_until};
use rustix::process::{Pid, Signal, kill_process, set_parent_process_death_signal};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How many lines the reading thread sends to the test in one message. A million lines must not need a million
/// messages.
const LINES_PER_CHUNK: usize = 1_000;

/// The standard error of each process of a test.
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

    /// Prints the standard error of all processes, for a test that fails.
    pub(crate) fn print(&self) {
        for Log { name, text } in &*self.0.lock().unwrap() {
            let text = text.lock().unwrap();
            // The end is the most useful part.
            let text = &text[text.len().saturating_sub(4_000)..];
            eprintln!("--- standard error of {name}:\n{}", String::from_utf8_lossy(text));
        }
    }
}

/// A process. It is killed when this value is dropped.
pub(crate) struct Program {
    name: String,
    child: Child,
    /// Data for its standard input. `None` once the input is closed.
    input: Option<Sender<Vec<u8>>>,
    output: Option<ChildStdout>,
    lines: Option<Lines>,
    log: Log,
    log_reader: Option<JoinHandle<()>>,
}

/// Lines of output that a thread has read, and the channel for further lines.
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
                    // Only the last line may lack its line end. The test finds a note in place of the line end.
                    match line.pop_if(|octet| *octet == b'\n') {
                        Some(_) => {}
                        None => line.extend_from_slice(b"<no line end>"),
                    }
                    chunk.push(line);
                }
                // Do not hold back lines when no more can be read now.
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

/// The result of a process that has ended.
pub(crate) struct Output {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: Vec<Vec<u8>>,
    pub(crate) stderr: String,
}

impl Output {
    /// Checks the exit code, and that the standard error contains all these texts.
    #[track_caller]
    pub(crate) fn assert_exit(&self, what: &str, code: i32, texts: &[&str]) {
        let Output { status, stderr, .. } = self;
        assert_eq!(status.code(), Some(code), "{what}: {status:?}: {stderr}");
        for text in texts {
            assert!(stderr.contains(text), "{what}: no {text:?} in: {stderr}");
        }
    }
}

/// Lets the child process do something between fork and exec.
pub(super) fn before_exec(
    command: &mut Command,
    action: impl Fn() -> std::io::Result<()> + Send + Sync + 'static,
) {
    // SAFETY: the callers' actions are single system calls, which a child may make between fork and exec.
    unsafe { command.pre_exec(action) };
}

impl Program {
    pub(crate) fn start(name: &str, command: &mut Command, input: Stdio, logs: &Logs) -> Program {
        command.stdin(input).stdout(Stdio::piped()).stderr(Stdio::piped());
        // No process may remain when the test program is killed, although no destructor runs then.
        before_exec(command, || Ok(set_parent_process_death_signal(Some(Signal::KILL))?));
        let mut child = command.spawn().unwrap_or_else(|error| panic!("cannot start {name}: {error}"));
        let name = format!("{name} [{}]", child.id());
        let input = child.stdin.take().map(|mut stdin| {
            let (sender, receiver) = channel::<Vec<u8>>();
            // Write in another thread, so that a test never blocks in a write.
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

    /// Writes bytes to its standard input.
    pub(crate) fn feed_octets(&self, octets: Vec<u8>) {
        let input = self.input.as_ref().expect("the input is open");
        // This fails when the process has ended. A later check of the test finds that.
        let _ = input.send(octets);
    }

    /// Writes lines to its standard input.
    pub(crate) fn feed(&self, lines: &[Vec<u8>]) {
        let mut octets = lines.join(&b'\n');
        octets.push(b'\n');
        self.feed_octets(octets);
    }

    /// Closes its standard input, after all data for it has been written.
    pub(crate) fn close_input(&mut self) {
        self.input = None;
    }

    /// Its standard output, for a test that reads it by itself.
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

    /// The next lines, at most `count`. Returns earlier when no line comes for `patience`.
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

    /// Checks that the process prints nothing for `duration`.
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

    /// Reads as many lines as there are `expected` records, and checks that they are these records, all of one
    /// partition of `topic`.
    #[track_caller]
    pub(crate) fn expect_records(&mut self, topic: &str, expected: &[Vec<u8>], what: &str) {
        assert_contents(topic, &self.lines(expected.len(), what), expected);
    }

    /// Ends a consumer, and checks that it prints nothing more.
    #[track_caller]
    pub(crate) fn expect_no_more(mut self) {
        self.expect_silence(QUIET, "all records were there already");
        let output = self.terminate();
        let rest = output.stdout.iter().map(|line| String::from_utf8_lossy(line)).collect::<Vec<_>>();
        assert!(rest.is_empty(), "more than all records: {rest:?}");
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The process's standard error so far.
    pub(crate) fn log(&self) -> String {
        String::from_utf8_lossy(&self.log.text.lock().unwrap()).into_owned()
    }

    /// Waits until its standard error contains this.
    #[track_caller]
    pub(crate) fn wait_for_log(&mut self, text: &str) {
        self.wait_until(&format!("its log contains: {text}"), |program| program.log().contains(text));
    }

    /// Waits until a condition holds while the process runs.
    #[track_caller]
    pub(crate) fn wait_until(&mut self, condition: &str, mut holds: impl FnMut(&mut Program) -> bool) {
        let condition = format!("{}: {condition}", self.name);
        wait_until(&condition, || {
            assert!(self.is_running(), "the process has ended, waited for {condition}");
            holds(self)
        });
    }

    /// Its resident memory.
    #[track_caller]
    pub(crate) fn rss_bytes(&self) -> u64 {
        self.memory_bytes("VmRSS:")
    }

    /// One of the sizes in `/proc/PID/status`, such as `VmRSS:`.
    #[track_caller]
    pub(crate) fn memory_bytes(&self, key: &str) -> u64 {
        let path = format!("/proc/{}/status", self.pid());
        let status = std::fs::read_to_string(path).unwrap_or_else(|_| panic!("{} has ended", self.name));
        let line = status.lines().find_map(|line| line.strip_prefix(key));
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
        self.signal_even_if_ended(signal);
    }

    /// Sends a signal to a process that may have ended. No other process can have its number, because this process has
    /// not been waited for.
    #[track_caller]
    pub(crate) fn signal_even_if_ended(&self, signal: i32) {
        let sent =
            kill_process(Pid::from_child(&self.child), Signal::from_named_raw(signal).expect("a signal"));
        sent.unwrap_or_else(|error| panic!("{}: signal {signal}: {error}", self.name));
    }

    /// Waits until it handles SIGINT and SIGTERM. Before that, a signal would kill it.
    #[track_caller]
    pub(crate) fn wait_until_it_catches_signals(&mut self) {
        let wanted = 1_u64 << (libc::SIGINT - 1) | 1 << (libc::SIGTERM - 1);
        self.wait_until("it catches signals", |program| {
            let status =
                std::fs::read_to_string(format!("/proc/{}/status", program.pid())).unwrap_or_default();
            let mask = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
            let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0);
            mask & wanted == wanted
        });
    }

    /// Stops it with SIGSTOP, and waits until it has stopped.
    #[track_caller]
    pub(crate) fn pause(&mut self) {
        self.signal(libc::SIGSTOP);
        let stat = format!("/proc/{}/stat", self.pid());
        // The state comes after the name in parentheses.
        wait_until("it stops", || std::fs::read_to_string(&stat).is_ok_and(|text| text.contains(") T ")));
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
        // This fails when the process has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        self.input = None;
        if let Some(reader) = self.log_reader.take() {
            let _ = reader.join();
        }
    }

    /// Waits until it ends by itself, at most for `deadline`.
    #[track_caller]
    pub(crate) fn wait(mut self, what: &str, deadline: Duration) -> Output {
        let start = Instant::now();
        // Read the output until the process ends, because the output may be more than a pipe holds.
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

    /// Waits until it ends with this exit code, and checks that its standard error contains all these texts.
    #[track_caller]
    pub(crate) fn expect_exit(self, what: &str, code: i32, texts: &[&str]) -> Output {
        let output = self.wait(what, DEADLINE);
        output.assert_exit(what, code, texts);
        output
    }

    /// Closes its standard input, and waits until it ends with exit code 0.
    #[track_caller]
    pub(crate) fn finish(mut self, what: &str) -> Output {
        self.close_input();
        self.expect_success(what)
    }

    /// Sends SIGTERM, and waits until it ends with exit code 0.
    #[track_caller]
    pub(crate) fn terminate(mut self) -> Output {
        self.signal(libc::SIGTERM);
        self.expect_success("SIGTERM")
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
