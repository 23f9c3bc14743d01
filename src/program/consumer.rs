//! A consumer as the programs use it.

use super::{Result, Signals, wait_until_ready};
use crate::actor::record_queue::{Delivered, RecordReader, record_queue};
use crate::actor::{self, Handle, consumer};
use crate::net::{Pipe, pipe_with_limit};
use crate::partition_name::{PartitionName, SharedPartitionName};
use crate::settings::{Commit, Settings};

/// A consumer, and the reading end of its record pipe.
pub struct Consumer {
    /// The actor.
    pub actor: Handle,
    /// Readable while a record can be read.
    pub source: Pipe,
    reader: RecordReader,
    /// The partition of the record that was read last.
    name: Option<SharedPartitionName>,
    /// Whether a consumer with a name commits what was processed.
    is_auto: bool,
}

impl Consumer {
    /// Takes the next record without waiting.
    ///
    /// # Errors
    /// Errors of libzmq.
    pub fn next_record(&mut self) -> actor::Result<Option<(PartitionName<'_>, Delivered)>> {
        let run = self.reader.next(&self.source, &mut self.name)?;
        Ok(self.name.as_ref().map(SharedPartitionName::as_name).zip(run))
    }

    /// Whether the consumer has a name.
    pub fn has_name(&self) -> bool {
        self.reader.is_tracking()
    }

    /// All records that were read are processed. If the consumer has a name, it commits this.
    pub fn mark_processed(&mut self) {
        if self.is_auto {
            self.reader.publish_read();
        }
    }
}

/// Starts a consumer of one topic. `None` when a signal came before it was ready. Its pipe and its queue hold about
/// `limit` records each (0: any number).
///
/// # Errors
/// When it cannot start.
pub fn start_consumer(
    settings: Settings,
    topic: &[u8],
    limit: i32,
    signals: &Signals,
) -> Result<Option<Consumer>> {
    let (sink, source) = pipe_with_limit(limit)?;
    let (writer, mut reader) = record_queue(sink, usize::try_from(limit).unwrap_or(0))?;
    if settings.consumer.name.is_some() {
        reader.track(&source, false)?;
    }
    let is_auto = settings.consumer.commit == Commit::Auto;
    let actor = actor::spawn("dafka-consumer", move |pipe| {
        consumer::run(pipe, &actor::new_address(), &settings, consumer::Sink::Queue(&writer))
    })?;
    if !wait_until_ready(&actor, signals)? {
        return Ok(None);
    }
    consumer::command(actor.pipe(), b"SUBSCRIBE", topic)?;
    Ok(Some(Consumer { actor, source, reader, name: None, is_auto }))
}
