//! Tests of the limits on inbound connections.

use super::super::Kind;
use super::super::descriptors::Descriptors;
use super::limits::{Connection, Host, IDLE_MS, Reason, beyond_reserve, unwanted};
use super::*;
use std::collections::HashMap;
use std::io::Read;
use std::net::TcpStream;

const LIMITS: InboundLimits =
    InboundLimits { max_count: 40, max_key: "all", max_per_host_count: 20, max_per_host_key: "host" };

fn connection(host: [u8; 4], found: u64, age_ms: u64, is_active: bool) -> Connection {
    Connection { host: Host(host.into()), found, age_ms, is_active, is_ended: false }
}

/// The reasons and numbers of the connections that are ended.
fn ended(connections: &HashMap<Id, Connection>) -> Vec<(Reason, Vec<u64>)> {
    let mut all: Vec<(Reason, Vec<u64>)> = Vec::new();
    for (reason, _, ids) in unwanted(connections, &LIMITS) {
        let mut numbers: Vec<u64> = ids.iter().map(|id| id.1).collect();
        numbers.sort_unstable();
        all.push((reason, numbers));
    }
    all.sort_by_key(|(_, numbers)| numbers.clone());
    all
}

#[test]
fn the_host_with_the_most_loses_silent_connections_and_then_the_newest() {
    let mut connections = HashMap::new();
    let mut add = |number: u64, connection| {
        connections.insert((number as RawFd, number), connection);
    };
    // A host with 16 connections, one of which is idle.
    (0..15).for_each(|i| add(i, connection([10, 0, 0, 1], i, 60_000, true)));
    add(15, connection([10, 0, 0, 1], 20, IDLE_MS, false));
    // A host with 30 connections, which are too many. Two are silent, and the others are active.
    (100..128).for_each(|i| add(i, connection([10, 0, 0, 2], i, 5_000, true)));
    add(128, connection([10, 0, 0, 2], 1, NEW_ENOUGH_MS, false));
    add(129, connection([10, 0, 0, 2], 2, NEW_ENOUGH_MS + 1, false));
    assert_eq!(ended(&connections), [(Reason::Idle, vec![15]), (Reason::Host, (120..130).collect())]);

    // Ten more connections exceed the limit in total. Connections of the second host are ended.
    let mut add = |number: u64, connection| {
        connections.insert((number as RawFd, number), connection);
    };
    (200..210).for_each(|i| add(i, connection([10, 0, 0, 3], i, 0, false)));
    let expected =
        [(Reason::Idle, vec![15]), (Reason::All, (115..120).collect()), (Reason::Host, (120..130).collect())];
    assert_eq!(ended(&connections), expected);
    // Ended connections are not ended again.
    connections.values_mut().for_each(|connection| connection.is_ended = true);
    assert_eq!(ended(&connections), []);
}

const NEW_ENOUGH_MS: u64 = 2_000;

#[test]
fn small_hosts_lose_no_more_than_the_largest_one() {
    // One host with 20 connections, and 20 hosts with two each.
    let host = |i: u64| if i < 20 { 0 } else { i as u8 / 2 };
    let mut connections: HashMap<Id, Connection> =
        (0..60).map(|i| ((i as RawFd, i), connection([10, 0, 0, host(i)], i, 0, true))).collect();
    for (_, numbers) in ended(&connections) {
        connections.retain(|id, _| !numbers.contains(&id.1));
    }
    let kept = |of: u8| connections.keys().filter(|id| host(id.1) == of).count();
    assert_eq!(connections.len(), 40);
    assert!((10..30).chain([0]).all(|host| (1..=2).contains(&kept(host))), "{connections:?}");
}

#[test]
fn active_connections_keep_a_fair_share_of_the_descriptors() {
    let mut connections = HashMap::new();
    for i in 0..40 {
        let (host, age_ms, is_active) = if i < 30 { (1, 60_000, true) } else { (2, 2_000, false) };
        connections.insert((i, i as u64), connection([10, 0, 0, host], 1, age_ms, is_active));
    }
    let ended = |missing_count, fair_count| {
        let victims = beyond_reserve(connections.iter(), missing_count, fair_count);
        let silent_count = victims.iter().filter(|(file, _)| *file >= 30).count();
        (silent_count, victims.len() - silent_count)
    };
    assert_eq!(ended(5, 20), (5, 0));
    assert_eq!(ended(15, 20), (10, 5));
    // The application has used up the descriptors. Active connections keep their fair share.
    assert_eq!(ended(1_000, 20), (10, 10));
    assert_eq!(ended(1_000, 30), (10, 0));
}

#[test]
fn one_host_may_have_all_connections_that_the_limit_of_files_allows() {
    let limits = InboundLimits { max_count: usize::MAX, max_per_host_count: usize::MAX, ..LIMITS };
    assert_eq!(limits.per_host(), limits.all());
    assert_eq!((LIMITS.all(), LIMITS.per_host()), (40, 20));
}

/// A busy node may not have read what a peer has sent.
#[test]
fn connections_do_not_become_idle_while_the_node_is_busy() {
    let socket = Socket::new(Kind::XPUB).unwrap();
    without_time_limit(&socket);
    socket.bind("tcp://127.0.0.1:*").unwrap();
    let endpoint = socket.last_endpoint().unwrap();
    let stream = silent(str::from_utf8(&endpoint).unwrap());
    // This listener is not registered with the process's guard, which scans at other times.
    let inbound = Inbound(Arc::new(Listener::new("Test", ListenAddress::parse(&endpoint).unwrap(), LIMITS)));
    let mut scanner = Scanner::new(Descriptors::open().unwrap());
    let mut clock_ms = scanner.scanned_ms;
    let mut scan = || {
        clock_ms += 1_000;
        scanner.scan(std::slice::from_ref(&inbound.0), clock_ms);
        scanner.listeners[0].connections.values().next().map(|connection| connection.age_ms)
    };
    while scan().is_none() {
        std::thread::sleep(Duration::from_millis(1));
    }
    // The node is busy for a minute, and the connection does not age. Then the node waits for a moment, and the
    // connection ages once.
    assert_eq!((0..60).filter_map(|_| scan()).max(), Some(0));
    drop(inbound.waiting());
    assert_eq!((scan(), scan()), (Some(1_000), Some(1_000)));
    let _waiting = inbound.waiting();
    while !is_ended(&stream) {
        assert!(scan().is_none_or(|age_ms| age_ms < 60_000), "idle, and not ended");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Connects to a Unix socket whose path is not valid UTF-8.
#[test]
fn connections_to_a_path_that_is_not_utf_8_are_limited() {
    use std::os::unix::ffi::OsStringExt;
    let path = [
        std::env::temp_dir().into_os_string().into_vec(),
        format!("/dafka-{}-", std::process::id()).into(),
        b"\xe9".into(),
    ]
    .concat();
    let socket = Socket::new(Kind::XPUB).unwrap();
    without_time_limit(&socket);
    socket.bind(&[b"ipc://", &path[..]].concat()).unwrap();
    let path = std::path::PathBuf::from(std::ffi::OsString::from_vec(path));
    let _inbound = Inbound::at("Test", &socket, InboundLimits { max_count: 2, ..LIMITS }).unwrap();
    let connect = |_| {
        let stream = std::os::unix::net::UnixStream::connect(&path).unwrap();
        stream.set_nonblocking(true).unwrap();
        stream
    };
    let mut streams: Vec<_> = (0..10).map(connect).collect();
    let start = std::time::Instant::now();
    while streams.len() > 2 {
        assert!(start.elapsed() < Duration::from_secs(60), "8 of 10 are too many");
        streams.retain_mut(|stream| !matches!(stream.read(&mut [0; 100]), Ok(0)));
        std::thread::sleep(Duration::from_millis(5));
    }
    drop(socket);
    let _ = std::fs::remove_file(&path);
}

/// Keeps libzmq from ending connections without a handshake.
fn without_time_limit(socket: &Socket) {
    socket.zmq().set_handshake_ivl(0).unwrap();
}

/// Connects and sends nothing.
fn silent(endpoint: &str) -> TcpStream {
    let port = endpoint.rsplit(':').next().unwrap();
    let stream = TcpStream::connect(format!("127.0.0.1:{port}")).unwrap();
    stream.set_nonblocking(true).unwrap();
    stream
}

/// True once the peer has ended the connection.
fn is_ended(mut stream: &TcpStream) -> bool {
    let mut bytes = [0; 100];
    while let Ok(len) = stream.read(&mut bytes) {
        if len == 0 {
            return true;
        }
    }
    false
}

#[test]
fn a_listening_socket_keeps_connections_up_to_its_limits() {
    for endpoint in ["tcp://127.0.0.1:*", "tcp://*:*"] {
        let socket = Socket::new(Kind::XPUB).unwrap();
        without_time_limit(&socket);
        socket.bind(endpoint).unwrap();
        let endpoint = String::from_utf8(socket.last_endpoint().unwrap()).unwrap();
        let limits = InboundLimits { max_count: 8, max_per_host_count: 3, ..LIMITS };
        let inbound = Inbound::at("Test", &socket, limits).unwrap();
        let subscriber = Socket::new(Kind::SUB).unwrap();
        subscriber.zmq().set_subscribe(b"topic").unwrap();
        subscriber.connect(&endpoint.replace("0.0.0.0", "127.0.0.1")).unwrap();
        let mut frame = Frame::new();
        socket.recv(&mut frame).unwrap();
        inbound.received(&frame);
        // Silent connections are ended, and the subscriber stays.
        let streams: Vec<TcpStream> = (0..20).map(|_| silent(&endpoint)).collect();
        let start = std::time::Instant::now();
        while streams.iter().filter(|stream| is_ended(stream)).count() < 18 {
            assert!(start.elapsed() < Duration::from_secs(60), "18 of 20 are too many");
            std::thread::sleep(Duration::from_millis(5));
        }
        socket.send_frames(&[b"topic"]).unwrap();
        subscriber.zmq().set_rcvtimeo(60_000).unwrap();
        subscriber.recv(&mut frame).unwrap();
        assert_eq!(frame.as_ref(), b"topic");
    }
}
