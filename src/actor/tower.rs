//! The tower: introduces nodes to each other. XSUB in, XPUB out, beacons rewritten on the way.

use super::{BATCH_COUNT, Error, MAX_FRAME_LEN_BYTES, MAX_SUBSCRIPTIONS_LEN_BYTES, Result};
use crate::czmq;
use crate::net::{Frame, Kind, Pipe, Socket, Subscribers, TERM, Warning, now_ms, poll};
use crate::settings;
use crate::wire::{NodeBeacon, TowerBeacon};
use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr};
use zmq::POLLIN;

/// Subscriptions that go on to those who publish. Nodes make none but `W` and `B`, which are not among these.
const MAX_FORWARDED: usize = 1_000;

/// Frames of a node's beacon.
const BEACON_FRAMES: usize = 4;

/// Runs a tower until `$TERM`.
///
/// # Errors
/// When it cannot bind.
pub fn run(pipe: &Pipe, settings: &settings::Tower) -> Result {
    let mut tower = Tower::bind(settings)?;
    pipe.signal()?;
    loop {
        let items = &mut [pipe.item(POLLIN), tower.incoming.item(POLLIN), tower.outgoing.item(POLLIN)];
        poll(items, -1)?;
        let mut frame = Frame::new();
        while pipe.try_recv(&mut frame)? {
            if frame.as_ref() == TERM {
                return Ok(());
            }
            log::error!("Tower: unknown command: {}", frame.as_ref().escape_ascii());
            pipe.skip_rest(&frame);
        }
        tower.forward_subscriptions()?;
        tower.forward_beacons()?;
    }
}

struct Tower<'a> {
    settings: &'a settings::Tower,
    incoming: Socket,
    outgoing: Socket,
    /// What stands for a host that other hosts cannot reach.
    own_host: String,
    /// Subscriptions that went on to those who publish.
    forwarded: HashSet<Box<[u8]>>,
    subscribers: Subscribers,
    warning: Warning,
}

impl<'a> Tower<'a> {
    fn bind(settings: &'a settings::Tower) -> Result<Tower<'a>> {
        // A tower that only this host can reach has only this host's nodes.
        let is_local = is_local(&settings.sub_address) && is_local(&settings.pub_address);
        let own_host = match czmq::first_interface_address() {
            Some(address) if !is_local => address,
            _ => Ipv4Addr::LOCALHOST.to_string(),
        };
        let (incoming, outgoing) = (Socket::new(Kind::XSUB)?, Socket::new(Kind::XPUB)?);
        incoming.expect_anybody(MAX_FRAME_LEN_BYTES)?;
        outgoing.expect_subscribers()?;
        let tower = Tower {
            settings,
            incoming,
            outgoing,
            own_host,
            forwarded: HashSet::new(),
            subscribers: Subscribers::new(MAX_SUBSCRIPTIONS_LEN_BYTES),
            warning: Warning::default(),
        };
        // Beacons always come in, whoever listens.
        tower.incoming.send_frames(&[b"\x01B"])?;
        for (socket, address) in tower.addresses() {
            let bound = socket.bind(address);
            bound.map_err(|error| Error::Socket(format!("Tower: cannot bind to {address}"), error))?;
        }
        // Not before: a node may have connected to this inproc:// address before it was bound, and have gone since. To
        // welcome that one aborts the process in libzmq 4.3. Those that still wait are welcomed with a message.
        tower.outgoing.zmq().set_xpub_welcome_msg(Some("W"))?;
        tower.outgoing.send_frames(&[b"W"])?;
        if settings.verbose {
            log::debug!("Tower: bound to {} and {}", settings.sub_address, settings.pub_address);
        }
        Ok(tower)
    }

    fn addresses(&self) -> [(&Socket, &str); 2] {
        [(&self.incoming, &self.settings.sub_address), (&self.outgoing, &self.settings.pub_address)]
    }

    /// Nodes' subscriptions go on to those who publish; the welcome's do not (RFC 46/DAFKA), and beacons are
    /// subscribed to in any case.
    fn forward_subscriptions(&mut self) -> Result {
        let mut frame = Frame::new();
        for _ in 0..BATCH_COUNT {
            if !self.outgoing.try_recv(&mut frame)? {
                break;
            }
            if self.subscribers.take(&frame) {
                self.warning
                    .warn(now_ms(), || "Tower: a peer with too many subscriptions was cut off".into());
            }
            if !frame.more() && self.is_news(frame.as_ref()) {
                self.incoming.try_send(&mut frame, false)?;
            }
            self.outgoing.skip_rest(&frame);
        }
        Ok(())
    }

    /// Whether a subscription, or its end, goes on. Every node keeps each of them, so they must not be many.
    fn is_news(&mut self, subscription: &[u8]) -> bool {
        match subscription {
            [0 | 1, topic @ ..] if topic == b"W" || topic == b"B" => false,
            [1, topic @ ..] if self.forwarded.len() < MAX_FORWARDED => self.forwarded.insert(topic.into()),
            [1, ..] => {
                self.warning.warn(now_ms(), || "Tower: too many subscriptions; a new one is ignored".into());
                false
            }
            [0, topic @ ..] => self.forwarded.remove(topic),
            _ => false,
        }
    }

    fn forward_beacons(&mut self) -> Result {
        let mut frames: [Frame; BEACON_FRAMES] = Default::default();
        for _ in 0..BATCH_COUNT {
            if !self.incoming.try_recv(&mut frames[0])? {
                break;
            }
            let mut count = 1;
            while count < BEACON_FRAMES && frames[count - 1].more() {
                self.incoming.try_recv(&mut frames[count])?;
                count += 1;
            }
            // Frames after those of the beacon are dropped, as 0.1.0 does.
            self.incoming.skip_rest(&frames[count - 1]);
            self.forward(&frames[..count])?;
        }
        Ok(())
    }

    fn forward(&mut self, frames: &[Frame]) -> Result {
        let octets: Vec<&[u8]> = frames.iter().map(Frame::as_ref).collect();
        let beacon = match NodeBeacon::decode(&octets) {
            Ok(beacon) => beacon,
            Err(error) => {
                self.warning.warn(now_ms(), || format!("Tower: dropped a beacon: {error}"));
                return Ok(());
            }
        };
        let host = match std::str::from_utf8(beacon.host) {
            Ok(host) if !host.is_empty() => host.to_owned(),
            _ => self.host_of_peer(frames[0].peer_address()),
        };
        let endpoint = format!("tcp://{}:{}", bracketed(&host), beacon.port);
        if self.settings.verbose {
            log::debug!("Tower: beacon of {} at {endpoint}", beacon.sender.escape_ascii());
        }
        let frames = TowerBeacon { sender: beacon.sender, endpoint: &endpoint }.encode();
        let frames: Vec<&[u8]> = frames.iter().map(Vec::as_slice).collect();
        self.outgoing.send_frames(&frames)?;
        Ok(())
    }

    /// The host that a beacon came from, as other hosts can reach it.
    fn host_of_peer(&self, peer_address: Option<&str>) -> String {
        let address = peer_address.and_then(|address| address.parse::<IpAddr>().ok());
        match address.map(|address| address.to_canonical()) {
            Some(address) if !address.is_loopback() => address.to_string(),
            _ => self.own_host.clone(),
        }
    }
}

/// A tower that follows this one at once finds an inproc:// address free: ZeroMQ closes sockets a moment later, but unbinds
/// such an address when it is told to.
impl Drop for Tower<'_> {
    fn drop(&mut self) {
        for (socket, address) in self.addresses() {
            if address.starts_with("inproc://") {
                // Nothing is lost when this fails: closing unbinds too.
                let _ = socket.zmq().unbind(address);
            }
        }
    }
}

/// True for an address that only this host can reach.
fn is_local(address: &str) -> bool {
    match address.split_once("://") {
        Some(("tcp", rest)) => {
            let host = rest.rsplit_once(':').map_or(rest, |(host, _)| host);
            let host = host.trim_start_matches('[').trim_end_matches(']');
            host == "localhost" || host == "lo" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
        }
        Some(("inproc" | "ipc", _)) => true,
        _ => false,
    }
}

/// An IPv6 address goes into brackets before a port.
fn bracketed(host: &str) -> String {
    if host.contains(':') && !host.starts_with('[') { format!("[{host}]") } else { host.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn local_addresses_are_recognized() {
        for address in
            ["tcp://127.0.0.1:5556", "tcp://[::1]:*", "tcp://localhost:1", "inproc://tower", "ipc://@t"]
        {
            assert!(is_local(address), "{address}");
        }
        for address in ["tcp://*:5556", "tcp://0.0.0.0:1", "tcp://10.0.0.1:5556", "tcp://eth0:5556"] {
            assert!(!is_local(address), "{address}");
        }
    }

    #[test]
    fn ipv6_hosts_are_bracketed() {
        assert_eq!(bracketed("::1"), "[::1]");
        assert_eq!(bracketed("[::1]"), "[::1]");
        assert_eq!(bracketed("127.0.0.1"), "127.0.0.1");
    }
}
