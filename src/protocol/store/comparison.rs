//! Whether stores hold the same records.
//!
//! This store walks through the partitions that it and another store both hold. It fetches one run of records after the
//! other from that store, and compares each record with its own. A difference is logged once for each partition and
//! store. The FETCHes are ordinary ones, so stores of all versions that name themselves in DIRECT-HEADs answer them.
//!
//! Each connection over which DIRECT-HEADs come has a `Walk`. A walk gathers the partitions that follow its cursor, at
//! most `MAX_BATCH_COUNT`, while the DIRECT-HEADs of one response arrive. Then it compares them, from the first record
//! to the last, and moves its cursor behind them. The order of partitions is that of their hashes and has no end: after
//! the last one comes the first one again. So each run of records is compared once in each round.
//!
//! An answer counts only when it comes over the connection that the DIRECT-HEADs came over. A peer that uses another
//! store's name can neither forge that store's answers nor hold up the comparison with it: each walk waits for its own
//! answers only, and hosts take turns.
//!
//! The cost is bounded: `INTERVAL_MS` between two FETCHes, `RUN_COUNT` records and `RUN_LEN_BYTES` in each, and
//! `LEN_BYTES_PER_MS` in all. Longer records than `MAX_RECORD_LEN_BYTES` are not compared.

use crate::protocol::{Outbox, Sender, host_of};
use crate::wire::{Message, Position, partition_key};
use std::collections::hash_map::RandomState;
use std::collections::{BTreeMap, HashSet, VecDeque};
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};

/// Connections whose stores are compared with this one.
const MAX_WALKS: usize = 32;
/// Partitions that one walk gathers at a time.
const MAX_BATCH_COUNT: usize = 512;
/// A response has ended when no DIRECT-HEAD has come for so long.
const QUIET_MS: u64 = 1_000;
/// The shortest time between two FETCHes.
const INTERVAL_MS: u64 = 200;
/// How often it looks whether a run was read.
const READING_MS: u64 = 20;
/// How long it waits for the answer to a FETCH at least: three times what the last one took, and twice as long after each one
/// that stays away.
const PATIENCE_MS: u64 = 5_000;
/// How long it waits for the next record of an answer at least: twice what the last answer took.
const NEXT_MS: u64 = 1_000;
/// The longest time that it waits for an answer.
const MAX_PATIENCE_MS: u64 = 60_000;
/// FETCHes without an answer, after which a partition is left to the next round.
const MAX_SILENT_COUNT: u32 = 2;
/// A walk without a DIRECT-HEAD for so long gives way to another one.
const FORGOTTEN_MS: u64 = 1_200_000;
/// Records in a run.
const RUN_COUNT: usize = 512;
/// Content of a run; one record may exceed it.
const RUN_LEN_BYTES: usize = 64 << 10;
/// The longest record that is compared.
const MAX_RECORD_LEN_BYTES: usize = 1 << 20;
/// Content that is fetched in all.
const LEN_BYTES_PER_MS: u64 = 320;
/// Partitions that are looked at, at most, to find one to compare.
const MAX_LOOKS: usize = 16;
/// Differences that are remembered.
const MAX_REPORTED: usize = 1_000;
/// Differences that wait to be logged. Further ones count as not found: the next round finds them again.
const MAX_FOUND: usize = 64;
/// The longest name of a store that is asked; ours are 32 octets long.
const MAX_STORE_NAME_LEN: usize = 64;

/// What this store holds. Reading takes its time, and nobody waits for it: it is begun, and its result is asked for.
pub trait Held {
    /// One after the last record of a partition; 0 when there is none, or when that cannot be read.
    fn next(&self, subject: &[u8], address: &[u8]) -> u64;

    /// Begins to read a run: to call [`Reading::take`] for its records in order, until that returns false. There is one
    /// reading at a time.
    fn begin(&mut self, reading: Reading);

    /// The reading that was begun, once it is done. What cannot be read is left out.
    ///
    /// # Errors
    /// When nothing can be read any more. The comparison ends then.
    fn poll(&mut self) -> Result<Option<Reading>, Ended>;
}

/// Nothing can be read any more.
#[derive(Debug)]
pub struct Ended;

/// A run of records to be read.
#[derive(Debug)]
pub struct Reading {
    /// The partition's topic.
    pub subject: Box<[u8]>,
    /// The partition.
    pub address: Box<[u8]>,
    /// The first record to read.
    pub from: u64,
    /// One after the last record to read.
    pub end: u64,
    hasher: RandomState,
    /// Records in the run, at most.
    max_count: usize,
    /// The first record of the run.
    first: u64,
    digests: Vec<u64>,
    len_bytes: usize,
}

impl Reading {
    /// Takes a record. False when the run is complete.
    pub fn take(&mut self, offset: u64, content: &[u8]) -> bool {
        let is_too_long = content.len() > MAX_RECORD_LEN_BYTES;
        if self.digests.is_empty() {
            // What cannot be compared is passed over.
            self.first = offset + u64::from(is_too_long);
        }
        let is_full = self.len_bytes + content.len() > RUN_LEN_BYTES && !self.digests.is_empty();
        if is_too_long || is_full {
            return self.digests.is_empty() && self.first < self.end;
        }
        self.len_bytes += content.len();
        self.digests.push(self.hasher.hash_one(content));
        self.digests.len() < self.max_count && offset + 1 < self.end
    }
}

/// A record that two stores hold with different contents.
#[derive(Debug, PartialEq, Eq)]
pub struct Divergence {
    /// The partition's topic.
    pub subject: Box<[u8]>,
    /// The partition.
    pub address: Box<[u8]>,
    /// The name of the other store, as it came over the connection that the record came over.
    pub store: Box<[u8]>,
    /// The connection that the record came over; `None` when it is not known.
    pub from: Option<Box<[u8]>>,
    /// The first record that was seen to differ.
    pub offset: u64,
}

/// A partition that another store holds, too.
#[derive(Debug)]
struct Candidate {
    subject: Box<[u8]>,
    address: Box<[u8]>,
    store: Box<[u8]>,
    /// The next record to compare.
    next: u64,
    /// One after the last record that the other store has.
    end: u64,
}

/// Records that were asked for.
#[derive(Debug)]
struct Sample {
    first: u64,
    /// Of what this store holds, from `first` on.
    digests: Vec<u64>,
    /// Which of them have come.
    seen: Vec<bool>,
    sent_ms: u64,
    deadline_ms: u64,
}

/// The comparison with the store at the other end of one connection.
#[derive(Debug)]
struct Walk {
    /// The connection; `None` when it is not known.
    from: Option<Box<[u8]>>,
    /// The partition that was compared last.
    cursor: u64,
    /// The partitions to compare, by how far they are behind the cursor as it was when the first one was gathered.
    batch: BTreeMap<u64, Candidate>,
    /// They are still being gathered. While they are compared, DIRECT-HEADs add none.
    is_gathering: bool,
    heard_ms: u64,
    sample: Option<Sample>,
    /// How many records it asks for: less when answers come in part, as what does not fit into a queue on its way is lost.
    run_count: usize,
    /// How long the last answer took.
    answer_ms: u64,
    /// FETCHes without an answer, one after the other.
    silent_count: u32,
    /// Which FETCH was its latest one.
    turn: u64,
}

impl Walk {
    fn host(&self) -> &[u8] {
        host_of(self.from.as_deref().unwrap_or_default())
    }

    fn is_ready(&self) -> bool {
        !self.is_gathering && self.sample.is_none() && !self.batch.is_empty()
    }

    /// When it has something to do, if that does not depend on others.
    fn due_ms(&self) -> Option<u64> {
        match &self.sample {
            Some(sample) => Some(sample.deadline_ms),
            None if self.batch.is_empty() => None,
            None if self.is_gathering => Some(self.heard_ms + QUIET_MS),
            None => Some(0),
        }
    }

    /// The first partition of the batch is compared, or cannot be.
    fn finish_partition(&mut self, own_seed: u64) {
        if let Some((_, candidate)) = self.batch.pop_first() {
            self.cursor = place(own_seed, &candidate.subject, &candidate.address);
        }
        if self.batch.is_empty() {
            self.is_gathering = true;
        }
    }

    /// No more is waited for: goes on behind the records that have come.
    fn finish_sample(&mut self, own_seed: u64, now_ms: u64) {
        let Some(sample) = self.sample.take() else { return };
        let come = sample.seen.iter().take_while(|seen| **seen).count() as u64;
        self.run_count = match come as usize == sample.seen.len() {
            true => (2 * self.run_count).min(RUN_COUNT),
            false => (self.run_count / 2).max(1),
        };
        if come > 0 {
            self.silent_count = 0;
            self.answer_ms = now_ms.saturating_sub(sample.sent_ms).min(MAX_PATIENCE_MS / 3);
        } else {
            self.silent_count = (self.silent_count + 1).min(16);
        }
        let Some(mut first) = self.batch.first_entry() else { return };
        let candidate = first.get_mut();
        candidate.next = sample.first + come;
        let is_hopeless = come == 0 && self.silent_count >= MAX_SILENT_COUNT;
        if is_hopeless || candidate.next >= candidate.end {
            self.finish_partition(own_seed);
        }
    }
}

/// The comparison's state.
pub struct Comparison {
    held: Box<dyn Held>,
    walks: Vec<Walk>,
    /// Which walk waits for a run to be read, by its connection, and when to ask for that.
    reading: Option<(Option<Box<[u8]>>, u64)>,
    next_ms: u64,
    /// Counts FETCHes.
    turn: u64,
    /// Orders partitions, for each store in its own way.
    seed: u64,
    hasher: RandomState,
    /// Partitions and stores that are known to differ, by a hash.
    reported: HashSet<u64>,
    /// Differences to be logged.
    found: VecDeque<Divergence>,
    /// This store's records cannot be read any more.
    has_ended: bool,
}

impl Comparison {
    /// Compares what `held` holds. Stores with different addresses compare partitions in different orders.
    pub fn new(held: Box<dyn Held>, own_address: &[u8]) -> Comparison {
        Comparison {
            held,
            walks: Vec::new(),
            reading: None,
            next_ms: 0,
            turn: 0,
            seed: hash(own_address),
            hasher: RandomState::new(),
            reported: HashSet::new(),
            found: VecDeque::new(),
            has_ended: false,
        }
    }

    /// Takes a DIRECT-HEAD of another store: it holds the record of this position, and those before it.
    pub fn handle_head(&mut self, position: &Position, store: &[u8], from: &Sender, now_ms: u64) {
        if self.has_ended
            || store.is_empty()
            || store.len() > MAX_STORE_NAME_LEN
            || position.sequence == u64::MAX
        {
            return;
        }
        let seed = self.seed;
        let Some(walk) = self.walk_of(from(), store, now_ms) else { return };
        walk.heard_ms = now_ms;
        if !walk.is_gathering {
            return;
        }
        // Behind all others comes the one at the cursor itself.
        let distance =
            place(seed, position.subject, position.address).wrapping_sub(walk.cursor).wrapping_sub(1);
        let is_full = walk.batch.len() >= MAX_BATCH_COUNT;
        if is_full && walk.batch.last_key_value().is_some_and(|(&last, _)| distance > last) {
            return;
        }
        let candidate = Candidate {
            subject: position.subject.into(),
            address: position.address.into(),
            store: store.into(),
            next: 0,
            end: position.sequence + 1,
        };
        if walk.batch.insert(distance, candidate).is_none() && is_full {
            walk.batch.pop_last();
        }
    }

    /// The walk of a connection, a new one if there is room for it.
    fn walk_of(&mut self, from: Option<Box<[u8]>>, store: &[u8], now_ms: u64) -> Option<&mut Walk> {
        if let Some(known) = self.walks.iter().position(|walk| walk.from == from) {
            return self.walks.get_mut(known);
        }
        if self.walks.len() >= MAX_WALKS {
            let gives_way = self.gives_way_to(host_of(from.as_deref().unwrap_or_default()), now_ms)?;
            self.walks.swap_remove(gives_way);
        }
        let is_store = |walk: &&Walk| walk.batch.values().next().is_some_and(|known| *known.store == *store);
        // A store that has connected anew is compared from where that was broken off.
        let cursor = self.walks.iter().find(is_store).map_or(hash((self.seed, store)), |walk| walk.cursor);
        self.walks.push(Walk {
            from,
            cursor,
            batch: BTreeMap::new(),
            is_gathering: true,
            heard_ms: now_ms,
            sample: None,
            run_count: RUN_COUNT,
            answer_ms: 0,
            silent_count: 0,
            turn: 0,
        });
        self.walks.last_mut()
    }

    /// The walk that gives way to one of another connection of `host`: one that was forgotten, or else the one that was
    /// silent for longest of the host that has most walks, if that has more than `host` would.
    fn gives_way_to(&self, host: &[u8], now_ms: u64) -> Option<usize> {
        let count = |host: &[u8]| self.walks.iter().filter(|walk| walk.host() == host).count();
        let oldest = (0..self.walks.len()).min_by_key(|&i| self.walks[i].heard_ms)?;
        if now_ms >= self.walks[oldest].heard_ms + FORGOTTEN_MS {
            return Some(oldest);
        }
        let greediest = self.walks.iter().map(Walk::host).max_by_key(|host| count(host))?;
        let loser = if count(greediest) > count(host) + 1 { greediest } else { host };
        let of_loser = (0..self.walks.len()).filter(|&i| self.walks[i].host() == loser);
        of_loser.min_by_key(|&i| self.walks[i].heard_ms)
    }

    /// Takes a DIRECT-RECORD. True when it answers a FETCH of this comparison: then it is nothing new.
    pub fn handle_record(&mut self, position: &Position, content: &[u8], from: &Sender, now_ms: u64) -> bool {
        let index_of = |walk: &Walk| {
            let (sample, (_, of)) = (walk.sample.as_ref()?, walk.batch.first_key_value()?);
            let is_of = *position.address == *of.address && *position.subject == *of.subject;
            let index = position.sequence.checked_sub(sample.first).filter(|_| is_of)?;
            usize::try_from(index).ok().filter(|&index| index < sample.digests.len())
        };
        if !self.walks.iter().any(|walk| index_of(walk).is_some()) {
            return false;
        }
        let from = from();
        let Some(walk) = self.walks.iter_mut().find(|walk| walk.from == from) else { return false };
        let Some(index) = index_of(walk) else { return false };
        let Some(sample) = &mut walk.sample else { return false };
        sample.seen[index] = true;
        sample.deadline_ms = now_ms + NEXT_MS.max(2 * walk.answer_ms);
        if sample.digests[index] != self.hasher.hash_one(content) {
            (walk.answer_ms, walk.silent_count) = (now_ms.saturating_sub(sample.sent_ms), 0);
            walk.sample = None;
            if let Some((_, candidate)) = walk.batch.first_key_value()
                && self.found.len() < MAX_FOUND
            {
                let key = key(candidate, walk.host());
                if self.reported.len() >= MAX_REPORTED {
                    self.reported.clear();
                }
                self.reported.insert(key);
                self.found.push_back(Divergence {
                    subject: candidate.subject.clone(),
                    address: candidate.address.clone(),
                    store: candidate.store.clone(),
                    from,
                    offset: position.sequence,
                });
            }
            walk.finish_partition(self.seed);
        } else if sample.seen.iter().all(|seen| *seen) {
            walk.finish_sample(self.seed, now_ms);
        }
        true
    }

    /// A difference that was found, to be logged: each is returned once. They wait until they are asked for.
    pub fn poll_divergence(&mut self) -> Option<Divergence> {
        self.found.pop_front()
    }

    /// When [`Comparison::handle_timeout`] has something to do next.
    pub fn due_ms(&self) -> Option<u64> {
        let of_walks = self.walks.iter().filter_map(|walk| {
            let due_ms = walk.due_ms()?;
            // One that is ready waits for the next FETCH, or for the run that is being read.
            if walk.is_ready() && self.reading.is_some() { None } else { Some((walk, due_ms)) }
        });
        let of_walks =
            of_walks.map(|(walk, due_ms)| if walk.is_ready() { due_ms.max(self.next_ms) } else { due_ms });
        of_walks.chain(self.reading.as_ref().map(|&(_, due_ms)| due_ms)).min()
    }

    /// Sends the next FETCH, in the name of `own_address`, when it is due.
    pub fn handle_timeout<P>(&mut self, own_address: &[u8], now_ms: u64, out: &mut Outbox<P>) {
        if self.due_ms().is_none_or(|due_ms| due_ms > now_ms) {
            return;
        }
        for walk in &mut self.walks {
            if walk.sample.as_ref().is_some_and(|sample| sample.deadline_ms <= now_ms) {
                walk.finish_sample(self.seed, now_ms);
            }
            walk.is_gathering &= walk.batch.is_empty() || walk.heard_ms + QUIET_MS > now_ms;
        }
        match self.reading.take() {
            Some((from, _)) => match self.held.poll() {
                Ok(Some(reading)) => self.fetch(&from, reading, own_address, now_ms, out),
                Ok(None) => self.reading = Some((from, now_ms + READING_MS)),
                Err(Ended) => {
                    self.walks.clear();
                    self.has_ended = true;
                }
            },
            None if now_ms >= self.next_ms => self.begin_reading(now_ms),
            None => {}
        }
    }

    /// Begins to read the next run of the walk whose turn it is.
    fn begin_reading(&mut self, now_ms: u64) {
        for _ in 0..MAX_LOOKS {
            let is_ready = |walk: &&mut Walk| walk.is_ready();
            let turns: Vec<(Box<[u8]>, u64)> =
                self.walks.iter().map(|walk| (walk.host().into(), walk.turn)).collect();
            let turn_of_host =
                |of: &[u8]| turns.iter().filter(|(host, _)| **host == *of).map(|&(_, turn)| turn).max();
            let ready = self.walks.iter_mut().filter(is_ready);
            let Some(walk) = ready.min_by_key(|walk| (turn_of_host(walk.host()), walk.turn)) else { return };
            let Some((_, candidate)) = walk.batch.first_key_value() else { return };
            // While records are missing here, a FETCH for them may be under way, and the other store would take this one for
            // its successor.
            let is_complete = self.held.next(&candidate.subject, &candidate.address) >= candidate.end;
            if !is_complete || self.reported.contains(&key(candidate, walk.host())) {
                walk.finish_partition(self.seed);
                continue;
            }
            let (from, end) = (candidate.next, candidate.end);
            self.held.begin(Reading {
                subject: candidate.subject.clone(),
                address: candidate.address.clone(),
                from,
                end,
                hasher: self.hasher.clone(),
                max_count: walk.run_count,
                first: from,
                digests: Vec::new(),
                len_bytes: 0,
            });
            (self.reading, self.next_ms) =
                (Some((walk.from.clone(), now_ms + READING_MS)), now_ms + INTERVAL_MS);
            return;
        }
        // Others are looked at later: there may be many.
        self.next_ms = now_ms + READING_MS;
    }

    /// A run was read: asks the other store for it.
    fn fetch<P>(
        &mut self,
        from: &Option<Box<[u8]>>,
        reading: Reading,
        own_address: &[u8],
        now_ms: u64,
        out: &mut Outbox<P>,
    ) {
        // The walk may have given way meanwhile.
        let Some(walk) = self.walks.iter_mut().find(|walk| walk.from == *from && walk.is_ready()) else {
            return;
        };
        let Some(mut candidate) = walk.batch.first_entry() else { return };
        let candidate = candidate.get_mut();
        if candidate.subject != reading.subject || candidate.address != reading.address {
            return;
        }
        if reading.digests.is_empty() {
            candidate.next = reading.first;
            // It cannot be read, or ends with records that are not compared.
            if reading.first == reading.from || reading.first >= candidate.end {
                walk.finish_partition(self.seed);
            }
            return;
        }
        self.turn += 1;
        walk.turn = self.turn;
        let pause_ms = INTERVAL_MS.max(reading.len_bytes as u64 / LEN_BYTES_PER_MS);
        self.next_ms = now_ms + pause_ms;
        out.message(&Message::Fetch {
            topic: &candidate.address,
            address: own_address,
            subject: &candidate.subject,
            sequence: reading.first,
            count: reading.digests.len() as u32,
            store: &candidate.store,
        });
        let patience_ms = (PATIENCE_MS.max(3 * walk.answer_ms) << walk.silent_count).min(MAX_PATIENCE_MS);
        walk.sample = Some(Sample {
            first: reading.first,
            seen: vec![false; reading.digests.len()],
            digests: reading.digests,
            sent_ms: now_ms,
            deadline_ms: now_ms + patience_ms,
        });
    }
}

/// Where a partition stands in the order in which one store compares.
fn place(seed: u64, subject: &[u8], address: &[u8]) -> u64 {
    hash((seed, subject, address))
}

/// Names a partition and a store. The same name on another host is another store: somebody may lie.
fn key(of: &Candidate, host: &[u8]) -> u64 {
    hash((host, &of.store, partition_key(&of.address, &of.subject).as_slice()))
}

fn hash(value: impl std::hash::Hash) -> u64 {
    BuildHasherDefault::<DefaultHasher>::default().hash_one(value)
}

#[cfg(test)]
mod tests;
