//! Class `dafka_proto`: a message of the wire protocol.
//!
//! Producers, consumers and stores send and receive these messages themselves. This class is for programs that speak
//! the protocol directly, such as test peers and monitors. A message has an id, a ZeroMQ topic, and the fields that
//! belong to its id (RFC 46/DAFKA, "Protocol Grammar", without the signature, which no implementation sends).
//! `dafka_proto_send` sends a message to a `zsock_t`, and `dafka_proto_recv` receives one. A message can be sent more
//! than once.
//!
//! # Messages
//!
//! - `DAFKA_PROTO_RECORD` 'M': topic, address, subject, sequence, content. From a producer to consumers and stores
//! - `DAFKA_PROTO_DIRECT_RECORD` 'D': the same fields. From a producer or store to the node that requested the record
//! - `DAFKA_PROTO_FETCH` 'F': topic, address, subject, sequence, count. From a consumer or store to the partition's
//!   producer and to all stores
//! - `DAFKA_PROTO_ACK` 'K': topic, subject, sequence. From a store to a producer
//! - `DAFKA_PROTO_HEAD` 'H': topic, address, subject, sequence. From a producer to consumers and stores
//! - `DAFKA_PROTO_DIRECT_HEAD` 'E': the same fields. From a producer or store to the node that requested the head
//! - `DAFKA_PROTO_GET_HEADS` 'G': topic, address. From a consumer to producers and stores, and from a store to other
//!   stores
//! - `DAFKA_PROTO_CONSUMER_HELLO` 'W': topic, address, subjects. From a consumer to one store
//! - `DAFKA_PROTO_STORE_HELLO` 'L': topic, address. From a store to one consumer
//!
//! # Example
//!
//! ```c
//! #include <dafka.h>
//!
//! int main (void)
//! {
//!     zsock_t *publisher = zsock_new_xpub ("@inproc://example");
//!     zsock_t *subscriber = zsock_new (ZMQ_SUB);
//!     assert (publisher && subscriber);
//!     int rc = zsock_connect (subscriber, "inproc://example");
//!     assert (rc == 0);
//!
//!     //  The XPUB receives the subscription
//!     dafka_proto_subscribe (subscriber, DAFKA_PROTO_RECORD, "weather");
//!     dafka_proto_t *proto = dafka_proto_new ();
//!     assert (proto);
//!     rc = dafka_proto_recv (proto, publisher);
//!     assert (rc == 0);
//!     assert (dafka_proto_is_subscribe (proto));
//!     assert (dafka_proto_id (proto) == DAFKA_PROTO_RECORD);
//!     assert (streq (dafka_proto_topic (proto), "weather"));
//!
//!     //  The first record of a partition
//!     dafka_proto_set_id (proto, DAFKA_PROTO_RECORD);
//!     dafka_proto_set_topic (proto, "weather");
//!     dafka_proto_set_subject (proto, "weather");
//!     dafka_proto_set_address (proto, "0123456789ABCDEF0123456789ABCDEF");
//!     dafka_proto_set_sequence (proto, 0);
//!     zmq_msg_t content;
//!     zmq_msg_init_size (&content, 10);
//!     memcpy (zmq_msg_data (&content), "20 degrees", 10);
//!     dafka_proto_set_content (proto, &content);
//!     zmq_msg_close (&content);
//!     rc = dafka_proto_send (proto, publisher);
//!     assert (rc == 0);
//!
//!     dafka_proto_t *received = dafka_proto_new ();
//!     rc = dafka_proto_recv (received, subscriber);
//!     assert (rc == 0);
//!     printf ("%s of %s: %u octets\n", dafka_proto_command (received),
//!             dafka_proto_subject (received),
//!             (unsigned) zmq_msg_size (dafka_proto_content (received)));
//!
//!     //  The message as a configuration, which people can read
//!     zconfig_t *zpl = dafka_proto_zpl (received, NULL);
//!     assert (streq (zconfig_get (zpl, "message", ""),
//!                    "DAFKA_PROTO_RECORD"));
//!     zconfig_destroy (&zpl);
//!
//!     dafka_proto_destroy (&received);
//!     dafka_proto_destroy (&proto);
//!     zsock_destroy (&subscriber);
//!     zsock_destroy (&publisher);
//!     return 0;
//! }
//! ```

use super::boundary::{Outcome, bytes, entry, entry_void, socket_of};
pub use super::codec::dafka_proto_t;
use super::codec::{Name, Received, move_message, set_subscription};
use super::object::{into_c, take_back};
use super::selftest;
use super::zlist::ZList;
use crate::czmq::owned::ZFrame;
use crate::czmq::sys::{zconfig_t, zframe_t, zlist_t, zsock_t};
use std::ffi::{c_char, c_int};
use std::ptr::{null, null_mut};
use zmq_sys::zmq_msg_t;

/// The message behind a C pointer.
///
/// # Safety
/// `self_` is NULL, or a live message that only this call uses.
unsafe fn proto<'a>(self_: *mut dafka_proto_t) -> Outcome<&'a mut dafka_proto_t> {
    // SAFETY: the caller's promise.
    unsafe { self_.as_mut() }.ok_or("the message is NULL".into())
}

/// Makes a message with id 0, which no message of the protocol has. All its fields are empty or 0. The caller owns it,
/// and destroys it with `dafka_proto_destroy`. NULL only after an internal error, which is logged.
#[unsafe(no_mangle)]
pub extern "C" fn dafka_proto_new() -> *mut dafka_proto_t {
    entry("dafka_proto_new", null_mut(), || Ok(into_c(dafka_proto_t::default())))
}

/// Makes a message from its ZPL form (see `dafka_proto_zpl`). The caller keeps the configuration, and owns the message.
/// NULL when the configuration is NULL or does not hold a message.
///
/// # Safety
/// `config` is NULL or a live configuration.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dafka_proto_new_zpl(config: *mut zconfig_t) -> *mut dafka_proto_t {
    // SAFETY: the caller's promise.
    entry("dafka_proto_new_zpl", null_mut(), || unsafe { Ok(into_c(dafka_proto_t::from_zpl(config)?)) })
}

/// Destroys a message and its fields, and sets `*self_p` to NULL. Accepts NULL and a pointer to NULL.
///
/// # Safety
/// `self_p` is NULL, or points to NULL or to a live message.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dafka_proto_destroy(self_p: *mut *mut dafka_proto_t) {
    // SAFETY: the caller's promise.
    entry_void("dafka_proto_destroy", || unsafe { drop(take_back(self_p)) })
}

/// Makes a deep copy. The caller owns it, and destroys it with `dafka_proto_destroy`. NULL when `self` is NULL or there
/// is no memory.
///
/// # Safety
/// `self` is NULL or a live message.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dafka_proto_dup(self_: *mut dafka_proto_t) -> *mut dafka_proto_t {
    // SAFETY: the caller's promise.
    entry("dafka_proto_dup", null_mut(), || unsafe { Ok(into_c(proto(self_)?.duplicate()?)) })
}

/// Waits for a message and reads it. Fields that the message does not have become empty or 0. If the socket is a
/// ROUTER, the function reads the routing id first. If it is an XPUB, the function reads the start or the end of a
/// subscription in place of a message (`dafka_proto_is_subscribe`). In this case it sets the id and the topic, and
/// leaves the other fields unchanged.
///
/// Returns 0 on success. Returns -1 when a signal interrupted the wait (see "Signals" in dafka(7)), when the timeout of
/// the socket has passed (`zsock_set_rcvtimeo`), when the socket cannot receive, or when an argument is NULL. Returns
/// -2 when the received frames are not a message of this protocol. In this case the function drops these frames and
/// logs one line. The fields stay unchanged, except for the routing id.
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

/// Sends the message. If the socket is a ROUTER, the function first sends the message's routing id, which selects the
/// peer. The message keeps its fields, and can be sent again. The function waits while the socket is full.
///
/// Returns 0. Returns -1 when the message's id is not one of the DAFKA_PROTO constants, when the socket cannot send,
/// when the socket is a ROUTER and the message has no routing id, or when an argument is NULL.
///
/// # Safety
/// `self` is NULL or a live message; `output` is NULL or a live socket.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dafka_proto_send(self_: *mut dafka_proto_t, output: *mut zsock_t) -> c_int {
    // SAFETY: the caller's promise.
    entry("dafka_proto_send", -1, || unsafe {
        let output = socket_of(output, "socket")?;
        proto(self_)?.send(&output).map(|()| 0)
    })
}

/// The first frame of the message, as `dafka_proto_send` sends it. RECORD and DIRECT_RECORD have their content in a
/// second frame. The caller owns the returned frame. NULL when `self` is NULL or the id is not one of the DAFKA_PROTO
/// constants.
///
/// # Safety
/// `self` is NULL or a live message.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dafka_proto_encode(self_: *mut dafka_proto_t) -> *mut zframe_t {
    // SAFETY: the caller's promise.
    entry("dafka_proto_encode", null_mut(), || unsafe {
        let frame = proto(self_)?.encode()?;
        Ok(ZFrame::new(&frame).into_c())
    })
}

/// Writes the message to the log, one line for each field (`zsys_debug`).
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

/// The message in ZPL form (ZeroMQ RFC 4): a node `dafka_proto`. When `parent` is NULL, the node is the root of a new
/// configuration, which the caller owns. Otherwise the node is a child of `parent`, which then owns the node.
///
/// The node holds `message` (the name of the DAFKA_PROTO constant), `routing_id` in hexadecimal digits if there is one,
/// `topic`, and a node `content`. The node `content` holds `version` and the fields of the message under their names.
/// The field `content` is written in hexadecimal digits, and each topic of the field `subjects` is a child node. NULL
/// when `self` is NULL or the id is not one of the DAFKA_PROTO constants.
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

/// The routing id. It identifies the peer that sent the message to a ROUTER, or the peer that a ROUTER sends the
/// message to. The frame is borrowed, and valid until the message changes. NULL when the message has no routing id or
/// `self` is NULL.
///
/// # Safety
/// `self` is NULL or a live message.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dafka_proto_routing_id(self_: *mut dafka_proto_t) -> *mut zframe_t {
    // SAFETY: the caller's promise.
    entry("dafka_proto_routing_id", null_mut(), || unsafe { Ok(proto(self_)?.routing_id.as_c()) })
}

/// Sets the routing id to a copy of a frame, which the caller keeps. NULL removes it.
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

/// The id of the message: one of the DAFKA_PROTO constants, or 0 in a new message.
///
/// # Safety
/// `self` is NULL or a live message.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dafka_proto_id(self_: *mut dafka_proto_t) -> c_char {
    // SAFETY: the caller's promise.
    entry("dafka_proto_id", 0, || unsafe { Ok(proto(self_)?.id as c_char) })
}

/// Sets the id of the message. The id determines which fields are sent.
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

/// The name of the message, a constant string: "RECORD", "DIRECT_RECORD", "FETCH", "ACK", "HEAD", "DIRECT_HEAD",
/// "GET_HEADS", "CONSUMER_HELLO", "STORE_HELLO", or "?" when the id is not one of the DAFKA_PROTO constants. Never
/// NULL.
///
/// # Safety
/// `self` is NULL or a live message.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dafka_proto_command(self_: *mut dafka_proto_t) -> *const c_char {
    // SAFETY: the caller's promise.
    entry("dafka_proto_command", c"?".as_ptr(), || unsafe { Ok(proto(self_)?.command().as_ptr()) })
}

/// The ZeroMQ topic, to which the receivers of the message are subscribed. In RECORD, HEAD and GET_HEADS, it is the
/// name of the records' topic. In FETCH and ACK, it is the partition. In all other messages, it is the address of the
/// receiver. The string is borrowed, and valid until the field changes. NULL only when `self` is NULL.
///
/// # Safety
/// `self` is NULL or a live message.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dafka_proto_topic(self_: *mut dafka_proto_t) -> *const c_char {
    // SAFETY: the caller's promise.
    entry("dafka_proto_topic", null(), || unsafe { Ok(proto(self_)?.topic.as_c()) })
}

/// Sets the ZeroMQ topic to a copy of a string. A string of more than 255 bytes is cut.
///
/// # Safety
/// `self` is NULL or a live message; `topic` is NULL or a string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dafka_proto_set_topic(self_: *mut dafka_proto_t, topic: *const c_char) {
    // SAFETY: the caller's promise.
    entry("dafka_proto_set_topic", (), || unsafe {
        proto(self_)?.topic = Name::new(bytes(topic, "the topic")?);
        Ok(())
    })
}

/// The address. In RECORD, DIRECT_RECORD, HEAD and DIRECT_HEAD, it names the partition. In all other messages, it names
/// the sender. The string is borrowed, and valid until the field changes. NULL only when `self` is NULL.
///
/// # Safety
/// `self` is NULL or a live message.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dafka_proto_address(self_: *mut dafka_proto_t) -> *const c_char {
    // SAFETY: the caller's promise.
    entry("dafka_proto_address", null(), || unsafe { Ok(proto(self_)?.address.as_c()) })
}

/// Sets the address to a copy of a string. A string of more than 255 bytes is cut.
///
/// # Safety
/// `self` is NULL or a live message; `address` is NULL or a string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dafka_proto_set_address(self_: *mut dafka_proto_t, address: *const c_char) {
    // SAFETY: the caller's promise.
    entry("dafka_proto_set_address", (), || unsafe {
        proto(self_)?.address = Name::new(bytes(address, "the address")?);
        Ok(())
    })
}

/// The subject, which is the topic's name. The string is borrowed, and valid until the field changes. NULL only when
/// `self` is NULL.
///
/// # Safety
/// `self` is NULL or a live message.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dafka_proto_subject(self_: *mut dafka_proto_t) -> *const c_char {
    // SAFETY: the caller's promise.
    entry("dafka_proto_subject", null(), || unsafe { Ok(proto(self_)?.subject.as_c()) })
}

/// Sets the subject to a copy of a string. A string of more than 255 bytes is cut.
///
/// # Safety
/// `self` is NULL or a live message; `subject` is NULL or a string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dafka_proto_set_subject(self_: *mut dafka_proto_t, subject: *const c_char) {
    // SAFETY: the caller's promise.
    entry("dafka_proto_set_subject", (), || unsafe {
        proto(self_)?.subject = Name::new(bytes(subject, "the subject")?);
        Ok(())
    })
}

/// The sequence: the number of a record in its partition, from 0. In HEAD and DIRECT_HEAD, this is the partition's last
/// record. In ACK, it is the last record that the store has. In FETCH, it is the first requested record.
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

/// The number of records that a FETCH requests.
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

/// The content of a RECORD or DIRECT_RECORD. It is borrowed, and valid until the message changes. Read it with
/// `zmq_msg_data` and `zmq_msg_size`; do not close it. NULL only when `self` is NULL.
///
/// # Safety
/// `self` is NULL or a live message.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dafka_proto_content(self_: *mut dafka_proto_t) -> *mut zmq_msg_t {
    // SAFETY: the caller's promise.
    entry("dafka_proto_content", null_mut(), || unsafe { Ok(proto(self_)?.content.as_raw()) })
}

/// Moves the content of `self` to `content`, a `zmq_msg_t` that the caller has initialized (`zmq_msg_init`) and owns.
/// The previous content of `content` is released. The content of `self` is then empty.
///
/// # Safety
/// `self` is NULL or a live message; `content` is NULL or an initialized `zmq_msg_t`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dafka_proto_get_content(self_: *mut dafka_proto_t, content: *mut zmq_msg_t) {
    // SAFETY: the caller's promise.
    entry("dafka_proto_get_content", (), || unsafe { move_message(content, proto(self_)?.content.as_raw()) })
}

/// Moves the content of `content` into the message. `content` is then empty. The caller still owns `content`, and
/// closes it (`zmq_msg_close`).
///
/// # Safety
/// `self` is NULL or a live message; `content` is NULL or an initialized `zmq_msg_t`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dafka_proto_set_content(self_: *mut dafka_proto_t, content: *mut zmq_msg_t) {
    // SAFETY: the caller's promise.
    entry("dafka_proto_set_content", (), || unsafe { move_message(proto(self_)?.content.as_raw(), content) })
}

/// The topics of a CONSUMER_HELLO, a list of strings. It is borrowed, and valid until the message changes. NULL when
/// there is no list or `self` is NULL.
///
/// # Safety
/// `self` is NULL or a live message.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dafka_proto_subjects(self_: *mut dafka_proto_t) -> *mut zlist_t {
    // SAFETY: the caller's promise.
    entry("dafka_proto_subjects", null_mut(), || unsafe { Ok(proto(self_)?.subjects.as_c()) })
}

/// Moves the list of topics out of the message. The caller owns the list, and destroys it with `zlist_destroy`. NULL
/// when there is no list or `self` is NULL.
///
/// # Safety
/// `self` is NULL or a live message.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dafka_proto_get_subjects(self_: *mut dafka_proto_t) -> *mut zlist_t {
    // SAFETY: the caller's promise.
    entry("dafka_proto_get_subjects", null_mut(), || unsafe { Ok(proto(self_)?.subjects.take()) })
}

/// Moves a list of strings into the message and sets `*subjects_p` to NULL. The previous list is destroyed. A pointer
/// to NULL removes the list.
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

/// Subscribes a SUB socket to the messages with this id whose ZeroMQ topic begins with `topic` (ZMQ_SUBSCRIBE; RFC
/// 46/DAFKA, "ZeroMQ Subscriptions").
///
/// # Safety
/// `sub` is NULL or a live socket; `topic` is NULL or a string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dafka_proto_subscribe(sub: *mut zsock_t, id: c_char, topic_: *const c_char) {
    // SAFETY: the caller's promise.
    entry("dafka_proto_subscribe", (), || unsafe {
        let sub = socket_of(sub, "socket")?;
        set_subscription(&sub, id as u8, bytes(topic_, "the topic")?, true)
    })
}

/// Ends a subscription that `dafka_proto_subscribe` has started (ZMQ_UNSUBSCRIBE).
///
/// # Safety
/// `sub` is NULL or a live socket; `topic` is NULL or a string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dafka_proto_unsubscribe(sub: *mut zsock_t, id: c_char, topic_: *const c_char) {
    // SAFETY: the caller's promise.
    entry("dafka_proto_unsubscribe", (), || unsafe {
        let sub = socket_of(sub, "socket")?;
        set_subscription(&sub, id as u8, bytes(topic_, "the topic")?, false)
    })
}

/// True when the last message that was read from an XPUB started a subscription, false when it ended one.
///
/// # Safety
/// `self` is NULL or a live message.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dafka_proto_is_subscribe(self_: *mut dafka_proto_t) -> bool {
    // SAFETY: the caller's promise.
    entry("dafka_proto_is_subscribe", false, || unsafe { Ok(proto(self_)?.is_subscribe) })
}

/// Runs the self test of this class, as `dafka_selftest` does. It calls the functions of the class, and prints " *
/// dafka_proto: OK". A failed check aborts the process. With `verbose`, the nodes of the test log what they do.
#[unsafe(no_mangle)]
pub extern "C" fn dafka_proto_test(verbose: bool) {
    selftest::run("dafka_proto", verbose, selftest::proto);
}
