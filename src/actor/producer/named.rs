//! The part of a producer with a name: its outbox, and when it may publish new records.

use crate::actor::{Error, Result, Run, new_address};
use crate::net::{Warning, now_ms};
use crate::protocol::Payload;
use crate::protocol::producer::Producer;
use crate::protocol::producer::guard::{Guard, Step, Terms};
use crate::settings::Settings;
use crate::storage::AsRecords;
use crate::storage::outbox::{Contents, Outbox};
use crate::text::{printable, printable_path};
use std::ffi::OsStr;
use std::path::Path;

/// When the outbox has refused records, the producer tries again after this time.
const RETRY_MS: u64 = 1_000;
/// When the start takes this long, the producer logs what it waits for.
const LONG_START_MS: u64 = 5_000;
/// Peers may need `beacon/timeout` to find a producer that has restarted. After `$TERM`, a producer whose position is not
/// confirmed waits for twice that time and for this time.
const END_MS: u64 = 2_000;

/// The named producer's own state.
pub(super) struct Named {
    outbox: Outbox,
    guard: Guard,
    /// The name, and the number of stores that must confirm the position, for the log.
    name: String,
    start_stores: usize,
    /// How long the producer waits after `$TERM` while its position is not confirmed.
    end_wait_ms: u64,
    /// How many records of earlier lives were not acknowledged at the start.
    pub(super) recovered_count: u64,
    /// Records that are not in the outbox yet, and their number.
    unwritten: Vec<Run>,
    unwritten_count: u64,
    /// When the outbox is tried again. `None` unless it has refused records.
    retry_ms: Option<u64>,
    /// When the log mentions that the start takes long. `None` afterwards.
    long_start_ms: Option<u64>,
    twin_warning: Warning,
}

/// What a named producer continues.
pub(super) struct Continued {
    /// The address of the partition.
    pub(super) address: String,
    /// The records before this offset are acknowledged.
    pub(super) acknowledged: u64,
    /// The records from there on.
    pub(super) runs: Vec<Run>,
}

impl Named {
    /// Opens the outbox of the producer that the settings name.
    ///
    /// # Errors
    /// When another producer uses the outbox, or it cannot be used.
    pub(super) fn open(topic: &[u8], name: &[u8], settings: &Settings) -> Result<(Named, Continued)> {
        let (producer, beacon) = (&settings.producer, &settings.beacon);
        let address = new_address();
        let address = address.as_bytes().try_into().expect("32 hexadecimal digits");
        let directory: &OsStr = &producer.directory;
        let opened = Outbox::open(Path::new(directory), topic, name, address, producer.sync);
        let (outbox, contents) = opened.map_err(|error| Error::Outbox(error.to_string()))?;
        let Contents { address, acknowledged, first, kept } = contents;
        let terms = Terms {
            start_stores: producer.start_stores,
            start_timeout_ms: producer.start_timeout_ms,
            beacon_interval_ms: beacon.interval_ms,
            beacon_timeout_ms: beacon.timeout_ms,
        };
        let now_ms = now_ms();
        let named = Named {
            guard: Guard::new(terms, outbox.next() == 0, now_ms),
            name: printable(name),
            start_stores: producer.start_stores,
            end_wait_ms: 2 * beacon.timeout_ms + END_MS,
            recovered_count: outbox.next() - acknowledged,
            unwritten: Vec::new(),
            unwritten_count: 0,
            retry_ms: None,
            long_start_ms: Some(now_ms + LONG_START_MS),
            twin_warning: Warning::default(),
            outbox,
        };
        let mut runs = kept.into_iter().map(Run::from);
        // The first run may begin with acknowledged records.
        let begin = runs.next().and_then(|run| run.skip(acknowledged.saturating_sub(first)));
        let runs = begin.into_iter().chain(runs).collect();
        Ok((named, Continued { address, acknowledged, runs }))
    }

    /// Takes records that are to be published. [`Named::write`] returns them when they are in the outbox.
    pub(super) fn add(&mut self, run: Run) {
        self.unwritten_count += run.record_count();
        self.unwritten.push(run);
    }

    /// How many records are not in the outbox yet.
    pub(super) fn unwritten_count(&self) -> u64 {
        self.unwritten_count
    }

    /// Writes all records that were added to the outbox. Returns them, or nothing if the disk refuses them.
    pub(super) fn write(&mut self, now_ms: u64) -> Vec<Run> {
        if self.unwritten.is_empty() || self.retry_ms.is_some_and(|retry_ms| now_ms < retry_ms) {
            return Vec::new();
        }
        let path = printable_path(self.outbox.path());
        match self.outbox.append(self.unwritten.iter().map(AsRecords::as_records)) {
            Ok(()) => {
                if self.retry_ms.take().is_some() {
                    log::info!("Producer: the outbox {path} accepts records again");
                }
                self.unwritten_count = 0;
                std::mem::take(&mut self.unwritten)
            }
            Err(error) => {
                if self.retry_ms.replace(now_ms + RETRY_MS).is_none() {
                    log::error!(
                        "Producer: cannot write to the outbox {path}: {error}; records wait, and are not published \
                         meanwhile"
                    );
                }
                Vec::new()
            }
        }
    }

    /// The records before `end` are acknowledged.
    pub(super) fn acknowledge(&mut self, end: u64) {
        self.outbox.acknowledge(end);
    }

    /// When the producer ends because its position is not confirmed, if it has read `$TERM` at `since_ms`. The next one
    /// with the same name publishes the records that wait.
    pub(super) fn end_ms(&self, since_ms: u64) -> Option<u64> {
        let may_end = self.guard.is_holding() && self.unwritten_count == 0;
        may_end.then(|| since_ms.saturating_add(self.end_wait_ms))
    }

    /// When the producer must act, even without input.
    pub(super) fn due_ms(&self) -> Option<u64> {
        let retry_ms = self.retry_ms.filter(|_| !self.unwritten.is_empty());
        let long_start_ms = self.long_start_ms.filter(|_| self.guard.is_starting());
        [self.guard.due_ms(), retry_ms, long_start_ms].into_iter().flatten().min()
    }

    /// A tower has announced another node with the producer's address.
    pub(super) fn handle_twin(&mut self, address: &str, endpoint: &str, now_ms: u64) {
        self.guard.handle_twin(now_ms);
        self.twin_warning.warn(now_ms, || {
            format!(
                "Producer: a node at {endpoint} announces the address {address} of the producer {}",
                self.name
            )
        });
    }

    /// Publishes new records, or holds them back, as the guard decides.
    ///
    /// # Errors
    /// When the producer must end.
    pub(super) fn follow_guard(
        &mut self,
        producer: &mut Producer<Run>,
        address: &str,
        now_ms: u64,
    ) -> Result {
        let (name, path) = (&self.name, printable_path(self.outbox.path()));
        let was_starting = self.guard.is_starting();
        match self.guard.poll_step(producer.confirmations(), now_ms) {
            Some(Step::Release) => {
                producer.release();
                if !was_starting || self.long_start_ms.is_none() {
                    log::info!("Producer: {name} publishes new records again, as {address}");
                }
                self.long_start_ms = None;
            }
            Some(Step::Hold) => {
                producer.hold();
                log::error!(
                    "Producer: another producer uses the address {address} of {name}, probably with a copy of the \
                     outbox {path}. New records wait until it has ended"
                );
            }
            Some(Step::Refuse) => {
                return Err(Error::Outbox(format!(
                    "another producer uses the address {address} of {name}, probably with a copy of the outbox {path}; \
                     this producer ends"
                )));
            }
            Some(Step::TimeOut) => {
                return Err(Error::Outbox(format!(
                    "{name} cannot continue its partition {address}: {} of the producer/start_stores = {} required \
                     stores have confirmed its position within producer/start_timeout",
                    producer.confirmations(),
                    self.start_stores
                )));
            }
            None => {}
        }
        if self.guard.is_starting() && self.long_start_ms.take_if(|due_ms| now_ms >= *due_ms).is_some() {
            log::warn!(
                "Producer: {name} waits before it continues its partition {address}: {} of the producer/start_stores = \
                 {} required stores have confirmed its position. New records are kept in {path}",
                producer.confirmations(),
                self.start_stores
            );
        }
        Ok(())
    }

    /// The error when a store has records that the outbox lacks.
    pub(super) fn unknown_records(&self, address: &str, why: &str) -> Error {
        Error::Outbox(format!(
            "{} cannot continue its partition {address}: {why}. The outbox {} is a copy, or was restored from a \
             backup; remove it to begin a new partition",
            self.name,
            printable_path(self.outbox.path())
        ))
    }

    /// Logs how many records the next producer with this name must publish, and how many are lost.
    pub(super) fn log_end(&self, left_count: u64) {
        if self.unwritten_count > 0 {
            log::error!(
                "Producer: {} ends, and loses {} records that its outbox has refused",
                self.name,
                self.unwritten_count
            );
        }
        if left_count > 0 {
            log::warn!(
                "Producer: {} ends. {left_count} records in its outbox {} are not acknowledged; the next producer with \
                 this name publishes them",
                self.name,
                printable_path(self.outbox.path())
            );
        }
    }
}
