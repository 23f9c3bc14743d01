//! A committed position of a consumer in a partition.

/// The greatest length of a consumer's name. With it, a topic and the address of a producer fit into a key of LMDB.
pub const MAX_CONSUMER_NAME_LEN: usize = 128;

/// The latest valid timestamp, in milliseconds. After each valid timestamp, a consumer finds a later one.
const MAX_TIMESTAMP_MS: u64 = 1 << 62;
/// The greatest valid position: the offset after the last possible record.
const MAX_NEXT: u64 = u64::MAX - 1;

/// A committed position. Of two commits for the same name and partition, the greater one is valid: the one with the
/// later timestamp or, if both have the same timestamp, the one with the greater `next`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Committed {
    /// When the consumer made the commit, in milliseconds since the Unix epoch.
    pub timestamp_ms: u64,
    /// The offset of the record to read next.
    pub next: u64,
}

impl Committed {
    /// False for a commit that no consumer makes.
    pub fn is_possible(self) -> bool {
        self.timestamp_ms <= MAX_TIMESTAMP_MS && self.next <= MAX_NEXT
    }
}

/// True for a valid name of a consumer.
pub fn is_consumer_name(name: &[u8]) -> bool {
    (1..=MAX_CONSUMER_NAME_LEN).contains(&name.len()) && !name.contains(&0)
}
