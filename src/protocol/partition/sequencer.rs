//! Puts the records of one partition in order, and decides what to request.
//!
//! Records arrive in any order, twice, or not at all. The sequencer returns them in order, each once. It buffers early
//! records, and requests missing ones with FETCH, one window at a time. A window is as many records as fit into a few
//! MiB, judged by the records seen so far. It shrinks when answers do not come or break off. Over a long way it spans
//! several gaps. FETCHes rotate among the stores that advertise the partition; when none is known, or they do not
//! answer, all peers are asked.

use super::backoff::Backoff;
use super::fetch_stall::FetchStallDetector;
use super::sources::{Choice, Sources};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Records in the first window of a partition whose record length is not known yet.
const FIRST_WINDOW_COUNT: u32 = 16;
/// The most records that one FETCH asks for. (0.1.0 asks for up to 100,000.)
const MAX_WINDOW_COUNT: u32 = 16_384;
/// What one FETCH should bring in content at the most.
const MAX_WINDOW_LEN_BYTES: u64 = 8 << 20;
/// How long to wait for an answer before the same FETCH goes out again, unless answers are known to take longer;
/// doubles while nothing comes.
const FIRST_RETRY_MS: u64 = 250;
/// The longest wait between two equal FETCHes when nobody speaks of the partition any more.
const MAX_RETRY_MS: u64 = 30_000;
/// The longest wait once somebody speaks of the partition, unless answers are known to take longer: whoever does may
/// have it.
const HEARD_RETRY_MS: u64 = 1_000;
/// The longest time that one window may take, however slowly its records come in: then another store is asked.
const MAX_WINDOW_MS: u64 = 30_000;
/// The longest time that an answer is taken to need.
const MAX_ANSWER_MS: u64 = 8_000;
/// So many FETCHes for the same record without an answer, and less is asked for.
const MAX_EQUAL_COUNT: u32 = 3;
/// What is known is asked for again, when it lies between gaps, for so many octets per ms that an answer takes: on a long
/// way that is sooner done than to ask for one gap after the other.
const KNOWN_LEN_BYTES_PER_MS: u64 = 1_000;
/// What one early record costs beside its content: its handle and its place in the map.
pub const EARLY_OVERHEAD_BYTES: usize = 128;

/// The largest offset that a record can have, so that "one after it" is a number too.
pub const MAX_OFFSET: u64 = u64::MAX - 1;

/// What became of a record that was offered.
#[derive(Debug, PartialEq, Eq)]
pub enum Offer<P> {
    /// It is the next one: hand it on, then ask [`Sequencer::pop_early`] for what follows.
    InOrder(P),
    /// It came early and is kept.
    Early,
    /// It is known already.
    Duplicate,
    /// It came early and there is no room: it will be fetched.
    NoRoom,
}

/// The state of one partition.
#[derive(Debug)]
pub struct Sequencer<P> {
    next: u64,
    /// One after the highest offset that was heard of; never below `next`.
    end: u64,
    early: BTreeMap<u64, P>,
    early_len_bytes: usize,
    fetch: Option<Fetch>,
    /// The most records of a window: halved when answers stay away, doubled when they come.
    max_window_count: u32,
    /// 0 while no record was seen.
    mean_len_bytes: u64,
    /// How long answers took lately, from FETCH to the first record.
    answer_ms: u64,
    /// The last one may have been the answer to an earlier FETCH.
    is_answer_doubted: bool,
    retry_ms: u64,
    backoff: Backoff,
    sources: Sources,
    stall: FetchStallDetector,
    /// The last FETCH has found that the partition stands still.
    is_stalled: bool,
}

/// A FETCH to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The first record to ask for.
    pub first: u64,
    /// How many.
    pub count: u32,
    /// The store to ask; `None`: all.
    pub store: Option<Arc<[u8]>>,
}

/// The FETCH that is under way.
#[derive(Debug)]
struct Fetch {
    end: u64,
    /// The store that was asked; `None`: all were.
    store: Option<Arc<[u8]>>,
    sent_ms: u64,
    /// When the first FETCH for its first record was sent: what comes may be the answer to that one.
    first_sent_ms: u64,
    /// How many FETCHes for its first record came before it.
    equal_count: u32,
    /// The content that has come since.
    len_bytes: u64,
    /// It asks for the same as the one before, which stayed without an answer.
    is_repeated: bool,
    is_answered: bool,
    /// Its deadline has passed: what it asks for is no longer taken to be on its way.
    is_overdue: bool,
    /// It was under way for long when others needed room: it no longer counts.
    is_slow: bool,
    /// What it asks for may be more than a connection takes: it is not asked for again before this.
    not_before_ms: u64,
    /// A connection was given up since it was sent, and perhaps the answer with it.
    is_cut: bool,
    deadline_ms: u64,
}

impl<P: AsRef<[u8]>> Sequencer<P> {
    /// A partition whose next record is `next`. Requesters with different `turn`s begin with different stores.
    pub fn new(next: u64, turn: usize) -> Self {
        Sequencer {
            next,
            end: next,
            early: BTreeMap::new(),
            early_len_bytes: 0,
            fetch: None,
            max_window_count: MAX_WINDOW_COUNT,
            mean_len_bytes: 0,
            answer_ms: 0,
            is_answer_doubted: false,
            retry_ms: FIRST_RETRY_MS,
            backoff: Backoff::new(turn),
            sources: Sources::new(turn),
            stall: FetchStallDetector::default(),
            is_stalled: false,
        }
    }

    /// The offset of the record that comes next.
    pub fn next(&self) -> u64 {
        self.next
    }

    /// What the early records occupy.
    pub fn early_len_bytes(&self) -> usize {
        self.early_len_bytes
    }

    /// Takes a record that arrived. `room_bytes` is what early records may still occupy.
    pub fn offer(&mut self, offset: u64, content: P, now_ms: u64, room_bytes: usize) -> Offer<P> {
        if offset < self.next || offset > MAX_OFFSET {
            return Offer::Duplicate;
        }
        if offset == self.next {
            self.advance(content.as_ref().len(), now_ms);
            return Offer::InOrder(content);
        }
        self.heard_of(offset, now_ms);
        if self.mean_len_bytes == 0 {
            self.mean_len_bytes = (content.as_ref().len() as u64).max(1);
        }
        if self.early.contains_key(&offset) {
            return Offer::Duplicate;
        }
        let cost_bytes = content.as_ref().len() + EARLY_OVERHEAD_BYTES;
        // When there is no room, the later record gives way: the earlier one is needed sooner.
        let mut room_bytes = room_bytes;
        while room_bytes < cost_bytes {
            match self.early.last_key_value() {
                Some((&last, _)) if last > offset => room_bytes += self.drop_last_early(),
                _ => return Offer::NoRoom,
            }
        }
        self.early_len_bytes += cost_bytes;
        self.early.insert(offset, content);
        Offer::Early
    }

    /// The next record, when it came early.
    pub fn pop_early(&mut self, now_ms: u64) -> Option<P> {
        if self.early.is_empty() {
            return None;
        }
        let content = self.early.remove(&self.next)?;
        self.early_len_bytes -= content.as_ref().len() + EARLY_OVERHEAD_BYTES;
        self.advance(content.as_ref().len(), now_ms);
        Some(content)
    }

    /// Somebody says that the record `offset` exists.
    pub fn heard_of(&mut self, offset: u64, now_ms: u64) {
        if offset > MAX_OFFSET || offset < self.next {
            return;
        }
        self.end = self.end.max(offset + 1);
        if let Some(fetch) = &mut self.fetch {
            // Not before an answer can be here.
            let soon_ms = (now_ms + HEARD_RETRY_MS.max(2 * self.answer_ms)).max(fetch.not_before_ms);
            fetch.deadline_ms = fetch.deadline_ms.min(soon_ms);
        }
    }

    /// True while the answer of a single store is waited for, until that is overdue.
    pub fn is_store_asked(&self) -> bool {
        self.fetch.as_ref().is_some_and(|fetch| fetch.store.is_some() && !fetch.is_overdue)
    }

    /// A store says that it has the records before `end`.
    pub fn held_by(&mut self, store: &Arc<[u8]>, end: u64) {
        self.sources.held_by(store, end);
    }

    /// True when records are missing.
    pub fn has_gap(&self) -> bool {
        self.next < self.end
    }

    /// When the next FETCH is due; `None` when nothing is missing.
    pub fn fetch_due_ms(&self) -> Option<u64> {
        self.has_gap().then(|| self.fetch.as_ref().map_or(0, |fetch| fetch.deadline_ms))
    }

    /// The deadline of the FETCH under way has passed. It makes room for others, also when it cannot be repeated yet
    /// because they leave none.
    pub fn give_up_fetch(&mut self) {
        if let Some(fetch) = &mut self.fetch {
            fetch.is_overdue = true;
        }
    }

    /// Records come in answer to a FETCH whose deadline had passed: it needs room again, see [`Sequencer::revive`].
    pub fn is_late(&self) -> bool {
        self.fetch.as_ref().is_some_and(|fetch| fetch.is_overdue && fetch.is_answered && !fetch.is_slow)
    }

    /// The FETCH under way is slow, and others need room: from now on it takes none.
    pub fn no_longer_count(&mut self) {
        if let Some(fetch) = &mut self.fetch {
            fetch.is_slow = true;
        }
    }

    /// There is room for what is left of a late answer.
    pub fn revive(&mut self) {
        if let Some(fetch) = &mut self.fetch {
            fetch.is_overdue = false;
        }
    }

    /// Takes back what others have claimed: beside `offset`, only those records exist for certain that have come.
    pub fn end_at(&mut self, offset: u64) {
        let known = self.early.last_key_value().map_or(offset, |(&last, _)| last.max(offset)) + 1;
        self.end = known.max(self.next).min(self.end);
        if self.end == self.next + 1 && offset == self.next {
            self.fetch = None;
        }
        // Where nothing is missing, nothing is under way.
        if let Some(fetch) = &mut self.fetch {
            fetch.end = fetch.end.min(self.end);
        }
    }

    /// The deadline of the FETCH under way has passed, and a connection was given up at `cut_ms`: when to ask again, if
    /// that shall wait. What was answered in part does not: its next record is not too long, as far as one can tell.
    pub fn hold_back(&mut self, cut_ms: u64, now_ms: u64) -> Option<u64> {
        let fetch = self.fetch.as_mut()?;
        // One that waits already is no longer under way.
        if cut_ms < fetch.sent_ms || fetch.is_cut {
            return None;
        }
        fetch.is_cut = true;
        if fetch.is_answered {
            return None;
        }
        self.backoff.cut();
        fetch.not_before_ms = cut_ms + self.backoff.wait_ms();
        fetch.deadline_ms = fetch.not_before_ms.max(now_ms);
        (fetch.deadline_ms > now_ms).then_some(fetch.deadline_ms)
    }

    /// How many octets of content the FETCH under way may bring, as far as one can tell. None when nobody has
    /// answered the one before: perhaps nobody can, and others must not wait for that.
    pub fn in_flight_len_bytes(&self) -> u64 {
        let Some(fetch) = &self.fetch else { return 0 };
        if fetch.is_overdue || fetch.is_slow || fetch.is_repeated && !fetch.is_answered {
            return 0;
        }
        fetch.end.saturating_sub(self.next).saturating_mul(self.mean_len_bytes.max(64))
    }

    /// What to ask for now, and whom. Call it when [`Sequencer::fetch_due_ms`] has come. A claim that nobody has answered
    /// for a minute, and that no record bears out, is forgotten until it is repeated.
    pub fn request(&mut self, now_ms: u64) -> Option<Request> {
        if !self.has_gap() {
            return None;
        }
        let unanswered = self.fetch.take();
        let is_repeated = unanswered.is_some();
        let (mut first_sent_ms, mut equal_count, mut is_too_much) = (now_ms, 0, false);
        if let Some(fetch) = unanswered {
            self.sources.silent(fetch.store.as_ref(), now_ms);
            // What was lost with a connection says nothing about how long answers take, or how long they may be.
            if !fetch.is_answered && !fetch.is_cut {
                (first_sent_ms, equal_count) = (fetch.first_sent_ms, fetch.equal_count + 1);
            }
            let is_large = fetch.end.saturating_sub(self.next) > u64::from(FIRST_WINDOW_COUNT);
            is_too_much = is_large && !fetch.is_cut && (fetch.is_answered || equal_count >= MAX_EQUAL_COUNT);
        }
        let is_hopeless = self.retry_ms >= MAX_RETRY_MS && equal_count > MAX_EQUAL_COUNT;
        if is_hopeless && self.early.is_empty() {
            self.end = self.next;
            return None;
        }
        let Choice { store, end, len_bytes } = self.sources.choose(self.next, now_ms);
        self.is_stalled = store.is_none() && self.stall.asked(self.next, now_ms);
        if is_repeated && store.is_none() {
            // Nothing came since the last one: ask less often, then for less. In this order: the answer to a large
            // window may just take its time, and what is asked anew is sent anew. But when an answer began and broke off,
            // the rest of it was lost on its way: perhaps there is a queue into which so much does not fit.
            self.retry_ms = (self.retry_ms * 2).min(MAX_RETRY_MS);
            if is_too_much {
                self.max_window_count = (self.max_window_count / 2).max(FIRST_WINDOW_COUNT);
            }
        }
        let gap_end = self.gap_end().min(end);
        let fitting = match self.mean_len_bytes {
            0 => u64::from(FIRST_WINDOW_COUNT),
            mean_len_bytes => (len_bytes.min(MAX_WINDOW_LEN_BYTES) / mean_len_bytes).max(1),
        };
        let not_before_ms = now_ms + self.backoff.wait_ms();
        let count = (gap_end - self.next).min(fitting).min(u64::from(self.max_window_count)) as u32;
        self.fetch = Some(Fetch {
            end: self.next + u64::from(count),
            store: store.clone(),
            sent_ms: now_ms,
            first_sent_ms,
            equal_count,
            len_bytes: 0,
            is_repeated,
            is_answered: false,
            is_overdue: false,
            is_slow: false,
            not_before_ms,
            is_cut: false,
            deadline_ms: (now_ms + self.retry_ms.max(2 * self.answer_ms)).max(not_before_ms),
        });
        Some(Request { first: self.next, count, store })
    }

    /// True when the last [`Sequencer::request`] has found that the partition stands still: so long has nobody answered
    /// with its next record. That is found once for each record.
    pub fn is_stalled(&self) -> bool {
        self.is_stalled
    }

    /// One after the last record of the first gap, or of those behind it that are worth being asked for with it.
    fn gap_end(&self) -> u64 {
        let Some((&first, _)) = self.early.first_key_value() else { return self.end };
        let mut known_len_bytes = self.answer_ms * KNOWN_LEN_BYTES_PER_MS;
        // The last gap ends before `gap_end`; what is known behind it, before `known_end`.
        let (mut gap_end, mut known_end) = (first, first);
        for (&offset, content) in &self.early {
            if offset > known_end {
                gap_end = offset;
            }
            let len_bytes = content.as_ref().len() as u64;
            if len_bytes > known_len_bytes || offset >= self.next + u64::from(MAX_WINDOW_COUNT) {
                return gap_end;
            }
            (known_len_bytes, known_end) = (known_len_bytes - len_bytes, offset + 1);
        }
        if self.end > known_end { self.end } else { gap_end }
    }

    /// `next` moves on by one record of `len` octets.
    fn advance(&mut self, len_bytes: usize, now_ms: u64) {
        self.next += 1;
        self.end = self.end.max(self.next);
        // A moving mean: quick to follow larger records, so that a window cannot become too large for long. At least
        // 1, since 0 means that no record was seen.
        let len_bytes = len_bytes as u64;
        let mean_len_bytes = (self.mean_len_bytes * 7 + len_bytes).div_ceil(8);
        self.mean_len_bytes = mean_len_bytes.max(len_bytes / 4).max(1);
        let Some(fetch) = &mut self.fetch else { return };
        self.retry_ms = FIRST_RETRY_MS;
        fetch.len_bytes += len_bytes;
        if !fetch.is_answered {
            fetch.is_answered = true;
            // What was asked for again has no room yet.
            fetch.is_overdue |= fetch.is_repeated;
            // Behind a producer's queue of live records an answer may take long; asking again would only make
            // that queue longer.
            let first_ms = now_ms.saturating_sub(fetch.first_sent_ms);
            // What took longer than any way did not come the whole time: it was not there, or cut off.
            let sample_ms =
                if first_ms <= MAX_ANSWER_MS { first_ms } else { now_ms.saturating_sub(fetch.sent_ms) };
            let sample_ms = sample_ms.min(MAX_ANSWER_MS);
            // That may be so, too, when it is not clear which of several equal FETCHes was answered: then the next answer
            // that is to one alone tells.
            let is_doubted = fetch.equal_count > 0;
            let known_ms = if self.is_answer_doubted && !is_doubted { 0 } else { self.answer_ms };
            self.answer_ms = sample_ms.max((known_ms * 3 + sample_ms) / 4);
            self.is_answer_doubted = is_doubted;
        }
        if self.next < fetch.end {
            let patience_ms = FIRST_RETRY_MS.max(2 * self.answer_ms);
            fetch.deadline_ms =
                now_ms + patience_ms.min((fetch.sent_ms + MAX_WINDOW_MS).saturating_sub(now_ms));
            return;
        }
        let took_ms = now_ms.saturating_sub(fetch.sent_ms);
        self.sources.answered(fetch.store.as_ref(), fetch.len_bytes, took_ms, now_ms);
        self.backoff.answered();
        self.fetch = None;
        self.max_window_count = (self.max_window_count * 2).min(MAX_WINDOW_COUNT);
    }

    /// Drops every early record: they will be fetched. How many that were, and what they occupied.
    pub fn drop_early(&mut self) -> (usize, usize) {
        let dropped = (self.early.len(), self.early_len_bytes);
        (self.early, self.early_len_bytes) = (BTreeMap::new(), 0);
        dropped
    }

    fn drop_last_early(&mut self) -> usize {
        let Some((_, content)) = self.early.pop_last() else { return 0 };
        let freed_bytes = content.as_ref().len() + EARLY_OVERHEAD_BYTES;
        self.early_len_bytes -= freed_bytes;
        freed_bytes
    }
}

#[cfg(test)]
mod tests;
