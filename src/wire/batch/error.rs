//! Errors of checking and building batches.

use super::{Compression, FULL_LEN_BYTES, MAX_CONTENT_LEN_BYTES};

/// Why octets are not a batch that this version can read.
///
/// An error must not allocate, because a hostile peer can cause many of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    /// The octets end within the header.
    #[error("the batch ends within its header")]
    TooShort,
    /// The batch, its area after unpacking, or a record is longer than the format allows.
    #[error("the batch is longer than the format allows")]
    TooLong,
    /// The format is not the one of this version.
    #[error("batch format {0} is not supported")]
    Format(u8),
    /// The flags octet contains unknown flags, or an unknown compression.
    #[error("the batch has unknown flags (0x{0:02X})")]
    Flags(u8),
    /// The reserved octets are not 0.
    #[error("the reserved octets in the header of the batch are not 0")]
    Reserved,
    /// The checksum does not match the octets.
    #[error("the checksum of the batch does not match")]
    Checksum,
    /// There is a timestamp, but not the flag for it.
    #[error("the batch has a timestamp without the flag for it")]
    Timestamp,
    /// The count of records is 0.
    #[error("the batch contains no record")]
    NoRecords,
    /// The area does not have the length in the header. Or the area is compressed, and compression did not make it
    /// shorter.
    #[error("the header of the batch claims {claimed} octets after it, but there are {actual}")]
    Length {
        /// The length in the header.
        claimed: usize,
        /// The number of octets after the header.
        actual: usize,
    },
    /// The table of ends would not fit into the area.
    #[error("the batch is too short for {0} records")]
    Count(u32),
    /// The batch is compressed. It must be unpacked before its records can be read.
    #[error("the batch is compressed with {0}")]
    Compressed(Compression),
    /// The octets after the header are not compressed with this method, or have another length after unpacking.
    #[error("the batch cannot be unpacked with {0} to the length in its header")]
    Unpack(Compression),
    /// A record ends before it begins, or after the beginning of the table.
    #[error("record {index} of the batch has an impossible end")]
    End {
        /// The index of the record, from 0.
        index: usize,
    },
    /// There are octets between the last record and the table.
    #[error("the last record of the batch does not end where the table of ends begins")]
    LastEnd,
    /// A record has an invalid attribute block.
    #[error("record {index} of the batch has {fault}")]
    Attributes {
        /// The index of the record, from 0.
        index: usize,
        /// The reason.
        fault: AttributesFault,
    },
    /// The headers of a record are not a list of names and values.
    #[error("record {index} of the batch has malformed headers")]
    Headers {
        /// The index of the record, from 0.
        index: usize,
    },
}

/// Why the attribute block of a record is invalid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AttributesFault {
    /// The block ends after the record.
    #[error("attributes that exceed the record")]
    Truncated,
    /// The first octet contains unknown bits.
    #[error("unknown attributes (0x{0:02X})")]
    Unknown(u8),
    /// The record claims headers, but their length is 0.
    #[error("an empty list of headers")]
    NoHeaders,
}

/// Why a record cannot be added to a batch. The batch is unchanged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PushError {
    /// With the record, the batch would be longer than [`FULL_LEN_BYTES`]. The record fits into the next batch.
    #[error("with the record, the batch would be longer than {FULL_LEN_BYTES} octets")]
    Full,
    /// The record has attributes, but the records of this batch have none, because the first one had none. The record
    /// fits into the next batch.
    #[error("the records of the batch have no attributes")]
    NoAttributes,
    /// The content is longer than [`MAX_CONTENT_LEN_BYTES`].
    #[error("the content of the record is longer than {MAX_CONTENT_LEN_BYTES} octets")]
    ContentTooLong,
    /// The key is longer than 65,535 octets.
    #[error("the key of the record is longer than 65535 octets")]
    KeyTooLong,
    /// The name of a header is longer than 255 octets.
    #[error("the name of the header is longer than 255 octets")]
    HeaderNameTooLong,
    /// The headers of the record together, including their lengths, are longer than 65,535 octets.
    #[error("the headers of the record are longer than 65535 octets")]
    HeadersTooLong,
}
