//! The part of a store that receives records: puts each partition in order, passes the records on to be written, and
//! acknowledges those on disk.

use super::commits::{Commit, Commits, FindPosition};
use super::comparison::{Comparison, Held};
use crate::partition_name::PartitionName;
use crate::protocol::ingest::{Index, Ingest, Limits, Statistics};
use crate::protocol::notice::{Notice, Refusal};
use crate::protocol::{Outbox, Payload, Sender, last_of};
use crate::wire::{Message, Position, Subscription, id};

/// When another store has connected, this store waits for this time before it requests the heads of the other store. By
/// then the connections in both directions exist.
const NEW_STORE_MS: u64 = 200;

/// The interval between two requests for the positions of the other stores. The second constant is added for each
/// position in their responses. Nearly all positions arrive earlier, as COMMITs.
const POSITIONS_INTERVAL_MS: u64 = 30_000;
const POSITIONS_INTERVAL_PER_POSITION_MS: u64 = 1;
/// The shortest time between two notices of a twin store.
const TWIN_INTERVAL_MS: u64 = 60_000;

/// A run to write.
#[derive(Debug)]
pub struct Append<P> {
    /// The partition, see [`Replica::partition`].
    pub partition: Index,
    /// The offset of the first record.
    pub offset: u64,
    /// The contents of the records.
    pub content: P,
}

/// Returns the end of a partition on disk: one after its last record, or 0 when there is none. Returns an error when
/// that cannot be read now.
pub type Resume = dyn Fn(PartitionName) -> Result<u64, ()>;

/// The replica's state.
pub struct Replica<P> {
    address: Box<[u8]>,
    /// The store's name in its ACKs.
    store: Box<[u8]>,
    ingest: Ingest<P>,
    resume: Option<Box<Resume>>,
    comparison: Option<Comparison>,
    /// The positions of consumers; `None` if the store keeps none.
    commits: Option<Commits>,
    /// The state on disk of each partition, by index.
    durable: Vec<Durable>,
    /// Partitions whose ACK the next [`Replica::poll_acks`] sends.
    acks_due: Vec<Index>,
    /// When this store next requests the heads of the other stores.
    refresh_ms: u64,
    /// How many DIRECT-HEADs have come since the heads were last requested.
    head_count: usize,
    /// The same for positions.
    positions_ms: u64,
    position_count: u64,
    /// Whether another store uses this store's name.
    has_twin: bool,
    /// No notice of a twin store before this time.
    twin_ms: u64,
}

/// The records of one partition that are on disk.
#[derive(Clone, Copy, Debug, Default)]
struct Durable {
    /// One after the last record.
    next: u64,
    is_ack_due: bool,
}

impl<P: Payload> Replica<P> {
    /// Returns a replica without partitions.
    pub fn new(address: &[u8], limits: Limits, now_ms: u64) -> Self {
        Replica {
            address: address.into(),
            store: Box::default(),
            // The positions of evicted partitions are on disk, so none are stored in memory.
            ingest: Ingest::new(address, Limits { evicted_positions: 0, ..limits }),
            resume: None,
            comparison: None,
            commits: None,
            durable: Vec::new(),
            acks_due: Vec::new(),
            refresh_ms: now_ms + NEW_STORE_MS,
            head_count: 0,
            positions_ms: now_ms + NEW_STORE_MS,
            position_count: 0,
            has_twin: false,
            twin_ms: 0,
        }
    }

    /// Sets the store's name in its ACKs. The name stays the same after a restart, unlike the node's address. So
    /// producers can distinguish one store that acknowledges twice from two stores.
    pub fn named(self, store: &[u8]) -> Self {
        Replica { store: store.into(), ..self }
    }

    /// Lets partitions that are on disk be evicted. When a message mentions such a partition again, `resume` returns
    /// where it ends on disk.
    pub fn resuming(self, resume: Box<Resume>) -> Self {
        Replica { resume: Some(resume), ..self }
    }

    /// Compares the records of this store with those of other stores.
    pub fn comparing(self, held: Box<dyn Held>) -> Self {
        let comparison = Some(Comparison::new(held, &self.address));
        Replica { comparison, ..self }
    }

    /// Keeps the committed positions of consumers. `find` returns the positions on disk.
    pub fn keeping_positions(self, find: Box<FindPosition>) -> Self {
        Replica { commits: Some(Commits::new(find)), ..self }
    }

    /// Handles a COMMIT, or a POSITION of another store. `unix_ms` is the time since the Unix epoch. Returns the
    /// position if it must be written.
    pub fn handle_commit(&mut self, message: &Message, unix_ms: u64, now_ms: u64) -> Option<Commit> {
        self.position_count += u64::from(matches!(message, Message::Position { .. }));
        self.commits.as_mut()?.handle_message(message, unix_ms, now_ms)
    }

    /// The names of a position that [`Replica::handle_commit`] has returned are too long to be written.
    pub fn handle_commit_too_long(&mut self, commit: Commit) {
        if let Some(commits) = &mut self.commits {
            commits.refuse(commit.name, Refusal::TooLong);
        }
    }

    /// A position that [`Replica::handle_commit`] has returned was written.
    pub fn handle_commit_written(&mut self, commit: Commit) {
        if let Some(commits) = &mut self.commits {
            commits.handle_written(commit);
        }
    }

    /// Adds a partition that is on disk up to, not including, `next`. Returns `None` when there are too many
    /// partitions.
    pub fn open(&mut self, name: PartitionName, next: u64) -> Option<Index> {
        // It is charged to no peer.
        self.open_at(name, next, None, 0)
    }

    fn open_at(&mut self, name: PartitionName, next: u64, from: Option<&[u8]>, now_ms: u64) -> Option<Index> {
        let Self { ingest, durable, resume, .. } = self;
        // Records that are being written, and ACKs, refer to their partition by its index. A partition that they refer
        // to cannot be evicted.
        let resume_at = |Index(i), next| {
            let durable: &Durable = &durable[i];
            let is_idle = durable.next == next && !durable.is_ack_due && (next == 0 || resume.is_some());
            is_idle.then_some(next)
        };
        let index = ingest.open(name, next, from, now_ms, resume_at)?;
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

    /// Returns the name of a partition.
    pub fn partition(&self, index: Index) -> PartitionName<'_> {
        self.ingest.partition(index).name()
    }

    /// True while the response of a single store to a FETCH of this partition is expected, until the deadline.
    pub fn is_store_asked(&self, position: &Position) -> bool {
        self.ingest.is_store_asked(position)
    }

    /// Handles a message from the network. Appends to `appends` the records that are now in order and must be written.
    pub fn handle_message(
        &mut self,
        message: &Message,
        content: Option<P>,
        from: &Sender,
        now_ms: u64,
        appends: &mut impl Extend<Append<P>>,
    ) {
        match (message, content) {
            (
                Message::Record(position)
                | Message::Records(position)
                | Message::DirectRecord(position)
                | Message::DirectRecords(position),
                Some(content),
            ) => {
                let (first, last) = (position.sequence, last_of(position.sequence, &content));
                let is_live = matches!(message, Message::Record(_) | Message::Records(_));
                if !is_live
                    && let Some(comparison) = &mut self.comparison
                    && comparison.handle_run(position, &content, from, now_ms)
                {
                    return;
                }
                let Some(partition) = self.find_or_open(position, last, is_live, from, now_ms) else {
                    return;
                };
                if is_live {
                    self.ingest.handle_published(partition, first, last, now_ms);
                    self.ingest.handle_mention(partition, from, now_ms);
                }
                let append = |offset, content| appends.extend([Append { partition, offset, content }]);
                let is_new = self.ingest.handle_run(partition, first, content, from, now_ms, append);
                // The producer sent the records again: this store's ACK may have been lost.
                if !is_new && is_live {
                    self.acknowledge(partition);
                }
            }
            (Message::Head(position), None) => {
                let Some(partition) = self.find_or_open(position, position.sequence, true, from, now_ms)
                else {
                    return;
                };
                self.ingest.handle_head(partition, position.sequence, now_ms);
                self.ingest.handle_mention(partition, from, now_ms);
                self.acknowledge(partition);
            }
            (Message::DirectHead { position, store }, None) => {
                // A store does not connect to its own reader. So a DIRECT-HEAD with this store's name comes from a twin
                // store.
                self.head_count += 1;
                let is_own = **store == *self.store;
                self.has_twin |= !store.is_empty() && is_own;
                if let Some(comparison) = self.comparison.as_mut().filter(|_| !is_own) {
                    comparison.handle_head(position, store, from, now_ms);
                }
                let Some(partition) = self.find_or_open(position, position.sequence, false, from, now_ms)
                else {
                    return;
                };
                self.ingest.handle_store_head(partition, store, position.sequence, now_ms);
                self.ingest.handle_mention(partition, from, now_ms);
            }
            _ => {}
        }
    }

    /// Handles a subscription that a peer made at this node's socket. A subscription to GET-HEADS of all topics shows
    /// that another store has connected. The heads of that store are requested soon after.
    pub fn handle_subscription(&mut self, subscription: &Subscription, now_ms: u64) {
        if subscription.subscribe && subscription.id == id::GET_HEADS && subscription.topic.is_empty() {
            self.refresh_ms = self.refresh_ms.min(now_ms + NEW_STORE_MS);
            self.positions_ms = self.positions_ms.min(now_ms + NEW_STORE_MS);
        }
    }

    /// The records of a partition are on disk up to, not including, `next`.
    pub fn handle_committed(&mut self, partition: Index, next: u64) {
        let durable = &mut self.durable[partition.0];
        debug_assert!(durable.next <= next, "what is durable stays so");
        durable.next = next;
        self.acknowledge(partition);
    }

    /// Sends the ACKs that are due, one for each partition, and confirms commits.
    pub fn poll_acks(&mut self, out: &mut Outbox<P>) {
        self.commits.iter_mut().for_each(|commits| commits.poll_confirmations(&self.store, out));
        for index in self.acks_due.drain(..) {
            let durable = &mut self.durable[index.0];
            durable.is_ack_due = false;
            let PartitionName { topic, producer } = self.ingest.partition(index).name();
            out.message(&Message::Ack {
                topic: producer,
                subject: topic,
                sequence: durable.next - 1,
                store: &self.store,
            });
        }
    }

    /// Messages that were received at `unread_since_ms` or later are unread, see [`Ingest::handle_unread`].
    pub fn handle_unread(&mut self, unread_since_ms: Option<u64>) {
        self.ingest.handle_unread(unread_since_ms);
    }

    /// A connection has been given up, see [`Ingest::handle_given_up`].
    pub fn handle_given_up(&mut self, now_ms: u64) {
        self.ingest.handle_given_up(now_ms);
    }

    /// Returns the next notice, if any. A twin store is reported at most once a minute.
    pub fn poll_notice(&mut self, now_ms: u64) -> Option<Notice> {
        if std::mem::take(&mut self.has_twin) && now_ms >= self.twin_ms {
            self.twin_ms = now_ms + TWIN_INTERVAL_MS;
            return Some(Notice::TwinStore);
        }
        let divergence = self.comparison.as_mut().and_then(Comparison::poll_divergence);
        let of_commits = || self.commits.as_mut().and_then(|commits| commits.poll_notice(now_ms));
        divergence.map(Notice::Divergence).or_else(of_commits).or_else(|| self.ingest.poll_notice())
    }

    /// Returns the counters so far.
    pub fn statistics(&self) -> Statistics {
        self.ingest.statistics()
    }

    /// When [`Replica::handle_timeout`] must be called next.
    pub fn due_ms(&self) -> u64 {
        let compare_ms = self.comparison.as_ref().and_then(Comparison::due_ms);
        let positions_ms = self.commits.as_ref().map(|_| self.positions_ms);
        let due_ms = [self.ingest.due_ms(), compare_ms, positions_ms];
        due_ms.into_iter().flatten().fold(self.refresh_ms, u64::min)
    }

    /// Sends the FETCHes and the GET-HEADS that are due.
    pub fn handle_timeout(&mut self, now_ms: u64, out: &mut Outbox<P>) {
        self.ingest.handle_timeout(now_ms, out);
        if let Some(comparison) = &mut self.comparison {
            comparison.handle_timeout(&self.address, now_ms, out);
        }
        if now_ms >= self.refresh_ms {
            let head_count = std::mem::take(&mut self.head_count);
            self.refresh_ms = now_ms + self.ingest.begin_refresh(head_count);
            // The empty topic requests the heads of all topics.
            out.message(&Message::GetHeads { topic: b"", address: &self.address });
        }
        if self.commits.is_some() && now_ms >= self.positions_ms {
            let wait_ms = std::mem::take(&mut self.position_count) * POSITIONS_INTERVAL_PER_POSITION_MS;
            self.positions_ms = now_ms + POSITIONS_INTERVAL_MS + wait_ms;
            out.message(&Message::GetPositions { topic: b"", address: &self.address });
        }
    }

    fn acknowledge(&mut self, partition: Index) {
        let durable = &mut self.durable[partition.0];
        if durable.next > 0 && !durable.is_ack_due {
            durable.is_ack_due = true;
            self.acks_due.push(partition);
        }
    }

    /// Returns the partition of a message that mentions the record `last`. Opens an unknown or evicted partition at its
    /// end on disk. `is_live`: the message comes from the producer, which waits for an ACK. A message that is not live
    /// opens a partition only if it mentions records that are not on disk.
    fn find_or_open(
        &mut self,
        position: &Position,
        last: u64,
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
            Some(resume) => resume(position.partition()).ok()?,
            None => 0,
        };
        if last < next && !is_live {
            return None;
        }
        self.open_at(position.partition(), next, from().as_deref(), now_ms)
    }
}
