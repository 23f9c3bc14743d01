//! Where the console consumer starts, and its end after all that is there.

use crate::console::{only_partition, publish};
use crate::e2e::{Cluster, lines};

const CONSUMER: &str = "dafka_console_consumer";
const TOPIC: &str = "starts";

/// What a consumer with `--exit` prints, without knowing a number of records.
#[track_caller]
fn print_to_the_end(cluster: &Cluster, options: &[&str]) -> Vec<String> {
    let consumer = cluster.node(CONSUMER, &[&["--exit"], options].concat());
    let ended = consumer.expect_success("all records that are there");
    assert_eq!(ended.stderr, "", "{options:?}: the consumer logs nothing");
    ended.stdout.into_iter().map(|line| String::from_utf8(line).expect("UTF-8")).collect()
}

/// Records by partition: each partition has its own first letter. The records of each must be in order.
#[track_caller]
fn assert_printed(cluster: &Cluster, options: &[&str], expected: &[&str]) {
    let mut printed = print_to_the_end(cluster, &[&["--format", "%s\\n"], options, &[TOPIC]].concat());
    printed.sort_by_key(|line| line.chars().next());
    assert_eq!(printed, expected, "{options:?}");
}

#[test]
fn a_consumer_starts_at_an_offset_and_ends_at_the_end() {
    let cluster = Cluster::new().with_tower().with_store();
    publish(&cluster, &[TOPIC], b"a0\na1\na2\na3\na4\n");
    let partition = only_partition(&cluster, TOPIC);
    publish(&cluster, &[TOPIC], b"b0\nb1\nb2\n");

    assert_printed(&cluster, &["--offset", "-2"], &["a3", "a4", "b1", "b2"]);
    let all = ["a0", "a1", "a2", "a3", "a4", "b0", "b1", "b2"];
    assert_printed(&cluster, &["--offset", "-4", "--partition", &partition], &all[1..5]);
    assert_printed(&cluster, &["--offset", "-9"], &all);
    assert_printed(&cluster, &["--offset", "3"], &["a3", "a4"]);
    assert_printed(&cluster, &["--offset=2", "--count", "9"], &["a2", "a3", "a4", "b2"]);
    assert_printed(&cluster, &["--from-beginning"], &all);
    assert_printed(&cluster, &["--offset", "latest"], &[]);
    // Without --offset, the key in the configuration applies.
    let key = [("consumer/offset/reset", "-1")];
    let consumer = cluster.node_with(CONSUMER, &["--exit", "--format", "%o\\n", TOPIC], &key);
    let mut printed = consumer.expect_success("the last records").stdout;
    printed.sort();
    assert_eq!(printed, [b"2", b"4"]);
}

#[test]
fn a_consumer_starts_at_a_time_and_ends_at_the_end() {
    let cluster = Cluster::new().with_tower().with_store();
    publish(&cluster, &[TOPIC], b"a0\na1\na2\n");
    publish(&cluster, &[TOPIC], b"b0\nb1\nb2\n");
    let all = ["a0", "a1", "a2", "b0", "b1", "b2"];
    let stamped =
        print_to_the_end(&cluster, &["--offset", "@2001-02-03T04:05:06", "--format", "%T %s\\n", TOPIC]);
    let first = stamped.iter().find_map(|line| line.strip_suffix(" b0")).expect("the first record of b");
    assert_printed(&cluster, &["--offset", &format!("@{first}")], &all[3..]);
    assert_printed(&cluster, &["--offset", "@0"], &all);
    assert_printed(&cluster, &["--offset", "@9999-01-01"], &[]);
}

#[test]
fn a_consumer_ends_at_the_end_of_an_empty_topic_and_of_live_producers() {
    let cluster = Cluster::new().with_tower();
    assert_printed(&cluster, &["--from-beginning"], &[]);
    let mut live = cluster.producer(TOPIC);
    live.feed(&lines("line", 5_000));
    cluster.consumer(TOPIC).lines(5_000, "the records of a producer without a store");
    let printed = print_to_the_end(&cluster, &["--offset", "earliest", "--format", "%s\\n", TOPIC]);
    assert_eq!(printed.len(), 5_000);
    let _store = cluster.store("store");
    live.close_input();
    live.expect_success("the end of its input, with a store present");
    assert_eq!(print_to_the_end(&cluster, &["--offset", "4990", TOPIC]).len(), 10);
}
