//! Topics, paths and addresses that are not UTF-8, on the command line and in a configuration.

use crate::e2e::{Cluster, Program};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::process::Command;

/// Starts a program with arguments that need not be UTF-8.
fn program(cluster: &Cluster, file: &str, arguments: &[&OsStr]) -> Program {
    let mut command = Command::new(file);
    command.args(arguments).current_dir(cluster.dir());
    cluster.command(file, &mut command)
}

fn os(octets: &[u8]) -> &OsStr {
    OsStr::from_bytes(octets)
}

#[test]
fn names_that_are_not_utf8_are_used_unchanged() {
    let cluster = Cluster::new();
    let dir = cluster.dir().as_os_str().as_bytes();
    let path = |name: &[u8]| [dir, b"/", name].concat();
    let address = |name: &[u8]| OsString::from_vec([b"ipc://", path(name).as_slice()].concat());
    let (publ, sub) = (address(b"p\xfcb"), address(b"s\xfcb"));
    let config = OsString::from_vec(path(b"caf\xe9.cfg"));
    let text = [
        b"beacon\n    address = 127.0.0.1\n    pub_address = ",
        publ.as_bytes(),
        b"\n    sub_address = \"",
        sub.as_bytes(),
        b"\"\nstore\n    db = d\xe9p\xf4t\n",
    ];
    std::fs::write(&config, text.concat()).expect("a file");

    let towerd = env!("CARGO_BIN_EXE_dafka_towerd");
    let mut tower = program(&cluster, towerd, &[os(b"--pub"), &publ, os(b"--sub"), &sub]);
    let exists = |address: &&OsString| std::path::Path::new(os(&address.as_bytes()[6..])).exists();
    tower.wait_until("it listens", |_| [&publ, &sub].iter().all(exists));
    let stored = env!("CARGO_BIN_EXE_dafka_stored");
    let store = program(&cluster, stored, &[os(b"-c"), &config]);

    let topic = os(b"caf\xe9");
    let producer = env!("CARGO_BIN_EXE_dafka_console_producer");
    let producer = program(&cluster, producer, &[os(b"-c"), &config, topic]);
    producer.feed(&crate::e2e::lines("line", 10));
    producer.finish("the end of its input, with a store present");
    let consumer = env!("CARGO_BIN_EXE_dafka_console_consumer");
    let beginning = os(b"--from-beginning");
    // The second consumer gets the addresses by options.
    for node in [&[os(b"-c"), &config][..], &[os(b"--pub"), &publ, os(b"--sub"), &sub]] {
        let mut consumer = program(&cluster, consumer, &[node, &[beginning, topic]].concat());
        for line in consumer.lines(10, "stored records") {
            assert!(line.starts_with(b"caf\xe9 "), "{}", line.escape_ascii());
        }
    }

    let list = program(&cluster, stored, &[os(b"-c"), &config, os(b"--list")]);
    let list = list.expect_success("a list");
    assert_eq!(list.stdout.len(), 1);
    assert!(list.stdout[0].starts_with(b"caf\\xe9\t"), "{}", list.stdout[0].escape_ascii());
    let second = program(&cluster, stored, &[os(b"-c"), &config]);
    second.expect_exit("its start", 1, &[r"the store directory d\xe9p\xf4t is in use"]);
    store.terminate();
    let made: Vec<_> =
        std::fs::read_dir(cluster.dir()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(made.iter().any(|name| name.as_bytes() == b"d\xe9p\xf4t"), "{made:?}");

    // Log lines show the bytes.
    std::fs::write(&config, b"beacon\n    interval = s\xf4on\n").expect("a file");
    let refused = program(&cluster, stored, &[os(b"-c"), &config]);
    refused.expect_exit("its start", 1, &[r"beacon/interval = s\xf4on: must be"]);
    let gone = program(&cluster, stored, &[os(b"-c"), os(b"g\xf4ne")]);
    gone.expect_exit("its start", 1, &[r"cannot read the configuration g\xf4ne: No such file"]);
}
