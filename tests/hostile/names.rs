//! Beacons with host names. A DNS request may take minutes, and no node waits for it.

use crate::e2e::{Cluster, Program, lines};
use crate::hostile::{Honest, MIB, TOPIC, beacon, beacon_socket};
use crate::peer::new_address;
use std::path::Path;
use std::time::Duration;

/// Starts a node for which the lookup of names in `.slow` takes a minute, and names in `.here` are this host.
fn node(cluster: &Cluster, program: &str, arguments: &[&str]) -> Program {
    cluster.preloaded(program, arguments, ("NAMES", Path::new("1")))
}

#[test]
fn host_names_without_a_dns_answer_delay_no_node() {
    let mut cluster = Cluster::new();
    let tower = cluster.tower();
    cluster.set("store/db", "honest");
    let store = node(&cluster, "dafka_stored", &[]);
    let consumer = node(&cluster, "dafka_console_consumer", &["--from-beginning", TOPIC]);
    let producer = node(&cluster, "dafka_console_producer", &[TOPIC]);
    let mut honest = Honest::of(tower, store, producer, consumer);
    let to_tower = beacon_socket(&cluster);
    for round in 0..20 {
        for i in 0..50 {
            beacon(&to_tower, &new_address(), &format!("host-{}.slow", 50 * round + i), 1);
        }
        honest.round_trip();
        // New nodes work, too.
        if round % 10 == 9 {
            let mut newcomer = node(&cluster, "dafka_console_consumer", &["--from-beginning", TOPIC]);
            newcomer.line("what there is, for a newcomer");
        }
    }
    honest.tell();
    honest.end(64 * MIB);
}

#[test]
fn nodes_meet_by_their_names() {
    let mut cluster = Cluster::new().with_tower();
    cluster.set("beacon/address", "this.host.here");
    cluster.set("store/db", "store");
    let _store = node(&cluster, "dafka_stored", &[]);
    let mut consumer = node(&cluster, "dafka_console_consumer", &["--from-beginning", TOPIC]);
    let mut producer = node(&cluster, "dafka_console_producer", &[TOPIC]);
    let all = lines("line", 1_000);
    producer.feed(&all);
    consumer.expect_records(TOPIC, &all, "records of a node with a name");
    producer.close_input();
    producer.expect_success_within("a store with a name has them", Duration::from_secs(60));
    consumer.expect_no_more();
}
