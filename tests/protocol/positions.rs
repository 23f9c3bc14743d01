//! The committed positions of a consumer with a name: how it finds and commits them, and what a store does with them.

use crate::UNKNOWN;
use crate::rig::{Content, Log, ME, PARTITION, Reading, TOPIC, content, direct, head, record};
use dafka::committed::Committed;
use dafka::partition_name::PartitionName;
use dafka::protocol::consumer::Start;
use dafka::protocol::consumer::positions::{MAX_WAIT_FOR_STORE_MS, MAX_WAIT_MS, SETTLE_MS};
use dafka::protocol::ingest::Limits;
use dafka::protocol::notice::{Notice, Refusal};
use dafka::protocol::store::commits::Commit;
use dafka::protocol::store::reader::Reader;
use dafka::protocol::store::replica::Replica;
use dafka::protocol::{AllRead, Outbox, Progress};
use dafka::wire::{Message, Position, Subscription, id};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

pub(crate) const NAME: &[u8] = b"me";
pub(crate) const P: PartitionName = PartitionName { topic: TOPIC, producer: PARTITION };

fn named(start: Start) -> Reading {
    let mut reading = Reading::new(start, Limits::default());
    reading.consumer = reading.consumer.named(NAME, 100, 0);
    reading
}

pub(crate) fn position(sequence: u64, timestamp_ms: u64, store: &[u8]) -> Message<'_> {
    Message::Position {
        position: Position::new(ME, PARTITION, TOPIC, sequence),
        timestamp_ms,
        name: NAME,
        store,
    }
}

fn commit_ack(sequence: u64, timestamp_ms: u64) -> Message<'static> {
    Message::CommitAck { position: Position::new(ME, PARTITION, TOPIC, sequence), timestamp_ms, store: b"A" }
}

/// A store connects that responds to GET-POSITIONS, or disconnects.
fn store_subscription(subscribe: bool) -> Subscription<'static> {
    Subscription { subscribe, id: id::GET_POSITIONS, topic: b"", is_exact: false }
}

/// The end of a store's response.
fn end(store: &[u8]) -> Message<'_> {
    Message::Position { position: Position::new(ME, b"", b"", 0), timestamp_ms: 0, name: NAME, store }
}

impl Reading {
    fn handle_positions_timeout(&mut self, now_ms: u64) {
        self.consumer.handle_positions_timeout(now_ms, &mut self.out);
    }

    /// The messages about positions that were sent since the last call: the offsets of COMMITs, and the number of
    /// GET-POSITIONS.
    fn sent(&mut self) -> (Vec<(u64, u64)>, usize) {
        let (mut commits, mut requests) = (Vec::new(), 0);
        self.out.drain(|frame, _| match Message::decode(frame).expect("a message") {
            Message::Commit { position, timestamp_ms, requester } => {
                assert_eq!((position.topic, requester), (NAME, ME));
                commits.push((position.sequence, timestamp_ms));
            }
            Message::GetPositions { topic, address } => {
                assert_eq!((topic, address), (NAME, ME));
                requests += 1;
            }
            _ => {}
        });
        (commits, requests)
    }
}

#[test]
fn the_wait_ends_when_all_connected_stores_have_responded() {
    let mut reading = named(Start::Earliest);
    reading.consumer.handle_position_store(&store_subscription(true), 10);
    reading.consumer.handle_position_store(&store_subscription(true), 20);
    reading.handle_positions_timeout(20);
    assert_eq!(reading.sent().1, 1);
    reading.consumer.handle_position(&position(7, 1, b"A"), 30);
    reading.consumer.handle_position(&end(b"A"), 30);
    reading.consumer.handle_position(&position(5, 2, b"B"), 40);
    reading.handle_positions_timeout(20 + SETTLE_MS);
    assert!(reading.consumer.is_waiting(), "B has not sent all");
    assert_eq!(reading.sent().1, 1, "the request is repeated");
    reading.consumer.handle_position(&end(b"B"), 2_000);
    reading.handle_positions_timeout(2_000);
    assert!(!reading.consumer.is_waiting());
    assert_eq!(reading.consumer.positions_due_ms(), None);

    assert_eq!(reading.consumer.poll_positions_notice(MAX_WAIT_MS), None);
    // Forged positions do not count.
    reading.consumer.handle_position(&position(u64::MAX, 3, b"A"), 2_000);
    reading.consumer.handle_position(&position(6, u64::MAX, b"A"), 2_000);
    // The later timestamp counts, and not the higher position.
    reading.handle(&record(PARTITION, 5), Some(content(5)), 500);
    assert_eq!(reading.offsets(), [5]);
}

/// The store that leaves must not count as the response of the store that comes.
#[test]
fn the_wait_does_not_end_before_a_store_that_replaces_another_one_has_responded() {
    let mut reading = named(Start::Latest);
    reading.consumer.handle_position_store(&store_subscription(true), 0);
    reading.handle_positions_timeout(0);
    reading.consumer.handle_position(&end(b"A"), 10);
    reading.consumer.handle_position_store(&store_subscription(false), 20);
    reading.consumer.handle_position_store(&store_subscription(true), 30);
    reading.sent();
    reading.handle_positions_timeout(30 + SETTLE_MS);
    assert!(reading.consumer.is_waiting());
    assert_eq!(reading.sent().1, 1, "B is asked");
    reading.consumer.handle_position(&end(b"B"), 2_000);
    reading.handle_positions_timeout(2_000);
    assert!(!reading.consumer.is_waiting());
    // A peer that subscribes to the requests of one name is no store.
    let other = Subscription { topic: b"x", ..store_subscription(true) };
    reading.consumer.handle_position_store(&other, 2_500);
    reading.handle_positions_timeout(3_000);
    assert_eq!(reading.sent().1, 0);
}

/// Otherwise, records that this consumer has delivered and not processed would be skipped after a kill.
#[test]
fn under_latest_a_consumer_commits_where_it_begins() {
    let mut reading = named(Start::Latest);
    reading.handle_positions_timeout(MAX_WAIT_MS);
    reading.handle(&record(PARTITION, 9), Some(content(9)), 1);
    // Without a timestamp, the first record shows that the partition is older than the subscription.
    reading.handle(&direct(PARTITION, 0), Some(content(0)), 1);
    reading.handle_positions_timeout(MAX_WAIT_MS);
    assert_eq!(reading.sent().0, [(9, 0)]);
    reading.consumer.handle_position(&commit_ack(9, 0), MAX_WAIT_MS);
    assert_eq!(reading.consumer.commits(), (1, 1));

    // The store knows a position that has not reached this consumer.
    let mut reading = named(Start::Latest);
    reading.handle_positions_timeout(MAX_WAIT_MS);
    reading.handle(&head(PARTITION, 9), None, 1);
    reading.handle(&direct(PARTITION, 0), Some(content(0)), 1);
    reading.consumer.handle_position(&commit_ack(6, 1_000), MAX_WAIT_MS);
    reading.handle(&record(PARTITION, 6), Some(content(6)), 2);
    assert_eq!(reading.offsets(), [6]);
}

/// The clock of the consumer that had the name before was ahead.
#[test]
fn a_commit_that_a_store_did_not_keep_is_made_again_with_a_later_timestamp() {
    let mut reading = named(Start::Earliest);
    reading.consumer.commit(P, 5, 1_000, 0);
    reading.handle_positions_timeout(0);
    reading.consumer.handle_position(&commit_ack(8, 9_000), 0);
    assert_ne!(reading.consumer.commits().1, reading.consumer.commits().0);
    reading.sent();
    reading.handle_positions_timeout(0);
    assert_eq!(reading.sent().0, [(5, 9_001)]);
    reading.consumer.handle_position(&commit_ack(5, 9_001), 0);
    assert_eq!(reading.consumer.commits().1, reading.consumer.commits().0);
}

#[test]
fn a_commit_above_the_limit_never_counts_as_confirmed() {
    let mut reading = named(Start::Earliest);
    for i in 0..101 {
        let producer = format!("P{i}").into_bytes();
        reading.consumer.commit(PartitionName { topic: TOPIC, producer: &producer }, 5, 1_000, 0);
        let position = Position::new(ME, &producer, TOPIC, 5);
        let ack = Message::CommitAck { position, timestamp_ms: 1_000, store: b"A" };
        reading.consumer.handle_position(&ack, 0);
    }
    assert_eq!(reading.consumer.commits(), (101, 100));
}

#[test]
fn without_a_store_the_wait_ends_after_its_limit() {
    for (start, next) in [(Start::Earliest, 0), (Start::Latest, 9)] {
        let mut reading = named(start);
        assert_eq!(reading.consumer.positions_due_ms(), Some(MAX_WAIT_MS));
        reading.handle_positions_timeout(MAX_WAIT_MS - 1);
        assert!(reading.consumer.is_waiting());
        reading.handle_positions_timeout(MAX_WAIT_MS);
        assert!(!reading.consumer.is_waiting());
        let notice = reading.consumer.poll_positions_notice(MAX_WAIT_MS);
        assert_eq!(notice, Some(Notice::PositionsMissing { responded: 0, stores: 0 }));
        reading.handle(&record(PARTITION, 9), Some(content(9)), 1);
        reading.handle(&direct(PARTITION, 0), Some(content(0)), 1);
        assert_eq!(reading.offsets()[0], next);
    }
}

/// Under `latest`, a consumer that does not know its positions skips records.
#[test]
fn the_wait_for_a_busy_store_is_longer() {
    let mut reading = named(Start::Latest);
    reading.consumer.handle_position_store(&store_subscription(true), MAX_WAIT_MS - 1);
    reading.handle_positions_timeout(MAX_WAIT_FOR_STORE_MS - 1);
    assert!(reading.consumer.is_waiting());
    assert_eq!(reading.consumer.poll_positions_notice(MAX_WAIT_FOR_STORE_MS - 1), None);
    reading.handle_positions_timeout(MAX_WAIT_FOR_STORE_MS);
    assert!(!reading.consumer.is_waiting());
    let notice = reading.consumer.poll_positions_notice(MAX_WAIT_FOR_STORE_MS);
    assert_eq!(notice, Some(Notice::PositionsMissing { responded: 0, stores: 1 }));
}

#[test]
fn a_late_position_moves_only_a_partition_without_delivered_records() {
    let mut reading = named(Start::Earliest);
    reading.handle_positions_timeout(MAX_WAIT_MS);
    reading.handle(&head(PARTITION, 9), None, 0);
    reading.consumer.handle_position(&position(6, 1, b"A"), 10);
    reading.handle(&record(PARTITION, 5), Some(content(5)), 20);
    reading.handle(&record(PARTITION, 6), Some(content(6)), 20);
    assert_eq!(reading.offsets(), [6]);
    reading.consumer.handle_position(&position(9, 2, b"B"), 30);
    reading.handle(&record(PARTITION, 7), Some(content(7)), 40);
    assert_eq!(reading.offsets(), [7]);

    let mut reading = named(Start::Earliest);
    reading.handle_positions_timeout(MAX_WAIT_MS);
    reading.handle(&head(PARTITION, 9), None, 0);
    assert!(reading.consumer.seek(P, 3, 0));
    reading.consumer.handle_position(&position(6, 1, b"A"), 10);
    reading.handle(&record(PARTITION, 3), Some(content(3)), 20);
    assert_eq!(reading.offsets(), [3], "the application has chosen a record");
}

#[test]
fn a_commit_is_repeated_until_a_store_has_confirmed_it() {
    let mut reading = named(Start::Earliest);
    reading.consumer.commit(P, 5, 1_000, 0);
    reading.handle_positions_timeout(0);
    assert_eq!(reading.sent().0, [(5, 1_000)]);
    let due_ms = reading.consumer.positions_due_ms().expect("a retry");
    reading.handle_positions_timeout(due_ms);
    assert_eq!(reading.sent().0, [(5, 1_000)]);
    // The clock has gone back. The next commit is later nevertheless.
    reading.consumer.commit(P, 6, 10, due_ms);
    reading.handle_positions_timeout(due_ms);
    assert_eq!(reading.sent().0, [(6, 1_001)]);
    assert_eq!(reading.consumer.commits(), (2, 0));
    assert_eq!(reading.consumer.poll_positions_notice(due_ms + 9_000), None);
    let notice = reading.consumer.poll_positions_notice(10_000);
    assert_eq!(notice, Some(Notice::CommitsStalled { count: 1, ms: 10_000 }));
    assert_eq!(reading.consumer.poll_positions_notice(10_001), None);
    reading.consumer.handle_position(&commit_ack(6, 1_001), due_ms);
    assert_eq!(reading.consumer.commits(), (2, 2));
    reading.consumer.commit(P, 6, 2_000, due_ms);
    reading.handle_positions_timeout(MAX_WAIT_MS);
    assert_eq!(reading.sent().0, [], "this position is committed");
}

/// With a slow disk, each confirmation is of a commit before the latest one.
#[test]
fn commits_that_are_more_frequent_than_confirmations_are_confirmed() {
    let mut reading = named(Start::Earliest);
    reading.consumer.commit(P, 1, 1_000, 0);
    for i in 1..10 {
        reading.consumer.commit(P, i + 1, 1_000 + i, i);
        reading.handle_positions_timeout(i);
        reading.consumer.handle_position(&commit_ack(i, 999 + i), i);
        assert_eq!(reading.consumer.commits(), (i + 1, i));
    }
    assert_eq!(reading.consumer.poll_positions_notice(10_008), None);
    // A repeated confirmation counts once.
    reading.consumer.handle_position(&commit_ack(9, 1_008), 20);
    assert_eq!(reading.consumer.commits(), (10, 9));

    // A store keeps a later commit of another consumer. It does not confirm the commits of this one.
    reading.consumer.commit(P, 11, 1_020, 20);
    reading.consumer.handle_position(&commit_ack(3, 2_000), 30);
    reading.consumer.handle_position(&commit_ack(3, 2_000), 30);
    assert_eq!(reading.consumer.commits(), (12, 9));
    reading.consumer.handle_position(&commit_ack(11, 2_001), 30);
    assert_eq!(reading.consumer.commits(), (12, 12));
}

/// The positions on the disk of a store.
type Disk = Rc<RefCell<BTreeMap<Vec<u8>, Committed>>>;

fn replica(disk: &Disk) -> Replica<Content> {
    let disk = disk.clone();
    let find = move |name: &[u8], _: PartitionName| Ok(disk.borrow().get(name).copied());
    Replica::new(b"WRITER", Limits::default(), 0).named(b"STORE").keeping_positions(Box::new(find))
}

fn commit_of<'a>(name: &'a [u8], requester: &'a [u8], sequence: u64) -> Message<'a> {
    Message::Commit {
        position: Position::new(name, PARTITION, TOPIC, sequence),
        timestamp_ms: sequence,
        requester,
    }
}

fn commit_at(timestamp_ms: u64) -> Message<'static> {
    Message::Commit { position: Position::new(NAME, PARTITION, TOPIC, 5), timestamp_ms, requester: ME }
}

fn write(disk: &Disk, replica: &mut Replica<Content>, commit: Commit) {
    disk.borrow_mut().insert(commit.name.to_vec(), commit.committed);
    replica.handle_commit_written(commit);
}

fn confirmed(replica: &mut Replica<Content>) -> Vec<(Vec<u8>, u64)> {
    let (mut out, mut confirmed) = (Outbox::new(), Vec::new());
    replica.poll_acks(&mut out);
    out.drain(|frame, _| match Message::decode(frame).expect("a message") {
        Message::CommitAck { position, store: b"STORE", .. } => {
            confirmed.push((position.topic.to_vec(), position.sequence));
        }
        message => panic!("{message:?}"),
    });
    confirmed
}

fn refused(name: &[u8], reason: Refusal) -> Notice {
    Notice::PositionRefused { name: name.into(), reason }
}

#[test]
fn a_store_confirms_a_commit_only_when_it_is_on_disk() {
    let disk = Disk::default();
    let mut replica = replica(&disk);
    let commit = replica.handle_commit(&commit_of(NAME, ME, 5), 0, 0).expect("a commit");
    assert_eq!(confirmed(&mut replica), []);
    write(&disk, &mut replica, commit);
    assert_eq!(confirmed(&mut replica), [(ME.to_vec(), 5)]);
    assert_eq!(confirmed(&mut replica), []);

    // The store keeps a later commit, and says so.
    let later = Committed { timestamp_ms: 50, next: 2 };
    disk.borrow_mut().insert(NAME.to_vec(), later);
    let commit = replica.handle_commit(&commit_of(NAME, ME, 6), 0, 0).expect("a commit");
    assert_eq!(commit.committed, later);
    write(&disk, &mut replica, commit);
    assert_eq!(confirmed(&mut replica), [(ME.to_vec(), 2)]);

    // The log has reached a limit.
    let commit = replica.handle_commit(&commit_of(b"other", ME, 5), 0, 0).expect("a commit");
    replica.handle_commit_written(commit);
    assert_eq!(confirmed(&mut replica), []);
    assert_eq!(replica.poll_notice(60_000), Some(refused(b"other", Refusal::TooMany)));

    for invalid in [commit_of(b"", ME, 5), commit_of(&[b'n'; 129], ME, 5), commit_of(NAME, ME, u64::MAX)] {
        assert_eq!(replica.handle_commit(&invalid, 0, 0), None);
    }
}

/// Otherwise one false commit would make all later commits invalid for ever.
#[test]
fn a_store_refuses_a_commit_whose_timestamp_is_more_than_a_year_ahead() {
    const DAY_MS: u64 = 24 * 3_600_000;
    let disk = Disk::default();
    let mut replica = replica(&disk);
    let unix_ms = 20_000 * DAY_MS;
    for (days, is_taken) in [(20_364, true), (20_366, false)] {
        let commit = replica.handle_commit(&commit_at(days * DAY_MS), unix_ms, 60_000);
        let copied = replica.handle_commit(&position(5, days * DAY_MS, b"B"), unix_ms, 60_000);
        assert_eq!((commit.is_some(), copied.is_some()), (is_taken, is_taken));
    }
    assert_eq!(replica.poll_notice(60_000), Some(refused(NAME, Refusal::Future)));
    assert_eq!(replica.poll_notice(60_000), None);
}

#[test]
fn a_store_takes_only_later_positions_of_other_stores() {
    let disk = Disk::default();
    let mut replica = replica(&disk);
    disk.borrow_mut().insert(NAME.to_vec(), Committed { timestamp_ms: 10, next: 5 });
    for (timestamp_ms, is_taken) in [(9, false), (10, false), (11, true)] {
        let commit = replica.handle_commit(&position(5, timestamp_ms, b"B"), 0, 0);
        assert_eq!(commit.is_some(), is_taken, "{timestamp_ms}");
        if let Some(commit) = commit {
            write(&disk, &mut replica, commit);
        }
    }
    assert_eq!(replica.handle_commit(&end(b"B"), 0, 0), None);
    assert_eq!(confirmed(&mut replica), [], "no consumer waits");
    let mut out = Outbox::<Content>::new();
    replica.handle_timeout(10_000, &mut out);
    let mut has_asked = false;
    out.drain(|frame, _| {
        let all = Message::GetPositions { topic: b"", address: b"WRITER" };
        has_asked |= Message::decode(frame) == Ok(all);
    });
    assert!(has_asked);
}

#[test]
fn a_store_reports_a_name_that_two_consumers_use() {
    let disk = Disk::default();
    let mut replica = replica(&disk);
    let mut commit = |requester, now_ms| {
        replica.handle_commit(&commit_of(NAME, requester, 1), 0, now_ms);
        replica.poll_notice(now_ms)
    };
    // A consumer ends, and another one starts.
    assert_eq!(commit(b"A", 60_000), None);
    assert_eq!(commit(b"B", 61_000), None);
    assert_eq!(commit(b"C", 62_000), None);
    assert_eq!(commit(b"B", 63_000), Some(Notice::SharedName { name: NAME.into() }));
    assert_eq!(commit(b"C", 64_000), None, "it was reported just before");
}

#[test]
fn a_reader_sends_positions_in_slices_and_then_the_end() {
    let log = Log::new((1..=5).map(|i| (TOPIC, format!("P{i}").into_bytes(), i)));
    let mut reader = Reader::new(b"READER").named(b"STORE");
    for (name, expected) in
        [(NAME, vec![1, 2, 3, 4, 5, 0]), (b"", vec![1, 2, 3, 4, 5, 0]), (b"other", vec![0])]
    {
        reader.handle_message(&Message::GetPositions { topic: name, address: ME }, UNKNOWN);
        let (mut out, mut sent) = (Outbox::<Content>::new(), Vec::new());
        while reader.poll_answers(&mut AllRead, 2, &log, &mut out).expect("readable") != Progress::Idle {}
        out.drain(|frame, _| match Message::decode(frame).expect("a message") {
            Message::Position { position, store: b"STORE", .. } => {
                assert_eq!((position.topic, position.address.is_empty()), (ME, position.sequence == 0));
                sent.push(position.sequence);
            }
            message => panic!("{message:?}"),
        });
        assert_eq!(sent, expected);
    }
}
