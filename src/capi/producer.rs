//! Class `dafka_producer`: publishes records to a topic.
//!
//! A producer is an actor that writes one partition of one topic. It numbers its records from 0 and publishes them to
//! all subscribed nodes. It keeps each record until stores have acknowledged it, so that consumers and stores can
//! request records that they missed (RFC 46/DAFKA, "Topics, Partitions and Records" and "The RECORD Command").
//! `zactor_new` starts a producer with a `dafka_producer_args_t`. `dafka_producer_msg_send` hands records to the
//! producer. Several threads may call this function with one producer at the same time, and also
//! `dafka_producer_msg_try_send`, `dafka_producer_flush`, `dafka_producer_unacked` and `dafka_producer_acked`. Call all
//! other functions with this producer only while no other thread uses it.
//!
//! `zactor_destroy` ends a producer. The producer first publishes all records that were sent to it. Then it waits until
//! every record is acknowledged. Without a store it waits for ever, unless `producer/terminate_unacked` is 1.
//!
//! A record that is not acknowledged is lost when the process dies. `dafka_producer_flush` waits until all records are
//! acknowledged, with a timeout. A program can send many records and then flush once. The producer publishes records in
//! batches, and stores acknowledge them in batches. So a flush costs about one round trip to a store and its disk.
//!
//! # Configuration
//!
//! A producer reads the keys that begin with `producer/` or `beacon/`. The most important ones are `beacon/sub_address`
//! and `beacon/pub_address` (the addresses of the tower), `producer/terminate_unacked`, `producer/min_stores` (how many
//! stores must acknowledge a record), `producer/max_unacked_bytes` (memory limit for records that wait for
//! acknowledgement), and `producer/max_record_bytes` (maximum length of a record).
//!
//! With `producer/name`, a producer continues the partition of the last producer with the same name and topic, also when
//! that one was killed. It keeps its records in `producer/directory` until they are acknowledged. If it continues a
//! partition, it publishes new records when `producer/start_stores` stores have responded. `zactor_new` and
//! `dafka_producer_msg_send` do not wait for this. While another producer uses the same name and topic in the same
//! directory, the producer logs an error and ends.
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
//!     //  Without a store, the records stay unacknowledged
//!     int rc = dafka_producer_flush (producer, 100);
//!     assert (rc == -1 && errno == EAGAIN);
//!     assert (dafka_producer_unacked (producer) == 3);
//!
//!     zactor_destroy (&producer);
//!     zactor_destroy (&tower);
//!     zconfig_destroy (&config);
//!     return 0;
//! }
//! ```

use super::boundary::{Failure, Outcome, bytes, entry, run_actor, settings, socket_of};
use super::selftest;
use crate::actor::Error;
use crate::actor::command::Ended;
use crate::actor::producer::{self, Flushed, RecordPipe};
use crate::czmq;
use crate::czmq::sys::{zactor_t, zconfig_t, zsock_t};
use crate::net::Pipe;
use std::ffi::{c_char, c_int, c_void};
use std::time::Duration;

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
/// returned before the change stays valid and holds the old address. A producer with `producer/name` does not change its
/// address, and has the address of the last producer with this name.
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

/// Waits until all records that were sent before the call are acknowledged. Records of other threads count too, if the
/// sending function had returned before. An acknowledged record is on the disks of `producer/min_stores` different
/// stores (1 by default), unless `store/sync` is `never`. Records that are sent during the call do not prolong the
/// wait. A producer that gathers records publishes them at once. Records of an earlier producer with the same
/// `producer/name` come before all records that were sent to this one. They do not count if none were sent.
///
/// `timeout_msecs` limits the wait, in milliseconds. -1: no limit. 0: the function only checks.
///
/// Returns 0 when all these records are acknowledged, also if there are none. Otherwise returns -1 and sets errno:
///
/// - `EAGAIN`: the timeout was over first. The producer keeps the unacknowledged records, and a store that comes later
///   gets them.
/// - `EINTR`: a signal ended the wait, if CZMQ handles SIGINT and SIGTERM (see "Signals" in dafka(7)). While
///   `zsys_interrupted` is set, the function does not wait. To flush after the signal, set `zsys_interrupted` to 0
///   first.
/// - `EIO`: the producer can no longer find out whether all records are acknowledged. This happens only if another
///   producer has used the same address for long, see `dafka_producer_address`. All further flushes then fail, too.
///   Start another producer, and send again all records that no earlier flush has confirmed.
/// - `EPIPE`: the producer has ended.
/// - `EINVAL`: the actor is NULL or not a producer, or belongs to the process that forked this one.
///
/// The last two errors are logged. Records that a program has written into the pipe itself (`P`) count too, if the
/// program has called `dafka_producer_address` after its first `P`. The function can also be called with a publisher.
/// In both cases, it may wait longer than the timeout, until the producer's thread has read the earlier commands.
///
/// # Safety
/// `self` is NULL or a live actor that runs `dafka_producer`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dafka_producer_flush(self_: *mut zactor_t, timeout_msecs: c_int) -> c_int {
    // SAFETY: the caller's promise.
    entry("dafka_producer_flush", -1, || unsafe {
        let timeout = u64::try_from(timeout_msecs).ok().map(Duration::from_millis);
        let pipe = socket_of(self_, "producer")?;
        let errno = match producer_at(&pipe)?.flush(timeout, &mut || !czmq::interrupted())? {
            Flushed::All => return Ok(0),
            Flushed::TimedOut => libc::EAGAIN,
            Flushed::Interrupted => libc::EINTR,
            Flushed::Dropped => libc::EIO,
        };
        Err(Failure::expected(errno))
    })
}

/// How many of the records that were sent to the producer are not acknowledged. Records that the producer has not
/// published yet count, too.
///
/// Returns -1 when the producer has ended, or `self` is NULL or not a producer. errno is as after
/// `dafka_producer_flush`. A record whose acknowledgement may have been for a record of another producer with the same
/// address counts as not acknowledged (see `dafka_producer_address`). Records that a program has written into the pipe
/// itself count once the producer has read them.
///
/// # Safety
/// `self` is NULL or a live actor that runs `dafka_producer`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dafka_producer_unacked(self_: *mut zactor_t) -> i64 {
    // SAFETY: the caller's promise.
    entry("dafka_producer_unacked", -1, || unsafe {
        let pipe = socket_of(self_, "producer")?;
        Ok(i64::try_from(producer_at(&pipe)?.unacked_count()?).unwrap_or(i64::MAX))
    })
}

/// Sets `*sequence` to the sequence of the latest acknowledged record. All earlier records of the partition are then
/// acknowledged too.
///
/// Returns 0, or -1 when no record of the partition is acknowledged yet (errno is `EAGAIN`, and the function logs
/// nothing). Also returns -1 when the producer has ended, when an argument is NULL, or when `self` is not a producer;
/// errno is then as after `dafka_producer_flush`. When the function returns -1, `*sequence` is unchanged.
///
/// The sequence belongs to the partition whose name `dafka_producer_address` returns. When the producer takes a new
/// address, its unacknowledged records begin at 0 in a new partition, and no record of the new partition is
/// acknowledged at first. So a program that stores the sequence together with the address asks for the address before
/// and after this call, and repeats both if the address has changed. While the producer waits for a new address, the
/// sequence does not increase.
///
/// # Safety
/// `self` is NULL or a live actor that runs `dafka_producer`; `sequence` is NULL or points to a number.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dafka_producer_acked(self_: *mut zactor_t, sequence: *mut u64) -> c_int {
    // SAFETY: the caller's promise.
    entry("dafka_producer_acked", -1, || unsafe {
        let sequence = sequence.as_mut().ok_or("the sequence is NULL")?;
        let pipe = socket_of(self_, "producer")?;
        *sequence = producer_at(&pipe)?.acked_head()?.ok_or(Failure::expected(libc::EAGAIN))?;
        Ok(0)
    })
}

/// The producer at the other end of a pipe.
fn producer_at(pipe: &Pipe) -> Outcome<RecordPipe<'_>> {
    const NO_PRODUCER: &str = "the actor is not a producer that has started";
    if pipe.is_foreign() {
        return Err(NO_PRODUCER.into());
    }
    let producer = RecordPipe::new(pipe);
    match producer.is_of_producer() {
        true => Ok(producer),
        false if pipe.has_actor() => Err(NO_PRODUCER.into()),
        false => Err(Ended.into()),
    }
}

/// Runs the self test of this class, as `dafka_selftest` does. It calls the functions of the class, and prints " *
/// dafka_producer: OK". A failed check aborts the process. With `verbose`, the nodes of the test log what they do.
#[unsafe(no_mangle)]
pub extern "C" fn dafka_producer_test(verbose: bool) {
    selftest::run("dafka_producer", verbose, selftest::producer);
}
