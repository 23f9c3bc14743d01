//! The seam between the log's logic and the database beneath: ordered tables that are read in snapshots and
//! changed in transactions.
//!
//! LMDB is one engine (`lmdb`). The simulation in tests/simulation has another one, over a disk
//! that loses what was not synced; both run the same logic.

/// The tables of a log; doc/storage-format.md says what is in them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Table {
    /// What the log knows of itself.
    Meta,
    /// By topic and producer: a partition's number and offsets.
    Partitions,
    /// By partition number and offset: chunks of records.
    Records,
}

/// Key and value.
pub type Entry<'a> = (&'a [u8], &'a [u8]);

/// The tables as they were at one moment.
pub trait Snapshot {
    /// What goes wrong when they are read or changed.
    type Error;
    /// Entries in ascending order of their keys.
    type Entries<'a>: Iterator<Item = Result<Entry<'a>, Self::Error>>
    where
        Self: 'a;

    /// The error of a database that holds what the log never writes.
    fn damaged() -> Self::Error;

    /// The value of one key.
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<&[u8]>, Self::Error>;

    /// The entries from `key` on.
    fn entries_from(&self, table: Table, key: &[u8]) -> Result<Self::Entries<'_>, Self::Error>;

    /// The entries from `key` on, or, when there is none of this key, from the last one before it. None at all
    /// when there is neither.
    fn entries_around(&self, table: Table, key: &[u8]) -> Result<Self::Entries<'_>, Self::Error>;
}

/// A transaction that changes the tables.
pub trait Update: Snapshot {
    /// Sets the value of a key.
    fn put(&mut self, table: Table, key: &[u8], value: &[u8]) -> Result<(), Self::Error>;

    /// Adds a key that is not there yet, with a value of `len` octets for the caller to fill: all of it, without
    /// reading it first.
    fn reserve(&mut self, table: Table, key: &[u8], len: usize) -> Result<&mut [u8], Self::Error>;
}
