//! `dafka_selftest`, with the options of 0.1.0.

use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Output};

fn selftest(arguments: &[&str]) -> Output {
    command(arguments).output().expect("dafka_selftest starts")
}

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dafka_selftest"));
    command.args(arguments);
    command
}

fn text(octets: &[u8]) -> String {
    String::from_utf8(octets.to_vec()).expect("UTF-8")
}

/// The names of the tests.
fn names() -> Vec<String> {
    let listed = text(&selftest(&["--list"]).stdout);
    let names: Vec<String> =
        listed.lines().filter_map(|line| line.strip_prefix("    ")).map(str::to_string).collect();
    assert_eq!(listed.lines().count(), names.len() + 1, "a title, and a name in each line: {listed}");
    names
}

#[test]
fn it_lists_and_counts_a_test_for_each_class() {
    let names = names();
    for class in [
        "proto",
        "beacon",
        "tower",
        "store",
        "producer",
        "producer_msg",
        "consumer",
        "consumer_msg",
        "publisher",
        "subscriber",
    ] {
        assert!(names.contains(&format!("dafka_{class}")), "{class} in {names:?}");
    }
    assert_eq!(text(&selftest(&["--number"]).stdout).trim(), names.len().to_string());
}

#[test]
fn every_self_test_passes() {
    let output = selftest(&[]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let stdout = text(&output.stdout);
    for name in names() {
        assert!(stdout.lines().any(|line| line == format!(" * {name}: OK")), "{name} in {stdout}");
    }
    assert!(
        stdout.starts_with("Running dafka selftests...\n") && stdout.ends_with("Tests passed OK\n"),
        "{stdout}"
    );
    assert_eq!(text(&output.stderr), "", "output on standard error");
}

#[test]
fn one_test_can_run_alone_and_verbosely() {
    let output = selftest(&["--verbose", "--test", "dafka_producer"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let stdout = text(&output.stdout);
    assert_eq!(stdout.matches(": OK").count(), 1, "{stdout}");
    // The first line and the last one are those of 0.1.0.
    assert!(stdout.starts_with("Running dafka test 'dafka_producer'...\n"), "{stdout}");
    assert!(stdout.ends_with(" * dafka_producer: OK\n"), "{stdout}");
    assert!(stdout.contains("Producer: "), "no debug lines: {stdout}");
    let output = selftest(&["--test", "dafka_nothing"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("dafka_nothing"));
}

/// The self test can fail: here it cannot create the directory of the store.
#[test]
fn a_failed_check_aborts() {
    let output =
        command(&["--test", "dafka_store"]).env("TMPDIR", "/proc/nowhere").output().expect("it starts");
    assert_eq!(output.status.signal(), Some(libc::SIGABRT));
    let stderr = text(&output.stderr);
    assert!(stderr.contains("streams.rs") && stderr.contains("self test failed"), "{stderr}");
    assert!(!text(&output.stdout).contains("OK"));
}
