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
    assert_eq!(firsts, [0, 2, 21, 22, 23], "records with a timestamp and others do not share a batch");
    let batches: Vec<_> = batches.iter().map(|(_, octets)| Batch::check(octets).expect("a batch")).collect();
    let records: Vec<Record<'_>> = whole.records().collect();
    assert!(batches[1].records().eq([&records[4..], &records, &records[..3]].concat()));
    assert_eq!(batches[1].timestamp_ms(), Some(-3));
    assert!(batches[3].records().eq(records[7..8].iter().copied()));
    for (batch, contents) in [(&batches[0], &["a", "b"][..]), (&batches[2], &["c"]), (&batches[4], &["d"])] {
        assert!(
            batch
                .records()
                .map(|record| record.content)
                .eq(contents.iter().map(|content| content.as_bytes()))
        );
        assert!(!batch.has_attributes() && batch.timestamp_ms().is_none());
    }
}

/// The first offset and the number of records of each stored value, of which no log has the database open.
fn values(dir: &std::path::Path, end: u64) -> Vec<(u64, usize)> {
    let mut values = Vec::new();
    let mut next = 0;
    while next < end {
        let value = stored(dir, "records", &record_key(0, next)).expect("there");
        let batch = Batch::check(&value[..value.len() - 4]).expect("a batch");
        values.push((next, batch.count()));
        next += batch.count() as u64;
    }
    values
}

#[test]
fn short_batches_of_one_append_are_merged() {
    let dir = dir();
    let log = open(dir.path());
    // Two batches with the same timestamp, and one that is full already.
    let batches: Vec<_> = [5, 5, 6, 7].map(|timestamp_ms| batch(7, timestamp_ms)).into();
    let mut builder = BatchBuilder::new(Vec::new());
    while builder.push(&[1; 1_000]).is_ok() {}
    builder.set_timestamp_ms(Some(8));
    let full = builder.finish(Vec::new()).expect("records");
    let mut appended = batches.clone();
    appended.insert(3, full.clone());
    append(&log, P, 0, &appended).expect("append");
    drop(log);
    let full_count = full.count();
    assert_eq!(values(dir.path(), 28), [(0, 21), (21, full_count), (21 + full_count as u64, 7)][..2]);
    let log = open(dir.path());
    let (read, _) = read_batches(&log, P, 0, u64::MAX, usize::MAX).expect("readable");
    assert_eq!(read[1].1, full.as_octets(), "a long batch is stored as it is");
    assert_eq!(read[2].1, batches[3].as_octets(), "an only short one as well");
    let merged = Batch::check(&read[0].1).expect("a batch");
    assert!(merged.records().eq(batches[..3].iter().flat_map(Batch::records)));
    assert_eq!(merged.timestamp_ms(), Some(5));
    // Only the records of the third batch have another timestamp, and three of them had a timestamp of their own.
    let len_bytes = |batch: &Batch<Vec<u8>>| batch.as_octets().len();
    let len: usize = batches[..3].iter().map(len_bytes).sum();
    assert_eq!(read[0].1.len(), len - 2 * 24 + 4 * 8);
}

#[test]
fn a_slow_stream_is_stored_and_read_in_long_batches() {
    const COUNT: u64 = 500;
    let dir = dir();
    let one = |offset: u64| {
        let mut builder = BatchBuilder::new(Vec::new());
        builder.push(&content(offset, 100)).expect("fits");
        builder.set_timestamp_ms(Some(1_000 + offset as i64));
        builder.finish(Vec::new()).expect("a record")
    };
    let append_each = |offsets: std::ops::Range<u64>| {
        let log = open(dir.path());
        for offset in offsets {
            append(&log, P, offset, &[one(offset)]).expect("append");
            // Every record is readable at once.
            assert_eq!(read_from(&log, P, offset), [content(offset, 100)]);
        }
        log
    };
    drop(append_each(0..COUNT));
    // Each value fills a page: 35 records of 113 octets.
    let before = values(dir.path(), COUNT);
    assert!(before[..before.len() - 1].iter().all(|&(_, count)| count == 35), "{before:?}");
    // A value from before a restart stays.
    let log = append_each(COUNT..COUNT + 2);
    let (batches, next) = read_batches(&log, P, 10, u64::MAX, usize::MAX).expect("readable");
    assert_eq!((batches.len(), next), (1, COUNT + 2), "values are merged when they are read");
    let batch = Batch::check(&batches[0].1).expect("a batch");
    let expected: Vec<_> = (0..COUNT + 2).map(one).collect();
    assert!(batch.records().eq(expected.iter().flat_map(Batch::records)));
    drop(log);
    assert_eq!(values(dir.path(), COUNT + 2), [&before[..], &[(COUNT, 2)]].concat());
}

#[test]
fn a_damaged_batch_and_one_under_a_wrong_key_are_reported() {
    let made = dir();
    for first in [0, 10, 20] {
        // A log does not merge batches with those of before its start.
        append(&open(made.path()), P, first, &[batch(10, first as i64)]).expect("append");
    }
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
