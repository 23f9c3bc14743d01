//! The store: two nodes over one log. The writer takes records in and acknowledges them, the reader answers
//! from what is durable.

mod committer;
pub mod intake;
pub mod reader;
mod writer;

use super::{Error, Handle, Result, new_address, spawn};
use crate::net::{Frame, Pipe, TERM, poll};
use crate::settings::Settings;
use crate::storage::{Log, Options};
use std::path::Path;
use std::sync::Arc;
use zmq::POLLIN;

/// Runs a store until `$TERM`; what it has taken in by then is written.
///
/// # Errors
/// When the database cannot be used, or sockets or threads cannot be had.
pub fn run(pipe: &Pipe, settings: &Settings) -> Result {
    let options = Options { sync: settings.store.sync, ..Options::default() };
    let log = Arc::new(Log::open(Path::new(&settings.store.db), options)?);
    let store = log.identity(new_address().as_bytes())?;
    let (writer_address, reader_address) = (new_address(), new_address());
    if settings.store.verbose {
        log::debug!("Store: {}, writer {writer_address}, reader {reader_address}", settings.store.db);
    }

    // Both wait for a tower at the same time.
    let reader = {
        let (log, settings, store) = (log.clone(), settings.clone(), store.clone());
        let (own, other) = (reader_address.clone(), writer_address.clone());
        spawn("dafka-reader", move |pipe| reader::run(pipe, &own, &other, &store, &log, &settings))?
    };
    let writer = {
        let settings = settings.clone();
        spawn("dafka-writer", move |pipe| {
            writer::run(pipe, &writer_address, &reader_address, &store, &log, &settings)
        })?
    };
    // Dropping the handles ends both.
    if reader.wait_until_ready(pipe)? && writer.wait_until_ready(pipe)? {
        check(&writer, &reader)?;
    }
    pipe.signal()?;
    supervise(pipe, &writer, &reader)
}

/// Waits for `$TERM`, or for the end of one of the two nodes.
fn supervise(pipe: &Pipe, writer: &Handle, reader: &Handle) -> Result {
    let mut frame = Frame::new();
    loop {
        poll(&mut [pipe.item(POLLIN), writer.pipe().item(POLLIN), reader.pipe().item(POLLIN)], -1)?;
        while pipe.try_recv(&mut frame)? {
            if frame.as_ref() == TERM {
                return Ok(());
            }
            log::error!("Store: unknown command: {}", frame.as_ref().escape_ascii());
            pipe.skip_rest(&frame);
        }
        check(writer, reader)?;
    }
}

/// One half without the other is no store: it ends, visibly, rather than acknowledge what nobody can read.
fn check(writer: &Handle, reader: &Handle) -> Result {
    for (handle, name) in [(writer, "store's writer"), (reader, "store's reader")] {
        if handle.pipe().events().contains(POLLIN) {
            return Err(Error::Ended(name));
        }
    }
    Ok(())
}
