//! A separate thread that reads stored records, so that the writer can compare them with the records of other stores
//! and does not wait for these reads.

use super::disk_watch::{DiskWatch, Slot};
use crate::actor::{Error, Result, panic_text};
use crate::czmq::log::error_at_edge;
use crate::net::lower_priority;
use crate::protocol::store::comparison::{Ended, Held, Reading};
use crate::storage::{Log, PartitionName};
use crossbeam_channel::{Receiver, Sender, TryRecvError, bounded};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::JoinHandle;

/// The nice value of the thread, so that the comparison has a low priority.
const NICENESS: i32 = 10;

/// The records on disk. Unreadable records are not compared. The store's reader logs them when a peer requests them.
pub(super) struct OnDisk {
    log: Arc<Log>,
    /// The writer's thread uses this slot.
    slot: Slot,
    readings: Option<Sender<Reading>>,
    done: Receiver<Reading>,
    thread: Option<JoinHandle<()>>,
}

impl OnDisk {
    /// Starts the thread.
    ///
    /// # Errors
    /// When no more threads are available.
    pub(super) fn start(log: &Arc<Log>, watch: &DiskWatch) -> Result<OnDisk> {
        OnDisk::start_with(log, watch, read)
    }

    fn start_with(log: &Arc<Log>, watch: &DiskWatch, read: fn(&Log, &mut Reading)) -> Result<OnDisk> {
        // There is one reading at a time.
        let (readings, next_reading) = bounded::<Reading>(1);
        let (reading_done, done) = bounded(1);
        let (held, slot) = (log.clone(), watch.slot());
        let thread = std::thread::Builder::new()
            .name("dafka-compare".into())
            .spawn(move || {
                lower_priority(NICENESS);
                let run = || {
                    for mut reading in next_reading {
                        slot.during("reading records to compare", || read(&held, &mut reading));
                        if reading_done.send(reading).is_err() {
                            break;
                        }
                    }
                };
                // With and without a panic, the end of the thread closes `done`.
                if let Err(panic) = catch_unwind(AssertUnwindSafe(run)) {
                    error_at_edge(format_args!(
                        "Store: internal error in the comparison with other stores: {}; it ends, and the store goes on",
                        panic_text(&*panic)
                    ));
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
    let partition = reading.partition.clone();
    let (from, count) = (reading.from, reading.end.saturating_sub(reading.from));
    let _ = log.read(partition.as_name(), from, count, usize::MAX, &mut |offset, record| {
        reading.take(offset, record.content)
    });
}

impl Held for OnDisk {
    fn next(&self, name: PartitionName) -> u64 {
        let found = self.slot.during("looking up a partition", || self.log.find(name));
        found.ok().flatten().map_or(0, |partition| partition.next)
    }

    fn begin(&mut self, reading: Reading) {
        if let Some(readings) = &self.readings {
            // If the thread has ended, `poll` returns the error.
            let _ = readings.try_send(reading);
        }
    }

    fn poll(&mut self) -> Result<Option<Reading>, Ended> {
        match self.done.try_recv() {
            Ok(reading) => Ok(Some(reading)),
            Err(TryRecvError::Empty) => Ok(None),
            Err(TryRecvError::Disconnected) => Err(Ended),
        }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::Outbox;
    use crate::protocol::store::comparison::Comparison;
    use crate::storage::{Batch, Options};
    use crate::wire::Position;
    use std::sync::Arc;
    use std::time::{Duration, Instant};

    /// Compares a partition of three records until nothing is left to do. Returns the number of FETCHes sent.
    fn compare(read: fn(&Log, &mut Reading)) -> usize {
        let dir = tempfile::tempdir().unwrap();
        let log = Arc::new(Log::open(dir.path(), Options::default()).unwrap());
        let mut batch = Batch::new();
        let run = batch.run(PartitionName { topic: b"topic", producer: b"PARTITION" }, 0);
        (0..3_u8).for_each(|i| batch.push_to(run, vec![i]));
        log.append(&batch).unwrap();
        let watch = DiskWatch::start(dir.path().as_os_str()).unwrap();
        let held = OnDisk::start_with(&log, &watch, read).unwrap();
        let mut comparison = Comparison::new(Box::new(held), b"own");
        let position = Position::new(b"own", b"PARTITION", b"topic", 2);
        comparison.handle_head(&position, b"other", &|| None, 0);
        let (mut out, mut count, start) = (Outbox::<Arc<[u8]>>::new(), 0, Instant::now());
        while let Some(now_ms) = comparison.due_ms() {
            comparison.handle_timeout(b"own", now_ms, &mut out);
            out.drain(|_, _| count += 1);
            assert!(start.elapsed() < Duration::from_secs(60), "it never ends");
            std::thread::sleep(Duration::from_millis(1));
        }
        // The partition is not compared again.
        comparison.handle_head(&position, b"other", &|| None, 1_000_000);
        count += usize::from(comparison.due_ms().is_some());
        count
    }

    #[test]
    fn a_comparison_ends_after_a_panic_of_its_thread() {
        assert_eq!(compare(|_, _| panic!("a bug in the test")), 0);
        // The comparison sends a FETCH, and retries because no store responds.
        assert!(compare(read) > 1);
    }
}
