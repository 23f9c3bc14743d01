//! Starts an actor from Rust, and catches its panics.

use super::{Error, Result};
use crate::czmq::log::error_at_edge;
use crate::czmq::{exit, fork::generation};
use crate::net::{Frame, Pipe, TERM, pipe, poll};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread::JoinHandle;
use zmq::POLLIN;

/// A running actor. Dropping the handle ends the actor and waits for its end.
pub struct Handle {
    pipe: Pipe,
    /// Identifies the process in which the actor's thread runs.
    generation: u32,
    /// `None` once the thread was joined. The thread is joined before the pipe is closed, because `drop` runs before
    /// the fields are dropped.
    thread: Option<JoinHandle<()>>,
}

impl Handle {
    /// The owner's end of the actor's pipe.
    pub fn pipe(&self) -> &Pipe {
        &self.pipe
    }

    /// Sends a command of one frame to the actor. Does nothing if the actor has ended.
    pub fn send(&self, command: &[u8]) {
        self.send_frames(&[command]);
    }

    /// Sends a command of several frames to the actor. Does nothing if the actor has ended. This function does not wait
    /// for room, because the pipe has no limit. A send fails only when the other end is closed, and a wait would then
    /// never end.
    pub fn send_frames(&self, frames: &[&[u8]]) {
        for (i, frame) in frames.iter().enumerate() {
            if !self.pipe.try_send(&mut Frame::copy(frame), i + 1 < frames.len()).unwrap_or(false) {
                return;
            }
        }
    }

    /// Waits for the actor's ready signal. Returns false when `interrupt` becomes readable first.
    ///
    /// # Errors
    /// When the actor cannot start. The log contains the reason.
    pub fn wait_until_ready(&self, interrupt: &Pipe) -> Result<bool> {
        while !self.pipe.events().contains(POLLIN) {
            if interrupt.events().contains(POLLIN) {
                return Ok(false);
            }
            poll(&mut [self.pipe.item(POLLIN), interrupt.item(POLLIN)], -1)?;
        }
        if self.pipe.wait_for_signal()? { Ok(true) } else { Err(Error::CannotStart) }
    }

    /// True once the actor has ended by itself, or could not start. Call this only for an actor that sends nothing but
    /// signals on its pipe.
    pub fn has_ended(&self) -> bool {
        self.pipe.events().contains(POLLIN)
    }

    /// True once the actor's thread has ended. Then dropping the handle does not wait.
    pub fn is_finished(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Waits for the actor's last signal. Returns false when the actor has failed; the log contains the reason. Call
    /// this only for an actor that is ready and sends nothing but signals on its pipe.
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
            // A forked child has no threads of its parent, so a join would never return.
            std::mem::forget(self.thread.take());
            return;
        }
        self.send(TERM);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Runs an actor's function in a thread. The first message of the actor on the pipe is a signal that the actor is
/// ready, or cannot start. The last message is a signal that the actor has ended normally, or has failed.
///
/// # Errors
/// When no more sockets or threads are available.
pub fn spawn(name: &str, run: impl FnOnce(&Pipe) -> Result + Send + 'static) -> Result<Handle> {
    let (ours, theirs) = pipe()?;
    let thread_name = name.to_owned();
    // Attach before the thread starts, because the owner may send at once.
    let attached = theirs.attach();
    let thread = std::thread::Builder::new()
        .name(thread_name.clone())
        .spawn(move || {
            let _attached = attached;
            exit::help();
            // The actors of CZMQ send a last signal, too. Its status is always 0.
            let _ = if guard(&thread_name, &theirs, run) { theirs.signal() } else { theirs.signal_failure() };
        })
        .map_err(Error::Thread)?;
    Ok(Handle { pipe: ours, generation: generation(), thread: Some(thread) })
}

/// Runs an actor's function, logs its error, and catches its panic. If the actor fails before it is ready, `guard`
/// sends a failure signal, because the owner waits for a signal. Returns false when the actor failed.
pub fn guard(name: &str, pipe: &Pipe, run: impl FnOnce(&Pipe) -> Result) -> bool {
    let result = {
        // `_attached` is dropped after `run` has returned. From then on, the owner neither sends to this actor nor
        // waits for it.
        let _attached = pipe.attach();
        catch_unwind(AssertUnwindSafe(|| run(pipe)))
    };
    // If the program has shut CZMQ down without ending its actors, errors are expected.
    if pipe.was_closed_by_czmq() {
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
    // An owner that has sent something does not wait for the signal, see `Pipe::signal_ready`.
    if !pipe.has_signalled() && !pipe.events().contains(POLLIN) {
        let _ = pipe.signal_failure();
    }
    false
}

/// The message of a panic.
pub(crate) fn panic_text(panic: &(dyn std::any::Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("panic")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether the first and the last signal report success.
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
        assert!(handle.wait_until_ready(&pipe().unwrap().0).is_err(), "it has signalled a failure");
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
