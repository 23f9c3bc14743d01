//! The part of a store that answers FETCH, GET-HEADS and CONSUMER-HELLO, from the records on disk.

use crate::committed::Committed;
use crate::partition_name::PartitionName;
use crate::protocol::answers::fair_queue::{FairQueue, Queued, request_key};
use crate::protocol::answers::{Answers, Job};
use crate::protocol::{Outbox, Progress, Requesters, Sender};
use crate::wire::batch::{AnyBatch, Record};
use crate::wire::{Message, Position, PositionTemplate, Subscription, id};

/// Takes the head of a partition: its name, and the offset of the last record.
pub type EachHead<'a> = dyn FnMut(PartitionName, u64) + 'a;

/// Takes the committed position of a consumer: its name, the partition, and the position.
pub type EachPosition<'a> = dyn FnMut(&[u8], PartitionName, Committed) + 'a;

/// The log that the reader reads from.
pub trait Source {
    /// A read error.
    type Error;

    /// Passes to `each` the heads of partitions that have at least one record: the partitions of one topic, or of all
    /// topics if `topic` is `None`. Examines at most `count` partitions, in an order that does not change when
    /// partitions come and go. Starts after the position `after`, which a previous call returned. Returns the position
    /// where it stopped, or `None` when there are no further partitions. Only the source can interpret a position.
    fn heads(
        &self,
        topic: Option<&[u8]>,
        after: Option<&[u8]>,
        count: u64,
        each: &mut EachHead,
    ) -> Result<Option<Box<[u8]>>, Self::Error>;

    /// Passes to `each` the committed positions of one consumer, or of all consumers if `name` is `None`. Examines at
    /// most `count` entries. `after` and the result are as in [`Source::heads`].
    fn positions(
        &self,
        name: Option<&[u8]>,
        after: Option<&[u8]>,
        count: u64,
        each: &mut EachPosition,
    ) -> Result<Option<Box<[u8]>>, Self::Error>;

    /// Passes at most `count` records from `from` on to `each`, in ascending order. May stop earlier, but only after
    /// the first record. Returns the number of records.
    fn read(
        &self,
        partition: PartitionName,
        from: u64,
        count: u64,
        each: &mut dyn FnMut(u64, Record),
    ) -> Result<u64, Self::Error>;

    /// Passes to `each` the batches that contain the `count` records from `from` on, in ascending order. Each batch is
    /// passed with the offset of its first record. The first and the last batch may also contain other records. May
    /// stop earlier, but only after the first batch. Stops when `each` returns false. Returns the offset after the last
    /// record that was passed; `from` when there was none.
    fn read_batches(
        &self,
        partition: PartitionName,
        from: u64,
        count: u64,
        each: &mut dyn FnMut(u64, AnyBatch<&[u8]>) -> bool,
    ) -> Result<u64, Self::Error>;
}

/// A payload made from stored records.
pub trait Stored {
    /// One record.
    fn of_record(record: Record) -> Self;

    /// All records of a batch.
    fn of_batch(batch: AnyBatch<&[u8]>) -> Self;
}

/// Where a source has stopped in a list, if entries are left.
type Place = Option<Box<[u8]>>;

/// The limit of waiting requests for heads and positions. At the limit, a new request evicts another one or is refused,
/// see [`FairQueue`]. Requesters retry.
const MAX_LIST_JOBS: usize = 4_096;

/// The reader's state.
pub struct Reader {
    address: Box<[u8]>,
    /// The store's name in its DIRECT-HEADs.
    store: Box<[u8]>,
    answers: Answers,
    /// The waiting requests for heads or positions. A repeated request is merged with the waiting one.
    list_jobs: FairQueue<ListJob>,
}

/// The remaining part of one request for heads or positions. Both are entries of a list.
struct ListJob {
    /// What is requested: [`id::DIRECT_HEAD`] or [`id::POSITION`].
    response: u8,
    /// The node that gets the entries.
    requester: Box<[u8]>,
    /// The topic, or the name of the consumer; empty for all.
    topic: Box<[u8]>,
    /// Where the source stopped, if some entries were sent already.
    after: Place,
    /// The request was repeated after some entries were sent. All entries are then sent once more, because the
    /// requester may have missed some.
    is_repeated: bool,
}

impl Reader {
    /// Returns a reader without requests.
    pub fn new(address: &[u8]) -> Self {
        Reader {
            address: address.into(),
            store: Box::default(),
            answers: Answers::default(),
            list_jobs: FairQueue::new(MAX_LIST_JOBS),
        }
    }

    /// Sets the store's name in its DIRECT-HEADs. The store's ACKs have the same name. So a FETCH can name the one
    /// store that must answer it.
    pub fn named(self, store: &[u8]) -> Self {
        Reader { store: store.into(), ..self }
    }

    /// Limits the FETCHes that wait. At the limit, some are dropped, see [`Answers`]. Requesters retry.
    pub fn with_max_fetches(self, max_fetches: usize) -> Self {
        Reader { answers: Answers::new(max_fetches), ..self }
    }

    /// Handles a message from the network. [`Reader::poll_answers`] answers it.
    pub fn handle_message(&mut self, message: &Message, from: &Sender) {
        match message {
            // The FETCH names another store.
            Message::Fetch { store, .. } if !store.is_empty() && **store != *self.store => {}
            Message::Fetch {
                topic: producer,
                address,
                subject: topic,
                sequence,
                count,
                takes_batches,
                ..
            } => {
                let end = sequence.saturating_add(u64::from(*count));
                let partition = PartitionName { topic, producer };
                self.answers.push(from, address, partition, *sequence..end, *takes_batches);
            }
            Message::GetHeads { topic, address } => {
                self.push_list_job(from, id::DIRECT_HEAD, address, topic);
            }
            Message::GetPositions { topic, address } => {
                self.push_list_job(from, id::POSITION, address, topic);
            }
            Message::ConsumerHello { topic, address, subjects } if **topic == *self.address => {
                let known = from();
                for subject in subjects.iter() {
                    self.push_list_job(&|| known.clone(), id::DIRECT_HEAD, address, subject);
                }
            }
            _ => {}
        }
    }

    /// Adds a request for heads or positions. The empty topic means all of them.
    fn push_list_job(&mut self, from: &Sender, response: u8, requester: &[u8], topic: &[u8]) {
        if requester.is_empty() {
            return;
        }
        let client = from().unwrap_or_else(|| requester.into());
        let key = request_key(requester, &[&[response], topic].concat());
        match self.list_jobs.get_mut(&client, &key) {
            Some(job) => job.is_repeated = job.after.is_some(),
            None => {
                let (requester, topic) = (requester.into(), topic.into());
                let job = ListJob { response, requester, topic, after: None, is_repeated: false };
                self.list_jobs.push(&client, &key, job);
            }
        }
    }

    /// Handles a subscription that a peer made at this reader's socket. When a consumer subscribes to STORE-HELLO, it
    /// can receive a STORE-HELLO from then on, so the reader sends one.
    pub fn handle_subscription<P>(&self, subscription: &Subscription, out: &mut Outbox<P>) {
        if subscription.subscribe && subscription.id == id::STORE_HELLO {
            out.message(&Message::StoreHello { topic: subscription.topic, address: &self.address });
        }
    }

    /// Answers a part of one request for heads or positions, with at most `count` of them. Answers a part of one FETCH,
    /// with at most `count` records or batches. Skips requesters that cannot receive now.
    ///
    /// # Errors
    /// Returns the error of the source. The current request is dropped then, and the requester retries.
    pub fn poll_answers<S: Source, P: Stored>(
        &mut self,
        requesters: &mut impl Requesters,
        count: u64,
        source: &S,
        out: &mut Outbox<P>,
    ) -> Result<Progress, S::Error> {
        let mut is_working = false;
        let next = self.list_jobs.pop_for(|job| requesters.poll_reading(job.response, &job.requester));
        if let Some(Queued { requester: client, key, request: job }) = next {
            is_working = true;
            let (after, sent_count) = self.send_entries(&job, count, source, out)?;
            requesters.sent_heads(&job.requester, sent_count);
            if after.is_some() {
                self.list_jobs.push(&client, &key, ListJob { after, ..job });
            } else if job.is_repeated {
                self.list_jobs.push(&client, &key, ListJob { after: None, is_repeated: false, ..job });
            }
        }
        let next = self.answers.pop_for(|job| requesters.poll_reading(job.response_id(), &job.requester));
        if let Some(job) = next {
            is_working = true;
            let name = job.partition.as_name();
            if let Ok(mut template) =
                PositionTemplate::new(job.response_id(), &job.requester, name.producer, name.topic)
            {
                let left = job.end - job.next;
                let next = match job.takes_batches {
                    true => {
                        let mut sent_count = 0;
                        source.read_batches(name, job.next, left, &mut |first, batch| {
                            out.record(template.frame(first), P::of_batch(batch));
                            sent_count += 1;
                            sent_count < count
                        })?
                    }
                    false => {
                        let read = source.read(name, job.next, left.min(count), &mut |offset, record| {
                            out.record(template.frame(offset), P::of_record(record));
                        })?;
                        job.next + read
                    }
                };
                // If no record was read, this store has none of the remaining records, and the response is complete.
                if next > job.next {
                    self.answers.put_back(Job { next, ..job });
                }
            }
        }
        Ok(Progress::of(!self.answers.is_empty() || !self.list_jobs.is_empty(), is_working))
    }

    /// Sends at most `count` heads or positions. Returns where the source stopped, and how many were sent.
    fn send_entries<S: Source, P>(
        &self,
        job: &ListJob,
        count: u64,
        source: &S,
        out: &mut Outbox<P>,
    ) -> Result<(Place, u64), S::Error> {
        let topic = Some(&*job.topic).filter(|topic| !topic.is_empty());
        let (after, store, mut sent_count) = (job.after.as_deref(), &*self.store, 0);
        let after = if job.response == id::POSITION {
            let after = source.positions(topic, after, count, &mut |name, partition, committed| {
                sent_count += 1;
                let Committed { timestamp_ms, next } = committed;
                let position = Position::new(&job.requester, partition.producer, partition.topic, next);
                out.message(&Message::Position { position, timestamp_ms, name, store });
            })?;
            if after.is_none() {
                // The end of the response.
                let position = Position::new(&job.requester, b"", b"", 0);
                out.message(&Message::Position { position, timestamp_ms: 0, name: &job.topic, store });
            }
            after
        } else {
            source.heads(topic, after, count, &mut |name, head| {
                sent_count += 1;
                let position = Position::new(&job.requester, name.producer, name.topic, head);
                out.message(&Message::DirectHead { position, store });
            })?
        };
        Ok((after, sent_count))
    }
}
