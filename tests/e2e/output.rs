//! Standard output and standard error that are full, or closed by their reader.

use crate::e2e::{Cluster, DEADLINE};
use std::fs::File;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const PROGRAMS: [&str; 7] = [
    env!("CARGO_BIN_EXE_dafka_towerd"),
    STORED,
    PRODUCER,
    env!("CARGO_BIN_EXE_dafka_console_consumer"),
    PERF_STORE,
    env!("CARGO_BIN_EXE_dafka_perf_consumer"),
    env!("CARGO_BIN_EXE_dafka_selftest"),
];
const STORED: &str = env!("CARGO_BIN_EXE_dafka_stored");
const PRODUCER: &str = env!("CARGO_BIN_EXE_dafka_console_producer");
const PERF_STORE: &str = env!("CARGO_BIN_EXE_dafka_perf_store");

/// A device that takes nothing.
fn full() -> Stdio {
    File::options().write(true).open("/dev/full").expect("/dev/full").into()
}

/// A pipe whose reader has gone.
fn closed() -> Stdio {
    std::io::pipe().expect("a pipe").1.into()
}

/// Runs a program until it ends. Returns its exit code and what it wrote to standard error, when that is a pipe.
#[track_caller]
fn run(program: &str, arguments: &[&str], stdout: Stdio, stderr: Stdio) -> (Option<i32>, String) {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(stdout).stderr(stderr);
    let mut child = command.spawn().expect("the program");
    let start = Instant::now();
    while child.try_wait().expect("its status").is_none() {
        if start.elapsed() > DEADLINE {
            let _ = child.kill();
            panic!("{program} {arguments:?} does not end");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    let output = child.wait_with_output().expect("its output");
    (output.status.code(), String::from_utf8(output.stderr).expect("UTF-8"))
}

/// Checks a program whose work succeeds, and whose output does not: a full device is one line and exit code 1, a reader
/// that has gone is nothing.
#[track_caller]
fn assert_output_matters(program: &str, arguments: &[&str]) {
    let (code, stderr) = run(program, arguments, full(), Stdio::piped());
    assert_eq!(code, Some(1), "{program} {arguments:?} >/dev/full: {stderr}");
    assert_eq!(stderr.lines().count(), 1, "{program} {arguments:?} >/dev/full: {stderr}");
    assert!(stderr.contains("cannot write to standard output: No space left on device"), "{stderr}");
    assert_eq!(run(program, arguments, closed(), Stdio::piped()), (Some(0), String::new()), "{arguments:?}");
    assert_eq!(run(program, arguments, full(), full()).0, Some(1), "{program} {arguments:?}, both full");
}

#[test]
fn help_and_lists_report_a_full_device_and_ignore_a_closed_pipe() {
    for program in PROGRAMS {
        assert_output_matters(program, &["--help"]);
        assert_output_matters(program, &["--version"]);
        for stderr in [full(), closed()] {
            let code = if program.ends_with("selftest") { 2 } else { 1 };
            assert_eq!(run(program, &["--nonsense"], Stdio::null(), stderr).0, Some(code), "{program}");
        }
    }
    assert_output_matters(PROGRAMS[6], &["--list"]);
    assert_output_matters(PROGRAMS[6], &["--number"]);
    assert_eq!(run(PROGRAMS[6], &["--test", "nothing"], Stdio::null(), full()).0, Some(1));
    assert_eq!(run(PRODUCER, &[""], Stdio::null(), full()).0, Some(1));
}

#[test]
fn measurements_and_lists_of_a_store_report_a_full_device_and_ignore_a_closed_pipe() {
    let mut cluster = Cluster::new();
    let _tower = cluster.tower();
    let db = cluster.dir().join("store").into_os_string().into_string().expect("UTF-8");
    cluster.set("store/db", &db);
    let config = cluster.config_with(&[]).into_os_string().into_string().expect("UTF-8");
    let (publ, sub) = (cluster.pub_addresses(), cluster.sub_addresses());
    let node = ["-c", &config, "--pub", &publ, "--sub", &sub];
    let store = cluster.store("store");
    assert_output_matters(PERF_STORE, &[&node[..], &["10", "10"]].concat());
    assert_output_matters(STORED, &["-c", &config, "--list"]);

    // Nothing is missing: the line that says so is lost, the exit code is not.
    let missing = [&node[..], &["--missing"]].concat();
    for stderr in [full(), closed()] {
        assert_eq!(run(STORED, &missing, full(), stderr).0, Some(0));
    }
    // A store that was never in this network lacks all of it.
    let other = cluster.dir().join("other");
    let elsewhere = Cluster::new();
    let mut alone = elsewhere.store_at(&other, &[], &[]);
    let start = Instant::now();
    while !other.join("data.mdb").exists() {
        assert!(alone.is_running() && start.elapsed() < DEADLINE, "{}", alone.log());
        std::thread::sleep(Duration::from_millis(5));
    }
    alone.signal(libc::SIGTERM);
    alone.expect_success("SIGTERM");
    let config = cluster.config_with(&[("store/db", other.to_str().expect("UTF-8"))]);
    let missing = ["-c", config.to_str().expect("UTF-8"), "--pub", &publ, "--sub", &sub, "--missing"];
    let (code, stderr) = run(STORED, &missing, closed(), Stdio::piped());
    assert_eq!((code, stderr.lines().count()), (Some(1), 1), "{stderr}");
    assert!(stderr.contains(" are missing: "), "{stderr}");
    drop(store);
}
