//! A node's connections to its towers, and why there is none.
//!
//! Where a tower's two addresses are swapped, libzmq connects and ends the connection, again and again, and tells nothing:
//! the two sockets do not fit together. So a probe of the other type connects there. When it fits, the address is the
//! tower's other one.

use super::Result;
use crate::net::{Frame, Kind, Socket};
use crate::settings::{self, Endpoint};
use std::sync::atomic::{AtomicU64, Ordering};
use zmq::{POLLIN, PollItem, SocketEvent};

/// How long a probe waits for a handshake.
const PROBE_MS: u64 = 5_000;
/// How many intervals after the welcome a tower must have announced the node itself...
const ECHO_INTERVALS: u64 = 3;
/// ... and how long at least.
const MIN_ECHO_MS: u64 = 2_000;

/// The connections to the towers.
pub(super) struct Towers<'a> {
    settings: &'a settings::Beacon,
    name: &'a str,
    /// Of the socket that receives from the towers. `None` where libzmq tells nothing of connections: at inproc addresses,
    /// of a tower in this process or of a relay of what towers announce.
    monitor: Option<Socket>,
    /// Where a tower has answered.
    connected: Vec<Box<[u8]>>,
    probe: Option<Probe>,
    /// Whether `beacon/pub_address` was probed, and `beacon/sub_address`.
    is_probed: [bool; 2],
    /// A line has said which address is the wrong one.
    is_explained: bool,
    /// When a tower welcomed the node first, until a tower has announced it.
    unheard_since_ms: Option<u64>,
    is_heard: bool,
}

/// An event of a connection, and its endpoint.
type Told = (Option<SocketEvent>, Box<[u8]>);

/// One of the two addresses of each tower.
#[derive(Clone, Copy)]
enum Side {
    /// `beacon/pub_address`
    Pub,
    /// `beacon/sub_address`
    Sub,
}

struct Probe {
    socket: Socket,
    monitor: Socket,
    side: Side,
    end_ms: u64,
}

impl<'a> Towers<'a> {
    /// Follows the connections of `incoming`, which are still to be made. When it [is watched](Towers::are_watched), the
    /// monitor must be stopped before the result is dropped: see [`Socket::stop_monitor`].
    pub(super) fn watch(
        incoming: &Socket,
        settings: &'a settings::Beacon,
        name: &'a str,
    ) -> Result<Towers<'a>> {
        let monitor = match settings.pub_addresses.iter().all(Endpoint::is_inproc) {
            true => None,
            false => Some(monitor(incoming, &[SocketEvent::HANDSHAKE_SUCCEEDED, SocketEvent::DISCONNECTED])?),
        };
        Ok(Towers {
            settings,
            name,
            monitor,
            connected: Vec::new(),
            probe: None,
            is_probed: [false; 2],
            is_explained: false,
            unheard_since_ms: None,
            is_heard: false,
        })
    }

    /// Whether `incoming` has a monitor.
    pub(super) fn are_watched(&self) -> bool {
        self.monitor.is_some()
    }

    /// What to poll.
    pub(super) fn items(&self) -> impl Iterator<Item = PollItem<'_>> {
        let probe = self.probe.as_ref().map(|probe| &probe.monitor);
        self.monitor.iter().chain(probe).map(|monitor| monitor.item(POLLIN))
    }

    /// Whether no tower is connected.
    pub(super) fn are_lost(&self) -> bool {
        self.connected.is_empty()
    }

    /// Whether the log says already why there is no tower.
    pub(super) fn is_explained(&self) -> bool {
        self.is_explained
    }

    /// A tower has welcomed the node.
    pub(super) fn welcome(&mut self, now_ms: u64) {
        if !self.is_heard {
            self.unheard_since_ms.get_or_insert(now_ms);
        }
    }

    /// A tower has announced this node: it hears it.
    pub(super) fn heard_itself(&mut self) {
        (self.is_heard, self.unheard_since_ms) = (true, None);
    }

    /// Takes in what happened. True when a tower came or went.
    pub(super) fn follow(&mut self, is_announced: bool, now_ms: u64) -> Result<bool> {
        let mut is_news = false;
        for (event, endpoint) in self.events()? {
            let at = self.connected.iter().position(|known| *known == endpoint);
            match (event, at) {
                (Some(SocketEvent::HANDSHAKE_SUCCEEDED), _) => self.connected.push(endpoint),
                (Some(SocketEvent::DISCONNECTED), Some(at)) => {
                    self.connected.remove(at);
                    if self.are_lost() {
                        log::warn!("{}: no tower is left; peers that are known stay connected", self.name);
                    }
                }
                (Some(SocketEvent::DISCONNECTED), None) => {
                    self.start_probe(Side::Pub, now_ms);
                    continue;
                }
                _ => continue,
            }
            is_news = true;
        }
        // A relay does not announce this process's own consumers.
        let can_hear = self.are_watched() && is_announced;
        let echo_ms = (ECHO_INTERVALS * self.settings.interval_ms).max(MIN_ECHO_MS);
        if can_hear && self.unheard_since_ms.is_some_and(|since_ms| now_ms >= since_ms + echo_ms) {
            self.start_probe(Side::Sub, now_ms);
        }
        self.follow_probe(now_ms)?;
        Ok(is_news)
    }

    /// What the monitor has told since, and of which endpoint.
    fn events(&self) -> zmq::Result<Vec<Told>> {
        let (mut events, mut frame, mut endpoint) = (Vec::new(), Frame::new(), Frame::new());
        let Some(monitor) = &self.monitor else { return Ok(events) };
        while monitor.try_recv(&mut frame)? {
            if frame.more() && monitor.try_recv(&mut endpoint)? {
                events.push((event(&frame), endpoint.as_ref().into()));
            }
        }
        Ok(events)
    }

    /// Each side is probed once: a node of many does not do so again and again.
    fn start_probe(&mut self, side: Side, now_ms: u64) {
        if self.probe.is_none() && !std::mem::replace(&mut self.is_probed[side as usize], true) {
            // Without sockets for it, the node goes on as it would without a probe.
            self.probe = Probe::start(side, self.settings, now_ms).ok();
        }
    }

    fn follow_probe(&mut self, now_ms: u64) -> Result {
        let Some(probe) = &self.probe else { return Ok(()) };
        let (mut frame, mut endpoint) = (Frame::new(), Frame::new());
        if probe.monitor.try_recv(&mut frame)? && frame.more() && probe.monitor.try_recv(&mut endpoint)? {
            let (key, other) = match probe.side {
                Side::Pub => ("beacon/pub_address", "sub_address"),
                Side::Sub => ("beacon/sub_address", "pub_address"),
            };
            log::error!(
                "{}: {key} names {}, which is the {other} of a tower: are beacon/pub_address and \
                 beacon/sub_address (--pub and --sub) swapped?",
                self.name,
                endpoint.as_ref().escape_ascii()
            );
            (self.probe, self.is_explained) = (None, true);
        } else if now_ms >= probe.end_ms {
            self.probe = None;
        }
        Ok(())
    }
}

impl Probe {
    /// Connects to one side of the towers with the type of socket that fits the other one.
    fn start(side: Side, settings: &settings::Beacon, now_ms: u64) -> Result<Probe> {
        let (kind, addresses): (_, &[Endpoint]) = match side {
            Side::Pub => (Kind::PUB, &settings.pub_addresses),
            Side::Sub => (Kind::SUB, &settings.sub_addresses),
        };
        let socket = Socket::new(kind)?;
        socket.zmq().set_linger(0)?;
        socket.expect_anybody(super::MAX_FRAME_LEN_BYTES)?;
        let monitor = monitor(&socket, &[SocketEvent::HANDSHAKE_SUCCEEDED])?;
        let probe = Probe { socket, monitor, side, end_ms: now_ms + PROBE_MS };
        for address in addresses {
            // One that libzmq refuses was refused before.
            let _ = probe.socket.connect(address);
        }
        Ok(probe)
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        self.socket.stop_monitor();
    }
}

/// The other end of a socket's monitor.
fn monitor(socket: &Socket, events: &[SocketEvent]) -> Result<Socket> {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    let monitor = Socket::new(Kind::PAIR)?;
    let endpoint = format!("inproc://dafka-towers-{}", COUNTER.fetch_add(1, Ordering::Relaxed));
    let mask = events.iter().fold(0, |mask, event| mask | event.to_raw());
    socket.zmq().monitor(&endpoint, i32::from(mask))?;
    if let Err(error) = monitor.connect(&endpoint) {
        socket.stop_monitor();
        return Err(error.into());
    }
    Ok(monitor)
}

/// The event in the first frame of a monitor's message.
fn event(frame: &Frame) -> Option<SocketEvent> {
    frame.as_ref().first_chunk().map(|octets| SocketEvent::from_raw(u16::from_ne_bytes(*octets)))
}
