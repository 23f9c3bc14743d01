//! What an [`Ingest`] tells of partitions that stand still.

use super::Ingest;
use crate::protocol::Payload;

impl<P: Payload> Ingest<P> {
    /// Subject, address and missing record of one partition that the last [`Ingest::tick`] has found standing still, until
    /// there are no more: nobody has answered with that record for [`super::super::stall::STALL_MS`].
    pub fn stalled(&mut self) -> Option<(&[u8], &[u8], u64)> {
        while let Some((index, next)) = self.stalled.pop() {
            // It may have been closed since, and another one have its place.
            if self.partitions[index.0].as_ref().is_some_and(|partition| partition.sequencer.next() == next) {
                let partition = self.partition(index);
                return Some((&partition.subject, &partition.address, next));
            }
        }
        None
    }
}
