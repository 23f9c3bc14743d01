//! The header of a batch.

use super::{BatchError, Compression, END_LEN, MAX_LEN_BYTES, MAX_SHARED_LEN_BYTES, MAX_UNPACKED_LEN_BYTES};

/// The length of the header.
pub(super) const HEADER_LEN: usize = 24;

/// The format that this version reads and writes.
const FORMAT: u8 = 1;

const COMPRESSION: u8 = 0x03;
const LZ4: u8 = 0x01;
const ZSTD: u8 = 0x02;
const TIMESTAMP: u8 = 0x04;
const ATTRIBUTES: u8 = 0x08;

/// The fields of a header, except format and checksum.
#[derive(Clone, Copy, Debug)]
pub(super) struct Header {
    pub(super) compression: Option<Compression>,
    pub(super) timestamp_ms: Option<i64>,
    pub(super) has_attributes: bool,
    pub(super) count: u32,
    /// The length of the area. In a compressed batch, the length of the area after unpacking.
    pub(super) area_len: u32,
}

impl Header {
    /// Reads the header of a batch. Checks the header and the checksum, but not the records in the area.
    pub(super) fn read(octets: &[u8]) -> Result<Self, BatchError> {
        let (fields, area) = octets.split_first_chunk::<HEADER_LEN>().ok_or(BatchError::TooShort)?;
        let [k0, k1, k2, k3, format, flags, r0, r1, numbers @ ..] = *fields;
        let [n0, n1, n2, n3, l0, l1, l2, l3, timestamp @ ..] = numbers;
        if format != FORMAT {
            return Err(BatchError::Format(format));
        }
        let compression = match flags & COMPRESSION {
            0 => None,
            LZ4 => Some(Compression::Lz4),
            ZSTD => Some(Compression::Zstd),
            _ => return Err(BatchError::Flags(flags)),
        };
        if flags & !(COMPRESSION | TIMESTAMP | ATTRIBUTES) != 0 {
            return Err(BatchError::Flags(flags));
        }
        if [r0, r1] != [0, 0] {
            return Err(BatchError::Reserved);
        }
        // This bounds the time for the checksum.
        if octets.len() > MAX_LEN_BYTES {
            return Err(BatchError::TooLong);
        }
        if checksum(octets) != u32::from_be_bytes([k0, k1, k2, k3]) {
            return Err(BatchError::Checksum);
        }
        let timestamp = i64::from_be_bytes(timestamp);
        let has_timestamp = flags & TIMESTAMP != 0;
        if !has_timestamp && timestamp != 0 {
            return Err(BatchError::Timestamp);
        }
        let header = Self {
            compression,
            timestamp_ms: has_timestamp.then_some(timestamp),
            has_attributes: flags & ATTRIBUTES != 0,
            count: u32::from_be_bytes([n0, n1, n2, n3]),
            area_len: u32::from_be_bytes([l0, l1, l2, l3]),
        };
        header.check_lengths(area.len())?;
        Ok(header)
    }

    /// Checks count and area length, given the number of octets after the header.
    fn check_lengths(&self, actual: usize) -> Result<(), BatchError> {
        let claimed = self.area_len as usize;
        if self.count == 0 {
            return Err(BatchError::NoRecords);
        }
        let max = match (self.count, self.compression) {
            (1, None) => MAX_LEN_BYTES - HEADER_LEN,
            (1, Some(_)) => MAX_UNPACKED_LEN_BYTES,
            _ => MAX_SHARED_LEN_BYTES - HEADER_LEN,
        };
        if claimed > max {
            return Err(BatchError::TooLong);
        }
        let is_possible = match self.compression {
            None => claimed == actual,
            Some(_) => claimed > actual,
        };
        if !is_possible {
            return Err(BatchError::Length { claimed, actual });
        }
        if self.count as usize > claimed / END_LEN {
            return Err(BatchError::Count(self.count));
        }
        Ok(())
    }

    /// The batch of this header and a compressed area.
    pub(super) fn with_area(&self, area: &[u8]) -> Vec<u8> {
        let mut octets = Vec::with_capacity(HEADER_LEN + area.len());
        octets.resize(HEADER_LEN, 0);
        octets.extend_from_slice(area);
        self.write(&mut octets);
        octets
    }

    /// Writes the header with the checksum, after the area is finished. `octets` is the whole batch. Its first
    /// [`HEADER_LEN`] octets are replaced.
    pub(super) fn write(&self, octets: &mut [u8]) {
        let mut flags = match self.compression {
            None => 0,
            Some(Compression::Lz4) => LZ4,
            Some(Compression::Zstd) => ZSTD,
        };
        if self.timestamp_ms.is_some() {
            flags |= TIMESTAMP;
        }
        if self.has_attributes {
            flags |= ATTRIBUTES;
        }
        octets[4..8].copy_from_slice(&[FORMAT, flags, 0, 0]);
        octets[8..12].copy_from_slice(&self.count.to_be_bytes());
        octets[12..16].copy_from_slice(&self.area_len.to_be_bytes());
        octets[16..HEADER_LEN].copy_from_slice(&self.timestamp_ms.unwrap_or(0).to_be_bytes());
        let checksum = checksum(octets);
        octets[..4].copy_from_slice(&checksum.to_be_bytes());
    }
}

/// The checksum of a batch, which covers everything after itself.
fn checksum(octets: &[u8]) -> u32 {
    crc32fast::hash(octets.get(4..).unwrap_or_default())
}
