//! A consumer as the programs use it.

use super::{Result, Signals, wait_until_ready};
use crate::actor::{self, Handle, consumer};
use crate::net::{Pipe, pipe_with_limit};
use crate::settings::Settings;

/// A consumer, and the reading end of its record pipe.
pub struct Consumer {
    /// The actor.
    pub actor: Handle,
    /// One signal, then records: frames subject, address, content.
    pub source: Pipe,
}

/// Starts a consumer of one topic. `None` when a signal came before it was ready. Its pipe holds `limit` records.
///
/// # Errors
/// When it cannot start.
pub fn start_consumer(
    settings: Settings,
    topic: &[u8],
    limit: i32,
    signals: &Signals,
) -> Result<Option<Consumer>> {
    let (sink, source) = pipe_with_limit(limit)?;
    let actor = actor::spawn("dafka-consumer", move |pipe| {
        let result = consumer::run(pipe, &actor::new_address(), &settings, consumer::Sink::Socket(&sink));
        if !sink.has_signalled() {
            // The actor has failed before it sent the sink's signal. The reader would wait for this signal for ever.
            let _ = sink.try_signal();
        }
        result
    })?;
    if !wait_until_ready(&actor, signals)? {
        return Ok(None);
    }
    source.wait_for_signal()?;
    consumer::command(actor.pipe(), b"SUBSCRIBE", topic)?;
    Ok(Some(Consumer { actor, source }))
}
