//! A store's reader sends heads in slices, so that a request for a hundred thousand heads delays no other request.

use crate::UNKNOWN;
use crate::rig::{Content, Log, TOPIC, get_heads};
use dafka::protocol::store::reader::Reader;
use dafka::protocol::{AllRead, Outbox, Progress};
use dafka::wire::{Message, SubjectsBuf};

/// A log with `count` partitions of one record.
fn log_of(count: u32) -> Log {
    Log::new((0..count).map(|i| (TOPIC, format!("{i:08}").into_bytes(), 1)))
}

/// Sends one slice of at most `count` answers. Returns for each answer its kind with its receiver, and its partition.
/// Also returns false when nothing is left to answer.
fn answer(reader: &mut Reader, log: &Log, count: u64) -> (Vec<(String, String)>, bool) {
    let mut out = Outbox::<Content>::new();
    let is_answering =
        reader.poll_answers(&mut AllRead, count, log, &mut out).expect("a sound log") != Progress::Idle;
    let mut told = Vec::new();
    out.drain(|frame, _| {
        let message = Message::decode(frame).expect("a message");
        let (Message::DirectHead { position, .. } | Message::DirectRecord(position)) = message else {
            panic!("{message:?}");
        };
        let text = |name: &[u8]| String::from_utf8_lossy(name).into_owned();
        told.push((format!("{} {}", message.name(), text(position.topic)), text(position.address)));
    });
    (told, is_answering)
}

fn answer_all(reader: &mut Reader, log: &Log, count: u64) -> Vec<(String, String)> {
    let mut told = Vec::new();
    loop {
        let (slice, is_answering) = answer(reader, log, count);
        assert!(slice.len() as u64 <= 2 * count, "{} at once", slice.len());
        told.extend(slice);
        if !is_answering {
            return told;
        }
    }
}

fn fetch<'a>(partition: &'a [u8], address: &'a [u8]) -> Message<'a> {
    Message::Fetch {
        topic: partition,
        address,
        subject: TOPIC,
        sequence: 0,
        count: 1_000,
        store: b"",
        takes_batches: false,
    }
}

#[test]
fn all_heads_are_sent_once_with_any_slice_length() {
    let log = log_of(100);
    let expected: Vec<String> =
        log.partitions.keys().map(|(_, name)| String::from_utf8_lossy(name).into_owned()).collect();
    for (count, calls) in [(1, 100), (7, 15), (50, 2), (99, 2), (100, 1), (1_000, 1)] {
        let mut reader = Reader::new(b"STORE");
        reader.handle_message(&get_heads(b"", b"ME"), UNKNOWN);
        log.calls.set(0);
        let told: Vec<String> =
            answer_all(&mut reader, &log, count).into_iter().map(|(_, partition)| partition).collect();
        assert_eq!(told, expected, "{count} at a time");
        assert_eq!(log.calls.get(), calls, "{count} at a time");
    }
}

#[test]
fn partitions_that_change_meanwhile_cause_no_repeated_or_missing_heads() {
    let mut log = log_of(1_000);
    let stay: Vec<Vec<u8>> =
        log.partitions.keys().map(|name| name.1.clone()).filter(|name| name.ends_with(b"1")).collect();
    let mut reader = Reader::new(b"STORE");
    reader.handle_message(&get_heads(TOPIC, b"ME"), UNKNOWN);
    let mut told = Vec::new();
    for round in 0_u32.. {
        let (slice, is_answering) = answer(&mut reader, &log, 10);
        told.extend(slice.into_iter().map(|(_, partition)| partition.into_bytes()));
        if !is_answering {
            break;
        }
        // Remove the last partition of the slice and others, and add some before and after it.
        let last = told.last().expect("some were told").clone();
        log.partitions.retain(|(_, name), _| *name != last || name.ends_with(b"1"));
        let name = |name: String| (TOPIC.to_vec(), name.into_bytes());
        log.partitions.remove(&name(format!("{:08}", round * 97 % 1_000 / 10 * 10)));
        log.partitions.insert(name(format!("{:08}x", round * 31 % 1_000)), 1);
    }
    let mut once = told.clone();
    once.dedup();
    assert!(once == told && told.is_sorted(), "some were told twice, or out of order");
    assert!(stay.iter().all(|name| told.binary_search(name).is_ok()), "some were missed");
}

#[test]
fn a_fetch_is_answered_beside_thousands_of_requests_for_all_heads() {
    let log = log_of(100_000);
    let mut reader = Reader::new(b"STORE");
    for i in 0..10_000 {
        reader.handle_message(&get_heads(b"", format!("FAKE{i}").as_bytes()), UNKNOWN);
    }
    // The FETCH is answered before the answers to the other requests have started, and also during them.
    for round in 0..5 {
        for _ in 0..100 {
            assert!(answer(&mut reader, &log, 512).1);
        }
        log.heads.set(0);
        reader.handle_message(&fetch(b"00000007", b"ME"), UNKNOWN);
        let (told, is_answering) = answer(&mut reader, &log, 512);
        assert!(is_answering, "the others wait");
        assert!(told.contains(&("DIRECT-RECORD ME".into(), "00000007".into())), "round {round}");
        assert_eq!(log.heads.get(), 512, "no further work");
    }
}

#[test]
fn a_request_for_heads_waits_for_one_slice_of_each_other_request() {
    let log = log_of(2_000);
    let mut reader = Reader::new(b"STORE");
    for i in 0..200 {
        reader.handle_message(&get_heads(b"", format!("FAKE{i}").as_bytes()), UNKNOWN);
        reader.handle_message(&get_heads(TOPIC, format!("FAKE{i}").as_bytes()), UNKNOWN);
    }
    reader.handle_message(&get_heads(TOPIC, b"ME"), UNKNOWN);
    let (mut own, mut turns) = (0, 0);
    while own < 2_000 {
        turns += 1;
        own += answer(&mut reader, &log, 500).0.iter().filter(|(to, _)| to == "DIRECT-HEAD ME").count();
    }
    assert!(turns <= 4 * 201, "{turns} turns");
}

#[test]
fn a_repeated_request_during_the_answer_gets_another_answer() {
    let log = log_of(100);
    let mut reader = Reader::new(b"STORE");
    let mut subjects = SubjectsBuf::new();
    subjects.push(TOPIC).unwrap();
    let hello = Message::ConsumerHello { topic: b"STORE", address: b"ME", subjects: subjects.as_subjects() };
    reader.handle_message(&get_heads(TOPIC, b"ME"), UNKNOWN);
    // Before the answer starts, CONSUMER-HELLO and GET-HEADS count as the same request.
    reader.handle_message(&hello, UNKNOWN);
    assert_eq!(answer(&mut reader, &log, 30).0.len(), 30);
    // After that, a request may come from another node with that address, or from a node that has lost the first heads.
    for _ in 0..10 {
        reader.handle_message(&hello, UNKNOWN);
        reader.handle_message(&get_heads(TOPIC, b"ME"), UNKNOWN);
    }
    assert_eq!(answer_all(&mut reader, &log, 30).len(), 70 + 100);
    reader.handle_message(&get_heads(TOPIC, b"ME"), UNKNOWN);
    assert_eq!(answer_all(&mut reader, &log, 30).len(), 100);
}

#[test]
fn requests_under_thousands_of_names_do_not_delay_other_requests() {
    let log = log_of(20_000);
    let mut reader = Reader::new(b"STORE");
    let hostile = || Some(b"a connection"[..].into());
    for i in 0..10_000_u64 {
        let name = format!("FAKE{i}");
        reader.handle_message(&get_heads(b"", name.as_bytes()), &hostile);
        reader.handle_message(&fetch(b"00000001", name.as_bytes()), &hostile);
    }
    for _ in 0..10 {
        answer(&mut reader, &log, 512);
    }
    let honest = || Some(b"another one"[..].into());
    reader.handle_message(&get_heads(TOPIC, b"ME"), &honest);
    reader.handle_message(&fetch(b"00000007", b"ME"), &honest);
    let (mut heads, mut records, mut turns) = (0, 0, 0);
    while heads < 20_000 || records < 1 {
        turns += 1;
        let told = answer(&mut reader, &log, 512).0;
        heads += told.iter().filter(|(to, _)| to == "DIRECT-HEAD ME").count();
        records += told.iter().filter(|(to, _)| to == "DIRECT-RECORD ME").count();
        assert!(records == 1 || turns <= 2, "the FETCH waits for {turns} turns");
    }
    assert!(turns <= 2 * 40, "{turns} turns");
}
