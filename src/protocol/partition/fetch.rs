//! Plans the FETCHes of one partition: which records to request, from which store, and when to retry.
//!
//! One FETCH is in flight at a time. It requests a window: as many records as fit into a few MiB, estimated from the
//! records received so far. FETCHes rotate among the stores that advertise the partition. When a store misses the
//! deadline of its FETCH, another store is asked. So a lost connection needs no special treatment. When no single store
//! is left to ask, all peers are asked, with a growing timeout. If responses then do not come or are partial, the
//! window shrinks.

use super::backoff::Backoff;
use super::fetch_stall::FetchStallDetector;
use super::reorder_buffer::ReorderBuffer;
use super::sources::{Choice, Sources};
use crate::protocol::Payload;
use std::sync::Arc;

/// The records in the first window of a partition whose record length is not known.
pub(super) const FIRST_WINDOW_COUNT: u32 = 16;
/// The limit of records in one FETCH. (0.1.0 requests up to 100,000.)
pub(super) const MAX_WINDOW_COUNT: u32 = 16_384;
/// The limit of content in one FETCH.
pub(super) const MAX_WINDOW_LEN_BYTES: u64 = 8 << 20;
/// The timeout of the first FETCH, unless responses are known to take longer. It doubles each time a FETCH to all peers
/// follows a FETCH without a complete response.
pub(super) const FIRST_RETRY_MS: u64 = 250;
/// The longest timeout while no peer mentions the partition.
pub(super) const MAX_RETRY_MS: u64 = 30_000;
/// The longest timeout after a peer has mentioned a missing record, unless responses are known to take longer. That
/// peer may have the record.
pub(super) const HEARD_RETRY_MS: u64 = 1_000;
/// The longest time for one window, however slowly its records arrive. After this time, another store is asked.
const MAX_WINDOW_MS: u64 = 30_000;
/// At most this many records of one run change the mean length. Further ones would hardly change it.
const MAX_SAMPLE_COUNT: u64 = 32;
/// The longest time that a response is assumed to take.
const MAX_ANSWER_MS: u64 = 8_000;
/// After this many FETCHes for the same record without a response, a FETCH requests fewer records.
const MAX_EQUAL_COUNT: u32 = 3;
/// One FETCH covers several gaps if the buffered records between them have at most this many bytes per millisecond of
/// response time. The buffered records are then sent again, but on a slow path that is faster than one FETCH for each
/// gap.
const KNOWN_LEN_BYTES_PER_MS: u64 = 1_000;

/// A FETCH to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The first record to request.
    pub first: u64,
    /// How many records to request.
    pub count: u32,
    /// The store to ask; `None` for all peers.
    pub store: Option<Arc<[u8]>>,
}

/// How far the response to a FETCH has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    /// No record has arrived yet.
    Awaited,
    /// The first record has arrived.
    Begun,
    /// A connection was given up before a record of the response arrived. The response may be lost.
    Lost,
    /// A connection was given up. A record of the response arrived before or after that.
    Interrupted,
}

impl Answer {
    fn has_begun(self) -> bool {
        matches!(self, Answer::Begun | Answer::Interrupted)
    }

    fn is_cut(self) -> bool {
        matches!(self, Answer::Lost | Answer::Interrupted)
    }
}

/// Whether the bytes that a FETCH requests count in the quota of bytes in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Quota {
    /// The bytes count.
    Counted,
    /// The FETCH repeats a FETCH that got no complete response. The new FETCH does not count until its response begins:
    /// perhaps no peer has the records, and then the FETCH must not take room from other partitions.
    Retry,
    /// The deadline has passed. The FETCH counts again when records arrive late and there is room for the remaining
    /// ones.
    Overdue,
    /// The FETCH was slow when other partitions needed room. It no longer counts.
    Slow,
    /// Slow, and the deadline has passed.
    SlowOverdue,
}

/// The FETCH in flight.
#[derive(Debug)]
struct Fetch {
    /// The first requested record.
    first: u64,
    /// One after the last requested record.
    end: u64,
    /// The store that was asked; `None` for all peers.
    store: Option<Arc<[u8]>>,
    sent_ms: u64,
    /// When the earliest FETCH that starts at the same record was sent. A record that arrives may be a response to that
    /// earlier FETCH.
    first_sent_ms: u64,
    /// How many FETCHes that start at the same record were sent before this one.
    equal_count: u32,
    /// The bytes of content that have arrived.
    len_bytes: u64,
    /// The FETCH counts at least this many bytes in the quota.
    least_len_bytes: u64,
    answer: Answer,
    quota: Quota,
    /// The FETCH is not repeated before this time, because its response may end connections.
    not_before_ms: u64,
    deadline_ms: u64,
}

impl Fetch {
    /// The first record of the response has arrived.
    fn begin_answer(&mut self) {
        self.answer = if self.answer.is_cut() { Answer::Interrupted } else { Answer::Begun };
        if self.quota == Quota::Retry {
            // The FETCH does not count yet, because there may be no room. As `Overdue`, it counts once `revive` is
            // called.
            self.quota = Quota::Overdue;
        }
    }

    /// A connection was given up.
    fn cut(&mut self) {
        self.answer = if self.answer.has_begun() { Answer::Interrupted } else { Answer::Lost };
    }

    fn is_overdue(&self) -> bool {
        matches!(self.quota, Quota::Overdue | Quota::SlowOverdue)
    }
}

/// The response time: from FETCH to the first record.
#[derive(Debug, Default)]
struct AnswerTime {
    ms: u64,
    /// Whether the last measured response may belong to an earlier FETCH.
    is_doubted: bool,
}

impl AnswerTime {
    /// Measures the response to `fetch`, whose first record has arrived.
    ///
    /// A response may take long because it waits behind live records in the producer's queue. Repeating the FETCH would
    /// only make that queue longer.
    fn measure(&mut self, fetch: &Fetch, now_ms: u64) {
        let first_ms = now_ms.saturating_sub(fetch.first_sent_ms);
        // A response is assumed to take at most `MAX_ANSWER_MS`. If more time has passed since the earliest FETCH, no
        // peer had the records for a while, or responses were lost. Then measure from the last FETCH.
        let sample_ms =
            if first_ms <= MAX_ANSWER_MS { first_ms } else { now_ms.saturating_sub(fetch.sent_ms) };
        let sample_ms = sample_ms.min(MAX_ANSWER_MS);
        // If several FETCHes start at the same record, the measured time may also be too long. So it is replaced by the
        // time of the next response whose FETCH was sent only once.
        let is_doubted = fetch.equal_count > 0;
        let known_ms = if self.is_doubted && !is_doubted { 0 } else { self.ms };
        self.ms = sample_ms.max((known_ms * 3 + sample_ms) / 4);
        self.is_doubted = is_doubted;
    }
}

/// The consequences of an incomplete response for the next FETCH.
struct Retry {
    first_sent_ms: u64,
    equal_count: u32,
    /// Whether the FETCH that got no complete response probably requested too many records.
    is_too_much: bool,
}

/// The FETCHes of one partition.
#[derive(Debug)]
pub struct FetchPlanner {
    fetch: Option<Fetch>,
    /// The limit of records in a window. It doubles with each complete response. It is halved after an incomplete
    /// response that was probably too large, if no single store is left to ask.
    max_window_count: u32,
    /// 0 until a record has been received.
    mean_len_bytes: u64,
    answer_time: AnswerTime,
    retry_ms: u64,
    backoff: Backoff,
    sources: Sources,
    stall: FetchStallDetector,
    /// Whether the last FETCH detected a stall.
    is_stalled: bool,
}

impl FetchPlanner {
    /// Returns a planner without a FETCH. Requesters with different `turn`s start with different stores.
    pub(super) fn new(turn: usize) -> Self {
        FetchPlanner {
            fetch: None,
            max_window_count: MAX_WINDOW_COUNT,
            mean_len_bytes: 0,
            answer_time: AnswerTime::default(),
            retry_ms: FIRST_RETRY_MS,
            backoff: Backoff::new(turn),
            sources: Sources::new(turn),
            stall: FetchStallDetector::default(),
            is_stalled: false,
        }
    }

    /// A run of `count` records and `len_bytes` of content has arrived in order; the record after it is `next`.
    pub(super) fn handle_in_order(&mut self, next: u64, count: u64, len_bytes: usize, now_ms: u64) {
        let len_bytes = len_bytes as u64;
        let record_len_bytes = len_bytes.div_ceil(count);
        for _ in 0..count.min(MAX_SAMPLE_COUNT) {
            // A moving mean that rises quickly when records become larger. So windows exceed the limit of bytes only
            // for a short time. At least 1, because 0 means that no record has been received.
            let mean_len_bytes = (self.mean_len_bytes * 7 + record_len_bytes).div_ceil(8);
            self.mean_len_bytes = mean_len_bytes.max(record_len_bytes / 4).max(1);
        }
        let Some(fetch) = &mut self.fetch else { return };
        self.retry_ms = FIRST_RETRY_MS;
        fetch.len_bytes += len_bytes;
        if !fetch.answer.has_begun() {
            fetch.begin_answer();
            self.answer_time.measure(fetch, now_ms);
        }
        if next < fetch.end {
            let patience_ms = FIRST_RETRY_MS.max(2 * self.answer_time.ms);
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

    /// A run has arrived early. If it is the first run that has arrived, it determines the expected record length.
    pub(super) fn handle_early(&mut self, count: u64, len_bytes: usize) {
        if self.mean_len_bytes == 0 {
            self.mean_len_bytes = (len_bytes as u64).div_ceil(count).max(1);
        }
    }

    /// A peer has mentioned a missing record. If the FETCH in flight is due later than [`HEARD_RETRY_MS`] from now, it
    /// is retried earlier.
    pub(super) fn handle_mention(&mut self, now_ms: u64) {
        if let Some(fetch) = &mut self.fetch {
            // Do not retry before a response can arrive.
            let soon_ms = (now_ms + HEARD_RETRY_MS.max(2 * self.answer_time.ms)).max(fetch.not_before_ms);
            fetch.deadline_ms = fetch.deadline_ms.min(soon_ms);
        }
    }

    /// A store has the records before `end`.
    pub fn add_source(&mut self, store: &Arc<[u8]>, end: u64) {
        self.sources.held_by(store, end);
    }

    /// True while the response of a single store is expected, until the deadline.
    pub fn is_store_asked(&self) -> bool {
        self.fetch.as_ref().is_some_and(|fetch| fetch.store.is_some() && !fetch.is_overdue())
    }

    /// When the next FETCH of a partition with a gap is due; 0 for at once.
    pub(super) fn due_ms(&self) -> u64 {
        self.fetch.as_ref().map_or(0, |fetch| fetch.deadline_ms)
    }

    /// Drops the FETCH in flight.
    pub(super) fn cancel(&mut self) {
        self.fetch = None;
    }

    /// The first record that the FETCH in flight requests.
    pub(super) fn requested(&self) -> Option<u64> {
        self.fetch.as_ref().map(|fetch| fetch.first)
    }

    /// The deadline of the FETCH in flight has passed. If it was sent to all peers, and repeats `repeat_count` FETCHes at
    /// least, drops it, and returns the first record that it requests. Does so also if a connection was given up
    /// meanwhile, because the response to another FETCH would end the connection again.
    pub(super) fn give_up(&mut self, repeat_count: u32, now_ms: u64) -> Option<u64> {
        let has_failed = |fetch: &mut Fetch| {
            fetch.answer.is_cut() || fetch.store.is_none() && fetch.equal_count >= repeat_count
        };
        let fetch = self.fetch.take_if(has_failed)?;
        self.sources.incomplete(fetch.store.as_ref(), now_ms);
        Some(fetch.first)
    }

    /// No record from `end` on is known to exist.
    pub(super) fn end_at(&mut self, end: u64) {
        if let Some(fetch) = &mut self.fetch {
            fetch.end = fetch.end.min(end);
        }
    }

    /// The deadline of the FETCH in flight has passed. It no longer counts in the quota, even when there is no room yet
    /// to repeat it.
    pub fn expire(&mut self) {
        if let Some(fetch) = &mut self.fetch {
            fetch.quota = match fetch.quota {
                Quota::Slow | Quota::SlowOverdue => Quota::SlowOverdue,
                _ => Quota::Overdue,
            };
        }
    }

    /// True when records arrive for a FETCH whose deadline has passed. The FETCH needs room again, see
    /// [`FetchPlanner::revive`].
    pub fn is_late(&self) -> bool {
        self.fetch.as_ref().is_some_and(|fetch| fetch.quota == Quota::Overdue && fetch.answer.has_begun())
    }

    /// There is room for the remaining part of a late response. The FETCH counts again.
    pub fn revive(&mut self) {
        if let Some(fetch) = &mut self.fetch
            && fetch.quota == Quota::Overdue
        {
            fetch.quota = Quota::Counted;
        }
    }

    /// The FETCH in flight is slow, and other partitions need its room. It no longer counts.
    pub fn release_quota(&mut self) {
        if let Some(fetch) = &mut self.fetch {
            fetch.quota = if fetch.is_overdue() { Quota::SlowOverdue } else { Quota::Slow };
        }
    }

    /// The estimated bytes of content that the FETCH in flight requests, if it counts in the quota. `next` is the
    /// partition's next record.
    pub(super) fn in_flight_len_bytes(&self, next: u64) -> u64 {
        match &self.fetch {
            Some(fetch) if fetch.quota == Quota::Counted && next < fetch.end => {
                let len_bytes =
                    (fetch.end - next.max(fetch.first)).saturating_mul(self.mean_len_bytes.max(64));
                len_bytes.max(fetch.least_len_bytes)
            }
            _ => 0,
        }
    }

    /// The deadline of the FETCH in flight has passed, and a connection was given up at `cut_ms`. Returns when to
    /// retry, or `None` to retry at once. After a partial response there is no wait. The records of the partial
    /// response were short enough, so the next record of the partition probably is short enough, too.
    pub fn back_off(&mut self, cut_ms: u64, now_ms: u64) -> Option<u64> {
        let fetch = self.fetch.as_mut()?;
        // There is no wait if the connection was given up before this FETCH was sent, or if a lost connection was
        // already counted for this FETCH.
        if cut_ms < fetch.sent_ms || fetch.answer.is_cut() {
            return None;
        }
        fetch.cut();
        if fetch.answer.has_begun() {
            return None;
        }
        self.backoff.cut();
        fetch.not_before_ms = cut_ms + self.backoff.wait_ms();
        fetch.deadline_ms = fetch.not_before_ms.max(now_ms);
        (fetch.deadline_ms > now_ms).then_some(fetch.deadline_ms)
    }

    /// How many connections were given up since the last complete response, each with the response to a FETCH.
    pub fn cut_count(&self) -> u32 {
        self.backoff.cut_count()
    }

    /// Plans a FETCH for the missing records from `next` to `end`. Returns `None` when no peer has responded for a
    /// minute and no early record shows that the missing ones exist. The FETCH counts at least `least_len_bytes` in the
    /// quota of bytes in flight.
    pub(super) fn request<P: Payload>(
        &mut self,
        next: u64,
        end: u64,
        least_len_bytes: u64,
        early: &ReorderBuffer<P>,
        now_ms: u64,
    ) -> Option<Request> {
        let unanswered = self.fetch.take();
        let is_repeated = unanswered.is_some();
        let Retry { first_sent_ms, equal_count, is_too_much } = match unanswered {
            Some(fetch) => self.end_unanswered(&fetch, next, now_ms),
            None => Retry { first_sent_ms: now_ms, equal_count: 0, is_too_much: false },
        };
        let is_hopeless = self.retry_ms >= MAX_RETRY_MS && equal_count > MAX_EQUAL_COUNT;
        if is_hopeless && early.is_empty() {
            return None;
        }
        let choice = self.sources.choose(next, now_ms);
        self.is_stalled = choice.store.is_none() && self.stall.poll_stall(next, now_ms);
        if is_repeated && choice.store.is_none() {
            // No single store is left to ask. At first, only the timeout is doubled: the response to a large window may
            // just take long, and each retry causes the records of the window to be sent again. After several FETCHes
            // without a response, fewer records are requested. After a partial response, fewer records are requested at
            // once: the remaining part was lost, perhaps because a queue on the path is too short for so many records.
            self.retry_ms = (self.retry_ms * 2).min(MAX_RETRY_MS);
            if is_too_much {
                self.max_window_count = (self.max_window_count / 2).max(FIRST_WINDOW_COUNT);
            }
        }
        let count = self.window_count(next, end, early, &choice);
        let not_before_ms = now_ms + self.backoff.wait_ms();
        self.fetch = Some(Fetch {
            first: next,
            end: next + u64::from(count),
            store: choice.store.clone(),
            sent_ms: now_ms,
            first_sent_ms,
            equal_count,
            len_bytes: 0,
            least_len_bytes,
            answer: Answer::Awaited,
            quota: if is_repeated { Quota::Retry } else { Quota::Counted },
            not_before_ms,
            deadline_ms: (now_ms + self.retry_ms.max(2 * self.answer_time.ms)).max(not_before_ms),
        });
        Some(Request { first: next, count, store: choice.store })
    }

    /// Handles a FETCH without a complete response.
    fn end_unanswered(&mut self, fetch: &Fetch, next: u64, now_ms: u64) -> Retry {
        self.sources.incomplete(fetch.store.as_ref(), now_ms);
        // A response that was lost with a connection shows neither how long responses take nor how many records a
        // response may have.
        let is_cut = fetch.answer.is_cut();
        let (first_sent_ms, equal_count) = match fetch.answer {
            Answer::Awaited => (fetch.first_sent_ms, fetch.equal_count + 1),
            _ => (now_ms, 0),
        };
        let is_large = fetch.end.saturating_sub(next) > u64::from(FIRST_WINDOW_COUNT);
        let is_too_much = is_large && !is_cut && (fetch.answer.has_begun() || equal_count >= MAX_EQUAL_COUNT);
        Retry { first_sent_ms, equal_count, is_too_much }
    }

    /// How many records to request from a source.
    fn window_count<P: Payload>(
        &self,
        next: u64,
        end: u64,
        early: &ReorderBuffer<P>,
        choice: &Choice,
    ) -> u32 {
        let known_len_bytes = self.answer_time.ms * KNOWN_LEN_BYTES_PER_MS;
        let limit = next.saturating_add(u64::from(MAX_WINDOW_COUNT));
        let gap_end = early.end_of_gaps(end, known_len_bytes, limit).min(choice.end).min(end);
        let fitting = match self.mean_len_bytes {
            0 => u64::from(FIRST_WINDOW_COUNT),
            mean_len_bytes => (choice.len_bytes.min(MAX_WINDOW_LEN_BYTES) / mean_len_bytes).max(1),
        };
        (gap_end - next).min(fitting).min(u64::from(self.max_window_count)) as u32
    }

    /// True when a stall was detected while the latest FETCH was planned. At each record, a stall is detected at most
    /// once.
    pub fn is_stalled(&self) -> bool {
        self.is_stalled
    }
}
