//! Finds and lists partitions, and keeps the name of the log.

use super::engine::{Snapshot, Table, Update};
use super::keys::{PartitionId, PartitionKey, PartitionName, PartitionValue, record_key};

/// The key of the log's own name in the table `meta`. The key is missing until the log gets a name.
const IDENTITY_KEY: &[u8] = b"identity";

/// A partition in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partition {
    /// The partition's number in this log.
    pub id: PartitionId,
    /// The topic.
    pub topic: Vec<u8>,
    /// The address of the producer that writes the partition.
    pub producer: Vec<u8>,
    /// The offset of the oldest record.
    pub first: u64,
    /// The offset after the newest record; equal to `first` when there are no records.
    pub next: u64,
}

impl Partition {
    pub(super) fn new(name: PartitionName<'_>, value: PartitionValue) -> Partition {
        let PartitionValue { id, first, next } = value;
        Partition { id, topic: name.topic.to_vec(), producer: name.producer.to_vec(), first, next }
    }

    /// The partition's name.
    pub fn name(&self) -> PartitionName<'_> {
        PartitionName { topic: &self.topic, producer: &self.producer }
    }
}

/// Called with the name of a partition and the offset of its last record.
pub type EachHead<'a> = dyn FnMut(PartitionName<'_>, u64) + 'a;

type EachValue<'a> = dyn FnMut(PartitionName<'_>, PartitionValue) + 'a;

/// The entry of a partition in the table of partitions.
pub(super) fn find_value<S: Snapshot>(
    txn: &S,
    key: &PartitionKey,
) -> Result<Option<PartitionValue>, S::Error> {
    match txn.get(Table::Partitions, key.as_ref())? {
        Some(value) => PartitionValue::decode(value).map(Some).ok_or_else(S::damaged),
        None => Ok(None),
    }
}

/// A partition; `None` when the log does not contain it.
///
/// # Errors
/// The errors of the engine.
pub fn find<S: Snapshot>(txn: &S, name: PartitionName<'_>) -> Result<Option<Partition>, S::Error> {
    let Some(key) = PartitionKey::new(name) else { return Ok(None) };
    Ok(find_value(txn, &key)?.map(|value| Partition::new(name, value)))
}

/// The partitions of one topic. With `None`, the partitions of all topics.
///
/// # Errors
/// The errors of the engine.
pub fn list<S: Snapshot>(txn: &S, topic: Option<&[u8]>) -> Result<Vec<Partition>, S::Error> {
    let mut partitions = Vec::new();
    scan(txn, topic, None, u64::MAX, &mut |name, value| partitions.push(Partition::new(name, value)))?;
    Ok(partitions)
}

/// Visits the partitions of one topic. If `topic` is `None`, visits the partitions of all topics. Calls `each` with the
/// name and the last offset of each partition that has records. A call visits at most `count` partitions. It continues
/// after the position `after`, at which an earlier call stopped. The earlier call may have used an earlier snapshot.
/// Returns the position at which this call stopped, or `None` when there are no further partitions.
///
/// # Errors
/// The errors of the engine.
pub fn heads<S: Snapshot>(
    txn: &S,
    topic: Option<&[u8]>,
    after: Option<&[u8]>,
    count: u64,
    each: &mut EachHead,
) -> Result<Option<Box<[u8]>>, S::Error> {
    scan(txn, topic, after, count, &mut |name, PartitionValue { first, next, .. }| {
        if next > first {
            each(name, next - 1);
        }
    })
}

/// Visits the table of partitions in the order of its keys. A position is a key of this table.
fn scan<S: Snapshot>(
    txn: &S,
    topic: Option<&[u8]>,
    after: Option<&[u8]>,
    count: u64,
    each: &mut EachValue,
) -> Result<Option<Box<[u8]>>, S::Error> {
    let of_topic = match topic.map(PartitionKey::of_topic) {
        Some(None) => return Ok(None),
        Some(of_topic) => of_topic,
        None => None,
    };
    let prefix = of_topic.as_ref().map_or(&[][..], PartitionKey::as_ref);
    let (mut place, mut left) = (after, count);
    for entry in txn.entries_from(Table::Partitions, after.unwrap_or(prefix))? {
        let (key, value) = entry?;
        if !key.starts_with(prefix) {
            break;
        }
        if Some(key) == after {
            continue;
        }
        if left == 0 {
            return Ok(place.map(Box::from));
        }
        let name = PartitionKey::name(key).ok_or_else(S::damaged)?;
        each(name, PartitionValue::decode(value).ok_or_else(S::damaged)?);
        (place, left) = (Some(key), left - 1);
    }
    Ok(None)
}

/// Whether a partition has records from `next` on. In a sound database, it has none, because `next` is the end of the
/// partition.
///
/// # Errors
/// The errors of the engine.
pub fn has_records_beyond<S: Snapshot>(txn: &S, id: PartitionId, next: u64) -> Result<bool, S::Error> {
    let after = txn.entries_from(Table::Records, &record_key(id, next))?.next().transpose()?;
    Ok(after.is_some_and(|(key, _)| key.starts_with(&id.0.to_be_bytes())))
}

/// The log's own name. If the log has no name, it gets the name `fresh`, which is written into the transaction.
///
/// # Errors
/// The errors of the engine.
pub fn identity<U: Update>(txn: &mut U, fresh: &[u8]) -> Result<Vec<u8>, U::Error> {
    if let Some(name) = txn.get(Table::Meta, IDENTITY_KEY)? {
        return Ok(name.to_vec());
    }
    txn.put(Table::Meta, IDENTITY_KEY, fresh)?;
    Ok(fresh.to_vec())
}

/// Changes the log's name: writes the new name into the transaction.
///
/// # Errors
/// The errors of the engine.
pub fn rename<U: Update>(txn: &mut U, name: &[u8]) -> Result<Vec<u8>, U::Error> {
    txn.put(Table::Meta, IDENTITY_KEY, name).map(|()| name.to_vec())
}
