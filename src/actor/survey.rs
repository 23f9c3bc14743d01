//! The survey: a node that asks every store what it holds, and ends. For an operator who wants to know what one store
//! lacks that others have; works with stores of libdafka 0.1.0.

use super::node::{Config, Node};
use super::{BATCH_COUNT, MAX_FRAME_LEN_BYTES, Result, new_address, publish, sender, timeout_ms};
use crate::net::{Frame, Kind, Pipe, TERM, now_ms};
use crate::protocol::Outbox;
use crate::settings::Settings;
use crate::wire::{Message, id, prefix};
use std::collections::{BTreeMap, HashSet};
use std::sync::mpsc::Sender;
use zmq::POLLIN;

/// How often the stores are asked: a question may come before a store hears us, an answer before we hear it.
const ASK_INTERVAL_MS: u64 = 500;
/// When no store and no partition was new for so long, all have spoken.
const QUIET_MS: u64 = 3_000;
/// The same while there is a store that has said nothing.
const SILENT_MS: u64 = 15_000;
/// The longest that it takes, however many go on coming.
const MAX_MS: u64 = 60_000;

/// What the stores of a network hold.
#[derive(Debug, Default)]
pub struct Survey {
    /// How many stores there are.
    pub stores: usize,
    /// By subject and address: the offset after the newest record that any of them has.
    pub next: BTreeMap<(Vec<u8>, Vec<u8>), u64>,
    /// Why it may not have heard of all.
    pub left_out: Option<String>,
}

/// Runs a survey, and sends what it has found; nothing when `$TERM` came before.
///
/// # Errors
/// When sockets cannot be had.
pub fn run(pipe: &Pipe, settings: &Settings, found: &Sender<Survey>) -> Result {
    let address = new_address();
    let node = Node::start(
        &Config {
            name: "Survey",
            address: &address,
            ignored: &[],
            publisher: Kind::XPUB,
            send_high_watermark: 0,
            max_frame_len_bytes: MAX_FRAME_LEN_BYTES,
            max_frame_key: None,
            subscriptions: &[prefix(id::DIRECT_HEAD, address.as_bytes())],
            beacon: &settings.beacon,
        },
        pipe,
    )?;
    pipe.signal()?;
    let mut survey = Survey::default();
    let mut outbox = Outbox::<Frame>::new();
    let mut ask_ms = now_ms();
    // Who has answered: connections.
    let mut answered = HashSet::new();
    let mut news_ms = now_ms();
    let last_ms = now_ms() + MAX_MS;
    loop {
        // What came while this thread stood still counts: it ends only after a look.
        let looked_ms = now_ms();
        let end_ms = news_ms + if answered.len() < survey.stores { SILENT_MS } else { QUIET_MS };
        let items = &mut [
            pipe.item(POLLIN),
            node.subscriber.item(POLLIN),
            node.publisher.item(POLLIN),
            node.beacon().item(POLLIN),
        ];
        node.poll(items, timeout_ms(Some(ask_ms.min(end_ms)), now_ms()))?;
        let mut frame = Frame::new();
        while pipe.try_recv(&mut frame)? {
            if frame.as_ref() == TERM {
                return Ok(());
            }
        }
        let mut is_news = false;
        node.subscriptions(|subscription| {
            // The readers of all stores do.
            if subscription.subscribe && subscription.id == id::GET_HEADS && subscription.topic.is_empty() {
                survey.stores += 1;
                is_news = true;
            }
        })?;
        is_news |= heads(&node, &mut survey, &mut answered, settings.store.max_partitions)?;
        if node.follow_beacon()? {
            survey.left_out = Some("a connection was given up".to_owned());
        }
        if is_news {
            news_ms = now_ms();
        }
        if now_ms() >= ask_ms {
            ask_ms = now_ms() + ASK_INTERVAL_MS;
            outbox.message(&Message::GetHeads { topic: b"", address: address.as_bytes() });
            publish(&node.publisher, &mut outbox)?;
        }
        if is_news && looked_ms < last_ms {
            continue;
        }
        if looked_ms >= end_ms.min(last_ms) {
            if looked_ms < end_ms {
                let limit = format!("answers still came after {} s", MAX_MS / 1_000);
                survey.left_out.get_or_insert(limit);
            }
            break;
        }
    }
    let silent = survey.stores.saturating_sub(answered.len());
    if silent > 0 {
        let silent = format!("{silent} of them said nothing, as one that has nothing or is too slow");
        survey.left_out.get_or_insert(silent);
    }
    // Nobody waits for it any more when this fails.
    let _ = found.send(survey);
    Ok(())
}

/// Takes the answers that are there; true when one of them is new.
fn heads(
    node: &Node,
    survey: &mut Survey,
    answered: &mut HashSet<Box<[u8]>>,
    max_partitions: usize,
) -> Result<bool> {
    let mut frame = Frame::new();
    let mut is_news = false;
    let mut is_drained = false;
    for _ in 0..BATCH_COUNT {
        is_drained = !node.subscriber.try_recv(&mut frame)?;
        if is_drained {
            break;
        }
        node.unread.took(frame.origin(), frame.as_ref().len(), 1);
        if let Ok(Message::DirectHead { position, .. }) = Message::decode(frame.as_ref()) {
            let key = (position.subject.to_vec(), position.address.to_vec());
            let next = position.sequence.saturating_add(1);
            is_news |= sender(frame.origin()).is_some_and(|connection| answered.insert(connection));
            let has_room = survey.next.len() < max_partitions;
            match survey.next.get_mut(&key) {
                Some(known) if *known >= next => {}
                // Not news: its producer is at work, and will go on.
                Some(known) => *known = next,
                None if has_room => {
                    survey.next.insert(key, next);
                    is_news = true;
                }
                None => {
                    let limit = format!("only store/max_partitions = {max_partitions} were looked at");
                    survey.left_out = Some(limit);
                }
            }
        }
        node.subscriber.skip_rest(&frame);
    }
    node.unread.end_turn(is_drained);
    Ok(is_news)
}
