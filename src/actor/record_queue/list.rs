//! A list of records in order.

use crate::actor::Result;
use crate::net::Frame;
use crate::partition_name::{PartitionName, SharedPartitionName};
use std::collections::VecDeque;

struct Record {
    /// The record's partition. `None`: the same one as that of the previous record. Counting references to a name for
    /// each record would be slow, because two threads do so.
    name: Option<SharedPartitionName>,
    /// The length of the content, and the overhead.
    len_bytes: usize,
    content: Frame,
}

fn len_bytes(content: &Frame) -> usize {
    content.as_ref().len() + size_of::<Record>()
}

/// Records in order, with their partitions.
#[derive(Default)]
pub(in crate::actor) struct RecordList {
    records: VecDeque<Record>,
    /// The partition of the record that was removed last.
    removed: Option<SharedPartitionName>,
    /// The partition of the record that was added last.
    added: Option<SharedPartitionName>,
    /// The sum over the records.
    len_bytes: usize,
}

impl RecordList {
    pub(in crate::actor) fn len(&self) -> usize {
        self.records.len()
    }

    pub(in crate::actor) fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Whether one more record is within the limits. A list without records has room for any record.
    pub(super) fn has_room(&self, content: &Frame, max_count: usize, max_len_bytes: usize) -> bool {
        self.is_empty() || self.len() < max_count && self.len_bytes + len_bytes(content) <= max_len_bytes
    }

    /// The partition of the record that was added last.
    pub(super) fn last_name(&self) -> Option<&SharedPartitionName> {
        self.added.as_ref()
    }

    /// Adds a record at the end.
    pub(in crate::actor) fn push(&mut self, name: &SharedPartitionName, content: Frame) {
        let is_same = self.added.as_ref().is_some_and(|added| added.is_same(name));
        if !is_same {
            self.added = Some(name.clone());
        }
        let len_bytes = len_bytes(&content);
        self.len_bytes += len_bytes;
        self.records.push_back(Record { name: (!is_same).then(|| name.clone()), len_bytes, content });
    }

    /// The content of the first record.
    pub(super) fn front(&self) -> Option<&Frame> {
        self.records.front().map(|record| &record.content)
    }

    /// Sends records until `send` returns false, because a socket is full. True when all were sent.
    pub(in crate::actor) fn send_with(
        &mut self,
        mut send: impl FnMut(PartitionName, &mut Frame) -> Result<bool>,
    ) -> Result<bool> {
        while let Some(Record { name, content, .. }) = self.records.front_mut() {
            if let Some(name) = name.as_ref().or(self.removed.as_ref())
                && !send(name.as_name(), content)?
            {
                return Ok(false);
            }
            self.pop();
        }
        Ok(true)
    }

    /// Removes the first record. Its partition is `removed` afterwards.
    fn pop(&mut self) -> Option<Frame> {
        let record = self.records.pop_front()?;
        self.len_bytes -= record.len_bytes;
        if record.name.is_some() {
            self.removed = record.name;
        }
        Some(record.content)
    }

    /// Removes the first record, and sets `name` to its partition.
    pub(super) fn pop_into(&mut self, name: &mut Option<SharedPartitionName>) -> Option<Frame> {
        let content = self.pop()?;
        if let Some(removed) = &self.removed
            && !name.as_ref().is_some_and(|name| name.is_same(removed))
        {
            *name = Some(removed.clone());
        }
        Some(content)
    }

    /// Moves the first record to the end of another list.
    pub(super) fn move_front_to(&mut self, other: &mut RecordList, convert: impl FnOnce(Frame) -> Frame) {
        if let Some(content) = self.pop()
            && let Some(name) = &self.removed
        {
            other.push(name, convert(content));
        }
    }

    /// Keeps only the records of the partitions for which `keeps` returns true.
    pub(in crate::actor) fn retain(&mut self, keeps: impl Fn(PartitionName) -> bool) {
        let mut all = std::mem::take(self);
        let mut name = None;
        while let Some(content) = all.pop_into(&mut name) {
            if let Some(name) = &name
                && keeps(name.as_name())
            {
                self.push(name, content);
            }
        }
    }
}
