//! Shared by the tests of hostile peers: the honest nodes, malformed messages, and ZMTP over plain TCP.

mod attacker;
mod fuzzer;
mod mutate;
mod zmtp;

pub(crate) use attacker::Attacker;
pub(crate) use fastrand::Rng;
pub(crate) use fuzzer::{Fuzzer, Role};
pub(crate) use mutate::{corpus, mutate, octets};
pub(crate) use zmtp::{Raw, as_publisher, as_subscriber, has_sent, is_closed_by_peer, shake_hands};

use crate::e2e::{Cluster, DEADLINE, Program};
use std::collections::HashMap;
use std::time::{Duration, Instant};

pub(crate) const TOPIC: &str = "hello";

/// How long a record may take from producer to consumer during an attack, on a machine that may be busy.
pub(crate) const PROMPT: Duration = Duration::from_secs(30);

pub(crate) const MIB: u64 = 1 << 20;

/// A socket that sends beacons to the tower of a cluster, and drops none.
pub(crate) fn beacon_socket(cluster: &Cluster) -> zmq::Socket {
    let socket = zmq::Context::new().socket(zmq::PUB).expect("a socket");
    socket.set_linger(0).expect("linger");
    socket.set_sndhwm(0).expect("a high-water mark");
    socket.connect(&cluster.sub_addresses()).expect("the tower");
    socket
}

/// Announces a node.
pub(crate) fn beacon(socket: &zmq::Socket, name: &str, host: &str, port: u16) {
    socket.send_multipart(["B", name, host, &port.to_string()], 0).expect("a beacon");
}

/// One node of each kind, and the memory of each before the attack.
pub(crate) struct Honest {
    pub(crate) tower: Program,
    pub(crate) store: Program,
    pub(crate) producer: Program,
    pub(crate) consumer: Program,
    sent: usize,
    /// For each producer address: the number of the last record that the consumer has printed.
    received: HashMap<String, usize>,
    before: Vec<u64>,
    slowest: Duration,
}

impl Honest {
    pub(crate) fn start(cluster: &Cluster) -> Honest {
        let tower = cluster.tower();
        Honest::join(cluster, tower)
    }

    /// Starts the other nodes for a tower that runs already.
    pub(crate) fn join(cluster: &Cluster, tower: Program) -> Honest {
        let store = cluster.store("honest");
        let consumer = cluster.consumer(TOPIC);
        let producer = cluster.producer(TOPIC);
        Honest::of(tower, store, producer, consumer)
    }

    /// As [`Honest::start`], with nodes that run already.
    pub(crate) fn of(tower: Program, store: Program, producer: Program, consumer: Program) -> Honest {
        let mut honest = Honest {
            tower,
            store,
            producer,
            consumer,
            sent: 0,
            received: HashMap::new(),
            before: Vec::new(),
            slowest: Duration::ZERO,
        };
        honest.round_trip();
        honest.before = honest.rss();
        honest.slowest = Duration::ZERO;
        honest
    }

    fn programs(&mut self) -> [(&'static str, &mut Program); 4] {
        let Honest { tower, store, producer, consumer, .. } = self;
        [("tower", tower), ("store", store), ("producer", producer), ("consumer", consumer)]
    }

    fn rss(&mut self) -> Vec<u64> {
        self.programs().iter().map(|(_, program)| program.rss_bytes()).collect()
    }

    /// Sends a record from the producer to the consumer, and checks the order. Other producers may publish at the same
    /// time. The producer may treat forged ACKs as ACKs for a twin. It then publishes unacknowledged records again,
    /// under another address.
    #[track_caller]
    pub(crate) fn round_trip(&mut self) {
        let line = format!("honest {}", self.sent);
        self.sent += 1;
        self.producer.feed(&[line.clone().into_bytes()]);
        let start = Instant::now();
        loop {
            let printed = self.consumer.line(&line);
            let printed = String::from_utf8_lossy(&printed).into_owned();
            if let Some((head, number)) = printed.split_once("honest ") {
                let number: usize = number.parse().expect("a number");
                let before = self.received.insert(head.to_owned(), number);
                assert!(before.is_none_or(|before| before < number), "in order, each once: {printed}");
                assert!(number < self.sent, "{printed}");
                if number + 1 == self.sent {
                    break;
                }
                assert!(self.received.len() > 1, "{printed} in place of {line}");
            }
            assert!(start.elapsed() < DEADLINE, "{line} does not come");
        }
        self.slowest = self.slowest.max(start.elapsed());
        if self.sent > 1 {
            assert!(start.elapsed() < PROMPT, "{line} took {:?}", start.elapsed());
        }
    }

    /// Checks that all programs run, and that none has grown by more than `growth_bytes`.
    #[track_caller]
    pub(crate) fn check(&mut self, growth_bytes: u64) {
        let before = self.before.clone();
        for ((name, program), before) in self.programs().into_iter().zip(before) {
            assert!(program.is_running(), "the {name} has ended: {}", program.log());
            let now = program.rss_bytes();
            assert!(now < before + growth_bytes, "the {name} has grown from {before} to {now} octets");
        }
    }

    /// Prints the measured values, from which the limits of the tests were chosen.
    pub(crate) fn tell(&mut self) {
        let (before, now) = (self.before.clone(), self.rss());
        let mib =
            |rss: Vec<u64>| rss.iter().map(|rss| (rss / MIB).to_string()).collect::<Vec<_>>().join(", ");
        eprintln!("tower, store, producer, consumer: {} MiB before, {} MiB now", mib(before), mib(now));
        eprintln!("slowest round trip so far: {:?}", self.slowest);
    }

    /// Checks that all published records are acknowledged, and that all programs end with exit code 0.
    #[track_caller]
    pub(crate) fn end(mut self, growth_bytes: u64) {
        self.round_trip();
        self.check(growth_bytes);
        self.tell();
        self.producer.finish("the end of its input, with a store present");
        for program in [self.consumer, self.store, self.tower] {
            program.terminate();
        }
    }
}
