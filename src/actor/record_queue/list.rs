//! A list of records in order.

use super::Delivered;
use crate::actor::{Result, Run};
use crate::partition_name::{PartitionName, SharedPartitionName};
use crate::protocol::Payload;
use std::collections::VecDeque;

struct Entry {
    /// The partition; `None` if the previous entry has the same partition. A name in each entry would be slow, because
    /// two threads would count the references to the same name.
    name: Option<SharedPartitionName>,
    /// The memory that the entry occupies until its last record is removed.
    len_bytes: usize,
    /// The offset of the first record, if it is known.
    offset: Option<u64>,
    run: Run,
}

fn len_bytes(run: &Run) -> usize {
    run.len_bytes() + size_of::<Entry>()
}

/// Records in order, with their partitions.
#[derive(Default)]
pub(in crate::actor) struct RecordList {
    entries: VecDeque<Entry>,
    /// The number of records.
    count: usize,
    /// The partition of the record that was removed last.
    removed: Option<SharedPartitionName>,
    /// The partition of the record that was added last.
    added: Option<SharedPartitionName>,
    /// The memory that the entries occupy.
    len_bytes: usize,
}

impl RecordList {
    pub(in crate::actor) fn len(&self) -> usize {
        self.count
    }

    pub(in crate::actor) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Whether a run can be added without exceeding the limits. A list without records has room for any run. The
    /// records of the last run may exceed `max_count`.
    pub(super) fn has_room(&self, run: &Run, max_count: usize, max_len_bytes: usize) -> bool {
        self.is_empty() || self.len() < max_count && self.len_bytes + len_bytes(run) <= max_len_bytes
    }

    /// The partition of the record that was added last.
    pub(super) fn last_name(&self) -> Option<&SharedPartitionName> {
        self.added.as_ref()
    }

    /// Adds a run at the end. `offset` is the offset of the run's first record, if it is known.
    pub(in crate::actor) fn push(&mut self, name: &SharedPartitionName, offset: Option<u64>, run: Run) {
        let is_same = self.added.as_ref().is_some_and(|added| added.is_same(name));
        if !is_same {
            self.added = Some(name.clone());
        }
        let len_bytes = len_bytes(&run);
        self.len_bytes += len_bytes;
        self.count += run.record_count() as usize;
        self.entries.push_back(Entry { name: (!is_same).then(|| name.clone()), len_bytes, offset, run });
    }

    /// The first run.
    pub(super) fn front(&self) -> Option<&Run> {
        self.entries.front().map(|entry| &entry.run)
    }

    /// Sends records until `send` returns false, because a socket is full. Returns true when all records were sent.
    /// `send` is called with a record's partition and offset, and with a run whose first record is to be sent.
    pub(in crate::actor) fn send_with(
        &mut self,
        mut send: impl FnMut(PartitionName, Option<u64>, &mut Run) -> Result<bool>,
    ) -> Result<bool> {
        while let Some(entry) = self.entries.front_mut() {
            let Some(name) = entry.name.as_ref().or(self.removed.as_ref()) else { break };
            if !send(name.as_name(), entry.offset, &mut entry.run)? {
                return Ok(false);
            }
            self.pop();
        }
        Ok(true)
    }

    /// Removes the first record. Afterwards, `removed` is the record's partition.
    fn pop(&mut self) -> Option<Delivered> {
        let entry = self.entries.front_mut()?;
        if let Some(name) = entry.name.take() {
            self.removed = Some(name);
        }
        self.count -= 1;
        let offset = entry.offset;
        let Some(run) = entry.run.pop_first() else { return self.pop_entry() };
        entry.offset = offset.map(|offset| offset + 1);
        Some(Delivered { offset, run })
    }

    fn pop_entry(&mut self) -> Option<Delivered> {
        let entry = self.entries.pop_front()?;
        self.len_bytes -= entry.len_bytes;
        if entry.name.is_some() {
            self.removed = entry.name;
        }
        Some(Delivered { offset: entry.offset, run: entry.run })
    }

    /// Removes the first record, and sets `name` to its partition.
    pub(super) fn pop_into(&mut self, name: &mut Option<SharedPartitionName>) -> Option<Delivered> {
        let record = self.pop()?;
        if let Some(removed) = &self.removed
            && !name.as_ref().is_some_and(|name| name.is_same(removed))
        {
            *name = Some(removed.clone());
        }
        Some(record)
    }

    /// Removes the first run. Afterwards, `removed` is the run's partition.
    fn pop_run(&mut self) -> Option<Delivered> {
        let delivered = self.pop_entry()?;
        self.count -= delivered.run.record_count() as usize;
        Some(delivered)
    }

    /// Converts the first run, and moves it to the end of another list.
    pub(super) fn move_front_to(&mut self, other: &mut RecordList, convert: impl FnOnce(Run) -> Run) {
        if let Some(Delivered { offset, run }) = self.pop_run()
            && let Some(name) = &self.removed
        {
            other.push(name, offset, convert(run));
        }
    }

    /// Keeps only the records of the partitions for which `keeps` returns true.
    pub(in crate::actor) fn retain(&mut self, keeps: impl Fn(PartitionName) -> bool) {
        self.split(|name| !keeps(name));
    }

    /// Keeps only the records for which `keeps` returns true. It gets the partition, the offset and the key of each record
    /// whose offset is known. A record of unknown offset is kept.
    pub(super) fn retain_records(&mut self, mut keeps: impl FnMut(PartitionName, u64, &[u8]) -> bool) {
        let mut all = std::mem::take(self);
        while let Some(Delivered { offset, run }) = all.pop_run() {
            match (&all.removed, offset) {
                (Some(name), Some(offset)) => run.retain(
                    |number, key| keeps(name.as_name(), offset + number, key),
                    |number, run| self.push(name, Some(offset + number), run),
                ),
                (Some(name), None) => self.push(name, None, run),
                (None, _) => {}
            }
        }
    }

    /// Removes the records of the partitions for which `goes` returns true, and returns them.
    pub(in crate::actor) fn split(&mut self, goes: impl Fn(PartitionName) -> bool) -> RecordList {
        let (mut all, mut gone) = (std::mem::take(self), RecordList::default());
        while let Some(Delivered { offset, run }) = all.pop_run() {
            if let Some(name) = &all.removed {
                let list = if goes(name.as_name()) { &mut gone } else { &mut *self };
                list.push(name, offset, run);
            }
        }
        gone
    }

    /// Moves all records of another list to the end of this one.
    pub(in crate::actor) fn append(&mut self, mut other: RecordList) {
        while !other.is_empty() {
            other.move_front_to(self, |run| run);
        }
    }

    /// The number of records of the partitions for which `counts` returns true.
    pub(in crate::actor) fn count_of(&self, counts: impl Fn(PartitionName) -> bool) -> u64 {
        let mut name = self.removed.as_ref();
        let mut count = 0;
        for entry in &self.entries {
            name = entry.name.as_ref().or(name);
            if name.is_some_and(|name| counts(name.as_name())) {
                count += entry.run.record_count();
            }
        }
        count
    }
}
