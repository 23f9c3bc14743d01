//! Class `dafka_producer_msg`: a record to publish.
//!
//! A message is empty or has a content of zero or more bytes. After a producer has taken the content, the message is
//! empty and can be used again. So a program can send all its records with one message. A producer accepts contents of
//! up to `producer/max_record_bytes`, which is 1 GiB by default and cannot be more. A store accepts up to
//! `store/max_record_bytes`.
//!
//! A record can also have attributes: a key, headers, and a timestamp. Consumers get them with the record, and stores
//! keep them. Nodes of libdafka 0.1.0 ignore them. A change of the content does not change the attributes. When a
//! producer has taken the record, the message has no attributes.
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
//!     //  Any bytes
//!     const byte bytes [] = { 0, 1, 2, 255 };
//!     rc = dafka_producer_msg_set_content_buffer (msg, bytes, 4);
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
//!     //  Moves the content out: the message is empty then
//!     frame = dafka_producer_msg_get_content (msg);
//!     assert (zframe_streq (frame, "world"));
//!     zframe_destroy (&frame);
//!     assert (dafka_producer_msg_content_size (msg) == 0);
//!
//!     //  A record with a key and a header
//!     rc = dafka_producer_msg_set_content_str (msg, "20 degrees");
//!     assert (rc == 0);
//!     rc = dafka_producer_msg_set_key (msg, (const byte *) "roof", 4);
//!     assert (rc == 0);
//!     rc = dafka_producer_msg_set_header (msg, "unit", (const byte *) "Celsius", 7);
//!     assert (rc == 0);
//!
//!     dafka_producer_msg_destroy (&msg);
//!     assert (msg == NULL);
//!     return 0;
//! }
//! ```

use super::boundary::{Failure, Outcome, bytes, c_strdup, entry, entry_void, socket_of, take_frame};
use super::object::{into_c, take_back};
use super::selftest;
use crate::actor::command::{Ended, send_last};
use crate::actor::producer::{MAX_COPIED_LEN_BYTES, PRODUCER, RecordPipe};
use crate::czmq::{
    self,
    owned::ZFrame,
    sys::{zactor_t, zframe_t},
};
use crate::net::{Frame, Socket, poll};
use crate::wire::batch::{Attributes, HeadersBuf, MAX_KEY_LEN_BYTES, PushError};
use std::ffi::{c_char, c_int};
use zmq::POLLOUT;

/// How often a send that waits for room in a pipe checks whether another thread has received a signal.
const ROOM_CHECK_MS: i64 = 100;

/// A record to send to a producer: empty, or with a content.
#[allow(non_camel_case_types)]
pub struct dafka_producer_msg_t {
    content: Content,
    /// The content, if it is [`Content::Short`].
    short: Vec<u8>,
    /// The memory for the next short content. It is separate, because the next content may be a part of the current
    /// one.
    spare: Vec<u8>,
    attributes: AttributesBuf,
}

/// The attributes of a record. They are removed when a producer has taken the record.
#[derive(Default)]
struct AttributesBuf {
    timestamp_ms: Option<i64>,
    has_key: bool,
    /// The key, if there is one. The next key reuses the memory.
    key: Vec<u8>,
    headers: HeadersBuf,
}

impl AttributesBuf {
    fn as_attributes(&self) -> Attributes<'_> {
        let Self { timestamp_ms, has_key, key, headers } = self;
        let key = has_key.then_some(&**key);
        Attributes { timestamp_ms: *timestamp_ms, key, headers: headers.as_headers() }
    }

    fn clear(&mut self) {
        (self.timestamp_ms, self.has_key) = (None, false);
        self.headers.clear();
    }

    /// Sets a header. A header with the same name is removed.
    fn set_header(&mut self, name: &[u8], value: &[u8]) -> Result<(), PushError> {
        let old = self.headers.as_headers();
        if old.iter().all(|other| other.0 != name) {
            return self.headers.push(name, value);
        }
        let mut headers = HeadersBuf::new();
        for (name, value) in old.iter().filter(|other| other.0 != name).chain([(name, value)]) {
            headers.push(name, value)?;
        }
        self.headers = headers;
        Ok(())
    }
}

enum Content {
    Empty,
    /// Up to [`MAX_COPIED_LEN_BYTES`], in memory that the message keeps.
    Short,
    Long(Frame),
    /// A frame of the application, passed on without a copy.
    Theirs(ZFrame),
}

impl dafka_producer_msg_t {
    fn content(&self) -> Option<&[u8]> {
        match &self.content {
            Content::Empty => None,
            Content::Short => Some(&self.short),
            Content::Long(frame) => Some(frame.as_ref()),
            Content::Theirs(frame) => frame.content(),
        }
    }

    /// Hands the record to an actor, and empties the message. Waits while there is no room, as long as `is_patient`
    /// returns true. Returns false when the record was not sent. The message then keeps the record.
    fn send(&mut self, pipe: &Socket, is_patient: &mut dyn FnMut() -> bool) -> Outcome<bool> {
        if pipe.is_foreign() {
            return self.send_plainly(pipe, is_patient);
        }
        let pipe = RecordPipe::new(pipe);
        pipe.check_len(self.content().map_or(0, <[u8]>::len))?;
        let has_block = self.attributes.as_attributes().has_key_or_headers();
        if let Content::Theirs(frame) = &mut self.content
            && frame.content().is_some_and(|content| content.len() > MAX_COPIED_LEN_BYTES)
        {
            self.content = Content::Long(Frame::wrap(std::mem::take(frame)));
        }
        let timestamp_ms = self.attributes.timestamp_ms;
        let is_sent = match &mut self.content {
            Content::Long(frame) if !has_block => {
                let sent = pipe.send_while(frame, timestamp_ms, is_patient);
                // An actor that ends may have taken a long content.
                if frame.as_ref().is_empty() {
                    self.empty();
                }
                sent?
            }
            _ => {
                let content = self.content().ok_or("the message is empty")?;
                pipe.send_copy_while(self.attributes.as_attributes(), content, is_patient)?
            }
        };
        if is_sent {
            self.empty();
        }
        Ok(is_sent)
    }

    fn empty(&mut self) {
        self.content = Content::Empty;
        self.attributes.clear();
    }

    /// Sends `P` and the content to an actor that does not belong to this library. Otherwise as
    /// [`dafka_producer_msg_t::send`].
    fn send_plainly(&mut self, pipe: &Socket, is_patient: &mut dyn FnMut() -> bool) -> Outcome<bool> {
        let mut frame =
            Frame::try_copy(self.content().ok_or("the message is empty")?).ok_or("out of memory")?;
        let mut command = Frame::copy(PRODUCER.command);
        while !pipe.try_send(&mut command, true).map_err(|error| error.to_string())? {
            if !is_patient() || poll(&mut [pipe.item(POLLOUT)], ROOM_CHECK_MS).is_err() {
                return Ok(false);
            }
        }
        if !send_last(pipe, &mut frame) {
            return Err(Ended.into());
        }
        self.empty();
        Ok(true)
    }

    /// Sets a copy of `content`, which may be a part of the current content.
    fn set(&mut self, content: &[u8]) -> Outcome<c_int> {
        if content.len() > MAX_COPIED_LEN_BYTES {
            return self.set_long(Frame::try_copy(content));
        }
        self.set_short(content.len(), |next| next.extend_from_slice(content))
    }

    fn set_long(&mut self, frame: Option<Frame>) -> Outcome<c_int> {
        self.content = Content::Long(frame.ok_or("out of memory")?);
        Ok(0)
    }

    /// Sets a short content. `fill` appends `len_bytes` bytes to an empty buffer.
    fn set_short(&mut self, len_bytes: usize, fill: impl FnOnce(&mut Vec<u8>)) -> Outcome<c_int> {
        self.spare.clear();
        self.spare.try_reserve(len_bytes).map_err(|_| "out of memory")?;
        fill(&mut self.spare);
        std::mem::swap(&mut self.short, &mut self.spare);
        self.content = Content::Short;
        Ok(0)
    }
}

/// The message behind a C pointer.
///
/// # Safety
/// `self_` is NULL, or a live message that only this call uses.
unsafe fn msg<'a>(self_: *mut dafka_producer_msg_t) -> Outcome<&'a mut dafka_producer_msg_t> {
    // SAFETY: the caller's promise.
    unsafe { self_.as_mut() }.ok_or("the message is NULL".into())
}

/// The octets behind a C pointer, which may be NULL when there are none.
///
/// # Safety
/// `data` is NULL or points to `size` octets.
unsafe fn octets<'a>(data: *const u8, size: usize, what: &str) -> Outcome<&'a [u8]> {
    match size {
        0 => Ok(&[]),
        _ if data.is_null() => Err(format!("{what} is NULL").into()),
        // SAFETY: the caller's promise.
        _ => Ok(unsafe { std::slice::from_raw_parts(data, size) }),
    }
}

/// Makes an empty message. The caller owns it, and destroys it with `dafka_producer_msg_destroy`. NULL only after an
/// internal error, which is logged.
#[unsafe(no_mangle)]
pub extern "C" fn dafka_producer_msg_new() -> *mut dafka_producer_msg_t {
    entry("dafka_producer_msg_new", std::ptr::null_mut(), || {
        let (content, attributes) = (Content::Empty, AttributesBuf::default());
        Ok(into_c(dafka_producer_msg_t { content, short: Vec::new(), spare: Vec::new(), attributes }))
    })
}

/// Destroys a message and its content, and sets `*self_p` to NULL. Accepts NULL and a pointer to NULL.
///
/// # Safety
/// `self_p` is NULL, or points to NULL or to a live message.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dafka_producer_msg_destroy(self_p: *mut *mut dafka_producer_msg_t) {
    // SAFETY: the caller's promise.
    entry_void("dafka_producer_msg_destroy", || unsafe { drop(take_back(self_p)) })
}

/// The content. It is borrowed, and valid until the message gets another content, is sent or is destroyed. NULL when
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

/// The length of the content in bytes. 0 when the message is empty or `self` is NULL.
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

/// Moves the content out of the message. The message is then empty. The caller owns the frame, and destroys it with
/// `zframe_destroy`. NULL when the message is empty or `self` is NULL.
///
/// # Safety
/// `self` is NULL or a live message.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dafka_producer_msg_get_content(self_: *mut dafka_producer_msg_t) -> *mut zframe_t {
    // SAFETY: the caller's promise.
    entry("dafka_producer_msg_get_content", std::ptr::null_mut(), || unsafe {
        let msg = msg(self_)?;
        Ok(match std::mem::replace(&mut msg.content, Content::Empty) {
            Content::Empty => std::ptr::null_mut(),
            Content::Short => ZFrame::new(&msg.short).into_c(),
            Content::Long(frame) => ZFrame::new(frame.as_ref()).into_c(),
            Content::Theirs(frame) => frame.into_c(),
        })
    })
}

/// Replaces the content with `size` zero bytes. To fill them, cast away the `const` of the pointer that
/// `dafka_producer_msg_content` returns.
///
/// Returns 0, or -1 when there is no memory or `self` is NULL. When it returns -1, the message is unchanged.
///
/// # Safety
/// `self` is NULL or a live message.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dafka_producer_msg_init_content(
    self_: *mut dafka_producer_msg_t,
    size: usize,
) -> c_int {
    // SAFETY: the caller's promise.
    entry("dafka_producer_msg_init_content", -1, || unsafe {
        match size {
            0..=MAX_COPIED_LEN_BYTES => msg(self_)?.set_short(size, |next| next.resize(size, 0)),
            _ => msg(self_)?.set_long(Frame::zeroed(size)),
        }
    })
}

/// Replaces the content with a frame, without a copy. Takes ownership of the frame and sets `*content` to NULL, also
/// when `self` is NULL. With a NULL frame the message becomes empty.
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
        let frame = take_frame(content);
        msg(self_)?.content = match frame.content() {
            None => Content::Empty,
            Some(_) => Content::Theirs(frame),
        };
        Ok(())
    })
}

/// Replaces the content with a copy of a string, without its NUL.
///
/// Returns 0, or -1 when there is no memory or an argument is NULL. When it returns -1, the message is unchanged.
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
        msg(self_)?.set(bytes(content, "the content")?)
    })
}

/// Replaces the content with a copy of `size` bytes.
///
/// Returns 0, or -1 when there is no memory or an argument is NULL (`content` may be NULL when `size` is 0). When it
/// returns -1, the message is unchanged.
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
        msg(self_)?.set(octets(content, size, "the content")?)
    })
}

/// Sets the key of the record to a copy of `size` bytes. Consumers get the key with the record
/// (`dafka_consumer_msg_key`). The library does not interpret the key. If `data` is NULL and `size` is 0, the record
/// has no key. An empty key differs from no key.
///
/// Returns 0, or -1 with `errno`: EMSGSIZE when the key is longer than 65,535 bytes, EINVAL when `self` is NULL, or
/// when `data` is NULL and `size` is not 0. When it returns -1, the message is unchanged.
///
/// # Safety
/// `self` is NULL or a live message; `data` is NULL or points to `size` octets.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dafka_producer_msg_set_key(
    self_: *mut dafka_producer_msg_t,
    data: *const u8,
    size: usize,
) -> c_int {
    // SAFETY: the caller's promise.
    entry("dafka_producer_msg_set_key", -1, || unsafe {
        let msg = msg(self_)?;
        let key = match (data.is_null(), size) {
            (true, 0) => None,
            _ => Some(octets(data, size, "the key")?),
        };
        if size > MAX_KEY_LEN_BYTES {
            return Err(PushError::KeyTooLong.into());
        }
        msg.attributes.has_key = key.is_some();
        msg.attributes.key.clear();
        msg.attributes.key.extend_from_slice(key.unwrap_or_default());
        Ok(0)
    })
}

/// Adds a header to the record: a name, and a copy of `size` bytes as its value. Consumers get the header with the
/// record (`dafka_consumer_msg_header`). The new header is the last one. It replaces a header with the same name.
/// `data` may be NULL when `size` is 0.
///
/// Returns 0, or -1 with `errno`: EMSGSIZE when the name is longer than 255 bytes, or when all headers of the record
/// together would occupy more than 65,535 bytes (a header occupies its name, its value and 3 bytes); EINVAL when `self`
/// or `name` is NULL, or when `data` is NULL and `size` is not 0. When the function returns -1, the message is
/// unchanged.
///
/// # Safety
/// `self` is NULL or a live message; `name` is NULL or a string; `data` is NULL or points to `size` octets.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dafka_producer_msg_set_header(
    self_: *mut dafka_producer_msg_t,
    name: *const c_char,
    data: *const u8,
    size: usize,
) -> c_int {
    // SAFETY: the caller's promise.
    entry("dafka_producer_msg_set_header", -1, || unsafe {
        let (msg, name) = (msg(self_)?, bytes(name, "the name")?);
        let value = octets(data, size, "the value")?;
        msg.attributes.set_header(name, value)?;
        Ok(0)
    })
}

/// Sets the timestamp of the record, in milliseconds since the Unix epoch. Without this call, the timestamp is the time
/// at which the producer publishes the record (`zclock_time`). The timestamp has no effect on the order of the records.
/// Do not set -1, because `dafka_consumer_msg_timestamp` returns -1 for a record without a timestamp.
///
/// # Safety
/// `self` is NULL or a live message.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dafka_producer_msg_set_timestamp(self_: *mut dafka_producer_msg_t, msecs: i64) {
    // SAFETY: the caller's promise.
    entry("dafka_producer_msg_set_timestamp", (), || unsafe {
        msg(self_)?.attributes.timestamp_ms = Some(msecs);
        Ok(())
    })
}

/// Hands the record to a producer. The message is then empty, and can be used again. A content of more than 16 KiB is
/// not copied, unless the record has a key or headers. If the producer is idle, the record is usually published before
/// this function returns. Otherwise it is published soon afterwards. The record's sequence is the number of records
/// that were sent to this producer before, unless the producer's address changes (see `dafka_producer_address`).
///
/// The function waits while the producer's queue is full. The queue is full when it contains as many records as the
/// producer's pipe has room for (`zsys_set_pipehwm`), or 16 MiB of records. The function also waits while
/// unacknowledged records fill `producer/max_unacked_bytes`. If CZMQ handles SIGINT and SIGTERM, these signals end the
/// waits (see "Signals" in dafka(7)). While `zsys_interrupted` is set, the function does not wait.
///
/// Several threads may send to one producer at once, each with its own message. The producer publishes the records of
/// each thread in the order in which the thread has sent them. dafka_producer(3) lists the other functions that may be
/// called at the same time. If a signal may have interrupted `zactor_new`, call `dafka_producer_address` before the
/// threads begin to send.
///
/// An actor that does not belong to this library (a test double, a filter) receives a message of two frames, `P` and
/// the content, without the attributes. The function waits while the pipe of this actor is full. A signal ends this
/// wait (see "Signals" in dafka(7)).
///
/// Returns 0, or -1. When it returns -1, the record is not sent, and the message keeps its content. errno is then:
///
/// - `EINTR`: a signal ended the wait. The function logs nothing.
/// - `ENOMEM`: there is no memory for a copy of the content.
/// - `EMSGSIZE`: the content is longer than `producer/max_record_bytes`. The log contains the limit and the length.
/// - `EPIPE`: the producer has ended. If it ends during the call, the message may lose a content of more than 16 KiB.
/// - `EINVAL`: the message is empty, an argument is NULL, or the producer belongs to the process that forked this one.
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
        match msg(self_)?.send(&socket_of(producer, "producer")?, &mut || !czmq::interrupted())? {
            true => Ok(0),
            false => Err(Failure::expected(libc::EINTR)),
        }
    })
}

/// As `dafka_producer_msg_send`, but does not wait for room. So a program that must not block can keep the record, or
/// drop it.
///
/// The function does not wait for the network or for a store. It may have to wait for the producer's thread, if the
/// program itself has filled the producer's pipe with commands.
///
/// Returns 0, or -1. When it returns -1, the record is not sent, and the message keeps its content. errno is then
/// `EAGAIN` if `dafka_producer_msg_send` would wait now: the producer's queue or pipe is full, or unacknowledged
/// records fill `producer/max_unacked_bytes`. The function then logs nothing. For other errors, errno is as after
/// `dafka_producer_msg_send`.
///
/// # Safety
/// `self` is NULL or a live message; `producer` is NULL or a live actor.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dafka_producer_msg_try_send(
    self_: *mut dafka_producer_msg_t,
    producer: *mut zactor_t,
) -> c_int {
    // SAFETY: the caller's promise.
    entry("dafka_producer_msg_try_send", -1, || unsafe {
        match msg(self_)?.send(&socket_of(producer, "producer")?, &mut || false)? {
            true => Ok(0),
            false => Err(Failure::expected(libc::EAGAIN)),
        }
    })
}

/// A new copy of the content with a NUL after it. The caller owns it, and frees it with `zstr_free`. NULL when the
/// message is empty, there is no memory, or `self` is NULL.
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

/// True when the content equals a string. The NUL of the string does not count. False otherwise, also when the message
/// is empty or an argument is NULL.
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
        let text = bytes(text, "the string")?;
        Ok(msg(self_)?.content().is_some_and(|content| content == text))
    })
}

/// Runs the self test of this class, as `dafka_selftest` does. It calls the functions of the class, and prints " *
/// dafka_producer_msg: OK". A failed check aborts the process. With `verbose`, the nodes of the test log what they do.
#[unsafe(no_mangle)]
pub extern "C" fn dafka_producer_msg_test(verbose: bool) {
    selftest::run("dafka_producer_msg", verbose, selftest::producer_msg);
}
