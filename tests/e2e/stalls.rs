//! Stalls are logged. In this test, the only store loses its database, with records that the producer no longer keeps.

use crate::e2e::{Cluster, lines};

#[test]
fn a_lost_database_is_logged_by_the_store_a_consumer_and_the_producer() {
    let cluster = Cluster::new().with_tower();
    let store = cluster.store("lost");
    // The limit lets the producer keep fewer than 300 records. So when it has published the last one, the store has
    // acknowledged the first ones, and the producer has dropped them.
    let settings = [("producer/max_unacked_bytes", "4096")];
    let producer = &mut cluster.node_with("dafka_console_producer", &["topic"], &settings);
    let mut live = cluster.consumer("topic");
    producer.feed(&lines("kept", 300));
    live.lines(300, "the first records");
    store.kill();
    std::fs::remove_dir_all(cluster.dir().join("lost")).expect("removed");

    let mut store = cluster.store("lost");
    let mut late = cluster.consumer("topic");
    producer.feed(&lines("more", 10));
    store.wait_for_log("of topic is stalled: no peer sends record 0; later records are not stored");
    late.wait_for_log("of topic is stalled: no peer sends record 0; later records are not read");
    producer.wait_for_log(" records of topic wait for acknowledgement");
    assert!(producer.log().contains("no store reports that it has them"), "{}", producer.log());
    // A consumer that has the records does not wait for them.
    assert!(!live.log().contains("is stalled"), "{}", live.log());
}
