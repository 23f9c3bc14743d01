//! The part of a consumer that concerns its group: the members of a group share the records of their topics.
//!
//! Each record belongs to a slot ([`crate::slots`]), and each slot has one member, see [`membership`]. Each member reads
//! all partitions, and delivers the records of its own slots.
//!
//! Each slot has committed positions, as a consumer with a name has. A position says: all records of the slot before this
//! one have been processed. This is true whoever committed it, so the highest one is valid. A member gives up a slot in
//! these steps: it delivers no more records of the slot; the application processes those that it has; the member commits
//! the positions, and a store confirms them; the member announces that it no longer holds the slot. The next member then
//! requests the positions of the slot from the stores, and continues there.
//!
//! A member reads a partition once for all its slots. So when it gets a slot, it goes back to the position of the slot.
//! The other slots are ahead of the reader then: until the reader has caught up, their records are dropped.

use super::positions::Positions;
use super::topics::Rule;
use super::{Consumer, Delivery, Start};
use crate::partition_name::{PartitionName, SharedPartitionName};
use crate::protocol::ingest::Index;
use crate::protocol::ingest::evicted_positions::Evicted;
use crate::protocol::notice::Notice;
use crate::protocol::{Outbox, Payload};
use crate::slots::{GroupBy, SLOT_COUNT, Slots, slot_of_name};
use crate::wire::{Message, Subscription, id};
use membership::Membership;
use std::collections::{BTreeMap, HashMap};

mod membership;

pub use membership::Timing;

/// The most partitions of one slot of which a consumer knows the positions.
const MAX_POSITIONS_PER_SLOT: usize = super::positions::MAX_POSITIONS / SLOT_COUNT as usize;
/// When a slot has no record among this many records of a partition, its position is committed without one. Otherwise
/// the next member would read them all.
const SKIPPED_COUNT: u64 = 1_024;
/// With this many entries, those of [`Group::read`] are dropped in which the application has processed everything.
const MAX_READ_COUNT: usize = 65_536;
/// How often to check whether the application has processed the records of slots that are given up.
const RELEASE_CHECK_MS: u64 = 5;

/// The state.
pub(super) struct Group {
    group_by: GroupBy,
    membership: Membership,
    handover_ms: u64,
    /// The slots that this member holds.
    slots: [Option<Slot>; SLOT_COUNT as usize],
    /// The slots whose records are delivered.
    active: Slots,
    /// Slots whose records were delivered until now. [`Consumer::take_revoked`] returns them.
    revoked: Slots,
    /// Commits of slots that this member no longer holds, until stores have confirmed them.
    former: BTreeMap<u8, Positions>,
    /// Under `latest`: the positions that are common to all slots, requested again for the slots that are loaded now. The
    /// former member of a slot may have begun partitions since they were requested last.
    common: Option<Positions>,
    /// Where the slots continue that are ahead of the reader of their partition.
    ahead: HashMap<SharedPartitionName, Vec<(u8, u64)>>,
    /// The partitions that were read since positions were committed last.
    read: HashMap<SharedPartitionName, ReadPartition>,
    /// The number of the latest commit.
    serial: u64,
    /// The latest time that the caller has passed to [`Consumer::handle_group_timeout`].
    now_ms: u64,
    /// The member has begun to read.
    has_begun: bool,
}

struct Slot {
    positions: Positions,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// The stores send its positions.
    Loading,
    /// Its records are delivered. What was stored about evicted partitions up to this serial number does not apply to it.
    Active(u64),
    /// Its records are no longer delivered, since this time.
    Releasing(u64),
}

/// What was delivered in a partition.
struct ReadPartition {
    /// The offset after the last record that was read.
    end: u64,
    /// For each slot, the offset after the last record that was delivered; 0 if the application has processed all of them.
    delivered: Box<[u64; SLOT_COUNT as usize]>,
}

/// The name of a group, and how its members share records.
#[derive(Clone, Debug)]
pub struct GroupConfig<'a> {
    /// The name.
    pub name: &'a [u8],
    /// What decides to which slot a record belongs.
    pub group_by: GroupBy,
    /// When members announce themselves.
    pub timing: Timing,
}

impl Group {
    fn slot(&self, slot: u8) -> Option<&Slot> {
        self.slots[usize::from(slot)].as_ref()
    }

    fn held(&self) -> Slots {
        let held = (0..SLOT_COUNT).filter(|&slot| self.slot(slot).is_some());
        held.fold(Slots::NONE, |held, slot| held.and(Slots::of(slot)))
    }

    /// All positions of slots.
    fn positions_mut(&mut self) -> impl Iterator<Item = &mut Positions> {
        let held = self.slots.iter_mut().flatten().map(|slot| &mut slot.positions);
        held.chain(self.former.values_mut()).chain(&mut self.common)
    }

    fn positions(&self) -> impl Iterator<Item = &Positions> {
        let held = self.slots.iter().flatten().map(|slot| &slot.positions);
        held.chain(self.former.values()).chain(&self.common)
    }

    /// Keeps the commits of a slot that no store has confirmed.
    fn keep_unconfirmed(&mut self, slot: u8, positions: Positions) {
        match self.former.get_mut(&slot) {
            Some(former) => former.absorb(positions),
            None => {
                let former = self.former.entry(slot).or_insert(positions);
                former.keep_unconfirmed();
            }
        }
        self.former.retain(|_, positions| positions.first_unconfirmed().is_some());
    }

    fn is_releasing(&self) -> bool {
        self.slots.iter().flatten().any(|slot| matches!(slot.state, State::Releasing(_)))
    }

    /// A slot continues at the record `next` of a partition, but not before `reader`, where the partition is read.
    fn set_ahead(&mut self, name: &SharedPartitionName, slot: u8, next: u64, reader: u64) {
        let list = self.ahead.entry(name.clone()).or_default();
        let known = list.iter().position(|(of, _)| *of == slot).map(|place| list.swap_remove(place).1);
        let next = known.map_or(next, |known| known.max(next));
        if next > reader {
            list.push((slot, next));
        }
        if list.is_empty() {
            self.ahead.remove(name);
        }
    }

    /// Delivers the records of a run that belong to the slots of this member.
    fn share_out<P: Payload>(
        &mut self,
        name: &SharedPartitionName,
        Delivery { partition, offset, content }: Delivery<P>,
        deliveries: &mut impl Extend<Delivery<P>>,
    ) {
        let Self { group_by, active, ahead, read, .. } = self;
        let end = offset + content.record_count();
        if read.len() >= MAX_READ_COUNT {
            read.retain(|_, read| read.delivered.iter().any(|&next| next > 0));
        }
        let list = if ahead.is_empty() { None } else { ahead.get_mut(name) };
        let first_slot = group_by.first_slot(name.as_name());
        if !read.contains_key(name) {
            read.insert(name.clone(), ReadPartition { end, delivered: Box::new([0; SLOT_COUNT as usize]) });
        }
        let Some(read) = read.get_mut(name) else { return };
        read.end = end;
        let keeps = |number, key: &[u8]| {
            let next = offset + number;
            let slot = group_by.slot_of(first_slot, next, key);
            let is_ahead = |list: &Vec<(u8, u64)>| list.iter().any(|(of, at)| *of == slot && next < *at);
            let is_own = active.contains(slot) && !list.as_deref().is_some_and(is_ahead);
            if is_own {
                read.delivered[usize::from(slot)] = next + 1;
            }
            is_own
        };
        let count = content.record_count();
        content.retain(keeps, |number, content| {
            // A part would keep the whole batch in memory.
            let is_whole = content.record_count() == count;
            let content = if is_whole { content } else { content.into_own_memory() };
            deliveries.extend([Delivery { partition, offset: offset + number, content }]);
        });
        if let Some(list) = list {
            list.retain(|(_, at)| *at > end);
            if list.is_empty() {
                ahead.remove(name);
            }
        }
    }
}

impl<P: Payload> Consumer<P> {
    /// Makes the consumer a member of a group. `limit` is the most partitions of which it knows where all slots begin.
    /// Otherwise as [`Consumer::named`].
    pub fn grouped(self, config: &GroupConfig, limit: usize, now_ms: u64) -> Self {
        let GroupConfig { name, group_by, timing } = *config;
        let group_name = group_by.group_name(name);
        let group = Group {
            group_by,
            membership: Membership::new(&group_name, &self.address, timing, now_ms),
            handover_ms: timing.handover_ms,
            slots: [const { None }; SLOT_COUNT as usize],
            active: Slots::NONE,
            revoked: Slots::NONE,
            former: BTreeMap::new(),
            common: None,
            ahead: HashMap::new(),
            read: HashMap::new(),
            serial: 0,
            now_ms,
            has_begun: false,
        };
        let named = self.named(&group_name, limit, now_ms);
        let positions = named.positions.map(Positions::common);
        Consumer { group: Some(Box::new(group)), positions, ..named }
    }

    /// Whether the consumer is a member of a group.
    pub fn is_grouped(&self) -> bool {
        self.group.is_some()
    }

    /// The slots whose records must no longer reach the application, since the last call. The caller must drop their
    /// unprocessed deliveries before it calls [`Consumer::handle_busy`].
    pub fn take_revoked(&mut self) -> Slots {
        self.group.as_mut().map_or(Slots::NONE, |group| std::mem::take(&mut group.revoked))
    }

    /// Whether slots are given up. The caller must then call [`Consumer::handle_busy`].
    pub fn is_releasing(&self) -> bool {
        self.group.as_ref().is_some_and(|group| group.is_releasing())
    }

    /// `busy` are the slots of which the application has records that it has not processed, or whose positions the caller
    /// has not passed to [`Consumer::commit`]. The other slots that are given up can be given up now.
    pub fn handle_busy(&mut self, busy: Slots, now_ms: u64) {
        let (Some(group), Some(base)) = (&mut self.group, &self.positions) else { return };
        let is_common_confirmed = base.first_unconfirmed().is_none();
        for slot in 0..SLOT_COUNT {
            let place = &mut group.slots[usize::from(slot)];
            let Some(Slot { positions, state: State::Releasing(since_ms) }) = place else { continue };
            let is_confirmed = is_common_confirmed && positions.first_unconfirmed().is_none();
            let is_processed = !busy.contains(slot) && is_confirmed;
            // After this time, the next member does not wait any more.
            let is_over = now_ms >= *since_ms + group.handover_ms;
            if (is_processed || is_over)
                && let Some(Slot { positions, .. }) = place.take()
            {
                group.keep_unconfirmed(slot, positions);
            }
        }
        group.membership.hold(group.held(), now_ms);
    }

    /// The member leaves its group. To be called when all its commits are confirmed, or when it stops waiting for that.
    pub fn leave_group(&mut self, out: &mut Outbox<P>) {
        if let Some(group) = &mut self.group {
            group.membership.announce(true, out);
        }
    }

    /// Handles a MEMBER.
    pub fn handle_member(&mut self, message: &Message, now_ms: u64) {
        if let (Some(group), Some(base)) = (&mut self.group, &self.positions)
            && let Message::Member { topic, address, view, held, is_leaving, is_listening } = *message
            && topic == base.name()
        {
            group.membership.handle_member(address, (view, Slots(held)), (is_leaving, is_listening), now_ms);
        }
    }

    /// Handles a subscription: another member listens from now on, or a store has connected or disconnected.
    pub(super) fn handle_group_subscription(&mut self, subscription: &Subscription, now_ms: u64) {
        let (Some(group), Some(base)) = (&mut self.group, &self.positions) else { return };
        match subscription.id {
            id::MEMBER if subscription.subscribe && subscription.topic == base.name() => {
                group.membership.handle_listener(now_ms);
            }
            id::GET_POSITIONS if subscription.topic.is_empty() => {
                group.positions_mut().for_each(|positions| {
                    positions.handle_store(subscription.subscribe, now_ms);
                });
            }
            _ => {}
        }
    }

    /// Handles a POSITION or a COMMIT-ACK of a slot. Returns false when it is for no slot.
    pub(super) fn handle_slot_position(&mut self, message: &Message, now_ms: u64) -> bool {
        let (Some(group), Some(base)) = (&mut self.group, &self.positions) else { return false };
        let Some(committed) = message.committed().filter(|committed| committed.is_possible()) else {
            return false;
        };
        let (slot, partition) = match message {
            Message::CommitAck { position, .. } => (base.slot_of_ack(position.topic), position.partition()),
            Message::Position { position, name, .. } => {
                (slot_of_name(base.name(), name), position.partition())
            }
            _ => return false,
        };
        let Some(slot) = slot else {
            if let (Some(common), Message::Position { name, store, .. }) = (&mut group.common, message)
                && common.is_name(name)
            {
                common.handle_position(partition, committed, store, now_ms);
            }
            return false;
        };
        if let Message::CommitAck { .. } = message {
            if let Some(positions) = group.former.get_mut(&slot) {
                positions.handle_ack(partition, committed, now_ms);
            }
            group.former.retain(|_, positions| positions.first_unconfirmed().is_some());
        }
        let Some(Slot { positions, state }) = &mut group.slots[usize::from(slot)] else { return true };
        let is_new = match message {
            Message::Position { store, .. } => positions.handle_position(partition, committed, store, now_ms),
            _ => positions.handle_ack(partition, committed, now_ms),
        };
        // Another member has processed these records.
        if is_new && matches!(state, State::Active(_)) {
            let name = SharedPartitionName::new(partition);
            group.set_ahead(&name, slot, committed.next, 0);
        }
        true
    }

    /// Commits that the application has processed the records of a slot in a partition up to, not including, `next`.
    pub fn commit_slot(&mut self, name: PartitionName, slot: u8, next: u64, now_ms: u64) {
        let (Some(group), Some(base)) = (&mut self.group, &self.positions) else { return };
        let Group { slots, former, serial, read, .. } = &mut **group;
        if let Some(read) = read.get_mut(&SharedPartitionName::new(name)) {
            let delivered = &mut read.delivered[usize::from(slot)];
            if *delivered <= next {
                *delivered = 0;
            }
        }
        let positions = match &mut slots[usize::from(slot)] {
            Some(slot) => &mut slot.positions,
            None => former.entry(slot).or_insert_with(|| {
                let mut positions = base.of_slot(slot, MAX_POSITIONS_PER_SLOT, now_ms);
                positions.keep_unconfirmed();
                positions
            }),
        };
        positions.continue_at(*serial);
        positions.commit(name, next, 0, now_ms);
        *serial = positions.serial();
    }

    /// Commits the positions of slots that had no records for long. To be called after the caller has passed to
    /// [`Consumer::commit`] what the application has processed.
    pub fn commit_skipped(&mut self, now_ms: u64) {
        let Some(group) = &mut self.group else { return };
        let read = std::mem::take(&mut group.read);
        if group.group_by != GroupBy::Partition {
            for (name, partition) in &read {
                self.commit_skipped_of(name, partition, now_ms);
            }
        }
        if let Some(group) = &mut self.group {
            group.read = read;
            // Records of slots that are not active any more are not pending.
            let active = group.active;
            group.read.retain(|_, read| active.iter().any(|slot| read.delivered[usize::from(slot)] > 0));
        }
    }

    fn commit_skipped_of(&mut self, name: &SharedPartitionName, partition: &ReadPartition, now_ms: u64) {
        let Some(group) = &mut self.group else { return };
        let base = self.positions.as_ref().and_then(|base| base.get(name.as_name())).unwrap_or(0);
        // A slot that is ahead of the reader has a higher position.
        let end = partition.end;
        for slot in group.active.iter().filter(|&slot| partition.delivered[usize::from(slot)] == 0) {
            let Some(Slot { positions, .. }) = &mut group.slots[usize::from(slot)] else { continue };
            let known = positions.get(name.as_name()).unwrap_or(base);
            if end >= known.saturating_add(SKIPPED_COUNT) {
                positions.continue_at(group.serial);
                positions.commit(name.as_name(), end, 0, now_ms);
                group.serial = positions.serial();
            }
        }
    }

    /// The number of the latest commit, and of the latest one up to which stores have confirmed all commits.
    pub(super) fn group_commits(&self) -> Option<(u64, u64)> {
        let group = self.group.as_ref()?;
        let all = group.positions().chain(&self.positions);
        let first = all.filter_map(Positions::first_unconfirmed).min();
        Some((group.serial, first.map_or(group.serial, |first| first - 1)))
    }

    /// Commits where a partition begins for all slots.
    pub(super) fn commit_common(&mut self, partition: Index, next: u64) {
        let Self { group: Some(group), positions: Some(base), ingest, .. } = self else { return };
        base.continue_at(group.serial);
        base.begin_at_lowest(ingest.partition(partition).name(), next);
        group.serial = base.serial();
    }

    /// The place where a partition is read was corrected, because a forged HEAD had determined it.
    pub(super) fn note_correction(&mut self, partition: Index) {
        if self.group.is_some() {
            self.commit_common(partition, self.ingest.next(partition));
        }
    }

    /// The topics of some partitions are not subscribed any more.
    pub(super) fn forget_ended_topics(&mut self) {
        let Self { group: Some(group), topics, .. } = self else { return };
        let is_subscribed = |name: &SharedPartitionName| topics.is_subscribed(name.as_name().topic);
        group.ahead.retain(|name, _| is_subscribed(name));
        group.read.retain(|name, _| is_subscribed(name));
    }

    /// True until the member may begin to read.
    pub(super) fn is_group_waiting(&self) -> bool {
        self.group.as_ref().is_some_and(|group| !group.has_begun)
    }

    /// When [`Consumer::handle_group_timeout`] must be called next.
    pub(super) fn group_due_ms(&self) -> u64 {
        let Some(group) = &self.group else { return u64::MAX };
        let positions_ms = group.positions().map(|positions| positions.due_ms().unwrap_or(u64::MAX));
        let release_ms = if group.is_releasing() { group.now_ms + RELEASE_CHECK_MS } else { u64::MAX };
        positions_ms.fold(group.membership.due_ms().min(release_ms), u64::min)
    }

    /// Takes and gives up slots, and sends what is due.
    pub(super) fn handle_group_timeout(&mut self, now_ms: u64, out: &mut Outbox<P>) {
        let (Some(group), Some(base)) = (&mut self.group, &self.positions) else { return };
        group.now_ms = now_ms;
        let is_alive = group.membership.handle_timeout(now_ms, out);
        let (wanted, kept) = (group.membership.wanted(now_ms), group.membership.kept(now_ms));
        let (mut loaded, mut has_new) = (Slots::NONE, false);
        for slot in 0..SLOT_COUNT {
            let is_wanted = wanted.contains(slot) && is_alive;
            let is_kept = kept.contains(slot) && is_alive;
            let place = &mut group.slots[usize::from(slot)];
            match place {
                None if is_wanted && group.membership.may_begin(slot, now_ms) => {
                    let positions = base.of_slot(slot, MAX_POSITIONS_PER_SLOT, now_ms);
                    *place = Some(Slot { positions, state: State::Loading });
                    has_new = true;
                }
                Some(Slot { state: State::Loading, .. }) if !is_wanted => *place = None,
                Some(Slot { state, .. }) if !is_kept && matches!(state, State::Active(_)) => {
                    *state = State::Releasing(now_ms);
                    group.active = group.active.without(Slots::of(slot));
                    group.revoked = group.revoked.and(Slots::of(slot));
                }
                _ => {}
            }
            if let Some(Slot { positions, state }) = place {
                positions.handle_timeout(now_ms, out);
                if *state == State::Loading && !positions.is_waiting() {
                    // Another member may have begun the slot meanwhile.
                    match group.membership.may_begin(slot, now_ms) {
                        true => loaded = loaded.and(Slots::of(slot)),
                        false => *place = None,
                    }
                }
            }
        }
        if has_new && matches!(self.start, Start::Latest | Start::Last(_)) {
            group.common = Some(base.again(now_ms));
        }
        if let Some(common) = &mut group.common {
            common.handle_timeout(now_ms, out);
        }
        let common = group.common.take_if(|common| !common.is_waiting());
        if group.common.is_some() || base.is_waiting() {
            loaded = Slots::NONE;
        }
        if let (Some(base), Some(common)) = (&mut self.positions, common) {
            base.learn_all(common);
        }
        group.former.values_mut().for_each(|positions| positions.handle_timeout(now_ms, out));
        group.membership.hold(group.held(), now_ms);
        self.activate(loaded);
        let Some(group) = &mut self.group else { return };
        let is_loading = group.slots.iter().flatten().any(|slot| slot.state == State::Loading);
        let is_waiting = self.positions.as_ref().is_some_and(Positions::is_waiting);
        group.has_begun |= !group.membership.is_listening(now_ms) && !is_loading && !is_waiting;
    }

    /// From now on, the records of these slots are delivered.
    fn activate(&mut self, loaded: Slots) {
        if loaded.is_empty() {
            return;
        }
        let serial = self.ingest.mark_evicted();
        let Some(group) = &mut self.group else { return };
        for slot in loaded.iter() {
            if let Some(Slot { state, .. }) = &mut group.slots[usize::from(slot)] {
                *state = State::Active(serial);
            }
            group.read.values_mut().for_each(|read| read.delivered[usize::from(slot)] = 0);
        }
        // How far the other slots were read does not apply to these.
        group.read.values_mut().for_each(|read| read.end = 0);
        group.active = group.active.and(loaded);
        group.ahead.retain(|_, list| {
            list.retain(|(of, _)| !loaded.contains(*of));
            !list.is_empty()
        });
        let open: Vec<Index> = self.ingest.partitions_of(b"").collect();
        for index in open {
            self.read_slots(index, loaded);
        }
    }

    /// Makes an open partition continue at the first position of these slots, if that is before the place where it is
    /// read.
    fn read_slots(&mut self, index: Index, loaded: Slots) {
        let name = self.ingest.partition(index).shared_name().clone();
        let Some(rule) = self.topics.rule(name.as_name().topic) else { return };
        let reader = self.ingest.next(index) - self.kept_count(index);
        let loaded = self.slots_of(name.as_name(), loaded);
        let start = |slot| Some((slot, self.position_of_slot(name.as_name(), slot, &rule)?));
        let starts: Vec<(u8, u64)> = loaded.iter().filter_map(start).collect();
        let first = starts.iter().map(|(_, start)| *start).chain([reader]).min().unwrap_or(reader);
        let others = self.group.as_ref().map_or(Slots::NONE, |group| group.active.without(loaded));
        let others = self.slots_of(name.as_name(), others);
        let Some(group) = &mut self.group else { return };
        for (slot, start) in starts {
            group.set_ahead(&name, slot, start, first);
        }
        if first < reader {
            others.iter().for_each(|other| group.set_ahead(&name, other, reader, first));
            self.forget_kept(index);
            self.ingest.seek(index, first);
            self.mark_read(index);
            // The heads of the partition are forgotten.
            self.refresh_soon(0);
        }
    }

    /// Those of the slots to which records of a partition can belong.
    fn slots_of(&self, name: PartitionName, slots: Slots) -> Slots {
        match &self.group {
            Some(group) if group.group_by == GroupBy::Partition => {
                let only = Slots::of(group.group_by.first_slot(name));
                slots.without(Slots::ALL.without(only))
            }
            _ => slots,
        }
    }

    /// Where a slot continues in a partition. `None`: where `rule` says, under `latest`.
    fn position_of_slot(&self, name: PartitionName, slot: u8, rule: &Rule) -> Option<u64> {
        let (group, base) = (self.group.as_ref()?, self.positions.as_ref()?);
        let own = group.slot(slot).and_then(|slot| slot.positions.get(name));
        own.or_else(|| base.get(name)).or(match rule.start {
            Start::Earliest => Some(0),
            Start::Offset(offset) => Some(offset),
            _ => None,
        })
    }

    /// Where each slot of this member continues in a partition that is not open.
    fn starts_of_slots(
        &self,
        name: PartitionName,
        evicted: Option<&Evicted>,
        rule: &Rule,
    ) -> Vec<(u8, Option<u64>)> {
        let Some(group) = &self.group else { return Vec::new() };
        let start = |slot| {
            let since = match group.slot(slot)?.state {
                State::Active(serial) => serial,
                _ => return None,
            };
            let evicted = evicted.filter(|evicted| evicted.serial > since).map(|evicted| evicted.next);
            Some((slot, evicted.or_else(|| self.position_of_slot(name, slot, rule))))
        };
        self.slots_of(name, group.active).iter().filter_map(start).collect()
    }

    /// Where to read a partition that is not open: at the first of its slots' positions. `None`: where `rule` says.
    pub(super) fn start_of_group(
        &self,
        name: PartitionName,
        evicted: Option<&Evicted>,
        rule: &Rule,
    ) -> Option<u64> {
        let starts = self.starts_of_slots(name, evicted, rule);
        if starts.is_empty() {
            return evicted.map(|evicted| evicted.next).or_else(|| self.positions.as_ref()?.get(name));
        }
        starts.iter().filter_map(|(_, start)| *start).min()
    }

    /// A partition was opened. Its slots may be ahead of the place where it is read.
    pub(super) fn note_opened(&mut self, index: Index, evicted: Option<&Evicted>, rule: &Rule) {
        if self.group.is_none() {
            return;
        }
        let name = self.ingest.partition(index).shared_name().clone();
        let reader = self.ingest.next(index);
        for (slot, start) in self.starts_of_slots(name.as_name(), evicted, rule) {
            if let (Some(group), Some(start)) = (&mut self.group, start) {
                group.set_ahead(&name, slot, start, reader);
            }
        }
    }

    /// Passes on the deliveries that belong to the slots of this member.
    pub(super) fn share_out(&mut self, all: Vec<Delivery<P>>, deliveries: &mut impl Extend<Delivery<P>>) {
        let Self { ingest, group, .. } = self;
        let Some(group) = group else { return };
        for delivery in all {
            group.share_out(ingest.partition(delivery.partition).shared_name(), delivery, deliveries);
        }
    }

    /// Returns a notice when the members of the group have changed, or when no store confirms commits.
    pub(super) fn poll_group_notice(&mut self, now_ms: u64) -> Option<Notice> {
        let group = self.group.as_mut()?;
        if let Some((responded, stores)) = group.positions_mut().find_map(Positions::poll_timeout) {
            return Some(Notice::PositionsMissing { responded, stores });
        }
        if let Some((members, slots)) = group.membership.poll_change(now_ms) {
            return Some(Notice::GroupChanged { members, slots });
        }
        let stalls: Vec<_> =
            group.positions_mut().filter_map(|positions| positions.poll_stall(now_ms)).collect();
        let ms = stalls.iter().map(|(_, ms)| *ms).max()?;
        Some(Notice::CommitsStalled { count: stalls.iter().map(|(count, _)| count).sum(), ms })
    }
}
