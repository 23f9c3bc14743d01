//! Class `dafka_tower`.

use super::boundary::{run_actor, settings};
use super::selftest;
use crate::actor::tower;
use crate::czmq::sys::{zconfig_t, zsock_t};
use std::ffi::c_void;

/// The tower: introduces producers, consumers and stores to each other. An actor for `zactor_new`, whose
/// `args` is a `zconfig_t *` (NULL: defaults) that may be destroyed once `zactor_new` has returned.
///
/// Binds to `tower/sub_address` and `tower/pub_address`; when it cannot, it logs why and ends. Understands
/// `$TERM`.
///
/// # Safety
/// `pipe` is the actor's end of its pipe; `args` is NULL or a live `zconfig_t`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dafka_tower_actor(pipe: *mut zsock_t, args: *mut c_void) {
    // SAFETY: zactor_new gives the pipe to this thread, and waits with its own for the ready signal.
    unsafe {
        run_actor("Tower", pipe, |pipe| tower::run(pipe, &settings(args.cast::<zconfig_t>()).tower));
    }
}

/// The self test of this class: prints " * dafka_tower: OK", and aborts the process when a check fails. With `verbose`
/// the actors that it runs log more.
#[unsafe(no_mangle)]
pub extern "C" fn dafka_tower_test(verbose: bool) {
    selftest::run("dafka_tower", verbose, selftest::tower);
}
