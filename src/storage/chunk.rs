//! A chunk: consecutive records of one partition, packed into one value of the table `records`.
//!
//! doc/storage-format.md describes the layout. Decoding never fails half-way: it returns a chunk in which every
//! record can be read, or an error with the reason.

use super::keys::RECORD_KEY_LEN;

/// The longest content of a record (1 GiB). LMDB writes a value with one `pwrite`, and Linux writes less than 2 GiB
/// with one call.
pub const MAX_CONTENT_LEN_BYTES: usize = 1 << 30;

/// The length of the header: a checksum and the number of records.
const HEADER_LEN: usize = 8;

/// The length of an entry in the table of ends.
const END_LEN: usize = 4;

/// The greatest length of a chunk with more than one record. With the 16 octets that LMDB puts in front, such a chunk
/// fills 16 pages of 4096 octets.
const FULL_LEN: usize = 16 * 4096 - 16;

/// The number of records in the next chunk, and its length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Plan {
    /// The number of records; 0 only when there were no records.
    pub(super) count: usize,
    /// The length of the whole chunk.
    pub(super) len: usize,
}

/// Plans a chunk that begins with the first of some records. `lens` are the lengths of the records' contents, each at
/// most [`MAX_CONTENT_LEN_BYTES`]. The chunk contains the first record, and further records while its length does not
/// exceed [`FULL_LEN`].
pub(super) fn plan(lens: impl Iterator<Item = usize>) -> Plan {
    let mut plan = Plan { count: 0, len: HEADER_LEN };
    for len in lens {
        let longer = plan.len + END_LEN + len;
        if plan.count > 0 && longer > FULL_LEN {
            break;
        }
        plan = Plan { count: plan.count + 1, len: longer };
    }
    plan
}

/// Writes a chunk to `out`, which has the length of the plan. Never reads a part of `out` before it has written that
/// part, because LMDB's pages are uninitialized.
///
/// # Panics
///
/// When the contents do not match the plan: LMDB must not store an incomplete page.
pub(super) fn write<'a>(
    out: &mut [u8],
    key: &[u8; RECORD_KEY_LEN],
    plan: Plan,
    contents: impl Iterator<Item = &'a [u8]>,
) {
    assert_eq!(out.len(), plan.len, "the page has the planned length");
    let (header, rest) = out.split_at_mut(HEADER_LEN);
    let (ends, body) = rest.split_at_mut(plan.count * END_LEN);
    let mut slots = ends.chunks_exact_mut(END_LEN);
    let mut end = 0;
    for content in contents.take(plan.count) {
        let begin = end;
        end += content.len();
        body[begin..end].copy_from_slice(content);
        let slot = slots.next().expect("there is a slot for each record");
        slot.copy_from_slice(&(end as u32).to_be_bytes());
    }
    assert!(slots.next().is_none() && end == body.len(), "the contents match the plan");
    header[4..].copy_from_slice(&(plan.count as u32).to_be_bytes());
    let crc = checksum(key, &out[4..]);
    out[..4].copy_from_slice(&crc.to_be_bytes());
}

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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const KEY: [u8; RECORD_KEY_LEN] = *b"0123456789abcdef";

    fn encode(contents: &[Vec<u8>]) -> Vec<u8> {
        let plan = plan(contents.iter().map(Vec::len));
        let mut out = vec![0xaa; plan.len];
        write(&mut out, &KEY, plan, contents.iter().map(Vec::as_slice));
        out
    }

    #[test]
    fn the_layout_is_the_documented_one() {
        let octets = encode(&[b"ab".to_vec(), Vec::new(), b"c".to_vec()]);
        assert_eq!(octets[4..], *b"\0\0\0\x03\0\0\0\x02\0\0\0\x02\0\0\0\x03abc");
        // Calculated with zlib's crc32 over the key and the octets above.
        assert_eq!(octets[..4], 0xaa0df124_u32.to_be_bytes());
    }

    #[test]
    fn a_chunk_fills_whole_pages_and_a_long_record_gets_its_own() {
        let full = FULL_LEN - HEADER_LEN - END_LEN;
        assert_eq!(plan([full, 0].into_iter()), Plan { count: 1, len: FULL_LEN });
        assert_eq!(plan([full - END_LEN, 0, 0].into_iter()), Plan { count: 2, len: FULL_LEN });
        assert_eq!(plan([full + 1, 0].into_iter()), Plan { count: 1, len: FULL_LEN + 1 });
        assert_eq!(plan([5, full].into_iter()).count, 1);
        assert_eq!(plan([].into_iter()).count, 0);
        assert_eq!((FULL_LEN + 16) % 4096, 0);
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

    /// Prepends a valid checksum to any octets, so that the checks that follow the one of the checksum are tested.
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
        fn a_written_chunk_can_be_read(
            contents in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..40), 1..40),
        ) {
            prop_assert_eq!(read_all(&encode(&contents)), Ok(contents));
        }
    }
}
