//! Simulated power cuts: data that a store has not synchronized may be lost, completely or in part. See
//! `crash/powercut.c` and `crash/image.rs`.

use crate::crash::{Fault, Load, PowerCut, Rng, check_log, check_served, rounds, seed, served};
use crate::e2e::{Cluster, wait_until};
use std::time::{Duration, Instant};

/// The number of further possible disk contents after each cut. The tests check these without a process.
const IMAGES: u64 = 10;

/// Checks that all acknowledged records are in the possible disk contents after a power cut.
#[track_caller]
pub(crate) fn check_images(disk: &PowerCut, load: &Load, random: &mut Rng) {
    for _ in 0..IMAGES {
        let dir = disk.dir().with_extension(random.u64(..).to_string());
        disk.write_image(&dir, random);
        check_log(&dir, &load.partitions());
        std::fs::remove_dir_all(dir).expect("there");
    }
}

#[test]
fn acknowledged_records_survive_a_power_cut() {
    let test = "power cut";
    let mut random = Rng::with_seed(seed(test));
    let cluster = Cluster::new().with_tower();
    let load = Load::start(&cluster, &["power", "power two"], 3);
    let mut disk = PowerCut::new(&cluster.dir().join("store"));
    let start = Instant::now();
    let (rounds, mut checked) = (rounds(5), 0);
    for round in 0..rounds {
        let store = cluster.store_at(disk.dir(), &[], &disk.environment());
        // Sometimes the cut comes before the first record, or while the store starts.
        let acks = if random.u64(..100) < 80 { 1 + random.u64(..2_000) } else { 0 };
        load.wait_for_acks(acks);
        std::thread::sleep(Duration::from_micros(random.u64(..(if acks > 0 { 30_000 } else { 200_000 }))));
        store.kill();
        load.pause();

        let partitions = load.partitions();
        check_images(&disk, &load, &mut random);
        checked += IMAGES * load.acked_count();
        disk.cut(&mut random);
        let mut store = cluster.store_at(disk.dir(), &[], &disk.environment());
        let in_log = served(&cluster, &mut store, &partitions);
        checked += load.acked_count();
        println!("{test}: round {round}: {} acknowledged, {in_log} served", load.acked_count());
        // After another cut, all served records are still there.
        store.kill();
        disk.cut(&mut random);
        assert!(check_log(disk.dir(), &partitions) >= in_log, "what was served is gone");
        load.resume();
    }
    println!(
        "{test}: {rounds} rounds survived in {:?}: {checked} acknowledged records checked",
        start.elapsed()
    );
}

#[test]
fn without_synchronization_a_power_cut_loses_acknowledged_records() {
    // This shows that the other test can fail.
    let test = "power cut, sync = never";
    let mut random = Rng::with_seed(seed(test));
    let cluster = Cluster::new().with_tower();
    // About every third cut loses nothing. But that does not happen this many times in a row.
    for round in 0..40 {
        let load = Load::start(&cluster, &["power"], 2);
        let mut disk = PowerCut::new(&cluster.dir().join(format!("store-{round}")));
        let store = cluster.store_at(disk.dir(), &[("store/sync", "never")], &disk.environment());
        load.wait_for_acks(1_000);
        store.kill();
        load.pause();
        disk.cut(&mut random);
        let mut store = cluster.store_at(disk.dir(), &[], &[]);
        let result = check_served(&cluster, &mut store, &load.partitions(), Duration::from_secs(2));
        println!("{test}: round {round}: {result:?}");
        if result.is_err() {
            return;
        }
    }
    panic!("nothing was lost: the power cut cuts nothing");
}

#[test]
fn unsynchronized_records_of_an_earlier_run_are_acknowledged_only_when_on_disk() {
    let test = "power cut after sync = never";
    let mut random = Rng::with_seed(seed(test));
    let cluster = Cluster::new().with_tower();
    for _ in 0..4 {
        let load = Load::start(&cluster, &["left"], 1);
        let mut disk = PowerCut::new(&cluster.dir().join(format!("store-{}", random.u64(..))));
        let store = cluster.store_at(disk.dir(), &[("store/sync", "never")], &disk.environment());
        load.wait_for_acks(1_000);
        store.kill();
        load.pause();
        // This store synchronizes, and reports its records.
        let mut store = cluster.store_at(disk.dir(), &[], &disk.environment());
        served(&cluster, &mut store, &load.partitions());
        store.kill();
        disk.cut(&mut random);
        check_log(disk.dir(), &load.partitions());
    }
}

#[test]
fn a_store_does_not_acknowledge_records_whose_header_is_not_synchronized() {
    let test = "power cut after a failed header";
    let mut random = Rng::with_seed(seed(test));
    let cluster = Cluster::new().with_tower();
    for _ in 0..2 {
        let load = Load::start(&cluster, &["header"], 1);
        let disk = PowerCut::new(&cluster.dir().join(format!("store-{}", random.u64(..))));
        let store = cluster.store_at(disk.dir(), &[], &disk.environment());
        load.wait_for_acks(100);
        // The header reaches the system's memory but not the disk, and LMDB cannot undo this. So the batch is in the
        // log, and the next retry finds it there. Then the disk refuses everything.
        disk.control.fail_once(Fault::Header, libc::EIO);
        disk.control.fail(Fault::All, libc::EIO, None);
        let (failed, acked) = (disk.control.failed(), load.acked_count());
        wait_until("the disk refuses a write", || {
            disk.control.failed() != failed || load.acked_count() != acked
        });
        store.kill();
        load.pause();
        check_images(&disk, &load, &mut random);
    }
}

#[test]
fn a_store_that_cannot_settle_its_header_does_not_start() {
    let mut random = Rng::with_seed(seed("a header that is not on disk, and a restart"));
    let cluster = Cluster::new().with_tower();
    let load = Load::start(&cluster, &["header"], 1);
    let disk = PowerCut::new(&cluster.dir().join("store"));
    let store = cluster.store_at(disk.dir(), &[], &disk.environment());
    load.wait_for_acks(100);
    // The last header is only in the system's memory, and the disk still fails.
    disk.control.fail_once(Fault::Header, libc::EIO);
    disk.control.fail(Fault::Header, libc::EIO, None);
    store.kill();
    let store = cluster.store_at(disk.dir(), &[], &disk.environment());
    store.expect_exit("its start", 1, &["synchronize the database"]);
    load.pause();
    check_images(&disk, &load, &mut random);
    disk.control.heal();
    let mut store = cluster.store_at(disk.dir(), &[], &disk.environment());
    served(&cluster, &mut store, &load.partitions());
}
