//! The connections of a beacon to the towers.

use crate::actor::{MAX_FRAME_LEN_BYTES, Result};
use crate::net::{Backlog, Frame, Kind, Monitor, Socket};
use crate::settings::{self, TowerAddress};
use crate::wire::WELCOME;
use zmq::{POLLIN, PollItem, SocketEvent};

/// The limit of the towers' unread beacons and subscriptions that libzmq holds. Beyond it, a connection is ended.
pub(in crate::actor) const MAX_HELD_BYTES: usize = 4 << 20;
/// Events of the connections to towers.
const EVENTS: &[SocketEvent] = &[SocketEvent::CONNECTED, SocketEvent::DISCONNECTED];
/// More frames than any beacon has.
const MAX_FRAMES: usize = 8;

/// One socket to send the node's beacon, and one to receive beacons.
pub(super) struct Towers<'a> {
    name: &'a str,
    outgoing: Socket,
    incoming: Socket,
    /// Limits what libzmq holds for `outgoing`.
    unread_subscriptions: Backlog,
    /// Limits what libzmq holds for `incoming`.
    unread: Backlog,
    /// Reports connects and disconnects; `None` if all towers have inproc addresses, which have no such events.
    monitor: Option<Monitor>,
    connected_count: usize,
}

impl Drop for Towers<'_> {
    fn drop(&mut self) {
        if self.monitor.is_some() {
            self.incoming.stop_monitor();
        }
    }
}

impl<'a> Towers<'a> {
    /// Connects to all towers in the settings. Logs addresses to which it cannot connect, and skips them.
    pub(super) fn connect(settings: &settings::Beacon, name: &'a str) -> Result<Towers<'a>> {
        let outgoing = Socket::new(Kind::PUB)?;
        let incoming = Socket::new(Kind::SUB)?;
        // A node that ends must not wait for an absent tower, whatever linger time the application has set: its beacons
        // and subscriptions are not needed any more.
        outgoing.zmq().set_linger(0)?;
        incoming.zmq().set_linger(0)?;
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
        let towers = Towers {
            name,
            outgoing,
            incoming,
            unread_subscriptions: Backlog::connecting(name, MAX_HELD_BYTES, 0),
            unread: Backlog::connecting(name, MAX_HELD_BYTES, 0),
            monitor,
            connected_count: 0,
        };
        for (socket, addresses, unread) in [
            (&towers.outgoing, &settings.sub_addresses, &towers.unread_subscriptions),
            (&towers.incoming, &settings.pub_addresses, &towers.unread),
        ] {
            for address in addresses {
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

    /// Handles the next connect or disconnect of a tower. Returns whether no tower is connected after it.
    pub(super) fn poll_change(&mut self) -> Result<Option<bool>> {
        let Some((event, _)) = self.monitor.as_ref().map(Monitor::try_recv).transpose()?.flatten() else {
            return Ok(None);
        };
        if event == SocketEvent::CONNECTED {
            self.connected_count += 1;
            return Ok(Some(false));
        }
        self.connected_count = self.connected_count.saturating_sub(1);
        if self.connected_count == 0 {
            log::warn!("{}: no tower is left; known peers stay connected", self.name);
        }
        Ok(Some(self.connected_count == 0))
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

    /// Sends the node's beacon. This never waits: without a tower, the beacon is lost.
    pub(super) fn send(&self, beacon: &[Vec<u8>]) -> Result {
        let frames: Vec<&[u8]> = beacon.iter().map(Vec::as_slice).collect();
        self.outgoing.send_frames(&frames)?;
        // A PUB socket processes all received subscriptions before it sends, and does not report them.
        self.unread_subscriptions.end_turn(true);
        Ok(())
    }
}
