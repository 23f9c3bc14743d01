//! Who speaks no ZeroMQ, or stops in the middle, or announces more than there is memory for, at every TCP port of every
//! kind of node.

use crate::e2e::{Cluster, DEADLINE};
use crate::hostile::{
    Attacker, Honest, MIB, Raw, Rng, TOPIC, as_publisher, has_sent, is_closed_by_peer, shake_hands,
};
use crate::peer::record;
use std::io::Write;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

/// How far a process may grow: connections and their buffers. A frame that is announced counts nothing.
const GROWTH: u64 = 64 * MIB;

/// What subscriptions may take, per node, when 4 MiB of them are let in: libzmq makes 35 octets of each. A store has two
/// nodes, and more come in before who was cut off is gone.
const SUBSCRIPTIONS_GROWTH: u64 = 400 * MIB;

fn port_of(endpoint: &str) -> u16 {
    endpoint.rsplit(':').next().and_then(|port| port.parse().ok()).expect("a port")
}

fn connect(port: u16) -> TcpStream {
    let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).expect("a connection");
    stream.set_nodelay(true).expect("an option");
    stream
}

/// All ports that anybody can connect to, and the kind of socket that is welcome there.
fn ports(cluster: &Cluster, attacker: &mut Attacker) -> Vec<(u16, &'static str)> {
    let nodes =
        [&attacker.producer, &attacker.consumer, &attacker.writer, &attacker.reader].map(String::clone);
    let mut ports: Vec<(u16, &str)> = nodes.iter().map(|node| (attacker.port_of(node), "SUB")).collect();
    ports.push((port_of(&cluster.pub_addresses()), "SUB"));
    ports.push((port_of(&cluster.sub_addresses()), "PUB"));
    ports
}

#[test]
fn garbage_on_every_port_harms_nobody() {
    let cluster = Cluster::new();
    let mut honest = Honest::start(&cluster);
    let mut attacker = Attacker::start(&cluster);
    let ports = ports(&cluster, &mut attacker);
    let mut rng = Rng::new(7);
    let mut open = Vec::new();
    for (port, kind) in ports {
        for i in 0..200 {
            let mut stream = connect(port);
            let len = 1 + rng.below(500);
            // What is refused in the middle cannot be written to the end.
            let _ = match i % 8 {
                0 => stream.write_all(b"GET / HTTP/1.1\r\nHost: example\r\n\r\n"),
                1 => stream.write_all(&rng.octets(len)),
                // Half a greeting, or nothing at all, and then silence.
                2 => stream.write_all(&[0xff, 0, 0, 0, 0, 0, 0, 0, 0, 0x7f, 3]),
                3 => Ok(()),
                // The greeting of an unversioned peer, with a long identity to come.
                4 => stream.write_all(&[0xff, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0]),
                // ZMTP 2, another mechanism, and a version from the future.
                5 => stream.write_all(&[0xff, 0, 0, 0, 0, 0, 0, 0, 1, 0x7f, 1, 2, 0, 0]),
                6 => {
                    let mut greeting = vec![0xff, 0, 0, 0, 0, 0, 0, 0, 0, 0x7f, 9, 9];
                    greeting.extend(b"CURVE");
                    greeting.resize(64, 0xff);
                    greeting.extend(rng.octets(len));
                    stream.write_all(&greeting)
                }
                // All well, and then anything.
                _ => shake_hands(stream.try_clone().expect("a handle"), kind)
                    .and_then(|Raw(mut stream)| stream.write_all(&rng.octets(len))),
            };
            if i % 2 == 0 {
                open.push(stream);
            }
        }
        honest.round_trip();
        honest.check(GROWTH);
    }
    assert!(open.len() > 500, "half-open connections");
    honest.end(GROWTH);
}

#[test]
fn announced_frames_without_end_are_refused_at_every_port() {
    let cluster = Cluster::new();
    let mut honest = Honest::start(&cluster);
    let mut attacker = Attacker::start(&cluster);
    for (port, kind) in ports(&cluster, &mut attacker) {
        for len in [5_000, 300 * MIB, 1 << 40, u64::MAX >> 1, u64::MAX] {
            let mut raw = shake_hands(connect(port), kind).expect("a handshake");
            raw.announce(len).expect("sent");
            assert!(is_closed_by_peer(&mut raw.0, DEADLINE), "a frame of {len} octets at port {port}");
        }
        honest.round_trip();
    }
    honest.end(GROWTH);
}

/// A hostile node that others connect to, in one more cluster's terms: its beacon, and what comes in at its port.
struct Trap {
    listener: TcpListener,
    /// Keeps its beacon going.
    _node: crate::peer::Node,
}

impl Trap {
    fn set(cluster: &Cluster) -> Trap {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let port = listener.local_addr().expect("bound").port();
        let mut node = crate::peer::Node::new(cluster);
        node.start_beacon_at(port);
        Trap { listener, _node: node }
    }

    fn next(&self) -> Raw {
        loop {
            let (stream, _) = self.listener.accept().expect("a connection");
            if let Ok(raw) = as_publisher(stream) {
                return raw;
            }
        }
    }
}

/// The writer and the consumer take long frames, as records are; nobody else does, and nobody takes all.
#[test]
fn frames_announced_by_a_peer_that_others_connect_to_are_refused() {
    let mut cluster = Cluster::new();
    cluster.set("consumer/max_record_bytes", "1000000");
    cluster.set("store/max_record_bytes", "1000000");
    let mut honest = Honest::start(&cluster);
    let trap = Trap::set(&cluster);
    // Producer, consumer, and both halves of the store.
    let mut connections: Vec<Raw> = (0..4).map(|_| trap.next()).collect();
    for raw in &mut connections {
        raw.frame(&record(TOPIC, "FAKE", 9), true).expect("sent");
        raw.announce(400 * MIB).expect("sent");
    }
    honest.round_trip();
    // The reader takes a long CONSUMER-HELLO, but not so long a one.
    for raw in &mut connections {
        assert!(is_closed_by_peer(&mut raw.0, DEADLINE), "a frame of 400 MiB");
    }
    honest.end(GROWTH);
}

/// With the default, a record of hundreds of MiB may come: what is announced costs nothing before it is there.
#[test]
fn a_long_frame_that_never_comes_costs_nothing() {
    let cluster = Cluster::new();
    let mut honest = Honest::start(&cluster);
    let traps: Vec<Trap> = (0..8).map(|_| Trap::set(&cluster)).collect();
    let mut connections: Vec<Raw> = traps.iter().flat_map(|trap| (0..4).map(|_| trap.next())).collect();
    for raw in &mut connections {
        let _ = raw.frame(&record(TOPIC, "FAKE", 9), true);
        let _ = raw.announce(900 * MIB);
        let _ = raw.0.write_all(&[7; 100_000]);
    }
    for _ in 0..5 {
        honest.round_trip();
    }
    honest.check(GROWTH);
    // Two announce 2^63 octets to all four, which even a store's disk has no room for.
    let greedy = Trap::set(&cluster);
    for mut raw in (0..4).map(|_| greedy.next()).collect::<Vec<_>>() {
        // It may have been made again meanwhile, as others were that were made at the same time.
        let _ = raw.announce(u64::MAX >> 1);
        assert!(is_closed_by_peer(&mut raw.0, DEADLINE), "a frame of 2^63-1 octets");
    }
    honest.end(GROWTH);
}

/// A thousand connections that say nothing, with no more files to be had than that: whoever is connected goes on, and
/// newcomers get in when the silent ones are dropped.
#[test]
fn silent_connections_take_files_for_a_while_only() {
    let mut cluster = Cluster::new();
    cluster.set("beacon/timeout", "60000");
    cluster.limit_files(256);
    let mut honest = Honest::start(&cluster);
    let mut attacker = Attacker::start(&cluster);
    let writer = attacker.writer.clone();
    let port = attacker.port_of(&writer);
    let mut silent: Vec<TcpStream> = Vec::new();
    let start = Instant::now();
    while honest.store.open_files() < 256 {
        let address = (Ipv4Addr::LOCALHOST, port).into();
        silent.extend(TcpStream::connect_timeout(&address, Duration::from_millis(200)));
        assert!(start.elapsed() < DEADLINE, "{} connections", silent.len());
    }
    let start = Instant::now();
    for _ in 0..10 {
        honest.round_trip();
    }
    eprintln!("{} silent connections, the store has {} files", silent.len(), honest.store.open_files());
    honest.check(GROWTH);
    // A new producer's first record is acknowledged as soon as the store can take its connection.
    cluster.publish("other", &[b"late".to_vec()]);
    eprintln!("a newcomer was served after {:?}", start.elapsed());
    // libzmq by itself would wait 30 s for them to say something.
    assert!(start.elapsed() < Duration::from_secs(29), "a newcomer was served after {:?}", start.elapsed());
    drop(silent);
    honest.end(GROWTH);
}

/// Each subscription takes memory for as long as its connection lives: who makes too many is cut off.
#[test]
fn subscriptions_without_end_are_cut_off() {
    let mut cluster = Cluster::new();
    cluster.set("beacon/max_subscription_bytes", "4194304");
    let mut honest = Honest::start(&cluster);
    let mut attacker = Attacker::start(&cluster);
    let mut rng = Rng::new(3);
    for (port, kind) in ports(&cluster, &mut attacker) {
        if kind != "SUB" {
            continue;
        }
        let mut raw = shake_hands(connect(port), kind).expect("a handshake");
        let mut count = 0;
        let is_cut_off = (0..200_000).any(|_| {
            count += 1;
            let subscription = [&[1, b'X'][..], &rng.octets(200)].concat();
            raw.frame(&subscription, false).is_err()
        });
        eprintln!("port {port}: {count} subscriptions, cut off: {is_cut_off}");
        honest.tell();
        honest.round_trip();
    }
    honest.end(SUBSCRIPTIONS_GROWTH);
}

/// Each connection brings less than would be too much, all of them at once far more. What they have brought by the time
/// when they are cut off is processed all the same.
#[test]
fn subscriptions_of_many_connections_at_once_are_cut_off() {
    const CONNECTIONS: usize = 10;
    let mut cluster = Cluster::new();
    cluster.set("beacon/max_subscription_bytes", "4194304");
    let mut honest = Honest::start(&cluster);
    let mut attacker = Attacker::start(&cluster);
    let producer = attacker.producer.clone();
    let port = attacker.port_of(&producer);
    let start = std::sync::Barrier::new(CONNECTIONS);
    std::thread::scope(|scope| {
        for seed in 0..CONNECTIONS {
            let start = &start;
            scope.spawn(move || {
                let mut rng = Rng::new(seed as u64 + 1);
                let subscription = |_| [&[0, 202, 1, b'X'][..], &rng.octets(200)].concat();
                let subscriptions: Vec<u8> = (0..20_000).flat_map(subscription).collect();
                let raw = shake_hands(connect(port), "SUB");
                start.wait();
                // The other side may end it at any time.
                let _ = raw.map(|mut raw| raw.0.write_all(&subscriptions));
            });
        }
    });
    honest.tell();
    honest.end(SUBSCRIPTIONS_GROWTH);
}

/// Two peers subscribe to the same topic. One of them ends its subscription and makes it again, until that has taken four
/// times the octets that may be subscribed to, and that the node's socket may hold.
#[test]
fn a_shared_subscription_that_is_made_and_ended_many_times_ends_no_connection() {
    let mut cluster = Cluster::new();
    cluster.set("beacon/max_subscription_bytes", "1048576");
    let _tower = cluster.tower();
    let store = cluster.store("store");
    let mut node = crate::peer::Node::started(&cluster, &[]);
    let reader = node.subscriber_of(b'W');
    while !node.peers.contains_key(&reader) {
        node.listen(Duration::from_millis(20));
    }
    let port = port_of(&node.peers[&reader]);
    let [mut steady, mut moving] = [(); 2].map(|()| shake_hands(connect(port), "SUB").expect("a handshake"));
    let topic = [b'X'; 200];
    steady.frame(&[&[1], &topic[..]].concat(), false).expect("sent");
    // A store greets each peer that subscribes to its greeting: it has read everything before.
    let is_greeted = |raw: &mut Raw, name: &str| {
        raw.frame(format!("\x01L{name}").as_bytes(), false).is_ok()
            && has_sent(&mut raw.0, format!("L{name}").as_bytes(), DEADLINE)
    };
    for round in 0..100 {
        for _ in 0..100 {
            // A connection that was ended does not greet.
            let _ = moving.frame(&[&[1], &topic[..]].concat(), false);
            let _ = moving.frame(&[&[0], &topic[..]].concat(), false);
        }
        assert!(is_greeted(&mut moving, &format!("moving{round}")), "round {round}: {}", store.log());
    }
    assert!(is_greeted(&mut steady, "steady"), "{}", store.log());
}

/// Subscribes so often, each time to 192 octets, which cost 200. The connection, and whether the other side has ended it.
fn subscribe(port: u16, count: usize) -> (Raw, bool) {
    let mut raw = shake_hands(connect(port), "SUB").expect("a handshake");
    // To what nobody else subscribes to, who may not be known yet to have ended: a tower hears of it once only.
    let own = raw.0.local_addr().expect("an address").port();
    for i in 0..count {
        // Once the other side has ended it, it cannot be written to.
        let _ = raw.frame(format!("\x01X{own:05}{i:0186}").as_bytes(), false);
    }
    let patience = if count > 500 { DEADLINE } else { crate::e2e::QUIET };
    let is_cut_off = is_closed_by_peer(&mut raw.0, patience);
    (raw, is_cut_off)
}

/// Who needs more has a key for it. The log says which, and who was cut off.
#[test]
fn keys_say_what_others_may_subscribe_to() {
    for (limit, is_cut_off) in [("100000", true), ("1000000", false)] {
        let mut cluster = Cluster::new();
        cluster.set("beacon/max_subscription_bytes", limit);
        cluster.set("tower/max_subscription_bytes", limit);
        let tower = cluster.tower();
        let store = cluster.store("store");
        let mut node = crate::peer::Node::started(&cluster, &[]);
        let reader = node.subscriber_of(b'W');
        let writer = node.subscriber_of(b'D');
        for address in [&reader, &writer] {
            while !node.peers.contains_key(address) {
                node.listen(Duration::from_millis(20));
            }
        }
        for (mut program, key, endpoint) in [
            (tower, "tower/max_subscription_bytes", cluster.pub_addresses()),
            (store, "beacon/max_subscription_bytes", node.peers[&reader].clone()),
        ] {
            let port = port_of(&endpoint);
            assert!(!subscribe(port, 400).1, "{key}: 80,000 octets");
            if !is_cut_off {
                let (_raw, is_cut_off) = subscribe(port, 500);
                assert!(!is_cut_off, "{key}: 100,000 octets");
                assert!(!program.log().contains(key), "{}", program.log());
                continue;
            }
            // One before this one may not be known yet to have ended, and be cut off instead: then once more.
            let start = Instant::now();
            loop {
                let (raw, is_cut_off) = subscribe(port, 600);
                assert!(is_cut_off, "{key}: 120,000 octets");
                program.wait_for_log(&format!("{key} = {limit}"));
                let own = raw.0.local_addr().expect("an address");
                let is_named = || program.log().contains(&format!("the peer at {own} was cut off"));
                // For longer than a second: there is one line in a second, and the next one needs one of its own.
                let told = Instant::now();
                while !is_named() && told.elapsed() < Duration::from_millis(1_500) {
                    std::thread::sleep(Duration::from_millis(5));
                }
                if is_named() {
                    break;
                }
                assert!(start.elapsed() < DEADLINE, "{own}: {}", program.log());
            }
        }
    }
}
