//! Shared by the tests of the log.

use std::path::{Path, PathBuf};
use std::process::Command;

use dafka::storage::{AppendError, Batch, Log, Options, PartitionName, ReadError};

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

/// Appends one run.
pub(crate) fn append(
    log: &Log,
    name: PartitionName<'_>,
    first: u64,
    contents: &[Vec<u8>],
) -> Result<(), AppendError> {
    let mut batch = Batch::new();
    let run = batch.run(name, first);
    contents.iter().for_each(|content| batch.push_to(run, content));
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
    let count = log.read(name, from, max_count, max_len_bytes, &mut |offset, content| {
        if let Some((before, _)) = got.last() {
            assert_eq!(offset, before + 1);
        }
        got.push((offset, content.to_vec()));
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
