//! The reorder buffer: records of one partition that arrived before an earlier one.

use std::collections::BTreeMap;

/// The memory of one early record besides its content: its handle and its entry in the buffer.
pub const EARLY_OVERHEAD_BYTES: usize = 128;

/// The early records of one partition.
#[derive(Debug)]
pub struct ReorderBuffer<P> {
    /// By offset.
    records: BTreeMap<u64, P>,
    len_bytes: usize,
}

impl<P> Default for ReorderBuffer<P> {
    fn default() -> Self {
        ReorderBuffer { records: BTreeMap::new(), len_bytes: 0 }
    }
}

impl<P: AsRef<[u8]>> ReorderBuffer<P> {
    /// True when there are no early records.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// The memory of the records.
    pub fn len_bytes(&self) -> usize {
        self.len_bytes
    }

    /// Whether the record `offset` is in the buffer.
    pub fn contains(&self, offset: u64) -> bool {
        self.records.contains_key(&offset)
    }

    /// The offset of the last record.
    pub fn last(&self) -> Option<u64> {
        self.records.last_key_value().map(|(&last, _)| last)
    }

    /// Inserts a record that is not in the buffer, if it fits into `room_bytes` more. If it does not fit, later
    /// records are dropped for it, because an earlier record is needed sooner. Returns false when the record was not
    /// inserted.
    pub fn insert(&mut self, offset: u64, content: P, mut room_bytes: usize) -> bool {
        let cost_bytes = cost_bytes(&content);
        while room_bytes < cost_bytes {
            match self.last() {
                Some(last) if last > offset => room_bytes += self.drop_last(),
                _ => return false,
            }
        }
        self.len_bytes += cost_bytes;
        self.records.insert(offset, content);
        true
    }

    /// Removes and returns the record `offset`.
    pub fn take(&mut self, offset: u64) -> Option<P> {
        if self.records.is_empty() {
            return None;
        }
        let content = self.records.remove(&offset)?;
        self.len_bytes -= cost_bytes(&content);
        Some(content)
    }

    /// Drops every record. Returns how many there were, and their memory.
    pub fn clear(&mut self) -> (usize, usize) {
        let dropped = (self.records.len(), self.len_bytes);
        *self = ReorderBuffer::default();
        dropped
    }

    /// Returns the end of the range that a FETCH should request; `end` is the end of the last gap. The range covers the
    /// first gap. It also covers a later gap if the buffered records before that gap have at most `known_len_bytes` in
    /// total and are before `limit`.
    pub fn end_of_gaps(&self, end: u64, known_len_bytes: u64, limit: u64) -> u64 {
        let Some((&first, _)) = self.records.first_key_value() else { return end };
        let mut known_len_bytes = known_len_bytes;
        // The last gap ends before `gap_end`. The buffered records after it end before `known_end`.
        let (mut gap_end, mut known_end) = (first, first);
        for (&offset, content) in &self.records {
            if offset > known_end {
                gap_end = offset;
            }
            let len_bytes = content.as_ref().len() as u64;
            if len_bytes > known_len_bytes || offset >= limit {
                return gap_end;
            }
            (known_len_bytes, known_end) = (known_len_bytes - len_bytes, offset + 1);
        }
        if end > known_end { end } else { gap_end }
    }

    /// Drops the last record. Returns its memory.
    fn drop_last(&mut self) -> usize {
        let Some((_, content)) = self.records.pop_last() else { return 0 };
        let freed_bytes = cost_bytes(&content);
        self.len_bytes -= freed_bytes;
        freed_bytes
    }
}

fn cost_bytes(content: &impl AsRef<[u8]>) -> usize {
    content.as_ref().len() + EARLY_OVERHEAD_BYTES
}
