//! Moving from libdafka 0.1.0 (doc/migration.md): simulated old stores hold partitions whose producers have ended. Our
//! store copies all these partitions, and serves them when the old stores have ended.

use crate::e2e::{Cluster, DEADLINE, PROMPT, wait_until};
use crate::peer::{Node, direct_head, direct_record, new_address, number_4_at, number_8_at, string_at, to};
use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// The partitions of a store. For each subject and address, the content of each record, with the offset as the key.
/// Some records may be missing.
type Partitions = BTreeMap<(String, String), BTreeMap<u64, String>>;

/// Adds a partition with these records, and returns its address.
fn add(partitions: &mut Partitions, subject: &str, records: std::ops::Range<u64>) -> String {
    let address = new_address();
    add_to(partitions, subject, &address, records);
    address
}

fn add_to(partitions: &mut Partitions, subject: &str, address: &str, records: std::ops::Range<u64>) {
    let contents = records.map(|sequence| (sequence, content(subject, address, sequence)));
    partitions.entry((subject.into(), address.into())).or_default().extend(contents);
}

/// The content of a record, the same in each store. Each hundredth is empty, each thousandth is long.
fn content(subject: &str, address: &str, sequence: u64) -> String {
    match sequence % 1_000 {
        500 => "x".repeat(200_000),
        rest if rest % 100 == 50 => String::new(),
        _ => format!("{subject} {address} {sequence}"),
    }
}

/// How an old store behaves.
#[derive(Clone, Default)]
struct Behavior {
    /// The pause between two records.
    pause: Duration,
    /// The store sends each answer twice.
    answers_twice: bool,
    /// The store ends after it has sent this many records, in the middle of an answer.
    dies_after: Option<usize>,
    /// The store does not answer GET-HEADS.
    is_mute: bool,
}

/// The reader of a store of 0.1.0. There is no writer, because it would send nothing to another store.
struct OldStore {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl OldStore {
    fn start(cluster: &Cluster, partitions: &Partitions, behavior: Behavior) -> OldStore {
        let mut node = Node::started(cluster, &[to(b'F', ""), to(b'G', "")]);
        let stop = Arc::new(AtomicBool::new(false));
        let (flag, count, partitions) = (stop.clone(), AtomicUsize::new(0), partitions.clone());
        let thread = std::thread::spawn(move || {
            while !flag.load(Ordering::Acquire) {
                if let Some(frames) = node.message_within(b"", Duration::from_millis(20))
                    && !answer(&node, &frames[0], &partitions, &behavior, &count, &flag)
                {
                    // The return drops the node's sockets and beacon, as if the process had ended.
                    return;
                }
            }
        });
        OldStore { stop, thread: Some(thread) }
    }

    /// Waits until it ends by itself.
    #[track_caller]
    fn wait(mut self) {
        let thread = self.thread.take().expect("not waited for yet");
        wait_until("the old store ends", || thread.is_finished());
        thread.join().expect("the old store has not failed");
    }
}

impl Drop for OldStore {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            let failed = thread.join().is_err();
            assert!(!failed || std::thread::panicking(), "the old store has failed");
        }
    }
}

/// Answers a request as 0.1.0 does. 0.1.0 ignores bytes after the fields that it knows. Returns false when the store
/// ends during the answer.
fn answer(
    node: &Node,
    frame: &[u8],
    partitions: &Partitions,
    behavior: &Behavior,
    count: &AtomicUsize,
    stop: &AtomicBool,
) -> bool {
    let topic_len = frame[1..].iter().position(|&octet| octet == 0).expect("a NUL");
    let topic = String::from_utf8(frame[1..1 + topic_len].to_vec()).expect("UTF-8");
    let at = topic_len + 3;
    let requester = string_at(frame, at);
    let times = if behavior.answers_twice { 2 } else { 1 };
    match frame[0] {
        b'G' if behavior.is_mute => {}
        b'G' => {
            // 0.1.0 compares prefixes, so the empty topic means all topics.
            for ((subject, address), records) in partitions.iter().filter(|it| it.0.0.starts_with(&topic)) {
                let &last = records.keys().next_back().expect("a partition has records");
                for _ in 0..times {
                    node.send(&direct_head(&requester, address, subject, last));
                }
            }
        }
        b'F' => {
            let at = at + 1 + requester.len();
            let subject = string_at(frame, at);
            let at = at + 1 + subject.len();
            let (sequence, wanted) = (number_8_at(frame, at), number_4_at(frame, at + 8));
            let Some(records) = partitions.get(&(subject.clone(), topic.clone())) else { return true };
            for _ in 0..times {
                // The answer starts at the first record that the store has, and contains one record too many.
                for (&sequence, content) in records.range(sequence..).take(wanted as usize + 1) {
                    if behavior.dies_after.is_some_and(|limit| count.load(Ordering::Acquire) >= limit) {
                        return false;
                    }
                    if stop.load(Ordering::Acquire) {
                        return true;
                    }
                    node.send_record(&direct_record(&requester, &topic, &subject, sequence), content);
                    count.fetch_add(1, Ordering::AcqRel);
                    if !behavior.pause.is_zero() {
                        std::thread::sleep(behavior.pause);
                    }
                }
            }
        }
        other => panic!("nobody subscribed to {}", other.escape_ascii()),
    }
    true
}

/// Runs `dafka_stored` with an option that prints something. Returns the exit code, the printed lines and the standard
/// error.
fn ask(cluster: &Cluster, store: &str, option: &str) -> (i32, Vec<String>, String) {
    let program = cluster.node_with("dafka_stored", &[option], &[("store/db", &cluster.path(store))]);
    let output = program.wait(option, DEADLINE);
    let lines = output.stdout.into_iter().map(|line| String::from_utf8(line).expect("ASCII")).collect();
    (output.status.code().expect("an exit code"), lines, output.stderr)
}

/// Runs `--missing` until its standard error contains `asked`, and returns the result of that run. One run may not be
/// enough, because `--missing` waits only seconds for a slow store.
fn ask_missing(cluster: &Cluster, store: &str, asked: &str) -> (i32, Vec<String>, String) {
    let start = Instant::now();
    loop {
        let answer = ask(cluster, store, "--missing");
        if answer.2.contains(asked) || start.elapsed() > DEADLINE {
            return answer;
        }
    }
}

/// The lines that `--list` prints for a store with these partitions.
fn listed(partitions: &Partitions) -> Vec<String> {
    let line = |((subject, address), records): (&(String, String), &BTreeMap<u64, String>)| {
        format!("{subject}\t{address}\t0\t{}", records.len())
    };
    partitions.iter().map(line).collect()
}

/// Waits until our store has exactly these partitions on disk.
#[track_caller]
fn wait_until_copied(cluster: &Cluster, store: &str, partitions: &Partitions) {
    let start = Instant::now();
    loop {
        let (code, lines, log) = ask(cluster, store, "--list");
        // There is no database before the store's first start has created it.
        if code == 0 && lines == listed(partitions) {
            return;
        }
        assert!(start.elapsed() < DEADLINE, "not copied: exit code {code}, {lines:#?} {log}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Reads all records from our store.
#[track_caller]
fn assert_served(cluster: &Cluster, partitions: &Partitions) {
    let mut subjects: BTreeMap<&str, Vec<Vec<Vec<u8>>>> = BTreeMap::new();
    for ((subject, _), records) in partitions {
        let contents = records.values().map(|content| content.clone().into_bytes()).collect();
        subjects.entry(subject).or_default().push(contents);
    }
    for (subject, expected) in subjects {
        cluster.assert_each_stored(subject, &expected.iter().map(Vec::as_slice).collect::<Vec<_>>());
    }
}

fn several() -> Partitions {
    let mut partitions = Partitions::new();
    for (subject, lens) in [("hello", [1, 17, 3_000]), ("hello2", [2, 40, 600]), ("other", [1, 1, 100])] {
        for len in lens {
            add(&mut partitions, subject, 0..len);
        }
    }
    partitions
}

/// Checks that a new store copies these partitions, and serves them after the end of the old stores and after a
/// restart.
#[track_caller]
fn assert_copied(cluster: &Cluster, old: Vec<OldStore>, partitions: &Partitions) {
    let store = cluster.store("new");
    wait_until_copied(cluster, "new", partitions);
    drop(old);
    assert_served(cluster, partitions);
    // All records are on disk, so the store can be killed.
    store.kill();
    let _store = cluster.store("new");
    assert_served(cluster, partitions);
}

#[test]
fn a_new_store_copies_an_old_store_and_serves_its_records_after_its_end() {
    let two = (0..2).fold(Partitions::new(), |mut all, i| {
        add(&mut all, &format!("topic {i}"), 0..400);
        all
    });
    let slow = Behavior { pause: Duration::from_millis(2), answers_twice: true, ..Behavior::default() };
    for (partitions, behavior) in [(several(), Behavior::default()), (two, slow)] {
        let cluster = Cluster::new().with_tower();
        let old = OldStore::start(&cluster, &partitions, behavior);
        assert_copied(&cluster, vec![old], &partitions);
    }
}

#[test]
fn the_missing_option_lists_missing_records() {
    let cluster = Cluster::new().with_tower();
    // No database yet.
    let (code, lines, log) = ask(&cluster, "new", "--list");
    assert_eq!((code, lines.len()), (1, 0), "{log}");
    assert!(log.starts_with("dafka_stored: cannot access the directory"), "{log}");
    assert!(!cluster.dir().join("new").exists(), "--list creates no directory");
    // A store that has never had a peer.
    let mut store = cluster.store("new");
    store.wait_until_it_catches_signals();
    wait_until_copied(&cluster, "new", &Partitions::new());
    store.terminate();
    let (code, _, log) = ask(&cluster, "new", "--missing");
    assert_eq!(code, 1, "{log}");
    assert!(log.contains("no store answers"), "{log}");

    let partitions = several();
    let _old = OldStore::start(&cluster, &partitions, Behavior::default());
    let (code, lines, log) = ask_missing(&cluster, "new", "stores asked: 1, partitions there: 9");
    assert_eq!(code, 1, "{log}");
    assert_eq!(lines, listed(&partitions), "subject, address, here, there");
    let count: usize = partitions.values().map(BTreeMap::len).sum();
    assert!(log.contains(&format!("{count} records of 9 partitions are missing: stores asked: 1")), "{log}");

    let _store = cluster.store("new");
    wait_until_copied(&cluster, "new", &partitions);
    let (code, lines, log) = ask_missing(&cluster, "new", "stores asked: 2, partitions there: 9");
    assert_eq!((code, lines.len()), (0, 0), "{log}");
    assert!(log.contains("nothing is missing: stores asked: 2, partitions there: 9"), "{log}");
}

#[test]
fn the_missing_option_can_be_interrupted_while_it_waits_for_a_tower() {
    let mut cluster = Cluster::new();
    let tower = cluster.tower();
    let store = cluster.store("new");
    wait_until_copied(&cluster, "new", &Partitions::new());
    store.kill();
    tower.kill();
    cluster.set("store/db", &cluster.path("new"));
    cluster.set("beacon/connect_timeout", "-1");
    for signal in [libc::SIGTERM, libc::SIGINT] {
        let mut program = cluster.node("dafka_stored", &["--missing"]);
        program.wait_until_it_catches_signals();
        program.signal(signal);
        let ended = program.wait("a signal while it waits for a tower", PROMPT);
        ended.assert_exit("a signal", 1, &["interrupted before the stores have answered"]);
    }
}

/// An operator may stop the old store when the exit code is 0. So the exit code must not be 0 when the result is not
/// known.
#[test]
fn the_missing_option_fails_when_a_store_does_not_answer() {
    let mut cluster = Cluster::new().with_tower();
    let partitions = several();
    let old = OldStore::start(&cluster, &partitions, Behavior::default());
    let _store = cluster.store("new");
    wait_until_copied(&cluster, "new", &partitions);

    // This store never answers. `--missing` waits for it, so there is time for a signal.
    let mute = OldStore::start(&cluster, &partitions, Behavior { is_mute: true, ..Behavior::default() });
    cluster.set("store/db", &cluster.path("new"));
    for signal in [libc::SIGTERM, libc::SIGINT] {
        let mut program = cluster.node("dafka_stored", &["--verbose", "--missing"]);
        program.wait_for_log("CONNECT");
        program.signal(signal);
        let ended = program.wait("a signal while it asks", PROMPT);
        ended.assert_exit("a signal", 1, &["interrupted before the stores have answered"]);
    }
    let (code, lines, log) = ask_missing(&cluster, "new", "stores asked: 3, partitions there: 9");
    assert_eq!((code, lines.len()), (1, 0), "{log}");
    assert!(log.contains("not known whether something is missing"), "{log}");
    assert!(log.contains("1 of them did not respond"), "{log}");
    drop(mute);

    cluster.set("store/max_partitions", "5");
    let (code, lines, log) = ask_missing(&cluster, "new", "partitions there: 5; only");
    assert_eq!((code, lines.len()), (1, 0), "{log}");
    assert!(log.contains("not known whether something is missing"), "{log}");
    assert!(log.contains("only store/max_partitions = 5 partitions were counted"), "{log}");
    drop(old);
}

#[test]
fn the_missing_option_can_be_interrupted_while_its_output_is_not_read() {
    let mut cluster = Cluster::new().with_tower();
    cluster.set("store/db", &cluster.path("new"));
    let mut store = cluster.store("new");
    store.wait_until_it_catches_signals();
    wait_until_copied(&cluster, "new", &Partitions::new());
    store.terminate();

    let mut partitions = Partitions::new();
    for i in 0..40 {
        add(&mut partitions, &format!("{i:0250}"), 0..1);
    }
    let _old = OldStore::start(&cluster, &partitions, Behavior::default());
    let mut program = cluster.node("dafka_stored", &["--missing"]);
    let output = program.take_output();
    // The pipe holds less than the length of the list.
    assert_eq!(rustix::pipe::fcntl_setpipe_size(&output, 4_096), Ok(4_096), "F_SETPIPE_SZ");
    wait_until("it prints something", || rustix::io::ioctl_fionread(&output).expect("FIONREAD") > 0);
    program.signal(libc::SIGTERM);
    let ended = program.wait("SIGTERM while it prints", PROMPT);
    assert_eq!(ended.status.signal(), Some(libc::SIGTERM), "{}", ended.stderr);
    drop(output);
}

#[test]
fn a_new_store_copies_two_old_stores_at_once() {
    let cluster = Cluster::new().with_tower();
    let both = several();
    let (mut first, mut second) = (both.clone(), both.clone());
    add(&mut first, "hello", 0..700);
    add(&mut second, "hello", 0..900);
    add(&mut second, "only here", 0..10);
    let all: Partitions = first.clone().into_iter().chain(second.clone()).collect();
    let old = [first, second].map(|held| OldStore::start(&cluster, &held, Behavior::default()));
    assert_copied(&cluster, old.into(), &all);
}

#[test]
fn a_new_store_copies_an_old_store_that_ends_and_restarts() {
    let cluster = Cluster::new().with_tower();
    let mut partitions = Partitions::new();
    for _ in 0..3 {
        add(&mut partitions, "broken", 0..4_000);
    }
    let _store = cluster.store("new");
    for dies_after in [1_000, 2_500] {
        let behavior = Behavior { dies_after: Some(dies_after), ..Behavior::default() };
        OldStore::start(&cluster, &partitions, behavior).wait();
    }
    // Our store now has some of the records. It copies the rest from the third run of the old store.
    let (code, lines, log) = ask(&cluster, "new", "--list");
    assert_eq!(code, 0, "{log}");
    assert_ne!(lines, listed(&partitions), "the old store has ended too late for this test");
    let old = OldStore::start(&cluster, &partitions, Behavior::default());
    wait_until_copied(&cluster, "new", &partitions);
    drop(old);
    assert_served(&cluster, &partitions);
}

#[test]
fn a_new_store_combines_the_parts_of_two_old_stores() {
    let cluster = Cluster::new().with_tower();
    let mut whole = Partitions::new();
    let address = add(&mut whole, "parts", 0..900);
    let mut beginning = Partitions::new();
    add_to(&mut beginning, "parts", &address, 0..350);
    // This store started later. It answers with the records that it has, from its first one on.
    let mut end = Partitions::new();
    add_to(&mut end, "parts", &address, 300..900);
    // No store has the first records of this partition. The partition does not delay the other one.
    let headless = add(&mut end, "headless", 5..20);
    let _store = cluster.store("new");
    let old = [beginning, end].map(|held| OldStore::start(&cluster, &held, Behavior::default()));
    wait_until_copied(&cluster, "new", &whole);
    let (code, lines, log) = ask_missing(&cluster, "new", "partitions there: 2");
    assert_eq!((code, lines), (1, vec![format!("headless\t{headless}\t0\t20")]), "{log}");
    drop(old);
    assert_served(&cluster, &whole);
}

#[test]
fn the_missing_option_works_while_a_producer_publishes() {
    let cluster = Cluster::new().with_tower().with_store();
    let producer = cluster.producer("busy");
    producer.feed(&[b"line".to_vec()]);
    while ask(&cluster, "store", "--list").1.is_empty() {}
    let stop = Arc::new(AtomicBool::new(false));
    let is_over = stop.clone();
    let work = std::thread::spawn(move || {
        while !is_over.load(Ordering::Relaxed) {
            producer.feed(&[b"line".to_vec()]);
            std::thread::sleep(Duration::from_millis(100));
        }
    });
    let (code, lines, stderr) = ask_missing(&cluster, "store", "stores asked: 1");
    stop.store(true, Ordering::Relaxed);
    work.join().expect("the producer runs");
    // The latest records may be missing. `--missing` then reports them.
    assert!(code == 0 && lines.is_empty() || code == 1 && lines.len() == 1, "{code}: {lines:?}: {stderr}");
}

#[test]
fn the_list_option_works_at_any_moment_of_a_busy_store() {
    let cluster = Cluster::new().with_tower().with_store();
    let topics: Vec<String> = (0..8).map(|i| format!("busy {i}")).collect();
    let load: Vec<Vec<u8>> = (0..40_000).map(|i| format!("{i:0100}").into_bytes()).collect();
    let producers: Vec<_> = topics.iter().map(|topic| cluster.producer_of(topic, &load)).collect();
    while ask(&cluster, "store", "--list").1.is_empty() {}
    let mut seen: BTreeMap<String, u64> = BTreeMap::new();
    let (mut looks, start) = (0, Instant::now());
    loop {
        let (code, lines, stderr) = ask(&cluster, "store", "--list");
        assert_eq!(code, 0, "{stderr}");
        assert!(start.elapsed() < DEADLINE, "{lines:?}");
        looks += 1;
        for line in &lines {
            let (name, next) = line.rsplit_once('\t').expect("columns");
            let next: u64 = next.parse().expect("a number");
            let before = seen.insert(name.to_owned(), next).unwrap_or(0);
            assert!(before <= next, "{line} after {before}");
        }
        if seen.len() == topics.len() && seen.values().all(|&next| next == load.len() as u64) {
            break;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    println!("listed {looks} times");
    for producer in producers {
        producer.expect_success("all is stored");
    }
}
