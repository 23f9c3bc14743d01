//! The beacon: makes a node known to the towers, and tells it of its peers.
//!
//! A thread of its own, so that a busy node stays alive for its peers. On its pipe it understands `START`
//! address port, `STOP` and `$TERM`; it says a signal when a tower has welcomed it (or none has in time), then
//! `CONNECT` endpoint and `DISCONNECT` endpoint; to who gives it a monitor also `GIVEN UP` endpoint has-answered
//! wait-ms and `TWIN` endpoint.
//!
//! The beacon of a node reports peers from `START` on, with the addresses of their hosts. That of an application (without a
//! monitor) reports them from the beginning, and endpoints as they were announced: see `beacon/reported.rs`.

use super::directory::Directory;
use super::{MAX_FRAME_LEN_BYTES, Result, siblings::is_consumer, timeout_ms};
use crate::net::{
    Backlog, Frame, Kind, Pipe, Resolver, Socket, TERM, Warning, canonical, host_of_endpoint, max_open_files,
    now_ms, poll,
};
use crate::protocol::discovery::{Discovery, Event, News, Refused};
use crate::settings::{self, Endpoint};
use crate::wire::{NodeBeacon, TowerBeacon, WELCOME};
use reported::Reported;
use std::borrow::Cow;
use std::sync::atomic::{AtomicU64, Ordering};
use zmq::{POLLIN, POLLOUT, SocketEvent};

mod reported;

/// libzmq has given the connection to an endpoint up: disconnect from it; it is connected to again after some time. `true`
/// when a ZeroMQ peer had answered there.
pub(super) const GIVEN_UP: &str = "GIVEN UP";

/// Another node uses this node's address: its endpoint follows.
pub(super) const TWIN: &str = "TWIN";

/// What the monitor of a node's subscribing socket is to tell.
pub(super) const MONITORED: [(SocketEvent, News); 3] = [
    (SocketEvent::HANDSHAKE_SUCCEEDED, News::Answers),
    (SocketEvent::DISCONNECTED, News::Ended),
    (SocketEvent::CONNECT_RETRIED, News::Retries),
];

/// What libzmq may hold of what towers announce, and of what they subscribe to, before a connection is ended.
pub(super) const MAX_HELD_BYTES: usize = 4 << 20;
/// Beacons that are read before the pipe is looked at again.
const BATCH_COUNT: usize = 1_000;
/// More frames than any beacon has.
const MAX_FRAMES: usize = 8;

/// Runs an application's beacon until `$TERM`. `name` stands in its log lines.
///
/// # Errors
/// When a socket cannot be made.
pub fn run(pipe: &Pipe, settings: &settings::Beacon, name: &str) -> Result {
    run_for(pipe, settings, name, None, None)
}

/// Runs the beacon of a node, whose directory of peers it keeps. `peers` is the monitor of the node's subscribing socket: it
/// tells which peers answer.
pub(super) fn run_for(
    pipe: &Pipe,
    settings: &settings::Beacon,
    name: &str,
    peers: Option<&Socket>,
    directory: Option<&Directory>,
) -> Result {
    let mut beacon = Beacon::connect(settings, name)?;
    beacon.is_watching = peers.is_some();
    beacon.is_telling_names = directory.is_some();
    beacon.reported = (!beacon.is_watching).then(Reported::default);
    let welcome_due_ms = settings.connect_timeout_ms.map(|timeout_ms| now_ms() + timeout_ms);
    let mut is_ready = false;
    // What was sent last left no room in the pipe.
    let mut may_be_full = false;
    loop {
        let mut due_ms = beacon.discovery.as_ref().map(Discovery::due_ms);
        if let (false, Some(welcome_due_ms)) = (is_ready, welcome_due_ms) {
            due_ms = Some(due_ms.map_or(welcome_due_ms, |due_ms| due_ms.min(welcome_due_ms)));
        }
        let mut items = vec![pipe.item(POLLIN), beacon.incoming.item(POLLIN)];
        items.extend(beacon.monitor.as_ref().map(|monitor| monitor.item(POLLIN)));
        items.extend(peers.map(|peers| peers.item(POLLIN)));
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
        if let Some(peers) = peers {
            beacon.answers(peers)?;
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
            if peers.is_some() { pipe.signal() } else { pipe.signal_ready() }?;
        }
        beacon.tick()?;
        if let Some(endpoint) = beacon.twin.take_if(|_| peers.is_some()) {
            pipe.send_to_owner(&[TWIN, &endpoint].map(str::as_bytes))?;
        }
        while let (Some(directory), Some(discovery)) = (directory, &mut beacon.discovery)
            && let Some((peer, endpoint, is_known)) = discovery.poll_renamed()
        {
            directory.set(&peer, &endpoint, is_known);
        }
        for event in beacon.events.drain(..) {
            let (word, endpoint) = match &event {
                Event::Connect(endpoint) => ("CONNECT", endpoint),
                Event::Disconnect(endpoint) => ("DISCONNECT", endpoint),
                Event::GivenUp { endpoint, .. } => (GIVEN_UP, endpoint),
            };
            if settings.verbose {
                log::debug!("{name}: {word} {endpoint}");
            }
            match &event {
                Event::GivenUp { has_answered, wait_ms, .. } => {
                    let (has_answered, wait_ms) = (has_answered.to_string(), wait_ms.to_string());
                    let words = [word, endpoint, &has_answered, &wait_ms];
                    pipe.send_to_owner(&words.map(str::as_bytes))?;
                }
                _ => pipe.send_to_owner(&[word, endpoint].map(str::as_bytes))?,
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
    monitor: Option<Socket>,
    towers_connected: usize,
    /// Something tells which peers answer.
    is_watching: bool,
    /// The node wants to know where its peers are.
    is_telling_names: bool,
    /// The node's own beacon, from `START` to `STOP`.
    announced: Option<[Vec<u8>; 4]>,
    /// The node is a consumer: it ignores the others of its process.
    is_consumer: bool,
    /// The node's peers; `None` until `START`, or until an application's beacon is ready.
    discovery: Option<Discovery>,
    /// The endpoints that an application was told.
    reported: Option<Reported>,
    events: Vec<Event>,
    /// Where another node is that uses this node's address.
    twin: Option<String>,
    /// The interface by which the towers are reached, when that matters: with IPv6 link-local addresses.
    zone: Option<String>,
    resolver: Resolver,
    warning: Warning,
    /// Of peers for which there is no room: other warnings do not hide them.
    refused_warning: Warning,
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
        static COUNTER: AtomicU64 = AtomicU64::new(0);
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
        let mut monitor = None;
        if !settings.pub_addresses.iter().all(Endpoint::is_inproc) {
            let socket = Socket::new(Kind::PAIR)?;
            let monitored = format!("inproc://dafka-towers-{}", COUNTER.fetch_add(1, Ordering::Relaxed));
            let events = SocketEvent::CONNECTED.to_raw() | SocketEvent::DISCONNECTED.to_raw();
            incoming.zmq().monitor(&monitored, i32::from(events))?;
            socket.connect(&monitored)?;
            monitor = Some(socket);
        }

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
            is_watching: false,
            is_telling_names: false,
            announced: None,
            is_consumer: false,
            discovery: None,
            reported: None,
            events: Vec::new(),
            twin: None,
            zone: settings
                .pub_addresses
                .iter()
                .find_map(|address| Some(zone(&address.to_text())?.to_owned())),
            resolver,
            warning: Warning::default(),
            refused_warning: Warning::default(),
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
                    self.discovery.iter_mut().for_each(Discovery::conceal);
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
        let mut discovery = self.discovery.take().unwrap_or_else(|| self.no_peers());
        discovery.announce(address, port, ignored, now_ms());
        self.discovery = Some(discovery);
    }

    /// Looks for peers without making the node known, if an application wants to know of them.
    fn listen(&mut self) {
        if self.reported.is_some() && self.discovery.is_none() {
            self.discovery = Some(self.no_peers());
        }
    }

    fn no_peers(&self) -> Discovery {
        // Where nothing tells who answers, nobody is waited for. A pending peer takes a file while it is tried.
        let max_pending = match self.is_watching {
            true => self.settings.max_pending_peers.min((max_open_files() / 8).max(16)),
            false => self.settings.max_peers,
        };
        let discovery = Discovery::listening(self.settings.interval_ms, self.settings.timeout_ms, now_ms())
            .with_max_peers(self.settings.max_peers)
            .with_max_peers_per_host(self.settings.max_peers_per_host, host_of_endpoint);
        let discovery = discovery.with_max_pending(max_pending);
        if self.is_telling_names { discovery.telling_names() } else { discovery }
    }

    /// Follows the connections to the towers.
    fn connections(&mut self) -> Result {
        let mut frame = Frame::new();
        let Some(monitor) = &self.monitor else { return Ok(()) };
        while monitor.try_recv(&mut frame)? {
            let event = frame.as_ref().first_chunk().map(|octets| u16::from_ne_bytes(*octets));
            if event == Some(SocketEvent::CONNECTED.to_raw()) {
                self.towers_connected += 1;
            } else if event == Some(SocketEvent::DISCONNECTED.to_raw()) {
                self.towers_connected = self.towers_connected.saturating_sub(1);
                if self.towers_connected == 0 {
                    log::warn!("{}: no tower is left; peers that are known stay connected", self.name);
                }
            }
            monitor.skip_rest(&frame);
            if let Some(discovery) = &mut self.discovery {
                discovery.tower_lost(self.towers_connected == 0, now_ms());
            }
        }
        Ok(())
    }

    /// Follows the connections to the peers.
    fn answers(&mut self, peers: &Socket) -> Result {
        let (mut event, mut endpoint) = (Frame::new(), Frame::new());
        while peers.try_recv(&mut event)? {
            if !event.more() || !peers.try_recv(&mut endpoint)? {
                continue;
            }
            let event = event.as_ref().first_chunk().map(|octets| u16::from_ne_bytes(*octets));
            let news = MONITORED.iter().find(|(monitored, _)| Some(monitored.to_raw()) == event);
            let (Some(discovery), Some((_, news)), Ok(endpoint)) =
                (&mut self.discovery, news, std::str::from_utf8(endpoint.as_ref()))
            else {
                continue;
            };
            discovery.news(endpoint, *news, now_ms());
        }
        Ok(())
    }

    /// Takes in peers whose hosts were found. An application is told of those that were not, too.
    fn hosts_found(&mut self) {
        let Self { resolver, discovery, reported, events, warning, name, .. } = self;
        resolver.found(now_ms(), |sender, announced, endpoint| {
            if endpoint.is_none() {
                warning.warn(now_ms(), || {
                    format!(
                        "{name}: the host of {} is not found, where a peer says it is",
                        announced.escape_debug()
                    )
                });
            }
            let endpoint = endpoint.or(reported.as_ref().map(|_| announced));
            if let (Some(endpoint), Some(discovery)) = (endpoint, &mut *discovery) {
                add(discovery, reported.as_mut(), sender, [announced, endpoint], events);
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
                    if let Some(discovery) = &mut self.discovery {
                        discovery.welcome(now_ms());
                    }
                }
                frames => match TowerBeacon::decode(frames) {
                    Ok(beacon) => self.take(&beacon),
                    Err(error) => self
                        .warning
                        .warn(now_ms(), || format!("{}: dropped a tower's beacon: {error}", self.name)),
                },
            }
        }
        self.unread.end_turn(is_drained);
        Ok(is_welcome)
    }

    /// Takes in who a tower announces: a host that has a name, once it is known where that is.
    fn take(&mut self, beacon: &TowerBeacon) {
        let Some(discovery) = &mut self.discovery else { return };
        // A tower may see this node at several hosts, but it has one port.
        if let Some([_, address, _, port]) = &self.announced
            && !address.is_empty()
            && *address == *beacon.sender
            && beacon.endpoint.rsplit_once(':').is_none_or(|(_, other)| other.as_bytes() != port)
        {
            self.twin = Some(beacon.endpoint.to_owned());
        }
        if !discovery.is_peer(beacon.sender, beacon.endpoint)
            || self.is_consumer && is_consumer(beacon.sender)
        {
            discovery.tower_heard(now_ms());
            return;
        }
        let announced = with_zone(beacon.endpoint, self.zone.as_deref());
        let Some(endpoint) = canonical(&announced) else {
            discovery.tower_heard(now_ms());
            let text = || {
                format!(
                    "{}: a peer is ignored: {} is no endpoint of a single host",
                    self.name,
                    announced.escape_debug()
                )
            };
            self.warning.warn(now_ms(), text);
            return;
        };
        let mut known = self.resolver.resolve(beacon.sender, &endpoint, now_ms());
        if known.is_none() && self.reported.is_some() && self.resolver.is_missing(&endpoint, now_ms()) {
            known = Some(endpoint.as_str().into());
        }
        match known {
            Some(known) => {
                add(discovery, self.reported.as_mut(), beacon.sender, [&announced, &known], &mut self.events);
            }
            None => discovery.tower_heard(now_ms()),
        }
        self.tell_refused();
    }

    /// Logs that peers are refused.
    fn tell_refused(&mut self) {
        let Some(refused) = self.discovery.as_mut().and_then(Discovery::poll_refused) else { return };
        let (name, settings) = (self.name, self.settings);
        self.refused_warning.warn(now_ms(), || match refused {
            Refused::Host(host) => format!(
                "{name}: a peer at {host} is ignored: there are beacon/max_peers_per_host = {} of that host",
                settings.max_peers_per_host
            ),
            Refused::All(host) => format!(
                "{name}: a peer at {host} is ignored: there are beacon/max_peers = {} peers",
                settings.max_peers
            ),
            Refused::GaveWay(host) => format!(
                "{name}: a peer at {host} gave way to one of another host: there are beacon/max_peers = {} peers, \
                 and that host has most",
                settings.max_peers
            ),
        });
    }

    /// Sends the node's beacon when it is due, and drops silent peers.
    fn tick(&mut self) -> Result {
        let Some(discovery) = &mut self.discovery else { return Ok(()) };
        let before = self.events.len();
        let is_due = discovery.tick(now_ms(), &mut self.events);
        if let Some(reported) = &mut self.reported {
            reported.rewrite(&mut self.events, before, "");
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
    discovery: &mut Discovery,
    reported: Option<&mut Reported>,
    sender: &[u8],
    [announced, known]: [&str; 2],
    events: &mut Vec<Event>,
) {
    let before = events.len();
    discovery.beacon(sender, known, now_ms(), events);
    if let Some(reported) = reported {
        reported.rewrite(events, before, announced);
    }
}

/// The zone in an endpoint: what stands between `%` and `]` in `tcp://[fe80::1%eth0]:5557`.
fn zone(endpoint: &str) -> Option<&str> {
    let (_, rest) = endpoint.split_once('%')?;
    rest.split_once(']').map(|(zone, _)| zone)
}

/// An endpoint that has a zone, with `own` in its place: the tower names its own interface, which may have another name
/// here.
fn with_zone<'a>(endpoint: &'a str, own: Option<&str>) -> Cow<'a, str> {
    match (zone(endpoint), own) {
        (Some(zone), Some(own)) if zone != own => {
            endpoint.replacen(&format!("%{zone}]"), &format!("%{own}]"), 1).into()
        }
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
