//! The members of a group: their starts and ends, and their turns with their applications.

use super::*;
use crate::clock::{MS, unix_ms};
use crate::groups::{GROUP, GroupPlan, MAX_MEMBERS};
use crate::nodes::{Incoming, Link, Outcome, for_each_subscription, pop, sender};
use dafka::partition_name::PartitionName;
use dafka::protocol::consumer::positions::MAX_POSITIONS;
use dafka::protocol::consumer::{Delivery, GroupConfig, Timing};
use dafka::protocol::ingest::Index;
use dafka::slots::{SLOT_COUNT, Slots, slot_name};
use dafka::wire::id;

/// How often a member commits.
const COMMIT_INTERVAL_MS: u64 = 1_500;
/// How long a leaving member waits for the confirmation of its last commits, as the actor does.
const END_WAIT_MS: u64 = 2_000;
/// How long the messages of a member that has left may still be sent.
const LINGER: Time = 20 * MS;

/// A record that waits for the application of a member, or that the application processes.
pub(crate) struct Job {
    name: Rc<Name>,
    offset: u64,
    slot: u8,
}

/// The application of a member.
pub(crate) struct Application {
    plan: GroupPlan,
    random: Random,
    waiting: VecDeque<Job>,
    /// The records that it processes, and until when it is busy.
    current: Vec<Job>,
    until_ms: u64,
    /// By partition and slot: the offset after the last processed record that was not committed.
    processed: BTreeMap<(Rc<Name>, u8), u64>,
    /// When the member subscribed, if it has not begun to read.
    since_ms: Option<i64>,
    /// It ends when it has processed its current records.
    is_leaving: bool,
    /// When the member stops waiting for its last commits.
    end_ms: Option<u64>,
    has_left: bool,
}

impl World {
    /// Starts a member of the group, on a host without a living member.
    pub(super) fn join_group(&mut self) {
        let living = self.living_members();
        let Some(group) = self.plan.group.clone().filter(|_| living.len() < MAX_MEMBERS) else { return };
        let (address, clock) = (self.fresh_address(), self.fresh_clock());
        let host = loop {
            let host = self.random.below(HOSTS) as Host;
            if living.iter().all(|&id| self.nodes[id].host != host) {
                break host;
            }
        };
        let now_ms = clock.now_ms(self.now);
        let timing = Timing {
            interval_ms: BEACON_INTERVAL_MS,
            timeout_ms: BEACON_TIMEOUT_MS,
            listen_ms: 2 * BEACON_INTERVAL_MS,
            handover_ms: group.handover_ms,
        };
        let config = GroupConfig { name: GROUP, group_by: group.group_by, timing };
        let consumer = Consumer::new(&address, group.start, self.plan.limits, now_ms);
        let mut consumer = consumer.grouped(&config, MAX_POSITIONS, now_ms);
        let name = group.group_by.group_name(GROUP);
        let mut wants = subscriptions::consumer(&address);
        wants.extend(subscriptions::positions(&address));
        wants.push(subscriptions::members(&name));
        let mut oracle = Oracle::new(group.start);
        if let Some(limit_bytes) = self.plan.isolation_bytes
            && self.random.chance(400)
        {
            consumer = consumer.isolated(limit_bytes);
            wants.push(subscriptions::acknowledgements());
            oracle.is_isolated = true;
        }
        for slot in 0..SLOT_COUNT {
            let requester = [&*address, &[b'0' + slot]].concat();
            self.model.names.insert(requester, slot_name(&name, slot));
        }
        self.model.names.insert(address.clone(), name);
        let topics = group.topics.clone();
        let since_ms = unix_ms(self.now, host);
        let application = Application::new(group, Random::new(self.random.next()), since_ms);
        let node = ConsumerNode { member: Some(application), ..ConsumerNode::new(consumer, oracle) };
        let id = self.start(host, address, &[], wants, Role::Consumer(Box::new(node)), clock);
        self.members.push(id);
        topics.into_iter().for_each(|topic| self.subscribe(id, topic));
    }

    /// The members that have not left.
    pub(super) fn living_members(&self) -> Vec<NodeId> {
        let is_living = |id: &NodeId| match &self.nodes[*id].role {
            Role::Consumer(node) => node.member.as_ref().is_some_and(|member| !member.has_left),
            _ => false,
        };
        self.members.iter().copied().filter(is_living).collect()
    }

    /// How many members will not leave.
    pub(super) fn staying_count(&self) -> usize {
        let is_leaving = |id: &NodeId| match &self.nodes[*id].role {
            Role::Consumer(node) => node.member.as_ref().is_some_and(|member| member.is_leaving),
            _ => false,
        };
        self.living_members().iter().filter(|id| !is_leaving(id)).count()
    }

    fn application(&mut self, number: u64) -> Option<(NodeId, &mut Application)> {
        let id = self.living(&self.members, number)?;
        match &mut self.nodes[id].role {
            Role::Consumer(node) => Some((id, node.member.as_mut()?)),
            _ => None,
        }
    }

    pub(super) fn leave_group(&mut self, number: u64) {
        let staying = self.staying_count();
        if let Some((id, member)) = self.application(number).filter(|_| staying > 1) {
            member.is_leaving = true;
            self.wake(id, self.now);
        }
    }

    /// A member crashes. It joins again as a new member.
    pub(super) fn crash_member(&mut self, number: u64) {
        if let Some((id, member)) = self.application(number) {
            let is_ending = member.is_leaving;
            self.stop(id);
            if !is_ending {
                self.push((self.now + 500 * MS).min(self.plan.calm_at), Event::Act(Action::JoinGroup));
            }
        }
    }

    /// The application of a member takes no record for a while.
    pub(super) fn stall_member(&mut self, number: u64, lasts: Time) {
        let until = (self.now + lasts).min(self.plan.calm_at);
        let Some((id, _)) = self.application(number) else { return };
        let until_ms = self.nodes[id].clock.now_ms(until);
        if let Some((_, member)) = self.application(number) {
            member.until_ms = until_ms.max(member.until_ms);
        }
    }

    /// A member has taken a turn.
    pub(super) fn after_turn_of_member(&mut self, id: NodeId, has_left: bool) {
        if has_left {
            self.push(self.now + LINGER, Event::Gone(id));
        }
    }

    /// Checks that the members agree, and have committed all that they have processed.
    pub(super) fn members_agree(&self, has_stores: bool) -> Result<(), String> {
        let Some(group) = &self.model.group else { return Ok(()) };
        let living = self.living_members();
        group.agree(&living, self.now)?;
        for id in living {
            let Role::Consumer(node) = &self.nodes[id].role else { continue };
            let Some(member) = &node.member else { continue };
            if !member.waiting.is_empty() || !member.current.is_empty() || !member.processed.is_empty() {
                return Err(format!("the application of member {id} has more to do"));
            }
            let (count, confirmed) = node.consumer.commits();
            if confirmed < count && has_stores {
                return Err(format!("member {id}: {confirmed} of {count} commits are confirmed"));
            }
        }
        Ok(())
    }
}

impl Application {
    fn new(plan: GroupPlan, random: Random, since_ms: i64) -> Application {
        Application {
            plan,
            random,
            waiting: VecDeque::new(),
            current: Vec::new(),
            until_ms: 0,
            processed: BTreeMap::new(),
            since_ms: Some(since_ms),
            is_leaving: false,
            end_ms: None,
            has_left: false,
        }
    }

    /// Whether the member receives messages.
    pub(crate) fn has_room(&self) -> bool {
        self.waiting.len() < self.plan.max_waiting && self.end_ms.is_none()
    }

    pub(crate) fn has_left(&self) -> bool {
        self.has_left
    }

    /// When it has something to do.
    pub(crate) fn due_ms(&self) -> Option<u64> {
        let has_work = !self.current.is_empty() || !self.waiting.is_empty() && !self.is_leaving;
        has_work.then_some(self.until_ms).into_iter().chain(self.end_ms).min()
    }

    /// Processes records.
    fn work(&mut self, now_ms: u64, model: &mut Model) -> Result<(), String> {
        let Model { group: Some(group), partitions, first_offset, .. } = model else { return Ok(()) };
        // A forged record may have any offset.
        let is_forged = |name: &Name| partitions.get(name).is_none_or(|partition| partition.is_forged);
        if now_ms < self.until_ms {
            return Ok(());
        }
        for Job { name, offset, slot } in self.current.drain(..) {
            if !is_forged(&name) {
                group.process(&name, *first_offset, offset);
            }
            let next = self.processed.entry((name, slot)).or_default();
            *next = (offset + 1).max(*next);
        }
        if self.is_leaving || self.waiting.is_empty() {
            return Ok(());
        }
        let count = self.random.between(1, 200).min(self.waiting.len() as u64);
        self.current.extend(self.waiting.drain(..count as usize));
        for Job { name, offset, slot } in self.current.iter().filter(|job| !is_forged(&job.name)) {
            group.receive(name, *first_offset, *offset, *slot)?;
        }
        let is_slow = self.random.chance(10);
        self.until_ms =
            now_ms + if is_slow { self.random.below(4_000) } else { self.random.below(self.plan.pace_ms) };
        Ok(())
    }

    fn busy(&self) -> Slots {
        self.current.iter().fold(Slots::NONE, |busy, job| busy.and(Slots::of(job.slot)))
    }

    fn commit(&mut self, consumer: &mut Consumer<Run>, now_ms: u64) {
        for ((name, slot), next) in std::mem::take(&mut self.processed) {
            consumer.commit_slot(named(&name), slot, next, now_ms);
        }
        consumer.commit_skipped(now_ms);
    }
}

/// What a turn of a member reads.
pub(crate) struct Input<'a> {
    pub(crate) heard: &'a mut VecDeque<(Vec<u8>, Link)>,
    pub(crate) inbox: &'a mut VecDeque<Incoming>,
    pub(crate) max_messages: usize,
    pub(crate) now: Time,
    pub(crate) now_ms: u64,
    /// The application works before the actor, and not after it.
    pub(crate) is_application_first: bool,
}

impl ConsumerNode {
    /// A turn of a member, in the order of the actor's loop.
    pub(crate) fn turn_of_member(
        &mut self,
        input: Input,
        model: &mut Model,
        out: &mut Outbox<Run>,
    ) -> Result<Outcome, String> {
        let Input { heard, inbox, max_messages, now, now_ms, is_application_first } = input;
        let mut outcome = Outcome::default();
        if self.member.as_ref().is_none_or(|member| member.has_left) {
            inbox.clear();
            return Ok(outcome);
        }
        if is_application_first {
            self.work(now_ms, model)?;
        }
        let role_ms = self.read_at(now_ms);
        for_each_subscription(heard, |subscription, _| {
            self.consumer.handle_position_store(subscription, now_ms);
            self.consumer.handle_subscription(subscription, role_ms, out);
        });
        for _ in 0..max_messages {
            if !self.is_reading() {
                break;
            }
            let Some((wired, from)) = pop(inbox) else { break };
            let Ok(message) = Message::decode(&wired.frame) else { continue };
            let (content, from) = (wired.run(&message), || sender(from));
            let ConsumerNode { consumer, deliveries, .. } = self;
            match message {
                Message::Position { .. } | Message::CommitAck { .. } | Message::Member { .. } => {
                    self.handle_urgent(&message, now_ms);
                }
                _ => consumer.handle_message(&message, content, &from, role_ms, out, deliveries),
            }
            self.keep_for_application(model)?;
        }
        inbox.retain(|incoming| {
            let urgent = [id::POSITION, id::COMMIT_ACK, id::MEMBER].map(Some);
            let is_urgent = urgent.contains(&incoming.message.frame.first().copied());
            if is_urgent {
                incoming.queue.set(incoming.queue.get().saturating_sub(1));
                if let Ok(message) = Message::decode(&incoming.message.frame) {
                    self.handle_urgent(&message, now_ms);
                }
            }
            !is_urgent
        });
        if self.is_reading() {
            let ConsumerNode { consumer, deliveries, .. } = self;
            consumer.handle_uptime(now / MS);
            consumer.handle_timeout(role_ms, out, deliveries);
            self.keep_for_application(model)?;
        }
        outcome.has_ended = self.commit_as_member(now_ms, out);
        if !is_application_first {
            self.work(now_ms, model)?;
        }
        if let Some(group) = &mut model.group {
            group.has_presumed_old |= self.consumer.statistics().presumed_old > 0;
        }
        if !self.is_reading() {
            self.stands_since_ms.get_or_insert(now_ms);
        } else {
            outcome.is_busy = !inbox.is_empty();
        }
        Ok(outcome)
    }

    fn handle_urgent(&mut self, message: &Message, now_ms: u64) {
        match message {
            Message::Member { .. } => self.consumer.handle_member(message, now_ms),
            _ => self.consumer.handle_position(message, now_ms),
        }
    }

    fn work(&mut self, now_ms: u64, model: &mut Model) -> Result<(), String> {
        if let (Some(member), Some(group)) = (&mut self.member, &mut model.group)
            && !self.consumer.is_waiting()
            && let Some(since_ms) = member.since_ms.take()
        {
            group.subscribe(since_ms);
        }
        self.member.as_mut().map_or(Ok(()), |member| member.work(now_ms, model))
    }

    /// Commits, gives up slots, and leaves, as the actor does. Returns true when the member has left.
    fn commit_as_member(&mut self, now_ms: u64, out: &mut Outbox<Run>) -> bool {
        let ConsumerNode { consumer, member: Some(member), .. } = self else { return false };
        if member.is_leaving && member.current.is_empty() && member.end_ms.is_none() {
            member.end_ms = Some(now_ms + END_WAIT_MS);
            member.commit(consumer, now_ms);
        }
        if now_ms >= self.commit_ms {
            self.commit_ms = now_ms + COMMIT_INTERVAL_MS;
            member.commit(consumer, now_ms);
        }
        let (serial, confirmed) = consumer.commits();
        member.has_left = member.end_ms.is_some_and(|end_ms| confirmed >= serial || now_ms >= end_ms);
        consumer.handle_positions_timeout(now_ms, out);
        let revoked = consumer.take_revoked();
        member.waiting.retain(|job| !revoked.contains(job.slot));
        if consumer.is_releasing() {
            member.commit(consumer, now_ms);
            consumer.handle_busy(member.busy(), now_ms);
        }
        if member.has_left {
            consumer.leave_group(out);
        }
        member.has_left
    }

    /// Checks deliveries, and keeps them until the application receives them.
    fn keep_for_application(&mut self, model: &Model) -> Result<(), String> {
        let ConsumerNode { consumer, deliveries, oracle, member: Some(member), .. } = self else {
            return Ok(());
        };
        for Delivery { partition, offset, content } in deliveries.drain(..) {
            let name = Rc::new(owned_name(consumer, partition));
            let at = |offset: u64| format!("record {offset} of {}", invariants::show(&name));
            if !oracle.is_subscribed(&name.0) {
                return Err(format!("{} was delivered without a subscription", at(offset)));
            }
            let first_slot = member.plan.group_by.first_slot(named(&name));
            let held = model.held.get(&*name).copied().unwrap_or(0);
            for (record, offset) in content.records().iter().zip(offset..) {
                if !model.is_right(&name.0, &name.1, offset, record.as_stored()) {
                    return Err(format!(
                        "{} was delivered with another content, or other attributes",
                        at(offset)
                    ));
                }
                if oracle.is_isolated && offset >= held && !model.is_end_doubtful(&name) {
                    return Err(format!(
                        "{} was delivered where stores have acknowledged {held}",
                        at(offset)
                    ));
                }
                let key = record.key.as_deref().unwrap_or_default();
                let slot = member.plan.group_by.slot_of(first_slot, offset, key);
                member.waiting.push_back(Job { name: name.clone(), offset, slot });
                let next = oracle.next.entry((*name).clone()).or_default();
                *next = (offset + 1).max(*next);
                oracle.delivered += 1;
            }
        }
        Ok(())
    }
}

fn owned_name(consumer: &Consumer<Run>, partition: Index) -> Name {
    let PartitionName { topic, producer } = consumer.partition(partition);
    (topic.to_vec(), producer.to_vec())
}
