//! Whether this process is a child that was forked after the library was used.
//!
//! Such a child has copies of its parent's sockets and objects, but none of the threads behind them: in libzmq (4.3)
//! every wait at such a socket fails with EINTR at once, for ever, and a thread can never be joined. The copies must be
//! left alone. What the child makes itself works.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, Once, PoisonError};

/// How many forks lie between the process that first used the library and this one.
static GENERATION: AtomicU32 = AtomicU32::new(0);

/// The generation of this process; 0 before any fork. An object that was made in another one is not to be used.
pub fn generation() -> u32 {
    GENERATION.load(Ordering::Relaxed)
}

/// Counts forks from now on. Cheap to call again.
pub fn count_forks() {
    static ONCE: Once = Once::new();
    unsafe extern "C" fn child() {
        GENERATION.fetch_add(1, Ordering::Relaxed);
    }
    // SAFETY: the handler only increments a number. When there is no memory for it, forks are not noticed.
    ONCE.call_once(|| unsafe {
        libc::pthread_atfork(None, None, Some(child));
    });
}

/// A mutex that a child can lock although a thread of its parent held it when the process was forked: each generation
/// has one of its own, and a value of its own (up to [`GENERATIONS`] nested forks).
pub struct PerProcess<T>([Mutex<T>; GENERATIONS]);

/// Nested forks that are told apart.
pub const GENERATIONS: usize = 8;

impl<T> PerProcess<T> {
    /// With the same value for each process.
    pub const fn new(values: [Mutex<T>; GENERATIONS]) -> Self {
        PerProcess(values)
    }

    /// Locks this process's value. A panic of another holder is no reason to fail.
    pub fn lock(&self) -> MutexGuard<'_, T> {
        count_forks();
        let mutex = &self.0[generation() as usize % GENERATIONS];
        mutex.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
