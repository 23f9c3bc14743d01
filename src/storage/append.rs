//! Writes a batch in one transaction.

use std::ops::Range;

use super::batch::{Batch, Entries, Run};
use super::engine::{Table, Update};
use super::error::AppendError;
use super::keys::{
    MAX_NAME_LEN_BYTES, PartitionId, PartitionKey, PartitionValue, RECORD_KEY_LEN, record_key,
};
use super::opening;
use super::partitions::find_value;
use super::records::{AsRecords, Records};
use super::value::{CHECK_LEN, write_check};
use crate::wire::batch::{self, MAX_CONTENT_LEN_BYTES, Packing};

/// In the table `meta`, the key of the number that the next new partition gets. The value has 8 octets, big-endian.
pub(super) const NEXT_ID_KEY: &str = "next-id";

/// Why a batch was not written. The caller must not commit the transaction.
#[derive(Debug)]
pub enum WriteError<E> {
    /// The batch cannot be appended to this log.
    Refused(AppendError),
    /// The error of the engine.
    Engine(E),
}

impl<E> From<E> for WriteError<E> {
    fn from(error: E) -> WriteError<E> {
        WriteError::Engine(error)
    }
}

/// Writes a whole batch into a transaction. The caller commits the transaction. If the database has an older format
/// version, it gets the current one.
///
/// # Errors
/// See [`WriteError`].
pub fn write_batch<U: Update, P: AsRecords>(
    txn: &mut U,
    batch: &Batch<P>,
) -> Result<(), WriteError<U::Error>> {
    opening::upgrade(txn)?;
    for (run, entries) in batch.runs_with_entries().filter(|(run, _)| run.count > 0) {
        write_run(txn, run, entries)?;
    }
    Ok(())
}

fn write_run<U: Update, P: AsRecords>(
    txn: &mut U,
    run: Run<'_>,
    mut entries: Entries<'_, P>,
) -> Result<(), WriteError<U::Error>> {
    let Some(key) = PartitionKey::new(run.name) else {
        let len_bytes = run.name.topic.len().max(run.name.producer.len());
        let error = AppendError::NameTooLong { len_bytes, max_len_bytes: MAX_NAME_LEN_BYTES };
        return Err(WriteError::Refused(error));
    };
    let found = find_value(txn, &key)?;
    let expected = found.map_or(0, |value| value.next);
    if run.first_offset != expected {
        return Err(WriteError::Refused(AppendError::NotContiguous {
            topic: run.name.topic.to_vec(),
            producer: run.name.producer.to_vec(),
            expected,
            got: run.first_offset,
        }));
    }
    let mut value = match found {
        Some(value) => value,
        None => PartitionValue { id: take_id(txn)?, first: 0, next: 0 },
    };
    let end = value.next.checked_add(run.count).ok_or_else(U::damaged)?;
    while value.next < end {
        let key = record_key(value.id, value.next);
        let count = match entries.clone().next() {
            Some(Records::Of(batch, range)) => {
                entries.next();
                write_part(txn, &key, &batch, range)?
            }
            Some(Records::Compressed(batch)) => {
                entries.next();
                write_octets(txn, &key, batch.as_octets())?;
                batch.count()
            }
            _ => write_singles(txn, &key, value.next, &mut entries)?,
        };
        value.next += count as u64;
    }
    txn.put(Table::Partitions, key.as_ref(), &value.encode())?;
    Ok(())
}

/// Writes the records `range` of a producer's batch: the whole batch as it is, or a new batch of these records. Returns
/// their number.
fn write_part<U: Update>(
    txn: &mut U,
    key: &[u8; RECORD_KEY_LEN],
    batch: &batch::Batch<&[u8]>,
    range: Range<usize>,
) -> Result<usize, U::Error> {
    let count = range.len();
    let built;
    let octets = if count == batch.count() {
        batch.as_octets()
    } else {
        built = batch.copy(range).expect("a run has records");
        built.as_octets()
    };
    write_octets(txn, key, octets)?;
    Ok(count)
}

/// Writes a whole batch.
fn write_octets<U: Update>(txn: &mut U, key: &[u8; RECORD_KEY_LEN], octets: &[u8]) -> Result<(), U::Error> {
    let value = txn.reserve(Table::Records, key, octets.len() + CHECK_LEN)?;
    value[..octets.len()].copy_from_slice(octets);
    write_check(value, key);
    Ok(())
}

/// Packs as many of the next single records as fit into one batch, and writes it. Returns their number.
fn write_singles<U: Update, P: AsRecords>(
    txn: &mut U,
    key: &[u8; RECORD_KEY_LEN],
    first_offset: u64,
    entries: &mut Entries<'_, P>,
) -> Result<usize, WriteError<U::Error>> {
    let mut too_long = None;
    let lens = singles(entries.clone()).map(<[u8]>::len).enumerate();
    let packing = Packing::plan(lens.map_while(|(index, len)| {
        if len > MAX_CONTENT_LEN_BYTES {
            too_long = Some((index, len));
            return None;
        }
        Some(len)
    }));
    if let Some((index, len_bytes)) = too_long {
        return Err(WriteError::Refused(AppendError::RecordTooLong {
            offset: first_offset + index as u64,
            len_bytes,
            max_len_bytes: MAX_CONTENT_LEN_BYTES,
        }));
    }
    let value = txn.reserve(Table::Records, key, packing.len_bytes + CHECK_LEN)?;
    packing.write(&mut value[..packing.len_bytes], singles(entries.by_ref()));
    write_check(value, key);
    Ok(packing.count)
}

/// The contents of the single records that come before the first records of a batch.
fn singles<'a>(entries: impl Iterator<Item = Records<'a>>) -> impl Iterator<Item = &'a [u8]> {
    entries.map_while(|records| match records {
        Records::One(content) => Some(content),
        Records::Of(..) | Records::Compressed(_) => None,
    })
}

/// Returns a number for a new partition, and increments the stored number.
fn take_id<U: Update>(txn: &mut U) -> Result<PartitionId, U::Error> {
    let key = NEXT_ID_KEY.as_bytes();
    let stored = txn.get(Table::Meta, key)?.and_then(|octets| octets.try_into().ok());
    let id = u64::from_be_bytes(stored.ok_or_else(U::damaged)?);
    let next = id.checked_add(1).ok_or_else(U::damaged)?;
    txn.put(Table::Meta, key, &next.to_be_bytes())?;
    Ok(PartitionId(id))
}
