//! Tests of the bounds on what libzmq holds.

use super::super::Kind;
use super::*;

#[test]
fn growth_that_is_no_more_than_what_is_held_is_in_proportion() {
    const MIB: u64 = 1 << 20;
    let mut growth = Growth::default();
    assert!(!growth.is_out_of_proportion(Growth::MUCH_BYTES - 1) && growth.since.is_none());
    assert!(!growth.grows(10 * MIB, 100 * MIB));
    // A long record.
    assert!(!growth.grows(500 * MIB, 600 * MIB));
    // Short frames.
    assert!(!growth.grows(20 * MIB, 260 * MIB));
    assert!(growth.grows(20 * MIB, 300 * MIB));
    assert!(!growth.grows(20 * MIB, 300 * MIB), "it was said");
}

/// A socket that connects to one endpoint.
fn side(endpoint: SocketAddr, max_frame_len_bytes: u64) -> Arc<Side> {
    let place = Place::Endpoints(Mutex::new(HashMap::from([(endpoint, 1)])));
    let (taken, was_empty) = (Mutex::default(), AtomicBool::new(false));
    Arc::new(Side { name: "Test".into(), place, limit_bytes: 0, max_frame_len_bytes, taken, was_empty })
}

fn connection(received_bytes: u64) -> Connection {
    let mut connection = Connection::new(side(([127, 0, 0, 1], 1).into(), 0), Peer::unix(b"@test"));
    assert_eq!(connection.update(received_bytes, 0, 0), received_bytes);
    connection
}

#[test]
fn what_is_held_stays_within_what_was_received() {
    let mut one = connection(1_000);
    // The kernel tells less than before, or the node tells of what came over an earlier connection.
    assert_eq!(one.update(10, 300, 0), 0);
    assert_eq!((one.received_bytes, one.held_bytes, one.unread_bytes), (1_000, 700, 1_000));
    assert_eq!(one.update(1_100, u64::MAX, 0), 100);
    assert_eq!((one.held_bytes, one.taken_bytes), (0, 1_100));
    assert_eq!(one.update(1_500, 0, 9_000), 400);
    assert_eq!(one.held_bytes, 0);
}

/// libzmq closes a connection after it was listed, and accepts another one, which gets its descriptor.
#[test]
fn a_descriptor_that_is_another_connection_s_now_is_not_measured() {
    use std::os::fd::AsRawFd;
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut peer = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (accepted, _) = listener.accept().unwrap();
    std::io::Write::write_all(&mut peer, b"hello").unwrap();
    let file = accepted.as_raw_fd();
    let number = socket_number(file).unwrap();
    accepted.peek(&mut [0; 5]).unwrap();
    assert_eq!(arrived_bytes((file, number), 0), Some((5, 0)));
    assert_eq!(arrived_bytes((file, number + 1), 0), None);
    let mut watch = Watch::new(Descriptors::open().unwrap());
    watch.connections.insert((file, number + 1), connection(1_000_000));
    let owner = side(([127, 0, 0, 1], 1).into(), 0);
    let received = watch.measure(&HashMap::from([(file, (400_000, &owner))]), &HashSet::new());
    assert_eq!(received.values().sum::<u64>(), 0);
    // Of the old one, what the node has not taken is still held.
    assert_eq!(watch.connections[&(file, number + 1)].held_bytes, 600_000);
}

/// A producer, which takes short requests only, and a consumer of one process connect to the same peer.
#[test]
fn a_connection_belongs_to_the_node_that_receives_over_it() {
    use std::os::fd::AsRawFd;
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = listener.local_addr().unwrap();
    let stream = std::net::TcpStream::connect(endpoint).unwrap();
    let id = (stream.as_raw_fd(), socket_number(stream.as_raw_fd()).unwrap());
    let sides = [side(endpoint, 4_096), side(endpoint, 1 << 30), side(endpoint, 4_096)];
    let mut watch = Watch::new(Descriptors::open().unwrap());
    watch.look(&sides);
    // As long as it is not known whose it is, what the one allows that allows most.
    assert!(Arc::ptr_eq(&watch.connections[&id].side, &sides[1]));
    lock(&sides[2].taken).insert(id.0, 10);
    watch.look(&sides);
    assert!(Arc::ptr_eq(&watch.connections[&id].side, &sides[2]));
    // Another one ends: what is known of the connection stays.
    watch.connections.get_mut(&id).unwrap().received_bytes = 1_000;
    CHANGES.fetch_add(1, Ordering::Relaxed);
    watch.look(&sides[..2]);
    let kept = &watch.connections[&id];
    assert!(Arc::ptr_eq(&kept.side, &sides[1]) && kept.received_bytes == 1_000);
}

/// Sends to an XPUB socket that nobody reads, until it is cut off.
#[test]
fn what_nobody_reads_is_cut_off() {
    let socket = Socket::new(Kind::XPUB).unwrap();
    socket.expect_subscribers().unwrap();
    socket.zmq().set_linger(0).unwrap();
    let port = socket.bind_ephemeral().unwrap();
    let backlog = Backlog::listening("Test", &socket, 1 << 20);
    let subscriber = Socket::new(Kind::SUB).unwrap();
    subscriber.zmq().set_linger(0).unwrap();
    subscriber.zmq().set_sndhwm(0).unwrap();
    subscriber.zmq().set_reconnect_ivl(-1).unwrap();
    let events = zmq::SocketEvent::DISCONNECTED.to_raw();
    subscriber.zmq().monitor("inproc://backlog-test", i32::from(events)).unwrap();
    let monitor = Socket::new(Kind::PAIR).unwrap();
    monitor.connect("inproc://backlog-test").unwrap();
    monitor.zmq().set_rcvtimeo(60_000).unwrap();
    subscriber.connect(&format!("tcp://127.0.0.1:{port}")).unwrap();
    let mut frame = Frame::new();
    let subscribe = |number: u32| {
        subscriber.zmq().set_subscribe(&[&number.to_be_bytes()[..], &[b'x'; 96]].concat()).unwrap();
    };
    // What is read is no burden.
    socket.zmq().set_rcvtimeo(60_000).unwrap();
    for number in 0..30_000 {
        subscribe(number);
        socket.recv(&mut frame).unwrap();
        backlog.took_subscription(&frame);
        backlog.end_turn(true);
    }
    assert!(!monitor.events().contains(zmq::POLLIN));
    (30_000..60_000).for_each(subscribe);
    monitor.recv(&mut frame).unwrap();
    subscriber.stop_monitor();
}
