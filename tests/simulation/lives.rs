//! Named producers that are killed and start again.
//!
//! The model has all records that a producer has published. The producer writes each of them to its outbox first, so
//! they are also the content of the outbox. The next life of the producer gets those that are not noted as acknowledged.

use super::*;
use crate::clock::unix_ms;
use crate::model::Record;
use dafka::protocol::producer::guard::{Guard, Terms};

/// The most content in one entry of an outbox with several records.
const MAX_ENTRY_LEN_BYTES: usize = 60_000;

const TERMS: Terms = Terms {
    start_stores: 1,
    start_timeout_ms: None,
    beacon_interval_ms: BEACON_INTERVAL_MS,
    beacon_timeout_ms: BEACON_TIMEOUT_MS,
};

/// A life that is about to start.
pub(super) struct Life {
    /// The number of the producer.
    producer: usize,
    name: Name,
    /// The acknowledged records, as the outbox notes them.
    acknowledged: u64,
    /// Every life runs on the same host, and with the same version.
    is_old: bool,
    host: Host,
}

impl World {
    /// Kills a named producer. It starts again later. Some of the records that its application has sent are already in
    /// the outbox, and not published yet.
    pub(super) fn restart_producer(&mut self, id: NodeId, written: u64, down: Time) {
        let Some(producer) = self.producers.iter().position(|&other| other == id) else { return };
        let Node { role: Role::Producer(node), is_old, host, .. } = &mut self.nodes[id] else { return };
        let (name, is_old, host) = (node.name.clone(), *is_old, *host);
        let kept = node.kept.len() as u64;
        let end = self.model.partitions[&name].end();
        for command in node.commands.drain(..).take(written as usize) {
            if let Command::Publish(len_bytes) = command {
                let unix_ms = (!is_old).then(|| unix_ms(self.now, host));
                self.model.publish(&name, len_bytes, unix_ms);
            }
        }
        let first = self.model.partitions[&name].first;
        let acknowledged = end - kept;
        // The note may be old.
        let behind = if self.random.chance(300) { self.random.below(50) } else { 0 };
        let acknowledged = acknowledged.saturating_sub(behind).max(first);
        self.stop(id);
        let at = match self.phase {
            Phase::Faults => (self.now + down).min(self.plan.calm_at - 1),
            _ => self.now + down,
        };
        self.push(at, Event::StartLife(Life { producer, name, acknowledged, is_old, host }));
    }

    pub(super) fn start_life(&mut self, life: Life) {
        let Life { producer: number, name, acknowledged, is_old, host } = life;
        let partition = &self.model.partitions[&name];
        let records = partition.records[(acknowledged - partition.first) as usize..].to_vec();
        let min_stores = partition.min_stores;
        let clock = self.fresh_clock();
        let now_ms = clock.now_ms(self.now);
        let producer = Producer::new(&name.0, &name.1, HEAD_INTERVAL_MS).expect("a short name");
        let producer = producer.with_min_stores(min_stores).with_max_fetches(self.plan.max_fetches);
        let producer = producer.resumed(acknowledged, self.entries(&records), now_ms);
        let wants = subscriptions::producer(&name.1, &name.0);
        let address = name.1.clone();
        let mut node = ProducerNode::new(producer, name);
        node.kept = records.into();
        node.guard = Some(Guard::new(TERMS, false, now_ms));
        let id = self.start(host, address, &[], wants, Role::Producer(Box::new(node)), clock);
        self.nodes[id].is_old = is_old;
        self.producers[number] = id;
        self.renewed_at = self.now;
    }

    /// The entries of an outbox with these records.
    fn entries(&mut self, records: &[Record]) -> Vec<Run> {
        let (mut entries, mut entry, mut len_bytes) = (Vec::new(), Vec::new(), 0);
        for record in records {
            let count = self.random.between(1, self.plan.turn.max_run_count) as usize;
            // An earlier life may have run as a node of 0.1.0, whose records have no timestamps.
            let is_other = |last: &Record| last.timestamp_ms.is_some() != record.timestamp_ms.is_some();
            let is_long = len_bytes + record.content.len() > MAX_ENTRY_LEN_BYTES;
            if entry.len() >= count || is_long || entry.last().is_some_and(is_other) {
                entries.extend(Some(std::mem::take(&mut entry)).filter(|entry: &Vec<_>| !entry.is_empty()));
                len_bytes = 0;
            }
            len_bytes += record.content.len();
            entry.push(record.clone());
        }
        entries.extend(Some(entry).filter(|entry| !entry.is_empty()));
        entries.into_iter().map(Run::from).collect()
    }

    /// A tower has announced `sender` at `endpoint`. It may be an old beacon of an earlier life.
    pub(super) fn look_for_other_life(&mut self, id: NodeId, sender: &[u8], endpoint: &str) {
        let node = &mut self.nodes[id];
        let now_ms = node.clock.now_ms(self.now);
        if let Role::Producer(producer) = &mut node.role
            && let Some(guard) = &mut producer.guard
            && node.address == sender
            && node.endpoint != endpoint
        {
            guard.handle_twin(endpoint, now_ms);
            self.wake(id, self.now);
        }
    }
}
