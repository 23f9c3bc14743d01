//! The input, the output and the configuration of the programs.

use crate::e2e::{
    Cluster, DEADLINE, Output, PROMPT, Program, assert_contents, contents, lines, reset, wait_until,
};
use std::fs::File;
use std::io::Write;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

#[test]
fn large_and_unusual_lines_are_printed_unchanged() {
    let cluster = Cluster::new().with_tower().with_store();
    let large: Vec<u8> = (0..1 << 20).map(|i| b'a' + (i % 26) as u8).collect();
    let all_octets: Vec<u8> = (0..=255).filter(|&octet| octet != b'\n').collect();
    let odd: Vec<Vec<u8>> = vec![
        b"first".to_vec(),
        b"".to_vec(),
        b"".to_vec(),
        b"with CR\r".to_vec(),
        b"with CRs \r in it\r\r\r".to_vec(),
        b"\r".to_vec(),
        b" spaces  around ".to_vec(),
        b"\ttab and \0 NUL".to_vec(),
        b"not UTF-8: \xff\xfe\xc3(".to_vec(),
        all_octets,
        large.clone(),
        b"".to_vec(),
        "UTF-8: h\u{e9}llo \u{2192} \u{1d11e}".as_bytes().to_vec(),
        [&large[..70_000], b"\r"].concat(),
        b"--from-beginning".to_vec(),
        b"the last one, without a line end".to_vec(),
    ];
    // As in 0.1.0, a record does not contain the carriage returns at the end of its line.
    let expected: Vec<Vec<u8>> = odd
        .iter()
        .map(|line| {
            let len = line.iter().rposition(|&octet| octet != b'\r').map_or(0, |last| last + 1);
            line[..len].to_vec()
        })
        .collect();
    let mut live = cluster.consumer("odd");
    let producer = cluster.producer("odd");
    // First send small pieces, which end anywhere in a line.
    let octets = odd.join(&b'\n');
    for piece in octets[..600].chunks(7) {
        producer.feed_octets(piece.to_vec());
    }
    producer.feed_octets(octets[600..].to_vec());
    producer.finish("the end of its input");

    live.expect_records("odd", &expected, "live records");
    live.expect_no_more();
    cluster.assert_stored("odd", &expected);
}

#[test]
fn the_last_line_end_is_not_a_record_and_empty_input_needs_no_store() {
    let cluster = Cluster::new().with_tower();
    let mut consumer = cluster.consumer("ends");
    // A producer without records does not wait for a store.
    let nothing = cluster.producer_of("ends", &lines("first", 1));
    let empty = cluster.node_reading("dafka_console_producer", &["ends"], File::open("/dev/null").unwrap());
    empty.expect_success_within("empty input, without a store", PROMPT);

    let _store = cluster.store("store");
    nothing.expect_success("a store came");
    consumer.expect_records("ends", &lines("first", 1), "the first record");
    // One empty record.
    let empty = cluster.producer("ends");
    empty.feed_octets(b"\n".to_vec());
    empty.finish("the end of its input");
    assert_eq!(contents("ends", &consumer.lines(1, "the empty record")), [b""]);
    consumer.expect_no_more();
}

#[test]
fn an_idle_consumer_prints_each_record_at_once() {
    let cluster = Cluster::new().with_tower();
    let mut consumer = cluster.consumer("through");
    let producer = cluster.producer("through");
    producer.feed(&lines("first", 1));
    consumer.line("the first record");
    let mut times = Vec::new();
    for i in 0..20 {
        let line = format!("record {i}").into_bytes();
        let start = Instant::now();
        producer.feed(std::slice::from_ref(&line));
        let printed = consumer.line("a single record");
        times.push(start.elapsed());
        assert_eq!(contents("through", &[printed]), [line]);
        // Let the consumer become idle again.
        std::thread::sleep(Duration::from_millis(20));
    }
    times.sort();
    // This is shorter than the interval of beacons and HEADs, and shorter than the time to fill a buffer.
    assert!(times[10] < Duration::from_millis(500), "a single record takes {times:?}");
}

#[test]
fn a_consumer_ends_when_its_output_pipe_is_closed() {
    let cluster = Cluster::new().with_tower();
    // The consumer is idle, or has more to print, when the reader ends.
    for more in [0, 10_000] {
        let mut consumer = cluster.consumer("head");
        // `dafka_console_consumer head | head -n 1`
        let mut head = Command::new("head")
            .args(["-n", "1"])
            .stdin(Stdio::from(consumer.take_output()))
            .stdout(Stdio::piped())
            .spawn()
            .expect("head");
        let output = head.stdout.take().expect("piped");
        let (sender, receiver) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let text = std::io::read_to_string(output).expect("UTF-8");
            let status = head.wait().expect("head ends");
            // The receiver no longer exists if the test has failed.
            let _ = sender.send((text, status));
        });

        let producer = cluster.producer("head");
        producer.feed(&lines("line", 1 + more));
        let (text, status) = receiver.recv_timeout(DEADLINE).expect("head should have had a line");
        assert!(status.success() && text.ends_with(" line 0\n"), "{text:?}");
        let output = consumer.expect_success_within("the end of its reader", PROMPT);
        assert_eq!(output.stderr, "", "the consumer logs nothing");
    }
}

#[test]
fn a_consumer_prints_into_a_file() {
    let cluster = Cluster::new().with_tower();
    let all = lines("line", 10_000);
    let producer = cluster.producer("file");
    producer.feed(&all);
    let path = cluster.path("printed");
    let consumer = shell_consumer(&cluster, "file", &path);
    let read = || {
        let octets = std::fs::read(&path).unwrap_or_default();
        // A line without its end is not complete yet.
        octets
            .split_inclusive(|&octet| octet == b'\n')
            .filter_map(|line| line.strip_suffix(b"\n"))
            .map(<[u8]>::to_vec)
            .collect::<Vec<_>>()
    };
    wait_until("all lines are in the file", || read().len() >= all.len());
    consumer.terminate();
    assert_contents("file", &read(), &all);
}

/// A console consumer whose output goes into a file.
fn shell_consumer(cluster: &Cluster, topic: &str, file: &str) -> Program {
    let program = env!("CARGO_BIN_EXE_dafka_console_consumer");
    let (publ, sub) = (cluster.pub_addresses(), cluster.sub_addresses());
    // With this timeout, the consumer logs no line about a slow tower.
    let config = cluster.config_with(&[("beacon/connect_timeout", "60000")]);
    let line =
        format!("exec {program} -c {config} --from-beginning {topic} --pub {publ} --sub {sub} >{file}");
    let name = format!("dafka_console_consumer {topic} >{file}");
    cluster.command(&name, Command::new("sh").args(["-c", &line]))
}

#[test]
fn a_consumer_that_cannot_write_logs_one_line() {
    let cluster = Cluster::new().with_tower();
    let producer = cluster.producer("full");
    producer.feed(&lines("line", 1));
    let consumer = shell_consumer(&cluster, "full", "/dev/full");
    let output = consumer.wait("a record for a full disk", DEADLINE);
    assert!(output.status.code().is_some_and(|code| code != 0), "{:?}", output.status);
    assert_eq!(output.stderr.lines().count(), 1, "{}", output.stderr);
    assert!(output.stderr.contains("standard output"), "{}", output.stderr);
}

#[test]
fn the_perf_programs_print_their_measurements() {
    let cluster = Cluster::new().with("beacon/connect_timeout", "60000").with_tower().with_store();
    let earliest = [("consumer/offset/reset", "earliest")];
    let arguments = ["20000", "100"];
    let consumer = cluster.node_with("dafka_perf_consumer", &arguments, &earliest);
    let store = cluster.node("dafka_perf_store", &arguments);
    for (first, output) in [
        ("Done publishing", store.expect_success("all records are acknowledged")),
        ("Received first", consumer.expect_success("all records have arrived")),
        // In the second round, the records come from the store.
        (
            "Received first",
            cluster
                .node_with("dafka_perf_consumer", &arguments, &earliest)
                .expect_success("all records have arrived"),
        ),
    ] {
        let lines = output.stdout.into_iter().map(|line| String::from_utf8(line).expect("UTF-8"));
        let lines = lines.collect::<Vec<_>>();
        assert_eq!(lines[0], first, "as 0.1.0 prints it");
        let find = |words: &[&str]| {
            let found = lines.iter().find(|line| words.iter().all(|word| line.to_lowercase().contains(word)));
            found.unwrap_or_else(|| panic!("no line with {words:?} in {lines:#?}")).clone()
        };
        assert!(find(&["message size"]).contains("100"), "{lines:#?}");
        assert!(find(&["message count"]).contains("20000"), "{lines:#?}");
        let number = |line: String| {
            let digits = line.chars().filter(|c| c.is_ascii_digit() || *c == '.').collect::<String>();
            digits.parse::<f64>().unwrap_or_else(|_| panic!("no number in {line:?}"))
        };
        let messages = number(find(&["mean throughput", "msg/s"]));
        let megabits = number(find(&["mean throughput", "mb/s"]));
        assert!(messages > 0.0, "{lines:#?}");
        // Each record has 100 bytes.
        let expected = messages * 800.0 / 1e6;
        assert!((megabits - expected).abs() <= expected * 0.01 + 0.01, "{lines:#?}");
        assert_eq!(output.stderr, "");
    }
}

#[test]
fn a_configuration_file_is_honoured() {
    let cluster = Cluster::new();
    std::fs::create_dir(cluster.dir().join("the")).expect("a directory");
    let db = cluster.path("the/database");
    let (publ, sub) = (cluster.pub_addresses(), cluster.sub_addresses());
    // All programs use this file, and no other options.
    let common = cluster.config_of(&[
        ("tower/pub_address", &publ),
        ("tower/sub_address", &sub),
        ("beacon/pub_address", &publ),
        ("beacon/sub_address", &sub),
        ("beacon/address", "127.0.0.1"),
        ("beacon/interval", "100"),
        ("store/db", &db),
        ("consumer/offset/reset", "earliest"),
    ]);
    let start = |program: &str, arguments: &[&str]| {
        let arguments = [&["-c", &common], arguments].concat();
        cluster.program(program, &arguments)
    };
    let _tower = start("dafka_towerd", &[]);
    let _store = start("dafka_stored", &[]);
    let producer = start("dafka_console_producer", &["configured"]);
    producer.feed(&lines("configured", 100));
    producer.finish("the end of its input, with a store of the same file");
    assert!(
        std::fs::read_dir(&db).is_ok_and(|mut dir| dir.next().is_some()),
        "nothing in the store's directory"
    );
    // `earliest` in the file has the effect of the option.
    let mut consumer = start("dafka_console_consumer", &["configured"]);
    consumer.expect_records("configured", &lines("configured", 100), "records, at addresses from the file");
    consumer.expect_no_more();

    // Options override the file.
    let elsewhere = Cluster::new();
    let wrong = cluster.config_of(&[
        ("beacon/pub_address", &elsewhere.pub_addresses()),
        ("beacon/sub_address", &elsewhere.sub_addresses()),
        ("beacon/address", "127.0.0.1"),
    ]);
    let arguments = ["-c", &wrong, "--from-beginning", "--pub", &publ, "--sub", &sub, "configured"];
    let mut consumer = cluster.program("dafka_console_consumer", &arguments);
    consumer.expect_records(
        "configured",
        &lines("configured", 100),
        "records, at addresses from the options",
    );
}

#[test]
fn terminate_unacked_lets_a_producer_end_without_a_store() {
    let cluster = || Cluster::new().with("producer/terminate_unacked", "1");
    for (cluster, what) in [(cluster().with_tower(), "without a store"), (cluster(), "without a tower")] {
        let producer = cluster.producer_of("unacked", &lines("line", 100));
        expect_unacknowledged(producer, &format!("the end of its input, {what}"), 100);
    }
}

/// Waits until a producer ends without acknowledgements: exit code 3, and a last line with the number of records.
#[track_caller]
fn expect_unacknowledged(producer: Program, what: &str, count: usize) -> Output {
    let output = producer.expect_exit(what, 3, &[]);
    let last = format!("{count} of {count} records were not acknowledged\n");
    assert!(output.stderr.ends_with(&last), "{what}: {}", output.stderr);
    output
}

#[test]
fn a_producer_whose_input_fails_reports_unacknowledged_records() {
    let cluster = Cluster::new();
    // A program can open a directory, but cannot read it like a file.
    let input = File::open(cluster.dir()).expect("a directory");
    let producer = cluster.node_reading("dafka_console_producer", &["unread"], input);
    producer.expect_exit("an input that cannot be read, and no record", 1, &["cannot read standard input"]);

    // A connection that is reset after some lines.
    let _tower = cluster.tower();
    let mut consumer = cluster.consumer("unread");
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let sender = TcpStream::connect(listener.local_addr().expect("its address")).expect("connected");
    let input = File::from(OwnedFd::from(listener.accept().expect("a connection").0));
    let producer = cluster.node_reading("dafka_console_producer", &["unread"], input);
    (&sender).write_all(b"one\ntwo\n").expect("written");
    consumer.lines(2, "the lines from the connection");
    reset(sender);
    let output = expect_unacknowledged(producer, "a connection that was reset", 2);
    assert!(output.stderr.contains("cannot read standard input"), "{}", output.stderr);
}

#[test]
fn options_may_follow_the_topic() {
    let cluster = Cluster::new().with_tower().with_store();
    let (publ, sub) = (cluster.pub_addresses(), cluster.sub_addresses());
    let arguments = ["after", "--pub", &publ, "--sub", &sub];
    let producer = cluster.program("dafka_console_producer", &arguments);
    producer.feed(&lines("line", 10));
    producer.finish("the end of its input");
    let arguments = ["--sub", &sub, "after", "--from-beginning", "--pub", &publ];
    let mut consumer = cluster.program("dafka_console_consumer", &arguments);
    consumer.expect_records("after", &lines("line", 10), "records, with options on both sides of the topic");
    consumer.expect_no_more();
    let arguments = ["10", "10", "--pub", &publ, "--sub", &sub];
    cluster.program("dafka_perf_store", &arguments).expect_success("all acknowledged");
}
