//! Runs a store until SIGINT or SIGTERM, or prints which records its database holds or lacks.

use dafka::actor::{self, inventory, store};
use dafka::commands;
use dafka::program::{self, Failure, Options, Result, Role, Signals};
use dafka::settings::Settings;
use dafka::storage;
use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;
use std::sync::mpsc::channel;

fn main() -> ExitCode {
    program::run(commands::stored(), Role::Node, &[], |options| {
        let Options { settings, matches, .. } = options;
        match (matches.get_flag("list"), matches.get_flag("missing")) {
            (true, _) => list(&settings),
            (_, true) => missing(settings),
            _ => program::run_actor("dafka-store", move |pipe| store::run(pipe, &settings)),
        }
    })
}

/// Prints the partitions in the database.
fn list(settings: &Settings) -> Result {
    let partitions = storage::list(Path::new(&settings.store.db))?;
    program::print(|output| {
        for partition in &partitions {
            let (topic, producer) = (partition.topic.escape_ascii(), partition.producer.escape_ascii());
            writeln!(output, "{topic}\t{producer}\t{}\t{}", partition.first, partition.next)?;
        }
        Ok(())
    })
}

/// Prints the partitions of which other stores hold records that the database lacks. Fails when records are missing, or
/// when it is unknown whether records are missing.
fn missing(settings: Settings) -> Result {
    let db = settings.store.db.clone();
    // Report an error of the database before using the network.
    storage::list(Path::new(&db))?;
    let signals = Signals::catch()?;
    let interrupted = || Failure("interrupted before the stores have answered".into());
    let (sender, receiver) = channel();
    let actor = actor::spawn("dafka-inventory", move |pipe| inventory::run(pipe, &settings, &sender))?;
    if !program::wait_until_ready(&actor, &signals)? {
        return Err(interrupted());
    }
    while !actor.has_ended() {
        signals.wait(actor.pipe())?;
        if signals.came() {
            return Err(interrupted());
        }
    }
    // The actor has ended. From now on a signal ends the process at once, even if nothing reads the output.
    if signals.restore_defaults() {
        return Err(interrupted());
    }
    let found = receiver.recv().map_err(|_| Failure::logged())?;
    if found.stores == 0 {
        return Err(Failure("no store answers".into()));
    }
    // Read the database after the survey, so that records that arrived during the survey count as held.
    let held: BTreeMap<_, _> = storage::list(Path::new(&db))?
        .into_iter()
        .map(|partition| ((partition.topic, partition.producer), partition.next))
        .collect();
    let (mut partitions, mut records) = (0_u64, 0_u64);
    let mut lines = Vec::new();
    for (key, &next) in &found.next {
        let here = held.get(key).copied().unwrap_or(0);
        if here < next {
            (partitions, records) = (partitions + 1, records.saturating_add(next - here));
            writeln!(lines, "{}\t{}\t{here}\t{next}", key.0.escape_ascii(), key.1.escape_ascii())?;
        }
    }
    program::print(|output| output.write_all(&lines))?;
    let asked = format!("stores asked: {}, partitions there: {}", found.stores, found.next.len());
    let missing = format!("{records} records of {partitions} partitions are missing: {asked}");
    match (partitions, found.incomplete_because) {
        (0, None) => {
            program::complain(format_args!("nothing is missing: {asked}"));
            Ok(())
        }
        (0, Some(why)) => Err(Failure(format!("not known whether something is missing: {asked}; {why}"))),
        (_, None) => Err(Failure(missing)),
        (_, Some(why)) => Err(Failure(format!("{missing}; {why}"))),
    }
}
