//! What the end-to-end tests share: the six programs as processes on loopback, fed and read line by line.
//!
//! The tests are black-box: they know the options, the keys and the output of the programs, and nothing of the
//! library. Nothing sleeps where an event can be waited for, and every wait ends after [`DEADLINE`].
#![allow(dead_code, unused_imports)] // Each test program uses a part of it.

mod cluster;
mod hosts;
mod ports;
mod program;
mod records;

pub(crate) use cluster::Cluster;
pub(crate) use hosts::{Family, Hosts, Link, Network, announced};
pub(crate) use program::{Input, Logs, Output, Program};
pub(crate) use records::{assert_contents, assert_each_partition, contents, lines, statistic, varied_lines};

use std::time::Duration;

/// How long a test waits for anything before it fails. Generous: the machine may be busy with other things.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// "Within a few seconds", on a machine that may be busy.
pub(crate) const PROMPT: Duration = Duration::from_secs(10);

/// How long a test watches for something that must not happen.
pub(crate) const QUIET: Duration = Duration::from_millis(300);
