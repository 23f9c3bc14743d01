//! Class `dafka_publisher`: publishes records to a topic (first generation of the API).
//!
//! A publisher is a producer (see dafka_producer(3)) that receives the contents of records as `zframe_t`, and not as
//! `dafka_producer_msg_t`. This class exists for programs that were written for the first generation of the API; new
//! programs use `dafka_producer`. `zactor_new` starts a publisher with a `dafka_publisher_args_t`.
//!
//! `zactor_destroy` ends the publisher. If a store is connected to the publisher or has acknowledged records, the
//! publisher waits until all records are acknowledged. Otherwise it does not wait for acknowledgements. But it ends no
//! earlier than one second after its start, because a store may need that long to connect.
//! `publisher/terminate_timeout` (in milliseconds, 30,000 by default) limits both waits. With
//! `producer/terminate_unacked = 1` the publisher ends at once.
//!
//! # Configuration
//!
//! A publisher reads the keys of a producer, which begin with `producer/` or `beacon/`, and
//! `publisher/terminate_timeout`.
//!
//! # Commands
//!
//! Programs that write to the actor's pipe directly may send these commands:
//!
//! - `PUBLISH`: publish. A second frame holds a pointer to a `zframe_t` (`zsock_bsend` with picture `p`). The publisher
//!   then owns that frame.
//! - `GET ADDRESS`: the answer is the pointer that `dafka_publisher_address` returns (`zsock_brecv` with picture `p`).
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
use crate::actor::command::send_last;
use crate::actor::producer::{self, Dialect, RecordPipe};
use crate::czmq::owned::ZFrame;
use crate::czmq::sys::{zactor_t, zconfig_t, zframe_t, zsock_t};
use crate::net::Frame;
use std::ffi::{c_char, c_int, c_void};

/// The arguments of `dafka_publisher_actor`. The caller keeps topic and configuration, and may free them after
/// `zactor_new` has returned.
#[allow(non_camel_case_types)]
#[repr(C)]
pub struct dafka_publisher_args_t {
    /// The topic to publish to, 1 to 255 bytes.
    pub topic: *const c_char,
    /// The configuration. NULL for the defaults.
    pub config: *mut zconfig_t,
}

// The argument structures of both generations have the same layout, so one function serves both.
const _: () = {
    assert!(size_of::<dafka_publisher_args_t>() == size_of::<dafka_producer_args_t>());
    assert!(
        std::mem::offset_of!(dafka_publisher_args_t, config)
            == std::mem::offset_of!(dafka_producer_args_t, config)
    );
};

/// `PUBLISH`, then a frame with a pointer to the content's `zframe_t` (picture `p` of zsock_bsend).
const PUBLISHER: Dialect =
    Dialect { command: b"PUBLISH", content, has_queue: false, ends_unacknowledged: true };

fn content(pointer: Frame) -> Option<Frame> {
    let bytes: [u8; size_of::<usize>()] = pointer.as_ref().try_into().ok()?;
    // SAFETY: by the contract of the command, the pointer points to a live frame, which this function now owns.
    let frame = unsafe { ZFrame::from_c(usize::from_ne_bytes(bytes) as *mut zframe_t) };
    let copy = Frame::try_copy(frame.content()?);
    // The owner counts this record as unpublished until the actor has published it, so the record must not be dropped:
    // if there is no memory for a copy, publish the frame itself.
    Some(copy.unwrap_or_else(|| Frame::wrap(frame)))
}

/// The publisher's actor: a function for `zactor_new`, whose `args` is a `dafka_publisher_args_t *`. Do not call it
/// directly. `zactor_new` returns when the towers have answered or `beacon/connect_timeout` (milliseconds) has passed.
/// Without a topic the publisher logs an error and ends.
///
/// # Safety
/// `pipe` is the actor's end of its pipe; `args` is NULL or live, with live members.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dafka_publisher_actor(pipe: *mut zsock_t, args: *mut c_void) {
    // SAFETY: zactor_new gives the pipe to this thread; the layouts of both args are the same, see above.
    unsafe { run("Publisher", pipe, args.cast(), PUBLISHER) }
}

/// Publishes a record whose content is the frame. The function takes ownership of the frame and sets `*content` to
/// NULL, also when it fails. The publisher publishes the record soon after this function has returned.
///
/// The function waits while the publisher's pipe is full (`zsys_set_pipehwm`). It also waits while unacknowledged
/// records fill `producer/max_unacked_bytes`. A signal does not end these waits.
///
/// Returns 0, or -1 when the publisher has ended, an argument is NULL or the content is longer than
/// `producer/max_record_bytes` (the log contains that limit).
///
/// # Safety
/// `self` is NULL or a live actor that runs `dafka_publisher_actor`; `content` is NULL, or points to NULL or to
/// a live frame.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dafka_publisher_publish(self_: *mut zactor_t, content: *mut *mut zframe_t) -> c_int {
    // SAFETY: the caller's promise. A frame that is not handed over is destroyed here.
    entry("dafka_publisher_publish", -1, || unsafe {
        let frame = take_frame(content);
        let len_bytes = frame.content().ok_or("the content is NULL")?.len();
        let pipe = socket_of(self_, "publisher")?;
        let pipe = RecordPipe::new(&pipe);
        pipe.check_len(len_bytes)?;
        let mut frame = Some(frame);
        pipe.send_command(PUBLISHER.command, len_bytes, |pipe| {
            let pointer = frame.as_ref().map_or(0, |frame| frame.as_c() as usize).to_ne_bytes();
            let is_handed_over = send_last(pipe, &mut Frame::copy(&pointer));
            if is_handed_over {
                frame.take().map(ZFrame::into_c);
            }
            is_handed_over
        })?;
        Ok(0)
    })
}

/// The address of a publisher, which is also the name of the partition that it writes: 32 hexadecimal digits. The
/// string is borrowed, and valid as long as the actor lives. NULL when `self` is NULL or the publisher has ended. The
/// address may change, see `dafka_producer_address`.
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

/// Runs the self test of this class, as `dafka_selftest` does. It calls the functions of the class, and prints " *
/// dafka_publisher: OK". A failed check aborts the process. With `verbose`, the nodes of the test log what they do.
#[unsafe(no_mangle)]
pub extern "C" fn dafka_publisher_test(verbose: bool) {
    selftest::run("dafka_publisher", verbose, selftest::publisher);
}
