//! The producer's actor: takes records off its pipe, publishes them, answers for them until stores have them.

use super::directory::without_zone;
use super::inbox::{Inbox, Received};
use super::node::{Config, Node};
use super::{
    ANSWER_COUNT, BATCH_COUNT, Error, MAX_FRAME_LEN_BYTES, MAX_UNREAD_REQUEST_BYTES, Result,
    answer_timeout_ms, new_address, publish, sender, timeout_ms,
};
use crate::net::{Budget, Frame, Kind, Peer, Pipe, TERM, Warning, is_signal, now_ms};
use crate::protocol::{
    Outbox, Progress,
    producer::{News, Producer, cost_bytes},
    renewals::{Renewals, Step},
    subscriptions,
};
use crate::settings::Settings;
use crate::wire::Message;
use std::ffi::CString;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use zmq::POLLIN;

/// How records come in over the pipe: the two generations of the API differ in it.
#[derive(Clone, Copy)]
pub struct Dialect {
    /// The first frame of the command that publishes.
    pub command: &'static [u8],
    /// Makes the content of the command's second frame; `None` when there is none in it.
    pub content: fn(Frame) -> Option<Frame>,
    /// `$TERM` gives it a limited time to wait for acknowledgements: `Actor::end_ms` says how much.
    pub ends_unacknowledged: bool,
}

/// Frame `P`, then the content.
pub const PRODUCER: Dialect = Dialect { command: b"P", content: Some, ends_unacknowledged: false };

/// How long after a producer's start a store that is there may connect to it.
const STORE_CONNECTS_MS: u64 = 1_000;

/// The command that asks for the partition's name; answered with a pointer to it.
pub const GET_ADDRESS: &[u8] = b"GET ADDRESS";

/// A budget that was not used up for so long is worth a line when it is again.
const FULL_AGAIN_MS: u64 = 60_000;

/// Ends a producer that waits for acknowledgements.
pub const ABANDON: &[u8] = b"$ABANDON";

/// How many records of a producer are acknowledged, for its owner.
#[derive(Clone, Default)]
pub struct Acknowledged(Arc<AtomicU64>);

impl Acknowledged {
    /// The number of records. It is exact once the actor has ended.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Runs a producer of `topic` until `$TERM`, and then until all is acknowledged.
///
/// # Errors
/// When the topic's name is too long, or sockets or threads cannot be had.
pub fn run(pipe: &Pipe, topic: &[u8], settings: &Settings, dialect: Dialect) -> Result {
    run_counted(pipe, topic, settings, dialect, &Acknowledged::default())
}

/// As [`run`], and keeps `acknowledged` up to date.
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
    let name = new_address();
    let mut producer = Producer::new(topic, name.as_bytes(), settings.producer.head_interval_ms)
        .map_err(|error| Error::Name(format!("topic: {error}")))?
        .with_min_stores(settings.producer.min_stores)
        .with_max_fetches(settings.producer.max_fetches)
        .unread();
    pipe.limit_records(settings.producer.max_record_bytes);
    let budget = settings.producer.max_unacked_bytes.map(|limit_bytes| pipe.limit(limit_bytes));
    let node = start_node(&name, topic, settings, pipe)?;
    producer.set_peers(node.is_peer());
    node.wait_for_peers(|subscription| producer.subscription(subscription, now_ms()))?;
    pipe.signal_ready()?;
    let actor = Actor {
        pipe,
        dialect,
        settings,
        topic,
        addresses: vec![c_name(&name)],
        node,
        inbox: Inbox::new(MAX_UNREAD_REQUEST_BYTES, usize::MAX),
        producer,
        taken: 0,
        acknowledged,
        outbox: Outbox::new(),
        started_ms: now_ms(),
        terminating_since_ms: None,
        is_impatient: settings.producer.terminate_unacked,
        warning: Warning::default(),
        renewals: Renewals::default(),
        twin_warning: Warning::default(),
        budget,
        full_ms: None,
        is_overrun: false,
    };
    actor.run()
}

fn start_node(name: &str, topic: &[u8], settings: &Settings, pipe: &Pipe) -> Result<Node> {
    let node = Node::start(
        &Config {
            name: "Producer",
            address: name,
            ignored: &[],
            publisher: Kind::XPUB,
            send_high_watermark: settings.producer.high_watermark,
            max_frame_len_bytes: MAX_FRAME_LEN_BYTES,
            max_frame_key: None,
            subscriptions: &subscriptions::producer(name.as_bytes(), topic),
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

struct Actor<'a> {
    pipe: &'a Pipe,
    dialect: Dialect,
    settings: &'a Settings,
    topic: &'a [u8],
    /// The one that it has now is the last one. All live as long as the actor: its owner borrows them.
    addresses: Vec<CString>,
    node: Node,
    inbox: Inbox,
    producer: Producer<Frame>,
    /// How many records the pipe has brought.
    taken: u64,
    acknowledged: &'a Acknowledged,
    outbox: Outbox<Frame>,
    started_ms: u64,
    /// When it read `$TERM`.
    terminating_since_ms: Option<u64>,
    /// End although records are unacknowledged.
    is_impatient: bool,
    warning: Warning,
    renewals: Renewals,
    twin_warning: Warning,
    /// What the owner may hand over before stores have acknowledged it; `None` = any amount.
    budget: Option<Arc<Budget>>,
    /// When the budget was used up last: that is told once, not whenever a fast owner is held back for a moment.
    full_ms: Option<u64>,
    /// Records came beyond the budget: the owner writes into the pipe by itself.
    is_overrun: bool,
}

impl Actor<'_> {
    fn run(mut self) -> Result {
        let mut progress = Progress::Idle;
        loop {
            let timeout_ms = match self.inbox.is_empty() {
                true => answer_timeout_ms(progress, timeout_ms(self.due_ms(), now_ms())),
                false => 0,
            };
            let mut items = vec![
                self.node.subscriber.item(POLLIN),
                self.node.publisher.item(POLLIN),
                self.node.beacon().item(POLLIN),
            ];
            if !self.is_deaf() {
                items.push(self.pipe.item(POLLIN));
            }
            self.node.poll(&mut items, timeout_ms)?;
            drop(items);

            let producer = &mut self.producer;
            self.node.subscriptions(|subscription| producer.subscription(subscription, now_ms()))?;
            producer.set_behind(self.node.is_behind());
            self.commands()?;
            self.messages()?;
            self.follow_beacon()?;
            self.look_for_twin()?;
            progress = self.producer.answer_to(&mut *self.node.requesters(), ANSWER_COUNT, &mut self.outbox);
            self.producer.tick(now_ms(), &mut self.outbox);
            self.account();
            self.tell();
            publish(&self.node.publisher, &mut self.outbox)?;
            let is_late = self.end_ms().is_some_and(|end_ms| now_ms() >= end_ms);
            if self.terminating_since_ms.is_some()
                && (self.producer.is_done() || self.is_impatient || is_late)
            {
                return self.end(is_late);
            }
        }
    }

    /// When there is something to do next.
    fn due_ms(&self) -> Option<u64> {
        self.producer.due_ms().into_iter().chain(self.end_ms()).min()
    }

    /// When a publisher of the first generation ends although records are unacknowledged: `publisher/terminate_timeout`
    /// after `$TERM` at the latest, and at once while there is no store. A store that is there may need a moment to
    /// connect: so a publisher without one is [`STORE_CONNECTS_MS`] old at least.
    fn end_ms(&self) -> Option<u64> {
        let since_ms = self.terminating_since_ms.filter(|_| self.dialect.ends_unacknowledged)?;
        let latest_ms = since_ms + self.settings.publisher.terminate_timeout_ms;
        match self.producer.may_be_stored() {
            true => Some(latest_ms),
            false => Some((self.started_ms + STORE_CONNECTS_MS).clamp(since_ms, latest_ms)),
        }
    }

    /// Follows peers that come and go: a store counts only while it is there.
    fn follow_beacon(&mut self) -> Result {
        let Self { node, producer, .. } = self;
        node.follow_beacon_with(|endpoint, is_present| {
            let endpoint = without_zone(endpoint);
            producer.peer(is_present, &|from| Peer::endpoint_by_name(from).is_some_and(|of| of == endpoint));
        })?;
        Ok(())
    }

    /// When another producer uses this one's address, goes on under a new one: stores keep one record per offset, and
    /// their ACKs reach both producers.
    fn look_for_twin(&mut self) -> Result {
        let (acknowledged, announced) = (self.producer.twin(), self.node.twin());
        let news = match (acknowledged, announced) {
            (Some(twin), _) => Some(twin.to_string()),
            (None, Some(endpoint)) => Some(format!("a node at {endpoint} announces it")),
            (None, None) => None,
        };
        let (is_news, now_ms, old) = (news.is_some(), now_ms(), self.node.address.clone());
        let is_ending = self.terminating_since_ms.is_some() && !self.is_impatient && !self.producer.is_done();
        let why = match self.renewals.look(news, is_ending, now_ms) {
            None => return Ok(()),
            Some(Step::Renew(why)) => why,
            Some(Step::Wait(why)) => {
                if is_news {
                    self.warn_of_twin(&old, &why, is_ending);
                }
                self.producer.keep_acknowledged();
                return Ok(());
            }
        };
        let name = new_address();
        publish(&self.node.publisher, &mut self.outbox)?;
        // Without sockets, files or threads for another node, what is kept stays kept.
        let node = match start_node(&name, self.topic, self.settings, self.pipe) {
            Ok(node) => node,
            Err(error) => {
                log::error!(
                    "Producer: another producer uses the address {old}: {why}; a new one cannot be taken now: {error}"
                );
                self.renewals.has_failed(why);
                self.producer.keep_acknowledged();
                return Ok(());
            }
        };
        log::error!(
            "Producer: another producer uses the address {old}: {why}. This one goes on as {name}, and publishes {} \
             records again; some of those acknowledged before may be the other one's",
            self.producer.kept_count()
        );
        self.node = node;
        self.inbox = Inbox::new(MAX_UNREAD_REQUEST_BYTES, usize::MAX);
        self.addresses.push(c_name(&name));
        let Self { producer, outbox, .. } = self;
        let renewed = producer.renew(name.as_bytes(), now_ms, outbox);
        renewed.map_err(|error| Error::Name(format!("topic: {error}")))?;
        producer.set_peers(self.node.is_peer());
        self.node.wait_for_peers(|subscription| producer.subscription(subscription, now_ms))
    }

    fn warn_of_twin(&mut self, old: &str, why: &str, is_ending: bool) {
        self.twin_warning.warn(now_ms(), || {
            let then = match is_ending {
                true => "this one publishes again under another one within 20 s, and then ends",
                false => "it is kept for now",
            };
            format!("Producer: another producer seems to use the address {old} again: {why}; {then}")
        });
    }

    fn end(self, is_late: bool) -> Result {
        if is_late && !self.is_impatient && !self.producer.is_done() {
            log::warn!(
                "Publisher: {} ends, {} records unacknowledged",
                self.node.address,
                self.producer.unproven()
            );
        } else if self.settings.producer.verbose {
            let count = self.producer.unproven();
            log::debug!("Producer: {} ends, {count} records unacknowledged", self.node.address);
        }
        Ok(())
    }

    /// True while what is in the pipe has to wait there. Owners that send by [`send_command`] wait themselves, so that
    /// `$TERM` always gets through; this is for those that do not. A producer that may end at once has to see `$TERM`.
    fn is_deaf(&self) -> bool {
        let is_over = |budget: &Arc<Budget>| self.producer.kept_len_bytes() >= budget.limit_bytes();
        self.is_overrun && !self.is_impatient && self.budget.as_ref().is_some_and(is_over)
    }

    /// Tells the log of records that nobody acknowledges.
    fn tell(&mut self) {
        match self.producer.news(now_ms()) {
            Some(News::Waits(text)) => log::warn!("Producer: {} {text}", self.node.address),
            Some(News::GoesOn) => {
                log::info!("Producer: {} its records are acknowledged again", self.node.address)
            }
            None => {}
        }
    }

    /// Tells the owner how many records are acknowledged, and how much room there is.
    fn account(&mut self) {
        let acknowledged = self.taken - self.producer.unproven();
        self.acknowledged.0.store(acknowledged, Ordering::Relaxed);
        let Some(budget) = &self.budget else { return };
        let held_bytes = self.producer.kept_len_bytes();
        if budget.set_held(held_bytes) {
            let now_ms = now_ms();
            if self.full_ms.is_none_or(|full_ms| now_ms > full_ms + FULL_AGAIN_MS) {
                log::warn!(
                    "Producer: {held_bytes} octets wait for stores to acknowledge them (producer/max_unacked_bytes = \
                     {}); sending waits",
                    budget.limit_bytes()
                );
            }
            self.full_ms = Some(now_ms);
        }
    }

    /// Reads the pipe: whatever was sent before `$TERM` is read before it.
    fn commands(&mut self) -> Result {
        let now_ms = now_ms();
        let mut command = Frame::new();
        for _ in 0..BATCH_COUNT {
            if self.is_deaf() || !self.pipe.try_recv(&mut command)? {
                break;
            }
            if command.as_ref() == self.dialect.command && command.more() {
                let mut content = Frame::new();
                self.pipe.try_recv(&mut content)?;
                if content.more() {
                    self.pipe.skip_rest(&command);
                }
                match (self.dialect.content)(content) {
                    // The owner writes into the pipe by itself.
                    Some(content) if content.as_ref().len() > self.settings.producer.max_record_bytes => {
                        let len_bytes = content.as_ref().len();
                        let error =
                            TooLong { len_bytes, limit_bytes: self.settings.producer.max_record_bytes };
                        log::error!("Producer: {}: {error}", self.node.address);
                    }
                    Some(content) => {
                        if let Some(budget) = &self.budget {
                            self.is_overrun |= self.producer.kept_len_bytes() >= budget.limit_bytes();
                            budget.received(cost_bytes(content.as_ref().len()));
                        }
                        self.taken += 1;
                        self.producer.publish(content, now_ms, &mut self.outbox);
                    }
                    None => log::error!("Producer: a command to publish without content was ignored"),
                }
                continue;
            }
            match command.as_ref() {
                TERM => {
                    self.terminating_since_ms = Some(now_ms);
                    // The stores learn at once what they may have missed.
                    self.producer.send_head(now_ms, &mut self.outbox);
                    break;
                }
                ABANDON => self.is_impatient = true,
                GET_ADDRESS => {
                    let pointer = self.addresses.last().map_or(0, |address| address.as_ptr() as usize);
                    self.pipe.send_frames(&[&pointer.to_ne_bytes()])?;
                }
                word => log::error!("Producer: unknown command: {}", word.escape_ascii()),
            }
            self.pipe.skip_rest(&command);
        }
        Ok(())
    }

    fn messages(&mut self) -> Result {
        for _ in 0..BATCH_COUNT {
            let Some(Received { frame, content, origin, .. }) =
                self.inbox.next(&self.node.subscriber, &self.node.unread)?
            else {
                self.producer.has_read_all(now_ms());
                break;
            };
            match Message::decode(frame.as_ref()) {
                Ok(message) if content.is_none() => {
                    if self.node.is_genuine(&message, origin) {
                        self.producer.message_from(&message, &|| sender(origin), &mut self.outbox)
                    }
                }
                Ok(message) => self.warning.warn(now_ms(), || {
                    format!("Producer: dropped a {} with too many frames", message.name())
                }),
                Err(error) => {
                    self.warning.warn(now_ms(), || format!("Producer: dropped a message: {error}"));
                }
            }
        }
        self.inbox.fill(&self.node.subscriber, &self.node.unread, now_ms())
    }
}

/// Why a record could not be handed to a producer.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("the actor has ended")]
pub struct Ended;

/// Why a record is not published.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a record of {len_bytes} octets is not published: it is longer than producer/max_record_bytes = {limit_bytes}"
)]
pub struct TooLong {
    /// The record's length.
    pub len_bytes: usize,
    /// The longest that is published.
    pub limit_bytes: usize,
}

/// Checks a record's length before it is handed to the producer at the other end of `pipe`.
///
/// # Errors
/// When it is longer than that producer publishes.
pub fn check_len(pipe: &Pipe, len_bytes: usize) -> Result<(), TooLong> {
    match pipe.record_limit() {
        Some(limit_bytes) if len_bytes > limit_bytes => Err(TooLong { len_bytes, limit_bytes }),
        _ => Ok(()),
    }
}

/// Asks the producer at the other end of `pipe` for its partition's name. The pointer is to a NUL-terminated
/// string that lives as long as the actor.
///
/// # Errors
/// When the producer has ended.
pub fn address(pipe: &Pipe) -> Result<*const u8, Ended> {
    if !pipe.settle() {
        return Err(Ended);
    }
    let mut word = Frame::copy(GET_ADDRESS);
    while !pipe.try_send(&mut word, false).map_err(|_| Ended)? {
        if !pipe.wait_for_room() {
            return Err(Ended);
        }
    }
    let mut answer = Frame::new();
    while pipe.wait_for_word() {
        if !pipe.try_recv(&mut answer).map_err(|_| Ended)? {
            continue;
        }
        let octets: Result<[u8; size_of::<usize>()], _> = answer.as_ref().try_into();
        match octets {
            Ok(octets) if !is_signal(&answer) => return Ok(usize::from_ne_bytes(octets) as *const u8),
            // Its ready signal, when it was not waited for; its last word comes after it has ended.
            Ok(_) if pipe.is_heard() => {}
            _ => break,
        }
    }
    // It has ended, and its last word may have been read here. zactor_destroy must not wait for it: it does not when
    // it finds the pipe closed, which happens right after that word.
    pipe.wait_until_closed();
    Err(Ended)
}

/// Hands a record to the producer at the other end of `pipe`, and waits until one more message fits in.
///
/// # Errors
/// When the producer has ended.
pub fn send(pipe: &Pipe, content: &mut Frame) -> Result<(), Ended> {
    send_command(pipe, PRODUCER.command, content.as_ref().len(), |pipe| send_last(pipe, content))
}

/// As [`send`], for as long as `is_patient` says: false when it no longer did before the record was handed over.
///
/// # Errors
/// When the producer has ended.
pub fn send_while(
    pipe: &Pipe,
    content: &mut Frame,
    is_patient: &mut dyn FnMut() -> bool,
) -> Result<bool, Ended> {
    if !pipe.reserve(cost_bytes(content.as_ref().len()), is_patient) {
        return if pipe.is_heard() { Ok(false) } else { Err(Ended) };
    }
    hand_over(pipe, PRODUCER.command, |pipe| send_last(pipe, content)).map(|()| true)
}

/// Sends a command that carries a record of `content_len_bytes`, with what `rest` sends as its remaining frames; waits
/// before that until the producer may keep so much, and after it until one more message fits in, so that
/// zactor_destroy's `$TERM`, which does not wait, always does. `rest` must not wait, see [`send_last`].
///
/// # Errors
/// When the actor has ended.
pub fn send_command(
    pipe: &Pipe,
    command: &[u8],
    content_len_bytes: usize,
    rest: impl FnOnce(&Pipe) -> bool,
) -> Result<(), Ended> {
    if pipe.reserve(cost_bytes(content_len_bytes), &mut || true) {
        hand_over(pipe, command, rest)
    } else {
        Err(Ended)
    }
}

fn hand_over(pipe: &Pipe, command: &[u8], rest: impl FnOnce(&Pipe) -> bool) -> Result<(), Ended> {
    let mut command = Frame::copy(command);
    while !pipe.try_send(&mut command, true).map_err(|_| Ended)? {
        if !pipe.wait_for_room() {
            return Err(Ended);
        }
    }
    if rest(pipe) && pipe.wait_for_room() { Ok(()) } else { Err(Ended) }
}

/// Sends the last frame of a message whose frames before it were taken; false when the actor has ended in between.
/// libzmq counts whole messages, so where the first frame had room the last one has: one that is not taken is one for a
/// pipe that was closed, and would be waited with for ever.
pub fn send_last(pipe: &Pipe, frame: &mut Frame) -> bool {
    pipe.try_send(frame, false).unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_actor_that_ends_in_the_middle_of_a_command_is_not_waited_for() {
        for limit in [0, 1] {
            let (ours, theirs) = crate::net::pipe_with_limit(limit).unwrap();
            let hearing = theirs.hear();
            theirs.signal().unwrap();
            let sent = send_command(&ours, PRODUCER.command, 1, |pipe| {
                drop((hearing, theirs));
                pipe.wait_until_closed();
                send_last(pipe, &mut Frame::copy(b"x"))
            });
            assert_eq!(sent, Err(Ended), "{limit}");
        }
    }
}
