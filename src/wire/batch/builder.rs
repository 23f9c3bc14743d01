//! Builds batches.

use super::header::{HEADER_LEN, Header};
use super::{Attributes, Batch, END_LEN, FULL_LEN_BYTES, MAX_CONTENT_LEN_BYTES, PushError, Record, record};
use std::mem;

/// Appends records to a batch.
///
/// The first record decides whether the records of the batch have attribute blocks. They have attribute blocks if the
/// first record was added with [`push_with`](Self::push_with), and none if it was added with [`push`](Self::push).
///
/// An application appends records under a lock. The producer's actor takes the builder out, and finishes the batch
/// without the lock, because the checksum takes time.
#[derive(Debug)]
pub struct BatchBuilder {
    /// Room for the header, and the records.
    octets: Vec<u8>,
    /// The table of ends, encoded.
    ends: Vec<u8>,
    timestamp_ms: Option<i64>,
    has_attributes: bool,
}

impl BatchBuilder {
    /// An empty batch in this buffer. The content of the buffer is removed, but its memory is used.
    pub fn new(buffer: Vec<u8>) -> Self {
        Self { octets: prepare(buffer), ends: Vec::new(), timestamp_ms: None, has_attributes: false }
    }

    /// Adds a record without attributes.
    ///
    /// # Errors
    ///
    /// [`PushError::Full`] and [`PushError::ContentTooLong`].
    pub fn push(&mut self, content: &[u8]) -> Result<(), PushError> {
        // The attribute block of a record without attributes is one octet, a 0.
        let block_len = usize::from(self.has_attributes);
        self.make_room(block_len, content)?;
        if self.has_attributes {
            self.octets.push(0);
        }
        self.append(content);
        Ok(())
    }

    /// Adds a record with attributes.
    ///
    /// # Errors
    ///
    /// [`PushError::NoAttributes`] when the first record was added without attributes, and this one has some. The other
    /// errors are those of [`push`](Self::push), and [`PushError::KeyTooLong`].
    pub fn push_with(&mut self, attributes: &Attributes, content: &[u8]) -> Result<(), PushError> {
        if !self.is_empty() && !self.has_attributes {
            return if attributes.is_empty() { self.push(content) } else { Err(PushError::NoAttributes) };
        }
        self.make_room(attributes.block_len()?, content)?;
        attributes.write(&mut self.octets)?;
        self.has_attributes = true;
        self.append(content);
        Ok(())
    }

    /// Sets the timestamp of all records of this batch that have none of their own, in milliseconds since the Unix
    /// epoch. The last call before [`finish`](Self::finish) has effect.
    pub fn set_timestamp_ms(&mut self, timestamp_ms: Option<i64>) {
        self.timestamp_ms = timestamp_ms;
    }

    /// The record with this index, from 0; `None` after the last one.
    pub fn record(&self, index: usize) -> Option<Record<'_>> {
        record(self.octets.get(HEADER_LEN..)?, &self.ends, index, self.has_attributes, self.timestamp_ms)
    }

    /// The number of records.
    pub fn count(&self) -> usize {
        self.ends.len() / END_LEN
    }

    /// Whether there are no records.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The length of the batch, if it is finished now.
    pub fn len_bytes(&self) -> usize {
        self.octets.len() + self.ends.len()
    }

    /// Finishes the batch, and begins another one in the buffer `next`. `None` when there are no records; then nothing
    /// changes, and `next` is dropped.
    pub fn finish(&mut self, next: Vec<u8>) -> Option<Batch<Vec<u8>>> {
        if self.is_empty() {
            return None;
        }
        let (count, table) = (self.count(), self.octets.len());
        let (timestamp_ms, has_attributes) = (self.timestamp_ms.take(), mem::take(&mut self.has_attributes));
        let area_len = (self.len_bytes() - HEADER_LEN) as u32;
        let mut octets = mem::replace(&mut self.octets, prepare(next));
        octets.extend_from_slice(&self.ends);
        self.ends.clear();
        let header =
            Header { compression: None, timestamp_ms, has_attributes, count: count as u32, area_len };
        header.write(&mut octets);
        Some(Batch { octets, count, table, timestamp_ms, has_attributes })
    }

    /// Checks that a record fits into the batch. Reserves the memory for a long record.
    fn make_room(&mut self, block_len: usize, content: &[u8]) -> Result<(), PushError> {
        if content.len() > MAX_CONTENT_LEN_BYTES {
            return Err(PushError::ContentTooLong);
        }
        let more = block_len + content.len() + END_LEN;
        if self.len_bytes() + more <= FULL_LEN_BYTES {
            return Ok(());
        }
        if !self.is_empty() {
            return Err(PushError::Full);
        }
        // Without this, the memory of a long record would double when the table of ends is appended.
        self.octets.reserve_exact(more);
        Ok(())
    }

    /// Appends the content of a record after its attribute block. All lengths were checked, so the end fits.
    fn append(&mut self, content: &[u8]) {
        self.octets.extend_from_slice(content);
        let end = (self.octets.len() - HEADER_LEN) as u32;
        self.ends.extend_from_slice(&end.to_be_bytes());
    }
}

/// Makes the buffer an empty batch, with room for the header.
fn prepare(mut buffer: Vec<u8>) -> Vec<u8> {
    buffer.clear();
    buffer.resize(HEADER_LEN, 0);
    buffer
}
