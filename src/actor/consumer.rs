//! The consumer's actor: receives records of its topics and delivers them to the application's sink.
//!
//! When the application reads slowly, the sink fills up. While the sink is full, the actor processes no messages. The
//! node's beacon still runs, so the peers do not drop the node. The actor later fetches the records that did not fit
//! into its inbox.

use super::common::Common;
use super::inbox::{Inbox, limit_count};
use super::node::{Config, Node};
use super::node_loop;
use super::notices::Notices;
use super::record_queue::{RecordList, RecordWriter, is_one_of, send_frames};
use super::role::{Flow, Receives, Role};
use super::{MAX_UNSENT_REQUEST_COUNT, Result, Run, max_records_frame_len_bytes};
use crate::net::{Awaited, Frame, Kind, Origin, Pipe, Socket, TERM, now_ms, unix_ms, uptime_ms};
use crate::partition_name::PartitionName;
use crate::protocol::consumer::positions::MAX_POSITIONS;
use crate::protocol::consumer::{Consumer, Delivery, GroupConfig, Start, Subscribed, Timing};
use crate::protocol::ingest::Limits;
use crate::protocol::notice::Notice;
use crate::protocol::subscriptions::{self, Named};
use crate::protocol::{Outbox, Sender};
use crate::settings::{self, Commit, Isolation, OffsetReset, Settings, TopicMatch};
use crate::slots::GroupBy;
use crate::wire::{MAX_NAME_LEN, Message, Position, Subscription};
use commits::Commits;
use owner::{COMMIT, LAG, LEFT, PAUSE, RESUME, SEEK, SEEK_END, SEEK_TIME, decode_name, decode_seek};
use zmq::{POLLIN, POLLOUT, PollEvents};

mod commits;
mod owner;

pub use owner::{SeekError, command, commit, lag, left, pause, resume, seek, seek_end, seek_time};

/// While more messages wait, the actor collects this many records before it delivers them.
const DELIVERY_COUNT: usize = 64;

/// Where records are delivered.
pub enum Sink<'a> {
    /// The queue of a record pipe.
    Queue(&'a RecordWriter),
    /// A separate socket. A record has the frames topic, producer and content.
    Socket(&'a Socket),
    /// The actor's pipe. The first frame has the topic and the producer, each after its length in one byte; the second
    /// one has the content. This is zsock_bsend's picture `ssf`.
    Pipe(&'a Pipe),
}

/// Runs a consumer until `$TERM`. `address` is its UUID. If the sink is a separate socket, the actor sends a signal to
/// it before the first record.
///
/// # Errors
/// When no more sockets or threads are available.
pub fn run(pipe: &Pipe, address: &str, settings: &Settings, sink: Sink) -> Result {
    let own = address.as_bytes();
    let is_isolated = settings.consumer.isolation == Isolation::Acknowledged;
    let acknowledgements = is_isolated.then(subscriptions::acknowledgements);
    let named = named(settings, &sink);
    let is_named = named != Named::No;
    let positions = is_named.then(|| subscriptions::positions(own));
    let Settings { beacon, consumer: keys, .. } = settings;
    let group = keys.group.as_deref().filter(|_| named == Named::Group);
    let members = group.map(|group| subscriptions::members(&keys.group_by.group_name(group)));
    let further = acknowledgements.into_iter().chain(positions.into_iter().flatten()).chain(members);
    let subscriptions: Vec<_> = subscriptions::consumer(own).into_iter().chain(further).collect();
    let node = Node::start(
        &Config {
            name: "Consumer",
            address,
            ignored: &[],
            publisher: Kind::XPUB,
            send_high_watermark: MAX_UNSENT_REQUEST_COUNT,
            unsent: None,
            max_frame_len_bytes: max_records_frame_len_bytes(settings.consumer.max_record_bytes),
            max_frame_key: Some("consumer/max_record_bytes"),
            subscriptions: &subscriptions,
            traffic: subscriptions::consumer_traffic(is_isolated, named),
            beacon: &settings.beacon,
        },
        pipe,
    )?;
    let limits = Limits {
        partitions: settings.consumer.max_partitions,
        partitions_per_peer: settings.consumer.max_partitions_per_peer,
        early_len_bytes: settings.consumer.reorder_bytes,
        ..Limits::default()
    };
    let start = match settings.consumer.offset_reset {
        Some(OffsetReset::Earliest) => Start::Earliest,
        Some(OffsetReset::Latest) | None => Start::Latest,
        Some(OffsetReset::Offset(offset)) => Start::Offset(offset),
        Some(OffsetReset::Last(count)) => Start::Last(count),
        Some(OffsetReset::Time(since_ms)) => Start::Time(since_ms),
    };
    let mut consumer = Consumer::new(own, start, limits, now_ms());
    if settings.consumer.topic_match == TopicMatch::Prefix {
        consumer = consumer.matching_prefixes();
    }
    if settings.consumer.ignores_committed {
        consumer = consumer.ignoring_committed();
    }
    if let Some(name) = group {
        let timing = timing(beacon, keys.handover_timeout_ms);
        let config = GroupConfig { name, group_by: keys.group_by, timing };
        consumer = consumer.grouped(&config, MAX_POSITIONS, now_ms());
    } else if let Some(name) = keys.name.as_deref().filter(|_| is_named) {
        consumer = consumer.named(name, MAX_POSITIONS, now_ms());
    }
    pipe.signal_ready()?;
    if is_isolated {
        consumer = consumer.isolated(settings.consumer.reorder_bytes);
    }
    let mut inbox =
        Inbox::new(settings.consumer.max_unread_bytes, limit_count(settings.consumer.high_watermark));
    inbox.has_urgent = is_named;
    let role = ConsumerRole {
        // A separate socket has not received its signal yet.
        is_blocked: matches!(sink, Sink::Socket(_)),
        sink,
        verbose: settings.consumer.verbose,
        consumer,
        group_by: group.map(|_| keys.group_by),
        commits: is_named.then(|| {
            let is_auto = settings.consumer.commit == Commit::Auto;
            Commits::new(is_auto.then_some(settings.consumer.commit_interval_ms))
        }),
        deliveries: Vec::new(),
        records: RecordList::default(),
    };
    node_loop::run(role, Common::new(pipe, node, inbox, Notices::new("Consumer", "read")))
}

/// Whether stores keep the positions of a consumer, and under which name.
fn named(settings: &Settings, sink: &Sink) -> Named {
    let named = match (&settings.consumer.group, &settings.consumer.name) {
        (Some(_), _) => Named::Group,
        (None, Some(_)) => Named::Own,
        (None, None) => Named::No,
    };
    if named == Named::No || matches!(sink, Sink::Queue(_)) {
        return named;
    }
    let key = if named == Named::Group { "consumer/group" } else { "consumer/name" };
    log::error!("Consumer: {key} is ignored, because the consumer has no record pipe");
    Named::No
}

/// When the members of a group announce themselves. A silent member counts as dead after the time after which a peer is
/// dropped.
fn timing(beacon: &settings::Beacon, handover_ms: u64) -> Timing {
    let &settings::Beacon { interval_ms, timeout_ms, .. } = beacon;
    Timing {
        interval_ms,
        timeout_ms: timeout_ms.max(2 * interval_ms),
        listen_ms: (2 * interval_ms).max(timeout_ms / 2),
        handover_ms,
    }
}

/// The role of a consumer.
struct ConsumerRole<'a> {
    sink: Sink<'a>,
    verbose: bool,
    consumer: Consumer<Run>,
    /// How the members share records, if the consumer is a member of a group.
    group_by: Option<GroupBy>,
    /// The commits, if the consumer has a name.
    commits: Option<Commits>,
    /// The records that the present call of the state machine delivers. Empty between the calls.
    deliveries: Vec<Delivery<Run>>,
    /// Records that the sink has not accepted yet.
    records: RecordList,
    /// The sink has not accepted all records that it was offered, or has not received its signal.
    is_blocked: bool,
}

impl Role for ConsumerRole<'_> {
    const RECEIVES: Receives = Receives::Records;

    /// Only POSITIONs and COMMIT-ACKs are processed while the sink is full, while the consumer waits for its positions,
    /// and while it ends.
    fn can_receive(&self) -> bool {
        !self.is_blocked && !self.consumer.is_waiting() && !self.is_ending()
    }

    /// While no message is processed, responses wait unread, so requests must not be repeated.
    fn due_ms(&self, role_ms: u64) -> Option<u64> {
        // Not `Option`s: the compiler then compares also absent times, which valgrind reports.
        let or_never = |due_ms: Option<u64>| due_ms.unwrap_or(u64::MAX);
        let of_role = if self.can_receive() { self.consumer.due_ms() } else { u64::MAX };
        let of_commits = or_never(self.commits.as_ref().and_then(Commits::due_ms));
        let real = of_commits.min(or_never(self.consumer.positions_due_ms()));
        // The clock of these two does not stand still.
        let real = if real < u64::MAX { role_ms + real.saturating_sub(now_ms()) } else { u64::MAX };
        Some(of_role.min(real)).filter(|&due_ms| due_ms < u64::MAX)
    }

    fn pipe_events(&self) -> PollEvents {
        match &self.sink {
            Sink::Pipe(_) if self.is_blocked => POLLIN | POLLOUT,
            _ => POLLIN,
        }
    }

    fn extra_item(&self) -> Option<Awaited<'_>> {
        match &self.sink {
            Sink::Queue(writer) => Some(writer.item()),
            Sink::Socket(sink) if self.is_blocked => Some(Awaited::Socket(sink, POLLOUT)),
            _ => None,
        }
    }

    fn handle_command(
        &mut self,
        common: &mut Common,
        command: &[u8],
        argument: Option<Frame>,
        _: u64,
    ) -> Result<Flow> {
        match (command, argument) {
            (TERM, _) => return Ok(self.begin_end()),
            (COMMIT, _) => {
                if let (Sink::Queue(writer), Some(commits)) = (&self.sink, &mut self.commits) {
                    commits.collect(writer, &mut self.consumer);
                }
            }
            (b"SUBSCRIBE", Some(topic)) => self.subscribe(common, topic.as_ref())?,
            (b"UNSUBSCRIBE", Some(topic)) => self.unsubscribe(common, topic.as_ref())?,
            (SEEK, Some(argument)) => {
                let is_done = self.seek(common, argument.as_ref());
                common.pipe.send_to_owner(&[&[u8::from(is_done)]])?;
            }
            (SEEK_TIME, Some(argument)) => {
                let is_exact = argument.as_ref().split_first_chunk().and_then(|(since_ms, topic)| {
                    self.seek_all(common, topic, Start::Time(i64::from_be_bytes(*since_ms)))
                });
                common.pipe.send_to_owner(&[is_exact.map(u8::from).as_slice()])?;
            }
            (SEEK_END, Some(topic)) => {
                let is_exact = self.seek_all(common, topic.as_ref(), Start::Latest);
                common.pipe.send_to_owner(&[is_exact.map(u8::from).as_slice()])?;
            }
            (PAUSE, Some(topic)) => {
                let is_changed = self.pause(topic.as_ref());
                common.pipe.send_to_owner(&[is_changed.map(u8::from).as_slice()])?;
            }
            (RESUME, Some(topic)) => {
                let is_changed = self.consumer.resume(topic.as_ref(), common.clock.now_ms());
                common.pipe.send_to_owner(&[is_changed.map(u8::from).as_slice()])?;
            }
            (LAG, Some(topic)) => {
                let count = self.consumer.lag(topic.as_ref()) + self.waiting_count(topic.as_ref(), b"");
                common.pipe.send_to_owner(&[&count.to_be_bytes()])?;
            }
            (LEFT, Some(name)) => {
                let count = decode_name(name.as_ref()).and_then(|PartitionName { topic, producer }| {
                    let left = self.consumer.left(topic, producer, common.clock.now_ms())?;
                    Some(left + self.waiting_count(topic, producer))
                });
                common
                    .pipe
                    .send_to_owner(&[count.map(u64::to_be_bytes).as_ref().map_or(&[], |count| &count[..])])?;
            }
            (command, _) => log::error!("Consumer: unknown command: {}", command.escape_ascii()),
        }
        Ok(Flow::Continue)
    }

    /// A store subscribes to the CONSUMER-HELLOs that consumers send to it, and to GET-POSITIONS.
    fn handle_subscription(
        &mut self,
        subscription: &Subscription,
        _: Origin,
        role_ms: u64,
        out: &mut Outbox<Run>,
    ) {
        self.consumer.handle_position_store(subscription, now_ms());
        self.consumer.handle_subscription(subscription, role_ms, out);
    }

    fn before_messages(&mut self, _: &mut Common) -> Result {
        if self.is_blocked { self.deliver(true) } else { Ok(()) }
    }

    fn is_store_asked(&self, position: &Position) -> bool {
        self.consumer.is_store_asked(position)
    }

    fn handle_message(
        &mut self,
        common: &mut Common,
        message: &Message,
        content: Option<Run>,
        from: &Sender,
        now_ms: u64,
    ) -> Result {
        let Self { consumer, deliveries, records, .. } = self;
        match message {
            Message::Position { .. } | Message::CommitAck { .. } => {
                consumer.handle_position(message, self::now_ms());
                return Ok(());
            }
            Message::Member { .. } => {
                consumer.handle_member(message, self::now_ms());
                return Ok(());
            }
            _ => {}
        }
        consumer.handle_message(message, content, from, now_ms, &mut common.outbox, deliveries);
        take_deliveries(consumer, deliveries, records);
        if records.len() >= DELIVERY_COUNT { self.deliver(false) } else { Ok(()) }
    }

    /// Delivers the records before the rest of the turn: if an error in the rest of the turn ends the consumer, the
    /// application can still read these records.
    fn after_messages(&mut self) -> Result {
        if self.is_blocked { Ok(()) } else { self.deliver(false) }
    }

    fn handle_given_up(&mut self, now_ms: u64) {
        self.consumer.handle_given_up(now_ms);
    }

    fn turn(&mut self, common: &mut Common, is_extra_ready: bool) -> Result<Flow> {
        self.deliver(is_extra_ready)?;
        if self.can_receive() {
            let Self { consumer, deliveries, records, .. } = self;
            consumer.handle_unread(common.inbox.oldest_ms());
            consumer.handle_uptime(uptime_ms());
            consumer.handle_timeout(common.clock.now_ms(), &mut common.outbox, deliveries);
            if !deliveries.is_empty() {
                take_deliveries(consumer, deliveries, records);
                self.deliver(false)?;
            }
        }
        let mut has_ended = false;
        if let (Sink::Queue(writer), Some(commits)) = (&self.sink, &mut self.commits) {
            has_ended = commits.handle_timeout(writer, &mut self.consumer);
            self.consumer.handle_positions_timeout(now_ms(), &mut common.outbox);
            self.give_up_slots();
        }
        if has_ended {
            self.consumer.leave_group(&mut common.outbox);
        }
        Ok(if has_ended { Flow::End } else { Flow::Continue })
    }

    fn poll_notice(&mut self, role_ms: u64) -> Option<Notice> {
        let notice =
            self.consumer.poll_notice(role_ms).or_else(|| self.consumer.poll_positions_notice(now_ms()));
        notice.filter(|notice| self.verbose || !matches!(notice, Notice::GroupChanged { .. }))
    }

    fn end(self, common: Common) -> Result {
        if self.verbose {
            let (dropped, statistics) = (common.inbox.dropped(), self.consumer.statistics());
            log::debug!("Consumer: {} ends, {dropped} messages dropped: {statistics:?}", common.node.address);
        }
        drop(common.node);
        if let Sink::Pipe(pipe) = self.sink {
            pipe.wait_for_room_to_end();
        }
        Ok(())
    }
}

impl ConsumerRole<'_> {
    fn is_ending(&self) -> bool {
        self.commits.as_ref().is_some_and(Commits::is_ending)
    }

    /// In a group: drops the records of slots that were revoked, and gives up slots that the application has processed.
    fn give_up_slots(&mut self) {
        let Self { sink: Sink::Queue(writer), consumer, records, commits: Some(commits), .. } = self else {
            return;
        };
        let revoked = consumer.take_revoked();
        if let Some(group_by) = self.group_by.filter(|_| !revoked.is_empty()) {
            writer.revoke(revoked, group_by, records);
        }
        if consumer.is_releasing() {
            commits.collect(writer, consumer);
            consumer.handle_busy(writer.busy_slots(), now_ms());
        }
    }

    /// A consumer with a name ends when its last commits are confirmed.
    fn begin_end(&mut self) -> Flow {
        match (&self.sink, &mut self.commits) {
            (Sink::Queue(writer), Some(commits)) => {
                commits.begin_end(writer, &mut self.consumer);
                Flow::Continue
            }
            _ => Flow::End,
        }
    }

    fn subscribe(&mut self, common: &mut Common, topic: &[u8]) -> Result {
        if !is_subscription(topic) {
            log::error!("Consumer: a topic has at most {MAX_NAME_LEN} bytes and no NUL");
            return Ok(());
        }
        if self.consumer.subscribe(topic, moment(common), &mut common.outbox) {
            for prefix in self.prefixes(topic) {
                common.node.subscribe(&prefix)?;
            }
            if self.verbose {
                log::debug!("Consumer: {} subscribes to {}", common.node.address, topic.escape_ascii());
            }
        }
        Ok(())
    }

    /// The prefixes to which the socket subscribes for a topic.
    fn prefixes(&self, topic: &[u8]) -> Vec<Vec<u8>> {
        match self.consumer.is_beginning(topic) {
            true => subscriptions::topics(topic),
            false => subscriptions::topic(topic),
        }
    }

    fn unsubscribe(&mut self, common: &mut Common, topic: &[u8]) -> Result {
        let Self { records, consumer, .. } = self;
        if consumer.topics().any(|known| known == topic) {
            records.retain(|name| consumer.remains(topic, name.topic));
            if let Sink::Queue(writer) = &self.sink {
                writer.retain_paused(|of| consumer.remains(topic, of));
            }
        }
        if self.consumer.unsubscribe(topic) {
            // In reverse order: a node that subscribes to RECORD, but not to RECORDS, counts as a node of 0.1.0.
            for prefix in self.prefixes(topic).iter().rev() {
                common.node.unsubscribe(prefix)?;
            }
        }
        Ok(())
    }

    /// Makes a partition continue at another record. False when its topic is not subscribed.
    fn seek(&mut self, common: &mut Common, argument: &[u8]) -> bool {
        let Some((name, sequence)) = decode_seek(argument) else { return false };
        if !self.consumer.seek(name, sequence, common.clock.now_ms()) {
            return false;
        }
        retain(&self.sink, &mut self.records, |of| of != name);
        true
    }

    /// Makes all partitions of a topic continue where `start` says, see [`Consumer::seek_all`]. Returns whether only this
    /// topic is affected, and not all topics that begin with it. `None` when it is neither empty nor subscribed.
    fn seek_all(&mut self, common: &mut Common, topic: &[u8], start: Start) -> Option<bool> {
        let Self { sink, records, consumer, .. } = self;
        if !consumer.seek_all(topic, start, moment(common)) {
            return None;
        }
        retain(sink, records, |name| !consumer.selects(topic, name.topic));
        Some(!consumer.is_beginning(topic))
    }

    /// Stops reading a topic, see [`Consumer::pause`].
    fn pause(&mut self, topic: &[u8]) -> Option<bool> {
        let is_changed = self.consumer.pause(topic);
        if let (Some(true), Sink::Queue(writer)) = (is_changed, &self.sink) {
            writer.pause(topic, &mut self.records, self.group_by);
        }
        is_changed
    }

    /// How many records wait that the application's reader has not taken: of a topic or, if `producer` is not empty, of
    /// one of its partitions.
    fn waiting_count(&self, topic: &[u8], producer: &[u8]) -> u64 {
        let counts = is_one_of(topic, producer);
        let waiting = match &self.sink {
            Sink::Queue(writer) => writer.waiting_count(&counts),
            _ => 0,
        };
        self.records.count_of(counts) + waiting
    }

    /// Delivers records until none is left or the sink is full. `is_woken`: the reader of the queue may have made room.
    fn deliver(&mut self, is_woken: bool) -> Result {
        let Self { records, .. } = self;
        let is_accepted = match &self.sink {
            Sink::Queue(writer) if !records.is_empty() || is_woken => writer.hand_over(records, is_woken)?,
            Sink::Queue(_) => !self.is_blocked,
            Sink::Socket(sink) if !sink.has_signalled() && !sink.try_signal()? => false,
            Sink::Socket(sink) => records
                .send_with(|name, _, run| run.with_first(|content| send_frames(sink, name, content)))?,
            Sink::Pipe(pipe) => {
                records.send_with(|name, _, run| run.with_first(|content| send_pair(pipe, name, content)))?
            }
        };
        self.is_blocked = !is_accepted;
        Ok(())
    }
}

/// Of the records that wait for the application, keeps only those of the partitions for which `keeps` returns true.
fn retain(sink: &Sink, records: &mut RecordList, keeps: impl Fn(PartitionName) -> bool) {
    records.retain(&keeps);
    if let Sink::Queue(writer) = sink {
        writer.retain(keeps);
    }
}

/// The present moment.
fn moment(common: &Common) -> Subscribed {
    Subscribed { unix_ms: unix_ms(), now_ms: common.clock.now_ms(), uptime_ms: uptime_ms() }
}

/// Moves the deliveries of a call to the list of records. A later call may evict the partition of a record. So the name of
/// the partition is looked up now.
fn take_deliveries(consumer: &Consumer<Run>, deliveries: &mut Vec<Delivery<Run>>, records: &mut RecordList) {
    for delivery in deliveries.drain(..) {
        records.push(consumer.shared_name(delivery.partition), Some(delivery.offset), delivery.content);
    }
}

/// Sends a record as two frames, see [`Sink::Pipe`]. False when the pipe is full.
fn send_pair(pipe: &Pipe, name: PartitionName, content: &mut Frame) -> Result<bool> {
    let PartitionName { topic, producer } = name;
    let names = [&[topic.len() as u8], topic, &[producer.len() as u8], producer].concat();
    Ok(pipe.try_send(&mut Frame::copy(&names), true)? && pipe.try_send(content, false)?)
}

/// True for a valid topic, and for the empty topic, which subscribes to all topics.
pub fn is_subscription(topic: &[u8]) -> bool {
    topic.is_empty() || is_topic(topic)
}

/// True for a valid topic of a producer.
pub fn is_topic(topic: &[u8]) -> bool {
    (1..=MAX_NAME_LEN).contains(&topic.len()) && !topic.contains(&0)
}
