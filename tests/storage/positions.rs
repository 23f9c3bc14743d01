//! The committed positions of consumers in the log.

use crate::common::{P, dir, named, open};
use dafka::committed::{Committed, MAX_CONSUMER_NAME_LEN};
use dafka::storage::{Batch, Log, MAX_NAME_LEN_BYTES, PartitionName};

fn committed(timestamp_ms: u64, next: u64) -> Committed {
    Committed { timestamp_ms, next }
}

fn commit(log: &Log, commits: &[(&[u8], PartitionName, Committed)]) {
    let mut batch = Batch::<Vec<u8>>::new();
    for (name, partition, committed) in commits {
        assert!(batch.commit(name, *partition, *committed));
    }
    log.append(&batch).expect("append");
}

type Positions = Vec<(Vec<u8>, Vec<u8>, Vec<u8>, u64)>;

/// Reads the positions in slices of `count` entries.
fn positions(log: &Log, name: Option<&[u8]>, count: u64) -> Positions {
    let (mut found, mut after) = (Vec::new(), None::<Box<[u8]>>);
    loop {
        let each = &mut |name: &[u8], partition: PartitionName, committed: Committed| {
            let PartitionName { topic, producer } = partition;
            found.push((name.to_vec(), topic.to_vec(), producer.to_vec(), committed.next));
        };
        after = log.positions(name, after.as_deref(), count, each).expect("readable");
        if after.is_none() {
            return found;
        }
    }
}

#[test]
fn the_latest_commit_is_kept_also_after_reopening() {
    let dir = dir();
    {
        let log = open(dir.path());
        commit(&log, &[(b"me", P, committed(10, 5)), (b"me", P, committed(9, 6))]);
        assert_eq!(log.find_position(b"me", P).expect("readable"), Some(committed(10, 5)));
        // An earlier timestamp, then the same one with a lower and a higher position.
        for (later, kept) in [((9, 100), (10, 5)), ((10, 4), (10, 5)), ((10, 6), (10, 6)), ((11, 1), (11, 1))]
        {
            commit(&log, &[(b"me", P, committed(later.0, later.1))]);
            let found = log.find_position(b"me", P).expect("readable");
            assert_eq!(found, Some(committed(kept.0, kept.1)), "after {later:?}");
        }
    }
    let log = open(dir.path());
    assert_eq!(log.find_position(b"me", P).expect("readable"), Some(committed(11, 1)));
    assert_eq!(log.find_position(b"m", P).expect("readable"), None);
    assert_eq!(log.partitions().expect("readable"), []);
}

#[test]
fn positions_are_listed_by_name_in_slices_of_any_length() {
    let dir = dir();
    let log = open(dir.path());
    let (second, third) = (named(b"hello", b"B"), named(b"t", b"A"));
    commit(
        &log,
        &[
            (b"b", third, committed(1, 3)),
            (b"b", P, committed(1, 1)),
            (b"b", second, committed(1, 2)),
            (b"ab", P, committed(1, 4)),
            (b"a", P, committed(1, 5)),
        ],
    );
    let of = |name: &[u8], partition: PartitionName, next| {
        (name.to_vec(), partition.topic.to_vec(), partition.producer.to_vec(), next)
    };
    let own = vec![of(b"b", third, 3), of(b"b", P, 1), of(b"b", second, 2)];
    let all = [vec![of(b"a", P, 5)], own.clone(), vec![of(b"ab", P, 4)]].concat();
    for count in 1..9 {
        assert_eq!(positions(&log, Some(b"b"), count), own, "{count}");
        assert_eq!(positions(&log, None, count), all, "{count}");
    }
    assert_eq!(positions(&log, Some(b"c"), 3), []);
    assert_eq!(positions(&log, Some(&[b'c'; 256]), 3), []);
}

#[test]
fn names_that_are_too_long_for_a_key_are_refused() {
    let mut batch = Batch::<Vec<u8>>::new();
    let long = [b'n'; MAX_NAME_LEN_BYTES];
    let longest_name = [b'n'; MAX_CONSUMER_NAME_LEN];
    assert!(batch.commit(&longest_name, named(&long, &[b'A'; 126]), committed(1, 1)));
    assert!(!batch.commit(&longest_name, named(&long, &[b'A'; 127]), committed(1, 1)));
    assert!(!batch.commit(&[b'n'; MAX_CONSUMER_NAME_LEN + 1], P, committed(1, 1)));
    assert!(!batch.commit(b"", P, committed(1, 1)));
    assert_eq!(batch.commit_count(), 1);
    let dir = dir();
    open(dir.path()).append(&batch).expect("the longest key");
}
