//! Executes the actions of the plan.

use super::*;
use crate::clock::unix_ms;
use dafka::protocol::consumer::Subscribed;

impl World {
    pub(super) fn living(&self, of: &[NodeId], number: u64) -> Option<NodeId> {
        let living: Vec<NodeId> = of.iter().copied().filter(|&id| self.nodes[id].is_alive()).collect();
        (!living.is_empty()).then(|| living[(number % living.len() as u64) as usize])
    }

    pub(super) fn store(&self, number: u64) -> Option<usize> {
        (!self.stores.is_empty()).then(|| (number % self.stores.len() as u64) as usize)
    }

    pub(super) fn act(&mut self, action: Action) -> Check {
        self.trace(|| format!("{action:?}"));
        let (now, calm_at) = (self.now, self.plan.calm_at);
        match action {
            Action::StartStore => {
                let host = self.random.below(HOSTS) as Host;
                let store = self.add_store(self.new_disk(), host);
                return self.start_store(store);
            }
            Action::StartProducer { topic, min_stores } => self.start_producer(topic, min_stores),
            Action::StartConsumer { start, topics } => {
                let name = format!("consumer {}", self.consumers.len()).into_bytes();
                let named = self.plan.has_names.then(|| Named::new(name));
                self.start_consumer(start, topics.into_iter().map(<[u8]>::to_vec).collect(), named);
            }
            Action::Publish { producer, lens_bytes } => {
                if let Some(&id) = self.producers.get(producer as usize) {
                    self.command(id, lens_bytes.into_iter().map(Command::Publish));
                }
            }
            Action::EndProducer { producer } => {
                if let Some(&id) = self.producers.get(producer as usize) {
                    self.command(id, [Command::Terminate].into_iter());
                }
            }
            Action::CrashProducer { producer } => {
                if let Some(id) = self.living(&self.producers, producer) {
                    if let Role::Producer(producer) = &self.nodes[id].role {
                        self.model.partitions.get_mut(&producer.name).expect("of the model").is_alive = false;
                    }
                    self.stop(id);
                }
            }
            Action::RestartProducer { producer, written, down } => {
                if let Some(id) = self.living(&self.producers, producer) {
                    self.restart_producer(id, written, down);
                }
            }
            Action::CrashConsumer { consumer } => {
                let id = self.living(&self.consumers, consumer);
                if let Some(id) = id
                    && let Role::Consumer(node) = &self.nodes[id].role
                    && let ConsumerNode { oracle, consumer, .. } = &**node
                {
                    let (start, topics) = (oracle.start, consumer.topics().map(<[u8]>::to_vec).collect());
                    let named = oracle.named.clone();
                    self.report.delivered += oracle.delivered;
                    self.stop(id);
                    self.push((now + 500 * MS).min(calm_at), Event::StartConsumer { start, topics, named });
                }
            }
            Action::JoinGroup => self.join_group(),
            Action::LeaveGroup { member } => self.leave_group(member),
            Action::CrashMember { member } => self.crash_member(member),
            Action::StallMember { member, lasts } => self.stall_member(member, lasts),
            Action::CrashStore { store, is_power_cut, down } => {
                if let Some(store) = self.store(store) {
                    self.crash_store(store, is_power_cut);
                    self.push((now + down).min(calm_at), Event::StartStore(store));
                }
            }
            Action::KillStore { store } => {
                if let Some(store) = self.store(store) {
                    self.kill_store(store);
                }
            }
            Action::StartTwin { producer, lens_bytes } => {
                let named = self.producers.get(producer as usize).copied();
                let named = named.filter(|&id| self.nodes[id].is_alive());
                if let Some(id) = named.or_else(|| self.living(&self.producers, producer)) {
                    self.start_twin(id, lens_bytes);
                }
            }
            Action::StartHostile(habits) => self.start_hostile(habits),
            Action::WipeStore { store, down } => {
                if let Some(store) = self.store(store).filter(|&store| !self.stores[store].is_killed) {
                    self.kill_store(store);
                    let fresh = self.add_store(self.new_disk(), self.stores[store].host);
                    self.push((now + down).min(calm_at), Event::StartStore(fresh));
                }
            }
            Action::RollStoreBack { store, after, down } => {
                // A store that starts from a snapshot without a name takes a new name, so it would be another store.
                if let Some(store) = self.store(store).filter(|&store| !self.stores[store].name.is_empty())
                    && let Some(disk) = self.stores[store].disk.copy()
                {
                    self.push((now + after).min(calm_at - 1), Event::Restore { store, disk, down });
                }
            }
            Action::CopyStore { store, is_renamed, down } => {
                if let Some(store) = self.store(store)
                    && let Some(disk) = self.stores[store].disk.copy()
                {
                    if is_renamed {
                        disk.rename(&self.fresh_address());
                    }
                    let host = self.random.below(HOSTS) as Host;
                    let copy = self.add_store(disk, host);
                    self.push((now + down).min(calm_at), Event::StartStore(copy));
                }
            }
            Action::ForgeCopy { store, record } => {
                if let Some(store) = self.store(store) {
                    return self.forge_copy(store, record);
                }
            }
            Action::BreakConnections { per_mille, given_up_per_mille } => {
                for connection in 0..self.network.connections.len() {
                    if self.network.connections[connection].publisher.is_some()
                        && self.random.chance(per_mille)
                    {
                        let is_given_up = self.random.chance(given_up_per_mille);
                        self.lose_connection(connection, is_given_up);
                    }
                }
            }
            Action::CrashTower { tower, down } => {
                let tower = (tower % self.towers.len() as u64) as usize;
                self.crash_tower(tower);
                if down < Time::MAX {
                    self.push((now + down).min(calm_at), Event::StartTower(tower));
                }
            }
            Action::Resubscribe { consumer, topic, after } => {
                if let Some(node) = self.living(&self.consumers, consumer) {
                    self.unsubscribe(node, topic);
                    self.push((now + after).min(calm_at), Event::Subscribed { node, topic });
                }
            }
            Action::Seek { consumer, partition, to } => {
                if let Some(id) = self.living(&self.consumers, consumer)
                    && let Node { role: Role::Consumer(node), clock, .. } = &mut self.nodes[id]
                    && node.seek(partition, to, &self.model, clock.now_ms(now))
                {
                    self.wake(id, now);
                }
            }
            Action::SeekAll { consumer, topic, ago_ms } => {
                if let Some(id) = self.living(&self.consumers, consumer)
                    && let Node { role: Role::Consumer(node), clock, host, .. } = &mut self.nodes[id]
                {
                    let unix_ms = unix_ms(now, *host);
                    let start = ago_ms.map_or(Start::Latest, |ago_ms| Start::Time(unix_ms - ago_ms));
                    let moment = Subscribed { unix_ms, now_ms: clock.now_ms(now), uptime_ms: now / MS };
                    if node.seek_all(topic, start, &self.model, moment) {
                        self.wake(id, now);
                    }
                }
            }
            Action::Pause { consumer, topic, lasts } => {
                if let Some(node) = self.living(&self.consumers, consumer)
                    && let Role::Consumer(consumer) = &mut self.nodes[node].role
                    && consumer.pause(topic)
                {
                    self.push((now + lasts).min(calm_at), Event::ResumeTopic { node, topic });
                }
            }
            Action::Stall { consumer, room, lasts } => {
                if let Some(id) = self.living(&self.consumers, consumer)
                    && let Role::Consumer(node) = &mut self.nodes[id].role
                {
                    node.room = Some(room);
                    self.push((now + lasts).min(calm_at), Event::Resume(id));
                }
            }
            Action::Cut { cuts, breaks, lasts } => {
                let count = cuts.len();
                self.network.cuts.extend(cuts);
                if breaks {
                    self.break_what_is_cut();
                }
                self.push((now + lasts).min(calm_at), Event::Clear { weather: false, cuts: count });
            }
            Action::Weather { weather, lasts } => {
                self.network.weather = weather;
                self.push((now + lasts).min(calm_at), Event::Clear { weather: true, cuts: 0 });
            }
            Action::SlowDisk { store, factor, lasts } => {
                if let Some(store) = self.store(store) {
                    self.stores[store].slowness = factor;
                    self.push((now + lasts).min(calm_at), Event::DiskIsGood(store));
                }
            }
            Action::Mood { store, mood, lasts } => {
                if let Some(store) = self.store(store) {
                    self.stores[store].disk.set_mood(mood);
                    self.push((now + lasts).min(calm_at), Event::DiskIsGood(store));
                }
            }
            Action::Freeze { node, lasts } => {
                let all: Vec<NodeId> = (0..self.nodes.len()).collect();
                if let Some(id) = self.living(&all, node) {
                    let until = (now + lasts).min(calm_at);
                    let node = &mut self.nodes[id];
                    (node.ready_at, node.frozen_until) = (until.max(node.ready_at), until);
                }
            }
            Action::FreezeConsumers { lasts } => {
                let until = (now + lasts).min(calm_at);
                for &id in self.consumers.iter().chain(&self.members) {
                    let node = &mut self.nodes[id];
                    (node.ready_at, node.frozen_until) = (until.max(node.ready_at), until);
                }
            }
            Action::Jump { node, by_ms } => {
                let all: Vec<NodeId> = (0..self.nodes.len()).collect();
                if let Some(id) = self.living(&all, node) {
                    self.nodes[id].clock.jump(by_ms);
                    self.wake(id, now);
                    self.beacon_at(id, now);
                }
            }
        }
        Ok(())
    }

    pub(super) fn command(&mut self, id: NodeId, commands: impl Iterator<Item = Command>) {
        if let Role::Producer(producer) = &mut self.nodes[id].role
            && !producer.is_terminating
        {
            producer.commands.extend(commands);
            self.wake(id, self.now);
        }
    }

    /// Breaks the connections between hosts that a cut separates.
    pub(super) fn break_what_is_cut(&mut self) {
        for i in 0..self.network.connections.len() {
            let connection = &self.network.connections[i];
            let Some(publisher) = connection.publisher else { continue };
            if !self.network.are_connected(self.nodes[publisher].host, connection.subscriber_host) {
                self.break_connection(i);
            }
        }
        for tower in 0..self.towers.len() {
            for node in 0..self.nodes.len() {
                if !self.network.are_connected(self.towers[tower].host, self.nodes[node].host) {
                    self.leave_tower(tower, node);
                }
            }
        }
    }
}
