//! A consumer as the programs use it.

use super::{Failure, Result, Signals, wait_until_ready};
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

    /// Whether all records were read that were there: of a topic or, if `producer` is given, of one of its partitions.
    /// Until this is known, false. To be called several times a second.
    ///
    /// # Errors
    /// When the consumer has ended, and errors of libzmq.
    pub fn is_at_end(&mut self, topic: &[u8], producer: Option<&[u8]>) -> Result<bool> {
        let name = PartitionName { topic, producer: producer.unwrap_or_default() };
        match consumer::left(self.actor.pipe(), (&self.source, &mut self.reader), name) {
            Ok(left) => Ok(left == Some(0)),
            Err(consumer::SeekError::Ended(_)) => Err(Failure::logged()),
            Err(error) => Err(error.into()),
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
