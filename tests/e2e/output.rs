//! Standard output and standard error that are full, or closed by their reader.

use crate::e2e::{Cluster, wait_until};
use std::fs::File;
use std::process::{Command, Stdio};

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

/// A device to which every write fails.
fn full() -> Stdio {
    File::options().write(true).open("/dev/full").expect("/dev/full").into()
}

/// A pipe without a reader.
fn closed() -> Stdio {
    std::io::pipe().expect("a pipe").1.into()
}

/// Runs a program until it ends. Returns its exit code and, if standard error is a pipe, the text that it wrote there.
#[track_caller]
fn run(program: &str, arguments: &[&str], stdout: Stdio, stderr: Stdio) -> (Option<i32>, String) {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(stdout).stderr(stderr);
    let mut child = command.spawn().expect("the program");
    wait_until(&format!("{program} {arguments:?} ends"), || child.try_wait().expect("its status").is_some());
    let output = child.wait_with_output().expect("its output");
    (output.status.code(), String::from_utf8(output.stderr).expect("UTF-8"))
}

/// Checks a program whose output fails while everything else succeeds: a full device leads to one log line and exit
/// code 1, and a closed pipe leads to exit code 0.
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
    let mut cluster = Cluster::new().with_tower();
    cluster.set("store/db", &cluster.path("store"));
    let config = cluster.config_with(&[]);
    let (publ, sub) = (cluster.pub_addresses(), cluster.sub_addresses());
    let node = ["-c", &config, "--pub", &publ, "--sub", &sub];
    let store = cluster.store("store");
    assert_output_matters(PERF_STORE, &[&node[..], &["10", "10"]].concat());
    assert_output_matters(STORED, &["-c", &config, "--list"]);

    // No record is missing. The line that reports this is lost, and the exit code is 0.
    let missing = [&node[..], &["--missing"]].concat();
    for stderr in [full(), closed()] {
        assert_eq!(run(STORED, &missing, full(), stderr).0, Some(0));
    }
    // A store that was never in this network misses all records.
    let other = cluster.dir().join("other");
    let elsewhere = Cluster::new();
    let mut alone = elsewhere.store_at(&other, &[], &[]);
    alone.wait_until("it has created its database", |_| other.join("data.mdb").exists());
    alone.terminate();
    let config = cluster.config_with(&[("store/db", other.to_str().expect("UTF-8"))]);
    let missing = ["-c", &config, "--pub", &publ, "--sub", &sub, "--missing"];
    let (code, stderr) = run(STORED, &missing, closed(), Stdio::piped());
    assert_eq!((code, stderr.lines().count()), (Some(1), 1), "{stderr}");
    assert!(stderr.contains(" are missing: "), "{stderr}");
    drop(store);
}
