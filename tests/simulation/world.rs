//! The scheduler: a cluster, its network and its disks, driven by one queue of events in virtual time.

use super::clock::{Clock, MS, SECOND, Time};
use super::disk::{Mood, SimDisk, SimLog};
use super::faults::{Action, Plan};
use super::invariants::{self, Check};
use super::model::{Content, Model, Name};
use super::network::{Arrival, ConnectionId, HOSTS, Host, Network, NodeId, Weather, Wired};
use super::nodes::{Command, ConsumerNode, Incoming, Node, ProducerNode, ReaderNode, Role, WriterNode};
use super::oracle::Oracle;
use super::random::Random;
use dafka::actor::store::intake::{Intake, Tried, try_append};
use dafka::protocol::consumer::{Consumer, Start};
use dafka::protocol::discovery::{Discovery, Event as News};
use dafka::protocol::producer::Producer;
use dafka::protocol::reader::Reader;
use dafka::protocol::replica::Replica;
use dafka::protocol::{Outbox, subscriptions};
use dafka::wire::{Message, NodeBeacon, TowerBeacon};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, VecDeque};
use std::rc::Rc;

const BEACON_INTERVAL_MS: u64 = 1_000;
const BEACON_TIMEOUT_MS: u64 = 4_000;
const HEAD_INTERVAL_MS: u64 = 1_000;
/// How long a store waits before it tries a refused batch again, as its committer does.
const DISK_RETRY: Time = SECOND;
/// In so much time everything must have converged once faults have stopped.
const MAX_CONVERGENCE: Time = 100 * SECOND;
/// By then everybody knows everybody again.
const ACQUAINTED: Time = 10 * SECOND;
/// How long the cluster is watched once there is nothing left to do.
const QUIET: Time = 12 * SECOND;

enum Event {
    Wake(NodeId),
    Beacon(NodeId),
    Arrive {
        connection: ConnectionId,
        generation: u64,
        message: Rc<Wired>,
    },
    Handshake(ConnectionId),
    /// A subscription reaches the publisher.
    Subscribe {
        connection: ConnectionId,
        generation: u64,
        frame: Vec<u8>,
    },
    NodeBeacon {
        tower: usize,
        from: Host,
        frames: Vec<Vec<u8>>,
    },
    TowerBeacon {
        tower: usize,
        node: NodeId,
        frames: Vec<Vec<u8>>,
    },
    TowerConnect {
        tower: usize,
        node: NodeId,
    },
    Disk {
        node: NodeId,
        step: DiskStep,
    },
    Act(Action),
    StartStore(usize),
    StartTower(usize),
    StartConsumer {
        start: Start,
        topics: Vec<Vec<u8>>,
    },
    Subscribed {
        node: NodeId,
        topic: &'static [u8],
    },
    Resume(NodeId),
    Clear {
        weather: bool,
        cuts: usize,
    },
    DiskIsGood(usize),
    Check,
}

#[derive(Clone, Copy, Debug)]
enum DiskStep {
    /// The entries are on the platter: the header goes out.
    Header,
    /// The header is on the platter.
    Finish,
    /// There was nothing left to write.
    Done,
    Retry,
}

struct Entry {
    at: Time,
    /// Events of the same time happen in the order in which they were made.
    number: u64,
    event: Event,
}

impl PartialEq for Entry {
    fn eq(&self, other: &Entry) -> bool {
        self.number == other.number
    }
}
impl Eq for Entry {}
impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Entry) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Entry {
    fn cmp(&self, other: &Entry) -> std::cmp::Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}

struct Tower {
    host: Host,
    is_alive: bool,
}

struct Store {
    disk: SimDisk,
    host: Host,
    nodes: Option<[NodeId; 2]>,
    name: Vec<u8>,
    /// How far the log was read and found right.
    read_so_far: BTreeMap<Name, u64>,
    /// How much slower the disk is than it should be.
    slowness: u64,
}

/// What the run is about now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Faults,
    /// Faults have stopped: everything is to converge.
    Calm,
    /// The last records were published.
    Last(Time),
    /// There is nothing left to do.
    Quiet(Time),
}

/// A run that broke an invariant.
#[derive(Debug, Clone)]
pub(crate) struct Violation {
    pub(crate) invariant: usize,
    pub(crate) at: Time,
    pub(crate) text: String,
}

/// What a run was like.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Report {
    pub(crate) simulated: Time,
    pub(crate) convergence: Time,
    pub(crate) published: u64,
    pub(crate) delivered: u64,
    pub(crate) sent: u64,
    pub(crate) lost: u64,
    pub(crate) fetches: u64,
    pub(crate) events: u64,
}

pub(crate) struct World {
    now: Time,
    queue: BinaryHeap<Reverse<Entry>>,
    number: u64,
    random: Random,
    plan: Plan,
    network: Network,
    nodes: Vec<Node>,
    /// By node: connections of others to its publishing socket.
    publishing: Vec<Vec<ConnectionId>>,
    towers: Vec<Tower>,
    stores: Vec<Store>,
    producers: Vec<NodeId>,
    consumers: Vec<NodeId>,
    model: Model,
    phase: Phase,
    outbox: Outbox<Content>,
    report: Report,
    has_trace: bool,
}

/// Runs the cluster of a seed.
pub(crate) fn run(seed: u64, has_trace: bool) -> Result<Report, Violation> {
    let mut random = Random::new(seed);
    let mut plan = Plan::new(&mut random);
    let actions = std::mem::take(&mut plan.actions);
    if has_trace {
        println!("{plan:?}");
    }
    let mut network = Network::new(plan.high_watermark);
    network.weather = plan.weather;
    let mut world = World {
        now: 0,
        queue: BinaryHeap::new(),
        number: 0,
        towers: (0..plan.towers)
            .map(|_| Tower { host: random.below(HOSTS) as Host, is_alive: true })
            .collect(),
        random,
        plan,
        network,
        nodes: Vec::new(),
        publishing: Vec::new(),
        stores: Vec::new(),
        producers: Vec::new(),
        consumers: Vec::new(),
        model: Model::default(),
        phase: Phase::Faults,
        outbox: Outbox::new(),
        report: Report::default(),
        has_trace,
    };
    for (at, action) in actions {
        world.push(at, Event::Act(action));
    }
    let calm_at = world.plan.calm_at;
    world.push(calm_at, Event::Check);
    world.run()
}

impl World {
    fn run(mut self) -> Result<Report, Violation> {
        while let Some(Reverse(Entry { at, event, .. })) = self.queue.pop() {
            self.now = at;
            self.report.events += 1;
            self.handle(event).map_err(|(invariant, text)| Violation { invariant, at, text })?;
            if matches!(self.phase, Phase::Quiet(end) if at >= end) {
                self.end().map_err(|(invariant, text)| Violation { invariant, at, text })?;
                return Ok(self.report);
            }
        }
        unreachable!("there is always a next check")
    }

    fn push(&mut self, at: Time, event: Event) {
        self.number += 1;
        self.queue.push(Reverse(Entry { at: at.max(self.now), number: self.number, event }));
    }

    fn trace(&self, text: impl FnOnce() -> String) {
        if self.has_trace {
            println!("{:>12.6} {}", self.now as f64 / SECOND as f64, text());
        }
    }

    fn handle(&mut self, event: Event) -> Check {
        match event {
            Event::Wake(node) => return self.turn(node),
            Event::Beacon(node) => self.beacon(node),
            Event::Arrive { connection, generation, message } => self.arrive(connection, generation, message),
            Event::Handshake(connection) => self.handshake(connection),
            Event::Subscribe { connection, generation, frame } => {
                self.subscription(connection, generation, frame);
            }
            Event::NodeBeacon { tower, from, frames } => self.node_beacon(tower, from, &frames),
            Event::TowerBeacon { tower, node, frames } => self.tower_beacon(tower, node, &frames),
            Event::TowerConnect { tower, node } => self.tower_connect(tower, node),
            Event::Disk { node, step } => return self.disk(node, step),
            Event::Act(action) => return self.act(action),
            Event::StartStore(store) => return self.start_store(store),
            Event::StartTower(tower) => {
                self.trace(|| format!("tower {tower} is back"));
                self.towers[tower].is_alive = true;
            }
            Event::StartConsumer { start, topics } => self.start_consumer(start, topics),
            Event::Subscribed { node, topic } => self.subscribe(node, topic),
            Event::Resume(node) => {
                if let Role::Consumer(consumer) = &mut self.nodes[node].role {
                    consumer.room = None;
                    self.wake(node, self.now);
                }
            }
            Event::Clear { weather, cuts } => {
                if weather {
                    self.network.weather = self.plan.weather;
                }
                self.network.cuts.drain(..cuts.min(self.network.cuts.len()));
            }
            Event::DiskIsGood(store) => {
                self.stores[store].slowness = 1;
                self.stores[store].disk.set_mood(Mood::Good);
            }
            Event::Check => return self.check(),
        }
        Ok(())
    }

    // ------------------------------------------------------------------------------------------------- nodes

    fn fresh_address(&mut self) -> Vec<u8> {
        format!("{:016X}{:016X}", self.random.next(), self.random.next()).into_bytes()
    }

    /// Starts a node. Ports are few, so that a new node sometimes gets the port of one that is gone.
    fn start(
        &mut self,
        host: Host,
        address: Vec<u8>,
        ignored: &[&[u8]],
        wants: Vec<Vec<u8>>,
        role: Role,
        clock: Clock,
    ) -> NodeId {
        let id = self.nodes.len();
        let endpoint = loop {
            let endpoint = format!("tcp://10.0.0.{host}:{}", 1_000 + self.random.below(30));
            if !self.nodes.iter().any(|node| node.is_alive() && node.endpoint == endpoint) {
                break endpoint;
            }
        };
        self.trace(|| format!("{id} starts as {} at {endpoint}", address.escape_ascii()));
        let now_ms = clock.now_ms(self.now);
        let discovery = Discovery::new(&address, ignored, BEACON_INTERVAL_MS, BEACON_TIMEOUT_MS, now_ms);
        self.nodes.push(Node {
            id,
            host,
            address,
            endpoint,
            clock,
            discovery,
            role,
            wants,
            inbox: VecDeque::new(),
            heard: VecDeque::new(),
            news: VecDeque::new(),
            peers: 0,
            towers: BTreeSet::new(),
            wake_at: None,
            beacon_at: None,
            ready_at: 0,
            turn_us: self.random.pick(&[10, 100, 2_000]),
        });
        self.publishing.push(Vec::new());
        for tower in 0..self.towers.len() {
            let delay = self.network.delay(&mut self.random);
            self.push(self.now + delay, Event::TowerConnect { tower, node: id });
        }
        self.wake(id, self.now);
        self.beacon_at(id, self.now);
        id
    }

    fn fresh_clock(&mut self) -> Clock {
        Clock::new(self.random.below(1_000_000_000))
    }

    fn start_producer(&mut self, topic: &[u8], min_stores: usize) {
        let (address, clock, host) =
            (self.fresh_address(), self.fresh_clock(), self.random.below(HOSTS) as Host);
        let name = (topic.to_vec(), address.clone());
        self.model.add_partition(name.clone(), min_stores);
        let producer = Producer::new(topic, &address, HEAD_INTERVAL_MS).expect("a short name");
        let producer = producer.with_min_stores(min_stores);
        let wants = subscriptions::producer(&address, topic);
        let role =
            Role::Producer(ProducerNode { producer, name, commands: VecDeque::new(), is_terminating: false });
        let id = self.start(host, address, &[], wants, role, clock);
        self.producers.push(id);
    }

    fn start_consumer(&mut self, start: Start, topics: Vec<Vec<u8>>) {
        let (address, clock, host) =
            (self.fresh_address(), self.fresh_clock(), self.random.below(HOSTS) as Host);
        let consumer = Consumer::new(&address, start, self.plan.limits, clock.now_ms(self.now));
        let role = Role::Consumer(ConsumerNode {
            consumer,
            deliveries: VecDeque::new(),
            oracle: Oracle::new(start),
            room: None,
        });
        let wants = subscriptions::consumer(&address);
        let id = self.start(host, address, &[], wants, role, clock);
        self.consumers.push(id);
        for topic in topics {
            self.subscribe(id, &topic);
        }
    }

    fn start_store(&mut self, store: usize) -> Check {
        let Store { disk, host, nodes: None, .. } = &self.stores[store] else { return Ok(()) };
        let (disk, host) = (disk.clone(), *host);
        invariants::log_is_whole(store, &disk, &self.model)?;
        let [writer, reader] = [self.fresh_address(), self.fresh_address()];
        let fresh_name = self.fresh_address();
        let name = disk.identity(&fresh_name);
        let known = &mut self.stores[store].name;
        if !known.is_empty() && *known != name {
            return Err((2, format!("store {store} has another name after its restart")));
        }
        known.clone_from(&name);
        let clock = self.fresh_clock();
        let replica = Replica::new(&writer, self.plan.limits, clock.now_ms(self.now)).named(&name);
        let (max_len_bytes, max_count) = self.plan.max_batch;
        let mut intake = Intake::new(replica).with_max_batch(max_len_bytes, max_count);
        for partition in disk.partitions() {
            assert!(intake.open(&partition), "few partitions");
        }
        let wants = subscriptions::store_writer(&writer);
        let role = Role::Writer(WriterNode { intake, disk: disk.clone(), store, job: None });
        let writer_id = self.start(host, writer.clone(), &[&reader], wants, role, clock);
        let wants = subscriptions::store_reader(&reader);
        let log = SimLog { disk, answer_len_bytes: self.plan.answer_len_bytes };
        let role = Role::Reader(ReaderNode { reader: Reader::new(&reader).named(&name), log });
        let reader_id = self.start(host, reader, &[&writer], wants, role, clock);
        self.stores[store].nodes = Some([writer_id, reader_id]);
        Ok(())
    }

    /// The node is gone: its connections break.
    fn stop(&mut self, id: NodeId) {
        self.trace(|| format!("{id} is gone"));
        let node = &mut self.nodes[id];
        node.role = Role::Gone;
        (node.inbox, node.heard, node.news) = Default::default();
        let mut broken = std::mem::take(&mut self.publishing[id]);
        for (i, connection) in self.network.connections.iter_mut().enumerate() {
            if connection.subscriber == id && !connection.is_closed {
                connection.is_closed = true;
                broken.push(i);
            }
        }
        broken.into_iter().for_each(|connection| self.break_connection(connection));
    }

    fn wake(&mut self, id: NodeId, at: Time) {
        let node = &mut self.nodes[id];
        let at = at.max(node.ready_at);
        if node.is_alive() && node.wake_at.is_none_or(|wake_at| at < wake_at) {
            node.wake_at = Some(at);
            self.push(at, Event::Wake(id));
        }
    }

    fn turn(&mut self, id: NodeId) -> Check {
        let node = &mut self.nodes[id];
        if node.wake_at != Some(self.now) {
            return Ok(());
        }
        node.wake_at = None;
        node.ready_at = self.now + node.turn_us;
        let turned = node.turn(self.now, self.plan.turn, &mut self.model, &mut self.outbox);
        let outcome = turned.map_err(|text| (1, text))?;
        self.follow_beacon(id);
        self.publish(id)?;
        if let Role::Producer(producer) = &self.nodes[id].role {
            let name = producer.name.clone();
            let kept = producer.producer.unacknowledged() as u64;
            let partition = self.model.partitions.get_mut(&name).expect("a partition of the model");
            let forgotten = partition.records.len() as u64 - kept;
            if forgotten > partition.forgotten {
                partition.forgotten = forgotten;
                let disks = self.stores.iter().map(|store| &store.disk);
                invariants::forgotten(&name, partition.min_stores, forgotten, disks)?;
            }
            if outcome.has_ended {
                partition.is_alive = false;
                self.stop(id);
                return Ok(());
            }
        }
        if outcome.job {
            self.start_commit(id)?;
        }
        let node = &self.nodes[id];
        if outcome.is_busy {
            self.wake(id, self.now);
        } else if let Some(due_ms) = node.due_ms() {
            let at = node.clock.when(due_ms, self.now);
            self.wake(id, at);
        }
        Ok(())
    }

    fn publish(&mut self, id: NodeId) -> Check {
        let (mut arrivals, mut published, fetches) = (Vec::new(), 0, self.report.fetches);
        let mut outbox = std::mem::take(&mut self.outbox);
        let mut result = Ok(());
        outbox.drain(|frame, content| {
            published += 1;
            if result.is_ok() {
                result = self.send(id, Wired { frame: frame.to_vec(), content }, &mut arrivals);
            }
        });
        self.outbox = outbox;
        result?;
        invariants::bounds(&self.nodes[id], &self.plan, published, self.report.fetches > fetches)
    }

    fn send(&mut self, id: NodeId, message: Wired, arrivals: &mut Vec<Arrival>) -> Check {
        let node = &self.nodes[id];
        let store = match &node.role {
            Role::Writer(writer) => Some((writer.store, &writer.disk)),
            _ => None,
        };
        self.trace(|| format!("{id} sends {:?}", Message::decode(&message.frame)));
        invariants::sent(
            &self.model,
            &message.frame,
            message.content.as_deref(),
            store.map(|(_, disk)| disk),
        )?;
        match Message::decode(&message.frame) {
            Ok(Message::Ack { topic, subject, sequence, .. }) => {
                if let Some((store, _)) = store {
                    self.model.acknowledge(store, (subject.to_vec(), topic.to_vec()), sequence + 1);
                }
            }
            Ok(Message::Fetch { topic, subject, sequence, .. }) => {
                self.report.fetches += 1;
                let name = (subject.to_vec(), topic.to_vec());
                let is_there =
                    self.stores.iter().any(|store| store.disk.durable_next(subject, topic) > sequence);
                if matches!(self.phase, Phase::Quiet(_)) && is_there {
                    return Err((4, format!("all is done, and {id} asks for {sequence} of {name:?}")));
                }
            }
            _ => {}
        }
        let connections = &self.publishing[id];
        let (host, now) = (node.host, self.now);
        self.network.publish(id, host, connections, &message, now, &mut self.random, arrivals);
        let message = Rc::new(message);
        for Arrival { at, connection, generation } in arrivals.drain(..) {
            self.push(at, Event::Arrive { connection, generation, message: message.clone() });
        }
        Ok(())
    }

    // ------------------------------------------------------------------------------------------- connections

    fn arrive(&mut self, id: ConnectionId, generation: u64, message: Rc<Wired>) {
        let connection = &self.network.connections[id];
        if connection.generation == generation && !connection.is_closed {
            let (subscriber, queue) = (connection.subscriber, connection.queued.clone());
            self.nodes[subscriber].inbox.push_back(Incoming { message, queue });
            self.wake(subscriber, self.now);
        }
    }

    /// The connection is lost; its subscriber goes on trying.
    fn break_connection(&mut self, id: ConnectionId) {
        if let Some(publisher) = self.network.connections[id].publisher {
            self.publishing[publisher].retain(|&other| other != id);
        }
        self.network.drop_connection(id);
        if !self.network.connections[id].is_closed {
            let delay = self.network.retry_delay(&mut self.random);
            self.push(self.now + delay, Event::Handshake(id));
        }
    }

    fn handshake(&mut self, id: ConnectionId) {
        let connection = &self.network.connections[id];
        if connection.is_closed || connection.publisher.is_some() {
            return;
        }
        let found = self.nodes.iter().find(|node| node.is_alive() && node.endpoint == connection.endpoint);
        let found = found.filter(|node| self.network.are_connected(node.host, connection.subscriber_host));
        let Some(publisher) = found.map(|node| node.id) else {
            let delay = self.network.retry_delay(&mut self.random);
            self.push(self.now + delay, Event::Handshake(id));
            return;
        };
        let wants = self.nodes[connection.subscriber].wants.clone();
        for prefix in &wants {
            self.nodes[publisher].heard.push_back([b"\x01", prefix.as_slice()].concat());
        }
        let connection = &mut self.network.connections[id];
        connection.publisher = Some(publisher);
        connection.wanted = wants;
        self.publishing[publisher].push(id);
        self.wake(publisher, self.now);
    }

    fn follow_beacon(&mut self, id: NodeId) {
        while let Some(news) = self.nodes[id].news.pop_front() {
            self.trace(|| format!("{id}: {news:?}"));
            match news {
                News::Connect(endpoint) => {
                    let host = self.nodes[id].host;
                    self.nodes[id].peers += 1;
                    let connection = self.network.connect(id, host, &endpoint);
                    let delay = 2 * self.network.delay(&mut self.random);
                    self.push(self.now + delay, Event::Handshake(connection));
                }
                News::Disconnect(endpoint) => {
                    let is_it = |connection: &super::network::Connection| {
                        connection.subscriber == id
                            && !connection.is_closed
                            && connection.endpoint == endpoint
                    };
                    self.nodes[id].peers -= 1;
                    if let Some(connection) = self.network.connections.iter().position(is_it) {
                        self.network.connections[connection].is_closed = true;
                        self.break_connection(connection);
                    }
                }
            }
        }
    }

    /// A consumer's application wants a topic.
    fn subscribe(&mut self, id: NodeId, topic: &[u8]) {
        let Role::Consumer(consumer) = &mut self.nodes[id].role else { return };
        if consumer.consumer.subscribe(topic, &mut self.outbox) {
            consumer.oracle.subscribe(topic, &self.model);
            let prefixes = subscriptions::topic(topic);
            self.nodes[id].wants.extend(prefixes.iter().cloned());
            self.announce(id, 1, prefixes);
            let published = self.publish(id);
            debug_assert!(published.is_ok());
            self.wake(id, self.now);
        }
    }

    fn unsubscribe(&mut self, id: NodeId, topic: &[u8]) {
        let Role::Consumer(consumer) = &mut self.nodes[id].role else { return };
        if consumer.unsubscribe(topic) {
            let prefixes = subscriptions::topic(topic);
            self.nodes[id].wants.retain(|wanted| !prefixes.contains(wanted));
            self.announce(id, 0, prefixes);
            self.wake(id, self.now);
        }
    }

    /// Tells all publishers that a node is connected to.
    fn announce(&mut self, id: NodeId, word: u8, prefixes: Vec<Vec<u8>>) {
        for i in 0..self.network.connections.len() {
            let connection = &self.network.connections[i];
            if connection.subscriber == id && connection.publisher.is_some() {
                let generation = connection.generation;
                let delay = self.network.delay(&mut self.random);
                for prefix in &prefixes {
                    let frame = [&[word], prefix.as_slice()].concat();
                    self.push(self.now + delay, Event::Subscribe { connection: i, generation, frame });
                }
            }
        }
    }

    fn subscription(&mut self, id: ConnectionId, generation: u64, frame: Vec<u8>) {
        let connection = &self.network.connections[id];
        let Some(publisher) = connection.publisher.filter(|_| connection.generation == generation) else {
            return;
        };
        if !self.network.is_open(connection.subscriber_host, self.nodes[publisher].host) {
            let event = Event::Subscribe { connection: id, generation, frame };
            self.push(self.now + 50 * MS, event);
            return;
        }
        let wants = self.nodes[connection.subscriber].wants.clone();
        self.network.connections[id].wanted = wants;
        self.nodes[publisher].heard.push_back(frame);
        self.wake(publisher, self.now);
    }

    // --------------------------------------------------------------------------------------------- discovery

    fn beacon_at(&mut self, id: NodeId, at: Time) {
        let node = &mut self.nodes[id];
        if node.is_alive() && node.beacon_at.is_none_or(|beacon_at| at < beacon_at) {
            node.beacon_at = Some(at);
            self.push(at, Event::Beacon(id));
        }
    }

    /// The turn of a node's beacon, which has a thread of its own.
    fn beacon(&mut self, id: NodeId) {
        let node = &mut self.nodes[id];
        if node.beacon_at != Some(self.now) || !node.is_alive() {
            return;
        }
        node.beacon_at = None;
        let mut news = Vec::new();
        let is_due = node.discovery.tick(node.clock.now_ms(self.now), &mut news);
        // Peers that expire together do so in the order of a hash table, which is not the seed's.
        news.sort_by(|a, b| format!("{a:?}").cmp(&format!("{b:?}")));
        let has_news = !news.is_empty();
        node.news.extend(news);
        let at = node.clock.when(node.discovery.due_ms(), self.now + 1);
        if is_due {
            let (_, host_and_port) = node.endpoint.split_once("//").expect("an endpoint");
            let (host, port) = host_and_port.rsplit_once(':').expect("an endpoint");
            // Some nodes say which host they are on; for the others, the tower does.
            let host = if id % 2 == 0 { host.as_bytes() } else { b"" };
            let port = port.parse().expect("a port");
            let frames = NodeBeacon { sender: &node.address, host, port }.encode();
            let (from, towers) = (node.host, node.towers.clone());
            for tower in towers {
                if let Some(delay) = self.beacon_delay(from, self.towers[tower].host) {
                    let frames = frames.to_vec();
                    self.push(self.now + delay, Event::NodeBeacon { tower, from, frames });
                }
            }
        }
        self.beacon_at(id, at);
        if has_news {
            self.wake(id, self.now);
        }
    }

    /// How long a beacon is under way; `None` when it is lost.
    fn beacon_delay(&mut self, from: Host, to: Host) -> Option<Time> {
        let is_lost =
            !self.network.is_open(from, to) || self.random.chance(self.network.weather.loss_per_mille);
        let delay = self.network.delay(&mut self.random);
        (!is_lost).then_some(delay)
    }

    /// As the tower's actor does it: read, rewritten, sent to all.
    fn node_beacon(&mut self, tower: usize, from: Host, frames: &[Vec<u8>]) {
        if !self.towers[tower].is_alive {
            return;
        }
        let octets: Vec<&[u8]> = frames.iter().map(Vec::as_slice).collect();
        let beacon = NodeBeacon::decode(&octets).expect("a beacon");
        let host = match std::str::from_utf8(beacon.host) {
            Ok(host) if !host.is_empty() => host.to_owned(),
            _ => format!("10.0.0.{from}"),
        };
        let endpoint = format!("tcp://{host}:{}", beacon.port);
        let frames = TowerBeacon { sender: beacon.sender, endpoint: &endpoint }.encode();
        for node in 0..self.nodes.len() {
            if !self.nodes[node].is_alive() || !self.nodes[node].towers.contains(&tower) {
                continue;
            }
            if let Some(delay) = self.beacon_delay(self.towers[tower].host, self.nodes[node].host) {
                self.push(self.now + delay, Event::TowerBeacon { tower, node, frames: frames.to_vec() });
            }
        }
    }

    fn tower_beacon(&mut self, tower: usize, id: NodeId, frames: &[Vec<u8>]) {
        let node = &mut self.nodes[id];
        if !node.is_alive() || !node.towers.contains(&tower) {
            return;
        }
        let octets: Vec<&[u8]> = frames.iter().map(Vec::as_slice).collect();
        let beacon = TowerBeacon::decode(&octets).expect("a beacon");
        let mut news = Vec::new();
        node.discovery.beacon(beacon.sender, beacon.endpoint, node.clock.now_ms(self.now), &mut news);
        self.told(id, news);
    }

    /// The discovery was told something: it may have news, and may want to beacon sooner.
    fn told(&mut self, id: NodeId, news: Vec<News>) {
        let node = &mut self.nodes[id];
        let has_news = !news.is_empty();
        node.news.extend(news);
        let at = node.clock.when(node.discovery.due_ms(), self.now);
        self.beacon_at(id, at);
        if has_news {
            self.wake(id, self.now);
        }
    }

    fn tower_connect(&mut self, tower: usize, id: NodeId) {
        let node = &mut self.nodes[id];
        if !node.is_alive() {
            return;
        }
        let Tower { host, is_alive } = self.towers[tower];
        if !is_alive || !self.network.are_connected(host, node.host) {
            let delay = self.network.retry_delay(&mut self.random);
            self.push(self.now + delay, Event::TowerConnect { tower, node: id });
            return;
        }
        let now_ms = node.clock.now_ms(self.now);
        node.towers.insert(tower);
        node.discovery.tower_lost(false, now_ms);
        node.discovery.welcome(now_ms);
        self.told(id, Vec::new());
    }

    fn crash_tower(&mut self, tower: usize) {
        self.trace(|| format!("tower {tower} is gone"));
        self.towers[tower].is_alive = false;
        for node in 0..self.nodes.len() {
            self.leave_tower(tower, node);
        }
    }

    /// The node's connection to the tower is gone.
    fn leave_tower(&mut self, tower: usize, id: NodeId) {
        let node = &mut self.nodes[id];
        if node.is_alive() && node.towers.remove(&tower) {
            let is_lost = node.towers.is_empty();
            node.discovery.tower_lost(is_lost, node.clock.now_ms(self.now));
            let delay = self.network.retry_delay(&mut self.random);
            self.push(self.now + delay, Event::TowerConnect { tower, node: id });
        }
    }

    // ------------------------------------------------------------------------------------------------- disks

    /// The writer's batch goes to the disk.
    fn start_commit(&mut self, id: NodeId) -> Check {
        let Role::Writer(WriterNode { disk, job: Some(job), store, .. }) = &self.nodes[id].role else {
            return Ok(());
        };
        let tried = try_append(disk, job);
        let (is_committing, slowness) = (disk.is_committing(), self.stores[*store].slowness);
        let step = match tried {
            Tried::Done if is_committing => DiskStep::Header,
            Tried::Done => DiskStep::Done,
            Tried::Refused(error) => {
                self.trace(|| format!("{id}: {error}"));
                DiskStep::Retry
            }
            Tried::Impossible(error) => return Err((3, format!("the store cannot go on: {error}"))),
        };
        let delay = match step {
            DiskStep::Retry => DISK_RETRY,
            _ => self.random.between(100, 3_000) * slowness,
        };
        self.push(self.now + delay, Event::Disk { node: id, step });
        Ok(())
    }

    fn disk(&mut self, id: NodeId, step: DiskStep) -> Check {
        let Role::Writer(writer) = &mut self.nodes[id].role else { return Ok(()) };
        let store = writer.store;
        match step {
            DiskStep::Header => {
                writer.disk.write_header();
                let delay = self.random.between(100, 3_000) * self.stores[store].slowness;
                self.push(self.now + delay, Event::Disk { node: id, step: DiskStep::Finish });
                return Ok(());
            }
            DiskStep::Retry => return self.start_commit(id),
            DiskStep::Finish => writer.disk.finish(),
            DiskStep::Done => {}
        }
        if let Some(job) = writer.job.take() {
            writer.intake.committed(job);
        }
        let Store { disk, read_so_far, .. } = &mut self.stores[store];
        invariants::log_is_right(&disk.committed(), &self.model, read_so_far)?;
        self.wake(id, self.now);
        Ok(())
    }

    fn crash_store(&mut self, store: usize, is_power_cut: bool) {
        let Some(nodes) = self.stores[store].nodes.take() else { return };
        self.trace(|| format!("store {store} crashes; power cut: {is_power_cut}"));
        nodes.into_iter().for_each(|node| self.stop(node));
        let Store { disk, read_so_far, .. } = &mut self.stores[store];
        disk.crash(is_power_cut.then_some(&mut self.random));
        // What was not acknowledged may be gone; what is there is read anew.
        read_so_far.clear();
    }

    // ------------------------------------------------------------------------------------- what happens to them

    fn living(&self, of: &[NodeId], number: u64) -> Option<NodeId> {
        let living: Vec<NodeId> = of.iter().copied().filter(|&id| self.nodes[id].is_alive()).collect();
        (!living.is_empty()).then(|| living[(number % living.len() as u64) as usize])
    }

    fn store(&self, number: u64) -> Option<usize> {
        (!self.stores.is_empty()).then(|| (number % self.stores.len() as u64) as usize)
    }

    fn act(&mut self, action: Action) -> Check {
        self.trace(|| format!("{action:?}"));
        let (now, calm_at) = (self.now, self.plan.calm_at);
        match action {
            Action::StartStore => {
                let host = self.random.below(HOSTS) as Host;
                self.stores.push(Store {
                    disk: SimDisk::new(),
                    host,
                    nodes: None,
                    name: Vec::new(),
                    read_so_far: BTreeMap::new(),
                    slowness: 1,
                });
                return self.start_store(self.stores.len() - 1);
            }
            Action::StartProducer { topic, min_stores } => self.start_producer(topic, min_stores),
            Action::StartConsumer { start, topics } => {
                self.start_consumer(start, topics.into_iter().map(<[u8]>::to_vec).collect());
            }
            Action::Publish { producer, lens_bytes } => {
                if let Some(&id) = self.producers.get(producer as usize) {
                    self.command(id, lens_bytes.into_iter().map(Command::Publish));
                }
            }
            Action::EndProducer { producer } => {
                if let Some(&id) = self.producers.get(producer as usize) {
                    self.command(id, [Command::Terminate].into_iter());
                }
            }
            Action::CrashProducer { producer } => {
                if let Some(id) = self.living(&self.producers, producer) {
                    if let Role::Producer(ProducerNode { name, .. }) = &self.nodes[id].role {
                        self.model.partitions.get_mut(name).expect("of the model").is_alive = false;
                    }
                    self.stop(id);
                }
            }
            Action::CrashConsumer { consumer } => {
                let id = self.living(&self.consumers, consumer);
                if let Some(id) = id
                    && let Role::Consumer(ConsumerNode { oracle, consumer, .. }) = &self.nodes[id].role
                {
                    let (start, topics) = (oracle.start, consumer.topics().map(<[u8]>::to_vec).collect());
                    self.report.delivered += oracle.delivered;
                    self.stop(id);
                    self.push((now + 500 * MS).min(calm_at), Event::StartConsumer { start, topics });
                }
            }
            Action::CrashStore { store, is_power_cut, down } => {
                if let Some(store) = self.store(store) {
                    self.crash_store(store, is_power_cut);
                    self.push((now + down).min(calm_at), Event::StartStore(store));
                }
            }
            Action::CrashTower { tower, down } => {
                let tower = (tower % self.towers.len() as u64) as usize;
                self.crash_tower(tower);
                self.push((now + down).min(calm_at), Event::StartTower(tower));
            }
            Action::Resubscribe { consumer, topic, after } => {
                if let Some(node) = self.living(&self.consumers, consumer) {
                    self.unsubscribe(node, topic);
                    self.push((now + after).min(calm_at), Event::Subscribed { node, topic });
                }
            }
            Action::Stall { consumer, room, lasts } => {
                if let Some(id) = self.living(&self.consumers, consumer)
                    && let Role::Consumer(node) = &mut self.nodes[id].role
                {
                    node.room = Some(room);
                    self.push((now + lasts).min(calm_at), Event::Resume(id));
                }
            }
            Action::Cut { cuts, breaks, lasts } => {
                let count = cuts.len();
                self.network.cuts.extend(cuts);
                if breaks {
                    self.break_what_is_cut();
                }
                self.push((now + lasts).min(calm_at), Event::Clear { weather: false, cuts: count });
            }
            Action::Weather { weather, lasts } => {
                self.network.weather = weather;
                self.push((now + lasts).min(calm_at), Event::Clear { weather: true, cuts: 0 });
            }
            Action::SlowDisk { store, factor, lasts } => {
                if let Some(store) = self.store(store) {
                    self.stores[store].slowness = factor;
                    self.push((now + lasts).min(calm_at), Event::DiskIsGood(store));
                }
            }
            Action::Mood { store, mood, lasts } => {
                if let Some(store) = self.store(store) {
                    self.stores[store].disk.set_mood(mood);
                    self.push((now + lasts).min(calm_at), Event::DiskIsGood(store));
                }
            }
            Action::Jump { node, by_ms } => {
                let all: Vec<NodeId> = (0..self.nodes.len()).collect();
                if let Some(id) = self.living(&all, node) {
                    self.nodes[id].clock.jump(by_ms);
                    self.wake(id, now);
                    self.beacon_at(id, now);
                }
            }
        }
        Ok(())
    }

    fn command(&mut self, id: NodeId, commands: impl Iterator<Item = Command>) {
        if let Role::Producer(producer) = &mut self.nodes[id].role
            && !producer.is_terminating
        {
            producer.commands.extend(commands);
            self.wake(id, self.now);
        }
    }

    /// Connections across a cut do not wait for its end.
    fn break_what_is_cut(&mut self) {
        for i in 0..self.network.connections.len() {
            let connection = &self.network.connections[i];
            let Some(publisher) = connection.publisher else { continue };
            if !self.network.are_connected(self.nodes[publisher].host, connection.subscriber_host) {
                self.break_connection(i);
            }
        }
        for tower in 0..self.towers.len() {
            for node in 0..self.nodes.len() {
                if !self.network.are_connected(self.towers[tower].host, self.nodes[node].host) {
                    self.leave_tower(tower, node);
                }
            }
        }
    }

    // ------------------------------------------------------------------------------------------- convergence

    /// Once a second, from the end of the faults on.
    fn check(&mut self) -> Check {
        let calm_at = self.plan.calm_at;
        if self.phase == Phase::Faults {
            self.calm()?;
        }
        let disks: Vec<&SimDisk> = self.stores.iter().map(|store| &store.disk).collect();
        let is_final = !matches!(self.phase, Phase::Calm);
        let converged = invariants::converged(&self.model, &disks, self.nodes.iter(), is_final);
        match (self.phase, converged) {
            (Phase::Calm, Ok(())) if self.now >= calm_at + ACQUAINTED => {
                self.report.convergence = self.report.convergence.max(SECOND);
                self.phase = Phase::Last(self.now);
                for id in self.producers.clone() {
                    self.command(id, [10, 0, 20].map(Command::Publish).into_iter());
                }
            }
            (Phase::Last(_), Ok(())) => self.phase = Phase::Quiet(self.now + QUIET),
            (Phase::Calm, Err(text)) if self.now > calm_at + MAX_CONVERGENCE => return Err((4, text)),
            (Phase::Last(since), Err(text)) if self.now > since + MAX_CONVERGENCE => return Err((4, text)),
            (Phase::Quiet(_), Err(text)) => return Err((4, format!("no longer: {text}"))),
            (Phase::Calm, Err(text)) => {
                self.trace(|| format!("not yet: {text}"));
                self.report.convergence = self.now + SECOND - calm_at;
            }
            (_, Err(text)) => self.trace(|| format!("not yet: {text}")),
            _ => {}
        }
        self.push(self.now + SECOND, Event::Check);
        Ok(())
    }

    /// From now on everything works.
    fn calm(&mut self) -> Check {
        self.trace(|| "calm".to_owned());
        self.phase = Phase::Calm;
        (self.network.weather, self.plan.weather) = (Weather::FAIR, Weather::FAIR);
        self.network.cuts.clear();
        for tower in &mut self.towers {
            tower.is_alive = true;
        }
        for store in 0..self.stores.len() {
            self.stores[store].slowness = 1;
            self.stores[store].disk.set_mood(Mood::Good);
            self.start_store(store)?;
        }
        for id in 0..self.nodes.len() {
            if let Role::Consumer(consumer) = &mut self.nodes[id].role {
                consumer.room = None;
                self.wake(id, self.now);
            }
        }
        Ok(())
    }

    fn end(&mut self) -> Check {
        for (i, store) in self.stores.iter().enumerate() {
            invariants::log_is_whole(i, &store.disk, &self.model)?;
        }
        for node in &self.nodes {
            if let Role::Consumer(consumer) = &node.role {
                self.report.delivered += consumer.oracle.delivered;
            }
        }
        self.report.simulated = self.now;
        self.report.published = self.model.published;
        (self.report.sent, self.report.lost) = (self.network.sent, self.network.lost);
        Ok(())
    }
}
