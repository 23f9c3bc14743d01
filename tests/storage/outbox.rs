//! The outbox of a named producer.

use dafka::storage::Records;
use dafka::storage::outbox::{Contents, Kept, Outbox, OutboxError};
use dafka::wire::batch::{AnyBatch, Attributes, Batch, BatchBuilder};
use std::fs::{self, OpenOptions};
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

#[test]
fn an_interrupted_write_is_removed() {
    for len in 1..40 {
        let base = tempfile::tempdir().unwrap();
        let (mut outbox, _) = open(base.path()).unwrap();
        outbox.append([Records::One(b"whole", None)]).unwrap();
        let complete = fs::metadata(&files(base.path())[0]).unwrap().len();
        outbox.append([Records::One(b"torn", None)]).unwrap();
        drop(outbox);
        let file = OpenOptions::new().write(true).open(&files(base.path())[0]).unwrap();
        // The record has 4 octets, after a header of 32 octets.
        file.set_len(complete + 36 - len.min(36)).unwrap();
        drop(file);
        let (mut outbox, found) = open(base.path()).unwrap();
        assert_eq!((outbox.next(), contents(found.kept)), (1, vec![b"whole".to_vec()]));
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
    outbox.acknowledge(10);
    drop(outbox);
    // Without unacknowledged records, an outbox takes little space.
    let [file] = &files(base.path())[..] else { panic!("more than one file") };
    assert_eq!(fs::metadata(file).unwrap().len(), 80);
    let (outbox, found) = open(base.path()).unwrap();
    assert_eq!((outbox.next(), found.address.as_bytes(), found.kept.len()), (10, &OTHER[..], 0));
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
        let sound = fs::read(file).unwrap();
        let mut damaged = sound.clone();
        damaged[at] ^= 1;
        fs::write(file, &damaged).unwrap();
        let error = open(base.path()).err().expect("damage is detected").to_string();
        assert!(error.contains(reason) && error.contains(file.to_str().unwrap()), "{error}");
        assert!(fs::read(file).unwrap() == damaged);
        fs::write(file, sound).unwrap();
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
    last[64..72].copy_from_slice(&9u64.to_be_bytes());
    fs::write(&files[2], &last).unwrap();
    assert_eq!(open(base.path()).unwrap().1.acknowledged, 0);
}

#[test]
fn records_that_are_missing_after_a_power_failure_are_not_replaced_if_they_are_acknowledged() {
    let base = tempfile::tempdir().unwrap();
    let (mut outbox, _) = open(base.path()).unwrap();
    outbox.append([Records::One(b"0", None), Records::One(b"1", None)]).unwrap();
    outbox.acknowledge(1);
    drop(outbox);
    let file = &files(base.path())[0];
    OpenOptions::new().write(true).open(file).unwrap().set_len(80).unwrap();
    let (mut outbox, found) = open(base.path()).unwrap();
    assert_eq!((outbox.next(), found.acknowledged, found.kept.len()), (1, 1, 0));
    outbox.append([Records::One(b"next", None)]).unwrap();
    drop(outbox);
    let (outbox, found) = open(base.path()).unwrap();
    assert_eq!((outbox.next(), found.acknowledged, contents(found.kept)), (2, 1, vec![b"next".to_vec()]));
}
