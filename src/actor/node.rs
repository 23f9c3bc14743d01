//! What every node has: a name, a socket that publishes, one that subscribes, and a beacon.

use super::beacon::Report;
use super::directory::Directory;
use super::requesters::RequesterTable;
use super::{BATCH_COUNT, MAX_FRAME_LEN_BYTES, Result};
use crate::net::reconnect::Action;
use crate::net::{
    Backlog, Frame, Inbound, InboundLimits, Kind, Origin, Peer, Pipe, Socket, Subscribers, Warning, now_ms,
    poll,
};
use crate::protocol::producer::copies::IsPeer;
use crate::settings;
use crate::wire::{Message, Position, Subscription};
use beacon_link::BeaconLink;
use std::cell::{RefCell, RefMut};
use zmq::{POLLIN, PollItem};

mod beacon_link;
mod sockets;

/// When nobody new has come for so long, all who are there are taken to be connected.
const QUIET_MS: u64 = 20;
/// What libzmq may hold of records that were received, beside one of each connection that is being received, before
/// the connection that has brought most is ended...
const MAX_HELD_BYTES: usize = 256 << 20;
/// ... and where only requests are received.
const MAX_HELD_REQUEST_BYTES: usize = 64 << 20;
/// The longest time that a starting node waits for others to connect.
const MAX_SETTLE_MS: u64 = 200;

/// A node on the network.
pub(super) struct Node {
    pub(super) name: String,
    pub(super) address: String,
    pub(super) publisher: Socket,
    pub(super) subscriber: Socket,
    max_frame_len_bytes: usize,
    max_frame_key: Option<&'static str>,
    subscribers: RefCell<Subscribers>,
    inbound: Option<Inbound>,
    requesters: RefCell<RequesterTable>,
    directory: Directory,
    /// Limits log lines about requests in the name of other nodes.
    forged_warning: RefCell<Warning>,
    /// Limits what libzmq holds for `publisher`.
    unread_subscriptions: Backlog,
    /// Limits what libzmq holds for `subscriber`.
    pub(super) unread: Backlog,
    max_subscription_bytes: usize,
    connect_warning: RefCell<Warning>,
    given_up_warning: RefCell<Warning>,
    cut_off_warning: RefCell<Warning>,
    beacon: BeaconLink,
    /// Where the latest beacon announced another node with this node's address.
    twin: RefCell<Option<String>>,
}

/// What a node is made of.
pub(super) struct Config<'a> {
    /// For log lines: "Producer", "Store Writer", ...
    pub(super) name: &'a str,
    /// The node's UUID.
    pub(super) address: &'a str,
    /// UUIDs of nodes that it never connects to.
    pub(super) ignored: &'a [&'a str],
    /// PUB or XPUB.
    pub(super) publisher: Kind,
    /// Messages that may wait to be sent, per peer.
    pub(super) send_high_watermark: i32,
    /// The longest frame that others may send it.
    pub(super) max_frame_len_bytes: usize,
    /// The key that sets this, if there is one.
    pub(super) max_frame_key: Option<&'static str>,
    /// What it subscribes to from the start.
    pub(super) subscriptions: &'a [Vec<u8>],
    pub(super) beacon: &'a settings::Beacon,
}

impl Drop for Node {
    fn drop(&mut self) {
        self.subscriber.stop_monitor();
    }
}

impl Node {
    /// Starts a node and announces it to the towers. Waits for a tower's welcome for as long as the settings allow, or until
    /// `pipe` is readable.
    pub(super) fn start(config: &Config, pipe: &Pipe) -> Result<Node> {
        let publisher = sockets::publisher(config)?;
        let port = publisher.bind_ephemeral()?;
        let limits = InboundLimits {
            max_count: config.beacon.max_connections,
            max_key: "beacon/max_connections",
            max_per_host_count: config.beacon.max_connections_per_host,
            max_per_host_key: "beacon/max_connections_per_host",
        };
        let inbound = Inbound::at(config.name, &publisher, limits);
        let max_subscription_bytes = config.beacon.max_subscription_bytes;
        let unread_subscriptions = Backlog::listening(config.name, &publisher, max_subscription_bytes);
        let max_held_bytes = match config.max_frame_len_bytes {
            0..=MAX_FRAME_LEN_BYTES => MAX_HELD_REQUEST_BYTES,
            _ => MAX_HELD_BYTES,
        };
        let unread = Backlog::connecting(config.name, max_held_bytes, config.max_frame_len_bytes);
        let subscriber = sockets::subscriber(config)?;
        let directory = Directory::default();
        let beacon = BeaconLink::start(config, &subscriber, &directory)?;
        let node = Node {
            name: config.name.to_owned(),
            address: config.address.to_owned(),
            publisher,
            subscriber,
            subscribers: RefCell::new(Subscribers::new(max_subscription_bytes)),
            inbound,
            requesters: RefCell::new(RequesterTable::new(directory.clone())),
            directory,
            forged_warning: RefCell::default(),
            unread_subscriptions,
            unread,
            max_subscription_bytes,
            connect_warning: RefCell::default(),
            given_up_warning: RefCell::default(),
            cut_off_warning: RefCell::default(),
            max_frame_len_bytes: config.max_frame_len_bytes,
            max_frame_key: config.max_frame_key,
            beacon,
            twin: RefCell::default(),
        };
        node.beacon.announce(config, port, pipe)?;
        Ok(node)
    }

    /// Waits until an item is ready, `timeout_ms` have passed (negative: for ever), or a signal came.
    pub(super) fn poll(&self, items: &mut [PollItem], timeout_ms: i64) -> Result {
        // What a peer has sent may be among what is unread: it is not idle then.
        let inbound = self.inbound.as_ref().filter(|_| !self.is_behind());
        let _waiting = inbound.map(Inbound::waiting);
        Ok(poll(items, timeout_ms)?)
    }

    /// The beacon's pipe, to be polled.
    pub(super) fn beacon(&self) -> &Socket {
        self.beacon.socket()
    }

    /// Whether a connection, by the name of the peer at its other end, leads to a node that is a peer now.
    pub(super) fn is_peer(&self) -> IsPeer {
        let directory = self.directory.clone();
        Box::new(move |connection| directory.leads_to_peer(connection))
    }

    /// Connects to peers that came and disconnects from those that went. True when a connection to a peer was given up:
    /// what came over it was not allowed. All that came behind it is lost then.
    ///
    /// Call it after messages were read and before the subscribing socket is polled again. A poll makes libzmq take
    /// the first frame of a message off its connection; to disconnect then loses the other frames, and libzmq (4.3.4)
    /// aborts the process at the next read (fq.cpp: `!_more`).
    pub(super) fn follow_beacon(&self) -> Result<bool> {
        self.follow_beacon_with(|_, _| {})
    }

    /// As [`Node::follow_beacon`]. Calls `each` with the endpoint of a peer that appeared (true) or disappeared (false). This
    /// includes a connection that was given up, and its next attempt.
    pub(super) fn follow_beacon_with(&self, mut each: impl FnMut(&str, bool)) -> Result<bool> {
        let mut is_cut = false;
        while let Some(report) = self.beacon.poll_report()? {
            match report {
                Report::Connection(action) => is_cut |= self.apply(&action, &mut each),
                Report::Twin(endpoint) => *self.twin.borrow_mut() = Some(endpoint),
            }
        }
        Ok(is_cut)
    }

    /// Connects or disconnects the subscribing socket. True when the connection of a ZeroMQ peer was given up.
    fn apply(&self, action: &Action, each: &mut impl FnMut(&str, bool)) -> bool {
        let endpoint = action.endpoint();
        let is_connect = matches!(action, Action::Connect(_));
        each(endpoint, is_connect);
        let mut is_cut = false;
        if let Action::GivenUp { has_answered, wait_ms, .. } = action {
            is_cut = *has_answered;
            self.warn_of_given_up(endpoint, *has_answered, *wait_ms);
        }
        let result = match is_connect {
            true => {
                self.unread.connect(endpoint);
                self.subscriber.connect(endpoint)
            }
            false => {
                self.unread.disconnect(endpoint);
                self.subscriber.disconnect(endpoint)
            }
        };
        if let Err(error) = result {
            let mut warning = self.connect_warning.borrow_mut();
            warning.warn(now_ms(), || format!("{}: {} {endpoint}: {error}", self.name, action.name()));
        }
        is_cut
    }

    /// libzmq does not tell why.
    fn warn_of_given_up(&self, endpoint: &str, has_answered: bool, wait_ms: u64) {
        self.given_up_warning.borrow_mut().warn(now_ms(), || {
            let (name, limit) = (&self.name, self.max_frame_len_bytes);
            let key = self.max_frame_key.map_or(String::new(), |key| format!(", see {key},"));
            let why = match has_answered {
                true => format!("a frame of more than {limit} octets{key} or something that is no ZeroMQ"),
                false => "something else than ZeroMQ".to_owned(),
            };
            format!("{name}: {endpoint} has sent {why}: the connection was ended, and is made again after {wait_ms} ms")
        });
    }

    /// Waits until those who are there already hear this node, so that what it publishes first need not be
    /// fetched: until nobody new has come for a moment.
    pub(super) fn wait_for_peers(&self, mut each: impl FnMut(&Subscription)) -> Result {
        let due_ms = now_ms() + MAX_SETTLE_MS;
        loop {
            let timeout_ms = QUIET_MS.min(due_ms.saturating_sub(now_ms()));
            let items = &mut [self.beacon().item(POLLIN), self.publisher.item(POLLIN)];
            self.poll(items, timeout_ms as i64)?;
            if timeout_ms == 0 || !items.iter().any(|item| item.is_readable()) {
                return Ok(());
            }
            self.follow_beacon()?;
            self.subscriptions(&mut each)?;
        }
    }

    /// The endpoint of another node that uses this node's address, once per beacon of it.
    pub(super) fn twin(&self) -> Option<String> {
        self.twin.take()
    }

    /// Reads what others subscribe to at this node's XPUB socket.
    pub(super) fn subscriptions(&self, mut each: impl FnMut(&Subscription)) -> Result {
        let mut frame = Frame::new();
        let mut is_empty = false;
        for _ in 0..BATCH_COUNT {
            is_empty = !self.publisher.try_recv(&mut frame)?;
            if is_empty {
                break;
            }
            self.unread_subscriptions.took_subscription(&frame);
            if let Some(inbound) = &self.inbound {
                inbound.received(&frame);
            }
            if let Some(peer) = self.subscribers.borrow_mut().take(&frame) {
                self.cut_off_warning.borrow_mut().warn(now_ms(), || {
                    format!(
                        "{}: the peer at {peer} was cut off: all subscriptions together take more than \
                         beacon/max_subscription_bytes = {}, and it has most",
                        self.name, self.max_subscription_bytes
                    )
                });
            }
            if let Some(subscription) = Subscription::decode(frame.as_ref()) {
                self.requesters.borrow_mut().handle_subscription(&subscription, &frame);
                each(&subscription);
            }
        }
        self.requesters.borrow_mut().begin_turn(!is_empty);
        self.unread_subscriptions.end_turn(is_empty);
        Ok(())
    }

    /// Whether more subscriptions wait than [`Node::subscriptions`] has read.
    pub(super) fn is_behind(&self) -> bool {
        self.requesters.borrow().is_behind()
    }

    /// The requesters that this node answers.
    pub(super) fn requesters(&self) -> RefMut<'_, RequesterTable> {
        self.requesters.borrow_mut()
    }

    /// Whether a request comes from the node that gets the answer; logs those that do not. One whose connection has ended
    /// cannot be answered: it is dropped, and no one is blamed.
    pub(super) fn is_genuine(&self, message: &Message, origin: Origin) -> bool {
        let is_genuine = self.requesters.borrow().is_genuine(message, origin);
        if is_genuine == Some(false) {
            self.forged_warning.borrow_mut().warn(now_ms(), || {
                let from =
                    Peer::who_sent(origin).map_or("a peer".into(), |peer| format!("the peer at {peer}"));
                format!("{}: dropped a {} of {from} in another node's name", self.name, message.name())
            });
        }
        is_genuine == Some(true)
    }

    /// Whether a message is an answer that is not taken, as a store is asked for the record (`is_store_asked`): one of a
    /// producer of libdafka 0.1.0. It answers every FETCH of its partition, whoever is asked.
    pub(super) fn is_unwanted_answer(
        &self,
        message: &Message,
        origin: Origin,
        is_store_asked: impl Fn(&Position) -> bool,
    ) -> bool {
        let Message::DirectRecord(position) = message else { return false };
        self.requesters.borrow_mut().is_from_0_1_0(position.address, origin) && is_store_asked(position)
    }

    /// Subscribes to more.
    pub(super) fn subscribe(&self, prefix: &[u8]) -> Result {
        Ok(self.subscriber.zmq().set_subscribe(prefix)?)
    }

    /// Ends a subscription.
    pub(super) fn unsubscribe(&self, prefix: &[u8]) -> Result {
        Ok(self.subscriber.zmq().set_unsubscribe(prefix)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::pipe;
    use crate::settings::Settings;

    #[test]
    fn a_beacon_that_is_ready_after_the_node_was_told_to_end_has_not_failed() {
        let (settings, _) = Settings::read(|key| match key {
            // Nobody is there.
            "beacon/pub_address" | "beacon/sub_address" => Some("inproc://no-tower".into()),
            "beacon/connect_timeout" => Some("200".into()),
            _ => None,
        });
        let (owner, own) = pipe().unwrap();
        owner.send_frames(&[b"$TERM"]).unwrap();
        let config = Config {
            name: "Test",
            address: "0123",
            ignored: &[],
            publisher: Kind::PUB,
            send_high_watermark: 0,
            max_frame_len_bytes: 1_000,
            max_frame_key: None,
            subscriptions: &[],
            beacon: &settings.beacon,
        };
        // When this thread stands still for longer than the beacon waits, that is ready first.
        let mut node = Node::start(&config, &own).unwrap();
        while !node.beacon.is_starting() {
            node = Node::start(&config, &own).unwrap();
        }
        while node.beacon.is_starting() {
            poll(&mut [node.beacon().item(POLLIN)], 60_000).unwrap();
            assert!(node.beacon().events().contains(POLLIN), "the beacon says that it is ready");
            assert!(!node.follow_beacon().unwrap());
        }
    }
}
