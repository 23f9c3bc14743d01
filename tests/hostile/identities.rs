//! One attacker that announces itself as many peers.

use crate::e2e::{Cluster, port_of};
use crate::hostile::{MIB, beacon, beacon_socket};
use crate::peer::{Node, fetch, new_address};
use std::time::Duration;

const TOPIC: &str = "hello";

/// An attacker that announces one listening socket under many names and hosts.
struct Pretender {
    publisher: zmq::Socket,
    subscriber: zmq::Socket,
    to_tower: zmq::Socket,
    port: u16,
    names: Vec<String>,
    _context: zmq::Context,
}

impl Pretender {
    fn new(cluster: &Cluster, count: usize) -> Pretender {
        let context = zmq::Context::new();
        let [publisher, subscriber] =
            [zmq::XPUB, zmq::SUB].map(|kind| context.socket(kind).expect("a socket"));
        for socket in [&publisher, &subscriber] {
            socket.set_linger(0).expect("linger");
        }
        publisher.bind("tcp://*:*").expect("a port");
        let port = port_of(&publisher.get_last_endpoint().expect("an endpoint").expect("UTF-8"));
        let names = (0..count).map(|_| new_address()).collect();
        let to_tower = beacon_socket(cluster);
        Pretender { publisher, subscriber, to_tower, port, names, _context: context }
    }

    /// Announces all names, each at the host `host(number)`.
    fn beacon(&self, host: impl Fn(usize) -> String) {
        for (i, name) in self.names.iter().enumerate() {
            beacon(&self.to_tower, name, &host(i), self.port);
        }
    }
}

/// A producer keeps 5 MB of records. The attacker announces one socket at 900 hosts, and requests all records. If the
/// producer connected to the attacker 900 times, it would send 45 million responses.
#[test]
fn one_socket_at_many_hosts_is_one_peer() {
    let cluster = Cluster::new().with_tower();
    let producer = cluster.producer(TOPIC);
    let records: Vec<Vec<u8>> = (0..50_000).map(|i| format!("{i:0100}").into_bytes()).collect();
    producer.feed(&records);
    let mut node = Node::started(&cluster, &[b"W".to_vec()]);
    let address = node.subscriber_of(b'K');
    let endpoint = node.endpoint_of(&address);
    let pretender = Pretender::new(&cluster, 900);
    // The attacker reads no responses.
    pretender.subscriber.set_rcvhwm(10).expect("a high-water mark");
    pretender.subscriber.set_subscribe(b"D").expect("a subscription");
    pretender.subscriber.connect(&endpoint).expect("an endpoint");
    let before = producer.rss_bytes();
    let mut most_files = 0;
    for round in 0..6 {
        pretender.beacon(|i| match round % 2 {
            0 => format!("127.0.0.1%{}", 1 + i),
            _ => format!("127.{}.{}.{}", 1 + i % 3, i / 250, 1 + i % 250),
        });
        pretender.publisher.send(fetch(&address, &pretender.names[0], TOPIC, 0, 50_000), 0).expect("sent");
        std::thread::sleep(Duration::from_millis(500));
        most_files = most_files.max(producer.open_files());
    }
    let growth = producer.rss_bytes().saturating_sub(before);
    eprintln!("{} MiB more, {most_files} files", growth / MIB);
    assert!(most_files < 100, "{most_files} files");
    assert!(growth < 100 * MIB, "{growth} octets");
    assert!(producer.log().contains("is not an endpoint of a single host"), "{}", producer.log());
    // The producer still has its records.
    let _store = cluster.store("store");
    let mut consumer = cluster.consumer(TOPIC);
    producer.finish("the end of its input, with a store present");
    consumer.expect_records(TOPIC, &records, "the records");
}
