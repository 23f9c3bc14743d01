//! Commands of several frames to an actor.

use crate::net::{Frame, Pipe};
use crate::protocol::producer::cost_bytes;

/// Why a command could not be handed to an actor.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("the actor has ended")]
pub struct Ended;

/// Sends a command that carries a record of `content_len_bytes`, with what `rest` sends as its remaining frames; waits
/// before that until the producer may keep so much, and after it until one more message fits in, so that
/// zactor_destroy's `$TERM`, which does not wait, always does. `rest` must not wait, see [`send_last`].
///
/// # Errors
/// When the actor has ended.
pub fn send_command(
    pipe: &Pipe,
    command: &[u8],
    content_len_bytes: usize,
    rest: impl FnOnce(&Pipe) -> bool,
) -> Result<(), Ended> {
    if pipe.reserve(cost_bytes(content_len_bytes), &mut || true) {
        send_reserved(pipe, command, rest)
    } else {
        Err(Ended)
    }
}

/// As [`send_command`], for a command that needs no room, or has it already.
pub(super) fn send_reserved(
    pipe: &Pipe,
    command: &[u8],
    rest: impl FnOnce(&Pipe) -> bool,
) -> Result<(), Ended> {
    let mut command = Frame::copy(command);
    while !pipe.try_send(&mut command, true).map_err(|_| Ended)? {
        if !pipe.wait_for_room() {
            return Err(Ended);
        }
    }
    if rest(pipe) && pipe.wait_for_room() { Ok(()) } else { Err(Ended) }
}

/// Sends the last frame of a message whose frames before it were taken; false when the actor has ended in between.
/// libzmq counts whole messages, so where the first frame had room the last one has: one that is not taken is one for a
/// pipe that was closed, and would be waited with for ever.
pub fn send_last(pipe: &Pipe, frame: &mut Frame) -> bool {
    pipe.try_send(frame, false).unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_actor_that_ends_in_the_middle_of_a_command_is_not_waited_for() {
        for limit in [0, 1] {
            let (ours, theirs) = crate::net::pipe_with_limit(limit).unwrap();
            let hearing = theirs.hear();
            theirs.signal().unwrap();
            let sent = send_command(&ours, b"P", 1, |pipe| {
                drop((hearing, theirs));
                pipe.wait_until_closed();
                send_last(pipe, &mut Frame::copy(b"x"))
            });
            assert_eq!(sent, Err(Ended), "{limit}");
        }
    }
}
