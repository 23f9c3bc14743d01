//! The limits of an ingest.

/// The limits of an ingest.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Open partitions. A new partition evicts another one, or is ignored, see `table`.
    pub partitions: usize,
    /// Open partitions that are charged to one peer. A partition whose peer is not known is charged to no peer.
    pub partitions_per_peer: usize,
    /// Stored positions of evicted partitions.
    pub evicted_positions: usize,
    /// Partitions that are remembered as older than the subscription, of those that only stores have mentioned.
    pub old_partitions: usize,
    /// Memory of the early records of all partitions.
    pub early_len_bytes: usize,
    /// Bytes that all FETCHes in flight request.
    pub in_flight_len_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            partitions: 200_000,
            partitions_per_peer: 100_000,
            evicted_positions: 1_000_000,
            old_partitions: 1_000_000,
            early_len_bytes: 64 << 20,
            in_flight_len_bytes: 64 << 20,
        }
    }
}
