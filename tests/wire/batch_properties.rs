//! Properties of batches, with generated records and generated damage.

use crate::batch::{TIME_MS, headers};
use crate::checks::check_batch;
use dafka::wire::batch::{Attributes, Batch, BatchBuilder, Compression, Compressor};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

/// A record that owns its parts.
#[derive(Clone, Debug)]
struct Owned {
    timestamp_ms: Option<i64>,
    key: Option<Vec<u8>>,
    headers: Vec<(Vec<u8>, Vec<u8>)>,
    content: Vec<u8>,
}

fn record() -> impl Strategy<Value = Owned> {
    let time = prop_oneof![any::<i64>(), Just(i64::MIN), Just(TIME_MS)];
    let octets = || vec(any::<u8>(), 0..20);
    let headers = prop_oneof![Just(Vec::new()), vec((octets(), octets()), 0..4)];
    (proptest::option::of(time), proptest::option::of(octets()), headers, octets())
        .prop_map(|(timestamp_ms, key, headers, content)| Owned { timestamp_ms, key, headers, content })
}

fn build(records: &[Owned], timestamp_ms: Option<i64>, has_attributes: bool) -> Vec<u8> {
    let mut builder = BatchBuilder::new(Vec::new());
    for Owned { timestamp_ms, key, headers: list, content } in records {
        let list: Vec<(&[u8], &[u8])> = list.iter().map(|(name, value)| (&name[..], &value[..])).collect();
        let headers = headers(&list);
        let (timestamp_ms, key, headers) = (*timestamp_ms, key.as_deref(), headers.as_headers());
        if has_attributes {
            builder.push_with(&Attributes { timestamp_ms, key, headers }, content).unwrap();
        } else {
            builder.push(content).unwrap();
        }
    }
    builder.set_timestamp_ms(timestamp_ms);
    let contents = (0..).map_while(|index| builder.record(index)).map(|record| record.content);
    assert!(contents.eq(records.iter().map(|record| &record.content[..])), "the builder has all records");
    let len = builder.len_bytes();
    let built = builder.finish(Vec::new()).map(Batch::into_octets).unwrap();
    assert_eq!(built.len(), len);
    built
}

fn config() -> ProptestConfig {
    ProptestConfig { cases: 1_000, failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn records_come_back(
        records in vec(record(), 1..40),
        time in proptest::option::of(any::<i64>()),
        has_attributes: bool,
    ) {
        let built = build(&records, time, has_attributes);
        prop_assert!(check_batch(&built));
        let batch = Batch::check(&built).unwrap();
        for compression in [Compression::Lz4, Compression::Zstd] {
            if let Some(compressed) = Compressor::new(compression).compress(&batch) {
                prop_assert!(compressed.as_octets().len() < built.len());
                prop_assert!(check_batch(compressed.as_octets()));
                let unpacked = compressed.unpack(Vec::new()).unwrap();
                prop_assert_eq!(unpacked.as_octets(), &built);
            }
        }
        prop_assert_eq!(batch.count(), records.len());
        for (index, owned) in records.iter().enumerate() {
            let record = batch.record(index).unwrap();
            prop_assert_eq!(record.content, &owned.content);
            if has_attributes {
                prop_assert_eq!(record.timestamp_ms, owned.timestamp_ms.or(time));
                prop_assert_eq!(record.key, owned.key.as_deref());
                let list = owned.headers.iter().map(|(name, value)| (&name[..], &value[..]));
                prop_assert!(record.headers.iter().eq(list));
            } else {
                prop_assert_eq!((record.timestamp_ms, record.key), (time, None));
            }
        }
    }

    #[test]
    fn a_copy_has_the_records_of_its_range(
        records in vec(record(), 1..40),
        time in proptest::option::of(any::<i64>()),
        has_attributes: bool,
        start in 0..45_usize,
        len in 0..45_usize,
    ) {
        let batch = Batch::check(build(&records, time, has_attributes)).unwrap();
        let range = start..start + len;
        let expected: Vec<_> = batch.records().skip(start).take(len).collect();
        prop_assert_eq!(batch.copy(range.clone()).is_none(), expected.is_empty());
        if let Some(copy) = batch.copy(range.clone()) {
            let checked = Batch::check(copy.as_octets()).unwrap();
            prop_assert!(checked.records().eq(expected.iter().copied()));
            prop_assert!(copy.records().eq(expected));
            prop_assert_eq!(batch.area_len_bytes(range), copy.as_octets().len() - 24);
        }
    }

    /// Damage of a compressed batch, with a valid checksum.
    #[test]
    fn damaged_compressed_batches_are_refused_or_read_exactly(
        records in vec(record(), 20..60),
        is_zstd: bool,
        harms in vec((any::<Index>(), any::<u8>()), 1..5),
    ) {
        let compression = if is_zstd { Compression::Zstd } else { Compression::Lz4 };
        let batch = Batch::check(build(&records, None, true)).unwrap();
        if let Some(compressed) = Compressor::new(compression).compress(&batch) {
            let mut octets = compressed.as_octets().to_vec();
            for (at, octet) in harms {
                let at = at.index(octets.len());
                octets[at] = octet;
                check_batch(&octets);
            }
        }
    }

    /// After damage with a valid checksum, the batch is refused or it is another valid batch.
    #[test]
    fn damaged_batches_are_refused_or_read_exactly(
        records in vec(record(), 1..6),
        has_attributes: bool,
        harms in vec((any::<Index>(), any::<u8>(), 0..3_u8), 1..5),
    ) {
        let mut octets = build(&records, None, has_attributes);
        for (at, octet, kind) in harms {
            let at = at.index(octets.len());
            match kind {
                0 => octets[at] = octet,
                1 => octets.insert(at, octet),
                _ => drop(octets.remove(at)),
            }
            check_batch(&octets);
            if let Some(len) = octets.len().checked_sub(24).filter(|_| octet > 100) {
                octets[12..16].copy_from_slice(&(len as u32).to_be_bytes());
                check_batch(&octets);
            }
        }
    }

    #[test]
    fn any_octets_are_a_batch_or_are_refused(
        flags in 0..16_u8,
        count in 1..6_u32,
        records in vec(0..8_u8, 0..24),
        ends in vec(0..24_u32, 0..6),
        rest in vec(any::<u8>(), 0..64),
    ) {
        check_batch(&rest);
        let ends: Vec<u8> = ends.iter().flat_map(|end| end.to_be_bytes()).collect();
        let area = [records, ends].concat();
        let header = [&[0, 0, 0, 0, 1, flags & 0x0c, 0, 0], &count.to_be_bytes()[..]].concat();
        check_batch(&[&header[..], &(area.len() as u32).to_be_bytes(), &[0; 8], &area].concat());
    }
}
