//! Peers that send more than a node can process, then a PING, and then reset the connection.
//!
//! A PING may wait behind a full inbound pipe while the connection is reset. libzmq (4.3.4, 4.3.5) aborts the process
//! when it then answers this PING. So no inbound pipe of a peer may ever be full.

use crate::e2e::{Cluster, DEADLINE, Program, port_of, reset};
use crate::hostile::{Attacker, Honest, MIB, Raw, TOPIC, shake_hands};
use crate::peer::{ack, direct_head, fetch, get_heads, head, record};
use std::io::Write;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

const GROWTH: u64 = 128 * MIB;

/// The number of connections to or from each socket.
const TRIES: usize = 12;

/// Messages per connection: more than libzmq reads ahead by default, and more than a processor handles in a time slice.
const MESSAGES: usize = 8_000;

/// The number of messages between two PINGs. It is so small that a PING is in libzmq's buffer, wherever libzmq stops
/// reading.
const PING_INTERVAL: usize = 20;

const PING: &[u8] = b"\x04\x07\x04PING\0\0";

/// A frame of ZMTP.
fn frame(octets: &[u8], more: bool) -> Vec<u8> {
    [&[u8::from(more), u8::try_from(octets.len()).expect("a short frame")], octets].concat()
}

/// Sends messages with PINGs among them, and resets the connection.
fn attack(mut raw: Raw, message: impl Fn(usize) -> Vec<u8>) {
    let mut octets = Vec::new();
    for i in 0..MESSAGES {
        octets.extend(message(i));
        if i % PING_INTERVAL == 0 {
            octets.extend(PING);
        }
    }
    octets.extend(PING);
    // The node may have ended the connection.
    let _ = raw.0.write_all(&octets);
    reset(raw.0);
}

fn connect(port: u16, kind: &str) -> Raw {
    let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).expect("a connection");
    stream.set_nodelay(true).expect("an option");
    shake_hands(stream, kind).expect("a handshake")
}

/// Accepts a connection from a node, as a socket of this kind.
fn accept(listener: &TcpListener, kind: &str) -> Raw {
    let start = Instant::now();
    loop {
        match listener.accept() {
            Ok((stream, _)) => {
                stream.set_nonblocking(false).expect("an option");
                if let Ok(raw) = shake_hands(stream, kind) {
                    return raw;
                }
            }
            Err(_) => std::thread::sleep(Duration::from_millis(5)),
        }
        assert!(start.elapsed() < DEADLINE, "no node connects");
    }
}

fn listener(port: u16) -> TcpListener {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).expect("a port");
    listener.set_nonblocking(true).expect("an option");
    listener
}

fn subscription(i: usize) -> Vec<u8> {
    frame(&[&[1], &(i as u16).to_be_bytes()[..]].concat(), false)
}

fn beacon(_: usize) -> Vec<u8> {
    [frame(b"B", true), frame(b"nobody", true), frame(b"tcp://127.0.0.1:1", false)].concat()
}

#[test]
fn a_ping_behind_a_full_pipe_does_not_end_a_listening_node() {
    let cluster = Cluster::new();
    let mut honest = Honest::start(&cluster);
    let mut attacker = Attacker::start(&cluster);
    let mut ports = attacker.ports().to_vec();
    ports.push(port_of(&cluster.pub_addresses()));
    for port in ports {
        (0..TRIES).for_each(|_| attack(connect(port, "SUB"), subscription));
        honest.round_trip();
    }
    let port = port_of(&cluster.sub_addresses());
    (0..TRIES).for_each(|_| attack(connect(port, "PUB"), beacon));
    honest.end(GROWTH);
}

#[test]
fn a_ping_behind_a_full_pipe_does_not_end_a_connecting_node() {
    let cluster = Cluster::new();
    let mut honest = Honest::start(&cluster);
    let attacker = Attacker::start(&cluster);
    let trap = listener(0);
    let mut node = crate::peer::Node::new(&cluster);
    node.start_beacon_at(trap.local_addr().expect("bound").port());
    let Attacker { producer, consumer, writer, reader, .. } = &attacker;
    // Messages to which the nodes subscribe. Each of the four nodes gets all of these messages, because the attacker
    // does not know which node connects.
    let messages = [
        frame(&ack(producer, TOPIC, 0), false),
        frame(&get_heads(TOPIC, "nobody"), false),
        frame(&fetch("nobody", "nobody", TOPIC, 0, 1), false),
        frame(&head(TOPIC, "made up", 7), false),
        [frame(&record(TOPIC, "made up", 7), true), frame(b"x", false)].concat(),
        frame(&direct_head(consumer, "made up", TOPIC, 7), false),
        frame(&direct_head(writer, "made up", TOPIC, 7), false),
        frame(&crate::peer::consumer_hello(reader, "nobody", &[TOPIC]), false),
    ];
    for _ in 0..TRIES {
        // Producer, consumer, and both nodes of the store.
        for _ in 0..4 {
            let raw = accept(&trap, "XPUB");
            attack(raw, |i| messages[i % messages.len()].clone());
        }
        honest.round_trip();
    }
    honest.end(GROWTH);
}

/// A tower may be hostile, too.
#[test]
fn a_ping_behind_a_full_pipe_of_a_hostile_tower_does_not_end_a_node() {
    let cluster = Cluster::new();
    let (incoming, outgoing) =
        (listener(port_of(&cluster.pub_addresses())), listener(port_of(&cluster.sub_addresses())));
    let mut nodes: [Program; 3] = [cluster.store("store"), cluster.consumer(TOPIC), cluster.producer(TOPIC)];
    for _ in 0..TRIES {
        // A store has two nodes.
        for _ in 0..4 {
            attack(accept(&incoming, "XPUB"), beacon);
            attack(accept(&outgoing, "XSUB"), subscription);
        }
        for node in &mut nodes {
            assert!(node.is_running(), "it has ended: {}", node.log());
        }
    }
    for mut node in nodes {
        node.signal(libc::SIGKILL);
    }
}
