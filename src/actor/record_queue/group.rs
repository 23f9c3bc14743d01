//! What the reader of a member of a group notes about the slots of the records.
//!
//! The member gives up a slot only when the application has no record of the slot that it has not processed. So in a
//! group, the reader takes one record at a time from the queue, and notes its slot under the lock of the queue. The actor
//! revokes a slot under the same lock.

use super::RecordList;
use super::progress::Progress;
use crate::partition_name::{PartitionName, SharedPartitionName};
use crate::slots::{GroupBy, Slots};

/// A slot in a partition.
pub(in crate::actor) type SlotPartition = (SharedPartitionName, u8);

/// The slots of the records that the application reads.
pub(super) struct GroupReader {
    group_by: GroupBy,
    /// Whether the actor commits processed records by itself.
    is_auto: bool,
    /// The slot of the record that was read last, in its partition.
    last: Option<SlotPartition>,
}

impl GroupReader {
    pub(super) fn new(group_by: GroupBy, is_auto: bool) -> GroupReader {
        GroupReader { group_by, is_auto, last: None }
    }

    pub(super) fn slot_of(&self, name: PartitionName, offset: u64, key: &[u8]) -> u8 {
        self.group_by.slot_of(self.group_by.first_slot(name), offset, key)
    }

    /// The application asks for the next record, so it has processed the last one.
    pub(super) fn ask(&mut self, progress: &Progress) {
        if let Some(last) = self.last.take().filter(|_| self.is_auto) {
            progress.process(last);
        }
    }

    /// The application gets a record.
    pub(super) fn read(
        &mut self,
        progress: &Progress,
        (name, offset, key): (&SharedPartitionName, u64, &[u8]),
    ) {
        let of = (name.clone(), self.slot_of(name.as_name(), offset, key));
        progress.receive(of.clone(), offset + 1);
        self.last = Some(of);
    }
}

impl RecordList {
    /// Removes the records of these slots. Keeps the first record of all if `keeps_first`; returns its slot if that is one
    /// of these slots.
    pub(in crate::actor) fn remove_slots(
        &mut self,
        slots: Slots,
        group_by: GroupBy,
        keeps_first: bool,
    ) -> Option<u8> {
        let (mut is_first, mut kept) = (keeps_first, None);
        self.retain_records(|name, offset, key| {
            let slot = group_by.slot_of(group_by.first_slot(name), offset, key);
            let is_revoked = slots.contains(slot);
            if std::mem::take(&mut is_first) && is_revoked {
                kept = Some(slot);
                return true;
            }
            !is_revoked
        });
        kept
    }
}
