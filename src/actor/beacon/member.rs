//! A node, or an application's beacon, that is announced to the towers, with its peers.

use super::reported::Reported;
use super::{Owner, Peers, Report, lock};
use crate::actor::notices::Notices;
use crate::net::reconnect::{Action, ConnectionEvent};
use crate::net::{host_of_endpoint, max_open_files, now_ms};
use crate::protocol::discovery::Discovery;
use crate::settings;
use crate::wire::{self, NodeBeacon, TowerBeacon, Traffic};

/// Usually, all peers of a node have responded to the node's beacon after this time.
const SETTLED_MS: u64 = 200;

pub(super) struct Member<'a> {
    settings: settings::Beacon,
    pub(super) name: &'a str,
    /// The node; `None` for an application.
    owner: Option<Owner>,
    /// When the member becomes ready even without a tower's welcome; `None` = never.
    welcome_due_ms: Option<u64>,
    /// A tower has welcomed the member, or none has in time.
    is_ready: bool,
    /// The frames of the node's own beacon; `None` while the node is not announced.
    announced: Option<Vec<Vec<u8>>>,
    /// When the node was first announced.
    announced_ms: Option<u64>,
    /// The node's peers; `None` until `START`, or until an application's beacon is ready.
    peers: Option<Peers>,
    /// The endpoints that were reported to an application; `None` for a node.
    reported: Option<Reported>,
    /// Actions that were not reported yet.
    actions: Vec<Action>,
    /// The endpoint of another node with this node's address.
    twin: Option<String>,
    notices: Notices<'a>,
}

impl<'a> Member<'a> {
    /// Without `owner`, the member is the beacon of an application.
    pub(super) fn new(name: &'a str, settings: &settings::Beacon, owner: Option<Owner>) -> Member<'a> {
        Member {
            name,
            welcome_due_ms: settings.connect_timeout_ms.map(|timeout_ms| now_ms() + timeout_ms),
            settings: settings.clone(),
            is_ready: false,
            announced: None,
            announced_ms: None,
            peers: None,
            reported: owner.is_none().then(Reported::default),
            owner,
            actions: Vec::new(),
            twin: None,
            notices: Notices::new(name, "connected to"),
        }
    }

    /// The messages that the node exchanges. `None` for an application, which reports all nodes.
    pub(super) fn traffic(&self) -> Option<Traffic> {
        self.owner.as_ref().map(|owner| owner.traffic)
    }

    pub(super) fn is_ready(&self) -> bool {
        self.is_ready
    }

    /// The address that is announced now.
    pub(super) fn address(&self) -> Option<&[u8]> {
        self.announced.as_ref().and_then(|frames| frames.get(1)).map(Vec::as_slice)
    }

    /// Announces the node. `ignored`: addresses of nodes that are never its peers.
    pub(super) fn start(&mut self, address: &[u8], port: u16, ignored: &[&[u8]]) {
        let (host, traffic) = (self.settings.address.as_bytes(), self.traffic());
        self.announced = Some(NodeBeacon { sender: address, host, port, traffic }.encode());
        self.announced_ms = self.announced_ms.or(Some(now_ms()));
        let mut peers = self.peers.take().unwrap_or_else(|| self.new_peers());
        peers.discovery.announce(address, port, ignored, now_ms());
        self.peers = Some(peers);
    }

    /// Ends the announcement of the node. Its peers stay.
    pub(super) fn conceal(&mut self) {
        self.announced = None;
        self.peers.iter_mut().for_each(|peers| peers.discovery.conceal());
    }

    fn new_peers(&self) -> Peers {
        let (settings, is_node) = (&self.settings, self.owner.is_some());
        // An application's beacon has no connections, so none of its peers is pending. For a node, a pending peer
        // occupies a file while libzmq tries to connect.
        let max_pending = match is_node {
            true => settings.max_pending_peers.min((max_open_files() / 8).max(16)),
            false => settings.max_peers,
        };
        let discovery = Discovery::listening(settings.interval_ms, settings.timeout_ms, now_ms())
            .with_max_peers(settings.max_peers)
            .with_max_peers_per_host(settings.max_peers_per_host, host_of_endpoint)
            .with_max_pending(max_pending)
            .with_traffic(self.traffic());
        // A node maintains a directory of its peers' names.
        Peers::new(if is_node { discovery.reporting_names() } else { discovery })
    }

    /// The number of peers, if the node was first announced at least [`SETTLED_MS`] ago.
    pub(super) fn settled_peer_count(&self, now_ms: u64) -> Option<usize> {
        self.announced_ms.filter(|announced_ms| now_ms >= announced_ms + SETTLED_MS)?;
        self.peers.as_ref().map(|peers| peers.discovery.peer_count())
    }

    /// When [`Member::handle_timeout`] must be called next.
    pub(super) fn due_ms(&self) -> Option<u64> {
        let welcome_ms = self.welcome_due_ms.filter(|_| !self.is_ready);
        self.peers.as_ref().map(Peers::due_ms).into_iter().chain(welcome_ms).min()
    }

    /// Drops silent peers. Returns the node's beacon when it must be sent now.
    pub(super) fn handle_timeout(&mut self, now_ms: u64) -> Option<&[Vec<u8>]> {
        if !self.is_ready && self.welcome_due_ms.is_some_and(|due_ms| now_ms >= due_ms) {
            let addresses = settings::list(&self.settings.pub_addresses);
            log::warn!("{}: no tower at {addresses} yet; continuing without one", self.name);
            self.become_ready();
        }
        let peers = self.peers.as_mut()?;
        let before = self.actions.len();
        let is_due = peers.handle_timeout(now_ms, &mut self.actions);
        if let Some(reported) = &mut self.reported {
            reported.rewrite(&mut self.actions, before, "");
        }
        self.announced.as_deref().filter(|_| is_due)
    }

    /// A tower has welcomed the member, or none has in time. From now on, an application gets its peers, even without
    /// `START`. It gets none earlier, because zactor_new discards messages that come before the ready signal.
    pub(super) fn become_ready(&mut self) {
        if self.is_ready {
            return;
        }
        self.is_ready = true;
        match &self.owner {
            Some(owner) => owner.reports.send(Report::Ready),
            None if self.peers.is_none() => self.peers = Some(self.new_peers()),
            None => {}
        }
    }

    /// A tower has sent its welcome.
    pub(super) fn handle_welcome(&mut self, now_ms: u64) {
        self.become_ready();
        if let Some(peers) = &mut self.peers {
            peers.discovery.handle_welcome(now_ms);
        }
    }

    /// See [`Discovery::handle_tower_lost`].
    pub(super) fn handle_tower_lost(&mut self, is_none_left: bool, now_ms: u64) {
        if let Some(peers) = &mut self.peers {
            peers.discovery.handle_tower_lost(is_none_left, now_ms);
        }
    }

    /// See [`Discovery::handle_tower_heard`].
    pub(super) fn handle_tower_heard(&mut self, now_ms: u64) {
        if let Some(peers) = &mut self.peers {
            peers.discovery.handle_tower_heard(now_ms);
        }
    }

    /// Handles the events of the connections to peers.
    pub(super) fn handle_peer_connections(&mut self) -> zmq::Result<()> {
        let Some(owner) = &self.owner else { return Ok(()) };
        let monitor = lock(&owner.monitor);
        while let Some((event, endpoint)) = monitor.try_recv()? {
            if let (Some(peers), Some(event)) = (&mut self.peers, ConnectionEvent::of(event)) {
                peers.handle_connection(&endpoint, event, now_ms());
            }
        }
        Ok(())
    }

    /// Notes a twin if a beacon has this node's address and another port. A tower may receive this node's own beacons
    /// from several hosts, but always with the same port.
    pub(super) fn note_twin(&mut self, beacon: &TowerBeacon) {
        if let Some([_, address, _, port, ..]) = self.announced.as_deref()
            && !address.is_empty()
            && *address == *beacon.sender
            && wire::Endpoint::parse(beacon.endpoint).is_none_or(|other| other.port.as_bytes() != port)
        {
            self.twin = Some(beacon.endpoint.to_owned());
        }
    }

    /// Whether the node may exchange messages with the sender of a beacon, and so connects to it.
    pub(super) fn wants(&self, sender: &[u8], endpoint: &str, traffic: Option<Traffic>) -> bool {
        let is_wanted = |peers: &Peers| {
            peers.discovery.is_peer(sender, endpoint) && peers.discovery.may_exchange_with(traffic)
        };
        self.peers.as_ref().is_some_and(is_wanted)
    }

    /// Adds a peer. `announced` is its endpoint as a tower announced it. `known` is the same endpoint with the address
    /// of the host.
    pub(super) fn add_peer(&mut self, sender: &[u8], [announced, known]: [&str; 2], now_ms: u64) {
        let Some(peers) = &mut self.peers else { return };
        let before = self.actions.len();
        peers.handle_beacon(sender, known, now_ms, &mut self.actions);
        if let Some(reported) = &mut self.reported {
            reported.rewrite(&mut self.actions, before, announced);
        }
        if let Some(notice) = peers.discovery.poll_notice() {
            self.notices.take(notice, "");
        }
    }

    /// Reports to the node what has changed. This never waits. Does nothing for an application.
    pub(super) fn report(&mut self) {
        let Some(owner) = &self.owner else { return };
        if let Some(endpoint) = self.twin.take() {
            owner.reports.send(Report::Twin(endpoint));
        }
        while let Some(peers) = &mut self.peers
            && let Some((peer, endpoint, is_known)) = peers.discovery.poll_renamed()
        {
            owner.directory.set(&peer, &endpoint, is_known);
        }
        for action in self.actions.drain(..) {
            log_action(self.name, &self.settings, &action);
            owner.reports.send(Report::Connection(action));
        }
    }

    /// The actions that an application has not been told yet.
    pub(super) fn take_actions(&mut self) -> Vec<Action> {
        self.actions.iter().for_each(|action| log_action(self.name, &self.settings, action));
        std::mem::take(&mut self.actions)
    }
}

fn log_action(name: &str, settings: &settings::Beacon, action: &Action) {
    if settings.verbose {
        log::debug!("{name}: {} {}", action.name(), action.endpoint());
    }
}
