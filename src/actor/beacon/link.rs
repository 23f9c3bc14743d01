//! The link between the members of a beacon and the towers: sends the beacons of all members over one connection to
//! each tower, and receives each beacon of the towers once for all members.

use super::member::Member;
use super::members::Members;
use super::towers::Towers;
use super::zone::{with_zone, zone};
use crate::actor::Result;
use crate::actor::notices::Notices;
use crate::net::{Frame, Resolver, canonical, now_ms};
use crate::settings::{self, TowerAddress};
use crate::wire::{TowerBeacon, Traffic, WELCOME};
use std::collections::HashMap;
use zmq::PollItem;

/// The most beacons that are received before the owner's commands are read again.
const BATCH_COUNT: usize = 1_000;
/// The most beacons that are sent at once, and the pause before the next ones. So the beacons of a thousand members do
/// not overflow the towers' queues.
const BURST_COUNT: usize = 200;
const BURST_PAUSE_MS: u64 = 5;
/// How exactly the members know when a tower has last sent something.
const HEARD_STEP_MS: u64 = 10;
/// The most senders whose traffic is kept while their hosts are looked up.
const MAX_AWAITED: usize = 1_000;

/// The name of a node, and its endpoint as a tower announced it.
type Sender = (Box<[u8]>, Box<str>);

pub(super) struct Link<'a> {
    towers: Towers,
    /// The interface on which the towers are reached, when their addresses are IPv6 link-local ones.
    zone: Option<String>,
    resolver: Resolver,
    /// The traffic of the senders whose hosts are looked up.
    awaited: HashMap<Sender, Option<Traffic>>,
    /// The member is an application, which gets a report even of a peer whose host was not found.
    reports_missing: bool,
    /// When the next beacons may be sent.
    burst_due_ms: u64,
    /// When the members were last told that a tower has sent something.
    heard_ms: Option<u64>,
    notices: Notices<'a>,
}

impl<'a> Link<'a> {
    /// Connects to the towers. `name` is the start of log lines.
    pub(super) fn connect(settings: &settings::Beacon, name: &'a str, reports_missing: bool) -> Result<Self> {
        let towers = Towers::connect(settings, name)?;
        let resolver = Resolver::new(towers.is_ipv6()?);
        let zone_of = |address: &TowerAddress| Some(zone(&address.to_text())?.to_owned());
        Ok(Link {
            towers,
            zone: settings.pub_addresses.iter().find_map(zone_of),
            resolver,
            awaited: HashMap::new(),
            reports_missing,
            burst_due_ms: 0,
            heard_ms: None,
            notices: Notices::new(name, "connected to"),
        })
    }

    /// The items to poll for input.
    pub(super) fn items(&self) -> impl Iterator<Item = PollItem<'_>> {
        self.towers.items().chain(self.resolver.item())
    }

    /// When [`Link::turn`] must be called next.
    pub(super) fn due_ms(&self, members: &Members) -> Option<u64> {
        members.due_ms().map(|due_ms| due_ms.max(self.burst_due_ms))
    }

    /// Handles what the towers have sent and what is due.
    pub(super) fn turn(&mut self, members: &mut Members) -> Result {
        while let Some(is_none_left) = self.towers.poll_change()? {
            if is_none_left {
                for name in members.names() {
                    log::warn!("{name}: no tower is left; known peers stay connected");
                }
            }
            members.handle_tower_lost(is_none_left, now_ms());
        }
        self.towers.reconnect_restarted();
        self.handle_resolved_hosts(members);
        self.receive(members)?;
        self.handle_timeouts(members)
    }

    /// Adds peers whose hosts were resolved.
    fn handle_resolved_hosts(&mut self, members: &mut Members) {
        let Link { resolver, awaited, notices, reports_missing, .. } = self;
        resolver.found(now_ms(), |sender, announced, endpoint| {
            if endpoint.is_none() {
                notices.warn(|| {
                    format!("cannot find the host of {}, where a peer is announced", announced.escape_debug())
                });
            }
            // A sender that is missing in `awaited` is added when its next beacon comes.
            let Some(traffic) = awaited.remove(&(sender.into(), announced.into())) else { return };
            if let Some(endpoint) = endpoint.or(reports_missing.then_some(announced)) {
                for id in members.interested(sender, announced, traffic) {
                    members.change(id, |member| member.add_peer(sender, [announced, endpoint], now_ms()));
                }
            }
        });
        if resolver.is_idle() {
            awaited.clear();
        }
    }

    /// Receives the welcomes and beacons of the towers.
    fn receive(&mut self, members: &mut Members) -> Result {
        let mut frames: Vec<Frame> = Vec::new();
        let mut is_drained = false;
        for _ in 0..BATCH_COUNT {
            is_drained = !self.towers.receive(&mut frames)?;
            if is_drained {
                break;
            }
            let frames: Vec<&[u8]> = frames.iter().map(Frame::as_ref).collect();
            match frames.as_slice() {
                [frame] if *frame == WELCOME => members.handle_welcome(now_ms()),
                frames => match TowerBeacon::decode(frames) {
                    Ok(beacon) => self.handle_tower_beacon(&beacon, members),
                    Err(error) => self.notices.warn(|| format!("dropped a tower's beacon: {error}")),
                },
            }
        }
        self.towers.end_turn(is_drained);
        Ok(())
    }

    /// Adds the peer that a tower announces. If the endpoint contains a host name, the peer is added once the name is
    /// resolved.
    fn handle_tower_beacon(&mut self, beacon: &TowerBeacon, members: &mut Members) {
        let now_ms = now_ms();
        if self.heard_ms.is_none_or(|heard_ms| now_ms >= heard_ms + HEARD_STEP_MS) {
            self.heard_ms = Some(now_ms);
            members.handle_tower_heard(now_ms);
        }
        members.note_twins(beacon);
        let traffic = beacon.traffic.or_else(|| members.traffic_of(beacon.sender));
        let interested = members.interested(beacon.sender, beacon.endpoint, traffic);
        if interested.is_empty() {
            return;
        }
        let announced = with_zone(beacon.endpoint, self.zone.as_deref());
        let Some(endpoint) = canonical(&announced) else {
            self.notices.warn(|| {
                format!("a peer is ignored: {} is not an endpoint of a single host", announced.escape_debug())
            });
            return;
        };
        let mut known = self.resolver.resolve(beacon.sender, &endpoint, now_ms);
        if known.is_none() && self.reports_missing && self.resolver.is_missing(&endpoint, now_ms) {
            known = Some(endpoint.as_str().into());
        }
        match known {
            Some(known) => {
                for id in interested {
                    let add = |member: &mut Member| {
                        member.add_peer(beacon.sender, [&announced, &known], now_ms);
                    };
                    members.change(id, add);
                }
            }
            None if self.awaited.len() < MAX_AWAITED => {
                self.awaited.insert((beacon.sender.into(), endpoint.as_str().into()), traffic);
            }
            None => {}
        }
    }

    /// Sends the beacons that are due, and drops silent peers.
    fn handle_timeouts(&mut self, members: &mut Members) -> Result {
        let now_ms = now_ms();
        if now_ms < self.burst_due_ms {
            return Ok(());
        }
        let due = members.due(now_ms, BURST_COUNT);
        if due.len() == BURST_COUNT {
            self.burst_due_ms = now_ms + BURST_PAUSE_MS;
        }
        for id in due {
            let towers = &self.towers;
            let send = |member: &mut Member| match member.handle_timeout(now_ms) {
                Some(announced) => towers.send(announced),
                None => Ok(()),
            };
            members.change(id, send).transpose()?;
        }
        Ok(())
    }
}
