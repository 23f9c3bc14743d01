//! What is appended at once: one record, or consecutive records of a batch that a producer has built.

use std::ops::Range;

use crate::wire::batch::{Batch, CompressedBatch};

/// Consecutive records of one partition.
#[derive(Clone, Debug)]
pub enum Records<'a> {
    /// One record without key and headers: its content, and its timestamp in milliseconds since the Unix epoch. The log
    /// packs such records into batches.
    One(&'a [u8], Option<i64>),
    /// A batch, and the indexes of the records to append. The log merges short batches. It writes a long batch as it is
    /// if the indexes contain all records. Otherwise it builds a new batch of the records with these indexes.
    Of(Batch<&'a [u8]>, Range<usize>),
    /// All records of a compressed batch. The log keeps the batch as it is, and does not unpack it.
    Compressed(CompressedBatch<&'a [u8]>),
}

impl<'a> Records<'a> {
    /// All records of a batch.
    pub fn all(batch: Batch<&'a [u8]>) -> Records<'a> {
        let count = batch.count();
        Records::Of(batch, 0..count)
    }

    /// The number of records.
    pub fn count(&self) -> usize {
        match self {
            Records::One(..) => 1,
            Records::Of(_, range) => range.len(),
            Records::Compressed(batch) => batch.count(),
        }
    }

    /// The approximate number of bytes that the log writes for these records.
    pub(super) fn len_bytes(&self) -> usize {
        match self {
            Records::One(content, _) => content.len(),
            Records::Of(batch, range) if range.len() == batch.count() => batch.as_octets().len(),
            Records::Compressed(batch) => batch.as_octets().len(),
            Records::Of(batch, range) => {
                range.clone().filter_map(|index| batch.record(index)).map(|record| record.content.len()).sum()
            }
        }
    }
}

/// Something that contains records to append, for example a message of the network layer.
///
/// Every type that has octets (`AsRef<[u8]>`) contains one record. Its content is these octets.
pub trait AsRecords {
    /// The records. Each call must return the same ones.
    fn as_records(&self) -> Records<'_>;
}

impl<T: AsRef<[u8]>> AsRecords for T {
    fn as_records(&self) -> Records<'_> {
        Records::One(self.as_ref(), None)
    }
}

impl<B: AsRef<[u8]>> AsRecords for CompressedBatch<B> {
    fn as_records(&self) -> Records<'_> {
        Records::Compressed(self.borrowed())
    }
}

impl<B: AsRef<[u8]>> AsRecords for Batch<B> {
    fn as_records(&self) -> Records<'_> {
        Records::all(self.borrowed())
    }
}
