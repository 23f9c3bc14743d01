//! The reader: answers FETCH, GET-HEADS and CONSUMER-HELLO from the log.

use super::disk_watch::Slot;
use crate::actor::common::Common;
use crate::actor::inbox::Inbox;
use crate::actor::node::{Config, Node};
use crate::actor::node_loop;
use crate::actor::notices::Notices;
use crate::actor::role::{Flow, Receives, Role};
use crate::actor::{ANSWER_COUNT, MAX_UNREAD_REQUEST_BYTES, Result, answers_due_ms};
use crate::net::{Frame, Kind, Pipe, TERM};
use crate::protocol::store::reader::{EachHead, Reader, Source};
use crate::protocol::{Outbox, Progress, Sender, subscriptions};
use crate::settings::Settings;
use crate::storage::{Log, PartitionName, ReadError};
use crate::wire::{Message, Subscription};
use std::collections::HashSet;

/// Content that is read from the log before the sockets are looked at again.
const ANSWER_LEN_BYTES: usize = 1 << 20;

/// What is unreadable is named once, as long as there are not more such things; then, of all together, one a second.
const MAX_LOGGED_COUNT: usize = 1_000;

/// Records that may wait for one requester to read them: as many as libdafka 0.1.0 asks for at once, and some more. Ours
/// ask for 16,384 of a partition. What is on disk already need not fill the memory, too.
const MAX_UNSENT_COUNT: i32 = 131_072;

/// The longest CONSUMER-HELLO: one with sixty thousand topics of the longest names.
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
        Log::heads(self, subject, after, count, &mut |name, head| each(name.topic, name.producer, head))
    }

    fn read(
        &self,
        subject: &[u8],
        address: &[u8],
        from: u64,
        count: u64,
        each: &mut dyn FnMut(u64, &[u8]),
    ) -> Result<u64, ReadError> {
        let name = PartitionName { topic: subject, producer: address };
        Log::read(self, name, from, count, ANSWER_LEN_BYTES, &mut |offset, content| {
            each(offset, content);
            true
        })
    }
}

/// Runs a reader until `$TERM`. `writer` is the address of the store's other half, `store` the name of both.
pub(super) fn run(
    pipe: &Pipe,
    address: &str,
    writer: &str,
    store: &[u8],
    log: &Log,
    slot: Slot,
    settings: &Settings,
) -> Result {
    // 0 means no limit, to ZeroMQ and in the settings.
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
            max_frame_len_bytes: MAX_HELLO_LEN_BYTES,
            max_frame_key: None,
            subscriptions: &subscriptions::store_reader(address.as_bytes()),
            beacon: &settings.beacon,
        },
        pipe,
    )?;
    pipe.signal()?;
    let reader = Reader::new(address.as_bytes()).named(store).with_max_fetches(settings.store.max_fetches);
    let inbox = Inbox::new(MAX_UNREAD_REQUEST_BYTES, usize::MAX);
    let role = ReaderRole { log, slot, reader, progress: Progress::Idle, logged: HashSet::new() };
    node_loop::run(role, Common::new(pipe, node, inbox, Notices::new("Store Reader", "served")))
}

/// The role of a store's reader.
struct ReaderRole<'a> {
    log: &'a Log,
    slot: Slot,
    reader: Reader,
    /// What is left to answer.
    progress: Progress,
    /// What was said to be unreadable.
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

    /// Consumers subscribe to our STORE-HELLO.
    fn handle_subscription(&mut self, subscription: &Subscription, _: u64, out: &mut Outbox<Frame>) {
        self.reader.handle_subscription(subscription, out);
    }

    fn handle_message(
        &mut self,
        _: &mut Common,
        message: &Message,
        _: Option<Frame>,
        from: &Sender,
        _: u64,
    ) -> Result {
        self.reader.handle_message(message, from);
        Ok(())
    }

    fn turn(&mut self, common: &mut Common, _: bool) -> Result<Flow> {
        let Self { reader, log, slot, .. } = self;
        let Common { node, outbox, .. } = &mut *common;
        let answered = slot.during("reading records", || {
            reader.poll_answers(&mut *node.requesters(), ANSWER_COUNT, *log, outbox, Frame::copy)
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
    /// Logs what cannot be read: once for each partition, and for each other kind of error, as those who want to read
    /// it ask again and again.
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
