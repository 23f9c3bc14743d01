//! The bounds of the roles' state machines, and who is served when somebody else wants everything.

use dafka::protocol::consumer::{Consumer, Delivery, Start};
use dafka::protocol::ingest::Limits;
use dafka::protocol::replica::{Append, Replica};
use dafka::protocol::{Outbox, sequencer};
use dafka::wire::{Message, Position};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

type Content = Arc<[u8]>;

const TOPIC: &[u8] = b"topic";
const ME: &[u8] = b"ME";

/// Longer than what a partition stays that is real.
const LONG_MS: u64 = 2_500;

fn record(address: &[u8], sequence: u64) -> Message<'_> {
    Message::Record(Position::new(TOPIC, address, TOPIC, sequence))
}

fn direct(address: &[u8], sequence: u64) -> Message<'_> {
    Message::DirectRecord(Position::new(ME, address, TOPIC, sequence))
}

fn head(address: &[u8], sequence: u64) -> Message<'_> {
    Message::Head(Position::new(TOPIC, address, TOPIC, sequence))
}

fn direct_head(address: &[u8], sequence: u64) -> Message<'_> {
    Message::DirectHead { position: Position::new(ME, address, TOPIC, sequence), store: b"STORE" }
}

fn fake(number: u32) -> Vec<u8> {
    format!("FAKE{number}").into_bytes()
}

struct Reading {
    consumer: Consumer<Content>,
    out: Outbox<Content>,
    delivered: Vec<Delivery<Content>>,
}

impl Reading {
    fn new(start: Start, limits: Limits) -> Reading {
        let mut out = Outbox::new();
        let mut consumer = Consumer::new(ME, start, limits, 0);
        consumer.subscribe(TOPIC, &mut out);
        Reading { consumer, out, delivered: Vec::new() }
    }

    /// Takes a message, and tells the offsets of what is delivered.
    fn take(&mut self, message: Message, len: Option<usize>, now_ms: u64) -> Vec<u64> {
        let content = len.map(|len| vec![0; len].into());
        self.consumer.message(&message, content, now_ms, &mut self.out, &mut self.delivered);
        self.consumer.tick(now_ms, &mut self.out);
        self.out.drain(|_, _| {});
        self.delivered.drain(..).map(|delivery| delivery.offset).collect()
    }
}

fn small(partitions: usize) -> Limits {
    Limits { partitions, ..Limits::default() }
}

#[test]
fn a_live_partition_gets_in_among_dead_ones_and_stays() {
    let mut reading = Reading::new(Start::Earliest, small(50));
    for i in 0..50 {
        reading.take(head(&fake(i), 1_000), None, 0);
    }
    assert_eq!(reading.take(record(b"LIVE", 0), Some(1), 100), [0]);
    // The fakes go on, old ones and new ones, and speak of themselves all the time.
    for i in 0..20_000_u32 {
        let now_ms = LONG_MS + u64::from(i);
        reading.take(head(&fake(i % 10_000), 1_000), None, now_ms);
        if i % 1_000 == 999 {
            let offset = u64::from(i / 1_000) + 1;
            assert_eq!(reading.take(record(b"LIVE", offset), Some(1), now_ms), [offset], "{i}");
        }
    }
    assert!(reading.consumer.statistics().closed > 100);
}

#[test]
fn a_partition_that_gave_way_goes_on_where_it_stood() {
    for start in [Start::Earliest, Start::Latest] {
        let mut reading = Reading::new(start, small(3));
        assert_eq!(reading.take(record(b"QUIET", 0), Some(1), 0), [0]);
        assert_eq!(reading.take(record(b"QUIET", 1), Some(1), 0), [1]);
        for i in 0..10 {
            // Real ones, as far as anybody can tell.
            let now_ms = LONG_MS * u64::from(i + 1);
            assert_eq!(reading.take(record(&fake(i), 0), Some(1), now_ms), [0]);
        }
        assert_eq!(reading.consumer.statistics().closed, 8);
        let now_ms = LONG_MS * 20;
        // No record twice, and none left out.
        assert_eq!(reading.take(record(b"QUIET", 1), Some(1), now_ms), [], "{start:?}");
        assert_eq!(reading.take(record(b"QUIET", 3), Some(1), now_ms), []);
        assert_eq!(reading.take(direct(b"QUIET", 2), Some(1), now_ms), [2, 3], "{start:?}");
        // Until the topic is another matter.
        reading.consumer.unsubscribe(TOPIC);
        reading.consumer.subscribe(TOPIC, &mut reading.out);
        let again = if start == Start::Earliest { vec![] } else { vec![1] };
        assert_eq!(reading.take(record(&fake(0), 1), Some(1), now_ms), again, "{start:?}");
    }
}

#[test]
fn what_is_remembered_is_bounded() {
    let mut reading = Reading::new(Start::Earliest, Limits { remembered: 10, ..small(3) });
    for i in 0..100 {
        reading.take(record(&fake(i), 0), Some(1), LONG_MS * u64::from(i));
    }
    // The latest ten that gave way are known; the first one is as good as new.
    assert_eq!(reading.take(record(&fake(95), 0), Some(1), LONG_MS * 200), []);
    assert_eq!(reading.take(record(&fake(0), 0), Some(1), LONG_MS * 201), [0]);
}

#[test]
fn a_partition_that_is_refused_pushes_no_other_out_of_what_is_remembered() {
    let mut reading = Reading::new(Start::Earliest, Limits { remembered: 3, ..small(1) });
    for (i, address) in [b"OLD", b"BAD", b"NEW"].into_iter().enumerate() {
        assert_eq!(reading.take(record(address, 0), Some(1), LONG_MS * i as u64), [0]);
    }
    for _ in 0..10 {
        assert_eq!(reading.take(record(b"BAD", 1), Some(1), LONG_MS * 2), [], "there is no place");
    }
    assert_eq!(reading.take(record(b"OLD", 0), Some(1), LONG_MS * 4), [], "it was handed on before");
}

#[test]
fn what_stores_say_of_complete_partitions_keeps_no_other_out() {
    for start in [Start::Earliest, Start::Latest] {
        let mut reading = Reading::new(start, small(1));
        assert_eq!(reading.take(record(b"FIRST", 0), Some(1), 0), [0]);
        assert_eq!(reading.take(record(b"OTHER", 0), Some(1), LONG_MS), [0]);
        // The stores have a record more of each than this consumer; both producers are gone.
        for (round, address) in [(2, b"FIRST"), (3, b"OTHER")] {
            let now_ms = LONG_MS * round;
            for known in [b"FIRST", b"OTHER"].into_iter().filter(|&known| known != address) {
                reading.take(direct_head(known, 0), None, now_ms);
            }
            reading.take(direct_head(address, 1), None, now_ms);
            assert_eq!(reading.take(direct(address, 1), Some(1), now_ms), [1], "{start:?}");
        }
    }
    let mut storing = Storing::new(1);
    storing.record(b"FIRST", 0, 0);
    assert_eq!(storing.commit(), ["FIRST 0"]);
    storing.replica.message(&direct_head(b"FIRST", 0), None, LONG_MS, &mut storing.appends);
    storing.record(b"OTHER", 0, LONG_MS);
    assert_eq!(storing.commit(), ["OTHER 0"]);
    storing.replica.message(&direct_head(b"FIRST", 0), None, 2 * LONG_MS, &mut storing.appends);
    assert_eq!(storing.replica.statistics().closed, 1, "the store's disk has it");
}

/// What all partitions hold of early records, in records of 1,000 octets.
const LEN: usize = 1_000;
const COST: usize = LEN + sequencer::EARLY_OVERHEAD_BYTES;

#[test]
fn records_of_gaps_that_nobody_fills_give_way() {
    let limits = Limits { early_len_bytes: 100 * COST, ..Limits::default() };
    let mut reading = Reading::new(Start::Earliest, limits);
    // Partitions that have shown nothing yet fill the buffer.
    for i in 0..200 {
        reading.take(record(&fake(i), 5), Some(LEN), 0);
    }
    assert!(reading.consumer.statistics().no_room > 0);
    reading.take(record(b"LIVE", 0), Some(LEN), 1);
    for offset in 2..12 {
        assert_eq!(reading.take(record(b"LIVE", offset), Some(LEN), 2), []);
    }
    let statistics = reading.consumer.statistics();
    assert!(statistics.early_dropped >= 9, "{statistics:?}");
    let expected: Vec<u64> = (1..12).collect();
    assert_eq!(reading.take(direct(b"LIVE", 1), Some(LEN), 3), expected);

    // Also partitions that once were real: those that do not move on.
    for i in 0..200 {
        reading.take(record(&fake(1_000 + i), 0), Some(1), 10);
        reading.take(record(&fake(1_000 + i), 5), Some(LEN), 10);
    }
    reading.take(record(b"LIVE", 13), Some(LEN), 20);
    assert_eq!(reading.take(direct(b"LIVE", 12), Some(LEN), 20), [12], "no room yet");
    reading.take(record(b"LIVE", 14), Some(LEN), 10 + LONG_MS);
    assert_eq!(reading.take(direct(b"LIVE", 13), Some(LEN), 10 + LONG_MS), [13, 14]);
}

#[test]
fn one_partition_alone_does_not_fill_the_buffer() {
    let limits = Limits { early_len_bytes: 100 * COST, ..Limits::default() };
    let mut reading = Reading::new(Start::Earliest, limits);
    reading.take(record(b"GREEDY", 0), Some(LEN), 0);
    for offset in 2..200 {
        reading.take(record(b"GREEDY", offset), Some(LEN), 1);
    }
    assert_eq!(reading.consumer.statistics().early, 75, "three quarters");
    reading.take(record(b"MODEST", 0), Some(LEN), 1);
    reading.take(record(b"MODEST", 2), Some(LEN), 1);
    assert_eq!(reading.take(direct(b"MODEST", 1), Some(LEN), 2), [1, 2]);
}

/// A store, and what is on its disk.
struct Storing {
    replica: Replica<Content>,
    disk: Arc<Mutex<BTreeMap<Vec<u8>, u64>>>,
    appends: Vec<Append<Content>>,
}

impl Storing {
    fn new(partitions: usize) -> Storing {
        let disk: Arc<Mutex<BTreeMap<Vec<u8>, u64>>> = Arc::default();
        let known = disk.clone();
        let resume = Box::new(move |_: &[u8], address: &[u8]| match address {
            b"UNREADABLE" => Err(()),
            address => Ok(known.lock().unwrap().get(address).copied().unwrap_or(0)),
        });
        let replica = Replica::new(ME, small(partitions), 0).resuming(resume);
        Storing { replica, disk, appends: Vec::new() }
    }

    fn record(&mut self, address: &[u8], sequence: u64, now_ms: u64) {
        self.replica.message(&record(address, sequence), Some(vec![].into()), now_ms, &mut self.appends);
    }

    /// What was to be written is on disk now: partitions and offsets.
    fn commit(&mut self) -> Vec<String> {
        let mut written = Vec::new();
        for Append { partition, offset, .. } in self.appends.drain(..) {
            let address = self.replica.partition(partition).1.to_vec();
            written.push(format!("{} {offset}", String::from_utf8_lossy(&address)));
            let before = self.disk.lock().unwrap().insert(address, offset + 1);
            assert_eq!(before.unwrap_or(0), offset, "a gap in the log");
            self.replica.committed(partition, offset + 1);
        }
        let mut out = Outbox::new();
        self.replica.flush_acks(&mut out);
        written
    }
}

#[test]
fn a_store_of_more_partitions_than_it_knows_at_a_time_stores_them_all() {
    let mut storing = Storing::new(10);
    for round in 0..3 {
        for i in 0..100 {
            let now_ms = LONG_MS * (u64::from(i) + 100 * round);
            storing.record(&fake(i), round, now_ms);
            assert_eq!(storing.commit(), [format!("FAKE{i} {round}")]);
        }
    }
    assert!(storing.disk.lock().unwrap().values().all(|&next| next == 3));
    assert_eq!(storing.replica.statistics().closed, 290);
}

#[test]
fn a_partition_with_records_under_way_to_the_disk_stays() {
    let mut storing = Storing::new(2);
    storing.record(b"A", 0, 0);
    storing.record(b"B", 0, 0);
    for i in 0..10 {
        storing.record(&fake(i), 0, LONG_MS + u64::from(i));
        assert_eq!(storing.appends.len(), 2);
    }
    assert_eq!(storing.replica.statistics().closed, 0);
    assert_eq!(storing.commit(), ["A 0", "B 0"]);
    storing.record(b"C", 0, 3 * LONG_MS);
    assert_eq!(storing.commit(), ["C 0"]);
}

#[test]
fn a_partition_that_the_disk_cannot_tell_of_is_left_alone() {
    let mut storing = Storing::new(10);
    storing.record(b"UNREADABLE", 0, 0);
    assert_eq!(storing.commit(), [""; 0]);
}

#[test]
fn hellos_to_made_up_stores_are_bounded() {
    let mut reading = Reading::new(Start::Earliest, Limits::default());
    for i in 0..5_000 {
        reading.consumer.subscribe(format!("topic {i}").as_bytes(), &mut reading.out);
    }
    let hellos = |reading: &mut Reading, now_ms| {
        reading.out.drain(|_, _| {});
        for i in 0..1_000 {
            let name = fake(i);
            let hello = Message::StoreHello { topic: ME, address: &name };
            reading.consumer.message(&hello, None, now_ms, &mut reading.out, &mut reading.delivered);
        }
        let (mut count, mut len_bytes) = (0, 0);
        reading.out.drain(|frame, _| (count, len_bytes) = (count + 1, len_bytes + frame.len()));
        reading.consumer.tick(now_ms, &mut reading.out);
        assert!(count > 0 && len_bytes < 2 << 20, "{count} hellos of {len_bytes} octets");
    };
    hellos(&mut reading, 0);
    hellos(&mut reading, 1_500);
    hellos(&mut reading, 3_000);
}
