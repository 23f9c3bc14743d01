//! Measures everything that doc/performance.md describes. For comparison, measures raw libzmq in the same rounds.
//!
//! `make bench` runs the bench. `ROUNDS=n` sets the number of rounds, `ONLY=part` measures one part, `PEERS=1` adds
//! other systems, and `DAFKA_BENCH_DIR` is the folder of the stores' databases (default: the target folder).
//!
//! For each process with producers, a consumer or raw libzmq, the bench starts itself again. Producers and consumers
//! use the C API as a C program does. Towers and stores are the programs `dafka_towerd` and `dafka_stored`.

mod acks;
mod api;
mod cluster;
mod memory;
mod options;
mod peers;
mod process;
mod raw;
mod roles;
mod scenarios;
mod streams;
mod table;
mod traffic;

use process::Arguments;
use table::Table;

/// A part of the bench.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    Throughput,
    Memory,
    Fanout,
    Topics,
    Latency,
    Options,
}

/// The parts, with their names in `ONLY`.
const PARTS: [(&str, Part); 6] = [
    ("throughput", Part::Throughput),
    ("memory", Part::Memory),
    ("fanout", Part::Fanout),
    ("topics", Part::Topics),
    ("latency", Part::Latency),
    ("options", Part::Options),
];

/// The parts to measure.
pub(crate) struct Parts(Vec<Part>);

impl Parts {
    fn chosen() -> Parts {
        let only = std::env::var("ONLY").unwrap_or_default();
        let chosen = PARTS.iter().filter(|(name, _)| only.is_empty() || *name == only);
        let parts: Vec<Part> = chosen.map(|(_, part)| *part).collect();
        assert!(!parts.is_empty(), "ONLY={only}: it must be one of {:?}", PARTS.map(|(name, _)| name));
        Parts(parts)
    }

    pub(crate) fn has(&self, part: Part) -> bool {
        self.0.contains(&part)
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let role: Option<fn(&Arguments)> = match arguments.first().map(String::as_str) {
        Some("produce") => Some(roles::produce),
        Some("consume") => Some(roles::consume),
        Some("both") => Some(|arguments| both(roles::produce, roles::consume, arguments)),
        Some("raw-publish") => Some(raw::publish),
        Some("raw-receive") => Some(raw::receive),
        Some("raw-both") => Some(|arguments| both(raw::publish, raw::receive, arguments)),
        _ => None,
    };
    match role {
        Some(role) => {
            // An interrupt ends the process; by default, CZMQ would only end the current wait.
            dafka::czmq::leave_signals_alone();
            dafka::czmq::log::to_stderr();
            role(&Arguments::of(&arguments[1..]));
        }
        None => measure(),
    }
}

/// Runs a sender and a receiver in one process.
fn both(send: fn(&Arguments), receive: fn(&Arguments), arguments: &Arguments) {
    std::thread::scope(|scope| {
        scope.spawn(|| send(arguments));
        receive(arguments);
    });
}

fn measure() {
    let rounds = std::env::var("ROUNDS").ok().map_or(5, |rounds| rounds.parse().expect("ROUNDS is a number"));
    let parts = Parts::chosen();
    let with_peers = std::env::var("PEERS").is_ok_and(|peers| peers == "1");
    let mut table = Table::new(["raw libzmq", "Dafka", "part of raw"]);
    let mut of_options = Table::new(["without", "with", "part"]);
    // The processes that the bench starts inherit this limit.
    dafka::net::allow_more_open_files();
    for round in 1..=rounds {
        eprintln!("round {round} of {rounds}");
        if parts.has(Part::Throughput) || parts.has(Part::Memory) {
            streams::measure(&parts, with_peers, &mut table);
        }
        if parts.has(Part::Fanout) {
            scenarios::measure_fanout(&mut table);
        }
        if parts.has(Part::Topics) {
            scenarios::measure_topics(&mut table);
        }
        if parts.has(Part::Latency) {
            scenarios::measure_latency(&mut table);
        }
        if parts.has(Part::Options) {
            options::measure(&mut of_options);
        }
    }
    println!("Medians of {rounds} rounds:\n");
    table.print();
    of_options.print();
}
