//! Starts, turns, publishing and ends of nodes.

use super::*;
use crate::groups::GroupPlan;
use crate::nodes::{Link, is_of_new_messages, without_flags};
use dafka::protocol::Payload;
use dafka::protocol::consumer::positions::MAX_POSITIONS;
use dafka::slots::GroupBy;

/// How many of 1,000 nodes neither send nor receive batches.
const OLD_PER_MILLE: u64 = 150;

impl World {
    pub(super) fn fresh_address(&mut self) -> Vec<u8> {
        format!("{:016X}{:016X}", self.random.next(), self.random.next()).into_bytes()
    }

    /// Starts a node. There are few ports, so a new node sometimes has the port of one that has ended.
    pub(super) fn start(
        &mut self,
        host: Host,
        address: Vec<u8>,
        ignored: &[&[u8]],
        mut wants: Vec<Vec<u8>>,
        role: Role,
        clock: Clock,
    ) -> NodeId {
        let id = self.nodes.len();
        let is_old = self.may_be_old(&role) && self.random.aside().chance(OLD_PER_MILLE);
        wants.retain(|prefix| !is_old || !is_of_new_messages(prefix));
        self.model.may_lack_attributes |= is_old && matches!(role, Role::Writer(_) | Role::Reader(_));
        // Beacons do not reveal twins that have the same port. So twins may share a port only under `has_hidden_twins`.
        let may_share_port = self.plan.has_hidden_twins;
        let endpoint = loop {
            let port = format!(":{}", 1_000 + self.random.below(30));
            let endpoint = format!("tcp://10.0.0.{host}{port}");
            let is_taken = |node: &Node| {
                node.endpoint == endpoint
                    || !may_share_port && node.address == address && node.endpoint.ends_with(&port)
            };
            if !self.nodes.iter().any(|node| node.is_alive() && is_taken(node)) {
                break endpoint;
            }
        };
        self.trace(|| format!("{id} starts as {} at {endpoint}", address.escape_ascii()));
        let now_ms = clock.now_ms(self.now);
        // Some nodes do not announce their traffic, as nodes of 0.1.0.
        let traffic = role.traffic().filter(|_| !id.is_multiple_of(5));
        let discovery = Discovery::new(&address, ignored, BEACON_INTERVAL_MS, BEACON_TIMEOUT_MS, now_ms);
        let discovery = discovery.with_traffic(traffic);
        self.nodes.push(Node {
            id,
            host,
            address,
            endpoint,
            clock,
            peers: Peers::new(discovery),
            role,
            traffic,
            wants,
            inbox: VecDeque::new(),
            heard: VecDeque::new(),
            is_old,
            news: VecDeque::new(),
            towers: BTreeSet::new(),
            wake_at: None,
            beacon_at: None,
            ready_at: 0,
            frozen_until: 0,
            turn_us: self.random.pick(&[10, 100, 2_000]),
        });
        self.publishing.push(Vec::new());
        for tower in 0..self.towers.len() {
            let there = self.towers[tower].host;
            let delay = self.network.delay(there, host, &mut self.random);
            self.push(self.now + delay, Event::TowerConnect { tower, node: id });
        }
        self.wake(id, self.now);
        self.beacon_at(id, self.now);
        id
    }

    /// Whether a node may be one of 0.1.0. A store of 0.1.0 removes the keys of records, and keeps no positions.
    fn may_be_old(&self, role: &Role) -> bool {
        let is_needed = |group: &GroupPlan| group.is_quiet || group.group_by == GroupBy::Key;
        match role {
            Role::Hostile(_) => false,
            Role::Consumer(consumer) => consumer.member.is_none(),
            Role::Writer(_) | Role::Reader(_) => !self.plan.group.as_ref().is_some_and(is_needed),
            Role::Producer(_) | Role::Gone => true,
        }
    }

    pub(super) fn fresh_clock(&mut self) -> Clock {
        Clock::new(self.random.below(1_000_000_000))
    }

    pub(super) fn start_producer(&mut self, topic: &[u8], min_stores: usize) {
        let (mut address, clock, host) =
            (self.fresh_address(), self.fresh_clock(), self.random.below(HOSTS) as Host);
        if let Some((_, begun)) = self.plan.begun.get(self.producers.len()) {
            address.clone_from(begun);
        }
        let name = (topic.to_vec(), address.clone());
        self.model.add_partition(name.clone(), min_stores);
        let producer = Producer::new(topic, &address, HEAD_INTERVAL_MS).expect("a short name");
        let producer = producer.with_min_stores(min_stores).with_max_fetches(self.plan.max_fetches);
        let producer = producer.with_first_offset(self.plan.first_offset);
        let wants = subscriptions::producer(&address, topic);
        let role = Role::Producer(Box::new(ProducerNode::new(producer.unread(), name)));
        let id = self.start(host, address, &[], wants, role, clock);
        self.producers.push(id);
    }

    pub(super) fn start_consumer(&mut self, start: Start, topics: Vec<Vec<u8>>, named: Option<Named>) {
        let (address, clock, host) =
            (self.fresh_address(), self.fresh_clock(), self.random.below(HOSTS) as Host);
        let mut consumer = Consumer::new(&address, start, self.plan.limits, clock.now_ms(self.now));
        let (mut oracle, mut wants) = (Oracle::new(start), subscriptions::consumer(&address));
        if let Some(limit_bytes) = self.plan.isolation_bytes
            && self.random.chance(600)
        {
            consumer = consumer.isolated(limit_bytes);
            wants.push(subscriptions::acknowledgements());
            oracle.is_isolated = true;
        }
        if let Some(Named { name, .. }) = &named {
            consumer = consumer.named(name, MAX_POSITIONS, clock.now_ms(self.now));
            wants.extend(subscriptions::positions(&address));
            self.model.names.insert(address.clone(), name.clone());
        }
        oracle.named = named;
        if let Some(named) = &mut oracle.named {
            named.known = self.positions_of_all_stores(&named.name);
        }
        let role = Role::Consumer(Box::new(ConsumerNode::new(consumer, oracle)));
        let id = self.start(host, address, &[], wants, role, clock);
        self.consumers.push(id);
        let node = &mut self.nodes[id];
        if let Role::Consumer(consumer) = &mut node.role
            && let Some(named) = &mut consumer.oracle.named
        {
            named.is_old = node.is_old;
        }
        for topic in topics {
            self.subscribe(id, &topic);
        }
    }

    pub(super) fn start_store(&mut self, store: usize) -> Check {
        let Store { disk, host, nodes: None, is_killed: false, .. } = &self.stores[store] else {
            return Ok(());
        };
        let (disk, host) = (disk.clone(), *host);
        if !self.open_log(store, &disk)? {
            return Ok(());
        }
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
        let name_in_messages = if self.plan.has_store_names { &name[..] } else { b"" };
        let replica = Replica::new(&writer, self.plan.limits, clock.now_ms(self.now)).named(name_in_messages);
        let known = disk.clone();
        let replica = replica.resuming(Box::new(move |name| match known.is_read_failing() {
            true => Err(()),
            false => Ok(known.committed_next(name)),
        }));
        let known = disk.clone();
        let replica =
            replica.keeping_positions(Box::new(move |consumer, name| match known.is_read_failing() {
                true => Err(()),
                false => Ok(known.position(consumer, name)),
            }));
        let replica = match self.plan.is_comparing {
            true => replica.comparing(Box::new(SimHeld::new(disk.clone()))),
            false => replica,
        };
        let (max_len_bytes, max_count) = self.plan.max_batch;
        let intake = Intake::new(replica).with_max_batch(max_len_bytes, max_count);
        let wants = subscriptions::store_writer(&writer);
        let role = Role::Writer(Box::new(WriterNode { intake, disk: disk.clone(), store, job: None }));
        let writer_id = self.start(host, writer.clone(), &[&reader], wants, role, clock);
        let wants = subscriptions::store_reader(&reader);
        let log = SimLog { disk, answer_len_bytes: self.plan.answer_len_bytes };
        let role = Role::Reader(Box::new(ReaderNode {
            reader: Reader::new(&reader).named(name_in_messages).with_max_fetches(self.plan.max_fetches),
            log,
        }));
        let reader_id = self.start(host, reader, &[&writer], wants, role, clock);
        self.stores[store].nodes = Some([writer_id, reader_id]);
        Ok(())
    }

    /// Ends a node, and breaks its connections.
    pub(super) fn stop(&mut self, id: NodeId) {
        self.trace(|| format!("{id} is gone"));
        let node = &mut self.nodes[id];
        self.report.closed += node.ingested().map_or(0, |statistics| statistics.closed);
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

    pub(super) fn wake(&mut self, id: NodeId, at: Time) {
        let node = &mut self.nodes[id];
        let at = at.max(node.ready_at);
        if node.is_alive() && node.wake_at.is_none_or(|wake_at| at < wake_at) {
            node.wake_at = Some(at);
            self.push(at, Event::Wake(id));
        }
    }

    pub(super) fn turn(&mut self, id: NodeId) -> Check {
        let node = &mut self.nodes[id];
        if node.wake_at != Some(self.now) {
            return Ok(());
        }
        node.wake_at = None;
        if self.now < node.ready_at {
            self.wake(id, self.now);
            return Ok(());
        }
        node.ready_at = self.now + node.turn_us;
        self.note_positions(id);
        let node = &mut self.nodes[id];
        let connections = &self.network.connections;
        let is_open = |(id, generation): Link| {
            connections[id].generation == generation && connections[id].publisher.is_some()
        };
        let turned = node.turn(self.now, self.plan.turn, &mut self.model, &is_open, &mut self.outbox);
        let is_member = matches!(&self.nodes[id].role, Role::Consumer(consumer) if consumer.member.is_some());
        let outcome = turned.map_err(|text| (if is_member { 7 } else { 1 }, text))?;
        if let Some(gathered) = outcome.gathered {
            invariants::gathered(gathered, self.plan.max_batch)?;
        }
        self.diverge(id, outcome.divergences)?;
        self.follow_beacon(id);
        self.publish(id)?;
        if let Role::Consumer(consumer) = &self.nodes[id].role
            && self.plan.keeps_disks()
        {
            invariants::isolated(&consumer.oracle, &self.model, &self.stores)?;
        }
        if self.plan.has_twins && self.renew(id)? {
            return Ok(());
        }
        if outcome.is_refused {
            // Whoever runs the producer starts it again.
            self.restart_producer(id, 0, SECOND);
            return Ok(());
        }
        if let Role::Producer(producer) = &self.nodes[id].role {
            let name = producer.name.clone();
            let kept = producer.producer.unacknowledged() as u64;
            let partition = self.model.partitions.get_mut(&name).expect("a partition of the model");
            let forgotten = partition.end() - kept;
            if forgotten > partition.forgotten {
                partition.forgotten = forgotten;
                invariants::forgotten(&self.model, &name, forgotten, &self.stores)?;
            }
            if outcome.has_ended {
                if producer.renewals.is_deferred() && !producer.kept.is_empty() {
                    let left = producer.kept.len();
                    return Err((
                        2,
                        format!("a producer with a twin ends with {left} records that may be lost"),
                    ));
                }
                let partition = self.model.partitions.get_mut(&name).expect("a partition of the model");
                partition.is_alive = false;
                let all = partition.end();
                invariants::forgotten(&self.model, &name, all, &self.stores)?;
                self.stop(id);
                return Ok(());
            }
        }
        self.after_turn_of_member(id, outcome.has_ended);
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

    pub(super) fn publish(&mut self, id: NodeId) -> Check {
        let (mut arrivals, mut published, fetches) = (Vec::new(), 0, self.report.fetches);
        let mut outbox = std::mem::take(&mut self.outbox);
        let mut result = Ok(());
        outbox.drain(|frame, content| {
            published += 1;
            if result.is_ok() {
                result = self.send(id, frame.to_vec(), content, &mut arrivals);
            }
        });
        self.outbox = outbox;
        result?;
        invariants::bounds(&self.nodes[id], &self.plan, published, self.report.fetches > fetches)
    }

    fn send(
        &mut self,
        id: NodeId,
        mut frame: Vec<u8>,
        content: Option<Run>,
        arrivals: &mut Vec<Arrival>,
    ) -> Check {
        let node = &self.nodes[id];
        if node.is_old {
            frame = without_flags(frame);
        }
        let store = match &node.role {
            Role::Writer(writer) => Some((writer.store, &writer.disk)),
            _ => None,
        };
        let is_reader = matches!(&node.role, Role::Reader(_));
        let has_attributes = !(node.is_old && is_reader);
        self.trace(|| format!("{id} sends {:?}", Message::decode(&frame)));
        invariants::sent(&self.model, &frame, content.as_ref(), store.map(|(_, disk)| disk))?;
        let Model { group, partitions, .. } = &mut self.model;
        if let (Some(group), Role::Consumer(consumer)) = (group, &node.role)
            && consumer.member.is_some()
            && let Ok(message) = Message::decode(&frame)
        {
            group.sent((id, self.now), &message, partitions).map_err(|text| (7, text))?;
        }
        match Message::decode(&frame) {
            Ok(
                Message::Record(position)
                | Message::DirectRecord(position)
                | Message::Records(position)
                | Message::DirectRecords(position),
            ) if position.sequence == 0
                && content.as_ref().is_some_and(|run| !has_attributes || run.timestamp_ms(0).is_none()) =>
            {
                let name = (position.subject.to_vec(), position.address.to_vec());
                self.model.partitions.entry(name).and_modify(|partition| partition.is_stamped = false);
            }
            Ok(Message::Ack { topic, subject, sequence, .. }) => {
                if let Some((store, _)) = store {
                    self.model.acknowledge(store, (subject.to_vec(), topic.to_vec()), sequence + 1);
                }
            }
            Ok(Message::Commit { position, .. }) => {
                let name = (position.subject.to_vec(), position.address.to_vec());
                self.model.commit(position.topic, name, position.sequence);
            }
            Ok(Message::Record(position) | Message::Records(position) | Message::Head(position))
                if matches!(&node.role, Role::Producer(_)) =>
            {
                let count = content.as_ref().map_or(1, Payload::record_count);
                let name = (position.subject.to_vec(), position.address.to_vec());
                self.model.send(&name, position.sequence + count);
            }
            Ok(Message::DirectHead { position, store }) if is_reader && !store.is_empty() => {
                let name = (position.subject.to_vec(), position.address.to_vec());
                self.model.hold(name, position.sequence + 1);
            }
            // A FETCH with which a store compares records.
            Ok(Message::Fetch { topic, subject, sequence, .. })
                if self.plan.is_comparing
                    && store.is_some_and(|(_, disk)| {
                        disk.durable_next(PartitionName { topic: subject, producer: topic }) > sequence
                    }) => {}
            Ok(Message::Fetch { topic, subject, sequence, .. }) => {
                self.report.fetches += 1;
                let name = (subject.to_vec(), topic.to_vec());
                let mut living = self.stores.iter().filter(|store| !store.is_killed);
                let is_there = living.any(|store| {
                    store.disk.durable_next(PartitionName { topic: subject, producer: topic }) > sequence
                });
                // A consumer may know a partition only by a HEAD. The simulation does not see at which offset such a
                // consumer begins, and so does not wait until it has all records. In a crowded run, the consumer may
                // also have evicted such a partition. In a run with large offsets, the consumer waits for the first
                // record in vain, and begins late. After a seek to a time, a consumer may still search in a partition of
                // which all records are too early. If it then gets a record without its timestamp, it reads on from there.
                let is_known_by_head = match &node.role {
                    Role::Consumer(consumer) => match consumer.oracle.start_of(subject) {
                        Start::Earliest | Start::Offset(_) => false,
                        Start::Latest if self.plan.is_crowded || self.plan.first_offset > 0 => true,
                        Start::Time(_) if self.model.may_lack_attributes => true,
                        Start::Latest | Start::Last(_) | Start::Time(_) => {
                            !consumer.oracle.next.contains_key(&name)
                        }
                    },
                    _ => false,
                };
                let may_ask = is_known_by_head || self.model.is_forged(&name);
                // A member may still read records of slots that others have, although all records are processed.
                let is_late = matches!(self.phase, Phase::Quiet(_)) && is_there && !may_ask;
                let is_member = matches!(&node.role, Role::Consumer(consumer) if consumer.member.is_some());
                if is_late && is_member && self.late_fetches < MAX_LATE_FETCHES {
                    self.late_fetches += 1;
                    self.phase = Phase::Last(self.now);
                } else if is_late {
                    return Err((
                        4,
                        format!("all is done, and {id} asks for {sequence} of {}", invariants::show(&name)),
                    ));
                }
            }
            _ => {}
        }
        self.deliver(id, Wired::new(frame, content, has_attributes), arrivals);
        Ok(())
    }

    /// Sends a message to all subscribers.
    pub(super) fn deliver(&mut self, id: NodeId, message: Wired, arrivals: &mut Vec<Arrival>) {
        let connections = &self.publishing[id];
        let (host, now) = (self.nodes[id].host, self.now);
        self.network.publish((id, host), connections, &message, now, &mut self.random, arrivals);
        let message = Rc::new(message);
        for Arrival { at, connection, generation } in arrivals.drain(..) {
            self.push(at, Event::Arrive { connection, generation, message: message.clone() });
        }
    }
}
