//! Functions for the owner of a producer, called in the owner's thread. `pipe` is the owner's end of the actor's pipe.

use super::{GET_ADDRESS, PRODUCER};
use crate::actor::command::{Ended, send_command, send_last, send_reserved};
use crate::net::{Frame, Pipe, is_signal};
use crate::protocol::producer::cost_bytes;

/// A record is not published, because it is too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a record of {len_bytes} bytes is not published: it is longer than producer/max_record_bytes = {limit_bytes}"
)]
pub struct TooLong {
    /// The record's length.
    pub len_bytes: usize,
    /// The length of the longest record that is published.
    pub limit_bytes: usize,
}

/// Checks a record's length before it is sent to the producer.
///
/// # Errors
/// When the record is longer than the producer publishes.
pub fn check_len(pipe: &Pipe, len_bytes: usize) -> Result<(), TooLong> {
    match pipe.max_record_len() {
        Some(limit_bytes) if len_bytes > limit_bytes => Err(TooLong { len_bytes, limit_bytes }),
        _ => Ok(()),
    }
}

/// Requests the partition's name from the producer. The result points to a NUL-terminated string that lives as long as
/// the actor.
///
/// # Errors
/// When the producer has ended.
pub fn address(pipe: &Pipe) -> Result<*const u8, Ended> {
    if !pipe.wait_until_ready() {
        return Err(Ended);
    }
    let mut request = Frame::copy(GET_ADDRESS);
    while !pipe.try_send(&mut request, false).map_err(|_| Ended)? {
        if !pipe.wait_for_room() {
            return Err(Ended);
        }
    }
    let mut answer = Frame::new();
    while pipe.wait_for_message() {
        if !pipe.try_recv(&mut answer).map_err(|_| Ended)? {
            continue;
        }
        let pointer: Result<[u8; size_of::<usize>()], _> = answer.as_ref().try_into();
        match pointer {
            Ok(pointer) if !is_signal(&answer) => return Ok(usize::from_ne_bytes(pointer) as *const u8),
            // This is the ready signal, for which the owner has not waited. The last signal comes only after the
            // actor's end.
            Ok(_) if pipe.has_actor() => {}
            _ => break,
        }
    }
    // The producer has ended, and its last signal may have been read here. zactor_destroy must not wait for that
    // signal. It does not wait if the pipe is closed, and the pipe is closed right after the signal.
    pipe.wait_until_closed();
    Err(Ended)
}

/// Sends a record to the producer, and waits until one more message fits into the pipe.
///
/// # Errors
/// When the producer has ended.
pub fn send(pipe: &Pipe, content: &mut Frame) -> Result<(), Ended> {
    send_command(pipe, PRODUCER.command, content.as_ref().len(), |pipe| send_last(pipe, content))
}

/// As [`send`], but stops waiting when `is_patient` returns false. Returns false when the record was not sent.
///
/// # Errors
/// When the producer has ended.
pub fn send_while(
    pipe: &Pipe,
    content: &mut Frame,
    is_patient: &mut dyn FnMut() -> bool,
) -> Result<bool, Ended> {
    if !pipe.reserve(cost_bytes(content.as_ref().len()), is_patient) {
        return if pipe.has_actor() { Ok(false) } else { Err(Ended) };
    }
    send_reserved(pipe, PRODUCER.command, |pipe| send_last(pipe, content)).map(|()| true)
}
