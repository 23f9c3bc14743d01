//! A group of consumers: whole lives of its members in virtual time, with one store and a lossless network.

use crate::UNKNOWN;
use crate::rig::{SUBSCRIBED, TOPIC};
use crate::run::{Record, Run};
use dafka::committed::Committed;
use dafka::partition_name::PartitionName;
use dafka::protocol::consumer::{Consumer, Delivery, GroupConfig, Start, Timing};
use dafka::protocol::ingest::Limits;
use dafka::protocol::{Outbox, Payload};
use dafka::slots::{GroupBy, Slots, slot_of_name};
use dafka::wire::{Message, Position, Subscription, id};
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

const TIMING: Timing = Timing { interval_ms: 100, timeout_ms: 400, listen_ms: 200, handover_ms: 3_000 };
const COMMIT_INTERVAL_MS: u64 = 150;
const PARTITION_COUNT: u64 = 3;
const STORE: &[u8] = b"STORE";
/// When the last record is published, and when all must be processed.
const PUBLISH_MS: u64 = 12_000;
const END_MS: u64 = 40_000;

struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }
}

/// A record: the number of its partition, and its offset.
type Id = (u64, u64);

fn producer(partition: u64) -> Vec<u8> {
    format!("PRODUCER{partition}").into_bytes()
}

/// A record in the application of a member.
#[derive(Clone)]
struct Job {
    id: Id,
    slot: u8,
}

struct Member {
    address: Vec<u8>,
    consumer: Consumer<Run>,
    /// The consumer's own clock: it stands still while the consumer waits for its positions.
    own_ms: u64,
    queue: VecDeque<Job>,
    /// The record that the application processes, and until when.
    current: Option<(Job, u64)>,
    /// Processed records that were not committed: the partition, the slot, and the record to read next.
    processed: HashMap<(u64, u8), u64>,
    commit_ms: u64,
    is_leaving: bool,
    /// Its process is stopped until then.
    frozen_until_ms: u64,
    /// The other members do not reach it, and it does not reach them, until then.
    cut_until_ms: u64,
}

/// What goes wrong.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Accidents {
    /// Members are killed.
    kills: bool,
    /// The processes of members stop for a while.
    freezes: bool,
    /// Members do not reach any other, or one member does not reach one other, for a while.
    cuts: bool,
}

/// The receiver of a message, its frame and its content.
type Flying = (Vec<u8>, Vec<u8>, Option<Run>);

struct Cluster {
    random: Random,
    group_by: GroupBy,
    start: Start,
    now_ms: u64,
    members: Vec<Member>,
    /// How many members there were.
    member_count: u64,
    /// Messages in flight, by arrival and number.
    flying: BTreeMap<(u64, u64), Flying>,
    sent: u64,
    /// The last arrival, by sender and receiver: messages do not overtake each other.
    arrivals: HashMap<(Vec<u8>, Vec<u8>), u64>,
    /// Links that are cut, from one member to another one, and until when.
    cut_links: HashMap<(Vec<u8>, Vec<u8>), u64>,
    records: Vec<Vec<Record>>,
    committed: BTreeMap<(Vec<u8>, Vec<u8>), Committed>,
    /// For each record, the members that have received it.
    handled: BTreeMap<Id, Vec<u64>>,
    /// The records in the order in which applications received them.
    order: Vec<Id>,
}

impl Cluster {
    fn new(seed: u64, group_by: GroupBy, start: Start) -> Cluster {
        Cluster {
            random: Random(seed),
            group_by,
            start,
            now_ms: 0,
            members: Vec::new(),
            member_count: 0,
            flying: BTreeMap::new(),
            sent: 0,
            arrivals: HashMap::new(),
            cut_links: HashMap::new(),
            records: vec![Vec::new(); PARTITION_COUNT as usize],
            committed: BTreeMap::new(),
            handled: BTreeMap::new(),
            order: Vec::new(),
        }
    }

    fn send(&mut self, from: &[u8], to: &[u8], frame: &[u8], content: Option<Run>) {
        let last = self.arrivals.entry((from.to_vec(), to.to_vec())).or_insert(0);
        // Some members learn late of changes.
        let most_ms = if frame[0] == id::MEMBER { 90 } else { 8 };
        *last = (self.now_ms + self.random.below(most_ms)).max(*last);
        self.sent += 1;
        self.flying.insert((*last, self.sent), (to.to_vec(), frame.to_vec(), content));
    }

    fn send_message(&mut self, to: &[u8], message: &Message, content: Option<Run>) {
        let mut frame = Vec::new();
        message.encode(&mut frame).unwrap();
        self.send(STORE, to, &frame, content);
    }

    /// A new member joins.
    fn join(&mut self) {
        self.member_count += 1;
        let address = format!("MEMBER{:026}", self.member_count).into_bytes();
        let config = GroupConfig { name: b"group", group_by: self.group_by, timing: TIMING };
        let mut consumer =
            Consumer::new(&address, self.start, Limits::default(), 0).grouped(&config, 1_000, self.now_ms);
        consumer.subscribe(TOPIC, SUBSCRIBED, &mut Outbox::new());
        let subscription =
            Subscription { subscribe: true, id: id::GET_POSITIONS, topic: b"", is_exact: false };
        consumer.handle_position_store(&subscription, self.now_ms);
        let topic = self.group_by.group_name(b"group");
        let listens = Subscription { subscribe: true, id: id::MEMBER, topic: &topic, is_exact: true };
        for other in &mut self.members {
            other.consumer.handle_position_store(&listens, self.now_ms);
        }
        self.members.push(Member {
            address,
            consumer,
            own_ms: 0,
            queue: VecDeque::new(),
            current: None,
            processed: HashMap::new(),
            commit_ms: 0,
            is_leaving: false,
            frozen_until_ms: 0,
            cut_until_ms: 0,
        });
    }

    fn publish(&mut self) {
        let partition = self.random.below(PARTITION_COUNT);
        let count = 1 + self.random.below(20);
        let records = &mut self.records[partition as usize];
        let first = records.len() as u64;
        let new: Vec<Record> = (first..first + count)
            .map(|offset| Record {
                content: offset.to_string().into_bytes().into(),
                timestamp_ms: Some(SUBSCRIBED.unix_ms),
                key: (offset % 4 > 0).then(|| vec![b'a' + (offset % 7) as u8].into()),
            })
            .collect();
        records.extend(new.iter().cloned());
        let (address, run) = (producer(partition), Run::from(new));
        let position = Position::new(TOPIC, &address, TOPIC, first);
        let mut frame = Vec::new();
        Message::Records(position).encode(&mut frame).unwrap();
        let receivers: Vec<_> = self.members.iter().map(|member| member.address.clone()).collect();
        for to in receivers {
            self.send(&address, &to, &frame, Some(run.clone()));
        }
    }

    /// The store and the producers respond to a message of a member.
    fn respond(&mut self, frame: &[u8]) {
        match Message::decode(frame).unwrap() {
            Message::Fetch { topic, address, sequence, count, .. } => {
                let partition = u64::from(topic[topic.len() - 1] - b'0');
                let records = &self.records[partition as usize];
                let end = (sequence + u64::from(count)).min(records.len() as u64);
                if sequence < end {
                    let run = Run::from(records[sequence as usize..end as usize].to_vec());
                    let position = Position::new(address, topic, TOPIC, sequence);
                    self.send_message(address, &Message::DirectRecords(position), Some(run));
                }
            }
            Message::GetHeads { address, .. } => {
                for partition in 0..PARTITION_COUNT {
                    let Some(head) = self.records[partition as usize].len().checked_sub(1) else { continue };
                    let of = producer(partition);
                    let position = Position::new(address, &of, TOPIC, head as u64);
                    self.send_message(address, &Message::DirectHead { position, store: STORE }, None);
                }
            }
            Message::GetPositions { topic: name, address } => {
                for ((of, producer), committed) in self.committed.clone() {
                    if of == name {
                        let position = Position::new(address, &producer, TOPIC, committed.next);
                        let timestamp_ms = committed.timestamp_ms;
                        let message = Message::Position { position, timestamp_ms, name, store: STORE };
                        self.send_message(address, &message, None);
                    }
                }
                let position = Position::new(address, b"", b"", 0);
                let end = Message::Position { position, timestamp_ms: 0, name, store: STORE };
                self.send_message(address, &end, None);
            }
            message @ Message::Commit { position, requester, .. } => {
                self.check_commit(&position);
                let known = (position.topic.to_vec(), position.address.to_vec());
                let known = self.committed.entry(known).or_insert(Committed { timestamp_ms: 0, next: 0 });
                *known = message.committed().unwrap().max(*known);
                let Committed { timestamp_ms, next } = *known;
                let position = Position::new(requester, position.address, TOPIC, next);
                // Only the member's own address is a ZeroMQ topic to which it subscribes.
                let to = requester[..32].to_vec();
                self.send_message(&to, &Message::CommitAck { position, timestamp_ms, store: STORE }, None);
            }
            _ => {}
        }
    }

    /// Under `earliest`, an application has received all records of a slot before its committed position.
    fn check_commit(&self, position: &Position) {
        let group_name = self.group_by.group_name(b"group");
        let Some(slot) = slot_of_name(&group_name, position.topic).filter(|_| self.start == Start::Earliest)
        else {
            return;
        };
        let partition = u64::from(position.address[position.address.len() - 1] - b'0');
        let name = PartitionName { topic: TOPIC, producer: position.address };
        let first_slot = self.group_by.first_slot(name);
        for offset in 0..position.sequence {
            let id = (partition, offset);
            let is_of_slot = self.group_by.slot_of(first_slot, offset, self.key(id)) == slot;
            assert!(
                !is_of_slot || self.handled.contains_key(&id),
                "{id:?} of slot {slot} was skipped at {}: {position:?}",
                self.now_ms
            );
        }
    }

    fn deliver(&mut self) {
        while let Some(entry) = self.flying.first_entry().filter(|entry| entry.key().0 <= self.now_ms) {
            let (to, frame, content) = entry.remove();
            if to == STORE {
                self.respond(&frame);
                continue;
            }
            let Some(number) = self.members.iter().position(|member| member.address == to) else { continue };
            let member = &mut self.members[number];
            if member.frozen_until_ms > self.now_ms {
                let until_ms = member.frozen_until_ms;
                self.sent += 1;
                self.flying.insert((until_ms, self.sent), (to, frame, content));
                continue;
            }
            let message = Message::decode(&frame).unwrap();
            match message {
                Message::Position { .. } | Message::CommitAck { .. } => {
                    member.consumer.handle_position(&message, self.now_ms);
                }
                Message::Member { .. } => member.consumer.handle_member(&message, self.now_ms),
                // Lost: it is requested later.
                _ if member.consumer.is_waiting() || member.is_leaving => {}
                _ => {
                    let (mut out, mut deliveries) = (Outbox::new(), Vec::new());
                    let own_ms = member.own_ms;
                    let consumer = &mut member.consumer;
                    consumer.handle_message(&message, content, UNKNOWN, own_ms, &mut out, &mut deliveries);
                    member.take(deliveries, self.group_by);
                    self.post(number, out);
                }
            }
        }
    }

    /// Sends what a member has published.
    fn post(&mut self, number: usize, mut out: Outbox<Run>) {
        let from = self.members[number].address.clone();
        let is_cut = self.members[number].cut_until_ms > self.now_ms;
        let mut frames = Vec::new();
        out.drain(|frame, _| frames.push(frame.to_vec()));
        for frame in frames {
            if frame[0] != id::MEMBER {
                self.send(&from, STORE, &frame, None);
                continue;
            }
            let others: Vec<_> = self.members.iter().filter(|other| other.address != from).collect();
            let reached: Vec<_> = others
                .iter()
                .filter(|other| !is_cut && other.cut_until_ms <= self.now_ms)
                .filter(|other| !self.is_link_cut(&from, &other.address))
                .map(|other| other.address.clone())
                .collect();
            reached.iter().for_each(|to| self.send(&from, to, &frame, None));
        }
    }

    fn is_link_cut(&self, from: &[u8], to: &[u8]) -> bool {
        let until_ms = self.cut_links.get(&(from.to_vec(), to.to_vec()));
        until_ms.is_some_and(|until_ms| *until_ms > self.now_ms)
    }

    /// One turn of a member and of its application. Returns false when the member has left.
    fn turn(&mut self, number: usize) -> bool {
        let now_ms = self.now_ms;
        let member = &mut self.members[number];
        if member.frozen_until_ms > now_ms {
            return true;
        }
        let (mut out, mut deliveries) = (Outbox::new(), Vec::new());
        if !member.consumer.is_waiting() && !member.is_leaving {
            member.own_ms += 1;
            member.consumer.handle_timeout(member.own_ms, &mut out, &mut deliveries);
            member.take(deliveries, self.group_by);
        }
        member.consumer.handle_positions_timeout(now_ms, &mut out);
        let revoked = member.consumer.take_revoked();
        member.queue.retain(|job| !revoked.contains(job.slot));
        if member.consumer.is_releasing() {
            member.commit(now_ms);
            let current = member.current.iter().map(|(job, _)| job.slot);
            let busy = current.fold(Slots::NONE, |busy, slot| busy.and(Slots::of(slot)));
            member.consumer.handle_busy(busy, now_ms);
        }
        if now_ms >= member.commit_ms {
            member.commit_ms = now_ms + COMMIT_INTERVAL_MS;
            member.commit(now_ms);
        }
        // The application.
        if let Some((job, _)) = member.current.take_if(|(_, until_ms)| now_ms >= *until_ms) {
            let next = member.processed.entry((job.id.0, job.slot)).or_insert(0);
            *next = (job.id.1 + 1).max(*next);
        }
        let mut taken = None;
        if member.current.is_none() && !member.is_leaving {
            taken = member.queue.pop_front();
        }
        if let Some(job) = taken {
            let long = self.random.below(1_500) == 0;
            let until_ms = now_ms + if long { 700 } else { self.random.below(3) };
            self.handled.entry(job.id).or_default().push(number as u64);
            self.order.push(job.id);
            self.members[number].current = Some((job, until_ms));
        }
        let member = &mut self.members[number];
        let mut has_left = false;
        if member.is_leaving && member.current.is_none() {
            member.commit(now_ms);
            let (serial, confirmed) = member.consumer.commits();
            has_left = serial == confirmed;
            if has_left {
                member.consumer.leave_group(&mut out);
            }
        }
        self.post(number, out);
        if has_left {
            self.members.remove(number);
        }
        !has_left
    }

    fn step(&mut self) {
        self.deliver();
        let mut number = 0;
        while number < self.members.len() {
            number += usize::from(self.turn(number));
        }
        self.now_ms += 1;
    }

    fn has_accident(&mut self, accidents: Accidents) {
        let number = self.random.below(self.members.len() as u64) as usize;
        let ms = 100 + self.random.below(1_500);
        match self.random.below(4) {
            3 if accidents.cuts => {
                let other = self.random.below(self.members.len() as u64) as usize;
                let link = [number, other].map(|number| self.members[number].address.clone());
                // The members must handle all records before the link returns.
                self.cut_links.insert(link.into(), u64::MAX);
            }
            0 if accidents.kills && self.members.len() > 1 => drop(self.members.remove(number)),
            1 if accidents.freezes => self.members[number].frozen_until_ms = self.now_ms + ms,
            2 if accidents.cuts => self.members[number].cut_until_ms = self.now_ms + ms,
            _ => {}
        }
    }

    /// Runs a group in which members join and leave all the time. Returns the largest number of members that a record
    /// reached.
    fn run(&mut self, accidents: Accidents) -> usize {
        while self.now_ms < END_MS {
            let is_publishing = self.now_ms < PUBLISH_MS;
            if self.members.is_empty()
                || is_publishing && self.members.len() < 5 && self.random.below(1_200) == 0
            {
                self.join();
            }
            let staying = self.members.iter().filter(|member| !member.is_leaving).count();
            if is_publishing && staying > 1 && self.random.below(1_800) == 0 {
                let number = self.random.below(self.members.len() as u64) as usize;
                self.members[number].is_leaving = true;
            }
            // Under `latest`, the partitions begin after the subscription of the first member.
            if is_publishing
                && (self.start == Start::Earliest || self.now_ms > 1_000)
                && self.random.below(12) == 0
            {
                self.publish();
            }
            if is_publishing && self.now_ms > 2_000 && self.random.below(700) == 0 {
                self.has_accident(accidents);
            }
            self.step();
            let published: usize = self.records.iter().map(Vec::len).sum();
            if !is_publishing && self.handled.len() == published && self.members.iter().all(Member::is_idle) {
                break;
            }
        }
        self.handled.values().map(Vec::len).max().unwrap_or_default()
    }

    fn missing(&self) -> Vec<Id> {
        let ids = (0..PARTITION_COUNT).flat_map(|partition| {
            (0..self.records[partition as usize].len() as u64).map(move |offset| (partition, offset))
        });
        ids.filter(|id| !self.handled.contains_key(id)).collect()
    }

    fn key(&self, (partition, offset): Id) -> &[u8] {
        self.records[partition as usize][offset as usize].key.as_deref().unwrap_or_default()
    }
}

impl Member {
    fn is_idle(&self) -> bool {
        self.queue.is_empty() && self.current.is_none()
    }

    fn take(&mut self, deliveries: Vec<Delivery<Run>>, group_by: GroupBy) {
        for Delivery { partition, offset, content } in deliveries {
            let name = self.consumer.partition(partition);
            let (first_slot, digit) = (group_by.first_slot(name), name.producer[name.producer.len() - 1]);
            let mut next = offset;
            content.for_each_key(|key| {
                let slot = group_by.slot_of(first_slot, next, key);
                self.queue.push_back(Job { id: (u64::from(digit - b'0'), next), slot });
                next += 1;
            });
        }
    }

    fn commit(&mut self, now_ms: u64) {
        for ((partition, slot), next) in self.processed.drain() {
            let producer = producer(partition);
            let name = PartitionName { topic: TOPIC, producer: &producer };
            self.consumer.commit_slot(name, slot, next, now_ms);
        }
        self.consumer.commit_skipped(now_ms);
    }
}

fn all_ways() -> impl Iterator<Item = (GroupBy, Start)> {
    let ways = [GroupBy::Offset, GroupBy::Key, GroupBy::Partition];
    ways.into_iter().flat_map(|by| [Start::Earliest, Start::Latest].map(|start| (by, start)))
}

#[test]
fn members_that_come_and_go_handle_each_record_exactly_once() {
    for seed in 0..3 {
        for (group_by, start) in all_ways() {
            let mut cluster = Cluster::new(seed, group_by, start);
            let most = cluster.run(Accidents::default());
            let about = format!("seed {seed}, {group_by:?}, {start:?}, {} members", cluster.member_count);
            assert_eq!(cluster.missing(), [], "{about}");
            let repeated: Vec<_> = cluster.handled.iter().filter(|(_, by)| by.len() > 1).collect();
            assert_eq!(most, 1, "{about}: {repeated:?}");
            assert!(
                cluster.member_count > 2 && cluster.handled.len() > 5_000,
                "{about}: too little happened"
            );
        }
    }
}

#[test]
fn members_that_die_freeze_or_are_cut_off_lose_no_record() {
    let accidents = Accidents { kills: true, freezes: true, cuts: true };
    let mut repeated = 0;
    for seed in 100..103 {
        for (group_by, start) in all_ways() {
            let mut cluster = Cluster::new(seed, group_by, start);
            repeated += usize::from(cluster.run(accidents) > 1);
            assert_eq!(cluster.missing(), [], "seed {seed}, {group_by:?}, {start:?}");
        }
    }
    assert!(repeated > 0, "the accidents had no effect");
}

/// What the documents say about order.
#[test]
fn the_records_of_a_key_or_of_a_partition_stay_in_order() {
    for (group_by, seed) in [(GroupBy::Key, 7), (GroupBy::Partition, 8)] {
        let mut cluster = Cluster::new(seed, group_by, Start::Earliest);
        cluster.run(Accidents::default());
        let mut last = HashMap::new();
        for &id in &cluster.order {
            let key = if group_by == GroupBy::Key { cluster.key(id) } else { b"" };
            if group_by == GroupBy::Key && key.is_empty() {
                continue;
            }
            let before = last.insert((id.0, key), id.1);
            assert!(before < Some(id.1), "{group_by:?}: {id:?} after {before:?}");
        }
        let partitions: BTreeSet<u64> = cluster.order.iter().map(|id| id.0).collect();
        assert_eq!(partitions.len() as u64, PARTITION_COUNT);
    }
}
