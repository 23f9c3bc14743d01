//! Writes a batch in one transaction.

use super::batch::{Batch, Records, Run};
use super::chunk::{self, MAX_CONTENT_LEN_BYTES};
use super::engine::{Table, Update};
use super::error::AppendError;
use super::keys::{MAX_NAME_LEN_BYTES, PartitionId, PartitionKey, PartitionValue, record_key};
use super::partitions::find_value;

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

/// Writes a whole batch into a transaction. The caller commits it.
///
/// # Errors
/// See [`WriteError`].
pub fn write_batch<U: Update, P: AsRef<[u8]>>(
    txn: &mut U,
    batch: &Batch<P>,
) -> Result<(), WriteError<U::Error>> {
    for (run, records) in batch.runs_with_records().filter(|(run, _)| run.count > 0) {
        write_run(txn, run, records)?;
    }
    Ok(())
}

fn write_run<U: Update, P: AsRef<[u8]>>(
    txn: &mut U,
    run: Run<'_>,
    mut records: Records<'_, P>,
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
        let mut too_long = None;
        let lens = records.clone().map(<[u8]>::len).enumerate();
        let plan = chunk::plan(lens.map_while(|(index, len)| {
            if len > MAX_CONTENT_LEN_BYTES {
                too_long = Some((index, len));
                return None;
            }
            Some(len)
        }));
        if let Some((index, len_bytes)) = too_long {
            return Err(WriteError::Refused(AppendError::RecordTooLong {
                offset: value.next + index as u64,
                len_bytes,
                max_len_bytes: MAX_CONTENT_LEN_BYTES,
            }));
        }
        let key = record_key(value.id, value.next);
        let page = txn.reserve(Table::Records, &key, plan.len)?;
        chunk::write(page, &key, plan, records.by_ref());
        value.next += plan.count as u64;
    }
    txn.put(Table::Partitions, key.as_ref(), &value.encode())?;
    Ok(())
}

/// Returns a number for a new partition, and increments the stored one.
fn take_id<U: Update>(txn: &mut U) -> Result<PartitionId, U::Error> {
    let key = NEXT_ID_KEY.as_bytes();
    let stored = txn.get(Table::Meta, key)?.and_then(|octets| octets.try_into().ok());
    let id = u64::from_be_bytes(stored.ok_or_else(U::damaged)?);
    let next = id.checked_add(1).ok_or_else(U::damaged)?;
    txn.put(Table::Meta, key, &next.to_be_bytes())?;
    Ok(PartitionId(id))
}
