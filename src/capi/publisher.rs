//! Class `dafka_publisher`: the producer of the API's first generation.

use super::boundary::{entry, resolve, take_frame};
use super::producer::{dafka_producer_args_t, run};
use super::selftest;
use crate::actor::producer::{self, Dialect, send_command};
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
const PUBLISHER: Dialect = Dialect { command: b"PUBLISH", content };

fn content(pointer: Frame) -> Option<Frame> {
    let octets: [u8; size_of::<usize>()] = pointer.as_ref().try_into().ok()?;
    let mut frame = usize::from_ne_bytes(octets) as *mut zframe_t;
    // SAFETY: the command's contract: a pointer to a live frame, whose ownership passes with it.
    unsafe { take_frame(&mut frame) }
}

/// The publisher: publishes records to a topic and keeps each until a store has acknowledged it. An actor for
/// `zactor_new`, whose `args` is a `dafka_publisher_args_t *`.
///
/// Understands `PUBLISH` + a frame holding a `zframe_t *` in picture `p` (ownership passes), `GET ADDRESS`
/// (answered with picture `p`) and `$TERM`, as `dafka_producer` does.
///
/// # Safety
/// `pipe` is the actor's end of its pipe; `args` is NULL or live, with live members.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dafka_publisher_actor(pipe: *mut zsock_t, args: *mut c_void) {
    // SAFETY: zactor_new gives the pipe to this thread; the layouts of both args are the same, see above.
    unsafe { run("Publisher", pipe, args.cast(), PUBLISHER) }
}

/// Publishes a record. Takes the frame and sets `*content` to NULL, also on error. Waits while the publisher's
/// pipe is full. Returns 0, or -1 when the publisher has ended or an argument is NULL.
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
        let sent = resolve(self_).ok_or("the publisher is NULL".into()).and_then(|pipe| {
            let pointer = (frame as usize).to_ne_bytes();
            let mut is_handed_over = false;
            let sent = send_command(&pipe, PUBLISHER.command, sys::zframe_size(frame), |pipe| {
                is_handed_over = pipe.send_frames(&[&pointer]).is_ok();
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

/// The address of a publisher, which is the name of the partition that it writes: 32 hexadecimal digits. Valid
/// while the actor lives; NULL when it has ended.
///
/// # Safety
/// `self` is NULL or a live actor that runs `dafka_publisher_actor`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dafka_publisher_address(self_: *mut zactor_t) -> *const c_char {
    // SAFETY: the caller's promise.
    entry("dafka_publisher_address", std::ptr::null(), || unsafe {
        let pipe = resolve(self_).ok_or("the publisher is NULL")?;
        Ok(producer::address(&pipe)?.cast())
    })
}

/// The self test of this class: prints " * dafka_publisher: OK", and aborts the process when a check fails. With `verbose`
/// the actors that it runs log more.
#[unsafe(no_mangle)]
pub extern "C" fn dafka_publisher_test(verbose: bool) {
    selftest::run("dafka_publisher", verbose, selftest::publisher);
}
