//! Reads what the store holds, to compare it with what others hold, in a thread of its own: the writer does not wait for
//! the disk.

use super::watch::{Slot, Watch};
use crate::actor::{Error, Result};
use crate::net::lower_priority;
use crate::protocol::comparison::{Held, Reading};
use crate::storage::Log;
use crossbeam_channel::{Receiver, Sender, bounded};
use std::sync::Arc;
use std::thread::JoinHandle;

/// The comparison can wait.
const NICENESS: i32 = 10;

/// What the store holds. What cannot be read is not compared: the reader logs it when a peer asks for it.
pub(super) struct OnDisk {
    log: Arc<Log>,
    /// Of the writer's thread.
    slot: Slot,
    readings: Option<Sender<Reading>>,
    done: Receiver<Reading>,
    thread: Option<JoinHandle<()>>,
}

impl OnDisk {
    /// Starts the thread.
    ///
    /// # Errors
    /// When it cannot be had.
    pub(super) fn start(log: &Arc<Log>, watch: &Watch) -> Result<OnDisk> {
        // There is one reading at a time.
        let (readings, next_reading) = bounded::<Reading>(1);
        let (reading_done, done) = bounded(1);
        let (held, slot) = (log.clone(), watch.slot());
        let thread = std::thread::Builder::new()
            .name("dafka-compare".into())
            .spawn(move || {
                lower_priority(NICENESS);
                for mut reading in next_reading {
                    slot.during("reading records to compare", || read(&held, &mut reading));
                    if reading_done.send(reading).is_err() {
                        break;
                    }
                }
            })
            .map_err(Error::Thread)?;
        Ok(OnDisk {
            log: log.clone(),
            slot: watch.slot(),
            readings: Some(readings),
            done,
            thread: Some(thread),
        })
    }
}

fn read(log: &Log, reading: &mut Reading) {
    let (subject, address) = (reading.subject.clone(), reading.address.clone());
    let (from, count) = (reading.from, reading.end.saturating_sub(reading.from));
    let _ = log.read(&subject, &address, from, count, usize::MAX, &mut |offset, content| {
        reading.take(offset, content)
    });
}

impl Held for OnDisk {
    fn next(&self, subject: &[u8], address: &[u8]) -> u64 {
        let found = self.slot.during("looking up a partition", || self.log.find(subject, address));
        found.ok().flatten().map_or(0, |partition| partition.next)
    }

    fn begin(&mut self, reading: Reading) {
        if let Some(readings) = &self.readings {
            // A thread that has ended reads nothing more.
            let _ = readings.try_send(reading);
        }
    }

    fn poll(&mut self) -> Option<Reading> {
        self.done.try_recv().ok()
    }
}

impl Drop for OnDisk {
    fn drop(&mut self) {
        self.readings = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
