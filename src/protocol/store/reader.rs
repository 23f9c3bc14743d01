//! The store's answers: FETCH, GET-HEADS and CONSUMER-HELLO, from the durable log.

use crate::protocol::answers::fair_queue::{FairQueue, Queued, request_key};
use crate::protocol::answers::{Answers, Job};
use crate::protocol::{Outbox, Progress, Requesters, Sender};
use crate::wire::{Message, Position, PositionTemplate, Subscription, id};

/// Takes a partition's head: subject, address, offset of its last record.
pub type EachHead<'a> = dyn FnMut(&[u8], &[u8], u64) + 'a;

/// What the answers are read from.
pub trait Source {
    /// What goes wrong when it is read.
    type Error;

    /// Tells partitions with at least one record: subject, address, offset of its last record. Those of one topic, or,
    /// with `None`, all. Looks at `count` of them at most, in an order that stays the same whichever come and go, from
    /// after the place on where another call has stopped. Returns where it stopped itself, in the source's own terms;
    /// `None` when there are no more.
    fn heads(
        &self,
        subject: Option<&[u8]>,
        after: Option<&[u8]>,
        count: u64,
        each: &mut EachHead,
    ) -> Result<Option<Box<[u8]>>, Self::Error>;

    /// Hands on records from `from` on in ascending order, at most `count`; may stop sooner, but not before
    /// the first. Returns how many.
    fn read(
        &self,
        subject: &[u8],
        address: &[u8],
        from: u64,
        count: u64,
        each: &mut dyn FnMut(u64, &[u8]),
    ) -> Result<u64, Self::Error>;
}

/// Requests for heads that may wait at a time. When there is no room, who asks for most loses its latest one; who is
/// dropped asks again.
const MAX_HEAD_JOBS: usize = 4_096;

/// The reader's state.
pub struct Reader {
    address: Box<[u8]>,
    /// The store's name in its DIRECT-HEADs.
    store: Box<[u8]>,
    answers: Answers,
    /// Who wants to know heads of what. Each once, however often it is asked.
    head_jobs: FairQueue<HeadJob>,
}

/// The rest of one request for heads.
struct HeadJob {
    /// Who gets them.
    requester: Box<[u8]>,
    /// Of which subject; the empty one: of all.
    subject: Box<[u8]>,
    /// Where the source has stopped, if some heads are told already.
    after: Option<Box<[u8]>>,
    /// It was asked again since: all is told once more, as what was told before may be what the requester has missed.
    is_asked_again: bool,
}

impl Reader {
    /// A reader with nothing to answer.
    pub fn new(address: &[u8]) -> Self {
        Reader {
            address: address.into(),
            store: Box::default(),
            answers: Answers::default(),
            head_jobs: FairQueue::new(MAX_HEAD_JOBS),
        }
    }

    /// Names the store in its DIRECT-HEADs, as in its ACKs: so it can be asked for records, and others left in peace.
    pub fn named(self, store: &[u8]) -> Self {
        Reader { store: store.into(), ..self }
    }

    /// Lets at most `max_fetches` FETCHes wait at a time; further ones are dropped: requesters ask again.
    pub fn with_max_fetches(self, max_fetches: usize) -> Self {
        Reader { answers: Answers::new(max_fetches), ..self }
    }

    /// Takes a message from the network; [`Reader::poll_answers`] answers it.
    pub fn handle_message(&mut self, message: &Message, from: &Sender) {
        match message {
            // Another store is asked.
            Message::Fetch { store, .. } if !store.is_empty() && **store != *self.store => {}
            Message::Fetch { topic, address, subject, sequence, count, store: _ } => {
                let end = sequence.saturating_add(u64::from(*count));
                self.answers.push(from, address, (subject, topic), *sequence, end);
            }
            Message::GetHeads { topic, address } => self.push_head_job(from, address, topic),
            Message::ConsumerHello { topic, address, subjects } if **topic == *self.address => {
                let known = from();
                subjects.iter().for_each(|subject| self.push_head_job(&|| known.clone(), address, subject));
            }
            _ => {}
        }
    }

    /// The empty subject stands for all.
    fn push_head_job(&mut self, from: &Sender, requester: &[u8], subject: &[u8]) {
        if requester.is_empty() {
            return;
        }
        let asker = from().unwrap_or_else(|| requester.into());
        let key = request_key(requester, subject);
        match self.head_jobs.get_mut(&asker, &key) {
            Some(job) => job.is_asked_again = job.after.is_some(),
            None => {
                let (requester, subject) = (requester.into(), subject.into());
                let job = HeadJob { requester, subject, after: None, is_asked_again: false };
                self.head_jobs.push(&asker, &key, job);
            }
        }
    }

    /// Takes a subscription that somebody made at this reader's socket: a consumer that can hear us now gets
    /// a STORE-HELLO.
    pub fn handle_subscription<P>(&self, subscription: &Subscription, out: &mut Outbox<P>) {
        if subscription.subscribe && subscription.id == id::STORE_HELLO {
            out.message(&Message::StoreHello { topic: subscription.topic, address: &self.address });
        }
    }

    /// Answers a slice of the requests for heads, at most `count` heads, and one of the FETCHes, at most `count`
    /// records, to requesters that would read it now.
    ///
    /// # Errors
    /// The source's; the request in hand is dropped then, and the requester asks again.
    pub fn poll_answers<S: Source, P>(
        &mut self,
        requesters: &mut impl Requesters,
        count: u64,
        source: &S,
        out: &mut Outbox<P>,
        mut to_payload: impl FnMut(&[u8]) -> P,
    ) -> Result<Progress, S::Error> {
        let mut is_working = false;
        let next = self.head_jobs.pop_for(|job| requesters.reading(id::DIRECT_HEAD, &job.requester));
        if let Some(Queued { requester: asker, key, request: job }) = next {
            is_working = true;
            let subject = Some(&*job.subject).filter(|subject| !subject.is_empty());
            let mut sent_count = 0;
            let after =
                source.heads(subject, job.after.as_deref(), count, &mut |subject, address, head| {
                    sent_count += 1;
                    out.message(&Message::DirectHead {
                        position: Position::new(&job.requester, address, subject, head),
                        store: &self.store,
                    });
                })?;
            requesters.sent_heads(&job.requester, sent_count);
            if after.is_some() {
                self.head_jobs.push(&asker, &key, HeadJob { after, ..job });
            } else if job.is_asked_again {
                self.head_jobs.push(&asker, &key, HeadJob { after: None, is_asked_again: false, ..job });
            }
        }
        if let Some(job) = self.answers.pop_for(|job| requesters.reading(id::DIRECT_RECORD, &job.requester)) {
            is_working = true;
            if let Ok(mut template) =
                PositionTemplate::new(id::DIRECT_RECORD, &job.requester, &job.address, &job.subject)
            {
                let count = count.min(job.end - job.next);
                let read =
                    source.read(&job.subject, &job.address, job.next, count, &mut |offset, content| {
                        out.record(template.frame(offset), to_payload(content));
                    })?;
                // Nothing there: that was all there is.
                if read > 0 {
                    self.answers.put_back(Job { next: job.next + read, ..job });
                }
            }
        }
        Ok(Progress::of(!self.answers.is_empty() || !self.head_jobs.is_empty(), is_working))
    }
}
