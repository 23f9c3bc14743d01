//! A store that is killed at random moments under load loses no acknowledged record.

use crate::crash::{Load, Rng, rounds, seed, served};
use crate::e2e::Cluster;
use std::time::{Duration, Instant};

/// Loads, kills and checks a store in rounds, on the same database.
fn kill_again_and_again(test: &str, sync: &str, rounds: u64) {
    let mut random = Rng::with_seed(seed(test));
    let cluster = Cluster::new().with("store/sync", sync).with_tower();
    let load = Load::start(&cluster, &["kill", "kill two"], 3);
    let start = Instant::now();
    let (mut checked, mut in_log) = (0, 0);
    for round in 0..rounds {
        let store = cluster.store("store");
        // The kill comes mostly while the store acknowledges records, sometimes soon after the store was started.
        let acks = if random.u64(..100) < 80 { 1 + random.u64(..3_000) } else { 0 };
        let pause = Duration::from_micros(random.u64(..(if acks > 0 { 100_000 } else { 300_000 })));
        load.wait_for_acks(acks);
        std::thread::sleep(pause);
        store.kill();
        load.pause();

        let partitions = load.partitions();
        let acked = load.acked_count();
        let mut store = cluster.store("store");
        in_log = served(&cluster, &mut store, &partitions);
        checked += acked;
        println!(
            "{test}: round {round}: killed after {acks} ACKs and {pause:?}; {acked} acknowledged, {in_log} served"
        );
        store.kill();
        load.resume();
    }
    // The last store continues.
    let mut store = cluster.store("store");
    load.wait_for_acks(1_000);
    load.pause();
    let partitions = load.partitions();
    assert!(
        partitions.iter().all(|partition| partition.acked.is_some()),
        "each partition has acknowledged records"
    );
    assert!(served(&cluster, &mut store, &partitions) >= in_log.max(1_000));
    println!(
        "{test}: {rounds} rounds survived in {:?}: {checked} acknowledged records checked, {} at the end",
        start.elapsed(),
        load.acked_count()
    );
}

#[test]
fn acknowledged_records_survive_sigkill() {
    kill_again_and_again("kill, sync = always", "always", rounds(5));
}

#[test]
fn acknowledged_records_survive_sigkill_without_synchronization() {
    kill_again_and_again("kill, sync = never", "never", rounds(5));
}
