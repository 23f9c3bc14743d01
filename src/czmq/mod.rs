//! CZMQ, as far as this library needs it: its process context, its log, its objects that C callers hand us.
//!
//! `sys` declares the functions; the wrappers here and in `net` are the only callers outside `capi`. Which node
//! does what is none of this module's business.

pub mod exit;
pub mod fork;
pub mod log;
pub mod owned;
pub mod sys;

use crate::zpl::Item;
use fork::{GENERATIONS, PerProcess};
use rustix::process::{Resource, getrlimit};
use std::ffi::{CStr, CString};
use std::os::raw::{c_char, c_int, c_void};
use std::sync::Mutex;

/// The name of libzmq's option; zmq-sys does not declare it.
const ZMQ_MAX_SOCKETS: c_int = 2;
/// CZMQ's own default for it.
const DEFAULT_MAX_SOCKETS: c_int = 1_024;

/// Initializes CZMQ's process context if nobody did yet, and returns it. NULL when CZMQ cannot make one. Allows more
/// sockets where nobody else has a say in that, see `allow_more_sockets`.
///
/// Threads may do this at the same time: zsys_init itself would let the second one go on before all is initialized, and
/// then abort the process (4.2.1, zsys.c: `s_open_sockets == 0`).
pub fn init() -> *mut c_void {
    static WAS_CALLED: PerProcess<bool> = PerProcess::new([const { Mutex::new(false) }; GENERATIONS]);
    let mut was_called = WAS_CALLED.lock();
    // SAFETY: zsys_init may be called at any time, by one thread at a time.
    let context = unsafe { sys::zsys_init() };
    if !std::mem::replace(&mut *was_called, true) && !context.is_null() {
        allow_more_sockets(context);
    }
    context
}

/// How many sockets the process may have.
pub fn max_sockets() -> c_int {
    // SAFETY: the context lives as long as the process.
    unsafe { zmq_sys::zmq_ctx_get(init(), ZMQ_MAX_SOCKETS) }
}

/// Allows as many sockets as files, in place of CZMQ's default, when the application has chosen nothing else
/// (zsys_set_max_sockets, ZSYS_MAX_SOCKETS). libzmq takes a limit until the first socket is made, and does not tell
/// whether that was: where this thread is the only one, it was not, as libzmq starts threads with it.
fn allow_more_sockets(context: *mut c_void) {
    let threads = std::fs::read_dir("/proc/self/task").map_or(0, Iterator::count);
    if threads != 1 || std::env::var_os("ZSYS_MAX_SOCKETS").is_some() {
        return;
    }
    let max_files = getrlimit(Resource::Nofile).current.and_then(|limit| usize::try_from(limit).ok());
    // SAFETY: the context is live, and has no socket.
    unsafe {
        if zmq_sys::zmq_ctx_get(context, ZMQ_MAX_SOCKETS) == DEFAULT_MAX_SOCKETS {
            let limit = sys::zsys_socket_limit().min(max_files.unwrap_or(usize::MAX));
            let limit = c_int::try_from(limit).unwrap_or(c_int::MAX).max(DEFAULT_MAX_SOCKETS);
            zmq_sys::zmq_ctx_set(context, ZMQ_MAX_SOCKETS, limit);
        }
    }
}

/// Stops CZMQ from catching SIGINT and SIGTERM: the programs handle them themselves.
pub fn leave_signals_alone() {
    // SAFETY: NULL is the documented way to say "no handler".
    unsafe { sys::zsys_handler_set(None) }
}

/// True once CZMQ's own signal handler has seen SIGINT or SIGTERM.
pub fn interrupted() -> bool {
    // SAFETY: a C `volatile int` that lives as long as the process; it is only read.
    unsafe { std::ptr::read_volatile(&raw const sys::zsys_interrupted) != 0 }
}

/// The address of the first network interface that is not the loopback, as CZMQ lists them.
pub fn first_interface_address() -> Option<String> {
    // SAFETY: the list is made, asked and destroyed here; the strings are copied before it goes.
    unsafe {
        let mut list = sys::ziflist_new();
        if list.is_null() {
            return None;
        }
        let address = if sys::ziflist_first(list).is_null() {
            None
        } else {
            let address = sys::ziflist_address(list);
            (!address.is_null()).then(|| CStr::from_ptr(address).to_string_lossy().into_owned())
        };
        sys::ziflist_destroy(&mut list);
        address
    }
}

/// The network interface that the application has chosen (zsys_set_interface, ZSYS_INTERFACE); `None` for any.
pub fn chosen_interface() -> Option<String> {
    // SAFETY: CZMQ returns a string of its own, copied here at once.
    let name = unsafe {
        let name = sys::zsys_interface();
        if name.is_null() {
            return None;
        }
        CStr::from_ptr(name).to_string_lossy().into_owned()
    };
    // The star stands for all of them where CZMQ broadcasts.
    (!name.is_empty() && name != "*").then_some(name)
}

/// A ZPL configuration that this process owns.
pub struct Config(*mut sys::zconfig_t);

impl Config {
    /// An empty configuration.
    pub fn new() -> Config {
        // SAFETY: a fresh root without a parent; checked for NULL.
        let config = unsafe { sys::zconfig_new(c"root".as_ptr(), std::ptr::null_mut()) };
        assert!(!config.is_null(), "out of memory");
        Config(config)
    }

    /// Reads a ZPL file (CZMQ's zconfig_load). `None` when it cannot be read or is no ZPL.
    pub fn load(path: &str) -> Option<Config> {
        let path = CString::new(path).ok()?;
        // SAFETY: the path is NUL-terminated and outlives the call.
        let config = unsafe { sys::zconfig_load(path.as_ptr()) };
        (!config.is_null()).then_some(Config(config))
    }

    /// The configuration for C functions; it remains ours.
    pub fn as_c(&self) -> *mut sys::zconfig_t {
        self.0
    }

    /// Sets `path` to `value`; both must be free of NUL, else nothing happens.
    pub fn put(&mut self, path: &str, value: &str) {
        if let (Ok(path), Ok(value)) = (CString::new(path), CString::new(value)) {
            // SAFETY: the configuration is ours, the strings are copied by CZMQ.
            unsafe { sys::zconfig_put(self.0, path.as_ptr(), value.as_ptr()) }
        }
    }

    /// The value at `path`, if it is set.
    pub fn get(&self, path: &str) -> Option<String> {
        // SAFETY: the configuration is ours and alive.
        unsafe { config_get_octets(self.0, path) }.map(|value| String::from_utf8_lossy(&value).into_owned())
    }

    /// A copy of all of it.
    pub fn tree(&self) -> Item {
        // SAFETY: the configuration is ours and alive.
        unsafe { config_tree(self.0) }
    }
}

impl Default for Config {
    fn default() -> Config {
        Config::new()
    }
}

impl Drop for Config {
    fn drop(&mut self) {
        // SAFETY: made by zconfig_new or zconfig_load, destroyed once.
        unsafe { sys::zconfig_destroy(&mut self.0) }
    }
}

/// A copy of a configuration of the caller's, without the name and value of its root.
///
/// # Safety
/// `config` is NULL (then the copy is empty) or a live `zconfig_t`.
pub unsafe fn config_tree(config: *mut sys::zconfig_t) -> Item {
    let mut root = Item::default();
    if !config.is_null() {
        // SAFETY: the caller's promise.
        root.children = unsafe { children(config) };
    }
    root
}

/// # Safety
/// `config` is a live `zconfig_t`.
unsafe fn children(config: *mut sys::zconfig_t) -> Vec<Item> {
    let mut found = Vec::new();
    // SAFETY: the children of a live configuration are live; names and values are NULL or strings that it owns, copied
    // here at once.
    unsafe {
        let octets = |text: *const c_char| match text.is_null() {
            true => Vec::new(),
            false => CStr::from_ptr(text).to_bytes().to_vec(),
        };
        let mut child = sys::zconfig_child(config);
        while !child.is_null() {
            let (name, value) = (octets(sys::zconfig_name(child)), octets(sys::zconfig_value(child)));
            found.push(Item { name, value, children: children(child) });
            child = sys::zconfig_next(child);
        }
    }
    found
}

/// The value at `path` in a configuration of the caller's, as zconfig_get finds it.
///
/// # Safety
/// `config` is NULL (then there is no value) or a live `zconfig_t`.
pub unsafe fn config_get_octets(config: *mut sys::zconfig_t, path: &str) -> Option<Vec<u8>> {
    if config.is_null() {
        return None;
    }
    let path = CString::new(path).ok()?;
    // SAFETY: `config` is live by this function's contract; CZMQ returns NULL or a string that the
    // configuration owns, copied here at once.
    unsafe {
        let value = sys::zconfig_get(config, path.as_ptr(), std::ptr::null());
        (!value.is_null()).then(|| CStr::from_ptr(value).to_bytes().to_vec())
    }
}
