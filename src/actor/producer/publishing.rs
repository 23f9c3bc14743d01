//! The part of a producer's turn that publishes records, or writes them to the outbox of a producer with a name.

use super::named::Named;
use super::send_queue::Volume;
use super::{ProducerRole, TooLong};
use crate::actor::Run;
use crate::actor::common::Common;
use crate::net::now_ms;
use crate::protocol::Payload;

impl ProducerRole<'_> {
    /// Publishes records that were taken out of the queue, as many as one turn may publish.
    pub(super) fn publish_taken(&mut self, common: &mut Common, now_ms: u64) {
        // Records that are published again under a new address come first.
        while !self.producer.has_unpublished()
            && let Some(run) = self.intake.pop()
        {
            self.publish(common, run, now_ms);
        }
    }

    /// Publishes records that the owner has sent through the pipe.
    pub(super) fn publish_from_pipe(&mut self, common: &mut Common, run: Run, now_ms: u64) {
        self.intake.note_record_in_pipe(self.held_len_bytes());
        let (len_bytes, limit_bytes) = (run.longest_content_bytes(), self.settings.producer.max_record_bytes);
        if len_bytes > limit_bytes {
            // The owner has not called `check_len`.
            return log::error!("Producer: {}: {}", common.node.address, TooLong { len_bytes, limit_bytes });
        }
        self.publish(common, run, now_ms);
    }

    fn publish(&mut self, common: &mut Common, run: Run, now_ms: u64) {
        self.received_count += run.record_count();
        // Records that wait for the outbox still count as waiting in the queue, so that the queue limits their memory.
        let volume = match &self.named {
            Some(_) => Volume::of(&run),
            None => {
                self.intake.note_published(&run);
                Volume::default()
            }
        };
        let run = match &mut self.compressor {
            // Otherwise the records are published one by one.
            Some(compressor) if self.producer.are_batches_taken() => run.compressed(compressor),
            _ => run,
        };
        match &mut self.named {
            Some(named) => named.add(run, volume),
            None => self.producer.publish(run, now_ms, &mut common.outbox),
        }
    }

    /// Publishes the records that are in the outbox now, of a producer with a name.
    pub(super) fn publish_written(&mut self, common: &mut Common, now_ms: u64, is_last: bool) {
        let Some(named) = &mut self.named else { return };
        for (run, volume) in named.write(now_ms, is_last) {
            self.intake.note_volume(volume);
            self.producer.publish(run, now_ms, &mut common.outbox);
        }
    }

    /// A producer with a name ends because of an error. Writes all records that its owner has sent to the outbox. The
    /// messages in `common.outbox` are not sent any more.
    pub(super) fn write_rest(&mut self, common: &mut Common) {
        if self.named.is_none() {
            return;
        }
        let now_ms = now_ms();
        self.intake.begin_turn(usize::MAX);
        self.add_taken(common, now_ms);
        self.intake.take();
        self.add_taken(common, now_ms);
        self.publish_written(common, now_ms, true);
        self.named
            .iter()
            .for_each(|named| named.log_end(self.producer.unproven(), !self.has_unknown_records));
    }

    /// Passes all records that were taken out of the queue to the outbox.
    fn add_taken(&mut self, common: &mut Common, now_ms: u64) {
        while let Some(run) = self.intake.pop() {
            self.publish(common, run, now_ms);
        }
    }

    /// The memory of the records that were taken out of the queue.
    pub(super) fn held_len_bytes(&self) -> u64 {
        self.producer.kept_len_bytes() + self.named.as_ref().map_or(0, Named::unwritten_bytes)
    }
}
