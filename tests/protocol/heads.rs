//! A store's reader tells heads in slices: who asks for a hundred thousand holds nobody up.

use crate::UNKNOWN;
use dafka::protocol::store::reader::{EachHead, Reader, Source};
use dafka::protocol::{AllRead, Outbox, Progress};
use dafka::wire::{Message, SubjectsBuf};
use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::Arc;

type Content = Arc<[u8]>;

const TOPIC: &[u8] = b"topic";

/// Partitions of one topic, with their numbers of records, and what it was asked to do.
struct Log {
    partitions: BTreeMap<Vec<u8>, u64>,
    heads: Cell<u64>,
    calls: Cell<u64>,
}

impl Log {
    fn new(count: u32) -> Log {
        let partitions = (0..count).map(|i| (format!("{i:08}").into_bytes(), 1)).collect();
        Log { partitions, heads: Cell::new(0), calls: Cell::new(0) }
    }
}

impl Source for Log {
    type Error = &'static str;

    fn heads(
        &self,
        subject: Option<&[u8]>,
        after: Option<&[u8]>,
        count: u64,
        each: &mut EachHead,
    ) -> Result<Option<Box<[u8]>>, Self::Error> {
        self.calls.set(self.calls.get() + 1);
        if subject.is_some_and(|subject| subject != TOPIC) {
            return Ok(None);
        }
        let from = match after {
            Some(after) => std::ops::Bound::Excluded(after),
            None => std::ops::Bound::Unbounded,
        };
        let mut rest = self.partitions.range::<[u8], _>((from, std::ops::Bound::Unbounded));
        let mut place = None;
        for (address, records) in rest.by_ref().take(count as usize) {
            each(TOPIC, address, records - 1);
            self.heads.set(self.heads.get() + 1);
            place = Some(address.as_slice().into());
        }
        Ok(rest.next().and(place))
    }

    fn read(
        &self,
        _: &[u8],
        address: &[u8],
        from: u64,
        count: u64,
        each: &mut dyn FnMut(u64, &[u8]),
    ) -> Result<u64, Self::Error> {
        let end = self.partitions.get(address).copied().unwrap_or(0).min(from.saturating_add(count));
        (from..end).for_each(|offset| each(offset, b"content"));
        Ok(end.saturating_sub(from))
    }
}

/// One answer of at most `count`: to whom, and of which partition, by what it is. False when there is no more.
fn answer(reader: &mut Reader, log: &Log, count: u64) -> (Vec<(String, String)>, bool) {
    let mut out = Outbox::<Content>::new();
    let is_answering = reader
        .poll_answers(&mut AllRead, count, log, &mut out, |content| content.into())
        .expect("a sound log")
        != Progress::Idle;
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

fn get_heads<'a>(topic: &'a [u8], address: &'a [u8]) -> Message<'a> {
    Message::GetHeads { topic, address }
}

fn fetch<'a>(partition: &'a [u8], address: &'a [u8]) -> Message<'a> {
    Message::Fetch { topic: partition, address, subject: TOPIC, sequence: 0, count: 1_000, store: b"" }
}

#[test]
fn all_heads_are_told_once_whatever_the_slices() {
    let log = Log::new(100);
    let expected: Vec<String> =
        log.partitions.keys().map(|name| String::from_utf8_lossy(name).into_owned()).collect();
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
fn partitions_that_come_and_go_meanwhile_neither_repeat_nor_miss_others() {
    let mut log = Log::new(1_000);
    let stay: Vec<Vec<u8>> = log.partitions.keys().filter(|name| name.ends_with(b"1")).cloned().collect();
    let mut reader = Reader::new(b"STORE");
    reader.handle_message(&get_heads(TOPIC, b"ME"), UNKNOWN);
    let mut told = Vec::new();
    for round in 0_u32.. {
        let (slice, is_answering) = answer(&mut reader, &log, 10);
        told.extend(slice.into_iter().map(|(_, partition)| partition.into_bytes()));
        if !is_answering {
            break;
        }
        // The one at which it has stopped goes, and so do others; some come before and behind it.
        let last = told.last().expect("some were told").clone();
        log.partitions.retain(|name, _| *name != last || name.ends_with(b"1"));
        log.partitions.remove(format!("{:08}", round * 97 % 1_000 / 10 * 10).as_bytes());
        log.partitions.insert(format!("{:08}x", round * 31 % 1_000).into_bytes(), 1);
    }
    let mut once = told.clone();
    once.dedup();
    assert!(once == told && told.is_sorted(), "some were told twice, or out of order");
    assert!(stay.iter().all(|name| told.binary_search(name).is_ok()), "some were missed");
}

#[test]
fn a_fetch_is_answered_beside_thousands_who_ask_for_everything() {
    let log = Log::new(100_000);
    let mut reader = Reader::new(b"STORE");
    for i in 0..10_000 {
        reader.handle_message(&get_heads(b"", format!("FAKE{i}").as_bytes()), UNKNOWN);
    }
    // In the midst of it, too.
    for round in 0..5 {
        for _ in 0..100 {
            assert!(answer(&mut reader, &log, 512).1);
        }
        log.heads.set(0);
        reader.handle_message(&fetch(b"00000007", b"ME"), UNKNOWN);
        let (told, is_answering) = answer(&mut reader, &log, 512);
        assert!(is_answering, "the others wait for theirs");
        assert!(told.contains(&("DIRECT-RECORD ME".into(), "00000007".into())), "round {round}");
        assert_eq!(log.heads.get(), 512, "and no more work than that");
    }
}

#[test]
fn who_asks_for_heads_waits_for_one_slice_of_each_other() {
    let log = Log::new(2_000);
    let mut reader = Reader::new(b"STORE");
    for i in 0..1_000 {
        reader.handle_message(&get_heads(b"", format!("FAKE{i}").as_bytes()), UNKNOWN);
        reader.handle_message(&get_heads(TOPIC, format!("FAKE{i}").as_bytes()), UNKNOWN);
    }
    reader.handle_message(&get_heads(TOPIC, b"ME"), UNKNOWN);
    let (mut own, mut turns) = (0, 0);
    while own < 2_000 {
        turns += 1;
        own += answer(&mut reader, &log, 500).0.iter().filter(|(to, _)| to == "DIRECT-HEAD ME").count();
    }
    assert!(turns <= 4 * 1_001, "{turns} turns");
}

#[test]
fn who_asks_again_in_the_midst_of_the_answer_gets_another_one() {
    let log = Log::new(100);
    let mut reader = Reader::new(b"STORE");
    let mut subjects = SubjectsBuf::new();
    subjects.push(TOPIC).unwrap();
    let hello = Message::ConsumerHello { topic: b"STORE", address: b"ME", subjects: subjects.as_subjects() };
    reader.handle_message(&get_heads(TOPIC, b"ME"), UNKNOWN);
    // Before it has begun, it is the same request.
    reader.handle_message(&hello, UNKNOWN);
    assert_eq!(answer(&mut reader, &log, 30).0.len(), 30);
    // It may be another one by that name, or have missed what it was told.
    for _ in 0..10 {
        reader.handle_message(&hello, UNKNOWN);
        reader.handle_message(&get_heads(TOPIC, b"ME"), UNKNOWN);
    }
    assert_eq!(answer_all(&mut reader, &log, 30).len(), 70 + 100);
    reader.handle_message(&get_heads(TOPIC, b"ME"), UNKNOWN);
    assert_eq!(answer_all(&mut reader, &log, 30).len(), 100);
}

#[test]
fn one_who_asks_under_thousands_of_names_keeps_nobody_out() {
    let log = Log::new(20_000);
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
