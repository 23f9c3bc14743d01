//! Writes a batch in one transaction.

use std::borrow::Cow;

use super::batch::{Batch, Entries, Run};
use super::engine::{Table, Update};
use super::error::AppendError;
use super::keys::{MAX_NAME_LEN_BYTES, PartitionId, PartitionKey, PartitionValue};
use super::opening;
use super::partitions::find_value;
use super::positions;
use super::records::{AsRecords, Records};
pub use super::values::Tails;
use super::values::Values;
use crate::wire::batch::{MAX_CONTENT_LEN_BYTES, Packing};

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
    tails: &mut Tails,
) -> Result<(), WriteError<U::Error>> {
    opening::upgrade(txn)?;
    for (run, entries) in batch.runs_with_entries().filter(|(run, _)| run.count > 0) {
        write_run(txn, run, entries, tails)?;
    }
    for commit in batch.commits() {
        positions::write(txn, commit, positions::Limits::default())?;
    }
    Ok(())
}

fn write_run<U: Update, P: AsRecords>(
    txn: &mut U,
    run: Run<'_>,
    mut entries: Entries<'_, P>,
    tails: &mut Tails,
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
    let tail = tails.take(txn, value)?;
    let mut values = Values::new(txn, value, tail);
    while values.next < end {
        match entries.clone().next() {
            Some(Records::Of(batch, range)) => {
                entries.next();
                values.add(batch.map(Cow::Borrowed), range)?;
            }
            Some(Records::Compressed(batch)) => {
                entries.next();
                values.add_compressed(&batch)?;
            }
            Some(Records::One(_, timestamp_ms)) => add_singles(&mut values, &mut entries, timestamp_ms)?,
            None => unreachable!("the run has fewer records than it counts"),
        }
    }
    values.flush()?;
    tails.set(value.id, values.tail);
    value.next = end;
    txn.put(Table::Partitions, key.as_ref(), &value.encode())?;
    Ok(())
}

/// Packs the single records at the front of `entries` into one batch, up to the first one with another timestamp, or the
/// first one that does not fit. Adds the batch.
fn add_singles<U: Update, P: AsRecords>(
    values: &mut Values<'_, '_, U>,
    entries: &mut Entries<'_, P>,
    timestamp_ms: Option<i64>,
) -> Result<(), WriteError<U::Error>> {
    let mut too_long = None;
    let lens = singles(entries.clone(), timestamp_ms).map(<[u8]>::len).enumerate();
    let packing = Packing::plan(lens.map_while(|(index, len)| {
        if len > MAX_CONTENT_LEN_BYTES {
            too_long = Some((index, len));
            return None;
        }
        Some(len)
    }));
    if let Some((index, len_bytes)) = too_long {
        return Err(WriteError::Refused(AppendError::RecordTooLong {
            offset: values.next + index as u64,
            len_bytes,
            max_len_bytes: MAX_CONTENT_LEN_BYTES,
        }));
    }
    let packing = Packing { timestamp_ms, ..packing };
    values.add_packed(packing, singles(entries.by_ref(), timestamp_ms))?;
    Ok(())
}

/// The contents of the single records at the front of `entries`, up to the first entry that is no single record or has
/// another timestamp.
fn singles<'a>(
    entries: impl Iterator<Item = Records<'a>>,
    timestamp_ms: Option<i64>,
) -> impl Iterator<Item = &'a [u8]> {
    entries.map_while(move |records| match records {
        Records::One(content, own_ms) if own_ms == timestamp_ms => Some(content),
        _ => None,
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
