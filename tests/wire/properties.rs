//! Properties of the codec, with generated messages and generated damage.

use dafka::partition_name::PartitionName;
use dafka::wire::{
    Message, NodeBeacon, Position, PositionTemplate, SubjectsBuf, TowerBeacon, Traffic, partition_key,
};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};

/// A message that owns its names. `Message` borrows them.
#[derive(Clone, Debug)]
struct Owned {
    id: u8,
    topic: Vec<u8>,
    address: Vec<u8>,
    subject: Vec<u8>,
    sequence: u64,
    count: u32,
    /// An empty name is not sent, unless flags follow.
    has_store: bool,
    takes_batches: bool,
    subjects: SubjectsBuf,
}

impl Owned {
    fn message(&self) -> Message<'_> {
        let Self { topic, address, subject, sequence, count, takes_batches, .. } = self;
        let (sequence, count, takes_batches) = (*sequence, *count, *takes_batches);
        let store: &[u8] = if self.has_store { address } else { b"" };
        let position = Position::new(topic, address, subject, sequence);
        match self.id {
            b'F' => Message::Fetch { topic, address, subject, sequence, count, store, takes_batches },
            b'K' => Message::Ack { topic, subject, sequence, store },
            b'G' => Message::GetHeads { topic, address },
            b'W' => Message::ConsumerHello { topic, address, subjects: self.subjects.as_subjects() },
            b'L' => Message::StoreHello { topic, address },
            b'E' => Message::DirectHead { position, store },
            b'P' => Message::Commit { position, timestamp_ms: !sequence, requester: address },
            b'A' => Message::CommitAck { position, timestamp_ms: !sequence, store },
            b'Q' => Message::Position { position, timestamp_ms: !sequence, name: subject, store },
            b'I' => Message::GetPositions { topic, address },
            b'J' => {
                let (view, held) = (sequence, !sequence);
                let (is_leaving, is_listening) = (takes_batches, sequence % 2 == 0);
                Message::Member { topic, address, view, held, is_leaving, is_listening }
            }
            id => message_with(id, position),
        }
    }

    fn frame(&self) -> Vec<u8> {
        let mut frame = Vec::new();
        self.message().encode(&mut frame).unwrap();
        frame
    }
}

fn message_with(id: u8, position: Position) -> Message {
    match id {
        b'M' => Message::Record(position),
        b'D' => Message::DirectRecord(position),
        b'C' => Message::Records(position),
        b'R' => Message::DirectRecords(position),
        b'H' => Message::Head(position),
        b'E' => Message::DirectHead { position, store: b"" },
        _ => unreachable!("ids() gives no other"),
    }
}

fn ids() -> impl Strategy<Value = u8> {
    select(b"MDCRHEFKGWLPAQIJ".to_vec())
}

/// Any octets except NUL. Most names are short, some have the largest length.
fn name() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![4 => vec(1..=u8::MAX, 0..12), 1 => vec(1..=u8::MAX, 32), 1 => vec(1..=u8::MAX, 250..=255)]
}

fn number() -> impl Strategy<Value = u64> {
    prop_oneof![any::<u64>(), 0..3_u64, Just(u64::MAX)]
}

fn message() -> impl Strategy<Value = Owned> {
    let extensions = (any::<bool>(), any::<bool>());
    (ids(), name(), name(), name(), number(), any::<u32>(), extensions, vec(name(), 0..6)).prop_map(
        |(id, topic, address, subject, sequence, count, (has_store, takes_batches), names)| {
            let mut subjects = SubjectsBuf::new();
            for name in &names {
                subjects.push(name).unwrap();
            }
            assert_eq!(subjects.as_subjects().iter().collect::<Vec<_>>(), names);
            Owned { id, topic, address, subject, sequence, count, has_store, takes_batches, subjects }
        },
    )
}

/// A mutation of a frame.
#[derive(Clone, Debug)]
enum Damage {
    Set(Index, u8),
    Flip(Index, u8),
    Insert(Index, Vec<u8>),
    Remove(Index, usize),
    Truncate(Index),
    /// Four octets that make a large length or count.
    Great(Index),
}

fn damage() -> impl Strategy<Value = Damage> {
    prop_oneof![
        (any::<Index>(), any::<u8>()).prop_map(|(at, octet)| Damage::Set(at, octet)),
        (any::<Index>(), 0..8_u8).prop_map(|(at, bit)| Damage::Flip(at, bit)),
        (any::<Index>(), vec(any::<u8>(), 1..5)).prop_map(|(at, octets)| Damage::Insert(at, octets)),
        (any::<Index>(), 1..5_usize).prop_map(|(at, len)| Damage::Remove(at, len)),
        any::<Index>().prop_map(Damage::Truncate),
        any::<Index>().prop_map(Damage::Great),
    ]
}

fn harm(frame: &mut Vec<u8>, damage: &Damage) {
    if frame.is_empty() {
        return;
    }
    let len = frame.len();
    match damage {
        Damage::Set(at, octet) => frame[at.index(len)] = *octet,
        Damage::Flip(at, bit) => frame[at.index(len)] ^= 1 << bit,
        Damage::Insert(at, octets) => {
            let at = at.index(len);
            frame.splice(at..at, octets.iter().copied());
        }
        Damage::Remove(at, count) => {
            let at = at.index(len);
            frame.drain(at..len.min(at + count));
        }
        Damage::Truncate(at) => frame.truncate(at.index(len)),
        Damage::Great(at) => {
            let at = at.index(len);
            frame[at..len.min(at + 4)].fill(0xFF);
        }
    }
}

fn traffic() -> impl Strategy<Value = Option<Traffic>> {
    ("[A-Za-z]{0,60}", "[A-Za-z]{0,60}")
        .prop_map(|(sent, received)| Some(Traffic::new(sent.as_bytes(), received.as_bytes())))
}

fn host() -> impl Strategy<Value = String> {
    prop_oneof!["[a-z0-9.-]{1,40}", "[!-)+-:<-Z^-~]{1,255}", r"\[[0-9a-f:]{1,39}(%[a-z0-9]{1,8})?\]"]
}

/// Many cases, because one takes microseconds. A failure prints its smallest case, and writes no file.
fn config() -> ProptestConfig {
    ProptestConfig { cases: 1_000, failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn messages_come_back(owned in message(), extension in vec(any::<u8>(), 0..20)) {
        let mut frame = owned.frame();
        prop_assert_eq!(Message::decode(&frame), Ok(owned.message()));
        crate::checks::check_message(&frame);
        frame.extend(extension);
        let extended = Message::decode(&frame).expect("what follows is ignored");
        let message = owned.message();
        let known = if crate::checks::without_flags(message) != message {
            extended
        } else if crate::checks::without_extension(message) != message {
            // The extension may look like flags.
            crate::checks::without_flags(extended)
        } else {
            // The extension may look like the name of a store, and flags.
            crate::checks::without_extension(extended)
        };
        prop_assert_eq!(known, message);
    }

    #[test]
    fn no_truncated_message_is_valid(owned in message()) {
        let frame = owned.frame();
        let mut core = Vec::new();
        crate::checks::without_extension(owned.message()).encode(&mut core).unwrap();
        for len in 0..core.len() {
            prop_assert!(Message::decode(&frame[..len]).is_err(), "{} of {} octets", len, frame.len());
        }
        for len in core.len()..frame.len() {
            // The last field is the first one that is cut. Flags have one octet.
            let shorter = match len + 1 == frame.len() {
                true => crate::checks::without_last_extension(owned.message()),
                false => crate::checks::without_extension(owned.message()),
            };
            prop_assert_eq!(Message::decode(&frame[..len]), Ok(shorter));
        }
    }

    #[test]
    fn damaged_messages_are_refused_or_decoded_exactly(owned in message(), harms in vec(damage(), 1..5)) {
        let mut frame = owned.frame();
        for damage in &harms {
            harm(&mut frame, damage);
            crate::checks::check_message(&frame);
        }
    }

    #[test]
    fn any_octets_are_decoded_or_refused(
        id in ids(),
        topic in vec(any::<u8>(), 0..300),
        rest in vec(any::<u8>(), 0..64),
    ) {
        crate::checks::check_message(&[&[id][..], &topic[..], b"\0\x01", &rest[..]].concat());
        crate::checks::check_message(&rest);
        crate::checks::check_beacon(&rest);
    }

    #[test]
    fn templates_are_encoders(
        address in name(),
        subject in name(),
        topic in name(),
        sequences in vec(number(), 1..5),
    ) {
        for id in *b"MDCRHE" {
            let mut template = PositionTemplate::new(id, &topic, &address, &subject).unwrap();
            for &sequence in &sequences {
                let position = Position::new(&topic, &address, &subject, sequence);
                let message = message_with(id, position);
                let mut frame = Vec::new();
                message.encode(&mut frame).unwrap();
                prop_assert_eq!(template.frame(sequence), frame);
            }
        }
    }

    /// Keys are equal only for equal partitions: an octet that moves from one name to the other changes the key.
    #[test]
    fn different_partitions_have_different_keys(names in vec(1..4_u8, 0..6), one in any::<Index>(), two in any::<Index>()) {
        let (one, two) = (one.index(names.len() + 1), two.index(names.len() + 1));
        let name = |at: usize| PartitionName { producer: &names[..at], topic: &names[at..] };
        let key = |at: usize| partition_key(name(at));
        prop_assert_eq!(key(one) == key(two), one == two);
    }

    #[test]
    fn invalid_names_are_not_encoded(mut owned in message(), at in any::<Index>(), long in any::<bool>()) {
        owned.topic = if long {
            vec![b'x'; 256 + at.index(1000)]
        } else {
            let mut topic = owned.topic;
            topic.insert(at.index(topic.len() + 1), 0);
            topic
        };
        let mut out = vec![1, 2, 3];
        prop_assert!(owned.message().encode(&mut out).is_err());
        prop_assert_eq!(out, vec![1, 2, 3]);
    }

    #[test]
    fn beacons_come_back(
        sender in vec(1..=u8::MAX, 1..=255),
        host in prop_oneof![Just(String::new()), host()],
        port in 1..=u16::MAX,
        traffic in traffic(),
        extra in vec(vec(any::<u8>(), 0..5), 0..3),
    ) {
        let beacon = NodeBeacon { sender: &sender, host: host.as_bytes(), port, traffic };
        let encoded = beacon.encode();
        let mut frames: Vec<&[u8]> = encoded.iter().chain(&extra).map(Vec::as_slice).collect();
        prop_assert_eq!(NodeBeacon::decode(&frames), Ok(beacon));
        frames.truncate(3);
        prop_assert!(NodeBeacon::decode(&frames).is_err());
    }

    #[test]
    fn tower_beacons_come_back(
        sender in vec(1..=u8::MAX, 1..=255),
        host in host(),
        port in 1..=u16::MAX,
        traffic in traffic(),
        extra in vec(vec(any::<u8>(), 0..5), 0..3),
    ) {
        let endpoint = format!("tcp://{host}:{port}");
        let beacon = TowerBeacon { sender: &sender, endpoint: &endpoint, traffic };
        let encoded = beacon.encode();
        let mut frames: Vec<&[u8]> = encoded.iter().chain(&extra).map(Vec::as_slice).collect();
        prop_assert_eq!(TowerBeacon::decode(&frames), Ok(beacon));
        frames.truncate(2);
        prop_assert!(TowerBeacon::decode(&frames).is_err());
    }

    #[test]
    fn damaged_beacons_are_refused_or_decoded_exactly(
        text in prop_oneof![
            "B\n[A-F0-9]{1,32}\n[a-z.]{0,9}\n[0-9]{1,6}",
            "B\n[A-F0-9]{1,32}\ntcp://[a-z.]{1,9}:[0-9]{1,6}",
        ],
        harms in vec(damage(), 1..5),
    ) {
        let mut octets = text.into_bytes();
        crate::checks::check_beacon(&octets);
        for damage in &harms {
            harm(&mut octets, damage);
            crate::checks::check_beacon(&octets);
        }
    }
}
