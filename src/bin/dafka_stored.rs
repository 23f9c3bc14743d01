//! Runs a store until SIGINT or SIGTERM.

use dafka::actor::store;
use dafka::program::{self, Role};
use std::process::ExitCode;

fn main() -> ExitCode {
    let about = "Runs a Dafka store, which keeps the records of all topics in the directory store/db.";
    program::run(
        "dafka_stored",
        about,
        Role::Node,
        &[],
        |command| command,
        |options| program::run_actor("dafka-store", move |pipe| store::run(pipe, &options.settings)),
    )
}
