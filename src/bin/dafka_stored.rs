//! Runs a store until SIGINT or SIGTERM.

use dafka::actor::store;
use dafka::commands;
use dafka::program::{self, Role};
use std::process::ExitCode;

fn main() -> ExitCode {
    program::run(commands::stored(), Role::Node, &[], |options| {
        program::run_actor("dafka-store", move |pipe| store::run(pipe, &options.settings))
    })
}
