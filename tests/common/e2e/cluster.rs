//! The processes of one test, which all use the same towers.

use super::ports::Port;
use super::{DEADLINE, Logs, Output, Program, assert_each_replayed, wait_until};
use rustix::process::{Resource, Rlimit, setrlimit};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs::File;
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use tempfile::TempDir;

/// The ports of the towers, a directory, and the settings that all nodes of a test share.
pub(crate) struct Cluster {
    /// Programs that run until the test ends.
    background: Vec<Program>,
    towers: Vec<(Port, Port)>,
    settings: BTreeMap<String, String>,
    /// How many files a program may have open. `None`: the limit of this process.
    file_limit: Option<u64>,
    config_count: AtomicU32,
    logs: Logs,
    dir: TempDir,
}

impl Cluster {
    /// A cluster in which nothing runs yet.
    pub(crate) fn new() -> Cluster {
        Cluster::with_towers(1)
    }

    /// As [`Cluster::new`], with ports for several towers.
    pub(crate) fn with_towers(count: usize) -> Cluster {
        let cluster = Cluster {
            background: Vec::new(),
            towers: (0..count).map(|_| (Port::reserve(), Port::reserve())).collect(),
            settings: BTreeMap::new(),
            file_limit: None,
            config_count: AtomicU32::new(0),
            logs: Logs::default(),
            dir: tempfile::tempdir().expect("a temporary directory"),
        };
        cluster.with("beacon/address", "127.0.0.1").with("beacon/interval", "100")
    }

    /// The same cluster with another setting.
    pub(crate) fn with(mut self, key: &str, value: &str) -> Cluster {
        self.set(key, value);
        self
    }

    /// The same cluster with a tower that runs until the test ends.
    pub(crate) fn with_tower(mut self) -> Cluster {
        self.background.push(self.tower());
        self
    }

    /// The same cluster with a store that runs until the test ends.
    pub(crate) fn with_store(mut self) -> Cluster {
        self.background.push(self.store("store"));
        self
    }

    /// Changes a setting of the nodes that start from now on.
    pub(crate) fn set(&mut self, key: &str, value: &str) {
        self.settings.insert(key.into(), value.into());
    }

    /// Limits how many files the programs that start from now on may have open.
    pub(crate) fn limit_files(&mut self, count: u64) {
        self.file_limit = Some(count);
    }

    /// The directory of this test.
    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The path of a file in the directory of this test, as text.
    pub(crate) fn path(&self, name: &str) -> String {
        text(self.dir().join(name))
    }

    /// The endpoints of the towers' XPUB sockets.
    pub(crate) fn pub_addresses(&self) -> String {
        self.towers.iter().map(|tower| tower.0.endpoint()).collect::<Vec<_>>().join(",")
    }

    /// The endpoints of the towers' XSUB sockets.
    pub(crate) fn sub_addresses(&self) -> String {
        self.towers.iter().map(|tower| tower.1.endpoint()).collect::<Vec<_>>().join(",")
    }

    /// Writes a configuration file with these settings only, and returns its path.
    pub(crate) fn config_of(&self, settings: &[(&str, &str)]) -> String {
        let settings = settings.iter().map(|&(key, value)| (key.into(), value.into())).collect();
        let path = self.path(&format!("{}.cfg", self.config_count.fetch_add(1, Ordering::Relaxed)));
        std::fs::write(&path, zpl(&settings)).expect("a configuration file");
        path
    }

    /// Writes a configuration file with the settings of this cluster and further settings, and returns its path.
    pub(crate) fn config_with(&self, settings: &[(&str, &str)]) -> String {
        let mut all: BTreeMap<&str, &str> =
            self.settings.iter().map(|(key, value)| (&**key, &**value)).collect();
        all.extend(settings.iter().copied());
        self.config_of(&all.into_iter().collect::<Vec<_>>())
    }

    /// Starts one of the programs with these arguments only.
    pub(crate) fn program(&self, program: &str, arguments: &[&str]) -> Program {
        self.program_reading(program, arguments, Stdio::piped())
    }

    fn program_reading(&self, program: &str, arguments: &[&str], input: Stdio) -> Program {
        let mut command = Command::new(executable(program));
        command.args(arguments).current_dir(self.dir());
        if let Some(count) = self.file_limit {
            let limit = Rlimit { current: Some(count), maximum: Some(count) };
            super::program::before_exec(&mut command, move || Ok(setrlimit(Resource::Nofile, limit)?));
        }
        Program::start(&format!("{program} {}", arguments.join(" ")), &mut command, input, &self.logs)
    }

    /// Runs a program that should end by itself, with empty input.
    pub(crate) fn run(&self, program: &str, arguments: &[&str]) -> Output {
        self.program_reading(program, arguments, Stdio::null()).wait("its start", DEADLINE)
    }

    /// Starts any command as a part of this test.
    pub(crate) fn command(&self, name: &str, command: &mut Command) -> Program {
        Program::start(name, command, Stdio::piped(), &self.logs)
    }

    /// Starts a node: one of the programs, with the settings of this cluster.
    pub(crate) fn node(&self, program: &str, arguments: &[&str]) -> Program {
        self.node_with(program, arguments, &[])
    }

    /// As [`Cluster::node`], with further settings.
    pub(crate) fn node_with(&self, program: &str, arguments: &[&str], settings: &[(&str, &str)]) -> Program {
        self.start_node(program, arguments, settings, Stdio::piped())
    }

    /// As [`Cluster::node`], with a file as its standard input.
    pub(crate) fn node_reading(&self, program: &str, arguments: &[&str], input: File) -> Program {
        self.start_node(program, arguments, &[], input.into())
    }

    fn start_node(&self, program: &str, own: &[&str], settings: &[(&str, &str)], input: Stdio) -> Program {
        let (publ, sub) = (self.pub_addresses(), self.sub_addresses());
        let options = ["-c", &self.config_with(settings), "--pub", &publ, "--sub", &sub];
        self.program_reading(program, &[&options, own].concat(), input)
    }

    /// Starts a node that loads `preload.c`, with an environment variable that controls this library.
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
        command.arg("-c").arg(self.config_with(&[])).args(arguments).current_dir(self.dir());
        command.env("LD_PRELOAD", &library).env(variable.0, variable.1);
        self.command(program, &mut command)
    }

    /// Starts the tower.
    pub(crate) fn tower(&self) -> Program {
        self.tower_number(0)
    }

    /// Starts one of the towers, and waits until it listens.
    pub(crate) fn tower_number(&self, index: usize) -> Program {
        let (publ, sub) = &self.towers[index];
        let config = self.config_with(&[]);
        let arguments = ["-c", &config, "--pub", &publ.endpoint(), "--sub", &sub.endpoint()];
        let mut tower = self.program("dafka_towerd", &arguments);
        wait_until("the tower listens", || {
            assert!(tower.is_running(), "the tower has ended");
            [publ, sub].iter().all(|port| TcpStream::connect((Ipv4Addr::LOCALHOST, port.number())).is_ok())
        });
        tower
    }

    /// Starts a store that keeps its records in the directory `name`.
    pub(crate) fn store(&self, name: &str) -> Program {
        self.node_with("dafka_stored", &[], &[("store/db", &self.path(name))])
    }

    /// Starts a store on any directory, with further settings and environment variables.
    pub(crate) fn store_at(
        &self,
        dir: &Path,
        settings: &[(&str, &str)],
        environment: &[(&str, &Path)],
    ) -> Program {
        let settings = [settings, &[("store/db", dir.to_str().expect("UTF-8"))]].concat();
        self.node_in("dafka_stored", &[], &settings, environment)
    }

    /// As [`Cluster::node_with`], with environment variables.
    pub(crate) fn node_in(
        &self,
        program: &str,
        arguments: &[&str],
        settings: &[(&str, &str)],
        environment: &[(&str, &Path)],
    ) -> Program {
        let mut command = Command::new(executable(program));
        command.arg("-c").arg(self.config_with(settings));
        command.args(["--pub", &self.pub_addresses(), "--sub", &self.sub_addresses()]);
        command.args(arguments).current_dir(self.dir()).envs(environment.iter().copied());
        self.command(program, &mut command)
    }

    /// Starts a console producer whose input stays open.
    pub(crate) fn producer(&self, topic: &str) -> Program {
        self.node("dafka_console_producer", &[topic])
    }

    /// Starts a console producer that publishes these lines and no others.
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
        self.node("dafka_console_consumer", &["--from-beginning", topic])
    }

    /// Starts a console consumer of new records.
    pub(crate) fn consumer_of_new(&self, topic: &str) -> Program {
        self.node("dafka_console_consumer", &[topic])
    }

    /// Checks that a consumer which starts now receives exactly these records, all of one partition.
    #[track_caller]
    pub(crate) fn assert_stored(&self, topic: &str, expected: &[Vec<u8>]) {
        self.assert_each_stored(topic, &[expected]);
    }

    /// As [`Cluster::assert_stored`], for several partitions.
    #[track_caller]
    pub(crate) fn assert_each_stored(&self, topic: &str, expected: &[&[Vec<u8>]]) {
        assert_each_replayed(self.consumer(topic), topic, expected);
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.background.clear();
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

fn text(path: PathBuf) -> String {
    path.into_os_string().into_string().expect("UTF-8")
}

/// The settings as the text of a ZPL file: `a/b/c = v` becomes a `c` inside a `b` inside an `a`.
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
