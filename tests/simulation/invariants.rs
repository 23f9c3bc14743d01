//! The seven invariants of every run. A failed check returns a text, and the world adds the time.
//!
//! 1. A consumer delivers each partition's records in order, each exactly once, with the right content
//!    ([`Oracle::deliver`]). An isolated consumer delivers only records that a store has acknowledged. No node sends a
//!    record with the content of another one ([`sent`]).
//! 2. Acknowledged records survive ([`sent`], [`log_is_whole`]). A producer drops a record only after enough stores
//!    have had it on disk at the same time ([`forgotten`]). Records that an isolated consumer delivers are on a disk
//!    ([`isolated`]).
//! 3. A store's log of a partition is a contiguous prefix that starts at 0 ([`log_is_whole`]).
//! 4. Once faults stop, everything converges ([`converged`]).
//! 5. Memory is bounded ([`bounds`], [`gathered`], and the length of FETCH windows in [`sent`]).
//! 6. A store logs a difference to another store only where records were forged, and at most once for each connection
//!    to that store. Each store logs the forged records of the other stores (`World::diverge`,
//!    `World::forgeries_are_noticed`).
//! 7. The members of a group process each record, commit only what was processed, and agree in the end (`Group`).

use super::disk::{SimDisk, Tables, named};
use super::faults::Plan;
use super::model::{Model, Name, Record, Run};
use super::nodes::{Node, Role};
use super::oracle::Oracle;
use super::world::Store;
use dafka::protocol::consumer::Start;
use dafka::storage::scan::Limited;
use dafka::storage::{PartitionName, partitions, scan};
use dafka::wire::{Message, batch};
use std::collections::{BTreeMap, BTreeSet};

/// How many records a FETCH may request at most.
const MAX_WINDOW_COUNT: u32 = 16_384;
/// How many bytes of content a FETCH may request at most, as its sender estimates.
const MAX_WINDOW_LEN_BYTES: u64 = 8 << 20;

pub(crate) type Check = Result<(), (usize, String)>;

/// The name of a partition as text.
pub(crate) fn show((subject, address): &Name) -> String {
    format!("{}/{}", subject.escape_ascii(), address.escape_ascii())
}

fn fail(invariant: usize, text: String) -> Check {
    Err((invariant, text))
}

/// Checks a message before it is published. `store` is the disk of the store that publishes it, if a store does.
pub(crate) fn sent(model: &Model, frame: &[u8], content: Option<&Run>, store: Option<&SimDisk>) -> Check {
    let Ok(message) = Message::decode(frame) else {
        return fail(1, format!("a frame that is not a message: {}", frame.escape_ascii()));
    };
    match message {
        Message::Record(position)
        | Message::DirectRecord(position)
        | Message::Records(position)
        | Message::DirectRecords(position) => {
            let Some(run) = content else {
                return fail(1, format!("sent without content: {message:?}"));
            };
            let is_right = |(record, offset): (&Record, u64)| {
                model.is_right(position.subject, position.address, offset, record.as_stored())
            };
            if !run.records().iter().zip(position.sequence..).all(is_right) {
                return fail(1, format!("sent with another record's content or attributes: {message:?}"));
            }
        }
        Message::Ack { topic, subject, sequence, .. } => {
            let durable =
                store.map_or(0, |disk| disk.durable_next(PartitionName { topic: subject, producer: topic }));
            if sequence >= durable {
                let name = show(&(subject.to_vec(), topic.to_vec()));
                return fail(2, format!("an ACK of {sequence} of {name} with {durable} records on disk"));
            }
        }
        Message::Head(position) | Message::DirectHead { position, .. } => {
            let name: Name = (position.subject.to_vec(), position.address.to_vec());
            let published = model.partitions.get(&name).map_or(0, |partition| partition.end());
            if position.sequence >= published && !model.is_forged(&name) {
                return fail(1, format!("when {published} was the next offset: {message:?}"));
            }
        }
        Message::CommitAck { position, .. } => {
            let name = model.names.get(position.topic).map_or(&b""[..], Vec::as_slice);
            let durable = store.map(|disk| disk.durable_position(name, position.partition()));
            if durable.is_some_and(|durable| durable < message.committed()) {
                return fail(2, format!("a commit that is not on disk is confirmed: {message:?}"));
            }
        }
        Message::Fetch { count, .. } if count > MAX_WINDOW_COUNT || count == 0 => {
            return fail(5, format!("a window without limit: {message:?}"));
        }
        _ => {}
    }
    Ok(())
}

/// The end of the records that enough different stores have. A store and its copy count once.
pub(crate) fn safe_end(name: &Name, min_stores: usize, stores: &[Store]) -> u64 {
    let mut ends: BTreeMap<&[u8], u64> = BTreeMap::new();
    for store in stores.iter().filter(|store| !store.is_killed && !store.name.is_empty()) {
        let end = ends.entry(&*store.name).or_default();
        *end = store.disk.durable_next(named(name)).max(*end);
    }
    let mut ends: Vec<u64> = ends.into_values().collect();
    ends.sort_unstable_by(|a, b| b.cmp(a));
    ends.get(min_stores - 1).copied().unwrap_or(0)
}

/// A producer has dropped the records before `end`. Checks that enough stores have these records on disk, or had them
/// on disk at the same time before a disk was lost or rolled back.
pub(crate) fn forgotten(model: &Model, name: &Name, end: u64, stores: &[Store]) -> Check {
    let partition = &model.partitions[name];
    let safe = safe_end(name, partition.min_stores, stores).max(partition.was_safe);
    // A producer without records needs no store.
    if safe < end && !model.is_forged(name) && end > model.first_offset {
        let text = format!(
            "the producer of {} has forgotten its records before {end}; those before {safe} were on {} disks at once",
            show(name),
            partition.min_stores
        );
        return fail(2, text);
    }
    Ok(())
}

/// Checks that each delivered record of an isolated consumer is on a disk, which may be the disk of a killed store.
/// This does not hold in runs that restore disks from old snapshots.
pub(crate) fn isolated(oracle: &Oracle, model: &Model, stores: &[Store]) -> Check {
    for (name, &next) in oracle.next.iter().filter(|_| oracle.is_isolated) {
        let stored = stores.iter().map(|store| store.disk.durable_next(named(name))).max().unwrap_or(0);
        if next > stored && !model.is_end_doubtful(name) {
            let text =
                format!("a consumer was handed record {} of {} with {stored} on disks", next - 1, show(name));
            return fail(2, text);
        }
    }
    Ok(())
}

/// Checks each partition of a log, from the end of the last check on.
pub(crate) fn log_is_right(tables: &Tables, model: &Model, read_so_far: &mut BTreeMap<Name, u64>) -> Check {
    let partitions =
        partitions::list(tables, None).map_err(|_| (3, "the partitions are damaged".to_owned()))?;
    for partition in partitions {
        let name = (partition.topic.clone(), partition.producer.clone());
        let so_far = read_so_far.entry(name.clone()).or_insert(model.first_offset);
        if partition.first != model.first_offset || partition.next < *so_far {
            return fail(
                3,
                format!("the log holds {} of {} after it held {so_far}", partition.next, show(&name)),
            );
        }
        let mut expected = *so_far;
        let mut wrong = None;
        let mut each = |offset: u64, record: batch::Record| {
            if offset != expected || !model.is_right(&name.0, &name.1, offset, record) {
                wrong = Some(offset);
            }
            expected += 1;
            true
        };
        let limited =
            Limited { from: *so_far, max_count: u64::MAX, max_len_bytes: usize::MAX, each: &mut each };
        let read = scan::read(tables, named(&name), limited);
        if read.is_err() || wrong.is_some() || expected != partition.next {
            let at = wrong.unwrap_or(expected);
            return fail(3, format!("the log of {} is wrong at {at}: {read:?}", show(&name)));
        }
        *so_far = partition.next;
    }
    Ok(())
}

/// After a restart: checks that all acknowledged records are there, from 0 on, with the right content.
pub(crate) fn log_is_whole(store: usize, disk: &SimDisk, model: &Model) -> Check {
    log_is_right(&disk.committed(), model, &mut BTreeMap::new())?;
    for ((of, name), &end) in &model.acknowledged {
        let durable = disk.durable_next(named(name));
        if *of == store && durable < end {
            let text = format!(
                "store {store} has {durable} of the {end} records of {} that it acknowledged",
                show(name)
            );
            return fail(2, text);
        }
    }
    Ok(())
}

/// Checks how much a store's writer had gathered, in bytes and in records, when it took another message. While the disk
/// refuses the data, the writer reads at most a batch.
pub(crate) fn gathered((len_bytes, count): (usize, usize), max_batch: (usize, usize)) -> Check {
    if len_bytes >= max_batch.0 || count >= max_batch.1 {
        return fail(5, format!("the writer reads on with {count} records of {len_bytes} octets gathered"));
    }
    Ok(())
}

/// Checks the memory of a node after a turn.
pub(crate) fn bounds(node: &Node, plan: &Plan, published: usize, has_fetched: bool) -> Check {
    if let Some(statistics) = node.ingested() {
        if statistics.partitions > plan.limits.partitions {
            return fail(5, format!("{} partitions are known at a time", statistics.partitions));
        }
        if statistics.most_of_peer > plan.limits.partitions_per_peer {
            return fail(
                5,
                format!("{} partitions of one peer are known at a time", statistics.most_of_peer),
            );
        }
        if statistics.early_len_bytes > plan.limits.early_len_bytes {
            return fail(5, format!("early records occupy {} octets", statistics.early_len_bytes));
        }
        // When longer records arrive, the estimate of the bytes in flight grows without a FETCH.
        if has_fetched
            && statistics.in_flight_len_bytes > plan.limits.in_flight_len_bytes + MAX_WINDOW_LEN_BYTES
        {
            return fail(5, format!("FETCHes may bring {} octets", statistics.in_flight_len_bytes));
        }
    }
    // A turn reads a limited number of messages. Each leads to one message, or to a slice of answers and one HEAD per
    // partition. A producer with a new address publishes all records that it keeps.
    let kept = if let Role::Producer(producer) = &node.role { producer.producer.kept_count() } else { 0 };
    let most = 2 * plan.turn.messages + plan.turn.answers as usize + 1_000 + kept;
    if published > most {
        return fail(5, format!("{published} messages published in one turn"));
    }
    Ok(())
}

/// How many records of ended producers the stores have: for each partition, those of the store with the most.
pub(crate) fn left_behind(model: &Model, disks: &[&SimDisk]) -> u64 {
    let dead = model.partitions.iter().filter(|(_, partition)| !partition.is_alive);
    let stored = |name: &Name| disks.iter().map(|disk| disk.durable_next(named(name))).max();
    dead.filter_map(|(name, partition)| stored(name)?.checked_sub(partition.first)).sum()
}

/// Checks that nothing is left to do. A consumer that started at the latest record must have all records of the
/// partitions that began after its subscription. With `is_final`, it must also have the last records of live
/// partitions.
pub(crate) fn converged<'a>(
    model: &Model,
    disks: &[&SimDisk],
    nodes: impl Iterator<Item = &'a Node>,
    is_final: bool,
) -> Result<(), String> {
    let stored = |name: &Name| disks.iter().map(|disk| disk.durable_next(named(name))).max().unwrap_or(0);
    // All stores that had the dropped records may have been killed. producer/min_stores exists to prevent that.
    let is_whole = |name: &Name| model.partitions[name].forgotten <= stored(name);
    let end_of = |name: &Name| {
        let partition = &model.partitions[name];
        let published = partition.end();
        if partition.is_alive && is_whole(name) { stored(name).max(published) } else { stored(name) }
    };
    let names = || model.partitions.keys().filter(|&name| !model.is_forged(name));
    for name in names() {
        let end = end_of(name);
        for (store, disk) in disks.iter().enumerate() {
            let has = disk.durable_next(named(name));
            if has != end {
                return Err(format!("store {store} has {has} of the {end} records of {}", show(name)));
            }
        }
    }
    // The members of a group wait for a store that keeps positions, which a store of 0.1.0 does not.
    let nodes: Vec<&Node> = nodes.collect();
    let has_store = nodes.iter().any(|node| matches!(node.role, Role::Reader(_)) && !node.is_old);
    let group = model.group.iter().filter(|_| has_store);
    for (group, name) in group.flat_map(|group| names().map(move |name| (group, name))) {
        let is_due = is_final && model.partitions[name].is_alive && is_whole(name);
        group.reached(model, name, end_of(name), is_due)?;
    }
    for node in nodes {
        match &node.role {
            Role::Producer(producer) if model.is_forged(&producer.name) || !is_whole(&producer.name) => {}
            Role::Producer(producer) if !producer.producer.is_drained() => {
                let left = producer.producer.unacknowledged();
                return Err(format!("the producer of {} still keeps {left} records", show(&producer.name)));
            }
            Role::Producer(producer) if producer.is_terminating => {
                return Err(format!("the producer of {} does not end", show(&producer.name)));
            }
            Role::Consumer(consumer) if consumer.member.is_some() && !has_store => {}
            Role::Consumer(consumer) if consumer.consumer.is_waiting() => {
                return Err(format!("the consumer {} waits for its positions", node.address.escape_ascii()));
            }
            Role::Consumer(consumer) if consumer.member.is_none() => {
                for name in names() {
                    let end = end_of(name);
                    if end == model.first_offset {
                        continue;
                    }
                    let is_due = is_final && model.partitions[name].is_alive && is_whole(name);
                    reached(&consumer.oracle, model, name, end, is_due)
                        .map_err(|text| format!("the consumer {}: {text}", node.address.escape_ascii()))?;
                }
            }
            _ => {}
        }
    }
    Ok(())
}

/// Checks that no producer waits for a new address, and that all addresses differ, unless twins are hidden.
pub(crate) fn nobody_has_a_twin(nodes: &[Node], is_hidden: bool) -> Result<(), String> {
    let mut names = BTreeSet::new();
    for node in nodes {
        let Role::Producer(producer) = &node.role else { continue };
        if producer.renewals.is_deferred() {
            return Err(format!("the producer of {} has a twin", show(&producer.name)));
        }
        if !names.insert(&producer.name) && !is_hidden {
            return Err(format!("two producers write {}", show(&producer.name)));
        }
    }
    Ok(())
}

fn reached(oracle: &Oracle, model: &Model, name: &Name, end: u64, is_due: bool) -> Result<(), String> {
    if !oracle.is_subscribed(&name.0) {
        return Ok(());
    }
    let next = match (oracle.next.get(name), oracle.start_of(&name.0)) {
        (Some(&next), _) => next,
        // It may have committed all records before it started again.
        (None, Start::Earliest) => oracle.named_reached(name).unwrap_or(0),
        (None, Start::Time(since_ms)) if model.has_since(name, end, since_ms) => 0,
        // All its records are of before the time of the seek.
        (None, Start::Time(_)) => return Ok(()),
        // It continues where a consumer with its name has stopped.
        (None, Start::Latest) if oracle.named_reached(name).is_some() => {
            oracle.named_reached(name).unwrap_or(0)
        }
        (None, Start::Latest) if is_due => 0,
        // It began after the subscription, so the consumer reads it from its first record.
        (None, Start::Latest) if oracle.presumed_old == 0 && oracle.is_new(model, name) => 0,
        // The consumer does not know this partition.
        (None, Start::Latest) => return Ok(()),
        (None, Start::Offset(_) | Start::Last(_)) => {
            unreachable!("no consumer of the simulation has this start")
        }
    };
    if next < end { Err(format!("{next} of the {end} records of {}", show(name))) } else { Ok(()) }
}
