//! The table of partitions: finding one, listing them; and the name of the log itself.

use super::engine::{Snapshot, Table, Update};
use super::keys::{PartitionId, PartitionKey, PartitionName, PartitionValue, record_key};

/// The key in `meta` of the log's own name; missing until it gets one.
const IDENTITY_KEY: &[u8] = b"identity";

/// One partition as the log holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partition {
    /// Its number in this log.
    pub id: PartitionId,
    /// The topic.
    pub topic: Vec<u8>,
    /// The address of the producer that writes it.
    pub producer: Vec<u8>,
    /// The offset of the oldest record.
    pub first: u64,
    /// The offset after the newest record; the same as `first` when there is none.
    pub next: u64,
}

impl Partition {
    pub(super) fn new(name: PartitionName<'_>, value: PartitionValue) -> Partition {
        let PartitionValue { id, first, next } = value;
        Partition { id, topic: name.topic.to_vec(), producer: name.producer.to_vec(), first, next }
    }

    /// Its name.
    pub fn name(&self) -> PartitionName<'_> {
        PartitionName { topic: &self.topic, producer: &self.producer }
    }
}

/// Takes a partition's head: its name, and the offset of its last record.
pub type EachHead<'a> = dyn FnMut(PartitionName<'_>, u64) + 'a;

type EachValue<'a> = dyn FnMut(PartitionName<'_>, PartitionValue) + 'a;

/// What the table of partitions says of one.
pub(super) fn find_value<S: Snapshot>(
    txn: &S,
    key: &PartitionKey,
) -> Result<Option<PartitionValue>, S::Error> {
    match txn.get(Table::Partitions, key.as_ref())? {
        Some(value) => PartitionValue::decode(value).map(Some).ok_or_else(S::damaged),
        None => Ok(None),
    }
}

/// One partition, if the log has it.
///
/// # Errors
/// The engine's.
pub fn find<S: Snapshot>(txn: &S, name: PartitionName<'_>) -> Result<Option<Partition>, S::Error> {
    let Some(key) = PartitionKey::new(name) else { return Ok(None) };
    Ok(find_value(txn, &key)?.map(|value| Partition::new(name, value)))
}

/// The partitions of one topic, or, with `None`, of all.
///
/// # Errors
/// The engine's.
pub fn list<S: Snapshot>(txn: &S, topic: Option<&[u8]>) -> Result<Vec<Partition>, S::Error> {
    let mut partitions = Vec::new();
    scan(txn, topic, None, u64::MAX, &mut |name, value| partitions.push(Partition::new(name, value)))?;
    Ok(partitions)
}

/// Hands the partitions of one topic, or, with `None`, of all, that have records to `each`: name, and offset of the last
/// record. Looks at `count` of them at most, from after the place on where another call has stopped; that place may
/// be of an earlier snapshot. Returns where it stopped itself; `None` when there are no more.
///
/// # Errors
/// The engine's.
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

/// Goes over the table of partitions in the order of its keys, of which a place is one.
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

/// Whether there are records of a partition from `next` on, which should be its end.
///
/// # Errors
/// The engine's.
pub fn has_records_beyond<S: Snapshot>(txn: &S, id: PartitionId, next: u64) -> Result<bool, S::Error> {
    let after = txn.entries_from(Table::Records, &record_key(id, next))?.next().transpose()?;
    Ok(after.is_some_and(|(key, _)| key.starts_with(&id.0.to_be_bytes())))
}

/// The log's own name: `fresh`, written into the transaction, when it has none yet.
///
/// # Errors
/// The engine's.
pub fn identity<U: Update>(txn: &mut U, fresh: &[u8]) -> Result<Vec<u8>, U::Error> {
    if let Some(name) = txn.get(Table::Meta, IDENTITY_KEY)? {
        return Ok(name.to_vec());
    }
    txn.put(Table::Meta, IDENTITY_KEY, fresh)?;
    Ok(fresh.to_vec())
}

/// Gives the log another name, which is written into the transaction.
///
/// # Errors
/// The engine's.
pub fn rename<U: Update>(txn: &mut U, name: &[u8]) -> Result<Vec<u8>, U::Error> {
    txn.put(Table::Meta, IDENTITY_KEY, name).map(|()| name.to_vec())
}
