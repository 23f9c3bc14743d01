//! Damage anywhere in the database file. The log refuses the file with an error that names it, or serves the sound
//! part. It never returns a wrong record, and the process never crashes.

use dafka::storage::{Log, Options, list};
use dafka::wire::batch::{Batch, BatchBuilder, Record};
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Stdio;

use crate::common::{append, given_dir, in_a_process, named, read_batches};

const PAGE_LEN: usize = 4096;

fn content(partition: u64, offset: u64) -> Vec<u8> {
    let len = [20, 3, 700, 90, 20, 3, 300, 2_500][(partition + offset) as usize % 8];
    format!("{partition}/{offset}/").into_bytes().into_iter().cycle().take(len).collect()
}

fn names(partition: u64) -> ([u8; 1], Vec<u8>) {
    ([b's' + (partition % 3) as u8], format!("{partition:032X}").into_bytes())
}

fn batch(contents: &[Vec<u8>]) -> Batch<Vec<u8>> {
    let mut builder = BatchBuilder::new(Vec::new());
    contents.iter().for_each(|content| builder.push(content).expect("fits"));
    builder.finish(Vec::new()).expect("there are records")
}

/// A database with trees of several levels, and with free pages.
fn database(dir: &Path) -> Vec<u8> {
    let log = Log::open(dir, Options::default()).expect("opens");
    for first in 0..30 {
        for partition in 0..60 {
            let (subject, address) = names(partition);
            let count = 1 + (partition + first) % 3;
            let next = log.find(named(&subject, &address)).expect("readable").map_or(0, |found| found.next);
            let contents: Vec<_> = (next..next + count).map(|offset| content(partition, offset)).collect();
            let name = named(&subject, &address);
            if partition % 2 == 0 {
                append(&log, name, next, &contents).expect("append");
            } else {
                append(&log, name, next, &[batch(&contents)]).expect("append");
            }
        }
    }
    drop(log);
    fs::read(dir.join("data.mdb")).expect("there")
}

/// Damages an image in one of many ways, and describes the damage.
fn damage(octets: &mut Vec<u8>, random: &mut fastrand::Rng) -> String {
    let pages = octets.len() / PAGE_LEN;
    let page = random.usize(..pages);
    let at = page * PAGE_LEN;
    match random.usize(..7) {
        0 => {
            random.fill(&mut octets[at..at + PAGE_LEN]);
            format!("noise in page {page}")
        }
        1 => {
            octets[at..at + PAGE_LEN].fill(0xff);
            format!("ones in page {page}")
        }
        2 => {
            octets[at..at + PAGE_LEN].fill(0);
            format!("zeros in page {page}")
        }
        3 => {
            let from = random.usize(..pages);
            octets.copy_within(from * PAGE_LEN..(from + 1) * PAGE_LEN, at);
            format!("page {from} in the place of {page}")
        }
        4 => {
            // The header of a page, and the positions of its entries.
            let place = at + random.usize(..60);
            octets[place] ^= 1 << random.usize(..8);
            format!("a bit at {place}, in the head of page {page}")
        }
        5 => {
            let place = at + random.usize(..PAGE_LEN);
            octets[place] ^= 1 << random.usize(..8);
            format!("a bit at {place}, in page {page}")
        }
        _ => {
            octets.truncate(at + random.usize(..PAGE_LEN));
            format!("cut off to {} octets", octets.len())
        }
    }
}

#[test]
fn damage_never_kills_the_process_or_causes_a_wrong_record() {
    let seed = std::env::var("DAFKA_SEED").ok().and_then(|seed| seed.parse().ok());
    let count: Option<u32> = std::env::var("DAFKA_DAMAGES").ok().and_then(|count| count.parse().ok());
    // Always the same damage, except with DAFKA_DAMAGES (`make soak-crash`).
    let seed: u64 = seed.unwrap_or_else(|| count.map_or(1, |_| u64::from(std::process::id())));
    let count = count.unwrap_or(50);
    println!("DAFKA_SEED={seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let dir = tempfile::tempdir().expect("a directory");
    let whole = database(&dir.path().join("whole"));
    let (mut refused, mut killed) = (0, Vec::new());
    for number in 0..count {
        let store = dir.path().join(number.to_string());
        fs::create_dir(&store).expect("new");
        let mut octets = whole.clone();
        let how = damage(&mut octets, &mut random);
        fs::write(store.join("data.mdb"), &octets).expect("written");
        fs::write(store.join("dafka.lock"), b"").expect("written");
        fs::write(store.join(".notes"), b"mine").expect("written");
        let mut child = in_a_process("damage::child_uses_a_damaged_database", &store);
        let output = child.stdin(Stdio::null()).output().expect("runs");
        let text =
            String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        if !output.status.success() {
            killed.push(format!("{number}: {how}: signal {:?}: {text}", output.status.signal()));
        }
        if text.contains("refused:") {
            refused += 1;
            assert!(
                fs::read(store.join("data.mdb")).expect("there") == octets,
                "{how}: refused, and changed"
            );
        }
        assert_eq!(fs::read(store.join(".notes")).expect("there"), b"mine");
        fs::remove_dir_all(store).expect("removed");
    }
    println!("{count} damaged databases, {refused} refused");
    for text in killed.iter().take(8) {
        println!("{text}");
    }
    assert!(killed.is_empty(), "{} of {count} have killed the process", killed.len());
    assert!(refused > 0 && refused < count);
}

#[test]
#[ignore = "runs in a process of its own, started by another test"]
fn child_uses_a_damaged_database() {
    let Some(dir) = given_dir() else { return };
    if let Err(error) = list(&dir) {
        assert!(error.to_string().contains("data.mdb"), "names no file: {error}");
        println!("not listed: {error}");
    }
    let log = match Log::open(&dir, Options::default()) {
        Ok(log) => log,
        Err(error) => {
            assert!(error.to_string().contains("data.mdb"), "names no file: {error}");
            println!("refused: {error}");
            return;
        }
    };
    let check_message = |error: String| {
        assert!(error.contains("data.mdb"), "names no file: {error}");
        println!("{error}");
    };
    let _ = log.partitions().map_err(|error| check_message(error.to_string()));
    let (mut sound, mut unsound) = (0, 0);
    for partition in 0..60 {
        let (subject, address) = names(partition);
        let mut each = |offset, record: Record| {
            assert!(record.content == content(partition, offset), "{partition}/{offset} is wrong");
            true
        };
        match log.read(named(&subject, &address), 0, u64::MAX, usize::MAX, &mut each) {
            Ok(_) => sound += 1,
            Err(error) => {
                unsound += 1;
                check_message(error.to_string());
            }
        }
    }
    for partition in 0..60 {
        let (subject, address) = names(partition);
        let (batches, _) = match read_batches(&log, named(&subject, &address), 0, u64::MAX, usize::MAX) {
            Ok(read) => read,
            Err(error) => {
                check_message(error.to_string());
                continue;
            }
        };
        for (first, octets) in batches {
            let batch = Batch::check(octets).expect("checked before");
            for (record, offset) in batch.records().zip(first..) {
                assert!(record.content == content(partition, offset), "{partition}/{offset} is wrong");
            }
        }
    }
    println!("{sound} partitions can be read, {unsound} cannot");
    for partition in 0..70 {
        let (subject, address) = names(partition);
        let next = log.find(named(&subject, &address)).ok().flatten().map_or(0, |found| found.next);
        let contents: Vec<_> = (next..next + 3).map(|offset| content(partition, offset)).collect();
        let _ = append(&log, named(&subject, &address), next, &contents).map_err(|error| error.to_string());
    }
}
