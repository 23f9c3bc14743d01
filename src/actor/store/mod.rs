//! The store: two nodes that share one log. The writer stores records and acknowledges them. The reader responds to
//! requests, from records that are on disk.

mod committer;
mod compare;
mod disk_watch;
pub mod intake;
pub mod reader;
mod writer;

use self::disk_watch::DiskWatch;
use super::{Error, Handle, Result, new_address, spawn};
use crate::net::{Frame, Pipe, TERM, poll};
use crate::settings::Settings;
use crate::storage::{Log, Options};
use crate::text::printable;
use std::path::Path;
use std::sync::Arc;
use zmq::POLLIN;

/// Runs a store until `$TERM`. Before the end, the store writes the records that it has processed.
///
/// # Errors
/// When the database cannot be used, or no more sockets or threads are available.
pub fn run(pipe: &Pipe, settings: &Settings) -> Result {
    let (sync, file_mode) = (settings.store.sync, settings.store.file_mode);
    let options = Options { sync, file_mode, ..Options::default() };
    // The watch ends last, because closing the database may take long too.
    let watch = Arc::new(DiskWatch::start(&settings.store.db)?);
    let slot = watch.slot();
    let open = || Log::open(Path::new(&settings.store.db), options);
    let log = Arc::new(slot.during("opening the database", open)?);
    let store = slot.during("naming the database", || log.identity(new_address().as_bytes()))?;
    let (writer_address, reader_address) = (new_address(), new_address());
    if settings.store.verbose {
        let db = printable(settings.store.db.as_encoded_bytes());
        log::debug!("Store: {db}, writer {writer_address}, reader {reader_address}");
    }

    // Reader and writer wait for a tower at the same time.
    let reader = {
        let (log, slot, settings, store) = (log.clone(), watch.slot(), settings.clone(), store.clone());
        let (own, other) = (reader_address.clone(), writer_address.clone());
        spawn("dafka-reader", move |pipe| reader::run(pipe, &own, &other, &store, &log, slot, &settings))?
    };
    let writer = {
        let (log, watch, settings) = (log.clone(), watch.clone(), settings.clone());
        spawn("dafka-writer", move |pipe| {
            writer::run(pipe, &writer_address, &reader_address, &store, &log, &watch, &settings)
        })?
    };
    // If this function returns early, dropping the handles ends both nodes.
    if reader.wait_until_ready(pipe)? && writer.wait_until_ready(pipe)? {
        check(&writer, &reader, &watch)?;
    }
    pipe.signal_ready()?;
    supervise(pipe, &writer, &reader, &watch)?;
    drop((writer, reader));
    // With `store/sync` = `never`, closing the database writes the last records to disk.
    slot.during("closing the database", || drop(log));
    Ok(())
}

/// Waits for `$TERM` and ends both nodes. Fails when one of the nodes ends before `$TERM` arrives.
fn supervise(pipe: &Pipe, writer: &Handle, reader: &Handle, watch: &DiskWatch) -> Result {
    let mut frame = Frame::new();
    loop {
        poll(&mut [pipe.item(POLLIN), writer.pipe().item(POLLIN), reader.pipe().item(POLLIN)], -1)?;
        while pipe.try_recv(&mut frame)? {
            if frame.as_ref() == TERM {
                reader.send(TERM);
                writer.send(TERM);
                return if writer.has_succeeded()? { Ok(()) } else { Err(Error::Logged) };
            }
            log::error!("Store: unknown command: {}", frame.as_ref().escape_ascii());
            pipe.skip_rest(&frame);
        }
        check(writer, reader, watch)?;
    }
}

/// Fails when the writer or the reader has ended. A writer without a reader would acknowledge records that no node can
/// read, so the store must end.
fn check(writer: &Handle, reader: &Handle, watch: &DiskWatch) -> Result {
    for (handle, name) in [(writer, "store's writer"), (reader, "store's reader")] {
        if handle.pipe().events().contains(POLLIN) {
            return Err(if watch.has_failed() { Error::Logged } else { Error::Ended(name) });
        }
    }
    Ok(())
}
