//! The outbox of a named producer.

use dafka::storage::Records;
use dafka::storage::outbox::{Contents, Kept, Outbox, OutboxError};
use dafka::wire::batch::{AnyBatch, Attributes, Batch, BatchBuilder};
use std::fs;
use std::path::{Path, PathBuf};

const ADDRESS: &[u8; 32] = b"0123456789ABCDEF0123456789ABCDEF";
const OTHER: &[u8; 32] = b"FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF";

fn open(base: &Path) -> Result<(Outbox, Contents), OutboxError> {
    Outbox::open(base, b"topic", b"name", OTHER, true)
}

fn batch(contents: &[&[u8]]) -> Batch<Vec<u8>> {
    let mut builder = BatchBuilder::new(Vec::new());
    for content in contents {
        builder.push_with(&Attributes { key: Some(b"key"), ..Attributes::default() }, content).unwrap();
    }
    builder.set_timestamp_ms(Some(7));
    builder.finish(Vec::new()).unwrap()
}

/// The contents of all records in an outbox.
fn contents(kept: Vec<Kept>) -> Vec<Vec<u8>> {
    let of = |kept| match kept {
        Kept::One(content, _) => vec![content],
        Kept::Batch(AnyBatch::Plain(batch)) => {
            batch.records().map(|record| record.content.to_vec()).collect()
        }
        Kept::Batch(AnyBatch::Compressed(_)) => panic!("nothing was compressed"),
    };
    kept.into_iter().flat_map(of).collect()
}

fn files(base: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> =
        fs::read_dir(base.join("topic/name")).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "outbox"));
    files.sort();
    files
}

#[test]
fn an_outbox_returns_what_was_not_acknowledged() {
    let base = tempfile::tempdir().unwrap();
    let (mut outbox, found) = Outbox::open(base.path(), b"topic", b"name", ADDRESS, true).unwrap();
    assert_eq!((found.address.as_bytes(), found.acknowledged, found.kept.len()), (&ADDRESS[..], 0, 0));
    let (first, second) = (batch(&[b"0", b"1"]), batch(&[b"3", b"4", b"5", b"6"]));
    outbox.append([Records::all(first.borrowed()), Records::One(b"2", Some(-1))]).unwrap();
    outbox.append([Records::Of(second.borrowed(), 0..3)]).unwrap();
    assert_eq!(outbox.next(), 6);
    outbox.acknowledge(1);
    // Another producer cannot use it meanwhile, but one with another name or topic has its own outbox.
    assert!(matches!(open(base.path()), Err(OutboxError::InUse { .. })));
    Outbox::open(base.path(), b"topic", b"other", ADDRESS, true).unwrap();
    Outbox::open(base.path(), b"..", b"name", ADDRESS, true).unwrap();
    drop(outbox);
    let (mut outbox, found) = open(base.path()).unwrap();
    assert_eq!((found.address.as_bytes(), found.acknowledged, found.first), (&ADDRESS[..], 1, 0));
    assert!(matches!(&found.kept[..], [Kept::Batch(AnyBatch::Plain(batch)), Kept::One(_, Some(-1)), _]
        if batch.timestamp_ms() == Some(7) && batch.record(0).unwrap().key == Some(b"key")));
    assert_eq!(contents(found.kept), [b"0", b"1", b"2", b"3", b"4", b"5"]);
    outbox.append([Records::One(b"6", None)]).unwrap();
    outbox.acknowledge(6);
    drop(outbox);
    let (_, found) = open(base.path()).unwrap();
    assert_eq!((found.acknowledged, found.first, contents(found.kept)), (6, 6, vec![b"6".to_vec()]));
}

/// The length of a file's header, and of an entry's.
const FILE_HEADER: usize = 96;
const ENTRY_HEADER: usize = 44;

#[test]
fn an_interrupted_write_is_removed() {
    for len in 1..50 {
        let base = tempfile::tempdir().unwrap();
        let (mut outbox, _) = open(base.path()).unwrap();
        outbox.append([Records::One(b"whole", None)]).unwrap();
        let complete = fs::metadata(&files(base.path())[0]).unwrap().len();
        // Parts of one write may reach the disk in any order.
        outbox.append([Records::One(b"torn", None), Records::One(b"whole too", None)]).unwrap();
        drop(outbox);
        let file = &files(base.path())[0];
        let mut octets = fs::read(file).unwrap();
        octets[complete as usize..][..len.min(ENTRY_HEADER + 4)].fill(0);
        fs::write(file, &octets).unwrap();
        let (mut outbox, found) = open(base.path()).unwrap();
        assert_eq!((outbox.next(), contents(found.kept)), (1, vec![b"whole".to_vec()]));
        assert_eq!(fs::metadata(file).unwrap().len(), complete);
        outbox.append([Records::One(b"next", None)]).unwrap();
        drop(outbox);
        let (_, found) = open(base.path()).unwrap();
        assert_eq!(contents(found.kept), [&b"whole"[..], b"next"]);
    }
}

#[test]
fn files_are_removed_when_their_records_are_acknowledged() {
    let base = tempfile::tempdir().unwrap();
    let (mut outbox, _) = open(base.path()).unwrap();
    let long = vec![1; 3 << 20];
    for _ in 0..10 {
        outbox.append([Records::One(&long, None)]).unwrap();
    }
    assert_eq!(files(base.path()).len(), 4);
    outbox.acknowledge(7);
    assert_eq!(files(base.path()).len(), 2);
    drop(outbox);
    let (mut outbox, found) = open(base.path()).unwrap();
    assert_eq!((found.acknowledged, found.first, found.kept.len()), (7, 7, 3));
    // It is noted after a while. Then the process is killed.
    let note = || fs::read(files(base.path()).last().unwrap()).unwrap()[80..88].to_vec();
    while note() != 10_u64.to_be_bytes() {
        outbox.acknowledge(10);
    }
    std::mem::forget(outbox);
    fs::remove_file(base.path().join("topic/name/dafka.lock")).unwrap();
    // Without unacknowledged records, an outbox takes little space.
    for _ in 0..2 {
        let (outbox, found) = open(base.path()).unwrap();
        assert_eq!((outbox.next(), found.address.as_bytes(), found.kept.len()), (10, &OTHER[..], 0));
        let [file] = &files(base.path())[..] else { panic!("more than one file") };
        assert_eq!(fs::metadata(file).unwrap().len(), FILE_HEADER as u64);
    }
}

/// Writes damaged octets to a file, and expects an error that names the file and has this text.
#[track_caller]
fn expect_damage(base: &Path, file: &Path, damaged: &[u8], reason: &str) {
    let sound = fs::read(file).unwrap();
    fs::write(file, damaged).unwrap();
    let error = open(base).err().expect("damage is detected").to_string();
    assert!(error.contains(reason) && error.contains(file.to_str().unwrap()), "{error}");
    assert!(fs::read(file).unwrap() == damaged, "changed");
    fs::write(file, sound).unwrap();
}

#[test]
fn damage_is_refused_and_left_untouched() {
    let base = tempfile::tempdir().unwrap();
    let (mut outbox, _) = open(base.path()).unwrap();
    let long = vec![1; 9 << 20];
    for _ in 0..3 {
        outbox.append([Records::One(&long, None)]).unwrap();
    }
    drop(outbox);
    let files = files(base.path());
    let damage = |file: &Path, at: usize, reason: &str| {
        let mut damaged = fs::read(file).unwrap();
        damaged[at] ^= 1;
        expect_damage(base.path(), file, &damaged, reason);
    };
    damage(&files[0], 3, "its header is invalid");
    damage(&files[1], 30, "its header is invalid");
    damage(&files[0], 5 << 20, "an entry is invalid");
    let moved = base.path().join("moved");
    fs::rename(&files[1], &moved).unwrap();
    assert!(open(base.path()).err().unwrap().to_string().contains("records are missing before it"));
    fs::rename(&moved, &files[1]).unwrap();
    assert_eq!(open(base.path()).unwrap().1.kept.len(), 3);
    // A note that is not complete is ignored.
    let mut last = fs::read(&files[2]).unwrap();
    last[80..88].copy_from_slice(&9u64.to_be_bytes());
    fs::write(&files[2], &last).unwrap();
    assert_eq!(open(base.path()).unwrap().1.acknowledged, 0);
}

#[test]
fn damage_in_the_last_file_is_distinguished_from_an_interrupted_write() {
    let base = tempfile::tempdir().unwrap();
    let (mut outbox, _) = open(base.path()).unwrap();
    let file = &files(base.path())[0];
    let mut ends = vec![];
    for contents in [["first", "second"], ["third", "fourth"], ["fifth", "sixth"]] {
        outbox.append(contents.map(|content| Records::One(content.as_bytes(), None))).unwrap();
        ends.push(fs::metadata(file).unwrap().len() as usize);
    }
    drop(outbox);
    let sound = fs::read(file).unwrap();
    // Every octet of the first two appends: their records were published.
    for at in FILE_HEADER..ends[1] {
        let mut damaged = sound.clone();
        damaged[at] ^= 1;
        expect_damage(base.path(), file, &damaged, "an entry is invalid, and a later one is valid");
    }
    let without = [&sound[..FILE_HEADER], &sound[ends[0]..]].concat();
    expect_damage(base.path(), file, &without, "an entry is invalid, and a later one is valid");
    // Acknowledged records were on disk.
    let (mut outbox, _) = open(base.path()).unwrap();
    outbox.acknowledge(5);
    drop(outbox);
    let cut = &fs::read(file).unwrap()[..ends[1]];
    expect_damage(base.path(), file, cut, "acknowledged records are missing");
    // The last append may be incomplete. Its records may contain the header of another outbox's entry.
    let mut torn = sound.clone();
    torn[ends[1]] ^= 1;
    torn.extend(&sound[ends[0]..ends[0] + 4]);
    fs::write(file, &torn).unwrap();
    assert_eq!(open(base.path()).unwrap().1.kept.len(), 4);
}

#[test]
fn a_file_that_is_no_longer_needed_may_be_damaged() {
    let base = tempfile::tempdir().unwrap();
    let (mut outbox, _) = open(base.path()).unwrap();
    outbox.append([Records::One(b"0", None), Records::One(b"1", None)]).unwrap();
    let old = files(base.path())[0].clone();
    let mut octets = fs::read(&old).unwrap();
    outbox.acknowledge(2);
    drop(outbox);
    assert_ne!(files(base.path())[0], old);
    // A power failure undoes the removal of the old file, whose last write was interrupted.
    let entries = octets[FILE_HEADER..].to_vec();
    for torn in [&b"torn"[..], &entries] {
        octets.extend(torn);
        fs::write(&old, &octets).unwrap();
        let (outbox, found) = open(base.path()).unwrap();
        assert_eq!((outbox.next(), found.acknowledged, found.kept.len()), (2, 2, 0));
        assert_eq!(files(base.path()).len(), 1);
    }
    // The old file may also lack acknowledged records.
    fs::write(&old, &octets[..FILE_HEADER]).unwrap();
    assert_eq!(open(base.path()).unwrap().0.next(), 2);
}

#[test]
fn an_outbox_gets_a_new_address_until_it_has_records() {
    let (base, copy) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    drop(Outbox::open(base.path(), b"topic", b"name", ADDRESS, true).unwrap());
    fs::create_dir_all(copy.path().join("topic/name")).unwrap();
    fs::copy(&files(base.path())[0], copy.path().join("topic/name/0000000000000000.outbox")).unwrap();
    let (mut outbox, found) = open(copy.path()).unwrap();
    assert_eq!(found.address.as_bytes(), OTHER);
    outbox.append([Records::One(b"0", None)]).unwrap();
    drop(outbox);
    let (outbox, found) = Outbox::open(copy.path(), b"topic", b"name", ADDRESS, true).unwrap();
    assert_eq!((outbox.next(), found.address.as_bytes(), found.kept.len()), (1, &OTHER[..], 1));
}

#[test]
fn without_synchronization_a_power_failure_leaves_a_usable_outbox() {
    let unsynced = |base| Outbox::open(base, b"topic", b"name", OTHER, false).unwrap();
    let base = tempfile::tempdir().unwrap();
    let (mut outbox, _) = unsynced(base.path());
    for content in [b"0", b"1", b"2"] {
        outbox.append([Records::One(content, None)]).unwrap();
    }
    outbox.acknowledge(2);
    drop(outbox);
    let file = &files(base.path())[0];
    let sound = fs::read(file).unwrap();
    let entry = ENTRY_HEADER + 1;
    // The disk has the note, the first record and the third one.
    let mut octets = sound.clone();
    octets[FILE_HEADER + entry..][..entry].fill(0);
    fs::write(file, &octets).unwrap();
    let (mut outbox, found) = unsynced(base.path());
    assert_eq!((outbox.next(), found.acknowledged, found.kept.len()), (2, 2, 0));
    outbox.append([Records::One(b"next", None)]).unwrap();
    drop(outbox);
    // A file has synchronized records, or others.
    let (mut outbox, found) = open(base.path()).unwrap();
    assert_eq!((outbox.next(), found.acknowledged, contents(found.kept)), (3, 2, vec![b"next".to_vec()]));
    outbox.append([Records::One(b"synced", None)]).unwrap();
    drop(outbox);
    let (mut outbox, found) = unsynced(base.path());
    assert_eq!(
        (files(base.path()).len(), contents(found.kept)),
        (2, vec![b"next".to_vec(), b"synced".to_vec()])
    );
    outbox.append([Records::One(b"not synced", None)]).unwrap();
    assert_eq!(files(base.path()).len(), 3);
}
