//! Class `dafka_proto`.

use super::support::{Zsock, check, equals, holds, quietly, take_zframe, unique, zframe};
use crate::capi::proto::*;
use crate::czmq::{owned::ZFrame, sys};
use crate::net::{Frame, Kind};
use crate::wire::id;
use std::ffi::{CStr, c_char};
use std::ptr::null_mut;

const ADDRESS: &CStr = c"00112233445566778899AABBCCDDEEFF";
const CONTENT: &[u8] = b"one record\0more\n";
const MESSAGES: [(u8, &str); 9] = [
    (id::RECORD, "RECORD"),
    (id::DIRECT_RECORD, "DIRECT_RECORD"),
    (id::FETCH, "FETCH"),
    (id::ACK, "ACK"),
    (id::HEAD, "HEAD"),
    (id::DIRECT_HEAD, "DIRECT_HEAD"),
    (id::GET_HEADS, "GET_HEADS"),
    (id::CONSUMER_HELLO, "CONSUMER_HELLO"),
    (id::STORE_HELLO, "STORE_HELLO"),
];

/// Tests each message in each form, subscriptions, and malformed input.
pub(in crate::capi) fn proto(verbose: bool) {
    let endpoint = format!("inproc://dafka-selftest-proto-{}", unique());
    let router = Zsock::bound(Kind::ROUTER, &endpoint);
    let dealer = Zsock::connected(Kind::DEALER, &endpoint);
    let mut proto = dafka_proto_new();
    check!(!proto.is_null());
    // SAFETY: messages and sockets are live, and owned by the test.
    unsafe {
        for (id, name) in MESSAGES {
            let mut message = filled(id);
            check!(equals(dafka_proto_command(message), name));
            if verbose {
                dafka_proto_print(message);
            }
            check!(dafka_proto_send(message, dealer.as_c()) == 0);
            check!(dafka_proto_recv(proto, router.as_c()) == 0);
            check_fields(proto, id);
            check!(!dafka_proto_routing_id(proto).is_null());

            // Sends a copy back to the sender, which the routing id selects. Then converts the copy to ZPL and back.
            let mut copy = dafka_proto_dup(proto);
            check!(dafka_proto_send(copy, router.as_c()) == 0);
            check!(dafka_proto_recv(proto, dealer.as_c()) == 0);
            check_fields(proto, id);
            let mut zpl = dafka_proto_zpl(copy, null_mut());
            check!(!zpl.is_null());
            dafka_proto_destroy(&mut copy);
            copy = dafka_proto_new_zpl(zpl);
            check_fields(copy, id);
            check!(!dafka_proto_routing_id(copy).is_null());
            sys::zconfig_destroy(&mut zpl);
            dafka_proto_destroy(&mut copy);

            // The first frame begins with id and topic.
            let frame = dafka_proto_encode(message);
            check!(!frame.is_null() && *sys::zframe_data(frame) == id);
            check!(sys::zframe_size(frame) > 6);
            drop(ZFrame::from_c(frame));
            dafka_proto_destroy(&mut message);
            check!(message.is_null());
            dafka_proto_destroy(&mut message);
        }
        malformed(proto, &dealer, &router);
        moves(proto);
        dafka_proto_destroy(&mut proto);
    }
    subscriptions();
}

/// A message with all fields set, also those that are not sent.
///
/// # Safety
/// The caller owns the result, which is live.
unsafe fn filled(id: u8) -> *mut dafka_proto_t {
    // SAFETY: the arguments outlive each call.
    unsafe {
        let message = dafka_proto_new();
        check!(!message.is_null());
        dafka_proto_set_id(message, id as c_char);
        dafka_proto_set_topic(message, c"topic".as_ptr());
        dafka_proto_set_address(message, ADDRESS.as_ptr());
        dafka_proto_set_subject(message, c"subject".as_ptr());
        dafka_proto_set_sequence(message, u64::MAX - 1);
        dafka_proto_set_count(message, u32::MAX - 1);
        dafka_proto_set_content(message, Frame::copy(CONTENT).as_raw());
        let mut subjects = sys::zlist_new();
        check!(!subjects.is_null());
        sys::zlist_autofree(subjects);
        for subject in [c"first", c"second"] {
            check!(sys::zlist_append(subjects, subject.as_ptr().cast_mut().cast()) == 0);
        }
        dafka_proto_set_subjects(message, &mut subjects);
        check!(subjects.is_null());
        message
    }
}

/// Checks that the fields of the message with this id are those of [`filled`].
///
/// # Safety
/// `proto` is live.
unsafe fn check_fields(proto: *mut dafka_proto_t, id: u8) {
    // SAFETY: the caller's promise; what is borrowed is used before the next call.
    unsafe {
        check!(dafka_proto_id(proto) as u8 == id);
        check!(equals(dafka_proto_topic(proto), "topic"));
        if id != id::ACK {
            check!(equals(dafka_proto_address(proto), &ADDRESS.to_string_lossy()));
        }
        if ![id::GET_HEADS, id::CONSUMER_HELLO, id::STORE_HELLO].contains(&id) {
            check!(equals(dafka_proto_subject(proto), "subject"));
            check!(dafka_proto_sequence(proto) == u64::MAX - 1);
        }
        if id == id::FETCH {
            check!(dafka_proto_count(proto) == u32::MAX - 1);
        }
        if id == id::CONSUMER_HELLO {
            let subjects = dafka_proto_subjects(proto);
            check!(!subjects.is_null());
            check!(equals(sys::zlist_first(subjects).cast(), "first"));
            check!(equals(sys::zlist_next(subjects).cast(), "second"));
            check!(sys::zlist_next(subjects).is_null());
        }
        if [id::RECORD, id::DIRECT_RECORD].contains(&id) {
            let content = dafka_proto_content(proto);
            let (data, size) = (zmq_sys::zmq_msg_data(content), zmq_sys::zmq_msg_size(content));
            check!(holds(data.cast(), size, CONTENT));
        }
    }
}

/// A malformed message is dropped with all its frames. The object and the next message are not affected.
///
/// # Safety
/// `proto` is live.
unsafe fn malformed(proto: *mut dafka_proto_t, dealer: &Zsock, router: &Zsock) {
    // SAFETY: the caller's promise.
    unsafe {
        let ack = b"Kpartition\0\x01\x05topic\0\0\0\0\0\0\0\x07";
        for frames in [
            &[&b""[..]][..],
            &[b"K"],
            &[b"?partition\0\x01"],
            &[b"Kpartition\0\x02\x05topic\0\0\0\0\0\0\0\x07"],
            &[&ack[..ack.len() - 1]],
            &[b"Wreader\0\x01\x01A\xff\xff\xff\xff"],
            &[b"Mtopic\0\x01\x01A\x05topic\0\0\0\0\0\0\0\x07"],
            &[ack, b"one frame too many", b"and another"],
            // RECORDS: the class exposes only the messages of 0.1.0.
            &[b"Ctopic\0\x01\x01A\x05topic\0\0\0\0\0\0\0\x07", b"batch"],
        ] {
            check!(dealer.socket().send_frames(frames).is_ok());
            quietly(|| check!(dafka_proto_recv(proto, router.as_c()) == -2));
        }
        check!(dealer.socket().send_frames(&[ack]).is_ok());
        check!(dafka_proto_recv(proto, router.as_c()) == 0);
        check!(equals(dafka_proto_topic(proto), "partition"));
        check!(dafka_proto_sequence(proto) == 7);
    }
}

/// Content, subjects and routing id change owners. Strings are cut after 255 bytes.
///
/// # Safety
/// `proto` is live.
unsafe fn moves(proto: *mut dafka_proto_t) {
    // SAFETY: the caller's promise; the test owns what was moved out.
    unsafe {
        let mut message = filled(id::CONSUMER_HELLO);
        let mut content = Frame::copy(b"was here before");
        dafka_proto_get_content(message, content.as_raw());
        check!(content.as_ref() == CONTENT);
        check!(zmq_sys::zmq_msg_size(dafka_proto_content(message)) == 0);
        let mut subjects = dafka_proto_get_subjects(message);
        check!(!subjects.is_null() && dafka_proto_subjects(message).is_null());
        sys::zlist_destroy(&mut subjects);

        let routing_id = zframe(b"somebody");
        dafka_proto_set_routing_id(message, routing_id);
        check!(take_zframe(routing_id, b"somebody"));
        check!(sys::zframe_size(dafka_proto_routing_id(message)) == 8);

        let long = std::ffi::CString::new([b'x'; 300]).unwrap_or_default();
        dafka_proto_set_subject(message, long.as_ptr());
        check!(equals(dafka_proto_subject(message), &"x".repeat(255)));
        dafka_proto_destroy(&mut message);
        quietly(|| check!(equals(dafka_proto_command(null_mut()), "?")));
        check!(dafka_proto_id(proto) as u8 == id::ACK);
    }
}

/// An XPUB receives subscriptions. A subscription matches a prefix.
fn subscriptions() {
    let endpoint = format!("inproc://dafka-selftest-proto-{}", unique());
    let publisher = Zsock::bound(Kind::XPUB, &endpoint);
    let subscriber = Zsock::connected(Kind::SUB, &endpoint);
    let mut proto = dafka_proto_new();
    let mut head = null_mut();
    // SAFETY: messages and sockets are live, and owned by the test.
    unsafe {
        dafka_proto_subscribe(subscriber.as_c(), id::HEAD as c_char, c"top".as_ptr());
        check!(dafka_proto_recv(proto, publisher.as_c()) == 0);
        check!(dafka_proto_is_subscribe(proto) && dafka_proto_id(proto) as u8 == id::HEAD);
        check!(equals(dafka_proto_topic(proto), "top"));

        for id in [id::ACK, id::HEAD] {
            dafka_proto_destroy(&mut head);
            head = filled(id);
            check!(dafka_proto_send(head, publisher.as_c()) == 0);
        }
        check!(dafka_proto_recv(proto, subscriber.as_c()) == 0);
        check_fields(proto, id::HEAD);

        dafka_proto_unsubscribe(subscriber.as_c(), id::HEAD as c_char, c"top".as_ptr());
        check!(dafka_proto_recv(proto, publisher.as_c()) == 0);
        check!(!dafka_proto_is_subscribe(proto) && equals(dafka_proto_topic(proto), "top"));
        dafka_proto_destroy(&mut head);
        dafka_proto_destroy(&mut proto);
    }
}
