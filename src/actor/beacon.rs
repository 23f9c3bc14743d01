//! The beacon: announces nodes to the towers, and reports to each node its peers.
//!
//! All nodes of a process that have the same towers and the same choice of IPv6 share one beacon, which has its own
//! thread (see `beacon/shared.rs`). A node joins the beacon, and receives a `Report::Ready` when a tower has welcomed
//! the beacon, or when no tower has done so within the timeout. After `Membership::announce`, the beacon reports the
//! node's peers. The reported endpoints contain the addresses of the hosts.
//!
//! The beacon of an application (the C class `dafka_beacon`) has a thread and connections of its own. Its commands on
//! the pipe are `START` address port, `STOP` and `$TERM`. It sends a ready signal, and then reports peers, even without
//! `START`. It reports endpoints as they were announced (see `beacon/reported.rs`). It sends `CONNECT` endpoint and
//! `DISCONNECT` endpoint on its pipe.

use super::directory::Directory;
use super::{Result, timeout_ms};
use crate::net::reconnect::Action;
use crate::net::{Frame, Monitor, Pipe, TERM, Wake, now_ms, poll};
use crate::settings;
use crate::wire::Traffic;
use link::Link;
use member::Member;
use members::{Id, Members};
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use zmq::{POLLIN, POLLOUT};

mod link;
mod member;
mod members;
mod peers;
mod reported;
mod shared;
mod towers;
mod zone;

pub use peers::Peers;
pub(super) use shared::Membership;
pub(super) use towers::note_bound;

/// A report of the beacon to a node.
pub(super) enum Report {
    /// A tower has welcomed the beacon, or none has in time.
    Ready,
    /// An action for the subscribing socket.
    Connection(Action),
    /// Another node at this endpoint announces this node's address.
    Twin(String),
}

/// The beacon's end of the queue of reports to a node. The node is woken for each report, and when the beacon ends.
pub(super) struct Reporter {
    /// `None` only while the reporter is dropped.
    reports: Option<Sender<Report>>,
    wake: Arc<Wake>,
}

/// The node's end of the queue of reports.
pub(super) struct Reports {
    reports: Receiver<Report>,
    wake: Arc<Wake>,
}

impl Reporter {
    /// The two ends of a queue.
    ///
    /// # Errors
    /// When no more files can be opened.
    pub(super) fn new() -> zmq::Result<(Reporter, Reports)> {
        let (sender, reports) = channel();
        let wake = Arc::new(Wake::new()?);
        Ok((Reporter { reports: Some(sender), wake: wake.clone() }, Reports { reports, wake }))
    }

    fn send(&self, report: Report) {
        // Fails when the node has ended.
        let _ = self.reports.as_ref().map(|reports| reports.send(report));
        self.wake.set();
    }
}

impl Drop for Reporter {
    fn drop(&mut self) {
        drop(self.reports.take());
        self.wake.set();
    }
}

impl Reports {
    /// The next report. `None` when there is none now.
    ///
    /// # Errors
    /// When the beacon has ended.
    pub(super) fn poll(&self) -> Result<Option<Report>> {
        loop {
            match self.reports.try_recv() {
                Ok(report) => return Ok(Some(report)),
                Err(TryRecvError::Disconnected) => return Err(super::Error::Ended("node's beacon")),
                Err(TryRecvError::Empty) if !self.wake.clear() => return Ok(None),
                Err(TryRecvError::Empty) => {}
            }
        }
    }

    /// The event to poll for reports.
    pub(super) fn wake(&self) -> &Wake {
        &self.wake
    }
}

/// The parts that a node shares with its beacon.
#[derive(Clone)]
pub(super) struct Owner {
    /// Reports events of the subscribing socket's connections. The node also keeps the monitor until the node has
    /// called `stop_monitor`.
    pub(super) monitor: Arc<Mutex<Monitor>>,
    pub(super) reports: Arc<Reporter>,
    /// The messages that the node exchanges.
    pub(super) traffic: Traffic,
    /// The beacon writes the directory, and the node reads it.
    pub(super) directory: Directory,
}

fn lock(monitor: &Mutex<Monitor>) -> MutexGuard<'_, Monitor> {
    monitor.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs an application's beacon until `$TERM`. `name` is the start of its log lines.
///
/// # Errors
/// When a socket cannot be created.
pub fn run(pipe: &Pipe, settings: &settings::Beacon, name: &str) -> Result {
    let mut link = Link::connect(settings, name, true)?;
    let mut members = Members::default();
    let id = members.add(Member::new(name, settings, None));
    let mut may_be_full = false;
    loop {
        let mut items = vec![pipe.item(POLLIN)];
        items.extend(link.items());
        poll(&mut items, timeout_ms(link.due_ms(&members), now_ms()))?;
        if !handle_commands(pipe, name, &mut members, id)? {
            if may_be_full {
                pipe.wait_for_room_to_end();
            }
            return Ok(());
        }
        link.turn(&mut members)?;
        let Some(member) = members.get_mut(id) else { return Ok(()) };
        if member.is_ready() && !pipe.has_signalled() {
            pipe.signal_ready()?;
        }
        for action in member.take_actions() {
            pipe.send_to_owner(&[action.name(), action.endpoint()].map(str::as_bytes))?;
            may_be_full = !pipe.events().contains(POLLOUT);
        }
    }
}

/// Handles commands from the pipe. Returns false on `$TERM`.
fn handle_commands(pipe: &Pipe, name: &str, members: &mut Members, id: Id) -> Result<bool> {
    let mut frame = Frame::new();
    let mut command: Vec<Vec<u8>> = Vec::new();
    while pipe.try_recv(&mut frame)? {
        command.clear();
        command.push(frame.as_ref().to_vec());
        while frame.more() && pipe.try_recv(&mut frame)? {
            command.push(frame.as_ref().to_vec());
        }
        match command.iter().map(Vec::as_slice).collect::<Vec<_>>().as_slice() {
            [term] if *term == TERM => return Ok(false),
            [b"START", address, port, ignored @ ..] => {
                let port = std::str::from_utf8(port).ok().and_then(|port| port.parse().ok());
                match port.filter(|&port| port > 0) {
                    Some(port) => members.start(id, address, port, ignored),
                    None => log::error!("{name}: START needs a port from 1 to 65535"),
                }
            }
            [b"STOP"] => members.conceal(id),
            [unknown, ..] => {
                log::error!("{name}: unknown command to the beacon: {}", unknown.escape_ascii());
            }
            [] => {}
        }
    }
    Ok(true)
}
