//! Producers that share an address. One that notices this takes a new address, as the producer's actor does.
//!
//! For each offset, stores keep the record of one of the two producers, and acknowledge it to both. So the partition
//! counts as forged. A producer that notices its twin takes a new address, and publishes again the records that it
//! keeps. The invariants demand everything of the new partition.

use super::*;
use crate::nodes::ProducerNode;
use dafka::protocol::producer::batch_subscribers::BatchSubscribers;
use dafka::protocol::producer::renewals::Step;

impl World {
    pub(super) fn start_twin(&mut self, of: NodeId, lens_bytes: Vec<usize>) {
        let Role::Producer(original) = &self.nodes[of].role else { return };
        let name = &original.name;
        let name = name.clone();
        let min_stores = self.model.partitions[&name].min_stores;
        self.model.forge(name.clone());
        let producer = Producer::new(&name.0, &name.1, HEAD_INTERVAL_MS).expect("a short name");
        let producer = producer.with_min_stores(min_stores).with_max_fetches(self.plan.max_fetches).unread();
        let wants = subscriptions::producer(&name.1, &name.0);
        let (address, clock, host) = (name.1.clone(), self.fresh_clock(), self.random.below(HOSTS) as Host);
        let role = Role::Producer(Box::new(ProducerNode::new(producer, name)));
        let id = self.start(host, address, &[], wants, role, clock);
        self.twins.push(id);
        self.command(id, lens_bytes.into_iter().map(Command::Publish));
    }

    /// A tower has announced `sender` at `endpoint`.
    pub(super) fn look_for_twin(&mut self, id: NodeId, sender: &[u8], endpoint: &str) {
        let port = |endpoint: &str| endpoint.rsplit_once(':').map(|(_, port)| port.to_owned());
        let node = &mut self.nodes[id];
        if let Role::Producer(producer) = &mut node.role
            && node.address == sender
            && port(endpoint) != port(&node.endpoint)
            && !self.plan.has_hidden_twins
        {
            producer.has_heard_of_twin = true;
            self.wake(id, self.now);
        }
    }

    /// Gives a new address to a producer that has noticed a twin. True when it has become another node.
    pub(super) fn renew(&mut self, id: NodeId) -> Result<bool, (usize, String)> {
        let node = &mut self.nodes[id];
        let now_ms = node.clock.now_ms(self.now);
        let Role::Producer(producer) = &mut node.role else { return Ok(false) };
        let has_noticed =
            producer.producer.poll_twin().is_some() | std::mem::take(&mut producer.has_heard_of_twin);
        let (news, is_ending) = (has_noticed.then(String::new), producer.is_terminating);
        let Some(step) = producer.renewals.poll_step(news, is_ending, now_ms) else { return Ok(false) };
        // Sometimes there are no sockets for a new node.
        let has_no_room = self.phase == Phase::Faults && self.random.chance(500);
        let may_renew = matches!(step, Step::Renew(_));
        if may_renew && has_no_room {
            producer.renewals.handle_failure(String::new());
        }
        if !may_renew || has_no_room {
            producer.producer.keep_acknowledged();
            return Ok(false);
        }
        self.renewed_at = self.now;
        let Role::Producer(mut producer) = std::mem::replace(&mut node.role, Role::Gone) else {
            return Ok(false);
        };
        let (host, clock) = (node.host, node.clock);
        self.stop(id);
        let address = self.fresh_address();
        let old = std::mem::replace(&mut producer.name.1, address.clone());
        let old = (producer.name.0.clone(), old);
        let is_left = |node: &Node| matches!(&node.role, Role::Producer(other) if other.name == old);
        let partition = self.model.partitions.get_mut(&old).expect("of the model");
        partition.is_alive &= self.nodes.iter().any(is_left);
        let min_stores = partition.min_stores;
        self.model.add_partition(producer.name.clone(), min_stores);
        let partition = self.model.partitions.get_mut(&producer.name).expect("of the model");
        partition.records = producer.kept.iter().cloned().collect();
        producer.producer.renew(&address, now_ms).expect("a short name");
        producer.subscribers = BatchSubscribers::new(&producer.name.0);
        let wants = subscriptions::producer(&address, &producer.name.0);
        let new = self.start(host, address, &[], wants, Role::Producer(producer), clock);
        for other in self.producers.iter_mut().chain(&mut self.twins).filter(|other| **other == id) {
            *other = new;
        }
        self.publish(new)?;
        Ok(true)
    }
}
