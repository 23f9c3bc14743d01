//! Which producers may publish batches: subscribers of both generations that come, go, and reuse descriptors.

use dafka::protocol::producer::batch_subscribers::BatchSubscribers;
use dafka::wire::{Subscription, exact_prefix, id, prefix};
use proptest::collection::vec;
use proptest::prelude::*;
use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};

const TOPIC: &[u8] = b"topic";

/// A descriptor, and the number of its socket.
type Name = (usize, u64);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Generation {
    /// It subscribes to RECORD only.
    Old,
    /// It subscribes to RECORDS and RECORD in pairs.
    New,
    /// It subscribes to anything, and ends what it has not subscribed to.
    Hostile,
}

/// A step of a run. Numbers choose a peer, or one of [`subscriptions`].
#[derive(Clone, Debug)]
enum Step {
    Connect(Generation, usize),
    Subscribe(usize, usize),
    Unsubscribe(usize, usize),
    Disconnect(usize),
    /// The I/O thread closes descriptors of connections that have ended.
    Close,
    /// The producer reads some frames.
    Read(usize),
    /// Time passes, and the producer looks for ended connections.
    Pass(u64),
}

/// The octets of a subscription after the id. The last two do not match the topic.
fn subscriptions() -> [Vec<u8>; 5] {
    let octets = |frame: Vec<u8>| frame[1..].to_vec();
    [
        octets(prefix(0, b"")),
        octets(prefix(0, TOPIC)),
        octets(exact_prefix(0, TOPIC)),
        octets(exact_prefix(0, b"top")),
        octets(prefix(0, b"other")),
    ]
}

fn matches(octets: &[u8]) -> bool {
    [TOPIC, b"\0"].concat().starts_with(octets)
}

/// A frame as an XPUB socket reports it, and the peer that has sent it.
struct Unread {
    frame: Vec<u8>,
    file: Option<usize>,
    peer: u64,
}

struct Peer {
    name: Name,
    generation: Generation,
    /// Its subscriptions, with the id.
    subscribed: BTreeSet<Vec<u8>>,
    /// Those that the producer has read.
    read: HashSet<Vec<u8>>,
}

/// A producer, its peers, and the frames that it has not read.
struct Run {
    subscribers: BatchSubscribers<Name>,
    now_ms: u64,
    peers: Vec<Peer>,
    peer_count: u64,
    /// The sockets of the descriptors. Ended connections are here until their descriptor is closed.
    open: HashMap<usize, u64>,
    closing: Vec<usize>,
    unread: VecDeque<Unread>,
    /// A frame was read whose descriptor belonged to another connection already.
    has_misread: bool,
}

impl Run {
    fn new() -> Run {
        Run {
            subscribers: BatchSubscribers::new(TOPIC),
            now_ms: 0,
            peers: Vec::new(),
            peer_count: 0,
            open: HashMap::new(),
            closing: Vec::new(),
            unread: VecDeque::new(),
            has_misread: false,
        }
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Connect(generation, form) => self.connect(generation, form),
            Step::Subscribe(peer, form) => self.change(peer, form, true),
            Step::Unsubscribe(peer, form) => self.change(peer, form, false),
            Step::Disconnect(peer) => self.disconnect(peer),
            Step::Close => self.close(),
            Step::Read(count) => (0..count).for_each(|_| self.read()),
            Step::Pass(ms) => self.pass(ms),
        }
        self.check_safety();
    }

    /// A peer gets the lowest free descriptor, as in a process.
    fn connect(&mut self, generation: Generation, form: usize) {
        let Some(file) = (0..3).find(|file| !self.open.contains_key(file)) else { return };
        self.peer_count += 1;
        self.open.insert(file, self.peer_count);
        let name = (file, self.peer_count);
        let (subscribed, read) = (BTreeSet::new(), HashSet::new());
        self.peers.push(Peer { name, generation, subscribed, read });
        self.change(self.peers.len() - 1, form, true);
    }

    fn change(&mut self, peer: usize, form: usize, subscribe: bool) {
        if self.peers.is_empty() {
            return;
        }
        let index = peer % self.peers.len();
        let Peer { name, generation, .. } = self.peers[index];
        let ids: &[u8] = match generation {
            Generation::Old => &[id::RECORD],
            Generation::New => &[id::RECORDS, id::RECORD],
            Generation::Hostile => &[[id::RECORDS, id::RECORD][peer / 2 % 2]],
        };
        for &id in ids {
            let octets = [&[id], &subscriptions()[form][..]].concat();
            let own = &mut self.peers[index].subscribed;
            let changes = if subscribe { own.insert(octets.clone()) } else { own.remove(&octets) };
            // Honest peers also repeat subscriptions, but end only what they have.
            if changes || subscribe || generation == Generation::Hostile {
                let frame = [&[u8::from(subscribe)], &octets[..]].concat();
                self.unread.push_back(Unread { frame, file: Some(name.0), peer: name.1 });
            }
        }
    }

    fn disconnect(&mut self, peer: usize) {
        if self.peers.is_empty() {
            return;
        }
        let peer = self.peers.remove(peer % self.peers.len());
        // See the state machine for a hostile peer that disconnects before its subscriptions are read.
        while peer.generation == Generation::Hostile && !self.unread.is_empty() {
            self.read();
        }
        for octets in peer.subscribed {
            self.unread.push_back(Unread {
                frame: [&[0], &octets[..]].concat(),
                file: None,
                peer: peer.name.1,
            });
        }
        self.closing.push(peer.name.0);
    }

    fn close(&mut self) {
        for file in self.closing.drain(..) {
            self.open.remove(&file);
        }
    }

    fn read(&mut self) {
        let Some(Unread { frame, file, peer }) = self.unread.pop_front() else { return };
        let name = file.and_then(|file| Some((file, *self.open.get(&file)?)));
        self.has_misread |= name.is_some_and(|name| name.1 != peer);
        let subscription = Subscription::decode(&frame).expect("a subscription");
        self.subscribers.handle_subscription(&subscription, || name);
        if let Some(peer) = self.peers.iter_mut().find(|known| known.name.1 == peer) {
            match subscription.subscribe {
                true => peer.read.insert(frame[1..].to_vec()),
                false => peer.read.remove(&frame[1..]),
            };
        }
    }

    fn pass(&mut self, ms: u64) {
        self.now_ms += ms;
        let open = &self.open;
        self.subscribers.handle_ended(self.now_ms, |name| open.get(&name.0) == Some(&name.1));
    }

    /// An old peer whose subscription was read gets single records, whatever others do.
    fn check_safety(&self) {
        let old = self.peers.iter().filter(|peer| peer.generation == Generation::Old);
        let needs_singles = old
            .flat_map(|peer| peer.subscribed.iter().filter(|octets| peer.read.contains(*octets)))
            .any(|octets| matches(&octets[1..]));
        assert!(!needs_singles || !self.subscribers.all_take_batches(), "an old peer gets batches");
    }

    /// After hostile peers have left and everything is read, batches are published unless an old peer is there.
    fn finish(mut self) {
        while let Some(hostile) = self.peers.iter().position(|peer| peer.generation == Generation::Hostile) {
            self.disconnect(hostile);
        }
        while !self.unread.is_empty() {
            self.read();
        }
        self.close();
        self.pass(1_000);
        self.check_safety();
        let needs_singles = self.peers.iter().any(|peer| {
            let mut matching = peer.subscribed.iter().filter(|octets| matches(&octets[1..]));
            peer.generation == Generation::Old && matching.next().is_some()
        });
        // A misread frame may cost speed until its wrong connection ends.
        if !self.has_misread {
            assert_eq!(self.subscribers.all_take_batches(), !needs_singles);
        }
        while !self.peers.is_empty() {
            self.disconnect(0);
        }
        while !self.unread.is_empty() {
            self.read();
        }
        self.close();
        self.pass(1_000);
        assert!(self.subscribers.all_take_batches(), "an ended connection is remembered");
    }
}

fn step() -> impl Strategy<Value = Step> {
    let generation = prop_oneof![
        3 => Just(Generation::Old),
        4 => Just(Generation::New),
        1 => Just(Generation::Hostile),
    ];
    let (peer, form) = (0..12_usize, 0..5_usize);
    prop_oneof![
        4 => (generation, form.clone()).prop_map(|(generation, form)| Step::Connect(generation, form)),
        4 => (peer.clone(), form.clone()).prop_map(|(peer, form)| Step::Subscribe(peer, form)),
        2 => (peer.clone(), form).prop_map(|(peer, form)| Step::Unsubscribe(peer, form)),
        3 => peer.prop_map(Step::Disconnect),
        3 => Just(Step::Close),
        4 => (1..8_usize).prop_map(Step::Read),
        2 => (0..2_000_u64).prop_map(Step::Pass),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn batches_are_published_when_every_subscriber_takes_them(steps in vec(step(), 0..60)) {
        let mut run = Run::new();
        steps.iter().for_each(|step| run.step(step));
        run.finish();
    }
}

/// A topic's subscribers, and the frames `C` and `M` with the octets that follow them; `c` and `m` end them.
struct Frames(BatchSubscribers<u64>);

impl Frames {
    fn new() -> Frames {
        Frames(BatchSubscribers::new(TOPIC))
    }

    fn read(&mut self, connection: Option<u64>, frames: &[&[u8]]) -> bool {
        for frame in frames {
            let (id, subscribe) = (frame[0].to_ascii_uppercase(), frame[0].is_ascii_uppercase());
            let frame = [&[u8::from(subscribe), id], &frame[1..]].concat();
            self.0.handle_subscription(&Subscription::decode(&frame).expect("a subscription"), || connection);
        }
        self.0.all_take_batches()
    }
}

#[test]
fn one_subscriber_of_0_1_0_prevents_batches_until_it_ends() {
    let mut frames = Frames::new();
    assert!(frames.0.all_take_batches());
    // A store, a consumer of the topic, and a consumer of topics that begin with "t".
    assert!(frames.read(Some(1), &[b"C", b"M"]));
    assert!(frames.read(Some(2), &[b"Ctopic\0", b"Mtopic\0"]));
    assert!(frames.read(Some(3), &[b"Ct", b"Ct\0", b"Mt", b"Mt\0"]));
    // Other topics do not matter.
    assert!(frames.read(Some(4), &[b"Mtopic2", b"Mtopic2\0", b"Mt\0", b"Htopic", b"M\0"]));
    for octets in [&b"M"[..], b"Mtop", b"Mtopic", b"Mtopic\0"] {
        assert!(!frames.read(Some(5), &[octets]));
        assert!(frames.read(Some(5), &[&octets.to_ascii_lowercase()]));
    }
    assert!(!frames.read(Some(5), &[b"Mtopic"]));
    // Its connection ends, and is still open for a moment.
    assert!(!frames.read(None, &[b"mtopic"]));
    frames.0.handle_ended(1_000, |_| true);
    frames.0.handle_ended(1_999, |_| panic!("connections are asked for too often"));
    assert!(!frames.0.all_take_batches());
    frames.0.handle_ended(2_000, |connection| connection != 5);
    assert!(frames.0.all_take_batches());
    // Nothing has ended since, so connections are not asked for.
    frames.0.handle_ended(9_000, |_| panic!("nothing has ended"));
}

/// What a peer does over its own connection does not matter for others.
#[test]
fn no_peer_hides_another_one_that_needs_single_records() {
    let mut frames = Frames::new();
    frames.read(Some(1), &[b"Mtopic"]);
    for octets in [&b"C"[..], b"Ctopic", b"Ctopic", b"mtopic", b"m", b"cother", b"Mtopic", b"mtopic"] {
        assert!(!frames.read(Some(2), &[octets]), "{}", octets.escape_ascii());
    }
    assert!(!frames.read(None, &[b"mtopic", b"m", b"Ctopic"]));
}

/// The peer of connection 1 may already be another one than that whose subscriptions are read first.
#[test]
fn repeated_subscriptions_may_be_those_of_the_next_connection() {
    // A consumer that takes batches, or a store, and then an old consumer.
    for first in [[&b"Ctopic"[..], b"Mtopic"], [b"C", b"M"]] {
        let mut frames = Frames::new();
        assert!(frames.read(Some(1), &first));
        assert!(!frames.read(Some(1), &[b"Mtopic"]));
    }
    let mut frames = Frames::new();
    assert!(frames.read(Some(1), &[b"Ctopic", b"Mtopic", b"Ctopic", b"Mtopic"]));
    // libzmq connects again, and first sends a subscription that it had not sent before.
    assert!(frames.read(Some(2), &[b"Mtopic", b"Ctopic", b"Mtopic"]));
    assert!(!frames.read(Some(2), &[b"ctopic"]));
    assert!(frames.read(Some(2), &[b"mtopic"]));
}
