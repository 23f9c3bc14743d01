//! Options and configuration: help, and one clear line for invalid values.

use crate::e2e::{Cluster, Output, lines};
use std::net::TcpListener;
use std::path::Path;

/// All programs, with valid arguments.
pub(crate) const PROGRAMS: [(&str, &[&str]); 6] = [
    ("dafka_towerd", &[]),
    ("dafka_stored", &[]),
    ("dafka_console_producer", &["topic"]),
    ("dafka_console_consumer", &["topic"]),
    ("dafka_perf_store", &["10", "10"]),
    ("dafka_perf_consumer", &["10", "10"]),
];

/// The programs that connect to a tower.
fn nodes() -> impl Iterator<Item = (&'static str, &'static [&'static str])> {
    PROGRAMS.into_iter().filter(|(program, _)| *program != "dafka_towerd")
}

/// Checks that a program has ended with an error, and has logged one line with all these words.
#[track_caller]
fn assert_one_line(what: &str, output: &Output, words: &[&str]) {
    let Output { status, stdout, stderr } = output;
    assert!(status.code().is_some_and(|code| code != 0), "{what}: {status:?}, {stderr}");
    assert_eq!(stdout.first(), None, "{what}: output on standard output");
    assert_eq!(stderr.lines().count(), 1, "{what}: not one line: {stderr}");
    assert!(stderr.ends_with('\n'), "{what}: no line end: {stderr:?}");
    for word in words {
        assert!(stderr.contains(word), "{what}: nothing of {word:?} in: {stderr}");
    }
    assert!(!stderr.contains("panicked"), "{what}: {stderr}");
}

/// Runs a program that must not start, with options before its other arguments.
#[track_caller]
fn assert_refused(cluster: &Cluster, program: &str, options: &[&str], own: &[&str], words: &[&str]) {
    let arguments = [options, own].concat();
    let what = format!("{program} {}", arguments.join(" "));
    assert_one_line(&what, &cluster.run(program, &arguments), words);
}

/// Runs a program without required arguments: the first line names them, the second one is the usage.
#[track_caller]
fn assert_usage(cluster: &Cluster, program: &str, arguments: &[&str], missing: &[&str]) {
    let Output { status, stdout, stderr } = cluster.run(program, arguments);
    assert!(status.code().is_some_and(|code| code != 0), "{program}: {status:?}, {stderr}");
    assert_eq!(stdout.first(), None, "{program}: output on standard output");
    let lines: Vec<&str> = stderr.lines().collect();
    assert_eq!(lines.len(), 2, "{program}: {stderr}");
    assert!(missing.iter().all(|name| lines[0].contains(name)), "{program}: {stderr}");
    let usage = format!("Usage: {program} [OPTIONS] ");
    assert!(lines[1].starts_with(&usage) && missing.iter().all(|name| lines[1].contains(name)), "{stderr}");
}

#[test]
fn help_is_printed_on_standard_output() {
    let cluster = Cluster::new();
    for (program, own) in PROGRAMS {
        for arguments in [&["-h"][..], &["--help"], &[own, &["--help"]].concat()] {
            let output = cluster.run(program, arguments);
            assert_eq!(output.status.code(), Some(0), "{program} {arguments:?}");
            assert_eq!(output.stderr, "", "{program} {arguments:?}");
            let text = String::from_utf8(output.stdout.join(&b'\n')).expect("UTF-8");
            let options: &[&str] = match program {
                "dafka_console_consumer" => &[
                    "--from-beginning",
                    "--offset",
                    "--name",
                    "--exit",
                    "--count",
                    "--partition",
                    "--format",
                    "--json",
                    "--delimiter",
                    "--null",
                    "--key-delimiter",
                    "TOPIC",
                ],
                "dafka_console_producer" => {
                    &["--delimiter", "--null", "--key-delimiter", "--header", "--name", "--progress", "TOPIC"]
                }
                "dafka_perf_store" | "dafka_perf_consumer" => &["COUNT", "SIZE"],
                _ => &[],
            };
            for word in [&[program, "-c", "--pub", "--sub", "--verbose"], options].concat() {
                assert!(text.contains(word), "{program} {arguments:?}: nothing of {word} in:\n{text}");
            }
            assert!(text.to_lowercase().contains("usage"), "{text}");
        }
    }
}

#[test]
fn bad_options_are_refused() {
    let cluster = Cluster::new();
    for (program, own) in PROGRAMS {
        assert_refused(&cluster, program, &["--nonsense"], own, &[program, "--nonsense"]);
        assert_refused(&cluster, program, own, &["-x"], &[program, "-x"]);
        assert_refused(&cluster, program, own, &["superfluous"], &[program, "superfluous"]);
        for option in ["-c", "--pub", "--sub"] {
            assert_refused(&cluster, program, own, &[option], &[program, option]);
        }
    }
    let option = ["--from-beginning"];
    assert_refused(&cluster, "dafka_console_producer", &option, &["topic"], &option);
}

#[test]
fn bad_options_of_the_console_programs_are_refused() {
    let cluster = Cluster::new();
    let long = "x".repeat(256);
    for program in ["dafka_console_producer", "dafka_console_consumer"] {
        for (options, words) in [
            (&["--delimiter", "ab"][..], &["--delimiter must be one byte"][..]),
            (&["--delimiter", ""], &["--delimiter must be one byte"]),
            (&["--delimiter", r"\q"], &["--delimiter: ", r"\q is none of"]),
            (&["--key-delimiter", r"\x4"], &["--key-delimiter: ", r"\x is none of"]),
            (&["--key-delimiter", r"a\"], &["--key-delimiter: ", "for a backslash"]),
            (&["--key-delimiter="], &["--key-delimiter must not be empty"]),
            (&["--delimiter", "a", "--null"], &["--delimiter", "--null"]),
        ] {
            assert_refused(&cluster, program, options, &["topic"], words);
        }
    }
    for (options, words) in [
        (&["--count", "0"][..], &["--count", "0"][..]),
        (&["--offset", "newest"], &["--offset newest: must be committed, earliest, latest, an offset, -N"]),
        (&["--offset", "committed"], &["--offset committed: ", "without --name"]),
        (&["--name", &long], &["--name", "must have 1 to 128 bytes"]),
        (&["--group", &long], &["--group", "must have 1 to 124 bytes"]),
        (&["--group", "a", "--offset", "3"], &["--offset 3", "committed positions"]),
        (&["--group", "a", "--partition", &"A".repeat(32)], &["--group", "--partition"]),
        (&["--name="], &["--name", "must have 1 to 128 bytes"]),
        (&["--offset", "--exit"], &["--offset --exit: must be "]),
        (&["--offset", "-2", "--from-beginning"], &["--offset", "--from-beginning"]),
        (&["--count", "many"], &["--count", "many"]),
        (&["--partition="], &["--partition", "this one has 0"]),
        (&["--partition", &long], &["--partition", "this one has 256"]),
        (&["--format", "%x"], &["--format: ", "%x is none of"]),
        (&["--format", "50%"], &["--format: ", "for a percent sign"]),
        (&["--format", "%\u{e9}"], &["--format: %", "is none of"]),
        (&["--format", "%s", "--json"], &["--format", "--json"]),
        (&["--format", "%s", "--null"], &["--format", "--null"]),
        (&["--json", "--key-delimiter", ":"], &["--json", "--key-delimiter"]),
    ] {
        assert_refused(&cluster, "dafka_console_consumer", options, &["topic"], words);
    }
    let words = ["producer/name", "255"];
    assert_refused(&cluster, "dafka_console_producer", &["--name", &long], &["topic"], &words);
    let long_value = format!("name={}", "x".repeat(65_533));
    for (header, word) in [
        ("name", "NAME=VALUE, not name"),
        ("=value", "NAME=VALUE, not =value"),
        (&format!("{long}=value"), "255"),
        (&long_value, "65535"),
    ] {
        let options = ["--header", header];
        assert_refused(&cluster, "dafka_console_producer", &options, &["topic"], &["--header", word]);
    }
}

#[test]
fn missing_and_impossible_arguments_are_refused() {
    let cluster = Cluster::new();
    for program in ["dafka_console_producer", "dafka_console_consumer"] {
        assert_usage(&cluster, program, &[], &["TOPIC"]);
        assert_refused(&cluster, program, &[], &[&"t".repeat(256)], &["topic", "255"]);
        assert_refused(&cluster, program, &[], &[""], &["topic"]);
    }
    for program in ["dafka_perf_store", "dafka_perf_consumer"] {
        assert_usage(&cluster, program, &[], &["COUNT", "SIZE"]);
        assert_usage(&cluster, program, &["10"], &["SIZE"]);
        assert_refused(&cluster, program, &[], &["many", "10"], &["COUNT", "many"]);
        assert_refused(&cluster, program, &[], &["10", "large"], &["SIZE", "large"]);
        assert_refused(&cluster, program, &[], &["--", "-1", "10"], &["COUNT", "-1"]);
        assert_refused(&cluster, program, &[], &["99999999999999999999", "10"], &["COUNT"]);
    }
}

#[test]
fn unreadable_configurations_are_refused() {
    let cluster = Cluster::new();
    let path = |name: &str| cluster.path(name);
    let (missing, directory, garbage, binary) =
        (path("missing.cfg"), path("directory"), path("garbage.cfg"), path("binary.cfg"));
    std::fs::create_dir(&directory).expect("a directory");
    std::fs::write(&garbage, "beacon\n  interval = 100\n = = {\n").expect("a file");
    std::fs::write(&binary, [0x7f, b'E', b'L', b'F', 0, 1, 0xff, 0xfe, b'\n', 0x80, b'=']).expect("a file");
    for (program, own) in PROGRAMS {
        for (config, name) in [
            (&missing, "missing.cfg"),
            (&directory, "directory"),
            (&garbage, "garbage.cfg is not valid ZPL: line 2: "),
            (&binary, "binary.cfg is not valid ZPL: line 1: "),
        ] {
            assert_refused(&cluster, program, &["-c", config], own, &[program, name]);
        }
    }
}

#[test]
fn invalid_values_are_refused() {
    let cluster = Cluster::new();
    let values = [
        ("beacon/interval", "soon"),
        ("beacon/interval", "-100"),
        ("beacon/interval", "100ms"),
        ("beacon/timeout", "4 s"),
        ("beacon/connect_timeout", "never"),
        ("beacon/pub_address", "nowhere"),
        ("beacon/sub_address", "tcp://127.0.0.1:1,nowhere"),
    ];
    for (program, own) in nodes() {
        for (key, value) in values {
            let config = cluster.config_of(&[(key, value)]);
            assert_refused(&cluster, program, &["-c", &config], own, &[program, key, value]);
        }
    }
    for (program, own, key, value) in [
        ("dafka_console_consumer", &["topic"][..], "consumer/offset/reset", "newest"),
        ("dafka_console_consumer", &["topic"], "consumer/high_watermark", "high"),
        ("dafka_console_producer", &["topic"], "producer/head_interval", "often"),
        ("dafka_console_producer", &["topic"], "producer/high_watermark", "-7"),
        ("dafka_console_producer", &["topic"], "producer/terminate_unacked", "perhaps"),
        ("dafka_stored", &[], "store/high_watermark", "low"),
        ("dafka_stored", &[], "store/verbose", "very"),
        ("dafka_perf_consumer", &["10", "10"], "consumer/offset/reset", "newest"),
        ("dafka_towerd", &[], "tower/pub_address", "nowhere"),
        ("dafka_towerd", &[], "tower/sub_address", "tcp://127.0.0.1"),
    ] {
        let config = cluster.config_of(&[(key, value)]);
        assert_refused(&cluster, program, &["-c", &config], own, &[program, key, value]);
    }
}

#[test]
fn a_key_may_be_written_in_one_line_and_two_values_are_refused() {
    let cluster = Cluster::new();
    let tower = cluster.tower();
    let path = |name: &str| cluster.path(name);
    let (config, db) = (path("flat.cfg"), path("flat"));
    let (publ, sub) = (cluster.pub_addresses(), cluster.sub_addresses());
    let write = |text: String| std::fs::write(&config, text).expect("a file");
    write(format!("store/db = {db}\nbeacon/pub_address = {publ}\nbeacon\n    sub_address = {sub}\n"));
    let store = cluster.program("dafka_stored", &["-c", &config]);
    // The store acknowledges a record, so it has found the tower.
    cluster.publish("flat", &lines("line", 1));
    assert!(Path::new(&db).join("data.mdb").exists());
    assert!(!cluster.dir().join("storedb").exists());
    store.terminate();
    drop(tower);

    let words = ["store/db = other: another value of the same key is "];
    for text in
        ["store/db = other\nstore\n    db = x\n", "store\n    db = x\nbeacon\nstore\n    db = other\n"]
    {
        write(text.to_owned());
        assert_refused(&cluster, "dafka_stored", &["-c", &config], &["--list"], &words);
    }
    // An option is not a second value. The same value twice is allowed.
    write(format!("beacon/pub_address = {publ}\nstore/db = {db}\nstore\n    db = {db}\n"));
    let list = cluster.run("dafka_stored", &["-c", &config, "--pub", "tcp://127.0.0.1:1", "--list"]);
    assert_eq!((list.status.code(), list.stdout.len()), (Some(0), 1), "{}", list.stderr);
}

#[test]
fn a_misspelled_key_is_refused() {
    let cluster = Cluster::new();
    let config = cluster.path("misspelled.cfg");
    for (text, words) in [
        ("store//db = x", ["store//db is not a key", "write store/db"]),
        ("Store/db = x", ["Store/db is not a key", "write store/db"]),
        ("root\n    store\n        db = x", ["root/store/db is not a key", "write store/db"]),
        ("beacon\n    Interval = 5", ["beacon/Interval is not a key", "write beacon/interval"]),
    ] {
        std::fs::write(&config, text).expect("a file");
        assert_refused(&cluster, "dafka_stored", &["-c", &config], &[], &words);
    }
    assert!(!cluster.dir().join("storedb").exists());
}

#[test]
fn unusable_addresses_are_refused() {
    let cluster = Cluster::new();
    for (program, own) in PROGRAMS {
        for option in ["--pub", "--sub"] {
            for address in ["nonsense", "tcp://", "tcp://127.0.0.1:port", "tcp://127.0.0.1:99999", "udp//x:1"]
            {
                assert_refused(&cluster, program, &[option, address], own, &[program, address]);
            }
        }
    }
}

#[test]
fn a_tower_does_not_start_where_another_socket_listens() {
    let cluster = Cluster::new();
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let taken = format!("tcp://{}", listener.local_addr().expect("its address"));
    let (publ, sub) = (cluster.pub_addresses(), cluster.sub_addresses());
    assert_refused(&cluster, "dafka_towerd", &["--pub", &taken, "--sub", &sub], &[], &[&taken]);
    assert_refused(&cluster, "dafka_towerd", &["--pub", &publ, "--sub", &taken], &[], &[&taken]);
    drop(listener);
    // Both addresses are the same.
    assert_refused(&cluster, "dafka_towerd", &["--pub", &publ, "--sub", &publ], &[], &[&publ]);
    // With free ports, a tower starts.
    let tower = cluster.tower();
    tower.kill();
}

/// Runs a store that must refuse its directory.
#[track_caller]
fn assert_store_refused(cluster: &Cluster, dir: &Path, words: &[&str]) {
    let dir = dir.to_str().expect("UTF-8");
    let config = cluster.config_of(&[("store/db", dir)]);
    let (publ, sub) = (cluster.pub_addresses(), cluster.sub_addresses());
    let options = ["-c", &config, "--pub", &publ, "--sub", &sub];
    assert_refused(cluster, "dafka_stored", &options, &[], &[&[dir], words].concat());
}

#[test]
fn a_store_does_not_start_on_a_directory_that_cannot_be_made() {
    let cluster = Cluster::new().with_tower();
    let file = cluster.dir().join("file");
    std::fs::write(&file, "not a directory").expect("a file");
    assert_store_refused(&cluster, &file, &[]);
    assert_store_refused(&cluster, &file.join("db"), &[]);
    assert_store_refused(&cluster, Path::new("/proc/nowhere/db"), &[]);
    assert_eq!(std::fs::read(&file).expect("the file"), b"not a directory");
}

#[test]
fn a_store_does_not_share_its_directory() {
    let cluster = Cluster::new().with_tower();
    let store = cluster.store("db");
    let published = lines("line", 100);
    cluster.publish("shared", &published);
    assert_store_refused(&cluster, &cluster.dir().join("db"), &["in use"]);
    // The first store still works. When it ends, even by SIGKILL, another store can use the directory.
    cluster.assert_stored("shared", &published);
    store.kill();
    let _store = cluster.store("db");
    cluster.assert_stored("shared", &published);
}

#[test]
fn a_store_does_not_touch_a_leveldb_database() {
    let cluster = Cluster::new().with_tower();
    let dir = cluster.dir().join("storedb");
    std::fs::create_dir(&dir).expect("a directory");
    let files =
        [("CURRENT", "MANIFEST-000002\n"), ("MANIFEST-000002", "x"), ("000003.log", "records"), ("LOCK", "")];
    for (name, content) in files {
        std::fs::write(dir.join(name), content).expect("a file");
    }
    assert_store_refused(&cluster, &dir, &["LevelDB", "0.1.0", "another directory"]);
    let mut names: Vec<_> =
        std::fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["000003.log", "CURRENT", "LOCK", "MANIFEST-000002"]);
    for (name, content) in files {
        assert_eq!(std::fs::read(dir.join(name)).unwrap(), content.as_bytes());
    }
}

#[test]
fn verbose_programs_log_only_to_standard_error() {
    let cluster = Cluster::new().with_tower();
    let store = cluster.node("dafka_stored", &["--verbose"]);
    let mut consumer = cluster.node("dafka_console_consumer", &["--verbose", "--from-beginning", "loud"]);
    let producer = cluster.node("dafka_console_producer", &["-v", "loud"]);
    producer.feed(&lines("line", 10));
    let producer = producer.finish("the end of its input");
    consumer.expect_records("loud", &lines("line", 10), "records");
    for output in [producer, store.terminate(), consumer.terminate()] {
        assert!(!output.stderr.is_empty(), "--verbose logs nothing");
        assert!(output.stdout.is_empty(), "log lines on standard output");
    }
}
