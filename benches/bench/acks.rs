//! Receives the ACKs of a producer's records as the producer does, and measures their latency.
//!
//! The C API does not report ACKs. So a thread in the producer's process connects to the nodes that the tower
//! announces, and subscribes to the ACKs of the producer's partition.

use crate::traffic::{now_ns, say, say_percentiles};
use dafka::net::{Frame, Kind, Socket};
use dafka::wire::{Message, TowerBeacon, beacon, exact_prefix, id};
use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The times at which records were sent.
struct Times {
    /// The number of warm-up records, which are not timed. `u64::MAX` until the number is known.
    warm_ups: AtomicU64,
    sent_ns: Vec<AtomicU64>,
}

/// Measures how long the ACKs of one producer's records take.
pub(crate) struct Acks {
    times: Arc<Times>,
    sent: usize,
}

impl Acks {
    /// Prints `acked` after the first ACK. Times the first `count` records after the warm-up, and then prints `ack`
    /// with the percentiles.
    pub(crate) fn watch(tower: &str, producer: &str, count: u64) -> Acks {
        let times = Arc::new(Times {
            warm_ups: AtomicU64::new(u64::MAX),
            sent_ns: (0..count).map(|_| AtomicU64::new(0)).collect(),
        });
        let (tower, producer, shared) = (tower.to_owned(), producer.to_owned(), times.clone());
        std::thread::spawn(move || receive(&tower, &producer, &shared));
        Acks { times, sent: 0 }
    }

    pub(crate) fn warm(&mut self, warm_ups: u64) {
        self.times.warm_ups.store(warm_ups, Ordering::Release);
    }

    /// Called before each record is sent.
    pub(crate) fn note_sent(&mut self) {
        if self.times.warm_ups.load(Ordering::Relaxed) == u64::MAX {
            return;
        }
        if let Some(time) = self.times.sent_ns.get(self.sent) {
            time.store(now_ns(), Ordering::Release);
            self.sent += 1;
        }
    }
}

fn receive(tower: &str, producer: &str, times: &Times) {
    let socket = Socket::new(Kind::SUB).expect("a socket");
    socket.zmq().set_subscribe(beacon::BEACON).expect("a subscription");
    socket.zmq().set_subscribe(&exact_prefix(id::ACK, producer.as_bytes())).expect("a subscription");
    socket.connect(tower).expect("the tower's address");
    let (mut endpoints, mut latencies_ns) = (HashSet::new(), Vec::new());
    let mut has_ack = false;
    while !has_ack || latencies_ns.len() < times.sent_ns.len() {
        let frames = message(&socket);
        let frames: Vec<&[u8]> = frames.iter().map(AsRef::as_ref).collect();
        if let Ok(TowerBeacon { endpoint, .. }) = TowerBeacon::decode(&frames) {
            if endpoints.insert(endpoint.to_owned()) {
                socket.connect(endpoint).expect("a node's endpoint");
            }
        } else if let Ok(Message::Ack { sequence, .. }) = Message::decode(frames[0]) {
            if !has_ack {
                has_ack = true;
                say(format_args!("acked"));
            }
            let (now, warm_ups) = (now_ns(), times.warm_ups.load(Ordering::Acquire));
            let acknowledged = (sequence + 1).saturating_sub(warm_ups) as usize;
            for sent in times.sent_ns.iter().take(acknowledged).skip(latencies_ns.len()) {
                latencies_ns.push(now.saturating_sub(sent.load(Ordering::Acquire)));
            }
        }
    }
    if !latencies_ns.is_empty() {
        say_percentiles("ack", latencies_ns);
    }
}

fn message(socket: &Socket) -> Vec<Frame> {
    let mut frames = vec![Frame::new()];
    socket.recv(&mut frames[0]).expect("a message");
    while frames[frames.len() - 1].more() {
        let mut frame = Frame::new();
        socket.recv_more(&mut frame).expect("the rest of the message");
        frames.push(frame);
    }
    frames
}
