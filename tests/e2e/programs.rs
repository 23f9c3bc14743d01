//! What the programs read, print and take from their configuration.

use crate::e2e::{Cluster, DEADLINE, Input, PROMPT, Program, assert_contents, contents, lines};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, OwnedFd};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

#[test]
fn large_and_odd_lines_come_out_as_they_went_in() {
    let cluster = Cluster::new();
    let _tower = cluster.tower();
    let _store = cluster.store("store");
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
    // As in 0.1.0, carriage returns at the end of a line are not part of the record.
    let expected: Vec<Vec<u8>> = odd
        .iter()
        .map(|line| {
            let len = line.iter().rposition(|&octet| octet != b'\r').map_or(0, |last| last + 1);
            line[..len].to_vec()
        })
        .collect();
    let mut live = cluster.consumer("odd");
    let mut producer = cluster.producer("odd");
    // In small pieces first, so that lines are cut anywhere.
    let octets = odd.join(&b'\n');
    for piece in octets[..600].chunks(7) {
        producer.feed_octets(piece.to_vec());
    }
    producer.feed_octets(octets[600..].to_vec());
    producer.close_input();
    producer.expect_success("the end of its input");

    let printed = live.lines(odd.len(), "live records");
    assert_contents("odd", &printed, &expected);
    live.expect_no_more();
    let mut late = cluster.consumer("odd");
    let printed = late.lines(odd.len(), "stored records");
    assert_contents("odd", &printed, &expected);
    late.expect_no_more();
}

#[test]
fn the_last_line_end_makes_no_record_and_no_input_needs_no_store() {
    let cluster = Cluster::new();
    let _tower = cluster.tower();
    let mut consumer = cluster.consumer("ends");
    // Without records there is nothing to wait for.
    let nothing = cluster.producer_of("ends", &lines("first", 1));
    let output =
        cluster.node("dafka_console_producer", &["ends"], Input::File(File::open("/dev/null").unwrap()));
    output.expect_success_within("empty input, without a store", PROMPT);

    let _store = cluster.store("store");
    nothing.expect_success("a store came");
    assert_contents("ends", &consumer.lines(1, "the first record"), &lines("first", 1));
    // One record that is empty.
    let mut empty = cluster.producer("ends");
    empty.feed_octets(b"\n".to_vec());
    empty.close_input();
    empty.expect_success("the end of its input");
    assert_eq!(contents("ends", &consumer.lines(1, "the empty record")), [b""]);
    consumer.expect_no_more();
}

#[test]
fn an_idle_consumer_writes_each_record_through_at_once() {
    let cluster = Cluster::new();
    let _tower = cluster.tower();
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
        // Idle again.
        std::thread::sleep(Duration::from_millis(20));
    }
    times.sort();
    // Nothing that waits for a beacon, a HEAD or a buffer that fills.
    assert!(times[10] < Duration::from_millis(500), "a single record takes {times:?}");
}

#[test]
fn a_consumer_ends_when_its_reader_has_gone() {
    let cluster = Cluster::new();
    let _tower = cluster.tower();
    // Idle, or with more to print when that happens.
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
            // Nobody waits for it when the test has failed.
            let _ = sender.send((text, status));
        });

        let producer = cluster.producer("head");
        producer.feed(&lines("line", 1 + more));
        let (text, status) = receiver.recv_timeout(DEADLINE).expect("head should have had a line");
        assert!(status.success() && text.ends_with(" line 0\n"), "{text:?}");
        let output = consumer.expect_success_within("the end of its reader", PROMPT);
        assert_eq!(output.stderr, "", "what a consumer says when its reader has gone");
    }
}

#[test]
fn a_consumer_prints_into_a_file() {
    let cluster = Cluster::new();
    let _tower = cluster.tower();
    let all = lines("line", 10_000);
    let producer = cluster.producer("file");
    producer.feed(&all);
    let path = cluster.dir().join("printed");
    let mut consumer = shell_consumer(&cluster, "file", path.to_str().expect("UTF-8"));
    let read = || {
        let octets = std::fs::read(&path).unwrap_or_default();
        // What ends without a line end is not whole yet.
        octets
            .split_inclusive(|&octet| octet == b'\n')
            .filter_map(|line| line.strip_suffix(b"\n"))
            .map(<[u8]>::to_vec)
            .collect::<Vec<_>>()
    };
    let start = Instant::now();
    while read().len() < all.len() {
        assert!(start.elapsed() < DEADLINE, "only {} lines in the file", read().len());
        std::thread::sleep(Duration::from_millis(20));
    }
    consumer.signal(libc::SIGTERM);
    consumer.expect_success("SIGTERM");
    assert_contents("file", &read(), &all);
}

/// A tower that takes its time is nothing to tell.
fn patient(cluster: &Cluster) -> std::path::PathBuf {
    cluster.config_with(&[("beacon/connect_timeout", "60000")])
}

/// A console consumer whose output goes into a file.
fn shell_consumer(cluster: &Cluster, topic: &str, file: &str) -> Program {
    let program = env!("CARGO_BIN_EXE_dafka_console_consumer");
    let (publ, sub) = (cluster.pub_addresses(), cluster.sub_addresses());
    let config = patient(cluster);
    let config = config.display();
    let line =
        format!("exec {program} -c {config} --from-beginning {topic} --pub {publ} --sub {sub} >{file}");
    let name = format!("dafka_console_consumer {topic} >{file}");
    cluster.command(&name, Command::new("sh").args(["-c", &line]), Input::Pipe)
}

#[test]
fn a_consumer_that_cannot_write_says_so() {
    let cluster = Cluster::new();
    let _tower = cluster.tower();
    let producer = cluster.producer("full");
    producer.feed(&lines("line", 1));
    let consumer = shell_consumer(&cluster, "full", "/dev/full");
    let output = consumer.wait("a record for a full disk", DEADLINE);
    assert!(output.status.code().is_some_and(|code| code != 0), "{:?}", output.status);
    assert_eq!(output.stderr.lines().count(), 1, "{}", output.stderr);
    assert!(output.stderr.contains("standard output"), "{}", output.stderr);
}

#[test]
fn the_perf_programs_print_what_they_have_measured() {
    let mut cluster = Cluster::new();
    cluster.set("beacon/connect_timeout", "60000");
    let _tower = cluster.tower();
    let _store = cluster.store("store");
    let earliest = [("consumer/offset/reset", "earliest")];
    let arguments = ["20000", "100"];
    let consumer = cluster.node_with("dafka_perf_consumer", &arguments, &earliest, Input::Pipe);
    let store = cluster.node("dafka_perf_store", &arguments, Input::Pipe);
    for (first, output) in [
        ("Done publishing", store.expect_success("all records are acknowledged")),
        ("Received first", consumer.expect_success("all records have arrived")),
        // And once more, from the store.
        (
            "Received first",
            cluster
                .node_with("dafka_perf_consumer", &arguments, &earliest, Input::Pipe)
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
        // 100 octets each.
        let expected = messages * 800.0 / 1e6;
        assert!((megabits - expected).abs() <= expected * 0.01 + 0.01, "{lines:#?}");
        assert_eq!(output.stderr, "");
    }
}

#[test]
fn a_configuration_file_is_honoured() {
    let cluster = Cluster::new();
    let db = cluster.dir().join("the/database");
    std::fs::create_dir(cluster.dir().join("the")).expect("a directory");
    let (publ, sub) = (cluster.pub_addresses(), cluster.sub_addresses());
    let config = |settings: &[(&str, &str)]| {
        let settings: BTreeMap<String, String> =
            settings.iter().map(|&(key, value)| (key.into(), value.into())).collect();
        cluster.config_file(&settings).into_os_string().into_string().expect("UTF-8")
    };
    // One file for all of them, and no other options.
    let common = config(&[
        ("tower/pub_address", &publ),
        ("tower/sub_address", &sub),
        ("beacon/pub_address", &publ),
        ("beacon/sub_address", &sub),
        ("beacon/address", "127.0.0.1"),
        ("beacon/interval", "100"),
        ("store/db", db.to_str().expect("UTF-8")),
        ("consumer/offset/reset", "earliest"),
    ]);
    let start = |program: &str, arguments: &[&str]| {
        let arguments = [&["-c", &common], arguments].concat();
        cluster.program(program, &arguments, Input::Pipe)
    };
    let _tower = start("dafka_towerd", &[]);
    let _store = start("dafka_stored", &[]);
    let mut producer = start("dafka_console_producer", &["configured"]);
    producer.feed(&lines("configured", 100));
    producer.close_input();
    producer.expect_success("the end of its input, with a store of the same file");
    assert!(
        std::fs::read_dir(&db).is_ok_and(|mut dir| dir.next().is_some()),
        "nothing in the store's directory"
    );
    // `earliest` from the file is as good as the option.
    let mut consumer = start("dafka_console_consumer", &["configured"]);
    let printed = consumer.lines(100, "records, at addresses from the file");
    assert_contents("configured", &printed, &lines("configured", 100));
    consumer.expect_no_more();

    // Options count for more than the file.
    let elsewhere = Cluster::new();
    let wrong = config(&[
        ("beacon/pub_address", &elsewhere.pub_addresses()),
        ("beacon/sub_address", &elsewhere.sub_addresses()),
        ("beacon/address", "127.0.0.1"),
    ]);
    let arguments = ["-c", &wrong, "--from-beginning", "--pub", &publ, "--sub", &sub, "configured"];
    let mut consumer = cluster.program("dafka_console_consumer", &arguments, Input::Pipe);
    let printed = consumer.lines(100, "records, at addresses from the options");
    assert_contents("configured", &printed, &lines("configured", 100));
}

#[test]
fn terminate_unacked_lets_a_producer_end_without_a_store() {
    let mut cluster = Cluster::new();
    let _tower = cluster.tower();
    cluster.set("producer/terminate_unacked", "1");
    expect_unacknowledged(cluster.producer_of("unacked", &lines("line", 100)), "without a store");
    // And without a tower.
    let mut lonely = Cluster::new();
    lonely.set("producer/terminate_unacked", "1");
    expect_unacknowledged(lonely.producer_of("unacked", &lines("line", 100)), "all alone");
}

/// Expects a producer of 100 lines to end, with a line that says how many are not acknowledged, and its exit code.
#[track_caller]
fn expect_unacknowledged(producer: Program, what: &str) {
    let output = producer.wait(&format!("the end of its input, {what}"), DEADLINE);
    assert_eq!(output.status.code(), Some(3), "{what}: {}", output.stderr);
    assert!(output.stderr.ends_with("100 of 100 records were not acknowledged\n"), "{}", output.stderr);
}

#[test]
fn a_producer_whose_input_cannot_be_read_counts_what_is_not_acknowledged() {
    let cluster = Cluster::new();
    // A directory can be opened, and not read.
    let input = Input::File(File::open(cluster.dir()).expect("a directory"));
    let producer = cluster.node("dafka_console_producer", &["unread"], input);
    let output = producer.wait("an input that cannot be read", DEADLINE);
    assert_eq!(output.status.code(), Some(1), "nothing was published: {}", output.stderr);
    assert!(output.stderr.contains("cannot read standard input"), "{}", output.stderr);

    // A connection that is reset after some lines.
    let _tower = cluster.tower();
    let mut consumer = cluster.consumer("unread");
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let sender = TcpStream::connect(listener.local_addr().expect("its address")).expect("connected");
    let input = File::from(OwnedFd::from(listener.accept().expect("a connection").0));
    let producer = cluster.node("dafka_console_producer", &["unread"], Input::File(input));
    (&sender).write_all(b"one\ntwo\n").expect("written");
    consumer.lines(2, "the lines from the connection");
    reset(sender);
    let output = producer.wait("a connection that was reset", DEADLINE);
    assert_eq!(output.status.code(), Some(3), "{}", output.stderr);
    assert!(output.stderr.contains("cannot read standard input"), "{}", output.stderr);
    assert!(output.stderr.ends_with("2 of 2 records were not acknowledged\n"), "{}", output.stderr);
}

/// Ends a connection with RST.
fn reset(stream: TcpStream) {
    let linger = libc::linger { l_onoff: 1, l_linger: 0 };
    let (value, len) = ((&raw const linger).cast(), size_of::<libc::linger>() as libc::socklen_t);
    // SAFETY: the option's value is a struct linger, which is read only.
    let rc = unsafe { libc::setsockopt(stream.as_raw_fd(), libc::SOL_SOCKET, libc::SO_LINGER, value, len) };
    assert_eq!(rc, 0, "{}", std::io::Error::last_os_error());
}

#[test]
fn options_may_stand_after_the_topic() {
    let cluster = Cluster::new();
    let _tower = cluster.tower();
    let _store = cluster.store("store");
    let (publ, sub) = (cluster.pub_addresses(), cluster.sub_addresses());
    let arguments = ["after", "--pub", &publ, "--sub", &sub];
    let mut producer = cluster.program("dafka_console_producer", &arguments, Input::Pipe);
    producer.feed(&lines("line", 10));
    producer.close_input();
    producer.expect_success("the end of its input");
    let arguments = ["--sub", &sub, "after", "--from-beginning", "--pub", &publ];
    let mut consumer = cluster.program("dafka_console_consumer", &arguments, Input::Pipe);
    let printed = consumer.lines(10, "records, with options on both sides of the topic");
    assert_contents("after", &printed, &lines("line", 10));
    consumer.expect_no_more();
    let arguments = ["10", "10", "--pub", &publ, "--sub", &sub];
    cluster.program("dafka_perf_store", &arguments, Input::Pipe).expect_success("all acknowledged");
}
