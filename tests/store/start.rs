//! A store starts at once, however many records it has. It repairs nothing, and reads only a small part of its
//! database.

use crate::crash::{Load, Partition, content, served};
use crate::e2e::{Cluster, PROMPT, Program};
use dafka::storage::{Batch, Log, Options, PartitionName};
use std::path::Path;
use std::time::Instant;

const PARTITION_COUNT: u64 = 5_000;
const RECORDS_PER_PARTITION: u64 = 40;
const CONTENT_LEN: usize = 1_000;

/// Fills a log. The records of each partition are scattered over the file, as after many small batches.
fn fill(dir: &Path) -> Vec<Partition> {
    let log = Log::open(dir, Options { sync: false, ..Options::default() }).expect("opens");
    let partitions: Vec<_> = (0..PARTITION_COUNT)
        .map(|number| Partition {
            subject: format!("start {}", number % 10),
            address: format!("{number:032X}"),
            number,
            acked: Some(RECORDS_PER_PARTITION - 1),
        })
        .collect();
    let mut batch = Batch::new();
    for first in (0..RECORDS_PER_PARTITION).step_by(10) {
        batch.clear();
        for partition in &partitions {
            let (topic, producer) = (partition.subject.as_bytes(), partition.address.as_bytes());
            let name = PartitionName { topic, producer };
            let run = batch.run(name, first);
            for sequence in first..first + 10 {
                let mut content = content(partition.number, sequence);
                content.resize(CONTENT_LEN, b'.');
                batch.push_to(run, content);
            }
        }
        log.append(&batch).expect("appended");
    }
    partitions
}

/// The number of bytes that a process has read from files, by system calls and through its map of the database.
fn read_len(store: &Program) -> u64 {
    let pid = store.pid();
    let proc = |name: &str| std::fs::read_to_string(format!("/proc/{pid}/{name}")).expect("there");
    let number = |line: &str| line.split_whitespace().nth(1).and_then(|word| word.parse::<u64>().ok());
    let called =
        proc("io").lines().find(|line| line.starts_with("rchar:")).and_then(number).expect("a number");
    let maps = proc("smaps");
    let mut lines = maps.lines().skip_while(|line| !line.ends_with("data.mdb"));
    let mapped_kb =
        lines.find(|line| line.starts_with("Rss:")).and_then(number).expect("the database is mapped");
    called + mapped_kb * 1024
}

#[test]
fn a_start_reads_a_small_part_of_what_a_store_holds() {
    let cluster = Cluster::new().with_tower();
    let dir = cluster.dir().join("store");
    let partitions = fill(&dir);
    let len = std::fs::metadata(dir.join("data.mdb")).expect("there").len();

    // Measure the same for an empty store, to compare.
    let start = Instant::now();
    let mut empty = cluster.store("empty");
    served(&cluster, &mut empty, &[]);
    let empty_took = start.elapsed();
    empty.kill();

    let start = Instant::now();
    let mut store = cluster.store_at(&dir, &[], &[]);
    served(&cluster, &mut store, &[]);
    let took = start.elapsed();
    let read = read_len(&store);
    println!(
        "start: {} partitions, {} records, {len} octets: {took:?} (empty: {empty_took:?}), {read} octets read",
        partitions.len(),
        PARTITION_COUNT * RECORDS_PER_PARTITION
    );
    assert!(took < empty_took + PROMPT, "{took:?}, {empty_took:?} without records");
    assert!(read < len / 4, "{read} of {len} octets were read");
    // The store stores new records.
    let load = Load::start(&cluster, &["start"], 1);
    load.wait_for_acks(10);
}
