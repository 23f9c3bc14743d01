//! A producer as the programs use it. It counts the records that stores have not acknowledged.

use super::{Failure, Result, Signals, wait_until_ready};
use crate::actor::producer::{ABANDON, Acknowledged, PRODUCER, RecordPipe, run_counted};
use crate::actor::{self, Handle};
use crate::net::{Frame, Socket, TERM};
use crate::settings::Settings;

/// A running producer and the number of its records.
pub struct Producer {
    actor: Handle,
    acknowledged: Acknowledged,
    given: u64,
}

/// The result of a producer that has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Records that the program handed to the producer, or skipped.
    pub given: u64,
    /// The number of these records that not enough stores have acknowledged.
    pub unacknowledged: u64,
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
        Ok(is_ready.then_some(Producer { actor, acknowledged, given: 0 }))
    }

    /// Publishes a record. Under the limit `producer/max_unacked_bytes`, this waits until stores have acknowledged
    /// enough earlier records. False when a Unix signal came before there was room for the record. The record then
    /// counts as unacknowledged.
    ///
    /// # Errors
    /// When the record is longer than the producer accepts, or the actor has ended.
    pub fn publish(&mut self, content: &mut Frame, signals: &Signals) -> Result<bool> {
        let pipe = RecordPipe::new(self.actor.pipe());
        pipe.check_len(content.as_ref().len())?;
        self.given += 1;
        Ok(pipe.send_while(content, None, &mut || !signals.is_pending())?)
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
        let Producer { actor, acknowledged, given } = self;
        actor.send(TERM);
        let has_failed = !actor.has_succeeded().unwrap_or(false);
        drop(actor);
        Summary { given, unacknowledged: given.saturating_sub(acknowledged.get()), has_failed }
    }
}

impl Summary {
    /// # Errors
    /// When the actor has failed.
    pub fn expect_success(self) -> Result {
        if self.has_failed { Err(Failure::logged()) } else { Ok(()) }
    }
}
