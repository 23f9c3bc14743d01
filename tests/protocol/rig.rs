//! Shared by these tests: messages, a consumer and a store, each with the data that it returns.

use crate::UNKNOWN;
use dafka::committed::Committed;
use dafka::partition_name::PartitionName;
use dafka::protocol::consumer::{Consumer, Delivery, Start, Subscribed};
use dafka::protocol::ingest::Limits;
use dafka::protocol::store::reader::{EachHead, EachPosition, Source};
use dafka::protocol::store::replica::{Append, Replica};
use dafka::protocol::{Outbox, Sender};
use dafka::wire::batch::{AnyBatch, Record};
use dafka::wire::{Message, Position};
use std::cell::Cell;
use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

pub(crate) type Content = Arc<[u8]>;

pub(crate) const TOPIC: &[u8] = b"topic";
pub(crate) const PARTITION: &[u8] = b"PARTITION";
pub(crate) const ME: &[u8] = b"ME";
pub(crate) const SUBSCRIBED: Subscribed = Subscribed { unix_ms: 1_700_000_000_000, now_ms: 0, uptime_ms: 0 };

pub(crate) fn record(address: &[u8], sequence: u64) -> Message<'_> {
    Message::Record(Position::new(TOPIC, address, TOPIC, sequence))
}

pub(crate) fn direct(address: &[u8], sequence: u64) -> Message<'_> {
    Message::DirectRecord(Position::new(ME, address, TOPIC, sequence))
}

pub(crate) fn head(address: &[u8], sequence: u64) -> Message<'_> {
    Message::Head(Position::new(TOPIC, address, TOPIC, sequence))
}

pub(crate) fn direct_head<'a>(address: &'a [u8], sequence: u64, store: &'a [u8]) -> Message<'a> {
    Message::DirectHead { position: Position::new(ME, address, TOPIC, sequence), store }
}

pub(crate) fn ack<'a>(address: &'a [u8], sequence: u64, store: &'a [u8]) -> Message<'a> {
    Message::Ack { topic: address, subject: TOPIC, sequence, store }
}

pub(crate) fn fetch<'a>(address: &'a [u8], sequence: u64, count: u32, store: &'a [u8]) -> Message<'a> {
    let (subject, takes_batches) = (TOPIC, false);
    Message::Fetch { topic: address, address: ME, subject, sequence, count, store, takes_batches }
}

pub(crate) fn get_heads<'a>(topic: &'a [u8], requester: &'a [u8]) -> Message<'a> {
    Message::GetHeads { topic, address: requester }
}

/// The content of a record in a [`Log`].
pub(crate) fn content(offset: u64) -> Content {
    format!("record {offset}").into_bytes().into()
}

/// A content of this length, for a message that has content.
pub(crate) fn content_for(message: &Message, len_bytes: usize) -> Option<Content> {
    message.has_content().then(|| vec![0; len_bytes].into())
}

/// A consumer of one topic, the messages that it sends, and the records that it delivers.
pub(crate) struct Reading {
    pub(crate) consumer: Consumer<Content>,
    pub(crate) out: Outbox<Content>,
    pub(crate) delivered: Vec<Delivery<Content>>,
}

impl Reading {
    pub(crate) fn new(start: Start, limits: Limits) -> Reading {
        let (consumer, out) = (Consumer::new(ME, start, limits, 0), Outbox::new());
        let mut reading = Reading { consumer, out, delivered: Vec::new() };
        assert!(reading.consumer.subscribe(TOPIC, SUBSCRIBED, &mut reading.out));
        reading
    }

    /// Passes a message of an unknown peer to the consumer.
    pub(crate) fn handle(&mut self, message: &Message, content: Option<Content>, now_ms: u64) {
        self.handle_from(UNKNOWN, message, content, now_ms);
    }

    pub(crate) fn handle_from(
        &mut self,
        peer: &Sender,
        message: &Message,
        content: Option<Content>,
        now_ms: u64,
    ) {
        let Reading { consumer, out, delivered } = self;
        consumer.handle_message(message, content, peer, now_ms, out, delivered);
    }

    pub(crate) fn handle_timeout(&mut self, now_ms: u64) {
        self.consumer.handle_timeout(now_ms, &mut self.out, &mut self.delivered);
    }

    /// The offsets of the records that were delivered since the last call.
    pub(crate) fn offsets(&mut self) -> Vec<u64> {
        self.delivered.drain(..).map(|delivery| delivery.offset).collect()
    }

    /// The FETCHes that were sent since the last call, each as topic, sequence and count, and whether a GET-HEADS was
    /// sent.
    pub(crate) fn requests(&mut self) -> (Vec<(Vec<u8>, u64, u32)>, bool) {
        let (mut fetches, mut has_get_heads) = (Vec::new(), false);
        self.out.drain(|frame, _| match Message::decode(frame).expect("a message") {
            Message::Fetch { topic, sequence, count, .. } => fetches.push((topic.to_vec(), sequence, count)),
            Message::GetHeads { .. } => has_get_heads = true,
            _ => {}
        });
        (fetches, has_get_heads)
    }
}

/// Passes a message to a store's writer.
pub(crate) fn store(
    replica: &mut Replica<Content>,
    peer: &Sender,
    message: &Message,
    len_bytes: usize,
    now_ms: u64,
) -> Vec<Append<Content>> {
    let mut appends = Vec::new();
    replica.handle_message(message, content_for(message, len_bytes), peer, now_ms, &mut appends);
    appends
}

/// The number of records by subject and address, and counters of the calls and of the heads that they have returned.
pub(crate) struct Log {
    pub(crate) partitions: BTreeMap<(Vec<u8>, Vec<u8>), u64>,
    pub(crate) heads: Cell<u64>,
    pub(crate) calls: Cell<u64>,
}

impl Log {
    pub(crate) fn new(partitions: impl IntoIterator<Item = (&'static [u8], Vec<u8>, u64)>) -> Log {
        let partitions = partitions.into_iter();
        let partitions = partitions.map(|(subject, address, count)| ((subject.to_vec(), address), count));
        Log { partitions: partitions.collect(), heads: Cell::new(0), calls: Cell::new(0) }
    }
}

impl Source for Log {
    type Error = &'static str;

    fn heads(
        &self,
        subject: Option<&[u8]>,
        after: Option<&[u8]>,
        count: u64,
        each: &mut EachHead,
    ) -> Result<Option<Box<[u8]>>, Self::Error> {
        self.calls.set(self.calls.get() + 1);
        let start = match (after, subject) {
            (Some(after), _) => {
                let end = after.iter().position(|&byte| byte == 0).expect("a NUL");
                Bound::Excluded((after[..end].to_vec(), after[end + 1..].to_vec()))
            }
            (None, Some(subject)) => Bound::Included((subject.to_vec(), Vec::new())),
            (None, None) => Bound::Unbounded,
        };
        let partitions = self.partitions.range((start, Bound::Unbounded));
        let mut rest = partitions.take_while(|((of, _), _)| subject.is_none_or(|subject| subject == of));
        let mut place = None;
        for ((of, address), records) in rest.by_ref().take(count as usize) {
            each(PartitionName { topic: of, producer: address }, records - 1);
            self.heads.set(self.heads.get() + 1);
            place = Some([of, &b"\0"[..], address].concat().into());
        }
        Ok(rest.next().and(place))
    }

    fn positions(
        &self,
        name: Option<&[u8]>,
        after: Option<&[u8]>,
        count: u64,
        each: &mut EachPosition,
    ) -> Result<Option<Box<[u8]>>, Self::Error> {
        // The name of the only consumer with positions is `me`. It has one position in each partition.
        let skip = after.map_or(0, |after| after[0] as usize);
        let mut rest = self.partitions.iter().filter(|_| name.is_none_or(|name| name == b"me")).skip(skip);
        for ((topic, producer), next) in rest.by_ref().take(count as usize) {
            each(b"me", PartitionName { topic, producer }, Committed { timestamp_ms: 1, next: *next });
        }
        Ok(rest.next().map(|_| [skip as u8 + count as u8].into()))
    }

    fn read(
        &self,
        PartitionName { topic, producer }: PartitionName,
        from: u64,
        count: u64,
        each: &mut dyn FnMut(u64, Record),
    ) -> Result<u64, Self::Error> {
        let next = self.partitions.get(&(topic.to_vec(), producer.to_vec())).copied().unwrap_or(0);
        // At most three at a time: a source may return fewer records than requested.
        let end = next.min(from.saturating_add(count.min(3)));
        (from..end).for_each(|offset| each(offset, Record::from(&*content(offset))));
        Ok(end.saturating_sub(from))
    }

    fn read_batches(
        &self,
        _: PartitionName,
        _: u64,
        _: u64,
        _: &mut dyn FnMut(u64, AnyBatch<&[u8]>) -> bool,
    ) -> Result<u64, Self::Error> {
        unreachable!("no FETCH of these tests asks for batches")
    }
}
