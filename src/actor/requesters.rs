//! Who gets answers from a node: only requesters whose answers are read, and heads at a bounded rate.

use super::directory::Directory;
use crate::net::{Frame, Origin, Readers, Reading as Net, now_ms};
use crate::protocol::{Reading, Requesters};
use crate::wire::{Message, Subscription, id};
use std::collections::HashMap;

/// Heads that one requester gets per second, for as long as it asks...
const HEADS_PER_S: u64 = 50_000;
/// ... and at once: those of all partitions that a store knows by default.
const HEADS_AT_ONCE: u64 = 250_000;
/// Requesters whose heads are counted at a time.
const MAX_COUNTED: usize = 10_000;

/// The requesters of one node.
#[derive(Default)]
pub(super) struct Answered {
    readers: Readers,
    directory: Directory,
    /// Subscriptions wait that were not read yet: it is not known that nobody would get an answer.
    is_behind: bool,
    /// By requester: the heads that it got beyond the rate, and when that was.
    heads: HashMap<Box<[u8]>, (u64, u64)>,
}

impl Answered {
    pub(super) fn new(directory: Directory) -> Answered {
        Answered { directory, ..Answered::default() }
    }

    /// Takes a subscription that a peer made at the node's publishing socket.
    pub(super) fn subscription(&mut self, subscription: &Subscription, frame: &Frame) {
        if [id::DIRECT_RECORD, id::DIRECT_HEAD].contains(&subscription.id) {
            self.readers.subscription(&frame.as_ref()[1..], subscription.subscribe, frame);
        }
    }

    /// Whether more subscriptions wait than were read.
    pub(super) fn is_behind(&self) -> bool {
        self.is_behind
    }

    /// The node has read subscriptions, and sent what it had to send before; `is_behind` when more of them wait.
    pub(super) fn begin_turn(&mut self, is_behind: bool) {
        self.is_behind = is_behind;
        self.readers.begin_turn();
    }

    /// Whether a request comes from the node that gets the answer. Anybody can write any name into a request: answers to a
    /// forged one would hit the node of that name. `None` when the connection that it came over has ended.
    pub(super) fn is_genuine(&self, message: &Message, origin: Origin) -> Option<bool> {
        match message {
            Message::Fetch { address, .. }
            | Message::GetHeads { address, .. }
            | Message::ConsumerHello { address, .. } => self.directory.is_from(origin, address),
            _ => Some(true),
        }
    }

    fn heads_beyond(&self, requester: &[u8]) -> u64 {
        let Some((beyond, at_ms)) = self.heads.get(requester) else { return 0 };
        beyond.saturating_sub(now_ms().saturating_sub(*at_ms) * HEADS_PER_S / 1_000)
    }
}

impl Requesters for Answered {
    fn reading(&mut self, id: u8, requester: &[u8]) -> Reading {
        if id == id::DIRECT_HEAD && self.heads_beyond(requester) >= HEADS_AT_ONCE {
            return Reading::Full;
        }
        let home = self.directory.endpoint_of(requester);
        match self.readers.reading(&[&[id], requester].concat(), home.as_deref(), now_ms()) {
            Net::Ready => Reading::Ready,
            Net::Nobody if !self.is_behind => Reading::Nobody,
            Net::Full | Net::Nobody => Reading::Full,
        }
    }

    fn sent_heads(&mut self, requester: &[u8], count: u64) {
        let beyond = self.heads_beyond(requester) + count;
        if self.heads.len() >= MAX_COUNTED {
            let is_counted = |(beyond, at_ms): &(u64, u64)| now_ms() < at_ms + beyond * 1_000 / HEADS_PER_S;
            self.heads.retain(|_, counted| is_counted(counted));
        }
        if self.heads.len() < MAX_COUNTED || self.heads.contains_key(requester) {
            self.heads.insert(requester.into(), (beyond, now_ms()));
        }
    }
}
