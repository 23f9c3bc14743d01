//! A producer as the programs use it. It counts the records that stores have not acknowledged.

use super::progress::{Counts, Progress, total};
use super::{Failure, Result, Signals, complain, wait_until_ready};
use crate::actor::producer::{ABANDON, Acknowledged, PRODUCER, RecordPipe, run_counted};
use crate::actor::{self, Handle};
use crate::net::{Frame, Socket, TERM};
use crate::settings::Settings;
use crate::wire::batch::Attributes;
use std::time::{Duration, Instant};

/// A running producer and the number of its records.
pub struct Producer {
    actor: Handle,
    acknowledged: Acknowledged,
    started: Instant,
    given: u64,
    /// The bytes of the keys and contents of the records that were sent.
    sent_bytes: u64,
    /// `None`: no lines about the progress.
    progress: Option<Progress>,
}

/// The result of a producer that has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Records that the program handed to the producer, or skipped.
    pub given: u64,
    /// The bytes of the keys and contents of these records, without the skipped ones.
    pub bytes: u64,
    /// The number of these records that not enough stores have acknowledged.
    pub unacknowledged: u64,
    /// The time from the start of the producer to its end.
    pub elapsed: Duration,
    /// The actor ended because of an error, which is in the log.
    pub has_failed: bool,
}

impl Producer {
    /// Starts a producer of `topic`. `None` when a Unix signal came before the producer was ready.
    ///
    /// # Errors
    /// When it cannot start.
    pub fn start(settings: Settings, topic: &[u8], signals: &Signals) -> Result<Option<Producer>> {
        let (topic, acknowledged) = (topic.to_vec(), Acknowledged::default());
        let counter = acknowledged.clone();
        let actor = actor::spawn("dafka-producer", move |pipe| {
            run_counted(pipe, &topic, &settings, PRODUCER, &counter)
        })?;
        let is_ready = wait_until_ready(&actor, signals)?;
        let started = Instant::now();
        let producer = Producer { actor, acknowledged, started, given: 0, sent_bytes: 0, progress: None };
        Ok(is_ready.then_some(producer))
    }

    /// From now on, [`Producer::publish`], [`Producer::publish_with`] and [`Producer::print_progress`] print a line on
    /// standard error each second.
    pub fn show_progress(&mut self) {
        self.progress = Some(Progress::new(Instant::now()));
    }

    /// Prints the line about the progress, if it is due. Returns the time until the next line in milliseconds, or -1 if
    /// no more lines follow.
    pub fn print_progress(&mut self) -> i64 {
        let Some(progress) = &mut self.progress else { return -1 };
        let (records, bytes) = (self.given, self.sent_bytes);
        let counts =
            || Counts { records, bytes, unacknowledged: records.saturating_sub(self.acknowledged.get()) };
        if let Some(line) = progress.poll_line(Instant::now(), counts) {
            complain(line);
        }
        // Rounded up, so that the line is due afterwards.
        progress.due_in(Instant::now()).as_millis() as i64 + 1
    }

    fn is_progress_due(&self) -> bool {
        self.progress.as_ref().is_some_and(|progress| progress.due_in(Instant::now()).is_zero())
    }

    /// Publishes a record. Under the limit `producer/max_unacked_bytes`, this waits until stores have acknowledged
    /// enough earlier records. False when a Unix signal came before there was room for the record. The record then
    /// counts as unacknowledged.
    ///
    /// # Errors
    /// When the record is longer than the producer accepts, or the actor has ended.
    pub fn publish(&mut self, content: &mut Frame, signals: &Signals) -> Result<bool> {
        let len_bytes = content.as_ref().len();
        self.publish_by(len_bytes, 0, signals, |pipe, is_patient| {
            Ok(pipe.send_while(content, None, is_patient)?)
        })
    }

    /// As [`Producer::publish`], for a record with attributes, which is copied.
    ///
    /// # Errors
    /// As [`Producer::publish`], and when the key or the headers are too long.
    pub fn publish_with(
        &mut self,
        attributes: Attributes,
        content: &[u8],
        signals: &Signals,
    ) -> Result<bool> {
        let key_len_bytes = attributes.key.map_or(0, <[u8]>::len);
        self.publish_by(content.len(), key_len_bytes, signals, |pipe, is_patient| {
            Ok(pipe.send_copy_while(attributes, content, is_patient)?)
        })
    }

    fn publish_by(
        &mut self,
        len_bytes: usize,
        key_len_bytes: usize,
        signals: &Signals,
        mut send: impl FnMut(&RecordPipe, &mut dyn FnMut() -> bool) -> Result<bool>,
    ) -> Result<bool> {
        RecordPipe::new(self.actor.pipe()).check_len(len_bytes)?;
        let is_sent = loop {
            let pipe = RecordPipe::new(self.actor.pipe());
            // `send` calls this closure with the lock of the send queue held, which the actor needs. Standard error may
            // block, so `send` returns before the line is printed.
            let is_sent = send(&pipe, &mut || !self.is_progress_due() && !signals.is_pending());
            if !matches!(is_sent, Ok(false)) || signals.is_pending() {
                break is_sent;
            }
            self.print_progress();
        };
        self.given += 1;
        let is_sent = is_sent?;
        if is_sent {
            self.sent_bytes += (len_bytes + key_len_bytes) as u64;
        }
        Ok(is_sent)
    }

    /// Counts records that will not be published.
    pub fn skip(&mut self, count: u64) {
        self.given += count;
    }

    /// The socket for `poll`. It is readable when the actor has ended.
    pub fn pipe(&self) -> &Socket {
        self.actor.pipe()
    }

    /// True when the actor has ended.
    pub fn has_ended(&self) -> bool {
        self.actor.has_ended()
    }

    /// Makes the actor end as soon as all records are acknowledged.
    pub fn terminate(&self) {
        self.actor.send(TERM);
    }

    /// Ends the actor, even if records are not acknowledged.
    pub fn abandon(self) -> Summary {
        self.actor.send(ABANDON);
        self.finish()
    }

    /// Waits until the actor has ended.
    pub fn finish(self) -> Summary {
        let Producer { actor, acknowledged, started, given, sent_bytes: bytes, .. } = self;
        actor.send(TERM);
        let has_failed = !actor.has_succeeded().unwrap_or(false);
        drop(actor);
        let unacknowledged = given.saturating_sub(acknowledged.get());
        Summary { given, bytes, unacknowledged, elapsed: started.elapsed(), has_failed }
    }
}

impl Summary {
    /// Prints a line on standard error.
    pub fn print(&self) {
        let counts = Counts { records: self.given, bytes: self.bytes, unacknowledged: self.unacknowledged };
        complain(format_args!("total: {}", total(counts, self.elapsed)));
    }

    /// # Errors
    /// When the actor has failed.
    pub fn expect_success(self) -> Result {
        if self.has_failed { Err(Failure::logged()) } else { Ok(()) }
    }
}
