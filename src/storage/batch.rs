//! Records gathered for one append.

use super::error::BatchError;
use super::keys::PartitionName;

/// Records to append, grouped by partition into runs: the records of a run follow one another.
///
/// The hot path opens a run once ([`Batch::run`]) and then pushes by its handle. Nothing is allocated per
/// record once the batch has grown to its usual size: [`Batch::clear`] keeps the memory.
///
/// `P` is whatever holds the content, for example a message of the network layer: it is copied once, by
/// [`Log::append`](super::Log::append), into LMDB's page.
#[derive(Debug)]
pub struct Batch<P> {
    runs: Vec<RunEntry>,
    /// All records in the order of pushing; those of one run are linked, so that any number of runs share one
    /// allocation that is never larger than the largest batch.
    records: Vec<RecordEntry<P>>,
    /// The names of the runs, one after the other: topic, producer, topic, producer, ...
    names: Vec<u8>,
    content_len_bytes: usize,
    /// How often the batch was cleared: handles from before are refused.
    generation: u64,
}

/// The handle of a run; valid until [`Batch::clear`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RunIndex {
    index: usize,
    generation: u64,
}

/// One run of a batch, as [`Batch::runs`] shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run<'a> {
    /// The partition.
    pub name: PartitionName<'a>,
    /// The offset of the first record.
    pub first_offset: u64,
    /// The number of records; may be 0.
    pub count: u64,
}

#[derive(Debug)]
struct RunEntry {
    /// Where in `names` the topic begins, where it ends and the producer begins, where the producer ends.
    names: [usize; 3],
    first_offset: u64,
    count: usize,
    /// The first and the last record; they mean nothing while `count` is 0.
    head: usize,
    tail: usize,
}

#[derive(Debug)]
struct RecordEntry<P> {
    content: P,
    /// The next record of the run; means nothing in its last one.
    next: usize,
}

impl<P> Default for Batch<P> {
    fn default() -> Self {
        Batch {
            runs: Vec::new(),
            records: Vec::new(),
            names: Vec::new(),
            content_len_bytes: 0,
            generation: 0,
        }
    }
}

impl<P: AsRef<[u8]>> Batch<P> {
    /// An empty batch.
    pub fn new() -> Batch<P> {
        Batch::default()
    }

    /// Opens a run of a partition, whose first record will have the offset `first_offset`.
    ///
    /// Names longer than [`MAX_NAME_LEN_BYTES`](super::MAX_NAME_LEN_BYTES) are refused by the append. A
    /// partition may have more than one run; then each must begin where the one before ended. Runs that
    /// stay empty append nothing.
    pub fn run(&mut self, name: PartitionName<'_>, first_offset: u64) -> RunIndex {
        let begin = self.names.len();
        self.names.extend_from_slice(name.topic);
        let middle = self.names.len();
        self.names.extend_from_slice(name.producer);
        let names = [begin, middle, self.names.len()];
        self.runs.push(RunEntry { names, first_offset, count: 0, head: 0, tail: 0 });
        RunIndex { index: self.runs.len() - 1, generation: self.generation }
    }

    /// Adds a record to a run; its offset is the one after the run's last record.
    ///
    /// # Panics
    ///
    /// When the handle is from before a [`Batch::clear`]: the record would go to another partition.
    pub fn push_to(&mut self, run: RunIndex, content: P) {
        assert_eq!(run.generation, self.generation, "the handle is of a batch that was cleared");
        self.content_len_bytes += content.as_ref().len();
        let record = self.records.len();
        self.records.push(RecordEntry { content, next: 0 });
        let run = &mut self.runs[run.index];
        if run.count == 0 {
            run.head = record;
        } else {
            self.records[run.tail].next = record;
        }
        run.tail = record;
        run.count += 1;
    }

    /// Adds a record to the last run of its partition, or opens one with it.
    ///
    /// A convenience that looks the run up among all runs: with many partitions use [`Batch::run`].
    ///
    /// # Errors
    ///
    /// [`BatchError::NotContiguous`] when the batch holds records of the partition and `offset` does not
    /// follow them; the batch stays as it was.
    pub fn push(&mut self, name: PartitionName<'_>, offset: u64, content: P) -> Result<(), BatchError> {
        let found = (0..self.runs.len()).rev().find(|&index| self.view(index).name == name);
        let run = match found {
            Some(index) => {
                let held = &self.runs[index];
                if held.first_offset.checked_add(held.count as u64) != Some(offset) {
                    let expected = held.first_offset.saturating_add(held.count as u64);
                    return Err(BatchError::NotContiguous { expected, got: offset });
                }
                RunIndex { index, generation: self.generation }
            }
            None => self.run(name, offset),
        };
        self.push_to(run, content);
        Ok(())
    }

    /// True when it holds no record.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// The number of records.
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// The length of all contents together, in octets.
    pub fn content_len_bytes(&self) -> usize {
        self.content_len_bytes
    }

    /// Drops all records and runs and keeps the memory for the next ones. Handles of runs become invalid.
    pub fn clear(&mut self) {
        self.runs.clear();
        self.records.clear();
        self.names.clear();
        self.content_len_bytes = 0;
        self.generation += 1;
    }

    /// The runs in the order in which they were opened.
    pub fn runs(&self) -> impl Iterator<Item = Run<'_>> {
        (0..self.runs.len()).map(|index| self.view(index))
    }

    /// Leaves out some of the runs. Handles from before are refused from then on.
    pub fn leave_out(&mut self, mut is_unwanted: impl FnMut(Run<'_>) -> bool) {
        let unwanted: Vec<bool> = self.runs().map(&mut is_unwanted).collect();
        let lens = self.runs_with_records().zip(&unwanted).filter(|(_, is_unwanted)| **is_unwanted);
        self.content_len_bytes -= lens.flat_map(|((_, records), _)| records.map(<[u8]>::len)).sum::<usize>();
        let mut unwanted = unwanted.into_iter();
        // Their records stay until the batch is cleared: nothing leads to them.
        self.runs.retain(|_| !unwanted.next().unwrap_or(false));
        self.generation += 1;
    }

    /// The runs together with their records.
    pub(super) fn runs_with_records(&self) -> impl Iterator<Item = (Run<'_>, Records<'_, P>)> {
        self.runs.iter().enumerate().map(|(index, run)| {
            (self.view(index), Records { entries: &self.records, at: run.head, left: run.count })
        })
    }

    fn view(&self, index: usize) -> Run<'_> {
        let run = &self.runs[index];
        let [begin, middle, end] = run.names;
        Run {
            name: PartitionName { topic: &self.names[begin..middle], producer: &self.names[middle..end] },
            first_offset: run.first_offset,
            count: run.count as u64,
        }
    }
}

/// The contents of one run's records, in order. Cloning remembers the place, copying nothing.
#[derive(Debug)]
pub(super) struct Records<'a, P> {
    entries: &'a [RecordEntry<P>],
    at: usize,
    left: usize,
}

// By hand: a derive would ask that P can be cloned.
impl<P> Clone for Records<'_, P> {
    fn clone(&self) -> Self {
        Records { entries: self.entries, at: self.at, left: self.left }
    }
}

impl<'a, P: AsRef<[u8]>> Iterator for Records<'a, P> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        self.left = self.left.checked_sub(1)?;
        let entry = &self.entries[self.at];
        self.at = entry.next;
        Some(entry.content.as_ref())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named<'a>(topic: &'a [u8], producer: &'a [u8]) -> PartitionName<'a> {
        PartitionName { topic, producer }
    }

    fn contents(batch: &Batch<Vec<u8>>) -> Vec<Vec<Vec<u8>>> {
        batch.runs_with_records().map(|(_, records)| records.map(<[u8]>::to_vec).collect()).collect()
    }

    #[test]
    fn interleaved_pushes_come_out_run_by_run() {
        let mut batch = Batch::new();
        let a = batch.run(named(b"s", b"A"), 7);
        let b = batch.run(named(b"s", b"B"), 0);
        let empty = batch.run(named(b"s", b"C"), 3);
        for (run, content) in [(a, "a0"), (b, "b0"), (b, "b1"), (a, "a1"), (b, ""), (a, "a2")] {
            batch.push_to(run, content.as_bytes().to_vec());
        }
        assert_ne!(a, empty);
        let expected: [&[&[u8]]; 3] = [&[b"a0", b"a1", b"a2"], &[b"b0", b"b1", b""], &[]];
        assert_eq!(contents(&batch), expected);
        assert_eq!((batch.len(), batch.content_len_bytes(), batch.is_empty()), (6, 10, false));
        let runs: Vec<_> =
            batch.runs().map(|r| (r.name.producer.to_vec(), r.first_offset, r.count)).collect();
        assert_eq!(runs, [(b"A".to_vec(), 7, 3), (b"B".to_vec(), 0, 3), (b"C".to_vec(), 3, 0)]);
    }

    #[test]
    fn runs_can_be_left_out() {
        let mut batch = Batch::new();
        for (address, content) in [(b"A", "a0"), (b"B", "b0"), (b"A", "a1"), (b"C", "c0")] {
            let offset = if content.ends_with('1') { 1 } else { 0 };
            batch.push(named(b"s", address), offset, content.as_bytes().to_vec()).expect("in order");
        }
        batch.leave_out(|run| run.name.producer == b"B");
        let runs: Vec<_> = batch.runs().map(|run| (run.name.producer, run.first_offset, run.count)).collect();
        assert_eq!(runs, [(&b"A"[..], 0, 2), (b"C", 0, 1)]);
        assert_eq!(contents(&batch), [vec![b"a0".to_vec(), b"a1".to_vec()], vec![b"c0".to_vec()]]);
        assert_eq!(batch.content_len_bytes(), 6);
    }

    #[test]
    fn push_demands_the_following_offset() {
        let mut batch = Batch::new();
        batch.push(named(b"s", b"A"), 5, b"5".to_vec()).expect("first");
        batch.push(named(b"s", b"B"), 0, b"0".to_vec()).expect("another partition");
        batch.push(named(b"s", b"A"), 6, b"6".to_vec()).expect("next");
        for got in [5, 6, 8] {
            let error = batch.push(named(b"s", b"A"), got, b"x".to_vec()).expect_err("not next");
            assert!(matches!(error, BatchError::NotContiguous { expected: 7, got: g } if g == got));
        }
        assert_eq!(batch.len(), 3);
        batch.push(named(b"t", b"A"), u64::MAX, b"last".to_vec()).expect("the last offset");
        batch.push(named(b"t", b"A"), 0, b"wrapped".to_vec()).expect_err("no offset follows the last one");
    }

    #[test]
    fn clear_empties_it_for_the_next_round() {
        let mut batch = Batch::new();
        batch.push(named(b"s", b"A"), 5, b"5".to_vec()).expect("first");
        batch.clear();
        assert!(batch.is_empty() && batch.runs().next().is_none() && batch.content_len_bytes() == 0);
        batch.push(named(b"s", b"A"), 9, b"9".to_vec()).expect("a new beginning");
        assert_eq!(contents(&batch), [[b"9".to_vec()]]);
    }

    #[test]
    #[should_panic(expected = "cleared")]
    fn a_handle_from_before_clear_is_refused() {
        let mut batch = Batch::new();
        let old = batch.run(named(b"s", b"A"), 0);
        batch.clear();
        batch.run(named(b"s", b"B"), 0);
        batch.push_to(old, b"astray".to_vec());
    }
}
