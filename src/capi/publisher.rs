//! Class `dafka_publisher`: publishes records to a topic (first generation of the API).
//!
//! A publisher is a producer (see dafka_producer(3)) that is handed frames in place of messages: the actor of
//! programs that were written for the first generation of the API. New programs use `dafka_producer`. `zactor_new`
//! starts it with a `dafka_publisher_args_t`. `zactor_destroy` ends it. A publisher that no store has acknowledged or
//! is connected to ends at once, but not before it is one second old: a store may need that long to connect. Else it waits
//! until all records are acknowledged. `publisher/terminate_timeout` (in milliseconds, 30,000 by default) limits both waits,
//! and `producer/terminate_unacked = 1` ends it at once.
//!
//! # Configuration
//!
//! The keys of a producer: those below `producer/` and `beacon/`; and `publisher/terminate_timeout`.
//!
//! # Commands
//!
//! Programs that write to the actor's pipe by themselves may send it:
//!
//! - `PUBLISH`: a second frame holds a pointer to a `zframe_t` (`zsock_bsend` with picture `p`), which is the
//!   publisher's then.
//! - `GET ADDRESS`: the answer is the pointer that `dafka_publisher_address` returns (`zsock_brecv` with picture
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
//!     dafka_publisher_args_t args = { "weather", config };
//!     zactor_t *publisher = zactor_new (dafka_publisher_actor, &args);
//!     assert (publisher);
//!     printf ("publishing partition %s of weather\n",
//!             dafka_publisher_address (publisher));
//!
//!     zframe_t *content = zframe_from ("20 degrees");
//!     int rc = dafka_publisher_publish (publisher, &content);
//!     assert (rc == 0);
//!     //  The publisher has taken the frame
//!     assert (content == NULL);
//!
//!     zactor_destroy (&publisher);
//!     zactor_destroy (&tower);
//!     zconfig_destroy (&config);
//!     return 0;
//! }
//! ```

use super::boundary::{entry, socket_of, take_frame};
use super::producer::{dafka_producer_args_t, run};
use super::selftest;
use crate::actor::command::{send_command, send_last};
use crate::actor::producer::{self, Dialect, check_len};
use crate::czmq::sys::{self, zactor_t, zconfig_t, zframe_t, zsock_t};
use crate::net::Frame;
use std::ffi::{c_char, c_int, c_void};

/// What `dafka_publisher_actor` is started with. Topic and configuration remain the caller's, and may be freed
/// once `zactor_new` has returned.
#[allow(non_camel_case_types)]
#[repr(C)]
pub struct dafka_publisher_args_t {
    /// The topic to publish to, 1 to 255 octets.
    pub topic: *const c_char,
    /// NULL: defaults.
    pub config: *mut zconfig_t,
}

// The two generations name the same layout differently: one function serves both.
const _: () = {
    assert!(size_of::<dafka_publisher_args_t>() == size_of::<dafka_producer_args_t>());
    assert!(
        std::mem::offset_of!(dafka_publisher_args_t, config)
            == std::mem::offset_of!(dafka_producer_args_t, config)
    );
};

/// `PUBLISH`, then a frame that holds a pointer to the content's `zframe_t` (zsock_bsend's picture `p`).
const PUBLISHER: Dialect = Dialect { command: b"PUBLISH", content, ends_unacknowledged: true };

fn content(pointer: Frame) -> Option<Frame> {
    let octets: [u8; size_of::<usize>()] = pointer.as_ref().try_into().ok()?;
    let mut frame = usize::from_ne_bytes(octets) as *mut zframe_t;
    // SAFETY: the command's contract: a pointer to a live frame, whose ownership passes with it.
    unsafe { take_frame(&mut frame) }
}

/// The publisher's actor: a function for `zactor_new`, whose `args` is a `dafka_publisher_args_t *`. Not to be
/// called directly. It is ready, and `zactor_new` returns, when the towers have welcomed it or
/// `beacon/connect_timeout` (milliseconds) has passed. Without a topic it logs an error and ends.
///
/// # Safety
/// `pipe` is the actor's end of its pipe; `args` is NULL or live, with live members.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dafka_publisher_actor(pipe: *mut zsock_t, args: *mut c_void) {
    // SAFETY: zactor_new gives the pipe to this thread; the layouts of both args are the same, see above.
    unsafe { run("Publisher", pipe, args.cast(), PUBLISHER) }
}

/// Publishes a record. Takes the frame over, which is its content, and sets `*content` to NULL, also when it
/// fails. The record is published soon after, not before this returns.
///
/// Waits while the publisher's pipe is full (`zsys_set_pipehwm`), and while records that wait for acknowledgement
/// use up `producer/max_unacked_bytes`; a signal does not end that wait.
///
/// Returns 0, or -1 when the publisher has ended, an argument is NULL or the content is longer than
/// `producer/max_record_bytes`, which the log names.
///
/// # Safety
/// `self` is NULL or a live actor that runs `dafka_publisher_actor`; `content` is NULL, or points to NULL or to
/// a live frame.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dafka_publisher_publish(self_: *mut zactor_t, content: *mut *mut zframe_t) -> c_int {
    // SAFETY: the caller's promise. A frame that was not handed over is destroyed here.
    entry("dafka_publisher_publish", -1, || unsafe {
        let mut frame = content
            .as_mut()
            .map_or(std::ptr::null_mut(), |content| std::mem::replace(content, std::ptr::null_mut()));
        if frame.is_null() {
            return Err("the content is NULL".into());
        }
        let sent = socket_of(self_, "publisher").and_then(|pipe| {
            let pointer = (frame as usize).to_ne_bytes();
            let mut is_handed_over = false;
            check_len(&pipe, sys::zframe_size(frame))?;
            let sent = send_command(&pipe, PUBLISHER.command, sys::zframe_size(frame), |pipe| {
                is_handed_over = send_last(pipe, &mut Frame::copy(&pointer));
                is_handed_over
            });
            if is_handed_over {
                frame = std::ptr::null_mut();
            }
            Ok(sent?)
        });
        drop(take_frame(&mut frame));
        sent.map(|()| 0)
    })
}

/// The address of a publisher, which is the name of the partition that it writes: 32 hexadecimal digits. The
/// string is borrowed, and valid as long as the actor lives. NULL when `self` is NULL or the publisher has ended. It
/// changes as `dafka_producer_address` says.
///
/// # Safety
/// `self` is NULL or a live actor that runs `dafka_publisher_actor`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dafka_publisher_address(self_: *mut zactor_t) -> *const c_char {
    // SAFETY: the caller's promise.
    entry("dafka_publisher_address", std::ptr::null(), || unsafe {
        let pipe = socket_of(self_, "publisher")?;
        Ok(producer::address(&pipe)?.cast())
    })
}

/// The self test of this class, as `dafka_selftest` runs it: uses the functions of the class and prints " *
/// dafka_publisher: OK"; a check that fails aborts the process. With `verbose`, the nodes that it runs log what
/// they do.
#[unsafe(no_mangle)]
pub extern "C" fn dafka_publisher_test(verbose: bool) {
    selftest::run("dafka_publisher", verbose, selftest::publisher);
}
