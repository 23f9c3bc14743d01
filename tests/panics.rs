//! A panic inside an actor or an entry point: the process continues, the object returns errors, zactor_destroy returns.
//!
//! The library does not panic on purpose. It calls the logger of the process from every actor and entry point, and here
//! that logger panics.

use dafka::capi::*;
use dafka::czmq::{
    Config,
    sys::{self, zactor_fn, zactor_t},
};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::ffi::{CStr, c_void};
use std::ptr::null_mut;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long to wait before a test fails.
const LIMIT: Duration = Duration::from_secs(60);

/// A logger that panics at the first line that contains the text of the trap, and that keeps the error lines.
struct Logger {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    trap: Option<String>,
    /// Panics at each line, also at the one that reports a panic.
    is_broken: bool,
    errors: Vec<String>,
}

static LOGGER: Logger = Logger {
    state: Mutex::new(State { trap: None, is_broken: false, errors: Vec::new() }),
    changed: Condvar::new(),
};

impl Logger {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl log::Log for Logger {
    fn enabled(&self, _: &log::Metadata) -> bool {
        true
    }

    fn log(&self, record: &log::Record) {
        let line = record.args().to_string();
        let mut state = self.state();
        if state.trap.as_ref().is_some_and(|trap| line.contains(trap)) {
            state.trap = None;
            state.errors.push(format!("trapped: {line}"));
            drop(state);
            self.changed.notify_all();
            panic!("the trap snapped");
        }
        if record.level() == log::Level::Error {
            state.errors.push(line);
            self.changed.notify_all();
        }
        if state.is_broken {
            drop(state);
            panic!("a broken logger");
        }
    }

    fn flush(&self) {}
}

/// Lets one test run at a time, because all tests of the process share the logger.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    let guard = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let _ = log::set_logger(&LOGGER);
    log::set_max_level(log::LevelFilter::Debug);
    *LOGGER.state() = State { trap: None, is_broken: false, errors: Vec::new() };
    guard
}

fn set_trap(text: &str) {
    LOGGER.state().trap = Some(text.to_owned());
}

/// Waits until an error line contains `text`.
#[track_caller]
fn expect_error(text: &str) {
    let due = Instant::now() + LIMIT;
    let mut state = LOGGER.state();
    while !state.errors.iter().any(|line| line.contains(text)) {
        let left = due.saturating_duration_since(Instant::now());
        assert!(left > Duration::ZERO, "no line with {text:?} in {:?}", state.errors);
        state = LOGGER.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
    }
}

/// A configuration without a running tower, with all debug lines.
fn config(directory: &std::path::Path) -> Config {
    let mut config = Config::new();
    for side in ["sub", "pub"] {
        let endpoint = format!("inproc://panics-{side}-{}", directory.display());
        config.put(&format!("tower/{side}_address"), &endpoint);
        config.put(&format!("beacon/{side}_address"), &endpoint);
    }
    config.put("beacon/connect_timeout", "0");
    config.put("beacon/address", "127.0.0.1");
    config.put("store/db", &directory.join("store").to_string_lossy());
    for class in ["tower", "beacon", "producer", "consumer", "store"] {
        config.put(&format!("{class}/verbose"), "1");
    }
    config
}

fn setup() -> (MutexGuard<'static, ()>, Config, tempfile::TempDir) {
    let (guard, directory) = (alone(), tempfile::tempdir().unwrap());
    let config = config(directory.path());
    (guard, config, directory)
}

unsafe extern "C" {
    fn zstr_send(dest: *mut c_void, string: *const std::ffi::c_char) -> i32;
}

/// Starts an actor and makes it panic while it handles an unknown command.
unsafe fn panicked(function: zactor_fn, args: *mut c_void) -> *mut zactor_t {
    // SAFETY: the arguments are what the actor takes; the actor lives until its test destroys it.
    unsafe {
        let actor = sys::zactor_new(function, args);
        assert!(!actor.is_null());
        set_trap("unknown command");
        assert_eq!(zstr_send(actor.cast(), c"NO-COMMAND".as_ptr()), 0);
        expect_error("internal error: the trap snapped");
        actor
    }
}

/// zactor_destroy returns, and leaves NULL.
fn destroy(mut actor: *mut zactor_t) {
    // SAFETY: live, destroyed once.
    unsafe { sys::zactor_destroy(&mut actor) };
    assert!(actor.is_null());
}

#[test]
fn towers_stores_and_beacons_can_be_destroyed_after_a_panic() {
    let (_alone, config, _directory) = setup();
    let mut beacon_args = dafka_beacon_args_t { log_prefix: c"Test".as_ptr(), config: config.as_c() };
    let actors: [(zactor_fn, *mut c_void); 3] = [
        (dafka_tower_actor, config.as_c().cast()),
        (dafka_store_actor, config.as_c().cast()),
        (dafka_beacon_actor, (&raw mut beacon_args).cast()),
    ];
    for (function, args) in actors {
        LOGGER.state().errors.clear();
        // SAFETY: the arguments are what each actor takes.
        destroy(unsafe { panicked(function, args) });
    }
    // A call does not wait for a beacon that has ended.
    LOGGER.state().errors.clear();
    // SAFETY: as above.
    unsafe {
        let beacon = panicked(dafka_beacon_actor, (&raw mut beacon_args).cast());
        let mut sub = sys::zsock_new_checked(zmq::SUB as i32, std::ptr::null(), 0);
        for _ in 0..2 {
            dafka_beacon_recv(beacon, sub, true, c"Test".as_ptr());
            expect_error("dafka_beacon_recv: the beacon has ended");
        }
        destroy(beacon);
        sys::zsock_destroy(&mut sub);
    }
    // The store's directory is free again.
    // SAFETY: as above.
    let store = unsafe { sys::zactor_new(dafka_store_actor, config.as_c().cast()) };
    destroy(store);
    assert!(!LOGGER.state().errors.iter().any(|line| line.contains("another process")));
}

#[test]
fn a_producer_returns_errors_after_a_panic() {
    let (_alone, config, _directory) = setup();
    let mut args = dafka_producer_args_t { topic: c"topic".as_ptr(), config: config.as_c() };
    // SAFETY: actor, message and arguments are live.
    unsafe {
        let producer = panicked(dafka_producer, (&raw mut args).cast());
        let mut msg = dafka_producer_msg_new();
        assert_eq!(dafka_producer_msg_set_content_str(msg, c"content".as_ptr()), 0);
        assert_eq!(dafka_producer_msg_send(msg, producer), -1);
        assert!(dafka_producer_address(producer).is_null());
        dafka_producer_msg_destroy(&mut msg);
        destroy(producer);
    }
}

#[test]
fn a_publisher_returns_errors_after_a_panic() {
    let (_alone, config, _directory) = setup();
    let mut args = dafka_publisher_args_t { topic: c"topic".as_ptr(), config: config.as_c() };
    // SAFETY: actor, frame and arguments are live.
    unsafe {
        let publisher = panicked(dafka_publisher_actor, (&raw mut args).cast());
        let mut frame = sys::zframe_new(b"content".as_ptr().cast(), 7);
        assert_eq!(dafka_publisher_publish(publisher, &mut frame), -1);
        assert!(frame.is_null());
        assert!(dafka_publisher_address(publisher).is_null());
        destroy(publisher);
    }
}

#[test]
fn a_subscriber_returns_errors_after_a_panic() {
    let (_alone, config, _directory) = setup();
    // SAFETY: actor and configuration are live.
    unsafe {
        let subscriber = panicked(dafka_subscriber_actor, config.as_c().cast());
        assert_eq!(dafka_subscriber_subscribe(subscriber, c"topic".as_ptr()), -1);
        destroy(subscriber);
    }
}

#[test]
fn a_consumer_returns_errors_after_a_panic() {
    let (_alone, config, _directory) = setup();
    let mut args = dafka_consumer_args_t { config: config.as_c(), record_sink: null_mut() };
    // SAFETY: consumer, message and arguments are live.
    unsafe {
        let mut consumer = dafka_consumer_new(&mut args);
        assert!(!consumer.is_null());
        set_trap("subscribes to topic");
        assert_eq!(dafka_consumer_subscribe(consumer, c"topic".as_ptr()), 0);
        expect_error("internal error: the trap snapped");
        let mut msg = dafka_consumer_msg_new();
        assert_eq!(dafka_consumer_msg_recv(msg, consumer), -1);
        assert_eq!(dafka_consumer_subscribe(consumer, c"another".as_ptr()), -1);
        assert_eq!(dafka_consumer_unsubscribe(consumer, c"topic".as_ptr()), -1);
        assert_eq!(CStr::from_ptr(dafka_consumer_address(consumer)).to_bytes().len(), 32);
        dafka_consumer_msg_destroy(&mut msg);
        dafka_consumer_destroy(&mut consumer);
        assert!(consumer.is_null());
    }
}

/// A tower that nodes of the same configuration find.
fn tower(config: &Config) -> *mut zactor_t {
    // SAFETY: the configuration is live.
    let tower = unsafe { sys::zactor_new(dafka_tower_actor, config.as_c().cast()) };
    assert!(!tower.is_null());
    tower
}

/// A configuration for tests in which nodes find each other.
fn network(directory: &std::path::Path) -> Config {
    let mut config = config(directory);
    config.put("beacon/connect_timeout", "60000");
    config.put("producer/terminate_unacked", "1");
    config.put("producer/head_interval", "100");
    config
}

/// Nodes with the same towers share the thread of their beacon. When that thread panics, peers cannot find these nodes
/// any more, so these nodes end.
#[test]
fn nodes_end_after_a_panic_of_their_beacon() {
    let _alone = alone();
    let nodes = ["Producer", "Publisher", "Subscriber", "Consumer", "Store Writer", "Store Reader"];
    for node in nodes {
        let directory = tempfile::tempdir().unwrap();
        let config = network(directory.path());
        let tower = tower(&config);
        let mut args = dafka_producer_args_t { topic: c"topic".as_ptr(), config: config.as_c() };
        let mut publisher_args = dafka_publisher_args_t { topic: c"topic".as_ptr(), config: config.as_c() };
        let mut consumer_args = dafka_consumer_args_t { config: config.as_c(), record_sink: null_mut() };
        LOGGER.state().errors.clear();
        set_trap(&match node {
            "Publisher" => "Producer: CONNECT".to_owned(),
            "Subscriber" => "Consumer: CONNECT".to_owned(),
            node => format!("{node}: CONNECT"),
        });
        // SAFETY: actors, consumers, messages and arguments are live as long as they are used.
        unsafe {
            let start = |function: zactor_fn, args: *mut c_void| sys::zactor_new(function, args);
            let (mut consumer, mut actor) = (null_mut(), null_mut());
            match node {
                "Producer" => actor = start(dafka_producer, (&raw mut args).cast()),
                "Publisher" => actor = start(dafka_publisher_actor, (&raw mut publisher_args).cast()),
                "Subscriber" => actor = start(dafka_subscriber_actor, config.as_c().cast()),
                "Consumer" => consumer = dafka_consumer_new(&mut consumer_args),
                _ => actor = start(dafka_store_actor, config.as_c().cast()),
            }
            // A peer to which the node connects: a producer for nodes that receive records, a subscriber for the others.
            let peer = match node {
                "Producer" | "Publisher" | "Store Reader" => {
                    start(dafka_subscriber_actor, config.as_c().cast())
                }
                _ => start(dafka_producer, (&raw mut args).cast()),
            };
            expect_error("dafka-beacon: internal error: the trap snapped");
            expect_error("node's beacon has ended");
            let mut msg = dafka_consumer_msg_new();
            let mut sent = dafka_producer_msg_new();
            // The node ends soon after it has logged that.
            let due = Instant::now() + LIMIT;
            let has_ended = || match node {
                "Producer" => {
                    assert_eq!(dafka_producer_msg_set_content_str(sent, c"content".as_ptr()), 0);
                    dafka_producer_msg_send(sent, actor) == -1
                }
                "Publisher" => {
                    let mut frame = sys::zframe_new(b"content".as_ptr().cast(), 7);
                    dafka_publisher_publish(actor, &mut frame) == -1
                }
                "Subscriber" => dafka_subscriber_subscribe(actor, c"topic".as_ptr()) == -1,
                "Consumer" => dafka_consumer_msg_recv(msg, consumer) == -1,
                _ => LOGGER.state().errors.iter().any(|line| line.starts_with("Store: store's ")),
            };
            while !has_ended() {
                assert!(Instant::now() < due, "{node}: it has not ended");
            }
            if node == "Consumer" {
                assert_eq!(dafka_consumer_subscribe(consumer, c"topic".as_ptr()), -1);
            }
            dafka_consumer_msg_destroy(&mut msg);
            dafka_producer_msg_destroy(&mut sent);
            dafka_consumer_destroy(&mut consumer);
            if !actor.is_null() {
                destroy(actor);
            }
            destroy(peer);
        }
        destroy(tower);
    }
}

/// Limits the length of the files that this process writes, until the value is dropped.
struct FileLimit(Rlimit);

impl FileLimit {
    fn new(len_bytes: u64) -> FileLimit {
        // SAFETY: a plain system call. The signal would end the process, and the test needs the error.
        unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_IGN) };
        let before = getrlimit(Resource::Fsize);
        setrlimit(Resource::Fsize, Rlimit { current: Some(len_bytes), ..before }).expect("a limit");
        FileLimit(before)
    }
}

impl Drop for FileLimit {
    fn drop(&mut self) {
        setrlimit(Resource::Fsize, self.0).expect("a limit");
    }
}

/// Runs in another process, because the limit applies to all files that a process writes. The output of that process is
/// a pipe, to which the limit does not apply.
#[test]
fn a_store_ends_after_a_panic_in_one_of_its_threads() {
    let _alone = alone();
    let mut command = std::process::Command::new(std::env::current_exe().expect("known"));
    command.args(["--exact", "child_panics_in_the_threads_of_a_store", "--ignored", "--nocapture"]);
    let output = command.output().expect("runs");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}\n{stderr}", String::from_utf8_lossy(&output.stdout));
    for thread in ["dafka-commit", "dafka-writer"] {
        assert!(stderr.contains(&format!("thread '{thread}'")), "{stderr}");
    }
}

/// First the thread that writes to the disk panics while the disk fails. Then, in another store, the writer panics when
/// it ends.
#[test]
#[ignore = "runs in a process of its own, started by another test"]
fn child_panics_in_the_threads_of_a_store() {
    let _alone = alone();
    for (trap, thread) in [
        ("nothing is acknowledged until a retry succeeds", "dafka-commit"),
        ("Store: the writer ends", "dafka-writer"),
    ] {
        let directory = tempfile::tempdir().unwrap();
        let config = network(directory.path());
        let tower = tower(&config);
        let mut args = dafka_producer_args_t { topic: c"topic".as_ptr(), config: config.as_c() };
        LOGGER.state().errors.clear();
        set_trap(trap);
        // SAFETY: actors, message and arguments are live as long as they are used.
        unsafe {
            let store = sys::zactor_new(dafka_store_actor, config.as_c().cast());
            let producer = sys::zactor_new(dafka_producer, (&raw mut args).cast());
            if thread == "dafka-commit" {
                let _limit = FileLimit::new(64 << 10);
                let mut msg = dafka_producer_msg_new();
                assert_eq!(dafka_producer_msg_init_content(msg, 1 << 20), 0);
                assert_eq!(dafka_producer_msg_send(msg, producer), 0);
                dafka_producer_msg_destroy(&mut msg);
                expect_error("dafka-commit: internal error: the trap snapped");
                expect_error("dafka-writer: store's committer has ended");
                expect_error("Store: store's writer has ended");
            }
            destroy(store);
            expect_error(&format!("{thread}: internal error: the trap snapped"));
            destroy(producer);
            // The directory is free again, and a store can start with it.
            LOGGER.state().errors.clear();
            destroy(sys::zactor_new(dafka_store_actor, config.as_c().cast()));
            assert_eq!(LOGGER.state().errors, Vec::<String>::new());
        }
        destroy(tower);
    }
}

/// A panic before an actor is ready: zactor_new and dafka_consumer_new must still return.
#[test]
fn actors_that_panic_at_their_start_can_be_destroyed() {
    let (_alone, mut config, _directory) = setup();
    config.put("beacon/interval", "TRAP");
    let mut producer_args = dafka_producer_args_t { topic: c"topic".as_ptr(), config: config.as_c() };
    let mut publisher_args = dafka_publisher_args_t { topic: c"topic".as_ptr(), config: config.as_c() };
    let mut beacon_args = dafka_beacon_args_t { log_prefix: c"Test".as_ptr(), config: config.as_c() };
    let actors: [(zactor_fn, *mut c_void); 6] = [
        (dafka_tower_actor, config.as_c().cast()),
        (dafka_store_actor, config.as_c().cast()),
        (dafka_beacon_actor, (&raw mut beacon_args).cast()),
        (dafka_producer, (&raw mut producer_args).cast()),
        (dafka_publisher_actor, (&raw mut publisher_args).cast()),
        (dafka_subscriber_actor, config.as_c().cast()),
    ];
    for (function, args) in actors {
        LOGGER.state().errors.clear();
        set_trap("TRAP");
        // SAFETY: the arguments are what each actor takes.
        let actor = unsafe { sys::zactor_new(function, args) };
        expect_error("internal error: the trap snapped");
        destroy(actor);
    }
}

#[test]
fn a_panic_in_an_entry_point_is_an_error() {
    let (_alone, mut config, _directory) = setup();
    config.put("consumer/offset/reset", "TRAP");
    let mut args = dafka_consumer_args_t { config: config.as_c(), record_sink: null_mut() };
    set_trap("TRAP");
    // SAFETY: the arguments are live.
    assert!(unsafe { dafka_consumer_new(&mut args) }.is_null());
    expect_error("dafka_consumer_new: internal error: the trap snapped");
    // The same call works again.
    // SAFETY: as above.
    unsafe {
        let mut consumer = dafka_consumer_new(&mut args);
        assert!(!consumer.is_null());
        dafka_consumer_destroy(&mut consumer);
    }
}

/// A logger that panics even at the line that reports a panic.
#[test]
fn a_logger_that_always_panics_is_contained() {
    let (_alone, config, _directory) = setup();
    LOGGER.state().is_broken = true;
    // SAFETY: NULL is allowed; the configuration is live.
    unsafe {
        assert_eq!(dafka_producer_msg_send(null_mut(), null_mut()), -1);
        assert!(dafka_consumer_address(null_mut()).is_null());
        destroy(sys::zactor_new(dafka_tower_actor, config.as_c().cast()));
        dafka_tower_actor(null_mut(), null_mut());
    }
    expect_error("dafka_consumer_address: the consumer is NULL");
    LOGGER.state().is_broken = false;
}
