//! Records that are appended together.

use super::error::BatchError;
use super::keys::PartitionName;
use super::positions::Commit;
use super::records::{AsRecords, Records};
use crate::committed::Committed;

/// Records to append, grouped into runs. A run consists of consecutive records of one partition.
///
/// For speed, open a run once ([`Batch::run`]), and push records with its handle. [`Batch::clear`] keeps the memory, so
/// a batch of the usual size allocates nothing for each record.
///
/// A `P` contains one or more records, see [`AsRecords`]. For example, it is a message of the network layer.
/// [`Log::append`](super::Log::append) copies these records once, into LMDB's page.
#[derive(Debug)]
pub struct Batch<P> {
    runs: Vec<RunEntry>,
    /// All entries in the order in which they were pushed. The entries of a run form a linked list, so that all runs
    /// share one allocation, which is never larger than the largest batch.
    entries: Vec<Entry<P>>,
    /// The names of all runs: topic, producer, topic, producer, ...
    names: Vec<u8>,
    /// The number of records.
    count: usize,
    len_bytes: usize,
    /// Positions of consumers, to be written in the same transaction.
    commits: Vec<Commit>,
    /// How many times the batch was cleared, or runs were removed from it. A handle with a smaller number is refused.
    generation: u64,
}

/// The handle of a run; valid until [`Batch::clear`] or [`Batch::remove_runs`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RunIndex {
    index: usize,
    generation: u64,
}

/// A run of a batch, as [`Batch::runs`] returns it.
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
    /// Positions in `names`: where the topic begins, where the topic ends and the producer begins, where the producer
    /// ends.
    names: [usize; 3],
    first_offset: u64,
    /// The number of records.
    count: usize,
    /// The number of entries. Each contains at least one record.
    entry_count: usize,
    /// The indexes of the first and the last entry. They have no meaning while `entry_count` is 0.
    head: usize,
    tail: usize,
}

#[derive(Debug)]
struct Entry<P> {
    records: P,
    /// The index of the next entry of the run. It has no meaning in the last entry of the run.
    next: usize,
}

impl<P> Default for Batch<P> {
    fn default() -> Self {
        Batch {
            runs: Vec::new(),
            entries: Vec::new(),
            names: Vec::new(),
            count: 0,
            len_bytes: 0,
            commits: Vec::new(),
            generation: 0,
        }
    }
}

impl<P: AsRecords> Batch<P> {
    /// An empty batch.
    pub fn new() -> Batch<P> {
        Batch::default()
    }

    /// Opens a run of a partition. Its first record will have the offset `first_offset`.
    ///
    /// The append refuses names longer than [`MAX_NAME_LEN_BYTES`](super::MAX_NAME_LEN_BYTES). A partition may have
    /// several runs: each run must begin where the partition's previous run ended. Empty runs append nothing.
    pub fn run(&mut self, name: PartitionName<'_>, first_offset: u64) -> RunIndex {
        let begin = self.names.len();
        self.names.extend_from_slice(name.topic);
        let middle = self.names.len();
        self.names.extend_from_slice(name.producer);
        let names = [begin, middle, self.names.len()];
        self.runs.push(RunEntry { names, first_offset, count: 0, entry_count: 0, head: 0, tail: 0 });
        RunIndex { index: self.runs.len() - 1, generation: self.generation }
    }

    /// Adds records to the end of a run.
    ///
    /// # Panics
    ///
    /// When the handle is no longer valid (see [`RunIndex`]): the records would get into another partition. Also when
    /// the indexes of the records exceed their batch.
    pub fn push_to(&mut self, run: RunIndex, records: P) {
        assert_eq!(
            run.generation, self.generation,
            "the handle is older than the last time that the batch was cleared"
        );
        let view = records.as_records();
        if let Records::Of(batch, range) = &view {
            assert!(range.end <= batch.count(), "the records exceed their batch");
        }
        let (count, len_bytes) = (view.count(), view.len_bytes());
        if count == 0 {
            return;
        }
        let entry = self.entries.len();
        self.entries.push(Entry { records, next: 0 });
        let run = &mut self.runs[run.index];
        if run.entry_count == 0 {
            run.head = entry;
        } else {
            self.entries[run.tail].next = entry;
        }
        run.tail = entry;
        run.entry_count += 1;
        run.count += count;
        self.count += count;
        self.len_bytes += len_bytes;
    }

    /// Adds records to the last run of their partition, or opens a run.
    ///
    /// This searches all runs for the partition. With many partitions, use [`Batch::run`].
    ///
    /// # Errors
    ///
    /// [`BatchError::NotContiguous`] when the batch contains records of the partition and `offset` does not follow
    /// them. Then the batch is not changed.
    pub fn push(&mut self, name: PartitionName<'_>, offset: u64, records: P) -> Result<(), BatchError> {
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
        self.push_to(run, records);
        Ok(())
    }

    /// Adds a position of a consumer. Returns false when the names are too long for the log.
    pub fn commit(&mut self, name: &[u8], partition: PartitionName<'_>, committed: Committed) -> bool {
        let Some(commit) = Commit::new(name, partition, committed) else { return false };
        self.len_bytes += commit.len_bytes();
        self.commits.push(commit);
        true
    }

    /// The number of positions of consumers.
    pub fn commit_count(&self) -> usize {
        self.commits.len()
    }

    pub(super) fn commits(&self) -> &[Commit] {
        &self.commits
    }

    /// Whether the batch contains no records and no positions.
    pub fn is_empty(&self) -> bool {
        self.count == 0 && self.commits.is_empty()
    }

    /// The number of records.
    pub fn len(&self) -> usize {
        self.count
    }

    /// The length of all records together. A producer's batch that is pushed whole counts with its length. Other
    /// records count with the length of their contents. Positions count with the memory that they need.
    pub fn len_bytes(&self) -> usize {
        self.len_bytes
    }

    /// Removes all records, runs and positions, but keeps the memory. Handles of runs become invalid.
    pub fn clear(&mut self) {
        self.runs.clear();
        self.entries.clear();
        self.names.clear();
        self.commits.clear();
        (self.count, self.len_bytes) = (0, 0);
        self.generation += 1;
    }

    /// The runs in the order in which they were opened.
    pub fn runs(&self) -> impl Iterator<Item = Run<'_>> {
        (0..self.runs.len()).map(|index| self.view(index))
    }

    /// Removes some of the runs. Handles of runs become invalid.
    pub fn remove_runs(&mut self, mut is_unwanted: impl FnMut(Run<'_>) -> bool) {
        let unwanted: Vec<bool> = self.runs().map(&mut is_unwanted).collect();
        let removed = self.runs_with_entries().zip(&unwanted).filter(|(_, is_unwanted)| **is_unwanted);
        let (mut count, mut len_bytes) = (0, 0);
        for records in removed.flat_map(|((_, entries), _)| entries) {
            count += records.count();
            len_bytes += records.len_bytes();
        }
        self.count -= count;
        self.len_bytes -= len_bytes;
        let mut unwanted = unwanted.into_iter();
        // Entries of removed runs stay in memory until the batch is cleared, but nothing refers to them.
        self.runs.retain(|_| !unwanted.next().unwrap_or(false));
        self.generation += 1;
    }

    /// The runs together with their entries.
    pub(super) fn runs_with_entries(&self) -> impl Iterator<Item = (Run<'_>, Entries<'_, P>)> {
        self.runs.iter().enumerate().map(|(index, run)| {
            (self.view(index), Entries { entries: &self.entries, at: run.head, left: run.entry_count })
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

/// Iterates over the entries of a run. A clone continues at the same entry.
#[derive(Debug)]
pub(super) struct Entries<'a, P> {
    entries: &'a [Entry<P>],
    at: usize,
    left: usize,
}

// Not derived: that would require `P: Clone`.
impl<P> Clone for Entries<'_, P> {
    fn clone(&self) -> Self {
        Entries { entries: self.entries, at: self.at, left: self.left }
    }
}

impl<'a, P: AsRecords> Iterator for Entries<'a, P> {
    type Item = Records<'a>;

    fn next(&mut self) -> Option<Records<'a>> {
        self.left = self.left.checked_sub(1)?;
        let entry = &self.entries[self.at];
        self.at = entry.next;
        Some(entry.records.as_records())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named<'a>(topic: &'a [u8], producer: &'a [u8]) -> PartitionName<'a> {
        PartitionName { topic, producer }
    }

    fn contents(batch: &Batch<Vec<u8>>) -> Vec<Vec<Vec<u8>>> {
        let content = |records: Records<'_>| match records {
            Records::One(content, _) => content.to_vec(),
            _ => unreachable!("there are only single records"),
        };
        batch.runs_with_entries().map(|(_, entries)| entries.map(content).collect()).collect()
    }

    #[test]
    fn interleaved_pushes_are_returned_run_by_run() {
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
        assert_eq!((batch.len(), batch.len_bytes(), batch.is_empty()), (6, 10, false));
        let runs: Vec<_> =
            batch.runs().map(|r| (r.name.producer.to_vec(), r.first_offset, r.count)).collect();
        assert_eq!(runs, [(b"A".to_vec(), 7, 3), (b"B".to_vec(), 0, 3), (b"C".to_vec(), 3, 0)]);
    }

    #[test]
    fn runs_can_be_removed() {
        let mut batch = Batch::new();
        for (address, content) in [(b"A", "a0"), (b"B", "b0"), (b"A", "a1"), (b"C", "c0")] {
            let offset = if content.ends_with('1') { 1 } else { 0 };
            batch.push(named(b"s", address), offset, content.as_bytes().to_vec()).expect("in order");
        }
        batch.remove_runs(|run| run.name.producer == b"B");
        let runs: Vec<_> = batch.runs().map(|run| (run.name.producer, run.first_offset, run.count)).collect();
        assert_eq!(runs, [(&b"A"[..], 0, 2), (b"C", 0, 1)]);
        assert_eq!(contents(&batch), [vec![b"a0".to_vec(), b"a1".to_vec()], vec![b"c0".to_vec()]]);
        assert_eq!(batch.len_bytes(), 6);
    }

    #[test]
    fn push_requires_the_next_offset() {
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
    fn a_cleared_batch_is_empty_and_can_be_reused() {
        let mut batch = Batch::new();
        batch.push(named(b"s", b"A"), 5, b"5".to_vec()).expect("first");
        batch.clear();
        assert!(batch.is_empty() && batch.runs().next().is_none() && batch.len_bytes() == 0);
        batch.push(named(b"s", b"A"), 9, b"9".to_vec()).expect("a new beginning");
        assert_eq!(contents(&batch), [[b"9".to_vec()]]);
    }

    #[test]
    #[should_panic(expected = "cleared")]
    fn a_handle_older_than_clear_is_refused() {
        let mut batch = Batch::new();
        let old = batch.run(named(b"s", b"A"), 0);
        batch.clear();
        batch.run(named(b"s", b"B"), 0);
        batch.push_to(old, b"astray".to_vec());
    }
}
