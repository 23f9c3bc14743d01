//! The part of a producer with a name: its outbox, and when it may publish new records.

use super::send_queue::Volume;
use crate::actor::{Error, Result, Run, new_address};
use crate::net::{Warning, now_ms};
use crate::protocol::Payload;
use crate::protocol::producer::Producer;
use crate::protocol::producer::guard::{Guard, Step, Terms};
use crate::settings::Settings;
use crate::storage::AsRecords;
use crate::storage::outbox::{Contents, Outbox};
use crate::text::{printable, printable_path};
use std::collections::VecDeque;
use std::ffi::OsStr;
use std::path::Path;

/// When the outbox has refused records, the producer tries again after this time.
const RETRY_MS: u64 = 1_000;
/// When the start takes this long, the producer logs what it waits for.
const LONG_START_MS: u64 = 5_000;
/// Peers may need `beacon/timeout` to find a producer that has restarted. After `$TERM`, a producer whose position is not
/// confirmed waits for twice that time and for this time. A producer waits as long for its disk.
const END_MS: u64 = 2_000;

/// About so many bytes are appended to the outbox at once.
const PORTION_BYTES: u64 = 16 << 20;
/// The same after the outbox has refused records: perhaps the disk has little space.
const SMALL_PORTION_BYTES: u64 = 1 << 20;

/// The named producer's own state.
pub(super) struct Named {
    outbox: Outbox,
    guard: Guard,
    /// The name, and the number of stores that must confirm the position, for the log.
    name: String,
    start_stores: usize,
    /// How long the producer waits after `$TERM` while its position is not confirmed, or the outbox refuses records.
    end_wait_ms: u64,
    /// How many records of earlier lives were not acknowledged at the start.
    pub(super) recovered_count: u64,
    /// Records that are not in the outbox yet, their number, and the memory that they occupy.
    unwritten: VecDeque<(Run, Volume)>,
    unwritten_count: u64,
    unwritten_bytes: u64,
    /// The outbox has refused some of these records.
    refusal: Option<Refusal>,
    /// When the log mentions that the start takes long. `None` afterwards.
    long_start_ms: Option<u64>,
    twin_warning: Warning,
}

/// The outbox refuses records.
struct Refusal {
    since_ms: u64,
    /// When the outbox is tried again.
    retry_ms: u64,
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
            unwritten: VecDeque::new(),
            unwritten_count: 0,
            unwritten_bytes: 0,
            refusal: None,
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

    /// Takes records that are to be published. [`Named::write`] returns them when they are in the outbox. `volume` is
    /// what the records count in the send queue.
    pub(super) fn add(&mut self, run: Run, volume: Volume) {
        self.unwritten_count += run.record_count();
        self.unwritten_bytes += run.kept_bytes();
        self.unwritten.push_back((run, volume));
    }

    /// How many records are not in the outbox yet.
    pub(super) fn unwritten_count(&self) -> u64 {
        self.unwritten_count
    }

    /// The memory that these records occupy.
    pub(super) fn unwritten_bytes(&self) -> u64 {
        self.unwritten_bytes
    }

    /// Writes the records that were added to the outbox, and returns them, with what they count in the send queue. If the
    /// disk refuses records, this returns only the records before them. The next attempt comes later, or at once if
    /// `is_last`.
    pub(super) fn write(&mut self, now_ms: u64, is_last: bool) -> Vec<(Run, Volume)> {
        let mut written = Vec::new();
        if !is_last && self.refusal.as_ref().is_some_and(|refusal| now_ms < refusal.retry_ms) {
            return written;
        }
        while !self.unwritten.is_empty() {
            let count = self.portion();
            let runs = self.unwritten.iter().take(count).map(|(run, _)| run.as_records());
            if let Err(error) = self.outbox.append(runs) {
                self.note_refusal(&error, now_ms);
                return written;
            }
            for (run, volume) in self.unwritten.drain(..count) {
                self.unwritten_count -= run.record_count();
                self.unwritten_bytes -= run.kept_bytes();
                written.push((run, volume));
            }
        }
        if self.refusal.take().is_some() {
            log::info!("Producer: the outbox {} accepts records again", printable_path(self.outbox.path()));
        }
        written
    }

    /// How many of the runs are appended to the outbox at once.
    fn portion(&self) -> usize {
        let most_bytes = if self.refusal.is_some() { SMALL_PORTION_BYTES } else { PORTION_BYTES };
        let mut len_bytes = 0;
        let full = self.unwritten.iter().position(|(run, _)| {
            len_bytes += run.kept_bytes();
            len_bytes >= most_bytes
        });
        full.map_or(self.unwritten.len(), |index| index + 1)
    }

    fn note_refusal(&mut self, error: &std::io::Error, now_ms: u64) {
        let retry_ms = now_ms + RETRY_MS;
        match &mut self.refusal {
            Some(refusal) => refusal.retry_ms = retry_ms,
            None => {
                self.refusal = Some(Refusal { since_ms: now_ms, retry_ms });
                log::error!(
                    "Producer: cannot write to the outbox {}: {error}; records wait, and are not published meanwhile",
                    printable_path(self.outbox.path())
                );
            }
        }
    }

    /// The records before `end` are acknowledged.
    pub(super) fn acknowledge(&mut self, end: u64) {
        self.outbox.acknowledge(end);
    }

    /// When the producer ends because its position is not confirmed, or its outbox refuses records, if it has read `$TERM`
    /// at `since_ms`. The next one with the same name publishes the records in the outbox.
    pub(super) fn end_ms(&self, since_ms: u64) -> Option<u64> {
        let since_ms = match &self.refusal {
            Some(refusal) => since_ms.max(refusal.since_ms),
            None if self.guard.is_holding() => since_ms,
            None => return None,
        };
        Some(since_ms.saturating_add(self.end_wait_ms))
    }

    /// When the producer must act, even without input.
    pub(super) fn due_ms(&self) -> Option<u64> {
        let retry_ms = self.refusal.as_ref().map(|refusal| refusal.retry_ms);
        let long_start_ms = self.long_start_ms.filter(|_| self.guard.is_starting());
        let due = [self.guard.due_ms(), retry_ms, long_start_ms];
        // Not `flatten`, see `ProducerRole::due_ms`.
        due.map(|due_ms| due_ms.unwrap_or(u64::MAX)).into_iter().min().filter(|&due_ms| due_ms < u64::MAX)
    }

    /// A tower has announced another node with the producer's address.
    pub(super) fn handle_twin(&mut self, address: &str, endpoint: &str, now_ms: u64) {
        self.guard.handle_twin(endpoint, now_ms);
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
        let (name, path) = (&self.name, || printable_path(self.outbox.path()));
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
                     outbox {}. New records wait until it has ended",
                    path()
                );
            }
            Some(Step::Refuse) => {
                return Err(Error::Outbox(format!(
                    "another producer uses the address {address} of {name}, probably with a copy of the outbox {}; this \
                     producer ends",
                    path()
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
                 {} required stores have confirmed its position. New records are kept in {}",
                producer.confirmations(),
                self.start_stores,
                path()
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

    /// Logs how many records are lost, and how many are in the outbox and not acknowledged. If the outbox `is_usable`, the
    /// next producer with this name publishes them.
    pub(super) fn log_end(&self, left_count: u64, is_usable: bool) {
        if self.unwritten_count > 0 {
            log::error!(
                "Producer: {} ends, and loses {} records that its outbox has refused",
                self.name,
                self.unwritten_count
            );
        }
        if left_count > 0 {
            let next = if is_usable { "; the next producer with this name publishes them" } else { "" };
            log::warn!(
                "Producer: {} ends. {left_count} records in its outbox {} are not acknowledged{next}",
                self.name,
                printable_path(self.outbox.path())
            );
        }
    }
}
