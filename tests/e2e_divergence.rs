//! Stores that hold different records of one partition say so; those that hold the same say nothing.

mod e2e;

use dafka::storage::{Batch, Log, Options};
use e2e::{Cluster, Program};
use std::path::Path;

/// A partition's name, as producers make them.
fn address(number: u32) -> String {
    format!("{number:032X}")
}

/// A database with 5 partitions of 3,000 records. `forged` says which records another producer of the same name has made.
fn make_database(dir: &Path, forged: impl Fn(u32, u64) -> bool) {
    let log = Log::open(dir, Options::default()).expect("the log opens");
    let mut batch = Batch::new();
    for partition in 0..5 {
        let run = batch.run(b"compared", address(partition).as_bytes(), 0);
        for offset in 0..3_000 {
            let author = if forged(partition, offset) { "forged" } else { "true" };
            batch.push_to(run, format!("{author} {partition} {offset}").into_bytes());
        }
    }
    log.append(&batch).expect("appended");
}

fn divergences(store: &Program) -> Vec<String> {
    store
        .log()
        .lines()
        .filter(|line| line.contains("differs from that of the store"))
        .map(str::to_owned)
        .collect()
}

#[test]
fn stores_that_hold_different_records_log_it_once() {
    let cluster = Cluster::new();
    let _tower = cluster.tower();
    let dirs = [cluster.dir().join("one"), cluster.dir().join("other")];
    make_database(&dirs[0], |_, _| false);
    make_database(&dirs[1], |partition, offset| (partition, offset) == (3, 1_357));
    let mut stores: Vec<Program> = dirs.iter().map(|dir| cluster.store_at(dir, &[], &[])).collect();
    for store in &mut stores {
        store.wait_for_log("differs from that of the store");
    }
    // Meanwhile each compares the other partitions.
    std::thread::sleep(std::time::Duration::from_secs(2));
    for store in &stores {
        let found = divergences(store);
        let [line] = &found[..] else { panic!("{found:?}") };
        let expected = format!("partition {} of compared: record 1357 differs", address(3));
        assert!(line.contains(&expected), "{line}");
    }
}
