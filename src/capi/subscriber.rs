//! Class `dafka_subscriber`: reads the records of topics (first generation of the API).
//!
//! A subscriber is a consumer (see dafka_consumer(3)) that hands records over on its actor's pipe: for programs
//! that were written for the first generation of the API. New programs use `dafka_consumer`. `zactor_new` starts
//! it with a `zconfig_t`, `zactor_destroy` ends it.
//!
//! A record is read with `zsock_brecv` and the picture `ssf`: the topic, the partition and the content. The two
//! strings belong to the actor and are valid until the next record; the frame is the caller's. `zpoller` and
//! `zloop` take the actor as they take a socket.
//!
//! # Configuration
//!
//! The keys of a consumer, with one difference: unless `consumer/offset/reset` is `latest`, a subscriber reads
//! each partition from its first record.
//!
//! # Commands
//!
//! Programs that write to the actor's pipe by themselves may send it:
//!
//! - `SUBSCRIBE` or `UNSUBSCRIBE`: a second frame holds the topic (`zsock_send` with picture `ss`).
//! - `$TERM`: end, as `zactor_destroy` sends it.
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
//!     //  Somebody publishes
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
//!     //  The strings stay the actor's, until the next record; the frame
//!     //  is ours
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

/// The subscriber's actor: a function for `zactor_new`, whose `args` is a `zconfig_t *`, or NULL for the defaults.
/// Not to be called directly. It is ready, and `zactor_new` returns, when the towers have welcomed it or
/// `beacon/connect_timeout` (milliseconds) has passed.
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

/// Subscribes to a topic as `dafka_consumer_subscribe` does. To subscribe twice is one
/// subscription.
///
/// Returns 0, or -1 when the topic is no topic, an argument is NULL or the subscriber has ended.
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

/// The self test of this class, as `dafka_selftest` runs it: uses the functions of the class and prints " *
/// dafka_subscriber: OK"; a check that fails aborts the process. With `verbose`, the nodes that it runs log what
/// they do.
#[unsafe(no_mangle)]
pub extern "C" fn dafka_subscriber_test(verbose: bool) {
    selftest::run("dafka_subscriber", verbose, selftest::subscriber);
}
