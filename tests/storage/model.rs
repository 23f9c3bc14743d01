//! Random appends, reads and reopenings. Vectors are the model.

use std::collections::BTreeMap;

use dafka::storage::{AppendError, Batch};
use proptest::prelude::*;

use crate::common::{content, named, open, read};

/// An operation on log and model.
#[derive(Clone, Debug)]
enum Step {
    // Appends a run of records of these lengths to each of these partitions.
    Append(Vec<(u8, Vec<usize>)>),
    // Tries to append at another offset than the end.
    Misplaced { partition: u8, by: i8 },
    Read { partition: u8, from: u64, max_count: u64, max_len: usize },
    Reopen,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let len = prop_oneof![6 => 0usize..300, 2 => 1000usize..9000, 1 => 60_000usize..140_000];
    let run = (0u8..4, proptest::collection::vec(len, 1..30));
    let step = prop_oneof![
        5 => proptest::collection::vec(run, 1..4).prop_map(Step::Append),
        1 => (0u8..4, -3i8..4).prop_map(|(partition, by)| Step::Misplaced { partition, by }),
        5 => (0u8..5, 0u64..200, 0u64..60, 0usize..200_000).prop_map(|(partition, from, max_count, max_len)| {
            Step::Read { partition, from, max_count, max_len }
        }),
        1 => Just(Step::Reopen),
    ];
    proptest::collection::vec(step, 1..25)
}

/// The expected result of a read.
fn expected(records: &[Vec<u8>], from: u64, max_count: u64, max_len: usize) -> Vec<(u64, Vec<u8>)> {
    let mut got: Vec<(u64, Vec<u8>)> = Vec::new();
    let mut sum = 0;
    for (offset, content) in (0..).zip(records).skip(from as usize).take(max_count as usize) {
        sum += content.len();
        if sum > max_len && !got.is_empty() {
            break;
        }
        got.push((offset, content.clone()));
    }
    got
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_log_behaves_as_its_model(steps in steps()) {
        let dir = tempfile::tempdir().expect("a directory");
        let mut log = open(dir.path());
        let mut model: BTreeMap<u8, Vec<Vec<u8>>> = BTreeMap::new();
        for step in steps {
            match step {
                Step::Append(runs) => {
                    let mut batch = Batch::new();
                    for (partition, lens) in runs {
                        let records = model.entry(partition).or_default();
                        let run = batch.run(named(b"s", &[partition]), records.len() as u64);
                        for len in lens {
                            let record = content(records.len() as u64 + u64::from(partition) * 1000, len);
                            batch.push_to(run, record.clone());
                            records.push(record);
                        }
                    }
                    log.append(&batch).expect("append");
                }
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
        }
    }
}
