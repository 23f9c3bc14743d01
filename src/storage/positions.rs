//! The committed positions of named consumers: the table `positions`. doc/storage-format.md describes its format.
//!
//! An entry is never removed. So the table has limits, and a commit that would exceed one of them is not stored.

use super::engine::{Snapshot, Table, Update};
use super::keys::{PartitionKey, PartitionName, number};
use crate::committed::{Committed, MAX_CONSUMER_NAME_LEN, is_consumer_name};

/// The most names of consumers in a log. A group of consumers has a name for each slot, and one for all of them.
pub const MAX_NAMES: u64 = 100_000;
/// The most partitions of one name.
pub const MAX_PARTITIONS_PER_NAME: u64 = 200_000;
/// The most positions of all names. A start reads the whole table, about 100 bytes for each position.
pub const MAX_POSITIONS: u64 = 1_000_000;

/// LMDB's limit for keys.
const MAX_KEY_LEN: usize = 511;
const COMMITTED_LEN: usize = 16;

/// The limits of the table.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// See [`MAX_NAMES`].
    pub names: u64,
    /// See [`MAX_PARTITIONS_PER_NAME`].
    pub partitions_per_name: u64,
    /// See [`MAX_POSITIONS`].
    pub positions: u64,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { names: MAX_NAMES, partitions_per_name: MAX_PARTITIONS_PER_NAME, positions: MAX_POSITIONS }
    }
}

/// A commit to write.
#[derive(Clone, Debug)]
pub(super) struct Commit {
    name: Box<[u8]>,
    /// The key in the table.
    key: Box<[u8]>,
    committed: Committed,
}

impl Commit {
    /// `None` when the names are too long for a key, or the consumer has no valid name.
    pub(super) fn new(name: &[u8], partition: PartitionName<'_>, committed: Committed) -> Option<Commit> {
        let key = key(name, partition)?.into();
        Some(Commit { name: name.into(), key, committed })
    }

    /// The memory that the commit needs.
    pub(super) fn len_bytes(&self) -> usize {
        size_of::<Commit>() + self.name.len() + self.key.len()
    }
}

/// Called with the name of a consumer, a partition and the position there.
pub type EachPosition<'a> = dyn FnMut(&[u8], PartitionName<'_>, Committed) + 'a;

/// The common beginning of the keys of a name. The entry with exactly this key counts the partitions of the name.
fn prefix(name: &[u8]) -> Vec<u8> {
    // The length of a name fits into one octet.
    [&[name.len() as u8], name].concat()
}

/// The key of the entry that counts the names and the positions. Consumers have no empty names.
const COUNTS_KEY: &[u8] = &[0];

fn key(name: &[u8], partition: PartitionName<'_>) -> Option<Vec<u8>> {
    let partition = PartitionKey::new(partition)?;
    let len = 1 + name.len() + partition.as_ref().len();
    (is_consumer_name(name) && len <= MAX_KEY_LEN).then(|| [&prefix(name), partition.as_ref()].concat())
}

fn decode(value: &[u8]) -> Option<Committed> {
    let octets: &[u8; COMMITTED_LEN] = value.try_into().ok()?;
    Some(Committed { timestamp_ms: number(octets, 0), next: number(octets, 8) })
}

fn encode(committed: Committed) -> [u8; COMMITTED_LEN] {
    let mut octets = [0; COMMITTED_LEN];
    octets[..8].copy_from_slice(&committed.timestamp_ms.to_be_bytes());
    octets[8..].copy_from_slice(&committed.next.to_be_bytes());
    octets
}

/// The position of a name in a partition; `None` when there is none.
///
/// # Errors
/// The errors of the engine.
pub fn find<S: Snapshot>(
    txn: &S,
    name: &[u8],
    partition: PartitionName<'_>,
) -> Result<Option<Committed>, S::Error> {
    let Some(key) = key(name, partition) else { return Ok(None) };
    match txn.get(Table::Positions, &key)? {
        Some(value) => decode(value).map(Some).ok_or_else(S::damaged),
        None => Ok(None),
    }
}

/// Visits the positions of one name, or of all names if `name` is `None`. A call visits at most `count` entries. It
/// continues after the key `after`, at which an earlier call stopped. Returns the key at which this call stopped, or
/// `None` when there are no further entries.
///
/// # Errors
/// The errors of the engine.
pub fn list<S: Snapshot>(
    txn: &S,
    name: Option<&[u8]>,
    after: Option<&[u8]>,
    count: u64,
    each: &mut EachPosition,
) -> Result<Option<Box<[u8]>>, S::Error> {
    let prefix = match name {
        Some(name) if name.len() > MAX_CONSUMER_NAME_LEN => return Ok(None),
        Some(name) => prefix(name),
        None => Vec::new(),
    };
    let (mut last, mut left) = (after, count);
    for entry in txn.entries_from(Table::Positions, after.unwrap_or(&prefix))? {
        let (key, value) = entry?;
        if !key.starts_with(&prefix) {
            break;
        }
        if Some(key) == after {
            continue;
        }
        if left == 0 {
            return Ok(last.map(Box::from));
        }
        (last, left) = (Some(key), left - 1);
        let (name, partition) = split(key).ok_or_else(S::damaged)?;
        // An entry without a partition counts others.
        if !partition.is_empty() {
            let partition = PartitionKey::name(partition).ok_or_else(S::damaged)?;
            each(name, partition, decode(value).ok_or_else(S::damaged)?);
        }
    }
    Ok(None)
}

fn split(key: &[u8]) -> Option<(&[u8], &[u8])> {
    let (&name_len, rest) = key.split_first()?;
    rest.split_at_checked(usize::from(name_len))
}

/// Writes a commit into a transaction, unless the log has a later one or the commit would exceed a limit.
pub(super) fn write<U: Update>(txn: &mut U, commit: &Commit, limits: Limits) -> Result<(), U::Error> {
    let Commit { name, key, committed } = commit;
    let found = txn.get(Table::Positions, key)?.map(|value| decode(value).ok_or_else(U::damaged));
    match found.transpose()? {
        Some(stored) if stored >= *committed => return Ok(()),
        Some(_) => {}
        None if !count(txn, name, limits)? => return Ok(()),
        None => {}
    }
    txn.put(Table::Positions, key, &encode(*committed))
}

/// Counts a new position of a name. Returns false when that would exceed a limit.
fn count<U: Update>(txn: &mut U, name: &[u8], limits: Limits) -> Result<bool, U::Error> {
    let prefix = prefix(name);
    let pair = |txn: &U, key: &[u8]| -> Result<[u64; 2], U::Error> {
        let value = txn.get(Table::Positions, key)?.map(|value| decode(value).ok_or_else(U::damaged));
        let pair = value.transpose()?;
        Ok(pair.map_or([0, 0], |pair| [pair.timestamp_ms, pair.next]))
    };
    let [names, positions] = pair(txn, COUNTS_KEY)?;
    let [_, of_name] = pair(txn, &prefix)?;
    let names = names + u64::from(of_name == 0);
    if names > limits.names || positions >= limits.positions || of_name >= limits.partitions_per_name {
        return Ok(false);
    }
    let numbers = |first, second| encode(Committed { timestamp_ms: first, next: second });
    txn.put(Table::Positions, COUNTS_KEY, &numbers(names, positions + 1))?;
    txn.put(Table::Positions, &prefix, &numbers(0, of_name + 1))?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::engine::Entry;
    use std::collections::BTreeMap;

    /// The table in memory.
    #[derive(Default)]
    struct Memory(BTreeMap<Vec<u8>, Vec<u8>>);

    impl Snapshot for Memory {
        type Error = ();
        type Entries<'a> = Box<dyn Iterator<Item = Result<Entry<'a>, ()>> + 'a>;

        fn damaged() {}

        fn get(&self, _: Table, key: &[u8]) -> Result<Option<&[u8]>, ()> {
            Ok(self.0.get(key).map(Vec::as_slice))
        }

        fn entries_from(&self, _: Table, key: &[u8]) -> Result<Self::Entries<'_>, ()> {
            Ok(Box::new(self.0.range(key.to_vec()..).map(|(key, value)| Ok((&key[..], &value[..])))))
        }

        fn entries_around(&self, table: Table, key: &[u8]) -> Result<Self::Entries<'_>, ()> {
            self.entries_from(table, key)
        }
    }

    impl Update for Memory {
        fn put(&mut self, _: Table, key: &[u8], value: &[u8]) -> Result<(), ()> {
            self.0.insert(key.into(), value.into());
            Ok(())
        }

        fn reserve(&mut self, _: Table, _: &[u8], _: usize) -> Result<&mut [u8], ()> {
            Err(())
        }
    }

    fn keeps(table: &mut Memory, name: &[u8], producer: &[u8]) -> bool {
        let partition = PartitionName { topic: b"t", producer };
        let next = table.0.len() as u64;
        let committed = Committed { timestamp_ms: 1, next };
        let limits = Limits { names: 3, partitions_per_name: 2, positions: 4 };
        write(table, &Commit::new(name, partition, committed).unwrap(), limits).unwrap();
        find(table, name, partition).unwrap() == Some(committed)
    }

    #[test]
    fn a_position_beyond_a_limit_is_not_kept() {
        let mut table = Memory::default();
        assert!(keeps(&mut table, b"one", b"A") && keeps(&mut table, b"one", b"B"));
        assert!(!keeps(&mut table, b"one", b"C"), "too many partitions of one name");
        assert!(keeps(&mut table, b"one", b"A"), "a known partition");
        assert!(keeps(&mut table, b"two", b"A") && keeps(&mut table, b"three", b"A"));
        assert!(!keeps(&mut table, b"two", b"B"), "too many positions");
        assert!(!keeps(&mut table, b"four", b"A"), "too many names");
        assert!(keeps(&mut table, b"two", b"A"), "a known partition");
    }
}
