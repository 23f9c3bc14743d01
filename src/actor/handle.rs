//! Starting an actor from Rust, and keeping its panics in.

use super::{Error, Result};
use crate::czmq::log::error_at_edge;
use crate::net::{Frame, Pipe, TERM, pipe, poll};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread::JoinHandle;
use zmq::POLLIN;

/// A running actor. Dropping it ends the actor and waits for that.
pub struct Handle {
    pipe: Pipe,
    /// Taken when the thread is joined. Joined before the pipe is closed: fields are dropped after `drop`.
    thread: Option<JoinHandle<()>>,
}

impl Handle {
    /// The owner's end of the actor's pipe.
    pub fn pipe(&self) -> &Pipe {
        &self.pipe
    }

    /// Sends the actor a word, if it is still there.
    pub fn say(&self, word: &[u8]) {
        let _ = self.pipe.try_send(&mut Frame::copy(word), false);
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
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.say(TERM);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Runs an actor's function in a thread of its own. Its first word on the pipe is a signal: it is ready, or cannot
/// start.
///
/// # Errors
/// When there are no more sockets or threads.
pub fn spawn(name: &str, run: impl FnOnce(&Pipe) -> Result + Send + 'static) -> Result<Handle> {
    let (ours, theirs) = pipe()?;
    let thread_name = name.to_owned();
    let thread = std::thread::Builder::new()
        .name(thread_name.clone())
        .spawn(move || {
            guard(&thread_name, &theirs, run);
            // Its last word, as CZMQ's actors have it.
            let _ = theirs.signal();
        })
        .map_err(Error::Thread)?;
    Ok(Handle { pipe: ours, thread: Some(thread) })
}

/// Runs an actor's function, logs why it failed, and lets no panic out. An actor that fails before it is ready
/// signals all the same: whoever started it waits for that.
pub fn guard(name: &str, pipe: &Pipe, run: impl FnOnce(&Pipe) -> Result) {
    let result = {
        // Until it returns: nobody must hand anything to an actor that has gone, or wait for it.
        let _hearing = pipe.hear();
        catch_unwind(AssertUnwindSafe(|| run(pipe)))
    };
    match result {
        Ok(Ok(())) => return,
        Ok(Err(error)) => error_at_edge(format_args!("{name}: {error}")),
        Err(panic) => error_at_edge(format_args!("{name}: internal error: {}", panic_text(&*panic))),
    }
    if !pipe.has_signalled() {
        let _ = pipe.signal_failure();
    }
}

/// What a panic says.
pub(crate) fn panic_text(panic: &(dyn std::any::Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("panic")
}
