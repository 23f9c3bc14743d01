//! Partitions of which a consumer searches the record at which to start, see [`Search`].
//!
//! Before the search has found this record, no record of the partition is delivered. When all known records are too early,
//! the search goes on with the records that arrive.

use super::beginning::Beginning;
use super::{Index, Ingest};
use crate::protocol::Payload;
use crate::protocol::partition::search::Search;

impl<P: Payload> Ingest<P> {
    /// The partition was opened at a record. From this record on, searches the first record that was published at
    /// `since_ms` or later.
    pub fn begin_search(&mut self, index: Index, since_ms: i64) {
        self.table[index].sequencer.set_search(Some(Box::new(Search::new(since_ms))));
    }

    /// Makes a partition continue at the first record that was published at `since_ms` or later. If the topic `is_paused`,
    /// the search begins later, with a message that mentions a record.
    pub fn seek_time(&mut self, index: Index, since_ms: i64, is_paused: bool, now_ms: u64) {
        let end = self.table[index].sequencer.end();
        self.move_to(index, 0);
        self.table[index].beginning = Beginning::default();
        self.begin_search(index, since_ms);
        match end.checked_sub(1) {
            Some(last) if is_paused => self.handle_mention_in_pause(index, last),
            Some(last) => self.extend(index, last, now_ms),
            None => {}
        }
        self.table.update_rank(index);
    }

    /// Makes a partition continue `count` records before its end, which is after the last record that any peer has
    /// mentioned. This may be a false claim, which is corrected later.
    pub fn seek_end(&mut self, index: Index, count: u64, now_ms: u64) {
        self.move_to(index, self.end(index).saturating_sub(count));
        self.claim_beginning(index, now_ms);
        self.table.update_rank(index);
    }

    /// Whether the record at which to start is still searched.
    pub fn is_searching(&self, index: Index) -> bool {
        self.table[index].sequencer.search().is_some()
    }

    /// A run of a partition has arrived during a search. If this ends the search, calls `deliver` with the records that
    /// have arrived and are then in order, as [`Ingest::handle_run`] does. The caller passes the run to `handle_run` next,
    /// unless [`Ingest::is_searching`] is still true and the run is a response.
    pub fn examine(&mut self, index: Index, first: u64, run: &P, now_ms: u64, deliver: impl FnMut(u64, P)) {
        let Self { table, fetches, reorder, statistics, .. } = self;
        let partition = &mut table[index];
        let (before, early_len_bytes) =
            (partition.sequencer.in_flight_len_bytes(), partition.sequencer.early_len_bytes());
        partition.sequencer.examine(first, run, now_ms);
        // The partition exists. So the search can end although made-up partitions fill the table.
        (partition.is_proven, partition.moved_ms) = (true, now_ms);
        if partition.sequencer.search().is_none() {
            statistics.handed_on += partition.deliver_early(now_ms, deliver);
        }
        fetches.recount(index, partition, before, now_ms);
        reorder.update(index, partition, early_len_bytes, now_ms);
        fetches.reschedule(index, partition, now_ms);
        table.update_rank(index);
    }
}
