//! Batches. Our producer sends to nodes that take batches, and to nodes of 0.1.0, which do not. Our consumer receives
//! valid and invalid batches.

use crate::e2e::{Cluster, Program, QUIET};
use crate::peer::{
    NO_STORE_BUT_BATCHES, Node, RETRY_INTERVAL, ack, batch, fetch, head, position, record, to,
};
use crate::{TOPIC, expect_lines, feed};
use dafka::wire::batch::{AnyBatch, Batch, Compression, Compressor};

/// Publishes records until the node receives one in a message with this id. Returns the frames of the message.
fn publish_until(producer: &Program, node: &mut Node, id: u8) -> Vec<Vec<u8>> {
    for _ in 0..300 {
        feed(producer, &["one", "two"]);
        if let Some(frames) = node.message_within(&to(id, TOPIC), RETRY_INTERVAL) {
            return frames;
        }
    }
    panic!("no message {} after 300 attempts", id.escape_ascii());
}

#[test]
fn a_producer_sends_batches_while_every_subscriber_takes_them() {
    let cluster = Cluster::new().with_tower();
    let mut new = Node::new(&cluster);
    for subscription in [to(b'C', TOPIC), to(b'M', TOPIC), to(b'D', &new.address), to(b'R', &new.address)] {
        new.subscribe(&subscription);
    }
    new.start_beacon();
    let producer = cluster.producer(TOPIC);
    let address = new.subscriber_of(b'K');
    new.subscription(&to(b'F', &address));
    let frames = publish_until(&producer, &mut new, b'C');
    let records = Batch::check(&frames[1]).expect("a batch");
    assert!(records.timestamp_ms().is_some());
    assert!(records.records().all(|record| [&b"one"[..], b"two"].contains(&record.content)));

    // A node of 0.1.0 appears. Once it receives records, the other node gets no batches either.
    let mut old = Node::started(&cluster, &[to(b'M', TOPIC)]);
    publish_until(&producer, &mut old, b'M');
    while new.message_within(&to(b'C', TOPIC), RETRY_INTERVAL).is_some() {}
    feed(&producer, &["single"]);
    while new.message(&to(b'M', TOPIC))[1] != b"single" {}
    new.expect_no_message(b"C", "a subscriber does not take batches");

    // After the end of the node of 0.1.0, the producer sends batches again.
    drop(old);
    publish_until(&producer, &mut new, b'C');

    // A requester that takes batches gets a batch. A requester that does not gets single records.
    new.send(&[&fetch(&address, &new.address, TOPIC, 0, 2)[..], NO_STORE_BUT_BATCHES].concat());
    let frames = new.message(&position(b'R', &new.address.clone(), &address, TOPIC, 0));
    assert_eq!(Batch::check(&frames[1]).expect("a batch").record(0).expect("a record").content, b"one");
    new.send(&fetch(&address, &new.address, TOPIC, 0, 2));
    new.direct_records(&address, TOPIC, 0, &["one", "two"]);
    new.expect_no_message(b"D", "two records were requested");
}

/// Lines that become shorter when they are compressed.
const LINES: [&str; 2] = [
    "one order accepted, one order accepted, one order accepted, one order accepted, one order accepted",
    "two orders accepted, two orders accepted, two orders accepted, two orders accepted, two orders accepted",
];

fn is_compressed(batch: &[u8]) -> bool {
    matches!(AnyBatch::check(batch), Ok(AnyBatch::Compressed(_)))
}

/// The contents of a batch.
fn contents(batch: &[u8]) -> Vec<Vec<u8>> {
    let of = |batch: Batch<Vec<u8>>| batch.records().map(|record| record.content.to_vec()).collect();
    match AnyBatch::check(batch).expect("a batch") {
        AnyBatch::Plain(batch) => of(batch.map(<[u8]>::to_vec)),
        AnyBatch::Compressed(batch) => of(batch.unpack(Vec::new()).expect("a compressed batch")),
    }
}

#[test]
fn a_producer_compresses_batches_and_sends_single_records_without_compression() {
    for compression in ["lz4", "zstd"] {
        let mut cluster = Cluster::new().with_tower();
        cluster.set("producer/compression", compression);
        let mut new = Node::new(&cluster);
        for subscription in [to(b'C', TOPIC), to(b'M', TOPIC), to(b'D', &new.address), to(b'R', &new.address)]
        {
            new.subscribe(&subscription);
        }
        new.start_beacon();
        let producer = cluster.producer(TOPIC);
        let address = new.subscriber_of(b'K');
        new.subscription(&to(b'F', &address));
        let mut first = 0;
        loop {
            feed(&producer, &LINES);
            first += 2;
            if new.message_within(&to(b'C', TOPIC), RETRY_INTERVAL).is_some() {
                break;
            }
        }
        // A line of more than 16 KiB, which travels alone.
        let long = "long ".repeat(5_000);
        feed(&producer, &[&LINES[..], &[&*long]].concat());
        let mut received = Vec::new();
        while received.last().is_none_or(|last| last != long.as_bytes()) {
            let frames = new.message(&to(b'C', TOPIC));
            assert!(is_compressed(&frames[1]));
            received.extend(contents(&frames[1]));
        }
        // Who takes no batches gets the records that were published in compressed batches, one by one.
        new.send(&fetch(&address, &new.address, TOPIC, first, 3));
        new.direct_records(&address, TOPIC, first, &[LINES[0], LINES[1], &long]);
        new.send(&[&fetch(&address, &new.address, TOPIC, first + 2, 1)[..], NO_STORE_BUT_BATCHES].concat());
        let frames = new.message(&position(b'R', &new.address.clone(), &address, TOPIC, first + 2));
        assert!(is_compressed(&frames[1]));
        assert_eq!(contents(&frames[1]), [long.as_bytes()]);

        // While a node of 0.1.0 subscribes, nothing is compressed.
        let mut old = Node::started(&cluster, &[to(b'M', TOPIC)]);
        publish_until(&producer, &mut old, b'M');
        feed(&producer, &[&long]);
        while old.message(&to(b'M', TOPIC))[1] != long.as_bytes() {}
    }
}

/// A compressed batch.
fn compressed(compression: Compression, contents: &[&str]) -> Vec<u8> {
    let batch = Batch::check(batch(contents)).expect("a batch");
    Compressor::new(compression).compress(&batch).expect("it becomes shorter").as_octets().to_vec()
}

#[test]
fn a_store_keeps_compressed_batches_and_serves_them_to_all() {
    let cluster = Cluster::new().with_tower().with_store();
    let mut producer = Node::new(&cluster);
    producer.subscribe_to(b"KF", &producer.address);
    producer.start_beacon();
    let writer = producer.subscriber_of(b'D');
    [b"C", b"M", b"H"].iter().for_each(|subscription| producer.subscription(*subscription));
    let partition = producer.address.clone();
    let records = |first| position(b'C', TOPIC, &partition, TOPIC, first);
    let lz4 = compressed(Compression::Lz4, &LINES);
    loop {
        producer.send_frames(&[&records(0), &lz4]);
        if producer.message_within(&ack(&partition, TOPIC, 1), RETRY_INTERVAL).is_some() {
            break;
        }
    }
    // A batch that cannot be unpacked is neither stored nor acknowledged.
    let damaged = forged_of(compressed(Compression::Zstd, &LINES), 30, &[0xff; 4]);
    producer.send_frames(&[&records(2), &damaged]);
    producer.send_frames(&[&records(2), &forged_of(lz4.clone(), 24, &[0xff; 4])]);
    producer.expect_no_message(&ack(&partition, TOPIC, 3), "the batch cannot be unpacked");
    // The store has the first record of this batch, and keeps the others without compression.
    let overlapping = [LINES[1], "r2", LINES[0]];
    producer.send_frames(&[&records(1), &compressed(Compression::Zstd, &overlapping)]);
    producer.message(&ack(&partition, TOPIC, 3));
    // A response to a FETCH.
    let zstd = compressed(Compression::Zstd, &LINES);
    producer.send(&head(TOPIC, &partition, 5));
    assert_eq!(producer.fetch_from(4), (partition.clone(), writer.clone(), TOPIC.into(), 4, 2));
    producer.send_frames(&[&position(b'R', &writer, &partition, TOPIC, 4), &zstd]);
    producer.message(&ack(&partition, TOPIC, 5));

    let mut reader = Node::new(&cluster);
    reader.subscribe_to(b"DERL", &reader.address);
    reader.start_beacon();
    reader.subscriber_of(b'W');
    [b"F", b"G"].iter().for_each(|subscription| reader.subscription(*subscription));
    let me = reader.address.clone();
    // The store's reader sends STORE-HELLO because it has received our subscriptions.
    reader.message(&to(b'L', &me));
    let all = [LINES[0], LINES[1], "r2", LINES[0], LINES[0], LINES[1]];
    reader.send(&fetch(&partition, &me, TOPIC, 0, 6));
    reader.direct_records(&partition, TOPIC, 0, &all);
    reader.send(&[&fetch(&partition, &me, TOPIC, 1, 5)[..], NO_STORE_BUT_BATCHES].concat());
    let mut served = |first| reader.message(&position(b'R', &me, &partition, TOPIC, first)).remove(1);
    assert_eq!([served(0), served(4)], [lz4, zstd]);
    let mut consumer = cluster.consumer(TOPIC);
    expect_lines(&mut consumer, &partition, &all);
}

/// A batch in which `octets` replace the octets from `at` on. The checksum is valid.
fn forged(contents: &[&str], at: usize, octets: &[u8]) -> Vec<u8> {
    forged_of(batch(contents), at, octets)
}

/// The same for any batch.
fn forged_of(mut forged: Vec<u8>, at: usize, octets: &[u8]) -> Vec<u8> {
    forged[at..at + octets.len()].copy_from_slice(octets);
    let checksum = crc32fast::hash(&forged[4..]);
    forged[..4].copy_from_slice(&checksum.to_be_bytes());
    forged
}

#[test]
fn a_consumer_delivers_overlapping_batches_once_and_drops_wrong_ones() {
    let cluster = Cluster::new().with_tower();
    let mut consumer = cluster.consumer(TOPIC);
    let mut producer = Node::new(&cluster);
    producer.subscribe(&to(b'F', &producer.address));
    producer.start_beacon();
    let address = producer.subscriber_of(b'R');
    producer.subscription(b"Chello\0");
    producer.subscription(b"Mhello\0");
    let partition = producer.address.clone();
    let records = |first| position(b'C', TOPIC, &partition, TOPIC, first);
    producer.send_frames(&[&records(0), &batch(&["r0", "r1", "r2"])]);
    expect_lines(&mut consumer, &partition, &["r0", "r1", "r2"]);
    producer.send_frames(&[&records(1), &batch(&["r1", "r2", "r3"])]);
    producer.send_frames(&[&records(1), &batch(&["r1"])]);
    expect_lines(&mut consumer, &partition, &["r3"]);

    let wrong = [
        b"not a batch".to_vec(),
        Vec::new(),
        [&batch(&["wrong"])[..], b"x"].concat(),
        // The batch has one record. Its header claims 4 billion records, no record, and two records.
        forged(&["wrong"], 8, &[0xff; 4]),
        forged(&["wrong"], 8, &[0; 4]),
        forged(&["wrong"], 8, &[0, 0, 0, 2]),
        // The ends of the records descend, and an end exceeds the batch.
        forged(&["wrong", "w"], 24 + 6, &[0, 0, 0, 6, 0, 0, 0, 5]),
        forged(&["wrong"], 24 + 5, &[0, 0, 1, 0]),
        // The header claims a compressed area, and an area of 4 GiB.
        forged(&["wrong"], 5, &[1]),
        forged(&["wrong"], 12, &[0xff; 4]),
        // Flags and a format that do not exist.
        forged(&["wrong"], 5, &[0x80]),
        forged(&["wrong"], 4, &[2]),
    ];
    let mut damaged = batch(&["wrong"]);
    damaged[26] ^= 1;
    for octets in wrong.iter().chain([&damaged]) {
        producer.send_frames(&[&records(4), octets]);
        producer.send_frames(&[&position(b'R', &address, &partition, TOPIC, 4), octets]);
    }
    // Offsets that do not exist, and a wrong number of frames.
    producer.send_frames(&[&records(u64::MAX), &batch(&["wrong", "wrong"])]);
    producer.send_frames(&[&records(4)]);
    producer.send_frames(&[&records(4), &batch(&["wrong"]), &batch(&["wrong"])]);
    producer.send_frames(&[&records(4), &batch(&["r4"])]);
    expect_lines(&mut consumer, &partition, &["r4"]);
    consumer.wait_for_log("dropped a RECORDS");

    // A response begins before the requested record.
    producer.send(&head(TOPIC, &partition, 6));
    assert_eq!(producer.fetch_from(5), (partition.clone(), address.clone(), TOPIC.into(), 5, 2));
    let response = position(b'R', &address, &partition, TOPIC, 3);
    producer.send_frames(&[&response, &batch(&["r3", "r4", "r5", "r6", "r7"])]);
    expect_lines(&mut consumer, &partition, &["r5", "r6", "r7"]);
    // Single records and batches may alternate.
    producer.send_record(&record(TOPIC, &partition, 8), "r8");
    producer.send_frames(&[&records(9), &batch(&["r9"])]);
    expect_lines(&mut consumer, &partition, &["r8", "r9"]);
    // So may compressed ones. A batch that cannot be unpacked, or to another length, is dropped.
    for (first, compression) in [(10, Compression::Lz4), (12, Compression::Zstd)] {
        let octets = compressed(compression, &LINES);
        producer.send_frames(&[&records(first), &forged_of(octets.clone(), 24, &[0xff; 4])]);
        producer.send_frames(&[&records(first), &forged_of(octets.clone(), 12, &[0, 0, 1, 0])]);
        producer.send_frames(&[&records(first), &octets]);
        expect_lines(&mut consumer, &partition, &LINES);
    }
    consumer.expect_silence(QUIET, "each record once");
}
