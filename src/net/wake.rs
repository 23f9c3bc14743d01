//! Wakes another thread that polls. Takes one descriptor.

use super::Awaited;
use rustix::event::{EventfdFlags, eventfd};
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use zmq::{PollEvents, PollItem};

/// An event that any thread sets, and one thread waits for and clears.
pub struct Wake {
    event: OwnedFd,
    /// The event is set, or is about to be. Saves system calls.
    is_set: AtomicBool,
}

impl Wake {
    /// An event that is not set.
    ///
    /// # Errors
    /// When the process can open no more files.
    pub fn new() -> zmq::Result<Wake> {
        let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
        let event = eventfd(0, flags).map_err(|error| zmq::Error::from_raw(error.raw_os_error()))?;
        Ok(Wake { event, is_set: AtomicBool::new(false) })
    }

    /// Sets the event. What this thread has written before is visible to the thread that clears the event.
    pub fn set(&self) {
        if !self.is_set.swap(true, Ordering::AcqRel) {
            // Fails only when the event is set already.
            let _ = rustix::io::write(&self.event, &1_u64.to_ne_bytes());
        }
    }

    /// Clears the event. Returns whether it was set. Look for work after this, not before.
    pub fn clear(&self) -> bool {
        let was_set = self.is_set.swap(false, Ordering::AcqRel);
        if was_set {
            // Fails only when the other thread has not written yet. Then a later poll returns once too often.
            let _ = rustix::io::read(&self.event, &mut [0; 8]);
        }
        was_set
    }

    /// The event, for [`Wait`](super::Wait).
    pub fn awaited(&self) -> Awaited<'_> {
        Awaited::File(self.event.as_raw_fd())
    }

    /// The event as an item of [`poll`](super::poll).
    pub fn item(&self, events: PollEvents) -> PollItem<'_> {
        PollItem::from_fd(self.event.as_raw_fd(), events)
    }
}
