//! The attributes of records: our nodes append them to single records, and nodes of 0.1.0 read the fields before them.

use crate::e2e::Cluster;
use crate::peer::{
    NO_STORE_BUT_BATCHES, Node, RETRY_INTERVAL, ack, direct_record, fetch, number_4, number_8, position,
    record, string, to,
};
use crate::{TOPIC, expect_lines, feed};
use dafka::wire::batch::{Attributes, Batch, BatchBuilder, HeadersBuf};
use std::time::SystemTime;

/// The field *attributes* of doc/protocol.md, with the attribute block of doc/batch-format.md.
fn field(timestamp: u64, key: &str, (name, value): (&str, &str)) -> Vec<u8> {
    let number_2 = |len: usize| number_4(len as u32)[2..].to_vec();
    let header = [&string(name)[..1], &number_2(value.len()), name.as_bytes(), value.as_bytes()].concat();
    let lens = [number_2(key.len()), number_2(header.len())].concat();
    let block = [&[7][..], &number_8(timestamp), &lens, key.as_bytes(), &header].concat();
    [number_4(block.len() as u32), block].concat()
}

/// The field of a record that has only a timestamp.
fn timestamp_field(timestamp: u64) -> Vec<u8> {
    [&number_4(9)[..], &[1], &number_8(timestamp)].concat()
}

fn now_ms() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970").as_millis() as u64
}

#[test]
fn a_node_of_0_1_0_gets_the_timestamp_after_the_fields_that_it_reads() {
    let cluster = Cluster::new().with_tower();
    let mut old = Node::started(&cluster, &[to(b'M', TOPIC)]);
    let begin = now_ms();
    let producer = cluster.producer(TOPIC);
    let partition = old.subscriber_of(b'K');
    // The producer publishes the first records before it knows the node.
    let frames = (0..300).find_map(|_| {
        feed(&producer, &["one"]);
        old.message_within(&to(b'M', TOPIC), RETRY_INTERVAL)
    });
    let frames = frames.expect("a record");
    assert_eq!(frames[1], b"one");
    let core_len = record(TOPIC, &partition, 0).len();
    let (core, added) = frames[0].split_at(core_len);
    assert_eq!(&core[..core_len - 8], &record(TOPIC, &partition, 0)[..core_len - 8]);
    let is_it = |timestamp| added == timestamp_field(timestamp);
    assert!((begin..=now_ms()).any(is_it), "a timestamp: {}", added.escape_ascii());
}

#[test]
fn a_store_keeps_attributes_and_serves_them_to_all() {
    let cluster = Cluster::new().with_tower().with_store();
    let mut producer = Node::new(&cluster);
    producer.subscribe_to(b"KF", &producer.address);
    producer.start_beacon();
    producer.subscriber_of(b'D');
    [b"C", b"M", b"H"].iter().for_each(|subscription| producer.subscription(*subscription));
    let partition = producer.address.clone();
    let whole = field(u64::MAX - 1, "key", ("name", "value"));
    // An invalid field: the block is longer than the field. It is as if there were no field.
    let invalid = [&number_4(3)[..], &[7, 0, 0, 0]].concat();
    loop {
        producer.send_record(&[record(TOPIC, &partition, 0), whole.clone()].concat(), "r0");
        if producer.message_within(&ack(&partition, TOPIC, 0), RETRY_INTERVAL).is_some() {
            break;
        }
    }
    producer.send_record(&[record(TOPIC, &partition, 1), invalid].concat(), "r1");
    producer.send_record(&record(TOPIC, &partition, 2), "r2");
    producer.send_record(&[record(TOPIC, &partition, 3), timestamp_field(5)].concat(), "r3");
    let mut headers = HeadersBuf::new();
    headers.push(b"name", b"").expect("a short header");
    let attributes = Attributes { timestamp_ms: Some(7), key: Some(b""), headers: headers.as_headers() };
    let mut builder = BatchBuilder::new(Vec::new());
    builder.push_with(&attributes, b"r4").expect("a short record");
    builder.push(b"r5").expect("a short record");
    builder.set_timestamp_ms(Some(6));
    let batch = builder.finish(Vec::new()).expect("there are records");
    producer.send_frames(&[&position(b'C', TOPIC, &partition, TOPIC, 4), batch.as_octets()]);
    producer.message(&ack(&partition, TOPIC, 5));

    let mut reader = Node::new(&cluster);
    reader.subscribe_to(b"DRL", &reader.address);
    reader.start_beacon();
    reader.subscriber_of(b'W');
    reader.subscription(b"F");
    let me = reader.address.clone();
    // The store's reader sends STORE-HELLO because it has received our subscriptions.
    reader.message(&to(b'L', &me));
    reader.send(&fetch(&partition, &me, TOPIC, 0, 6));
    let empty_key = field(7, "", ("name", ""));
    let fields = [&whole[..], b"", b"", &timestamp_field(5), &empty_key, &timestamp_field(6)];
    for (offset, field) in (0..).zip(fields) {
        let frames = reader.message(&to(b'D', &me));
        let expected = [&direct_record(&me, &partition, TOPIC, offset)[..], field].concat();
        assert_eq!(frames[0].escape_ascii().to_string(), expected.escape_ascii().to_string());
        assert_eq!(frames[1], format!("r{offset}").into_bytes());
    }

    // A requester that takes batches gets the same attributes.
    let (mut next, mut found) = (0, Vec::new());
    while next < 6 {
        let request = fetch(&partition, &me, TOPIC, next, 6 - next as u32);
        reader.send(&[&request[..], NO_STORE_BUT_BATCHES].concat());
        let frames = reader.message(&position(b'R', &me, &partition, TOPIC, next));
        let batch = Batch::check(&frames[1]).expect("a batch");
        next += batch.count() as u64;
        for record in batch.records() {
            let key = record.key.map(<[u8]>::to_vec);
            found.push((record.timestamp_ms, key, record.headers.iter().count(), record.content.to_vec()));
        }
    }
    let timestamps: Vec<_> = found.iter().map(|record| record.0).collect();
    assert_eq!(timestamps, [Some(-2), None, None, Some(5), Some(7), Some(6)]);
    let keys: Vec<_> = found.iter().map(|record| record.1.as_deref()).collect();
    assert_eq!(keys, [Some(&b"key"[..]), None, None, None, Some(b""), None]);
    assert_eq!(found.iter().map(|record| record.2).collect::<Vec<_>>(), [1, 0, 0, 0, 1, 0]);

    let mut consumer = cluster.consumer(TOPIC);
    expect_lines(&mut consumer, &partition, &["r0", "r1", "r2", "r3", "r4", "r5"]);
}
