//! Continues at other records, because the application has requested it.

use super::{Consumer, Delivery, Start, Subscribed, delivering};
use crate::partition_name::PartitionName;
use crate::protocol::Payload;
use crate::protocol::ingest::Index;
use crate::wire::Position;

impl<P: Payload> Consumer<P> {
    /// Makes a partition continue at the record `next`. If the partition is not open, it begins there when it is opened.
    /// Requests the heads of all topics soon, because no peer may mention an idle partition otherwise. Returns false when
    /// the topic is not subscribed. Otherwise the caller must drop the unprocessed deliveries of this partition.
    pub fn seek(&mut self, name: PartitionName, next: u64, now_ms: u64) -> bool {
        if !self.topics.is_subscribed(name.topic) {
            return false;
        }
        match self.ingest.find(&Position::new(b"", name.producer, name.topic, 0)) {
            Some(partition) => {
                self.forget_kept(partition);
                self.ingest.seek(partition, next);
                self.mark_read(partition);
            }
            None => self.ingest.remember(name, next),
        }
        // Many seeks in a row cause few requests.
        self.refresh_soon(now_ms);
        true
    }

    /// Makes all partitions of the topics that `selector` selects (see [`Consumer::selects`]) continue where `start` says.
    /// `moment` is now. Partitions of which the consumer hears later begin there, too: it does not matter any more when
    /// the topic was subscribed, how far evicted partitions were read, and which positions are committed. Returns false when the selector is neither
    /// empty nor subscribed. Otherwise the caller must drop the unprocessed deliveries of these topics.
    pub fn seek_all(&mut self, selector: &[u8], start: Start, moment: Subscribed) -> bool {
        let void_serial = self.ingest.mark_evicted();
        if !self.topics.seek(selector, start, moment, void_serial) {
            return false;
        }
        let open: Vec<Index> = self.ingest.partitions_of(b"").collect();
        for partition in open {
            let topic = self.partition(partition).topic;
            if !self.topics.selects(selector, topic) {
                continue;
            }
            let is_paused = self.paused.contains(topic);
            self.forget_kept(partition);
            self.mark_read(partition);
            match start {
                Start::Earliest => self.ingest.seek(partition, 0),
                Start::Offset(offset) => self.ingest.seek(partition, offset),
                Start::Latest => self.ingest.seek_end(partition, 0, moment.now_ms),
                Start::Last(count) => self.ingest.seek_end(partition, count, moment.now_ms),
                Start::Time(since_ms) => {
                    self.ingest.seek_time(partition, since_ms, is_paused, moment.now_ms);
                }
            }
        }
        self.refresh_soon(moment.now_ms);
        true
    }

    /// Whether [`Consumer::seek_all`] affects the partitions of a topic.
    pub fn selects(&self, selector: &[u8], topic: &[u8]) -> bool {
        self.topics.selects(selector, topic)
    }

    /// A run of a partition in which a record is searched has arrived. Returns whether the run is still to be handled.
    pub(super) fn search_in_run(
        &mut self,
        partition: Index,
        first: u64,
        run: &P,
        is_live: bool,
        now_ms: u64,
        deliveries: &mut impl Extend<Delivery<P>>,
    ) -> bool {
        let Self { ingest, unacknowledged, positions, .. } = self;
        let deliver = delivering(unacknowledged, positions, partition, now_ms, deliveries);
        ingest.examine(partition, first, run, now_ms, deliver);
        self.rewind_refused(partition);
        // The response was requested for its timestamp. To keep it would only make later responses shorter.
        is_live || !self.ingest.is_searching(partition)
    }
}
