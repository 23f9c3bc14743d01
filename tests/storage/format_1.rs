//! Databases of format 1, which contain chunks: the log opens and serves them, and continues them with batches.

use std::path::Path;

use dafka::storage::list;
use dafka::wire::batch::Batch;

use crate::common::{P, append, dir, named, open, read_batches, read_from, record_key, store, stored};

/// A chunk, as doc/storage-format.md describes it.
pub(crate) fn chunk(key: &[u8], contents: &[Vec<u8>]) -> Vec<u8> {
    let mut after_checksum = (contents.len() as u32).to_be_bytes().to_vec();
    let mut end = 0;
    for content in contents {
        end += content.len() as u32;
        after_checksum.extend(end.to_be_bytes());
    }
    after_checksum.extend(contents.concat());
    [&crc32fast::hash(&[key, &after_checksum].concat()).to_be_bytes()[..], &after_checksum].concat()
}

/// Topic and producer.
pub(crate) type Name<'a> = (&'a [u8], &'a [u8]);

/// The records of a chunk.
pub(crate) type Contents = Vec<Vec<u8>>;

/// Makes a database of format 1. Each partition has its records in chunks.
pub(crate) fn make(dir: &Path, partitions: &[(Name<'_>, Vec<Contents>)]) {
    drop(open(dir));
    let mut entries = vec![
        ("meta", b"format".to_vec(), 1u32.to_be_bytes().to_vec()),
        ("meta", b"next-id".to_vec(), (partitions.len() as u64).to_be_bytes().to_vec()),
    ];
    for (id, ((topic, producer), chunks)) in (0u64..).zip(partitions) {
        let mut next = 0;
        for contents in chunks {
            let key = record_key(id, next);
            entries.push(("records", key.clone(), chunk(&key, contents)));
            next += contents.len() as u64;
        }
        let key = [&[topic.len() as u8], *topic, *producer].concat();
        entries.push(("partitions", key, [id, 0, next].map(u64::to_be_bytes).concat()));
    }
    store(dir, &entries);
}

fn format(dir: &Path) -> Vec<u8> {
    stored(dir, "meta", b"format").expect("there")
}

#[test]
fn a_chunk_has_the_documented_octets() {
    let octets = chunk(b"0123456789abcdef", &[b"ab".to_vec(), Vec::new(), b"c".to_vec()]);
    assert_eq!(octets, *b"\xaa\x0d\xf1\x24\0\0\0\x03\0\0\0\x02\0\0\0\x02\0\0\0\x03abc");
}

#[test]
fn a_database_of_format_1_is_served_and_becomes_format_2_with_the_first_append() {
    let dir = dir();
    let contents: Vec<Vec<u8>> = (0..9).map(|i| vec![b'0' + i; usize::from(i) * 10]).collect();
    let chunks = vec![contents[..1].to_vec(), contents[1..5].to_vec(), contents[5..6].to_vec()];
    make(dir.path(), &[((b"hello", b"A"), chunks), ((b"hello", b"B"), vec![vec![b"other".to_vec()]])]);
    let log = open(dir.path());
    assert_eq!(read_from(&log, P, 0), contents[..6]);
    assert_eq!(read_from(&log, named(b"hello", b"B"), 0), [b"other"]);
    // Starting and reading change nothing.
    drop(log);
    assert_eq!(format(dir.path()), 1u32.to_be_bytes());

    let log = open(dir.path());
    append(&log, P, 6, &contents[6..]).expect("append");
    drop(log);
    assert_eq!(format(dir.path()), 2u32.to_be_bytes());
    let old = stored(dir.path(), "records", &record_key(0, 5)).expect("there");
    assert_eq!(old, chunk(&record_key(0, 5), &contents[5..6]), "chunks stay");
    let log = open(dir.path());
    assert_eq!(read_from(&log, P, 0), contents);
    assert_eq!(read_from(&log, P, 4), contents[4..]);
    drop(log);
    let ends: Vec<_> = list(dir.path()).expect("a list").iter().map(|partition| partition.next).collect();
    assert_eq!(ends, [9, 1]);
}

#[test]
fn records_of_chunks_are_read_as_batches() {
    let dir = dir();
    // A chunk of 65,520 octets: its records do not fit into one batch.
    let full = vec![vec![b'a'; 30_000], vec![b'b'; 35_000], vec![b'c'; 65_520 - 8 - 3 * 4 - 65_000]];
    let long = vec![vec![b'l'; 200_000]];
    let small = vec![b"1".to_vec(), Vec::new(), b"3".to_vec()];
    let contents = [full.clone(), long.clone(), small.clone()].concat();
    make(dir.path(), &[((b"hello", b"A"), vec![full, long, small])]);
    assert_eq!(stored(dir.path(), "records", &record_key(0, 0)).expect("there").len(), 65_520);
    let log = open(dir.path());
    append(&log, P, 7, &[b"new".to_vec(), b"newer".to_vec()]).expect("append");

    let read = |from, max_count, max_len_bytes| {
        let (batches, _) = read_batches(&log, P, from, max_count, max_len_bytes).expect("readable");
        let mut firsts = Vec::new();
        for (first, octets) in batches {
            let batch = Batch::check(octets).expect("a batch");
            for (offset, record) in (first..).zip(batch.records()) {
                let expected = contents.get(offset as usize).map_or(&b"new"[..], Vec::as_slice);
                assert!(record.content.starts_with(expected), "record {offset}");
            }
            firsts.push((first, batch.count()));
        }
        firsts
    };
    assert_eq!(read(0, u64::MAX, usize::MAX), [(0, 2), (2, 1), (3, 1), (4, 3), (7, 2)]);
    // Chunks are cut at the limits of the range, batches are not.
    assert_eq!(read(1, 5, usize::MAX), [(1, 2), (3, 1), (4, 2)]);
    assert_eq!(read(5, 3, usize::MAX), [(5, 2), (7, 2)]);
    assert_eq!(read(8, 1, usize::MAX), [(7, 2)]);
    assert_eq!(read(0, u64::MAX, 0), [(0, 2)]);
    let two_batches = (24 + 2 * 4 + 65_000) + (24 + 4 + 500);
    assert_eq!(read(0, u64::MAX, two_batches), [(0, 2), (2, 1)]);
    assert_eq!(read(0, u64::MAX, two_batches - 1), [(0, 2)]);
}
