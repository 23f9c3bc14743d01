//! What a node's log says of addresses that lead nowhere, or to something else.

mod e2e;
mod hostile;
mod peer;

use e2e::{Cluster, DEADLINE, Input, Program};
use hostile::{as_publisher, shake_hands};
use peer::Node;
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

const TOPIC: &str = "topic";

fn consumer(cluster: &Cluster) -> Program {
    cluster.node("dafka_console_consumer", &["--verbose", TOPIC], Input::Pipe)
}

fn warnings(log: &str) -> Vec<&str> {
    log.lines().filter(|line| line.starts_with("W:") || line.starts_with("E:")).collect()
}

#[test]
fn swapped_addresses_of_a_tower_are_one_line_that_says_so() {
    let cluster = Cluster::new();
    let _tower = cluster.tower();
    let (publ, sub) = (cluster.pub_addresses(), cluster.sub_addresses());
    let config = cluster.config_with(&[("beacon/connect_timeout", "60000")]);
    let start = |sub: &str, publ: &str| {
        let options = ["-c", config.to_str().expect("UTF-8"), "--sub", sub, "--pub", publ, TOPIC];
        cluster.program("dafka_console_consumer", &options, Input::Pipe)
    };
    let swapped = "are beacon/pub_address and beacon/sub_address (--pub and --sub) swapped?";
    let wrong_pub = format!("beacon/pub_address names {sub}, which is the sub_address of a tower");
    let wrong_sub = format!("beacon/sub_address names {publ}, which is the pub_address of a tower");
    let mut nodes = [
        (start(&publ, &sub), &wrong_pub),
        (start(&sub, &sub), &wrong_pub),
        (start(&publ, &publ), &wrong_sub),
    ];
    let mut right = start(&sub, &publ);
    for (node, why) in &mut nodes {
        node.wait_for_log(&format!("{why}: {swapped}"));
    }
    std::thread::sleep(e2e::QUIET);
    for (node, why) in &mut nodes {
        let log = node.log();
        assert_eq!(warnings(&log).len(), 1, "{why}: {log}");
    }
    right.signal(libc::SIGTERM);
    assert_eq!(right.expect_success("SIGTERM").stderr, "");
}

#[test]
fn a_peer_is_connected_when_it_answers_and_one_that_does_not_is_named() {
    let cluster = Cluster::new();
    let _tower = cluster.tower();
    let mut consumer = consumer(&cluster);
    let there = Node::started(&cluster, &[]);
    consumer.wait_for_log(&format!("CONNECTED {}", there.endpoint()));
    // It says that it is where nobody listens.
    let mut elsewhere = Node::new(&cluster);
    let port = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("its address").port();
    elsewhere.start_beacon_at(port);
    let endpoint = format!("tcp://127.0.0.1:{port}");
    consumer.wait_for_log(&format!("CONNECTING {endpoint}"));
    consumer
        .wait_for_log(&format!("nobody answers at {endpoint}, where the peer {} says", elsewhere.address));
    let log = consumer.log();
    assert!(!log.contains(&format!("CONNECTED {endpoint}")), "{log}");
    assert_eq!(warnings(&log).len(), 1, "{log}");
}

/// Takes what connects to an endpoint that a peer announces, `COUNT` times, and returns the log.
fn log_of_meeting(answer: impl Fn(TcpStream) -> Option<TcpStream>) -> (String, String) {
    const COUNT: usize = 4;
    let cluster = Cluster::new();
    let _tower = cluster.tower();
    let mut consumer = consumer(&cluster);
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("its address").port();
    let mut node = Node::new(&cluster);
    node.start_beacon_at(port);
    let start = Instant::now();
    let mut kept = Vec::new();
    for _ in 0..COUNT {
        kept.extend(answer(listener.accept().expect("a connection").0));
        assert!(consumer.is_running() && start.elapsed() < DEADLINE);
    }
    std::thread::sleep(Duration::from_millis(200));
    (consumer.log(), format!("tcp://127.0.0.1:{port}"))
}

#[test]
fn a_peer_that_ends_connections_is_not_taken_for_something_else() {
    // As one that is overloaded: before the handshake, in the middle of it, and after it.
    let (log, _) = log_of_meeting(|_| None);
    assert_eq!(warnings(&log), [""; 0], "{log}");
    let (log, _) = log_of_meeting(|mut stream| {
        std::io::Read::read_exact(&mut stream, &mut [0; 10]).expect("a greeting");
        std::io::Write::write_all(&mut stream, &[0xff, 0, 0, 0, 0, 0, 0, 0, 0, 0x7f, 3]).expect("a greeting");
        None
    });
    assert_eq!(warnings(&log), [""; 0], "{log}");
    let (log, _) = log_of_meeting(|stream| {
        let _ = as_publisher(stream);
        None
    });
    assert_eq!(warnings(&log), [""; 0], "{log}");
}

#[test]
fn what_does_not_publish_is_named() {
    let (log, endpoint) = log_of_meeting(|stream| Some(shake_hands(stream, "PULL").expect("a handshake").0));
    let warning =
        format!("what answers at {endpoint} is no ZeroMQ socket that publishes: the connection was ended");
    assert!(warnings(&log).iter().any(|line| line.contains(&warning)), "{log}");
}
