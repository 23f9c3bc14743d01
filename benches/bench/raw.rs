//! Raw libzmq: a PUB socket sends to SUB sockets over loopback TCP. A message has two frames. The first one is as long
//! as the first frame of a RECORD.
//!
//! With a tower, the publisher is also a node in the manner of libdafka 0.1.0: it announces itself, and consumers
//! receive its messages as RECORDs of one partition per topic. The publisher does not answer requests.

use crate::process::{Arguments, Process};
use crate::traffic::{Arrivals, Sender, say, send_all, topic, wait_for_the_end};
use dafka::net::{Frame, Kind, Socket};
use dafka::wire::{NodeBeacon, PositionTemplate, exact_prefix, id};
use std::time::Duration;

/// The address of the publisher.
const ADDRESS: &[u8; 32] = &[b'A'; 32];

struct Publisher {
    socket: Socket,
    /// For each topic: the template of the first frame, and the sequence of the next message.
    topics: Vec<(PositionTemplate, u64)>,
}

impl Sender for Publisher {
    fn send(&mut self, topic: usize, content: &[u8]) {
        let (header, sequence) = &mut self.topics[topic];
        self.socket.send(&mut Frame::copy(header.frame(*sequence)), true).expect("the header is sent");
        self.socket.send(&mut Frame::copy(content), false).expect("the content is sent");
        *sequence += 1;
    }

    fn warm(&mut self, _: u64) {}
}

/// Publishes at `endpoint`, or at a free port. Prints the endpoint first. With `tower`, sends beacons to this tower.
pub(crate) fn publish(arguments: &Arguments) {
    let socket = Socket::new(Kind::PUB).expect("a socket");
    socket.zmq().set_sndhwm(0).expect("no limit");
    socket.bind(arguments.text("endpoint").unwrap_or("tcp://127.0.0.1:*")).expect("a port");
    let endpoint = String::from_utf8(socket.last_endpoint().expect("its endpoint")).expect("text");
    say(format_args!("endpoint {endpoint}"));
    if let Some(tower) = arguments.text("tower") {
        let port = endpoint.rsplit(':').next().and_then(|port| port.parse().ok()).expect("a port");
        announce(tower.to_owned(), port);
    }
    let header = |i| {
        let topic = topic(i);
        PositionTemplate::new(id::RECORD, topic.as_bytes(), ADDRESS, topic.as_bytes()).expect("valid names")
    };
    let topics = (0..arguments.number("topics")).map(|i| (header(i), 0)).collect();
    let mut publisher = Publisher { socket, topics };
    send_all(arguments, &mut publisher);
    // The publisher still sends what libzmq has queued.
    wait_for_the_end()
}

/// Sends beacons from a thread.
fn announce(tower: String, port: u16) {
    std::thread::spawn(move || {
        let socket = Socket::new(Kind::PUB).expect("a socket");
        socket.connect(&tower).expect("the tower's address");
        let beacon = NodeBeacon { sender: ADDRESS, host: b"127.0.0.1", port, traffic: None }.encode();
        let frames: Vec<&[u8]> = beacon.iter().map(Vec::as_slice).collect();
        loop {
            socket.send_frames(&frames).expect("the beacon is sent");
            std::thread::sleep(Duration::from_millis(100));
        }
    });
}

/// Receives all topics from `endpoint`.
pub(crate) fn receive(arguments: &Arguments) {
    let socket = Socket::new(Kind::SUB).expect("a socket");
    socket.zmq().set_rcvhwm(0).expect("no limit");
    // The send limit of a SUB socket applies to subscriptions that wait to be sent.
    socket.zmq().set_sndhwm(0).expect("no limit");
    for i in 0..arguments.number("topics") {
        let prefix = exact_prefix(id::RECORD, topic(i).as_bytes());
        socket.zmq().set_subscribe(&prefix).expect("a subscription");
    }
    let endpoint = arguments.text("endpoint").expect("an endpoint");
    socket.connect(endpoint).expect("the publisher's endpoint");
    let mut arrivals = Arrivals::new(arguments);
    let (mut header, mut content) = (Frame::new(), Frame::new());
    loop {
        socket.recv(&mut header).expect("a message");
        socket.recv(&mut content).expect("its content");
        let topic = || header.as_ref().split(|&octet| octet == 0).next().unwrap_or_default().to_vec();
        if !arrivals.note(content.as_ref(), topic) {
            break;
        }
    }
    arrivals.report();
    wait_for_the_end()
}

/// A publisher and its subscribers, each in its own process.
pub(crate) struct Raw {
    publisher: Process,
    subscribers: Vec<Process>,
}

impl Raw {
    pub(crate) fn start(subscribers: usize, arguments: &[String]) -> Raw {
        let mut publisher = Process::role("raw-publish", arguments);
        let endpoint = format!("endpoint={}", publisher.wait_for("endpoint"));
        let arguments = [arguments, &[endpoint]].concat();
        let subscribers =
            (0..subscribers).map(|_| Process::role("raw-receive", &arguments)).collect::<Vec<_>>();
        Raw { publisher, subscribers }
    }

    /// The number of messages per second that all subscribers together receive.
    pub(crate) fn throughput(mut self, count: u64) -> f64 {
        self.subscribers.iter_mut().for_each(|subscriber| drop(subscriber.wait_for("warm")));
        self.publisher.tell("go");
        per_second(&mut self.subscribers, count)
    }

    /// The latency from one publisher to one subscriber: median and 99th percentile in microseconds.
    pub(crate) fn latency(mut self) -> [f64; 2] {
        self.subscribers[0].wait_for("warm");
        self.publisher.tell("go");
        self.subscribers[0].numbers("latency")
    }
}

/// The number of records per second that all receivers together got, from the first record to the last.
pub(crate) fn per_second(receivers: &mut [Process], count: u64) -> f64 {
    let times: Vec<[f64; 2]> = receivers.iter_mut().map(|receiver| receiver.numbers("received")).collect();
    let first = times.iter().map(|[first, _]| *first).fold(f64::INFINITY, f64::min);
    let last = times.iter().map(|[_, last]| *last).fold(0.0, f64::max);
    (count * receivers.len() as u64) as f64 / ((last - first) / 1e9)
}
