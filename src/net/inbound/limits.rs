//! Which inbound connections are too many.

use super::Id;
use crate::net::endpoint::host_of;
use crate::net::{Peer, max_open_files};
use std::cmp::Reverse;
use std::collections::HashMap;
use std::fmt::{self, Display, Formatter};
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::RawFd;

/// A connection is idle when it has this age, and nothing useful was ever received over it.
pub(super) const IDLE_MS: u64 = 10_000;
/// Normally, something useful is received over a new connection within this time.
const NEW_MS: u64 = 1_000;

/// The limits of inbound connections of a listening socket.
#[derive(Clone, Copy, Debug)]
pub struct InboundLimits {
    /// In total.
    pub max_count: usize,
    /// The configuration key of this limit.
    pub max_key: &'static str,
    /// Per host.
    pub max_per_host_count: usize,
    /// The configuration key of this limit.
    pub max_per_host_key: &'static str,
}

impl InboundLimits {
    /// The limit in total. It is at most half of the files that the process may have open.
    pub(super) fn all(&self) -> usize {
        self.max_count.min(max_open_files() / 2).max(1)
    }

    /// The limit per host. If it is higher than the limit in total, one host may have all connections: many nodes on
    /// one host are not an attack. When there are too many connections in total, connections of the host with the most
    /// are ended first.
    pub(super) fn per_host(&self) -> usize {
        self.max_per_host_count.min(self.all()).max(1)
    }

    pub(super) fn all_text(&self) -> String {
        Self::text(self.all(), self.max_count, self.max_key)
    }

    pub(super) fn per_host_text(&self) -> String {
        Self::text(self.per_host(), self.max_per_host_count, self.max_per_host_key)
    }

    fn text(count: usize, wanted_count: usize, key: &str) -> String {
        if count == wanted_count {
            return format!("{key} = {count}");
        }
        format!("{count}, which is what the limit of open files allows ({key} = {wanted_count})")
    }
}

/// An inbound connection.
#[derive(Debug)]
pub(super) struct Connection {
    /// The host at the other end.
    pub(super) host: Host,
    /// The number of the scan that found the connection.
    pub(super) found: u64,
    /// Its age, without the time in which the node did not read.
    pub(super) age_ms: u64,
    /// A subscription or a beacon was received over it.
    pub(super) is_active: bool,
    /// It was ended here, and libzmq will close it soon.
    pub(super) is_ended: bool,
}

/// A host that connects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Host(pub(super) IpAddr);

impl Display for Host {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        match self.0 {
            address if address.is_loopback() => f.write_str("this host"),
            address @ IpAddr::V6(_) => write!(f, "{address}/64"),
            address => write!(f, "{address}"),
        }
    }
}

/// Why connections are ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Reason {
    /// They are idle, see [`IDLE_MS`].
    Idle,
    /// Their host has too many connections.
    Host,
    /// There are too many in total, and their host has the most.
    All,
}

impl Connection {
    pub(super) fn new(peer: Peer, found: u64) -> Connection {
        let local = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let host = Host(peer.address().map_or(local, |address| host_of(address.ip())));
        Connection { host, found, age_ms: 0, is_active: false, is_ended: false }
    }

    fn is_idle(&self) -> bool {
        !self.is_active && self.age_ms >= IDLE_MS
    }

    /// Nothing useful was received over the connection, although its age is at least [`NEW_MS`].
    fn is_silent(&self) -> bool {
        !self.is_active && self.age_ms >= NEW_MS
    }

    /// Connections with the lowest rank are ended first: silent ones, from the oldest to the newest, then others, from
    /// the newest to the oldest. If one scan has found several connections, the one with the highest descriptor counts
    /// as the newest, which it usually is.
    fn rank(&self, (file, _): Id) -> (bool, Reverse<u64>, Reverse<(u64, RawFd)>) {
        let is_silent = self.is_silent();
        (!is_silent, Reverse(if is_silent { self.age_ms } else { 0 }), Reverse((self.found, file)))
    }
}

/// The connections of a listening socket that must be ended, in groups: the reason, the host, and the connections.
pub(super) fn unwanted(
    connections: &HashMap<Id, Connection>,
    limits: &InboundLimits,
) -> Vec<(Reason, Host, Vec<Id>)> {
    let mut hosts = by_host(connections.iter());
    let mut unwanted = Vec::new();
    for (&host, ids) in &mut hosts {
        let is_idle = |id: &Id| connections[id].is_idle();
        let idle: Vec<Id> = ids.iter().copied().filter(is_idle).collect();
        ids.retain(|id| !is_idle(id));
        let surplus_count = ids.len().saturating_sub(limits.per_host());
        let surplus: Vec<Id> = ids.drain(..surplus_count).collect();
        unwanted.extend([(Reason::Idle, host, idle), (Reason::Host, host, surplus)]);
    }
    let count: usize = hosts.values().map(Vec::len).sum();
    unwanted.extend(
        from_largest_hosts(hosts, count.saturating_sub(limits.all()))
            .into_iter()
            .map(|(host, ids)| (Reason::All, host, ids)),
    );
    unwanted.retain(|(_, _, ids)| !ids.is_empty());
    unwanted
}

/// The connections that are ended when `missing_count` descriptors are missing: silent ones first, then others. Of the
/// others, `fair_count` always stay.
pub(super) fn beyond_reserve<'a>(
    connections: impl Iterator<Item = (&'a Id, &'a Connection)>,
    missing_count: usize,
    fair_count: usize,
) -> Vec<Id> {
    let live = connections.filter(|(_, connection)| !connection.is_ended);
    let (silent, others): (Vec<_>, Vec<_>) = live.partition(|(_, connection)| connection.is_silent());
    let surplus_count =
        others.len().saturating_sub(fair_count).min(missing_count.saturating_sub(silent.len()));
    let silent = from_largest_hosts(by_host(silent.into_iter()), missing_count);
    let others = from_largest_hosts(by_host(others.into_iter()), surplus_count);
    silent.into_values().chain(others.into_values()).flatten().collect()
}

/// The live connections of each host, in the order in which they are ended.
fn by_host<'a>(connections: impl Iterator<Item = (&'a Id, &'a Connection)>) -> HashMap<Host, Vec<Id>> {
    let mut hosts: HashMap<Host, Vec<(_, Id)>> = HashMap::new();
    for (&id, connection) in connections.filter(|(_, connection)| !connection.is_ended) {
        hosts.entry(connection.host).or_default().push((connection.rank(id), id));
    }
    let sorted = |mut ids: Vec<(_, Id)>| {
        ids.sort_unstable();
        ids.into_iter().map(|(_, id)| id).collect()
    };
    hosts.into_iter().map(|(host, ids)| (host, sorted(ids))).collect()
}

/// Takes `count` connections, one by one, each from the host that has the most left.
fn from_largest_hosts(hosts: HashMap<Host, Vec<Id>>, count: usize) -> HashMap<Host, Vec<Id>> {
    // How many connections are taken if each host keeps at most `share` connections.
    let surplus = |share: usize| hosts.values().map(|ids| ids.len().saturating_sub(share)).sum::<usize>();
    // The largest share for which this is at least `count`.
    let most = hosts.values().map(Vec::len).max().unwrap_or(0);
    let (mut low, mut high) = (0, most);
    while low < high {
        let share = (low + high).div_ceil(2);
        if surplus(share) >= count { low = share } else { high = share - 1 }
    }
    // Some hosts keep one connection more than others, so that exactly `count` are taken.
    let mut left = count - surplus(low + 1);
    let mut taken: HashMap<Host, Vec<Id>> = HashMap::new();
    for (host, mut ids) in hosts {
        let mut own_count = ids.len().saturating_sub(low + 1);
        if left > 0 && ids.len() > low {
            (own_count, left) = (own_count + 1, left - 1);
        }
        if own_count > 0 {
            ids.truncate(own_count);
            taken.insert(host, ids);
        }
    }
    taken
}
