//! One beacon for all nodes of this process that have the same towers and the same choice of IPv6.
//!
//! The beacon has its own thread, so that peers do not drop a node that is busy. It has one connection to each address
//! of a tower. So the number of threads and connections, and the beacons that this process receives, do not depend on
//! the number of its nodes.

use super::link::Link;
use super::member::Member;
use super::members::{Id, Members};
use super::{Owner, lock};
use crate::actor::{Error, Handle, Result, spawn, timeout_ms};
use crate::czmq::fork::{GENERATIONS, PerProcess};
use crate::net::{Frame, Monitor, Pipe, TERM, Wake, now_ms, poll};
use crate::settings;
use rustix::event::{Timespec, epoll};
use std::collections::BTreeMap;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use zmq::{POLLIN, PollItem};

/// How many monitors are handled in one turn.
const MONITOR_COUNT: usize = 64;

/// The beacons of this process. The key contains the addresses of the towers, and whether the sockets use IPv6.
static BEACONS: PerProcess<BTreeMap<(String, bool), Weak<SharedBeacon>>> =
    PerProcess::new([const { Mutex::new(BTreeMap::new()) }; GENERATIONS]);

/// A beacon. It ends when its last member drops it.
struct SharedBeacon {
    /// Never read. Dropping the handle ends the beacon's thread.
    _actor: Mutex<Handle>,
    state: Arc<State>,
}

/// The state that the beacon's thread shares with the nodes.
struct State {
    /// `None` when the thread has ended.
    members: Mutex<Option<Members<'static>>>,
    /// Set when the members have changed.
    wake: Wake,
    /// Watches the monitors of all members.
    monitors: OwnedFd,
}

impl State {
    fn members(&self) -> MutexGuard<'_, Option<Members<'static>>> {
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A node's membership in a beacon. Dropping it ends the announcement of the node.
pub(in crate::actor) struct Membership {
    beacon: Arc<SharedBeacon>,
    id: Id,
    monitor: Arc<Mutex<Monitor>>,
}

impl Membership {
    /// Adds a node to the beacon with the same towers. Starts the beacon if it does not run.
    ///
    /// # Errors
    /// When no more sockets, files or threads are available.
    pub(in crate::actor) fn join(
        name: &'static str,
        settings: &settings::Beacon,
        owner: &Owner,
    ) -> Result<Membership> {
        let [subs, pubs] =
            [&settings.sub_addresses, &settings.pub_addresses].map(|list| settings::list(list));
        let key = (format!("{subs} {pubs}"), crate::czmq::uses_ipv6());
        let mut beacons = BEACONS.lock();
        if let Some(beacon) = beacons.get(&key).and_then(Weak::upgrade)
            && let Some(id) = beacon.add(name, settings, owner)?
        {
            return Ok(Membership { beacon, id, monitor: owner.monitor.clone() });
        }
        let beacon = Arc::new(SharedBeacon::start(name, settings)?);
        beacons.retain(|_, beacon| beacon.strong_count() > 0);
        beacons.insert(key, Arc::downgrade(&beacon));
        let id = beacon.add(name, settings, owner)?.ok_or(Error::CannotStart)?;
        Ok(Membership { beacon, id, monitor: owner.monitor.clone() })
    }

    /// Announces the node, which listens at `port`. `ignored`: addresses of nodes that are never its peers. If an older
    /// node of the process exchanges the same messages, and already knows all of its own peers, returns their number:
    /// the new node will have as many peers. Otherwise returns `None`.
    pub(in crate::actor) fn announce(&self, address: &str, port: u16, ignored: &[&str]) -> Option<usize> {
        let ignored: Vec<&[u8]> = ignored.iter().map(|address| address.as_bytes()).collect();
        let mut members = self.beacon.state.members();
        let members = members.as_mut()?;
        members.start(self.id, address.as_bytes(), port, &ignored);
        self.beacon.state.wake.set();
        members.expected_peer_count(self.id, now_ms())
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        let state = &self.beacon.state;
        if let Some(members) = &mut *state.members() {
            members.remove(self.id);
        }
        if let Ok(file) = lock(&self.monitor).descriptor() {
            // Fails only when the monitor was never added.
            let _ = epoll::delete(&state.monitors, file);
        }
    }
}

impl SharedBeacon {
    fn start(name: &'static str, settings: &settings::Beacon) -> Result<SharedBeacon> {
        let mut link = Link::connect(settings, name, false)?;
        let monitors = epoll::create(epoll::CreateFlags::CLOEXEC).map_err(system_error)?;
        let members = Mutex::new(Some(Members::default()));
        let state = Arc::new(State { members, wake: Wake::new()?, monitors });
        let shared = state.clone();
        let actor = spawn("dafka-beacon", move |pipe| {
            let ending = Ending(shared);
            run(pipe, &mut link, &ending.0)
        })?;
        Ok(SharedBeacon { _actor: Mutex::new(actor), state })
    }

    /// Adds a node. `None` when the beacon's thread has ended.
    fn add(&self, name: &'static str, settings: &settings::Beacon, owner: &Owner) -> Result<Option<Id>> {
        let mut members = self.state.members();
        let Some(members) = &mut *members else { return Ok(None) };
        let id = members.add(Member::new(name, settings, Some(owner.clone())));
        let monitor = lock(&owner.monitor);
        let added = monitor.descriptor().map_err(Error::from).and_then(|file| {
            let flags = epoll::EventFlags::IN;
            epoll::add(&self.state.monitors, file, epoll::EventData::new_u64(id), flags).map_err(system_error)
        });
        drop(monitor);
        if let Err(error) = added {
            members.remove(id);
            return Err(error);
        }
        // The descriptor does not report events that libzmq has already passed on to the monitor.
        members.change(id, Member::handle_peer_connections).transpose()?;
        self.state.wake.set();
        Ok(Some(id))
    }
}

/// Ends the members when the thread ends, also after a panic. Then the nodes end, too: without a beacon, new peers do
/// not find a node, and its existing peers soon drop it.
struct Ending(Arc<State>);

impl Drop for Ending {
    fn drop(&mut self) {
        *self.0.members() = None;
    }
}

fn run(pipe: &Pipe, link: &mut Link, state: &State) -> Result {
    pipe.signal()?;
    loop {
        let due_ms = state.members().as_ref().and_then(|members| link.due_ms(members));
        let mut items = vec![pipe.item(POLLIN), state.wake.item(POLLIN)];
        items.push(PollItem::from_fd(state.monitors.as_raw_fd(), POLLIN));
        items.extend(link.items());
        poll(&mut items, timeout_ms(due_ms, now_ms()))?;
        let mut frame = Frame::new();
        while pipe.try_recv(&mut frame)? {
            if frame.as_ref() == TERM {
                return Ok(());
            }
        }
        state.wake.clear();
        let Some(members) = &mut *state.members() else { return Ok(()) };
        handle_monitors(state, members)?;
        link.turn(members)?;
    }
}

/// Handles events of the connections to peers.
fn handle_monitors(state: &State, members: &mut Members) -> Result {
    let mut events = Vec::with_capacity(MONITOR_COUNT);
    match epoll::wait(
        &state.monitors,
        rustix::buffer::spare_capacity(&mut events),
        Some(&Timespec::default()),
    ) {
        Ok(_) | Err(rustix::io::Errno::INTR) => {}
        Err(error) => return Err(system_error(error)),
    }
    for event in events {
        let id = event.data.u64();
        match members.change(id, Member::handle_peer_connections) {
            Some(Err(zmq::Error::ETERM)) => return Err(zmq::Error::ETERM.into()),
            // Without events of its connections, this node cannot continue. The other nodes can.
            Some(Err(error)) => {
                log::error!("beacon: {error}");
                members.remove(id);
            }
            Some(Ok(())) | None => {}
        }
    }
    Ok(())
}

fn system_error(error: rustix::io::Errno) -> Error {
    zmq::Error::from_raw(error.raw_os_error()).into()
}
