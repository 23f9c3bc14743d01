//! A named producer whose outbox is on a full disk.

use crate::crash::Tmpfs;
use crate::e2e::{Cluster, QUIET, varied_lines};

#[test]
fn a_full_disk_of_an_outbox_delays_records_and_loses_none() {
    let cluster = Cluster::new().with_tower().with_store();
    let Some(disk) = Tmpfs::mount(&cluster.dir().join("small"), "size=1m") else { return };
    let directory = disk.path().to_str().expect("UTF-8");
    let mut live = cluster.consumer("topic");
    let settings = [("producer/directory", directory)];
    let mut producer = cluster.node_with("dafka_console_producer", &["--name", "me", "topic"], &settings);
    let all = varied_lines("line", 20_000, 3_000);
    producer.feed(&all);
    producer.wait_for_log("cannot write to the outbox");
    assert!(producer.log().contains("No space left on device"), "{}", producer.log());
    // Only records in the outbox are published.
    let mut published = Vec::new();
    loop {
        match live.lines_within(all.len(), QUIET) {
            lines if lines.is_empty() => break,
            lines => published.extend(lines),
        }
    }
    assert!(published.len() < all.len());
    disk.remount("size=100m");
    producer.wait_for_log("accepts records again");
    producer.finish("there is room");
    published.extend(live.lines(all.len() - published.len(), "the other records"));
    crate::e2e::assert_contents("topic", &published, &all);
    cluster.assert_stored("topic", &all);
}
