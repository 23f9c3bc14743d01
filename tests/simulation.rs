//! Whole clusters in virtual time: the real state machines and the real storage logic under faults.
//!
//! doc/simulation.md says what is simulated, and how to replay a seed.

#[path = "simulation/accidents.rs"]
mod accidents;
#[path = "simulation/clock.rs"]
mod clock;
#[path = "simulation/directory.rs"]
mod directory;
#[path = "simulation/disk.rs"]
mod disk;
#[path = "simulation/faults.rs"]
mod faults;
#[path = "simulation/groups.rs"]
mod groups;
#[path = "simulation/invariants.rs"]
mod invariants;
#[path = "simulation/model.rs"]
mod model;
#[path = "simulation/network.rs"]
mod network;
#[path = "simulation/nodes.rs"]
mod nodes;
#[path = "simulation/oracle.rs"]
mod oracle;
#[path = "simulation/random.rs"]
mod random;
#[path = "common/run.rs"]
mod run_of_records;
#[path = "simulation/world.rs"]
mod world;

use dafka::actor::store::intake::Disk;
use dafka::protocol::consumer::Start;
use dafka::storage::{Batch, PartitionName, opening};
use disk::SimDisk;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use world::Report;

/// Runs one seed. The error describes the failure in one line, with the command that replays it.
fn run(seed: u64) -> Result<Report, String> {
    let ran = catch_unwind(AssertUnwindSafe(|| world::run(seed, false)));
    let told = match ran {
        Ok(Ok(report)) => return Ok(report),
        Ok(Err(violation)) => format!(
            "invariant {} at {:.6} s: {}",
            violation.invariant,
            violation.at as f64 / clock::SECOND as f64,
            violation.text
        ),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
            format!("panic: {}", text.unwrap_or_default())
        }
    };
    Err(format!("seed {seed}: {told}\nreplay it: make replay SEED={seed}"))
}

/// Runs seeds on all processors until `next_seed` returns `None` or a seed fails. Prints a summary.
fn run_all(next_seed: impl Fn() -> Option<u64> + Sync) {
    let begin = Instant::now();
    let is_over = std::sync::atomic::AtomicBool::new(false);
    let results = std::sync::Mutex::new((0u64, Report::default(), 0, None::<String>));
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed)
                    && let Some(seed) = next_seed()
                {
                    let ran = run(seed);
                    let (runs, total, slowest, failure) = &mut *results.lock().unwrap();
                    *runs += 1;
                    match ran {
                        Ok(report) => {
                            total.simulated += report.simulated;
                            total.published += report.published;
                            total.delivered += report.delivered;
                            total.sent += report.sent;
                            total.lost += report.lost;
                            total.fetches += report.fetches;
                            total.closed += report.closed;
                            total.shared += report.shared;
                            total.repeated += report.repeated;
                            total.events += report.events;
                            if report.convergence > total.convergence {
                                (total.convergence, *slowest) = (report.convergence, seed);
                            }
                        }
                        Err(text) => {
                            is_over.store(true, Ordering::Relaxed);
                            failure.get_or_insert(text);
                        }
                    }
                }
            });
        }
    });
    let (runs, total, slowest, failure) = results.into_inner().unwrap();
    let hours = total.simulated as f64 / clock::SECOND as f64 / 3_600.0;
    println!(
        "{runs} seeds, {hours:.1} cluster-hours in {:.1} s ({:.0} a minute); {} records published, {} delivered; {} \
         messages sent, {} lost; {} FETCHes; {} partitions evicted; {} records shared by groups, {} repeated; longest \
         convergence {} s (seed {slowest})",
        begin.elapsed().as_secs_f64(),
        hours / begin.elapsed().as_secs_f64() * 60.0,
        total.published,
        total.delivered,
        total.sent,
        total.lost,
        total.fetches,
        total.closed,
        total.shared,
        total.repeated,
        total.convergence / clock::SECOND,
    );
    if let Some(text) = failure {
        panic!("{text}");
    }
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[test]
fn fixed_seeds_keep_every_invariant() {
    let next = AtomicU64::new(0);
    let count = number("DAFKA_SIM_SEEDS").unwrap_or(150);
    run_all(|| Some(next.fetch_add(1, Ordering::Relaxed)).filter(|&seed| seed < count));
}

#[test]
fn a_seed_replays_its_run() {
    for seed in [1, 2, 3, 4, 5] {
        assert_eq!(run(seed), run(seed));
    }
}

/// Shows that the oracle can fail. The mutations (make mutations) show that the other checks can fail.
#[test]
fn the_oracle_reports_wrong_deliveries() {
    let mut model = model::Model::default();
    let name: model::Name = (b"a".to_vec(), b"P".to_vec());
    model.add_partition(name.clone(), 1);
    let records: Vec<_> = (0..4).map(|_| model.publish(&name, 40, Some(0))).collect();
    model.send(&name, 4);
    let oracle = |start| {
        let mut oracle = oracle::Oracle::new(start);
        oracle.subscribe(b"a", &model::Model::default(), 0);
        oracle
    };
    let mut earliest = oracle(Start::Earliest);
    let mut deliver =
        |offset: usize, record: &model::Record| earliest.deliver(&model, b"a", b"P", offset as u64, record);
    assert!(deliver(1, &records[1]).is_err(), "the first record is missing");
    assert_eq!(deliver(0, &records[0]), Ok(()));
    assert!(deliver(0, &records[0]).is_err(), "twice");
    assert!(deliver(2, &records[2]).is_err(), "a gap");
    assert!(deliver(1, &records[2]).is_err(), "content of another record");
    let without_attributes = model::Record::from(records[1].content.clone());
    assert!(deliver(1, &without_attributes).is_err(), "without attributes");
    assert_eq!(deliver(1, &records[1]), Ok(()));
    let mut latest = oracle::Oracle::new(Start::Latest);
    latest.subscribe(b"a", &model::Model::default(), 1);
    assert_eq!(latest.deliver(&model, b"a", b"P", 2, &records[2]), Ok(()));
    assert!(latest.deliver(&model, b"b", b"P", 3, &records[3]).is_err(), "of another topic");
    let mut late = oracle::Oracle::new(Start::Latest);
    late.subscribe(b"a", &model, 10_001);
    assert!(late.deliver(&model, b"a", b"P", 3, &records[3]).is_err(), "older than the subscription");
    // Of a partition that began after the subscription, the first record comes first.
    let mut early = oracle(Start::Latest);
    assert!(early.deliver(&model, b"a", b"P", 2, &records[2]).is_err(), "the first record is missing");
    assert_eq!(early.deliver(&model, b"a", b"P", 0, &records[0]), Ok(()));
}

#[test]
fn a_power_cut_loses_only_unsynced_writes() {
    const P: PartitionName = PartitionName { topic: b"a", producer: b"P" };
    let batch = |first: u64| {
        let mut batch = Batch::new();
        batch.push(P, first, b"content").unwrap();
        batch
    };
    let mut lost = 0;
    for seed in 0..50 {
        let disk = SimDisk::new([].into(), 0);
        opening::open(&disk).unwrap();
        disk.append(&batch(0)).unwrap();
        disk.write_header();
        disk.finish();
        disk.append(&batch(1)).unwrap();
        disk.write_header();
        assert_eq!((disk.next(P), disk.durable_next(P)), (Some(1), 1));
        disk.crash(Some(&mut random::Random::new(seed)));
        let left = disk.durable_next(P);
        assert!((1..=2).contains(&left), "{left}");
        lost += 2 - left;
    }
    assert!((1..50).contains(&lost), "sometimes the header is on disk: {lost}");
}

#[test]
#[ignore = "runs for DAFKA_SIM_SECONDS: make soak"]
fn random_seeds_keep_every_invariant() {
    let seconds = number("DAFKA_SIM_SECONDS").unwrap_or(60);
    let first = number("DAFKA_SIM_SEED").unwrap_or_else(|| {
        let since = std::time::UNIX_EPOCH.elapsed().expect("after 1970");
        since.as_nanos() as u64 % 1_000_000_000_000 * 1_000
    });
    println!("seeds from {first} on");
    let (next, begin) = (AtomicU64::new(first), Instant::now());
    run_all(|| {
        let seed = next.fetch_add(1, Ordering::Relaxed);
        (begin.elapsed() < Duration::from_secs(seconds)).then_some(seed)
    });
}

#[test]
#[ignore = "shows the run of DAFKA_SIM_SEED: make replay"]
fn replay() {
    let seed = number("DAFKA_SIM_SEED").expect("DAFKA_SIM_SEED is a seed");
    match world::run(seed, true) {
        Ok(report) => println!("seed {seed}: {report:?}"),
        Err(violation) => panic!("seed {seed}: {violation:?}"),
    }
}
