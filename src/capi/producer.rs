//! Class `dafka_producer`: publishes records to a topic.
//!
//! A producer is an actor that writes one partition of one topic. It numbers its records from 0 and publishes them to
//! all subscribed nodes. It keeps each record until stores have acknowledged it, so that consumers and stores can
//! request records that they missed (RFC 46/DAFKA, "Topics, Partitions and Records" and "The RECORD Command").
//! `zactor_new` starts a producer with a `dafka_producer_args_t`. `dafka_producer_msg_send` hands records to the
//! producer. Several threads may call this function with one producer at the same time. All other functions with this
//! producer are for one thread at a time, and only while no other thread is sending.
//!
//! `zactor_destroy` ends a producer. The producer first publishes all records that were sent to it. Then it waits until
//! every record is acknowledged. Without a store it waits for ever, unless `producer/terminate_unacked` is 1.
//!
//! # Configuration
//!
//! A producer reads the keys that begin with `producer/` or `beacon/`. The most important ones are `beacon/sub_address`
//! and `beacon/pub_address` (the addresses of the tower), `producer/terminate_unacked`, `producer/min_stores` (how many
//! stores must acknowledge a record), `producer/max_unacked_bytes` (memory limit for records that wait for
//! acknowledgement), and `producer/max_record_bytes` (maximum length of a record).
//!
//! # Commands
//!
//! Programs that write to the actor's pipe directly (`zsock_send`, `zmsg_send`) may send these commands:
//!
//! - `P`: publish. A second frame holds the content. If the content is longer than `producer/max_record_bytes`, the
//!   producer logs an error and drops the record. The pipe's high-water mark applies (`zsys_set_pipehwm`). A program
//!   that also uses `dafka_producer_msg_send` calls `dafka_producer_address` after its first `P`: that function returns
//!   when the producer has read all earlier commands. From then on, the producer publishes all records in the order in
//!   which they were sent. Without that call, a record that is sent with `dafka_producer_msg_send` may overtake `P`s
//!   that the producer has not read yet.
//! - `GET ADDRESS`: the answer is the pointer that `dafka_producer_address` returns (`zsock_brecv` with picture `p`).
//! - `$TERM`: end. `zactor_destroy` sends it, and does not wait for room in the pipe. If a program's own commands may
//!   have filled the pipe, the program calls `dafka_producer_address` before `zactor_destroy`: when that function
//!   returns, there is room.
//!
//! # Example
//!
//! ```c
//! #include <dafka.h>
//!
//! int main (void)
//! {
//!     //  A tower inside this process, and its addresses for the nodes
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

use super::boundary::{bytes, entry, run_actor, settings, socket_of};
use super::selftest;
use crate::actor::Error;
use crate::actor::producer;
use crate::czmq::sys::{zactor_t, zconfig_t, zsock_t};
use std::ffi::{c_char, c_void};

/// The arguments of `dafka_producer`. The caller keeps topic and configuration, and may free them after `zactor_new`
/// has returned.
#[allow(non_camel_case_types)]
#[repr(C)]
pub struct dafka_producer_args_t {
    /// The topic to publish to, 1 to 255 bytes.
    pub topic: *const c_char,
    /// The configuration. NULL for the defaults.
    pub config: *mut zconfig_t,
}

/// The producer's actor: a function for `zactor_new`, whose `args` is a `dafka_producer_args_t *`. Do not call it
/// directly. `zactor_new` returns when the towers have answered or `beacon/connect_timeout` (milliseconds) has passed.
/// Without a topic the producer logs an error and ends.
///
/// # Safety
/// `pipe` is the actor's end of its pipe; `args` is NULL or live, with live members.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dafka_producer(pipe: *mut zsock_t, args: *mut c_void) {
    // SAFETY: zactor_new gives this end of the pipe to this thread, and waits at the other end for the ready signal.
    unsafe { run("Producer", pipe, args.cast(), producer::PRODUCER) }
}

/// Runs the producer of either generation of the API.
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
            let topic = bytes(args.topic, "topic").map_err(|_| Error::Name("topic is NULL".into()))?.to_vec();
            let settings = settings(args.config);
            producer::run(pipe, &topic, &settings, dialect)
        });
    }
}

/// The address of a producer, which is also the name of the partition that it writes: 32 hexadecimal digits. The string
/// is borrowed, and valid as long as the actor lives. NULL when `self` is NULL or the producer has ended.
///
/// When the producer detects another producer with the same address, it takes a new address. This happens for example
/// in a cloned virtual machine or a restored snapshot. The producer logs the change and continues in a new partition.
/// It publishes all unacknowledged records again in the new partition, numbered from 0. A string that this function
/// returned before the change stays valid and holds the old address.
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

/// Runs the self test of this class, as `dafka_selftest` does. It calls the functions of the class, and prints " *
/// dafka_producer: OK". A failed check aborts the process. With `verbose`, the nodes of the test log what they do.
#[unsafe(no_mangle)]
pub extern "C" fn dafka_producer_test(verbose: bool) {
    selftest::run("dafka_producer", verbose, selftest::producer);
}
