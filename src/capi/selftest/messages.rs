//! Classes `dafka_producer_msg` and `dafka_consumer_msg`.

use super::support::{Zsock, check, equals, holds, quietly, take_text, take_zframe, unique, zframe};
use crate::capi::{consumer_msg::*, producer_msg::*};
use crate::net::Kind;
use std::ptr::{null, null_mut};

/// All functions that set and read a content.
pub(in crate::capi) fn producer_msg(_verbose: bool) {
    let mut msg = dafka_producer_msg_new();
    check!(!msg.is_null());
    // SAFETY: the message is live until it is destroyed; frames and buffers are the test's own.
    unsafe {
        let holds = |expected: &[u8]| {
            holds(dafka_producer_msg_content(msg), dafka_producer_msg_content_size(msg), expected)
        };
        let is_empty = || {
            dafka_producer_msg_content(msg).is_null()
                && dafka_producer_msg_content_size(msg) == 0
                && dafka_producer_msg_strdup(msg).is_null()
                && dafka_producer_msg_get_content(msg).is_null()
        };
        check!(is_empty());
        check!(dafka_producer_msg_set_content_str(msg, c"hello".as_ptr()) == 0);
        check!(holds(b"hello"));
        check!(dafka_producer_msg_streq(msg, c"hello".as_ptr()));
        check!(!dafka_producer_msg_streq(msg, c"hell".as_ptr()));
        check!(take_text(dafka_producer_msg_strdup(msg)) == "hello");

        let bytes = b"with\0NUL";
        check!(dafka_producer_msg_set_content_buffer(msg, bytes.as_ptr(), bytes.len()) == 0);
        check!(holds(bytes) && !dafka_producer_msg_streq(msg, c"with".as_ptr()));

        let mut frame = zframe(b"a frame");
        dafka_producer_msg_set_content(msg, &mut frame);
        check!(frame.is_null() && holds(b"a frame"));
        check!(take_zframe(dafka_producer_msg_get_content(msg), b"a frame"));
        check!(is_empty());

        check!(dafka_producer_msg_init_content(msg, 5) == 0);
        dafka_producer_msg_content(msg).cast_mut().write_bytes(b'x', 5);
        check!(holds(b"xxxxx"));
        quietly(|| check!(dafka_producer_msg_init_content(msg, usize::MAX / 2) == -1));
        check!(holds(b"xxxxx"));

        check!(dafka_producer_msg_set_key(msg, bytes.as_ptr(), bytes.len()) == 0);
        check!(dafka_producer_msg_set_header(msg, c"name".as_ptr(), bytes.as_ptr(), bytes.len()) == 0);
        dafka_producer_msg_set_timestamp(msg, 0);
        let long = [0; 65_536];
        quietly(|| {
            check!(dafka_producer_msg_set_key(msg, long.as_ptr(), long.len()) == -1);
            check!(dafka_producer_msg_set_header(msg, c"name".as_ptr(), long.as_ptr(), long.len()) == -1);
        });
        check!(holds(b"xxxxx"));

        // An empty content is still a content.
        check!(dafka_producer_msg_set_content_str(msg, c"".as_ptr()) == 0);
        check!(dafka_producer_msg_streq(msg, c"".as_ptr()));
        quietly(|| {
            check!(dafka_producer_msg_send(msg, null_mut()) == -1);
            check!(dafka_producer_msg_streq(msg, c"".as_ptr()));
            check!(dafka_producer_msg_set_content_str(msg, null()) == -1);
            check!(dafka_producer_msg_set_content_buffer(null_mut(), bytes.as_ptr(), 1) == -1);
        });

        dafka_producer_msg_destroy(&mut msg);
        check!(msg.is_null());
        dafka_producer_msg_destroy(&mut msg);
    }
}

/// Records from a socket, all functions that read them, and messages that are not records.
pub(in crate::capi) fn consumer_msg(_verbose: bool) {
    let endpoint = format!("inproc://dafka-selftest-records-{}", unique());
    let ours = Zsock::bound(Kind::PAIR, &endpoint);
    let theirs = Zsock::connected(Kind::PAIR, &endpoint);
    let mut msg = dafka_consumer_msg_new();
    check!(!msg.is_null());
    // SAFETY: message and socket are live until they are destroyed.
    unsafe {
        check!(equals(dafka_consumer_msg_subject(msg), "") && dafka_consumer_msg_content(msg).is_null());
        check!(ours.socket().send_frames(&[b"hello", b"ADDRESS", b"world"]).is_ok());
        check!(dafka_consumer_msg_recv_from_socket(msg, theirs.as_c()) == 0);
        check!(equals(dafka_consumer_msg_subject(msg), "hello"));
        check!(equals(dafka_consumer_msg_address(msg), "ADDRESS"));
        check!(holds(dafka_consumer_msg_content(msg), dafka_consumer_msg_content_size(msg), b"world"));
        check!(dafka_consumer_msg_streq(msg, c"world".as_ptr()));
        check!(!dafka_consumer_msg_streq(msg, c"worlds".as_ptr()));
        check!(take_text(dafka_consumer_msg_strdup(msg)) == "world");
        check!(dafka_consumer_msg_sequence(msg) == u64::MAX && dafka_consumer_msg_timestamp(msg) == -1);
        check!(dafka_consumer_msg_key(msg).is_null() && dafka_consumer_msg_key_size(msg) == 0);
        check!(dafka_consumer_msg_header(msg, c"name".as_ptr(), null_mut()).is_null());
        check!(dafka_consumer_msg_first_header(msg, null_mut()).is_null());
        check!(dafka_consumer_msg_next_header(msg, null_mut()).is_null());
        check!(equals(dafka_consumer_msg_header_name(msg), ""));
        check!(take_zframe(dafka_consumer_msg_get_content(msg), b"world"));
        check!(dafka_consumer_msg_content(msg).is_null());
        check!(dafka_consumer_msg_content_size(msg) == 0);

        for frames in [&[&b"one"[..]][..], &[b"one", b"two"], &[b"one", b"two", b"three", b"four"]] {
            check!(ours.socket().send_frames(frames).is_ok());
            quietly(|| check!(dafka_consumer_msg_recv_from_socket(msg, theirs.as_c()) == -1));
        }
        check!(ours.socket().send_frames(&[b"hello", b"ADDRESS", b""]).is_ok());
        check!(dafka_consumer_msg_recv_from_socket(msg, theirs.as_c()) == 0);
        check!(dafka_consumer_msg_streq(msg, c"".as_ptr()));
        quietly(|| {
            check!(dafka_consumer_msg_recv(msg, null_mut()) == -1);
            check!(dafka_consumer_msg_recv_from_socket(msg, null_mut()) == -1);
        });

        dafka_consumer_msg_destroy(&mut msg);
        check!(msg.is_null());
        dafka_consumer_msg_destroy(&mut msg);
    }
}
