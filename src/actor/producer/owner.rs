//! What the owner of a producer calls, in the owner's thread. `pipe` is the owner's end of the actor's pipe.

use super::{GET_ADDRESS, PRODUCER};
use crate::actor::command::{Ended, send_command, send_last, send_reserved};
use crate::net::{Frame, Pipe, is_signal};
use crate::protocol::producer::cost_bytes;

/// Why a record is not published.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a record of {len_bytes} octets is not published: it is longer than producer/max_record_bytes = {limit_bytes}"
)]
pub struct TooLong {
    /// The record's length.
    pub len_bytes: usize,
    /// The longest that is published.
    pub limit_bytes: usize,
}

/// Checks a record's length before it is handed to the producer at the other end of `pipe`.
///
/// # Errors
/// When it is longer than that producer publishes.
pub fn check_len(pipe: &Pipe, len_bytes: usize) -> Result<(), TooLong> {
    match pipe.record_limit() {
        Some(limit_bytes) if len_bytes > limit_bytes => Err(TooLong { len_bytes, limit_bytes }),
        _ => Ok(()),
    }
}

/// Asks the producer at the other end of `pipe` for its partition's name. The pointer is to a NUL-terminated
/// string that lives as long as the actor.
///
/// # Errors
/// When the producer has ended.
pub fn address(pipe: &Pipe) -> Result<*const u8, Ended> {
    if !pipe.settle() {
        return Err(Ended);
    }
    let mut word = Frame::copy(GET_ADDRESS);
    while !pipe.try_send(&mut word, false).map_err(|_| Ended)? {
        if !pipe.wait_for_room() {
            return Err(Ended);
        }
    }
    let mut answer = Frame::new();
    while pipe.wait_for_word() {
        if !pipe.try_recv(&mut answer).map_err(|_| Ended)? {
            continue;
        }
        let octets: Result<[u8; size_of::<usize>()], _> = answer.as_ref().try_into();
        match octets {
            Ok(octets) if !is_signal(&answer) => return Ok(usize::from_ne_bytes(octets) as *const u8),
            // Its ready signal, when it was not waited for; its last word comes after it has ended.
            Ok(_) if pipe.is_heard() => {}
            _ => break,
        }
    }
    // It has ended, and its last word may have been read here. zactor_destroy must not wait for it: it does not when
    // it finds the pipe closed, which happens right after that word.
    pipe.wait_until_closed();
    Err(Ended)
}

/// Hands a record to the producer at the other end of `pipe`, and waits until one more message fits in.
///
/// # Errors
/// When the producer has ended.
pub fn send(pipe: &Pipe, content: &mut Frame) -> Result<(), Ended> {
    send_command(pipe, PRODUCER.command, content.as_ref().len(), |pipe| send_last(pipe, content))
}

/// As [`send`], for as long as `is_patient` says: false when it no longer did before the record was handed over.
///
/// # Errors
/// When the producer has ended.
pub fn send_while(
    pipe: &Pipe,
    content: &mut Frame,
    is_patient: &mut dyn FnMut() -> bool,
) -> Result<bool, Ended> {
    if !pipe.reserve(cost_bytes(content.as_ref().len()), is_patient) {
        return if pipe.is_heard() { Ok(false) } else { Err(Ended) };
    }
    send_reserved(pipe, PRODUCER.command, |pipe| send_last(pipe, content)).map(|()| true)
}
