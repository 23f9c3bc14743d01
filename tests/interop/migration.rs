//! Moving from libdafka 0.1.0 (doc/migration.md): old stores, played by hand, hold partitions whose producers have gone
//! long ago; our store beside them copies all, and serves it when the old ones are gone.

use crate::e2e::{Cluster, DEADLINE, PROMPT, assert_each_partition};
use crate::peer::{Node, direct_head, direct_record, new_address, number_4_at, number_8_at, string_at, to};
use std::collections::BTreeMap;
use std::os::fd::AsRawFd;
use std::os::unix::process::ExitStatusExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// What a store holds: by subject and address, the records, some of which may be missing.
type Partitions = BTreeMap<(String, String), BTreeMap<u64, String>>;

/// Adds a partition with records `first` to, not including, `next`, and returns its address.
fn add(partitions: &mut Partitions, subject: &str, records: std::ops::Range<u64>) -> String {
    let address = new_address();
    add_to(partitions, subject, &address, records);
    address
}

fn add_to(partitions: &mut Partitions, subject: &str, address: &str, records: std::ops::Range<u64>) {
    let contents = records.map(|sequence| (sequence, content(subject, address, sequence)));
    partitions.entry((subject.into(), address.into())).or_default().extend(contents);
}

/// What that record holds, in whichever store. Every hundredth is empty, every thousandth is long.
fn content(subject: &str, address: &str, sequence: u64) -> String {
    match sequence % 1_000 {
        500 => "x".repeat(200_000),
        rest if rest % 100 == 50 => String::new(),
        _ => format!("{subject} {address} {sequence}"),
    }
}

/// Manners of an old store.
#[derive(Clone, Default)]
struct Manners {
    /// Between two records.
    pause: Duration,
    /// Each answer comes twice.
    says_it_twice: bool,
    /// After so many records it is gone, in the middle of an answer.
    dies_after: Option<usize>,
    /// It hears who asks what it holds, and does not answer.
    is_mute: bool,
}

/// The reader of a store of 0.1.0. Its writer has nothing to say to another store.
struct OldStore {
    stop: Arc<AtomicBool>,
    sent: Arc<AtomicUsize>,
    thread: Option<JoinHandle<()>>,
}

impl OldStore {
    fn start(cluster: &Cluster, partitions: &Partitions, manners: Manners) -> OldStore {
        let mut node = Node::started(cluster, &[to(b'F', ""), to(b'G', "")]);
        let (stop, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let (flag, count, partitions) = (stop.clone(), sent.clone(), partitions.clone());
        let thread = std::thread::spawn(move || {
            while !flag.load(Ordering::Acquire) {
                if let Some(frames) = node.message_within(b"", Duration::from_millis(20))
                    && !answer(&node, &frames[0], &partitions, &manners, &count, &flag)
                {
                    // The process is gone: its sockets and its beacon.
                    return;
                }
            }
        });
        OldStore { stop, sent, thread: Some(thread) }
    }

    /// Waits until it is gone by itself.
    #[track_caller]
    fn wait(mut self) {
        let start = Instant::now();
        let thread = self.thread.take().expect("not waited for yet");
        while !thread.is_finished() {
            assert!(start.elapsed() < DEADLINE, "it lives on, with {:?} records sent", self.sent);
            std::thread::sleep(Duration::from_millis(2));
        }
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

/// Answers as 0.1.0 does, which decodes what it knows and looks at nothing that follows; false when it died over it.
fn answer(
    node: &Node,
    frame: &[u8],
    partitions: &Partitions,
    manners: &Manners,
    count: &AtomicUsize,
    stop: &AtomicBool,
) -> bool {
    let topic_len = frame[1..].iter().position(|&octet| octet == 0).expect("a NUL");
    let topic = String::from_utf8(frame[1..1 + topic_len].to_vec()).expect("UTF-8");
    let at = topic_len + 3;
    let requester = string_at(frame, at);
    let times = if manners.says_it_twice { 2 } else { 1 };
    match frame[0] {
        b'G' if manners.is_mute => {}
        b'G' => {
            // It compares the beginning, so that the empty topic means all.
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
                // One too many; and from the first one on that it has.
                for (&sequence, content) in records.range(sequence..).take(wanted as usize + 1) {
                    if manners.dies_after.is_some_and(|limit| count.load(Ordering::Acquire) >= limit) {
                        return false;
                    }
                    if stop.load(Ordering::Acquire) {
                        return true;
                    }
                    node.send_record(&direct_record(&requester, &topic, &subject, sequence), content);
                    count.fetch_add(1, Ordering::AcqRel);
                    if !manners.pause.is_zero() {
                        std::thread::sleep(manners.pause);
                    }
                }
            }
        }
        other => panic!("nobody subscribed to {}", other.escape_ascii()),
    }
    true
}

/// Runs `dafka_stored` with an option that asks: its exit code and lines, and what it says.
fn ask(cluster: &Cluster, store: &str, option: &str) -> (i32, Vec<String>, String) {
    let db = cluster.dir().join(store);
    let settings = [("store/db", db.to_str().expect("UTF-8"))];
    let program = cluster.node_with("dafka_stored", &[option], &settings, crate::e2e::Input::Pipe);
    let output = program.wait(option, DEADLINE);
    let lines = output.stdout.into_iter().map(|line| String::from_utf8(line).expect("ASCII")).collect();
    (output.status.code().expect("an exit code"), lines, output.stderr)
}

/// What `--missing` says, once those were asked: a store that is slow for some seconds is not waited for.
fn ask_missing(cluster: &Cluster, store: &str, asked: &str) -> (i32, Vec<String>, String) {
    let start = Instant::now();
    loop {
        let answer = ask(cluster, store, "--missing");
        if answer.2.contains(asked) || start.elapsed() > DEADLINE {
            return answer;
        }
    }
}

/// What `--list` prints of a store that holds this.
fn listed(partitions: &Partitions) -> Vec<String> {
    let line = |((subject, address), records): (&(String, String), &BTreeMap<u64, String>)| {
        format!("{subject}\t{address}\t0\t{}", records.len())
    };
    partitions.iter().map(line).collect()
}

/// Waits until our store holds just this, on disk.
#[track_caller]
fn wait_until_copied(cluster: &Cluster, store: &str, partitions: &Partitions) {
    let start = Instant::now();
    loop {
        let (code, lines, log) = ask(cluster, store, "--list");
        // Before its first start has come that far there is no database.
        if code == 0 && lines == listed(partitions) {
            return;
        }
        assert!(start.elapsed() < DEADLINE, "not copied: exit code {code}, {lines:#?} {log}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Reads everything from our store, alone.
#[track_caller]
fn assert_served(cluster: &Cluster, partitions: &Partitions) {
    let mut subjects: BTreeMap<&str, Vec<Vec<Vec<u8>>>> = BTreeMap::new();
    for ((subject, _), records) in partitions {
        let contents = records.values().map(|content| content.clone().into_bytes()).collect();
        subjects.entry(subject).or_default().push(contents);
    }
    for (subject, expected) in subjects {
        let mut consumer = cluster.consumer(subject);
        let count = expected.iter().map(Vec::len).sum();
        let expected: Vec<&[Vec<u8>]> = expected.iter().map(Vec::as_slice).collect();
        assert_each_partition(subject, &consumer.lines(count, subject), &expected);
        consumer.expect_no_more();
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

#[test]
fn all_is_copied_and_served_after_the_old_store_has_gone() {
    let cluster = Cluster::new();
    let _tower = cluster.tower();
    let partitions = several();
    let old = OldStore::start(&cluster, &partitions, Manners::default());
    let store = cluster.store("new");
    wait_until_copied(&cluster, "new", &partitions);
    drop(old);
    assert_served(&cluster, &partitions);
    // It is on disk.
    store.kill();
    let _store = cluster.store("new");
    assert_served(&cluster, &partitions);
}

#[test]
fn what_is_missing_can_be_seen() {
    let cluster = Cluster::new();
    let _tower = cluster.tower();
    // No database yet.
    let (code, lines, log) = ask(&cluster, "new", "--list");
    assert_eq!((code, lines.len()), (1, 0), "{log}");
    assert!(log.starts_with("dafka_stored: cannot look at the directory"), "{log}");
    assert!(!cluster.dir().join("new").exists(), "to look makes no directory");
    // A store that has met nobody.
    let mut store = cluster.store("new");
    store.wait_until_it_catches_signals();
    wait_until_copied(&cluster, "new", &Partitions::new());
    store.signal(libc::SIGTERM);
    store.expect_success("SIGTERM");
    let (code, _, log) = ask(&cluster, "new", "--missing");
    assert_eq!(code, 1, "{log}");
    assert!(log.contains("no store answers"), "{log}");

    let partitions = several();
    let _old = OldStore::start(&cluster, &partitions, Manners::default());
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
fn who_asks_what_is_missing_before_there_is_a_tower_can_be_interrupted() {
    let mut cluster = Cluster::new();
    let tower = cluster.tower();
    let store = cluster.store("new");
    wait_until_copied(&cluster, "new", &Partitions::new());
    store.kill();
    tower.kill();
    cluster.set("store/db", cluster.dir().join("new").to_str().expect("UTF-8"));
    cluster.set("beacon/connect_timeout", "-1");
    for signal in [libc::SIGTERM, libc::SIGINT] {
        let mut program = cluster.node("dafka_stored", &["--missing"], crate::e2e::Input::Pipe);
        program.wait_until_it_catches_signals();
        program.signal(signal);
        let ended = program.wait("a signal while it waits for a tower", PROMPT);
        assert_eq!(ended.status.code(), Some(1), "{}", ended.stderr);
        assert!(ended.stderr.contains("interrupted before the stores have answered"), "{}", ended.stderr);
    }
}

/// Who asks may stop the old store when the exit code is 0: it must not be when the answer is not known.
#[test]
fn what_is_not_known_counts_as_missing() {
    let mut cluster = Cluster::new();
    let _tower = cluster.tower();
    let partitions = several();
    let old = OldStore::start(&cluster, &partitions, Manners::default());
    let _store = cluster.store("new");
    wait_until_copied(&cluster, "new", &partitions);

    // Exactly that: whose answer never comes. It is waited for, so that there is time for a signal.
    let mute = OldStore::start(&cluster, &partitions, Manners { is_mute: true, ..Manners::default() });
    cluster.set("store/db", cluster.dir().join("new").to_str().expect("UTF-8"));
    for signal in [libc::SIGTERM, libc::SIGINT] {
        let mut program = cluster.node("dafka_stored", &["--verbose", "--missing"], crate::e2e::Input::Pipe);
        program.wait_for_log("CONNECT");
        program.signal(signal);
        let ended = program.wait("a signal while it asks", PROMPT);
        assert_eq!(ended.status.code(), Some(1), "{}", ended.stderr);
        assert!(ended.stderr.contains("interrupted before the stores have answered"), "{}", ended.stderr);
    }
    let (code, lines, log) = ask_missing(&cluster, "new", "stores asked: 3, partitions there: 9");
    assert_eq!((code, lines.len()), (1, 0), "{log}");
    assert!(log.contains("not known whether something is missing"), "{log}");
    assert!(log.contains("1 of them said nothing"), "{log}");
    drop(mute);

    cluster.set("store/max_partitions", "5");
    let (code, lines, log) = ask_missing(&cluster, "new", "partitions there: 5; only");
    assert_eq!((code, lines.len()), (1, 0), "{log}");
    assert!(log.contains("not known whether something is missing"), "{log}");
    assert!(log.contains("only store/max_partitions = 5 were looked at"), "{log}");
    drop(old);
}

#[test]
fn what_is_missing_can_be_interrupted_while_nobody_reads_it() {
    let mut cluster = Cluster::new();
    let _tower = cluster.tower();
    cluster.set("store/db", cluster.dir().join("new").to_str().expect("UTF-8"));
    let mut store = cluster.store("new");
    store.wait_until_it_catches_signals();
    wait_until_copied(&cluster, "new", &Partitions::new());
    store.signal(libc::SIGTERM);
    store.expect_success("SIGTERM");

    let mut partitions = Partitions::new();
    for i in 0..40 {
        add(&mut partitions, &format!("{i:0250}"), 0..1);
    }
    let _old = OldStore::start(&cluster, &partitions, Manners::default());
    let mut program = cluster.node("dafka_stored", &["--missing"], crate::e2e::Input::Pipe);
    let output = program.take_output();
    // Less than there is to print.
    // SAFETY: F_SETPIPE_SZ takes one number.
    let size = unsafe { libc::fcntl(output.as_raw_fd(), libc::F_SETPIPE_SZ, 4_096) };
    assert_eq!(size, 4_096, "F_SETPIPE_SZ: {}", std::io::Error::last_os_error());
    let mut item = libc::pollfd { fd: output.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    // SAFETY: one item is all there is.
    let count = unsafe { libc::poll(&raw mut item, 1, DEADLINE.as_millis() as i32) };
    assert_eq!(count, 1, "it begins to print");
    program.signal(libc::SIGTERM);
    let ended = program.wait("SIGTERM while it prints", PROMPT);
    assert_eq!(ended.status.signal(), Some(libc::SIGTERM), "{}", ended.stderr);
    drop(output);
}

#[test]
fn an_old_store_that_is_slow_and_repeats_itself() {
    let cluster = Cluster::new();
    let _tower = cluster.tower();
    let mut partitions = Partitions::new();
    for subject in ["one", "two"] {
        add(&mut partitions, subject, 0..400);
    }
    let manners = Manners { pause: Duration::from_millis(2), says_it_twice: true, ..Manners::default() };
    let old = OldStore::start(&cluster, &partitions, manners);
    let _store = cluster.store("new");
    wait_until_copied(&cluster, "new", &partitions);
    drop(old);
    assert_served(&cluster, &partitions);
}

#[test]
fn two_old_stores_at_once() {
    let cluster = Cluster::new();
    let _tower = cluster.tower();
    let both = several();
    let (mut first, mut second) = (both.clone(), both.clone());
    add(&mut first, "hello", 0..700);
    add(&mut second, "hello", 0..900);
    add(&mut second, "only here", 0..10);
    let all: Partitions = first.clone().into_iter().chain(second.clone()).collect();
    let old = [first, second].map(|held| OldStore::start(&cluster, &held, Manners::default()));
    let _store = cluster.store("new");
    wait_until_copied(&cluster, "new", &all);
    drop(old);
    assert_served(&cluster, &all);
}

#[test]
fn an_old_store_that_dies_in_the_middle_and_comes_back() {
    let cluster = Cluster::new();
    let _tower = cluster.tower();
    let mut partitions = Partitions::new();
    for _ in 0..3 {
        add(&mut partitions, "broken", 0..4_000);
    }
    let _store = cluster.store("new");
    for dies_after in [1_000, 2_500] {
        let manners = Manners { dies_after: Some(dies_after), ..Manners::default() };
        OldStore::start(&cluster, &partitions, manners).wait();
    }
    // What it has taken over by now it has; the rest it gets from the third life.
    let (code, lines, log) = ask(&cluster, "new", "--list");
    assert_eq!(code, 0, "{log}");
    assert_ne!(lines, listed(&partitions), "it has died too late for this test");
    let old = OldStore::start(&cluster, &partitions, Manners::default());
    wait_until_copied(&cluster, "new", &partitions);
    drop(old);
    assert_served(&cluster, &partitions);
}

#[test]
fn old_stores_that_hold_a_part_each() {
    let cluster = Cluster::new();
    let _tower = cluster.tower();
    let mut whole = Partitions::new();
    let address = add(&mut whole, "parts", 0..900);
    let mut beginning = Partitions::new();
    add_to(&mut beginning, "parts", &address, 0..350);
    // This one was there only later. It answers with what it has, from wherever that begins.
    let mut end = Partitions::new();
    add_to(&mut end, "parts", &address, 300..900);
    // And of this one nobody has the beginning: it does not hold up the others.
    let headless = add(&mut end, "headless", 5..20);
    let _store = cluster.store("new");
    let old = [beginning, end].map(|held| OldStore::start(&cluster, &held, Manners::default()));
    wait_until_copied(&cluster, "new", &whole);
    let (code, lines, log) = ask_missing(&cluster, "new", "partitions there: 2");
    assert_eq!((code, lines), (1, vec![format!("headless\t{headless}\t0\t20")]), "{log}");
    drop(old);
    assert_served(&cluster, &whole);
}

#[test]
fn what_is_missing_is_told_while_a_producer_is_at_work() {
    let cluster = Cluster::new();
    let _tower = cluster.tower();
    let _store = cluster.store("store");
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
    work.join().expect("it goes on");
    // The records of the moment may be missing: then it says so.
    assert!(code == 0 && lines.is_empty() || code == 1 && lines.len() == 1, "{code}: {lines:?}: {stderr}");
}

#[test]
fn what_is_there_can_be_listed_at_any_moment_of_a_store_at_work() {
    let cluster = Cluster::new();
    let _tower = cluster.tower();
    let _store = cluster.store("store");
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
        producer.expect_success("the end of its input, with a store present");
    }
}
