//! A consumer as the programs use it.

use super::{Failure, Result, SAME_SIGNAL, Signals, wait_until_ready};
use crate::actor::record_queue::{CommitEnd, Delivered, RecordReader, record_queue};
use crate::actor::{self, Handle, consumer};
use crate::committed::{MAX_CONSUMER_NAME_LEN, is_consumer_name};
use crate::net::{Pipe, pipe_with_limit};
use crate::partition_name::{PartitionName, SharedPartitionName};
use crate::settings::{self, Commit, OffsetReset, Settings};
use crate::slots::{MAX_GROUP_NAME_LEN, is_group_name, is_of_group};
use crate::text::printable;
use clap::ArgMatches;
use std::ffi::OsString;
use std::time::{Duration, Instant};

/// How long [`Consumer::confirm`] waits for a store. If no store confirms the commit, the end of the consumer takes 2
/// more seconds.
const CONFIRM_TIMEOUT: Duration = Duration::from_secs(3);

/// Applies the options that determine where the console consumer starts: `--name`, `--from-beginning` and `--offset`.
///
/// # Errors
/// When a value is not valid, and for the position of a consumer without a name.
pub fn choose_start(matches: &ArgMatches, settings: &mut settings::Consumer) -> Result {
    let value = |option| matches.get_one::<OsString>(option).map(|value| value.as_encoded_bytes());
    if let Some(name) = value("name") {
        if !is_consumer_name(name) || is_of_group(name) {
            return Err(Failure(format!(
                "--name {}: must have 1 to {MAX_CONSUMER_NAME_LEN} bytes, without the control character 0x1F",
                printable(name)
            )));
        }
        (settings.name, settings.group) = (Some(name.into()), None);
    }
    if let Some(group) = value("group") {
        if !is_group_name(group) {
            return Err(Failure(format!(
                "--group {}: must have 1 to {MAX_GROUP_NAME_LEN} bytes, without the control character 0x1F",
                printable(group)
            )));
        }
        (settings.group, settings.name) = (Some(group.into()), None);
    }
    if settings.group.is_some() && matches.contains_id("partition") {
        let why = "a member of a group (--group, consumer/group) must handle all records that it gets";
        return Err(Failure(format!("--partition: {why}")));
    }
    if matches.get_flag("from-beginning") {
        settings.offset_reset = Some(OffsetReset::Earliest);
    }
    match value("offset") {
        None => {}
        Some(b"committed") if !settings.is_named() => {
            return Err(Failure(
                "--offset committed: a consumer without --name or --group has no committed position".into(),
            ));
        }
        Some(b"committed") => {}
        Some(offset) => {
            let start = OffsetReset::parse(offset).ok_or_else(|| {
                Failure(format!("--offset {}: must be committed, {}", printable(offset), OffsetReset::VALID))
            })?;
            if settings.group.is_some() {
                let why = "the members of a group (--group) continue at its committed positions";
                return Err(Failure(format!("--offset {}: {why}", printable(offset))));
            }
            (settings.offset_reset, settings.ignores_committed) = (Some(start), true);
        }
    }
    Ok(())
}

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

    /// If the consumer has a name, commits only the position of the partition of this producer.
    pub fn commit_only(&mut self, producer: &[u8]) {
        self.reader.track_only(producer);
    }

    /// Waits until a store has confirmed all commits of what was processed. Returns false when none has done so in time,
    /// or when a further signal comes.
    ///
    /// # Errors
    /// When the consumer has ended.
    pub fn confirm(&mut self, signals: &Signals) -> Result<bool> {
        if !self.has_name() || !self.is_auto {
            return Ok(true);
        }
        let start = Instant::now();
        let is_patient = &mut || !signals.came() || start.elapsed() < SAME_SIGNAL;
        match consumer::commit(self.actor.pipe(), &mut self.reader, None, CONFIRM_TIMEOUT, is_patient) {
            Ok(end) => Ok(end == CommitEnd::Confirmed),
            Err(_) => Err(Failure::logged()),
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
    if settings.consumer.is_named() {
        reader.track(&source, false, settings.consumer.group_by())?;
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
