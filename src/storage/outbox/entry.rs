//! The entries of an outbox's files. doc/storage-format.md describes their format.

use std::borrow::Cow;

use super::Kept;
use super::number::{number_4, number_8};
use crate::storage::records::Records;
use crate::wire::batch::{AnyBatch, MAX_LEN_BYTES};

/// The length of an entry's header.
pub(super) const HEADER_LEN: usize = 44;

/// A batch.
const BATCH: u8 = 0;
/// One record without key, headers and timestamp.
const RECORD: u8 = 1;
/// One record with a timestamp.
const TIMED_RECORD: u8 = 2;

/// An entry to write.
pub(super) struct Entry<'a> {
    header: [u8; HEADER_LEN],
    content: Cow<'a, [u8]>,
}

impl<'a> Entry<'a> {
    /// `first` is the offset of the first record, and `append` that of the first record that is appended with it.
    pub(super) fn new(salt: u64, append: u64, first: u64, records: Records<'a>) -> Entry<'a> {
        let count = records.count() as u32;
        let (kind, timestamp_ms, content): (_, _, Cow<[u8]>) = match records {
            Records::One(content, None) => (RECORD, 0, content.into()),
            Records::One(content, Some(timestamp_ms)) => (TIMED_RECORD, timestamp_ms, content.into()),
            Records::Compressed(batch) => (BATCH, 0, batch.into_octets().into()),
            Records::Of(batch, range) if range.len() == batch.count() => {
                (BATCH, 0, batch.into_octets().into())
            }
            Records::Of(batch, range) => {
                let part = batch.copy(range).expect("a run has records");
                (BATCH, 0, part.into_octets().into())
            }
        };
        let mut header = [0; HEADER_LEN];
        header[4..8].copy_from_slice(&crc32fast::hash(&content).to_be_bytes());
        header[8..12].copy_from_slice(&(content.len() as u32).to_be_bytes());
        header[12..16].copy_from_slice(&count.to_be_bytes());
        header[16..24].copy_from_slice(&first.to_be_bytes());
        header[24..32].copy_from_slice(&append.to_be_bytes());
        header[32..40].copy_from_slice(&timestamp_ms.to_be_bytes());
        header[40] = kind;
        let checksum = checksum(salt, &header);
        header[..4].copy_from_slice(&checksum.to_be_bytes());
        Entry { header, content }
    }

    pub(super) fn slices(&self) -> [&[u8]; 2] {
        [&self.header, &self.content]
    }

    pub(super) fn len_bytes(&self) -> u64 {
        (HEADER_LEN + self.content.len()) as u64
    }
}

/// The checksum of a header. The salt is secret, so no record can contain the header of a valid entry.
fn checksum(salt: u64, header: &[u8; HEADER_LEN]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&salt.to_be_bytes());
    hasher.update(&header[4..]);
    hasher.finalize()
}

/// The header of an entry that was read.
pub(super) struct Header {
    content_checksum: u32,
    pub(super) content_len: usize,
    pub(super) count: u64,
    /// The offset of the first record.
    pub(super) first: u64,
    /// The offset of the first record that was appended with this entry.
    pub(super) append: u64,
    timestamp_ms: i64,
    kind: u8,
}

impl Header {
    /// `None` if the header is invalid.
    pub(super) fn check(salt: u64, octets: &[u8; HEADER_LEN]) -> Option<Header> {
        let header = Header {
            content_checksum: number_4(octets, 4),
            content_len: number_4(octets, 8) as usize,
            count: number_4(octets, 12).into(),
            first: number_8(octets, 16),
            append: number_8(octets, 24),
            timestamp_ms: number_8(octets, 32) as i64,
            kind: octets[40],
        };
        let is_valid = header.content_len <= MAX_LEN_BYTES && number_4(octets, 0) == checksum(salt, octets);
        is_valid.then_some(header)
    }

    /// The records of the entry. `None` if the content is invalid.
    pub(super) fn read(&self, content: Vec<u8>) -> Option<Kept> {
        if crc32fast::hash(&content) != self.content_checksum {
            return None;
        }
        match self.kind {
            RECORD if self.count == 1 => Some(Kept::One(content, None)),
            TIMED_RECORD if self.count == 1 => Some(Kept::One(content, Some(self.timestamp_ms))),
            BATCH => AnyBatch::check(content)
                .ok()
                .filter(|batch| batch.count() as u64 == self.count)
                .map(Kept::Batch),
            _ => None,
        }
    }
}

/// Whether the octets contain the header of an entry that was appended when the records before `end` and at least one
/// more were in the file.
pub(super) fn has_later_append(salt: u64, octets: &[u8], end: u64) -> bool {
    octets.windows(HEADER_LEN).filter_map(|octets| octets.first_chunk()).any(|octets| {
        // First the check that takes less time.
        number_8(octets, 24) > end && Header::check(salt, octets).is_some()
    })
}
