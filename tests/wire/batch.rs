//! Batches: golden vectors, the builder, damage, and invalid batches with a valid checksum.

use crate::checks::Checksum;
use crate::{allocations, compression};
use dafka::wire::batch::{
    Attributes, AttributesFault, Batch, BatchBuilder, BatchError, Compression, FULL_LEN_BYTES, HeadersBuf,
    MAX_CONTENT_LEN_BYTES, MAX_LEN_BYTES, Packing, PushError, Record,
};

pub(crate) const TIME_MS: i64 = 1_700_000_000_123;

/// The octets of a golden vector: hexadecimal digits and spaces.
pub(crate) fn octets(hex: &str) -> Vec<u8> {
    hex.split_whitespace().map(|octet| u8::from_str_radix(octet, 16).unwrap()).collect()
}

/// Three records `ab`, empty, `c`.
fn bare() -> Vec<u8> {
    octets(
        "cf dd 05 52  01 00 00 00  00 00 00 03  00 00 00 0f  00 00 00 00 00 00 00 00
         61 62  63
         00 00 00 02  00 00 00 02  00 00 00 03",
    )
}

/// Three records: all attributes, none, and an empty key.
fn with_attributes() -> Vec<u8> {
    octets(
        "59 9e 20 42  01 0c 00 00  00 00 00 03  00 00 00 37  00 00 01 8b cf e5 68 7b
         07  ff ff ff ff ff ff ff ff  00 03  00 0f  6b 65 79
           04 00 05 6e 61 6d 65 76 61 6c 75 65  00 00 00  63 6f 6e 74 65 6e 74
         00  78
         02  00 00
         00 00 00 26  00 00 00 28  00 00 00 2b",
    )
}

/// One empty record.
fn empty() -> Vec<u8> {
    octets(
        "f6 de da 2f  01 04 00 00  00 00 00 01  00 00 00 04  00 00 01 8b cf e5 68 7b
         00 00 00 00",
    )
}

pub(crate) fn headers(list: &[(&[u8], &[u8])]) -> HeadersBuf {
    let mut headers = HeadersBuf::new();
    list.iter().for_each(|(name, value)| headers.push(name, value).unwrap());
    headers
}

// The golden vectors were encoded by a program in another language, from the description in doc/batch-format.md.

#[test]
fn the_examples_in_the_document_are_the_golden_vectors() {
    let page = include_str!("../../doc/batch-format.md");
    let (_, examples) = page.split_once("\n## Examples\n").unwrap();
    let blocks = examples.split("\n\n").filter(|block| block.starts_with("    "));
    let vectors = [bare(), with_attributes(), empty(), compression::lz4(), compression::zstd()];
    assert_eq!(blocks.map(octets).collect::<Vec<_>>(), vectors);
}

#[test]
fn records_without_attributes_are_their_contents() {
    let mut builder = BatchBuilder::new(b"an old buffer".to_vec());
    assert!(builder.is_empty());
    for content in [&b"ab"[..], b"", b"c"] {
        builder.push(content).unwrap();
    }
    assert_eq!((builder.count(), builder.len_bytes()), (3, 39));
    let built = builder.finish(Vec::new()).map(Batch::into_octets).unwrap();
    assert_eq!(built, bare());

    let batch = Batch::check(&built).unwrap();
    assert_eq!((batch.count(), batch.timestamp_ms(), batch.has_attributes()), (3, None, false));
    let contents: Vec<&[u8]> = batch.records().map(|record| record.content).collect();
    assert_eq!(contents, [&b"ab"[..], b"", b"c"]);
    assert!(batch.records().all(|it| (it.timestamp_ms, it.key) == (None, None) && it.headers.is_empty()));
    assert_eq!(batch.record(3), None);
    assert_eq!(batch.record(usize::MAX), None);
    assert_eq!(batch.as_octets(), bare());
}

#[test]
fn attributes_come_before_the_content() {
    let list = headers(&[(b"name", b"value"), (b"", b"")]);
    let all = Attributes { timestamp_ms: Some(-1), key: Some(b"key"), headers: list.as_headers() };
    let mut builder = BatchBuilder::new(Vec::new());
    builder.push_with(&all, b"content").unwrap();
    builder.push(b"x").unwrap();
    builder.push_with(&Attributes { key: Some(b""), ..Attributes::default() }, b"").unwrap();
    builder.set_timestamp_ms(Some(TIME_MS));
    assert_eq!(builder.len_bytes(), with_attributes().len());
    let built = builder.finish(Vec::new()).map(Batch::into_octets).unwrap();
    assert_eq!(built, with_attributes());

    let batch = Batch::check(built).unwrap();
    assert_eq!((batch.timestamp_ms(), batch.has_attributes()), (Some(TIME_MS), true));
    let first = batch.record(0).unwrap();
    assert_eq!(
        (first.timestamp_ms, first.key, first.content),
        (Some(-1), Some(&b"key"[..]), &b"content"[..])
    );
    assert_eq!(first.headers.iter().collect::<Vec<_>>(), [(&b"name"[..], &b"value"[..]), (b"", b"")]);
    let none = headers(&[]);
    let none = none.as_headers();
    let second = Record { timestamp_ms: Some(TIME_MS), key: None, headers: none, content: b"x" };
    assert_eq!(batch.record(1), Some(second));
    assert_eq!(batch.record(2), Some(Record { key: Some(b""), content: b"", ..second }));
}

#[test]
fn a_batch_may_contain_one_empty_record() {
    let mut builder = BatchBuilder::new(Vec::new());
    builder.push(b"").unwrap();
    builder.set_timestamp_ms(Some(TIME_MS));
    assert_eq!(builder.finish(Vec::new()).map(Batch::into_octets), Some(empty()));
    let batch = Batch::check(empty()).unwrap();
    assert_eq!(batch.records().map(|record| record.timestamp_ms).collect::<Vec<_>>(), [Some(TIME_MS)]);
}

#[test]
fn a_finished_builder_begins_again_in_the_next_buffer() {
    let mut builder = BatchBuilder::new(Vec::new());
    assert_eq!(builder.finish(Vec::new()).map(Batch::into_octets), None);
    builder.push_with(&Attributes { timestamp_ms: Some(1), ..Attributes::default() }, b"one").unwrap();
    builder.set_timestamp_ms(Some(2));
    let mut next = Vec::with_capacity(1000);
    next.push(7);
    let memory = next.as_ptr();
    builder.finish(next).unwrap();
    // Neither the records, the timestamp nor the attribute blocks continue.
    assert_eq!((builder.count(), builder.len_bytes()), (0, 24));
    for content in [&b"ab"[..], b"", b"c"] {
        builder.push(content).unwrap();
    }
    let built = builder.finish(Vec::new()).map(Batch::into_octets).unwrap();
    assert_eq!(built, bare());
    assert_eq!(built.as_ptr(), memory);
}

#[test]
fn a_batch_of_several_records_fills_whole_pages_at_most() {
    // LMDB's header, and the octets that the format leaves to a store.
    assert_eq!(FULL_LEN_BYTES + 16 + 8, 65_536);
    let content = vec![b'x'; FULL_LEN_BYTES - 24 - 4 - 4 - 1];
    let mut builder = BatchBuilder::new(Vec::new());
    builder.push(b"").unwrap();
    assert_eq!(builder.push(&[&content[..], b"12"].concat()), Err(PushError::Full));
    builder.push(&[&content[..], b"1"].concat()).unwrap();
    assert_eq!(builder.push(b""), Err(PushError::Full));
    assert_eq!(builder.len_bytes(), FULL_LEN_BYTES);
    assert_eq!(Batch::check(builder.finish(Vec::new()).map(Batch::into_octets).unwrap()).unwrap().count(), 2);

    // A long record is alone, and takes no more memory than its batch.
    let long = vec![b'x'; 3 << 20];
    builder.push(&long).unwrap();
    assert_eq!(builder.push(b""), Err(PushError::Full));
    let built = builder.finish(Vec::new()).map(Batch::into_octets).unwrap();
    assert_eq!((built.len(), built.capacity()), (24 + long.len() + 4, 24 + long.len() + 4));
    assert_eq!(Batch::check(built).unwrap().record(0).unwrap().content, long);
}

#[test]
fn records_that_do_not_fit_leave_the_batch_unchanged() {
    let long = vec![0; 65_536];
    let keyed = Attributes { key: Some(b"k"), ..Attributes::default() };
    let mut builder = BatchBuilder::new(Vec::new());
    let too_long = Attributes { key: Some(&long), ..Attributes::default() };
    assert_eq!(builder.push_with(&too_long, b""), Err(PushError::KeyTooLong));
    // The system allocates these zeros when they are read, which they are not.
    let too_long = vec![0; MAX_CONTENT_LEN_BYTES + 1];
    assert_eq!(builder.push(&too_long), Err(PushError::ContentTooLong));
    assert_eq!(builder.push_with(&keyed, &too_long), Err(PushError::ContentTooLong));
    builder.push(b"ab").unwrap();
    assert_eq!(builder.push_with(&keyed, b""), Err(PushError::NoAttributes));
    builder.push_with(&Attributes::default(), b"").unwrap();
    builder.push(b"c").unwrap();
    assert_eq!(builder.finish(Vec::new()).map(Batch::into_octets), Some(bare()));

    // The longest attributes.
    let mut list = HeadersBuf::new();
    assert_eq!(list.push(&long[..256], b""), Err(PushError::HeaderNameTooLong));
    assert_eq!(list.push(b"", &long[..65_533]), Err(PushError::HeadersTooLong));
    assert_eq!(list.push(b"", &long), Err(PushError::HeadersTooLong));
    list.push(&long[..255], &long[..65_535 - 3 - 255]).unwrap();
    assert_eq!(list.push(b"", b""), Err(PushError::HeadersTooLong));
    let longest =
        Attributes { timestamp_ms: Some(i64::MIN), key: Some(&long[1..]), headers: list.as_headers() };
    builder.push_with(&longest, b"content").unwrap();
    let built = builder.finish(Vec::new()).map(Batch::into_octets).unwrap();
    assert_eq!(built.len() - 7, MAX_LEN_BYTES - MAX_CONTENT_LEN_BYTES);
    let batch = Batch::check(built).unwrap();
    let record = batch.record(0).unwrap();
    assert_eq!((record.timestamp_ms, record.key), (Some(i64::MIN), Some(&long[1..])));
    assert_eq!((record.headers, record.content), (list.as_headers(), &b"content"[..]));
}

#[test]
fn packed_records_make_the_batch_of_the_builder() {
    let full = FULL_LEN_BYTES - 24 - 4;
    for (lens, count) in [
        (&[2, 0, 1][..], 3),
        (&[0][..], 1),
        (&[full, 0][..], 1),
        (&[full - 4, 0, 0][..], 2),
        (&[full + 1, 0][..], 1),
        (&[5, full][..], 1),
        (&[1_000; 100][..], 65),
    ] {
        let contents: Vec<Vec<u8>> = lens.iter().zip(b'a'..).map(|(len, octet)| vec![octet; *len]).collect();
        let packing = Packing::plan(lens.iter().copied());
        assert_eq!(packing.count, count);
        let mut packed = vec![0xaa; packing.len_bytes];
        packing.write(&mut packed, contents.iter().map(Vec::as_slice));
        let mut builder = BatchBuilder::new(Vec::new());
        let _ = contents.iter().try_for_each(|content| builder.push(content));
        assert_eq!(Some(packed), builder.finish(Vec::new()).map(Batch::into_octets));
    }
    assert_eq!(Packing::plan([]).count, 0);
}

/// A batch with these octets in place of those at `at`, and a valid checksum.
fn forged(mut batch: Vec<u8>, at: usize, octets: &[u8]) -> Vec<u8> {
    batch[at..at + octets.len()].copy_from_slice(octets);
    batch.with_checksum()
}

/// Checks that the octets are refused, and that this allocates nothing.
#[track_caller]
fn assert_refused(octets: &[u8], error: BatchError) {
    let (result, allocations) = allocations::count(|| Batch::check(octets).map(drop));
    assert_eq!((result, allocations), (Err(error), 0));
}

#[test]
fn checking_and_reading_allocate_nothing() {
    for octets in [bare(), with_attributes(), empty()] {
        let len =
            || Batch::check(&octets).unwrap().records().map(|it| it.headers.iter().count()).sum::<usize>();
        let (_, allocations) = allocations::count(len);
        assert_eq!(allocations, 0);
    }
    // The check can fail.
    assert!(allocations::count(bare).1 > 0);
}

#[test]
fn invalid_headers_are_refused_with_reasons() {
    assert_refused(b"", BatchError::TooShort);
    assert_refused(&bare()[..23], BatchError::TooShort);
    assert_refused(&forged(bare(), 4, &[0]), BatchError::Format(0));
    assert_refused(&forged(bare(), 4, &[2]), BatchError::Format(2));
    for flags in [0x03, 0x10, 0x20, 0x40, 0x80, 0xff] {
        assert_refused(&forged(bare(), 5, &[flags]), BatchError::Flags(flags));
    }
    assert_refused(&forged(bare(), 6, &[1]), BatchError::Reserved);
    assert_refused(&forged(bare(), 7, &[1]), BatchError::Reserved);
    assert_refused(&forged(bare(), 23, &[1]), BatchError::Timestamp);
    assert_refused(&forged(empty(), 5, &[0]), BatchError::Timestamp);
    assert_refused(&forged(bare(), 8, &[0, 0, 0, 0]), BatchError::NoRecords);
    assert_refused(&forged(bare(), 15, &[14]), BatchError::Length { claimed: 14, actual: 15 });
    assert_refused(&forged(bare(), 15, &[16]), BatchError::Length { claimed: 16, actual: 15 });
    assert_refused(&forged(bare(), 11, &[4]), BatchError::Count(4));
    assert_refused(&forged(bare()[..24].to_vec(), 12, &[0, 0, 0, 0]), BatchError::Count(3));
    let mut changed = bare();
    changed[24] ^= 1;
    assert_refused(&changed, BatchError::Checksum);
}

#[test]
fn impossible_claims_are_refused() {
    let most = [0xff; 4];
    assert_refused(&forged(bare(), 8, &most), BatchError::Count(u32::MAX));
    assert_refused(&forged(bare(), 12, &most), BatchError::TooLong);
    assert_refused(&forged(bare(), 8, &[0xff; 8]), BatchError::TooLong);
    for compression in [1, 2] {
        let compressed = forged(bare(), 5, &[compression]);
        // A decompression bomb of several records, and of one record.
        assert_refused(
            &forged(compressed.clone(), 12, &((1 << 20) - 23_u32).to_be_bytes()),
            BatchError::TooLong,
        );
        let one = forged(compressed.clone(), 11, &[1]);
        assert_refused(&forged(one, 12, &((64 << 20) + 1_u32).to_be_bytes()), BatchError::TooLong);
        // Compression did not make it shorter.
        assert_refused(&compressed, BatchError::Length { claimed: 15, actual: 15 });
    }
    // Several records of more than 1 MiB.
    let mut long = bare()[..24].to_vec();
    long.resize(1 << 20, 0);
    let long = forged(long, 12, &((1 << 20) - 24_u32).to_be_bytes());
    assert_eq!(Batch::check(&forged(long.clone(), 8, &262_138_u32.to_be_bytes())).unwrap().count(), 262_138);
    let longer = [&long[..], &[0; 4]].concat();
    assert_refused(&forged(longer, 12, &((1 << 20) - 20_u32).to_be_bytes()), BatchError::TooLong);
}

#[test]
fn compressed_batches_are_no_plain_batches() {
    let compressed = |flags| forged(forged(bare(), 5, &[flags]), 12, &16_u32.to_be_bytes());
    assert_refused(&compressed(1), BatchError::Compressed(Compression::Lz4));
    assert_refused(&compressed(2), BatchError::Compressed(Compression::Zstd));
}

#[test]
fn invalid_tables_are_refused_with_reasons() {
    let table = |ends: [u8; 3]| {
        let ends: Vec<u8> = ends.iter().flat_map(|&end| [0, 0, 0, end]).collect();
        forged(bare(), 27, &ends)
    };
    assert_eq!(Batch::check(table([0, 1, 3])).unwrap().count(), 3);
    assert_refused(&table([2, 1, 3]), BatchError::End { index: 1 });
    assert_refused(&table([4, 4, 4]), BatchError::End { index: 0 });
    // The end of the last record would be in the table.
    assert_refused(&table([2, 2, 7]), BatchError::End { index: 2 });
    assert_refused(&table([2, 2, 2]), BatchError::LastEnd);
    assert_refused(&forged(bare(), 35, &[0xff; 4]), BatchError::End { index: 2 });
    assert_refused(&forged(bare(), 11, &[2]), BatchError::LastEnd);
}

/// A batch with the flag ATTRIBUTES that contains this record.
fn with_record(record: &[u8]) -> Vec<u8> {
    let mut builder = BatchBuilder::new(Vec::new());
    builder.push(record).unwrap();
    forged(builder.finish(Vec::new()).map(Batch::into_octets).unwrap(), 5, &[0x08])
}

#[test]
fn invalid_attributes_are_refused_with_reasons() {
    let truncated = AttributesFault::Truncated;
    for (record, fault) in [
        (&b""[..], truncated),
        (b"\x01\0\0\0\0\0\0\0", truncated),
        (b"\x02", truncated),
        (b"\x02\0", truncated),
        (b"\x02\0\x03ab", truncated),
        (b"\x04\0", truncated),
        (b"\x04\0\x03\0\0", truncated),
        (b"\x06\0\x01\0\x03a\0\0", truncated),
        (b"\x07\0\0\0\0\0\0\0\0\0\x01\0", truncated),
        (b"\x02\xff\xffkey", truncated),
        (b"\x08content", AttributesFault::Unknown(0x08)),
        (b"\xff", AttributesFault::Unknown(0xff)),
        (b"\x04\0\0content", AttributesFault::NoHeaders),
    ] {
        assert_refused(&with_record(record), BatchError::Attributes { index: 0, fault });
    }
    for headers in [&b"\0\0"[..], b"\x01\0\0", b"\0\0\x01", b"\0\xff\xff", b"\0\0\0\0", b"\x01\0\x01ab\0"] {
        let record = [b"\x04", &(headers.len() as u16).to_be_bytes()[..], headers, b"content"].concat();
        assert_refused(&with_record(&record), BatchError::Headers { index: 0 });
    }
    // The index is that of the invalid record. The content of the last one becomes its attributes.
    let fault = AttributesFault::Unknown(b'x');
    assert_refused(&forged(with_attributes(), 24 + 0x26, b"x"), BatchError::Attributes { index: 1, fault });
    let why = "record 0 of the batch has attributes that exceed the record";
    assert_eq!(Batch::check(with_record(b"")).unwrap_err().to_string(), why);
}

#[test]
fn every_flipped_bit_and_every_cut_is_refused() {
    for octets in [bare(), with_attributes(), empty()] {
        Batch::check(&octets).unwrap();
        for bit in 0..8 * octets.len() {
            let mut flipped = octets.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            Batch::check(&flipped).expect_err(&format!("bit {bit}"));
        }
        for len in 0..octets.len() {
            Batch::check(&octets[..len]).expect_err(&format!("cut at {len}"));
            // Also when the checksum matches what remains.
            Batch::check(octets[..len].to_vec().with_checksum()).expect_err(&format!("cut at {len}"));
        }
        Batch::check([&octets[..], b"\0"].concat()).unwrap_err();
    }
}
