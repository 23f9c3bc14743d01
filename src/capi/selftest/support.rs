//! Helpers of the self tests: checks, actors, sockets, and a network with a tower.

use crate::capi::boundary::resolve;
use crate::capi::tower::dafka_tower_actor;
use crate::czmq::{
    Config,
    owned::{ZFrame, ZSock},
    sys::{self, zactor_fn, zactor_t, zconfig_t, zframe_t, zsock_t},
};
use crate::net::{Frame, Kind, Socket};
use std::ffi::{CStr, c_char, c_void};
use std::io::Write;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

/// Timeout of every wait. Only a broken class reaches it.
pub(super) const LIMIT_MS: i32 = 60_000;

/// Provokes errors, but suppresses their log lines, so that a self test that passes prints none.
pub(super) fn quietly(provoke: impl FnOnce()) {
    let level = log::max_level();
    log::set_max_level(log::LevelFilter::Off);
    provoke();
    log::set_max_level(level);
}

/// Ends the process when a condition is false, and prints the place and the condition.
macro_rules! check {
    ($condition:expr) => {
        if !$condition {
            $crate::capi::selftest::support::fail(file!(), line!(), stringify!($condition));
        }
    };
}
pub(super) use check;

/// Prints a failed check, and ends the process.
pub(super) fn fail(file: &str, line: u32, condition: &str) -> ! {
    let _ = writeln!(std::io::stderr(), "\n{file}:{line}: self test failed: {condition}");
    std::process::abort()
}

/// A number that no other test of this process uses.
pub(super) fn unique() -> u32 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// An actor, ended when dropped.
pub(super) struct Actor(pub(super) *mut zactor_t);

impl Actor {
    /// # Safety
    /// `args` is what the actor's function takes.
    pub(super) unsafe fn new(function: zactor_fn, args: *mut c_void) -> Actor {
        // SAFETY: the caller's promise.
        let actor = unsafe { sys::zactor_new(function, args) };
        check!(!actor.is_null());
        Actor(actor)
    }

    pub(super) fn pipe(&self) -> Socket {
        socket(self.0)
    }

    /// Ends the actor, and waits until it has ended.
    pub(super) fn end(self) {}
}

impl Drop for Actor {
    fn drop(&mut self) {
        // SAFETY: live, and destroyed once.
        unsafe { sys::zactor_destroy(&mut self.0) }
    }
}

/// A CZMQ socket of a test, whose reads time out.
pub(super) struct Zsock(ZSock);

impl Zsock {
    pub(super) fn new(kind: Kind) -> Zsock {
        let sock = Zsock(ZSock::new(kind));
        check!(!sock.as_c().is_null());
        check!(sock.socket().zmq().set_rcvtimeo(LIMIT_MS).is_ok());
        sock
    }

    pub(super) fn bound(kind: Kind, endpoint: &str) -> Zsock {
        let sock = Zsock::new(kind);
        check!(sock.socket().zmq().bind(endpoint).is_ok());
        sock
    }

    pub(super) fn connected(kind: Kind, endpoint: &str) -> Zsock {
        let sock = Zsock::new(kind);
        check!(sock.socket().zmq().connect(endpoint).is_ok());
        sock
    }

    pub(super) fn as_c(&self) -> *mut zsock_t {
        self.0.as_c()
    }

    pub(super) fn socket(&self) -> Socket {
        socket(self.as_c())
    }
}

/// The libzmq socket of an object of a test. Reads time out.
pub(super) fn socket<T>(object: *mut T) -> Socket {
    // SAFETY: the tests hold live sockets and actors only, and use each from one thread.
    let Some(socket) = (unsafe { resolve(object) }) else { fail(file!(), line!(), "there is a socket") };
    check!(socket.zmq().set_rcvtimeo(LIMIT_MS).is_ok());
    socket
}

/// The next message's frames.
pub(super) fn frames(socket: &Socket) -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    loop {
        let mut frame = Frame::new();
        check!(socket.recv(&mut frame).is_ok());
        frames.push(frame.as_ref().to_vec());
        if !frame.more() {
            return frames;
        }
    }
}

/// A tower over inproc, and a configuration for the nodes that it introduces.
pub(super) struct Network {
    pub(super) config: Config,
    /// The tests end the nodes before this tower.
    _tower: Actor,
    pub(super) directory: PathBuf,
}

impl Network {
    pub(super) fn new(verbose: bool) -> Network {
        let number = unique();
        let mut config = Config::new();
        for side in ["sub", "pub"] {
            let endpoint = format!("inproc://dafka-selftest-{number}-{side}");
            config.put(&format!("tower/{side}_address"), &endpoint);
            config.put(&format!("beacon/{side}_address"), &endpoint);
        }
        let directory = std::env::temp_dir().join(format!("dafka-selftest-{}-{number}", std::process::id()));
        config.put("store/db", &directory.to_string_lossy());
        config.put("beacon/address", "127.0.0.1");
        config.put("beacon/interval", "50");
        // A slow tower must not cause log lines.
        config.put("beacon/connect_timeout", "60000");
        config.put("producer/head_interval", "50");
        config.put("consumer/offset/reset", "earliest");
        if verbose {
            for class in ["tower", "beacon", "producer", "consumer", "store"] {
                config.put(&format!("{class}/verbose"), "1");
            }
        }
        // SAFETY: the tower takes a configuration, and copies what it needs.
        let tower = unsafe { Actor::new(dafka_tower_actor, config.as_c().cast()) };
        Network { config, _tower: tower, directory }
    }

    pub(super) fn config(&self) -> *mut zconfig_t {
        self.config.as_c()
    }

    /// The address at which the network's tower can be reached.
    pub(super) fn tower(&self, side: &str) -> String {
        self.config.get(&format!("tower/{side}_address")).unwrap_or_default()
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        // Only tests with a store make this directory.
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

/// True when a borrowed C string equals `text`.
pub(super) fn equals(string: *const c_char, text: &str) -> bool {
    // SAFETY: NULL, or a string that the object under test keeps alive.
    !string.is_null() && unsafe { CStr::from_ptr(string) }.to_bytes() == text.as_bytes()
}

/// A borrowed C string's text.
pub(super) fn text(string: *const c_char) -> String {
    check!(!string.is_null());
    // SAFETY: as in equals.
    unsafe { CStr::from_ptr(string) }.to_string_lossy().into_owned()
}

/// True when a borrowed content equals `bytes`.
pub(super) fn holds(data: *const u8, size: usize, bytes: &[u8]) -> bool {
    // SAFETY: the object under test returned both the pointer and the size.
    size == bytes.len() && !data.is_null() && unsafe { std::slice::from_raw_parts(data, size) } == bytes
}

/// Frees a string that a function gave away, and returns its text.
pub(super) fn take_text(string: *mut c_char) -> String {
    let text = text(string);
    // SAFETY: zstr_free is free (3), and the caller owned the string.
    unsafe { libc::free(string.cast()) };
    text
}

/// A new frame.
pub(super) fn zframe(bytes: &[u8]) -> *mut zframe_t {
    let frame = ZFrame::new(bytes).into_c();
    check!(!frame.is_null());
    frame
}

/// Destroys a frame that a function gave away; true when it held `bytes`.
pub(super) fn take_zframe(frame: *mut zframe_t, bytes: &[u8]) -> bool {
    // SAFETY: NULL, or a live frame that the test owns.
    unsafe { ZFrame::from_c(frame) }.content() == Some(bytes)
}
