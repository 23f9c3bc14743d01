//! A named producer whose outbox is on a full disk, or on one that loses its power.

use crate::crash::{PowerCut, Rng, Tmpfs, rounds, seed};
use crate::e2e::{Cluster, Program, QUIET, contents, lines, varied_lines};
use dafka::storage::outbox::{Kept, Outbox};
use dafka::wire::batch::AnyBatch;
use std::fs;
use std::path::{Path, PathBuf};

/// The number of possible disk contents to check after each cut.
const IMAGES: u64 = 10;

#[test]
fn a_full_disk_of_an_outbox_delays_records_and_loses_none() {
    let cluster = Cluster::new().with_tower().with_store();
    let Some(disk) = Tmpfs::mount(&cluster.dir().join("small"), "size=1m") else { return };
    let directory = disk.path().to_str().expect("UTF-8");
    let mut live = cluster.consumer("topic");
    let settings = [("producer/directory", directory)];
    let mut producer = cluster.node_with("dafka_console_producer", &["--name", "me", "topic"], &settings);
    let all = varied_lines("line", 20_000, 3_000);
    producer.feed(&all);
    producer.wait_for_log("cannot write to the outbox");
    assert!(producer.log().contains("No space left on device"), "{}", producer.log());
    // Only records in the outbox are published.
    let mut published = Vec::new();
    loop {
        match live.lines_within(all.len(), QUIET) {
            lines if lines.is_empty() => break,
            lines => published.extend(lines),
        }
    }
    assert!(published.len() < all.len());
    disk.remount("size=100m");
    producer.wait_for_log("accepts records again");
    producer.finish("there is room");
    published.extend(live.lines(all.len() - published.len(), "the other records"));
    crate::e2e::assert_contents("topic", &published, &all);
    cluster.assert_stored("topic", &all);
}

/// The directory of outboxes that contains the outbox on this disk.
fn base(disk: &PowerCut) -> &Path {
    disk.dir().ancestors().nth(2).expect("two directories")
}

/// An outbox of the producer `me` of `topic`, on a disk whose power can be cut.
fn outbox(dir: PathBuf) -> PowerCut {
    fs::create_dir_all(dir.join("topic")).expect("created");
    PowerCut::new(&dir.join("topic/me"))
}

/// Starts a life of the producer with an outbox on this disk.
fn life(cluster: &Cluster, disk: &PowerCut, sync: &str) -> Program {
    let directory = base(disk).to_str().expect("UTF-8");
    let settings = [("producer/directory", directory), ("producer/sync", sync)];
    cluster.node_in("dafka_console_producer", &["--name", "me", "topic"], &settings, &disk.environment())
}

/// The offset after the last record in an outbox, and the contents of its last records.
fn read(base: &Path) -> (usize, Vec<Vec<u8>>) {
    let (outbox, found) = Outbox::open(base, b"topic", b"me", &[b'0'; 32], true).expect("a usable outbox");
    let records = |kept| match kept {
        Kept::One(content, _) => vec![content],
        Kept::Batch(AnyBatch::Plain(batch)) => {
            batch.records().map(|record| record.content.to_vec()).collect()
        }
        Kept::Batch(AnyBatch::Compressed(_)) => panic!("nothing was compressed"),
    };
    (outbox.next() as usize, found.kept.into_iter().flat_map(records).collect())
}

/// Checks that published records are in the outbox, whatever of it may be on the disk after a power cut.
#[track_caller]
fn check_images(disk: &PowerCut, published: &[Vec<u8>], random: &mut Rng) {
    for _ in 0..IMAGES {
        let base = base(disk).with_extension(random.u64(..).to_string());
        fs::create_dir_all(base.join("topic")).expect("created");
        disk.write_image(&base.join("topic/me"), random);
        let (end, kept) = read(&base);
        assert!(end >= published.len(), "{} records were published, and {end} are there", published.len());
        let begin = (end - kept.len()).min(published.len());
        assert!(kept.starts_with(&published[begin..]), "the outbox has other records");
        fs::remove_dir_all(base).expect("there");
    }
}

#[test]
fn published_records_survive_a_power_cut_in_the_outbox() {
    let test = "power cut of an outbox";
    let mut random = Rng::with_seed(seed(test));
    // Without ACKs, the files of the outbox stay. With ACKs, they are removed.
    for has_store in [false, true] {
        let cluster = Cluster::new().with("beacon/timeout", "1000").with_tower();
        let cluster = if has_store { cluster.with_store() } else { cluster };
        let mut disk = outbox(cluster.dir().join("outboxes"));
        let mut live = cluster.consumer("topic");
        let mut published = Vec::new();
        for round in 0..rounds(3) {
            let killed = life(&cluster, &disk, "always");
            killed.feed(&varied_lines(&format!("life {round}"), 300, 200_000));
            // Without a store, only the first life publishes records.
            let count = if has_store || round == 0 { random.usize(..250) } else { 0 };
            let printed = live.lines(count, "records of a life");
            published.extend(contents("topic", &printed));
            killed.kill();
            check_images(&disk, &published, &mut random);
            disk.cut(&mut random);
            println!("{test}: round {round}: {} records were published", published.len());
        }
        live.terminate();
    }
}

#[test]
fn records_of_an_earlier_life_are_announced_only_when_on_disk() {
    let test = "power cut after producer/sync = never";
    let mut random = Rng::with_seed(seed(test));
    let cluster = Cluster::new().with("beacon/timeout", "1000").with_tower();
    let disk = outbox(cluster.dir().join("outboxes"));
    let all = lines("all", 1_000);
    let first = life(&cluster, &disk, "never");
    first.feed(&all);
    let mut witness = cluster.consumer("topic");
    witness.expect_records("topic", &all, "records of the first life");
    first.kill();
    // This life announces the records, and a new consumer fetches them.
    let second = life(&cluster, &disk, "always");
    cluster.consumer("topic").expect_records("topic", &all, "records that the second life has found");
    second.kill();
    check_images(&disk, &all, &mut random);
}
