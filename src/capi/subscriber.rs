//! Class `dafka_subscriber`: the consumer of the API's first generation.

use super::boundary::{entry, resolve, run_actor, settings, topic};
use super::selftest;
use crate::actor::consumer::{self, Sink};
use crate::actor::new_address;
use crate::czmq::sys::{zactor_t, zconfig_t, zsock_t};
use std::ffi::{c_char, c_int, c_void};

/// The subscriber: hands the records of its topics to its owner. An actor for `zactor_new`, whose `args` is a
/// `zconfig_t *` (NULL: defaults) that may be destroyed once `zactor_new` has returned.
///
/// Understands `SUBSCRIBE` topic, `UNSUBSCRIBE` topic and `$TERM`; sends each record in zsock_bsend's picture
/// `ssf`: subject, address, content. Reads each partition from its first record, unless its configuration says
/// `consumer/offset/reset = latest`.
///
/// # Safety
/// `pipe` is the actor's end of its pipe; `args` is NULL or a live `zconfig_t`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dafka_subscriber_actor(pipe: *mut zsock_t, args: *mut c_void) {
    // SAFETY: zactor_new gives the pipe to this thread, and waits with its own for the ready signal.
    unsafe {
        run_actor("Subscriber", pipe, |pipe| {
            let settings = settings(args.cast::<zconfig_t>()).for_subscriber();
            consumer::run(pipe, &new_address(), &settings, Sink::Pipe(pipe))
        });
    }
}

/// Subscribes to a topic of 1 to 255 octets. Returns 0, or -1 when the topic is no topic, an argument is NULL
/// or the subscriber has ended.
///
/// # Safety
/// `self` is NULL or a live actor that runs `dafka_subscriber_actor`; `topic` is NULL or a string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dafka_subscriber_subscribe(self_: *mut zactor_t, topic_: *const c_char) -> c_int {
    // SAFETY: the caller's promise.
    entry("dafka_subscriber_subscribe", -1, || unsafe {
        let topic = topic(topic_)?;
        let pipe = resolve(self_).ok_or("the subscriber is NULL")?;
        consumer::command(&pipe, b"SUBSCRIBE", topic)?;
        Ok(0)
    })
}

/// The self test of this class: prints " * dafka_subscriber: OK", and aborts the process when a check fails. With `verbose`
/// the actors that it runs log more.
#[unsafe(no_mangle)]
pub extern "C" fn dafka_subscriber_test(verbose: bool) {
    selftest::run("dafka_subscriber", verbose, selftest::subscriber);
}
