//! The interface between the log's logic and a database: sorted tables, which are read in snapshots and changed in
//! transactions.
//!
//! LMDB is one implementation (`lmdb`). The simulation in tests/simulation has another one, over a simulated disk that
//! loses unsynchronized data.

/// The tables of a log. doc/storage-format.md describes their contents.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Table {
    /// The format version and other properties of the log.
    Meta,
    /// The number and the offsets of each partition. The key consists of the topic and the producer's address.
    Partitions,
    /// Batches and chunks of records. The key consists of the partition's number and the offset of the first record.
    Records,
    /// The committed positions of consumers. The key consists of the name of the consumer, the topic and the producer's
    /// address.
    Positions,
}

/// Key and value.
pub type Entry<'a> = (&'a [u8], &'a [u8]);

/// The contents of the tables at one moment.
pub trait Snapshot {
    /// Why the tables cannot be read or changed.
    type Error;
    /// Entries in ascending order of their keys.
    type Entries<'a>: Iterator<Item = Result<Entry<'a>, Self::Error>>
    where
        Self: 'a;

    /// The error for contents that the log never writes.
    fn damaged() -> Self::Error;

    /// The value of a key.
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<&[u8]>, Self::Error>;

    /// The entries from `key` on, including it.
    fn entries_from(&self, table: Table, key: &[u8]) -> Result<Self::Entries<'_>, Self::Error>;

    /// The entries from `key` on, if there is an entry with this key. Otherwise the entries from the last entry before
    /// `key` on. Empty when there is no entry with this key and none before it.
    fn entries_around(&self, table: Table, key: &[u8]) -> Result<Self::Entries<'_>, Self::Error>;
}

/// A transaction that changes the tables.
pub trait Update: Snapshot {
    /// Sets the value of a key. The key may exist already.
    fn put(&mut self, table: Table, key: &[u8], value: &[u8]) -> Result<(), Self::Error>;

    /// Adds a key that must not exist yet, with a value of `len` bytes. The caller fills the whole value, and must not
    /// read it before, because the memory may be uninitialized.
    fn reserve(&mut self, table: Table, key: &[u8], len: usize) -> Result<&mut [u8], Self::Error>;
}
