//! The FETCH requests that a producer or a store's reader is answering.
//!
//! Each is answered in slices, one requester after the other, so that a request for four thousand million
//! records neither blocks the node nor the requests behind it.

use super::turns::{Turn, Turns};
use crate::wire::partition_key;

/// Requests that may wait at a time. When there is no room, who asks for most loses its latest one; who is dropped
/// asks again.
pub const MAX_JOBS: usize = 4_096;

/// The rest of one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    /// Who gets the records.
    pub requester: Box<[u8]>,
    /// The partition's topic.
    pub subject: Box<[u8]>,
    /// The partition.
    pub address: Box<[u8]>,
    /// The first record that was asked for.
    pub first: u64,
    /// The next record to send.
    pub next: u64,
    /// One after the last record to send.
    pub end: u64,
}

/// The requests, in turn.
#[derive(Debug)]
pub struct Answers(Turns<Job>);

impl Default for Answers {
    fn default() -> Self {
        Answers::new(MAX_JOBS)
    }
}

impl Answers {
    /// No requests; at most `max_jobs` at a time.
    pub fn new(max_jobs: usize) -> Self {
        Answers(Turns::new(max_jobs))
    }

    /// Adds a request for the records from `next` up to, not including, `end`. One that repeats or extends a
    /// request still being answered is merged with it. Empty requests and those from nobody are dropped.
    pub fn push(&mut self, requester: &[u8], subject: &[u8], address: &[u8], next: u64, end: u64) {
        if next >= end || requester.is_empty() {
            return;
        }
        let key = partition_key(address, subject);
        match self.0.get_mut(requester, &key) {
            // Said again, perhaps for less, because the answer takes its time: what was sent already is on its way.
            Some(job) if next == job.first && end <= job.end => {}
            // The requester moves through its partition: what it asks for now is what it needs now.
            Some(job) if next <= job.end && job.next <= end => {
                job.next = job.next.min(next);
                job.end = job.end.max(end);
                job.first = job.next;
            }
            Some(job) => (job.first, job.next, job.end) = (next, next, end),
            None => {
                let (requester, subject) = (requester.into(), subject.into());
                let job = Job { requester, subject, address: address.into(), first: next, next, end };
                let requester = job.requester.clone();
                self.0.push(&requester, &key, job);
            }
        }
    }

    /// Takes the request whose turn it is.
    pub fn pop(&mut self) -> Option<Job> {
        self.0.pop().map(|Turn { request, .. }| request)
    }

    /// Puts the rest of a request behind the others, if there is a rest.
    pub fn put_back(&mut self, job: Job) {
        if job.next < job.end {
            let (requester, key) = (job.requester.clone(), partition_key(&job.address, &job.subject));
            self.0.push(&requester, &key, job);
        }
    }

    /// True when nothing is to be answered.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ranges(answers: &mut Answers) -> Vec<(u64, u64)> {
        std::iter::from_fn(|| answers.pop()).map(|job| (job.next, job.end)).collect()
    }

    #[test]
    fn requests_take_turns() {
        let mut answers = Answers::default();
        answers.push(b"a", b"s", b"p", 0, 10);
        answers.push(b"b", b"s", b"p", 5, 6);
        let mut job = answers.pop().unwrap();
        job.next = 4;
        answers.put_back(job);
        assert_eq!(ranges(&mut answers), [(5, 6), (4, 10)]);
    }

    #[test]
    fn a_repeated_request_is_one_request() {
        let mut answers = Answers::default();
        for _ in 0..3 {
            answers.push(b"a", b"s", b"p", 5, 10);
        }
        answers.push(b"a", b"s", b"p", 8, 20);
        assert_eq!(ranges(&mut answers), [(5, 20)]);
        answers.push(b"a", b"s", b"p", 0, 5);
        answers.push(b"a", b"s", b"p", 50, 60);
        assert_eq!(ranges(&mut answers), [(50, 60)]);
    }

    #[test]
    fn a_request_that_is_said_again_while_it_is_answered_does_not_begin_anew() {
        let mut answers = Answers::default();
        answers.push(b"a", b"s", b"p", 0, 10);
        let mut job = answers.pop().unwrap();
        job.next = 6;
        answers.put_back(job);
        answers.push(b"a", b"s", b"p", 0, 10);
        assert_eq!(ranges(&mut answers), [(6, 10)]);
    }

    #[test]
    fn empty_requests_are_dropped_and_others_bounded() {
        let mut answers = Answers::default();
        answers.push(b"a", b"s", b"p", 5, 5);
        answers.push(b"", b"s", b"p", 0, 5);
        assert!(answers.is_empty());
        for i in 0..MAX_JOBS as u64 + 10 {
            answers.push(&i.to_be_bytes(), b"s", b"p", 0, 1);
        }
        assert_eq!(ranges(&mut answers).len(), MAX_JOBS);
    }
}
