//! Starts an actor from Rust, and contains its panics.

use super::{Error, Result};
use crate::czmq::log::error_at_edge;
use crate::czmq::{exit, fork::generation};
use crate::net::{Frame, Pipe, TERM, pipe, poll};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread::JoinHandle;
use zmq::POLLIN;

/// A running actor. Dropping it ends the actor and waits for that.
pub struct Handle {
    pipe: Pipe,
    /// The process that its thread runs in.
    generation: u32,
    /// Taken when the thread is joined. Joined before the pipe is closed: fields are dropped after `drop`.
    thread: Option<JoinHandle<()>>,
}

impl Handle {
    /// The owner's end of the actor's pipe.
    pub fn pipe(&self) -> &Pipe {
        &self.pipe
    }

    /// Sends the actor a word, if it is still there.
    pub fn send(&self, word: &[u8]) {
        self.send_frames(&[word]);
    }

    /// Sends the actor a message of several frames, if it is still there. Does not wait: the pipe has room without
    /// limit, so one that takes nothing is one whose other end was closed, and would be waited for for ever.
    pub fn send_frames(&self, frames: &[&[u8]]) {
        for (i, frame) in frames.iter().enumerate() {
            if !self.pipe.try_send(&mut Frame::copy(frame), i + 1 < frames.len()).unwrap_or(false) {
                return;
            }
        }
    }

    /// Waits for the actor's ready signal. False when `interrupt` has something to read before that.
    ///
    /// # Errors
    /// When the actor cannot start; the log says why.
    pub fn wait_until_ready(&self, interrupt: &Pipe) -> Result<bool> {
        while !self.pipe.events().contains(POLLIN) {
            if interrupt.events().contains(POLLIN) {
                return Ok(false);
            }
            poll(&mut [self.pipe.item(POLLIN), interrupt.item(POLLIN)], -1)?;
        }
        if self.pipe.wait_for_signal()? { Ok(true) } else { Err(Error::CannotStart) }
    }

    /// True once the actor has ended by itself, or could not start. For actors that say nothing on their pipe
    /// but their last word.
    pub fn has_ended(&self) -> bool {
        self.pipe.events().contains(POLLIN)
    }

    /// True once the actor's thread has ended: dropping the handle does not wait then.
    pub fn is_finished(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Waits for the actor's last word. False when it has failed; the log says why. For actors that say nothing else
    /// on their pipe, and have said that they are ready.
    ///
    /// # Errors
    /// ETERM when the context ends.
    pub fn has_succeeded(&self) -> zmq::Result<bool> {
        self.pipe.wait_for_signal()
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        if self.generation != generation() {
            // A child has none of its parent's threads: to join one would take for ever.
            std::mem::forget(self.thread.take());
            return;
        }
        self.send(TERM);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Runs an actor's function in a thread of its own. Its first word on the pipe is a signal: it is ready, or cannot
/// start. So is its last one: it has ended as it should, or failed.
///
/// # Errors
/// When there are no more sockets or threads.
pub fn spawn(name: &str, run: impl FnOnce(&Pipe) -> Result + Send + 'static) -> Result<Handle> {
    let (ours, theirs) = pipe()?;
    let thread_name = name.to_owned();
    // Before the thread begins: it is about to read the pipe.
    let hearing = theirs.hear();
    let thread = std::thread::Builder::new()
        .name(thread_name.clone())
        .spawn(move || {
            let _hearing = hearing;
            exit::help();
            // Its last word, as CZMQ's actors have it; with a status, which theirs have not.
            let _ = if guard(&thread_name, &theirs, run) { theirs.signal() } else { theirs.signal_failure() };
        })
        .map_err(Error::Thread)?;
    Ok(Handle { pipe: ours, generation: generation(), thread: Some(thread) })
}

/// Runs an actor's function, logs why it failed, and lets no panic out. An actor that fails before it is ready
/// signals all the same: whoever started it waits for that. False when it failed.
pub fn guard(name: &str, pipe: &Pipe, run: impl FnOnce(&Pipe) -> Result) -> bool {
    let result = {
        // Until it returns: nobody must hand anything to an actor that has gone, or wait for it.
        let _hearing = pipe.hear();
        catch_unwind(AssertUnwindSafe(|| run(pipe)))
    };
    // A program has shut CZMQ down without ending its actors. What fails then is nobody's concern.
    if pipe.is_closed_beneath() {
        return false;
    }
    match result {
        Ok(Ok(())) => return true,
        Ok(Err(Error::Logged)) => {}
        // At the end of the process, polls fail.
        Ok(Err(_)) if exit::is_ended_here() => {}
        Ok(Err(error)) => error_at_edge(format_args!("{name}: {error}")),
        Err(panic) => error_at_edge(format_args!("{name}: internal error: {}", panic_text(&*panic))),
    }
    // An owner that has sent something does not wait for it, see signal_ready.
    if !pipe.has_signalled() && !pipe.events().contains(POLLIN) {
        let _ = pipe.signal_failure();
    }
    false
}

/// What a panic says.
pub(crate) fn panic_text(panic: &(dyn std::any::Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("panic")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first word, then the last one.
    fn signals(run: impl FnOnce(&Pipe) -> Result + Send + 'static) -> (bool, bool) {
        let handle = spawn("test", run).unwrap();
        let is_ready = handle.wait_until_ready(&pipe().unwrap().0).is_ok();
        (is_ready, handle.has_succeeded().unwrap())
    }

    #[test]
    fn an_actor_that_has_ended_is_not_waited_for() {
        let handle = spawn("test", |_| Err(Error::CannotStart)).unwrap();
        while !handle.thread.as_ref().unwrap().is_finished() {
            std::thread::yield_now();
        }
        handle.pipe.wait_until_closed();
        handle.send_frames(&[b"START", b"ADDRESS", b"1"]);
        handle.send(b"STOP");
        assert!(handle.wait_until_ready(&pipe().unwrap().0).is_err(), "what it said before counts");
    }

    #[test]
    fn the_last_signal_shows_whether_an_actor_failed() {
        assert_eq!(signals(|pipe| Ok(pipe.signal()?)), (true, true));
        let fails = |pipe: &Pipe| {
            pipe.signal()?;
            Err(Error::Ended("part"))
        };
        assert_eq!(signals(fails), (true, false));
        let panics = |pipe: &Pipe| {
            pipe.signal()?;
            panic!("of a test")
        };
        assert_eq!(signals(panics), (true, false));
        assert_eq!(signals(|_| Err(Error::CannotStart)), (false, false));
    }
}
