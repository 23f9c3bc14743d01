//! A consumer of new records (`consumer/offset/reset = latest`): which partitions it reads from their first record.

use crate::e2e::{Cluster, DEADLINE, Program, assert_contents, contents, lines};
use std::time::{Duration, Instant};

const TOPIC: &str = "news";

/// Publishes new records until the consumer prints one. Older records must not come. Returns how many were published.
fn meet(producer: &Program, consumer: &mut Program) -> usize {
    let start = Instant::now();
    let mut published = 0;
    loop {
        producer.feed(&[format!("new {published}").into_bytes()]);
        published += 1;
        let printed = consumer.lines_within(1, Duration::from_millis(50));
        if let [content] = &contents(TOPIC, &printed)[..] {
            assert!(content.starts_with(b"new "), "{}", content.escape_ascii());
            return published;
        }
        assert!(start.elapsed() < DEADLINE, "no new record arrives");
    }
}

#[test]
fn a_stopped_consumer_of_new_records_gets_all_records_of_a_producer_that_lived_meanwhile() {
    let cluster = Cluster::new().with_tower().with_store();
    // Two partitions that are older than the subscription. The producer of one has ended, the other one is idle.
    cluster.publish(TOPIC, &lines("ended", 1_000));
    let mut witness = cluster.consumer(TOPIC);
    let idle = cluster.producer(TOPIC);
    idle.feed(&lines("idle", 1_000));
    witness.lines(2_000, "old records");
    let mut consumer = cluster.consumer_of_new(TOPIC);
    let published = meet(&idle, &mut consumer);
    let started = contents(TOPIC, &consumer.lines_within(published, Duration::from_millis(200))).len();
    assert!(started < published);

    consumer.pause();
    let meanwhile = lines("meanwhile", 1_000);
    cluster.publish(TOPIC, &meanwhile);
    consumer.resume();
    assert_contents(TOPIC, &consumer.lines(meanwhile.len(), "what was published meanwhile"), &meanwhile);

    // The older partitions still begin after the records that the consumer did not get.
    idle.feed(&[b"last".to_vec()]);
    assert_eq!(contents(TOPIC, &[consumer.line("a new record of an old partition")]), [b"last"]);
    idle.finish("the end of its input, with a store present");
    consumer.expect_no_more();
}
