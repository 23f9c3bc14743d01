//! Detects that this process was forked after the library was used.
//!
//! A forked child has copies of its parent's sockets and objects, but not the threads behind them. In libzmq (4.3),
//! every wait at a copied socket fails with EINTR at once, and the child can never join the parent's threads. So the
//! child must not use or destroy the copies. The child can use objects that it makes itself.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, Once, PoisonError};

/// The number of forks between the process that first used the library and this process.
static GENERATION: AtomicU32 = AtomicU32::new(0);

/// The generation of this process: 0 before any fork. Objects of another generation must not be used.
pub fn generation() -> u32 {
    GENERATION.load(Ordering::Relaxed)
}

/// Starts to count forks. Later calls are cheap.
pub fn count_forks() {
    static ONCE: Once = Once::new();
    unsafe extern "C" fn child() {
        GENERATION.fetch_add(1, Ordering::Relaxed);
    }
    // SAFETY: the handler only increments a number. If memory is short, forks are not detected.
    ONCE.call_once(|| unsafe {
        libc::pthread_atfork(None, None, Some(child));
    });
}

/// A mutex that a forked child can lock even if a thread of its parent held it during the fork. Each of the first
/// [`GENERATIONS`] generations has its own mutex and value.
pub struct PerProcess<T>([Mutex<T>; GENERATIONS]);

/// How many generations are distinguished: the process that first used the library, and the children of seven nested
/// forks. Later generations share the mutexes and values of earlier ones.
pub const GENERATIONS: usize = 8;

impl<T> PerProcess<T> {
    /// With one value for each generation.
    pub const fn new(values: [Mutex<T>; GENERATIONS]) -> Self {
        PerProcess(values)
    }

    /// Locks this process's value. If a thread has panicked while it held the lock, that is ignored.
    pub fn lock(&self) -> MutexGuard<'_, T> {
        count_forks();
        let mutex = &self.0[generation() as usize % GENERATIONS];
        mutex.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The values of the processes from which this process was forked, as they were during the fork. Leaves out each
    /// value that a thread had locked then.
    pub fn inherited(&self) -> impl Iterator<Item = MutexGuard<'_, T>> {
        let own = generation() as usize % GENERATIONS;
        let others = self.0.iter().enumerate().filter(move |&(index, _)| index != own);
        others.filter_map(|(_, mutex)| mutex.try_lock().ok())
    }
}
