//! Which inbound connections get the answers to a requester, and whether they read them.
//!
//! libzmq queues what a peer does not read, up to a high-water mark in messages, for every connection that subscribes to
//! it. So answers are made only while the requester's connection can be written to, and only for requesters that subscribe
//! to them. A connection that subscribes to another node's answers and does not read them is ended.

use super::Frame;
use super::Peer;
use super::descriptors::{end_connection, socket_number};
use super::endpoint::host_of_endpoint;
use super::inbound::host_of;
use std::collections::HashMap;
use std::net::IpAddr;
use std::os::fd::RawFd;

/// Subscriptions that are known at a time. Where there are more, requesters that are not known are answered.
const MAX_COUNT: usize = 65_536;
/// Connections that are known of one subscription.
const MAX_PER_PREFIX: usize = 64;
/// How long a connection may stand still while another one of the same requester reads.
const STANDSTILL_MS: u64 = 2_000;
/// How often the dead ones are looked for when there are too many.
const PRUNE_INTERVAL_MS: u64 = 10_000;

/// Whether somebody reads what would be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    /// The connection can be written to, or nothing is known.
    Ready,
    /// What was sent before is not read yet.
    Full,
    /// Nobody subscribes to it.
    Nobody,
}

/// The connections that subscribe to answers.
#[derive(Default)]
pub struct Readers {
    by_prefix: HashMap<Box<[u8]>, Vec<Reader>>,
    count: usize,
    is_incomplete: bool,
    pruned_ms: u64,
}

struct Reader {
    file: RawFd,
    /// Tells the socket from later ones with the same descriptor.
    number: u64,
    host: Option<IpAddr>,
    /// Since when it can not be written to while another one can.
    full_ms: Option<u64>,
}

impl Reader {
    fn is_open(&self) -> bool {
        socket_number(self.file) == Some(self.number)
    }
}

impl Readers {
    /// Takes a subscription to answers, or its end. `prefix` is what is subscribed to.
    pub fn subscription(&mut self, prefix: &[u8], is_subscribed: bool, frame: &Frame, now_ms: u64) {
        let Some(file) = frame.source_file() else { return };
        let Some(number) = socket_number(file) else { return };
        if !is_subscribed {
            if let Some(readers) = self.by_prefix.get_mut(prefix) {
                let before = readers.len();
                readers.retain(|reader| (reader.file, reader.number) != (file, number));
                self.count -= before - readers.len();
                if readers.is_empty() {
                    self.by_prefix.remove(prefix);
                }
            }
            return;
        }
        if self.count >= MAX_COUNT && now_ms >= self.pruned_ms + PRUNE_INTERVAL_MS {
            self.pruned_ms = now_ms;
            self.by_prefix.retain(|_, readers| {
                readers.retain(Reader::is_open);
                !readers.is_empty()
            });
            self.count = self.by_prefix.values().map(Vec::len).sum();
        }
        // No key may stay without a reader: peers could make up any number of them.
        if self.count >= MAX_COUNT && !self.by_prefix.contains_key(prefix) {
            self.is_incomplete = true;
            return;
        }
        let readers = self.by_prefix.entry(prefix.into()).or_default();
        if readers.iter().any(|reader| (reader.file, reader.number) == (file, number)) {
            return;
        }
        if readers.len() >= MAX_PER_PREFIX {
            let before = readers.len();
            readers.retain(Reader::is_open);
            self.count -= before - readers.len();
        }
        if self.count >= MAX_COUNT || readers.len() >= MAX_PER_PREFIX {
            self.is_incomplete = true;
            return;
        }
        let host = Peer::of(file).and_then(|peer| peer.address()).map(|address| host_of(address.ip()));
        readers.push(Reader { file, number, host, full_ms: None });
        self.count += 1;
    }

    /// Whether a message that begins with `topic` would be read now. `home` is the endpoint that the requester is
    /// announced at: a connection from that host counts before others.
    pub fn reading(&mut self, topic: &[u8], home: Option<&str>, now_ms: u64) -> Reading {
        let home = home.and_then(|endpoint| host_of_endpoint(endpoint).parse::<IpAddr>().ok());
        // Whether each can be written to, and whether it counts before others.
        let mut found = Vec::new();
        let prefixes = (0..=topic.len()).map(|len| &topic[..len]);
        for prefix in prefixes.clone() {
            let Some(readers) = self.by_prefix.get_mut(prefix) else { continue };
            let before = readers.len();
            readers.retain(Reader::is_open);
            self.count -= before - readers.len();
            if readers.is_empty() {
                self.by_prefix.remove(prefix);
                continue;
            }
            found.extend(
                readers
                    .iter()
                    .map(|reader| (can_be_written(reader.file), home.is_some() && reader.host == home)),
            );
        }
        if found.is_empty() {
            return if self.is_incomplete { Reading::Ready } else { Reading::Nobody };
        }
        let has_home = found.iter().any(|&(_, is_home)| is_home);
        if !found.iter().any(|&(is_writable, is_home)| is_writable && is_home == has_home) {
            return Reading::Full;
        }
        let mut found = found.into_iter();
        for prefix in prefixes {
            let readers = self.by_prefix.get_mut(prefix).into_iter().flatten();
            for (reader, (is_writable, _)) in readers.zip(&mut found) {
                if is_writable {
                    reader.full_ms = None;
                } else if now_ms >= *reader.full_ms.get_or_insert(now_ms) + STANDSTILL_MS {
                    end_connection(reader.file, reader.number);
                }
            }
        }
        Reading::Ready
    }
}

/// True while the kernel has room for more: then nothing waits in libzmq.
fn can_be_written(file: RawFd) -> bool {
    let mut item = libc::pollfd { fd: file, events: libc::POLLOUT, revents: 0 };
    // SAFETY: one item, which is writable; the call does not wait.
    unsafe { libc::poll(&mut item, 1, 0) > 0 && item.revents & libc::POLLOUT != 0 }
}
