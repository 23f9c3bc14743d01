//! The writer: takes records off the network, has them written in batches, acknowledges what is durable.

use super::committer::Committer;
use super::compare::OnDisk;
use super::intake::{Intake, TooLong};
use super::watch::{Slot, Watch};
use crate::actor::consumer::{Refused, limit_count};
use crate::actor::inbox::{Inbox, Received};
use crate::actor::node::{Config, Node};
use crate::actor::{BATCH_COUNT, MAX_FRAME_LEN_BYTES, Result, printable, publish, sender, timeout_ms};
use crate::net::{Frame, Kind, Peer, Pipe, ReadingClock, TERM, Warning, now_ms};
use crate::protocol::comparison::Divergence;
use crate::protocol::ingest::Limits;
use crate::protocol::replica::{Replica, Resume};
use crate::protocol::{Outbox, subscriptions};
use crate::settings::Settings;
use crate::storage::{Log, MAX_CONTENT_LEN_BYTES};
use crate::wire::Message;
use std::sync::{Arc, Mutex, PoisonError};
use zmq::POLLIN;

/// Differences to other stores that are logged per second, at most. A store finds fewer on the average: further ones wait.
const DIVERGENCES_PER_S: usize = 8;

/// Runs a writer until `$TERM`. `reader` is the address of the store's other half, `store` the name of both.
pub(super) fn run(
    pipe: &Pipe,
    address: &str,
    reader: &str,
    store: &[u8],
    log: &Arc<Log>,
    watch: &Watch,
    settings: &Settings,
) -> Result {
    let slot = watch.slot();
    let own = address.as_bytes();
    let limits = Limits {
        partitions: settings.store.max_partitions,
        partitions_per_peer: settings.store.max_partitions_per_peer,
        early_len_bytes: settings.store.reorder_bytes,
        ..Limits::default()
    };
    let replica = Replica::new(own, limits, now_ms()).named(store).resuming(resume(log, slot));
    let replica = replica.comparing(Box::new(OnDisk::start(log, watch)?));
    // What is on disk is opened when a producer, or a store that has more of it, mentions it: a start reads no partitions, and
    // takes the same memory however many there are.
    let intake = Intake::new(replica);
    let node = Node::start(
        &Config {
            name: "Store Writer",
            address,
            ignored: &[reader],
            publisher: Kind::XPUB,
            send_high_watermark: settings.store.high_watermark,
            max_frame_len_bytes: settings.store.max_record_bytes.max(MAX_FRAME_LEN_BYTES),
            max_frame_key: Some("store/max_record_bytes"),
            subscriptions: &subscriptions::store_writer(own),
            beacon: &settings.beacon,
        },
        pipe,
    )?;
    let committer = Committer::start(log, watch.slot())?;
    pipe.signal()?;
    let actor = Actor {
        pipe,
        verbose: settings.store.verbose,
        node,
        inbox: Inbox::new(settings.store.max_unread_bytes, limit_count(settings.store.high_watermark)),
        intake,
        clock: ReadingClock::default(),
        committer,
        outbox: Outbox::new(),
        warning: Warning::default(),
        stall_warning: Warning::default(),
        refused: Refused::default(),
        divergences_due_ms: 0,
    };
    actor.run()
}

/// Where a partition stands in the log: for those that gave way to others.
fn resume(log: &Arc<Log>, slot: Slot) -> Box<Resume> {
    let log = log.clone();
    let find = move |subject: &[u8], address: &[u8]| {
        slot.during("looking up a partition", || log.find(subject, address))
    };
    Box::new(move |subject, address| match find(subject, address) {
        Ok(partition) => Ok(partition.map_or(0, |partition| partition.next)),
        Err(error) => {
            // What is on disk cannot be told: nothing may be written then. Who speaks of it does so again.
            static WARNING: Mutex<Warning> = Mutex::new(Warning::new());
            let mut warning = WARNING.lock().unwrap_or_else(PoisonError::into_inner);
            warning.warn(now_ms(), || format!("Store: {}: {error}", printable(address)));
            Err(())
        }
    })
}

/// A difference between this store and another one for the log.
fn describe(divergence: &Divergence) -> String {
    let Divergence { subject, address, store, from, offset } = divergence;
    let (subject, address, store) = (printable(subject), printable(address), printable(store));
    let peer = from.as_deref().and_then(Peer::by_name);
    let sender = peer.map_or_else(String::new, |peer| format!(", which {peer} sent"));
    format!(
        "Store: partition {address} of {subject}: record {offset} differs from that of the store {store}{sender}. Stores \
         hold different records of this partition; at least one of them is wrong"
    )
}

struct Actor<'a> {
    pipe: &'a Pipe,
    verbose: bool,
    node: Node,
    inbox: Inbox,
    intake: Intake<Frame>,
    /// Stands still while the disk holds us up.
    clock: ReadingClock,
    committer: Committer,
    outbox: Outbox<Frame>,
    warning: Warning,
    /// Of partitions that stand still: other warnings do not hide them.
    stall_warning: Warning,
    refused: Refused,
    /// No difference to another store is logged before this.
    divergences_due_ms: u64,
}

impl Actor<'_> {
    fn run(mut self) -> Result {
        loop {
            self.clock.can_read(!self.intake.is_full());
            let due_ms = match self.inbox.is_empty() || self.intake.is_full() {
                true => self.intake.due_ms(),
                false => Some(0),
            };
            let items = &mut [
                self.pipe.item(POLLIN),
                self.node.publisher.item(POLLIN),
                self.node.beacon().item(POLLIN),
                self.committer.wake().item(POLLIN),
                self.node.subscriber.item(POLLIN),
            ];
            let mut timeout_ms = timeout_ms(due_ms, self.clock.now_ms());
            if self.intake.has_divergence() {
                let until_due_ms = self.divergences_due_ms.saturating_sub(now_ms()) as i64;
                timeout_ms = if timeout_ms < 0 { until_due_ms } else { timeout_ms.min(until_due_ms) };
            }
            self.node.poll(items, timeout_ms)?;
            let is_committer_awake = items[3].is_readable();

            let mut frame = Frame::new();
            while self.pipe.try_recv(&mut frame)? {
                if frame.as_ref() == TERM {
                    return self.end();
                }
            }
            self.subscriptions()?;
            self.clock.can_read(!self.intake.is_full());
            self.messages()?;
            if self.node.follow_beacon()? {
                self.intake.cut(self.clock.now_ms());
            }
            self.commit(is_committer_awake)?;
            self.intake.set_unread_since(self.inbox.oldest_ms());
            self.intake.tick(self.clock.now_ms(), &mut self.outbox);
            if let Some(text) = self.refused.news(self.intake.statistics(), "stored") {
                self.warning.warn(now_ms(), || format!("Store: {text}"));
            }
            if self.intake.has_twin(now_ms()) {
                log::warn!(
                    "Store: another store goes by this store's name: its database is a copy of this one's, or this \
                     one's of it. Both count as one store; remove the file dafka.lock from the copy, while no store uses it, \
                     to make it another"
                );
            }
            self.log_divergences(now_ms(), DIVERGENCES_PER_S);
            while let Some((subject, address, next)) = self.intake.stalled() {
                self.stall_warning.warn(now_ms(), || {
                    let (address, topic) = (printable(address), printable(subject));
                    format!("Store: partition {address} of {topic} stays at record {next}: nobody answers with it; it is not stored further")
                });
            }
            publish(&self.node.publisher, &mut self.outbox)?;
        }
    }

    /// Writes what was gathered, and acknowledges it.
    fn end(mut self) -> Result {
        for _ in 0..2 {
            let was_busy = self.committer.is_busy();
            match self.committer.finish()? {
                Some(job) => self.intake.committed(job),
                // The disk refuses it.
                None if was_busy => break,
                None => {}
            }
            if let Some(job) = self.intake.next_job() {
                self.committer.commit(job)?;
            }
        }
        self.intake.tick(self.clock.now_ms(), &mut self.outbox);
        self.log_divergences(self.divergences_due_ms, usize::MAX);
        if self.verbose {
            let (dropped, statistics) = (self.inbox.dropped(), self.intake.statistics());
            log::debug!("Store: the writer ends, {dropped} messages dropped: {statistics:?}");
        }
        publish(&self.node.publisher, &mut self.outbox)
    }

    /// Logs differences to other stores, `max_count` per second at most.
    fn log_divergences(&mut self, now_ms: u64, max_count: usize) {
        if now_ms < self.divergences_due_ms || !self.intake.has_divergence() {
            return;
        }
        self.divergences_due_ms = now_ms + Warning::INTERVAL_MS;
        for _ in 0..max_count {
            let Some(divergence) = self.intake.poll_divergence() else { return };
            log::warn!("{}", describe(&divergence));
        }
    }

    /// Stores that subscribe to GET-HEADS.
    fn subscriptions(&mut self) -> Result {
        let Self { node, intake, clock, .. } = self;
        node.subscriptions(|subscription| intake.subscription(subscription, clock.now_ms()))
    }

    fn messages(&mut self) -> Result {
        let read_ms = self.clock.now_ms();
        for _ in 0..BATCH_COUNT {
            if self.intake.is_full() {
                break;
            }
            let Some(received) = self.inbox.next(&self.node.subscriber, &self.node.unread)? else {
                break;
            };
            // A record waits for the disk.
            let Received { frame, content, origin, .. } = received.with_own_content();
            match Message::decode(frame.as_ref()) {
                Ok(message)
                    if self.node.is_unasked(&message, origin, |of| self.intake.is_store_asked(of)) => {}
                Ok(message) if message.has_content() == content.is_one() && !content.is_too_much() => {
                    if let Err(TooLong) =
                        self.intake.message(&message, content.into_frame(), &|| sender(origin), read_ms)
                    {
                        self.warning.warn(now_ms(), || {
                            format!(
                                "Store: a record of more than {MAX_CONTENT_LEN_BYTES} octets cannot be kept"
                            )
                        });
                    }
                }
                Ok(message) => self.warning.warn(now_ms(), || {
                    format!("Store: dropped a {} with a wrong number of frames", message.name())
                }),
                Err(error) => self.warning.warn(now_ms(), || format!("Store: dropped a message: {error}")),
            }
        }
        self.inbox.fill(&self.node.subscriber, &self.node.unread, self.clock.now_ms())
    }

    /// Takes what is durable now, and hands the next batch over when the disk is free.
    fn commit(&mut self, is_committer_awake: bool) -> Result {
        if (self.committer.is_busy() || is_committer_awake)
            && let Some(job) = self.committer.finished()?
        {
            self.intake.committed(job);
        }
        if !self.committer.is_busy()
            && let Some(job) = self.intake.next_job()
        {
            self.committer.commit(job)?;
        }
        Ok(())
    }
}
