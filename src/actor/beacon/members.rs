//! The members of a beacon: the nodes of a process that have the same towers.
//!
//! A beacon of a peer concerns only the members that exchange messages with this peer. So the work per beacon is
//! proportional to the number of connections, not to the number of members.

use super::member::Member;
use crate::protocol::discovery::may_exchange;
use crate::wire::{TowerBeacon, Traffic};
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

/// How many ended members are remembered: a tower may still announce such a member for a while.
const MAX_ENDED: usize = 100;

/// Identifies a member.
pub(super) type Id = u64;

#[derive(Default)]
pub(super) struct Members<'a> {
    members: BTreeMap<Id, Member<'a>>,
    /// The number of members that were ever added.
    added: Id,
    /// By the messages that they exchange.
    by_traffic: Vec<(Option<Traffic>, BTreeSet<Id>)>,
    /// By the address that they announce. (Two nodes with one address are a mistake.)
    by_address: HashMap<Box<[u8]>, BTreeSet<Id>>,
    /// The latest members that have ended.
    ended: VecDeque<(Box<[u8]>, Traffic)>,
    /// When each member has something to do.
    due: BTreeSet<(u64, Id)>,
    due_by_id: HashMap<Id, u64>,
    /// A tower has sent its welcome, and is not known to be gone.
    is_welcomed: bool,
}

impl<'a> Members<'a> {
    pub(super) fn add(&mut self, mut member: Member<'a>) -> Id {
        self.added += 1;
        let (id, traffic) = (self.added, member.traffic());
        if self.is_welcomed {
            member.become_ready();
        }
        match self.by_traffic.iter_mut().find(|(known, _)| *known == traffic) {
            Some((_, ids)) => drop(ids.insert(id)),
            None => self.by_traffic.push((traffic, BTreeSet::from([id]))),
        }
        self.members.insert(id, member);
        self.settle(id);
        id
    }

    pub(super) fn remove(&mut self, id: Id) {
        let Some(member) = self.members.remove(&id) else { return };
        self.by_traffic.retain_mut(|(_, ids)| {
            ids.remove(&id);
            !ids.is_empty()
        });
        self.forget_address(id, &member);
        if let (Some(address), Some(traffic)) = (member.address(), member.traffic()) {
            self.ended.push_back((address.into(), traffic));
            if self.ended.len() > MAX_ENDED {
                self.ended.pop_front();
            }
        }
        if let Some(due_ms) = self.due_by_id.remove(&id) {
            self.due.remove(&(due_ms, id));
        }
    }

    fn forget_address(&mut self, id: Id, member: &Member) {
        let Some(address) = member.address() else { return };
        if let Some(ids) = self.by_address.get_mut(address) {
            ids.remove(&id);
            if ids.is_empty() {
                self.by_address.remove(address);
            }
        }
    }

    /// Announces a member from now on.
    pub(super) fn start(&mut self, id: Id, address: &[u8], port: u16, ignored: &[&[u8]]) {
        self.conceal(id);
        self.by_address.entry(address.into()).or_default().insert(id);
        self.change(id, |member| member.start(address, port, ignored));
    }

    /// Announces a member no longer.
    pub(super) fn conceal(&mut self, id: Id) {
        if let Some(mut member) = self.members.remove(&id) {
            self.forget_address(id, &member);
            member.conceal();
            self.members.insert(id, member);
        }
        self.settle(id);
    }

    pub(super) fn get_mut(&mut self, id: Id) -> Option<&mut Member<'a>> {
        self.members.get_mut(&id)
    }

    /// The names of all members, each once.
    pub(super) fn names(&self) -> BTreeSet<&'a str> {
        self.members.values().map(|member| member.name).collect()
    }

    /// Changes a member, and reports the change to its node.
    pub(super) fn change<R>(&mut self, id: Id, change: impl FnOnce(&mut Member<'a>) -> R) -> Option<R> {
        let result = self.members.get_mut(&id).map(change);
        self.settle(id);
        result
    }

    fn change_all(&mut self, change: impl Fn(&mut Member<'a>)) {
        self.members.values_mut().for_each(change);
        let ids: Vec<Id> = self.members.keys().copied().collect();
        ids.into_iter().for_each(|id| self.settle(id));
    }

    /// Reports what has changed of a member, and notes when it has something to do.
    fn settle(&mut self, id: Id) {
        let Some(member) = self.members.get_mut(&id) else { return };
        member.report();
        let due_ms = member.due_ms();
        let before = match due_ms {
            Some(due_ms) => self.due_by_id.insert(id, due_ms),
            None => self.due_by_id.remove(&id),
        };
        if before != due_ms {
            before.map(|before| self.due.remove(&(before, id)));
            due_ms.map(|due_ms| self.due.insert((due_ms, id)));
        }
    }

    /// When a member has something to do.
    pub(super) fn due_ms(&self) -> Option<u64> {
        self.due.first().map(|&(due_ms, _)| due_ms)
    }

    /// The members, `count` at most, that have something to do at `now_ms`.
    pub(super) fn due(&self, now_ms: u64, count: usize) -> Vec<Id> {
        self.due.iter().take_while(|(due_ms, _)| *due_ms <= now_ms).take(count).map(|&(_, id)| id).collect()
    }

    /// A tower has sent its welcome.
    pub(super) fn handle_welcome(&mut self, now_ms: u64) {
        self.is_welcomed = true;
        self.change_all(|member| member.handle_welcome(now_ms));
    }

    /// A tower was connected or lost. `is_none_left`: no tower is connected now.
    pub(super) fn handle_tower_lost(&mut self, is_none_left: bool, now_ms: u64) {
        self.is_welcomed &= !is_none_left;
        self.change_all(|member| member.handle_tower_lost(is_none_left, now_ms));
    }

    /// A tower has sent something. This changes nothing that is due, and reports nothing.
    pub(super) fn handle_tower_heard(&mut self, now_ms: u64) {
        self.members.values_mut().for_each(|member| member.handle_tower_heard(now_ms));
    }

    /// Reports a beacon in the name of a member that comes from another node.
    pub(super) fn note_twins(&mut self, beacon: &TowerBeacon) {
        let Some(ids) = self.by_address.get(beacon.sender) else { return };
        for id in ids.clone() {
            self.change(id, |member| member.note_twin(beacon));
        }
    }

    /// The traffic of a member, also of one that has ended recently. A tower of 0.1.0 does not forward it.
    pub(super) fn traffic_of(&self, address: &[u8]) -> Option<Traffic> {
        let member = self.by_address.get(address).and_then(BTreeSet::first);
        match member.and_then(|id| self.members.get(id)) {
            Some(member) => member.traffic(),
            None => self.ended.iter().find(|(ended, _)| **ended == *address).map(|&(_, traffic)| traffic),
        }
    }

    /// The members that exchange messages with the sender of a beacon. If its `traffic` is unknown, it may exchange
    /// messages with all members.
    pub(super) fn interested(&self, sender: &[u8], endpoint: &str, traffic: Option<Traffic>) -> Vec<Id> {
        let classes = self.by_traffic.iter().filter(|(own, _)| may_exchange(*own, traffic));
        let ids = classes.flat_map(|(_, ids)| ids);
        let wants = |id: &&Id| self.members.get(id).is_some_and(|member| member.wants(sender, endpoint, traffic));
        ids.filter(wants).copied().collect()
    }
}
