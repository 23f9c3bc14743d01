//! Checks the pages that LMDB is about to read, for one read or append. See [`Pages`](super::super::lmdb::Pages).

use std::ops::{Range, RangeInclusive};

use lmdb::{RoTransaction, Transaction};

use super::super::batch::Run;
use super::super::error::{AppendError, Corruption, ReadError};
use super::super::keys::{PartitionId, PartitionKey, PartitionName, PartitionValue, record_key};
use super::super::lmdb::{Lmdb, PageError, RECORDS};
use super::super::partitions;
use super::environment::Environment;

/// The number of records after the current read whose pages are checked in advance.
const LOOK_AHEAD_COUNT: u64 = 16_384;

/// The record that an error names when a checked page is damaged.
pub(super) struct Place<'a> {
    pub(super) name: PartitionName<'a>,
    pub(super) id: PartitionId,
    pub(super) offset: u64,
}

impl Environment {
    /// How many of the records `from .. from + max_count` of a partition can be read without reading a damaged page.
    /// Returns an error when not even the first record can be read.
    pub(super) fn sound_count(
        &self,
        snapshot: &Lmdb<'_, RoTransaction<'_>>,
        name: PartitionName<'_>,
        from: u64,
        max_count: u64,
    ) -> Result<u64, ReadError> {
        let Some(key) = PartitionKey::new(name) else { return Ok(max_count) };
        let value = partitions::find_value(snapshot, &key).map_err(|error| self.read_error(error))?;
        let Some(PartitionValue { id, first, next }) = value else { return Ok(max_count) };
        let wanted = from.max(first)..from.saturating_add(max_count).min(next);
        if wanted.is_empty() {
            return Ok(max_count);
        }
        let place = Place { name, id, offset: wanted.start };
        Ok(self.sound_end(snapshot, wanted, next, &place)? - from)
    }

    /// Checks the pages of the records `wanted`. Returns their end if these pages are sound. If a page is damaged,
    /// returns an earlier offset: the pages of the records before that offset are sound. Returns an error when the
    /// pages of the first record are not sound. Also checks pages of later records, so that sequential reads do not
    /// check pages each time.
    fn sound_end(
        &self,
        snapshot: &Lmdb<'_, RoTransaction<'_>>,
        wanted: Range<u64>,
        next: u64,
        place: &Place<'_>,
    ) -> Result<u64, ReadError> {
        let verified = &self.pages.verified;
        if verified.has_records(place.id.0, &wanted) {
            return Ok(wanted.end);
        }
        let Range { start, end } = wanted;
        let check = |end: u64| {
            let keys = record_key(place.id, start)..=record_key(place.id, end - 1);
            self.check_pages(snapshot, keys, place)?;
            verified.add_records(place.id.0, start..end);
            Ok(())
        };
        let ahead = end.saturating_add(LOOK_AHEAD_COUNT).min(next);
        if check(ahead).is_ok() {
            return Ok(end);
        }
        // A page is damaged: find records before the damaged page.
        let mut end = end;
        loop {
            match check(end) {
                Ok(()) => return Ok(end),
                Err(error) if end - start == 1 => return Err(error),
                Err(_) => end = start + (end - start) / 2,
            }
        }
    }

    /// Checks the pages on the path to the end of a partition, before the first append to it.
    pub(super) fn check_end(&self, run: Run<'_>) -> Result<(), AppendError> {
        let Run { name, .. } = run;
        let Some(key) = PartitionKey::new(name) else { return Ok(()) };
        let checked = self.pages.verified.check_end_once(key.as_ref(), || {
            self.reading(|snapshot| {
                let value = partitions::find_value(snapshot, &key).map_err(|error| self.read_error(error))?;
                let Some(PartitionValue { id, next, .. }) = value else {
                    // The records of a new partition come after the records of all other partitions.
                    let place = Place { name, id: PartitionId(u64::MAX), offset: 0 };
                    return self.check_pages(snapshot, [0xff; 16]..=[0xff; 16], &place);
                };
                let place = Place { name, id, offset: next };
                self.check_pages(snapshot, record_key(id, next)..=record_key(id, next), &place)?;
                match partitions::has_records_beyond(snapshot, id, next) {
                    Ok(true) => {
                        let reason = "there are records after the end of the partition";
                        Err(ReadError::Corrupt(self.corruption(&place, reason)))
                    }
                    Ok(false) => Ok(()),
                    Err(error) => Err(self.read_error(error)),
                }
            })
        });
        checked.map_err(|error| match error {
            ReadError::Corrupt(corruption) => AppendError::Corrupt(corruption),
            ReadError::Io { path, source } => AppendError::Io { path, source },
            ReadError::Database { path, source } => AppendError::Database { path, source },
        })
    }

    /// Checks the pages of records with keys in a range. An error names `place`.
    fn check_pages(
        &self,
        snapshot: &Lmdb<'_, RoTransaction<'_>>,
        keys: RangeInclusive<[u8; 16]>,
        place: &Place<'_>,
    ) -> Result<(), ReadError> {
        let Lmdb { txn, tables } = snapshot;
        let tree = txn.get(tables.main, &RECORDS).map_err(|error| self.read_error(error))?;
        self.pages.check_records(tree, &keys).map_err(|error| match error {
            PageError::Io(source) => ReadError::Io { path: self.data.clone(), source },
            PageError::Damaged { reason, .. } => ReadError::Corrupt(self.corruption(place, reason)),
        })
    }

    pub(super) fn corruption(&self, place: &Place<'_>, reason: &'static str) -> Box<Corruption> {
        Box::new(Corruption {
            path: self.data.clone(),
            topic: place.name.topic.to_vec(),
            producer: place.name.producer.to_vec(),
            id: place.id,
            offset: place.offset,
            reason,
        })
    }
}
