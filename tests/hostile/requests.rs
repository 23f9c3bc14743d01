//! Requests in the name of another node, and requesters that do not read the answers.

use crate::e2e::{Cluster, Program, assert_contents, port_of, wait_until};
use crate::hostile::{MIB, PROMPT, beacon, beacon_socket};
use crate::peer::{Node, consumer_hello, fetch, get_heads, new_address, string_at, to};
use std::time::{Duration, Instant};

const TOPIC: &str = "hello";

/// A store with records, and their partition.
fn store_of(cluster: &Cluster, records: &[Vec<u8>]) -> (Program, String) {
    let store = cluster.store("store");
    cluster.publish(TOPIC, records);
    let mut node = Node::new(cluster);
    node.subscribe(&to(b'E', &node.address));
    node.start_beacon();
    let head = node.ask(&get_heads(TOPIC, &node.address), b"E");
    let partition = string_at(&head[0], to(b'E', &node.address).len() + 2);
    (store, partition)
}

/// One small request in the name of a victim would make the store send it all records.
#[test]
fn a_request_in_another_nodes_name_is_not_answered() {
    let cluster = Cluster::new().with_tower();
    let records: Vec<Vec<u8>> = (0..1_000).map(|i| format!("{i}").into_bytes()).collect();
    let (mut store, partition) = store_of(&cluster, &records);
    let mut attacker = Node::started(&cluster, &[]);
    let mut victim = Node::new(&cluster);
    victim.subscribe_to(b"DE", &victim.address);
    victim.start_beacon();
    let reader = attacker.subscriber_of(b'W');
    victim.subscription(b"F");
    victim.endpoint_of(&reader);
    // Attacker and victim are connected to the store, and the victim receives responses to its own requests.
    victim.ask(&get_heads(TOPIC, &victim.address), b"E");
    victim.send(&fetch(&partition, &victim.address, TOPIC, 7, 1));
    victim.message(b"D");
    for _ in 0..3 {
        attacker.send(&get_heads("", &victim.address));
        attacker.send(&get_heads(TOPIC, &victim.address));
        attacker.send(&consumer_hello(&reader, &victim.address, &[TOPIC]));
        attacker.send(&fetch(&partition, &victim.address, TOPIC, 0, 1_000));
    }
    store.wait_for_log("in another node's name");
    // Heads that the victim itself has requested may still arrive.
    while victim.message_within(b"E", Duration::from_millis(300)).is_some() {}
    for id in [b"D", b"E"] {
        victim.expect_no_message(id, "another node has requested it");
    }
    victim.send(&fetch(&partition, &victim.address, TOPIC, 8, 1));
    victim.message(b"D");
}

/// Many requesters on one host, each with its own endpoint.
struct Crowd {
    requesters: Vec<(String, zmq::Socket, u16)>,
    subscriber: zmq::Socket,
    to_tower: zmq::Socket,
    _context: zmq::Context,
}

impl Crowd {
    fn new(cluster: &Cluster, count: usize) -> Crowd {
        let context = zmq::Context::new();
        let socket = |kind| {
            let socket = context.socket(kind).expect("a socket");
            socket.set_linger(0).expect("linger");
            socket
        };
        let subscriber = socket(zmq::SUB);
        subscriber.set_rcvhwm(1).expect("a high-water mark");
        let requester = |_| {
            let publisher = socket(zmq::XPUB);
            publisher.bind("tcp://127.0.0.1:*").expect("a port");
            let endpoint = publisher.get_last_endpoint().expect("an endpoint").expect("UTF-8");
            let port = port_of(&endpoint);
            let name = new_address();
            subscriber.set_subscribe(&to(b'D', &name)).expect("a subscription");
            subscriber.set_subscribe(&to(b'E', &name)).expect("a subscription");
            (name, publisher, port)
        };
        let requesters = (0..count).map(requester).collect();
        Crowd { requesters, subscriber, to_tower: beacon_socket(cluster), _context: context }
    }

    fn beacon(&self) {
        for (name, _, port) in &self.requesters {
            beacon(&self.to_tower, name, "127.0.0.1", *port);
        }
    }

    /// Sends beacons until the store is connected to all requesters.
    fn wait(&self) {
        for (_, publisher, _) in &self.requesters {
            wait_until("the store connects", || {
                let is_connected = publisher.recv_bytes(zmq::DONTWAIT).is_ok();
                if !is_connected {
                    self.beacon();
                    std::thread::sleep(Duration::from_millis(20));
                }
                is_connected
            });
        }
    }
}

/// Many peers request all records of a store and read nothing. The store buffers nothing for these peers, and a
/// consumer reads as fast as without these peers.
#[test]
fn requesters_that_do_not_read_cost_a_store_nothing() {
    let cluster = Cluster::new().with_tower();
    let records: Vec<Vec<u8>> = (0..100_000).map(|i| format!("{i:0500}").into_bytes()).collect();
    let (store, partition) = store_of(&cluster, &records);
    let crowd = Crowd::new(&cluster, 300);
    let mut node = Node::started(&cluster, &[]);
    let reader = node.subscriber_of(b'W');
    crowd.subscriber.connect(&node.endpoint_of(&reader)).expect("an endpoint");
    crowd.wait();
    let before = store.rss_bytes();
    let ask = || {
        crowd.beacon();
        for (name, publisher, _) in &crowd.requesters {
            publisher.send(fetch(&partition, name, TOPIC, 0, 100_000), 0).expect("sent");
            publisher.send(get_heads("", name), 0).expect("sent");
        }
    };
    ask();
    std::thread::sleep(Duration::from_secs(1));
    let start = Instant::now();
    let mut consumer = cluster.consumer(TOPIC);
    let mut came = Vec::new();
    while came.len() < records.len() {
        ask();
        came.extend(consumer.lines_within(records.len() - came.len(), Duration::from_millis(500)));
        assert!(start.elapsed() < PROMPT, "{} records after {:?}", came.len(), start.elapsed());
    }
    assert_contents(TOPIC, &came, &records);
    let growth = store.rss_bytes().saturating_sub(before);
    eprintln!("a replay took {:?}; the store has grown by {} MiB", start.elapsed(), growth / MIB);
    assert!(growth < 100 * MIB, "{growth} octets");
}
