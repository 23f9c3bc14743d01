//! The record log: reads return appended records, within their limits, in order, by partition, also after reopening.

use std::sync::atomic::{AtomicBool, Ordering};

use dafka::storage::{AppendError, Batch, Log, MAX_NAME_LEN_BYTES, Options, PartitionName};
use dafka::wire::batch::MAX_CONTENT_LEN_BYTES;

use crate::common::{P, append, content, dir, named, open, options, read, read_from};

#[test]
fn records_of_all_lengths_come_back_also_after_reopening() {
    let dir = dir();
    // A batch has at most 65,512 octets, of which 28 are not content when there is one record.
    let lens =
        [0, 1, 0, 100, 2000, 4080, 65_483, 65_484, 65_485, 65_512, 65_535, 65_536, 65_537, 5 << 20, 0, 3];
    let contents: Vec<_> = lens.iter().zip(0..).map(|(len, offset)| content(offset, *len)).collect();
    let mut with_nuls = contents.clone();
    with_nuls.push(vec![0; 1000]);
    {
        let log = open(dir.path());
        append(&log, P, 0, &with_nuls).expect("append");
        assert!(read_from(&log, P, 0) == with_nuls);
    }
    let log = open(dir.path());
    let partition = log.find(P).expect("readable").expect("there");
    assert_eq!((partition.first, partition.next), (0, with_nuls.len() as u64));
    for from in 0..=with_nuls.len() {
        assert!(read_from(&log, P, from as u64) == with_nuls[from..], "from {from}");
    }
}

#[test]
fn a_record_of_256_mib_fits() {
    let dir = dir();
    let log = open(dir.path());
    let long = vec![content(0, 300), content(1, 256 << 20), content(2, 10)];
    append(&log, P, 0, &long).expect("append");
    assert!(read_from(&log, P, 0) == long);
}

#[test]
fn a_record_that_is_too_long_is_refused_with_its_whole_batch() {
    // The append must check the length before it reads the content.
    struct Huge(Vec<u8>);
    impl AsRef<[u8]> for Huge {
        fn as_ref(&self) -> &[u8] {
            &self.0
        }
    }
    let dir = dir();
    let log = open(dir.path());
    let mut batch = Batch::new();
    let run = batch.run(P, 0);
    batch.push_to(run, Huge(vec![1]));
    // Zeroed memory that is never touched takes no memory.
    batch.push_to(run, Huge(vec![0; MAX_CONTENT_LEN_BYTES + 1]));
    let error = log.append(&batch).expect_err("too long");
    assert!(matches!(error, AppendError::RecordTooLong { offset: 1, max_len_bytes, .. }
        if max_len_bytes == MAX_CONTENT_LEN_BYTES));
    assert_eq!(log.partitions().expect("readable"), []);
}

#[test]
fn one_batch_holds_many_partitions() {
    let dir = dir();
    let log = open(dir.path());
    let names: Vec<_> = (0..200u32).map(|i| (format!("s{}", i % 7), format!("address {i}"))).collect();
    for round in 0..3u64 {
        let mut batch = Batch::new();
        let runs: Vec<_> =
            names.iter().map(|(s, a)| batch.run(named(s.as_bytes(), a.as_bytes()), round * 5)).collect();
        for record in 0..5 {
            for (index, run) in runs.iter().enumerate() {
                batch.push_to(*run, content(index as u64 * 1000 + round * 5 + record, 60 * index));
            }
        }
        assert_eq!((batch.len(), batch.runs().count()), (1000, 200));
        log.append(&batch).expect("append");
    }
    let partitions = log.partitions().expect("readable");
    assert_eq!(partitions.len(), 200);
    assert!(partitions.iter().all(|p| p.first == 0 && p.next == 15));
    let ids: std::collections::HashSet<_> = partitions.iter().map(|p| p.id).collect();
    assert_eq!(ids.len(), 200);
    for (index, (subject, address)) in names.iter().enumerate() {
        let got = read_from(&log, named(subject.as_bytes(), address.as_bytes()), 0);
        let expected: Vec<_> = (0..15).map(|o| content(index as u64 * 1000 + o, 60 * index)).collect();
        assert!(got == expected, "{subject} {address}");
    }
}

#[test]
fn an_append_must_begin_where_the_partition_ends_and_is_all_or_nothing() {
    let dir = dir();
    let log = open(dir.path());
    let refused = |log: &Log, first, expected_offset| {
        let mut batch = Batch::new();
        batch.push(named(b"other", b"B"), 0, content(0, 10)).expect("a run");
        batch.push(P, first, content(first, 10)).expect("a run");
        match log.append(&batch).expect_err("not contiguous") {
            AppendError::NotContiguous { topic, producer, expected, got } => {
                assert_eq!((named(&topic, &producer), expected, got), (P, expected_offset, first));
            }
            error => panic!("{error}"),
        }
        assert_eq!(log.find(named(b"other", b"B")).expect("readable"), None);
    };
    refused(&log, 1, 0);
    refused(&log, u64::MAX, 0);
    append(&log, P, 0, &[content(0, 10), content(1, 10)]).expect("append");
    for first in [0, 1, 3, 4, u64::MAX] {
        refused(&log, first, 2);
    }
    append(&log, P, 2, &[content(2, 10)]).expect("append");
    assert_eq!(read_from(&log, P, 0), [content(0, 10), content(1, 10), content(2, 10)]);
}

#[test]
fn two_runs_of_a_partition_in_one_batch_must_follow_one_another() {
    let dir = dir();
    let log = open(dir.path());
    let two = |second_first| {
        let mut batch = Batch::new();
        for first in [0, second_first] {
            let run = batch.run(P, first);
            batch.push_to(run, content(first, 5));
            batch.push_to(run, content(first + 1, 5));
        }
        batch
    };
    for wrong in [0, 1, 3] {
        let error = log.append(&two(wrong)).expect_err("not contiguous");
        assert!(matches!(error, AppendError::NotContiguous { expected: 2, got, .. } if got == wrong));
        assert_eq!(log.partitions().expect("readable"), []);
    }
    log.append(&two(2)).expect("append");
    assert_eq!(read_from(&log, P, 0), (0..4).map(|o| content(o, 5)).collect::<Vec<_>>());
}

#[test]
fn empty_batches_and_empty_runs_append_nothing() {
    let dir = dir();
    let log = open(dir.path());
    let mut batch = Batch::new();
    log.append(&batch).expect("nothing to do");
    batch.run(named(b"empty", b"E"), 77);
    log.append(&batch).expect("nothing to do");
    let run = batch.run(P, 0);
    batch.push_to(run, b"x");
    log.append(&batch).expect("append");
    assert_eq!(log.partitions().expect("readable").len(), 1);
}

#[test]
fn reads_keep_their_limits() {
    let dir = dir();
    let log = open(dir.path());
    // Batches of different sizes, so that limits are inside batches and at their borders.
    let all: Vec<_> = (0..2500).map(|offset| content(offset, 100)).collect();
    append(&log, P, 0, &all[..1000]).expect("append");
    append(&log, P, 1000, &all[1000..1001]).expect("append");
    append(&log, P, 1001, &all[1001..]).expect("append");
    let offsets = |from, max_count, max_len| -> Vec<u64> {
        let got = read(&log, P, from, max_count, max_len).expect("readable");
        for (offset, content) in &got {
            assert_eq!(*content, all[*offset as usize]);
        }
        got.into_iter().map(|(offset, _)| offset).collect()
    };
    let range = |range: std::ops::Range<u64>| range.collect::<Vec<_>>();
    assert_eq!(offsets(0, u64::MAX, usize::MAX), range(0..2500));
    assert_eq!(offsets(0, 1, usize::MAX), [0]);
    assert_eq!(offsets(0, 0, usize::MAX), []);
    assert_eq!(offsets(0, 1000, usize::MAX), range(0..1000));
    assert_eq!(offsets(1, 1000, usize::MAX), range(1..1001));
    assert_eq!(offsets(999, 3, usize::MAX), range(999..1002));
    assert_eq!(offsets(2400, 1000, usize::MAX), range(2400..2500));
    assert_eq!(offsets(2499, u64::MAX, usize::MAX), [2499]);
    for beyond in [2500, 2501, u64::MAX - 1, u64::MAX] {
        assert_eq!(offsets(beyond, u64::MAX, usize::MAX), []);
    }
    // With a limit in bytes, a read returns as many records as fit, but at least one.
    assert_eq!(offsets(7, 100, 0), [7]);
    assert_eq!(offsets(7, 100, 99), [7]);
    assert_eq!(offsets(7, 100, 199), [7]);
    assert_eq!(offsets(7, 100, 200), [7, 8]);
    assert_eq!(offsets(990, 100, 2000), range(990..1010));
    assert_eq!(offsets(990, 5, 2000), range(990..995));
    // A record above the limit comes alone, even if empty records follow. Empty records still fit when a read has used
    // up its bytes.
    let (long, empty) = (content(0, 100), Vec::new());
    append(&log, named(b"s", b"long"), 0, &[long, empty.clone(), empty]).expect("append");
    for (max_len, count) in [(0, 1), (99, 1), (100, 3)] {
        assert_eq!(
            read(&log, named(b"s", b"long"), 0, 100, max_len).expect("readable").len(),
            count,
            "{max_len}"
        );
    }
    // A read continues until the receiver stops it.
    let mut seen = Vec::new();
    let handed = log.read(P, 998, 100, usize::MAX, &mut |offset, _| {
        seen.push(offset);
        offset < 1001
    });
    assert_eq!((handed.expect("readable"), seen), (4, range(998..1002)));
    // A read of an unknown partition returns nothing.
    assert_eq!(read(&log, named(b"hello", b"B"), 0, 10, 1000).expect("readable"), []);
    assert_eq!(read(&log, named(&[0; 256], b"A"), 0, 10, 1000).expect("readable"), []);
}

#[test]
fn names_are_any_octets_up_to_the_limit() {
    let dir = dir();
    let log = open(dir.path());
    let long = |octet| vec![octet; MAX_NAME_LEN_BYTES];
    let names: Vec<(Vec<u8>, Vec<u8>)> = vec![
        (long(0xff), long(0xfe)),
        (long(0), long(0)),
        (long(0), Vec::new()),
        (Vec::new(), long(0)),
        (Vec::new(), Vec::new()),
        (b"a\0b".to_vec(), b"c".to_vec()),
        (b"a".to_vec(), b"b\0c".to_vec()),
        (vec![0xc3, 0x28], vec![0xff, 0x00]),
    ];
    for (index, (subject, address)) in names.iter().enumerate() {
        append(&log, named(subject, address), 0, &[content(index as u64, 20)]).expect("append");
    }
    assert_eq!(log.partitions().expect("readable").len(), names.len());
    for (index, (subject, address)) in names.iter().enumerate() {
        assert_eq!(read_from(&log, named(subject, address), 0), [content(index as u64, 20)]);
    }
    let too_long = vec![1; MAX_NAME_LEN_BYTES + 1];
    for (subject, address) in [(&too_long[..], &b"A"[..]), (b"hello", &too_long)] {
        let error = append(&log, named(subject, address), 0, &[vec![1]]).expect_err("too long");
        assert!(matches!(error, AppendError::NameTooLong { len_bytes: 256, max_len_bytes: 255 }));
        assert_eq!(log.find(named(subject, address)).expect("readable"), None);
    }
    assert_eq!(log.partitions_of(&too_long).expect("readable"), []);
}

#[test]
fn partitions_of_a_topic_do_not_include_topics_with_the_same_prefix() {
    let dir = dir();
    let log = open(dir.path());
    for (subject, address) in
        [("hello", "B"), ("hello", "A"), ("hello2", "A"), ("hell", "oA"), ("", "hello"), ("hello2", "")]
    {
        append(&log, named(subject.as_bytes(), address.as_bytes()), 0, &[vec![1]]).expect("append");
    }
    let of = |subject: &[u8]| -> Vec<String> {
        let partitions = log.partitions_of(subject).expect("readable");
        assert!(partitions.iter().all(|p| p.topic == subject));
        partitions.into_iter().map(|p| String::from_utf8(p.producer).expect("text")).collect()
    };
    assert_eq!(of(b"hello"), ["A", "B"]);
    assert_eq!(of(b"hello2"), ["", "A"]);
    assert_eq!(of(b"hell"), ["oA"]);
    assert_eq!(of(b""), ["hello"]);
    assert_eq!(of(b"hel"), <[&str; 0]>::default());
}

#[test]
fn heads_are_read_in_slices_of_any_length() {
    let dir = dir();
    let log = open(dir.path());
    let long = vec![0xff; MAX_NAME_LEN_BYTES];
    let names: Vec<(&[u8], &[u8])> =
        vec![(b"hello", b"A"), (b"hello", b"B"), (b"hello", b"C"), (b"hello2", b"A"), (&long, &long)];
    for (i, (subject, address)) in names.iter().enumerate() {
        append(&log, named(subject, address), 0, &vec![vec![1]; i + 1]).expect("append");
    }
    let slices = |subject: Option<&[u8]>, count| {
        let (mut told, mut after, mut calls) = (Vec::new(), None::<Box<[u8]>>, 0);
        loop {
            let each = &mut |name: PartitionName<'_>, head| {
                told.push((name.topic.to_vec(), name.producer.to_vec(), head));
            };
            after = log.heads(subject, after.as_deref(), count, each).expect("readable");
            calls += 1;
            if after.is_none() {
                return (told, calls);
            }
        }
    };
    for (count, calls, of_hello) in [(1, 5, 3), (2, 3, 2), (3, 2, 1), (5, 1, 1), (100, 1, 1)] {
        let (told, took) = slices(None, count);
        let expected = names.iter().enumerate().map(|(i, (s, a))| (s.to_vec(), a.to_vec(), i as u64));
        assert_eq!(told, expected.collect::<Vec<_>>(), "{count} at a time");
        assert_eq!(took, calls, "{count} at a time");
        let (told, took) = slices(Some(b"hello"), count);
        assert!(told.iter().all(|(subject, _, _)| subject == b"hello"), "{told:?}");
        assert_eq!((told.len(), took), (3, of_hello), "{count} at a time");
    }
    assert_eq!(slices(Some(b"nothing"), 1), (vec![], 1));
    assert_eq!(slices(Some(&long), 1).0.len(), 1);
    assert_eq!(slices(Some(&[1; MAX_NAME_LEN_BYTES + 1]), 1), (vec![], 1));
    // New partitions after the place where the list continues are reported.
    let mut told = Vec::new();
    let mut each = |name: PartitionName<'_>, head| told.push((name.producer.to_vec(), head));
    let place = log.heads(Some(b"hello"), None, 2, &mut each).expect("readable");
    for address in [b"AA", b"BB"] {
        append(&log, named(b"hello", address), 0, &[vec![1]]).expect("append");
    }
    append(&log, named(b"hello", b"C"), 3, &[vec![1]]).expect("append");
    assert_eq!(log.heads(Some(b"hello"), place.as_deref(), 2, &mut each).expect("readable"), None);
    assert_eq!(told, [(b"A".to_vec(), 0), (b"B".to_vec(), 1), (b"BB".to_vec(), 0), (b"C".to_vec(), 3)]);
}

#[test]
fn the_map_grows_while_other_threads_read() {
    let dir = dir();
    let log = open(dir.path());
    let done = AtomicBool::new(false);
    let total = 1500u64;
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let mut rounds_at_end = 0;
                let mut next = 0;
                while next < total {
                    let last_round = done.load(Ordering::Acquire);
                    for (offset, got) in read(&log, P, next, 200, 1 << 20).expect("readable") {
                        assert!(got == content(offset, 20_000), "record {offset}");
                        next = offset + 1;
                    }
                    assert!(log.partitions().expect("readable").len() <= 1);
                    // When all is written, each round reads something.
                    rounds_at_end += u64::from(last_round);
                    assert!(rounds_at_end <= total, "{next} of {total} after {rounds_at_end} rounds");
                }
            });
        }
        for first in (0..total).step_by(10) {
            let contents: Vec<_> = (first..first + 10).map(|offset| content(offset, 20_000)).collect();
            append(&log, P, first, &contents).expect("append");
        }
        done.store(true, Ordering::Release);
    });
    // The file is about thirty times as large as the first map.
    assert!(std::fs::metadata(dir.path().join("data.mdb")).expect("there").len() > 30_000_000);
}

#[test]
fn many_threads_append_to_partitions_of_their_own() {
    let dir = dir();
    let log = open(dir.path());
    std::thread::scope(|scope| {
        for thread in 0..4u8 {
            let log = &log;
            scope.spawn(move || {
                for offset in 0..40 {
                    append(log, named(b"s", &[thread]), offset, &[content(offset, 9000)]).expect("append");
                }
            });
        }
    });
    for thread in 0..4u8 {
        let expected: Vec<_> = (0..40).map(|offset| content(offset, 9000)).collect();
        assert!(read_from(&log, named(b"s", &[thread]), 0) == expected);
    }
}

#[test]
fn an_append_beyond_the_map_limit_fails_and_records_stay_readable() {
    let dir = dir();
    let limited = Options { max_map_len_bytes: 4 << 20, ..options() };
    let log = Log::open(dir.path(), limited).expect("open");
    append(&log, P, 0, &[content(0, 1 << 20)]).expect("append");
    let error = append(&log, P, 1, &[content(1, 8 << 20)]).expect_err("too much");
    assert!(
        matches!(&error, AppendError::MapLimit { map_len_bytes, .. } if *map_len_bytes == 4 << 20),
        "{error}"
    );
    assert!(error.to_string().contains("data.mdb"), "{error}");
    append(&log, P, 1, &[content(1, 1000)]).expect("a small one still fits");
    assert!(read_from(&log, P, 0) == [content(0, 1 << 20), content(1, 1000)]);
}

#[test]
fn without_sync_records_are_there_after_reopening_too() {
    let dir = dir();
    let quick = || Log::open(dir.path(), Options { sync: false, ..options() }).expect("open");
    let log = quick();
    for offset in 0..50 {
        append(&log, P, offset, &[content(offset, 5000)]).expect("append");
    }
    drop(log);
    assert_eq!(read_from(&quick(), P, 0), (0..50).map(|o| content(o, 5000)).collect::<Vec<_>>());
}
