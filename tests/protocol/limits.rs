//! The limits of the state machines, and which peers they serve when another peer wants everything.

use crate::rig::{Content, ME, Reading, SUBSCRIBED, TOPIC, ack, direct, direct_head, head, record, store};
use dafka::partition_name::PartitionName;
use dafka::protocol::consumer::Start;
use dafka::protocol::ingest::Limits;
use dafka::protocol::store::replica::{Append, Replica};
use dafka::protocol::{Outbox, partition::reorder_buffer};
use dafka::wire::Message;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

/// Longer than the time for which a partition with records cannot be evicted.
const LONG_MS: u64 = 2_500;

fn fake(number: u32) -> Vec<u8> {
    format!("FAKE{number}").into_bytes()
}

impl Reading {
    /// Passes a message of an unknown peer to the consumer. Returns the offsets of delivered records.
    fn take(&mut self, message: Message, len: Option<usize>, now_ms: u64) -> Vec<u64> {
        self.take_from(None, message, len, now_ms)
    }

    fn take_from(
        &mut self,
        peer: Option<&str>,
        message: Message,
        len: Option<usize>,
        now_ms: u64,
    ) -> Vec<u64> {
        let content = len.map(|len| vec![0; len].into());
        self.handle_from(&|| peer.map(|peer| peer.as_bytes().into()), &message, content, now_ms);
        self.handle_timeout(now_ms);
        self.out.drain(|_, _| {});
        self.offsets()
    }
}

fn small(partitions: usize) -> Limits {
    Limits { partitions, ..Limits::default() }
}

#[test]
fn a_live_partition_replaces_one_without_records_and_stays() {
    let mut reading = Reading::new(Start::Earliest, small(50));
    for i in 0..50 {
        reading.take(head(&fake(i), 1_000), None, 0);
    }
    assert_eq!(reading.take(record(b"LIVE", 0), Some(1), 100), [0]);
    // Heads of old and new fake partitions arrive all the time.
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

/// Under `consumer/isolation = acknowledged`, records of made-up partitions wait for a store without end.
#[test]
fn partitions_whose_records_wait_for_a_store_can_be_evicted() {
    for start in [Start::Earliest, Start::Latest] {
        let mut reading = Reading::new(start, small(10));
        reading.consumer = reading.consumer.isolated(1 << 20);
        for i in 0..10 {
            for offset in 0..2 {
                assert_eq!(reading.take_from(Some("HOSTILE"), record(&fake(i), offset), Some(1), 0), []);
            }
        }
        let take = |reading: &mut Reading, message, len, now_ms| {
            reading.take_from(Some("HONEST"), message, len, now_ms)
        };
        let ack = |address, sequence| ack(address, sequence, b"STORE");
        assert_eq!(take(&mut reading, record(b"LIVE", 0), Some(1), LONG_MS), []);
        assert_eq!(take(&mut reading, ack(b"LIVE", 0), None, LONG_MS), [0], "{start:?}");
        // Suppose that one of the evicted partitions was real. Its records are still delivered, each once and in order.
        let now_ms = 2 * LONG_MS;
        let closed = fake(0);
        assert_eq!(take(&mut reading, ack(&closed, 1), None, now_ms), [], "{start:?}");
        assert_eq!(take(&mut reading, head(&closed, 1), None, now_ms), []);
        assert_eq!(take(&mut reading, ack(&closed, 1), None, now_ms), []);
        assert_eq!(take(&mut reading, direct(&closed, 0), Some(1), now_ms), [0], "{start:?}");
        assert_eq!(take(&mut reading, direct(&closed, 1), Some(1), now_ms), [1]);
        assert_eq!(take(&mut reading, direct(&closed, 1), Some(1), now_ms), []);
    }
}

#[test]
fn an_evicted_partition_continues_at_its_position() {
    for start in [Start::Earliest, Start::Latest] {
        let mut reading = Reading::new(start, small(3));
        assert_eq!(reading.take(record(b"QUIET", 0), Some(1), 0), [0]);
        assert_eq!(reading.take(record(b"QUIET", 1), Some(1), 0), [1]);
        for i in 0..10 {
            // The partitions that evict others have records, too.
            let now_ms = LONG_MS * u64::from(i + 1);
            assert_eq!(reading.take(record(&fake(i), 0), Some(1), now_ms), [0]);
        }
        assert_eq!(reading.consumer.statistics().closed, 8);
        let now_ms = LONG_MS * 20;
        // The consumer delivers each record of the evicted partition once.
        assert_eq!(reading.take(record(b"QUIET", 1), Some(1), now_ms), [], "{start:?}");
        assert_eq!(reading.take(record(b"QUIET", 3), Some(1), now_ms), []);
        assert_eq!(reading.take(direct(b"QUIET", 2), Some(1), now_ms), [2, 3], "{start:?}");
        // After a new subscription, each partition starts again.
        reading.consumer.unsubscribe(TOPIC);
        reading.consumer.subscribe(TOPIC, SUBSCRIBED, &mut reading.out);
        assert_eq!(reading.take(record(&fake(0), 1), Some(1), now_ms), [], "{start:?}");
        let again = if start == Start::Earliest { vec![0, 1] } else { vec![1] };
        assert_eq!(reading.take(direct(&fake(0), 0), Some(1), now_ms), again, "{start:?}");
    }
}

#[test]
fn evicted_positions_are_limited() {
    let mut reading = Reading::new(Start::Earliest, Limits { evicted_positions: 10, ..small(3) });
    for i in 0..100 {
        reading.take(record(&fake(i), 0), Some(1), LONG_MS * u64::from(i));
    }
    // The consumer knows the positions of the last ten evicted partitions. It treats the first partition as a new one.
    assert_eq!(reading.take(record(&fake(95), 0), Some(1), LONG_MS * 200), []);
    assert_eq!(reading.take(record(&fake(0), 0), Some(1), LONG_MS * 201), [0]);
}

#[test]
fn a_refused_partition_replaces_no_evicted_position() {
    let mut reading = Reading::new(Start::Earliest, Limits { evicted_positions: 3, ..small(1) });
    for (i, address) in [b"OLD", b"BAD", b"NEW"].into_iter().enumerate() {
        assert_eq!(reading.take(record(address, 0), Some(1), LONG_MS * i as u64), [0]);
    }
    for _ in 0..10 {
        assert_eq!(reading.take(record(b"BAD", 1), Some(1), LONG_MS * 2), [], "there is no place");
    }
    assert_eq!(reading.take(record(b"OLD", 0), Some(1), LONG_MS * 4), [], "it was handed on before");
}

#[test]
fn heads_of_complete_partitions_do_not_prevent_their_eviction() {
    for start in [Start::Earliest, Start::Latest] {
        let mut reading = Reading::new(start, small(1));
        assert_eq!(reading.take(record(b"FIRST", 0), Some(1), 0), [0]);
        assert_eq!(reading.take(record(b"OTHER", 0), Some(1), LONG_MS), [0]);
        // Of each partition, the stores have one more record than this consumer. Both producers have ended.
        for (round, address) in [(2, b"FIRST"), (3, b"OTHER")] {
            let now_ms = LONG_MS * round;
            for known in [b"FIRST", b"OTHER"].into_iter().filter(|&known| known != address) {
                reading.take(direct_head(known, 0, b"STORE"), None, now_ms);
            }
            reading.take(direct_head(address, 1, b"STORE"), None, now_ms);
            assert_eq!(reading.take(direct(address, 1), Some(1), now_ms), [1], "{start:?}");
        }
    }
    let mut storing = Storing::new(1);
    storing.record(b"FIRST", 0, 0);
    assert_eq!(storing.commit(), ["FIRST 0"]);
    storing.message(None, &direct_head(b"FIRST", 0, b"STORE"), LONG_MS);
    storing.record(b"OTHER", 0, LONG_MS);
    assert_eq!(storing.commit(), ["OTHER 0"]);
    storing.message(None, &direct_head(b"FIRST", 0, b"STORE"), 2 * LONG_MS);
    assert_eq!(storing.replica.statistics().closed, 1, "the store's disk has it");
}

/// Partitions of one peer. Half of them have a record, the other half only a HEAD.
struct Brought(Vec<(Vec<u8>, bool)>);

impl Brought {
    fn by(reading: &mut Reading, peer: &str, count: usize, now_ms: u64) -> Brought {
        let names = (0..count).map(|i| (format!("{peer} {i}").into_bytes(), i % 2 == 0));
        let brought = Brought(names.collect());
        for (name, is_proven) in &brought.0 {
            if *is_proven {
                reading.take_from(Some(peer), record(name, 0), Some(1), now_ms);
            } else {
                reading.take_from(Some(peer), head(name, 3), None, now_ms);
            }
        }
        brought
    }

    /// How many of the partitions the consumer still has open. This method finds out by sending answers, because an
    /// answer opens no partition.
    fn known(&self, reading: &mut Reading, now_ms: u64) -> usize {
        let is_known = |(name, is_proven): &&(Vec<u8>, bool)| {
            let next = u64::from(*is_proven);
            reading.take_from(Some("a store"), direct(name, next), Some(1), now_ms) == [next]
        };
        self.0.iter().filter(is_known).count()
    }
}

fn of_peers(partitions: usize, partitions_per_peer: usize) -> Reading {
    Reading::new(Start::Earliest, Limits { partitions, partitions_per_peer, ..Limits::default() })
}

/// Sends heads of made-up partitions, and a record of some of them.
fn flood(reading: &mut Reading, peer: &str, numbers: std::ops::Range<u32>, now_ms: u64) {
    for i in numbers {
        if i % 3 == 0 {
            reading.take_from(Some(peer), record(&fake(i), 0), Some(1), now_ms);
        }
        reading.take_from(Some(peer), head(&fake(i), 1_000), None, now_ms);
    }
}

#[test]
fn a_flood_from_one_peer_leaves_the_partitions_of_others_alone() {
    // `room`: the places in the table that the partitions of the others leave free.
    for room in [0, 1, 7, 50] {
        let mut reading = of_peers(90 + room, 50);
        let others: Vec<Brought> =
            (0..9).map(|i| Brought::by(&mut reading, &format!("PEER{i}"), 10, 0)).collect();
        for now_ms in [1, LONG_MS, 2 * LONG_MS] {
            flood(&mut reading, "HOSTILE", 0..1_000, now_ms);
        }
        let known: Vec<usize> =
            others.iter().map(|brought| brought.known(&mut reading, 2 * LONG_MS)).collect();
        // Ten peers share the table, so each peer keeps at least nine partitions.
        let taken = 90 - known.iter().sum::<usize>();
        assert!(known.iter().all(|&known| known >= 9), "{known:?} with room for {room}");
        assert!(taken <= 10_usize.saturating_sub(room), "{known:?} with room for {room}");
        assert!(reading.consumer.statistics().partitions <= 90 + room);
    }
}

#[test]
fn the_peer_with_most_partitions_loses_some_down_to_an_equal_share() {
    let mut reading = of_peers(100, 80);
    let most = Brought::by(&mut reading, "A STORE", 60, 0);
    let few = Brought::by(&mut reading, "MODEST", 20, 0);
    flood(&mut reading, "HOSTILE", 0..1_000, LONG_MS);
    assert_eq!(few.known(&mut reading, LONG_MS), 20);
    let known = most.known(&mut reading, LONG_MS);
    assert!((40..=41).contains(&known), "{known}");
}

#[test]
fn a_peer_cannot_have_more_partitions_than_its_limit() {
    let mut reading = of_peers(1_000, 10);
    for i in 0..10 {
        assert_eq!(reading.take_from(Some("ONE"), record(&fake(i), 0), Some(1), 0), [0]);
    }
    // All partitions of this peer are active, so none is evicted.
    assert_eq!(reading.take_from(Some("ONE"), record(b"MORE", 0), Some(1), 1), []);
    let statistics = reading.consumer.statistics();
    assert_eq!((statistics.refused, statistics.refused_of_peer, statistics.peers), (1, 1, 1));
    // Other peers and unknown peers have their own limit.
    assert_eq!(reading.take_from(Some("TWO"), record(b"TWO", 0), Some(1), 1), [0]);
    for i in 10..100 {
        assert_eq!(reading.take(record(&fake(i), 0), Some(1), 1), [0]);
    }
    assert_eq!(reading.consumer.statistics().peers, 3);
    // Quiet partitions are evicted for others of the same peer, and continue later.
    assert_eq!(reading.take_from(Some("ONE"), record(b"MORE", 0), Some(1), LONG_MS), [0]);
    assert_eq!(reading.consumer.statistics().closed, 1);
    assert_eq!(reading.take_from(Some("ONE"), record(&fake(0), 1), Some(1), LONG_MS), [1]);
    assert_eq!(reading.take_from(Some("TWO"), record(b"TWO", 1), Some(1), LONG_MS), [1]);
}

#[test]
fn a_partition_is_charged_to_the_peer_with_its_first_record() {
    let mut reading = of_peers(1_000, 5);
    for i in 0..5 {
        reading.take_from(Some("HOSTILE"), head(&fake(i), 10), None, 0);
    }
    for i in 0..4 {
        assert_eq!(reading.take_from(Some("REAL"), record(&fake(i), 0), Some(1), 1), [0]);
    }
    // The four partitions are quiet. They would be evicted if they were charged to the hostile peer.
    for i in 100..200 {
        reading.take_from(Some("HOSTILE"), record(&fake(i), 0), Some(1), LONG_MS * u64::from(i));
    }
    for i in 0..4 {
        assert_eq!(reading.take(direct(&fake(i), 1), Some(1), LONG_MS * 201), [1]);
    }
    assert_eq!(reading.take(direct(&fake(4), 0), Some(1), LONG_MS * 201), [], "it was never real");
    // A peer at its limit is not charged for another partition.
    let mut reading = of_peers(1_000, 1);
    reading.take_from(Some("REAL"), record(b"MINE", 0), Some(1), 0);
    reading.take_from(Some("OTHER"), head(b"ANOTHER", 0), None, 0);
    assert_eq!(reading.take_from(Some("REAL"), direct(b"ANOTHER", 0), Some(1), 0), [0]);
    assert_eq!(reading.consumer.statistics().peers, 2);
}

#[test]
fn ended_peers_occupy_no_memory() {
    let mut reading = of_peers(100, 50);
    for i in 0..10_000 {
        let (peer, now_ms) = (format!("PEER{i}"), u64::from(i) * 100);
        reading.take_from(Some(&peer), head(&fake(i), 10), None, now_ms);
        if i % 2 == 0 {
            reading.take_from(Some(&peer), record(&fake(20_000 + i), 0), Some(1), now_ms);
        }
        assert!(reading.consumer.statistics().peers <= 100);
    }
    // The latest partitions are still open.
    assert_eq!(reading.take(direct(&fake(9_999), 0), Some(1), 1_000_000), [0]);
    reading.consumer.unsubscribe(TOPIC);
    let statistics = reading.consumer.statistics();
    assert_eq!((statistics.peers, statistics.partitions), (0, 0));
}

#[test]
fn a_store_limits_the_partitions_of_a_peer_without_those_on_its_disk() {
    let limits = Limits { partitions: 100, partitions_per_peer: 10, ..Limits::default() };
    let mut storing = Storing::with(limits);
    for i in 0..50 {
        storing.disk.lock().unwrap().insert(fake(i), 1);
        assert!(storing.replica.open(PartitionName { topic: TOPIC, producer: &fake(i) }, 1).is_some());
    }
    for i in 1_000..2_000 {
        storing.message(Some("HOSTILE"), &head(&fake(i), 5), 0);
    }
    assert_eq!(storing.replica.statistics().partitions, 60);
    for i in 2_000..2_010 {
        storing.message(Some("REAL"), &record(&fake(i), 0), 1);
    }
    for i in 0..50 {
        storing.message(Some("REAL"), &record(&fake(i), 1), 1);
    }
    assert_eq!(storing.commit().len(), 60);
    let statistics = storing.replica.statistics();
    assert_eq!((statistics.partitions, statistics.peers, statistics.closed), (70, 3, 0));
}

#[test]
fn a_store_requests_heads_less_often_when_the_answers_are_long() {
    let mut storing = Storing::with(Limits::default());
    let round = |storing: &mut Storing, heads: u32| {
        let asked_ms = storing.replica.due_ms();
        for i in 0..heads {
            storing.disk.lock().unwrap().insert(fake(i), 1);
            storing.message(Some("STORE"), &direct_head(&fake(i), 0, b"STORE"), asked_ms);
        }
        storing.replica.handle_timeout(asked_ms, &mut Outbox::new());
        storing.replica.due_ms() - asked_ms
    };
    let intervals_ms = [round(&mut storing, 0), round(&mut storing, 5_000), round(&mut storing, 0)];
    assert_eq!(intervals_ms, [10_000, 15_000, 10_000]);
    assert_eq!(storing.replica.statistics().partitions, 0);
}

/// The length and the cost of the early records of these tests.
const LEN: usize = 1_000;
const COST: usize = LEN + reorder_buffer::EARLY_OVERHEAD_BYTES;

#[test]
fn early_records_of_stalled_partitions_are_dropped() {
    let limits = Limits { early_len_bytes: 100 * COST, ..Limits::default() };
    let mut reading = Reading::new(Start::Earliest, limits);
    // Partitions without a record in order fill the buffer.
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

    // Early records of partitions that have other records are also dropped when these partitions stall.
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

/// A store, and the next offset of each partition on its disk.
struct Storing {
    replica: Replica<Content>,
    disk: Arc<Mutex<BTreeMap<Vec<u8>, u64>>>,
    appends: Vec<Append<Content>>,
}

impl Storing {
    fn new(partitions: usize) -> Storing {
        Storing::with(small(partitions))
    }

    fn with(limits: Limits) -> Storing {
        let disk: Arc<Mutex<BTreeMap<Vec<u8>, u64>>> = Arc::default();
        let known = disk.clone();
        let resume = Box::new(move |name: PartitionName| match name.producer {
            b"UNREADABLE" => Err(()),
            address => Ok(known.lock().unwrap().get(address).copied().unwrap_or(0)),
        });
        let replica = Replica::new(ME, limits, 0).resuming(resume);
        Storing { replica, disk, appends: Vec::new() }
    }

    fn record(&mut self, address: &[u8], sequence: u64, now_ms: u64) {
        self.message(None, &record(address, sequence), now_ms);
    }

    /// Passes a message of a peer to the store.
    fn message(&mut self, peer: Option<&str>, message: &Message, now_ms: u64) {
        let from = || peer.map(|peer| peer.as_bytes().into());
        self.appends.extend(store(&mut self.replica, &from, message, 0, now_ms));
    }

    /// Writes all pending records to the disk. Returns their partitions and offsets.
    fn commit(&mut self) -> Vec<String> {
        let mut written = Vec::new();
        for Append { partition, offset, .. } in self.appends.drain(..) {
            let address = self.replica.partition(partition).producer.to_vec();
            written.push(format!("{} {offset}", String::from_utf8_lossy(&address)));
            let before = self.disk.lock().unwrap().insert(address, offset + 1);
            assert_eq!(before.unwrap_or(0), offset, "a gap in the log");
            self.replica.handle_committed(partition, offset + 1);
        }
        let mut out = Outbox::new();
        self.replica.poll_acks(&mut out);
        written
    }
}

#[test]
fn a_store_stores_more_partitions_than_it_may_know_at_once() {
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
fn a_partition_with_pending_writes_is_not_evicted() {
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
fn a_partition_that_the_disk_cannot_read_is_not_opened() {
    let mut storing = Storing::new(10);
    storing.record(b"UNREADABLE", 0, 0);
    assert_eq!(storing.commit(), [""; 0]);
}

#[test]
fn hellos_to_made_up_stores_are_bounded() {
    let mut reading = Reading::new(Start::Earliest, Limits::default());
    for i in 0..5_000 {
        reading.consumer.subscribe(format!("topic {i}").as_bytes(), SUBSCRIBED, &mut reading.out);
    }
    for now_ms in [0, 1_500, 3_000] {
        reading.out.drain(|_, _| {});
        for i in 0..1_000 {
            reading.handle(&Message::StoreHello { topic: ME, address: &fake(i) }, None, now_ms);
        }
        let (mut count, mut len_bytes) = (0, 0);
        reading.out.drain(|frame, _| (count, len_bytes) = (count + 1, len_bytes + frame.len()));
        reading.handle_timeout(now_ms);
        assert!(count > 0 && len_bytes < 2 << 20, "{count} hellos of {len_bytes} bytes");
    }
}

/// How long a consumer takes to read `count` records of the store `A`. The stores `drips` claim the same records every
/// `claim_ms`, and send one record per 200 ms.
fn catch_up_ms(count: u64, drips: &[&'static [u8]], claim_ms: u64) -> u64 {
    let mut reading = Reading::new(Start::Earliest, Limits::default());
    let content: Content = vec![0; 100].into();
    // By time and number of the answer: the records that arrive at that time.
    let mut answers: BTreeMap<(u64, u64), std::ops::Range<u64>> = BTreeMap::new();
    let (mut answer_count, mut delivered_count) = (0, 0);
    for now_ms in (0..1_000_000).step_by(5) {
        let mut claim = |store| reading.handle(&direct_head(b"PART", count - 1, store), None, now_ms);
        if now_ms % 10_000 == 0 {
            claim(b"A");
        }
        if now_ms % claim_ms == 0 {
            drips.iter().copied().for_each(&mut claim);
        }
        let later = answers.split_off(&(now_ms + 1, 0));
        for offset in std::mem::replace(&mut answers, later).into_values().flatten() {
            reading.handle(&direct(b"PART", offset), Some(content.clone()), now_ms);
        }
        reading.handle_timeout(now_ms);
        reading.out.drain(|frame, _| {
            let Ok(Message::Fetch { sequence, count: window, store, .. }) = Message::decode(frame) else {
                return;
            };
            let end = count.min(sequence + u64::from(window));
            let mut arrive = |at_ms, offsets| {
                answer_count += 1;
                answers.insert((at_ms, answer_count), offsets);
            };
            if store == b"A" || store.is_empty() {
                arrive(now_ms + 20, sequence..end);
            } else {
                let dripped = sequence..end.min(sequence + 200);
                dripped.zip(1..).for_each(|(offset, i)| arrive(now_ms + 200 * i, offset..offset + 1));
            }
        });
        delivered_count += reading.offsets().len() as u64;
        if delivered_count >= count {
            return now_ms;
        }
    }
    panic!("{delivered_count} of {count} records");
}

#[test]
fn slow_stores_that_repeat_their_heads_do_not_slow_down_catching_up() {
    let names: [&[u8]; 3] = [b"B", b"C", b"D"];
    for (drips, claim_ms) in [(1, 1_000), (1, 100), (3, 1_000), (3, 100)] {
        let took_ms = catch_up_ms(1_000_000, &names[..drips], claim_ms);
        println!("{drips} stores drip and claim every {claim_ms} ms: {took_ms} ms");
        // For each slow store, the consumer needs half a minute to notice that the store is slow.
        assert!(took_ms < 45_000 * drips as u64, "{drips} stores, {claim_ms} ms: {took_ms} ms");
    }
}
