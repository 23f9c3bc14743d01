//! Class `dafka_producer_msg`: a record that is to be published.
//!
//! A message is empty, or has a content: any number of octets, also none. It gets one, is sent to a producer,
//! which leaves it empty, and gets the next one: a program needs one message for any number of records. A producer
//! takes contents of up to `producer/max_record_bytes`, 1 GiB by default and at most, a store those of up to
//! `store/max_record_bytes`.
//!
//! # Example
//!
//! ```c
//! #include <dafka.h>
//!
//! int main (void)
//! {
//!     dafka_producer_msg_t *msg = dafka_producer_msg_new ();
//!     assert (msg);
//!     assert (dafka_producer_msg_content (msg) == NULL);
//!
//!     //  A string, without its NUL
//!     int rc = dafka_producer_msg_set_content_str (msg, "hello");
//!     assert (rc == 0);
//!     assert (dafka_producer_msg_content_size (msg) == 5);
//!     assert (dafka_producer_msg_streq (msg, "hello"));
//!
//!     //  Any octets
//!     const byte octets [] = { 0, 1, 2, 255 };
//!     rc = dafka_producer_msg_set_content_buffer (msg, octets, 4);
//!     assert (rc == 0);
//!     assert (dafka_producer_msg_content (msg) [3] == 255);
//!
//!     //  A frame, which the message takes without a copy
//!     zframe_t *frame = zframe_from ("world");
//!     dafka_producer_msg_set_content (msg, &frame);
//!     assert (frame == NULL);
//!     char *text = dafka_producer_msg_strdup (msg);
//!     printf ("the content is %s\n", text);
//!     zstr_free (&text);
//!
//!     //  And out again: the message is empty then
//!     frame = dafka_producer_msg_get_content (msg);
//!     assert (zframe_streq (frame, "world"));
//!     zframe_destroy (&frame);
//!     assert (dafka_producer_msg_content_size (msg) == 0);
//!
//!     dafka_producer_msg_destroy (&msg);
//!     assert (msg == NULL);
//!     return 0;
//! }
//! ```

use super::boundary::{Outcome, c_strdup, entry, entry_void, octets, socket_of};
use super::object::{into_c, take_back};
use super::selftest;
use crate::actor::command::{send_command, send_last};
use crate::actor::producer::{PRODUCER, check_len, send};
use crate::czmq::{
    self,
    owned::ZFrame,
    sys::{zactor_t, zframe_t},
};
use crate::net::{Frame, Socket, poll};
use std::ffi::{c_char, c_int};
use zmq::POLLOUT;

/// How often a wait for room in a pipe looks whether a signal came to another thread.
const ROOM_CHECK_MS: i64 = 100;

/// A record on its way to a producer: empty, or with a content.
#[allow(non_camel_case_types)]
pub struct dafka_producer_msg_t {
    content: Content,
}

enum Content {
    Empty,
    Ours(Frame),
    /// Taken from the caller, and handed on without a copy.
    Theirs(ZFrame),
}

impl dafka_producer_msg_t {
    fn content(&self) -> Option<&[u8]> {
        match &self.content {
            Content::Empty => None,
            Content::Ours(frame) => Some(frame.as_ref()),
            Content::Theirs(frame) => frame.content(),
        }
    }

    /// Sends `P` and the content to an actor that is not of this library, and empties the message. Waits while the actor's
    /// pipe is full, unless a signal interrupts that.
    fn send_plainly(&mut self, pipe: &Socket) -> Outcome<c_int> {
        let mut frame =
            Frame::try_copy(self.content().ok_or("the message is empty")?).ok_or("out of memory")?;
        let mut command = Frame::copy(PRODUCER.command);
        while !pipe.try_send(&mut command, true).map_err(|error| error.to_string())? {
            if czmq::interrupted() || poll(&mut [pipe.item(POLLOUT)], ROOM_CHECK_MS).is_err() {
                // As CZMQ's sending functions: no reason for a log line.
                return Ok(-1);
            }
        }
        self.content = Content::Empty;
        match send_last(pipe, &mut frame) {
            true => Ok(0),
            false => Err("the actor has ended".into()),
        }
    }

    fn set(&mut self, frame: Option<Frame>) -> Outcome<c_int> {
        self.content = Content::Ours(frame.ok_or("out of memory")?);
        Ok(0)
    }
}

/// The message behind a C pointer.
///
/// # Safety
/// NULL or a live message that nobody else uses meanwhile.
unsafe fn msg<'a>(self_: *mut dafka_producer_msg_t) -> Outcome<&'a mut dafka_producer_msg_t> {
    // SAFETY: the caller's promise.
    unsafe { self_.as_mut() }.ok_or("the message is NULL".into())
}

/// A new, empty message. The caller owns it, and destroys it with `dafka_producer_msg_destroy`. NULL only after an
/// internal error, which is logged.
#[unsafe(no_mangle)]
pub extern "C" fn dafka_producer_msg_new() -> *mut dafka_producer_msg_t {
    entry("dafka_producer_msg_new", std::ptr::null_mut(), || {
        Ok(into_c(dafka_producer_msg_t { content: Content::Empty }))
    })
}

/// Destroys a message with its content and sets `*self_p` to NULL. Accepts NULL and a pointer to NULL.
///
/// # Safety
/// `self_p` is NULL, or points to NULL or to a live message.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dafka_producer_msg_destroy(self_p: *mut *mut dafka_producer_msg_t) {
    // SAFETY: the caller's promise.
    entry_void("dafka_producer_msg_destroy", || unsafe { drop(take_back(self_p)) })
}

/// The content. It is borrowed, and valid until the message gets another one, is sent or is destroyed. NULL when
/// the message is empty or `self` is NULL.
///
/// # Safety
/// `self` is NULL or a live message.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dafka_producer_msg_content(self_: *mut dafka_producer_msg_t) -> *const u8 {
    // SAFETY: the caller's promise.
    entry("dafka_producer_msg_content", std::ptr::null(), || unsafe {
        Ok(msg(self_)?.content().map_or(std::ptr::null(), <[u8]>::as_ptr))
    })
}

/// The length of the content in octets; 0 when the message is empty or `self` is NULL.
///
/// # Safety
/// `self` is NULL or a live message.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dafka_producer_msg_content_size(self_: *mut dafka_producer_msg_t) -> usize {
    // SAFETY: the caller's promise.
    entry("dafka_producer_msg_content_size", 0, || unsafe {
        Ok(msg(self_)?.content().map_or(0, <[u8]>::len))
    })
}

/// Takes the content out of the message, which is empty then. The caller owns the frame, and destroys it with
/// `zframe_destroy`. NULL when the message is empty or `self` is NULL.
///
/// # Safety
/// `self` is NULL or a live message.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dafka_producer_msg_get_content(self_: *mut dafka_producer_msg_t) -> *mut zframe_t {
    // SAFETY: the caller's promise.
    entry("dafka_producer_msg_get_content", std::ptr::null_mut(), || unsafe {
        Ok(match std::mem::replace(&mut msg(self_)?.content, Content::Empty) {
            Content::Empty => std::ptr::null_mut(),
            Content::Ours(frame) => ZFrame::new(frame.as_ref()).into_c(),
            Content::Theirs(frame) => frame.into_c(),
        })
    })
}

/// Gives the message a content of `size` octets, all zero, in place of what it has. To fill it, write to what
/// `dafka_producer_msg_content` returns, without its `const`.
///
/// Returns 0, or -1 when there is no memory for it or `self` is NULL; the message is as before then.
///
/// # Safety
/// `self` is NULL or a live message.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dafka_producer_msg_init_content(
    self_: *mut dafka_producer_msg_t,
    size: usize,
) -> c_int {
    // SAFETY: the caller's promise.
    entry("dafka_producer_msg_init_content", -1, || unsafe { msg(self_)?.set(Frame::zeroed(size)) })
}

/// Gives the message a frame as its content, without a copy, in place of what it has. Takes the frame over and
/// sets `*content` to NULL, also when `self` is NULL; with a NULL frame the message is empty.
///
/// # Safety
/// `self` is NULL or a live message; `content` is NULL, or points to NULL or to a live frame.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dafka_producer_msg_set_content(
    self_: *mut dafka_producer_msg_t,
    content: *mut *mut zframe_t,
) {
    // SAFETY: the caller's promise.
    entry("dafka_producer_msg_set_content", (), || unsafe {
        let taken = content.as_mut().map(|content| std::mem::replace(content, std::ptr::null_mut()));
        let content = match taken {
            None => Content::Empty,
            Some(frame) if frame.is_null() => Content::Empty,
            Some(frame) => Content::Theirs(ZFrame::from_c(frame)),
        };
        msg(self_)?.content = content;
        Ok(())
    })
}

/// Gives the message a copy of a string, without its NUL, as its content, in place of what it has.
///
/// Returns 0, or -1 when there is no memory for it or an argument is NULL; the message is as before then.
///
/// # Safety
/// `self` is NULL or a live message; `content` is NULL or a string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dafka_producer_msg_set_content_str(
    self_: *mut dafka_producer_msg_t,
    content: *const c_char,
) -> c_int {
    // SAFETY: the caller's promise.
    entry("dafka_producer_msg_set_content_str", -1, || unsafe {
        msg(self_)?.set(Frame::try_copy(octets(content, "the content")?))
    })
}

/// Gives the message a copy of `size` octets as its content, in place of what it has.
///
/// Returns 0, or -1 when there is no memory for it or an argument is NULL (`content` may be NULL when `size` is
/// 0); the message is as before then.
///
/// # Safety
/// `self` is NULL or a live message; `content` is NULL or points to `size` octets.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dafka_producer_msg_set_content_buffer(
    self_: *mut dafka_producer_msg_t,
    content: *const u8,
    size: usize,
) -> c_int {
    // SAFETY: the caller's promise.
    entry("dafka_producer_msg_set_content_buffer", -1, || unsafe {
        let octets = match size {
            0 => &[],
            _ if content.is_null() => return Err("the content is NULL".into()),
            _ => std::slice::from_raw_parts(content, size),
        };
        msg(self_)?.set(Frame::try_copy(octets))
    })
}

/// Hands the content to a producer, without a copy; the message is empty then, and can be used again. The record
/// is published soon after, not before this returns; its sequence is the number of records that this producer was
/// sent before it, unless the producer's address changes (see `dafka_producer_address`).
///
/// Waits while the producer's pipe is full (`zsys_set_pipehwm`), and while records that wait for acknowledgement
/// use up `producer/max_unacked_bytes`; a signal does not end that wait.
///
/// To an actor of the program's own (a test double, a filter) it sends a message of two frames, `P` and the content;
/// it waits while the pipe is full, until SIGINT or SIGTERM comes under CZMQ's handling.
///
/// Returns 0, or -1 when the message is empty, an argument is NULL, the content is longer than
/// `producer/max_record_bytes` (which the log names, with the content's size), the producer has ended, or it belongs to
/// the process that forked this one. In all but the last two cases the message keeps what it has.
///
/// # Safety
/// `self` is NULL or a live message; `producer` is NULL or a live actor.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dafka_producer_msg_send(
    self_: *mut dafka_producer_msg_t,
    producer: *mut zactor_t,
) -> c_int {
    // SAFETY: the caller's promise.
    entry("dafka_producer_msg_send", -1, || unsafe {
        let msg = msg(self_)?;
        let pipe = socket_of(producer, "producer")?;
        if pipe.is_foreign() {
            return msg.send_plainly(&pipe);
        }
        check_len(&pipe, msg.content().map_or(0, <[u8]>::len))?;
        match std::mem::replace(&mut msg.content, Content::Empty) {
            Content::Empty => return Err("the message is empty".into()),
            Content::Ours(mut frame) => send(&pipe, &mut frame)?,
            Content::Theirs(mut frame) => {
                let len_bytes = frame.content().map_or(0, <[u8]>::len);
                // As send_last does it: without waiting, whatever signals come.
                send_command(&pipe, PRODUCER.command, len_bytes, |_| frame.try_send(producer.cast()))?;
            }
        }
        Ok(0)
    })
}

/// A fresh copy of the content with a NUL after it. The caller owns it, and frees it with `zstr_free`. NULL when
/// the message is empty, there is no memory for it or `self` is NULL.
///
/// # Safety
/// `self` is NULL or a live message.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dafka_producer_msg_strdup(self_: *mut dafka_producer_msg_t) -> *mut c_char {
    // SAFETY: the caller's promise.
    entry("dafka_producer_msg_strdup", std::ptr::null_mut(), || unsafe {
        msg(self_)?.content().map_or(Ok(std::ptr::null_mut()), c_strdup)
    })
}

/// True when the content equals a string, whose NUL does not count; false when not, when the message is empty or
/// an argument is NULL.
///
/// # Safety
/// `self` is NULL or a live message; `text` is NULL or a string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dafka_producer_msg_streq(
    self_: *mut dafka_producer_msg_t,
    text: *const c_char,
) -> bool {
    // SAFETY: the caller's promise.
    entry("dafka_producer_msg_streq", false, || unsafe {
        let text = octets(text, "the string")?;
        Ok(msg(self_)?.content().is_some_and(|content| content == text))
    })
}

/// The self test of this class, as `dafka_selftest` runs it: uses the functions of the class and prints " *
/// dafka_producer_msg: OK"; a check that fails aborts the process. With `verbose`, the nodes that it runs log what
/// they do.
#[unsafe(no_mangle)]
pub extern "C" fn dafka_producer_msg_test(verbose: bool) {
    selftest::run("dafka_producer_msg", verbose, selftest::producer_msg);
}
