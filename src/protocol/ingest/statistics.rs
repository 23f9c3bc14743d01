//! The counters of an ingest.

/// Counters, for a node's last debug line.
#[derive(Clone, Copy, Debug, Default)]
pub struct Statistics {
    /// Partitions opened.
    pub opened: u64,
    /// Records delivered.
    pub handed_on: u64,
    /// Early records that were buffered.
    pub early: u64,
    /// Records that had arrived before.
    pub duplicates: u64,
    /// Early records for which there was no room. They are fetched later.
    pub no_room: u64,
    /// FETCHes sent.
    pub fetches: u64,
    /// Messages that would have opened a partition for which there was no room.
    pub refused: u64,
    /// The part of `refused` for which the peer had too many partitions.
    pub refused_of_peer: u64,
    /// Partitions evicted.
    pub closed: u64,
    /// Early records that were dropped to make room for others.
    pub early_dropped: u64,
    /// Open partitions.
    pub partitions: usize,
    /// Peers that the open partitions are charged to.
    pub peers: usize,
    /// The largest number of open partitions that are charged to one peer.
    pub most_of_peer: usize,
    /// Memory of the early records.
    pub early_len_bytes: usize,
    /// The bytes that the FETCHes in flight request.
    pub in_flight_len_bytes: u64,
    /// Partitions that counted as older than the subscription because no peer sent their first record.
    pub presumed_old: u64,
    /// Mentions of partitions that were ignored because too many old partitions are remembered.
    pub unprobed: u64,
}
