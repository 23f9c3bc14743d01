//! Shared by the end-to-end tests: the programs as processes on loopback, with their input and output line by line.
//!
//! The tests use the options, the keys and the output of the programs, and nothing else of the library. They wait for
//! events, not for fixed times, and each wait ends after [`DEADLINE`].
#![allow(dead_code, unused_imports)] // Each test program uses a part of it.

mod cluster;
mod flow;
mod hosts;
mod ports;
mod program;
mod records;

pub(crate) use cluster::Cluster;
pub(crate) use flow::Flow;
pub(crate) use hosts::{Family, Hosts, Link, Network, announced};
pub(crate) use program::{Logs, Output, Program};
pub(crate) use records::{assert_contents, assert_each_partition, contents, lines, statistic, varied_lines};

use std::net::TcpStream;
use std::time::{Duration, Instant};

/// How long a test waits for anything before it fails. It is long because the machine may be busy.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// The time limit for what should happen within a few seconds. It is longer because the machine may be busy.
pub(crate) const PROMPT: Duration = Duration::from_secs(10);

/// How long a test waits to see that something does not happen.
pub(crate) const QUIET: Duration = Duration::from_millis(300);

/// Waits until a condition holds. The failure message names the condition.
#[track_caller]
pub(crate) fn wait_until(condition: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < DEADLINE, "not within {DEADLINE:?}: {condition}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Checks that a consumer receives exactly these records. Each list in `expected` must be one partition.
#[track_caller]
pub(crate) fn assert_each_replayed(mut consumer: Program, topic: &str, expected: &[&[Vec<u8>]]) {
    let count = expected.iter().map(|partition| partition.len()).sum();
    assert_each_partition(topic, &consumer.lines(count, "all records, for a new consumer"), expected);
    consumer.expect_no_more();
}

/// The port of a TCP endpoint.
pub(crate) fn port_of(endpoint: &str) -> u16 {
    endpoint.rsplit(':').next().and_then(|port| port.parse().ok()).expect("an endpoint with a port")
}

/// Closes a connection with RST instead of FIN.
pub(crate) fn reset(stream: TcpStream) {
    rustix::net::sockopt::set_socket_linger(&stream, Some(Duration::ZERO)).expect("SO_LINGER");
}
