//! Merges short batches of consecutive records into one batch.

use super::attributes::with_timestamp;
use super::header::HEADER_LEN;
use super::{Batch, END_LEN, FULL_LEN_BYTES, build};
use std::ops::Range;

/// To merge a batch that is shorter than this with its neighbours saves more than it costs. Otherwise the batch needs
/// its own message, or its own entry in a database. An entry wastes half a page on average.
pub const SHORT_LEN_BYTES: usize = FULL_LEN_BYTES / 4;

/// Records of consecutive batches, to be merged into one batch.
///
/// The merged batch has the timestamp of the first batch. If another batch has a different timestamp, those of its
/// records that have no timestamp of their own get the timestamp of their batch. So each record keeps its timestamp,
/// key and headers.
#[derive(Debug)]
pub struct Merge<B> {
    /// The batches, and the indexes of their wanted records.
    parts: Vec<(Batch<B>, Range<usize>)>,
    plan: Plan,
}

/// What the merged batch needs.
#[derive(Clone, Copy, Debug, Default)]
struct Plan {
    timestamp_ms: Option<i64>,
    has_attributes: bool,
    /// The number of records.
    count: usize,
    /// The length of all records, with their attributes.
    records_len: usize,
}

impl Plan {
    fn len_bytes(&self) -> usize {
        HEADER_LEN + self.records_len + self.count * END_LEN
    }

    /// Adds records of a batch.
    fn add<B: AsRef<[u8]>>(&mut self, batch: &Batch<B>, records: &Range<usize>) {
        let other_ms = batch.timestamp_ms.filter(|_| batch.timestamp_ms != self.timestamp_ms);
        if (batch.has_attributes || other_ms.is_some()) && !self.has_attributes {
            // Each record that was added before gets an empty attribute block.
            self.records_len += self.count;
            self.has_attributes = true;
        }
        self.count += records.len();
        self.records_len += match self.has_attributes {
            true => records.clone().map(|index| self.record(batch, index).len()).sum(),
            false => batch.span(records.clone()).len(),
        };
    }

    /// Returns a record of a batch in the form that it has in a merged batch with attributes.
    fn record<'a, B: AsRef<[u8]>>(&self, batch: &'a Batch<B>, index: usize) -> Encoded<'a> {
        let octets = batch.span(index..index + 1);
        let octets = batch.octets.as_ref().get(HEADER_LEN..).and_then(|area| area.get(octets));
        let (bits, rest) = match octets.unwrap_or_default() {
            [bits, rest @ ..] if batch.has_attributes => (*bits, rest),
            rest => (0, rest),
        };
        let other_ms = batch.timestamp_ms.filter(|_| batch.timestamp_ms != self.timestamp_ms);
        let (bits, timestamp_ms) = with_timestamp(bits, other_ms);
        Encoded { bits, timestamp_ms, rest }
    }
}

/// A record with an attribute block.
struct Encoded<'a> {
    /// The first octet of the block.
    bits: u8,
    /// The timestamp that is inserted after the first octet.
    timestamp_ms: Option<i64>,
    /// The rest of the block, and the content.
    rest: &'a [u8],
}

impl Encoded<'_> {
    fn len(&self) -> usize {
        1 + if self.timestamp_ms.is_some() { 8 } else { 0 } + self.rest.len()
    }

    fn write(&self, out: &mut Vec<u8>) {
        out.push(self.bits);
        out.extend(self.timestamp_ms.map(i64::to_be_bytes).into_iter().flatten());
        out.extend_from_slice(self.rest);
    }
}

impl<B> Default for Merge<B> {
    fn default() -> Self {
        Merge { parts: Vec::new(), plan: Plan::default() }
    }
}

impl<B: AsRef<[u8]>> Merge<B> {
    /// Whether there are no records.
    pub fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    /// The number of batches.
    pub fn batch_count(&self) -> usize {
        self.parts.len()
    }

    /// Adds records of a batch, at least one. The first batch is always added. A further one is returned, and nothing
    /// changes, if the merged batch would be longer than `max_len_bytes`, or if only some of the batches have
    /// timestamps.
    ///
    /// # Errors
    ///
    /// The returned batch.
    pub fn push(
        &mut self,
        batch: Batch<B>,
        records: Range<usize>,
        max_len_bytes: usize,
    ) -> Result<(), Batch<B>> {
        let is_first = self.parts.is_empty();
        let mut plan = match is_first {
            true => Plan { timestamp_ms: batch.timestamp_ms, ..Plan::default() },
            false => self.plan,
        };
        if plan.timestamp_ms.is_some() != batch.timestamp_ms.is_some() {
            return Err(batch);
        }
        plan.add(&batch, &records);
        if plan.len_bytes() > max_len_bytes && !is_first {
            return Err(batch);
        }
        self.plan = plan;
        self.parts.push((batch, records));
        Ok(())
    }

    /// The merged batch. `None` without records. Afterwards there are no records.
    pub fn finish(&mut self) -> Option<Batch<Vec<u8>>> {
        let plan = std::mem::take(&mut self.plan);
        let (mut octets, mut ends) = (Vec::with_capacity(plan.records_len), Vec::with_capacity(plan.count));
        for (batch, records) in self.parts.drain(..) {
            if plan.has_attributes {
                for index in records {
                    plan.record(&batch, index).write(&mut octets);
                    ends.push(octets.len() as u32);
                }
                continue;
            }
            let (span, begin) = (batch.span(records.clone()), octets.len());
            ends.extend(records.map(|index| (begin + batch.end(index) - span.start) as u32));
            octets.extend_from_slice(batch.octets.as_ref().get(HEADER_LEN..)?.get(span)?);
        }
        build(&octets, ends.into_iter(), plan.timestamp_ms, plan.has_attributes)
    }

    /// The only batch, if there is one and all of its records are wanted. Then there are no records afterwards.
    pub fn take_only(&mut self) -> Option<Batch<B>> {
        match &*self.parts {
            [(batch, records)] if records.len() == batch.count => self.parts.pop().map(|(batch, _)| batch),
            _ => None,
        }
    }
}
