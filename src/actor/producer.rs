//! The producer's actor: reads records from its pipe, publishes them, and responds to requests for them until stores
//! have acknowledged them.

use super::common::Common;
use super::directory::without_zone;
use super::inbox::Inbox;
use super::lendable::Lendable;
use super::node::{Config, Node};
use super::node_loop;
use super::notices::Notices;
use super::role::{Flow, Receives, Role};
use super::{
    ANSWER_COUNT, BATCH_COUNT, Error, MAX_FRAME_LEN_BYTES, MAX_UNREAD_REQUEST_BYTES, Result, Run, Single,
    answers_due_ms, new_address,
};
use crate::net::{Connection, Frame, Kind, Origin, Peer, Pipe, TERM, UnsentLimit, Warning, now_ms, unix_ms};
use crate::protocol::{
    Outbox, Progress, Sender,
    notice::Notice,
    producer::{
        Producer,
        batch_subscribers::BatchSubscribers,
        renewals::{Renewals, Step},
    },
    subscriptions,
};
use crate::settings::{Settings, UnackedLimit};
use crate::wire::batch::{Batch, Compressor};
use crate::wire::{Message, Subscription};
use std::ffi::CString;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use zmq::{POLLIN, PollEvents};

mod intake;
mod load;
mod named;
mod owner;
mod press;
mod publishing;
mod send_queue;

use intake::Intake;
use named::{Continued, Named};
use press::Press;
use send_queue::{Acks, FLUSH, Limits, QUEUED};

pub use owner::{RecordPipe, SendError, TooLong, address};
pub use send_queue::{Flushed, MAX_COPIED_LEN_BYTES};

/// The form of the command that publishes a record. It differs between the two generations of the C API.
#[derive(Clone, Copy)]
pub struct Dialect {
    /// The first frame of the command that publishes.
    pub command: &'static [u8],
    /// Turns the command's second frame into the content; `None` when it contains none.
    pub content: fn(Frame) -> Option<Frame>,
    /// Whether the owner may use the queue of records. Otherwise all records travel through the pipe.
    pub has_queue: bool,
    /// After `$TERM`, the producer waits only for a limited time for acknowledgements, see `ProducerRole::end_ms`.
    pub ends_unacknowledged: bool,
}

/// Frame `P`, then the content.
pub const PRODUCER: Dialect =
    Dialect { command: b"P", content: Some, has_queue: true, ends_unacknowledged: false };

/// When no store has acknowledged records for this time, the default limit of unacknowledged records does not apply.
const ACKS_PAUSE_MS: u64 = 3_000;

/// How long a running store may need to connect to a new producer.
const STORE_CONNECTS_MS: u64 = 1_000;

/// A producer with a name publishes this number of records in a turn, more than other producers do: all of them share one
/// synchronization of its outbox.
const MAX_WRITTEN_COUNT: usize = 16_384;

/// The command that publishes the records of a batch. For records with attributes that travel through the pipe.
const BATCH: &[u8] = b"$BATCH";

/// The command that requests the partition's name. The response is a pointer to the name.
pub const GET_ADDRESS: &[u8] = b"GET ADDRESS";

/// The command that ends a producer even if it waits for acknowledgements.
pub const ABANDON: &[u8] = b"$ABANDON";

/// The number of a producer's acknowledged records, for its owner.
#[derive(Clone, Default)]
pub struct Acknowledged(Arc<AtomicU64>);

impl Acknowledged {
    /// The number of records. It is exact once the actor has ended.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Runs a producer of `topic` until `$TERM`, and then until all records are acknowledged.
///
/// # Errors
/// When the topic's name is too long, or no more sockets or threads are available.
pub fn run(pipe: &Pipe, topic: &[u8], settings: &Settings, dialect: Dialect) -> Result {
    run_counted(pipe, topic, settings, dialect, &Acknowledged::default())
}

/// As [`run`], and updates `acknowledged`.
///
/// # Errors
/// As [`run`].
pub fn run_counted(
    pipe: &Pipe,
    topic: &[u8],
    settings: &Settings,
    dialect: Dialect,
    acknowledged: &Acknowledged,
) -> Result {
    if topic.is_empty() {
        return Err(Error::Name("the topic is empty: it stands for all topics".into()));
    }
    let (named, name, mut producer) = match &settings.producer.name {
        Some(name) => {
            let (named, Continued { address, acknowledged, runs }) = Named::open(topic, name, settings)?;
            let producer = new_producer(topic, &address, settings)?;
            (Some(named), address, producer.resumed(acknowledged, runs, now_ms()))
        }
        None => {
            let name = new_address();
            let producer = new_producer(topic, &name, settings)?.unread();
            (None, name, producer)
        }
    };
    let limits = Limits {
        max_record_len_bytes: settings.producer.max_record_bytes,
        max_unacked_bytes: match settings.producer.max_unacked {
            UnackedLimit::Bytes(limit_bytes) => Some(limit_bytes),
            UnackedLimit::Default | UnackedLimit::None => None,
        },
        max_waiting_count: pipe.capacity()?,
    };
    let intake = Intake::share(pipe, limits, !dialect.has_queue, &load::PROCESS);
    let node = start_node(&name, topic, settings, pipe)?;
    producer.set_peers(node.is_peer());
    let mut subscribers = BatchSubscribers::new(topic);
    node.wait_for_peers(|subscription, from| {
        producer.handle_subscription(subscription, now_ms());
        subscribers.handle_subscription(subscription, || Connection::of(from));
    })?;
    pipe.signal_ready()?;
    let role = ProducerRole {
        dialect,
        settings,
        topic,
        addresses: vec![c_name(&name)],
        producer: Lendable::new(producer),
        subscribers,
        progress: Progress::Idle,
        received_count: 0,
        acknowledged,
        freed_count: 0,
        acknowledged_ms: None,
        started_ms: now_ms(),
        terminating_since_ms: None,
        is_abandoned: settings.producer.terminate_unacked,
        renewals: Renewals::default(),
        twin_warning: Warning::default(),
        intake,
        compressor: settings.producer.compression.map(Compressor::new),
        named,
        has_unknown_records: false,
        has_ack_limit: false,
    };
    node_loop::run(role, Common::new(pipe, node, new_inbox(), Notices::new("Producer", "published")))
}

fn new_producer(topic: &[u8], address: &str, settings: &Settings) -> Result<Producer<Run>> {
    let producer = Producer::new(topic, address.as_bytes(), settings.producer.head_interval_ms)
        .map_err(|error| Error::Name(format!("topic: {error}")))?;
    Ok(producer.with_min_stores(settings.producer.min_stores).with_max_fetches(settings.producer.max_fetches))
}

fn new_inbox() -> Inbox {
    Inbox::new(MAX_UNREAD_REQUEST_BYTES, usize::MAX)
}

fn start_node(name: &str, topic: &[u8], settings: &Settings, pipe: &Pipe) -> Result<Node> {
    let node = Node::start(
        &Config {
            name: "Producer",
            address: name,
            ignored: &[],
            publisher: Kind::XPUB,
            send_high_watermark: settings.producer.high_watermark,
            unsent: UnsentLimit::new("producer/max_unsent_bytes", settings.producer.max_unsent_bytes),
            max_frame_len_bytes: MAX_FRAME_LEN_BYTES,
            max_frame_key: None,
            subscriptions: &subscriptions::producer(name.as_bytes(), topic),
            traffic: subscriptions::PRODUCER,
            beacon: &settings.beacon,
        },
        pipe,
    )?;
    if settings.producer.verbose {
        log::debug!("Producer: {} publishes {}", node.address, topic.escape_ascii());
    }
    Ok(node)
}

fn c_name(name: &str) -> CString {
    CString::new(name).expect("hexadecimal digits only")
}

/// The role of a producer.
struct ProducerRole<'a> {
    dialect: Dialect,
    settings: &'a Settings,
    topic: &'a [u8],
    /// All names of the partition; the last one is in use. They live as long as the actor, because its owner has
    /// pointers to them.
    addresses: Vec<CString>,
    producer: Lendable<Producer<Run>>,
    /// Whether the subscribers take batches.
    subscribers: BatchSubscribers<Connection>,
    /// Whether responses are left to send.
    progress: Progress,
    /// How many records were received from the owner.
    received_count: u64,
    acknowledged: &'a Acknowledged,
    /// How many records are no longer unacknowledged.
    freed_count: u64,
    /// When a store last acknowledged records.
    acknowledged_ms: Option<u64>,
    /// Whether the limit of [`UnackedLimit::DEFAULT_BYTES`] applies, because stores acknowledge.
    has_ack_limit: bool,
    started_ms: u64,
    /// When `$TERM` was received.
    terminating_since_ms: Option<u64>,
    /// After `$TERM`, the producer ends even if records are unacknowledged.
    is_abandoned: bool,
    renewals: Renewals,
    twin_warning: Warning,
    /// Where the records of the owner come from.
    intake: Intake,
    /// `None`: batches are not compressed.
    compressor: Option<Compressor>,
    /// `None` without `producer/name`.
    named: Option<Named>,
    /// A store has records of the partition that the outbox lacks.
    has_unknown_records: bool,
}

impl Role for ProducerRole<'_> {
    const RECEIVES: Receives = Receives::Requests;

    fn due_ms(&self, now_ms: u64) -> Option<u64> {
        let answers_ms = answers_due_ms(self.progress, now_ms);
        let renewal_ms = self.renewals.due_ms(self.is_ending());
        let records_ms = if self.intake.is_left() { Some(now_ms) } else { self.intake.gathers_until_ms() };
        let named_ms = self.named.as_ref().and_then(Named::due_ms);
        let due = [
            self.producer.due_ms(),
            self.end_ms(),
            answers_ms,
            renewal_ms,
            records_ms,
            self.limit_end_ms(),
            named_ms,
        ];
        // Not `flatten`: with so many items, the compiler compares also absent times, which valgrind reports.
        due.map(|due_ms| due_ms.unwrap_or(u64::MAX)).into_iter().min().filter(|&due_ms| due_ms < u64::MAX)
    }

    fn pipe_events(&self) -> PollEvents {
        // A producer that may end at once must read `$TERM`.
        let must_wait = !self.is_abandoned
            && (self.producer.has_unpublished() || self.intake.must_wait(self.held_len_bytes()));
        if self.intake.is_left() || must_wait { PollEvents::empty() } else { POLLIN }
    }

    /// Lends the press, unless records wait that come first, the producer compresses batches, has an outbox, or ends. (A
    /// thread that sends does not compress: a batch of one record hardly becomes shorter.)
    fn begin_wait(&mut self, common: &mut Common) {
        let may_lend = self.compressor.is_none() && self.named.is_none();
        if may_lend && !self.intake.is_left() && self.terminating_since_ms.is_none() {
            self.intake.lend(Press::new(self.producer.lend(), common.node.publisher.lend()));
        }
    }

    fn end_wait(&mut self, common: &mut Common) {
        if let Some(press) = self.intake.take_back() {
            self.received_count += press.count;
            self.producer.take_back(press.producer);
            common.node.publisher.take_back(press.publisher);
        }
    }

    /// Commands are handled in order, so all records before `$TERM` are published.
    fn handle_command(
        &mut self,
        common: &mut Common,
        command: &[u8],
        argument: Option<Frame>,
        now_ms: u64,
    ) -> Result<Flow> {
        if command != QUEUED {
            self.intake.take_before_command();
            self.publish_taken(common, now_ms);
        }
        match (command, argument) {
            (QUEUED, _) => {
                self.intake.take();
                self.publish_taken(common, now_ms);
            }
            (command, Some(content)) if command == self.dialect.command => {
                match (self.dialect.content)(content) {
                    Some(content) => {
                        let single = Single { content, timestamp_ms: Some(unix_ms()) };
                        self.publish_from_pipe(common, Run::Record(single), now_ms);
                    }
                    None => log::error!("Producer: ignored a command to publish without content"),
                }
            }
            (BATCH, Some(batch)) => match Batch::check(batch) {
                Ok(batch) => self.publish_from_pipe(common, batch.into(), now_ms),
                Err(error) => log::error!("Producer: ignored a batch: {error}"),
            },
            (TERM, _) => {
                self.terminating_since_ms = Some(now_ms);
                // Stores then detect at once which records they have missed.
                self.producer.send_head(now_ms, &mut common.outbox);
            }
            (FLUSH, _) => self.intake.mark(self.received_count),
            (ABANDON, _) => self.is_abandoned = true,
            (GET_ADDRESS, _) => {
                let pointer = self.addresses.last().map_or(0, |address| address.as_ptr() as usize);
                common.pipe.send_frames(&[&pointer.to_ne_bytes()])?;
            }
            (command, _) => log::error!("Producer: unknown command: {}", command.escape_ascii()),
        }
        Ok(Flow::Continue)
    }

    fn handle_subscription(
        &mut self,
        subscription: &Subscription,
        from: Origin,
        now_ms: u64,
        _: &mut Outbox<Run>,
    ) {
        self.producer.handle_subscription(subscription, now_ms);
        self.subscribers.handle_subscription(subscription, || Connection::of(from));
    }

    fn before_messages(&mut self, common: &mut Common) -> Result {
        self.subscribers.handle_ended(now_ms(), Connection::is_open);
        self.producer.handle_batches_taken(self.subscribers.all_take_batches());
        self.producer.handle_behind(common.node.is_behind());
        Ok(())
    }

    fn handle_message(
        &mut self,
        common: &mut Common,
        message: &Message,
        _: Option<Run>,
        from: &Sender,
        _: u64,
    ) -> Result {
        self.producer.handle_message(message, from, &mut common.outbox);
        Ok(())
    }

    fn handle_all_read(&mut self, now_ms: u64) -> Result {
        self.producer.handle_all_read(now_ms);
        Ok(())
    }

    /// A store's acknowledgements count only while it is connected.
    fn handle_peer(&mut self, endpoint: &str, is_present: bool) {
        let endpoint = without_zone(endpoint);
        self.producer
            .handle_peer(is_present, &|from| Peer::endpoint_by_name(from).is_some_and(|of| of == endpoint));
    }

    fn turn(&mut self, common: &mut Common, _: bool) -> Result<Flow> {
        if let Err(error) = self.handle_twin(common) {
            self.write_rest(common);
            return Err(error);
        }
        // The producer ends in this turn, even if records are unacknowledged.
        let is_last = self.terminating_since_ms.is_some() && (self.is_abandoned || self.has_timed_out());
        self.intake.begin_turn(if self.named.is_some() { MAX_WRITTEN_COUNT } else { BATCH_COUNT });
        let begun_ms = common.clock.now_ms();
        self.publish_taken(common, begun_ms);
        self.intake.take_gathered(begun_ms);
        self.publish_taken(common, begun_ms);
        self.publish_written(common, begun_ms, is_last);
        let Common { node, outbox, .. } = common;
        self.progress = self.producer.poll_answers(&mut *node.requesters(), ANSWER_COUNT, outbox);
        self.producer.handle_timeout(now_ms(), outbox);
        self.inform_owner();
        let is_over = is_last || self.terminating_since_ms.is_some() && self.producer.is_done();
        let is_published = !self.producer.has_unpublished()
            && !self.intake.is_left()
            && (self.unwritten_count() == 0 || is_last);
        Ok(if is_over && is_published { Flow::End } else { Flow::Continue })
    }

    fn poll_notice(&mut self, now_ms: u64) -> Option<Notice> {
        self.producer.poll_notice(now_ms)
    }

    fn end(self, common: Common) -> Result {
        let (address, count) = (&common.node.address, self.producer.unproven());
        if let Some(named) = &self.named {
            named.log_end(count, true);
        } else if self.has_timed_out() && !self.is_abandoned && !self.producer.is_done() {
            log::warn!("Publisher: {address} ends, {count} records unacknowledged");
        } else if self.settings.producer.verbose {
            log::debug!("Producer: {address} ends, {count} records unacknowledged");
        }
        Ok(())
    }
}

impl ProducerRole<'_> {
    /// When the producer ends although records are unacknowledged.
    fn end_ms(&self) -> Option<u64> {
        let named_ms = self.terminating_since_ms.and_then(|since_ms| self.named.as_ref()?.end_ms(since_ms));
        named_ms.into_iter().chain(self.publisher_end_ms()).min()
    }

    /// When a publisher of the first generation ends although records are unacknowledged: at most
    /// `publisher/terminate_timeout` after `$TERM`. Without a store, it does not wait, but it ends no earlier than
    /// [`STORE_CONNECTS_MS`] after its start, because a store may still be connecting.
    fn publisher_end_ms(&self) -> Option<u64> {
        let since_ms = self.terminating_since_ms.filter(|_| self.dialect.ends_unacknowledged)?;
        let latest_ms = since_ms + self.settings.publisher.terminate_timeout_ms;
        match self.producer.may_be_stored() {
            true => Some(latest_ms),
            false => Some((self.started_ms + STORE_CONNECTS_MS).clamp(since_ms, latest_ms)),
        }
    }

    /// True when the producer need not wait for acknowledgements any longer.
    fn has_timed_out(&self) -> bool {
        self.end_ms().is_some_and(|end_ms| now_ms() >= end_ms)
    }

    /// True while the producer is ending, and still waits for acknowledgements.
    fn is_ending(&self) -> bool {
        self.terminating_since_ms.is_some() && !self.is_abandoned && !self.producer.is_done()
    }

    /// Changes to a new address when another producer uses this producer's address. Of two producers with one address,
    /// stores keep only one record per offset, and ACKs reach both producers.
    ///
    /// A producer with a name does not change its address. It ends, or holds new records back.
    fn handle_twin(&mut self, common: &mut Common) -> Result {
        let (acknowledged, announced) = (self.producer.poll_twin(), common.node.twin());
        if let Some(named) = &mut self.named {
            let (address, now_ms) = (&common.node.address, now_ms());
            announced.iter().for_each(|endpoint| named.handle_twin(address, endpoint, now_ms));
            return match acknowledged {
                Some(why) => {
                    self.has_unknown_records = true;
                    Err(named.unknown_records(address, &why.to_string()))
                }
                None => named.follow_guard(&mut self.producer, address, now_ms),
            };
        }
        let sign = match (acknowledged, announced) {
            (Some(twin), _) => Some(twin.to_string()),
            (None, Some(endpoint)) => Some(format!("a node at {endpoint} announces it")),
            (None, None) => None,
        };
        let (is_new_sign, now_ms, old) = (sign.is_some(), now_ms(), common.node.address.clone());
        let is_ending = self.is_ending();
        let why = match self.renewals.poll_step(sign, is_ending, now_ms) {
            None => return Ok(()),
            Some(Step::Renew(why)) => why,
            Some(Step::Wait(why)) => {
                if is_new_sign {
                    self.warn_of_twin(&old, &why, is_ending);
                }
                self.producer.keep_acknowledged();
                return Ok(());
            }
        };
        let name = new_address();
        common.publish()?;
        // Without sockets, files or threads for another node, the producer keeps its address and its records.
        let node = match start_node(&name, self.topic, self.settings, common.pipe) {
            Ok(node) => node,
            Err(error) => {
                log::error!(
                    "Producer: another producer uses the address {old}: {why}; cannot change to a new address now: \
                     {error}"
                );
                self.renewals.handle_failure(why);
                self.producer.keep_acknowledged();
                return Ok(());
            }
        };
        log::error!(
            "Producer: another producer uses the address {old}: {why}. This producer continues as {name}, and \
             publishes {} records again; some earlier acknowledgements may be for records of the other producer",
            self.producer.kept_count()
        );
        common.node = node;
        common.inbox = new_inbox();
        self.addresses.push(c_name(&name));
        let producer = &mut *self.producer;
        let renewed = producer.renew(name.as_bytes(), now_ms);
        renewed.map_err(|error| Error::Name(format!("topic: {error}")))?;
        producer.set_peers(common.node.is_peer());
        self.subscribers = BatchSubscribers::new(self.topic);
        let subscribers = &mut self.subscribers;
        common.node.wait_for_peers(|subscription, from| {
            producer.handle_subscription(subscription, now_ms);
            subscribers.handle_subscription(subscription, || Connection::of(from));
        })
    }

    fn warn_of_twin(&mut self, old: &str, why: &str, is_ending: bool) {
        self.twin_warning.warn(now_ms(), || {
            let then = match is_ending {
                true => "this producer publishes again under a new address within 20 s, and then ends",
                false => "this producer keeps the address for now",
            };
            format!("Producer: another producer seems to use the address {old} again: {why}; {then}")
        });
    }

    /// Informs the owner which records are acknowledged, and how many bytes are unacknowledged.
    fn inform_owner(&mut self) {
        // Records of earlier lives come first, and do not count here.
        let recovered_count = self.named.as_ref().map_or(0, |named| named.recovered_count);
        let total_count = recovered_count + self.received_count - self.unwritten_count();
        let acknowledged = (total_count - self.producer.unproven()).saturating_sub(recovered_count);
        self.intake.set_acks(Acks {
            received_count: self.received_count,
            count: acknowledged,
            head: self.producer.proven_head(),
            has_dropped: self.producer.dropped_unproven() > 0,
        });
        let now_ms = now_ms();
        self.acknowledged.0.store(acknowledged, Ordering::Relaxed);
        // With a twin, ACKs that prove nothing still free memory.
        let freed_count = total_count.saturating_sub(self.producer.unacknowledged() as u64);
        if freed_count > self.freed_count {
            self.acknowledged_ms = Some(now_ms);
        }
        self.freed_count = freed_count;
        if self.settings.producer.max_unacked == UnackedLimit::Default {
            self.has_ack_limit = self.acknowledged_ms.is_some_and(|last_ms| now_ms < last_ms + ACKS_PAUSE_MS);
            self.intake.set_default_limit(match self.has_ack_limit {
                true => Some(UnackedLimit::DEFAULT_BYTES),
                false => self.named.as_ref().map(|_| UnackedLimit::NAMED_BYTES),
            });
        }
        self.intake.report(self.producer.kept_len_bytes());
        if let Some(named) = &mut self.named {
            named.acknowledge(self.producer.proven_head().map_or(0, |head| head + 1));
        }
    }

    /// How many records wait for the outbox.
    fn unwritten_count(&self) -> u64 {
        self.named.as_ref().map_or(0, Named::unwritten_count)
    }

    /// When the limit ends that applies while stores acknowledge, if it applies now.
    fn limit_end_ms(&self) -> Option<u64> {
        self.acknowledged_ms.filter(|_| self.has_ack_limit).map(|last_ms| last_ms + ACKS_PAUSE_MS)
    }
}
