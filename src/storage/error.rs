//! One small enum of errors for each operation. Each message names the file or directory, and is meant for operators.

use std::io;
use std::path::PathBuf;

use super::keys::PartitionId;
use crate::text::printable_path;

/// Why a log could not be opened. Files of other programs were not changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// An operation on a file or directory failed.
    #[error("cannot {action} {}: {source}", printable_path(path))]
    Io {
        /// The operation, for example "create the directory".
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The error of the operating system.
        source: io::Error,
    },
    /// The path exists, but is not a directory.
    #[error("{} is not a directory", printable_path(path))]
    NotADirectory {
        /// The path.
        path: PathBuf,
    },
    /// An entry with the name of a store's file is not a regular file.
    #[error("{} is {kind}, not a regular file; it was left untouched", printable_path(path))]
    NotAFile {
        /// The path of the file.
        path: PathBuf,
        /// The kind of the entry.
        kind: &'static str,
    },
    /// The target of a symbolic link does not exist.
    #[error(
        "{} is a symbolic link to {}, which does not exist",
        printable_path(path),
        printable_path(target)
    )]
    DanglingLink {
        /// The link.
        path: PathBuf,
        /// Its target.
        target: PathBuf,
    },
    /// Another process, or another log in this process, uses the directory.
    #[error("the store directory {} is in use by another store", printable_path(path))]
    Locked {
        /// The directory.
        path: PathBuf,
    },
    /// The directory contains a LevelDB database.
    #[error(
        "{} contains a LevelDB database, such as libdafka 0.1.0 (the C library) writes; it was left untouched; \
         give the store another directory",
        printable_path(path)
    )]
    LevelDb {
        /// The directory.
        path: PathBuf,
    },
    /// The directory has an entry that does not belong to a store.
    #[error(
        "{} is not a store directory: it contains {entry:?}; it was left untouched; \
         give the store another directory",
        printable_path(path)
    )]
    ForeignDirectory {
        /// The directory.
        path: PathBuf,
        /// The foreign entry.
        entry: String,
    },
    /// The database file does not belong to a store.
    #[error("{} is not the database of a dafka store: {reason}; it was left untouched", printable_path(path))]
    NotAStore {
        /// The file.
        path: PathBuf,
        /// What is wrong with the file.
        reason: &'static str,
    },
    /// The database file is damaged, or does not belong to a store.
    #[error(
        "{} is damaged, or not the database of a dafka store: page {page}: {reason}; it was left untouched",
        printable_path(path)
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The number of the damaged page.
        page: u64,
        /// What is wrong with the page.
        reason: &'static str,
    },
    /// A later version of this library wrote the database.
    #[error(
        "{} has the store format {found}, but this version reads only formats up to {supported}; \
         it was left untouched",
        printable_path(path)
    )]
    NewerFormat {
        /// The file.
        path: PathBuf,
        /// The format version of the file.
        found: u32,
        /// The newest format version that this library knows.
        supported: u32,
    },
    /// LMDB cannot open the database file.
    #[error("cannot open the database {}: {source}", printable_path(path))]
    Database {
        /// The file.
        path: PathBuf,
        /// The error of LMDB.
        source: lmdb::Error,
    },
}

/// Why a batch was not appended. The log contains nothing of the batch, with one exception: see
/// [`Log::append`](super::Log::append).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AppendError {
    /// A run does not begin where its partition ends.
    #[error(
        "partition {} of {}: expected record {expected}, got record {got}",
        topic.escape_ascii(), producer.escape_ascii()
    )]
    NotContiguous {
        /// The topic of the partition.
        topic: Vec<u8>,
        /// The address of the partition's producer.
        producer: Vec<u8>,
        /// The offset after the last record of the partition; 0 for a new partition.
        expected: u64,
        /// The first offset of the run.
        got: u64,
    },
    /// The content of a record is too long for a batch.
    #[error(
        "record {offset} has {len_bytes} bytes, but a store accepts only records of up to {max_len_bytes} bytes"
    )]
    RecordTooLong {
        /// The offset of the record.
        offset: u64,
        /// The length of its content.
        len_bytes: usize,
        /// The greatest length.
        max_len_bytes: usize,
    },
    /// The topic or the producer's address is too long for a key.
    #[error(
        "the topic or the address of a producer has {len_bytes} bytes, which is more than {max_len_bytes}"
    )]
    NameTooLong {
        /// The length of the longer one of the two.
        len_bytes: usize,
        /// The greatest length.
        max_len_bytes: usize,
    },
    /// The end of a partition is damaged, so nothing can be appended to the partition.
    #[error(transparent)]
    Corrupt(Box<Corruption>),
    /// The memory map cannot become larger, and so the database cannot grow.
    #[error("the database {} cannot grow beyond {map_len_bytes} bytes: {reason}", printable_path(path))]
    MapLimit {
        /// The file.
        path: PathBuf,
        /// The length of the map.
        map_len_bytes: usize,
        /// Why it cannot become larger.
        reason: String,
    },
    /// The database file, or its directory, was removed, renamed or replaced. If the file was removed, its contents are
    /// lost when the log is closed.
    #[error("the database {} is gone: {reason}", printable_path(path))]
    Gone {
        /// The path of the file.
        path: PathBuf,
        /// How the log has detected that the file is gone.
        reason: &'static str,
    },
    /// The operating system failed to write, for example because the disk is full. A later append may
    /// succeed.
    #[error("cannot write {}: {source}", printable_path(path))]
    Io {
        /// The file.
        path: PathBuf,
        /// The error of the operating system.
        source: io::Error,
    },
    /// LMDB failed, or the database contains something that this library does not write.
    #[error("cannot append to the database {}: {source}", printable_path(path))]
    Database {
        /// The file.
        path: PathBuf,
        /// The error of LMDB.
        source: lmdb::Error,
    },
}

/// Why reading failed. Records that were delivered before are valid.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// Records are damaged or missing.
    #[error(transparent)]
    Corrupt(Box<Corruption>),
    /// The operating system failed to read.
    #[error("cannot read {}: {source}", printable_path(path))]
    Io {
        /// The file.
        path: PathBuf,
        /// The error of the operating system.
        source: io::Error,
    },
    /// LMDB failed, or the database contains something that this library does not write.
    #[error("cannot read the database {}: {source}", printable_path(path))]
    Database {
        /// The file.
        path: PathBuf,
        /// The error of LMDB.
        source: lmdb::Error,
    },
}

/// A damaged place in the log.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{} is damaged: partition {} of {} (number {}), record {offset}: {reason}",
    printable_path(path), topic.escape_ascii(), producer.escape_ascii(), id.0
)]
pub struct Corruption {
    /// The file.
    pub path: PathBuf,
    /// The topic of the partition.
    pub topic: Vec<u8>,
    /// The address of the partition's producer.
    pub producer: Vec<u8>,
    /// The number of the partition.
    pub id: PartitionId,
    /// The first record that cannot be read.
    pub offset: u64,
    /// What is wrong with the record.
    pub reason: &'static str,
}

/// Why a record was not added to a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BatchError {
    /// The batch contains records of the partition, and the record does not follow the last one of them.
    #[error("expected record {expected}, got record {got}")]
    NotContiguous {
        /// The offset after the partition's last record in the batch.
        expected: u64,
        /// The offset of the record.
        got: u64,
    },
}
