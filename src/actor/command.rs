//! Sends commands of several frames to an actor.

use crate::net::{Frame, Pipe};

/// A command could not be sent, because the actor has ended.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("the actor has ended")]
pub struct Ended;

/// Sends a command when the actor is ready. `rest` sends the frames after the first one; it must not wait, see
/// [`send_last`].
///
/// Afterwards, this function waits until one more message fits into the pipe. So there is always room for the `$TERM`
/// of zactor_destroy, which does not wait.
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

/// Sends the last frame of a message whose earlier frames were accepted. Returns false when the actor has ended
/// meanwhile. libzmq counts whole messages, so the last frame has room if the first one had. If the last frame is not
/// accepted, the pipe is closed, and a wait for room would never end.
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
