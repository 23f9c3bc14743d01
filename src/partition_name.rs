//! The name of a partition: its topic and its producer.

use std::sync::Arc;

/// The name of a partition. Both parts are any bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PartitionName<'a> {
    /// The topic.
    pub topic: &'a [u8],
    /// The address of the producer that writes the partition.
    pub producer: &'a [u8],
}

impl PartitionName<'_> {
    /// Returns an owned copy of the name.
    pub fn to_buf(self) -> PartitionNameBuf {
        PartitionNameBuf { topic: self.topic.into(), producer: self.producer.into() }
    }
}

/// An owned [`PartitionName`].
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PartitionNameBuf {
    /// See [`PartitionName::topic`].
    pub topic: Box<[u8]>,
    /// See [`PartitionName::producer`].
    pub producer: Box<[u8]>,
}

impl PartitionNameBuf {
    /// Returns the borrowed name.
    pub fn as_name(&self) -> PartitionName<'_> {
        PartitionName { topic: &self.topic, producer: &self.producer }
    }
}

/// A [`PartitionName`] that several owners and threads share. A NUL follows each part, for C.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SharedPartitionName {
    /// The topic, a NUL, the producer, a NUL.
    bytes: Arc<[u8]>,
    topic_len: usize,
}

impl SharedPartitionName {
    /// Returns a copy of the name.
    pub fn new(name: PartitionName) -> SharedPartitionName {
        let bytes = [name.topic, b"\0", name.producer, b"\0"].concat();
        SharedPartitionName { bytes: bytes.into(), topic_len: name.topic.len() }
    }

    /// Returns the borrowed name.
    pub fn as_name(&self) -> PartitionName<'_> {
        let (topic, producer) = (self.topic_for_c(), self.producer_for_c());
        PartitionName { topic: &topic[..topic.len() - 1], producer: &producer[..producer.len() - 1] }
    }

    /// The topic and a NUL.
    pub fn topic_for_c(&self) -> &[u8] {
        &self.bytes[..=self.topic_len]
    }

    /// The producer's address and a NUL.
    pub fn producer_for_c(&self) -> &[u8] {
        &self.bytes[self.topic_len + 1..]
    }

    /// True when both names share the same memory. This check is much faster than a comparison of the names.
    pub fn is_same(&self, other: &SharedPartitionName) -> bool {
        Arc::ptr_eq(&self.bytes, &other.bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shared_name_has_the_same_parts() {
        for (topic, producer) in [("weather", "0123"), ("", ""), ("a\0b", "\0")] {
            let name = PartitionName { topic: topic.as_bytes(), producer: producer.as_bytes() };
            let shared = SharedPartitionName::new(name);
            assert_eq!(shared.as_name(), name);
            assert_eq!(shared.topic_for_c(), [topic.as_bytes(), b"\0"].concat());
            assert_eq!(shared.producer_for_c(), [producer.as_bytes(), b"\0"].concat());
            assert!(shared.is_same(&shared.clone()) && !shared.is_same(&SharedPartitionName::new(name)));
        }
    }
}
