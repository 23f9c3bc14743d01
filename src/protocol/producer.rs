//! The producer: numbers records from 0, keeps each until it is acknowledged, answers FETCH and GET-HEADS.

use super::answers::{Answers, Job};
use super::{Outbox, Payload};
use crate::wire::{EncodeError, Message, Position, PositionTemplate, id};
use std::collections::VecDeque;

/// The producer's state.
pub struct Producer<P> {
    topic: Box<[u8]>,
    address: Box<[u8]>,
    record: PositionTemplate,
    head: PositionTemplate,
    /// The records from `first_kept` on, in order.
    kept: VecDeque<P>,
    first_kept: u64,
    next: u64,
    head_interval_ms: u64,
    head_due_ms: Option<u64>,
    answers: Answers,
}

impl<P: Payload> Producer<P> {
    /// A producer of one partition, named `address`, of `topic`.
    ///
    /// # Errors
    /// When the topic is longer than 255 octets or holds a NUL.
    pub fn new(topic: &[u8], address: &[u8], head_interval_ms: u64) -> Result<Self, EncodeError> {
        Ok(Producer {
            topic: topic.into(),
            address: address.into(),
            record: PositionTemplate::new(id::RECORD, topic, address, topic)?,
            head: PositionTemplate::new(id::HEAD, topic, address, topic)?,
            kept: VecDeque::new(),
            first_kept: 0,
            next: 0,
            head_interval_ms,
            head_due_ms: None,
            answers: Answers::default(),
        })
    }

    /// Publishes a record and keeps it.
    pub fn publish(&mut self, mut content: P, now_ms: u64, out: &mut Outbox<P>) {
        let sequence = self.next;
        self.kept.push_back(content.share());
        self.next += 1;
        out.record(self.record.frame(sequence), content);
        // After the first record, a HEAD every interval.
        self.head_due_ms.get_or_insert(now_ms + self.head_interval_ms);
    }

    /// Takes a message from the network.
    pub fn message(&mut self, message: &Message, out: &mut Outbox<P>) {
        match message {
            Message::Ack { topic, subject, sequence } if self.is_own(topic, subject) => {
                self.acknowledged(*sequence);
            }
            Message::Fetch { topic, address, subject, sequence, count } if self.is_own(topic, subject) => {
                let end = sequence.saturating_add(u64::from(*count)).min(self.next);
                // What was acknowledged is the stores' to answer.
                let start = (*sequence).max(self.first_kept);
                self.answers.push(address, &self.topic, &self.address, start, end);
            }
            Message::GetHeads { topic, address } if **topic == *self.topic && self.next > 0 => {
                out.message(&Message::DirectHead(Position::new(
                    address,
                    &self.address,
                    &self.topic,
                    self.next - 1,
                )));
            }
            _ => {}
        }
    }

    /// Answers a slice of the FETCHes, at most `count` records. True when more is to be answered.
    pub fn answer(&mut self, count: u64, out: &mut Outbox<P>) -> bool {
        let Some(mut job) = self.answers.pop() else { return false };
        // Records may have been acknowledged, and dropped, since they were asked for.
        job.next = job.next.max(self.first_kept);
        let end = job.end.min(job.next + count);
        if let Ok(mut template) =
            PositionTemplate::new(id::DIRECT_RECORD, &job.requester, &job.address, &job.subject)
        {
            while job.next < end {
                let content = self.kept[(job.next - self.first_kept) as usize].share();
                out.record(template.frame(job.next), content);
                job.next += 1;
            }
        }
        self.answers.put_back(Job { next: end.max(job.next), ..job });
        !self.answers.is_empty()
    }

    /// When [`Producer::tick`] has something to do next; `None` before the first record.
    pub fn due_ms(&self) -> Option<u64> {
        self.head_due_ms
    }

    /// Sends a HEAD when it is due.
    pub fn tick(&mut self, now_ms: u64, out: &mut Outbox<P>) {
        if self.head_due_ms.is_some_and(|due_ms| due_ms <= now_ms) {
            self.send_head(now_ms, out);
        }
    }

    /// Sends a HEAD now: the stores learn at once what they may have missed.
    pub fn send_head(&mut self, now_ms: u64, out: &mut Outbox<P>) {
        if self.next > 0 {
            self.head_due_ms = Some(now_ms + self.head_interval_ms);
            out.frame(self.head.frame(self.next - 1));
        }
    }

    /// True when every record published was acknowledged.
    pub fn is_drained(&self) -> bool {
        self.kept.is_empty()
    }

    /// How many records wait for an acknowledgement.
    pub fn unacknowledged(&self) -> usize {
        self.kept.len()
    }

    fn is_own(&self, address: &[u8], subject: &[u8]) -> bool {
        *address == *self.address && *subject == *self.topic
    }

    fn acknowledged(&mut self, sequence: u64) {
        // Nobody can have stored what was not published: such an ACK is a lie or a mistake.
        if sequence >= self.next || sequence < self.first_kept {
            return;
        }
        let count = (sequence + 1 - self.first_kept) as usize;
        self.kept.drain(..count);
        self.first_kept = sequence + 1;
        // A burst that waited for a store may have grown the queue; do not hold that memory for ever.
        if self.kept.len() < self.kept.capacity() / 8 && self.kept.capacity() > 4_096 {
            self.kept.shrink_to(self.kept.len() * 2);
        }
    }
}
