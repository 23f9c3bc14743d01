//! Random ZMTP to every kind of socket of every kind of node, in both directions, while honest records flow.
//!
//! `DAFKA_FUZZ_FRAMES=n` sends n frames (`make soak-hostile`: ten million).

use crate::e2e::{Cluster, DEADLINE, Program, port_of};
use crate::hostile::{Attacker, Fuzzer, Honest, MIB, Role, TOPIC};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How much a process may grow: subscriptions, unread messages, and made-up partitions and records.
const GROWTH: u64 = 128 * MIB;

/// The number of hostile nodes that are announced. All other nodes connect to them.
const TRAPS: usize = 4;

fn frames_wanted() -> u64 {
    std::env::var("DAFKA_FUZZ_FRAMES").ok().and_then(|count| count.parse().ok()).unwrap_or(500_000)
}

/// A socket of an honest node, and how fuzzing peers connect to it.
struct Place {
    name: String,
    role: Role,
    access: Access,
    /// The number of frames that the socket has taken.
    frames: AtomicU64,
}

enum Access {
    /// The node listens.
    Port(u16),
    /// The node connects.
    Trap(TcpListener),
}

impl Place {
    fn new(name: &str, role: Role, access: Access) -> Place {
        Place { name: name.to_owned(), role, access, frames: AtomicU64::new(0) }
    }

    /// A port to which nodes connect.
    fn trap(name: &str, role: Role, port: u16) -> Place {
        Place::new(name, role, Access::Trap(TcpListener::bind((Ipv4Addr::LOCALHOST, port)).expect("a port")))
    }

    fn address(&self) -> SocketAddr {
        match &self.access {
            Access::Port(port) => (Ipv4Addr::LOCALHOST, *port).into(),
            Access::Trap(listener) => listener.local_addr().expect("bound"),
        }
    }

    /// Attacks one connection after the other.
    fn fuzz(&self, seed: u64, is_over: &AtomicBool) {
        let mut fuzzer = Fuzzer::new(seed, self.role);
        while !is_over.load(Ordering::Relaxed) {
            let stream = match &self.access {
                Access::Port(_) => TcpStream::connect_timeout(&self.address(), Duration::from_millis(200)),
                Access::Trap(listener) => listener.accept().map(|(stream, _)| stream),
            };
            if let Ok(stream) = stream {
                self.frames.fetch_add(fuzzer.attack(stream), Ordering::Relaxed);
            }
        }
    }

    /// Ends the wait for a connection.
    fn wake(&self) {
        let _ = TcpStream::connect(self.address());
    }
}

/// The sockets that listen: each node's XPUB, and the tower's XPUB and XSUB.
fn listening(cluster: &Cluster, attacker: &mut Attacker) -> Vec<Place> {
    let Attacker { producer, consumer, writer, reader, .. } = attacker;
    let nodes = [("producer", producer), ("consumer", consumer), ("writer", writer), ("reader", reader)];
    let nodes = nodes.map(|(name, address)| (name, address.clone()));
    let mut places: Vec<Place> = nodes
        .iter()
        .map(|(name, address)| {
            Place::new(&format!("{name}'s XPUB"), Role::Subscriber, Access::Port(attacker.port_of(address)))
        })
        .collect();
    let ends = [
        ("XPUB", Role::Subscriber, cluster.pub_addresses()),
        ("XSUB", Role::Publisher, cluster.sub_addresses()),
    ];
    for (kind, role, endpoint) in ends {
        places.push(Place::new(&format!("tower's {kind}"), role, Access::Port(port_of(&endpoint))));
    }
    places
}

#[test]
fn random_zmtp_does_not_end_a_node() {
    let cluster = Cluster::new();
    let mut honest = Honest::start(&cluster);
    let mut attacker = Attacker::start(&cluster);
    let mut places = listening(&cluster, &mut attacker);
    // The SUB sockets of producer, consumer and both nodes of the store connect to all announced nodes.
    let mut announced = Vec::new();
    for i in 0..TRAPS {
        let place = Place::trap(&format!("SUB of all, at trap {i}"), Role::Publisher, 0);
        let mut node = crate::peer::Node::new(&cluster);
        node.start_beacon_at(place.address().port());
        announced.push(node);
        places.push(place);
    }
    // The sockets that connect to a tower.
    let ruled = Cluster::new();
    places.push(Place::trap("SUB of beacons", Role::Publisher, port_of(&ruled.pub_addresses())));
    places.push(Place::trap("PUB of beacons", Role::Subscriber, port_of(&ruled.sub_addresses())));
    let mut ruled_nodes = [ruled.store("ruled"), ruled.consumer(TOPIC), ruled.producer(TOPIC)];

    let (wanted, is_over) = (frames_wanted(), AtomicBool::new(false));
    let start = Instant::now();
    let total = || places.iter().map(|place| place.frames.load(Ordering::Relaxed)).sum::<u64>();
    // Few frames, because nodes connect to hostile towers with exponential backoff.
    let least = (wanted / 500).min(10_000);
    let is_met = |place: &Place| place.frames.load(Ordering::Relaxed) >= least;
    std::thread::scope(|scope| {
        for (seed, place) in (1..).zip(&places) {
            let is_over = &is_over;
            scope.spawn(move || place.fuzz(seed, is_over));
        }
        let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let (mut turn, mut told) = (0, 0);
            while total() < wanted || !places.iter().all(is_met) {
                pause(&mut honest, turn);
                turn += 1;
                honest.round_trip();
                honest.check(GROWTH);
                // The output shows a slow leak as constant growth.
                if total() >= told + wanted / 10 {
                    told = total();
                    eprintln!("{told} frames after {:?}", start.elapsed());
                    honest.tell();
                }
                for node in &mut ruled_nodes {
                    assert!(node.is_running(), "a node of a hostile tower has ended: {}", node.log());
                }
                let late = DEADLINE + Duration::from_millis(wanted / 10);
                let frames = || places.iter().map(|place| (&place.name, &place.frames)).collect::<Vec<_>>();
                assert!(start.elapsed() < late, "{:?} after {:?}", frames(), start.elapsed());
            }
        }));
        is_over.store(true, Ordering::Relaxed);
        places.iter().for_each(Place::wake);
        ended.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    });
    for place in &places {
        eprintln!("{}: {} frames", place.name, place.frames.load(Ordering::Relaxed));
    }
    eprintln!("{} frames in {:?}", total(), start.elapsed());
    honest.end(GROWTH);
    for mut node in ruled_nodes {
        node.signal(libc::SIGKILL);
    }
}

/// Stops one of the programs for a moment.
fn pause(honest: &mut Honest, turn: usize) {
    let Honest { tower, store, producer, consumer, .. } = honest;
    let program: &mut Program = [tower, store, producer, consumer][turn % 4];
    program.signal(libc::SIGSTOP);
    std::thread::sleep(Duration::from_millis(20));
    program.signal(libc::SIGCONT);
}
