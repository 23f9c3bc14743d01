//! What can go wrong, one small enum per operation. Each message names the file or directory and is fit to be
//! shown to the operator as it is.

use std::io;
use std::path::PathBuf;

use super::keys::PartitionId;
use crate::text::printable_path;

/// Why a log could not be opened. Whatever the reason, files of others were not changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The operating system refused something.
    #[error("cannot {action} {}: {source}", printable_path(path))]
    Io {
        /// What was tried, for example "create the directory".
        action: &'static str,
        /// With what.
        path: PathBuf,
        /// The operating system's answer.
        source: io::Error,
    },
    /// The path is that of something else than a directory.
    #[error("{} is not a directory", printable_path(path))]
    NotADirectory {
        /// The path as it was given.
        path: PathBuf,
    },
    /// A file of the store is something else than a regular file.
    #[error("{} is {kind}, not a regular file; it was left untouched", printable_path(path))]
    NotAFile {
        /// The path of the file.
        path: PathBuf,
        /// What it is.
        kind: &'static str,
    },
    /// A symbolic link leads nowhere.
    #[error(
        "{} is a symbolic link to {}, which does not exist",
        printable_path(path),
        printable_path(target)
    )]
    DanglingLink {
        /// The link.
        path: PathBuf,
        /// Where it leads.
        target: PathBuf,
    },
    /// Another process, or another log in this one, holds the directory.
    #[error("the store directory {} is in use by another store", printable_path(path))]
    Locked {
        /// The directory.
        path: PathBuf,
    },
    /// The directory holds a LevelDB database.
    #[error(
        "{} holds a LevelDB database, such as libdafka 0.1.0 (the C library) writes; it was left untouched, \
         give the store another directory",
        printable_path(path)
    )]
    LevelDb {
        /// The directory.
        path: PathBuf,
    },
    /// The directory holds something that is not part of a store.
    #[error(
        "{} is not a store directory: it holds {entry:?}; it was left untouched, \
         give the store another directory",
        printable_path(path)
    )]
    ForeignDirectory {
        /// The directory.
        path: PathBuf,
        /// The entry of the directory that is not ours.
        entry: String,
    },
    /// The database file is not that of a store.
    #[error("{} is not the database of a dafka store: {reason}; it was left untouched", printable_path(path))]
    NotAStore {
        /// The file.
        path: PathBuf,
        /// How that was noticed.
        reason: &'static str,
    },
    /// The database file is damaged, or a database of something else.
    #[error(
        "{} is damaged, or not the database of a dafka store: page {page}: {reason}; it was left untouched",
        printable_path(path)
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The number of the page where that was noticed.
        page: u64,
        /// How.
        reason: &'static str,
    },
    /// A later version of this library wrote the database.
    #[error(
        "{} has the store format {found}, this version reads formats up to {supported}; \
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
    /// LMDB refused the database file.
    #[error("cannot open the database {}: {source}", printable_path(path))]
    Database {
        /// The file.
        path: PathBuf,
        /// LMDB's answer.
        source: lmdb::Error,
    },
}

/// Why a batch was not appended. Nothing of it is in the log then.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AppendError {
    /// A run does not begin where its partition ends.
    #[error(
        "partition {} of {}: expected the record {expected}, got {got}",
        topic.escape_ascii(), producer.escape_ascii()
    )]
    NotContiguous {
        /// The topic of the partition.
        topic: Vec<u8>,
        /// The address of the partition's producer.
        producer: Vec<u8>,
        /// The offset after the last record of the partition, 0 for a new one.
        expected: u64,
        /// The first offset of the run.
        got: u64,
    },
    /// The content of a record is longer than a chunk can hold.
    #[error(
        "the record {offset} has {len_bytes} octets, a store takes records of up to {max_len_bytes} octets"
    )]
    RecordTooLong {
        /// The offset of the record.
        offset: u64,
        /// Its length in octets.
        len_bytes: usize,
        /// The greatest length in octets.
        max_len_bytes: usize,
    },
    /// The topic or the producer's address is longer than a key can hold.
    #[error("a partition's name of {len_bytes} octets is longer than {max_len_bytes} octets")]
    NameTooLong {
        /// The length of the longer one in octets.
        len_bytes: usize,
        /// The greatest length in octets.
        max_len_bytes: usize,
    },
    /// A partition's end is damaged: nothing can be appended to it.
    #[error(transparent)]
    Corrupt(Box<Corruption>),
    /// The map, and with it the database, cannot become larger.
    #[error("the database {} cannot grow beyond {map_len_bytes} octets: {reason}", printable_path(path))]
    MapLimit {
        /// The file.
        path: PathBuf,
        /// Its greatest length in octets for now.
        map_len_bytes: usize,
        /// What stands against it.
        reason: String,
    },
    /// The database file has lost its name: it was removed, renamed or replaced, or its directory was. What is written to
    /// it is lost when the process ends.
    #[error("the database {} is gone: {reason}", printable_path(path))]
    Gone {
        /// Where the file was.
        path: PathBuf,
        /// What is there now.
        reason: &'static str,
    },
    /// The operating system failed to write, for example because the disk is full. A later append may
    /// succeed.
    #[error("cannot write {}: {source}", printable_path(path))]
    Io {
        /// The file.
        path: PathBuf,
        /// The operating system's answer.
        source: io::Error,
    },
    /// LMDB refused, or what it holds is not what this library wrote.
    #[error("cannot append to the database {}: {source}", printable_path(path))]
    Database {
        /// The file.
        path: PathBuf,
        /// LMDB's answer.
        source: lmdb::Error,
    },
}

/// Why reading failed. Records that were handed over before are right.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// Records are damaged or missing.
    #[error(transparent)]
    Corrupt(Box<Corruption>),
    /// The operating system failed.
    #[error("cannot read {}: {source}", printable_path(path))]
    Io {
        /// The file.
        path: PathBuf,
        /// The operating system's answer.
        source: io::Error,
    },
    /// LMDB refused, or what it holds is not what this library wrote.
    #[error("cannot read the database {}: {source}", printable_path(path))]
    Database {
        /// The file.
        path: PathBuf,
        /// LMDB's answer.
        source: lmdb::Error,
    },
}

/// Where the log is damaged.
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
    /// What is wrong.
    pub reason: &'static str,
}

/// Why a record was not taken into a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BatchError {
    /// The batch holds records of the partition that this one does not follow.
    #[error("expected the record {expected}, got {got}")]
    NotContiguous {
        /// The offset after the partition's last record in the batch.
        expected: u64,
        /// The offset of the record.
        got: u64,
    },
}
