//! The connections of a beacon to the towers.

use crate::actor::{MAX_FRAME_LEN_BYTES, Result};
use crate::czmq::fork::{GENERATIONS, PerProcess};
use crate::net::{Backlog, Frame, Kind, Monitor, Socket};
use crate::settings::{self, TowerAddress};
use crate::wire::WELCOME;
use std::collections::BTreeMap;
use std::sync::Mutex;
use zmq::{POLLIN, PollItem, SocketEvent};

/// The limit of the towers' unread beacons and subscriptions that libzmq holds. Beyond it, a connection is ended.
const MAX_HELD_BYTES: usize = 4 << 20;
/// Events of the connections to towers.
const EVENTS: &[SocketEvent] = &[SocketEvent::CONNECTED, SocketEvent::DISCONNECTED];
/// More frames than any beacon has.
const MAX_FRAMES: usize = 8;

/// The most beacons that may wait to be sent to one tower. Each member sends one per interval.
const MAX_UNSENT: i32 = 10_000;

/// How many times towers of this process have bound to each inproc:// address.
static BOUND: PerProcess<BTreeMap<Vec<u8>, u64>> =
    PerProcess::new([const { Mutex::new(BTreeMap::new()) }; GENERATIONS]);

/// Call this when a tower of this process has bound to an inproc:// address. Beacons that were connected to an earlier
/// tower at this address reconnect: unlike for other transports, libzmq does not do so itself.
pub(in crate::actor) fn note_bound(address: &TowerAddress) {
    *BOUND.lock().entry(address.as_ref().to_vec()).or_default() += 1;
}

fn bound_count(address: &TowerAddress) -> u64 {
    BOUND.lock().get(address.as_ref()).copied().unwrap_or(0)
}

/// A connection over inproc://.
struct Inproc {
    address: TowerAddress,
    is_outgoing: bool,
    /// The connection leads to the tower whose bind to the address has this number, from 1. See [`BOUND`].
    bound_count: u64,
}

/// One socket to send beacons, and one to receive beacons.
pub(super) struct Towers {
    outgoing: Socket,
    incoming: Socket,
    /// Limits what libzmq holds for `outgoing`.
    unread_subscriptions: Backlog,
    /// Limits what libzmq holds for `incoming`.
    unread: Backlog,
    /// Reports connects and disconnects; `None` if all towers have inproc addresses, which have no such events.
    monitor: Option<Monitor>,
    connected_count: usize,
    inproc: Vec<Inproc>,
}

impl Drop for Towers {
    fn drop(&mut self) {
        if self.monitor.is_some() {
            self.incoming.stop_monitor();
        }
    }
}

impl Towers {
    /// Connects to all towers in the settings. Logs addresses to which it cannot connect, and skips them.
    pub(super) fn connect(settings: &settings::Beacon, name: &str) -> Result<Towers> {
        let outgoing = Socket::new(Kind::PUB)?;
        let incoming = Socket::new(Kind::SUB)?;
        // A node that ends must not wait for an absent tower, whatever linger time the application has set: its beacons
        // and subscriptions are not needed any more.
        outgoing.zmq().set_linger(0)?;
        incoming.zmq().set_linger(0)?;
        outgoing.zmq().set_sndhwm(MAX_UNSENT)?;
        for socket in [&outgoing, &incoming] {
            socket.enable_heartbeats()?;
            socket.limit_untrusted_peers(MAX_FRAME_LEN_BYTES)?;
        }
        let has_monitor = !settings.pub_addresses.iter().all(TowerAddress::is_inproc);
        let monitor = has_monitor.then(|| Monitor::start(&incoming, EVENTS)).transpose()?;
        // Subscribe before connecting: a tower sends its welcome when a connection is made, not when a subscription
        // arrives.
        incoming.zmq().set_subscribe(WELCOME)?;
        incoming.zmq().set_subscribe(b"B")?;
        let mut towers = Towers {
            outgoing,
            incoming,
            unread_subscriptions: Backlog::connecting(name, MAX_HELD_BYTES, 0),
            unread: Backlog::connecting(name, MAX_HELD_BYTES, 0),
            monitor,
            connected_count: 0,
            inproc: Vec::new(),
        };
        for (socket, addresses, unread) in [
            (&towers.outgoing, &settings.sub_addresses, &towers.unread_subscriptions),
            (&towers.incoming, &settings.pub_addresses, &towers.unread),
        ] {
            let is_outgoing = std::ptr::eq(socket, &towers.outgoing);
            for address in addresses {
                if address.is_inproc() {
                    // A connection that is made before a tower binds leads to the first tower.
                    let bound_count = bound_count(address).max(1);
                    towers.inproc.push(Inproc { address: address.clone(), is_outgoing, bound_count });
                }
                unread.connect(&address.to_text());
                if let Err(error) = socket.connect(address) {
                    log::error!("{name}: cannot connect to a tower at {address}: {error}");
                }
            }
        }
        Ok(towers)
    }

    /// Whether the application has enabled IPv6.
    pub(super) fn is_ipv6(&self) -> Result<bool> {
        Ok(self.incoming.zmq().is_ipv6()?)
    }

    /// The items to poll for input.
    pub(super) fn items(&self) -> impl Iterator<Item = PollItem<'_>> {
        [self.incoming.item(POLLIN)].into_iter().chain(self.monitor.as_ref().map(Monitor::item))
    }

    /// Handles the next connect or disconnect of a tower. Returns true when no tower is connected now, and `None` when
    /// nothing has changed.
    pub(super) fn poll_change(&mut self) -> Result<Option<bool>> {
        let Some((event, _)) = self.monitor.as_ref().map(Monitor::try_recv).transpose()?.flatten() else {
            return Ok(None);
        };
        if event == SocketEvent::CONNECTED {
            self.connected_count += 1;
            return Ok(Some(false));
        }
        self.connected_count = self.connected_count.saturating_sub(1);
        Ok(Some(self.connected_count == 0))
    }

    /// Connects to the towers of this process that were restarted. A failure has no consequence: it means that the old
    /// connection has ended.
    pub(super) fn reconnect_restarted(&mut self) {
        for inproc in &mut self.inproc {
            let bound_count = bound_count(&inproc.address);
            if bound_count > inproc.bound_count {
                inproc.bound_count = bound_count;
                let socket = if inproc.is_outgoing { &self.outgoing } else { &self.incoming };
                let _ = socket.disconnect(&inproc.address);
                let _ = socket.connect(&inproc.address);
            }
        }
    }

    /// Receives one message into `frames`: its first frames, up to [`MAX_FRAMES`]. Returns false when there is no
    /// message.
    pub(super) fn receive(&self, frames: &mut Vec<Frame>) -> Result<bool> {
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
        let Some(first) = frames.first() else { return Ok(false) };
        let len_bytes = frames.iter().map(|frame| frame.as_ref().len()).sum();
        self.unread.took(first.origin(), len_bytes, frames.len());
        Ok(true)
    }

    /// Call this after a batch of [`Towers::receive`]. `is_drained`: nothing is left to receive.
    pub(super) fn end_turn(&self, is_drained: bool) {
        self.unread.end_turn(is_drained);
    }

    /// Sends a beacon. This never waits: without a tower, the beacon is lost.
    pub(super) fn send(&self, beacon: &[Vec<u8>]) -> Result {
        let frames: Vec<&[u8]> = beacon.iter().map(Vec::as_slice).collect();
        self.outgoing.send_frames(&frames)?;
        // A PUB socket processes all received subscriptions before it sends, and does not report them.
        self.unread_subscriptions.end_turn(true);
        Ok(())
    }
}
