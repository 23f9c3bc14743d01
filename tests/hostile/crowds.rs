//! A hundred thousand made-up partitions, and ten thousand peers that do not exist.
//!
//! `DAFKA_SOAK=1` also runs the long tests (`make soak-hostile`).

use crate::e2e::{Cluster, DEADLINE, Program, assert_contents, port_of};
use crate::hostile::{Attacker, Honest, MIB, TOPIC, beacon, beacon_socket};
use crate::peer::{Node, fetch, get_heads, head, new_address, record};
use std::net::{Ipv4Addr, TcpListener};
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

fn is_soak() -> bool {
    std::env::var_os("DAFKA_SOAK").is_some()
}

/// A partition costs a consumer or a store about a kilobyte: two copies of its names, its state, and its entries in
/// tables. 100,000 partitions cost less than 100 MiB. The limit is 50 % higher, for batches and for free memory of the
/// allocator.
const PARTITIONS_GROWTH: u64 = 150 * MIB;

#[test]
fn honest_nodes_work_during_a_flood_of_100_000_made_up_partitions() {
    let cluster = Cluster::new();
    let mut honest = Honest::start(&cluster);
    let mut attacker = Attacker::start(&cluster);
    let names: Vec<String> = (0..100_000).map(|_| new_address()).collect();
    // All partitions have a head beyond their records, and every other one has a record.
    for (i, name) in names.iter().enumerate() {
        if i % 2 == 0 {
            attacker.node.send_record(&record(TOPIC, name, 0), "made up");
        }
        attacker.node.send(&head(TOPIC, name, 1_000));
        if i % 5_000 == 4_999 {
            attacker.node.listen(Duration::from_millis(1));
            honest.round_trip();
        }
    }
    honest.check(PARTITIONS_GROWTH);
    honest.tell();
    // New nodes work.
    let mut newcomer = cluster.consumer("another");
    cluster.publish("another", &[b"new".to_vec()]);
    assert!(newcomer.line("a record of another topic").ends_with(b" new"));
    honest.end(PARTITIONS_GROWTH);
}

/// A peer makes up more partitions than a node may know, each with a record, and repeats their heads, so that none is
/// evicted. Other peers' partitions still have room, because one peer may take at most half of the room.
#[test]
fn active_made_up_partitions_of_one_peer_leave_room_for_others() {
    let mut cluster = Cluster::new();
    cluster.set("consumer/max_partitions", "500");
    cluster.set("store/max_partitions", "500");
    let mut honest = Honest::start(&cluster);
    let mut attacker = Attacker::start(&cluster);
    let names: Vec<String> = (0..1_000).map(|_| new_address()).collect();
    for name in &names {
        attacker.node.send_record(&record(TOPIC, name, 0), "made up");
    }
    let mut keep_alive = || {
        names.iter().for_each(|name| attacker.node.send(&head(TOPIC, name, 0)));
        attacker.node.listen(Duration::from_millis(50));
    };
    keep_alive();
    honest.round_trip();
    for i in 0..5 {
        let line = format!("late {i}").into_bytes();
        let start = Instant::now();
        let mut late = cluster.producer_of(TOPIC, std::slice::from_ref(&line));
        while late.is_running() {
            keep_alive();
            assert!(start.elapsed() < DEADLINE, "its record is not stored");
        }
        late.expect_success("its record being stored");
        while !honest.consumer.line("a late producer's record").ends_with(&line) {
            assert!(start.elapsed() < DEADLINE, "its record does not come");
        }
        eprintln!("a late producer was served after {:?}", start.elapsed());
    }
    for log in [honest.store.log(), honest.consumer.log()] {
        assert!(log.contains("too many partitions of one peer"), "{log}");
    }
    honest.end(PARTITIONS_GROWTH);
}

/// A peer requests all heads and a record under thousands of names, more than a store can answer. Other peers still get
/// their answers.
#[test]
fn consumers_read_records_beside_thousands_of_requests_for_all_heads() {
    let cluster = Cluster::new();
    let mut honest = Honest::start(&cluster);
    let attacker = Attacker::start(&cluster);
    let names: Vec<String> = (0..20_000).map(|_| new_address()).collect();
    for (i, name) in names.iter().enumerate() {
        attacker.node.send_record(&record(TOPIC, name, 0), "made up");
        if i % 1_000 == 999 {
            honest.round_trip();
        }
    }
    let published: Vec<Vec<u8>> = (0..100_000).map(|i| format!("record {i}").into_bytes()).collect();
    cluster.publish("another", &published);
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let (is_over, names) = (&is_over, &names);
        scope.spawn(move || {
            for i in (0..5_000).cycle().take_while(|_| !is_over.load(Ordering::Relaxed)) {
                let requester = format!("FAKE{i}");
                attacker.node.send(&get_heads("", &requester));
                attacker.node.send(&fetch(&names[i], &requester, TOPIC, 0, 1));
                if i % 500 == 0 {
                    std::thread::sleep(Duration::from_millis(10));
                }
            }
        });
        let ended = std::panic::catch_unwind(AssertUnwindSafe(|| {
            for _ in 0..3 {
                let start = Instant::now();
                let mut late = cluster.consumer("another");
                let came = late.lines(published.len(), "the records of a late consumer");
                assert_contents("another", &came, &published);
                eprintln!("a late consumer had {} records after {:?}", came.len(), start.elapsed());
                assert!(start.elapsed() < DEADLINE, "{:?}", start.elapsed());
                honest.round_trip();
            }
        }));
        is_over.store(true, Ordering::Relaxed);
        ended.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    });
    honest.end(PARTITIONS_GROWTH);
}

/// The number of files that a program may have open. Many systems have this limit.
const FILES: u64 = 1_024;
const PEERS: usize = 10_000;

/// A peer costs its name, its endpoint, and a session and a timer of the socket: some 5 KiB while the node tries to
/// connect. A node tries to connect to few peers at a time.
const PEERS_GROWTH: u64 = 64 * MIB;

/// Sends the beacons of ten thousand nodes that do not exist.
struct Crowd {
    to_tower: zmq::Socket,
    beacons: Vec<(String, String, u16)>,
    next: usize,
}

impl Crowd {
    fn new(cluster: &Cluster, endpoint: impl Fn(usize) -> (String, u16)) -> Crowd {
        let beacon = |i| {
            let (host, port) = endpoint(i);
            (new_address(), host, port)
        };
        Crowd { to_tower: beacon_socket(cluster), beacons: (0..PEERS).map(beacon).collect(), next: 0 }
    }

    /// Sends the beacons of the next `count` nodes.
    fn beacon(&mut self, count: usize) {
        for _ in 0..count {
            let (name, host, port) = &self.beacons[self.next % PEERS];
            beacon(&self.to_tower, name, host, *port);
            self.next += 1;
        }
    }
}

#[track_caller]
fn outlive(cluster: &Cluster, mut crowd: Crowd) {
    let mut honest = Honest::start(cluster);
    let watch = |honest: &mut Honest| {
        honest.round_trip();
        let programs: [&Program; 3] = [&honest.store, &honest.producer, &honest.consumer];
        programs.map(Program::open_files)
    };
    let mut most_files = [0; 3];
    let start = Instant::now();
    let rounds = if is_soak() { 20 } else { 3 };
    for round in 0..rounds {
        // Each node beacons once a second.
        for _ in 0..10 {
            crowd.beacon(PEERS / 10);
            let files = watch(&mut honest);
            (0..3).for_each(|i| most_files[i] = most_files[i].max(files[i]));
            std::thread::sleep(Duration::from_millis(50));
        }
        // New nodes find each other.
        let topic = format!("new {round}");
        let mut consumer = cluster.consumer(&topic);
        let producer = cluster.producer(&topic);
        producer.feed(&[b"first".to_vec()]);
        let came = Instant::now();
        crowd.beacon(PEERS / 10);
        assert!(consumer.line("a newcomer's record").ends_with(b" first"));
        assert!(came.elapsed() < crate::hostile::PROMPT, "a newcomer's record took {:?}", came.elapsed());
        producer.finish("the end of its input, with a store present");
        eprintln!("round {round}: newcomers were served after {:?}", came.elapsed());
    }
    eprintln!(
        "{} beacons in {:?}; files of store, producer, consumer at most: {most_files:?}",
        crowd.next,
        start.elapsed()
    );
    assert!(most_files.iter().all(|&files| files < FILES as usize), "{most_files:?}");
    honest.end(PEERS_GROWTH);
}

#[test]
fn honest_nodes_work_with_10_000_peers_that_do_not_exist() {
    let mut cluster = Cluster::new();
    cluster.limit_files(FILES);
    cluster.set("beacon/interval", "1000");
    // No process listens at the first ports. One endpoint may have 8 names.
    let crowd = Crowd::new(&cluster, |i| ("127.0.0.1".into(), 1 + i as u16 / 8));
    outlive(&cluster, crowd);
}

/// A listener whose queue is full, so that the system does not answer further connections.
struct FullListener {
    port: u16,
    _listener: TcpListener,
    _queued: Vec<std::net::TcpStream>,
}

impl FullListener {
    fn new() -> FullListener {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let port = listener.local_addr().expect("bound").port();
        rustix::net::listen(&listener, 0).expect("a shorter queue");
        // The queue has room for one connection.
        let queued = std::net::TcpStream::connect((Ipv4Addr::LOCALHOST, port)).expect("a connection");
        FullListener { port, _listener: listener, _queued: vec![queued] }
    }
}

#[test]
fn honest_nodes_work_with_10_000_peers_that_never_answer() {
    let mut cluster = Cluster::new();
    cluster.limit_files(FILES);
    cluster.set("beacon/interval", "1000");
    let full: Vec<FullListener> = (0..PEERS / 8 / 4).map(|_| FullListener::new()).collect();
    let crowd = Crowd::new(&cluster, |i| ("127.0.0.1".into(), full[i / 8 % full.len()].port));
    outlive(&cluster, crowd);
    drop(full);
}

/// Beacons announce all names at the endpoint of a real node. Other nodes still connect to that node.
#[test]
fn honest_nodes_work_with_10_000_names_for_one_endpoint() {
    let mut cluster = Cluster::new();
    cluster.limit_files(FILES);
    cluster.set("beacon/interval", "1000");
    let mut real = Node::secluded(&cluster);
    let port = port_of(&real.endpoint());
    let crowd = Crowd::new(&cluster, |_| ("127.0.0.1".to_owned(), port));
    outlive(&cluster, crowd);
    real.subscription(b"Hhello\0");
}
