//! Our tower with simulated nodes of libdafka 0.1.0, and our nodes with a simulated tower of 0.1.0.

use crate::e2e::{Cluster, DEADLINE, Program, QUIET};
use crate::peer::{Node, fetch, new_address, record, to};
use std::time::{Duration, Instant};

fn socket(context: &zmq::Context, kind: zmq::SocketType) -> zmq::Socket {
    let socket = context.socket(kind).expect("a socket");
    socket.set_linger(0).expect("linger");
    socket.set_rcvtimeo(DEADLINE.as_millis() as i32).expect("a time limit");
    socket
}

/// Waits for a message. `None` when none arrives within `patience`.
fn within(socket: &zmq::Socket, patience: Duration) -> Option<Vec<Vec<u8>>> {
    let has_input = socket.poll(zmq::POLLIN, patience.as_millis() as i64).expect("poll") > 0;
    has_input.then(|| socket.recv_multipart(zmq::DONTWAIT).expect("a message"))
}

#[test]
fn our_tower_sends_its_welcome_and_announces_nodes() {
    let cluster = Cluster::new().with_tower();
    let context = zmq::Context::new();
    let listener = socket(&context, zmq::SUB);
    for word in [b"W", b"B"] {
        listener.set_subscribe(word).unwrap();
    }
    listener.connect(&cluster.pub_addresses()).unwrap();
    assert_eq!(listener.recv_multipart(0).unwrap(), [b"W"]);

    let node = socket(&context, zmq::PUB);
    node.connect(&cluster.sub_addresses()).unwrap();
    let address = new_address();
    let long: Vec<&[u8]> =
        vec![b"B", address.as_bytes(), b"10.1.2.3", b"7001", b"a frame", b"of a later version"];
    let short: Vec<&[u8]> = vec![b"B", address.as_bytes(), b"", b"7001"];
    let traffic: Vec<&[u8]> = vec![b"B", address.as_bytes(), b"10.1.2.4", b"7001", b"DM/FK", b"a frame"];
    for (beacon, endpoint, forwarded) in [
        (&long, "tcp://10.1.2.3:7001", None),
        (&short, "tcp://127.0.0.1:7001", None),
        (&traffic, "tcp://10.1.2.4:7001", Some(b"DM/FK".to_vec())),
    ] {
        let mut expected = vec![b"B".to_vec(), address.clone().into_bytes(), endpoint.as_bytes().to_vec()];
        expected.extend(forwarded);
        let due = Instant::now() + DEADLINE;
        loop {
            // A PUB socket drops messages while it is not connected.
            node.send_multipart(beacon, 0).unwrap();
            match within(&listener, Duration::from_millis(50)) {
                Some(frames) if frames == expected => break,
                // A node that connects while the tower starts may receive two welcomes.
                Some(frames) if frames == [b"W"] => {}
                Some(frames) => assert_eq!(frames.len(), 3, "extra frames are dropped: {frames:?}"),
                None => assert!(Instant::now() < due, "no beacon of {endpoint}"),
            }
        }
    }
    // The tower drops messages that are not beacons. This test sends such messages between two beacons, the marks. The
    // tower must forward nothing between the marks. Messages keep their order.
    let marks = [new_address(), new_address()];
    let mark =
        |address: &str| node.send_multipart([&b"B"[..], address.as_bytes(), b"host", b"7002"], 0).unwrap();
    mark(&marks[0]);
    for bad in [
        &[&b"B"[..], address.as_bytes()][..],
        &[b"B", address.as_bytes(), b"host", b"port"],
        &[b"B", address.as_bytes(), b"host", b"70000"],
        &[b"B", &[b's'; 256], b"host", b"7001"],
        &[b"X", address.as_bytes(), b"host", b"7001"],
    ] {
        node.send_multipart(bad, 0).unwrap();
    }
    mark(&marks[1]);
    let mut is_marked = false;
    loop {
        let frames = within(&listener, DEADLINE).expect("the last beacon");
        if frames[1] == marks[1].as_bytes() {
            break;
        }
        assert!(!is_marked, "forwarded: {frames:?}");
        is_marked = frames[1] == marks[0].as_bytes();
    }
    assert!(is_marked, "the first mark");
}

#[test]
fn our_tower_forwards_subscriptions_except_the_one_to_its_welcome() {
    let cluster = Cluster::new().with_tower();
    let context = zmq::Context::new();
    // An XPUB socket receives the subscriptions of others.
    let node = socket(&context, zmq::XPUB);
    node.connect(&cluster.sub_addresses()).unwrap();
    assert_eq!(node.recv_bytes(0).unwrap(), b"\x01B");
    let listener = socket(&context, zmq::SUB);
    for word in [&b"W"[..], b"B", b"something"] {
        listener.set_subscribe(word).unwrap();
    }
    listener.connect(&cluster.pub_addresses()).unwrap();
    assert_eq!(node.recv_bytes(0).unwrap(), b"\x01something");
    node.set_rcvtimeo(QUIET.as_millis() as i32).unwrap();
    assert_eq!(node.recv_bytes(0), Err(zmq::Error::EAGAIN));
}

#[test]
fn nodes_of_0_1_0_find_each_other_by_our_tower() {
    let cluster = Cluster::new().with_tower();
    let mut first = Node::started(&cluster, &[to(b'M', "topic")]);
    let mut second = Node::started(&cluster, &[]);
    // While the first node listens, it connects to the second. While the second node listens, it receives the
    // subscription.
    let due = Instant::now() + DEADLINE;
    while !second.has_subscription(&to(b'M', "topic")) {
        assert!(Instant::now() < due, "the first does not connect to the second");
        first.listen(Duration::from_millis(20));
        second.listen(Duration::from_millis(20));
    }
    second.send_record(&record("topic", &second.address, 0), "content");
    assert_eq!(first.message(b"M")[1], b"content");
}

/// Programs of the Java implementation send beacons without a sender.
#[test]
fn nodes_without_a_name_are_announced_and_connected_to_and_answered() {
    let cluster = Cluster::new().with_tower();
    let producer = cluster.producer("topic");
    producer.feed(&[b"one".to_vec()]);
    let mut nodes = [(); 2].map(|()| {
        let mut node = Node::new(&cluster);
        node.subscribe(&to(b'D', &node.address));
        node.start_nameless_beacon();
        node
    });
    for node in &mut nodes {
        let producer = node.subscriber_of(b'K');
        node.subscription(&to(b'F', &producer));
        let request = fetch(&producer, &node.address, "topic", 0, 1);
        assert_eq!(node.ask(&request, b"D")[1], b"one");
    }
}

/// A simulated tower of 0.1.0: an XSUB socket that receives beacons, and an XPUB socket that announces nodes.
struct Tower {
    incoming: zmq::Socket,
    outgoing: zmq::Socket,
    addresses: (String, String),
    _context: zmq::Context,
}

impl Tower {
    fn new() -> Tower {
        let context = zmq::Context::new();
        let (incoming, outgoing) = (socket(&context, zmq::XSUB), socket(&context, zmq::XPUB));
        outgoing.set_xpub_welcome_msg(Some("W")).unwrap();
        for socket in [&incoming, &outgoing] {
            socket.bind("tcp://127.0.0.1:*").unwrap();
        }
        incoming.send(&b"\x01B"[..], 0).unwrap();
        let endpoint = |socket: &zmq::Socket| socket.get_last_endpoint().unwrap().unwrap();
        let addresses = (endpoint(&outgoing), endpoint(&incoming));
        Tower { incoming, outgoing, addresses, _context: context }
    }

    /// The next beacon's frames as text.
    #[track_caller]
    fn beacon(&self) -> Vec<String> {
        let frames = self.incoming.recv_multipart(0).expect("a beacon");
        frames.into_iter().map(|frame| String::from_utf8(frame).unwrap()).collect()
    }

    fn announce(&self, frames: &[&str]) {
        self.outgoing.send_multipart(frames, 0).unwrap();
    }

    /// Announces a node until our consumer has subscribed to the topic at that node.
    #[track_caller]
    fn announce_until_subscribed(&self, address: &str, node: &mut Node) {
        let due = Instant::now() + DEADLINE;
        while !node.has_subscription(b"Mtopic\0") {
            assert!(Instant::now() < due, "our consumer does not connect");
            self.announce(&["B", address, &node.endpoint()]);
            node.listen(Duration::from_millis(50));
        }
    }

    /// Starts one of our console consumers.
    fn consumer(&self, cluster: &Cluster, topic: &str) -> Program {
        let config = cluster.config_with(&[
            ("beacon/pub_address", &self.addresses.0),
            ("beacon/sub_address", &self.addresses.1),
            ("beacon/timeout", "1000"),
            ("beacon/interval", "50"),
        ]);
        cluster.program("dafka_console_consumer", &["-c", &config, "--from-beginning", topic])
    }
}

#[test]
fn our_node_beacons_to_a_tower_of_0_1_0_and_connects_to_announced_nodes() {
    let (cluster, tower) = (Cluster::new(), Tower::new());
    let mut consumer = tower.consumer(&cluster, "topic");
    let beacon = tower.beacon();
    assert_eq!(beacon.len(), 5);
    assert_eq!((beacon[0].as_str(), beacon[1].len(), beacon[2].as_str()), ("B", 32, "127.0.0.1"));
    assert!(beacon[3].parse::<u16>().is_ok_and(|port| port > 0));
    assert_eq!(beacon[4], "FGW/CDEHLMR");
    assert_eq!(tower.beacon(), beacon, "again at its interval");

    // The consumer ignores an announcement of itself, and unknown frames after a beacon.
    // The producer is not connected to this tower.
    let mut producer = Node::at("tcp://127.0.0.1:1", "tcp://127.0.0.1:1");
    let due = Instant::now() + DEADLINE;
    while !producer.has_subscription(b"Mtopic\0") {
        assert!(Instant::now() < due, "it does not connect to whom the tower announces");
        tower.announce(&["B", &beacon[1], &format!("tcp://127.0.0.1:{}", beacon[3])]);
        tower.announce(&["B", &producer.address, &producer.endpoint(), "of a later", "version"]);
        producer.listen(Duration::from_millis(50));
    }
    producer.send_record(&record("topic", &producer.address, 0), "one");
    let expected = format!("topic {} one", producer.address);
    assert_eq!(consumer.line("the record"), expected.as_bytes());
}

#[test]
fn a_node_connects_only_to_nodes_with_which_it_exchanges_messages() {
    let (cluster, tower) = (Cluster::new(), Tower::new());
    let _consumer = tower.consumer(&cluster, "topic");
    tower.beacon();
    let node = || Node::at(&tower.addresses.0, &tower.addresses.1);
    let (mut producer, mut other, mut old_tower) = (node(), node(), node());
    let due = Instant::now() + DEADLINE;
    while !producer.has_subscription(b"Mtopic\0") || !old_tower.has_subscription(b"Mtopic\0") {
        assert!(Instant::now() < due, "our consumer does not connect");
        // Another consumer, which a tower of ours announces.
        tower.announce(&["B", &other.address, &other.endpoint(), "FGW/CDEHLMR"]);
        // Another consumer, which a tower of ours and a tower of 0.1.0 announce.
        tower.announce(&["B", &old_tower.address, &old_tower.endpoint(), "FGW/CDEHLMR"]);
        tower.announce(&["B", &old_tower.address, &old_tower.endpoint()]);
        tower.announce(&["B", &producer.address, &producer.endpoint(), "CDEHMR/FGK"]);
        producer.listen(Duration::from_millis(50));
        old_tower.listen(Duration::from_millis(50));
    }
    other.listen(QUIET);
    assert!(!other.has_subscription(b"Mtopic\0"));
    // The consumer keeps its connection while the other tower is silent for less than the timeout.
    tower.announce(&["B", &old_tower.address, &old_tower.endpoint(), "FGW/CDEHLMR"]);
    old_tower.listen(QUIET);
    assert!(!old_tower.has_unsubscription(b"Mtopic\0"));
    tower.announce_until_subscribed(&other.address.clone(), &mut other);
}

/// Nodes of 0.1.0 use ports from 49152 on, so producers that run one after the other have the same port.
#[test]
fn a_node_connects_at_once_to_a_new_node_at_an_endpoint_that_was_unused() {
    let (cluster, tower) = (Cluster::new(), Tower::new());
    let mut consumer = tower.consumer(&cluster, "topic");
    tower.beacon();
    let mut old = Node::at(&tower.addresses.0, &tower.addresses.1);
    let endpoint = old.endpoint();
    tower.announce_until_subscribed(&old.address.clone(), &mut old);
    drop(old);
    // By now libzmq tries to connect every few seconds. It has just tried, and tries again after 3 s.
    std::thread::sleep(Duration::from_millis(3_800));
    let mut new = Node::bound(&tower.addresses.0, &tower.addresses.1, &endpoint);
    let start = Instant::now();
    tower.announce_until_subscribed(&new.address.clone(), &mut new);
    let took = start.elapsed();
    assert!(took < Duration::from_millis(800), "{took:?}");
    new.send_record(&record("topic", &new.address, 0), "first");
    assert_eq!(consumer.line("the first record"), format!("topic {} first", new.address).as_bytes());
}

#[test]
fn our_node_follows_a_peer_that_moves_or_comes_back() {
    let (cluster, tower) = (Cluster::new(), Tower::new());
    let mut consumer = tower.consumer(&cluster, "topic");
    tower.beacon();
    let mut old = Node::at(&tower.addresses.0, &tower.addresses.1);
    let address = old.address.clone();
    tower.announce_until_subscribed(&address, &mut old);
    old.send_record(&record("topic", &address, 0), "one");
    assert_eq!(consumer.line("the first record"), format!("topic {address} one").as_bytes());

    // Now the tower announces the same node at another endpoint, for longer than the timeout of the old endpoint.
    let mut new = Node::at(&tower.addresses.0, &tower.addresses.1);
    tower.announce_until_subscribed(&address, &mut new);
    new.send_record(&record("topic", &address, 1), "two");
    assert_eq!(consumer.line("the second record"), format!("topic {address} two").as_bytes());

    // The peer sends no beacons for longer than the timeout. The tower still announces the consumer itself. The
    // consumer disconnects, and connects again after a new beacon.
    let due = Instant::now() + DEADLINE;
    while !new.has_unsubscription(b"Mtopic\0") {
        assert!(Instant::now() < due, "it does not disconnect");
        let own = tower.beacon();
        tower.announce(&["B", &own[1], &format!("tcp://127.0.0.1:{}", own[3])]);
        new.listen(Duration::from_millis(50));
    }
    new.forget_subscriptions();
    tower.announce(&["B", &address, &new.endpoint()]);
    new.subscription(b"Mtopic\0");
    new.send_record(&record("topic", &address, 2), "three");
    assert_eq!(consumer.line("the third record"), format!("topic {address} three").as_bytes());
}
