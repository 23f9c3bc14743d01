//! The committed positions of a consumer with a name.
//!
//! When the consumer starts, it requests its positions from the stores, and waits for a limited time. It publishes each
//! commit until a store has confirmed it. A commit gets a later timestamp than the commit that it replaces, also when
//! the clocks of two hosts differ.

use crate::committed::Committed;
use crate::partition_name::{PartitionName, PartitionNameBuf};
use crate::protocol::Outbox;
use crate::protocol::ingest::Index;
use crate::slots::{SLOT_COUNT, slot_name};
use crate::wire::{Message, Position};
use std::collections::{BTreeMap, HashMap, HashSet};

/// The most partitions of which a consumer knows the positions.
pub const MAX_POSITIONS: usize = 1_000_000;

/// The longest wait at the start while no store is connected.
pub const MAX_WAIT_MS: u64 = 3_000;
/// The longest wait at the start while a connected store has not sent all positions. Under `latest`, a consumer that
/// does not know a position skips records, so it rather waits for a busy store.
pub const MAX_WAIT_FOR_STORE_MS: u64 = 15_000;
/// The longest wait of a member of a group while a connected store has not sent all positions of a slot.
const MAX_WAIT_OF_MEMBER_MS: u64 = 60_000;
/// When all connected stores have responded, the consumer waits until the last store has been connected for this time,
/// because further stores may be connecting.
/// This time is longer than the default of `beacon/interval`, in which all running stores send a beacon.
pub const SETTLE_MS: u64 = 1_200;
/// The first and the greatest interval between two requests, and between two attempts to commit.
const RETRY_MS: u64 = 250;
const MAX_RETRY_MS: u64 = 5_000;
/// The most requests after a store has connected or disconnected. Two stores with one name never count as complete.
const MAX_REQUEST_COUNT: u32 = 12;
/// The timestamp of the position at which a consumer begins under `latest`. So any other commit is later.
const BEGIN_TIMESTAMP_MS: u64 = 0;
/// The greatest timestamp of a position at which all slots begin. A store whose clock begins in 1970 accepts it.
const MAX_COMMON_TIMESTAMP_MS: u64 = 1 << 34;
/// The octet for slot 0 after an address. The following octets are for the other slots.
const FIRST_SLOT: u8 = b'0';
/// The timestamp of all positions of slots. Of two commits with the same timestamp, the one with the higher position is
/// valid.
const SLOT_TIMESTAMP_MS: u64 = 1;
/// The most commits that are published at once, and the pause before the next ones.
const MAX_SENT_COUNT: usize = 1_000;
const PAUSE_MS: u64 = 10;
/// A notice reports that no store confirms commits, after this time and then in this interval.
const STALL_MS: u64 = 10_000;
const STALL_INTERVAL_MS: u64 = 60_000;

/// The positions of one consumer.
pub(super) struct Positions {
    /// The consumer's name.
    name: Box<[u8]>,
    address: Box<[u8]>,
    /// The address in COMMITs, to which stores send their COMMIT-ACKs. For a slot of a group, it is the consumer's address
    /// and the slot.
    requester: Box<[u8]>,
    /// Whether the positions are those of a slot of a group. Then the highest position is valid, whoever committed it: the
    /// records before it have been processed.
    is_of_slot: bool,
    /// Whether the positions are those at which all slots of a group begin.
    is_common: bool,
    /// Whether to wait until a store has connected: a member of a group that does not know the positions of a slot could
    /// skip records.
    needs_store: bool,
    /// The limit of `known`.
    limit: usize,
    /// The latest known commits, of this consumer and from the stores.
    known: HashMap<PartitionNameBuf, Committed>,
    /// Commits that no store has confirmed yet. Their partitions are known.
    unconfirmed: BTreeMap<PartitionNameBuf, Unconfirmed>,
    /// The number of the latest commit.
    serial: u64,
    /// The number of the first commit that was dropped, because too many partitions are known.
    dropped: Option<u64>,
    /// The latest time that the caller has passed.
    now_ms: u64,
    /// When commits must be published next.
    send_ms: Option<u64>,
    /// When the consumer last had no unconfirmed commit, or got a confirmation, or a stall was reported.
    progress_ms: u64,
    stall_ms: u64,
    /// When the wait for the stores began; `None` after the wait.
    wait_since_ms: Option<u64>,
    /// The wait has ended without the responses of all stores, and this was not reported yet.
    has_timed_out: bool,
    /// How many stores are connected that respond to GET-POSITIONS.
    store_count: usize,
    connected_ms: u64,
    /// The stores whose response is complete. A response does not reveal its connection. So this is emptied when a
    /// store connects or disconnects.
    responded: HashSet<Box<[u8]>>,
    /// When the last request was sent, and how many since a store connected or disconnected.
    requested_ms: Option<u64>,
    request_count: u32,
    /// When the next request is due, and the interval after it.
    request_ms: Option<u64>,
    interval_ms: u64,
    /// Partitions that began without a committed position, and of which no record has arrived yet.
    pub(super) unread: HashSet<Index>,
}

/// The commits for one partition that no store has confirmed. There may be many, if commits are more frequent than
/// confirmations.
struct Unconfirmed {
    /// The latest commit.
    committed: Committed,
    /// A commit up to which a confirmation counts: the latest commit at the time of the last confirmation.
    pinned: Committed,
    /// The number of the first of these commits, and the number of the first commit after `pinned`, if there is one.
    serial: u64,
    later: Option<u64>,
    due_ms: u64,
    interval_ms: u64,
}

impl Positions {
    /// Begins to wait for the stores.
    pub(super) fn new(name: &[u8], address: &[u8], limit: usize, now_ms: u64) -> Positions {
        Positions {
            name: name.into(),
            address: address.into(),
            requester: address.into(),
            is_of_slot: false,
            is_common: false,
            needs_store: false,
            limit,
            known: HashMap::new(),
            unconfirmed: BTreeMap::new(),
            serial: 0,
            dropped: None,
            now_ms,
            send_ms: None,
            progress_ms: now_ms,
            stall_ms: STALL_MS,
            wait_since_ms: Some(now_ms),
            has_timed_out: false,
            store_count: 0,
            connected_ms: now_ms,
            responded: HashSet::new(),
            requested_ms: None,
            request_count: 0,
            request_ms: None,
            interval_ms: RETRY_MS,
            unread: HashSet::new(),
        }
    }

    /// The positions of a slot of the group to which these positions belong. Begins to wait for the stores.
    pub(super) fn of_slot(&self, slot: u8, limit: usize, now_ms: u64) -> Positions {
        Positions {
            name: slot_name(&self.name, slot).into(),
            requester: [&*self.address, &[FIRST_SLOT + slot]].concat().into(),
            is_of_slot: true,
            is_common: false,
            limit,
            ..self.again(now_ms)
        }
    }

    /// The positions at which all slots of a group begin.
    pub(super) fn common(self) -> Positions {
        Positions { is_common: true, ..self }
    }

    /// The same positions, requested anew from the stores.
    pub(super) fn again(&self, now_ms: u64) -> Positions {
        let request_ms = (self.store_count > 0).then_some(now_ms);
        Positions {
            is_common: self.is_common,
            needs_store: true,
            store_count: self.store_count,
            connected_ms: self.connected_ms,
            request_ms,
            ..Positions::new(&self.name, &self.address, self.limit, now_ms)
        }
    }

    /// Takes over the commits that another instance has learned from stores.
    pub(super) fn learn_all(&mut self, other: Positions) {
        for (key, committed) in other.known {
            self.learn(key, committed);
        }
    }

    /// Keeps only the commits that no store has confirmed, and requests nothing.
    pub(super) fn keep_unconfirmed(&mut self) {
        let Self { known, unconfirmed, .. } = self;
        known.retain(|key, _| unconfirmed.contains_key(key));
        (self.wait_since_ms, self.request_count, self.dropped) = (None, MAX_REQUEST_COUNT, None);
    }

    /// Takes over the unconfirmed commits of the same slot.
    pub(super) fn absorb(&mut self, other: Positions) {
        for (key, commit) in other.unconfirmed {
            self.learn(key.clone(), commit.committed);
            match self.unconfirmed.get_mut(&key) {
                Some(own) => {
                    own.serial = own.serial.min(commit.serial);
                    (own.committed, own.due_ms) = (own.committed.max(commit.committed), commit.due_ms);
                }
                None => drop(self.unconfirmed.insert(key, commit)),
            }
        }
        self.serial = self.serial.max(other.serial);
        self.send_ms = Some(self.now_ms);
    }

    /// As [`Positions::begin`], for all slots of a group: of several beginnings, the lowest one is valid. So it has the
    /// latest timestamp.
    pub(super) fn begin_at_lowest(&mut self, partition: PartitionName, next: u64) {
        let is_lower = self.get(partition).is_none_or(|known| next < known);
        let timestamp_ms = MAX_COMMON_TIMESTAMP_MS - next.min(MAX_COMMON_TIMESTAMP_MS);
        // See `begin`.
        let is_possible = Committed { timestamp_ms, next }.is_possible();
        if is_lower && is_possible && self.known.len() < self.limit {
            self.commit(partition, next, timestamp_ms, self.now_ms);
        }
    }

    /// If a COMMIT-ACK with this ZeroMQ topic is for a slot of the group to which these positions belong, returns the slot.
    pub(super) fn slot_of_ack(&self, topic: &[u8]) -> Option<u8> {
        match topic.strip_prefix(&*self.address)? {
            [octet] => octet.checked_sub(FIRST_SLOT).filter(|&slot| slot < SLOT_COUNT),
            _ => None,
        }
    }

    /// The name under which stores keep the positions.
    pub(super) fn name(&self) -> &[u8] {
        &self.name
    }

    /// True while the consumer waits for the stores.
    pub(super) fn is_waiting(&self) -> bool {
        self.wait_since_ms.is_some()
    }

    /// Whether a position was committed under the name of this consumer.
    pub(super) fn is_name(&self, name: &[u8]) -> bool {
        *self.name == *name
    }

    /// The record at which a partition continues.
    pub(super) fn get(&self, partition: PartitionName) -> Option<u64> {
        self.known.get(&partition.to_buf()).map(|committed| committed.next)
    }

    /// A store that responds to GET-POSITIONS has connected, or has disconnected.
    pub(super) fn handle_store(&mut self, is_connected: bool, now_ms: u64) {
        if is_connected {
            self.store_count += 1;
            self.connected_ms = now_ms;
        } else {
            self.store_count = self.store_count.saturating_sub(1);
        }
        self.responded.clear();
        // Many stores that connect cause few requests.
        let earliest_ms = self.requested_ms.map_or(0, |requested_ms| requested_ms + RETRY_MS);
        self.request_ms = Some(now_ms.max(earliest_ms));
        (self.interval_ms, self.request_count) = (RETRY_MS, 0);
    }

    /// Handles a POSITION. Returns true when it is the latest commit for a partition.
    pub(super) fn handle_position(
        &mut self,
        partition: PartitionName,
        committed: Committed,
        store: &[u8],
        now_ms: u64,
    ) -> bool {
        // The response arrives. So it is not requested again yet.
        self.request_ms = self.request_ms.map(|due_ms| due_ms.max(now_ms + RETRY_MS));
        if !partition.producer.is_empty() {
            return self.learn(partition.to_buf(), committed);
        }
        if self.responded.len() < self.limit {
            self.responded.insert(store.into());
        }
        false
    }

    /// Handles a COMMIT-ACK: a store has `stored` on disk. Returns true when `stored` is later than all commits of this
    /// consumer for the partition, and this consumer has only begun there.
    pub(super) fn handle_ack(&mut self, partition: PartitionName, stored: Committed, now_ms: u64) -> bool {
        let key = partition.to_buf();
        let Some(own) = self.unconfirmed.get_mut(&key).filter(|own| stored >= own.pinned) else {
            return false;
        };
        (self.progress_ms, self.stall_ms) = (now_ms, STALL_MS);
        if stored < own.committed {
            own.serial = own.later.take().unwrap_or(own.serial);
            own.pinned = own.committed;
            return false;
        }
        let (serial, own) = (own.serial, own.committed);
        self.unconfirmed.remove(&key);
        let is_latest = self.learn(key.clone(), stored);
        if self.is_of_slot {
            return is_latest;
        }
        let has_begun_only = own.timestamp_ms == BEGIN_TIMESTAMP_MS || self.is_common;
        if stored.next != own.next && !has_begun_only {
            // The clock of another consumer with this name was ahead. What this consumer commits must still count.
            self.commit(partition, own.next, own.timestamp_ms, now_ms);
            self.unconfirmed.entry(key).and_modify(|again| again.serial = serial);
        }
        is_latest && has_begun_only
    }

    /// A partition begins at the record `next`. If it has no committed position, this one is committed, so that the next
    /// consumer with this name does not begin after records that this one has delivered. (It may have one: after a
    /// seek, committed positions do not apply.)
    pub(super) fn begin(&mut self, partition: PartitionName, next: u64) {
        // Only a forged HEAD makes a partition begin at an offset that no store accepts. Such a commit would never be
        // confirmed.
        let is_possible = Committed { timestamp_ms: BEGIN_TIMESTAMP_MS, next }.is_possible();
        if is_possible && self.known.len() < self.limit && self.get(partition).is_none() {
            self.commit(partition, next, BEGIN_TIMESTAMP_MS, self.now_ms);
        }
    }

    /// From now on, a committed position that arrives does not move the partition.
    pub(super) fn mark_read(&mut self, partition: Index) {
        self.unread.remove(&partition);
    }

    /// Stores a commit if it is the latest one.
    fn learn(&mut self, key: PartitionNameBuf, committed: Committed) -> bool {
        let has_room = self.known.len() < self.limit;
        match self.known.get_mut(&key) {
            Some(known) if *known >= committed => false,
            Some(known) => {
                *known = committed;
                true
            }
            None => has_room && self.known.insert(key, committed).is_none(),
        }
    }

    /// Commits a position: `next` is the record to read next. Nothing happens if this position is committed already.
    /// When too many partitions are known, a commit for a further one is dropped, and never counts as confirmed.
    pub(super) fn commit(&mut self, partition: PartitionName, next: u64, timestamp_ms: u64, now_ms: u64) {
        if !(Committed { timestamp_ms, next }).is_possible() {
            // The application has processed a record with the greatest offset, which only a forged partition has.
            return;
        }
        let key = partition.to_buf();
        let known = self.known.get(&key).copied();
        if known.is_some_and(|known| known.next == next || self.is_of_slot && known.next > next) {
            return;
        }
        self.serial += 1;
        if known.is_none() && self.known.len() >= self.limit {
            self.dropped.get_or_insert(self.serial);
            return;
        }
        let earliest_ms = known.map_or(0, |known| known.timestamp_ms.saturating_add(1));
        let timestamp_ms = if self.is_of_slot { SLOT_TIMESTAMP_MS } else { timestamp_ms.max(earliest_ms) };
        let committed = Committed { timestamp_ms, next };
        if self.unconfirmed.is_empty() {
            (self.progress_ms, self.stall_ms) = (now_ms, STALL_MS);
        }
        let serial = self.serial;
        let new = Unconfirmed {
            committed,
            pinned: committed,
            serial,
            later: None,
            due_ms: now_ms,
            interval_ms: RETRY_MS,
        };
        let waiting = self.unconfirmed.entry(key.clone()).or_insert(new);
        if waiting.serial != serial {
            waiting.later.get_or_insert(serial);
            (waiting.committed, waiting.due_ms, waiting.interval_ms) = (committed, now_ms, RETRY_MS);
        }
        self.learn(key, committed);
        self.send_ms = Some(now_ms);
    }

    /// The number of the latest commit.
    pub(super) fn serial(&self) -> u64 {
        self.serial
    }

    /// The number of the latest commit up to which stores have confirmed all commits.
    pub(super) fn confirmed(&self) -> u64 {
        self.first_unconfirmed().map_or(self.serial, |first| first - 1)
    }

    /// The number of the first commit that no store has confirmed.
    pub(super) fn first_unconfirmed(&self) -> Option<u64> {
        self.unconfirmed.values().map(|commit| commit.serial).chain(self.dropped).min()
    }

    /// The next commit gets the number after `serial`, which is not below that of the latest one.
    pub(super) fn continue_at(&mut self, serial: u64) {
        self.serial = serial;
    }

    /// When [`Positions::handle_timeout`] must be called next.
    pub(super) fn due_ms(&self) -> Option<u64> {
        let due = [self.wait_end_ms(), self.request_due_ms(), self.send_ms];
        // Not `flatten`: the compiler then compares also absent times, which valgrind reports.
        due.map(|due_ms| due_ms.unwrap_or(u64::MAX)).into_iter().min().filter(|&due_ms| due_ms < u64::MAX)
    }

    /// When the wait for the stores ends, if no further store connects or responds.
    fn wait_end_ms(&self) -> Option<u64> {
        let since_ms = self.wait_since_ms?;
        let longest_ms = match (self.needs_store, self.store_count) {
            (true, 0) => return None,
            (true, _) => since_ms.max(self.connected_ms) + MAX_WAIT_OF_MEMBER_MS,
            (false, 0) => since_ms + MAX_WAIT_MS,
            (false, _) => since_ms + MAX_WAIT_FOR_STORE_MS,
        };
        Some(match self.have_all_responded() {
            true => longest_ms.min(self.connected_ms + SETTLE_MS),
            false => longest_ms,
        })
    }

    /// When the next request is due, while a connected store has not sent all positions.
    fn request_due_ms(&self) -> Option<u64> {
        let is_needed =
            self.store_count > 0 && !self.have_all_responded() && self.request_count < MAX_REQUEST_COUNT;
        self.request_ms.filter(|_| is_needed)
    }

    fn have_all_responded(&self) -> bool {
        self.store_count > 0 && self.responded.len() >= self.store_count
    }

    /// Ends the wait for the stores, and publishes requests and commits that are due.
    pub(super) fn handle_timeout<P>(&mut self, now_ms: u64, out: &mut Outbox<P>) {
        self.now_ms = now_ms;
        if self.wait_end_ms().is_some_and(|end_ms| now_ms >= end_ms) {
            (self.wait_since_ms, self.has_timed_out) = (None, !self.have_all_responded());
        }
        if self.request_due_ms().is_some_and(|due_ms| now_ms >= due_ms) {
            out.message(&Message::GetPositions { topic: &self.name, address: &self.address });
            self.request_ms = Some(now_ms + self.interval_ms);
            (self.requested_ms, self.request_count) = (Some(now_ms), self.request_count + 1);
            self.interval_ms = (self.interval_ms * 2).min(MAX_RETRY_MS);
        }
        if self.send_ms.is_some_and(|due_ms| now_ms >= due_ms) {
            self.send(now_ms, out);
        }
    }

    fn send<P>(&mut self, now_ms: u64, out: &mut Outbox<P>) {
        let (mut sent_count, mut next_ms) = (0, None::<u64>);
        for (partition, commit) in &mut self.unconfirmed {
            if commit.due_ms <= now_ms && sent_count < MAX_SENT_COUNT {
                let PartitionName { topic, producer } = partition.as_name();
                out.message(&Message::Commit {
                    position: Position::new(&self.name, producer, topic, commit.committed.next),
                    timestamp_ms: commit.committed.timestamp_ms,
                    requester: &self.requester,
                });
                sent_count += 1;
                commit.due_ms = now_ms + commit.interval_ms;
                commit.interval_ms = (commit.interval_ms * 2).min(MAX_RETRY_MS);
            }
            let due_ms = commit.due_ms.max(now_ms + PAUSE_MS);
            next_ms = Some(next_ms.map_or(due_ms, |next_ms| next_ms.min(due_ms)));
        }
        self.send_ms = next_ms;
    }

    /// Returns how many stores have responded, and how many are connected, if the wait has ended without the responses
    /// of all stores.
    pub(super) fn poll_timeout(&mut self) -> Option<(usize, usize)> {
        std::mem::take(&mut self.has_timed_out).then_some((self.responded.len(), self.store_count))
    }

    /// The number of unconfirmed commits, and the milliseconds without a confirmation, if an operator should know.
    pub(super) fn poll_stall(&mut self, now_ms: u64) -> Option<(usize, u64)> {
        let ms = now_ms.saturating_sub(self.progress_ms);
        if self.unconfirmed.is_empty() || ms < self.stall_ms {
            return None;
        }
        self.stall_ms = ms + STALL_INTERVAL_MS;
        Some((self.unconfirmed.len(), ms))
    }
}
