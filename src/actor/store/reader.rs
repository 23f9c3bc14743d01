//! The reader: responds to FETCH, GET-HEADS and CONSUMER-HELLO from the log.

use super::disk_watch::Slot;
use crate::actor::common::Common;
use crate::actor::inbox::Inbox;
use crate::actor::node::{Config, Node};
use crate::actor::node_loop;
use crate::actor::notices::Notices;
use crate::actor::requesters::heads_at_once;
use crate::actor::role::{Flow, Receives, Role};
use crate::actor::{ANSWER_COUNT, MAX_UNREAD_REQUEST_BYTES, Result, Run, answers_due_ms};
use crate::net::{Frame, Kind, Origin, Pipe, TERM, UnsentLimit};
use crate::protocol::store::reader::{EachHead, EachPosition, Reader, Source};
use crate::protocol::{Outbox, Progress, Sender, subscriptions};
use crate::settings::Settings;
use crate::storage::{Log, PartitionName, ReadError};
use crate::wire::batch::{AnyBatch, Record};
use crate::wire::{Message, Subscription};
use std::collections::HashSet;

/// The most content that is read from the log before the sockets are read again.
const ANSWER_LEN_BYTES: usize = 1 << 20;

/// Up to this many unreadable partitions and other errors are logged once each. For further errors, the reader logs at
/// most one line per second.
const MAX_LOGGED_COUNT: usize = 1_000;

/// The limit of messages that wait to be sent to one requester. A message is a record, a batch of records, or a head.
/// The records of one FETCH fit, even if each record is a message: nodes of 0.1.0 request up to 100,000 records at
/// once, nodes of this library 16,384 records of a partition. The limit saves memory. The reader can read a dropped
/// record from disk again.
const MAX_UNSENT_COUNT: i32 = 131_072;

/// The longest CONSUMER-HELLO. 60,000 topics of maximum length fit.
const MAX_HELLO_LEN_BYTES: usize = 16 << 20;

impl Source for Log {
    type Error = ReadError;

    fn heads(
        &self,
        subject: Option<&[u8]>,
        after: Option<&[u8]>,
        count: u64,
        each: &mut EachHead,
    ) -> Result<Option<Box<[u8]>>, ReadError> {
        Log::heads(self, subject, after, count, each)
    }

    fn positions(
        &self,
        name: Option<&[u8]>,
        after: Option<&[u8]>,
        count: u64,
        each: &mut EachPosition,
    ) -> Result<Option<Box<[u8]>>, ReadError> {
        Log::positions(self, name, after, count, each)
    }

    fn read(
        &self,
        partition: PartitionName,
        from: u64,
        count: u64,
        each: &mut dyn FnMut(u64, Record),
    ) -> Result<u64, ReadError> {
        Log::read(self, partition, from, count, ANSWER_LEN_BYTES, &mut |offset, record| {
            each(offset, record);
            true
        })
    }

    fn read_batches(
        &self,
        partition: PartitionName,
        from: u64,
        count: u64,
        each: &mut dyn FnMut(u64, AnyBatch<&[u8]>) -> bool,
    ) -> Result<u64, ReadError> {
        Log::read_batches(self, partition, from, count, ANSWER_LEN_BYTES, &mut |stored| {
            each(stored.first_offset, stored.batch)
        })
    }
}

/// Runs a reader until `$TERM`. `writer` is the address of the store's writer, `store` the name of the store.
pub(super) fn run(
    pipe: &Pipe,
    address: &str,
    writer: &str,
    store: &[u8],
    log: &Log,
    slot: Slot,
    settings: &Settings,
) -> Result {
    // 0 means no limit, in ZeroMQ and in the settings.
    let send_high_watermark = match settings.store.high_watermark {
        0 => MAX_UNSENT_COUNT,
        high_watermark => high_watermark.min(MAX_UNSENT_COUNT),
    };
    let node = Node::start(
        &Config {
            name: "Store Reader",
            address,
            ignored: &[writer],
            publisher: Kind::XPUB,
            send_high_watermark,
            unsent: UnsentLimit::new("store/max_unsent_bytes", settings.store.max_unsent_bytes),
            max_frame_len_bytes: MAX_HELLO_LEN_BYTES,
            max_frame_key: None,
            subscriptions: &subscriptions::store_reader(address.as_bytes()),
            traffic: subscriptions::STORE_READER,
            beacon: &settings.beacon,
        },
        pipe,
    )?;
    pipe.signal()?;
    let reader = Reader::new(address.as_bytes()).named(store).with_max_fetches(settings.store.max_fetches);
    let inbox = Inbox::new(MAX_UNREAD_REQUEST_BYTES, usize::MAX);
    let answer_count = ANSWER_COUNT.min(heads_at_once(send_high_watermark));
    let role =
        ReaderRole { log, slot, reader, answer_count, progress: Progress::Idle, logged: HashSet::new() };
    node_loop::run(role, Common::new(pipe, node, inbox, Notices::new("Store Reader", "served")))
}

/// The role of a store's reader.
struct ReaderRole<'a> {
    log: &'a Log,
    slot: Slot,
    reader: Reader,
    /// The most heads, and the most records or batches, that are sent in one turn.
    answer_count: u64,
    /// Whether responses are left to send.
    progress: Progress,
    /// Partitions and errors that were logged as unreadable.
    logged: HashSet<Vec<u8>>,
}

impl Role for ReaderRole<'_> {
    const RECEIVES: Receives = Receives::Requests;

    fn due_ms(&self, now_ms: u64) -> Option<u64> {
        answers_due_ms(self.progress, now_ms)
    }

    fn handle_command(&mut self, _: &mut Common, command: &[u8], _: Option<Frame>, _: u64) -> Result<Flow> {
        Ok(if command == TERM { Flow::End } else { Flow::Continue })
    }

    /// A consumer subscribes to the STORE-HELLOs that readers send to it.
    fn handle_subscription(&mut self, subscription: &Subscription, _: Origin, _: u64, out: &mut Outbox<Run>) {
        self.reader.handle_subscription(subscription, out);
    }

    fn handle_message(
        &mut self,
        _: &mut Common,
        message: &Message,
        _: Option<Run>,
        from: &Sender,
        _: u64,
    ) -> Result {
        self.reader.handle_message(message, from);
        Ok(())
    }

    fn turn(&mut self, common: &mut Common, _: bool) -> Result<Flow> {
        let Self { reader, log, slot, answer_count, .. } = self;
        let Common { node, outbox, .. } = &mut *common;
        let answered = slot.during("reading records", || {
            reader.poll_answers(&mut *node.requesters(), *answer_count, *log, outbox)
        });
        self.progress = match answered {
            Ok(progress) => progress,
            Err(error) => {
                self.log_unreadable(&error, &mut common.notices);
                Progress::Working
            }
        };
        Ok(Flow::Continue)
    }
}

impl ReaderRole<'_> {
    /// Logs an error once for each partition, and once for each other kind of error, because requesters repeat requests
    /// for records that cannot be read.
    fn log_unreadable(&mut self, error: &ReadError, notices: &mut Notices) {
        let what = match error {
            ReadError::Corrupt(corruption) => {
                [&corruption.topic[..], b"\0", &corruption.producer[..]].concat()
            }
            error => error.to_string().into_bytes(),
        };
        if self.logged.contains(&what) {
            return;
        }
        if self.logged.len() < MAX_LOGGED_COUNT {
            log::error!("Store Reader: {error}; it is not served");
            self.logged.insert(what);
        } else {
            notices.warn(|| format!("{error}; it is not served"));
        }
    }
}
