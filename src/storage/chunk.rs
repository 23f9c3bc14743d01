//! A chunk: consecutive records of one partition, packed into one value of the table `records`, as in format 1. Stores
//! read chunks, and no longer write them.
//!
//! doc/storage-format.md describes the layout. Decoding never fails half-way: it returns a chunk in which every
//! record can be read, or an error with the reason.

use super::keys::RECORD_KEY_LEN;

/// The length of an entry in the table of ends.
const END_LEN: usize = 4;

/// The checksum includes the key, so that a chunk that is stored under the key of another chunk is detected.
fn checksum(key: &[u8; RECORD_KEY_LEN], after_checksum: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(key);
    hasher.update(after_checksum);
    hasher.finalize()
}

/// A chunk that was checked.
#[derive(Clone, Copy, Debug)]
pub(super) struct Chunk<'a> {
    ends: &'a [[u8; END_LEN]],
    contents: &'a [u8],
}

impl<'a> Chunk<'a> {
    /// Checks a whole stored chunk. The error is the reason why the chunk is invalid.
    pub(super) fn read(octets: &'a [u8], key: &[u8; RECORD_KEY_LEN]) -> Result<Chunk<'a>, &'static str> {
        let (crc, rest) = octets.split_first_chunk::<4>().ok_or("the chunk is too short")?;
        if checksum(key, rest) != u32::from_be_bytes(*crc) {
            return Err("the checksum does not match");
        }
        let (count, rest) = rest.split_first_chunk::<4>().ok_or("the chunk is too short")?;
        let count = u32::from_be_bytes(*count) as usize;
        if count == 0 {
            return Err("the chunk holds no record");
        }
        let table_len = count.checked_mul(END_LEN).ok_or("the table of ends is too long")?;
        let (table, contents) = rest.split_at_checked(table_len).ok_or("the table of ends is cut off")?;
        let (ends, _) = table.as_chunks::<END_LEN>();
        let mut before = 0;
        for end in ends.iter().map(|end| u32::from_be_bytes(*end)) {
            if end < before {
                return Err("the ends of the records do not ascend");
            }
            before = end;
        }
        if before as usize != contents.len() {
            return Err("the last record does not end where the chunk ends");
        }
        Ok(Chunk { ends, contents })
    }

    /// The number of records, at least 1.
    pub(super) fn count(&self) -> usize {
        self.ends.len()
    }

    /// The content of the record with this index, from 0; `None` after the last one.
    pub(super) fn record(&self, index: usize) -> Option<&'a [u8]> {
        let end = u32::from_be_bytes(*self.ends.get(index)?) as usize;
        let begin = match index.checked_sub(1) {
            Some(before) => u32::from_be_bytes(self.ends[before]) as usize,
            None => 0,
        };
        self.contents.get(begin..end)
    }
}

/// A chunk of these records, for tests.
#[cfg(test)]
pub(super) fn encode(key: &[u8; RECORD_KEY_LEN], contents: &[&[u8]]) -> Vec<u8> {
    let mut octets = vec![0; 4];
    octets.extend_from_slice(&(contents.len() as u32).to_be_bytes());
    let mut end = 0;
    for content in contents {
        end += content.len() as u32;
        octets.extend_from_slice(&end.to_be_bytes());
    }
    octets.extend(contents.concat());
    let crc = checksum(key, &octets[4..]);
    octets[..4].copy_from_slice(&crc.to_be_bytes());
    octets
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const KEY: [u8; RECORD_KEY_LEN] = *b"0123456789abcdef";

    fn encode(contents: &[Vec<u8>]) -> Vec<u8> {
        super::encode(&KEY, &contents.iter().map(Vec::as_slice).collect::<Vec<_>>())
    }

    #[test]
    fn the_layout_is_the_documented_one() {
        let octets = encode(&[b"ab".to_vec(), Vec::new(), b"c".to_vec()]);
        assert_eq!(octets[4..], *b"\0\0\0\x03\0\0\0\x02\0\0\0\x02\0\0\0\x03abc");
        // Calculated with zlib's crc32 over the key and the octets above.
        assert_eq!(octets[..4], 0xaa0df124_u32.to_be_bytes());
    }

    #[test]
    fn each_changed_octet_and_another_key_are_detected() {
        let octets = encode(&[b"one".to_vec(), b"two".to_vec()]);
        assert!(Chunk::read(&octets, &KEY).is_ok());
        for at in 0..octets.len() {
            let mut changed = octets.clone();
            changed[at] ^= 0x10;
            assert!(Chunk::read(&changed, &KEY).is_err(), "octet {at}");
            assert!(Chunk::read(&octets[..at], &KEY).is_err(), "cut at {at}");
        }
        assert!(Chunk::read(&octets, b"0123456789abcdeF").is_err());
    }

    /// Prepends a valid checksum to any octets, so that the test reaches the checks after that of the checksum.
    fn with_checksum(after_checksum: &[u8]) -> Vec<u8> {
        let mut octets = checksum(&KEY, after_checksum).to_be_bytes().to_vec();
        octets.extend_from_slice(after_checksum);
        octets
    }

    #[test]
    fn invalid_chunks_with_a_valid_checksum_are_refused() {
        for (octets, reason) in [
            (&b""[..], "the chunk is too short"),
            (b"\0\0\0\0", "the chunk holds no record"),
            (b"\0\0\0\x01\0\0\0", "the table of ends is cut off"),
            (b"\xff\xff\xff\xff\0\0\0\0", "the table of ends is cut off"),
            (b"\0\0\0\x02\0\0\0\x02\0\0\0\x01ab", "the ends of the records do not ascend"),
            (b"\0\0\0\x01\0\0\0\x03ab", "the last record does not end where the chunk ends"),
            (b"\0\0\0\x01\0\0\0\x01ab", "the last record does not end where the chunk ends"),
        ] {
            assert_eq!(Chunk::read(&with_checksum(octets), &KEY).expect_err("invalid"), reason);
        }
    }

    fn read_all(octets: &[u8]) -> Result<Vec<Vec<u8>>, &'static str> {
        let chunk = Chunk::read(octets, &KEY)?;
        assert_eq!(chunk.record(chunk.count()), None);
        Ok((0..chunk.count()).map(|i| chunk.record(i).expect("whole").to_vec()).collect())
    }

    proptest! {
        #[test]
        fn any_octets_decode_or_are_refused(octets in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = read_all(&octets);
            let _ = read_all(&with_checksum(&octets));
        }

        #[test]
        fn small_counts_and_ends_decode_or_are_refused(
            count in 0u32..6, ends in proptest::collection::vec(0u32..12, 0..6), body in 0usize..12,
        ) {
            let mut octets = count.to_be_bytes().to_vec();
            ends.iter().for_each(|end| octets.extend_from_slice(&end.to_be_bytes()));
            octets.resize(octets.len() + body, b'x');
            let _ = read_all(&with_checksum(&octets));
        }

        #[test]
        fn an_encoded_chunk_can_be_read(
            contents in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..40), 1..40),
        ) {
            prop_assert_eq!(read_all(&encode(&contents)), Ok(contents));
        }
    }
}
