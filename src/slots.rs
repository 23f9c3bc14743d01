//! Slots: the parts into which a group of consumers divides the records of its topics.
//!
//! Each record belongs to one slot. Each slot has one member of the group, which handles its records. All members must
//! agree on the slot of a record, and positions of slots are on the disks of stores. So the functions of this module
//! must not change. doc/protocol.md describes them.

use crate::committed::{MAX_CONSUMER_NAME_LEN, is_consumer_name};
use crate::partition_name::PartitionName;

/// The number of slots of a group.
pub const SLOT_COUNT: u8 = 64;

/// Separates the name of a group from the number of a slot.
const SEPARATOR: u8 = 0x1F;
/// The greatest length of the name of a group: stores keep the positions of a slot under the name of the group, the
/// separator, a letter, and the slot's number in two digits.
pub const MAX_GROUP_NAME_LEN: usize = MAX_CONSUMER_NAME_LEN - 4;

/// A set of slots.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Slots(pub u64);

impl Slots {
    /// No slot.
    pub const NONE: Slots = Slots(0);
    /// All slots.
    pub const ALL: Slots = Slots(u64::MAX);

    /// The set of one slot.
    pub fn of(slot: u8) -> Slots {
        Slots(1 << slot)
    }

    /// True when there is no slot.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether a slot belongs to the set.
    pub fn contains(self, slot: u8) -> bool {
        self.0 & 1 << slot != 0
    }

    /// The slots of both sets.
    pub fn and(self, other: Slots) -> Slots {
        Slots(self.0 | other.0)
    }

    /// The slots of this set that `other` does not have.
    pub fn without(self, other: Slots) -> Slots {
        Slots(self.0 & !other.0)
    }

    /// The number of slots.
    pub fn count(self) -> u32 {
        self.0.count_ones()
    }

    /// The slots in ascending order.
    pub fn iter(self) -> impl Iterator<Item = u8> {
        (0..SLOT_COUNT).filter(move |&slot| self.contains(slot))
    }
}

/// What decides to which slot a record belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GroupBy {
    /// Its offset. Consecutive records of a partition belong to different slots.
    Offset,
    /// Its key. For a record without a key, its offset.
    Key,
    /// Its partition.
    Partition,
}

impl GroupBy {
    /// The slot of the record 0 without a key of a partition.
    pub fn first_slot(self, partition: PartitionName) -> u8 {
        slot(hash(&[partition.topic, b"\0", partition.producer]))
    }

    /// The slot of a record. `first_slot` is that of its partition, see [`GroupBy::first_slot`]. `key` is empty if it has
    /// none.
    pub fn slot_of(self, first_slot: u8, offset: u64, key: &[u8]) -> u8 {
        match self {
            GroupBy::Partition => first_slot,
            GroupBy::Key if !key.is_empty() => slot(hash(&[key])),
            GroupBy::Key | GroupBy::Offset => slot(u64::from(first_slot).wrapping_add(offset)),
        }
    }

    fn letter(self) -> u8 {
        match self {
            GroupBy::Offset => b'o',
            GroupBy::Key => b'k',
            GroupBy::Partition => b'p',
        }
    }

    /// The name under which members of a group announce themselves, and stores keep the positions that are common to all
    /// slots.
    pub fn group_name(self, group: &[u8]) -> Vec<u8> {
        [group, &[SEPARATOR, self.letter()]].concat()
    }
}

/// The name under which stores keep the positions of a slot. `group_name`: see [`GroupBy::group_name`].
pub fn slot_name(group_name: &[u8], slot: u8) -> Vec<u8> {
    [group_name, format!("{slot:02}").as_bytes()].concat()
}

/// The slot whose [`slot_name`] this is.
pub fn slot_of_name(group_name: &[u8], name: &[u8]) -> Option<u8> {
    let digits = name.strip_prefix(group_name).filter(|digits| digits.len() == 2)?;
    std::str::from_utf8(digits).ok()?.parse().ok().filter(|&slot| slot < SLOT_COUNT)
}

/// True for a valid name of a group.
pub fn is_group_name(name: &[u8]) -> bool {
    is_consumer_name(name) && name.len() <= MAX_GROUP_NAME_LEN && !is_of_group(name)
}

/// Whether stores keep positions of a group under this name, and not those of a single consumer.
pub fn is_of_group(name: &[u8]) -> bool {
    name.contains(&SEPARATOR)
}

fn slot(number: u64) -> u8 {
    (number % u64::from(SLOT_COUNT)) as u8
}

/// FNV-1a, and the last step of MurmurHash3, which makes all bits depend on all octets.
pub fn hash(parts: &[&[u8]]) -> u64 {
    let mut hash = 0xCBF2_9CE4_8422_2325_u64;
    for octet in parts.iter().copied().flatten() {
        hash = (hash ^ u64::from(*octet)).wrapping_mul(0x0000_0100_0000_01B3);
    }
    hash = (hash ^ hash >> 33).wrapping_mul(0xFF51_AFD7_ED55_8CCD);
    hash = (hash ^ hash >> 33).wrapping_mul(0xC4CE_B9FE_1A85_EC53);
    hash ^ hash >> 33
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Positions on disk depend on these values.
    #[test]
    fn the_slot_of_a_record_never_changes() {
        let partition = PartitionName { topic: b"jobs", producer: b"0123456789ABCDEF0123456789ABCDEF" };
        let first = GroupBy::Offset.first_slot(partition);
        assert_eq!(first, 24);
        assert_eq!(GroupBy::Offset.slot_of(first, 100, b"key"), (first + 36) % 64);
        assert_eq!(GroupBy::Key.slot_of(first, 100, b"key"), 48);
        assert_eq!(GroupBy::Key.slot_of(first, 100, b""), (first + 36) % 64);
        assert_eq!(GroupBy::Partition.slot_of(first, 100, b"key"), first);
    }

    #[test]
    fn the_name_of_a_slot_tells_the_slot() {
        let group_name = GroupBy::Key.group_name(b"billing");
        assert_eq!(group_name, b"billing\x1Fk");
        for slot in 0..SLOT_COUNT {
            assert_eq!(slot_of_name(&group_name, &slot_name(&group_name, slot)), Some(slot));
        }
        for other in [&b"billing"[..], b"billing\x1Fk", b"billing\x1Fk64", b"billing\x1Fo00", b"other\x1Fk00"]
        {
            assert_eq!(slot_of_name(&group_name, other), None, "{}", other.escape_ascii());
        }
        assert!(is_of_group(&group_name) && !is_of_group(b"billing"));
    }
}
