//! The writer: takes records off the network, has them written in batches, acknowledges what is durable.

use super::committer::Committer;
use super::compare::OnDisk;
use super::intake::{Intake, TooLong};
use super::watch::{Slot, Watch};
use crate::actor::inbox::{Inbox, limit_count};
use crate::actor::node::{Config, Node};
use crate::actor::node_loop::{self, Common};
use crate::actor::refused::Refused;
use crate::actor::role::{Flow, Receives, Role};
use crate::actor::{MAX_FRAME_LEN_BYTES, Result, printable};
use crate::net::{Frame, Kind, Peer, Pipe, TERM, Warning, now_ms};
use crate::protocol::comparison::Divergence;
use crate::protocol::ingest::Limits;
use crate::protocol::replica::{Replica, Resume};
use crate::protocol::{Outbox, Sender, subscriptions};
use crate::settings::Settings;
use crate::storage::{Log, MAX_CONTENT_LEN_BYTES};
use crate::wire::{Message, Position, Subscription};
use std::sync::{Arc, Mutex, PoisonError};
use zmq::{POLLIN, PollItem};

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
    let inbox = Inbox::new(settings.store.max_unread_bytes, limit_count(settings.store.high_watermark));
    let role = WriterRole {
        verbose: settings.store.verbose,
        intake,
        committer,
        stall_warning: Warning::default(),
        refused: Refused::default(),
        divergences_due_ms: 0,
    };
    node_loop::run(role, Common::new(pipe, node, inbox))
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

/// The role of a store's writer.
struct WriterRole {
    verbose: bool,
    intake: Intake<Frame>,
    committer: Committer,
    /// Of partitions that stand still: other warnings do not hide them.
    stall_warning: Warning,
    refused: Refused,
    /// No difference to another store is logged before this.
    divergences_due_ms: u64,
}

impl Role for WriterRole {
    const NAME: &'static str = "Store";
    const RECEIVES: Receives = Receives::Records;
    /// A record waits for the disk.
    const KEEPS_CONTENT: bool = true;

    fn can_receive(&self) -> bool {
        !self.intake.is_full()
    }

    fn due_ms(&self, now_ms: u64) -> Option<u64> {
        let divergence_ms = self.intake.has_divergence().then(|| {
            // By the clock that does not stand still.
            now_ms + self.divergences_due_ms.saturating_sub(crate::net::now_ms())
        });
        self.intake.due_ms().into_iter().chain(divergence_ms).min()
    }

    fn other_item(&self) -> Option<PollItem<'_>> {
        Some(self.committer.wake().item(POLLIN))
    }

    fn handle_command(&mut self, _: &mut Common, command: &[u8], _: Option<Frame>, _: u64) -> Result<Flow> {
        Ok(if command == TERM { Flow::End } else { Flow::Continue })
    }

    /// Stores subscribe to GET-HEADS.
    fn handle_subscription(&mut self, subscription: &Subscription, now_ms: u64, _: &mut Outbox<Frame>) {
        self.intake.subscription(subscription, now_ms);
    }

    fn is_store_asked(&self, position: &Position) -> bool {
        self.intake.is_store_asked(position)
    }

    fn handle_message(
        &mut self,
        common: &mut Common,
        message: &Message,
        content: Option<Frame>,
        from: &Sender,
        read_ms: u64,
    ) -> Result {
        if let Err(TooLong) = self.intake.message(message, content, from, read_ms) {
            common.warning.warn(now_ms(), || {
                format!("Store: a record of more than {MAX_CONTENT_LEN_BYTES} octets cannot be kept")
            });
        }
        Ok(())
    }

    fn handle_cut(&mut self, now_ms: u64) {
        self.intake.cut(now_ms);
    }

    fn turn(&mut self, common: &mut Common, is_committer_awake: bool) -> Result<Flow> {
        self.commit(is_committer_awake)?;
        self.intake.set_unread_since(common.inbox.oldest_ms());
        self.intake.tick(common.clock.now_ms(), &mut common.outbox);
        self.tell(&mut common.warning);
        Ok(Flow::Continue)
    }

    /// Writes what was gathered, and acknowledges it.
    fn end(mut self, mut common: Common) -> Result {
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
        self.intake.tick(common.clock.now_ms(), &mut common.outbox);
        self.log_divergences(self.divergences_due_ms, usize::MAX);
        if self.verbose {
            let (dropped, statistics) = (common.inbox.dropped(), self.intake.statistics());
            log::debug!("Store: the writer ends, {dropped} messages dropped: {statistics:?}");
        }
        common.publish()
    }
}

impl WriterRole {
    fn tell(&mut self, warning: &mut Warning) {
        if let Some(text) = self.refused.news(self.intake.statistics(), "stored") {
            warning.warn(now_ms(), || format!("Store: {text}"));
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
