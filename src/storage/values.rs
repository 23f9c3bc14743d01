//! The values that an append writes for one partition. Short batches are merged, also with the last value of the
//! partition.

use std::borrow::Cow;
use std::collections::HashMap;
use std::ops::Range;

use super::engine::{Table, Update};
use super::keys::{PartitionId, PartitionValue, RECORD_KEY_LEN, record_key};
use super::value::{CHECK_LEN, Value, write_check};
use crate::wire::batch::{AnyBatch, Batch, CompressedBatch, FULL_LEN_BYTES, Merge, Packing, SHORT_LEN_BYTES};

/// An append may replace the last value of a partition by a longer batch of at most this length. With the check, and
/// the 16 octets that LMDB puts in front, a batch of this length fills one page of 4096 octets. An append writes at
/// least one page per partition anyway.
pub(super) const TAIL_LEN_BYTES: usize = 4096 - 16 - CHECK_LEN;

/// The most partitions whose last values are remembered.
const MAX_TAILS: usize = 100_000;

/// The last values of partitions to which the next append may add records: the offset of each value's first record.
///
/// Only values that this process has written are replaced. The reason is that LMDB trusts numbers in the pages of a
/// replaced value when it frees these pages, and the pages of older values may be damaged.
#[derive(Debug, Default)]
pub struct Tails(HashMap<PartitionId, u64>);

/// A stored batch, and the offset of its first record.
type Tail = (u64, Batch<Vec<u8>>);

impl Tails {
    /// Returns the last value of a partition if it may be replaced. After a failed append, the last value in the
    /// database may not be the remembered one. In this case, the result is `None`.
    pub(super) fn take<U: Update>(
        &mut self,
        txn: &U,
        partition: PartitionValue,
    ) -> Result<Option<Tail>, U::Error> {
        let PartitionValue { id, next, .. } = partition;
        let Some(first) = self.0.remove(&id) else { return Ok(None) };
        let key = record_key(id, first);
        let Some(value) = txn.get(Table::Records, &key)? else { return Ok(None) };
        Ok(match Value::read(value, &key) {
            Ok(Value::Batch(AnyBatch::Plain(batch)))
                if first.checked_add(batch.count() as u64) == Some(next) =>
            {
                Some((first, batch.map(<[u8]>::to_vec)))
            }
            _ => None,
        })
    }

    pub(super) fn set(&mut self, id: PartitionId, tail: Option<u64>) {
        if self.0.len() >= MAX_TAILS {
            // Then the next records of these partitions are not merged with the stored ones.
            self.0.clear();
        }
        if let Some(first) = tail {
            self.0.insert(id, first);
        }
    }
}

/// Writes the records of one partition.
pub(super) struct Values<'a, 'txn, U> {
    txn: &'txn mut U,
    id: PartitionId,
    /// The offset after the last added record.
    pub(super) next: u64,
    /// Short batches that were added and not yet written.
    merge: Merge<Cow<'a, [u8]>>,
    /// The offset of the first record in `merge`.
    first: u64,
    /// The first batch in `merge` is already in the database, as the last value of the partition.
    has_stored: bool,
    /// The offset of the first record in the last written value, if the next append may replace this value.
    pub(super) tail: Option<u64>,
}

impl<'a, 'txn, U: Update> Values<'a, 'txn, U> {
    pub(super) fn new(txn: &'txn mut U, partition: PartitionValue, tail: Option<Tail>) -> Self {
        let PartitionValue { id, next, .. } = partition;
        let mut values =
            Values { txn, id, next, merge: Merge::default(), first: next, has_stored: false, tail: None };
        if let Some((first, batch)) = tail {
            (values.first, values.has_stored) = (first, true);
            let records = 0..batch.count();
            let added = values.merge.push(batch.map(Cow::Owned), records, TAIL_LEN_BYTES);
            debug_assert!(added.is_ok(), "the first batch fits");
        }
        values
    }

    /// Adds records of a batch, at least one.
    pub(super) fn add(&mut self, batch: Batch<Cow<'a, [u8]>>, records: Range<usize>) -> Result<(), U::Error> {
        let count = records.len() as u64;
        let max_len_bytes = if self.has_stored { TAIL_LEN_BYTES } else { FULL_LEN_BYTES };
        let is_short = batch.area_len_bytes(records.clone()) < SHORT_LEN_BYTES;
        let refused = match is_short {
            true => self.merge.push(batch, records.clone(), max_len_bytes).err(),
            false => Some(batch),
        };
        if let Some(batch) = refused {
            self.flush()?;
            let added = self.merge.push(batch, records, FULL_LEN_BYTES);
            debug_assert!(added.is_ok(), "the first batch fits");
        }
        self.next += count;
        if is_short { Ok(()) } else { self.flush() }
    }

    /// Adds single records.
    pub(super) fn add_packed<'r>(
        &mut self,
        packing: Packing,
        contents: impl IntoIterator<Item = &'r [u8]>,
    ) -> Result<(), U::Error> {
        if packing.len_bytes < SHORT_LEN_BYTES {
            let mut octets = vec![0; packing.len_bytes];
            packing.write(&mut octets, contents);
            let batch = Batch::check(Cow::Owned(octets)).expect("it was just built");
            return self.add(batch, 0..packing.count);
        }
        self.flush()?;
        let key = record_key(self.id, self.next);
        let value = self.txn.reserve(Table::Records, &key, packing.len_bytes + CHECK_LEN)?;
        packing.write(&mut value[..packing.len_bytes], contents);
        write_check(value, &key);
        self.next += packing.count as u64;
        (self.first, self.tail) = (self.next, None);
        Ok(())
    }

    /// Adds a compressed batch.
    pub(super) fn add_compressed(&mut self, batch: &CompressedBatch<&[u8]>) -> Result<(), U::Error> {
        self.flush()?;
        self.write(&record_key(self.id, self.next), batch.as_octets())?;
        self.next += batch.count() as u64;
        (self.first, self.tail) = (self.next, None);
        Ok(())
    }

    /// Writes the short batches that were added.
    pub(super) fn flush(&mut self) -> Result<(), U::Error> {
        let has_stored = std::mem::take(&mut self.has_stored);
        let first = std::mem::replace(&mut self.first, self.next);
        let key = record_key(self.id, first);
        if self.merge.is_empty() {
            return Ok(());
        }
        if let Some(batch) = self.merge.take_only() {
            let octets = batch.as_octets();
            self.tail = (octets.len() < TAIL_LEN_BYTES).then_some(first);
            // The stored batch stays as it is.
            return if has_stored { Ok(()) } else { self.write(&key, octets) };
        }
        let merged = self.merge.finish().expect("there are records");
        let octets = merged.as_octets();
        self.tail = (octets.len() < TAIL_LEN_BYTES).then_some(first);
        if !has_stored {
            return self.write(&key, octets);
        }
        let mut value = vec![0; octets.len() + CHECK_LEN];
        value[..octets.len()].copy_from_slice(octets);
        write_check(&mut value, &key);
        self.txn.put(Table::Records, &key, &value)
    }

    /// Writes a new value.
    fn write(&mut self, key: &[u8; RECORD_KEY_LEN], octets: &[u8]) -> Result<(), U::Error> {
        let value = self.txn.reserve(Table::Records, key, octets.len() + CHECK_LEN)?;
        value[..octets.len()].copy_from_slice(octets);
        write_check(value, key);
        Ok(())
    }
}
