//! A node's side of its beacon: starts the beacon's thread, and receives the beacon's reports.

use super::Config;
use crate::actor::beacon::{self, Owner, REPORTED, Report};
use crate::actor::directory::Directory;
use crate::actor::{Error, Handle, Result, spawn};
use crate::net::reconnect::ConnectionEvent;
use crate::net::{Frame, Monitor, Pipe, Socket, is_success};
use std::cell::Cell;
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex, PoisonError};

/// The connection of a node to its beacon.
pub(super) struct BeaconLink {
    handle: Handle,
    /// Reports of the beacon. For each report, the beacon also sends one [`REPORTED`] on its pipe.
    reports: Receiver<Report>,
    /// The wait for the beacon's ready signal was interrupted, and the node has not received the signal yet.
    is_starting: Cell<bool>,
    /// The beacon reads the monitor. The node holds a reference, too: the monitor must exist until `stop_monitor` was
    /// called, even if the beacon panics.
    _monitor: Arc<Mutex<Monitor>>,
}

impl BeaconLink {
    /// Starts the beacon of the node that has this subscribing socket. The beacon keeps `directory` up to date.
    pub(super) fn start(config: &Config, subscriber: &Socket, directory: &Directory) -> Result<BeaconLink> {
        let (settings, name, traffic) = (config.beacon.clone(), config.name.to_owned(), config.traffic);
        let monitor = Arc::new(Mutex::new(Monitor::start(subscriber, ConnectionEvent::MONITORED)?));
        let (directory, monitored) = (directory.clone(), monitor.clone());
        let (sender, reports) = channel();
        let handle = spawn("dafka-beacon", move |pipe| {
            // No other thread locks the monitor.
            let monitor = monitored.lock().unwrap_or_else(PoisonError::into_inner);
            let owner = Owner { monitor: &monitor, reports: sender, traffic, directory };
            beacon::run_for(pipe, &settings, &name, Some(&owner))
        });
        if handle.is_err() {
            subscriber.stop_monitor();
        }
        Ok(BeaconLink { handle: handle?, reports, is_starting: Cell::new(false), _monitor: monitor })
    }

    /// Waits until the beacon is ready or `pipe` is readable. Then lets the beacon announce the node, with this port.
    pub(super) fn announce(&self, config: &Config, port: u16, pipe: &Pipe) -> Result {
        // If the beacon fails just as `pipe` becomes readable, the beacon cannot receive START. In this case, the
        // beacon's last signal ends the node.
        self.is_starting.set(!self.handle.wait_until_ready(pipe)?);
        let port = port.to_string();
        let mut start: Vec<&[u8]> = vec![b"START", config.address.as_bytes(), port.as_bytes()];
        start.extend(config.ignored.iter().map(|address| address.as_bytes()));
        self.handle.send_frames(&start);
        Ok(())
    }

    /// The socket to poll for reports.
    pub(super) fn socket(&self) -> &Socket {
        self.handle.pipe()
    }

    /// Whether the beacon's ready signal is still to come.
    #[cfg(test)]
    pub(super) fn is_starting(&self) -> bool {
        self.is_starting.get()
    }

    /// The next report, if there is one.
    ///
    /// # Errors
    /// When the beacon has ended. Without a beacon, new peers do not find the node, and its existing peers soon drop
    /// it. So the node must end.
    pub(super) fn poll_report(&self) -> Result<Option<Report>> {
        let mut frame = Frame::new();
        while self.socket().try_recv(&mut frame)? {
            if frame.as_ref() == REPORTED {
                if let Ok(report) = self.reports.try_recv() {
                    return Ok(Some(report));
                }
            } else if !(self.is_starting.take() && is_success(&frame)) {
                // This is the last signal of a beacon that has failed and has logged the reason.
                return Err(Error::Ended("node's beacon"));
            }
        }
        Ok(None)
    }
}
