//! The consumer's actor: reads its topics off the network and hands the records to the application's sink.
//!
//! An application that reads slowly fills the sink; then the actor processes nothing that it receives, while its
//! beacon keeps it alive for its peers. What its inbox cannot hold meanwhile is fetched later.

use super::inbox::{Inbox, Received};
use super::node::{Config, Node};
use super::producer::{Ended, send_command, send_last};
use super::relay;
use super::siblings::Sibling;
use super::{BATCH_COUNT, MAX_FRAME_LEN_BYTES, Result, printable, publish, sender, timeout_ms};
use crate::net::{Frame, Kind, Pipe, ReadingClock, Socket, TERM, Warning, now_ms};
use crate::protocol::consumer::{Consumer, Delivery, Start};
use crate::protocol::ingest::{Limits, Statistics};
use crate::protocol::{Outbox, subscriptions};
use crate::settings::{Isolation, OffsetReset, Settings, TopicMatch};
use crate::wire::{MAX_NAME_LEN, Message};
use std::collections::VecDeque;
use zmq::{POLLIN, POLLOUT};

/// Where records go.
pub enum Sink<'a> {
    /// A socket of its own: frames subject, address, content.
    Socket(&'a Socket),
    /// The actor's pipe: subject and address, each with its length before it, in one frame, then the content
    /// (zsock_bsend's picture `ssf`).
    Pipe(&'a Pipe),
}

/// Runs a consumer until `$TERM`. `address` is its UUID. A sink of its own gets a signal before the records.
///
/// # Errors
/// When sockets or threads cannot be had.
pub fn run(pipe: &Pipe, address: &str, settings: &Settings, sink: Sink) -> Result {
    let own = address.as_bytes();
    let _sibling = Sibling::new(own);
    let member = relay::Member::new(&settings.beacon);
    let is_isolated = settings.consumer.isolation == Isolation::Acknowledged;
    let acknowledgements = is_isolated.then(subscriptions::acknowledgements);
    let subscriptions: Vec<_> = subscriptions::consumer(own).into_iter().chain(acknowledgements).collect();
    let node = Node::start(
        &Config {
            name: "Consumer",
            address,
            ignored: &[],
            publisher: Kind::XPUB,
            send_high_watermark: settings.consumer.high_watermark,
            max_frame_len_bytes: settings.consumer.max_record_bytes.max(MAX_FRAME_LEN_BYTES),
            max_frame_key: Some("consumer/max_record_bytes"),
            subscriptions: &subscriptions,
            beacon: &member.settings(&settings.beacon),
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
    };
    let mut consumer = Consumer::new(own, start, limits, now_ms());
    if settings.consumer.topic_match == TopicMatch::Prefix {
        consumer = consumer.matching_prefixes();
    }
    pipe.signal_ready()?;
    let actor = Actor {
        pipe,
        sink,
        verbose: settings.consumer.verbose,
        node,
        inbox: Inbox::new(settings.consumer.max_unread_bytes, limit_count(settings.consumer.high_watermark)),
        consumer: if is_isolated { consumer.isolated(settings.consumer.reorder_bytes) } else { consumer },
        clock: ReadingClock::default(),
        deliveries: VecDeque::new(),
        outbox: Outbox::new(),
        warning: Warning::default(),
        stall_warning: Warning::default(),
        refused: Refused::default(),
    };
    actor.run()
}

struct Actor<'a> {
    pipe: &'a Pipe,
    sink: Sink<'a>,
    verbose: bool,
    node: Node,
    inbox: Inbox,
    consumer: Consumer<Frame>,
    /// Stands still while the sink is full.
    clock: ReadingClock,
    /// What the sink has not taken yet.
    deliveries: VecDeque<Delivery<Frame>>,
    outbox: Outbox<Frame>,
    warning: Warning,
    /// Of partitions that stand still: other warnings do not hide them.
    stall_warning: Warning,
    refused: Refused,
}

impl Actor<'_> {
    fn run(mut self) -> Result {
        loop {
            let is_blocked = self.is_blocked();
            self.clock.can_read(!is_blocked);
            // A blocked sink means that answers wait unread: no time to ask again.
            let due_ms = match self.inbox.is_empty() {
                _ if is_blocked => None,
                true => Some(self.consumer.due_ms()),
                false => Some(0),
            };
            let pipe_events = match (&self.sink, is_blocked) {
                (Sink::Pipe(_), true) => POLLIN | POLLOUT,
                _ => POLLIN,
            };
            let mut items = vec![
                self.pipe.item(pipe_events),
                self.node.beacon().item(POLLIN),
                self.node.publisher.item(POLLIN),
                self.node.subscriber.item(POLLIN),
            ];
            if let (Sink::Socket(sink), true) = (&self.sink, is_blocked) {
                items.push(sink.item(POLLOUT));
            }
            self.node.poll(&mut items, timeout_ms(due_ms, self.clock.now_ms()))?;
            drop(items);

            if !self.commands()? {
                if self.verbose {
                    let (dropped, statistics) = (self.inbox.dropped(), self.consumer.statistics());
                    log::debug!(
                        "Consumer: {} ends, {dropped} messages dropped: {statistics:?}",
                        self.node.address
                    );
                }
                return self.end();
            }
            self.subscriptions()?;
            self.deliver()?;
            self.clock.can_read(!self.is_blocked());
            self.messages()?;
            if self.node.follow_beacon()? {
                self.consumer.cut(self.clock.now_ms());
            }
            if !self.is_blocked() {
                self.consumer.set_unread_since(self.inbox.oldest_ms());
                self.consumer.tick(self.clock.now_ms(), &mut self.outbox);
            }
            if let Some(text) = self.refused.news(self.consumer.statistics(), "read") {
                self.warning.warn(now_ms(), || format!("Consumer: {text}"));
            }
            if let Some((subject, address, text)) = self.consumer.news(now_ms()) {
                let (address, topic) = (printable(address), printable(subject));
                log::warn!("Consumer: partition {address} of {topic}: {text}");
            }
            while let Some((subject, address, next)) = self.consumer.stalled() {
                self.stall_warning.warn(now_ms(), || {
                    let (address, topic) = (printable(address), printable(subject));
                    format!("Consumer: partition {address} of {topic} stays at record {next}: nobody answers with it; it is not read further")
                });
            }
            publish(&self.node.publisher, &mut self.outbox)?;
        }
    }

    fn end(self) -> Result {
        drop(self.node);
        if let Sink::Pipe(pipe) = self.sink {
            pipe.wait_for_last_word();
        }
        Ok(())
    }

    /// Reads the pipe; false on `$TERM`.
    fn commands(&mut self) -> Result<bool> {
        let (mut command, mut topic) = (Frame::new(), Frame::new());
        while self.pipe.try_recv(&mut command)? {
            let has_topic = command.more() && self.pipe.try_recv(&mut topic)?;
            match command.as_ref() {
                TERM => return Ok(false),
                b"SUBSCRIBE" if has_topic => self.subscribe(topic.as_ref())?,
                b"UNSUBSCRIBE" if has_topic => self.unsubscribe(topic.as_ref())?,
                word => log::error!("Consumer: unknown command: {}", word.escape_ascii()),
            }
            if has_topic {
                self.pipe.skip_rest(&topic);
            }
        }
        Ok(true)
    }

    fn subscribe(&mut self, topic: &[u8]) -> Result {
        if !is_subscription(topic) {
            log::error!("Consumer: a topic has at most {MAX_NAME_LEN} octets and no NUL");
            return Ok(());
        }
        if self.consumer.subscribe(topic, &mut self.outbox) {
            for prefix in self.prefixes(topic) {
                self.node.subscribe(&prefix)?;
            }
            if self.verbose {
                log::debug!("Consumer: {} subscribes to {}", self.node.address, topic.escape_ascii());
            }
        }
        Ok(())
    }

    /// What the socket subscribes to for a topic.
    fn prefixes(&self, topic: &[u8]) -> Vec<Vec<u8>> {
        match self.consumer.is_beginning(topic) {
            true => subscriptions::topics(topic),
            false => subscriptions::topic(topic),
        }
    }

    fn unsubscribe(&mut self, topic: &[u8]) -> Result {
        let Self { deliveries, consumer, .. } = self;
        if consumer.topics().any(|known| known == topic) {
            deliveries.retain(|delivery| consumer.remains(topic, consumer.partition(delivery.partition).0));
        }
        if self.consumer.unsubscribe(topic) {
            for prefix in self.prefixes(topic) {
                self.node.unsubscribe(&prefix)?;
            }
        }
        Ok(())
    }

    /// Stores that subscribe to our CONSUMER-HELLO.
    fn subscriptions(&mut self) -> Result {
        let Self { node, consumer, outbox, .. } = self;
        node.subscriptions(|subscription| consumer.subscription(subscription, outbox))
    }

    /// Processes what was received until the sink is full, or a batch is done.
    fn messages(&mut self) -> Result {
        let read_ms = self.clock.now_ms();
        for _ in 0..BATCH_COUNT {
            if self.is_blocked() {
                break;
            }
            let Some(Received { frame, content, origin, .. }) =
                self.inbox.next(&self.node.subscriber, &self.node.unread)?
            else {
                break;
            };
            match Message::decode(frame.as_ref()) {
                Ok(message)
                    if self.node.is_unasked(&message, origin, |of| self.consumer.is_store_asked(of)) => {}
                Ok(message) if message.has_content() == content.is_one() && !content.is_too_much() => {
                    self.consumer.message_from(
                        &message,
                        content.into_frame(),
                        &|| sender(origin),
                        read_ms,
                        &mut self.outbox,
                        &mut self.deliveries,
                    );
                    self.deliver()?;
                }
                Ok(message) => self.warning.warn(now_ms(), || {
                    format!("Consumer: dropped a {} with a wrong number of frames", message.name())
                }),
                Err(error) => {
                    self.warning.warn(now_ms(), || format!("Consumer: dropped a message: {error}"));
                }
            }
        }
        self.inbox.fill(&self.node.subscriber, &self.node.unread, self.clock.now_ms())
    }

    /// True while the sink has not taken all that is for it.
    fn is_blocked(&self) -> bool {
        let is_greeted = match &self.sink {
            Sink::Socket(sink) => sink.has_signalled(),
            Sink::Pipe(_) => true,
        };
        !is_greeted || !self.deliveries.is_empty()
    }

    /// Hands records on until there are none or the sink is full.
    fn deliver(&mut self) -> Result {
        if let Sink::Socket(sink) = &self.sink
            && !sink.has_signalled()
            && !sink.try_signal()?
        {
            return Ok(());
        }
        while let Some(delivery) = self.deliveries.front_mut() {
            let (subject, address) = self.consumer.partition(delivery.partition);
            let taken = match &self.sink {
                Sink::Socket(sink) => {
                    sink.try_send(&mut Frame::copy(subject), true)?
                        && sink.try_send(&mut Frame::copy(address), true)?
                        && sink.try_send(&mut delivery.content, false)?
                }
                Sink::Pipe(pipe) => {
                    let names = [&[subject.len() as u8], subject, &[address.len() as u8], address].concat();
                    pipe.try_send(&mut Frame::copy(&names), true)?
                        && pipe.try_send(&mut delivery.content, false)?
                }
            };
            if !taken {
                break;
            }
            self.deliveries.pop_front();
        }
        Ok(())
    }
}

/// Sends `SUBSCRIBE` or `UNSUBSCRIBE` to a consumer.
///
/// # Errors
/// When the consumer has ended.
pub fn command(pipe: &Pipe, word: &[u8], topic: &[u8]) -> Result<(), Ended> {
    send_command(pipe, word, 0, |pipe| send_last(pipe, &mut Frame::copy(topic)))
}

/// A high-water mark as a number of messages; 0 means any number.
pub(super) fn limit_count(high_watermark: i32) -> usize {
    usize::try_from(high_watermark).ok().filter(|&count| count > 0).unwrap_or(usize::MAX)
}

/// What was refused so far for want of room, as far as the log was told.
#[derive(Default)]
pub(super) struct Refused(Statistics);

impl Refused {
    /// A line for the log, if there is news. `done` is what the node does with a partition: "read" or "stored".
    pub(super) fn news(&mut self, now: Statistics, done: &str) -> Option<String> {
        let before = std::mem::replace(&mut self.0, now);
        if now.refused_of_peer > before.refused_of_peer {
            return Some(format!(
                "too many partitions of one peer; new ones of it are {done} as soon as others give way"
            ));
        }
        (now.refused > before.refused).then(|| format!("too many partitions; new ones are not {done}"))
    }
}

/// True for what can be subscribed to: a topic, or the empty one, which stands for all.
pub fn is_subscription(topic: &[u8]) -> bool {
    topic.is_empty() || is_topic(topic)
}

/// True for what can be published.
pub fn is_topic(topic: &[u8]) -> bool {
    (1..=MAX_NAME_LEN).contains(&topic.len()) && !topic.contains(&0)
}

/// The frames after a message's first one.
pub(super) enum Content {
    None,
    One(Frame),
    TooMuch,
}

impl Content {
    pub(super) fn is_none(&self) -> bool {
        matches!(self, Content::None)
    }

    pub(super) fn is_one(&self) -> bool {
        matches!(self, Content::One(_))
    }

    pub(super) fn is_too_much(&self) -> bool {
        matches!(self, Content::TooMuch)
    }

    /// None of too much.
    pub(super) fn octets(&self) -> &[u8] {
        match self {
            Content::One(frame) => frame.as_ref(),
            Content::None | Content::TooMuch => &[],
        }
    }

    pub(super) fn into_frame(self) -> Option<Frame> {
        match self {
            Content::One(frame) => Some(frame),
            _ => None,
        }
    }
}

/// Reads what follows a message's first frame.
pub(super) fn receive_content(socket: &Socket, first: &Frame) -> Result<Content> {
    if !first.more() {
        return Ok(Content::None);
    }
    let mut content = Frame::new();
    socket.try_recv(&mut content)?;
    Ok(if content.more() {
        socket.skip_rest(&content);
        Content::TooMuch
    } else {
        Content::One(content)
    })
}
