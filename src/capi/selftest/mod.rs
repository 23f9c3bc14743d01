//! The self tests behind `dafka_NAME_test`. Each uses its class through the C functions, with real actors over inproc
//! and loopback sockets. A failed check aborts the process, like a failed C assertion.

mod discovery;
mod messages;
mod private;
mod proto;
mod streams;
mod support;

pub(super) use discovery::{beacon, tower};
pub(super) use messages::{consumer_msg, producer_msg};
pub use private::dafka_private_selftest;
pub(super) use proto::proto;
pub(super) use streams::{consumer, producer, publisher, store, subscriber};

use crate::czmq;
use std::io::Write;

/// Runs the self test of one class.
pub(super) fn run(name: &str, verbose: bool, test: fn(verbose: bool)) {
    czmq::init();
    czmq::log::install();
    test(verbose);
    // A closed standard output does not fail the test.
    let _ = writeln!(std::io::stdout(), " * {name}: OK");
}
