//! The beacon: announces a node to the towers, and reports the node's peers to it.
//!
//! The beacon has its own thread, so that peers do not drop a node that is busy. Its commands on the pipe are `START`
//! address port, `STOP` and `$TERM`. The beacon sends a ready signal when a tower has welcomed it, or when no tower has
//! done so within the timeout.
//!
//! The beacon of a node reports peers after `START`, as `Report`s. The reported endpoints contain the addresses of the
//! hosts.
//!
//! The beacon of an application (the C class `dafka_beacon`) reports peers as soon as it is ready. It reports endpoints
//! as they were announced (see `beacon/reported.rs`). It sends `CONNECT` endpoint and `DISCONNECT` endpoint on its
//! pipe.

use super::directory::Directory;
use super::local_consumers::is_local_consumer;
use super::notices::Notices;
use super::{Result, timeout_ms};
use crate::net::reconnect::{Action, ConnectionEvent};
use crate::net::{
    Frame, Monitor, Pipe, Resolver, TERM, canonical, host_of_endpoint, max_open_files, now_ms, poll,
};
use crate::protocol::discovery::Discovery;
use crate::settings::{self, TowerAddress};
use crate::wire::{self, NodeBeacon, TowerBeacon, Traffic, WELCOME};
use reported::Reported;
use std::sync::mpsc::Sender;
use towers::Towers;
use zmq::{POLLIN, POLLOUT};
use zone::{with_zone, zone};

mod peers;
mod reported;
mod towers;
mod zone;

pub use peers::Peers;
pub(super) use towers::MAX_HELD_BYTES;

/// A report of a node's beacon to its node.
pub(super) enum Report {
    /// An action for the subscribing socket.
    Connection(Action),
    /// Another node at this endpoint announces this node's address.
    Twin(String),
}

/// The frame that the beacon sends on its pipe after each [`Report`], so that the node's poll returns.
pub(super) const REPORTED: &[u8] = b"REPORTED";

/// The parts that a node shares with its beacon.
pub(super) struct Owner<'a> {
    /// Reports events of the subscribing socket's connections.
    pub(super) monitor: &'a Monitor,
    pub(super) reports: Sender<Report>,
    /// The messages that the node exchanges.
    pub(super) traffic: Traffic,
    /// The beacon writes the directory, and the node reads it.
    pub(super) directory: Directory,
}

impl Owner<'_> {
    fn report(&self, pipe: &Pipe, report: Report) -> Result {
        // Fails when the node has ended. Then the pipe ends this thread.
        let _ = self.reports.send(report);
        Ok(pipe.send_to_owner(&[REPORTED])?)
    }
}

/// The most beacons that are received before the pipe is read again.
const BATCH_COUNT: usize = 1_000;

/// Runs an application's beacon until `$TERM`. `name` is the start of its log lines.
///
/// # Errors
/// When a socket cannot be created.
pub fn run(pipe: &Pipe, settings: &settings::Beacon, name: &str) -> Result {
    run_for(pipe, settings, name, None)
}

/// Runs the beacon of a node until `$TERM`. Without `node`, it is the beacon of an application.
pub(super) fn run_for(pipe: &Pipe, settings: &settings::Beacon, name: &str, node: Option<&Owner>) -> Result {
    let mut beacon = Beacon::connect(settings, name, node.map(|node| node.traffic))?;
    loop {
        beacon.wait(pipe, node)?;
        if !beacon.handle_commands(pipe)? {
            if beacon.may_be_full {
                pipe.wait_for_room_to_end();
            }
            return Ok(());
        }
        beacon.handle_tower_connections()?;
        if let Some(node) = node {
            beacon.handle_peer_connections(node.monitor)?;
        }
        beacon.handle_resolved_hosts();
        let is_welcome = beacon.receive()?;
        beacon.signal_when_ready(pipe, is_welcome)?;
        beacon.handle_timeout()?;
        beacon.report(pipe, node)?;
    }
}

struct Beacon<'a> {
    settings: &'a settings::Beacon,
    name: &'a str,
    towers: Towers<'a>,
    /// When the beacon becomes ready even without a tower's welcome; `None` = never.
    welcome_due_ms: Option<u64>,
    /// The ready signal was sent.
    is_ready: bool,
    /// The frames of the node's own beacon, from `START` to `STOP`.
    announced: Option<Vec<Vec<u8>>>,
    /// The messages that the node exchanges. `None` for an application, which reports all nodes.
    traffic: Option<Traffic>,
    /// The node is a consumer: it ignores the other consumers of its process.
    is_consumer: bool,
    /// The node's peers; `None` until `START`, or until an application's beacon is ready.
    peers: Option<Peers>,
    /// The endpoints that were reported to an application; `None` for a node.
    reported: Option<Reported>,
    /// Actions to report to the owner at the end of the turn.
    actions: Vec<Action>,
    /// The pipe had no room after the latest report.
    may_be_full: bool,
    /// The endpoint of another node with this node's address.
    twin: Option<String>,
    /// The interface on which the towers are reached, when their addresses are IPv6 link-local ones.
    zone: Option<String>,
    resolver: Resolver,
    notices: Notices<'a>,
}

impl<'a> Beacon<'a> {
    fn connect(
        settings: &'a settings::Beacon,
        name: &'a str,
        traffic: Option<Traffic>,
    ) -> Result<Beacon<'a>> {
        let towers = Towers::connect(settings, name)?;
        let resolver = Resolver::new(towers.is_ipv6()?);
        let zone_of = |address: &TowerAddress| Some(zone(&address.to_text())?.to_owned());
        Ok(Beacon {
            settings,
            name,
            towers,
            welcome_due_ms: settings.connect_timeout_ms.map(|timeout_ms| now_ms() + timeout_ms),
            is_ready: false,
            announced: None,
            traffic,
            is_consumer: false,
            peers: None,
            reported: traffic.is_none().then(Reported::default),
            actions: Vec::new(),
            may_be_full: false,
            twin: None,
            zone: settings.pub_addresses.iter().find_map(zone_of),
            resolver,
            notices: Notices::new(name, "connected to"),
        })
    }

    /// Waits for input, or until something is due.
    fn wait(&self, pipe: &Pipe, node: Option<&Owner>) -> Result {
        let peers_ms = self.peers.as_ref().map(Peers::due_ms);
        let welcome_ms = self.welcome_due_ms.filter(|_| !self.is_ready);
        let due_ms = peers_ms.into_iter().chain(welcome_ms).min();
        let mut items = vec![pipe.item(POLLIN)];
        items.extend(self.towers.items());
        items.extend(node.map(|node| node.monitor.item()));
        items.extend(self.resolver.item());
        Ok(poll(&mut items, timeout_ms(due_ms, now_ms()))?)
    }

    /// Handles commands from the pipe. Returns false on `$TERM`.
    fn handle_commands(&mut self, pipe: &Pipe) -> Result<bool> {
        let mut frame = Frame::new();
        let mut command: Vec<Vec<u8>> = Vec::new();
        while pipe.try_recv(&mut frame)? {
            command.clear();
            command.push(frame.as_ref().to_vec());
            while frame.more() && pipe.try_recv(&mut frame)? {
                command.push(frame.as_ref().to_vec());
            }
            match command.iter().map(Vec::as_slice).collect::<Vec<_>>().as_slice() {
                [term] if *term == TERM => return Ok(false),
                [b"START", address, port, ignored @ ..] => self.start(address, port, ignored),
                [b"STOP"] => {
                    self.announced = None;
                    self.peers.iter_mut().for_each(|peers| peers.discovery.conceal());
                }
                [unknown, ..] => {
                    log::error!("{}: unknown command to the beacon: {}", self.name, unknown.escape_ascii());
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
        let beacon = NodeBeacon {
            sender: address,
            host: self.settings.address.as_bytes(),
            port,
            traffic: self.traffic,
        };
        self.announced = Some(beacon.encode());
        self.is_consumer = is_local_consumer(address);
        let mut peers = self.peers.take().unwrap_or_else(|| self.new_peers());
        peers.discovery.announce(address, port, ignored, now_ms());
        self.peers = Some(peers);
    }

    /// Sends the ready signal when a tower has welcomed the beacon, or none has in time.
    fn signal_when_ready(&mut self, pipe: &Pipe, is_welcome: bool) -> Result {
        let is_late = || self.welcome_due_ms.is_some_and(|due_ms| now_ms() >= due_ms);
        if self.is_ready || !is_welcome && !is_late() {
            return Ok(());
        }
        if !is_welcome {
            let addresses = settings::list(&self.settings.pub_addresses);
            log::warn!("{}: no tower at {addresses} yet; continuing without one", self.name);
        }
        self.is_ready = true;
        // Start only now, because zactor_new discards messages that it receives before the signal.
        self.start_discovery();
        // A node can read the signal later. An application's zactor_new waits for it.
        if self.reported.is_none() { pipe.signal() } else { pipe.signal_ready() }?;
        Ok(())
    }

    /// Starts to look for peers without a `START`, for an application.
    fn start_discovery(&mut self) {
        if self.reported.is_some() && self.peers.is_none() {
            self.peers = Some(self.new_peers());
        }
    }

    fn new_peers(&self) -> Peers {
        let is_node = self.reported.is_none();
        // An application's beacon has no connections, so none of its peers is pending. For a node, a pending peer
        // occupies a file while libzmq tries to connect.
        let max_pending = match is_node {
            true => self.settings.max_pending_peers.min((max_open_files() / 8).max(16)),
            false => self.settings.max_peers,
        };
        let discovery = Discovery::listening(self.settings.interval_ms, self.settings.timeout_ms, now_ms())
            .with_max_peers(self.settings.max_peers)
            .with_max_peers_per_host(self.settings.max_peers_per_host, host_of_endpoint)
            .with_max_pending(max_pending)
            .with_traffic(self.traffic);
        // A node maintains a directory of its peers' names.
        Peers::new(if is_node { discovery.reporting_names() } else { discovery })
    }

    /// Handles connects and disconnects of towers.
    fn handle_tower_connections(&mut self) -> Result {
        while let Some(is_none_left) = self.towers.poll_change()? {
            if let Some(peers) = &mut self.peers {
                peers.discovery.handle_tower_lost(is_none_left, now_ms());
            }
        }
        Ok(())
    }

    /// Handles events of the connections to peers.
    fn handle_peer_connections(&mut self, monitor: &Monitor) -> Result {
        while let Some((event, endpoint)) = monitor.try_recv()? {
            if let (Some(peers), Some(event)) = (&mut self.peers, ConnectionEvent::of(event)) {
                peers.handle_connection(&endpoint, event, now_ms());
            }
        }
        Ok(())
    }

    /// Adds peers whose hosts were resolved. An application gets a report even of a peer whose host was not found.
    fn handle_resolved_hosts(&mut self) {
        let Self { resolver, peers, reported, actions, notices, .. } = self;
        resolver.found(now_ms(), |sender, announced, endpoint| {
            if endpoint.is_none() {
                notices.warn(|| {
                    format!("cannot find the host of {}, where a peer is announced", announced.escape_debug())
                });
            }
            let endpoint = endpoint.or(reported.as_ref().map(|_| announced));
            if let (Some(endpoint), Some(peers)) = (endpoint, &mut *peers) {
                add_peer(peers, reported.as_mut(), sender, [announced, endpoint], actions);
            }
        });
    }

    /// Receives the welcomes and beacons of the towers. Returns true when a welcome was among them.
    fn receive(&mut self) -> Result<bool> {
        let mut is_welcome = false;
        let mut frames: Vec<Frame> = Vec::new();
        let mut is_drained = false;
        for _ in 0..BATCH_COUNT {
            is_drained = !self.towers.receive(&mut frames)?;
            if is_drained {
                break;
            }
            let frames: Vec<&[u8]> = frames.iter().map(Frame::as_ref).collect();
            match frames.as_slice() {
                [frame] if *frame == WELCOME => {
                    is_welcome = true;
                    if let Some(peers) = &mut self.peers {
                        peers.discovery.handle_welcome(now_ms());
                    }
                }
                frames => match TowerBeacon::decode(frames) {
                    Ok(beacon) => self.handle_tower_beacon(&beacon),
                    Err(error) => self.notices.warn(|| format!("dropped a tower's beacon: {error}")),
                },
            }
        }
        self.towers.end_turn(is_drained);
        Ok(is_welcome)
    }

    /// Adds the peer that a tower announces. If its host is a name, it is added once the name is resolved.
    fn handle_tower_beacon(&mut self, beacon: &TowerBeacon) {
        let Some(peers) = &mut self.peers else { return };
        // The tower may see this node's own beacons from several hosts, but always with the same port.
        if let Some([_, address, _, port, ..]) = self.announced.as_deref()
            && !address.is_empty()
            && *address == *beacon.sender
            && wire::Endpoint::parse(beacon.endpoint).is_none_or(|other| other.port.as_bytes() != port)
        {
            self.twin = Some(beacon.endpoint.to_owned());
        }
        if !peers.discovery.is_peer(beacon.sender, beacon.endpoint)
            || !peers.discovery.may_exchange_with(beacon.traffic)
            || self.is_consumer && is_local_consumer(beacon.sender)
        {
            peers.discovery.handle_tower_heard(now_ms());
            return;
        }
        let announced = with_zone(beacon.endpoint, self.zone.as_deref());
        let Some(endpoint) = canonical(&announced) else {
            peers.discovery.handle_tower_heard(now_ms());
            self.notices.warn(|| {
                format!("a peer is ignored: {} is not an endpoint of a single host", announced.escape_debug())
            });
            return;
        };
        let mut known = self.resolver.resolve(beacon.sender, &endpoint, now_ms());
        if known.is_none() && self.reported.is_some() && self.resolver.is_missing(&endpoint, now_ms()) {
            known = Some(endpoint.as_str().into());
        }
        match known {
            Some(known) => {
                add_peer(
                    peers,
                    self.reported.as_mut(),
                    beacon.sender,
                    [&announced, &known],
                    &mut self.actions,
                );
            }
            None => peers.discovery.handle_tower_heard(now_ms()),
        }
        if let Some(notice) = peers.discovery.poll_notice() {
            self.notices.take(notice, "");
        }
    }

    /// Sends the node's beacon when it is due, and drops silent peers.
    fn handle_timeout(&mut self) -> Result {
        let Some(peers) = &mut self.peers else { return Ok(()) };
        let before = self.actions.len();
        let is_due = peers.handle_timeout(now_ms(), &mut self.actions);
        if let Some(reported) = &mut self.reported {
            reported.rewrite(&mut self.actions, before, "");
        }
        if let (Some(announced), true) = (&self.announced, is_due) {
            self.towers.send(announced)?;
        }
        Ok(())
    }

    /// Reports to the owner what has changed in this turn.
    fn report(&mut self, pipe: &Pipe, node: Option<&Owner>) -> Result {
        if let (Some(node), Some(endpoint)) = (node, self.twin.take()) {
            node.report(pipe, Report::Twin(endpoint))?;
        }
        while let (Some(node), Some(peers)) = (node, &mut self.peers)
            && let Some((peer, endpoint, is_known)) = peers.discovery.poll_renamed()
        {
            node.directory.set(&peer, &endpoint, is_known);
        }
        for action in self.actions.drain(..) {
            if self.settings.verbose {
                log::debug!("{}: {} {}", self.name, action.name(), action.endpoint());
            }
            match node {
                Some(node) => node.report(pipe, Report::Connection(action))?,
                None => pipe.send_to_owner(&[action.name(), action.endpoint()].map(str::as_bytes))?,
            }
            self.may_be_full = !pipe.events().contains(POLLOUT);
        }
        Ok(())
    }
}

/// Adds a peer. `announced` is its endpoint as a tower announced it. `known` is the same endpoint with the address of
/// the host.
fn add_peer(
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
