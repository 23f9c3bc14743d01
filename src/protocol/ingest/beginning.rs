//! Where a partition begins for a consumer that does not read it from its first record.
//!
//! Such a consumer begins at the first HEAD or RECORD. Any peer can send a HEAD far beyond the last record, and all
//! records of the producer would then look old. So the beginning is a claim, and live messages of the producer can
//! disprove it.

use std::ops::Range;

/// How long a beginning stands without a record in order before messages that contradict it count. Messages that are left
/// over from an earlier connection to the producer are read within this time.
const CONTRADICTED_MS: u64 = 1_000;

/// The beginning of one partition.
#[derive(Clone, Debug, Default)]
pub(super) struct Beginning {
    /// The first record; 0 when no record can be before it.
    first: u64,
    /// The first record according to messages that contradict.
    contradicted: Option<u64>,
    /// Records that were delivered before the beginning was corrected.
    delivered: Range<u64>,
}

impl Beginning {
    /// A peer has claimed that the partition's next record is `first`. The beginning may be corrected.
    pub(super) fn claimed(first: u64) -> Beginning {
        Beginning { first, ..Beginning::default() }
    }

    /// True for a record that was delivered before the beginning was corrected.
    pub(super) fn is_delivered(&self, offset: u64) -> bool {
        self.delivered.contains(&offset)
    }

    /// A record has arrived in order: messages that contradicted before that were late.
    pub(super) fn confirm(&mut self) {
        self.contradicted = None;
    }

    /// Whether a partition with a record `first` contradicts the beginning.
    pub(super) fn is_contradicted_by(&self, first: u64) -> bool {
        first < self.first
    }

    /// A message shows that the partition begins at `first` at the latest.
    pub(super) fn contradict(&mut self, first: u64) {
        self.contradicted = Some(self.contradicted.map_or(first, |known| known.min(first)));
    }

    /// Corrects the beginning, if it is contradicted and was not confirmed by a record since `confirmed_ms`. Returns the
    /// corrected one. Records before `delivered_end` were delivered, and are not delivered again. So a partition that has
    /// delivered a record is corrected once at most.
    pub(super) fn correct(&mut self, confirmed_ms: u64, delivered_end: u64, now_ms: u64) -> Option<u64> {
        let first = self.contradicted?;
        if now_ms < confirmed_ms + CONTRADICTED_MS || !self.delivered.is_empty() {
            return None;
        }
        *self = Beginning { first, contradicted: None, delivered: self.first..delivered_end };
        Some(first)
    }
}

#[cfg(test)]
mod tests {
    use crate::protocol::Outbox;
    use crate::protocol::consumer::{Consumer, Start};
    use crate::protocol::ingest::Limits;
    use crate::wire::{Message, Position};
    use std::sync::Arc;

    type Content = Arc<[u8]>;

    struct Reading {
        consumer: Consumer<Content>,
        out: Outbox<Content>,
    }

    fn at(offset: u64) -> Position<'static> {
        Position::new(b"topic", b"PARTITION", b"topic", offset)
    }

    impl Reading {
        fn new() -> Reading {
            let mut consumer = Consumer::new(b"ME", Start::Latest, Limits::default(), 0);
            let mut out = Outbox::new();
            assert!(consumer.subscribe(b"topic", &mut out));
            Reading { consumer, out }
        }

        fn take(&mut self, message: Message, content: Option<Content>, now_ms: u64) -> Vec<u64> {
            let mut delivered = Vec::new();
            self.consumer.handle_message(&message, content, &|| None, now_ms, &mut self.out, &mut delivered);
            delivered.iter().map(|delivery| delivery.offset).collect()
        }

        fn record(&mut self, offset: u64, now_ms: u64) -> Vec<u64> {
            self.take(Message::Record(at(offset)), Some(b"content".as_slice().into()), now_ms)
        }

        fn answer(&mut self, offset: u64, now_ms: u64) -> Vec<u64> {
            self.take(Message::DirectRecord(at(offset)), Some(b"content".as_slice().into()), now_ms)
        }

        fn head(&mut self, offset: u64, now_ms: u64) -> Vec<u64> {
            self.take(Message::Head(at(offset)), None, now_ms)
        }
    }

    #[test]
    fn a_head_that_no_record_can_follow_opens_nothing() {
        let mut reading = Reading::new();
        assert_eq!(reading.head(u64::MAX, 0), [0; 0]);
        assert_eq!(reading.record(100, 1), [100]);
    }

    #[test]
    fn a_beginning_that_live_messages_contradict_is_corrected() {
        let mut reading = Reading::new();
        reading.head(u64::MAX - 1, 0);
        // They may be left over from an earlier connection.
        assert_eq!(reading.record(100, 10), [0; 0]);
        assert_eq!(reading.record(101, 20), [0; 0]);
        assert_eq!(reading.head(u64::MAX - 1, 999), [0; 0]);
        // A second later, nobody has shown a record that the beginning allows: they were right, and all of them come.
        assert_eq!(reading.head(101, 1_000), [0; 0]);
        assert_eq!(reading.record(102, 1_001), [0; 0]);
        assert_eq!(reading.answer(100, 1_002), [100]);
        assert_eq!(reading.answer(101, 1_003), [101, 102]);
        // What is claimed later is asked for, and holds nothing up.
        reading.head(u64::MAX - 1, 5_000);
        assert_eq!(reading.record(103, 5_001), [103]);
    }

    #[test]
    fn a_beginning_that_was_right_stays() {
        let mut reading = Reading::new();
        reading.head(150, 0);
        assert_eq!(reading.record(90, 1), [0; 0]);
        assert_eq!(reading.head(91, 2), [0; 0]);
        assert_eq!(reading.head(150, 1_200), [0; 0]);
        // A store is behind: that contradicts nobody.
        let mut reading = Reading::new();
        reading.head(150, 0);
        let behind = Message::DirectHead { position: at(100), store: b"STORE" };
        assert_eq!(reading.take(behind, None, 10_000), [0; 0]);
        assert_eq!(reading.record(151, 10_001), [151]);
        // Nor do what was left over and a store that is behind together.
        assert_eq!(reading.record(90, 10_002), [0; 0]);
        assert_eq!(reading.take(behind, None, 20_000), [0; 0]);
        assert_eq!(reading.answer(90, 20_001), [0; 0]);
        assert_eq!(reading.record(152, 20_002), [152]);
    }

    #[test]
    fn after_a_forged_record_the_true_ones_come_each_once() {
        let mut reading = Reading::new();
        assert_eq!(reading.record(1 << 63, 0), [1 << 63]);
        assert_eq!(reading.record(100, 500), [0; 0]);
        assert_eq!(reading.record(101, 1_000), [0; 0]);
        assert_eq!(reading.answer(100, 1_010), [100, 101]);
        // Somebody who forges an early record has nothing delivered twice.
        let mut reading = Reading::new();
        assert_eq!(reading.record(10, 0), [10]);
        assert_eq!(reading.record(11, 1), [11]);
        assert_eq!(reading.record(8, 2_000), [8]);
        assert_eq!(reading.answer(9, 2_001), [9]);
        assert_eq!(reading.answer(10, 2_001), [0; 0]);
        assert_eq!(reading.answer(11, 2_001), [0; 0]);
        assert_eq!(reading.record(12, 2_002), [12]);
        assert_eq!(reading.record(3, 9_000), [0; 0]);
    }
}
