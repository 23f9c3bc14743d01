//! Towers, stores, producers and consumers that belong together.

use super::ports::Port;
use super::{DEADLINE, Input, Logs, Output, Program};
use std::cell::Cell;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::net::{Ipv4Addr, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Where the processes of one test meet: ports for its towers, a directory, common settings.
pub(crate) struct Cluster {
    towers: Vec<(Port, Port)>,
    settings: BTreeMap<String, String>,
    /// How many files a program may have open; as many as this process when not set.
    file_limit: Option<u64>,
    files: Cell<u32>,
    logs: Logs,
    dir: TempDir,
}

impl Cluster {
    /// Nothing runs yet.
    pub(crate) fn new() -> Cluster {
        Cluster::with_towers(1)
    }

    /// As [`Cluster::new`], with the ports for several towers.
    pub(crate) fn with_towers(count: usize) -> Cluster {
        let mut cluster = Cluster {
            towers: (0..count).map(|_| (Port::reserve(), Port::reserve())).collect(),
            settings: BTreeMap::new(),
            file_limit: None,
            files: Cell::new(0),
            logs: Logs::default(),
            dir: tempfile::tempdir().expect("a temporary directory"),
        };
        cluster.set("beacon/address", "127.0.0.1");
        cluster.set("beacon/interval", "100");
        cluster
    }

    /// Changes a setting of the nodes that are started from now on.
    pub(crate) fn set(&mut self, key: &str, value: &str) {
        self.settings.insert(key.into(), value.into());
    }

    /// Lets the programs that are started from now on have so many files open, and no more.
    pub(crate) fn limit_files(&mut self, count: u64) {
        self.file_limit = Some(count);
    }

    /// A directory for this test alone.
    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Where the towers' XPUB sockets are.
    pub(crate) fn pub_addresses(&self) -> String {
        self.towers.iter().map(|tower| tower.0.endpoint()).collect::<Vec<_>>().join(",")
    }

    /// Where the towers' XSUB sockets are.
    pub(crate) fn sub_addresses(&self) -> String {
        self.towers.iter().map(|tower| tower.1.endpoint()).collect::<Vec<_>>().join(",")
    }

    /// Writes a configuration file, and says where.
    pub(crate) fn config_file(&self, settings: &BTreeMap<String, String>) -> PathBuf {
        let number = self.files.replace(self.files.get() + 1);
        let path = self.dir().join(format!("{number}.cfg"));
        std::fs::write(&path, zpl(settings)).expect("a configuration file");
        path
    }

    /// Writes a configuration file with the settings of this cluster, and further ones.
    pub(crate) fn config_with(&self, settings: &[(&str, &str)]) -> PathBuf {
        let mut all = self.settings.clone();
        all.extend(settings.iter().map(|&(key, value)| (key.into(), value.into())));
        self.config_file(&all)
    }

    /// Runs one of the programs with these arguments only.
    pub(crate) fn program(&self, program: &str, arguments: &[&str], input: Input) -> Program {
        let mut command = Command::new(executable(program));
        command.args(arguments).current_dir(self.dir());
        if let Some(count) = self.file_limit {
            let limit = libc::rlimit { rlim_cur: count, rlim_max: count };
            // SAFETY: setrlimit is a system call, which a child may do between fork and exec.
            unsafe {
                command.pre_exec(move || match libc::setrlimit(libc::RLIMIT_NOFILE, &limit) {
                    0 => Ok(()),
                    _ => Err(std::io::Error::last_os_error()),
                });
            }
        }
        Program::start(&format!("{program} {}", arguments.join(" ")), &mut command, input, &self.logs)
    }

    /// Runs a program that should end by itself, with empty input.
    pub(crate) fn run(&self, program: &str, arguments: &[&str]) -> Output {
        let mut program = self.program(program, arguments, Input::Pipe);
        program.close_input();
        program.wait("its start", DEADLINE)
    }

    /// Runs any command, as part of this test.
    pub(crate) fn command(&self, name: &str, command: &mut Command, input: Input) -> Program {
        Program::start(name, command, input, &self.logs)
    }

    /// Runs a node: one of the programs, with the settings of this cluster.
    pub(crate) fn node(&self, program: &str, arguments: &[&str], input: Input) -> Program {
        self.node_with(program, arguments, &[], input)
    }

    /// As [`Cluster::node`], with further settings.
    pub(crate) fn node_with(
        &self,
        program: &str,
        arguments: &[&str],
        settings: &[(&str, &str)],
        input: Input,
    ) -> Program {
        let config = self.config_with(settings);
        let (publ, sub) = (self.pub_addresses(), self.sub_addresses());
        let mut options = vec!["-c", config.to_str().expect("UTF-8"), "--pub", &publ, "--sub", &sub];
        options.extend_from_slice(arguments);
        self.program(program, &options, input)
    }

    /// A node into which `preload.c` is loaded, with an environment variable that says what that does there.
    pub(crate) fn preloaded(&self, program: &str, arguments: &[&str], variable: (&str, &Path)) -> Program {
        let library = self.dir().join("preload.so");
        if !library.exists() {
            let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/common/e2e/preload.c");
            let mut compiler = Command::new("cc");
            compiler.args(["-shared", "-fPIC", "-o"]).arg(&library).args([source, "-ldl"]);
            assert!(compiler.status().expect("a C compiler").success());
        }
        let mut command = Command::new(executable(program));
        command.args(["--pub", &self.pub_addresses(), "--sub", &self.sub_addresses()]);
        command.arg("-c").arg(self.config_file(&self.settings)).args(arguments).current_dir(self.dir());
        command.env("LD_PRELOAD", &library).env(variable.0, variable.1);
        self.command(program, &mut command, Input::Pipe)
    }

    /// Starts the tower.
    pub(crate) fn tower(&self) -> Program {
        self.tower_number(0)
    }

    /// Starts one of the towers, and waits until it listens.
    pub(crate) fn tower_number(&self, index: usize) -> Program {
        let (publ, sub) = &self.towers[index];
        let config = self.config_with(&[]);
        let config = config.to_str().expect("UTF-8");
        let arguments = ["-c", config, "--pub", &publ.endpoint(), "--sub", &sub.endpoint()];
        let mut tower = self.program("dafka_towerd", &arguments, Input::Pipe);
        let start = Instant::now();
        for port in [publ, sub] {
            while TcpStream::connect((Ipv4Addr::LOCALHOST, port.number())).is_err() {
                assert!(tower.is_running(), "the tower has ended");
                assert!(start.elapsed() < DEADLINE, "the tower does not listen");
                std::thread::sleep(Duration::from_millis(2));
            }
        }
        tower
    }

    /// Starts a store that keeps its records in the directory `name`.
    pub(crate) fn store(&self, name: &str) -> Program {
        let dir = self.dir().join(name);
        self.node_with("dafka_stored", &[], &[("store/db", dir.to_str().expect("UTF-8"))], Input::Pipe)
    }

    /// Starts a store on any directory, with further settings and environment variables.
    pub(crate) fn store_at(
        &self,
        dir: &Path,
        settings: &[(&str, &str)],
        environment: &[(&str, &Path)],
    ) -> Program {
        let mut all = self.settings.clone();
        all.extend(settings.iter().map(|&(key, value)| (key.into(), value.into())));
        all.insert("store/db".into(), dir.to_str().expect("UTF-8").into());
        let mut command = Command::new(executable("dafka_stored"));
        command.arg("-c").arg(self.config_file(&all));
        command.args(["--pub", &self.pub_addresses(), "--sub", &self.sub_addresses()]);
        command.current_dir(self.dir()).envs(environment.iter().copied());
        self.command("dafka_stored", &mut command, Input::Pipe)
    }

    /// Starts a console producer whose input stays open.
    pub(crate) fn producer(&self, topic: &str) -> Program {
        self.node("dafka_console_producer", &[topic], Input::Pipe)
    }

    /// Starts a console producer of these lines and no others.
    pub(crate) fn producer_of(&self, topic: &str, lines: &[Vec<u8>]) -> Program {
        let mut producer = self.producer(topic);
        producer.feed(lines);
        producer.close_input();
        producer
    }

    /// Publishes lines, and waits until a store has them.
    #[track_caller]
    pub(crate) fn publish(&self, topic: &str, lines: &[Vec<u8>]) {
        self.producer_of(topic, lines).expect_success("the end of its input, with a store present");
    }

    /// Starts a console consumer of all records.
    pub(crate) fn consumer(&self, topic: &str) -> Program {
        self.node("dafka_console_consumer", &["--from-beginning", topic], Input::Pipe)
    }

    /// Starts a console consumer of new records.
    pub(crate) fn consumer_of_new(&self, topic: &str) -> Program {
        self.node("dafka_console_consumer", &[topic], Input::Pipe)
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.logs.print();
        }
    }
}

/// The file of one of the programs.
pub(super) fn executable(program: &str) -> &'static str {
    match program {
        "dafka_towerd" => env!("CARGO_BIN_EXE_dafka_towerd"),
        "dafka_stored" => env!("CARGO_BIN_EXE_dafka_stored"),
        "dafka_console_producer" => env!("CARGO_BIN_EXE_dafka_console_producer"),
        "dafka_console_consumer" => env!("CARGO_BIN_EXE_dafka_console_consumer"),
        "dafka_perf_store" => env!("CARGO_BIN_EXE_dafka_perf_store"),
        "dafka_perf_consumer" => env!("CARGO_BIN_EXE_dafka_perf_consumer"),
        other => panic!("no program {other}"),
    }
}

/// Settings as a ZPL file: `a/b/c = v` is a `c` inside a `b` inside an `a`.
fn zpl(settings: &BTreeMap<String, String>) -> String {
    let mut text = String::new();
    let mut open: Vec<&str> = Vec::new();
    for (key, value) in settings {
        let path: Vec<&str> = key.split('/').collect();
        let common = path.iter().zip(&open).take_while(|(name, open)| name == open).count();
        for (depth, name) in path.iter().enumerate().skip(common) {
            let indent = "    ".repeat(depth);
            if depth + 1 == path.len() {
                writeln!(text, "{indent}{name} = \"{value}\"").expect("text");
            } else {
                writeln!(text, "{indent}{name}").expect("text");
            }
        }
        open = path;
    }
    text
}
