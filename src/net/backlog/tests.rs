//! Tests of the limits on what libzmq holds.

use super::super::Kind;
use super::super::Peer;
use super::super::descriptors::{Descriptors, socket_number};
use super::connection::{Arrived, Connection, Id, arrived};
use super::*;
use std::collections::HashSet;
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::time::Instant;

const MIB: u64 = 1 << 20;

/// A socket that connects, and is not registered.
fn bounded(limit_bytes: u64, max_frame_len_bytes: u64) -> Arc<BoundedSocket> {
    let direction = Direction::Connecting(Mutex::default());
    BoundedSocket::new("Test", direction, limit_bytes, max_frame_len_bytes, None)
}

/// A connection that has received `received_bytes` in full segments. The node has read nothing of them.
fn connection(socket: &Arc<BoundedSocket>, received_bytes: u64) -> Connection {
    let mut connection = Connection::new(socket.clone(), Peer::unix(b"@test"));
    assert_eq!(connection.update(full(received_bytes), Taken::default(), 0, 0), (received_bytes, 0));
    connection
}

fn full(len_bytes: u64) -> Arrived {
    Arrived { len_bytes, segments: len_bytes / 1_448 }
}

fn taken(len_bytes: u64, frames: u64) -> Taken {
    Taken { len_bytes, frames }
}

fn scanner() -> Scanner {
    Scanner::new(Descriptors::open().unwrap())
}

#[test]
fn held_bytes_stay_within_received_bytes() {
    let mut one = connection(&bounded(0, 0), 1_000);
    // The kernel reports less than before, or the node reports data of an earlier connection.
    assert_eq!(one.update(full(10), taken(300, 1), 0, 0), (0, 0));
    assert_eq!((one.latest_arrived().0.len_bytes, one.held_bytes, one.unread_bytes()), (1_000, 700, 1_000));
    assert_eq!(one.update(full(1_100), taken(u64::MAX, 1), 0, 0), (100, u64::MAX - 800));
    assert_eq!((one.held_bytes, one.taken_bytes()), (0, 1_100));
    assert_eq!(one.update(full(1_500), taken(0, 0), 0, 9_000), (400, 0));
    assert_eq!((one.held_bytes, one.cost_bytes()), (0, 0));
    one.was_empty();
    assert_eq!(one.unread_bytes(), 0);
}

#[test]
fn short_frames_cost_more_than_their_length() {
    let records = bounded(256 * MIB, 1 << 30);
    // The node has read half of the data. The other half is assumed to consist of frames of the same length.
    let mut short = connection(&records, 2 * MIB);
    short.update(full(2 * MIB), taken(MIB, MIB / 4), 0, 0);
    assert_eq!((short.held_bytes, short.unknown_bytes()), (MIB, 0));
    assert_eq!(short.cost_bytes(), MIB + MIB / 4 * 64);
    let mut long = connection(&records, 8 * MIB);
    long.update(full(8 * MIB), taken(MIB, 1), 0, 0);
    assert!(long.cost_bytes() < 8 * MIB && long.cost_bytes() < short.cost_bytes());
    // Unknown frames may be one long record...
    let mut unknown = connection(&records, 100 * MIB);
    assert_eq!((unknown.unknown_bytes(), unknown.cost_bytes()), (100 * MIB, 100 * MIB));
    unknown.update(full(100 * MIB), taken(40, 1), 0, 0);
    assert_eq!(unknown.unknown_bytes(), 0);
    // ... but not one long request.
    assert_eq!(connection(&bounded(64 * MIB, 4_096), MIB).cost_bytes(), 32 * MIB);
    assert_eq!(connection(&bounded(MIB, 0), MIB).cost_bytes(), MIB);
}

/// libzmq keeps a buffer for each segment that it reads separately.
#[test]
fn short_segments_cost_a_buffer_each() {
    let records = bounded(256 * MIB, 1 << 30);
    let mut one = Connection::new(records, Peer::unix(b"@test"));
    let arrived = Arrived { len_bytes: 100_000, segments: 1_000 };
    one.update(arrived, taken(50_000, 1_000), 0, 0);
    let buffers_bytes = one.cost_bytes() - 50_000 - 1_000 * 64;
    assert!((8 * MIB..10 * MIB).contains(&buffers_bytes), "{buffers_bytes}");
}

/// Adds one connection for each element of `received_mib`, which is how much the connection has received. Returns our
/// end and the peer's end of each connection.
fn add(
    scanner: &mut Scanner,
    socket: &Arc<BoundedSocket>,
    received_mib: &[u64],
) -> Vec<(TcpStream, TcpStream)> {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut add_one = |&received_mib: &u64| {
        let peer = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (own, _) = listener.accept().unwrap();
        scanner.connections.insert(id_of(&own), connection(socket, received_mib * MIB));
        (own, peer)
    };
    received_mib.iter().map(&mut add_one).collect()
}

fn id_of(stream: &TcpStream) -> Id {
    (stream.as_raw_fd(), socket_number(stream.as_raw_fd()).unwrap())
}

/// Ends connections of sockets that hold too much. Checks that only connection `expected` of `streams` is ended, and
/// that its peer notices.
#[track_caller]
fn assert_ends(scanner: &mut Scanner, streams: &mut [(TcpStream, TcpStream)], expected: Option<usize>) {
    let is_ended = |scanner: &Scanner, own: &TcpStream| scanner.connections[&id_of(own)].is_ended;
    let before: Vec<bool> = streams.iter().map(|(own, _)| is_ended(scanner, own)).collect();
    scanner.end();
    for (i, ((own, peer), before)) in streams.iter_mut().zip(before).enumerate() {
        assert_eq!(is_ended(scanner, own), before || expected == Some(i), "connection {i}");
        if expected == Some(i) {
            let result = std::io::Read::read(peer, &mut [0]);
            assert_eq!(result.unwrap_err().kind(), std::io::ErrorKind::ConnectionReset, "connection {i}");
        }
    }
}

#[test]
fn one_long_frame_is_allowed_per_node() {
    let (node, other) = (bounded(256 * MIB, 1 << 30), bounded(256 * MIB, 1 << 30));
    let mut scanner = scanner();
    let mut streams = add(&mut scanner, &node, &[1_000, 100, 90]);
    streams.extend(add(&mut scanner, &other, &[1_000]));
    assert_ends(&mut scanner, &mut streams, None);
    // Of the other connections, the one that holds the most is ended.
    streams.extend(add(&mut scanner, &node, &[30, 70]));
    assert_ends(&mut scanner, &mut streams, Some(1));
}

#[test]
fn unread_data_of_ended_connections_counts() {
    let node = bounded(10 * MIB, 0);
    let mut scanner = scanner();
    let mut streams = add(&mut scanner, &node, &[2, 7]);
    assert_ends(&mut scanner, &mut streams, None);
    streams.extend(add(&mut scanner, &node, &[6]));
    // The other connections have room.
    assert_ends(&mut scanner, &mut streams, Some(1));
    // The data of the ended connection is still held.
    assert_ends(&mut scanner, &mut streams, Some(2));
    assert_ends(&mut scanner, &mut streams, Some(0));
}

/// A connection ends. Then its node, which always has something to read, reads the data of that connection.
#[test]
fn data_of_ended_connections_that_was_read_does_not_count() {
    let node = bounded(10 * MIB, 0);
    let mut scanner = scanner();
    let ended = add(&mut scanner, &node, &[7]);
    let file = ended[0].0.as_raw_fd();
    drop(ended);
    scanner.list();
    let mut streams = add(&mut scanner, &node, &[2]);
    assert_ends(&mut scanner, &mut streams, None);
    scanner.measure(HashMap::from([(file, (taken(6 * MIB, 1), node.clone()))]), &HashSet::new());
    streams.extend(add(&mut scanner, &node, &[6]));
    assert_ends(&mut scanner, &mut streams, None);
    streams.extend(add(&mut scanner, &node, &[5]));
    assert_ends(&mut scanner, &mut streams, Some(1));
}

/// libzmq closes a connection just before it would be ended. The descriptor then belongs to another socket.
#[test]
fn a_connection_that_was_not_ended_does_not_count_as_ended() {
    let node = bounded(MIB, 0);
    let mut scanner = scanner();
    let (own, peer) = add(&mut scanner, &node, &[2]).remove(0);
    let (file, number) = id_of(&own);
    let connection = scanner.connections.remove(&(file, number)).unwrap();
    scanner.connections.insert((file, number + 1), connection);
    scanner.end();
    assert!(!scanner.connections[&(file, number + 1)].is_ended);
    peer.set_nonblocking(true).unwrap();
    assert_eq!(peer.peek(&mut [0]).unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
}

/// libzmq closes a connection after it was listed, and accepts another one, which gets the same descriptor.
#[test]
fn a_reused_descriptor_is_not_measured() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut peer = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (accepted, _) = listener.accept().unwrap();
    std::io::Write::write_all(&mut peer, b"hello").unwrap();
    let file = accepted.as_raw_fd();
    let number = socket_number(file).unwrap();
    accepted.peek(&mut [0; 5]).unwrap();
    assert_eq!(arrived((file, number), 0), Some((Arrived { len_bytes: 5, segments: 1 }, 0)));
    assert_eq!(arrived((file, number + 1), 0), None);
    let (mut scanner, owner) = (scanner(), bounded(0, 0));
    scanner.connections.insert((file, number + 1), connection(&owner, 1_000_000));
    let received = scanner.measure(HashMap::from([(file, (taken(400_000, 1), owner))]), &HashSet::new());
    assert_eq!(received.values().sum::<u64>(), 0);
    // What the node has not read of the old connection is still held.
    assert_eq!(scanner.connections[&(file, number + 1)].held_bytes, 600_000);
}

/// A connection of a consumer ends. A producer of the same process accepts another one with the same descriptor.
#[test]
fn an_accepted_connection_stays_with_the_socket_that_listens() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let bound = listener.local_addr().unwrap();
    let [peer, own] = [TcpStream::connect(bound).unwrap(), listener.accept().unwrap().0];
    let (consumer, mut registry) = (bounded(100 * MIB, 1 << 30), registry::Registry::default());
    let address = ListenAddress::parse(format!("tcp://{bound}").as_bytes()).unwrap();
    let producer = BoundedSocket::new("Test", Direction::Listening(address), MIB, 0, None);
    registry.insert(producer.clone());
    // The peer has chosen a port to which the consumer connects.
    registry.connect(&consumer, &format!("tcp://{}", peer.local_addr().unwrap()));
    let owner =
        registry.socket_of(&Peer::local(own.as_raw_fd()).unwrap(), &Peer::of(own.as_raw_fd()).unwrap());
    assert_eq!(owner.unwrap().id, producer.id);
    let (mut scanner, id) = (scanner(), id_of(&own));
    scanner.connections.insert(id, connection(&producer, 100));
    scanner.measure(HashMap::from([(id.0, (taken(500_000, 1), consumer))]), &HashSet::new());
    assert_eq!(scanner.connections[&id].socket.id, producer.id);
}

/// A producer, which accepts only short requests, and a consumer of one process connect to the same peer.
#[test]
fn a_connection_belongs_to_the_node_that_receives_over_it() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let endpoint = format!("tcp://{address}");
    let stream = std::net::TcpStream::connect(address).unwrap();
    let id: Id = (stream.as_raw_fd(), socket_number(stream.as_raw_fd()).unwrap());
    let nodes = [4_096, 1 << 30, 4_096].map(|max_frame_len_bytes| {
        let node = Backlog::connecting("Test", 1 << 20, max_frame_len_bytes);
        node.connect(&endpoint);
        node
    });
    let owner = |scanner: &Scanner| scanner.connections[&id].socket.id;
    let mut scanner = scanner();
    scanner.scan();
    // Until a node has read something from the connection, the largest limit applies.
    assert_eq!(owner(&scanner), nodes[1].socket.id);
    // The process's own guard may scan first, and take what the node has reported.
    while owner(&scanner) != nodes[2].socket.id {
        nodes[2].took(Origin(Some(id.0)), 10, 1);
        nodes[2].end_turn(false);
        scanner.scan();
    }
    // The node that receives over the connection ends. The counts of the connection stay.
    scanner.connections.get_mut(&id).unwrap().update(full(1_000), taken(0, 0), 0, 0);
    let [first, second, third] = nodes;
    drop(third);
    scanner.scan();
    assert_eq!(owner(&scanner), second.socket.id);
    assert_eq!(scanner.connections[&id].latest_arrived().0.len_bytes, 1_000);
    // A node that has disconnected has no connections.
    second.disconnect(&endpoint);
    drop(second);
    scanner.scan();
    assert_eq!(owner(&scanner), first.socket.id);
    drop(first);
    scanner.scan();
    assert!(!scanner.connections.contains_key(&id));
}

/// A record arrives slowly, and the application allocates far more memory than the record occupies.
#[test]
fn memory_of_the_application_ends_no_connection() {
    run_alone("allocate_while_a_record_arrives");
}

/// Runs an ignored test of this file in a process of its own.
fn run_alone(name: &str) {
    let mut alone = std::process::Command::new(std::env::current_exe().unwrap());
    alone.args(["--exact", &format!("net::backlog::tests::{name}"), "--ignored"]);
    let output = alone.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

#[test]
#[ignore = "allocates in a process of its own, started by another test"]
fn allocate_while_a_record_arrives() {
    use std::io::{Read, Write};
    const RECORD_LEN_BYTES: usize = 18 << 20;
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("tcp://{}", listener.local_addr().unwrap());
    let (allocated, is_allocated) = std::sync::mpsc::channel();
    let publisher = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut theirs = [0; 64];
        stream.write_all(b"\xff\0\0\0\0\0\0\0\0\x7f\x03\0NULL").unwrap();
        stream.write_all(&[0; 48]).unwrap();
        stream.write_all(b"\x04\x19\x05READY\x0bSocket-Type\0\0\0\x03PUB").unwrap();
        stream.read_exact(&mut theirs).unwrap();
        let half = vec![7; RECORD_LEN_BYTES / 2];
        stream.write_all(&[2]).unwrap();
        stream.write_all(&(RECORD_LEN_BYTES as u64).to_be_bytes()).unwrap();
        stream.write_all(&half).unwrap();
        is_allocated.recv().unwrap();
        stream.write_all(&half).unwrap();
        // Keep the connection until the peer has read the record and ends it.
        while stream.read(&mut theirs).is_ok_and(|len| len > 0) {}
    });
    let subscriber = Socket::new(Kind::SUB).unwrap();
    subscriber.zmq().set_subscribe(b"").unwrap();
    subscriber.limit_untrusted_peers(1 << 30).unwrap();
    subscriber.zmq().set_reconnect_ivl(-1).unwrap();
    subscriber.zmq().set_rcvtimeo(60_000).unwrap();
    let backlog = Backlog::connecting("Test", 256 << 20, 1 << 30);
    backlog.connect(&endpoint);
    subscriber.connect(&endpoint).unwrap();
    // Wait until the guard has scanned the first half, and has measured the process.
    std::thread::sleep(20 * INTERVAL);
    let own = vec![7_u8; 200 << 20];
    std::thread::sleep(20 * INTERVAL);
    allocated.send(()).unwrap();
    let mut frame = Frame::new();
    subscriber.recv(&mut frame).unwrap();
    assert_eq!((frame.as_ref().len(), own[own.len() / 2]), (RECORD_LEN_BYTES, 7));
    drop(subscriber);
    publisher.join().unwrap();
}

/// The node reads alternately from several connections.
#[test]
fn a_turn_is_counted_per_connection() {
    let backlog = Backlog::connecting("Test", 1 << 20, 0);
    let turn = || backlog.turn.borrow();
    for _ in 0..100 {
        backlog.took(Origin(Some(RawFd::MAX)), 10, 1);
        backlog.took(Origin(Some(RawFd::MAX - 1)), 30, 2);
        backlog.took(Origin(None), 1_000, 1);
    }
    assert_eq!(turn().len_bytes, 100 * (10 + 9 + 30 + 18));
    assert_eq!((turn().file, turn().latest), (RawFd::MAX - 1, taken(48, 2)));
    assert_eq!(turn().taken[&RawFd::MAX], taken(1_900, 100));
    backlog.end_turn(false);
    assert_eq!((turn().len_bytes, turn().latest, turn().taken.len()), (0, Taken::default(), 0));
}

/// A peer sends to an XPUB socket that no thread reads, until its connection is ended.
#[test]
fn a_peer_that_sends_to_a_socket_that_is_not_read_is_disconnected() {
    run_alone("send_to_a_socket_that_is_not_read");
}

/// This test runs alone: other tests open and end connections, whose descriptors may have the same numbers.
#[test]
#[ignore = "runs in a process of its own, started by another test"]
fn send_to_a_socket_that_is_not_read() {
    let socket = Socket::new(Kind::XPUB).unwrap();
    socket.limit_untrusted_subscribers().unwrap();
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
    // Data that is read does not count.
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

/// For example, the address of a tower may have a host name.
#[test]
fn a_connection_to_a_host_name_is_recognized() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let backlog = Backlog::connecting("Test", 1, 0);
    backlog.connect(&format!("tcp://localhost:{port}"));
    let own = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
    let [local, peer] = [own.local_addr(), own.peer_addr()].map(|address| Peer::from(address.unwrap()));
    let start = Instant::now();
    while registry().socket_of(&local, &peer).is_none_or(|socket| !Arc::ptr_eq(&socket, &backlog.socket)) {
        assert!(start.elapsed() < Duration::from_secs(60), "localhost is not found");
        std::thread::sleep(Duration::from_millis(5));
    }
    drop(backlog);
    assert!(registry().socket_of(&local, &peer).is_none());
}
