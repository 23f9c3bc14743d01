//! Decides which requesters get responses: only requesters that read their responses. Limits the rate at which a
//! requester gets heads. Also tracks which producers run 0.1.0. When a node has requested records from a store, it
//! drops responses of 0.1.0 producers.

use super::directory::Directory;
use crate::net::{Frame, Origin, Readers, Reading as ConnectionReading, now_ms};
use crate::protocol::{Reading, Requesters};
use crate::wire::{Message, Subscription, id};
use std::collections::{HashMap, HashSet};
use std::os::fd::RawFd;

/// The most heads that one requester may get per second, on average.
const HEADS_PER_S: u64 = 50_000;
/// The most heads that one requester may get at once, from any socket.
const MAX_HEADS_AT_ONCE: u64 = 65_536;
/// The most requesters whose heads are counted at a time.
const MAX_RATED_REQUESTERS: usize = 10_000;
/// The most producers in [`RequesterTable::producers`].
const MAX_PRODUCERS: usize = 65_536;

/// How many heads one requester may get at once, from a socket with this high-water mark. The order of heads is the
/// same in each response. If the heads did not fit into libzmq's queue, libzmq would drop the same heads each time.
///
/// The limit is half of the high-water mark, because the last slice of heads may exceed the limit.
pub(super) fn heads_at_once(send_high_watermark: i32) -> u64 {
    match u64::try_from(send_high_watermark) {
        Ok(count @ 1..) => (count / 2).clamp(1, MAX_HEADS_AT_ONCE),
        _ => MAX_HEADS_AT_ONCE,
    }
}

/// The requesters of one node.
#[derive(Default)]
pub(super) struct RequesterTable {
    readers: Readers,
    directory: Directory,
    /// The node has not read all subscriptions. So a requester without a known subscription may have one.
    is_behind: bool,
    /// The most heads that one requester may get at once.
    heads_at_once: u64,
    /// For each requester: how many heads it had got beyond the rate, and the time of this count in milliseconds.
    heads: HashMap<Box<[u8]>, (u64, u64)>,
    /// Producers that run this library, not 0.1.0. A producer of this library subscribes to FETCHes of its partition
    /// and to GET-HEADS, over the same connection. A 0.1.0 producer does not subscribe to GET-HEADS.
    producers: HashSet<Box<[u8]>>,
    /// The latest subscription to FETCHes: its connection and its partition.
    last_producer: Option<(RawFd, Box<[u8]>)>,
    /// The latest argument and result of [`RequesterTable::is_by_0_1_0`] in this turn.
    asked_producer: Option<(Box<[u8]>, bool)>,
}

impl RequesterTable {
    /// Returns a table without requesters, for a publishing socket with this high-water mark.
    pub(super) fn new(directory: Directory, send_high_watermark: i32) -> RequesterTable {
        let heads_at_once = heads_at_once(send_high_watermark);
        RequesterTable { directory, heads_at_once, ..RequesterTable::default() }
    }

    /// Handles a peer's subscription to the node's publishing socket.
    pub(super) fn handle_subscription(&mut self, subscription: &Subscription, frame: &Frame) {
        match subscription.id {
            id::DIRECT_RECORD | id::DIRECT_RECORDS | id::DIRECT_HEAD | id::POSITION => {
                self.readers.subscription(&frame.as_ref()[1..], subscription.subscribe, frame);
            }
            id::FETCH if subscription.subscribe => {
                self.last_producer = frame.source_file().map(|file| (file, subscription.topic.into()));
            }
            // libzmq sends the subscriptions of a socket in the order of their bytes. So the subscription to GET-HEADS
            // follows the one to FETCHes.
            id::GET_HEADS if subscription.subscribe && subscription.is_exact => {
                let file = frame.source_file();
                if let Some((_, producer)) = self.last_producer.take_if(|(last, _)| Some(*last) == file) {
                    if self.producers.len() >= MAX_PRODUCERS {
                        self.producers.clear();
                    }
                    self.producers.insert(producer);
                }
            }
            _ => {}
        }
    }

    /// Whether a partition's producer is present and runs libdafka 0.1.0, as far as the node can know.
    fn is_by_0_1_0(&mut self, producer: &[u8]) -> bool {
        if let Some((asked, answer)) = &self.asked_producer
            && **asked == *producer
        {
            return *answer;
        }
        let answer = !self.producers.contains(producer) && self.directory.endpoint_of(producer).is_some();
        self.asked_producer = Some((producer.into(), answer));
        answer
    }

    /// Whether `producer` runs 0.1.0 and sent this response itself. The content of the response may then be wrong: a
    /// 0.1.0 producer can mix up records when it sends them again.
    pub(super) fn is_from_0_1_0(&mut self, producer: &[u8], origin: Origin) -> bool {
        self.is_by_0_1_0(producer) && self.directory.is_from(origin, producer) == Some(true)
    }

    /// Whether subscriptions are still unread.
    pub(super) fn is_behind(&self) -> bool {
        self.is_behind
    }

    /// Call this after the node has read subscriptions and has sent the messages of earlier turns. `is_behind`: more
    /// subscriptions are unread.
    pub(super) fn begin_turn(&mut self, is_behind: bool) {
        self.is_behind = is_behind;
        self.asked_producer = None;
        self.readers.begin_turn();
    }

    /// Whether a request comes from the node that will receive the response. A peer can write any node's name into a
    /// request, and the responses to a forged request would flood the named node. Returns `None` when the connection of
    /// the request has ended.
    pub(super) fn is_genuine(&self, message: &Message, origin: Origin) -> Option<bool> {
        match message {
            Message::Fetch { address, .. }
            | Message::GetHeads { address, .. }
            | Message::GetPositions { address, .. }
            | Message::ConsumerHello { address, .. } => self.directory.is_from(origin, address),
            _ => Some(true),
        }
    }

    fn heads_over_rate(&self, requester: &[u8]) -> u64 {
        let Some((beyond, at_ms)) = self.heads.get(requester) else { return 0 };
        beyond.saturating_sub(now_ms().saturating_sub(*at_ms) * HEADS_PER_S / 1_000)
    }
}

impl Requesters for RequesterTable {
    fn poll_reading(&mut self, id: u8, requester: &[u8]) -> Reading {
        if [id::DIRECT_HEAD, id::POSITION].contains(&id)
            && self.heads_over_rate(requester) >= self.heads_at_once
        {
            return Reading::Full;
        }
        let home = self.directory.endpoint_of(requester);
        match self.readers.reading(&[&[id], requester].concat(), home.as_deref(), now_ms()) {
            ConnectionReading::Ready => Reading::Ready,
            ConnectionReading::Nobody if !self.is_behind => Reading::Nobody,
            ConnectionReading::Full | ConnectionReading::Nobody => Reading::Full,
        }
    }

    fn sent_heads(&mut self, requester: &[u8], count: u64) {
        let beyond = self.heads_over_rate(requester) + count;
        if self.heads.len() >= MAX_RATED_REQUESTERS {
            let is_counted = |(beyond, at_ms): &(u64, u64)| now_ms() < at_ms + beyond * 1_000 / HEADS_PER_S;
            self.heads.retain(|_, counted| is_counted(counted));
        }
        if self.heads.len() < MAX_RATED_REQUESTERS || self.heads.contains_key(requester) {
            self.heads.insert(requester.into(), (beyond, now_ms()));
        }
    }
}
