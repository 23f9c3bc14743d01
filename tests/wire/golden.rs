//! Golden frames: each message and beacon, encoded by hand according to the description of the protocol. So these tests
//! compare the codec with the description, and not with itself.

use dafka::committed::Committed;
use dafka::partition_name::PartitionName;
use dafka::wire::batch::{Attributes, HeadersBuf};
use dafka::wire::{
    DecodeError, EncodeError, Message, NodeBeacon, Position, PositionTemplate, SubjectsBuf, TowerBeacon,
    Traffic, WELCOME, id, partition_key, prefix, record_attributes,
};

/// Node addresses: UUIDs as 32 upper-case hexadecimal digits, which are 0x20 octets.
const ALICE: &[u8; 32] = b"0123456789ABCDEF0123456789ABCDEF";
const STORE: &[u8; 32] = b"FEDCBA9876543210FEDCBA9876543210";
const BOB: &[u8; 32] = b"00112233445566778899AABBCCDDEEFF";

fn concat(parts: &[&[u8]]) -> Vec<u8> {
    parts.concat()
}

/// Checks name, content and encoding of a message, in both directions, also with extensions after the frame.
#[track_caller]
fn assert_golden(message: Message, name: &str, frame: &[u8]) {
    assert_eq!(Message::decode(frame), Ok(message));
    assert_eq!(message.name(), name);
    assert_eq!(message.has_content(), name.contains("RECORD"));

    let mut encoded = b"before".to_vec();
    message.encode(&mut encoded).unwrap();
    assert_eq!(encoded.escape_ascii().to_string(), concat(&[b"before", frame]).escape_ascii().to_string());

    for extension in [&b"\0"[..], b"\x01", b"\xFF\xFF\xFF\xFF", &[0xA5; 100]] {
        assert_eq!(Message::decode(&concat(&[frame, extension])), Ok(message));
    }
    // A truncated frame is never valid.
    for len in 0..frame.len() {
        Message::decode(&frame[..len]).unwrap_err();
    }
    assert_eq!(message.id(), frame[0]);
    assert_eq!(frame[1..].iter().position(|&octet| octet == 0), Some(message.topic().len()));
}

/// As [`assert_golden`], for the messages that contain nothing but a position. Also checks the template and the key.
#[track_caller]
fn assert_golden_position<'a>(
    variant: fn(Position<'a>) -> Message<'a>,
    name: &str,
    position: Position<'a>,
    frame: &[u8],
    key: &[u8],
) {
    assert_golden(variant(position), name, frame);

    let Position { topic, address, subject, sequence, .. } = position;
    let mut template = PositionTemplate::new(frame[0], topic, address, subject).unwrap();
    template.frame(!sequence);
    assert_eq!(template.frame(sequence), frame);

    let (Message::Record(decoded)
    | Message::DirectRecord(decoded)
    | Message::Records(decoded)
    | Message::DirectRecords(decoded)
    | Message::Head(decoded)
    | Message::DirectHead { position: decoded, store: b"" }) = Message::decode(frame).unwrap()
    else {
        panic!("carries no position");
    };
    assert_eq!(decoded.key(), Some(key));
    assert_eq!(partition_key(PartitionName { topic: subject, producer: address }), key);
    assert_eq!(position.key(), None);
}

/// The fields after the topic with its NUL and the version are: address, subject and sequence (most significant octet
/// first).
#[test]
fn record() {
    let key = concat(&[b"\x20", ALICE, b"\x05hello"]);
    let frame = concat(&[b"M", b"hello\0", b"\x01", &key, b"\x01\x02\x03\x04\x05\x06\x07\x08"]);
    let position = Position::new(b"hello", ALICE, b"hello", 0x0102_0304_0506_0708);
    assert_golden_position(Message::Record, "RECORD", position, &frame, &key);
}

/// The topic is the requester.
#[test]
fn direct_record() {
    let key = concat(&[b"\x20", ALICE, b"\x01t"]);
    let frame = concat(&[b"D", STORE, b"\0", b"\x01", &key, b"\0\0\0\0\0\0\0\x2A"]);
    let position = Position::new(STORE, ALICE, b"t", 42);
    assert_golden_position(Message::DirectRecord, "DIRECT-RECORD", position, &frame, &key);
}

/// The sequence is that of the batch's first record.
#[test]
fn records() {
    let key = concat(&[b"\x20", ALICE, b"\x05hello"]);
    let frame = concat(&[b"C", b"hello\0", b"\x01", &key, b"\x01\x02\x03\x04\x05\x06\x07\x08"]);
    let position = Position::new(b"hello", ALICE, b"hello", 0x0102_0304_0506_0708);
    assert_golden_position(Message::Records, "RECORDS", position, &frame, &key);
}

/// The topic is the requester.
#[test]
fn direct_records() {
    let key = concat(&[b"\x20", ALICE, b"\x01t"]);
    let frame = concat(&[b"R", STORE, b"\0", b"\x01", &key, b"\0\0\0\0\0\0\0\x2A"]);
    let position = Position::new(STORE, ALICE, b"t", 42);
    assert_golden_position(Message::DirectRecords, "DIRECT-RECORDS", position, &frame, &key);
}

/// The topic is the consumer's name. After the position follow the timestamp and the consumer's address.
#[test]
fn commit() {
    let position = concat(&[b"\x20", ALICE, b"\x05hello", b"\0\0\0\0\0\0\0\x2A"]);
    let fields = concat(&[b"\0\0\x01\x93\x74\xDF\x4C\x00", b"\x20", BOB]);
    let frame = concat(&[b"P", b"billing\0", b"\x01", &position, &fields]);
    let position = Position::new(b"billing", ALICE, b"hello", 42);
    let message = Message::Commit { position, timestamp_ms: 0x0193_74DF_4C00, requester: BOB };
    assert_golden(message, "COMMIT", &frame);
    assert_eq!(message.committed(), Some(Committed { timestamp_ms: 0x0193_74DF_4C00, next: 42 }));
}

/// The topic is the requester. The name of the store comes last.
#[test]
fn commit_ack() {
    let position = concat(&[b"\x20", ALICE, b"\x05hello", b"\0\0\0\0\0\0\0\x2A"]);
    let fields = concat(&[b"\0\0\0\0\0\0\0\x07", b"\x20", STORE]);
    let frame = concat(&[b"A", BOB, b"\0", b"\x01", &position, &fields]);
    let position = Position::new(BOB, ALICE, b"hello", 42);
    assert_golden(Message::CommitAck { position, timestamp_ms: 7, store: STORE }, "COMMIT-ACK", &frame);
}

/// The topic is the requester. The name of the consumer and the name of the store come last.
#[test]
fn position() {
    let position = concat(&[b"\x20", ALICE, b"\x05hello", b"\0\0\0\0\0\0\0\x2A"]);
    let fields = concat(&[b"\0\0\0\0\0\0\0\x07", b"\x07billing", b"\x20", STORE]);
    let frame = concat(&[b"Q", BOB, b"\0", b"\x01", &position, &fields]);
    let position = Position::new(BOB, ALICE, b"hello", 42);
    let message = Message::Position { position, timestamp_ms: 7, name: b"billing", store: STORE };
    assert_golden(message, "POSITION", &frame);
}

#[test]
fn get_positions() {
    let message = |name| Message::GetPositions { topic: name, address: BOB };
    assert_golden(message(b"billing"), "GET-POSITIONS", &concat(&[b"Ibilling\0\x01\x20", BOB]));
    assert_golden(message(b""), "GET-POSITIONS", &concat(&[b"I\0\x01\x20", BOB]));
}

/// The topic is the name of the group.
#[test]
fn member() {
    let fields = concat(&[b"\x20", ALICE, b"\x01\x02\x03\x04\x05\x06\x07\x08", b"\0\0\0\0\0\0\0\x05"]);
    for (is_leaving, is_listening, flags) in
        [(false, false, b"\0"), (true, false, b"\x01"), (false, true, b"\x02"), (true, true, b"\x03")]
    {
        let (topic, view, held) = (b"billing\x1Fo".as_slice(), 0x0102_0304_0506_0708, 5);
        let message = Message::Member { topic, address: ALICE, view, held, is_leaving, is_listening };
        assert_golden(message, "MEMBER", &concat(&[b"Jbilling\x1Fo\0\x01", &fields, flags]));
    }
}

/// A peer's subscriptions arrive in the order of their octets.
#[test]
fn subscriptions_to_batches_arrive_before_those_to_records() {
    assert!(prefix(id::RECORDS, &[0xFF; 255]) < prefix(id::RECORD, b""));
}

/// The topic is ISO 8859-1, which is not UTF-8.
#[test]
fn head() {
    let key = b"\x03abc\x05gr\xFC\xDFe";
    let frame = concat(&[b"H", b"gr\xFC\xDFe\0", b"\x01", key, b"\0\0\0\0\0\x01\x86\xA0"]);
    let position = Position::new(b"gr\xFC\xDFe", b"abc", b"gr\xFC\xDFe", 100_000);
    assert_golden_position(Message::Head, "HEAD", position, &frame, key);
}

#[test]
fn direct_head() {
    let key = concat(&[b"\x20", ALICE, b"\x05hello"]);
    let frame = concat(&[b"E", STORE, b"\0", b"\x01", &key, &[0; 8]]);
    let position = Position::new(STORE, ALICE, b"hello", 0);
    let anonymous = |position| Message::DirectHead { position, store: b"" };
    assert_golden_position(anonymous, "DIRECT-HEAD", position, &frame, &key);
}

/// The topic is the partition. Then: address of the requester, subject, sequence, count.
#[test]
fn fetch() {
    let numbers = b"\0\0\0\0\0\0\x01\0\0\x01\x86\xA0";
    let frame = concat(&[b"F", ALICE, b"\0", b"\x01", b"\x20", STORE, b"\x05hello", numbers]);
    assert_golden(plain_fetch(ALICE, STORE, b"hello", 256, 100_000), "FETCH", &frame);
}

/// A FETCH with the fields of 0.1.0 only.
fn plain_fetch<'a>(
    topic: &'a [u8],
    address: &'a [u8],
    subject: &'a [u8],
    sequence: u64,
    count: u32,
) -> Message<'a> {
    Message::Fetch { topic, address, subject, sequence, count, store: b"", takes_batches: false }
}

/// Flags follow the store's name, which is then sent even if it is empty. Only bit 0 has a meaning.
#[test]
fn flags_follow_the_store_name_in_a_fetch() {
    let core = concat(&[b"F", ALICE, b"\0\x01\x20", BOB, b"\x05hello\0\0\0\0\0\0\0\x07\0\0\0\x02"]);
    let fetch = |store, takes_batches| {
        let (subject, sequence, count) = (b"hello", 7, 2);
        Message::Fetch { topic: ALICE, address: BOB, subject, sequence, count, store, takes_batches }
    };
    let frame = |store: &[u8], flags: &[u8]| concat(&[&core, &[store.len() as u8], store, flags]);
    for store in [&STORE[..], b"", &[b's'; 255]] {
        let mut encoded = Vec::new();
        fetch(store, true).encode(&mut encoded).unwrap();
        assert_eq!(encoded, frame(store, b"\x01"));
        for (flags, takes_batches) in
            [(&b""[..], false), (b"\0", false), (b"\xFE\x01", false), (b"\x01", true), (b"\xFF\0", true)]
        {
            assert_eq!(Message::decode(&frame(store, flags)), Ok(fetch(store, takes_batches)));
        }
    }
    // What follows octets that are no name is not read: it is a part of another extension.
    for other in [&b"\x03a\0b\x01"[..], b"\x01\0\x01\x01\x01", b"\x02\x01"] {
        assert_eq!(Message::decode(&concat(&[&core, other])), Ok(fetch(b"", false)));
    }
}

/// The topic is the producer. Then: subject, sequence.
#[test]
fn ack() {
    let frame = concat(&[b"K", ALICE, b"\0", b"\x01", b"\x05hello", b"\0\0\0\0\0\0\0\x07"]);
    let message = Message::Ack { topic: ALICE, subject: b"hello", sequence: 7, store: b"" };
    assert_golden(message, "ACK", &frame);
}

/// Our stores send their name in a string after the fields of 0.1.0.
#[test]
fn store_names_follow_the_fields_of_0_1_0() {
    let ack = |store| Message::Ack { topic: ALICE, subject: b"hello", sequence: 7, store };
    let core = concat(&[b"K", ALICE, b"\0\x01\x05hello\x00\x00\x00\x00\x00\x00\x00\x07"]);
    assert_extended(ack(STORE), ack(b""), &core);

    let position = Position::new(BOB, ALICE, b"hello", 7);
    let head = |store| Message::DirectHead { position, store };
    let core = concat(&[b"E", BOB, b"\0\x01\x20", ALICE, b"\x05hello\x00\x00\x00\x00\x00\x00\x00\x07"]);
    assert_extended(head(STORE), head(b""), &core);

    let (subject, sequence, count, takes_batches) = (b"hello", 7, 2, false);
    let fetch =
        |store| Message::Fetch { topic: ALICE, address: BOB, subject, sequence, count, store, takes_batches };
    let numbers = b"\x05hello\x00\x00\x00\x00\x00\x00\x00\x07\x00\x00\x00\x02";
    assert_extended(fetch(STORE), fetch(b""), &concat(&[b"F", ALICE, b"\0\x01\x20", BOB, numbers]));
}

/// Checks that the message with the name `STORE` is the message of 0.1.0 with a string after it.
#[track_caller]
fn assert_extended(named: Message, anonymous: Message, core: &[u8]) {
    let frame = concat(&[core, b"\x20", STORE]);
    let mut encoded = Vec::new();
    named.encode(&mut encoded).unwrap();
    assert_eq!(encoded, frame);
    assert_eq!(Message::decode(&frame), Ok(named));
    assert_eq!(Message::decode(core), Ok(anonymous));
    // Other bytes after the fields are another extension, and the message has no store name.
    for other in [&b"\x20too short"[..], b"\x03a\0b", b"\xff"] {
        assert_eq!(Message::decode(&concat(&[core, other])), Ok(anonymous));
    }
}

/// After the version: address of the requester. The empty topic means all topics.
#[test]
fn get_heads() {
    for topic in [&b"hello"[..], b""] {
        let frame = concat(&[b"G", topic, b"\0", b"\x01", b"\x20", STORE]);
        assert_golden(Message::GetHeads { topic, address: STORE }, "GET-HEADS", &frame);
    }
}

/// The topic is the store's reader. Then: address of the consumer, number of subjects, subjects as longstr. In a
/// consumer of 0.1.0 with offset reset `latest` there are none.
#[test]
fn consumer_hello() {
    let three = b"\0\0\0\x03\0\0\0\x05hello\0\0\0\0\0\0\0\x06hello2";
    for (names, encoded) in [(&[&b"hello"[..], b"", b"hello2"][..], &three[..]), (&[], b"\0\0\0\0")] {
        let frame = concat(&[b"W", STORE, b"\0", b"\x01", b"\x20", ALICE, encoded]);
        let mut buf = SubjectsBuf::new();
        names.iter().for_each(|name| buf.push(name).unwrap());
        let message = Message::ConsumerHello { topic: STORE, address: ALICE, subjects: buf.as_subjects() };
        assert_golden(message, "CONSUMER-HELLO", &frame);

        let Ok(Message::ConsumerHello { subjects, .. }) = Message::decode(&frame) else { panic!("no hello") };
        assert_eq!(subjects.iter().collect::<Vec<_>>(), names);
        let count = names.len();
        assert_eq!((subjects.len() as usize, subjects.iter().len()), (count, count));
        assert_eq!(subjects.is_empty(), names.is_empty());
    }
}

/// The topic is the consumer. Then: address of the store's reader.
#[test]
fn store_hello() {
    let frame = concat(&[b"L", ALICE, b"\0", b"\x01", b"\x20", STORE]);
    assert_golden(Message::StoreHello { topic: ALICE, address: STORE }, "STORE-HELLO", &frame);
}

#[test]
fn empty_names() {
    let frame = b"M\0\x01\0\0\0\0\0\0\0\0\0\0";
    assert_golden_position(Message::Record, "RECORD", Position::new(b"", b"", b"", 0), frame, b"\0\0");
    assert_golden(plain_fetch(b"", b"", b"", 0, 0), "FETCH", b"F\0\x01\0\0\0\0\0\0\0\0\0\0\0\0\0\0");
    let ack = Message::Ack { topic: b"", subject: b"", sequence: 0, store: b"" };
    assert_golden(ack, "ACK", b"K\0\x01\0\0\0\0\0\0\0\0\0");
    assert_golden(Message::StoreHello { topic: b"", address: b"" }, "STORE-HELLO", b"L\0\x01\0");
}

#[test]
fn longest_names_and_greatest_numbers() {
    let (t, a, s) = ([b't'; 255], [b'a'; 255], [b's'; 255]);
    let (sequence, count) = (u64::MAX, u32::MAX);

    let key = concat(&[b"\xFF", &a, b"\xFF", &s]);
    let frame = concat(&[b"H", &t, b"\0\x01", &key, &[0xFF; 8]]);
    assert_golden_position(Message::Head, "HEAD", Position::new(&t, &a, &s, sequence), &frame, &key);

    let frame = concat(&[b"F", &t, b"\0\x01", &key, &[0xFF; 8], &[0xFF; 4]]);
    assert_golden(plain_fetch(&t, &a, &s, sequence, count), "FETCH", &frame);

    let frame = concat(&[b"K", &t, b"\0\x01\xFF", &s, &[0xFF; 8]]);
    assert_golden(Message::Ack { topic: &t, subject: &s, sequence, store: b"" }, "ACK", &frame);

    let frame = concat(&[b"W", &t, b"\0\x01\xFF", &a, b"\0\0\0\x01", b"\0\0\0\xFF", &s]);
    let mut subjects = SubjectsBuf::new();
    subjects.push(&s).unwrap();
    let hello = Message::ConsumerHello { topic: &t, address: &a, subjects: subjects.as_subjects() };
    assert_golden(hello, "CONSUMER-HELLO", &frame);
}

#[track_caller]
fn assert_refused(frame: &[u8], why: &str) {
    assert_eq!(Message::decode(frame).unwrap_err().to_string(), why);
}

#[test]
fn bad_frames_are_refused_with_reasons() {
    assert_eq!(Message::decode(b""), Err(DecodeError::Empty));
    assert_eq!(Message::decode(b"X\0\x01"), Err(DecodeError::UnknownId(b'X')));
    assert_eq!(Message::decode(b"G\0\x02\0"), Err(DecodeError::Version(2)));
    assert_eq!(Message::decode(b"G\0\0\0"), Err(DecodeError::Version(0)));

    for (frame, why) in [
        (&b""[..], "the frame is empty"),
        (b"\xAA\xA5", "no message has the id 0xAA"),
        (b"K\0\x03", "protocol version 3 is not supported"),
        (b"Mhello", "RECORD: the frame ends before the end of its topic"),
        (b"Ehello\0", "DIRECT-HEAD: the frame ends before the end of its version"),
        (b"G\0\x01", "GET-HEADS: the frame ends before the end of its address"),
        (b"G\0\x01\x05abcd", "GET-HEADS: the frame ends before the end of its address"),
        (b"M\0\x01\0", "RECORD: the frame ends before the end of its subject"),
        (b"D\0\x01\0\0\0\0\0\0\0\0\0", "DIRECT-RECORD: the frame ends before the end of its sequence"),
        (b"C\0\x01\0\0\0\0\0\0\0\0\0", "RECORDS: the frame ends before the end of its sequence"),
        (b"R\0\x01", "DIRECT-RECORDS: the frame ends before the end of its address"),
        (b"F\0\x01\0\0\0\0\0\0\0\0\0\0\0\0\0", "FETCH: the frame ends before the end of its count"),
        (b"L\0\x01\x03a\0b", "STORE-HELLO: the address contains a NUL"),
        (b"K\0\x01\x01\0\0\0\0\0\0\0\0\0", "ACK: the subject contains a NUL"),
    ] {
        assert_refused(frame, why);
    }

    let why = "HEAD: the topic is longer than 255 octets";
    assert_refused(&concat(&[b"H", &[b't'; 256], b"\0\x01", &[0; 10]]), why);
    assert_refused(&concat(&[b"H", &[b't'; 256]]), why);
    // The NUL is missing.
    assert_refused(&concat(&[b"H", &[b't'; 255]]), "HEAD: the frame ends before the end of its topic");
}

#[test]
fn bad_subjects_are_refused() {
    let why = "CONSUMER-HELLO: the frame ends before the end of its subjects";
    assert_refused(b"W\0\x01\0", why);
    assert_refused(b"W\0\x01\0\0\0\0", why);
    assert_refused(b"W\0\x01\0\0\0\0\x01", why);
    assert_refused(b"W\0\x01\0\0\0\0\x01\0\0\0", why);
    assert_refused(b"W\0\x01\0\0\0\0\x01\0\0\0\x02a", why);
    assert_refused(b"W\0\x01\0\0\0\0\x02\0\0\0\0\0\0\0", why);
    assert_refused(b"W\0\x01\0\0\0\0\x01\0\0\0\x03a\0b", "CONSUMER-HELLO: the subjects contains a NUL");

    let why = "CONSUMER-HELLO: the subjects is longer than 255 octets";
    assert_refused(b"W\0\x01\0\0\0\0\x01\xFF\xFF\xFF\xFF", why);
    assert_refused(&concat(&[b"W\0\x01\0\0\0\0\x01\0\0\x01\0", &[b's'; 256]]), why);
}

/// An impossible count is refused without a look at the subjects, which would take minutes here.
#[test]
fn impossible_subject_counts_are_refused_at_once() {
    let mut frame = b"W\0\x01\0\xFF\xFF\xFF\xFF".to_vec();
    frame.resize(16_000_000, 0);
    let started = std::time::Instant::now();
    for _ in 0..10_000 {
        Message::decode(&frame).unwrap_err();
    }
    assert!(started.elapsed().as_secs() < 20, "{:?}", started.elapsed());
}

#[test]
fn refuses_to_encode_invalid_names() {
    let long = [b'x'; 256];
    let too_long = |message, field| EncodeError::TooLong { message, field };
    let nul = |message, field| EncodeError::Nul { message, field };
    let cases = [
        (Message::Record(Position::new(&long, b"", b"", 0)), too_long("RECORD", "topic")),
        (Message::Head(Position::new(b"", &long, b"", 0)), too_long("HEAD", "address")),
        (
            Message::DirectHead { position: Position::new(b"", b"", &long, 0), store: b"" },
            too_long("DIRECT-HEAD", "subject"),
        ),
        (Message::DirectRecord(Position::new(b"", b"", b"a\0", 0)), nul("DIRECT-RECORD", "subject")),
        (Message::Ack { topic: b"\0", subject: b"", sequence: 0, store: b"" }, nul("ACK", "topic")),
        (Message::GetHeads { topic: b"", address: b"a\0b" }, nul("GET-HEADS", "address")),
        (Message::StoreHello { topic: b"", address: &long }, too_long("STORE-HELLO", "address")),
        (plain_fetch(b"", b"", &long, 0, 0), too_long("FETCH", "subject")),
        (
            Message::Fetch {
                topic: b"",
                address: b"",
                subject: b"",
                sequence: 0,
                count: 0,
                store: &long,
                takes_batches: true,
            },
            too_long("FETCH", "extension"),
        ),
        (Message::Records(Position::new(b"a\0", b"", b"", 0)), nul("RECORDS", "topic")),
        (Message::DirectRecords(Position::new(b"", b"", &long, 0)), too_long("DIRECT-RECORDS", "subject")),
    ];
    for (message, error) in cases {
        let mut out = b"kept".to_vec();
        assert_eq!(message.encode(&mut out), Err(error));
        assert_eq!(out, b"kept");
    }
    assert_eq!(
        EncodeError::TooLong { message: "FETCH", field: "subject" }.to_string(),
        "FETCH: the subject is longer than 255 octets"
    );
}

#[test]
fn bad_subjects_are_not_pushed() {
    let mut subjects = SubjectsBuf::new();
    subjects.push(b"good").unwrap();
    let before = subjects.clone();
    assert_eq!(
        subjects.push(&[b's'; 256]),
        Err(EncodeError::TooLong { message: "CONSUMER-HELLO", field: "subjects" })
    );
    assert_eq!(
        subjects.push(b"a\0b"),
        Err(EncodeError::Nul { message: "CONSUMER-HELLO", field: "subjects" })
    );
    assert_eq!(subjects.as_subjects(), before.as_subjects());
}

#[test]
fn templates_are_for_positions_only() {
    for id in 0..=u8::MAX {
        let template = PositionTemplate::new(id, b"t", b"a", b"s");
        let is_position = b"MDCRHE".contains(&id);
        assert_eq!(template.is_ok(), is_position, "{id}");
    }
    assert_eq!(PositionTemplate::new(id::ACK, b"", b"", b"").unwrap_err(), EncodeError::NotAPosition(b'K'));
    assert_eq!(
        PositionTemplate::new(id::HEAD, b"", b"\0", b"").unwrap_err(),
        EncodeError::Nul { message: "HEAD", field: "address" }
    );
}

/// A position has no key after its address or its subject was replaced, because the key is that of the original names.
#[test]
fn a_changed_position_has_no_key() {
    let frame = b"Mt\0\x01\x01a\x01s\0\0\0\0\0\0\0\x01";
    let Ok(Message::Record(position)) = Message::decode(frame) else { panic!("no record") };
    assert_eq!(position.key(), Some(&b"\x01a\x01s"[..]));

    let key_after = |change: fn(&mut Position<'static>)| {
        let mut changed = position;
        change(&mut changed);
        changed.key()
    };
    assert_eq!(key_after(|it| (it.sequence, it.topic) = (9, b"u")), position.key());
    assert_eq!(key_after(|it| it.address = b"b"), None);
    assert_eq!(key_after(|it| it.subject = b"z"), None);
    assert_eq!(key_after(|it| (it.address, it.subject) = (b"", b"")), None);
    assert_eq!(key_after(|it| it.address = b"longer than the key"), None);
    assert_eq!(key_after(|it| std::mem::swap(&mut it.address, &mut it.subject)), None);
}

#[test]
fn positions_differ_in_each_field() {
    let position = Position::new(b"t", b"a", b"s", 1);
    assert_eq!(position, Position::new(b"t", b"a", b"s", 1));
    assert_ne!(position, Position::new(b"T", b"a", b"s", 1));
    assert_ne!(position, Position::new(b"t", b"A", b"s", 1));
    assert_ne!(position, Position::new(b"t", b"a", b"S", 1));
    assert_ne!(position, Position::new(b"t", b"a", b"s", 2));
}

#[test]
fn node_beacon() {
    let frames: [&[u8]; 4] = [b"B", ALICE, b"", b"5556"];
    let beacon = NodeBeacon { sender: ALICE, host: b"", port: 5556, traffic: None };
    assert_eq!(NodeBeacon::decode(&frames), Ok(beacon.clone()));
    assert_eq!(beacon.encode(), frames);

    let frames: [&[u8]; 4] = [b"B", &[0xFF; 255], b"node7.example.org", b"65535"];
    let beacon =
        NodeBeacon { sender: &[0xFF; 255], host: b"node7.example.org", port: u16::MAX, traffic: None };
    assert_eq!(NodeBeacon::decode(&frames), Ok(beacon.clone()));
    assert_eq!(beacon.encode(), frames);

    // Frames of a later revision.
    let [b, sender, host, port] = frames;
    assert_eq!(NodeBeacon::decode(&[b, sender, host, port, b"", b"\0"]), Ok(beacon));
    for host in [&b"[fe80::1%eth0]"[..], b"::1", b"eth0", &[b'h'; 255]] {
        assert_eq!(
            NodeBeacon::decode(&[b, sender, host, b"1"]),
            Ok(NodeBeacon { sender, host, port: 1, traffic: None })
        );
    }
}

#[test]
fn tower_beacon() {
    let frames: [&[u8]; 3] = [b"B", ALICE, b"tcp://192.0.2.1:49152"];
    // A program of the Java implementation names no sender.
    let nameless = [&b"B"[..], b"", b"", b"1"];
    assert_eq!(
        NodeBeacon::decode(&nameless),
        Ok(NodeBeacon { sender: b"", host: b"", port: 1, traffic: None })
    );
    let beacon = TowerBeacon { sender: b"", endpoint: "tcp://h:1", traffic: None };
    assert_eq!(TowerBeacon::decode(&[b"B", b"", b"tcp://h:1"]), Ok(beacon));
    let beacon = TowerBeacon { sender: ALICE, endpoint: "tcp://192.0.2.1:49152", traffic: None };
    assert_eq!(TowerBeacon::decode(&frames), Ok(beacon.clone()));
    assert_eq!(beacon.encode(), frames);
    assert_eq!(TowerBeacon::decode(&[b"B", ALICE, frames[2], b"more", b""]), Ok(beacon));

    let longest = format!("tcp://{}:65535", "h".repeat(255));
    for endpoint in
        ["tcp://h:1", "tcp://[::1]:65535", "tcp://::ffff:10.0.0.1:80", "tcp://[fe80::1%eth0]:5", &longest]
    {
        let beacon = TowerBeacon { sender: b"s", endpoint, traffic: None };
        assert_eq!(TowerBeacon::decode(&[b"B", b"s", endpoint.as_bytes()]), Ok(beacon));
    }
    assert_eq!(WELCOME, b"W");
}

#[test]
fn beacons_with_traffic() {
    let traffic = Some(Traffic::new(b"MHD", b"KFG"));
    let frames: [&[u8]; 5] = [b"B", ALICE, b"", b"5556", b"DHM/FGK"];
    let beacon = NodeBeacon { sender: ALICE, host: b"", port: 5556, traffic };
    assert_eq!(NodeBeacon::decode(&frames), Ok(beacon.clone()));
    assert_eq!(beacon.encode(), frames);
    let frames: [&[u8]; 4] = [b"B", ALICE, b"tcp://192.0.2.1:49152", b"DHM/FGK"];
    let beacon = TowerBeacon { sender: ALICE, endpoint: "tcp://192.0.2.1:49152", traffic };
    assert_eq!(TowerBeacon::decode(&frames), Ok(beacon.clone()));
    assert_eq!(beacon.encode(), frames);
    assert_eq!(Traffic::decode(b"AZ/az"), Some(Traffic::new(b"ZA", b"za")));
    assert_eq!(Traffic::decode(b"/"), Some(Traffic::new(b"", b"")));
    // Any other frame names no traffic, so all nodes connect to the sender.
    let long = [&b"A/"[..], &[b'B'; 200]].concat();
    for frame in [&b""[..], b"A", b"BA/", b"AA/", b"A/B/", b"A/B ", b"A/1", b"\x01/\xFF", &long] {
        assert_eq!(Traffic::decode(frame), None, "{}", frame.escape_ascii());
        let beacon = NodeBeacon::decode(&[b"B", ALICE, b"", b"5556", frame]);
        assert_eq!(beacon.expect("a beacon").traffic, None);
    }
}

#[test]
fn bad_node_beacons_are_refused() {
    let why = |result: Result<NodeBeacon, DecodeError>| result.unwrap_err().to_string();
    let node = |frames: &[&'static [u8]]| why(NodeBeacon::decode(frames));
    assert_eq!(node(&[]), "node beacon: 0 frames where 4 are needed");
    assert_eq!(node(&[b"B", b"s", b""]), "node beacon: 3 frames where 4 are needed");
    assert_eq!(node(&[b"W", b"s", b"", b"1"]), "node beacon: the first frame is not valid");
    assert_eq!(node(&[b"B\0", b"s", b"", b"1"]), "node beacon: the first frame is not valid");
    for sender in [&b"a\0b"[..], &[b's'; 256]] {
        assert_eq!(node(&[b"B", sender, b"", b"1"]), "node beacon: the sender is not valid");
    }
    let hosts =
        [&b"a b"[..], b"a;b", b"*", b"h\n", b"h\0", b"gr\xC3\xBCn", b"[::1", b"::1]", b"[]", b"[[a]]"];
    for host in hosts.into_iter().chain([&[b'h'; 256][..]]) {
        assert_eq!(node(&[b"B", b"s", host, b"1"]), "node beacon: the host is not valid");
    }
    for port in
        [&b""[..], b"0", b"65536", b"-1", b"+1", b" 1", b"1 ", b"1\0", b"080", b"0x50", b"ssh", b"\xFF"]
    {
        assert_eq!(node(&[b"B", b"s", b"", port]), "node beacon: the port is not valid");
    }
}

#[test]
fn bad_tower_beacons_are_refused() {
    let tower = |frames: &[&[u8]]| TowerBeacon::decode(frames).unwrap_err().to_string();
    assert_eq!(tower(&[b"B", b"s"]), "tower beacon: 2 frames where 3 are needed");
    assert_eq!(tower(&[b"b", b"s", b"tcp://h:1"]), "tower beacon: the first frame is not valid");
    assert_eq!(tower(&[b"B", b"\0", b"tcp://h:1"]), "tower beacon: the sender is not valid");
    let too_long = format!("tcp://{}:1", "h".repeat(256));
    let bad = [
        "",
        "tcp://",
        "tcp://h",
        "tcp://:1",
        "tcp://h:",
        "tcp://h:0",
        "tcp://h:65536",
        "tcp://h:+1",
        "tcp://h:01",
        "tcp://h:*",
        "tcp://*:1",
        "tcp://h:1 ",
        " tcp://h:1",
        "tcp://h:1\n",
        "tcp://h h:1",
        "tcp://h\t:1",
        "tcp://h\0:1",
        "tcp://h\x7F:1",
        "tcp://a:0;b:1",
        "tcp://;b:1",
        "tcp://gr\u{FC}n:1",
        "tcp://h\u{85}:1",
        "udp://h:1",
        "TCP://h:1",
        "ipc:///tmp/socket",
        "inproc://h:1",
        "h:1",
        "tcp://[::1]",
        "tcp://[]:1",
        "tcp://[::1:1",
        "tcp://::1]:1",
        "tcp://[a]b:1",
        &too_long,
    ];
    for endpoint in bad {
        let frames: [&[u8]; 3] = [b"B", b"s", endpoint.as_bytes()];
        assert_eq!(tower(&frames), "tower beacon: the endpoint is not valid", "{endpoint:?}");
    }
    assert_eq!(tower(&[b"B", b"s", b"tcp://\xFF:1"]), "tower beacon: the endpoint is not valid");
    assert_eq!(tower(&[b"B", b"s", &[b'9'; 100_000]]), "tower beacon: the endpoint is not valid");
}

#[test]
fn a_record_with_attributes() {
    let position = Position::new(b"T", b"A", b"T", 7);
    let mut frame = Vec::new();
    Message::Record(position).encode(&mut frame).unwrap();
    let plain_len = frame.len();
    assert_eq!(record_attributes::of(&frame, &position), Attributes::default());
    record_attributes::append(&mut frame, &Attributes::default()).unwrap();
    assert_eq!(frame.len(), plain_len, "no field without attributes");

    let mut headers = HeadersBuf::new();
    headers.push(b"n", b"vv").unwrap();
    let attributes = Attributes { timestamp_ms: Some(-2), key: Some(b"key"), headers: headers.as_headers() };
    record_attributes::append(&mut frame, &attributes).unwrap();
    let field = concat(&[b"\0\0\0\x16\x07\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFE\0\x03\0\x06key\x01\0\x02nvv"]);
    assert_eq!(frame[plain_len..].escape_ascii().to_string(), field.escape_ascii().to_string());
    assert_eq!(Message::decode(&frame), Ok(Message::Record(position)));
    assert_eq!(record_attributes::of(&frame, &position), attributes);
    // Later versions may add fields.
    assert_eq!(record_attributes::of(&concat(&[&frame, b"more"]), &position), attributes);

    // A field that is cut, or not valid, is ignored.
    for len in plain_len..frame.len() {
        assert_eq!(record_attributes::of(&frame[..len], &position), Attributes::default());
    }
    for (at, octet) in [(3, 0x17), (3, 0x15), (4, 0x0F), (14, 9), (20, 0xFF)] {
        let mut frame = frame.clone();
        frame[plain_len + at] = octet;
        frame.push(0);
        assert_eq!(record_attributes::of(&frame, &position), Attributes::default(), "octet {at}");
    }
}
