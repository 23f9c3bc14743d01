//! The end of a process that has not destroyed its actors, as programs may: they leave `main`, or call `exit`.
//!
//! CZMQ then closes every socket (zsys_shutdown, registered with atexit) beneath the thread that uses it. libzmq frees a
//! socket although a thread waits at it, and CZMQ aborts the process when it uses a closed one. So this library registers
//! a function of its own, after CZMQ's: that one is called first. It has the actors end as if libzmq's context had ended
//! ([`poll`](crate::net::poll) fails with ETERM), and waits until their threads are gone.
//!
//! A thread that does not end in time, because a disk does not answer, stops for good where it would use a socket next.

use super::fork::{GENERATIONS, PerProcess};
use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU8, Ordering};
use std::sync::{Arc, Mutex, Once, Weak};
use std::time::{Duration, Instant};

/// Actors handle what they have received for so long, as CZMQ lets them (zsys_shutdown), and end sooner when there is
/// nothing more.
const DRAIN: Duration = Duration::from_millis(200);
/// How long the end of the process waits for actors that write to a disk.
const LIMIT: Duration = Duration::from_secs(5);
/// How long a thread of the application is held up.
const APPLICATION_LIMIT: Duration = Duration::from_secs(10);
/// How often a thread that helps an actor looks whether it must stop, while the process ends.
pub const TICK_MS: i64 = 10;
/// How often the end of the process looks whether the actors have ended.
const CHECK_INTERVAL: Duration = Duration::from_millis(1);

const RUNNING: u8 = 0;
/// The actors end.
const ENDING: u8 = 1;
/// CZMQ is shut down, or about to be.
const CLOSED: u8 = 2;

static STATE: AtomicU8 = AtomicU8::new(RUNNING);
/// Actors have not ended in time: no thread but the one that ends the process may use a socket.
static IS_STOPPED: AtomicBool = AtomicBool::new(false);
/// The thread that ends the process.
static EXITING_THREAD: AtomicI32 = AtomicI32::new(0);

/// What a process knows of its actors.
struct Actors {
    /// The threads that run them.
    threads: BTreeSet<libc::pid_t>,
    /// Becomes readable when the process ends. It is open for as long as there are actors.
    descriptor: Weak<OwnedFd>,
    began: Option<Instant>,
}

impl Actors {
    const fn new() -> Actors {
        Actors { threads: BTreeSet::new(), descriptor: Weak::new(), began: None }
    }

    /// An eventfd; `None` without files: then waits are short.
    fn descriptor(&mut self) -> Option<Arc<OwnedFd>> {
        self.descriptor.upgrade().or_else(|| {
            // SAFETY: a system call without pointers.
            let raw = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
            // SAFETY: the file is open, and nobody else's.
            let descriptor = (raw >= 0).then(|| Arc::new(unsafe { OwnedFd::from_raw_fd(raw) }))?;
            self.descriptor = Arc::downgrade(&descriptor);
            Some(descriptor)
        })
    }
}

static ACTORS: PerProcess<Actors> = PerProcess::new([const { Mutex::new(Actors::new()) }; GENERATIONS]);

/// What a thread does while the process ends.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// One of the application's: it waits, except the one that ends the process.
    Application,
    /// Runs an actor that the application has started: it ends.
    Actor,
    /// Runs a part of an actor: it goes on until the actor ends it.
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

/// What becomes readable when the process ends. `None` when there is nothing: the wait must be short.
pub fn descriptor() -> Option<RawFd> {
    DESCRIPTOR.with_borrow(|descriptor| descriptor.as_ref().map(AsRawFd::as_raw_fd))
}

/// Declares that this thread runs an actor that the application has started, for as long as the result lives.
pub struct Running(());

impl Running {
    /// Begins. Does not return when the process has ended its actors already: CZMQ may have closed this one's pipe.
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

    /// Does not return: the program has called zsys_shutdown, which has closed the actor's pipe, and CZMQ's thread would
    /// use that. The end of the process does not wait for this thread.
    pub fn stop(self) -> ! {
        ACTORS.lock().threads.remove(&thread());
        park();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // At the end of the process, the thread itself is waited for: CZMQ closes the actor's pipe after this.
        if !is_ending() {
            ACTORS.lock().threads.remove(&thread());
            ROLE.set(Role::Application);
            DESCRIPTOR.take();
        }
    }
}

/// Declares that this thread runs a part of an actor, until it ends.
pub fn help() {
    ROLE.set(Role::Helper);
    DESCRIPTOR.set(ACTORS.lock().descriptor());
}

/// True once the process ends.
pub fn is_ending() -> bool {
    STATE.load(Ordering::Acquire) != RUNNING
}

/// True in the thread of an actor once the process ends: its polls fail.
pub fn is_ended_here() -> bool {
    is_ending() && role() == Role::Actor
}

/// True once CZMQ is shut down at the end of the process, or about to be: a thread that logs through it would initialize
/// it again, which aborts the process while sockets are open (4.2.1, zsys.c: `!s_process_ctx`).
pub fn is_closed() -> bool {
    STATE.load(Ordering::Acquire) == CLOSED
}

/// True while actors may handle what they have received.
pub fn is_draining() -> bool {
    ACTORS.lock().began.is_none_or(|began| began.elapsed() < DRAIN)
}

/// Before a socket is used: does not return when CZMQ may have closed it at the end of the process.
pub fn stop_if_late() {
    if IS_STOPPED.load(Ordering::Acquire) {
        stop();
    }
}

/// Where a function of this library waits or fails in a thread of the application: once the process ends, it waits for
/// that. What the thread waits for does not come any more, and a program may abort when a function fails. The wait has an
/// end, as what ends the process may wait for this thread.
pub fn stop_application() {
    if is_ending() && role() == Role::Application && !is_exiting_thread() {
        std::thread::sleep(APPLICATION_LIMIT);
    }
}

#[cold]
fn stop() {
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

fn thread() -> libc::pid_t {
    // SAFETY: a system call without pointers.
    unsafe { libc::gettid() }
}

/// Registers the function for the end of the process, after CZMQ's own. Cheap to call again.
pub fn install() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        super::init();
        // SAFETY: the function may be called at any time. Without memory it is not registered, and nothing else changes.
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
            // SAFETY: the file is open, and eight octets are read from the number.
            unsafe { libc::write(descriptor.as_raw_fd(), (&raw const ONE).cast(), size_of_val(&ONE)) };
        }
    }
    while !try_close(began.elapsed() > LIMIT) {
        std::thread::sleep(CHECK_INTERVAL);
    }
}

/// What an eventfd takes.
static ONE: u64 = 1;

/// Closes the door when no thread runs an actor, other than this one: one that begins later stops. True when it has done
/// so. `is_late` closes it whatever runs.
fn try_close(is_late: bool) -> bool {
    let own = thread();
    let mut actors = ACTORS.lock();
    // SAFETY: the signal 0 only asks whether there is such a thread in this process.
    actors
        .threads
        .retain(|&id| id != own && unsafe { libc::syscall(libc::SYS_tgkill, libc::getpid(), id, 0) } == 0);
    let left = actors.threads.len();
    if left == 0 || is_late {
        IS_STOPPED.store(left > 0, Ordering::Release);
        STATE.store(CLOSED, Ordering::Release);
    }
    drop(actors);
    if left > 0 && is_late {
        let limit_s = LIMIT.as_secs();
        say(&format!(
            "E: nodes that have not ended within {limit_s} s: {left}; the process ends without them\n"
        ));
        // Threads that wait at sockets see it.
        std::thread::sleep(Duration::from_millis(4 * TICK_MS as u64));
    }
    is_closed()
}

/// Writes a line to standard error, unless that would wait: a log that nobody reads may be what actors wait for.
fn say(line: &str) {
    let mut stderr = libc::pollfd { fd: libc::STDERR_FILENO, events: libc::POLLOUT, revents: 0 };
    // SAFETY: one live item, and the octets of a string.
    unsafe {
        if libc::poll(&raw mut stderr, 1, 0) == 1 {
            libc::write(libc::STDERR_FILENO, line.as_ptr().cast(), line.len());
        }
    }
}
