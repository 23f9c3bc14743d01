//! Compressed batches: golden vectors, round trips, and areas that cannot be unpacked.

use crate::allocations;
use crate::batch::octets;
use crate::checks::Checksum;
use dafka::wire::batch::{
    AnyBatch, Attributes, Batch, BatchBuilder, BatchError, CompressedBatch, Compression, Compressor,
    MAX_UNPACKED_LEN_BYTES,
};

const BOTH: [Compression; 2] = [Compression::Lz4, Compression::Zstd];

/// Two records of 100 `a` each, written by hand from the descriptions of the two methods.
pub(crate) fn lz4() -> Vec<u8> {
    octets(
        "22 79 56 d3  01 05 00 00  00 00 00 02  00 00 00 d0  00 00 01 8b cf e5 68 7b
         1f 61 01 00 b4
         80 00 00 00 64 00 00 00 c8",
    )
}

/// The same records.
pub(crate) fn zstd() -> Vec<u8> {
    octets(
        "39 75 fe 93  01 06 00 00  00 00 00 02  00 00 00 d0  00 00 01 8b cf e5 68 7b
         28 b5 2f fd 20 d0
         42 06 00 61
         41 00 00 00 00 00 64 00 00 00 c8",
    )
}

/// The batch of these records without compression.
fn plain() -> Batch<Vec<u8>> {
    let mut builder = BatchBuilder::new(Vec::new());
    (0..2).for_each(|_| builder.push(&[b'a'; 100]).unwrap());
    builder.set_timestamp_ms(Some(crate::batch::TIME_MS));
    builder.finish(Vec::new()).unwrap()
}

#[track_caller]
fn checked(octets: Vec<u8>) -> CompressedBatch<Vec<u8>> {
    match AnyBatch::check(octets) {
        Ok(AnyBatch::Compressed(batch)) => batch,
        other => panic!("{other:?}"),
    }
}

/// Unpacks a batch with this area, whose header claims `count` records and `area_len` octets.
#[track_caller]
fn unpack(compression: Compression, count: u32, area_len: usize, block: &[u8]) -> Result<(), BatchError> {
    let flags = if compression == Compression::Lz4 { 1 } else { 2 };
    let header =
        [&[0, 0, 0, 0, 1, flags, 0, 0], &count.to_be_bytes()[..], &(area_len as u32).to_be_bytes(), &[0; 8]];
    let batch = checked([&header.concat()[..], block].concat().with_checksum());
    // Also in a buffer that is used again. Neither of the two buffers becomes longer than the batch.
    let mut buffer = vec![0xaa; 30];
    let checked = batch.check_area(&mut buffer);
    assert!(buffer.capacity() <= (24 + area_len).max(30));
    let (unpacked, allocations) = allocations::count(|| batch.unpack(Vec::new()).map(drop));
    assert_eq!((unpacked, allocations), (checked, 1));
    checked
}

/// A Zstandard frame that begins with these octets after its magic number.
fn frame(parts: &[&[u8]]) -> Vec<u8> {
    [&[0x28, 0xb5, 0x2f, 0xfd], &parts.concat()[..]].concat()
}

#[test]
fn golden_vectors_unpack_to_the_batch_of_the_builder() {
    for (compression, golden) in [(Compression::Lz4, lz4()), (Compression::Zstd, zstd())] {
        assert_eq!(Batch::check(&golden).unwrap_err(), BatchError::Compressed(compression));
        let batch = checked(golden.clone());
        assert_eq!((batch.count(), batch.unpacked_len_bytes()), (2, 24 + 208));
        assert_eq!(batch.as_octets(), golden);
        batch.check_area(&mut vec![0xaa; 1_000]).unwrap();
        let unpacked = batch.unpack(vec![0xaa; 1_000]).unwrap();
        assert_eq!(unpacked.as_octets(), plain().as_octets());
        assert!(unpacked.records().eq(plain().records()));
    }
}

#[test]
fn what_is_compressed_unpacks_to_the_same_octets() {
    let text = b"2026-11-29T19:30:00Z INFO order accepted: ".repeat(20);
    let attributes = Attributes { timestamp_ms: Some(-1), key: Some(b"key"), ..Attributes::default() };
    for compression in BOTH {
        let mut compressor = Compressor::new(compression);
        let mut builder = BatchBuilder::new(Vec::new());
        // The second batch is one long record.
        for (content, count) in [(&text[..], 50), (&text.repeat(3_000), 1), (&text, 2)] {
            (0..count).for_each(|_| builder.push_with(&attributes, content).unwrap());
            let batch = builder.finish(Vec::new()).unwrap();
            let compressed = compressor.compress(&batch).unwrap();
            assert!(compressed.as_octets().len() < batch.as_octets().len() / 8);
            let unpacked = checked(compressed.as_octets().to_vec()).unpack(Vec::new()).unwrap();
            assert_eq!(unpacked.as_octets(), batch.as_octets());
            assert!(unpacked.records().eq(batch.records()));
        }
    }
}

#[test]
fn a_batch_that_does_not_become_shorter_is_not_compressed() {
    let mut random = fastrand::Rng::with_seed(1);
    let noise: Vec<u8> = (0..5_000).map(|_| random.u8(..)).collect();
    for compression in BOTH {
        let mut compressor = Compressor::new(compression);
        let mut compress = |content: &[u8]| {
            let mut builder = BatchBuilder::new(Vec::new());
            builder.push(content).unwrap();
            compressor.compress(&builder.finish(Vec::new()).unwrap()).map(|batch| batch.unpacked_len_bytes())
        };
        assert_eq!([compress(b""), compress(b"short"), compress(&noise)], [None; 3]);
        // The longest area, and one that is longer.
        let longest = vec![0; MAX_UNPACKED_LEN_BYTES - 4];
        assert_eq!(compress(&longest), Some(24 + MAX_UNPACKED_LEN_BYTES));
        assert_eq!(compress(&vec![0; MAX_UNPACKED_LEN_BYTES - 3]), None);
    }
}

#[test]
fn blocks_that_do_not_unpack_to_the_claimed_length_are_refused() {
    for (compression, golden) in [(Compression::Lz4, lz4()), (Compression::Zstd, zstd())] {
        let (block, refused) = (&golden[24..], Err(BatchError::Unpack(compression)));
        assert_eq!(unpack(compression, 2, 208, block), Ok(()));
        for area_len in [207, 209, 1 << 19] {
            assert_eq!(unpack(compression, 2, area_len, block), refused, "{area_len}");
        }
        for len in 0..block.len() {
            assert_eq!(unpack(compression, 2, 208, &block[..len]), refused, "cut at {len}");
        }
        for garbage in [&b""[..], b"\0", b"\xff\xff\xff\xff\xff\xff\xff\xff", b"garbage"] {
            assert_eq!(unpack(compression, 2, 208, garbage), refused, "{garbage:?}");
            let longer = [block, garbage].concat();
            assert_eq!(
                unpack(compression, 2, 208, &longer),
                if garbage.is_empty() { Ok(()) } else { refused }
            );
        }
        // A count that does not fit the table.
        assert_eq!(unpack(compression, 1, 208, block), Err(BatchError::LastEnd));
        assert_eq!(unpack(compression, 3, 208, block), Err(BatchError::End { index: 0 }));
    }
    let why = "the batch cannot be unpacked with lz4 to the length in its header";
    assert_eq!(BatchError::Unpack(Compression::Lz4).to_string(), why);
}

#[test]
fn only_one_honest_zstandard_frame_is_unpacked() {
    let (blocks, refused) = (&zstd()[24 + 6..], Err(BatchError::Unpack(Compression::Zstd)));
    let unpack = |frame: &[u8]| unpack(Compression::Zstd, 2, 208, frame);
    // With the content size, and without it, for windows of 1 KiB and of 2 GiB.
    assert_eq!(unpack(&frame(&[&[0x20, 208], blocks])), Ok(()));
    assert_eq!(unpack(&frame(&[&[0x00, 0x00], blocks])), Ok(()));
    assert_eq!(unpack(&frame(&[&[0x00, 0xa8], blocks])), Ok(()));
    // A wrong content size: less, more, and 2^40.
    for size in [&[0x20, 207][..], &[0x20, 209], &[0xe0, 0, 0, 0, 0, 0, 1, 0, 0]] {
        assert_eq!(unpack(&frame(&[size, blocks])), refused, "{size:?}");
    }
    // A dictionary, a reserved bit, and a wrong checksum of the content.
    assert_eq!(unpack(&frame(&[&[0x21, 7, 208], blocks])), refused);
    assert_eq!(unpack(&frame(&[&[0x28, 208], blocks])), refused);
    assert_eq!(unpack(&frame(&[&[0x24, 208], blocks, &[0; 4]])), refused);
    // Frames without content before and after it.
    let (whole, empty) = (frame(&[&[0x20, 208], blocks]), frame(&[&[0x20, 0, 1, 0, 0]]));
    let skipped = [0x50, 0x2a, 0x4d, 0x18, 2, 0, 0, 0, 1, 2];
    for other in [&empty[..], &skipped] {
        assert_eq!(unpack(&[&whole[..], other].concat()), refused);
        assert_eq!(unpack(&[other, &whole].concat()), refused);
    }
}

#[test]
fn unpacking_stops_at_the_claimed_length() {
    // 500 blocks of 128 KiB each in 2,000 octets, and 255 octets for each octet.
    let block = [0x02, 0x00, 0x10, b'a'];
    let mut blocks = block.repeat(499);
    blocks.extend([0x03, 0x00, 0x10, b'a']);
    let zstd = frame(&[&[0x00, 0x50], &blocks]);
    let lz4 = [&[0x1f, b'a', 1, 0], &[0xff; 5_000][..], &[0, 0x50, 1, 2, 3, 4, 5]].concat();
    for (compression, block) in [(Compression::Zstd, zstd), (Compression::Lz4, lz4)] {
        let refused = Err(BatchError::Unpack(compression));
        assert_eq!(unpack(compression, 2, (1 << 20) - 24, &block), refused);
        assert_eq!(unpack(compression, 2, block.len() + 1, &block), refused);
    }
}
