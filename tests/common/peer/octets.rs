//! Encodes each message by the description of the wire protocol, without the library's codec, which is under test.

/// A number-4: four octets, big-endian.
pub(crate) fn number_4(number: u32) -> Vec<u8> {
    vec![(number >> 24) as u8, (number >> 16) as u8, (number >> 8) as u8, number as u8]
}

/// A number-8: eight octets, big-endian.
pub(crate) fn number_8(number: u64) -> Vec<u8> {
    [number_4((number >> 32) as u32), number_4(number as u32)].concat()
}

/// A string: one octet with its length, and its octets.
pub(crate) fn string(text: &str) -> Vec<u8> {
    [&[u8::try_from(text.len()).expect("at most 255")][..], text.as_bytes()].concat()
}

/// A longstr: four octets with its length, and its octets.
pub(crate) fn longstr(text: &str) -> Vec<u8> {
    [number_4(text.len() as u32), text.as_bytes().to_vec()].concat()
}

/// The start of each first frame: id, topic, NUL, version 1.
fn start(id: u8, topic: &str) -> Vec<u8> {
    [&[id][..], topic.as_bytes(), &[0, 1]].concat()
}

/// RECORD, DIRECT-RECORD, HEAD and DIRECT-HEAD differ in their id only.
pub(crate) fn position(id: u8, topic: &str, address: &str, subject: &str, sequence: u64) -> Vec<u8> {
    [start(id, topic), string(address), string(subject), number_8(sequence)].concat()
}

pub(crate) fn record(topic: &str, address: &str, sequence: u64) -> Vec<u8> {
    position(b'M', topic, address, topic, sequence)
}

/// Checks the first frame of a RECORD or DIRECT-RECORD: the fields of 0.1.0, which must be exactly `core`, and perhaps
/// the field *attributes* with a timestamp and nothing else.
#[track_caller]
pub(crate) fn check_record(core: &[u8], frame: &[u8]) {
    let (begin, added) = frame.split_at_checked(core.len()).unwrap_or((frame, b""));
    assert_eq!(begin.escape_ascii().to_string(), core.escape_ascii().to_string());
    let is_timestamp = added.len() == 4 + 9 && added.starts_with(&[0, 0, 0, 9, 1]);
    assert!(added.is_empty() || is_timestamp, "after the fields of 0.1.0: {}", added.escape_ascii());
}

pub(crate) fn head(topic: &str, address: &str, sequence: u64) -> Vec<u8> {
    position(b'H', topic, address, topic, sequence)
}

pub(crate) fn direct_record(to: &str, address: &str, subject: &str, sequence: u64) -> Vec<u8> {
    position(b'D', to, address, subject, sequence)
}

pub(crate) fn direct_head(to: &str, address: &str, subject: &str, sequence: u64) -> Vec<u8> {
    position(b'E', to, address, subject, sequence)
}

pub(crate) fn fetch(partition: &str, from: &str, subject: &str, sequence: u64, count: u32) -> Vec<u8> {
    [start(b'F', partition), string(from), string(subject), number_8(sequence), number_4(count)].concat()
}

/// A batch of records without attributes and timestamp, see doc/batch-format.md.
pub(crate) fn batch(contents: &[&str]) -> Vec<u8> {
    let mut ends = Vec::new();
    let mut end = 0;
    for content in contents {
        end += content.len() as u32;
        ends.extend(number_4(end));
    }
    let area = [contents.concat().into_bytes(), ends].concat();
    let numbers = [number_4(contents.len() as u32), number_4(area.len() as u32), number_8(0)].concat();
    let rest = [&[1, 0, 0, 0][..], &numbers, &area].concat();
    [&crc32fast::hash(&rest).to_be_bytes()[..], &rest].concat()
}

pub(crate) fn ack(partition: &str, subject: &str, sequence: u64) -> Vec<u8> {
    [start(b'K', partition), string(subject), number_8(sequence)].concat()
}

pub(crate) fn get_heads(topic: &str, from: &str) -> Vec<u8> {
    [start(b'G', topic), string(from)].concat()
}

pub(crate) fn consumer_hello(store: &str, from: &str, subjects: &[&str]) -> Vec<u8> {
    let subjects: Vec<u8> = [number_4(subjects.len() as u32)]
        .into_iter()
        .chain(subjects.iter().map(|it| longstr(it)))
        .flatten()
        .collect();
    [start(b'W', store), string(from), subjects].concat()
}

pub(crate) fn store_hello(consumer: &str, from: &str) -> Vec<u8> {
    [start(b'L', consumer), string(from)].concat()
}

/// Decodes the string at `at`.
pub(crate) fn string_at(frame: &[u8], at: usize) -> String {
    let len = usize::from(frame[at]);
    String::from_utf8(frame[at + 1..at + 1 + len].to_vec()).expect("UTF-8")
}

pub(crate) fn number_8_at(frame: &[u8], at: usize) -> u64 {
    frame[at..at + 8].iter().fold(0, |number, &octet| number << 8 | u64::from(octet))
}

pub(crate) fn number_4_at(frame: &[u8], at: usize) -> u32 {
    frame[at..at + 4].iter().fold(0, |number, &octet| number << 8 | u32::from(octet))
}

/// The store name that follows the fields of 0.1.0 in a frame. These fields must be exactly `core`.
#[track_caller]
pub(crate) fn name_after(core: &[u8], frame: &[u8]) -> String {
    let (begin, name) = frame.split_at_checked(core.len()).unwrap_or((frame, b""));
    assert_eq!(begin.escape_ascii().to_string(), core.escape_ascii().to_string());
    assert_eq!((name.len(), name.first()), (33, Some(&32)), "a string of 32 octets: {}", name.escape_ascii());
    string_at(name, 0)
}

/// What follows the fields of 0.1.0 in a FETCH of this library that names no store: an empty name, and the flag that
/// the requester takes batches.
pub(crate) const NO_STORE_BUT_BATCHES: &[u8] = &[0, 1];

/// Decodes a FETCH that names no store, of this library or of 0.1.0: partition, requester, subject, sequence, count.
pub(crate) fn parse_fetch(frame: &[u8]) -> (String, String, String, u64, u32) {
    assert_eq!(frame[0], b'F');
    let topic_len = frame[1..].iter().position(|&octet| octet == 0).expect("a NUL");
    let partition = String::from_utf8(frame[1..1 + topic_len].to_vec()).expect("UTF-8");
    assert_eq!(frame[topic_len + 2], 1, "the version");
    let mut at = topic_len + 3;
    let requester = string_at(frame, at);
    at += 1 + requester.len();
    let subject = string_at(frame, at);
    at += 1 + subject.len();
    let (sequence, count) = (number_8_at(frame, at), number_4_at(frame, at + 8));
    assert!([&[][..], NO_STORE_BUT_BATCHES].contains(&&frame[at + 12..]), "{}", frame.escape_ascii());
    (partition, requester, subject, sequence, count)
}
