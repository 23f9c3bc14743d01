//! Invariant 7, groups of consumers: when their members come and go, and what they have done with each record.
//!
//! The part of the plan is drawn after all other parts. So a seed that draws no group makes the same run as if this file
//! did not exist.

use super::clock::{MS, SECOND, Time};
use super::faults::{Action, Plan, TOPICS, count};
use super::model::{Model, Name, Partition};
use super::network::{NodeId, Weather};
use super::nodes::Turn;
use super::random::Random;
use dafka::partition_name::PartitionName;
use dafka::protocol::consumer::Start;
use dafka::slots::{GroupBy, SLOT_COUNT, Slots, slot_of_name};
use dafka::wire::Message;
use std::collections::{BTreeMap, BTreeSet};

pub(crate) const GROUP: &[u8] = b"group";
/// The most members at a time.
pub(crate) const MAX_MEMBERS: usize = 5;

/// So many records never wait for an application.
const NO_LIMIT: usize = 1_000_000;

/// How a group works.
#[derive(Clone, Debug)]
pub(crate) struct GroupPlan {
    pub(crate) group_by: GroupBy,
    pub(crate) start: Start,
    pub(crate) topics: Vec<&'static [u8]>,
    pub(crate) handover_ms: u64,
    /// How many records may wait for the application of a member.
    pub(crate) max_waiting: usize,
    /// How long an application takes at most for some records.
    pub(crate) pace_ms: u64,
    /// Nothing fails that concerns the group. Then each record is handled exactly once, and in order in its slot.
    pub(crate) is_quiet: bool,
}

impl Plan {
    /// Adds a group in a fifth of the runs.
    pub(super) fn groups(&mut self, random: &mut Random) {
        if !random.chance(200) {
            return;
        }
        let can_be_quiet = !self.has_hostiles
            && !self.has_twins
            && !self.is_crowded
            && self.begun.is_empty()
            && self.ways.is_empty();
        let is_quiet = random.chance(400) && can_be_quiet;
        // No node has the first record of partitions with large offsets.
        let is_earliest = random.chance(600) && self.begun.is_empty();
        self.group = Some(GroupPlan {
            group_by: random.pick(&[GroupBy::Offset, GroupBy::Key, GroupBy::Partition]),
            start: if is_earliest { Start::Earliest } else { Start::Latest },
            topics: match random.chance(600) {
                true => TOPICS.to_vec(),
                false => (0..random.between(1, 3)).map(|_| random.pick(&TOPICS)).collect(),
            },
            handover_ms: if is_quiet { 60_000 } else { random.pick(&[1_000, 8_000, 30_000]) },
            max_waiting: random.pick(&[20, 1_000, NO_LIMIT]),
            pace_ms: random.pick(&[5, 100, 1_000]),
            is_quiet,
        });
        if is_quiet {
            self.spare_the_group();
        }
        self.keep_publishing(random);
        for _ in 0..random.between(2, MAX_MEMBERS as u64) {
            let at = random.below(self.calm_at / 2);
            self.actions.push((at, Action::JoinGroup));
        }
        let changes = if is_quiet { 12 } else { 6 };
        for _ in 0..random.below(changes) {
            self.at(random, Action::JoinGroup);
        }
        for _ in 0..random.below(changes) {
            let member = random.next();
            self.at(random, Action::LeaveGroup { member });
        }
        let (crashes, stalls) = (count(random, 4), count(random, 4));
        for _ in 0..if is_quiet { 0 } else { crashes } {
            let member = random.next();
            self.at(random, Action::CrashMember { member });
        }
        for _ in 0..stalls {
            let (member, lasts) = (random.next(), random.pick(&[300 * MS, 3 * SECOND, 20 * SECOND]));
            self.at(random, Action::StallMember { member, lasts });
        }
    }

    /// Makes producers publish all the time, so that members often have records when slots move.
    fn keep_publishing(&mut self, random: &mut Random) {
        let is_start = |action: &Action| matches!(action, Action::StartProducer { .. });
        let producers = self.actions.iter().filter(|(_, action)| is_start(action)).count() as u64;
        let most = random.pick(&[3, 30]);
        for _ in 0..random.between(20, 60) {
            let lens_bytes = (0..random.between(1, most)).map(|_| random.below(100) as usize).collect();
            let producer = random.below(producers);
            self.at(random, Action::Publish { producer, lens_bytes });
        }
        // Positions of slots without records are committed only far behind the place where a member reads.
        if random.chance(200) {
            let lens_bytes = (0..3_000).map(|_| random.below(20) as usize).collect();
            let producer = random.below(producers);
            self.at(random, Action::Publish { producer, lens_bytes });
        }
    }

    /// Leaves only the actions that do not concern a group.
    fn spare_the_group(&mut self) {
        self.actions.retain(|(_, action)| {
            matches!(
                action,
                Action::StartStore
                    | Action::StartProducer { .. }
                    | Action::StartConsumer { .. }
                    | Action::Publish { .. }
                    | Action::EndProducer { .. }
                    | Action::CrashProducer { .. }
                    | Action::CrashConsumer { .. }
                    | Action::Resubscribe { .. }
                    | Action::Seek { .. }
                    | Action::SeekAll { .. }
                    | Action::Pause { .. }
            )
        });
        self.weather = Weather::FAIR;
        self.has_bad_starts = false;
        self.high_watermark = 1_000_000;
        let Turn { messages, answers, .. } = self.turn;
        self.turn = Turn { messages: messages.max(100), answers: answers.max(64), ..self.turn };
    }
}

/// How long a member may load the positions of a slot that it holds, see `positions::MAX_WAIT_FOR_STORE_MS`. Stores
/// without names, or with one name, never count as complete.
const MAX_LOADING: Time = 16 * SECOND;

/// What a member has announced last.
struct Announced {
    view: u64,
    held: Slots,
    /// Since when it has held these slots.
    since: Time,
}

/// What the members have done with the records of one partition.
#[derive(Default)]
struct Shared {
    /// For each record: how often an application has received it, and whether one has processed it.
    records: Vec<(u8, bool)>,
    /// Under `latest`: the highest offset at which a member has begun.
    begun: Option<u64>,
    /// By slot: all records of the slot before this offset have been processed.
    checked: BTreeMap<u8, u64>,
    /// By slot: the first record, and the one that an application has received last.
    received: BTreeMap<u8, (u64, u64)>,
}

impl Shared {
    fn record(&mut self, number: u64) -> &mut (u8, bool) {
        let number = number as usize;
        if self.records.len() <= number {
            self.records.resize(number + 1, (0, false));
        }
        &mut self.records[number]
    }

    fn is_processed(&self, number: u64) -> bool {
        self.records.get(number as usize).is_some_and(|&(_, is_processed)| is_processed)
    }
}

/// The true state of the group.
pub(crate) struct Group {
    pub(crate) plan: GroupPlan,
    pub(crate) name: Vec<u8>,
    /// When the first member that has begun to read subscribed, and the latest time at which a member did, by the clocks of
    /// their hosts.
    since_ms: Option<(i64, i64)>,
    shared: BTreeMap<Name, Shared>,
    announced: BTreeMap<NodeId, Announced>,
    /// The positions at which members have begun, in forged partitions too.
    begun: BTreeSet<(Name, u64)>,
    /// The members have presumed a partition to be older than their subscription, because no peer sent its first record in
    /// time.
    pub(crate) has_presumed_old: bool,
    /// How many records the applications have received, and how many of these more than once.
    pub(crate) received: u64,
    pub(crate) repeated: u64,
}

impl Group {
    pub(crate) fn new(plan: GroupPlan) -> Group {
        Group {
            name: plan.group_by.group_name(GROUP),
            plan,
            since_ms: None,
            shared: BTreeMap::new(),
            announced: BTreeMap::new(),
            begun: BTreeSet::new(),
            has_presumed_old: false,
            received: 0,
            repeated: 0,
        }
    }

    /// A member that has subscribed to the topics at `unix_ms` has begun to read.
    pub(crate) fn subscribe(&mut self, unix_ms: i64) {
        let (first, last) = self.since_ms.unwrap_or((unix_ms, unix_ms));
        self.since_ms = Some((first, last.max(unix_ms)));
    }

    /// How many positions members have committed because they began there.
    pub(crate) fn begun_count(&self) -> u64 {
        self.begun.len() as u64
    }

    /// The application of a member receives a record. `first` is the first offset of the partition.
    pub(crate) fn receive(&mut self, name: &Name, first: u64, offset: u64, slot: u8) -> Result<(), String> {
        if !self.shared.contains_key(name) {
            self.shared.insert(name.clone(), Shared::default());
        }
        let Some(shared) = self.shared.get_mut(name) else { return Ok(()) };
        let (count, _) = shared.record(offset - first);
        let is_repeated = *count > 0;
        *count = count.saturating_add(1);
        self.received += 1;
        self.repeated += u64::from(is_repeated);
        let first_and_last = shared.received.get(&slot).copied();
        let lowest = first_and_last.map_or(offset, |(lowest, _)| lowest.min(offset));
        shared.received.insert(slot, (lowest, offset));
        let last = first_and_last.map(|(_, last)| last);
        let at = || format!("record {offset} of {}, slot {slot}", show(name));
        if self.plan.is_quiet && is_repeated {
            return Err(format!("{} was handled twice", at()));
        }
        if self.plan.is_quiet && last.is_some_and(|last| last >= offset) {
            return Err(format!("{} was handled after {last:?}", at()));
        }
        Ok(())
    }

    /// The application of a member has processed a record that it received.
    pub(crate) fn process(&mut self, name: &Name, first: u64, offset: u64) {
        if let Some(shared) = self.shared.get_mut(name) {
            shared.record(offset - first).1 = true;
        }
    }

    /// Checks the message of a member before it is published.
    pub(crate) fn sent(
        &mut self,
        (member, now): (NodeId, Time),
        message: &Message,
        partitions: &BTreeMap<Name, Partition>,
    ) -> Result<(), String> {
        match *message {
            Message::Member { is_leaving: true, .. } => {
                self.announced.remove(&member);
            }
            Message::Member { view, held, .. } => {
                let held = Slots(held);
                let known = self.announced.get(&member).filter(|known| known.held == held);
                let since = known.map_or(now, |known| known.since);
                self.announced.insert(member, Announced { view, held, since });
            }
            Message::Commit { position, .. } => {
                let name = (position.subject.to_vec(), position.address.to_vec());
                if *position.topic == *self.name {
                    self.begun.insert((name.clone(), position.sequence));
                }
                let Some(partition) = partitions.get(&name).filter(|partition| !partition.is_forged) else {
                    return Ok(());
                };
                match slot_of_name(&self.name, position.topic) {
                    Some(slot) => return self.commit(&name, partition, slot, position.sequence),
                    None => {
                        let begun = &mut self.shared.entry(name).or_default().begun;
                        *begun = Some(position.sequence).max(*begun);
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// A member commits that all records of a slot before `next` have been processed.
    fn commit(&mut self, name: &Name, partition: &Partition, slot: u8, next: u64) -> Result<(), String> {
        let at = || format!("position {next} of slot {slot} in {}", show(name));
        if next > partition.end() {
            return Err(format!("{} was committed, after the end {}", at(), partition.end()));
        }
        let group_by = self.plan.group_by;
        let shared = self.shared.entry(name.clone()).or_default();
        let begun = if self.plan.start == Start::Latest { shared.begun } else { Some(partition.first) };
        let Some(begun) = begun else {
            return Err(format!("{} was committed, and no member has begun the partition", at()));
        };
        let checked = shared.checked.get(&slot).copied().unwrap_or(partition.first).max(begun);
        let first_slot = first_slot(group_by, name);
        for offset in checked..next {
            let number = offset - partition.first;
            let key = partition.records[number as usize].key.as_deref().unwrap_or_default();
            if group_by.slot_of(first_slot, offset, key) == slot && !shared.is_processed(number) {
                return Err(format!("{} was committed, and record {offset} is not processed", at()));
            }
        }
        shared.checked.insert(slot, next.max(checked));
        Ok(())
    }

    /// Checks that the members have processed the records of a partition before `end`. `is_due`: the group must know the
    /// partition.
    pub(crate) fn reached(&self, model: &Model, name: &Name, end: u64, is_due: bool) -> Result<(), String> {
        if !self.plan.topics.contains(&&*name.0) {
            return Ok(());
        }
        let (shared, first_slot) = (self.shared.get(name), first_slot(self.plan.group_by, name));
        let (first, last) = self.since_ms.unwrap_or((i64::MAX, i64::MAX));
        let is_new = |since_ms: i64| model.is_new(name, since_ms) && !self.has_presumed_old;
        let is_for_all = self.plan.start == Start::Earliest || is_new(last);
        // A member whose application is slow may leave before it has read of a partition. The next member then does not
        // know that the partition began while the group existed.
        let is_for_first = self.plan.is_quiet && self.plan.max_waiting == NO_LIMIT && is_new(first);
        let begun = shared.and_then(|shared| shared.begun);
        let begin = match begun {
            _ if is_for_all || is_for_first => model.first_offset,
            Some(begun) => begun,
            // The members have not heard of the partition while its producer lived.
            None if !is_due => return Ok(()),
            None => model.first_offset,
        };
        let is_missing = |offset: u64| {
            let number = offset - model.first_offset;
            if shared.is_some_and(|shared| shared.is_processed(number)) {
                return false;
            }
            let key = model.partitions[name].records[number as usize].key.as_deref();
            let slot = self.plan.group_by.slot_of(first_slot, offset, key.unwrap_or_default());
            let received = shared.and_then(|shared| shared.received.get(&slot));
            // In a run with faults, a member may not learn where the others have begun. It then begins where it would
            // begin alone.
            is_for_all || self.plan.is_quiet || received.is_some_and(|&(lowest, _)| lowest <= offset)
        };
        match (begin..end).find(|&offset| is_missing(offset)) {
            Some(missing) => {
                Err(format!("no member has processed {missing} of the {end} records of {}", show(name)))
            }
            None => Ok(()),
        }
    }

    /// Checks that the living members know each other, and that each slot has one member, which has loaded its positions.
    pub(crate) fn agree(&self, living: &[NodeId], now: Time) -> Result<(), String> {
        let mut all = Slots::NONE;
        let mut views = living.iter().map(|id| self.announced.get(id).map(|announced| announced.view));
        if let Some(first) = views.next()
            && views.any(|other| other != first)
        {
            return Err("the members of the group have different views".into());
        }
        for id in living {
            let Some(Announced { held, since, .. }) = self.announced.get(id) else {
                return Err(format!("the member {id} has not announced itself"));
            };
            if now < since + MAX_LOADING {
                return Err(format!("the member {id} may not have loaded all positions"));
            }
            if let Some(slot) = held.iter().find(|&slot| all.contains(slot)) {
                return Err(format!("two members have slot {slot}, one is {id}"));
            }
            all = all.and(*held);
        }
        match (0..SLOT_COUNT).find(|&slot| !all.contains(slot)) {
            Some(slot) => Err(format!("no member has slot {slot}")),
            None => Ok(()),
        }
    }
}

fn first_slot(group_by: GroupBy, name: &Name) -> u8 {
    group_by.first_slot(PartitionName { topic: &name.0, producer: &name.1 })
}

fn show(name: &Name) -> String {
    super::invariants::show(name)
}

/// How long members may take after a fault until they agree: a silent member counts as dead, another one waits until it
/// gives up its slots, and loads their positions.
pub(crate) fn time_to_agree(plan: &Plan) -> Time {
    plan.group.as_ref().map_or(0, |group| 2 * group.handover_ms * MS + 60 * SECOND)
}
