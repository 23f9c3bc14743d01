//! Changes to the directory and the disk of a store while it runs: by operators, accidents and other programs.

use crate::crash::{Load, Tmpfs};
use crate::e2e::{Cluster, DEADLINE, PROMPT, Program, lines, wait_until};
use dafka::storage::{Batch, Log, Options, PartitionName};
use std::fs::{self, Permissions};
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

/// Waits until a store ends by itself, and checks that it logs one line about its database.
#[track_caller]
fn expect_gone(store: Program, dir: &Path, what: &str) {
    let output = store.expect_exit(what, 1, &[]);
    let log: Vec<&str> = output.stderr.lines().filter(|line| !line.contains(" I: ")).collect();
    assert_eq!(log.len(), 1, "{what}: {}", output.stderr);
    let data = dir.join("data.mdb");
    let expected = format!("the database {} is gone", data.display());
    assert!(log[0].contains(&expected) && log[0].contains("cannot continue"), "{what}: {}", output.stderr);
}

type Lose = fn(&Path);

/// The ways in which the file of a database can lose its name.
const LOSSES: [(&str, Lose); 4] = [
    ("its directory was removed", |dir| fs::remove_dir_all(dir).expect("removed")),
    ("its directory was renamed", |dir| fs::rename(dir, dir.with_extension("old")).expect("renamed")),
    ("its directory was replaced", |dir| {
        fs::remove_dir_all(dir).expect("removed");
        fs::create_dir(dir).expect("made");
    }),
    ("another file took its name", |dir| {
        let copy = dir.with_extension("copy");
        fs::copy(dir.join("data.mdb"), &copy).expect("copied");
        fs::rename(copy, dir.join("data.mdb")).expect("renamed");
    }),
];

#[test]
fn a_store_whose_database_has_lost_its_name_acknowledges_nothing_and_ends() {
    for (what, lose) in LOSSES {
        // The store must not acknowledge records that it writes after the loss.
        let cluster = Cluster::new().with_tower();
        let dir = cluster.dir().join("store");
        let store = cluster.store_at(&dir, &[], &[]);
        cluster.publish("gone", &lines("before", 3));
        let mut producer = cluster.producer("gone");
        lose(&dir);
        producer.feed(&lines("after", 3));
        producer.close_input();
        expect_gone(store, &dir, what);
        assert!(producer.is_running(), "{what}: acknowledged by a store that has no database");
        assert!(!dir.join("data.mdb").exists() || what.starts_with("another file"), "{what}: a new database");
    }
}

#[test]
fn an_idle_store_notices_that_its_database_is_gone() {
    let cluster = Cluster::new().with_tower();
    let dir = cluster.dir().join("store");
    let store = cluster.store_at(&dir, &[], &[]);
    cluster.publish("idle", &lines("before", 3));
    LOSSES[0].1(&dir);
    expect_gone(store, &dir, "idle");
}

#[test]
fn a_disk_that_hangs_is_logged_and_a_second_signal_ends_the_store() {
    let cluster = Cluster::new().with_tower();
    let hang = cluster.dir().join("hang");
    let mut store = cluster.preloaded("dafka_stored", &[], ("HANG_SYNC", &hang));
    let load = Load::start(&cluster, &["hang"], 1);
    load.wait_for_acks(10);
    fs::write(&hang, "").expect("a file");
    let hangs = "the disk of storedb does not respond: writing records has not returned for ";
    store.wait_for_log(hangs);
    // The store continues when the disk answers again.
    fs::remove_file(&hang).expect("removed");
    store.wait_for_log("the disk of storedb responds again: writing records took ");
    load.wait_for_acks(10);

    fs::write(&hang, "").expect("a file");
    // Without a pending write, the first signal would end it.
    store.wait_until("the disk hangs again", |store| store.log().matches(hangs).count() >= 2);
    store.signal(libc::SIGTERM);
    store.wait_for_log("another signal ends the program at once");
    assert!(store.is_running(), "the first signal waits for the disk");
    store.signal(libc::SIGINT);
    let output = store.wait("a second signal", PROMPT);
    output.assert_exit("a second signal", 3, &["ended at once by a second signal"]);
}

#[test]
fn a_disk_that_hangs_while_a_store_starts_is_logged_and_a_second_signal_ends_the_store() {
    let cluster = Cluster::new();
    let hang = cluster.dir().join("hang");
    fs::write(&hang, "").expect("a file");
    let mut store = cluster.preloaded("dafka_stored", &[], ("HANG_SYNC", &hang));
    store.wait_for_log("opening the database has not returned for ");
    store.signal(libc::SIGTERM);
    std::thread::sleep(Duration::from_secs(1));
    store.signal(libc::SIGTERM);
    store.wait("a second signal", PROMPT).assert_exit("a second signal", 3, &[]);
}

#[test]
fn two_signals_at_once_count_as_one() {
    let cluster = Cluster::new().with_tower();
    let mut store = cluster.store("store");
    cluster.publish("twice", &lines("line", 10));
    store.signal(libc::SIGTERM);
    store.signal(libc::SIGTERM);
    store.expect_success("two signals at once");
}

const STORED: &str = env!("CARGO_BIN_EXE_dafka_stored");

/// A database with many partitions of one record.
fn make_database(dir: &Path, partitions: u64) {
    let log = Log::open(dir, Options::default()).expect("the log opens");
    let mut batch = Batch::new();
    for i in 0..partitions {
        let run = batch.run(PartitionName { topic: b"many", producer: format!("{i:032X}").as_bytes() }, 0);
        batch.push_to(run, b"record");
    }
    log.append(&batch).expect("appended");
}

/// Runs `dafka_stored --list` for the directory `storedb` in `dir`. `command` is the program, or a command that runs
/// it.
fn list(dir: &Path, mut command: Command) -> std::process::Output {
    command.args(["--list"]).current_dir(dir).output().expect("it runs")
}

#[test]
fn a_list_into_a_closed_pipe_is_not_an_error() {
    let dir = tempfile::tempdir().expect("a directory");
    make_database(&dir.path().join("storedb"), 20_000);
    let mut command = Command::new(STORED);
    command.arg("--list").current_dir(dir.path()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut listing = command.spawn().expect("it runs");
    let mut line = String::new();
    let mut reader = BufReader::new(listing.stdout.take().expect("piped"));
    reader.read_line(&mut line).expect("a line");
    assert_eq!(line, format!("many\t{:032X}\t0\t1\n", 0));
    drop(reader);
    let mut stderr = String::new();
    listing.stderr.take().expect("piped").read_to_string(&mut stderr).expect("read");
    assert_eq!((listing.wait().expect("it ends").code(), &*stderr), (Some(0), ""));
}

#[test]
fn a_list_needs_only_permission_to_read_the_database() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: only root can run a program as another user");
        return;
    }
    let as_nobody = || {
        let mut command = Command::new(STORED);
        command.uid(65_534).gid(65_534);
        command
    };
    let dir = tempfile::tempdir().expect("a directory");
    let db = dir.path().join("storedb");
    make_database(&db, 300);
    for path in [dir.path(), &db] {
        fs::set_permissions(path, Permissions::from_mode(0o755)).expect("changed");
    }
    fs::set_permissions(db.join("data.mdb"), Permissions::from_mode(0o644)).expect("changed");
    fs::set_permissions(db.join("lock.mdb"), Permissions::from_mode(0o600)).expect("changed");
    let output = list(dir.path(), as_nobody());
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    assert_eq!(output.stdout.iter().filter(|octet| **octet == b'\n').count(), 300);

    fs::set_permissions(db.join("data.mdb"), Permissions::from_mode(0o600)).expect("changed");
    let output = list(dir.path(), as_nobody());
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr.contains("cannot open the database storedb/data.mdb: Permission denied"), "{stderr}");
}

#[test]
fn a_list_from_another_pid_namespace_is_complete() {
    let unshare = |arguments: &[&str]| {
        let mut command = Command::new("unshare");
        command.args(["--pid", "--fork", "--kill-child"]).args(arguments);
        command
    };
    if !unshare(&["true"]).stderr(Stdio::null()).status().is_ok_and(|status| status.success()) {
        eprintln!("skipped: PID namespaces are not permitted here");
        return;
    }
    let dir = tempfile::tempdir().expect("a directory");
    make_database(&dir.path().join("storedb"), 10);
    // The process with number 1 there holds the database and reads it.
    let this = std::env::current_exe().expect("known");
    let mut reader = unshare(&[this.to_str().expect("UTF-8"), "--exact", READER, "--ignored", "--nocapture"]);
    let mut reader = reader.env("STORE", dir.path()).stdout(Stdio::piped()).spawn().expect("it runs");
    wait_for_line(&mut reader, "reading as 1");
    let output = list(dir.path(), unshare(&[STORED]));
    reader.kill().expect("it runs");
    reader.wait().expect("it ends");
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    assert_eq!(output.stdout.iter().filter(|octet| **octet == b'\n').count(), 10);
}

const READER: &str = "disk::child_reads_a_database_until_it_is_killed";

#[test]
#[ignore = "runs in a process of its own, started by another test"]
fn child_reads_a_database_until_it_is_killed() {
    use lmdb::{Environment, EnvironmentFlags};
    let dir = std::env::var_os("STORE").expect("set by the test that starts this");
    let mut environment = Environment::new();
    let environment =
        environment.set_flags(EnvironmentFlags::READ_ONLY).open(&Path::new(&dir).join("storedb"));
    let environment = environment.expect("it opens");
    let _reading = environment.begin_ro_txn().expect("it reads");
    println!("reading as {}", std::process::id());
    std::thread::sleep(DEADLINE);
}

#[track_caller]
fn wait_for_line(child: &mut std::process::Child, text: &str) {
    let mut output = BufReader::new(child.stdout.take().expect("piped"));
    let mut line = String::new();
    while !line.contains(text) {
        line.clear();
        assert_ne!(output.read_line(&mut line).expect("text"), 0, "the output ends without: {text}");
    }
}

#[test]
fn a_store_removes_the_table_entry_of_a_killed_reader() {
    let cluster = Cluster::new();
    let mut store = cluster.store("storedb");
    store.wait_until_it_catches_signals();
    let lock = cluster.dir().join("storedb/lock.mdb");
    wait_until("there is a table of readers", || lock.exists());
    let this = std::env::current_exe().expect("known");
    let mut reader = Command::new(this);
    reader.args(["--exact", READER, "--ignored", "--nocapture"]).env("STORE", cluster.dir());
    let mut reader = reader.stdout(Stdio::piped()).spawn().expect("it runs");
    let number = reader.id();
    wait_for_line(&mut reader, &format!("reading as {number}"));
    // An entry of LMDB's table has 64 bytes: the transaction, and then the number of the process.
    let has_place = || {
        let table = fs::read(&lock).expect("the table of readers");
        let mut places = table.chunks_exact(64);
        places.any(|place| place[8..12] == number.to_ne_bytes())
    };
    assert!(has_place(), "the reader has no place");
    reader.kill().expect("it runs");
    reader.wait().expect("it ends");
    wait_until("the store removes the entry of the killed reader", || !has_place());
    store.terminate();
}

#[test]
fn a_list_is_right_while_a_store_writes() {
    let cluster = Cluster::new().with_tower();
    let dir = cluster.dir().join("storedb");
    make_database(&dir, 2_000);
    let _store = cluster.store_at(&dir, &[("store/sync", "never")], &[]);
    let load = Load::start(&cluster, &["busy"], 10);
    load.wait_for_acks(10);
    let mut nexts = std::collections::BTreeMap::new();
    for _ in 0..200 {
        let acked = load.partitions();
        let listed = dafka::storage::list(&dir).expect("a list");
        assert_eq!(listed.iter().filter(|partition| partition.topic == b"many").count(), 2_000);
        let mut now = std::collections::BTreeMap::new();
        for partition in listed {
            let key = (partition.topic, partition.producer);
            assert!(now.insert(key.clone(), partition.next).is_none(), "one partition twice");
            let before = nexts.insert(key, partition.next).unwrap_or(0);
            assert!(before <= partition.next, "a partition has become shorter");
        }
        for partition in acked.iter().filter(|partition| partition.acked.is_some()) {
            let key = (partition.subject.clone().into_bytes(), partition.address.clone().into_bytes());
            assert!(now.get(&key).copied() > partition.acked, "acknowledged, and not in the list");
        }
    }
}

/// The permissions of a file or directory.
fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap_or_else(|error| panic!("{}: {error}", path.display())).mode() & 0o777
}

#[test]
fn new_databases_are_for_their_owner_unless_a_key_says_otherwise() {
    for (settings, file, directory) in
        [(&[][..], 0o600, 0o700), (&[("store/file_mode", "640")], 0o640, 0o750)]
    {
        let cluster = Cluster::new();
        let parent = cluster.dir().join("made");
        let dir = parent.join("store");
        let mut store = cluster.store_at(&dir, settings, &[]);
        store.wait_until_it_catches_signals();
        store.terminate();
        assert_eq!(mode(&dir), directory);
        for name in ["data.mdb", "lock.mdb", "dafka.lock"] {
            assert_eq!(mode(&dir.join(name)), file, "{name}");
        }
        let before = mode(cluster.dir());
        assert_eq!(mode(&parent) & before, before, "the store restricts only its own directory");

        // The store does not change the permissions of existing files, but logs them.
        fs::set_permissions(dir.join("data.mdb"), Permissions::from_mode(0o644)).expect("changed");
        let mut store = cluster.store_at(&dir, settings, &[]);
        store.wait_for_log("data.mdb has the permissions 644: other users may access it");
        store.wait_until_it_catches_signals();
        store.terminate();
        assert_eq!(mode(&dir.join("data.mdb")), 0o644);
    }
}

#[test]
fn a_full_disk_during_the_creation_of_a_database_is_reported_as_full() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut refused = 0;
    for kib in (4..=100).step_by(4) {
        let path = dir.path().join(kib.to_string());
        let Some(disk) = Tmpfs::mount(&path, &format!("size={kib}k")) else { return };
        let made = Log::open(&disk.path().join("store"), Options::default());
        let named = made.map_err(|error| error.to_string()).and_then(|log| {
            let name = log.identity(b"name").map_err(|error| error.to_string());
            name.map(drop)
        });
        if let Err(error) = named {
            refused += 1;
            assert!(error.contains("No space left on device"), "{kib} KiB: {error}");
        }
    }
    assert!(refused > 3, "{refused}");
}

/// Partitions on disk need no time at a start, and do not count towards the limit of known partitions.
#[test]
fn a_store_with_as_many_partitions_as_it_may_know_starts_small_and_takes_new_ones() {
    const COUNT: u64 = 100_000;
    let cluster = Cluster::new().with_tower();
    let dir = cluster.dir().join("full");
    make_database(&dir, COUNT);
    let store = cluster.store_at(&dir, &[("store/max_partitions", &COUNT.to_string())], &[]);
    let producer = cluster.producer_of("new", &lines("line", 10));
    producer.expect_success_within("the end of its input, with a full store present", PROMPT);
    let rss_mib = store.rss_bytes() >> 20;
    assert!(rss_mib < 64, "{rss_mib} MiB");
}
