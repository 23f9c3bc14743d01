//! What an operator, an accident or another program does to a store's directory and its disk while it is used.

mod crash;
mod e2e;
mod peer;

use crash::Load;
use e2e::{Cluster, DEADLINE, Output, PROMPT, Program, lines};
use std::fs;
use std::path::Path;
use std::time::Duration;

/// Waits until a store has ended by itself, and checks that it said so in one line.
#[track_caller]
fn expect_gone(store: Program, dir: &Path, what: &str) -> Output {
    let output = store.wait(what, DEADLINE);
    assert_eq!(output.status.code(), Some(1), "{what}: {:?}: {}", output.status, output.stderr);
    let log: Vec<&str> = output.stderr.lines().filter(|line| !line.contains(" I: ")).collect();
    assert_eq!(log.len(), 1, "{what}: {}", output.stderr);
    let data = dir.join("data.mdb");
    let expected = format!("the database {} is gone", data.display());
    assert!(log[0].contains(&expected) && log[0].contains("cannot go on"), "{what}: {}", output.stderr);
    output
}

type Lose = fn(&Path);

/// How a database loses its name.
const LOSSES: [(&str, Lose); 4] = [
    ("its directory was removed", |dir| fs::remove_dir_all(dir).expect("removed")),
    ("its directory was renamed", |dir| fs::rename(dir, dir.with_extension("old")).expect("renamed")),
    ("its directory was made anew", |dir| {
        fs::remove_dir_all(dir).expect("removed");
        fs::create_dir(dir).expect("made");
    }),
    ("another file took its name", |dir| {
        let copy = dir.with_extension("copy");
        fs::copy(dir.join("data.mdb"), &copy).expect("copied");
        fs::rename(copy, dir.join("data.mdb")).expect("renamed");
    }),
];

#[test]
fn a_store_whose_database_has_lost_its_name_acknowledges_nothing_and_ends() {
    for (what, lose) in LOSSES {
        // At work: nothing is acknowledged that was written after the loss.
        let cluster = Cluster::new();
        let _tower = cluster.tower();
        let dir = cluster.dir().join("store");
        let store = cluster.store_at(&dir, &[], &[]);
        cluster.publish("gone", &lines("before", 3));
        let mut producer = cluster.producer("gone");
        lose(&dir);
        producer.feed(&lines("after", 3));
        producer.close_input();
        expect_gone(store, &dir, what);
        assert!(producer.is_running(), "{what}: acknowledged by a store that has no database");
        assert!(!dir.join("data.mdb").exists() || what.starts_with("another file"), "{what}: a new database");
    }
}

#[test]
fn a_store_without_work_notices_that_its_database_is_gone() {
    let cluster = Cluster::new();
    let _tower = cluster.tower();
    let dir = cluster.dir().join("store");
    let store = cluster.store_at(&dir, &[], &[]);
    cluster.publish("idle", &lines("before", 3));
    LOSSES[0].1(&dir);
    expect_gone(store, &dir, "idle");
}

#[test]
fn a_disk_that_hangs_is_logged_and_a_second_signal_ends_the_store() {
    let cluster = Cluster::new();
    let _tower = cluster.tower();
    let hang = cluster.dir().join("hang");
    let mut store = cluster.preloaded("dafka_stored", &[], ("HANG_SYNC", &hang));
    let load = Load::start(&cluster, &["hang"], 1);
    load.wait_for_acks(10);
    fs::write(&hang, "").expect("a file");
    store.wait_for_log("the disk of storedb does not answer: writing records has not returned for ");
    // It goes on when the disk does.
    fs::remove_file(&hang).expect("removed");
    store.wait_for_log("the disk of storedb answers again: writing records took ");
    load.wait_for_acks(10);

    fs::write(&hang, "").expect("a file");
    store.signal(libc::SIGTERM);
    store.wait_for_log("another signal ends the program at once");
    assert!(store.is_running(), "the first signal waits for the disk");
    store.signal(libc::SIGINT);
    let output = store.wait("a second signal", PROMPT);
    assert_eq!(output.status.code(), Some(3), "{:?}: {}", output.status, output.stderr);
    assert!(output.stderr.contains("ended at once by a second signal"), "{}", output.stderr);
}

#[test]
fn a_disk_that_hangs_while_a_store_starts_is_logged_and_a_second_signal_ends_the_store() {
    let cluster = Cluster::new();
    let hang = cluster.dir().join("hang");
    fs::write(&hang, "").expect("a file");
    let mut store = cluster.preloaded("dafka_stored", &[], ("HANG_SYNC", &hang));
    store.wait_for_log("opening the database has not returned for ");
    store.signal(libc::SIGTERM);
    std::thread::sleep(Duration::from_secs(1));
    store.signal(libc::SIGTERM);
    let output = store.wait("a second signal", PROMPT);
    assert_eq!(output.status.code(), Some(3), "{:?}: {}", output.status, output.stderr);
}

#[test]
fn two_signals_at_once_are_one() {
    let cluster = Cluster::new();
    let _tower = cluster.tower();
    let mut store = cluster.store("store");
    cluster.publish("twice", &lines("line", 10));
    store.signal(libc::SIGTERM);
    store.signal(libc::SIGTERM);
    store.expect_success("two signals at once");
}
