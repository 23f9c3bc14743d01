//! What limits one ingest.

/// The limits of one ingest.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Open partitions. A new partition evicts another one, or is ignored: see `table`.
    pub partitions: usize,
    /// Open partitions that one peer has brought. The peer that sent a message is not always known.
    pub partitions_per_peer: usize,
    /// Evicted partitions whose position is remembered.
    pub evicted_positions: usize,
    /// What the early records of all partitions may occupy.
    pub early_len_bytes: usize,
    /// What all FETCHes in flight may bring.
    pub in_flight_len_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            partitions: 200_000,
            partitions_per_peer: 100_000,
            evicted_positions: 1_000_000,
            early_len_bytes: 64 << 20,
            in_flight_len_bytes: 64 << 20,
        }
    }
}
