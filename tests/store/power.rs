//! Power cuts, simulated: what a store has not put on the disk may be gone, whole or in part. See `crash/powercut.c`
//! and `crash/image.rs`.

use crate::crash::{Fault, Load, PowerCut, Random, check_log, check_served, rounds, seed, served};
use crate::e2e::{Cluster, DEADLINE};
use std::time::{Duration, Instant};

/// Further disks as they may be after each cut, looked at without a process.
const IMAGES: u64 = 10;

#[test]
fn what_was_acknowledged_survives_a_power_cut() {
    let test = "power cut";
    let mut random = Random::new(seed(test));
    let cluster = Cluster::new();
    let _tower = cluster.tower();
    let load = Load::start(&cluster, &["power", "power two"], 3);
    let mut disk = PowerCut::new(&cluster.dir().join("store"));
    let start = Instant::now();
    let (rounds, mut checked) = (rounds(5), 0);
    for round in 0..rounds {
        let store = cluster.store_at(disk.dir(), &[], &disk.environment());
        // Sometimes the power is cut before there is anything, or while the store is at its beginning.
        let acks = if random.percent(80) { 1 + random.below(2_000) } else { 0 };
        load.wait_for_acks(acks);
        std::thread::sleep(Duration::from_micros(random.below(if acks > 0 { 30_000 } else { 200_000 })));
        store.kill();
        load.pause();

        let partitions = load.partitions();
        for number in 0..IMAGES {
            let dir = cluster.dir().join(format!("image-{round}-{number}"));
            disk.write_image(&dir, &mut random);
            check_log(&dir, &partitions);
            checked += load.acked_count();
            std::fs::remove_dir_all(dir).expect("there");
        }
        disk.cut(&mut random);
        let mut store = cluster.store_at(disk.dir(), &[], &disk.environment());
        let in_log = served(&cluster, &mut store, &partitions);
        checked += load.acked_count();
        println!("{test}: round {round}: {} acknowledged, {in_log} served", load.acked_count());
        // What it told of while nothing was published is there after another cut.
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
fn without_synchronization_a_power_cut_loses_what_was_acknowledged() {
    // Not a promise, but the proof that the other test can fail.
    let test = "power cut, sync = never";
    let mut random = Random::new(seed(test));
    let cluster = Cluster::new();
    let _tower = cluster.tower();
    // By chance a cut may lose nothing, about every third time; not so many in a row.
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
fn what_another_run_left_to_the_system_is_acknowledged_only_when_it_is_on_disk() {
    let test = "power cut after sync = never";
    let mut random = Random::new(seed(test));
    let cluster = Cluster::new();
    let _tower = cluster.tower();
    for _ in 0..4 {
        let load = Load::start(&cluster, &["left"], 1);
        let mut disk = PowerCut::new(&cluster.dir().join(format!("store-{}", random.next())));
        let store = cluster.store_at(disk.dir(), &[("store/sync", "never")], &disk.environment());
        load.wait_for_acks(1_000);
        store.kill();
        load.pause();
        // Now it synchronizes, and tells what it has.
        let mut store = cluster.store_at(disk.dir(), &[], &disk.environment());
        served(&cluster, &mut store, &load.partitions());
        store.kill();
        disk.cut(&mut random);
        check_log(disk.dir(), &load.partitions());
    }
}

#[test]
fn a_header_that_was_written_but_not_synchronized_acknowledges_nothing() {
    let test = "power cut after a failed header";
    let mut random = Random::new(seed(test));
    let cluster = Cluster::new();
    let _tower = cluster.tower();
    for _ in 0..2 {
        let load = Load::start(&cluster, &["header"], 1);
        let disk = PowerCut::new(&cluster.dir().join(format!("store-{}", random.next())));
        let store = cluster.store_at(disk.dir(), &[], &disk.environment());
        load.wait_for_acks(100);
        // The header reaches the system's memory, but not the disk; and LMDB cannot undo it. The batch is in the log now,
        // and the next try finds it there. Then the disk takes nothing at all.
        disk.control.fail_once(Fault::Header, libc::EIO);
        disk.control.fail(Fault::All, libc::EIO, None);
        let (failed, acked) = (disk.control.failed(), load.acked_count());
        let start = Instant::now();
        while disk.control.failed() == failed && load.acked_count() == acked && start.elapsed() < DEADLINE {
            std::thread::sleep(Duration::from_millis(1));
        }
        store.kill();
        load.pause();
        for number in 0..IMAGES {
            let dir = disk.dir().with_extension(number.to_string());
            disk.write_image(&dir, &mut random);
            check_log(&dir, &load.partitions());
        }
    }
}

#[test]
fn a_store_that_cannot_settle_its_header_does_not_start() {
    let mut random = Random::new(seed("a header that is not on disk, and a restart"));
    let cluster = Cluster::new();
    let _tower = cluster.tower();
    let load = Load::start(&cluster, &["header"], 1);
    let disk = PowerCut::new(&cluster.dir().join("store"));
    let store = cluster.store_at(disk.dir(), &[], &disk.environment());
    load.wait_for_acks(100);
    // The last header is with the operating system only, and the disk goes on failing.
    disk.control.fail_once(Fault::Header, libc::EIO);
    disk.control.fail(Fault::Header, libc::EIO, None);
    store.kill();
    let output = cluster.store_at(disk.dir(), &[], &disk.environment()).wait("its start", DEADLINE);
    assert_eq!(output.status.code(), Some(1), "{}", output.stderr);
    assert!(output.stderr.contains("put on disk what is in the database"), "{}", output.stderr);
    load.pause();
    for number in 0..IMAGES {
        let dir = disk.dir().with_extension(number.to_string());
        disk.write_image(&dir, &mut random);
        check_log(&dir, &load.partitions());
    }
    disk.control.heal();
    let mut store = cluster.store_at(disk.dir(), &[], &disk.environment());
    served(&cluster, &mut store, &load.partitions());
}
