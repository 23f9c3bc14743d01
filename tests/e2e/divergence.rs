//! Stores log when they hold different records at the same offset.

use crate::e2e::{Cluster, Program};
use dafka::storage::{Batch, Log, Options, PartitionName};
use std::path::Path;

/// The address of a producer.
fn address(number: u32) -> String {
    format!("{number:032X}")
}

/// A database with 5 partitions of 3,000 records. Another producer with the same address wrote the `forged` records.
fn make_database(dir: &Path, forged: impl Fn(u32, u64) -> bool) {
    let log = Log::open(dir, Options::default()).expect("the log opens");
    let mut batch = Batch::new();
    for partition in 0..5 {
        let run = batch.run(PartitionName { topic: b"compared", producer: address(partition).as_bytes() }, 0);
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
fn stores_that_hold_different_records_log_each_partition_once() {
    let cluster = Cluster::new().with_tower();
    let dirs = [cluster.dir().join("one"), cluster.dir().join("other")];
    make_database(&dirs[0], |_, _| false);
    // Partition 2 does not differ.
    let differing = [(0, 7), (1, 5), (3, 1_357), (4, 0)];
    make_database(&dirs[1], |partition, offset| differing.contains(&(partition, offset)));
    let mut stores: Vec<Program> = dirs.iter().map(|dir| cluster.store_at(dir, &[], &[])).collect();
    let expected = differing.map(|(partition, offset)| {
        format!("partition {} of compared: record {offset} differs", address(partition))
    });
    for store in &mut stores {
        expected.iter().for_each(|text| store.wait_for_log(text));
    }
    // During this time, the stores compare partition 2.
    std::thread::sleep(std::time::Duration::from_secs(2));
    for store in &stores {
        let found = divergences(store);
        assert_eq!(found.len(), expected.len(), "{found:?}");
    }
}
