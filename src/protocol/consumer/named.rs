//! The part of a consumer that concerns its name and its committed positions.

use super::latest::Beginning;
use super::positions::Positions;
use super::topics::Rule;
use super::{Consumer, Start};
use crate::partition_name::PartitionName;
use crate::protocol::ingest::Index;
use crate::protocol::notice::Notice;
use crate::protocol::{Outbox, Payload};
use crate::wire::{Message, Subscription, id};

impl<P: Payload> Consumer<P> {
    /// Gives the consumer a name, under which stores keep its positions: at most `limit`. `now_ms` is a time of the
    /// clock for positions, which never stands still: the methods whose names contain `position` or `commit` take it.
    /// While [`Consumer::is_waiting`], the caller must process only POSITIONs, and its other clock must stand still.
    pub fn named(self, name: &[u8], limit: usize, now_ms: u64) -> Self {
        let positions = Positions::new(name, &self.address, limit, now_ms);
        Consumer { positions: Some(positions), ..self }
    }

    /// True while the consumer waits for the stores to send its committed positions.
    pub fn is_waiting(&self) -> bool {
        self.is_group_waiting() || self.positions.as_ref().is_some_and(Positions::is_waiting)
    }

    /// Commits that the application has processed a partition up to, not including, the record `next`.
    /// `timestamp_ms` is the time since the Unix epoch. [`Consumer::handle_positions_timeout`] publishes the commit.
    pub fn commit(&mut self, name: PartitionName, next: u64, timestamp_ms: u64, now_ms: u64) {
        if let Some(positions) = &mut self.positions {
            positions.commit(name, next, timestamp_ms, now_ms);
        }
    }

    /// The number of commits so far, and how many of them are confirmed: a store has each one, or a later one for the
    /// same partition, on disk.
    pub fn commits(&self) -> (u64, u64) {
        let own = || self.positions.as_ref().map(|positions| (positions.serial(), positions.confirmed()));
        self.group_commits().or_else(own).unwrap_or_default()
    }

    /// Handles a POSITION or a COMMIT-ACK, which can also come while other messages are not processed. A position that
    /// is new to the consumer moves a partition of which no record has been delivered yet.
    pub fn handle_position(&mut self, message: &Message, now_ms: u64) {
        if self.handle_slot_position(message, now_ms) {
            return;
        }
        let committed = message.committed().filter(|committed| committed.is_possible());
        let (Some(positions), Some(committed)) = (&mut self.positions, committed) else { return };
        let (position, is_new) = match message {
            Message::CommitAck { position, .. } => {
                (position, positions.handle_ack(position.partition(), committed, now_ms))
            }
            Message::Position { position, name, store, .. } if positions.is_name(name) => {
                (position, positions.handle_position(position.partition(), committed, store, now_ms))
            }
            _ => return,
        };
        if is_new
            && let Some(index) = self.ingest.find(position)
            && positions.unread.remove(&index)
        {
            self.forget_kept(index);
            self.ingest.seek(index, committed.next);
            // The records from this position on that have arrived were dropped.
            self.refresh_soon(0);
        }
    }

    /// Handles a subscription. A store that responds to GET-POSITIONS subscribes to those of all names, and
    /// unsubscribes when it disconnects.
    pub fn handle_position_store(&mut self, subscription: &Subscription, now_ms: u64) {
        self.handle_group_subscription(subscription, now_ms);
        if let Some(positions) = &mut self.positions
            && subscription.id == id::GET_POSITIONS
            && subscription.topic.is_empty()
        {
            positions.handle_store(subscription.subscribe, now_ms);
        }
    }

    /// When [`Consumer::handle_positions_timeout`] must be called next.
    pub fn positions_due_ms(&self) -> Option<u64> {
        let due_ms = self.positions.as_ref().and_then(Positions::due_ms).unwrap_or(u64::MAX);
        Some(due_ms.min(self.group_due_ms())).filter(|&due_ms| due_ms < u64::MAX)
    }

    /// Sends the COMMITs and the GET-POSITIONS that are due, and ends the wait for the stores.
    pub fn handle_positions_timeout(&mut self, now_ms: u64, out: &mut Outbox<P>) {
        if let Some(positions) = &mut self.positions {
            positions.handle_timeout(now_ms, out);
        }
        self.handle_group_timeout(now_ms, out);
    }

    /// Returns a notice when stores have not sent their positions in time, or when no store confirms commits.
    pub fn poll_positions_notice(&mut self, now_ms: u64) -> Option<Notice> {
        let positions = self.positions.as_mut()?;
        if let Some((responded, stores)) = positions.poll_timeout() {
            if self.group.is_some() && stores == 0 {
                return Some(Notice::GroupWithoutStore);
            }
            return Some(Notice::PositionsMissing { responded, stores });
        }
        if let Some((count, ms)) = positions.poll_stall(now_ms) {
            return Some(Notice::CommitsStalled { count, ms });
        }
        self.poll_group_notice(now_ms)
    }

    /// The committed position of a partition that is not open, unless its rule ignores it.
    pub(super) fn committed(&self, name: PartitionName, rule: &Rule) -> Option<u64> {
        self.positions.as_ref().filter(|_| !rule.ignores_committed)?.get(name)
    }

    /// A partition was opened. If it `is_recalled`, it continues at its position. A position that arrives later still
    /// moves a partition that begins as its subscription says, until a record of it has arrived in order.
    pub(super) fn note_beginning(
        &mut self,
        partition: Index,
        beginning: Beginning,
        is_recalled: bool,
        rule: &Rule,
    ) {
        let Some(positions) = &mut self.positions else { return };
        // Another partition may have had the same index.
        positions.mark_read(partition);
        if is_recalled {
            return;
        }
        if !rule.ignores_committed {
            positions.unread.insert(partition);
        }
        let is_decided = matches!(beginning, Beginning::At(_) | Beginning::Claimed(_));
        if matches!(rule.start, Start::Latest | Start::Last(_)) && is_decided {
            self.commit_beginning(partition, beginning.offset());
        }
    }

    /// Under `latest` or -N, a partition without a committed position begins at the record `next`, see
    /// [`Positions::begin`].
    pub(super) fn commit_beginning(&mut self, partition: Index, next: u64) {
        if self.group.is_some() {
            self.commit_common(partition, next);
        } else if let Some(positions) = &mut self.positions {
            positions.begin(self.ingest.partition(partition).name(), next);
        }
    }

    /// From now on, a committed position that arrives does not move the partition.
    pub(super) fn mark_read(&mut self, partition: Index) {
        if let Some(positions) = &mut self.positions {
            positions.mark_read(partition);
        }
    }
}
