//! Writes the log lines of a node: the notices of the node's state machines, and warnings of the node's loop and
//! beacon.
//!
//! Peers can cause most of these lines. So the rate of each kind of line is limited, here or in a state machine.

use super::printable;
use crate::net::{Peer, Warning, now_ms};
use crate::protocol::notice::{AckStall, Notice, Refusal};
use crate::protocol::store::comparison::Divergence;
use crate::slots::SLOT_COUNT;
use std::collections::VecDeque;

/// The most divergences logged per second. Further divergences wait. On average, a store finds fewer.
const DIVERGENCES_PER_S: usize = 8;
/// The most divergences that may wait to be logged.
const MAX_DIVERGENCES: usize = 64;

/// The log lines of one node.
pub(super) struct Notices<'a> {
    /// The start of each line.
    name: &'a str,
    /// What the node does with records: "read", "stored".
    verb: &'static str,
    /// Limits the rate of lines about dropped messages and refused partitions.
    warning: Warning,
    /// Limits the rate of lines about stalled partitions. This limit is separate, so that other warnings do not
    /// suppress these lines.
    stall_warning: Warning,
    /// Limits the rate of lines about peers that exceed a limit.
    peers_warning: Warning,
    /// Divergences that wait to be logged.
    divergences: VecDeque<Divergence>,
    /// The earliest time at which the next divergences are logged.
    divergences_due_ms: u64,
}

impl<'a> Notices<'a> {
    /// Each line starts with `name`. `verb` is what the node does with records: "read", "stored".
    pub(super) fn new(name: &'a str, verb: &'static str) -> Notices<'a> {
        Notices {
            name,
            verb,
            warning: Warning::default(),
            stall_warning: Warning::default(),
            peers_warning: Warning::default(),
            divergences: VecDeque::new(),
            divergences_due_ms: 0,
        }
    }

    /// Logs a condition that a peer may cause often. All calls together log at most one line per second.
    pub(super) fn warn(&mut self, text: impl FnOnce() -> String) {
        let name = self.name;
        self.warning.warn(now_ms(), || format!("{name}: {}", text()));
    }

    /// Whether [`Notices::take`] may be called. False when too many divergences wait to be logged.
    pub(super) fn has_room(&self) -> bool {
        self.divergences.len() < MAX_DIVERGENCES
    }

    /// Logs a notice of the node's state machine, or keeps it to be logged later. `address` is the node's address.
    pub(super) fn take(&mut self, notice: Notice, address: &str) {
        let (name, verb) = (self.name, self.verb);
        match notice {
            Notice::TooManyPartitions => {
                self.warn(|| format!("too many partitions; new ones are not {verb}"));
            }
            Notice::TooManyPartitionsOfPeer => self.warn(|| {
                format!("too many partitions of one peer; its new ones are not {verb} until others are evicted")
            }),
            Notice::TooManyOldPartitions => self.warn(|| {
                format!(
                    "too many partitions that began before the subscription; further ones are not {verb} until their \
                     producers send a message"
                )
            }),
            Notice::PresumedOld { partition } => self.stall_warning.warn(now_ms(), || {
                let (address, topic) = (printable(&partition.producer), printable(&partition.topic));
                format!(
                    "{name}: no peer sends the first record of partition {address} of {topic}, so it counts as older \
                     than the subscription; only its new records are {verb}"
                )
            }),
            Notice::FetchStalled { partition, next } => self.stall_warning.warn(now_ms(), || {
                let (address, topic) = (printable(&partition.producer), printable(&partition.topic));
                format!(
                    "{name}: partition {address} of {topic} is stalled: no peer sends record {next}; later records are \
                     not {verb}"
                )
            }),
            Notice::DeliveryStalled { partition, count, ms } => {
                let (address, topic) = (printable(&partition.producer), printable(&partition.topic));
                let s = ms / 1_000;
                log::warn!(
                    "{name}: partition {address} of {topic}: {count} records are not delivered, because \
                     consumer/isolation is acknowledged and no store has acknowledged one of them for {s} s"
                );
            }
            Notice::AckStalled(stall) => log::warn!("{name}: {address} {}", describe_stall(&stall)),
            Notice::AcksResumed => log::info!("{name}: stores acknowledge the records of {address} again"),
            Notice::CommitsStalled { count, ms } => log::warn!(
                "{name}: no store has confirmed a position for {} s; {count} positions wait to be committed",
                ms / 1_000
            ),
            Notice::PositionsMissing { responded, stores } => log::warn!(
                "{name}: does not wait longer for its positions. {responded} of {stores} connected stores have sent \
                 them. Partitions without a position begin where consumer/offset/reset says"
            ),
            Notice::PositionRefused { name: consumer, reason } => log::warn!(
                "{name}: a position of the consumer {} is not stored, because {}",
                printable(&consumer),
                describe_refusal(reason)
            ),
            Notice::GroupWithoutStore => {
                log::warn!("{name}: the consumer waits for a store, because a group (consumer/group) needs one of this library")
            }
            Notice::GroupChanged { members, slots } => log::debug!(
                "{name}: the group has {members} {}; this one handles {slots} of {SLOT_COUNT} slots",
                if members == 1 { "member" } else { "members" }
            ),
            Notice::SharedName { name: consumer } => log::warn!(
                "{name}: two consumers have the name {}; each one reads all records, and the later commit is valid",
                printable(&consumer)
            ),
            Notice::TwinStore => log::warn!(
                "{name}: another store has this store's name, because one database is a copy of the other. Both count \
                 as one store. To make the copy a separate store, stop it and remove the file dafka.lock from it"
            ),
            Notice::Divergence(divergence) => self.divergences.push_back(divergence),
            Notice::TooManyPeersOfHost { host, limit } => self.peers_warning.warn(now_ms(), || {
                format!(
                    "{name}: a peer at {host} is ignored: that host already has beacon/max_peers_per_host = {limit} \
                     peers"
                )
            }),
            Notice::TooManyPeers { host, limit } => self.peers_warning.warn(now_ms(), || {
                format!("{name}: a peer at {host} is ignored: there are already beacon/max_peers = {limit} peers")
            }),
            Notice::TooManyPending { host, limit } => self.peers_warning.warn(now_ms(), || {
                format!(
                    "{name}: a peer at {host} is ignored: {limit} peers have not answered yet (see \
                     beacon/max_pending_peers)"
                )
            }),
            Notice::PeerEvicted { host, limit } => self.peers_warning.warn(now_ms(), || {
                format!(
                    "{name}: a peer at {host} was evicted for a peer of another host: there are beacon/max_peers = \
                     {limit} peers, and {host} has the most"
                )
            }),
        }
    }

    /// When [`Notices::log_due`] must be called next.
    pub(super) fn due_ms(&self) -> Option<u64> {
        (!self.divergences.is_empty()).then_some(self.divergences_due_ms)
    }

    /// Logs the divergences that are due.
    pub(super) fn log_due(&mut self, now_ms: u64) {
        if self.due_ms().is_none_or(|due_ms| now_ms < due_ms) {
            return;
        }
        self.divergences_due_ms = now_ms + Warning::INTERVAL_MS;
        let count = self.divergences.len().min(DIVERGENCES_PER_S);
        self.divergences.drain(..count).for_each(|divergence| log_divergence(self.name, &divergence));
    }

    /// Logs all divergences that wait. Call this when the node ends.
    pub(super) fn log_rest(&mut self) {
        self.divergences.drain(..).for_each(|divergence| log_divergence(self.name, &divergence));
    }
}

fn log_divergence(name: &str, divergence: &Divergence) {
    let Divergence { partition, store, from, offset } = divergence;
    let (subject, address) = (printable(&partition.topic), printable(&partition.producer));
    let store = printable(store);
    let peer = from.as_deref().and_then(Peer::by_name);
    let sender = peer.map_or_else(String::new, |peer| format!(", received from {peer}"));
    log::warn!(
        "{name}: partition {address} of {subject}: record {offset} differs from that of the store {store}{sender}. \
         Stores hold different records of this partition; at least one of them is wrong"
    );
}

fn describe_refusal(reason: Refusal) -> &'static str {
    match reason {
        Refusal::TooMany => {
            "the store has reached its limit of names, of partitions of one name, or of positions"
        }
        Refusal::TooLong => "its name, its topic and the address of the producer are too long together",
        Refusal::Future => "its timestamp is more than a year after the time of this host's clock",
    }
}

fn describe_stall(stall: &AckStall) -> String {
    let AckStall { topic, count, ms, min_stores, stores, long_record } = stall;
    let have = match min_stores {
        1 => "no store reports that it has them".into(),
        _ => format!(
            "{stores} of the producer/min_stores = {min_stores} required stores report that they have the oldest"
        ),
    };
    // A store that receives a record longer than its limit sends no response. It ends the connection.
    let perhaps_too_long = long_record.map_or_else(String::new, |(offset, len)| {
        format!(
            "; the oldest, record {offset}, has {len} bytes, more than any acknowledged record: a store refuses \
             records longer than its store/max_record_bytes"
        )
    });
    format!(
        "{count} records of {} wait for acknowledgement; none was acknowledged for {} s: {have}{perhaps_too_long}",
        printable(topic),
        ms / 1_000
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::partition_name::PartitionNameBuf;

    #[test]
    fn a_stall_of_acks_names_the_possible_reason() {
        let stall = |min_stores, long_record| AckStall {
            topic: b"topic"[..].into(),
            count: 10,
            ms: 30_999,
            min_stores,
            stores: 1,
            long_record,
        };
        let begin = "10 records of topic wait for acknowledgement; none was acknowledged for 30 s: ";
        let texts =
            [stall(1, None), stall(2, None), stall(1, Some((1, 5_001)))].map(|stall| describe_stall(&stall));
        let ends = [
            "no store reports that it has them",
            "1 of the producer/min_stores = 2 required stores report that they have the oldest",
            "no store reports that it has them; the oldest, record 1, has 5001 bytes, more than any acknowledged \
             record: a store refuses records longer than its store/max_record_bytes",
        ];
        assert_eq!(texts, ends.map(|end| format!("{begin}{end}")));
    }

    #[test]
    fn divergences_wait_until_they_are_logged() {
        let mut notices = Notices::new("Store", "stored");
        let mut count = 0;
        while notices.has_room() {
            let divergence = Divergence {
                partition: PartitionNameBuf { topic: [].into(), producer: [].into() },
                store: [].into(),
                from: None,
                offset: count,
            };
            notices.take(Notice::Divergence(divergence), "");
            count += 1;
        }
        assert_eq!(count, MAX_DIVERGENCES as u64);
        notices.log_due(5);
        notices.log_due(1_004);
        assert_eq!(
            (notices.divergences.len(), notices.due_ms()),
            (MAX_DIVERGENCES - DIVERGENCES_PER_S, Some(1_005))
        );
        notices.log_due(1_005);
        assert_eq!(notices.divergences.len(), MAX_DIVERGENCES - 2 * DIVERGENCES_PER_S);
        notices.log_rest();
        assert_eq!(notices.due_ms(), None);
    }
}
