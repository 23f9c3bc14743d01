//! Runs a tower until SIGINT or SIGTERM.

use dafka::actor::tower;
use dafka::program::{self, Role};
use std::process::ExitCode;

fn main() -> ExitCode {
    let about = "Runs a Dafka tower, which introduces producers, consumers and stores to each other.";
    program::run(
        "dafka_towerd",
        about,
        Role::Tower,
        &[],
        |command| command,
        |options| program::run_actor("dafka-tower", move |pipe| tower::run(pipe, &options.settings.tower)),
    )
}
