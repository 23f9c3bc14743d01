//! The partitioned record log: the database of a store.
//!
//! A [`Log`] contains any number of partitions. The name of a partition is a topic and the address of a producer. The
//! records of a partition are numbered from 0, without gaps: an append must begin exactly where the partition ends. One
//! thread appends records. Other threads read at the same time. A reading thread waits only in two cases: while the
//! memory map grows, and after a failed commit, while the database is reopened or its headers are rewritten.
//!
//! The log is an LMDB environment in a directory of its own. doc/storage-format.md describes its format. This module
//! uses no sockets, threads or actors, and no wire format except that of [batches](crate::wire::batch). The log does
//! not interpret names and contents.
//!
//! The logic of the log uses a database through a small interface, [`engine`]. The simulation in tests/simulation runs
//! the same logic over a simulated disk.
//!
//! | file | contents |
//! | --- | --- |
//! | `log` | the log; it also grows the map, reopens the database, and checks pages before they are read |
//! | `options` | options for opening a log |
//! | `error` | one small enum of errors for each operation |
//! | `batch` | the records of one append, of any number of partitions |
//! | `records` | what an append consists of: single records, and batches that producers have built |
//! | `append` | writing the records of one append in one transaction |
//! | `values` | the values that one append writes: it merges short batches |
//! | `scan` | reading the records of one partition, one by one or in batches |
//! | `partitions` | finding and listing partitions |
//! | `positions` | the committed positions of named consumers |
//! | `opening` | the steps of opening a log |
//! | `engine` | the interface between this logic and a database |
//! | `lmdb/` | LMDB behind that interface: the database file, its pages and transactions |
//! | `directory` | the store's directory: foreign entries, the lock, synchronization |
//! | `keys` | the format of keys and of the table of partitions |
//! | `value` | the format of values of the table of records: a batch, or a chunk |
//! | `chunk` | the format of chunks, from format 1 |
//! | `outbox` | the outbox of a named producer, which is not part of a store's database |

pub mod append;
mod batch;
mod chunk;
mod directory;
pub mod engine;
mod error;
mod keys;
mod lmdb;
mod log;
pub mod opening;
mod options;
pub mod outbox;
pub mod partitions;
pub mod positions;
mod records;
pub mod scan;
mod value;
mod values;

pub use self::batch::{Batch, Run, RunIndex};
pub use self::error::{AppendError, BatchError, Corruption, OpenError, ReadError};
pub use self::keys::{MAX_NAME_LEN_BYTES, PartitionId, PartitionName};
pub use self::lmdb::list;
pub use self::log::Log;
pub use self::options::{FILE_MODE, Options};
pub use self::partitions::Partition;
pub use self::records::{AsRecords, Records};
pub use self::scan::StoredBatch;
