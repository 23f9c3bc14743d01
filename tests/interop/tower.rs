//! Our tower with nodes of libdafka 0.1.0, and our nodes with a tower of it, played by hand.

use crate::e2e::{Cluster, DEADLINE, QUIET};
use crate::peer::{Node, fetch, new_address, record, to};
use std::time::{Duration, Instant};

fn socket(context: &zmq::Context, kind: zmq::SocketType) -> zmq::Socket {
    let socket = context.socket(kind).expect("a socket");
    socket.set_linger(0).expect("linger");
    socket.set_rcvtimeo(DEADLINE.as_millis() as i32).expect("a time limit");
    socket
}

/// Waits a little for a message.
fn within(socket: &zmq::Socket, patience: Duration) -> Option<Vec<Vec<u8>>> {
    let has_input = socket.poll(zmq::POLLIN, patience.as_millis() as i64).expect("poll") > 0;
    has_input.then(|| socket.recv_multipart(zmq::DONTWAIT).expect("a message"))
}

#[test]
fn our_tower_welcomes_and_says_where_nodes_are() {
    let cluster = Cluster::new();
    let _tower = cluster.tower();
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
    for (beacon, endpoint) in [(&long, "tcp://10.1.2.3:7001"), (&short, "tcp://127.0.0.1:7001")] {
        let expected = [b"B".to_vec(), address.clone().into_bytes(), endpoint.as_bytes().to_vec()];
        let due = Instant::now() + DEADLINE;
        loop {
            // A PUB socket drops what it sends before it is connected.
            node.send_multipart(beacon, 0).unwrap();
            match within(&listener, Duration::from_millis(50)) {
                Some(frames) if frames == expected => break,
                // Who comes while the tower begins may be welcomed twice.
                Some(frames) if frames == [b"W"] => {}
                Some(frames) => assert_eq!(frames.len(), 3, "extra frames are dropped: {frames:?}"),
                None => assert!(Instant::now() < due, "no beacon of {endpoint}"),
            }
        }
    }
    // What is no beacon goes no further.
    // In the order in which they were sent: marks before and behind.
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
        assert!(!is_marked, "passed on: {frames:?}");
        is_marked = frames[1] == marks[0].as_bytes();
    }
    assert!(is_marked, "the first mark");
}

#[test]
fn our_tower_passes_subscriptions_on_but_not_that_to_its_welcome() {
    let cluster = Cluster::new();
    let _tower = cluster.tower();
    let context = zmq::Context::new();
    // A node that looks at what is subscribed to, as an XPUB can.
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
    let cluster = Cluster::new();
    let _tower = cluster.tower();
    let mut first = Node::started(&cluster, &[to(b'M', "topic")]);
    let mut second = Node::started(&cluster, &[]);
    // The second sees the first's subscription once the first has connected to it, which it does while it listens.
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
    let cluster = Cluster::new();
    let _tower = cluster.tower();
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
        // What is sent before the node's own subscription has come is lost: it asks again.
        let due = Instant::now() + DEADLINE;
        let record = loop {
            node.send(&fetch(&producer, &node.address, "topic", 0, 1));
            match node.message_within(b"D", Duration::from_millis(100)) {
                Some(frames) => break frames,
                None => assert!(Instant::now() < due, "no response to a FETCH of a node without a name"),
            }
        };
        assert_eq!(record[1], b"one");
    }
}

/// A tower of 0.1.0, played by hand: an XSUB that hears beacons, an XPUB that announces.
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

    /// Starts one of our console consumers of a topic.
    fn consumer(&self, cluster: &Cluster, topic: &str) -> crate::e2e::Program {
        let (publ, sub) = (self.addresses.0.as_str(), self.addresses.1.as_str());
        let settings =
            [("beacon/pub_address", publ), ("beacon/sub_address", sub), ("beacon/timeout", "1000")];
        let settings =
            settings.into_iter().chain([("beacon/address", "127.0.0.1"), ("beacon/interval", "50")]);
        let settings = settings.map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
        let config = cluster.config_file(&settings);
        let config = config.to_str().expect("UTF-8");
        cluster.program(
            "dafka_console_consumer",
            &["-c", config, "--from-beginning", topic],
            crate::e2e::Input::Pipe,
        )
    }
}

#[test]
fn our_node_beacons_to_a_tower_of_0_1_0_and_connects_to_whom_it_announces() {
    let (cluster, tower) = (Cluster::new(), Tower::new());
    let mut consumer = tower.consumer(&cluster, "topic");
    let beacon = tower.beacon();
    assert_eq!(beacon.len(), 4);
    assert_eq!((beacon[0].as_str(), beacon[1].len(), beacon[2].as_str()), ("B", 32, "127.0.0.1"));
    assert!(beacon[3].parse::<u16>().is_ok_and(|port| port > 0));
    assert_eq!(tower.beacon(), beacon, "again at its interval");

    // Announced with frames that it does not know; and itself, which it ignores.
    // The producer does not listen to this tower. The consumer may hear it later than it is heard.
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

/// Nodes of 0.1.0 take their ports from 49152 on, so that one producer after the other has the same.
#[test]
fn a_new_node_at_an_endpoint_where_nobody_was_for_some_time_is_connected_to_at_once() {
    let (cluster, tower) = (Cluster::new(), Tower::new());
    let mut consumer = tower.consumer(&cluster, "topic");
    tower.beacon();
    let await_subscription = |node: &mut Node, start: Instant| {
        while !node.has_subscription(b"Mtopic\0") {
            assert!(start.elapsed() < DEADLINE, "it does not connect");
            tower.announce(&["B", &node.address, &node.endpoint()]);
            node.listen(Duration::from_millis(50));
        }
        start.elapsed()
    };
    let mut old = Node::at(&tower.addresses.0, &tower.addresses.1);
    let endpoint = old.endpoint();
    await_subscription(&mut old, Instant::now());
    drop(old);
    // By now libzmq tries to connect every few seconds: it has just done so, and does again after 3 s.
    std::thread::sleep(Duration::from_millis(3_800));
    let mut new = Node::bound(&tower.addresses.0, &tower.addresses.1, &endpoint);
    let took = await_subscription(&mut new, Instant::now());
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
    let due = Instant::now() + DEADLINE;
    while !old.has_subscription(b"Mtopic\0") {
        assert!(Instant::now() < due, "it does not connect to the old endpoint");
        tower.announce(&["B", &address, &old.endpoint()]);
        old.listen(Duration::from_millis(50));
    }
    old.send_record(&record("topic", &address, 0), "one");
    assert_eq!(consumer.line("the first record"), format!("topic {address} one").as_bytes());

    // The same node at another endpoint, for longer than the old one is believed in.
    let mut new = Node::at(&tower.addresses.0, &tower.addresses.1);
    let due = Instant::now() + DEADLINE;
    while !new.has_subscription(b"Mtopic\0") {
        assert!(Instant::now() < due, "it does not connect to the new endpoint");
        tower.announce(&["B", &address, &new.endpoint()]);
        new.listen(Duration::from_millis(50));
    }
    new.send_record(&record("topic", &address, 1), "two");
    assert_eq!(consumer.line("the second record"), format!("topic {address} two").as_bytes());

    // The peer is silent for longer than the timeout, the tower is not: as each tower does, it tells the node of itself. It
    // disconnects, and a new beacon brings it back.
    let is_gone = |node: &mut Node| {
        let due = Instant::now() + DEADLINE;
        while !node.has_unsubscription(b"Mtopic\0") {
            assert!(Instant::now() < due, "it does not disconnect");
            let own = tower.beacon();
            tower.announce(&["B", &own[1], &format!("tcp://127.0.0.1:{}", own[3])]);
            node.listen(Duration::from_millis(50));
        }
    };
    is_gone(&mut new);
    new.forget_subscriptions();
    tower.announce(&["B", &address, &new.endpoint()]);
    new.subscription(b"Mtopic\0");
    new.send_record(&record("topic", &address, 2), "three");
    assert_eq!(consumer.line("the third record"), format!("topic {address} three").as_bytes());
}
