//! The store's ingest: puts every partition in order, hands it on to be written, acknowledges what is durable.

use super::comparison::{Comparison, Held};
use crate::protocol::ingest::{Index, Ingest, Limits, Statistics};
use crate::protocol::notice::Notice;
use crate::protocol::{Outbox, Payload, Sender};
use crate::wire::{Message, Position, Subscription, id};

/// How soon it asks after another store has come: by then both hear each other.
const NEW_STORE_MS: u64 = 200;
/// The shortest time between two words of another store that goes by this one's name.
const TWIN_AGAIN_MS: u64 = 60_000;

/// A record to write.
#[derive(Debug)]
pub struct Append<P> {
    /// The partition, see [`Replica::partition`].
    pub partition: Index,
    /// The record's offset in it.
    pub offset: u64,
    /// The record.
    pub content: P,
}

/// Tells where a partition stands on disk: one after its last record, 0 when there is none. An error when that cannot
/// be told now.
pub type Resume = dyn Fn(&[u8], &[u8]) -> Result<u64, ()>;

/// The replica's state.
pub struct Replica<P> {
    address: Box<[u8]>,
    /// The store's name in its ACKs.
    store: Box<[u8]>,
    ingest: Ingest<P>,
    resume: Option<Box<Resume>>,
    comparison: Option<Comparison>,
    /// By partition.
    durable: Vec<Durable>,
    /// Partitions to acknowledge with the next [`Replica::poll_acks`].
    acks_due: Vec<Index>,
    /// When it asks the other stores what they hold.
    refresh_ms: u64,
    /// How many DIRECT-HEADs came since it asked last.
    head_count: usize,
    /// Another store goes by this one's name.
    has_twin: bool,
    /// No word of that before this.
    twin_ms: u64,
}

/// What is on disk of one partition.
#[derive(Clone, Copy, Debug, Default)]
struct Durable {
    /// One after its last durable record.
    next: u64,
    is_ack_due: bool,
}

impl<P: Payload> Replica<P> {
    /// A replica without partitions.
    pub fn new(address: &[u8], limits: Limits, now_ms: u64) -> Self {
        Replica {
            address: address.into(),
            store: Box::default(),
            // What is on disk is remembered there.
            ingest: Ingest::new(address, Limits { evicted_positions: 0, ..limits }),
            resume: None,
            comparison: None,
            durable: Vec::new(),
            acks_due: Vec::new(),
            refresh_ms: now_ms + NEW_STORE_MS,
            head_count: 0,
            has_twin: false,
            twin_ms: 0,
        }
    }

    /// Names the store in its ACKs, so that producers can tell one store that acknowledges twice from two stores:
    /// a name that survives restarts, unlike the node's address.
    pub fn named(self, store: &[u8]) -> Self {
        Replica { store: store.into(), ..self }
    }

    /// Lets partitions that are on disk give way to others when there are too many: `resume`, given subject and
    /// address, tells where one stands when it is spoken of again.
    pub fn resuming(self, resume: Box<Resume>) -> Self {
        Replica { resume: Some(resume), ..self }
    }

    /// Compares what this store holds with what other stores hold.
    pub fn comparing(self, held: Box<dyn Held>) -> Self {
        let comparison = Some(Comparison::new(held, &self.address));
        Replica { comparison, ..self }
    }

    /// Adds a partition that is on disk already, up to, not including, `next`. `None` when there are too many.
    pub fn open(&mut self, subject: &[u8], address: &[u8], next: u64) -> Option<Index> {
        // Nobody has brought it.
        self.open_at(subject, address, next, None, 0)
    }

    fn open_at(
        &mut self,
        subject: &[u8],
        address: &[u8],
        next: u64,
        from: Option<&[u8]>,
        now_ms: u64,
    ) -> Option<Index> {
        let Self { ingest, durable, resume, .. } = self;
        // Records under way to the disk, and ACKs, name their partition by its index.
        let resume_at = |Index(i), next| {
            let durable: &Durable = &durable[i];
            let is_idle = durable.next == next && !durable.is_ack_due && (next == 0 || resume.is_some());
            is_idle.then_some(next)
        };
        let index = ingest.open(subject, address, next, from, now_ms, resume_at)?;
        if next > 0 {
            ingest.prove(index);
        }
        let fresh = Durable { next, is_ack_due: false };
        match self.durable.get_mut(index.0) {
            Some(durable) => *durable = fresh,
            None => self.durable.push(fresh),
        }
        Some(index)
    }

    /// Subject and address of a partition.
    pub fn partition(&self, index: Index) -> (&[u8], &[u8]) {
        let partition = self.ingest.partition(index);
        (&partition.subject, &partition.address)
    }

    /// Whether a single store is asked for the next records of a partition.
    pub fn is_store_asked(&self, position: &Position) -> bool {
        self.ingest.is_store_asked(position)
    }

    /// Takes a message from the network. Records that are in order now are added to `appends`, to be written.
    pub fn handle_message(
        &mut self,
        message: &Message,
        content: Option<P>,
        from: &Sender,
        now_ms: u64,
        appends: &mut impl Extend<Append<P>>,
    ) {
        match (message, content) {
            (Message::Record(position) | Message::DirectRecord(position), Some(content)) => {
                let is_live = matches!(message, Message::Record(_));
                if !is_live
                    && let Some(comparison) = &mut self.comparison
                    && comparison.handle_record(position, content.as_ref(), from, now_ms)
                {
                    return;
                }
                let Some(partition) = self.find_or_open(position, is_live, from, now_ms) else { return };
                if is_live {
                    self.ingest.published(partition, position.sequence, now_ms);
                    self.ingest.mentioned(partition, from, now_ms);
                }
                let is_new = self.ingest.record(
                    partition,
                    position.sequence,
                    content,
                    from,
                    now_ms,
                    |offset, content| {
                        appends.extend([Append { partition, offset, content }]);
                    },
                );
                // Its producer does not know that we have it: our ACK may have been lost.
                if !is_new && is_live {
                    self.acknowledge(partition);
                }
            }
            (Message::Head(position), None) => {
                let Some(partition) = self.find_or_open(position, true, from, now_ms) else { return };
                self.ingest.heard_of(partition, position.sequence, now_ms);
                self.ingest.mentioned(partition, from, now_ms);
                self.acknowledge(partition);
            }
            (Message::DirectHead { position, store }, None) => {
                // A store is not connected to its own reader.
                self.head_count += 1;
                let is_own = **store == *self.store;
                self.has_twin |= !store.is_empty() && is_own;
                if let Some(comparison) = self.comparison.as_mut().filter(|_| !is_own) {
                    comparison.handle_head(position, store, from, now_ms);
                }
                let Some(partition) = self.find_or_open(position, false, from, now_ms) else { return };
                self.ingest.held_by(partition, store, position.sequence, now_ms);
                self.ingest.mentioned(partition, from, now_ms);
            }
            _ => {}
        }
    }

    /// Takes a subscription that somebody made at this node's socket. Stores subscribe to GET-HEADS: when a
    /// store has come, it is asked what it holds.
    pub fn handle_subscription(&mut self, subscription: &Subscription, now_ms: u64) {
        if subscription.subscribe && subscription.id == id::GET_HEADS && subscription.topic.is_empty() {
            self.refresh_ms = self.refresh_ms.min(now_ms + NEW_STORE_MS);
        }
    }

    /// A partition is durable up to, not including, `next`.
    pub fn handle_committed(&mut self, partition: Index, next: u64) {
        let durable = &mut self.durable[partition.0];
        debug_assert!(durable.next <= next, "what is durable stays so");
        durable.next = next;
        self.acknowledge(partition);
    }

    /// Publishes the ACKs that are due: one per partition.
    pub fn poll_acks(&mut self, out: &mut Outbox<P>) {
        for index in self.acks_due.drain(..) {
            let durable = &mut self.durable[index.0];
            durable.is_ack_due = false;
            let partition = self.ingest.partition(index);
            out.message(&Message::Ack {
                topic: &partition.address,
                subject: &partition.subject,
                sequence: durable.next - 1,
                store: &self.store,
            });
        }
    }

    /// Messages wait that were received at this time and later: see [`Ingest::handle_unread`].
    pub fn handle_unread(&mut self, unread_since_ms: Option<u64>) {
        self.ingest.handle_unread(unread_since_ms);
    }

    /// A connection was given up, see [`Ingest::handle_cut`].
    pub fn handle_cut(&mut self, now_ms: u64) {
        self.ingest.handle_cut(now_ms);
    }

    /// The next notice, if there is one. A twin is told once a minute.
    pub fn poll_notice(&mut self, now_ms: u64) -> Option<Notice> {
        if std::mem::take(&mut self.has_twin) && now_ms >= self.twin_ms {
            self.twin_ms = now_ms + TWIN_AGAIN_MS;
            return Some(Notice::TwinStore);
        }
        let divergence = self.comparison.as_mut().and_then(Comparison::poll_divergence);
        divergence.map(Notice::Divergence).or_else(|| self.ingest.poll_notice())
    }

    /// What happened so far.
    pub fn statistics(&self) -> Statistics {
        self.ingest.statistics()
    }

    /// When [`Replica::handle_timeout`] has something to do next.
    pub fn due_ms(&self) -> u64 {
        let compare_ms = self.comparison.as_ref().and_then(Comparison::due_ms);
        [self.ingest.due_ms(), compare_ms].into_iter().flatten().fold(self.refresh_ms, u64::min)
    }

    /// Sends what is due.
    pub fn handle_timeout(&mut self, now_ms: u64, out: &mut Outbox<P>) {
        self.ingest.handle_timeout(now_ms, out);
        if let Some(comparison) = &mut self.comparison {
            comparison.handle_timeout(&self.address, now_ms, out);
        }
        if now_ms >= self.refresh_ms {
            let head_count = std::mem::take(&mut self.head_count);
            self.refresh_ms = now_ms + self.ingest.refresh_interval_ms(head_count);
            // The empty topic: every partition of every topic.
            out.message(&Message::GetHeads { topic: b"", address: &self.address });
        }
    }

    fn acknowledge(&mut self, partition: Index) {
        let durable = &mut self.durable[partition.0];
        if durable.next > 0 && !durable.is_ack_due {
            durable.is_ack_due = true;
            self.acks_due.push(partition);
        }
    }

    /// The partition of a message. One that gave way goes on where it stands on disk. `is_live`: its producer speaks of
    /// it, and wants an ACK; others need it open only for what is not on disk.
    fn find_or_open(
        &mut self,
        position: &Position,
        is_live: bool,
        from: &Sender,
        now_ms: u64,
    ) -> Option<Index> {
        if let Some(partition) = self.ingest.find(position) {
            return Some(partition);
        }
        if position.address.is_empty() || position.subject.is_empty() {
            return None;
        }
        let next = match &self.resume {
            Some(resume) => resume(position.subject, position.address).ok()?,
            None => 0,
        };
        if position.sequence < next && !is_live {
            return None;
        }
        self.open_at(position.subject, position.address, next, from().as_deref(), now_ms)
    }
}
