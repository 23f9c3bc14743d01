//! Class `dafka_proto`: the codec of the wire protocol, as an object with one field for each field of its messages.

use super::boundary::{Outcome, entry, entry_void, octets, resolve};
pub use super::codec::dafka_proto_t;
use super::codec::{Name, Received, ZFrame, ZList, move_message, set_subscription};
use super::object::{into_c, take_back};
use super::selftest;
use crate::czmq::sys::{self, zconfig_t, zframe_t, zlist_t, zsock_t};
use std::ffi::{c_char, c_int};
use std::ptr::{null, null_mut};
use zmq_sys::zmq_msg_t;

/// The message behind a C pointer.
///
/// # Safety
/// NULL or a live message that nobody else uses meanwhile.
unsafe fn proto<'a>(self_: *mut dafka_proto_t) -> Outcome<&'a mut dafka_proto_t> {
    // SAFETY: the caller's promise.
    unsafe { self_.as_mut() }.ok_or("the message is NULL".into())
}

/// A new message without an id, all fields empty or 0. The caller owns it, and destroys it with
/// `dafka_proto_destroy`. NULL when there is no memory for it.
#[unsafe(no_mangle)]
pub extern "C" fn dafka_proto_new() -> *mut dafka_proto_t {
    entry("dafka_proto_new", null_mut(), || Ok(into_c(dafka_proto_t::default())))
}

/// A new message out of its ZPL form, as `dafka_proto_zpl` makes it; the configuration remains the caller's. The
/// caller owns the message. NULL, with a log line, when the configuration is NULL or holds no message.
///
/// # Safety
/// `config` is NULL or a live configuration.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dafka_proto_new_zpl(config: *mut zconfig_t) -> *mut dafka_proto_t {
    // SAFETY: the caller's promise.
    entry("dafka_proto_new_zpl", null_mut(), || unsafe { Ok(into_c(dafka_proto_t::from_zpl(config)?)) })
}

/// Destroys a message with all that it holds and sets `*self_p` to NULL. Accepts NULL and a pointer to NULL.
///
/// # Safety
/// `self_p` is NULL, or points to NULL or to a live message.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dafka_proto_destroy(self_p: *mut *mut dafka_proto_t) {
    // SAFETY: the caller's promise.
    entry_void("dafka_proto_destroy", || unsafe { drop(take_back(self_p)) })
}

/// A deep copy, which the caller owns. NULL when `self` is NULL or there is no memory for it.
///
/// # Safety
/// `self` is NULL or a live message.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dafka_proto_dup(self_: *mut dafka_proto_t) -> *mut dafka_proto_t {
    // SAFETY: the caller's promise.
    entry("dafka_proto_dup", null_mut(), || unsafe { Ok(into_c(proto(self_)?.duplicate()?)) })
}

/// Waits for a message and reads it; fields that it does not have are empty then. On a ROUTER it reads the routing
/// id first. On an XPUB it reads a subscription instead (or the end of one): fills `is_subscribe`, `id` and `topic`
/// and leaves the rest alone. Returns 0; -1 when a signal interrupted it, the socket's time limit (ZMQ_RCVTIMEO)
/// passed, the socket cannot receive or an argument is NULL; -2 when what came is no message of this protocol,
/// which is dropped as a whole and logged, and leaves the fields as they were.
///
/// # Safety
/// `self` is NULL or a live message; `input` is NULL or a live socket.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dafka_proto_recv(self_: *mut dafka_proto_t, input: *mut zsock_t) -> c_int {
    // SAFETY: the caller's promise.
    entry("dafka_proto_recv", -1, || unsafe {
        Ok(match proto(self_)?.recv(input)? {
            Received::Message => 0,
            Received::Nothing => -1,
            Received::Malformed(why) => {
                log::warn!("dafka_proto_recv: {why}");
                -2
            }
        })
    })
}

/// Sends the message, on a ROUTER after its routing id; it can be sent again. Waits while the socket is full.
/// Returns 0, or -1 when the id is that of no message, the socket cannot take it, a ROUTER's message has no routing
/// id or an argument is NULL.
///
/// # Safety
/// `self` is NULL or a live message; `output` is NULL or a live socket.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dafka_proto_send(self_: *mut dafka_proto_t, output: *mut zsock_t) -> c_int {
    // SAFETY: the caller's promise.
    entry("dafka_proto_send", -1, || unsafe {
        let output = resolve(output).ok_or("the socket is NULL")?;
        proto(self_)?.send(&output).map(|()| 0)
    })
}

/// The message's first frame, as it is sent; RECORD and DIRECT_RECORD have the content as a second one. The caller
/// owns the frame. NULL when `self` is NULL or its id is that of no message.
///
/// # Safety
/// `self` is NULL or a live message.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dafka_proto_encode(self_: *mut dafka_proto_t) -> *mut zframe_t {
    // SAFETY: the caller's promise; zframe_new copies the octets.
    entry("dafka_proto_encode", null_mut(), || unsafe {
        let frame = proto(self_)?.encode()?;
        Ok(sys::zframe_new(frame.as_ptr().cast(), frame.len()))
    })
}

/// Prints the message to CZMQ's log (zsys_debug), a line for each field.
///
/// # Safety
/// `self` is NULL or a live message.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dafka_proto_print(self_: *mut dafka_proto_t) {
    // SAFETY: the caller's promise.
    entry("dafka_proto_print", (), || unsafe {
        crate::czmq::log::install();
        for line in proto(self_)?.lines() {
            log::debug!("{line}");
        }
        Ok(())
    })
}

/// The message in ZPL form: a node `dafka_proto`, a child of `parent` (which owns it then) or a root of its own when
/// `parent` is NULL (the caller's to destroy). It holds `message` (the constant's name), `routing_id` in hexadecimal
/// digits when there is one, `topic`, and a node `content` with `version` and the message's fields by name: `content`
/// in hexadecimal digits, `subjects` as children. NULL when `self` is NULL or its id is that of no message.
///
/// # Safety
/// `self` is NULL or a live message; `parent` is NULL or a live configuration.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dafka_proto_zpl(
    self_: *mut dafka_proto_t,
    parent: *mut zconfig_t,
) -> *mut zconfig_t {
    // SAFETY: the caller's promise.
    entry("dafka_proto_zpl", null_mut(), || unsafe { proto(self_)?.zpl(parent) })
}

/// The routing id of the peer that the message came from, off a ROUTER, or goes to. The message owns the frame. NULL
/// when there is none.
///
/// # Safety
/// `self` is NULL or a live message.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dafka_proto_routing_id(self_: *mut dafka_proto_t) -> *mut zframe_t {
    // SAFETY: the caller's promise.
    entry("dafka_proto_routing_id", null_mut(), || unsafe { Ok(proto(self_)?.routing_id.as_c()) })
}

/// Sets the routing id to a copy of a frame, which remains the caller's. NULL: none.
///
/// # Safety
/// `self` is NULL or a live message; `routing_id` is NULL or a live frame.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dafka_proto_set_routing_id(self_: *mut dafka_proto_t, routing_id: *mut zframe_t) {
    // SAFETY: the caller's promise.
    entry("dafka_proto_set_routing_id", (), || unsafe {
        proto(self_)?.routing_id = ZFrame::copy(routing_id);
        Ok(())
    })
}

/// The message's id: one of the DAFKA_PROTO constants, 0 in a new message.
///
/// # Safety
/// `self` is NULL or a live message.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dafka_proto_id(self_: *mut dafka_proto_t) -> c_char {
    // SAFETY: the caller's promise.
    entry("dafka_proto_id", 0, || unsafe { Ok(proto(self_)?.id as c_char) })
}

/// Sets the message's id. It decides which of the fields are sent.
///
/// # Safety
/// `self` is NULL or a live message.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dafka_proto_set_id(self_: *mut dafka_proto_t, id: c_char) {
    // SAFETY: the caller's promise.
    entry("dafka_proto_set_id", (), || unsafe {
        proto(self_)?.id = id as u8;
        Ok(())
    })
}

/// The message's name, a constant string: "RECORD", "DIRECT_RECORD", "FETCH", "ACK", "HEAD", "DIRECT_HEAD",
/// "GET_HEADS", "CONSUMER_HELLO", "STORE_HELLO", or "?" when its id is that of no message.
///
/// # Safety
/// `self` is NULL or a live message.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dafka_proto_command(self_: *mut dafka_proto_t) -> *const c_char {
    // SAFETY: the caller's promise.
    entry("dafka_proto_command", c"?".as_ptr(), || unsafe { Ok(proto(self_)?.command().as_ptr()) })
}

/// The ZeroMQ topic of the message, by which it finds who subscribed to it: the topic's name in RECORD, HEAD and
/// GET_HEADS, the receiver's address in all others (in FETCH and ACK: the partition's). A string that the message
/// owns, valid until the field changes; never NULL unless `self` is.
///
/// # Safety
/// `self` is NULL or a live message.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dafka_proto_topic(self_: *mut dafka_proto_t) -> *const c_char {
    // SAFETY: the caller's promise.
    entry("dafka_proto_topic", null(), || unsafe { Ok(proto(self_)?.topic.as_c()) })
}

/// Sets the topic to a copy of a string, of which at most 255 octets are kept.
///
/// # Safety
/// `self` is NULL or a live message; `topic` is NULL or a string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dafka_proto_set_topic(self_: *mut dafka_proto_t, topic: *const c_char) {
    // SAFETY: the caller's promise.
    entry("dafka_proto_set_topic", (), || unsafe {
        proto(self_)?.topic = Name::new(octets(topic, "the topic")?);
        Ok(())
    })
}

/// The address field: the partition in RECORD, DIRECT_RECORD, HEAD and DIRECT_HEAD, else the sender. A string that the message
/// owns, valid until the field changes; never NULL unless `self` is.
///
/// # Safety
/// `self` is NULL or a live message.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dafka_proto_address(self_: *mut dafka_proto_t) -> *const c_char {
    // SAFETY: the caller's promise.
    entry("dafka_proto_address", null(), || unsafe { Ok(proto(self_)?.address.as_c()) })
}

/// Sets the address to a copy of a string, of which at most 255 octets are kept.
///
/// # Safety
/// `self` is NULL or a live message; `address` is NULL or a string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dafka_proto_set_address(self_: *mut dafka_proto_t, address: *const c_char) {
    // SAFETY: the caller's promise.
    entry("dafka_proto_set_address", (), || unsafe {
        proto(self_)?.address = Name::new(octets(address, "the address")?);
        Ok(())
    })
}

/// The subject field: the topic's name. A string that the message
/// owns, valid until the field changes; never NULL unless `self` is.
///
/// # Safety
/// `self` is NULL or a live message.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dafka_proto_subject(self_: *mut dafka_proto_t) -> *const c_char {
    // SAFETY: the caller's promise.
    entry("dafka_proto_subject", null(), || unsafe { Ok(proto(self_)?.subject.as_c()) })
}

/// Sets the subject to a copy of a string, of which at most 255 octets are kept.
///
/// # Safety
/// `self` is NULL or a live message; `subject` is NULL or a string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dafka_proto_set_subject(self_: *mut dafka_proto_t, subject: *const c_char) {
    // SAFETY: the caller's promise.
    entry("dafka_proto_set_subject", (), || unsafe {
        proto(self_)?.subject = Name::new(octets(subject, "the subject")?);
        Ok(())
    })
}

/// The sequence field: an offset in a partition, 0 for its first record.
///
/// # Safety
/// `self` is NULL or a live message.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dafka_proto_sequence(self_: *mut dafka_proto_t) -> u64 {
    // SAFETY: the caller's promise.
    entry("dafka_proto_sequence", 0, || unsafe { Ok(proto(self_)?.sequence) })
}

/// Sets the sequence.
///
/// # Safety
/// `self` is NULL or a live message.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dafka_proto_set_sequence(self_: *mut dafka_proto_t, sequence: u64) {
    // SAFETY: the caller's promise.
    entry("dafka_proto_set_sequence", (), || unsafe {
        proto(self_)?.sequence = sequence;
        Ok(())
    })
}

/// The count field of FETCH: how many records it asks for.
///
/// # Safety
/// `self` is NULL or a live message.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dafka_proto_count(self_: *mut dafka_proto_t) -> u32 {
    // SAFETY: the caller's promise.
    entry("dafka_proto_count", 0, || unsafe { Ok(proto(self_)?.count) })
}

/// Sets the count.
///
/// # Safety
/// `self` is NULL or a live message.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dafka_proto_set_count(self_: *mut dafka_proto_t, count: u32) {
    // SAFETY: the caller's promise.
    entry("dafka_proto_set_count", (), || unsafe {
        proto(self_)?.count = count;
        Ok(())
    })
}

/// The content of a RECORD or DIRECT_RECORD, which the message owns: to be read, not closed.
///
/// # Safety
/// `self` is NULL or a live message.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dafka_proto_content(self_: *mut dafka_proto_t) -> *mut zmq_msg_t {
    // SAFETY: the caller's promise.
    entry("dafka_proto_content", null_mut(), || unsafe { Ok(proto(self_)?.content.as_raw()) })
}

/// Moves the content to `content`, a message that the caller has initialized (zmq_msg_init) and owns; what it held is
/// released. The message's content is empty then.
///
/// # Safety
/// `self` is NULL or a live message; `content` is NULL or an initialized `zmq_msg_t`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dafka_proto_get_content(self_: *mut dafka_proto_t, content: *mut zmq_msg_t) {
    // SAFETY: the caller's promise.
    entry("dafka_proto_get_content", (), || unsafe { move_message(content, proto(self_)?.content.as_raw()) })
}

/// Moves the content in from `content`, which is an empty message afterwards, still the caller's to close.
///
/// # Safety
/// `self` is NULL or a live message; `content` is NULL or an initialized `zmq_msg_t`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dafka_proto_set_content(self_: *mut dafka_proto_t, content: *mut zmq_msg_t) {
    // SAFETY: the caller's promise.
    entry("dafka_proto_set_content", (), || unsafe { move_message(proto(self_)?.content.as_raw(), content) })
}

/// The topics in a CONSUMER_HELLO, strings; the message owns the list. NULL when there is no list.
///
/// # Safety
/// `self` is NULL or a live message.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dafka_proto_subjects(self_: *mut dafka_proto_t) -> *mut zlist_t {
    // SAFETY: the caller's promise.
    entry("dafka_proto_subjects", null_mut(), || unsafe { Ok(proto(self_)?.subjects.as_c()) })
}

/// Moves the list of subjects out: the caller owns it, and the message has none. NULL when there is no list.
///
/// # Safety
/// `self` is NULL or a live message.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dafka_proto_get_subjects(self_: *mut dafka_proto_t) -> *mut zlist_t {
    // SAFETY: the caller's promise.
    entry("dafka_proto_get_subjects", null_mut(), || unsafe { Ok(proto(self_)?.subjects.take()) })
}

/// Moves a list of strings in and sets `*subjects_p` to NULL; the list that was there is destroyed. A pointer to NULL
/// leaves the message without a list.
///
/// # Safety
/// `self` is NULL or a live message; `subjects_p` is NULL, or points to NULL or to a live list of strings.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dafka_proto_set_subjects(self_: *mut dafka_proto_t, subjects_p: *mut *mut zlist_t) {
    // SAFETY: the caller's promise.
    entry("dafka_proto_set_subjects", (), || unsafe {
        let (proto, reference) = (proto(self_)?, subjects_p.as_mut().ok_or("the list is NULL")?);
        proto.subjects = ZList::from_c(std::mem::replace(reference, null_mut()));
        Ok(())
    })
}

/// Subscribes a SUB socket (ZMQ_SUBSCRIBE) to the messages with this id whose topic begins with `topic`.
///
/// # Safety
/// `sub` is NULL or a live socket; `topic` is NULL or a string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dafka_proto_subscribe(sub: *mut zsock_t, id: c_char, topic_: *const c_char) {
    // SAFETY: the caller's promise.
    entry("dafka_proto_subscribe", (), || unsafe {
        let sub = resolve(sub).ok_or("the socket is NULL")?;
        set_subscription(&sub, id as u8, octets(topic_, "the topic")?, true)
    })
}

/// Ends what `dafka_proto_subscribe` began (ZMQ_UNSUBSCRIBE).
///
/// # Safety
/// `sub` is NULL or a live socket; `topic` is NULL or a string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dafka_proto_unsubscribe(sub: *mut zsock_t, id: c_char, topic_: *const c_char) {
    // SAFETY: the caller's promise.
    entry("dafka_proto_unsubscribe", (), || unsafe {
        let sub = resolve(sub).ok_or("the socket is NULL")?;
        set_subscription(&sub, id as u8, octets(topic_, "the topic")?, false)
    })
}

/// Whether the last subscription that was read off an XPUB began one; false when it ended one.
///
/// # Safety
/// `self` is NULL or a live message.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dafka_proto_is_subscribe(self_: *mut dafka_proto_t) -> bool {
    // SAFETY: the caller's promise.
    entry("dafka_proto_is_subscribe", false, || unsafe { Ok(proto(self_)?.is_subscribe) })
}

/// The self test of this class: prints " * dafka_proto: OK", and aborts the process when a check fails. With `verbose`
/// the actors that it runs log more.
#[unsafe(no_mangle)]
pub extern "C" fn dafka_proto_test(verbose: bool) {
    selftest::run("dafka_proto", verbose, selftest::proto);
}
