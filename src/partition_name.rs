//! The name of a partition: its topic and its producer.

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
