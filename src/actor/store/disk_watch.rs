//! A thread that watches the operations on the store's disk, and logs an operation that does not return.
//!
//! This thread never uses the disk itself, so a disk that hangs does not stop it.

use crate::actor::{Error, Result};
use crate::text::printable;
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use std::ffi::OsStr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How often the thread checks all operations.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// An operation is logged after this many checks in a row have seen it. Checks are counted instead of seconds: after
/// the process was suspended, there is only one check for the whole time of the suspension.
const MAX_CHECK_COUNT: u32 = 5;

/// The current operation of one thread on the disk.
#[derive(Clone)]
pub(super) struct Slot {
    /// The directory, for log lines.
    dir: Arc<str>,
    has_failed: Arc<AtomicBool>,
    current: Arc<Mutex<Option<Operation>>>,
}

/// One operation that has not returned yet.
struct Operation {
    name: &'static str,
    since: Instant,
    /// How many checks have seen it.
    check_count: u32,
    /// The operation is logged when `check_count` reaches this number.
    log_at_count: u32,
}

impl Slot {
    /// Runs an operation on the disk. The disk watch logs an operation that does not return within some seconds.
    pub(super) fn during<R>(&self, name: &'static str, operation: impl FnOnce() -> R) -> R {
        let begun = Operation { name, since: Instant::now(), check_count: 0, log_at_count: MAX_CHECK_COUNT };
        *lock(&self.current) = Some(begun);
        // Ends the operation even if it panics.
        let _end = End(self);
        operation()
    }

    /// Call this after logging that the database cannot accept any more records. The errors that follow are then not
    /// logged.
    pub(super) fn set_failed(&self) {
        self.has_failed.store(true, Ordering::Release);
    }

    /// Checks the current operation. Logs it at the check with number [`MAX_CHECK_COUNT`], and again whenever the
    /// number of checks has doubled.
    fn check(&self) {
        let mut current = lock(&self.current);
        let Some(operation) = &mut *current else { return };
        operation.check_count += 1;
        if operation.check_count < operation.log_at_count {
            return;
        }
        operation.log_at_count *= 2;
        let (name, took) = (operation.name, operation.since.elapsed().as_secs());
        // The thread that uses the disk must not wait for the log.
        drop(current);
        let dir = &self.dir;
        log::warn!("Store: the disk of {dir} does not respond: {name} has not returned for {took} s");
    }
}

/// Dropping this value ends the operation of a slot.
struct End<'a>(&'a Slot);

impl Drop for End<'_> {
    fn drop(&mut self) {
        let Some(operation) = lock(&self.0.current).take() else { return };
        if operation.log_at_count > MAX_CHECK_COUNT {
            let (dir, name, took) = (&self.0.dir, operation.name, operation.since.elapsed().as_secs());
            log::info!("Store: the disk of {dir} responds again: {name} took {took} s");
        }
    }
}

/// Ignores that a panic may have poisoned the lock: the locked state is consistent after a panic.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The thread that checks the operations. It ends when this value is dropped.
pub(super) struct DiskWatch {
    dir: Arc<str>,
    has_failed: Arc<AtomicBool>,
    slots: Arc<Mutex<Vec<Slot>>>,
    /// Closed to end the thread.
    running: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl DiskWatch {
    /// Starts the thread. `dir` is the store's directory.
    pub(super) fn start(dir: &OsStr) -> Result<DiskWatch> {
        let slots: Arc<Mutex<Vec<Slot>>> = Arc::default();
        let (running, has_ended) = bounded(0);
        let watched = slots.clone();
        let thread = std::thread::Builder::new()
            .name("dafka-disk".into())
            .spawn(move || watch(&watched, &has_ended))
            .map_err(Error::Thread)?;
        Ok(DiskWatch {
            dir: printable(dir.as_encoded_bytes()).into(),
            has_failed: Arc::default(),
            slots,
            running: Some(running),
            thread: Some(thread),
        })
    }

    /// Creates a slot for one more thread.
    pub(super) fn slot(&self) -> Slot {
        let slot =
            Slot { dir: self.dir.clone(), has_failed: self.has_failed.clone(), current: Arc::default() };
        lock(&self.slots).push(slot.clone());
        slot
    }

    /// Whether [`Slot::set_failed`] was called.
    pub(super) fn has_failed(&self) -> bool {
        self.has_failed.load(Ordering::Acquire)
    }
}

impl Drop for DiskWatch {
    fn drop(&mut self) {
        self.running = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn watch(slots: &Mutex<Vec<Slot>>, has_ended: &Receiver<()>) {
    while has_ended.recv_timeout(CHECK_INTERVAL) == Err(RecvTimeoutError::Timeout) {
        let slots = lock(slots).clone();
        slots.iter().for_each(Slot::check);
    }
}
