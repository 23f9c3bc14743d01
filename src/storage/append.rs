//! Writing one batch in one transaction.

use lmdb::{RwTransaction, Transaction, WriteFlags};

use super::batch::{Batch, Records, Run};
use super::chunk::{self, MAX_CONTENT_LEN_BYTES};
use super::error::AppendError;
use super::keys::{MAX_NAME_LEN_BYTES, PartitionId, PartitionKey, PartitionValue, record_key};
use super::tables::{NEXT_ID_KEY, Tables};

/// Why one try of an append failed.
pub(super) enum Failure {
    /// The map of this length is full.
    MapFull(usize),
    /// The environment must be opened anew before it is used again.
    Broken(lmdb::Error),
    /// The batch is not in order.
    Refused(AppendError),
    /// Something else; the environment is sound.
    Lmdb(lmdb::Error),
}

impl From<lmdb::Error> for Failure {
    fn from(error: lmdb::Error) -> Failure {
        Failure::Lmdb(error)
    }
}

/// Writes all of a batch in one transaction.
pub(super) fn write_batch<P: AsRef<[u8]>>(tables: &Tables, batch: &Batch<P>) -> Result<(), Failure> {
    let map_full = |failure| match failure {
        Failure::Lmdb(lmdb::Error::MapFull) | Failure::Broken(lmdb::Error::MapFull) => {
            Failure::MapFull(tables.map_len_bytes)
        }
        other => other,
    };
    let mut txn = tables.env.begin_rw_txn().map_err(Failure::Broken)?;
    for (run, records) in batch.runs_with_records().filter(|(run, _)| run.count > 0) {
        write_run(&mut txn, tables, run, records).map_err(map_full)?;
    }
    // A failed commit leaves an environment that LMDB itself may refuse from then on.
    txn.commit().map_err(Failure::Broken).map_err(map_full)
}

fn write_run<P: AsRef<[u8]>>(
    txn: &mut RwTransaction<'_>,
    tables: &Tables,
    run: Run<'_>,
    mut records: Records<'_, P>,
) -> Result<(), Failure> {
    let Some(key) = PartitionKey::new(run.subject, run.address) else {
        let len_bytes = run.subject.len().max(run.address.len());
        let error = AppendError::NameTooLong { len_bytes, max_len_bytes: MAX_NAME_LEN_BYTES };
        return Err(Failure::Refused(error));
    };
    let found = tables.find(txn, &key)?;
    let expected = found.map_or(0, |value| value.next);
    if run.first_offset != expected {
        return Err(Failure::Refused(AppendError::NotContiguous {
            subject: run.subject.to_vec(),
            address: run.address.to_vec(),
            expected,
            got: run.first_offset,
        }));
    }
    let mut value = match found {
        Some(value) => value,
        None => PartitionValue { id: take_id(txn, tables)?, first: 0, next: 0 },
    };
    let end = value.next.checked_add(run.count).ok_or(lmdb::Error::Corrupted)?;
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
            return Err(Failure::Refused(AppendError::RecordTooLong {
                offset: value.next + index as u64,
                len_bytes,
                max_len_bytes: MAX_CONTENT_LEN_BYTES,
            }));
        }
        let key = record_key(value.id, value.next);
        let page = txn.reserve(tables.records, &key, plan.len, WriteFlags::NO_OVERWRITE)?;
        chunk::write(page, &key, plan, records.by_ref());
        value.next += plan.count as u64;
    }
    txn.put(tables.partitions, &key, &value.encode(), WriteFlags::empty())?;
    Ok(())
}

/// A number for a new partition.
fn take_id(txn: &mut RwTransaction<'_>, tables: &Tables) -> lmdb::Result<PartitionId> {
    let stored = txn.get(tables.meta, &NEXT_ID_KEY)?;
    let id = u64::from_be_bytes(stored.try_into().map_err(|_| lmdb::Error::Corrupted)?);
    let next = id.checked_add(1).ok_or(lmdb::Error::Corrupted)?;
    txn.put(tables.meta, &NEXT_ID_KEY, &next.to_be_bytes(), WriteFlags::empty())?;
    Ok(PartitionId(id))
}
