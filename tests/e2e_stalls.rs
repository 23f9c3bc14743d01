//! Standstills are told in the log: here the only store's database is lost, with records that their producer has
//! forgotten.

mod e2e;

use e2e::{Cluster, lines};

#[test]
fn a_lost_database_is_told_by_the_store_a_consumer_and_the_producer() {
    let cluster = Cluster::new();
    let _tower = cluster.tower();
    let store = cluster.store("lost");
    let mut producer = cluster.producer("topic");
    let mut live = cluster.consumer("topic");
    producer.feed(&lines("kept", 100));
    live.lines(100, "the first records");
    // A consumer that comes late gets them from the store: all are acknowledged soon after that.
    cluster.consumer("topic").lines(100, "the first records, from the store");
    store.kill();
    std::fs::remove_dir_all(cluster.dir().join("lost")).expect("removed");

    let mut store = cluster.store("lost");
    let mut late = cluster.consumer("topic");
    producer.feed(&lines("more", 10));
    // Who has the records before goes on.
    live.lines(10, "the records after");
    store.wait_for_log("of topic stays at record 0: nobody answers with it; it is not stored further");
    late.wait_for_log("of topic stays at record 0: nobody answers with it; it is not read further");
    producer.wait_for_log("10 records of topic wait for acknowledgement");
    assert!(producer.log().contains("no store says that it has them"), "{}", producer.log());
    assert!(!live.log().contains("stays at record"), "{}", live.log());
}
