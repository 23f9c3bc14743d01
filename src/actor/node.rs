//! The parts of every node except a tower: a name, a publishing socket, a subscribing socket, and a beacon.

use super::beacon::Report;
use super::directory::Directory;
use super::lendable::Lendable;
use super::requesters::RequesterTable;
use super::{BATCH_COUNT, MAX_FRAME_LEN_BYTES, Result};
use crate::net::reconnect::Action;
use crate::net::{
    Awaited, Backlog, Frame, Inbound, InboundLimits, Kind, Origin, Peer, Pipe, Socket, Subscribers,
    UnsentLimit, Wait, Waiting, Wake, Warning, now_ms,
};
use crate::protocol::producer::copies::IsPeer;
use crate::settings;
use crate::wire::{Message, Position, Subscription, Traffic};
use beacon_link::BeaconLink;
use std::cell::{RefCell, RefMut};
use std::collections::HashSet;
use zmq::POLLIN;

mod beacon_link;
mod sockets;

/// A starting node stops waiting for peers when no new peer has connected for this time.
const QUIET_MS: u64 = 20;
/// If as many peers have connected as another node of the process has, the starting node stops waiting when no new peer
/// has connected for this time.
const COMPLETE_QUIET_MS: u64 = 2;
/// The limit in bytes of unread messages that libzmq holds for a node. One long frame that is still arriving does not
/// count. Beyond the limit, the connections with the most unread data are ended.
const MAX_HELD_BYTES: usize = 256 << 20;
/// The same limit for a node that accepts only short frames: a producer or an inventory.
const MAX_HELD_REQUEST_BYTES: usize = 64 << 20;
/// The longest time that a starting node waits for peers to connect.
const MAX_SETTLE_MS: u64 = 200;

/// A node on the network.
pub(super) struct Node {
    pub(super) name: String,
    pub(super) address: String,
    /// While the loop waits, it does not use this socket, see [`Role::begin_wait`](super::role::Role::begin_wait).
    pub(super) publisher: Lendable<Socket>,
    pub(super) subscriber: Socket,
    pub(super) max_frame_len_bytes: usize,
    pub(super) max_frame_key: Option<&'static str>,
    subscribers: RefCell<Subscribers>,
    inbound: Option<Inbound>,
    requesters: RefCell<RequesterTable>,
    directory: Directory,
    /// Limits log lines about requests in the name of other nodes.
    forged_warning: RefCell<Warning>,
    /// Limits the unread data that libzmq holds for `publisher`.
    unread_subscriptions: Backlog,
    /// Limits the unread data that libzmq holds for `subscriber`.
    pub(super) unread: Backlog,
    max_subscription_bytes: usize,
    connect_warning: RefCell<Warning>,
    given_up_warning: RefCell<Warning>,
    cut_off_warning: RefCell<Warning>,
    beacon: BeaconLink,
    /// The endpoint of another node that uses this node's address, from the latest beacon of that node.
    twin: RefCell<Option<String>>,
}

/// The parameters of a node.
pub(super) struct Config<'a> {
    /// The start of the node's log lines: "Producer", "Store Writer", ...
    pub(super) name: &'static str,
    /// The node's UUID.
    pub(super) address: &'a str,
    /// UUIDs of nodes to which the node never connects.
    pub(super) ignored: &'a [&'a str],
    /// PUB or XPUB.
    pub(super) publisher: Kind,
    /// The most messages that may wait to be sent to one peer.
    pub(super) send_high_watermark: i32,
    /// How many bytes of records may wait to be sent to all peers together; `None` = no limit.
    pub(super) unsent: Option<UnsentLimit>,
    /// The longest frame that peers may send.
    pub(super) max_frame_len_bytes: usize,
    /// The configuration key of this limit, if it has one.
    pub(super) max_frame_key: Option<&'static str>,
    /// The subscriptions that the node has from the start.
    pub(super) subscriptions: &'a [Vec<u8>],
    /// The messages that the node exchanges with others.
    pub(super) traffic: Traffic,
    pub(super) beacon: &'a settings::Beacon,
}

impl Drop for Node {
    fn drop(&mut self) {
        self.subscriber.stop_monitor();
    }
}

impl Node {
    /// Starts a node and announces it to the towers. Waits for a tower's welcome for as long as the settings allow, or
    /// until `pipe` is readable.
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
            publisher: Lendable::new(publisher),
            subscriber,
            subscribers: RefCell::new(Subscribers::new(max_subscription_bytes)),
            inbound,
            requesters: RefCell::new(RequesterTable::new(directory.clone(), config.send_high_watermark)),
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

    /// While the result lives, the node waits for messages.
    pub(super) fn waiting(&self) -> Option<Waiting<'_>> {
        // A connection becomes idle only while the node waits and has no unread subscription: an unread subscription
        // may have come over that connection.
        self.inbound.as_ref().filter(|_| !self.is_behind()).map(Inbound::waiting)
    }

    /// The event to poll for the beacon's reports.
    pub(super) fn beacon(&self) -> &Wake {
        self.beacon.wake()
    }

    /// Returns a function that takes the name of a connection. It returns whether the connection leads to a node that
    /// is a peer now.
    pub(super) fn is_peer(&self) -> IsPeer {
        let directory = self.directory.clone();
        Box::new(move |connection| directory.leads_to_peer(connection))
    }

    /// Connects to new peers and disconnects from peers that left. Returns true when a connection was given up after
    /// its ZeroMQ handshake. Messages of the peer at the other end may then be lost.
    ///
    /// Call this after messages were read, and before the subscribing socket is polled again. A poll makes libzmq read
    /// the first frame of a message from a connection. If the connection is then disconnected, the other frames are
    /// lost, and libzmq (4.3.4) aborts the process at the next read (fq.cpp: `!_more`).
    pub(super) fn follow_beacon(&self) -> Result<bool> {
        self.follow_beacon_with(|_, _| {})
    }

    /// Like [`Node::follow_beacon`]. Also calls `each` with the endpoint of a peer that appeared (true) or disappeared
    /// (false). `each` is also called when a connection was given up (false), and when the node connects to this
    /// endpoint again (true).
    pub(super) fn follow_beacon_with(&self, mut each: impl FnMut(&str, bool)) -> Result<bool> {
        let mut is_cut = false;
        while let Some(report) = self.beacon.poll_report()? {
            match report {
                Report::Connection(action) => is_cut |= self.apply(&action, &mut each),
                Report::Twin(endpoint) => *self.twin.borrow_mut() = Some(endpoint),
                Report::Ready => {}
            }
        }
        Ok(is_cut)
    }

    /// Connects or disconnects the subscribing socket. Returns true when a connection was given up after its ZeroMQ
    /// handshake.
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

    /// libzmq does not report why it has dropped the connection, so the log line names all possible reasons.
    fn warn_of_given_up(&self, endpoint: &str, has_answered: bool, wait_ms: u64) {
        self.given_up_warning.borrow_mut().warn(now_ms(), || {
            let (name, limit) = (&self.name, self.max_frame_len_bytes);
            let key = self.max_frame_key.map_or(String::new(), |key| format!(" (see {key})"));
            let why = match has_answered {
                true => format!("a frame of more than {limit} bytes{key}, or data that is not ZeroMQ"),
                false => "data that is not ZeroMQ".to_owned(),
            };
            format!("{name}: disconnected {endpoint}, which sent {why}; reconnecting after {wait_ms} ms")
        });
    }

    /// Waits until existing peers have connected, so that they need not fetch the first records. The wait ends after
    /// [`QUIET_MS`] without a new peer (or [`COMPLETE_QUIET_MS`] when all expected peers are there), and after
    /// [`MAX_SETTLE_MS`] at the latest.
    pub(super) fn wait_for_peers(&self, mut each: impl FnMut(&Subscription, Origin)) -> Result {
        let due_ms = now_ms() + MAX_SETTLE_MS;
        let mut connected = HashSet::new();
        loop {
            let is_complete = self.beacon.is_complete(connected.len());
            let quiet_ms = if is_complete { COMPLETE_QUIET_MS } else { QUIET_MS };
            let timeout_ms = quiet_ms.min(due_ms.saturating_sub(now_ms()));
            let awaited = [self.beacon().awaited(), Awaited::Socket(&self.publisher, POLLIN)].map(Some);
            let ready = {
                let _waiting = self.waiting();
                Wait::begin(&awaited)?.wait(timeout_ms as i64).end(&awaited)?
            };
            if timeout_ms == 0 || !ready.contains(&true) {
                return Ok(());
            }
            self.follow_beacon()?;
            self.subscriptions(|subscription, from| {
                connected.insert(from);
                each(subscription, from);
            })?;
        }
    }

    /// The endpoint of another node that uses this node's address. Each beacon of that node is reported at most once.
    pub(super) fn twin(&self) -> Option<String> {
        self.twin.take()
    }

    /// Reads the subscriptions of peers from the node's XPUB socket. Passes each subscription to `each`, with the
    /// connection over which it came.
    pub(super) fn subscriptions(&self, mut each: impl FnMut(&Subscription, Origin)) -> Result {
        let mut frame = Frame::new();
        let mut is_empty = false;
        for _ in 0..BATCH_COUNT {
            is_empty = !self.publisher.try_recv_awaited(&mut frame)?;
            if is_empty {
                break;
            }
            self.unread_subscriptions.took_subscription(&frame);
            if let Some(inbound) = &self.inbound {
                inbound.received(&frame);
            }
            if let Some(peer) = self.subscribers.borrow_mut().handle(&frame) {
                self.cut_off_warning.borrow_mut().warn(now_ms(), || {
                    format!(
                        "{}: the peer at {peer} was disconnected: all subscriptions together take more than \
                         beacon/max_subscription_bytes = {}, and this peer has the most",
                        self.name, self.max_subscription_bytes
                    )
                });
            }
            if let Some(subscription) = Subscription::decode(frame.as_ref()) {
                self.requesters.borrow_mut().handle_subscription(&subscription, &frame);
                each(&subscription, frame.origin());
            }
        }
        self.requesters.borrow_mut().begin_turn(!is_empty);
        self.unread_subscriptions.end_turn(is_empty);
        Ok(())
    }

    /// Whether [`Node::subscriptions`] has left subscriptions unread.
    pub(super) fn is_behind(&self) -> bool {
        self.requesters.borrow().is_behind()
    }

    /// The requesters that this node answers.
    pub(super) fn requesters(&self) -> RefMut<'_, RequesterTable> {
        self.requesters.borrow_mut()
    }

    /// Whether a request comes from the node that will receive the response. Logs a request that names a node other
    /// than its sender. A request whose connection has ended is dropped without a log line, because its sender is not
    /// known any more.
    pub(super) fn is_genuine(&self, message: &Message, origin: Origin) -> bool {
        let is_genuine = self.requesters.borrow().is_genuine(message, origin);
        if is_genuine == Some(false) {
            self.forged_warning.borrow_mut().warn(now_ms(), || {
                let from =
                    Peer::sender_of(origin).map_or("a peer".into(), |peer| format!("the peer at {peer}"));
                format!("{}: dropped a {} of {from} in another node's name", self.name, message.name())
            });
        }
        is_genuine == Some(true)
    }

    /// Whether a message is a response that the node must drop: a 0.1.0 producer sent it, although the FETCH named a
    /// store (`is_store_asked`). A 0.1.0 producer responds to every FETCH of its partition.
    pub(super) fn is_unwanted_answer(
        &self,
        message: &Message,
        origin: Origin,
        is_store_asked: impl Fn(&Position) -> bool,
    ) -> bool {
        let Message::DirectRecord(position) = message else { return false };
        self.requesters.borrow_mut().is_from_0_1_0(position.address, origin) && is_store_asked(position)
    }

    /// Adds a subscription.
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
    use crate::net::{pipe, poll};
    use crate::settings::Settings;

    #[test]
    fn a_beacon_that_is_ready_only_after_term_has_not_failed() {
        let (settings, _) = Settings::read(|key| match key {
            // No tower is there.
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
            unsent: None,
            max_frame_len_bytes: 1_000,
            max_frame_key: None,
            subscriptions: &[],
            traffic: Traffic::new(b"", b""),
            beacon: &settings.beacon,
        };
        let node = Node::start(&config, &own).unwrap();
        poll(&mut [node.beacon().item(POLLIN)], 60_000).unwrap();
        assert!(!node.follow_beacon().unwrap());
    }
}
