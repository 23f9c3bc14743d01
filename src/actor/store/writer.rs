//! The writer: receives records, passes them to the committer in batches, and acknowledges records that are on disk.

use super::committer::Committer;
use super::compare::OnDisk;
use super::disk_watch::{DiskWatch, Slot};
use super::intake::{Intake, TooLong};
use crate::actor::common::Common;
use crate::actor::inbox::{Inbox, limit_count};
use crate::actor::node::{Config, Node};
use crate::actor::node_loop;
use crate::actor::notices::Notices;
use crate::actor::role::{Flow, Receives, Role};
use crate::actor::{MAX_UNSENT_REQUEST_COUNT, Result, Run, max_records_frame_len_bytes, printable};
use crate::net::{Awaited, Frame, Kind, Origin, Pipe, TERM, Warning, now_ms, unix_ms};
use crate::protocol::ingest::Limits;
use crate::protocol::notice::Notice;
use crate::protocol::store::commits::FindPosition;
use crate::protocol::store::replica::{Replica, Resume};
use crate::protocol::{Outbox, Sender, subscriptions};
use crate::settings::Settings;
use crate::storage::{Log, PartitionName};
use crate::wire::batch::MAX_CONTENT_LEN_BYTES;
use crate::wire::{Message, Position, Subscription};
use std::sync::{Arc, Mutex, PoisonError};
use zmq::POLLIN;

/// Runs a writer until `$TERM`. `reader` is the address of the store's reader, `store` the name of the store.
pub(super) fn run(
    pipe: &Pipe,
    address: &str,
    reader: &str,
    store: &[u8],
    log: &Arc<Log>,
    watch: &DiskWatch,
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
    let replica = replica.keeping_positions(find_position(log, watch.slot()));
    // The writer opens a stored partition when the partition's producer mentions it, or when a store that has more of
    // its records mentions it. So a starting store reads no partitions, and the memory of the store does not depend on
    // the number of stored partitions.
    let intake = Intake::new(replica);
    let node = Node::start(
        &Config {
            name: "Store Writer",
            address,
            ignored: &[reader],
            publisher: Kind::XPUB,
            send_high_watermark: MAX_UNSENT_REQUEST_COUNT,
            unsent: None,
            max_frame_len_bytes: max_records_frame_len_bytes(settings.store.max_record_bytes),
            max_frame_key: Some("store/max_record_bytes"),
            subscriptions: &subscriptions::store_writer(own),
            traffic: subscriptions::STORE_WRITER,
            beacon: &settings.beacon,
        },
        pipe,
    )?;
    let committer = Committer::start(log, watch.slot())?;
    pipe.signal()?;
    let inbox = Inbox::new(settings.store.max_unread_bytes, limit_count(settings.store.high_watermark));
    let role = WriterRole { verbose: settings.store.verbose, intake, committer };
    node_loop::run(role, Common::new(pipe, node, inbox, Notices::new("Store", "stored")))
}

/// Returns a function that finds the offset at which a stored partition continues. The replica calls the function for a
/// partition that was evicted or not opened yet.
fn resume(log: &Arc<Log>, slot: Slot) -> Box<Resume> {
    let log = log.clone();
    let find = move |name: PartitionName| slot.during("looking up a partition", || log.find(name));
    Box::new(move |name| match find(name) {
        Ok(partition) => Ok(partition.map_or(0, |partition| partition.next)),
        Err(error) => {
            // The writer must not write to a partition whose end on disk is unknown. The peer will mention the
            // partition again.
            static WARNING: Mutex<Warning> = Mutex::new(Warning::new());
            let mut warning = WARNING.lock().unwrap_or_else(PoisonError::into_inner);
            warning.warn(now_ms(), || format!("Store: {}: {error}", printable(name.producer)));
            Err(())
        }
    })
}

/// Returns a function that finds the committed position of a consumer.
fn find_position(log: &Arc<Log>, slot: Slot) -> Box<FindPosition> {
    let log = log.clone();
    Box::new(move |name, partition| {
        slot.during("looking up a position", || log.find_position(name, partition)).map_err(|_| ())
    })
}

/// The role of a store's writer.
struct WriterRole {
    verbose: bool,
    intake: Intake<Run>,
    committer: Committer,
}

impl Role for WriterRole {
    const RECEIVES: Receives = Receives::Records;
    /// The content of a record is kept until the disk has written it.
    const KEEPS_CONTENT: bool = true;
    const KEEPS_COMPRESSED: bool = true;

    fn can_receive(&self) -> bool {
        !self.intake.is_full()
    }

    fn due_ms(&self, _: u64) -> Option<u64> {
        self.intake.due_ms()
    }

    fn extra_item(&self) -> Option<Awaited<'_>> {
        Some(Awaited::Socket(self.committer.wake(), POLLIN))
    }

    fn handle_command(&mut self, _: &mut Common, command: &[u8], _: Option<Frame>, _: u64) -> Result<Flow> {
        Ok(if command == TERM { Flow::End } else { Flow::Continue })
    }

    /// The readers of other stores subscribe to GET-HEADS of all topics.
    fn handle_subscription(
        &mut self,
        subscription: &Subscription,
        _: Origin,
        now_ms: u64,
        _: &mut Outbox<Run>,
    ) {
        self.intake.handle_subscription(subscription, now_ms);
    }

    fn before_messages(&mut self, _: &mut Common) -> Result {
        self.intake.handle_clock(u64::try_from(unix_ms()).unwrap_or_default());
        Ok(())
    }

    fn is_store_asked(&self, position: &Position) -> bool {
        self.intake.is_store_asked(position)
    }

    fn handle_message(
        &mut self,
        common: &mut Common,
        message: &Message,
        content: Option<Run>,
        from: &Sender,
        read_ms: u64,
    ) -> Result {
        if let Err(TooLong) = self.intake.handle_message(message, content, from, read_ms) {
            common
                .notices
                .warn(|| format!("a record of more than {MAX_CONTENT_LEN_BYTES} bytes cannot be stored"));
        }
        Ok(())
    }

    fn handle_given_up(&mut self, now_ms: u64) {
        self.intake.handle_given_up(now_ms);
    }

    fn turn(&mut self, common: &mut Common, is_committer_awake: bool) -> Result<Flow> {
        self.commit(is_committer_awake)?;
        self.intake.handle_unread(common.inbox.oldest_ms());
        self.intake.handle_timeout(common.clock.now_ms(), &mut common.outbox);
        Ok(Flow::Continue)
    }

    fn poll_notice(&mut self, now_ms: u64) -> Option<Notice> {
        self.intake.poll_notice(now_ms)
    }

    /// Writes the records that were gathered, and acknowledges them.
    fn end(mut self, mut common: Common) -> Result {
        for _ in 0..2 {
            let was_busy = self.committer.is_busy();
            match self.committer.finish()? {
                Some(job) => self.intake.handle_committed(job),
                // The disk refuses the batch.
                None if was_busy => break,
                None => {}
            }
            if let Some(job) = self.intake.poll_job() {
                self.committer.commit(job)?;
            }
        }
        self.intake.handle_timeout(common.clock.now_ms(), &mut common.outbox);
        node_loop::log_remaining_notices(&mut common, &mut self);
        if self.verbose {
            let (dropped, statistics) = (common.inbox.dropped(), self.intake.statistics());
            log::debug!("Store: the writer ends, {dropped} messages dropped: {statistics:?}");
        }
        common.publish()
    }
}

impl WriterRole {
    /// If the disk has written a batch, handles it. Starts to write the next batch if the disk is idle.
    fn commit(&mut self, is_committer_awake: bool) -> Result {
        if (self.committer.is_busy() || is_committer_awake)
            && let Some(job) = self.committer.finished()?
        {
            self.intake.handle_committed(job);
        }
        if !self.committer.is_busy()
            && let Some(job) = self.intake.poll_job()
        {
            self.committer.commit(job)?;
        }
        Ok(())
    }
}
