//! Shared by the crash tests: seeds, producers that record which records were acknowledged, and a consumer that checks
//! that a store serves these records.

mod image;
mod load;
mod served;
mod tmpfs;

pub(crate) use fastrand::Rng;
pub(crate) use image::{Fault, PowerCut};
pub(crate) use load::{Load, Partition, content};
pub(crate) use served::{check_log, check_served, served};
pub(crate) use tmpfs::Tmpfs;

/// Returns and prints the seed of this run: `DAFKA_SEED`, or a random one.
pub(crate) fn seed(test: &str) -> u64 {
    let given = std::env::var("DAFKA_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = given.unwrap_or_else(|| fastrand::u32(..).into());
    println!("{test}: DAFKA_SEED={seed}");
    seed
}

/// The number of rounds: `DAFKA_KILL_ROUNDS`, or the default.
pub(crate) fn rounds(default: u64) -> u64 {
    std::env::var("DAFKA_KILL_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(default)
}
