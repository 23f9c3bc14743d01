//! Where the console consumer starts, with and without a name, and its end after all that is there.

use crate::console::{only_partition, publish};
use crate::e2e::{Cluster, Program, lines};

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

/// What a consumer with the name `me` prints until it ends by itself.
#[track_caller]
fn print_named(cluster: &Cluster, options: &[&str]) -> Vec<Vec<u8>> {
    let consumer = named(cluster, options);
    let ended = consumer.expect_success("the last record");
    assert_eq!(ended.stderr, "", "{options:?}: the consumer logs nothing");
    ended.stdout
}

fn named(cluster: &Cluster, options: &[&str]) -> Program {
    let common = ["--name", "me", "--format", "%s\\n", TOPIC];
    cluster.node(CONSUMER, &[&common, options].concat())
}

#[test]
fn a_consumer_with_a_name_continues_after_the_last_record_that_it_has_printed() {
    let cluster = Cluster::new().with_tower().with_store();
    let all = lines("line", 5_000);
    cluster.publish(TOPIC, &all);
    // More records wait than are printed.
    assert_eq!(print_named(&cluster, &["--from-beginning", "--count", "3"]), all[..3]);
    let printed = print_named(&cluster, &["--from-beginning", "--count", "2000"]);
    assert!(printed == all[3..2_003], "{} records from {:?}", printed.len(), printed.first());
    assert_eq!(print_named(&cluster, &["--count", "1"]), all[2_003..2_004]);

    let mut consumer = named(&cluster, &[]);
    let first = consumer.line("the next record");
    consumer.signal(libc::SIGINT);
    let rest = consumer.expect_success("SIGINT").stdout;
    let printed = [vec![first], rest, print_named(&cluster, &["--offset", "committed", "--exit"])].concat();
    assert!(printed == all[2_004..], "{} records", printed.len());
    assert_eq!(print_named(&cluster, &["--from-beginning", "--exit"]), [b""; 0]);

    // Another offset comes before the committed position, and moves it.
    assert_eq!(print_named(&cluster, &["--offset", "-2", "--count", "1"]), all[4_998..4_999]);
    assert_eq!(print_named(&cluster, &["--exit"]), all[4_999..]);
    assert_eq!(print_named(&cluster, &["--offset", "3", "--count", "2"]), all[3..5]);
    assert_eq!(print_named(&cluster, &["--count", "1"]), all[5..6]);
}

#[test]
fn a_consumer_of_one_partition_commits_nothing_in_others() {
    let cluster = Cluster::new().with_tower().with_store();
    publish(&cluster, &[TOPIC], b"a0\na1\na2\n");
    let partition = only_partition(&cluster, TOPIC);
    publish(&cluster, &[TOPIC], b"b0\nb1\n");
    let options = ["--from-beginning", "--partition", &partition, "--exit"];
    assert_eq!(print_named(&cluster, &options), [b"a0", b"a1", b"a2"]);
    assert_eq!(print_named(&cluster, &["--from-beginning", "--exit"]), [b"b0", b"b1"]);
}

#[test]
fn a_consumer_with_a_name_reports_a_position_that_no_store_has() {
    let cluster = Cluster::new().with_tower();
    let live = cluster.producer(TOPIC);
    live.feed(&lines("line", 2));
    let consumer = named(&cluster, &["--from-beginning", "--count", "2"]);
    let ended = consumer.expect_exit("no store", 3, &["no store has confirmed the position"]);
    assert_eq!(ended.stdout, lines("line", 2));
}
