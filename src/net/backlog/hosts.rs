//! The addresses of hosts that sockets connect to by name.
//!
//! The scan recognizes the connections of a socket by the address of the peer. libzmq looks up a name at each attempt
//! to connect, and does not report the address. So the names are looked up here too: repeatedly until an address is
//! found, and then regularly, because the address may change.

use super::lock;
use std::collections::{HashMap, HashSet};
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// A name with an address is looked up again after this time.
const REFRESH: Duration = Duration::from_secs(30);
/// A name without an address is looked up again after this time at first. The time doubles after each further failure,
/// up to [`REFRESH`].
const FIRST_RETRY: Duration = Duration::from_secs(1);
/// The number of addresses that are remembered per name. After a change, the old address stays, because connections to
/// it may live on.
const MAX_ADDRESSES: usize = 64;
const STACK_LEN_BYTES: usize = 256 << 10;

/// Looks up a name with a port.
type LookUp = fn(&str) -> Vec<SocketAddr>;

/// The hosts that the sockets of a process connect to by name.
pub(super) struct Hosts {
    look_up: LookUp,
    hosts: HashMap<Box<str>, Host>,
}

#[derive(Default)]
struct Host {
    addresses: HashSet<SocketAddr>,
    /// The result of the thread that looks the name up. `None` if there is no such thread. The inner value is `None`
    /// while the thread runs.
    answer: Option<Arc<Mutex<Option<Vec<SocketAddr>>>>>,
    due: Option<Instant>,
    failures: u32,
}

impl Hosts {
    pub(super) fn new() -> Hosts {
        Hosts::with(|name| name.to_socket_addrs().map(Iterator::collect).unwrap_or_default())
    }

    fn with(look_up: LookUp) -> Hosts {
        Hosts { look_up, hosts: HashMap::new() }
    }

    /// The addresses of `name`, which is `HOST:PORT`.
    pub(super) fn addresses(&self, name: &str) -> impl Iterator<Item = SocketAddr> {
        self.hosts.get(name).into_iter().flat_map(|host| host.addresses.iter().copied())
    }

    /// Starts a thread for each of `names` whose lookup is due. Removes the hosts with other names.
    pub(super) fn update(&mut self, names: &HashSet<Box<str>>, now: Instant) {
        self.hosts.retain(|name, _| names.contains(name));
        for name in names {
            let host = self.hosts.entry(name.clone()).or_default();
            host.take_answer(now);
            if host.answer.is_none() && host.due.is_none_or(|due| now >= due) {
                host.start(name, self.look_up, now);
            }
        }
    }
}

impl Host {
    fn start(&mut self, name: &str, look_up: LookUp, now: Instant) {
        let (answer, name) = (Arc::new(Mutex::new(None)), name.to_owned());
        let own = answer.clone();
        let work = move || *lock(&own) = Some(look_up(&name));
        let builder = std::thread::Builder::new().name("dafka-lookup".into()).stack_size(STACK_LEN_BYTES);
        match builder.spawn(work) {
            Ok(_) => self.answer = Some(answer),
            Err(_) => self.due = Some(now + FIRST_RETRY),
        }
    }

    fn take_answer(&mut self, now: Instant) {
        let Some(found) = self.answer.as_ref().and_then(|answer| lock(answer).take()) else { return };
        self.answer = None;
        self.failures = if found.is_empty() { self.failures + 1 } else { 0 };
        let wait = match self.failures {
            0 => REFRESH,
            failures => FIRST_RETRY.saturating_mul(1 << (failures - 1).min(16)).min(REFRESH),
        };
        self.due = Some(now + wait);
        self.addresses.extend(found.into_iter().map(super::registry::to_canonical));
        if self.addresses.len() > MAX_ADDRESSES {
            let surplus_count = self.addresses.len() - MAX_ADDRESSES;
            let surplus: Vec<SocketAddr> = self.addresses.iter().copied().take(surplus_count).collect();
            surplus.iter().for_each(|address| {
                self.addresses.remove(address);
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    /// How many times a name was looked up. Only one test uses it.
    static LOOKUPS: AtomicUsize = AtomicUsize::new(0);

    /// Finds nothing three times, then one address, then another one.
    fn look_up(name: &str) -> Vec<SocketAddr> {
        assert_eq!(name, "tower:5");
        match LOOKUPS.fetch_add(1, Ordering::SeqCst) {
            0..3 => Vec::new(),
            3 => vec!["10.0.0.1:5".parse().unwrap()],
            _ => vec!["[::ffff:10.0.0.2]:5".parse().unwrap()],
        }
    }

    #[test]
    fn a_name_is_looked_up_until_it_is_found_and_then_again() {
        let names = HashSet::from(["tower:5".into()]);
        let mut hosts = Hosts::with(look_up);
        let start = Instant::now();
        // Updates `hosts` at the given time and waits for the result. Returns how many times the name was looked up so
        // far, and its addresses.
        let mut update = |seconds: u64| {
            let now = start + Duration::from_secs(seconds);
            hosts.update(&names, now);
            while hosts.hosts["tower:5"].answer.is_some() {
                hosts.update(&names, now);
                std::thread::yield_now();
            }
            let mut addresses: Vec<String> = hosts.addresses("tower:5").map(|at| at.to_string()).collect();
            addresses.sort();
            (LOOKUPS.load(Ordering::SeqCst), addresses.join(" "))
        };
        let found = |count, addresses: &str| (count, addresses.to_owned());
        assert_eq!(update(0), found(1, ""));
        assert_eq!(update(1), found(2, ""));
        assert_eq!(update(2), found(2, ""));
        assert_eq!(update(3), found(3, ""));
        assert_eq!(update(6), found(3, ""));
        assert_eq!(update(7), found(4, "10.0.0.1:5"));
        assert_eq!(update(36), found(4, "10.0.0.1:5"));
        // A connection to the first address may still live.
        assert_eq!(update(37), found(5, "10.0.0.1:5 10.0.0.2:5"));
        assert_eq!(update(67), found(6, "10.0.0.1:5 10.0.0.2:5"));
        hosts.update(&HashSet::new(), start);
        assert_eq!(hosts.addresses("tower:5").count(), 0);
    }
}
