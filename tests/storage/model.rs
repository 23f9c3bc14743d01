//! Random appends, reads and reopenings, in a new database or one of format 1. Vectors are the model.

use std::collections::BTreeMap;

use dafka::storage::{AppendError, Batch, Log};
use dafka::wire;
use dafka::wire::batch::{Attributes, BatchBuilder};
use proptest::prelude::*;

use crate::common::{Part, content, named, open, read, read_batches};
use crate::format_1;

/// Part of an append to one partition.
#[derive(Clone, Debug)]
enum Piece {
    // Records of these lengths, one by one.
    Singles(Vec<usize>),
    // A batch with records of these lengths. The store already has the first `had` of them. The last `left_out` are left
    // out.
    Batch { lens: Vec<usize>, had: usize, left_out: usize, has_attributes: bool, timestamp_ms: Option<i64> },
}

/// An operation on log and model.
#[derive(Clone, Debug)]
enum Step {
    // Appends such pieces to each of these partitions.
    Append(Vec<(u8, Vec<Piece>)>),
    // Tries to append at another offset than the end.
    Misplaced { partition: u8, by: i8 },
    Read { partition: u8, from: u64, max_count: u64, max_len: usize },
    ReadBatches { partition: u8, from: u64, max_count: u64, max_len: usize },
    Reopen,
}

/// A record of the model.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Record {
    timestamp_ms: Option<i64>,
    key: Option<Vec<u8>>,
    content: Vec<u8>,
}

impl Record {
    fn of(record: &wire::batch::Record<'_>) -> Record {
        let (key, content) = (record.key.map(<[u8]>::to_vec), record.content.to_vec());
        Record { timestamp_ms: record.timestamp_ms, key, content }
    }
}

type Model = BTreeMap<u8, Vec<Record>>;

fn pieces() -> impl Strategy<Value = Vec<Piece>> {
    let len = || prop_oneof![6 => 0usize..300, 2 => 1000usize..9000, 1 => 60_000usize..140_000];
    let singles = proptest::collection::vec(len(), 1..20).prop_map(Piece::Singles);
    let lens = proptest::collection::vec(prop_oneof![9 => 0usize..300, 1 => 1000usize..5000], 1..12);
    let batch = (lens, 0usize..4, 0usize..4, any::<bool>(), any::<Option<i64>>()).prop_map(
        |(lens, had, left_out, has_attributes, timestamp_ms)| Piece::Batch {
            lens,
            had: had.saturating_sub(1),
            left_out: left_out.saturating_sub(2),
            has_attributes,
            timestamp_ms,
        },
    );
    proptest::collection::vec(prop_oneof![singles, batch], 1..5)
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let limits = || (0u8..5, 0u64..200, 0u64..60, 0usize..200_000);
    let step = prop_oneof![
        5 => proptest::collection::vec((0u8..4, pieces()), 1..4).prop_map(Step::Append),
        1 => (0u8..4, -3i8..4).prop_map(|(partition, by)| Step::Misplaced { partition, by }),
        4 => limits().prop_map(|(partition, from, max_count, max_len)| {
            Step::Read { partition, from, max_count, max_len }
        }),
        4 => limits().prop_map(|(partition, from, max_count, max_len)| {
            Step::ReadBatches { partition, from, max_count, max_len }
        }),
        1 => Just(Step::Reopen),
    ];
    proptest::collection::vec(step, 1..25)
}

/// The content of a partition's next record.
fn next_content(partition: u8, offset: usize, len: usize) -> Vec<u8> {
    content(offset as u64 + u64::from(partition) * 1000, len)
}

/// Builds the parts of a piece, and adds their records to the model.
fn build(partition: u8, records: &mut Vec<Record>, piece: &Piece) -> Vec<Part> {
    match piece {
        Piece::Singles(lens) => {
            let single = |len: &usize| {
                let content = next_content(partition, records.len(), *len);
                records.push(Record { timestamp_ms: None, key: None, content: content.clone() });
                Part::One(content)
            };
            lens.iter().map(single).collect()
        }
        Piece::Batch { lens, had, left_out, has_attributes, timestamp_ms } => {
            let had = *had.min(&records.len()).min(&lens.len());
            let mut builder = BatchBuilder::new(Vec::new());
            for (index, len) in lens.iter().enumerate() {
                let content = next_content(partition, records.len() + index - had, *len);
                let key = [index as u8];
                let attributes = Attributes {
                    timestamp_ms: (index % 3 == 1).then_some(index as i64),
                    key: (index % 2 == 1).then_some(&key),
                    ..Attributes::default()
                };
                let pushed = match has_attributes {
                    true => builder.push_with(&attributes, &content),
                    false => builder.push(&content),
                };
                pushed.expect("12 short records fit");
            }
            builder.set_timestamp_ms(*timestamp_ms);
            let batch = builder.finish(Vec::new()).expect("there are records");
            let range = had..batch.count().saturating_sub(*left_out).max(had);
            records.extend(range.clone().map(|index| Record::of(&batch.record(index).expect("there"))));
            vec![Part::Of(batch, range)]
        }
    }
}

fn append(log: &Log, model: &mut Model, runs: &[(u8, Vec<Piece>)]) {
    let mut batch = Batch::new();
    for (partition, pieces) in runs {
        let records = model.entry(*partition).or_default();
        let run = batch.run(named(b"s", &[*partition]), records.len() as u64);
        for piece in pieces {
            build(*partition, records, piece).into_iter().for_each(|part| batch.push_to(run, part));
        }
    }
    log.append(&batch).expect("append");
    // A run without records appends nothing.
    model.retain(|_, records| !records.is_empty());
}

/// The expected result of a read.
fn expected(records: &[Record], from: u64, max_count: u64, max_len: usize) -> Vec<(u64, Vec<u8>)> {
    let mut got: Vec<(u64, Vec<u8>)> = Vec::new();
    let mut sum = 0;
    for (offset, Record { content, .. }) in (0..).zip(records).skip(from as usize).take(max_count as usize) {
        sum += content.len();
        if sum > max_len && !got.is_empty() {
            break;
        }
        got.push((offset, content.clone()));
    }
    got
}

/// Reads batches, and checks their records, and that the read ends because of a limit.
fn check_batches(log: &Log, records: &[Record], partition: u8, from: u64, max_count: u64, max_len: usize) {
    let name = [partition];
    let name = named(b"s", &name);
    let (batches, next) = read_batches(log, name, from, max_count, max_len).expect("readable");
    for (first, octets) in &batches {
        let batch = wire::batch::Batch::check(octets).expect("a batch");
        let stored: Vec<_> = batch.records().map(|record| Record::of(&record)).collect();
        assert!(stored == records[*first as usize..][..batch.count()]);
    }
    let len: usize = batches.iter().map(|(_, octets)| octets.len()).sum();
    assert!(len <= max_len || batches.len() <= 1);
    let end = from.saturating_add(max_count).min(records.len() as u64);
    if next < end {
        let left = read_batches(log, name, next, end - next, 0).expect("readable").0;
        assert_eq!(left.len(), 1);
        assert!(!batches.is_empty() && len + left[0].1.len() > max_len);
    }
}

/// A new log, or one with records in chunks of format 1. `chunks` are the lengths of the records of each chunk.
fn begin(dir: &std::path::Path, model: &mut Model, chunks: &[(u8, Vec<usize>)]) -> Log {
    let mut partitions: BTreeMap<u8, Vec<Vec<Vec<u8>>>> = BTreeMap::new();
    for (partition, lens) in chunks {
        let records = model.entry(*partition).or_default();
        let mut chunk = Vec::new();
        for len in lens {
            let content = next_content(*partition, records.len(), *len);
            chunk.push(content.clone());
            records.push(Record { timestamp_ms: None, key: None, content });
        }
        partitions.entry(*partition).or_default().push(chunk);
    }
    let names: Vec<[u8; 1]> = partitions.keys().map(|partition| [*partition]).collect();
    let partitions: Vec<_> =
        names.iter().map(|name| (&b"s"[..], &name[..])).zip(partitions.into_values()).collect();
    if !partitions.is_empty() {
        format_1::make(dir, &partitions);
    }
    open(dir)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_log_behaves_as_its_model(
        chunks in proptest::collection::vec((0u8..3, proptest::collection::vec(0usize..3000, 1..30)), 0..6),
        steps in steps(),
    ) {
        let dir = tempfile::tempdir().expect("a directory");
        let mut model = Model::new();
        let mut log = begin(dir.path(), &mut model, &chunks);
        for step in steps {
            match step {
                Step::Append(runs) => append(&log, &mut model, &runs),
                Step::Misplaced { partition, by } => {
                    let end = model.get(&partition).map_or(0, Vec::len) as u64;
                    let off = end.checked_add_signed(i64::from(by));
                    let Some(first) = off.filter(|first| *first != end) else {
                        continue;
                    };
                    let mut batch = Batch::new();
                    batch.push(named(b"s", &[partition]), first, b"astray").expect("a run");
                    let error = log.append(&batch).expect_err("not contiguous");
                    let told = matches!(error, AppendError::NotContiguous { expected, got, .. }
                        if expected == end && got == first);
                    prop_assert!(told);
                }
                Step::Read { partition, from, max_count, max_len } => {
                    let records = model.get(&partition).map_or(&[][..], Vec::as_slice);
                    let got = read(&log, named(b"s", &[partition]), from, max_count, max_len).expect("readable");
                    prop_assert!(got == expected(records, from, max_count, max_len));
                }
                Step::ReadBatches { partition, from, max_count, max_len } => {
                    let records = model.get(&partition).map_or(&[][..], Vec::as_slice);
                    check_batches(&log, records, partition, from, max_count, max_len);
                }
                Step::Reopen => {
                    drop(log);
                    log = open(dir.path());
                }
            }
            let heads: Vec<_> = log
                .partitions_of(b"s").expect("readable").into_iter().map(|p| (p.producer[0], p.next)).collect();
            let model_heads: Vec<_> = model.iter().map(|(p, records)| (*p, records.len() as u64)).collect();
            prop_assert_eq!(heads, model_heads);
        }
        for (partition, records) in &model {
            let got = read(&log, named(b"s", &[*partition]), 0, u64::MAX, usize::MAX).expect("readable");
            prop_assert!(got == expected(records, 0, u64::MAX, usize::MAX));
            check_batches(&log, records, *partition, 0, u64::MAX, usize::MAX);
        }
    }
}
