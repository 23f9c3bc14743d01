//! Partitions that peers claim to have, without proof: how many a consumer and a store accept, and when they evict
//! them.

use crate::rig::{Content, ME, Reading, direct, direct_head, head, record, store};
use dafka::protocol::Outbox;
use dafka::protocol::consumer::Start;
use dafka::protocol::ingest::Limits;
use dafka::protocol::store::replica::Replica;
use dafka::wire::Message;
use std::collections::BTreeSet;

fn name(number: usize) -> Vec<u8> {
    format!("PARTITION {number}").into_bytes()
}

impl Reading {
    /// Passes a message of a peer to the consumer. Returns the offsets of delivered records.
    fn receive(&mut self, peer: &str, message: &Message, len_bytes: usize, now_ms: u64) -> Vec<u64> {
        let content = crate::rig::content_for(message, len_bytes);
        self.handle_from(&|| Some(peer.as_bytes().into()), message, content, now_ms);
        self.offsets()
    }

    fn record(&mut self, peer: &str, address: &[u8], offset: u64, now_ms: u64) -> Vec<u64> {
        self.receive(peer, &record(address, offset), 100, now_ms)
    }

    fn answer(&mut self, peer: &str, address: &[u8], offset: u64, now_ms: u64) -> Vec<u64> {
        self.receive(peer, &direct(address, offset), 100, now_ms)
    }

    fn head(&mut self, peer: &str, address: &[u8], offset: u64, now_ms: u64) {
        self.receive(peer, &head(address, offset), 0, now_ms);
    }

    /// Makes a peer claim more records than its share of the room, so that the consumer sends no further FETCH for its
    /// partitions.
    fn use_up(&mut self, peer: &str, now_ms: u64) {
        for i in 0..20 {
            self.record(peer, &name(i), 0, now_ms);
            self.head(peer, &name(i), 1_000_000, now_ms);
        }
        self.asked(now_ms);
    }

    /// The partitions and first records of the FETCHes at `now_ms`, and whether the consumer sends GET-HEADS.
    fn asked(&mut self, now_ms: u64) -> (Vec<(Vec<u8>, u64)>, bool) {
        self.handle_timeout(now_ms);
        let (fetches, has_get_heads) = self.requests();
        (fetches.into_iter().map(|(topic, sequence, _)| (topic, sequence)).collect(), has_get_heads)
    }
}

#[test]
fn a_consumer_reads_all_partitions_of_a_store_with_more_partitions_than_the_limit_per_peer() {
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
            // A slice of a response, as large as a store sends it.
            for i in heads.by_ref().take(256) {
                reading.receive("STORE", &direct_head(&name(i), 0, b"STORE"), 0, now_ms);
            }
            let (fetches, has_get_heads) = reading.asked(now_ms);
            answers = fetches;
            if has_get_heads {
                heads = 0..held;
            }
            now_ms += 5;
        }
        assert_eq!(done.len(), held, "{limit} of one peer, {now_ms} ms");
        assert!(now_ms < 45_000, "{held} partitions, {limit} of one peer: {now_ms} ms");
    }
}

#[test]
fn an_unanswered_head_is_dropped_until_it_is_repeated() {
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
fn slow_windows_of_one_peer_leave_room_for_another_peer() {
    let limits = Limits { in_flight_len_bytes: 16 << 20, ..Limits::default() };
    let mut reading = Reading::new(Start::Earliest, limits);
    // The hostile peer delivers a record of each of its partitions, and claims to have many more.
    for i in 0..200 {
        assert_eq!(reading.record("HOSTILE", &name(i), 0, 0), [0]);
        reading.head("HOSTILE", &name(i), 1_000_000, 0);
    }
    reading.asked(0);
    let drip = |reading: &mut Reading, round: u64, now_ms| {
        (0..200).for_each(|i| drop(reading.answer("HOSTILE", &name(i), round, now_ms)));
    };
    // The FETCH of a late answer counts as in flight again, if there is room for its remaining part. So the limit
    // holds.
    for round in 1..20 {
        let now_ms = round * 200;
        drip(&mut reading, round, now_ms);
        reading.asked(now_ms);
        let in_flight_len_bytes = reading.consumer.statistics().in_flight_len_bytes;
        assert!(in_flight_len_bytes <= 16 << 20, "{in_flight_len_bytes}");
    }
    drip(&mut reading, 20, 4_000);
    reading.head("HONEST", b"REAL", 1_000, 4_000);
    assert!(reading.asked(4_000).0.contains(&(b"REAL".to_vec(), 0)), "the honest peer has room");
}

#[test]
fn a_peer_that_first_sends_the_head_of_anothers_partition_does_not_delay_it() {
    let limits = Limits { in_flight_len_bytes: 16 << 20, ..Limits::default() };
    let mut reading = Reading::new(Start::Earliest, limits);
    reading.use_up("HOSTILE", 0);
    reading.head("HOSTILE", b"REAL", 9, 1);
    assert!(!reading.asked(1).0.contains(&(b"REAL".to_vec(), 0)), "its share is used up");
    reading.head("HONEST", b"REAL", 9, 1_000);
    assert!(
        reading.asked(1_000).0.contains(&(b"REAL".to_vec(), 0)),
        "the share of another peer does not count"
    );
    // The result is the same when the hostile peer has delivered records of that partition before.
    for offset in 0..10 {
        assert_eq!(reading.answer("HOSTILE", b"REAL", offset, 1_001), [offset]);
    }
    reading.use_up("HOSTILE", 1_002);
    reading.head("HONEST", b"REAL", 19, 1_003);
    reading.head("HONEST", b"REAL", 19, 4_000);
    assert!(reading.asked(4_000).0.contains(&(b"REAL".to_vec(), 10)));
}

/// The same, when the FETCHes of the hostile peer alone exceed the limit. A long record makes the estimate that large.
#[test]
fn a_peer_that_exceeds_the_limit_of_bytes_in_flight_does_not_delay_anothers_partition() {
    let limits = Limits { in_flight_len_bytes: 16 << 20, ..Limits::default() };
    let mut reading = Reading::new(Start::Earliest, limits);
    assert_eq!(reading.record("HOSTILE", b"LONG", 0, 0), [0]);
    reading.head("HOSTILE", b"LONG", 1_000_000, 0);
    assert!(reading.asked(0).0.contains(&(b"LONG".to_vec(), 1)));
    reading.head("HOSTILE", b"REAL", 9, 0);
    let mut asked_ms = None;
    for round in 1..20 {
        let now_ms = round * 200;
        assert_eq!(reading.receive("HOSTILE", &direct(b"LONG", round), 1 << 20, now_ms), [round]);
        assert!(asked_ms.is_some() || reading.consumer.statistics().in_flight_len_bytes > 16 << 20);
        reading.head("HONEST", b"REAL", 9, now_ms);
        if reading.asked(now_ms).0.contains(&(b"REAL".to_vec(), 0)) {
            asked_ms.get_or_insert(now_ms);
        }
    }
    assert_eq!(asked_ms, Some(1_000), "the FETCH of the hostile peer is slow after a second");
}

/// A partition on a store's disk is charged to the peer that delivers its records, not to one that only sends its head.
#[test]
fn a_partition_on_disk_is_charged_to_the_peer_that_delivers_it() {
    let limits = Limits { partitions: 20, partitions_per_peer: 10, ..Limits::default() };
    let mut replica = Replica::<Content>::new(ME, limits, 0).named(b"OWN").resuming(Box::new(|_| Ok(1)));
    let mut out = Outbox::<Content>::new();
    let mut take = |replica: &mut Replica<Content>, peer: &str, message: Message, now_ms| {
        let appends = store(replica, &|| Some(peer.as_bytes().into()), &message, 10, now_ms);
        for append in &appends {
            replica.handle_committed(append.partition, append.offset + 1);
        }
        replica.poll_acks(&mut out);
        appends.len()
    };
    for i in 0..10 {
        let address = name(i);
        take(&mut replica, "HOSTILE", head(&address, 1), 0);
        assert_eq!(take(&mut replica, &format!("HONEST {i}"), record(&address, 1), 1), 1);
    }
    // The hostile peer sends records of ten more partitions, which evict none of the others.
    for i in 10..20 {
        assert_eq!(take(&mut replica, "HOSTILE", record(&name(i), 1), 2), 1);
    }
    let statistics = replica.statistics();
    assert_eq!((statistics.partitions, statistics.peers, statistics.closed), (20, 11, 0), "{statistics:?}");
}

/// The name of a peer, which starts with its host.
fn peer(host: &str, number: usize) -> String {
    format!("{host:16}{number}")
}

/// Reads 100,000 records of an honest peer beside 30 hostile ones, and returns how long that takes. Each hostile peer
/// sends records of its partition slowly.
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
                reading.receive(peer, &record(partition, 0), 1_024, now_ms);
                reading.head(peer, partition, 1_000_000, now_ms);
            }
            // All hostile peers together send half a megabyte per second.
            if asked[i] && (now_ms / 10 + i as u64).is_multiple_of(6) {
                reading.receive(peer, &direct(partition, next[i]), 1_024, now_ms);
                next[i] += 1;
            }
        }
        // The hostile peers connect first.
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
        reading.handle_timeout(now_ms);
        for (topic, sequence, count) in reading.requests().0 {
            match hostile.iter().position(|(_, partition)| *partition == topic) {
                Some(i) => asked[i] = true,
                None => window = sequence..RECORD_COUNT.min(sequence + u64::from(count)),
            }
        }
    }
    took_ms
}

#[test]
fn slow_peers_do_not_slow_down_another_peer() {
    for host in ["HOSTILE", "HONEST"] {
        let took_ms = read_beside_drips(host);
        assert!(took_ms <= 2_000, "{took_ms} ms beside peers of the host {host}");
    }
}
