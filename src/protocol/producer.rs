//! The producer: numbers records from 0, keeps each record until stores have acknowledged it, and answers FETCH and
//! GET-HEADS.

use super::answers::{Answers, Job};
use super::notice::{AckStall, Notice};
use super::{Outbox, Payload, Progress, Requesters, Sender};
use crate::partition_name::PartitionName;
use crate::wire::{EncodeError, Message, Position, PositionTemplate, Subscription, id};
use ack_stall::{AckStallDetector, Change};
use copies::{Copies, IsPeer};
use hold::Hold;
use std::collections::VecDeque;

pub mod ack_stall;
pub mod batch_subscribers;
pub mod copies;
pub mod guard;
mod hold;
pub mod renewals;

/// A new peer gets a HEAD after this time. By then the peer has subscribed and can send a FETCH. One HEAD serves all
/// peers that connect within this time.
const NEW_PEER_MS: u64 = 20;

/// If a producer always has unread messages, it begins a new round of ACKs this long after the end of the last round.
const MAX_READING_MS: u64 = 1_000;

/// Every store accepts records of this length, whatever its limit is.
const ANY_STORE_BYTES: usize = 4_096;

/// The limit of acknowledged records that are kept in case the producer must publish them under a new address.
const MAX_DOUBTFUL_LEN_BYTES: u64 = 64 << 20;

/// The limit of ACKs that wait until all subscriptions are read.
const MAX_EARLY_ACKS: usize = 64;

/// After a change of address, the producer publishes its kept records again. One turn publishes them until it has
/// reached this number of messages, or this number of bytes.
const MAX_AGAIN_COUNT: u64 = 1_000;
const MAX_AGAIN_LEN_BYTES: usize = 4 << 20;

/// A slice of a response to FETCH ends when its records have reached this length.
const MAX_ANSWER_LEN_BYTES: usize = 1 << 20;

/// The memory that a record occupies besides its key, headers and content.
const RECORD_OVERHEAD_BYTES: u64 = 128;

/// The memory that a record occupies, before it is published. The parameter includes the record's key and headers.
pub fn cost_bytes(content_len_bytes: usize) -> u64 {
    content_len_bytes as u64 + RECORD_OVERHEAD_BYTES
}

/// Why another producer seems to use this producer's address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Twin {
    /// A store acknowledged a record that this producer has not published.
    #[error("record {sequence} is acknowledged, and it has published {published}")]
    Beyond {
        /// The record's offset.
        sequence: u64,
        /// How many records this producer has published.
        published: u64,
    },
    /// A store acknowledged a record that no store can have received.
    #[error("record {sequence} is acknowledged, and no store has subscribed to its records")]
    Unread {
        /// The record's offset.
        sequence: u64,
    },
}

/// An ACK that arrived before any subscription was read.
#[derive(Debug)]
struct EarlyAck {
    store: Box<[u8]>,
    from: Option<Box<[u8]>>,
    sequence: u64,
}

/// Records that were published together, and are kept.
#[derive(Debug)]
struct KeptRun<P> {
    /// The offset of the first record.
    first: u64,
    run: P,
}

impl<P: Payload> KeptRun<P> {
    /// The offset after the last record.
    fn end(&self) -> u64 {
        self.first + self.run.record_count()
    }

    fn cost_bytes(&self) -> u64 {
        self.run.kept_bytes()
    }
}

/// The producer's state.
pub struct Producer<P> {
    topic: Box<[u8]>,
    address: Box<[u8]>,
    record: PositionTemplate,
    records: PositionTemplate,
    head: PositionTemplate,
    /// Whether every subscriber takes RECORDS.
    are_batches_taken: bool,
    /// The runs with the records from `first_kept` on, in order: all unacknowledged records, and acknowledged ones
    /// while `is_doubtful`. The first run may also have records before `first_kept`.
    kept: VecDeque<KeptRun<P>>,
    first_kept: u64,
    /// Records before this offset are acknowledged, and their ACKs cannot be for a twin's records.
    proven: u64,
    /// Records before this offset are acknowledged.
    acknowledged: u64,
    /// How many runs at the start of `kept` are acknowledged completely.
    acknowledged_run_count: usize,
    /// The memory that the runs with unacknowledged records occupy, see [`Payload::kept_bytes`].
    kept_len_bytes: u64,
    /// True when ACKs may be for another producer's records. Acknowledged records are then kept, to be published under
    /// a new address.
    is_doubtful: bool,
    /// How much memory the kept runs occupy whose records are all acknowledged.
    doubtful_len_bytes: u64,
    /// How many records were dropped although their ACK may have been for a twin's record. Counts all addresses
    /// together.
    dropped_unproven: u64,
    /// Whether a peer has subscribed to the records. Also true if the caller reports no subscriptions, see
    /// [`Producer::unread`].
    is_read: bool,
    /// How many stores subscribe to the records.
    stores: i64,
    /// Whether a store has acknowledged a record.
    is_stored: bool,
    /// Whether subscriptions are unread.
    is_behind: bool,
    /// ACKs that arrived while no subscription of a peer was known.
    early_acks: Vec<EarlyAck>,
    /// Why another producer seems to use this producer's address.
    twin: Option<Twin>,
    copies: Copies,
    /// When enough stores had acknowledged in the current round, see [`Copies`].
    round_over_ms: Option<u64>,
    next: u64,
    /// The records from here on were not published under this address yet, see [`Producer::renew`].
    unpublished: u64,
    /// New records wait, see [`Producer::hold`].
    hold: Option<Hold>,
    head_interval_ms: u64,
    head_due_ms: Option<u64>,
    answers: Answers,
    ack_stall: AckStallDetector,
    /// The length of the longest run that was acknowledged completely. Stores accept a record of this length.
    longest_acknowledged_bytes: usize,
}

impl<P: Payload> Producer<P> {
    /// Returns a producer that writes the partition `address` of `topic`.
    ///
    /// # Errors
    /// When the topic is longer than 255 octets or contains a NUL.
    pub fn new(topic: &[u8], address: &[u8], head_interval_ms: u64) -> Result<Self, EncodeError> {
        Ok(Producer {
            topic: topic.into(),
            address: address.into(),
            record: PositionTemplate::new(id::RECORD, topic, address, topic)?,
            records: PositionTemplate::new(id::RECORDS, topic, address, topic)?,
            are_batches_taken: false,
            head: PositionTemplate::new(id::HEAD, topic, address, topic)?,
            kept: VecDeque::new(),
            first_kept: 0,
            proven: 0,
            acknowledged: 0,
            acknowledged_run_count: 0,
            kept_len_bytes: 0,
            is_doubtful: false,
            doubtful_len_bytes: 0,
            dropped_unproven: 0,
            is_read: true,
            stores: 0,
            is_stored: false,
            is_behind: false,
            early_acks: Vec::new(),
            twin: None,
            copies: Copies::new(1),
            round_over_ms: None,
            next: 0,
            unpublished: 0,
            hold: None,
            head_interval_ms,
            head_due_ms: None,
            answers: Answers::default(),
            ack_stall: AckStallDetector::default(),
            longest_acknowledged_bytes: 0,
        })
    }

    /// Numbers the records from `first` instead of from 0, when stores already have the partition's records before
    /// `first`. To be called before the first record is published.
    pub fn with_first_offset(self, first: u64) -> Self {
        Producer {
            first_kept: first,
            proven: first,
            acknowledged: first,
            next: first,
            unpublished: first,
            ..self
        }
    }

    /// Continues a partition that an earlier producer has written: the records before `acknowledged` are acknowledged,
    /// and `runs` are the records from there on. HEADs announce them, and peers fetch those that they lack. (If they were
    /// published again, consumers of new records would take them for new ones.) If the partition has records, new
    /// records wait until [`Producer::release`] is called, see [`Producer::hold`]. To be called before the first record
    /// is published.
    pub fn resumed(self, acknowledged: u64, runs: impl IntoIterator<Item = P>, now_ms: u64) -> Self {
        let mut resumed = self.with_first_offset(acknowledged);
        runs.into_iter().for_each(|run| resumed.keep(run, now_ms));
        resumed.unpublished = resumed.next;
        if resumed.next > 0 {
            resumed.head_due_ms.get_or_insert(now_ms + resumed.head_interval_ms);
            resumed.hold();
        }
        resumed
    }

    /// A record counts as acknowledged when `min_stores` different stores have it. 0 has the same effect as 1.
    pub fn with_min_stores(self, min_stores: usize) -> Self {
        Producer { copies: Copies::new(min_stores), ..self }
    }

    /// `is_peer` returns whether a connection leads to a node that is a peer now. If several stores are needed, an ACK
    /// without a store's name counts only if it came over such a connection. To be called after
    /// [`Producer::with_min_stores`], and again after [`Producer::renew`].
    pub fn with_peers(mut self, is_peer: IsPeer) -> Self {
        self.set_peers(is_peer);
        self
    }

    /// Like [`Producer::with_peers`].
    pub fn set_peers(&mut self, is_peer: IsPeer) {
        let copies = std::mem::replace(&mut self.copies, Copies::new(1));
        self.copies = copies.with_peers(is_peer);
    }

    /// Declares that no peer has subscribed to the records yet, and that the caller reports each subscription with
    /// [`Producer::handle_subscription`]. An ACK before the first subscription is then for a record of another producer
    /// with the same address.
    pub fn unread(self) -> Self {
        Producer { is_read: false, ..self }
    }

    /// Limits the FETCHes that wait. At the limit, the new FETCH or a waiting one is dropped, and its requester
    /// retries.
    pub fn with_max_fetches(self, max_fetches: usize) -> Self {
        Producer { answers: Answers::new(max_fetches), ..self }
    }

    /// Sets whether every subscriber of the topic takes batches, see [`batch_subscribers`]. Otherwise the records of a
    /// batch are published one by one. To be called after subscriptions were read.
    pub fn handle_batches_taken(&mut self, are_batches_taken: bool) {
        self.are_batches_taken = are_batches_taken;
    }

    /// Whether a batch that is published now travels as a batch.
    pub fn are_batches_taken(&self) -> bool {
        self.are_batches_taken
    }

    /// Publishes a run, and keeps it until all of its records are acknowledged. While earlier records are
    /// [unpublished](Producer::has_unpublished), the run is published after them.
    pub fn publish(&mut self, run: P, now_ms: u64, out: &mut Outbox<P>) {
        let is_due = !self.has_unpublished() && self.hold.is_none();
        self.keep(run, now_ms);
        if is_due {
            self.publish_kept(self.kept.len() - 1, out);
        }
    }

    /// Keeps a run until all of its records are acknowledged.
    fn keep(&mut self, run: P, now_ms: u64) {
        let kept = KeptRun { first: self.next, run };
        self.kept_len_bytes += kept.cost_bytes();
        self.next = kept.end();
        self.kept.push_back(kept);
        // After the first record, a HEAD is sent at each interval.
        self.head_due_ms.get_or_insert(now_ms + self.head_interval_ms);
    }

    /// Publishes the kept runs from `begin` on, as many as one turn may publish.
    fn publish_kept(&mut self, begin: usize, out: &mut Outbox<P>) {
        let end = self.publishable_end();
        let Self { kept, record, records, are_batches_taken, unpublished, .. } = self;
        let (mut count, mut len_bytes) = (0, 0);
        for kept in kept.range_mut(begin..) {
            if count >= MAX_AGAIN_COUNT || len_bytes >= MAX_AGAIN_LEN_BYTES || kept.first >= end {
                break;
            }
            let run = kept.run.share();
            len_bytes += run.len_bytes();
            match run.is_batch() && *are_batches_taken {
                true => {
                    count += 1;
                    out.record(records.frame(kept.first), run);
                }
                false => {
                    count += run.record_count();
                    out.singles(record, kept.first, run);
                }
            }
            *unpublished = kept.end();
        }
    }

    /// Whether records wait to be published. [`Producer::handle_timeout`] is due then.
    pub fn has_unpublished(&self) -> bool {
        self.unpublished < self.publishable_end()
    }

    /// The records before this offset may be published.
    fn publishable_end(&self) -> u64 {
        self.hold.as_ref().map_or(self.next, |hold| hold.from)
    }

    /// Publishes no further new records until [`Producer::release`] is called. New records are kept meanwhile. All
    /// earlier records remain available to peers.
    pub fn hold(&mut self) {
        self.hold = Some(Hold::new(self.publishable_end(), self.acknowledged));
    }

    /// Publishes the records that wait since [`Producer::hold`], and then all further ones.
    pub fn release(&mut self) {
        self.hold = None;
    }

    /// How many different stores have acknowledged, since [`Producer::hold`], all records that were acknowledged before.
    /// All stores without a name count as one.
    pub fn confirmations(&self) -> usize {
        self.hold.as_ref().map_or(0, Hold::confirmations)
    }

    /// Handles a message from the network.
    pub fn handle_message(&mut self, message: &Message, from: &Sender, out: &mut Outbox<P>) {
        match message {
            // No store can have a record that was not published.
            Message::Ack { sequence, .. } if self.is_own(message) && *sequence >= self.publishable_end() => {
                self.suspect(Twin::Beyond { sequence: *sequence, published: self.publishable_end() });
            }
            Message::Ack { sequence, store, .. } if self.is_own(message) && !self.is_read => {
                if self.early_acks.len() < MAX_EARLY_ACKS {
                    let (store, from) = ((*store).into(), from());
                    self.early_acks.push(EarlyAck { store, from, sequence: *sequence });
                }
                self.take_early_acks();
            }
            Message::Ack { sequence, store, .. } if self.is_own(message) => {
                self.hold.iter_mut().for_each(|hold| hold.confirm(store, *sequence + 1));
                let end = self.copies.handle_ack(store, from, *sequence + 1);
                self.forget(end);
            }
            Message::Fetch { address, sequence, count, takes_batches, .. } if self.is_own(message) => {
                let end = sequence.saturating_add(u64::from(*count)).min(self.publishable_end());
                // Stores answer requests for acknowledged records.
                let start = (*sequence).max(self.first_kept);
                let partition = PartitionName { topic: &self.topic, producer: &self.address };
                self.answers.push(from, address, partition, start..end, *takes_batches);
            }
            Message::GetHeads { topic, address }
                if **topic == *self.topic
                    && let Some(head) = self.published_head() =>
            {
                out.message(&Message::DirectHead {
                    position: Position::new(address, &self.address, &self.topic, head),
                    // The producer is not a store. It also answers FETCHes that name a store.
                    store: b"",
                });
            }
            _ => {}
        }
    }

    /// Sets whether subscriptions are unread. To be called after subscriptions were read, and before messages are
    /// handled.
    pub fn handle_behind(&mut self, is_behind: bool) {
        self.is_behind = is_behind;
        self.take_early_acks();
    }

    /// Handles the early ACKs, once it is known whether there is a subscription.
    fn take_early_acks(&mut self) {
        if self.is_behind && !self.is_read {
            return;
        }
        for EarlyAck { store, from, sequence } in std::mem::take(&mut self.early_acks) {
            if self.is_read {
                let end = self.copies.handle_ack(&store, &|| from.clone(), sequence + 1);
                self.forget(end);
            } else {
                self.suspect(Twin::Unread { sequence });
            }
        }
    }

    /// Handles a subscription that a peer made at this producer's socket.
    ///
    /// A node of this library that subscribes to HEADs gets a HEAD soon, so that it can fetch missing records before
    /// the next HEAD is due. A consumer of libdafka 0.1.0 must not get this HEAD: it would treat the record in its
    /// first HEAD as a new record. The producer distinguishes the two by the subscription: only a node of this library
    /// adds a NUL after the topic.
    pub fn handle_subscription(&mut self, subscription: &Subscription, now_ms: u64) {
        if !self.topic.starts_with(subscription.topic) {
            return;
        }
        if subscription.id == id::RECORD && subscription.topic.is_empty() {
            // Stores make only the subscription without a NUL, which adds 1. Consumers of all topics also make the one
            // with a NUL, which subtracts 1 again, see `subscriptions::topics`.
            self.stores += if subscription.subscribe != subscription.is_exact { 1 } else { -1 };
        }
        if !subscription.subscribe {
            return;
        }
        // A store that subscribes only to HEADs fetches the records.
        self.is_read |= matches!(subscription.id, id::RECORDS | id::RECORD | id::HEAD);
        if subscription.id == id::HEAD
            && subscription.is_exact
            && let Some(due_ms) = &mut self.head_due_ms
        {
            *due_ms = (*due_ms).min(now_ms + NEW_PEER_MS);
        }
    }

    /// Sends at most `count` records in response to the next FETCH whose requester can receive them now. A requester
    /// that takes batches gets whole batches, so the first and the last batch may have further records.
    pub fn poll_answers(
        &mut self,
        requesters: &mut impl Requesters,
        count: u64,
        out: &mut Outbox<P>,
    ) -> Progress {
        let next = self.answers.pop_for(|job| requesters.poll_reading(job.response_id(), &job.requester));
        let Some(mut job) = next else { return Progress::of(!self.answers.is_empty(), false) };
        // Records may have been acknowledged and dropped since the request.
        job.next = job.next.max(self.first_kept);
        let mut end = job.end.min(job.next + count);
        let name = job.partition.as_name();
        let template = |id| PositionTemplate::new(id, &job.requester, name.producer, name.topic);
        if job.next < end
            && let (Ok(mut single), Ok(mut batch)) =
                (template(id::DIRECT_RECORD), template(id::DIRECT_RECORDS))
        {
            let first = self.kept.partition_point(|kept| kept.end() <= job.next);
            let mut len_bytes = 0;
            for kept in self.kept.range_mut(first..).take_while(|kept| kept.first < end) {
                if len_bytes >= MAX_ANSWER_LEN_BYTES {
                    end = job.next;
                    break;
                }
                let run = kept.run.share();
                len_bytes += run.len_bytes();
                if job.takes_batches && run.is_batch() {
                    out.record(batch.frame(kept.first), run);
                    job.next = kept.end();
                    continue;
                }
                let begin = job.next.max(kept.first);
                let wanted = run.skip(begin - kept.first).and_then(|run| run.split(end - begin).0);
                wanted.into_iter().for_each(|run| out.singles(&mut single, begin, run));
                job.next = end.min(kept.end());
            }
        }
        self.answers.put_back(Job { next: end.max(job.next), ..job });
        Progress::of(!self.answers.is_empty(), true)
    }

    /// When [`Producer::handle_timeout`] must be called next; `None` before the first record.
    pub fn due_ms(&self) -> Option<u64> {
        if self.has_unpublished() { Some(0) } else { self.head_due_ms }
    }

    /// A peer has appeared or disappeared, see [`Copies::handle_peer`].
    pub fn handle_peer(&mut self, is_present: bool, is_it: &dyn Fn(&[u8]) -> bool) {
        self.copies.handle_peer(is_present, is_it);
    }

    /// All received messages have been handled. A new round of ACKs may begin then, see [`Copies`].
    pub fn handle_all_read(&mut self, now_ms: u64) {
        if self.copies.is_round_over() {
            self.begin_round(now_ms);
        }
    }

    fn begin_round(&mut self, now_ms: u64) {
        self.round_over_ms = None;
        let end = self.copies.begin_round();
        // Stores acknowledge again when they get a HEAD.
        if end > self.acknowledged
            && let Some(due_ms) = &mut self.head_due_ms
        {
            *due_ms = (*due_ms).min(now_ms + NEW_PEER_MS);
        }
    }

    /// Publishes waiting records, as many as one turn may publish. Sends a HEAD when it is due.
    pub fn handle_timeout(&mut self, now_ms: u64, out: &mut Outbox<P>) {
        if self.has_unpublished() {
            // Stores may have fetched and acknowledged some of these records already.
            self.unpublished = self.first_kept.max(self.unpublished);
            let begin = self.kept.partition_point(|kept| kept.end() <= self.unpublished);
            self.publish_kept(begin, out);
        }
        if self.copies.is_round_over() {
            let over_ms = *self.round_over_ms.get_or_insert(now_ms);
            if over_ms + MAX_READING_MS <= now_ms {
                self.begin_round(now_ms);
            }
        }
        if self.head_due_ms.is_some_and(|due_ms| due_ms <= now_ms) {
            self.send_head(now_ms, out);
        }
    }

    /// Sends a HEAD now, so that stores detect missing records at once.
    pub fn send_head(&mut self, now_ms: u64, out: &mut Outbox<P>) {
        if let Some(head) = self.published_head() {
            self.head_due_ms = Some(now_ms + self.head_interval_ms);
            out.frame(self.head.frame(head));
        }
    }

    /// The last published record. `None` before the first one.
    fn published_head(&self) -> Option<u64> {
        self.head_due_ms.and(self.unpublished.max(self.first_kept).checked_sub(1))
    }

    /// Notes that there is a twin. From now on, ACKs may be for the twin's records.
    fn suspect(&mut self, twin: Twin) {
        self.twin = Some(twin);
        self.keep_acknowledged();
    }

    /// Returns why another producer seems to use this producer's address. Each reason is returned once.
    pub fn poll_twin(&mut self) -> Option<Twin> {
        self.twin.take()
    }

    /// Keeps records after they are acknowledged, up to 64 MiB of them, until [`Producer::renew`] is called. To be
    /// called when there is a twin, because ACKs may be for the twin's records.
    pub fn keep_acknowledged(&mut self) {
        self.is_doubtful = true;
    }

    /// Continues as a producer with another address, in another partition. There, all kept records are numbered from 0,
    /// and [`Producer::handle_timeout`] publishes them again, in several turns if they are many. ACKs up to now may
    /// have been for the twin's records, and no longer count. No peer has subscribed to the new partition yet, see
    /// [`Producer::unread`].
    ///
    /// # Errors
    /// Like [`Producer::new`].
    pub fn renew(&mut self, address: &[u8], now_ms: u64) -> Result<(), EncodeError> {
        let mut renewed = Producer::new(&self.topic, address, self.head_interval_ms)?;
        renewed.copies = Copies::new(self.copies.min_stores());
        renewed.answers = self.answers.emptied();
        renewed.longest_acknowledged_bytes = self.longest_acknowledged_bytes;
        // The next subscriptions probably come from the same peers. A node that does not take batches fetches the
        // records.
        renewed.are_batches_taken = self.are_batches_taken;
        renewed.is_read = false;
        renewed.is_stored = self.is_stored || self.stores > 0;
        renewed.dropped_unproven = self.dropped_unproven;
        for KeptRun { first, run } in std::mem::take(&mut self.kept) {
            // A store has acknowledged some records of this run before there was a twin.
            let run = run.skip(self.first_kept.saturating_sub(first));
            run.into_iter().for_each(|run| renewed.keep(run, now_ms));
        }
        *self = renewed;
        Ok(())
    }

    /// True when a store has acknowledged a record under any address, or subscribes to the records now. Also true while
    /// subscriptions are unread.
    ///
    /// A consumer of libdafka 0.1.0 that subscribes to all topics cannot be distinguished from a store, so it counts as
    /// one.
    pub fn may_be_stored(&self) -> bool {
        self.is_stored || self.stores > 0 || self.is_behind
    }

    /// True when every published record is acknowledged.
    pub fn is_drained(&self) -> bool {
        self.acknowledged == self.next
    }

    /// True when every published record is acknowledged and no ACK is doubtful: the producer may end. See
    /// [`Producer::keep_acknowledged`].
    pub fn is_done(&self) -> bool {
        self.kept.is_empty()
    }

    /// How many records are not proven to be stored, over all addresses: the unacknowledged records, and the records
    /// whose ACK may be for a twin's record.
    pub fn unproven(&self) -> u64 {
        self.next - self.first_kept + self.dropped_unproven
    }

    /// How many of the [unproven](Producer::unproven) records the producer has dropped. It can no longer find out
    /// whether a store has them.
    pub fn dropped_unproven(&self) -> u64 {
        self.dropped_unproven
    }

    /// The last record of the current partition that is proven to be stored.
    pub fn proven_head(&self) -> Option<u64> {
        self.proven.checked_sub(1)
    }

    /// How many records are not acknowledged.
    pub fn unacknowledged(&self) -> usize {
        (self.next - self.acknowledged) as usize
    }

    /// How many records the producer keeps: unacknowledged ones, and those of [`Producer::keep_acknowledged`].
    pub fn kept_count(&self) -> usize {
        (self.next - self.first_kept) as usize
    }

    /// Returns the next notice, if any. To be called at least as often as a HEAD is due.
    pub fn poll_notice(&mut self, now_ms: u64) -> Option<Notice> {
        let oldest = (!self.is_drained()).then_some(self.acknowledged);
        match self.ack_stall.poll_change(oldest, now_ms)? {
            Change::Resumed => Some(Notice::AcksResumed),
            Change::Stalled { ms } => Some(Notice::AckStalled(AckStall {
                topic: self.topic.clone(),
                count: self.unacknowledged(),
                ms,
                min_stores: self.copies.min_stores(),
                stores: self.copies.count(self.acknowledged),
                long_record: self.long_record(),
            })),
        }
    }

    /// Returns the oldest unacknowledged record and its length. `None` unless the record was published alone, is longer
    /// than all acknowledged records, and longer than the length that every store accepts.
    fn long_record(&self) -> Option<(u64, usize)> {
        let oldest =
            self.kept.get(self.acknowledged_run_count).filter(|kept| kept.run.record_count() == 1)?;
        let len = oldest.run.longest_content_bytes();
        (len > self.longest_acknowledged_bytes.max(ANY_STORE_BYTES)).then_some((self.acknowledged, len))
    }

    /// The memory that the runs with unacknowledged records occupy.
    pub fn kept_len_bytes(&self) -> u64 {
        self.kept_len_bytes
    }

    /// Whether a message is about this producer's partition.
    fn is_own(&self, message: &Message) -> bool {
        message.partition() == Some(PartitionName { topic: &self.topic, producer: &self.address })
    }

    /// Marks the records before `end` as acknowledged. Drops the runs that are acknowledged completely, unless they are
    /// kept for a new address.
    fn forget(&mut self, end: u64) {
        debug_assert!(end <= self.next, "an ACK of what was not published is for a twin's record");
        while self.acknowledged < end
            && let Some(kept) = self.kept.get(self.acknowledged_run_count)
        {
            self.is_stored = true;
            self.acknowledged = end.min(kept.end());
            if self.acknowledged < kept.end() {
                break;
            }
            self.acknowledged_run_count += 1;
            self.kept_len_bytes -= kept.cost_bytes();
            self.doubtful_len_bytes += kept.cost_bytes();
            let longest_bytes = kept.run.longest_content_bytes();
            self.longest_acknowledged_bytes = self.longest_acknowledged_bytes.max(longest_bytes);
        }
        let most_bytes = if self.is_doubtful { MAX_DOUBTFUL_LEN_BYTES } else { 0 };
        while self.doubtful_len_bytes > most_bytes
            && let Some(kept) = self.kept.pop_front()
        {
            self.acknowledged_run_count -= 1;
            self.doubtful_len_bytes -= kept.cost_bytes();
            if self.is_doubtful {
                self.dropped_unproven += kept.end() - self.first_kept;
            }
            self.first_kept = kept.end();
        }
        if !self.is_doubtful {
            self.first_kept = self.acknowledged;
            self.proven = self.acknowledged;
        }
        // A burst may have grown the queue while no store was connected. Release that memory.
        if self.kept.len() < self.kept.capacity() / 8 && self.kept.capacity() > 4_096 {
            self.kept.shrink_to(self.kept.len() * 2);
        }
    }
}
