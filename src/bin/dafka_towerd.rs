//! Runs a tower until SIGINT or SIGTERM.

use dafka::actor::tower;
use dafka::commands;
use dafka::program::{self, Role};
use std::process::ExitCode;

fn main() -> ExitCode {
    program::run(commands::towerd(), Role::Tower, &[], |options| {
        program::run_actor("dafka-tower", move |pipe| tower::run(pipe, &options.settings.tower))
    })
}
