//! A store whose database outgrows its first map, without an effect on its peers.

use crate::e2e::{Cluster, Program};
use crate::peer::{Node, ack, direct_record, fetch, head, record, to};
use std::time::Duration;

const TOPIC: &str = "growth";
/// The length of the first map of a store, in bytes.
const FIRST_MAP_LEN: u64 = 1 << 30;
const CONTENT_LEN: usize = 96 << 20;
const RECORD_COUNT: u64 = 12;

fn content(sequence: u64) -> Vec<u8> {
    let line = format!("record {sequence} of {RECORD_COUNT}\n").into_bytes();
    let mut content = line.repeat(CONTENT_LEN / line.len() + 1);
    content.truncate(CONTENT_LEN + sequence as usize);
    content
}

/// The length of the map of the database, in bytes.
fn map_len(store: &Program) -> u64 {
    let maps = std::fs::read_to_string(format!("/proc/{}/maps", store.pid())).expect("there");
    let line = maps.lines().filter(|line| line.ends_with("data.mdb"));
    let lens = line.filter_map(|line| {
        let (begin, end) = line.split_whitespace().next()?.split_once('-')?;
        Some(u64::from_str_radix(end, 16).ok()? - u64::from_str_radix(begin, 16).ok()?)
    });
    lens.sum()
}

/// Free space in the file system, in bytes.
fn room(cluster: &Cluster) -> u64 {
    let mut df = std::process::Command::new("df");
    let output = df.args(["--output=avail", "-B1"]).arg(cluster.dir()).output().expect("df runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.lines().nth(1).and_then(|line| line.trim().parse().ok()).expect("a number")
}

#[test]
fn a_database_outgrows_its_first_map_while_records_are_written_and_read() {
    let mut cluster = Cluster::new();
    if room(&cluster) < 4 * FIRST_MAP_LEN {
        eprintln!("skipped: there is no room for a database of more than 1 GiB");
        return;
    }
    // Growing does not depend on this setting, and it makes the test faster.
    cluster.set("store/sync", "never");
    let _tower = cluster.tower();
    let mut store = cluster.store("store");
    let mut producer = Node::new(&cluster);
    producer.subscribe(&to(b'K', &producer.address));
    producer.subscribe_to(b"DEL", &producer.address);
    producer.start_beacon();
    // This node is also a consumer. Both nodes of the store are connected to it.
    producer.subscription(b"M");
    producer.message(b"L");
    let partition = producer.address.clone();
    for sequence in 0..RECORD_COUNT {
        if sequence == 0 {
            assert_eq!(map_len(&store), FIRST_MAP_LEN);
        }
        producer.send_frames(&[&record(TOPIC, &partition, sequence), &content(sequence)]);
        let expected = ack(&partition, TOPIC, sequence);
        while producer.message_within(&expected, Duration::from_millis(500)).is_none() {
            // An ACK is lost when the store sends it before it has received our subscription. A HEAD makes it repeat
            // the ACK.
            producer.send(&head(TOPIC, &partition, sequence));
            assert!(store.is_running(), "the store has ended: {}", store.log());
        }
        // Read some records in between.
        if let Some(before) = sequence.checked_sub(1).filter(|before| before % 4 == 2) {
            producer.send(&fetch(&partition, &partition, TOPIC, before, 1));
            let frames = producer.message(&direct_record(&partition, &partition, TOPIC, before));
            assert!(frames.len() == 2 && frames[1] == content(before), "record {before} is another one");
        }
    }
    assert!(map_len(&store) > FIRST_MAP_LEN, "{}", map_len(&store));
    // On a busy machine, a write of 96 MiB may take some seconds, which the store logs.
    let log = store.log();
    let others: Vec<&str> = log.lines().filter(|line| !line.contains(" the disk of ")).collect();
    assert_eq!(others, [""; 0], "no other condition to log");
    println!("growth: map of {} octets", map_len(&store));
    store.kill();
    let store = cluster.store("store");
    producer.forget_subscriptions();
    producer.subscription(b"F");
    for sequence in [0, RECORD_COUNT - 1] {
        let expected = direct_record(&partition, &partition, TOPIC, sequence);
        let request = fetch(&partition, &partition, TOPIC, sequence, 1);
        let frames = producer.ask_each(Duration::from_secs(1), &request, &expected);
        assert!(frames[1] == content(sequence), "record {sequence} is another one");
    }
    store.kill();
}
