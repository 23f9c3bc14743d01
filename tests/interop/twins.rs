//! Producers that share an address, as clones of a virtual machine or restored snapshots may do.

use crate::e2e::{Cluster, Program, lines};
use crate::peer::{Node, ack, direct_head, fetch, get_heads, to};
use std::collections::HashSet;
use std::path::Path;

const TOPIC: &str = "twins";

#[test]
fn producers_with_the_same_random_octets_have_two_addresses() {
    let cluster = Cluster::new().with_tower().with_store();
    let mut consumer = cluster.consumer(TOPIC);
    let clone = || {
        let fixed = ("FIXED_GETRANDOM", Path::new("1"));
        cluster.preloaded("dafka_console_producer", &[TOPIC], fixed)
    };
    let (first, second) = (clone(), clone());
    first.feed(&lines("first", 100));
    let mut printed = consumer.lines(100, "the first one's records");
    second.feed(&lines("second", 150));
    printed.extend(consumer.lines(150, "the second one's records"));
    first.finish("all is stored");
    second.finish("all is stored");
    // The store has the same records.
    let stored: HashSet<_> = cluster.consumer(TOPIC).lines(250, "all records").into_iter().collect();
    assert_eq!(stored, printed.into_iter().collect());
    assert_eq!(stored.len(), 250);
}

/// A node with these subscriptions, a producer that has published three records, and its address.
fn start(subscriptions: &[Vec<u8>]) -> (Cluster, Node, Program, String) {
    let cluster = Cluster::new().with_tower();
    let mut node = Node::new(&cluster);
    let mut all = vec![to(b'E', &node.address), to(b'D', &node.address)];
    all.extend_from_slice(subscriptions);
    all.iter().for_each(|subscription| node.subscribe(subscription));
    node.start_beacon();
    let producer = cluster.producer(TOPIC);
    let address = node.subscriber_of(b'K');
    node.subscription(&to(b'F', &address));
    producer.feed(&["r0", "r1", "r2"].map(|line| line.as_bytes().to_vec()));
    await_three_records(&mut node, &address);
    (cluster, node, producer, address)
}

/// Waits until three records are published under an address.
#[track_caller]
fn await_three_records(node: &mut Node, address: &str) {
    let all = direct_head(&node.address, address, TOPIC, 2);
    node.ask(&get_heads(TOPIC, &node.address), &all);
}

/// Waits until the producer has another address and has published all records under it. Returns that address.
#[track_caller]
fn expect_new_address(node: &mut Node, producer: &mut Program, old: &str, why: &str) -> String {
    producer.wait_for_log(&format!("another producer uses the address {old}: {why}"));
    producer.wait_for_log("publishes 3 records again");
    let new = node.subscriber_other_than(b'K', old);
    node.subscription(&to(b'F', &new));
    await_three_records(node, &new);
    node.send(&fetch(&new, &node.address, TOPIC, 0, 3));
    node.direct_records(&new, TOPIC, 0, &["r0", "r1", "r2"]);
    new
}

#[test]
fn an_ack_of_an_unpublished_record_makes_a_producer_take_one_new_address() {
    let (_cluster, mut node, mut producer, old) = start(&[to(b'M', TOPIC)]);
    node.send(&ack(&old, TOPIC, 3));
    let new = expect_new_address(
        &mut node,
        &mut producer,
        &old,
        "record 3 is acknowledged, and it has published 3",
    );
    // ACKs to the old address have no effect any more. Forged ACKs do not make the producer take one new address after
    // the other.
    node.send(&ack(&old, TOPIC, 2));
    for sequence in [99, u64::MAX] {
        node.send(&ack(&new, TOPIC, sequence));
    }
    producer.wait_for_log(&format!("another producer seems to use the address {new} again"));
    acknowledge_all(&mut node, &new);
    // These ACKs may be for the twin's records. So a producer that ends publishes its records once more, without a
    // pause.
    node.forget_subscriptions();
    producer.close_input();
    let last =
        expect_new_address(&mut node, &mut producer, &new, "record 18446744073709551615 is acknowledged");
    node.send(&ack(&last, TOPIC, 2));
    producer.expect_success("the ACK of all under the last address");
}

/// Acknowledges all three records, and waits until the producer has read the ACK. The producer has a twin, so it keeps
/// the records, and can answer the FETCH.
fn acknowledge_all(node: &mut Node, address: &str) {
    node.send(&ack(address, TOPIC, 2));
    node.send(&fetch(address, &node.address, TOPIC, 2, 1));
    node.direct_records(address, TOPIC, 2, &["r2"]);
}

#[test]
fn a_producer_with_a_twin_reports_records_without_proof_as_unacknowledged() {
    let (_cluster, mut node, mut producer, old) = start(&[to(b'M', TOPIC)]);
    node.send(&ack(&old, TOPIC, 3));
    let new = expect_new_address(&mut node, &mut producer, &old, "record 3 is acknowledged");
    node.send(&ack(&new, TOPIC, 99));
    acknowledge_all(&mut node, &new);
    node.forget_subscriptions();
    producer.signal(libc::SIGTERM);
    let last = expect_new_address(&mut node, &mut producer, &new, "record 99 is acknowledged");
    // The producer has a twin again, and ends before it may take yet another address.
    node.send(&ack(&last, TOPIC, 99));
    acknowledge_all(&mut node, &last);
    let what = "SIGTERM and the time for acknowledgements";
    producer.expect_exit(what, 3, &["3 of 3 records were not acknowledged"]);
}

#[test]
fn an_ack_without_a_subscribed_store_shows_a_twin() {
    // This node subscribes to neither records nor HEADs.
    let (_cluster, mut node, mut producer, old) = start(&[]);
    node.send(&ack(&old, TOPIC, 1));
    expect_new_address(
        &mut node,
        &mut producer,
        &old,
        "record 1 is acknowledged, and no store has subscribed",
    );
}

#[test]
fn a_beacon_with_the_producers_address_and_another_port_shows_a_twin() {
    let (cluster, mut node, mut producer, old) = start(&[to(b'M', TOPIC)]);
    let mut twin = Node::new(&cluster);
    twin.address = old.clone();
    twin.start_beacon();
    let endpoint = twin.endpoint();
    let new =
        expect_new_address(&mut node, &mut producer, &old, &format!("a node at {endpoint} announces it"));
    node.send(&ack(&new, TOPIC, 2));
    producer.finish("the ACK of all under the new address");
}
