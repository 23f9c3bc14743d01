//! The parts of CZMQ that this library uses: its process context, its log, and the objects that C callers pass to us.
//!
//! `sys` declares the functions. Outside `capi`, only the wrappers here and in `net` call them. This module does not
//! depend on nodes.

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

/// libzmq's option for the limit of sockets. zmq-sys does not declare it.
const ZMQ_MAX_SOCKETS: c_int = 2;
/// CZMQ's default for this option.
const DEFAULT_MAX_SOCKETS: c_int = 1_024;

/// Initializes CZMQ's process context if necessary, and returns it. NULL when CZMQ cannot make one. The first call also
/// raises the limit of sockets, see `allow_more_sockets`.
///
/// Several threads may call this at the same time. Without the lock, zsys_init would let a second thread continue
/// before the first one has finished, and would then abort the process (4.2.1, zsys.c: `s_open_sockets == 0`).
pub fn init() -> *mut c_void {
    static WAS_CALLED: PerProcess<bool> = PerProcess::new([const { Mutex::new(false) }; GENERATIONS]);
    let mut was_called = WAS_CALLED.lock();
    // SAFETY: zsys_init may be called at any time, by one thread at a time. The lock ensures that.
    let context = unsafe { sys::zsys_init() };
    if !std::mem::replace(&mut *was_called, true) && !context.is_null() {
        allow_more_sockets(context);
    }
    context
}

/// The limit of sockets of this process.
pub fn max_sockets() -> c_int {
    // SAFETY: the context lives as long as the process.
    unsafe { zmq_sys::zmq_ctx_get(init(), ZMQ_MAX_SOCKETS) }
}

/// Allows as many sockets as files, unless the application has chosen a limit (zsys_set_max_sockets, ZSYS_MAX_SOCKETS).
/// libzmq accepts a limit only before the first socket is made, and cannot report whether there are sockets. If this
/// thread is the only one, there is no socket, because libzmq starts threads when the first socket is made.
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

/// Stops CZMQ from catching SIGINT and SIGTERM. Our programs handle these themselves.
pub fn leave_signals_alone() {
    // SAFETY: by zsys_handler_set(3), NULL means "no handler".
    unsafe { sys::zsys_handler_set(None) }
}

/// True once CZMQ's signal handler has handled SIGINT or SIGTERM.
pub fn interrupted() -> bool {
    // SAFETY: a C `volatile int` that lives as long as the process, and is only read.
    unsafe { std::ptr::read_volatile(&raw const sys::zsys_interrupted) != 0 }
}

/// The address of the first network interface in CZMQ's list that is not the loopback.
pub fn first_interface_address() -> Option<String> {
    // SAFETY: the list is made and destroyed here. The string is copied before that.
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

/// The network interface that the application has chosen (zsys_set_interface, ZSYS_INTERFACE). `None` for all
/// interfaces.
pub fn chosen_interface() -> Option<String> {
    // SAFETY: CZMQ owns the string, which is copied at once.
    let name = unsafe {
        let name = sys::zsys_interface();
        if name.is_null() {
            return None;
        }
        CStr::from_ptr(name).to_string_lossy().into_owned()
    };
    // `*` means all interfaces.
    (!name.is_empty() && name != "*").then_some(name)
}

/// Whether new sockets use IPv6 (zsys_set_ipv6, ZSYS_IPV6).
pub fn uses_ipv6() -> bool {
    // SAFETY: the function only reads a setting.
    unsafe { sys::zsys_ipv6() != 0 }
}

/// A ZPL configuration that we own.
pub struct Config(*mut sys::zconfig_t);

impl Config {
    /// An empty configuration.
    pub fn new() -> Config {
        // SAFETY: a new root without a parent. NULL is checked for.
        let config = unsafe { sys::zconfig_new(c"root".as_ptr(), std::ptr::null_mut()) };
        assert!(!config.is_null(), "out of memory");
        Config(config)
    }

    /// Reads a ZPL file (CZMQ's zconfig_load). `None` when it cannot be read or is not ZPL.
    pub fn load(path: &str) -> Option<Config> {
        let path = CString::new(path).ok()?;
        // SAFETY: the path is NUL-terminated and outlives the call.
        let config = unsafe { sys::zconfig_load(path.as_ptr()) };
        (!config.is_null()).then_some(Config(config))
    }

    /// The configuration for C functions. We still own it.
    pub fn as_c(&self) -> *mut sys::zconfig_t {
        self.0
    }

    /// Sets `path` to `value`. Does nothing if one of them contains NUL.
    pub fn put(&mut self, path: &str, value: &str) {
        if let (Ok(path), Ok(value)) = (CString::new(path), CString::new(value)) {
            // SAFETY: the configuration is ours, and CZMQ copies the strings.
            unsafe { sys::zconfig_put(self.0, path.as_ptr(), value.as_ptr()) }
        }
    }

    /// The value at `path`, if it is set.
    pub fn get(&self, path: &str) -> Option<String> {
        // SAFETY: the configuration is ours and alive.
        unsafe { config_get_bytes(self.0, path) }.map(|value| String::from_utf8_lossy(&value).into_owned())
    }

    /// A copy of the whole configuration.
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
        // SAFETY: made by zconfig_new or zconfig_load, and destroyed once.
        unsafe { sys::zconfig_destroy(&mut self.0) }
    }
}

/// A copy of the caller's configuration, without the name and value of its root.
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
    // SAFETY: the children of a live configuration are live. Names and values are NULL, or strings that it owns, which
    // are copied at once.
    unsafe {
        let bytes = |text: *const c_char| match text.is_null() {
            true => Vec::new(),
            false => CStr::from_ptr(text).to_bytes().to_vec(),
        };
        let mut child = sys::zconfig_child(config);
        while !child.is_null() {
            let (name, value) = (bytes(sys::zconfig_name(child)), bytes(sys::zconfig_value(child)));
            found.push(Item { name, value, children: children(child) });
            child = sys::zconfig_next(child);
        }
    }
    found
}

/// The value at `path` in the caller's configuration, as zconfig_get finds it.
///
/// # Safety
/// `config` is NULL (then there is no value) or a live `zconfig_t`.
pub unsafe fn config_get_bytes(config: *mut sys::zconfig_t, path: &str) -> Option<Vec<u8>> {
    if config.is_null() {
        return None;
    }
    let path = CString::new(path).ok()?;
    // SAFETY: `config` is live by this function's contract. CZMQ returns NULL or a string that the configuration owns,
    // which is copied at once.
    unsafe {
        let value = sys::zconfig_get(config, path.as_ptr(), std::ptr::null());
        (!value.is_null()).then(|| CStr::from_ptr(value).to_bytes().to_vec())
    }
}
