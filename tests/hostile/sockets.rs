//! Peers at every TCP port of every kind of node that do not speak ZeroMQ, stop in the middle, or announce frames that
//! are longer than the memory.

use crate::e2e::{Cluster, DEADLINE, port_of};
use crate::hostile::{
    Attacker, Honest, MIB, Raw, Rng, TOPIC, as_publisher, has_sent, is_closed_by_peer, octets, shake_hands,
};
use crate::peer::record;
use std::io::Write;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

/// How much a process may grow: connections and their buffers. An announced frame costs nothing.
const GROWTH: u64 = 64 * MIB;

/// How much a process may grow when peers subscribe to prefixes of 4 MiB in total: libzmq needs 35 bytes for each. A
/// store has two nodes, and more subscriptions arrive before a connection has ended.
const SUBSCRIPTIONS_GROWTH: u64 = 400 * MIB;

fn connect(port: u16) -> TcpStream {
    let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).expect("a connection");
    stream.set_nodelay(true).expect("an option");
    stream
}

/// All listening ports, each with the kind of socket that connects to it.
fn ports(cluster: &Cluster, attacker: &mut Attacker) -> Vec<(u16, &'static str)> {
    let mut ports = attacker.ports().map(|port| (port, "SUB")).to_vec();
    ports.push((port_of(&cluster.pub_addresses()), "SUB"));
    ports.push((port_of(&cluster.sub_addresses()), "PUB"));
    ports
}

#[test]
fn honest_nodes_work_with_garbage_on_every_port() {
    let cluster = Cluster::new();
    let mut honest = Honest::start(&cluster);
    let mut attacker = Attacker::start(&cluster);
    let ports = ports(&cluster, &mut attacker);
    let mut rng = Rng::with_seed(7);
    let mut open = Vec::new();
    for (port, kind) in ports {
        for i in 0..200 {
            let mut stream = connect(port);
            let len = 1 + rng.usize(..500);
            // Writes fail when the other side ends the connection.
            let _ = match i % 8 {
                0 => stream.write_all(b"GET / HTTP/1.1\r\nHost: example\r\n\r\n"),
                1 => stream.write_all(&octets(&mut rng, len)),
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
                    greeting.extend(octets(&mut rng, len));
                    stream.write_all(&greeting)
                }
                // A valid handshake, and then random bytes.
                _ => shake_hands(stream.try_clone().expect("a handle"), kind)
                    .and_then(|Raw(mut stream)| stream.write_all(&octets(&mut rng, len))),
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
fn announced_frames_that_are_too_long_are_refused_at_every_port() {
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

/// A hostile node to which others connect.
struct Trap {
    listener: TcpListener,
    /// Continues to send the beacon of the hostile node.
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

/// A writer and a consumer accept long frames, because records may be long. Other nodes do not accept them, and no node
/// accepts frames of any length.
#[test]
fn frames_announced_by_a_peer_that_others_connect_to_are_refused() {
    let mut cluster = Cluster::new();
    cluster.set("consumer/max_record_bytes", "1000000");
    cluster.set("store/max_record_bytes", "1000000");
    let mut honest = Honest::start(&cluster);
    let trap = Trap::set(&cluster);
    // Producer, consumer, and both nodes of the store.
    let mut connections: Vec<Raw> = (0..4).map(|_| trap.next()).collect();
    for raw in &mut connections {
        raw.frame(&record(TOPIC, "FAKE", 9), true).expect("sent");
        raw.announce(400 * MIB).expect("sent");
    }
    honest.round_trip();
    // The reader accepts a long CONSUMER-HELLO, but not one as long as this.
    for raw in &mut connections {
        assert!(is_closed_by_peer(&mut raw.0, DEADLINE), "a frame of 400 MiB");
    }
    honest.end(GROWTH);
}

/// By default a record may have hundreds of MiB. A record whose length is announced costs no memory before its content
/// arrives.
#[test]
fn an_announced_long_frame_costs_no_memory_before_it_arrives() {
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
    // Announce 2^63 bytes to all four nodes.
    let greedy = Trap::set(&cluster);
    for mut raw in (0..4).map(|_| greedy.next()).collect::<Vec<_>>() {
        // The node may have replaced this connection.
        let _ = raw.announce(u64::MAX >> 1);
        assert!(is_closed_by_peer(&mut raw.0, DEADLINE), "a frame of 2^63-1 octets");
    }
    honest.end(GROWTH);
}

/// Silent connections use up all files that a store may have open. Connected nodes continue, and new nodes can connect
/// when the store ends the silent connections.
#[test]
fn silent_connections_occupy_files_only_for_a_while() {
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
    // libzmq alone would wait 30 s for their greeting.
    assert!(start.elapsed() < Duration::from_secs(29), "a newcomer was served after {:?}", start.elapsed());
    drop(silent);
    honest.end(GROWTH);
}

/// A subscription occupies memory until its connection ends, so nodes end a connection with too many.
#[test]
fn a_peer_with_too_many_subscriptions_is_disconnected() {
    let mut cluster = Cluster::new();
    cluster.set("beacon/max_subscription_bytes", "4194304");
    let mut honest = Honest::start(&cluster);
    let mut attacker = Attacker::start(&cluster);
    let mut rng = Rng::with_seed(3);
    for (port, kind) in ports(&cluster, &mut attacker) {
        if kind != "SUB" {
            continue;
        }
        let mut raw = shake_hands(connect(port), kind).expect("a handshake");
        let mut count = 0;
        let is_cut_off = (0..200_000).any(|_| {
            count += 1;
            let subscription = [&[1, b'X'][..], &octets(&mut rng, 200)].concat();
            raw.frame(&subscription, false).is_err()
        });
        eprintln!("port {port}: {count} subscriptions, cut off: {is_cut_off}");
        honest.tell();
        honest.round_trip();
    }
    honest.end(SUBSCRIPTIONS_GROWTH);
}

/// Each connection subscribes to less than the limit, and all together to far more. The node still processes the
/// subscriptions that arrive before it ends the connections.
#[test]
fn peers_with_too_many_subscriptions_in_total_are_disconnected() {
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
                let mut rng = Rng::with_seed(seed as u64 + 1);
                let subscription = |_| [&[0, 202, 1, b'X'][..], &octets(&mut rng, 200)].concat();
                let subscriptions: Vec<u8> = (0..20_000).flat_map(subscription).collect();
                let raw = shake_hands(connect(port), "SUB");
                start.wait();
                // The node may end the connection at any time.
                let _ = raw.map(|mut raw| raw.0.write_all(&subscriptions));
            });
        }
    });
    honest.tell();
    honest.end(SUBSCRIPTIONS_GROWTH);
}

/// Two peers subscribe to the same topic. One of them unsubscribes and subscribes again, until it has sent four times
/// as many bytes as the limit.
#[test]
fn many_changes_of_a_shared_subscription_do_not_end_a_connection() {
    let cluster = Cluster::new().with("beacon/max_subscription_bytes", "1048576").with_tower();
    let store = cluster.store("store");
    let mut node = crate::peer::Node::started(&cluster, &[]);
    let reader = node.subscriber_of(b'W');
    let port = port_of(&node.endpoint_of(&reader));
    let [mut steady, mut moving] = [(); 2].map(|()| shake_hands(connect(port), "SUB").expect("a handshake"));
    let topic = [b'X'; 200];
    steady.frame(&[&[1], &topic[..]].concat(), false).expect("sent");
    // A store sends STORE-HELLO when a peer subscribes to it, after it has processed all earlier subscriptions.
    let is_greeted = |raw: &mut Raw, name: &str| {
        raw.frame(format!("\x01L{name}").as_bytes(), false).is_ok()
            && has_sent(&mut raw.0, format!("L{name}").as_bytes(), DEADLINE)
    };
    for round in 0..100 {
        for _ in 0..100 {
            // When the node has ended the connection, the check below fails.
            let _ = moving.frame(&[&[1], &topic[..]].concat(), false);
            let _ = moving.frame(&[&[0], &topic[..]].concat(), false);
        }
        assert!(is_greeted(&mut moving, &format!("moving{round}")), "round {round}: {}", store.log());
    }
    assert!(is_greeted(&mut steady, "steady"), "{}", store.log());
}

/// Subscribes to `count` prefixes of 192 bytes, each of which counts as 200 bytes. Returns the connection and whether
/// the other side has ended it.
fn subscribe(port: u16, count: usize) -> (Raw, bool) {
    let mut raw = shake_hands(connect(port), "SUB").expect("a handshake");
    // Prefixes that no other connection has, because libzmq reports a shared subscription only once.
    let own = raw.0.local_addr().expect("an address").port();
    for i in 0..count {
        // Writes fail when the other side has ended the connection.
        let _ = raw.frame(format!("\x01X{own:05}{i:0186}").as_bytes(), false);
    }
    let patience = if count > 500 { DEADLINE } else { crate::e2e::QUIET };
    let is_cut_off = is_closed_by_peer(&mut raw.0, patience);
    (raw, is_cut_off)
}

/// A key sets the limit of subscriptions. The log names the key and the peer.
#[test]
fn keys_limit_the_subscriptions_of_peers() {
    for (limit, is_cut_off) in [("100000", true), ("1000000", false)] {
        let mut cluster = Cluster::new();
        cluster.set("beacon/max_subscription_bytes", limit);
        cluster.set("tower/max_subscription_bytes", limit);
        let tower = cluster.tower();
        let store = cluster.store("store");
        let mut node = crate::peer::Node::started(&cluster, &[]);
        let reader = node.subscriber_of(b'W');
        let writer = node.subscriber_of(b'D');
        let reader_endpoint = node.endpoint_of(&reader);
        node.endpoint_of(&writer);
        for (mut program, key, endpoint) in [
            (tower, "tower/max_subscription_bytes", cluster.pub_addresses()),
            (store, "beacon/max_subscription_bytes", reader_endpoint),
        ] {
            let port = port_of(&endpoint);
            assert!(!subscribe(port, 400).1, "{key}: 80,000 octets");
            if !is_cut_off {
                let (_raw, is_cut_off) = subscribe(port, 500);
                assert!(!is_cut_off, "{key}: 100,000 octets");
                assert!(!program.log().contains(key), "{}", program.log());
                continue;
            }
            // The node may instead end an earlier connection, because it has not noticed yet that this connection has
            // ended. Then try again.
            let start = Instant::now();
            loop {
                let (raw, is_cut_off) = subscribe(port, 600);
                assert!(is_cut_off, "{key}: 120,000 octets");
                program.wait_for_log(&format!("{key} = {limit}"));
                let own = raw.0.local_addr().expect("an address");
                let is_named = || program.log().contains(&format!("the peer at {own} was disconnected"));
                // Wait for longer than a second, because the node logs at most one line per second.
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
