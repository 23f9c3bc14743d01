//! Producers with a name: each life continues the partition of the last one.

use crate::e2e::{Cluster, Program, QUIET, contents, lines, wait_until};
use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

/// Lines that a life gets in the test that kills it.
const LINES_PER_LIFE: usize = 2_000;

/// A cluster whose nodes soon notice that a producer was killed.
fn cluster() -> Cluster {
    Cluster::new().with("beacon/timeout", "1000").with("producer/head_interval", "100").with_tower()
}

/// Starts a life of the producer `me` of `topic`, with further settings.
fn life_with(cluster: &Cluster, settings: &[(&str, &str)]) -> Program {
    cluster.node_with("dafka_console_producer", &["--name", "me", "topic"], settings)
}

fn life(cluster: &Cluster) -> Program {
    life_with(cluster, &[])
}

/// The length of an outbox without records.
const EMPTY_OUTBOX_LEN_BYTES: u64 = 96;

/// The length of the files with records of the producer.
fn outbox_len_bytes(cluster: &Cluster) -> u64 {
    let entries = std::fs::read_dir(cluster.dir().join("producerdb/topic/me")).expect("there");
    let paths = entries.map(|entry| entry.expect("there").path());
    let files = paths.filter(|path| path.extension().is_some_and(|extension| extension == "outbox"));
    files.filter_map(|file| Some(file.metadata().ok()?.len())).sum()
}

/// The addresses of printed records.
fn addresses(printed: &[Vec<u8>]) -> BTreeSet<&[u8]> {
    printed.iter().map(|line| &line["topic ".len()..][..32]).collect()
}

#[test]
fn a_named_producer_that_is_killed_again_and_again_leaves_one_partition() {
    let rounds = std::env::var("DAFKA_LIVES").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(8);
    let mut random = fastrand::Rng::with_seed(7);
    let cluster = cluster().with_store();
    let mut live = cluster.consumer("topic");
    let mut received = Vec::new();
    for round in 0..rounds {
        let killed = life(&cluster);
        killed.feed(&lines(&format!("life {round}"), LINES_PER_LIFE));
        // A part of the lives is killed before it publishes anything.
        let count = if random.u8(..4) == 0 { 0 } else { random.usize(1..LINES_PER_LIFE) };
        let begin = format!("life {round} ").into_bytes();
        let mut seen = 0;
        while seen < count {
            let line = live.line("records of a life");
            seen += usize::from(line["topic ".len() + 33..].starts_with(&begin));
            received.push(line);
        }
        killed.kill();
        println!("life {round} was killed after {seen} records, {} in all", received.len());
    }
    let last = life(&cluster);
    last.feed(&lines("last", 100));
    last.finish("the end of its input");
    while !received.last().is_some_and(|line: &Vec<u8>| line.ends_with(b"last 99")) {
        received.push(live.line("the last records"));
    }
    assert_eq!(addresses(&received).len(), 1, "partitions");
    // The store has what the consumer has received, also the records that nobody had acknowledged.
    cluster.assert_stored("topic", &contents("topic", &received));
    // The records of each life are the first ones of its lines.
    let (mut of, mut next) = (String::new(), 0);
    let mut lives = Vec::new();
    for content in contents("topic", &received) {
        let content = String::from_utf8(content).expect("UTF-8");
        let (name, number) = content.rsplit_once(' ').expect("a name and a number");
        if name != of {
            lives.push(name.to_owned());
            (of, next) = (name.to_owned(), 0);
        }
        assert_eq!(number.parse(), Ok(next), "{content}");
        next += 1;
    }
    let order: Vec<String> = (0..rounds).map(|round| format!("life {round}")).collect();
    let order: Vec<&String> = order.iter().filter(|life| lives.contains(life)).collect();
    assert!(order.into_iter().eq(&lives[..lives.len() - 1]), "{lives:?}");
    live.expect_no_more();
}

#[test]
fn records_of_a_life_without_a_store_are_published_by_the_next_life() {
    let cluster = cluster();
    let mut witness = cluster.consumer("topic");
    let first = life(&cluster);
    first.feed(&lines("first", 3_000));
    // No earlier life has written this partition. So the first life publishes its records, although there is no store.
    witness.expect_records("topic", &lines("first", 3_000), "records without a store");
    first.kill();
    let second = life(&cluster);
    second.feed(&lines("second", 10));
    let _store = cluster.store("store");
    second.finish("a store came");
    let all = [lines("first", 3_000), lines("second", 10)].concat();
    cluster.assert_stored("topic", &all);
    witness.expect_records("topic", &lines("second", 10), "records of the next life");
    witness.expect_no_more();
}

#[test]
fn a_life_without_a_store_waits_or_fails_as_configured() {
    let cluster = cluster();
    let store = cluster.store("store");
    let first = life(&cluster);
    first.feed(&lines("first", 10));
    first.finish("the end of its input");
    store.kill();

    let text = "me cannot continue its partition";
    let failing = life_with(&cluster, &[("producer/start_timeout", "300")]);
    failing.expect_exit("no store in time", 1, &[text, "0 of the producer/start_stores = 1 required stores"]);

    let mut witness = cluster.consumer("topic");
    let waiting = life(&cluster);
    waiting.feed(&lines("second", 10));
    wait_until("the records are in the outbox", || outbox_len_bytes(&cluster) > EMPTY_OUTBOX_LEN_BYTES);
    witness.expect_silence(QUIET, "no store has confirmed the position");
    let careless = cluster.node_with(
        "dafka_console_producer",
        &["--name", "other", "topic"],
        &[("producer/start_stores", "0")],
    );
    careless.feed(&lines("other", 1));
    witness.line("a producer that waits for no store");
    careless.kill();
    let careless = cluster.node_with(
        "dafka_console_producer",
        &["--name", "other", "topic"],
        &[("producer/start_stores", "0")],
    );
    careless.feed(&lines("again", 1));
    witness.line("a producer that continues, and waits for no store");

    let _store = cluster.store("store");
    waiting.finish("a store came");
    careless.finish("a store came");
    let lines = ["first", "second"].map(|name| lines(name, 10)).concat();
    let others = [b"other 0".to_vec(), b"again 0".to_vec()];
    cluster.assert_each_stored("topic", &[&lines, &others]);
}

#[test]
fn a_second_life_is_refused() {
    let cluster = cluster().with_store();
    let mut witness = cluster.consumer("topic");
    let first = life(&cluster);
    first.feed(&lines("first", 1));
    witness.line("a record of the first life");
    let text = "another producer with the same name uses the outbox producerdb/topic/me";
    life(&cluster).expect_exit("the first life", 1, &[text]);
    // Another name, or another topic, is another producer.
    let other = cluster.node("dafka_console_producer", &["--name", "you", "topic"]);
    other.feed(&lines("other", 1));
    witness.line("a record of another producer");
    other.finish("the end of its input");
    first.finish("the end of its input");
}

fn copy_dir(from: &Path, to: &Path) {
    assert!(Command::new("cp").arg("-r").args([from, to]).status().expect("cp").success());
}

#[test]
fn a_life_with_a_copied_outbox_is_refused_while_the_other_one_runs() {
    let cluster = cluster().with_store();
    let first = life(&cluster);
    first.feed(&lines("first", 10));
    let mut live = cluster.consumer("topic");
    live.lines(10, "records of the first life");
    copy_dir(&cluster.dir().join("producerdb"), &cluster.dir().join("copy"));
    // It listens for long, because the machine may be busy.
    let settings = [("producer/directory", "copy"), ("beacon/interval", "2000")];
    let text = "probably with a copy of the outbox copy/topic/me; this producer ends";
    life_with(&cluster, &settings).expect_exit("another producer with its address", 1, &[text]);
    // The first one continues.
    first.feed(&lines("more", 10));
    live.lines(10, "more records of the first life");
    first.finish("the end of its input");
}

#[test]
fn a_life_with_an_old_outbox_is_refused() {
    let cluster = cluster().with_store();
    let publish = |name: &str| {
        let life = life(&cluster);
        life.feed(&lines(name, 10));
        life.finish("the end of its input");
    };
    let (outbox, copy) = (cluster.dir().join("producerdb"), cluster.dir().join("copy"));
    publish("first");
    copy_dir(&outbox, &copy);
    publish("second");
    std::fs::remove_dir_all(&outbox).unwrap();
    copy_dir(&copy, &outbox);
    let refused = life(&cluster);
    let texts = ["record 19 is acknowledged, and it has published 10", "is a copy, or was restored"];
    refused.expect_exit("a store has more records", 1, &texts);
    cluster.assert_stored("topic", &["first", "second"].map(|name| lines(name, 10)).concat());
    // Without the outbox, the producer begins another partition.
    std::fs::remove_dir_all(&outbox).unwrap();
    publish("new");
    let lines = |name| lines(name, 10);
    cluster.assert_each_stored("topic", &[&[lines("first"), lines("second")].concat(), &lines("new")]);
}
