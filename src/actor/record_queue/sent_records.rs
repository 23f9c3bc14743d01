//! The records that were sent as frames and are still in the record pipe.
//!
//! A frame contains only the content of a record. When this library reads the frame at the other end, it also needs the
//! record's offset and attributes. A frame of [`SentRecords`] refers to the record's own memory, and libzmq passes a
//! frame to the other end of the pipe without a copy. So the content's address in memory identifies the record. A
//! program that reads the pipe itself gets ordinary frames.

use super::Delivered;
use crate::actor::{Run, Single};
use crate::net::Frame;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

/// The records. The key is the address of the record's content in memory.
#[derive(Clone, Default)]
pub(super) struct SentRecords(Arc<Mutex<HashMap<usize, Weak<SentRecord>>>>);

/// A record whose memory a frame refers to. The record is dropped when libzmq frees the frame's content.
struct SentRecord {
    offset: Option<u64>,
    run: Run,
    /// If the content is empty, the address of this field identifies the record, because the empty contents of two
    /// records may have the same address.
    no_content: u8,
    sent: SentRecords,
}

impl SentRecords {
    fn lock(&self) -> MutexGuard<'_, HashMap<usize, Weak<SentRecord>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes a frame with the content of a record.
    pub(super) fn frame(&self, record: Delivered) -> Frame {
        let Delivered { offset, run } = record;
        let record = Arc::new(SentRecord { offset, run, no_content: 0, sent: self.clone() });
        self.lock().insert(record.address(), Arc::downgrade(&record));
        Frame::of(record, SentRecord::content)
    }

    /// Returns the record to which a frame belongs. For a frame that was not made by [`SentRecords::frame`], the record
    /// has no offset and no attributes.
    pub(super) fn record_of(&self, frame: Frame) -> Delivered {
        // The lock is released before the record may be dropped, because dropping it takes the lock.
        let found = self.lock().get(&frame.address()).cloned();
        let sent = found.and_then(|record| record.upgrade());
        let run = match sent.as_deref() {
            Some(SentRecord { run: Run::Batch(part), .. }) => Run::Batch(part.clone()),
            Some(SentRecord { run: Run::Record(single), .. }) => {
                Run::Record(Single { content: frame, ..*single })
            }
            _ => frame.into(),
        };
        Delivered { offset: sent.and_then(|record| record.offset), run }
    }
}

impl SentRecord {
    fn content(&self) -> &[u8] {
        match self.run.content() {
            [] => &std::slice::from_ref(&self.no_content)[..0],
            content => content,
        }
    }

    fn address(&self) -> usize {
        self.content().as_ptr().addr()
    }
}

impl Drop for SentRecord {
    fn drop(&mut self) {
        self.sent.lock().remove(&self.address());
    }
}
