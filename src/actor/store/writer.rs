//! The writer: takes records off the network, has them written in batches, acknowledges what is durable.

use super::committer::{Committer, Job};
use crate::actor::consumer::receive_content;
use crate::actor::node::{Config, Node};
use crate::actor::{
    BATCH_COUNT, MAX_FRAME_LEN_BYTES, MAX_UNREAD_COUNT, Result, printable, publish, timeout_ms,
};
use crate::net::{Frame, Kind, Pipe, TERM, Warning, now_ms, poll};
use crate::protocol::Outbox;
use crate::protocol::ingest::{Index, Limits};
use crate::protocol::replica::{Append, Replica, Resume};
use crate::settings::Settings;
use crate::storage::{Log, MAX_CONTENT_LEN_BYTES, RunIndex};
use crate::wire::{Message, id, prefix};
use std::sync::{Arc, Mutex, PoisonError};
use zmq::POLLIN;

/// What one batch holds before the writer stops reading until the disk has taken the one before.
const MAX_BATCH_LEN_BYTES: usize = 16 << 20;
/// The same in records.
const MAX_BATCH_COUNT: usize = 131_072;

/// Runs a writer until `$TERM`. `reader` is the address of the store's other half, `store` the name of both.
pub(super) fn run(
    pipe: &Pipe,
    address: &str,
    reader: &str,
    store: &[u8],
    log: &Arc<Log>,
    settings: &Settings,
) -> Result {
    let own = address.as_bytes();
    let limits = Limits {
        partitions: settings.store.max_partitions,
        early_len_bytes: settings.store.reorder_bytes,
        ..Limits::default()
    };
    let mut replica = Replica::new(own, limits, now_ms()).named(store).resuming(resume(log));
    // Further ones are opened when somebody speaks of them.
    for partition in log.partitions()?.into_iter().take(limits.partitions) {
        replica.open(&partition.subject, &partition.address, partition.next);
    }
    // What the disk cannot take now waits with the producers, who keep it anyway: a long queue here would only cost
    // memory, and time to fill it. 0 means no limit, to ZeroMQ and in the settings.
    let receive_high_watermark = match settings.store.high_watermark {
        0 => MAX_UNREAD_COUNT,
        high_watermark => high_watermark.min(MAX_UNREAD_COUNT),
    };
    let node = Node::start(
        &Config {
            name: "Store Writer",
            address,
            ignored: &[reader],
            publisher: Kind::XPUB,
            send_high_watermark: settings.store.high_watermark,
            receive_high_watermark,
            max_frame_len_bytes: settings.store.max_record_bytes.max(MAX_FRAME_LEN_BYTES),
            subscriptions: &[
                prefix(id::RECORD, b""),
                prefix(id::HEAD, b""),
                prefix(id::DIRECT_RECORD, own),
                prefix(id::DIRECT_HEAD, own),
            ],
            beacon: &settings.beacon,
        },
        pipe,
    )?;
    let committer = Committer::start(log)?;
    pipe.signal()?;
    let actor = Actor {
        pipe,
        verbose: settings.store.verbose,
        node,
        replica,
        committer,
        gathering: Gathering::default(),
        spare: Job::default(),
        appends: Vec::new(),
        outbox: Outbox::new(),
        warning: Warning::default(),
        refused: 0,
    };
    actor.run()
}

/// Where a partition stands in the log: for those that gave way to others.
fn resume(log: &Arc<Log>) -> Box<Resume> {
    let log = log.clone();
    Box::new(move |subject, address| match log.find(subject, address) {
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

struct Actor<'a> {
    pipe: &'a Pipe,
    verbose: bool,
    node: Node,
    replica: Replica<Frame>,
    committer: Committer,
    gathering: Gathering,
    /// A job that was done, whose memory the next batch uses.
    spare: Job,
    appends: Vec<Append<Frame>>,
    outbox: Outbox<Frame>,
    warning: Warning,
    /// Messages refused so far for want of room, as far as the log was told.
    refused: u64,
}

/// The batch that is filled while the disk is busy with the one before.
#[derive(Default)]
struct Gathering {
    job: Job,
    /// By partition: its run in the batch, and its place in the job's `ends`.
    runs: Vec<Option<(RunIndex, usize)>>,
}

impl Gathering {
    fn is_full(&self) -> bool {
        self.job.batch.content_len_bytes() >= MAX_BATCH_LEN_BYTES || self.job.batch.len() >= MAX_BATCH_COUNT
    }

    fn push(&mut self, replica: &Replica<Frame>, append: Append<Frame>) {
        let Append { partition, offset, content } = append;
        if self.runs.len() <= partition.0 {
            self.runs.resize(partition.0 + 1, None);
        }
        let (run, end) = *self.runs[partition.0].get_or_insert_with(|| {
            let (subject, address) = replica.partition(partition);
            self.job.ends.push((partition, offset));
            (self.job.batch.run(subject, address, offset), self.job.ends.len() - 1)
        });
        self.job.batch.push_to(run, content);
        self.job.ends[end].1 = offset + 1;
    }

    /// Takes the batch out, and leaves `spare`'s memory for the next one.
    fn take(&mut self, mut spare: Job) -> Job {
        for &(Index(partition), _) in &self.job.ends {
            self.runs[partition] = None;
        }
        spare.batch.clear();
        spare.ends.clear();
        std::mem::replace(&mut self.job, spare)
    }
}

impl Actor<'_> {
    fn run(mut self) -> Result {
        loop {
            // While the disk holds us up, answers wait unread: no time to ask again.
            let due_ms = (!self.gathering.is_full()).then(|| self.replica.due_ms());
            let mut items = vec![
                self.pipe.item(POLLIN),
                self.node.publisher.item(POLLIN),
                self.node.beacon().item(POLLIN),
                self.committer.wake().item(POLLIN),
            ];
            if !self.gathering.is_full() {
                items.push(self.node.subscriber.item(POLLIN));
            }
            poll(&mut items, timeout_ms(due_ms, now_ms()))?;
            drop(items);

            let mut frame = Frame::new();
            while self.pipe.try_recv(&mut frame)? {
                if frame.as_ref() == TERM {
                    return self.end();
                }
            }
            self.subscriptions()?;
            self.messages()?;
            self.node.follow_beacon()?;
            self.commit()?;
            if !self.gathering.is_full() {
                self.replica.tick(now_ms(), &mut self.outbox);
            }
            let refused = self.replica.statistics().refused;
            if refused > self.refused {
                self.refused = refused;
                self.warning.warn(now_ms(), || "Store: too many partitions; new ones are not stored".into());
            }
            self.replica.flush_acks(&mut self.outbox);
            publish(&self.node.publisher, &mut self.outbox)?;
        }
    }

    /// Writes what was gathered, and acknowledges it.
    fn end(mut self) -> Result {
        for _ in 0..2 {
            if let Some(job) = self.committer.finish() {
                self.committed(job);
            }
            if !self.gathering.job.batch.is_empty() {
                let job = self.gathering.take(Job::default());
                self.committer.commit(job)?;
            }
        }
        self.replica.flush_acks(&mut self.outbox);
        if self.verbose {
            log::debug!("Store: the writer ends: {:?}", self.replica.statistics());
        }
        publish(&self.node.publisher, &mut self.outbox)
    }

    /// Stores that subscribe to GET-HEADS.
    fn subscriptions(&mut self) -> Result {
        let Self { node, replica, .. } = self;
        node.subscriptions(|subscription| replica.subscription(subscription, now_ms()))
    }

    fn messages(&mut self) -> Result {
        let mut frame = Frame::new();
        let now_ms = now_ms();
        for _ in 0..BATCH_COUNT {
            if self.gathering.is_full() || !self.node.subscriber.try_recv(&mut frame)? {
                break;
            }
            let content = receive_content(&self.node.subscriber, &frame)?;
            match Message::decode(frame.as_ref()) {
                Ok(message) if message.has_content() == content.is_one() && !content.is_too_much() => {
                    let content = content.into_frame();
                    if content.as_ref().is_some_and(|content| content.as_ref().len() > MAX_CONTENT_LEN_BYTES)
                    {
                        self.warning.warn(now_ms, || {
                            format!(
                                "Store: a record of more than {MAX_CONTENT_LEN_BYTES} octets cannot be kept"
                            )
                        });
                        continue;
                    }
                    self.replica.message(&message, content, now_ms, &mut self.appends);
                    for append in self.appends.drain(..) {
                        self.gathering.push(&self.replica, append);
                    }
                }
                Ok(message) => self.warning.warn(now_ms, || {
                    format!("Store: dropped a {} with a wrong number of frames", message.name())
                }),
                Err(error) => self.warning.warn(now_ms, || format!("Store: dropped a message: {error}")),
            }
        }
        Ok(())
    }

    /// Takes what is durable now, and hands the next batch over when the disk is free.
    fn commit(&mut self) -> Result {
        if self.committer.is_busy()
            && let Some(job) = self.committer.finished()?
        {
            self.spare = self.committed(job);
        }
        if !self.committer.is_busy() && !self.gathering.job.batch.is_empty() {
            let job = self.gathering.take(std::mem::take(&mut self.spare));
            self.committer.commit(job)?;
        }
        Ok(())
    }

    fn committed(&mut self, mut job: Job) -> Job {
        for (partition, end) in job.ends.drain(..) {
            self.replica.committed(partition, end);
        }
        // The records' memory is free again now, not with the next batch.
        job.batch.clear();
        job
    }
}
