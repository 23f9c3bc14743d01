//! A node's side of its beacon: joins the beacon of the process, and receives its reports.

use super::Config;
use crate::actor::Result;
use crate::actor::beacon::{Membership, Owner, Report, Reporter, Reports};
use crate::actor::directory::Directory;
use crate::net::reconnect::ConnectionEvent;
use crate::net::{Monitor, Pipe, Socket, Wake, poll};
use std::cell::Cell;
use std::sync::{Arc, Mutex};
use zmq::POLLIN;

/// The connection of a node to its beacon.
pub(super) struct BeaconLink {
    membership: Membership,
    reports: Reports,
    /// How many peers the node will have, if this number was known when the node was announced.
    expected_peer_count: Cell<Option<usize>>,
    /// The beacon reads the monitor. The node holds a reference, too: the monitor must exist until `stop_monitor` was
    /// called, even if the beacon has ended.
    _monitor: Arc<Mutex<Monitor>>,
}

impl BeaconLink {
    /// Joins the beacon with this subscribing socket. The beacon keeps `directory` up to date.
    pub(super) fn start(config: &Config, subscriber: &Socket, directory: &Directory) -> Result<BeaconLink> {
        let (reporter, reports) = Reporter::new()?;
        let monitor = Arc::new(Mutex::new(Monitor::start(subscriber, ConnectionEvent::MONITORED)?));
        let owner = Owner {
            monitor: monitor.clone(),
            reports: Arc::new(reporter),
            traffic: config.traffic,
            directory: directory.clone(),
        };
        match Membership::join(config.name, config.beacon, &owner) {
            Ok(membership) => Ok(BeaconLink {
                membership,
                reports,
                expected_peer_count: Cell::new(None),
                _monitor: monitor,
            }),
            Err(error) => {
                subscriber.stop_monitor();
                Err(error)
            }
        }
    }

    /// Waits until the beacon is ready or `pipe` is readable. Then the beacon announces the node with this port.
    pub(super) fn announce(&self, config: &Config, port: u16, pipe: &Pipe) -> Result {
        while !matches!(self.reports.poll()?, Some(Report::Ready)) && !pipe.events().contains(POLLIN) {
            poll(&mut [self.reports.wake().item(POLLIN), pipe.item(POLLIN)], -1)?;
        }
        let count = self.membership.announce(config.address, port, config.ignored);
        self.expected_peer_count.set(count);
        Ok(())
    }

    /// Whether a new node with this many connected peers has all of its peers.
    pub(super) fn is_complete(&self, peer_count: usize) -> bool {
        self.expected_peer_count.get().is_some_and(|expected| peer_count >= expected)
    }

    /// The event to poll for reports.
    pub(super) fn wake(&self) -> &Wake {
        self.reports.wake()
    }

    /// The next report, if there is one.
    ///
    /// # Errors
    /// When the beacon has ended. Without a beacon, new peers do not find the node, and its existing peers soon drop
    /// it. So the node must end.
    pub(super) fn poll_report(&self) -> Result<Option<Report>> {
        self.reports.poll()
    }
}
