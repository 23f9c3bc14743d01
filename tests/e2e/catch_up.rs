//! Catching up while a producer runs at full speed: the one who comes late gets there, without asking for more than it
//! needs.

use crate::e2e::{Cluster, Input, assert_contents, lines, statistic};
use std::time::Duration;

const COUNT: usize = 600_000;
/// For a machine that does other things, too.
const PATIENCE: Duration = Duration::from_secs(180);

#[test]
fn a_late_consumer_and_a_late_store_catch_up_with_a_producer_at_full_speed() {
    let mut cluster = Cluster::new();
    cluster.set("producer/min_stores", "2");
    let _tower = cluster.tower();
    let _first = cluster.store("first");
    let published = lines("fast", COUNT);
    let mut live = cluster.consumer("fast");
    let producer = cluster.producer_of("fast", &published);
    // By then the producer has a head start, and the records go to the disk.
    let mut begun = live.lines(COUNT / 10, "live records");

    let _second = cluster.store("second");
    let arguments = ["--from-beginning", "--verbose", "fast"];
    let mut late = cluster.node("dafka_console_consumer", &arguments, Input::Pipe);
    let replayed = late.lines(COUNT, "the records of a late consumer");
    assert_contents("fast", &replayed, &published);
    begun.extend(live.lines(COUNT - begun.len(), "the other live records"));
    assert_contents("fast", &begun, &published);
    // Both stores have all, also the one that came late.
    producer.expect_success_within("two stores have all", PATIENCE);

    late.signal(libc::SIGTERM);
    let stderr = late.expect_success("SIGTERM").stderr;
    let [duplicates, fetches] = ["duplicates", "fetches"].map(|name| statistic(&stderr, name));
    // The producer keeps what only one store has, and answers beside the store that is asked: twice, and what is asked
    // for again when an answer took too long.
    assert!(duplicates < 2 * COUNT as u64, "{duplicates} records came more than once\n{stderr}");
    assert!(fetches < COUNT as u64 / 100, "{fetches} FETCHes\n{stderr}");
}
