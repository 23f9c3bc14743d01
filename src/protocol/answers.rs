//! The FETCH requests that a producer or a store's reader is answering.
//!
//! A response is sent in parts, and requesters take turns. So a request for four billion records blocks neither the
//! node nor other requests. All requests that come over one connection count as requests of one requester, because a
//! peer can invent the names in its requests.

use super::{Reading, Sender};
use crate::partition_name::{PartitionName, PartitionNameBuf};
use crate::wire::{id, partition_key};
use fair_queue::{FairQueue, Queued, request_key};
use std::ops::Range;

pub mod fair_queue;

/// The limit of waiting requests. At the limit, a new request evicts another one or is refused, see [`FairQueue`].
/// Requesters retry.
pub const MAX_JOBS: usize = 4_096;

/// The remaining part of one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    /// The requester in the fair queue: the connection, or the name in the request if the connection is not known.
    pub client: Box<[u8]>,
    /// The node that gets the records.
    pub requester: Box<[u8]>,
    /// The partition.
    pub partition: PartitionNameBuf,
    /// The first record of the request.
    pub first: u64,
    /// The next record to send.
    pub next: u64,
    /// One after the last record to send.
    pub end: u64,
    /// Whether the requester takes DIRECT-RECORDS.
    pub takes_batches: bool,
}

impl Job {
    /// The id of the messages in the response, which the requester must be able to receive.
    pub fn response_id(&self) -> u8 {
        if self.takes_batches { id::DIRECT_RECORDS } else { id::DIRECT_RECORD }
    }
}

/// The requests, in a fair queue.
#[derive(Debug)]
pub struct Answers(FairQueue<Job>);

impl Default for Answers {
    fn default() -> Self {
        Answers::new(MAX_JOBS)
    }
}

impl Answers {
    /// Returns an empty queue of at most `max_jobs` requests.
    pub fn new(max_jobs: usize) -> Self {
        Answers(FairQueue::new(max_jobs))
    }

    /// Returns an empty queue with the same limit.
    pub fn emptied(&self) -> Self {
        Answers(self.0.emptied())
    }

    /// Adds a request that came over the connection `from`, for the records with these offsets. If the requester
    /// already has a waiting request for the partition, the new request is merged with it or replaces it. A request for
    /// no records, or without a requester, is dropped.
    pub fn push(
        &mut self,
        from: &Sender,
        requester: &[u8],
        partition: PartitionName,
        offsets: Range<u64>,
        takes_batches: bool,
    ) {
        let Range { start: next, end } = offsets;
        if next >= end || requester.is_empty() {
            return;
        }
        let client = from().unwrap_or_else(|| requester.into());
        let key = request_key(requester, &partition_key(partition));
        match self.0.get_mut(&client, &key) {
            // The response takes long, so the requester repeats its request, perhaps for fewer records. The response
            // continues: the records that were sent already are in flight.
            Some(job) if next == job.first && end <= job.end => {}
            // The new request overlaps the waiting one, or continues it. All of its records are sent, even those that
            // were sent before, because the requester still needs them.
            Some(job) if next <= job.end && job.next <= end => {
                job.next = job.next.min(next);
                job.end = job.end.max(end);
                job.first = job.next;
                job.takes_batches |= takes_batches;
            }
            Some(job) => (job.first, job.next, job.end, job.takes_batches) = (next, next, end, takes_batches),
            None => {
                let (requester, partition) = (requester.into(), partition.to_buf());
                let job = Job {
                    client: client.clone(),
                    requester,
                    partition,
                    first: next,
                    next,
                    end,
                    takes_batches,
                };
                self.0.push(&client, &key, job);
            }
        }
    }

    /// Returns the next request.
    pub fn pop(&mut self) -> Option<Job> {
        self.0.pop().map(|Queued { request, .. }| request)
    }

    /// Returns the first request whose requester can receive a response now, see [`FairQueue::pop_for`].
    pub fn pop_for(&mut self, reading: impl FnMut(&Job) -> Reading) -> Option<Job> {
        self.0.pop_for(reading).map(|Queued { request, .. }| request)
    }

    /// Adds the remaining part of a request behind the other requests, if records remain.
    pub fn put_back(&mut self, job: Job) {
        if job.next < job.end {
            let key = request_key(&job.requester, &partition_key(job.partition.as_name()));
            self.0.push(&job.client.clone(), &key, job);
        }
    }

    /// True when there is no request.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const P: PartitionName = PartitionName { topic: b"s", producer: b"p" };

    fn ranges(answers: &mut Answers) -> Vec<(u64, u64)> {
        std::iter::from_fn(|| answers.pop()).map(|job| (job.next, job.end)).collect()
    }

    #[test]
    fn requests_take_turns() {
        let mut answers = Answers::default();
        answers.push(&|| None, b"a", P, 0..10, false);
        answers.push(&|| None, b"b", P, 5..6, false);
        let mut job = answers.pop().unwrap();
        job.next = 4;
        answers.put_back(job);
        assert_eq!(ranges(&mut answers), [(5, 6), (4, 10)]);
    }

    #[test]
    fn a_repeated_request_is_one_request() {
        let mut answers = Answers::default();
        for _ in 0..3 {
            answers.push(&|| None, b"a", P, 5..10, false);
        }
        answers.push(&|| None, b"a", P, 8..20, false);
        assert_eq!(ranges(&mut answers), [(5, 20)]);
        answers.push(&|| None, b"a", P, 0..5, false);
        answers.push(&|| None, b"a", P, 50..60, false);
        assert_eq!(ranges(&mut answers), [(50, 60)]);
    }

    #[test]
    fn a_request_that_is_repeated_while_it_is_answered_does_not_start_over() {
        let mut answers = Answers::default();
        answers.push(&|| None, b"a", P, 0..10, false);
        let mut job = answers.pop().unwrap();
        job.next = 6;
        answers.put_back(job);
        answers.push(&|| None, b"a", P, 0..10, false);
        assert_eq!(ranges(&mut answers), [(6, 10)]);
    }

    #[test]
    fn empty_requests_are_dropped_and_others_are_limited() {
        let mut answers = Answers::default();
        answers.push(&|| None, b"a", P, 5..5, false);
        answers.push(&|| None, b"", P, 0..5, false);
        assert!(answers.is_empty());
        for i in 0..MAX_JOBS as u64 + 10 {
            answers.push(&|| None, &i.to_be_bytes(), P, 0..1, false);
        }
        assert_eq!(ranges(&mut answers).len(), MAX_JOBS);
    }

    #[test]
    fn a_connection_with_many_names_takes_one_turn() {
        let mut answers = Answers::new(100);
        let hostile = || Some(b"hostile"[..].into());
        for i in 0..1_000_u64 {
            answers.push(&hostile, &i.to_be_bytes(), P, 0..100, false);
        }
        answers.push(&|| Some(b"modest"[..].into()), b"a", P, 5..7, false);
        answers.push(&|| Some(b"modest"[..].into()), b"a", P, 7..9, false);
        let mut job = answers.pop().unwrap();
        assert_eq!(job.requester, 0_u64.to_be_bytes().into());
        job.next = 50;
        answers.put_back(job);
        assert_eq!(ranges(&mut answers)[..2], [(5, 9), (0, 100)]);
    }
}
