//! The start offset of a partition, for a consumer that does not read the partition from its first record.
//!
//! In a partition that is older than its subscription, such a consumer starts at the first HEAD or RECORD that it
//! receives. Any peer can send a HEAD far beyond the last record. The consumer would then drop all records of the
//! producer, because their offsets are lower. So the start offset is only a claim, and live messages of the producer can
//! refute it.

use crate::protocol::Payload;
use std::ops::Range;

/// A contradicted start offset is corrected only if no in-order record has arrived for this time, by the
/// [`WaitClock`](super::wait_clock::WaitClock). The reason is that outdated messages, from an earlier connection to the
/// producer, may contradict a correct start offset. All of them are read within this time.
const CONTRADICTED_MS: u64 = 1_000;

/// The start offset of one partition.
#[derive(Clone, Debug, Default)]
pub(super) struct Beginning {
    /// The start offset, if a peer has only claimed it. Otherwise 0, which no message contradicts.
    first: u64,
    /// The lowest start offset that follows from contradicting messages.
    contradicted: Option<u64>,
    /// When the last in-order record arrived or, without one, when the start offset was claimed.
    confirmed_ms: u64,
    /// The records that were delivered before the start offset was corrected.
    delivered: Range<u64>,
}

impl Beginning {
    /// A peer has claimed that the partition's next record is `first`. The claim may be corrected later.
    pub(super) fn claimed(first: u64, wait_ms: u64) -> Beginning {
        Beginning { first, confirmed_ms: wait_ms, ..Beginning::default() }
    }

    /// Delivers a run, except the records that were delivered before the start offset was corrected.
    pub(super) fn deliver_new<P: Payload>(&self, first: u64, run: P, deliver: &mut impl FnMut(u64, P)) {
        if self.delivered.is_empty() {
            return deliver(first, run);
        }
        let end = first + run.record_count();
        let known_first = self.delivered.start.clamp(first, end);
        let known_end = self.delivered.end.clamp(known_first, end);
        let (before, rest) = run.split(known_first - first);
        if let Some(before) = before {
            deliver(first, before);
        }
        if let Some(after) = rest.and_then(|rest| rest.skip(known_end - known_first)) {
            deliver(known_end, after);
        }
    }

    /// An in-order record has arrived, so earlier contradicting messages were outdated.
    pub(super) fn confirm(&mut self, wait_ms: u64) {
        (self.contradicted, self.confirmed_ms) = (None, wait_ms);
    }

    /// Whether the start offset must be wrong if the producer publishes the record `offset` now.
    pub(super) fn is_contradicted_by(&self, offset: u64) -> bool {
        offset < self.first
    }

    /// A message of the producer shows that the start offset must be `first` or lower.
    pub(super) fn contradict(&mut self, first: u64) {
        self.contradicted = Some(self.contradicted.map_or(first, |known| known.min(first)));
    }

    /// Corrects the start offset if a message has contradicted it, and no record has confirmed it for
    /// [`CONTRADICTED_MS`]. Returns the corrected start offset. The records from the old start offset to `delivered_end`
    /// were delivered, and are not delivered again. Only one range of delivered records is stored. So after a correction
    /// with delivered records, there is no further correction.
    pub(super) fn correct(&mut self, delivered_end: u64, wait_ms: u64) -> Option<u64> {
        let first = self.contradicted?;
        if wait_ms < self.confirmed_ms + CONTRADICTED_MS || !self.delivered.is_empty() {
            return None;
        }
        *self = Beginning {
            first,
            contradicted: None,
            confirmed_ms: wait_ms,
            delivered: self.first..delivered_end,
        };
        Some(first)
    }
}

#[cfg(test)]
mod tests {
    use crate::protocol::Outbox;
    use crate::protocol::consumer::{Consumer, Start, Subscribed};
    use crate::protocol::ingest::Limits;
    use crate::wire::{Message, Position};
    use std::sync::Arc;

    type Content = Arc<[u8]>;

    struct Reading {
        consumer: Consumer<Content>,
        out: Outbox<Content>,
        now_ms: u64,
    }

    fn at(offset: u64) -> Position<'static> {
        Position::new(b"topic", b"PARTITION", b"topic", offset)
    }

    impl Reading {
        fn new() -> Reading {
            let mut consumer = Consumer::new(b"ME", Start::Latest, Limits::default(), 0);
            let mut out = Outbox::new();
            assert!(consumer.subscribe(
                b"topic",
                Subscribed { unix_ms: 0, now_ms: 0, uptime_ms: 0 },
                &mut out
            ));
            Reading { consumer, out, now_ms: 0 }
        }

        /// The consumer runs until `now_ms`, and then receives a message.
        fn take(&mut self, message: Message, content: Option<Content>, now_ms: u64) -> Vec<u64> {
            let mut delivered = Vec::new();
            while self.now_ms < now_ms {
                self.now_ms = now_ms.min(self.now_ms + 100);
                self.consumer.handle_timeout(self.now_ms, &mut self.out, &mut delivered);
            }
            self.consumer.handle_message(&message, content, &|| None, now_ms, &mut self.out, &mut delivered);
            delivered.iter().map(|delivery| delivery.offset).collect()
        }

        fn record(&mut self, offset: u64, now_ms: u64) -> Vec<u64> {
            self.take(Message::Record(at(offset)), Some(b"content".as_slice().into()), now_ms)
        }

        fn answer(&mut self, offset: u64, now_ms: u64) -> Vec<u64> {
            self.take(Message::DirectRecord(at(offset)), Some(b"content".as_slice().into()), now_ms)
        }

        /// The first record of the partition arrives, without a timestamp. So the partition is old.
        fn old(&mut self, now_ms: u64) -> Vec<u64> {
            self.answer(0, now_ms)
        }

        fn head(&mut self, offset: u64, now_ms: u64) -> Vec<u64> {
            self.take(Message::Head(at(offset)), None, now_ms)
        }
    }

    #[test]
    fn a_head_that_no_record_can_follow_opens_nothing() {
        let mut reading = Reading::new();
        assert_eq!(reading.head(u64::MAX, 0), [0; 0]);
        assert_eq!(reading.record(100, 1), [0; 0]);
        assert_eq!(reading.old(2), [100]);
    }

    #[test]
    fn a_start_offset_that_live_messages_contradict_is_corrected() {
        let mut reading = Reading::new();
        reading.head(u64::MAX - 1, 0);
        reading.old(0);
        // These records may come from an earlier connection.
        assert_eq!(reading.record(100, 10), [0; 0]);
        assert_eq!(reading.record(101, 20), [0; 0]);
        assert_eq!(reading.head(u64::MAX - 1, 999), [0; 0]);
        // For a second, no record has confirmed the start offset. So the next message corrects it, and the records from
        // 100 on are delivered.
        assert_eq!(reading.head(101, 1_000), [0; 0]);
        assert_eq!(reading.record(102, 1_001), [0; 0]);
        assert_eq!(reading.answer(100, 1_002), [100]);
        assert_eq!(reading.answer(101, 1_003), [101, 102]);
        // A later claim causes a FETCH, and delays no record.
        reading.head(u64::MAX - 1, 5_000);
        assert_eq!(reading.record(103, 5_001), [103]);
    }

    #[test]
    fn a_correct_start_offset_stays() {
        let mut reading = Reading::new();
        reading.head(150, 0);
        reading.old(0);
        assert_eq!(reading.record(90, 1), [0; 0]);
        assert_eq!(reading.head(91, 2), [0; 0]);
        assert_eq!(reading.head(150, 1_200), [0; 0]);
        // A store that is behind contradicts nothing.
        let mut reading = Reading::new();
        reading.head(150, 0);
        reading.old(0);
        let behind = Message::DirectHead { position: at(100), store: b"STORE" };
        assert_eq!(reading.take(behind, None, 10_000), [0; 0]);
        assert_eq!(reading.record(151, 10_001), [151]);
        // Outdated messages together with a store that is behind contradict nothing, either.
        assert_eq!(reading.record(90, 10_002), [0; 0]);
        assert_eq!(reading.take(behind, None, 20_000), [0; 0]);
        assert_eq!(reading.answer(90, 20_001), [0; 0]);
        assert_eq!(reading.record(152, 20_002), [152]);
    }

    #[test]
    fn a_correct_start_offset_stays_when_the_process_was_stopped() {
        for is_proven in [false, true] {
            let mut reading = Reading::new();
            reading.head(150, 0);
            reading.old(0);
            if is_proven {
                assert_eq!(reading.record(151, 1), [151]);
            }
            let next = 151 + u64::from(is_proven);
            reading.now_ms = 60_000;
            // These records arrived while the process was stopped. The second one has overtaken the first one.
            assert_eq!(reading.record(90, 60_000), [0; 0]);
            assert_eq!(reading.record(next, 60_000), [next]);
            assert_eq!(reading.record(91, 60_500), [0; 0]);
            assert_eq!(reading.record(next + 1, 60_900), [next + 1]);
        }
    }

    #[test]
    fn after_a_forged_record_each_true_one_is_delivered_once() {
        let mut reading = Reading::new();
        reading.record(1 << 63, 0);
        assert_eq!(reading.old(0), [1 << 63]);
        assert_eq!(reading.record(100, 500), [0; 0]);
        assert_eq!(reading.record(101, 1_000), [0; 0]);
        assert_eq!(reading.answer(100, 1_010), [100, 101]);
        // A forged early record does not cause a second delivery.
        let mut reading = Reading::new();
        reading.record(10, 0);
        assert_eq!(reading.old(0), [10]);
        assert_eq!(reading.record(11, 1), [11]);
        assert_eq!(reading.record(8, 2_000), [8]);
        assert_eq!(reading.answer(9, 2_001), [9]);
        assert_eq!(reading.answer(10, 2_001), [0; 0]);
        assert_eq!(reading.answer(11, 2_001), [0; 0]);
        assert_eq!(reading.record(12, 2_002), [12]);
        assert_eq!(reading.record(3, 9_000), [0; 0]);
    }
}
