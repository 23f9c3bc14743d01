//! What has happened in one ingest.

/// Counters, for a node's last debug line.
#[derive(Clone, Copy, Debug, Default)]
pub struct Statistics {
    /// Partitions opened.
    pub opened: u64,
    /// Records delivered.
    pub handed_on: u64,
    /// Early records that were buffered.
    pub early: u64,
    /// Records that arrived before.
    pub duplicates: u64,
    /// Early records for which there was no room. They are fetched.
    pub no_room: u64,
    /// FETCHes sent.
    pub fetches: u64,
    /// Messages of partitions for which there was no room.
    pub refused: u64,
    /// Those of them whose peer had too many partitions.
    pub refused_of_peer: u64,
    /// Partitions evicted.
    pub closed: u64,
    /// Early records that were dropped to make room for others.
    pub early_dropped: u64,
    /// Open partitions.
    pub partitions: usize,
    /// Peers that have brought them.
    pub peers: usize,
    /// Open partitions of the peer that has brought most.
    pub most_of_peer: usize,
    /// What early records occupy.
    pub early_len_bytes: usize,
    /// What the FETCHes in flight may bring.
    pub in_flight_len_bytes: u64,
}
