//! Looks up the hosts of peers' endpoints in threads of their own.
//!
//! libzmq looks up a host name in its I/O thread at each attempt to connect. If no server responds, the lookup blocks
//! every socket until the lookup times out. Any peer may announce a name of this kind. So for peers, libzmq gets only
//! addresses. (libzmq itself looks up the names of towers.)
//!
//! An asker is a node whose endpoint contains a host name. One host may have several askers, with different ports.

use super::endpoint::{name_and_port, peer_endpoint};
use std::borrow::Cow;
use std::collections::HashMap;
use std::net::{IpAddr, ToSocketAddrs};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::{io, mem, thread};

use zmq::{POLLIN, PollItem};

/// The number of hosts that are looked up at a time, each in its own thread. Requests for further hosts must be
/// repeated.
const MAX_LOOKUPS: usize = 16;
/// The number of hosts that are remembered, found or not.
const MAX_HOSTS: usize = 1_000;
/// A host that was found is looked up again after this time. The old address is used until then.
const REFRESH_MS: u64 = 60_000;
/// A host that was not found is looked up again after this time.
const RETRY_MS: u64 = 10_000;
/// When there is no room, hosts that were not requested for this time are removed.
const FORGET_MS: u64 = 10_000;
/// When a lookup has taken this long, the host counts as missing until the lookup ends.
const PATIENCE_MS: u64 = 1_000;
/// The number of askers per host for which [`Resolver::found`] returns the result of the lookup. For other askers,
/// [`Resolver::resolve`] must be called again.
const MAX_WAITING: usize = 8;
/// A lookup needs little stack, but modules of the system's resolver may need more.
const STACK_LEN_BYTES: usize = 512 << 10;

/// The addresses of hosts.
pub struct Resolver {
    is_ipv6: bool,
    hosts: HashMap<Box<str>, Host>,
    lookups: usize,
    answers: (Sender<Answer>, Receiver<Answer>),
    /// Becomes readable when a lookup ends. This is not a ZeroMQ socket, because the threads may outlive the context.
    wake: Option<(UnixStream, Arc<UnixStream>)>,
}

#[derive(Default)]
struct Host {
    address: Option<IpAddr>,
    is_looked_up: bool,
    /// The latest lookup that has ended found nothing.
    has_failed: bool,
    /// When the latest lookup ended or, while it runs, when it started.
    looked_up_ms: Option<u64>,
    asked_ms: u64,
    /// The askers that wait for the address of this host, each with the port of its endpoint.
    waiting: Vec<(Box<[u8]>, Box<str>)>,
}

struct Answer {
    host: Box<str>,
    address: Option<IpAddr>,
}

impl Resolver {
    /// A resolver without hosts. With `is_ipv6` it prefers IPv6 addresses, otherwise it ignores them.
    pub fn new(is_ipv6: bool) -> Self {
        Resolver { is_ipv6, hosts: HashMap::new(), lookups: 0, answers: channel(), wake: None }
    }

    /// Returns a canonical endpoint with the host's address in place of its name. `None` while the address is not
    /// known, and when the address is not that of a single host. If a lookup is running and fewer than `MAX_WAITING`
    /// askers wait for it, [`Resolver::found`] later calls its closure with `asker` and the result.
    pub fn resolve<'a>(&mut self, asker: &[u8], endpoint: &'a str, now_ms: u64) -> Option<Cow<'a, str>> {
        let Some((name, port)) = name_and_port(endpoint) else { return Some(endpoint.into()) };
        if !self.hosts.contains_key(name) && !self.has_room(now_ms) {
            return None;
        }
        let host = self.hosts.entry(name.into()).or_default();
        host.asked_ms = now_ms;
        let interval_ms = if host.address.is_some() { REFRESH_MS } else { RETRY_MS };
        let is_due = host.looked_up_ms.is_none_or(|looked_up_ms| now_ms >= looked_up_ms + interval_ms);
        if is_due && !host.is_looked_up && self.lookups < MAX_LOOKUPS {
            self.start_lookup(name, now_ms);
        }
        let host = self.hosts.get_mut(name)?;
        match host.address {
            Some(address) => peer_endpoint(address, port.parse().ok()?).map(Cow::from),
            None => {
                let is_known = host.waiting.iter().any(|(known, at)| **known == *asker && **at == *port);
                if host.is_looked_up && host.waiting.len() < MAX_WAITING && !is_known {
                    host.waiting.push((asker.into(), port.into()));
                }
                None
            }
        }
    }

    /// Returns whether the host of `endpoint` counts as missing. Call this after [`Resolver::resolve`] returned `None`.
    /// The host is missing in each of these cases:
    ///
    /// - The latest lookup that has ended found nothing.
    /// - The first lookup has run for at least `PATIENCE_MS`.
    /// - No lookup of the host was started.
    /// - The address of the host is not that of a single host (such as 0.0.0.0).
    pub fn is_missing(&self, endpoint: &str, now_ms: u64) -> bool {
        let Some((name, _)) = name_and_port(endpoint) else { return false };
        self.hosts.get(name).is_none_or(|host| {
            let is_recent = host.looked_up_ms.is_some_and(|looked_up_ms| now_ms < looked_up_ms + PATIENCE_MS);
            host.has_failed || host.address.is_some() || !(host.is_looked_up && is_recent)
        })
    }

    fn has_room(&mut self, now_ms: u64) -> bool {
        if self.hosts.len() >= MAX_HOSTS {
            self.hosts.retain(|_, host| host.is_looked_up || now_ms < host.asked_ms + FORGET_MS);
        }
        self.hosts.len() < MAX_HOSTS
    }

    /// Starts the lookup of a host, if the system can start a thread.
    fn start_lookup(&mut self, name: &str, now_ms: u64) {
        let Ok(waker) = self.waker() else { return };
        let (answers, host, is_ipv6) = (self.answers.0.clone(), Box::<str>::from(name), self.is_ipv6);
        let work = move || {
            let address = look_up(&host, is_ipv6);
            // The first call fails when the resolver is gone. The second call fails when enough bytes to wake the
            // resolver are queued already.
            let _ = answers.send(Answer { host, address });
            let _ = io::Write::write(&mut &*waker, &[0]);
        };
        let builder = thread::Builder::new().name("dafka-resolve".into()).stack_size(STACK_LEN_BYTES);
        if builder.spawn(work).is_ok()
            && let Some(host) = self.hosts.get_mut(name)
        {
            (host.is_looked_up, host.looked_up_ms) = (true, Some(now_ms));
            self.lookups += 1;
        }
    }

    fn waker(&mut self) -> io::Result<Arc<UnixStream>> {
        if self.wake.is_none() {
            let (wake, waker) = UnixStream::pair()?;
            wake.set_nonblocking(true)?;
            waker.set_nonblocking(true)?;
            self.wake = Some((wake, Arc::new(waker)));
        }
        self.wake.as_ref().map(|(_, waker)| waker.clone()).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// What to poll for results. `None` before the first lookup.
    pub fn item(&self) -> Option<PollItem<'_>> {
        self.wake.as_ref().map(|(wake, _)| PollItem::from_fd(wake.as_raw_fd(), POLLIN))
    }

    /// Whether no host is being looked up.
    pub fn is_idle(&self) -> bool {
        self.lookups == 0
    }

    /// Calls `each` for each asker whose lookup has ended. The arguments are the asker, its endpoint, and this endpoint
    /// with the host's address in place of its name. The last argument is `None` if the host was not found, or its
    /// address is not that of a single host.
    pub fn found(&mut self, now_ms: u64, mut each: impl FnMut(&[u8], &str, Option<&str>)) {
        if let Some((wake, _)) = &mut self.wake {
            let mut bytes = [0; 64];
            while io::Read::read(wake, &mut bytes).is_ok_and(|len| len > 0) {}
        }
        while let Ok(Answer { host: name, address }) = self.answers.1.try_recv() {
            self.lookups -= 1;
            let Some(host) = self.hosts.get_mut(&name) else { continue };
            (host.is_looked_up, host.looked_up_ms) = (false, Some(now_ms));
            host.has_failed = address.is_none();
            host.address = address.or(host.address);
            for (asker, port) in mem::take(&mut host.waiting) {
                let endpoint = host.address.and_then(|address| peer_endpoint(address, port.parse().ok()?));
                each(&asker, &format!("tcp://{name}:{port}"), endpoint.as_deref());
            }
        }
    }
}

/// The address that libzmq would use. This function waits until the lookup ends.
pub(super) fn look_up(host: &str, is_ipv6: bool) -> Option<IpAddr> {
    let found: Vec<IpAddr> = (host, 0).to_socket_addrs().ok()?.map(|address| address.ip()).collect();
    let of_family = |is_ipv6| found.iter().copied().find(|address| address.is_ipv6() == is_ipv6);
    match is_ipv6 {
        true => of_family(true).or(of_family(false)),
        false => of_family(false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv6Addr;

    /// Waits for the results of all lookups.
    fn wait(resolver: &mut Resolver, now_ms: u64) -> Vec<(Vec<u8>, Option<String>)> {
        let mut found = Vec::new();
        while resolver.lookups > 0 {
            zmq::poll(&mut [resolver.item().unwrap()], -1).unwrap();
            resolver.found(now_ms, |asker, _, endpoint| {
                found.push((asker.to_vec(), endpoint.map(str::to_owned)));
            });
        }
        found
    }

    #[test]
    fn endpoints_with_addresses_are_not_changed() {
        let mut resolver = Resolver::new(true);
        for endpoint in ["tcp://10.0.0.1:5", "tcp://[fd00::1]:5", "tcp://[fe80::1%eth0]:5", "tcp://fd00::1:5"]
        {
            assert_eq!(resolver.resolve(b"me", endpoint, 0).as_deref(), Some(endpoint));
        }
        assert!(resolver.item().is_none(), "no thread was needed");
    }

    #[test]
    fn a_host_is_looked_up_once_for_several_requesters() {
        let mut resolver = Resolver::new(false);
        for asker in [&b"one"[..], b"two", b"one"] {
            assert_eq!(resolver.resolve(asker, "tcp://localhost:7", 5), None);
        }
        assert_eq!(resolver.lookups, 1);
        let endpoint = Some("tcp://127.0.0.1:7".to_owned());
        let expected = [(b"one".to_vec(), endpoint.clone()), (b"two".to_vec(), endpoint.clone())];
        assert_eq!(wait(&mut resolver, 9), expected);
        assert_eq!(resolver.resolve(b"three", "tcp://localhost:8", 60_008).unwrap(), "tcp://127.0.0.1:8");
        assert_eq!(resolver.lookups, 0);
        // The address may have changed, so it is looked up again, while the old one is used.
        assert_eq!(resolver.resolve(b"three", "tcp://localhost:8", 60_009).unwrap(), "tcp://127.0.0.1:8");
        assert_eq!(resolver.lookups, 1);
        assert_eq!(wait(&mut resolver, 60_010), []);
    }

    /// The time of a process starts at 0.
    #[test]
    fn a_host_is_looked_up_in_the_first_ms() {
        let mut resolver = Resolver::new(false);
        assert_eq!(resolver.resolve(b"me", "tcp://localhost:7", 0), None);
        assert_eq!(resolver.resolve(b"me", "tcp://localhost:7", 0), None);
        assert_eq!(resolver.lookups, 1);
        assert_eq!(wait(&mut resolver, 0), [(b"me".to_vec(), Some("tcp://127.0.0.1:7".to_owned()))]);
        assert_eq!(resolver.resolve(b"me", "tcp://localhost:7", 0).unwrap(), "tcp://127.0.0.1:7");
    }

    #[test]
    fn a_host_that_was_not_found_is_looked_up_again_later() {
        let mut resolver = Resolver::new(false);
        // The name is not valid, so that no server is asked.
        let endpoint = format!("tcp://{}:1", "x".repeat(250));
        assert_eq!(resolver.resolve(b"me", &endpoint, 5), None);
        assert!(!resolver.is_missing(&endpoint, 5), "not known yet");
        assert!(resolver.is_missing(&endpoint, 5 + PATIENCE_MS));
        assert_eq!(wait(&mut resolver, 6), [(b"me".to_vec(), None)]);
        assert!(resolver.is_missing(&endpoint, 6));
        assert_eq!(resolver.resolve(b"me", &endpoint, RETRY_MS + 5), None);
        assert_eq!(resolver.lookups, 0);
        assert_eq!(resolver.resolve(b"me", &endpoint, RETRY_MS + 6), None);
        assert_eq!(resolver.lookups, 1);
        assert!(resolver.is_missing(&endpoint, RETRY_MS + 6), "it stays so until there is an answer");
        assert_eq!(wait(&mut resolver, RETRY_MS + 6), [(b"me".to_vec(), None)]);
    }

    #[test]
    fn the_number_of_hosts_is_limited_and_hosts_in_use_stay() {
        let mut resolver = Resolver::new(false);
        let endpoint = |i: usize| format!("tcp://{}{i}:1", "x".repeat(250));
        resolver.resolve(b"me", "tcp://localhost:1", 1);
        wait(&mut resolver, 1);
        for i in 0..3 * MAX_HOSTS {
            let now_ms = 1 + 10 * i as u64;
            resolver.resolve(b"me", &endpoint(i), now_ms);
            assert!(resolver.resolve(b"me", "tcp://localhost:1", now_ms).is_some());
            assert!(resolver.lookups <= MAX_LOOKUPS && resolver.hosts.len() <= MAX_HOSTS);
            resolver.found(now_ms, |_, _, _| {});
        }
        wait(&mut resolver, 0);
    }

    #[test]
    fn the_address_family_in_use_is_preferred() {
        assert_eq!(look_up("127.0.0.1", true), "127.0.0.1".parse().ok());
        assert_eq!(look_up("::1", false), None);
        assert_eq!(look_up("::1", true), Some(IpAddr::V6(Ipv6Addr::LOCALHOST)));
    }
}
