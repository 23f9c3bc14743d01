//! A store whose disk is full, read-only or failing: it acknowledges nothing that is not on disk, says so once, and
//! goes on by itself when the disk does.

use crate::crash::{Fault, Load, PowerCut, Random, Tmpfs, check_log, seed, served};
use crate::e2e::{Cluster, DEADLINE, Program};
use std::time::{Duration, Instant};

const FAILED: &str = "nothing is acknowledged until it goes through";
const HEALED: &str = "the disk takes records again";

/// Longer than two tries of the store to write a batch again.
const TWO_TRIES: Duration = Duration::from_millis(2_500);

/// Waits until a store has written a line with `text` so often.
#[track_caller]
fn wait_for_line(store: &mut Program, text: &str, count: usize) {
    let start = Instant::now();
    while store.log().matches(text).count() < count {
        assert!(store.is_running(), "the store has ended: {}", store.log());
        assert!(start.elapsed() < DEADLINE, "no line {text}: {}", store.log());
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Nothing more is acknowledged for some tries of the store, and it has complained so often in all.
#[track_caller]
fn stands(store: &mut Program, load: &Load, complaints: usize) {
    // What is on its way is heard first: until nothing has come for a while.
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
fn a_full_disk_is_told_once_and_is_over_when_there_is_room() {
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

    // What it has it serves, also one that is started on the full disk.
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
fn a_disk_without_any_room_refuses_a_store_with_a_line_instead_of_killing_it() {
    let cluster = Cluster::new();
    let Some(disk) = Tmpfs::mount(&cluster.dir().join("none"), "size=1m") else { return };
    let _tower = cluster.tower();
    let dir = disk.path().join("store");
    // Few enough that there is room for more.
    let mut store = cluster.store_at(&dir, &[], &[]);
    cluster.publish("none", &crate::e2e::lines("line", 10));
    store.signal(libc::SIGTERM);
    store.expect_success("SIGTERM");
    // As after moving a database to another disk.
    std::fs::remove_file(dir.join("lock.mdb")).expect("there");
    let filler = disk.path().join("filler");
    let _ = std::fs::write(&filler, vec![1; 2 << 20]).expect_err("the disk is full");
    let output = cluster.store_at(&dir, &[], &[]).wait("its start on a full disk", DEADLINE);
    assert_eq!(output.status.code(), Some(1), "{:?}: {}", output.status, output.stderr);
    assert!(output.stderr.contains("lock.mdb: No space left on device"), "{}", output.stderr);
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
    let output = cluster.store_at(&dir, &[], &[]).wait("its start on a read-only disk", DEADLINE);
    assert_eq!(output.status.code(), Some(1), "{:?}: {}", output.status, output.stderr);
    assert!(output.stderr.contains("Read-only file system"), "{}", output.stderr);
    assert!(output.stderr.contains(dir.to_str().expect("UTF-8")), "{}", output.stderr);
    assert_eq!(output.stderr.lines().count(), 1, "{}", output.stderr);
    disk.remount("rw");
    let mut store = cluster.store_at(&dir, &[], &[]);
    served(&cluster, &mut store, &load.partitions());
    load.resume();
    load.wait_for_acks(100);
}

#[test]
fn a_disk_that_fails_is_told_once_acknowledges_nothing_and_is_over_by_itself() {
    let test = "a failing disk";
    let mut random = Random::new(seed(test));
    let cluster = Cluster::new();
    let _tower = cluster.tower();
    let mut disk = PowerCut::new(&cluster.dir().join("store"));
    let mut store = cluster.store_at(disk.dir(), &[], &disk.environment());
    let load = Load::start(&cluster, &["fails", "fails too"], 2);
    load.wait_for_acks(100);
    let faults = [
        (Fault::Write, libc::ENOSPC, "No space left on device"),
        // The system has remounted it so, as it does after errors.
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
        // Were the power cut now, all that was acknowledged would be there.
        load.pause();
        for number in 0..8 {
            let dir = disk.dir().with_extension(format!("{done}-{number}"));
            disk.write_image(&dir, &mut random);
            check_log(&dir, &load.partitions());
        }
        load.resume();
        disk.control.heal();
        wait_for_line(&mut store, HEALED, done + 1);
        load.wait_for_acks(200);
    }
    // One failure now and then, while it runs.
    for _ in 0..5 {
        let (fault, errno, _) = faults[random.below(5) as usize];
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
