//! Wakes another thread that polls. Takes one descriptor.

use super::Awaited;
use rustix::event::{EventfdFlags, eventfd};
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use zmq::{PollEvents, PollItem};

/// An event that any thread sets, and one thread waits for and clears.
pub struct Wake {
    event: OwnedFd,
    /// The event may be set. Saves the waiting thread system calls.
    may_be_set: AtomicBool,
}

impl Wake {
    /// An event that is not set.
    ///
    /// # Errors
    /// When the process can open no more files.
    pub fn new() -> zmq::Result<Wake> {
        let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
        let event = eventfd(0, flags).map_err(|error| zmq::Error::from_raw(error.raw_os_error()))?;
        Ok(Wake { event, may_be_set: AtomicBool::new(false) })
    }

    /// Sets the event. What this thread has written before is visible to the thread that clears the event.
    pub fn set(&self) {
        // Fails only when the event was set 2^64 - 1 times since it was cleared.
        let _ = rustix::io::write(&self.event, &1_u64.to_ne_bytes());
        self.may_be_set.store(true, Ordering::Release);
    }

    /// Clears the event. Returns whether it was set. Look for work after this, not before.
    pub fn clear(&self) -> bool {
        // The flag is cleared before the event. If another thread sets both in between, the flag stays set, and the
        // next call finds the event cleared already. In the opposite order, an event could stay set without the flag.
        let may_be_set = self.may_be_set.swap(false, Ordering::AcqRel);
        if may_be_set {
            // Fails only when the event was cleared already.
            let _ = rustix::io::read(&self.event, &mut [0; 8]);
        }
        may_be_set
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

#[cfg(test)]
mod tests {
    use super::*;
    use zmq::POLLIN;

    #[test]
    fn an_event_is_readable_until_it_is_cleared() {
        let wake = Wake::new().unwrap();
        let is_readable = || zmq::poll(&mut [wake.item(POLLIN)], 0).unwrap() == 1;
        assert!(!wake.clear() && !is_readable());
        for count in 1..3 {
            (0..count).for_each(|_| wake.set());
            assert!(is_readable() && wake.clear() && !is_readable() && !wake.clear());
        }
        // Another thread sets the event after the flag was cleared, and before the event is read.
        wake.set();
        assert!(wake.clear());
        wake.may_be_set.store(true, Ordering::Release);
        assert!(wake.clear() && !is_readable());
        wake.set();
        assert!(is_readable());
    }
}
