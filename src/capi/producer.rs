//! Class `dafka_producer`: publishes records to a topic.
//!
//! A producer is an actor that writes one partition of one topic. It numbers its records from 0, publishes them to
//! whoever is subscribed, and keeps each of them until stores have acknowledged it, so that consumers and stores
//! can ask for what they have missed (RFC 46/DAFKA, "Topics, Partitions and Records" and "The RECORD Command").
//! `zactor_new` starts it with a `dafka_producer_args_t`; records are handed to it as `dafka_producer_msg_t`.
//!
//! `zactor_destroy` ends it. All that was sent before is published; then it waits until every record is
//! acknowledged, for ever if there is no store, unless `producer/terminate_unacked` is 1.
//!
//! # Configuration
//!
//! The keys below `producer/` and `beacon/`. Most wanted: `beacon/sub_address` and `beacon/pub_address` (where the
//! tower is), `producer/terminate_unacked`, `producer/min_stores` (in how many stores a record has to be),
//! `producer/max_unacked_bytes` (how much memory records that wait for acknowledgement may use),
//! `producer/max_record_bytes` (the longest record that it takes).
//!
//! # Commands
//!
//! Programs that write to the actor's pipe by themselves (`zsock_send`, `zmsg_send`) may send it:
//!
//! - `P`: publish; a second frame holds the content. A longer one than `producer/max_record_bytes` is logged and
//!   dropped. The pipe's high-water mark applies (`zsys_set_pipehwm`).
//! - `GET ADDRESS`: the answer is the pointer that `dafka_producer_address` returns (`zsock_brecv` with picture
//!   `p`).
//! - `$TERM`: end, as `zactor_destroy` sends it.
//!
//! # Example
//!
//! ```c
//! #include <dafka.h>
//!
//! int main (void)
//! {
//!     //  A tower inside this process, and where its nodes find it
//!     zconfig_t *config = zconfig_new ("root", NULL);
//!     zconfig_put (config, "tower/sub_address", "inproc://tower-sub");
//!     zconfig_put (config, "tower/pub_address", "inproc://tower-pub");
//!     zconfig_put (config, "beacon/sub_address", "inproc://tower-sub");
//!     zconfig_put (config, "beacon/pub_address", "inproc://tower-pub");
//!     //  There is no store: let the producer end without an ACK
//!     zconfig_put (config, "producer/terminate_unacked", "1");
//!     zactor_t *tower = zactor_new (dafka_tower_actor, config);
//!     assert (tower);
//!
//!     dafka_producer_args_t args = { "weather", config };
//!     zactor_t *producer = zactor_new (dafka_producer, &args);
//!     assert (producer);
//!     printf ("publishing partition %s of weather\n",
//!             dafka_producer_address (producer));
//!
//!     dafka_producer_msg_t *msg = dafka_producer_msg_new ();
//!     assert (msg);
//!     int number;
//!     for (number = 0; number < 3; number++) {
//!         char content [32];
//!         snprintf (content, sizeof (content), "%d degrees", 20 + number);
//!         int rc = dafka_producer_msg_set_content_str (msg, content);
//!         assert (rc == 0);
//!         rc = dafka_producer_msg_send (msg, producer);
//!         assert (rc == 0);
//!     }
//!     dafka_producer_msg_destroy (&msg);
//!
//!     zactor_destroy (&producer);
//!     zactor_destroy (&tower);
//!     zconfig_destroy (&config);
//!     return 0;
//! }
//! ```

use super::boundary::{entry, octets, run_actor, settings, socket_of};
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

/// The producer's actor: a function for `zactor_new`, whose `args` is a `dafka_producer_args_t *`. Not to be
/// called directly. It is ready, and `zactor_new` returns, when the towers have welcomed it or
/// `beacon/connect_timeout` (milliseconds) has passed. Without a topic it logs an error and ends.
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

/// The address of a producer, which is the name of the partition that it writes: 32 hexadecimal digits. The string
/// is borrowed, and valid as long as the actor lives. NULL when `self` is NULL or the producer has ended.
///
/// The address changes when another producer is found that has the same one (a cloned virtual machine, a restored
/// snapshot), which is logged. The producer goes on in a new partition, and publishes again there, numbered from 0, what
/// is not acknowledged. What this function returned before remains a valid string: the old address.
///
/// # Safety
/// `self` is NULL or a live actor that runs `dafka_producer`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dafka_producer_address(self_: *mut zactor_t) -> *const c_char {
    // SAFETY: the caller's promise.
    entry("dafka_producer_address", std::ptr::null(), || unsafe {
        let pipe = socket_of(self_, "producer")?;
        Ok(producer::address(&pipe)?.cast())
    })
}

/// The self test of this class, as `dafka_selftest` runs it: uses the functions of the class and prints " *
/// dafka_producer: OK"; a check that fails aborts the process. With `verbose`, the nodes that it runs log what
/// they do.
#[unsafe(no_mangle)]
pub extern "C" fn dafka_producer_test(verbose: bool) {
    selftest::run("dafka_producer", verbose, selftest::producer);
}
