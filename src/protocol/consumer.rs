//! The consumer: reads every partition of its topics, and delivers each record once and in order.

use super::ingest::{Index, Ingest, Limits, Statistics};
use super::notice::Notice;
use super::partition::sequencer::MAX_OFFSET;
use super::{Outbox, Payload, Sender, last_of};
use crate::partition_name::{PartitionName, SharedPartitionName};
use crate::wire::{Message, Position, SubjectsBuf, Subscription, id};
use end::Quiet;
use group::Group;
use latest::Beginning;
use positions::Positions;
use std::collections::BTreeSet;
use topics::Topics;
use unacknowledged::{Stall, Unacknowledged};

mod end;
mod group;
mod latest;
mod named;
pub mod positions;
mod seek;
mod topics;
pub mod unacknowledged;

pub use group::{GroupConfig, Timing};
pub use topics::Subscribed;

/// Where to start in a partition that is new to the consumer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// At its first record.
    Earliest,
    /// At its first record if the partition began after the subscription. Otherwise at the first live record that
    /// arrives, or after the record that an earlier HEAD names. See the module `latest`.
    Latest,
    /// At the first record that was published at this time or later, in milliseconds since the Unix epoch. See
    /// [`Search`](super::partition::search::Search).
    Time(i64),
    /// At the record with this offset, also if the partition does not have this record yet.
    Offset(u64),
    /// As [`Start::Latest`], but this number of records earlier in a partition that is older than the subscription. If
    /// only stores have mentioned such a partition, the consumer starts this number of records before their end.
    Last(u64),
}

impl Start {
    /// Where to start in a partition that is older than the subscription, after a message that mentions the record
    /// `last`. `published` is where [`Start::Latest`] starts; `None` if the message is not from the producer. Returns
    /// `None` if the message does not determine it.
    fn claim(self, published: Option<u64>, last: u64) -> Option<u64> {
        match self {
            Start::Last(count) => Some(published.unwrap_or(last.saturating_add(1)).saturating_sub(count)),
            _ => published,
        }
    }
}

/// A run for the application.
#[derive(Debug)]
pub struct Delivery<P> {
    /// The partition, see [`Consumer::partition`].
    pub partition: Index,
    /// The offset of the first record.
    pub offset: u64,
    /// The contents of the records.
    pub content: P,
}

/// The consumer's state.
pub struct Consumer<P> {
    address: Box<[u8]>,
    /// Where to start in the partitions of a topic that is subscribed now.
    start: Start,
    topics: Topics,
    /// The topics whose records are not read now.
    paused: BTreeSet<Box<[u8]>>,
    ingest: Ingest<P>,
    /// See [`Consumer::handle_uptime`].
    uptime_ms: u64,
    /// The records that are held back until a store has acknowledged them. `None` if records are delivered at once.
    unacknowledged: Option<Unacknowledged<P>>,
    /// The committed positions, if the consumer has a name.
    positions: Option<Positions>,
    /// The group, if the consumer is a member of one. Then `positions` are those that are common to all slots.
    group: Option<Box<Group>>,
    /// When the consumer next asks the stores for the heads of its topics.
    refresh_ms: u64,
    /// When the consumer last asked the stores.
    asked_ms: u64,
    /// How many bytes of CONSUMER-HELLOs may be sent until `hellos_ms`. Without this limit, each message of a hostile
    /// peer could cause a CONSUMER-HELLO.
    hellos_len_bytes: usize,
    hellos_ms: u64,
    /// Since when the consumer has found nothing new.
    quiet: Quiet,
}

/// The limit of the total length of the CONSUMER-HELLOs in one interval. The first one is sent even if it is longer.
const MAX_HELLOS_LEN_BYTES: usize = 1 << 20;
const HELLOS_INTERVAL_MS: u64 = 1_000;

/// After seeks, pauses, and subscriptions to prefixes, the heads are requested at most once in this time.
const SOON_INTERVAL_MS: u64 = 100;

impl<P: Payload> Consumer<P> {
    /// Returns a consumer without topics.
    pub fn new(address: &[u8], start: Start, limits: Limits, now_ms: u64) -> Self {
        let mut ingest = Ingest::new(address, limits);
        let refresh_ms = now_ms + ingest.begin_refresh(0);
        Consumer {
            address: address.into(),
            start,
            topics: Topics::default(),
            paused: BTreeSet::new(),
            ingest,
            uptime_ms: 0,
            unacknowledged: None,
            positions: None,
            group: None,
            refresh_ms,
            asked_ms: 0,
            hellos_len_bytes: MAX_HELLOS_LEN_BYTES,
            hellos_ms: now_ms,
            quiet: Quiet::default(),
        }
    }

    /// Makes each topic match all topics that begin with it. Otherwise each topic matches only itself, and the empty
    /// topic matches all topics.
    pub fn matching_prefixes(mut self) -> Self {
        self.topics.is_prefix = true;
        self
    }

    /// Starts where its [`Start`] says also in partitions with a committed position.
    pub fn ignoring_committed(mut self) -> Self {
        self.topics.ignores_committed = true;
        self
    }

    /// Delivers a record only after a store has acknowledged it. The records that are held back occupy at most
    /// `limit_bytes`, or consist of one longer run. The caller must subscribe its socket to all ACKs.
    pub fn isolated(self, limit_bytes: usize) -> Self {
        Consumer { unacknowledged: Some(Unacknowledged::new(limit_bytes)), ..self }
    }

    /// Returns the topics that the consumer subscribes to.
    pub fn topics(&self) -> impl Iterator<Item = &[u8]> {
        self.topics.iter()
    }

    /// Returns the name of the partition of a delivery.
    pub fn partition(&self, index: Index) -> PartitionName<'_> {
        self.ingest.partition(index).name()
    }

    /// Like [`Consumer::partition`], but returns a name that can be shared without a copy.
    pub fn shared_name(&self, index: Index) -> &SharedPartitionName {
        self.ingest.partition(index).shared_name()
    }

    /// True for a topic that matches all topics that begin with it.
    pub fn is_beginning(&self, topic: &[u8]) -> bool {
        self.topics.is_beginning(topic)
    }

    /// Whether a subscribed topic other than `topic` matches `subject`, the topic of a record. If so, the record is
    /// still delivered after `topic` is unsubscribed.
    pub fn remains(&self, topic: &[u8], subject: &[u8]) -> bool {
        self.topics.remains(topic, subject)
    }

    /// Adds a topic. Returns false when it was subscribed already. The caller must subscribe its socket to the
    /// topic's RECORDs and HEADs.
    pub fn subscribe(&mut self, topic: &[u8], subscribed: Subscribed, out: &mut Outbox<P>) -> bool {
        if !self.topics.insert(topic, self.start, subscribed) {
            return false;
        }
        self.begin_quiet(subscribed.now_ms);
        if self.topics.is_prefix {
            // The request is for the heads of all topics. Many subscriptions in a row cause few requests.
            self.refresh_soon(subscribed.now_ms);
        } else {
            out.message(&Message::GetHeads { topic, address: &self.address });
        }
        true
    }

    /// Removes a topic. Returns false when it was not subscribed. The call closes the partitions that no subscribed
    /// topic matches any more. So the caller must first drop the unprocessed deliveries of these partitions: those for
    /// whose topic [`Consumer::remains`] is false.
    pub fn unsubscribe(&mut self, topic: &[u8]) -> bool {
        if !self.topics.remove(topic) {
            return false;
        }
        let mut ended = Vec::new();
        if let Some(unacknowledged) = &self.unacknowledged {
            let is_ended = |index: &Index| !self.topics.is_subscribed(self.partition(*index).topic);
            ended.extend(unacknowledged.partitions().filter(is_ended));
        }
        if let Some(unacknowledged) = &mut self.unacknowledged {
            ended.iter().for_each(|&index| unacknowledged.forget(index));
        }
        let ended =
            self.ingest.topics().filter(|topic| !self.topics.is_subscribed(topic)).map(Box::from).collect();
        self.ingest.close_topics(&ended);
        self.forget_ended_topics();
        let Self { topics, paused, .. } = self;
        paused.retain(|topic| topics.is_subscribed(topic));
        if !self.topics().any(|topic| self.is_beginning(topic)) {
            self.ingest.remember_only(self.topics.iter());
        }
        true
    }

    /// Requests the heads of all topics soon.
    fn refresh_soon(&mut self, now_ms: u64) {
        self.refresh_ms = self.refresh_ms.min(now_ms.max(self.asked_ms + SOON_INTERVAL_MS));
    }

    /// Stops reading the records of a topic: they are neither delivered nor requested. The unprocessed deliveries of the
    /// topic count as delivered. Returns whether this call has stopped the reading; `None` when no subscribed topic
    /// matches the topic.
    pub fn pause(&mut self, topic: &[u8]) -> Option<bool> {
        if !self.topics.is_subscribed(topic) {
            return None;
        }
        if !self.paused.insert(topic.into()) {
            return Some(false);
        }
        let partitions: Vec<Index> = self.ingest.partitions_of(topic).collect();
        for partition in partitions {
            // The records that are held back until a store has them are requested again later.
            let next = self.ingest.next(partition) - self.kept_count(partition);
            let end = self.ingest.end(partition);
            self.forget_kept(partition);
            self.ingest.rewind(partition, next);
            if end > next {
                self.ingest.handle_mention_in_pause(partition, end - 1);
            }
        }
        Some(true)
    }

    /// Continues to read the records of a topic that is paused. Requests the heads of all topics soon, because the
    /// heads show what was published during the pause. For the result, see [`Consumer::pause`].
    pub fn resume(&mut self, topic: &[u8], now_ms: u64) -> Option<bool> {
        if !self.topics.is_subscribed(topic) {
            return None;
        }
        let was_paused = self.paused.remove(topic);
        if was_paused {
            self.ingest.wait_anew(topic, now_ms);
            self.refresh_soon(now_ms);
        }
        Some(was_paused)
    }

    /// How many records of a topic the consumer knows from the messages of its peers, and has not delivered. An empty
    /// topic means all topics.
    pub fn lag(&self, topic: &[u8]) -> u64 {
        self.ingest.partitions_of(topic).map(|partition| self.lag_of(partition)).sum()
    }

    fn lag_of(&self, partition: Index) -> u64 {
        self.ingest.lag(partition) + self.kept_count(partition)
    }

    /// Handles a message while its topic is paused. Returns false for all other messages.
    fn handle_in_pause(&mut self, message: &Message, content: Option<&P>) -> bool {
        let position = match message {
            Message::Record(position)
            | Message::Records(position)
            | Message::DirectRecord(position)
            | Message::DirectRecords(position)
            | Message::Head(position)
            | Message::DirectHead { position, .. } => *position,
            Message::Ack { topic, subject, sequence, .. } => Position::new(b"", topic, subject, *sequence),
            _ => return false,
        };
        let is_paused = self.paused.contains(position.subject);
        if is_paused && let Some(partition) = self.ingest.find(&position) {
            let last = content.map_or(position.sequence, |run| last_of(position.sequence, run));
            self.ingest.handle_mention_in_pause(partition, last);
        }
        is_paused
    }

    /// True while the response of a single store to a FETCH of this partition is expected, until the deadline.
    pub fn is_store_asked(&self, position: &Position) -> bool {
        self.ingest.is_store_asked(position)
    }

    /// Handles a message from the network. Appends to `deliveries` the records that can be delivered now. The caller
    /// must have processed all earlier deliveries, because this call may evict their partitions.
    pub fn handle_message(
        &mut self,
        message: &Message,
        content: Option<P>,
        from: &Sender,
        now_ms: u64,
        out: &mut Outbox<P>,
        deliveries: &mut impl Extend<Delivery<P>>,
    ) {
        if self.group.is_none() {
            return self.handle_message_for_all(message, content, from, now_ms, out, deliveries);
        }
        let mut all = Vec::new();
        self.handle_message_for_all(message, content, from, now_ms, out, &mut all);
        self.share_out(all, deliveries);
    }

    /// Like [`Consumer::handle_message`], but delivers the records of all slots of the group.
    fn handle_message_for_all(
        &mut self,
        message: &Message,
        content: Option<P>,
        from: &Sender,
        now_ms: u64,
        out: &mut Outbox<P>,
        deliveries: &mut impl Extend<Delivery<P>>,
    ) {
        if !self.paused.is_empty() && self.handle_in_pause(message, content.as_ref()) {
            return;
        }
        match (message, content) {
            (
                Message::Record(position)
                | Message::Records(position)
                | Message::DirectRecord(position)
                | Message::DirectRecords(position),
                Some(content),
            ) => {
                let is_live = matches!(message, Message::Record(_) | Message::Records(_));
                let (first, last) = (position.sequence, last_of(position.sequence, &content));
                let partition = match is_live {
                    true => self.find_or_open(position, last, Some(first), from, now_ms),
                    // A response to a FETCH opens no partition: the partition was open when the FETCH was sent.
                    false => self.ingest.find(position),
                };
                let Some(partition) = partition else { return };
                if self.ingest.is_doubtful(partition)
                    && !self.decide_by_run(partition, first, &content, is_live, now_ms, deliveries)
                {
                    return;
                }
                if is_live && !self.handle_published(partition, first, last, from, now_ms) {
                    return;
                }
                if self.ingest.is_searching(partition)
                    && !self.search_in_run(partition, first, &content, is_live, now_ms, deliveries)
                {
                    return;
                }
                self.handle_run(partition, first, content, from, now_ms, deliveries);
            }
            (Message::Head(position) | Message::DirectHead { position, .. }, None) => {
                let is_live = matches!(message, Message::Head(_));
                let after = position.sequence.saturating_add(1);
                let published = is_live.then_some(after);
                let Some(partition) = self.find_or_open(position, position.sequence, published, from, now_ms)
                else {
                    return;
                };
                self.claim(partition, published, position.sequence, now_ms);
                if !is_live && !self.decide_by_store(partition, now_ms, deliveries) {
                    return;
                }
                let kept_count = self.kept_count(partition);
                if self.ingest.correct_by_head(partition, position.sequence, is_live, kept_count, now_ms) {
                    self.forget_kept(partition);
                    self.note_correction(partition);
                }
                match message {
                    // The DIRECT-HEAD of a store proves that the store has the record. A DIRECT-HEAD without a store's
                    // name proves nothing: it comes from a producer, or from a store of libdafka 0.1.0.
                    Message::DirectHead { store, .. } if !store.is_empty() => {
                        self.held_by(partition, store, position.sequence, now_ms, deliveries);
                    }
                    // The buffer refuses the records of this partition, so they are not requested. It accepts them
                    // again after an ACK.
                    _ if self.is_full(partition) => {}
                    Message::DirectHead { .. } => {
                        self.ingest.handle_store_head(partition, b"", position.sequence, now_ms);
                    }
                    _ => self.ingest.handle_head(partition, position.sequence, now_ms),
                }
                self.ingest.handle_mention(partition, from, now_ms);
            }
            (Message::Ack { topic, subject, sequence, store }, None) if self.unacknowledged.is_some() => {
                let position = Position::new(b"", topic, subject, *sequence);
                let Some(partition) = self.ingest.find(&position) else { return };
                self.held_by(partition, store, *sequence, now_ms, deliveries);
            }
            (Message::StoreHello { address, .. }, None) => self.hello(address, out),
            _ => {}
        }
    }

    /// The producer of a partition has published a run, which is handled next. Returns false when the run is not
    /// accepted.
    fn handle_published(
        &mut self,
        partition: Index,
        first: u64,
        last: u64,
        from: &Sender,
        now_ms: u64,
    ) -> bool {
        let kept_count = self.kept_count(partition);
        if self.ingest.correct_by_run(partition, first, last, kept_count, now_ms) {
            self.forget_kept(partition);
            self.note_correction(partition);
        }
        let is_accepted = !self.is_full(partition);
        if is_accepted {
            self.ingest.handle_published(partition, first, last, now_ms);
            self.ingest.handle_mention(partition, from, now_ms);
        }
        is_accepted
    }

    /// Handles a run of a partition. Delivers the records that are then in order, or holds them back.
    fn handle_run(
        &mut self,
        partition: Index,
        first: u64,
        run: P,
        from: &Sender,
        now_ms: u64,
        deliveries: &mut impl Extend<Delivery<P>>,
    ) {
        if self.is_full(partition) {
            return;
        }
        let Self { ingest, unacknowledged, positions, .. } = self;
        let deliver = delivering(unacknowledged, positions, partition, now_ms, deliveries);
        ingest.handle_run(partition, first, run, from, now_ms, deliver);
        self.rewind_refused(partition);
    }

    /// When the buffer of held-back records has refused records of a partition, they are requested again later.
    fn rewind_refused(&mut self, partition: Index) {
        if let Some(refused) = self.unacknowledged.as_ref().and_then(|kept| kept.refused(partition)) {
            self.ingest.rewind(partition, refused);
        }
    }

    /// A store has the records of a partition up to `offset`. Delivers the held-back records among them.
    fn held_by(
        &mut self,
        partition: Index,
        store: &[u8],
        offset: u64,
        now_ms: u64,
        deliveries: &mut impl Extend<Delivery<P>>,
    ) {
        if let Some(unacknowledged) = &mut self.unacknowledged {
            unacknowledged.acknowledged(partition, offset, now_ms, |offset, content| {
                deliveries.extend([Delivery { partition, offset, content }]);
            });
        }
        self.ingest.handle_store_head(partition, store, offset, now_ms);
    }

    /// How many records of a partition are held back until a store has them.
    fn kept_count(&self, partition: Index) -> u64 {
        self.unacknowledged.as_ref().map_or(0, |kept| kept.count(partition))
    }

    fn forget_kept(&mut self, partition: Index) {
        self.unacknowledged.iter_mut().for_each(|kept| kept.forget(partition));
    }

    /// True while the buffer of held-back records refuses the records of this partition, because the buffer was full.
    fn is_full(&self, partition: Index) -> bool {
        self.unacknowledged.as_ref().is_some_and(|kept| kept.refused(partition).is_some())
    }

    /// Returns the next notice, if any.
    pub fn poll_notice(&mut self, now_ms: u64) -> Option<Notice> {
        let stall = self.unacknowledged.as_mut().and_then(|kept| kept.poll_stall(now_ms));
        match stall {
            Some(Stall { partition, count, ms }) => {
                let partition = self.partition(partition).to_buf();
                Some(Notice::DeliveryStalled { partition, count, ms })
            }
            None => self.ingest.poll_notice(),
        }
    }

    /// Handles a subscription that a peer made at this consumer's socket. When a store subscribes to CONSUMER-HELLO, it
    /// can receive a CONSUMER-HELLO from then on, so the consumer sends one.
    pub fn handle_subscription(&mut self, subscription: &Subscription, now_ms: u64, out: &mut Outbox<P>) {
        if subscription.subscribe && subscription.id == id::GET_HEADS {
            self.handle_news(now_ms);
        }
        if subscription.subscribe && subscription.id == id::CONSUMER_HELLO {
            self.hello(subscription.topic, out);
        }
    }

    /// The time by a clock that never stops or jumps. To be called before [`Consumer::handle_timeout`]. The consumer
    /// compares timestamps with it.
    pub fn handle_uptime(&mut self, uptime_ms: u64) {
        self.uptime_ms = uptime_ms;
    }

    /// Messages that were received at `unread_since_ms` or later are unread, see [`Ingest::handle_unread`].
    pub fn handle_unread(&mut self, unread_since_ms: Option<u64>) {
        self.ingest.handle_unread(unread_since_ms);
    }

    /// A connection has been given up, see [`Ingest::handle_given_up`].
    pub fn handle_given_up(&mut self, now_ms: u64) {
        self.ingest.handle_given_up(now_ms);
    }

    /// Returns the counters so far.
    pub fn statistics(&self) -> Statistics {
        self.ingest.statistics()
    }

    /// When [`Consumer::handle_timeout`] must be called next.
    pub fn due_ms(&self) -> u64 {
        self.ingest.due_ms().map_or(self.refresh_ms, |due_ms| due_ms.min(self.refresh_ms))
    }

    /// Sends the FETCHes and GET-HEADS that are due. Appends to `deliveries` the records of partitions that now count as
    /// old, see the module `latest`. The caller must have processed all earlier deliveries.
    pub fn handle_timeout(
        &mut self,
        now_ms: u64,
        out: &mut Outbox<P>,
        deliveries: &mut impl Extend<Delivery<P>>,
    ) {
        while let Some(partition) = self.ingest.poll_presumed_old(now_ms, |topic| self.paused.contains(topic))
        {
            if self.group.is_none() {
                self.read_as_old(partition, now_ms, deliveries);
            } else {
                let mut all = Vec::new();
                self.read_as_old(partition, now_ms, &mut all);
                self.share_out(all, deliveries);
            }
        }
        self.ingest.handle_timeout(now_ms, out);
        if now_ms >= self.hellos_ms {
            (self.hellos_len_bytes, self.hellos_ms) = (MAX_HELLOS_LEN_BYTES, now_ms + HELLOS_INTERVAL_MS);
        }
        if now_ms >= self.refresh_ms {
            self.refresh_ms = now_ms + self.ingest.begin_refresh(0);
            self.asked_ms = now_ms;
            for topic in self.topics.asked() {
                out.message(&Message::GetHeads { topic, address: &self.address });
            }
        }
    }

    /// Returns the partition of a message that mentions the record `last`. If the partition is not open, opens it,
    /// provided that its topic is subscribed. An evicted partition continues at its position, and any other partition at
    /// its committed position. Without both, it begins where its [`Start`] says. For `published`, see [`Start::claim`].
    fn find_or_open(
        &mut self,
        position: &Position,
        last: u64,
        published: Option<u64>,
        from: &Sender,
        now_ms: u64,
    ) -> Option<Index> {
        if let Some(partition) = self.ingest.find(position) {
            return Some(partition);
        }
        let is_possible = last <= MAX_OFFSET;
        if !is_possible || position.address.is_empty() {
            return None;
        }
        let rule = self.topics.rule(position.subject)?;
        self.handle_mention();
        let evicted = self.ingest.recall(position.partition()).filter(|evicted| rule.keeps(evicted));
        let committed = self.committed(position.partition(), &rule).filter(|_| evicted.is_none());
        let recalled = match self.group.is_some() {
            true => self.start_of_group(position.partition(), evicted.as_ref(), &rule),
            false => evicted.map(|evicted| evicted.next).or(committed),
        };
        if recalled.is_some_and(|next| last < next) {
            // The partition's records up to `last` were delivered before. There is no need to open the partition, and
            // opening it could evict another one.
            return None;
        }
        let is_searched = evicted.is_some_and(|evicted| evicted.is_searched);
        let claim = rule.start.claim(published, last);
        let beginning = match (recalled, rule.start) {
            (Some(next), Start::Time(since_ms)) if is_searched => Beginning::Searched(next, since_ms),
            (Some(next), _) => Beginning::At(next),
            (None, Start::Earliest) => Beginning::At(0),
            // There is nothing to read yet. The partition is opened when a peer mentions a later record.
            (None, Start::Offset(offset)) if last < offset => return None,
            (None, Start::Offset(offset)) => Beginning::At(offset),
            (None, Start::Latest | Start::Last(_)) => {
                self.latest_beginning(position.partition(), claim, &rule)?
            }
            (None, Start::Time(since_ms)) => Beginning::Searched(0, since_ms),
        };
        let next = beginning.offset();
        let Self { ingest, unacknowledged, .. } = self;
        // When a partition is evicted, its held-back records are dropped. They are requested again when the partition
        // is opened again.
        let resume_at = |index, next| match &*unacknowledged {
            Some(kept) => kept.resume_at(index, next),
            None => Some(next),
        };
        let index = ingest.open(position.partition(), next, from().as_deref(), now_ms, resume_at)?;
        // Drops the held-back records of a closed partition that had the same index.
        self.forget_kept(index);
        self.note_beginning(index, beginning, recalled.is_some(), &rule);
        self.note_opened(index, evicted.as_ref(), &rule);
        self.handle_news(now_ms);
        match beginning {
            Beginning::At(_) if recalled.is_some() => self.ingest.prove(index),
            Beginning::At(_) => {}
            Beginning::Claimed(_) => self.ingest.claim_beginning(index, now_ms),
            Beginning::Doubtful(claim) => {
                self.ingest.doubt(index, now_ms);
                claim.into_iter().for_each(|claim| self.ingest.claim(index, claim, now_ms));
            }
            Beginning::Searched(_, since_ms) => self.ingest.begin_search(index, since_ms),
        }
        Some(index)
    }

    /// Sends CONSUMER-HELLO with the topics to one store.
    fn hello(&mut self, store: &[u8], out: &mut Outbox<P>) {
        let asked = self.topics.asked();
        let len_bytes = 64 + asked.iter().map(|topic| topic.len() + 4).sum::<usize>();
        if len_bytes > self.hellos_len_bytes && self.hellos_len_bytes < MAX_HELLOS_LEN_BYTES {
            return;
        }
        self.hellos_len_bytes = self.hellos_len_bytes.saturating_sub(len_bytes);
        let mut subjects = SubjectsBuf::new();
        for topic in asked {
            // A topic that is too long cannot be subscribed to, so `push` does not fail.
            let _ = subjects.push(topic);
        }
        out.message(&Message::ConsumerHello {
            topic: store,
            address: &self.address,
            subjects: subjects.as_subjects(),
        });
    }
}

/// Returns a function that delivers runs of a partition, or holds them back.
fn delivering<P: Payload>(
    unacknowledged: &mut Option<Unacknowledged<P>>,
    positions: &mut Option<Positions>,
    partition: Index,
    now_ms: u64,
    deliveries: &mut impl Extend<Delivery<P>>,
) -> impl FnMut(u64, P) {
    move |offset, run| {
        positions.iter_mut().for_each(|positions| positions.mark_read(partition));
        let content = match unacknowledged {
            Some(unacknowledged) => unacknowledged.take(partition, offset, run, now_ms),
            None => Some(run),
        };
        deliveries.extend(content.map(|content| Delivery { partition, offset, content }));
    }
}
