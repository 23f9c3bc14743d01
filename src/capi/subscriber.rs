//! Class `dafka_subscriber`: reads the records of topics (first generation of the API).
//!
//! A subscriber is a consumer (see dafka_consumer(3)) that sends records to the application over the actor's pipe. This
//! class exists for programs that were written for the first generation of the API; new programs use `dafka_consumer`.
//! `zactor_new` starts a subscriber with a `zconfig_t`, and `zactor_destroy` ends it.
//!
//! To read a record, call `zsock_brecv` with the picture `ssf`: topic, partition, content. The actor owns the two
//! strings, which are valid until the program reads the next record. The caller owns the frame. `zpoller` and `zloop`
//! accept the actor like a socket.
//!
//! # Configuration
//!
//! A subscriber reads the keys of a consumer, with one difference: unless `consumer/offset/reset` is `latest`, a
//! subscriber reads each partition from its first record.
//!
//! # Commands
//!
//! Programs that write to the actor's pipe directly may send these commands:
//!
//! - `SUBSCRIBE` or `UNSUBSCRIBE`: a second frame holds the topic (`zsock_send` with picture `ss`).
//! - `$TERM`: end. `zactor_destroy` sends it.
//!
//! # Example
//!
//! ```c
//! #include <dafka.h>
//!
//! int main (void)
//! {
//!     zconfig_t *config = zconfig_new ("root", NULL);
//!     zconfig_put (config, "tower/sub_address", "inproc://tower-sub");
//!     zconfig_put (config, "tower/pub_address", "inproc://tower-pub");
//!     zconfig_put (config, "beacon/sub_address", "inproc://tower-sub");
//!     zconfig_put (config, "beacon/pub_address", "inproc://tower-pub");
//!     zconfig_put (config, "producer/terminate_unacked", "1");
//!     zactor_t *tower = zactor_new (dafka_tower_actor, config);
//!     assert (tower);
//!
//!     //  A publisher publishes a record
//!     dafka_publisher_args_t args = { "weather", config };
//!     zactor_t *publisher = zactor_new (dafka_publisher_actor, &args);
//!     assert (publisher);
//!     zframe_t *sent = zframe_from ("20 degrees");
//!     int rc = dafka_publisher_publish (publisher, &sent);
//!     assert (rc == 0);
//!
//!     zactor_t *subscriber = zactor_new (dafka_subscriber_actor, config);
//!     assert (subscriber);
//!     rc = dafka_subscriber_subscribe (subscriber, "weather");
//!     assert (rc == 0);
//!
//!     //  The actor owns the strings, until the next record; we own the
//!     //  frame
//!     char *subject, *address;
//!     zframe_t *content;
//!     rc = zsock_brecv (subscriber, "ssf", &subject, &address, &content);
//!     assert (rc == 0);
//!     assert (streq (subject, "weather"));
//!     assert (streq (address, dafka_publisher_address (publisher)));
//!     assert (zframe_streq (content, "20 degrees"));
//!     printf ("a record of %s\n", subject);
//!     zframe_destroy (&content);
//!
//!     zactor_destroy (&subscriber);
//!     zactor_destroy (&publisher);
//!     zactor_destroy (&tower);
//!     zconfig_destroy (&config);
//!     return 0;
//! }
//! ```

use super::boundary::{entry, run_actor, settings, socket_of, topic};
use super::selftest;
use crate::actor::consumer::{self, Sink};
use crate::actor::new_address;
use crate::czmq::sys::{zactor_t, zconfig_t, zsock_t};
use std::ffi::{c_char, c_int, c_void};

/// The subscriber's actor: a function for `zactor_new`, whose `args` is a `zconfig_t *`, or NULL for the defaults. Do
/// not call it directly. `zactor_new` returns when the towers have answered or `beacon/connect_timeout` (milliseconds)
/// has passed.
///
/// # Safety
/// `pipe` is the actor's end of its pipe; `args` is NULL or a live `zconfig_t`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dafka_subscriber_actor(pipe: *mut zsock_t, args: *mut c_void) {
    // SAFETY: zactor_new gives this end of the pipe to this thread, and waits at the other end for the ready signal.
    unsafe {
        run_actor("Subscriber", pipe, |pipe| {
            let settings = settings(args.cast::<zconfig_t>()).for_subscriber();
            consumer::run(pipe, &new_address(), &settings, Sink::Pipe(pipe))
        });
    }
}

/// Subscribes to a topic, as `dafka_consumer_subscribe` does.
///
/// Returns 0, or -1 when the topic is too long, an argument is NULL or the subscriber has ended.
///
/// # Safety
/// `self` is NULL or a live actor that runs `dafka_subscriber_actor`; `topic` is NULL or a string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dafka_subscriber_subscribe(self_: *mut zactor_t, topic_: *const c_char) -> c_int {
    // SAFETY: the caller's promise.
    entry("dafka_subscriber_subscribe", -1, || unsafe {
        let topic = topic(topic_)?;
        let pipe = socket_of(self_, "subscriber")?;
        consumer::command(&pipe, b"SUBSCRIBE", topic)?;
        Ok(0)
    })
}

/// Runs the self test of this class, as `dafka_selftest` does. It calls the functions of the class, and prints " *
/// dafka_subscriber: OK". A failed check aborts the process. With `verbose`, the nodes of the test log what they do.
#[unsafe(no_mangle)]
pub extern "C" fn dafka_subscriber_test(verbose: bool) {
    selftest::run("dafka_subscriber", verbose, selftest::subscriber);
}
