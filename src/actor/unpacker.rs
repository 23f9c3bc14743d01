//! Checks the batches that a node receives, and unpacks them.
//!
//! A few octets can unpack to 64 MiB. So a node refuses a batch whose unpacked length exceeds the longest frame that
//! the node accepts. Each turn of the node's loop unpacks only a limited length.

use super::Run;
use super::role::Role;
use crate::net::Frame;
use crate::wire::batch::{AnyBatch, BatchError, CompressedBatch, PushError};

/// When the batches that were unpacked in one turn have this length, the node turns to its other sockets.
const MAX_TURN_LEN_BYTES: usize = 16 << 20;

/// A buffer with more capacity is freed after its use.
const MAX_KEPT_BUFFER_LEN: usize = 1 << 20;

/// Why a batch or a record is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unusable {
    /// It is not a batch that this version can read.
    #[error(transparent)]
    Invalid(#[from] BatchError),
    /// It is a single record that is too long for a batch, and has attributes that need one.
    #[error(transparent)]
    NoBatch(#[from] PushError),
    /// It is longer than the node accepts.
    #[error("the unpacked batch has {len_bytes} bytes, more than {key} allows ({limit_bytes})")]
    TooLong {
        /// Its length after unpacking.
        len_bytes: usize,
        /// The key that limits the length of records.
        key: &'static str,
        /// The limit for batches that follows from the key.
        limit_bytes: usize,
    },
}

/// Checks and unpacks batches.
pub(super) struct Unpacker {
    max_len_bytes: usize,
    key: &'static str,
    /// The length of the batches that were unpacked in this turn.
    turn_len_bytes: usize,
    /// Memory for batches that are unpacked only to check them.
    buffer: Vec<u8>,
}

impl Unpacker {
    /// `max_len_bytes` is the length of the longest frame that the node accepts, `key` the key of this limit.
    pub(super) fn new(max_len_bytes: usize, key: Option<&'static str>) -> Unpacker {
        Unpacker { max_len_bytes, key: key.unwrap_or_default(), turn_len_bytes: 0, buffer: Vec::new() }
    }

    /// Begins another turn.
    pub(super) fn begin_turn(&mut self) {
        self.turn_len_bytes = 0;
    }

    /// Whether enough was unpacked in this turn.
    pub(super) fn must_pause(&self) -> bool {
        self.turn_len_bytes >= MAX_TURN_LEN_BYTES
    }

    /// The records of a received batch, as the role keeps them.
    pub(super) fn run_of<R: Role>(&mut self, octets: Frame) -> Result<Run, Unusable> {
        match AnyBatch::check(octets)? {
            AnyBatch::Plain(batch) => Ok(Run::from(batch)),
            AnyBatch::Compressed(batch) => self.unpack(batch, R::KEEPS_COMPRESSED),
        }
    }

    /// With `is_kept`, the result is the compressed batch, after a check that it can be unpacked.
    fn unpack(&mut self, batch: CompressedBatch<Frame>, is_kept: bool) -> Result<Run, Unusable> {
        let len_bytes = batch.unpacked_len_bytes();
        if len_bytes > self.max_len_bytes {
            return Err(Unusable::TooLong { len_bytes, key: self.key, limit_bytes: self.max_len_bytes });
        }
        self.turn_len_bytes += len_bytes;
        if !is_kept {
            return Ok(batch.unpack(Vec::new())?.into());
        }
        // Nothing that a store acknowledges may be unreadable: consumers would wait for it for ever.
        let checked = batch.check_area(&mut self.buffer);
        if self.buffer.capacity() > MAX_KEPT_BUFFER_LEN {
            self.buffer = Vec::new();
        }
        checked?;
        Ok(batch.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::Payload;
    use crate::wire::batch::{BatchBuilder, Compression, Compressor};

    /// A compressed batch of one record, of 1 MiB with its header and table.
    fn compressed() -> CompressedBatch<Frame> {
        let mut builder = BatchBuilder::new(Vec::new());
        builder.push(&[b'a'; (1 << 20) - 28]).unwrap();
        let batch = builder.finish(Vec::new()).unwrap();
        Compressor::new(Compression::Zstd).compress(&batch).unwrap().map(|octets| Frame::copy(&octets))
    }

    #[test]
    fn a_consumer_gets_unpacked_records_and_a_store_compressed_ones() {
        let mut unpacker = Unpacker::new(1 << 20, None);
        let compressed_len = compressed().as_octets().len();
        let len_bytes = |run: Run| run.len_bytes();
        assert_eq!(unpacker.unpack(compressed(), true).map(len_bytes), Ok(compressed_len));
        assert_eq!(unpacker.unpack(compressed(), false).map(len_bytes), Ok((1 << 20) - 24));
    }

    #[test]
    fn a_turn_unpacks_a_limited_length() {
        let mut unpacker = Unpacker::new((1 << 20) - 1, Some("consumer/max_record_bytes"));
        let error = unpacker.unpack(compressed(), false).map(drop).unwrap_err();
        let why =
            "the unpacked batch has 1048576 bytes, more than consumer/max_record_bytes allows (1048575)";
        assert_eq!(error.to_string(), why);
        assert!(!unpacker.must_pause());
        unpacker.max_len_bytes = 1 << 20;
        for _ in 0..15 {
            unpacker.unpack(compressed(), true).unwrap();
        }
        assert!(!unpacker.must_pause());
        unpacker.unpack(compressed(), false).unwrap();
        assert!(unpacker.must_pause());
        unpacker.begin_turn();
        assert!(!unpacker.must_pause());
    }
}
