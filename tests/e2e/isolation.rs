//! Consumers that read only what a store has acknowledged.

use crate::e2e::{Cluster, DEADLINE, Input, Program, assert_contents};

const TOPIC: &str = "hello";

fn numbered(name: &str, count: usize) -> Vec<Vec<u8>> {
    (0..count).map(|i| format!("{name} {i}").into_bytes()).collect()
}

fn isolated(cluster: &Cluster, settings: &[(&str, &str)]) -> Program {
    let settings = [&[("consumer/isolation", "acknowledged")], settings].concat();
    cluster.node_with("dafka_console_consumer", &["--from-beginning", TOPIC], &settings, Input::Pipe)
}

/// Records whose producer has ended before a store had them are read by nobody but those who take what is published.
#[test]
fn what_no_store_has_is_not_read_under_isolation() {
    let cluster = Cluster::new();
    let _tower = cluster.tower();
    let mut store = cluster.store("store");
    let (mut isolated, mut other) = (isolated(&cluster, &[]), cluster.consumer(TOPIC));
    let stored = numbered("stored", 100);
    cluster.publish(TOPIC, &stored);
    assert_contents(TOPIC, &isolated.lines(100, "what a store has"), &stored);
    assert_contents(TOPIC, &other.lines(100, "what was published"), &stored);

    store.signal(libc::SIGTERM);
    store.expect_success("SIGTERM");
    let lost = numbered("lost", 100);
    let mut producer = cluster.producer(TOPIC);
    producer.feed(&lost);
    assert_contents(TOPIC, &other.lines(100, "what was published without a store"), &lost);
    producer.signal(libc::SIGKILL);
    producer.wait("SIGKILL", DEADLINE);

    let _store = cluster.store("store");
    let later = numbered("later", 100);
    cluster.publish(TOPIC, &later);
    // The first thing that comes is what was stored: nothing of what was lost.
    assert_contents(TOPIC, &isolated.lines(100, "what a store has later"), &later);
    let mut late = cluster.consumer(TOPIC);
    let all = late.lines(200, "all that is stored");
    assert!(!all.iter().any(|line| String::from_utf8_lossy(line).contains("lost")));
}

/// More waits than may be kept: it is fetched when a store has it.
#[test]
fn what_waits_for_a_store_is_bounded_and_comes_in_the_end() {
    let cluster = Cluster::new();
    let _tower = cluster.tower();
    let (mut isolated, mut other) =
        (isolated(&cluster, &[("consumer/reorder_bytes", "10000")]), cluster.consumer(TOPIC));
    let published = numbered("record", 1_000);
    let producer = cluster.producer_of(TOPIC, &published);
    assert_contents(TOPIC, &other.lines(1_000, "what was published without a store"), &published);
    let _store = cluster.store("store");
    producer.expect_success("its records being stored");
    assert_contents(TOPIC, &isolated.lines(1_000, "what a store has"), &published);
}
