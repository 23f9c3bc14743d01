//! Class `dafka_store`.

use super::boundary::{run_actor, settings};
use super::selftest;
use crate::actor::store;
use crate::czmq::sys::{zconfig_t, zsock_t};
use std::ffi::c_void;

/// The store: keeps the records of all topics in the directory `store/db`, acknowledges them to their producers
/// once they are on disk, and answers consumers from there. An actor for `zactor_new`, whose `args` is a
/// `zconfig_t *` (NULL: defaults) that may be destroyed once `zactor_new` has returned.
///
/// A directory that cannot be used (not writable, in use by another store, another database's) is logged, and
/// the actor ends. Understands `$TERM`: what it has taken in by then is written.
///
/// # Safety
/// `pipe` is the actor's end of its pipe; `args` is NULL or a live `zconfig_t`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dafka_store_actor(pipe: *mut zsock_t, args: *mut c_void) {
    // SAFETY: zactor_new gives the pipe to this thread, and waits with its own for the ready signal.
    unsafe {
        run_actor("Store", pipe, |pipe| store::run(pipe, &settings(args.cast::<zconfig_t>())));
    }
}

/// The self test of this class: prints " * dafka_store: OK", and aborts the process when a check fails. With `verbose`
/// the actors that it runs log more.
#[unsafe(no_mangle)]
pub extern "C" fn dafka_store_test(verbose: bool) {
    selftest::run("dafka_store", verbose, selftest::store);
}
