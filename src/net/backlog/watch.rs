//! The thread that looks at what is held of each connection.

use super::connection::{Connection, Id, arrived, per};
use super::door::{Door, Step};
use super::growth::Growth;
use super::hosts::Hosts;
use super::rest::{Load, Rest};
use super::{Address, Place, SMALL_BYTES, Side, Taken, lock, sides};
use crate::net::descriptors::{Descriptors, end_connection, socket_number};
use crate::net::guard::thread_time;
use crate::net::{Peer, Warning, now_ms};
use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::os::fd::RawFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// What a connection may receive per second and never hand to its node: heartbeats.
const COMMANDS_BYTES_PER_S: u64 = 32;
/// How often the names of hosts are looked at.
const NAMES_INTERVAL: Duration = Duration::from_secs(1);
/// How many times as much as may be subscribed to at a node a connection may bring before its node has read everything.
/// Subscriptions are a quarter longer on the wire than they count.
const UNREAD_FACTOR: u64 = 2;
/// How long a long frame may take while other connections have to wait for it.
const MAX_LONG_FRAME: Duration = Duration::from_secs(60);

/// What the thread knows.
pub(super) struct Watch {
    descriptors: Descriptors,
    pub(super) connections: HashMap<Id, Connection>,
    /// Sockets that are connections of no side.
    others: HashMap<RawFd, u64>,
    /// The changes to the sides that are known.
    changes: u64,
    sides: Vec<Arc<Side>>,
    /// Those of them that listen.
    listeners: Vec<Arc<Side>>,
    /// What connections that have ended have left with a side, by the side's number and the connection's descriptor.
    left: HashMap<(u64, RawFd), Left>,
    /// What the nodes have taken of messages with long frames.
    taken_long_bytes: u64,
    /// The entrances of the sides that listen, by the side's number.
    doors: HashMap<u64, Door>,
    growth: Growth,
    looked: Instant,
    hosts: Hosts,
    /// When the names of hosts are looked at again.
    names_due: Instant,
    rest: Rest,
    warning: Warning,
}

/// What an ended connection has brought and its node has not taken.
#[derive(Clone, Copy, Default)]
struct Left {
    held_bytes: u64,
    /// What that counts.
    cost_bytes: u64,
}

impl Left {
    fn take(&mut self, taken_bytes: u64) {
        let held_bytes = self.held_bytes.saturating_sub(taken_bytes);
        self.cost_bytes = per(held_bytes, self.cost_bytes, self.held_bytes);
        self.held_bytes = held_bytes;
    }
}

/// What a side holds.
struct Held {
    side: Arc<Side>,
    /// Of connections that live.
    live_bytes: u64,
    /// Of connections that were ended and that libzmq may not have closed yet, or has closed.
    ended_bytes: u64,
    /// The live connection of which most octets are unknown: it may bring one long frame.
    longest: Option<(Id, u64)>,
}

impl Watch {
    pub(super) fn new(descriptors: Descriptors) -> Watch {
        Watch {
            descriptors,
            connections: HashMap::new(),
            others: HashMap::new(),
            changes: 0,
            sides: Vec::new(),
            listeners: Vec::new(),
            left: HashMap::new(),
            taken_long_bytes: 0,
            doors: HashMap::new(),
            growth: Growth::default(),
            looked: Instant::now(),
            hosts: Hosts::new(),
            names_due: Instant::now(),
            rest: Rest::new(),
            warning: Warning::default(),
        }
    }

    /// Whether the process has worked since the latest look, or that was long ago, or there are other sides.
    pub(super) fn is_due(&self) -> bool {
        self.rest.is_over() || sides().changes != self.changes
    }

    /// Looks at all connections, and ends some.
    pub(super) fn look(&mut self) -> Load {
        let start = thread_time();
        self.look_names_up();
        self.follow();
        let mut taken: HashMap<RawFd, (Taken, Arc<Side>)> = HashMap::new();
        let mut empty = HashSet::new();
        for side in &self.sides {
            if side.was_empty.swap(false, Ordering::AcqRel) {
                empty.insert(side.id);
            }
            for (file, more) in lock(&side.taken).drain() {
                self.taken_long_bytes = self.taken_long_bytes.saturating_add(more.long_bytes());
                let (sum, owner) = taken.entry(file).or_insert_with(|| (Taken::default(), side.clone()));
                sum.add(more);
                if !Arc::ptr_eq(owner, side) {
                    *owner = side.clone();
                }
            }
        }
        self.left.retain(|(side, _), _| !empty.contains(side));
        self.list();
        let received = self.measure(taken, &empty);
        let (overfull, is_busy) = self.end();
        for i in 0..self.listeners.len() {
            let side = self.listeners[i].clone();
            if let Place::Listener(address @ Address::Tcp(_)) = &side.place {
                let received_bytes = received.get(&side.id).copied().unwrap_or(0);
                let (was_empty, is_overfull) = (empty.contains(&side.id), overfull.contains(&side.id));
                self.guard(&side, address, received_bytes, was_empty, is_overfull);
            }
        }
        let load = match is_busy {
            true => Load::Much,
            false if self.is_at_rest() => Load::Little,
            false => Load::Some,
        };
        self.rest.begin(load, thread_time().saturating_sub(start));
        load
    }

    fn is_at_rest(&self) -> bool {
        let is_little = |connection: &Connection| connection.held_bytes <= SMALL_BYTES;
        let left_bytes: u64 = self.left.values().map(|left| left.held_bytes).sum();
        self.connections.values().all(is_little)
            && left_bytes <= SMALL_BYTES
            && self.doors.values().all(Door::is_at_rest)
    }

    /// Looks the names of hosts up, once a second.
    fn look_names_up(&mut self) {
        let now = Instant::now();
        if now < self.names_due {
            return;
        }
        self.names_due = now + NAMES_INTERVAL;
        let names = sides().named.iter().map(|(name, _)| name.clone()).collect();
        self.hosts.look(&names, now);
        sides().add_named(&self.hosts);
    }

    /// Takes over which sides there are now.
    fn follow(&mut self) {
        let all = sides();
        if std::mem::replace(&mut self.changes, all.changes) == all.changes {
            return;
        }
        self.sides = all.by_id.values().cloned().collect();
        self.listeners = all.by_port.values().flatten().cloned().collect();
        self.others.clear();
        self.left.retain(|(side, _), _| all.by_id.contains_key(side));
        self.doors.retain(|id, _| all.by_id.contains_key(id));
        // Of several nodes that connect to one endpoint, one may have ended whose connection this was not.
        self.connections.retain(|&id, connection| {
            if all.by_id.contains_key(&connection.side.id) {
                return true;
            }
            let is_same = socket_number(id.0) == Some(id.1);
            let local = Peer::local(id.0).filter(|_| is_same);
            let other = local.and_then(|local| all.side_of(&local, &connection.peer));
            other.map(|side| connection.side = side).is_some()
        });
    }

    /// Closes the entrance of a listening socket that holds too much, or whose node does not come to the end of reading.
    fn guard(
        &mut self,
        side: &Arc<Side>,
        address: &Address,
        received_bytes: u64,
        was_empty: bool,
        is_overfull: bool,
    ) {
        let door = self.doors.entry(side.id).or_default();
        match door.look(received_bytes, was_empty, is_overfull, Instant::now()) {
            Step::Nothing => {}
            Step::Open => door.open(),
            Step::Close => {
                let is_closed = door.close(&mut self.descriptors, address);
                self.warning.warn(now_ms(), || {
                    let what = match is_closed {
                        true => "no new connections are accepted for some seconds",
                        false => "nothing can be done",
                    };
                    let name = &side.name;
                    format!("{name}: peers send subscriptions or beacons faster than they can be processed: {what}")
                });
            }
            Step::End => {
                let own = self.connections.iter().filter(|(_, connection)| {
                    // A consumer of many topics may need longer than this to be read on a slow host.
                    let allowed_bytes = side.limit_bytes.saturating_mul(UNREAD_FACTOR).max(SMALL_BYTES);
                    let is_much = connection.unread_bytes() > allowed_bytes && !connection.is_ended;
                    is_much && Arc::ptr_eq(&connection.side, side)
                });
                let victims: Vec<Id> = own.map(|(&id, _)| id).collect();
                victims.into_iter().for_each(|id| self.end_one(id));
            }
        }
    }

    /// Finds the connections that there are.
    pub(super) fn list(&mut self) {
        self.connections.values_mut().for_each(|connection| connection.is_seen = false);
        let (connections, known_others, mut others) = (&mut self.connections, &self.others, HashMap::new());
        self.descriptors.each(|file, number| {
            let Some(number) = number else { return };
            if let Some(connection) = connections.get_mut(&(file, number)) {
                connection.is_seen = true;
                return;
            }
            if known_others.get(&file) == Some(&number) {
                others.insert(file, number);
                return;
            }
            // A socket that is not connected yet may become anything.
            let (Some(local), Some(peer)) = (Peer::local(file), Peer::of(file)) else { return };
            match sides().side_of(&local, &peer) {
                Some(side) => drop(connections.insert((file, number), Connection::new(side, peer))),
                None => drop(others.insert(file, number)),
            }
        });
        self.others = others;
        let left = &mut self.left;
        connections.retain(|id, connection| {
            if !connection.is_seen && connection.held_bytes > 0 {
                let left = left.entry((connection.side.id, id.0)).or_default();
                left.held_bytes = left.held_bytes.saturating_add(connection.held_bytes);
                left.cost_bytes = left.cost_bytes.saturating_add(connection.cost_bytes());
            }
            connection.is_seen
        });
    }

    /// Finds out what is held of each connection. Returns what was received since the last look, by side.
    pub(super) fn measure(
        &mut self,
        mut taken: HashMap<RawFd, (Taken, Arc<Side>)>,
        empty: &HashSet<u64>,
    ) -> HashMap<u64, u64> {
        let mut received: HashMap<u64, u64> = HashMap::new();
        // What is granted for less than a second is granted later.
        let seconds = self.looked.elapsed().as_secs();
        self.looked += Duration::from_secs(seconds);
        let granted_bytes = seconds * COMMANDS_BYTES_PER_S;
        for (&id, connection) in &mut self.connections {
            let taken = taken.remove(&id.0).map_or(Taken::default(), |(taken, owner)| {
                connection.side = owner;
                taken
            });
            // Of a connection that has ended since it was listed nothing more is known, and of one that was ended here,
            // nothing more is read.
            let arrived = if connection.is_ended { None } else { arrived(id, connection.taken_bytes()) };
            let (arrived, in_kernel_bytes) = arrived.unwrap_or_else(|| connection.latest_arrived());
            if empty.contains(&connection.side.id) {
                connection.was_empty();
            }
            let (received_bytes, surplus_bytes) =
                connection.update(arrived, taken, granted_bytes, in_kernel_bytes);
            *received.entry(connection.side.id).or_default() += received_bytes;
            take_left(&mut self.left, (connection.side.id, id.0), surplus_bytes);
        }
        // What is left to be taken came over connections that have ended.
        for (file, (taken, owner)) in taken {
            take_left(&mut self.left, (owner.id, file), taken.len_bytes);
        }
        received
    }

    /// Ends connections of sides that hold too much. Returns these sides, and whether one holds much of what it may.
    pub(super) fn end(&mut self) -> (HashSet<u64>, bool) {
        let (mut held, mut unknown) = (self.held(), (0, None));
        for (&id, connection) in &self.connections {
            if connection.side.takes_long_frames() && !connection.is_ended {
                let unknown_bytes = connection.unknown_bytes();
                unknown.0 += unknown_bytes;
                unknown.1 = unknown.1.max(Some((unknown_bytes, id)));
            }
        }
        let mut victims = Vec::new();
        if self.growth.is_excessive(unknown.0, self.taken_long_bytes) {
            victims.extend(unknown.1.map(|(_, id)| id));
        }
        let is_busy = held.values().any(Held::is_much);
        held.retain(|_, held| held.is_too_much());
        held.values().for_each(|held| victims.extend(self.victims(held)));
        victims.into_iter().for_each(|id| self.end_one(id));
        (held.into_keys().collect(), is_busy)
    }

    /// What each side holds.
    fn held(&self) -> HashMap<u64, Held> {
        let mut left: HashMap<u64, u64> = HashMap::new();
        for (&(side, _), of_one) in &self.left {
            *left.entry(side).or_default() += of_one.cost_bytes;
        }
        let mut all: HashMap<u64, Held> = HashMap::new();
        for (&id, connection) in &self.connections {
            if connection.held_bytes == 0 {
                continue;
            }
            let held = all.entry(connection.side.id).or_insert_with(|| {
                let ended_bytes = left.get(&connection.side.id).copied().unwrap_or(0);
                Held { side: connection.side.clone(), live_bytes: 0, ended_bytes, longest: None }
            });
            if connection.is_ended {
                held.ended_bytes += connection.cost_bytes();
                continue;
            }
            held.live_bytes += connection.cost_bytes();
            let unknown_bytes = connection.unknown_bytes();
            if connection.side.takes_long_frames()
                && held.longest.is_none_or(|(_, longest_bytes)| unknown_bytes > longest_bytes)
            {
                held.longest = Some((id, unknown_bytes));
            }
        }
        all
    }

    /// The connections to end of a side that holds too much: those that hold most, until the others have room beside what
    /// the ended ones have left. One connection may hold a long frame, unless that takes too long.
    fn victims(&self, held: &Held) -> Vec<Id> {
        let (longest, excused_bytes) = (held.longest.map(|(id, _)| id), held.excused_bytes());
        let mut own = Vec::new();
        for (&id, connection) in &self.connections {
            if connection.side.id != held.side.id || connection.is_ended || connection.held_bytes == 0 {
                continue;
            }
            let is_longest = Some(id) == longest;
            if is_longest
                && connection.unknown_bytes() > SMALL_BYTES
                && connection.latest_at().elapsed() > MAX_LONG_FRAME
            {
                return vec![id];
            }
            own.push((connection.cost_bytes() - if is_longest { excused_bytes } else { 0 }, id));
        }
        own.sort_unstable_by(|one, other| other.cmp(one));
        let room_bytes = held.room_bytes();
        let mut left_bytes = held.live_bytes - excused_bytes;
        let is_victim = |&(cost_bytes, _): &(u64, Id)| {
            let is_too_much = left_bytes > room_bytes;
            left_bytes -= cost_bytes;
            is_too_much
        };
        own.into_iter().take_while(is_victim).map(|(_, id)| id).collect()
    }

    fn end_one(&mut self, id: Id) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        // One that cannot be ended now is tried again at the next look.
        connection.is_ended = end_connection(id.0, id.1);
        let is_ended = connection.is_ended;
        if !is_ended && socket_number(id.0) != Some(id.1) {
            // libzmq has closed it meanwhile.
            return;
        }
        self.warning.warn(now_ms(), || {
            let (name, peer, held) = (&connection.side.name, &connection.peer, connection.held_bytes);
            let what = if is_ended { "was ended" } else { "cannot be ended" };
            format!(
                "{name}: the connection with {peer} {what}: {held} octets that it brought wait to be processed, which is \
                 too much"
            )
        });
    }
}

/// The node has taken so much of what an ended connection had left.
fn take_left(left: &mut HashMap<(u64, RawFd), Left>, key: (u64, RawFd), taken_bytes: u64) {
    let Entry::Occupied(mut entry) = left.entry(key) else { return };
    entry.get_mut().take(taken_bytes);
    if entry.get().held_bytes == 0 {
        entry.remove();
    }
}

impl Held {
    fn counted_bytes(&self) -> u64 {
        self.live_bytes - self.excused_bytes() + self.ended_bytes
    }

    fn is_too_much(&self) -> bool {
        self.counted_bytes() > self.side.limit_bytes
    }

    fn is_much(&self) -> bool {
        self.counted_bytes() > self.side.limit_bytes / 16
    }

    /// What the connections may go on to hold that are not ended when all hold too much. At a socket that listens, little:
    /// libzmq processes what it has read of ended connections too, before anything else.
    fn room_bytes(&self) -> u64 {
        let room_bytes = self.side.limit_bytes.saturating_sub(self.ended_bytes);
        match self.side.place {
            Place::Listener(_) => SMALL_BYTES,
            Place::Endpoints(_) => room_bytes.max(SMALL_BYTES),
        }
    }

    /// How much of what is held may be one long frame.
    fn excused_bytes(&self) -> u64 {
        self.longest.map_or(0, |(_, unknown_bytes)| unknown_bytes.min(self.side.max_frame_len_bytes))
    }
}
