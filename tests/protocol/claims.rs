//! What peers claim to exist, without proof: how much of it a consumer and a store take, and when they forget it.

use dafka::protocol::Outbox;
use dafka::protocol::consumer::{Consumer, Delivery, Start};
use dafka::protocol::ingest::Limits;
use dafka::protocol::store::replica::{Append, Replica};
use dafka::wire::{Message, Position};
use std::collections::BTreeSet;
use std::sync::Arc;

type Content = Arc<[u8]>;

const TOPIC: &[u8] = b"topic";
const ME: &[u8] = b"ME";

fn name(number: usize) -> Vec<u8> {
    format!("PARTITION {number}").into_bytes()
}

struct Reading {
    consumer: Consumer<Content>,
    out: Outbox<Content>,
    delivered: Vec<Delivery<Content>>,
}

impl Reading {
    fn new(start: Start, limits: Limits) -> Reading {
        let mut out = Outbox::new();
        let mut consumer = Consumer::new(ME, start, limits, 0);
        consumer.subscribe(TOPIC, &mut out);
        Reading { consumer, out, delivered: Vec::new() }
    }

    fn take(&mut self, peer: &str, message: &Message, len: usize, now_ms: u64) -> Vec<u64> {
        let content = message.has_content().then(|| vec![0; len].into());
        let from = || Some(peer.as_bytes().into());
        self.consumer.handle_message(message, content, &from, now_ms, &mut self.out, &mut self.delivered);
        self.delivered.drain(..).map(|delivery| delivery.offset).collect()
    }

    fn record(&mut self, peer: &str, address: &[u8], offset: u64, now_ms: u64) -> Vec<u64> {
        self.take(peer, &Message::Record(Position::new(TOPIC, address, TOPIC, offset)), 100, now_ms)
    }

    fn answer(&mut self, peer: &str, address: &[u8], offset: u64, now_ms: u64) -> Vec<u64> {
        self.take(peer, &Message::DirectRecord(Position::new(ME, address, TOPIC, offset)), 100, now_ms)
    }

    fn head(&mut self, peer: &str, address: &[u8], offset: u64, now_ms: u64) {
        self.take(peer, &Message::Head(Position::new(TOPIC, address, TOPIC, offset)), 0, now_ms);
    }

    fn direct_head(&mut self, address: &[u8], offset: u64, now_ms: u64) {
        let position = Position::new(ME, address, TOPIC, offset);
        self.take("STORE", &Message::DirectHead { position, store: b"STORE" }, 0, now_ms);
    }

    /// A peer that claims more than its share: no further FETCH for its partitions may go out.
    fn use_up(&mut self, peer: &str, now_ms: u64) {
        for i in 0..20 {
            self.record(peer, &name(i), 0, now_ms);
            self.head(peer, &name(i), 1_000_000, now_ms);
        }
        self.asked(now_ms);
    }

    /// The partitions that are asked for at `now_ms`, and from which record on; true when the stores are asked for heads.
    fn asked(&mut self, now_ms: u64) -> (Vec<(Vec<u8>, u64)>, bool) {
        self.consumer.handle_timeout(now_ms, &mut self.out);
        let (mut fetches, mut is_survey) = (Vec::new(), false);
        self.out.drain(|frame, _| match Message::decode(frame) {
            Ok(Message::Fetch { topic, sequence, .. }) => fetches.push((topic.to_vec(), sequence)),
            Ok(Message::GetHeads { .. }) => is_survey = true,
            _ => {}
        });
        (fetches, is_survey)
    }
}

#[test]
fn a_consumer_reads_all_partitions_of_a_store_that_holds_more_than_one_peer_may_bring() {
    for (limit, held) in [(100, 150), (100, 5_000), (1_000, 1_500)] {
        let mut reading =
            Reading::new(Start::Earliest, Limits { partitions_per_peer: limit, ..Limits::default() });
        let (mut done, mut now_ms) = (BTreeSet::<Vec<u8>>::new(), 0);
        let (mut heads, mut answers) = (0..held, Vec::<(Vec<u8>, u64)>::new());
        while done.len() < held && now_ms < 60_000 {
            for (address, first) in std::mem::take(&mut answers) {
                if !reading.answer("STORE", &address, first, now_ms).is_empty() {
                    assert!(done.insert(address), "a record twice");
                }
            }
            // A slice of a response, as a store sends it.
            for i in heads.by_ref().take(256) {
                reading.direct_head(&name(i), 0, now_ms);
            }
            let (fetches, is_survey) = reading.asked(now_ms);
            answers = fetches;
            if is_survey {
                heads = 0..held;
            }
            now_ms += 5;
        }
        assert_eq!(done.len(), held, "{limit} of one peer, {now_ms} ms");
        assert!(now_ms < 45_000, "{held} partitions, {limit} of one peer: {now_ms} ms");
    }
}

#[test]
fn a_claim_that_nobody_answers_is_forgotten_until_it_is_repeated() {
    let mut reading = Reading::new(Start::Earliest, Limits::default());
    reading.head("HOSTILE", b"MADE UP", 1 << 40, 0);
    let mut last_ms = 0;
    for now_ms in (0..600_000).step_by(50) {
        if !reading.asked(now_ms).0.is_empty() {
            last_ms = now_ms;
        }
    }
    assert!((30_000..100_000).contains(&last_ms), "{last_ms}");
    reading.head("HONEST", b"MADE UP", 3, 600_000);
    assert_eq!(reading.asked(600_000).0, [(b"MADE UP".to_vec(), 0)]);
    assert_eq!(reading.answer("HONEST", b"MADE UP", 0, 600_001), [0]);
}

#[test]
fn windows_of_one_peer_that_drip_leave_room_for_another_peer() {
    let limits = Limits { in_flight_len_bytes: 16 << 20, ..Limits::default() };
    let mut reading = Reading::new(Start::Earliest, limits);
    // They are real, as far as anybody can tell, and each claims more than it delivers.
    for i in 0..200 {
        assert_eq!(reading.record("HOSTILE", &name(i), 0, 0), [0]);
        reading.head("HOSTILE", &name(i), 1_000_000, 0);
    }
    reading.asked(0);
    let drip = |reading: &mut Reading, round: u64, now_ms| {
        (0..200).for_each(|i| drop(reading.answer("HOSTILE", &name(i), round, now_ms)));
    };
    // Late answers ask for room again, so that the limit holds.
    for round in 1..20 {
        let now_ms = round * 200;
        drip(&mut reading, round, now_ms);
        reading.asked(now_ms);
        let in_flight_len_bytes = reading.consumer.statistics().in_flight_len_bytes;
        assert!(in_flight_len_bytes <= 16 << 20, "{in_flight_len_bytes}");
    }
    drip(&mut reading, 20, 4_000);
    reading.head("HONEST", b"REAL", 1_000, 4_000);
    assert!(reading.asked(4_000).0.contains(&(b"REAL".to_vec(), 0)), "it need not wait");
}

#[test]
fn a_peer_that_mentions_others_partitions_first_does_not_hold_them_up() {
    let limits = Limits { in_flight_len_bytes: 16 << 20, ..Limits::default() };
    let mut reading = Reading::new(Start::Earliest, limits);
    reading.use_up("HOSTILE", 0);
    reading.head("HOSTILE", b"REAL", 9, 1);
    assert!(!reading.asked(1).0.contains(&(b"REAL".to_vec(), 0)), "its share is used up");
    reading.head("HONEST", b"REAL", 9, 1_000);
    assert!(reading.asked(1_000).0.contains(&(b"REAL".to_vec(), 0)), "it waits for another's share");
    // The same when it has delivered a record of it before, and then no more.
    for offset in 0..10 {
        assert_eq!(reading.answer("HOSTILE", b"REAL", offset, 1_001), [offset]);
    }
    reading.use_up("HOSTILE", 1_002);
    reading.head("HONEST", b"REAL", 19, 1_003);
    reading.head("HONEST", b"REAL", 19, 4_000);
    assert!(reading.asked(4_000).0.contains(&(b"REAL".to_vec(), 10)));
}

/// A partition that is on a store's disk is charged to the peer that delivers its records, not to one that mentions it.
#[test]
fn what_is_on_disk_is_charged_to_the_peer_that_delivers_it() {
    let limits = Limits { partitions: 20, partitions_per_peer: 10, ..Limits::default() };
    let mut replica = Replica::<Content>::new(ME, limits, 0).named(b"OWN").resuming(Box::new(|_, _| Ok(1)));
    let mut out = Outbox::<Content>::new();
    let mut take = |replica: &mut Replica<Content>, peer: &str, message: Message, now_ms| {
        let content = message.has_content().then(|| vec![0; 10].into());
        let mut appends = Vec::<Append<Content>>::new();
        replica.handle_message(&message, content, &|| Some(peer.as_bytes().into()), now_ms, &mut appends);
        for Append { partition, offset, .. } in &appends {
            replica.handle_committed(*partition, offset + 1);
        }
        replica.poll_acks(&mut out);
        appends.len()
    };
    for i in 0..10 {
        let address = name(i);
        take(&mut replica, "HOSTILE", Message::Head(Position::new(TOPIC, &address, TOPIC, 1)), 0);
        let record = Message::Record(Position::new(TOPIC, &address, TOPIC, 1));
        assert_eq!(take(&mut replica, &format!("HONEST {i}"), record, 1), 1);
    }
    // It has ten more of its own, and evicts none of the others.
    for i in 10..20 {
        let address = name(i);
        let record = Message::Record(Position::new(TOPIC, &address, TOPIC, 1));
        assert_eq!(take(&mut replica, "HOSTILE", record, 2), 1);
    }
    let statistics = replica.statistics();
    assert_eq!((statistics.partitions, statistics.peers, statistics.closed), (20, 11, 0), "{statistics:?}");
}

/// The name of a peer: its host's first.
fn peer(host: &str, number: usize) -> String {
    format!("{host:16}{number}")
}

/// Reads 100,000 records of an honest peer beside 30 hostile ones. Each of those drips records of a partition of its own.
/// How long it took.
fn read_beside_drips(hostile_host: &str) -> u64 {
    const RECORD_COUNT: u64 = 100_000;
    let mut reading = Reading::new(Start::Earliest, Limits::default());
    let hostile: Vec<(String, Vec<u8>)> = (0..30).map(|i| (peer(hostile_host, i), name(i))).collect();
    let honest = (peer("HONEST", 99), b"HONEST".to_vec());
    let mut next = [1; 30];
    let mut asked = [false; 30];
    let (mut delivered, mut window, mut took_ms) = (0, 0..0, 0);
    for now_ms in (0..120_000).step_by(10) {
        for (i, (peer, partition)) in hostile.iter().enumerate() {
            if now_ms % 1_000 == 0 {
                let position = Position::new(TOPIC, partition, TOPIC, 0);
                reading.take(peer, &Message::Record(position), 1_024, now_ms);
                reading.head(peer, partition, 1_000_000, now_ms);
            }
            // All together half a megabyte a second.
            if asked[i] && (now_ms / 10 + i as u64).is_multiple_of(6) {
                let position = Position::new(ME, partition, TOPIC, next[i]);
                reading.take(peer, &Message::DirectRecord(position), 1_024, now_ms);
                next[i] += 1;
            }
        }
        // The hostile peers are there first.
        if now_ms >= 5_000 {
            took_ms = now_ms - 5_000;
            for offset in std::mem::take(&mut window) {
                delivered += reading.answer(&honest.0, &honest.1, offset, now_ms).len() as u64;
            }
            if delivered == RECORD_COUNT {
                return took_ms;
            }
            if now_ms % 1_000 == 0 {
                reading.head(&honest.0, &honest.1, RECORD_COUNT - 1, now_ms);
            }
        }
        reading.consumer.handle_timeout(now_ms, &mut reading.out);
        reading.out.drain(|frame, _| {
            let Ok(Message::Fetch { topic, sequence, count, .. }) = Message::decode(frame) else { return };
            match hostile.iter().position(|(_, partition)| partition == topic) {
                Some(i) => asked[i] = true,
                None => window = sequence..RECORD_COUNT.min(sequence + u64::from(count)),
            }
        });
    }
    took_ms
}

#[test]
fn peers_that_drip_do_not_slow_down_another_peer() {
    for host in ["HOSTILE", "HONEST"] {
        let took_ms = read_beside_drips(host);
        assert!(took_ms <= 2_000, "{took_ms} ms beside peers of the host {host}");
    }
}
