//! Declarations of the CZMQ functions that Rust code calls (stable API of CZMQ 4.2).
//!
//! `c-tests/czmq_declarations.c` declares the same functions again after including `czmq.h`, so that a difference to
//! CZMQ is a compile error. A test checks that both files declare the same functions.

#![allow(non_camel_case_types, missing_docs)]

use std::os::raw::{c_char, c_int, c_void};

/// A CZMQ type that is only used through a pointer.
macro_rules! opaque {
    ($($name:ident),*) => { $(#[repr(C)] pub struct $name { _private: [u8; 0] })* };
}

opaque!(zactor_t, zconfig_t, zframe_t, ziflist_t, zlist_t, zsock_t);

/// Makes zframe_send return without waiting.
pub const ZFRAME_DONTWAIT: c_int = 4;

pub type zsys_handler_fn = unsafe extern "C" fn(signal_value: c_int);
pub type zactor_fn = unsafe extern "C" fn(pipe: *mut zsock_t, args: *mut c_void);

unsafe extern "C" {
    pub static zsys_interrupted: c_int;

    pub fn zsys_init() -> *mut c_void;
    pub fn zsys_handler_set(handler_fn: Option<zsys_handler_fn>);
    pub fn zsys_socket(kind: c_int, filename: *const c_char, line_nbr: usize) -> *mut c_void;
    pub fn zsys_close(handle: *mut c_void, filename: *const c_char, line_nbr: usize) -> c_int;
    pub fn zsys_create_pipe(backend_p: *mut *mut zsock_t) -> *mut zsock_t;
    pub fn zsys_pipehwm() -> usize;
    pub fn zsys_socket_limit() -> usize;
    pub fn zsys_interface() -> *const c_char;
    pub fn zsys_ipv6() -> c_int;
    pub fn zsys_set_logstream(stream: *mut libc::FILE);
    pub fn zsys_error(format: *const c_char, ...);
    pub fn zsys_warning(format: *const c_char, ...);
    pub fn zsys_info(format: *const c_char, ...);
    pub fn zsys_debug(format: *const c_char, ...);

    pub fn zsock_resolve(self_: *mut c_void) -> *mut c_void;
    pub fn zsock_new_checked(kind: c_int, filename: *const c_char, line_nbr: usize) -> *mut zsock_t;
    pub fn zsock_brecv(self_: *mut c_void, picture: *const c_char, ...) -> c_int;
    pub fn zsock_destroy(self_p: *mut *mut zsock_t);

    pub fn zactor_new(task: zactor_fn, args: *mut c_void) -> *mut zactor_t;
    pub fn zactor_destroy(self_p: *mut *mut zactor_t);

    pub fn zconfig_new(name: *const c_char, parent: *mut zconfig_t) -> *mut zconfig_t;
    pub fn zconfig_load(filename: *const c_char) -> *mut zconfig_t;
    pub fn zconfig_destroy(self_p: *mut *mut zconfig_t);
    pub fn zconfig_put(self_: *mut zconfig_t, path: *const c_char, value: *const c_char);
    pub fn zconfig_get(
        self_: *mut zconfig_t,
        path: *const c_char,
        default_value: *const c_char,
    ) -> *mut c_char;

    pub fn zconfig_locate(self_: *mut zconfig_t, path: *const c_char) -> *mut zconfig_t;
    pub fn zconfig_child(self_: *mut zconfig_t) -> *mut zconfig_t;
    pub fn zconfig_next(self_: *mut zconfig_t) -> *mut zconfig_t;
    pub fn zconfig_name(self_: *mut zconfig_t) -> *mut c_char;
    pub fn zconfig_value(self_: *mut zconfig_t) -> *mut c_char;

    pub fn zframe_new(data: *const c_void, size: usize) -> *mut zframe_t;
    pub fn zframe_destroy(self_p: *mut *mut zframe_t);
    pub fn zframe_send(self_p: *mut *mut zframe_t, dest: *mut c_void, flags: c_int) -> c_int;
    pub fn zframe_dup(self_: *mut zframe_t) -> *mut zframe_t;
    pub fn zframe_size(self_: *mut zframe_t) -> usize;
    pub fn zframe_data(self_: *mut zframe_t) -> *mut u8;

    pub fn zlist_new() -> *mut zlist_t;
    pub fn zlist_destroy(self_p: *mut *mut zlist_t);
    pub fn zlist_autofree(self_: *mut zlist_t);
    pub fn zlist_first(self_: *mut zlist_t) -> *mut c_void;
    pub fn zlist_next(self_: *mut zlist_t) -> *mut c_void;
    pub fn zlist_append(self_: *mut zlist_t, item: *mut c_void) -> c_int;
    pub fn zlist_remove(self_: *mut zlist_t, item: *mut c_void);

    pub fn ziflist_new() -> *mut ziflist_t;
    pub fn ziflist_destroy(self_p: *mut *mut ziflist_t);
    pub fn ziflist_first(self_: *mut ziflist_t) -> *const c_char;
    pub fn ziflist_address(self_: *mut ziflist_t) -> *const c_char;
}
