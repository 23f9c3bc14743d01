//! How much of a limited resource each host and each peer uses.
//!
//! Resources are divided among hosts first, and then among the peers of each host. So a host does not get more by
//! opening many connections. The name of a peer is the name of its connection, which begins with the host, see
//! [`host_of`].

use super::host_of;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

/// The amounts of all peers.
#[derive(Debug, Default)]
pub struct Shares {
    hosts: HashMap<Arc<[u8]>, Host>,
}

/// The amounts that a change has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Changed {
    /// The peer's amount before the change, and after it.
    pub peer: (u64, u64),
    /// The amount of the peer's host before the change, and after it.
    pub host: (u64, u64),
}

#[derive(Debug, Default)]
struct Host {
    total: u64,
    peers: HashMap<Arc<[u8]>, u64>,
}

impl Shares {
    /// The amount of a peer.
    pub fn of(&self, peer: &[u8]) -> u64 {
        self.hosts.get(host_of(peer)).and_then(|host| host.peers.get(peer)).copied().unwrap_or(0)
    }

    /// The amount of all peers of a peer's host.
    pub fn of_host(&self, peer: &[u8]) -> u64 {
        self.hosts.get(host_of(peer)).map_or(0, |host| host.total)
    }

    /// The number of hosts with an amount.
    pub fn host_count(&self) -> usize {
        self.hosts.len()
    }

    /// Changes a peer's amount when one part of this amount changes from `before` to `now`. Drops the peer if its
    /// amount is then 0. Returns the amounts of the peer and of its host before and after the change.
    pub fn change(&mut self, peer: &[u8], before: u64, now: u64) -> Changed {
        let name = host_of(peer);
        if before == now {
            let (own, total) = (self.of(peer), self.of_host(peer));
            return Changed { peer: (own, own), host: (total, total) };
        }
        if !self.hosts.contains_key(name) {
            self.hosts.insert(name.into(), Host::default());
        }
        let host = self.hosts.get_mut(name).expect("just made, if it was not there");
        let host_was = host.total;
        host.total = host.total + now - before;
        let peer_was = host.peers.get(peer).copied().unwrap_or(0);
        let peer_is = peer_was + now - before;
        match host.peers.get_mut(peer) {
            _ if peer_is == 0 => drop(host.peers.remove(peer)),
            Some(own) => *own = peer_is,
            None => drop(host.peers.insert(peer.into(), peer_is)),
        }
        let changed = Changed { peer: (peer_was, peer_is), host: (host_was, host.total) };
        if host.peers.is_empty() {
            self.hosts.remove(name);
        }
        changed
    }
}

/// Names, ordered by amount.
type Ranks = BTreeSet<(u64, Arc<[u8]>)>;

/// [`Shares`], and the order of peers and hosts by amount.
#[derive(Debug, Default)]
pub struct RankedShares {
    shares: Shares,
    hosts: Ranks,
    /// The peers of each host.
    of_host: HashMap<Arc<[u8]>, Ranks>,
    peers: Ranks,
}

impl RankedShares {
    /// See [`Shares::of`].
    pub fn of(&self, peer: &[u8]) -> u64 {
        self.shares.of(peer)
    }

    /// See [`Shares::of_host`].
    pub fn of_host(&self, peer: &[u8]) -> u64 {
        self.shares.of_host(peer)
    }

    /// See [`Shares::host_count`].
    pub fn host_count(&self) -> usize {
        self.shares.host_count()
    }

    /// The peers and their amounts, the largest amount first.
    pub fn greediest(&self) -> impl Iterator<Item = (&[u8], u64)> {
        self.peers.iter().rev().map(|(amount, peer)| (&**peer, *amount))
    }

    /// Selects the peer that gives up one part, so that `peer` gets one more part. The largest peer or host is the one
    /// with the largest amount. In these rules, the new part already counts for `peer` and its host:
    ///
    /// 1. If another host has more than the host of `peer`, the largest peer of the largest host is selected.
    /// 2. Otherwise, if another peer of the host of `peer` has more than `peer`, the largest peer of this host is
    ///    selected.
    /// 3. Otherwise, no peer is selected.
    pub fn greediest_for(&self, peer: &[u8]) -> Option<&Arc<[u8]>> {
        let own_host_amount = self.of_host(peer);
        let most = |host: &[u8]| self.of_host.get(host).and_then(Ranks::last);
        match self.hosts.last() {
            Some((amount, host)) if *amount > own_host_amount + 1 => most(host),
            _ => most(host_of(peer)).filter(|(amount, _)| *amount > self.of(peer) + 1),
        }
        .map(|(_, greediest)| greediest)
    }

    /// See [`Shares::change`].
    pub fn change(&mut self, peer: &[u8], before: u64, now: u64) -> Changed {
        let changed = self.shares.change(peer, before, now);
        let (name, host): (Arc<[u8]>, Arc<[u8]>) = (peer.into(), host_of(peer).into());
        let peers_of_host = self.of_host.entry(host.clone()).or_default();
        for ranks in [&mut self.peers, peers_of_host] {
            replace(ranks, &name, changed.peer);
        }
        if peers_of_host.is_empty() {
            self.of_host.remove(&host);
        }
        replace(&mut self.hosts, &host, changed.host);
        changed
    }
}

/// Updates a name's rank. A name whose amount is 0 has no rank.
fn replace(ranks: &mut Ranks, name: &Arc<[u8]>, (was, is): (u64, u64)) {
    if was == is {
        return;
    }
    if was > 0 {
        ranks.remove(&(was, name.clone()));
    }
    if is > 0 {
        ranks.insert((is, name.clone()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(host: u8, number: u8) -> Vec<u8> {
        [&[host; 16][..], &[number]].concat()
    }

    #[test]
    fn amounts_are_counted_by_host_and_by_peer() {
        let mut shares = RankedShares::default();
        for (host, number, amount) in [(1, 1, 5), (1, 2, 6), (2, 1, 10), (1, 1, 2)] {
            shares.change(&peer(host, number), 0, amount);
        }
        assert_eq!((shares.of(&peer(1, 1)), shares.of_host(&peer(1, 9)), shares.host_count()), (7, 13, 2));
        assert_eq!(shares.greediest().map(|(_, amount)| amount).collect::<Vec<_>>(), [10, 7, 6]);
        // The largest peer of the largest host loses first.
        assert_eq!(shares.greediest_for(&peer(3, 1)).map(|name| &**name), Some(&*peer(1, 1)));
        // A new peer of the largest host takes from the largest peer of that host.
        assert_eq!(shares.greediest_for(&peer(1, 3)).map(|name| &**name), Some(&*peer(1, 1)));
        assert_eq!(shares.greediest_for(&peer(1, 2)), None);
        for (host, number, amount) in [(1, 1, 7), (1, 2, 6), (2, 1, 10)] {
            shares.change(&peer(host, number), amount, 0);
        }
        assert_eq!((shares.host_count(), shares.greediest().count(), shares.of_host.len()), (0, 0, 0));
        assert_eq!((shares.hosts.len(), shares.greediest_for(&peer(1, 1))), (0, None));
    }
}
