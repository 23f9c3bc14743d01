//! SIGINT and SIGTERM end every program soon, after it has flushed its data. The exit code is 0, unless a record is
//! unacknowledged.

use crate::e2e::{
    Cluster, DEADLINE, Output, PROMPT, Program, assert_contents, lines, varied_lines, wait_until,
};
use std::fs::File;
use std::io::Seek;
use std::path::Path;
use std::time::{Duration, Instant};

const SIGNALS: [i32; 2] = [libc::SIGTERM, libc::SIGINT];

/// Sends a signal to all programs, and waits until all have ended.
#[track_caller]
fn interrupt(programs: Vec<Program>, signal: i32, when: &str) {
    let mut programs = programs;
    for program in &mut programs {
        program.wait_until_it_catches_signals();
        program.signal(signal);
    }
    for program in programs {
        program.expect_success_within(&format!("signal {signal} {when}"), PROMPT);
    }
}

/// One program of each kind except a tower. No record is unacknowledged.
fn nodes(cluster: &Cluster) -> Vec<Program> {
    vec![
        cluster.store("store"),
        cluster.producer("topic"),
        cluster.consumer("topic"),
        cluster.consumer_of_new("topic"),
        cluster.node("dafka_perf_consumer", &["10", "10"]),
    ]
}

/// As [`nodes`], but consumers have already received records, and the store has acknowledged these records.
fn busy_nodes(cluster: &Cluster) -> Vec<Program> {
    let mut programs = nodes(cluster);
    let isolated = [("consumer/isolation", "acknowledged")];
    let arguments = ["--from-beginning", "topic"];
    programs.push(cluster.node_with("dafka_console_consumer", &arguments, &isolated));
    let [_, producer, consumer, .., isolated] = &mut programs[..] else { unreachable!("as made") };
    producer.feed(&lines("line", 1_000));
    consumer.lines(1_000, "records");
    isolated.lines(1_000, "acknowledged records");
    programs
}

#[test]
fn signals_end_every_program_while_a_tower_is_there_and_after_it_has_died() {
    for (signal, has_died) in SIGNALS.into_iter().flat_map(|signal| [(signal, false), (signal, true)]) {
        let cluster = Cluster::new();
        let tower = cluster.tower();
        let mut programs = busy_nodes(&cluster);
        if has_died {
            tower.kill()
        } else {
            programs.push(tower)
        }
        interrupt(programs, signal, if has_died { "after the end of the tower" } else { "with a tower" });
    }
}

#[test]
fn signals_end_every_program_when_there_never_was_a_tower() {
    for signal in SIGNALS {
        let cluster = Cluster::new();
        // The first programs get the signal while they wait for a tower. The second programs get the signal after they
        // have stopped waiting.
        interrupt(nodes(&cluster), signal, "at the start, without a tower");
        let programs = nodes(&cluster);
        std::thread::sleep(Duration::from_millis(1_500));
        interrupt(programs, signal, "without a tower");
    }
}

#[test]
fn signals_end_every_program_that_waits_for_a_tower_without_limit() {
    for signal in SIGNALS {
        let mut cluster = Cluster::new();
        cluster.set("beacon/connect_timeout", "-1");
        let mut programs = nodes(&cluster);
        programs.push(cluster.node("dafka_perf_store", &["10", "10"]));
        let producer = cluster.producer("topic");
        producer.feed(&lines("line", 10));
        programs.push(producer);
        interrupt(programs, signal, "while it waits for a tower for ever");
    }
}

#[test]
fn a_signal_that_comes_as_soon_as_it_is_caught_ends_every_program() {
    for signal in SIGNALS {
        let number = signal.to_string();
        let cluster = Cluster::new();
        for (program, arguments) in crate::options::PROGRAMS {
            let program = cluster.preloaded(program, arguments, ("EARLY_SIGNAL", Path::new(&number)));
            program.expect_success_within(&format!("an early signal {signal}"), PROMPT);
        }
    }
}

/// Some supervisors start programs with blocked signals.
#[test]
fn signals_that_the_parent_process_has_blocked_end_every_program() {
    for signal in SIGNALS {
        // SAFETY: the set is plain data, initialized before its use. The programs inherit the signals that this thread
        // blocks.
        let rc = unsafe {
            let mut set = std::mem::zeroed();
            libc::sigemptyset(&raw mut set);
            libc::sigaddset(&raw mut set, signal);
            libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut())
        };
        assert_eq!(rc, 0);
        let cluster = Cluster::new();
        let mut programs = nodes(&cluster);
        programs.push(cluster.tower());
        interrupt(programs, signal, "that was blocked at the start");
    }
}

#[test]
fn a_signal_ends_a_measurement() {
    for signal in SIGNALS {
        let cluster = Cluster::new().with_tower();
        // There is no store, so no record is acknowledged.
        let mut witness = cluster.consumer("$STORE_PERF");
        let waiting = cluster.node("dafka_perf_store", &["1000", "10"]);
        witness.lines(1_000, "the records of the measurement");
        interrupt(vec![waiting], signal, "before the acknowledgements");

        // The signal comes during both measurements: they have too many records to end before the signal.
        let _store = cluster.store("store");
        let publishing = cluster.node("dafka_perf_store", &["1000000000", "10"]);
        witness.lines(100, "the records of a large measurement");
        let receiving = cluster.node("dafka_perf_consumer", &["1000000000", "10"]);
        witness.kill();
        interrupt(vec![publishing, receiving], signal, "amidst a measurement");
    }
}

/// Waits until a producer ends with unacknowledged records: exit code 3, and a line with their number.
#[track_caller]
fn expect_unacknowledged(producer: Program, what: &str, of: u64) -> Output {
    let output = producer.wait(what, 2 * PROMPT);
    output.assert_exit(what, 3, &[]);
    let suffix = format!(" of {of} records were not acknowledged\n");
    assert_eq!(output.stderr.matches(&suffix).count(), 1, "{what}: {}", output.stderr);
    output
}

#[test]
fn a_producer_without_acknowledgements_ends_5_s_after_the_signal() {
    let clusters = [Cluster::new(), Cluster::new()];
    let _tower = clusters[0].tower();
    let mut producers = Vec::new();
    for (cluster, signal) in clusters.iter().zip(SIGNALS) {
        for is_open in [true, false] {
            let mut producer = cluster.producer("unacknowledged");
            producer.feed(&lines("line", 100));
            producer.wait_until_it_catches_signals();
            if !is_open {
                producer.close_input();
            }
            producers.push((producer, signal));
        }
    }
    // The time before the signal does not count towards the 5 s for which a producer waits.
    std::thread::sleep(Duration::from_millis(6_000));
    let signalled = Instant::now();
    for (producer, signal) in &mut producers {
        producer.signal(*signal);
    }
    for (producer, _) in producers {
        let output = expect_unacknowledged(producer, "a signal, without a store", 100);
        assert!(output.stderr.contains("100 of 100 records"), "{}", output.stderr);
        assert!(signalled.elapsed() >= Duration::from_secs(5), "{:?}", signalled.elapsed());
    }
}

#[test]
fn a_second_signal_ends_a_producer_at_once() {
    // After the first signal the producer waits for 5 s. On a busy machine, a producer that ends at once may still take
    // long, but hardly in all three attempts.
    let mut took = Vec::new();
    while took.len() < 3 {
        let elapsed = time_after_a_second_signal();
        if elapsed < Duration::from_millis(3_500) {
            return;
        }
        took.push(elapsed);
    }
    panic!("took {took:?} after the second signal");
}

fn time_after_a_second_signal() -> Duration {
    let cluster = Cluster::new().with_tower();
    let mut consumer = cluster.consumer("twice");
    let mut producer = cluster.producer("twice");
    producer.feed(&lines("line", 100));
    consumer.lines(100, "records");
    let first = Instant::now();
    producer.signal(libc::SIGINT);
    // The first signal does not end the producer at once.
    std::thread::sleep(Duration::from_millis(500));
    if !producer.is_running() {
        assert!(first.elapsed() > Duration::from_secs(4), "ended without time for acknowledgements");
        return first.elapsed();
    }
    producer.signal(libc::SIGINT);
    let start = Instant::now();
    expect_unacknowledged(producer, "a second signal", 100);
    start.elapsed()
}

/// On a very busy machine, a store may answer after the 5 s for which a producer waits. Then the producer rightly ends
/// with unacknowledged records. That hardly happens three times in a row.
#[track_caller]
fn assert_handed_over_in_time(hand_over: fn() -> bool) {
    assert!((0..3).any(|_| hand_over()), "a producer has given up three times");
}

#[track_caller]
fn has_given_up(producer: Program, what: &str, signalled: Instant) -> bool {
    let output = producer.wait(what, DEADLINE);
    let has_given_up = output.stderr.contains(" records were not acknowledged");
    assert_eq!(output.status.code(), Some(if has_given_up { 3 } else { 0 }), "{what}: {}", output.stderr);
    assert!(!has_given_up || signalled.elapsed() >= Duration::from_secs(5), "it has given up too soon");
    has_given_up
}

#[test]
fn a_producer_that_ends_waits_for_a_store_that_was_stopped() {
    assert_handed_over_in_time(hand_over_to_a_store_that_stood_still);
}

fn hand_over_to_a_store_that_stood_still() -> bool {
    let cluster = Cluster::new().with_tower();
    let mut store = cluster.store("store");
    let mut consumer = cluster.consumer("held");
    let mut producer = cluster.producer("held");
    producer.feed(&lines("line", 1_000));
    consumer.lines(1_000, "records, with a store");
    // The records that follow are published and not acknowledged.
    store.pause();
    let all = lines("line", 3_000);
    producer.feed(&all[1_000..]);
    consumer.lines(2_000, "records, with a store that stands still");
    let signalled = Instant::now();
    producer.signal(libc::SIGTERM);
    store.resume();
    if has_given_up(producer, "SIGTERM, and a store that goes on", signalled) {
        return false;
    }
    cluster.assert_stored("held", &all);
    true
}

#[test]
fn a_producer_interrupted_during_its_input_has_published_all_lines_it_has_read() {
    assert_handed_over_in_time(interrupt_in_mid_input);
}

fn interrupt_in_mid_input() -> bool {
    let cluster = Cluster::new().with_tower().with_store();
    let all = varied_lines("input", 200_000, 100);
    let octets = [all.join(&b'\n'), vec![b'\n']].concat();
    let path = cluster.dir().join("input");
    std::fs::write(&path, &octets).expect("a file");
    let mut file = File::open(&path).expect("the file");
    let mut witness = cluster.consumer("input");
    let input = file.try_clone().expect("the same open file");
    let producer = cluster.node_reading("dafka_console_producer", &["input"], input);
    witness.line("the first record");
    let signalled = Instant::now();
    producer.signal_even_if_ended(libc::SIGTERM);
    if has_given_up(producer, "SIGTERM in mid-input", signalled) {
        return false;
    }
    // The producer shares the open file, and so its position, with this process.
    let read = file.stream_position().expect("a position") as usize;
    let count = octets[..read].iter().filter(|&&octet| octet == b'\n').count();
    cluster.assert_stored("input", &all[..count]);
    true
}

#[test]
fn a_consumer_interrupted_during_a_stream_has_printed_whole_lines() {
    // With this timeout, consumers log no line about a slow tower.
    let cluster = Cluster::new().with("beacon/connect_timeout", "60000").with_tower().with_store();
    let all = varied_lines("whole", 50_000, 500);
    cluster.publish("whole", &all);
    for signal in SIGNALS {
        let mut consumer = cluster.consumer("whole");
        let mut printed = consumer.lines(500, "records");
        consumer.signal(signal);
        let output = consumer.expect_success_within("a signal in mid-stream", PROMPT);
        printed.extend(output.stdout);
        assert_contents("whole", &printed, &all[..printed.len()]);
        assert_eq!(output.stderr, "");
    }
}

#[test]
fn a_consumer_whose_output_is_not_read_can_be_interrupted() {
    let cluster = Cluster::new().with_tower();
    let producer = cluster.producer("stuck");
    producer.feed(&varied_lines("stuck", 5_000, 2_000));
    let mut witness = cluster.consumer("stuck");
    witness.lines(5_000, "more than a pipe takes");
    for signal in SIGNALS {
        let mut consumer = cluster.consumer("stuck");
        let output = consumer.take_output();
        wait_until_full(&output);
        consumer.signal(signal);
        consumer.expect_success_within("a signal, while its reader does not read", PROMPT);
        drop(output);
    }
}

/// Waits until the length of the data in a pipe does not grow any more.
fn wait_until_full(output: &impl std::os::fd::AsFd) {
    let (mut len, mut since) = (0, Instant::now());
    wait_until("the pipe is full", || {
        let now = rustix::io::ioctl_fionread(output).expect("FIONREAD");
        if now != len {
            (len, since) = (now, Instant::now());
        }
        len > 0 && since.elapsed() > Duration::from_millis(500)
    });
}
