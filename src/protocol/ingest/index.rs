//! The index of a partition.

/// The index of an open partition in its [`Ingest`](super::Ingest). It is valid until the partition is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Index(pub usize);
