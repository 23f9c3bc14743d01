//! What every node has: a name, a socket that publishes, one that subscribes, and a beacon.

use super::beacon::{self, Owner, REPORTED, Report};
use super::directory::Directory;
use super::requesters::Answered;
use super::{BATCH_COUNT, Error, Handle, MAX_FRAME_LEN_BYTES, Result, spawn};
use crate::net::reconnect::{Action, ConnectionEvent};
use crate::net::{
    Backlog, Frame, Inbound, InboundLimits, Kind, Monitor, Origin, Peer, Pipe, Socket, Subscribers, Warning,
    is_success, now_ms, poll,
};
use crate::protocol::producer::copies::IsPeer;
use crate::settings;
use crate::wire::{Message, Position, Subscription};
use std::cell::{Cell, RefCell, RefMut};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex, PoisonError};
use zmq::{POLLIN, PollItem};

/// How long records already published may still go out to live peers when the node ends and the application
/// set no linger time of its own (zsys_set_linger).
const LINGER_MS: i32 = 3_000;

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
    answered: RefCell<Answered>,
    directory: Directory,
    /// Of requests in the name of other nodes.
    forged_warning: RefCell<Warning>,
    /// Bounds what `publisher` holds, and what `subscriber` does.
    unread_subscriptions: Backlog,
    pub(super) unread: Backlog,
    max_subscription_bytes: usize,
    warning: RefCell<Warning>,
    /// The same for connections that were given up.
    given_up_warning: RefCell<Warning>,
    cut_off_warning: RefCell<Warning>,
    beacon: Handle,
    /// One for each [`REPORTED`] on the beacon's pipe.
    reports: Receiver<Report>,
    /// Where another node is that uses this node's address, by the latest beacon that says so.
    twin: RefCell<Option<String>>,
    /// The beacon's first word is still to come: the wait for it was interrupted.
    is_beacon_starting: Cell<bool>,
    /// The beacon reads it. Held here too: it must live until the monitor is stopped, even if the beacon panics.
    _monitor: Arc<Mutex<Monitor>>,
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
    /// Binds, and becomes known to the towers; waits for one for as long as the settings say, or until something
    /// is to be read at `pipe`.
    pub(super) fn start(config: &Config, pipe: &Pipe) -> Result<Node> {
        let publisher = Socket::new(config.publisher)?;
        publisher.expect_subscribers()?;
        publisher.zmq().set_sndhwm(config.send_high_watermark)?;
        if publisher.zmq().get_linger()? == 0 {
            publisher.zmq().set_linger(LINGER_MS)?;
        }
        if config.publisher == Kind::XPUB {
            // Each peer that subscribes is news, not only the first one. What the socket kept to itself could not be
            // counted: a peer that changes its subscriptions again and again would seem to bring too much.
            publisher.report_every_subscription()?;
        }
        publisher.notice_dead_hosts()?;
        let port = publisher.bind_ephemeral()?;
        let limits = InboundLimits {
            max_count: config.beacon.max_connections,
            max_key: "beacon/max_connections",
            max_per_host_count: config.beacon.max_connections_per_host,
            max_per_host_key: "beacon/max_connections_per_host",
        };
        let inbound = Inbound::at(config.name, &publisher, limits);
        let unread_subscriptions =
            Backlog::listening(config.name, &publisher, config.beacon.max_subscription_bytes);
        let max_held_bytes = match config.max_frame_len_bytes {
            0..=MAX_FRAME_LEN_BYTES => MAX_HELD_REQUEST_BYTES,
            _ => MAX_HELD_BYTES,
        };
        let unread = Backlog::connecting(config.name, max_held_bytes, config.max_frame_len_bytes);

        let subscriber = Socket::new(Kind::SUB)?;
        // Subscriptions on their way to a dead peer are not worth waiting for, whatever the application set.
        subscriber.zmq().set_linger(0)?;
        subscriber.expect_anybody(config.max_frame_len_bytes)?;
        subscriber.connect_patiently()?;
        // What does not fit here is never subscribed to.
        subscriber.zmq().set_sndhwm(0)?;
        subscriber.notice_dead_hosts()?;
        subscriber.notice_unanswered()?;
        for subscription in config.subscriptions {
            subscriber.zmq().set_subscribe(subscription)?;
        }

        let (settings, name) = (config.beacon.clone(), config.name.to_owned());
        let monitor = Monitor::start(&subscriber, ConnectionEvent::MONITORED)?;
        let monitor = Arc::new(Mutex::new(monitor));
        let directory = Directory::default();
        let (told, known, watched) = (directory.clone(), directory.clone(), monitor.clone());
        let (sender, reports) = channel();
        let beacon = spawn("dafka-beacon", move |pipe| {
            // Nobody else locks it.
            let monitor = watched.lock().unwrap_or_else(PoisonError::into_inner);
            let owner = Owner { monitor: &monitor, reports: sender, directory: told };
            beacon::run_for(pipe, &settings, &name, Some(&owner))
        });
        if beacon.is_err() {
            subscriber.stop_monitor();
        }
        let beacon = beacon?;
        let node = Node {
            name: config.name.to_owned(),
            address: config.address.to_owned(),
            publisher,
            subscriber,
            subscribers: RefCell::new(Subscribers::new(config.beacon.max_subscription_bytes)),
            inbound,
            answered: RefCell::new(Answered::new(known)),
            directory,
            forged_warning: RefCell::default(),
            unread_subscriptions,
            unread,
            max_subscription_bytes: config.beacon.max_subscription_bytes,
            warning: RefCell::default(),
            given_up_warning: RefCell::default(),
            cut_off_warning: RefCell::default(),
            max_frame_len_bytes: config.max_frame_len_bytes,
            max_frame_key: config.max_frame_key,
            beacon,
            reports,
            twin: RefCell::default(),
            is_beacon_starting: Cell::new(false),
            _monitor: monitor,
        };
        // What is to be read at the pipe may come just when the beacon fails: then it is not there to be told, and its
        // word ends the node.
        node.is_beacon_starting.set(!node.beacon.wait_until_ready(pipe)?);
        let port = port.to_string();
        let mut start: Vec<&[u8]> = vec![b"START", config.address.as_bytes(), port.as_bytes()];
        start.extend(config.ignored.iter().map(|address| address.as_bytes()));
        node.beacon.tell(&start);
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
        self.beacon.pipe()
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

    /// As [`Node::follow_beacon`]. `each` is given the endpoints of peers that came (true) or went (false); also when a
    /// connection is given up, and when it is made again.
    pub(super) fn follow_beacon_with(&self, mut each: impl FnMut(&str, bool)) -> Result<bool> {
        let mut is_cut = false;
        let mut frame = Frame::new();
        while self.beacon().try_recv(&mut frame)? {
            if frame.as_ref() != REPORTED {
                if self.is_beacon_starting.take() && is_success(&frame) {
                    continue;
                }
                // Its last signal: it has failed, and has said why. A node without a beacon is one that nobody finds,
                // and that its peers soon drop: it ends, visibly.
                return Err(Error::Ended("node's beacon"));
            }
            match self.reports.try_recv() {
                Ok(Report::Connection(action)) => is_cut |= self.act(&action, &mut each),
                Ok(Report::Twin(endpoint)) => *self.twin.borrow_mut() = Some(endpoint),
                // There is one for each frame.
                Err(_) => {}
            }
        }
        Ok(is_cut)
    }

    /// Connects or disconnects the subscribing socket. True when the connection of a ZeroMQ peer was given up.
    fn act(&self, action: &Action, each: &mut impl FnMut(&str, bool)) -> bool {
        let endpoint = action.endpoint();
        let is_connect = matches!(action, Action::Connect(_));
        each(endpoint, is_connect);
        let mut is_cut = false;
        if let Action::GivenUp { has_answered, wait_ms, .. } = action {
            is_cut = *has_answered;
            self.tell_given_up(endpoint, *has_answered, *wait_ms);
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
            let mut warning = self.warning.borrow_mut();
            warning.warn(now_ms(), || format!("{}: {} {endpoint}: {error}", self.name, action.name()));
        }
        is_cut
    }

    /// libzmq does not tell why.
    fn tell_given_up(&self, endpoint: &str, has_answered: bool, wait_ms: u64) {
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
                self.answered.borrow_mut().subscription(&subscription, &frame);
                each(&subscription);
            }
        }
        self.answered.borrow_mut().begin_turn(!is_empty);
        self.unread_subscriptions.end_turn(is_empty);
        Ok(())
    }

    /// Whether more subscriptions wait than [`Node::subscriptions`] has read.
    pub(super) fn is_behind(&self) -> bool {
        self.answered.borrow().is_behind()
    }

    /// The requesters that this node answers.
    pub(super) fn requesters(&self) -> RefMut<'_, Answered> {
        self.answered.borrow_mut()
    }

    /// Whether a request comes from the node that gets the answer; logs those that do not. One whose connection has ended
    /// cannot be answered: it is dropped, and no one is blamed.
    pub(super) fn is_genuine(&self, message: &Message, origin: Origin) -> bool {
        let is_genuine = self.answered.borrow().is_genuine(message, origin);
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
    pub(super) fn is_unasked(
        &self,
        message: &Message,
        origin: Origin,
        is_store_asked: impl Fn(&Position) -> bool,
    ) -> bool {
        let Message::DirectRecord(position) = message else { return false };
        self.answered.borrow_mut().is_from_0_1_0(position.address, origin) && is_store_asked(position)
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
        while !node.is_beacon_starting.get() {
            node = Node::start(&config, &own).unwrap();
        }
        while node.is_beacon_starting.get() {
            poll(&mut [node.beacon().item(POLLIN)], 60_000).unwrap();
            assert!(node.beacon().events().contains(POLLIN), "the beacon says that it is ready");
            assert!(!node.follow_beacon().unwrap());
        }
    }
}
