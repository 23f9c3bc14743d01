//! Where a tower binds: addresses that are taken, left behind, chosen by the system, or nobody's.

use crate::e2e::{Cluster, DEADLINE, Input, Program};
use std::io::Write;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::time::{Duration, Instant};

/// Towers that are started at the same time.
const RIVALS: usize = 6;

fn tower(cluster: &Cluster, sub: &str, publ: &str) -> Program {
    cluster.program("dafka_towerd", &["--sub", sub, "--pub", publ], Input::Pipe)
}

/// Waits until a condition holds while a program runs.
#[track_caller]
fn wait_until(program: &mut Program, what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(program.is_running(), "{what}: the program has ended: {}", program.log());
        assert!(start.elapsed() < DEADLINE, "{what}: {}", program.log());
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Checks that a tower does not start, and says why in one line.
#[track_caller]
fn assert_refused(program: Program, words: &[&str]) {
    let output = program.wait("its start", DEADLINE);
    assert_eq!(output.status.code(), Some(1), "{}", output.stderr);
    let lines: Vec<&str> = output.stderr.lines().collect();
    assert_eq!(lines.len(), 1, "{lines:?}");
    for word in words {
        assert!(lines[0].contains(word), "nothing of {word:?} in {lines:?}");
    }
}

/// Checks that a network works: a record gets through a store.
#[track_caller]
fn assert_works(cluster: &Cluster, options: &[&str], topic: &str) {
    let store = cluster.program("dafka_stored", options, Input::Pipe);
    let mut producer = cluster.program("dafka_console_producer", &[options, &[topic]].concat(), Input::Pipe);
    producer.feed(&crate::e2e::lines("line", 1));
    producer.close_input();
    producer.expect_success("the end of its input, with a store present");
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
    let options = ["-c", config.to_str().expect("UTF-8"), "--sub", &sub, "--pub", &publ];

    // What is no socket stays, at either address. The first one is free again after that.
    std::fs::write(&pub_path, "a file").expect("a file");
    assert_refused(tower(&cluster, &sub, &publ), &["cannot bind to", &publ, "no socket"]);
    assert_eq!(std::fs::read(&pub_path).expect("the file"), b"a file");
    assert!(!sub_path.exists());
    std::fs::remove_file(&pub_path).expect("the file");

    // A tower that was killed leaves its sockets: of those that come next, one takes them over.
    let mut killed = tower(&cluster, &sub, &publ);
    wait_until(&mut killed, "it listens", || is_socket(&sub_path) && is_socket(&pub_path));
    killed.kill();
    assert!(is_socket(&sub_path) && is_socket(&pub_path));
    let mut rivals: Vec<Program> = (0..RIVALS).map(|_| tower(&cluster, &sub, &publ)).collect();
    let start = Instant::now();
    while rivals.len() > 1 {
        assert!(start.elapsed() < DEADLINE, "{} towers run", rivals.len());
        for i in (0..rivals.len()).rev() {
            if !rivals[i].is_running() {
                assert_refused(rivals.remove(i), &["cannot bind to", "in use"]);
            }
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    let mut first = rivals.pop().expect("one of them runs");
    wait_until(&mut first, "it listens", || is_socket(&pub_path));
    assert_works(&cluster, &options, "first");

    // A tower that does not read is there all the same; one that goes takes its files along.
    first.pause();
    assert_refused(tower(&cluster, &sub, &publ), &["cannot bind to", &sub, "in use"]);
    first.resume();
    assert_works(&cluster, &options, "second");
    first.signal(libc::SIGTERM);
    first.expect_success("SIGTERM");
    assert!(!sub_path.exists() && !pub_path.exists());

    // A queue that is full is no sign that nobody is there.
    let listener = UnixListener::bind(&sub_path).expect("a socket");
    // SAFETY: a system call without pointers on a descriptor that lives.
    assert_eq!(unsafe { libc::listen(listener.as_raw_fd(), 0) }, 0);
    let _waiting = UnixStream::connect(&sub_path).expect("room for one");
    assert_refused(tower(&cluster, &sub, &publ), &["cannot bind to", &sub, "in use"]);
}

#[test]
fn an_abstract_ipc_address_has_one_tower_and_touches_no_file() {
    let cluster = Cluster::new();
    let name = format!("dafka-test-{}", std::process::id());
    let (sub, publ) = (format!("ipc://@{name}-s"), format!("ipc://@{name}-p"));
    // A file of the same name in the working directory.
    let file = cluster.dir().join(format!("@{name}-s"));
    std::fs::write(&file, "a file").expect("a file");
    let mut first = cluster.program("dafka_towerd", &["-v", "--sub", &sub, "--pub", &publ], Input::Pipe);
    first.wait_for_log(&format!("bound to {sub} and {publ}"));
    assert_refused(tower(&cluster, &sub, &publ), &["cannot bind to", &sub, "in use"]);
    let config = cluster.config_with(&[]);
    assert_works(
        &cluster,
        &["-c", config.to_str().expect("UTF-8"), "--sub", &sub, "--pub", &publ],
        "abstract",
    );
    assert_eq!(std::fs::read(&file).expect("the file"), b"a file");
    assert_refused(tower(&cluster, "ipc://@", &publ), &["cannot bind to ipc://@"]);
}

#[test]
fn a_port_that_the_system_chooses_is_logged_and_written_to_a_file() {
    let cluster = Cluster::new();
    let path = cluster.dir().join("endpoints");
    let file = path.to_str().expect("UTF-8");
    let options = ["--sub", "tcp://127.0.0.1:*", "--pub", "tcp://*:0", "--endpoints-file", file];
    let mut tower = cluster.program("dafka_towerd", &options, Input::Pipe);
    wait_until(&mut tower, "the file", || path.exists());
    // Whoever sees it sees all of it.
    let text = std::fs::read_to_string(&path).expect("the file");
    let value = |key: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(&format!("{key} = \"")));
        line.and_then(|line| line.strip_suffix('"')).unwrap_or_else(|| panic!("no {key} in {text}"))
    };
    let (sub, publ) = (value("tower/sub_address"), value("tower/pub_address"));
    assert!(!sub.ends_with(":0") && !sub.ends_with(":*") && sub.starts_with("tcp://127.0.0.1:"), "{sub}");
    assert!(!publ.ends_with(":0") && publ.starts_with("tcp://0.0.0.0:"), "{publ}");
    assert_eq!(value("beacon/pub_address"), publ.replace("0.0.0.0", "127.0.0.1"));
    tower.wait_for_log(&format!("bound to {sub} and {publ}"));

    // It is a configuration for nodes.
    let mut node = std::fs::File::options()
        .append(true)
        .create(true)
        .open(cluster.dir().join("node.cfg"))
        .expect("a file");
    writeln!(node, "{text}beacon/address = 127.0.0.1").expect("a file");
    let config = cluster.dir().join("node.cfg");
    assert_works(&cluster, &["-c", config.to_str().expect("UTF-8")], "any port");
    assert!(
        std::fs::read_dir(cluster.dir())
            .unwrap()
            .all(|entry| { !entry.unwrap().file_name().to_string_lossy().ends_with(".tmp") })
    );

    tower.signal(libc::SIGTERM);
    tower.expect_success("SIGTERM");
    assert!(!path.exists());
    let options =
        ["--sub", "tcp://127.0.0.1:*", "--pub", "tcp://127.0.0.1:*", "--endpoints-file", "/nowhere/file"];
    let refused = cluster.program("dafka_towerd", &options, Input::Pipe).wait("its start", DEADLINE);
    assert_eq!(refused.status.code(), Some(1));
    assert!(
        refused.stderr.contains("cannot write its endpoints to /nowhere/file: No such file"),
        "{}",
        refused.stderr
    );
}

#[test]
fn a_host_to_bind_may_be_a_name_and_an_unknown_one_is_told() {
    let cluster = Cluster::new();
    let mut named = tower(&cluster, "tcp://localhost:*", "tcp://lo:*");
    named.wait_for_log("bound to tcp://127.0.0.1:");
    // Too long for a host: no server is asked.
    let unknown = "x".repeat(250);
    for address in [format!("tcp://{unknown}:*"), format!("tcp://{unknown}:5556")] {
        let words = ["cannot bind to", &address, &format!("the host {unknown} is unknown")];
        assert_refused(tower(&cluster, &address, "tcp://127.0.0.1:*"), &words);
        assert_refused(tower(&cluster, "tcp://127.0.0.1:*", &address), &words);
    }
}
