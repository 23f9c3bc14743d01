//! Turns what a node has to say into log lines: the notices of its state machines, and warnings of its loop and of its
//! beacon.
//!
//! Peers can cause any of them, so each kind has a limited rate.

use super::printable;
use crate::net::{Peer, Warning, now_ms};
use crate::protocol::notice::{AckStall, Notice};
use crate::protocol::store::comparison::Divergence;
use std::collections::VecDeque;

/// Differences between stores that are logged per second, at most. A store finds fewer on the average: further ones wait.
const DIVERGENCES_PER_S: usize = 8;
/// Differences that may wait to be logged.
const MAX_DIVERGENCES: usize = 64;

/// The log lines of one node.
pub(super) struct Notices<'a> {
    /// Begins each line.
    name: &'a str,
    /// What the node does with records, for the lines: "read", "stored".
    verb: &'static str,
    /// Of what was dropped or refused.
    warning: Warning,
    /// Of partitions that stand still: other warnings do not hide them.
    stall_warning: Warning,
    /// The same of peers for which there is no room.
    peers_warning: Warning,
    /// Differences to other stores that wait for their line.
    divergences: VecDeque<Divergence>,
    /// No line of them before this.
    divergences_due_ms: u64,
}

impl<'a> Notices<'a> {
    /// Begins each line with `name`. `does` is what the node does with records: "read", "stored".
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

    /// Logs something that a peer may cause again and again: one line a second, for all such things together.
    pub(super) fn warn(&mut self, text: impl FnOnce() -> String) {
        let name = self.name;
        self.warning.warn(now_ms(), || format!("{name}: {}", text()));
    }

    /// Whether [`Notices::take`] may be called: too many notices wait to be logged otherwise.
    pub(super) fn has_room(&self) -> bool {
        self.divergences.len() < MAX_DIVERGENCES
    }

    /// Takes a notice of the node's state machine. `address` is the node's.
    pub(super) fn take(&mut self, notice: Notice, address: &str) {
        let (name, verb) = (self.name, self.verb);
        match notice {
            Notice::TooManyPartitions => {
                self.warn(|| format!("too many partitions; new ones are not {verb}"));
            }
            Notice::TooManyPartitionsOfPeer => self.warn(|| {
                format!(
                    "too many partitions of one peer; new ones of it are {verb} as soon as others give way"
                )
            }),
            Notice::FetchStalled { subject, address, next } => self.stall_warning.warn(now_ms(), || {
                let (address, topic) = (printable(&address), printable(&subject));
                format!(
                    "{name}: partition {address} of {topic} stays at record {next}: nobody answers with it; it is \
                     not {verb} further"
                )
            }),
            Notice::DeliveryStalled { subject, address, count, ms } => {
                let (address, topic, s) = (printable(&address), printable(&subject), ms / 1_000);
                log::warn!(
                    "{name}: partition {address} of {topic}: {count} records are not handed on, as consumer/isolation \
                     is acknowledged: for {s} s no store has acknowledged one of them"
                );
            }
            Notice::AckStalled(stall) => log::warn!("{name}: {address} {}", describe_stall(&stall)),
            Notice::AcksResumed => log::info!("{name}: {address} its records are acknowledged again"),
            Notice::TwinStore => log::warn!(
                "{name}: another store goes by this store's name: its database is a copy of this one's, or this one's \
                 of it. Both count as one store; remove the file dafka.lock from the copy, while no store uses it, to \
                 make it another"
            ),
            Notice::Divergence(divergence) => self.divergences.push_back(divergence),
            Notice::TooManyPeersOfHost { host, limit } => self.peers_warning.warn(now_ms(), || {
                format!(
                    "{name}: a peer at {host} is ignored: there are beacon/max_peers_per_host = {limit} of that host"
                )
            }),
            Notice::TooManyPeers { host, limit } => self.peers_warning.warn(now_ms(), || {
                format!("{name}: a peer at {host} is ignored: there are beacon/max_peers = {limit} peers")
            }),
            Notice::PeerEvicted { host, limit } => self.peers_warning.warn(now_ms(), || {
                format!(
                    "{name}: a peer at {host} gave way to one of another host: there are beacon/max_peers = {limit} \
                     peers, and that host has most"
                )
            }),
        }
    }

    /// When [`Notices::log_due`] has something to log.
    pub(super) fn due_ms(&self) -> Option<u64> {
        (!self.divergences.is_empty()).then_some(self.divergences_due_ms)
    }

    /// Logs what had to wait until now.
    pub(super) fn log_due(&mut self, now_ms: u64) {
        if self.due_ms().is_none_or(|due_ms| now_ms < due_ms) {
            return;
        }
        self.divergences_due_ms = now_ms + Warning::INTERVAL_MS;
        let count = self.divergences.len().min(DIVERGENCES_PER_S);
        self.divergences.drain(..count).for_each(|divergence| log_divergence(self.name, &divergence));
    }

    /// Logs all that waits: the node ends.
    pub(super) fn log_rest(&mut self) {
        self.divergences.drain(..).for_each(|divergence| log_divergence(self.name, &divergence));
    }
}

fn log_divergence(name: &str, divergence: &Divergence) {
    let Divergence { subject, address, store, from, offset } = divergence;
    let (subject, address, store) = (printable(subject), printable(address), printable(store));
    let peer = from.as_deref().and_then(Peer::by_name);
    let sender = peer.map_or_else(String::new, |peer| format!(", which {peer} sent"));
    log::warn!(
        "{name}: partition {address} of {subject}: record {offset} differs from that of the store {store}{sender}. \
         Stores hold different records of this partition; at least one of them is wrong"
    );
}

fn describe_stall(stall: &AckStall) -> String {
    let AckStall { topic, count, ms, min_stores, stores, long_record } = stall;
    let have = match min_stores {
        1 => "no store says that it has them".into(),
        _ => format!(
            "{stores} of the producer/min_stores = {min_stores} different stores that must have them say that they have \
             the oldest"
        ),
    };
    // A store that is sent a longer record than it takes does not answer, but ends the connection.
    let perhaps_too_long = long_record.map_or_else(String::new, |(offset, len)| {
        format!(
            "; the oldest, record {offset}, has {len} octets, more than any that was acknowledged: a store refuses records \
             longer than its store/max_record_bytes"
        )
    });
    format!(
        "{count} records of {} wait for acknowledgement; for {} s none was acknowledged: {have}{perhaps_too_long}",
        printable(topic),
        ms / 1_000
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stall_of_acks_names_what_may_be_the_reason() {
        let stall = |min_stores, long_record| AckStall {
            topic: b"topic"[..].into(),
            count: 10,
            ms: 30_999,
            min_stores,
            stores: 1,
            long_record,
        };
        let begin = "10 records of topic wait for acknowledgement; for 30 s none was acknowledged: ";
        let texts =
            [stall(1, None), stall(2, None), stall(1, Some((1, 5_001)))].map(|stall| describe_stall(&stall));
        let ends = [
            "no store says that it has them",
            "1 of the producer/min_stores = 2 different stores that must have them say that they have the oldest",
            "no store says that it has them; the oldest, record 1, has 5001 octets, more than any that was acknowledged: \
             a store refuses records longer than its store/max_record_bytes",
        ];
        assert_eq!(texts, ends.map(|end| format!("{begin}{end}")));
    }

    #[test]
    fn differences_wait_for_their_line() {
        let mut notices = Notices::new("Store", "stored");
        let mut count = 0;
        while notices.has_room() {
            let divergence = Divergence {
                subject: [].into(),
                address: [].into(),
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
