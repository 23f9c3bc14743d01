//! Thousands of malformed messages and beacons to every kind of node. All nodes continue, and no other record is
//! affected.
//!
//! `DAFKA_SEEDS=n` runs n seeds instead of three (`make soak-hostile`).

use crate::e2e::{Cluster, wait_until};
use crate::hostile::{Attacker, Honest, MIB, Rng, TOPIC, corpus, mutate};
use crate::peer::{
    ack, consumer_hello, direct_head, direct_record, fetch, get_heads, head, position, record, store_hello,
    to,
};
use std::time::{Duration, Instant};

/// Messages per seed.
const COUNT: usize = 20_000;
/// The number of messages between two checks of the honest nodes.
const STEP: usize = 2_000;
/// The duration of a flood: several seconds, because one line per second is allowed.
const FLOOD: Duration = Duration::from_secs(3);

/// How much a process may grow: unread messages of one peer, free memory of the allocator, and early records. The
/// messages have some 200 MiB in total.
const GROWTH: u64 = 64 * MIB;

fn seeds() -> u64 {
    std::env::var("DAFKA_SEEDS").ok().and_then(|count| count.parse().ok()).unwrap_or(3)
}

impl Attacker {
    /// A valid message of each kind for each node. The number is the length of the part of the first frame that names
    /// the receiver.
    fn messages(&self) -> Vec<(Vec<Vec<u8>>, usize)> {
        let Attacker { producer, consumer, writer, reader, .. } = self;
        let with = |frame: Vec<u8>| vec![frame, b"content".to_vec()];
        let me = &self.node.address;
        let to_topic = TOPIC.len() + 2;
        let to_node = 34;
        vec![
            // The attacker's own partition, because nodes accept valid messages in the name of another node.
            (with(record(TOPIC, me, 0)), to_topic),
            (with(record(TOPIC, "ANOTHER", 7)), to_topic),
            (with(direct_record(consumer, me, TOPIC, 0)), to_node),
            (with(direct_record(writer, me, TOPIC, 1)), to_node),
            (vec![head(TOPIC, me, 5)], to_topic),
            (vec![head(TOPIC, "YET ANOTHER", u64::MAX)], to_topic),
            // A head of the honest partition that is far beyond its last record.
            (vec![head(TOPIC, producer, u64::MAX - 1)], to_topic + 42),
            (vec![direct_head(consumer, me, TOPIC, 3)], to_node),
            (vec![direct_head(writer, me, TOPIC, 3)], to_node),
            (vec![fetch(producer, me, TOPIC, 0, u32::MAX)], to_node),
            (vec![fetch(producer, "NOBODY", TOPIC, u64::MAX, 1)], to_node),
            (vec![fetch(me, me, TOPIC, 0, u32::MAX)], 1),
            // A record that was never published.
            (vec![ack(producer, TOPIC, u64::MAX)], to_node),
            (vec![get_heads(TOPIC, me)], 1),
            (vec![get_heads("", me)], 1),
            (vec![consumer_hello(reader, me, &[TOPIC, "", "another"])], to_node),
            (vec![store_hello(consumer, me)], to_node),
            (vec![position(b'Q', TOPIC, me, TOPIC, 1)], 1),
        ]
    }
}

/// Whether an honest node would accept a mutated message of the honest partition, such as an ACK of a published record.
fn would_be_accepted(frames: &[Vec<u8>], producer: &str) -> bool {
    let of_producer = |frame: &[u8]| frame.windows(32).any(|window| window == producer.as_bytes());
    let frame = &frames[0];
    let id = frame.first().copied().unwrap_or(0);
    of_producer(frame)
        && (id == b'K' || matches!(id, b'M' | b'D') && frames.len() == 2)
        && frame.iter().rev().take(8).filter(|&&octet| octet == 0xff).count() < 3
}

#[test]
fn honest_nodes_work_during_thousands_of_malformed_messages() {
    let cluster = Cluster::new();
    let mut honest = Honest::start(&cluster);
    let mut attacker = Attacker::start(&cluster);
    honest.round_trip();
    let corpus = corpus("message");
    for seed in 0..seeds() {
        let mut rng = Rng::with_seed(seed + 1);
        let messages = attacker.messages();
        for i in 0..COUNT {
            let frames = if rng.usize(..4) == 0 {
                mutate(&mut rng, &corpus[i % corpus.len()], 1)
            } else {
                let (frames, keep) = &messages[i % messages.len()];
                mutate(&mut rng, frames, *keep)
            };
            if !would_be_accepted(&frames, &attacker.producer) {
                attacker.node.send_frames(&frames.iter().map(Vec::as_slice).collect::<Vec<_>>());
            }
            if i % STEP == STEP - 1 {
                attacker.node.listen(Duration::from_millis(1));
                honest.round_trip();
                honest.check(GROWTH);
            }
        }
        eprintln!("seed {seed}: {COUNT} messages");
    }
    honest.end(GROWTH);
}

#[test]
fn honest_nodes_work_during_thousands_of_malformed_beacons() {
    let cluster = Cluster::new();
    let mut honest = Honest::start(&cluster);
    let context = zmq::Context::new();
    let to_tower = context.socket(zmq::PUB).unwrap();
    to_tower.set_linger(0).unwrap();
    to_tower.connect(&cluster.sub_addresses()).unwrap();
    let from_tower = context.socket(zmq::SUB).unwrap();
    from_tower.set_subscribe(b"").unwrap();
    from_tower.connect(&cluster.pub_addresses()).unwrap();
    // When the tower announces our beacon, our socket is connected to the tower.
    let probe = [&b"B"[..], b"PROBE", b"127.0.0.1", b"1"];
    from_tower.set_rcvtimeo(20).unwrap();
    wait_until("the tower announces the probe", || {
        to_tower.send_multipart(probe, 0).unwrap();
        let received = from_tower.recv_multipart(0);
        received.is_ok_and(|frames| frames.get(1).is_some_and(|name| name == b"PROBE"))
    });
    let corpus = corpus("beacon");
    let seed: Vec<Vec<u8>> = probe.map(<[u8]>::to_vec).to_vec();
    for seed_number in 0..seeds() {
        let mut rng = Rng::with_seed(seed_number + 100);
        for i in 0..5_000 {
            let mut frames = if i % 3 == 0 { corpus[i % corpus.len()].clone() } else { seed.clone() };
            let at = rng.usize(..frames.len());
            frames.swap(0, at);
            frames = mutate(&mut rng, &frames, usize::from(at == 0));
            let len = frames.len();
            frames.swap(0, at.min(len - 1));
            // Only hosts of this machine: a name would cause DNS requests.
            let host = frames.get(2).map_or("", |host| std::str::from_utf8(host).unwrap_or("\n"));
            let is_name = host.bytes().any(|octet| octet.is_ascii_alphabetic())
                && host.bytes().all(|octet| octet.is_ascii_graphic());
            if is_name || (!host.starts_with("127.0.0.") && host.parse::<std::net::IpAddr>().is_ok()) {
                frames[2] = b"127.0.0.1".to_vec();
            }
            to_tower.send_multipart(frames, 0).unwrap();
            if i % 1_000 == 999 {
                honest.round_trip();
            }
        }
    }
    honest.tower.wait_for_log("dropped a beacon");
    honest.end(GROWTH);
}

/// However many messages a node drops, it logs at most one line per second and kind.
#[test]
fn a_flood_of_malformed_messages_causes_few_log_lines() {
    let cluster = Cluster::new();
    let mut honest = Honest::start(&cluster);
    let attacker = Attacker::start(&cluster);
    let start = Instant::now();
    let lines = |honest: &Honest| {
        [&honest.store, &honest.consumer, &honest.producer].map(|program| program.log().lines().count())
    };
    let before = lines(&honest);
    let wrong = [
        vec![to(b'M', TOPIC), b"content".to_vec()],
        vec![record(TOPIC, "FAKE", 0)],
        vec![[&to(b'H', TOPIC)[..], &[0, 7]].concat()],
        vec![to(b'K', &attacker.producer)],
        vec![to(b'F', &attacker.producer), b"too much".to_vec()],
        vec![to(b'F', "x")],
        vec![get_heads(TOPIC, "x"), b"too much".to_vec()],
    ];
    let (mut i, mut steps) = (0, 0);
    while start.elapsed() < FLOOD || steps <= 3 {
        i += 1;
        let frames = &wrong[i % wrong.len()];
        let keep_topic = [&frames[0][..], b"\0"].concat();
        let mut frames: Vec<&[u8]> = frames.iter().map(Vec::as_slice).collect();
        if i % 2 == 0 && frames[0].len() < 40 {
            frames[0] = &keep_topic;
        }
        attacker.node.send_frames(&frames);
        if i % STEP == 0 {
            steps += 1;
            // Do not send faster than the nodes read.
            honest.round_trip();
        }
    }
    eprintln!("{i} wrong messages");
    honest.check(GROWTH);
    // A store has two nodes, each with at most one line per second.
    let most = 2 * (start.elapsed().as_secs() as usize + 2);
    for (before, now) in before.iter().zip(lines(&honest)) {
        eprintln!("{} log lines in {:?}", now - before, start.elapsed());
        assert!(now > *before, "nothing was said");
        assert!(now - before <= most, "{} lines in {:?}", now - before, start.elapsed());
    }
    honest.store.wait_for_log("more like it before");
    honest.end(GROWTH);
}

/// A consumer of new records starts at the first HEAD. A false HEAD must not hide published records.
#[test]
fn a_false_head_hides_no_record_from_a_consumer_of_new_ones() {
    for claimed in [u64::MAX, u64::MAX - 1, 1_000_000] {
        let cluster = Cluster::new();
        let mut honest = Honest::start(&cluster);
        let mut attacker = Attacker::start(&cluster);
        let mut consumer = cluster.consumer_of_new("other");
        attacker.node.subscription(&[b"M", &b"other"[..], &[0]].concat());
        let producer = cluster.producer("other");
        let producer_address = attacker.node.subscriber_other_than(b'K', &attacker.producer);
        attacker.node.send(&head("other", &producer_address, claimed));
        // When the consumer has printed this record, it has processed the HEAD.
        attacker.node.send_record(&record("other", "MARK", 0), "mark");
        assert!(consumer.line("a record of the same peer").ends_with(b" mark"));
        let published: Vec<Vec<u8>> = (0..1_000).map(|i| format!("{i}").into_bytes()).collect();
        producer.feed(&published);
        let came = consumer.lines(published.len(), "what was published behind a false HEAD");
        crate::e2e::assert_contents("other", &came, &published);
        producer.finish("the end of its input, with a store present");
        honest.round_trip();
    }
}
