//! Detects that two stores hold different records.
//!
//! This store goes through the partitions that it and another store both hold. From the other store it fetches runs of
//! consecutive records, one run at a time. It compares each fetched record with its own record at the same offset. A
//! difference is logged once for each partition and store. The FETCHes are ordinary ones. So every store that names
//! itself in its DIRECT-HEADs answers them.
//!
//! Each connection over which DIRECT-HEADs come has a `Walk`. While the DIRECT-HEADs of one response arrive, the walk
//! gathers the partitions after its cursor, at most `MAX_BATCH_COUNT`. Then it compares all records of these
//! partitions, and moves its cursor past them. Partitions are ordered by their hashes, in a circle: after the last
//! partition, the walk continues with the first one. So each run of records is compared once in each round.
//!
//! A response counts only when it comes over the same connection as the DIRECT-HEADs. So a peer that uses another
//! store's name can neither forge the responses of that store nor delay the comparison with that store: each walk waits
//! only for its own responses, and hosts take turns.
//!
//! The cost is limited: to one FETCH per `INTERVAL_MS`, to `RUN_COUNT` records and `RUN_LEN_BYTES` per FETCH, and to
//! `LEN_BYTES_PER_MS` in total. Records longer than `MAX_RECORD_LEN_BYTES` are not compared.

use crate::partition_name::{PartitionName, PartitionNameBuf};
use crate::protocol::{Outbox, Payload, Sender, host_of};
use crate::wire::{Message, Position};
use std::collections::hash_map::RandomState;
use std::collections::{BTreeMap, HashSet, VecDeque};
use std::hash::BuildHasher;
use walk::{Candidate, MAX_TIMEOUT_MS, QUIET_MS, RUN_COUNT, Sample, Walk, hash, key, place};

mod walk;

/// The limit of walks.
const MAX_WALKS: usize = 32;
/// The limit of partitions that one walk gathers at a time.
const MAX_BATCH_COUNT: usize = 512;
/// The shortest time between two FETCHes.
const INTERVAL_MS: u64 = 200;
/// How often to check whether a run has been read from this store's disk.
const READING_MS: u64 = 20;
/// The shortest timeout of a FETCH. The timeout is three times the last response time, and doubles after each FETCH
/// without a response.
const MIN_TIMEOUT_MS: u64 = 5_000;
/// The shortest timeout for the next record of a response. The timeout is twice the last response time, if that is
/// longer.
const MIN_RECORD_TIMEOUT_MS: u64 = 1_000;
/// A walk that has not received a DIRECT-HEAD for this time is evicted first.
const IDLE_MS: u64 = 1_200_000;
/// The limit of content in a run. One record may exceed it.
const RUN_LEN_BYTES: usize = 64 << 10;
/// The longest record that is compared.
const MAX_RECORD_LEN_BYTES: usize = 1 << 20;
/// The rate of fetched content, over all walks.
const LEN_BYTES_PER_MS: u64 = 320;
/// How many partitions are examined to find one to compare.
const MAX_LOOKS: usize = 16;
/// The limit of stored differences.
const MAX_REPORTED: usize = 1_000;
/// The limit of differences that wait to be logged. Further ones are not stored, and the next round finds them again.
const MAX_FOUND: usize = 64;
/// The longest name of a store that is compared. Our stores' names have 32 bytes.
const MAX_STORE_NAME_LEN: usize = 64;

/// The records of this store. Reading is slow and must not block, so the comparison starts a reading, and later polls
/// for its result.
pub trait Held {
    /// One after the last record of a partition; 0 when there is none, or when that cannot be read.
    fn next(&self, name: PartitionName) -> u64;

    /// Starts to read a run. The implementation calls [`Reading::take`] for each record in order, until `take` returns
    /// false. There is one reading at a time.
    fn begin(&mut self, reading: Reading);

    /// Returns the reading when it is complete. Records that cannot be read are missing in it.
    ///
    /// # Errors
    /// When records can no longer be read. The comparison ends then.
    fn poll(&mut self) -> Result<Option<Reading>, Ended>;
}

/// Records can no longer be read.
#[derive(Debug)]
pub struct Ended;

/// A run of records to read.
#[derive(Debug)]
pub struct Reading {
    /// The partition.
    pub partition: PartitionNameBuf,
    /// The first record to read.
    pub from: u64,
    /// One after the last record to read.
    pub end: u64,
    hasher: RandomState,
    /// The limit of records in the run.
    max_count: usize,
    /// The first record that is compared. Records before it, from `from` on, are too long to compare.
    first: u64,
    /// The digests of the compared records, which are consecutive.
    digests: Vec<u64>,
    len_bytes: usize,
}

impl Reading {
    /// Takes a record. Returns false when the run is complete.
    pub fn take(&mut self, offset: u64, content: &[u8]) -> bool {
        let is_too_long = content.len() > MAX_RECORD_LEN_BYTES;
        if self.digests.is_empty() {
            // Skip records that are too long to compare.
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
    /// The partition.
    pub partition: PartitionNameBuf,
    /// The name of the other store, as the DIRECT-HEADs over the record's connection give it.
    pub store: Box<[u8]>,
    /// The connection over which the record came; `None` when it is not known.
    pub from: Option<Box<[u8]>>,
    /// The first record that was found to differ.
    pub offset: u64,
}

/// The state of the comparison with all stores.
pub struct Comparison {
    held: Box<dyn Held>,
    walks: Vec<Walk>,
    /// The walk for which a run is being read, and when to check for the result.
    reading: Option<(Option<Box<[u8]>>, u64)>,
    next_ms: u64,
    /// The number of FETCHes that were sent.
    turn: u64,
    /// Determines the order of partitions. It differs between stores.
    seed: u64,
    hasher: RandomState,
    /// Hashes of the partitions and stores that are known to differ.
    reported: HashSet<u64>,
    /// Differences that wait to be logged.
    found: VecDeque<Divergence>,
    /// Whether this store's records can no longer be read.
    has_ended: bool,
}

impl Comparison {
    /// Returns a comparison of the records in `held`. Stores with different addresses compare partitions in different
    /// orders.
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

    /// Handles a DIRECT-HEAD of another store: the store holds the record at this position, and those before it.
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
        // The partition at the cursor was compared last, so it gets the largest distance.
        let distance = place(seed, position.partition()).wrapping_sub(walk.cursor).wrapping_sub(1);
        let is_full = walk.batch.len() >= MAX_BATCH_COUNT;
        if is_full && walk.batch.last_key_value().is_some_and(|(&last, _)| distance > last) {
            return;
        }
        let candidate = Candidate {
            partition: position.partition().to_buf(),
            store: store.into(),
            next: 0,
            end: position.sequence + 1,
        };
        if walk.batch.insert(distance, candidate).is_none() && is_full {
            walk.batch.pop_last();
        }
    }

    /// Returns the walk of a connection. Adds one if there is room.
    fn walk_of(&mut self, from: Option<Box<[u8]>>, store: &[u8], now_ms: u64) -> Option<&mut Walk> {
        if let Some(known) = self.walks.iter().position(|walk| walk.from == from) {
            return self.walks.get_mut(known);
        }
        if self.walks.len() >= MAX_WALKS {
            let evicted = self.walk_to_evict_for(host_of(from.as_deref().unwrap_or_default()), now_ms)?;
            self.walks.swap_remove(evicted);
        }
        let is_store = |walk: &&Walk| walk.batch.values().next().is_some_and(|known| *known.store == *store);
        // When a store has a new connection, its new walk starts at the cursor of its old walk.
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

    /// Returns the walk to evict, so that `host` can get a walk for a new connection. That is the walk that has
    /// received no DIRECT-HEAD for the longest time, if this time is at least `IDLE_MS`. Otherwise the host with the
    /// most walks loses one, if it has more walks than `host` would have with the new one. If it does not have more,
    /// `host` loses one of its own walks. A host loses the walk that has received no DIRECT-HEAD for the longest time.
    fn walk_to_evict_for(&self, host: &[u8], now_ms: u64) -> Option<usize> {
        let count = |host: &[u8]| self.walks.iter().filter(|walk| walk.host() == host).count();
        let oldest = (0..self.walks.len()).min_by_key(|&i| self.walks[i].heard_ms)?;
        if now_ms >= self.walks[oldest].heard_ms + IDLE_MS {
            return Some(oldest);
        }
        let largest = self.walks.iter().map(Walk::host).max_by_key(|host| count(host))?;
        let loser = if count(largest) > count(host) + 1 { largest } else { host };
        let of_loser = (0..self.walks.len()).filter(|&i| self.walks[i].host() == loser);
        of_loser.min_by_key(|&i| self.walks[i].heard_ms)
    }

    /// Handles a DIRECT-RECORD or DIRECT-RECORDS, whose first record is at `position`. Returns true when all of its
    /// records answer a FETCH of this comparison. These records are not new to the store.
    pub fn handle_run(
        &mut self,
        position: &Position,
        run: &impl Payload,
        from: &Sender,
        now_ms: u64,
    ) -> bool {
        let is_compared = |walk: &Walk| {
            let (Some(sample), Some((_, of))) = (&walk.sample, walk.batch.first_key_value()) else {
                return false;
            };
            let (end, sample_end) = (
                position.sequence.saturating_add(run.record_count()),
                sample.first + sample.digests.len() as u64,
            );
            position.partition() == of.partition.as_name()
                && position.sequence < sample_end
                && sample.first < end
        };
        if !self.walks.iter().any(is_compared) {
            return false;
        }
        let from = from();
        let (mut is_answer, mut of_record) = (true, *position);
        run.for_each_content(|content| {
            is_answer &= self.handle_record(&of_record, content, &from, now_ms);
            of_record.sequence = of_record.sequence.saturating_add(1);
        });
        is_answer
    }

    /// Handles one record of [`Comparison::handle_run`]. Returns true when the record answers a FETCH of this
    /// comparison.
    fn handle_record(
        &mut self,
        position: &Position,
        content: &[u8],
        from: &Option<Box<[u8]>>,
        now_ms: u64,
    ) -> bool {
        let index_of = |walk: &Walk| {
            let (sample, (_, of)) = (walk.sample.as_ref()?, walk.batch.first_key_value()?);
            let is_of = position.partition() == of.partition.as_name();
            let index = position.sequence.checked_sub(sample.first).filter(|_| is_of)?;
            usize::try_from(index).ok().filter(|&index| index < sample.digests.len())
        };
        let Some(walk) = self.walks.iter_mut().find(|walk| walk.from == *from) else { return false };
        let Some(index) = index_of(walk) else { return false };
        let Some(sample) = &mut walk.sample else { return false };
        sample.seen[index] = true;
        sample.deadline_ms = now_ms + MIN_RECORD_TIMEOUT_MS.max(2 * walk.answer_ms);
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
                    partition: candidate.partition.clone(),
                    store: candidate.store.clone(),
                    from: from.clone(),
                    offset: position.sequence,
                });
            }
            walk.finish_partition(self.seed);
        } else if sample.seen.iter().all(|seen| *seen) {
            walk.finish_sample(self.seed, now_ms);
        }
        true
    }

    /// Returns the next difference to log. Each is returned once.
    pub fn poll_divergence(&mut self) -> Option<Divergence> {
        self.found.pop_front()
    }

    /// When [`Comparison::handle_timeout`] must be called next.
    pub fn due_ms(&self) -> Option<u64> {
        let of_walks = self.walks.iter().filter_map(|walk| {
            let due_ms = walk.due_ms()?;
            // A ready walk waits until the next FETCH may be sent. While a run is being read, it waits for the end of
            // the reading.
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

    /// Starts to read the next run, of the walk whose turn it is.
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
            // If this store lacks records of the partition, a FETCH for them may be in flight. The other store would
            // merge a FETCH of the comparison with that FETCH.
            let is_complete = self.held.next(candidate.partition.as_name()) >= candidate.end;
            if !is_complete || self.reported.contains(&key(candidate, walk.host())) {
                walk.finish_partition(self.seed);
                continue;
            }
            let (from, end) = (candidate.next, candidate.end);
            self.held.begin(Reading {
                partition: candidate.partition.clone(),
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
        // There may be many further partitions. The next ones are examined a little later.
        self.next_ms = now_ms + READING_MS;
    }

    /// Requests from the other store the run that this store has read from its disk.
    fn fetch<P>(
        &mut self,
        from: &Option<Box<[u8]>>,
        reading: Reading,
        own_address: &[u8],
        now_ms: u64,
        out: &mut Outbox<P>,
    ) {
        // The walk may have been evicted meanwhile.
        let Some(walk) = self.walks.iter_mut().find(|walk| walk.from == *from && walk.is_ready()) else {
            return;
        };
        let Some(mut candidate) = walk.batch.first_entry() else { return };
        let candidate = candidate.get_mut();
        if candidate.partition != reading.partition {
            return;
        }
        if reading.digests.is_empty() {
            candidate.next = reading.first;
            // The partition cannot be read, or ends with records that are too long to compare.
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
            topic: &candidate.partition.producer,
            address: own_address,
            subject: &candidate.partition.topic,
            sequence: reading.first,
            count: reading.digests.len() as u32,
            store: &candidate.store,
            // The sample has few records. Batches would contain further ones.
            takes_batches: false,
        });
        let timeout_ms = (MIN_TIMEOUT_MS.max(3 * walk.answer_ms) << walk.silent_count).min(MAX_TIMEOUT_MS);
        walk.sample = Some(Sample {
            first: reading.first,
            seen: vec![false; reading.digests.len()],
            digests: reading.digests,
            sent_ms: now_ms,
            deadline_ms: now_ms + timeout_ms,
        });
    }
}

#[cfg(test)]
mod tests;
