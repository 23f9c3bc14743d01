//! A simulated node of libdafka 0.1.0: raw ZeroMQ sockets, and messages that no code of the library encodes.
//!
//! A node sends nothing by itself except its beacons, which a thread sends. The test sends all other messages. While
//! the test waits for something, the node connects to the nodes that the tower announces.
#![allow(dead_code, unused_imports)] // Each test program uses a part of it.

mod octets;

pub(crate) use octets::*;

use crate::e2e::{Cluster, DEADLINE, QUIET, port_of};
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// The interval of beacons. Nodes of 0.1.0 have a longer interval.
const BEACON_INTERVAL: Duration = Duration::from_millis(50);

/// How soon [`Node::ask`] repeats a request.
pub(crate) const RETRY_INTERVAL: Duration = Duration::from_millis(50);

/// A new address of a node: 32 upper-case hexadecimal digits.
pub(crate) fn new_address() -> String {
    static COUNT: AtomicU64 = AtomicU64::new(1);
    format!("{:016X}{:016X}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed))
}

/// A node.
pub(crate) struct Node {
    pub(crate) address: String,
    publisher: zmq::Socket,
    subscriber: zmq::Socket,
    tower: zmq::Socket,
    port: u16,
    /// For each address: the endpoint that a tower has announced last, and to which this node is connected.
    pub(crate) peers: HashMap<String, String>,
    /// False while the node ignores announcements, as if it had received none.
    is_following: bool,
    /// Messages from its SUB socket that the test has not taken yet.
    messages: VecDeque<Vec<Vec<u8>>>,
    /// All frames about subscriptions that its XPUB socket has received.
    subscriptions: Vec<Vec<u8>>,
    beacon: Option<Beacon>,
    context: zmq::Context,
    tower_sub: String,
}

struct Beacon {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Beacon {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

impl Node {
    /// A node that listens and does not beacon yet.
    pub(crate) fn new(cluster: &Cluster) -> Node {
        Node::at(&cluster.pub_addresses(), &cluster.sub_addresses())
    }

    /// As [`Node::new`], with the tower's endpoints.
    pub(crate) fn at(tower_pub: &str, tower_sub: &str) -> Node {
        Node::bound(tower_pub, tower_sub, "tcp://127.0.0.1:*")
    }

    /// As [`Node::at`], with the endpoint to which the node binds.
    pub(crate) fn bound(tower_pub: &str, tower_sub: &str, endpoint: &str) -> Node {
        let context = zmq::Context::new();
        let socket = |kind| {
            let socket = context.socket(kind).expect("a socket");
            socket.set_linger(0).expect("linger");
            socket
        };
        let publisher = socket(zmq::XPUB);
        publisher.set_xpub_verbose(true).expect("verbose");
        // Never drop what a test sends.
        publisher.set_sndhwm(0).expect("a high-water mark");
        publisher.bind(endpoint).expect("a free port");
        let endpoint = publisher.get_last_endpoint().expect("an endpoint").expect("UTF-8");
        let port = port_of(&endpoint);
        let tower = socket(zmq::SUB);
        tower.set_subscribe(b"B").expect("a subscription");
        tower.connect(tower_pub).expect("the tower");
        Node {
            address: new_address(),
            publisher,
            subscriber: socket(zmq::SUB),
            tower,
            port,
            peers: HashMap::new(),
            is_following: true,
            messages: VecDeque::new(),
            subscriptions: Vec::new(),
            beacon: None,
            tower_sub: tower_sub.to_owned(),
            context,
        }
    }

    /// A node that beacons from the start.
    pub(crate) fn started(cluster: &Cluster, subscriptions: &[Vec<u8>]) -> Node {
        let mut node = Node::new(cluster);
        for subscription in subscriptions {
            node.subscribe(subscription);
        }
        node.start_beacon();
        node
    }

    /// A node that beacons, and connects to no other node until [`Node::follow`].
    pub(crate) fn secluded(cluster: &Cluster) -> Node {
        let mut node = Node::new(cluster);
        node.is_following = false;
        node.start_beacon();
        node
    }

    /// Connects to the nodes that a tower announces from now on. The tower repeats its announcements.
    pub(crate) fn follow(&mut self) {
        self.is_following = true;
    }

    /// Subscribes on the present connections and on later ones.
    pub(crate) fn subscribe(&self, prefix: &[u8]) {
        self.subscriber.set_subscribe(prefix).expect("a subscription");
    }

    /// Subscribes to messages with these ids that are sent to the node `address`.
    pub(crate) fn subscribe_to(&self, ids: &[u8], address: &str) {
        ids.iter().for_each(|&id| self.subscribe(&to(id, address)));
    }

    /// Starts to beacon: `B`, address, host, port.
    pub(crate) fn start_beacon(&mut self) {
        self.start_beacon_at(self.port);
    }

    /// As [`Node::start_beacon`], with another port.
    pub(crate) fn start_beacon_at(&mut self, port: u16) {
        self.start_beacon_as(&self.address.clone(), port);
    }

    /// As [`Node::start_beacon`], but without a sender, as in programs of the Java implementation.
    pub(crate) fn start_nameless_beacon(&mut self) {
        self.start_beacon_as("", self.port);
    }

    fn start_beacon_as(&mut self, sender: &str, port: u16) {
        let socket = self.context.socket(zmq::PUB).expect("a socket");
        socket.set_linger(0).expect("linger");
        socket.connect(&self.tower_sub).expect("the tower");
        let frames = ["B".to_owned(), sender.to_owned(), "127.0.0.1".to_owned(), port.to_string()];
        let stop = Arc::new(AtomicBool::new(false));
        let flag = stop.clone();
        let thread = std::thread::spawn(move || {
            while !flag.load(Ordering::Acquire) {
                socket.send_multipart(&frames, 0).expect("a beacon");
                std::thread::sleep(BEACON_INTERVAL);
            }
        });
        self.beacon = Some(Beacon { stop, thread: Some(thread) });
    }

    pub(crate) fn stop_beacon(&mut self) {
        self.beacon = None;
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("tcp://127.0.0.1:{}", self.port)
    }

    /// Waits until the tower announces another node, and returns its endpoint.
    #[track_caller]
    pub(crate) fn endpoint_of(&mut self, address: &str) -> String {
        let found = self.wait(DEADLINE, |node| node.peers.get(address).cloned());
        found.unwrap_or_else(|| panic!("no tower has announced {address}"))
    }

    /// Waits until towers have announced `count` nodes, and this node has connected to them.
    #[track_caller]
    pub(crate) fn wait_for_peers(&mut self, count: usize) {
        let found = self.wait(DEADLINE, |node| (node.peers.len() >= count).then_some(()));
        assert!(found.is_some(), "only {:?} were announced", self.peers);
    }

    /// Publishes one frame.
    pub(crate) fn send(&self, frame: &[u8]) {
        self.publisher.send(frame, 0).expect("sent");
    }

    /// Publishes several frames as one message.
    pub(crate) fn send_frames(&self, frames: &[&[u8]]) {
        self.publisher.send_multipart(frames, 0).expect("sent");
    }

    /// Sends `frame` again and again until a message arrives that starts with `prefix`. Returns that message.
    ///
    /// The frame is sent repeatedly, because ZeroMQ drops a message when the subscription to it has not arrived yet.
    /// The answer may be dropped, too.
    #[track_caller]
    pub(crate) fn ask(&mut self, frame: &[u8], prefix: &[u8]) -> Vec<Vec<u8>> {
        self.ask_each(RETRY_INTERVAL, frame, prefix)
    }

    /// As [`Node::ask`], with another pause between the requests.
    #[track_caller]
    pub(crate) fn ask_each(&mut self, interval: Duration, frame: &[u8], prefix: &[u8]) -> Vec<Vec<u8>> {
        let due = Instant::now() + DEADLINE;
        loop {
            self.send(frame);
            if let Some(frames) = self.message_within(prefix, interval) {
                return frames;
            }
            assert!(Instant::now() < due, "no message {}", prefix.escape_ascii());
        }
    }

    /// Publishes a RECORD or DIRECT-RECORD with its content.
    pub(crate) fn send_record(&self, frame: &[u8], content: &str) {
        self.send_frames(&[frame, content.as_bytes()]);
    }

    /// Publishes DIRECT-RECORDs to the node `to`: records of a partition from `first` on.
    pub(crate) fn send_records_to(
        &self,
        to: &str,
        partition: &str,
        subject: &str,
        first: u64,
        contents: &[&str],
    ) {
        for (sequence, content) in (first..).zip(contents) {
            self.send_record(&direct_record(to, partition, subject, sequence), content);
        }
    }

    /// Reads all received messages, and connects to announced nodes. Waits at most `timeout` for input.
    fn pump(&mut self, timeout: Duration) {
        let timeout_ms = timeout.as_millis().min(10_000) as i64;
        let items = &mut [
            self.tower.as_poll_item(zmq::POLLIN),
            self.publisher.as_poll_item(zmq::POLLIN),
            self.subscriber.as_poll_item(zmq::POLLIN),
        ];
        zmq::poll(items, timeout_ms).expect("poll");
        while let Ok(frames) = self.tower.recv_multipart(zmq::DONTWAIT) {
            let text = |i: usize| String::from_utf8(frames[i].clone()).expect("UTF-8");
            assert_eq!(text(0), "B");
            assert!(
                (3..=4).contains(&frames.len()),
                "a tower's beacon has three frames, and perhaps traffic"
            );
            let (sender, endpoint) = (text(1), text(2));
            let is_other = !sender.is_empty() && sender != self.address;
            if self.is_following && is_other && self.peers.get(&sender) != Some(&endpoint) {
                self.subscriber.connect(&endpoint).expect("an endpoint");
                self.peers.insert(sender, endpoint);
            }
        }
        while let Ok(subscription) = self.publisher.recv_bytes(zmq::DONTWAIT) {
            self.subscriptions.push(subscription);
        }
        while let Ok(frames) = self.subscriber.recv_multipart(zmq::DONTWAIT) {
            self.messages.push_back(frames);
        }
    }

    /// Waits until `pick` returns something.
    fn wait<T>(&mut self, patience: Duration, mut pick: impl FnMut(&mut Node) -> Option<T>) -> Option<T> {
        let due = Instant::now() + patience;
        loop {
            if let Some(picked) = pick(self) {
                return Some(picked);
            }
            let left = due.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return None;
            }
            self.pump(left);
        }
    }

    /// The next message whose first frame starts with `prefix`. Drops the messages before it.
    fn take_message(&mut self, prefix: &[u8]) -> Option<Vec<Vec<u8>>> {
        while let Some(frames) = self.messages.pop_front() {
            if frames[0].starts_with(prefix) {
                return Some(frames);
            }
        }
        None
    }

    /// Waits for a message whose first frame starts with `prefix`, and drops others.
    #[track_caller]
    pub(crate) fn message(&mut self, prefix: &[u8]) -> Vec<Vec<u8>> {
        let picked = self.wait(DEADLINE, |node| node.take_message(prefix));
        picked.unwrap_or_else(|| panic!("no message {}", prefix.escape_ascii()))
    }

    /// As [`Node::message`], but returns `None` when no such message arrives within `patience`.
    pub(crate) fn message_within(&mut self, prefix: &[u8], patience: Duration) -> Option<Vec<Vec<u8>>> {
        self.wait(patience, |node| node.take_message(prefix))
    }

    /// Reads messages for `duration`, and keeps them.
    pub(crate) fn listen(&mut self, duration: Duration) {
        self.wait(duration, |_| None::<()>);
    }

    /// Waits for a message with the id of this frame. The message must be exactly this frame.
    #[track_caller]
    pub(crate) fn exactly(&mut self, frame: &[u8]) {
        let got = self.message(&frame[..1]);
        assert_eq!(got.len(), 1, "one frame");
        assert_eq!(got[0].escape_ascii().to_string(), frame.escape_ascii().to_string());
    }

    /// As [`Node::exactly`], but the message must be `core` and then the name of one of our stores. (0.1.0 ignores the
    /// name.) Returns the name.
    #[track_caller]
    pub(crate) fn named(&mut self, core: &[u8]) -> String {
        let got = self.message(&core[..1]);
        assert_eq!(got.len(), 1, "one frame");
        name_after(core, &got[0])
    }

    /// Waits for a FETCH.
    #[track_caller]
    pub(crate) fn fetch(&mut self) -> (String, String, String, u64, u32) {
        self.fetch_of("")
    }

    /// Waits for a FETCH that starts at record `first` or a later one. Drops FETCHes that start before `first`, because
    /// they repeat answered requests.
    #[track_caller]
    pub(crate) fn fetch_from(&mut self, first: u64) -> (String, String, String, u64, u32) {
        loop {
            let fetch = self.fetch();
            if fetch.3 >= first {
                return fetch;
            }
        }
    }

    /// Waits for a FETCH of a partition whose address starts with `partition`.
    #[track_caller]
    pub(crate) fn fetch_of(&mut self, partition: &str) -> (String, String, String, u64, u32) {
        let frames = self.message(&to(b'F', partition));
        assert_eq!(frames.len(), 1, "one frame");
        parse_fetch(&frames[0])
    }

    /// Waits until a peer subscribes to exactly this prefix.
    #[track_caller]
    pub(crate) fn subscription(&mut self, prefix: &[u8]) {
        let wanted = [&[1], prefix].concat();
        let found = self.wait(DEADLINE, |node| node.subscriptions.contains(&wanted).then_some(()));
        assert!(found.is_some(), "no subscription to {}", prefix.escape_ascii());
    }

    /// Waits until a peer subscribes to messages to itself with this id. Returns the address of the peer.
    #[track_caller]
    pub(crate) fn subscriber_of(&mut self, id: u8) -> String {
        self.subscriber_other_than(id, "no address")
    }

    /// As [`Node::subscriber_of`], for a peer with another address than `address`.
    #[track_caller]
    pub(crate) fn subscriber_other_than(&mut self, id: u8, address: &str) -> String {
        let other = to(id, address);
        let found = self.wait(DEADLINE, |node| {
            let is_wanted = |octets: &&Vec<u8>| octets.starts_with(&[1, id]) && octets[1..] != other;
            node.subscriptions.iter().find(is_wanted).cloned()
        });
        let octets = found.unwrap_or_else(|| panic!("no other subscription to {}", id.escape_ascii()));
        String::from_utf8(octets[2..].to_vec()).expect("UTF-8")
    }

    /// True when a peer has ended its subscription to exactly this prefix, or has disconnected.
    pub(crate) fn has_unsubscription(&self, prefix: &[u8]) -> bool {
        self.subscriptions.contains(&[&[0], prefix].concat())
    }

    pub(crate) fn forget_subscriptions(&mut self) {
        self.subscriptions.clear();
    }

    /// True when a peer has subscribed to exactly this prefix.
    pub(crate) fn has_subscription(&self, prefix: &[u8]) -> bool {
        self.subscriptions.contains(&[&[1], prefix].concat())
    }

    /// Checks that no message whose first frame starts with `prefix` arrives.
    #[track_caller]
    pub(crate) fn expect_no_message(&mut self, prefix: &[u8], why: &str) {
        let found = self.wait(QUIET, |node| node.take_message(prefix));
        if let Some(frames) = found {
            panic!("{}: {why}", frames[0].escape_ascii());
        }
    }

    /// Waits for DIRECT-RECORDs of a partition, in this order, with these contents.
    #[track_caller]
    pub(crate) fn direct_records(&mut self, partition: &str, subject: &str, from: u64, contents: &[&str]) {
        for (sequence, content) in (from..).zip(contents) {
            let frames = self.message(b"D");
            let expected = direct_record(&self.address, partition, subject, sequence);
            assert_eq!(frames.len(), 2, "two frames");
            check_record(&expected, &frames[0]);
            assert_eq!(frames[1].escape_ascii().to_string(), content.as_bytes().escape_ascii().to_string());
        }
    }
}

/// The prefix to which a node subscribes for messages to itself. It has no NUL at its end. Nodes of 0.1.0 also
/// subscribe to a topic in this way.
pub(crate) fn to(id: u8, topic: &str) -> Vec<u8> {
    [&[id], topic.as_bytes()].concat()
}
