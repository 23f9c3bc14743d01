//! Writes records without attributes as a batch, directly into the memory that keeps the batch.

use super::header::{HEADER_LEN, Header};
use super::{END_LEN, FULL_LEN_BYTES};

/// How many records the next batch has, and its length.
///
/// [`BatchBuilder::push`](super::BatchBuilder::push) puts the same records into a batch. A store uses a plan to write
/// records into a page of its database without another copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packing {
    /// The number of records; 0 only when there were no records.
    pub count: usize,
    /// The length of the whole batch.
    pub len_bytes: usize,
    /// The timestamp of all records, in milliseconds since the Unix epoch. [`Packing::plan`] sets none.
    pub timestamp_ms: Option<i64>,
}

impl Packing {
    /// Plans a batch that begins with the first of some records. `lens` are the lengths of the records' contents, each
    /// at most [`MAX_CONTENT_LEN_BYTES`](super::MAX_CONTENT_LEN_BYTES). The batch contains the first record, and
    /// further records as long as the batch is not longer than [`FULL_LEN_BYTES`].
    pub fn plan(lens: impl IntoIterator<Item = usize>) -> Self {
        let mut packing = Self { count: 0, len_bytes: HEADER_LEN, timestamp_ms: None };
        for len in lens {
            let longer = packing.len_bytes + len + END_LEN;
            if packing.count > 0 && longer > FULL_LEN_BYTES {
                break;
            }
            packing = Self { count: packing.count + 1, len_bytes: longer, ..packing };
        }
        packing
    }

    /// Writes the batch to `out`, which has the planned length. Never reads a part of `out` before it has written that
    /// part, because the memory may be uninitialized.
    ///
    /// # Panics
    ///
    /// When the first `count` of the contents do not match the plan, or the plan has no records.
    pub fn write<'a>(self, out: &mut [u8], contents: impl IntoIterator<Item = &'a [u8]>) {
        let Self { count, len_bytes, timestamp_ms } = self;
        assert!(count > 0 && out.len() == len_bytes, "the memory has the planned length");
        let (records, table) = out[HEADER_LEN..].split_at_mut(len_bytes - HEADER_LEN - count * END_LEN);
        let (slots, _) = table.as_chunks_mut::<END_LEN>();
        let mut slots = slots.iter_mut();
        let mut end = 0;
        for content in contents.into_iter().take(count) {
            let begin = end;
            end += content.len();
            records[begin..end].copy_from_slice(content);
            *slots.next().expect("there is a slot for each record") = (end as u32).to_be_bytes();
        }
        assert!(slots.next().is_none() && end == records.len(), "the contents match the plan");
        let area_len = (len_bytes - HEADER_LEN) as u32;
        let header =
            Header { compression: None, timestamp_ms, has_attributes: false, count: count as u32, area_len };
        header.write(out);
    }
}
