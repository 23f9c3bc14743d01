//! Ends the actors of a process that ends without destroying them: a program may return from `main`, or call `exit`,
//! while actors run.
//!
//! At the end of the process, CZMQ closes every socket (zsys_shutdown, registered with atexit), even while a thread
//! uses the socket. libzmq frees a socket even while a thread waits at it, and CZMQ aborts the process when one of its
//! functions gets a closed socket. So this library also registers a function with atexit. It is registered after CZMQ's
//! function, and so runs before that one. It ends the actors in the same way as the end of libzmq's context does:
//! [`poll`](crate::net::poll) fails with ETERM. Then it waits until the threads of the actors are gone.
//!
//! If a thread does not end within `LIMIT`, for example because a disk does not respond, the process ends without it.
//! This thread is parked for ever before it next uses a socket.

use super::fork::{GENERATIONS, PerProcess};
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::process::RawPid;
use rustix::thread::gettid;
use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU8, Ordering};
use std::sync::{Arc, Mutex, Once, Weak};
use std::time::{Duration, Instant};

/// At the end of the process, actors process received messages for this time, as in CZMQ (zsys_shutdown). An actor ends
/// earlier when it has no message left.
const DRAIN: Duration = Duration::from_millis(200);
/// How long the end of the process waits for actors, which may be writing to a disk.
const LIMIT: Duration = Duration::from_secs(5);
/// How long a thread of the application is held while the process ends.
const APPLICATION_LIMIT: Duration = Duration::from_secs(10);
/// While the process ends, a helper thread of an actor checks this often whether it must stop.
pub const TICK_MS: i64 = 10;
/// How often the end of the process checks whether the actors have ended.
const CHECK_INTERVAL: Duration = Duration::from_millis(1);

const RUNNING: u8 = 0;
/// The actors are ending.
const ENDING: u8 = 1;
/// CZMQ has shut down, or is about to.
const CLOSED: u8 = 2;

static STATE: AtomicU8 = AtomicU8::new(RUNNING);
/// True if actors have not ended within [`LIMIT`]. Then only the thread that ends the process may still use a socket.
static IS_ABANDONED: AtomicBool = AtomicBool::new(false);
/// The thread that ends the process.
static EXITING_THREAD: AtomicI32 = AtomicI32::new(0);

/// The actors of a process.
struct Actors {
    /// The threads that run them.
    threads: BTreeSet<RawPid>,
    /// Becomes readable when the process ends. Threads of actors keep it open.
    descriptor: Weak<OwnedFd>,
    began: Option<Instant>,
}

impl Actors {
    const fn new() -> Actors {
        Actors { threads: BTreeSet::new(), descriptor: Weak::new(), began: None }
    }

    /// The eventfd, which is made if there is none. `None` when the process can open no more files; then waits are
    /// short.
    fn descriptor(&mut self) -> Option<Arc<OwnedFd>> {
        self.descriptor.upgrade().or_else(|| {
            let descriptor = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).ok()?);
            self.descriptor = Arc::downgrade(&descriptor);
            Some(descriptor)
        })
    }
}

static ACTORS: PerProcess<Actors> = PerProcess::new([const { Mutex::new(Actors::new()) }; GENERATIONS]);

/// What a thread does while the process ends.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// A thread of the application. It is held, unless it is the thread that ends the process.
    Application,
    /// Runs an actor that the application has started. It ends.
    Actor,
    /// Runs a part of an actor. It continues until the actor ends it.
    Helper,
}

thread_local! {
    static ROLE: Cell<Role> = const { Cell::new(Role::Application) };
    static DESCRIPTOR: RefCell<Option<Arc<OwnedFd>>> = const { RefCell::new(None) };
}

/// The role of this thread.
pub fn role() -> Role {
    ROLE.get()
}

/// A descriptor that becomes readable when the process ends. `None` when there is none; then the wait must be short.
pub fn descriptor() -> Option<RawFd> {
    DESCRIPTOR.with_borrow(|descriptor| descriptor.as_ref().map(AsRawFd::as_raw_fd))
}

/// While this object lives, the thread runs an actor that the application has started.
pub struct Running(());

impl Running {
    /// Does not return when the process has already ended its actors: CZMQ may have closed this actor's pipe.
    pub fn begin() -> Running {
        let mut actors = ACTORS.lock();
        if is_closed() && !is_exiting_thread() {
            drop(actors);
            park();
        }
        actors.threads.insert(thread());
        ROLE.set(Role::Actor);
        DESCRIPTOR.set(actors.descriptor());
        Running(())
    }

    /// Parks the thread for ever. Call this for an actor whose pipe was closed because the program has called
    /// zsys_shutdown. If the actor returned, CZMQ would use the closed pipe. The end of the process does not wait for
    /// this thread.
    pub fn stop(self) -> ! {
        ACTORS.lock().threads.remove(&thread());
        park();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // While the process ends, the thread stays in the list, and the process waits for its end: CZMQ closes the
        // actor's pipe only after the thread has ended.
        if !is_ending() {
            ACTORS.lock().threads.remove(&thread());
            ROLE.set(Role::Application);
            DESCRIPTOR.take();
        }
    }
}

/// Declares that this thread runs a part of an actor, until the thread ends.
pub fn help() {
    ROLE.set(Role::Helper);
    DESCRIPTOR.set(ACTORS.lock().descriptor());
}

/// True once the process has begun to end.
pub fn is_ending() -> bool {
    STATE.load(Ordering::Acquire) != RUNNING
}

/// True in the thread of an actor once the process has begun to end. The polls of this thread then fail.
pub fn is_ended_here() -> bool {
    is_ending() && role() == Role::Actor
}

/// True once CZMQ has shut down at the end of the process, or is about to. A thread that logged through CZMQ would
/// initialize it again, which aborts the process while sockets are open (4.2.1, zsys.c: `!s_process_ctx`).
pub fn is_closed() -> bool {
    STATE.load(Ordering::Acquire) == CLOSED
}

/// True while actors may process received messages.
pub fn is_draining() -> bool {
    ACTORS.lock().began.is_none_or(|began| began.elapsed() < DRAIN)
}

/// Call this before using a socket. It does not return when CZMQ may have closed the socket at the end of the process.
pub fn park_if_abandoned() {
    if IS_ABANDONED.load(Ordering::Acquire) {
        park_unless_exiting();
    }
}

/// Call this where a function waits or fails in a thread of the application. While the process ends, the thread is held
/// here. The event for which it waits will not happen, and a program may abort when the function fails. The hold is
/// limited, because the thread that ends the process may wait for this one.
pub fn hold_application() {
    if is_ending() && role() == Role::Application && !is_exiting_thread() {
        std::thread::sleep(APPLICATION_LIMIT);
    }
}

#[cold]
fn park_unless_exiting() {
    if !is_exiting_thread() {
        park();
    }
}

fn park() -> ! {
    loop {
        std::thread::park();
    }
}

fn is_exiting_thread() -> bool {
    thread() == EXITING_THREAD.load(Ordering::Acquire)
}

fn thread() -> RawPid {
    gettid().as_raw_pid()
}

/// Registers the function that runs at the end of the process, after CZMQ has registered its own. Later calls are
/// cheap.
pub fn install() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        super::init();
        // SAFETY: `end` may be called at any time. If memory is short, `end` is not registered, and nothing else
        // happens.
        unsafe { libc::atexit(end) };
    });
}

/// Ends the actors of this process.
extern "C" fn end() {
    EXITING_THREAD.store(thread(), Ordering::Release);
    let began = Instant::now();
    {
        let mut actors = ACTORS.lock();
        actors.began = Some(began);
        STATE.store(ENDING, Ordering::Release);
        if let Some(descriptor) = actors.descriptor.upgrade() {
            let _ = rustix::io::write(descriptor, &1_u64.to_ne_bytes());
        }
    }
    while !try_close(began.elapsed() > LIMIT) {
        std::thread::sleep(CHECK_INTERVAL);
    }
}

/// Sets the state to CLOSED if no other thread runs an actor, or if `is_late`. Returns whether the state is CLOSED. An
/// actor that begins later is parked.
fn try_close(is_late: bool) -> bool {
    let own = thread();
    let mut actors = ACTORS.lock();
    // SAFETY: for signal 0, the call sends nothing. It only checks whether this process has such a thread.
    actors
        .threads
        .retain(|&id| id != own && unsafe { libc::syscall(libc::SYS_tgkill, libc::getpid(), id, 0) } == 0);
    let left = actors.threads.len();
    if left == 0 || is_late {
        IS_ABANDONED.store(left > 0, Ordering::Release);
        STATE.store(CLOSED, Ordering::Release);
    }
    drop(actors);
    if left > 0 && is_late {
        let limit_s = LIMIT.as_secs();
        write_to_stderr(&format!(
            "E: nodes that have not ended within {limit_s} s: {left}; the process ends without them\n"
        ));
        // Wait until helper threads that wait at sockets have noticed that the state has changed.
        std::thread::sleep(Duration::from_millis(4 * TICK_MS as u64));
    }
    is_closed()
}

/// Writes a line to standard error, if that is possible without waiting. Perhaps nothing reads standard error: actors
/// may be late because they wait to write to the log.
fn write_to_stderr(line: &str) {
    let stderr = std::io::stderr();
    let mut items = [PollFd::new(&stderr, PollFlags::OUT)];
    if poll(&mut items, Some(&Timespec::default())) == Ok(1) {
        let _ = rustix::io::write(&stderr, line.as_bytes());
    }
}
