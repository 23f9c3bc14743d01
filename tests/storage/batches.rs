//! Batches of producers in the log: stored as they are, in part, and read as they are stored.

use dafka::storage::ReadError;
use dafka::wire::batch::{
    AnyBatch, Attributes, Batch, BatchBuilder, Compression, Compressor, HeadersBuf, Record,
};

use crate::common::{
    P, Part, append, content, dir, named, open, read, read_batches, read_from, record_key, store, stored,
};

/// A batch of `count` records with a timestamp, and with attributes that differ from record to record.
fn batch(count: u8, timestamp_ms: i64) -> Batch<Vec<u8>> {
    let mut builder = BatchBuilder::new(Vec::new());
    for index in 0..count {
        let mut headers = HeadersBuf::new();
        if index % 3 == 1 {
            headers.push(b"name", &[index]).expect("fits");
        }
        let key = [index; 3];
        let attributes = Attributes {
            timestamp_ms: (index % 2 == 1).then_some(i64::from(index) - 5),
            key: (index % 4 != 3).then_some(&key),
            headers: headers.as_headers(),
        };
        builder.push_with(&attributes, &content(u64::from(index), usize::from(index) * 7)).expect("fits");
    }
    builder.set_timestamp_ms(Some(timestamp_ms));
    builder.finish(Vec::new()).expect("records")
}

#[test]
fn a_value_has_the_documented_octets() {
    let dir = dir();
    append(&open(dir.path()), P, 0, &[&b"ab"[..], b"", b"c"]).expect("append");
    let value = stored(dir.path(), "records", &record_key(0, 0)).expect("there");
    let batch =
        b"\xcf\xdd\x05\x52\x01\0\0\0\0\0\0\x03\0\0\0\x0f\0\0\0\0\0\0\0\0abc\0\0\0\x02\0\0\0\x02\0\0\0\x03";
    assert_eq!(value[..batch.len()], *batch);
    // Calculated with zlib's crc32 over the key and the first four octets of the batch.
    assert_eq!(value[batch.len()..], 0x5cb80723_u32.to_be_bytes());
    assert_eq!(stored(dir.path(), "meta", b"format"), Some(2u32.to_be_bytes().to_vec()));
}

#[test]
fn a_compressed_batch_is_stored_as_it_is_and_unpacked_for_single_records() {
    let dir = dir();
    let log = open(dir.path());
    let mut builder = BatchBuilder::new(Vec::new());
    (0..20).for_each(|offset| builder.push(&content(offset, 10).repeat(20)).expect("fits"));
    let plain = builder.finish(Vec::new()).expect("records");
    let [lz4, zstd] = [Compression::Lz4, Compression::Zstd]
        .map(|compression| Compressor::new(compression).compress(&plain).expect("it becomes shorter"));
    append(&log, P, 0, &[lz4.clone(), zstd.clone()]).expect("append");
    append(&log, P, 40, std::slice::from_ref(&plain)).expect("append");
    // With a valid checksum, but the area cannot be unpacked.
    let mut octets = lz4.as_octets().to_vec();
    octets[24..28].fill(0xff);
    let checksum = crc32fast::hash(&octets[4..]);
    octets[..4].copy_from_slice(&checksum.to_be_bytes());
    let Ok(AnyBatch::Compressed(damaged)) = AnyBatch::check(&octets[..]) else { panic!("it is compressed") };
    append(&log, P, 60, &[damaged]).expect("append");

    let (batches, next) = read_batches(&log, P, 5, u64::MAX, usize::MAX).expect("readable");
    let expected = [(0, lz4.as_octets()), (20, zstd.as_octets()), (40, plain.as_octets()), (60, &octets)];
    assert!(batches.iter().map(|(first, octets)| (*first, &**octets)).eq(expected));
    assert_eq!(next, 80);
    let singles = read(&log, P, 5, 40, usize::MAX).expect("readable");
    let expected = (5..45).map(|offset| (offset, content(offset % 20, 10).repeat(20)));
    assert!(singles.into_iter().eq(expected));
    // The limit of the length counts unpacked octets.
    assert_eq!(read(&log, P, 15, 40, 1_999).expect("readable").len(), 9);
    let Err(ReadError::Corrupt(corruption)) = read(&log, P, 70, 1, 1) else { panic!("not detected") };
    assert_eq!((corruption.offset, corruption.reason), (70, "the batch cannot be unpacked"));
}

#[test]
fn a_whole_batch_is_stored_and_read_as_it_is() {
    let dir = dir();
    let log = open(dir.path());
    let (small, long) = (batch(20, 77), {
        // Longer than the batches that the log and producers build.
        let [one, two] = [0, 1].map(|offset| content(offset, 60_000));
        let area_len = (one.len() + two.len() + 8) as u32;
        let mut octets =
            [&[0; 4][..], b"\x01\0\0\0\0\0\0\x02", &area_len.to_be_bytes(), &[0; 8], &one, &two].concat();
        octets.extend([60_000u32, 120_000].map(u32::to_be_bytes).concat());
        let checksum = crc32fast::hash(&octets[4..]);
        octets[..4].copy_from_slice(&checksum.to_be_bytes());
        Batch::check(octets).expect("a batch")
    });
    append(&log, P, 0, &[small.clone(), long.clone()]).expect("append");
    append(&log, P, 22, std::slice::from_ref(&small)).expect("append");
    let (batches, next) = read_batches(&log, P, 0, u64::MAX, usize::MAX).expect("readable");
    let expected = [(0, &small), (20, &long), (22, &small)];
    assert!(
        batches
            .iter()
            .map(|(first, octets)| (*first, &**octets))
            .eq(expected.map(|(first, batch)| (first, batch.as_octets())))
    );
    assert_eq!(next, 42);
    // The first batch begins before the range, and the last one ends after it.
    let firsts = |from, max_count| {
        let (batches, _) = read_batches(&log, P, from, max_count, usize::MAX).expect("readable");
        batches.into_iter().map(|(first, _)| first).collect::<Vec<_>>()
    };
    assert_eq!(firsts(19, 1), [0]);
    assert_eq!(firsts(19, 2), [0, 20]);
    assert_eq!(firsts(21, 100), [20, 22]);
    assert_eq!(firsts(42, 100), []);
    assert_eq!(firsts(0, 0), []);
    assert_eq!(read_batches(&log, named(b"other", b"A"), 5, 9, 9).expect("readable"), (vec![], 5));
    // Single records of the same batches.
    let contents: Vec<_> = [&small, &long, &small]
        .iter()
        .flat_map(|batch| batch.records().map(|record| record.content.to_vec()).collect::<Vec<_>>())
        .collect();
    assert_eq!(read_from(&log, P, 0), contents);
    assert_eq!(read(&log, P, 19, 2, usize::MAX).expect("readable").len(), 2);
    assert_eq!(read_from(&log, P, 21), contents[21..]);
}

#[test]
fn a_part_of_a_batch_keeps_attributes_and_timestamps() {
    let dir = dir();
    let log = open(dir.path());
    let whole = batch(10, -3);
    let single = |text: &str| Part::One(text.as_bytes().to_vec());
    let part = |range| Part::Of(whole.clone(), range);
    let parts = [
        single("a"),
        single("b"),
        part(4..10),
        part(0..10),
        part(0..3),
        part(5..5),
        single("c"),
        part(7..8),
        single("d"),
    ];
    append(&log, P, 0, &parts).expect("append");
    let (batches, next) = read_batches(&log, P, 0, u64::MAX, usize::MAX).expect("readable");
    assert_eq!(next, 2 + 6 + 10 + 3 + 1 + 1 + 1);
    let firsts: Vec<_> = batches.iter().map(|(first, _)| *first).collect();
    assert_eq!(firsts, [0, 2, 8, 18, 21, 22, 23], "consecutive single records share a batch");
    let batches: Vec<_> = batches.iter().map(|(_, octets)| Batch::check(octets).expect("a batch")).collect();
    let records: Vec<Record<'_>> = whole.records().collect();
    assert!(batches[1].records().eq(records[4..].iter().copied()));
    assert_eq!(batches[2].as_octets(), whole.as_octets());
    assert!(batches[3].records().eq(records[..3].iter().copied()));
    assert!(batches[5].records().eq(records[7..8].iter().copied()));
    for (batch, contents) in [(&batches[0], &["a", "b"][..]), (&batches[4], &["c"]), (&batches[6], &["d"])] {
        assert!(
            batch
                .records()
                .map(|record| record.content)
                .eq(contents.iter().map(|content| content.as_bytes()))
        );
        assert!(!batch.has_attributes() && batch.timestamp_ms().is_none());
    }
}

#[test]
fn a_damaged_batch_and_one_under_a_wrong_key_are_reported() {
    let made = dir();
    let log = open(made.path());
    for first in [0, 10, 20] {
        append(&log, P, first, &[batch(10, first as i64)]).expect("append");
    }
    drop(log);
    let value = |first| stored(made.path(), "records", &record_key(0, first)).expect("there");
    let (good, other) = (value(10), value(20));
    let flipped = |at: usize| {
        let mut value = good.clone();
        value[at] ^= 4;
        value
    };
    for (bad, reason) in [
        (other, "the checksum of the key does not match"),
        (flipped(good.len() - 1), "the checksum of the key does not match"),
        (flipped(40), "the checksum does not match"),
        (flipped(4), "the batch has an unknown format"),
        (b"1234".to_vec(), "the batch is malformed"),
        (b"12".to_vec(), "the batch is too short"),
        (vec![0; 100], "the checksum does not match"),
    ] {
        store(made.path(), &[("records", record_key(0, 10), bad)]);
        let log = open(made.path());
        let mut count = 0;
        let served = log.read_batches(P, 0, u64::MAX, usize::MAX, &mut |_| {
            count += 1;
            true
        });
        let Err(ReadError::Corrupt(corruption)) = served else { panic!("not detected: {reason}") };
        assert_eq!((count, corruption.offset, corruption.reason), (1, 10, reason));
        let Err(ReadError::Corrupt(corruption)) = read_batches(&log, P, 15, 1, 1) else {
            panic!("not detected")
        };
        assert_eq!(corruption.offset, 15);
        let Err(ReadError::Corrupt(corruption)) = read(&log, P, 15, 1, 1) else { panic!("not detected") };
        assert_eq!((corruption.offset, corruption.reason), (15, reason));
        // The other records are served.
        assert_eq!(read_batches(&log, P, 20, 99, 0).expect("sound").1, 30);
        drop(log);
    }
    // The partition ends within its last batch.
    let value = [0u64, 0, 29].map(u64::to_be_bytes).concat();
    store(made.path(), &[("partitions", b"\x05helloA".to_vec(), value)]);
    let read = read_batches(&open(made.path()), P, 20, 1, 1);
    let Err(ReadError::Corrupt(corruption)) = read else { panic!("not detected") };
    assert_eq!(corruption.reason, "there are records after the end of the partition");
}
