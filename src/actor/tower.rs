//! The tower: introduces nodes to each other. It receives their beacons on an XSUB socket, rewrites them, and sends
//! them to all nodes on an XPUB socket.

use super::beacon::note_bound;
use super::endpoints_file::EndpointsFile;
use super::{BATCH_COUNT, Error, MAX_FRAME_LEN_BYTES, Result, timeout_ms};
use crate::czmq;
use crate::net::{
    Backlog, Frame, Inbound, InboundLimits, Kind, Pipe, Socket, Subscribers, TERM, Warning,
    first_ipv6_address, now_ms, poll,
};
use crate::settings::{self, TowerAddress};
use crate::text::printable;
use crate::wire::{self, NodeBeacon, TowerBeacon};
use std::net::{IpAddr, Ipv4Addr};
use zmq::{POLLIN, PollItem};

mod forwarded;

use forwarded::{Forward, Forwarded};

/// The limit of unread beacons that libzmq holds, in received bytes. The beacons of 7,000 nodes fit. Beyond the limit,
/// the connection with the most unread data is ended. If the frames are short, libzmq may occupy 32 times as much
/// memory.
const MAX_HELD_BYTES: usize = 1 << 20;

/// After `$TERM`, a tower continues until this time has passed since the last node connected. Otherwise that node would
/// receive the endpoints of only some of its peers, and would wait for the others in vain.
const INTRODUCTION_MS: u64 = 250;

/// The most frames of a node's beacon that the tower reads.
const BEACON_FRAMES: usize = 5;

/// Runs a tower until `$TERM`, and until nodes that have just connected are introduced.
///
/// # Errors
/// When the tower cannot bind.
pub fn run(pipe: &Pipe, settings: &settings::Tower) -> Result {
    let mut tower = Tower::bind(settings)?;
    pipe.signal_ready()?;
    let mut is_drained = false;
    let mut end_ms = None;
    loop {
        let items = &mut [pipe.item(POLLIN), tower.incoming.item(POLLIN), tower.outgoing.item(POLLIN)];
        tower.poll(items, is_drained, timeout_ms(end_ms, now_ms()))?;
        let mut frame = Frame::new();
        while pipe.try_recv(&mut frame)? {
            if frame.as_ref() == TERM {
                end_ms = Some(tower.introduced_ms());
                continue;
            }
            log::error!("Tower: unknown command: {}", frame.as_ref().escape_ascii());
            pipe.skip_rest(&frame);
        }
        is_drained = tower.forward_subscriptions()?;
        is_drained &= tower.forward_beacons()?;
        if end_ms.is_some_and(|end_ms| now_ms() >= end_ms) {
            return Ok(());
        }
    }
}

struct Tower<'a> {
    settings: &'a settings::Tower,
    incoming: Socket,
    outgoing: Socket,
    own_host: OwnHost,
    forwarded: Forwarded,
    subscribers: Subscribers,
    /// Limits the connections of `incoming` and of `outgoing`.
    inbound: [Option<Inbound>; 2],
    /// When a node last connected. The tower detects a new node by its subscription.
    newest_ms: Option<u64>,
    /// The file is removed when the tower ends.
    endpoints_file: Option<EndpointsFile>,
    /// Limits what libzmq holds for `incoming` and for `outgoing`.
    unread: [Backlog; 2],
    warning: Warning,
    /// For lines about disconnected peers. Separate from `warning`: otherwise, lines about ignored subscriptions, which
    /// come first, would always suppress these lines.
    cut_off_warning: Warning,
}

impl<'a> Tower<'a> {
    fn bind(settings: &'a settings::Tower) -> Result<Tower<'a>> {
        let (incoming, outgoing) = (Socket::new(Kind::XSUB)?, Socket::new(Kind::XPUB)?);
        incoming.limit_untrusted_peers(MAX_FRAME_LEN_BYTES)?;
        incoming.use_long_accept_queue()?;
        incoming.use_small_receive_buffer()?;
        outgoing.limit_untrusted_subscribers()?;
        // Ends the connection of a host that has disappeared. A host that comes back detects that its old connection is
        // dead.
        incoming.enable_heartbeats()?;
        outgoing.enable_heartbeats()?;
        // Reports the subscription of each node, so that none of them counts as idle. The end of a subscription is
        // reported only when no other node subscribes to the same topic. That is enough: the tower forwards no other
        // ends, and a node keeps its subscriptions until the node ends.
        outgoing.zmq().set_xpub_verbose(true)?;
        let unread = [MAX_HELD_BYTES; 2].map(|limit_bytes| Backlog::connecting("Tower", limit_bytes, 0));
        let mut tower = Tower {
            settings,
            incoming,
            outgoing,
            own_host: OwnHost::of(settings),
            forwarded: Forwarded::new(now_ms()),
            subscribers: Subscribers::new(settings.max_subscription_bytes),
            inbound: [None, None],
            newest_ms: None,
            endpoints_file: None,
            unread,
            warning: Warning::default(),
            cut_off_warning: Warning::default(),
        };
        // Subscribes to the beacons of all nodes, even while no node receives them.
        tower.incoming.send_frames(&[b"\x01B"])?;
        let mut bound = [Vec::new(), Vec::new()];
        for ((socket, address), bound) in tower.addresses().into_iter().zip(&mut bound) {
            *bound = socket
                .bind_chosen(address)
                .map_err(|error| Error::Bind(format!("Tower: cannot bind to {address}"), error))?;
            if address.is_inproc() {
                note_bound(address);
            }
        }
        let limits = InboundLimits {
            max_count: settings.max_connections,
            max_key: "tower/max_connections",
            max_per_host_count: settings.max_connections_per_host,
            max_per_host_key: "tower/max_connections_per_host",
        };
        let unread_limits = [MAX_HELD_BYTES, settings.max_subscription_bytes];
        tower.unread = [(&tower.incoming, unread_limits[0]), (&tower.outgoing, unread_limits[1])]
            .map(|(socket, limit_bytes)| Backlog::listening("Tower", socket, limit_bytes));
        tower.inbound = [&tower.incoming, &tower.outgoing].map(|socket| Inbound::at("Tower", socket, limits));
        // Set the welcome only after the bind. A node may have connected to this inproc:// address before the bind, and
        // may have ended since. In libzmq 4.3, a welcome to such a node aborts the process. Nodes that connected before
        // the bind and still run receive the welcome that is sent here as a message.
        tower.outgoing.zmq().set_xpub_welcome_msg(Some("W"))?;
        tower.outgoing.send_frames(&[b"W"])?;
        tower.announce(&bound)?;
        Ok(tower)
    }

    /// Logs where the tower listens, and writes its endpoints file. Without these, a port that the system chose would
    /// be unknown.
    fn announce(&mut self, [sub, publ]: &[Vec<u8>; 2]) -> Result {
        let settings = self.settings;
        let level = match settings.sub_address.has_any_port() || settings.pub_address.has_any_port() {
            true => log::Level::Info,
            false => log::Level::Debug,
        };
        if level == log::Level::Info || settings.verbose {
            log::log!(level, "Tower: bound to {} and {}", printable(sub), printable(publ));
        }
        if let Some(path) = &settings.endpoints_file {
            let written = EndpointsFile::write(path, sub, publ).map_err(|error| {
                let path = printable(path.as_encoded_bytes());
                Error::File(format!("Tower: cannot write its endpoints to {path}"), error)
            })?;
            self.endpoints_file = Some(written);
        }
        Ok(())
    }

    fn addresses(&self) -> [(&Socket, &TowerAddress); 2] {
        [(&self.incoming, &self.settings.sub_address), (&self.outgoing, &self.settings.pub_address)]
    }

    /// When the latest node is introduced to all others; 0 when there is none.
    fn introduced_ms(&self) -> u64 {
        self.newest_ms.map_or(0, |newest_ms| newest_ms + INTRODUCTION_MS)
    }

    /// Waits until an item is ready, or `timeout_ms` have passed (negative: without limit). `is_drained`: everything
    /// that was received has been read.
    fn poll(&self, items: &mut [PollItem], is_drained: bool, timeout_ms: i64) -> Result {
        let inbound = self.inbound.each_ref().map(|inbound| inbound.as_ref().filter(|_| is_drained));
        let _waiting = inbound.map(|inbound| inbound.map(Inbound::waiting));
        Ok(poll(items, timeout_ms)?)
    }

    /// Forwards subscriptions of nodes to the nodes that publish. Does not forward subscriptions to the welcome (RFC
    /// 46/DAFKA), nor to beacons, because the tower has subscribed to these itself. Returns true when no subscription
    /// is left to read.
    fn forward_subscriptions(&mut self) -> Result<bool> {
        let mut frame = Frame::new();
        let mut is_drained = false;
        for _ in 0..BATCH_COUNT {
            is_drained = !self.outgoing.try_recv(&mut frame)?;
            if is_drained {
                break;
            }
            self.unread[1].took_subscription(&frame);
            if let [_, Some(inbound)] = &self.inbound {
                inbound.received(&frame);
            }
            if frame.as_ref().first() == Some(&1) {
                self.newest_ms = Some(now_ms());
            }
            if let Some(peer) = self.subscribers.handle(&frame) {
                self.cut_off_warning.warn(now_ms(), || {
                    format!(
                        "Tower: the peer at {peer} was disconnected: all subscriptions together take more than \
                         tower/max_subscription_bytes = {}, and this peer has the most",
                        self.settings.max_subscription_bytes
                    )
                });
            }
            if !frame.more() {
                match self.forwarded.take(frame.as_ref(), now_ms()) {
                    Forward::Yes => drop(self.incoming.try_send(&mut frame, false)?),
                    Forward::No => {}
                    Forward::TooMany => self
                        .warning
                        .warn(now_ms(), || "Tower: too many subscriptions; a new one is ignored".into()),
                }
            }
            self.outgoing.skip_rest(&frame);
        }
        self.unread[1].end_turn(is_drained);
        Ok(is_drained)
    }

    /// Forwards beacons of nodes to all nodes. Returns true when no beacon is left to read.
    fn forward_beacons(&mut self) -> Result<bool> {
        let mut frames: [Frame; BEACON_FRAMES] = Default::default();
        let mut is_drained = false;
        for _ in 0..BATCH_COUNT {
            is_drained = !self.incoming.try_recv(&mut frames[0])?;
            if is_drained {
                break;
            }
            let mut count = 1;
            while count < BEACON_FRAMES && frames[count - 1].more() {
                self.incoming.try_recv(&mut frames[count])?;
                count += 1;
            }
            // Drops all further frames, as 0.1.0 does.
            self.incoming.skip_rest(&frames[count - 1]);
            let len_bytes = frames[..count].iter().map(|frame| frame.as_ref().len()).sum();
            self.unread[0].took(frames[0].origin(), len_bytes, count);
            self.forward(&frames[..count])?;
        }
        self.unread[0].end_turn(is_drained);
        Ok(is_drained)
    }

    fn forward(&mut self, frames: &[Frame]) -> Result {
        let bytes: Vec<&[u8]> = frames.iter().map(Frame::as_ref).collect();
        let beacon = match NodeBeacon::decode(&bytes) {
            Ok(beacon) => beacon,
            Err(error) => {
                self.warning.warn(now_ms(), || format!("Tower: dropped a beacon: {error}"));
                return Ok(());
            }
        };
        if let [Some(inbound), _] = &self.inbound {
            inbound.received(&frames[0]);
        }
        let host = match std::str::from_utf8(beacon.host) {
            Ok(host) if !host.is_empty() => host.to_owned(),
            _ => self.host_of_peer(frames[0].peer_address()),
        };
        let endpoint = format!("tcp://{}:{}", bracketed(&host), beacon.port);
        if self.settings.verbose {
            log::debug!("Tower: beacon of {} at {endpoint}", beacon.sender.escape_ascii());
        }
        let frames =
            TowerBeacon { sender: beacon.sender, endpoint: &endpoint, traffic: beacon.traffic }.encode();
        let frames: Vec<&[u8]> = frames.iter().map(Vec::as_slice).collect();
        self.outgoing.send_frames(&frames)?;
        Ok(())
    }

    /// The host from which a beacon came, as an address by which other hosts can reach it.
    fn host_of_peer(&self, peer_address: Option<&str>) -> String {
        let peer_address = peer_address.unwrap_or_default();
        // A link-local address is followed by `%` and its interface. With that suffix it is not a valid IpAddr.
        let (address, is_zoned) = match peer_address.split_once('%') {
            Some((address, _)) => (address, true),
            None => (peer_address, false),
        };
        match address.parse::<IpAddr>().map(|address| address.to_canonical()) {
            Ok(address) if address.is_loopback() => self.own_host.for_other_hosts(address.is_ipv6()),
            Ok(_) if is_zoned => peer_address.to_owned(),
            Ok(address) => address.to_string(),
            Err(_) => self.own_host.for_other_hosts(false),
        }
    }
}

/// Addresses of this host that replace the loopback, which other hosts cannot reach. An address is `None` when the host
/// has no such address. Both are `None` for a tower that announces the loopback.
#[derive(Default)]
struct OwnHost {
    ipv4: Option<String>,
    ipv6: Option<String>,
}

impl OwnHost {
    /// A tower that only this host can reach has only this host's nodes, so it announces the loopback. A tower that
    /// uses only inproc announces the first interface, because programs may rely on this behaviour of 0.1.0.
    fn of(settings: &settings::Tower) -> OwnHost {
        let addresses = [&settings.sub_address, &settings.pub_address];
        let is_local = addresses.iter().all(|address| is_local(&address.to_text()))
            && !addresses.iter().all(|address| address.is_inproc());
        match is_local {
            true => OwnHost::default(),
            false => OwnHost { ipv4: czmq::first_interface_address(), ipv6: first_ipv6_address() },
        }
    }

    /// An address of this host, if possible of the same IP version as the node's address.
    fn for_other_hosts(&self, is_ipv6: bool) -> String {
        let (first, second) = if is_ipv6 { (&self.ipv6, &self.ipv4) } else { (&self.ipv4, &self.ipv6) };
        first.as_ref().or(second.as_ref()).cloned().unwrap_or_else(|| Ipv4Addr::LOCALHOST.to_string())
    }
}

/// Unbinds inproc:// addresses, so that the next tower can bind them at once. libzmq closes a socket some time after
/// the call, but it unbinds an address during the call.
impl Drop for Tower<'_> {
    fn drop(&mut self) {
        for (socket, address) in self.addresses() {
            if address.as_ref().starts_with(b"inproc://") {
                // A failure has no consequence, because closing unbinds too.
                let _ = socket.unbind(address);
            }
        }
    }
}

/// True for an address that only this host can reach.
fn is_local(address: &str) -> bool {
    match wire::Endpoint::parse(address) {
        Some(parts) if parts.zone().is_some() => false,
        Some(parts) => match parts.address() {
            "localhost" | "lo" => true,
            host => host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback()),
        },
        None => address.starts_with("inproc://") || address.starts_with("ipc://"),
    }
}

/// Encloses an IPv6 address in brackets, so that a port can follow.
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
    fn the_loopback_becomes_an_address_of_the_same_family_if_there_is_one() {
        let host = |ipv4: Option<&str>, ipv6: Option<&str>| OwnHost {
            ipv4: ipv4.map(str::to_owned),
            ipv6: ipv6.map(str::to_owned),
        };
        let both = host(Some("10.0.0.1"), Some("fd00::1"));
        assert_eq!([both.for_other_hosts(false), both.for_other_hosts(true)], ["10.0.0.1", "fd00::1"]);
        assert_eq!(host(Some("10.0.0.1"), None).for_other_hosts(true), "10.0.0.1");
        assert_eq!(host(None, Some("fd00::1")).for_other_hosts(false), "fd00::1");
        assert_eq!(host(None, None).for_other_hosts(true), "127.0.0.1");
    }

    #[test]
    fn ipv6_hosts_are_bracketed() {
        assert_eq!(bracketed("::1"), "[::1]");
        assert_eq!(bracketed("[::1]"), "[::1]");
        assert_eq!(bracketed("127.0.0.1"), "127.0.0.1");
    }
}
