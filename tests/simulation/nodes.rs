//! The nodes: the real state machines, each in the loop of its actor, without sockets.

use super::clock::{Clock, MS, Time, unix_ms};
use super::disk::{SimDisk, SimLog, named};
use super::model::{Model, Name, Record, Run};
use super::network::{ConnectionId, Host, NodeId, Wired};
use super::oracle::Oracle;
use super::random::Random;
use super::world::hostile::Habits;
pub(crate) use super::world::members::Application as Member;
use super::world::members::Input;
use dafka::actor::beacon::Peers;
use dafka::actor::store::intake::{Intake, Job};
use dafka::net::reconnect::Action;
use dafka::partition_name::PartitionName;
use dafka::protocol::consumer::{Consumer, Delivery, Start, Subscribed};
use dafka::protocol::ingest::Statistics;
use dafka::protocol::notice::Notice;
use dafka::protocol::producer::Producer;
use dafka::protocol::producer::batch_subscribers::BatchSubscribers;
use dafka::protocol::producer::guard::{Guard, Step};
use dafka::protocol::producer::renewals::Renewals;
use dafka::protocol::store::comparison::Divergence;
use dafka::protocol::store::reader::Reader;
use dafka::protocol::subscriptions::Named;
use dafka::protocol::{AllRead, Outbox, Payload, Progress, subscriptions};
use dafka::wire::{Message, Subscription, Traffic, id};
use std::cell::Cell;
use std::collections::{BTreeSet, VecDeque};
use std::rc::Rc;

/// How often a consumer with a name commits.
const COMMIT_INTERVAL_MS: u64 = 700;

/// The most content that a producer puts into a batch with several records.
const MAX_BATCH_LEN_BYTES: usize = 60_000;

/// A message that waits to be read.
pub(crate) struct Incoming {
    pub(crate) message: Rc<Wired>,
    /// The queue of the message's connection. It gets room when the message is read.
    pub(crate) queue: Rc<Cell<usize>>,
    /// The connection of the message, and its generation.
    pub(crate) from: (ConnectionId, u64),
}

/// A connection and its generation.
pub(crate) type Link = (ConnectionId, u64);

/// One node.
pub(crate) struct Node {
    pub(crate) id: NodeId,
    pub(crate) host: Host,
    pub(crate) address: Vec<u8>,
    pub(crate) endpoint: String,
    pub(crate) clock: Clock,
    pub(crate) peers: Peers,
    pub(crate) role: Role,
    pub(crate) traffic: Option<Traffic>,
    /// The subscriptions of its socket.
    pub(crate) wants: Vec<Vec<u8>>,
    pub(crate) inbox: VecDeque<Incoming>,
    /// Subscriptions of other nodes that its socket has received, and their connections.
    pub(crate) heard: VecDeque<(Vec<u8>, Link)>,
    /// It sends and receives no batches, as a node of 0.1.0.
    pub(crate) is_old: bool,
    /// Actions from its beacon.
    pub(crate) news: VecDeque<Action>,
    /// The towers to which it is connected.
    pub(crate) towers: BTreeSet<usize>,
    pub(crate) wake_at: Option<Time>,
    pub(crate) beacon_at: Option<Time>,
    /// When it can take its next turn.
    pub(crate) ready_at: Time,
    /// When its beacon can run again.
    pub(crate) frozen_until: Time,
    /// How long a turn of its loop takes.
    pub(crate) turn_us: u64,
}

pub(crate) enum Role {
    Producer(Box<ProducerNode>),
    Consumer(Box<ConsumerNode>),
    Writer(Box<WriterNode>),
    Reader(Box<ReaderNode>),
    Hostile(Habits),
    /// It has ended, or crashed.
    Gone,
}

impl Role {
    /// What a node of this role announces. Hostile nodes announce nothing.
    pub(crate) fn traffic(&self) -> Option<Traffic> {
        match self {
            Role::Producer(_) => Some(subscriptions::PRODUCER),
            Role::Consumer(node) => {
                let oracle = &node.oracle;
                let named = match (&node.member, &oracle.named) {
                    (Some(_), _) => Named::Group,
                    (None, Some(_)) => Named::Own,
                    (None, None) => Named::No,
                };
                Some(subscriptions::consumer_traffic(oracle.is_isolated, named))
            }
            Role::Writer(_) => Some(subscriptions::STORE_WRITER),
            Role::Reader(_) => Some(subscriptions::STORE_READER),
            Role::Hostile(_) | Role::Gone => None,
        }
    }
}

pub(crate) struct ProducerNode {
    pub(crate) producer: Producer<Run>,
    /// Whether its subscribers take batches.
    pub(crate) subscribers: BatchSubscribers<Link>,
    pub(crate) name: Name,
    /// Commands from its application.
    pub(crate) commands: VecDeque<Command>,
    pub(crate) is_terminating: bool,
    /// The published records that it keeps.
    pub(crate) kept: VecDeque<Record>,
    /// A tower has announced another node with its address.
    pub(crate) has_heard_of_twin: bool,
    /// Decides when it takes a new address because of a twin.
    pub(crate) renewals: Renewals,
    /// Decides when it publishes new records, if it continues a partition.
    pub(crate) guard: Option<Guard>,
}

impl ProducerNode {
    pub(crate) fn new(producer: Producer<Run>, name: Name) -> ProducerNode {
        ProducerNode {
            producer,
            subscribers: BatchSubscribers::new(&name.0),
            name,
            commands: VecDeque::new(),
            is_terminating: false,
            kept: VecDeque::new(),
            has_heard_of_twin: false,
            renewals: Renewals::default(),
            guard: None,
        }
    }

    /// As the actor of a named producer does. Returns false when the producer must end, because another one has its
    /// address.
    fn follow_guard(&mut self, now_ms: u64) -> Result<bool, String> {
        let Some(guard) = &mut self.guard else { return Ok(true) };
        if let Some(twin) = self.producer.poll_twin() {
            return Err(format!("a named producer has found unknown records: {twin}"));
        }
        match guard.poll_step(self.producer.confirmations(), now_ms) {
            Some(Step::Release) => self.producer.release(),
            Some(Step::Hold) => self.producer.hold(),
            Some(Step::Refuse) => return Ok(false),
            Some(Step::TimeOut) => return Err("a start has timed out, without a limit".to_owned()),
            None => {}
        }
        Ok(true)
    }
}

pub(crate) enum Command {
    /// Publish a record of so many bytes.
    Publish(usize),
    /// End when all records are acknowledged.
    Terminate,
}

pub(crate) struct ConsumerNode {
    pub(crate) consumer: Consumer<Run>,
    pub(crate) deliveries: VecDeque<Delivery<Run>>,
    pub(crate) oracle: Oracle,
    /// The topics that the application has paused, and their records that had waited for it.
    pub(crate) paused: BTreeSet<Vec<u8>>,
    pub(crate) aside: Vec<(Name, u64, Run)>,
    /// How many records fit into the sink while the application does not read. `None` while it reads.
    pub(crate) room: Option<usize>,
    /// While the application does not read, the clock of the consumer stands still, as the clock of the actor does.
    /// This field says since when. The next one says for how long it stood still before that.
    pub(crate) stands_since_ms: Option<u64>,
    pub(crate) stood_still_ms: u64,
    /// When a consumer with a name commits next, by the clock that never stands still.
    pub(crate) commit_ms: u64,
    /// How many deliveries it had committed when it last did so.
    pub(crate) committed_count: u64,
    /// The application, if the consumer is a member of the group.
    pub(crate) member: Option<Member>,
}

pub(crate) struct WriterNode {
    pub(crate) intake: Intake<Run>,
    pub(crate) disk: SimDisk,
    /// The number of its store.
    pub(crate) store: usize,
    /// The batch that the disk writes.
    pub(crate) job: Option<Job<Run>>,
}

pub(crate) struct ReaderNode {
    pub(crate) reader: Reader,
    pub(crate) log: SimLog,
}

/// How much a node does in one turn.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Turn {
    pub(crate) messages: usize,
    pub(crate) answers: u64,
    /// The limit of records that a producer publishes in one message.
    pub(crate) max_run_count: u64,
}

/// A difference to another store, and the connection that showed it.
pub(crate) struct Noticed {
    pub(crate) divergence: Divergence,
    pub(crate) from: (ConnectionId, u64),
}

/// The result of a turn.
#[derive(Default)]
pub(crate) struct Outcome {
    /// There is more to do at once.
    pub(crate) is_busy: bool,
    /// A batch for the disk.
    pub(crate) job: bool,
    /// The producer has nothing left to do.
    pub(crate) has_ended: bool,
    /// The named producer ends, because another one has its address.
    pub(crate) is_refused: bool,
    /// New differences to other stores.
    pub(crate) divergences: Vec<Noticed>,
    /// What the writer had gathered, in bytes of content and in records, when it took its last message.
    pub(crate) gathered: Option<(usize, usize)>,
}

impl Node {
    pub(crate) fn is_alive(&self) -> bool {
        !matches!(self.role, Role::Gone)
    }

    /// When the node needs a turn without a message.
    pub(crate) fn due_ms(&self) -> Option<u64> {
        match &self.role {
            Role::Producer(node) => {
                let renewal_ms = node.renewals.due_ms(node.is_terminating);
                let guard_ms = node.guard.as_ref().and_then(Guard::due_ms);
                node.producer.due_ms().into_iter().chain(renewal_ms).chain(guard_ms).min()
            }
            Role::Consumer(node) if node.member.as_ref().is_some_and(Member::has_left) => None,
            Role::Consumer(node) => {
                let own =
                    node.is_reading().then(|| node.consumer.due_ms().saturating_add(node.stood_still_ms));
                let commits = node.oracle.named.is_some() || node.member.is_some();
                let of_member = node.member.as_ref().and_then(Member::due_ms);
                let of_node = commits.then_some(node.commit_ms).into_iter().chain(of_member);
                own.into_iter().chain(node.consumer.positions_due_ms()).chain(of_node).min()
            }
            Role::Writer(node) => node.intake.due_ms(),
            Role::Reader(_) | Role::Hostile(_) | Role::Gone => None,
        }
    }

    /// The statistics of a store or a consumer.
    pub(crate) fn ingested(&self) -> Option<Statistics> {
        match &self.role {
            Role::Consumer(node) => Some(node.consumer.statistics()),
            Role::Writer(node) => Some(node.intake.statistics()),
            _ => None,
        }
    }

    /// The subscriptions for a topic.
    pub(crate) fn prefixes(&self, topic: &[u8]) -> Vec<Vec<u8>> {
        let mut prefixes = subscriptions::topic(topic);
        prefixes.retain(|prefix| !self.is_old || !is_of_new_messages(prefix));
        prefixes
    }

    /// One turn of the actor's loop, without the actions of its beacon. An error when a delivery is wrong.
    pub(crate) fn turn(
        &mut self,
        now: Time,
        turn: Turn,
        model: &mut Model,
        is_open: &dyn Fn(Link) -> bool,
        out: &mut Outbox<Run>,
    ) -> Result<Outcome, String> {
        let now_ms = self.clock.now_ms(now);
        let Node { id, host, role, inbox, heard, is_old, .. } = self;
        let mut outcome = Outcome::default();
        match role {
            Role::Producer(node) => {
                for_each_subscription(heard, |subscription, link| {
                    node.producer.handle_subscription(subscription, now_ms);
                    node.subscribers.handle_subscription(subscription, || is_open(link).then_some(link));
                });
                node.subscribers.handle_ended(now_ms, is_open);
                node.producer.handle_batches_taken(!*is_old && node.subscribers.all_take_batches());
                let mut commands = node.commands.drain(..node.commands.len().min(turn.messages)).peekable();
                while let Some(command) = commands.next() {
                    match command {
                        Command::Publish(len_bytes) => {
                            let count = Random::new(model.published).between(1, turn.max_run_count);
                            let unix_ms = (!*is_old).then(|| unix_ms(now, *host));
                            let mut records = vec![model.publish(&node.name, len_bytes, unix_ms)];
                            let mut batch_len_bytes = len_bytes;
                            while records.len() < count as usize
                                && let Some(&Command::Publish(len_bytes)) = commands.peek()
                                && batch_len_bytes + len_bytes <= MAX_BATCH_LEN_BYTES
                            {
                                batch_len_bytes += len_bytes;
                                records.push(model.publish(&node.name, len_bytes, unix_ms));
                                commands.next();
                            }
                            node.kept.extend(records.iter().cloned());
                            let run = Run::from(records);
                            // Half of the producers compress.
                            let is_compressed = id.is_multiple_of(2) && node.producer.are_batches_taken();
                            let run = if is_compressed { run.compressed() } else { run };
                            node.producer.publish(run, now_ms, out);
                        }
                        Command::Terminate => {
                            node.is_terminating = true;
                            node.producer.send_head(now_ms, out);
                        }
                    }
                }
                drop(commands);
                for _ in 0..turn.messages {
                    let Some((wired, from)) = pop(inbox) else { break };
                    let Ok(message) = Message::decode(&wired.frame) else { continue };
                    node.producer.handle_message(&message, &|| sender(from), out);
                }
                if inbox.is_empty() {
                    node.producer.handle_all_read(now_ms);
                }
                let forgotten = node.kept.len().saturating_sub(node.producer.kept_count());
                if forgotten > 0 && node.renewals.is_deferred() {
                    return Err(format!("a producer with a twin has forgotten {forgotten} records"));
                }
                node.kept.drain(..forgotten);
                outcome.is_refused = !node.follow_guard(now_ms)?;
                let is_answering =
                    node.producer.poll_answers(&mut AllRead, turn.answers, out) != Progress::Idle;
                node.producer.handle_timeout(now_ms, out);
                outcome.is_busy = is_answering || !node.commands.is_empty();
                outcome.has_ended = node.is_terminating && node.producer.is_done();
            }
            Role::Consumer(node) if node.member.is_some() => {
                let (max_messages, is_application_first) = (turn.messages, id.is_multiple_of(2));
                let input = Input { heard, inbox, max_messages, now, now_ms, is_application_first };
                return node.turn_of_member(input, model, out);
            }
            Role::Consumer(node) => {
                for_each_subscription(heard, |subscription, _| {
                    node.consumer.handle_position_store(subscription, now_ms);
                    node.consumer.handle_subscription(subscription, now_ms, out)
                });
                node.deliver(model)?;
                node.handle_positions(inbox, now / MS + *id as u64 % 3 * 7_000, now_ms, out);
                let now_ms = node.read_at(now_ms);
                for _ in 0..turn.messages {
                    if !node.is_reading() {
                        break;
                    }
                    let Some((wired, from)) = pop(inbox) else { break };
                    let Ok(message) = Message::decode(&wired.frame) else { continue };
                    let (content, from) = (wired.run(&message), || sender(from));
                    let ConsumerNode { consumer, deliveries, .. } = &mut **node;
                    consumer.handle_message(&message, content, &from, now_ms, out, deliveries);
                    node.deliver(model)?;
                }
                if node.is_reading() {
                    let ConsumerNode { consumer, deliveries, .. } = &mut **node;
                    consumer.handle_uptime(now / MS);
                    consumer.handle_timeout(now_ms, out, deliveries);
                    node.deliver(model)?;
                }
                node.oracle.presumed_old = node.consumer.statistics().presumed_old;
                if !node.is_reading() {
                    node.stands_since_ms.get_or_insert(now_ms + node.stood_still_ms);
                    return Ok(outcome);
                }
            }
            Role::Writer(node) => {
                for_each_subscription(heard, |subscription, _| {
                    node.intake.handle_subscription(subscription, now_ms)
                });
                node.intake.handle_clock(now / MS);
                for _ in 0..turn.messages {
                    if node.intake.is_full() {
                        break;
                    }
                    let Some((wired, from)) = pop(inbox) else { break };
                    outcome.gathered = Some(node.intake.gathered());
                    let Ok(message) = Message::decode(&wired.frame) else { continue };
                    let run = if *is_old { wired.content.clone() } else { wired.run(&message) };
                    let (content, by) = (run, || sender(from));
                    node.intake.handle_message(&message, content, &by, now_ms).expect("short records");
                    while let Some(notice) = node.intake.poll_notice(now_ms) {
                        if let Notice::Divergence(divergence) = notice {
                            outcome.divergences.push(Noticed { divergence, from });
                        }
                    }
                }
                if node.job.is_none() {
                    node.job = node.intake.poll_job();
                    outcome.job = node.job.is_some();
                }
                node.intake.handle_timeout(now_ms, out);
                if node.intake.is_full() {
                    return Ok(outcome);
                }
            }
            Role::Reader(node) => {
                for_each_subscription(heard, |subscription, _| {
                    node.reader.handle_subscription(subscription, out)
                });
                for _ in 0..turn.messages {
                    let Some((wired, from)) = pop(inbox) else { break };
                    let Ok(message) = Message::decode(&wired.frame) else { continue };
                    node.reader.handle_message(&message, &|| sender(from));
                }
                let answered = node.reader.poll_answers(&mut AllRead, turn.answers, &node.log, out);
                outcome.is_busy = match answered {
                    Ok(progress) => progress != Progress::Idle,
                    // As the actor does: there may be more to answer.
                    Err(_) if node.log.disk.is_unreadable() => true,
                    Err(error) => return Err(format!("the log cannot be read: {error:?}")),
                };
            }
            Role::Hostile(_) => {
                heard.clear();
                while pop(inbox).is_some() {}
            }
            Role::Gone => return Ok(outcome),
        }
        outcome.is_busy |= !inbox.is_empty();
        Ok(outcome)
    }

    /// How many records the application of a consumer has received.
    pub(crate) fn delivered(&self) -> u64 {
        match &self.role {
            Role::Consumer(consumer) => consumer.oracle.delivered,
            _ => 0,
        }
    }
}

impl ConsumerNode {
    pub(crate) fn new(consumer: Consumer<Run>, oracle: Oracle) -> ConsumerNode {
        ConsumerNode {
            consumer,
            deliveries: VecDeque::new(),
            oracle,
            paused: BTreeSet::new(),
            aside: Vec::new(),
            room: None,
            stands_since_ms: None,
            stood_still_ms: 0,
            commit_ms: 0,
            committed_count: 0,
            member: None,
        }
    }

    pub(crate) fn is_reading(&self) -> bool {
        let has_room = self.member.as_ref().is_none_or(Member::has_room);
        self.deliveries.is_empty() && !self.consumer.is_waiting() && has_room
    }

    /// Handles the POSITIONs and the COMMIT-ACKs in the inbox, and commits, as the actor does. `wall_ms` is the time
    /// since the Unix epoch.
    fn handle_positions(
        &mut self,
        inbox: &mut VecDeque<Incoming>,
        wall_ms: u64,
        now_ms: u64,
        out: &mut Outbox<Run>,
    ) {
        let is_named = self.oracle.named.is_some();
        inbox.retain(|incoming| {
            let frame = &incoming.message.frame;
            if !is_named || ![id::POSITION, id::COMMIT_ACK].map(Some).contains(&frame.first().copied()) {
                return true;
            }
            let message = Message::decode(frame);
            let Ok(message @ (Message::Position { .. } | Message::CommitAck { .. })) = message else {
                return true;
            };
            incoming.queue.set(incoming.queue.get().saturating_sub(1));
            self.consumer.handle_position(&message, now_ms);
            false
        });
        if is_named && now_ms >= self.commit_ms {
            self.commit_ms = now_ms + COMMIT_INTERVAL_MS;
            self.committed_count = self.oracle.delivered;
            for (name, &next) in &self.oracle.next {
                self.consumer.commit(named(name), next, wall_ms, now_ms);
            }
        }
        self.consumer.handle_positions_timeout(now_ms, out);
        while let Some(notice) = self.consumer.poll_positions_notice(now_ms) {
            if let (Notice::PositionsMissing { .. }, Some(named)) = (notice, &mut self.oracle.named) {
                named.known.clear();
            }
        }
    }

    /// The time of the consumer's clock when the node's clock shows `now_ms`.
    pub(crate) fn read_at(&mut self, now_ms: u64) -> u64 {
        if self.is_reading()
            && let Some(since_ms) = self.stands_since_ms.take()
        {
            self.stood_still_ms += now_ms - since_ms;
        }
        self.stands_since_ms.unwrap_or(now_ms) - self.stood_still_ms
    }

    /// Delivers records until there are none or the sink is full.
    fn deliver(&mut self, model: &Model) -> Result<(), String> {
        if !self.deliveries.is_empty() {
            self.oracle.presumed_old = self.consumer.statistics().presumed_old;
        }
        while let Some(delivery) = self.deliveries.front() {
            match &mut self.room {
                Some(0) => break,
                Some(room) => *room = room.saturating_sub(delivery.content.record_count() as usize),
                None => {}
            }
            let PartitionName { topic, producer } = self.consumer.partition(delivery.partition);
            if self.paused.contains(topic) {
                return Err(format!("a record of {} was delivered during a pause", topic.escape_ascii()));
            }
            for (record, offset) in delivery.content.records().iter().zip(delivery.offset..) {
                self.oracle.deliver(model, topic, producer, offset, record)?;
            }
            self.deliveries.pop_front();
        }
        Ok(())
    }

    /// As the actor does: drops waiting records of the topic.
    pub(crate) fn unsubscribe(&mut self, topic: &[u8]) -> bool {
        let ConsumerNode { deliveries, consumer, .. } = self;
        deliveries.retain(|delivery| consumer.partition(delivery.partition).topic != topic);
        self.aside.retain(|(name, ..)| name.0 != topic);
        self.paused.remove(topic);
        self.oracle.unsubscribe(topic);
        self.consumer.unsubscribe(topic)
    }

    /// The application continues at a record of a partition, at most at the next one, which is the first one if it has
    /// read none. `partition` and `to` select them. As the actor does, drops waiting records of the partition. False when
    /// no partition has a subscribed topic.
    pub(crate) fn seek(&mut self, partition: u64, to: u64, model: &Model, now_ms: u64) -> bool {
        let now_ms = self.read_at(now_ms);
        let ConsumerNode { deliveries, consumer, oracle, aside, .. } = self;
        let mut names: Vec<_> = model.partitions.keys().collect();
        names.retain(|name| oracle.is_subscribed(&name.0));
        let Some(&name) = names.get(partition as usize % names.len().max(1)) else { return false };
        let of = &model.partitions[name];
        let next = oracle.next.get(name).copied().unwrap_or(of.first);
        let to = of.first + to % (next - of.first + 1);
        deliveries.retain(|delivery| consumer.partition(delivery.partition) != named(name));
        aside.retain(|(of, ..)| of != name);
        oracle.seek(name, to);
        consumer.seek(named(name), to, now_ms)
    }

    /// The application continues at a time or at the end, in all partitions of a topic. As the actor does, drops waiting
    /// records of the topic. False when it is not subscribed.
    pub(crate) fn seek_all(&mut self, topic: &[u8], start: Start, model: &Model, moment: Subscribed) -> bool {
        let moment = Subscribed { now_ms: self.read_at(moment.now_ms), ..moment };
        let ConsumerNode { deliveries, consumer, oracle, aside, paused, .. } = self;
        // Under `latest`, a partition that begins during the pause need not be read from its start.
        if start == Start::Latest && !paused.is_empty() || !consumer.seek_all(topic, start, moment) {
            return false;
        }
        deliveries.retain(|delivery| !consumer.selects(topic, consumer.partition(delivery.partition).topic));
        aside.retain(|(name, ..)| !consumer.selects(topic, &name.0));
        let is_open = consumer.statistics().closed == 0;
        let subscribed: Vec<Vec<u8>> = consumer.topics().map(<[u8]>::to_vec).collect();
        for of in subscribed.iter().filter(|of| consumer.selects(topic, of)) {
            oracle.seek_all(of, start, moment.unix_ms, model, is_open);
        }
        true
    }

    /// The application pauses a topic. As the actor does, sets waiting records of the topic aside. False when it cannot
    /// be paused.
    pub(crate) fn pause(&mut self, topic: &[u8]) -> bool {
        // Under `latest`, a partition that begins during the pause need not be read from its start.
        let is_paused =
            self.oracle.start_of(topic) != Start::Latest && self.consumer.pause(topic) == Some(true);
        if is_paused {
            self.paused.insert(topic.to_vec());
            for Delivery { partition, offset, content } in std::mem::take(&mut self.deliveries) {
                let PartitionName { topic: of, producer } = self.consumer.partition(partition);
                match of == topic {
                    true => self.aside.push(((of.to_vec(), producer.to_vec()), offset, content)),
                    false => self.deliveries.push_back(Delivery { partition, offset, content }),
                }
            }
        }
        is_paused
    }

    /// The application continues to read a topic. First it receives the records that were set aside.
    pub(crate) fn resume(&mut self, topic: &[u8], model: &Model, now_ms: u64) -> Result<(), String> {
        let now_ms = self.read_at(now_ms);
        if self.paused.remove(topic) {
            self.consumer.resume(topic, now_ms);
            for (name, offset, run) in std::mem::take(&mut self.aside) {
                if name.0 != topic {
                    self.aside.push((name, offset, run));
                    continue;
                }
                for (record, offset) in run.records().iter().zip(offset..) {
                    self.oracle.deliver(model, &name.0, &name.1, offset, record)?;
                }
            }
        }
        Ok(())
    }
}

pub(crate) fn pop(inbox: &mut VecDeque<Incoming>) -> Option<(Rc<Wired>, (ConnectionId, u64))> {
    let Incoming { message, queue, from } = inbox.pop_front()?;
    queue.set(queue.get().saturating_sub(1));
    Some((message, from))
}

/// The sender of a message, as the state machines identify it.
pub(crate) fn sender((connection, generation): (ConnectionId, u64)) -> Option<Box<[u8]>> {
    Some([(connection as u64).to_be_bytes(), generation.to_be_bytes()].concat().into())
}

/// Whether a sender is this connection.
pub(crate) fn is_of(sender: &[u8], connection: ConnectionId) -> bool {
    sender.starts_with(&(connection as u64).to_be_bytes())
}

/// Whether a subscription is to messages that 0.1.0 does not have.
pub(crate) fn is_of_new_messages(prefix: &[u8]) -> bool {
    let new = [id::RECORDS, id::DIRECT_RECORDS, id::COMMIT, id::COMMIT_ACK, id::POSITION, id::GET_POSITIONS];
    new.map(Some).contains(&prefix.first().copied())
}

/// A frame as 0.1.0 sends it: a FETCH does not ask for batches.
pub(crate) fn without_flags(frame: Vec<u8>) -> Vec<u8> {
    let mut old = Vec::new();
    match Message::decode(&frame) {
        Ok(Message::Fetch { topic, address, subject, sequence, count, store, .. }) => {
            let message =
                Message::Fetch { topic, address, subject, sequence, count, store, takes_batches: false };
            message.encode(&mut old).expect("the names of a valid message");
            old
        }
        _ => frame,
    }
}

pub(crate) fn for_each_subscription(
    heard: &mut VecDeque<(Vec<u8>, Link)>,
    mut each: impl FnMut(&Subscription, Link),
) {
    for (frame, link) in heard.drain(..) {
        if let Some(subscription) = Subscription::decode(&frame) {
            each(&subscription, link);
        }
    }
}
