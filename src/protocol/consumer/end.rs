//! Whether a consumer has read all records that its peers have.
//!
//! No peer states that it has no record of a topic. So the consumer concludes from silence that it knows all partitions:
//! when for some time no peer has connected, and no partition was opened. The consumer measures this time by the
//! [`WaitClock`](crate::protocol::ingest::Ingest::wait_ms), so that messages which it has not read do not count as silence.

use super::Consumer;
use crate::protocol::Payload;

/// How long nothing new must arrive if any peer has mentioned a partition. Peers send beacons every second, so the
/// consumer knows all peers that are connected to its towers after this time.
const SILENCE_MS: u64 = 2_000;
/// The same, if no peer has mentioned any partition. Perhaps the only store is slow.
const SILENCE_WITHOUT_HEAD_MS: u64 = 5_000;
/// News that comes later than this after the subscription does not prolong the wait. Otherwise, producers that start again
/// and again would prolong it for ever.
const MAX_NEWS_MS: u64 = 60_000;

/// Since when the consumer has found nothing new. The times are those of the `WaitClock`.
#[derive(Debug, Default)]
pub(super) struct Quiet {
    since_ms: u64,
    subscribed_ms: u64,
    /// Whether any peer has mentioned a partition.
    has_head: bool,
}

impl<P: Payload> Consumer<P> {
    /// A topic was subscribed, so its heads are requested.
    pub(super) fn begin_quiet(&mut self, now_ms: u64) {
        let now_ms = self.ingest.wait_ms(now_ms);
        self.quiet = Quiet { since_ms: now_ms, subscribed_ms: now_ms, has_head: false };
    }

    /// A peer has connected, or a partition was opened.
    pub(super) fn handle_news(&mut self, now_ms: u64) {
        let now_ms = self.ingest.wait_ms(now_ms);
        if now_ms < self.quiet.subscribed_ms + MAX_NEWS_MS {
            self.quiet.since_ms = now_ms;
        }
    }

    /// A peer has mentioned a partition.
    pub(super) fn handle_mention(&mut self) {
        self.quiet.has_head = true;
    }

    /// How many records are left until the end of what is there: of a topic or, if `producer` is not empty, of one of its
    /// partitions. Records that were delivered do not count. Returns `None` while the consumer may not know all
    /// partitions, or has not decided where to start in one of them. To be called several times a second, because the
    /// time between two calls counts as silence for at most half a second.
    pub fn left(&mut self, topic: &[u8], producer: &[u8], now_ms: u64) -> Option<u64> {
        let Quiet { since_ms, has_head, .. } = self.quiet;
        let silence_ms = if has_head { SILENCE_MS } else { SILENCE_WITHOUT_HEAD_MS };
        if self.ingest.wait_ms(now_ms) < since_ms + silence_ms {
            return None;
        }
        let is_of = |index: &_| producer.is_empty() || self.partition(*index).producer == producer;
        let count = |index| (!self.ingest.is_undecided(index)).then(|| self.lag_of(index));
        self.ingest.partitions_of(topic).filter(is_of).map(count).sum()
    }
}
