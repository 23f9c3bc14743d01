//! A store on a damaged database. If it finds the damage at the start, it logs a line that names the file, changes
//! nothing, and ends. If only reading finds the damage, the store logs the damage once and serves the other records.

use crate::crash::{Load, Partition, Rng, check_served, content, seed, served};
use crate::e2e::{Cluster, Program, wait_until};
use crate::peer::new_address;
use dafka::storage::{Batch, Log, Options, PartitionName};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

const PAGE_LEN: usize = 4096;

/// The database of a store that has ended, with another file beside it, and its partitions.
fn database(cluster: &Cluster) -> (PathBuf, Vec<Partition>) {
    let dir = cluster.dir().join("whole");
    let load = Load::start(cluster, &["damage", "damage two"], 3);
    let store = cluster.store_at(&dir, &[], &[]);
    wait_until("each partition has records", || {
        load.partitions().iter().all(|partition| partition.acked.is_some_and(|acked| acked >= 300))
    });
    load.pause();
    store.terminate();
    fs::write(dir.join(".notes"), b"mine").expect("written");
    (dir, load.partitions())
}

fn copy(whole: &Path, to: &Path) {
    fs::create_dir(to).expect("a new directory");
    for entry in fs::read_dir(whole).expect("listable") {
        let entry = entry.expect("listable");
        fs::copy(entry.path(), to.join(entry.file_name())).expect("copied");
    }
}

/// All files of a directory with their contents.
fn snapshot(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let entries = fs::read_dir(dir).expect("listable").map(|entry| entry.expect("listable").path());
    entries.map(|path| (path.clone(), fs::read(path).expect("there"))).collect()
}

/// Checks that a store refuses to start, logs one line with the name of the file, and changes nothing.
#[track_caller]
fn refused(cluster: &Cluster, dir: &Path, what: &str) {
    let before = snapshot(dir);
    let output = cluster.store_at(dir, &[], &[]).expect_exit(what, 1, &[]);
    let file = dir.join("data.mdb").display().to_string();
    let lines: Vec<_> = output.stderr.lines().filter(|line| line.contains("it was left untouched")).collect();
    assert!(matches!(lines[..], [line] if line.contains(&file)), "{what}: {}", output.stderr);
    assert!(snapshot(dir) == before, "{what}: files were changed, added or removed");
}

#[test]
fn a_store_refuses_damage_that_its_start_finds_and_changes_nothing() {
    let test = "damaged start";
    let mut random = Rng::with_seed(seed(test));
    let cluster = Cluster::new().with_tower();
    let (whole, partitions) = database(&cluster);
    let octets = fs::read(whole.join("data.mdb")).expect("there");
    let mut noise = |range: std::ops::Range<usize>| {
        let mut octets = octets.clone();
        octets[range].iter_mut().for_each(|octet| *octet = random.u64(..) as u8);
        octets
    };
    // Damage both header pages, one of them, and everything after them.
    let damaged = [
        ("noise in the header", noise(0..2 * PAGE_LEN)),
        ("noise in the first page", noise(0..PAGE_LEN)),
        ("noise in the second page", noise(PAGE_LEN..2 * PAGE_LEN)),
        ("noise behind the header", noise(2 * PAGE_LEN..octets.len())),
        ("noise instead of it", noise(0..octets.len())),
        ("nothing", Vec::new()),
        ("100 octets", octets[..100].to_vec()),
        ("5,000 octets", octets[..5_000].to_vec()),
        ("two pages", octets[..2 * PAGE_LEN].to_vec()),
    ];
    for (number, (what, octets)) in damaged.into_iter().enumerate() {
        let dir = cluster.dir().join(number.to_string());
        copy(&whole, &dir);
        fs::write(dir.join("data.mdb"), octets).expect("written");
        refused(&cluster, &dir, what);
    }
    // A store that was killed before it had a database leaves only a lock file.
    let dir = cluster.dir().join("lock");
    fs::create_dir(&dir).expect("new");
    fs::write(dir.join("dafka.lock"), b"").expect("written");
    let mut store = cluster.store_at(&dir, &[], &[]);
    let nothing: Vec<_> =
        partitions.iter().map(|partition| Partition { acked: None, ..partition.clone() }).collect();
    assert_eq!(served(&cluster, &mut store, &nothing), 0);
}

/// The position of a record's content in the file.
fn place_of(octets: &[u8], partition: &Partition, sequence: u64) -> usize {
    let needle = content(partition.number, sequence);
    let found = octets.windows(needle.len()).position(|window| window == needle);
    found.expect("the record is in the file")
}

#[test]
fn a_store_logs_a_flipped_bit_once_and_stops_serving_only_its_partition() {
    let cluster = Cluster::new().with_tower();
    let (dir, partitions) = database(&cluster);
    let mut octets = fs::read(dir.join("data.mdb")).expect("there");
    let (damaged, sound) = partitions.split_first().expect("some");
    // Free pages may have further copies of the record: damage all copies. The record is long, because the content of a
    // short record may be a part of other records.
    let sequence = (100..250).max_by_key(|sequence| content(0, *sequence).len()).expect("some");
    assert!(content(0, sequence).len() > 200);
    let needle = content(damaged.number, sequence);
    let first = place_of(&octets, damaged, sequence);
    for at in first..octets.len() - needle.len() {
        if octets[at..at + needle.len()] == needle[..] {
            octets[at + 20] ^= 1;
        }
    }
    fs::write(dir.join("data.mdb"), octets).expect("written");

    let mut store = cluster.store_at(&dir, &[], &[]);
    served(&cluster, &mut store, sound);
    let mut count = 0;
    while count < 3 {
        let error = check_served(&cluster, &mut store, std::slice::from_ref(damaged), Duration::from_secs(2));
        let error = error.expect_err("a record is damaged");
        // Without a head, the store was only slow: it has not reported its heads within two seconds.
        if !error.contains("has no head") {
            assert!(error.contains("does not serve"), "{error}");
            count += 1;
        }
    }
    served(&cluster, &mut store, sound);
    let log = store.log();
    let lines: Vec<_> = log.lines().filter(|line| line.contains("it is not served")).collect();
    let [line] = lines[..] else { panic!("not one line: {log}") };
    for word in ["data.mdb", &damaged.subject, &damaged.address, "checksum"] {
        assert!(line.contains(word), "{word}: {line}");
    }
    // The store still stores new records, also of this topic.
    let load = Load::start(&cluster, &["damage"], 1);
    load.wait_for_acks(100);
}

/// The number of records of each partition.
const END: u64 = 24_000;
/// How many records one append writes.
const AT_ONCE: usize = 50;
/// A partition's last entry begins with one of this many last records: an append extends the last entry up to a page.
const LAST_ENTRY: u64 = 200;

/// Damages the tree pages with entries for the records from `from` on of the partition with this number. Returns the
/// number of pages.
fn ruin_end(octets: &mut [u8], id: u64, from: u64) -> u32 {
    let word16 = |page: &[u8], at: usize| usize::from(u16::from_ne_bytes([page[at], page[at + 1]]));
    let mut ruined = 0;
    for page in octets.chunks_exact_mut(PAGE_LEN).skip(2) {
        let (kind, lower) = (word16(page, 10), word16(page, 12));
        let is_leaf = kind == 2 && (16..=PAGE_LEN).contains(&lower);
        let has_end = is_leaf
            && (16..lower).step_by(2).any(|slot| {
                let at = word16(page, slot);
                at + 24 <= PAGE_LEN
                    && word16(page, at + 6) == 16
                    && page[at + 8..at + 16] == id.to_be_bytes()
                    && page[at + 16..at + 24] >= from.to_be_bytes()[..]
            });
        if has_end {
            page[16..].fill(0xee);
            ruined += 1;
        }
    }
    ruined
}

#[test]
fn a_partition_with_a_damaged_end_is_closed_and_others_continue() {
    let cluster = Cluster::new().with_tower();
    let dir = cluster.dir().join("store");
    // A page of the tree refers to about 100 entries, and an entry contains about 100 records.
    let log = Log::open(&dir, Options { sync: false, ..Options::default() }).expect("opens");
    let partitions: Vec<_> = (0..3)
        .map(|number| Partition {
            subject: "end".into(),
            address: new_address(),
            number,
            acked: Some(END - 1),
        })
        .collect();
    for partition in &partitions {
        for first in (0..END).step_by(AT_ONCE) {
            let mut batch = Batch::new();
            let run =
                batch.run(PartitionName { topic: b"end", producer: partition.address.as_bytes() }, first);
            for sequence in first..first + AT_ONCE as u64 {
                batch.push_to(run, content(partition.number, sequence));
            }
            log.append(&batch).expect("appended");
        }
    }
    let [victim, _, other] = &partitions[..] else { panic!("three") };
    let found = log
        .find(PartitionName { topic: b"end", producer: victim.address.as_bytes() })
        .expect("readable")
        .expect("there");
    drop(log);
    let load = Load::go_on(&cluster, partitions.clone(), 3);
    let (victim_id, end) = (found.id.get(), found.next);
    let data = dir.join("data.mdb");
    let mut octets = fs::read(&data).expect("there");
    assert!(ruin_end(&mut octets, victim_id, end - LAST_ENTRY) > 0, "no page has the end of the partition");
    fs::write(&data, octets).expect("written");

    let mut store = cluster.store_at(&dir, &[], &[]);
    let acked = |number: u64| load.partitions()[number as usize].acked;
    store.wait_until("the other partition grows", |_| {
        acked(other.number) >= other.acked.map(|acked| acked + 1_000)
    });
    load.pause();
    // The store may acknowledge again the records that were on disk, and no others.
    assert!(acked(victim.number) < Some(end), "acknowledged, and not stored");
    store.wait_for_log("nothing more of this partition");
    let log = store.log();
    let lines: Vec<_> = log.lines().filter(|line| line.contains("nothing more of this partition")).collect();
    let [line] = lines[..] else { panic!("not one line: {log}") };
    assert!(line.contains("data.mdb") && line.contains(&victim.address), "{line}");
    served(
        &cluster,
        &mut store,
        std::slice::from_ref(&Partition { acked: acked(other.number), ..other.clone() }),
    );
}

/// Runs a store on a database with damaged pages, and returns a word about the result.
fn survive(cluster: &Cluster, dir: &Path, partitions: &[Partition], what: &str) -> &'static str {
    let mut store: Program = cluster.store_at(dir, &[], &[]);
    let mut refused = 0;
    for partition in partitions {
        match check_served(cluster, &mut store, std::slice::from_ref(partition), Duration::from_millis(700)) {
            Ok(_) => {}
            Err(error) if error.contains("the store has ended") => {
                store.expect_exit(what, 1, &["data.mdb"]);
                return "refused";
            }
            Err(error) => {
                assert!(!error.contains("wrong content"), "{what}: {error}");
                refused += 1;
            }
        }
    }
    // It stores new records of new partitions, or logs why it cannot.
    let load = Load::start(cluster, &["after"], 1);
    store.wait_until(&format!("{what}: new records are stored or refused"), |store| {
        load.acked_count() >= 10 || store.log().contains("nothing more of this partition is stored")
    });
    store.signal(libc::SIGTERM);
    store.expect_success(what);
    if refused > 0 { "served in part" } else { "served" }
}

#[test]
fn a_store_survives_noise_in_any_page() {
    let test = "damaged pages";
    let seed = seed(test);
    // Most of the time is waiting for missing answers, so the turns run in parallel.
    std::thread::scope(|scope| {
        for turn in 0..6 {
            scope.spawn(move || noise_in_pages(test, seed + turn));
        }
    });
}

fn noise_in_pages(test: &str, seed: u64) {
    let mut random = Rng::with_seed(seed);
    let cluster = Cluster::new().with_tower();
    let (whole, partitions) = database(&cluster);
    let octets = fs::read(whole.join("data.mdb")).expect("there");
    let mut outcomes: BTreeMap<&str, u32> = BTreeMap::new();
    for number in 0..2 {
        let dir = cluster.dir().join(format!("noise-{number}"));
        copy(&whole, &dir);
        let mut octets = octets.clone();
        let page = 2 + random.u64(..((octets.len() / PAGE_LEN) as u64 - 2)) as usize;
        // Half of the damage is in tree pages, because there are few of them.
        let is_tree = |page: usize| matches!(octets[page * PAGE_LEN + 10], 1 | 2);
        let page = if number % 2 == 0 {
            (page..octets.len() / PAGE_LEN)
                .chain(2..page)
                .find(|page| is_tree(*page))
                .expect("a page of a tree")
        } else {
            page
        };
        let begin = page * PAGE_LEN;
        octets[begin..begin + PAGE_LEN].iter_mut().for_each(|octet| *octet = random.u64(..) as u8);
        fs::write(dir.join("data.mdb"), octets).expect("written");
        *outcomes
            .entry(survive(&cluster, &dir, &partitions, &format!("noise in page {page}")))
            .or_default() += 1;
        assert_eq!(fs::read(dir.join(".notes")).expect("there"), b"mine");
    }
    println!("{test}: {outcomes:?}");
}
