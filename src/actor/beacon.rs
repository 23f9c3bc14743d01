//! The beacon: makes a node known to the towers, and tells it of its peers.
//!
//! The beacon has a thread of its own, so that a busy node stays alive for its peers. It takes `START` address port, `STOP`
//! and `$TERM` from its pipe. It sends a signal when a tower has welcomed it, or none has in time.
//!
//! The beacon of a node reports peers from `START` on, with the addresses of their hosts, as `Report`s.
//!
//! The beacon of an application (the C class `dafka_beacon`) reports peers from the beginning, and endpoints as they were
//! announced (see `beacon/reported.rs`). It sends `CONNECT` endpoint and `DISCONNECT` endpoint on its pipe.

use super::directory::Directory;
use super::notices::Notices;
use super::{MAX_FRAME_LEN_BYTES, Result, siblings::is_consumer, timeout_ms};
use crate::net::reconnect::{Action, ConnectionEvent};
use crate::net::{
    Backlog, Frame, Kind, Monitor, Pipe, Resolver, Socket, TERM, canonical, host_of_endpoint, max_open_files,
    now_ms, poll,
};
use crate::protocol::discovery::Discovery;
use crate::settings::{self, Endpoint};
use crate::wire::{self, NodeBeacon, TowerBeacon, WELCOME};
use reported::Reported;
use std::borrow::Cow;
use std::sync::mpsc::Sender;
use zmq::{POLLIN, POLLOUT, SocketEvent};

mod peers;
mod reported;

pub use peers::Peers;

/// What a node's beacon reports to its node.
pub(super) enum Report {
    /// What to do with the subscribing socket.
    Connection(Action),
    /// Another node uses this node's address, and is announced at this endpoint.
    Twin(String),
}

/// What a node's beacon sends on its pipe after each [`Report`], so that the node's poll returns.
pub(super) const REPORTED: &[u8] = b"REPORTED";

/// What a node shares with its beacon.
pub(super) struct Owner<'a> {
    /// Reports on the connections of the node's subscribing socket.
    pub(super) monitor: &'a Monitor,
    pub(super) reports: Sender<Report>,
    /// The beacon keeps it.
    pub(super) directory: Directory,
}

impl Owner<'_> {
    fn report(&self, pipe: &Pipe, report: Report) -> Result {
        // A node that is gone ends this thread by its pipe.
        let _ = self.reports.send(report);
        Ok(pipe.send_to_owner(&[REPORTED])?)
    }
}

/// What libzmq may hold of what towers announce, and of what they subscribe to, before a connection is ended.
pub(super) const MAX_HELD_BYTES: usize = 4 << 20;
/// What the connections to towers are watched for.
const TOWER_EVENTS: &[SocketEvent] = &[SocketEvent::CONNECTED, SocketEvent::DISCONNECTED];
/// Beacons that are read before the pipe is looked at again.
const BATCH_COUNT: usize = 1_000;
/// More frames than any beacon has.
const MAX_FRAMES: usize = 8;

/// Runs an application's beacon until `$TERM`. `name` stands in its log lines.
///
/// # Errors
/// When a socket cannot be made.
pub fn run(pipe: &Pipe, settings: &settings::Beacon, name: &str) -> Result {
    run_for(pipe, settings, name, None)
}

/// Runs the beacon of a node until `$TERM`; without `node`, that of an application.
pub(super) fn run_for(pipe: &Pipe, settings: &settings::Beacon, name: &str, node: Option<&Owner>) -> Result {
    let mut beacon = Beacon::connect(settings, name)?;
    beacon.reported = node.is_none().then(Reported::default);
    let welcome_due_ms = settings.connect_timeout_ms.map(|timeout_ms| now_ms() + timeout_ms);
    let mut is_ready = false;
    // What was sent last left no room in the pipe.
    let mut may_be_full = false;
    loop {
        let mut due_ms = beacon.peers.as_ref().map(Peers::due_ms);
        if let (false, Some(welcome_due_ms)) = (is_ready, welcome_due_ms) {
            due_ms = Some(due_ms.map_or(welcome_due_ms, |due_ms| due_ms.min(welcome_due_ms)));
        }
        let mut items = vec![pipe.item(POLLIN), beacon.incoming.item(POLLIN)];
        items.extend(beacon.monitor.as_ref().map(Monitor::item));
        items.extend(node.map(|node| node.monitor.item()));
        items.extend(beacon.resolver.item());
        poll(&mut items, timeout_ms(due_ms, now_ms()))?;
        drop(items);

        if !beacon.commands(pipe)? {
            if may_be_full {
                pipe.wait_for_last_word();
            }
            return Ok(());
        }
        beacon.connections()?;
        if let Some(node) = node {
            beacon.peer_connections(node.monitor)?;
        }
        beacon.hosts_found();
        let is_welcome = beacon.receive()?;
        if !is_ready && (is_welcome || welcome_due_ms.is_some_and(|due_ms| now_ms() >= due_ms)) {
            if !is_welcome {
                log::warn!(
                    "{name}: no tower at {} yet, going on without one",
                    settings::list(&settings.pub_addresses)
                );
            }
            is_ready = true;
            // Not before: zactor_new drops what it receives before the signal.
            beacon.listen();
            // A node reads the signal late by itself.
            if node.is_some() { pipe.signal() } else { pipe.signal_ready() }?;
        }
        beacon.tick()?;
        if let (Some(node), Some(endpoint)) = (node, beacon.twin.take()) {
            node.report(pipe, Report::Twin(endpoint))?;
        }
        while let (Some(node), Some(peers)) = (node, &mut beacon.peers)
            && let Some((peer, endpoint, is_known)) = peers.discovery.poll_renamed()
        {
            node.directory.set(&peer, &endpoint, is_known);
        }
        for action in beacon.actions.drain(..) {
            if settings.verbose {
                log::debug!("{name}: {} {}", action.name(), action.endpoint());
            }
            match node {
                Some(node) => node.report(pipe, Report::Connection(action))?,
                None => pipe.send_to_owner(&[action.name(), action.endpoint()].map(str::as_bytes))?,
            }
            may_be_full = !pipe.events().contains(POLLOUT);
        }
    }
}

struct Beacon<'a> {
    settings: &'a settings::Beacon,
    name: &'a str,
    outgoing: Socket,
    incoming: Socket,
    /// Bound what `outgoing` holds, and what `incoming` does.
    unread_subscriptions: Backlog,
    unread: Backlog,
    /// Tells when connections to towers come and go; `None` where libzmq tells nothing of them.
    monitor: Option<Monitor>,
    towers_connected: usize,
    /// The node's own beacon, from `START` to `STOP`.
    announced: Option<[Vec<u8>; 4]>,
    /// The node is a consumer: it ignores the others of its process.
    is_consumer: bool,
    /// The node's peers; `None` until `START`, or until an application's beacon is ready.
    peers: Option<Peers>,
    /// The endpoints that an application was told; `None` for a node.
    reported: Option<Reported>,
    actions: Vec<Action>,
    /// Where another node is that uses this node's address.
    twin: Option<String>,
    /// The interface by which the towers are reached, when that matters: with IPv6 link-local addresses.
    zone: Option<String>,
    resolver: Resolver,
    notices: Notices<'a>,
}

impl Drop for Beacon<'_> {
    fn drop(&mut self) {
        if self.monitor.is_some() {
            self.incoming.stop_monitor();
        }
    }
}

impl<'a> Beacon<'a> {
    fn connect(settings: &'a settings::Beacon, name: &'a str) -> Result<Beacon<'a>> {
        let outgoing = Socket::new(Kind::PUB)?;
        let incoming = Socket::new(Kind::SUB)?;
        // Subscriptions on their way to a tower that is not there are not worth waiting for, whatever the application
        // set, nor are beacons of a node that ends.
        outgoing.zmq().set_linger(0)?;
        incoming.zmq().set_linger(0)?;
        for socket in [&outgoing, &incoming] {
            socket.beat()?;
            socket.expect_anybody(MAX_FRAME_LEN_BYTES)?;
        }
        let has_monitor = !settings.pub_addresses.iter().all(Endpoint::is_inproc);
        let monitor = has_monitor.then(|| Monitor::start(&incoming, TOWER_EVENTS)).transpose()?;

        // Before connecting: a tower welcomes a connection, not a subscription.
        incoming.zmq().set_subscribe(WELCOME)?;
        incoming.zmq().set_subscribe(b"B")?;
        let unread_subscriptions = Backlog::connecting(name, MAX_HELD_BYTES, 0);
        let unread = Backlog::connecting(name, MAX_HELD_BYTES, 0);
        for (socket, addresses, unread) in [
            (&outgoing, &settings.sub_addresses, &unread_subscriptions),
            (&incoming, &settings.pub_addresses, &unread),
        ] {
            for address in addresses {
                unread.connect(&address.to_text());
                if let Err(error) = socket.connect(address) {
                    log::error!("{name}: cannot connect to a tower at {address}: {error}");
                }
            }
        }
        let resolver = Resolver::new(incoming.zmq().is_ipv6()?);
        Ok(Beacon {
            settings,
            name,
            outgoing,
            incoming,
            unread_subscriptions,
            unread,
            monitor,
            towers_connected: 0,
            announced: None,
            is_consumer: false,
            peers: None,
            reported: None,
            actions: Vec::new(),
            twin: None,
            zone: settings
                .pub_addresses
                .iter()
                .find_map(|address| Some(zone(&address.to_text())?.to_owned())),
            resolver,
            notices: Notices::new(name, "connected to"),
        })
    }

    /// Reads the pipe; false on `$TERM`.
    fn commands(&mut self, pipe: &Pipe) -> Result<bool> {
        let mut frame = Frame::new();
        let mut words: Vec<Vec<u8>> = Vec::new();
        while pipe.try_recv(&mut frame)? {
            words.clear();
            words.push(frame.as_ref().to_vec());
            while frame.more() && pipe.try_recv(&mut frame)? {
                words.push(frame.as_ref().to_vec());
            }
            match words.iter().map(Vec::as_slice).collect::<Vec<_>>().as_slice() {
                [word] if *word == TERM => return Ok(false),
                [b"START", address, port, ignored @ ..] => self.start(address, port, ignored),
                [b"STOP"] => {
                    self.announced = None;
                    self.peers.iter_mut().for_each(|peers| peers.discovery.conceal());
                }
                [word, ..] => {
                    log::error!("{}: unknown command to the beacon: {}", self.name, word.escape_ascii());
                }
                [] => {}
            }
        }
        Ok(true)
    }

    fn start(&mut self, address: &[u8], port: &[u8], ignored: &[&[u8]]) {
        let port = std::str::from_utf8(port).ok().and_then(|port| port.parse().ok());
        let Some(port) = port.filter(|&port| port > 0) else {
            log::error!("{}: START needs a port from 1 to 65535", self.name);
            return;
        };
        let beacon = NodeBeacon { sender: address, host: self.settings.address.as_bytes(), port };
        self.announced = Some(beacon.encode());
        self.is_consumer = is_consumer(address);
        let mut peers = self.peers.take().unwrap_or_else(|| self.no_peers());
        peers.discovery.announce(address, port, ignored, now_ms());
        self.peers = Some(peers);
    }

    /// Looks for peers without making the node known, if an application wants to know of them.
    fn listen(&mut self) {
        if self.reported.is_some() && self.peers.is_none() {
            self.peers = Some(self.no_peers());
        }
    }

    fn no_peers(&self) -> Peers {
        let is_node = self.reported.is_none();
        // An application's beacon does not learn who answers, so it waits for nobody. A pending peer takes a file while it is
        // tried.
        let max_pending = match is_node {
            true => self.settings.max_pending_peers.min((max_open_files() / 8).max(16)),
            false => self.settings.max_peers,
        };
        let discovery = Discovery::listening(self.settings.interval_ms, self.settings.timeout_ms, now_ms())
            .with_max_peers(self.settings.max_peers)
            .with_max_peers_per_host(self.settings.max_peers_per_host, host_of_endpoint)
            .with_max_pending(max_pending);
        // A node has a directory of its peers' names.
        Peers::new(if is_node { discovery.telling_names() } else { discovery })
    }

    /// Follows the connections to the towers.
    fn connections(&mut self) -> Result {
        let Some(monitor) = &self.monitor else { return Ok(()) };
        while let Some((event, _)) = monitor.try_recv()? {
            if event == SocketEvent::CONNECTED {
                self.towers_connected += 1;
            } else {
                self.towers_connected = self.towers_connected.saturating_sub(1);
                if self.towers_connected == 0 {
                    log::warn!("{}: no tower is left; peers that are known stay connected", self.name);
                }
            }
            if let Some(peers) = &mut self.peers {
                peers.discovery.handle_tower_lost(self.towers_connected == 0, now_ms());
            }
        }
        Ok(())
    }

    /// Follows the connections to the peers.
    fn peer_connections(&mut self, monitor: &Monitor) -> Result {
        while let Some((event, endpoint)) = monitor.try_recv()? {
            if let (Some(peers), Some(event)) = (&mut self.peers, ConnectionEvent::of(event)) {
                peers.handle_connection(&endpoint, event, now_ms());
            }
        }
        Ok(())
    }

    /// Takes in peers whose hosts were found. An application is told of those that were not, too.
    fn hosts_found(&mut self) {
        let Self { resolver, peers, reported, actions, notices, .. } = self;
        resolver.found(now_ms(), |sender, announced, endpoint| {
            if endpoint.is_none() {
                notices.warn(|| {
                    format!("the host of {} is not found, where a peer says it is", announced.escape_debug())
                });
            }
            let endpoint = endpoint.or(reported.as_ref().map(|_| announced));
            if let (Some(endpoint), Some(peers)) = (endpoint, &mut *peers) {
                add(peers, reported.as_mut(), sender, [announced, endpoint], actions);
            }
        });
    }

    /// Reads what the towers say; true when one of them said welcome.
    fn receive(&mut self) -> Result<bool> {
        let mut is_welcome = false;
        let mut frames: Vec<Frame> = Vec::new();
        let mut is_drained = false;
        for _ in 0..BATCH_COUNT {
            frames.clear();
            loop {
                let mut frame = Frame::new();
                if !self.incoming.try_recv(&mut frame)? {
                    break;
                }
                let more = frame.more();
                if frames.len() < MAX_FRAMES {
                    frames.push(frame);
                }
                if !more {
                    break;
                }
            }
            if let Some(first) = frames.first() {
                let len_bytes = frames.iter().map(|frame| frame.as_ref().len()).sum();
                self.unread.took(first.origin(), len_bytes, frames.len());
            }
            let frames: Vec<&[u8]> = frames.iter().map(Frame::as_ref).collect();
            match frames.as_slice() {
                [] => {
                    is_drained = true;
                    break;
                }
                [frame] if *frame == WELCOME => {
                    is_welcome = true;
                    if let Some(peers) = &mut self.peers {
                        peers.discovery.handle_welcome(now_ms());
                    }
                }
                frames => match TowerBeacon::decode(frames) {
                    Ok(beacon) => self.take(&beacon),
                    Err(error) => self.notices.warn(|| format!("dropped a tower's beacon: {error}")),
                },
            }
        }
        self.unread.end_turn(is_drained);
        Ok(is_welcome)
    }

    /// Takes in who a tower announces: a host that has a name, once it is known where that is.
    fn take(&mut self, beacon: &TowerBeacon) {
        let Some(peers) = &mut self.peers else { return };
        // A tower may see this node at several hosts, but it has one port.
        if let Some([_, address, _, port]) = &self.announced
            && !address.is_empty()
            && *address == *beacon.sender
            && wire::Endpoint::parse(beacon.endpoint).is_none_or(|other| other.port.as_bytes() != port)
        {
            self.twin = Some(beacon.endpoint.to_owned());
        }
        if !peers.discovery.is_peer(beacon.sender, beacon.endpoint)
            || self.is_consumer && is_consumer(beacon.sender)
        {
            peers.discovery.handle_tower_heard(now_ms());
            return;
        }
        let announced = with_zone(beacon.endpoint, self.zone.as_deref());
        let Some(endpoint) = canonical(&announced) else {
            peers.discovery.handle_tower_heard(now_ms());
            self.notices.warn(|| {
                format!("a peer is ignored: {} is no endpoint of a single host", announced.escape_debug())
            });
            return;
        };
        let mut known = self.resolver.resolve(beacon.sender, &endpoint, now_ms());
        if known.is_none() && self.reported.is_some() && self.resolver.is_missing(&endpoint, now_ms()) {
            known = Some(endpoint.as_str().into());
        }
        match known {
            Some(known) => {
                add(peers, self.reported.as_mut(), beacon.sender, [&announced, &known], &mut self.actions);
            }
            None => peers.discovery.handle_tower_heard(now_ms()),
        }
        if let Some(notice) = peers.discovery.poll_notice() {
            self.notices.take(notice, "");
        }
    }

    /// Sends the node's beacon when it is due, and drops silent peers.
    fn tick(&mut self) -> Result {
        let Some(peers) = &mut self.peers else { return Ok(()) };
        let before = self.actions.len();
        let is_due = peers.handle_timeout(now_ms(), &mut self.actions);
        if let Some(reported) = &mut self.reported {
            reported.rewrite(&mut self.actions, before, "");
        }
        if let (Some(announced), true) = (&self.announced, is_due) {
            // A publishing socket does not wait: without a tower, the beacon is simply not heard.
            let frames: Vec<&[u8]> = announced.iter().map(Vec::as_slice).collect();
            self.outgoing.send_frames(&frames)?;
            // A PUB socket takes the subscriptions that have come before it sends. Nobody can count those.
            self.unread_subscriptions.end_turn(true);
        }
        Ok(())
    }
}

/// Takes in a peer at an endpoint: as a tower announced it, and as it is known.
fn add(
    peers: &mut Peers,
    reported: Option<&mut Reported>,
    sender: &[u8],
    [announced, known]: [&str; 2],
    actions: &mut Vec<Action>,
) {
    let before = actions.len();
    peers.handle_beacon(sender, known, now_ms(), actions);
    if let Some(reported) = reported {
        reported.rewrite(actions, before, announced);
    }
}

/// The zone in an endpoint such as `tcp://[fe80::1%eth0]:5557`, if it has one.
fn zone(endpoint: &str) -> Option<&str> {
    let parts = wire::Endpoint::parse(endpoint)?;
    parts.zone().filter(|_| parts.host.starts_with('['))
}

/// An endpoint that has a zone, with `own` in its place: the tower names its own interface, which may have another name
/// here.
fn with_zone<'a>(endpoint: &'a str, own: Option<&str>) -> Cow<'a, str> {
    match (wire::Endpoint::parse(endpoint), zone(endpoint), own) {
        (Some(parts), Some(zone), Some(own)) if zone != own => parts.with_zone(Some(own)).into(),
        _ => endpoint.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_local_address_gets_the_zone_of_this_host() {
        let tower = "tcp://[fe80::1%eth0]:5557";
        assert_eq!(zone(tower), Some("eth0"));
        for other in ["tcp://*:5557", "inproc://tower", "tcp://[::1]:1", "tcp://[::1%", "tcp://[::1%]:2"] {
            assert!(zone(other).is_none_or(str::is_empty), "{other}");
        }
        assert_eq!(with_zone("tcp://[fe80::2%br0]:1", zone(tower)), "tcp://[fe80::2%eth0]:1");
        assert_eq!(with_zone("tcp://[fe80::2%br0]:1", None), "tcp://[fe80::2%br0]:1");
        assert_eq!(with_zone("tcp://[fd00::2]:1", zone(tower)), "tcp://[fd00::2]:1");
    }
}
