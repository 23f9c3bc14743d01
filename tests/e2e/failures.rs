//! Towers, stores and peers that end, start late or stop: no record is lost, duplicated or out of order.

use crate::e2e::{Cluster, Flow, PROMPT, assert_contents, lines, varied_lines};
use std::path::Path;
use std::time::Duration;

/// The timeout of silent peers, in the tests that wait for longer than this timeout.
const TIMEOUT: Duration = Duration::from_secs(1);

/// A cluster whose nodes soon disconnect from silent peers.
fn with_short_timeout(towers: usize) -> Cluster {
    Cluster::with_towers(towers).with("beacon/timeout", &TIMEOUT.as_millis().to_string())
}

#[test]
fn a_store_that_is_killed_and_restarted_during_a_stream_has_every_record_once() {
    let cluster = Cluster::new().with_tower();
    let store = cluster.store("store");
    let mut flow = Flow::start(&cluster, "crash");
    for _ in 0..5 {
        flow.publish(1_000);
        flow.arrive("records before the crash");
    }
    // The first crash is during a burst.
    flow.publish(10_000);
    flow.printed.extend(flow.consumer.lines(1_000, "the begin of the burst"));
    store.kill();
    flow.arrive("records without a store");
    flow.publish(2_000);
    flow.arrive("records without a store");
    let store = cluster.store("store");
    for _ in 0..3 {
        flow.publish(1_000);
        flow.arrive("records after the restart");
    }
    // The second crash is while the store catches up. The store restarts during another burst.
    store.kill();
    flow.publish(10_000);
    flow.printed.extend(flow.consumer.lines(1_000, "the begin of the second burst"));
    let _store = cluster.store("store");
    flow.arrive("records of the second burst");

    let all = flow.finish();
    cluster.assert_stored("crash", &all);
}

#[test]
fn with_two_towers_one_may_be_dead_from_the_start() {
    let cluster = with_short_timeout(2);
    let towers = [cluster.tower_number(0), cluster.tower_number(1)];
    let _store = cluster.store("store");
    let before = lines("before", 100);
    cluster.publish("before", &before);

    let [first, _second] = towers;
    first.kill();
    let mut flow = Flow::start(&cluster, "one");
    flow.publish(100);
    flow.arrive("records with one tower");
    flow.go_on_for(2 * TIMEOUT, "records with one tower");
    let all = flow.finish();
    cluster.assert_stored("one", &all);
    cluster.assert_stored("before", &before);
}

#[test]
fn with_two_towers_one_may_die_during_a_stream() {
    let cluster = with_short_timeout(2);
    let towers = [cluster.tower_number(0), cluster.tower_number(1)];
    let _store = cluster.store("store");
    let mut flow = Flow::start(&cluster, "died");
    flow.publish(100);
    flow.arrive("records with two towers");

    let [first, second] = towers;
    first.kill();
    flow.go_on_for(3 * TIMEOUT, "records with one tower");
    cluster.assert_stored("died", &flow.published);
    // The dead tower restarts, and the other one is killed.
    let _first = cluster.tower_number(0);
    flow.go_on_for(TIMEOUT, "records with both again");
    second.kill();
    flow.go_on_for(3 * TIMEOUT, "records with the other one");
    cluster.assert_stored("died", &flow.published);
    let all = flow.finish();
    cluster.assert_stored("died", &all);
}

#[test]
fn a_tower_may_start_last_and_be_replaced() {
    let cluster = with_short_timeout(1);
    let _store = cluster.store("store");
    let mut flow = Flow::start(&cluster, "alone");
    flow.publish(1_000);
    flow.consumer.expect_silence(Duration::from_millis(1_500), "no tower has introduced anybody");

    let tower = cluster.tower();
    flow.arrive("records once there is a tower");
    tower.kill();
    let _tower = cluster.tower();
    // A new consumer finds the nodes of the old tower.
    let mut newcomer = cluster.consumer("alone");
    let mut printed = newcomer.lines(1_000, "records, for a consumer that came with the new tower");
    flow.publish(1_000);
    flow.arrive("records with the new tower");
    printed.extend(newcomer.lines(1_000, "live records, for the new consumer"));
    assert_contents("alone", &printed, &flow.published);
    newcomer.expect_no_more();
    flow.go_on_for(2 * TIMEOUT, "records with the new tower");

    let all = flow.finish();
    cluster.assert_stored("alone", &all);
}

#[test]
fn connected_nodes_continue_without_a_tower() {
    let mut cluster = Cluster::new();
    // This is the default. With a shorter timeout, nodes could disconnect because a busy machine delays beacons, and
    // without a tower no node reconnects.
    let timeout = 4 * TIMEOUT;
    cluster.set("beacon/timeout", &timeout.as_millis().to_string());
    let tower = cluster.tower();
    let _store = cluster.store("store");
    let mut flow = Flow::start(&cluster, "towerless");
    flow.publish(100);
    flow.arrive("records with a tower");
    // The producer of this record has ended. So the consumer usually gets the record over a connection to the store.
    cluster.publish("towerless", &lines("other", 1));
    flow.consumer.line("the record of another producer");
    // After this time, all nodes have received beacons of all others.
    flow.go_on_for(TIMEOUT, "records with a tower");

    tower.kill();
    flow.go_on_for(2 * timeout, "records without a tower");
    // The producer ends only if it is still connected to the store.
    let all = flow.finish();
    let _tower = cluster.tower();
    cluster.assert_each_stored("towerless", &[&all, &lines("other", 1)]);
}

#[test]
fn nodes_reconnect_during_a_flood_after_their_tower_was_stopped() {
    let mut cluster = Cluster::new();
    cluster.set("beacon/timeout", "300");
    let mut tower = cluster.tower();
    let _store = cluster.store("store");
    let all = lines("flood", 300_000);
    let mut consumer = cluster.consumer("flood");
    let producer = cluster.producer_of("flood", &all);
    let mut printed = consumer.lines(1, "the first record");
    // Without beacons, nodes disconnect while records arrive. Then they connect again. The test reads slowly, so that
    // the flood lasts.
    for _ in 0..4 {
        tower.pause();
        std::thread::sleep(Duration::from_millis(600));
        tower.resume();
        printed.extend(consumer.lines_within(20_000, Duration::from_millis(400)));
    }
    printed.extend(consumer.lines(all.len() - printed.len(), "records once the tower runs again"));
    assert_contents("flood", &printed, &all);
    producer.expect_success("the end of its input, with a store present");
    consumer.expect_no_more();
    cluster.assert_stored("flood", &all);
}

#[test]
fn programs_can_end_while_a_peer_is_stopped() {
    let cluster = Cluster::new();
    let mut tower = cluster.tower();
    let mut store = cluster.store("store");
    let all = varied_lines("queued", 20_000, 16_000);
    let mut reader = cluster.consumer("queued");
    let mut producer = cluster.producer("queued");
    producer.feed(&all[..100]);
    let mut printed = reader.lines(100, "records before it stands still");

    // About 40 MB wait for the consumer, more than the buffers of a connection hold.
    reader.pause();
    producer.feed(&all[100..]);
    producer.close_input();
    // The producer ends when the store has all records, although data for the consumer still waits.
    producer.expect_success("the end of its input, while a consumer stands still");

    // A second consumer stops during a replay from the store.
    let mut late = cluster.consumer("queued");
    late.lines(100, "the begin of the replay");
    late.pause();
    store.signal(libc::SIGTERM);
    tower.signal(libc::SIGTERM);
    store.expect_success_within("SIGTERM, while two consumers stand still", PROMPT);
    tower.expect_success_within("SIGTERM, while two consumers stand still", PROMPT);

    // The consumers continue without loss.
    reader.resume();
    late.resume();
    let _tower = cluster.tower();
    let _store = cluster.store("store");
    printed.extend(reader.lines(all.len() - 100, "records once it runs again"));
    assert_contents("queued", &printed, &all);
    reader.expect_no_more();
    late.signal(libc::SIGTERM);
    late.expect_success_within("SIGTERM", PROMPT);
}

#[test]
fn a_producer_keeps_unacknowledged_records_while_a_store_is_stopped() {
    let cluster = with_short_timeout(1);
    let _tower = cluster.tower();
    let mut store = cluster.store("store");
    let mut flow = Flow::start(&cluster, "slow");
    flow.publish(1_000);
    flow.arrive("records while the store runs");

    // Wait for longer than the timeout of silent peers.
    store.pause();
    flow.publish(50_000);
    flow.arrive("more records than the buffers of a connection hold");
    flow.go_on_for(2 * TIMEOUT, "records while the store is stopped");
    store.resume();
    let all = flow.finish();
    cluster.assert_stored("slow", &all);
}

/// Exit code 0 means that all records are acknowledged.
#[test]
fn a_producer_that_fails_while_it_waits_for_acknowledgements_does_not_end_with_success() {
    let cluster = Cluster::new().with_tower();
    for (program, arguments, topic, code) in [
        ("dafka_console_producer", &["unstored"][..], "unstored", 3),
        ("dafka_perf_store", &["10", "10"], "$STORE_PERF", 1),
    ] {
        let fail = cluster.dir().join(topic);
        let mut witness = cluster.consumer(topic);
        let mut producer = cluster.preloaded(program, arguments, ("FAIL_POLL", &fail));
        producer.feed(&lines("line", 10));
        producer.close_input();
        witness.lines(10, "records that no store has");
        std::fs::write(&fail, "").expect("a file");
        let output = producer.expect_exit(program, code, &["dafka-producer: socket: Bad address"]);
        let printed: &[&[u8]] = if program == "dafka_perf_store" { &[b"Done publishing"] } else { &[] };
        assert_eq!(output.stdout, printed, "{program} prints no measurement");
    }
}

#[test]
fn a_signal_in_the_middle_of_a_record_has_no_effect() {
    const TOPIC: &str = "$STORE_PERF";
    let cluster = Cluster::new().with_tower().with_store();
    let all: Vec<Vec<u8>> = (0..1_000).map(|i| format!("{i:010}").into_bytes()).collect();
    cluster.publish(TOPIC, &all);
    let interrupted = ("INTERRUPT_RECV", Path::new("yes"));
    let measured = cluster.preloaded("dafka_perf_consumer", &["1000", "10"], interrupted);
    let output = measured.expect_success("all records");
    assert_eq!(output.stdout[2], b"message count: 1000");
    let mut consumer = cluster.preloaded("dafka_console_consumer", &["--from-beginning", TOPIC], interrupted);
    consumer.expect_records(TOPIC, &all, "all records");
    consumer.expect_no_more();
}
