//! Shared by the tests of the log.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::Command;

use dafka::storage::{
    AppendError, AsRecords, Batch, Log, Options, PartitionName, ReadError, Records, StoredBatch,
};
use dafka::wire;

/// A small map, so that most tests need it to grow.
pub(crate) fn options() -> Options {
    Options { initial_map_len_bytes: 1 << 20, ..Options::default() }
}

pub(crate) fn open(dir: &Path) -> Log {
    Log::open(dir, options()).expect("the log opens")
}

pub(crate) fn named<'a>(topic: &'a [u8], producer: &'a [u8]) -> PartitionName<'a> {
    PartitionName { topic, producer }
}

/// The partition of most tests.
pub(crate) const P: PartitionName = PartitionName { topic: b"hello", producer: b"A" };

pub(crate) fn dir() -> tempfile::TempDir {
    tempfile::tempdir().expect("a directory")
}

/// Runs an ignored test in another process, with a directory.
pub(crate) fn in_a_process(test: &str, dir: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("known"));
    command.args(["--exact", test, "--ignored", "--nocapture", "--test-threads=1"]);
    command.env("DAFKA_TEST_DIR", dir).env("RUST_BACKTRACE", "0");
    command
}

/// The directory of a test that [`in_a_process`] runs.
pub(crate) fn given_dir() -> Option<PathBuf> {
    std::env::var_os("DAFKA_TEST_DIR").map(Into::into)
}

struct Borrowed<'a, P>(&'a P);

impl<P: AsRecords> AsRecords for Borrowed<'_, P> {
    fn as_records(&self) -> Records<'_> {
        self.0.as_records()
    }
}

/// Appends one run.
pub(crate) fn append(
    log: &Log,
    name: PartitionName<'_>,
    first: u64,
    records: &[impl AsRecords],
) -> Result<(), AppendError> {
    let mut batch = Batch::new();
    let run = batch.run(name, first);
    records.iter().for_each(|records| batch.push_to(run, Borrowed(records)));
    log.append(&batch)
}

/// Reads with limits; checks that the offsets ascend one by one and that the count is right.
pub(crate) fn read(
    log: &Log,
    name: PartitionName<'_>,
    from: u64,
    max_count: u64,
    max_len_bytes: usize,
) -> Result<Vec<(u64, Vec<u8>)>, ReadError> {
    let mut got: Vec<(u64, Vec<u8>)> = Vec::new();
    let count = log.read(name, from, max_count, max_len_bytes, &mut |offset, record| {
        if let Some((before, _)) = got.last() {
            assert_eq!(offset, before + 1);
        }
        got.push((offset, record.content.to_vec()));
        true
    })?;
    assert_eq!(count, got.len() as u64);
    Ok(got)
}

/// Reads all records of a partition from one on.
pub(crate) fn read_from(log: &Log, name: PartitionName<'_>, from: u64) -> Vec<Vec<u8>> {
    let got = read(log, name, from, u64::MAX, usize::MAX).expect("the records are readable");
    if let Some((first, _)) = got.first() {
        assert_eq!(*first, from);
    }
    got.into_iter().map(|(_, content)| content).collect()
}

/// A content that depends on the offset.
pub(crate) fn content(offset: u64, len: usize) -> Vec<u8> {
    (0..len as u64).map(|i| (offset.wrapping_mul(37) ^ i.wrapping_mul(11) ^ (i >> 8)) as u8).collect()
}

/// What tests append: a content, or some of the records of a batch.
pub(crate) enum Part {
    One(Vec<u8>),
    Of(wire::batch::Batch<Vec<u8>>, Range<usize>),
}

impl AsRecords for Part {
    fn as_records(&self) -> Records<'_> {
        match self {
            Part::One(content) => Records::One(content, None),
            Part::Of(batch, range) => Records::Of(batch.borrowed(), range.clone()),
        }
    }
}

/// The first offset and the octets of a batch.
pub(crate) type ReadBatch = (u64, Vec<u8>);

/// Reads batches with limits. Returns their first offsets and octets, and the offset after the last record. Checks the
/// batches, that they follow one another, and that the first one contains the record `from`.
pub(crate) fn read_batches(
    log: &Log,
    name: PartitionName<'_>,
    from: u64,
    max_count: u64,
    max_len_bytes: usize,
) -> Result<(Vec<ReadBatch>, u64), ReadError> {
    let (mut got, mut expected) = (Vec::new(), None);
    let next = log.read_batches(name, from, max_count, max_len_bytes, &mut |batch| {
        let StoredBatch { first_offset, batch } = batch;
        let (octets, count) = (batch.as_octets(), batch.count() as u64);
        let end = first_offset + count;
        match expected {
            Some(expected) => assert_eq!(first_offset, expected),
            None => assert!(first_offset <= from && from < end),
        }
        assert!(first_offset < from.saturating_add(max_count));
        assert_eq!(wire::batch::AnyBatch::check(octets).expect("a batch").count() as u64, count);
        got.push((first_offset, octets.to_vec()));
        expected = Some(end);
        true
    })?;
    assert_eq!(next, expected.unwrap_or(from));
    Ok((got, next))
}

/// A value in the database file, which no log has open. `None` when there is none.
pub(crate) fn stored(dir: &Path, table: &str, key: &[u8]) -> Option<Vec<u8>> {
    use lmdb::Transaction;
    let env = lmdb::Environment::new().set_max_dbs(4).open(dir).expect("open");
    let table = env.open_db(Some(table)).expect("there");
    let txn = env.begin_ro_txn().expect("begin");
    txn.get(table, &key).ok().map(<[u8]>::to_vec)
}

/// Writes values into the database file, which no log has open.
pub(crate) fn store(dir: &Path, entries: &[(&str, Vec<u8>, Vec<u8>)]) {
    use lmdb::{Transaction, WriteFlags};
    let env = lmdb::Environment::new().set_max_dbs(4).set_map_size(64 << 20).open(dir).expect("open");
    let tables: Vec<_> = entries.iter().map(|(table, ..)| env.open_db(Some(table)).expect("there")).collect();
    let mut txn = env.begin_rw_txn().expect("begin");
    for (table, (_, key, value)) in tables.into_iter().zip(entries) {
        txn.put(table, key, value, WriteFlags::empty()).expect("fits");
    }
    txn.commit().expect("commit");
}

/// The key of the table `records`.
pub(crate) fn record_key(partition: u64, first: u64) -> Vec<u8> {
    [partition, first].map(u64::to_be_bytes).concat()
}
