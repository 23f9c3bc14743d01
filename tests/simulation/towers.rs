//! Beacons and towers: how nodes find each other.

use super::*;

impl World {
    pub(super) fn beacon_at(&mut self, id: NodeId, at: Time) {
        let node = &mut self.nodes[id];
        let at = at.max(node.frozen_until);
        if node.is_alive() && node.beacon_at.is_none_or(|beacon_at| at < beacon_at) {
            node.beacon_at = Some(at);
            self.push(at, Event::Beacon(id));
        }
    }

    /// Runs a node's beacon, which has its own thread.
    pub(super) fn beacon(&mut self, id: NodeId) {
        let node = &mut self.nodes[id];
        if node.beacon_at != Some(self.now) || !node.is_alive() {
            return;
        }
        node.beacon_at = None;
        if self.now < node.frozen_until {
            self.beacon_at(id, self.now);
            return;
        }
        let mut news = Vec::new();
        let is_due = node.peers.handle_timeout(node.clock.now_ms(self.now), &mut news);
        // Peers that expire together come in the order of a hash table, which the seed does not determine.
        news.sort_by(|a, b| format!("{a:?}").cmp(&format!("{b:?}")));
        let has_news = !news.is_empty();
        node.news.extend(news);
        let at = node.clock.when(node.peers.due_ms(), self.now + 1);
        if is_due {
            let (_, host_and_port) = node.endpoint.split_once("//").expect("an endpoint");
            let (host, port) = host_and_port.rsplit_once(':').expect("an endpoint");
            // Some nodes send their host. For the others, the tower adds it.
            let host = if id.is_multiple_of(2) { host.as_bytes() } else { b"" };
            let port = port.parse().expect("a port");
            let frames = NodeBeacon { sender: &node.address, host, port, traffic: node.traffic }.encode();
            let frames: Rc<[Vec<u8>]> = frames.into();
            let (from, towers) = (node.host, node.towers.clone());
            for tower in towers {
                if let Some(delay) = self.beacon_delay(from, self.towers[tower].host) {
                    let frames = frames.clone();
                    self.push(self.now + delay, Event::NodeBeacon { tower, from, frames });
                }
            }
        }
        self.beacon_at(id, at);
        if has_news {
            self.wake(id, self.now);
        }
    }

    /// The delay of a beacon. `None` when it is lost.
    pub(super) fn beacon_delay(&mut self, from: Host, to: Host) -> Option<Time> {
        let is_lost =
            !self.network.is_open(from, to) || self.random.chance(self.network.weather.loss_per_mille);
        let delay = self.network.delay(from, to, &mut self.random);
        (!is_lost).then_some(delay)
    }

    /// As the tower's actor does: decodes a beacon, and announces the node to all.
    pub(super) fn node_beacon(&mut self, tower: usize, from: Host, frames: &[Vec<u8>]) {
        if !self.towers[tower].is_alive {
            return;
        }
        let octets: Vec<&[u8]> = frames.iter().map(Vec::as_slice).collect();
        let Ok(beacon) = NodeBeacon::decode(&octets) else { return };
        let host = match std::str::from_utf8(beacon.host) {
            Ok(host) if !host.is_empty() => host.to_owned(),
            _ => format!("10.0.0.{from}"),
        };
        let endpoint = format!("tcp://{host}:{}", beacon.port);
        // Each second tower drops the traffic, as a tower of 0.1.0.
        let traffic = beacon.traffic.filter(|_| tower.is_multiple_of(2));
        let beacon = TowerBeacon { sender: beacon.sender, endpoint: &endpoint, traffic };
        let frames: Rc<[Vec<u8>]> = beacon.encode().into();
        for node in 0..self.nodes.len() {
            if !self.nodes[node].is_alive() || !self.nodes[node].towers.contains(&tower) {
                continue;
            }
            if let Some(delay) = self.beacon_delay(self.towers[tower].host, self.nodes[node].host) {
                self.push(self.now + delay, Event::TowerBeacon { tower, node, frames: frames.clone() });
            }
        }
    }

    pub(super) fn tower_beacon(&mut self, tower: usize, id: NodeId, frames: &[Vec<u8>]) {
        let node = &mut self.nodes[id];
        // Drop messages to a frozen node, because they would be old when it reads them.
        if !node.is_alive() || !node.towers.contains(&tower) || self.now < node.frozen_until {
            return;
        }
        let octets: Vec<&[u8]> = frames.iter().map(Vec::as_slice).collect();
        let beacon = TowerBeacon::decode(&octets).expect("a beacon");
        if self.plan.has_twins {
            self.look_for_twin(id, beacon.sender, beacon.endpoint);
        }
        if self.plan.has_restarts {
            self.look_for_other_life(id, beacon.sender, beacon.endpoint);
        }
        let node = &mut self.nodes[id];
        let (mut news, now_ms) = (Vec::new(), node.clock.now_ms(self.now));
        match node.peers.discovery.may_exchange_with(beacon.traffic) {
            true => node.peers.handle_beacon(beacon.sender, beacon.endpoint, now_ms, &mut news),
            false => node.peers.discovery.handle_tower_heard(now_ms),
        }
        self.told(id, news);
    }

    /// A node's discovery has handled an event. It may have returned actions, and may want to beacon earlier.
    pub(super) fn told(&mut self, id: NodeId, news: Vec<Connecting>) {
        let node = &mut self.nodes[id];
        let has_news = !news.is_empty();
        node.news.extend(news);
        let at = node.clock.when(node.peers.due_ms(), self.now);
        self.beacon_at(id, at);
        if has_news {
            self.wake(id, self.now);
        }
    }

    pub(super) fn tower_connect(&mut self, tower: usize, id: NodeId) {
        let node = &mut self.nodes[id];
        if !node.is_alive() {
            return;
        }
        let Tower { host, is_alive } = self.towers[tower];
        if !is_alive || !self.network.are_connected(host, node.host) {
            let delay = self.network.retry_delay(&mut self.random);
            self.push(self.now + delay, Event::TowerConnect { tower, node: id });
            return;
        }
        let now_ms = node.clock.now_ms(self.now);
        node.towers.insert(tower);
        node.peers.discovery.handle_tower_lost(false, now_ms);
        node.peers.discovery.handle_welcome(now_ms);
        self.told(id, Vec::new());
    }

    pub(super) fn crash_tower(&mut self, tower: usize) {
        self.trace(|| format!("tower {tower} is gone"));
        self.towers[tower].is_alive = false;
        for node in 0..self.nodes.len() {
            self.leave_tower(tower, node);
        }
    }

    /// Ends the node's connection to the tower.
    pub(super) fn leave_tower(&mut self, tower: usize, id: NodeId) {
        let node = &mut self.nodes[id];
        if node.is_alive() && node.towers.remove(&tower) {
            let is_lost = node.towers.is_empty();
            node.peers.discovery.handle_tower_lost(is_lost, node.clock.now_ms(self.now));
            let delay = self.network.retry_delay(&mut self.random);
            self.push(self.now + delay, Event::TowerConnect { tower, node: id });
        }
    }
}
