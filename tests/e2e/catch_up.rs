//! A late consumer and a late store catch up with a producer that publishes at full speed. They do not send more
//! requests than they need.

use crate::e2e::{Cluster, assert_contents, lines, statistic};
use std::time::Duration;

const COUNT: usize = 300_000;
/// Long, because the machine may be busy.
const PATIENCE: Duration = Duration::from_secs(180);

#[test]
fn a_late_consumer_and_a_late_store_catch_up_with_a_producer_at_full_speed() {
    let cluster = Cluster::new().with("producer/min_stores", "2").with_tower();
    let _first = cluster.store("first");
    let published = lines("fast", COUNT);
    let mut live = cluster.consumer("fast");
    let producer = cluster.producer_of("fast", &published);
    // The late nodes start now: the producer is ahead, and a part of the records is on disk.
    let mut begun = live.lines(COUNT / 10, "live records");

    let _second = cluster.store("second");
    let arguments = ["--from-beginning", "--verbose", "fast"];
    let mut late = cluster.node("dafka_console_consumer", &arguments);
    let replayed = late.lines(COUNT, "the records of a late consumer");
    assert_contents("fast", &replayed, &published);
    begun.extend(live.lines(COUNT - begun.len(), "the other live records"));
    assert_contents("fast", &begun, &published);
    // Both stores have all records.
    producer.expect_success_within("two stores have all", PATIENCE);

    let stderr = late.terminate().stderr;
    let [duplicates, fetches] = ["duplicates", "fetches"].map(|name| statistic(&stderr, name));
    // The producer keeps records that only one store has, so both the producer and that store send them. FETCHes that
    // are repeated after a timeout cause further duplicates.
    assert!(duplicates < 2 * COUNT as u64, "{duplicates} records came more than once\n{stderr}");
    assert!(fetches < COUNT as u64 / 100, "{fetches} FETCHes\n{stderr}");
}
