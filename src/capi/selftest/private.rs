//! Checks of the library's internals, under the names of the C library's private classes.

use super::support::check;
use super::{run, tower};
use crate::capi::boundary::{bytes, entry};
use crate::protocol::consumer::unacknowledged::Unacknowledged;
use crate::protocol::ingest::Index;
use crate::wire::Message;
use std::ffi::c_char;
use std::sync::Arc;

/// The name of a test without its `_test`, and the function of the test.
type Test = (&'static str, fn(verbose: bool));

const TESTS: [Test; 3] =
    [("dafka_unacked_list", unacknowledged), ("dafka_util", messages), ("dafka_test_peer", tower)];

/// This function belongs to no class, so `cbindgen.toml` contains its comment for `dafka.h`.
///
/// # Safety
/// `subtest` is NULL or a string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dafka_private_selftest(verbose: bool, subtest: *const c_char) {
    // SAFETY: the caller's promise.
    entry("dafka_private_selftest", (), || unsafe {
        let subtest = bytes(subtest, "subtest")?;
        for (name, test) in TESTS {
            if subtest == b"$ALL" || subtest.strip_suffix(b"_test") == Some(name.as_bytes()) {
                run(name, verbose, test);
            }
        }
        Ok(())
    })
}

/// Records are released in order, each of them once, when a store acknowledges them.
fn unacknowledged(_verbose: bool) {
    let content = |octet: u8| -> Arc<[u8]> { [octet].into() };
    let mut records = Unacknowledged::new(1_000_000);
    let index = Index(0);
    for offset in 0..3_u8 {
        check!(records.take(index, offset.into(), content(offset), 0).is_none());
    }
    let mut released = Vec::new();
    records.acknowledged(index, 1, 0, |offset, content| released.push((offset, content)));
    check!(released == [(0, content(0)), (1, content(1))]);
    check!(records.count(index) == 1);
    // A store has acknowledged this record already.
    check!(records.take(index, 1, content(1), 0) == Some(content(1)));
    records.acknowledged(index, 2, 0, |offset, content| released.push((offset, content)));
    check!(released.len() == 3 && records.count(index) == 0);
}

/// A message decodes to what was encoded. A truncated message does not decode.
fn messages(_verbose: bool) {
    let message = Message::Fetch {
        topic: b"PARTITION",
        address: b"REQUESTER",
        subject: b"topic",
        sequence: 0x0123_4567_89AB_CDEF,
        count: 0x0123_4567,
        store: b"",
        takes_batches: false,
    };
    let mut frame = Vec::new();
    check!(message.encode(&mut frame).is_ok());
    check!(Message::decode(&frame) == Ok(message));
    // The last octet is the length of the store's name, which is optional.
    for len_bytes in 0..frame.len() - 1 {
        check!(Message::decode(&frame[..len_bytes]).is_err());
    }
}
