//! Sends commands of several frames to an actor.

use crate::net::{Frame, Pipe};

/// A command could not be sent, because the actor has ended.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("the actor has ended")]
pub struct Ended;

/// Waits until the actor is ready, and sends a command. `rest` sends the frames after the first one, and returns false
/// when the actor has ended. `rest` must not wait, see [`send_last`].
///
/// After the command, this function waits until one more message fits into the pipe. So the pipe always has room for
/// `$TERM`, which zactor_destroy sends without waiting.
///
/// # Errors
/// When the actor has ended.
pub fn send_command(pipe: &Pipe, command: &[u8], rest: impl FnOnce(&Pipe) -> bool) -> Result<(), Ended> {
    if !pipe.wait_until_ready() {
        return Err(Ended);
    }
    let mut command = Frame::copy(command);
    while !pipe.try_send(&mut command, true).map_err(|_| Ended)? {
        if !pipe.wait_for_room() {
            return Err(Ended);
        }
    }
    if rest(pipe) && pipe.wait_for_room() { Ok(()) } else { Err(Ended) }
}

/// Sends the last frame of a message whose earlier frames were accepted. Returns false when the actor has ended since
/// the earlier frames. The limit of the pipe counts whole messages, so the last frame has room if the first one had. If
/// the pipe does not accept the last frame, the actor has closed the pipe, and a wait for room would never end.
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
            let attached = theirs.attach();
            theirs.signal().unwrap();
            let sent = send_command(&ours, b"P", |pipe| {
                drop((attached, theirs));
                pipe.wait_until_closed();
                send_last(pipe, &mut Frame::copy(b"x"))
            });
            assert_eq!(sent, Err(Ended), "{limit}");
        }
    }
}
