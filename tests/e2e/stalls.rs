//! Standstills are told in the log: here the only store's database is lost, with records that their producer has
//! forgotten.

use crate::e2e::{Cluster, Input, lines};

#[test]
fn a_lost_database_is_told_by_the_store_a_consumer_and_the_producer() {
    let cluster = Cluster::new();
    let _tower = cluster.tower();
    let store = cluster.store("lost");
    // It keeps 30 records at most: when it publishes the last ones, the first ones were acknowledged and forgotten.
    let settings = [("producer/max_unacked_bytes", "4096")];
    let producer = &mut cluster.node_with("dafka_console_producer", &["topic"], &settings, Input::Pipe);
    let mut live = cluster.consumer("topic");
    producer.feed(&lines("kept", 300));
    live.lines(300, "the first records");
    store.kill();
    std::fs::remove_dir_all(cluster.dir().join("lost")).expect("removed");

    let mut store = cluster.store("lost");
    let mut late = cluster.consumer("topic");
    producer.feed(&lines("more", 10));
    store.wait_for_log("of topic stays at record 0: nobody answers with it; it is not stored further");
    late.wait_for_log("of topic stays at record 0: nobody answers with it; it is not read further");
    producer.wait_for_log(" records of topic wait for acknowledgement");
    assert!(producer.log().contains("no store says that it has them"), "{}", producer.log());
    // Who has the records before does not wait for them.
    assert!(!live.log().contains("stays at record"), "{}", live.log());
}
