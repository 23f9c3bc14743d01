//! The committed positions that a store receives: COMMITs of consumers, and POSITIONs of other stores.
//!
//! The caller writes each [`Commit`] to disk, which keeps the latest one for each consumer and partition. Then the
//! store confirms it to the consumer.

use crate::committed::{Committed, is_consumer_name};
use crate::partition_name::{PartitionName, PartitionNameBuf};
use crate::protocol::Outbox;
use crate::protocol::notice::{Notice, Refusal};
use crate::slots::is_of_group;
use crate::wire::{Message, Position};
use std::collections::HashMap;

/// Two consumers use one name if they commit alternately, with at most this time between two commits of one of them.
const SHARED_NAME_MS: u64 = 30_000;
/// How far the timestamp of a commit may be after the time of the store's clock: a year. Otherwise one false commit
/// could make all later commits for its partition invalid for ever. A commit that is less far ahead does no harm: the
/// next consumer gives its commits later timestamps.
const MAX_AHEAD_MS: u64 = 365 * 24 * 3_600_000;
/// The shortest time between two notices of the same kind.
const NOTICE_INTERVAL_MS: u64 = 60_000;
/// The most names whose consumers the store remembers, to detect shared names.
const MAX_NAMES: usize = 10_000;

/// A position to write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Commit {
    /// The name of the consumer.
    pub name: Box<[u8]>,
    /// The partition.
    pub partition: PartitionNameBuf,
    /// The position.
    pub committed: Committed,
    /// The consumer that waits for a confirmation; `None` when the position comes from another store.
    pub requester: Option<Box<[u8]>>,
}

/// Returns the position on disk of a name in a partition. Returns an error when that cannot be read now.
pub type FindPosition = dyn Fn(&[u8], PartitionName) -> Result<Option<Committed>, ()>;

/// The state.
pub(super) struct Commits {
    find: Box<FindPosition>,
    /// Commits that are on disk, and whose consumers wait for a confirmation.
    confirmations: Vec<Commit>,
    users: HashMap<Box<[u8]>, Users>,
    /// Notices, and the times before which there is no further notice.
    refused: Option<(Box<[u8]>, Refusal)>,
    refused_ms: u64,
    shared: Option<Box<[u8]>>,
    shared_ms: u64,
}

/// The latest consumers of one name.
struct Users {
    last: Box<[u8]>,
    before: Box<[u8]>,
    /// When `before` committed last.
    before_ms: u64,
}

impl Commits {
    pub(super) fn new(find: Box<FindPosition>) -> Commits {
        Commits {
            find,
            confirmations: Vec::new(),
            users: HashMap::new(),
            refused: None,
            refused_ms: 0,
            shared: None,
            shared_ms: 0,
        }
    }

    /// Handles a COMMIT, or a POSITION of another store. `unix_ms` is the time since the Unix epoch. Returns the
    /// position if it must be written.
    pub(super) fn handle_message(&mut self, message: &Message, unix_ms: u64, now_ms: u64) -> Option<Commit> {
        let (position, name, requester) = match *message {
            Message::Commit { position, requester, .. } => (position, position.topic, Some(requester)),
            Message::Position { position, name, .. } => (position, name, None),
            _ => return None,
        };
        let (partition, committed) = (position.partition(), message.committed()?);
        if !is_consumer_name(name) || partition.topic.is_empty() || partition.producer.is_empty() {
            return None;
        }
        if !committed.is_possible() {
            return None;
        }
        if committed.timestamp_ms > unix_ms.saturating_add(MAX_AHEAD_MS) {
            self.refuse(name.into(), Refusal::Future);
            return None;
        }
        let later = (self.find)(name, partition).ok()?.filter(|stored| *stored >= committed);
        match requester {
            Some(requester) if !is_of_group(name) => self.note_user(name, requester, now_ms),
            Some(_) => {}
            // Other stores often send positions that this store has.
            None if later.is_some() => return None,
            None => {}
        }
        // The consumer must know when the store keeps a later commit. That one is on disk when this batch is.
        let committed = later.unwrap_or(committed);
        let requester = requester.map(Box::from);
        Some(Commit { name: name.into(), partition: partition.to_buf(), committed, requester })
    }

    fn note_user(&mut self, name: &[u8], requester: &[u8], now_ms: u64) {
        let Some(users) = self.users.get_mut(name) else {
            if self.users.len() >= MAX_NAMES {
                self.users.clear();
            }
            let users = Users { last: requester.into(), before: Box::default(), before_ms: 0 };
            self.users.insert(name.into(), users);
            return;
        };
        if *users.last == *requester {
            return;
        }
        if *users.before == *requester && now_ms < users.before_ms + SHARED_NAME_MS {
            self.shared = Some(name.into());
        }
        users.before = std::mem::replace(&mut users.last, requester.into());
        users.before_ms = now_ms;
    }

    /// The commit was written, unless the log has a later one or has reached a limit.
    pub(super) fn handle_written(&mut self, commit: Commit) {
        match (self.find)(&commit.name, commit.partition.as_name()) {
            Ok(Some(_)) if commit.requester.is_some() => self.confirmations.push(commit),
            Ok(None) => self.refuse(commit.name, Refusal::TooMany),
            // If the log cannot be read, the consumer commits again.
            Ok(Some(_)) | Err(()) => {}
        }
    }

    /// The store does not keep a position.
    pub(super) fn refuse(&mut self, name: Box<[u8]>, reason: Refusal) {
        self.refused = Some((name, reason));
    }

    /// Confirms the commits that are on disk.
    pub(super) fn poll_confirmations<P>(&mut self, store: &[u8], out: &mut Outbox<P>) {
        for commit in self.confirmations.drain(..) {
            let Commit { partition, committed, requester: Some(requester), .. } = commit else { continue };
            let PartitionName { topic, producer } = partition.as_name();
            out.message(&Message::CommitAck {
                position: Position::new(&requester, producer, topic, committed.next),
                timestamp_ms: committed.timestamp_ms,
                store,
            });
        }
    }

    pub(super) fn poll_notice(&mut self, now_ms: u64) -> Option<Notice> {
        if let Some(name) = self.shared.take().filter(|_| now_ms >= self.shared_ms) {
            self.shared_ms = now_ms + NOTICE_INTERVAL_MS;
            return Some(Notice::SharedName { name });
        }
        let (name, reason) = self.refused.take().filter(|_| now_ms >= self.refused_ms)?;
        self.refused_ms = now_ms + NOTICE_INTERVAL_MS;
        Some(Notice::PositionRefused { name, reason })
    }
}
