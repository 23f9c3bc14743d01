//! What the reader of a member of a group notes about the slots of the records.
//!
//! The member gives up a slot only when the application has no record of the slot that it has not processed. So the
//! reader notes each record before it returns it, under the lock of [`Progress`]. Then it checks whether the actor has
//! revoked the slot meanwhile. The actor works in the reverse order: it revokes the slot, and then looks for notes.

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

    /// The application gets a record, unless `is_revoked` returns true for its slot. Returns whether it gets it.
    pub(super) fn read(
        &mut self,
        progress: &Progress,
        (name, offset, key): (&SharedPartitionName, u64, &[u8]),
        is_revoked: impl FnOnce(u8) -> bool,
    ) -> bool {
        let slot = self.slot_of(name.as_name(), offset, key);
        let of = (name.clone(), slot);
        let before = progress.receive(of.clone(), Some(offset + 1));
        if is_revoked(slot) {
            progress.receive(of, before);
            return false;
        }
        self.last = Some(of);
        true
    }
}

impl RecordList {
    /// Removes the records of these slots.
    pub(in crate::actor) fn remove_slots(&mut self, slots: Slots, group_by: GroupBy) {
        self.retain_records(|name, offset, key| {
            !slots.contains(group_by.slot_of(group_by.first_slot(name), offset, key))
        });
    }
}
