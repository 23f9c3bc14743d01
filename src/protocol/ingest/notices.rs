//! What an [`Ingest`] has to report.

use super::Ingest;
use crate::protocol::Payload;
use crate::protocol::notice::Notice;

impl<P: Payload> Ingest<P> {
    /// The next notice: partitions that were refused since the last call, then each partition that the last
    /// [`Ingest::handle_timeout`] has found standing still.
    pub fn poll_notice(&mut self) -> Option<Notice> {
        let now = (self.statistics.refused, self.statistics.refused_of_peer);
        let before = std::mem::replace(&mut self.told_refused, now);
        if now.1 > before.1 {
            return Some(Notice::TooManyPartitionsOfPeer);
        }
        if now.0 > before.0 {
            return Some(Notice::TooManyPartitions);
        }
        while let Some((index, next)) = self.stalled.pop() {
            // It may have been closed since, and another one have its place.
            if self.partitions[index.0].as_ref().is_some_and(|partition| partition.sequencer.next() == next) {
                let partition = self.partition(index);
                let (subject, address) = (partition.subject.clone(), partition.address.clone());
                return Some(Notice::FetchStalled { subject, address, next });
            }
        }
        None
    }
}
