//! Numbers in the files of an outbox. The most significant octet comes first.

/// The 8 octets at `at`, as a number.
pub(super) fn number_8(octets: &[u8], at: usize) -> u64 {
    let octets = octets.get(at..at + 8).and_then(|octets| octets.try_into().ok());
    octets.map_or(0, u64::from_be_bytes)
}

/// The 4 octets at `at`, as a number.
pub(super) fn number_4(octets: &[u8], at: usize) -> u32 {
    let octets = octets.get(at..at + 4).and_then(|octets| octets.try_into().ok());
    octets.map_or(0, u32::from_be_bytes)
}
