//! The partitioned record log: what a store keeps on disk.
//!
//! A [`Log`] holds any number of partitions, each named by a topic and the address of the producer that
//! writes it. The records of a partition are numbered from 0 and stored as a contiguous prefix: an append
//! must begin exactly where the partition ends. One thread appends batches, others read at the same time
//! and never wait for it.
//!
//! The log is an LMDB environment in a directory of its own; doc/storage-format.md describes each octet of
//! it. This module knows nothing of sockets, threads, actors or the wire: names and contents are octets.
//!
//! | file | what for |
//! | --- | --- |
//! | `log` | the log itself; grows and repairs the environment beneath, unseen |
//! | `options` | how a log is opened |
//! | `opening` | what happens when a log is opened, and in which order |
//! | `append` | writing one batch in one transaction |
//! | `partitions` | which partitions there are |
//! | `scan` | reading the chunks of one partition |
//! | `engine` | what the last three need of a database |
//! | `lmdb` | LMDB as that database: an open environment, and its transactions |
//! | `batch` | records gathered for one append |
//! | `database` | the file of the database: creating and checking it |
//! | `fs_directory` | the directory of a log in the file system, as `opening` needs it |
//! | `pages` | looking at LMDB's pages before LMDB does |
//! | `directory` | whose directory it is: look before touching, lock, make durable |
//! | `chunk` | records packed together: encoding, total decoding |
//! | `keys` | keys and values of the tables |
//! | `listing` | what a log holds, seen by another process |
//! | `error` | what can go wrong, one small enum per operation |

pub mod append;
mod batch;
mod chunk;
mod database;
mod directory;
pub mod engine;
mod error;
mod fs_directory;
mod keys;
mod listing;
mod lmdb;
mod log;
pub mod opening;
mod options;
mod pages;
pub mod partitions;
pub mod scan;

pub use self::batch::{Batch, Run, RunIndex};
pub use self::chunk::MAX_CONTENT_LEN_BYTES;
pub use self::error::{AppendError, BatchError, Corruption, OpenError, ReadError};
pub use self::keys::{MAX_NAME_LEN_BYTES, PartitionId, PartitionName};
pub use self::listing::list;
pub use self::log::Log;
pub use self::options::{FILE_MODE, Options};
pub use self::partitions::Partition;
