//! A value of the table `records`: a batch of records, or a chunk of format 1.
//!
//! doc/storage-format.md describes both. The store writes batches only. After a batch follows a check, which shows that
//! the batch is stored under the key for which it was written.

use super::chunk::Chunk;
use super::keys::RECORD_KEY_LEN;
use crate::wire::batch::{AnyBatch, BatchError, FULL_LEN_BYTES};

/// The length of the check after a batch.
pub(super) const CHECK_LEN: usize = 4;

/// The position of the octet that distinguishes chunks from batches: 0 in a chunk, the batch format in a batch.
const FORMAT_AT: usize = 4;

// With the check, and the 16 octets that LMDB puts in front, a batch of FULL_LEN_BYTES fits into 16 pages.
const _: () = assert!(16 + FULL_LEN_BYTES + CHECK_LEN <= 16 * 4096);

/// Writes the check at the end of a value, after the batch.
pub(super) fn write_check(value: &mut [u8], key: &[u8; RECORD_KEY_LEN]) {
    let (batch, check) = value.split_last_chunk_mut::<CHECK_LEN>().expect("the value has room for the check");
    *check = checksum(key, batch).to_be_bytes();
}

/// The checksum of the key and of the batch's own checksum (its first 4 octets). This function reads no other octet of
/// the batch.
fn checksum(key: &[u8; RECORD_KEY_LEN], batch: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(key);
    hasher.update(&batch[..4]);
    hasher.finalize()
}

/// A value that was checked.
#[derive(Clone, Copy, Debug)]
pub(super) enum Value<'a> {
    Batch(AnyBatch<&'a [u8]>),
    Chunk(Chunk<'a>),
}

impl<'a> Value<'a> {
    /// Checks a whole stored value, except the compressed area of a batch. The error is the reason why the value is
    /// invalid.
    pub(super) fn read(octets: &'a [u8], key: &[u8; RECORD_KEY_LEN]) -> Result<Value<'a>, &'static str> {
        if octets.get(FORMAT_AT) == Some(&0) {
            return Chunk::read(octets, key).map(Value::Chunk);
        }
        let (octets, check) = octets.split_last_chunk::<CHECK_LEN>().ok_or("the batch is too short")?;
        let batch = AnyBatch::check(octets).map_err(|error| match error {
            BatchError::Checksum => "the checksum does not match",
            BatchError::Format(_) => "the batch has an unknown format",
            _ => "the batch is malformed",
        })?;
        if checksum(key, octets) != u32::from_be_bytes(*check) {
            return Err("the checksum of the key does not match");
        }
        Ok(Value::Batch(batch))
    }

    /// The number of records, at least 1.
    pub(super) fn count(&self) -> usize {
        match self {
            Value::Batch(batch) => batch.count(),
            Value::Chunk(chunk) => chunk.count(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::chunk;
    use super::*;
    use crate::wire::batch::{Attributes, BatchBuilder};

    const KEY: [u8; RECORD_KEY_LEN] = *b"0123456789abcdef";

    fn value(batch: &[u8]) -> Vec<u8> {
        let mut value = [batch, &[0xaa; CHECK_LEN]].concat();
        write_check(&mut value, &KEY);
        value
    }

    fn batch() -> Vec<u8> {
        let mut builder = BatchBuilder::new(Vec::new());
        builder.push_with(&Attributes { key: Some(b"key"), ..Attributes::default() }, b"one").expect("fits");
        builder.push(b"two").expect("fits");
        builder.finish(Vec::new()).expect("there are records").into_octets()
    }

    #[test]
    fn the_layout_is_the_documented_one() {
        let mut builder = BatchBuilder::new(Vec::new());
        [&b"ab"[..], b"", b"c"].iter().for_each(|content| builder.push(content).expect("fits"));
        let batch = builder.finish(Vec::new()).expect("there are records").into_octets();
        let value = value(&batch);
        assert_eq!(value[..batch.len()], batch);
        // Calculated with zlib's crc32 over the key and the first four octets of the batch.
        assert_eq!(value[batch.len()..], 0xc98c9c0d_u32.to_be_bytes());
    }

    #[test]
    fn each_changed_octet_and_another_key_are_detected() {
        let value = value(&batch());
        let Ok(Value::Batch(read)) = Value::read(&value, &KEY) else { panic!("it is valid") };
        assert_eq!(read.as_octets(), batch());
        for at in 0..value.len() {
            for bit in [0x01, 0x10] {
                let mut changed = value.clone();
                changed[at] ^= bit;
                assert!(Value::read(&changed, &KEY).is_err(), "octet {at}");
            }
            assert!(Value::read(&value[..at], &KEY).is_err(), "cut at {at}");
        }
        assert!(Value::read(&value, b"0123456789abcdeF").is_err());
    }

    #[test]
    fn a_chunk_is_recognized() {
        let contents = [&b"ab"[..], b"", b"c"];
        let octets = chunk::encode(&KEY, &contents);
        let value = Value::read(&octets, &KEY).expect("it is valid");
        assert_eq!(value.count(), 3);
        let Value::Chunk(chunk) = value else { panic!("it is a chunk") };
        assert!((0..3).all(|index| chunk.record(index) == Some(contents[index])));
        assert_eq!(chunk.record(3), None);
    }
}
