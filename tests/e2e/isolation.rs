//! Consumers that read only records which a store has acknowledged.

use crate::e2e::{Cluster, DEADLINE, Program, lines};

const TOPIC: &str = "hello";

fn isolated(cluster: &Cluster, settings: &[(&str, &str)]) -> Program {
    let settings = [&[("consumer/isolation", "acknowledged")], settings].concat();
    cluster.node_with("dafka_console_consumer", &["--from-beginning", TOPIC], &settings)
}

/// A producer ends before a store has its records. Only consumers without isolation read these records.
#[test]
fn an_isolated_consumer_does_not_read_records_that_no_store_has() {
    let cluster = Cluster::new().with_tower();
    let store = cluster.store("store");
    let (mut isolated, mut other) = (isolated(&cluster, &[]), cluster.consumer(TOPIC));
    let stored = lines("stored", 100);
    cluster.publish(TOPIC, &stored);
    isolated.expect_records(TOPIC, &stored, "what a store has");
    other.expect_records(TOPIC, &stored, "what was published");

    store.terminate();
    let lost = lines("lost", 100);
    let mut producer = cluster.producer(TOPIC);
    producer.feed(&lost);
    other.expect_records(TOPIC, &lost, "what was published without a store");
    producer.signal(libc::SIGKILL);
    producer.wait("SIGKILL", DEADLINE);

    let _store = cluster.store("store");
    let later = lines("later", 100);
    cluster.publish(TOPIC, &later);
    // The isolated consumer skips the lost records. The next records that it prints are the later ones, which a store
    // has.
    isolated.expect_records(TOPIC, &later, "what a store has later");
    let mut late = cluster.consumer(TOPIC);
    let all = late.lines(200, "all that is stored");
    assert!(!all.iter().any(|line| String::from_utf8_lossy(line).contains("lost")));
}

/// More records wait for acknowledgement than the limit allows. The consumer fetches the records beyond the limit when
/// a store has them.
#[test]
fn an_isolated_consumer_limits_waiting_records_and_delivers_all() {
    let cluster = Cluster::new().with_tower();
    let (mut isolated, mut other) =
        (isolated(&cluster, &[("consumer/reorder_bytes", "10000")]), cluster.consumer(TOPIC));
    let published = lines("record", 1_000);
    let producer = cluster.producer_of(TOPIC, &published);
    other.expect_records(TOPIC, &published, "what was published without a store");
    let _store = cluster.store("store");
    producer.expect_success("its records being stored");
    isolated.expect_records(TOPIC, &published, "what a store has");
}
