//! Class `dafka_consumer_msg`: a record that was received.
//!
//! A message is empty until it receives a record. It holds that record until it receives the next one. A program can
//! read all its records with one message. To keep many records, take their contents out of the message
//! (`dafka_consumer_msg_get_content`): a message with one record can keep a whole batch of 64 KiB in memory.
//!
//! A record has a sequence, which is its offset in its partition. It can have a timestamp, a key and headers. A message
//! gets all of these from a consumer of this library. But a message that receives from a sink of the application gets
//! none of them, because a record in a sink consists of three frames: topic, partition and content. A program that
//! reads records from the record source itself (`zmsg_recv`) gets the same three frames. If a program reads its first
//! 2,000 records itself and then uses messages, the next 2,000 records may also lack these properties.
//!
//! # Example
//!
//! ```c
//! #include <dafka.h>
//!
//! int main (void)
//! {
//!     //  A pipe in place of a consumer: records can come from any socket
//!     zsock_t *sink = NULL;
//!     zsock_t *source = zsys_create_pipe (&sink);
//!     assert (source);
//!
//!     //  A record as a consumer sends it: topic, partition, content
//!     zmsg_t *record = zmsg_new ();
//!     zmsg_addstr (record, "weather");
//!     zmsg_addstr (record, "0123456789ABCDEF0123456789ABCDEF");
//!     zmsg_addstr (record, "20 degrees");
//!     zmsg_send (&record, sink);
//!
//!     dafka_consumer_msg_t *msg = dafka_consumer_msg_new ();
//!     assert (msg);
//!     assert (dafka_consumer_msg_content (msg) == NULL);
//!     int rc = dafka_consumer_msg_recv_from_socket (msg, source);
//!     assert (rc == 0);
//!     printf ("%s, partition %s: %u octets\n",
//!             dafka_consumer_msg_subject (msg),
//!             dafka_consumer_msg_address (msg),
//!             (unsigned) dafka_consumer_msg_content_size (msg));
//!     assert (dafka_consumer_msg_streq (msg, "20 degrees"));
//!     char *text = dafka_consumer_msg_strdup (msg);
//!     assert (streq (text, "20 degrees"));
//!     zstr_free (&text);
//!
//!     //  Take the content out to keep it
//!     zframe_t *content = dafka_consumer_msg_get_content (msg);
//!     assert (zframe_streq (content, "20 degrees"));
//!     assert (dafka_consumer_msg_content_size (msg) == 0);
//!     zframe_destroy (&content);
//!
//!     dafka_consumer_msg_destroy (&msg);
//!     zsock_destroy (&source);
//!     zsock_destroy (&sink);
//!     return 0;
//! }
//! ```

use super::boundary::{Outcome, bytes, c_strdup, entry, entry_void, socket_of, wait_for_input};
use super::consumer::dafka_consumer_t;
use super::object::{into_c, take_back};
use super::records::with_reader_of;
use super::selftest;
use crate::actor::record_queue::{Delivered, RecordId, RecordReader};
use crate::czmq::owned::ZFrame;
use crate::czmq::sys::{zframe_t, zsock_t};
use crate::net::{Frame, Socket, is_signal};
use crate::partition_name::{PartitionName, SharedPartitionName};
use crate::wire::batch::Record;
use std::ffi::{c_char, c_int};

/// A record that a consumer has delivered; empty before the first one.
#[allow(non_camel_case_types)]
#[derive(Default)]
pub struct dafka_consumer_msg_t {
    /// The names of a record that came through a queue.
    name: Option<SharedPartitionName>,
    /// The names of a record that came in frames. NUL-terminated, for C. Each record reuses the memory.
    subject: Vec<u8>,
    address: Vec<u8>,
    /// The record.
    record: Option<Delivered>,
    /// The content was moved out of the message.
    is_content_taken: bool,
    /// The position of the header that `dafka_consumer_msg_next_header` returns next.
    next_header: usize,
    /// The name of the header that was returned last, NUL-terminated. Empty without one.
    header_name: Vec<u8>,
}

impl dafka_consumer_msg_t {
    /// Waits for the next record of a record pipe.
    fn recv(
        &mut self,
        source: &Socket,
        reader: &mut RecordReader,
        ended: &dyn Fn() -> Option<&'static str>,
    ) -> Outcome<c_int> {
        if reader.reads_frames(source) {
            let Some(content) = self.recv_frames(source, ended)? else { return Ok(-1) };
            self.set(reader.handle_received(source, content).map_err(|error| error.to_string())?);
            return Ok(0);
        }
        loop {
            if let Some(record) = reader.pop(source, &mut self.name).map_err(|error| error.to_string())? {
                self.set(record);
                return Ok(0);
            }
            if !wait_for_input(source, ended)? {
                return Ok(-1);
            }
        }
    }

    /// Waits for one record and reads its three frames: topic, partition and content. Returns the content, or `None`
    /// when the wait has ended without a record.
    fn recv_frames(
        &mut self,
        source: &Socket,
        ended: &dyn Fn() -> Option<&'static str>,
    ) -> Outcome<Option<Frame>> {
        let mut frame = Frame::new();
        loop {
            if !wait_for_input(source, ended)? || source.recv(&mut frame).is_err() {
                // CZMQ's receiving functions do not log an interrupted wait either.
                return Ok(None);
            }
            // The first message of a sink is a signal, not a record.
            if !is_signal(&frame) {
                break;
            }
        }
        self.name = None;
        set_string(&mut self.subject, &frame);
        if frame.more() && source.recv_more(&mut frame).is_ok() {
            set_string(&mut self.address, &frame);
            let mut content = Frame::new();
            if frame.more() && source.recv_more(&mut content).is_ok() {
                if !content.more() {
                    return Ok(Some(content));
                }
                frame = content;
            }
        }
        source.skip_rest(&frame);
        *self = Self::default();
        Err("a record has three frames: subject, address, content; this message was dropped".into())
    }

    /// Replaces the record.
    fn set(&mut self, record: Delivered) {
        self.record = Some(record);
        (self.is_content_taken, self.next_header) = (false, 0);
        self.header_name.clear();
    }

    /// The partition, the sequence and the key of the record.
    pub(super) fn record_id(&self) -> Option<RecordId<'_>> {
        let name = self.name.as_ref().map(SharedPartitionName::as_name);
        let without_nul = |string| <[u8]>::strip_suffix(string, b"\0").unwrap_or_default();
        let (topic, producer) = (without_nul(&self.subject), without_nul(&self.address));
        let name = name.unwrap_or(PartitionName { topic, producer });
        let key = self.attributes().and_then(|record| record.key).unwrap_or_default();
        Some(RecordId { name, offset: self.record.as_ref()?.offset?, key })
    }

    /// The record with its attributes, also after its content was taken.
    fn attributes(&self) -> Option<Record<'_>> {
        self.record.as_ref()?.run.first()
    }

    /// The content, unless it was taken.
    fn content(&self) -> Option<&[u8]> {
        self.record.as_ref().filter(|_| !self.is_content_taken).map(|record| record.run.content())
    }

    /// The value of the next header, whose name becomes `header_name`.
    fn next_header(&mut self) -> Option<&[u8]> {
        let Self { record, next_header, header_name, .. } = self;
        header_name.clear();
        let (name, value) = record.as_ref()?.run.first()?.headers.next(next_header)?;
        header_name.extend_from_slice(name);
        header_name.push(0);
        Some(value)
    }
}

/// Stores the size of some bytes in `size_p`, unless that is NULL, and returns a pointer to them. NULL without bytes.
///
/// # Safety
/// `size_p` is NULL or points to a `size_t`.
unsafe fn sized(bytes: Option<&[u8]>, size_p: *mut usize) -> *const u8 {
    if !size_p.is_null() {
        // SAFETY: the caller's promise.
        unsafe { *size_p = bytes.map_or(0, <[u8]>::len) };
    }
    bytes.map_or(std::ptr::null(), <[u8]>::as_ptr)
}

fn set_string(string: &mut Vec<u8>, frame: &Frame) {
    string.clear();
    string.extend_from_slice(frame.as_ref());
    string.push(0);
}

/// The message behind a C pointer.
///
/// # Safety
/// `self_` is NULL, or a live message that only this call uses.
unsafe fn msg<'a>(self_: *mut dafka_consumer_msg_t) -> Outcome<&'a mut dafka_consumer_msg_t> {
    // SAFETY: the caller's promise.
    unsafe { self_.as_mut() }.ok_or("the message is NULL".into())
}

/// Makes an empty message. The caller owns it, and destroys it with `dafka_consumer_msg_destroy`. NULL only after an
/// internal error, which is logged.
#[unsafe(no_mangle)]
pub extern "C" fn dafka_consumer_msg_new() -> *mut dafka_consumer_msg_t {
    entry("dafka_consumer_msg_new", std::ptr::null_mut(), || Ok(into_c(dafka_consumer_msg_t::default())))
}

/// Destroys a message and its record, and sets `*self_p` to NULL. Accepts NULL and a pointer to NULL.
///
/// # Safety
/// `self_p` is NULL, or points to NULL or to a live message.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dafka_consumer_msg_destroy(self_p: *mut *mut dafka_consumer_msg_t) {
    // SAFETY: the caller's promise.
    entry_void("dafka_consumer_msg_destroy", || unsafe { drop(take_back(self_p)) })
}

/// The topic of the record, or "" when the message is empty. The string is borrowed, and valid until the message
/// receives the next record or is destroyed. NULL when `self` is NULL.
///
/// # Safety
/// `self` is NULL or a live message.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dafka_consumer_msg_subject(self_: *mut dafka_consumer_msg_t) -> *const c_char {
    // SAFETY: the caller's promise.
    entry("dafka_consumer_msg_subject", std::ptr::null(), || unsafe {
        let msg = msg(self_)?;
        Ok(string(msg.name.as_ref().map_or(&msg.subject, SharedPartitionName::topic_for_c)))
    })
}

/// The name of the record's partition, which is the address of its producer; "" when the message is empty. The string
/// is borrowed, and valid until the message receives the next record or is destroyed. NULL when `self` is NULL.
///
/// # Safety
/// `self` is NULL or a live message.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dafka_consumer_msg_address(self_: *mut dafka_consumer_msg_t) -> *const c_char {
    // SAFETY: the caller's promise.
    entry("dafka_consumer_msg_address", std::ptr::null(), || unsafe {
        let msg = msg(self_)?;
        Ok(string(msg.name.as_ref().map_or(&msg.address, SharedPartitionName::producer_for_c)))
    })
}

/// A C string of bytes that end with a NUL. An empty slice becomes "" and not NULL, because programs compare the string
/// even after a failed receive.
fn string(bytes: &[u8]) -> *const c_char {
    if bytes.is_empty() { c"".as_ptr() } else { bytes.as_ptr().cast() }
}

/// The content of the record. It is borrowed, and valid until the message receives the next record or is destroyed.
/// NULL when the message has no content or `self` is NULL.
///
/// # Safety
/// `self` is NULL or a live message.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dafka_consumer_msg_content(self_: *mut dafka_consumer_msg_t) -> *const u8 {
    // SAFETY: the caller's promise.
    entry("dafka_consumer_msg_content", std::ptr::null(), || unsafe {
        Ok(msg(self_)?.content().map_or(std::ptr::null(), <[u8]>::as_ptr))
    })
}

/// The length of the content in bytes. 0 when there is no content or `self` is NULL.
///
/// # Safety
/// `self` is NULL or a live message.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dafka_consumer_msg_content_size(self_: *mut dafka_consumer_msg_t) -> usize {
    // SAFETY: the caller's promise.
    entry("dafka_consumer_msg_content_size", 0, || unsafe {
        Ok(msg(self_)?.content().map_or(0, <[u8]>::len))
    })
}

/// Moves the content out of the message, which keeps the other properties of the record. The caller owns the frame, and
/// destroys it with `zframe_destroy`. NULL when there is no content or `self` is NULL.
///
/// # Safety
/// `self` is NULL or a live message.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dafka_consumer_msg_get_content(self_: *mut dafka_consumer_msg_t) -> *mut zframe_t {
    // SAFETY: the caller's promise.
    entry("dafka_consumer_msg_get_content", std::ptr::null_mut(), || unsafe {
        let msg = msg(self_)?;
        let frame = msg.content().map_or(std::ptr::null_mut(), |content| ZFrame::new(content).into_c());
        msg.is_content_taken = true;
        Ok(frame)
    })
}

/// The sequence of the record: its offset in its partition, from 0. UINT64_MAX when the message is empty, when `self`
/// is NULL, or when the record came over a sink of the application.
///
/// # Safety
/// `self` is NULL or a live message.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dafka_consumer_msg_sequence(self_: *mut dafka_consumer_msg_t) -> u64 {
    // SAFETY: the caller's promise.
    entry("dafka_consumer_msg_sequence", u64::MAX, || unsafe {
        Ok(msg(self_)?.record.as_ref().and_then(|record| record.offset).unwrap_or(u64::MAX))
    })
}

/// The timestamp of the record, in milliseconds since the Unix epoch. If the application has set no timestamp, it is
/// the time at which the producer published the record, by the producer's clock. -1 when the record has no timestamp:
/// nodes of libdafka 0.1.0 send none. -1 also when the record came over a sink of the application, when the message is
/// empty, or when `self` is NULL.
///
/// # Safety
/// `self` is NULL or a live message.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dafka_consumer_msg_timestamp(self_: *mut dafka_consumer_msg_t) -> i64 {
    // SAFETY: the caller's promise.
    entry("dafka_consumer_msg_timestamp", -1, || unsafe {
        Ok(msg(self_)?.attributes().and_then(|record| record.timestamp_ms).unwrap_or(-1))
    })
}

/// The key of the record. It is borrowed, and valid until the message receives the next record or is destroyed. NULL
/// when the record has no key, when the message is empty, or when `self` is NULL. An empty key is not NULL.
///
/// # Safety
/// `self` is NULL or a live message.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dafka_consumer_msg_key(self_: *mut dafka_consumer_msg_t) -> *const u8 {
    // SAFETY: the caller's promise.
    entry("dafka_consumer_msg_key", std::ptr::null(), || unsafe {
        let key = msg(self_)?.attributes().and_then(|record| record.key);
        Ok(key.map_or(std::ptr::null(), <[u8]>::as_ptr))
    })
}

/// The length of the key in bytes. 0 when the record has no key, when the message is empty, or when `self` is NULL.
///
/// # Safety
/// `self` is NULL or a live message.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dafka_consumer_msg_key_size(self_: *mut dafka_consumer_msg_t) -> usize {
    // SAFETY: the caller's promise.
    entry("dafka_consumer_msg_key_size", 0, || unsafe {
        Ok(msg(self_)?.attributes().and_then(|record| record.key).map_or(0, <[u8]>::len))
    })
}

/// The value of the record's header with this name. If several headers have this name, the last one counts. The
/// function stores the length of the value in bytes in `*size_p`, unless `size_p` is NULL. The value is borrowed, and
/// valid until the message receives the next record or is destroyed. NULL and the length 0 when there is no such
/// header, or when an argument other than `size_p` is NULL. An empty value is not NULL.
///
/// # Safety
/// `self` is NULL or a live message; `name` is NULL or a string; `size_p` is NULL or points to a `size_t`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dafka_consumer_msg_header(
    self_: *mut dafka_consumer_msg_t,
    name: *const c_char,
    size_p: *mut usize,
) -> *const u8 {
    // SAFETY: the caller's promise.
    entry("dafka_consumer_msg_header", std::ptr::null(), || unsafe {
        sized(None, size_p);
        let (msg, name) = (msg(self_)?, bytes(name, "the name")?);
        let headers = msg.attributes().map(|record| record.headers).unwrap_or_default();
        Ok(sized(headers.iter().filter(|header| header.0 == name).last().map(|header| header.1), size_p))
    })
}

/// The value of the record's first header. The headers have the order in which the application has set them. NULL when
/// the record has no header, when the message is empty, or when `self` is NULL. All else is as with
/// `dafka_consumer_msg_next_header`.
///
/// # Safety
/// `self` is NULL or a live message; `size_p` is NULL or points to a `size_t`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dafka_consumer_msg_first_header(
    self_: *mut dafka_consumer_msg_t,
    size_p: *mut usize,
) -> *const u8 {
    // SAFETY: the caller's promise.
    entry("dafka_consumer_msg_first_header", std::ptr::null(), || unsafe {
        sized(None, size_p);
        let msg = msg(self_)?;
        msg.next_header = 0;
        Ok(sized(msg.next_header(), size_p))
    })
}

/// The value of the record's next header. For a new record, this is the first header. The function stores the length of
/// the value in bytes in `*size_p`, unless `size_p` is NULL. Afterwards, `dafka_consumer_msg_header_name` returns the
/// name of this header. The value is borrowed, and valid until the message receives the next record or is destroyed.
/// NULL and the length 0 after the last header, when the message is empty, or when `self` is NULL. An empty value is
/// not NULL.
///
/// # Safety
/// `self` is NULL or a live message; `size_p` is NULL or points to a `size_t`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dafka_consumer_msg_next_header(
    self_: *mut dafka_consumer_msg_t,
    size_p: *mut usize,
) -> *const u8 {
    // SAFETY: the caller's promise.
    entry("dafka_consumer_msg_next_header", std::ptr::null(), || unsafe {
        sized(None, size_p);
        Ok(sized(msg(self_)?.next_header(), size_p))
    })
}

/// The name of the header that `dafka_consumer_msg_first_header` or `dafka_consumer_msg_next_header` has returned last.
/// The string is borrowed, and valid until the next call of one of these two functions, until the message receives the
/// next record, or until it is destroyed. "" when the last call of them has returned no header. A name can contain a
/// NUL only if the record comes from another library. NULL when `self` is NULL.
///
/// # Safety
/// `self` is NULL or a live message.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dafka_consumer_msg_header_name(self_: *mut dafka_consumer_msg_t) -> *const c_char {
    // SAFETY: the caller's promise.
    entry("dafka_consumer_msg_header_name", std::ptr::null(), || unsafe {
        Ok(string(&msg(self_)?.header_name))
    })
}

/// Waits for the next record of a consumer and reads it into the message. The new record replaces the previous one.
///
/// Returns 0, or -1. It returns -1 when a signal interrupted the wait (see "Signals" in dafka(7)), when the timeout of
/// the record source (`zsock_set_rcvtimeo`) has passed, when the consumer has ended or uses a sink of the application,
/// or when an argument is NULL. In all these cases the message is unchanged.
///
/// # Safety
/// `self` is NULL or a live message; `consumer` is NULL or a live consumer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dafka_consumer_msg_recv(
    self_: *mut dafka_consumer_msg_t,
    consumer: *mut dafka_consumer_t,
) -> c_int {
    // SAFETY: the caller's promise.
    entry("dafka_consumer_msg_recv", -1, || unsafe {
        let msg = msg(self_)?;
        let consumer = consumer.as_ref().ok_or("the consumer is NULL")?;
        let (source, mut reader) = consumer.records()?;
        msg.recv(&source, &mut reader, &|| consumer.has_ended().then_some("the consumer has ended"))
    })
}

/// Waits for a record on a socket that is connected to a consumer's sink, or on the record source of a consumer, and
/// reads it into the message. The new record replaces the previous one. Signals (`zsock_signal`) are skipped.
///
/// Returns 0, or -1. It returns -1 when a signal interrupted the wait (see "Signals" in dafka(7)), when the timeout of
/// the socket (`zsock_set_rcvtimeo`) has passed, when the socket cannot receive, or when an argument is NULL. It also
/// returns -1 when the received message does not have the three frames of a record: that message is dropped, and `self`
/// is empty.
///
/// # Safety
/// `self` is NULL or a live message; `socket` is NULL or a live `zsock_t`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dafka_consumer_msg_recv_from_socket(
    self_: *mut dafka_consumer_msg_t,
    socket: *mut zsock_t,
) -> c_int {
    // SAFETY: the caller's promise.
    entry("dafka_consumer_msg_recv_from_socket", -1, || unsafe {
        let msg = msg(self_)?;
        let socket = socket_of(socket, "socket")?;
        if let Some(rc) = with_reader_of(&socket, |reader| msg.recv(&socket, reader, &|| None)) {
            return rc;
        }
        let Some(content) = msg.recv_frames(&socket, &|| None)? else { return Ok(-1) };
        msg.set(Delivered { offset: None, run: content.into() });
        Ok(0)
    })
}

/// A new copy of the content with a NUL after it. The caller owns it, and frees it with `zstr_free`. NULL when there is
/// no content or no memory, or when `self` is NULL.
///
/// # Safety
/// `self` is NULL or a live message.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dafka_consumer_msg_strdup(self_: *mut dafka_consumer_msg_t) -> *mut c_char {
    // SAFETY: the caller's promise.
    entry("dafka_consumer_msg_strdup", std::ptr::null_mut(), || unsafe {
        msg(self_)?.content().map_or(Ok(std::ptr::null_mut()), c_strdup)
    })
}

/// True when the content equals a string. The NUL of the string does not count. False otherwise, also when there is no
/// content or an argument is NULL.
///
/// # Safety
/// `self` is NULL or a live message; `text` is NULL or a string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dafka_consumer_msg_streq(
    self_: *mut dafka_consumer_msg_t,
    text: *const c_char,
) -> bool {
    // SAFETY: the caller's promise.
    entry("dafka_consumer_msg_streq", false, || unsafe {
        let text = bytes(text, "the string")?;
        Ok(msg(self_)?.content() == Some(text))
    })
}

/// Runs the self test of this class, as `dafka_selftest` does. It calls the functions of the class, and prints " *
/// dafka_consumer_msg: OK". A failed check aborts the process. With `verbose`, the nodes of the test log what they do.
#[unsafe(no_mangle)]
pub extern "C" fn dafka_consumer_msg_test(verbose: bool) {
    selftest::run("dafka_consumer_msg", verbose, selftest::consumer_msg);
}
