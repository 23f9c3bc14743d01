//! The scheduler: a cluster, its network and its disks, driven by one queue of events in virtual time.

use super::clock::{Clock, MS, SECOND, Time};
use super::disk::{Mood, SimDisk, SimHeld, SimLog, named};
use super::faults::{Action, Plan, TOPICS};
use super::groups::{self, Group};
use super::invariants::{self, Check};
use super::model::{Content, Model, Name, Run};
use super::network::{Arrival, Connection, ConnectionId, HOSTS, Host, Network, NodeId, Weather, Wired};
use super::nodes::{Command, ConsumerNode, Incoming, Node, ProducerNode, ReaderNode, Role, WriterNode};
use super::oracle::{Named, Oracle};
use super::random::Random;
use dafka::actor::beacon::Peers;
use dafka::actor::store::intake::{Intake, Tried, try_append};
use dafka::net::reconnect::{Action as Connecting, ConnectionEvent};
use dafka::protocol::consumer::{Consumer, Start};
use dafka::protocol::discovery::Discovery;
use dafka::protocol::producer::Producer;
use dafka::protocol::store::reader::Reader;
use dafka::protocol::store::replica::Replica;
use dafka::protocol::{Outbox, subscriptions};
use dafka::slots::SLOT_COUNT;
use dafka::storage::PartitionName;
use dafka::wire::{Message, NodeBeacon, TowerBeacon};
use divergences::Divergences;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, VecDeque};
use std::rc::Rc;

mod actions;
mod cluster;
mod commits;
mod connections;
mod divergences;
pub(crate) mod hostile;
mod lives;
pub(crate) mod members;
mod towers;
mod twins;

const BEACON_INTERVAL_MS: u64 = 1_000;
const BEACON_TIMEOUT_MS: u64 = 4_000;
const HEAD_INTERVAL_MS: u64 = 1_000;
/// How long a store waits before it tries a refused batch again, as its committer does.
const DISK_RETRY: Time = SECOND;
/// How long convergence may take after the faults stop.
const MAX_CONVERGENCE: Time = 100 * SECOND;
/// When a producer has ended, stores with different gaps must fill them from each other, one gap after the other. Each
/// time they make progress, they get the usual time again. This limits the additional time in total.
const MAX_CONVERGENCE_OF_GAPS: Time = 200 * SECOND;
/// The additional time for each partition, when partitions must replace each other.
const MAX_CONVERGENCE_PER_PARTITION: Time = 60 * SECOND;
/// The additional time when nodes read one message per turn, which may be only 500 per second. Answers then wait long
/// to be read. When eight stores compare their records, each one receives more than it can read.
const MAX_CONVERGENCE_OF_SLOW_NODES: Time = 300 * SECOND;
/// The additional time, in round trips of the longest way. A reorder buffer of 1,000 bytes makes the windows small.
const MAX_CONVERGENCE_ROUND_TRIPS: u64 = 60;
/// How long after the end of the faults all nodes have discovered each other again.
const ACQUAINTED: Time = 10 * SECOND;
/// How many round trips of the longest way are added to [`ACQUAINTED`].
const ACQUAINTED_ROUND_TRIPS: u64 = 3;
/// How many times a member of a group may begin to read on after all records are processed.
const MAX_LATE_FETCHES: u64 = 20;
/// How long the run continues after all work is done.
const QUIET: Time = 12 * SECOND;

enum Event {
    Wake(NodeId),
    Beacon(NodeId),
    // A hostile node's next messages.
    Forge(NodeId),
    Arrive { connection: ConnectionId, generation: u64, message: Rc<Wired> },
    Handshake(ConnectionId),
    // A subscription reaches the publisher.
    Subscribe { connection: ConnectionId, generation: u64, frame: Vec<u8> },
    NodeBeacon { tower: usize, from: Host, frames: Rc<[Vec<u8>]> },
    TowerBeacon { tower: usize, node: NodeId, frames: Rc<[Vec<u8>]> },
    TowerConnect { tower: usize, node: NodeId },
    Disk { node: NodeId, step: DiskStep },
    Act(Action),
    StartStore(usize),
    // The store's disk is replaced by a snapshot, and the store starts after so long.
    Restore { store: usize, disk: SimDisk, down: Time },
    StartTower(usize),
    StartConsumer { start: Start, topics: Vec<Vec<u8>>, named: Option<Named> },
    StartLife(lives::Life),
    Subscribed { node: NodeId, topic: &'static [u8] },
    Resume(NodeId),
    // The messages of a member that has left are sent.
    Gone(NodeId),
    ResumeTopic { node: NodeId, topic: &'static [u8] },
    Clear { weather: bool, cuts: usize },
    DiskIsGood(usize),
    Check,
}

#[derive(Clone, Copy, Debug)]
enum DiskStep {
    /// The entries are on the platter. Write the header.
    Header,
    /// The header is on the platter.
    Finish,
    /// There was nothing left to write.
    Done,
    Retry,
}

struct Entry {
    at: Time,
    /// Orders events of the same time by their creation.
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

pub(crate) struct Store {
    pub(crate) disk: SimDisk,
    host: Host,
    nodes: Option<[NodeId; 2]>,
    /// It never starts again, and records that only it had are lost.
    pub(crate) is_killed: bool,
    /// Empty before it has started for the first time.
    pub(crate) name: Vec<u8>,
    /// By partition: the end of the checked part of the log.
    read_so_far: BTreeMap<Name, u64>,
    /// The factor by which the disk is slower than usual.
    slowness: u64,
}

/// The phase of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Faults,
    /// The faults have stopped, and everything must converge.
    Calm,
    /// The last records are published.
    Last(Time),
    /// All work is done.
    Quiet(Time),
}

/// A run that broke an invariant.
#[derive(Debug, Clone)]
pub(crate) struct Violation {
    pub(crate) invariant: usize,
    pub(crate) at: Time,
    pub(crate) text: String,
}

/// The numbers of a run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Report {
    pub(crate) simulated: Time,
    pub(crate) convergence: Time,
    pub(crate) published: u64,
    pub(crate) delivered: u64,
    pub(crate) sent: u64,
    pub(crate) lost: u64,
    pub(crate) fetches: u64,
    /// Partitions that stores and consumers have evicted.
    pub(crate) closed: u64,
    /// Records that applications of members of groups have received, and how many of these more than once.
    pub(crate) shared: u64,
    pub(crate) repeated: u64,
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
    /// By node: the connections to its publishing socket.
    publishing: Vec<Vec<ConnectionId>>,
    towers: Vec<Tower>,
    stores: Vec<Store>,
    producers: Vec<NodeId>,
    /// Producers that started with the address of another one.
    twins: Vec<NodeId>,
    /// When a producer last took a new address, or started again.
    renewed_at: Time,
    consumers: Vec<NodeId>,
    /// The members of the group.
    members: Vec<NodeId>,
    model: Model,
    divergences: Divergences,
    /// The partitions that hostile nodes have made up.
    made_up: BTreeSet<Name>,
    phase: Phase,
    /// How many records of ended producers the stores have, and since when.
    left_behind: (u64, Time),
    /// How many times a member of a group has read on after convergence.
    late_fetches: u64,
    /// How many records the consumers had delivered at the last check.
    delivered: u64,
    outbox: Outbox<Run>,
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
    network.ways.clone_from(&plan.ways);
    let group = plan.group.clone().map(Group::new);
    let model = Model { first_offset: plan.first_offset, group, ..Model::default() };
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
        twins: Vec::new(),
        renewed_at: 0,
        consumers: Vec::new(),
        members: Vec::new(),
        model,
        divergences: Divergences::default(),
        made_up: BTreeSet::new(),
        phase: Phase::Faults,
        left_behind: (0, 0),
        late_fetches: 0,
        delivered: 0,
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
            Event::Forge(node) => self.forge(node),
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
            Event::Restore { store, disk, down } => self.restore(store, disk, down),
            Event::StartTower(tower) => {
                self.trace(|| format!("tower {tower} is back"));
                self.towers[tower].is_alive = true;
            }
            Event::StartConsumer { start, topics, named } => self.start_consumer(start, topics, named),
            Event::StartLife(life) => self.start_life(life),
            Event::Subscribed { node, topic } => self.subscribe(node, topic),
            Event::Resume(node) => {
                if let Role::Consumer(consumer) = &mut self.nodes[node].role {
                    consumer.room = None;
                    self.wake(node, self.now);
                }
            }
            Event::Gone(node) => self.stop(node),
            Event::ResumeTopic { node, topic } => {
                if let Node { role: Role::Consumer(consumer), clock, .. } = &mut self.nodes[node] {
                    let resumed = consumer.resume(topic, &self.model, clock.now_ms(self.now));
                    resumed.map_err(|text| (1, text))?;
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

    /// Checks for convergence, once per second from the end of the faults on.
    fn check(&mut self) -> Check {
        let calm_at = self.plan.calm_at;
        if self.phase == Phase::Faults {
            self.calm()?;
        }
        let living = self.stores.iter().filter(|store| !store.is_killed);
        let disks: Vec<&SimDisk> = living.map(|store| &store.disk).collect();
        let is_final = !matches!(self.phase, Phase::Calm);
        let converged = invariants::converged(&self.model, &disks, self.nodes.iter(), is_final)
            .and_then(|()| invariants::nobody_has_a_twin(&self.nodes, self.plan.has_hidden_twins));
        // Partitions with forged records need not converge. So a store may receive such a record late.
        let is_forgery_new = converged.is_ok() && self.forgeries_are_noticed().is_err();
        let converged = converged.and_then(|()| self.forgeries_are_noticed());
        // Partitions that no store can complete need not converge. So a consumer may deliver their records late, and
        // commits them then. Each such commit must be confirmed in time.
        // The same holds for the positions at which members of a group begin.
        let begun = self.model.group.as_ref().map_or(0, Group::begun_count);
        let delivered = begun + self.nodes.iter().map(Node::delivered).sum::<u64>();
        let is_commit_new =
            std::mem::replace(&mut self.delivered, delivered) < delivered && converged.is_ok();
        let converged = converged.and_then(|()| self.positions_agree());
        let left_behind = invariants::left_behind(&self.model, &disks);
        if left_behind > self.left_behind.0 {
            self.left_behind = (left_behind, self.now);
        }
        let for_gaps = self.left_behind.1.saturating_sub(calm_at).min(MAX_CONVERGENCE_OF_GAPS);
        let partitions = if self.plan.is_crowded { self.model.partitions.len() as u64 } else { 0 };
        let round_trip = self.plan.round_trip();
        let acquainted_at = calm_at.max(self.renewed_at) + ACQUAINTED + ACQUAINTED_ROUND_TRIPS * round_trip;
        let for_reading = if self.plan.turn.messages == 1 { MAX_CONVERGENCE_OF_SLOW_NODES } else { 0 };
        let most = MAX_CONVERGENCE
            + for_reading
            + self.time_to_compare()
            + for_gaps
            + partitions * MAX_CONVERGENCE_PER_PARTITION
            + groups::time_to_agree(&self.plan)
            + MAX_CONVERGENCE_ROUND_TRIPS * round_trip;
        match (self.phase, converged) {
            (Phase::Calm, Ok(())) if self.now >= acquainted_at => {
                self.report.convergence = self.report.convergence.max(SECOND);
                self.phase = Phase::Last(self.now);
                for id in [&self.producers[..], &self.twins].concat() {
                    self.command(id, [10, 0, 20].map(Command::Publish).into_iter());
                }
            }
            (Phase::Last(_), Ok(())) => self.phase = Phase::Quiet(self.now + QUIET),
            (Phase::Calm, Err(text)) if self.now > calm_at + most => return Err((4, text)),
            (Phase::Last(since), Err(text)) if self.now > since + most => return Err((4, text)),
            // A consumer that started at the latest record has opened another partition, see `send`.
            (Phase::Quiet(_), Err(_))
                if self.plan.is_crowded || self.plan.first_offset > 0 || is_forgery_new || is_commit_new =>
            {
                self.phase = Phase::Last(self.now);
            }
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

    /// Checks that the stores have the same committed positions, and that all commits are confirmed. Nodes of 0.1.0
    /// take no part in this.
    fn positions_agree(&self) -> Result<(), String> {
        let is_new =
            |store: &&Store| store.nodes.is_some_and(|nodes| nodes.iter().all(|&id| !self.nodes[id].is_old));
        let stores: Vec<&Store> = self.stores.iter().filter(is_new).collect();
        let mut positions = stores.iter().map(|store| store.disk.positions());
        if let Some(first) = positions.next()
            && let Some(other) = positions.find(|other| *other != first)
        {
            let all = first.iter().chain(&other);
            let mut differing = all.filter(|(key, _)| first.get(key) != other.get(key));
            let ((consumer, name), _) = differing.next().expect("a difference");
            let key = (consumer.clone(), name.clone());
            let (consumer, name) = (consumer.escape_ascii(), invariants::show(name));
            let [one, another] = [first.get(&key), other.get(&key)];
            return Err(format!("stores have the positions {one:?} and {another:?} of {consumer} in {name}"));
        }
        for node in self.nodes.iter().filter(|node| !node.is_old && !stores.is_empty()) {
            if let Role::Consumer(consumer) = &node.role
                && let (count, confirmed) = consumer.consumer.commits()
                && consumer.oracle.named.is_some()
            {
                if confirmed < count && consumer.member.is_none() {
                    return Err(format!("node {}: {confirmed} of {count} commits are confirmed", node.id));
                }
                if consumer.committed_count < consumer.oracle.delivered {
                    return Err(format!("node {} has not committed all records", node.id));
                }
            }
        }
        self.members_agree(!stores.is_empty())
    }

    /// Ends all faults.
    fn calm(&mut self) -> Check {
        self.trace(|| "calm".to_owned());
        self.phase = Phase::Calm;
        (self.network.weather, self.plan.weather) = (Weather::FAIR, Weather::FAIR);
        self.network.cuts.clear();
        // Heads and positions are in the same order in each response. A queue that is too short for them would drop the
        // same ones each time. It has room for two responses, because a store may respond twice at once to a repeated
        // request. A group has positions for each slot, and for all of them.
        let names = self.model.committed.len().max(match self.plan.group {
            Some(_) => usize::from(SLOT_COUNT) + 1,
            None => 0,
        });
        let response_count = self.model.partitions.len() * (1 + names);
        self.network.high_watermark = self.network.high_watermark.max(2 * response_count);
        for id in 0..self.nodes.len() {
            if matches!(self.nodes[id].role, Role::Hostile(_)) {
                self.stop(id);
            }
        }
        // One running tower is enough.
        if self.towers.iter().all(|tower| !tower.is_alive) {
            self.towers[0].is_alive = true;
        }
        for store in 0..self.stores.len() {
            self.stores[store].slowness = 1;
            self.stores[store].disk.set_mood(Mood::Good);
            self.start_store(store)?;
        }
        if self.plan.group.is_some() && self.staying_count() == 0 {
            self.join_group();
        }
        for id in 0..self.nodes.len() {
            if let Role::Consumer(consumer) = &mut self.nodes[id].role {
                consumer.room = None;
                self.wake(id, self.now);
            }
        }
        if self.plan.is_crowded {
            // Active partitions are never evicted, so all producers must end. That includes producers whose records no
            // store can complete.
            for id in self.producers.clone() {
                let Role::Producer(producer) = &self.nodes[id].role else { continue };
                let name = &producer.name;
                let partition = self.model.partitions.get_mut(name).expect("of the model");
                let living = self.stores.iter().filter(|store| !store.is_killed);
                let stored = living.map(|store| store.disk.durable_next(named(name))).max();
                if partition.forgotten > stored.unwrap_or(0) {
                    partition.is_alive = false;
                    self.stop(id);
                } else {
                    self.command(id, [Command::Terminate].into_iter());
                }
            }
        }
        Ok(())
    }

    fn end(&mut self) -> Check {
        for (i, store) in self.stores.iter().enumerate() {
            invariants::log_is_whole(i, &store.disk, &self.model)?;
        }
        for node in &self.nodes {
            self.report.closed += node.ingested().map_or(0, |statistics| statistics.closed);
            self.report.delivered += node.delivered();
        }
        if let Some(group) = &self.model.group {
            (self.report.shared, self.report.repeated) = (group.received, group.repeated);
        }
        self.report.simulated = self.now;
        self.report.published = self.model.published;
        (self.report.sent, self.report.lost) = (self.network.sent, self.network.lost);
        Ok(())
    }
}
