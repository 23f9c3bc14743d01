//! Our nodes with simulated nodes of libdafka 0.1.0.

#[path = "../common/e2e/mod.rs"]
mod e2e;
#[path = "../common/peer/mod.rs"]
mod peer;

mod attributes;
mod batches;
mod consumer;
mod migration;
mod orders;
mod producer;
mod store;
mod tower;
mod twins;

const TOPIC: &str = "hello";

/// Writes lines to the standard input of a console producer.
fn feed(producer: &e2e::Program, lines: &[&str]) {
    producer.feed(&lines.iter().map(|line| line.as_bytes().to_vec()).collect::<Vec<_>>());
}

/// Reads the next lines of a console consumer, which must be records of a partition with these contents.
#[track_caller]
fn expect_lines(consumer: &mut e2e::Program, partition: &str, contents: &[&str]) {
    for content in contents {
        let line = consumer.line("the next record");
        assert_eq!(String::from_utf8_lossy(&line), format!("{TOPIC} {partition} {content}"));
    }
}
