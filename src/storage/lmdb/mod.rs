//! LMDB, the database of the log on a real disk.
//!
//! | file | contents |
//! | --- | --- |
//! | `tables` | the open environment, and its transactions as the log's engine |
//! | `fs_directory` | the steps of [`opening`](super::opening) on a file system |
//! | `database` | creating the database file, and checking an existing one |
//! | `pages` | checking LMDB's pages before LMDB reads them |
//! | `listing` | reading the table of partitions without LMDB |

mod database;
mod fs_directory;
mod listing;
mod pages;
mod tables;

pub(super) use self::database::NEW_LEN_BYTES;
pub(super) use self::fs_directory::FsDirectory;
pub use self::listing::list;
pub(super) use self::pages::{PageError, Pages};
pub(super) use self::tables::{Lmdb, RECORDS, Tables, os_error};
