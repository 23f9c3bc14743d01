//! Class `dafka_producer`.

use super::boundary::{entry, octets, resolve, run_actor, settings};
use super::selftest;
use crate::actor::Error;
use crate::actor::producer;
use crate::czmq::sys::{zactor_t, zconfig_t, zsock_t};
use std::ffi::{c_char, c_void};

/// What `dafka_producer` is started with. Topic and configuration remain the caller's, and may be freed once
/// `zactor_new` has returned.
#[allow(non_camel_case_types)]
#[repr(C)]
pub struct dafka_producer_args_t {
    /// The topic to publish to, 1 to 255 octets.
    pub topic: *const c_char,
    /// NULL: defaults.
    pub config: *mut zconfig_t,
}

/// The producer: publishes records to a topic and keeps each until a store has acknowledged it. An actor for
/// `zactor_new`, whose `args` is a `dafka_producer_args_t *`.
///
/// Understands frame `P` + content frame (publish), `GET ADDRESS` (answered with picture `p`) and `$TERM`, upon
/// which it waits for missing acknowledgements, unless `producer/terminate_unacked` is 1.
///
/// # Safety
/// `pipe` is the actor's end of its pipe; `args` is NULL or live, with live members.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dafka_producer(pipe: *mut zsock_t, args: *mut c_void) {
    // SAFETY: zactor_new gives the pipe to this thread, and waits with its own for the ready signal.
    unsafe { run("Producer", pipe, args.cast(), producer::PRODUCER) }
}

/// Runs either generation's producer.
///
/// # Safety
/// As [`dafka_producer`].
pub(super) unsafe fn run(
    name: &'static str,
    pipe: *mut zsock_t,
    args: *mut dafka_producer_args_t,
    dialect: producer::Dialect,
) {
    // SAFETY: the caller's promise; what `args` points to is copied before the ready signal.
    unsafe {
        run_actor(name, pipe, |pipe| {
            let args = args.as_ref().ok_or(Error::Name("args is NULL".into()))?;
            let topic =
                octets(args.topic, "topic").map_err(|_| Error::Name("topic is NULL".into()))?.to_vec();
            let settings = settings(args.config);
            producer::run(pipe, &topic, &settings, dialect)
        });
    }
}

/// The address of a producer, which is the name of the partition that it writes: 32 hexadecimal digits. Valid
/// while the actor lives; NULL when it has ended.
///
/// # Safety
/// `self` is NULL or a live actor that runs `dafka_producer`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dafka_producer_address(self_: *mut zactor_t) -> *const c_char {
    // SAFETY: the caller's promise.
    entry("dafka_producer_address", std::ptr::null(), || unsafe {
        let pipe = resolve(self_).ok_or("the producer is NULL")?;
        Ok(producer::address(&pipe)?.cast())
    })
}

/// The self test of this class: prints " * dafka_producer: OK", and aborts the process when a check fails. With `verbose`
/// the actors that it runs log more.
#[unsafe(no_mangle)]
pub extern "C" fn dafka_producer_test(verbose: bool) {
    selftest::run("dafka_producer", verbose, selftest::producer);
}
