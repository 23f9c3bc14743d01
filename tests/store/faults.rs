//! A store whose disk is full, read-only or failing. It acknowledges only records on disk, logs the condition once, and
//! continues by itself when the disk works again.

use crate::crash::{Fault, Load, PowerCut, Rng, Tmpfs, seed, served};
use crate::e2e::{Cluster, Program};
use std::time::Duration;

const FAILED: &str = "nothing is acknowledged until a retry succeeds";
const HEALED: &str = "the disk accepts records again";

/// Longer than two retries of a write by the store.
const TWO_TRIES: Duration = Duration::from_millis(2_500);

/// Waits until a store has logged `count` lines with `text`.
#[track_caller]
fn wait_for_line(store: &mut Program, text: &str, count: usize) {
    store.wait_until(text, |store| store.log().matches(text).count() >= count);
}

/// Checks that the store acknowledges nothing during some retries, and has logged the failure this number of times.
#[track_caller]
fn stands(store: &mut Program, load: &Load, complaints: usize) {
    // First read the ACKs that are on their way.
    load.pause();
    load.resume();
    let mut acked = load.acked_count();
    loop {
        std::thread::sleep(Duration::from_millis(500));
        match load.acked_count() {
            same if same == acked => break,
            more => acked = more,
        }
    }
    std::thread::sleep(TWO_TRIES);
    assert_eq!(load.acked_count(), acked, "acknowledged, although the disk takes nothing");
    assert!(store.is_running(), "the store has ended: {}", store.log());
    assert_eq!(store.log().matches(FAILED).count(), complaints, "{}", store.log());
}

#[test]
fn a_store_logs_a_full_disk_once_and_recovers_when_there_is_space() {
    let cluster = Cluster::new();
    let Some(disk) = Tmpfs::mount(&cluster.dir().join("small"), "size=6m") else { return };
    let _tower = cluster.tower();
    let dir = disk.path().join("store");
    let mut store = cluster.store_at(&dir, &[], &[]);
    let load = Load::start(&cluster, &["full"], 3);
    wait_for_line(&mut store, FAILED, 1);
    stands(&mut store, &load, 1);
    assert!(store.log().contains("No space left on device"), "{}", store.log());
    assert!(store.log().contains("data.mdb"), "{}", store.log());

    // The store serves its records, also after a start on the full disk.
    load.pause();
    served(&cluster, &mut store, &load.partitions());
    store.kill();
    let mut store = cluster.store_at(&dir, &[], &[]);
    served(&cluster, &mut store, &load.partitions());
    load.resume();
    wait_for_line(&mut store, FAILED, 1);
    stands(&mut store, &load, 1);

    disk.remount("size=60m");
    load.wait_for_acks(500);
    wait_for_line(&mut store, HEALED, 1);
    load.pause();
    served(&cluster, &mut store, &load.partitions());
    assert_eq!(store.log().matches(HEALED).count(), 1, "{}", store.log());
    store.kill();
    let mut store = cluster.store_at(&dir, &[], &[]);
    served(&cluster, &mut store, &load.partitions());
}

#[test]
fn a_store_on_a_disk_without_free_space_refuses_to_start_with_one_line() {
    let cluster = Cluster::new();
    let Some(disk) = Tmpfs::mount(&cluster.dir().join("none"), "size=1m") else { return };
    let _tower = cluster.tower();
    let dir = disk.path().join("store");
    // Store so few records that there is room for more.
    let store = cluster.store_at(&dir, &[], &[]);
    cluster.publish("none", &crate::e2e::lines("line", 10));
    store.terminate();
    // Without this file, the directory is as after an operator has moved the database to another disk.
    std::fs::remove_file(dir.join("lock.mdb")).expect("there");
    let filler = disk.path().join("filler");
    let _ = std::fs::write(&filler, vec![1; 2 << 20]).expect_err("the disk is full");
    let store = cluster.store_at(&dir, &[], &[]);
    store.expect_exit("its start on a full disk", 1, &["lock.mdb: No space left on device"]);
    std::fs::remove_file(filler).expect("there");
    let mut store = cluster.store_at(&dir, &[], &[]);
    let load = Load::start(&cluster, &["none"], 1);
    load.wait_for_acks(10);
    load.pause();
    served(&cluster, &mut store, &load.partitions());
}

#[test]
fn a_read_only_file_system_refuses_a_store_until_it_can_be_written() {
    let cluster = Cluster::new();
    let Some(disk) = Tmpfs::mount(&cluster.dir().join("read-only"), "size=500m") else { return };
    let _tower = cluster.tower();
    let dir = disk.path().join("store");
    let store = cluster.store_at(&dir, &[], &[]);
    let load = Load::start(&cluster, &["read-only"], 2);
    load.wait_for_acks(100);
    load.pause();
    store.kill();
    disk.remount("ro");
    let texts = ["Read-only file system", dir.to_str().expect("UTF-8")];
    let output = cluster.store_at(&dir, &[], &[]).expect_exit("its start on a read-only disk", 1, &texts);
    assert_eq!(output.stderr.lines().count(), 1, "{}", output.stderr);
    disk.remount("rw");
    let mut store = cluster.store_at(&dir, &[], &[]);
    served(&cluster, &mut store, &load.partitions());
    load.resume();
    load.wait_for_acks(100);
}

#[test]
fn a_store_logs_a_failing_disk_once_acknowledges_nothing_and_recovers() {
    let test = "a failing disk";
    let mut random = Rng::with_seed(seed(test));
    let cluster = Cluster::new().with_tower();
    let mut disk = PowerCut::new(&cluster.dir().join("store"));
    let mut store = cluster.store_at(disk.dir(), &[], &disk.environment());
    let load = Load::start(&cluster, &["fails", "fails too"], 2);
    load.wait_for_acks(100);
    let faults = [
        (Fault::Write, libc::ENOSPC, "No space left on device"),
        // This is as if the system has remounted the disk read-only after an error.
        (Fault::All, libc::EROFS, "Read-only file system"),
        (Fault::HalfWrite, libc::EIO, "Input/output error"),
        (Fault::Sync, libc::EIO, "Input/output error"),
        (Fault::Header, libc::EIO, "Input/output error"),
        (Fault::Sync, libc::EDQUOT, "quota exceeded"),
    ];
    for (done, (fault, errno, text)) in faults.into_iter().enumerate() {
        let logged = store.log().len();
        disk.control.fail(fault, errno, None);
        wait_for_line(&mut store, FAILED, done + 1);
        stands(&mut store, &load, done + 1);
        assert!(store.log()[logged..].contains(text), "{text}: {}", store.log());
        assert!(store.log()[logged..].contains("data.mdb"), "{}", store.log());
        // A power cut now would keep all acknowledged records.
        load.pause();
        crate::power::check_images(&disk, &load, &mut random);
        load.resume();
        disk.control.heal();
        wait_for_line(&mut store, HEALED, done + 1);
        load.wait_for_acks(200);
    }
    // Single failures while the store runs.
    for _ in 0..5 {
        let (fault, errno, _) = faults[random.u64(..5) as usize];
        disk.control.fail_once(fault, errno);
    }
    load.wait_for_acks(200);
    load.pause();
    served(&cluster, &mut store, &load.partitions());
    store.kill();
    disk.cut(&mut random);
    let mut store = cluster.store_at(disk.dir(), &[], &[]);
    println!("{test}: {} served at the end", served(&cluster, &mut store, &load.partitions()));
}
