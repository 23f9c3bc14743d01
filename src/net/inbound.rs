//! Limits the inbound connections of all sockets that listen in this process.
//!
//! libzmq accepts every connection, and keeps it as long as the peer wants. When no descriptor is left, its I/O thread
//! retries to accept without a pause, and the process can open no more files. So each process has one thread that scans
//! the sockets of the process about once a second. The thread ends connections
//!
//! - that are idle: nothing useful was received over them in their first [`IDLE_MS`](limits::IDLE_MS) (at a publisher:
//!   no subscription; at a tower: no beacon). Time in which the node does not read does not count;
//! - that exceed the limit of their listening socket per host, or the limit in total. If the limit in total is
//!   exceeded, connections of the host with the most connections end. The silent connections of a host, over which
//!   nothing useful has come yet, end first, and then its newest connections. So established peers stay;
//! - that use descriptors of the reserve: while fewer descriptors are left than the reserve, silent connections end,
//!   and then others. But connections that are not silent may always use a quarter of the process's descriptors, even
//!   if the application has used up the rest.
//!
//! The nodes call the functions of this file. The thread runs [`scan`], and [`limits`] decides which connections end.
//!
//! The thread scans descriptors instead of using libzmq's monitors. A monitor needs two more sockets for each listening
//! socket, and does not report connections that were made before it started.

use super::descriptors::socket_number;
use super::guard::Guard;
use super::listen_address::ListenAddress;
use super::{Frame, Socket, now_ms};
use crate::czmq::fork::{GENERATIONS, PerProcess};
use std::collections::HashSet;
use std::os::fd::RawFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

mod limits;
mod scan;

pub use limits::InboundLimits;
use scan::Scanner;

/// The pause between two scans...
const INTERVAL: Duration = Duration::from_secs(1);
/// ... and the pause while peers make many connections.
const BUSY_INTERVAL: Duration = Duration::from_millis(50);

/// A connection's descriptor and the number of its socket.
type Id = (RawFd, u64);

/// While this object lives, the inbound connections of a listening socket are limited.
pub struct Inbound(Arc<Listener>);

struct Listener {
    /// The node's name in log lines.
    name: String,
    address: ListenAddress,
    limits: InboundLimits,
    /// Connections over which something useful was received since the latest scan.
    active: Mutex<HashSet<Id>>,
    /// How many times the node has started or stopped waiting for messages. Odd while it waits.
    waits: AtomicU64,
}

/// While this object lives, the node waits for messages: it has read everything.
pub struct Waiting<'a>(&'a AtomicU64);

impl Inbound {
    /// Limits the connections to `socket`, which is bound. `name` is the node's name in log lines. `None` for
    /// transports without descriptors, such as inproc, and when /proc is missing.
    pub fn at(name: &str, socket: &Socket, limits: InboundLimits) -> Option<Inbound> {
        let address = ListenAddress::parse(&socket.last_endpoint().ok()?)?;
        let listener = Arc::new(Listener::new(name, address, limits));
        let mut registry = registry();
        if registry.guard.is_none() {
            registry.guard = Some(spawn()?);
        }
        registry.listeners.push(listener.clone());
        if let Some(guard) = &registry.guard {
            guard.wake();
        }
        Some(Inbound(listener))
    }

    /// Call this when something useful was received over a connection. Then the connection does not become idle.
    pub fn received(&self, frame: &Frame) {
        if let Some(file) = frame.source_file()
            && let Some(number) = socket_number(file)
        {
            self.0.active().insert((file, number));
        }
    }

    /// Call this when the node has read everything that was received and begins to wait. Drop the result when the wait
    /// ends. Connections become idle only during such waits, because a busy node may not have read what peers have
    /// sent.
    pub fn waiting(&self) -> Waiting<'_> {
        self.0.waits.fetch_add(1, Ordering::Release);
        Waiting(&self.0.waits)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::Release);
    }
}

impl Listener {
    fn new(name: &str, address: ListenAddress, limits: InboundLimits) -> Listener {
        Listener { name: name.into(), address, limits, active: Mutex::default(), waits: AtomicU64::new(0) }
    }

    fn active(&self) -> MutexGuard<'_, HashSet<Id>> {
        self.active.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Inbound {
    fn drop(&mut self) {
        let mut registry = registry();
        registry.listeners.retain(|listener| !Arc::ptr_eq(listener, &self.0));
        let guard = if registry.listeners.is_empty() { registry.guard.take() } else { None };
        drop(registry);
        if let Some(guard) = guard {
            guard.end();
        }
    }
}

#[derive(Default)]
struct Registry {
    listeners: Vec<Arc<Listener>>,
    guard: Option<Guard>,
}

/// The listeners of this process. A forked child begins without listeners, because the threads of its parent do not run
/// in it.
fn registry() -> MutexGuard<'static, Registry> {
    static REGISTRY: PerProcess<Registry> =
        PerProcess::new([const { Mutex::new(Registry { listeners: Vec::new(), guard: None }) }; GENERATIONS]);
    REGISTRY.lock()
}

/// Starts the thread. `None` when that fails; the log then has the reason.
fn spawn() -> Option<Guard> {
    Guard::start("dafka-inbound", "inbound connections are not bounded", BUSY_INTERVAL, |descriptors| {
        let mut scanner = Scanner::new(descriptors);
        move || {
            let listeners = registry().listeners.clone();
            let is_busy = scanner.scan(&listeners, now_ms());
            if is_busy { BUSY_INTERVAL } else { INTERVAL }
        }
    })
}

#[cfg(test)]
mod tests;
