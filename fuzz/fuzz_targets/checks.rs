//! Checks that must hold for any octets: the bodies of the fuzz targets. `tests/wire/corpus.rs` runs them on the corpus, so
//! that former findings stay tested without a nightly compiler.

use dafka::wire::batch::{AnyBatch, Attributes, Batch, BatchBuilder, CompressedBatch, HeadersBuf, PushError};
use dafka::wire::{
    Message, NodeBeacon, Position, PositionTemplate, Subscription, TowerBeacon, partition_key,
};

/// The flag of FETCH that has a meaning, and those of MEMBER.
const TAKES_BATCHES: u8 = 1;
const MEMBER_FLAGS: u8 = 3;

/// Checks octets as the first frame of a message, and as a subscription. Returns whether they are a message.
pub(crate) fn check_message(octets: &[u8]) -> bool {
    if let Some(subscription) = Subscription::decode(octets) {
        assert!(subscription.topic.len() + 2 <= octets.len());
    }
    let Ok(message) = Message::decode(octets) else { return false };

    // Each message has only one encoding, so the octets must start with it. Flags without a meaning are lost.
    let mut encoded = Vec::new();
    message.encode(&mut encoded).expect("what was decoded can be encoded");
    let mut known = octets.to_vec();
    if without_flags(message) != message {
        known[encoded.len() - 1] &= TAKES_BATCHES;
    } else if let Message::Member { .. } = message {
        known[encoded.len() - 1] &= MEMBER_FLAGS;
    }
    assert!(known.starts_with(&encoded), "{message:?} encodes to {}", encoded.escape_ascii());
    // Octets after the message have no effect. Without its last octet, the message is invalid or lacks its last field.
    assert_eq!(Message::decode(&encoded), Ok(message));
    match (Message::decode(&encoded[..encoded.len() - 1]), without_last_extension(message)) {
        (Err(_), _) => {}
        (Ok(cut), shorter) => {
            assert_ne!(shorter, message);
            assert_eq!(cut, shorter);
        }
    }

    match message {
        Message::Record(position)
        | Message::DirectRecord(position)
        | Message::Records(position)
        | Message::DirectRecords(position)
        | Message::Head(position)
        | Message::DirectHead { position, store: _ } => {
            encoded.clear();
            without_extension(message)
                .encode(&mut encoded)
                .expect("what is valid stays so when it is shorter");
            check_position(message.id(), position, &encoded);
        }
        Message::ConsumerHello { subjects, .. } => {
            assert_eq!(subjects.iter().count(), subjects.len() as usize);
            assert!(subjects.iter().all(|subject| subject.len() <= 255 && !subject.contains(&0)));
        }
        _ => {}
    }
    true
}

/// The message as libdafka 0.1.0 sends it.
pub(crate) fn without_extension(message: Message) -> Message {
    match message {
        Message::Ack { topic, subject, sequence, store: _ } => {
            Message::Ack { topic, subject, sequence, store: b"" }
        }
        Message::DirectHead { position, store: _ } => Message::DirectHead { position, store: b"" },
        Message::Fetch { topic, address, subject, sequence, count, store: _, takes_batches: _ } => {
            Message::Fetch { topic, address, subject, sequence, count, store: b"", takes_batches: false }
        }
        message => message,
    }
}

/// The message without the field that follows the name of a store.
pub(crate) fn without_flags(message: Message) -> Message {
    match message {
        Message::Fetch { topic, address, subject, sequence, count, store, takes_batches: _ } => {
            Message::Fetch { topic, address, subject, sequence, count, store, takes_batches: false }
        }
        message => message,
    }
}

/// The message without the last of the fields that libdafka 0.1.0 does not know.
pub(crate) fn without_last_extension(message: Message) -> Message {
    let shorter = without_flags(message);
    if shorter == message { without_extension(message) } else { shorter }
}

fn check_position(id: u8, position: Position, frame: &[u8]) {
    let Position { topic, address, subject, sequence, .. } = position;
    assert_eq!(position.key(), Some(&partition_key(position.partition())[..]));
    let mut template = PositionTemplate::new(id, topic, address, subject).expect("valid names");
    assert_eq!(template.frame(sequence), frame);
}

/// Checks octets as the frames of a beacon, with a newline between two frames. Of the frames of a valid beacon, only the
/// sender can contain a newline. Returns whether they are a beacon.
pub(crate) fn check_beacon(octets: &[u8]) -> bool {
    let frames: Vec<&[u8]> = octets.split(|&octet| octet == b'\n').collect();
    let (node, tower) = (NodeBeacon::decode(&frames), TowerBeacon::decode(&frames));
    if let Ok(beacon) = &node {
        check_node_beacon(beacon, &frames);
    }
    if let Ok(beacon) = &tower {
        let encoded = beacon.encode();
        assert_eq!(encoded, frames[..encoded.len()]);
        assert!(
            beacon.endpoint.starts_with("tcp://") && beacon.endpoint.bytes().all(|it| it.is_ascii_graphic())
        );
        assert!(!beacon.endpoint.contains([';', '*']));
    }
    node.is_ok() || tower.is_ok()
}

fn check_node_beacon(beacon: &NodeBeacon, frames: &[&[u8]]) {
    let encoded = beacon.encode();
    assert_eq!(encoded, frames[..encoded.len()]);
    assert_ne!(beacon.port, 0);
    if beacon.host.is_empty() {
        return;
    }
    // When a tower accepts the beacon of a node, other nodes accept the tower's announcement of that node.
    let host = std::str::from_utf8(beacon.host).expect("a host is ASCII");
    let endpoint = format!("tcp://{host}:{}", beacon.port);
    let announced = TowerBeacon { sender: beacon.sender, endpoint: &endpoint, traffic: beacon.traffic };
    let encoded = announced.encode();
    let frames: Vec<&[u8]> = encoded.iter().map(Vec::as_slice).collect();
    assert_eq!(TowerBeacon::decode(&frames), Ok(announced));
}

/// Replaces the checksum of a batch.
pub(crate) trait Checksum {
    /// The octets with the checksum that matches them. Octets that are too short for one stay as they are.
    fn with_checksum(self) -> Self;
}

impl Checksum for Vec<u8> {
    fn with_checksum(mut self) -> Self {
        if let Some((checksum, covered)) = self.split_first_chunk_mut::<4>() {
            *checksum = crc32fast::hash(covered).to_be_bytes();
        }
        self
    }
}

/// Checks octets as a batch, also with the checksum that matches them: a fuzzer cannot guess it. Returns whether they are
/// a batch with that checksum.
pub(crate) fn check_batch(octets: &[u8]) -> bool {
    let octets_with_checksum = octets.to_vec().with_checksum();
    let checked = AnyBatch::check(&octets_with_checksum);
    if octets != octets_with_checksum {
        assert!(AnyBatch::check(octets).is_err());
    }
    match checked {
        Ok(AnyBatch::Plain(batch)) => check_plain(&batch),
        Ok(AnyBatch::Compressed(batch)) => return check_compressed(&batch),
        Err(_) => return false,
    }
    true
}

fn check_plain(batch: &Batch<&Vec<u8>>) {
    assert_eq!(batch.records().count(), batch.count());
    assert_eq!(batch.record(batch.count()), None);
    let octets = batch.as_octets();
    let cut = octets[..octets.len() - 1].to_vec().with_checksum();
    assert!(Batch::check(cut).is_err(), "a cut batch is valid");
    check_rebuilt(batch);
}

/// Returns whether the batch can be unpacked.
fn check_compressed(batch: &CompressedBatch<&Vec<u8>>) -> bool {
    let unpacked = batch.unpack(Vec::new());
    assert_eq!(unpacked.as_ref().map(drop), batch.check_area(&mut Vec::new()).as_ref().copied());
    let Ok(unpacked) = unpacked else { return false };
    assert_eq!((unpacked.count(), unpacked.as_octets().len()), (batch.count(), batch.unpacked_len_bytes()));
    assert!(check_batch(unpacked.as_octets()), "a valid batch");
    true
}

/// Builds the batch again from its records. The records and the octets are the same.
fn check_rebuilt(batch: &Batch<&Vec<u8>>) {
    let mut builder = BatchBuilder::new(Vec::new());
    // A timestamp that equals that of the batch may have been omitted.
    let own = |timestamp: Option<i64>| timestamp.filter(|_| timestamp != batch.timestamp_ms());
    for record in batch.records() {
        let mut headers = HeadersBuf::new();
        for (name, value) in record.headers {
            headers.push(name, value).expect("what was read can be written");
        }
        assert_eq!(headers.as_headers(), record.headers);
        let timestamp_ms = own(record.timestamp_ms);
        let attributes = Attributes { timestamp_ms, key: record.key, headers: record.headers };
        let pushed = if batch.has_attributes() {
            builder.push_with(&attributes, record.content)
        } else {
            assert!(attributes.is_empty());
            builder.push(record.content)
        };
        match pushed {
            Ok(()) => {}
            // Readers accept longer batches than a producer builds.
            Err(PushError::Full) => return,
            Err(error) => panic!("{error}"),
        }
    }
    builder.set_timestamp_ms(batch.timestamp_ms());
    let rebuilt = builder.finish(Vec::new()).map(Batch::into_octets).expect("a batch has records");
    let again = Batch::check(&rebuilt).expect("what was built is valid");
    assert!(again.records().eq(batch.records()));
    assert!(rebuilt.len() <= batch.as_octets().len());
    if rebuilt.len() == batch.as_octets().len() {
        assert_eq!(rebuilt, batch.as_octets());
    }
}
