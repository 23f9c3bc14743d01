//! The addresses of a tower: in use, left by a killed tower, chosen by the system, or unknown.

use crate::e2e::{Cluster, Program, wait_until};
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

/// How many towers are started at the same time.
const RIVALS: usize = 6;

fn tower(cluster: &Cluster, sub: &str, publ: &str) -> Program {
    cluster.program("dafka_towerd", &["--sub", sub, "--pub", publ])
}

/// Checks that a tower does not start, and logs one line with these words.
#[track_caller]
fn assert_refused(program: Program, words: &[&str]) {
    let output = program.expect_exit("its start", 1, words);
    assert_eq!(output.stderr.lines().count(), 1, "{}", output.stderr);
}

/// Checks that nodes with these options work: a store acknowledges a record.
#[track_caller]
fn assert_works(cluster: &Cluster, options: &[&str], topic: &str) {
    let store = cluster.program("dafka_stored", options);
    let producer = cluster.program("dafka_console_producer", &[options, &[topic]].concat());
    producer.feed(&crate::e2e::lines("line", 1));
    producer.finish("the end of its input, with a store present");
    drop(store);
}

fn is_socket(path: &Path) -> bool {
    std::fs::symlink_metadata(path).is_ok_and(|data| data.file_type().is_socket())
}

#[test]
fn an_ipc_address_has_one_tower_and_a_file_there_stays() {
    let cluster = Cluster::new();
    let (sub_path, pub_path) = (cluster.dir().join("s"), cluster.dir().join("p"));
    let (sub, publ) = (format!("ipc://{}", sub_path.display()), format!("ipc://{}", pub_path.display()));
    let config = cluster.config_with(&[]);
    let options = ["-c", &config, "--sub", &sub, "--pub", &publ];

    // A file that is not a socket stays. The tower that cannot bind to its second address frees its first address.
    std::fs::write(&pub_path, "a file").expect("a file");
    assert_refused(tower(&cluster, &sub, &publ), &["cannot bind to", &publ, "not a socket"]);
    assert_eq!(std::fs::read(&pub_path).expect("the file"), b"a file");
    assert!(!sub_path.exists());
    std::fs::remove_file(&pub_path).expect("the file");

    // A killed tower leaves the files of its sockets. Then several towers start, and one of them uses the addresses
    // again.
    let mut killed = tower(&cluster, &sub, &publ);
    killed.wait_until("it listens", |_| is_socket(&sub_path) && is_socket(&pub_path));
    killed.kill();
    assert!(is_socket(&sub_path) && is_socket(&pub_path));
    let mut rivals: Vec<Program> = (0..RIVALS).map(|_| tower(&cluster, &sub, &publ)).collect();
    wait_until("one tower remains", || {
        for ended in rivals.extract_if(.., |tower| !tower.is_running()) {
            assert_refused(ended, &["cannot bind to", "in use"]);
        }
        rivals.len() <= 1
    });
    let mut first = rivals.pop().expect("one of them runs");
    first.wait_until("it listens", |_| is_socket(&pub_path));
    assert_works(&cluster, &options, "first");

    // A stopped tower still occupies its addresses. A tower that ends removes its sockets.
    first.pause();
    assert_refused(tower(&cluster, &sub, &publ), &["cannot bind to", &sub, "in use"]);
    first.resume();
    assert_works(&cluster, &options, "second");
    first.terminate();
    assert!(!sub_path.exists() && !pub_path.exists());

    // An address whose listener has a full queue is in use, too.
    let listener = UnixListener::bind(&sub_path).expect("a socket");
    rustix::net::listen(&listener, 0).expect("a shorter queue");
    let _waiting = UnixStream::connect(&sub_path).expect("room for one");
    assert_refused(tower(&cluster, &sub, &publ), &["cannot bind to", &sub, "in use"]);
}

#[test]
fn an_abstract_ipc_address_has_one_tower_and_touches_no_file() {
    let cluster = Cluster::new();
    let name = format!("dafka-test-{}", std::process::id());
    let (sub, publ) = (format!("ipc://@{name}-s"), format!("ipc://@{name}-p"));
    // A file with the same name in the working directory stays.
    let file = cluster.dir().join(format!("@{name}-s"));
    std::fs::write(&file, "a file").expect("a file");
    let mut first = cluster.program("dafka_towerd", &["-v", "--sub", &sub, "--pub", &publ]);
    first.wait_for_log(&format!("bound to {sub} and {publ}"));
    assert_refused(tower(&cluster, &sub, &publ), &["cannot bind to", &sub, "in use"]);
    let config = cluster.config_with(&[]);
    assert_works(&cluster, &["-c", &config, "--sub", &sub, "--pub", &publ], "abstract");
    assert_eq!(std::fs::read(&file).expect("the file"), b"a file");
    assert_refused(tower(&cluster, "ipc://@", &publ), &["cannot bind to ipc://@"]);
}

#[test]
fn a_port_that_the_system_chooses_is_logged_and_written_to_a_file() {
    let cluster = Cluster::new();
    let file = &*cluster.path("endpoints");
    let options = ["--sub", "tcp://127.0.0.1:*", "--pub", "tcp://*:0", "--endpoints-file", file];
    let mut tower = cluster.program("dafka_towerd", &options);
    tower.wait_until("the file exists", |_| Path::new(file).exists());
    // The file is complete as soon as it exists.
    let text = std::fs::read_to_string(file).expect("the file");
    let value = |key: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(&format!("{key} = \"")));
        line.and_then(|line| line.strip_suffix('"')).unwrap_or_else(|| panic!("no {key} in {text}"))
    };
    let (sub, publ) = (value("tower/sub_address"), value("tower/pub_address"));
    assert!(!sub.ends_with(":0") && !sub.ends_with(":*") && sub.starts_with("tcp://127.0.0.1:"), "{sub}");
    assert!(!publ.ends_with(":0") && publ.starts_with("tcp://0.0.0.0:"), "{publ}");
    assert_eq!(value("beacon/pub_address"), publ.replace("0.0.0.0", "127.0.0.1"));
    tower.wait_for_log(&format!("bound to {sub} and {publ}"));

    // The file is a configuration for nodes.
    let config = cluster.path("node.cfg");
    std::fs::write(&config, format!("{text}beacon/address = 127.0.0.1\n")).expect("a file");
    assert_works(&cluster, &["-c", &config], "any port");
    let mut files = std::fs::read_dir(cluster.dir()).unwrap().map(|entry| entry.unwrap().file_name());
    assert!(files.all(|name| !name.to_string_lossy().ends_with(".tmp")));

    tower.terminate();
    assert!(!Path::new(file).exists());
    let options =
        ["--sub", "tcp://127.0.0.1:*", "--pub", "tcp://127.0.0.1:*", "--endpoints-file", "/nowhere/file"];
    let text = "cannot write its endpoints to /nowhere/file: No such file";
    cluster.program("dafka_towerd", &options).expect_exit("its start", 1, &[text]);
}

#[test]
fn a_tower_binds_to_a_host_name_and_reports_an_unknown_one() {
    let cluster = Cluster::new();
    let mut named = tower(&cluster, "tcp://localhost:*", "tcp://lo:*");
    named.wait_for_log("bound to tcp://127.0.0.1:");
    // This is too long for a host name, so the system sends no DNS request.
    let unknown = "x".repeat(250);
    for address in [format!("tcp://{unknown}:*"), format!("tcp://{unknown}:5556")] {
        let words = ["cannot bind to", &address, &format!("the host {unknown} is unknown")];
        assert_refused(tower(&cluster, &address, "tcp://127.0.0.1:*"), &words);
        assert_refused(tower(&cluster, "tcp://127.0.0.1:*", &address), &words);
    }
}
