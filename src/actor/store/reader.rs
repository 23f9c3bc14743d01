//! The reader: answers FETCH, GET-HEADS and CONSUMER-HELLO from the log.

use super::watch::Slot;
use crate::actor::inbox::{Inbox, Received};
use crate::actor::node::{Config, Node};
use crate::actor::{
    ANSWER_COUNT, BATCH_COUNT, MAX_UNREAD_REQUEST_BYTES, Result, answer_timeout_ms, publish, sender,
};
use crate::net::{Frame, Kind, Pipe, TERM, Warning, now_ms};
use crate::protocol::reader::{EachHead, Reader, Source};
use crate::protocol::{Outbox, Progress, subscriptions};
use crate::settings::Settings;
use crate::storage::{Log, ReadError};
use crate::wire::Message;
use std::collections::HashSet;
use zmq::POLLIN;

/// Content that is read from the log before the sockets are looked at again.
const ANSWER_LEN_BYTES: usize = 1 << 20;

/// What is unreadable is named once, as long as there are not more such things; then, of all together, one a second.
const MAX_TOLD_COUNT: usize = 1_000;

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
        Log::heads(self, subject, after, count, each)
    }

    fn read(
        &self,
        subject: &[u8],
        address: &[u8],
        from: u64,
        count: u64,
        each: &mut dyn FnMut(u64, &[u8]),
    ) -> Result<u64, ReadError> {
        Log::read(self, subject, address, from, count, ANSWER_LEN_BYTES, &mut |offset, content| {
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
    Actor {
        pipe,
        log,
        slot,
        node,
        inbox: Inbox::new(MAX_UNREAD_REQUEST_BYTES, usize::MAX),
        reader,
        outbox: Outbox::new(),
        warning: Warning::default(),
        told: HashSet::new(),
    }
    .run()
}

struct Actor<'a> {
    pipe: &'a Pipe,
    log: &'a Log,
    slot: Slot,
    node: Node,
    inbox: Inbox,
    reader: Reader,
    outbox: Outbox<Frame>,
    warning: Warning,
    /// What was said to be unreadable.
    told: HashSet<Vec<u8>>,
}

impl Actor<'_> {
    fn run(mut self) -> Result {
        let mut progress = Progress::Idle;
        loop {
            let items = &mut [
                self.pipe.item(POLLIN),
                self.node.subscriber.item(POLLIN),
                self.node.publisher.item(POLLIN),
                self.node.beacon().item(POLLIN),
            ];
            self.node.poll(items, if self.inbox.is_empty() { answer_timeout_ms(progress, -1) } else { 0 })?;

            let mut frame = Frame::new();
            while self.pipe.try_recv(&mut frame)? {
                if frame.as_ref() == TERM {
                    return Ok(());
                }
            }
            self.subscriptions()?;
            self.messages()?;
            self.node.follow_beacon()?;
            let Self { node, reader, log, slot, outbox, .. } = &mut self;
            let answered = slot.during("reading records", || {
                reader.answer_to(&mut *node.requesters(), ANSWER_COUNT, *log, outbox, Frame::copy)
            });
            progress = match answered {
                Ok(progress) => progress,
                Err(error) => {
                    self.tell(&error);
                    Progress::Working
                }
            };
            publish(&self.node.publisher, &mut self.outbox)?;
        }
    }

    /// Consumers that subscribe to our STORE-HELLO.
    fn subscriptions(&mut self) -> Result {
        let Self { node, reader, outbox, .. } = self;
        node.subscriptions(|subscription| reader.subscription(subscription, outbox))
    }

    /// Logs what cannot be read: once for each partition, and for each other kind of error, as those who want to read
    /// it ask again and again.
    fn tell(&mut self, error: &ReadError) {
        let what = match error {
            ReadError::Corrupt(corruption) => {
                [&corruption.subject[..], b"\0", &corruption.address[..]].concat()
            }
            error => error.to_string().into_bytes(),
        };
        if self.told.contains(&what) {
            return;
        }
        if self.told.len() < MAX_TOLD_COUNT {
            log::error!("Store Reader: {error}; it is not served");
            self.told.insert(what);
        } else {
            self.warning.warn(now_ms(), || format!("Store Reader: {error}; it is not served"));
        }
    }

    fn messages(&mut self) -> Result {
        for _ in 0..BATCH_COUNT {
            let Some(Received { frame, content, origin, .. }) =
                self.inbox.next(&self.node.subscriber, &self.node.unread)?
            else {
                break;
            };
            match Message::decode(frame.as_ref()) {
                Ok(message) if content.is_none() => {
                    if self.node.is_genuine(&message, origin) {
                        self.reader.message_from(&message, &|| sender(origin));
                    }
                }
                Ok(message) => self.warning.warn(now_ms(), || {
                    format!("Store Reader: dropped a {} with too many frames", message.name())
                }),
                Err(error) => {
                    self.warning.warn(now_ms(), || format!("Store Reader: dropped a message: {error}"));
                }
            }
        }
        self.inbox.fill(&self.node.subscriber, &self.node.unread, now_ms())
    }
}
