//! Keys and values of the tables `partitions` and `records`. All numbers are big-endian, so that LMDB sorts keys in the
//! order of the numbers.

/// The greatest length of a topic, and of a producer's address. Both names and the octet for the topic's length have at
/// most 511 octets together, the greatest length of a key in LMDB.
pub const MAX_NAME_LEN_BYTES: usize = 255;

pub use crate::partition_name::PartitionName;

/// The number of a partition in its log. A log never uses a number again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PartitionId(pub(crate) u64);

impl PartitionId {
    /// The number.
    pub fn get(self) -> u64 {
        self.0
    }
}

/// The length of a key of the table `records`.
pub(super) const RECORD_KEY_LEN: usize = 16;

/// The length of a value of the table `partitions`.
pub(super) const PARTITION_VALUE_LEN: usize = 24;

/// A key of the table `partitions`: the topic's length (one octet), the topic, the producer's address.
///
/// The key has a length and not a separator, because names may contain any octet: with a separator, two partitions
/// could get the same key.
#[derive(Clone, Copy)]
pub(super) struct PartitionKey {
    octets: [u8; 1 + 2 * MAX_NAME_LEN_BYTES],
    len: usize,
}

impl PartitionKey {
    /// The key of one partition; `None` when a part of its name is longer than [`MAX_NAME_LEN_BYTES`].
    pub(super) fn new(name: PartitionName<'_>) -> Option<PartitionKey> {
        let PartitionName { topic, producer } = name;
        let mut key = PartitionKey::of_topic(topic)?;
        if producer.len() > MAX_NAME_LEN_BYTES {
            return None;
        }
        key.octets[key.len..key.len + producer.len()].copy_from_slice(producer);
        key.len += producer.len();
        Some(key)
    }

    /// The common prefix of the keys of a topic's partitions. No other key has this prefix.
    pub(super) fn of_topic(topic: &[u8]) -> Option<PartitionKey> {
        let topic_len = u8::try_from(topic.len()).ok()?;
        let mut octets = [0; 1 + 2 * MAX_NAME_LEN_BYTES];
        octets[0] = topic_len;
        octets[1..1 + topic.len()].copy_from_slice(topic);
        Some(PartitionKey { octets, len: 1 + topic.len() })
    }

    /// The name in a stored key; `None` when the key is malformed.
    pub(super) fn name(key: &[u8]) -> Option<PartitionName<'_>> {
        let (&topic_len, parts) = key.split_first()?;
        let (topic, producer) = parts.split_at_checked(usize::from(topic_len))?;
        Some(PartitionName { topic, producer })
    }
}

impl AsRef<[u8]> for PartitionKey {
    fn as_ref(&self) -> &[u8] {
        &self.octets[..self.len]
    }
}

/// A value of the table `partitions`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PartitionValue {
    pub(super) id: PartitionId,
    /// The offset of the oldest record.
    pub(super) first: u64,
    /// The offset after the newest record.
    pub(super) next: u64,
}

impl PartitionValue {
    pub(super) fn encode(self) -> [u8; PARTITION_VALUE_LEN] {
        let mut octets = [0; PARTITION_VALUE_LEN];
        octets[..8].copy_from_slice(&self.id.0.to_be_bytes());
        octets[8..16].copy_from_slice(&self.first.to_be_bytes());
        octets[16..].copy_from_slice(&self.next.to_be_bytes());
        octets
    }

    /// `None` when the length is wrong, or `first` is greater than `next`.
    pub(super) fn decode(octets: &[u8]) -> Option<PartitionValue> {
        let octets: &[u8; PARTITION_VALUE_LEN] = octets.try_into().ok()?;
        let value = PartitionValue {
            id: PartitionId(number(octets, 0)),
            first: number(octets, 8),
            next: number(octets, 16),
        };
        (value.first <= value.next).then_some(value)
    }
}

/// A key of the table `records`: the partition and the offset of the value's first record.
pub(super) fn record_key(id: PartitionId, first: u64) -> [u8; RECORD_KEY_LEN] {
    let mut octets = [0; RECORD_KEY_LEN];
    octets[..8].copy_from_slice(&id.0.to_be_bytes());
    octets[8..].copy_from_slice(&first.to_be_bytes());
    octets
}

/// Splits a key of the table `records`; `None` when its length is wrong.
pub(super) fn split_record_key(key: &[u8]) -> Option<(PartitionId, u64)> {
    let octets: &[u8; RECORD_KEY_LEN] = key.try_into().ok()?;
    Some((PartitionId(number(octets, 0)), number(octets, 8)))
}

/// The big-endian number at position `at`. The caller ensures that the array is long enough.
pub(super) fn number<const N: usize>(octets: &[u8; N], at: usize) -> u64 {
    let mut number = [0; 8];
    number.copy_from_slice(&octets[at..at + 8]);
    u64::from_be_bytes(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partition_key_contains_the_name() {
        let long = [0xff; MAX_NAME_LEN_BYTES];
        for (topic, producer) in
            [(&b"hello"[..], &b"A"[..]), (b"", b""), (b"a\0b", b"c"), (&long, &long), (b"", &long)]
        {
            let name = PartitionName { topic, producer };
            let key = PartitionKey::new(name).expect("fits");
            assert!(key.as_ref().len() <= 511);
            assert_eq!(PartitionKey::name(key.as_ref()), Some(name));
        }
    }

    #[test]
    fn different_names_make_different_keys() {
        let key = |topic: &[u8], producer: &[u8]| {
            PartitionKey::new(PartitionName { topic, producer }).expect("fits").as_ref().to_vec()
        };
        assert_ne!(key(b"a\0b", b"c"), key(b"a", b"b\0c"));
        assert_ne!(key(b"ab", b"c"), key(b"a", b"bc"));
    }

    #[test]
    fn names_that_are_too_long_make_no_key() {
        let long = [1; MAX_NAME_LEN_BYTES + 1];
        assert!(PartitionKey::new(PartitionName { topic: &long, producer: b"" }).is_none());
        assert!(PartitionKey::new(PartitionName { topic: b"", producer: &long }).is_none());
    }

    #[test]
    fn malformed_keys_and_values_are_refused() {
        assert_eq!(PartitionKey::name(b""), None);
        assert_eq!(PartitionKey::name(b"\x03ab"), None);
        assert_eq!(split_record_key(&[0; 15]), None);
        let value = PartitionValue { id: PartitionId(7), first: 2, next: 9 };
        assert_eq!(PartitionValue::decode(&value.encode()), Some(value));
        assert_eq!(PartitionValue::decode(&value.encode()[1..]), None);
        assert_eq!(PartitionValue::decode(&PartitionValue { first: 10, ..value }.encode()), None);
    }

    #[test]
    fn keys_sort_like_numbers() {
        assert!(record_key(PartitionId(1), u64::MAX) < record_key(PartitionId(2), 0));
        assert!(record_key(PartitionId(1), 255) < record_key(PartitionId(1), 256));
    }
}
