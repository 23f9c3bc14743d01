//! The members of a beacon: the nodes of a process that share the beacon, see [`shared`](super::shared).
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

    /// How many peers a new member will have: as many as an older one that exchanges the same messages. `None` when
    /// there is no such member.
    pub(super) fn expected_peer_count(&self, id: Id, now_ms: u64) -> Option<usize> {
        let traffic = self.members.get(&id)?.traffic();
        let (_, ids) = self.by_traffic.iter().find(|(known, _)| *known == traffic)?;
        let oldest = ids.first().filter(|&&oldest| oldest != id)?;
        self.members.get(oldest)?.settled_peer_count(now_ms)
    }

    /// The members that exchange messages with the sender of a beacon. If its `traffic` is unknown, it may exchange
    /// messages with all members.
    pub(super) fn interested(&self, sender: &[u8], endpoint: &str, traffic: Option<Traffic>) -> Vec<Id> {
        let classes = self.by_traffic.iter().filter(|(own, _)| may_exchange(*own, traffic));
        let ids = classes.flat_map(|(_, ids)| ids);
        let wants =
            |id: &&Id| self.members.get(id).is_some_and(|member| member.wants(sender, endpoint, traffic));
        ids.filter(wants).copied().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::actor::beacon::{Owner, Reporter, Reports};
    use crate::actor::directory::Directory;
    use crate::net::reconnect::ConnectionEvent;
    use crate::net::{Kind, Monitor, Socket, now_ms};
    use crate::protocol::subscriptions;
    use crate::settings::Settings;
    use std::sync::{Arc, Mutex};

    const ENDPOINT: &str = "tcp://127.0.0.1:1";

    struct Node {
        subscriber: Socket,
        reports: Reports,
        // libzmq writes to the monitor until it is stopped.
        _monitor: Arc<Mutex<Monitor>>,
    }

    impl Drop for Node {
        fn drop(&mut self) {
            self.subscriber.stop_monitor();
        }
    }

    fn add(members: &mut Members, traffic: Traffic, address: &[u8]) -> (Id, Node) {
        let (settings, _) = Settings::read(|_| None);
        let subscriber = Socket::new(Kind::SUB).unwrap();
        let monitor = Monitor::start(&subscriber, ConnectionEvent::MONITORED).unwrap();
        let monitor = Arc::new(Mutex::new(monitor));
        let (reporter, reports) = Reporter::new().unwrap();
        let (reports_to, directory) = (Arc::new(reporter), Directory::default());
        let owner = Owner { monitor: monitor.clone(), reports: reports_to, traffic, directory };
        let id = members.add(Member::new("Test", &settings.beacon, Some(owner)));
        members.start(id, address, 1, &[]);
        (id, Node { subscriber, reports, _monitor: monitor })
    }

    /// Towers of 0.1.0 do not forward the traffic.
    #[test]
    fn members_do_not_connect_to_members_with_which_they_exchange_nothing() {
        let (producer, consumer) =
            (subscriptions::PRODUCER, subscriptions::consumer_traffic(false, subscriptions::Named::No));
        let mut members = Members::default();
        let nodes = [(producer, b"P1"), (producer, b"P2"), (consumer, b"C1"), (consumer, b"C2")];
        let nodes = nodes.map(|(traffic, address)| add(&mut members, traffic, address));
        let ids = nodes.each_ref().map(|(id, _)| *id);
        let interested = |members: &Members, sender: &[u8]| {
            members.interested(sender, ENDPOINT, members.traffic_of(sender))
        };
        assert_eq!(interested(&members, b"P1"), ids[2..]);
        assert_eq!(interested(&members, b"C1"), ids[..2]);
        assert_eq!(interested(&members, b"unknown"), ids);
        // A tower may still announce a member that has ended.
        members.remove(ids[2]);
        assert_eq!(interested(&members, b"C1"), ids[..2]);
        for _ in 0..MAX_ENDED {
            let (id, _node) = add(&mut members, producer, b"another");
            members.remove(id);
        }
        assert_eq!(interested(&members, b"C1").len(), 3, "it is forgotten");
    }

    #[test]
    fn each_member_is_ready_when_a_tower_has_sent_its_welcome_and_ends_with_the_beacon() {
        let mut members = Members::default();
        let (_, first) = add(&mut members, subscriptions::PRODUCER, b"P1");
        assert!(first.reports.poll().unwrap().is_none());
        members.handle_welcome(now_ms());
        let (_, second) = add(&mut members, subscriptions::PRODUCER, b"P2");
        for node in [&first, &second] {
            assert!(node.reports.poll().unwrap().is_some());
            assert!(node.reports.poll().unwrap().is_none());
        }
        drop(members);
        assert!([&first, &second].iter().all(|node| node.reports.poll().is_err()));
    }
}
