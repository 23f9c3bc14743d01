//! The inventory: a node that requests the heads of all partitions from every store, and then ends. An inventory lets
//! `dafka_stored --missing` find records that one store lacks. Stores of libdafka 0.1.0 respond to an inventory, too.

use super::common::Common;
use super::inbox::Inbox;
use super::node::{Config, Node};
use super::node_loop;
use super::notices::Notices;
use super::role::{Flow, Receives, Role};
use super::{MAX_FRAME_LEN_BYTES, Result, Run, new_address};
use crate::net::{Frame, Kind, Origin, Pipe, TERM, now_ms};
use crate::protocol::{self, Outbox, subscriptions};
use crate::settings::Settings;
use crate::wire::{Message, Position, Subscription, id, prefix};
use std::collections::{BTreeMap, HashSet};
use std::sync::mpsc::Sender;

/// How often the inventory requests heads. A request is lost if the store's subscription to it has not arrived at the
/// inventory yet. A response is lost if the inventory's subscription to it has not arrived at the store yet.
const REQUEST_INTERVAL_MS: u64 = 500;
/// If all stores have responded, the inventory ends when it has found nothing new for this time: no other store, no
/// first response of a store, and no other partition.
const COMPLETE_MS: u64 = 3_000;
/// If a store has not responded, the inventory ends when it has found nothing new for this time.
const INCOMPLETE_MS: u64 = 15_000;
/// The longest duration of an inventory, even if new responses continue to arrive.
const MAX_MS: u64 = 60_000;
/// The limit of the inbox, see [`Inbox::new`]. Responses may occupy twice as many bytes. After the next request, stores
/// send dropped responses again.
const MAX_UNREAD_BYTES: usize = 64 << 20;

/// What the stores of a network hold.
#[derive(Debug, Default)]
pub struct Inventory {
    /// How many stores were found.
    pub stores: usize,
    /// For each topic and producer: the offset after the newest record that any store has.
    pub next: BTreeMap<(Vec<u8>, Vec<u8>), u64>,
    /// Why the result may lack stores or partitions; `None` when it is complete.
    pub incomplete_because: Option<String>,
}

/// Runs an inventory, and sends its result to `found`. Sends nothing when `$TERM` arrives before the result.
///
/// # Errors
/// When no more sockets are available.
pub fn run(pipe: &Pipe, settings: &Settings, found: &Sender<Inventory>) -> Result {
    let address = new_address();
    let node = Node::start(
        &Config {
            name: "Inventory",
            address: &address,
            ignored: &[],
            publisher: Kind::XPUB,
            send_high_watermark: 0,
            unsent: None,
            max_frame_len_bytes: MAX_FRAME_LEN_BYTES,
            max_frame_key: None,
            subscriptions: &[prefix(id::DIRECT_HEAD, address.as_bytes())],
            traffic: subscriptions::INVENTORY,
            beacon: &settings.beacon,
        },
        pipe,
    )?;
    pipe.signal()?;
    let inbox = Inbox::new(MAX_UNREAD_BYTES, usize::MAX);
    let now_ms = now_ms();
    let role = InventoryRole {
        address: address.as_bytes(),
        max_partitions: settings.store.max_partitions,
        found,
        inventory: Inventory::default(),
        answered: HashSet::new(),
        has_new: false,
        latest_new_ms: now_ms,
        next_request_ms: now_ms,
        turn_ms: now_ms,
        latest_end_ms: now_ms + MAX_MS,
    };
    node_loop::run(role, Common::new(pipe, node, inbox, Notices::new("Inventory", "looked at")))
}

/// The role of an inventory.
struct InventoryRole<'a> {
    address: &'a [u8],
    max_partitions: usize,
    found: &'a Sender<Inventory>,
    inventory: Inventory,
    /// The connections of the stores that have responded.
    answered: HashSet<Box<[u8]>>,
    /// This turn has found a new store, the first response of a store, or a new partition.
    has_new: bool,
    /// The time of the latest turn with `has_new`.
    latest_new_ms: u64,
    /// When the inventory requests heads again.
    next_request_ms: u64,
    /// When the loop began to wait for the input of this turn.
    turn_ms: u64,
    latest_end_ms: u64,
}

impl Role for InventoryRole<'_> {
    const RECEIVES: Receives = Receives::Records;

    fn due_ms(&self, _: u64) -> Option<u64> {
        Some(self.next_request_ms.min(self.end_ms()))
    }

    fn handle_command(&mut self, _: &mut Common, command: &[u8], _: Option<Frame>, _: u64) -> Result<Flow> {
        Ok(if command == TERM { Flow::End } else { Flow::Continue })
    }

    /// Counts the stores: the reader of each store subscribes to GET-HEADS of all topics.
    fn handle_subscription(&mut self, subscription: &Subscription, _: Origin, _: u64, _: &mut Outbox<Run>) {
        if subscription.subscribe && subscription.id == id::GET_HEADS && subscription.topic.is_empty() {
            self.inventory.stores += 1;
            self.has_new = true;
        }
    }

    fn handle_message(
        &mut self,
        _: &mut Common,
        message: &Message,
        _: Option<Run>,
        from: &protocol::Sender,
        _: u64,
    ) -> Result {
        if let Message::DirectHead { position, .. } = message {
            self.has_new |= from().is_some_and(|connection| self.answered.insert(connection));
            self.handle_head(position);
        }
        Ok(())
    }

    fn handle_given_up(&mut self, _: u64) {
        self.inventory.incomplete_because = Some("a connection was given up".to_owned());
    }

    /// Sends requests, and ends when the result is complete.
    fn turn(&mut self, common: &mut Common, _: bool) -> Result<Flow> {
        let now_ms = now_ms();
        // Input that arrived while this thread was suspended still counts. So the inventory ends only if its end was
        // due when the wait for this input began.
        let turn_ms = std::mem::replace(&mut self.turn_ms, now_ms);
        let has_new = std::mem::take(&mut self.has_new);
        if has_new {
            self.latest_new_ms = now_ms;
        }
        if now_ms >= self.next_request_ms {
            self.next_request_ms = now_ms + REQUEST_INTERVAL_MS;
            common.outbox.message(&Message::GetHeads { topic: b"", address: self.address });
        }
        let end_ms = self.end_ms();
        if has_new && turn_ms < self.latest_end_ms || turn_ms < end_ms.min(self.latest_end_ms) {
            return Ok(Flow::Continue);
        }
        if turn_ms < end_ms {
            let limit = format!("responses still arrived after {} s", MAX_MS / 1_000);
            self.inventory.incomplete_because.get_or_insert(limit);
        }
        let silent_count = self.inventory.stores.saturating_sub(self.answered.len());
        if silent_count > 0 {
            let silent =
                format!("{silent_count} of them did not respond: they hold nothing, or are too slow");
            self.inventory.incomplete_because.get_or_insert(silent);
        }
        // This fails when the receiver has ended. Nobody needs the result then.
        let _ = self.found.send(std::mem::take(&mut self.inventory));
        Ok(Flow::End)
    }
}

impl InventoryRole<'_> {
    /// When the inventory ends if nothing new arrives.
    fn end_ms(&self) -> u64 {
        self.latest_new_ms
            + if self.answered.len() < self.inventory.stores { INCOMPLETE_MS } else { COMPLETE_MS }
    }

    /// Handles the head of a partition that a store has.
    fn handle_head(&mut self, position: &Position) {
        let key = (position.subject.to_vec(), position.address.to_vec());
        let next = position.sequence.saturating_add(1);
        let has_room = self.inventory.next.len() < self.max_partitions;
        match self.inventory.next.get_mut(&key) {
            Some(known) if *known >= next => {}
            // A later head of a known partition does not count as new: the producer still publishes.
            Some(known) => *known = next,
            None if has_room => {
                self.inventory.next.insert(key, next);
                self.has_new = true;
            }
            None => {
                let limit =
                    format!("only store/max_partitions = {} partitions were counted", self.max_partitions);
                self.inventory.incomplete_because = Some(limit);
            }
        }
    }
}
