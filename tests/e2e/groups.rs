//! Consumers of one group share the records of a topic.

use crate::e2e::{Cluster, DEADLINE, contents, lines, wait_until};
use crate::positions::Reading;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

const TOPIC: &str = "jobs";
const MEMBER_COUNT: usize = 4;

fn cluster() -> Cluster {
    Cluster::new()
        .with("consumer/group", "workers")
        .with("consumer/verbose", "1")
        .with("consumer/commit_interval", "10")
        .with_tower()
        .with_store()
}

fn join(cluster: &Cluster) -> Reading {
    Reading::start(cluster.consumer(TOPIC))
}

/// Waits until all members of a growing group know each other.
fn await_group(members: &[Reading]) {
    let expected = match members.len() {
        1 => "the group has 1 member;".into(),
        count => format!("the group has {count} members;"),
    };
    wait_until(&expected, || members.iter().all(|member| member.log().contains(&expected)));
}

/// How many lines the members have printed.
fn count(members: &[Reading]) -> usize {
    members.iter().map(Reading::line_count).sum()
}

/// How often each record was printed.
fn printed<'a>(outputs: impl IntoIterator<Item = &'a Vec<Vec<u8>>>) -> BTreeMap<Vec<u8>, usize> {
    let mut counts = BTreeMap::new();
    for line in outputs.into_iter().flat_map(|lines| contents(TOPIC, lines)) {
        *counts.entry(line).or_insert(0) += 1;
    }
    counts
}

#[test]
fn members_that_join_and_leave_share_one_partition_exactly_once() {
    let cluster = cluster();
    let all = lines(TOPIC, 9_000);
    let producer = cluster.producer(TOPIC);
    let (mut members, mut outputs) = (Vec::new(), Vec::new());
    let mut fed = 0;
    for (number, chunk) in all.chunks(1_000).enumerate() {
        // First, members join. Then they leave, except the last one.
        match number {
            0..MEMBER_COUNT => {
                members.push(join(&cluster));
                await_group(&members);
            }
            _ if members.len() > 1 => outputs.push(members.remove(0).terminate()),
            _ => {}
        }
        producer.feed(chunk);
        fed += chunk.len();
        wait_until("all records are printed", || {
            let of_former: usize = outputs.iter().map(Vec::len).sum();
            of_former + count(&members) >= fed
        });
    }
    producer.finish("the end of its input");
    outputs.extend(members.into_iter().map(Reading::terminate));
    let counts = printed(&outputs);
    let repeated: Vec<_> = counts.iter().filter(|(_, count)| **count > 1).collect();
    assert!(repeated.is_empty(), "{} records twice, such as {:?}", repeated.len(), repeated[0]);
    assert_eq!(counts.len(), all.len());
    let lens: Vec<usize> = outputs.iter().map(Vec::len).collect();
    assert!(lens.iter().all(|&len| len > 500), "the members did not share the work: {lens:?}");
}

/// Publishes `total` records. Meanwhile, kills a member in each interval, and starts another one.
fn kill_members(total: usize, kill_count: usize, interval: Duration) {
    let cluster = cluster().with("beacon/timeout", "1000");
    let all = lines(TOPIC, total);
    let producer = cluster.producer(TOPIC);
    let mut members: Vec<_> = (0..MEMBER_COUNT).map(|_| join(&cluster)).collect();
    let mut outputs = Vec::new();
    for (number, chunk) in all.chunks(total.div_ceil(kill_count)).enumerate() {
        producer.feed(chunk);
        std::thread::sleep(interval);
        outputs.push(members.remove(number % MEMBER_COUNT).kill());
        members.push(join(&cluster));
    }
    let begin = Instant::now();
    // The killed members have printed some records. The others print the rest, and some of these again.
    let known = printed(&outputs);
    loop {
        let last_count = count(&members);
        std::thread::sleep(Duration::from_millis(2_500));
        if count(&members) == last_count && known.len() + last_count >= total {
            break;
        }
        assert!(begin.elapsed() < DEADLINE, "{} + {last_count} of {total} records", known.len());
    }
    producer.finish("the end of its input");
    outputs.extend(members.into_iter().map(Reading::terminate));
    let counts = printed(&outputs);
    let missing: Vec<_> = all.iter().filter(|line| !counts.contains_key(*line)).collect();
    assert!(missing.is_empty(), "{} records are missing, such as {:?}", missing.len(), missing[0]);
    let again: usize = counts.values().map(|count| count - 1).sum();
    let lens: Vec<usize> = outputs.iter().map(Vec::len).collect();
    println!("{again} of {total} records were handled again; by member: {lens:?}");
}

#[test]
fn a_group_of_which_members_die_handles_all_records() {
    kill_members(20_000, 4, Duration::from_secs(1));
}

#[test]
#[ignore = "takes minutes: make soak"]
fn a_group_of_which_a_member_dies_every_second_handles_a_million_records() {
    kill_members(1_000_000, 60, Duration::from_secs(1));
}
